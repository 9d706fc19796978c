"""Circuits whose values are JAX's: the arrays for the primitives, and the results.

The primitives give expectation values of Pauli words. Where JAX traces the numbers of
an observable, its coefficients or a Hermitian matrix, JAX combines those values. This
module is imported only where JAX is installed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, MeasurementProcess, VarianceMP

from qstore_pl.devices.jax_primitive import Measured, apply
from qstore_pl.devices.lowering import Circuit
from qstore_pl.devices.passes import KeptPasses
from qstore_pl.devices.pullback import any_matrix, check_unitary
from qstore_pl.devices.readout import Readout
from qstore_pl.devices.states import StateKind
from qstore_pl.devices.tensors import is_complex, is_traced, to_jax
from qstore_pl.engine.program import Program
from qstore_pl.engine.transfer import LETTERS, pauli_words

MOST_MATRIX_WIRES = 4  # a traced matrix on n wires has 4**n Pauli words


@dataclass(frozen=True)
class Plan:
    """How a measurement is computed from what the primitives give.

    Args:
        readouts: The readouts that the primitives evaluate.
        combine: Function from the values of the readouts, each with a batch axis, to
            the value of the measurement.
    """

    readouts: Sequence[Readout]
    combine: Callable[[list[Any]], Any]


def plan(mp: MeasurementProcess, order: tuple[Any, ...], kind: StateKind) -> Plan:
    """How a measurement is computed from what the primitives give.

    Args:
        mp: An analytic measurement.
        order: Wire labels in the order of the register.
        kind: The kind of states that are measured.

    Raises:
        DeviceError: If JAX traces an observable that cannot be differentiated here.
    """
    if mp.obs is None or not any(map(is_traced, mp.obs.data)):
        return Plan([kind.readout(mp, order)], lambda values: values[0])
    if not isinstance(mp, ExpectationMP | VarianceMP):
        raise DeviceError(
            f"JAX traces the observable of {mp}, of which the device has no "
            "derivative. Measure its expectation value or variance."
        )
    mean = _sum(mp.obs, order, kind, power=1)
    if isinstance(mp, ExpectationMP):
        return mean
    square = _sum(mp.obs, order, kind, power=2)
    n = len(mean.readouts)
    return Plan(
        [*mean.readouts, *square.readouts],
        lambda values: square.combine(values[n:]) - mean.combine(values[:n]) ** 2,
    )


def _sum(obs: Any, order: tuple[Any, ...], kind: StateKind, *, power: int) -> Plan:
    """The expectation value of a power of an observable, summed by JAX."""
    if obs.pauli_rep is not None:
        sentence = obs.pauli_rep
        for _ in range(power - 1):
            sentence = sentence @ sentence
        words, coefficients = list(sentence), list(sentence.values())
        if any(map(is_complex, coefficients)) and any(map(is_traced, coefficients)):
            coefficients = [qml.math.real(c) for c in coefficients]
    else:
        words, coefficients = _of_matrix(obs, order, kind, power=power)
    readouts = [
        kind.readout(ExpectationMP(word.operation(wire_order=order[:1])), order)
        for word in words
    ]
    weights = jnp.stack([to_jax(c).real for c in coefficients])
    return Plan(readouts, lambda values: jnp.stack(values, axis=-1) @ weights)


def _of_matrix(
    obs: Any, order: tuple[Any, ...], kind: StateKind, *, power: int
) -> tuple[list[Any], list[Any]]:
    """The Pauli words of a matrix that JAX traces, and their coefficients."""
    wires = obs.wires
    if len(wires) > MOST_MATRIX_WIRES or not kind.reads_truly(wires):
        raise DeviceError(
            f"JAX traces the matrix of {obs.name}, of which the device has a "
            f"derivative on up to {MOST_MATRIX_WIRES} wires without readout error. "
            "Write it in Pauli words."
        )
    matrix = to_jax(obs.matrix(wire_order=wires))
    for _ in range(power - 1):
        matrix = matrix @ matrix
    paulis = pauli_words(len(wires))
    coefficients = jnp.einsum("wij,ji->w", paulis, matrix).real / len(matrix)
    words = [
        qml.pauli.PauliWord(
            {
                wire: LETTERS[digit]
                for wire, digit in zip(wires, digits, strict=True)
                if digit
            }
        )
        for digits in np.ndindex(*[4] * len(wires))
    ]
    return words, list(coefficients)


def execute_in_jax(
    program: Program,
    circuit: Circuit,
    plans: Sequence[Plan],
    kept_passes: KeptPasses,
    *,
    exact: bool,
    report: Callable[[Any, NDArray[Any] | None], None],
    refusal: str | None,
) -> list[Any]:
    """The measurements of a circuit whose values JAX traces.

    Args:
        program: The Program of the circuit.
        circuit: The tape taken apart, with arrays of JAX.
        plans: One for each measurement.
        kept_passes: Where forward passes are kept for their backward passes.
        exact: Whether two executions with the same values have the same results.
        report: Function that is called with every forward pass, and with its states
            where these were computed.
        refusal: Why the circuit has no derivative, or None if it has one.
    """
    readouts = [readout for each in plans for readout in each.readouts]
    check = functools.partial(check_unitary, circuit.operations, circuit.parameters)
    measured = Measured(
        program,
        circuit.words,
        readouts,
        kept_passes,
        exact=exact,
        report=report,
        check=check if any(map(any_matrix, circuit.parameters)) else None,
        refusal=refusal,
    )
    values = apply(measured, circuit.weights, circuit.features)
    results, start = [], 0
    for each in plans:
        end = start + len(each.readouts)
        result = each.combine(values[start:end])
        results.append(result if circuit.batch is not None else result[0])
        start = end
    return results
