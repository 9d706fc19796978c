"""Rows `metric` and `natural-step`: the Fubini-Study metric, and a step along it."""

from __future__ import annotations

import abc
import time

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml

from qstore_pl.gradients import ModelExpectations, metric_of
from tests.benchmarks.contender import Call
from tests.benchmarks.ours import Ours, our_model
from tests.benchmarks.problem import LEARNING_RATE, Problem
from tests.benchmarks.race import check_agreement, check_close, timed
from tests.benchmarks.training_peers import pennylane_qnode

TARGETS = {"qml.adjoint_metric_tensor": 5000}
MOST_ADAM_STEPS = 15
DAMPING = 1e-3
PROBLEM = Problem(n_qubits=4, n_layers=2, batch=10)


class BatchMetric(Call):
    """A program that gives the metric averaged over the first batch."""

    name = "qml.adjoint_metric_tensor"
    tolerance = 1e-10

    def __init__(self, problem):
        self.problem = problem
        self.inputs = problem.inputs[problem.batches[0]]

    @abc.abstractmethod
    def run(self):
        """The metric, shape (n_weights, n_weights)."""

    def numbers(self):
        return {"metric": self.run()}


class OurMetric(BatchMetric):
    """The metric as the trainer has it made."""

    name = "qstore_pl"
    setting = "metric_of(ModelExpectations(model))"

    def __init__(self, problem, approximation="full"):
        super().__init__(problem)
        self._model = our_model(problem)
        expectations = ModelExpectations(self._model)
        self._metric = metric_of(expectations, approximation=approximation)

    def run(self):
        p = self.problem
        return self._metric(self._model.weights, p.inputs, p.batches[0])


class OfQNode(BatchMetric):
    """PennyLane's transform of a QNode under autograd, sample by sample."""

    def __init__(self, problem, transform=qml.adjoint_metric_tensor, **options):
        super().__init__(problem)
        self.name = f"qml.{transform.__name__}"
        words = [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join(["QNode", "autograd", *words])
        qnode = pennylane_qnode(problem, "default.qubit")
        self._of = transform(qnode, **options)

    def run(self):
        weights = qml.numpy.array(self.problem.weights, requires_grad=True)
        size = weights.size
        total = 0.0
        for x in qml.numpy.array(self.inputs, requires_grad=False):
            total += np.reshape(self._of(x, weights), (size, size))
        return np.asarray(total / len(self.inputs))


class OfTape(BatchMetric):
    """The same transform of a tape of numbers, which nothing traces."""

    setting = "tape, numpy"

    def run(self):
        weights = self.problem.weights
        return np.mean([self._of(x, weights) for x in self.inputs], axis=0)

    def _of(self, inputs, weights):
        tape = qml.tape.make_qscript(self._circuit)(inputs, weights)
        # The first parameters are those of the encoding.
        first = self.problem.n_qubits
        tape.trainable_params = range(first, first + weights.size)
        return qml.adjoint_metric_tensor(tape)

    def _circuit(self, inputs, weights):
        self.problem.gates(inputs, weights)
        qml.expval(qml.Z(0))


class Jitted(OfTape):
    """The same inside one jitted function, all samples at a time."""

    name = "jax.jit qml.adjoint_metric_tensor"
    setting = "tape, vmap"

    def __init__(self, problem):
        super().__init__(problem)
        jax.config.update("jax_enable_x64", True)
        self._arrays = jnp.asarray(self.inputs), jnp.asarray(problem.weights)
        samples = jax.vmap(self._of, in_axes=(0, None))
        start = time.perf_counter()
        mean = jax.jit(lambda *arrays: jnp.mean(samples(*arrays), axis=0))
        self._mean = mean.lower(*self._arrays).compile()
        self.compile_seconds = time.perf_counter() - start

    def run(self):
        return np.asarray(self._mean(*self._arrays))


def metric(repeats):
    """Time the metric of a batch, each peer in the quickest of its settings."""
    blocks = OfQNode(PROBLEM, qml.metric_tensor, approx="block-diag")
    check_agreement([OurMetric(PROBLEM, "block-diag"), blocks])
    ours = OurMetric(PROBLEM)
    columns = [[OfQNode(PROBLEM), OfTape(PROBLEM)], [Jitted(PROBLEM)]]
    check_agreement([ours, *(peer for column in columns for peer in column)])
    columns.append([blocks])  # less than the full metric, for information
    return timed("metric", ours, columns, repeats, TARGETS)


class Natural(Ours):
    """Our trainer with the natural gradient, everything else as it was."""

    name = "ours with natural gradient"
    setting = 'QuantumTrainer.train on arrays, optimizer="natural_gradient"'

    def _run(self, n_samples, epochs, **settings):
        natural = {"optimizer": "natural_gradient", "damping": DAMPING}
        return super()._run(n_samples, epochs, **natural | settings)


def check_natural_step(natural):
    """Compare the first step with one solved from PennyLane's metric.

    Raises:
        DisagreementError: If a weight differs.
    """
    problem = natural.problem
    _, gradient = Ours(problem).loss_and_gradient()
    damped = OfTape(problem).run() + DAMPING * np.eye(gradient.size)
    step = LEARNING_RATE * np.linalg.solve(damped, gradient.ravel())
    weights, _ = natural.train(1)
    wanted = problem.weights - step.reshape(weights.shape)
    check_close("weights after a natural-gradient step", weights, wanted)


def natural_step(repeats):
    """Time a training step with Adam and one with the natural gradient."""
    print("natural-step: compiling and checking the first step", flush=True)
    adam, natural = Ours(PROBLEM), Natural(PROBLEM)
    check_natural_step(natural)
    row = "natural-step, ours with Adam"
    targets = {natural.name: MOST_ADAM_STEPS}
    return timed(row, adam, [[natural]], repeats, targets, at_most=True)


def measured(name, peers, repeats):
    """The rows of a case."""
    return metric(repeats) if name == "metric" else natural_step(repeats)
