"""QuantumNaturalGradientOptimizer: PennyLane's steps where it can make them, and more.

For costs that PennyLane's optimizer cannot take, the oracle is numpy: the joint metric
of all arguments from states on default.qubit, and the gradient by autograd there.
"""

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import QuantumNaturalGradientOptimizer, compile
from qstore_pl.devices import NoiseSpec
from tests.naive import derivatives, fubini_study

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

DEVICES = {
    "mock_ideal": lambda: qml.device("qstore.mock_ideal", wires=3),
    "default.qubit": lambda: qml.device("default.qubit", wires=3),  # one to spare
}
roads = pytest.mark.parametrize("device", DEVICES.values(), ids=list(DEVICES))

X = np.random.default_rng(1).uniform(-1.5, 1.5, (5, 2))
Y = np.random.default_rng(2).uniform(-1, 1, 5)


def trained(values):
    return pnp.array(values, requires_grad=True)


def fixed(values):
    return pnp.array(values, requires_grad=False)


WEIGHTS = np.random.default_rng(3).uniform(-1.5, 1.5, (2, 2))
ANGLES = np.array([0.7, -0.4])


def gates(weights, angles, x):
    for i in range(2):
        qml.RY(x[..., i], i)
    qml.RX(weights[0, 0] * x[..., 0] + 0.4, 0)
    qml.RY(weights[0, 1], 1)
    qml.CNOT([0, 1])
    qml.RZ(angles[0], 1)
    qml.RX(angles[1], 0)
    qml.CNOT([1, 0])
    qml.RY(weights[1, 0] + angles[0], 0)
    qml.RX(weights[1, 1], 1)


def circuit_on(device):
    @qml.qnode(device)
    def circuit(weights, angles, x):
        gates(weights, angles, x)
        return qml.expval(qml.Z(0))

    return circuit


def joint_metric(weights, angles, samples):
    """The definition, by the weights and then the angles."""

    @qml.qnode(qml.device("default.qubit", wires=2))
    def state(values, sample):
        gates(values[:4].reshape(2, 2), values[4:], sample)
        return qml.state()

    values = np.concatenate([np.ravel(weights), angles])
    metrics = [
        fubini_study(state(values, x), derivatives(lambda v, x=x: state(v, x), values))
        for x in samples
    ]
    return np.mean(metrics, axis=0)


def joint_step(cost, arguments, metric, stepsize, damping, **kwargs):
    """All trainable arguments, flattened, after a step; autograd on default.qubit."""
    flat = [np.ravel(arg) for arg in arguments if getattr(arg, "requires_grad", False)]
    parts = qml.grad(cost)(*arguments, **kwargs)
    parts = parts if isinstance(parts, tuple) else (parts,)
    gradient = np.concatenate([np.ravel(part) for part in parts])
    damped = metric + damping * np.eye(len(metric))
    return np.concatenate(flat) - stepsize * np.linalg.solve(damped, gradient)


def flattened(*arguments):
    return np.concatenate([np.ravel(argument) for argument in arguments])


# ------------------------------------------------------- PennyLane's steps
@roads
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("full", None), ("block-diag", "block-diag"), ("diag", "diag")],
)
@pytest.mark.parametrize("damping", [1e-2, 1.0])
def test_steps_are_those_of_pennylane(device, ours, theirs, damping):
    def circuit(weights):
        qml.RY(0.5, 0)
        qml.RX(weights[0, 0], 0)
        qml.RY(weights[0, 1], 1)
        qml.CNOT([0, 1])
        qml.RZ(weights[1, 0] + weights[0, 0], 1)
        qml.RX(weights[1, 1], 0)
        return qml.expval(qml.Z(0) @ qml.X(1))

    mine = QuantumNaturalGradientOptimizer(0.1, damping=damping, approximation=ours)
    other = qml.QNGOptimizer(0.1, approx=theirs, lam=damping)
    here, there = trained(WEIGHTS), trained(WEIGHTS)
    on_theirs = qml.QNode(circuit, qml.device("default.qubit", wires=3))
    for _ in range(4):
        here, cost = mine.step_and_cost(qml.QNode(circuit, device()), here)
        there, expected = other.step_and_cost(on_theirs, there)
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-10)
        assert cost == pytest.approx(expected, abs=1e-12)
        assert type(here) is type(there)
        assert here.requires_grad
        damped = mine.metric_tensor + damping * np.eye(4)
        np.testing.assert_allclose(damped, other.metric_tensor, rtol=0, atol=1e-10)
    assert np.abs(here - WEIGHTS).max() > 0.05


