"""A support vector regressor over a quantum kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.validation import check_is_fitted, validate_data

from qstore_pl._checks import real
from qstore_pl.kernels import Kernel
from qstore_pl.layers import Layer
from qstore_pl.sklearn.feature_map import Float1D
from qstore_pl.sklearn.scaling import AUTO
from qstore_pl.sklearn.support_vectors import TOLERANCE, KernelEstimator, with_weight


class QuantumKernelRegressor(RegressorMixin, KernelEstimator):
    r"""A support vector regressor over a quantum kernel.

    The targets are always standardised: ``C`` and ``epsilon`` are in units of their
    standard deviation. Predictions are in the units of the targets that were given.

    Args:
        kernel: ``"fidelity"``, ``"projected"`` or ``"hamming"``, for the kernels of
            :mod:`qstore_pl.kernels` with the circuit that the other parameters
            describe; or a kernel object, which is copied, and for which ``n_layers``,
            ``encoding``, ``layers``, ``entanglement``, ``n_qubits``, ``backend`` and
            ``shots`` are left out.
        C: Strength of errors against the margin, > 0.
        epsilon: Errors up to this size cost nothing, >= 0, in standard deviations of
            the targets.
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
            ``"auto"`` does so except for amplitudes, bits and kernel objects.
        scale: Factor of the features after that, radians per unit, > 0. ``"auto"`` is
            :math:`\min(1, \sqrt{2 / n})` for n standardised features, and 1 for
            others, with ``layers`` and for kernel objects. It is the bandwidth of the
            kernel.
        backend: Where circuits run: a name, a Backend or a PennyLane device.
        shots: Measurements for each entry of the kernel matrix, or in each basis of a
            projected kernel, >= 1; None is exact.
        random_state: Seed of the rotations between uploads, which are small and random,
            and of shots: an integer, a RandomState, or None for a fresh seed.

    Attributes:
        target_scaler_: Mean and standard deviation of the targets.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the samples came with names that are strings.
        kernel_: The kernel, a :class:`~qstore_pl.kernels.Kernel`.
        scaling_: What is done to features before they are encoded.
        svr_: The machine of scikit-learn that was fitted to the kernel matrix.

    Example:
        >>> X = np.linspace(-3, 3, 40)[:, None]
        >>> regressor = QuantumKernelRegressor(C=10.0, random_state=0)
        >>> regressor.fit(X, np.sin(X[:, 0])).score(X, np.sin(X[:, 0])) > 0.95
        True
    """

    def __init__(
        self,
        kernel: str | Kernel = "fidelity",
        *,
        C: float = 1.0,
        epsilon: float = 0.1,
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
        self.kernel = kernel
        self.C = C
        self.epsilon = epsilon
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Compute the kernel matrix of samples, and fit the support vectors.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.
            y: Targets, shape ``(n_samples,)``.
            sample_weight: Factor of C for each sample, >= 0, shape ``(n_samples,)``.

        Returns:
            The regressor.

        Raises:
            ValueError: If the data or a parameter do not fit.
            TypeError: If a parameter is of the wrong kind.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        X, y, weights = with_weight(X, y, sample_weight)
        self.target_scaler_ = StandardScaler()
        column = np.asarray(y, dtype=np.float64)[:, None]
        targets = self.target_scaler_.fit_transform(column, sample_weight=weights)
        machine = SVR(
            C=real("C", self.C, above=0.0),
            epsilon=real("epsilon", self.epsilon, minimum=0.0),
            kernel="precomputed",
            tol=TOLERANCE,
        )
        self.svr_ = machine.fit(self._learn_kernel(X, weights), targets[:, 0], weights)
        return self

    def predict(self, X: Any) -> Float1D:
        """The predicted targets.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Shape ``(n_samples,)``.
        """
        check_is_fitted(self, "svr_")
        found = self.svr_.predict(self._matrix(self.svr_, X))
        return self.target_scaler_.inverse_transform(found[:, None])[:, 0]
