"""The generalised Gauss-Newton matrix of the loss of a model."""

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
    r"""The Gauss-Newton matrix :math:`G = \sum_b J_b^T H_b J_b`.

    :math:`J_b` is the Jacobian of the outputs of sample :math:`b` with respect to the
    parameters, and :math:`H_b` the second derivative of the loss with respect to these
    outputs, so that :math:`G` is positive semidefinite for a convex loss. It has rows
    and columns for frozen parameters too.

    Args:
        expectations: The circuit, on a device of this package without shots.
        loss: A loss that has a ``hessian``.

    Raises:
        ValueError: If the loss has no ``hessian``, or the model cannot be compiled.

    Example:
        >>> from qstore_pl import QuantumModel
        >>> from qstore_pl.gradients import ModelExpectations
        >>> from qstore_pl.losses import get_loss
        >>> model = QuantumModel(2, 1, seed=0)
        >>> X, rows = np.array([[0.1, 0.2], [0.3, 0.4]]), np.arange(2)
        >>> matrix = GaussNewton(ModelExpectations(model), get_loss("mse"))
        >>> found = matrix(
        ...     model.parameters, model.prepare(X), rows, model(X), np.zeros((2, 1))
        ... )
        >>> found.shape, bool(np.linalg.eigvalsh(found).min() > -1e-12)
        ((12, 12), True)

    References:
        Schraudolph, Fast curvature matrix-vector products for second-order gradient
        descent, Neural Computation 14, 1723 (2002).
    """

    def __init__(self, expectations: Expectations, loss: Loss) -> None:
        if loss.hessian is None:
            raise ValueError(
                "Gauss-Newton needs the second derivative of the loss, but "
                f'{loss!r} has none. Take "mse", "cross_entropy" or "binary", or '
                "Loss(fn, grad, hessian=...)."
            )
        if expectations.program is None:
            raise ValueError(
                "Gauss-Newton needs a compiled model, but on "
                f"{expectations.device.name} it is not. Take a qstore device."
            )
        self._n_weights, self._readout = expectations.n_weights, expectations.readout
        self._loss = loss
        # Weights become features in this program, so that every sample has a gradient.
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
        """The matrix for some samples, shape ``(n_parameters, n_parameters)``.

        Args:
            parameters: Weights of the circuit, followed by the parameters of the
                readout, shape ``(n_parameters,)``.
            features: Encoded data, shape ``(n_samples, n_features)``.
            rows: Indices of the samples, shape ``(batch,)``.
            outputs: Outputs for these samples, shape ``(batch, n_outputs)``.
            targets: Prepared targets of these samples.
        """
        n_weights, (batch, n_outputs) = self._n_weights, outputs.shape
        columns = untied_columns(parameters[:n_weights], features[rows])
        one_pass = self._program.new_pass(batch)
        values = one_pass.forward(self._nothing, columns, np.arange(batch)).copy()
        by_values, own = self._readout.jacobian(values, parameters[n_weights:])
        jacobian = np.empty((batch, n_outputs, parameters.size))
        jacobian[:, :, n_weights:] = own
        for k in range(n_outputs):
            if k:
                one_pass.again()
            cotangents = np.ascontiguousarray(by_values[:, k])
            _, gradients = one_pass.backward(cotangents, inputs=True)
            assert gradients is not None
            jacobian[:, k, :n_weights] = gradients[:, -n_weights:]
        with one_blas_thread():
            curved = self._loss.second_derivative(outputs, targets) @ jacobian
            size = parameters.size
            return jacobian.reshape(-1, size).T @ curved.reshape(-1, size)
