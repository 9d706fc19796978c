"""The metric against its definition, from states moved by hand, and PennyLane's."""

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl.engine import metric as metric_module
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
from qstore_pl.engine.program import Program
from tests.engine.test_pauli_fusion import cnot, depolarizing

w = slot_angles(WEIGHT, 0, (40,))
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
    return Program(n, gates, n_weights=3 * n * n_layers, n_features=n)


def program(n, gates, n_weights=3, n_features=2):
    return Program(n, gates, n_weights=n_weights, n_features=n_features)


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
