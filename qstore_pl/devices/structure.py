"""What a circuit is before it runs: its gates, and what each output can depend on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pennylane.operation import Operator
from pennylane.tape import QuantumScript

from qstore_pl.devices.aside import aside
from qstore_pl.devices.bound import bound_gates, bound_operations
from qstore_pl.devices.deferring import deferred_bound
from qstore_pl.devices.gate_noise import SpecNoise, gates_of
from qstore_pl.devices.lowering import (
    Lowering,
    wire_order,
    with_columns,
    with_places,
)
from qstore_pl.devices.noise import NoiseSpec, is_gate
from qstore_pl.devices.outputs import outputs_of
from qstore_pl.devices.records import Decided, records_of
from qstore_pl.devices.registry import entry_of, with_values
from qstore_pl.devices.symbols import Constant, Symbols, parameter_of
from qstore_pl.engine import lightcone
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.gates import FEATURE, WEIGHT, Slot


def gates(tape: QuantumScript, inputs: Sequence[Symbols | None]) -> list[Operator]:
    """The gates of a circuit, templates and gates on more than two wires taken apart.

    They are those that noise follows; state preparations are not among them, and a gate
    that depends on an outcome is controlled by the measured wire. Their numbers mean
    nothing.

    Args:
        tape: The circuit.
        inputs: As :func:`qstore_pl.devices.compile`.

    Example:
        >>> from qstore_pl.devices import symbols
        >>> op = qml.BasicEntanglerLayers(np.zeros((1, 2)), wires=[0, 1])
        >>> tape = qml.tape.QuantumScript([op], [qml.expval(qml.Z(0))])
        >>> [gate.name for gate in gates(tape, [symbols("weights", 0, (1, 2))])]
        ['RX', 'RX', 'CNOT']
    """
    tape, inputs = deferred_bound(tape, inputs)
    return [
        part
        for op, params in bound_operations(tape, inputs)
        for part, _ in gates_of(op, params)
        if is_gate(part) or isinstance(part, Decided)
    ]


def parts_of(op: Operator) -> list[Operator]:
    """The gates of a template; the operation alone if it is none.

    Args:
        op: The operation, whose parameters may be symbols.

    Raises:
        DecompositionUndefinedError: If it is neither a gate nor has a decomposition.
    """
    entry = entry_of(op)
    if entry is not None and entry.parts is None:
        return [op]
    with aside():
        parts = op.decomposition()
    return [gate for part in parts for gate in parts_of(_with_symbols(part))]


def _with_symbols(part: Operator) -> Operator:
    """A gate of a decomposition, with symbols in place of arrays of them."""
    given = [
        parameter_of(value)
        if isinstance(value, np.ndarray) and value.dtype == object
        else value
        for value in part.data
    ]
    if all(new is old for new, old in zip(given, part.data, strict=True)):
        return part
    numbers = [one.numbers if isinstance(one, Constant) else one for one in given]
    with aside():
        return with_values(part, numbers)


def depth(operations: Sequence[Operator]) -> int:
    """Layers of gates that act at the same time, each gate as early as it can.

    Example:
        >>> depth([qml.H(0), qml.H(1), qml.CNOT([0, 1])])
        2
    """
    return int(QuantumScript(operations).graph.get_depth())


@dataclass(frozen=True)
class LightCones:
    """What the outputs of a circuit can depend on, from its structure alone.

    Args:
        features: For each output the columns of the features that it can depend on.
        weights: For each output the weights that it can depend on.
        last: Weights that only enter the last gates on single wires, some of which
            always change nothing.
    """

    features: tuple[frozenset[int], ...]
    weights: tuple[frozenset[int], ...]
    last: frozenset[int]


def light_cones(
    tape: QuantumScript,
    inputs: Sequence[Symbols | None],
    *,
    n_weights: int,
    n_features: int,
) -> LightCones:
    """What each output of a circuit can depend on.

    Args:
        tape: The circuit, measuring what :func:`qstore_pl.devices.compile` takes.
        inputs: As :func:`qstore_pl.devices.compile`.
        n_weights: Length of the weights.
        n_features: Columns of the features.

    Raises:
        DeviceError: If an operation cannot be lowered.

    Example:
        The gate on wire 1 cannot change what is measured on wire 0:

        >>> from qstore_pl.devices import symbols
        >>> ops = [qml.RX(0.0, 0), qml.RX(0.0, 1)]
        >>> tape = qml.tape.QuantumScript(ops, [qml.expval(qml.Z(0))])
        >>> angles = [symbols("weights", 0, ()), symbols("weights", 1, ())]
        >>> cones = light_cones(tape, angles, n_weights=2, n_features=0)
        >>> [sorted(cone) for cone in cones.weights]
        [[0]]
    """
    tape, inputs = deferred_bound(tape, inputs)
    # As if states were mixed, since the circuit may have channels; without noise.
    lowering = Lowering(wire_order(tape), SpecNoise(NoiseSpec()))
    lowered, _ = with_places(bound_gates(tape, inputs, lowering), n_weights)
    placed, derived = with_columns(lowered, n_features)
    order = lowering.order
    records = records_of(tape.operations)
    outcomes = {lowering.position[record.wires[0]] for record in records}
    outputs = [terms for mp in tape.measurements for terms in outputs_of(mp, order)]
    cones = [
        _resolved(cone, derived, n_features)
        for cone in lightcone.light_cones(placed, outputs)
    ]
    held = frozenset(range(n_weights))  # behind them are constants
    return LightCones(
        features=tuple(_of_kind(FEATURE, cone) for cone in cones),
        weights=tuple(_of_kind(WEIGHT, cone) & held for cone in cones),
        last=_of_kind(WEIGHT, lightcone.last_rotations(placed, outcomes)) & held,
    )


def _resolved(
    cone: set[Slot], derived: Sequence[Derived], n_features: int
) -> set[Slot]:
    """Slots, and what the derived values among them are computed from."""
    found = set(cone)
    for k in reversed(range(len(derived))):
        if (FEATURE, n_features + k) in found:
            found |= derived[k].slots
    return {slot for slot in found if slot[0] != FEATURE or slot[1] < n_features}


def _of_kind(kind: int, slots: Iterable[Slot]) -> frozenset[int]:
    return frozenset(index for found, index in slots if found == kind)
