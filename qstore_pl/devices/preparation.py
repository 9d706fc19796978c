"""Transforms of tapes before they are lowered, which prepare the values on them.

They are applied before PennyLane hands the values of a tape to the device, so that the
user's framework differentiates what is computed here.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import isbox
from pennylane.exceptions import DeviceError
from pennylane.ops.functions import bind_new_parameters
from pennylane.tape import QuantumScript
from scipy.sparse import issparse

from qstore_pl._lazy import cached_property
from qstore_pl.devices.gates import MATRIX_ENTRY, STATE_ENTRY
from qstore_pl.devices.matrices import is_pauli_rotation, matrix_of, rotation_of
from qstore_pl.devices.readout import untraced
from qstore_pl.devices.registry import entry_of, is_plain
from qstore_pl.devices.tensors import to_numpy

_Transformed = tuple[tuple[QuantumScript, ...], Callable[..., Any]]
_FIXED = frozenset({float, int, np.float64, ArrayBox})  # types of most values
_MARKED = type(qml.fourier.mark(qml.Identity(0), ""))
_EXPONENTIALS = {qml.ops.Exp, qml.ops.Evolution}  # with what may be around them
_EXPONENTIALS |= {qml.ops.Controlled, qml.ops.ControlledOp}
_EXPONENTIALS |= {type(qml.adjoint(qml.RX(0.0, 0), lazy=True)), qml.ops.Adjoint}
_REWRITTEN = frozenset({_MARKED, *_EXPONENTIALS})


def _first(results: Any) -> Any:
    return results[0]


@qml.transform
def tidy(tape: QuantumScript, *, keep: bool = False) -> _Transformed:
    """Make values tensors, and operations those that the devices know.

    Lists of values become tensors and sparse values dense ones; exponentials of Pauli
    words become rotations; marks of ``qml.fourier.mark`` are taken off; labels that are
    integers of numpy become those of Python, by which PennyLane finds wires when it
    defers measurements.

    Args:
        tape: The circuit.
        keep: Whether arrays that the user could change in place are copied, since a
            backward pass reads them again.
    """
    labels = [w for w in tape.wires.labels if isinstance(w, np.integer)]
    if labels:
        (tape,), _ = qml.map_wires(tape, {label: int(label) for label in labels})
    operations = [
        op
        if type(op) not in _REWRITTEN and _FIXED.issuperset(map(type, op.data))
        else _tidied(op, keep=keep)
        for op in tape.operations
    ]
    measurements = tape.measurements
    if keep:
        measurements = [_kept(mp) for mp in measurements]
    if all(map(operator.is_, operations, tape.operations)) and all(
        map(operator.is_, measurements, tape.measurements)
    ):
        return (tape,), _first
    prepared = tape.copy(operations=operations, measurements=measurements)
    if any(_state(v) == "list" for op in tape.operations for v in op.data):
        # PennyLane finds trainable values in tensors, not in lists.
        values = prepared.get_parameters(trainable_only=False)
        prepared.trainable_params = list(qml.math.get_trainable_indices(values))
    return (prepared,), _first


def _tidied(op: Any, *, keep: bool) -> Any:
    if isinstance(op, _MARKED):
        op = op.base
    if type(op) in _EXPONENTIALS and is_pauli_rotation(op):
        op = op if qml.math.ndim(op.data[0]) else rotation_of(op)
    others = [value for value in op.data if type(value) not in _FIXED]
    for value in others:
        _check_numbers(op, value)
    found = [_state(value) for value in others]
    if not any(state and (keep or state != "mutable") for state in found):
        return op
    data = [_tensor(value, keep=keep) for value in op.data]
    if isinstance(op, qml.operation.StatePrepBase) and issparse(op.data[0]):
        data[0] = data[0].reshape(-1)  # sparse vectors are rows
    if all(state in ("", "mutable") for state in found):
        return _copied(op, data)
    return bind_new_parameters(op, data)


def _check_numbers(op: Any, value: Any) -> None:
    """Refuse a value that is no number, while it is known which operation has it.

    Frameworks would convert it in different ways; JAX, for example, makes NaN of None.

    Args:
        op: The operation.
        value: A parameter of it.

    Raises:
        DeviceError: If the value is None, a text or masked, or has such an entry.
    """
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.reshape(-1).tolist()
    if isinstance(value, list | tuple):
        for part in value:
            _check_numbers(op, part)
    elif (
        value is None
        or isinstance(value, str | bytes)
        or (isinstance(value, np.ndarray) and value.dtype.kind in "US")
    ):
        raise DeviceError(
            f"Parameters of {op.name} must be numbers, but one is {value!r}. Look at "
            "what it was given."
        )
    elif np.ma.is_masked(value):
        raise DeviceError(
            f"Parameters of {op.name} must be numbers, but one has masked entries. Put "
            "numbers there with .filled(number)."
        )


def _kept(mp: Any) -> Any:
    """A measurement with copies of the matrices of its observable."""
    data = () if mp.obs is None else mp.obs.data
    if not any(_state(v) == "mutable" for v in data if type(v) not in _FIXED):
        return mp
    copied = copy.copy(mp)
    copied.obs = _copied(mp.obs, [_tensor(value, keep=True) for value in data])
    return copied


def _copied(op: Any, data: list[Any]) -> Any:
    """The same operation with other values.

    PennyLane's bind_new_parameters loses the control values of matrices, and fails for
    some classes.
    """
    twin = copy.copy(op)
    twin.data = tuple(data)
    return twin


def as_numbers(tape: QuantumScript) -> QuantumScript:
    """The tape with arrays of numpy in the place of tensors of any framework.

    PennyLane's own conversion loses the control values of matrices.
    """
    operations = [
        op
        if all(isinstance(value, float | int | np.ndarray) for value in op.data)
        else _copied(op, [to_numpy(value) for value in op.data])
        for op in tape.operations
    ]
    measurements = [untraced(mp) for mp in tape.measurements]
    return tape.copy(operations=operations, measurements=measurements)


def interface_of_lists(tape: QuantumScript) -> qml.math.Interface:
    """The interface of the values in lists, which PennyLane takes for numpy."""
    values = [
        _tensor(value, keep=False)
        for op in tape.operations
        for value in op.data
        if _state(value) == "list"
    ]
    found = qml.math.Interface(qml.math.get_interface(*values)) if values else None
    return found or qml.math.Interface.NUMPY


def _state(value: Any) -> str:
    """What has to be done with a value: "list", "sparse", "mutable" or nothing."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return "list"
        return "mutable"
    if isinstance(value, float | int | np.generic) or isbox(value):
        return ""
    if isinstance(value, list | tuple):
        return "list"
    if qml.math.get_interface(value) == "torch":
        return "mutable"
    return "sparse" if issparse(value) else ""


