"""Jobs in the ledger, for people: a table, details, results that are fetched later."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from qstore_pl._tables import aligned
from qstore_pl.backends.kinds import KINDS
from qstore_pl.backends.ledger import DONE, SENT, Entry, Ledger
from qstore_pl.backends.remote import RemoteMachine
from qstore_pl.backends.sending import GET_TIMEOUT, NoAnswerError
from qstore_pl.errors import LedgerError

SHOWN = 12  # characters of a key
LONGEST = 400  # characters of a result


def table(ledger: Ledger) -> list[str]:
    """One line for each job, oldest first."""
    entries = ledger.entries()
    if not entries:
        return [f"There are no jobs in {ledger.path}."]
    rows = [("key", "sent", "target", "circuits", "shots", "dollars", "state", "job")]
    for one in entries:
        dollars = "unknown" if one.dollars is None else f"{one.dollars:.2f}"
        rows.append(
            (
                one.key[:SHOWN],
                one.created[:19].replace("T", " "),
                one.target,
                str(one.circuits),
                str(one.shots),
                dollars,
                one.state,
                one.job or "-",
            )
        )
    return aligned(rows, right=(3, 4, 5))


def described(entry: Entry) -> list[str]:
    """All that the ledger has of a job, one line for each entry."""
    lines = []
    for field in dataclasses.fields(entry):
        value = getattr(entry, field.name)
        if field.name == "result" and value is not None:
            value = json.dumps(value)
            if len(value) > LONGEST:
                value = f"{value[:LONGEST]}... ({len(value):,} characters)"
        if value is not None:
            lines.append(f"{field.name} = {value}")
    return lines


def fetched(ledger: Ledger, key: str) -> list[str]:
    """Ask the service for the result of a job, and record it.

    Args:
        ledger: The record of jobs.
        key: First characters of the key of the job.

    Raises:
        LedgerError: If the service has given it no identifier.
        QuantumCircuitError: If it has no result, nor will have.
    """
    entry = ledger.find(key)
    if entry.state == DONE:
        return [f"The result of job {entry.job} is recorded already."]
    if entry.state != SENT:
        raise LedgerError(
            f"Job {entry.key[:SHOWN]} is {entry.state}: the service has given it no "
            "identifier. If you found it there, give that with `qstore jobs resolve`."
        )
    kind = KINDS[entry.backend]
    options: dict[str, Any] = {"ledger": ledger.path}
    if "backend" in kind.options:
        options["backend"] = entry.target
    machine = kind.made(entry.backend, options)
    assert isinstance(machine, RemoteMachine)
    machine.prepare()
    try:
        result = machine.result_of(entry, timeout=GET_TIMEOUT)
    except NoAnswerError as error:
        return [f"Job {entry.job}: {error.reason}. Try again later."]
    if result is None:
        return [f"Job {entry.job} has no result yet."]
    ledger.done(entry.key, result)
    return [f"The result of job {entry.job} is recorded."]


def resolved(ledger: Ledger, key: str, job: str | None) -> list[str]:
    """Say what became of a job to whose sending no reply came.

    Args:
        ledger: The record of jobs.
        key: First characters of the key of the job.
        job: Its identifier at the service; None lets it be sent again.

    Raises:
        LedgerError: If it is known what became of it.
    """
    entry = ledger.find(key)
    ledger.resolve(entry, job)
    if job is None:
        return [f"Job {entry.key[:SHOWN]} is sent again when the program runs again."]
    return [f"Job {entry.key[:SHOWN]} is {job}. Run the program again."]
