"""Strings of errors: how they are drawn, and how precise averages over them are.

Oracles are the probabilities of strings, mixed-state Programs, and the variance of
plain sampling, computed from a list of all strings. Numbers drawn at random are
compared within five standard errors. Seeds are fixed.
"""

from __future__ import annotations

import itertools

import numpy as np
import pennylane as qml
import pytest
from scipy import stats

from qstore_pl.engine import trajectories as trajectories_module
from qstore_pl.engine.draws import Choices
from qstore_pl.engine.gates import FEATURE, WEIGHT, slot_angles
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.strata import (
    Odds,
    Strata,
    checkpoints,
    first_over,
    half_width,
    variance,
)
from qstore_pl.engine.transfer import transfer_matrix
from tests.engine.test_pauli import NoisyCircuit, transfer
from tests.engine.test_pauli_fusion import cnot, depolarizing, turn
from tests.engine.test_trajectories import drawn, pair, sizes
from tests.engine.test_transfer import random_kraus
from tests.every_string import every_string, unknown  # noqa: F401

NO_TABLE = np.empty((0, 0))
RANDOM = [random_kraus(np.random.default_rng(k), k, 3) for k in (1, 2)]


def choices(*rows):
    """The choices of a channel by their probabilities, a row for each sample."""
    return Choices(np.array(rows), NO_TABLE, np.ones(len(rows[0])))


CHANNELS = [
    choices([0.7, 0.1, 0.2]),
    choices([1.0]),
    choices([0.9, 0.1], [0.5, 0.5]),
    choices([0.8, 0.0, 0.05, 0.15]),
]


# ------------------------------------------------------------------ strings
def test_strings_with_an_error_are_drawn_with_their_probabilities():
    n, odds = 40_000, Odds(CHANNELS)
    found = odds.strings(np.random.default_rng(1).random((5, 2, n)))
    assert np.all(np.any(found, axis=0))
    for b in range(2):
        each = [c.probabilities[b % len(c.probabilities)] for c in CHANNELS]
        none = np.prod([p[0] for p in each])
        np.testing.assert_allclose(odds.no_error[b], none, rtol=1e-15)
        np.testing.assert_allclose(odds.rest[b], 1.0 - none, rtol=1e-14)
        seen = 0
        for string in itertools.product(*(range(len(p)) for p in each)):
            if not any(string):
                continue
            wanted = np.prod([p[i] for p, i in zip(each, string, strict=True)])
            wanted /= 1.0 - none
            count = np.sum(np.all(found[:, b] == np.array(string)[:, None], axis=0))
            error = np.sqrt(n * wanted * (1.0 - wanted))
            assert abs(count - n * wanted) <= 5 * error
            seen += count
        assert seen == n


def test_first_errors_are_as_even_as_their_probabilities():
    # One channel after the other: counts differ from n p by less than 2, not sqrt(n p).
    p, n = np.array([0.02, 0.05, 0.01, 0.08]), 500
    odds = Odds([choices([1.0 - one, one]) for one in p])
    uniform = np.random.default_rng(2).random((5, 1, n))
    first = np.argmax(odds.strings(uniform)[:, 0] > 0, axis=0)
    wanted = p * np.cumprod([1.0, *(1.0 - p[:-1])])
    wanted *= n / wanted.sum()
    assert np.all(np.abs(np.bincount(first, minlength=4) - wanted) < 2.0)


def test_equal_strings_are_run_once_with_the_sum_of_their_weights():
    odds, n = Odds(CHANNELS), 60
    uniform = np.random.default_rng(3).random((5, 2, n))
    found = Strata.draw(odds, uniform)
    strings = odds.strings(uniform)
    np.testing.assert_array_equal(found.choices[:, found.place], strings)
    for b in range(2):
        own = found.choices[:, found.sample == b]
        assert len(np.unique(own, axis=1).T) == own.shape[1]
        assert own.shape[1] == 1 + len(np.unique(strings[:, b], axis=1).T)
        weights = found.weights[found.sample == b]
        np.testing.assert_allclose(weights[0], odds.no_error[b], rtol=1e-15)
        np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-14)
        row = found.place[b, 7]
        count = np.sum(np.all(strings[:, b] == strings[:, b, 7:8], axis=0))
        np.testing.assert_allclose(found.weights[row], odds.rest[b] * count / n)
    key = np.random.default_rng(4).permutation(len(found.weights))
    other = found.sorted_by(key)
    np.testing.assert_array_equal(other.choices[:, other.place], strings)
    each = np.arange(3.0 * len(key)).reshape(-1, 3)
    totals = other.totals(each[np.argsort(key)])
    np.testing.assert_allclose(totals, found.totals(each), rtol=1e-13)


