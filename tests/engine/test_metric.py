"""The metric against its definition, from states moved by hand, and PennyLane's."""

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl.engine import metric as metric_module
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Matrix,
    PauliRotation,
    Permutation,
    slot_angles,
)
from qstore_pl.engine.metric import FubiniStudy as Metric
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.pure import PureProgram
from tests.engine.test_gates import Circuit
from tests.engine.test_pauli_fusion import cnot, depolarizing
from tests.engine.test_program import dense_tangents
from tests.naive import fubini_study

w = slot_angles(WEIGHT, 0, (60,))
x = slot_angles(FEATURE, 0, (6,))
STEP = 1e-5


def turn(word, wires, angle, controls=()):
    return PauliRotation(word, wires, angle, controls)


def model(n, n_layers):
    gates = [turn("Y", (i,), x[i]) for i in range(n)]
    weights = iter(w)
    for _ in range(n_layers):
        for i in range(n):
            gates += [turn(letter, (i,), next(weights)) for letter in "XYZ"]
        gates += [cnot(i, (i + 1) % n) for i in range(n)]
    return PureProgram(n, gates, n_weights=3 * n * n_layers, n_features=n)


def program(n, gates, n_weights=3, n_features=2):
    return PureProgram(n, gates, n_weights=n_weights, n_features=n_features)


MIXING = [turn("X", (0,), Angle(0.7)), turn("Y", (1,), Angle(1.1)), cnot(0, 1)]
CIRCUITS = {
    "model": model(3, 2),
    "a weight used twice": program(
        2, [*MIXING, turn("X", (0,), w[0]), cnot(0, 1), turn("Z", (1,), 2.0 * w[0])]
    ),
    "weights times features": program(
        2, [*MIXING, turn("Y", (0,), w[0] * x[1]), turn("X", (1,), w[1] * w[2] + x[0])]
    ),
    "a weight squared": program(2, [*MIXING, turn("ZY", (0, 1), w[1] * w[1])]),
    "words": program(2, [*MIXING, turn("XY", (1, 0), w[0]), turn("ZZ", (0, 1), w[1])]),
    "controls": program(
        3,
        [
            *MIXING,
            turn("X", (2,), w[0], ((0, 1),)),
            turn("Y", (1,), w[1], ((0, 0), (2, 1))),
            turn("", (), w[2], ((1, 1),)),
        ],
    ),
    "global phase": program(1, [turn("", (), w[0]), turn("X", (0,), w[1])]),
    "functions": PureProgram(
        2,
        [
            *MIXING,
            turn("X", (0,), x[2]),
            turn("Y", (1,), w[0] * x[3]),
            cnot(1, 0),
            turn("ZY", (0, 1), x[4] + w[2]),
        ],
        n_weights=3,
        n_features=2,
        derived=[
            Derived("sin", (w[0] * x[0],)),
            Derived("exp", (0.3 * x[2] + w[1],)),
            Derived("arctan2", (w[1] * w[1], x[1] + x[2])),
        ],
    ),
    "phased permutation": program(
        2,
        [
            turn("X", (0,), w[0]),
            Permutation((1, 0), (2, 0, 1, 3), (0, 3, 1, 6)),
            turn("Y", (1,), w[1]),
        ],
    ),
}


def values_of(circuit, batch=3):
    rng = np.random.default_rng(circuit.n_wires)
    weights = rng.uniform(-2, 2, circuit.tables.n_weights)
    return weights, rng.uniform(-2, 2, (batch, circuit.n_features))


def by_definition(circuit, weights, features):
    """From central differences of the states, global phase included."""
    steps = STEP * np.eye(len(weights))
    tangents = np.stack(
        [
            circuit.states(weights + step, features)
            - circuit.states(weights - step, features)
            for step in steps
        ],
        axis=1,
    ) / (2 * STEP)
    states = circuit.states(weights, features)
    overlaps = np.einsum("bi,bui->bu", states.conj(), tangents)
    gram = np.einsum("bui,bvi->buv", tangents.conj(), tangents)
    return (gram - overlaps.conj()[:, :, None] * overlaps[:, None]).real


