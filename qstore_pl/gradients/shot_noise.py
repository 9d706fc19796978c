"""What a finite number of shots does to a loss and its gradient, without drawing any.

Variances of single outcomes are computed from their exact probabilities, and propagated
to losses and gradients. All variances here are those with one shot in each circuit;
those with more shots are smaller by their number.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import devices
from qstore_pl._lazy import cached_property
from qstore_pl.gradients.expectations import Float1D, Float2D, ModelExpectations
from qstore_pl.gradients.methods import estimator_of
from qstore_pl.losses import get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.readout import DIRECT

_STEP = 1e-5  # of measured values, for differences of the derivatives of the loss


@final
class ShotVariances:
    """The loss of a model on a batch, and the variances that shots give it.

    Everything is at the present parameters of the model. Gradients are with respect to
    the trained weights of its circuit, by the parameter-shift rule.

    Args:
        model: The model, on a device of this package without shots.
        batch: Inputs and targets, as for training.
        loss: Name of a loss, a Loss, or a function of (predictions, targets).

    Attributes:
        features: The encoded samples, shape ``(batch, n_features)``.
        targets: The targets as the loss takes them.
        loss: The loss.

    Raises:
        ValueError: If the model runs on another device, no weight is trained, or the
            data do not fit.
    """

    def __init__(
        self, model: QuantumModel, batch: tuple[Any, Any], loss: Any = "mse"
    ) -> None:
        self.exact = ModelExpectations(model, readout=DIRECT)
        if not self.exact.is_exact_here:
            raise ValueError(
                "Argument `model` must run on a qstore device without shots, which has "
                "the adjoint gradient to compare with, but runs on "
                f'{model.device.name}. Copy it and set its backend: model.backend = "'
                'mock_ideal".'
            )
        if not self.exact.trainable.any():
            raise ValueError("Argument `model` must have a trainable circuit weight.")
        inputs, targets = batch
        self._model = model
        self.features = model.prepare(inputs)
        self.loss = get_loss(loss)
        self.targets = self.loss.prepare_targets(
            targets, model.output_dim, len(self.features)
        )
        self._sampled = ModelExpectations(model, shots=1)
        self._rows = np.arange(len(self.features))

    @property
    def _own(self) -> Float1D:
        """The parameters of the readout."""
        return self._model.parameters[self._model.n_weights :]

    @cached_property
    def values(self) -> Float2D:
        """The exact measured values, shape ``(batch, n_values)``."""
        return self._model.placed.values(self.features, self._model.weights)

    @cached_property
    def value(self) -> float:
        """The exact loss."""
        outputs = self._model.readout.outputs(self.values, self._own)
        return self.loss.value(outputs, self.targets)

    def pulled(self, values: Float2D) -> Float2D:
        """The derivatives of the loss with respect to the measured values.

        Args:
            values: Measured values, shape ``(batch, n_values)``.
        """
        readout = self._model.readout
        outputs = readout.outputs(values, self._own)
        _, cotangents = self.loss.value_and_grad(outputs, self.targets)
        return readout.pull_back(cotangents, values, self._own)[0]

    @cached_property
    def gradient(self) -> Float1D:
        """The exact gradient, shape ``(n_weights,)``, 0 for frozen weights."""
        return self._slope(self.pulled(self.values))

    def _slope(self, cotangents: Float2D) -> Float1D:
        """The gradient of the sum of cotangents times measured values."""
        estimator = estimator_of(self.exact, "adjoint")
        estimator.forward(self._model.weights, self.features, self._rows)
        found = estimator.backward(cotangents)
        return np.where(self.exact.trainable, found, 0.0)

    def of_loss(self) -> float:
        """Variance of the loss, to first order in the errors of measured values."""
        return float(self._alone(self.pulled(self.values)).sum())

    def of_gradient(self, directions: Float2D | None = None) -> Float1D:
        """Variance of the gradient, or of its products with some vectors.

        It has two parts: the errors of the shifted circuits, and those of the measured
        values at which the loss is differentiated. The latter are propagated to first
        order.

        Args:
            directions: Vectors, shape ``(n_directions, n_weights)``; None means the
                entries of the gradient.

        Returns:
            Shape ``(n_directions,)``, or ``(n_weights,)`` for the entries.
        """
        model, trainable = self._model, self.exact.trainable
        if directions is None:
            directions = np.eye(model.n_weights)
        directions = np.where(trainable, directions, 0.0)
        lanes, shifts = self._lanes(trainable)
        place = model.weights, self.features
        spread = lanes.spread(shifts, *place, self._rows, self.pulled(self.values))
        of_shifts = shifts.variance(spread, *place, directions)
        slopes = self._slopes() @ directions.T
        of_values = [self._alone(slopes[:, :, i]).sum() for i in range(len(directions))]
        return of_shifts + np.array(of_values)

    def _slopes(self) -> NDArray[np.float64]:
        """Derivatives of the gradient with respect to the measured values.

        Returns:
            Shape ``(batch, n_values, n_weights)``.
        """
        batch, n_values = self.values.shape
        slopes = np.zeros((batch, n_values, self._model.n_weights))
        for unit in np.eye(self.values.size).reshape(-1, batch, n_values):
            ahead = self.pulled(self.values + _STEP * unit)
            behind = self.pulled(self.values - _STEP * unit)
            slopes[unit == 1.0] = self._slope((ahead - behind) / (2 * _STEP))
        return slopes

    def _alone(self, cotangents: Float2D) -> Float1D:
        """Variance of the sum of cotangents times measured values of each sample."""
        lanes, shifts = self._lanes(np.zeros_like(self.exact.trainable))
        place = self._model.weights, self.features, self._rows
        return lanes.spread(shifts, *place, cotangents)[0]

    def _lanes(self, wanted: NDArray[np.bool_]) -> tuple[devices.Lanes, devices.Shifts]:
        """The circuit with shifted gates, and lanes for the gradient of weights."""
        lanes = self._sampled.lanes((), shifted=True)
        if not isinstance(lanes, devices.Lanes):
            raise ValueError(  # noqa: TRY004 - the circuit is wrong, not its type
                "Argument `model` must run on a device of this package, with a circuit "
                "that can be compiled with shifts, but runs elsewhere, or has a gate "
                "without a shift rule or noise that depends on the values of gates. "
                "Use other gates, and a NoiseSpec."
            )
        return lanes, lanes.shifts(wanted)
