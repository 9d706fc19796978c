"""The final states of placed circuits, against default.qubit and default.mixed."""

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError, PennyLaneDeprecationWarning

from qstore_pl import AngleEncoding, QuantumLayer, QuantumModel, ZZEncoding
from qstore_pl.circuit import Block
from qstore_pl.devices import NoiseSpec, density_matrix
from qstore_pl.layers import Layer
from qstore_pl.model import ENCODINGS

NOISE = NoiseSpec(p1=0.02, p2=0.05, t1=50e-6, t2=40e-6, readout=(0.02, 0.03))
GATES = {"RX", "RY", "RZ", "CNOT", "CZ", "Hadamard", "PhaseShift", "AmplitudeEmbedding"}
REUPLOADING = (ZZEncoding(), QuantumLayer(), AngleEncoding("X"), QuantumLayer())


class Forgetting(Layer):
    """Keeps every other wire, as a pooling layer does."""

    def blocks(self, wires):
        return [Block(qml.CZ, wires[:2])]

    def keeps(self, wires):
        return wires[1::2]


class Measuring(Layer):
    """Measures a wire inside the circuit."""

    def blocks(self, wires):
        return [Block(lambda wires: qml.measure(wires[0]), wires[:1])]


def model_of(case, backend=None):
    """A model away from special values, and two samples."""
    rng = np.random.default_rng(3)
    if case in ENCODINGS:
        input_dim = 7 if case == "amplitude" else 3
        options = {"encoding": case, "n_layers": 1}
    else:
        layers = REUPLOADING if case == "re-uploading" else [*REUPLOADING, Forgetting()]
        input_dim, options = 3, {"layers": layers}
    model = QuantumModel(input_dim, 1, backend=backend, **options)
    model.parameters[:] = rng.uniform(-3, 3, model.parameters.size)
    if case == "basis":
        return model, np.array([[0, 1, 1], [1, 0, 1]])
    return model, rng.uniform(-2, 2, (2, input_dim))


def apply(model, row, labels=range(3)):
    """The gates of a model's circuit, in PennyLane."""
    for block in model.blocks:
        block.apply(row, model.weights, labels)


def noisy_circuit(function, device, noise):
    """A quantum function on a device, with noise after its gates."""
    clean = qml.transforms.decompose(qml.QNode(function, device), gate_set=GATES)
    return qml.noise.add_noise(clean, noise, level="user")


CASES = (*ENCODINGS, "re-uploading", "pooling")
pytestmark = pytest.mark.filterwarnings("ignore::qstore_pl.UnseenWarning")


@pytest.mark.parametrize("case", CASES)
def test_state_vectors_are_those_of_default_qubit(case):
    model, samples = model_of(case)
    device = qml.device("default.qubit", wires=3)

    @qml.qnode(device)
    def state(features):
        apply(model, features)
        return qml.state()

    expected = [state(row) for row in model.prepare(samples)]
    found = model.states(samples)
    assert found.dtype == np.complex128
    np.testing.assert_allclose(found, expected, atol=1e-12)
    other = model.on(qml.device("default.qubit", wires=4))
    encoded = model.prepare(samples)
    for rows in (slice(None), slice(1)):  # one sample has no batch axis there
        found = other.states(encoded[rows], model.weights)
        np.testing.assert_allclose(found, expected[rows], atol=1e-12)
    assert not model.placed.is_mixed
    assert not other.is_mixed


@pytest.mark.parametrize("case", ["angle", "amplitude", "pooling"])
@pytest.mark.parametrize("labels", [3, ["b", "a", "c"]])
def test_pauli_vectors_are_the_density_matrices_of_default_mixed(case, labels):
    noisy = qml.device("qstore.mock_noisy", wires=labels, noise=NOISE)
    model, samples = model_of(case, noisy)
    exact = qml.device("default.mixed", wires=labels)

    def state(row):
        apply(model, row, exact.wires)
        return qml.state()

    circuit = noisy_circuit(state, exact, NOISE.to_noise_model())
    expected = [circuit(row) for row in model.prepare(samples)]
    found = model.states(samples)
    assert model.placed.is_mixed
    assert found.dtype == np.float64
    np.testing.assert_allclose(density_matrix(found), expected, atol=1e-12)


@qml.BooleanFn
def turns_far(op, **_):
    return op.name == "RZ" and bool(np.any(op.data[0] > 0.5))


def damp(op, **_):
    qml.AmplitudeDamping(0.1, wires=op.wires)


def test_states_of_circuits_that_are_not_compiled():
    """Noise that reads the values of gates; and a device of another package."""
    plain, samples = model_of("re-uploading")
    noise = qml.NoiseModel({turns_far: damp})
    model = plain.on(qml.device("qstore.mock_noisy", wires=3, noise=noise))
    assert model.states_program is None
    assert model.is_mixed
    encoded = plain.prepare(samples)
    exact = qml.device("default.mixed", wires=4)

    def state(row):
        apply(plain, row)
        return qml.density_matrix(range(3))

    circuit = noisy_circuit(state, exact, noise)
    found = model.states(encoded, plain.weights)
    np.testing.assert_allclose(
        density_matrix(found), [circuit(row) for row in encoded], atol=1e-12
    )
    pure = plain.states(samples)
    found = plain.on(exact).states(encoded, plain.weights)
    np.testing.assert_allclose(
        density_matrix(found), np.einsum("bi,bj->bij", pure, pure.conj()), atol=1e-12
    )


def test_states_in_chunks_are_the_same(monkeypatch):
    model, samples = model_of("re-uploading")
    whole = model.states(np.repeat(samples, 3, axis=0))
    monkeypatch.setattr("qstore_pl.placed.STATES_BYTES", 3 * 16 * 8 * 4)
    found = model.states(np.repeat(samples, 3, axis=0))
    np.testing.assert_allclose(found, whole, atol=1e-14)


def test_circuits_without_a_single_state():
    model, samples = model_of("angle")
    drawn = qml.device(
        "qstore.mock_noisy", wires=3, noise=NOISE, method="trajectories", trajectories=9
    )
    model.backend = drawn
    with pytest.raises(DeviceError, match=r"Trajectories .* have no density matrix"):
        model.states(samples)
    with pytest.warns(PennyLaneDeprecationWarning, match="shots"):
        device = qml.device("qstore.mock_ideal", wires=3, shots=10)
    model.backend = device
    with pytest.raises(DeviceError, match="cannot be estimated from shots"):
        model.states(samples)
    model = QuantumModel(3, 1, layers=[AngleEncoding(), Measuring()])
    with pytest.raises(DeviceError, match="a measurement inside has a state for each"):
        model.states(samples)
