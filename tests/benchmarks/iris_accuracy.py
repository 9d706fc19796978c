"""Case `iris-accuracy`: seconds of training until 95 % of the held-out Iris are right.

Model, data and settings are those of ``qstore quickstart``: 120 flowers, batches of 32,
cross entropy, Adam, 4 qubits, 3 layers, and for each class an affine function of one
expectation value. Everybody starts from the same parameters, takes the batches in the
same order, and looks at the test accuracy after each epoch.
"""

from __future__ import annotations

import abc
import functools
import time

import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.contender import Contender
from tests.benchmarks.peers import settings
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import race

ACCURACY, MOST_EPOCHS, BATCH, LEARNING_RATE = 0.95, 60, 32, 0.05
CHECKED = 2  # epochs whose losses are compared
PROBLEM = Problem(n_qubits=4, n_layers=3, batch=BATCH)
N_WEIGHTS, N_CLASSES = PROBLEM.weights.size, 3
HERE = "tests.benchmarks.iris_accuracy"
PEERS = "tests.benchmarks.iris_peers"
COLUMNS = [
    settings("torch", f"{PEERS}:Torch", {"device": "default.qubit"}),
    settings("lightning.qubit", f"{PEERS}:Torch", {"device": "lightning.qubit"}),
    settings("jax", f"{PEERS}:Jax"),
]


@functools.cache
def flowers():
    """Scaled training and test data: X_train, X_test, y_train, y_test."""
    X, y = load_iris(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=0
    )
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), scaler.transform(X_test), y, y_test


@functools.cache
def first_parameters():
    """Of the circuit, and of the affine map: a factor and an offset for each class."""
    rng = np.random.default_rng(0)
    return (
        rng.uniform(-np.pi, np.pi, PROBLEM.weights.shape),
        np.ones(N_CLASSES),
        np.zeros(N_CLASSES),
    )


class Training(Contender):
    """A program that trains until the accuracy is reached; that is its unit of work."""

    tolerance = 1e-8  # after two epochs

    @abc.abstractmethod
    def until(self, reached):
        """Train from the first parameters.

        Args:
            reached: Function of the predicted classes of the test data, to be called
                after each epoch; once it says so the training may end.

        Returns:
            The mean losses of the epochs, weighted by samples.
        """

    def train(self):
        """Seconds and epochs until the accuracy was reached, and the losses."""
        *_, y_test = flowers()
        found = []
        start = time.perf_counter()

        def reached(predicted):
            if found:
                return True
            self.epochs += 1
            if np.mean(predicted == y_test) >= ACCURACY:
                found.append(time.perf_counter() - start)
            return bool(found) or self.epochs == MOST_EPOCHS

        self.epochs = 0
        losses = self.until(reached)
        if not found:
            raise ValueError(f"{self.name} does not reach the accuracy")
        return found[0], self.epochs, losses

    def numbers(self):
        _, epochs, losses = self.train()
        return {"epochs": epochs, "losses": np.array(losses[:CHECKED])}

    def seconds(self, n):
        return float(np.mean([self.train()[0] for _ in range(n)]))


class Ours(Training):
    """The trainer, and a callback that looks at the test data."""

    name, setting = "qstore_pl", "QuantumTrainer.train"

    def until(self, reached):
        from qstore_pl import Callback, QuantumModel, QuantumTrainer, TrainingConfig

        X, X_test, y, _ = flowers()

        class Look(Callback):
            def on_epoch_end(self, row):
                reached(model.forward(X_test).argmax(axis=1))

        model = QuantumModel(4, N_CLASSES, n_layers=3, readout="affine", seed=0)
        model.parameters[:] = np.concatenate([p.ravel() for p in first_parameters()])
        config = TrainingConfig(
            learning_rate=LEARNING_RATE,
            epochs=MOST_EPOCHS,
            batch_size=BATCH,
            loss="cross_entropy",
            shuffle=False,
            seed=0,
        )
        history = QuantumTrainer(config).train(model, (X, y), callbacks=[Look()])
        return history["losses"]


def batches(n_samples):
    """Slices of the training data; the last one is short."""
    return [slice(i, min(i + BATCH, n_samples)) for i in range(0, n_samples, BATCH)]


def measured(name, peers, repeats):
    """Time until the accuracy, compiling apart."""
    return race(name, Ours(), peers.columns(name, COLUMNS), repeats)
