"""Where batches come from: arrays cut into shuffled batches, or an iterable of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_pl.config import TrainingConfig
from qstore_pl.losses import Loss
from qstore_pl.model import QuantumModel

Float2D = NDArray[np.float64]


class Batch(NamedTuple):
    """Some samples.

    Attributes:
        features: Prepared features, shape ``(n_samples, n_features)``.
        targets: Prepared targets of the rows, first axis ``batch``.
        rows: Which of the features are in the batch, shape ``(batch,)``.
        one_axis: Whether the targets were given with one axis, as ``(n_samples,)``.
    """

    features: Float2D
    targets: NDArray[Any]
    rows: NDArray[np.int64]
    one_axis: bool


@dataclass(frozen=True)
class Arrays:
    """Samples in memory, checked and prepared once."""

    features: Float2D
    targets: NDArray[Any]
    batch_size: int
    shuffle: bool
    one_axis: bool  # of the targets as they were given

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The order of the samples in the next epoch."""
        order = np.arange(len(self.features))
        if self.shuffle:
            rng.shuffle(order)
        return order

    def batches(self, order: NDArray[np.int64], skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first ones."""
        targets = self.targets[order]
        for start in range(skip * self.batch_size, len(order), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield Batch(self.features, targets[part], order[part], self.one_axis)

    @property
    def digest(self) -> str:
        """Of all samples: what a resumed run must have again."""
        found = hashlib.sha256()
        for array in (self.features, self.targets):
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


@dataclass(frozen=True)
class Batches:
    """An iterable of batches, checked and prepared one by one."""

    data: Iterable[Any]
    name: str
    model: QuantumModel
    loss: Loss

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """None: the iterable has its own."""
        del rng
        return np.empty(0, dtype=np.int64)

    def batches(self, order: NDArray[np.int64], skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first ones."""
        del order
        empty = True
        for i, batch in enumerate(self.data):
            empty = False
            if i < skip:
                continue
            inputs, targets = _pair(batch, self.name)
            features, prepared = _prepared(
                inputs, targets, self.name, self.model, self.loss
            )
            rows = np.arange(len(features))
            yield Batch(features, prepared, rows, np.ndim(targets) == 1)
        if empty:
            raise ValueError(f"Argument `{self.name}` must have a batch, but is empty.")

    @property
    def digest(self) -> str:
        """Empty: the batches are not known before they come."""
        return ""


Source = Arrays | Batches


def source_of(
    data: Any,
    name: str,
    model: QuantumModel,
    loss: Loss,
    config: TrainingConfig | None,
    epochs: int,
) -> Source:
    """Data of either form; without a configuration in one batch and in order.

    Raises:
        ValueError: If data are empty, of different lengths or do not fit the model, or
            a setting would be ignored.
        TypeError: If data are of another form.
    """
    if isinstance(data, tuple) and len(data) == 2:
        features, targets = _prepared(*data, name, model, loss)
        batch_size, shuffle = len(features), False
        if config is not None:
            batch_size, shuffle = map(config.resolve, ("batch_size", "shuffle"))
        one_axis = np.ndim(data[1]) == 1
        return Arrays(features, targets, batch_size, shuffle, one_axis)
    if not isinstance(data, Iterable) or isinstance(data, np.ndarray | str | dict):
        raise TypeError(
            f"Argument `{name}` must be a tuple (X, y) or an iterable of batches, but "
            f"is of type {type(data).__name__}."
        )
    if isinstance(data, Iterator) and epochs > 1:
        raise ValueError(
            f"Argument `{name}` must be an iterable that can start again, for {epochs} "
            "epochs, but is an iterator that is used up after one. Pass a list."
        )
    if config is not None:
        ignored = config.set_fields() & {"batch_size", "shuffle"}
        if ignored:
            raise ValueError(
                f"Configuration {', '.join(sorted(ignored))} must be unset for data "
                "that come in batches, which have their own size and order."
            )
    return Batches(data, name, model, loss)


def _pair(batch: Any, name: str) -> tuple[Any, Any]:
    if isinstance(batch, dict):
        if set(batch) != {"inputs", "targets"}:
            raise ValueError(
                f"A batch of `{name}` must have the keys inputs and targets, but has "
                f"{sorted(batch)}."
            )
        return batch["inputs"], batch["targets"]
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise TypeError(
            f"A batch of `{name}` must be (inputs, targets) or a dict with these keys, "
            f"but is of type {type(batch).__name__}."
        )
    return batch[0], batch[1]


def _prepared(
    inputs: Any, targets: Any, name: str, model: QuantumModel, loss: Loss
) -> tuple[Float2D, NDArray[Any]]:
    lengths = [np.shape(part)[:1] for part in (inputs, targets)]
    if () in lengths or lengths[0] != lengths[1]:
        counts = [f"{length[0]}" if length else "no axis of" for length in lengths]
        raise ValueError(
            f"Argument `{name}` must have as many targets as samples, but has "
            f"{counts[0]} samples and {counts[1]} targets."
        )
    features = model.prepare(inputs)
    return features, loss.prepare_targets(targets, model.output_dim, len(features))
