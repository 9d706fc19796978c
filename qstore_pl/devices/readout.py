r"""From what a Program computes to PennyLane's measurements, and their derivatives.

A measurement is either a linear function of expectation values of Pauli words, which
the Program gives, or a function of the state. In the backward pass the first kind needs
cotangents of the words, and the second a vector: for the expectation value
:math:`\langle\psi|O|\psi\rangle` with cotangent :math:`dy` it is
:math:`dy\, O|\psi\rangle`. State vectors have the shape ``(batch, 2**n)`` here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
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
from pennylane.ops.functions import bind_new_parameters
from scipy.sparse import issparse

from qstore_pl.devices.tensors import to_numpy

Complex2D = NDArray[np.complex128]
Float = NDArray[np.float64]
Word = Any  # qml.pauli.PauliWord
NOT_HERMITIAN = 1e-8  # relative imaginary parts up to here are rounding errors
_NOT_HERMITIAN = (
    "An observable must be Hermitian, but one has {}. Measure its Hermitian and its "
    "anti-Hermitian part, each with real coefficients."
)


class Readout(ABC):
    """What one measurement needs of a pass, and how its value is computed."""

    words: tuple[Word, ...] = ()
    needs_state = True
    differentiable = True
    affine = True  # whether an expectation value is affine in the observable's numbers
    per_sample = True  # whether it takes a batch axis where the circuit has none
    is_state = False  # whether its value is the state itself
    shape: tuple[int, ...] = ()  # of the value of one sample

    @abstractmethod
    def value(self, words: Float, states: NDArray[Any] | None) -> Any:
        """The value of the measurement, for each sample.

        Args:
            words: Expectation values of :attr:`words`, shape ``(batch, n_words)``.
            states: The states, shape ``(batch, 2**n)``; None unless
                :attr:`needs_state`.
        """

    def layout(self) -> tuple[tuple[int, ...], bool]:
        """The shape of the value of one sample, and whether it is complex."""
        return self.shape, False

    def of_states(self, states: NDArray[Any]) -> Any:
        """The value of the measurement for each sample, from the states alone."""
        return self.value(np.empty((len(states), 0)), states)

    def bra(self, dy: Float, states: NDArray[Any]) -> NDArray[Any]:
        r"""The vectors :math:`dy\,O|\psi\rangle` of a batch, ``(batch, 2**n)``.

        Args:
            dy: Cotangents, shape ``(batch, *shape)``.
            states: The states, shape ``(batch, 2**n)``.
        """
        raise NotImplementedError


class OfWords(Readout):
    """A measurement that is linear in expectation values of Pauli words."""

    needs_state = False

    @abstractmethod
    def by_words(self, dy: Float) -> Float:
        """Derivatives with respect to the words, shape ``(batch, n_words)``.

        Args:
            dy: Cotangents of the measurement, shape ``(batch, *shape)``.
        """


class PauliSumValue(OfWords):
    """The expectation value of an operator with a Pauli representation."""

    def __init__(self, sentence: Any, order: Sequence[Any]) -> None:
        self.words = tuple(sentence)
        self.coefficients = np.array([real(c) for c in sentence.values()])
        self._order = order

    def value(self, words: Float, states: Complex2D | None) -> Float:
        return words @ self.coefficients

    def by_words(self, dy: Float) -> Float:
        return np.multiply.outer(dy, self.coefficients)

    def of_states(self, states: NDArray[Any]) -> Float:
        return _inner(states, self.bra(np.ones(len(states)), states))

    def bra(self, dy: Float, states: NDArray[Any]) -> NDArray[Any]:
        applied = sum(
            c * apply_word(word, states, self._order)
            for word, c in zip(self.words, self.coefficients, strict=True)
        )
        return dy[:, None] * applied


class Moment(Readout):
    """The expectation value or the variance of any Hermitian operator."""

    def __init__(self, obs: Any, order: Sequence[Any], *, variance: bool) -> None:
        self._obs, self._order, self._variance = obs, order, variance
        self.affine = not variance

    def _apply(self, states: Complex2D) -> Complex2D:
        return apply_observable(self._obs, states, self._order)

    def value(self, words: Float, states: Complex2D | None) -> Float:
        assert states is not None
        applied = self._apply(states)
        mean = _inner(states, applied)
        return _inner(applied, applied) - mean**2 if self._variance else mean

    def bra(self, dy: Float, states: Complex2D) -> Complex2D:
        applied = self._apply(states)
        if self._variance:
            mean = _inner(states, applied)
            applied = self._apply(applied) - 2 * mean[:, None] * applied
        return dy[:, None] * applied


class Probabilities(Readout):
    """Probabilities in the computational basis or an observable's eigenbasis."""

    def __init__(self, mp: Any, order: Sequence[Any]) -> None:
        gates = mp.diagonalizing_gates() if mp.obs is not None else []
        self._rotation = qml.prod(*reversed(gates)) if gates else None
        self._wires = mp.wires if mp.wires else qml.wires.Wires(order)
        self._order = order
        self.shape = (1 << len(self._wires),)

    def _rotate(self, states: Complex2D, *, back: bool = False) -> Complex2D:
        if self._rotation is None:
            return states
        op = qml.adjoint(self._rotation) if back else self._rotation
        return apply_matrix(op.matrix(op.wires), op.wires, states, self._order)

    def value(self, words: Float, states: Complex2D | None) -> Float:
        assert states is not None
        return marginal(self._rotate(states), self._wires, self._order)

    def bra(self, dy: Float, states: Complex2D) -> Complex2D:
        outcome = outcomes(self._wires, self._order)
        return self._rotate(dy[:, outcome] * self._rotate(states), back=True)