def metric_of(circuit, weights, features, trainable=None, rows=None):
    mask = np.ones(len(weights), bool) if trainable is None else np.array(trainable)
    rows = np.arange(len(features)) if rows is None else np.array(rows)
    return Metric(circuit, mask)(weights, features, rows)


@pytest.mark.parametrize("name", CIRCUITS)
def test_the_metric_is_its_definition(name):
    weights, features = values_of(CIRCUITS[name])
    seen = metric_of(CIRCUITS[name], weights, features)
    expected = by_definition(CIRCUITS[name], weights, features)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-9)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(seen, seen.transpose(0, 2, 1), rtol=0, atol=1e-15)
    assert np.linalg.eigvalsh(seen).min() > -1e-14


def test_the_metric_is_that_of_pennylane():
    circuit = CIRCUITS["model"]
    weights, features = values_of(circuit)

    @qml.qnode(qml.device("default.qubit", wires=3))
    def qnode(weights, sample):
        for i in range(3):
            qml.RY(sample[i], i)
        for layer in range(2):
            for i in range(3):
                for k, gate in enumerate((qml.RX, qml.RY, qml.RZ)):
                    gate(weights[9 * layer + 3 * i + k], i)
            for i in range(3):
                qml.CNOT([i, (i + 1) % 3])
        return qml.expval(qml.Z(0))

    seen = metric_of(circuit, weights, features)
    for one, sample in zip(seen, features, strict=True):
        theirs = qml.adjoint_metric_tensor(qnode)(
            pnp.array(weights, requires_grad=True),
            pnp.array(sample, requires_grad=False),
        )
        np.testing.assert_allclose(one, theirs, rtol=0, atol=1e-12)


def test_known_metrics():
    # One rotation of |0> about X: the Bloch sphere has radius 1/2.
    one = program(1, [turn("X", (0,), w[0])], n_weights=1)
    seen = metric_of(one, np.array([0.3]), np.zeros((1, 2)))
    np.testing.assert_allclose(seen, [[[0.25]]], rtol=0, atol=1e-15)
    # About its own axis a state does not move.
    still = program(1, [turn("Z", (0,), w[0])], n_weights=1)
    seen = metric_of(still, np.array([0.3]), np.zeros((1, 2)))
    np.testing.assert_allclose(seen, [[[0.0]]], rtol=0, atol=1e-15)


def test_only_trainable_weights_have_rows_and_cost():
    circuit = CIRCUITS["model"]
    weights, features = values_of(circuit)
    trainable = np.arange(len(weights)) % 3 == 1
    metric = Metric(circuit, trainable)
    everything = metric_of(circuit, weights, features)
    np.testing.assert_allclose(
        metric(weights, features, np.arange(3)),
        everything[:, trainable][:, :, trainable],
        rtol=0,
        atol=1e-14,
    )
    assert metric._turned.n_features == circuit.n_features + trainable.sum()
    assert metric_of(circuit, weights, features, np.zeros(18, bool)).shape == (3, 0, 0)


def test_rows_and_chunks(monkeypatch):
    circuit = CIRCUITS["weights times features"]
    weights, features = values_of(circuit, batch=7)
    rows = [4, 0, 4, 6, 1]
    expected = metric_of(circuit, weights, features)[rows]
    monkeypatch.setattr(metric_module, "CHUNK_BYTES", 32 * 3 * 4 * 2)  # two samples
    seen = metric_of(circuit, weights, features, rows=rows)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-14)