@roads
def test_undamped_it_is_the_pseudo_inverse(device):
    def circuit(weights):  # of three angles on one wire the metric has rank 2
        qml.RX(weights[0], 0)
        qml.RY(weights[1], 0)
        qml.RX(weights[2], 0)
        return qml.expval(qml.Z(0) + 0.4 * qml.X(0))

    weights = trained([0.4, 0.9, -0.3])
    optimizer = QuantumNaturalGradientOptimizer(0.1, damping=0.0)
    new = optimizer.step(qml.QNode(circuit, device()), weights)
    there = qml.QNode(circuit, qml.device("default.qubit", wires=2))
    metric = qml.metric_tensor(there, approx=None)(weights)
    inverse = np.linalg.pinv(metric, rcond=1e-7, hermitian=True)
    expected = weights - 0.1 * inverse @ qml.grad(there)(weights)
    np.testing.assert_allclose(new, expected, rtol=0, atol=1e-10)
    assert np.linalg.matrix_rank(metric, tol=1e-7) == 2


# ------------------------------------------------------- what PennyLane's cannot
def mse(circuit):
    def cost(weights, angles, x, y):
        return pnp.mean((circuit(weights, angles, x) - y) ** 2)

    return cost


@roads
def test_of_several_arguments_it_is_the_joint_solution_of_a_batch(device):
    circuit = circuit_on(device())
    optimizer = QuantumNaturalGradientOptimizer(0.2, damping=0.01)
    data = fixed(X), fixed(Y)
    here = [trained(WEIGHTS), trained(ANGLES)]
    expected = flattened(*here)
    for _ in range(3):
        arguments = trained(expected[:4].reshape(2, 2)), trained(expected[4:])
        metric = joint_metric(*map(np.array, arguments), X)
        there = mse(circuit_on(DEVICES["default.qubit"]()))
        value = there(*arguments, *data)
        expected = joint_step(there, (*arguments, *data), metric, 0.2, 0.01)
        (*here, x, y), cost = optimizer.step_and_cost(
            mse(circuit), *here, *data, qnode=circuit
        )
        np.testing.assert_allclose(flattened(*here), expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(optimizer.metric_tensor, metric, rtol=0, atol=1e-9)
        assert cost == pytest.approx(value, abs=1e-12)
        assert x is data[0]
        assert y is data[1]
    assert np.abs(metric[:4, 4:]).max() > 0.01


def test_a_step_is_the_first_part_of_a_step_and_its_cost():
    circuit = circuit_on(DEVICES["mock_ideal"]())
    arguments = trained(WEIGHTS), trained(ANGLES), fixed(X), fixed(Y)
    optimizer = QuantumNaturalGradientOptimizer(0.2)
    assert optimizer.metric_tensor is None
    one = optimizer.step(mse(circuit), *arguments, qnode=circuit)
    other, _ = optimizer.step_and_cost(mse(circuit), *arguments, qnode=circuit)
    assert isinstance(one, list)
    for left, right, given in zip(one, other, arguments, strict=True):
        assert left.tobytes() == right.tobytes()
        assert left.shape == given.shape
        assert left.requires_grad == given.requires_grad


@roads
def test_only_arguments_that_are_trained_move(device):
    circuit = circuit_on(device())
    arguments = fixed(WEIGHTS), trained(ANGLES), fixed(X), fixed(Y)
    new = QuantumNaturalGradientOptimizer(0.2, damping=0.01).step(
        mse(circuit), *arguments, qnode=circuit
    )
    assert new[0] is arguments[0]
    metric = joint_metric(WEIGHTS, ANGLES, X)[4:, 4:]
    there = mse(circuit_on(DEVICES["default.qubit"]()))
    expected = joint_step(there, arguments, metric, 0.2, 0.01)
    np.testing.assert_allclose(new[1], expected, rtol=0, atol=1e-9)


@roads
def test_classical_arguments_step_along_their_gradient(device):
    circuit = circuit_on(device())

    def scaled(circuit):
        def cost(bias, weights, scale, angles, x, y):
            outputs = scale * circuit(weights, angles, x) + bias
            return pnp.mean((outputs - y) ** 2)

        return cost

    arguments = trained(0.2), trained(WEIGHTS), trained(1.5), trained(ANGLES)
    data = fixed(X), fixed(Y)
    new = QuantumNaturalGradientOptimizer(0.2, damping=0.01).step(
        scaled(circuit), *arguments, *data, qnode=circuit
    )
    there = scaled(circuit_on(DEVICES["default.qubit"]()))
    bias, weights, scale, angles = qml.grad(there)(*arguments, *data)
    np.testing.assert_allclose(new[0], 0.2 - 0.2 * bias, rtol=0, atol=1e-12)
    np.testing.assert_allclose(new[2], 1.5 - 0.2 * scale, rtol=0, atol=1e-12)
    assert new[0].shape == new[2].shape == ()
    metric = joint_metric(WEIGHTS, ANGLES, X) + 0.01 * np.eye(6)
    moved = np.linalg.solve(metric, flattened(weights, angles))
    expected = flattened(WEIGHTS, ANGLES) - 0.2 * moved
    np.testing.assert_allclose(flattened(new[1], new[3]), expected, rtol=0, atol=1e-9)


@roads
@pytest.mark.parametrize("first", [0.0, 0.3, 1.1])
def test_a_weight_of_the_circuit_that_does_not_move_the_state_is_damped(device, first):
    # The first rotation turns |0> about its own axis: its row of the metric is zero.
    @qml.qnode(device())
    def circuit(weights):
        qml.RZ(weights[0], 0)
        qml.RY(weights[1], 0)
        return qml.expval(qml.Z(0))

    def cost(weights):
        return circuit(weights) + pnp.sum(weights)

    weights = trained([first, 0.8])
    new = QuantumNaturalGradientOptimizer(0.01, damping=0.5).step(
        cost, weights, qnode=circuit
    )
    gradient = np.array([1.0, 1.0 - np.sin(0.8)])
    expected = weights - 0.01 * gradient / (np.array([0.0, 0.25]) + 0.5)
    np.testing.assert_allclose(new, expected, rtol=0, atol=1e-12)


@roads
def test_metrics_of_several_qnodes_are_added(device):
    circuit = circuit_on(device())

    @qml.qnode(device())
    def other(angles, weights):
        qml.RX(angles[0], 0)
        qml.RY(weights[1, 1], 0)
        return qml.expval(qml.Z(0))

    def cost(weights, angles, x):
        return pnp.sum(circuit(weights, angles, x)) + other(angles, weights) ** 2

    arguments = trained(WEIGHTS), trained(ANGLES), fixed(X)
    optimizer = QuantumNaturalGradientOptimizer(0.2, damping=0.01)
    optimizer.step(cost, *arguments, qnode=[circuit, other])
    both = optimizer.metric_tensor
    optimizer.step(cost, *arguments, qnode=(circuit,))
    first = optimizer.metric_tensor
    np.testing.assert_allclose(first, joint_metric(WEIGHTS, ANGLES, X), atol=1e-9)
    optimizer.step(cost, *arguments, qnode=other)
    second = np.zeros((6, 6))
    second[4, 4] = 0.25
    second[3, 3] = np.cos(ANGLES[0]) ** 2 / 4
    np.testing.assert_allclose(optimizer.metric_tensor, second, rtol=0, atol=1e-10)
    np.testing.assert_allclose(both, first + second, rtol=0, atol=1e-10)


@roads
def test_arguments_are_found_by_name_and_defaults_are_kept(device):
    @qml.qnode(device())
    def circuit(angles, weights, x=X[:2], shift=0.0):
        gates(weights, angles, x)
        qml.RY(shift, 1)
        return qml.expval(qml.Z(0))

    def cost(y, weights, *, shift, angles=ANGLES):
        return pnp.mean((circuit(angles, weights, shift=shift) - y) ** 2)

    optimizer = QuantumNaturalGradientOptimizer(0.1)
    y, weights = optimizer.step(
        cost, fixed(Y[:2]), trained(WEIGHTS), shift=0.3, qnode=circuit
    )
    assert np.abs(weights - WEIGHTS).max() > 1e-3
    np.testing.assert_array_equal(y, Y[:2])
    expected = joint_metric(WEIGHTS, ANGLES, X[:2])[:4, :4]
    np.testing.assert_allclose(optimizer.metric_tensor, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("embedding", [qml.AngleEmbedding, qml.AmplitudeEmbedding])
def test_data_by_keyword_may_be_tensors_of_any_kind(embedding):
    # PennyLane's arrays ask for gradients unless told otherwise.
    @qml.qnode(DEVICES["mock_ideal"]())
    def circuit(angles, x):
        if embedding is qml.AmplitudeEmbedding:
            embedding(x, [0], normalize=True)
        else:
            embedding(x, [0, 1])
        qml.RX(angles[0], 0)
        qml.RY(angles[1], 0)
        return qml.expval(qml.Z(0))

    def cost(angles, x):
        return pnp.mean(circuit(angles, x))

    seen = []
    for kind in (np.array, fixed, trained):
        optimizer = QuantumNaturalGradientOptimizer(0.1)
        new = optimizer.step(cost, trained(ANGLES), x=kind(X), qnode=circuit)
        seen.append(np.array(new))
        assert isinstance(new, pnp.tensor)
    for one in seen[1:]:
        np.testing.assert_allclose(one, seen[0], rtol=0, atol=1e-14)


def test_a_qnode_of_its_own_takes_keywords():
    @qml.qnode(DEVICES["mock_ideal"]())
    def circuit(angles, *, scale):
        qml.RX(scale * angles[0], 0)
        qml.RY(angles[1], 0)
        return qml.expval(qml.Z(0))

    optimizer = QuantumNaturalGradientOptimizer(0.1)
    new = optimizer.step(circuit, trained(ANGLES), scale=2.0)
    assert new.shape == (2,)
    assert optimizer.metric_tensor[0, 0] == pytest.approx(1.0, abs=1e-13)  # 2**2 / 4


def test_stepsize_may_change_between_steps():
    circuit = circuit_on(DEVICES["mock_ideal"]())
    arguments = trained(WEIGHTS), fixed(ANGLES), fixed(X[0])
    optimizer = QuantumNaturalGradientOptimizer(0.1)
    short = optimizer.step(circuit, *arguments)[0] - WEIGHTS
    optimizer.stepsize = 0.2
    long = optimizer.step(circuit, *arguments)[0] - WEIGHTS
    np.testing.assert_allclose(long, 2 * short, rtol=1e-12)


@pytest.mark.parametrize("metric", ["noiseless", "bures"])
def test_on_a_noisy_device_the_metric_is_named(metric):
    noisy = qml.device("qstore.mock_noisy", wires=2, noise=NoiseSpec(p1=0.02))
    circuit = circuit_on(noisy)
    arguments = trained(WEIGHTS), trained(ANGLES), fixed(X), fixed(Y)
    with pytest.raises(DeviceError, match=r'metric="noiseless".*metric="bures"'):
        QuantumNaturalGradientOptimizer().step(mse(circuit), *arguments, qnode=circuit)
    optimizer = QuantumNaturalGradientOptimizer(metric=metric)
    optimizer.step(mse(circuit), *arguments, qnode=circuit)
    difference = joint_metric(WEIGHTS, ANGLES, X) - optimizer.metric_tensor
    if metric == "noiseless":
        np.testing.assert_allclose(difference, 0.0, atol=1e-9)
    else:
        assert np.trace(difference) > 0.01


def test_it_minimises_a_batch():
    circuit = circuit_on(DEVICES["mock_ideal"]())
    arguments = [trained(WEIGHTS), trained(ANGLES), fixed(X), fixed(Y)]
    optimizer = QuantumNaturalGradientOptimizer(0.05, damping=0.05)
    costs = []
    for _ in range(40):
        arguments, cost = optimizer.step_and_cost(
            mse(circuit), *arguments, qnode=circuit
        )
        costs.append(cost)
    assert costs[-1] < 0.6 * costs[0]


# ------------------------------------------------------- refusals
CIRCUIT = circuit_on(DEVICES["mock_ideal"]())
ARGUMENTS = trained(WEIGHTS), trained(ANGLES), fixed(X), fixed(Y)


def refused(error, message, cost, *arguments, **options):
    optimizer = QuantumNaturalGradientOptimizer()
    with pytest.raises(error, match=message):
        optimizer.step(cost, *arguments, **options)
    assert optimizer.metric_tensor is None


def test_a_cost_that_is_no_qnode_needs_one():
    refused(ValueError, "`qnode` must be given for a cost", mse(CIRCUIT), *ARGUMENTS)


@pytest.mark.parametrize("qnode", [3, [CIRCUIT, None], "circuit", gates])
def test_a_qnode_must_be_one(qnode):
    refused(
        TypeError, "`qnode` must be a QNode or a list of them", mse(CIRCUIT),
        *ARGUMENTS, qnode=qnode,
    )  # fmt: skip


def test_an_empty_list_of_qnodes_is_refused():
    refused(ValueError, "`qnode` must", mse(CIRCUIT), *ARGUMENTS, qnode=[])


@pytest.mark.parametrize("make", [fixed, np.array, list])
def test_an_argument_must_be_trainable(make):
    refused(
        ValueError, "No argument of the cost is trainable", CIRCUIT, make(WEIGHTS),
        make(ANGLES), X[0],
    )  # fmt: skip


def test_arguments_of_the_qnode_must_be_those_of_the_cost():
    def cost(parameters, angles, x, y):
        return pnp.mean((CIRCUIT(parameters, angles, x) - y) ** 2)

    refused(
        ValueError, "`weights` of the QNode must be one of the cost's, parameters, an",
        cost, *ARGUMENTS, qnode=CIRCUIT,
    )  # fmt: skip


def test_a_cost_of_several_numbers_is_refused():
    refused(ValueError, "cost must be a.* scalar", CIRCUIT, *ARGUMENTS[:3])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_cost_that_is_not_finite_is_refused(bad):
    def cost(weights, angles, x, y):
        return bad * pnp.mean(CIRCUIT(weights, angles, x))

    refused(ValueError, "cost must be finite, but is", cost, *ARGUMENTS, qnode=CIRCUIT)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stepsize": 0.0}, ValueError, "`stepsize` must be > 0"),
        ({"stepsize": "1"}, TypeError, "`stepsize` must be a real number"),
        ({"damping": -1.0}, ValueError, "`damping` must be >= 0"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        QuantumNaturalGradientOptimizer(**options)


def test_words_that_are_not_known_are_refused():
    for options in ({"metric": "fisher"}, {"approximation": "block"}):
        optimizer = QuantumNaturalGradientOptimizer(**options)
        with pytest.raises(ValueError, match="must be one of"):
            optimizer.step(CIRCUIT, *ARGUMENTS[:2], X[0])


def test_a_compiled_circuit_is_one_too():
    @qml.qnode(qml.device("qstore.mock_ideal", wires=2))
    def circuit(weights):
        qml.RY(weights[0], 0)
        qml.CRX(weights[1], [0, 1])
        return qml.expval(qml.Z(1))

    fast, weights = compile(circuit), pnp.array([0.3, 0.8], requires_grad=True)
    opt = QuantumNaturalGradientOptimizer(0.1)
    wanted = opt.step(circuit, weights)
    np.testing.assert_allclose(opt.step(fast, weights), wanted, rtol=0, atol=1e-12)
    found = opt.step(lambda weights: 2 * fast(weights), weights, qnode=fast)
    np.testing.assert_allclose(found, 2 * wanted - weights, rtol=0, atol=1e-12)
