"""The one list of operations that the devices run whole, and how they become gates.

Listed operations, their adjoints and their controlled forms are lowered by their
entries. Other operations are lowered by their decompositions: in a QNode PennyLane
calls these with numbers, in a compiled circuit :func:`made_of` calls them with symbols.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.exceptions import DecompositionUndefinedError, DeviceError
from pennylane.operation import Operator
from pennylane.ops.functions import bind_new_parameters

from qstore_pl import templates
from qstore_pl.devices.aside import aside
from qstore_pl.devices.channels import CHANNELS
from qstore_pl.devices.entries import (
    NOT_COMPLEX,
    CannotCompileError,
    Entry,
    Parameter,
    Wires,
    register,
)
from qstore_pl.devices.gates import (
    GATES,
    MATRIX_ENTRY,
    RECORD_ENTRY,
    STATE_ENTRY,
    phase,
)
from qstore_pl.devices.matrices import is_pauli_rotation, rotation_of
from qstore_pl.devices.records import Followed, Record, RecordCopy
from qstore_pl.devices.symbols import (
    Constant,
    SymbolError,
    Symbols,
    parameter_of,
    times,
)
from qstore_pl.engine.gates import (
    Matrix,
    MixedGate,
    PauliRotation,
    Permutation,
)

MAX_MATRIX_WIRES = 8  # with more wires a matrix costs more than its decomposition


# --- templates -------------------------------------------------------------------


def made_of(
    op: Operator, params: Sequence[Any], wires: Sequence[Any]
) -> Iterable[tuple[Operator, tuple[Any, ...]]]:
    """The operations in the decomposition of an operation.

    Args:
        op: The operation. Of its numbers only constants are looked at.
        params: What each of its parameters is. A constant is given to the decomposition
            as the number it is, everything else as a symbol.
        wires: What the wires of the operation are called in the result.

    Returns:
        The operations, each with what its parameters are.

    Raises:
        DeviceError: If the decomposition does something with a symbol that needs its
            value, such as comparing it.
    """
    names = dict(zip(op.wires.labels, wires, strict=True))
    try:
        with aside():
            bound = _with_symbols(op, params)
            if any(label is not name for label, name in names.items()):
                bound = qml.map_wires(bound, names)
            parts = bound.decomposition()
        return [(part, tuple(map(parameter_of, part.data))) for part in parts]
    except SymbolError as error:
        raise CannotCompileError(
            f"{op.name} cannot be compiled: its decomposition needs the value of a "
            f"parameter, for {error}. Run the circuit through its QNode."
        ) from error
    except DecompositionUndefinedError as error:
        raise CannotCompileError(
            f"{op.name} cannot be compiled: it has no decomposition for any value of "
            "its parameters. Run the circuit through its QNode."
        ) from error


_AROUND = (qml.ops.op_math.Adjoint, qml.ops.op_math.Controlled, qml.ops.Pow)


def _with_symbols(op: Operator, params: Sequence[Any]) -> Operator:
    """The operation with a symbol for each parameter that is no constant."""
    if all(isinstance(param, Constant) for param in params):
        return op
    return with_values(op, [_value(param) for param in params])


def with_values(op: Operator, given: Sequence[Any]) -> Operator:
    """The operation with other parameters.

    Args:
        op: The operation.
        given: What stands for each of its parameters.
    """
    inner = op
    while isinstance(inner, _AROUND):
        inner = inner.base
    if isinstance(inner, qml.ops.Evolution):
        # PennyLane would look for parameters of the base, which are none of Evolution.
        twin = copy.copy(op)
        twin.data = tuple(given)
        return twin
    return bind_new_parameters(op, list(given))


def _value(param: Any) -> Any:
    """What an operation gets for a parameter: its numbers, or symbols."""
    if isinstance(param, Constant):
        return param.numbers
    if isinstance(param, Symbols):
        return param
    return Symbols.consecutive(param.slot, param.shape)


def _by_parts(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    return _lower_parts(op, made_of(op, params, wires), wires)


def _structure(op: Operator) -> Hashable:
    """The hyperparameters of an operation, in a form that can be hashed."""
    found = op.hyperparameters.items()
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in found)


# QNodes run these whole as well: decomposing them at every call would cost time.
TEMPLATES: dict[str, Entry] = {
    name: Entry(_by_parts, ndims=(ndim,), key=_structure, parts=made_of)
    for name, ndim in (
        ("AngleEmbedding", 1),
        ("BasisEncoding", 1),
        ("BasicEntanglerLayers", 2),
        ("RotationEntanglerLayers", 3),
        ("StronglyEntanglingLayers", 3),
    )
}


@register(
    TEMPLATES,
    "ZZFeatureMap",
    ndims=(1,),
    key=_structure,
    parts=made_of,
)
def _zz_feature_map(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    """Its decomposition with every CNOT, phase shift, CNOT made one rotation.

    This takes a third of the instructions, with the same result.
    """
    x = params[0].angles
    pairs = templates.entangler_pairs(len(wires), op.hyperparameters["entanglement"])
    for _ in range(op.hyperparameters["reps"]):
        for i, wire in enumerate(wires):
            yield from GATES["Hadamard"].lower(qml.Hadamard(0), (), (wire,))
            yield PauliRotation("Z", (wire,), 2.0 * x[i])
            yield phase(x[i])
        for i, j in pairs:
            # A phase where the two bits differ.
            product = 2.0 * times(np.pi - x[i], np.pi - x[j])
            yield PauliRotation("ZZ", (wires[i], wires[j]), product)
            yield phase(0.5 * product)


REGISTRY = GATES | CHANNELS | TEMPLATES

# --- the operations PennyLane builds from others ---------------------------------


_HOMES = ("pennylane.", "qstore_pl.")
# Entries by class, which are found faster than by name.
_KNOWN: dict[type, Entry] = {
    Followed: RECORD_ENTRY,
    Record: RECORD_ENTRY,
    RecordCopy: REGISTRY["CNOT"],
}


def entry_of(op: Operator) -> Entry | None:
    """The entry of an operation, its adjoint or its controlled form.

    Returns:
        None if the operation must be decomposed.
    """
    known = _KNOWN.get(type(op))
    if known is not None:
        return known
    entry = REGISTRY.get(op.name)
    if entry is not None and not is_foreign(op):
        if type(op).__name__ == op.name:  # some names depend on the instance
            _KNOWN[type(op)] = entry
        return entry
    if isinstance(op, qml.ops.op_math.Adjoint | qml.ops.op_math.Controlled):
        base = entry_of(op.base)
        if base is None or not base.controllable:
            return None
        values, pulls = base.values, base.pulls
        return Entry(
            _inverse if isinstance(op, qml.ops.op_math.Adjoint) else _controlled,
            key=_symbolic_key,
            ndims=base.ndims,
            values=None if values is None else lambda op: values(op.base),
            complex=base.complex,
            differentiable=base.differentiable,
            parts=None if base.parts is None else made_of,
            pulls=None if pulls is None else lambda op: pulls(op.base),
        )
    if isinstance(op, qml.operation.StatePrepBase):
        return STATE_ENTRY
    return MATRIX_ENTRY if _is_known_by_its_matrix(op) else None


def is_plain(op: Operator) -> bool:
    """Whether the class of an operation is known to be in the registry."""
    return type(op) in _KNOWN


def is_foreign(op: Operator) -> bool:
    """Whether the class of an operation is neither PennyLane's nor ours."""
    return not type(op).__module__.startswith(_HOMES)


