"""Compiled circuits in JAX: functions that ``jax.jit`` compiled, with the gradients.

JAX itself traces what a quantum function does with numbers, so that it may compute with
``jax.numpy``; the circuit is the primitive of the device. This module needs JAX:
``pip install "qstore-pl[jax]"``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError

from qstore_pl import devices

_ADDRESS = re.compile("0x[0-9a-f]+")
_NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
Rebuild = Callable[[Iterator[Any]], tuple[Any, Any]]


def traced(
    qnode: qml.QNode, leaves: Sequence[Any], rebuild: Rebuild
) -> Callable[..., Any]:
    """A QNode as a function of the arrays among its arguments, compiled by JAX.

    Args:
        qnode: The QNode.
        leaves: The arrays and numbers among its arguments.
        rebuild: Function from such arrays to its arguments.

    Raises:
        DeviceError: If the QNode does something else when it is called again.
    """
    name = qnode.func.__name__
    kinds = [
        jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf))
        for leaf in leaves
    ]

    def record() -> tuple[Any, Any]:
        tapes: list[Any] = []

        def gates(*given: Any) -> list[Any]:  # a new one, which JAX has not traced
            found = devices.recorded(qnode.func, *rebuild(iter(given)))
            tapes.append(found.tape.circuit)
            return list(found.tape.get_parameters(trainable_only=False))

        try:
            program = jax.make_jaxpr(gates)(*kinds)
        except Exception as error:
            if not _needs_a_value(error):
                raise
            raise DeviceError(
                f"{name} cannot be compiled: it needs the value of an argument, which "
                "is not known when it is traced. Give that argument to "
                "static_argnames, so that the circuit is traced again for each of its "
                "values, or call the QNode itself."
            ) from error
        if any(isinstance(value, jax.core.Tracer) for value in program.consts):
            raise DeviceError(
                f"{name} cannot be compiled: it uses a value that is being "
                "differentiated or mapped and is none of its arguments. Pass it as an "
                "argument."
            )
        return tapes[0], program

    (one, first), (other, second) = devices.twice(qnode.func, record)
    devices.check_alike(name, devices.alike(one, other) and _same(first, second))

    def call(*given: Any) -> Any:
        args, kwargs = rebuild(iter(given))
        with devices.aside():  # PennyLane's lock, since other threads may trace too
            return qnode(*args, **kwargs)

    return jax.jit(call)


def _needs_a_value(error: BaseException | None) -> bool:
    """Whether an error was raised because JAX traces a value that is needed."""
    while error is not None:
        if isinstance(error, _NEEDS_VALUES) or "Tracer" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _same(one: Any, other: Any) -> bool:
    """Whether two programs of JAX compute the same."""
    texts = [_ADDRESS.sub("", str(program)) for program in (one, other)]
    pairs = zip(one.consts, other.consts, strict=False)
    return texts[0] == texts[1] and all(np.array_equal(*pair) for pair in pairs)
