"""The kernels of one optimization step, against plain numpy."""

import math

import numpy as np
import pytest

from qstore_pl.engine import updates

SIZES = [1, 2, 7, 24, 1000]


def clip_twin(gradients, trainable, value, norm):
    kept = np.where(trainable, gradients, 0.0)
    before = np.linalg.norm(kept)
    kept = np.clip(kept, -value, value)
    limited = np.linalg.norm(kept)
    return (kept * (norm / limited) if limited > norm else kept), before


def adam_twin(
    parameters, gradients, first, second, rate, b1, b2, eps, decay, decoupled, count
):
    g = gradients + decay * parameters
    first = b1 * first + (1 - b1) * g
    second = b2 * second + (1 - b2) * g**2
    mean, square = first / (1 - b1**count), second / (1 - b2**count)
    step = mean / (np.sqrt(square) + eps) + decoupled * parameters
    return parameters - rate * step, first, second


def sgd_twin(parameters, gradients, velocity, rate, momentum, decay, nesterov):
    g = gradients + decay * parameters
    velocity = momentum * velocity + g
    step = g + momentum * velocity if nesterov else velocity
    return parameters - rate * step, velocity


def close(ours, twin):
    """Agreement to 1e-15 of the largest entry: differences may cancel to anything."""
    scale = np.max(np.abs(twin))
    np.testing.assert_allclose(ours, twin, rtol=0, atol=1e-15 * scale)


def draw(size, seed):
    rng = np.random.default_rng(seed)
    trainable = rng.random(size) < 0.7
    trainable[0] = True
    return rng.normal(size=(4, size)), trainable


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0.5, np.inf])
@pytest.mark.parametrize("norm", [0.3, np.inf])
def test_clip_equals_numpy(size, value, norm):
    (gradients, *_), trainable = draw(size, seed=size)
    wanted, wanted_norm = clip_twin(gradients, trainable, value, norm)
    before = updates.clip(gradients, trainable, value, norm)
    assert before == pytest.approx(wanted_norm, rel=1e-15)
    close(gradients, wanted)
    assert np.all(gradients[~trainable] == 0.0)


def test_clip_by_value_comes_before_clip_by_norm():
    gradients = np.array([3.0, 4.0, 100.0])
    trainable = np.array([True, True, False])
    assert updates.clip(gradients, trainable, 3.0, 1.0) == 5.0
    np.testing.assert_allclose(
        gradients, [math.sqrt(0.5), math.sqrt(0.5), 0.0], rtol=1e-15
    )


def test_clip_by_norm_looks_at_what_clip_by_value_left():
    gradients = np.array([9.0, -9.0])
    updates.clip(gradients, np.ones(2, dtype=bool), 1.0, 5.0)
    assert gradients.tolist() == [1.0, -1.0]


def test_clip_off_leaves_the_trainable_bits():
    (gradients, *_), trainable = draw(24, seed=3)
    wanted = np.where(trainable, gradients, 0.0)
    updates.clip(gradients, trainable, np.inf, np.inf)
    assert gradients.tobytes() == wanted.tobytes()


def test_clip_of_huge_and_tiny_gradients_neither_overflows_nor_vanishes():
    everything = np.ones(2, dtype=bool)
    huge, tiny = np.array([3e200, 4e200]), np.array([3e-200, 4e-200])
    assert updates.clip(huge, everything, np.inf, 1.0) == pytest.approx(5e200)
    np.testing.assert_allclose(huge, [0.6, 0.8], rtol=1e-15)
    assert updates.clip(tiny, everything, np.inf, 1.0) == pytest.approx(5e-200)
    assert updates.clip(np.zeros(2), everything, 1.0, 1.0) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_clip_leaves_gradients_that_are_not_finite_as_they_are(bad):
    gradients = np.array([1.0, 5.0, bad, 2.0])
    before = gradients.copy()
    trainable = np.array([True, False, True, True])
    norm = updates.clip(gradients, trainable, 0.5, 0.5)
    assert not np.isfinite(norm)
    assert gradients.tobytes() == before.tobytes()


def test_clip_drops_a_frozen_entry_that_is_not_finite():
    gradients = np.array([3.0, np.nan, 4.0])
    trainable = np.array([True, False, True])
    assert updates.clip(gradients, trainable, np.inf, np.inf) == 5.0
    assert gradients.tolist() == [3.0, 0.0, 4.0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("decoupled", [0.0, 0.7])
@pytest.mark.parametrize("count", [1, 2, 1000, 10**6])
def test_adam_equals_numpy(size, decay, decoupled, count):
    (parameters, gradients, first, second), trainable = draw(size, seed=size)
    second = 0.5 + second**2  # well conditioned: rounding is not magnified
    before = [array.copy() for array in (parameters, first, second)]
    hyper = (0.02, 0.9, 0.999, 1e-2, decay, decoupled, count)
    wanted = adam_twin(parameters, gradients, first, second, *hyper)
    bad = updates.adam(parameters, gradients, first, second, trainable, *hyper)
    assert bad == -1
    for ours, twin, old in zip(
        (parameters, first, second), wanted, before, strict=True
    ):
        close(ours[trainable], twin[trainable])
        assert ours[~trainable].tobytes() == old[~trainable].tobytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_equals_numpy(size, decay, momentum, nesterov):
    (parameters, gradients, velocity, _), trainable = draw(size, seed=size)
    before = [array.copy() for array in (parameters, velocity)]
    hyper = (0.02, momentum, decay, nesterov)
    wanted = sgd_twin(parameters, gradients, velocity, *hyper)
    assert updates.sgd(parameters, gradients, velocity, trainable, *hyper) == -1
    for ours, twin, old in zip((parameters, velocity), wanted, before, strict=True):
        close(ours[trainable], twin[trainable])
        assert ours[~trainable].tobytes() == old[~trainable].tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 5, 23])
def test_a_gradient_that_is_not_finite_changes_nothing(bad, index):
    (parameters, gradients, first, second), _ = draw(24, seed=1)
    trainable = np.ones(24, dtype=bool)
    gradients[index:] = bad
    written = parameters, first, second
    before = [array.tobytes() for array in written]
    hyper = (0.1, 0.9, 0.999, 1e-8, 0.0, 0.5, 1)
    assert (
        updates.adam(parameters, gradients, first, second, trainable, *hyper) == index
    )
    hyper = (0.1, 0.9, 0.0, True)
    assert updates.sgd(parameters, gradients, first, trainable, *hyper) == index
    assert [array.tobytes() for array in written] == before


def test_read_only_gradients_and_masks_are_accepted():
    (parameters, gradients, velocity, _), trainable = draw(7, seed=2)
    hyper = (0.1, 0.0, 0.0, False)
    wanted, _ = sgd_twin(parameters, gradients, velocity, *hyper)
    gradients.flags.writeable = trainable.flags.writeable = False
    updates.sgd(parameters, gradients, velocity, trainable, *hyper)
    close(parameters[trainable], wanted[trainable])
