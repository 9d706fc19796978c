"""Rows `metric` and `natural-step`: the Fubini-Study metric, and a step along it."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml

from qstore_pl.gradients import ModelExpectations, metric_of
from tests.benchmarks.ours import Ours, our_model
from tests.benchmarks.peers import pennylane_qnode
from tests.benchmarks.problem import LEARNING_RATE, STEPS_PER_EPOCH, Problem
from tests.benchmarks.timing import (
    DisagreementError,
    Row,
    check_close,
    in_turn,
    medians,
)
from tests.benchmarks.training_step import SECONDS_A_MEASUREMENT, of_steps

TOLERANCE = 1e-10
TARGETS = {"qml.adjoint_metric_tensor": 5000}
MOST_ADAM_STEPS = 15
DAMPING = 1e-3
PROBLEM = Problem(n_qubits=4, n_layers=2, batch=10)


class BatchMetric(abc.ABC):
    """A program that gives the metric averaged over the first batch."""

    name = "qml.adjoint_metric_tensor"
    setting: str
    calls = 1
    compile_seconds: float | None = None

    def __init__(self, problem):
        self.problem = problem
        self.inputs = problem.inputs[problem.batches[0]]

    @abc.abstractmethod
    def metric(self):
        """Shape (n_weights, n_weights)."""

    def seconds(self):
        """Wall time of one metric."""
        start = time.perf_counter()
        for _ in range(self.calls):
            self.metric()
        return (time.perf_counter() - start) / self.calls


class OurMetric(BatchMetric):
    """The metric as the trainer has it made."""

    name = "qstore_pl"
    setting = "metric_of(ModelExpectations(model))"
    calls = 500

    def __init__(self, problem, approximation="full"):
        super().__init__(problem)
        self._model = our_model(problem)
        expectations = ModelExpectations(self._model)
        self._metric = metric_of(expectations, approximation=approximation)

    def metric(self):
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

    def metric(self):
        weights = qml.numpy.array(self.problem.weights, requires_grad=True)
        size = weights.size
        total = 0.0
        for x in qml.numpy.array(self.inputs, requires_grad=False):
            total += np.reshape(self._of(x, weights), (size, size))
        return np.asarray(total / len(self.inputs))


class OfTape(BatchMetric):
    """The same transform of a tape of numbers, which nothing traces."""

    setting = "tape, numpy"

    def metric(self):
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
    calls = 20

    def __init__(self, problem):
        super().__init__(problem)
        jax.config.update("jax_enable_x64", True)
        self._arrays = jnp.asarray(self.inputs), jnp.asarray(problem.weights)
        samples = jax.vmap(self._of, in_axes=(0, None))
        start = time.perf_counter()
        mean = jax.jit(lambda *arrays: jnp.mean(samples(*arrays), axis=0))
        self._mean = mean.lower(*self._arrays).compile()
        self.compile_seconds = time.perf_counter() - start

    def metric(self):
        return np.asarray(self._mean(*self._arrays))


def check_metrics(contenders):
    """Compare every contender's metric with the first one's.

    Raises:
        DisagreementError: If an entry differs by more than ``TOLERANCE``.
    """
    wanted, *others = ((c, c.metric()) for c in contenders)
    for contender, found in others:
        error = np.max(np.abs(found - wanted[1]))
        if not error <= TOLERANCE:  # NaN disagrees too
            raise DisagreementError(
                f"metric of {contender.name} ({contender.setting}): off by {error:.1e}"
            )


def metric(repeats):
    """Time the metric of a batch, each peer in the quickest of its settings."""
    print("metric: compiling and checking that all agree", flush=True)
    blocks = OfQNode(PROBLEM, qml.metric_tensor, approx="block-diag")
    check_metrics([OurMetric(PROBLEM, "block-diag"), blocks])
    ours = OurMetric(PROBLEM)
    columns = [[OfQNode(PROBLEM), OfTape(PROBLEM)], [Jitted(PROBLEM)]]
    check_metrics([ours, *(peer for column in columns for peer in column)])

    columns.append([blocks])  # less than the full metric, for information
    rough = {peer: peer.seconds() for column in columns for peer in column}
    peers = [min(column, key=rough.get) for column in columns]
    print("metric: timing in turn", flush=True)
    raw = in_turn({c: c.seconds for c in (ours, *peers)}, repeats)
    times = medians(raw)
    return [
        Row(
            row="metric",
            ours=times[ours],
            peer=peer.name,
            setting=peer.setting,
            peer_time=times[peer],
            target=TARGETS.get(peer.name),
            raw={
                "ours": raw[ours],
                "peer": raw[peer],
                "tried": {c.setting: rough[c] for c in column},
            },
            compile_seconds=peer.compile_seconds,
        )
        for peer, column in zip(peers, columns, strict=True)
    ]


class Natural(Ours):
    """Our trainer with the natural gradient, everything else as it was."""

    name = "natural gradient"
    setting = 'QuantumTrainer.train on arrays, optimizer="natural_gradient"'

    def _run(self, n_samples, epochs, **settings):
        natural = {"optimizer": "natural_gradient", "damping": DAMPING}
        return super()._run(n_samples, epochs, **natural | settings)


@dataclass
class AtMost(Row):
    """A line whose target is the largest ratio."""

    @property
    def reached(self):
        """Whether the peer takes no more than that many times longer."""
        return self.ratio <= self.target


def check_natural_step(natural):
    """Compare the first step with one solved from PennyLane's metric.

    Raises:
        DisagreementError: If a weight differs.
    """
    problem = natural.problem
    _, gradient = Ours(problem).loss_and_gradient()
    damped = OfTape(problem).metric() + DAMPING * np.eye(gradient.size)
    step = LEARNING_RATE * np.linalg.solve(damped, gradient.ravel())
    weights, _ = natural.train(1)
    wanted = problem.weights - step.reshape(weights.shape)
    check_close("weights after a natural-gradient step", weights, wanted)


def natural_step(repeats):
    """Time a training step with Adam and one with the natural gradient."""
    print("natural-step: compiling and checking the first step", flush=True)
    adam, natural = Ours(PROBLEM), Natural(PROBLEM)
    check_natural_step(natural)
    adam.train(1)
    rough = {c: c.seconds_per_step(20 * STEPS_PER_EPOCH) for c in (adam, natural)}
    print("natural-step: timing in turn", flush=True)
    measures = {c: of_steps(c, SECONDS_A_MEASUREMENT / rough[c]) for c in rough}
    raw = in_turn(measures, repeats)
    times = medians(raw)
    return [
        AtMost(
            row="natural-step, ours with Adam; at most",
            ours=times[adam],
            peer="ours with natural gradient",
            setting=natural.setting,
            peer_time=times[natural],
            target=MOST_ADAM_STEPS,
            raw={"ours": raw[adam], "peer": raw[natural]},
        )
    ]
