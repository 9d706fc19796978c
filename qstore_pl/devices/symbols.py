"""Symbols: numbers without a value yet, with which PennyLane's decompositions compute.

The decomposition of a template is a function of its parameters. Called with symbols
instead of numbers, it tells how the angle of each gate depends on them: as a polynomial
of degree at most 2 in weights, features, and smooth functions of them, which are
computed before the circuit runs. Whatever else it does with a number, such as comparing
it, is refused by name.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, final

import autoray
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from qstore_pl._checks import choice
from qstore_pl._lazy import cached_property
from qstore_pl.engine.derived import FUNCTIONS, Derived, base_slots
from qstore_pl.engine.gates import (
    CONSTANT,
    FEATURE,
    ONE,
    WEIGHT,
    Angle,
    Slot,
    slot_angles,
)

SOURCES = {"weights": WEIGHT, "features": FEATURE}
_SMOOTH = {getattr(np, name) for name in FUNCTIONS if name != "value"}  # ufuncs


class SymbolError(TypeError):
    """Something is done with a symbol that needs its value.

    Its text is a noun that says what, such as "greater": whoever catches it knows the
    operation.
    """


class NoAttributeError(SymbolError, AttributeError):
    """An attribute of arrays is asked for that symbols do not have."""


_UFUNCS = {np.add, np.subtract, np.multiply, np.negative}
_FUNCTIONS = {  # numpy functions that move or add up the entries of arrays
    *(np.reshape, np.ravel, np.transpose, np.moveaxis, np.swapaxes, np.squeeze),
    *(np.expand_dims, np.stack, np.concatenate, np.hstack, np.vstack, np.split),
    *(np.flip, np.roll, np.repeat, np.tile, np.take, np.sum, np.dot, np.tensordot),
    *(np.broadcast_to, np.atleast_1d, np.array_split, np.copy, np.mean),
}
_SHAPES = {np.shape: "shape", np.ndim: "ndim", np.size: "size"}


class Symbols(NDArrayOperatorsMixin):
    """An array of angles, which PennyLane and numpy take for an array of numbers.

    Args:
        angles: The entries, an object array of polynomials in weights and features, of
            any shape.
    """

    dtype = np.dtype(np.float64)
    complex = wanted = False  # attributes of Parameter that gates ask for

    def __init__(self, angles: NDArray[np.object_]) -> None:
        self.angles = angles

    @property
    def angle(self) -> Angle:
        """The entry of an array that has only one."""
        return self.angles.item()

    @property
    def entries(self) -> list[Angle]:
        """All entries in C order."""
        return self.angles.ravel().tolist()

    @property
    def slot(self) -> Slot:
        """The first of the consecutive weights or features that the entries are.

        Raises:
            SymbolError: If the entries are not consecutive, or are computed from
                weights or features.
        """
        entries = self.entries
        if entries and len(entries[0].slots) == 1:
            ((kind, first),) = entries[0].slots
            if entries == slot_angles(kind, first, (len(entries),)).tolist():
                return kind, first
        raise SymbolError("something else than consecutive numbers")

    @property
    def highest(self) -> dict[int, int]:
        """The highest index of a weight and of a feature, by kind of slot."""
        found: dict[int, int] = {}
        for angle in self.entries:
            for kind, index in base_slots(angle):
                found[kind] = max(found.get(kind, -1), index)
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.angles.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.angles.ndim

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.angles.size

    @property
    def T(self) -> Symbols:
        """The array with its axes in reverse order."""
        return Symbols(self.angles.T)

    def __len__(self) -> int:
        return len(self.angles)

    def __iter__(self) -> Iterator[Symbols]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Symbols:
        return _of_angles(self.angles[key])

    def reshape(self, *shape: Any) -> Symbols:
        """The array with another shape, as in numpy."""
        return Symbols(self.angles.reshape(*shape))

    def ravel(self) -> Symbols:
        """The array with one axis, as in numpy."""
        return Symbols(self.angles.ravel())

    flatten = ravel

    def sum(self, axis: Any = None) -> Symbols:
        """The sum along an axis or of all entries, as in numpy."""
        return _wrapped(self.angles.sum(axis=axis))

    def astype(self, dtype: Any, **_: Any) -> Symbols:
        """The same symbols, which stand for numbers of type float64.

        Args:
            dtype: A type of real numbers.

        Raises:
            SymbolError: If it is a type of integers or complex numbers.
        """
        if np.dtype(dtype).kind != "f":
            raise SymbolError(f"a conversion to {np.dtype(dtype)}")
        return self

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, **options: Any
    ) -> Any:
        arrays = [_plain(value) for value in inputs]
        if method != "__call__" or options:
            raise SymbolError(f"{ufunc.__name__}.{method}")
        if ufunc in _UFUNCS:
            try:
                return _wrapped((_PRODUCT if ufunc is np.multiply else ufunc)(*arrays))
            except TypeError as error:
                raise SymbolError("a product with a complex number") from error
        if ufunc is np.positive:
            return inputs[0]
        if ufunc in _SMOOTH:
            return _applied(ufunc.__name__, arrays[0])
        if ufunc is np.square:
            return inputs[0] * inputs[0]
        if ufunc is np.true_divide:
            below = inputs[1]
            if isinstance(below, Symbols):
                return inputs[0] * _applied("reciprocal", below.angles)
            return _wrapped(np.multiply(arrays[0], 1.0 / np.asarray(below)))
        if ufunc is np.power and not isinstance(inputs[1], Symbols):
            return _power(inputs[0], inputs[1])
        raise SymbolError(ufunc.__name__)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        if function in _SHAPES:
            return getattr(args[0], _SHAPES[function])
        if function not in _FUNCTIONS:
            raise SymbolError(function.__name__)
        plain = [_plain_inside(value) for value in args]
        result = function(*plain, **{k: _plain_inside(v) for k, v in kwargs.items()})
        return list(map(_wrapped, result)) if type(result) is list else _wrapped(result)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise NoAttributeError(f"the attribute {name}")

    def __setitem__(self, key: Any, value: Any) -> None:
        raise SymbolError("an assignment to an entry")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise SymbolError("a conversion to numbers")

    def __bool__(self) -> bool:
        raise SymbolError("a decision")

    def __float__(self) -> float:
        raise SymbolError("a conversion to a number")

    __int__ = __complex__ = __index__ = __round__ = __float__

    def __format__(self, _: str) -> str:
        raise SymbolError("a text")

    def __repr__(self) -> str:
        return f"Symbols(shape={self.shape})"


autoray.register_backend(Symbols, "numpy")


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


_PRODUCT = np.frompyfunc(times, 2, 1)


def _applied(function: str, angles: NDArray[np.object_]) -> Symbols:
    """A smooth function of every entry."""
    apply = np.frompyfunc(functools.partial(Derived.of, function), 1, 1)
    return _wrapped(apply(angles))


def _power(base: Symbols, exponent: Any) -> Symbols:
    if np.ndim(exponent) or abs(exponent) not in (0.5, 1, 2, 3, 4):
        raise SymbolError(f"the power {exponent!r}")
    if exponent < 0:
        return _applied("reciprocal", _power(base, -exponent).angles)
    if exponent == 0.5:
        return _applied("sqrt", base.angles)
    return functools.reduce(operator.mul, [base] * int(exponent))


class Constant:
    """A parameter whose numbers are known when the circuit is compiled.

    Args:
        numbers: A real array, or a complex one for amplitudes and the entries of
            matrices.
    """

    wanted = False

    def __init__(self, numbers: Any) -> None:
        self.numbers = np.asarray(numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.numbers.shape

    @property
    def complex(self) -> bool:
        """Whether the numbers are complex."""
        return self.numbers.dtype.kind == "c"

    @property
    def angles(self) -> NDArray[np.object_]:
        """The numbers as angles, an array of the same shape.

        Raises:
            SymbolError: If the numbers are complex.
        """
        return _wrapped(self.numbers).angles

    @property
    def angle(self) -> Angle:
        """The only number of a scalar parameter, as an angle.

        Raises:
            SymbolError: If it is complex.
        """
        return constant_angle(self.numbers)

    @property
    def slot(self) -> Unplaced:
        """A slot without a place, with imaginary parts after all real parts."""
        flat = self.numbers.ravel()
        parts = [flat.real, flat.imag] if self.complex else [flat]
        slot = Unplaced((CONSTANT, 0))
        slot.numbers = np.concatenate(parts).astype(np.float64)
        return slot


class Unplaced(tuple[int, int]):
    """The slot of constants that have no place behind the weights of a Program yet.

    Attributes:
        numbers: The constants, a real array with one axis.
    """

    numbers: NDArray[np.float64]


@final
class Consecutive(Symbols):
    """Consecutive weights or features, whose angles are made only when asked for.

    An encoded state has :math:`2^n` of them, of which a circuit names only the first.

    Args:
        slot: The first of them.
        shape: Shape of the array, which is filled in C order.
    """

    def __init__(self, slot: Slot, shape: tuple[int, ...]) -> None:
        self._slot, self._shape = slot, shape

    @cached_property
    def angles(self) -> NDArray[np.object_]:
        """The entries, an object array of angles."""
        return slot_angles(*self._slot, self._shape)

    @property
    def slot(self) -> Slot:
        """The first of the weights or features."""
        return self._slot

    @property
    def highest(self) -> dict[int, int]:
        """The highest index of a weight and of a feature, by kind of slot."""
        kind, first = self._slot
        return {kind: first + self.size - 1} if self.size else {}

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self._shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """The number of entries."""
        return math.prod(self._shape)

    def __len__(self) -> int:
        return self._shape[0]


autoray.register_backend(Consecutive, "numpy")


def symbols(
    source: str, offset: int, shape: tuple[int, ...], kind: Any = None
) -> Symbols:
    """Symbols for consecutive weights or features.

    Args:
        source: ``"weights"``, which all samples share, or ``"features"``, which each
            sample has.
        offset: Index of the first weight or feature, >= 0.
        shape: Shape of the array, which is filled in C order.

    Example:
        >>> symbols("weights", 2, (3, 2))
        Symbols(shape=(3, 2))
    """
    kind = SOURCES[choice("source", source, tuple(SOURCES))]
    return Consecutive((kind, offset), tuple(shape))


def constant_angle(value: Any) -> Angle:
    """A real number as an angle.

    Raises:
        SymbolError: If it is not a real number.
    """
    array = np.asarray(value)
    if array.shape or array.dtype.kind not in "fiub":
        raise SymbolError(f"an angle {value!r}")
    return Angle(float(array))


def _plain(value: Any) -> Any:
    return value.angles if isinstance(value, Symbols) else value


def _plain_inside(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_plain_inside, value))
    return _plain(value)


def _of_angles(found: Any) -> Symbols:
    """Symbols of one angle, or of an array that holds nothing else."""
    if isinstance(found, np.ndarray):
        return Symbols(found)
    array = np.empty((), dtype=object)
    array[()] = found
    return Symbols(array)


def _wrapped(value: Any) -> Symbols:
    """Symbols of a result, in which numbers among the entries are constants."""
    if isinstance(value, Angle):
        return _of_angles(value)
    array = np.asarray(value, dtype=object)
    if not all(isinstance(entry, Angle) for entry in array.flat):
        made = np.empty(array.shape, dtype=object)
        for where, entry in np.ndenumerate(array):
            made[where] = entry if isinstance(entry, Angle) else constant_angle(entry)
        array = made
    return Symbols(array)
