"""Records: wires that hold the outcomes of measurements inside a noisy circuit.

When PennyLane defers a measurement, it copies the outcome to another wire, the record,
and whatever depends on the outcome reads the record. An outcome that is misread is
therefore misread once, on the record, before anything depends on it, and not again at
the end. Postselection is a condition on the record. To find the records, a marker is
put behind every measurement before they are deferred, and looked for afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import pennylane as qml
from pennylane.ops import Conditional, MidMeasure
from pennylane.ops.mid_measure import MeasurementValue
from pennylane.tape import QuantumScript

from qstore_pl.devices.aside import aside

_Transformed = tuple[Iterable[QuantumScript], Callable[..., Any]]


@final
class Record(qml.operation.Operation):
    """A marker of the wire that holds the outcome of a measurement of another wire.

    Args:
        wires: The record; no wire before measurements are deferred.
        measured: Label of the wire that was measured.
        postselect: The outcome that is kept, or None to keep both.
    """

    num_params = 0
    grad_method = None

    def __init__(self, wires: Any, measured: Any, postselect: int | None) -> None:
        self._hyperparameters = {"measured": measured, "postselect": postselect}
        super().__init__(wires=wires)


class RecordCopy(qml.CNOT):
    """A CNOT that copies an outcome or resets a wire, which is no machine's gate."""


def records_of(operations: Iterable[Any]) -> list[Record]:
    """The markers of a circuit whose measurements were deferred."""
    # By its class: isinstance takes longer, and nothing is derived from it.
    return [op for op in operations if type(op) is Record]


def postselected(operations: Iterable[Any]) -> dict[Any, int]:
    """The outcome that is kept, for the label of each record that is postselected.

    Args:
        operations: Those of a circuit whose measurements were deferred.
    """
    found = {}
    for record in records_of(operations):
        if record.hyperparameters["postselect"] is not None:
            found[record.wires[0]] = record.hyperparameters["postselect"]
    return found


@qml.transform
def mark_records(tape: QuantumScript, *, noisy: bool) -> _Transformed:
    """Put a marker behind every measurement inside the circuit.

    Args:
        tape: The circuit as the user wrote it, with measurements that are not deferred
            yet.
        noisy: Whether the device has noise. Without noise, only a circuit with channels
            is marked.
    """
    channel = qml.operation.Channel
    if not (noisy or any(isinstance(op, channel) for op in tape.operations)):
        return (tape,), _first
    operations: list[Any] = []
    with aside():
        for op in tape.operations:
            if not isinstance(op, MidMeasure):
                operations.append(op)
                continue
            plain = MidMeasure(op.wires, reset=op.reset, meas_uid=op.meas_uid)
            marker = Record([], op.wires[0], op.postselect)
            operations += [plain, Conditional(MeasurementValue([plain]), marker)]
    if len(operations) == len(tape.operations):
        return (tape,), _first
    return (tape.copy(operations=operations),), _first


@qml.transform
def find_records(tape: QuantumScript) -> _Transformed:
    """Put the markers on their records, after measurements were deferred."""
    operations: list[Any] = []
    for op in tape.operations:
        if not (isinstance(op, qml.ops.Controlled) and isinstance(op.base, Record)):
            operations.append(op)
            continue
        record, found = op.control_wires, op.base.hyperparameters
        # PennyLane wrote the copy to a new wire right before, and perhaps a reset.
        copied = {found["measured"], record[0]}
        for i in (-1, -2) if len(copied) == 2 else ():
            if len(operations) >= -i and set(operations[i].wires) == copied:
                operations[i] = RecordCopy(operations[i].wires)
        operations.append(Record(record, found["measured"], found["postselect"]))
    if len(operations) == len(tape.operations) and not records_of(operations):
        return (tape,), _first
    found_tape = tape.copy(operations=operations)
    several = tape.shots and found_tape.batch_size is not None
    if several and postselected(operations):
        return qml.transforms.broadcast_expand(found_tape)  # each keeps other shots
    return (found_tape,), _first


def _first(results: Any) -> Any:
    return results[0]
