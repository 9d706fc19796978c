"""Who differentiates: the engine, JAX, the user's framework, or PennyLane's shifts.

PennyLane asks the device for every circuit. The answers depend on the configuration and
the circuit alone; nothing is executed here.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import pennylane as qml
from autograd.tracer import isbox
from pennylane.devices import ExecutionConfig
from pennylane.exceptions import DeviceError
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import has_native_gradient
from qstore_pl.devices.preparation import interface_of_lists
from qstore_pl.devices.shift_rules import checked
from qstore_pl.devices.tensors import is_jax, is_traced

JAX = (qml.math.Interface.JAX, qml.math.Interface.JAX_JIT)
# The methods for which a framework may differentiate a simulation.
FOLLOWED_METHODS = ("best", "backprop")
OWN_METHODS = (*FOLLOWED_METHODS, "device", "adjoint")


def is_own(config: ExecutionConfig, circuit: QuantumScript | None) -> bool:
    """Whether the device itself says how a gradient is taken.

    The method ``"backprop"`` means the same as ``"best"`` here: the user's framework
    need not differentiate what the engine does.

    Args:
        config: The configuration, with the gradient method that the user asked for.
        circuit: The circuit to differentiate; None stands for any circuit without
            shots.
    """
    method = config.gradient_method
    if method not in OWN_METHODS or (circuit is not None and circuit.shots):
        return False
    return config.derivative_order == 1 or method in FOLLOWED_METHODS


def resolved(
    config: ExecutionConfig,
    circuit: QuantumScript | None,
    is_pure: Callable[[QuantumScript], bool],
) -> ExecutionConfig:
    """The configuration with the gradient method that is used for a circuit.

    Args:
        config: The configuration, as PennyLane gives it. One that was resolved before
            does not change.
        circuit: The circuit to differentiate; None stands for any circuit without
            shots.
        is_pure: Function that says whether the states of a circuit are vectors.
    """
    changes: dict[str, Any] = {
        # PennyLane's own conversion loses the control values of some gates, but
        # jax.jit needs it where the device gives no gradient.
        "convert_to_numpy": config.interface is qml.math.Interface.JAX_JIT,
    }
    if config.interface is qml.math.Interface.NUMPY and circuit is not None:
        changes["interface"] = interface_of_lists(circuit)
        config = dataclasses.replace(config, interface=changes["interface"])
    exact = circuit is None or not circuit.shots
    own = config.gradient_method in OWN_METHODS
    in_jax = exact and config.interface in JAX
    if own or (in_jax and config.gradient_method is None):
        twice = config.derivative_order > 1
        if twice and circuit is not None and not is_pure(circuit):
            shift = dataclasses.replace(
                config, gradient_method=qml.gradients.param_shift
            )
            changes["gradient_method"] = checked(shift, circuit)
        else:
            # JAX transforms the primitives of the device, and a framework transforms a
            # simulation. Otherwise PennyLane asks for the vector-Jacobian product.
            followed = in_jax or twice
            changes |= {
                "gradient_method": "backprop" if followed else "adjoint",
                "use_device_gradient": True,
                "use_device_jacobian_product": not followed,
                "grad_on_execution": False,
                # Of numbers it could not be told that autograd differentiates twice.
                "convert_to_numpy": False,
            }
    elif circuit is not None and callable(config.gradient_method):
        changes["gradient_method"] = checked(config, circuit)
    return dataclasses.replace(config, **changes)


class NativeGradients:
    """Whether the engine has the gradient of a tape; the last answer is remembered.

    While a circuit is differentiated, PennyLane has the same tape executed several
    times.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, bool] = (None, False)

    def has(self, tape: QuantumScript, *, conditions: bool) -> bool:
        """Whether the engine has the gradient of a tape.

        Args:
            tape: A circuit without shots.
            conditions: Whether postselection is a condition on records, as for mixed
                states.
        """
        asked, native = self._last
        if asked is None or asked() is not tape:
            native = has_native_gradient(tape, conditions=conditions)
            self._last = weakref.ref(tape), native
        return native


def refuse_lost_derivatives(values: Iterable[Any]) -> None:
    """Refuse values that are being differentiated, where no gradient was asked for.

    Args:
        values: The values on a tape.

    Raises:
        DeviceError: If autograd or JAX traces one of them: its derivative would be 0.
    """
    if any(isbox(value) or (is_jax(value) and is_traced(value)) for value in values):
        raise DeviceError(
            "Values that are being differentiated were given to a device that is not "
            "asked for a gradient, which would be 0 without a word. Execute the tape "
            "through a QNode or qml.execute, with a diff_method."
        )


def torch_records() -> bool:
    """Whether torch records a backward pass, so as to differentiate it again."""
    import torch  # loaded already: its tensors are being differentiated

    return torch.is_grad_enabled()
