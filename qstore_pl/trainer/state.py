"""The state of a training run: values that a checkpoint can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.history import History
from qstore_pl.trainer.data import Batch

EARLY = "early stopping"  # a reason why a run ended

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


@dataclass
class Totals:
    """Sums over the batches of an epoch, or of one pass through validation data.

    Args:
        keeps_outputs: Whether the outputs and targets of all batches are kept, as
            metrics need them.
        loss: Sum of the losses of all samples.
        norm: Sum of the gradient norms of all updates.
        n_samples: Number of samples.
        n_updates: Number of updates of the parameters.
        n_skipped: Number of batches that were left out since their loss or gradient was
            not finite.
        outputs: Outputs of each batch.
        targets: Prepared targets of each batch.
        one_axis: Whether the user gave targets with one axis, shape ``(n_samples,)``.
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
        """Add the loss, outputs and targets of one batch."""
        n = outputs.shape[0]
        self.loss += value * n
        self.n_samples += n
        if self.keeps_outputs:
            self.outputs.append(outputs.copy())
            self.targets.append(batch.targets)
            self.one_axis = batch.one_axis

    def count(self, norm: float | None) -> None:
        """Add an update whose gradient had this norm; None is no update."""
        if norm is not None:
            self.norm += norm
            self.n_updates += 1

    @property
    def mean_loss(self) -> float:
        """Mean loss over samples; NaN if no batch was finite."""
        return self.loss / self.n_samples if self.n_samples else float("nan")

    @property
    def mean_norm(self) -> float:
        """Mean gradient norm over updates; NaN if there was none."""
        return self.norm / self.n_updates if self.n_updates else float("nan")

    def to_tree(self) -> dict[str, Any]:
        """The values as numbers and arrays, for a checkpoint."""
        lists = {"outputs": [*self.outputs], "targets": [*self.targets]}
        return {**vars(self)} | lists

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Totals:
        """The object whose values :meth:`to_tree` returned."""
        return cls(**tree)


@dataclass
class Gathered:
    """The gathered gradient: the sum over the batches since the last update.

    Args:
        gradients: Sum of the gradients of all samples, shape ``(n_parameters,)``.
        n_samples: Number of samples.
        n_batches: Number of batches.
    """

    gradients: Float1D
    n_samples: int = 0
    n_batches: int = 0

    def add(self, gradients: Float1D, n_samples: int) -> None:
        """Add the gradient of one batch, its mean over samples."""
        self.gradients += n_samples * gradients
        self.n_samples += n_samples
        self.n_batches += 1

    def take(self, gradients: Float1D) -> None:
        """Write the mean over samples into an array, and begin anew."""
        np.divide(self.gradients, self.n_samples, out=gradients)
        self.clear()

    def to_tree(self) -> dict[str, Any]:
        """The values as numbers and arrays, for a checkpoint."""
        return {**vars(self), "gradients": self.gradients.copy()}

    def clear(self) -> None:
        """Forget all batches."""
        self.gradients[:] = 0.0
        self.n_samples = self.n_batches = 0


@dataclass
class TrainState:
    """The state of a training run, from which it can be resumed.

    Args:
        rng: Generator from which the order of the samples is drawn.
        method_rng: Generator from which random gradient methods draw.
        totals: Sums over the batches of the current epoch.
        gathered: Gathered gradient of the batches since the last update.
        epoch: Number of finished epochs.
        step: Number of finished batches in the current epoch.
        order: Order of the samples in the current epoch, a permutation of their
            indices. Empty between epochs, and for data that come as batches.
        circuits: Number of circuits run in the current epoch.
        shots: Number of shots measured in the current epoch.
        estimator: State of the gradient estimator, if it has any.
        seconds: Time spent in the current epoch, in seconds.
        best: Best value of the monitored column so far; NaN before the first.
        best_epoch: Epoch of the best value, counted from 0; -1 before the first.
        best_parameters: Parameters at the end of the best epoch; empty before the
            first.
        waited: Number of measured epochs since the best one.
        stopped: Why the run ended before its last epoch; empty if it did not.
        good: Parameters and optimizer state to return to if a loss is not finite. Empty
            unless ``on_nan`` is ``"rollback"``.
        rollbacks: Number of rollbacks since the last batch with a finite loss.
        history: Rows of the finished epochs.
    """

    rng: np.random.Generator
    method_rng: np.random.Generator
    totals: Totals
    gathered: Gathered
    epoch: int = 0
    step: int = 0
    order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    circuits: int = 0
    shots: int = 0
    estimator: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    best: float = float("nan")
    best_epoch: int = -1
    best_parameters: Float1D = field(default_factory=lambda: np.empty(0))
    waited: int = 0
    stopped: str = ""
    good: dict[str, Any] = field(default_factory=dict)
    rollbacks: int = 0
    history: History = field(default_factory=History)

    @property
    def counted(self) -> tuple[int, int]:
        """Circuits and shots of the whole run, those of the current epoch included."""
        rows = self.history
        circuits = sum(n or 0 for n in rows["circuits"])
        shots = sum(n or 0 for n in rows["shots"])
        return int(circuits) + self.circuits, int(shots) + self.shots

    def to_tree(self) -> dict[str, Any]:
        """The state as numbers, strings and arrays, which do not change with the run.

        The history is left out. Since rows are only added to it, the writer of the
        checkpoint can later add the rows of the epochs finished by now.
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
        """The object whose values :meth:`to_tree` returned."""
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
    """The history in a checkpoint, from arrays, or from JSON in version 1."""
    return History.from_json(kept) if isinstance(kept, str) else History.from_tree(kept)
