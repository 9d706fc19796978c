"""Compiled circuits in JAX: functions that ``jax.jit`` compiled, with the gradients.

JAX itself traces what a quantum function does with numbers, so that it may compute with
``jax.numpy``; the circuit is the primitive of the device. This module needs JAX:
``pip install "qstore-pl[jax]"``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError

from qstore_pl.devices import generators

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

    def call(*given: Any) -> Any:
        args, kwargs = rebuild(iter(given))
        return qnode(*args, **kwargs)

    name = qnode.func.__name__
    before = generators(qnode.func)
    kinds = [jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in leaves]
    first, second = (jax.make_jaxpr(call)(*kinds) for _ in range(2))
    return jax.jit(call)
