"""From cotangents of measurements to gradients with respect to parameters of a tape.

One backward pass of the Program gives the gradient with respect to all numbers of the
operations. The chain rule to the parameters of the tape, and the gradient with respect
to the numbers of observables, are here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, MeasurementProcess
from pennylane.ops.functions import bind_new_parameters
from pennylane.tape import QuantumScript

from qstore_pl._lazy import cached_property
from qstore_pl.devices.entries import Parameter, Pull
from qstore_pl.devices.lowering import Circuit
from qstore_pl.devices.readout import OfWords, Readout, real
from qstore_pl.devices.registry import entry_of
from qstore_pl.devices.tensors import dtype_of, to_numpy
from qstore_pl.engine.gates import FEATURE, WEIGHT
from qstore_pl.engine.program import Pass

Float = NDArray[np.float64]
SECOND_DERIVATIVE = (
    "A second derivative was asked of the device, which gives first derivatives only. "
    "Make the QNode with max_diff=2."
)
NOT_UNITARY = 1e-6  # largest entry of U^dagger U - 1 that passes for rounding


class Gradients(tuple[Any, ...]):
    """The gradients of one tape, arrays of any shapes.

    PennyLane's torch interface calls ``squeeze`` on this tuple as if it were an array.
    """

    def squeeze(self, axis: Any = None) -> NDArray[np.float64]:
        """An array that is not empty, which is all that the interface asks for."""
        del axis
        return np.empty(len(self) + 1)


@dataclass(frozen=True)
class Computed:
    """A parameter from which an entry computes numbers.

    Args:
        numbers: The slots of these numbers.
        derivative: Derivative of each number with respect to the parameter, shape
            ``(n_numbers,)``.
    """

    numbers: Sequence[Parameter]
    derivative: Float
    kind: int = WEIGHT

    def gradient(self, gw: Float, gx: Float | None) -> Float:
        """The gradient with respect to the parameter, by the chain rule.

        Where the derivative is infinite, a number with gradient 0 adds 0.

        Args:
            gw: Gradient with respect to the weights, shape ``(n_weights,)``.
            gx: Gradient with respect to the features, which is not used.
        """
        del gx
        by_number = np.array([gw[number.offset] for number in self.numbers])
        kept = by_number != 0.0
        return np.asarray(by_number[kept] @ self.derivative[kept])


@dataclass(frozen=True)
class Arranged:
    """A parameter that an entry rearranges, such as a diagonal that becomes a matrix.

    Args:
        place: The slots of the numbers.
        pull: Function from the gradient with respect to the numbers to that with
            respect to the parameter.
    """

    place: Parameter
    pull: Pull

    @property
    def kind(self) -> int:
        """``WEIGHT`` or ``FEATURE``."""
        return self.place.kind

    def gradient(self, gw: Float, gx: Float | None) -> NDArray[Any]:
        """The gradient with respect to the parameter.

        Args:
            gw: Gradient with respect to the weights, shape ``(n_weights,)``.
            gx: Gradient with respect to the features, shape ``(batch, n_features)`` or
                None.
        """
        return self.pull(_at(self.place, gw, gx))


Place = Parameter | Arranged | Computed


def _at(place: Parameter, gw: Float, gx: Float | None) -> NDArray[Any]:
    r"""The gradient with respect to the numbers in some slots.

    With respect to a complex number :math:`a + ib` it is
    :math:`\partial_a L + i\,\partial_b L`.
    """
    source = gw if place.kind == WEIGHT else gx
    assert source is not None
    size = math.prod(place.shape)
    if not place.complex:
        part = source[..., place.offset : place.offset + size]
        return part.reshape(part.shape[:-1] + place.shape)
    numbers = source[..., place.offset : place.offset + 2 * size]
    part = numbers[..., :size] + 1j * numbers[..., size:]
    return part.reshape(part.shape[:-1] + place.shape)


def forward_values(
    work: Pass,
    words: Sequence[Any],
    readouts: Sequence[Readout],
    states: NDArray[Any] | None,
) -> list[NDArray[Any]]:
    """The measurements after a forward pass, each of shape ``(batch, *shape)``.

    Args:
        work: The forward pass, which measured ``words``.
        words: The Pauli words that were measured.
        readouts: One for each measurement.
        states: The states of the pass; None if no readout needs them.
    """
    found = []
    for readout in readouts:
        columns = [words.index(word) for word in readout.words]
        measured = work.out[:, columns]
        if readout.per_sample:
            found.append(np.array(readout.value(measured, states)))
        else:
            assert states is not None
            pairs = zip(measured, states, strict=True)
            found.append(np.stack([readout.value(w, s) for w, s in pairs]))
    return found


def backward(
    work: Pass,
    words: Sequence[Any],
    readouts: Sequence[Readout],
    rows: Sequence[Float],
    *,
    inputs: bool,
) -> tuple[Float, Float | None]:
    """Gradients with respect to weights and features, by a backward pass.

    Args:
        work: The forward pass that measured ``words``; it is used up.
        words: The Pauli words that were measured.
        readouts: One for each measurement.
        rows: One cotangent for each measurement, with a batch axis.
        inputs: Whether the gradient with respect to the features is wanted.
    """
    if any(readout.needs_state for readout in readouts):
        states = work.states(phase=False)
        bra = np.zeros_like(states)
        for readout, dy in zip(readouts, rows, strict=True):
            bra += readout.bra(dy, states)
        return work.backward(np.empty((0, 0)), inputs=inputs, bra=bra)
    dwords = np.zeros((work.batch, len(words)))
    columns = {word: i for i, word in enumerate(words)}
    for readout, dy in zip(readouts, rows, strict=True):
        assert isinstance(readout, OfWords)
        for word, by_word in zip(readout.words, readout.by_words(dy).T, strict=True):
            dwords[:, columns[word]] += by_word
    return work.backward(dwords, inputs=inputs)


def pull_back(
    tape: QuantumScript,
    circuit: Circuit,
    work: Pass,
    readouts: Sequence[Readout],
    cotangents: Sequence[Float],
    readout_of: Callable[[MeasurementProcess], Readout],
    *,
    conjugate: bool,
) -> Gradients:
    r"""The gradients of a tape, by a backward pass.

    Args:
        tape: The circuit; the gradients are with respect to its trainable parameters.
        circuit: The tape taken apart.
        work: The forward pass of the circuit; it is used up.
        readouts: One for each measurement.
        cotangents: One cotangent for each measurement, with a batch axis if the circuit
            has one.
        readout_of: Function that gives the readout of another measurement of the same
            states.
        conjugate: Whether the gradient with respect to a complex number :math:`a + ib`
            is :math:`\partial L/\partial a - i\,\partial L/\partial b`, as in autograd
            and JAX. In torch it has the other sign.

    Raises:
        DeviceError: If a parameter, or a coefficient of an observable, has no gradient
            here, or a matrix is not unitary.
    """
    places = list(_places(tape, circuit))
    wanted = [places[i] if i < len(places) else None for i in tape.trainable_params]
    for place in wanted:
        if isinstance(place, str):
            raise DeviceError(
                f"There is no device gradient with respect to parameters of {place}. "
                'Use diff_method="parameter-shift", or mark them as not trainable.'
            )
    check_unitary(
        circuit.operations, circuit.parameters, circuit.weights, circuit.features
    )
    inputs = any(place is not None and place.kind == FEATURE for place in wanted)
    rows = [dy if circuit.batch is not None else dy[None] for dy in cotangents]
    coefficients = _coefficient_gradients(tape, circuit, work, rows, readout_of)
    gw, gx = backward(work, circuit.words, readouts, rows, inputs=inputs)
    gradients = []
    for index, place, value in zip(
        tape.trainable_params, wanted, tape.get_parameters(), strict=True
    ):
        if place is None:
            found = coefficients[index]
        elif isinstance(place, Parameter):
            found = _at(place, gw, gx)
        else:
            found = place.gradient(gw, gx)
        gradients.append(like(value, found, conjugate=conjugate))
    return Gradients(gradients)


def like(value: Any, gradient: NDArray[Any], *, conjugate: bool) -> NDArray[Any]:
    """A copy of a gradient, of the precision and realness of its parameter."""
    dtype = dtype_of(value)
    if dtype.kind == "c":
        return np.conj(gradient).astype(dtype) if conjugate else gradient.astype(dtype)
    return np.real(gradient).astype(np.float32 if dtype == np.float32 else np.float64)


def _places(tape: QuantumScript, circuit: Circuit) -> Iterator[Place | str]:
    """The slots of each parameter, or the name of an operation without gradient."""
    for op, parameters in zip(tape.operations, circuit.parameters, strict=True):
        entry = entry_of(op)
        assert entry is not None
        if entry.jacobian is not None:
            yield from (Computed(parameters, row) for row in entry.jacobian(op))
        elif not entry.differentiable:
            yield from [op.name] * op.num_params
        elif entry.pulls is not None:
            (place,) = parameters
            yield from (Arranged(place, pull) for pull in entry.pulls(op))
        else:
            yield from parameters


def any_matrix(places: Sequence[Parameter]) -> bool:
    """Whether the numbers in some slots are a matrix that must be unitary."""
    return any(place.complex and len(place.shape) == 2 for place in places)


def check_unitary(
    operations: Sequence[Any],
    parameters: Sequence[Sequence[Parameter]],
    weights: Float,
    features: Float,
) -> None:
    """Refuse matrices that are not unitary.

    The backward pass un-computes a gate by its adjoint, which must be its inverse.

    Args:
        operations: The operations of the circuit.
        parameters: The slots of the numbers of each operation.
        weights: Values of the weights, shape ``(..., n_weights)``.
        features: Values of the features, shape ``(..., n_features)``.

    Raises:
        DeviceError: If a matrix is not unitary.
    """
    for op, places in zip(operations, parameters, strict=True):
        for place in places:
            if not any_matrix([place]):
                continue
            size = math.prod(place.shape)
            source = weights if place.kind == WEIGHT else features
            numbers = source[..., place.offset : place.offset + 2 * size]
            matrix = numbers[..., :size] + 1j * numbers[..., size:]
            matrix = matrix.reshape(*matrix.shape[:-1], *place.shape)
            product = np.conj(np.swapaxes(matrix, -1, -2)) @ matrix
            rest = np.abs(product - np.eye(place.shape[0]))
            if rest.size and rest.max() > NOT_UNITARY:
                raise DeviceError(
                    f"The matrix of {op.name} must be unitary for a device gradient, "
                    "but is not. Use default.qubit for circuits that are no evolution."
                )


def _coefficient_gradients(
    tape: QuantumScript,
    circuit: Circuit,
    work: Pass,
    rows: Sequence[Float],
    readout_of: Callable[[MeasurementProcess], Readout],
) -> dict[int, NDArray[Any]]:
    """Gradients with respect to the trainable numbers of observables."""
    index = sum(op.num_params for op in tape.operations)
    gradients: dict[int, NDArray[Any]] = {}
    trainable = {i for i in tape.trainable_params if i >= index}
    if not trainable:
        return gradients
    mean = _Means(circuit, work, readout_of)
    for mp, dy in zip(tape.measurements, rows, strict=True):
        data = [
            to_numpy(value) for value in (mp.obs.data if mp.obs is not None else ())
        ]
        for k in range(len(data)):
            if index + k not in trainable:
                continue
            if not isinstance(mp, ExpectationMP) or data[k].ndim not in (0, 2):
                raise DeviceError(
                    f"There is no device gradient with respect to parameters of {mp}. "
                    "Mark them as not trainable."
                )

            def along(step: Any, mp: Any = mp, data: Any = data, k: int = k) -> Float:
                changed = [v + step if i == k else v for i, v in enumerate(data)]
                return mean(bind_new_parameters(mp.obs, changed))

            gradients[index + k] = _affine(along, dy, data[k])
        index += len(data)
    return gradients


class _Means:
    """Expectation values of other observables in the states of a forward pass.

    Args:
        circuit: The tape taken apart.
        work: The forward pass.
        readout_of: Function that gives the readout of a measurement of the same states.
    """

    def __init__(
        self,
        circuit: Circuit,
        work: Pass,
        readout_of: Callable[[MeasurementProcess], Readout],
    ) -> None:
        self._work, self._readout_of = work, readout_of
        self._columns = {word: i for i, word in enumerate(circuit.words)}

    @cached_property
    def _states(self) -> NDArray[Any]:
        return self._work.states(phase=False)

    def __call__(self, obs: Any) -> Float:
        """The expectation value of each sample, shape ``(batch,)``.

        Args:
            obs: The observable.

        Raises:
            DeviceError: If the value is no affine function of the numbers of the
                observable.
        """
        sentence = obs.pauli_rep
        if sentence is not None and sentence.keys() <= self._columns.keys():
            total = np.zeros(self._work.batch)
            for word, c in sentence.items():
                total += real(c) * self._work.out[:, self._columns[word]]
            return total
        readout = self._readout_of(ExpectationMP(obs))
        if not readout.affine:
            raise DeviceError(
                f"There is no device gradient with respect to parameters of {obs} "
                "where outcomes are misread in its eigenbasis. Mark them as not "
                "trainable."
            )
        return readout.of_states(self._states)


def _affine(
    values: Callable[[Any], Float], dy: Float, number: NDArray[Any]
) -> NDArray[Any]:
    """The gradient with respect to a number, or a Hermitian matrix, by differences.

    These are exact, because the values are affine in the number.

    Args:
        values: Function from the number or matrix to the values of all samples, shape
            ``(batch,)``.
        dy: Cotangents of the values, shape ``(batch,)``.
        number: A number or matrix of the same shape.
    """

    def along(step: Any) -> float:
        return float(dy @ (values(step) - origin))

    origin = values(0.0)
    if number.ndim == 0:
        return np.asarray(along(1.0))
    gradient = np.zeros(number.shape, complex)
    for i in range(len(number)):
        for j in range(i + 1):  # two Hermitian matrices, one if i == j
            step = np.zeros(number.shape, complex)
            step[i, j] = step[j, i] = 1.0
            gradient[i, j] = along(step)
            if i != j:
                step[i, j], step[j, i] = 1j, -1j
                gradient[i, j] = 0.5 * (gradient[i, j] + 1j * along(step))
                gradient[j, i] = np.conj(gradient[i, j])
    return gradient
