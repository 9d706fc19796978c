"""The Bures metric: its definition, closed forms, and what noise may do to it."""

import itertools

import numpy as np
import pytest

from qstore_pl.engine import metric as metric_module
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Kraus,
    PauliRotation,
    slot_angles,
)
from qstore_pl.engine.metric import Bures, FubiniStudy
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.pure import PureProgram
from qstore_pl.engine.trajectories import TrajectoryProgram
from tests.engine.test_metric import CIRCUITS, masks, values_of
from tests.engine.test_pauli import dense_matrix
from tests.engine.test_pauli_fusion import cnot, damping, depolarizing, two_wires
from tests.naive import bures, derivatives

w = slot_angles(WEIGHT, 0, (20,))
x = slot_angles(FEATURE, 0, (4,))
ROOT = Angle(np.sqrt(0.85))  # of damping by 0.15


def turn(word, wires, angle, controls=()):
    return PauliRotation(word, wires, angle, controls)


def noisy(noise, *, over_rotation=0.0, n=2):
    """Features and weights, some of them twice, with noise after every gate."""
    weights = iter(w)
    gates = []
    for i in range(n):
        gates += [turn("Y", (i,), (1 + over_rotation) * x[i]), *noise(i)]
    for i in range(n):
        for letter in "XZ":
            gates += [turn(letter, (i,), (1 + over_rotation) * next(weights))]
            gates += noise(i)
        gates += [cnot(i, (i + 1) % n), *noise(i), *noise((i + 1) % n)]
    for angle in (w[0] * x[0], w[1] * w[2] + x[1], w[0]):
        gates += [turn("Y", (0,), (1 + over_rotation) * angle), *noise(0)]
    gates += [turn("X", (1,), w[4], ((0, 1),)), turn("ZY", (0, 1), w[3])]
    return MixedProgram(n, gates, n_weights=5, n_features=n)


NOISE = {
    "depolarizing": lambda wire: [depolarizing(wire, 0.05)],
    "damping": lambda wire: [damping(wire, ROOT)],
    "both": lambda wire: [depolarizing(wire, 0.02), damping(wire, ROOT)],
    "none": lambda wire: [],
}
NOISY = {name: noisy(noise) for name, noise in NOISE.items()}
NOISY["over-rotation"] = noisy(NOISE["both"], over_rotation=0.07)
NOISY["pairs"] = noisy(
    lambda wire: [two_wires(wire, 1 - wire, 0.9), depolarizing(wire, 0.02)]
)


def by_definition(circuit, weights, sample):
    """From the dense twin's density matrices, by all weights, then all features."""

    def rho(values):
        at = values[: len(weights)], values[len(weights) :]
        return dense_matrix(circuit.n_wires, circuit.gates, *at)

    values = np.concatenate([weights, sample])
    return bures(rho(values), derivatives(rho, values))


def metric_of(circuit, weights, features, *chosen, **options):
    if not chosen:
        chosen = np.ones(circuit.tables.n_weights, bool), None
    metric = Bures(circuit, *chosen, **options)
    return metric(weights, features, np.arange(len(features)))


@pytest.mark.parametrize("name", NOISY)
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_it_is_its_definition(name, seed):
    circuit = NOISY[name]
    weights, features = values_of(circuit, batch=2)
    chosen = masks(circuit, seed)
    if seed is None:
        chosen = [np.ones_like(mask) for mask in chosen]
    seen = metric_of(circuit, weights, features, *chosen)
    kept = np.concatenate(chosen)
    for one, sample in zip(seen, features, strict=True):
        expected = by_definition(circuit, weights, sample)[np.ix_(kept, kept)]
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-9)
        assert np.abs(expected).max() > 0.01
        np.testing.assert_allclose(one, one.T, rtol=0, atol=1e-15)
        assert np.linalg.eigvalsh(one).min() > -1e-14


@pytest.mark.parametrize("length", [1.0, 0.8, 0.1])
def test_of_one_qubit_it_is_a_quarter_of_the_squared_distance_from_the_axis(length):
    # A Bloch vector of length r turning at right angles to its axis: F = r**2.
    factor = 0.75 * (1.0 - length)
    gates = [turn("Y", (0,), Angle(np.pi / 2)), depolarizing(0, factor)]
    circuit = MixedProgram(1, [*gates, turn("Z", (0,), w[0])], n_weights=1)
    seen = metric_of(circuit, np.array([0.4]), np.zeros((1, 0)))
    np.testing.assert_allclose(seen, [[[length**2 / 4]]], rtol=0, atol=1e-14)


def test_the_maximally_mixed_state_does_not_move():
    gates = [depolarizing(0, 0.75), turn("X", (0,), w[0])]
    circuit = MixedProgram(1, gates, n_weights=1)
    seen = metric_of(circuit, np.array([0.4]), np.zeros((2, 0)))
    np.testing.assert_allclose(seen, np.zeros((2, 1, 1)), rtol=0, atol=1e-30)


@pytest.mark.parametrize("name", CIRCUITS)
@pytest.mark.parametrize("approximation", ["full", "block-diag", "diag"])
def test_without_noise_it_is_the_fubini_study_metric(name, approximation):
    pure = CIRCUITS[name]
    weights, features = values_of(pure)
    sizes = {"n_weights": len(weights), "n_features": pure.n_features}
    mixed = MixedProgram(pure.n_wires, pure.gates, **sizes, derived=pure.derived)
    chosen = [np.ones(size, bool) for size in sizes.values()]
    expected = FubiniStudy(pure, *chosen, approximation=approximation)
    np.testing.assert_allclose(
        metric_of(mixed, weights, features, *chosen, approximation=approximation),
        expected(weights, features, np.arange(len(features))),
        rtol=0,
        atol=1e-12,
    )


