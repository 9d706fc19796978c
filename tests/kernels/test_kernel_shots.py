"""Kernel matrices with shots: their means, their seeds, and what makes them usable."""

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import FidelityKernel, HammingKernel, ProjectedKernel
from qstore_pl.devices import NoiseSpec

NOISE = NoiseSpec(p1=0.02, readout=(0.02, 0.05))
SHOTS, RUNS = 50, 80
X = np.random.default_rng(1).uniform(-1, 1, (4, 2))
Z = np.random.default_rng(2).uniform(-1, 1, (3, 2))
CASES = {
    "fidelity": (FidelityKernel, "mock_ideal", {}),
    "swap test": (FidelityKernel, NOISE, {"normalize": False}),
    "hamming": (HammingKernel, "mock_ideal", {}),
    "noisy hamming": (HammingKernel, NOISE, {"similarities": [1, 0.2, -0.5]}),
}


def kernel_of(case, **options):
    make, backend, own = CASES[case]
    if isinstance(backend, NoiseSpec):
        backend = qml.device("qstore.mock_noisy", wires=2, noise=backend)
    return make(2, encoding="angle", backend=backend, **own, **options)


def check_mean(found, exact):
    """Within 5 standard errors, which are 0 where nothing is random."""
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(abs(found.mean(axis=0) - exact) <= 5 * error + 1e-9)


@pytest.mark.parametrize("case", CASES)
def test_means_are_the_exact_entries(case):
    exact, drawn = kernel_of(case), kernel_of(case, shots=SHOTS, seed=0)
    gram = np.array([drawn(X) for _ in range(RUNS)])
    check_mean(gram, exact(X))
    np.testing.assert_array_equal(gram, gram.transpose(0, 2, 1))
    check_mean(np.array([drawn(X, Z) for _ in range(RUNS)]), exact(X, Z))
    assert gram.std(axis=0)[0, 1] > 0


def test_entries_are_binomial():
    """Their variance is that of relative frequencies, and 1 is certain."""
    exact, drawn = kernel_of("fidelity")(X), kernel_of("fidelity", shots=SHOTS, seed=3)
    gram = np.array([drawn(X) for _ in range(1500)])
    np.testing.assert_allclose(
        gram.var(axis=0), exact * (1 - exact) / SHOTS, rtol=0.2, atol=1e-12
    )
    np.testing.assert_allclose(gram * SHOTS, np.round(gram * SHOTS), atol=1e-10)


def test_purities_are_estimated_too():
    device = qml.device("qstore.mock_noisy", wires=2, noise=NoiseSpec(p1=0.02))
    options = {"encoding": "angle", "backend": device}
    drawn = FidelityKernel(2, **options, shots=10**7, seed=0)
    exact = FidelityKernel(2, **options)
    np.testing.assert_array_equal(drawn(X).diagonal(), 1.0)
    for matrices in ((drawn(X), exact(X)), (drawn(X, Z), exact(X, Z))):
        np.testing.assert_allclose(*matrices, atol=5e-3)
    lost = qml.device("qstore.mock_noisy", wires=2, noise=NoiseSpec(p1=0.74))
    few = FidelityKernel(2, encoding="angle", backend=lost, shots=3, seed=0)
    with pytest.raises(ValueError, match="3 shots are too few to estimate"):
        few(np.repeat(X, 5, axis=0))


@pytest.mark.parametrize("backend", ["mock_ideal", "mock_noisy", "other"])
def test_projected_features_with_shots(backend):
    if backend == "other":
        backend = qml.device("default.qubit", wires=2, seed=0)
    exact = ProjectedKernel(2, encoding="angle", backend=backend)
    drawn = ProjectedKernel(2, encoding="angle", backend=backend, shots=400, seed=0)
    features, mean = np.array([drawn.features(X) for _ in range(20)]), exact.features(X)
    error = np.sqrt((1 - mean**2) / (400 * 20))
    assert np.all(abs(features.mean(axis=0) - mean) <= 5 * error)
    np.testing.assert_allclose(features * 200, np.round(features * 200), atol=1e-10)
    gram = drawn(X)
    np.testing.assert_array_equal(gram, gram.T)
    assert np.linalg.eigvalsh(gram)[0] > -1e-10


@pytest.mark.parametrize("make", [FidelityKernel, HammingKernel, ProjectedKernel])
def test_the_same_seed_gives_the_same_bits(make):
    def matrices(seed):
        kernel = make(2, shots=20, seed=seed)
        return [kernel(X), kernel(X), kernel(X, Z)]

    first, second, other = matrices(5), matrices(5), matrices(6)
    for one, same in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("word", ["threshold", "displace", "flip"])
def test_regularized_matrices(word):
    many = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    plain = FidelityKernel(2, shots=10, seed=0)
    kernel = FidelityKernel(2, shots=10, seed=0, regularize=word)
    found = plain(many)
    assert np.linalg.eigvalsh(found)[0] < -1e-3
    expected = getattr(qml.kernels, f"{word}_matrix")(found)
    np.testing.assert_array_equal(kernel(many), expected)
    np.testing.assert_array_equal(kernel(many, Z), plain(many, Z))
