"""The console command. It prints; everything else in the package returns."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

CHECKPOINT, PLOT = "quickstart.npz", "quickstart.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Words after the command; None takes the process's.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(prog="qstore", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    quick = commands.add_parser(
        "quickstart",
        help="train a quantum classifier on Iris and draw its curves",
        description="Train on scikit-learn's Iris: 4 qubits, 3 classes. Writes "
        f"{CHECKPOINT} and {PLOT} into the current directory.",
    )
    quick.add_argument(
        "--seed-run",
        action="store_true",
        help="instead: 50 samples, 4 qubits, batches of 10, 5 epochs",
    )
    quick.add_argument("--seed", type=int, default=0, help="seed of every random draw")
    _add_train(commands)
    _add_checkpoints(commands)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if options.command != "quickstart":
        return _run(options)
    if options.seed < 0:
        parser.error(f"--seed must be >= 0, but is {options.seed}")
    try:
        if options.seed_run:
            seed_run(seed=options.seed)
        else:
            quickstart(seed=options.seed)
    except ModuleNotFoundError as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train as a TOML file says",
        description="The file has three tables: [data] with the path of an npz archive "
        "of arrays X and y, and X_val and y_val if there are; [model] with the "
        "arguments of QuantumModel (input_dim is that of X); [training] with the "
        "fields of TrainingConfig. The seed of [training] is that of the model too, "
        "unless [model] has one. Paths are relative to the file.",
    )
    train.add_argument("config", type=Path, help="the TOML file")
    train.add_argument(
        "--resume",
        action="store_true",
        help="go on from the latest checkpoint of its checkpoint_directory",
    )


def _add_checkpoints(commands: Any) -> None:
    checkpoints = commands.add_parser("checkpoints", help="look at checkpoints")
    what = checkpoints.add_subparsers(dest="what", required=True)
    for name, description in (
        ("ls", "one line for each checkpoint of a directory"),
        ("show", "what a checkpoint holds"),
        ("verify", "read a checkpoint, or all of a directory; 1 if one is damaged"),
    ):
        one = what.add_parser(name, help=description, description=description)
        one.add_argument("path", type=Path)


def _run(options: argparse.Namespace) -> int:
    """A command whose errors are those of the user's files."""
    from pennylane.exceptions import DeviceError

    from qstore_pl.errors import QStoreError

    try:
        if options.command == "train":
            return train(options.config, resume=options.resume)
        return {"ls": list_checkpoints, "show": show, "verify": verify}[options.what](
            options.path
        )
    except (DeviceError, OSError, QStoreError, TypeError, ValueError) as error:
        print(f"qstore: {error}", file=sys.stderr)
        return 1


def train(path: Path, *, resume: bool) -> int:
    """Train as a TOML file says, and print an epoch a line.

    Args:
        path: The file.
        resume: Whether to go on from the latest checkpoint.

    Returns:
        The exit status: 0, or 130 if a signal stopped it.

    Raises:
        ValueError: If the file or its data are not as they must be.
    """
    from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
    from qstore_pl.callbacks import Callback

    content = tomllib.loads(path.read_text(encoding="utf-8"))
    if set(content) != {"data", "model", "training"}:
        raise ValueError(
            f"`{path}` must have the tables data, model and training, but has "
            f"{', '.join(content) or 'none'}."
        )
    for name, table in content.items():
        if not isinstance(table, dict):
            raise TypeError(f"[{name}] of `{path}` must be a table, but is {table!r}.")
    source = content["data"].get("path")
    if list(content["data"]) != ["path"] or not isinstance(source, str):
        raise ValueError(
            f"Table [data] of `{path}` must have a path, a string, and only that."
        )
    arrays = _arrays(path.parent / source)
    X = arrays["X"]
    config = TrainingConfig(**content["training"])
    if config.checkpoint_directory is not None:
        config.checkpoint_directory = path.parent / config.checkpoint_directory
    # One seed is that of the whole run: of the first weights too, unless they have one.
    model = QuantumModel(X.shape[1], **{"seed": config.seed} | content["model"])

    class Printer(Callback):
        """A line for each epoch."""

        def on_epoch_end(self, row: Mapping[str, Any]) -> None:
            shown = ("loss", "accuracy", "val_loss", "val_accuracy")
            parts = [f"{k} {row[k]:.4f}" for k in shown if row.get(k) is not None]
            print(f"epoch {row['epoch'] + 1}  {'  '.join(parts)}", flush=True)

    trainer = QuantumTrainer(config)
    held_out = (arrays["X_val"], arrays["y_val"]) if "X_val" in arrays else None
    trainer.train(
        model,
        (X, arrays["y"]),
        held_out,
        resume="latest" if resume else None,
        callbacks=[Printer()],
    )
    if trainer.stopped:
        print(f"stopped: {trainer.stopped}")
    return 130 if trainer.stopped.startswith("SIG") else 0


