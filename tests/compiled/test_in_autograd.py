"""Compiled circuits in autograd: gradients and Jacobians as of the QNode."""

from __future__ import annotations

import autograd
import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import compile

DEVICES = {
    name: qml.device(f"qstore.{name}", wires=2) for name in ("mock_ideal", "mock_noisy")
}
X, W = pnp.array([0.4, 0.9]), pnp.array([0.3, -0.4, 0.5])
BATCH = pnp.array(np.linspace(-1, 1, 6).reshape(3, 2))
FIXED = pnp.array(BATCH, requires_grad=False)
KINDS = {
    "one": lambda: qml.expval(qml.Z(1)),
    "probs": lambda: qml.probs(wires=[0, 1]),
    "hermitian": lambda: qml.expval(qml.Hermitian(np.array([[1, 2j], [-2j, 0.5]]), 0)),
}


def made(kind="one", device="mock_ideal", **options):
    def circuit(x, w):
        qml.AngleEmbedding(x, wires=[0, 1])
        qml.Rot(w[0], qml.math.sin(w[1]), w[2] * w[0], wires=1)
        qml.CNOT([0, 1])
        return KINDS[kind]()

    return compile(qml.QNode(circuit, DEVICES[device], **options))


def assert_close(found, expected):
    found, expected = (v if isinstance(v, tuple) else (v,) for v in (found, expected))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("device", list(DEVICES))
@pytest.mark.parametrize(
    "x", [X, BATCH, BATCH[:1], FIXED], ids=["no", "3", "1", "data"]
)
@pytest.mark.parametrize("kind", list(KINDS))
def test_jacobian(kind, x, device):
    compiled = made(kind, device)
    assert_close(qml.jacobian(compiled)(x, W), qml.jacobian(compiled.qnode)(x, W))


def test_gradients_of_some_arguments():
    compiled = made()
    for argnums in (0, 1, [0], [1], [0, 1], [1, 0]):
        found = qml.grad(compiled, argnums=argnums)(X, W)
        assert_close(found, qml.grad(compiled.qnode, argnums=argnums)(X, W))
    assert_close(qml.grad(compiled)(X, W.unwrap()), qml.grad(compiled.qnode)(X, W)[0])
    assert compiled.retrace_count == 0


def test_autograd_itself():
    compiled = made("probs")

    def cost(x, w):
        return autograd.numpy.sum(autograd.numpy.tanh(compiled(x, w)) ** 2)

    def expected(x, w):
        return autograd.numpy.sum(autograd.numpy.tanh(compiled.qnode(x, w)) ** 2)

    x, w = np.array(X), np.array(W)
    value, gradient = autograd.value_and_grad(cost, (0, 1))(x, w)
    assert value == pytest.approx(float(expected(x, w)))
    assert_close(gradient, autograd.grad(expected, (0, 1))(x, w))
    found = autograd.elementwise_grad(compiled, 1)(x, w)
    assert_close(found, autograd.elementwise_grad(compiled.qnode, 1)(x, w))


def test_numbers_of_python():
    def circuit(a, b):
        qml.RX(a * b, 0)
        qml.RY(b + 0.1, 0)
        return qml.expval(qml.Z(0))

    compiled = compile(qml.QNode(circuit, DEVICES["mock_ideal"]))
    found = qml.grad(compiled, argnums=[0, 1])(0.3, 0.4)
    assert_close(found, qml.grad(compiled.qnode, argnums=[0, 1])(0.3, 0.4))


def test_arguments_by_name_and_inside_lists():
    def circuit(params, *, options):
        qml.RX(params[0] * options["scale"], 0)
        qml.RY(params[1][0], 0)
        return qml.expval(qml.Z(0))

    compiled = compile(qml.QNode(circuit, DEVICES["mock_ideal"]))

    def cost(function):
        return lambda a, b, c: function([a, (b,)], options={"scale": c})

    arguments = pnp.array(0.3), pnp.array(0.4), pnp.array(1.5)
    found = qml.grad(cost(compiled))(*arguments)
    assert_close(found, qml.grad(cost(compiled.qnode))(*arguments))


def test_before_and_after():
    compiled = made("probs")

    def cost(function):
        return lambda x, w: pnp.log(function(pnp.sin(x), w * w[0])[..., 1] + 1.0).sum()

    assert_close(
        qml.grad(cost(compiled))(BATCH, W), qml.grad(cost(compiled.qnode))(BATCH, W)
    )


def test_optimizers_of_pennylane():
    compiled = made()
    found = []
    for function in (compiled, compiled.qnode):
        optimizer, (x, w) = qml.AdamOptimizer(0.1), (X, W)
        for _ in range(5):
            (x, w), cost = optimizer.step_and_cost(function, x, w)
        found.append((np.concatenate([x, w]), cost))
    assert_close(found[0][0], found[1][0])
    assert_close(found[0][1], found[1][1])


@pytest.mark.parametrize("kind", ["one", "probs"])
@pytest.mark.parametrize("options", [{}, {"max_diff": 2}])
def test_second_derivatives_are_refused(kind, options):
    compiled = made(kind, **options)

    def cost(w):
        return pnp.sum(pnp.cos(compiled(X, w)))

    for derivative in (
        lambda: qml.jacobian(qml.grad(cost))(W),
        lambda: qml.grad(lambda w: pnp.sum(qml.grad(cost)(w) ** 2))(W),
        lambda: autograd.hessian(cost)(np.array(W)),
        lambda: qml.jacobian(lambda w: qml.jacobian(compiled, argnums=1)(X, w))(W),
    ):
        with pytest.raises(DeviceError, match=r"second derivative.*QNode"):
            derivative()


def test_second_derivatives_of_a_linear_cost_are_no_zeros():
    """A gradient that autograd takes for constant would have derivative zero."""

    def circuit(w):
        qml.RX(w, 0)
        return qml.expval(qml.Z(0)), qml.expval(qml.Y(0))

    compiled = compile(qml.QNode(circuit, DEVICES["mock_ideal"]))
    for pick in (lambda w: compiled(w)[0], lambda w: compiled(w)[0] + compiled(w)[1]):
        with pytest.raises(DeviceError, match="second derivative"):
            qml.grad(qml.grad(pick))(pnp.array(0.3))
