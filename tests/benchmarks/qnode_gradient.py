"""Row `qnode-gradient`: `qml.grad` of a QNode, 4 qubits, 2 layers, batch 10."""

from __future__ import annotations

import time

import pennylane as qml

from tests.benchmarks.problem import Problem
from tests.benchmarks.timing import Row, check_close, in_turn, medians

CALLS = 50
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


def qnode_gradient(repeats):
    """Time the gradient on our device and on default.qubit."""
    circuits = {"plain gates": PROBLEM.gates, "templates": templates}
    weights = qml.numpy.array(PROBLEM.weights, requires_grad=True)
    functions = {}
    for kind, gates in circuits.items():
        ours = functions[kind, "ours"] = gradient("qstore.mock_ideal", gates)
        peer = gradient("default.qubit", gates, diff_method="backprop")
        functions[kind, "peer"] = peer
        check_close(f"gradient with {kind}", ours(weights), peer(weights))

    def measurement(function):
        def measure():
            start = time.perf_counter()
            for _ in range(CALLS):
                function(weights)
            return (time.perf_counter() - start) / CALLS

        return measure

    print("qnode-gradient: timing in turn", flush=True)
    raw = in_turn({key: measurement(f) for key, f in functions.items()}, repeats)
    times = medians(raw)
    return [
        Row(
            row=f"qnode-gradient, {kind}",
            ours=times[kind, "ours"],
            peer="default.qubit backprop",
            setting="autograd, broadcast",
            peer_time=times[kind, "peer"],
            target=TARGETS[kind],
            raw={who: raw[kind, who] for who in ("ours", "peer")},
        )
        for kind in circuits
    ]
