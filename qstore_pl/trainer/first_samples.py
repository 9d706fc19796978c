"""The first training samples of a run, as the user gave them.

A run with a vector store writes their embeddings, and compares models on them. Batches
of an iterable are remembered as they pass in the first epoch, since going over the
iterable once more could change what it gives to the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.trainer.data import Batches, Source, are_arrays, pair_of


@final
class FirstSamples:
    """Copies of the first samples of the training data.

    Args:
        data: The training data, as for ``train``.
        most: Number of samples that are kept, >= 1.
    """

    def __init__(self, data: Any, most: int) -> None:
        self._most, self._complete = most, False
        self._inputs: list[NDArray[Any]] = []
        self._targets: list[NDArray[Any]] = []
        if are_arrays(data):
            self._keep(data[0], data[1])
            self._complete = True

    def watched(self, source: Source) -> Source:
        """A source of the same batches, from which the samples are taken as they pass.

        Args:
            source: The training data.
        """
        if not isinstance(source, Batches):
            return source
        return replace(source, data=_Watched(source.data, source.name, self))

    @property
    def inputs(self) -> NDArray[Any]:
        """The samples, shape ``(n_samples, input_dim)``; empty before the first."""
        return _joined(self._inputs)[: self._most]

    @property
    def targets(self) -> NDArray[Any]:
        """Their targets, an array whose first axis has length ``n_samples``."""
        return _joined(self._targets)[: self._most]

    def _keep(self, inputs: Any, targets: Any) -> None:
        self._inputs.append(np.array(inputs[: self._most]))
        self._targets.append(np.array(targets[: self._most]))

    def passing(self, batches: Iterable[Any], name: str) -> Iterator[Any]:
        """The batches, whose samples are kept in the first pass.

        Args:
            batches: The batches.
            name: Name of the argument they come from, for errors.
        """
        watching, n_kept = not self._complete, 0
        self._complete = True
        for batch in batches:
            yield batch  # whoever gets it checks it before the next one is asked for
            if watching and n_kept < self._most:
                inputs, targets = pair_of(batch, name)
                self._keep(inputs, targets)
                n_kept += len(inputs)


@final
class _Watched:
    """An iterable of the same batches."""

    def __init__(self, batches: Iterable[Any], name: str, first: FirstSamples) -> None:
        self._batches, self._name, self._first = batches, name, first

    def __iter__(self) -> Iterator[Any]:
        return self._first.passing(self._batches, self._name)


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty((0, 0))
