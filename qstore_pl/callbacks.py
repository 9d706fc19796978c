"""What is told how training goes, and files that are written as it does."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from qstore_pl.history import History, spelled


class Callback:
    """Does nothing; inherit and define what is wanted.

    A callback may look at everything and should change nothing. One that raises is
    logged once and training goes on, unless the configuration has strict_callbacks.

    Example:
        >>> class Printer(Callback):
        ...     def on_epoch_end(self, row):
        ...         print(f"{row['loss']:.2f}")
        >>> Printer().on_epoch_end({"epoch": 0, "loss": 0.5})
        0.50
    """

    def on_train_begin(self, model: Any, history: History) -> None:
        """Before the first step; a resumed run has a history."""

    def on_step_end(self, epoch: int, step: int, loss: float) -> None:
        """After a batch; both numbers count from 0."""

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """After an epoch and its validation; the row of the history."""

    def on_checkpoint(self, path: Path) -> None:
        """After a checkpoint was written."""

    def on_exception(self, error: BaseException) -> None:
        """Before an error leaves the trainer."""

    def on_train_end(self, history: History) -> None:
        """After the last step, also of a run that was stopped."""


@final
class JSONLLogger(Callback):
    """One strict JSON object a line for every epoch, appended; NaN is ``"nan"``.

    Args:
        path: The file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Append the row."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(spelled(row), allow_nan=False) + "\n")


@final
class CSVLogger(Callback):
    """One line for every epoch; the names of the columns are the first line.

    Args:
        path: The file; a resumed run appends to it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Append the row."""
        new = not self._path.exists()
        with self._path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(dict(row))


@final
class TensorBoardLogger(Callback):
    """Every number of every epoch as a scalar of TensorBoard.

    Args:
        directory: Where TensorBoard looks.

    Raises:
        ModuleNotFoundError: If tensorboard is missing.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "TensorBoardLogger needs tensorboard: pip install "
                '"qstore-pl[tensorboard]".'
            ) from error
        self._writer = SummaryWriter(os.fspath(directory))

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Write the row."""
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self._writer.add_scalar(name, value, row["epoch"])

    def on_train_end(self, history: History) -> None:
        """Write what is left."""
        del history
        self._writer.flush()


@final
class MLflowLogger(Callback):
    """Every number of every epoch as a metric of the active MLflow run.

    Raises:
        ModuleNotFoundError: If mlflow is missing.
    """

    def __init__(self) -> None:
        try:
            import mlflow
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'MLflowLogger needs mlflow: pip install "qstore-pl[mlflow]".'
            ) from error
        self._mlflow = mlflow

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Log the row."""
        metrics = {k: v for k, v in row.items() if k != "epoch" and v is not None}
        self._mlflow.log_metrics(metrics, step=row["epoch"])
