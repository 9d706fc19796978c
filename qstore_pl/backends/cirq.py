"""Cirq's simulators of state vectors and density matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.backends.machine import (
    Batch,
    Bill,
    Limits,
    Machine,
    Outcomes,
    Ticket,
    drawn,
    gates_run,
    marginal,
)

Complex3D = NDArray[np.complex128]
MATRICES: dict[str, Any] = {
    "PauliX": [[0, 1], [1, 0]],
    "PauliY": [[0, -1j], [1j, 0]],
    "PauliZ": [[1, 0], [0, -1]],
    "Hadamard": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "S": [[1, 0], [0, 1j]],
    "T": [[1, 0], [0, np.exp(0.25j * np.pi)]],
    "SX": np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2,
}
AXES = {"RX": MATRICES["PauliX"], "RY": MATRICES["PauliY"], "RZ": MATRICES["PauliZ"]}


@final
class CirqMachine(Machine):
    """Cirq's simulator, in double precision.

    Cirq takes its time by the gate. Gates on one qubit that follow each other are
    therefore multiplied before they are given to it.

    Args:
        mixed: Whether states are density matrices.
        noise: A ``cirq.NoiseModel``, or a gate of cirq that follows every gate on all
            its qubits; only if states are density matrices. Gates are not multiplied
            then.
    """

    gate_set = frozenset({*MATRICES, *AXES, "CNOT", "CZ", "SWAP"})

    def __init__(self, *, mixed: bool = False, noise: Any = None) -> None:
        self.name = "cirq_mixed" if mixed else "cirq"
        self._mixed, self._noise = mixed, noise
        self.limits = Limits(qubits=13 if mixed else 26, verbatim=True)

    def __repr__(self) -> str:
        return f"CirqMachine(mixed={self._mixed}, noise={self._noise!r})"

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run of these batches; it costs nothing."""
        return simulated(batches)

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits; outcomes are drawn from exact probabilities."""
        found: list[Outcomes] = []
        for b, batch in enumerate(batches):
            circuit = batch.circuit
            exact = self._probabilities(batch)
            exact = marginal(exact, circuit.n_wires, circuit.measured)
            if batch.shots is None:
                found.append(exact)
            else:
                found.append(drawn(exact, batch.shots, [ticket.seed, b]))
        return found

    def _probabilities(self, batch: Batch) -> NDArray[np.float64]:
        """The probabilities of all outcomes, shape ``(n, 2**n_wires)``."""
        import cirq

        n_wires = batch.circuit.n_wires
        qubits = cirq.LineQubit.range(n_wires)
        options: dict[str, Any] = {
            "dtype": np.complex128,
            "split_untangled_states": False,
            "noise": self._noise,
        }
        kind = cirq.DensityMatrixSimulator if self._mixed else cirq.Simulator
        simulator = kind(**options)
        steps = _steps(batch, whole=self._noise is not None)
        found = np.empty((len(batch), 1 << n_wires))
        for i in range(len(batch)):
            operations = [step(i, qubits) for step in steps]
            circuit = cirq.Circuit(operations)
            result: Any = simulator.simulate(circuit, qubit_order=qubits)
            if self._mixed:
                found[i] = np.diagonal(result.final_density_matrix).real
            else:
                found[i] = np.abs(result.final_state_vector) ** 2
        return found


Step = Callable[[int, Any], Any]  # from a circuit of the batch and qubits to a gate


def _steps(batch: Batch, *, whole: bool) -> list[Step]:
    """The gates of a batch, with those on one qubit multiplied unless all are whole."""
    import cirq

    more = {"CNOT": cirq.CNOT, "CZ": cirq.CZ, "SWAP": cirq.SWAP}
    steps: list[Step] = []
    waiting: dict[int, Complex3D] = {}

    def matrix(wire: int, matrices: Complex3D) -> Step:
        shared = len(matrices) == 1

        def step(i: int, qubits: Any) -> Any:
            found = matrices[0 if shared else i]
            return cirq.MatrixGate(found, unitary_check=False)(qubits[wire])

        return step

    def known(name: str, wires: tuple[int, ...]) -> Step:
        return lambda _, qubits: more[name](*(qubits[wire] for wire in wires))

    for gate in batch.circuit.gates:
        if len(gate.wires) > 1:
            done = [wire for wire in gate.wires if wire in waiting]
            steps += [matrix(wire, waiting.pop(wire)) for wire in done]
            steps.append(known(gate.name, gate.wires))
            continue
        (wire,) = gate.wires
        own = _matrices(gate.name, gate.angle, gate.column, batch)
        if whole:
            steps.append(matrix(wire, own))
        else:
            waiting[wire] = own @ waiting[wire] if wire in waiting else own
    steps += [matrix(wire, own) for wire, own in waiting.items()]
    return steps


def _matrices(
    name: str, angle: float | None, column: int | None, batch: Batch
) -> Complex3D:
    """Matrices of a gate on one qubit, shape ``(n, 2, 2)``, or one for all circuits."""
    if name not in AXES:
        return np.array(MATRICES[name], dtype=np.complex128)[None]
    half = 0.5 * (batch.angles[:, column] if column is not None else np.array([angle]))
    axis = np.array(AXES[name])
    cosine, sine = np.cos(half)[:, None, None], np.sin(half)[:, None, None]
    return np.asarray(cosine * np.eye(2) - 1j * sine * axis, dtype=np.complex128)


def simulated(batches: Sequence[Batch]) -> Bill:
    """What a simulator that costs nothing runs of some batches, in one submission."""
    bill = Bill(jobs=1)
    for batch in batches:
        one, more = gates_run(batch)
        shots = 0 if batch.shots is None else int(batch.shots.sum())
        bill += Bill(len(batch), shots, int(one.sum()), int(more.sum()))
    return bill
