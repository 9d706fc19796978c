"""Device gradients beyond the table of circuits: options, dtypes, fallback, refusal."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pennylane as qml
import pytest
import scipy.sparse
import torch
from pennylane import numpy as pnp

from tests.conformance.conftest import Framework

DEVICE = "qstore.mock_ideal"
WIRES = range(3)
SHAPES = (4, 3), (1, 3, 3)
HERMITIAN = np.array([[1, 2j], [-2j, 0.5]])


def prepare(x, w):
    qml.AngleEmbedding(x, WIRES)
    qml.StronglyEntanglingLayers(w, WIRES)


def model(x, w):
    prepare(x, w)
    return qml.expval(qml.Z(0) @ qml.X(1) @ qml.Y(2))


def ours(circuit, **options):
    return qml.QNode(circuit, qml.device(DEVICE, wires=3), **options)


@pytest.fixture
def arguments(rng):
    """Features (4, 3) and weights (1, 3, 3)."""
    return [rng.uniform(-3, 3, shape) for shape in SHAPES]


def test_torch_leaves_non_trainable_inputs_without_a_gradient(arguments):
    x, w = map(torch.tensor, arguments)
    w.requires_grad_()
    ours(model)(x, w).sum().backward()
    assert x.grad is None
    assert w.grad.shape == w.shape


@pytest.mark.parametrize("trainable", [[0], [1], [0, 1]])
def test_compute_vjp_returns_the_trainable_parameters_only(trainable, arguments):
    x, w = arguments
    tape = qml.tape.QuantumScript(
        [qml.AngleEmbedding(x, WIRES), qml.StronglyEntanglingLayers(w, WIRES)],
        [qml.expval(qml.Z(0))],
        trainable_params=trainable,
    )
    device = qml.device(DEVICE, wires=3)
    config = device.setup_execution_config(
        qml.devices.ExecutionConfig(gradient_method="adjoint"), tape
    )
    vjp = device.compute_vjp(tape, np.ones(4), config)
    shapes = [np.shape(v) for v in (vjp if isinstance(vjp, tuple) else (vjp,))]
    assert shapes == [SHAPES[i] for i in trainable]


@pytest.mark.parametrize("name", ["torch", "jax", "jax-jit"])
def test_float32_inputs_get_float32_gradients(name, reference, arguments, agree):
    narrow = [a.astype(np.float32) for a in arguments]
    loss = ours(model)
    if name == "torch":
        tensors = [torch.tensor(a, requires_grad=True) for a in narrow]
        loss(*tensors).sum().backward()
        gradients = [t.grad for t in tensors]
    else:
        gradient = jax.grad(lambda *a: loss(*a).sum(), argnums=(0, 1))
        gradients = (jax.jit(gradient) if name == "jax-jit" else gradient)(*narrow)
    exact = reference.jacobian(model, *(a.astype(float) for a in narrow))
    for actual, jacobian in zip(gradients, exact, strict=True):
        assert qml.math.get_dtype_name(actual) == "float32"
        # Computed in float64, rounded once.
        error = 4 * np.finfo(np.float32).eps
        agree(np.asarray(actual, float), jacobian.sum(axis=0), atol=error)


@pytest.mark.parametrize("device_vjp", [True, False, None])
def test_the_device_vjp_option_changes_nothing(device_vjp, framework, arguments, agree):
    actual = framework.jacobian(ours(model, device_vjp=device_vjp), *arguments)
    agree(actual, framework.jacobian(ours(model), *arguments), atol=0)


def test_sparse_hamiltonians_are_differentiated(framework, reference, arguments, agree):
    # default.qubit does not: the same matrix, dense, is the reference.
    matrix = np.kron(HERMITIAN, [[0, 1], [1, 0]])

    def measured(observable):
        def circuit(x, w):
            prepare(x, w)
            return qml.expval(observable)

        return circuit

    sparse = qml.SparseHamiltonian(scipy.sparse.csr_matrix(matrix), [2, 0])
    actual = framework.jacobian(ours(measured(sparse)), *arguments)
    dense = measured(qml.Hermitian(matrix, [2, 0]))
    agree(actual, reference.jacobian(dense, *arguments))


def test_backward_passes_may_come_long_after_many_forward_passes(reference, rng, agree):
    features, w = rng.uniform(-3, 3, (20, 4, 3)), rng.uniform(-3, 3, (1, 3, 3))
    qnode = ours(model)
    gradient = qml.grad(lambda w: sum(pnp.sum(qnode(x, w) ** 2) for x in features))
    expected = np.zeros_like(w)
    for x in features:
        (slope,) = reference.jacobian(lambda v, x=x: model(x, v), w)
        expected += 2 * np.tensordot(reference.qnode(model)(x, w), slope, 1)
    agree(gradient(pnp.array(w)), expected)


def test_a_graph_kept_by_torch_can_be_walked_twice(arguments, agree):
    x, w = (torch.tensor(a, requires_grad=True) for a in arguments)
    loss = ours(model)(x, w).square().sum()
    loss.backward(retain_graph=True)
    once = w.grad.clone()
    loss.backward()
    agree(w.grad, 2 * once)


def test_a_forward_pass_computes_no_derivative(arguments):
    qnode = ours(model)
    with qml.Tracker(qnode.device) as tracker:
        qnode(*(pnp.array(a, requires_grad=True) for a in arguments))
    assert tracker.totals["simulations"] == 1
    assert "vjps" not in tracker.totals


# ------------------------------------------------------------- fallback and refusal
# Autograd casts on the way from a complex matrix back to the real angle.
@pytest.mark.filterwarnings("ignore:Casting complex:numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("gate", ["QubitUnitary", "DiagonalQubitUnitary"])
def test_matrices_are_differentiated(gate, framework, reference, agree):
    def circuit(t):
        qml.RY(0.4, 0)
        if gate == "QubitUnitary":
            c, s = qml.math.cos(t), qml.math.sin(t)
            rows = [qml.math.stack([c, -s]), qml.math.stack([s, c])]
            qml.QubitUnitary(qml.math.stack(rows), 0)
        else:
            phase = qml.math.exp(1j * qml.math.cast(t, "complex128"))
            qml.DiagonalQubitUnitary(qml.math.stack([phase, qml.math.conj(phase)]), 0)
        return qml.expval(qml.X(0))

    t = np.array(0.3)
    (expected,) = reference.jacobian(circuit, t)
    agree(framework.jacobian(ours(circuit), t), (expected[0],))


OTHERS = {
    "state": qml.state,
    "density_matrix": lambda: qml.density_matrix([0]),
    "purity": lambda: qml.purity([0]),
    "vn_entropy": lambda: qml.vn_entropy([0]),
    "mutual_info": lambda: qml.mutual_info([0], [1]),
}
ROADS = [
    *itertools.product(OTHERS, ["autograd", "torch", "jax-jit"]),
    ("state", "jax"),  # which compiles each operation by itself
]


@pytest.mark.parametrize(("measurement", "framework"), ROADS)
def test_gradients_of_other_measurements_come_from_the_framework(
    measurement, framework, rng, agree
):
    framework = Framework(framework)

    def circuit(x, w):
        prepare(x, w)
        return OTHERS[measurement]()

    x, w = rng.normal(size=3), rng.normal(size=(1, 3, 3))
    theirs = qml.QNode(circuit, qml.device("default.qubit", wires=3))
    mine, expected = (
        framework.jacobian(lambda w, q=qnode: qml.math.real(q(x, w)), w)
        for qnode in (ours(circuit), theirs)
    )
    agree(mine, expected)
    assert np.abs(mine[0]).max() > 1e-3
