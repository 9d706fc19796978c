"""Circuits without training: what estimators over them share, and their features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from qstore_pl.kernels import Kernel, ProjectedKernel
from qstore_pl.layers import Layer
from qstore_pl.sklearn.circuits import kernel_layers_of, kernel_qubits_of
from qstore_pl.sklearn.names import checked_names
from qstore_pl.sklearn.parameters import check_left_out, seed_of
from qstore_pl.sklearn.scaling import AUTO, Scaling

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

K = TypeVar("K", bound=Kernel)

_OF_ANGLES = ("n_layers", "entanglement")  # parameters that only "angle" uses
_OF_WORDS = (*_OF_ANGLES, "encoding")


class FeatureMapEstimator(BaseEstimator):
    """An estimator that puts samples on qubits by a circuit that is not trained."""

    n_layers: int | None
    encoding: str
    layers: Sequence[Layer] | None
    entanglement: str
    n_qubits: int | None
    standardize: bool | str
    scale: float | str
    backend: Any
    shots: int | None
    random_state: Any
    scaling_: Scaling

    def _learn_features(self, X: Float2D, weights: Float1D | None = None) -> None:
        """Take means and standard deviations from the samples."""
        self.scaling_ = Scaling(
            X.shape[1],
            encoding=self.encoding,
            layers=self.layers,
            standardize=self.standardize,
            scale=self.scale,
        )
        self.scaling_.learn(X, weights)

    def _new_kernel(self, kind: type[K], n_features: int) -> K:
        """The kernel that the parameters describe."""
        layers, n_qubits = self.layers, self.n_qubits
        if layers is None:
            if self.encoding != "angle":
                check_left_out(self, _OF_ANGLES, 'unless encoding is "angle"')
            n_qubits = kernel_qubits_of(self.encoding, n_features, n_qubits)
            layers = kernel_layers_of(
                *(self.encoding, n_features, n_qubits),
                *(self.n_layers, self.entanglement),
            )
        else:
            check_left_out(self, _OF_WORDS, "where layers are given")
        return kind(
            n_features,
            layers=layers,
            n_qubits=n_qubits,
            backend=self.backend,
            shots=self.shots,
            seed=seed_of(self.random_state),
        )


class QuantumFeatureMap(TransformerMixin, FeatureMapEstimator):
    r"""Samples as the expectation values of X, Y and Z on each qubit of a circuit.

    The circuit encodes the features and entangles the qubits; nothing in it is trained.
    What it measures are new features, from -1 to 1, for estimators that are not
    quantum.

    Args:
        n_layers: Number of uploads, >= 1, with a layer of rotations and CNOTs between
            any two. The features are dealt to the qubits in turns. None is 2, or as
            many as it takes to upload all features. Only for ``"angle"``.
        encoding: ``"angle"``, ``"amplitude"``, ``"basis"`` or ``"zz_feature_map"``.
        layers: The layers of the circuit, in place of ``n_layers``, ``encoding`` and
            ``entanglement``; None builds the circuit from these three.
        entanglement: Of the layers between uploads: ``"linear"``, ``"circular"`` or
            ``"full"``.
        n_qubits: Number of qubits, >= 1. None takes 8 for angles, where several qubits
            are given the same feature if there are fewer, and as many as needed for
            other encodings.
        standardize: Whether features are standardised before they are encoded;
            ``"auto"`` does so except for amplitudes and bits.
        scale: Factor of the features after that, radians per unit, > 0. ``"auto"`` is
            :math:`\min(1, \sqrt{2 / n})` for n standardised features, and 1 for others
            and with ``layers``.
        backend: Where the circuit runs: a name, a Backend or a PennyLane device.
        shots: Measurements in each of the three bases, >= 1; None is exact on the
            devices of this package.
        random_state: Seed of the rotations between uploads, which are small and random,
            and of shots: an integer, a RandomState, or None for a fresh seed.

    Attributes:
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the samples came with names that are strings.
        kernel_: The circuit, as a :class:`~qstore_pl.kernels.ProjectedKernel`.
        scaling_: What is done to features before they are encoded.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(20, 2))
        >>> feature_map = QuantumFeatureMap(random_state=0).fit(X)
        >>> feature_map.transform(X).shape
        (20, 24)
        >>> feature_map.get_feature_names_out()[:3].tolist()
        ['X0', 'X1', 'X2']

    References:
        Huang et al., Power of data in quantum machine learning, Nature Communications
        12, 2631 (2021), arXiv:2011.01938.
    """

    def __init__(
        self,
        *,
        n_layers: int | None = None,
        encoding: str = "angle",
        layers: Sequence[Layer] | None = None,
        entanglement: str = "circular",
        n_qubits: int | None = None,
        standardize: bool | str = AUTO,
        scale: float | str = AUTO,
        backend: Any = "mock_ideal",
        shots: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_layers = n_layers
        self.encoding = encoding
        self.layers = layers
        self.entanglement = entanglement
        self.n_qubits = n_qubits
        self.standardize = standardize
        self.scale = scale
        self.backend = backend
        self.shots = shots
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Take means and standard deviations from samples, and make the circuit.

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
        self._learn_features(X)
        self.kernel_ = self._new_kernel(ProjectedKernel, X.shape[1])
        return self

    def transform(self, X: Any) -> Float2D:
        """The expectation values.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Shape ``(n_samples, 3 * n_qubits)``, with X on all qubits, then Y, then Z.
        """
        check_is_fitted(self, "kernel_")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self.kernel_.features(self.scaling_(X))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The names ``X0``, ``X1``, ..., ``Y0``, ..., by Pauli letter and qubit.

        Args:
            input_features: The names of the features, which must be those of
                :meth:`fit`; None is those.

        Returns:
            Strings, shape ``(3 * n_qubits,)``.
        """
        check_is_fitted(self, "kernel_")
        checked_names(self, input_features)
        wires = range(self.kernel_.n_qubits)
        names = [f"{letter}{wire}" for letter in "XYZ" for wire in wires]
        return np.array(names, dtype=object)
