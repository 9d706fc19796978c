"""The arguments of a call: arrays that are traced, and the rest, which is static.

An array or number of floating point, alone or inside lists, tuples and dictionaries, is
a leaf. Everything else is static: it is part of the key under which a trace is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from types import (
    BuiltinFunctionType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import pennylane as qml
from autograd.tracer import Box

from qstore_pl.devices import Symbols

NUMPY, BOX, TORCH, JAX, STATIC, MASKED = (
    *("numpy", "autograd", "torch", "jax", "static", "masked"),
)
_FRAMEWORKS: dict[type, str] = {
    float: NUMPY,
    np.ndarray: NUMPY,
    np.float64: NUMPY,
    np.float32: NUMPY,
    qml.numpy.tensor: NUMPY,
}
_ROADS: dict[frozenset[type], str] = {}
_FLOAT = np.dtype(np.float64)
_NESTED = frozenset({list, tuple, dict})
_NAMED = (
    *(type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, type(None)),
)


def framework_of(kind: type) -> str:
    """The framework whose arrays are of a class; ``"static"`` for any other class."""
    found = _FRAMEWORKS.get(kind)
    if found is None:
        found = _FRAMEWORKS[kind] = _found(kind)
    return found


def _found(kind: type) -> str:
    if issubclass(kind, Box):
        return BOX
    if issubclass(kind, np.ma.MaskedArray):
        return MASKED
    if issubclass(kind, np.ndarray | np.generic):
        return NUMPY
    home = kind.__module__.partition(".")[0]
    if home in ("torch", "jax", "jaxlib"):
        module = __import__("torch" if home == "torch" else "jax")
        array = module.Tensor if home == "torch" else module.Array
        if issubclass(kind, array):
            return TORCH if home == "torch" else JAX
        if home != "torch" and issubclass(kind, module.core.Tracer):
            return JAX
    return STATIC


def road_of(leaves: Sequence[Any]) -> str:
    """The framework in which a call with these leaves runs.

    Raises:
        TypeError: If they are of several of autograd, PyTorch and JAX.
    """
    kinds = frozenset(map(type, leaves))
    road = _ROADS.get(kinds)
    if road is None:
        frameworks = {framework_of(kind) for kind in kinds}
        if len(frameworks & {TORCH, JAX, BOX}) > 1:
            raise TypeError(
                "Arguments of a compiled circuit must belong to one framework, but are "
                f"of {' and '.join(sorted(frameworks))}."
            )
        order = (JAX, TORCH, BOX)
        road = next((name for name in order if name in frameworks), NUMPY)
        _ROADS[kinds] = road
    return road


def described(value: Any, leaves: list[Any]) -> Hashable:
    """What an argument is, in a form that can be hashed; its leaves are collected.

    Args:
        value: The argument.
        leaves: To which its arrays and numbers of floating point are added, in order.

    Raises:
        TypeError: If it has complex numbers, or is no array and cannot be hashed.
    """
    kind = type(value)
    framework = _FRAMEWORKS.get(kind) or framework_of(kind)
    if framework is STATIC:
        if kind is dict:
            return (*((k, described(v, leaves)) for k, v in value.items()), dict)
        if kind in _NESTED or _is_namedtuple(kind):
            return (*(described(part, leaves) for part in value), kind)
        _check_static(value)
        return kind, value
    if kind is float:
        leaves.append(value)
        return (), _FLOAT, framework
    if framework is JAX:
        leaves.append(value)
        return value.shape, value.dtype, framework
    if framework is TORCH:
        if value.dtype.is_floating_point:
            leaves.append(value)
            return value.shape, value.dtype, framework
        return _fixed(value.detach().cpu().numpy(), framework)
    if framework is BOX:
        leaves.append(value)
        value = np.asarray(qml.math.toarray(value))
        return value.shape, value.dtype, NUMPY
    if framework is MASKED and np.ma.is_masked(value):
        raise TypeError(
            "An argument of a compiled circuit must be numbers, but one has masked "
            "entries. Put numbers there with .filled(number)."
        )
    dtype = value.dtype
    if dtype.kind == "f":
        leaves.append(value)
        return value.shape, dtype, NUMPY
    return _fixed(np.asarray(value), NUMPY)


def _is_namedtuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _check_static(value: Any) -> None:
    """Refuse a static value that could change without a new hash.

    Raises:
        TypeError: If it cannot be hashed, is hashed by its identity alone, or is
            complex.
    """
    if isinstance(value, Symbols):
        raise TypeError(
            "A compiled circuit must not be called inside a quantum function that is "
            "being compiled. Call its quantum function, circuit.qnode.func."
        )
    kind = type(value)
    if kind is complex:
        _fixed(np.asarray(value), STATIC)
    own: Any = kind.__hash__
    by_identity = own is object.__hash__ and not isinstance(value, _NAMED)
    if own is None or by_identity:
        raise TypeError(
            "An argument of a compiled circuit must be an array of floating point, a "
            "list, tuple or dictionary of them, or a value that can be compared and "
            f"hashed, but one is {kind.__name__}. Pass what the circuit needs of it."
        )


def _fixed(array: Any, framework: str) -> Hashable:
    """An array of integers, truth values or texts, which is static."""
    if array.dtype.kind == "c":
        raise TypeError(
            "An argument of a compiled circuit must be real, but one is of type "
            f"{array.dtype}. Give its real and imaginary part, or call the QNode "
            "itself."
        )
    if array.dtype.kind == "O":
        raise TypeError(
            "An argument of a compiled circuit must be an array of numbers, but one "
            "is an array of objects. Give a list of arrays."
        )
    return array.shape, array.dtype.str, array.tobytes(), framework, "fixed"


def fixed(value: Any) -> Hashable:
    """What a static argument is, values included, in a form that can be hashed.

    Args:
        value: The argument.
    """
    leaves: list[Any] = []
    key = described(value, leaves)
    numbers = tuple(qml.math.toarray(leaf).tobytes() for leaf in leaves)
    return key, numbers, "static"


class _Leaf:
    """The place of a leaf in an argument that is kept without its arrays."""


_LEAF = _Leaf()


def emptied(value: Any) -> Any:
    """An argument without its leaves, to be kept: only their places are marked.

    Args:
        value: The argument.
    """
    kind = type(value)
    if kind is dict:
        return {key: emptied(part) for key, part in value.items()}
    if kind in _NESTED:
        return kind(emptied(part) for part in value)
    if _is_namedtuple(kind):
        return kind(*map(emptied, value))
    if _is_leaf(value):
        return _LEAF
    return value if framework_of(kind) is STATIC else copy.deepcopy(value)


def filled(value: Any, leaves: Iterator[Any]) -> Any:
    """An argument with leaves again.

    Args:
        value: What :func:`emptied` made of an argument.
        leaves: What stands in the marked places, in order.
    """
    kind = type(value)
    if kind is dict:
        return {key: filled(part, leaves) for key, part in value.items()}
    if kind in _NESTED:
        return kind(filled(part, leaves) for part in value)
    if _is_namedtuple(kind):
        return kind(*(filled(part, leaves) for part in value))
    return next(leaves) if value is _LEAF else value


def _is_leaf(value: Any) -> bool:
    framework = framework_of(type(value))
    if framework is STATIC or framework is JAX:
        return framework is JAX
    if framework is TORCH:
        return bool(value.dtype.is_floating_point)
    return framework is BOX or type(value) is float or value.dtype.kind == "f"
