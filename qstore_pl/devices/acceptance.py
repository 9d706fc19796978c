"""What the devices accept: operations, measurements, and circuits to differentiate.

These are predicates that PennyLane's preprocessing transforms call. Nothing is executed
here.
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
from qstore_pl.devices.entries import Entry
from qstore_pl.devices.gates import MATRIX_ENTRY, STATE_ENTRY
from qstore_pl.devices.noise import is_gate
from qstore_pl.devices.registry import (
    entry_of,
    has_own_decomposition,
    is_foreign,
    is_plain,
)


def runs_whole(op: Any) -> bool:
    """Whether pure states take an operation without decomposing it.

    It is asked of all operations but a state preparation at the start.
    """
    entry = entry_of(op)
    if entry is None:  # deferred measurements postselect by a projector
        return isinstance(op, qml.Projector) or _must_be_decomposed(op)
    return not entry.channel and _is_whole(op, entry)


def _must_be_decomposed(op: Any) -> bool:
    """False, where PennyLane can decompose an operation.

    Raises:
        DeviceError: If it is the user's own, has the name of one of PennyLane's and no
            decomposition, so that PennyLane would decompose it as that one.
    """
    if is_foreign(op) and not has_own_decomposition(op) and op.name in vars(qml):
        raise DeviceError(
            f"Operation {op.name} has the name of one of PennyLane's and no "
            "decomposition of its own, so it would be taken for that one. Rename it, "
            "or define compute_decomposition."
        )
    return False


def runs_noisy(op: Any) -> bool:
    """Whether mixed states take an operation as one gate, which noise follows.

    Templates are decomposed, since noise follows each of their gates, and so are gates
    on more than two wires. An adjoint that is itself a gate of PennyLane's is written
    as that gate.
    """
    if isinstance(op, qml.ops.op_math.Adjoint) and op.base.has_adjoint:
        return False
    if is_gate(op) and len(op.wires) > 2 and not isinstance(op, qml.Projector):
        return _must_be_decomposed(op)
    return runs_mixed(op)


def runs_mixed(op: Any) -> bool:
    """Whether mixed states without gate noise take an operation whole."""
    if isinstance(op, qml.Projector):  # deferred measurements postselect by it
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
        # PennyLane sees the batch of such a template only once it is decomposed.
        axes = zip(op.data, entry.ndims, strict=False)
        if any(qml.math.ndim(value) > ndim for value, ndim in axes):
            return False
    return not entry.initial


def runs_whole_or_measures(op: Any) -> bool:
    """Whether pure states take an operation, or it measures inside the circuit."""
    return isinstance(op, MidMeasure | qml.ops.Conditional) or runs_whole(op)


def runs_in_pieces(op: Any) -> bool:
    """Whether PennyLane's own simulator of pure states takes an operation."""
    if isinstance(op, MidMeasure | qml.ops.Conditional | qml.operation.StatePrepBase):
        return True
    return (op.has_matrix and len(op.wires) < 8) or isinstance(op, qml.Snapshot)


def has_native_gradient(tape: QuantumScript, *, conditions: bool) -> bool:
    """Whether the backward pass of the engine gives the gradient of a tape.

    Args:
        tape: A circuit. Operations that will be decomposed count as having a gradient.
        conditions: Whether postselection is a condition on records, as for mixed
            states.
    """
    if not all(map(is_differentiable, tape.measurements)):
        return False
    if all(map(is_plain, tape.operations)):  # the registry has their gradients
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
    """Whether an operation projects the state and divides it by its norm."""
    if isinstance(op, MidMeasure):
        return op.postselect is not None
    return isinstance(op, qml.Projector)


def is_differentiable(mp: MeasurementProcess) -> bool:
    """Whether the engine has the derivative of a measurement."""
    return isinstance(mp, ExpectationMP | VarianceMP | ProbabilityMP)


def _differentiable(op: Any, entry: Entry) -> bool:
    # Preprocessing makes the other two a QubitUnitary or a StatePrep.
    if isinstance(op, qml.ops.op_math.Adjoint | qml.ops.op_math.Controlled):
        return _differentiable(op.base, entry_of(op.base) or entry)
    return entry.differentiable or entry in (MATRIX_ENTRY, STATE_ENTRY)


def accepted_analytic(mp: MeasurementProcess) -> bool:
    """Whether a measurement without shots can be computed from the state."""
    if not isinstance(mp, StateMeasurement):
        return False
    obs = mp.obs
    if obs is None or obs.pauli_rep is not None or obs.has_matrix:
        return True
    return isinstance(mp, ExpectationMP) and isinstance(obs, qml.SparseHamiltonian)


def accepted_sampled(mp: MeasurementProcess) -> bool:
    """Whether a measurement can be estimated from shots."""
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
    """Split a batch into tapes where PennyLane's classical shadows take no batch."""
    shadows = (ClassicalShadowMP, ShadowExpvalMP)
    if any(isinstance(mp, shadows) for mp in tape.measurements):
        return qml.transforms.broadcast_expand(tape)
    return (tape,), lambda results: results[0]
