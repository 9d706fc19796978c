"""Circuits for which gradients by PennyLane's transforms are wrong, and are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pennylane as qml
from pennylane.devices import ExecutionConfig
from pennylane.exceptions import DeviceError
from pennylane.ops import Conditional
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


def shiftable(tape: QuantumScript) -> QuantumScript:
    """A tape, decomposed into gates that can be shifted, where they have a rule.

    Args:
        tape: The circuit as the user wrote it, whose values autograd may trace.
    """
    (expanded,), _ = qml.gradients.param_shift.expand_transform(tape)
    operations: list[Any] = []
    for op in expanded.operations:
        if isinstance(op, Conditional):
            parts = shiftable(QuantumScript([op.base])).operations
            operations += [Conditional(op.meas_val, part) for part in parts]
        else:
            operations.append(op)
    return expanded.copy(operations=operations)


def shifted(
    tape: QuantumScript,
) -> tuple[list[QuantumScript], Callable[[Any], Any]]:
    """The circuits of the parameter-shift rule, and what makes a gradient of them.

    A gate that depends on an outcome either acts or does not, so that its rule is that
    of the gate. PennyLane by itself would take a finite difference there.

    Args:
        tape: A circuit of :func:`shiftable` gates, with numbers.

    Raises:
        DeviceError: If the rule does not hold for a gate.
    """
    ruled = _with_operations(tape, Conditional, _Conditioned)
    if reason := shift_fails(ruled):
        raise DeviceError(reason)
    tapes, combine = qml.gradients.param_shift.tape_transform(ruled)
    # Devices know PennyLane's class alone.
    return [_with_operations(t, _Conditioned, Conditional) for t in tapes], combine


def _with_operations(
    tape: QuantumScript, of: type[Conditional], made: type[Conditional]
) -> QuantumScript:
    """The tape with conditional gates of another class."""
    operations = [
        made(op.meas_val, op.base) if type(op) is of else op for op in tape.operations
    ]
    found = tape.copy(operations=operations)
    found.trainable_params = tape.trainable_params
    return found


class _Conditioned(Conditional):
    """A gate that depends on an outcome, with the shift rule of the gate alone."""

    def __init__(self, expr: Any, then_op: Any) -> None:
        super().__init__(expr, then_op)
        if self.num_params:
            self.grad_recipe = then_op.grad_recipe

    @property
    def grad_method(self) -> str | None:
        """That of the gate."""
        method: str | None = self.base.grad_method
        return method

    @property
    def parameter_frequencies(self) -> Any:
        """Those of the gate."""
        return self.base.parameter_frequencies


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
