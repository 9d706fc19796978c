"""Cirq's gates and channels, applied to the states of many circuits at once."""

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
    marginal,
    simulated,
)
from qstore_pl.devices import Gate

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Tensor = NDArray[np.complex128]
# PennyLane's name of a gate -> its name in cirq.
FIXED = {
    **{"PauliX": "X", "PauliY": "Y", "PauliZ": "Z", "Hadamard": "H", "S": "S"},
    **{"T": "T", "CNOT": "CNOT", "CZ": "CZ", "SWAP": "SWAP"},
}
ROTATIONS = {"RX": "rx", "RY": "ry", "RZ": "rz"}
AT_ONCE = 1 << 15  # amplitudes of circuits simulated together: they fit a cache


@final
class CirqMachine(Machine):
    """Cirq's simulation of state vectors or density matrices, in double precision.

    Cirq takes its time by the gate, not by the amplitude. The states of a batch are
    therefore one tensor, and a gate is applied at once to all circuits in which it has
    the same angle, by the functions that Cirq's own simulators call.

    Args:
        mixed: Whether states are density matrices.
        noise: A gate of cirq on one qubit, such as ``cirq.depolarize(0.01)``, that
            follows every gate on each of its qubits; or a ``cirq.NoiseModel``, with
            which Cirq simulates one circuit after the other. Only if states are density
            matrices.

    Raises:
        ValueError: If there is noise, and states are vectors.
        TypeError: If ``noise`` is neither a model nor a gate on one qubit.
    """

    gate_set = frozenset({*FIXED, *ROTATIONS, "SX"})

    def __init__(self, *, mixed: bool = False, noise: Any = None) -> None:
        self.name = "cirq_mixed" if mixed else "cirq"
        self._mixed, self._noise = mixed, noise
        self.limits = Limits(qubits=13 if mixed else 26, verbatim=True)
        if noise is not None:
            _check_noise(noise, mixed=mixed)

    def __repr__(self) -> str:
        return f"CirqMachine(mixed={self._mixed}, noise={self._noise!r})"

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run of these batches; it costs nothing."""
        return simulated(batches)

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits; outcomes are drawn from exact probabilities."""
        found: list[Outcomes] = []
        for b, batch in enumerate(batches):
            exact = self._probabilities(batch)
            if batch.shots is None:
                found.append(exact)
            else:
                found.append(drawn(exact, batch.shots, [ticket.seed, b]))
        return found

    def _probabilities(self, batch: Batch) -> Float2D:
        """The probabilities of the measured outcomes, shape ``(n, 2**k)``."""
        import cirq

        circuit = batch.circuit
        if isinstance(self._noise, cirq.NoiseModel):
            found = np.stack([self._by_cirq(batch, i) for i in range(len(batch))])
            return marginal(found, circuit.n_wires, circuit.measured)
        at_once = max(1, AT_ONCE >> circuit.n_wires * (1 + self._mixed))
        parts = []
        for start in range(0, len(batch), at_once):
            part = batch.some(slice(start, start + at_once))
            own = _populations(part, self._noise) if self._mixed else _squares(part)
            parts.append(marginal(own, circuit.n_wires, circuit.measured))
        return np.concatenate(parts)

    def _by_cirq(self, batch: Batch, i: int) -> Float1D:
        """The probabilities of all outcomes of a circuit, by Cirq's simulator."""
        import cirq

        qubits = cirq.LineQubit.range(batch.circuit.n_wires)
        operations = [
            _of_cirq(gate.name, _angles(gate, batch)[i])(
                *(qubits[w] for w in gate.wires)
            )
            for gate in batch.circuit.gates
        ]
        simulator = cirq.DensityMatrixSimulator(
            dtype=np.complex128, noise=self._noise, split_untangled_states=False
        )
        result: Any = simulator.simulate(cirq.Circuit(operations), qubit_order=qubits)
        return np.diagonal(result.final_density_matrix).real


