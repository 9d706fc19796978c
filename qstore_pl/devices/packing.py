"""Arguments of a quantum function as weights and features, and their gradients back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qstore_pl.devices.batches import Places

Float = NDArray[np.float64]
Mask = NDArray[np.bool_]
_NOTHING = np.empty(0)


class Packing:
    """How arrays become the weights and the features of a Program.

    Args:
        places: Where each number of the arguments goes.
        shapes: Shape of each argument.

    Attributes:
        batch: Number of rows of the features.
        per_sample: Indices of the arguments that have numbers among the features.
    """

    def __init__(self, places: Places, shapes: Sequence[tuple[int, ...]]) -> None:
        self._shapes = tuple(shapes)
        sizes = [math.prod(shape) for shape in shapes]
        ends = np.cumsum(sizes, dtype=np.int64).tolist()
        self._spans = [(end - n, end) for n, end in zip(sizes, ends, strict=True)]
        self._n_numbers = sum(sizes)
        self._shared: dict[int, tuple[int, int]] = {}  # argument -> its weights
        end = 0
        for k in places.arguments:
            self._shared[k] = end, end + sizes[k]
            end += sizes[k]
        columns = places.columns
        self._layout = columns.shape
        self.batch = len(columns)
        self._constants = np.array(places.constants, dtype=np.float64)
        used = columns[columns < self._n_numbers]
        self.per_sample = {
            k
            for k, (start, end) in enumerate(self._spans)
            if np.any((used >= start) & (used < end))
        }
        self._unique = len(np.unique(used)) == used.size
        self._whole = self._whole_argument(columns)
        self._columns = None if self._whole is not None else columns
        self._numbers = columns

    def _whole_argument(self, columns: NDArray[np.int64]) -> int | None:
        """The argument whose numbers are the features, in its own order."""
        for k, (start, end) in enumerate(self._spans):
            if columns.size and np.array_equal(columns.ravel(), np.arange(start, end)):
                return k
        return None

    def packed(self, arguments: Sequence[Float]) -> tuple[Float, Float]:
        """Weights and features, which are copies.

        Args:
            arguments: Arrays of float64, one of each shape.
        """
        shared = [arguments[k].reshape(-1) for k in self._shared]
        if len(shared) == 1:
            weights = shared[0].copy()
        else:
            weights = np.concatenate([_NOTHING, *shared])
        if self._whole is not None:
            return weights, arguments[self._whole].reshape(self._layout).copy()
        assert self._columns is not None
        if not self._columns.size:
            return weights, np.empty(self._layout)
        numbers = [argument.reshape(-1) for argument in arguments]
        return weights, np.concatenate([*numbers, self._constants])[self._columns]

    def masks(self, wanted: Sequence[int]) -> tuple[Mask, Mask]:
        """Which weights and which features have numbers of some arguments.

        Args:
            wanted: Indices of the arguments.
        """
        weights = np.zeros(
            sum(end - start for start, end in self._shared.values()), bool
        )
        features = np.zeros(self._layout[1], dtype=bool)
        for k in wanted:
            if k in self._shared:
                weights[slice(*self._shared[k])] = True
            start, end = self._spans[k]
            inside = (self._numbers >= start) & (self._numbers < end)
            features |= inside.any(axis=0)
        return weights, features

    def gradients(
        self, gw: Float, gx: Float | None, wanted: Sequence[int]
    ) -> list[Float | None]:
        """Gradients with respect to the arguments, from those of the Program.

        Args:
            gw: Gradient with respect to the weights.
            gx: Gradient with respect to the features, or None.
            wanted: Indices of the arguments whose gradient is needed.

        Returns:
            A new array for each wanted argument, None for the others.
        """
        flat = None if gx is None else self._by_number(gx)
        found: list[Float | None] = [None] * len(self._shapes)
        for k in wanted:
            shape, parts = self._shapes[k], []
            if k in self._shared:
                start, end = self._shared[k]
                parts.append(gw[start:end])
            if flat is not None and k in self.per_sample:
                start, end = self._spans[k]
                parts.append(flat[start:end])
            if len(parts) == 1:
                found[k] = parts[0].reshape(shape).copy()
            else:
                found[k] = np.zeros(shape) + sum(part.reshape(shape) for part in parts)
        return found

    def _by_number(self, gx: Float) -> Float:
        """The gradient with respect to each number of all arguments, in a vector."""
        flat = np.zeros(self._n_numbers + self._constants.size)
        if self._whole is not None:
            start, end = self._spans[self._whole]
            flat[start:end] = gx.reshape(-1)
            return flat
        assert self._columns is not None
        if self._unique:  # constants aside, each number is in one place
            flat[self._columns] = gx
        else:
            np.add.at(flat, self._columns, gx)
        return flat
