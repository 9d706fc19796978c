"""Lanes on arrays: shifts by any rule, the chain rule of numbers, chunks of lanes.

Rules here are random triples, which no gate has: what is tested is that a lane runs the
circuit with a number at ``factor * number + shift``, and that the terms add up.
"""

import numpy as np
import pytest

from qstore_pl.devices.lowering import DerivedPlaces
from qstore_pl.engine import lanes as lanes_module
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.gates import FEATURE, WEIGHT, Angle, PauliRotation, slot_angles
from qstore_pl.engine.lanes import Shifts, Use, Uses, in_chunks, own_columns
from qstore_pl.engine.pure import PureProgram
from tests.engine.test_program import cnot
from tests.naive import derivatives

N_WEIGHTS, N_FEATURES, BATCH = 4, 3, 3
w, x = slot_angles(WEIGHT, 0, (N_WEIGHTS,)), slot_angles(FEATURE, 0, (N_FEATURES,))
ROOT = Derived.of("sqrt", w[0] * w[0] + 1.0)
PLAIN = [w[0], 0.5 * w[1] + x[0], w[2] * x[1] + 0.3, x[2], w[0] * w[0] - w[3], x[0]]
WITH_FUNCTIONS = [*PLAIN, 2.0 * ROOT * x[1], Derived.of("sin", ROOT + x[2])]
CASES = {"polynomials": PLAIN, "functions": WITH_FUNCTIONS}
every = pytest.mark.parametrize("name", CASES)
RNG = np.random.default_rng(14)
WEIGHTS = RNG.uniform(0.5, 1.5, N_WEIGHTS)
FEATURES = RNG.uniform(-1, 1, (BATCH, N_FEATURES))
OBSERVABLES = (((1.0, "Z", (0,)),), ((0.5, "XY", (0, 1)), (1.0, "Z", (1,))))


def uses_of(name, rules=None):
    """The numbers of a case in slots, each with a rule."""
    place = DerivedPlaces(N_FEATURES)
    angles = [angle.renamed(place) for angle in CASES[name]]
    rules = rules or [((0.5, 1.0, np.pi / 2), (-0.5, 1.0, -np.pi / 2))] * len(angles)
    uses = [Use(angle, rule) for angle, rule in zip(angles, rules, strict=True)]
    return Uses(uses, place.derived, n_weights=N_WEIGHTS, n_features=N_FEATURES)


def random_rules(n, seed):
    """Of 0 to 3 terms; the value itself is one of them now and then."""
    rng = np.random.default_rng(seed)
    rules = []
    for k in range(n):
        terms = [tuple(rng.normal(size=3).tolist()) for _ in range(k % 4)]
        rules.append((*terms, (0.7, 1.0, 0.0)) if k % 3 == 0 else tuple(terms))
    return rules


def numbers(name, weights=WEIGHTS, features=FEATURES):
    """The numbers by plain arithmetic, shape ``(batch, n)``."""
    a, x0, x1, x2 = weights, *features.T
    root = np.sqrt(a[0] ** 2 + 1) + 0 * x0
    found = [a[0] + 0 * x0, 0.5 * a[1] + x0, a[2] * x1 + 0.3, x2]
    found += [a[0] ** 2 - a[3] + 0 * x0, x0]
    if name == "functions":
        found += [2 * root * x1, np.sin(root + x2)]
    return np.stack(found, axis=1)


def circuit(angles, n_features):
    gates = []
    for k, angle in enumerate(angles):
        gates += [PauliRotation("XYZ"[k % 3], (k % 2,), angle + 0.2)]
        gates += [PauliRotation("Y", (0,), Angle(0.4)), cnot(k % 2, 1 - k % 2)]
    return PureProgram(2, gates, OBSERVABLES, n_weights=0, n_features=n_features)


def exact(of_numbers):
    """Values of the circuit at numbers of each sample."""
    program = circuit(
        slot_angles(FEATURE, 0, (of_numbers.shape[1],)), of_numbers.shape[1]
    )
    return program.run(np.empty(0), np.ascontiguousarray(of_numbers))


def run_lanes(shifts, name, uses):
    """Values of all lanes: each number has its turn added."""
    n = len(uses.uses)
    all_lanes = slice(0, shifts.n_lanes * BATCH)
    columns = shifts.columns(WEIGHTS, FEATURES, all_lanes)
    assert columns.shape == (shifts.n_lanes * BATCH, N_FEATURES + n)
    np.testing.assert_array_equal(
        columns[:, :N_FEATURES], np.tile(FEATURES, (shifts.n_lanes, 1))
    )
    turned = np.tile(numbers(name), (shifts.n_lanes, 1)) + columns[:, N_FEATURES:]
    return exact(turned).reshape(shifts.n_lanes, BATCH, -1)


@every
@pytest.mark.parametrize("seed", range(4))
def test_terms_of_any_rule_add_up(name, seed):
    rules = random_rules(len(CASES[name]), seed)
    uses = uses_of(name, rules)
    rng = np.random.default_rng(seed)
    which = np.sort(rng.permutation(len(rules))[: 4 + seed]).tolist()
    shifts = Shifts(uses, which)
    values = run_lanes(shifts, name, uses)
    here = numbers(name)
    np.testing.assert_allclose(values[0], exact(here), rtol=0, atol=1e-13)
    cotangents = rng.normal(size=values[0].shape)
    wanted = np.zeros((BATCH, len(rules)))
    for u in which:
        for c, factor, shift in rules[u]:
            moved = here.copy()
            moved[:, u] = factor * here[:, u] + shift
            wanted[:, u] += c * np.sum(exact(moved) * cotangents, axis=1)
    seen = shifts.by_use(values, cotangents)
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-12)
    terms = {(u, a, s) for u in which for _, a, s in rules[u] if (a, s) != (1.0, 0.0)}
    assert shifts.n_lanes == 1 + len(terms)


