"""Cases `large-n-*`: value and gradient of one sample on many wires, one thread."""

from __future__ import annotations

import itertools

import numpy as np

from tests.benchmarks.contender import Function
from tests.benchmarks.ours import our_model
from tests.benchmarks.peers import Setting, settings
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import race

PROBLEMS = {
    "large-n-16q": Problem(n_qubits=16, n_layers=4, batch=1),
    "large-n-20q": Problem(n_qubits=20, n_layers=4, batch=1),
}
TARGETS = {
    "large-n-16q": {"lightning.qubit adjoint": 12, "prism-q adjoint": 3},
    "large-n-20q": {"lightning.qubit adjoint": 15, "prism-q adjoint": 3},
}
MOST_REPEATS = 5
SIMULATORS = "tests.benchmarks.large_n_peers"
LIGHTNING = [
    Setting(
        "lightning.qubit",
        f"{SIMULATORS}:Lightning",
        {"device_vjp": device_vjp, "grad_on_execution": grad_on_execution},
    )
    for device_vjp, grad_on_execution in itertools.product(
        (True, False, None), (True, False)
    )
]
COLUMNS = [
    [*LIGHTNING, Setting("lightning.qubit", f"{SIMULATORS}:LightningDirect")],
    settings("prism-q", f"{SIMULATORS}:Prism"),
    settings("qulacs", f"{SIMULATORS}:Qulacs"),
    settings("scaluq", f"{SIMULATORS}:Scaluq", {"reuse": True}, {"reuse": False}),
    settings("catalyst", f"{SIMULATORS}:Catalyst"),
]
# The states between gates that backpropagation keeps are gigabytes at 20 qubits.
JAX = settings("jax", f"{SIMULATORS}:Jax")


def ours(problem):
    """The compiled circuit of a model: forward and backward run of work arrays.

    The cotangent of the second output is 0.
    """
    model = our_model(problem)
    work = model.placed.program.new_pass(1)
    features = np.ascontiguousarray(problem.inputs[:1])
    weights, rows = model.weights.copy(), np.array([0])
    cotangents = np.array([[1.0, 0.0]])

    def run():
        value = work.forward(weights, features, rows)[0, 0]
        return value, work.backward(cotangents)[0]

    def numbers(found):
        return {"value": found[0], "gradient": found[1].reshape(problem.weights.shape)}

    return Function("qstore_pl", "Program.new_pass", run, numbers)


def measured(name, peers, repeats):
    """Time value and gradient, each peer in the quickest of its settings."""
    problem = PROBLEMS[name]
    columns = [*COLUMNS, JAX] if problem.n_qubits <= 16 else COLUMNS
    made = peers.columns(name, columns, problem)
    repeats = min(repeats, MOST_REPEATS)
    return race(name, ours(problem), made, repeats, TARGETS[name])
