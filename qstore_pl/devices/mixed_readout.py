"""Measurements of density matrices, read with or without errors, and their derivatives.

States are Pauli vectors of shape ``(batch, 4**n)``, and so are the derivatives of
measurements with respect to states. The outcomes that a device reads are those of the
computational basis, after a perfect rotation; the outcome of each wire is then misread
independently.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import (
    ExpectationMP,
    MeasurementProcess,
    ProbabilityMP,
    StateMP,
    VarianceMP,
)

from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.readout import (
    PauliSumValue,
    Readout,
    check_hermitian,
    real,
    real_values,
)
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.pauli_fusion import word_index
from qstore_pl.engine.transfer import density_matrix, pauli_vector, transfer_matrix

Float = NDArray[np.float64]
PairOf = Callable[[Any], tuple[float, float]]  # from a wire's label to p(1|0), p(0|1)
SPARSE_IS_NOT_MISREAD = (
    "A sparse Hamiltonian has no outcomes that could be misread. Measure Pauli words, "
    "or use noise without readout error."
)


class MixedSum(PauliSumValue):
    """The expectation value of an operator with a Pauli representation."""

    def __init__(self, sentence: Any, order: Sequence[Any], noise: SpecNoise) -> None:
        super().__init__(sentence, order)
        self._observed = noise.observed

    def of_states(self, states: Float) -> Float:
        return np.einsum("bi,bi->b", self.bra(np.ones(len(states)), states), states)

    def bra(self, dy: Float, states: NDArray[Any]) -> NDArray[Any]:
        position = {label: i for i, label in enumerate(self._order)}
        derivative = np.zeros(states.shape[1])
        for word, c in zip(self.words, self.coefficients, strict=True):
            wires = tuple(position[label] for label in word)
            term = (c, "".join(word.values()), wires)
            for weight, letters, where in self._observed((term,), self._order):
                derivative[word_index(len(self._order), letters, where)] += weight
        return dy[:, None] * derivative


class Outcomes:
    """Probabilities of outcomes, as a linear function of Pauli vectors.

    Args:
        wires: Labels of the wires that are read; the first is the most significant bit.
        order: Wire labels in the order of the register.
        pair_of: Function from a label to the pair ``(p(1|0), p(0|1))`` of its wire.
        rotation: Gates that turn the basis that is measured into the computational one.
    """

    def __init__(
        self,
        wires: Sequence[Any],
        order: Sequence[Any],
        pair_of: PairOf,
        rotation: Sequence[Any] = (),
    ) -> None:
        self._n = len(order)
        self._axes = [1 + order.index(wire) for wire in wires]
        turned = {wire for op in rotation for wire in op.wires}
        # The gates of an eigenbasis may act on wires of which the outcome is not read.
        self._more = [1 + order.index(w) for w in order if w in turned - set(wires)]
        local = {axis: 1 + i for i, axis in enumerate(self._axes + self._more)}
        self._rotation = [
            (
                [local[1 + order.index(wire)] for wire in op.wires],
                transfer_matrix([to_numpy(op.matrix(op.wires))]),
            )
            for op in rotation
        ]
        # Components I and Z of the wires that are read, I of those only rotated.
        rows: list[slice | int] = [slice(None, None, 3)] * len(self._axes)
        self._diagonal = (slice(None), *rows, *[0] * len(self._more))
        # All components of both, I of all other wires.
        rows = [slice(None)] * len(local)
        self._kept = (slice(None), *rows, *[0] * (self._n - len(local)))
        self.size = 1 << len(self._axes)
        self.misread = any(any(pair_of(wire)) for wire in wires)
        # Matrices from the components I, Z of a wire to the probabilities of 0 and 1.
        self._read = []
        for wire in wires:
            e0, e1 = pair_of(wire)
            self._read.append(
                np.array([[1 + e1 - e0, 1 - e0 - e1], [1 - e1 + e0, e0 + e1 - 1]]) / 2
            )

    def probabilities(self, states: Float) -> Float:
        """The probabilities, shape ``(batch, 2**k)`` for k wires.

        Args:
            states: Pauli vectors, shape ``(batch, 4**n)``.
        """
        array = self._local(states)
        for axes, matrix in self._rotation:
            array = _apply(matrix, axes, array)
        array = array[self._diagonal]
        for i, matrix in enumerate(self._read):
            array = _apply(matrix, [1 + i], array)
        return array.reshape(len(states), -1)

    def pull_back(self, dp: Float, states: Float) -> Float:
        """The transpose of :meth:`probabilities`, shape ``(batch, 4**n)``.

        Args:
            dp: Cotangents of the probabilities, shape ``(batch, 2**k)``.
            states: Pauli vectors, of which the shape counts.
        """
        k, batch = len(self._axes), len(states)
        array = dp.reshape(batch, *[2] * k)
        for i, matrix in enumerate(self._read):
            array = _apply(matrix.T, [1 + i], array)
        size = k + len(self._more)
        local = np.zeros((batch, *[4] * size))
        local[self._diagonal] = array
        for axes, matrix in reversed(self._rotation):
            local = _apply(matrix.T, axes, local)
        full = np.zeros((batch, *[4] * self._n))
        view = np.moveaxis(full, self._axes + self._more, range(1, size + 1))
        view[self._kept] = local
        return full.reshape(batch, -1)

    def _local(self, states: Float) -> Float:
        array = states.reshape(-1, *[4] * self._n)
        size = len(self._axes) + len(self._more)
        array = np.moveaxis(array, self._axes + self._more, range(1, size + 1))
        return array[self._kept]


class MixedProbabilities(Readout):
    """The probabilities of outcomes."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes
        self.shape = (outcomes.size,)

    def value(self, words: Float, states: Float | None) -> Float:
        assert states is not None
        return self._outcomes.probabilities(states)

    def bra(self, dy: Float, states: Float) -> Float:
        return self._outcomes.pull_back(dy, states)