def has_own_decomposition(op: Operator) -> bool:
    """Whether the class of an operation defines its decomposition.

    PennyLane also finds decomposition rules by name. That is not asked for an operation
    of the user's own, which may have the name of one of PennyLane's and mean something
    else.
    """
    if not is_foreign(op):
        return bool(op.has_decomposition)
    base, own = qml.operation.Operator, type(op)
    return (
        own.compute_decomposition is not base.compute_decomposition
        or own.decomposition is not base.decomposition
    )


def _is_known_by_its_matrix(op: Operator) -> bool:
    if not op.has_matrix or len(op.wires) > MAX_MATRIX_WIRES:
        return False
    if isinstance(op, qml.Projector | qml.ops.Conditional | qml.ops.MidMeasure):
        return False  # not unitary, or decided by an outcome
    if isinstance(op, qml.SpecialUnitary):
        return True  # its decomposition computes with the values of its parameters
    if isinstance(op, qml.ops.Exp):
        if qml.math.ndim(op.data[0]):
            raise DeviceError(
                f"{op.name} must have one coefficient on the qstore devices, but has a "
                "batch. Use qml.PauliRot, whose angle may be a batch."
            )
        return not is_pauli_rotation(op)
    return not has_own_decomposition(op)


def _symbolic_key(op: Any) -> Hashable:
    entry = entry_of(op.base)
    assert entry is not None
    controls = tuple(map(bool, getattr(op, "control_values", ())))
    return type(op.base), controls, len(op.base.wires), entry.key(op.base)


