"""What a natural gradient is for: fewer steps than Adam, on circuits and on data.

The runs are those of the scripts ``tests.benchmarks.natural_gradient`` and
``tests.benchmarks.iris_natural``, which say what is counted.
"""

import json

import numpy as np
import pytest

from tests.benchmarks import iris_natural, natural_gradient

SEEDS = natural_gradient.SEEDS[::4]  # of those of the script


@pytest.fixture(scope="module")
def steps():
    """Of each optimizer, the steps to the target from every fourth seed."""

    def of(name, seed):
        return natural_gradient.steps_to_target(natural_gradient.costs(name, seed))

    return {
        name: np.array([of(name, seed) for seed in SEEDS])
        for name in ("natural gradient", "Adam")
    }


@pytest.mark.slow
def test_half_of_adams_steps_on_random_circuits(steps):
    natural, adam = steps["natural gradient"], steps["Adam"]
    assert len(natural) == len(adam) == 10
    assert np.median(natural) <= 14
    assert np.median(natural) <= 0.5 * np.median(adam)
    assert np.sum(natural > adam) <= 1


@pytest.mark.slow
def test_the_documentation_quotes_these_steps(steps):
    path = natural_gradient.DIRECTORY / "natural_gradient.json"
    quoted = json.loads(path.read_text())["steps"]
    for name, found in steps.items():
        wanted = np.array([np.inf if one is None else one for one in quoted[name]])
        assert len(wanted) == len(natural_gradient.SEEDS)
        wanted = wanted[SEEDS]
        assert np.array_equal(np.isinf(found), np.isinf(wanted))
        # On another processor a cost may cross the target a step earlier or later.
        arrived = np.isfinite(wanted)
        assert np.max(np.abs(found[arrived] - wanted[arrived])) <= 1


def test_fewer_epochs_than_adam_on_iris():
    natural, adam = [], []
    for seed in iris_natural.SEEDS:
        adams = [iris_natural.train(seed, one) for one in iris_natural.ADAMS]
        loss, best = iris_natural.best(adams)
        adam.append(best.epochs_to(loss))
        run = iris_natural.train(seed, iris_natural.NATURAL)
        natural.append(run.epochs_to(loss))
    assert len(natural) == 10
    assert np.median(natural) < np.median(adam)
