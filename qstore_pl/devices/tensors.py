"""The door through which tensors of any framework become arrays, and it is loud."""

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
    """The numbers of a tensor of any framework, as float64 or complex128.

    Raises:
        DeviceError: If the value is no tensor of numbers, as a list of traced values.
    """
    while isbox(value):  # autograd traces
        value = value._value
    if not isinstance(value, _READABLE):
        value = value.toarray() if issparse(value) else qml.math.to_numpy(value)
    try:
        array = np.asarray(value)
    except ValueError:  # numpy on a list of traced values
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
    """The numbers of a tensor or tracer as a JAX array of JAX's default precision."""
    import jax.numpy as jnp

    if issparse(value):
        value = value.toarray()
    kind = qml.math.get_dtype_name(value)
    wanted = complex if "complex" in kind else float
    return jnp.asarray(value, dtype=jnp.result_type(wanted))


def is_jax(value: Any) -> bool:
    """Whether a value is an array or a tracer of JAX."""
    return bool(qml.math.get_interface(value) == "jax")


def is_traced(value: Any) -> bool:
    """Whether a framework follows a value, to differentiate, map or compile it."""
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
    """The derivatives that autograd is taking with respect to some values, as levels.

    More than one is a derivative of a derivative.
    """
    levels = set()
    for value in values:
        while isbox(value):
            levels.add(value._trace)
            value = value._value
    return levels


def dtype_of(value: Any) -> np.dtype[Any]:
    """The type of the numbers of a tensor of any framework, as numpy has it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype
    return np.dtype(qml.math.get_dtype_name(value))


def is_complex(value: Any) -> bool:
    """Whether the numbers of a tensor of any framework are complex."""
    return dtype_of(value).kind == "c"


@dataclass(frozen=True)
class Arrays:
    """The arrays that a tape's values become.

    Args:
        tensor: From a tensor of any framework to such an array.
        concatenate: Joins arrays along an axis.
    """

    tensor: Callable[[Any], Any]
    concatenate: Callable[..., Any]

    def joined(self, parts: Sequence[Any], empty: tuple[int, ...]) -> Any:
        """Arrays joined along their last axis; zeros of a shape where none are."""
        if not parts:
            return self.tensor(np.zeros(empty))
        return self.concatenate(parts, axis=-1)


def _joined_numpy(parts: Sequence[NDArray[Any]], axis: int) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.concatenate(parts, axis=axis), dtype=np.float64)


NUMPY = Arrays(to_numpy, _joined_numpy)


def jax_arrays() -> Arrays:
    """Arrays and tracers of JAX, which is installed where one was met."""
    import jax.numpy as jnp

    return Arrays(to_jax, jnp.concatenate)
