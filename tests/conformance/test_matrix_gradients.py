"""Gradients with respect to the entries of matrices and amplitudes, in every framework.

Each framework has its own convention for complex numbers, so that default.qubit, and
default.mixed for channels, is differentiated by backprop in the same framework.
Matrices of angles are held to differences of dense matrix exponentials.
"""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import scipy.linalg
import torch
from numpy.exceptions import ComplexWarning
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import NoiseSpec
from tests import cases
from tests.conformance.conftest import Framework, flattened

# Only a wire that no circuit has is misread: mixed states, and nothing is noisy.
NOTHING = NoiseSpec(readout={"nowhere": (0.1, 0.2)})
DEVICES = {
    "ideal": functools.partial(qml.device, "qstore.mock_ideal"),
    "mixed": functools.partial(qml.device, "qstore.mock_noisy", noise=NOTHING),
}
EXACT = qml.device("default.qubit", wires=3)
RNG = np.random.default_rng(7)


@pytest.fixture(params=DEVICES)
def device(request):
    """Pure states, then mixed ones that nothing happens to."""
    return DEVICES[request.param](wires=3)


def start():
    for i in range(3):
        qml.RY(0.4 + 0.3 * i, i)
    qml.CNOT([0, 1])


def measured():
    qml.CNOT([1, 2])
    qml.RX(0.7, 0)
    return qml.expval(qml.Z(0) @ qml.X(1)), qml.probs([2, 0]), qml.var(qml.Y(1))


def gate(make):
    """A circuit in which the gate made from some values stands in the middle."""

    def circuit(*values):
        start()
        make(*values)
        return measured()

    return circuit


def twice_the_same(u):
    qml.QubitUnitary(u, 1)
    qml.RZ(0.3, 1)
    qml.adjoint(qml.QubitUnitary(u, 1))


def unitary(n):
    return cases.unitaries(RNG, (2**n, 2**n))


def hermitian(n):
    matrix = unitary(n) + 0.5 * unitary(n)
    return matrix + matrix.conj().T


GATES = {
    "one wire": (lambda u: qml.QubitUnitary(u, 1), unitary(1)),
    "two wires": (lambda u: qml.QubitUnitary(u, [2, 0]), unitary(2)),
    "real": (lambda u: qml.QubitUnitary(u, 0), qml.RY(0.4, 0).matrix()),
    "adjoint": (lambda u: qml.adjoint(qml.QubitUnitary(u, [0, 1])), unitary(2)),
    "control": (lambda u: qml.ctrl(qml.QubitUnitary(u, 2), 0), unitary(1)),
    "adjoint of control": (
        lambda u: qml.adjoint(qml.ctrl(qml.QubitUnitary(u, 2), 0)),
        unitary(1),
    ),
    "twice the same": (twice_the_same, unitary(1)),
    "diagonal": (
        lambda d: qml.DiagonalQubitUnitary(d, [0, 2]),
        cases.phases(RNG, (4,)),
    ),
    "adjoint of diagonal": (
        lambda d: qml.adjoint(qml.DiagonalQubitUnitary(d, [0, 2])),
        cases.phases(RNG, (4,)),
    ),
    "batch": (lambda u: qml.QubitUnitary(u, 1), cases.unitaries(RNG, (3, 2, 2))),
    "batch on two wires": (
        lambda u: qml.QubitUnitary(u, [1, 0]),
        cases.unitaries(RNG, (2, 4, 4)),
    ),
    "batch of diagonals": (
        lambda d: qml.DiagonalQubitUnitary(d, [1, 0]),
        cases.phases(RNG, (3, 4)),
    ),
}


def expectation(observable):
    """A circuit that ends with the mean of an observable made from some values."""

    def circuit(*values):
        start()
        qml.RX(0.7, 0)
        return qml.expval(observable(*values)), qml.expval(qml.Z(1))

    return circuit


