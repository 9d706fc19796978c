"""Compiled circuits: tapes whose parameters are functions of weights and features.

Symbols say what each parameter is as a function of the weights and features with which
the Program will be called. A parameter may also be a constant. Constants that are no
angles, such as the entries of a matrix, are held by the Program, behind its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.operation import Operator

from qstore_pl.devices.entries import CannotCompileError
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.lowering import Lowering, wire_order
from qstore_pl.devices.outputs import outputs_of
from qstore_pl.devices.symbols import Constant, SymbolError, Symbols, Unplaced
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Channel,
    Kraus,
    MixedGate,
    Slot,
    Transfer,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import Program

_CHANNELS = frozenset({Channel, Kraus, Transfer})
NO_STRENGTHS = (
    "Trajectories give no gradient with respect to parameters of {}. Use "
    'method="density", or mark them as not trainable.'
)


class NeedsMixedStatesError(DeviceError):
    """A circuit that was lowered for pure states has a channel."""


def lower_bound(
    tape: qml.tape.QuantumScript,
    inputs: Sequence[Symbols | None],
    noise: SpecNoise | None = None,
    program: Callable[..., Program] = MixedProgram,
    *,
    dtype: str = "complex128",
    n_weights: int,
    n_features: int,
) -> Program:
    """The Program of a tape whose parameters are functions of weights and features.

    Args:
        tape: The circuit of one sample, with measurements that :func:`outputs_of`
            takes.
        inputs: What each parameter of the tape is, in the order of the tape: symbols of
            the shape of the parameter, or None for a constant, the number that is on
            the tape.
        noise: Noise of the device, for mixed states; None is for pure states.
        program: The class of the Program if the states are mixed.
        dtype: The type of amplitudes, which says the precision of the states.
        n_weights: Length of the weights of the Program.
        n_features: Number of columns of its features.

    Raises:
        ValueError: If the inputs do not fit the tape, or a measurement is none that a
            Program has.
        DeviceError: As :func:`lower`, or if an operation needs something else of its
            parameters than polynomials.
        NeedsMixedStatesError: If states are pure and the circuit has a channel.
    """
    lowering = Lowering(wire_order(tape), noise, program, dtype)
    lowering.check_memory()
    values = tape.get_parameters(trainable_only=False)
    _check_inputs(values, inputs, n_weights, n_features)
    gates = bound_gates(tape, inputs, lowering)
    outputs = [
        terms
        for mp in tape.measurements
        for terms in outputs_of(mp, lowering.order, noise)
    ]
    return lowering.program_of(
        gates, outputs, n_weights=n_weights, n_features=n_features
    )


def bound_operations(
    tape: qml.tape.QuantumScript, inputs: Sequence[Symbols | None]
) -> list[tuple[Operator, list[Symbols | Constant]]]:
    """The operations of a tape, each with what its parameters are.

    Args:
        tape: The circuit.
        inputs: As :func:`lower_bound`.

    Raises:
        DeviceError: If a number of an observable is no constant.
    """
    bound: list[tuple[Operator, list[Symbols | Constant]]] = []
    rest = iter(inputs)
    for op in tape.operations:
        params = [
            Constant(to_numpy(value)) if given is None else given
            for value, given in zip(op.data, rest, strict=False)
        ]
        bound.append((op, params))
    if any(entry is not None for entry in rest):
        raise DeviceError(
            "Parameters of observables must be constants in a compiled circuit, but "
            "one depends on weights or features. Use the circuit's QNode."
        )
    return bound


def bound_gates(
    tape: qml.tape.QuantumScript,
    inputs: Sequence[Symbols | None],
    lowering: Lowering,
) -> list[MixedGate]:
    """The gates of a tape, in which constants have no place yet.

    Args:
        tape: The circuit.
        inputs: As :func:`lower_bound`.
        lowering: The steps to the register of the circuit.

    Raises:
        DeviceError: As :func:`lower_bound`.
    """
    return gates_of_pairs(bound_operations(tape, inputs), lowering)


def gates_of_pairs(
    pairs: Sequence[tuple[Operator, Sequence[Any]]], lowering: Lowering
) -> list[MixedGate]:
    """The gates of some operations, in which constants have no place yet.

    Args:
        pairs: The operations, each with what its parameters are.
        lowering: The steps to the register of the circuit.

    Raises:
        DeviceError: As :func:`lower_bound`.
    """
    gates: list[MixedGate] = []
    for op, params in pairs:
        gates += _gates_of(lowering, op, op.wires.labels, params, at_start=not gates)
    return gates


def _gates_of(
    lowering: Lowering,
    op: Operator,
    labels: Sequence[Any],
    params: Sequence[Symbols | Constant],
    *,
    at_start: bool = False,
) -> list[MixedGate]:
    """The gates of an operation whose parameters are symbols or constants.

    Args:
        lowering: The steps to the register of the circuit.
        op: The operation.
        labels: Labels of its wires.
        params: What each of its parameters is.
        at_start: Whether no gate comes before those of the operation, so that the first
            of them may give the initial amplitudes.
    """
    try:
        gates = list(lowering.gates_of(op, labels, params))
    except SymbolError as error:
        raise CannotCompileError(
            f"{op.name} cannot be compiled: it needs more of a parameter than a "
            f"polynomial of degree 2: {error}. Run the circuit through its QNode, or "
            "leave the parameter constant."
        ) from error
    kinds = set(map(type, gates))
    if lowering.noise is None and not _CHANNELS.isdisjoint(kinds):
        raise NeedsMixedStatesError(
            f"{op.name} is a channel or has one inside, and states are pure on this "
            "device. Use qstore.mock_noisy."
        )
    if lowering.is_drawn and any(
        isinstance(gate, Channel) and _slots(gate) for gate in gates
    ):
        raise DeviceError(NO_STRENGTHS.format(op.name))
    if Amplitudes not in kinds:
        return gates
    found: list[MixedGate] = []
    for gate in gates:
        if isinstance(gate, Amplitudes) and (found or not at_start):
            found += _as_gates(lowering, gate)
        else:
            found.append(gate)
    return found


def _as_gates(lowering: Lowering, amplitudes: Amplitudes) -> list[MixedGate]:
    """Gates that turn all wires in 0 into constant amplitudes, inside a circuit.

    Amplitudes that are weights or features stay as they are, and are refused later: the
    angles of such gates are known for constants only.
    """
    if not isinstance(amplitudes.slot, Unplaced):
        return [amplitudes]
    vector = amplitudes.slot.numbers
    if amplitudes.complex:
        real, imaginary = np.split(vector, 2)
        vector = real + 1j * imaginary
    labels = [lowering.order[wire] for wire in amplitudes.wires]
    op = qml.MottonenStatePreparation(vector, wires=labels)
    return _gates_of(lowering, op, labels, [Constant(vector)])


def _slots(channel: Channel) -> set[Slot]:
    """The weights and features that the strengths of a channel depend on."""
    return set().union(*(a.slots for a in (*channel.factors, channel.shift)))


def _check_inputs(
    values: Sequence[Any],
    inputs: Sequence[Symbols | None],
    n_weights: int,
    n_features: int,
) -> None:
    """Refuse inputs that do not fit the parameters of a tape, or the Program.

    Args:
        values: The parameters on the tape.
        inputs: What each of them is.
        n_weights: Length of the weights.
        n_features: Number of columns of the features.
    """
    shapes = [np.shape(value) for value in values]
    given = [None if entry is None else entry.shape for entry in inputs]
    fit = [a in (None, b) for a, b in zip(given, shapes, strict=False)]
    if len(given) != len(shapes) or not all(fit):
        raise ValueError(
            "Argument `inputs` must have an entry for each parameter of the tape, None "
            f"or of its shape: {shapes}, but has {given}."
        )
    sizes = {WEIGHT: n_weights, FEATURE: n_features}
    for entry in inputs:
        for kind, index in {} if entry is None else entry.highest.items():
            if index >= sizes[kind]:
                name = "weights" if kind == WEIGHT else "features"
                raise ValueError(
                    f"Argument `inputs` must use indices < {sizes[kind]} of the "
                    f"{name}, but uses {index}."
                )
