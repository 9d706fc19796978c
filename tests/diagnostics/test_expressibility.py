"""expressibility: distributions of fidelities that are known exactly."""

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
import pytest
from scipy import stats

from qstore_pl import AngleEncoding, QuantumModel
from qstore_pl.circuit import Block, Weights
from qstore_pl.diagnostics import divergence_from_haar, expressibility
from qstore_pl.diagnostics.circuits import random_weights
from qstore_pl.layers import Layer
from tests.diagnostics.test_entanglement import random_states, states_of

FALSE_ALARM = 1e-4


class Equator(Layer):
    """H and RZ: fidelities are cos^2 of half a uniform angle."""

    def blocks(self, wires):
        return [
            Block(qml.Hadamard, wires[:1]),
            Block(qml.RZ, wires[:1], [Weights(0)]),
        ]


def haar_fidelities(samples, n, rng):
    states = random_states(2 * samples, n, rng)
    return np.abs(np.vecdot(states[::2], states[1::2])) ** 2


def equator_divergence(bins):
    """Of the exact probabilities of the arcsine distribution."""
    edges = np.linspace(0, 1, bins + 1)
    p = np.diff(2 / np.pi * np.arcsin(np.sqrt(edges)))
    return np.sum(p * np.log(p * bins))  # Haar's of one qubit is uniform


@pytest.mark.parametrize("n", [1, 2, 3])
def test_random_states_do_not_diverge(n):
    """2 samples KL is chi-squared, as far as bins are occupied."""
    found = divergence_from_haar(
        haar_fidelities(5000, n, np.random.default_rng(n)), n, bins=20
    )
    occupied = np.count_nonzero(found.probabilities)
    assert stats.chi2.sf(1e4 * found.divergence, occupied - 1) > FALSE_ALARM
    assert found.bias == (occupied - 1) / 1e4
    assert found.interval[0] == 0.0
    assert found.interval[1] < 0.005
    np.testing.assert_allclose(np.exp(found.haar).sum(), 1, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_bins_of_random_states(n):
    """Their probabilities against the integral of the density."""
    dim, bins = 2**n, 7
    edges = np.linspace(0, 1, bins + 1)
    found = divergence_from_haar([0.1, 0.2], n, bins=bins)
    expected = -np.diff((1 - edges) ** (dim - 1))
    np.testing.assert_allclose(np.exp(found.haar), expected, atol=1e-15)


@pytest.mark.parametrize(("n", "bins"), [(1, 75), (3, 75), (3, 10), (12, 75)])
def test_an_idle_circuit(n, bins):
    """All fidelities are 1, also where Haar's probability of that underflows."""
    model = QuantumModel(n, 1, layers=[AngleEncoding()])
    found = expressibility(model, samples=50, bins=bins)
    assert found.divergence == pytest.approx((2**n - 1) * np.log(bins), rel=1e-12)
    assert found.interval == pytest.approx((found.divergence,) * 2)
    assert found.bias == 0.0


def test_the_equator():
    model = QuantumModel(1, 1, layers=[AngleEncoding(), Equator()])
    found = expressibility(model, samples=20000)
    low, high = found.interval
    assert low < equator_divergence(75) < high
    assert high - low < 0.03


def test_the_bias_and_the_interval_are_right():
    rng = np.random.default_rng(0)
    exact = equator_divergence(20)
    runs = [
        divergence_from_haar(
            np.cos(rng.uniform(0, np.pi, 500)) ** 2, 1, bins=20, seed=rng
        )
        for _ in range(200)
    ]
    errors = np.array([run.divergence - run.bias for run in runs]) - exact
    assert abs(errors.mean()) < 5 * errors.std() / np.sqrt(200)
    covered = sum(run.interval[0] <= exact <= run.interval[1] for run in runs)
    assert 0.9 * 200 < covered < 200


@pytest.mark.parametrize("given", [True, False])
def test_fidelities_are_those_of_pairs(given):
    model = QuantumModel(2, 1, 2, seed=0)
    inputs = np.random.default_rng(3).uniform(-1, 1, (2, 2)) if given else None
    found = expressibility(model, inputs, samples=4, seed=5)
    weights = random_weights(model, 8, np.random.default_rng(5))
    features = np.zeros((2, 2)) if inputs is None else inputs
    for i, fidelity in enumerate(found.fidelities):
        one, other = (
            states_of(model, features[i % 2], w) for w in weights[2 * i : 2 * i + 2]
        )
        assert fidelity == pytest.approx(abs(np.vdot(one, other)) ** 2, abs=1e-12)
    assert found.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"samples": 1}, ValueError, "`samples` must be >= 2"),
        ({"bins": 1}, ValueError, "`bins` must be >= 2"),
        ({"bins": 2.0}, TypeError, "`bins` must be an integer"),
        ({"inputs": [[0.1, 0.2]]}, ValueError, "`inputs` must have shape"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        expressibility(QuantumModel(1, 1, seed=0), **options)


@pytest.mark.parametrize(
    ("fidelities", "message"),
    [
        ([0.1], "at least 2 samples"),
        ([[0.1, 0.2]], "must have shape"),
        ([0.1, 1.2], "from 0 to 1, but has 0.1 to 1.2"),
        ([0.1, np.nan], "must be finite"),
    ],
)
def test_bad_fidelities(fidelities, message):
    with pytest.raises(ValueError, match=message):
        divergence_from_haar(fidelities, 1)


def test_states_must_be_pure():
    model = QuantumModel(2, 1, seed=0, backend="mock_noisy")
    with pytest.raises(ValueError, match="expressibility is defined for pure"):
        expressibility(model)


def test_it_prints_and_plots():
    found = divergence_from_haar([0.1, 0.5, 0.5, 0.9], 1, bins=4)
    assert "4 pairs brings about 0.2500" in repr(found)
    ax = found.plot()
    own, haar = (patch.get_data() for patch in ax.patches)
    np.testing.assert_allclose(own.values, [0.25, 0, 0.5, 0.25])
    np.testing.assert_allclose(haar.values, 0.25)
    plt.close("all")
