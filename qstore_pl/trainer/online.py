"""Training epoch by epoch, each on samples of its own, without an end."""

from __future__ import annotations

import copy
from typing import Any

from qstore_pl.config import TrainingConfig
from qstore_pl.history import History
from qstore_pl.losses import Loss
from qstore_pl.optimizers import Constant, Optimizer, get_optimizer
from qstore_pl.trainer.beginning import gradients_of, state_of
from qstore_pl.trainer.data import source_of
from qstore_pl.trainer.interrupts import Interrupts
from qstore_pl.trainer.loop import Loop
from qstore_pl.trainer.step import Step
from qstore_pl.trainer.trainable import Trainable


class Online:
    """A training run whose samples are not known in advance.

    The optimizer keeps its state from one epoch to the next, and so do the random
    generators. Nothing is validated, and no checkpoints are written.

    Args:
        model: The model, which has a backend.
        loss: The loss, which takes weights of samples.
        config: Settings of the run; the learning rate is constant.
        optimizer: An optimizer that is used instead of the one in the configuration,
            with the state that it has.
        history: The history to which each epoch adds a row.
    """

    def __init__(
        self,
        model: Trainable,
        loss: Loss,
        config: TrainingConfig,
        optimizer: Optimizer | None,
        history: History,
    ) -> None:
        self._model, self._loss, self._config = model, loss, config
        self.optimizer = (
            get_optimizer(config.resolve("optimizer"), config.resolve("learning_rate"))
            if optimizer is None
            else copy.deepcopy(optimizer)
        )
        self._state = state_of(config, model, loss, history, {})
        self._state.epoch = len(history)

    def epoch(self, data: Any) -> None:
        """Train one epoch on some samples, in place.

        Args:
            data: ``(X, y, weights)``, with a weight >= 0 for each sample.

        Raises:
            ValueError: If the data do not fit the model, or the loss becomes NaN or
                infinite.
        """
        state, config, model = self._state, self._config, self._model
        estimator = gradients_of(model, config, state.method_rng)
        if state.estimator:
            estimator.load_state(state.estimator)
        step = Step(model, self._loss, self.optimizer, estimator, config)
        source = source_of(data, "data", model, self._loss, config, 1)
        schedule = Constant(self.optimizer.learning_rate)
        epochs = state.epoch + 1
        Loop(
            step, state, [source], epochs, config, schedule, {}, (), Interrupts()
        ).run()
        model.trained_with(classes=self._loss.is_classification)
