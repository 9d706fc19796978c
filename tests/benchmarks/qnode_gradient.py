"""Row `qnode-gradient`: `qml.grad` of a QNode, 4 qubits, 2 layers, batch 10."""

from __future__ import annotations

import pennylane as qml

from tests.benchmarks.contender import Function
from tests.benchmarks.problem import Problem
from tests.benchmarks.race import race

PEER = "default.qubit backprop"
TARGETS = {"plain gates": 2.5, "templates": 6}
PROBLEM = Problem(n_qubits=4, n_layers=2, batch=10)


def templates(inputs, weights):
    """The circuit as two of PennyLane's templates."""
    qml.AngleEmbedding(inputs, wires=range(PROBLEM.n_qubits), rotation="Y")
    qml.StronglyEntanglingLayers(weights, wires=range(PROBLEM.n_qubits))


def gradient(device, gates, **options):
    """The gradient function of the mean square of every wire's <Z> over the batch."""
    wires = range(PROBLEM.n_qubits)

    @qml.qnode(qml.device(device, wires=PROBLEM.n_qubits), **options)
    def circuit(inputs, weights):
        gates(inputs, weights)
        return [qml.expval(qml.Z(wire)) for wire in wires]

    inputs = PROBLEM.inputs[PROBLEM.batches[0]]

    def cost(weights):
        return qml.math.mean(qml.math.stack(circuit(inputs, weights)) ** 2)

    return qml.grad(cost, argnums=0)


def measured(name, peers, repeats):
    """Time the gradient on our device and on default.qubit."""
    weights = qml.numpy.array(PROBLEM.weights, requires_grad=True)
    rows = []
    for kind, gates in (("plain gates", PROBLEM.gates), ("templates", templates)):

        def contender(who, device, gates=gates, **options):
            function = gradient(device, gates, **options)
            return Function(
                who,
                "autograd, broadcast",
                lambda: function(weights),
                lambda found: {"gradient": found},
            )

        ours = contender("qstore_pl", "qstore.mock_ideal")
        peer = contender(PEER, "default.qubit", diff_method="backprop")
        targets = {PEER: TARGETS[kind]}
        rows += race(f"{name}, {kind}", ours, [[peer]], repeats, targets)
    return rows
