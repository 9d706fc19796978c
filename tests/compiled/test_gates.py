"""Every gate and template in compiled circuits, and functions of gates."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import compile
from tests.cases import GATES, PREPARATIONS, TEMPLATES, VARIANTS, has_variant

ROWS = {
    name: row
    for name, row in (GATES | TEMPLATES | PREPARATIONS).items()
    if row.shapes and row.parameters(np.random.default_rng(0))[0].dtype.kind == "f"
}
# Their matrices are computed from the arguments by PennyLane: refused by name.
REFUSED = {
    "Exp": "complex",
    "Evolution": "complex",
    "SpecialUnitary-1": "complex",
    "SpecialUnitary-2": "complex",
    "AmplitudeEmbedding-1": "",
    "AmplitudeEmbedding-3": "",
    "AmplitudeEmbedding-padded": "",
}
DEVICE = qml.device("qstore.mock_ideal", wires=6)
NOISY = qml.device("qstore.mock_noisy", wires=6)


def circuit(name, variant=None):
    row = ROWS[name]

    def function(*parameters):
        rng, wires = np.random.default_rng(1), list(range(row.n_wires))
        if name not in PREPARATIONS:
            for i in range(max(2, row.n_wires)):
                qml.RY(0.3 + 0.2 * i, i)
        op = row.build(list(parameters), wires, rng)
        if variant is not None:
            VARIANTS[variant](op, [5], rng)
        return qml.expval(qml.X(0)), qml.probs(wires=[max(row.n_wires, 1) - 1])

    return function


CASES = [
    (name, variant)
    for name, row in ROWS.items()
    for variant in (None, "adjoint", "controlled", "square")
    if variant is None or (name not in PREPARATIONS and has_variant(row, variant))
]


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_every_gate(name, variant):
    """With numbers and, where PennyLane broadcasts it, with a batch."""
    row, rng = ROWS[name], np.random.default_rng(0)
    qnode = qml.QNode(circuit(name, variant), DEVICE)
    compiled = compile(qnode)
    for batch in (None, 3) if row.batches else (None,):
        parameters = row.parameters(rng, batch)
        if name in REFUSED:
            with pytest.raises(
                DeviceError, match=f"cannot be compiled.*{REFUSED[name]}"
            ):
                compiled(*parameters)
            continue
        expected = qnode(*parameters)
        for one, other in zip(compiled(*parameters), expected, strict=True):
            assert np.shape(one) == np.shape(other)
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


# ----------------------------------------------------------- functions of gates, loops
def ansatz(x, w):
    for i in range(3):
        qml.RX(x[i % 2] * w[i], wires=i)
    qml.CNOT([0, 1])


def conditioned(x, w):
    ansatz(x, w)
    m = qml.measure(0)
    qml.cond(m, qml.RY, qml.RZ)(w[0] * x[1], wires=1)
    n = qml.measure(1, reset=True)
    qml.cond(m, qml.RX)(w[1], wires=2)
    qml.cond(n == 0, qml.CNOT)(wires=[1, 2])


def looped(x, w):
    @qml.for_loop(3)
    def layer(i):
        qml.RX(w[i], wires=i)
        qml.CRY(x[0], wires=[i, (i + 1) % 3])

    layer()


def while_looped(x, w):
    @qml.while_loop(lambda i: i < 3)
    def step(i):
        qml.RX(w[i], wires=i)
        return i + 1

    step(0)


def products(x, w):
    qml.prod(qml.RX(w[0], 0), qml.CRZ(x[0], [0, 1]))
    qml.change_op_basis(qml.Hadamard(1), qml.RZ(w[1] * x[1], 1))
    qml.pow(qml.RY(w[2], 2), 3)
    qml.Select([qml.RX(w[0], 1), qml.RY(x[0], 1)], control=[0])


def sums(x, w):
    total = 0.0
    for i in range(3):
        total = (total + w[i]) * x[0]
    qml.RX(total, 0)
    qml.RY(sum(w), 1)
    qml.RZ(sum(a * b for a, b in zip(w[:2], x, strict=True)), 1)
    first, *rest = w
    qml.RX(first - rest[1], 2)
    qml.RY(abs(w[1]) + abs(x[0]), 2)
    qml.RX(w[-1] % 1.0 if isinstance(w, list) else w[-1], 0)


STEPS = {
    "adjoint of a function": lambda x, w: (
        ansatz(x, w),
        qml.adjoint(ansatz)(x * w[0], w),
    ),
    "ctrl of a function": lambda x, w: (
        qml.Hadamard(3),
        qml.ctrl(lambda: ansatz(x, w), control=3, control_values=[0])(),
    ),
    "ctrl of an adjoint": lambda x, w: (
        qml.Hadamard(3),
        qml.ctrl(qml.adjoint(qml.Rot), control=3)(w[0], w[1], x[0], wires=1),
    ),
    "measured": conditioned,
    "for_loop": looped,
    "while_loop": while_looped,
    "products": products,
    "sums": sums,
    "barriers and snapshots": lambda x, w: (
        ansatz(x, w),
        qml.Barrier(wires=[0, 1]),
        qml.Snapshot("s"),
        ansatz(x, w),
    ),
    "a unitary of the user": lambda x, w: (
        qml.QubitUnitary(np.array([[0, 1], [1, 0]]), wires=0),
        ansatz(x, w),
    ),
    "apply": lambda x, w: (
        ansatz(x, w),
        qml.apply(qml.RX(0.3, 0)),
    ),
    "layer": lambda x, w: qml.layer(lambda v: ansatz(x, v), 2, [w, 2 * w]),
}
X, W = np.array([0.4, 0.9]), np.array([0.3, -0.4, 0.5])


@pytest.mark.parametrize("device", [DEVICE, NOISY], ids=["ideal", "noisy"])
@pytest.mark.parametrize("name", list(STEPS))
def test_functions_of_gates(name, device):
    def function(x, w):
        STEPS[name](x, w)
        return qml.expval(qml.Z(1) @ qml.X(2)), qml.probs(wires=[0, 2])

    def reference(x, w):
        values = qnode(x, w)
        return pnp.sum(values[0] * 0.7) + pnp.sum(values[1] * pnp.arange(4.0))

    qnode = qml.QNode(function, device)
    compiled = compile(qnode)
    for one, other in zip(compiled(X, W), qnode(X, W), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
    expected = qml.grad(reference)(pnp.array(X), pnp.array(W))
    values = compiled(x := torch.tensor(X, requires_grad=True), W)
    total = values[0] * 0.7 + (values[1] * torch.arange(4.0)).sum()
    total.backward()
    np.testing.assert_allclose(x.grad, expected[0], rtol=0, atol=1e-10)


def test_values_of_measurements_inside():
    def function(x):
        qml.RX(x, 0)
        m = qml.measure(0)
        qml.cond(m, qml.X)(1)
        return qml.expval(m), qml.probs(op=m), qml.expval(qml.Z(1))

    qnode = qml.QNode(function, DEVICE)
    for one, other in zip(compile(qnode)(0.3), qnode(0.3), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


def test_what_is_computed_from_outcomes_is_the_same_every_time():
    """PennyLane sorts outcomes by identities, which are new in each call."""

    def function(x):
        qml.RX(x, 0)
        qml.RY(0.4, 1)
        m, n = qml.measure(0), qml.measure(1)
        return qml.expval(2 * m + n), qml.expval(m * (1 - n))

    qnode = qml.QNode(function, DEVICE)
    for _ in range(10):
        for one, other in zip(compile(qnode)(0.7), qnode(0.7), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("device", [DEVICE, NOISY], ids=["ideal", "noisy"])
def test_postselection_is_refused(device):
    def function(x):
        qml.RX(x, 0)
        qml.CRY(0.4, [0, 1])
        qml.measure(0, postselect=1)
        return qml.expval(qml.Z(1))

    with pytest.raises(DeviceError, match=r"Postselection .* through its QNode"):
        compile(qml.QNode(function, device))(0.3)


def test_relaxation_on_both_sides_of_a_decision():
    """PennyLane decides by t2 <= t1; one trace is right for both."""

    def function(p):
        qml.RY(0.4, 0)
        qml.ThermalRelaxationError(p[0], p[1], p[2], p[3], 0)
        return qml.expval(qml.Z(0)), qml.expval(qml.X(0))

    qnode = qml.QNode(function, qml.device("qstore.mock_noisy", wires=1, noise=None))
    compiled = compile(qnode)
    for p in ([0.2, 1.3, 0.9, 0.4], [0.2, 1.1, 1.6, 0.4]):
        for one, other in zip(compiled(np.array(p)), qnode(np.array(p)), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
        found, expected = (
            qml.grad(lambda p, f=f: f(p)[0] + 0.7 * f(p)[1])(pnp.array(p))
            for f in (compiled, qnode)
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert compiled.retrace_count == 0


def test_a_channel_that_checks_its_number_is_refused():
    def function(p):
        qml.PauliError("XY", p, [0, 1])
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="cannot be compiled"):
        compile(qml.QNode(function, NOISY))(0.2)


def test_sums_in_place():
    """Numbers of numpy are new objects; PyTorch's tensors would be changed."""

    def function(w):
        total = 0.0
        for i in range(3):
            total += w[i]
        total *= w[0]
        total -= 0.1
        total /= 2
        qml.RX(total, 0)
        return qml.expval(qml.Z(0))

    qnode = qml.QNode(function, DEVICE)
    compiled = compile(qnode)
    np.testing.assert_allclose(compiled(W), qnode(W), atol=1e-12)
    with pytest.raises(DeviceError, match="in place"):
        compiled(torch.tensor(W))


