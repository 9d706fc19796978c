"""One training step: the gradient of a batch, and an update of the parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_pl.config import TrainingConfig
from qstore_pl.gradients import (
    GaussNewton,
    GradientEstimator,
    WeightMetric,
    metric_of,
)
from qstore_pl.losses import Loss
from qstore_pl.optimizers import NaturalGradient, Optimizer, clip_gradients
from qstore_pl.trainer.data import Batch
from qstore_pl.trainer.state import Gathered
from qstore_pl.trainer.trainable import Trainable

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


class NotFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite; nothing was changed."""


class Done(NamedTuple):
    """The results of one batch.

    Attributes:
        value: The loss before the update.
        outputs: The outputs before the update, shape ``(batch, n_outputs)``. The next
            batch may overwrite the array.
        norm: Norm of the gradient before clipping, if the parameters were updated, else
            None.
    """

    value: float
    outputs: Float2D
    norm: float | None


class Step:
    """All that is done with a batch, from the outputs to the optimizer.

    Args:
        model: The model, whose parameters are updated in place.
        loss: The loss to be minimised.
        optimizer: The optimizer that updates the parameters.
        estimator: The gradient estimator.
        config: Settings for accumulation, clipping and the metric tensor.
    """

    def __init__(
        self,
        model: Trainable,
        loss: Loss,
        optimizer: Optimizer,
        estimator: GradientEstimator,
        config: TrainingConfig,
    ) -> None:
        self.model, self.loss, self.estimator = model, loss, estimator
        self.optimizer = optimizer
        self._clip = {
            "value": config.gradient_clip_value,
            "norm": config.gradient_clip_norm,
        }
        self._every: int = config.resolve("accumulation_steps")
        self._parameters, self._trainable = model.parameters, model.trainable
        self._natural: _Natural | None = None
        if isinstance(optimizer, NaturalGradient):
            self._natural = _Natural(self, optimizer, config)

    def batch(self, batch: Batch, gathered: Gathered, *, is_last: bool) -> Done:
        """Take the gradient of a batch, and update the parameters if it is time.

        It is time after ``accumulation_steps`` batches, and at the end of the epoch.

        Args:
            batch: The samples.
            gathered: The gathered gradient, to which this batch is added where
                gradients of several batches are accumulated.
            is_last: Whether this is the last batch of the epoch.

        Raises:
            NotFiniteError: If the loss, or the gradient of a trained parameter, is NaN
                or infinite.
        """
        features, targets, rows, _ = batch
        outputs = self.estimator.forward(
            self._parameters, features, rows, targets=targets
        )
        value, cotangents = self.loss.value_and_grad(outputs, targets)
        if not abs(value) < np.inf:
            raise NotFiniteError(
                f"The loss must be finite, but is {value}. The parameters are those "
                "before this step; look at the data and the learning rate."
            )
        gradients = self.estimator.backward(cotangents)
        if self._every > 1:
            gathered.add(gradients, len(rows))
            if gathered.n_batches < self._every and not is_last:
                return Done(value, outputs, None)
            gathered.take(gradients)
        norm = self._clipped(gradients)
        if self._natural is None:
            self.optimizer.step(self._parameters, gradients, trainable=self._trainable)
            return Done(value, outputs, norm)
        outputs = outputs.copy()  # the optimizer may run the circuit again
        self._natural.step(gradients, features, targets, rows, value, outputs)
        return Done(value, outputs, norm)

    def rest(self, gathered: Gathered) -> float | None:
        """Update the parameters at the end of an epoch whose last batch was skipped.

        The gradient is that of the batches since the last update. The natural gradient
        uses the metric tensor of the last update again.

        Args:
            gathered: The gathered gradient.

        Returns:
            The norm of the gradient before clipping, or None if nothing was gathered.

        Raises:
            NotFiniteError: As in :meth:`batch`.
            ValueError: If there is no metric tensor yet.
        """
        if not gathered.n_batches:
            return None
        gradients = np.empty(self._parameters.size)
        gathered.take(gradients)
        norm = self._clipped(gradients)
        self.optimizer.step(self._parameters, gradients, trainable=self._trainable)
        return norm

    def outputs(self, features: Float2D, rows: NDArray[np.int64]) -> Float2D:
        """The outputs for some samples; the next call may overwrite the array."""
        return self.estimator.forward(self._parameters, features, rows, gradient=False)

    def _clipped(self, gradients: Float1D) -> float:
        """Clip the gradient, and return the norm that it had before."""
        norm = clip_gradients(gradients, trainable=self._trainable, **self._clip)
        if not norm < np.inf:
            raise NotFiniteError(
                f"The gradient must be finite, but its norm is {norm}. The parameters "
                "are those before this step; look at the loss and the learning rate."
            )
        return norm


class _Natural:
    """The natural gradient step, with the metric tensor at the same parameters."""

    def __init__(
        self, step: Step, optimizer: NaturalGradient, config: TrainingConfig
    ) -> None:
        self._step, self._optimizer = step, optimizer
        self._metric: WeightMetric | None = None
        self._gauss_newton: GaussNewton | None = None
        kind = config.resolve("metric_tensor")
        expectations = step.estimator.expectations
        if kind == "gauss-newton":
            if config.metric_tensor_approximation is not None:
                raise ValueError(
                    "Configuration metric_tensor_approximation must be unset for "
                    'metric_tensor="gauss-newton", which has none.'
                )
            if expectations.shots:
                raise ValueError(
                    'Configuration metric_tensor="gauss-newton" must come without '
                    "shots: Gauss-Newton is made of exact derivatives, but circuits "
                    f"run {expectations.shots}."
                )
            self._gauss_newton = GaussNewton(expectations, step.loss)
        else:
            approximation = config.resolve("metric_tensor_approximation")
            self._metric = metric_of(
                expectations, metric=kind, approximation=approximation
            )

    def step(
        self,
        gradients: Float1D,
        features: Float2D,
        targets: NDArray[Any],
        rows: NDArray[np.int64],
        value: float,
        outputs: Float2D,
    ) -> None:
        model, metric = self._step.model, None
        parameters = model.parameters
        if self._optimizer.wants_metric:
            if self._gauss_newton is not None:
                metric = self._gauss_newton(
                    parameters, features, rows, outputs, targets
                )
            elif self._metric is not None:
                weights = parameters[: model.n_weights]
                metric = self._metric(weights, features, rows)
        self._optimizer.step(
            parameters, gradients, trainable=model.trainable, metric=metric
        )
        if self._optimizer.adapt_damping:
            moved = self._step.outputs(features, rows)
            after, _ = self._step.loss.value_and_grad(moved, targets)
            self._optimizer.adapt(value, after)
