"""Compiled circuits under the transforms of JAX."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import compile

jax.config.update("jax_enable_x64", True)
DEVICES = {
    name: qml.device(f"qstore.{name}", wires=2) for name in ("mock_ideal", "mock_noisy")
}
X, W = np.array([0.4, 0.9]), np.array([0.3, -0.4, 0.5])
XS, WS = np.linspace(-1, 1, 6).reshape(3, 2), np.stack([W, 2 * W, -W])


def circuit(x, w):
    qml.AngleEmbedding(x, wires=[0, 1])
    qml.Rot(w[0], jnp.sin(w[1]), w[2] * w[0], wires=1)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(1)), qml.probs(wires=[0])


def in_numpy(x, w):
    qml.AngleEmbedding(x, wires=[0, 1])
    qml.Rot(w[0], qml.math.sin(w[1]), w[2] * w[0], wires=1)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(1)), qml.probs(wires=[0])


@functools.cache
def compiled(device="mock_ideal"):
    return compile(qml.QNode(circuit, DEVICES[device]))


@functools.cache
def reference(device="mock_ideal"):
    """The QNode in autograd."""
    return qml.QNode(in_numpy, DEVICES[device])


def cost(results):
    one, other = results
    return jnp.sum(jnp.cos(one)) + jnp.sum(other[..., 0] ** 2)


def expected(x, w, device="mock_ideal"):
    def total(x, w):
        one, other = reference(device)(x, w)
        return pnp.sum(pnp.cos(one)) + pnp.sum(other[..., 0] ** 2)

    x, w = pnp.array(x), pnp.array(w)
    return [total(x, w), *qml.grad(total)(x, w)]


def assert_close(found, wanted, atol=1e-9):
    for one, other in zip(found, wanted, strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


GRADIENTS = {
    "grad": lambda f: jax.grad(f, (0, 1)),
    "jit of grad": lambda f: jax.jit(jax.grad(f, (0, 1))),
    "grad of jit": lambda f: jax.grad(jax.jit(f), (0, 1)),
    "value_and_grad": lambda f: lambda x, w: jax.value_and_grad(f, (0, 1))(x, w)[1],
    "vjp": lambda f: lambda x, w: jax.vjp(f, x, w)[1](jnp.ones(())),
    "jacrev": lambda f: jax.jacrev(f, (0, 1)),
    "jacfwd": lambda f: jax.jacfwd(f, (0, 1)),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f), (0, 1)),
}


@pytest.mark.parametrize("name", list(GRADIENTS))
@pytest.mark.parametrize("x", [X, XS], ids=["one", "batch"])
def test_gradients(x, name):
    function = GRADIENTS[name](lambda x, w: cost(compiled()(x, w)))
    found = function(jnp.asarray(x), jnp.asarray(W))
    assert_close(found, expected(x, W)[1:])


@pytest.mark.parametrize("jit", [False, True])
def test_with_noise(jit):
    def loss(x, w):
        return cost(compiled("mock_noisy")(x, w))

    function = jax.value_and_grad(loss, (0, 1))
    function = jax.jit(function) if jit else function
    value, gradients = function(jnp.asarray(XS), jnp.asarray(W))
    assert_close([value, *gradients], expected(XS, W, "mock_noisy"))


@pytest.mark.parametrize("jit", [False, True])
def test_values(jit):
    function = jax.jit(compiled()) if jit else compiled()
    for x in (X, XS, XS[:1]):
        found = function(jnp.asarray(x), jnp.asarray(W))
        assert_close(found, reference()(x, W))


@pytest.mark.parametrize("jacobian", [jax.jacrev, jax.jacfwd])
def test_jacobians(jacobian):
    found = jacobian(compiled(), 1)(jnp.asarray(XS), jnp.asarray(W))
    wanted = [
        qml.jacobian(lambda w, i=i: reference()(XS, w)[i])(pnp.array(W))
        for i in range(2)
    ]
    assert_close(found, wanted)


def test_jvp():
    tangent = jnp.asarray([0.1, 0.2, -0.3])
    values, pushed = jax.jvp(
        lambda w: compiled()(jnp.asarray(X), w), (jnp.asarray(W),), (tangent,)
    )
    step = 1e-6
    up, down = (reference()(X, W + s * step * np.asarray(tangent)) for s in (1, -1))
    assert_close(values, reference()(X, W))
    assert_close(
        pushed, [(a - b) / (2 * step) for a, b in zip(up, down, strict=True)], 1e-8
    )


AXES = {
    "first": ((0, None), (XS, W)),
    "second": ((None, 0), (X, WS)),
    "both": ((0, 0), (XS, WS)),
    "second of a batch": ((None, 0), (XS, WS)),
    "last axis": ((1, None), (XS.T, W)),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", list(AXES))
def test_vmap(name, jit):
    axes, (x, w) = AXES[name]
    function = jax.vmap(compiled(), in_axes=axes)
    function = jax.jit(function) if jit else function
    found = function(jnp.asarray(x), jnp.asarray(w))
    rows = []
    for i in range(3):
        xi = x if axes[0] is None else np.take(x, i, axis=axes[0])
        wi = w if axes[1] is None else w[i]
        rows.append(reference()(xi, wi))
    assert_close(found, [np.stack(column) for column in zip(*rows, strict=True)])


def test_gradients_of_mapped_circuits():
    def loss(x, w):
        return cost(jax.vmap(compiled(), in_axes=(0, None))(x, w))

    found = jax.grad(loss, (0, 1))(jnp.asarray(XS), jnp.asarray(W))
    assert_close(found, expected(XS, W)[1:])
    each = jax.vmap(jax.grad(lambda x, w: cost(compiled()(x, w)), 1), (0, None))
    wanted = np.stack([expected(x, W)[2] for x in XS])
    assert_close([each(jnp.asarray(XS), jnp.asarray(W))], [wanted])


def test_scan():
    """Gradient descent as one compiled loop."""

    def step(w, _):
        value, gradient = jax.value_and_grad(
            lambda w: cost(compiled()(jnp.asarray(XS), w))
        )(w)
        return w - 0.1 * gradient, value

    w, values = jax.jit(lambda w: jax.lax.scan(step, w, length=4))(jnp.asarray(W))
    other, costs = W, []
    for _ in range(4):
        value, _, gradient = expected(XS, other)
        other = other - 0.1 * gradient
        costs.append(value)
    assert_close([w, values], [other, np.array(costs)])


def test_loops_and_conditions_of_jax_around_it():
    x, w = jnp.asarray(X), jnp.asarray(W)

    def body(_, w):
        return w + compiled()(x, w)[0]

    found = jax.lax.fori_loop(0, 3, body, w)
    other = W
    for _ in range(3):
        other = other + reference()(X, other)[0]
    assert_close([found], [other])
    chosen = jax.lax.cond(w[0] > 0, lambda w: compiled()(x, w)[0], lambda w: w[0], w)
    assert_close([chosen], [reference()(X, W)[0]])


def test_float32():
    """With x64 for float32 arguments, and without."""
    x, w = jnp.asarray(XS, jnp.float32), jnp.asarray(W, jnp.float32)
    found = jax.grad(lambda x, w: cost(compiled()(x, w)), (0, 1))(x, w)
    assert all(value.dtype == jnp.float32 for value in found)
    assert_close(found, expected(XS, W)[1:], 1e-5)
    with jax.experimental.disable_x64():
        x, w = jnp.asarray(XS), jnp.asarray(W)
        assert x.dtype == jnp.float32
        for jit in (False, True):
            function = jax.value_and_grad(lambda x, w: cost(compiled()(x, w)), (0, 1))
            function = jax.jit(function) if jit else function
            value, gradients = function(x, w)
            assert_close([value, *gradients], expected(XS, W), 1e-5)
            assert all(v.dtype == jnp.float32 for v in (value, *gradients))


def test_other_arguments():
    """Numbers of Python, arrays of numpy, static ones, and arrays inside lists."""

    def function(tree, scale, n, *, name):
        for i in range(n):
            getattr(qml, name)(tree["w"][i] * scale, wires=0)
            qml.RZ(0.3, 0)
        qml.RX(tree["b"][0], 0)
        return qml.expval(qml.Z(0))

    one = compile(qml.QNode(function, DEVICES["mock_ideal"]))
    tree = {"w": jnp.asarray(W), "b": (jnp.asarray(0.3), 1.5)}
    plain = {"w": pnp.array(W), "b": (pnp.array(0.3), 1.5)}

    def check(n, name):
        found = jax.grad(lambda t: one(t, 0.7, n, name=name))(tree)
        wanted = qml.grad(
            lambda w, b: one.qnode({"w": w, "b": (b, 1.5)}, 0.7, n, name=name)
        )(plain["w"], plain["b"][0])
        assert_close([found["w"], found["b"][0]], wanted)
        assert float(found["b"][1]) == 0.0

    for n in (1, 2, 1):
        check(n, "RX")
        check(n, "RY")
    assert one.retrace_count == 3
    scaled = jax.jit(one, static_argnums=2, static_argnames="name")
    assert_close(
        [scaled(tree, 0.7, 2, name="RX")], [one.qnode(plain, 0.7, 2, name="RX")]
    )


def test_weak_types_and_numbers_do_not_retrace_without_end():
    one = compile(
        qml.QNode(
            lambda w: (qml.RX(w, 0), qml.expval(qml.Z(0)))[1], DEVICES["mock_ideal"]
        )
    )
    for value in (jnp.asarray(0.3), jnp.asarray([0.3])[0], 1.0 * jnp.asarray(0.2)):
        assert_close([one(value)], [np.cos(float(value))])
    assert one.retrace_count == 0


@pytest.mark.parametrize(
    "derivative",
    [
        lambda f, w: jax.hessian(f)(w),
        lambda f, w: jax.jacrev(jax.grad(f))(w),
        lambda f, w: jax.grad(lambda w: jnp.sum(jax.grad(f)(w) ** 2))(w),
        lambda f, w: jax.jit(jax.hessian(f))(w),
        lambda f, w: jax.jvp(jax.grad(f), (w,), (w,)),
    ],
    ids=["hessian", "jacrev of grad", "grad of grad", "jit of hessian", "jvp of grad"],
)
def test_second_derivatives_are_refused(derivative):
    def function(w):
        return cost(compiled()(jnp.asarray(X), w))

    with pytest.raises(DeviceError, match="second derivative"):
        derivative(function, jnp.asarray(W))


def test_second_derivatives_with_max_diff():
    one = compile(qml.QNode(circuit, DEVICES["mock_ideal"], max_diff=2))
    found = jax.hessian(lambda w: cost(one(jnp.asarray(X), w)))(jnp.asarray(W))
    step, rows = 1e-5, []
    for e in np.eye(3):
        up, down = (expected(X, W + s * step * e)[2] for s in (1, -1))
        rows.append((up - down) / (2 * step))
    assert_close([found], [np.array(rows)], 1e-7)
