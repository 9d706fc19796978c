"""without_entanglement: what is left is the product of the gates on single qubits."""

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import AngleEncoding, QuantumLayer, QuantumModel
from qstore_pl.baselines import without_entanglement
from qstore_pl.circuit import Block, Features, Weights
from qstore_pl.layers import Encoding, Layer, ZZEncoding

INPUTS = np.random.default_rng(0).uniform(-2, 2, (4, 3))


class Mixed(Layer):
    """Gates on one qubit and on two, in a template, a function and by themselves."""

    def blocks(self, wires):
        shape = 1, len(wires), 3
        return [
            Block(qml.StronglyEntanglingLayers, wires, [Weights(0, shape)]),
            Block(qml.CRX, wires[:2], [Weights(9)]),
            Block(pair, wires[1:3], [Weights(10), Weights(0)]),
            Block(qml.Toffoli, wires[:3]),
        ]


def pair(angle, other, wires):
    qml.RY(angle, wires=wires[0])
    qml.IsingXX(other, wires=wires)
    qml.RX(2 * other, wires=wires[1])


class Entangled(Encoding):
    """An encoding of one's own, with some gates on two qubits."""

    def n_wires(self, input_dim):
        return input_dim

    def blocks(self, wires):
        return [
            Block(qml.RX, wires[:1], [Features(0)]),
            Block(qml.CZ, wires[:2]),
            Block(qml.IsingZZ, wires[1:3], [Features(1)]),
            Block(qml.RY, wires[1:2], [Features(2)]),
        ]


def model_of(layers, **options):
    model = QuantumModel(3, 3, layers=layers, seed=1, **options)
    rng = np.random.default_rng(2)
    model.parameters[:] = rng.uniform(-3, 3, model.parameters.size)
    return model


def expected(function, wires=3):
    """<Z_i> of each sample on default.qubit."""
    device = qml.device("default.qubit", wires=wires)

    def circuit(x):
        function(x)
        return [qml.expval(qml.Z(i)) for i in range(wires)]

    return np.array([qml.QNode(circuit, device)(x) for x in INPUTS])


def agree(model, function):
    twin = without_entanglement(model)
    assert twin.summary().total.n_gates[1] == 0
    np.testing.assert_allclose(twin(INPUTS), expected(function), atol=1e-10)
    features = twin.prepare(INPUTS)  # on the road of the QNode
    on_qnode = np.stack(twin.qnode(features, twin.weights), axis=1)
    np.testing.assert_allclose(on_qnode, expected(function), atol=1e-10)
    return twin


def rotations(w):
    for i, angles in enumerate(w):
        for gate, angle in zip((qml.RX, qml.RY, qml.RZ), angles, strict=True):
            gate(angle, wires=i)


@pytest.mark.parametrize("entanglement", ["linear", "circular", "full", "none"])
def test_a_quantum_layer_loses_its_cnots(entanglement):
    model = QuantumModel(3, 3, 2, entanglement=entanglement, readout="affine", seed=0)
    model.quantum_layer.freeze_parameters([3])
    model.parameters[:] = np.random.default_rng(1).uniform(-2, 2, 24)
    model.parameters[18:] = [1, 1, 1, 0, 0, 0]
    w = model.parameters[:18].reshape(2, 3, 3)

    def function(x):
        qml.AngleEmbedding(x, range(3), rotation="Y")
        rotations(w[0])
        rotations(w[1])

    twin = agree(model, function)
    np.testing.assert_array_equal(twin.parameters, model.parameters)
    np.testing.assert_array_equal(twin.trainable, model.trainable)
    twin.parameters[0] += 1  # they are two models
    assert twin.parameters[0] != model.parameters[0]


def test_a_layer_of_ones_own_keeps_its_gates_on_single_qubits():
    model = model_of([AngleEncoding(), Mixed()])
    w = model.parameters

    def function(x):
        qml.AngleEmbedding(x, range(3), rotation="Y")
        for i, angles in enumerate(w[:9].reshape(3, 3)):
            qml.Rot(*angles, wires=i)
        qml.RY(w[10], wires=1)
        qml.RX(2 * w[0], wires=2)

    twin = agree(model, function)
    assert twin.count_parameters() == 11
    assert 9 in twin.summary().unseen_weights


def test_an_encoding_of_ones_own():
    model = model_of([Entangled(), QuantumLayer(n_layers=1)])

    def function(x):
        qml.RX(x[0], wires=0)
        qml.RY(x[2], wires=1)
        rotations(model.parameters.reshape(3, 3))

    assert agree(model, function).summary().unseen_features == (1,)


def test_the_feature_map_keeps_its_phases():
    model = model_of([ZZEncoding()])

    def function(x):
        for _ in range(2):
            for i in range(3):
                qml.Hadamard(i)
                qml.PhaseShift(2 * x[i], wires=i)
            for i in range(3):
                for j in range(i + 1, 3):
                    qml.PhaseShift(2 * (np.pi - x[i]) * (np.pi - x[j]), wires=j)

    agree(model, function)


def test_layers_that_stand_twice_share_their_weights_still():
    shared = Mixed()
    encoding = AngleEncoding()
    model = model_of([encoding, shared, encoding, shared])
    twin = without_entanglement(model)
    assert twin.count_parameters() == model.count_parameters() == 11
    assert twin.layers[1] is twin.layers[3]
    assert twin.n_features == model.n_features == 3


def test_a_qnode():
    @qml.qnode(qml.device("qstore.mock_ideal", wires=3))
    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(3), rotation="Y")
        qml.BasicEntanglerLayers(weights, wires=range(3))
        return [qml.expval(qml.Z(i)) for i in range(3)]

    model = QuantumModel.from_qnode(circuit, {"weights": (1, 3)}, input_dim=3, seed=0)

    def function(x):
        for i in range(3):
            qml.RY(x[i], wires=i)
            qml.RX(model.parameters[i], wires=i)

    agree(model, function)


def test_its_backend_is_that_of_the_model():
    device = qml.device("qstore.mock_noisy", wires=2, noise="ibm")
    model = QuantumModel(2, 1, seed=0, backend=device)
    assert without_entanglement(model).device is device
    assert without_entanglement(QuantumModel(2, 1, seed=0)).backend is None


class Prepares(Encoding):
    def n_wires(self, input_dim):
        return 1

    def blocks(self, wires):
        return [Block(qml.StatePrep, wires, [Features(0, (2 ** len(wires),))])]

    def encode(self, inputs):
        return np.tile(np.eye(4)[0], (len(inputs), 1))


def test_states_that_are_prepared_as_a_whole_are_refused():
    with pytest.raises(ValueError, match=r"cannot be made with AmplitudeEncoding\(\)"):
        without_entanglement(QuantumModel(4, 1, encoding="amplitude", seed=0))
    model = QuantumModel(2, 1, layers=[Prepares(), QuantumLayer()], n_qubits=2)
    with pytest.raises(ValueError, match=r"cannot be made with Prepares\(\)"):
        without_entanglement(model).summary()
