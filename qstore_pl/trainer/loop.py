"""The loop over epochs and batches. Whatever it changes is in the state."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qstore_pl.callbacks import Callback
from qstore_pl.config import TrainingConfig
from qstore_pl.errors import CheckpointError
from qstore_pl.optimizers import Schedule
from qstore_pl.trainer.data import Arrays, Batch, Source
from qstore_pl.trainer.interrupts import Interrupts
from qstore_pl.trainer.run_directory import RunDirectory
from qstore_pl.trainer.scores import Metrics, scores_of
from qstore_pl.trainer.settings import direction_of, monitor_of
from qstore_pl.trainer.state import Totals, TrainState
from qstore_pl.trainer.step import NotFiniteError, Step

MOST_ROLLBACKS = 3  # in a row

_log = logging.getLogger("qstore_pl.trainer")


@dataclass
class Loop:
    """One run.

    Args:
        step: What a batch does.
        state: Where the run is.
        sources: The data, and those held out if there are any.
        epochs: To do in all.
        config: The settings.
        schedule: Learning rate of each epoch.
        metrics: Of predictions and targets, by name.
        callbacks: Told how it goes.
        interrupts: Ask it to stop.
        directory: Of the checkpoints, or None.
        tree: From the state to the whole run as values, for a checkpoint.
        bar: A progress bar, or None.
    """

    step: Step
    state: TrainState
    sources: Sequence[Source]
    epochs: int
    config: TrainingConfig
    schedule: Schedule
    metrics: Metrics
    callbacks: Sequence[Callback]
    interrupts: Interrupts
    directory: RunDirectory | None
    tree: Callable[[TrainState], dict[str, Any]]
    bar: Any = None
    _silenced: set[int] = field(default_factory=set)
    _every: int = 1  # batches to an update
    _saved: tuple[int, int] | None = None
    _best: dict[str, Any] = field(default_factory=dict)  # to be written

    def run(self) -> None:
        """Train until the last epoch, or until something asks it to stop."""
        state = self.state
        self._every = self.config.resolve("accumulation_steps")
        self._tell("on_train_begin", self.step.model, state.history)
        if not state.good:
            self._keep_good()
        while state.epoch < self.epochs and not state.stopped:
            if not self._epoch():
                break
            if self.bar is not None:
                self.bar.update()
        self._checkpoint(last=True)
        early = self.config.patience is not None
        done = state.step == 0 and bool(state.stopped or state.epoch == self.epochs)
        best = state.best_parameters
        if early and done and best.size and self.config.resolve("restore_best"):
            self.step.model.parameters[:] = best
        self._tell("on_train_end", state.history)

    def tell_of(self, error: BaseException) -> None:
        """Tell callbacks that an error leaves the trainer."""
        self._tell("on_exception", error)

    # --- an epoch -----------------------------------------------------------------

    def _epoch(self) -> bool:
        """One epoch, or what is left of it; False if it was interrupted."""
        state, step, run = self.state, self.step, self.step.run
        self._freeze()
        step.optimizer.learning_rate = self.schedule(state.epoch)
        if state.step == 0:
            state.order = self.sources[0].order(state.rng)
            state.totals = self._totals()
            state.gathered.clear()  # what an epoch that ended in NaN left
            state.circuits, state.seconds = 0, 0.0
        start, circuits = time.perf_counter(), run.circuits
        for batch, is_last in _marked(self.sources[0].batches(state.order, state.step)):
            self._batch(batch, is_last=is_last)
            state.step += 1
            if self.interrupts.requested and not is_last:
                state.circuits += run.circuits - circuits
                state.seconds += time.perf_counter() - start
                return False
        row = self._row()
        if self._validates():
            row |= self._measured(self.sources[1])
        state.circuits += run.circuits - circuits
        state.seconds += time.perf_counter() - start
        row["circuits"] = state.circuits
        row["shots"] = run.shots * state.circuits
        row["time"] = state.seconds
        state.history.append(row)
        state.epoch, state.step = state.epoch + 1, 0
        state.order = np.empty(0, dtype=np.int64)
        self._keep_good()
        self._watch(state.history[-1])
        if self._best and self._write(lambda d: d.save_best(self._best)):
            self._best = {}
        self._log_row(state.history[-1])
        self._tell("on_epoch_end", state.history[-1])
        if state.epoch % self.config.resolve("checkpoint_interval") == 0:
            self._checkpoint()
        return not self.interrupts.requested

    def _batch(self, batch: Batch, *, is_last: bool) -> None:
        state, step = self.state, self.step
        features, targets, rows, _ = batch
        every, gathered = self._every, state.gathered
        try:
            value, outputs = step.gradient(features, targets, rows)
            if every > 1:
                gathered.add(step.gradients, len(rows))
            if every == 1 or gathered.n_batches == every or is_last:
                if every > 1:
                    gathered.take(step.gradients)
                norm, outputs = step.update(features, targets, rows, value, outputs)
                self._count(norm)
        except NotFiniteError as error:
            self._not_finite(error)
            if is_last and gathered.n_batches:
                gathered.take(step.gradients)
                self._count(step.update_alone())
            return
        state.rollbacks = 0
        state.totals.add(value, outputs, batch)
        if self.callbacks:
            self._tell("on_step_end", state.epoch, state.step, value)

    def _count(self, norm: float) -> None:
        self.state.totals.norm += norm
        self.state.totals.n_updates += 1

    def _not_finite(self, error: NotFiniteError) -> None:
        """What ``on_nan`` says."""
        state, way = self.state, self.config.resolve("on_nan")
        if way == "raise":
            raise error
        _log.warning("epoch %d, batch %d: %s", state.epoch, state.step, error)
        state.totals.n_skipped += 1
        if way == "skip":
            return
        state.rollbacks += 1
        if state.rollbacks > MOST_ROLLBACKS:
            raise error
        state.gathered.clear()
        self.step.model.parameters[:] = state.good["parameters"]
        self.step.optimizer.load_state(state.good["optimizer"])

    def _keep_good(self) -> None:
        if self.config.resolve("on_nan") == "rollback":
            self.state.good = {
                "parameters": self.step.model.parameters.copy(),
                "optimizer": self.step.optimizer.state,
            }

    def _freeze(self) -> None:
        """The freezing of this epoch, if the schedule has one."""
        schedule = self.config.freeze_schedule
        if schedule is not None and self.state.epoch in schedule:
            layer = self.step.model.quantum_layer
            layer.unfreeze_parameters()
            layer.freeze_parameters(schedule[self.state.epoch])

    # --- what is recorded ---------------------------------------------------------

    def _totals(self) -> Totals:
        return Totals(self.step.loss.is_classification or bool(self.metrics))

    def _row(self) -> dict[str, Any]:
        state = self.state
        totals = state.totals
        row: dict[str, Any] = {
            "epoch": state.epoch,
            "loss": totals.mean_loss,
            "learning_rate": self.step.optimizer.learning_rate,
        }
        if self.config.resolve("track_gradients"):
            row["gradient_norm"] = totals.mean_norm
        return row | scores_of(self.metrics, self.step.loss, totals, "")

    def _measured(self, validation: Source) -> dict[str, Any]:
        totals = self._totals()
        order = (
            np.arange(len(validation.features))
            if isinstance(validation, Arrays)
            else np.empty(0, dtype=np.int64)
        )
        loss = self.step.loss
        for batch in validation.batches(order):
            outputs = self.step.outputs(batch.features, batch.rows)
            totals.add(loss.value(outputs, batch.targets), outputs, batch)
        scores = scores_of(self.metrics, loss, totals, "val_")
        return {"val_loss": totals.mean_loss} | scores

    def _validates(self) -> bool:
        done = self.state.epoch + 1
        due = done % self.config.resolve("validation_interval") == 0
        return len(self.sources) > 1 and (due or done == self.epochs)

    def _log_row(self, row: Mapping[str, Any]) -> None:
        every = self.config.log_interval
        if every is not None and self.state.epoch % every == 0:
            shown = (f"{k} {v:.6g}" for k, v in row.items() if v is not None)
            _log.info("%s", ", ".join(shown))

    # --- early stopping and checkpoints -------------------------------------------

    def _watch(self, row: Mapping[str, Any]) -> None:
        """Keep the best epoch; stop when there was none for too long."""
        state, config = self.state, self.config
        monitor = monitor_of(config, validated=len(self.sources) > 1)
        value = row[monitor]
        if value is None:
            return
        sign = 1.0 if direction_of(config, monitor) == "min" else -1.0
        least = config.resolve("min_delta")
        first = math.isnan(state.best)
        if not math.isnan(value) and (first or sign * (state.best - value) > least):
            state.best, state.best_epoch, state.waited = value, state.epoch - 1, 0
            state.best_parameters = self.step.model.parameters.copy()
            if self.directory is not None:
                self._best = copy.deepcopy(self.tree(self.state))
            return
        state.waited += 1
        if config.patience is not None and state.waited >= config.patience:
            state.stopped = "early stopping"

    def _checkpoint(self, *, last: bool = False) -> None:
        state = self.state
        if self.directory is None or self._saved == (state.epoch, state.step):
            return
        tree = self.tree(self.state)
        done = self._write(lambda d: d.save(state.epoch, state.step, tree), last=last)
        if done:
            self._saved = (state.epoch, state.step)

    def _write(
        self, save: Callable[[RunDirectory], Path], *, last: bool = False
    ) -> bool:
        """Save; a full disk costs a warning, unless it is the last chance."""
        assert self.directory is not None
        try:
            path = save(self.directory)
        except OSError as error:
            if last:
                raise CheckpointError(
                    f"The last checkpoint could not be written to "
                    f"`{self.directory.path}`: {error}. The model has its parameters, "
                    "and trainer.history the history."
                ) from error
            _log.warning(
                "A checkpoint could not be written (%s); the next one will be tried.",
                error,
            )
            return False
        self._tell("on_checkpoint", path)
        return True

    def _tell(self, what: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            try:
                getattr(callback, what)(*arguments)
            except Exception as error:
                if self.config.resolve("strict_callbacks"):
                    raise
                if id(callback) not in self._silenced:
                    self._silenced.add(id(callback))
                    _log.exception(
                        "%s.%s raised %r; training goes on, and this is said once.",
                        type(callback).__name__,
                        what,
                        error,
                    )


def _marked(batches: Iterable[Batch]) -> Iterator[tuple[Batch, bool]]:
    """Each batch, and whether it is the last."""
    waiting: Batch | None = None
    for batch in batches:
        if waiting is not None:
            yield waiting, False
        waiting = batch
    if waiting is not None:
        yield waiting, True
