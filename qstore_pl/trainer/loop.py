"""The training loop over epochs and batches.

All that it changes is in the :class:`TrainState`, the model and the optimizer.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qstore_pl.backends import MachineDevice
from qstore_pl.callbacks import Callback
from qstore_pl.config import TrainingConfig
from qstore_pl.errors import (
    BudgetError,
    ExecutorError,
    LedgerError,
    QuantumCircuitError,
)
from qstore_pl.optimizers import Schedule
from qstore_pl.trainer.data import Arrays, Batch, Source
from qstore_pl.trainer.interrupts import Interrupts
from qstore_pl.trainer.saving import Saver
from qstore_pl.trainer.scores import Metrics, scores_of
from qstore_pl.trainer.state import EARLY, Totals, TrainState
from qstore_pl.trainer.step import NotFiniteError, Step
from qstore_pl.trainer.undo import Undo

_NOTHING = nullcontext()
MOST_ROLLBACKS = 3  # without a batch in between whose loss was finite

_log = logging.getLogger("qstore_pl.trainer")


@dataclass
class Loop:
    """The training loop of one run.

    Args:
        step: What is done with each batch.
        state: State of the run, from which it starts and which it changes.
        sources: The training data, followed by the validation data if there are any.
        epochs: Total number of epochs, with those that a resumed run did before.
        config: Settings of the run.
        schedule: Learning rate of each epoch.
        metrics: Functions of (predictions, targets) to record, by name.
        callbacks: The callbacks to call.
        interrupts: Through which a signal or another thread asks the run to stop.
        savers: What writes checkpoints, to files and to a vector store.
        bar: Progress bar; None shows none.
        guarded: Whether a step may fail, and is undone then. It takes time.
        stop: Why the run ended, if its budget did not allow another step.
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
    savers: Sequence[Saver] = ()
    bar: Any = None
    guarded: bool = False
    stop: BudgetError | None = None
    _silenced: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Train until the last epoch, or until something asks it to stop."""
        state = self.state
        self.tell("on_train_begin", self.step.model, state.history)
        if not state.good:
            self._keep_good()
        machines = (isinstance(d, MachineDevice) for d in self.step.estimator.devices)
        if self.savers and any(machines):
            # Jobs of a run that is killed before its first checkpoint are found again.
            state.estimator = self.step.estimator.state
            for saver in self.savers:
                saver.at_the_beginning(state)
        try:
            while state.epoch < self.epochs and not state.stopped:
                if not self._epoch():
                    break
        except BudgetError as error:
            self.stop = error
        except (QuantumCircuitError, LedgerError, ExecutorError):
            if self.guarded:
                self._save_the_end()
            raise
        self._save_the_end()
        early = self.config.patience is not None
        done = state.step == 0 and bool(state.stopped or state.epoch == self.epochs)
        best = state.best_parameters
        if early and done and best.size and self.config.resolve("restore_best"):
            self.step.model.parameters[:] = best
        self.tell("on_train_end", state.history)

    def _save_the_end(self) -> None:
        for saver in self.savers:
            saver.at_the_end(self.state)

    # --- an epoch -----------------------------------------------------------------

    def _epoch(self) -> bool:
        """Do one epoch, or the rest of it; return False if the run was interrupted."""
        state, step, estimator = self.state, self.step, self.step.estimator
        self._freeze()
        step.optimizer.learning_rate = self.schedule(state.epoch)
        if state.step == 0 and not state.order.size:  # else its first step was undone
            state.order = self.sources[0].order(state.rng)
            state.totals = self._totals()
            state.gathered.clear()  # an epoch that ended in NaN may leave a gradient
        start = time.perf_counter()
        circuits, shots = estimator.circuits, estimator.spent
        batches = self.sources[0].batches(state.order, state.step)
        try:
            for batch, is_last in _marked(batches):
                with self._undone():
                    self._batch(batch, is_last=is_last)
                state.estimator = estimator.state
                state.step += 1
                if self.interrupts.requested and not is_last:
                    return False
            row = self._row()
            if self._validates():
                with self._undone():
                    row |= self._measured(self.sources[1])
                state.estimator = estimator.state
        finally:
            state.circuits += estimator.circuits - circuits
            state.shots += estimator.spent - shots
            state.seconds += time.perf_counter() - start
        row["circuits"] = state.circuits
        row["shots"] = state.shots
        row["time"] = state.seconds
        state.history.append(row)
        state.epoch, state.step = state.epoch + 1, 0
        state.circuits, state.shots, state.seconds = 0, 0, 0.0
        state.order, state.totals = np.empty(0, dtype=np.int64), self._totals()
        self._keep_good()
        row = state.history[-1]
        self._watch(row)
        self._show(row)
        self.tell("on_epoch_end", row)
        for saver in self.savers:
            saver.after_epoch(state)
        return not self.interrupts.requested

    def _undone(self) -> AbstractContextManager[Any]:
        """A context whose changes are undone where circuits cannot be run."""
        return self._undoing() if self.guarded else _NOTHING

    @contextmanager
    def _undoing(self) -> Iterator[None]:
        undo = Undo(self.step, self.state)
        try:
            yield
        except (BudgetError, QuantumCircuitError, LedgerError, ExecutorError):
            undo()
            self.state.estimator = self.step.estimator.state
            raise

    def _batch(self, batch: Batch, *, is_last: bool) -> None:
        state, step = self.state, self.step
        try:
            value, outputs, norm = step.batch(batch, state.gathered, is_last=is_last)
        except NotFiniteError as error:
            self._not_finite(error)
            if is_last:
                state.totals.count(step.rest(state.gathered))
            return
        state.estimator = step.estimator.state
        state.totals.count(norm)
        state.rollbacks = 0
        state.totals.add(value, outputs, batch)
        if self.callbacks:
            self.tell("on_step_end", state.epoch, state.step, value)

    def _not_finite(self, error: NotFiniteError) -> None:
        """Do what ``config.on_nan`` says."""
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
        """Freeze the weights that ``config.freeze_schedule`` names for this epoch."""
        schedule = self.config.freeze_schedule
        if schedule is not None and self.state.epoch in schedule:
            model = self.step.model
            frozen = schedule[self.state.epoch]
            if frozen and max(frozen) >= model.n_weights:
                raise IndexError(
                    "Configuration freeze_schedule must have indices from 0 to "
                    f"{model.n_weights - 1}, the weights of the circuit, but has "
                    f"{max(frozen)}."
                )
            weights = model.trainable[: model.n_weights]
            weights[:] = True
            weights[frozen] = False

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

    def _show(self, row: Mapping[str, Any]) -> None:
        """Write a line of the log, if it is time, and advance the progress bar."""
        every = self.config.log_interval
        if every is not None and self.state.epoch % every == 0:
            line = ", ".join(f"{k} {v:.6g}" for k, v in row.items() if v is not None)
            if _log.hasHandlers() and _log.isEnabledFor(logging.INFO):
                _log.info("%s", line)
            else:  # logging is not set up, but log_interval asks for lines
                print(line, file=sys.stderr, flush=True)
        if self.bar is not None:
            losses = {k: row[k] for k in ("loss", "val_loss") if row[k] is not None}
            self.bar.set_postfix(losses, refresh=False)
            self.bar.update()

    # --- early stopping -----------------------------------------------------------

    def _watch(self, row: Mapping[str, Any]) -> None:
        """Remember the best epoch; stop the run if none was better for too long."""
        state, config = self.state, self.config
        value = row[state.history.monitor]
        if value is None:
            return
        sign = 1.0 if state.history.mode == "min" else -1.0
        least = config.resolve("min_delta")
        first = math.isnan(state.best)
        if not math.isnan(value) and (first or sign * (state.best - value) > least):
            state.best, state.best_epoch, state.waited = value, state.epoch - 1, 0
            state.best_parameters = self.step.model.parameters.copy()
            for saver in self.savers:
                saver.keep_best(state)
            return
        state.waited += 1
        if config.patience is not None and state.waited >= config.patience:
            state.stopped = EARLY

    def tell(self, what: str, *arguments: Any) -> None:
        """Call this method of all callbacks, and log the errors that they raise."""
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
    """Each batch, with whether it is the last one."""
    waiting: Batch | None = None
    for batch in batches:
        if waiting is not None:
            yield waiting, False
        waiting = batch
    if waiting is not None:
        yield waiting, True
