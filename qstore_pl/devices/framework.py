"""Derivatives that the engine does not have, by PennyLane's simulator of pure states.

Gradients of states and entropies, and after a projection, are taken by autograd through
PennyLane's simulation of the same circuit. Second derivatives, and derivatives of
values that JAX traces, are taken by the user's own framework.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
from pennylane import numpy as pnp
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import decompose
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import runs_in_pieces
from qstore_pl.devices.pullback import Gradients, like
from qstore_pl.devices.tensors import to_numpy


def simulate_followed(tape: QuantumScript, config: ExecutionConfig, name: str) -> Any:
    """The results of a tape, as tensors that a framework differentiates.

    Args:
        tape: A circuit without shots.
        config: The configuration with the interface whose tensors the tape holds.
        name: Name of the device, for messages.
    """
    (tape,), _ = decompose(tape, stopping_condition=runs_in_pieces, name=name)
    return qml.devices.qubit.simulate(
        tape.map_to_standard_wires(),
        interface=config.interface,
        postselect_mode=config.mcm_config.postselect_mode,
    )


def simulated_vjp(
    tape: QuantumScript,
    cotangents: Any,
    followed: Callable[[Any], Any],
    *,
    name: str,
    conjugate: bool,
) -> Gradients:
    r"""The vector-Jacobian product of a tape, by autograd through the simulator.

    Args:
        tape: A circuit without shots, whose values are numbers.
        cotangents: One cotangent for each measurement. The cotangent :math:`g` of a
            complex result :math:`z` stands for the differential
            :math:`\mathrm{Re}\sum g\,dz`.
        followed: Function from the results of the simulator to those of the device.
        name: Name of the device, for messages.
        conjugate: As for :func:`~qstore_pl.devices.pullback.pull_back`.
    """
    values = [pnp.array(to_numpy(value)) for value in tape.get_parameters()]
    several = len(tape.measurements) > 1
    rows = [to_numpy(dy) for dy in (cotangents if several else (cotangents,))]
    config = ExecutionConfig(interface=qml.math.Interface.AUTOGRAD)

    def objective(*arguments: Any) -> Any:
        bound = tape.bind_new_parameters(arguments, tape.trainable_params)
        results = followed(simulate_followed(bound, config, name))
        parts = results if several else (results,)
        terms = [
            qml.math.real(qml.math.sum(dy * part))
            for dy, part in zip(rows, parts, strict=True)
        ]
        return sum(terms[1:], terms[0])

    gradients = qml.grad(objective, argnums=list(range(len(values))))(*values)
    return Gradients(
        like(value, np.conj(np.asarray(gradient)), conjugate=conjugate)
        for value, gradient in zip(tape.get_parameters(), gradients, strict=True)
    )


def as_interface(results: Any, interface: Any) -> Any:
    """Results as tensors of an interface, where PennyLane does not convert them.

    Args:
        results: Arrays of numpy, or tuples of them.
        interface: PennyLane's interface.
    """
    if isinstance(results, tuple | list):
        return type(results)(as_interface(result, interface) for result in results)
    if interface is qml.math.Interface.NUMPY:
        return results
    return qml.math.asarray(results, like=qml.math.Interface(interface).get_like())
