"""The record of remote jobs: what was sent under which name, and what came back.

A job is written down before it is sent, and again when the service has given it an
identifier and when it has a result. So a program that was interrupted finds its jobs,
and none is paid twice. The record is a file of SQLite, which several processes may use
at once. It never holds an API key. This module knows no service and no circuits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from qstore_pl.errors import LedgerError

VERSION = 1
VARIABLE = "QSTORE_JOBS"  # of the environment: the path of the file
BUSY = 30.0  # seconds to wait for another process that is writing

SENDING, SENT, DONE = "sending", "sent", "done"
FAILED, LOST, REFUSED = "failed", "lost", "refused"
UNSURE = (SENDING, LOST)  # the service may have the job, and nobody knows
ENDED = (FAILED, REFUSED)  # the service surely has no result of it, nor will have

_TABLE = """
CREATE TABLE jobs (
    key TEXT PRIMARY KEY, run TEXT NOT NULL, backend TEXT NOT NULL,
    target TEXT NOT NULL, digest TEXT NOT NULL, circuits INTEGER NOT NULL,
    qubits INTEGER NOT NULL, shots INTEGER NOT NULL, dollars REAL,
    state TEXT NOT NULL, job TEXT, error TEXT,
    created TEXT NOT NULL, changed TEXT NOT NULL, result TEXT
)
"""


def canonical(tree: Any) -> str:
    """A tree of JSON as the one text that stands for it."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(*texts: str) -> str:
    """The SHA-256 of some texts, as 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@final
@dataclass(frozen=True)
class Entry:
    """A remote job.

    Args:
        key: The name under which it was sent, 64 hexadecimal digits.
        run: Identifier of the training run, or of the device, that it belongs to.
        backend: Name of the backend.
        target: Name of the machine at the service.
        digest: The SHA-256 of what was sent.
        circuits: Number of circuits.
        qubits: Number of qubits of each circuit.
        shots: Number of shots of each circuit.
        dollars: Its price in US dollars; None if that is not known.
        state: ``"sending"`` before it is sent, ``"sent"`` when the service has given it
            an identifier, ``"done"`` when its result is recorded, ``"failed"`` when the
            service has none, ``"lost"`` when no reply came, and ``"refused"`` when the
            service surely did not take it.
        job: The identifier that the service has given it.
        error: What went wrong.
        created: When it was sent first, in UTC.
        changed: When its state changed last, in UTC.
        result: What the service returned, a tree of JSON.
    """

    key: str
    run: str
    backend: str
    target: str
    digest: str
    circuits: int
    qubits: int
    shots: int
    dollars: float | None = None
    state: str = SENDING
    job: str | None = None
    error: str | None = None
    created: str = ""
    changed: str = ""
    result: Any = None


_COLUMNS = [field.name for field in dataclasses.fields(Entry)]
_ALL = f"SELECT {', '.join(_COLUMNS)} FROM jobs"


@final
class Ledger:
    """The record of remote jobs in a file.

    Args:
        path: The file; None takes the environment variable ``QSTORE_JOBS``, or without
            it ``qstore-pl/jobs.db`` in the user's directory for data. It is made when
            it is first used.

    Example:
        >>> Ledger("jobs.db")
        Ledger('jobs.db')
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        if path is None:
            path = os.environ.get(VARIABLE) or _usual()
        self.path = Path(path)
        self._kept: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})"

    def reserve(self, entry: Entry) -> Entry | None:
        """Write down, for good, that a job is about to be sent.

        Args:
            entry: The job.

        Returns:
            None if the caller may send it. If a job of that key was sent before, this
            job as it stands, and nothing is written.

        Raises:
            LedgerError: If it cannot be written; nothing may be sent then.
        """
        with self._transaction() as connection:
            found = _entries(connection, "WHERE key = ?", entry.key)
            if found and found[0].state not in ENDED:
                return found[0]
            now = _now()
            created = found[0].created if found else now
            row = dataclasses.replace(
                entry, state=SENDING, created=created, changed=now
            )
            values = [getattr(row, name) for name in _COLUMNS]
            marks = ", ".join("?" * len(values))
            connection.execute(f"REPLACE INTO jobs VALUES ({marks})", values)
        return None

    def sent(self, key: str, job: str) -> None:
        """The service has given a job its identifier ``job``."""
        self._change(key, state=SENT, job=job, error=None)

    def done(self, key: str, result: Any) -> None:
        """A job has a result, a tree of JSON."""
        self._change(key, state=DONE, result=canonical(result), error=None)

    def failed(self, key: str, error: str) -> None:
        """The service says that a job has no result, nor will have."""
        self._change(key, state=FAILED, error=error)

    def lost(self, key: str, error: str) -> None:
        """No reply came when a job was sent."""
        self._change(key, state=LOST, error=error)

    def refused(self, key: str, error: str) -> None:
        """The service surely did not take a job."""
        self._change(key, state=REFUSED, error=error)

    def resolve(self, entry: Entry, job: str | None) -> None:
        """Say what became of a job of which nobody knows whether it was taken.

        Args:
            entry: The job.
            job: Its identifier at the service; None lets it be sent again.

        Raises:
            LedgerError: If its result is recorded, or it has an identifier already.
        """
        if job is None and entry.state != DONE:
            self.refused(entry.key, "The user lets it be sent again.")
        elif job is not None and entry.state in UNSURE:
            self.sent(entry.key, job)
        else:
            raise LedgerError(
                f"Job {entry.key[:12]} is {entry.state}"
                + (f" with the identifier {entry.job}" if entry.job else "")
                + ". There is nothing to resolve."
            )

    def entries(self) -> list[Entry]:
        """All jobs, in the order they were sent."""
        with self._transaction() as connection:
            return _entries(connection, "ORDER BY created, rowid")

    def find(self, start: str) -> Entry:
        """The job whose key begins with these digits.

        Raises:
            LedgerError: If there is none, or more than one.
        """
        with self._transaction() as connection:
            found = _entries(
                connection, "WHERE substr(key, 1, ?) = ?", len(start), start
            )
        if len(found) == 1:
            return found[0]
        number = f"{len(found)} jobs" if found else "no job"
        raise LedgerError(
            f"The ledger `{self.path}` has {number} whose key begins with {start!r}. "
            "`qstore jobs ls` lists the keys."
        )

    def recorded(self, digest: str) -> list[Entry]:
        """The jobs with a result that sent the same, in the order they were sent."""
        with self._transaction() as connection:
            where = "WHERE digest = ? AND state = ? ORDER BY created, rowid"
            return _entries(connection, where, digest, DONE)

    def seconds(self, backend: str, target: str) -> list[float]:
        """How long jobs took from their sending to their result, in seconds.

        A result is there for this record when the program asks for it.

        Args:
            backend: Name of the backend.
            target: Name of the machine at the service.
        """
        if not self.path.exists():  # nothing is made by asking
            return []
        with self._transaction() as connection:
            where = "WHERE state = ? AND backend = ? AND target = ?"
            rows = connection.execute(
                f"SELECT created, changed FROM jobs {where}", (DONE, backend, target)
            ).fetchall()
        moment = datetime.datetime.fromisoformat
        return [(moment(end) - moment(begin)).total_seconds() for begin, end in rows]

    def _change(self, key: str, **values: Any) -> None:
        values["changed"] = _now()
        names = ", ".join(f"{name} = ?" for name in values)
        with self._transaction() as connection:
            connection.execute(
                f"UPDATE jobs SET {names} WHERE key = ?", [*values.values(), key]
            )

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Keep the file open for a block, in which many entries are written.

        Other processes and threads may write meanwhile.

        Raises:
            LedgerError: If it cannot be opened.
        """
        with self._errors():
            connection = self._connected()
        try:
            self._kept = connection
            yield
        finally:
            self._kept = None
            connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are on the disk when the block ends."""
        with self._errors():
            connection = self._kept or self._connected()
            try:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    self._check_version(connection)
                    yield connection
            finally:
                if connection is not self._kept:
                    connection.close()

    def _connected(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Threads use it one after the other.
        connection = sqlite3.connect(
            self.path, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        try:
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"The ledger of remote jobs `{self.path}` cannot be used: {error}. "
                "Nothing is sent without it. Set another path: the option `ledger` of "
                f"the backend, or the environment variable {VARIABLE}."
            ) from error

    def _check_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise LedgerError(
                f"The ledger of remote jobs `{self.path}` has version {version}, but "
                f"this version of qstore-pl reads version {VERSION}. Install a newer "
                "qstore-pl, or set another path with the option `ledger`."
            )


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let one process write while others read; only this does not wait by itself."""
    until = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _entries(
    connection: sqlite3.Connection, where: str, *values: str | int
) -> list[Entry]:
    rows: Sequence[Any] = connection.execute(f"{_ALL} {where}", values).fetchall()
    found = [Entry(*row) for row in rows]
    return [
        entry
        if entry.result is None
        else dataclasses.replace(entry, result=json.loads(entry.result))
        for entry in found
    ]


def _usual() -> Path:
    """The file in the user's directory for data, as the XDG standard says."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "qstore-pl" / "jobs.db"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
