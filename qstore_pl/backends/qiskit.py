"""Qiskit's Aer simulator: a circuit is translated once, and run at many angles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from qstore_pl.backends.cirq import simulated
from qstore_pl.backends.machine import (
    Batch,
    Bill,
    Limits,
    Machine,
    Outcomes,
    Ticket,
    joined,
    shares_of,
)
from qstore_pl.devices import Circuit

# PennyLane's name of a gate -> method of qiskit.QuantumCircuit. There are no controlled
# rotations: Aer 0.17 runs them wrongly, and says nothing, where their angle is bound.
METHODS = {
    **{"PauliX": "x", "PauliY": "y", "PauliZ": "z", "Hadamard": "h"},
    **{"S": "s", "T": "t", "SX": "sx", "RX": "rx", "RY": "ry", "RZ": "rz"},
    **{"PhaseShift": "p", "CNOT": "cx", "CZ": "cz", "SWAP": "swap"},
    **{"IsingXX": "rxx", "IsingYY": "ryy", "IsingZZ": "rzz"},
}
KEPT = 64  # translated circuits


@final
class AerMachine(Machine):
    """The simulator of ``qiskit-aer``.

    Args:
        noise_model: A ``qiskit_aer.noise.NoiseModel``; None has no noise. Circuits are
            translated into its gates, so that the noise acts.
        method: How Aer simulates, as its ``AerSimulator`` names it.
    """

    gate_set = frozenset(METHODS)
    limits = Limits(qubits=29, verbatim=True)
    name = "qiskit"

    def __init__(self, *, noise_model: Any = None, method: str = "automatic") -> None:
        self._noise_model, self._method = noise_model, method
        self._translated: dict[tuple[Circuit, bool], tuple[Any, list[Any]]] = {}

    def __repr__(self) -> str:
        noise = None
        if self._noise_model is not None:
            noise = f"NoiseModel({sorted(self._noise_model.noise_instructions)})"
        return f"AerMachine(noise_model={noise}, method={self._method!r})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_translated": {}}

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run of these batches; it costs nothing."""
        return simulated(batches)

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits, each in one call of Aer for each number of shots."""
        from qiskit_aer import AerSimulator

        options = {"method": self._method}
        if self._noise_model is not None:
            options["noise_model"] = self._noise_model
        simulator = AerSimulator(**options)
        # Aer takes seeds of 64 bits, and adds to them for each circuit.
        seeds = np.random.SeedSequence(ticket.seed).generate_state(
            2 * len(batches), "u4"
        )
        found: list[Outcomes] = []
        for batch, own in zip(batches, seeds[::2], strict=True):
            found.append(self._outcomes(simulator, batch, int(own)))
        return found

    def _outcomes(self, simulator: Any, batch: Batch, seed: int) -> Outcomes:
        exact = batch.shots is None
        k = len(batch.circuit.measured)
        circuit, parameters = self._circuit(simulator, batch.circuit, exact=exact)
        parts: list[Any] = [None] * len(batch)
        numbers = np.zeros(len(batch), dtype=np.int64)
        if batch.shots is not None:
            numbers = batch.shots
        for shots in np.unique(numbers):
            which = np.flatnonzero(numbers == shots)
            values = batch.angles[which].T.tolist()
            options: dict[str, Any] = {"seed_simulator": seed + int(shots)}
            if parameters:
                binds = dict(zip(parameters, values, strict=True))
                options["parameter_binds"] = [binds]
            if not exact:
                options["shots"] = int(shots)
            result = simulator.run([circuit], **options).result()
            if not result.success:
                raise RuntimeError(f"Aer failed: {result.status}")
            for i, one in zip(which, result.results, strict=True):
                data = one.data.to_dict()
                parts[i] = data["probabilities"] if exact else _counted(data, k)
        if exact:
            return np.array(parts).reshape(len(batch), 1 << k)
        return joined(parts, k)

    def _circuit(
        self, simulator: Any, circuit: Circuit, *, exact: bool
    ) -> tuple[Any, list[Any]]:
        """A circuit in the gates of the simulator, and its parameters by column."""
        key = circuit, exact
        if key not in self._translated:
            while len(self._translated) >= KEPT:
                self._translated.pop(next(iter(self._translated)))
            self._translated[key] = self._translate(simulator, circuit, exact=exact)
        return self._translated[key]

    @staticmethod
    def _translate(
        simulator: Any, circuit: Circuit, *, exact: bool
    ) -> tuple[Any, list[Any]]:
        import qiskit
        from qiskit.circuit import Parameter

        k = len(circuit.measured)
        made = qiskit.QuantumCircuit(circuit.n_wires, 0 if exact else k)
        parameters = [Parameter(f"a{i}") for i in range(circuit.n_columns)]
        for gate in circuit.gates:
            angles = [] if gate.angle is None else [gate.angle]
            if gate.column is not None:
                angles = [parameters[gate.column]]
            getattr(made, METHODS[gate.name])(*angles, *gate.wires)
        # Qiskit's first bit is the least significant one.
        lowest_first = list(circuit.measured[::-1])
        if exact:
            made.save_probabilities(lowest_first)
        else:
            made.measure(lowest_first, range(k))
        level = 0 if circuit.verbatim else 1
        return qiskit.transpile(made, simulator, optimization_level=level), parameters


def _counted(data: Any, k: int) -> Any:
    counts = data["counts"]
    outcomes = np.array([int(key, 16) for key in counts], dtype=np.int64)
    times = np.fromiter(counts.values(), np.int64, len(counts))
    return shares_of(outcomes, times, k)
