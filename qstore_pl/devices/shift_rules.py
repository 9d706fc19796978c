"""Circuits for which gradients by PennyLane's transforms are wrong, and are refused."""

from __future__ import annotations

from typing import Any

import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.exceptions import DeviceError
from pennylane.tape import QuantumScript

from qstore_pl.devices.acceptance import collapses
from qstore_pl.devices.tensors import autograd_traces


def checked(config: ExecutionConfig, circuit: QuantumScript) -> Any:
    """The gradient transform of a configuration, or one that refuses the circuit.

    The refusal comes when a gradient is asked for, not when the circuit is executed.

    Args:
        config: A configuration whose gradient method is a transform.
        circuit: The circuit as the user wrote it.
    """
    method: Any = config.gradient_method
    reason = shift_fails(circuit) if method is qml.gradients.param_shift else None
    autograd = config.interface is qml.math.Interface.AUTOGRAD
    twice = autograd and config.derivative_order > 1 and len(circuit.measurements) > 1
    if reason is None and not twice:
        return method

    def refusing(tape: QuantumScript, *args: Any, **options: Any) -> Any:
        if reason is not None:
            raise DeviceError(reason)
        if len(autograd_traces(tape.get_parameters(trainable_only=False))) > 1:
            raise DeviceError(
                "Second derivatives of several measurements are wrong in autograd "
                "by PennyLane's gradient transforms. Return one measurement, or use "
                "torch or JAX."
            )
        return method(tape, *args, **options)

    return qml.transform(refusing, expand_transform=method.expand_transform)


def shift_fails(circuit: QuantumScript) -> str | None:
    """Why the parameter-shift rule gives a wrong gradient of a circuit, or None."""
    trainable = set(circuit.trainable_params)
    shifted: str | None = None
    index = 0
    for op in circuit.operations:
        if collapses(op) and shifted:
            return (
                f"Parameter shift does not hold for {shifted} before a postselected "
                "measurement or a projector, which divides the state by its norm. "
                "Run without shots, where the device has the gradient, or use "
                'diff_method="finite-diff".'
            )
        end = index + op.num_params
        if not trainable.isdisjoint(range(index, end)):
            shifted = op.name
            if reason := not_an_angle(op):
                return reason
            if circuit.shots and getattr(op, "grad_method", None) == "F":
                return (
                    f"PennyLane knows no shift rule for {op.name} and would take "
                    "finite differences, whose step is too small for shots. Use "
                    "qstore_pl.compile, which shifts the gates that it is made of, or "
                    "write these gates in its place."
                )
        index = end
    return None


def not_an_angle(op: Any) -> str | None:
    """Why an operation has no shift rule because of its coefficient, or None."""
    inner = op
    while isinstance(inner, qml.ops.op_math.SymbolicOp | qml.ops.Conditional):
        if type(inner) is qml.ops.Exp:
            return (
                f"Parameter shift does not hold for {op.name}, whose coefficient is no "
                "angle. Use qml.evolve or qml.PauliRot, or run without shots, where "
                "the device has the gradient."
            )
        inner = inner.base
    return None
