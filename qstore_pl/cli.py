"""Train quantum models in PennyLane, and look at what a run has kept."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qstore_pl import __version__
from qstore_pl.quickstart import CHECKPOINT, PLOT, STORE, quickstart, seed_run
from qstore_pl.run_file import run_of
from qstore_pl.store_commands import add_store, run_store

INTERRUPTED, BROKEN_PIPE = 130, 141  # as in shells, 128 + number of the signal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words of the command line after ``qstore``; None takes them from
            ``sys.argv``.

    Returns:
        The exit status: 0, or 1 for an error, whose message goes to stderr; 130 after
        Ctrl-C, and 141 if the reader of a pipe has gone.
    """
    try:
        try:
            return _run(_parsed(arguments))
        finally:
            _flush()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = BROKEN_PIPE
    except OSError as error:
        print(f"qstore: {error}", file=sys.stderr)
        status = 1
    try:
        _flush()
    except OSError:  # at exit Python would try again, and print a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _flush() -> None:
    if sys.stdout is not None:  # it is None where a process has no output
        sys.stdout.flush()


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qstore", description=__doc__)
    version = f"%(prog)s {__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)
    quick = commands.add_parser(
        "quickstart",
        help="train a quantum classifier on Iris, and search its states",
        description="Train on scikit-learn's Iris: 4 qubits, 3 classes. Writes "
        f"{CHECKPOINT}, {PLOT}, and a vector store with the states of the flowers, "
        f"{STORE}, into the current directory.",
    )
    quick.add_argument(
        "--seed-run",
        action="store_true",
        help="train on 50 made-up samples instead: 4 qubits, batches of 10, 5 epochs",
    )
    quick.add_argument("--seed", type=int, default=0, help="seed of all random draws")
    _add_train(commands)
    _add_cost(commands)
    _add_checkpoints(commands)
    _add_jobs(commands)
    add_store(commands)
    options = parser.parse_args(arguments)
    if options.command == "quickstart" and options.seed < 0:
        parser.error(f"--seed must be >= 0, but is {options.seed}")
    return options


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train as a TOML file says",
        description="The file has three tables. [data] has the path of an npz archive "
        "with the arrays X and y, and optionally X_val and y_val. [model] has the "
        "arguments of QuantumModel except input_dim, the number of columns of X. "
        "[training] has the fields of TrainingConfig; its seed is also that of the "
        "model, unless [model] has one. Paths are relative to the file.",
    )
    train.add_argument("config", type=Path, help="the TOML file")
    train.add_argument(
        "--resume",
        action="store_true",
        help="continue from the latest checkpoint in its checkpoint_directory",
    )
    train.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the checkpoints of another run in its checkpoint_directory",
    )


def _add_cost(commands: Any) -> None:
    cost = commands.add_parser(
        "cost",
        help="print what `qstore train` would run and cost",
        description="Reads the same file as `qstore train`, and prints how many "
        "circuits, shots, gates and jobs the run would take, and their price. Nothing "
        "is run but our own simulators, and nothing is written.",
    )
    cost.add_argument("config", type=Path, help="the TOML file")
    cost.add_argument("--prices", type=Path, help="a TOML file with prices of your own")


def _add_checkpoints(commands: Any) -> None:
    checkpoints = commands.add_parser("checkpoints", help="look at checkpoints")
    what = checkpoints.add_subparsers(dest="what", required=True)
    for name, description in (
        ("ls", "print one line for each checkpoint in a directory"),
        ("show", "print what a checkpoint, or the latest in a directory, holds"),
        ("verify", "read a checkpoint, or all in a directory; fail if one is damaged"),
    ):
        one = what.add_parser(name, help=description, description=description)
        one.add_argument("path", type=Path)


def _add_jobs(commands: Any) -> None:
    jobs = commands.add_parser(
        "jobs", help="look at jobs that were sent to quantum computers and simulators"
    )
    what = jobs.add_subparsers(dest="what", required=True)
    for name, description in (
        ("ls", "print one line for each job, oldest first"),
        ("show", "print what the ledger has of a job"),
        ("fetch", "ask the service for the result of a job, and record it"),
        ("resolve", "say what became of a job to whose sending no reply came"),
    ):
        one = what.add_parser(name, help=description, description=description)
        one.add_argument("--ledger", type=Path, help="the file; else QSTORE_JOBS")
        if name != "ls":
            one.add_argument("key", help="the first characters of its key")
        if name == "resolve":
            how = one.add_mutually_exclusive_group(required=True)
            how.add_argument("--id", help="its identifier at the service")
            how.add_argument(
                "--resend",
                action="store_true",
                help="it is not there: the next run of the program sends it again",
            )


def _run(options: argparse.Namespace) -> int:
    """Run a command, and print the errors that a user's files can cause."""
    from pennylane.exceptions import DeviceError

    from qstore_pl.errors import QStoreError

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _command(options)
    except (DeviceError, ImportError, QStoreError, TypeError, ValueError) as error:
        print(f"qstore: {error}", file=sys.stderr)
        return 1


def _command(options: argparse.Namespace) -> int:
    match options.command:
        case "quickstart":
            (seed_run if options.seed_run else quickstart)(seed=options.seed)
            return 0
        case "train":
            return train(
                options.config, resume=options.resume, overwrite=options.overwrite
            )
        case "cost":
            return cost(options.config, prices=options.prices)
        case "jobs":
            return _jobs(options)
        case "store":
            return run_store(options)
        case _:
            look = {"ls": list_checkpoints, "show": show, "verify": verify}
            return look[options.what](options.path)