OBSERVABLES = {
    "one wire": (lambda h: qml.Hermitian(h, 1), hermitian(1)),
    "two wires": (lambda h: qml.Hermitian(h, [2, 0]), hermitian(2)),
    "sum": (lambda h: qml.X(0) + qml.Hermitian(h, 1), hermitian(1)),
    "product": (lambda h: qml.Hermitian(h, 1) @ qml.Y(0), hermitian(1)),
    "multiple": (lambda h: -0.3 * qml.Hermitian(h, [0, 1]), hermitian(2)),
    "Hamiltonian": (
        lambda h: qml.Hamiltonian([0.3, -2.0], [qml.Hermitian(h, 0), qml.Z(1)]),
        hermitian(1),
    ),
    "sum of products": (
        lambda h: 0.5 * (qml.Hermitian(h, 0) @ qml.X(2)) + 2.0 * qml.Hermitian(h, 1),
        hermitian(1),
    ),
}


def preparation(make):
    """A circuit that starts from amplitudes."""

    def circuit(*values):
        make(*values)
        qml.CRX(0.4, [0, 1])
        return measured()

    return circuit


def embedded(x, **options):
    qml.AmplitudeEmbedding(x, [0, 1], **options)


NORMALIZED = {"normalize": True}
PADDED = {"normalize": True, "pad_with": 0.3}
AMPLITUDES = {
    "complex": (lambda x: qml.StatePrep(x, [1, 2]), cases.states(RNG, (4,))),
    "real": (lambda x: qml.StatePrep(x, [0, 2]), np.array([0.5, -0.5, 0.1, 0.7])),
    "normalised": (functools.partial(embedded, **NORMALIZED), RNG.normal(size=4)),
    "normalised complex": (
        functools.partial(embedded, **NORMALIZED),
        2 * cases.states(RNG, (4,)),
    ),
    "padded": (functools.partial(embedded, **PADDED), RNG.normal(size=3)),
    "padded complex": (
        functools.partial(embedded, **PADDED),
        2 * cases.states(RNG, (3,)),
    ),
    "batch": (lambda x: qml.StatePrep(x, [1, 2]), cases.states(RNG, (3, 4))),
    "batch normalised": (
        functools.partial(embedded, **NORMALIZED),
        RNG.normal(size=(2, 4)),
    ),
}
AMPLITUDES["real"][1][:] /= np.linalg.norm(AMPLITUDES["real"][1])

ENTRIES = {
    **{f"gate: {k}": (gate(make), v) for k, (make, v) in GATES.items()},
    **{f"state: {k}": (preparation(make), v) for k, (make, v) in AMPLITUDES.items()},
}
TORCH = Framework("torch")


def by_backprop(circuit, framework, flat, *values, name="default.qubit"):
    """Derivatives by PennyLane's simulator, differentiated by the framework itself."""
    dev = qml.device(name, wires=3)
    qnode = flat(qml.QNode(circuit, dev, diff_method="backprop"))
    with warnings.catch_warnings():
        # default.qubit casts complex to real on its way back.
        warnings.simplefilter("ignore", ComplexWarning)
        return framework.jacobian(qnode, *values)


def flattening(function):
    return lambda *arguments: flattened(function(*arguments))


@functools.cache
def expected_of(name, framework):
    """The gradient by backprop, computed once."""
    circuit, values = ENTRIES[name]
    if name.startswith("gate"):  # torch is fastest, the others conjugate
        (found,) = by_backprop(circuit, TORCH, flattening, values)
        return found if framework == "torch" else found.conj()
    # How a norm is differentiated differs from framework to framework.
    framework = "jax-jit" if framework == "jax" else framework
    return by_backprop(circuit, Framework(framework), flattening, values)[0]


# PennyLane makes no controlled gate of a matrix that autograd traces.
NOT_IN_AUTOGRAD = {"gate: control", "gate: adjoint of control"}
ROADS = [
    *[(name, "autograd") for name in sorted(ENTRIES.keys() - NOT_IN_AUTOGRAD)],
    *[(name, "torch") for name in ENTRIES],
    *[(name, "jax-jit") for name in ENTRIES],
    ("gate: two wires", "jax"),
]


@pytest.mark.parametrize(("name", "framework"), ROADS)
def test_entries_have_the_gradient_of_default_qubit(
    name, framework, device, flat, agree
):
    circuit, values = ENTRIES[name]
    qnode = flat(qml.QNode(circuit, device))
    (actual,) = Framework(framework).jacobian(qnode, values)
    assert actual.dtype == values.dtype
    agree(actual, expected_of(name, framework))


@pytest.mark.parametrize("name", ["gate: two wires", "state: complex"])
def test_each_framework_has_its_own_convention(name, framework, flat, agree):
    circuit, values = ENTRIES[name]
    actual = framework.jacobian(flat(qml.QNode(circuit, DEVICES["ideal"]())), values)
    agree(actual, by_backprop(circuit, framework, flat, values))


