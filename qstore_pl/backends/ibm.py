"""IBM's quantum computers, through the client of their service.

A submission is one job for each number of shots. In a job each circuit is there once,
translated into the gates of the chip, with all its angles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._secrets import Secret
from qstore_pl.backends.ibm_circuits import (
    ISING,
    Translator,
    as_tree,
    counted,
    of_tree,
)
from qstore_pl.backends.ibm_service import IBMService
from qstore_pl.backends.ledger import Entry
from qstore_pl.backends.machine import Batch, Limits, Machine, gates_run, shares_of
from qstore_pl.backends.qiskit import METHODS
from qstore_pl.backends.remote import Parcel, RemoteMachine
from qstore_pl.backends.sampler import SamplerMachine
from qstore_pl.devices import Circuit
from qstore_pl.errors import WrongResultError

Float2D = NDArray[np.float64]
Int1D = NDArray[np.int64]
# Of a job: its circuits times their shots. quantum.cloud.ibm.com/docs/guides/job-limits
EXECUTIONS = 10_000_000


@final
class IBMMachine(RemoteMachine):
    """A quantum computer of IBM's service, run by its ``SamplerV2``.

    Args:
        machine: Its name at the service, such as ``"ibm_fez"``.
        token: The key of the service; None takes the environment variable
            ``QISKIT_IBM_TOKEN``, or the account that the client of IBM has saved.
        instance: The instance of the service that pays; None lets the client choose.
        optimization_level: How much Qiskit optimises circuits for the chip, from 0,
            not at all, to 3.
        replay: Whether all results are taken from the ledger, and nothing is sent.
            Nothing is asked of the service then, and gates are counted as they are
            before translation.
        **options: The other options of :class:`RemoteMachine`.

    Raises:
        ValueError: If a number is out of range, or the account has no such machine.
        CredentialsError: If the service does not accept the key, or there is none.
    """

    gate_set = frozenset(METHODS) - ISING
    name = "qiskit_remote"

    def __init__(
        self,
        *,
        machine: str,
        token: Secret | None = None,
        instance: str | None = None,
        optimization_level: int = 1,
        replay: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(replay=replay, **options)
        self.target, self._level = machine, optimization_level
        self._service = IBMService(self.name, machine, token, instance)
        self._translator: Translator | None = None
        qubits = None if replay else self.translator.backend.num_qubits
        self.limits = Limits(qubits=qubits, shots=EXECUTIONS, exact=False)

    def __repr__(self) -> str:
        return f"IBMMachine({self.target!r}, optimization_level={self._level})"

    def __getstate__(self) -> dict[str, Any]:
        # The backend has the client of the service, which has the key.
        return self.__dict__ | {"_translator": None}

    @property
    def translator(self) -> Translator:
        """What translates circuits; it is made when the service is first asked."""
        if self._translator is None:
            self._translator = Translator(self._service.backend, self._level)
        return self._translator

    def prepare(self) -> None:
        """Check that the service knows the key and the machine."""
        self._service.backend  # noqa: B018 - it connects

    def gates(self, batch: Batch) -> tuple[Int1D, Int1D]:
        """Numbers of gates on one qubit, and on more, after translation."""
        return gates_run(batch) if self._replay else self.translator.gates(batch)

    def dollars(self, one: Int1D, more: Int1D, shots: Int1D) -> float | None:
        """None: IBM bills seconds on the chip, which nobody knows before."""
        del one, more, shots
        return None

    def parcels(self, batches: Sequence[Batch]) -> list[Parcel]:
        """The jobs that some circuits make: as few as IBM's limit allows."""
        found = []
        for parcel in super().parcels(batches):
            size = EXECUTIONS // parcel.shots
            for start in range(0, len(parcel.rows), size):
                rows = parcel.rows[start : start + size]
                found.append(parcel._replace(rows=rows))
        return found

    def payload(self, batches: Sequence[Batch], parcel: Parcel) -> dict[str, Any]:
        """The circuits of a job before translation, with their angles."""
        circuits = [
            {"circuit": as_tree(circuit), "angles": angles.tolist()}
            for circuit, angles in _circuits(batches, parcel)
        ]
        return {
            "target": self.target,
            "optimization_level": self._level,
            "shots": parcel.shots,
            "circuits": circuits,
        }

    def submit(self, payload: Any, key: str, *, timeout: float) -> str:
        """Send a job; its tag has the beginning of the key of the ledger."""
        del timeout  # the client has its own
        pubs = []
        for one in payload["circuits"]:
            circuit = of_tree(one["circuit"])
            angles = np.array(one["angles"], dtype=np.float64)
            angles = angles.reshape(len(one["angles"]), circuit.n_columns)
            pubs.append(self.translator.pub(circuit, angles, payload["shots"]))
        return self._service.create(pubs, key)

    def job_named(self, key: str, *, timeout: float) -> str | None:
        """The identifier of the job whose tag has this key, if it is found."""
        del timeout
        return self._service.named(key)

    def result_of(self, entry: Entry, *, timeout: float) -> Any:
        """How often each outcome was measured in each circuit, if the job is done."""
        del timeout
        assert entry.job is not None
        result = self._service.result(entry.job)
        if result is None:
            return None
        found = []
        for outcomes, times in (row for own in result for row in counted(own)):
            if times.sum() != entry.shots:
                raise self._wrong(f"{times.sum()} shots of a circuit", entry)
            keys = map(str, outcomes.tolist())
            found.append(dict(zip(keys, times.tolist(), strict=True)))
        if len(found) != entry.circuits:
            raise self._wrong(f"{len(found)} circuits", entry)
        return found

    def outcomes(
        self,
        result: Any,
        batches: Sequence[Batch],
        parcel: Parcel,
        seed: Sequence[int],
    ) -> list[Any]:
        """What was measured in each circuit of a job."""
        del seed  # nothing is drawn
        return [
            shares_of(
                np.array(list(map(int, own)), dtype=np.int64),
                np.array(list(own.values()), dtype=np.int64),
                len(batches[b].circuit.measured),
            )
            for (b, _), own in zip(parcel.rows, result, strict=True)
        ]

    def _wrong(self, what: str, entry: Entry) -> WrongResultError:
        return WrongResultError(
            f"The service returned {what}, but the job had {entry.circuits} circuits "
            f"with {entry.shots} shots each.",
            backend=self.name,
            job=entry.job,
        )