@pytest.mark.parametrize("channels", [[], [choices([1.0])], [choices([1.0, 0.0])]])
def test_without_errors_one_string_is_all(channels):
    uniform = np.random.default_rng(5).random((1 + len(channels), 3, 4))
    found = Strata.draw(Odds(channels), uniform)
    np.testing.assert_array_equal(found.weights, np.ones(3))
    each = np.full((3, 1), 0.4)
    assert not np.any(found.standard_errors(each))
    assert not np.any(found.half_widths(each, np.ones(1)))


# ------------------------------------------------------------------ precision
def test_variance_and_interval_of_known_values():
    draws = np.array([[[1.0], [2.0], [6.0]], [[3.0], [3.0], [3.0]]])
    found = variance(draws)
    np.testing.assert_allclose(found, [[(1.0 + 16.0) / 4.0], [0.0]])
    width = half_width(draws, np.array([0.5]), np.array([3, 1]))
    t = stats.t.ppf(0.975, [2, 1])
    wanted = t * np.sqrt([(2 * 4.25 + 0.25) / 9.0, 0.25 / 9.0])
    np.testing.assert_allclose(width[:, 0], wanted, rtol=1e-12)
    width = half_width(draws, np.array([0.5]), np.array([3, 1]), skewed=True)
    wanted[0] = t[0] * np.sqrt((2 * 4.25 + 36.0) / 9.0)  # 6 is 3 above the mean
    np.testing.assert_allclose(width[:, 0], wanted, rtol=1e-12)
    assert np.all(variance(draws[:, :1]) == np.inf)
    assert np.all(half_width(draws[:, :1], np.ones(1), np.ones(2, int)) == np.inf)


def layered(n, channel, batch, n_layers=2):
    """Layers of rotations and CNOTs with a channel after each; equal samples."""
    angles = slot_angles(WEIGHT, 0, (n_layers, n))
    x = slot_angles(FEATURE, 0, (n,))
    gates = [turn("Y", i, x[i]) for i in range(n)]
    for k, layer in enumerate(angles):
        for i, angle in enumerate(layer):
            gates += [turn("XYZ"[(i + k) % 3], i, angle), cnot(i, (i + 1) % n)]
            gates += [turn("Y", i, 0.3 * angle), channel((i, (i + 1) % n))]
    rng = np.random.default_rng(6)
    weights, features = rng.uniform(-2, 2, n_layers * n), rng.uniform(-2, 2, (1, n))
    observables = (
        ((1.0, "Z", (0,)),),
        ((1.0, "XX", (0, n - 1)),),
        tuple((1.0, "Z", (i,)) for i in range(n)),
        ((0.5, "Z", (1,)), (0.7, "X", (2,)), (-0.4, "ZY", (0, 2))),
    )
    return NoisyCircuit(n, gates, weights, features.repeat(batch, axis=0), observables)


def exact_values(case):
    program = MixedProgram(case.n, case.gates, case.observables, **sizes(case))
    return program.run(case.weights, case.features[:1])


def of(op):
    """A channel on one wire by its PennyLane operation."""
    matrix = transfer_matrix([np.asarray(k) for k in op.kraus_matrices()])
    return lambda wires: transfer(wires[:1], matrix)