def _arrays(path: Path) -> dict[str, Any]:
    """The arrays X and y of an npz archive, and X_val and y_val if they are there.

    Raises:
        ValueError: If it is none, or has others.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (AttributeError, EOFError, TypeError, ValueError, BadZipFile) as error:
        raise ValueError(
            f"`{path}` must be an npz archive of arrays, but cannot be read: {error}"
        ) from error
    found = set(arrays)
    if found not in ({"X", "y"}, {"X", "y", "X_val", "y_val"}):
        raise ValueError(
            f"`{path}` must have arrays X and y, and X_val and y_val or none of them, "
            f"but has {', '.join(sorted(found)) or 'none'}."
        )
    if arrays["X"].ndim != 2:
        raise ValueError(
            f"Array X of `{path}` must have shape (n_samples, n_features), but has "
            f"shape {arrays['X'].shape}."
        )
    return arrays


def list_checkpoints(directory: Path) -> int:
    """Print a line for each checkpoint of a directory, oldest first."""
    from qstore_pl.trainer.run_directory import BEST, checkpoints_in

    best = directory / BEST
    for path in [*checkpoints_in(directory), *([best] if best.exists() else [])]:
        print(f"{path.name}  {path.stat().st_size:>10,} bytes  {_summary(path)}")
    return 0


def show(path: Path) -> int:
    """Print what a checkpoint holds."""
    from qstore_pl import checkpoint

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
    """Read a checkpoint, or all of a directory, and say which are damaged."""
    from qstore_pl import checkpoint
    from qstore_pl.errors import CheckpointError
    from qstore_pl.trainer.run_directory import BEST, checkpoints_in

    paths = [path]
    if path.is_dir():
        paths = [*checkpoints_in(path), *path.glob(BEST)]
    damaged = 0
    for one in paths:
        try:
            checkpoint.load(one)
        except CheckpointError as error:
            damaged += 1
            print(f"damaged  {one.name}: {error}")
        else:
            print(f"ok       {one.name}")
    return int(damaged > 0)


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


def quickstart(*, seed: int) -> float:
    """Train on Iris, print an epoch a line, write a checkpoint and a plot.

    Args:
        seed: Of the split, the weights and the batches.

    Returns:
        Accuracy on the held-out fifth of the data.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; nothing is trained then.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'The plot needs matplotlib: pip install "qstore-pl[viz]".'
        ) from error
    from sklearn.datasets import load_iris
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig

    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=seed
    )
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

    print("Iris: 120 flowers to train on, 30 to test; 4 qubits, 3 layers, 3 classes")
    model = QuantumModel(4, 3, n_layers=3, readout="affine", seed=seed)
    config = TrainingConfig(
        learning_rate=0.05, epochs=60, batch_size=32, loss="cross_entropy", seed=seed
    )
    trainer = QuantumTrainer(config)
    start = time.perf_counter()
    history = trainer.train(model, (X_train, y_train), val_data=(X_test, y_test))
    seconds = time.perf_counter() - start
    for row in history:
        print(
            f"epoch {_count(row['epoch'], len(history))}  loss {row['loss']:.4f}  "
            f"accuracy {row['accuracy']:.2f}"
        )
    accuracy = float(np.mean(model.forward(X_test).argmax(axis=1) == y_test))
    print(
        f"trained {model.count_parameters(include_readout=True)} parameters in "
        f"{seconds:.2f} s"
    )
    print(f"test accuracy: {accuracy:.2f}")

    path = Path(CHECKPOINT).resolve()
    assert trainer.optimizer is not None
    trainer.save_checkpoint(
        {
            "epoch": len(history),
            "model_state": model.get_state(),
            "optimizer_state": trainer.optimizer.state,
            "loss": history["losses"][-1],
        },
        path,
    )
    print(f"checkpoint: {path}")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    _draw(figure, history)
    plot = Path(PLOT).resolve()
    figure.savefig(plot, dpi=150)
    print(f"plot: {plot}")
    return accuracy


def seed_run(*, seed: int) -> float:
    """The run of the page this project comes from, on labels that can be learnt.

    Args:
        seed: Of the data, the weights and the batches.

    Returns:
        Accuracy on the 50 samples.
    """
    from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig

    print("Training quantum model (5 epochs, 50 samples, 4 qubits)")
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.5, 1.5, (50, 4))
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    model = QuantumModel(4, 2, n_layers=2, readout="affine", seed=seed)
    config = TrainingConfig(
        learning_rate=0.2, epochs=5, batch_size=10, loss="cross_entropy", seed=seed
    )
    start = time.perf_counter()
    history = QuantumTrainer(config).train(model, (X, y))
    seconds = time.perf_counter() - start
    for row in history:
        print(f"Epoch {_count(row['epoch'], 5)}/5: Loss = {row['loss']:.4f}")
    accuracy = float(np.mean(model.forward(X).argmax(axis=1) == y))
    print(f"\nFinal loss: {history['losses'][-1]:.4f}")
    print(f"Accuracy: {accuracy:.2f}")
    print(f"Gradient norm: {history['gradient_norms'][-1]:.4f}")
    print(f"Training time: {seconds:.3f} s, compiling included if this was the first")
    return accuracy


def _count(epoch: Any, total: int) -> str:
    return f"{epoch + 1:>{len(str(total))}}"


def _draw(figure: Any, history: Any) -> None:
    """Loss and accuracy by epoch, side by side."""
    epochs = np.array(history["epochs"]) + 1
    for axes, name, label in zip(
        figure.subplots(1, 2),
        ("losses", "accuracies"),
        ("loss", "accuracy"),
        strict=True,
    ):
        axes.plot(epochs, history[name], label="training")
        axes.plot(epochs, history[f"val_{name}"], label="test")
        axes.set(xlabel="epoch", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle("Iris on 4 qubits")
