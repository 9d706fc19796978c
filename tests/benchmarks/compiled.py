"""Rows `compile-*`, `tracing`, `torch-module` and `jax-step`: compiled circuits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import torch

from qstore_pl import compile
from qstore_pl.interfaces.torch import QuantumModule
from tests.benchmarks.metric import AtMost
from tests.benchmarks.problem import Problem
from tests.benchmarks.timing import Row, check_close, in_turn, medians

SECONDS_A_MEASUREMENT = 0.5
CALLS_TRACED = 10
MOST_CALLS = 5
OURS = "qstore_pl"
SMALL, LARGE = (
    Problem(n_qubits=4, n_layers=2, batch=10),
    Problem(n_qubits=8, n_layers=4, batch=32),
)
PROBLEMS = {
    "compile-4q": SMALL,
    "compile-8q": LARGE,
    "torch-module": replace(SMALL, batch=32),
    "jax-step": SMALL,
}
TARGETS = {
    "compile-4q": {
        "the same QNode, qstore.mock_ideal": 20,
        "default.qubit backprop": 100,
        "jax.jit default.qubit": 1.5,
    },
    "compile-8q": {
        "the same QNode, qstore.mock_ideal": 15,
        "default.qubit backprop": 100,
        "jax.jit default.qubit": 15,
    },
    "torch-module": {"qml.qnn.TorchLayer, default.qubit": 30},
    "jax-step": {"jax.jit default.qubit": 2},
}


@dataclass(frozen=True, eq=False)
class Contender:
    """A program that computes the mean square of measured values over one batch.

    Args:
        name: What it is.
        setting: How it was set.
        run: One evaluation of the cost and of its gradient.
        numbers: Function from what ``run`` returned to the cost and the gradient, the
            latter of shape (n_layers, n_qubits, 3).
        compile_seconds: How long the first evaluation took, where it is worth knowing.
    """

    name: str
    setting: str
    run: Callable[[], Any]
    numbers: Callable[[Any], tuple[Any, Any]]
    compile_seconds: float | None = None


def qnode_of(problem: Problem, device, **options):
    """The problem's gates, and the expectation value of Z on every wire."""

    def circuit(inputs, weights):
        problem.gates(inputs, weights)
        return [qml.expval(qml.Z(wire)) for wire in range(problem.n_qubits)]

    return qml.QNode(circuit, qml.device(device, wires=problem.n_qubits), **options)


def classifier_of(problem: Problem, device, **options):
    """The problem's gates, and the expectation value of Z on the first wire."""

    def circuit(inputs, weights):
        problem.gates(inputs, weights)
        return qml.expval(qml.Z(0))

    return qml.QNode(circuit, qml.device(device, wires=problem.n_qubits), **options)


def mean_square(outputs, xp=qml.math):
    """The mean square of one output, or of a list of them."""
    if isinstance(outputs, list | tuple):
        outputs = xp.stack(outputs)
    return xp.mean(outputs**2)


def batch_of(problem: Problem):
    """The first batch, shape (batch, n_qubits), and the weights."""
    return problem.inputs[problem.batches[0]], problem.weights.copy()


def in_autograd(problem, circuit, name, setting=""):
    """Cost and gradient by `qml.grad`, which computes both."""
    inputs, weights = batch_of(problem)
    weights = qml.numpy.array(weights, requires_grad=True)

    def cost(w):
        return mean_square(circuit(inputs, w))

    gradient = qml.grad(cost)
    return Contender(
        name,
        f"autograd{setting}",
        lambda: gradient(weights),
        lambda found: (gradient.forward, found),
    )


def in_torch(problem, circuit, name, setting=""):
    """Cost and gradient by PyTorch, from tensors of float64."""
    inputs, weights = map(torch.as_tensor, batch_of(problem))
    weights.requires_grad_()

    def run():
        value = mean_square(circuit(inputs, weights), torch)
        return value, *torch.autograd.grad(value, weights)

    return Contender(name, f"torch{setting}", run, _detached)


def in_module(problem, module, name, setting):
    """Cost and gradient of a PyTorch module, from tensors of float64."""
    inputs, weights = map(torch.as_tensor, batch_of(problem))
    module.load_state_dict({"weights": weights})
    parameters = tuple(module.parameters())

    def run():
        value = torch.mean(module(inputs) ** 2)
        return value, *torch.autograd.grad(value, parameters)

    return Contender(name, setting, run, _detached)


def in_jax(problem, circuit, name, setting):
    """Cost and gradient in one function that JAX compiled."""
    jax.config.update("jax_enable_x64", True)
    inputs, weights = map(jnp.asarray, batch_of(problem))

    @jax.jit
    @jax.value_and_grad
    def step(w, x):
        return mean_square(circuit(x, w), jnp)

    start = time.perf_counter()
    jax.block_until_ready(step(weights, inputs))
    seconds = time.perf_counter() - start
    return Contender(
        name,
        setting,
        lambda: jax.block_until_ready(step(weights, inputs)),
        lambda found: tuple(map(np.asarray, found)),
        seconds,
    )


def _detached(found):
    value, gradient = found
    return value.item(), gradient.numpy()


def jitted_default_qubit(problem, make=qnode_of):
    """`default.qubit` in JAX: the batch broadcast, and mapped."""
    qnode = make(problem, "default.qubit", diff_method="backprop")
    mapped = jax.vmap(qnode, in_axes=(0, None))
    name = "jax.jit default.qubit"
    return [
        in_jax(problem, qnode, name, "broadcast"),
        in_jax(problem, mapped, name, "vmap"),
    ]