def test_weights_outside_of_angles_are_refused_only_if_wanted():
    amplitudes = [Amplitudes((0,), (WEIGHT, 1)), turn("Y", (0,), w[0])]
    circuit = program(1, amplitudes)
    weights = np.array([0.4, 0.6, 0.8])
    with pytest.raises(ValueError, match="1 to 2 are entries of Amplitudes"):
        metric_of(circuit, weights, np.zeros((1, 2)))
    seen = metric_of(circuit, weights, np.zeros((1, 2)), [True, False, False])
    np.testing.assert_allclose(seen, [[[0.25]]], rtol=0, atol=1e-15)
    entries = program(1, [Matrix((0,), (WEIGHT, 0))], n_weights=8)
    with pytest.raises(ValueError, match="0 to 7 are entries of Matrix"):
        metric_of(entries, np.ones(8), np.zeros((1, 2)))


def test_mixed_states_are_refused():
    mixed = MixedProgram(1, [turn("X", (0,), w[0]), depolarizing(0)], n_weights=1)
    with pytest.raises(TypeError, match="must be that of pure states"):
        Metric(mixed, np.ones(1, bool))


# ------------------------------------------------------- features and frozen weights
MORE = CIRCUITS | {
    "features times features": program(
        3,
        [
            *MIXING,
            turn("Y", (2,), w[0] + 0.3),
            turn("ZZ", (0, 1), 2 * (np.pi - x[0]) * (np.pi - x[1])),
            turn("X", (2,), x[0] * x[0] + w[1]),
            cnot(1, 2),
            turn("Y", (1,), w[0] * x[1]),
        ],
    ),
    "a turn that is no value's": program(
        2, [*MIXING, turn("X", (1,), w[0] * w[1]), cnot(0, 1), turn("Y", (0,), w[2])]
    ),
}


def densely(circuit, weights, sample):
    """From dense tangents by all weights, then by all features."""
    dense = Circuit(circuit.n_wires, circuit.gates, weights, sample[None])
    return fubini_study(*dense_tangents(dense, sample))


def masks(circuit, seed):
    """Some weights and features."""
    rng = np.random.default_rng(seed)
    sizes = circuit.tables.n_weights, circuit.n_features
    return [rng.random(size) < 0.6 for size in sizes]


@pytest.mark.parametrize("name", sorted(set(MORE) - {"functions"}))
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_coordinates_are_the_chosen_weights_then_the_chosen_features(name, seed):
    circuit = MORE[name]
    weights, features = values_of(circuit)
    chosen = masks(circuit, seed)
    if seed is None:
        chosen = [np.ones_like(mask) for mask in chosen]
    seen = Metric(circuit, *chosen)(weights, features, np.arange(3))
    kept = np.concatenate(chosen)
    for one, sample in zip(seen, features, strict=True):
        expected = densely(circuit, weights, sample)[np.ix_(kept, kept)]
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-13)
        assert np.linalg.eigvalsh(one).min(initial=0.0) > -1e-14


def test_functions_of_features_are_seen_through():
    circuit = CIRCUITS["functions"]
    weights, features = values_of(circuit)
    everything = [np.ones(3, bool), np.ones(2, bool)]
    seen = Metric(circuit, *everything)(weights, features, np.arange(3))
    steps = STEP * np.eye(5)
    moved = [
        circuit.states(weights + step[:3], features + step[3:])
        - circuit.states(weights - step[:3], features - step[3:])
        for step in steps
    ]
    tangents = np.stack(moved, axis=1) / (2 * STEP)
    states = circuit.states(weights, features)
    expected = [
        fubini_study(state, tangent)
        for state, tangent in zip(states, tangents, strict=True)
    ]
    np.testing.assert_allclose(seen, expected, atol=1e-8)


def test_a_frozen_factor_still_scales_the_other():
    circuit = MORE["a turn that is no value's"]
    weights = np.array([1.7, -0.4, 0.9])
    seen = metric_of(circuit, weights, np.zeros((1, 2)), [False, True, True])
    unit = metric_of(circuit, np.array([1.0, -0.68, 0.9]), np.zeros((1, 2)))
    scales = np.array([1.7, 1.0])
    expected = np.outer(scales, scales) * unit[:, 1:, 1:]
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-14)
    assert abs(seen[0, 0, 0]) > 0.1


