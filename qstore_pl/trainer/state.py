"""What a training run is at one moment: values, which go to disk and come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.history import History
from qstore_pl.trainer.data import Batch

EARLY = "early stopping"  # why a run ended

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


@dataclass
class Totals:
    """Sums over the batches of one pass through data.

    Args:
        keeps_outputs: Whether outputs and targets are wanted at the end.
        one_axis: Whether the targets kept were given with one axis.
    """

    keeps_outputs: bool
    loss: float = 0.0
    norm: float = 0.0
    n_samples: int = 0
    n_updates: int = 0
    n_skipped: int = 0
    outputs: list[Float2D] = field(default_factory=list)
    targets: list[NDArray[Any]] = field(default_factory=list)
    one_axis: bool = False

    def add(self, value: float, outputs: Float2D, batch: Batch) -> None:
        """One batch."""
        n = outputs.shape[0]
        self.loss += value * n
        self.n_samples += n
        if self.keeps_outputs:
            self.outputs.append(outputs.copy())
            self.targets.append(batch.targets)
            self.one_axis = batch.one_axis

    def count(self, norm: float | None) -> None:
        """An update by a gradient of this norm, or None: no update."""
        if norm is not None:
            self.norm += norm
            self.n_updates += 1

    @property
    def mean_loss(self) -> float:
        """Over samples; NaN where no batch was finite."""
        return self.loss / self.n_samples if self.n_samples else float("nan")

    @property
    def mean_norm(self) -> float:
        """Over updates."""
        return self.norm / self.n_updates if self.n_updates else float("nan")

    def to_tree(self) -> dict[str, Any]:
        """Numbers and arrays."""
        lists = {"outputs": [*self.outputs], "targets": [*self.targets]}
        return {**vars(self)} | lists

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Totals:
        """What :meth:`to_tree` gave."""
        return cls(**tree)


@dataclass
class Gathered:
    """Gradients of the batches since the last update."""

    gradients: Float1D
    n_samples: int = 0
    n_batches: int = 0

    def add(self, gradients: Float1D, n_samples: int) -> None:
        """One batch."""
        self.gradients += n_samples * gradients
        self.n_samples += n_samples
        self.n_batches += 1

    def take(self, gradients: Float1D) -> None:
        """Write the mean over samples, and begin anew."""
        np.divide(self.gradients, self.n_samples, out=gradients)
        self.clear()

    def to_tree(self) -> dict[str, Any]:
        """Numbers and arrays."""
        return {**vars(self), "gradients": self.gradients.copy()}

    def clear(self) -> None:
        """Begin anew."""
        self.gradients[:] = 0.0
        self.n_samples = self.n_batches = 0


@dataclass
class TrainState:
    """Where a run is.

    Args:
        rng: Of the order of the data.
        method_rng: Of random gradient methods.
        totals: Of the epoch that is running.
        gathered: Gradients since the last update.
        epoch: Epochs finished.
        step: Batches done in the epoch that is running.
        order: Of its samples; empty between epochs and for iterables.
        circuits: Run in the epoch that is running.
        seconds: Spent in it.
        best: Best value of the monitored column.
        best_epoch: Where it was.
        best_parameters: The parameters then; empty before the first.
        waited: Epochs since.
        stopped: Why the run ended before its last epoch; empty if it did not.
        good: Parameters and optimizer to roll back to, where that is wanted.
        rollbacks: In a row.
        history: Of the epochs finished.
    """

    rng: np.random.Generator
    method_rng: np.random.Generator
    totals: Totals
    gathered: Gathered
    epoch: int = 0
    step: int = 0
    order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    circuits: int = 0
    seconds: float = 0.0
    best: float = float("nan")
    best_epoch: int = -1
    best_parameters: Float1D = field(default_factory=lambda: np.empty(0))
    waited: int = 0
    stopped: str = ""
    good: dict[str, Any] = field(default_factory=dict)
    rollbacks: int = 0
    history: History = field(default_factory=History)

    def to_tree(self) -> dict[str, Any]:
        """Numbers, words and arrays, which stay as they are when the run goes on.

        The history is not among them: it only grows, and whoever writes the tree adds
        as many of its rows as there were epochs.
        """
        tree = {**vars(self)}
        del tree["history"]
        tree["rng"] = self.rng.bit_generator.state
        tree["method_rng"] = self.method_rng.bit_generator.state
        tree["totals"] = self.totals.to_tree()
        tree["gathered"] = self.gathered.to_tree()
        return tree

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> TrainState:
        """What :meth:`to_tree` gave."""
        values = dict(tree)
        for name in ("rng", "method_rng"):
            rng = np.random.default_rng()
            rng.bit_generator.state = tree[name]
            values[name] = rng
        values["totals"] = Totals.from_tree(tree["totals"])
        values["gathered"] = Gathered(**tree["gathered"])
        values["history"] = history_of(tree["history"])
        return cls(**values)


def history_of(kept: str | dict[str, Any]) -> History:
    """The history of a checkpoint: arrays, or JSON in those of the first version."""
    return History.from_json(kept) if isinstance(kept, str) else History.from_tree(kept)
