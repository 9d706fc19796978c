"""The training problem, and the programs that solve it."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pennylane as qml

from tests.benchmarks.contender import Contender

if TYPE_CHECKING:  # a Python of peers need not have it
    from qstore_pl import NoiseSpec

LEARNING_RATE, BETA1, BETA2, EPSILON = 0.01, 0.9, 0.999, 1e-8
STEPS_PER_EPOCH = 50
N_OUTPUTS = 2


@dataclass(frozen=True)
class Problem:
    """RY(x_i) on each wire; per layer RX, RY, RZ on each wire and a ring of CNOTs.

    With noise, its channels follow every gate.

    The outputs are <Z_0> and <Z_1>, the loss is the mean square over samples and
    outputs, the update is Adam's.
    """

    n_qubits: int
    n_layers: int
    batch: int
    noise: NoiseSpec | None = None
    inputs: np.ndarray = field(init=False, repr=False)  # (n_samples, n_qubits)
    targets: np.ndarray = field(init=False, repr=False)  # (n_samples, N_OUTPUTS)
    weights: np.ndarray = field(init=False, repr=False)  # (n_layers, n_qubits, 3)
    batches: np.ndarray = field(init=False, repr=False)  # (STEPS_PER_EPOCH, batch)
    channels: dict = field(init=False, repr=False)  # by the wires of the gate before

    def __post_init__(self):
        rng = np.random.default_rng(0)
        n_samples = STEPS_PER_EPOCH * self.batch
        shape = (self.n_layers, self.n_qubits, 3)
        arrays = {
            "inputs": rng.uniform(-np.pi, np.pi, (n_samples, self.n_qubits)),
            "targets": rng.uniform(-1, 1, (n_samples, N_OUTPUTS)),
            "weights": rng.uniform(-np.pi, np.pi, shape),
            "batches": np.arange(n_samples).reshape(STEPS_PER_EPOCH, self.batch),
        }
        for name, value in arrays.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)
        gates = [qml.RX(0.0, wire) for wire in range(self.n_qubits)]
        gates += [qml.CNOT(pair) for pair in self.ring]
        noisy = gates if self.noise else []
        channels = {gate.wires: self.noise.operations_after(gate) for gate in noisy}
        object.__setattr__(self, "channels", channels)

    @property
    def default_device(self):
        """PennyLane's own simulator that can run the circuit."""
        return "default.mixed" if self.noise else "default.qubit"

    @property
    def checked_steps(self):
        """How many training steps all contenders make before they are timed.

        A step of default.mixed under autograd takes half a minute on 8 qubits.
        """
        return 1 if self.noise else 3

    @property
    def ring(self):
        """The pairs (control, target) of each layer's CNOTs, in order."""
        pairs = [(i, i + 1) for i in range(self.n_qubits - 1)]
        return pairs + [(self.n_qubits - 1, 0)] * (self.n_qubits > 2)

    def gates(self, inputs, weights):
        """Queue the circuit, noise and all, for one sample or a broadcast batch."""
        for gate in self.perfect_gates(inputs, weights):
            for channel in self.channels.get(gate.wires, ()):
                qml.apply(channel)

    def perfect_gates(self, inputs, weights):
        """Yield the gates without noise, each made when it is asked for."""
        for wire in range(self.n_qubits):
            yield qml.RY(inputs[..., wire], wire)
        for layer in range(self.n_layers):
            for wire in range(self.n_qubits):
                yield qml.RX(weights[layer, wire, 0], wire)
                yield qml.RY(weights[layer, wire, 1], wire)
                yield qml.RZ(weights[layer, wire, 2], wire)
            for pair in self.ring:
                yield qml.CNOT(pair)


class Trainer(Contender):
    """A program that trains the problem; its unit of work is a training step."""

    def __init__(self, problem: Problem):
        self.problem = problem

    @abc.abstractmethod
    def loss_and_gradient(self):
        """Loss and gradient (n_layers, n_qubits, 3) of the first batch and weights."""

    @abc.abstractmethod
    def train(self, n_steps):
        """Train from the first weights on the batches in turn.

        Returns:
            The weights after ``n_steps``, shape (n_layers, n_qubits, 3), and the mean
            of the losses before each update (of one epoch at most).
        """

    def numbers(self):
        """Loss and gradient, and what a few whole training steps lead to."""
        loss, gradient = self.loss_and_gradient()
        weights, mean_loss = self.train(self.problem.checked_steps)
        return {
            "loss": loss,
            "gradient": gradient,
            "trained weights": weights,
            "mean loss": mean_loss,
        }

    def seconds(self, n):
        """Wall time of one training run over its number of steps."""
        start = time.perf_counter()
        self.train(n)
        return (time.perf_counter() - start) / n


class HandAdam(Trainer):
    """A contender that gives gradients; the loop and the update are numpy, in place."""

    @abc.abstractmethod
    def value_and_grad(self, inputs, targets, weights):
        """Loss and gradient for one batch of rows."""

    def loss_and_gradient(self):
        p = self.problem
        rows = p.batches[0]
        return self.value_and_grad(p.inputs[rows], p.targets[rows], p.weights.copy())

    def train(self, n_steps):
        p = self.problem
        weights, losses = p.weights.copy(), []
        mean, square = np.zeros_like(weights), np.zeros_like(weights)
        for step in range(n_steps):
            rows = p.batches[step % len(p.batches)]
            loss, gradient = self.value_and_grad(
                p.inputs[rows], p.targets[rows], weights
            )
            mean *= BETA1
            mean += (1 - BETA1) * gradient
            square *= BETA2
            square += (1 - BETA2) * gradient**2
            root = np.sqrt(square / (1 - BETA2 ** (step + 1))) + EPSILON
            weights -= LEARNING_RATE / (1 - BETA1 ** (step + 1)) * mean / root
            losses.append(loss)
        return weights, np.mean(losses)
