"""Embeddings of samples, against states of default.qubit and default.mixed."""

import itertools
import warnings

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError, PennyLaneDeprecationWarning

from qstore_pl import QuantumModel, embedding
from qstore_pl.devices import NoiseSpec
from qstore_pl.layers import (
    AngleEncoding,
    QuantumLayer,
    QuantumPoolingLayer,
    ZZEncoding,
)
from tests import cases

NOISE = NoiseSpec(p1=0.02, p2=0.05)
SEEDS = range(6)
pytestmark = pytest.mark.filterwarnings("ignore::qstore_pl.UnseenWarning")


def a_model(seed, backend=None):
    """A random model without measurements inside, and samples for it."""
    rng = np.random.default_rng(seed)
    while True:
        model = cases.random_model(rng, "sums")
        if not any(isinstance(x, QuantumPoolingLayer) for x in model.layers):
            model.backend = backend
            return model, cases.random_samples(rng, model, 5)


def density_matrices(model, samples, device, noise=None):
    """Of the circuit of a model, as PennyLane computes them."""

    def state(row):
        for block in model.blocks:
            block.apply(row, model.weights, range(model.n_qubits))
        return qml.density_matrix(range(model.n_qubits))

    circuit = qml.QNode(state, device)
    if noise is not None:
        circuit = qml.noise.add_noise(circuit, noise, level="user")
    return np.stack([circuit(row) for row in model.prepare(samples)])