def rare(kraus, p):
    """The identity with probability 1 - p, else some other channel."""
    matrices = [np.sqrt(1.0 - p) * np.eye(len(kraus[0]))]
    matrix = transfer_matrix([*matrices, *(np.sqrt(p) * k for k in kraus)])
    return lambda wires: transfer(wires[: len(kraus[0]) // 2], matrix)


NOISE = {  # wires, channel
    "depolarizing": (4, lambda wires: depolarizing(wires[0], 0.04)),
    "depolarizing of two": (5, lambda wires: pair(wires, 0.04)),
    "amplitude damping": (5, of(qml.AmplitudeDamping(0.05, 0))),
    "strong damping": (4, of(qml.AmplitudeDamping(0.3, 0))),
    "phase damping": (6, of(qml.PhaseDamping(0.05, 0))),
    "generalized damping": (4, of(qml.GeneralizedAmplitudeDamping(0.08, 0.7, 0))),
    "relaxation": (7, of(qml.ThermalRelaxationError(0.1, 1.0, 1.2, 0.05, 0))),
    "Kraus": (4, rare(RANDOM[0], 0.1)),
    "Kraus of two": (4, rare(RANDOM[1], 0.1)),
}
TRIALS = 200


@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("name", NOISE)
def test_intervals_cover_the_exact_value_in_93_percent_of_trials(name, n):
    wires, channel = NOISE[name]
    case = layered(wires, channel, TRIALS)
    work = drawn(case, n, 7).new_pass(TRIALS)
    mean = work.forward(case.weights, case.features, np.arange(TRIALS), gradient=False)
    lower, upper = work.intervals
    np.testing.assert_allclose((lower + upper) / 2.0, mean, rtol=0, atol=1e-14)
    exact = exact_values(case)
    covered = np.mean((lower <= exact) & (exact <= upper), axis=0)
    assert np.all(covered >= 0.93)
    assert np.all((work.standard_errors >= 0.0) & (mean > lower))


def plain_variances(case, count):
    """Variance of one draw of plain sampling, from a list of all strings."""
    program = drawn(case, count - 1, unknown)
    work, rows = program.new_pass(len(case.features)), np.arange(len(case.features))
    mean = work.forward(case.weights, case.features, rows, gradient=False)
    squares = work.strata.totals(work.outputs**2)
    return (squares - mean**2)[0]


COMPARED = {  # channel, choices of all its places together, FEW in plain sampling
    "depolarizing": (lambda wires: depolarizing(wires[0], 0.085), 4**4),
    "damping": (of(qml.AmplitudeDamping(0.16, 0)), 2**4),
}


@pytest.mark.parametrize("name", COMPARED)
def test_five_times_fewer_trajectories_are_as_precise_as_plain_ones(name, monkeypatch):
    """At a no-error weight of 0.7; plain sampling of damping draws K0 +- K1 evenly."""
    channel, count = COMPARED[name]
    case, n = layered(4, channel, 400, n_layers=1), 10
    work = drawn(case, n, 8).new_pass(400)
    found = work.forward(case.weights, case.features, np.arange(400), gradient=False)
    np.testing.assert_allclose(work.strata.no_error, 0.7, rtol=0.03)
    errors = np.mean((found - exact_values(case)) ** 2, axis=0)
    one = layered(4, channel, 1, n_layers=1)
    monkeypatch.setattr(trajectories_module, "FEW", 2.0)
    plain = plain_variances(one, count) / n
    assert plain.sum() > 5 * errors.sum()


@pytest.mark.parametrize("op", ["damping", "generalized", "depolarizing"])
def test_with_strong_noise_they_are_no_less_precise_than_plain_ones(op):
    channel, count = {
        "damping": (of(qml.AmplitudeDamping(0.9, 0)), 2**4),
        "generalized": (of(qml.GeneralizedAmplitudeDamping(0.9, 0.7, 0)), 4**4),
        "depolarizing": (lambda wires: depolarizing(wires[0], 0.6), 4**4),
    }[op]
    case, n = layered(4, channel, 400, n_layers=1), 10
    work = drawn(case, n, 9).new_pass(400)
    found = work.forward(case.weights, case.features, np.arange(400), gradient=False)
    assert np.all(work.strata.no_error < 0.1)
    errors = np.mean((found - exact_values(case)) ** 2, axis=0)
    plain = plain_variances(layered(4, channel, 1, n_layers=1), count) / n
    # 400 repetitions know each error to 7 percent, five of them are 35.
    assert np.all(errors < 1.35 * plain)


# ------------------------------------------------------------------ checkpoints
def test_checkpoints_are_where_growth_would_pass_its_bound():
    growths = [np.array([1.0, np.inf]), np.ones(2), np.array([4.0, np.inf])]
    growths += [np.array([4.0, 1.0]), np.array([4.0, 1.0])]
    strings = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]])
    strings = np.concatenate([strings, [[0, 0, 0, 1]]]).astype(np.uint16)
    marks, most = checkpoints(growths, strings, 2, 20.0)
    # Chunks of rows 0 and 1, and of rows 2 and 3: one passes 4 * 4 * 4 at the end.
    wanted = [[-1, -1, 0, 0], 4 * [-1], [-1, -1, 1, 1], 4 * [-1], [0, 0, -1, -1]]
    np.testing.assert_array_equal(marks, wanted)
    assert most == 2
    found = first_over(growths, strings, 20.0)
    np.testing.assert_array_equal(found, [5, 5, 0, 2])
