"""The runs of ``qstore quickstart``: Iris, trained and searched, or made-up data."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qstore_pl.history import History
    from qstore_pl.index import EmbeddingIndex

Tell = Callable[[str], None]

CHECKPOINT, PLOT, STORE = "quickstart.npz", "quickstart.png", "quickstart.lance"
NAME = "iris"  # of the records in the store


@final
@dataclass(frozen=True)
class Result:
    """What a run has found.

    Args:
        history: The record of the training.
        accuracy: Share of samples whose class is right: of the test flowers, or of the
            50 made-up samples.
        seconds: How long the training took.
        n_parameters: Trained parameters, with those of the readout.
        by_states: Accuracy by the 5 nearest states; None if there was no search.
        files: What was written, by what it is.
    """

    history: History
    accuracy: float
    seconds: float
    n_parameters: int
    by_states: float | None = None
    files: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The numbers and words, in dicts and lists."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return values | {"history": list(self.history)}


def quickstart(*, seed: int, tell: Tell = print) -> Result:
    """Train on Iris, print one line per epoch, and search the states of the flowers.

    A checkpoint, a plot, and a vector store with the states of the training flowers are
    written into the current directory. They replace those of an earlier quickstart.

    Args:
        seed: Seed of the split of the data, the first weights and the batches, >= 0.
        tell: What is done with each line of text.

    Returns:
        What was found; its accuracy is that on the held-out fifth of the data.

    Raises:
        ModuleNotFoundError: If matplotlib or lancedb is missing; nothing is trained
            then.
        OSError: If a file cannot be written. Where possible this is found out before
            training.
        StoreError: If the store cannot be opened, which is found out before training,
            or cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'The plot needs matplotlib: pip install "qstore-pl[viz]".'
        ) from error
    _check_writable(Path.cwd())
    import numpy as np
    from sklearn.datasets import load_iris
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
    from qstore_pl.index import EmbeddingIndex

    iris = load_iris()
    X, y, rows = iris.data, iris.target, np.arange(len(iris.target))
    X_train, X_test, y_train, y_test, rows_train, rows_test = train_test_split(
        X, y, rows, test_size=0.2, stratify=y, random_state=seed
    )
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

    model = QuantumModel(4, 3, n_layers=3, readout="affine", seed=seed)
    index = EmbeddingIndex.open(model, STORE, name=NAME)
    tell("Iris: 120 flowers to train on, 30 to test; 4 qubits, 3 layers, 3 classes")
    config = TrainingConfig(
        learning_rate=0.05, epochs=60, batch_size=32, loss="cross_entropy", seed=seed
    )
    trainer = QuantumTrainer(config)
    start = time.perf_counter()
    history = trainer.train(model, (X_train, y_train), val_data=(X_test, y_test))
    seconds = time.perf_counter() - start
    for row in history:
        tell(
            f"epoch {_count(row['epoch'], len(history))}  loss {row['loss']:.4f}  "
            f"accuracy {row['accuracy']:.2f}"
        )
    accuracy = float(np.mean(model.forward(X_test).argmax(axis=1) == y_test))
    n_parameters = model.count_parameters(include_readout=True)
    tell(f"trained {n_parameters} parameters in {seconds:.2f} s")
    tell(f"test accuracy: {accuracy:.2f}")

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
    species = np.array(iris.target_names)
    _index(index, X_train, species[y_train], rows_train)
    by_states = _search(index, X_test, species[y_test], rows_test, tell)

    tell(f"checkpoint: {path}")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    _draw(figure, history)
    plot = Path(PLOT).resolve()
    figure.savefig(plot, dpi=150)
    tell(f"plot: {plot}")
    store = Path(STORE).resolve()
    tell(f"store: {store}")
    files = {"checkpoint": str(path), "plot": str(plot), "store": str(store)}
    return Result(history, accuracy, seconds, n_parameters, by_states, files)


def _index(
    index: EmbeddingIndex, X: Any, species: NDArray[np.str_], rows: NDArray[np.int_]
) -> None:
    """Write the states of flowers, in the place of those of an earlier quickstart."""
    for namespace in index.store.stats().namespaces:
        if namespace.startswith(f"{NAME}."):
            index.store.delete(delete_all=True, namespace=namespace)
    metadata = [
        {"species": str(name), "row": int(row)}
        for name, row in zip(species, rows, strict=True)
    ]
    index.add([f"flower-{row:03d}" for row in rows], X, metadata)


def _search(
    index: EmbeddingIndex,
    X: Any,
    species: NDArray[np.str_],
    rows: NDArray[np.int_],
    tell: Tell,
) -> float:
    """Print the states nearest to that of the first flower, and classify them all.

    Returns:
        Accuracy of the classes of the nearest states.
    """
    tell(f"states nearest to that of test flower {rows[0]}, {species[0]}:")
    for neighbour in index.search(X[0], top_k=5):
        name, row = neighbour.metadata["species"], neighbour.metadata["row"]
        tell(f"  fidelity {neighbour.fidelity:.3f}  {name:<10}  row {row:3.0f}")
    found = index.classify(X, k=5, label="species", min_agreement=0.0)
    accuracy = float((found.labels == species).mean())
    tell(f"accuracy by the 5 nearest states: {accuracy:.2f}")
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
        for place in (directory, directory / STORE):
            if place.is_dir():
                tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise OSError(
            f"The quickstart cannot write {CHECKPOINT}, {PLOT} and {STORE} into the "
            f"current directory: {error}. Go to another directory first."
        ) from error


def seed_run(*, seed: int, tell: Tell = print) -> Result:
    """Train for 5 epochs on 50 made-up samples of two classes, and print the losses.

    Args:
        seed: Seed of the samples, the first weights and the batches, >= 0.
        tell: What is done with each line of text.

    Returns:
        What was found; its accuracy is that on the 50 samples.
    """
    import numpy as np

    from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig

    tell("Training quantum model (5 epochs, 50 samples, 4 qubits)")
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
        tell(f"Epoch {_count(row['epoch'], 5)}/5: Loss = {row['loss']:.4f}")
    accuracy = float(np.mean(model.forward(X).argmax(axis=1) == y))
    tell(f"\nFinal loss: {history['losses'][-1]:.4f}")
    tell(f"Accuracy: {accuracy:.2f}")
    tell(f"Gradient norm: {history['gradient_norms'][-1]:.4f}")
    tell(f"Training time: {seconds:.3f} s, compiling included if this was the first")
    n_parameters = model.count_parameters(include_readout=True)
    return Result(history, accuracy, seconds, n_parameters)


def _count(epoch: Any, total: int) -> str:
    return f"{epoch + 1:>{len(str(total))}}"


def _draw(figure: Any, history: Any) -> None:
    """Draw loss and accuracy against the epoch, side by side."""
    epochs = [epoch + 1 for epoch in history["epochs"]]
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
