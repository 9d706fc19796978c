"""Circuits that are counted are those that the device's tracker sees.

A parameter shift takes, for each sample, one circuit and two for each use of a trained
weight by a gate from which an output can be reached, four for a controlled rotation.
The light cones here are walked on the list of gates, not on PennyLane's graph.
"""

import itertools

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    NaturalGradientComputer,
    QuantumGradientComputer,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)
from qstore_pl.model import ENCODINGS
from qstore_pl.templates import ENTANGLEMENTS

DEVICES = ["qstore.mock_ideal", "qstore.mock_noisy", "default.qubit", "lightning.qubit"]
W = np.array([0.3, -0.5, 0.7, 0.2])


def uses(model):
    """How many gates of trained weights an output can be reached from."""
    n, layer = model.n_qubits, model.quantum_layer
    if layer.entanglement == "full":
        pairs = list(itertools.combinations(range(n), 2))
    elif layer.entanglement == "none":
        pairs = []
    else:
        pairs = [(i, i + 1) for i in range(n - 1)]
    if layer.entanglement == "circular" and n > 2:
        pairs.append((n - 1, 0))
    reached = set(range(model.output_dim))
    found = []
    trainable = model.trainable[: model.n_weights].reshape(layer.n_layers, n, 3)
    for of_layer in trainable[::-1]:
        for pair in pairs[::-1]:
            if reached & set(pair):
                reached |= set(pair)
        found += [of_layer[wire].sum() for wire in reached]
    return int(sum(found))


def tracked(computer, circuit, parameters, **data):
    """The result, and what the tracker of the circuit's device saw."""
    with qml.Tracker(circuit.device) as tracker:
        result = computer.compute_gradients(circuit, parameters, **data)
    return result, tracker.totals


def agree(result, totals, circuits, shots):
    assert totals["executions"] == circuits
    assert result.n_circuit_executions == circuits
    assert result.n_shots == circuits * (shots or 0)
    assert totals.get("shots", 0) == circuits * (shots or 0)


@pytest.mark.parametrize("shots", [None, 7])
@pytest.mark.parametrize("device", DEVICES)
def test_49_circuits_for_24_weights_one_sample_and_all_outputs(device, shots):
    layer = QuantumLayer(4, 2, qml.device(device, wires=4), seed=0)
    computer = QuantumGradientComputer(method="parameter_shift", shots=shots)
    result, totals = tracked(computer, layer.circuit, layer.parameters)
    agree(result, totals, 49, shots)
    layer.freeze_parameters([0, 1, 2, 3, 20])
    result, totals = tracked(computer, layer.circuit, layer.parameters)
    agree(result, totals, 49 - 2 * 5, shots)


# On either device in turn: both are given tapes.
@pytest.mark.parametrize(
    ("device", "entanglement", "n_outputs"),
    [
        (("default.qubit", "lightning.qubit")[(i + k) % 2], entanglement, n_outputs)
        for i, entanglement in enumerate(ENTANGLEMENTS)
        for k, n_outputs in enumerate((1, 3))
    ],
)
def test_frozen_weights_and_those_no_output_sees_cost_nothing(
    device, entanglement, n_outputs
):
    device = qml.device(device, wires=4)
    model = QuantumModel(4, n_outputs, 2, device, entanglement=entanglement, seed=0)
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (2, 4))
    computer = QuantumGradientComputer()
    seen = set()
    for n_frozen in (0, 5, 20):
        frozen = rng.choice(24, n_frozen, replace=False)
        model.quantum_layer.unfreeze_parameters()
        model.quantum_layer.freeze_parameters(frozen.tolist())
        result, totals = tracked(computer, model, model.parameters, inputs=X)
        agree(result, totals, 2 * (1 + 2 * uses(model)), None)
        seen.add(totals["executions"])
    assert len(seen) == 3
    if (entanglement, n_outputs) == ("linear", 1):
        # Of the last layer an output on wire 0 sees wires 0 and 1 alone.
        assert max(seen) == 2 * (1 + 2 * (9 + 6))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("shots", [None, 5])