class MixedMoment(Readout):
    """The mean or the variance of a function of outcomes."""

    def __init__(self, outcomes: Outcomes, values: Any, *, variance: bool) -> None:
        self._outcomes, self._variance = outcomes, variance
        self.affine = not (variance or outcomes.misread)
        self._values = real_values(values, "eigenvalues")

    def value(self, words: Float, states: Float | None) -> Float:
        assert states is not None
        probabilities = self._outcomes.probabilities(states)
        mean = probabilities @ self._values
        return probabilities @ self._values**2 - mean**2 if self._variance else mean

    def bra(self, dy: Float, states: Float) -> Float:
        values = np.broadcast_to(self._values, (len(states), len(self._values)))
        if self._variance:
            mean = self._outcomes.probabilities(states) @ self._values
            values = values**2 - 2 * mean[:, None] * values
        return self._outcomes.pull_back(dy[:, None] * values, states)


class SparseValue(Readout):
    """The expectation value of a sparse Hamiltonian, which is not read in any basis."""

    def __init__(self, obs: Any, order: Sequence[Any]) -> None:
        dense = obs.sparse_matrix(wire_order=order).toarray()
        self._vector = pauli_vector(dense[None])[0] / len(dense)

    def value(self, words: Float, states: Float | None) -> Float:
        assert states is not None
        return states @ self._vector

    def bra(self, dy: Float, states: Float) -> Float:
        return dy[:, None] * self._vector


class MixedFunction(Readout):
    """Any other measurement, computed by PennyLane; it has no gradient here."""

    differentiable = False
    per_sample = False

    def __init__(self, mp: Any, order: Sequence[Any]) -> None:
        positions = {wire: i for i, wire in enumerate(order)}
        self._mp = mp.map_wires(positions)
        self._n = len(order)
        self.is_state = type(mp) is StateMP

    def layout(self) -> tuple[tuple[int, ...], bool]:
        shape = self._mp.shape(None, self._n)
        if type(self._mp) is StateMP:
            shape *= 2  # a density matrix
        return shape, self._mp.numeric_type is complex

    def value(self, words: Float, states: Float | None) -> Any:
        assert states is not None
        if not self._n and type(self._mp) is StateMP:
            return np.ones((*states.shape[:-1], 1, 1), complex)
        batched = states.ndim > 1
        state = density_tensor(states if batched else states[None])
        return qml.devices.qubit_mixed.measure(
            self._mp, state if batched else state[0], is_state_batched=batched
        )


class Condition:
    """Projection of Pauli vectors on outcomes of some wires, without normalisation.

    Args:
        outcomes: The outcome for each label, 0 or 1.
        order: Wire labels in the order of the register.
    """

    def __init__(self, outcomes: Mapping[Any, int], order: Sequence[Any]) -> None:
        self._n = len(order)
        self._signs = {
            1 + order.index(label): 1.0 - 2.0 * outcome
            for label, outcome in outcomes.items()
        }

    def project(self, states: Float) -> Float:
        """The projection, which is symmetric, so that it is its own transpose.

        Args:
            states: Pauli vectors, shape ``(batch, 4**n)``.
        """
        array = states.reshape(-1, *[4] * self._n).copy()
        for axis, sign in self._signs.items():
            digits = np.moveaxis(array, axis, 0)
            digits[0] = 0.5 * (digits[0] + sign * digits[3])
            digits[1:3] = 0.0
            digits[3] = sign * digits[0]
        return array.reshape(states.shape)