def test_terms_that_are_one_circuit_share_a_lane():
    rule = ((0.5, 1.0, 0.3), (0.25, 1.0, 0.3), (2.0, 1.0, 0.0), (1.0, 0.5, 0.3))
    uses = uses_of("polynomials", [rule] * len(PLAIN))
    shifts = Shifts(uses, [1, 4])
    assert shifts.n_lanes == 1 + 2 * 2
    values = np.random.default_rng(0).normal(size=(5, BATCH, 1))
    seen = shifts.by_use(values, np.ones((BATCH, 1)))
    wanted = 0.75 * values[1] + 2.0 * values[0] + values[2]
    np.testing.assert_allclose(seen[:, [1]], wanted, rtol=0, atol=1e-14)
    assert not seen[:, [0, 2, 3, 5]].any()


@every
def test_values_of_numbers(name):
    uses = uses_of(name)
    which = [4, 0, *range(5, len(CASES[name]))]
    seen = uses.values(which, WEIGHTS, FEATURES)
    np.testing.assert_allclose(seen, numbers(name)[:, which], rtol=0, atol=1e-14)


@every
def test_the_chain_rule_is_that_of_differences(name):
    uses = uses_of(name)
    gradient = np.random.default_rng(5).normal(size=(BATCH, len(CASES[name])))

    def total(given):
        weights, features = np.split(given, [N_WEIGHTS])
        features = features.reshape(BATCH, N_FEATURES)
        return np.array((gradient * numbers(name, weights, features)).sum())

    wanted = derivatives(total, np.concatenate([WEIGHTS, FEATURES.ravel()])).real
    by_weights, by_features = uses.pull_back(gradient, WEIGHTS, FEATURES)
    seen = np.concatenate([by_weights, by_features.ravel()])
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-9)


@every
def test_numbers_that_depend_on_something(name):
    uses, rng = uses_of(name), np.random.default_rng(0)
    for _ in range(20):
        weights = rng.random(N_WEIGHTS) < 0.3
        features = rng.random(N_FEATURES) < 0.3
        for chosen in (None, features):
            moved = FEATURES + 0.1 * (features if chosen is not None else 0.0)
            there = numbers(name, WEIGHTS + 0.1 * weights, moved)
            changed = np.any(there != numbers(name), axis=0)
            wanted = np.flatnonzero(changed).tolist()
            assert uses.depending(weights, chosen) == wanted


def test_no_numbers():
    uses = Uses([], [], n_weights=2, n_features=1)
    shifts = Shifts(uses, [])
    assert shifts.n_lanes == 1
    features = np.ones((2, 1))
    np.testing.assert_array_equal(shifts.columns(np.ones(2), features, slice(0, 2)), 1)
    gw, gx = shifts.gradient(np.ones((1, 2, 1)), np.ones((2, 1)), np.ones(2), features)
    assert (gw.tolist(), gx.tolist()) == ([0, 0], [[0], [0]])


@every
def test_columns_of_a_part_are_a_part_of_the_columns(name):
    uses = uses_of(name, random_rules(len(CASES[name]), 9))
    shifts = Shifts(uses, range(len(CASES[name])))
    whole = shifts.columns(WEIGHTS, FEATURES, slice(0, shifts.n_lanes * BATCH))
    points = np.arange(5.0 * N_WEIGHTS).reshape(5, N_WEIGHTS)
    own = own_columns(FEATURES, points, slice(0, 5 * BATCH))
    np.testing.assert_array_equal(
        own, [[*sample, *point] for point in points for sample in FEATURES]
    )
    for start, end in ((0, 1), (2, 3), (1, 7), (5, 15)):
        part = slice(start, end)
        np.testing.assert_array_equal(
            shifts.columns(WEIGHTS, FEATURES, part), whole[part]
        )
        np.testing.assert_array_equal(own_columns(FEATURES, points, part), own[part])


# --- chunks ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 7, 100])
def test_chunks_cover_all_lanes_in_order(size, monkeypatch):
    monkeypatch.setattr(lanes_module, "CHUNK_BYTES", 10 * size + 3)
    rows, spans = np.array([8, 2, 5]), []

    def run(lanes, ids):
        spans.append((lanes.start, lanes.stop))
        assert len(ids) == lanes.stop - lanes.start <= size
        return np.concatenate(
            [ids, np.arange(lanes.start, lanes.stop)[:, None]], axis=1
        )

    found = in_chunks(4, rows, 10, run)
    assert found.shape == (4, 3, 3)
    for lane in range(4):
        np.testing.assert_array_equal(found[lane, :, 0], rows)
        np.testing.assert_array_equal(found[lane, :, 1], lane)
    np.testing.assert_array_equal(found[:, :, 2].ravel(), np.arange(12))
    assert [start for start, _ in spans] == list(range(0, 12, size))
    assert spans[-1][1] == 12


def test_a_lane_larger_than_a_chunk_runs_alone(monkeypatch):
    monkeypatch.setattr(lanes_module, "CHUNK_BYTES", 10)
    sizes = []

    def run(lanes, ids):
        sizes.append(len(ids))
        return np.zeros((len(ids), 1))

    in_chunks(3, np.arange(2), 1000, run)
    assert sizes == [1] * 6


def test_no_samples_have_no_values():
    def run(lanes, ids):
        return np.zeros((len(ids), 2))

    assert in_chunks(3, np.empty(0, dtype=int), 8, run).shape == (3, 0, 2)
