"""The runs of ``qstore quickstart``: a first training on Iris or on made-up data."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CHECKPOINT, PLOT = "quickstart.npz", "quickstart.png"


def quickstart(*, seed: int) -> float:
    """Train on Iris, print one line per epoch, and write a checkpoint and a plot.

    Args:
        seed: Seed of the split of the data, the first weights and the batches, >= 0.

    Returns:
        Accuracy on the held-out fifth of the data.

    Raises:
        ModuleNotFoundError: If matplotlib is missing; nothing is trained then.
        OSError: If a file cannot be written. Where possible this is found out before
            training.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'The plot needs matplotlib: pip install "qstore-pl[viz]".'
        ) from error
    _check_writable(Path.cwd())
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


def _check_writable(directory: Path) -> None:
    """Find out before training whether its results can be saved.

    Raises:
        OSError: If they cannot.
    """
    try:
        for path in (directory / CHECKPOINT, directory / PLOT):
            if path.exists():
                path.open("ab").close()
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise OSError(
            f"The quickstart cannot write {CHECKPOINT} and {PLOT} into the current "
            f"directory: {error}. Go to another directory first."
        ) from error


def seed_run(*, seed: int) -> float:
    """Train for 5 epochs on 50 made-up samples of two classes, and print the losses.

    Args:
        seed: Seed of the samples, the first weights and the batches, >= 0.

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
        learning_rate=0.25, epochs=5, batch_size=10, loss="cross_entropy", seed=seed
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
    """Draw loss and accuracy against the epoch, side by side."""
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