# ------------------------------------------------------------------------------ wires
@pytest.mark.parametrize("name", ["qstore.mock_ideal", "qstore.mock_noisy"])
@pytest.mark.parametrize(
    "wires",
    [None, ["b", "a", 5], 4, ["c", "b", 5, "a"], [5, "a", "b"]],
    ids=["any", "labels", "too few", "more", "another order"],
)
def test_labels_of_wires(wires, name):
    def function(x):
        qml.RX(x, "a")
        qml.CNOT(["a", 5])
        qml.RY(2 * x, "b")
        return (
            qml.expval(qml.Z(5) @ qml.X("b")),
            qml.probs(wires=["b", "a"]),
            qml.probs(),
            qml.state(),
        )

    qnode = qml.QNode(function, qml.device(name, wires=wires))
    if wires == 4:
        for call in (qnode, compile(qnode)):
            with pytest.raises(
                qml.exceptions.WireError, match="not found on the device"
            ):
                call(0.3)
        return
    for one, other in zip(compile(qnode)(0.3), qnode(0.3), strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "measure", [qml.state, qml.probs, lambda: qml.expval(qml.Z(3))]
)
def test_more_wires_than_the_circuit_uses(measure):
    def function(x):
        qml.RX(x, 2)
        return measure()

    qnode = qml.QNode(function, qml.device("qstore.mock_ideal", wires=4))
    found, expected = compile(qnode)(0.3), qnode(0.3)
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


