"""``qstore train``: train as a TOML file says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qstore_pl.commands.printing import add_command, show

INTERRUPTED = 130  # as in shells, 128 + number of the signal
SHOWN = ("loss", "accuracy", "val_loss", "val_accuracy")


def add(commands: Any) -> None:
    """Add the command to the command line."""
    parser = add_command(
        commands,
        "train",
        "train as a TOML file says",
        description="Prints one line for each epoch. The file has three tables. [data] "
        "has the path of an npz archive with the arrays X and y, and optionally X_val "
        "and y_val. [model] has the arguments of QuantumModel except input_dim, the "
        "number of columns of X. [training] has the fields of TrainingConfig; its seed "
        "is also that of the model, unless [model] has one. Paths are relative to the "
        "file.",
    )
    parser.add_argument("config", type=Path, help="the TOML file")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the latest checkpoint in its checkpoint_directory",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the checkpoints of another run in its checkpoint_directory",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="whether a progress bar with the time left is drawn on stderr; without "
        "either, as the file says, else where stderr is a terminal",
    )
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    """Train, and return 0, or 130 if a signal stopped the run.

    Raises:
        ValueError: If the file or its data are not of the right form.
        OSError: If a line cannot be printed; the run has then stopped after writing a
            checkpoint.
    """
    from qstore_pl.callbacks import Callback
    from qstore_pl.run_file import run_of
    from qstore_pl.trainer import QuantumTrainer

    run = run_of(options.config)
    if options.progress is not None:
        run.config.progress = options.progress
    unseen: list[OSError] = []

    class Printer(Callback):
        """Prints one line for each epoch; stops the run if that fails."""

        def on_epoch_end(self, row: Mapping[str, Any]) -> None:
            parts = [f"{k} {row[k]:.4f}" for k in SHOWN if row.get(k) is not None]
            try:
                _say(f"epoch {row['epoch'] + 1}  {'  '.join(parts)}")
            except OSError as error:
                unseen.append(error)
                trainer.stop()

    trainer = QuantumTrainer(run.config)
    history = trainer.train(
        run.model,
        run.data,
        run.val_data,
        resume="latest" if options.resume else None,
        overwrite=options.overwrite,
        callbacks=[] if options.json else [Printer()],
    )
    if unseen:
        raise unseen[0]
    directory = run.config.checkpoint_directory
    document = {
        "epochs": len(history),
        "stopped": trainer.stopped or None,
        "parameters": run.model.count_parameters(include_readout=True),
        "checkpoint_directory": None if directory is None else str(directory),
        "history": list(history),
    }
    lines = [f"stopped: {trainer.stopped}"] if trainer.stopped else []
    show(options, document, lines)
    return INTERRUPTED if trainer.stopped.startswith("SIG") else 0


def _say(line: str) -> None:
    """Print a line above the progress bar, if there is one."""
    from tqdm import tqdm

    if sys.stdout is not None:  # it is None where a process has no output
        tqdm.write(line)
        sys.stdout.flush()
