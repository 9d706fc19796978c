"""What every gradient method has: expectation values, then their gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from qstore_pl.gradients.expectations import Expectations, Float1D, Float2D


class Run(ABC):
    r"""Expectation values of a mini-batch and their gradient by one method.

    Methods act on expectation values, never on the loss: the chain rule
    :math:`\partial L/\partial w = \sum_{bk} dy_{bk}\, \partial\langle O_k\rangle_b /
    \partial w` is applied in :meth:`backward`, and :math:`dy` is the caller's.

    Args:
        expectations: The circuit.
    """

    def __init__(self, expectations: Expectations) -> None:
        self.expectations = expectations
        self._weights = np.empty(0)
        self._features = np.empty((0, 0))

    @property
    def shots(self) -> int:
        """Measurements per circuit; 0 is exact."""
        return self.expectations.shots

    @property
    def circuits(self) -> int:
        """Circuits run so far; a simulated gradient comes with its circuit."""
        return self.expectations.circuits

    def forward(
        self, weights: Float1D, features: Float2D, rows: NDArray[np.int64]
    ) -> Float2D:
        """Expectation values, shape ``(batch, n_outputs)``.

        Args:
            weights: Shape ``(n_weights,)``; not to be changed before :meth:`backward`.
            features: Shape ``(n_samples, n_features)``.
            rows: Which samples, shape ``(batch,)``.
        """
        self._weights, self._features = weights, features[rows]
        return self.expectations.values([weights], self._features)[0]

    @abstractmethod
    def backward(self, cotangents: Float2D) -> Float1D:
        """Gradient by the weights for the samples of :meth:`forward`, once for each.

        Args:
            cotangents: :math:`dy`, shape ``(batch, n_outputs)``.

        Returns:
            Shape ``(n_weights,)``; entries of frozen weights have no meaning.
        """

    def _slopes(self, directions: Float2D, cotangents: Float2D) -> Float1D:
        """Half the differences across directions, by the chain rule of the loss.

        Args:
            directions: Steps in the weights, shape ``(n_directions, n_weights)``.
            cotangents: Shape ``(batch, n_outputs)``.
        """
        if len(directions) == 0:
            return np.zeros(0)
        points = [self._weights + sign * d for d in directions for sign in (1.0, -1.0)]
        values = self.expectations.values(points, self._features)
        values = values.reshape(len(directions), 2, *cotangents.shape)
        return 0.5 * np.einsum("dbk,bk->d", values[:, 0] - values[:, 1], cotangents)
