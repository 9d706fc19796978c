"""IonQ's simulator and quantum computers.

Circuits are sent as jobs of IonQ's API v0.4, with the gates that its PennyLane plugin
sends, and measured on all qubits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import _checks
from qstore_pl._secrets import Secret
from qstore_pl.backends.ionq_results import address_of, checked, histograms, measured
from qstore_pl.backends.ionq_service import IonQService
from qstore_pl.backends.ionq_talk import LONGEST_TEXT
from qstore_pl.backends.ledger import Entry
from qstore_pl.backends.machine import Batch, Limits, gates_run
from qstore_pl.backends.prices import PriceList, price_list
from qstore_pl.backends.remote import Parcel, RemoteMachine
from qstore_pl.devices import Circuit
from qstore_pl.errors import JobCancelledError, JobFailedError

Int1D = NDArray[np.int64]

# PennyLane's name of a gate -> IonQ's, as in the plugin's map of the gate set "qis".
GATES = {
    **{"PauliX": "x", "PauliY": "y", "PauliZ": "z", "Hadamard": "h", "S": "s"},
    **{"T": "t", "SX": "v", "RX": "rx", "RY": "ry", "RZ": "rz", "CNOT": "cnot"},
    **{"SWAP": "swap", "IsingXX": "xx", "IsingYY": "yy", "IsingZZ": "zz"},
}
CONTROLLED = ("CNOT",)
# Qubits: docs.ionq.com and learn.microsoft.com/azure/quantum/provider-ionq.
QUBITS = {"aria-1": 25, "aria-2": 25, "forte-1": 36, "forte-enterprise-1": 36}
SIMULATED_QUBITS = 29
NOISE = {"ideal": SIMULATED_QUBITS, "harmony": 11, **QUBITS}
# IonQ names no limit of circuits in a job, and qiskit-ionq has none (max_experiments).
# A job of this size has about a megabyte, and not much is lost if it fails.
CIRCUITS = 500
SHOTS = 10_000  # of a circuit on a quantum computer: qiskit-ionq, max_shots
MAX_SEED = 2**31 - 1


@final
class IonQMachine(RemoteMachine):
    """IonQ's simulator, or one of its quantum computers.

    Args:
        qpu: Whether circuits run on a quantum computer.
        api_key: The key of IonQ's API; None takes it from the environment variable
            ``PENNYLANE_IONQ_API_KEY`` or ``IONQ_API_KEY`` when it is used.
        machine: Name of the quantum computer.
        noise_model: The quantum computer whose noise is simulated; None has no noise.
        noise_seed: Seed of the simulated noise; None lets the service take one.
        error_mitigation: The service's own error mitigation, ``{"debiasing": True}``;
            None runs without it.
        compilation: Settings of IonQ's compiler, such as ``{"opt": 1}``.
        job_name: First word of the names of the jobs.
        deadline: Seconds to wait for the result of a job.
        ledger: Path of the record of jobs; None takes the user's own.
        max_concurrent: Most jobs that are at the service at the same time.
        poll: Seconds between the first two questions for a result.
        prices: A TOML file with prices; None takes those of this package.
        replay: Whether all results are taken from the ledger, and nothing is sent.

    Raises:
        ValueError: If a word is unknown or a number is out of range.
        TypeError: If an argument is of another kind.

    Example:
        >>> machine = IonQMachine(qpu=True, machine="forte-1")
        >>> machine.target, machine.limits.qubits
        ('qpu.forte-1', 36)
    """

    gate_set = frozenset(GATES)

    def __init__(
        self,
        *,
        qpu: bool = False,
        api_key: Secret | str | None = None,
        machine: str = "aria-1",
        noise_model: str | None = None,
        noise_seed: int | None = None,
        error_mitigation: Mapping[str, bool] | None = None,
        compilation: Mapping[str, Any] | None = None,
        job_name: str = "qstore",
        deadline: float = 3600.0,
        ledger: str | os.PathLike[str] | None = None,
        max_concurrent: int | None = None,
        poll: float = 0.1,
        prices: str | os.PathLike[str] | None = None,
        replay: bool = False,
    ) -> None:
        super().__init__(
            deadline=deadline,
            ledger=ledger,
            max_concurrent=max_concurrent,
            poll=poll,
            replay=replay,
        )
        _checks.choice("machine", machine, QUBITS)
        self.name = "ionq_qpu" if qpu else "ionq_simulator"
        self.target = f"qpu.{machine}" if qpu else "simulator"
        self._noise = _noise(noise_model, noise_seed)
        self._mitigated = _mitigated(error_mitigation)
        self._compilation = _compilation(compilation)
        if not isinstance(job_name, str):
            raise TypeError(f"Argument `job_name` must be a word, but is {job_name!r}.")
        self._job_name = job_name
        self._prices = price_list(prices)
        secret = Secret(api_key) if isinstance(api_key, str) else api_key
        self._service = IonQService(self.name, secret)
        self.limits = Limits(
            qubits=QUBITS[machine] if qpu else NOISE[noise_model or "ideal"],
            circuits=CIRCUITS,
            shots=SHOTS if qpu else None,
            exact=False,
        )

    def __repr__(self) -> str:
        return f"IonQMachine({self.target!r}, ledger={str(self.ledger.path)!r})"

    @property
    def price_name(self) -> str:
        """Its name in the list of prices."""
        return f"ionq.{self.target}"

    @property
    def prices(self) -> PriceList:
        """The list of prices that it computes its bill with."""
        return self._prices

    def prepare(self) -> None:
        """Check that there is an API key."""
        self._service.prepare()

    def gates(self, batch: Batch) -> tuple[Int1D, Int1D]:
        """Numbers of gates on one qubit, and on two, of each circuit of a batch."""
        one, two = gates_run(batch)
        return np.where(one + two == 0, 1, one), two  # as in _gates

    def dollars(self, one: Int1D, more: Int1D, shots: Int1D) -> float | None:
        """The price of some circuits; None if it is not known."""
        price = self._prices.of(self.price_name)
        if price is None:
            return None
        each = price.dollars(one, more, shots, mitigated=bool(self._mitigated))
        return float(each.sum())

    def payload(self, batches: Sequence[Batch], parcel: Parcel) -> dict[str, Any]:
        """A job of IonQ's API, without its name and metadata."""
        circuits = [
            _gates(batches[b].circuit, batches[b].angles[i]) for b, i in parcel.rows
        ]
        what: dict[str, Any] = {"qubits": parcel.qubits, "gateset": "qis"}
        if len(circuits) == 1:
            kind, what["circuit"] = "ionq.circuit.v1", circuits[0]
        else:
            kind = "ionq.multi-circuit.v1"
            what["circuits"] = [{"circuit": gates} for gates in circuits]
        job: dict[str, Any] = {"type": kind, "input": what, "backend": self.target}
        job["shots"] = parcel.shots
        settings: dict[str, Any] = {}
        if self._compilation is not None:
            settings["compilation"] = self._compilation
        if self.name == "ionq_qpu":
            # Said in any case: where nothing is said some machines mitigate errors,
            # which has another price.
            settings["error_mitigation"] = {"debiasing": self._mitigated}
        elif self._noise is not None:
            job["noise"] = self._noise
        if settings:
            job["settings"] = settings
        return job

    def submit(self, payload: Any, key: str, *, timeout: float) -> str:
        """Send a job; its metadata has the key of the ledger."""
        name = f"{self._job_name} {key[:12]}"
        job = {**payload, "name": name, "metadata": {"qstore_key": key}}
        return self._service.create(job, timeout=timeout)

    def job_named(self, key: str, *, timeout: float) -> str | None:
        """The identifier of the job whose metadata has this key, if it is found."""
        return self._service.named(key, timeout=timeout)

    def result_of(self, entry: Entry, *, timeout: float) -> Any:
        """Probabilities of the outcomes of each circuit of a job; None if not ready."""
        assert entry.job is not None
        job = self._service.job(entry.job, timeout=timeout)
        status = str(job.get("status")).lower()
        where: dict[str, Any] = {"backend": self.name, "job": entry.job}
        if status == "failed":
            why = json.dumps(job.get("failure"))[:LONGEST_TEXT]
            raise JobFailedError(f"A job failed at the service: {why}.", **where)
        if status in ("canceled", "cancelled"):
            raise JobCancelledError(
                "A job was cancelled. Run the program again to send it again.", **where
            )
        if status != "completed":
            return None
        address = address_of(job, entry)
        found = self._service.result(address, entry.job, timeout=timeout)
        return checked(histograms(found, entry), entry, counts=self.name == "ionq_qpu")

    def outcomes(
        self,
        result: Any,
        batches: Sequence[Batch],
        parcel: Parcel,
        seed: Sequence[int],
    ) -> list[Any]:
        """What was measured in each circuit; a simulator's outcomes are drawn."""
        rng = None if self.name == "ionq_qpu" else np.random.default_rng(seed)
        return [
            measured(histogram, batches[b].circuit.measured, parcel.shots, rng)
            for (b, _), histogram in zip(parcel.rows, result, strict=True)
        ]