def test_a_loss_of_several_results_pulls_back_to_complex_entries(device, agree):
    circuit, values = ENTRIES["gate: batch"]
    gradients = []
    for dev in (device, qml.device("default.qubit", wires=3)):
        u = torch.tensor(values, requires_grad=True)
        mean, probabilities, variance = qml.QNode(circuit, dev)(u)
        (mean.square().sum() + (probabilities[:, 1] * variance).sum()).backward()
        gradients.append(u.grad.numpy())
    agree(*gradients)


# ------------------------------------------------------------------ observables
MEANS = [
    *[(name, "torch") for name in ("one wire", "two wires", "sum", "product")],
    *[(name, "jax-jit") for name in OBSERVABLES],
]


@pytest.mark.parametrize(("name", "framework"), MEANS)
def test_hermitian_entries_have_the_gradient_of_the_dense_mean(
    name, framework, device, agree
):
    # default.qubit has no gradient of products and multiples of such a matrix.
    make, values = OBSERVABLES[name]
    qnode = qml.QNode(expectation(make), device)
    (actual,) = Framework(framework).jacobian(lambda h: qnode(h)[0], values)
    psi = qml.QNode(lambda: (start(), qml.RX(0.7, 0), qml.state())[-1], EXACT)()

    def mean(h):
        return np.vdot(psi, qml.matrix(make(h), wire_order=range(3)) @ psi).real

    origin, expected = mean(0.0 * values), np.zeros_like(values)
    for i in np.ndindex(values.shape):  # it is affine in every entry
        for unit in (1.0, 1j):
            step = np.zeros_like(values)
            step[i] = unit
            expected[i] += unit * (mean(step) - origin)
    agree(actual, expected if framework == "torch" else expected.conj())


@pytest.mark.parametrize("name", ["one wire", "two wires", "sum"])
def test_hermitian_entries_are_differentiated_in_autograd(name, agree):
    make, values = OBSERVABLES[name]
    qnode = qml.QNode(expectation(make), DEVICES["mixed"](wires=3))
    (actual,) = Framework("autograd").jacobian(lambda h: qnode(h)[0], values)
    exact = qml.QNode(expectation(make), EXACT)
    (expected,) = Framework("autograd").jacobian(lambda h: exact(h)[0], values)
    agree(actual, expected)


# --------------------------------------------------------------------- channels
def kraus(rng, n, count):
    """Matrices whose squares sum to 1."""
    columns = rng.normal(size=(count * 2**n, 2**n, 2)) @ [1, 1j]
    return np.linalg.qr(columns)[0].reshape(count, 2**n, 2**n)


def channel(wires):
    def circuit(matrices):
        start()
        qml.QubitChannel([matrices[i] for i in range(len(matrices))], wires=wires)
        return measured()

    return circuit


@pytest.mark.parametrize(("wires", "noise"), [([1], None), ([2, 0], NOTHING)])
def test_kraus_matrices_have_the_gradient_of_default_mixed(
    wires, noise, rng, flat, agree
):
    # PennyLane makes no channel of matrices that autograd or torch trace.
    values = kraus(rng, len(wires), 3 if len(wires) == 1 else 2)
    dev = qml.device("qstore.mock_noisy", wires=3, noise=noise)
    circuit, framework = channel(wires), Framework("jax-jit")
    actual = framework.jacobian(flat(qml.QNode(circuit, dev)), values)
    agree(actual, by_backprop(circuit, framework, flat, values, name="default.mixed"))


# -------------------------------------------------------- matrices made of angles
# A matrix exponential in each framework; autograd has none.
EXPM = {
    "torch": torch.linalg.matrix_exp,
    "jax-jit": jax.scipy.linalg.expm,
}
ZX, XY = (qml.matrix(op) for op in (qml.Z(0) @ qml.X(1), qml.X(0) @ qml.Y(1)))


def differences(function, x, step=1e-3):
    """The gradient of a function of some angles, with an error of ``step**4``."""
    columns = []
    for i in range(len(x)):
        e = step * np.eye(len(x))[i]
        near, far = (function(x + k * e) - function(x - k * e) for k in (1, 2))
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)


