"""When a run is written to its directory, and what happens when that fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qstore_pl.errors import CheckpointError
from qstore_pl.trainer.resume import Parts
from qstore_pl.trainer.run_directory import RunDirectory
from qstore_pl.trainer.state import TrainState

SHARE = 0.05  # of the time of a run that checkpoints may take, without an interval

_log = logging.getLogger("qstore_pl.trainer")


class Saver:
    """Writes the best epoch and the latest one.

    Args:
        directory: Where to.
        parts: Of the run.
        interval: Epochs from one checkpoint to the next. None writes one after the
            first epoch, and then whenever the time that has passed is so long that the
            last one took at most ``SHARE`` of it.
        written: Told of every file.
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
        self._best: dict[str, Any] | None = None  # to be written
        self._saved: tuple[int, int] | None = None  # epoch and step of the latest
        self._due = 0.0  # by the clock
        self._failed = False

    def keep_best(self, state: TrainState) -> None:
        """Remember the run as it is now, as the best."""
        self._best = self._parts.tree(state)

    def after_epoch(self, state: TrainState) -> None:
        """Write if it is time."""
        if self._interval is None:
            if time.perf_counter() >= self._due:
                self._save(state)
        elif state.epoch % self._interval == 0:
            self._save(state)

    def at_the_end(self, state: TrainState) -> None:
        """Write what is not written yet.

        Raises:
            CheckpointError: If that fails, for it is the last chance.
        """
        error = self._save(state)
        if error is not None:
            raise CheckpointError(
                f"The last checkpoint could not be written to "
                f"`{self._directory.path}`: {error}. The model has its parameters, "
                "and trainer.history the history."
            ) from error

    def _save(self, state: TrainState) -> OSError | None:
        """Write the best, and then the latest, which knows of that best.

        A full disk, say, costs a warning, and the next time is another try.
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
                "A checkpoint could not be written (%s). Training goes on, and the "
                "next time is another try; this is said once.",
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
        if self._saved != where:
            tree = self._parts.tree(state)
            tree["run"]["history"] = state.history.to_tree(len(state.history))
            self._written(self._directory.save(*where, tree))
            self._saved = where
