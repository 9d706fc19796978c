"""Circuits with shots: what is read, how it is scored, and how shots are misread.

Statistical assertions are within 5 standard errors by theory, a false alarm of 6e-7 for
each number; seeds are fixed.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from qstore_pl.engine import readings
from qstore_pl.engine.gates import FEATURE, WEIGHT, Angle, PauliRotation, slot_angles
from qstore_pl.engine.pure import PureProgram
from qstore_pl.engine.readings import (
    Distribution,
    Group,
    Scores,
    Signs,
    bits_of,
    flipped,
)
from qstore_pl.engine.shots import Sampler
from tests.engine.test_program import cnot
from tests.engine.test_streams import ALARM, drawn_key, p_value

N = 3
w, x = slot_angles(WEIGHT, 0, (3,)), slot_angles(FEATURE, 0, (2,))
GATES = [
    PauliRotation("Y", (0,), w[0]),
    PauliRotation("X", (1,), x[0] + 0.4),
    cnot(0, 1),
    PauliRotation("Y", (2,), w[1] * x[1]),
    cnot(1, 2),
    PauliRotation("X", (0,), w[2]),
]
TURN = [PauliRotation("Y", (0,), Angle(-np.pi / 2))]  # X is read on wire 0
WEIGHTS = np.array([0.8, -1.3, 2.1])
FEATURES = np.array([[0.3, -0.9], [1.2, 0.5]])
TABLE = np.random.default_rng(1).normal(size=(4, 2))
# Wires in an order of their own; each wire has its own errors.
GROUPS = [
    Group(
        (2, 0),
        ((0.1, 0.3), (0.02, 0.0)),
        (Signs(0, 1.5, (0,)), Signs(1, -0.5, (0, 2)), Signs(0, 0.25, (2,))),
    ),
    Group((1, 2), ((0.05, 0.1), (0.2, 0.05)), (Scores(2, (2, 1), TABLE),)),
    Group((1, 0), ((0.2, 0.1), (0.0, 0.15)), (Distribution(4, (1, 0)),)),
    Group((0, 1, 2), ((0.0, 0.0),) * 3, (Distribution(8, (2,)), Signs(1, 2.0, (1,)))),
]
OFFSETS = [0.5, -1.0, *[0.0] * 8]


def sampler(groups=GROUPS, offsets=OFFSETS):
    programs = [
        PureProgram(
            N, [*GATES, *(TURN if g == 0 else [])], [], n_weights=3, n_features=2
        )
        for g in range(len(groups))
    ]
    return Sampler(programs, groups, offsets)


def draw(run, weights, features, shots, key, ids):
    """Outcomes of a sampler at some values."""
    exact = run.probabilities(weights, features, key, ids)
    return run.draw(exact, shots, key, ids)


def ids_of(rows, circuit=0):
    return np.array([[row, circuit] for row in rows])


# --- the theory, outcome by outcome ---------------------------------------------


def score(group, bits):
    """What the outcome of all wires of a group contributes to all values."""
    found = np.zeros(len(OFFSETS))
    of = dict(zip(group.wires, bits, strict=True))
    for part in group.parts:
        read = [of[wire] for wire in part.wires]
        number = int("".join(map(str, read)), 2)
        if isinstance(part, Signs):
            found[part.output] += part.coefficient * (-1) ** sum(read)
        elif isinstance(part, Scores):
            found[part.output : part.output + 2] += part.numbers[number]
        else:
            found[part.output + number] += 1.0
    return found


def distribution(group, g, sample):
    """Probabilities of what is read, by loops over true and read outcomes."""
    program = sampler().programs[g]
    (psi,) = program.states(WEIGHTS, FEATURES[sample : sample + 1])
    found = {}
    for index, amplitude in enumerate(psi):
        true = [index >> (N - 1 - wire) & 1 for wire in group.wires]
        for read in itertools.product((0, 1), repeat=len(true)):
            chance = abs(amplitude) ** 2
            for t, r, (up, down) in zip(true, read, group.errors, strict=True):
                wrong = down if t else up
                chance *= wrong if r != t else 1 - wrong
            found[read] = found.get(read, 0.0) + chance
    return found


def moments(sample, groups=GROUPS):
    """Mean of all values, and covariance of what one shot of each group adds."""
    mean, covariances = np.array(OFFSETS), []
    for g, group in enumerate(groups):
        each = distribution(group, g, sample)
        p = np.array(list(each.values()))
        scores = np.array([score(group, bits) for bits in each])
        mean = mean + p @ scores
        away = scores - p @ scores
        covariances.append(away.T @ (p[:, None] * away))
    return mean, covariances


ROADS = {"counted": 12, "one listed": 2, "listed": 1, "all listed": 0}
roads = pytest.mark.parametrize("most", ROADS.values(), ids=ROADS)


@roads
@pytest.mark.parametrize("n_shots", [1, 25, 400])
def test_means_and_variances(n_shots, most, monkeypatch):
    monkeypatch.setattr(readings, "MOST_COUNTED", most)
    run, n = sampler(), 1500
    features = np.repeat(FEATURES, n, axis=0)
    shots = np.full(2 * n, n_shots)
    found = draw(run, WEIGHTS, features, shots, drawn_key(5), ids_of(range(2 * n)))
    values = found.values().reshape(2, n, -1)
    cotangents = np.random.default_rng(2).normal(size=len(OFFSETS))
    estimated = found.variances(np.tile(cotangents, (2 * n, 1))).reshape(2, n, -1)
    for sample in range(2):
        mean, covariances = moments(sample)
        variance = np.diag(sum(covariances)) / n_shots
        error = np.sqrt(variance / n)
        assert np.all(np.abs(values[sample].mean(axis=0) - mean) <= 5 * error + 1e-12)
        moves = variance > 1e-9
        ratio = values[sample].var(axis=0)[moves] / variance[moves]
        assert np.all(np.abs(ratio - 1) < 0.25)  # fixed seeds
        wanted = [cotangents @ one @ cotangents for one in covariances]
        wanted = np.array(wanted) * (1 - 1 / n_shots)  # about the mean of the shots
        each = estimated[sample]
        error = each.std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(each.mean(axis=0) - wanted) <= 5 * error + 1e-12)


@pytest.mark.parametrize("g", range(len(GROUPS)))
def test_both_roads_have_the_distribution_of_the_circuit(g, monkeypatch):
    group, n_shots = GROUPS[g], 40_000
    k = len(group.wires)
    only = Group(group.wires, group.errors, (Distribution(0, group.wires),))
    programs = [sampler().programs[g]]
    each = distribution(group, g, 0)
    wanted = [each[bits] for bits in itertools.product((0, 1), repeat=k)]
    for most in (12, 0):
        monkeypatch.setattr(readings, "MOST_COUNTED", most)
        run = Sampler(programs, [only], np.zeros(1 << k))
        given = WEIGHTS, FEATURES[:1], np.array([n_shots])
        found = draw(run, *given, drawn_key(6), ids_of([3])).values()[0]
        observed = np.rint(found * n_shots)
        assert observed.sum() == n_shots
        np.testing.assert_allclose(observed, found * n_shots, rtol=0, atol=1e-6)
        assert p_value(observed, n_shots * np.array(wanted)) > ALARM


def test_exact_probabilities_are_those_of_what_is_read():
    run = sampler()
    found = run.probabilities(WEIGHTS, FEATURES, drawn_key(0), ids_of([0, 1]))
    for g, (group, read) in enumerate(zip(GROUPS, found, strict=True)):
        for sample in range(2):
            each = distribution(group, g, sample)
            wanted = [
                each[b] for b in itertools.product((0, 1), repeat=len(group.wires))
            ]
            np.testing.assert_allclose(read[sample], wanted, rtol=0, atol=1e-14)


@roads
def test_shots_of_each_sample(most, monkeypatch):
    """Every sample has its own number of shots: frequencies are multiples of 1 / n."""
    monkeypatch.setattr(readings, "MOST_COUNTED", most)
    shots = np.array([3, 700, 1, 50])
    features = np.repeat(FEATURES, 2, axis=0)
    found = draw(sampler(), WEIGHTS, features, shots, drawn_key(1), ids_of(range(4)))
    frequencies = found.values()[:, 4:8] * shots[:, None]
    np.testing.assert_allclose(frequencies, np.rint(frequencies), rtol=0, atol=1e-9)
    np.testing.assert_allclose(frequencies.sum(axis=1), shots, rtol=0, atol=1e-9)


@roads
def test_a_sample_is_drawn_alone(most, monkeypatch):
    monkeypatch.setattr(readings, "MOST_COUNTED", most)
    features, ids = np.repeat(FEATURES, 5, axis=0), ids_of(range(10), circuit=2)
    shots, key, run = np.arange(10, 110, 10), drawn_key(3), sampler()
    together = draw(run, WEIGHTS, features, shots, key, ids).values()
    for part in ([0], [4, 5, 6, 7, 8], [9, 3, 7, 0]):
        seen = draw(run, WEIGHTS, features[part], shots[part], key, ids[part]).values()
        np.testing.assert_allclose(seen, together[part], rtol=0, atol=1e-14)
    others = draw(run, WEIGHTS, features, shots, drawn_key(4), ids).values()
    assert np.all(np.any(others != together, axis=1))


@roads
def test_groups_circuits_and_rows_have_streams_of_their_own(most, monkeypatch):
    """Correlations of 4000 single shots, 5 standard errors from 0."""
    monkeypatch.setattr(readings, "MOST_COUNTED", most)
    group = Group((0, 1), ((0.4, 0.4), (0.4, 0.4)), (Signs(0, 1.0, (0,)),))
    again = Group((0, 1), ((0.4, 0.4), (0.4, 0.4)), (Signs(1, 1.0, (0,)),))
    program = sampler().programs[1]
    run, n = Sampler([program, program], [group, again], [0.0, 0.0]), 4000
    features = np.repeat(FEATURES[:1], n, axis=0)
    drawn = [
        draw(run, WEIGHTS, features, np.ones(n, dtype=int), drawn_key(9), ids).values()
        for ids in (ids_of(range(n)), ids_of(range(n), 1), ids_of(range(1, n + 1)))
    ]
    columns = np.concatenate(drawn, axis=1).T
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlations).max() < 5 / np.sqrt(n)
    # The third draw is the first one row further.
    np.testing.assert_array_equal(drawn[2][:-1], drawn[0][1:])


# --- misreading shot by shot ----------------------------------------------------


@pytest.mark.parametrize("errors", [((0.0, 0.0),) * 2, ((1.0, 0.0), (0.0, 1.0))])
def test_certain_errors(errors):
    listed = np.array([0b00, 0b01, 0b10, 0b11])
    read = flipped(listed, errors, drawn_key(0), ids_of([0]))
    if errors[0][0]:  # the first is read as 1, the second as 0
        np.testing.assert_array_equal(read, [0b10, 0b10, 0b10, 0b10])
    else:
        np.testing.assert_array_equal(read, listed)


def test_wires_are_misread_independently():
    n, errors = 60_000, ((0.1, 0.3), (0.0, 0.2), (0.25, 0.05))
    for outcome in range(8):
        listed = np.full(n, outcome)
        read = flipped(listed, errors, drawn_key(outcome), ids_of([7], outcome))
        wanted = np.ones(1)
        for place, (up, down) in enumerate(errors):
            bit = outcome >> (2 - place) & 1
            wanted = np.kron(wanted, [down, 1 - down] if bit else [1 - up, up])
        counted = np.bincount(read, minlength=8)
        assert not counted[wanted == 0].any()
        assert p_value(counted[wanted > 0], n * wanted[wanted > 0]) > ALARM


def test_circuits_are_misread_by_streams_of_their_own():
    """All pairs of words of 500 flips, each with a false alarm of 1e-9."""
    listed, errors = np.zeros(500, dtype=int), ((0.5, 0.5),)
    read = [
        flipped(listed, errors, drawn_key(0), ids_of([row], circuit)).tolist()
        for row, circuit in itertools.product(range(4), range(8))
    ]
    assert len({tuple(one) for one in read}) == 32
    for one, other in itertools.combinations(read, 2):
        same = np.count_nonzero(np.equal(one, other))
        assert (
            2 * min(stats.binom.cdf(same, 500, 0.5), stats.binom.sf(same - 1, 500, 0.5))
            > 1e-9
        )


# --- bits -----------------------------------------------------------------------


def test_bits_are_those_of_the_chosen_wires():
    wires = (4, 1, 3)
    listed = np.arange(8).reshape(2, 4)
    for k in range(4):
        for chosen in itertools.permutations(wires, k):
            found = bits_of(listed, wires, chosen)
            for outcome in range(8):
                of = {wire: outcome >> (2 - i) & 1 for i, wire in enumerate(wires)}
                wanted = int("".join(str(of[wire]) for wire in chosen) or "0", 2)
                assert found[divmod(outcome, 4)] == wanted


@pytest.mark.parametrize("g", range(len(GROUPS)))
def test_scores_of_outcomes(g):
    group = GROUPS[g]
    every = list(itertools.product((0, 1), repeat=len(group.wires)))
    wanted = [score(group, bits) for bits in every]
    seen = group.values(np.arange(len(every)), len(OFFSETS))
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-15)


def test_a_sampler_of_no_groups_has_its_offsets():
    run = Sampler([], [], [0.5, 2.0])
    shots = np.array([4, 4])
    found = draw(run, WEIGHTS, FEATURES, shots, drawn_key(0), ids_of([0, 1]))
    np.testing.assert_array_equal(found.values(), [[0.5, 2.0]] * 2)
    assert found.variances(np.ones((2, 2))).shape == (2, 0)


def test_the_untied_sampler_has_weights_of_each_sample():
    run = sampler()
    points = np.array([WEIGHTS, WEIGHTS + 0.7])
    shots, key, ids = np.array([90, 90]), drawn_key(2), ids_of([5, 6])
    columns = np.concatenate([FEATURES, points], axis=1)
    seen = draw(run.untied, np.empty(0), columns, shots, key, ids).values()
    for b in range(2):
        part = slice(b, b + 1)
        alone = draw(run, points[b], FEATURES[part], shots[part], key, ids[part])
        np.testing.assert_allclose(seen[part], alone.values(), rtol=0, atol=1e-12)
