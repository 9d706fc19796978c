"""Gradients the engine does not have, by PennyLane's simulator in the user's framework.

Second derivatives, gradients after a projection, and gradients of states and entropies:
the framework itself differentiates the simulation. Pure states only.
"""

from __future__ import annotations

from typing import Any

import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import decompose
from pennylane.ops.functions import bind_new_parameters
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import runs_in_pieces


def simulate_followed(tape: QuantumScript, config: ExecutionConfig, name: str) -> Any:
    """The results of a tape, as tensors that the framework differentiates.

    Args:
        tape: Without shots.
        config: With the interface whose tensors the tape holds.
        name: Of the device.
    """
    if config.interface is qml.math.Interface.TORCH:
        tape = tape.copy(operations=[_in_torch(op) for op in tape.operations])
    (tape,), _ = decompose(tape, stopping_condition=runs_in_pieces, name=name)
    return qml.devices.qubit.simulate(
        tape.map_to_standard_wires(),
        interface=config.interface,
        postselect_mode=config.mcm_config.postselect_mode,
    )


def _in_torch(op: Any) -> Any:
    """An operation whose values are torch's: PennyLane's matrices take no mixture."""
    if all(qml.math.get_interface(value) == "torch" for value in op.data):
        return op
    values = [qml.math.asarray(value, like="torch") for value in op.data]
    return bind_new_parameters(op, values)


def as_interface(results: Any, interface: Any) -> Any:
    """Numpy results as tensors of an interface that has no boundary to do it."""
    if isinstance(results, tuple | list):
        return type(results)(as_interface(result, interface) for result in results)
    if interface is qml.math.Interface.NUMPY:
        return results
    return qml.math.asarray(results, like=qml.math.Interface(interface).get_like())
