"""Kernel matrices against states, density matrices and unitaries of PennyLane's."""

import itertools

import numpy as np
import pennylane as qml
import pytest
from sklearn.svm import SVC

from qstore_pl import (
    AngleEncoding,
    FidelityKernel,
    HammingKernel,
    ProjectedKernel,
    QuantumLayer,
    QuantumModel,
    ZZEncoding,
)
from qstore_pl.devices import NoiseSpec
from qstore_pl.model import ENCODINGS
from tests.test_states import noisy_circuit

WIRES = range(3)
NOISE = NoiseSpec(p1=0.02, p2=0.05, t1=50e-6, t2=40e-6)
MISREAD = NoiseSpec(p1=0.02, readout=(0.02, 0.05))
CIRCUITS = (*ENCODINGS, "re-uploading")


def options_of(circuit):
    """The arguments of a kernel on 3 qubits."""
    if circuit == "re-uploading":
        layers = [AngleEncoding("YZ"), QuantumLayer(n_layers=1)]
        return {"input_dim": 3, "layers": layers * 2, "n_qubits": 3, "seed": 2}
    dim = 7 if circuit == "amplitude" else 3
    return {"input_dim": dim, "encoding": circuit, "n_qubits": 3}


def samples_of(circuit, n_samples=5, seed=0):
    rng = np.random.default_rng(seed)
    if circuit == "basis":
        return rng.integers(2, size=(n_samples, 3))
    return rng.uniform(-2, 2, (n_samples, options_of(circuit)["input_dim"]))


def apply(circuit, x, weights=(), labels=WIRES):
    """The gates of one sample, written out."""
    if circuit == "amplitude":
        qml.StatePrep(np.append(x, 0.0) / np.linalg.norm(x), wires=labels)
    elif circuit == "angle":
        for wire, angle in enumerate(x):
            qml.RY(angle, wires=wire)
    elif circuit == "basis":
        for wire, bit in enumerate(x):
            qml.RX(np.pi * bit, wires=wire)
    elif circuit == "zz_feature_map":
        for _ in range(2):
            for wire, angle in enumerate(x):
                qml.Hadamard(wire)
                qml.PhaseShift(2 * angle, wires=wire)
            for i, j in itertools.combinations(range(3), 2):
                qml.CNOT([i, j])
                qml.PhaseShift(2 * (np.pi - x[i]) * (np.pi - x[j]), wires=j)
                qml.CNOT([i, j])
    else:
        for _ in range(2):
            for wire, angle in enumerate(x):
                qml.RY(angle, wires=wire)
            for wire, gates in enumerate(np.reshape(weights, (3, 3))):
                for gate, angle in zip((qml.RX, qml.RY, qml.RZ), gates, strict=True):
                    gate(angle, wires=wire)
            for pair in ((0, 1), (1, 2), (2, 0)):
                qml.CNOT(pair)


def states(circuit, samples, weights=()):
    @qml.qnode(qml.device("default.qubit", wires=3))
    def state(x):
        apply(circuit, x, weights)
        return qml.state()

    return np.array([state(x) for x in samples])


def density_matrices(circuit, samples, noise, weights=()):
    def state(x):
        apply(circuit, x, weights)
        return qml.state()

    device = qml.device("default.mixed", wires=3)
    noisy = noisy_circuit(state, device, noise.to_noise_model())
    return np.array([noisy(x) for x in samples])


def check_matrix(kernel, samples, expected):
    """The matrix of samples, and of some samples with others."""
    found = kernel(samples)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(
        kernel(samples[:2], samples[1:]), found[:2, 1:], rtol=0, atol=1e-13
    )


# --- fidelities ------------------------------------------------------------------


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_fidelities_of_state_vectors(circuit):
    kernel, samples = FidelityKernel(**options_of(circuit)), samples_of(circuit)
    vectors = states(circuit, samples, kernel.parameters)
    check_matrix(kernel, samples, abs(vectors.conj() @ vectors.T) ** 2)
    found = kernel(samples)
    np.testing.assert_array_equal(found.diagonal(), 1.0)
    assert np.linalg.eigvalsh(found)[0] > -1e-10


@pytest.mark.parametrize("circuit", ["angle", "zz_feature_map", "re-uploading"])
@pytest.mark.parametrize("normalize", [True, False])
def test_products_of_density_matrices(circuit, normalize):
    noisy = qml.device("qstore.mock_noisy", wires=3, noise=NOISE)
    kernel = FidelityKernel(
        **options_of(circuit), backend=noisy, normalize=normalize, regularize="flip"
    )
    samples = samples_of(circuit, 3)
    rho = density_matrices(circuit, samples, NOISE, kernel.parameters)
    expected = np.einsum("aij,bji->ab", rho, rho).real
    if normalize:
        purity = expected.diagonal()
        expected = expected / np.sqrt(np.outer(purity, purity))
    check_matrix(kernel, samples, expected)
    if normalize:
        np.testing.assert_array_equal(kernel(samples).diagonal(), 1.0)