class OutcomeMoment(Readout):
    """The mean or the variance of a function of outcomes, of deferred measurements."""

    def __init__(self, mp: Any, order: Sequence[Any], *, variance: bool) -> None:
        self._values = np.asarray(mp.eigvals(), dtype=np.float64)
        self._wires, self._order, self._variance = mp.wires, order, variance

    def value(self, words: Float, states: Complex2D | None) -> Float:
        assert states is not None
        probabilities = marginal(states, self._wires, self._order)
        mean = probabilities @ self._values
        return probabilities @ self._values**2 - mean**2 if self._variance else mean

    def bra(self, dy: Float, states: Complex2D) -> Complex2D:
        values = np.broadcast_to(self._values, (len(states), len(self._values)))
        if self._variance:
            mean = marginal(states, self._wires, self._order) @ self._values
            values = values**2 - 2 * mean[:, None] * values
        return dy[:, None] * values[:, outcomes(self._wires, self._order)] * states


class StateFunction(Readout):
    """Any other measurement, computed by PennyLane; it has no gradient here."""

    differentiable = False
    per_sample = False

    def __init__(self, mp: Any, order: Sequence[Any]) -> None:
        positions = {wire: i for i, wire in enumerate(order)}
        self._mp = mp.map_wires(positions)
        self._n = len(order)
        self.is_state = type(mp) is StateMP

    def layout(self) -> tuple[tuple[int, ...], bool]:
        return self._mp.shape(None, self._n), self._mp.numeric_type is complex

    def value(self, words: Float, states: Complex2D | None) -> Any:
        assert states is not None
        batch = states.shape[:-1]
        shaped = states.reshape((*batch, *[2] * self._n))
        return qml.devices.qubit.measure(self._mp, shaped, is_state_batched=bool(batch))


def readout_of(mp: MeasurementProcess, order: Sequence[Any]) -> Readout:
    """What an analytic measurement needs of state vectors, and its value.

    Args:
        mp: The measurement.
        order: Wire labels in the order of the register.
    """
    if isinstance(mp, ExpectationMP | VarianceMP):
        variance = isinstance(mp, VarianceMP)
        if mp.obs is None:
            return OutcomeMoment(mp, order, variance=variance)
        if mp.obs.pauli_rep is not None and not variance:
            return PauliSumValue(mp.obs.pauli_rep, order)
        return Moment(mp.obs, order, variance=variance)
    if isinstance(mp, ProbabilityMP):
        return Probabilities(mp, order)
    return StateFunction(mp, order)


def apply_observable(obs: Any, states: Complex2D, order: Sequence[Any]) -> Complex2D:
    """An observable applied to states, shape ``(batch, 2**n)``.

    Args:
        obs: The observable.
        states: Shape ``(batch, 2**n)``.
        order: Wire labels in the order of the register.
    """
    if obs.pauli_rep is not None:
        terms = obs.pauli_rep.items()
        return sum(
            (real(c) * apply_word(word, states, order) for word, c in terms),
            np.zeros_like(states),
        )
    if obs.has_sparse_matrix and not obs.has_matrix:
        return (obs.sparse_matrix(wire_order=order) @ states.T).T
    return apply_matrix(obs.matrix(obs.wires), obs.wires, states, order)


def apply_word(word: Word, states: Complex2D, order: Sequence[Any]) -> Complex2D:
    """A Pauli word applied to states, shape ``(batch, 2**n)``.

    Args:
        word: The word.
        states: Shape ``(batch, 2**n)``.
        order: Wire labels in the order of the register.
    """
    n = len(order)
    index = np.arange(1 << n)
    flips, factors = 0, np.ones(1 << n, complex)
    for wire, letter in word.items():
        position = n - 1 - order.index(wire)
        sign = 1.0 - 2.0 * ((index >> position) & 1)
        flips |= (letter in "XY") << position
        factors *= {"X": 1.0, "Y": -1j * sign, "Z": sign}[letter]
    # Row i of P|psi> is <i|P|i ^ flips> times row i ^ flips.
    return factors * states[:, index ^ flips]


