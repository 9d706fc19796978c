"""The device's own vector-Jacobian product through a QNode.

For circuits of our devices that cannot be compiled, such as those whose noise depends
on the values of gates: a parameter shift would shift the noise too. The chain rule of
the loss is the caller's, as for :class:`ShiftedRun`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
from autograd import make_vjp
from numpy.typing import NDArray

from qstore_pl.model import QuantumModel

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


class DeviceRun:
    """Expectation values of a model and their gradient, a mini-batch as one circuit.

    Args:
        model: Its device gives gradients of its own, and has no shots.
    """

    shots = 0

    def __init__(self, model: QuantumModel) -> None:
        self._model = model
        self._pull_back: Callable[..., Any] | None = None
        self.circuits = 0  # samples run so far

    def forward(self, features: Float2D) -> Float2D:
        """Expectation values, shape ``(batch, n_outputs)``.

        Args:
            features: Prepared features, shape ``(batch, n_features)``.
        """
        qnode = self._model.qnode
        self.circuits += len(features)
        self._pull_back, value = make_vjp(
            lambda weights: qml.math.stack(qnode(features, weights), axis=1)
        )(self._model.weights)
        return np.asarray(value, dtype=np.float64)

    def backward(self, cotangents: Float2D) -> Float1D:
        """Gradient with respect to the weights, for the samples of :meth:`forward`.

        Args:
            cotangents: Shape ``(batch, n_outputs)``.

        Returns:
            Shape ``(n_weights,)``.
        """
        if self._pull_back is None:
            raise RuntimeError("DeviceRun.backward needs a forward run before it.")
        return np.asarray(self._pull_back(cotangents), dtype=np.float64)
