"""Callbacks: functions that a training run calls, and loggers that write files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from qstore_pl.history import History, spelled


class Callback:
    """Methods that a training run calls; a subclass overrides those it needs.

    A callback may look at everything and should change nothing. If it raises an error,
    the error is logged once and training goes on, unless the configuration sets
    ``strict_callbacks``.

    Example:
        >>> class Printer(Callback):
        ...     def on_epoch_end(self, row):
        ...         print(f"{row['loss']:.2f}")
        >>> Printer().on_epoch_end({"epoch": 0, "loss": 0.5})
        0.50
    """

    def on_train_begin(self, model: Any, history: History) -> None:
        """Called before the first step; a resumed run's history has rows already."""

    def on_step_end(self, epoch: int, step: int, loss: float) -> None:
        """Called after each batch; epoch and step count from 0."""

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Called after each epoch and its validation, with the row of the history."""

    def on_checkpoint(self, path: Path) -> None:
        """Called after a checkpoint was written."""

    def on_exception(self, error: BaseException) -> None:
        """Called before the trainer raises an error."""

    def on_train_end(self, history: History) -> None:
        """Called after the last step, also if the run was stopped early."""


@final
class JSONLLogger(Callback):
    """Appends one line for each epoch, a strict JSON object; NaN is ``"nan"``.

    Args:
        path: The file to append to.

    Example:
        >>> JSONLLogger("epochs.jsonl").on_epoch_end({"epoch": 0, "loss": 0.5})
        >>> print(Path("epochs.jsonl").read_text(), end="")
        {"epoch": 0, "loss": 0.5}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def on_epoch_end(self, row: Mapping[str, Any]) -> None:
        """Append the row."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(spelled(row), allow_nan=False) + "\n")


@final
class CSVLogger(Callback):
    """Appends one line of CSV for each epoch; the first line names the columns.

    Args:
        path: The file to append to; it is made if it does not exist.

    Example:
        >>> CSVLogger("epochs.csv").on_epoch_end({"epoch": 0, "loss": 0.5})
        >>> Path("epochs.csv").read_text().split()
        ['epoch,loss', '0,0.5']
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
    """Writes all numbers of each epoch as scalars for TensorBoard.

    Args:
        directory: The directory that TensorBoard reads.

    Raises:
        ModuleNotFoundError: If tensorboardX is not installed.

    Example:
        After a training run ``tensorboard --logdir runs`` shows it::

            callbacks = [TensorBoardLogger("runs")]
            QuantumTrainer(config).train(model, data, callbacks=callbacks)
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
        """Write what is still buffered."""
        del history
        self._writer.flush()


@final
class MLflowLogger(Callback):
    """Logs all numbers of each epoch as metrics of the active MLflow run.

    Raises:
        ModuleNotFoundError: If mlflow is not installed.

    Example:
        Metrics belong to the run that is active while the model is trained::

            with mlflow.start_run():
                QuantumTrainer(config).train(model, data, callbacks=[MLflowLogger()])
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
