"""Batches in circuits of symbols: what samples share, and what each has for itself.

A quantum function that is called with symbols for a whole batch puts arrays of symbols
on its gates, with a batch axis in front. An entry that is the same symbol in all
samples is a weight of the Program. Where it differs, it becomes a column of features,
which holds the number of each sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl.devices.entries import Parameter
from qstore_pl.devices.symbols import Constant, Symbols, times
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.gates import DERIVED, FEATURE, ONE, WEIGHT, Angle, Slot

Indices = NDArray[np.int64]


class Places:
    """Where the numbers of a circuit's arguments go: into weights, or into features.

    Symbols name a number by its index in the vector of all arguments, one after the
    other. Here arguments become weights as a whole, when one of their numbers is first
    used by all samples, and columns of features number by number.

    Args:
        sizes: How many numbers each argument has.
        batch: The number of samples, or None if the circuit has no batch axis.
    """

    def __init__(self, sizes: Sequence[int], batch: int | None) -> None:
        self.batch = batch
        self._ends = np.cumsum(sizes, dtype=np.int64)
        self._n_numbers = int(sum(sizes))
        self._first: dict[int, int] = {}  # of the weights of an argument
        self.n_weights = self.n_features = 0
        self._columns: list[Indices] = []
        self._known: dict[bytes, int] = {}
        self.constants: list[float] = []
        if batch is None:  # all arguments are weights, in their order
            for k, end in enumerate(self._ends):
                self._first[k] = int(end) - sizes[k]
            self.n_weights = self._n_numbers

    @property
    def arguments(self) -> list[int]:
        """The arguments whose numbers are the weights, one after the other."""
        return list(self._first)

    @property
    def columns(self) -> Indices:
        """For each sample the number in each column, shape ``(batch, n_features)``.

        Indices past the arguments count :attr:`constants`.
        """
        if not self._columns:
            return np.empty((self.batch or 1, 0), dtype=np.int64)
        return np.stack(self._columns, axis=1)

    def shared(self, param: Symbols) -> Symbols:
        """A parameter without a batch axis, as symbols of the Program's weights."""
        if self.batch is None:
            return param
        if param.indices is not None:
            return Symbols.at(WEIGHT, self._weights(param.indices))
        renamed = [angle.renamed(self._renamed) for angle in param.entries]
        return Symbols(_array(renamed, param.shape))

    def split(self, param: Symbols | Constant) -> Symbols | Parameter:
        """A parameter with a batch axis, as symbols of one sample.

        Args:
            param: Its first axis is the batch axis.

        Raises:
            DeviceError: If samples are different functions of arguments, not only
                the same function of different numbers.
        """
        if isinstance(param, Constant):
            return self._held(param)
        shape = param.shape[1:]
        rows = param.reshape(param.shape[0], -1)
        if rows.indices is not None:
            return self._pure(rows.indices).reshape(shape)
        joined = [self._joined(column.tolist()) for column in rows.angles.T]
        return Symbols(_array(joined, shape))

    def _pure(self, rows: Indices) -> Symbols:
        """Entries that are numbers of arguments as they are, shape ``(batch, n)``."""
        varies = (rows != rows[0]).any(axis=0)
        if not varies.all():
            entries = [
                _of_slot(self._slot(column)) if differs else self._weight(first)
                for column, differs, first in zip(rows.T, varies, rows[0], strict=True)
            ]
            return Symbols(_array(entries, (len(entries),)))
        columns = list(rows.T)
        first = self._known.get(columns[0].tobytes()) if columns else None
        if first is None or any(
            self._known.get(column.tobytes()) != first + k
            for k, column in enumerate(columns)
        ):
            # A state preparation needs its numbers in consecutive columns.
            first = self.n_features
            for column in columns:
                self._added(column)
        return Symbols.consecutive((FEATURE, first), (len(columns),))

    def _held(self, param: Constant) -> Parameter:
        """Constants that each sample has for itself, in consecutive columns."""
        numbers = param.numbers
        shape = numbers.shape[1:]
        rows = numbers.reshape(len(numbers), math.prod(shape))
        if param.complex:
            rows = np.concatenate([rows.real, rows.imag], axis=1)
        first = self.n_features
        for column in rows.T:
            self._added(self._constants(column))
        return Parameter(FEATURE, first, shape, param.complex)

    def _constants(self, values: Sequence[float] | NDArray[np.float64]) -> Indices:
        """The indices of constants, which are put behind the arguments."""
        first = self._n_numbers + len(self.constants)
        self.constants += [float(value) for value in values]
        return np.arange(first, first + len(values))

    def _joined(self, angles: list[Angle]) -> Angle:
        """The angle of one sample, from the angles of all samples."""
        first = angles[0]
        if any(len(angle.terms) != len(first.terms) for angle in angles):
            raise _different()
        total = Angle() + self._number([angle.constant for angle in angles])
        for terms in zip(*(angle.terms for angle in angles), strict=True):
            coefficients, left, right = zip(*terms, strict=True)
            factor = times(self._number(coefficients), self._factor(left))
            total = total + times(factor, self._factor(right))
        return total

    def _number(self, values: Sequence[float]) -> Angle | float:
        if all(value == values[0] for value in values):
            return values[0]
        return _of_slot(self._slot(self._constants(values)))

    def _factor(self, slots: Sequence[Slot]) -> Angle | float:
        kind, index = slots[0]
        if any(slot[0] != kind for slot in slots):
            raise _different()
        if kind == DERIVED:
            if any(slot[1].function != index.function for slot in slots):
                raise _different()
            by_place = zip(*(slot[1].arguments for slot in slots), strict=True)
            arguments = [self._joined(list(angles)) for angles in by_place]
            return Derived.of(index.function, *arguments)
        if slots[0] == ONE:
            return 1.0
        if all(slot[1] == index for slot in slots):
            return self._weight(index)
        return _of_slot(self._slot(np.array([slot[1] for slot in slots])))

    def _slot(self, column: Indices) -> Slot:
        known = self._known.get(column.tobytes())
        return (FEATURE, self._added(column) if known is None else known)

    def _added(self, column: Indices) -> int:
        self._columns.append(column)
        self._known[column.tobytes()] = self.n_features
        self.n_features += 1
        return self.n_features - 1

    def _weight(self, index: int) -> Angle:
        return _of_slot(self._renamed((WEIGHT, int(index))))

    def _renamed(self, slot: Slot) -> Slot:
        """The weight that a number of an argument is, for all samples."""
        kind, index = slot
        if kind == DERIVED:
            return DERIVED, index.renamed(self._renamed)
        if kind != WEIGHT:
            return slot
        return WEIGHT, int(self._weights(np.array(index)))

    def _weights(self, indices: Indices) -> Indices:
        """The weights that some numbers of arguments are, for all samples."""
        argument = np.searchsorted(self._ends, indices, side="right")
        moved = np.array(indices)
        for k in np.unique(argument).tolist():
            start = int(self._ends[k - 1]) if k else 0
            if k not in self._first:
                self._first[k] = self.n_weights
                self.n_weights += int(self._ends[k]) - start
            moved[argument == k] += self._first[k] - start
        return moved


def _of_slot(slot: Slot) -> Angle:
    return Angle(0.0, ((1.0, slot, ONE),))


def _array(angles: list[Angle], shape: tuple[int, ...]) -> NDArray[np.object_]:
    array = np.empty(len(angles), dtype=object)
    array[:] = angles
    return array.reshape(shape)


def _different() -> DeviceError:
    return DeviceError(
        "The samples of a batch must be the same function of different numbers to be "
        "compiled, but a gate has different functions for different samples. Call the "
        "QNode itself."
    )


def batch_of(shapes: Sequence[tuple[tuple[int, ...], int]]) -> int | None:
    """The length of the batch axes of some parameters, or None if there is none.

    Args:
        shapes: Of each parameter its shape, and how many axes it has in one sample.

    Raises:
        ValueError: If the lengths differ, or one is 0.
    """
    sizes = {shape[0] for shape, ndim in shapes if len(shape) > ndim}
    if len(sizes) > 1 or 0 in sizes:
        raise ValueError(
            "Parameters with a batch axis must have the same number of samples, at "
            f"least one, but have {' and '.join(map(str, sorted(sizes)))}."
        )
    return sizes.pop() if sizes else None