def dense(build):
    """Means of a circuit whose gate is a dense matrix of the angles on [2, 0]."""

    def values(theta):
        def circuit():
            start()
            qml.QubitUnitary(build(theta), [2, 0])
            return measured()

        return flattened(qml.QNode(circuit, EXACT)())

    return values


@pytest.mark.parametrize("framework", ["torch", "jax-jit"])
def test_unitaries_of_angles_have_the_gradient_of_differences(
    framework, device, flat, agree
):
    theta = np.array([0.7, -0.4])

    def generator(t, like):
        words = [like(-1j * word) for word in (ZX, XY)]
        return t[0] * words[0] + t[1] * words[1]

    def circuit(t):
        start()
        like = torch.tensor if framework == "torch" else jnp.asarray
        qml.QubitUnitary(EXPM[framework](generator(t, like)), [2, 0])
        return measured()

    actual = Framework(framework).jacobian(flat(qml.QNode(circuit, device)), theta)
    build = dense(lambda t: scipy.linalg.expm(generator(t, np.asarray)))
    agree(actual, (differences(build, theta),))


def exponential_of_a_sum(t):
    qml.exp(qml.Z(2) @ qml.X(0) + 0.3 * qml.X(2), -1j * t[0])
    qml.exp(qml.X(2) @ qml.Y(0), -0.5j * t[1])


def exponential_of_a_matrix(t):
    qml.exp(qml.Hermitian(MATRIX, [2, 0]), -1j * t[0] * t[1])


def evolution(t):
    qml.evolve(qml.Z(2) @ qml.X(0) + 0.3 * (qml.X(2) @ qml.X(0)), t[0] + t[1])


def special_unitary(t):
    weights = qml.math.stack([t[0], t[1], t[0] * t[1]])
    qml.SpecialUnitary(weights, wires=2)


def special_unitary_on_two(t):
    weights = qml.math.stack([t[i % 2] * (0.3 + 0.1 * i) for i in range(15)])
    qml.SpecialUnitary(weights, wires=[2, 0])


def block(t):
    rows = [[t[0], 0.3 * t[1]], [0.2, t[0] * t[1]]]
    rows = [qml.math.stack([qml.math.convert_like(v, t[0]) for v in r]) for r in rows]
    qml.BlockEncode(qml.math.stack(rows), wires=[2, 0])


def adjoint_of_an_exponential(t):
    qml.adjoint(qml.exp(qml.Z(2) @ qml.X(0) + 0.3 * qml.X(2), -1j * t[0]))
    qml.RX(t[1], 2)


def control_of_an_exponential(t):
    qml.ctrl(qml.exp(qml.X(2) + 0.3 * qml.Z(2), -1j * t[0] * t[1]), 0)


def control_of_an_evolution(t):
    qml.ctrl(qml.evolve(qml.X(2) + qml.Z(2), t[0] * t[1]), 0, control_values=[0])


MATRIX = hermitian(2)
MADE = {
    f.__name__: f
    for f in (
        exponential_of_a_sum,
        exponential_of_a_matrix,
        evolution,
        special_unitary,
        special_unitary_on_two,
        block,
        adjoint_of_an_exponential,
        control_of_an_exponential,
        control_of_an_evolution,
    )
}
IN_TORCH = ("exponential_of_a_matrix", "adjoint_of_an_exponential")
IN_JAX = ("special_unitary", "control_of_an_evolution")
ROADS = [
    *[(name, "autograd") for name in MADE if not name.startswith("control")],
    *[(name, "torch") for name in (*IN_TORCH, "special_unitary_on_two")],
    *[(name, "jax-jit") for name in IN_JAX],
]


# Autograd casts on the way from a complex matrix back to the real angle.
@pytest.mark.filterwarnings("ignore:Casting complex:numpy.exceptions.ComplexWarning")
# PennyLane gives torch an array that cannot be written to.
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
@pytest.mark.parametrize(("name", "framework"), ROADS)
def test_gates_known_by_matrices_have_the_gradient_of_differences(
    name, framework, device, flat, agree
):
    make, theta = MADE[name], np.array([0.4, -0.3])

    def build(t):
        with qml.queuing.AnnotatedQueue() as queue:
            make(t)
        ops = [op for op in queue.queue if isinstance(op, qml.operation.Operation)]
        tape = qml.tape.QuantumScript(ops)
        return qml.matrix(tape, wire_order=[2, 0])

    actual = Framework(framework).jacobian(flat(qml.QNode(gate(make), device)), theta)
    agree(actual, (differences(dense(build), theta),))