@pytest.mark.parametrize("seed", SEEDS)
def test_dot_products_are_overlaps_of_pure_states(seed):
    model, samples = a_model(seed)
    device = qml.device("default.qubit", wires=model.n_qubits)
    expected = density_matrices(model, samples, device)
    vectors = model.embed(samples)
    assert vectors.shape == (5, model.embedding_dimension("pauli"))
    overlaps = np.einsum("aij,bji->ab", expected, expected).real
    np.testing.assert_allclose(vectors @ vectors.T, overlaps, atol=1e-12)
    # Each number is that of its word, qubit 0 first.
    letters = "IXYZ"
    for index, word in enumerate(itertools.product(letters, repeat=model.n_qubits)):
        matrix = qml.pauli.string_to_pauli_word("".join(word)).matrix(
            wire_order=range(model.n_qubits)
        )
        of_words = np.einsum("ij,bji->b", matrix, expected).real
        np.testing.assert_allclose(
            vectors[:, index] * 2 ** (model.n_qubits / 2), of_words, atol=1e-12
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_dot_products_are_overlaps_of_mixed_states(seed):
    """The noise is that of the device: the whole state is compared."""
    rng = np.random.default_rng(seed)
    layers = [AngleEncoding("YZ"), QuantumLayer(), ZZEncoding(), QuantumLayer()]
    noisy = qml.device("qstore.mock_noisy", wires=2, noise=NOISE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = QuantumModel(2, 1, layers=layers, backend=noisy, seed=seed)
    samples = rng.uniform(-2, 2, (3, 2))

    def state(row):
        for block in model.blocks:
            block.apply(row, model.weights, range(2))
        return qml.state()

    mixed = qml.device("default.mixed", wires=2)
    gates = {"RX", "RY", "RZ", "CNOT", "CZ", "Hadamard", "PhaseShift"}
    circuit = qml.noise.add_noise(
        qml.transforms.decompose(qml.QNode(state, mixed), gate_set=gates),
        NOISE.to_noise_model(),
        level="user",
    )
    expected = np.stack([circuit(row) for row in model.prepare(samples)])
    vectors = model.embed(samples)
    overlaps = np.einsum("aij,bji->ab", expected, expected).real
    assert overlaps.max() < 0.9  # the noise is seen
    np.testing.assert_allclose(vectors @ vectors.T, overlaps, atol=1e-10)


def expectations(model, samples, device):
    """X, Y and Z of all qubits, as PennyLane computes them."""
    wires = range(model.n_qubits)

    @qml.qnode(device)
    def circuit(row):
        for block in model.blocks:
            block.apply(row, model.weights, wires)
        return [qml.expval(p(k)) for p in (qml.X, qml.Y, qml.Z) for k in wires]

    return np.array([circuit(row) for row in model.prepare(samples)])


@pytest.mark.parametrize("backend", ["mock_ideal", "mock_noisy", "default.qubit"])
@pytest.mark.parametrize("seed", [0, 1])
def test_local_embeddings_are_expectation_values(seed, backend):
    model, samples = a_model(seed)
    quiet = qml.device("qstore.mock_noisy", wires=model.n_qubits, noise=NoiseSpec())
    model.backend = quiet if backend == "mock_noisy" else backend
    expected = expectations(model, samples, qml.device("default.qubit"))
    found = model.embed(samples, "local")
    assert found.shape == (5, model.embedding_dimension("local"))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("noisy", [False, True])
def test_qubits_that_were_measured_inside_have_no_x_and_no_y(noisy):
    """A qubit that a pooling layer measured keeps its Z alone."""
    layers = [AngleEncoding(), QuantumLayer(), QuantumPoolingLayer(), QuantumLayer()]
    model = QuantumModel(4, 1, layers=layers, n_qubits=4, seed=3)
    samples = np.random.default_rng(3).uniform(-2, 2, (3, 4))
    expected = expectations(model, samples, qml.device("default.qubit"))
    if noisy:
        noise = NoiseSpec(readout=(0.1, 0.1))
        model.backend = qml.device("qstore.mock_noisy", wires=4, noise=noise)
    found = model.embed(samples, "local").reshape(3, 3, 4)
    dropped = [k for k in range(4) if k not in model.stack.kept]
    assert len(dropped) == 2
    assert np.abs(found[:, :2, dropped]).max() < 1e-12
    if noisy:  # what the gates behind the record do is read from it, with its error
        assert np.abs(found[:, 2]).max() <= 0.8 + 1e-12
    else:
        np.testing.assert_allclose(found.reshape(3, 12), expected, atol=1e-12)
    with pytest.raises(DeviceError, match="a measurement inside has a state for each"):
        model.embed(samples)


@pytest.mark.parametrize("readout", ["affine", "probabilities", "squares"])
def test_outputs_are_those_of_the_model(readout):
    rng = np.random.default_rng(1)
    model = cases.random_model(rng, readout)
    samples = cases.random_samples(rng, model, 4)
    found = model.embed(samples, "outputs")
    assert found.shape == (4, model.embedding_dimension("outputs"))
    np.testing.assert_array_equal(found, model(samples))


def test_other_backends_give_the_same_embeddings():
    model, samples = a_model(2)
    expected = model.embed(samples)
    for name in ("default.qubit", "default.mixed"):
        model.backend = name
        np.testing.assert_allclose(model.embed(samples), expected, atol=1e-12)


def test_many_samples_and_widths():
    """In parts, and for every width, by the maps of the engine's own oracle."""
    rng = np.random.default_rng(0)
    for n in range(1, 8):
        states = rng.normal(size=(20, 2**n)) + 1j * rng.normal(size=(20, 2**n))
        states /= np.linalg.norm(states, axis=1, keepdims=True)
        vectors = embedding._of_state_vectors(states)
        fidelities = np.abs(states.conj() @ states.T) ** 2
        np.testing.assert_allclose(vectors @ vectors.T, fidelities, atol=1e-13)
        # The last word but one ends in Y, the one that has a phase.
        last = np.array([[0, -1j], [1j, 0]])
        word = last
        for _ in range(n - 1):
            word = np.kron(last, word)
        index = int("2" * n, 4)
        of_word = np.einsum("bi,ij,bj->b", states.conj(), word, states).real
        np.testing.assert_allclose(
            vectors[:, index], of_word / 2 ** (n / 2), atol=1e-13
        )


def test_what_is_refused():
    model, samples = a_model(0)
    with pytest.raises(ValueError, match=r'`kind` must be one of "local", "outputs"'):
        model.embed(samples, "state")
    wide = QuantumModel(8, 1, n_layers=1, seed=0)
    with pytest.raises(ValueError, match=r'not be "pauli" .* Take kind="local"'):
        wide.embed(np.zeros((1, 8)))
    assert wide.embed(np.zeros((1, 8)), "local").shape == (1, 24)
    with pytest.raises(ValueError, match="`inputs` must have shape"):
        model.embed(np.zeros((1, 9)), "local")


@pytest.mark.parametrize("kind", embedding.KINDS)
def test_estimates_are_no_embeddings(kind):
    model = QuantumModel(2, 1, n_layers=1, seed=0)
    with pytest.warns(PennyLaneDeprecationWarning, match="shots"):
        model.backend = qml.device("qstore.mock_ideal", wires=2, shots=10)
    with pytest.raises(DeviceError, match=r"10 shots|has 10"):
        model.embed(np.zeros((1, 2)), kind)
    model.backend = qml.device(
        "qstore.mock_noisy", wires=2, noise=NOISE, method="trajectories", trajectories=9
    )
    with pytest.raises(DeviceError, match=r'rajectories.*method="density"'):
        model.embed(np.zeros((1, 2)), kind)
