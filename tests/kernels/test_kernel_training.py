"""Alignment, its gradient, and training; copies, representations and errors."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import (
    SGD,
    AngleEncoding,
    FidelityKernel,
    HammingKernel,
    NaturalGradient,
    ProjectedKernel,
    QuantumLayer,
    QuantumModel,
    ZZEncoding,
)
from qstore_pl.kernels import alignment, geometric_difference, train_kernel
from tests.naive import derivatives

X = np.random.default_rng(1).uniform(-1.5, 1.5, (12, 2))
Y = np.sign(X[:, 0] * X[:, 1])


def layers():
    return [ZZEncoding(), QuantumLayer(n_layers=1), AngleEncoding(), QuantumLayer()]


# --- alignment -------------------------------------------------------------------


def test_alignment_is_that_of_pennylane():
    kernel = FidelityKernel(2)

    def of_pair(x, y):
        return kernel(x[None], y[None])[0, 0]

    expected = qml.kernels.target_alignment(X, Y, of_pair, rescale_class_labels=False)
    assert abs(alignment(kernel(X), Y) - expected) < 1e-12
    assert abs(alignment(kernel(X), Y == 1) - expected) < 1e-12


def test_alignment_of_classes():
    labels = np.array(["a", "b", "c", "a", "b", "c"])
    vectors = np.array([[1, 0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]] * 2)
    assert abs(alignment(vectors @ vectors.T, labels) - 1.0) < 1e-12
    assert abs(alignment(np.ones((6, 6)), labels)) < 1e-12
    # Centered, it does not see what is the same for all samples.
    shifted = vectors @ vectors.T + 3.0
    assert alignment(shifted, labels) < 0.5
    assert abs(alignment(shifted, labels, centered=True) - 1.0) < 1e-12


def test_geometric_difference_is_its_formula():
    rng = np.random.default_rng(0)
    a, b = (m @ m.T for m in rng.normal(size=(2, 5, 5)))
    a, b = a * 5 / np.trace(a), b * 5 / np.trace(b)
    inverse = np.linalg.inv(a)
    expected = np.sqrt(np.linalg.eigvals(b @ inverse).real.max())
    assert abs(geometric_difference(3 * a, b) - expected) < 1e-8 * expected
    inverse = np.linalg.inv(a + 0.1 * np.eye(5))
    expected = np.sqrt(np.linalg.eigvals(b @ inverse @ a @ inverse).real.max())
    found = geometric_difference(a, b, regularization=0.1)
    assert abs(found - expected) < 1e-8 * expected
    with pytest.raises(ValueError, match="`K` must not be singular"):
        geometric_difference(np.ones((5, 5)), b)


# --- gradients -------------------------------------------------------------------

KERNELS = {
    "fidelity": (FidelityKernel, {}),
    "projected": (ProjectedKernel, {"gamma": 0.7}),
    "noisy fidelity": (FidelityKernel, {"backend": "mock_noisy"}),
    "noisy product": (FidelityKernel, {"backend": "mock_noisy", "normalize": False}),
    "noisy projected": (ProjectedKernel, {"backend": "mock_noisy"}),
}


def kernel_of(case):
    make, options = KERNELS[case]
    return make(2, layers=layers(), seed=3, **options)


@pytest.mark.parametrize("case", KERNELS)
def test_gradients_are_finite_differences(case):
    kernel, factors = kernel_of(case), np.random.default_rng(0).normal(size=(4, 4))

    def value(parameters):
        kernel.parameters[:] = parameters
        return np.sum(factors * kernel(X[:4]))

    at = kernel.parameters.copy()
    matrix, pull_back = kernel.differentiable(X[:4])
    np.testing.assert_allclose(matrix, kernel(X[:4]), atol=1e-13)
    gradient = pull_back(factors)
    np.testing.assert_allclose(gradient, derivatives(value, at), atol=1e-7)


def test_gradients_are_those_of_default_qubit():
    kernel = kernel_of("fidelity")
    samples, factors = X[:3], np.random.default_rng(0).normal(size=(3, 3))
    encoded = np.concatenate([samples, samples], axis=1)  # of both encodings

    @qml.qnode(qml.device("default.qubit", wires=2), diff_method="backprop")
    def state(row, weights):
        for block in kernel._feature_map.blocks:
            block.apply(row, weights, (0, 1))
        return qml.state()

    def value(weights):
        vectors = [state(row, weights) for row in encoded]
        return sum(
            factors[i, j] * pnp.abs(pnp.sum(pnp.conj(vectors[i]) * vectors[j])) ** 2
            for i in range(3)
            for j in range(3)
            if i != j
        )

    _, pull_back = kernel.differentiable(samples)
    found = pull_back(factors)
    weights = pnp.array(kernel.parameters, requires_grad=True)
    np.testing.assert_allclose(found, qml.grad(value)(weights), atol=1e-10)


# --- training --------------------------------------------------------------------


@pytest.mark.parametrize("case", ["fidelity", "projected", "noisy fidelity"])
@pytest.mark.parametrize("centered", [False, True])
def test_training_raises_the_alignment(case, centered):
    kernel = kernel_of(case)
    before = alignment(kernel(X), Y, centered=centered)
    kernel.layers[1].freeze_parameters([0, 3])
    frozen = kernel.parameters[~kernel.trainable].copy()
    found = train_kernel(
        kernel, X, Y, epochs=15, centered=centered, batch_size=6, seed=0
    )
    assert found.before == before
    assert found.after == alignment(kernel(X), Y, centered=centered)
    assert found.after > before + 0.05
    assert found.alignments.shape == (15,)
    assert np.array_equal(kernel.parameters[~kernel.trainable], frozen)


def test_training_steps_are_those_of_the_optimizer():
    """One epoch with all samples: gradient ascent, by finite differences."""
    kernel, at = kernel_of("fidelity"), kernel_of("fidelity").parameters

    def aligned(parameters):
        moved = kernel_of("fidelity")
        moved.parameters[:] = parameters
        return alignment(moved(X), Y)

    found = train_kernel(kernel, X, Y, epochs=1, optimizer=SGD(0.5))
    step = 0.5 * derivatives(aligned, at)
    np.testing.assert_allclose(kernel.parameters, at + step, atol=1e-7)
    np.testing.assert_allclose(found.alignments, [found.before], atol=1e-12)


def test_training_is_repeated_by_its_seed():
    kernels = [kernel_of("fidelity") for _ in range(3)]
    for kernel, seed in zip(kernels, (1, 1, 2), strict=True):
        train_kernel(kernel, X, Y, epochs=3, batch_size=5, seed=seed)
    assert np.array_equal(kernels[0].parameters, kernels[1].parameters)
    assert not np.array_equal(kernels[0].parameters, kernels[2].parameters)


# --- copies and representations --------------------------------------------------


@pytest.mark.parametrize("make", [FidelityKernel, ProjectedKernel, HammingKernel])
@pytest.mark.parametrize(
    "twin_of", [copy.deepcopy, lambda k: pickle.loads(pickle.dumps(k))]
)
def test_copies_have_parameters_of_their_own(make, twin_of):
    kernel = make(2, layers=layers(), seed=0, backend="mock_noisy")
    matrix = kernel(X[:3])
    twin = twin_of(kernel)
    np.testing.assert_array_equal(twin(X[:3]), matrix)
    twin.layers[1].parameters[:] = 1.0
    assert np.array_equal(twin.parameters[:6], np.ones(6))
    assert not np.allclose(twin(X[:3]), matrix)
    np.testing.assert_array_equal(kernel(X[:3]), matrix)


def test_representations_are_calls():
    shown = [
        "FidelityKernel(input_dim=2, encoding='angle', n_qubits=3, "
        "backend='mock_noisy', normalize=False, shots=9, regularize='flip')",
        "ProjectedKernel(input_dim=2, encoding='zz_feature_map', n_qubits=2, "
        "scale=0.5, backend='mock_ideal', gamma=1.0)",
        "HammingKernel(input_dim=1, layers=[AngleEncoding(rotation='Y', scale=1.0)], "
        "n_qubits=1, backend='mock_ideal', similarities=[1.0, 0.5])",
    ]
    for text in shown:
        assert repr(eval(text)) == text


# --- errors ----------------------------------------------------------------------

WRONG_ARGUMENTS = [
    ({"input_dim": 0}, ValueError, "`input_dim` must be >= 1"),
    ({"encoding": "zz"}, ValueError, "`encoding` must be one of"),
    ({"encoding": "angle", "layers": [AngleEncoding()]}, ValueError, "left out with"),
    ({"layers": [QuantumLayer()]}, ValueError, "must have an encoding"),
    ({"encoding": "basis", "scale": 2.0}, ValueError, "`scale` must be left out"),
    ({"n_qubits": 1}, ValueError, "`n_qubits` must be >= 2"),
    ({"shots": 0}, ValueError, "`shots` must be >= 1"),
    ({"shots": 1.5}, TypeError, "`shots` must be an integer"),
    ({"regularize": "clip"}, ValueError, "`regularize` must be one of"),
    ({"backend": "nowhere"}, ValueError, "nowhere"),
]


@pytest.mark.parametrize(("options", "error", "words"), WRONG_ARGUMENTS)
def test_wrong_arguments(options, error, words):
    with pytest.raises(error, match=words):
        FidelityKernel(**{"input_dim": 2} | options)


@pytest.mark.parametrize(
    ("samples", "error", "words"),
    [
        (X[0], ValueError, r"`X` must have shape \(n_samples, 2\)"),
        (X[:, :1], ValueError, r"has shape \(12, 1\)"),
        (X[:0], ValueError, "at least one sample"),
        ([[0.0, np.nan]], ValueError, "`X` must be finite"),
        ([[1j, 0.0]], TypeError, "`X` must hold real numbers"),
    ],
)
def test_wrong_samples(samples, error, words):
    with pytest.raises(error, match=words):
        FidelityKernel(2)(samples)
    with pytest.raises(error, match=words.replace("`X`", "`Z`")):
        FidelityKernel(2)(X, samples)


def test_wrong_options_of_single_kernels():
    with pytest.raises(ValueError, match=r"`similarities` must have shape \(3,\)"):
        HammingKernel(2, similarities=[1, 0])
    with pytest.raises(ValueError, match="gates that can be inverted"):
        HammingKernel(4, encoding="amplitude")
    with pytest.raises(ValueError, match="`gamma` must be > 0"):
        ProjectedKernel(2, gamma=0.0)
    with pytest.raises(TypeError, match="`model` must be a QuantumModel"):
        FidelityKernel.of(QuantumLayer())
    drawn = {"noise": "default", "method": "trajectories", "trajectories": 4}
    device = qml.device("qstore.mock_noisy", wires=2, **drawn)
    with pytest.raises(DeviceError, match="Trajectories"):
        FidelityKernel(2, backend=device)(X)


TRAINED = {"X": X, "y": Y, "epochs": 1}


@pytest.mark.parametrize(
    ("kernel", "options", "error", "words"),
    [
        (QuantumModel, {}, TypeError, "`kernel` must be a Kernel"),
        (FidelityKernel(2), {}, ValueError, "trainable parameters, but has none"),
        ({"make": HammingKernel}, {}, TypeError, "HammingKernel has no gradient"),
        ({"shots": 5}, {}, ValueError, "must be exact to be differentiated"),
        ({"backend": qml.device("default.qubit")}, {}, DeviceError, "compiled circuit"),
        ({}, {"y": Y[:3]}, ValueError, r"`y` must have shape \(12,\)"),
        ({}, {"y": np.ones(12)}, ValueError, "labels of at least two classes"),
        ({}, {"epochs": 0}, ValueError, "`epochs` must be >= 1"),
        ({}, {"batch_size": 1}, ValueError, "`batch_size` must be >= 2"),
        ({}, {"optimizer": "newton"}, ValueError, "`optimizer` must be one of"),
        ({}, {"optimizer": NaturalGradient(0.1)}, TypeError, "no metric tensor"),
        (
            {},
            {"optimizer": SGD(0.1), "learning_rate": 0.1},
            ValueError,
            "`learning_rate` must be left out",
        ),
    ],
)
def test_what_cannot_be_trained(kernel, options, error, words):
    if isinstance(kernel, dict):
        given = dict(kernel)
        kernel = given.pop("make", FidelityKernel)(2, layers=layers(), **given)
    with pytest.raises(error, match=words):
        train_kernel(kernel, **TRAINED | options)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.ones(3), r"`K` must have shape \(n_samples, n_samples\)"),
        (np.full((2, 2), np.inf), "`K` must be finite"),
        (np.zeros((2, 2)), "`K` must not be zero"),
    ],
)
def test_matrices_without_an_alignment(matrix, words):
    with pytest.raises(ValueError, match=words):
        alignment(matrix, [0, 1])