def apply_matrix(
    matrix: NDArray[Any], wires: Sequence[Any], states: Complex2D, order: Sequence[Any]
) -> Complex2D:
    """A matrix on some wires applied to states, shape ``(batch, 2**n)``.

    Args:
        matrix: Shape ``(2**k, 2**k)``.
        wires: Labels of k wires, the most significant first.
        states: Shape ``(batch, 2**n)``.
        order: Wire labels in the order of the register.
    """
    n, k = len(order), len(wires)
    axes = [1 + order.index(wire) for wire in wires]
    rest = [axis for axis in range(n + 1) if axis not in axes]
    moved = states.reshape(-1, *[2] * n).transpose(*rest, *axes)
    applied = moved.reshape(-1, 1 << k) @ np.asarray(matrix).T
    back = np.argsort([*rest, *axes])
    return applied.reshape(moved.shape).transpose(back).reshape(states.shape)


def marginal(states: Complex2D, wires: Sequence[Any], order: Sequence[Any]) -> Float:
    """Probabilities of the outcomes on some wires, shape ``(batch, 2**k)``.

    Args:
        states: Shape ``(batch, 2**n)``.
        wires: Labels of k wires, the most significant first.
        order: Wire labels in the order of the register.
    """
    n = len(order)
    axes = [1 + order.index(wire) for wire in wires]
    rest = [axis for axis in range(1, n + 1) if axis not in axes]
    joint = (states.real**2 + states.imag**2).reshape(-1, *[2] * n)
    joint = joint.transpose(0, *axes, *rest)
    return joint.reshape(len(states), 1 << len(axes), -1).sum(axis=2)


def outcomes(wires: Sequence[Any], order: Sequence[Any]) -> NDArray[np.int64]:
    """The outcome on some wires that each basis state has, shape ``(2**n,)``.

    Args:
        wires: Labels of the wires, the most significant first.
        order: Wire labels in the order of the register.
    """
    index = np.arange(1 << len(order))
    outcome = np.zeros_like(index)
    for wire in wires:
        bit = (index >> (len(order) - 1 - order.index(wire))) & 1
        outcome = 2 * outcome + bit
    return outcome


def real(coefficient: Any) -> float:
    """The coefficient of an observable as a float, from any framework.

    Args:
        coefficient: The coefficient.

    Raises:
        DeviceError: If it is complex, so that the observable is not Hermitian.
    """
    number = complex(to_numpy(coefficient))
    if abs(number.imag) > NOT_HERMITIAN * max(1.0, abs(number)):
        raise DeviceError(_NOT_HERMITIAN.format(f"a coefficient {number:.6g}"))
    return number.real


def check_hermitian(obs: Any) -> None:
    """Refuse an observable that is not Hermitian.

    Args:
        obs: The observable, with Pauli coefficients or a matrix.

    Raises:
        DeviceError: If it is not Hermitian.
    """
    if obs.pauli_rep is not None:
        for coefficient in obs.pauli_rep.values():
            real(coefficient)
    elif obs.has_matrix:
        matrix = to_numpy(obs.matrix())
        rest = np.abs(matrix - np.conj(np.swapaxes(matrix, -1, -2))).max()
        if rest > NOT_HERMITIAN * max(1.0, np.abs(matrix).max()):
            raise DeviceError(_NOT_HERMITIAN.format("another adjoint"))


def untraced(mp: MeasurementProcess) -> MeasurementProcess:
    """The measurement with numbers in the place of values that a framework traces."""
    data = () if mp.obs is None else mp.obs.data
    numbers = (float, int, complex, np.ndarray)
    if all(isinstance(value, numbers) or issparse(value) for value in data):
        return mp
    untraced_data = [to_numpy(value) for value in data]
    return type(mp)(obs=bind_new_parameters(mp.obs, untraced_data))


def real_values(values: Any, what: str) -> Float:
    """Real numbers from an array whose imaginary parts are rounding errors.

    Args:
        values: Eigenvalues or expectation values, of any framework.
        what: What they are, for the message.

    Raises:
        DeviceError: If they are complex, so that the observable is not Hermitian.
    """
    array = to_numpy(values)
    if array.dtype.kind != "c":
        return array
    if np.any(np.abs(array.imag) > NOT_HERMITIAN * np.maximum(1.0, np.abs(array))):
        raise DeviceError(_NOT_HERMITIAN.format(f"complex {what}"))
    return np.ascontiguousarray(array.real)


def _inner(left: Complex2D, right: Complex2D) -> Float:
    return real_values(np.einsum("bi,bi->b", left.conj(), right), "expectation values")