# ------------------------------------------------------- averages and chunks
def every_third_frozen(name):
    circuit = MORE[name]
    mask = np.arange(circuit.tables.n_weights) % 3 != 1
    return circuit, mask, np.ones(circuit.n_features, bool)


@pytest.mark.parametrize("approximation", ["full", "block-diag", "diag"])
@pytest.mark.parametrize("with_features", [False, True])
@pytest.mark.parametrize("name", MORE)
def test_the_mean_is_the_average(name, with_features, approximation):
    circuit, weights_mask, features_mask = every_third_frozen(name)
    weights, features = values_of(circuit, batch=5)
    rows = np.array([4, 1, 1, 0])
    metric = Metric(
        circuit,
        weights_mask,
        features_mask if with_features else None,
        approximation=approximation,
    )
    seen = metric.mean(weights, features, rows)
    expected = metric(weights, features, rows).mean(axis=0)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-14)
    assert seen.shape == (metric.size, metric.size)


def test_without_coordinates_the_mean_is_empty():
    circuit = CIRCUITS["model"]
    weights, features = values_of(circuit)
    metric = Metric(circuit, np.zeros(len(weights), bool))
    assert metric.mean(weights, features, np.arange(3)).shape == (0, 0)
    assert metric.product(weights, features, np.arange(3))(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("name", ["model", "weights times features"])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_chunks_change_nothing(name, samples, monkeypatch):
    circuit = CIRCUITS[name]
    weights, features = values_of(circuit, batch=7)
    everything, rows = np.ones(len(weights), bool), np.arange(7)

    def both():
        metric = Metric(circuit, everything)
        return (
            metric,
            metric(weights, features, rows),
            metric.mean(weights, features, rows),
        )

    metric, whole, average = both()
    lane = 32 << circuit.n_wires
    monkeypatch.setattr(
        metric_module, "CHUNK_BYTES", samples * lane * len(metric._turns())
    )
    chunked, one_by_one, in_parts = both()
    assert set(chunked._runs) == {samples, 7 % samples or samples}
    np.testing.assert_allclose(one_by_one, whole, rtol=0, atol=1e-15)
    np.testing.assert_allclose(in_parts, average, rtol=0, atol=1e-15)


def test_other_weights_and_batches_follow_one_another():
    circuit = CIRCUITS["model"]
    weights, features = values_of(circuit, batch=9)
    metric = Metric(circuit, np.ones(18, bool))
    for turn_, batch in enumerate([3, 9, 1, 2, 5, 4, 3, 9]):  # more sizes than kept
        rows = np.arange(batch)[::-1].copy()
        seen = metric(weights + turn_, features, rows)
        expected = metric_of(circuit, weights + turn_, features, rows=rows)
        assert seen.tobytes() == expected.tobytes()
    assert len(metric._runs) <= metric_module.KEPT_PASSES


# ------------------------------------------------------- approximations
LETTERS = {"RX": "X", "RY": "Y", "RZ": "Z"}


def random_gates(seed, n=4, n_gates=18, n_weights=9):
    """Names, wires and indices of weights; some weights are in several gates."""
    rng = np.random.default_rng(seed)
    gates = [("RY", (i,), i) for i in range(n)]
    for _ in range(n_gates):
        name = str(rng.choice(["RX", "RY", "RZ", "CNOT", "CZ", "IsingZZ"]))
        k = 1 if name in LETTERS else 2
        wires = tuple(map(int, rng.permutation(n)[:k]))
        gates.append((name, wires, int(rng.integers(n_weights))))
    return gates, rng.uniform(-2, 2, n_weights)


def ours(gates, n, n_weights):
    made = []
    for name, wires, index in gates:
        if name == "CNOT":
            made.append(cnot(*wires))
        elif name == "CZ":
            made.append(Permutation(wires, (0, 1, 2, 3), (0, 0, 0, 4)))
        else:
            made.append(turn(LETTERS.get(name, "ZZ"), wires, w[index]))
    return PureProgram(n, made, n_weights=n_weights)


def theirs(gates, n):
    @qml.qnode(qml.device("default.qubit", wires=n))
    def circuit(weights):
        for name, wires, index in gates:
            gate = getattr(qml, name)
            if name in ("CNOT", "CZ"):
                gate(wires)
            else:
                gate(weights[index], wires)
        return qml.expval(qml.Z(0))

    return circuit


@pytest.mark.parametrize("approximation", ["block-diag", "diag"])
@pytest.mark.parametrize("seed", range(12))
def test_approximations_are_those_of_pennylane(seed, approximation):
    gates, weights = random_gates(seed)
    circuit = ours(gates, 4, len(weights))
    metric = Metric(circuit, np.ones(9, bool), approximation=approximation)
    seen = metric(weights, np.empty((1, 0)), np.arange(1))[0]
    expected = qml.metric_tensor(theirs(gates, 4), approx=approximation)(
        pnp.array(weights, requires_grad=True)
    )
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-12)
    full = metric_of(circuit, weights, np.empty((1, 0)))[0]
    assert np.abs(full - seen).max() > 1e-3


