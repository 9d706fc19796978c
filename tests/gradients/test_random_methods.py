"""Random subsets and SPSA: their means, over all draws and over many.

Exact statements come from a generator that hands out every draw once; statements about
seeded draws are tested against the spread of those draws, at a false-alarm rate that is
stated.
"""

import itertools
import math

import numpy as np
import pennylane as qml
import pytest
from scipy import stats

from qstore_pl import QuantumGradientComputer, QuantumModel, SPSAGradient

X = np.random.default_rng(0).uniform(-1, 1, (2, 2))
Y = np.array([0.9, -0.6])
FALSE_ALARM = 1e-3


class Subsets(np.random.Generator):
    """Hands out the subsets of a list, one after the other."""

    def __init__(self, subsets):
        super().__init__(np.random.PCG64(0))
        self._subsets = iter(subsets)

    def choice(self, a, size, replace):
        assert replace is False
        chosen = next(self._subsets)
        assert len(chosen) == size
        return np.asarray(a)[list(chosen)]


class Bits(np.random.Generator):
    """Hands out rows of bits, as many as are asked for."""

    def __init__(self, rows):
        super().__init__(np.random.PCG64(0))
        self._rows = iter(rows)

    def integers(self, low, high, size):
        assert (low, high) == (0, 2)
        n_rows, n = size
        rows = np.array([next(self._rows) for _ in range(n_rows)])
        assert rows.shape == (n_rows, n)
        return rows


def model_with(n_trained, device="qstore.mock_ideal"):
    model = QuantumModel(2, 2, 1, qml.device(device, wires=2), readout="affine")
    rng = np.random.default_rng(4)
    model.parameters[:] = rng.uniform(-1.5, 1.5, model.parameters.size)
    # The last RZ of both wires has gradient 0; the others come first.
    order = [1, 3, 0, 4, 2, 5]
    model.quantum_layer.freeze_parameters(order[n_trained:])
    return model


def gradients(model, method, **options):
    return QuantumGradientComputer(method=method, **options).compute_gradients(
        model,
        model.parameters,
        inputs=X,
        targets=np.stack([Y, -Y], axis=1),
        loss="mse",
    )


# --- random subsets -------------------------------------------------------------


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_over_all_subsets_the_mean_is_the_gradient(size, device):
    model = model_with(4, device)
    full = gradients(model, "parameter_shift").gradients
    assert np.count_nonzero(full[:6]) == 4
    subsets = list(itertools.combinations(range(4), size))
    generator = Subsets(subsets)
    found = np.array(
        [
            gradients(
                model, "random_subset", sample_size=size, seed=generator
            ).gradients
            for _ in subsets
        ]
    )
    assert (np.count_nonzero(found[:, :6], axis=1) == size).all()
    np.testing.assert_allclose(found.mean(axis=0), full, rtol=0, atol=1e-12)


def test_one_subset_is_part_of_the_gradient_scaled():
    model = model_with(4)
    full = gradients(model, "parameter_shift").gradients
    result = gradients(
        model, "random_subset", sample_size=3, seed=Subsets([(0, 1, 3)])
    ).gradients
    trained = np.flatnonzero(model.trainable[:6])
    expected = np.zeros(6)
    chosen = trained[[0, 1, 3]]
    expected[chosen] = 4 / 3 * full[chosen]
    np.testing.assert_allclose(result[:6], expected, rtol=0, atol=1e-12)
    # The classical read-out costs no circuits: all of it, and not scaled.
    np.testing.assert_allclose(result[6:], full[6:], rtol=0, atol=1e-12)


def test_a_sample_of_more_than_are_trained_is_all_of_them():
    model = model_with(4)
    full = gradients(model, "parameter_shift")
    result = gradients(model, "random_subset", sample_size=100, seed=0)
    np.testing.assert_allclose(result.gradients, full.gradients, rtol=0, atol=1e-12)
    assert result.n_circuit_executions == full.n_circuit_executions


def test_seeded_subsets_are_even():
    """Chi-square of the six subsets of two in four; false-alarm rate 1e-3."""
    model = model_with(4)
    computer = QuantumGradientComputer(method="random_subset", sample_size=2, seed=1)
    counts = dict.fromkeys(
        itertools.combinations(np.flatnonzero(model.trainable[:6]), 2), 0
    )
    for _ in range(240):
        result = computer.compute_gradients(
            model, model.parameters[:6], inputs=X[:1], trainable=model.trainable[:6]
        )
        counts[tuple(np.flatnonzero(result.gradients))] += 1
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > FALSE_ALARM


