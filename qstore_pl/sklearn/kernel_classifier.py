"""A support vector classifier over a quantum kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.svm import SVC
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from qstore_pl._checks import real
from qstore_pl.kernels import Kernel
from qstore_pl.layers import Layer
from qstore_pl.sklearn.feature_map import Float1D, Float2D
from qstore_pl.sklearn.labels import several_classes
from qstore_pl.sklearn.scaling import AUTO
from qstore_pl.sklearn.support_vectors import TOLERANCE, KernelEstimator, with_weight


class QuantumKernelClassifier(ClassifierMixin, KernelEstimator):
    r"""A support vector classifier over a quantum kernel.

    Probabilities come from ``sklearn.calibration.CalibratedClassifierCV`` around it.

    Args:
        kernel: ``"fidelity"``, ``"projected"`` or ``"hamming"``, for the kernels of
            :mod:`qstore_pl.kernels` with the circuit that the other parameters
            describe; or a kernel object, which is copied, and for which ``n_layers``,
            ``encoding``, ``layers``, ``entanglement``, ``n_qubits``, ``backend`` and
            ``shots`` are left out.
        C: Strength of errors against the margin, > 0.
        class_weight: Factor of C for each class: a dict from label to factor,
            ``"balanced"``, or None.
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
        classes_: The labels, sorted.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the samples came with names that are strings.
        kernel_: The kernel, a :class:`~qstore_pl.kernels.Kernel`.
        scaling_: What is done to features before they are encoded.
        svc_: The machine of scikit-learn that was fitted to the kernel matrix.

    Example:
        >>> from sklearn.datasets import make_circles
        >>> X, y = make_circles(60, noise=0.1, factor=0.4, random_state=0)
        >>> classifier = QuantumKernelClassifier(random_state=0).fit(X, y)
        >>> classifier.score(X, y) > 0.95
        True

    References:
        Havlicek et al., Supervised learning with quantum-enhanced feature spaces,
        Nature 567, 209 (2019), arXiv:1804.11326.
    """

    def __init__(
        self,
        kernel: str | Kernel = "fidelity",
        *,
        C: float = 1.0,
        class_weight: str | Mapping[Any, float] | None = None,
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
        self.class_weight = class_weight
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
            y: Labels, shape ``(n_samples,)``.
            sample_weight: Factor of C for each sample, >= 0, shape ``(n_samples,)``.

        Returns:
            The classifier.

        Raises:
            ValueError: If the data or a parameter do not fit.
            TypeError: If a parameter is of the wrong kind.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        X, y, weights = with_weight(X, y, sample_weight)
        self.classes_ = several_classes(y)
        machine = SVC(
            C=real("C", self.C, above=0.0),
            kernel="precomputed",
            tol=TOLERANCE,
            class_weight=self.class_weight,
            break_ties=True,  # the predicted class is the one of the largest decision
        )
        self.svc_ = machine.fit(self._learn_kernel(X, weights), y, weights)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The predicted label of each sample.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Labels, shape ``(n_samples,)``.
        """
        check_is_fitted(self, "svc_")
        return self.svc_.predict(self._matrix(self.svc_, X))

    def decision_function(self, X: Any) -> Float1D | Float2D:
        """How much speaks for each class.

        Args:
            X: Samples, shape ``(n_samples, n_features)``.

        Returns:
            Shape ``(n_samples, n_classes)``; for two classes the distance from the
            boundary, shape ``(n_samples,)``, positive for ``classes_[1]``.
        """
        check_is_fitted(self, "svc_")
        return self.svc_.decision_function(self._matrix(self.svc_, X))