def test_what_is_not_trained_is_in_no_layer():
    # Both chosen rotations are in one layer only if nothing chosen is between them.
    gates = [turn("Y", (0,), w[0]), turn("X", (1,), w[1]), turn("Z", (1,), w[2])]
    circuit = program(2, [*MIXING, *gates], n_weights=3)
    weights = np.array([0.3, -0.8, 0.5])
    everything = Metric(circuit, np.ones(3, bool), approximation="block-diag")
    blocks = everything(weights, np.zeros((1, 2)), np.arange(1))[0]
    full = metric_of(circuit, weights, np.zeros((1, 2)))[0]
    assert blocks[0, 1] == pytest.approx(full[0, 1], abs=1e-15)
    assert blocks[0, 2] == 0.0
    assert abs(full[0, 2]) > 1e-3
    # With the one between frozen there is one layer.
    mask = np.array([True, False, True])
    some = Metric(circuit, mask, approximation="block-diag")
    kept = some(weights, np.zeros((1, 2)), np.arange(1))[0]
    np.testing.assert_allclose(kept, full[np.ix_(mask, mask)], rtol=0, atol=1e-15)


def test_unknown_approximations_are_refused():
    with pytest.raises(ValueError, match=r'"diag", "full", but is .none'):
        Metric(CIRCUITS["model"], np.ones(18, bool), approximation="none")


# ------------------------------------------------------- products
def large():
    """Four wires and 48 weights."""
    return PureProgram(
        4,
        [gate for _ in range(2) for gate in model(4, 4).gates],
        n_weights=48,
        n_features=4,
    )


PRODUCTS = MORE | {"48 weights, each in two gates": large()}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("some", [False, True])
def test_products_are_those_of_the_matrix(name, some):
    circuit = PRODUCTS[name]
    weights, features = values_of(circuit, batch=5)
    rows = np.array([3, 0, 0, 4])
    mask = np.ones(len(weights), bool)
    if some:
        mask[::3] = False
    metric = Metric(circuit, mask)
    matrix = metric.mean(weights, features, rows)
    product = metric.product(weights, features, rows)
    rng = np.random.default_rng(5)
    vectors = [*np.eye(metric.size)[:3], *rng.normal(size=(4, metric.size))]
    for vector in [*vectors, 1e-6 * vectors[-1], 1e6 * vectors[-1]]:
        scale = np.abs(vector).sum()
        np.testing.assert_allclose(
            product(vector) / scale, matrix @ vector / scale, rtol=0, atol=1e-11
        )
    np.testing.assert_array_equal(product(0 * vectors[0]), np.zeros(metric.size))


def test_products_of_anything_else_are_refused():
    circuit = CIRCUITS["weights times features"]
    weights, features = values_of(circuit)
    everything = np.ones(3, bool)
    for metric in (
        Metric(circuit, everything, np.ones(2, bool)),
        Metric(circuit, everything, approximation="diag"),
    ):
        with pytest.raises(ValueError, match="need the full metric"):
            metric.product(weights, features, np.arange(3))
