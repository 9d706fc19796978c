"""Snapshots of the states inside a circuit, for PennyLane's debugger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from pennylane.measurements import Shots
from pennylane.tape import QuantumScript

from qstore_pl.devices.lowering import take_apart
from qstore_pl.devices.states import StateKind


def take_snapshots(
    tape: QuantumScript,
    order: tuple[Any, ...],
    kind: StateKind,
    debugger: Any,
    rng: np.random.Generator,
    dtype: str,
) -> None:
    """Execute the circuit up to each of its snapshots, and give these to the debugger.

    Args:
        tape: The circuit; its shots are those of snapshots without a number of shots.
        order: Wire labels in the order of the register.
        kind: The kind of states that the snapshots show.
        debugger: PennyLane's debugger.
        rng: The random generator that samples are drawn from.
        dtype: The type of amplitudes, which says the precision of the states.
    """
    positions = {label: i for i, label in enumerate(order)}
    for i, op in enumerate(tape.operations):
        if not isinstance(op, qml.Snapshot):
            continue
        circuit = take_apart(tape.copy(operations=tape.operations[:i]), order=order)
        program = kind.lower(circuit, dtype=dtype)
        states = kind.tensor(program.states(circuit.weights, circuit.features))
        batched = circuit.batch is not None
        found = op.map_wires(positions).hyperparameters
        workflow = found["shots"] == "workflow"
        shots = Shots(tape.shots if workflow else found["shots"])
        taken: list[Any] = []
        for part in shots if shots else [None]:  # PennyLane keeps only the first part
            recorder = _Recorder()
            kind.simulator.apply_operation(
                qml.Snapshot(measurement=found["measurement"], shots=part),
                states if batched else states[0],
                is_state_batched=batched,
                debugger=recorder,
                rng=rng,
            )
            taken += recorder.snapshots.values()
        several = shots.has_partitioned_shots
        _keep(debugger, op.tag, tuple(taken) if several else taken[0])


class _Recorder:
    """The attributes of a debugger that PennyLane's simulator asks for."""

    active = True

    def __init__(self) -> None:
        self.snapshots: dict[Any, Any] = {}


def _keep(debugger: Any, tag: Any, snapshot: Any) -> None:
    """Give a snapshot to the debugger, as PennyLane's simulator does."""
    kept = debugger.snapshots
    if tag is None:
        kept[len(kept)] = snapshot
    elif tag not in kept:
        kept[tag] = snapshot
    elif isinstance(kept[tag], list):
        kept[tag].append(snapshot)
    else:
        kept[tag] = [kept[tag], snapshot]
