"""Compiled circuits with shots: values from outcomes, gradients by shifted circuits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import compile

jax.config.update("jax_enable_x64", True)
SHOTS = 2000
X, W = np.array([0.4, 0.9]), np.array([0.3, -0.4, 0.5])
MEASUREMENTS = {
    "expval": lambda: qml.expval(qml.Z(0) @ qml.X(1)),
    "sum": lambda: qml.expval(0.3 * qml.Z(0) - 0.8 * qml.X(0) @ qml.Y(1)),
    "var": lambda: qml.var(qml.Y(1)),
    "probs": lambda: qml.probs(wires=[1, 0]),
    "probs of an observable": lambda: qml.probs(op=qml.X(0)),
    "sample": lambda: qml.sample(wires=[0, 1]),
    "samples of an observable": lambda: qml.sample(qml.X(0)),
    "counts": lambda: qml.counts(wires=[0, 1]),
    "all counts": lambda: qml.counts(wires=[0, 1], all_outcomes=True),
    "several": lambda: [qml.expval(qml.Z(0)), qml.probs(wires=[1]), qml.var(qml.X(0))],
    "expval and probs": lambda: (qml.expval(qml.Z(0)), qml.probs(wires=[1])),
    "dict": lambda: {"a": qml.counts(wires=0), "b": qml.expval(qml.Z(0))},
}


def qnode(measure, *, shots=SHOTS, seed=3, name="qstore.mock_ideal"):
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=[0, 1])
        qml.Rot(w[0], w[1], w[2], wires=1)
        qml.CNOT([0, 1])
        return measure()

    return qml.QNode(circuit, qml.device(name, wires=2, seed=seed), shots=shots)


def assert_equal(one, other):
    one, other = (qml.pytrees.flatten(v)[0] for v in (one, other))
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("name", ["qstore.mock_ideal", "qstore.mock_noisy"])
@pytest.mark.parametrize("shots", [100, (100, 30), ((50, 2), 7)])
@pytest.mark.parametrize("kind", list(MEASUREMENTS))
def test_results_have_the_form_of_the_qnodes(kind, shots, name):
    """Also for several numbers of shots, and for a batch; the same seed, the same."""
    options = {"shots": shots, "name": name}
    compiled = compile(qnode(MEASUREMENTS[kind], **options))
    again = compile(qnode(MEASUREMENTS[kind], **options))
    call = qnode(MEASUREMENTS[kind], **options)
    batch = np.stack([X, 2 * X, -X])
    for x in (X, batch):
        if "counts" in kind or kind == "dict":
            continue
        found, expected = compiled(x, W), call(x, W)
        assert type(found) is type(expected)
        leaves, structure = qml.pytrees.flatten(found)
        others, wanted = qml.pytrees.flatten(expected)
        assert structure == wanted
        for one, other in zip(leaves, others, strict=True):
            assert np.shape(one) == np.shape(other)
            assert np.asarray(one).dtype == np.asarray(other).dtype
        assert_equal(found, again(x, W))


@pytest.mark.parametrize("shots", [100, (100, 30)])
@pytest.mark.parametrize("kind", ["counts", "all counts"])
def test_counts(kind, shots):
    found = compile(qnode(MEASUREMENTS[kind], shots=shots))(X, W)
    several = isinstance(shots, tuple)
    outcomes = {"00", "01", "10", "11"}
    pairs = zip(found, shots, strict=True) if several else [(found, shots)]
    for counts, n in pairs:
        assert sum(counts.values()) == n
        assert (
            outcomes == set(counts) if kind == "all counts" else outcomes >= set(counts)
        )


def test_a_batch_of_one_keeps_its_axis():
    """PennyLane drops it where it samples."""
    assert compile(qnode(MEASUREMENTS["expval"]))(X[None], W).shape == (1,)
    assert compile(qnode(MEASUREMENTS["probs"]))(X[None], W).shape == (1, 4)


def test_measurements_in_a_dictionary():
    found = compile(qnode(MEASUREMENTS["dict"]))(X, W)
    assert sum(found["a"].values()) == SHOTS
    assert abs(found["b"]) <= 1.0


@pytest.mark.parametrize("name", ["qstore.mock_ideal", "qstore.mock_noisy"])
def test_values_lie_within_five_standard_errors(name):
    def measure():
        return (
            qml.expval(qml.Z(0)),
            qml.expval(qml.X(0) @ qml.Y(1)),
            qml.probs(wires=[0, 1]),
        )

    exact = compile(qnode(measure, shots=None, name=name))
    sampled = compile(qnode(measure, name=name))
    batch = np.random.default_rng(0).uniform(-1, 1, (20, 2))
    for found, mean in zip(sampled(batch, W), exact(batch, W), strict=True):
        spread = mean * (1 - mean) if mean.ndim == 2 else 1 - mean**2
        error = np.sqrt(np.maximum(spread, 1e-12) / SHOTS)
        assert np.all(np.abs(found - mean) <= 5 * error + 1e-12)
        assert np.any(found != mean)


def test_samples_are_new_at_every_call():
    compiled = compile(qnode(MEASUREMENTS["sample"]))
    draws = [compiled(X, W) for _ in range(4)]
    assert len({draw.tobytes() for draw in draws}) == 4
    assert compiled.retrace_count == 0


@pytest.mark.parametrize("kind", ["expval", "probs", "sum", "several"])
def test_types_of_results(kind):
    compiled, call = compile(qnode(MEASUREMENTS[kind])), qnode(MEASUREMENTS[kind])
    for convert in (np.asarray, torch.as_tensor):
        found = qml.pytrees.flatten(compiled(convert(X), convert(W)))[0]
        expected = qml.pytrees.flatten(call(convert(X), convert(W)))[0]
        for one, other in zip(found, expected, strict=True):
            assert isinstance(one, torch.Tensor) == isinstance(other, torch.Tensor)
            assert one.shape == other.shape
            assert one.dtype == other.dtype


# ---------------------------------------------------------------------- gradients
def total(results):
    leaves = qml.pytrees.flatten(results)[0]
    return sum(qml.math.sum(qml.math.cos(value)) for value in leaves)


def linear(results):
    """A linear function of all numbers that were measured."""
    leaves = [qml.math.reshape(v, (-1,)) for v in qml.pytrees.flatten(results)[0]]
    return sum(v[i] * (1.0 + i) for v in leaves for i in range(len(v)))


def in_autograd(function):
    gradient = qml.grad(lambda x, w: linear(function(x, w)))

    def flat(x, w):
        return np.concatenate([g.ravel() for g in gradient(pnp.array(x), pnp.array(w))])

    return flat


def in_torch(function):
    def flat(x, w):
        x, w = (torch.tensor(v, requires_grad=True) for v in (x, w))
        linear(function(x, w)).backward()
        return np.concatenate([x.grad.numpy().ravel(), w.grad.numpy().ravel()])

    return flat


def in_jax(function, jit=lambda f: f):
    gradient = jit(jax.grad(lambda x, w: linear(function(x, w)), argnums=(0, 1)))

    def flat(x, w):
        found = gradient(jnp.asarray(x), jnp.asarray(w))
        return np.concatenate([g.ravel() for g in found])

    return flat


def in_jitted_jax(function):
    return in_jax(function, jax.jit)


DEVICES = "qstore.mock_ideal", "qstore.mock_noisy"
# Each measurement in each framework, and each of both on either device.
KINDS_ON_ROADS = [
    (kind, road, DEVICES[(k + r) % 2])
    for k, kind in enumerate(["sum", "probs", "probs of an observable", "several"])
    for r, road in enumerate([in_autograd, in_torch, in_jitted_jax])
]


@pytest.mark.parametrize(("kind", "road", "name"), KINDS_ON_ROADS)
def test_gradients_have_the_mean_of_the_exact_one(kind, road, name):
    """A batch, with respect to data and weights, in several numbers of shots."""
    options = {"shots": (40, 25), "name": name}
    compiled = compile(qnode(MEASUREMENTS[kind], **options))
    exact = compile(qnode(MEASUREMENTS[kind], shots=None, name=name))
    batch = np.stack([X, -0.5 * X])
    expected = 2 * in_autograd(exact)(batch, W)  # one for each number of shots
    gradient = road(compiled)
    found = np.stack([gradient(batch, W) for _ in range(80)])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - expected) <= 5.5 * error + 1e-12)
    assert np.all(error > 0)


@pytest.mark.parametrize("road", [in_autograd, in_torch, in_jax])
def test_a_gradient_takes_the_circuits_of_the_shift_rule(road):
    """For a batch of two: one each for the value, two for each gate of five numbers."""
    compiled = compile(qnode(MEASUREMENTS["expval"]))
    batch = np.stack([X, -X])
    gradient = road(compiled)
    gradient(batch, W)
    with qml.Tracker(compiled.qnode.device) as tracker:
        gradient(batch, W)
    assert tracker.totals["executions"] == 2 * (1 + 2 * 5)
    assert tracker.totals["shots"] == 2 * (1 + 2 * 5) * SHOTS
    assert tracker.totals["batches"] == 2


def test_the_jacobian_in_torch_takes_one_set_of_circuits():
    compiled = compile(qnode(MEASUREMENTS["probs"]))
    w = torch.tensor(W)
    with qml.Tracker(compiled.qnode.device) as tracker:
        rows = torch.autograd.functional.jacobian(lambda w: compiled(X, w), w)
    assert tracker.totals["executions"] == 1 + 2 * 3
    exact = compile(qnode(MEASUREMENTS["probs"], shots=None))
    expected = torch.autograd.functional.jacobian(lambda w: exact(X, w), w)
    np.testing.assert_allclose(rows, expected, atol=10 / np.sqrt(SHOTS))


def test_no_gradient_no_circuits():
    compiled = compile(qnode(MEASUREMENTS["expval"]))
    x, w = (torch.tensor(v, requires_grad=True) for v in (X, W))
    with torch.no_grad(), qml.Tracker(compiled.qnode.device) as tracker:
        assert not compiled(x, w).requires_grad
    assert tracker.totals["executions"] == 1


@pytest.mark.parametrize("kind", ["counts", "sample"])
def test_outcomes_have_no_gradient(kind):
    compiled = compile(qnode(MEASUREMENTS[kind]))
    with pytest.raises(DeviceError, match="has gradients of expectation values"):
        qml.grad(lambda w: compiled(X, w))(pnp.array(W))


@pytest.mark.parametrize("kind", ["expval", "probs"])
def test_jax(kind):
    compiled = compile(qnode(MEASUREMENTS[kind], shots=100_000))
    exact = compile(qnode(MEASUREMENTS[kind], shots=None))
    x, w = jnp.asarray(X), jnp.asarray(W)
    np.testing.assert_allclose(compiled(x, w), exact(x, w), atol=0.02)
    one, other = (jax.grad(lambda x, c=c: total(c(x, w)))(x) for c in (compiled, exact))
    np.testing.assert_allclose(one, other, atol=0.03)
    assert np.any(np.asarray(compiled(x, w)) != np.asarray(compiled(x, w)))


def test_drawn_trajectories_are_the_qnodes():
    """Exact measurements of states that are drawn at random."""

    def made():
        return qml.QNode(
            qnode(MEASUREMENTS["expval and probs"]).func,
            qml.device(
                "qstore.mock_noisy",
                wires=2,
                method="trajectories",
                trajectories=50,
                seed=5,
            ),
        )

    compiled, call = compile(made()), made()
    for _ in range(3):
        for one, other in zip(compiled(X, W), call(X, W), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    x, w = pnp.array(X), pnp.array(W)
    found = qml.grad(lambda x, w: total(compiled(x, w)))(x, w)
    exact = compile(
        qnode(MEASUREMENTS["expval and probs"], shots=None, name="qstore.mock_noisy")
    )
    expected = qml.grad(lambda x, w: total(exact(x, w)))(x, w)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=0.2)
