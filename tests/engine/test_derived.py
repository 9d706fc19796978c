"""Functions of weights and features in the angles of a circuit."""

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import devices
from qstore_pl.devices import NoiseSpec
from qstore_pl.engine.derived import FUNCTIONS, Derived
from qstore_pl.engine.gates import ONE, WEIGHT, Angle
from tests.naive import derivatives

NOISE = NoiseSpec(p1=0.02)
X = np.array([[0.3, 0.6], [0.45, 0.2], [0.9, 0.1]])
W = np.array([0.35, 0.8])
CIRCUITS = {
    "one function": lambda x, w: np.exp(w[0]) * x[0],
    "of features": lambda x, w: np.sin(x[0] * x[1]) + np.cos(x[1]),
    "of both": lambda x, w: np.arctan(w[0] * x[1] + 0.5),
    "within another": lambda x, w: np.sqrt(np.exp(x[0] - w[0]) + w[1] ** 2),
    "a quotient": lambda x, w: x[0] / (1.0 + w[0] ** 2),
    "many factors": lambda x, w: x[0] * x[1] * w[0] * w[1],
    "powers": lambda x, w: w[0] ** 3 + x[0] ** 4 + w[1] ** -2 + x[1] ** 0.5,
    "any power": lambda x, w: x[0] ** 2.5 + w[0] ** -0.3 + (-x[1]) ** 7,
    "a power of both": lambda x, w: x[0] ** w[1] + 2.0 ** x[1],
    "of two numbers": lambda x, w: np.arctan2(x[0], -w[0]) + np.hypot(w[1], x[1]),
    "the same twice": lambda x, w: np.tanh(w[0]) * x[0] + np.tanh(w[0]) * x[1],
    **{
        f"{name} of {n}": lambda x, w, name=name, n=n: getattr(np, name)(
            (w if n == "a weight" else x)[0] + (name == "arccosh")
        )
        for name in FUNCTIONS
        if name != "value"
        for n in ("a weight", "a feature")
    },
}


def angles_of(function, x, w):
    return [function(x, w), 2.0 * function(x, w) - w[1]]


def circuit(first, second):
    qml.RX(first, 0)
    qml.Hadamard(1)
    qml.CRY(second, [0, 1])
    return [qml.expval(qml.Z(0)), qml.expval(qml.X(0) @ qml.Z(1))]


def compiled(function, device):
    x, w = (devices.symbols(name, 0, (2,)) for name in ("features", "weights"))
    inputs = angles_of(function, x, w)
    tape = qml.tape.make_qscript(circuit)(0.1, 0.2)
    return devices.compile(tape, inputs, device, n_weights=2, n_features=2)


@pytest.mark.parametrize("noise", [None, NOISE], ids=["pure", "noisy"])
@pytest.mark.parametrize("function", CIRCUITS.values(), ids=CIRCUITS)
def test_values_and_gradients(function, noise):
    name, options = "qstore.mock_ideal", {}
    if noise is not None:
        name, options = "qstore.mock_noisy", {"noise": noise}
    device = qml.device(name, wires=2, **options)
    program = compiled(function, device)
    qnode = qml.QNode(circuit, device, diff_method=None)

    def outputs(x, w):
        return np.array([qnode(*angles_of(function, row, w)) for row in x])

    np.testing.assert_allclose(program.run(W, X), outputs(X, W), rtol=0, atol=1e-12)
    dy = np.random.default_rng(0).normal(size=(3, 2))

    def total(values):
        x, w = values[:6].reshape(3, 2), values[6:]
        return np.array((dy * program.run(w, x)).sum())

    there = np.concatenate([X.ravel(), W])
    # A twentieth of the usual step: arcsin turns sharply near 1, 1 / x near 0.
    wanted = 20.0 * derivatives(lambda v: total(there + 0.05 * (v - there)), there)
    gw, gx = program.vjp(W, X, dy, inputs=True)
    np.testing.assert_allclose(gw, wanted[6:], rtol=0, atol=1e-9)
    np.testing.assert_allclose(gx.ravel(), wanted[:6], rtol=0, atol=1e-9)
    alone, none = program.vjp(W, X, dy)
    assert none is None
    np.testing.assert_array_equal(alone, gw)
    each, of_each = program.vjp(W, X, dy, inputs=True, reduce="none")
    np.testing.assert_allclose(each.sum(axis=0), gw, rtol=0, atol=1e-12)
    np.testing.assert_allclose(of_each, gx, rtol=0, atol=1e-12)


def test_a_pass_runs_again_and_on_some_rows():
    program = compiled(
        CIRCUITS["within another"], qml.device("qstore.mock_ideal", wires=2)
    )
    one_pass = program.new_pass(2)
    rows, dy = np.array([2, 0]), np.ones((2, 2))
    first = one_pass.forward(W, X, rows).copy()
    np.testing.assert_array_equal(first, program.run(W, X)[rows])
    gw = one_pass.backward(dy)[0]
    one_pass.again()
    np.testing.assert_array_equal(one_pass.backward(dy)[0], gw)


def test_equal_functions_are_computed_once_and_constants_not_at_all():
    device = qml.device("qstore.mock_ideal", wires=2)
    assert len(compiled(CIRCUITS["the same twice"], device).derived) == 1
    assert Derived.of("sqrt", Angle(4.0)) == Angle(2.0)


def test_trajectories_of_functions_are_refused():
    drawn = qml.device(
        "qstore.mock_noisy", wires=2, noise=NOISE, method="trajectories", trajectories=5
    )
    with pytest.raises(qml.exceptions.DeviceError, match='method="density"'):
        compiled(CIRCUITS["one function"], drawn)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_derivative_is_that_of_differences(name):
    function, slope = FUNCTIONS[name]
    x = np.array([0.2, 0.55, 0.9]) + (name == "arccosh")
    h = 1e-6
    wanted = (function(x + h) - function(x - h)) / (2 * h)
    np.testing.assert_allclose(slope(x, function(x)), wanted, rtol=0, atol=1e-8)
    angle = Derived.of(name, Angle(0.0, ((1.0, (WEIGHT, 0), ONE),)))
    assert len(angle.terms) == 1