def compile_contenders(problem):
    """The compiled circuit, and its peers, each in the settings worth trying."""
    here = classifier_of(problem, "qstore.mock_ideal")
    ours = in_autograd(problem, compile(here), OURS)
    there = classifier_of(problem, "default.qubit", diff_method="backprop")
    same, other = "the same QNode, qstore.mock_ideal", "default.qubit backprop"
    return ours, [
        [in_autograd(problem, here, same, ", broadcast")],
        [
            in_autograd(problem, there, other, ", broadcast"),
            in_torch(problem, there, other, ", broadcast"),
        ],
        jitted_default_qubit(problem, classifier_of),
    ]


def torch_contenders(problem):
    """A compiled circuit as a module, and `qml.qnn.TorchLayer` of its QNode."""
    torch.set_default_dtype(torch.float64)
    shapes = {"weights": problem.weights.shape}
    fast = compile(qnode_of(problem, "qstore.mock_ideal"))
    ours = in_module(problem, QuantumModule(fast, shapes), OURS, "QuantumModule")
    settings = [
        {"diff_method": "backprop"},
        {"diff_method": "adjoint"},
        {"diff_method": "adjoint", "device_vjp": True},
    ]
    layers = []
    for options in settings:
        qnode = qnode_of(problem, "default.qubit", **options)
        layer = qml.qnn.TorchLayer(qnode, shapes)
        words = ", ".join(f"{key}={value}" for key, value in options.items())
        layers.append(
            in_module(problem, layer, "qml.qnn.TorchLayer, default.qubit", words)
        )
    return ours, [layers]


def jax_contenders(problem):
    """A compiled circuit inside `jax.jit`, and `default.qubit`."""
    fast = compile(qnode_of(problem, "qstore.mock_ideal"))
    return in_jax(problem, fast, OURS, "broadcast"), [jitted_default_qubit(problem)]


CONTENDERS = {
    "compile-4q": compile_contenders,
    "compile-8q": compile_contenders,
    "torch-module": torch_contenders,
    "jax-step": jax_contenders,
}


def check_contenders(contenders):
    """Compare cost and gradient of every contender with those of the first.

    Raises:
        DisagreementError: If a number differs by more than ``TOLERANCE``.
    """
    first, *others = (c.numbers(c.run()) for c in contenders)
    for contender, found in zip(contenders[1:], others, strict=True):
        who = f"{contender.name} ({contender.setting})"
        for what, value, wanted in zip(("cost", "gradient"), found, first, strict=True):
            check_close(f"{what} of {who}", value, wanted)


def seconds_of(run, calls):
    """A measurement: seconds of one call, as the mean of so many, at least 1."""
    calls = max(1, round(calls))

    def measure():
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls

    return measure


def rough_times(contenders):
    """Seconds of one call of each, the least of three: enough to choose settings by."""
    warm = {c: seconds_of(c.run, 1)() for c in contenders}
    measures = {c: seconds_of(c.run, 0.1 / warm[c]) for c in contenders}
    return {c: min(times) for c, times in in_turn(measures, 3).items()}


def compiled(name, repeats):
    """Time cost and gradient, each peer in the quickest of its settings."""
    print(f"{name}: compiling and checking that all agree", flush=True)
    ours, columns = CONTENDERS[name](PROBLEMS[name])
    everybody = [ours, *(peer for column in columns for peer in column)]
    check_contenders(everybody)
    rough = rough_times(everybody)
    peers = [min(column, key=rough.get) for column in columns]
    print(f"{name}: timing in turn", flush=True)
    measures = {
        c: seconds_of(c.run, SECONDS_A_MEASUREMENT / rough[c]) for c in (ours, *peers)
    }
    raw = in_turn(measures, repeats)
    times = medians(raw)
    return [
        Row(
            row=name,
            ours=times[ours],
            peer=peer.name,
            setting=peer.setting,
            peer_time=times[peer],
            target=TARGETS[name].get(peer.name),
            raw={
                "ours": raw[ours],
                "peer": raw[peer],
                "tried": {c.setting: rough[c] for c in column},
            },
            compile_seconds=peer.compile_seconds,
        )
        for peer, column in zip(peers, columns, strict=True)
    ]


def tracing(repeats):
    """Time the first call of a compiled circuit, and a call of its QNode."""
    measures = {}
    sizes = [problem.n_qubits for problem in (SMALL, LARGE)]
    for n, problem in zip(sizes, (SMALL, LARGE), strict=True):
        qnode = qnode_of(problem, "qstore.mock_ideal")
        inputs, weights = batch_of(problem)

        def first(qnode=qnode, inputs=inputs, weights=weights):
            return compile(qnode)(inputs, weights)

        def call(qnode=qnode, inputs=inputs, weights=weights):
            return qnode(inputs, weights)

        check_close(f"first call, {n} qubits", first(), call())
        measures[n, "first"] = seconds_of(first, CALLS_TRACED)
        measures[n, "call"] = seconds_of(call, CALLS_TRACED)

    print("tracing: timing in turn", flush=True)
    raw = in_turn(measures, repeats)
    times = medians(raw)
    return [
        AtMost(
            row=f"tracing {n}q, a call of the QNode; at most",
            ours=times[n, "call"],
            peer="first call of compile",
            setting="compile(qnode)(inputs, weights), kernels loaded",
            peer_time=times[n, "first"],
            target=MOST_CALLS,
            raw={"ours": raw[n, "call"], "peer": raw[n, "first"]},
        )
        for n in sizes
    ]