def test_matrices_in_pieces_are_the_same(monkeypatch):
    samples = samples_of("angle", 11)
    for backend in ("mock_ideal", "mock_noisy"):
        kernel = FidelityKernel(3, backend=backend)
        whole, block = kernel(samples), kernel(samples[:4], samples[3:])
        monkeypatch.setattr("qstore_pl.kernels.products.TILE", 3)
        np.testing.assert_allclose(kernel(samples), whole, atol=1e-14)
        monkeypatch.setattr("qstore_pl.kernels.fidelity.STATES_BYTES", 2048)
        found = kernel(samples)
        np.testing.assert_array_equal(found, found.T)
        np.testing.assert_allclose(found, whole, atol=1e-14)
        found = kernel(samples[:4], samples[3:])
        np.testing.assert_allclose(found, block, atol=1e-14)
        monkeypatch.undo()


def test_the_scale_multiplies_the_samples():
    samples = samples_of("angle")
    kernel = FidelityKernel(3, scale=0.3)
    np.testing.assert_array_equal(kernel(samples), FidelityKernel(3)(0.3 * samples))


# --- projected -------------------------------------------------------------------


def bloch_vectors(rho):
    """The expectation values of X, Y and Z of one-qubit states, by partial traces."""
    ones = [np.asarray(qml.math.reduce_dm(rho, indices=[k])) for k in WIRES]
    matrices = [qml.matrix(p(0)) for p in (qml.X, qml.Y, qml.Z)]
    features = [np.einsum("bij,ji->b", one, p).real for p in matrices for one in ones]
    return ones, np.stack(features, axis=1)


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_projected_kernels_from_partial_traces(circuit):
    kernel = ProjectedKernel(**options_of(circuit), gamma=0.8)
    samples = samples_of(circuit)
    vectors = states(circuit, samples, kernel.parameters)
    ones, features = bloch_vectors(np.einsum("bi,bj->bij", vectors, vectors.conj()))
    apart = [np.linalg.norm(r[:, None] - r, axis=(2, 3)) ** 2 for r in ones]
    check_matrix(kernel, samples, np.exp(-0.8 * np.sum(apart, axis=0)))
    np.testing.assert_array_equal(kernel(samples).diagonal(), 1.0)
    np.testing.assert_allclose(kernel.features(samples), features, atol=1e-12)


def test_projected_kernels_are_misread_as_measured():
    device = qml.device("qstore.mock_noisy", wires=3, noise=MISREAD)
    samples = samples_of("angle")
    plain = NoiseSpec(p1=MISREAD.p1)
    _, features = bloch_vectors(density_matrices("angle", samples, plain))
    kernel = ProjectedKernel(3, encoding="angle", backend=device)
    read = (1 - 0.02 - 0.05) * features + (0.05 - 0.02)
    np.testing.assert_allclose(kernel.features(samples), read, atol=1e-12)


def test_gamma_by_the_rule_of_scikit_learn():
    samples = samples_of("angle", 9)
    kernel = ProjectedKernel(3)
    assert kernel.gamma == 2 / 3
    features = kernel.features(samples)
    y = samples[:, 0] > 0
    gamma = kernel.gamma_of(samples)
    ours = SVC(kernel=ProjectedKernel(3, gamma=gamma)).fit(samples, y)
    theirs = SVC(gamma="scale").fit(features, y)
    np.testing.assert_allclose(
        ours.decision_function(samples), theirs.decision_function(features), atol=1e-10
    )
    lost = qml.device("qstore.mock_noisy", wires=3, noise=NoiseSpec(p1=0.75))
    with pytest.raises(ValueError, match="samples whose features differ"):
        ProjectedKernel(3, backend=lost).gamma_of(samples)


# --- Hamming ---------------------------------------------------------------------


def outcomes(circuit, x, y, weights):
    """The probabilities of the outcomes of the inversion test, from unitaries."""
    of_x, of_y = (
        qml.matrix(apply, wire_order=WIRES)(circuit, s, weights) for s in (x, y)
    )
    return abs((of_x.conj().T @ of_y)[:, 0]) ** 2


