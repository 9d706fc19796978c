"""The data of a run: arrays that are cut into batches, or an iterable of batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_pl.config import TrainingConfig
from qstore_pl.losses import Loss, weighed
from qstore_pl.trainer.trainable import Trainable

Float2D = NDArray[np.float64]


class Batch(NamedTuple):
    """The samples of one training step.

    Attributes:
        features: Encoded data of all samples, shape ``(n_samples, n_features)``.
        targets: Prepared targets of the batch, an array whose first axis has length
            ``batch``.
        rows: Indices of the samples in the batch, shape ``(batch,)``.
        one_axis: Whether the user gave targets with one axis, shape ``(n_samples,)``.
    """

    features: Float2D
    targets: NDArray[Any]
    rows: NDArray[np.int64]
    one_axis: bool


@dataclass(frozen=True)
class Arrays:
    """Samples in memory, which are checked and encoded once.

    Args:
        features: Encoded data, shape ``(n_samples, n_features)``.
        targets: Prepared targets, an array whose first axis has length ``n_samples``.
        batch_size: Samples per batch, >= 1.
        shuffle: Whether every epoch has a new random order.
        one_axis: Whether the user gave targets with one axis, shape ``(n_samples,)``.
    """

    features: Float2D
    targets: NDArray[Any]
    batch_size: int
    shuffle: bool
    one_axis: bool

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """A permutation of the samples' indices, their order in the next epoch."""
        order = np.arange(len(self.features))
        if self.shuffle:
            rng.shuffle(order)
        return order

    def batches(self, order: NDArray[np.int64], skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first ``skip`` ones."""
        targets = self.targets[order]
        for start in range(skip * self.batch_size, len(order), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield Batch(self.features, targets[part], order[part], self.one_axis)

    @property
    def digest(self) -> str:
        """Digest of all samples, by which a resumed run recognises its data."""
        found = hashlib.sha256()
        for array in (self.features, self.targets):
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


@dataclass(frozen=True)
class Batches:
    """An iterable of batches, which are checked and encoded one by one.

    Args:
        data: The iterable.
        name: Name of the argument, for error messages.
        model: The model, which encodes the inputs.
        loss: The loss, which prepares the targets.
        batch_size: Samples that every batch but the last must have; None allows any
            number.
    """

    data: Iterable[Any]
    name: str
    model: Trainable
    loss: Loss
    batch_size: int | None = None

    def order(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """An empty array, since the iterable has its own order."""
        del rng
        return np.empty(0, dtype=np.int64)

    def batches(self, order: NDArray[np.int64], skip: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first ``skip`` ones."""
        del order
        short: int | None = None
        empty = True
        for i, batch in enumerate(self.data):
            empty = False
            if i < skip:
                continue
            inputs, targets = pair_of(batch, self.name)
            features, prepared = _prepared(
                inputs, targets, None, self.name, self.model, self.loss
            )
            rows = np.arange(len(features))
            if self.batch_size is not None:
                if short is not None or len(rows) > self.batch_size:
                    raise ValueError(
                        f"Configuration batch_size={self.batch_size} must be the size "
                        f"of the batches of `{self.name}`, but one has "
                        f"{len(rows) if short is None else short} samples. Leave it "
                        "unset: such data have their own size."
                    )
                short = len(rows) if len(rows) < self.batch_size else None
            yield Batch(features, prepared, rows, np.ndim(targets) == 1)
        if empty:
            raise ValueError(f"Argument `{self.name}` must have a batch, but is empty.")

    @property
    def digest(self) -> str:
        """Empty, since the batches are not known in advance."""
        return ""


Source = Arrays | Batches


def source_of(
    data: Any,
    name: str,
    model: Trainable,
    loss: Loss,
    config: TrainingConfig | None,
    epochs: int,
) -> Source:
    """The batches that data of either form are made of.

    Args:
        data: A tuple of arrays, or an iterable of batches.
        name: Name of the argument, for error messages.
        model: The model, which encodes the inputs.
        loss: The loss, which prepares the targets.
        config: The configuration, for ``batch_size`` and ``shuffle``. None puts all
            samples into one batch, in their order.
        epochs: Number of times that the data are needed.

    Raises:
        ValueError: If the data are empty, of different lengths or do not fit the model,
            or a setting would be ignored.
        TypeError: If the data are of another form.
    """
    if are_arrays(data):
        inputs, labels, *weights = data
        features, targets = _prepared(
            inputs, labels, weights[0] if weights else None, name, model, loss
        )
        batch_size, shuffle = len(features), False
        if config is not None:
            batch_size, shuffle = map(config.resolve, ("batch_size", "shuffle"))
        one_axis = np.ndim(data[1]) == 1
        return Arrays(features, targets, batch_size, shuffle, one_axis)
    if not isinstance(data, Iterable) or isinstance(data, np.ndarray | str | dict):
        raise TypeError(
            f"Argument `{name}` must be a tuple (X, y) or (X, y, weights), or an "
            f"iterable of batches, but is of type {type(data).__name__}."
        )
    if isinstance(data, list) and data and isinstance(data[0], np.ndarray):
        raise TypeError(
            f"Argument `{name}` must be a tuple where it holds arrays, (X, y) or "
            "(X, y, weights), but is a list, which is taken as one of batches."
        )
    if isinstance(data, Iterator) and epochs > 1:
        raise ValueError(
            f"Argument `{name}` must be an iterable that can start again, for {epochs} "
            "epochs, but is an iterator that is used up after one. Pass a list."
        )
    if config is not None and config.shuffle:
        raise ValueError(
            "Configuration shuffle must be False or unset for data that come in "
            "batches, which have their own order."
        )
    size = None if config is None else config.batch_size
    return Batches(data, name, model, loss, size)


def are_arrays(data: Any) -> bool:
    """Whether data are ``(X, y)`` or ``(X, y, weights)``, and not batches."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        return False
    return len(data) == 2 or not isinstance(data[0], tuple | dict)


def split(
    data: Any, share: float, seed: int, model: Trainable, loss: Loss
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Split the data into arrays for training and arrays for validation.

    Args:
        data: ``(X, y)`` or ``(X, y, weights)``.
        share: Share of the samples that is held out for validation, in (0, 1).
        seed: Seed of the random draw, >= 0.
        model: The model, for its number of outputs.
        loss: The loss. If its targets are classes, both parts have the same share of
            every class.

    Raises:
        ValueError: If the data are of another form, or too few.
    """
    from sklearn.model_selection import train_test_split

    if not are_arrays(data):
        raise ValueError(
            "Configuration validation_split must come with a tuple (X, y) of arrays, "
            "which can be split. Pass val_data for batches."
        )
    arrays = [np.asanyarray(part) for part in data]
    n_samples = _common_length("data", *arrays[:2])
    classes = None
    if loss.labels is not None:
        prepared = loss.prepare_targets(arrays[1], model.output_dim, n_samples)
        classes = loss.labels(prepared)
    try:
        parts = train_test_split(
            *arrays, test_size=share, random_state=seed, stratify=classes
        )
    except ValueError as error:
        raise ValueError(
            f"Configuration validation_split={share} must leave samples of every class "
            f"on both sides, but does not: {error} Pass val_data instead."
        ) from error
    return tuple(parts[0::2]), tuple(parts[1::2])


def pair_of(batch: Any, name: str) -> tuple[Any, Any]:
    """The inputs and the targets of a batch.

    Args:
        batch: ``(inputs, targets)``, or a dict with these keys.
        name: Name of the argument it comes from, for errors.

    Raises:
        ValueError: If it has other keys or a third part.
        TypeError: If it is of another form.
    """
    if isinstance(batch, dict):
        if set(batch) != {"inputs", "targets"}:
            raise ValueError(
                f"A batch of `{name}` must have the keys inputs and targets, but has "
                f"{sorted(batch)}."
            )
        return batch["inputs"], batch["targets"]
    if isinstance(batch, tuple | list) and len(batch) == 3:
        raise ValueError(
            f"A batch of `{name}` must be (inputs, targets), but has a third part. "
            "Weights of samples come with arrays: (X, y, weights)."
        )
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        raise TypeError(
            f"A batch of `{name}` must be (inputs, targets) or a dict with these keys, "
            f"but is of type {type(batch).__name__}."
        )
    return batch[0], batch[1]


def _prepared(
    inputs: Any,
    targets: Any,
    weights: Any,
    name: str,
    model: Trainable,
    loss: Loss,
) -> tuple[Float2D, NDArray[Any]]:
    n_samples = _common_length(name, inputs, targets)
    features = model.prepare(inputs)
    prepared = loss.prepare_targets(targets, model.output_dim, n_samples)
    return features, weighed(prepared, weights) if loss.is_weighed else prepared


def _common_length(name: str, inputs: Any, targets: Any) -> int:
    lengths = [np.shape(part)[:1] for part in (inputs, targets)]
    if () in lengths or lengths[0] != lengths[1]:
        counts = [f"{length[0]}" if length else "no axis of" for length in lengths]
        raise ValueError(
            f"Argument `{name}` must have as many targets as samples, but has "
            f"{counts[0]} samples and {counts[1]} targets."
        )
    return lengths[0][0]