def _noise(model: str | None, seed: int | None) -> dict[str, Any] | None:
    """The simulated noise, as IonQ's API wants it."""
    if model is None:
        if seed is not None:
            raise ValueError("Argument `noise_seed` needs a `noise_model`.")
        return None
    noise: dict[str, Any] = {"model": _checks.choice("noise_model", model, NOISE)}
    if seed is not None:
        noise["seed"] = _checks.integer("noise_seed", seed, minimum=1)
        if seed > MAX_SEED:
            raise ValueError(
                f"Argument `noise_seed` must be at most {MAX_SEED}, but is {seed}."
            )
    return noise


def _mitigated(settings: Mapping[str, bool] | None) -> bool:
    """Whether the service mitigates errors."""
    if settings is None:
        return False
    if not isinstance(settings, Mapping) or set(settings) - {"debiasing"}:
        raise ValueError(
            'Argument `error_mitigation` must be {"debiasing": True} or {"debiasing": '
            f"False}}, but is {settings!r}."
        )
    return _checks.boolean("debiasing", settings.get("debiasing", False))


def _compilation(settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A copy of the settings of the compiler."""
    if settings is None:
        return None
    if not isinstance(settings, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str | int | float | bool)
        for name, value in settings.items()
    ):
        raise TypeError(
            "Argument `compilation` must be a dictionary of numbers and words, but is "
            f"{settings!r}."
        )
    return dict(settings)


def _gates(circuit: Circuit, angles: NDArray[np.float64]) -> list[dict[str, Any]]:
    """The gates of a circuit, as IonQ's API wants them; rotations by 0 are left out."""
    found = []
    for gate in circuit.gates:
        angle = gate.angle if gate.column is None else float(angles[gate.column])
        if angle == 0.0:
            continue
        made: dict[str, Any] = {"gate": GATES[gate.name]}
        if len(gate.wires) == 1:
            made["target"] = gate.wires[0]
        elif gate.name in CONTROLLED:
            made["control"], made["target"] = gate.wires
        else:
            made["targets"] = list(gate.wires)
        if angle is not None:
            made["rotation"] = angle
        found.append(made)
    # IonQ refuses circuits without gates; this one changes nothing.
    return found or [{"gate": "z", "target": 0}]
