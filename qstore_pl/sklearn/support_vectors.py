"""What support vector machines over quantum kernels share."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC, SVR
from sklearn.utils.validation import validate_data

from qstore_pl._checks import choice
from qstore_pl.kernels import FidelityKernel, HammingKernel, Kernel, ProjectedKernel
from qstore_pl.sklearn.feature_map import FeatureMapEstimator, Float1D, Float2D
from qstore_pl.sklearn.parameters import check_left_out
from qstore_pl.sklearn.scaling import AUTO, Scaling
from qstore_pl.sklearn.weights import sample_weights

KERNELS: dict[str, type[Kernel]] = {
    "fidelity": FidelityKernel,
    "hamming": HammingKernel,
    "projected": ProjectedKernel,
}

# Small, so that the result depends neither on the order of the samples nor on whether
# a sample has the weight 2 or comes twice.
TOLERANCE = 1e-9

# Parameters that a kernel object would make meaningless.
_OF_CIRCUITS = (
    *("n_layers", "encoding", "layers", "entanglement"),
    *("n_qubits", "backend", "shots"),
)


class KernelEstimator(FeatureMapEstimator):
    """A support vector machine of scikit-learn over a quantum kernel."""

    kernel: str | Kernel
    C: float
    kernel_: Kernel

    def _learn_kernel(self, X: Float2D, weights: Float1D | None) -> Float2D:
        """Make the kernel, and return its matrix of the samples."""
        if isinstance(self.kernel, Kernel):
            check_left_out(self, _OF_CIRCUITS, "where the kernel is an object")
            self.kernel_ = copy.deepcopy(self.kernel)
            self.scaling_ = Scaling(
                X.shape[1],
                encoding="angle",
                layers=self.kernel_.layers,
                standardize=False if self.standardize == AUTO else self.standardize,
                scale=self.scale,
            )
            self.scaling_.learn(X, weights)
        else:
            kind = KERNELS[choice("kernel", self.kernel, KERNELS)]
            self._learn_features(X, weights)
            self.kernel_ = self._new_kernel(kind, X.shape[1])
        self._samples = self.scaling_(X)
        return self.kernel_(self._samples)

    def _matrix(self, machine: SVC | SVR, X: Any) -> Float2D:
        """The kernel matrix of new samples with those of training.

        Only columns of support vectors are computed; the others do not matter.
        """
        X = validate_data(self, X, reset=False, dtype=np.float64)
        found = np.zeros((len(X), len(self._samples)))
        support = machine.support_
        if len(support):
            samples = self.scaling_(X)
            found[:, support] = self.kernel_(samples, self._samples[support])
        return found


def with_weight(
    X: Float2D, y: NDArray[Any], sample_weight: Any
) -> tuple[Float2D, NDArray[Any], Float1D | None]:
    """The samples whose weight is not zero, with their targets and weights.

    scikit-learn leaves the others out as well, but then, with a matrix that is computed
    before, mistakes the columns of the matrix.

    Args:
        X: Samples, shape ``(n_samples, n_features)``.
        y: Targets, shape ``(n_samples,)``.
        sample_weight: Weights as they were given, or None.

    Raises:
        TypeError: If the weights are not real numbers.
        ValueError: If they have another shape, one is negative, or all are zero.
    """
    weights = sample_weights(sample_weight, len(X))
    if weights is None:
        return X, y, None
    kept = weights > 0.0
    return X[kept], y[kept], weights[kept]
