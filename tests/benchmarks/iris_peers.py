"""The loops of PyTorch and JAX that train Iris on PennyLane's simulators."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import torch

from tests.benchmarks.iris_accuracy import (
    LEARNING_RATE,
    N_CLASSES,
    PROBLEM,
    Training,
    batches,
    first_parameters,
    flowers,
)
from tests.benchmarks.problem import BETA1, BETA2, EPSILON


def circuit_on(device, diff_method):
    """A QNode of the model's circuit, with an expectation value for each class."""

    @qml.qnode(qml.device(device, wires=PROBLEM.n_qubits), diff_method=diff_method)
    def circuit(x, w):
        PROBLEM.gates(x, w)
        return [qml.expval(qml.Z(wire)) for wire in range(N_CLASSES)]

    return circuit


class Torch(Training):
    """PyTorch, its Adam and its cross entropy."""

    def __init__(self, *, device):
        method = "backprop" if device == "default.qubit" else "adjoint"
        self.name = f"PyTorch, {device} {method}"
        self.setting = "broadcast batch, torch.optim.Adam"
        self._circuit = circuit_on(device, method)

    def until(self, reached):
        X, X_test, y, _ = (torch.as_tensor(one) for one in flowers())
        parameters = [torch.tensor(p, requires_grad=True) for p in first_parameters()]
        weights, factors, offsets = parameters
        adam = torch.optim.Adam(parameters, lr=LEARNING_RATE)

        def outputs(x):
            return torch.stack(self._circuit(x, weights), 1) * factors + offsets

        losses = []
        while True:
            total = 0.0
            for rows in batches(len(X)):
                adam.zero_grad()
                loss = torch.nn.functional.cross_entropy(outputs(X[rows]), y[rows])
                loss.backward()
                adam.step()
                total += loss.item() * len(X[rows])
            losses.append(total / len(X))
            with torch.no_grad():
                predicted = outputs(X_test).argmax(1).numpy()
            if reached(predicted):
                return losses


class Jax(Training):
    """One compiled step of loss, gradient and Adam; compiling is not in the time."""

    name = "jax.jit default.qubit"
    setting = "broadcast batch, step with Adam compiled"

    def __init__(self):
        jax.config.update("jax_enable_x64", True)
        circuit = circuit_on("default.qubit", "backprop")

        def outputs(parameters, x):
            weights, factors, offsets = parameters
            return jnp.stack(circuit(x, weights), 1) * factors + offsets

        def loss_of(parameters, x, y):
            logs = jax.nn.log_softmax(outputs(parameters, x))
            return -jnp.mean(logs[jnp.arange(len(y)), y])

        @jax.jit
        def step(parameters, mean, square, count, x, y):
            loss, gradient = jax.value_and_grad(loss_of)(parameters, x, y)
            mean = jax.tree.map(
                lambda m, g: BETA1 * m + (1 - BETA1) * g, mean, gradient
            )
            square = jax.tree.map(
                lambda v, g: BETA2 * v + (1 - BETA2) * g**2, square, gradient
            )

            def moved(p, m, v):
                root = jnp.sqrt(v / (1 - BETA2**count)) + EPSILON
                return p - LEARNING_RATE * m / (1 - BETA1**count) / root

            return jax.tree.map(moved, parameters, mean, square), mean, square, loss

        @jax.jit
        def predict(parameters, x):
            return jnp.argmax(outputs(parameters, x), axis=1)

        self._step, self._predict = step, predict
        start = time.perf_counter()
        self.train()
        self.compile_seconds = time.perf_counter() - start

    def until(self, reached):
        X, X_test, y, _ = (jnp.asarray(one) for one in flowers())
        parameters = tuple(jnp.asarray(p) for p in first_parameters())
        mean = square = tuple(jnp.zeros_like(p) for p in parameters)
        losses, count = [], 0
        while True:
            total = 0.0
            for rows in batches(len(X)):
                count += 1
                parameters, mean, square, loss = self._step(
                    parameters, mean, square, float(count), X[rows], y[rows]
                )
                total += float(loss) * len(X[rows])
            losses.append(total / len(X))
            if reached(np.asarray(self._predict(parameters, X_test))):
                return losses