def _circuits(
    batches: Sequence[Batch], parcel: Parcel
) -> Iterator[tuple[Circuit, Float2D]]:
    """The circuits of a job, each with its angles."""
    for b, rows in groupby(parcel.rows, key=itemgetter(0)):
        yield batches[b].circuit, batches[b].angles[[row for _, row in rows]]


def qiskit_remote(
    *, backend: Any, optimization_level: int = 1, **of_service: Any
) -> Machine:
    """The machine of the backend ``qiskit_remote``.

    Args:
        backend: The name of a machine at IBM's service, such as ``"ibm_fez"``; or a
            ``qiskit.providers.BackendV2`` that runs on this computer, such as
            ``AerSimulator()`` or one of ``qiskit_ibm_runtime.fake_provider``.
        optimization_level: How much Qiskit optimises circuits for the chip, from 0,
            not at all, to 3.
        **of_service: The other arguments of :class:`IBMMachine`, if it is a name.

    Raises:
        ValueError: If an option is given that only the service has.
        TypeError: If ``backend`` is neither a name nor a backend on this computer.
    """
    from qiskit.providers import BackendV2
    from qiskit_ibm_runtime import IBMBackend

    if isinstance(backend, str):
        return IBMMachine(
            machine=backend, optimization_level=optimization_level, **of_service
        )
    if isinstance(backend, IBMBackend):
        raise TypeError(
            "Argument `backend` must be the name of a machine at IBM's service, "
            f'"{backend.name}", instead of its object, which has your key in clear.'
        )
    if not isinstance(backend, BackendV2):
        raise TypeError(
            "Argument `backend` must be the name of a machine at IBM's service, or a "
            f"backend of Qiskit such as AerSimulator(), but is {backend!r}."
        )
    for option in of_service:
        raise ValueError(
            f"Argument `{option}` is for IBM's service, but the backend {backend.name} "
            "runs on this computer. Leave it out."
        )
    return SamplerMachine(backend=backend, optimization_level=optimization_level)
