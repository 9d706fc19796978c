"""Qiskit's Aer simulator: a circuit is translated once, and run at many angles."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from qstore_pl._checks import choice
from qstore_pl.backends.machine import (
    Batch,
    Bill,
    Limits,
    Machine,
    Outcomes,
    Ticket,
    joined,
    shares_of,
    simulated,
)
from qstore_pl.devices import Circuit
from qstore_pl.errors import QuantumCircuitError

# PennyLane's name of a gate -> method of qiskit.QuantumCircuit. There are no controlled
# rotations: Aer 0.17 runs them wrongly, and says nothing, where their angle is bound.
METHODS = {
    **{"PauliX": "x", "PauliY": "y", "PauliZ": "z", "Hadamard": "h"},
    **{"S": "s", "T": "t", "SX": "sx", "RX": "rx", "RY": "ry", "RZ": "rz"},
    **{"PhaseShift": "p", "CNOT": "cx", "CZ": "cz", "SWAP": "swap"},
    **{"IsingXX": "rxx", "IsingYY": "ryy", "IsingZZ": "rzz", "Barrier": "barrier"},
}
SIMULATIONS = ("automatic", "statevector", "density_matrix", "matrix_product_state")
KEPT = 64  # translated circuits
THREADS_FROM = 14  # qubits; threads of smaller states wait longer than they work


@final
class AerMachine(Machine):
    """The simulator of ``qiskit-aer``.

    Args:
        noise_model: A ``qiskit_aer.noise.NoiseModel``; None has no noise. Circuits are
            translated into its gates, and none of them is left out, so that the noise
            acts after each. Exact values need density matrices, and a noise model
            without readout errors, which Aer's probabilities do not have.
        method: How Aer simulates: ``"automatic"``, ``"statevector"``,
            ``"density_matrix"`` or ``"matrix_product_state"``. With noise
            ``"automatic"`` takes density matrices for exact values.

    Raises:
        TypeError: If ``noise_model`` is none of Aer.
        ValueError: If ``method`` is unknown.
    """

    gate_set = frozenset(METHODS)
    name = "qiskit"

    def __init__(self, *, noise_model: Any = None, method: str = "automatic") -> None:
        self._noise_model = noise_model
        self._method = choice("method", method, SIMULATIONS)
        exact = noise_model is None or (
            not _misreads(noise_model) and method in ("automatic", "density_matrix")
        )
        self.limits = Limits(qubits=29, exact=exact)
        self._translated: dict[tuple[Circuit, bool], tuple[Any, list[Any]]] = {}
        self._translating = threading.Lock()
        self._pass_manager: Any = None

    def __repr__(self) -> str:
        noise = None
        if self._noise_model is not None:
            noise = f"NoiseModel({sorted(self._noise_model.noise_instructions)})"
        return f"AerMachine(noise_model={noise}, method={self._method!r})"

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_translated": {}, "_pass_manager": None}
        del state["_translating"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._translating = threading.Lock()

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run of these batches; it costs nothing."""
        return simulated(batches)

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits, each in one call of Aer for each number of shots."""
        found: list[Outcomes] = []
        for b, batch in enumerate(batches):
            seeds = np.random.SeedSequence([ticket.seed, b])
            found.append(self._outcomes(batch, seeds))
        return found

    def _simulator(self, *, exact: bool) -> Any:
        from qiskit_aer import AerSimulator

        if self._noise_model is None:
            return AerSimulator(method=self._method)
        # Aer would average over trajectories where states are large.
        method = "density_matrix" if exact else self._method
        return AerSimulator(method=method, noise_model=self._noise_model)

    def _outcomes(self, batch: Batch, seeds: np.random.SeedSequence) -> Outcomes:
        exact = batch.shots is None
        k = len(batch.circuit.measured)
        simulator = self._simulator(exact=exact)
        circuit, parameters = self._circuit(batch.circuit, exact=exact)
        parts: list[Any] = [None] * len(batch)
        numbers = np.zeros(len(batch), dtype=np.int64)
        if batch.shots is not None:
            numbers = batch.shots
        groups = np.unique(numbers)
        # Aer adds the number of a circuit to a seed: the seeds of groups lie far apart.
        own_seeds = seeds.generate_state(len(groups), np.uint64) >> np.uint64(2)
        for shots, seed in zip(groups, own_seeds, strict=True):
            which = np.flatnonzero(numbers == shots)
            values = batch.angles[which].T.tolist()
            options: dict[str, Any] = {
                "seed_simulator": int(seed),
                "max_parallel_threads": int(batch.circuit.n_wires < THREADS_FROM),
            }
            if parameters:
                binds = dict(zip(parameters, values, strict=True))
                options["parameter_binds"] = [binds]
            if not exact:
                options["shots"] = int(shots)
            result = simulator.run([circuit], **options).result()
            if not result.success:
                raise QuantumCircuitError(
                    f"Aer failed: {result.status}", backend=self.name
                )
            for i, one in zip(which, result.results, strict=True):
                data = one.data.to_dict()
                parts[i] = data["probabilities"] if exact else _counted(data, k)
        if exact:
            return np.array(parts).reshape(len(batch), 1 << k)
        return joined(parts, k)

    def _circuit(self, circuit: Circuit, *, exact: bool) -> tuple[Any, list[Any]]:
        """A circuit in the gates of the simulator, and its parameters by column."""
        key = circuit, exact
        with self._translating:
            if key not in self._translated:
                while len(self._translated) >= KEPT:
                    self._translated.pop(next(iter(self._translated)))
                self._translated[key] = self._translate(circuit, exact=exact)
            return self._translated[key]

    def _translate(self, circuit: Circuit, *, exact: bool) -> tuple[Any, list[Any]]:
        from qiskit.transpiler import generate_preset_pass_manager

        k = len(circuit.measured)
        made, parameters = as_quantum_circuit(circuit, n_bits=0 if exact else k)
        # Qiskit's first bit is the least significant one.
        lowest_first = list(circuit.measured[::-1])
        if exact:
            made.save_probabilities(lowest_first)
        else:
            made.measure(lowest_first, range(k))
        if self._pass_manager is None:
            # Aer makes its target anew, slowly, whenever it is asked for it. Level 0
            # leaves gates that cancel where they are: their noise does not.
            self._pass_manager = generate_preset_pass_manager(
                optimization_level=0, target=self._simulator(exact=exact).target
            )
        return self._pass_manager.run(made), parameters


def as_quantum_circuit(circuit: Circuit, *, n_bits: int) -> tuple[Any, list[Any]]:
    """A circuit as a ``qiskit.QuantumCircuit``, and its parameters by column.

    Args:
        circuit: The circuit, of which nothing is measured yet.
        n_bits: Number of its classical bits.
    """
    import qiskit
    from qiskit.circuit import Parameter

    made = qiskit.QuantumCircuit(circuit.n_wires, n_bits)
    parameters = [Parameter(f"a{i}") for i in range(circuit.n_columns)]
    for gate in circuit.gates:
        angles = [] if gate.angle is None else [gate.angle]
        if gate.column is not None:
            angles = [parameters[gate.column]]
        getattr(made, METHODS[gate.name])(*angles, *gate.wires)
    return made, parameters


def _misreads(noise_model: Any) -> bool:
    """Whether a noise model has readout errors."""
    from qiskit_aer.noise import NoiseModel

    if not isinstance(noise_model, NoiseModel):
        raise TypeError(
            "Argument `noise_model` must be a qiskit_aer.noise.NoiseModel or None, but "
            f"is {noise_model!r}."
        )
    errors = noise_model.to_dict()["errors"]
    return any(error["type"] == "roerror" for error in errors)


def _counted(data: Any, k: int) -> Any:
    counts = data["counts"]
    outcomes = np.array([int(key, 16) for key in counts], dtype=np.int64)
    times = np.fromiter(counts.values(), np.int64, len(counts))
    return shares_of(outcomes, times, k)
