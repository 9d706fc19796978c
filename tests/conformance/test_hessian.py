"""Second derivatives: right when asked for by max_diff=2, otherwise refused."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError

from tests.conformance.conftest import Framework

DEVICE = "qstore.mock_ideal"
WIRES = range(2)


def gates(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    qml.RX(w[0] * w[1], 1)
    return qml.expval(qml.Z(1))


def template(w):
    qml.RX(0.7, 0)
    qml.StronglyEntanglingLayers(qml.math.reshape(w, (1, 2, 3)), WIRES)
    return qml.expval(qml.Z(0) @ qml.X(1))


def variance(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    return qml.var(qml.Z(1))


CIRCUITS = {gates: 2, template: 6, variance: 2}


def ours(function, **options):
    return qml.QNode(function, qml.device(DEVICE, wires=2), **options)


# ---------------------------------------------------------------------- max_diff=2
ROADS = [
    *itertools.product(CIRCUITS, ["autograd", "torch", "jax-jit"]),
    (variance, "jax"),  # which compiles each operation by itself
]


@pytest.mark.parametrize(("circuit", "framework"), ROADS)
def test_hessian_agrees_with_backprop(circuit, framework, reference, rng, agree):
    w = rng.uniform(-2, 2, CIRCUITS[circuit])
    hessian = Framework(framework).hessian(ours(circuit, max_diff=2), w)
    agree(hessian, reference.hessian(circuit, w))


def test_hessian_of_a_loss_agrees_with_backprop(framework, rng, agree):
    def cosine(w):
        qml.RX(w[0], 0)
        return qml.expval(qml.Z(0))

    qnode = ours(cosine, max_diff=2)
    x = rng.uniform(-2, 2)
    # (x cos x)'' = -2 sin x - x cos x
    expected = np.array([[-2 * np.sin(x) - x * np.cos(x)]])
    agree(framework.hessian(lambda w: w[0] * qnode(w), np.array([x])), expected)


def test_gradient_under_max_diff_2_agrees_with_backprop(
    framework, reference, rng, flat, agree
):
    def batched(x, w):
        qml.AngleEmbedding(x, WIRES)
        qml.StronglyEntanglingLayers(w, WIRES)
        return qml.expval(qml.Z(0)), qml.probs([0, 1])

    x, w = rng.uniform(-2, 2, (4, 2)), rng.uniform(-2, 2, (1, 2, 3))
    qnode = ours(lambda w: batched(x, w), max_diff=2)
    expected = reference.jacobian(lambda w: batched(x, w), w)
    agree(framework.jacobian(flat(qnode), w), expected)


# ---------------------------------------------------------------------- max_diff=1
def product_rule(qnode):
    return lambda w: w[0] * qnode(w)


def square(qnode):
    return lambda w: qnode(w) ** 2


def itself(qnode):
    return qnode


LOSSES = [itself, square, product_rule]


@pytest.mark.parametrize("loss", LOSSES)
def test_autograd_refuses_a_second_derivative(loss):
    gradient = qml.grad(loss(ours(gates)))
    with pytest.raises(DeviceError, match="max_diff=2"):
        qml.jacobian(gradient)(pnp.array([0.3, 0.7], requires_grad=True))


def test_autograd_refuses_a_mixed_derivative():
    # Each parameter is boxed once only: by the inner or by the outer derivative.
    qnode = ours(lambda a, b: gates([a, b]))
    inner = qml.grad(qnode, argnums=0)
    with pytest.raises(DeviceError, match="max_diff=2"):
        qml.grad(inner, argnums=1)(pnp.array(0.3), pnp.array(0.7))


@pytest.mark.parametrize("loss", LOSSES)
def test_torch_refuses_a_second_derivative(loss):
    w = torch.tensor([0.3, 0.7], requires_grad=True, dtype=torch.float64)
    value = loss(ours(gates))(w)
    with pytest.raises(DeviceError, match="max_diff=2"):
        torch.autograd.grad(value, w, create_graph=True)


def test_torch_refuses_its_functional_hessian():
    w = torch.tensor([0.3, 0.7], dtype=torch.float64)
    with pytest.raises(DeviceError, match="max_diff=2"):
        torch.autograd.functional.hessian(ours(gates), w)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("outer", [jax.jacfwd, jax.jacrev])
@pytest.mark.parametrize("jit", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_jax_refuses_a_second_derivative(loss, outer, jit):
    hessian = jit(outer(jax.jacrev(loss(ours(gates)))))
    with pytest.raises(DeviceError, match="max_diff=2"):
        hessian(jnp.array([0.3, 0.7]))


@pytest.mark.parametrize("diff_method", ["device", "adjoint"])
def test_device_gradients_with_max_diff_2_are_refused(diff_method):
    qnode = ours(gates, diff_method=diff_method, max_diff=2)
    with pytest.raises(QuantumFunctionError, match=diff_method):
        qnode(pnp.array([0.3, 0.7], requires_grad=True))


def test_a_first_derivative_is_not_mistaken_for_a_second(framework, reference, agree):
    # Two first derivatives, one of them a constant factor in the loss of the other.
    w = np.array([0.3, 0.7])
    qnode = ours(gates)
    slope = framework.jacobian(qnode, w)[0][0]
    (expected,) = reference.jacobian(gates, w)
    agree(
        framework.jacobian(lambda v: slope * qnode(v), w),
        (expected[0, 0] * expected[0],),
    )
