"""What every gradient estimator has: outputs of a mini-batch, then their gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from qstore_pl.gradients.expectations import Expectations, Float1D, Float2D


class GradientEstimator(ABC):
    r"""Outputs of a circuit and their gradient with respect to all parameters.

    Parameters are the weights of the circuit, then those of the readout. Only measured
    values :math:`m` are estimated by a method, never a loss: with the derivatives
    :math:`dy` of the loss with respect to the outputs, the readout's chain rule gives
    :math:`dm`, and the gradient is
    :math:`\sum_{bk} dm_{bk}\, \partial m_{bk} / \partial w`.

    Args:
        expectations: The circuit.
    """

    def __init__(self, expectations: Expectations) -> None:
        self.expectations = expectations
        self._n_weights = expectations.n_weights
        self._readout = expectations.readout
        self._parameters = self._weights = self._own = np.empty(0)
        self._values = self._features = np.empty((0, 0))
        self._gradient_of_all = np.empty(0)

    @property
    def shots(self) -> int:
        """Measurements per circuit; 0 is exact."""
        return self.expectations.shots

    @property
    def circuits(self) -> int:
        """Circuits run so far; a simulated gradient comes with its circuit."""
        return self.expectations.circuits

    def forward(
        self, parameters: Float1D, features: Float2D, rows: NDArray[np.int64]
    ) -> Float2D:
        """Outputs, shape ``(batch, n_outputs)``, overwritten by the next call.

        Args:
            parameters: Shape ``(n_parameters,)``; not to be changed before
                :meth:`backward`.
            features: Encoded data, shape ``(n_samples, n_features)``.
            rows: Which samples, shape ``(batch,)``.
        """
        if parameters is not self._parameters:
            self._parameters = parameters
            self._weights = parameters[: self._n_weights]
            self._own = parameters[self._n_weights :]
            self._gradient_of_all = np.empty(parameters.size)
        self._values = self._measure(self._weights, features, rows)
        return self._readout.outputs(self._values, self._own)

    def backward(self, cotangents: Float2D) -> Float1D:
        """The gradient for the samples of :meth:`forward`, once for each call of it.

        Args:
            cotangents: :math:`dy`, derivatives of the loss with respect to the outputs,
                shape ``(batch, n_outputs)``.

        Returns:
            Shape ``(n_parameters,)``, overwritten by the next call; entries of frozen
            parameters have no meaning.
        """
        pulled, own = self._readout.pull_back(cotangents, self._values, self._own)
        gradient = self._gradient_of_all
        gradient[: self._n_weights] = self._gradient(pulled)
        if own.size:
            gradient[self._n_weights :] = own
        return gradient

    def _measure(
        self, weights: Float1D, features: Float2D, rows: NDArray[np.int64]
    ) -> Float2D:
        """Measured values of some samples, shape ``(batch, n_values)``."""
        self._features = features[rows]
        return self.expectations.values([weights], self._features)[0]

    @abstractmethod
    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``.

        Args:
            cotangents: :math:`dm`, shape ``(batch, n_values)``.
        """

    def _slopes(self, directions: Float2D, cotangents: Float2D) -> Float1D:
        """Half the difference of the loss, to first order, across each direction.

        Args:
            directions: Steps in the weights, shape ``(n_directions, n_weights)``.
            cotangents: :math:`dm`, shape ``(batch, n_values)``.
        """
        if len(directions) == 0:
            return np.zeros(0)
        points = [self._weights + sign * d for d in directions for sign in (1.0, -1.0)]
        values = self.expectations.values(points, self._features)
        values = values.reshape(len(directions), 2, *cotangents.shape)
        return 0.5 * np.einsum("dbk,bk->d", values[:, 0] - values[:, 1], cotangents)
