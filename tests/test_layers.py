"""QuantumLayer: which number is which gate, what is frozen, what it refuses."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumLayer
from qstore_pl.layers import INITIAL_SPREAD
from qstore_pl.templates import ENTANGLEMENTS

GATES = (qml.RX, qml.RY, qml.RZ)
PAIRS = {
    ("linear", 2): [(0, 1)],
    ("linear", 3): [(0, 1), (1, 2)],
    ("circular", 2): [(0, 1)],
    ("circular", 3): [(0, 1), (1, 2), (2, 0)],
    ("none", 3): [],
    ("full", 2): [(0, 1)],
    ("full", 3): [(0, 1), (0, 2), (1, 2)],
}


def written_out(weights, pairs):
    """The layer in plain gates; weights of shape (n_layers, n_qubits, 3)."""
    for layer in weights:
        for qubit, angles in enumerate(layer):
            for gate, angle in zip(GATES, angles, strict=True):
                gate(angle, wires=qubit)
        for pair in pairs:
            qml.CNOT(pair)


@pytest.mark.parametrize(
    ("n_qubits", "n_layers", "count"), [(4, 2, 24), (1, 1, 3), (3, 5, 45)]
)
@pytest.mark.parametrize("entanglement", ENTANGLEMENTS)
def test_three_weights_per_qubit_and_layer(n_qubits, n_layers, count, entanglement):
    layer = QuantumLayer(n_qubits, n_layers, entanglement=entanglement)
    assert layer.parameters.shape == layer.trainable.shape == (count,)
    assert layer.parameters.dtype == np.float64
    assert layer.shape == (n_layers, n_qubits, 3)
    assert layer.trainable.all()


@pytest.mark.parametrize(("entanglement", "n_qubits"), PAIRS)
@pytest.mark.parametrize("index", range(12))
def test_a_flat_index_is_layer_then_qubit_then_gate(entanglement, n_qubits, index):
    layer = QuantumLayer(n_qubits, 2, entanglement=entanglement)
    layer.parameters[:] = 0
    layer.parameters[index] = 0.8
    layer_of, rest = divmod(index, 3 * n_qubits)
    one_gate = np.zeros((2, n_qubits, 3))
    one_gate[layer_of, rest // 3, rest % 3] = 0.8
    wires = range(n_qubits)
    expected = qml.matrix(written_out, wire_order=wires)(
        one_gate, PAIRS[entanglement, n_qubits]
    )
    op = layer.operation(layer.parameters.reshape(layer.shape), wires=wires)
    np.testing.assert_allclose(qml.matrix(op), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("entanglement", "n_qubits"), PAIRS)
@pytest.mark.parametrize("backend", [None, "mock_ideal", "default.qubit"])
def test_its_circuit_gives_every_z_from_zero(entanglement, n_qubits, backend):
    if backend == "default.qubit":
        backend = qml.device(backend)
    layer = QuantumLayer(n_qubits, 2, backend, entanglement=entanglement, seed=1)
    weights = np.random.default_rng(2).uniform(-3, 3, layer.parameters.size)

    @qml.qnode(qml.device("default.qubit"))
    def expected(values):
        written_out(values, PAIRS[entanglement, n_qubits])
        return [qml.expval(qml.Z(i)) for i in range(n_qubits)]

    np.testing.assert_allclose(
        layer.circuit(weights), expected(weights.reshape(layer.shape)), atol=1e-12
    )


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_its_circuit_runs_on_wires_with_labels(device):
    labelled = qml.device(device, wires=["a", "b", "c"])
    layer, plain = QuantumLayer(3, 1, labelled, seed=0), QuantumLayer(3, 1, seed=0)
    np.testing.assert_allclose(
        layer.circuit(layer.parameters), plain.circuit(plain.parameters), atol=1e-12
    )


def test_its_circuit_can_be_drawn():
    layer = QuantumLayer(3, 2, seed=0)
    drawn = qml.draw(layer.circuit)(layer.parameters)
    assert drawn.count("RotationEntanglerLayers") == 3
    assert drawn.count("<Z>") == 3
    gates = qml.draw(layer.circuit, level="device", max_length=200)
    assert gates(layer.parameters) == drawn  # our device takes the template whole


def test_first_values_follow_from_the_seed():
    values = QuantumLayer(6, 40, seed=3).parameters
    np.testing.assert_array_equal(values, QuantumLayer(6, 40, seed=3).parameters)
    assert (values != QuantumLayer(6, 40, seed=4).parameters).all()
    # 720 normal numbers: the mean and the spread within four standard errors.
    assert abs(values.mean()) < 4 * INITIAL_SPREAD / np.sqrt(720)
    assert abs(values.std() / INITIAL_SPREAD - 1) < 4 / np.sqrt(2 * 720)


def test_parameters_and_mask_are_live():
    layer = QuantumLayer(2, 1, seed=0)
    parameters, mask = layer.parameters, layer.trainable
    parameters[4] = 7.0
    assert layer.parameters[4] == 7.0
    layer.freeze_parameters([1, 4])
    np.testing.assert_array_equal(np.flatnonzero(~mask), [1, 4])


def test_freezing_adds_and_unfreezing_takes_some_or_all():
    layer = QuantumLayer(2, 2)
    layer.freeze_parameters([0, 1, 2, 3])
    layer.freeze_parameters(np.array([3, 7]))
    layer.freeze_parameters(iter([8]))
    layer.freeze_parameters([])
    np.testing.assert_array_equal(np.flatnonzero(~layer.trainable), [0, 1, 2, 3, 7, 8])
    layer.unfreeze_parameters([1, 11])
    np.testing.assert_array_equal(np.flatnonzero(~layer.trainable), [0, 2, 3, 7, 8])
    layer.unfreeze_parameters()
    assert layer.trainable.all()


@pytest.mark.parametrize("method", ["freeze_parameters", "unfreeze_parameters"])
@pytest.mark.parametrize(
    ("indices", "error", "words"),
    [
        ([0, 12], IndexError, "from 0 to 11, but has 12"),
        ([0, -1], IndexError, "from 0 to 11, but has -1"),
        ([0, 1.0], TypeError, "must be an integer, but is 1.0"),
        ([0, True], TypeError, "must be an integer, but is True"),
    ],
)
def test_a_bad_index_changes_nothing(method, indices, error, words):
    layer = QuantumLayer(2, 2)
    layer.freeze_parameters([0, 5])
    layer.unfreeze_parameters([0])
    before = layer.trainable.copy()
    with pytest.raises(error, match=words):
        getattr(layer, method)(indices)
    np.testing.assert_array_equal(layer.trainable, before)


def test_it_moves_into_arrays_with_its_values_and_its_mask():
    layer = QuantumLayer(2, 1, seed=0)
    layer.freeze_parameters([1])
    values = layer.parameters.copy()
    parameters, trainable = np.zeros(6), np.ones(6, dtype=bool)
    layer.move_into(parameters, trainable)
    np.testing.assert_array_equal(parameters, values)
    np.testing.assert_array_equal(np.flatnonzero(~trainable), [1])
    parameters[0] = 3.0
    layer.unfreeze_parameters()
    assert layer.parameters[0] == 3.0
    assert trainable.all()


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_has_the_values_and_a_life_of_its_own(copied):
    layer = QuantumLayer(3, 2, entanglement="circular", seed=5)
    layer.freeze_parameters([2])
    twin = copied(layer)
    np.testing.assert_array_equal(twin.parameters, layer.parameters)
    np.testing.assert_array_equal(twin.trainable, layer.trainable)
    np.testing.assert_array_equal(
        twin.circuit(twin.parameters), layer.circuit(layer.parameters)
    )
    twin.parameters[0] = 9.0
    twin.unfreeze_parameters()
    assert layer.parameters[0] != 9.0
    assert not layer.trainable[2]


def test_repr_names_what_it_is():
    assert repr(QuantumLayer(3, entanglement="full")) == (
        "QuantumLayer(n_qubits=3, n_layers=2, entanglement='full')"
    )
