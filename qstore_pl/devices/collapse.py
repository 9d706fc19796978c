"""Circuits with projectors or measurements inside, by PennyLane's simulator.

The engine has unitaries and channels. Where an outcome decides what happens next, or a
projection has to be normalised, PennyLane's simulator of pure states is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import decompose
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import runs_in_pieces
from qstore_pl.devices.preparation import as_numbers
from qstore_pl.devices.readout import readout_of


def has_collapse(tape: QuantumScript) -> bool:
    """Whether an operation of the tape is a measurement or a projector."""
    return any(isinstance(op, MidMeasure | qml.Projector) for op in tape.operations)


def execute_with_collapse(
    tape: QuantumScript,
    config: ExecutionConfig,
    *,
    name: str,
    rng: np.random.Generator,
    debugger: Any,
) -> Any:
    """The results of a tape with projectors or measurements inside.

    Args:
        tape: A circuit, with or without shots.
        config: The configuration, with the method for measurements inside the circuit.
        name: Name of the device, for messages.
        rng: The random generator that outcomes are drawn from. The caller holds its
            lock.
        debugger: PennyLane's debugger for snapshots, or None.
    """
    (tape,), _ = decompose(
        as_numbers(tape), stopping_condition=runs_in_pieces, name=name
    )
    tape = tape.map_to_standard_wires()
    if not tape.shots:
        return _exact(tape, debugger)
    return qml.devices.qubit.simulate(
        tape,
        rng=rng,
        debugger=debugger,
        mcm_method=config.mcm_config.mcm_method,
        postselect_mode=config.mcm_config.postselect_mode,
    )


def _exact(tape: QuantumScript, debugger: Any) -> Any:
    """The analytic measurements of the final state in PennyLane's simulator."""
    state, batched = qml.devices.qubit.get_final_state(tape, debugger=debugger)
    order = tuple(range(tape.num_wires))
    states = np.asarray(state).reshape(-1, 1 << len(order))
    results = []
    for mp in tape.measurements:
        readout = readout_of(mp, order)
        if batched or readout.per_sample:
            result = readout.of_states(states)
            results.append(result if batched else result[0])
        else:
            results.append(readout.value(np.empty(0), states[0]))
    return results[0] if len(results) == 1 else tuple(results)
