"""The base class of gradient estimators: outputs of a mini-batch, and a gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pennylane.devices import Device

from qstore_pl.backends import Purse
from qstore_pl.gradients.expectations import Expectations, Float1D, Float2D


class GradientEstimator(ABC):
    r"""Outputs of a circuit, and the gradient of a loss with respect to all parameters.

    Parameters are the weights of the circuit, followed by those of the readout. A
    gradient estimator differentiates the measured values :math:`m`, never the loss. It
    is given the derivatives :math:`dy` of the loss with respect to the outputs; the
    chain rule of the readout turns them into :math:`dm`, the derivatives with respect
    to the measured values; and the gradient with respect to the weights :math:`w` is
    :math:`\sum_{bk} dm_{bk}\, \partial m_{bk} / \partial w`, summed over samples
    :math:`b` and measured values :math:`k`.

    Args:
        expectations: The circuit, and the device that it runs on.

    Attributes:
        expectations: The circuit, and the device that it runs on.
        samples: Number of samples of the last call of :meth:`forward`.
    """

    def __init__(self, expectations: Expectations) -> None:
        self.expectations, self.samples = expectations, 0
        self._n_weights = expectations.n_weights
        self._readout = expectations.readout
        self._parameters = self._weights = self._own = np.empty(0)
        self._values = np.empty((0, 0))
        self._gradient_of_all = np.empty(0)

    @property
    def parts(self) -> Sequence[GradientEstimator]:
        """The estimators that run circuits, one for each backend."""
        return (self,)

    @property
    def shots(self) -> int:
        """Measurements per circuit; 0 if values are exact."""
        return self.expectations.shots

    @property
    def spent(self) -> int:
        """Number of shots measured so far."""
        return self.expectations.measured

    @property
    def devices(self) -> list[Device]:
        """The devices that circuits run on."""
        return [part.expectations.device for part in self.parts]

    def limit(self, purse: Purse | None) -> None:
        """Let circuits be run within a budget only.

        Args:
            purse: What may be spent, and was spent; None does not limit it.
        """
        for part in self.parts:
            part.expectations.limit(purse)

    @property
    def values(self) -> Float2D:
        """The measured values of the last :meth:`forward`, ``(batch, n_values)``."""
        return self._values

    @property
    def state(self) -> dict[str, Any]:
        """What the next gradient depends on besides its arguments, for a checkpoint."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :attr:`state` returned."""
        del state

    @property
    def circuits(self) -> int:
        """Number of circuits run so far; an adjoint gradient adds none."""
        return self.expectations.circuits

    def forward(
        self,
        parameters: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool = True,
        targets: NDArray[Any] | None = None,
    ) -> Float2D:
        """The outputs for some samples.

        The circuits that the gradient takes are run as well, in the same submission.

        Args:
            parameters: Shape ``(n_parameters,)``. They must not change before
                :meth:`backward` is called.
            features: Encoded data, shape ``(n_samples, n_features)``.
            rows: Indices of the samples, shape ``(batch,)``.
            gradient: Whether :meth:`backward` may follow.
            targets: Prepared targets of these samples. Only :class:`ParallelEstimator`
                needs them, if it computes the derivatives of the loss itself.

        Returns:
            Shape ``(batch, n_outputs)``; the next call may overwrite the array.
        """
        del targets
        if parameters is not self._parameters:
            self._parameters = parameters
            self._weights = parameters[: self._n_weights]
            self._own = parameters[self._n_weights :]
            self._gradient_of_all = np.empty(parameters.size)
        self.samples = len(rows)
        self._values = self._measure(self._weights, features, rows, gradient=gradient)
        return self._readout.outputs(self._values, self._own)

    def backward(self, cotangents: Float2D) -> Float1D:
        """The gradient for the samples of the last :meth:`forward`.

        It may be called once after each call of :meth:`forward`.

        Args:
            cotangents: Derivatives :math:`dy` of the loss with respect to the outputs,
                shape ``(batch, n_outputs)``.

        Returns:
            Shape ``(n_parameters,)``; the next call overwrites the array. Entries of
            frozen parameters have no meaning.
        """
        pulled, own = self._readout.pull_back(cotangents, self._values, self._own)
        gradient = self._gradient_of_all
        gradient[: self._n_weights] = self._gradient(pulled)
        if own.size:
            gradient[self._n_weights :] = own
        return gradient

    @abstractmethod
    def _measure(
        self,
        weights: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        *,
        gradient: bool,
    ) -> Float2D:
        """The measured values of some samples, shape ``(batch, n_values)``.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Encoded data, shape ``(n_samples, n_features)``.
            rows: Indices of the samples, shape ``(batch,)``.
            gradient: Whether :meth:`_gradient` may follow.
        """

    @abstractmethod
    def _gradient(self, cotangents: Float2D) -> Float1D:
        """The gradient with respect to the weights, shape ``(n_weights,)``.

        Args:
            cotangents: Derivatives :math:`dm` of the loss with respect to the measured
                values, shape ``(batch, n_values)``.
        """