def _check_noise(noise: Any, *, mixed: bool) -> None:
    import cirq

    if not mixed:
        raise ValueError(
            "Argument `noise` must be None where states are vectors. Use density "
            'matrices: mixed=True, or the backend "cirq_mixed".'
        )
    on_one = isinstance(noise, cirq.Gate) and cirq.num_qubits(noise) == 1
    if not on_one and not isinstance(noise, cirq.NoiseModel):
        raise TypeError(
            "Argument `noise` must be a cirq.NoiseModel, or a gate of cirq on one "
            f"qubit, but is {noise!r}."
        )


def _of_cirq(name: str, angle: float) -> Any:
    """Cirq's gate of a name; those that have no angle do not look at it."""
    import cirq

    if name in ROTATIONS:
        return getattr(cirq, ROTATIONS[name])(angle)
    return cirq.X**0.5 if name == "SX" else getattr(cirq, FIXED[name])


def _angles(gate: Gate, batch: Batch) -> Float1D:
    """The angle of a gate in each circuit, 0 where it has none."""
    if gate.column is not None:
        return batch.angles[:, gate.column]
    return np.full(len(batch), gate.angle or 0.0)


def _after(
    tensor: Tensor, batch: Batch, act: Callable[[Any, Tensor, tuple[int, ...]], Tensor]
) -> Tensor:
    """The states of a batch after all gates.

    Args:
        tensor: The states before them, the circuits along the last axis.
        batch: The circuits.
        act: From a gate of cirq, states that it may write to, and the wires it acts on,
            to the states after it.
    """
    for gate in batch.circuit.gates:
        angles, which = np.unique(_angles(gate, batch), return_inverse=True)
        if len(angles) == 1:
            tensor = act(_of_cirq(gate.name, angles[0]), tensor, gate.wires)
            continue
        for i, angle in enumerate(angles):
            own = np.flatnonzero(which == i)
            part = np.ascontiguousarray(tensor[..., own])
            tensor[..., own] = act(_of_cirq(gate.name, angle), part, gate.wires)
    return tensor


def _ground(n_axes: int, batch: Batch) -> Tensor:
    """The state 0 of each circuit."""
    tensor = np.zeros((*[2] * n_axes, len(batch)), dtype=np.complex128)
    tensor[(0,) * n_axes] = 1.0
    return tensor


def _squares(batch: Batch) -> Float2D:
    """The probabilities of all outcomes, from state vectors."""
    import cirq

    def act(gate: Any, tensor: Tensor, wires: tuple[int, ...]) -> Tensor:
        free = np.empty_like(tensor)
        return cirq.apply_unitary(gate, cirq.ApplyUnitaryArgs(tensor, free, wires))

    states = _after(_ground(batch.circuit.n_wires, batch), batch, act)
    return (states.real**2 + states.imag**2).reshape(-1, len(batch)).T


def _populations(batch: Batch, noise: Any) -> Float2D:
    """The probabilities of all outcomes, from density matrices.

    Args:
        batch: The circuits.
        noise: A gate of cirq that follows every gate on each of its qubits, or None.
    """
    import cirq

    n = batch.circuit.n_wires

    def once(gate: Any, tensor: Tensor, wires: tuple[int, ...]) -> Tensor:
        free = [np.empty_like(tensor) for _ in range(3)]
        columns = [n + wire for wire in wires]
        args = cirq.ApplyChannelArgs(tensor, *free, wires, columns)
        return cirq.apply_channel(gate, args)

    def act(gate: Any, tensor: Tensor, wires: tuple[int, ...]) -> Tensor:
        tensor = once(gate, tensor, wires)
        for wire in wires if noise is not None else ():
            tensor = once(noise, tensor, (wire,))
        return tensor

    states = _after(_ground(2 * n, batch), batch, act)
    matrices = states.reshape(1 << n, 1 << n, len(batch))
    return np.diagonal(matrices).real