@pytest.mark.parametrize("circuit", [c for c in CIRCUITS if c != "amplitude"])
def test_hamming_kernels_from_unitaries(circuit, monkeypatch):
    similarities = np.array([1.0, 0.6, -0.1, 0.3])
    options = options_of(circuit)
    kernel = HammingKernel(**options, similarities=similarities)
    samples = samples_of(circuit, 3)
    pairs = itertools.product(samples, repeat=2)
    p = np.array([outcomes(circuit, *pair, kernel.parameters) for pair in pairs])
    p = p.reshape(3, 3, 8)
    one_order = p @ similarities[[0, 1, 1, 2, 1, 2, 2, 3]]
    check_matrix(kernel, samples, (one_order + one_order.T) / 2)
    monkeypatch.setattr("qstore_pl.kernels.hamming.PAIRS_BYTES", 2000)
    np.testing.assert_allclose(
        kernel(samples), (one_order + one_order.T) / 2, atol=1e-10
    )
    zeros = p @ [1, 2 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3, 1 / 3, 0]
    check_matrix(HammingKernel(**options), samples, (zeros + zeros.T) / 2)


def test_hamming_kernels_with_noise_are_the_inversion_test_with_noise():
    device = qml.device("qstore.mock_noisy", wires=3, noise=MISREAD)
    kernel = HammingKernel(
        3, encoding="angle", backend=device, similarities=[1, 0, 0, 0]
    )
    samples = samples_of("angle", 3)

    def test(x, y):
        apply("angle", y)
        qml.adjoint(apply)("angle", x)
        return qml.probs(wires=WIRES)

    noisy = noisy_circuit(
        test, qml.device("default.mixed", wires=3), MISREAD.to_noise_model()
    )
    expected = [[noisy(x, y)[0] for y in samples] for x in samples]
    check_matrix(kernel, samples, (np.array(expected) + np.transpose(expected)) / 2)


# --- other circuits, devices and estimators -------------------------------------

KERNELS = (FidelityKernel, ProjectedKernel, HammingKernel)
OTHERS = ("default.qubit", "lightning.qubit", "default.mixed")


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("device", OTHERS)
def test_devices_of_other_packages(make, device):
    samples = samples_of("re-uploading", 3)
    options = options_of("re-uploading")
    kernel = make(**options, backend=qml.device(device, wires=3))
    expected = make(**options)
    expected.parameters[:] = kernel.parameters
    np.testing.assert_allclose(kernel(samples), expected(samples), atol=1e-10)


@pytest.mark.parametrize("make", KERNELS)
def test_kernels_of_models(make):
    layers = [AngleEncoding(), QuantumLayer(), ZZEncoding(), QuantumLayer()]
    model = QuantumModel(3, 1, layers=layers, seed=0)
    model.layers[1].freeze_parameters([0, 4])
    kernel, samples = make.of(model, seed=1), samples_of("angle")
    expected = make(3, layers=model.layers)(samples)
    np.testing.assert_allclose(kernel(samples), expected, atol=1e-13)
    np.testing.assert_array_equal(kernel.trainable, model.trainable)
    model.parameters[:] = 0.0  # the kernel has its own
    np.testing.assert_allclose(kernel(samples), expected, atol=1e-13)


@pytest.mark.parametrize("make", KERNELS)
def test_kernels_of_qnodes(make):
    @qml.qnode(qml.device("default.qubit", wires=2))
    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(2))
        qml.StronglyEntanglingLayers(weights, wires=range(2))
        qml.AngleEmbedding(inputs, wires=range(2), rotation="Y")
        return qml.expval(qml.Z(0))

    shapes = {"weights": (1, 2, 3)}
    model = QuantumModel.from_qnode(circuit, shapes, input_dim=2, seed=0)
    samples = samples_of("angle", 3)[:, :2]
    assert make.of(model).backend is model.backend
    found = make.of(model, backend="mock_ideal")(samples)
    np.testing.assert_allclose(make.of(model)(samples), found, atol=1e-10)


def test_kernels_are_kernels_of_scikit_learn():
    samples, others = samples_of("angle", 20), samples_of("angle", 7, seed=1)
    y = np.sign(samples[:, 0] * samples[:, 1])
    kernel = FidelityKernel(3)
    called = SVC(kernel=kernel).fit(samples, y)
    precomputed = SVC(kernel="precomputed").fit(kernel(samples), y)
    np.testing.assert_allclose(
        called.decision_function(others),
        precomputed.decision_function(kernel(others, samples)),
        atol=1e-10,
    )
    called = SVC(kernel=FidelityKernel(3, shots=100, seed=0)).fit(samples, y)
    matrix = FidelityKernel(3, shots=100, seed=0)(samples)  # of each pair once
    precomputed = SVC(kernel="precomputed").fit(matrix, y)
    np.testing.assert_array_equal(called.dual_coef_, precomputed.dual_coef_)
