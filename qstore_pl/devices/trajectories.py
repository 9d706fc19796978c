"""Measurements of averages over trajectories: means, standard errors and intervals.

States are the weighted state vectors of all trajectories, shape
``(batch * (1 + n), 2**n_wires)`` for n trajectories that are drawn for each sample,
after the one without errors (:class:`TrajectoryPass`). Sums over those of a sample are
averages. What is linear in the density matrix has an unbiased average; other
measurements are refused.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    Shots,
)
from pennylane.operation import Operator

from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.lowering import Circuit, lower
from qstore_pl.devices.mixed_readout import eigenbasis
from qstore_pl.devices.readout import (
    PauliSumValue,
    Readout,
    apply_matrix,
    apply_word,
    marginal,
    outcomes,
    real_values,
)
from qstore_pl.devices.states import StateKind
from qstore_pl.engine.program import Program
from qstore_pl.engine.trajectories import (
    TrajectoryPass,
    TrajectoryProgram,
    Uniform,
)

Complex2D = NDArray[np.complex128]
Float = NDArray[np.float64]


class TrajectoryStates(StateKind):
    """State vectors that are drawn at random, whose average is the density matrix.

    Args:
        noise: Noise of the device.
        trajectories: Number of state vectors with errors that are drawn for each
            sample, >= 1.
        uniform: Function from a shape to random numbers in [0, 1) of that shape.
    """

    simulator = qml.devices.qubit
    exact = False
    noise: SpecNoise

    def __init__(self, noise: SpecNoise, trajectories: int, uniform: Uniform) -> None:
        self.noise, self.n_rows = noise, 1 + trajectories
        self.program = functools.partial(
            TrajectoryProgram, trajectories=trajectories, uniform=uniform
        )

    def lower(
        self,
        circuit: Circuit,
        rotation: Sequence[Operator] = (),
        *,
        dtype: str = "complex128",
    ) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit, self.noise, self.program, rotation, dtype=dtype)

    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """What a measurement that is linear in the density matrix needs, and its value.

        Args:
            mp: The measurement.
            order: Wire labels in the order of the register.

        Raises:
            DeviceError: If it is another measurement.
        """
        if isinstance(mp, ExpectationMP) and mp.obs is not None:
            if mp.obs.pauli_rep is not None:
                return TrajectorySum(mp.obs.pauli_rep, order, self)
            if not isinstance(mp.obs, qml.SparseHamiltonian):
                wires, rotation, values = eigenbasis(mp.obs)
                return TrajectoryOutcomes(wires, order, self, rotation, values)
        elif isinstance(mp, ExpectationMP):
            return TrajectoryOutcomes(mp.wires, order, self, (), mp.eigvals())
        elif isinstance(mp, ProbabilityMP):
            rotation = mp.diagonalizing_gates() if mp.obs is not None else ()
            wires = list(mp.wires) or list(order)
            return TrajectoryOutcomes(wires, order, self, rotation)
        raise DeviceError(
            f"Trajectories give expectation values and probabilities, not {mp}. Use "
            'method="density".'
        )

    def reads_truly(self, wires: Iterable[Any]) -> bool:
        """Whether the outcomes on these wires are read without errors."""
        return not any(any(self.noise.readout_of(wire)) for wire in wires)

    def tensor(self, states: NDArray[Any]) -> Complex2D:
        """The states of all trajectories as they are."""
        return states

    def shadow(
        self,
        mp: MeasurementProcess,
        states: NDArray[Any],
        order: tuple[Any, ...],
        shots: Shots,
        rng: np.random.Generator,
    ) -> Sequence[Any]:
        """Refuse classical shadows.

        Raises:
            DeviceError: Always.
        """
        raise DeviceError(
            'Trajectories give no classical shadows. Use method="density".'
        )


class TrajectorySum(PauliSumValue):
    """The expectation value of an operator with a Pauli representation."""

    def __init__(
        self, sentence: Any, order: Sequence[Any], kind: TrajectoryStates
    ) -> None:
        super().__init__(sentence, order)
        self._kind = kind

    def of_states(self, states: Complex2D) -> Float:
        each = self.bra(np.ones(len(states) // self._kind.n_rows), states)
        values = np.einsum("bi,bi->b", states.conj(), each).real
        return values.reshape(-1, self._kind.n_rows).sum(axis=1)

    @property
    def scales(self) -> Float:
        """The scale of the values of trajectories, shape ``(1,)``."""
        each = [
            c for word, c in zip(self.words, self.coefficients, strict=True) if word
        ]
        return np.array([np.linalg.norm(each)])

    def of_strings(
        self, work: TrajectoryPass, words: Sequence[int], states: Complex2D | None
    ) -> Float:
        """The value of each trajectory that was run, shape ``(n_rows, 1)``.

        Args:
            work: The forward run.
            words: Which of its outputs the words are.
            states: The states, which are not used.
        """
        return (work.outputs[:, words] @ self.coefficients)[:, None]

    def bra(self, dy: Float, states: Complex2D) -> Complex2D:
        position = {label: i for i, label in enumerate(self._order)}
        total = np.zeros_like(states)
        for word, c in zip(self.words, self.coefficients, strict=True):
            wires = tuple(position[label] for label in word)
            term = (c, "".join(word.values()), wires)
            for weight, letters, where in self._kind.noise.observed(
                (term,), self._order
            ):
                labels = [self._order[i] for i in where]
                read = qml.pauli.PauliWord(dict(zip(labels, letters, strict=True)))
                total += weight * apply_word(read, states, self._order)
        return np.repeat(dy, self._kind.n_rows)[:, None] * total


class TrajectoryOutcomes(Readout):
    """Probabilities of outcomes, or the mean of a function of them.

    Args:
        wires: Labels of the wires that are read; the first is the most significant bit.
        order: Wire labels in the order of the register.
        kind: The trajectories, with their number and the readout error.
        rotation: Gates that turn the basis that is measured into the computational one.
        values: Value of the function for each outcome; None for the probabilities.
    """

    def __init__(
        self,
        wires: Sequence[Any],
        order: Sequence[Any],
        kind: TrajectoryStates,
        rotation: Sequence[Any] = (),
        values: Any = None,
    ) -> None:
        self._wires, self._order, self._kind = wires, order, kind
        self._rotation = rotation
        self._weights = np.eye(1)  # (outcomes read, outcomes), or (values, outcomes)
        for wire in wires:
            e0, e1 = kind.noise.readout_of(wire)
            read = np.array([[1.0 - e0, e1], [e0, 1.0 - e1]])
            self._weights = np.kron(self._weights, read)
        self._mean = values is not None
        self.affine = not any(any(kind.noise.readout_of(w)) for w in wires)
        self.shape = () if self._mean else (len(self._weights),)
        if values is not None:
            self._weights = real_values(values, "eigenvalues")[None] @ self._weights

    def _rotate(self, states: Complex2D, *, back: bool = False) -> Complex2D:
        for op in reversed(self._rotation) if back else self._rotation:
            matrix = np.asarray(op.matrix(op.wires))
            matrix = matrix.conj().T if back else matrix
            states = apply_matrix(matrix, op.wires, states, self._order)
        return states

    @property
    def scales(self) -> Float:
        """The scale of the values of trajectories: half their range."""
        weights = self._weights
        return np.asarray(weights.max(axis=1) - weights.min(axis=1)) / 2.0

    def _each(self, states: Complex2D) -> Float:
        probabilities = marginal(self._rotate(states), self._wires, self._order)
        return probabilities @ self._weights.T

    def value(self, words: Float, states: Complex2D | None) -> Float:
        assert states is not None
        each = self._each(states)
        found = each.reshape(-1, self._kind.n_rows, each.shape[1]).sum(axis=1)
        return found[:, 0] if self._mean else found

    def of_strings(
        self, work: TrajectoryPass, words: Sequence[int], states: Complex2D | None
    ) -> Float:
        """The values of each trajectory that was run, shape ``(n_rows, n_values)``.

        Args:
            work: The forward run.
            words: Outputs of the run, which are not used.
            states: The weighted states of all trajectories.
        """
        assert states is not None
        return work.of_strings(self._each(states))

    def bra(self, dy: Float, states: Complex2D) -> Complex2D:
        dp = (dy[:, None] if self._mean else dy) @ self._weights
        dp = np.repeat(dp, self._kind.n_rows, axis=0)
        outcome = outcomes(self._wires, self._order)
        return self._rotate(dp[:, outcome] * self._rotate(states), back=True)


@dataclass(frozen=True)
class Precision:
    """How precise the averages of an execution are.

    Args:
        standard_errors: Those of each measurement, an array of the shape of its value.
        intervals: The ends of the 95 % interval of each measurement, two arrays of the
            shape of its value.
        no_error_weights: Weight of the trajectory without errors in the average, for
            each sample if the circuit has a batch.
    """

    standard_errors: tuple[Float, ...]
    intervals: tuple[tuple[Float, Float], ...]
    no_error_weights: Float


def precision(
    readouts: Iterable[Readout],
    circuit: Circuit,
    work: TrajectoryPass,
    states: Complex2D | None,
) -> Precision:
    """How precise the measurements of a tape are.

    Args:
        readouts: One for each measurement.
        circuit: The tape taken apart.
        work: The forward pass.
        states: The states of all trajectories, or None if no measurement needs them.
    """
    errors, intervals = [], []
    strata = work.strata
    for readout in readouts:
        assert isinstance(readout, TrajectorySum | TrajectoryOutcomes)
        columns = [circuit.words.index(word) for word in readout.words]
        each = readout.of_strings(work, columns, states)
        mean, error = strata.totals(each), strata.standard_errors(each)
        width = strata.half_widths(each, readout.scales)
        shape = (() if circuit.batch is None else mean.shape[:1]) + readout.shape
        errors.append(error.reshape(shape))
        lower, upper = mean - width, mean + width
        intervals.append((lower.reshape(shape), upper.reshape(shape)))
    weights = strata.no_error if circuit.batch is not None else strata.no_error[0]
    return Precision(tuple(errors), tuple(intervals), np.array(weights))
