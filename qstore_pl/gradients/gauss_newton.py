"""The generalised Gauss-Newton matrix of a loss: its curvature seen by the outputs."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._blas import one_blas_thread
from qstore_pl.devices import untied_columns
from qstore_pl.gradients.expectations import Expectations, Float1D
from qstore_pl.losses import Loss

Float2D = NDArray[np.float64]


@final
class GaussNewton:
    r""":math:`G = \sum_b J_b^T H_b J_b` of a model's loss by its parameters.

    :math:`J_b` is the Jacobian of the outputs of a sample, :math:`H_b` the second
    derivative of the loss by them, so :math:`G` is positive semidefinite for a convex
    loss. Frozen parameters have their rows too.

    Args:
        expectations: The circuit, on one of our devices and without shots.
        loss: With a ``hessian``.

    Raises:
        ValueError: If the loss has none, or the model cannot be compiled.

    References:
        Schraudolph, Fast curvature matrix-vector products for second-order gradient
        descent, Neural Computation 14, 1723 (2002).
    """

    def __init__(self, expectations: Expectations, loss: Loss) -> None:
        if loss.hessian is None:
            raise ValueError(
                "A loss must have a second derivative for Gauss-Newton, but "
                f'{loss!r} has none. Take "mse" or "cross_entropy", or '
                "Loss(fn, grad, hessian=)."
            )
        if expectations.program is None:
            raise ValueError(
                "A model must be compiled for Gauss-Newton, but on "
                f"{expectations.device.name} it is not. Take a qstore device."
            )
        self._n_weights, self._readout = expectations.n_weights, expectations.readout
        self._loss = loss
        self._program = expectations.program.untied
        self._nothing = np.empty(0)

    def __call__(
        self,
        parameters: Float1D,
        features: Float2D,
        rows: NDArray[np.int64],
        outputs: Float2D,
        targets: NDArray[Any],
    ) -> Float2D:
        """The matrix at some parameters, shape ``(n_parameters, n_parameters)``.

        Args:
            parameters: Weights, then those of the readout, shape ``(n_parameters,)``.
            features: Prepared features, shape ``(n_samples, n_features)``.
            rows: Which samples, shape ``(batch,)``.
            outputs: Of these samples, shape ``(batch, n_outputs)``.
            targets: Prepared targets of these samples.
        """
        n_weights, (batch, n_outputs) = self._n_weights, outputs.shape
        columns = untied_columns(parameters[:n_weights], features[rows])
        run = self._program.new_pass(batch)
        values = run.forward(self._nothing, columns, np.arange(batch)).copy()
        by_values, own = self._readout.jacobian(values, parameters[n_weights:])
        jacobian = np.empty((batch, n_outputs, parameters.size))
        jacobian[:, :, n_weights:] = own
        for k in range(n_outputs):
            if k:
                run.again()
            cotangents = np.ascontiguousarray(by_values[:, k])
            _, gradients = run.backward(cotangents, inputs=True)
            assert gradients is not None
            jacobian[:, k, :n_weights] = gradients[:, -n_weights:]
        with one_blas_thread():
            curved = self._loss.second_derivative(outputs, targets) @ jacobian
            size = parameters.size
            return jacobian.reshape(-1, size).T @ curved.reshape(-1, size)