def _tensor(value: Any, *, keep: bool) -> Any:
    match _state(value):
        case "list":
            return qml.math.stack([_tensor(part, keep=False) for part in value])
        case "sparse":
            return value.toarray()
        case "mutable" if keep:
            return value.copy() if isinstance(value, np.ndarray) else value.clone()
    return value


@qml.transform
def finish(tape: QuantumScript, *, over_rotated: bool = False) -> _Transformed:
    """Make operations known by a matrix QubitUnitary, and hash the exact values.

    Args:
        tape: A tape whose other operations have entries in the registry.
        over_rotated: Whether the device over-rotates angles.

    Raises:
        DeviceError: If angles would be over-rotated that are known by a matrix only.
    """
    if not all(map(is_plain, tape.operations)):
        operations = [
            _as_values(op, over_rotated=over_rotated, first=i == 0)
            for i, op in enumerate(tape.operations)
        ]
        if not all(map(operator.is_, operations, tape.operations)):
            tape = tape.copy(operations=operations)
    exact = ExactTape.__new__(ExactTape)
    exact.__dict__.update(tape.__dict__)  # with the properties computed before
    exact.__dict__.pop("hash", None)
    return (exact,), _first


def _as_values(op: Any, *, over_rotated: bool, first: bool) -> Any:
    if isinstance(op, (qml.ops.op_math.Adjoint, qml.ops.op_math.Controlled)):
        base = _as_values(op.base, over_rotated=over_rotated, first=False)
        # PennyLane's conversion to numpy loses the control values of this class.
        loses = isinstance(op, qml.ControlledQubitUnitary)
        if base is op.base and not loses:
            return op
        if isinstance(op, qml.ops.op_math.Adjoint):
            return qml.adjoint(base, lazy=True)
        return qml.ops.Controlled(base, op.control_wires, op.control_values)
    entry = entry_of(op)
    if entry is MATRIX_ENTRY:
        if over_rotated and 0 in op.ndim_params:
            raise DeviceError(
                f"Operation {op.name} is known by its matrix only, so its angles "
                "cannot be over-rotated. Write it in other gates."
            )
        return qml.QubitUnitary(matrix_of(op), wires=op.wires)
    if entry is STATE_ENTRY and first and op.num_params:
        amplitudes = qml.math.reshape(op.state_vector(wire_order=op.wires), (-1,))
        return qml.StatePrep(amplitudes, wires=op.wires)
    return op


class ExactTape(QuantumScript):
    """A tape with a hash of every bit of its values.

    PennyLane's cache of results compares tapes by the text of their values, which has
    four digits of a torch tensor, eight of an array, and not all entries of a large
    array.
    """

    @cached_property
    def hash(self) -> int:
        """A hash of the circuit and of the bytes of its values."""
        values = self.get_parameters(trainable_only=False)
        return hash((super().hash, *map(_digest, values)))


def _digest(value: Any) -> Any:
    # A value without numbers has its identity; the tape keeps it alive.
    return id(value) if qml.math.is_abstract(value) else to_numpy(value).tobytes()
