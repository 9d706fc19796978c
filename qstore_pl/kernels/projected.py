"""The projected kernel: distances of one-qubit states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, final

import numpy as np
import pennylane as qml
from scipy.spatial.distance import cdist

from qstore_pl import devices
from qstore_pl._blas import one_blas_thread
from qstore_pl._checks import real
from qstore_pl.kernels.feature_map import DEFAULT_ENCODING
from qstore_pl.kernels.kernel import Float1D, Float2D, Kernel, PullBack, compiled
from qstore_pl.layers import Layer
from qstore_pl.model import QuantumModel
from qstore_pl.placed import Circuit, Measured, bloch_vectors


@final
class ProjectedKernel(Kernel):
    r"""A similarity of samples: how near their one-qubit states are.

    With the states :math:`\rho_k(x)` of the single qubits the kernel is

    .. math:: \exp\Bigl(-\gamma \sum_k \lVert\rho_k(x) - \rho_k(y)\rVert_F^2\Bigr),

    a Gaussian of the expectation values of X, Y and Z on each qubit, since
    :math:`\lVert\rho - \sigma\rVert_F^2` is half the squared distance of the Bloch
    vectors. The fidelity of whole states vanishes exponentially with the number of
    qubits; these distances need not. Readout error counts, since the expectation values
    are measured. With ``shots`` they are estimated by the device, from one circuit for
    each of the three bases.

    Args:
        input_dim: Number of features of a sample, >= 1.
        encoding: The circuit as the word for an encoding: ``"zz_feature_map"``,
            ``"angle"``, ``"amplitude"`` or ``"basis"``.
        layers: The circuit as a list of layers, in the words of
            :class:`~qstore_pl.QuantumModel`; the encoding is then left out.
        gamma: Strength of the distances, > 0. None is 2 divided by the number of
            qubits: what scikit-learn's ``gamma="scale"`` means for Bloch vectors that
            are spread over the whole sphere. The kernel never takes it from the samples
            it is called with, so that training and test samples have the same kernel;
            :meth:`gamma_of` computes one from the samples you choose.
        n_qubits: Number of qubits; None takes as many as the layers need.
        backend: Where circuits run: a name, a Backend or a PennyLane device; None is
            ``"mock_ideal"``.
        scale: Factor of the features before they are encoded, not for amplitudes and
            bits.
        shots: Measurements in each of the three bases, >= 1; None is exact.
        regularize: What makes a matrix ``kernel(X)`` positive semi-definite:
            ``"threshold"``, ``"displace"`` or ``"flip"`` call the function of
            ``qml.kernels`` of that name. None changes nothing; this kernel is positive
            semi-definite with shots too.
        seed: Seed of the first weights of the layers; and of what is drawn with shots,
            if the backend is one of ours, given by its name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If a word is unknown, or an option would be ignored.

    Example:
        >>> kernel = ProjectedKernel(2, encoding="angle", gamma=0.5)
        >>> X = np.array([[0.0, 0.0], [np.pi, 0.0]])
        >>> print(kernel(X).round(3))
        [[1.    0.368]
         [0.368 1.   ]]
        >>> print(kernel.features(X).round(3) + 0.0)
        [[ 0.  0.  0.  0.  1.  1.]
         [ 0.  0.  0.  0. -1.  1.]]

    References:
        Huang et al., Power of data in quantum machine learning, Nature Communications
        12, 2631 (2021), arXiv:2011.01938.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        encoding: str = DEFAULT_ENCODING,
        layers: Sequence[Layer] | None = None,
        gamma: float | None = None,
        n_qubits: int | None = None,
        backend: Any = None,
        scale: float = 1.0,
        shots: int | None = None,
        regularize: str | None = None,
        seed: Any = None,
    ) -> None:
        super().__init__(
            input_dim,
            encoding=encoding,
            layers=layers,
            n_qubits=n_qubits,
            backend=backend,
            scale=scale,
            shots=shots,
            regularize=regularize,
            seed=seed,
        )
        self.gamma = self._gamma(gamma)

    @classmethod
    def of(
        cls,
        model: QuantumModel,
        *,
        gamma: float | None = None,
        backend: Any = None,
        shots: int | None = None,
        regularize: str | None = None,
        seed: Any = None,
    ) -> Self:
        """The kernel of a model's circuit before it is measured, with its weights.

        Args:
            model: The model; the kernel has a copy of its layers and weights.
            gamma: Strength of the distances, > 0; None is 2 divided by the number of
                qubits.
            backend: Where circuits run; None is the model's own backend.
            shots: Measurements in each of the three bases, >= 1; None is exact.
            regularize: What makes a matrix positive semi-definite; None is nothing.
            seed: Seed of what is drawn with shots.

        Raises:
            TypeError: If it is no model.
        """
        made = cls._of(
            model, backend=backend, shots=shots, regularize=regularize, seed=seed
        )
        made.gamma = made._gamma(gamma)
        return made

    def features(self, X: Any) -> Float2D:
        r"""The projected features of samples: the Bloch vectors of all qubits.

        Args:
            X: Samples, shape ``(n_samples, input_dim)``.

        Returns:
            Shape ``(n_samples, 3 * n_qubits)``: :math:`\langle X\rangle` of all qubits,
            then :math:`\langle Y\rangle`, then :math:`\langle Z\rangle`.

        Raises:
            ValueError: If the shape differs, an entry is NaN or infinite, or the
                encoding does not take it.
            TypeError: If the samples are not real.
            DeviceError: If the backend cannot run the circuit.
            QuantumCircuitError: If a device that is not ours fails.
        """
        return self._features(self._feature_map.prepare("X", X))

    def gamma_of(self, X: Any) -> float:
        r"""The ``gamma`` that fits some samples, by scikit-learn's ``"scale"`` rule.

        It is 2 divided by the number of projected features and by their variance. The
        2 is there because :math:`\gamma` multiplies half the squared distance of the
        features.

        Args:
            X: Samples, shape ``(n_samples, input_dim)``.

        Raises:
            ValueError: If the features do not vary, or as :meth:`features`.
        """
        features = self.features(X)
        variance = float(features.var())
        if variance == 0.0:
            raise ValueError(
                "Argument `X` must have samples whose features differ, but all "
                "projected features have one value. Give a gamma."
            )
        return 2.0 / (features.shape[1] * variance)

    def _gamma(self, gamma: float | None) -> float:
        return 2.0 / self.n_qubits if gamma is None else real("gamma", gamma, above=0.0)

    def _circuit(self) -> Circuit:
        found = bloch_vectors(self._feature_map.n_qubits)
        return Measured(self._feature_map, found)

    def _options(self) -> dict[str, Any]:
        return {"gamma": self.gamma}

    def _features(self, rows: Float2D) -> Float2D:
        if self._shots is None:
            return self._placed.values(rows, self.parameters)
        qnode = qml.set_shots(self._placed.qnode, self._shots)
        with devices.running_on(self._placed.device, self._backend.name):
            found = qnode(rows, self.parameters)
        return np.stack([np.reshape(part, len(rows)) for part in found], axis=1)

    def _matrix(self, rows: Float2D, columns: Float2D | None) -> Float2D:
        features = self._features(rows)
        others = features if columns is None else self._features(columns)
        return self._of_features(features, others)

    def _of_features(self, features: Float2D, others: Float2D) -> Float2D:
        return np.exp(-self.gamma / 2.0 * cdist(features, others, "sqeuclidean"))

    def _differentiable(self, rows: Float2D) -> tuple[Float2D, PullBack]:
        work = compiled(self._placed.program).new_pass(len(rows))
        index = np.arange(len(rows))
        features = work.forward(self.parameters.copy(), rows, index).copy()
        found = self._of_features(features, features)

        def pull_back(derivatives: Float2D) -> Float1D:
            both = -self.gamma * found * (derivatives + derivatives.T)
            total = both.sum(axis=1, keepdims=True)
            with one_blas_thread():
                cotangents = total * features - both @ features
            gradient, _ = work.backward(cotangents)
            return gradient.copy()

        return found, pull_back
