"""From cotangents of measurements to gradients of tape parameters.

One backward run of the Program for a whole tape; the chain rule of observables with
trainable coefficients is here, that of angles is the Program's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP
from pennylane.tape import QuantumScript

from qstore_pl.devices.lowering import Circuit
from qstore_pl.devices.readout import PauliSumValue, Readout
from qstore_pl.devices.registry import Parameter, entry_of
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.gates import FEATURE, WEIGHT
from qstore_pl.engine.program import Pass


class Gradients(tuple[Any, ...]):
    """Gradients of one tape, of any shapes; the torch interface squeezes them."""

    def squeeze(self, axis: Any = None) -> NDArray[np.float64]:
        """An array that is not empty, which is all the interface looks at."""
        del axis
        return np.empty(len(self) + 1)


@dataclass(frozen=True)
class Computed:
    """A parameter from which the numbers of an operation are computed.

    Args:
        numbers: Where they are found.
        derivative: Of each of them by the parameter.
    """

    numbers: Sequence[Parameter]
    derivative: NDArray[np.float64]
    kind: int = WEIGHT

    def gradient(self, gw: NDArray[np.float64]) -> NDArray[np.float64]:
        """The chain rule; a cotangent of 0 stays 0 where the derivative is infinite."""
        by_number = np.array([gw[number.offset] for number in self.numbers])
        kept = by_number != 0.0
        return np.asarray(by_number[kept] @ self.derivative[kept])


def pull_back(
    tape: QuantumScript,
    circuit: Circuit,
    run: Pass,
    readouts: Sequence[Readout],
    cotangents: Sequence[NDArray[np.float64]],
) -> Gradients:
    """Gradients of a tape from a forward run, which it uses up.

    Args:
        tape: Its trainable parameters are those wanted.
        circuit: The tape taken apart.
        run: The forward run of the circuit.
        readouts: One per measurement.
        cotangents: One per measurement, with a batch axis if the circuit has one.

    Raises:
        DeviceError: If a parameter or a coefficient has no gradient here.
    """
    batch = run.batch
    wanted = _wanted(tape, circuit)
    inputs = any(p is not None and p.kind == FEATURE for p in wanted)
    rows = [dy if circuit.batch is not None else dy[None] for dy in cotangents]
    coefficients = _coefficient_gradients(tape, circuit, run, rows)
    if any(readout.needs_state for readout in readouts):
        states = run.states(phase=False)
        bra = np.zeros_like(states)
        for readout, dy in zip(readouts, rows, strict=True):
            bra += readout.bra(dy, states)
        gw, gx = run.backward(np.empty((0, 0)), inputs=inputs, bra=bra)
    else:
        dwords = np.zeros((batch, len(circuit.words)))
        columns = {word: i for i, word in enumerate(circuit.words)}
        for readout, dy in zip(readouts, rows, strict=True):
            assert isinstance(readout, PauliSumValue)
            for word, c in zip(readout.words, readout.coefficients, strict=True):
                dwords[:, columns[word]] += c * dy
        gw, gx = run.backward(dwords, inputs=inputs)
    gradients = []
    for index, parameter, value in zip(
        tape.trainable_params, wanted, tape.get_parameters(), strict=True
    ):
        if parameter is None:
            gradient = coefficients[index]
        elif isinstance(parameter, Computed):
            gradient = parameter.gradient(gw)
        else:
            source = gw if parameter.kind == WEIGHT else gx
            assert source is not None
            end = parameter.offset + math.prod(parameter.shape)
            part = source[..., parameter.offset : end]
            gradient = part.reshape(part.shape[:-1] + parameter.shape)
        # A copy in any case; jax wants the parameter's own precision.
        single = (
            isinstance(value, np.ndarray | np.generic) and value.dtype == np.float32
        )
        gradients.append(gradient.astype(np.float32 if single else np.float64))
    return Gradients(gradients)


def _wanted(tape: QuantumScript, circuit: Circuit) -> list[Any]:
    """Places of the trainable parameters; None for coefficients of observables."""
    places: list[Any] = []
    for op, parameters in zip(tape.operations, circuit.parameters, strict=True):
        entry = entry_of(op)
        assert entry is not None
        differentiable = entry.differentiable and not any(p.complex for p in parameters)
        if entry.jacobian is not None:
            places += [Computed(parameters, row) for row in entry.jacobian(op)]
            continue
        places += parameters if differentiable else [op.name] * op.num_params
    wanted = [places[i] if i < len(places) else None for i in tape.trainable_params]
    for place in wanted:
        if isinstance(place, str):
            raise DeviceError(
                f"There is no device gradient with respect to parameters of {place}. "
                'Use diff_method="parameter-shift", or mark them as not trainable.'
            )
    return wanted


def _coefficient_gradients(
    tape: QuantumScript,
    circuit: Circuit,
    run: Pass,
    rows: Sequence[NDArray[np.float64]],
) -> dict[int, NDArray[np.float64]]:
    """Gradients with respect to trainable coefficients of observables."""
    index = sum(op.num_params for op in tape.operations)
    gradients: dict[int, NDArray[np.float64]] = {}
    trainable = {i for i in tape.trainable_params if i >= index}
    if not trainable:
        return gradients
    columns = {word: i for i, word in enumerate(circuit.words)}
    for mp, dy in zip(tape.measurements, rows, strict=True):
        data = [
            to_numpy(value) for value in (mp.obs.data if mp.obs is not None else ())
        ]
        for k in range(len(data)):
            if index + k not in trainable:
                continue
            if not isinstance(mp, ExpectationMP) or mp.obs.pauli_rep is None:
                raise DeviceError(
                    f"There is no device gradient with respect to parameters of {mp}. "
                    "Mark them as not trainable."
                )
            # An observable is affine in each of its coefficients.
            total = np.zeros(run.batch)
            for sign, step in ((1.0, 1.0), (-1.0, 0.0)):
                changed = [value + step * (i == k) for i, value in enumerate(data)]
                sentence = qml.ops.functions.bind_new_parameters(
                    mp.obs, changed
                ).pauli_rep
                for word, c in sentence.items():
                    total += sign * np.real(c) * run.out[:, columns[word]]
            gradients[index + k] = np.asarray(dy @ total)
        index += len(data)
    return gradients
