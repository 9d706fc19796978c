"""``qstore jobs``: jobs that were sent to quantum computers and simulators."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from qstore_pl.commands.printing import add_command, show


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    parser = add_command(
        commands,
        "jobs",
        "look at jobs that were sent to quantum computers and simulators",
        json=False,
    )
    what = parser.add_subparsers(dest="what", required=True)
    for name, description in (
        ("ls", "print one line for each job, oldest first"),
        ("show", "print what the ledger has of a job"),
        ("fetch", "ask the service for the result of a job, and record it"),
        ("resolve", "say what became of a job to whose sending no reply came"),
    ):
        one = add_command(what, name, description)
        one.add_argument("--ledger", type=Path, help="the file; else QSTORE_JOBS")
        if name != "ls":
            one.add_argument("key", help="the first characters of its key")
        if name == "resolve":
            how = one.add_mutually_exclusive_group(required=True)
            how.add_argument("--id", help="its identifier at the service")
            how.add_argument(
                "--resend",
                action="store_true",
                help="it is not there: the next run of the program sends it again",
            )
    parser.set_defaults(run=_jobs)


def _jobs(options: argparse.Namespace) -> int:
    from qstore_pl.backends import jobs
    from qstore_pl.backends.ledger import Ledger

    ledger = Ledger(options.ledger)
    document: Any
    match options.what:
        case "ls":
            lines = jobs.table(ledger)
            entries = [dataclasses.asdict(one) for one in ledger.entries()]
            for one in entries:
                del one["result"]  # which may be long, and which `show` has
            document = {"ledger": str(ledger.path), "jobs": entries}
        case "show":
            entry = ledger.find(options.key)
            lines, document = jobs.described(entry), dataclasses.asdict(entry)
        case "fetch":
            lines = jobs.fetched(ledger, options.key)
            document = dataclasses.asdict(ledger.find(options.key))
        case _:
            lines = jobs.resolved(ledger, options.key, options.id)
            document = dataclasses.asdict(ledger.find(options.key))
    if options.what in ("fetch", "resolve"):
        document["message"] = " ".join(lines)
    show(options, document, lines)
    return 0
