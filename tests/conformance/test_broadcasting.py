"""A batch is the loop over its samples, in one simulation."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl.templates import BasisEncoding, RotationEntanglerLayers, ZZFeatureMap

DEVICE = "qstore.mock_ideal"
WIRES = range(3)
BATCH = 10

EXACT = {
    "expval": lambda: qml.expval(qml.Z(0) @ qml.X(1)),
    "expval_sum": lambda: qml.expval(qml.X(0) + 2 * qml.Z(2)),
    "expval_hermitian": lambda: qml.expval(qml.Hermitian([[1, 2j], [-2j, 0]], 1)),
    "var": lambda: qml.var(qml.Y(2)),
    "probs": lambda: qml.probs([2, 0]),
    "state": qml.state,
    "density_matrix": lambda: qml.density_matrix([0, 2]),
    "purity": lambda: qml.purity([1]),
    "vn_entropy": lambda: qml.vn_entropy([0]),
    "mutual_info": lambda: qml.mutual_info([0], [2]),
}
SAMPLED = {
    "expval": lambda: qml.expval(qml.Z(0) @ qml.X(1)),
    "var": lambda: qml.var(qml.Y(2)),
    "probs": lambda: qml.probs([2, 0]),
    "sample": qml.sample,
    "sample_of_an_observable": lambda: qml.sample(qml.X(1)),
    "shadow": lambda: qml.classical_shadow([0, 1]),
    "shadow_expval": lambda: qml.shadow_expval(qml.Z(0)),
}


def pauli_rotations(x, w):
    for i in WIRES:
        qml.RY(x[..., i], i)
    qml.IsingXY(w[..., 0, 0, 0], [0, 1])
    qml.CRX(x[..., 2], [1, 2])


def angle(x, w):
    qml.AngleEmbedding(x, WIRES)
    qml.StronglyEntanglingLayers(w, WIRES)


def amplitude(x, w):
    qml.AmplitudeEmbedding(x, WIRES, normalize=True, pad_with=0.5)
    qml.BasicEntanglerLayers(w[..., 0], WIRES)


def basis(x, w):
    BasisEncoding((x > 0).astype(int), WIRES)
    RotationEntanglerLayers(w, WIRES, entanglement="full")


def zz_map(x, w):
    ZZFeatureMap(x, WIRES)
    RotationEntanglerLayers(w, WIRES, entanglement="circular")


ENCODINGS = [pauli_rotations, angle, amplitude, basis, zz_map]


def qnode(encoding, *measurements, shots=None):
    def circuit(x, w):
        encoding(x, w)
        results = [measurement() for measurement in measurements]
        return results[0] if len(results) == 1 else results

    device = qml.device(DEVICE, wires=3, seed=7)
    return qml.set_shots(qml.QNode(circuit, device), shots=shots)


@pytest.fixture
def batch(rng):
    """Features (BATCH, 3) and weights (BATCH, 2, 3, 3)."""
    return rng.uniform(-3, 3, (BATCH, 3)), rng.uniform(-3, 3, (BATCH, 2, 3, 3))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("batched", ["features", "weights", "both"])
def test_batch_is_the_loop(encoding, batched, batch, agree):
    x, w = batch
    x = x if batched != "weights" else np.broadcast_to(x[0], x.shape)
    w = w if batched != "features" else np.broadcast_to(w[0], w.shape)
    f = qnode(encoding, EXACT["expval"], EXACT["state"])
    samples = [f(*pair) for pair in zip(x, w, strict=True)]
    expvals, states = map(np.array, zip(*samples, strict=True))
    actual = f(
        x if batched != "weights" else x[0], w if batched != "features" else w[0]
    )
    agree(actual, [expvals, states])


@pytest.mark.parametrize("measurement", EXACT)
def test_every_measurement_of_a_batch_is_the_loop(measurement, batch, agree):
    x, w = batch
    f = qnode(angle, EXACT[measurement])
    agree(f(x, w[0]), np.array([f(one, w[0]) for one in x]))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_batch_is_one_simulation(encoding, batch):
    x, w = batch
    f = qnode(encoding, EXACT["expval"])
    with qml.Tracker(f.device) as tracker:
        f(x, w[0])
    assert tracker.totals["simulations"] == 1
    assert tracker.totals["batches"] == 1
    assert tracker.history["results"][0].shape == (BATCH,)


def test_a_batch_of_one_keeps_its_axis(batch, agree):
    x, w = batch
    f = qnode(angle, EXACT["expval"], EXACT["probs"])
    one, probs = f(x[0], w[0])
    agree(f(x[:1], w[0]), [one[None], probs[None]])


def test_several_tapes_of_different_batches_run_together(batch, agree):
    x, w = batch
    f = qnode(angle, EXACT["expval"])
    tapes = [qml.workflow.construct_tape(f)(x[:n], w[0]) for n in (1, 4, BATCH)]
    tapes.append(qml.workflow.construct_tape(f)(x[0], w[0]))
    results = qml.execute(tapes, f.device, diff_method=None)
    agree(results, [f(x[:1], w[0]), f(x[:4], w[0]), f(x, w[0]), f(x[0], w[0])])


@pytest.mark.parametrize("batched", ["features", "weights"])
@pytest.mark.parametrize("measurement", SAMPLED)
def test_shapes_of_sampled_batches_are_those_of_default_qubit(
    measurement, batched, batch
):
    x, w = batch
    arguments = (x, w[0]) if batched == "features" else (x[0], w)
    f = qnode(angle, SAMPLED[measurement], shots=20)
    theirs = qml.QNode(f.func, qml.device("default.qubit", wires=3), shots=20)
    assert np.shape(f(*arguments)) == np.shape(theirs(*arguments))


def test_counts_of_a_batch_come_one_per_sample(batch):
    x, w = batch
    counts = qnode(angle, qml.counts, shots=20)(x, w[0])
    assert [sum(c.values()) for c in counts] == [20] * BATCH


def test_each_sample_of_a_batch_is_sampled_from_its_own_state(batch):
    x = np.array([[0.0, 0, 0], [np.pi, 0, 0], [0, np.pi, np.pi]])
    bits = qnode(lambda x, _: qml.AngleEmbedding(x, WIRES), qml.sample, shots=5)(x, 0)
    expected = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(bits, np.repeat(expected[:, None], 5, axis=1))


def test_batches_of_different_sizes_are_refused(batch):
    x, w = batch
    with pytest.raises((ValueError, DeviceError), match="batch"):
        qnode(angle, EXACT["expval"])(x, w[:3])
