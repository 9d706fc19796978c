"""What the devices take: operations to run whole, measurements, gradients.

Predicates over PennyLane objects for its preprocessing transforms; nothing is run here.
"""

from __future__ import annotations

from typing import Any

import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.measurements import (
    ClassicalShadowMP,
    ExpectationMP,
    MeasurementProcess,
    SampleMeasurement,
    ShadowExpvalMP,
    StateMeasurement,
)
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript

from qstore_pl.devices.channels import MAX_CHANNEL_WIRES
from qstore_pl.devices.noise import is_gate
from qstore_pl.devices.registry import Entry, entry_of


def runs_whole(op: Any) -> bool:
    """Whether the engine runs an operation, not the first, without decomposing it."""
    entry = entry_of(op)
    if entry is None:  # postselection becomes a projector
        return isinstance(op, qml.Projector)
    return not entry.channel and _is_whole(op, entry)


def runs_noisy(op: Any) -> bool:
    """Whether mixed states run an operation, not the first, as one noisy gate.

    Templates are taken apart, as noise follows each of their gates, and so are gates on
    more than two wires. An adjoint that is a gate of its own is written as that gate.
    """
    if isinstance(op, qml.ops.op_math.Adjoint) and op.base.has_adjoint:
        return False
    return not (is_gate(op) and len(op.wires) > 2) and runs_mixed(op)


def runs_mixed(op: Any) -> bool:
    """Whether mixed states run an operation, not the first, without gate noise."""
    entry = entry_of(op)
    if entry is None or entry.parts is not None:
        return False
    wide = len(op.wires) > MAX_CHANNEL_WIRES
    if isinstance(op, qml.QubitChannel) and wide:
        raise DeviceError(
            f"QubitChannel must be on at most {MAX_CHANNEL_WIRES} wires here, but is "
            f"on {len(op.wires)}."
        )
    return not (is_gate(op) and wide) and _is_whole(op, entry)


def _is_whole(op: Any, entry: Entry) -> bool:
    if entry.ndims is not None and op.batch_size is None:
        # A batch PennyLane does not see yet: it does once the template is taken apart.
        axes = zip(op.data, entry.ndims, strict=False)
        if any(qml.math.ndim(value) > ndim for value, ndim in axes):
            return False
    return not entry.initial


def runs_whole_or_measures(op: Any) -> bool:
    """As :func:`runs_whole`, or a measurement inside the circuit."""
    return isinstance(op, MidMeasure | qml.ops.Conditional) or runs_whole(op)


def runs_in_pieces(op: Any) -> bool:
    """Whether PennyLane's own simulator runs an operation."""
    if isinstance(op, MidMeasure | qml.ops.Conditional | qml.operation.StatePrepBase):
        return True
    return (op.has_matrix and len(op.wires) < 8) or isinstance(op, qml.Snapshot)


def trainable_operations_have_gradients(tape: QuantumScript) -> bool:
    """Whether every trainable parameter is of an operation with a gradient here."""
    trainable = None
    index = 0
    for op in tape.operations:
        end = index + op.num_params
        if isinstance(op, MidMeasure):
            if op.postselect is not None:
                return False
        elif end > index:
            acting = op.base if isinstance(op, qml.ops.Conditional) else op
            entry = entry_of(acting)
            if (entry is not None and not entry.differentiable) or _complex(acting):
                trainable = trainable or set(tape.trainable_params)
                if not trainable.isdisjoint(range(index, end)):
                    return False
        index = end
    return True


def _complex(op: Any) -> bool:
    """Whether the amplitudes an operation prepares are complex."""
    if not isinstance(op, qml.operation.StatePrepBase):
        return False
    return "complex" in str(qml.math.get_dtype_name(op.data[0]))


def accepted_analytic(mp: MeasurementProcess) -> bool:
    """Whether a measurement can be read off the state."""
    if not isinstance(mp, StateMeasurement):
        return False
    obs = mp.obs
    if obs is None or obs.pauli_rep is not None or obs.has_matrix:
        return True
    return isinstance(mp, ExpectationMP) and isinstance(obs, qml.SparseHamiltonian)


def accepted_sampled(mp: MeasurementProcess) -> bool:
    """Whether a measurement can be sampled."""
    if not isinstance(mp, SampleMeasurement | ClassicalShadowMP | ShadowExpvalMP):
        return False
    return mp.obs is None or _can_be_sampled(mp.obs)


def _can_be_sampled(obs: Any) -> bool:
    if isinstance(obs, qml.ops.Sum | qml.ops.Prod):
        return all(_can_be_sampled(operand) for operand in obs.operands)
    if isinstance(obs, qml.ops.SProd):
        return _can_be_sampled(obs.base)
    return obs.has_diagonalizing_gates


@qml.transform
def expand_shadows(tape: QuantumScript) -> tuple[Any, Any]:
    """PennyLane's classical shadows know no batch axis."""
    shadows = (ClassicalShadowMP, ShadowExpvalMP)
    if any(isinstance(mp, shadows) for mp in tape.measurements):
        return qml.transforms.broadcast_expand(tape)
    return (tape,), lambda results: results[0]