class Conditioned(Readout):
    """A measurement after postselection: of projected states, divided by their trace.

    Args:
        readout: The measurement.
        condition: The outcomes that are postselected.
    """

    def __init__(self, readout: Readout, condition: Condition) -> None:
        self._readout, self._condition = readout, condition
        self.differentiable, self.per_sample = (
            readout.differentiable,
            readout.per_sample,
        )
        self.affine, self.shape = readout.affine, readout.shape
        self.is_state = readout.is_state

    def layout(self) -> tuple[tuple[int, ...], bool]:
        return self._readout.layout()

    def _kept(self, states: Float) -> tuple[Float, Float]:
        kept = self._condition.project(states)
        share = kept[..., :1]
        with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 if it never occurs
            return kept / share, share

    def value(self, words: Float, states: Float | None) -> Any:
        assert states is not None
        return self._readout.of_states(self._kept(states)[0])

    def bra(self, dy: Float, states: Float) -> Float:
        kept, share = self._kept(states)
        derivative = self._readout.bra(dy, kept)
        derivative[:, 0] -= np.einsum("bi,bi->b", derivative, kept)
        return self._condition.project(derivative / share)


def density_tensor(vectors: Float) -> NDArray[np.complex128]:
    """Density matrices of shape ``(batch, 2, ..., 2)``, row axes before column axes."""
    matrices = density_matrix(vectors)
    n = matrices.shape[-1].bit_length() - 1
    return matrices.reshape(len(matrices), *[2] * (2 * n))


def mixed_readout_of(
    mp: MeasurementProcess, order: Sequence[Any], noise: SpecNoise
) -> Readout:
    """What an analytic measurement needs of density matrices, and its value.

    Args:
        mp: The measurement.
        order: Wire labels in the order of the register.
        noise: Noise of the device, of which the readout error counts.

    Raises:
        DeviceError: If the wires are misread, but the measurement reads no outcomes.
    """
    pair_of = noise.readout_of
    if isinstance(mp, ProbabilityMP):
        rotation = mp.diagonalizing_gates() if mp.obs is not None else []
        read = list(mp.wires) or list(order)
        return MixedProbabilities(Outcomes(read, order, pair_of, rotation))
    if not isinstance(mp, ExpectationMP | VarianceMP):
        return MixedFunction(mp, order)
    variance = isinstance(mp, VarianceMP)
    if mp.obs is None:
        outcomes = Outcomes(mp.wires, order, pair_of)
        return MixedMoment(outcomes, mp.eigvals(), variance=variance)
    if mp.obs.pauli_rep is not None and not variance:
        return MixedSum(mp.obs.pauli_rep, order, noise)
    if isinstance(mp.obs, qml.SparseHamiltonian):
        if any(any(pair_of(wire)) for wire in mp.wires):
            raise DeviceError(SPARSE_IS_NOT_MISREAD)
        return SparseValue(mp.obs, order)
    wires, rotation, values = eigenbasis(mp.obs)
    outcomes = Outcomes(wires, order, pair_of, rotation)
    return MixedMoment(outcomes, values, variance=variance)


def eigenbasis(obs: Any) -> tuple[Sequence[Any], Sequence[Any], Float]:
    """How an observable is read: wires, gates before it, value of each outcome.

    Words that commute on every wire are read wire by wire, as hardware does it. Any
    other observable is read in its eigenbasis.
    """
    check_hermitian(obs)
    sentence = obs.pauli_rep
    if sentence is not None and len(obs.wires) and _qubitwise(sentence):
        wires = list(obs.wires)
        letters = {wire: letter for word in sentence for wire, letter in word.items()}
        letters = {wire: letter for wire, letter in letters.items() if letter != "I"}
        paulis = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}
        rotation = [
            gate
            for wire, letter in letters.items()
            for gate in paulis[letter](wire).diagonalizing_gates()
        ]
        values = np.zeros(1 << len(wires))
        for word, c in sentence.items():
            signs = [np.array([1.0, -1.0 if wire in word else 1.0]) for wire in wires]
            product = np.ones(1)
            for sign in signs:
                product = np.kron(product, sign)
            values += real(c) * product
        return wires, rotation, values
    return obs.wires, obs.diagonalizing_gates(), obs.eigvals()


def _qubitwise(sentence: Any) -> bool:
    return all(
        a.get(wire, b[wire]) == b[wire]
        for a, b in itertools.combinations(sentence, 2)
        for wire in b
        if wire in a
    )


def _apply(matrix: Float, axes: Sequence[int], array: Float) -> Float:
    """A matrix applied to some axes of an array, the first of them most significant."""
    side = array.shape[axes[0]]
    moved = np.moveaxis(array, axes, range(len(axes)))
    shape = moved.shape
    flat = matrix @ moved.reshape(side ** len(axes), -1)
    return np.moveaxis(flat.reshape(shape), range(len(axes)), axes)
