"""Numpy's functions on arrays of angles.

Some only move the entries of an array, some multiply and add them, some compute each
entry by itself. This module knows angles and arrays of them, not symbols.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.derived import FUNCTIONS, FUNCTIONS_OF_TWO, Derived
from qstore_pl.engine.gates import ONE, Angle

Angles: TypeAlias = NDArray[np.object_]


class SymbolError(TypeError):
    """Something is done with a symbol that needs its value.

    Its text is a noun that says what, such as "greater": whoever catches it knows the
    operation.
    """


# --- one angle -------------------------------------------------------------------


def constant_angle(value: Any) -> Angle:
    """A real number as an angle.

    Raises:
        SymbolError: If it is not a real number.
    """
    array = np.asarray(value)
    if array.shape or array.dtype.kind not in "fiub":
        raise SymbolError(f"an angle {value!r}")
    return Angle(float(array))


def as_angle(value: Any) -> Angle:
    """An angle as it is, or a real number as an angle.

    Raises:
        SymbolError: If it is a complex number, or none.
    """
    if isinstance(value, Angle):
        return value
    if isinstance(value, complex | np.complexfloating):
        raise SymbolError("a product with a complex number")
    return constant_angle(value)


def times(one: Any, other: Any) -> Any:
    """A product, in which factors of too high a degree become derived values."""
    try:
        return one * other
    except ValueError:  # of a degree past 2
        return _as_value(one) * _as_value(other)


def _as_value(angle: Angle) -> Angle:
    """An angle of degree 2 as a derived value, which has degree 1."""
    squares = any(ONE not in (a, b) for _, a, b in angle.terms)
    return Derived.of("value", angle) if squares else angle


def _applied(function: str, *arguments: Any) -> Angle:
    """A smooth function of angles and numbers."""
    return Derived.of(function, *map(as_angle, arguments))


def _divided(one: Any, other: Any) -> Angle:
    if isinstance(other, Angle):
        return times(as_angle(one), Derived.of("reciprocal", other))
    return as_angle(one) * (1.0 / as_angle(other).constant)


def _power(base: Any, exponent: Any) -> Angle:
    base, exponent = as_angle(base), as_angle(exponent)
    if not exponent.terms:
        known = {
            0.0: lambda: Angle(1.0),
            1.0: lambda: base,
            2.0: lambda: times(base, base),
            0.5: lambda: Derived.of("sqrt", base),
            -1.0: lambda: Derived.of("reciprocal", base),
        }.get(exponent.constant)
        if known is not None:
            return known()
    return Derived.of("power", base, exponent)


# --- every entry by itself -------------------------------------------------------

ELEMENTWISE: dict[Any, Callable[..., Angle]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.negative: operator.neg,
    np.positive: as_angle,
    np.conjugate: as_angle,
    np.multiply: times,
    np.square: lambda angle: times(angle, angle),
    np.true_divide: _divided,
    np.power: _power,
    np.float_power: _power,
    np.fabs: functools.partial(_applied, "absolute"),
    np.deg2rad: lambda angle: angle * (np.pi / 180.0),
    np.radians: lambda angle: angle * (np.pi / 180.0),
    np.rad2deg: lambda angle: angle * (180.0 / np.pi),
    np.degrees: lambda angle: angle * (180.0 / np.pi),
} | {
    getattr(np, name): functools.partial(_applied, name)
    for name in (*FUNCTIONS, *FUNCTIONS_OF_TWO)
    if name not in ("value", "power")
}
"""By ufunc of numpy, the same for angles, and for numbers next to an angle."""
_VECTORISED = {
    ufunc: np.frompyfunc(function, ufunc.nin, 1)
    for ufunc, function in ELEMENTWISE.items()
}
_SCALARS = frozenset({Angle, float, int})


def elementwise(ufunc: Any, values: Sequence[Any]) -> Any:
    """What a ufunc of numpy gives for angles, numbers and arrays of them.

    Args:
        ufunc: A key of ``ELEMENTWISE``.
        values: Its arguments.
    """
    if _SCALARS.issuperset(map(type, values)):
        return ELEMENTWISE[ufunc](*values)
    return _VECTORISED[ufunc](*values)


# --- entries multiplied and added ------------------------------------------------


class Term:
    """An angle in an array with which numpy computes.

    Unlike products of angles, products of terms may have any degree.

    Args:
        angle: The angle.
    """

    __slots__ = ("angle",)

    def __init__(self, angle: Angle) -> None:
        self.angle = angle

    def __add__(self, other: Any) -> Term:
        return Term(self.angle + _of_term(other))

    __radd__ = __add__

    def __neg__(self) -> Term:
        return Term(-self.angle)

    def __sub__(self, other: Any) -> Term:
        return Term(self.angle - _of_term(other))

    def __rsub__(self, other: Any) -> Term:
        return Term(_of_term(other) - self.angle)

    def __mul__(self, other: Any) -> Term:
        return Term(times(self.angle, _of_term(other)))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Term:
        below = other.angle if isinstance(other, Term) else other
        return Term(_divided(self.angle, below))

    def conjugate(self) -> Term:
        """The same term, which stands for a real number."""
        return self

    def sqrt(self) -> Term:
        """The square root, which numpy takes of the entries of an object array."""
        return Term(Derived.of("sqrt", self.angle))


def _of_term(value: Any) -> Angle:
    return value.angle if isinstance(value, Term) else as_angle(value)


as_terms: Callable[[Angles], Any] = np.frompyfunc(Term, 1, 1)
of_terms: Callable[[Any], Any] = np.frompyfunc(_of_term, 1, 1)


def _norm(x: Any, ord: Any = None, axis: Any = None, *, keepdims: bool = False) -> Any:
    axes = np.ndim(x) if axis is None else np.size(axis)
    if ord not in ((None, 2) if axes == 1 else (None, "fro")):
        raise SymbolError(f"norm with ord={ord!r}")
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


SUMS: dict[Any, Callable[..., Any]] = {
    function: function
    for function in (
        *(np.sum, np.mean, np.average, np.prod, np.cumsum, np.cumprod, np.diff),
        *(np.dot, np.vdot, np.inner, np.outer, np.tensordot, np.kron, np.einsum),
        *(np.trace, np.cross, np.polyval),
        *(np.matmul, np.vecdot),
    )
} | {np.linalg.norm: _norm}
"""By function of numpy, the same for object arrays of terms and numbers."""

# --- entries moved ---------------------------------------------------------------

MOVES = {
    *(np.reshape, np.ravel, np.transpose, np.moveaxis, np.swapaxes, np.rollaxis),
    *(np.squeeze, np.expand_dims, np.broadcast_to, np.copy, np.delete, np.diagonal),
    *(np.split, np.array_split, np.hsplit, np.vsplit, np.dsplit),
    *(np.flip, np.fliplr, np.flipud, np.rot90, np.roll),
    *(np.repeat, np.tile, np.take, np.take_along_axis),
}
"""Functions that give the entries of their first argument other places."""
JOINS = {
    *(np.stack, np.concatenate, np.hstack, np.vstack, np.dstack, np.column_stack),
}
"""Functions that join the arrays in the list that is their first argument."""
EACH = {np.atleast_1d, np.atleast_2d, np.atleast_3d, np.broadcast_arrays}
"""Functions whose arguments are arrays, with an array for each of them."""
FILLS = {np.diag, np.tril, np.triu, np.append, np.insert, np.block, np.meshgrid}
"""Functions that move entries and put numbers next to them."""


def angles_at(kind: int, indices: Any) -> Angles:
    """An array of angles, one for each slot.

    Args:
        kind: The kind of all slots.
        indices: Their indices, an integer array of any shape.
    """
    array = np.empty(indices.size, dtype=object)
    for i, index in enumerate(indices.ravel().tolist()):
        array[i] = Angle(0.0, ((1.0, (kind, index), ONE),))
    return array.reshape(indices.shape)


def as_angles(value: Any) -> Angles:
    """An array of angles, from one whose entries are angles or real numbers.

    Raises:
        SymbolError: If an entry is neither.
    """
    if isinstance(value, Angle):
        array = np.empty((), dtype=object)
        array[()] = value
        return array
    array = np.asarray(value, dtype=object)
    if not all(isinstance(entry, Angle) for entry in array.flat):
        made = np.empty(array.shape, dtype=object)
        for where, entry in np.ndenumerate(array):
            made[where] = entry if isinstance(entry, Angle) else constant_angle(entry)
        array = made
    return array
