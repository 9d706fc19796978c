"""Measurements inside a circuit, deferred to its end.

To find the records of the outcomes, a marker is put behind every measurement before
they are deferred, and looked for afterwards.

A compiled circuit always defers its measurements. A circuit with shots that is not
compiled does so where that takes less time: PennyLane runs it shot by shot, each with
outcomes of its own. Deferred to records, the measurements leave one run, and all shots
are drawn from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.measurements import CountsMP, ProbabilityMP, SampleMP
from pennylane.operation import Operator
from pennylane.ops import Conditional, MidMeasure
from pennylane.ops.mid_measure import MeasurementValue
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import runs_noisy
from qstore_pl.devices.aside import aside
from qstore_pl.devices.lowering import wire_order
from qstore_pl.devices.memory import fits
from qstore_pl.devices.records import (
    Decided,
    Followed,
    Record,
    RecordCopy,
    postselected,
    records_of,
)
from qstore_pl.devices.registry import entry_of
from qstore_pl.devices.symbols import Symbols, symbols_of

AMPLITUDES_OF_A_SHOT = 1 << 14  # of a state that takes as long as one shot by itself
_Transformed = tuple[Sequence[QuantumScript], Callable[..., Any]]


def _first(results: Any) -> Any:
    return results[0]


@qml.transform
def mark_records(
    tape: QuantumScript, *, noisy: bool, follows_gates: bool
) -> _Transformed:
    """Put a marker behind every measurement inside the circuit.

    Args:
        tape: The circuit as the user wrote it, with measurements that are not deferred
            yet.
        noisy: Whether the device has noise. Without noise, only a circuit with channels
            is marked.
        follows_gates: Whether the noise follows gates, so that gates that outcomes
            decide on are marked too.
    """
    channel = qml.operation.Channel
    if not any(isinstance(op, MidMeasure) for op in tape.operations):
        return (tape,), _first
    if not (noisy or any(isinstance(op, channel) for op in tape.operations)):
        return (tape,), _first
    operations: list[Any] = []
    with aside():
        for op in tape.operations:
            if isinstance(op, Conditional) and follows_gates:
                operations += _followed(op)
            elif isinstance(op, MidMeasure):
                plain = MidMeasure(op.wires, reset=op.reset, meas_uid=op.meas_uid)
                marker = Record([], op.wires[0], op.postselect)
                marked = Conditional(MeasurementValue([plain]), marker)
                operations += [plain, marked]
            else:
                operations.append(op)
    return (tape.copy(operations=operations),), _first


def _followed(op: Conditional) -> list[Operator]:
    """A gate that outcomes decide on, and where its noise comes.

    One on a single wire that a single outcome decides on is a gate on two wires with
    its record, and needs no mark.
    """
    if len(op.base.wires) == len(op.meas_val.measurements) == 1:
        return [op]
    found: list[Operator] = []
    for gate in _taken_apart(op.base, runs_noisy):
        parts = _taken_apart(gate, lambda part: runs_noisy(part) and _controls(part))
        found.append(Followed([]))
        found += [Conditional(op.meas_val, part) for part in parts]
        found.append(Followed(gate.wires))
    return found


def _taken_apart(op: Operator, is_whole: Callable[[Any], bool]) -> list[Operator]:
    if is_whole(op):
        return [op]
    parts = op.decomposition()
    return [gate for part in parts for gate in _taken_apart(part, is_whole)]


def _controls(op: Operator) -> bool:
    """Whether an operation under a control is an operation that is lowered whole."""
    entry = entry_of(op)
    return entry is not None and entry.parts is None and entry.controllable


@qml.transform
def find_records(tape: QuantumScript) -> _Transformed:
    """Put the markers on their records, after measurements were deferred."""
    operations: list[Any] = []
    within = False  # a gate that outcomes decide on
    for op in tape.operations:
        if isinstance(op, Followed):
            within = not op.wires
            if op.wires:
                operations.append(op)
        elif within:
            made = Decided(op.base, op.control_wires, op.control_values)
            operations.append(made)
        elif isinstance(op, qml.ops.Controlled) and isinstance(op.base, Record):
            record, found = op.control_wires, op.base.hyperparameters
            # PennyLane wrote the copy to a new wire right before, and perhaps a reset.
            copied = {found["measured"], record[0]}
            for i in (-1, -2) if len(copied) == 2 else ():
                if len(operations) >= -i and set(operations[i].wires) == copied:
                    operations[i] = RecordCopy(operations[i].wires)
            operations.append(Record(record, found["measured"], found["postselect"]))
        else:
            operations.append(op)
    if len(operations) == len(tape.operations) and not records_of(operations):
        return (tape,), _first
    found_tape = tape.copy(operations=operations)
    several = tape.shots and found_tape.batch_size is not None
    if several and postselected(operations):
        return qml.transforms.broadcast_expand(found_tape)  # each keeps other shots
    return (found_tape,), _first


@qml.transform
def defer_shots(tape: QuantumScript, *, mode: str | None = None) -> _Transformed:
    """Defer the measurements inside a circuit with shots, where this takes less time.

    Then all shots are drawn from one run, with the same distribution as if the circuit
    were run shot by shot. Outcomes are copied to wires that the device need not have.
    The circuit stays as it is where its states would not fit into memory or would take
    longer than its shots, with snapshots, and with projectors.

    Args:
        tape: A circuit that the device takes, with measurements inside it.
        mode: PennyLane's ``postselect_mode``.
    """
    inside = [op for op in tape.operations if isinstance(op, MidMeasure)]
    selects = any(op.postselect is not None for op in inside)
    padded = selects and mode == "pad-invalid-samples"
    stays = (qml.Snapshot, qml.Projector)
    if (
        not (inside and tape.shots)
        or padded
        or any(isinstance(op, stays) for op in tape.operations)
    ):
        return (tape,), _first
    with aside():
        (marked,), _ = mark_records(
            _with_wires(tape), noisy=selects, follows_gates=False
        )
        (deferred,), _ = qml.defer_measurements(marked, allow_postselect=True)
    n_wires, shots = len(deferred.wires), tape.shots.total_shots
    if not fits(n_wires) or 1 << n_wires > AMPLITUDES_OF_A_SHOT * shots:
        return (tape,), _first
    return find_records(deferred)


def deferred(tape: QuantumScript, *, follows_gates: bool) -> QuantumScript:
    """A circuit whose measurements inside are deferred, with their records marked.

    Args:
        tape: The circuit as the user wrote it.
        follows_gates: Whether noise follows gates, as for :func:`mark_records`.

    Raises:
        DeviceError: If it keeps one outcome of a measurement only.
    """
    inside = [op for op in tape.operations if isinstance(op, MidMeasure)]
    if not inside:
        return tape
    if any(op.postselect is not None for op in inside):
        raise DeviceError(
            "Postselection cannot be compiled. Run the circuit through its QNode."
        )
    with aside():
        (tape,), _ = mark_records(tape, noisy=True, follows_gates=follows_gates)
        (tape,), _ = qml.defer_measurements(tape)
        (tape,), _ = find_records(tape)
    return tape


def deferred_bound(
    tape: QuantumScript,
    inputs: Sequence[Symbols | None],
    *,
    follows_gates: bool = False,
) -> tuple[QuantumScript, list[Symbols | None]]:
    """A circuit whose measurements are deferred, and what its parameters are then.

    Args:
        tape: The circuit as the user wrote it. Gates that depend on an outcome have
            symbols in the place of numbers, or constants.
        inputs: What each of its parameters is: symbols, or None for a constant.
        follows_gates: Whether noise follows gates, as for :func:`mark_records`.

    Raises:
        DeviceError: As :func:`deferred`, or if such a gate has a number on the tape
            that is no constant.
    """
    found = deferred(tape, follows_gates=follows_gates)
    if found is tape:
        return tape, list(inputs)
    rest = iter(inputs)
    known = {
        id(op): [given for _, given in zip(op.data, rest, strict=False)]
        for op in tape.operations
    }
    for op in tape.operations:
        pairs = zip(op.data, known[id(op)], strict=True)
        if isinstance(op, Conditional) and any(
            given is not None and symbols_of(value) is None for value, given in pairs
        ):
            raise DeviceError(
                f"{op.name} cannot be compiled: it depends on the outcome of a "
                "measurement, and its operation looks at the values of its inputs. "
                "Apply it without the condition, or use gates."
            )
    now: list[Symbols | None] = []
    for op in found.operations:
        now += known[id(op)] if id(op) in known else map(symbols_of, op.data)
    return found, [*now, *rest]


def _with_wires(tape: QuantumScript) -> QuantumScript:
    """The tape with measurements of all wires that name these.

    Those of deferred measurements are none of them.
    """
    order = wire_order(tape)
    measurements: list[Any] = []
    for mp in tape.measurements:
        if mp.obs is None and mp.mv is None and not mp.wires:
            if isinstance(mp, CountsMP):
                mp = qml.counts(wires=order, all_outcomes=mp.all_outcomes)
            elif isinstance(mp, ProbabilityMP):
                mp = qml.probs(wires=order)
            elif isinstance(mp, SampleMP):
                dtype = None if mp.numeric_type is int else mp.numeric_type
                mp = qml.sample(wires=order, dtype=dtype)
        measurements.append(mp)
    return tape.copy(measurements=measurements)
