"""Machines behind a network: circuits in jobs, each of which is sent once.

A job holds circuits with the same number of qubits and of shots. The same circuits with
the same ticket make the same jobs, so that those of an interrupted run are found again.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_pl import _checks
from qstore_pl.backends.ledger import Entry, Ledger, canonical, digest_of
from qstore_pl.backends.machine import (
    Batch,
    Bill,
    Machine,
    Outcomes,
    Ticket,
    gates_run,
    joined,
)
from qstore_pl.backends.sending import Courier, Job
from qstore_pl.errors import LedgerError

Int1D = NDArray[np.int64]


class Parcel(NamedTuple):
    """The circuits of a job.

    Args:
        qubits: Number of qubits of each circuit.
        shots: Number of shots of each circuit.
        rows: For each circuit the number of its batch, and its own in the batch.
    """

    qubits: int
    shots: int
    rows: tuple[tuple[int, int], ...]


class RemoteMachine(Machine):
    """A machine to which circuits are sent in jobs.

    Args:
        deadline: Seconds to wait for the result of a job. The job goes on at the
            service, and the next run of the program picks up its result.
        ledger: Path of the record of jobs; None takes the user's own.
        max_concurrent: Most jobs that are at the service at the same time; None does
            not limit them.
        poll: Seconds between the first two questions for a result.
        replay: Whether all results are taken from the ledger, and nothing is sent.

    Attributes:
        target: Name of the machine at the service.
    """

    target: str

    def __init__(
        self,
        *,
        deadline: float = 3600.0,
        ledger: str | os.PathLike[str] | None = None,
        max_concurrent: int | None = None,
        poll: float = 0.1,
        replay: bool = False,
    ) -> None:
        self._deadline = _checks.real("deadline", deadline, above=0.0)
        self._poll = _checks.real("poll", poll, above=0.0)
        if max_concurrent is not None:
            _checks.integer("max_concurrent", max_concurrent, minimum=1)
        self._max_concurrent = max_concurrent
        self._replay = _checks.boolean("replay", replay)
        self._replayed: Counter[str] = Counter()  # by what was sent
        self._ledger_path = ledger

    @property
    def ledger(self) -> Ledger:
        """The record of jobs."""
        return Ledger(self._ledger_path)

    @property
    def job_seconds(self) -> list[float]:
        """How long recorded jobs took from their sending to their result."""
        return self.ledger.seconds(self.name, self.target)

    @abstractmethod
    def prepare(self) -> None:
        """Check, before a job is written down, that it can be sent.

        Raises:
            CredentialsError: If there is no key.
        """

    @abstractmethod
    def payload(self, batches: Sequence[Batch], parcel: Parcel) -> Any:
        """What is sent for some circuits, a tree of JSON that holds no name and key."""

    @abstractmethod
    def submit(self, payload: Any, key: str, *, timeout: float) -> str:
        """Send a job under this name; returns its identifier at the service.

        Raises:
            RefusedError: If the service surely did not take it.
            NoAnswerError: If it may have taken it.
        """

    @abstractmethod
    def result_of(self, entry: Entry, *, timeout: float) -> Any:
        """The result of a job, a tree of JSON; None if it is not ready.

        Raises:
            NoAnswerError: If the question can be asked again.
            JobFailedError: If the job failed.
            JobCancelledError: If it was cancelled.
            WrongResultError: If this cannot be the result of what was sent.
        """

    @abstractmethod
    def outcomes(
        self,
        result: Any,
        batches: Sequence[Batch],
        parcel: Parcel,
        seed: Sequence[int],
    ) -> list[Any]:
        """What was measured in each circuit of a job.

        Args:
            result: What :meth:`result_of` returned.
            batches: All circuits of the submission.
            parcel: Which of them were in the job.
            seed: Numbers that name the stream of random numbers.

        Returns:
            For each circuit shares or outcomes, as
            :func:`qstore_pl.backends.machine.shares_of` makes them.
        """

    @abstractmethod
    def dollars(self, one: Int1D, more: Int1D, shots: Int1D) -> float | None:
        """The price of some circuits; None if it is not known.

        Args:
            one: Number of gates on one qubit of each circuit.
            more: Number of gates on more qubits of each circuit.
            shots: Number of shots of each circuit.
        """

    def job_named(self, key: str, *, timeout: float) -> str | None:
        """The identifier at the service of the job that was sent under this name.

        None if it is not found, which does not prove that there is none.
        """
        del key, timeout
        return None

    def gates(self, batch: Batch) -> tuple[Int1D, Int1D]:
        """Numbers of gates on one qubit, and on more, of each circuit of a batch."""
        return gates_run(batch)

    def parcels(self, batches: Sequence[Batch]) -> list[Parcel]:
        """The jobs that some circuits make: as few as the machine's limits allow."""
        rows: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for b, batch in enumerate(batches):
            assert batch.shots is not None  # its limits say that it needs shots
            for i, shots in enumerate(batch.shots.tolist()):
                rows.setdefault((batch.circuit.n_wires, shots), []).append((b, i))
        most = self.limits.circuits
        found: list[Parcel] = []
        for (qubits, shots), own in rows.items():
            size = most or len(own)
            found += [
                Parcel(qubits, shots, tuple(own[start : start + size]))
                for start in range(0, len(own), size)
            ]
        return found

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run of these batches, and its price."""
        return self._bill_of(batches) + Bill(jobs=len(self.parcels(batches)))

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits in as few jobs as possible.

        Raises:
            QuantumCircuitError: If a job has no result; its subclasses say why.
            LedgerError: If the record of jobs cannot be written, or if the results are
                taken from there and one is missing.
        """
        parcels = self.parcels(batches)
        jobs = [self._job(batches, p, ticket, i) for i, p in enumerate(parcels)]
        results = self._recorded(jobs) if self._replay else self._sent(jobs)
        found: list[list[Any]] = [[None] * len(batch) for batch in batches]
        for i, (parcel, result) in enumerate(zip(parcels, results, strict=True)):
            own = self.outcomes(result, batches, parcel, [ticket.seed, i])
            for (b, row), outcome in zip(parcel.rows, own, strict=True):
                found[b][row] = outcome
        return [
            joined(parts, len(batch.circuit.measured))
            for parts, batch in zip(found, batches, strict=True)
        ]

    def _bill_of(self, batches: Sequence[Batch]) -> Bill:
        total = Bill()
        for batch in batches:
            one, more = self.gates(batch)
            assert batch.shots is not None
            total += Bill(
                len(batch),
                int(batch.shots.sum()),
                int(one.sum()),
                int(more.sum()),
                dollars=self.dollars(one, more, batch.shots),
            )
        return total

    def _job(
        self, batches: Sequence[Batch], parcel: Parcel, ticket: Ticket, index: int
    ) -> Job:
        payload = self.payload(batches, parcel)
        digest = digest_of(canonical(payload))
        seed = str(ticket.seed)
        key = digest_of(ticket.run, seed, str(index), self.name, digest)
        which: dict[int, list[int]] = {}
        for b, row in parcel.rows:
            which.setdefault(b, []).append(row)
        bill = self._bill_of([batches[b].some(own) for b, own in which.items()])
        entry = Entry(
            key=key,
            run=ticket.run,
            backend=self.name,
            target=self.target,
            digest=digest,
            circuits=len(parcel.rows),
            qubits=parcel.qubits,
            shots=parcel.shots,
            dollars=bill.dollars,
        )
        return Job(entry, payload)

    def _sent(self, jobs: Sequence[Job]) -> list[Any]:
        self.prepare()
        courier = Courier(
            self,
            self.ledger,
            deadline=self._deadline,
            poll=self._poll,
            at_once=self._max_concurrent,
        )
        return courier.results(jobs)

    def _recorded(self, jobs: Sequence[Job]) -> list[Any]:
        """The results of the same jobs, as they were recorded one after the other."""
        results = []
        for job in jobs:
            entry = job.entry
            recorded = self.ledger.recorded(entry.digest)
            used = self._replayed[entry.digest]
            if used >= len(recorded):
                raise LedgerError(
                    f"The ledger `{self.ledger.path}` has {len(recorded)} results of a "
                    f"job of {entry.circuits} circuits with {entry.shots} shots for "
                    f"{entry.target}, but one more is asked for, and replay=True sends "
                    f"nothing. The SHA-256 of what would be sent is {entry.digest}. "
                    "Run the program once with replay=False."
                )
            self._replayed[entry.digest] += 1
            results.append(recorded[used].result)
        return results
