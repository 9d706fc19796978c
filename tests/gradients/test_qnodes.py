"""Gradients of QNodes of every form, against default.qubit sample by sample.

The oracle calls the quantum function on default.qubit, or with noise added gate by gate
on default.mixed, once for each sample, and autograd differentiates what comes out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import QuantumGradientComputer
from qstore_pl.devices import NoiseSpec
from qstore_pl.gradients import QNodeExpectations, estimator_of

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

NOISE = NoiseSpec(p1=0.02, p2=0.05, readout=(0.03, 0.01))
TOLERANCE = {"best": 1e-10, "parameter_shift": 1e-10, "finite_diff": 1e-8}
RNG = np.random.default_rng(11)
X = RNG.uniform(-2, 2, (3, 2))
WEIGHTS = RNG.uniform(-2, 2, 5)


def shared(w):
    for _ in range(2):
        qml.RX(w[0], 0)
        qml.RY(w[1], 1)
        qml.CNOT([0, 1])
        qml.RZ(2 * w[0], 1)
        qml.RX(w[2], 1)
    return qml.expval(qml.Z(1))


def functions_of_weights(w):
    qml.RX(w[0] * w[1], 0)
    qml.RY(pnp.sin(w[2]) + w[3] ** 2, 1)
    qml.CNOT([0, 1])
    qml.RX(w[0] + w[1] - w[2], 1)
    qml.RY(2 * w[0] - w[1], 0)
    return qml.expval(qml.Z(0)), qml.expval(qml.Y(1))


def weights_times_inputs(w, inputs):
    qml.RX(w[0] * inputs[..., 0], 0)
    qml.RY(w[1] * inputs[..., 1] + w[2], 1)
    qml.CNOT([0, 1])
    qml.RZ(w[3] * inputs[..., 0] * inputs[..., 1], 1)
    qml.RX(w[4], 0)
    qml.RY(w[3], 1)
    return qml.expval(qml.Z(0) @ qml.Z(1)), qml.expval(qml.X(1))


def inputs_by_position(w, x):
    return weights_times_inputs(w, x)


def inputs_by_keyword_alone(w, *, inputs):
    return weights_times_inputs(w, inputs)


def controlled_rotations(w):
    qml.Hadamard(0)
    qml.RY(0.4, 1)
    qml.CRX(w[0], [0, 1])
    qml.CRY(w[1], [1, 0])
    qml.CRZ(w[2], [0, 1])
    qml.ControlledPhaseShift(w[3], [1, 0])
    qml.CRX(w[4], [1, 0])
    return qml.expval(qml.Z(0)), qml.expval(qml.X(1))


def expvals_and_probs(w, x):
    qml.RX(w[0] * x[..., 0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    qml.RX(w[2], 1)
    return qml.expval(qml.Z(0)), qml.probs(wires=[0, 1]), qml.expval(qml.X(1))


def of_three_axes(w):
    for layer in w:
        for wire, angles in enumerate(layer):
            qml.Rot(*angles, wires=wire)
        qml.CNOT([0, 1])
    return [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))]


def of_one_number(w):
    qml.RX(w, 0)
    qml.RY(2 * w, 0)
    return qml.expval(qml.Z(0))


def inputs_after_weights(w, x):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    qml.RZ(x[..., 0], 1)
    qml.RX(x[..., 1], 0)
    qml.RX(w[2], 1)
    return qml.expval(qml.Z(1)), qml.expval(qml.Z(0))


@dataclass(frozen=True)
class Case:
    """A circuit, its parameters, its inputs, the entries of parameters to freeze."""

    circuit: Callable
    parameters: np.ndarray
    inputs: np.ndarray | None = None
    frozen: tuple = ()


LAYERS = RNG.uniform(-2, 2, (2, 2, 3))
CASES = {
    "shared": Case(shared, WEIGHTS[:3], frozen=(1,)),
    "functions of weights": Case(functions_of_weights, WEIGHTS[:4], frozen=(3,)),
    "weights times inputs": Case(weights_times_inputs, WEIGHTS, X, (0, 2)),
    "inputs by position": Case(inputs_by_position, WEIGHTS, X, (3,)),
    "inputs by keyword alone": Case(inputs_by_keyword_alone, WEIGHTS, X, (1,)),
    "one sample": Case(inputs_by_position, WEIGHTS, X[:1], (4,)),
    "inputs after weights": Case(inputs_after_weights, WEIGHTS[:3], X, (1,)),
    "controlled rotations": Case(controlled_rotations, WEIGHTS, frozen=(0, 3)),
    "expvals and probs": Case(expvals_and_probs, WEIGHTS[:3], X, (1,)),
    "three axes": Case(of_three_axes, LAYERS, frozen=(0, slice(None), 1)),
    "one number": Case(of_one_number, np.array(0.7)),
}


def objective(outputs):
    """Of outputs of shape (n_samples, n_outputs); samples and outputs mix."""
    weights = pnp.cos(1.0 + np.arange(outputs.size)).reshape(outputs.shape)
    return pnp.sum(weights * outputs) + pnp.mean(outputs**2) * pnp.sum(outputs)


def oracle(case, device, noise=None, objective=objective):
    """Value and gradient of the objective."""
    qnode = qml.QNode(case.circuit, device, diff_method="backprop")
    if noise is not None:
        qnode = qml.noise.add_noise(qnode, noise.to_noise_model())

    def outputs(parameters, *sample):
        if case.circuit is inputs_by_keyword_alone:
            result = qnode(parameters, inputs=sample[0])
        else:
            result = qnode(parameters, *sample)
        parts = result if isinstance(result, tuple | list) else [result]
        return pnp.concatenate([pnp.reshape(part, (-1,)) for part in parts])

    def total(parameters):
        if case.inputs is None:
            return objective(pnp.stack([outputs(parameters)]))
        return objective(pnp.stack([outputs(parameters, x) for x in case.inputs]))

    parameters = pnp.array(case.parameters, requires_grad=True)
    return float(total(parameters)), np.asarray(qml.grad(total)(parameters))


def check(case, device, expected, methods=TOLERANCE):
    value, gradient = expected
    masks = [None]
    if case.frozen:
        mask = np.ones(case.parameters.shape, dtype=bool)
        mask[case.frozen if case.parameters.ndim > 1 else list(case.frozen)] = False
        masks.append(mask)
        # The others alone, whose gates are fewer.
        masks.append(~mask)
    qnode = qml.QNode(case.circuit, device)
    for method in methods:
        for mask in masks:
            result = QuantumGradientComputer(method=method).compute_gradients(
                qnode,
                case.parameters,
                inputs=case.inputs,
                loss=objective,
                trainable=mask,
            )
            seen = np.ones(case.parameters.shape, dtype=bool) if mask is None else mask
            np.testing.assert_array_equal(result.trainable, seen)
            np.testing.assert_allclose(
                result.gradients,
                np.where(seen, gradient, 0.0),
                rtol=0,
                atol=TOLERANCE[method],
                err_msg=f"{method}, trainable {mask}",
            )
            assert result.gradients.shape == case.parameters.shape
            assert result.function_value == pytest.approx(value, rel=0, abs=1e-10)


@pytest.mark.parametrize(
    "device", ["qstore.mock_ideal", "default.qubit", "lightning.qubit"]
)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_methods_agree(case, device):
    expected = oracle(case, qml.device("default.qubit"))
    assert np.abs(expected[1]).max() > 1e-2
    check(case, qml.device(device, wires=2), expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_methods_agree_with_noise(case):
    expected = oracle(case, qml.device("default.mixed", wires=2), NOISE)
    noiseless, _ = oracle(case, qml.device("default.qubit"))
    assert abs(expected[0] - noiseless) > 1e-3
    check(case, qml.device("qstore.mock_noisy", wires=2, noise=NOISE), expected)


@pytest.mark.parametrize("device", ["default.qubit", "lightning.qubit"])
@pytest.mark.parametrize("name", ["shared", "weights times inputs", "three axes"])
def test_the_adjoint_gradient_of_other_devices(name, device):
    case = CASES[name]
    expected = oracle(case, qml.device("default.qubit"))
    mask = np.ones(case.parameters.shape, dtype=bool)
    mask.flat[0] = False
    result = QuantumGradientComputer(method="adjoint").compute_gradients(
        qml.QNode(case.circuit, qml.device(device, wires=2)),
        case.parameters,
        inputs=case.inputs,
        loss=objective,
        trainable=mask,
    )
    gradient = np.where(mask, expected[1], 0.0)
    np.testing.assert_allclose(result.gradients, gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "device",
    ["qstore.mock_ideal", "qstore.mock_noisy", "default.qubit", "lightning.qubit"],
)
def test_variances(device):
    """The variance of Z is 1 - <Z>**2, and so it is for the oracle."""

    def circuit(w, measurement):
        qml.RX(w[0], 0)
        qml.RY(w[1], 0)
        qml.CNOT([0, 1])
        return measurement(qml.Z(1)), qml.expval(qml.X(0))

    def of_expectations(outputs):
        variances = 1 - outputs[:, :1] ** 2
        return objective(pnp.concatenate([variances, outputs[:, 1:]], axis=1))

    options = {"wires": 2}
    exact, noise = qml.device("default.qubit"), None
    if device == "qstore.mock_noisy":
        exact, noise = qml.device("default.mixed", wires=2), NOISE
        options["noise"] = NOISE
    mean = Case(lambda w: circuit(w, qml.expval), WEIGHTS[:2])
    expected = oracle(mean, exact, noise, of_expectations)
    case = Case(lambda w: circuit(w, qml.var), WEIGHTS[:2])
    check(case, qml.device(device, **options), expected)


@pytest.mark.parametrize("diff_method", ["best", "parameter-shift", None])
def test_how_the_qnode_itself_is_differentiated_does_not_matter(diff_method):
    case = CASES["inputs by position"]
    expected = oracle(case, qml.device("default.qubit"))
    for name in ("qstore.mock_ideal", "default.qubit"):
        qnode = qml.QNode(
            case.circuit, qml.device(name, wires=2), diff_method=diff_method
        )
        result = QuantumGradientComputer().compute_gradients(
            qnode, case.parameters, inputs=case.inputs, loss=objective
        )
        np.testing.assert_allclose(result.gradients, expected[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_tensors_that_pennylane_takes_for_data_make_no_difference(device, method):
    """Neither as parameters or inputs, nor inside the circuit."""
    scale = pnp.array(2.0, requires_grad=False)

    def circuit(w, inputs):
        qml.RX(scale * w[0] * inputs[..., 0], 0)
        qml.RY(w[1] * scale, 0)
        return qml.expval(qml.Z(0))

    case = Case(circuit, WEIGHTS[:2], X)
    _, gradient = oracle(case, qml.device("default.qubit"))
    result = QuantumGradientComputer(method=method).compute_gradients(
        qml.QNode(circuit, qml.device(device, wires=1)),
        pnp.array(case.parameters, requires_grad=False),
        inputs=pnp.array(X, requires_grad=False),
        loss=objective,
    )
    np.testing.assert_allclose(
        result.gradients, gradient, rtol=0, atol=TOLERANCE[method]
    )


@pytest.mark.parametrize("method", TOLERANCE)
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_a_parameter_that_no_gate_uses_has_gradient_zero(device, method):
    @qml.qnode(qml.device(device, wires=1))
    def circuit(w):
        qml.RX(w[0], 0)
        return qml.expval(qml.Z(0))

    computer = QuantumGradientComputer(method=method)
    at = np.array([0.3, 0.5])
    whole = computer.compute_gradients(circuit, at)
    np.testing.assert_allclose(whole.gradients, [-np.sin(0.3), 0], rtol=0, atol=1e-9)
    alone = computer.compute_gradients(circuit, at, trainable=np.array([False, True]))
    assert not alone.gradients.any()


@pytest.mark.parametrize("wires", [None, 2, ["a", "b"]])
def test_a_backend_runs_the_circuit_of_another_device(wires):
    """Whatever the wires of the QNode's own device are called."""
    first, second = (0, 1) if wires in (None, 2) else wires

    @qml.qnode(qml.device("default.qubit", wires=wires))
    def circuit(w):
        qml.RX(w[0], first)
        qml.CNOT([first, second])
        qml.RY(w[1], second)
        return qml.expval(qml.Z(second))

    expected = oracle(Case(circuit.func, WEIGHTS[:2]), qml.device("default.qubit"))
    computer = QuantumGradientComputer("mock_ideal", method="adjoint")
    result = computer.compute_gradients(circuit, WEIGHTS[:2], loss=objective)
    np.testing.assert_allclose(result.gradients, expected[1], rtol=0, atol=1e-10)
    assert circuit.device.name == "default.qubit"


def test_batches_of_other_sizes_by_one_estimator():
    """Each size is another compiled circuit."""

    @qml.qnode(qml.device("qstore.mock_ideal", wires=1))
    def circuit(w, inputs):
        qml.RX(inputs[..., 0], 0)
        qml.RY(w[0] * inputs[..., 1], 0)
        return qml.expval(qml.Z(0))

    expectations = QNodeExpectations(circuit, 1, lambda w, x: ((w, x), {}))
    shift = estimator_of(expectations, "parameter_shift")
    X, w = np.random.default_rng(0).uniform(-1, 1, (6, 2)), np.array([0.7])
    for rows in (np.arange(6), np.array([4]), np.array([1, 3])):
        shift.forward(w, X, rows)
        found = shift.backward(np.ones((len(rows), 1)))
        x, y = X[rows].T
        expected = np.sum(-np.cos(x) * y * np.sin(w[0] * y))
        np.testing.assert_allclose(found, expected, atol=1e-12)