def train(path: Path, *, resume: bool, overwrite: bool = False) -> int:
    """Train as a TOML file says, and print one line for each epoch.

    Args:
        path: The TOML file.
        resume: Whether to continue from the latest checkpoint.
        overwrite: Whether the checkpoints of another run may be replaced.

    Returns:
        The exit status: 0, or 130 if a signal stopped the run.

    Raises:
        ValueError: If the file or its data are not of the right form.
        OSError: If a line cannot be printed; the run has then stopped after writing a
            checkpoint.
    """
    from qstore_pl import QuantumTrainer
    from qstore_pl.callbacks import Callback

    run = run_of(path)
    unseen: list[OSError] = []

    class Printer(Callback):
        """Prints one line for each epoch; stops the run if that fails."""

        def on_epoch_end(self, row: Mapping[str, Any]) -> None:
            shown = ("loss", "accuracy", "val_loss", "val_accuracy")
            parts = [f"{k} {row[k]:.4f}" for k in shown if row.get(k) is not None]
            try:
                print(f"epoch {row['epoch'] + 1}  {'  '.join(parts)}", flush=True)
            except OSError as error:
                unseen.append(error)
                trainer.stop()

    trainer = QuantumTrainer(run.config)
    trainer.train(
        run.model,
        run.data,
        run.val_data,
        resume="latest" if resume else None,
        overwrite=overwrite,
        callbacks=[Printer()],
    )
    if unseen:
        raise unseen[0]
    if trainer.stopped:
        print(f"stopped: {trainer.stopped}")
    return INTERRUPTED if trainer.stopped.startswith("SIG") else 0


def cost(path: Path, *, prices: Path | None = None) -> int:
    """Print what training as a TOML file says would run and cost.

    Args:
        path: The TOML file.
        prices: A TOML file with prices; None takes those of this package.

    Raises:
        ValueError: If a file or the data are not of the right form.
    """
    from qstore_pl import QuantumTrainer

    run = run_of(path)
    trainer = QuantumTrainer(run.config)
    print(trainer.estimate_cost(run.model, run.data, run.val_data, prices=prices))
    return 0


def list_checkpoints(directory: Path) -> int:
    """Print one line for each checkpoint in a directory, oldest first."""
    from qstore_pl.trainer.run_directory import BEST, checkpoints_in

    best = directory / BEST
    for path in [*checkpoints_in(directory), *([best] if best.exists() else [])]:
        print(f"{path.name}  {path.stat().st_size:>10,} bytes  {_summary(path)}")
    return 0


def show(path: Path) -> int:
    """Print what a checkpoint, or the latest one in a directory, holds."""
    from qstore_pl import checkpoint
    from qstore_pl.trainer.run_directory import BEST

    found = _checkpoints(path)
    path = ([one for one in found if one.name != BEST] or found)[-1]
    tree = checkpoint.load(path)
    if not _is_run(tree):
        entries = ", ".join(tree) if isinstance(tree, dict) else type(tree).__name__
        print(f"{path}: not of a training run; {entries}")
        return 0
    print(f"{path}: {_summary(path)}")
    for title in ("config", "environment"):
        print(title)
        for name, value in tree[title].items():
            print(f"  {name} = {value}")
    print(f"model\n  {tree['model']['model']}")
    return 0


def verify(path: Path) -> int:
    """Read a checkpoint, or all in a directory, and print which are damaged."""
    from qstore_pl import checkpoint
    from qstore_pl.errors import CheckpointError

    damaged = 0
    for one in _checkpoints(path):
        try:
            checkpoint.load(one)
        except CheckpointError as error:
            damaged += 1
            print(f"damaged  {one.name}: {error}")
        else:
            print(f"ok       {one.name}")
    return int(damaged > 0)


def _jobs(options: argparse.Namespace) -> int:
    """Look at jobs, and print what was found."""
    from qstore_pl.backends import jobs
    from qstore_pl.backends.ledger import Ledger

    ledger = Ledger(options.ledger)
    match options.what:
        case "ls":
            lines = jobs.table(ledger)
        case "show":
            lines = jobs.described(ledger.find(options.key))
        case "fetch":
            lines = jobs.fetched(ledger, options.key)
        case _:
            lines = jobs.resolved(ledger, options.key, options.id)
    for line in lines:
        print(line)
    return 0


def _checkpoints(path: Path) -> list[Path]:
    """The file itself, or the checkpoints in a directory: by age, then the best one.

    Raises:
        CheckpointError: If the directory has no checkpoints.
    """
    from qstore_pl.errors import CheckpointError
    from qstore_pl.trainer.run_directory import BEST, checkpoints_in

    if not path.is_dir():
        return [path]
    found = [*checkpoints_in(path), *path.glob(BEST)]
    if not found:
        raise CheckpointError(
            f"There are no checkpoints in `{path}`. Give the checkpoint_directory of a "
            "training run, or a file."
        )
    return found


def _is_run(tree: Any) -> bool:
    from qstore_pl.trainer.resume import RUN_KEYS

    return isinstance(tree, dict) and tree.keys() >= RUN_KEYS


def _summary(path: Path) -> str:
    from qstore_pl import checkpoint
    from qstore_pl.errors import CheckpointError
    from qstore_pl.trainer.state import history_of

    try:
        tree = checkpoint.load(path)
    except CheckpointError as error:
        return f"damaged: {error}"
    if not _is_run(tree):
        return "not of a training run"
    run = tree["run"]
    losses = history_of(run["history"])["losses"]
    loss = f"last loss {losses[-1]:.6g}" if losses else "no epoch finished"
    return f"epoch {run['epoch']}, batch {run['step']}, {loss}"
