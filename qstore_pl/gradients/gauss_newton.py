"""The generalised Gauss-Newton matrix of a loss: its curvature seen by the outputs."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._blas import one_blas_thread
from qstore_pl.devices import untied_columns
from qstore_pl.losses import Loss
from qstore_pl.model import QuantumModel

Float2D = NDArray[np.float64]


@final
class GaussNewton:
    r""":math:`G = \sum_b J_b^T H_b J_b` of a model's loss by its parameters.

    :math:`J_b` is the Jacobian of the outputs of a sample, :math:`H_b` the second
    derivative of the loss by them, so :math:`G` is positive semidefinite for a convex
    loss. Frozen parameters have their rows too.

    Args:
        model: On one of our devices, without shots.
        loss: With a ``hessian``.

    Raises:
        ValueError: If the loss has none, or the model cannot be compiled.

    References:
        Schraudolph, Fast curvature matrix-vector products for second-order gradient
        descent, Neural Computation 14, 1723 (2002).
    """

    def __init__(self, model: QuantumModel, loss: Loss) -> None:
        if loss.hessian is None:
            raise ValueError(
                "A loss must have a second derivative for Gauss-Newton, but "
                f'{loss!r} has none. Take "mse" or "cross_entropy", or '
                "Loss(fn, grad, hessian=)."
            )
        if model.program is None:
            raise ValueError(
                "A model must be compiled for Gauss-Newton, but on "
                f"{model.device.name} it is not. Take a qstore device."
            )
        self._model, self._loss = model, loss
        self._program = model.program.untied
        self._nothing = np.empty(0)

    def __call__(
        self,
        features: Float2D,
        rows: NDArray[np.int64],
        outputs: Float2D,
        targets: NDArray[Any],
    ) -> Float2D:
        """The matrix at the model's parameters, ``(n_parameters, n_parameters)``.

        Args:
            features: Prepared features, shape ``(n_samples, n_features)``.
            rows: Which samples, shape ``(batch,)``.
            outputs: Of these samples, shape ``(batch, n_outputs)``.
            targets: Prepared targets of these samples.
        """
        model = self._model
        n_weights, (batch, n_outputs) = model.n_weights, outputs.shape
        columns = untied_columns(model.weights, features[rows])
        run = self._program.new_pass(batch)
        expectations = run.forward(self._nothing, columns, np.arange(batch)).copy()
        jacobian = np.zeros((batch, n_outputs, model.parameters.size))
        scales = np.ones(n_outputs)
        if model.readout == "affine":
            scales = model.parameters[n_weights : n_weights + n_outputs]
            own = np.arange(n_outputs)
            jacobian[:, own, n_weights + own] = expectations
            jacobian[:, own, n_weights + n_outputs + own] = 1.0
        for k in range(n_outputs):
            if k:
                run.again()
            cotangents = np.zeros((batch, n_outputs))
            cotangents[:, k] = scales[k]
            _, gradients = run.backward(cotangents, inputs=True)
            assert gradients is not None
            jacobian[:, k, :n_weights] = gradients[:, -n_weights:]
        with one_blas_thread():
            curved = self._loss.second_derivative(outputs, targets) @ jacobian
            size = model.parameters.size
            return jacobian.reshape(-1, size).T @ curved.reshape(-1, size)
