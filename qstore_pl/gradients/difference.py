"""Gradients from differences of measured values at neighbouring weights.

The circuits of all samples go to the device in one submission.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.gradients.estimator import GradientEstimator
from qstore_pl.gradients.expectations import Expectations, Float1D, Float2D


class CentralDifferences(GradientEstimator):
    """The base class of estimators that step forward and backward in some directions.

    Args:
        expectations: The circuit, and the device that it runs on.
    """

    def __init__(self, expectations: Expectations) -> None:
        super().__init__(expectations)
        self._directions = np.empty((0, 0))
        self._changes = np.empty((0, 0, 0))

    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``."""
        points = [weights]
        if gradient:
            self._directions = self._drawn()
            points += [weights + d for d in self._directions]
            points += [weights - d for d in self._directions]
        values = self.expectations.values(points, features[rows], rows)
        if gradient:
            forward, backward = np.split(values[1:], 2)
            self._changes = 0.5 * (forward - backward)
        return np.asarray(values[0])

    @abstractmethod
    def _drawn(self) -> Float2D:
        """Steps in the weights, shape ``(n_directions, n_weights)``."""

    def _slopes(self, cotangents: Float2D) -> Float1D:
        """How much a step in each direction changes the loss, to first order.

        It is half the difference between the measured values after a step forward and a
        step backward, contracted with the cotangents.

        Args:
            cotangents: Derivatives :math:`dm` of the loss with respect to the measured
                values, shape ``(batch, n_values)``.

        Returns:
            Shape ``(n_directions,)``.
        """
        return np.einsum("dbk,bk->d", self._changes, cotangents)


@final
class FiniteDifferences(CentralDifferences):
    r"""Central finite differences, :math:`(f(w + h e_i) - f(w - h e_i)) / 2h`.

    Args:
        expectations: The circuit, and the device that it runs on.
        epsilon: Step :math:`h` in radians, > 0; None takes :func:`best_step`.
    """

    def __init__(
        self, expectations: Expectations, *, epsilon: float | None = None
    ) -> None:
        super().__init__(expectations)
        self._step = best_step(self.shots) if epsilon is None else epsilon

    def _drawn(self) -> Float2D:
        """A step along each trained weight."""
        trained = self.expectations.trainable
        return self._step * np.eye(len(trained))[trained]

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        gradient = np.zeros(self.expectations.n_weights)
        steps = self._directions / self._step**2
        return gradient + self._slopes(cotangents) @ steps


@final
class SimultaneousPerturbation(CentralDifferences):
    r"""Simultaneous perturbation (SPSA), averaged over random directions.

    The entries of a direction :math:`\Delta` are 1 or -1 with the same probability. The
    gradient is estimated as
    :math:`\Delta\, (f(w + c\Delta) - f(w - c\Delta)) / 2c`, which takes two circuits
    for each sample, whatever the number of weights. Its bias is :math:`O(c^2)`.

    Args:
        expectations: The circuit, and the device that it runs on.
        epsilon: Step :math:`c` in radians, > 0. None takes 1e-3, or with shots
            :func:`best_step` divided by the root of the number of trained weights.
        n_directions: Number of directions that are averaged, >= 1.
        rng: Generator from which the directions are drawn.

    References:
        Spall, Multivariate stochastic approximation using a simultaneous perturbation
        gradient approximation (1992), doi:10.1109/9.119632.
    """

    def __init__(
        self,
        expectations: Expectations,
        *,
        epsilon: float | None = None,
        n_directions: int = 1,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(expectations)
        self._epsilon, self._n_directions, self._rng = epsilon, n_directions, rng
        self._step = 1.0  # of the last directions

    def _drawn(self) -> Float2D:
        """Steps of the same length along every trained weight, of random signs."""
        trainable = self.expectations.trainable
        n_trainable = np.count_nonzero(trainable)
        if n_trainable == 0:
            return np.zeros((0, len(trainable)))
        step = self._epsilon
        if step is None:
            step = best_step(self.shots) / np.sqrt(n_trainable) if self.shots else 1e-3
        self._step = step
        signs = np.zeros((self._n_directions, len(trainable)))
        shape = (self._n_directions, n_trainable)
        signs[:, trainable] = 2.0 * self._rng.integers(0, 2, shape) - 1.0
        return step * signs

    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``."""
        scale = self._step**2 * self._n_directions
        return np.asarray(self._slopes(cotangents) @ self._directions / scale)


def best_step(shots: int) -> float:
    r"""The step :math:`h` in radians that is best for central differences of a sine.

    It balances two errors: :math:`h^2/6` of the difference quotient, and the error of
    the two values divided by :math:`h`. The latter are rounding errors, or with shots a
    standard deviation of at most 1 over the root of the number of shots.

    Args:
        shots: Measurements per circuit; 0 if values are exact.
    """
    if shots:
        return float((9.0 / shots) ** (1 / 6))
    return float((3.0 * np.finfo(np.float64).eps) ** (1 / 3))
