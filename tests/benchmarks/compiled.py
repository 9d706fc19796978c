"""Rows `compile-*`, `tracing`, `torch-module` and `jax-step`: compiled circuits."""

from __future__ import annotations

import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import torch

from qstore_pl import compile
from qstore_pl.interfaces.torch import QuantumModule
from tests.benchmarks.contender import Function
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import race

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
    return Function(
        name,
        f"autograd{setting}",
        lambda: gradient(weights),
        lambda found: _named((gradient.forward, found)),
    )


def in_torch(problem, circuit, name, setting=""):
    """Cost and gradient by PyTorch, from tensors of float64."""
    inputs, weights = map(torch.as_tensor, batch_of(problem))
    weights.requires_grad_()

    def run():
        value = mean_square(circuit(inputs, weights), torch)
        return value, *torch.autograd.grad(value, weights)

    return Function(name, f"torch{setting}", run, _detached)


def in_module(problem, module, name, setting):
    """Cost and gradient of a PyTorch module, from tensors of float64."""
    inputs, weights = map(torch.as_tensor, batch_of(problem))
    module.load_state_dict({"weights": weights})
    parameters = tuple(module.parameters())

    def run():
        value = torch.mean(module(inputs) ** 2)
        return value, *torch.autograd.grad(value, parameters)

    return Function(name, setting, run, _detached)


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
    return Function(
        name,
        setting,
        lambda: jax.block_until_ready(step(weights, inputs)),
        lambda found: _named(map(np.asarray, found)),
        seconds,
    )


def _named(found):
    return dict(zip(("cost", "gradient"), found, strict=True))


def _detached(found):
    value, gradient = found
    return {"cost": value.item(), "gradient": gradient.numpy()}


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


def cost_and_gradient(name, repeats):
    """Time cost and gradient, each peer in the quickest of its settings."""
    ours, columns = CONTENDERS[name](PROBLEMS[name])
    return race(name, ours, columns, repeats, TARGETS[name])


def tracing(repeats):
    """Time the first call of a compiled circuit, and a call of its QNode."""
    rows = []
    for problem in (SMALL, LARGE):
        qnode = qnode_of(problem, "qstore.mock_ideal")
        inputs, weights = batch_of(problem)
        call = Function(
            "a call of the QNode",
            "broadcast",
            lambda q=qnode, x=inputs, w=weights: q(x, w),
            lambda found: {"outputs": found},
        )
        first = Function(
            "first call of compile",
            "compile(qnode)(inputs, weights), kernels loaded",
            lambda q=qnode, x=inputs, w=weights: compile(q)(x, w),
            lambda found: {"outputs": found},
            kind="ours",
        )
        row = f"tracing {problem.n_qubits}q, a call of the QNode"
        targets = {first.name: MOST_CALLS}
        rows += race(row, call, [[first]], repeats, targets, at_most=True)
    return rows


def measured(name, peers, repeats):
    """The rows of a case."""
    if name == "tracing":
        return tracing(repeats)
    return cost_and_gradient(name, repeats)
