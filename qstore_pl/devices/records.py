"""Records: wires that hold the outcomes of measurements inside a noisy circuit.

When PennyLane defers a measurement, it copies the outcome to another wire, the record,
and whatever depends on the outcome reads the record. An outcome that is misread is
therefore misread once, on the record, before anything depends on it, and not again at
the end. Postselection is a condition on the record. A gate that depends on outcomes is
controlled by records, which are no wires of the machine: noise follows it as it follows
the gate alone, whatever the outcomes were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import pennylane as qml


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


class Decided(qml.ops.ControlledOp):
    """A part of a gate that outcomes decide on, controlled by their records.

    No noise follows it: that of the whole gate is where :class:`Followed` stands.
    """


@final
class Followed(qml.operation.Operation):
    """A marker of where the noise of a gate comes that outcomes decide on.

    Args:
        wires: The wires of the gate, without records. No wire marks its beginning.
    """

    num_params = 0
    grad_method = None


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
