"""Gradients of each sample: ``Program.vjp(reduce="none")`` and the untied circuit."""

import pickle

import numpy as np
import pytest

from qstore_pl.engine.program import untied_columns
from tests.engine.test_mixed import CASES as MIXED
from tests.engine.test_program import CASES as PURE
from tests.engine.test_program import agree, cotangents, gradients
from tests.engine.test_trajectories import KINDS, circuit, drawn, frozen

CASES = {f"pure: {name}": case for name, case in PURE.items()}
CASES |= {f"mixed: {name}": case for name, case in MIXED.items()}
every = pytest.mark.parametrize("name", CASES)


@every
def test_rows_sum_to_the_gradient(name):
    case = CASES[name]
    by_sample, features = gradients(case, reduce="none")
    assert by_sample.shape == (len(case.features), len(case.weights))
    agree([by_sample.sum(axis=0), features], gradients(case), 1e-12)


@every
def test_rows_are_those_of_runs_of_one_sample(name):
    case = CASES[name]
    program, dy = case.program(), cotangents(case)
    by_sample, features = gradients(case, program, reduce="none")
    for b in range(len(case.features)):
        alone = program.vjp(
            case.weights, case.features[b : b + 1], dy[b : b + 1], inputs=True
        )
        agree([by_sample[b], features[b : b + 1]], alone, 1e-12)


@pytest.mark.parametrize("name", ["pure: model", "pure: re-uploading", "mixed: model"])
def test_rows_are_chosen_and_features_only_if_asked(name):
    case = CASES[name]
    program = case.program()
    rows = np.array([3, 0, 3])
    dy = np.random.default_rng(2).normal(size=(3, len(case.observables)))
    run = case.weights, case.features
    seen, features = program.vjp(*run, dy, rows, reduce="none")
    assert features is None
    chosen = program.vjp(case.weights, case.features[rows], dy, reduce="none")[0]
    agree([seen], [chosen], 0.0)
    assert np.any(seen[0] != seen[2])  # one sample, two cotangents


def test_another_reduction_is_refused():
    case = CASES["pure: model"]
    with pytest.raises(ValueError, match='`reduce` must be one of "none", "sum"'):
        gradients(case, reduce="mean")


@pytest.mark.parametrize("name", ["pure: model", "mixed: model"])
def test_the_untied_circuit_has_weights_of_each_sample(name):
    case = CASES[name]
    program = case.program()
    batch, n_features = case.features.shape
    weights = np.random.default_rng(4).uniform(-1, 1, (batch, len(case.weights)))
    columns = untied_columns(weights, case.features)
    assert columns.shape == (batch, n_features + len(case.weights))
    seen = program.untied.run(np.empty(0), columns)
    pairs = zip(weights, case.features, strict=True)
    expected = [program.run(own, sample[None])[0] for own, sample in pairs]
    agree([seen], [np.array(expected)], 1e-13)


def test_a_pickle_does_not_carry_it():
    case = CASES["pure: model"]
    program = case.program()
    size = len(pickle.dumps(program))
    by_sample = gradients(case, program, reduce="none")
    assert program.untied is program.untied
    assert len(pickle.dumps(program)) == size
    again = pickle.loads(pickle.dumps(program))
    agree(gradients(case, again, reduce="none"), by_sample, 0.0)


# Trajectories are drawn anew by every run: only frozen numbers make two runs equal.
@pytest.mark.parametrize(
    "name", ["damping", "depolarizing", "depolarizing by a weight", "channel of two"]
)
def test_rows_of_one_draw_of_trajectories_sum_to_the_gradient(name):
    case = circuit(KINDS[name][0], batch=3)
    whole = drawn(case, 30, frozen(2))
    by_sample, features = gradients(case, whole, reduce="none")
    agree([by_sample.sum(axis=0), features], gradients(case, whole), 1e-11)
    assert np.any(by_sample[0] != by_sample[1])


def test_a_damping_that_samples_would_share_no_more_is_refused():
    case = circuit(KINDS["damping by a weight"][0])
    with pytest.raises(ValueError, match="must be the same for all samples"):
        gradients(case, drawn(case, 30), reduce="none")


def test_means_of_rows_of_trajectories_are_those_of_mixed_states():
    # 200 sets of 200 trajectories. Their means are within 5 standard errors, a false
    # alarm of 6e-7 for each of 36 numbers if errors are normal: 2e-5 for all.
    case = circuit(KINDS["damping"][0], KINDS["depolarizing"][0], batch=3)
    program = drawn(case, 200, 5)
    sets = np.array([gradients(case, program, reduce="none")[0] for _ in range(200)])
    exact, _ = gradients(case, reduce="none")
    error = sets.std(axis=0, ddof=1) / np.sqrt(len(sets))
    assert np.all(np.abs(sets.mean(axis=0) - exact) <= 5 * error + 1e-12)
    assert np.median(error[error > 0]) < 0.01


@pytest.mark.parametrize("n_features", [0, 1, 2])
def test_columns_are_in_the_order_that_kernels_read(n_features):
    features = np.arange(3.0 * n_features).reshape(3, n_features)
    columns = untied_columns(np.array([7.0, 8.0]), features)
    assert columns.flags.c_contiguous
    np.testing.assert_array_equal(columns, [[*row, 7, 8] for row in features])