# --- SPSA -----------------------------------------------------------------------


def bias(step):
    """Over all eight directions of three weights, and how many circuits that took."""
    model = model_with(3)
    full = gradients(model, "adjoint").gradients
    every = list(itertools.product([0, 1], repeat=3))
    result = gradients(model, "spsa", epsilon=step, n_directions=8, seed=Bits(every))
    assert result.n_circuit_executions == len(X) * (1 + 2 * 8)
    error = result.gradients - full
    assert not error[~model.trainable].any()
    np.testing.assert_allclose(error[6:], 0.0, rtol=0, atol=1e-14)
    return error[:6][model.trainable[:6]]


def test_over_all_directions_the_bias_falls_by_the_square_of_the_step():
    coarse, fine, tiny = bias(0.2), bias(0.1), bias(1e-3)
    assert np.abs(coarse).min() > 1e-4
    ratios = coarse / fine
    assert ((ratios > 3.5) & (ratios < 4.5)).all()
    assert np.abs(tiny).max() < 1e-6


def test_a_direction_is_the_central_difference_along_it():
    """By the definition, from function values of the model."""
    model = model_with(3)
    step, signs = 0.3, np.zeros(6)
    signs[model.trainable[:6]] = [1, -1, -1]
    result = SPSAGradient(epsilon=step, seed=Bits([(1, 0, 0)])).compute_gradients(
        model, model.parameters[:6], inputs=X
    )
    ahead, behind = model_with(3), model_with(3)
    ahead.weights[:] += step * signs
    behind.weights[:] -= step * signs
    slope = (ahead.forward(X).sum() - behind.forward(X).sum()) / (2 * step)
    np.testing.assert_allclose(result.gradients, slope * signs, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("shots", "step"), [(None, 1e-3), (50, (9 / 50) ** (1 / 6) / math.sqrt(3))]
)
def test_the_step_that_is_chosen(shots, step):
    """1e-3, or with shots the best central difference over the root of the weights."""

    def found(**options):
        device = qml.device("qstore.mock_ideal", wires=2, seed=0)
        model = model_with(3)
        model.backend = device
        return gradients(model, "spsa", seed=0, shots=shots, **options).gradients

    np.testing.assert_allclose(found(), found(epsilon=step), rtol=1e-12, atol=0)
    assert np.abs(found() - found(epsilon=2 * step)).max() > 1e-8


def test_over_many_seeded_directions_the_mean_is_the_gradient():
    """At c = 1e-3, where the bias is below 1e-6; false-alarm rate 1e-3 in all.

    The standard errors are those of the draws, and the bound is Bonferroni's for six
    weights on both sides.
    """
    model = model_with(6)
    full = gradients(model, "adjoint").gradients[:6]
    computer = SPSAGradient(epsilon=1e-3, seed=5)
    draws = np.array(
        [
            computer.compute_gradients(
                model,
                model.parameters,
                inputs=X,
                targets=np.stack([Y, -Y], axis=1),
                loss="mse",
            ).gradients[:6]
            for _ in range(1500)
        ]
    )
    spread = draws.std(axis=0, ddof=1)
    assert spread.min() > 1e-2
    # A bound a tenth as tight as the largest entry would notice a wrong sign or scale.
    standard_error = spread / math.sqrt(len(draws))
    assert standard_error.max() < 0.1 * np.abs(full).max()
    bound = stats.norm.isf(FALSE_ALARM / (2 * 6)) * standard_error
    assert (np.abs(draws.mean(axis=0) - full) <= bound + 1e-6).all()


@pytest.mark.parametrize("method", ["spsa", "random_subset"])
def test_a_seed_repeats_the_draws_and_a_computer_goes_on_drawing(method):
    model = model_with(6)
    options = {"spsa": {"n_directions": 2}, "random_subset": {"sample_size": 2}}[method]

    def drawn(seed):
        computer = QuantumGradientComputer(method=method, seed=seed, **options)
        return [
            computer.compute_gradients(
                model, model.parameters, inputs=X
            ).gradients.tobytes()
            for _ in range(8)
        ]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert len(set(drawn(3))) > 1


def test_averaged_directions_are_the_mean_of_single_ones():
    rows = [(1, 0, 1), (0, 0, 1), (1, 1, 1)]
    model = model_with(3)
    together = gradients(model, "spsa", n_directions=3, seed=Bits(rows)).gradients
    one_by_one = [gradients(model, "spsa", seed=Bits([row])).gradients for row in rows]
    mean = np.mean(one_by_one, axis=0)
    np.testing.assert_allclose(together, mean, rtol=0, atol=1e-12)