def test_encoding_costs_no_circuits(encoding, shots):
    n_features = 4 if encoding == "amplitude" else 2
    device = qml.device("default.qubit")
    model = QuantumModel(n_features, 2, 1, device, encoding=encoding, seed=0)
    X = np.ones((3, model.input_dim))
    X[1, 0] = 0
    computer = QuantumGradientComputer(shots=shots)
    result, totals = tracked(computer, model, model.parameters, inputs=X)
    agree(result, totals, 3 * (1 + 2 * 6), shots)


def repeated(w):
    qml.RX(w[0], 0)
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    qml.RZ(w[0] + w[1], 1)
    qml.RX(w[2], 1)
    return qml.expval(qml.Z(1))


def controlled(w):
    qml.CRX(w[0], [0, 1])
    qml.RY(w[1], 0)
    qml.CRZ(w[2], [1, 0])
    return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))


def probabilities(w):
    qml.Rot(w[0], w[1], w[2], 0)
    qml.CNOT([0, 1])
    return qml.probs(wires=[0, 1])


def mixed(w):
    return probabilities(w), qml.expval(qml.Z(0))


def two_bases(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 0)
    return qml.expval(qml.X(0)), qml.expval(qml.Z(0))


def three_bases(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    return [qml.expval(o) for o in (qml.X(0), qml.Y(0), qml.Z(0), qml.Z(1))]


# name: (circuit, circuits in all, circuits with w[0] frozen, measurement groups)
CIRCUITS = {
    "a weight in four gates": (repeated, 1 + 2 * 5, 1 + 2 * 3, 1),
    "controlled rotations": (controlled, 1 + 4 + 2 + 4, 1 + 2 + 4, 1),
    "probabilities": (probabilities, 1 + 2 * 3, 1 + 2 * 2, 1),
    # To the devices of PennyLane these are two, although the bases are one.
    "probabilities and a value": (mixed, 2 * (1 + 2 * 3), 2 * (1 + 2 * 2), 2),
    "two bases": (two_bases, 2 * (1 + 2 * 2), 2 * (1 + 2), 2),
    "three bases": (three_bases, 3 * (1 + 2 * 2), 3 * (1 + 2), 3),
}


@pytest.mark.parametrize("shots", [None, 11])
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CIRCUITS)
def test_circuits_of_a_qnode(name, device, shots):
    circuit, everything, some, groups = CIRCUITS[name]
    device = qml.device(device, wires=2)
    qnode = qml.set_shots(qml.QNode(circuit, device), shots)
    mask = np.array([False, True, True, True])
    shift = QuantumGradientComputer(method="parameter_shift")
    agree(*tracked(shift, qnode, W), everything, shots)
    agree(*tracked(shift, qnode, W, trainable=mask), some, shots)
    difference = QuantumGradientComputer(method="finite_diff")
    agree(*tracked(difference, qnode, W), groups * (1 + 2 * 4), shots)
    spsa = QuantumGradientComputer(method="spsa", n_directions=3, seed=0)
    agree(*tracked(spsa, qnode, W), groups * (1 + 2 * 3), shots)


@pytest.mark.parametrize("shots", [None, 7])
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_circuits_of_every_method(device, shots):
    model = QuantumModel(3, 2, 2, qml.device(device, wires=3), seed=0)
    model.quantum_layer.freeze_parameters([0, 5, 7, 8])  # 14 are trained
    X = np.random.default_rng(0).uniform(-1, 1, (2, 3))

    compiled = device == "qstore.mock_ideal" and not shots

    def count(**options):
        computer = QuantumGradientComputer(shots=shots, seed=0, **options)
        result, totals = tracked(computer, model, model.parameters, inputs=X)
        if options["method"] != "best" or not compiled:  # an adjoint gradient
            agree(result, totals, result.n_circuit_executions, shots)
        return result.n_circuit_executions / len(X)

    assert uses(model) == 14
    assert count(method="parameter_shift") == 1 + 2 * 14
    assert count(method="finite_diff") == 1 + 2 * 14
    assert count(method="spsa") == 1 + 2
    assert count(method="spsa", n_directions=6) == 1 + 2 * 6
    assert count(method="random_subset", sample_size=3) == 1 + 2 * 3
    assert count(method="random_subset", sample_size=50) == 1 + 2 * 14
    # A simulated gradient comes with its circuit.
    assert count(method="best") == (1 if compiled else 1 + 2 * 14)


