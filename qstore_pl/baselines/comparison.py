"""Trains a model and its baselines on the same parts of the same data."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from qstore_pl._checks import choice, finite, integer, real
from qstore_pl.baselines.classical import CLASSICAL, fitted, n_parameters, untrained
from qstore_pl.baselines.results import Report, row_of
from qstore_pl.baselines.unentangled import without_entanglement
from qstore_pl.config import TrainingConfig
from qstore_pl.losses import Loss, get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.trainer import QuantumTrainer

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

NO_ENTANGLEMENT = "no_entanglement"
BASELINES = (NO_ENTANGLEMENT, *CLASSICAL)
"""Words of all baselines."""

_DEFAULT = ("linear", "mlp", "svm")


class _Split(NamedTuple):
    """One split of the data: scaled samples, targets as given, and plain ones.

    Plain targets are what classical models take: classes, or numbers.
    """

    seed: int
    train: tuple[Float2D, NDArray[Any], NDArray[Any]]
    test: tuple[Float2D, NDArray[Any], NDArray[Any]]


class _Scored(NamedTuple):
    """The score of one model on one split."""

    score: float
    seconds: float
    n_parameters: int
    converged: bool = True


def report(
    model: QuantumModel,
    data: tuple[Any, Any],
    *,
    config: TrainingConfig | None = None,
    seeds: int | Sequence[int] = 5,
    test_size: float = 0.25,
    baselines: Iterable[str] | None = None,
    scaler: Any = "standard",
) -> Report:
    """Compare a model with simpler ones, on the same splits of the data.

    For each seed the data are split, with the same share of each class in both parts,
    and each model is trained on one part from fresh first weights, and scored on the
    other: by its accuracy if the loss is one of classes, else by R2. The differences
    from the model are taken split by split, and their intervals take into account that
    the splits share samples.

    The baselines have the default settings of scikit-learn, unless said otherwise:

    - ``"no_entanglement"``: the model :func:`without_entanglement`, trained alike. Its
      outputs see fewer features if they measure some of the qubits only, which a note
      says.
    - ``"linear"``: logistic regression, or ridge regression for numbers.
    - ``"mlp"``: a network with one hidden layer and about as many parameters as the
      model, trained by L-BFGS.
    - ``"svm"``: a support vector machine with a Gaussian kernel.
    - ``"cnn"``: two convolutions along the features and a linear layer, with about as
      many parameters as the model, in PyTorch. It is meant for models with
      convolutional layers, and left out unless named.

    Args:
        model: The model. It stays as it is: copies of it are trained, whose trained
            parameters begin anew and whose frozen ones are kept.
        data: A tuple ``(X, y)`` of samples, shape ``(n_samples, input_dim)``, and
            targets as the loss takes them.
        config: Settings of the training; None leaves all of them unset. Its ``seed``
            and ``checkpoint_directory`` must be unset, since there are many runs.
        seeds: Number of splits, >= 2, or a sequence of different seeds. A seed decides
            the split, the first weights and the order of the samples.
        test_size: Share of the samples, in (0, 1), that each split holds out.
        baselines: Words of the baselines. None takes all but ``"cnn"``, and leaves out
            ``"no_entanglement"`` where the model cannot be had without, which a note
            says.
        scaler: ``"standard"``, which subtracts the mean of each feature and divides by
            its standard deviation; another transformer of scikit-learn; or None. It is
            fitted on the training part of each split.

    Raises:
        ValueError: If a word is unknown, a setting would be ignored, the data do not
            fit, or the model cannot be had without entanglement and that was asked for.
        TypeError: If ``model`` is no QuantumModel.
        ModuleNotFoundError: If ``"cnn"`` is asked for without PyTorch.

    Example:
        >>> from qstore_pl import QuantumModel, TrainingConfig
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, (60, 2))
        >>> y = (X[:, 0] * X[:, 1] > 0).astype(int)
        >>> config = TrainingConfig(epochs=20, learning_rate=0.1, loss="binary")
        >>> model = QuantumModel(2, 1, n_layers=3, readout="affine")
        >>> found = report(model, (X, y), config=config, seeds=3, baselines=["linear"])
        >>> [row.name for row in found.rows]
        ['model', 'linear']
        >>> found.rows[1].is_beaten
        True

    References:
        Bowles, Ahmed and Schuld, Better than classical? The subtle art of benchmarking
        quantum machine learning models (2024), arXiv:2403.07059.
    """
    if not isinstance(model, QuantumModel):
        raise TypeError(
            f"Argument `model` must be a QuantumModel, but is of type "
            f"{type(model).__name__}."
        )
    config = _checked(TrainingConfig() if config is None else config)
    if config.progress is None:  # many short runs
        config = dataclasses.replace(config, progress=False)
    loss = get_loss(config.resolve("loss"))
    numbers = _seeds(seeds)
    real("test_size", test_size, above=0.0, below=1.0)
    notes: list[str] = []
    words = _words(model, baselines, notes)
    splits = list(_splits(model, data, loss, numbers, test_size, scaler))
    wanted = _n_seen(model)
    contenders: dict[str, Callable[[_Split], _Scored]] = {
        "model": lambda split: _quantum(model, config, loss, split, wanted)
    }
    for word in words:
        contenders[word] = _contender(word, model, config, loss, wanted, notes)
    n_train, n_test = (len(part[0]) for part in (splits[0].train, splits[0].test))
    rows = []
    reference = np.empty(0)
    for name, run in contenders.items():
        found = [run(split) for split in splits]
        scores = np.array([one.score for one in found])
        reference = scores if name == "model" else reference
        if failed := sum(not one.converged for one in found):
            notes.append(f"The fit of {name} did not converge in {failed} splits.")
        rows.append(
            row_of(
                name,
                scores,
                reference,
                n_parameters=round(np.mean([one.n_parameters for one in found])),
                seconds=float(np.median([one.seconds for one in found])),
                n_train=n_train,
                n_test=n_test,
            )
        )
    score = "accuracy" if loss.is_classification else "R2"
    return Report(tuple(rows), score, n_train, n_test, tuple(notes))


def _checked(config: TrainingConfig) -> TrainingConfig:
    for name in ("seed", "checkpoint_directory"):
        if getattr(config, name) is not None:
            raise ValueError(
                f"Configuration {name} must be unset in a report, which trains many "
                "models. Its seeds are given as seeds=[...]."
            )
    return config


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int | np.integer):
        return list(range(integer("seeds", seeds, minimum=2)))
    found = [integer("seeds", seed, minimum=0) for seed in seeds]
    if len(found) < 2 or len(set(found)) < len(found):
        raise ValueError(
            "Argument `seeds` must have at least two different seeds, so that scores "
            f"have an interval, but is {found}."
        )
    return found


def _words(
    model: QuantumModel, baselines: Iterable[str] | None, notes: list[str]
) -> list[str]:
    """The baselines; of the default ones those that there are for the model."""
    if baselines is not None:
        if isinstance(baselines, str):
            raise TypeError(
                "Argument `baselines` must be a list of words, but is the word "
                f"{baselines!r} alone."
            )
        words = [choice("baselines", word, BASELINES) for word in baselines]
        if not words:
            raise ValueError("Argument `baselines` must name one, but is empty.")
        return words
    if model.summary().total.n_gates[1] == 0:
        notes.append("The model has no entangling gate to be left out.")
        return list(_DEFAULT)
    try:
        without_entanglement(model)
    except ValueError as error:
        notes.append(str(error))
        return list(_DEFAULT)
    return [NO_ENTANGLEMENT, *_DEFAULT]


def _splits(
    model: QuantumModel,
    data: tuple[Any, Any],
    loss: Loss,
    seeds: Sequence[int],
    test_size: float,
    scaler: Any,
) -> Iterator[_Split]:
    inputs, targets = data
    X, y = finite("X", inputs), np.asarray(targets)
    if X.ndim != 2 or X.shape[1] != model.input_dim:
        raise ValueError(
            f"Argument `data` must have samples of shape (n_samples, "
            f"{model.input_dim}), but they have shape {X.shape}."
        )
    prepared = loss.prepare_targets(targets, model.output_dim, len(X))
    if loss.labels is not None:
        plain = np.asarray(loss.labels(prepared))
    else:
        plain = finite("y", prepared).reshape(len(X), -1)
        plain = plain[:, 0] if plain.shape[1] == 1 else plain
    if isinstance(scaler, str):
        choice("scaler", scaler, ("standard",))
        scaler = StandardScaler()
    for seed in seeds:
        rows = train_test_split(
            np.arange(len(X)),
            test_size=test_size,
            stratify=plain if loss.is_classification else None,
            random_state=seed,
        )
        parts = [X[part] for part in rows]
        if scaler is not None:
            own = clone(scaler).fit(parts[0])
            parts = [finite("scaler", own.transform(part)) for part in parts]
        train, test = (
            (samples, y[part], plain[part])
            for samples, part in zip(parts, rows, strict=True)
        )
        yield _Split(seed, train, test)


def _contender(
    word: str,
    model: QuantumModel,
    config: TrainingConfig,
    loss: Loss,
    wanted: int,
    notes: list[str],
) -> Callable[[_Split], _Scored]:
    """The function that trains and scores a baseline on a split."""
    if word != NO_ENTANGLEMENT:
        return lambda split: _classical(word, loss, split, wanted)
    twin = without_entanglement(model)
    n_seen = model.input_dim - len(twin.summary().unseen_features)
    if n_seen < model.input_dim:
        notes.append(
            f"Without entanglement the outputs depend on {n_seen} of "
            f"{model.input_dim} features, since they measure some qubits only. To "
            "compare entanglement alone, measure all qubits."
        )
    count = _n_seen(twin)
    return lambda split: _quantum(twin, config, loss, split, count)


def _n_seen(model: QuantumModel) -> int:
    """How many trained parameters an output can depend on."""
    trained = model.trainable.copy()
    trained[list(model.summary().unseen_weights)] = False
    return int(trained.sum())


def _quantum(
    model: QuantumModel,
    config: TrainingConfig,
    loss: Loss,
    split: _Split,
    n_parameters: int,
) -> _Scored:
    """Train a copy of a model from fresh first weights, and score it."""
    own = fresh(model, split.seed)
    trainer = QuantumTrainer(dataclasses.replace(config, seed=split.seed))
    X, y, _ = split.train
    start = time.perf_counter()
    trainer.train(own, (X, y))
    seconds = time.perf_counter() - start
    X, y, plain = split.test
    outputs = QuantumModel.forward(own, X)
    if loss.is_classification:
        prepared = loss.prepare_targets(y, own.output_dim, len(X))
        score = loss.accuracy(outputs, prepared)
    else:
        score = float(r2_score(np.reshape(plain, outputs.shape), outputs))
    return _Scored(score, seconds, n_parameters)


def _classical(word: str, loss: Loss, split: _Split, n_wanted: int) -> _Scored:
    """Train a classical model, and score it."""
    classes = loss.is_classification
    X, _, y = split.train
    made = untrained(word, X, y, classes=classes, n_wanted=n_wanted, seed=split.seed)
    start = time.perf_counter()
    converged = fitted(made, X, y)
    seconds = time.perf_counter() - start
    X, _, y = split.test
    score = (accuracy_score if classes else r2_score)(y, made.predict(X))
    return _Scored(float(score), seconds, n_parameters(made), converged)


def fresh(model: QuantumModel, seed: int) -> QuantumModel:
    """A copy of a model, whose trained parameters begin anew.

    Args:
        model: The model.
        seed: Seed of the first weights.
    """
    own = copy.deepcopy(model)
    rng = np.random.default_rng(seed)
    first = own.parameters.copy()
    for part in own.stack.distinct:
        n = part.layer.n_weights
        at = slice(part.first_weight, part.first_weight + n)
        first[at] = part.layer.initial(n, rng)
    first[own.n_weights :] = own.readout.initial(own.output_dim)
    own.parameters[:] = np.where(own.trainable, first, own.parameters)
    return own
