"""One gradient on one batch, and one update from one or several of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.config import TrainingConfig
from qstore_pl.gradients import GaussNewton, Run, WeightMetric, metric_of
from qstore_pl.losses import Loss
from qstore_pl.model import QuantumModel
from qstore_pl.optimizers import NaturalGradient, Optimizer, clip_gradients

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


class NotFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite; nothing was changed."""


class Step:
    """Outputs, loss, gradient, clipping, metric, optimizer.

    Args:
        model: Its parameters are updated in place.
        loss: Of its outputs.
        optimizer: Makes the updates.
        run: The gradient method.
        config: For clipping and the metric.
    """

    def __init__(
        self,
        model: QuantumModel,
        loss: Loss,
        optimizer: Optimizer,
        run: Run,
        config: TrainingConfig,
    ) -> None:
        self.model, self.loss, self.run = model, loss, run
        self.optimizer = optimizer
        self._clip = {
            "value": config.gradient_clip_value,
            "norm": config.gradient_clip_norm,
        }
        self._weights = model.weights
        self.gradients = np.zeros(model.parameters.size)
        self._natural: _Natural | None = None
        if isinstance(optimizer, NaturalGradient):
            self._natural = _Natural(self, optimizer, config)

    def outputs(self, features: Float2D, rows: NDArray[np.int64]) -> Float2D:
        """Outputs of some samples, overwritten by the next run."""
        return self.model.read_out(self.run.forward(self._weights, features, rows))

    def gradient(
        self, features: Float2D, targets: NDArray[Any], rows: NDArray[np.int64]
    ) -> tuple[float, Float2D]:
        """Loss and outputs of a batch; the gradient is in :attr:`gradients`.

        Raises:
            NotFiniteError: If the loss or a trained entry of the gradient is not.
        """
        model, gradients = self.model, self.gradients
        expectations = self.run.forward(self._weights, features, rows)
        outputs = model.read_out(expectations)
        value, cotangents = self.loss.value_and_grad(outputs, targets)
        if not abs(value) < np.inf:
            raise NotFiniteError(
                f"The loss must be finite, but is {value}. The parameters are those "
                "before this step; look at the data and the learning rate."
            )
        cotangents = model.pull_back(cotangents, expectations, gradients)
        gradients[: model.n_weights] = self.run.backward(cotangents)
        return value, outputs

    def update(
        self,
        features: Float2D,
        targets: NDArray[Any],
        rows: NDArray[np.int64],
        value: float,
        outputs: Float2D,
    ) -> tuple[float, Float2D]:
        """The update from :attr:`gradients`; a metric is that of the batch given.

        Returns:
            The norm of the gradient before clipping, and the outputs, kept.

        Raises:
            NotFiniteError: If a trained entry of the gradient is not finite.
        """
        norm = self._clipped()
        model = self.model
        if self._natural is None:
            self.optimizer.step(
                model.parameters, self.gradients, trainable=model.trainable
            )
            return norm, outputs
        outputs = outputs.copy()  # the next run would overwrite them
        self._natural.step(features, targets, rows, value, outputs)
        return norm, outputs

    def update_alone(self) -> float:
        """The update from :attr:`gradients` without a batch: by the last metric.

        Returns:
            The norm of the gradient before clipping.

        Raises:
            NotFiniteError: As :meth:`update`.
            ValueError: If there was no metric yet.
        """
        norm = self._clipped()
        model = self.model
        self.optimizer.step(model.parameters, self.gradients, trainable=model.trainable)
        return norm

    def _clipped(self) -> float:
        """Clip the gradient, and return its norm before."""
        trainable = self.model.trainable
        norm = clip_gradients(self.gradients, trainable=trainable, **self._clip)
        if not norm < np.inf:
            raise NotFiniteError(
                f"The gradient must be finite, but its norm is {norm}. The parameters "
                "are those before this step; look at the loss and the learning rate."
            )
        return norm


class _Natural:
    """The update by a metric, which is taken where the gradient was."""

    def __init__(
        self, step: Step, optimizer: NaturalGradient, config: TrainingConfig
    ) -> None:
        self._step, self._optimizer = step, optimizer
        self._metric: WeightMetric | None = None
        self._gauss_newton: GaussNewton | None = None
        kind = config.resolve("metric")
        if kind == "gauss-newton":
            if config.metric_approximation is not None:
                raise ValueError(
                    "Configuration metric_approximation must be unset for "
                    'metric="gauss-newton", which has none.'
                )
            if step.run.shots:
                raise ValueError(
                    'Configuration metric="gauss-newton" must come without shots: '
                    "Gauss-Newton is made of exact derivatives, but circuits run "
                    f"{step.run.shots}."
                )
            self._gauss_newton = GaussNewton(step.model, step.loss)
        else:
            approximation = config.resolve("metric_approximation")
            self._metric = metric_of(
                step.run.expectations, metric=kind, approximation=approximation
            )

    def step(
        self,
        features: Float2D,
        targets: NDArray[Any],
        rows: NDArray[np.int64],
        value: float,
        outputs: Float2D,
    ) -> None:
        model, metric = self._step.model, None
        if self._optimizer.wants_metric:
            if self._gauss_newton is not None:
                metric = self._gauss_newton(features, rows, outputs, targets)
            elif self._metric is not None:
                metric = self._metric(model.weights, features, rows)
        self._optimizer.step(
            model.parameters,
            self._step.gradients,
            trainable=model.trainable,
            metric=metric,
        )
        if self._optimizer.adapt_damping:
            moved = self._step.outputs(features, rows)
            after, _ = self._step.loss.value_and_grad(moved, targets)
            self._optimizer.adapt(value, after)
