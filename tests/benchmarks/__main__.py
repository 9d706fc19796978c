"""The benchmark suite: one command measures, prints the tables and writes the file.

Run it on an idle machine, from the root: ``python -m tests.benchmarks``. The page of
the documentation is made from the file: ``python -m tests.benchmarks.page``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from pathlib import Path

from tests.benchmarks import one_thread  # noqa: F401, before numpy
from tests.benchmarks.cases import CASES
from tests.benchmarks.machine import (
    ALONE,
    IDLE,
    BusyMachineError,
    load_average,
    machine,
)
from tests.benchmarks.peers import MODULES, MissingPeerError, Peers
from tests.benchmarks.race import DisagreementError
from tests.benchmarks.remote import RemoteError
from tests.benchmarks.report import details, table


def options():
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument(
        "--only",
        choices=CASES,
        action="append",
        metavar="CASE",
        help="measure this case; may be repeated; one of " + ", ".join(CASES),
    )
    parser.add_argument(
        "--peers",
        choices=MODULES,
        nargs="+",
        metavar="PEER",
        help="compare with these alone; all must be installed; of "
        + ", ".join(MODULES),
    )
    parser.add_argument(
        "--python",
        default=os.environ.get("QSTORE_BENCHMARK_PYTHON"),
        help="an interpreter that has peers which this one lacks",
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"))
    parser.add_argument(
        "--update",
        action="store_true",
        help="keep the other cases that the JSON file has",
    )
    parser.add_argument(
        "--busy", action="store_true", help="measure though the machine is not idle"
    )
    return parser, parser.parse_args()


def main():
    """Read the command line, run the cases, print and write the results."""
    parser, chosen = options()
    try:
        peers = Peers(chosen.peers, chosen.python)
        load_average(IDLE, strict=not chosen.busy)
    except (MissingPeerError, BusyMachineError) as error:
        parser.exit(1, f"error: {error}\n")
    print("peers:", ", ".join(peers.found))
    results = {}
    if chosen.update and chosen.json.exists():
        results = json.loads(chosen.json.read_text())["cases"]
    about = machine(peers)
    failed = []
    for name in chosen.only or CASES:
        results[name] = measured(name, peers, chosen.repeats)
        if "error" in results[name]:
            failed.append(name)
        in_order = {name: results[name] for name in CASES if name in results}
        result = {"machine": about, "cases": in_order}
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten to {chosen.json}")
    if failed:
        parser.exit(1, f"error: {', '.join(failed)} not measured: see above\n")


def measured(name, peers, repeats):
    """One case as the JSON file has it: rows, load, and the peers that were missing."""
    load = {"before": load_average(ALONE)}
    case, start = CASES[name], time.perf_counter()
    rows, error = [], {}
    if peers.need(name, case.needs):
        try:
            rows = [row.as_dict() for row in case.run(name, peers, repeats)]
        except (DisagreementError, RemoteError) as problem:
            error = {"error": str(problem)}
            print(f"ERROR: {name}: {problem}")
    missing = peers.missing.get(name, [])
    load["after"] = load_average(ALONE)
    print(f"\n{table(rows)}\n" if rows else f"{name}: not measured")
    print(details(rows), end="")
    if missing:
        print(f"{name}: not installed: {', '.join(missing)}")
    print(flush=True)
    return {
        "date": datetime.date.today().isoformat(),
        "repeats": repeats,
        "seconds": time.perf_counter() - start,
        "load": load,
        "missing": missing,
        "rows": rows,
    } | error


if __name__ == "__main__":
    main()