# -------------------------------------------------------------------------- batches
SHIFT = np.array([1.0, 2.0, 3.0])
BATCHES = {
    "times constants": lambda x: x * SHIFT,
    "plus constants": lambda x: x + SHIFT,
    "with a zero": lambda x: x * np.array([0.0, 2.0, 3.0]),
    "sine times constants": lambda x: np.sin(x) * SHIFT,
    "sine of constants": lambda x: np.sin(x * SHIFT),
    "squared": lambda x: x * x,
    "cubed": lambda x: x**3 * SHIFT,
    "times another sample": lambda x: x * x[::-1],
    "in reverse": lambda x: x[::-1],
    "some twice": lambda x: x[[0, 0, 1, 2]],
    "times one sample": lambda x: x[0] * x,
    "plus the sum": lambda x: x + np.sum(x),
    "minus the mean": lambda x: x - np.mean(x),
    "one more": lambda x: np.concatenate([x, x[:1]]),
    "one alone": lambda x: x[:1],
    "repeated": lambda x: np.repeat(x, 2),
    "of one number": lambda x: x[0] * np.ones(4),
    "product of functions": lambda x: np.sin(x) * np.cos(x) * x * x[0],
    "different functions": lambda x: np.stack([x[0], np.sin(x[1]), x[0] * x[2]]),
    "some constant": lambda x: np.concatenate([x, np.array([0.1])]),
}


@pytest.mark.parametrize("name", list(BATCHES))
def test_forms_of_a_batch(name):
    """Values and gradients are right; what differs from sample to sample is refused."""

    def function(x):
        qml.RX(0.3, 0)
        qml.RY(BATCHES[name](x), 0)
        qml.RX(0.2, 0)
        return qml.expval(qml.Z(0))

    qnode = qml.QNode(function, DEVICE)
    compiled, x = compile(qnode), np.array([0.3, 0.5, 0.9])
    expected = qnode(x)
    if name in ("different functions", "some constant"):
        with pytest.raises(DeviceError, match="functions for different samples"):
            compiled(x)
        return
    found = compiled(x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    step = 1e-6
    slopes = [
        (qnode(x + step * e) - qnode(x - step * e)) / (2 * step) for e in np.eye(3)
    ]
    jacobian = qml.jacobian(compiled)(pnp.array(x))
    np.testing.assert_allclose(jacobian, np.transpose(slopes), rtol=0, atol=1e-8)


# ------------------------------------------------------------- inside another QNode
def test_a_compiled_circuit_inside_a_qnode():
    inner = compile(
        qml.QNode(lambda w: (qml.RX(w, 0), qml.expval(qml.Z(0)))[1], DEVICE)
    )

    @qml.qnode(DEVICE)
    def outer(w):
        qml.RY(inner(w), 1)
        return qml.expval(qml.Z(1))

    w = pnp.array(0.3)
    np.testing.assert_allclose(outer(w), np.cos(np.cos(0.3)), atol=1e-12)
    expected = np.sin(np.cos(0.3)) * np.sin(0.3)
    np.testing.assert_allclose(qml.grad(outer)(w), expected, atol=1e-12)


def test_a_compiled_circuit_or_a_qnode_inside_a_compiled_one_is_refused():
    inner = qml.QNode(lambda w: (qml.RX(w, 0), qml.expval(qml.Z(0)))[1], DEVICE)
    for function in (inner, compile(inner)):

        def outer(w, function=function):
            qml.RY(function(w), 1)
            return qml.expval(qml.Z(1))

        with pytest.raises((DeviceError, TypeError)):
            compile(qml.QNode(outer, DEVICE))(0.3)
