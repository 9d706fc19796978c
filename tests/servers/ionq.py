"""IonQ's REST interface on loopback, as far as PennyLane's plugin speaks it.

``IonQServer`` is a context manager in the process of the test. For tests that kill
their client, ``tests/servers/ionq_process.py`` runs it in a process that lives on.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.servers.ionq_http import Handler
from tests.servers.ionq_jobs import (
    FATES,
    FREE,
    SPOILT,
    Fault,
    Job,
    Price,
    dollars_of,
    gates_of,
)
from tests.servers.ionq_payload import read
from tests.servers.loopback import LoopbackServer

KEY = "canary-key-3f1c"


class IonQServer(LoopbackServer):
    """A server that runs circuits at once and says so when it is asked to.

    Args:
        key: The only API key that it takes.
        delay: Seconds until a job is completed.
        polls: How many status requests of a job are answered before it is completed.
        prices: The price of each backend, such as "qpu.aria-1"; others are free.
        most_circuits: Most circuits of a job; None is not limited.
        seed: Of what QPUs measure.
        listing: Whether it lists jobs, newest first, which the plugin never asks for.
        faults: What goes wrong; the list may be changed at any time.
        log: File to which jobs and what becomes of them are appended, and from which
            those of an earlier server are read.
        lists: Whether it tells which jobs it has.

    Attributes:
        url: What ``APIClient.BASE_URL`` must be.
        jobs: The jobs that were accepted, in order.
        submissions: Number of jobs that were accepted.
        polls_seen: Number of status requests.
        requests: Method and path of every request.
        bill: What all jobs have cost, in dollars.
    """

    handler, path = Handler, "/v0.4"

    def __init__(
        self,
        *,
        key: str = KEY,
        delay: float = 0.0,
        polls: int = 0,
        prices: Mapping[str, Price] | None = None,
        most_circuits: int | None = None,
        seed: int = 0,
        listing: bool = False,
        faults: Sequence[Fault] = (),
        log: str | Path | None = None,
        lists: bool = False,
    ) -> None:
        super().__init__()
        self.lists = lists
        self.key, self.delay, self.polls, self.seed = key, delay, polls, seed
        self.prices, self.most_circuits = dict(prices or {}), most_circuits
        self.faults, self.listing = list(faults), listing
        self.jobs: list[Job] = []
        self.requests: list[tuple[str, str]] = []
        self.polls_seen = 0
        self._by_id: dict[str, Job] = {}
        self._lock = threading.RLock()
        self._log = None if log is None else Path(log)
        if self._log is not None and self._log.exists():
            for job in read_log(self._log):
                self._add(job)

    @property
    def submissions(self) -> int:
        """Number of jobs that were accepted."""
        return len(self.jobs)

    @property
    def bill(self) -> float:
        """What all jobs have cost, in dollars."""
        return sum(job.paid for job in self.jobs)

    def fault(self, where: str) -> Fault | None:
        """The fault that strikes a request, the first of the list that does.

        Faults behind it do not see this request.
        """
        with self._lock:
            return next((fault for fault in self.faults if fault.strikes(where)), None)

    def note(self, method: str, path: str) -> None:
        """Count a request."""
        with self._lock:
            self.requests.append((method, path))

    def accept(self, body: bytes, fault: Fault | None) -> Job:
        """The new job of a payload.

        Raises:
            BadRequest: If the payload is not as it must be.
        """
        payload = read(body, most_circuits=self.most_circuits)
        kind = None if fault is None else fault.kind
        fate = kind if kind in FATES else None
        if not all(payload.circuits):
            fate = "failed"  # as the plugin says of circuits without gates
        with self._lock:
            job = Job(
                str(uuid.uuid4()),
                len(self.jobs),
                json.loads(body),
                payload,
                gates_of(payload),
                dollars_of(payload, self.prices.get(payload.backend, FREE)),
                time.time(),
                self.delay,
                self.polls,
                fate,
                kind if kind in SPOILT else None,
            )
            self._add(job)
            self._write(_record(job))
        return job

    def find(self, identifier: str) -> Job | None:
        """The job with this identifier."""
        return self._by_id.get(identifier)

    def page(self, limit: int, last: str | None) -> tuple[list[Job], str | None]:
        """Some jobs, newest first, and the last of them if there are more.

        Args:
            limit: Most jobs.
            last: Identifier of the job before them; None begins with the newest.
        """
        with self._lock:
            end = len(self.jobs) if last is None else self._by_id[last].number
            found = self.jobs[max(end - limit, 0) : end][::-1]
        return found, found[-1].id if found and found[-1].number else None

    def poll(self, job: Job, fault: Fault | None) -> str:
        """The state of a job, which one more status request asks for."""
        with self._lock:
            self.polls_seen += 1
            job.polled += 1
            if fault is not None and fault.kind in FATES:
                job.fate = str(fault.kind)
                self._write({"id": job.id, "fate": job.fate})
            return job.status(time.time())

    def _add(self, job: Job) -> None:
        self.jobs.append(job)
        self._by_id[job.id] = job

    def _write(self, record: dict[str, Any]) -> None:
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(json.dumps(record) + "\n")


RECORDED = ("id", "body", "dollars", "created", "delay", "polls", "fate", "spoilt")


def _record(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in RECORDED}


def read_log(path: str | Path) -> list[Job]:
    """The jobs in the log of a server, whose last line may be half written."""
    jobs: dict[str, Job] = {}
    for line in Path(path).read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        record = json.loads(line)
        if "body" not in record:
            jobs[record["id"]].fate = record["fate"]
            continue
        payload = read(json.dumps(record["body"]).encode())
        given = {"number": len(jobs), "payload": payload, "gates": gates_of(payload)}
        jobs[record["id"]] = Job(**record, **given)
    return list(jobs.values())
