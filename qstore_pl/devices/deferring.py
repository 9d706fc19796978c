"""Measurements inside a circuit, deferred to its end.

A compiled circuit always defers them. A circuit with shots that is not compiled does so
where that takes less time: PennyLane runs it shot by shot, each with outcomes of its
own. Deferred to records, the measurements leave one run, and all shots are drawn from
it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pennylane as qml
from pennylane.exceptions import DeviceError
from pennylane.measurements import CountsMP, ProbabilityMP, SampleMP
from pennylane.ops import Conditional, MidMeasure
from pennylane.tape import QuantumScript

from qstore_pl.devices.aside import aside
from qstore_pl.devices.lowering import wire_order
from qstore_pl.devices.memory import fits
from qstore_pl.devices.records import find_records, mark_records
from qstore_pl.devices.symbols import Symbols, symbols_of

AMPLITUDES_OF_A_SHOT = 1 << 14  # of a state that takes as long as one shot by itself
_Transformed = tuple[tuple[QuantumScript, ...], Callable[..., Any]]


def _first(results: Any) -> Any:
    return results[0]


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
        (marked,), _ = mark_records(_with_wires(tape), noisy=selects)
        (deferred,), _ = qml.defer_measurements(marked, allow_postselect=True)
    n_wires, shots = len(deferred.wires), tape.shots.total_shots
    if not fits(n_wires) or 1 << n_wires > AMPLITUDES_OF_A_SHOT * shots:
        return (tape,), _first
    return find_records(deferred)


def deferred(tape: QuantumScript) -> QuantumScript:
    """A circuit whose measurements inside are deferred, with their records marked.

    Args:
        tape: The circuit as the user wrote it.

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
        (tape,), _ = mark_records(tape, noisy=True)
        (tape,), _ = qml.defer_measurements(tape)
        (tape,), _ = find_records(tape)
    return tape


def deferred_bound(
    tape: QuantumScript, inputs: Sequence[Symbols | None]
) -> tuple[QuantumScript, list[Symbols | None]]:
    """A circuit whose measurements are deferred, and what its parameters are then.

    Args:
        tape: The circuit as the user wrote it. Gates that depend on an outcome have
            symbols in the place of numbers, or constants.
        inputs: What each of its parameters is: symbols, or None for a constant.

    Raises:
        DeviceError: As :func:`deferred`, or if such a gate has a number on the tape
            that is no constant.
    """
    found = deferred(tape)
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
