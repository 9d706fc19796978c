"""The quantum autoencoder as a transformer of scikit-learn."""

from __future__ import annotations

import itertools
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from qstore_pl._checks import integer, real
from qstore_pl.autoencoder import QuantumAutoencoder
from qstore_pl.config import TrainingConfig
from qstore_pl.layers.encodings import BY_WORD
from qstore_pl.sklearn.names import checked_names
from qstore_pl.sklearn.parameters import seed_of
from qstore_pl.sklearn.scaling import AUTO, Scaling

Float2D = NDArray[np.float64]


class QuantumAutoencoderTransformer(TransformerMixin, BaseEstimator):
    r"""Reduces samples by a quantum autoencoder, to its latent states.

    A sample is encoded as a state of ``n_qubits`` qubits, which a trained circuit
    compresses to ``n_latent`` qubits. Their state is described by
    :math:`4^{n_\mathrm{latent}} - 1` numbers from -1 to 1, the expectation values of
    the Pauli words on them.

    There is no inverse transform, since a state does not tell the norm and the sign of
    the sample that it encodes. ``autoencoder_`` decodes latent states to states.

    Args:
        n_latent: Number of latent qubits, >= 1.
        n_qubits: Number of qubits of the encoded samples, > ``n_latent``. None takes as
            many as the encoding needs, and at least ``n_latent + 1``.
        n_layers: Repetitions of the rotations and CNOTs of the encoder, >= 1.
        encoding: ``"amplitude"``, ``"angle"``, ``"basis"`` or ``"zz_feature_map"``. All
            but amplitudes need a qubit for each feature.
        entanglement: ``"linear"``, ``"circular"`` or ``"full"``.
        objective: What training minimises, ``"local"`` or ``"global"``, as in
            :class:`~qstore_pl.QuantumAutoencoder`.
        standardize: Whether features are standardised before they are encoded;
            ``"auto"`` does so except for amplitudes and bits.
        scale: Factor of the features after that, radians per unit, > 0. ``"auto"`` is
            :math:`\min(1, \sqrt{2 / n})` for n standardised features, else 1.
        backend: Where the circuit runs: a name, a Backend or a PennyLane device, with
            exact states.
        learning_rate: Step length of the optimizer, Adam, > 0.
        epochs: Number of passes over the samples, >= 1.
        batch_size: Samples for each gradient, >= 1.
        random_state: Seed of the first weights and of the order of the samples: an
            integer, a RandomState, or None for a fresh seed.

    Attributes:
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the samples came with names that are strings.
        autoencoder_: The trained :class:`~qstore_pl.QuantumAutoencoder`.
        scaling_: What is done to features before they are encoded.
        history_: The :class:`~qstore_pl.History` of the training.
        n_iter_: Number of epochs in it.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> reducer = QuantumAutoencoderTransformer(epochs=5, random_state=0)
        >>> reducer.fit_transform(X).shape, reducer.get_feature_names_out().tolist()
        ((150, 3), ['latent_X', 'latent_Y', 'latent_Z'])
        >>> reducer.score(X) > 0.9
        True
    """

    def __init__(
        self,
        n_latent: int = 1,
        *,
        n_qubits: int | None = None,
        n_layers: int = 3,
        encoding: str = "amplitude",
        entanglement: str = "circular",
        objective: str = "local",
        standardize: bool | str = AUTO,
        scale: float | str = AUTO,
        backend: Any = "mock_ideal",
        learning_rate: float = 0.1,
        epochs: int = 100,
        batch_size: int = 64,
        random_state: Any = None,
    ) -> None:
        self.n_latent = n_latent
        self.n_qubits = n_qubits
        self.n_layers = n_layers
        self.encoding = encoding
        self.entanglement = entanglement
        self.objective = objective
        self.standardize = standardize
        self.scale = scale
        self.backend = backend
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train the autoencoder on samples.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.
            y: Ignored.

        Returns:
            The transformer.

        Raises:
            ValueError: If the samples or a parameter do not fit.
            TypeError: If a parameter is of the wrong kind.
        """
        del y
        X = validate_data(self, X, dtype=np.float64)
        seed = seed_of(self.random_state)
        n_features = X.shape[1]
        self.scaling_ = Scaling(
            n_features,
            encoding=self.encoding,
            standardize=self.standardize,
            scale=self.scale,
        )
        self.scaling_.learn(X)
        n_qubits = self.n_qubits
        if n_qubits is None:
            n_latent = integer("n_latent", self.n_latent, minimum=1)
            needed = BY_WORD[self.encoding]().n_wires(n_features)
            n_qubits = max(needed, n_latent + 1)
        autoencoder = QuantumAutoencoder(
            n_qubits,
            self.n_latent,
            self.n_layers,
            self.backend,
            input_dim=n_features,
            encoding=self.encoding,
            entanglement=self.entanglement,
            objective=self.objective,
            seed=seed,
        )
        config = TrainingConfig(
            learning_rate=real("learning_rate", self.learning_rate, above=0.0),
            epochs=integer("epochs", self.epochs, minimum=1),
            batch_size=integer("batch_size", self.batch_size, minimum=1),
            seed=seed,
            on_interrupt="raise",
        )
        self.history_ = autoencoder.fit(self.scaling_(X), config)
        self.n_iter_ = len(self.history_)
        self.autoencoder_ = autoencoder
        return self

    def transform(self, X: Any) -> Float2D:
        """The Pauli vectors of the latent states.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Shape ``(n_samples, 4**n_latent - 1)``, each from -1 to 1.
        """
        inputs = self._scaled(X)
        return self.autoencoder_.latent_features(inputs)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean fidelity of the reconstructed states, from 0 to 1.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.
            y: Ignored.
        """
        del y
        inputs = self._scaled(X)
        return float(self.autoencoder_.reconstruction_fidelity(inputs).mean())

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The Pauli words on the latent qubits, behind ``latent_``.

        Args:
            input_features: The names of the features, which must be those of
                :meth:`fit`; None is those.

        Returns:
            Strings, shape ``(4**n_latent - 1,)``.
        """
        check_is_fitted(self, "autoencoder_")
        checked_names(self, input_features)
        words = itertools.product("IXYZ", repeat=self.autoencoder_.n_latent)
        return np.array([f"latent_{''.join(word)}" for word in words][1:], dtype=object)

    def _scaled(self, X: Any) -> Float2D:
        check_is_fitted(self, "autoencoder_")
        return self.scaling_(validate_data(self, X, reset=False, dtype=np.float64))
