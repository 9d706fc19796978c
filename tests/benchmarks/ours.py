"""Our side of the training step: what a user of QuantumTrainer gets, all of it."""

from __future__ import annotations

import time

import numpy as np
import pennylane as qml

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from tests.benchmarks.problem import (
    LEARNING_RATE,
    N_OUTPUTS,
    STEPS_PER_EPOCH,
    Trainer,
)


def our_model(problem, **options):
    """The problem as a model, on the noisy device if it has noise."""
    device = None
    if problem.noise:
        device = qml.device(
            "qstore.mock_noisy",
            wires=problem.n_qubits,
            noise=problem.noise,
            **{"seed": 0} | options,
        )
    model = QuantumModel(
        problem.n_qubits,
        N_OUTPUTS,
        problem.n_layers,
        backend=device,
        entanglement="circular",
        seed=0,
    )
    model.parameters[:] = problem.weights.ravel()
    return model


class Ours(Trainer):
    """QuantumModel and QuantumTrainer, progress off, history on."""

    name = "qstore_pl"
    kind = "ours"
    setting = "QuantumTrainer.train on arrays"
    first = 10 * STEPS_PER_EPOCH

    def model(self, seed):
        """A model before training."""
        return our_model(self.problem, seed=seed)

    def _run(self, n_samples, epochs, **settings):
        """Train on the first rows: model, history and the seconds of train()."""
        p = self.problem
        model = self.model(settings.get("seed", 0))
        settings = {"learning_rate": LEARNING_RATE, "optimizer": "adam"} | settings
        config = TrainingConfig(batch_size=p.batch, progress=False, **settings)
        trainer = QuantumTrainer(config)
        data = p.inputs[:n_samples], p.targets[:n_samples]
        start = time.perf_counter()
        history = trainer.train(model, data, epochs=epochs)
        return model, history, time.perf_counter() - start

    def loss_and_gradient(self):
        # With plain gradient descent and rate 1 the step is the gradient.
        model, history, _ = self._run(
            self.problem.batch, 1, optimizer="sgd", learning_rate=1.0
        )
        step = self.problem.weights.ravel() - model.parameters
        return history["losses"][0], step.reshape(self.problem.weights.shape)

    def train(self, n_steps):
        # One epoch over the first rows in order visits the first batches in order.
        model, history, _ = self._run(n_steps * self.problem.batch, 1, shuffle=False)
        weights = model.parameters.reshape(self.problem.weights.shape)
        return weights, history["losses"][0]

    def seconds(self, n):
        """Wall time per step of whole epochs, the set-up of train() subtracted."""
        steps = min(n, STEPS_PER_EPOCH)
        epochs = round(n / steps)
        n_samples = steps * self.problem.batch
        *_, short = self._run(n_samples, 1)
        *_, long = self._run(n_samples, 1 + epochs)
        return (long - short) / (epochs * steps)


class OursMeasured(Ours):
    """The same with a gradient method that measures; each run has a seed of its own.

    Args:
        problem: What to train.
        **settings: Further fields of the TrainingConfig, such as `gradient_method` and
            `shots`.
    """

    first = 5

    def __init__(self, problem, **settings):
        super().__init__(problem)
        self._settings = settings
        words = [f"{key}={value}" for key, value in settings.items()]
        self.setting = ", ".join([self.setting, *words])
        self._rng = np.random.default_rng(0)

    def _run(self, n_samples, epochs, **settings):
        seed = int(self._rng.integers(2**31))
        settings = self._settings | {"seed": seed} | settings
        return super()._run(n_samples, epochs, **settings)


class OursByAdjoint(Ours):
    """Ours with its usual gradient, as a peer of ours that measures."""

    name = "ours by adjoint"