# ------------------------------------------------- precision, constants, refusals
SINGLE = {
    "gate: one wire": np.complex64,
    "gate: batch of diagonals": np.complex64,
    "state: complex": np.complex64,
    "state: real": np.float32,
}


@pytest.mark.parametrize("framework", ["autograd", "torch", "jax-jit"])
@pytest.mark.parametrize("name", SINGLE)
def test_single_precision_gets_single_gradients_rounded_once(
    name, framework, device, flat, agree
):
    circuit, values = ENTRIES[name]
    narrow = values.astype(SINGLE[name])
    framework = Framework(framework)
    qnode = qml.QNode(circuit, device)
    # JAX conjugates and casts cotangents itself, so the results are summed first.
    weights = np.arange(1.0, 7.0)

    def loss(v):
        results = flattened(qnode(v))
        return qml.math.sum(results[:6] * qml.math.convert_like(weights, results))

    if framework.name == "torch":
        tensor = torch.tensor(narrow, requires_grad=True)
        loss(tensor).backward()
        gradient = tensor.grad.numpy()
    elif framework.name == "autograd":
        gradient = qml.grad(loss)(pnp.array(narrow, requires_grad=True))
    else:
        gradient = np.asarray(jax.jit(jax.grad(loss))(jnp.asarray(narrow)))
    assert gradient.dtype == SINGLE[name]
    exact = flat(qml.QNode(circuit, EXACT, diff_method="backprop"))
    wide = torch.tensor(narrow.astype(values.dtype), requires_grad=True)
    (exact(wide)[:6] * torch.tensor(weights)).sum().backward()
    expected = wide.grad.numpy()
    if framework.name != "torch":
        expected = expected.conj()
    error = 4 * np.finfo(np.float32).eps * np.abs(expected).max()
    agree(gradient.astype(values.dtype), expected, atol=error)


def constant_unitary(w, c):
    qml.RY(w[0], 0)
    qml.QubitUnitary(c, [0, 1])
    qml.RX(w[1], 0)
    return qml.expval(qml.Z(0))


def constant_hermitian(w, c):
    qml.RY(w[0], 0)
    qml.RX(w[1], 1)
    return qml.expval(qml.Hermitian(c, [0, 1]))


def constant_state(w, c):
    qml.StatePrep(c, [0, 1])
    qml.RY(w[0], 0)
    qml.RX(w[1], 1)
    return qml.expval(qml.Z(0) @ qml.Z(1))


CONSTANTS = {
    constant_unitary: unitary(2),
    constant_hermitian: hermitian(2),
    constant_state: cases.states(RNG, (4,)),
}


@pytest.mark.parametrize("circuit", CONSTANTS)
def test_constants_of_pennylane_numpy_cost_one_execution(circuit, device, agree):
    w = pnp.array([0.4, -0.7])
    constant = pnp.array(CONSTANTS[circuit])

    def gradient(dev):
        qnode = qml.QNode(circuit, dev)
        return qml.grad(lambda w: qnode(w, constant))(w)

    with qml.Tracker(device) as tracker:
        actual = gradient(device)
    assert tracker.totals["simulations"] == tracker.totals["vjps"] == 1
    agree(actual, gradient(EXACT))


@pytest.mark.parametrize("batched", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("trainable", ["matrix", "angle"])
def test_matrices_that_are_not_unitary_have_a_value_and_no_gradient(
    trainable, batched, agree
):
    u = 0.8 * (cases.unitaries(RNG, (2, 2, 2)) if batched else unitary(1))

    def circuit(w, u):
        qml.RY(w, 0)
        qml.QubitUnitary(u, 0)
        return qml.probs(wires=0)

    qnode = qml.QNode(circuit, DEVICES["ideal"](wires=1))
    w = torch.tensor(0.4, dtype=torch.float64, requires_grad=trainable == "angle")
    u = torch.tensor(u, requires_grad=trainable == "matrix")
    results = qnode(w, u)
    agree(results.detach(), qml.QNode(circuit, qml.device("default.qubit"))(w, u))
    with pytest.raises(DeviceError, match="must be unitary"):
        results.sum().backward()
