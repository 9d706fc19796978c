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
    ProbabilityMP,
    SampleMeasurement,
    ShadowExpvalMP,
    StateMeasurement,
    VarianceMP,
)
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript

from qstore_pl.devices.channels import MAX_CHANNEL_WIRES
from qstore_pl.devices.noise import is_gate
from qstore_pl.devices.registry import (
    MATRIX_ENTRY,
    STATE_ENTRY,
    Entry,
    entry_of,
    has_own_decomposition,
    is_foreign,
    is_plain,
)


def runs_whole(op: Any) -> bool:
    """Whether the engine runs an operation, not the first, without decomposing it."""
    entry = entry_of(op)
    if entry is None:  # postselection becomes a projector
        return isinstance(op, qml.Projector) or _must_be_decomposed(op)
    return not entry.channel and _is_whole(op, entry)


def _must_be_decomposed(op: Any) -> bool:
    """False, where PennyLane can decompose an operation without taking it for another.

    Raises:
        DeviceError: If only PennyLane's rules for an operation of that name are there.
    """
    if is_foreign(op) and not has_own_decomposition(op) and op.name in vars(qml):
        raise DeviceError(
            f"Operation {op.name} has the name of one of PennyLane's and no "
            "decomposition of its own, so it would be taken for that one. Rename it, "
            "or define compute_decomposition."
        )
    return False


def runs_noisy(op: Any) -> bool:
    """Whether mixed states run an operation, not the first, as one noisy gate.

    Templates are taken apart, as noise follows each of their gates, and so are gates on
    more than two wires. An adjoint that is a gate of its own is written as that gate.
    """
    if isinstance(op, qml.ops.op_math.Adjoint) and op.base.has_adjoint:
        return False
    if is_gate(op) and len(op.wires) > 2 and not isinstance(op, qml.Projector):
        return _must_be_decomposed(op)
    return runs_mixed(op)


def runs_mixed(op: Any) -> bool:
    """Whether mixed states run an operation, not the first, without gate noise."""
    if isinstance(op, qml.Projector):  # postselection without noise
        return True
    entry = entry_of(op)
    if entry is None or entry.parts is not None:
        return _must_be_decomposed(op)
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


def has_native_gradient(tape: QuantumScript, *, conditions: bool) -> bool:
    """Whether the backward run of the engine gives a tape's gradient.

    Args:
        tape: Operations not decomposed yet count as having a gradient.
        conditions: Whether postselection becomes a condition on records.
    """
    if not all(map(is_differentiable, tape.measurements)):
        return False
    if all(map(is_plain, tape.operations)):  # what is in the registry has a gradient
        return True
    trainable = None
    index = 0
    for op in tape.operations:
        end = index + op.num_params
        if collapses(op) and not (conditions and isinstance(op, MidMeasure)):
            return False
        if end > index:
            acting = op.base if isinstance(op, qml.ops.Conditional) else op
            entry = entry_of(acting)
            if entry is not None and not _differentiable(acting, entry):
                trainable = trainable or set(tape.trainable_params)
                if not trainable.isdisjoint(range(index, end)):
                    return False
        index = end
    return True


def collapses(op: Any) -> bool:
    """Whether an operation projects the state and makes its norm 1 again."""
    if isinstance(op, MidMeasure):
        return op.postselect is not None
    return isinstance(op, qml.Projector)


def is_differentiable(mp: MeasurementProcess) -> bool:
    """Whether the engine has the derivative of a measurement."""
    return isinstance(mp, ExpectationMP | VarianceMP | ProbabilityMP)


def _differentiable(op: Any, entry: Entry) -> bool:
    # What is known by its matrix or amplitudes becomes QubitUnitary or StatePrep.
    if isinstance(op, qml.ops.op_math.Adjoint | qml.ops.op_math.Controlled):
        return _differentiable(op.base, entry_of(op.base) or entry)
    return entry.differentiable or entry in (MATRIX_ENTRY, STATE_ENTRY)


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