@pytest.mark.parametrize(
    ("device", "method"),
    [
        ("qstore.mock_ideal", "best"),
        ("qstore.mock_noisy", "best"),
        ("default.qubit", "adjoint"),
    ],
)
def test_a_gradient_of_the_device_itself_comes_with_its_circuit(device, method):
    def circuit(w, inputs):
        qml.RX(w[0] * inputs[..., 0], 0)
        return qml.expval(qml.Z(0))

    computer = QuantumGradientComputer(method=method)
    qnode = qml.QNode(circuit, qml.device(device, wires=1))
    result = computer.compute_gradients(qnode, W[:1], inputs=np.ones((5, 1)))
    assert (result.n_circuit_executions, result.n_shots) == (5, 0)


@pytest.mark.parametrize("shots", [None, 200])
def test_circuits_of_a_natural_gradient(shots):
    """The metric's circuits measure in one basis, those of the cost in two."""
    qnode = qml.QNode(two_bases, qml.device("default.qubit", wires=3, seed=0))
    qnode = qml.set_shots(qnode, shots)
    with qml.Tracker(qnode.device) as tracker:
        result = NaturalGradientComputer(damping=1.0).compute_natural_gradient(
            qnode, W[:2]
        )
    agree(result, tracker.totals, tracker.totals["executions"], shots)
    assert result.n_circuit_executions > 10


def submissions(device, monkeypatch):
    """The number of circuits in each call of the device, as a list that grows."""
    calls = []
    execute = device.execute

    def counting(circuits, *args, **kwargs):
        calls.append(len(circuits))
        return execute(circuits, *args, **kwargs)

    monkeypatch.setattr(device, "execute", counting)
    return calls


METHODS = {
    "parameter_shift": ({}, 1 + 2 * 6),
    "finite_diff": ({}, 1 + 2 * 6),
    "spsa": ({"n_directions": 4}, 1 + 2 * 4),
    "random_subset": ({"sample_size": 2}, 1 + 2 * 2),
}


@pytest.mark.parametrize("shots", [None, 5])
@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@pytest.mark.parametrize("method", METHODS)
def test_a_mini_batch_is_one_submission(method, device, shots, monkeypatch):
    """It has the values and all shifts of all samples."""
    device = qml.device(device, wires=2)
    calls = submissions(device, monkeypatch)
    model = QuantumModel(2, 2, 1, device, seed=0)
    X = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    options, per_sample = METHODS[method]
    computer = QuantumGradientComputer(method=method, shots=shots, **options)
    computer.compute_gradients(model, model.parameters, inputs=X)
    assert calls == [5 * per_sample]


@pytest.mark.parametrize("shots", [None, 5])
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "qstore.mock_noisy"])
@pytest.mark.parametrize("method", METHODS)
def test_our_devices_track_a_mini_batch_as_one_submission(method, device, shots):
    model = QuantumModel(2, 2, 1, qml.device(device, wires=2), seed=0)
    X = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    options, per_sample = METHODS[method]
    computer = QuantumGradientComputer(method=method, shots=shots, **options)
    result, totals = tracked(computer, model, model.parameters, inputs=X)
    agree(result, totals, 5 * per_sample, shots)
    assert totals["batches"] == 1


def test_a_step_of_training_is_one_submission(monkeypatch):
    device = qml.device("default.qubit", wires=2)
    calls = submissions(device, monkeypatch)
    model = QuantumModel(2, 2, 1, device, seed=0)
    X = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    config = TrainingConfig(epochs=1, batch_size=3, seed=0)
    history = QuantumTrainer(config).train(model, (X, np.zeros((5, 2))))
    assert calls == [3 * 13, 2 * 13]
    assert history["circuits"] == [5 * 13]
