"""What the classifier and the regressor share: a model, and how it is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted, validate_data

from qstore_pl._checks import boolean, integer, real
from qstore_pl.config import TrainingConfig
from qstore_pl.history import History
from qstore_pl.layers import Layer
from qstore_pl.losses import get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.optimizers import Optimizer
from qstore_pl.readout import Readout
from qstore_pl.sklearn.circuits import layers_of, n_qubits_of, observables_of
from qstore_pl.sklearn.parameters import check_left_out, seed_of
from qstore_pl.sklearn.scaling import AUTO, Scaling
from qstore_pl.sklearn.weights import sample_weights, with_mean_one
from qstore_pl.trainer import QuantumTrainer
from qstore_pl.trainer.online import Online

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

# Parameters that only one setting of another uses.
_WITH_EARLY_STOPPING = ("validation_fraction", "patience")
_WITHOUT_LAYERS = ("n_layers", "encoding", "entanglement")


class TrainedEstimator(BaseEstimator, ABC):
    """A quantum model that is trained by gradients, as an estimator."""

    _loss: ClassVar[str]
    model_: QuantumModel
    history_: History
    _online: Online | None
    _optimizer: Optimizer | None

    def __init__(
        self,
        *,
        n_layers: int | None = None,
        encoding: str = "angle",
        layers: Sequence[Layer] | None = None,
        entanglement: str = "circular",
        n_qubits: int | None = None,
        readout: str | Readout = "affine",
        standardize: bool | str = AUTO,
        scale: float | str = AUTO,
        backend: Any = "mock_ideal",
        shots: int | None = None,
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 0.02,
        epochs: int = 100,
        batch_size: int = 64,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_layers = n_layers
        self.encoding = encoding
        self.layers = layers
        self.entanglement = entanglement
        self.n_qubits = n_qubits
        self.readout = readout
        self.standardize = standardize
        self.scale = scale
        self.backend = backend
        self.shots = shots
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # --- what a classifier and a regressor do differently ---------------------------

    @abstractmethod
    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Float2D, NDArray[Any]]:
        """Samples and targets as arrays; ``reset`` forgets what features there were."""

    @abstractmethod
    def _learn_targets(self, y: NDArray[Any], weights: Float1D | None) -> None:
        """Take from the targets what a model must know before it is made."""

    @abstractmethod
    def _check_targets(self, y: NDArray[Any]) -> None:
        """Refuse targets that do not fit the model that there is."""

    @abstractmethod
    def _prepared(self, y: NDArray[Any]) -> NDArray[Any]:
        """The targets as the loss takes them."""

    @property
    @abstractmethod
    def _n_outputs(self) -> int:
        """How many outputs the model has, known once the targets are."""

    def _weighted(self, y: NDArray[Any], weights: Float1D | None) -> Float1D | None:
        """The weights of samples, with all that depends on their targets."""
        del y
        return weights

    def _strata(self, y: NDArray[Any]) -> NDArray[Any] | None:
        """The classes that both parts of a split have in the same shares, or None."""
        del y
        return None

    # --- training ------------------------------------------------------------------

    @property
    def _is_fitted(self) -> bool:
        return "model_" in vars(self)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train a model on samples.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.
            y: Targets, shape ``(n_samples,)``.
            sample_weight: Weight of each sample in the loss, >= 0, shape
                ``(n_samples,)``; only their ratios matter. None weighs all the same.

        Returns:
            The estimator.

        Raises:
            ValueError: If the data or a parameter do not fit.
            TypeError: If a parameter is of the wrong kind.
        """
        goes_on = boolean("warm_start", self.warm_start) and self._is_fitted
        early = boolean("early_stopping", self.early_stopping)
        if not early:
            check_left_out(self, _WITH_EARLY_STOPPING, "without early_stopping=True")
        X, y = self._checked(X, y, reset=not goes_on)
        weights = self._weighted(y, sample_weights(sample_weight, len(X)))
        seed = seed_of(self.random_state)
        data, held_out = (X, y, weights), None
        if early:
            data, held_out = self._split(X, y, weights, seed)
        inputs, targets, own = data
        if goes_on:
            self._check_targets(targets)
            model = self.model_
        else:
            self._learn_targets(targets, own)
            model = self._new_model(inputs, own, seed)
        config = self._config(seed, early=early)
        trainer = QuantumTrainer(config, optimizer=self._given_optimizer)
        validated = None if held_out is None else self._arrays(*held_out)
        history = trainer.train(model, self._arrays(*data), validated)
        self.model_ = model
        self._record(history)
        self._online = None
        self._optimizer = trainer.optimizer
        return self

    def _epoch(self, X: Float2D, y: NDArray[Any], weights: Float1D | None) -> Self:
        """Train one epoch on checked samples, whose targets are learnt already."""
        if boolean("early_stopping", self.early_stopping):
            raise ValueError(
                "Parameter early_stopping must be False for partial_fit, which holds "
                "out no samples, but is True."
            )
        check_left_out(self, _WITH_EARLY_STOPPING, "without early_stopping=True")
        seed = seed_of(self.random_state)
        config = self._config(seed, early=False)
        if self._is_fitted:
            self.scaling_.learn(X, weights, more=True)
        else:
            self.model_ = self._new_model(X, weights, seed)
            self.history_ = History()
            self._online, self._optimizer = None, self._given_optimizer
        if self._online is None:
            loss = get_loss(self._loss).with_sample_weight()
            self._online = Online(
                self.model_, loss, config, self._optimizer, self.history_
            )
        self._online.epoch((self.scaling_(X), self._prepared(y), weights))
        self._record(self.history_)
        return self

    def _record(self, history: History) -> None:
        self.history_ = history
        self.n_iter_ = len(history)
        self.loss_curve_ = history["losses"]

    def _new_model(
        self, X: Float2D, weights: Float1D | None, seed: int
    ) -> QuantumModel:
        """A model for the features of these samples, whose scaling is learnt."""
        n_features, n_outputs = X.shape[1], self._n_outputs
        self.scaling_ = Scaling(
            n_features,
            encoding=self.encoding,
            layers=self.layers,
            standardize=self.standardize,
            scale=self.scale,
        )
        self.scaling_.learn(X, weights)
        layers, n_qubits, observables = self.layers, self.n_qubits, None
        if layers is None:
            n_qubits = n_qubits_of(self.encoding, n_features, n_outputs, n_qubits)
            layers = layers_of(
                *(self.encoding, n_features, n_qubits),
                *(self.n_layers, self.entanglement),
            )
            if isinstance(self.readout, str) and self.readout in ("affine", "expval"):
                observables = observables_of(n_qubits, n_outputs)
        else:
            check_left_out(self, _WITHOUT_LAYERS, "where layers are given")
        return QuantumModel(
            n_features,
            n_outputs,
            layers=layers,
            n_qubits=n_qubits,
            observables=observables,
            readout=self.readout,
            backend=self.backend,
            seed=seed,
        )

    def _split(
        self, X: Float2D, y: NDArray[Any], weights: Float1D | None, seed: int
    ) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
        """The samples to train with, and those that are held out."""
        share = real(
            "validation_fraction", self.validation_fraction, above=0.0, below=1.0
        )
        rows = np.arange(len(X))
        try:
            parts = train_test_split(
                rows, test_size=share, random_state=seed, stratify=self._strata(y)
            )
        except ValueError as error:
            raise ValueError(
                f"Parameter validation_fraction={share} must leave samples on both "
                f"sides, and of every class, but does not: {error} Take more samples, "
                "another fraction, or early_stopping=False."
            ) from error
        own, held_out = (
            (X[part], y[part], None if weights is None else weights[part])
            for part in parts
        )
        for part in (own, held_out):
            if part[2] is not None and not part[2].any():
                raise ValueError(
                    "Argument `sample_weight` must have weights that are not zero on "
                    "both sides of the split for early stopping, but on one side all "
                    "are zero. Take another random_state or validation_fraction."
                )
        return own, held_out

    def _arrays(
        self, X: Float2D, y: NDArray[Any], weights: Float1D | None
    ) -> tuple[Any, ...]:
        """Data as the trainer takes them."""
        data = self.scaling_(X), self._prepared(y)
        return data if weights is None else (*data, with_mean_one(weights))

    @property
    def _given_optimizer(self) -> Optimizer | None:
        return self.optimizer if isinstance(self.optimizer, Optimizer) else None

    def _config(self, seed: int, *, early: bool) -> TrainingConfig:
        found: dict[str, Any] = {}
        if self._given_optimizer is not None:
            check_left_out(self, ("learning_rate",), "with an optimizer object")
        else:
            found["optimizer"] = self.optimizer
            found["learning_rate"] = real("learning_rate", self.learning_rate, above=0)
        if early:
            found["patience"] = integer("patience", self.patience, minimum=1)
        if not isinstance(self.verbose, bool):
            integer("verbose", self.verbose, minimum=0)
        if self.verbose:
            found["log_interval"] = int(self.verbose)
        return TrainingConfig(
            epochs=integer("epochs", self.epochs, minimum=1),
            batch_size=integer("batch_size", self.batch_size, minimum=1),
            loss=self._loss,
            shots=self.shots,
            seed=seed,
            on_interrupt="raise",
            progress=False,  # a search over parameters trains many times
            **found,
        )

    # --- predictions -----------------------------------------------------------------

    def _outputs(self, X: Any) -> Float2D:
        """The outputs of the model for some samples, shape ``(n_samples, n)``."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self.model_(self.scaling_(X))

    def __sklearn_is_fitted__(self) -> bool:
        return self._is_fitted
