"""Symbols: numbers without a value yet, with which classical code computes.

The decomposition of a template is a function of its parameters. Called with symbols
instead of numbers, it tells how the angle of each gate depends on them: as a polynomial
of degree at most 2 in weights, features, and smooth functions of them, which are
computed before the circuit runs. Whatever else it does with a number, such as comparing
it, is refused by name.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import autoray
import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray
from pennylane.operation import Operator

from qstore_pl._checks import choice
from qstore_pl._lazy import cached_property
from qstore_pl.devices.angle_arrays import (
    EACH,
    ELEMENTWISE,
    FILLS,
    JOINS,
    MOVES,
    SUMS,
    SymbolError,
    angles_at,
    as_angles,
    as_terms,
    constant_angle,
    elementwise,
    of_terms,
    times,
)
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.derived import base_slots
from qstore_pl.engine.gates import CONSTANT, FEATURE, ONE, WEIGHT, Angle, Slot

__all__ = ["Constant", "SymbolError", "Symbols", "Unplaced", "symbols", "times"]

OF_OBSERVABLE = "the coefficient of an observable"
SOURCES = {"weights": WEIGHT, "features": FEATURE}


_COMPARISONS = {
    *(np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal),
}


class NoAttributeError(SymbolError, AttributeError):
    """An attribute of arrays is asked for that symbols do not have."""


class Symbols(NDArrayOperatorsMixin):
    """An array of angles, which PennyLane and numpy take for an array of numbers.

    As long as nothing is computed, the entries are single weights or single features.
    Then only their indices are held, so that moving many of them costs little.

    Args:
        angles: The entries, an object array of polynomials in weights and features, of
            any shape.

    Attributes:
        kind: ``WEIGHT`` or ``FEATURE`` if the entries are known to be single weights or
            single features; None otherwise.
        shape: The shape of the array.
    """

    complex = wanted = False  # attributes of Parameter that gates ask for
    kind: int | None
    shape: tuple[int, ...]
    _first: int | None = None  # index of the first of consecutive entries

    def __init__(self, angles: NDArray[np.object_]) -> None:
        self._entries = angles
        self.kind, self.shape = None, angles.shape

    @classmethod
    def consecutive(cls, slot: Slot, shape: tuple[int, ...]) -> Self:
        """Consecutive weights or features.

        An encoded state has :math:`2^n` of them, of which a circuit names only the
        first. Even their indices are made only when they are asked for.

        Args:
            slot: The first of them.
            shape: Shape of the array, which is filled in C order.
        """
        made = cls.__new__(cls)
        made.kind, made._first = slot
        made.shape = shape
        return made

    @classmethod
    def at(cls, kind: int, indices: NDArray[np.int64]) -> Self:
        """Weights or features with any indices.

        Args:
            kind: ``WEIGHT`` or ``FEATURE``.
            indices: Their indices, an array of any shape.
        """
        made = cls.__new__(cls)
        made._entries, made.kind, made.shape = indices, kind, indices.shape
        return made

    def _like(self, entries: Any, kind: int | None = None) -> Self:
        """Symbols of the same class.

        Args:
            entries: An array of indices of weights or features, or of angles.
            kind: ``WEIGHT`` or ``FEATURE`` for indices, None for angles.
        """
        made = self.__new__(type(self))
        made._entries = entries
        made.kind, made.shape = kind, entries.shape
        return made

    @cached_property
    def _entries(self) -> Any:
        """Indices of weights or features, or angles if ``kind`` is None."""
        assert self._first is not None
        stop = self._first + math.prod(self.shape)
        return np.arange(self._first, stop).reshape(self.shape)

    @property
    def indices(self) -> NDArray[np.int_] | None:
        """Indices of the weights or features that the entries are, by ``kind``.

        It is None where something may have been computed with them, and has the shape
        of the array elsewhere.
        """
        return None if self.kind is None else np.asarray(self._entries)

    @cached_property
    def angles(self) -> NDArray[np.object_]:
        """The entries, an object array of angles."""
        if self.kind is None:
            return self._entries
        return (
            angles_at(self.kind, self._entries) if self.shape else as_angles(self.angle)
        )

    @cached_property
    def angle(self) -> Angle:
        """The entry of an array that has only one."""
        entry = self._entries.item()
        if self.kind is None:
            return entry
        return Angle(0.0, ((1.0, (self.kind, entry), ONE),))

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
        kind, first = self.kind, self._first
        if kind is not None and first is not None:
            return kind, first
        entries = self.entries
        if entries and len(entries[0].slots) == 1:
            ((kind, first),) = entries[0].slots
            if kind in SOURCES.values():
                wanted = angles_at(kind, np.arange(first, first + len(entries)))
                if entries == wanted.tolist():
                    return kind, first
        raise SymbolError("something else than consecutive numbers")

    @property
    def highest(self) -> dict[int, int]:
        """The highest index of a weight and of a feature, by kind of slot."""
        kind = self.kind
        if kind is not None and self._first is None:
            if not self.shape:  # the most frequent case
                return {kind: self._entries.item()}
            return {kind: int(self._entries.max())} if self.size else {}
        if kind is not None and self._first is not None:
            size = math.prod(self.shape)
            return {kind: self._first + size - 1} if size else {}
        found: dict[int, int] = {}
        for angle in self.entries:
            for its_kind, index in base_slots(angle):
                found[its_kind] = max(found.get(its_kind, -1), index)
        return found

    # --- attributes and methods of arrays ----------------------------------------

    @property
    def dtype(self) -> Any:
        """The type of the numbers that the symbols stand for."""
        return np.dtype(np.float64)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> Any:
        """The number of entries."""
        return math.prod(self.shape)

    @property
    def T(self) -> Self:
        """The array with its axes in reverse order."""
        return self._by(np.transpose)

    @property
    def real(self) -> Self:
        """The symbols themselves, which stand for real numbers."""
        return self

    def __len__(self) -> int:
        if not self.shape:  # torch.tensor asks as well
            raise SymbolError("the length of a symbol, or a conversion to a tensor")
        return self.shape[0]

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Self:
        found = self._entries[key]
        if isinstance(found, Angle):
            found = as_angles(found)
        return self._like(found, self.kind)

    def reshape(self, *shape: Any, **options: Any) -> Self:
        """The array with another shape, as in numpy."""
        return self._like(self._entries.reshape(*shape, **options), self.kind)

    def ravel(self, order: Any = "C") -> Self:
        """The array with one axis, as in numpy."""
        return self._like(self._entries.ravel(order), self.kind)

    def flatten(self, order: Any = "C") -> Self:
        """The array with one axis, as in numpy."""
        return self._like(self._entries.ravel(order), self.kind)

    def transpose(self, *axes: Any) -> Self:
        """The array with its axes in another order, as in numpy."""
        return self._like(self._entries.transpose(*axes), self.kind)

    def squeeze(self, axis: Any = None) -> Self:
        """The array without axes of length 1, as in numpy."""
        return self._by(np.squeeze, axis)

    def swapaxes(self, axis1: Any, axis2: Any) -> Self:
        """The array with two axes exchanged, as in numpy."""
        return self._by(np.swapaxes, axis1, axis2)

    def diagonal(self, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Self:
        """The entries of a diagonal, as in numpy."""
        return self._by(np.diagonal, offset, axis1, axis2)

    def repeat(self, repeats: Any, axis: Any = None) -> Self:
        """The array with each entry repeated, as in numpy."""
        return self._by(np.repeat, repeats, axis)

    def take(self, indices: Any, axis: Any = None) -> Self:
        """The entries with these indices, as in numpy."""
        return self._by(np.take, indices, axis)

    def item(self, *where: Any) -> Self:
        """One entry, or the only one, as symbols without axes."""
        entry = np.asarray(self._entries).item(*where)
        return self._like(
            np.array(entry, dtype=np.asarray(self._entries).dtype), self.kind
        )

    def tolist(self) -> Any:
        """Nested lists of symbols without axes."""
        return [row.tolist() for row in self] if self.shape else self

    def copy(self, order: Any = "C") -> Self:
        """The symbols themselves, which never change."""
        return self

    def conj(self) -> Self:
        """The symbols themselves, which stand for real numbers."""
        return self

    def conjugate(self) -> Self:
        """The symbols themselves, which stand for real numbers."""
        return self

    def sum(self, axis: Any = None, **options: Any) -> Self:
        """The sum along an axis or of all entries, as in numpy."""
        return self._by(np.sum, axis=axis, **options)

    def mean(self, axis: Any = None, **options: Any) -> Self:
        """The mean along an axis or of all entries, as in numpy."""
        return self._by(np.mean, axis=axis, **options)

    def prod(self, axis: Any = None, **options: Any) -> Self:
        """The product along an axis or of all entries, as in numpy."""
        return self._by(np.prod, axis=axis, **options)

    def cumsum(self, axis: Any = None) -> Self:
        """The sums of the first entries along an axis, as in numpy."""
        return self._by(np.cumsum, axis=axis)

    def trace(self, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Self:
        """The sum of a diagonal, as in numpy."""
        return self._by(np.trace, offset, axis1, axis2)

    def dot(self, other: Any) -> Self:
        """The matrix product, as in numpy."""
        return self._by(np.dot, other)

    def astype(self, dtype: Any, **_: Any) -> Self:
        """The same symbols, which stand for numbers of type float64.

        Args:
            dtype: A type of real numbers.

        Raises:
            SymbolError: If it is a type of integers or complex numbers.
        """
        _check_real(dtype, "a conversion to")
        return self

    def view(self, dtype: Any) -> Self:
        """The same symbols, for autograd, which makes its results arrays of numpy.

        Args:
            dtype: ``numpy.ndarray``.

        Raises:
            SymbolError: If it is something else.
        """
        if dtype is not np.ndarray:
            raise SymbolError("a view of another type")
        return self

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            raise SymbolError(OF_OBSERVABLE)
        return super().__mul__(other)

    def __rmul__(self, other: Any) -> Any:
        if isinstance(other, Operator):
            raise SymbolError(OF_OBSERVABLE)
        return super().__rmul__(other)

    # --- in place: numbers without axes never change, a name gets another one ------

    def __iadd__(self, other: Any) -> Self:
        return self + other if self._is_number else super().__iadd__(other)

    def __isub__(self, other: Any) -> Self:
        return self - other if self._is_number else super().__isub__(other)

    def __imul__(self, other: Any) -> Self:
        return self * other if self._is_number else super().__imul__(other)

    def __itruediv__(self, other: Any) -> Self:
        return self / other if self._is_number else super().__itruediv__(other)

    def __ipow__(self, other: Any) -> Self:
        return self**other if self._is_number else super().__ipow__(other)

    @property
    def _is_number(self) -> bool:
        """Whether it stands for a number of numpy, not for an array."""
        return not self.shape

    # --- functions of numpy ------------------------------------------------------

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, **options: Any
    ) -> Any:
        if options.get("out") is not None:
            raise SymbolError("an assignment in place (x = x + 1 makes a new array)")
        if method != "__call__" or options:
            raise SymbolError(f"{ufunc.__name__}.{method}")
        if ufunc in SUMS:
            return self._summed(ufunc, inputs, {})
        if ufunc in _COMPARISONS:
            raise SymbolError(f"a comparison ({ufunc.__name__})")
        if ufunc not in ELEMENTWISE:
            raise SymbolError(ufunc.__name__)
        given = [self._plain(value, _operand) for value in inputs]
        try:
            return self._like(as_angles(elementwise(ufunc, given)))
        except SymbolError:
            raise
        except TypeError as error:
            raise SymbolError("a product with a complex number") from error

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        name = function.__name__
        if kwargs.get("out") is not None:
            raise SymbolError(f"{name} with an array for the result")
        if kwargs.get("dtype") is not None:
            _check_real(kwargs["dtype"], f"{name} with numbers of type")
        options = {key: value for key, value in kwargs.items() if key != "dtype"}
        try:
            if function in SUMS:
                return self._summed(function, args, options)
            if function in _MOVING:
                return self._moved(function, args, options)
            if function in _SPECIAL:
                return _SPECIAL[function](*args, **options)
        except SymbolError:
            raise
        except TypeError as error:  # symbols in the place of numbers that are needed
            raise SymbolError(name) from error
        raise SymbolError(name)

    def _by(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What a function of numpy gives for these symbols."""
        return self.__array_function__(function, (), (self, *args), options)

    def _summed(self, function: Any, args: Any, options: Any) -> Self:
        """What a function gives that multiplies and adds entries."""
        given = [self._plain(value, _terms) for value in args]
        kept = {key: self._plain(value, _terms) for key, value in options.items()}
        try:
            return self._like(as_angles(of_terms(SUMS[function](*given, **kept))))
        except SystemError as error:  # numpy's loops do not stop at a first error
            raise SymbolError("a product with a complex number") from error

    def _moved(self, function: Any, args: Any, options: Any) -> Any:
        """What a function gives that moves entries."""
        kind = _common_kind(_data(function, args), [*args, *options.values()])
        of = _angles if kind is None else _indices
        given = [self._plain(value, of) for value in args]
        kept = {key: self._plain(value, of) for key, value in options.items()}
        found = function(*given, **kept)
        if isinstance(found, list | tuple):
            return type(found)([self._result(part, kind) for part in found])
        return self._result(found, kind)

    def _result(self, entries: Any, kind: int | None) -> Self:
        return self._like(as_angles(entries) if kind is None else entries, kind)

    def _plain(self, value: Any, of: Callable[[Symbols], Any]) -> Any:
        """An argument of a function with arrays in the place of all symbols inside.

        Args:
            value: The argument.
            of: The function from symbols to an array.
        """
        if isinstance(value, Symbols):
            return of(value)
        if isinstance(value, list | tuple):
            return type(value)([self._plain(part, of) for part in value])
        if not isinstance(value, np.ndarray):
            return value
        return of(of_objects(value)) if value.dtype == object else np.asarray(value)

    # --- what needs values -------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        ufunc = getattr(np, name, None)
        if isinstance(ufunc, np.ufunc):  # numpy asks so of the entries of an array
            return functools.partial(ufunc, self)
        raise NoAttributeError(f"the attribute {name}")

    def unwrap(self) -> NDArray[np.object_]:
        """The array that tensors of pennylane.numpy compute with."""
        return np.asarray(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise SymbolError("an assignment to an entry (np.stack makes a new array)")

    def __contains__(self, value: Any) -> bool:
        raise SymbolError("a search with `in`")

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[np.object_]:
        """An array of objects, each a symbol without axes, which numpy computes with.

        Args:
            dtype: None or ``object``.
            copy: Whether it is a copy, which it always is.

        Raises:
            SymbolError: If numbers are asked for.
        """
        if dtype is not None and np.dtype(dtype) != object:
            raise SymbolError(f"a conversion to {np.dtype(dtype)}")
        flat = self.reshape(-1)
        array = np.empty(self.size, dtype=object)
        for i in range(len(array)):
            array[i] = flat[i]
        return array.reshape(self.shape)

    def __bool__(self) -> bool:
        raise SymbolError("a decision")

    def __hash__(self) -> int:
        raise SymbolError("a hash, as of the keys of a dictionary")

    def __float__(self) -> float:
        raise SymbolError(
            "a conversion to a number, as functions of `math` and assignments to "
            "entries make it (numpy has all functions, and numpy.stack)"
        )

    __int__ = __complex__ = __index__ = __float__

    def __round__(self, ndigits: Any = None) -> Any:
        raise SymbolError("a conversion to a number, as round makes it")

    def __format__(self, _: str) -> str:
        raise SymbolError("a text")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"


autoray.register_backend(Symbols, "numpy")


def _check_real(dtype: Any, what: str) -> None:
    """Refuse a type that is not one of real numbers."""
    if np.dtype(dtype).kind != "f":
        raise SymbolError(f"{what} {np.dtype(dtype)}")


def of_objects(array: NDArray[np.object_]) -> Symbols:
    """Symbols from an array of objects, each a symbol without axes or a number.

    Args:
        array: What :meth:`Symbols.__array__` makes, or numpy of such arrays.

    Raises:
        SymbolError: If an entry is something else.
    """
    entries = [e.angle if isinstance(e, Symbols) else e for e in array.flat]
    flat = np.empty(len(entries), dtype=object)
    flat[:] = entries
    first: Any = next((e for e in array.flat if isinstance(e, Symbols)), None)
    found = as_angles(flat.reshape(array.shape))
    return Symbols(found) if first is None else first._like(found)


def parameter_of(value: Any) -> Symbols | Constant:
    """What a number on an operation is: a symbol, or a constant.

    Args:
        value: Symbols, numbers of any framework, or an array of both.
    """
    if isinstance(value, Symbols):
        return value
    if isinstance(value, list | tuple):
        value = np.array(value)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return of_objects(value)
    return Constant(to_numpy(value))


def symbols_of(value: Any) -> Symbols | None:
    """What a number on an operation is, if it is a symbol; None if it is a constant.

    Args:
        value: Symbols, numbers of any framework, or an array of both.
    """
    found = parameter_of(value)
    return found if isinstance(found, Symbols) else None


def _angles(symbols: Symbols) -> Any:
    return symbols.angles


def _operand(symbols: Symbols) -> Any:
    return symbols.angles if symbols.shape else symbols.angle


def _terms(symbols: Symbols) -> Any:
    return np.asarray(as_terms(symbols.angles), dtype=object)


def _indices(symbols: Symbols) -> Any:
    return symbols.indices


# --- functions that move entries, and others -------------------------------------

_MOVING = MOVES | JOINS | EACH | FILLS


def _data(function: Any, args: Sequence[Any]) -> Sequence[Any]:
    """The arrays whose entries a function moves, where nothing is put next to them."""
    if function in FILLS or not args:
        return ()
    if function in JOINS:
        return args[0] if isinstance(args[0], list | tuple) else args[:1]
    return args if function in EACH else args[:1]


def _common_kind(data: Sequence[Any], given: Any) -> int | None:
    """The kind of all entries of some arrays, if no other argument is a symbol.

    Args:
        data: The arrays.
        given: All that a function is given, these arrays included.
    """
    kinds = {value.kind if isinstance(value, Symbols) else None for value in data}
    if len(kinds) != 1 or len(data) != _count(given):
        return None
    return kinds.pop()


def _count(value: Any) -> int:
    """The number of symbols in nested lists."""
    if isinstance(value, list | tuple):
        return sum(map(_count, value))
    return isinstance(value, Symbols)


def _where(condition: Any, *values: Any) -> Any:
    if len(values) != 2 or _count(condition):
        raise SymbolError("where with a condition of symbols")
    array = next(value for value in values if isinstance(value, Symbols))
    one, other = (array._plain(value, _angles) for value in values)
    return array._like(as_angles(np.where(np.asarray(condition), one, other)))


def _full_like(array: Any, number: Any, shape: Any = None, **_: Any) -> Any:
    return np.full(np.shape(array) if shape is None else shape, number, np.float64)


def _result_type(*given: Any) -> Any:
    return np.result_type(*(np.float64 if isinstance(v, Symbols) else v for v in given))


_SPECIAL: dict[Any, Callable[..., Any]] = {
    np.shape: lambda array: array.shape,
    np.ndim: lambda array: len(array.shape),
    np.size: lambda array, axis=None: math.prod(
        array.shape if axis is None else [array.shape[axis]]
    ),
    np.real: lambda array: array,
    np.iscomplexobj: lambda array: False,
    np.isrealobj: lambda array: True,
    np.where: _where,
    np.zeros_like: lambda array, **options: _full_like(array, 0.0, **options),
    np.ones_like: lambda array, **options: _full_like(array, 1.0, **options),
    np.full_like: _full_like,
    np.result_type: _result_type,
}
"""By function of numpy, what it gives for arguments that may be symbols."""


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
        return as_angles(self.numbers)

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


def symbols(source: str, offset: int, shape: tuple[int, ...]) -> Symbols:
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
    return Symbols.consecutive((kind, offset), tuple(shape))
