"""Decides when checkpoint files are written, and what happens if that fails."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from qstore_pl.errors import CheckpointError
from qstore_pl.trainer.resume import Parts
from qstore_pl.trainer.run_directory import RunDirectory
from qstore_pl.trainer.state import TrainState

SHARE = 0.05  # of the time of a run that may go into checkpoints

_log = logging.getLogger("qstore_pl.trainer")


class Saver(ABC):
    """Writes checkpoints of a run somewhere."""

    @abstractmethod
    def at_the_beginning(self, state: TrainState) -> None:
        """Save the state before the first step, from which a run is begun again."""

    @abstractmethod
    def keep_best(self, state: TrainState) -> None:
        """Remember the present state of the run as the best one."""

    @abstractmethod
    def after_epoch(self, state: TrainState) -> None:
        """Write a checkpoint if it is time."""

    @abstractmethod
    def at_the_end(self, state: TrainState) -> None:
        """Save what is not saved yet."""


@final
class FileSaver(Saver):
    """Writes the checkpoints of the latest and of the best epoch to files.

    Args:
        directory: The directory of the run.
        parts: What a checkpoint holds besides the state of the run.
        interval: Number of epochs from one checkpoint to the next, >= 1. None writes
            one after the first epoch, and another as soon as writing the last one took
            at most ``SHARE`` of the time since it was begun.
        written: Function that is called with the path of every file written.
    """

    def __init__(
        self,
        directory: RunDirectory,
        parts: Parts,
        *,
        interval: int | None,
        written: Callable[[Path], None],
    ) -> None:
        self._directory, self._parts = directory, parts
        self._interval, self._written = interval, written
        self._best: dict[str, Any] | None = None  # the best, if not yet written
        self._saved: tuple[int, int, int] | None = None  # the state in the latest file
        self._due = 0.0  # perf_counter() from which the next one may be written
        self._failed = False  # whether the last attempt did

    def at_the_beginning(self, state: TrainState) -> None:
        """Write the state before the first step, from which a run is begun again.

        Raises:
            CheckpointError: If that fails.
        """
        if (state.epoch, state.step) == (0, 0):
            self.at_the_end(state)

    def keep_best(self, state: TrainState) -> None:
        """Remember the present state of the run as the best one."""
        self._best = self._parts.tree(state)

    def after_epoch(self, state: TrainState) -> None:
        """Write a checkpoint if it is time."""
        if self._interval is None:
            if time.perf_counter() >= self._due:
                self._save(state)
        elif state.epoch % self._interval == 0:
            self._save(state)

    def at_the_end(self, state: TrainState) -> None:
        """Write what is not written yet.

        Raises:
            CheckpointError: If that fails, since there will be no later attempt.
        """
        error = self._save(state)
        if error is not None:
            raise CheckpointError(
                f"The last checkpoint could not be written to "
                f"`{self._directory.path}`: {error}. The trained parameters are in the "
                "model, and the history is in trainer.history."
            ) from error

    def _save(self, state: TrainState) -> OSError | None:
        """Write the best and then the latest checkpoint, which refers to the best.

        If that fails, for example because the disk is full, a warning is logged, and
        the next call tries again.

        Returns:
            The error, or None.
        """
        begin, failed = time.perf_counter(), None
        for write in (self._write_best, self._write_latest):
            try:
                write(state)
            except OSError as error:
                failed = error
        if failed is None:
            now = time.perf_counter()
            self._due = now + (now - begin) * (1.0 / SHARE - 1.0)
        elif not self._failed:
            _log.warning(
                "A checkpoint could not be written (%s). Training goes on, and it will "
                "be tried again; this is said once.",
                failed,
            )
        self._failed = failed is not None
        return failed

    def _write_best(self, state: TrainState) -> None:
        if self._best is not None:
            n_rows = self._best["run"]["epoch"]
            self._best["run"]["history"] = state.history.to_tree(n_rows)
            self._written(self._directory.save_best(self._best))
            self._best = None

    def _write_latest(self, state: TrainState) -> None:
        where = (state.epoch, state.step)
        now = (*where, state.circuits)  # those of a step that was undone count as well
        if self._saved != now:
            tree = self._parts.tree(state)
            tree["run"]["history"] = state.history.to_tree(len(state.history))
            self._written(self._directory.save(*where, tree))
            self._saved = now