# ------------------------------------------------------- what noise may do
def ending(noise, seed):
    """A circuit of random rotations, and the same with noise at its end."""
    rng = np.random.default_rng(seed)
    gates = [turn("Y", (i,), Angle(rng.uniform(-2, 2))) for i in range(3)]
    for k in range(8):
        wires = tuple(map(int, rng.permutation(3)[:2]))
        gates += [turn("".join(rng.choice(list("XYZ"), 2)), wires, w[k])]
        gates += [cnot(*wires), turn(str(rng.choice(list("XYZ"))), wires[:1], w[k + 8])]
    last = [gate for wire in range(3) for gate in noise(wire)]
    pair = [MixedProgram(3, gates + more, n_weights=16) for more in ([], last)]
    return *pair, rng.uniform(-2, 2, 16)


@pytest.mark.parametrize("name", ["depolarizing", "damping", "both"])
@pytest.mark.parametrize("seed", range(4))
def test_noise_at_the_end_never_increases_it(name, seed):
    pure, after, weights = ending(NOISE[name], seed)
    before = metric_of(pure, weights, np.zeros((1, 0)))[0]
    less = metric_of(after, weights, np.zeros((1, 0)))[0]
    lost = np.linalg.eigvalsh(before - less)
    assert lost.min() > -1e-13
    assert lost.max() > 1e-2


@pytest.mark.parametrize("seed", range(3))
def test_more_noise_at_the_end_never_increases_it(seed):
    steps = [
        metric_of(
            ending(lambda wire, p=p: [depolarizing(wire, p)], seed)[1],
            ending(NOISE["none"], seed)[2],
            np.zeros((1, 0)),
        )[0]
        for p in (0.0, 0.1, 0.2, 0.4)
    ]
    for more, less in itertools.pairwise(steps):
        assert np.linalg.eigvalsh(more - less).min() > -1e-13


# ------------------------------------------------------- averages and chunks
@pytest.mark.parametrize("approximation", ["full", "block-diag", "diag"])
def test_means_rows_and_chunks(approximation, monkeypatch):
    circuit = NOISY["both"]
    weights, features = values_of(circuit, batch=7)
    rows = np.array([6, 0, 3, 3, 1])
    everything = np.ones(5, bool)

    def both():
        metric = Bures(circuit, everything, approximation=approximation)
        values = metric(weights, features, rows)
        return metric, values, metric.mean(weights, features, rows)

    metric, values, mean = both()
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=0, atol=1e-15)
    whole = metric_of(circuit, weights, features, approximation=approximation)
    np.testing.assert_allclose(values, whole[rows], rtol=0, atol=1e-14)
    bytes_of_two = 2 * (64 << 2 * circuit.n_wires) * len(metric._turns())
    monkeypatch.setattr(metric_module, "CHUNK_BYTES", bytes_of_two)
    chunked, in_parts, mean_in_parts = both()
    assert set(chunked._runs) == {2, 1}
    np.testing.assert_allclose(in_parts, values, rtol=0, atol=1e-15)
    np.testing.assert_allclose(mean_in_parts, mean, rtol=0, atol=1e-15)


def test_without_coordinates_the_mean_is_empty():
    metric = Bures(NOISY["both"], np.zeros(5, bool))
    weights, features = values_of(NOISY["both"])
    assert metric.mean(weights, features, np.arange(3)).shape == (0, 0)


# ------------------------------------------------------- refusals
def wide(n):
    return MixedProgram(n, [turn("X", (0,), w[0]), depolarizing(0)], n_weights=1)


def test_more_than_six_wires_are_refused():
    seen = metric_of(wide(6), np.array([0.3]), np.zeros((1, 0)))
    assert 0.2 < seen[0, 0, 0] < 0.25
    with pytest.raises(ValueError, match="at most 6 wires, but the circuit has 7"):
        Bures(wide(7), np.ones(1, bool))


def test_programs_without_density_matrices_are_refused():
    gates = [turn("X", (0,), w[0]), depolarizing(0)]
    drawn = TrajectoryProgram(
        1, gates, n_weights=1, trajectories=3, uniform=np.random.default_rng(0).random
    )
    pure = PureProgram(1, gates[:1], n_weights=1)
    for circuit, kind in ((drawn, "TrajectoryProgram"), (pure, "PureProgram")):
        with pytest.raises(TypeError, match=f"of a MixedProgram, but.* a {kind}"):
            Bures(circuit, np.ones(1, bool))


@pytest.mark.parametrize("channel", [damping(0, w[1]), depolarizing(0, w[1])])
def test_the_strength_of_a_channel_is_refused_only_if_wanted(channel):
    circuit = MixedProgram(1, [turn("X", (0,), w[0]), channel], n_weights=2)
    weights = np.array([0.9, 0.3])
    with pytest.raises(ValueError, match="a channel depends on one"):
        Bures(circuit, np.ones(2, bool))
    seen = metric_of(circuit, weights, np.zeros((1, 0)), np.array([True, False]))
    expected = by_definition(circuit, weights, np.empty(0))
    np.testing.assert_allclose(seen[0], expected[:1, :1], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("gate", "size"),
    [(Kraus((0,), (WEIGHT, 1), 2), 16), (Amplitudes((0,), (WEIGHT, 1)), 2)],
)
def test_entries_are_refused_only_if_wanted(gate, size):
    gates = [turn("X", (0,), w[0])]
    gates.insert(isinstance(gate, Kraus), gate)
    circuit = MixedProgram(1, gates, n_weights=1 + size)
    name = type(gate).__name__
    with pytest.raises(ValueError, match=f"1 to {size} are entries of {name}"):
        Bures(circuit, np.ones(1 + size, bool))
    assert Bures(circuit, np.arange(1 + size) == 0).size == 1