def _inverse(op: Any, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    entry = entry_of(op.base)
    assert entry is not None
    for gate in reversed(list(entry.lower(op.base, params, wires))):
        assert isinstance(gate, PauliRotation | Permutation | Matrix)
        yield gate.adjoint()


def _controlled(op: Any, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    values = [int(value) for value in op.control_values]
    controls = list(zip(wires, values, strict=False))
    n_base = len(op.base.wires)
    base_wires = wires[len(values) : len(values) + n_base]
    entry = entry_of(op.base)
    assert entry is not None
    for gate in entry.lower(op.base, params, base_wires):
        assert isinstance(gate, PauliRotation | Permutation | Matrix)
        yield gate.controlled(controls)


def elementary(
    op: Operator, params: Sequence[Any]
) -> Iterable[tuple[Operator, Sequence[Any]]]:
    """An operation, or the gates of a template in its place.

    Args:
        op: The operation.
        params: What each of its parameters is.

    Returns:
        Each gate with what its parameters are.
    """
    entry = entry_of(op)
    parts = _by_itself if entry is None else entry.parts
    if parts is None:
        yield op, params
        return
    for part, its_params in parts(op, params, op.wires.labels):
        yield from elementary(part, its_params)


def _by_itself(
    op: Operator, params: Sequence[Any], wires: Sequence[Any]
) -> Iterable[tuple[Operator, tuple[Any, ...]]]:
    """The operations in the decomposition of an operation without an entry.

    Raises:
        DeviceError: As :func:`made_of`, or if it has no decomposition.
    """
    if is_pauli_rotation(op):
        names = dict(zip(op.wires.labels, wires, strict=True))
        rotation = qml.map_wires(rotation_of(_with_symbols(op, params)), names)
        return [(rotation, tuple(map(parameter_of, rotation.data)))]
    if not has_own_decomposition(op):
        raise DeviceError(
            f"Operation {op.name} is not supported by the qstore devices and has no "
            "decomposition. Write one: compute_decomposition of its class."
        )
    return made_of(op, params, wires)


def lower_operation(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    """The gates of an operation.

    Args:
        op: The operation. Of its numbers only constants are looked at.
        params: What each of its parameters is: a symbol or a constant. For a tape that
            was taken apart they are the slots of the numbers that the entry computes
            from the parameters.
        wires: Positions of its wires in the register.

    Raises:
        DeviceError: If it has no decomposition, or one that needs the value of a
            symbol.
        SymbolError: If a gate needs the value of a parameter.
    """
    entry = entry_of(op)
    if entry is not None:
        if entry.values is not None:
            params = _held(op, entry, params)
        return entry.lower(op, params, wires)
    return _lower_parts(op, _by_itself(op, params, wires), wires)


def _lower_parts(
    op: Operator, parts: Iterable[tuple[Operator, Sequence[Any]]], wires: Wires
) -> Iterable[MixedGate]:
    """The gates of the operations in a decomposition."""
    own = frozenset(wires)
    for part, its_params in parts:
        its_wires = part.wires.labels
        if not own.issuperset(its_wires):
            raise DeviceError(
                f"{op.name} must act on its own wires, but its decomposition has a "
                f"{part.name} on others."
            )
        yield from lower_operation(part, its_params, its_wires)


def _held(op: Operator, entry: Entry, params: Sequence[Any]) -> Sequence[Any]:
    """The numbers that the gates of an operation hold, computed from its parameters."""
    if any(isinstance(param, Parameter) for param in params):
        return params
    assert entry.values is not None
    if entry.complex and any(isinstance(param, Symbols) for param in params):
        raise DeviceError(NOT_COMPLEX.format(op.name))
    return [parameter_of(value) for value in entry.values(_with_symbols(op, params))]
