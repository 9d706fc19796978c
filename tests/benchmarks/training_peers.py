"""The peers of the training step, each in the settings worth trying."""

from __future__ import annotations

import itertools

import autograd
import autograd.numpy as anp
import pennylane as qml

from tests.benchmarks.peers import Setting, settings
from tests.benchmarks.problem import N_OUTPUTS, HandAdam, Problem


def pennylane_qnode(problem: Problem, device, **options):
    """The problem's circuit and outputs on one of PennyLane's devices."""

    def circuit(inputs, weights):
        problem.gates(inputs, weights)
        return [qml.expval(qml.Z(wire)) for wire in range(N_OUTPUTS)]

    return qml.QNode(circuit, qml.device(device, wires=problem.n_qubits), **options)


class Autograd(HandAdam):
    """A QNode under autograd, the batch broadcast or looped over sample by sample."""

    def __init__(self, problem, device, *, loop=False, **options):
        super().__init__(problem)
        self.name = f"{device} {options['diff_method']}"
        words = ["autograd", "loop" if loop else "broadcast"]
        words += [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join(words)
        qnode = pennylane_qnode(problem, device, **options)

        def outputs(inputs, weights):  # (batch, N_OUTPUTS)
            if loop:
                return anp.stack([anp.stack(qnode(x, weights)) for x in inputs])
            return anp.stack(qnode(inputs, weights)).T

        def loss(weights, inputs, targets):
            return anp.mean((outputs(inputs, weights) - targets) ** 2)

        self._value_and_grad = autograd.value_and_grad(loss)

    def value_and_grad(self, inputs, targets, weights):
        return self._value_and_grad(weights, inputs, targets)


def _qnode(peer, device, **options):
    return Setting(
        peer, "tests.benchmarks.training_peers:Autograd", {"device": device} | options
    )


VMAP = {"vmap": False}, {"vmap": True}
TORCH = Setting("torch", "tests.benchmarks.training_torch:Torch")
JAX = settings("jax", "tests.benchmarks.training_jax:Jax", *VMAP)
IDEAL = [
    [_qnode("default.qubit", "default.qubit", diff_method="backprop"), TORCH],
    [
        _qnode(
            "lightning.qubit",
            "lightning.qubit",
            loop=loop,
            diff_method="adjoint",
            device_vjp=device_vjp,
            grad_on_execution=grad_on_execution,
        )
        for loop, device_vjp, grad_on_execution in itertools.product(
            (False, True), (True, False, None), (True, False)
        )
    ],
    JAX,
    settings("jax", "tests.benchmarks.training_jax:JaxLoop", *VMAP),
    settings(
        "catalyst",
        "tests.benchmarks.training_catalyst:Catalyst",
        {"weighted": True},
        {"weighted": False},
    ),
    settings("qulacs", "tests.benchmarks.training_loops:Qulacs"),
    settings(
        "scaluq",
        "tests.benchmarks.training_loops:Scaluq",
        {"reuse": True},
        {"reuse": False},
    ),
    settings("prism-q", "tests.benchmarks.training_loops:Prism"),
    settings("tensorcircuit", "tests.benchmarks.training_tensorcircuit:TensorCircuit"),
    settings("torchquantum", "tests.benchmarks.training_torchquantum:TorchQuantum"),
]
NOISY = [
    [_qnode("default.mixed", "default.mixed", diff_method="backprop"), TORCH],
    JAX,
]


# Parameter shift takes it ten seconds a step on 4 qubits.
QISKIT = settings(
    "qiskit-machine-learning", "tests.benchmarks.training_qiskit:QiskitMachineLearning"
)


def candidates(problem: Problem):
    """The peers in the order of the table, each as its settings to choose from."""
    if problem.noise:
        return NOISY
    return [*IDEAL, QISKIT] if problem.n_qubits <= 4 else IDEAL
