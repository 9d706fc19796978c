"""Conversions from tensors of any framework to arrays of numpy or JAX.

What is no tensor of numbers raises an error here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
from autograd.tracer import isbox
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from scipy.sparse import issparse

_READABLE = (np.ndarray, np.generic, float, int, complex, list, tuple)


def to_numpy(value: Any) -> NDArray[Any]:
    """The numbers of a tensor of any framework, as an array of float64 or complex128.

    Args:
        value: A tensor, a number or a list of numbers.

    Raises:
        DeviceError: If it holds something else, such as a list of values that a
            framework traces.
    """
    while isbox(value):  # a value that autograd traces
        value = value._value
    if not isinstance(value, _READABLE):
        value = value.toarray() if issparse(value) else qml.math.to_numpy(value)
    try:
        array = np.asarray(value)
    except ValueError:  # a list of values that JAX traces
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "biufc":
        raise DeviceError(
            "Parameters of operations must be tensors of numbers, but one is a "
            f"{type(value).__name__} that numpy cannot read. Stack its parts with "
            "qml.math.stack."
        )
    return array.astype(
        np.complex128 if array.dtype.kind == "c" else np.float64, copy=False
    )


def to_jax(value: Any) -> Any:
    """The numbers of a tensor as an array of JAX, in JAX's default precision."""
    import jax.numpy as jnp

    if issparse(value):
        value = value.toarray()
    kind = qml.math.get_dtype_name(value)
    wanted = complex if "complex" in kind else float
    return jnp.asarray(value, dtype=jnp.result_type(wanted))


def is_jax(value: Any) -> bool:
    """Whether a value is an array of JAX, or traced by it."""
    return bool(qml.math.get_interface(value) == "jax")


def is_traced(value: Any) -> bool:
    """Whether a framework traces a value to differentiate, vectorise or compile."""
    if isbox(value):
        return True
    interface = qml.math.get_interface(value)
    if interface == "torch":
        return bool(value.requires_grad)
    if interface == "jax":
        import jax

        return isinstance(value, jax.core.Tracer)
    return False


def autograd_traces(values: Iterable[Any]) -> set[int]:
    """The levels of derivatives that autograd is taking with respect to some values.

    Two levels are a second derivative.

    Args:
        values: Values of any kind.
    """
    levels = set()
    for value in values:
        while isbox(value):
            levels.add(value._trace)
            value = value._value
    return levels


def dtype_of(value: Any) -> np.dtype[Any]:
    """The numpy dtype of the numbers of a tensor of any framework."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype
    return np.dtype(qml.math.get_dtype_name(value))


def is_complex(value: Any) -> bool:
    """Whether the numbers of a tensor of any framework are complex."""
    return dtype_of(value).kind == "c"


@dataclass(frozen=True)
class Arrays:
    """The kind of arrays that the values of a tape become.

    Args:
        tensor: Function from a tensor of any framework to such an array.
        concatenate: Function that joins such arrays along an axis.
    """

    tensor: Callable[[Any], Any]
    concatenate: Callable[..., Any]

    def joined(self, parts: Sequence[Any], empty: tuple[int, ...]) -> Any:
        """Arrays joined along their last axis.

        Args:
            parts: The arrays.
            empty: Shape of the array of zeros that is the result for no arrays.
        """
        if not parts:
            return self.tensor(np.zeros(empty))
        return self.concatenate(parts, axis=-1)


def _joined_numpy(parts: Sequence[NDArray[Any]], axis: int) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.concatenate(parts, axis=axis), dtype=np.float64)


NUMPY = Arrays(to_numpy, _joined_numpy)


def jax_arrays() -> Arrays:
    """Arrays of JAX, for tapes with values of JAX."""
    import jax.numpy as jnp

    return Arrays(to_jax, jnp.concatenate)
