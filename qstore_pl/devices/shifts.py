"""Circuits whose gates can be shifted: the parameter-shift rule on arrays.

Operations are decomposed until each has a shift rule, the one that PennyLane knows of
it, and each number of a gate that is to be differentiated gets a feature column of its
own, by which it can be turned. Gates from which no measurement can be reached are not
among them. Noise that over-rotates a gate also over-rotates its shift, as on a machine
that is badly calibrated: there the rule has an error.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pennylane as qml
from pennylane.exceptions import DeviceError, ParameterFrequenciesUndefinedError
from pennylane.operation import Operator
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import collapses
from qstore_pl.devices.aside import aside
from qstore_pl.devices.entries import CannotCompileError
from qstore_pl.devices.gate_noise import SpecNoise, gates_of
from qstore_pl.devices.records import Record
from qstore_pl.devices.registry import (
    entry_of,
    has_own_decomposition,
    made_of,
    with_values,
)
from qstore_pl.devices.shift_rules import not_an_angle
from qstore_pl.devices.symbols import SymbolError, Symbols
from qstore_pl.engine.derived import base_slots
from qstore_pl.engine.gates import FEATURE, WEIGHT
from qstore_pl.engine.lanes import Use

Pair = tuple[Operator, Sequence[Any]]
Rule = tuple[tuple[float, float, float], ...]
# Gates whose generator has two eigenvalues, of opposite sign. Under a control 0 is a
# third; PennyLane 0.45.1 has a TypeError there.
_SYMMETRIC = (qml.MultiRZ, qml.PauliRot, qml.PCPhase)
_PHASES = ("GlobalPhase", "Adjoint(GlobalPhase)")  # which no measurement sees


def turned(
    pairs: Sequence[Pair],
    measured: Sequence[Any],
    noise: SpecNoise | None,
    *,
    n_features: int,
    inputs: bool,
) -> tuple[list[Pair], list[Use]]:
    """A circuit in which each number of a gate has a column that is added to it.

    Args:
        pairs: The operations, each with what its parameters are.
        measured: Labels of the wires that are measured.
        noise: Noise of the device, or None.
        n_features: Columns of the features, behind which those of the numbers come.
        inputs: Whether numbers that depend on features alone are turned as well.

    Returns:
        The operations, and the numbers that have a column, in its order. Derived values
        in these have no place yet.

    Raises:
        DeviceError: If a gate that depends on weights, or features that are wanted, has
            no shift rule.
    """
    kinds = {WEIGHT, FEATURE} if inputs else {WEIGHT}
    parts = [part for pair in pairs for part in _shiftable(*pair, noise, kinds)]
    seen = _seen([op for op, _ in parts], measured)
    found: list[Pair] = []
    uses: list[Use] = []
    outcomes: set[Any] = set()
    shifted = ""
    for (op, params), is_seen in zip(parts, seen, strict=True):
        if collapses(op) and shifted:
            raise DeviceError(
                f"Parameter shift does not hold for {shifted} before a postselected "
                "measurement or a projector, which divides the state by its norm. Run "
                "without shots, where the device has the gradient."
            )
        if isinstance(op, Record):
            outcomes.update(op.wires)
        if not is_seen or not depends(params, kinds) or op.name in _PHASES:
            found.append((op, params))
            continue
        shifted = op.name
        own = list(params)
        for i, param in enumerate(params):
            if depends([param], kinds):
                slot = FEATURE, n_features + len(uses)
                rule = _rule_of(_conditioned(op, outcomes), i)
                assert rule is not None  # of a gate that was not taken apart
                uses.append(Use(param.angle, rule))
                own[i] = param + Symbols.consecutive(slot, ())
        found.append((op, own))
    return found, uses


def _conditioned(op: Operator, outcomes: set[Any]) -> Operator:
    """A gate that acts or not, by outcomes alone, whose shift rule is its own."""
    is_controlled = isinstance(op, qml.ops.Controlled)
    return op.base if is_controlled and outcomes >= set(op.control_wires) else op


def rules_of_conditions(tape: QuantumScript) -> QuantumScript:
    """A circuit whose gates that depend on outcomes tell PennyLane their shift rules.

    A gate acts or does not act, by the outcome, and its own rule holds. PennyLane 0.45
    knows none, and takes finite differences. Gates without a rule are decomposed.

    Args:
        tape: The circuit, with measurements inside it that are not deferred.

    Raises:
        DeviceError: If such a gate has neither a shift rule nor a decomposition.
    """
    if not any(isinstance(op, qml.ops.Conditional) for op in tape.operations):
        return tape
    operations: list[Operator] = []
    with aside():
        for op in tape.operations:
            if isinstance(op, qml.ops.Conditional):
                operations += _with_recipes(op)
            else:
                operations.append(op)
    found = tape.copy(operations=operations)
    if len(found.par_info) == len(tape.par_info):
        found.trainable_params = tape.trainable_params
    return found


def _with_recipes(op: qml.ops.Conditional) -> list[Operator]:
    rules: list[Rule | None] = [None]  # of parameters that are arrays
    if not any(op.base.ndim_params):
        rules = [_rule_of(op.base, i) for i in range(op.base.num_params)]
    if None not in rules:
        own = qml.ops.Conditional(op.meas_val, op.base)
        own.grad_recipe = [[list(term) for term in rule] for rule in rules if rule]
        return [own]
    if not op.base.has_decomposition:
        raise DeviceError(
            f"{op.name} has no shift rule for its parameters and no decomposition. Run "
            "without shots, where the device has the gradient."
        )
    parts = op.base.decomposition()
    conditions = (qml.ops.Conditional(op.meas_val, part) for part in parts)
    return [gate for condition in conditions for gate in _with_recipes(condition)]


def depends(params: Sequence[Any], kinds: set[int]) -> bool:
    """Whether one of the parameters depends on values of these kinds."""
    return any(
        kind in kinds
        for param in params
        if isinstance(param, Symbols)
        for angle in param.entries
        for kind, _ in base_slots(angle)
    )


def _shiftable(
    op: Operator, params: Sequence[Any], noise: SpecNoise | None, kinds: set[int]
) -> Iterator[Pair]:
    """An operation, taken apart until its gates have shift rules.

    Where noise follows each gate, the gates are those that noise follows: a rule for a
    wider operation would not hold.
    """
    if not depends(params, kinds):
        yield op, params
        return
    if noise is not None and noise.follows_gates:
        try:
            parts = list(gates_of(op, params))
        except SymbolError as error:
            raise CannotCompileError(
                f"{op.name} cannot be compiled: it needs more of a parameter than a "
                f"polynomial of degree 2: {error}. Leave the parameter constant."
            ) from error
        for part, own in parts:
            if depends(own, kinds) and noise.may_follow(part):
                if not _has_rule(part, own):
                    raise CannotCompileError(
                        f"{part.name} cannot be compiled with shifts: it has no shift "
                        "rule, and cannot be taken apart, as noise follows it as a "
                        "whole. Write it in gates that have one."
                    )
                yield part, own
            else:
                yield from _with_rule(part, own, kinds)
    else:
        yield from _with_rule(op, params, kinds)


def _with_rule(op: Operator, params: Sequence[Any], kinds: set[int]) -> Iterator[Pair]:
    if not depends(params, kinds) or _has_rule(op, params):
        yield op, params
        return
    if reason := not_an_angle(op):
        raise DeviceError(reason)
    entry = entry_of(op)
    takes_apart = entry is not None and entry.parts is not None
    if not takes_apart and not has_own_decomposition(_with_numbers(op)):
        raise DeviceError(
            f"{op.name} has no shift rule for its parameters and no decomposition. Run "
            "without shots, where the device has the gradient."
        )
    for part, own in made_of(op, params, op.wires.labels):
        yield from _with_rule(part, own, kinds)


def _has_rule(op: Operator, params: Sequence[Any]) -> bool:
    if any(getattr(param, "shape", ()) for param in params):
        return False
    if not_an_angle(op) is not None:
        return False
    return op.name in _PHASES or all(
        _rule_of(op, i) is not None for i in range(len(params))
    )


def _rule_of(op: Operator, index: int) -> Rule | None:
    """The shift rule of a parameter of an operation, as PennyLane knows it, if it does.

    Args:
        op: The operation.
        index: Which of its parameters.
    """
    twin = _with_numbers(op)
    if getattr(twin, "grad_method", None) != "A":
        return None
    recipe = twin.grad_recipe[index]
    if recipe is not None:
        return tuple((float(c), float(a), float(s)) for c, a, s in recipe if c)
    inner = twin
    while isinstance(inner, qml.ops.op_math.Adjoint):
        inner = inner.base
    if isinstance(inner, qml.ops.Controlled) and isinstance(inner.base, _SYMMETRIC):
        (frequency,) = inner.base.parameter_frequencies[0]
        return _rule((0.5 * frequency, float(frequency)))
    try:
        frequencies = twin.parameter_frequencies[index]
    except ParameterFrequenciesUndefinedError:
        return None
    return _rule(tuple(map(float, frequencies)))


def _with_numbers(op: Operator) -> Any:
    """The operation with some numbers as its parameters."""
    with aside():
        return with_values(op, [0.1 * (i + 1) for i in range(len(op.data))])


@functools.lru_cache(maxsize=256)
def _rule(frequencies: tuple[float, ...]) -> Rule:
    rule = qml.gradients.generate_shift_rule(frequencies)
    return tuple((float(c), 1.0, float(s)) for c, s in rule)


def _seen(operations: Sequence[Operator], measured: Sequence[Any]) -> list[bool]:
    """Whether a measurement can be reached from each operation, wire by wire."""
    reached = set(measured)
    seen = []
    for op in reversed(operations):
        wires = op.wires.labels
        seen.append(not reached.isdisjoint(wires))
        if seen[-1]:
            reached.update(wires)
    return seen[::-1]


def measured_wires(tape: QuantumScript) -> tuple[Any, ...]:
    """Labels of the wires that a circuit measures; all, if a measurement names none."""
    if all(len(mp.wires) for mp in tape.measurements):
        return tuple(dict.fromkeys(w for mp in tape.measurements for w in mp.wires))
    return tuple(tape.wires)
