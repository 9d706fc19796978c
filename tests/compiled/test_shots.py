"""Compiled circuits with shots: the QNode's samples for the QNode's seed.

Where a gradient is asked for, the QNode itself runs, by PennyLane's shift rules.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp

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
def test_the_same_seed_gives_the_same_samples(kind, shots, name):
    """Also for several numbers of shots, for a batch, and call after call."""
    options = {"shots": shots, "name": name}
    compiled = compile(qnode(MEASUREMENTS[kind], **options))
    call = qnode(MEASUREMENTS[kind], **options)
    batch = np.stack([X, 2 * X, -X])
    for x in (X, X, batch, X[None], 2 * X):
        if kind in ("counts", "dict", "all counts") and x.ndim == 2:
            continue
        found, expected = compiled(x, W), call(x, W)
        assert type(found) is type(expected)
        assert qml.pytrees.flatten(found)[1] == qml.pytrees.flatten(expected)[1]
        assert_equal(found, expected)


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


@pytest.mark.parametrize("kind", ["expval", "probs", "several"])
def test_gradients_in_autograd_are_the_qnodes(kind):
    compiled, call = compile(qnode(MEASUREMENTS[kind])), qnode(MEASUREMENTS[kind])
    arguments = pnp.array(X), pnp.array(W)
    for _ in range(2):
        found = qml.grad(lambda x, w: total(compiled(x, w)))(*arguments)
        expected = qml.grad(lambda x, w: total(call(x, w)))(*arguments)
        assert_equal(found, expected)
    exact = compile(qnode(MEASUREMENTS[kind], shots=None))
    expected = qml.grad(lambda x, w: total(exact(x, w)))(*arguments)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=10 / np.sqrt(SHOTS))


@pytest.mark.parametrize("kind", ["expval", "probs", "several"])
def test_gradients_in_torch_are_the_qnodes(kind):
    compiled, call = compile(qnode(MEASUREMENTS[kind])), qnode(MEASUREMENTS[kind])
    gradients = []
    for function in (compiled, call):
        x, w = (torch.tensor(v, requires_grad=True) for v in (X, W))
        total(function(x, w)).backward()
        gradients.append([x.grad.numpy(), w.grad.numpy()])
    assert_equal(*gradients)
    with torch.no_grad():
        x, w = (torch.tensor(v, requires_grad=True) for v in (X, W))
        assert not any(
            value.requires_grad for value in qml.pytrees.flatten(compiled(x, w))[0]
        )


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
