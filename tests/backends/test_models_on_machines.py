"""Models on machines of other packages: values and gradients are those on ours."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import BackendManager, QuantumModel, QuantumPoolingLayer
from qstore_pl.gradients import ModelExpectations
from qstore_pl.gradients.adaptive import AdaptiveShift
from qstore_pl.gradients.methods import estimator_of
from qstore_pl.layers import (
    AmplitudeEncoding,
    AngleEncoding,
    BasisEncoding,
    Block,
    Layer,
    QuantumLayer,
    Weights,
    ZZEncoding,
)
from tests.cases import (
    GATES,
    LAYERS,
    READOUTS,
    TEMPLATES,
    Couplings,
    Trained,
    angles,
    random_model,
    random_samples,
)

pytestmark = pytest.mark.timeout(60)

MACHINES = "cirq", "cirq_mixed", "qiskit"
FAST = "cirq", "qiskit"
SHOTS = 4000


@functools.cache
def backend(name, **options):
    return BackendManager().get_backend(name, **options)


def close(seen, wanted, atol=1e-10):
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=atol)


def estimator(model, name, method="parameter_shift", shots=None, **options):
    model.backend = backend(name, seed=3) if name in MACHINES else backend(name)
    if options.pop("drawn", None):
        options["rng"] = np.random.default_rng(5)
    return estimator_of(ModelExpectations(model, shots=shots), method, **options)


def both(model, features, cotangents, name, method="parameter_shift", **options):
    """Outputs, and the gradient of all parameters."""
    found = estimator(model, name, method, **options)
    outputs = found.forward(model.parameters, features, np.arange(len(features)))
    return outputs, found.backward(cotangents)


def check(model, features, names=FAST):
    """Outputs and gradients by shifts equal those on mock_ideal."""
    rng = np.random.default_rng(8)
    cotangents = rng.normal(size=(len(features), model.output_dim))
    outputs, gradient = both(model, features, cotangents, "mock_ideal")
    for name in names:
        seen, slopes = both(model, features, cotangents, name)
        close(seen, outputs)
        close(slopes, gradient, 1e-8)
        values = model.placed.values(features, model.weights)
        close(values, model.on(backend("mock_ideal")).values(features, model.weights))


@pytest.mark.parametrize("seed", range(21))
def test_random_stacks(seed):
    rng = np.random.default_rng([16, seed])
    readout = list(READOUTS)[seed % len(READOUTS)]
    model = random_model(rng, readout)
    features = model.prepare(random_samples(rng, model, 2))
    check(model, features, MACHINES if seed < len(READOUTS) else FAST)


# --- every row ---------------------------------------------------------------------

RNG = np.random.default_rng(0)
# encoding, samples
ENCODED = {
    "amplitude": (AmplitudeEncoding(), RNG.normal(size=(3, 4))),
    "amplitude, padded": (AmplitudeEncoding(), [[0.5, -1.0, 2.0], [-1.0, 0.0, 0.0]]),
    "amplitude, one entry": (AmplitudeEncoding(), np.diag([1.0, -2.0, 3.0, -4.0])),
    "basis": (BasisEncoding(), [[0, 1], [1, 1], [1, 0]]),
    "zz": (ZZEncoding(), RNG.uniform(-2, 2, (3, 2))),
    "trained": (Trained(), RNG.uniform(-2, 2, (3, 3))),
    "angle": (AngleEncoding("YZX", 0.7), RNG.uniform(-2, 2, (3, 4))),
}


@pytest.mark.parametrize("name", ENCODED)
def test_every_encoding(name):
    encoding, samples = ENCODED[name]
    samples = np.asarray(samples)
    model = QuantumModel(
        samples.shape[1], 2, layers=[encoding, QuantumLayer(n_layers=1)], seed=0
    )
    check(model, model.prepare(samples), MACHINES)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer(name):
    layer = LAYERS[name](np.random.default_rng(0))
    layers = [AngleEncoding(), QuantumLayer(n_layers=1), layer]
    model = QuantumModel(3, 1, layers=layers, seed=0)
    check(model, model.prepare(np.random.default_rng(1).uniform(-1, 1, (2, 3))))


def test_convolution_and_pooling_with_features_again():
    layers = [
        AngleEncoding(),
        LAYERS["convolution"](RNG),
        AngleEncoding("X"),
        QuantumPoolingLayer(),
        Couplings(),
    ]
    model = QuantumModel(4, 1, layers=layers, seed=0)
    check(model, model.prepare(np.random.default_rng(1).uniform(-1, 1, (2, 4))))


class Constants(Layer):
    """Matrices that are constants among trained gates."""

    def blocks(self, wires):
        matrix = qml.matrix(qml.exp(qml.X(0) @ qml.Y(1), 0.4j))
        pair = wires[:2]
        return [
            Block(qml.QubitUnitary, pair, [matrix]),
            Block(qml.CRot, pair, [Weights(0), 0.3, Weights(1)]),
            Block(qml.DiagonalQubitUnitary, pair, [np.exp(1j * np.arange(4.0))]),
            Block(qml.IsingXY, pair, [Weights(2)]),
            Block(qml.SingleExcitation, pair[::-1], [Weights(1)]),
        ]


def test_constant_matrices_and_shared_weights():
    model = QuantumModel(2, 2, layers=[AngleEncoding(), Constants()], seed=0)
    check(model, model.prepare(np.random.default_rng(1).uniform(-1, 1, (2, 2))))


MATRIX = np.array([[1.0, 0.5j], [-0.5j, 0.3]])


def user_circuit(inputs, weights, scale, probabilities):
    qml.StatePrep(np.array([0.5, 0.5j, -0.5, 0.5]), wires=[1, 2])
    qml.AngleEmbedding(inputs, wires=[0, 1], rotation="X")
    qml.QFT(wires=[0, 1, 2])
    qml.StronglyEntanglingLayers(weights, wires=[0, 1, 2])
    qml.ctrl(qml.RY(scale * inputs[..., 0], 2), [0], control_values=[0])
    qml.adjoint(qml.PauliRot(weights[0, 1, 2], "XZY", wires=[2, 0, 1]))
    if probabilities:
        return qml.probs([2, 0])
    sum_of_words = qml.Hamiltonian([0.4, -1.1], [qml.Y(1) @ qml.X(0), qml.Z(1)])
    observables = [
        qml.Hermitian(MATRIX, 1),
        sum_of_words,
        qml.Projector([1, 0], [2, 0]),
    ]
    return [qml.expval(one) for one in observables]


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_model_of_a_qnode(probabilities):
    def circuit(inputs, weights, scale):
        return user_circuit(inputs, weights, scale, probabilities)

    qnode = qml.QNode(circuit, qml.device("default.qubit", wires=3))
    shapes = {"weights": (1, 3, 3), "scale": ()}
    model = QuantumModel.from_qnode(qnode, weight_shapes=shapes, input_dim=2, seed=0)
    check(model, model.prepare(np.random.default_rng(1).uniform(-1, 1, (2, 2))))


def measuring(inputs, weights):
    """The measured wire is used again, so that its outcome needs another one."""
    qml.RX(inputs[..., 0], 0)
    qml.RY(weights[0], 1)
    outcome = qml.measure(0, reset=True)
    qml.cond(outcome, qml.RY)(weights[1], 1)
    qml.RX(weights[2], 0)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(1)), qml.expval(qml.Y(0))


def test_a_measurement_whose_wire_goes_on():
    qnode = qml.QNode(measuring, qml.device("default.qubit", wires=2))
    model = QuantumModel.from_qnode(qnode, weight_shapes={"weights": 3}, input_dim=1)
    model.parameters[:] = 0.4, 1.1, -0.8
    check(model, model.prepare([[0.7], [-1.2]]), MACHINES)


# Exponentials are not compiled, and two excitations have no decomposition.
NOT_TRAINED = {"Exp", "Evolution", "SpecialUnitary-1", "SpecialUnitary-2"}
NOT_TRAINED |= {"DoubleExcitationMinus", "DoubleExcitationPlus"}
TURNED = [
    name
    for name, row in (GATES | TEMPLATES).items()
    if row.shapes and row.draw is angles and name not in NOT_TRAINED
]


@pytest.mark.parametrize("name", TURNED)
def test_every_gate_with_trained_angles(name):
    """Angles are products of weights and features, where they are numbers."""
    row = (GATES | TEMPLATES)[name]
    n, sizes = max(1, row.n_wires), [math.prod(shape) for shape in row.shapes]

    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(n), rotation="Y")
        for wire in range(n):
            qml.RZ(0.3 + wire, wire)
        given = []
        for shape, end in zip(row.shapes, itertools.accumulate(sizes), strict=True):
            if shape:
                own = weights[end - math.prod(shape) : end]
                given.append(qml.math.reshape(own, shape))
            else:
                given.append(weights[end - 1] * inputs[..., end % n] + 0.2)
        row.build(given, list(range(row.n_wires)), np.random.default_rng(3))
        for wire in range(n):
            qml.RX(0.7 + 0.2 * wire, wire)
        return [qml.expval(qml.Z(wire)) for wire in range(n)]

    qnode = qml.QNode(circuit, qml.device("default.qubit", wires=n))
    shapes = {"weights": (sum(sizes),)}
    model = QuantumModel.from_qnode(qnode, weight_shapes=shapes, input_dim=n)
    rng = np.random.default_rng(1)
    model.parameters[:] = rng.uniform(-2, 2, model.parameters.size)
    check(model, model.prepare(rng.uniform(-1, 1, (2, n))))


# --- gradient methods --------------------------------------------------------------

METHODS = {
    "parameter_shift": {},
    "finite_diff": {"epsilon": 1e-3},
    "spsa": {"epsilon": 0.05, "n_directions": 2, "drawn": True},
    "random_subset": {"sample_size": 3, "drawn": True},
}


def small(frozen=()):
    model = QuantumModel(2, 1, n_layers=2, seed=0, encoding="angle")
    model.quantum_layer.freeze_parameters(list(frozen))
    features = model.prepare(np.random.default_rng(2).uniform(-1, 1, (3, 2)))
    return model, features, np.random.default_rng(3).normal(size=(3, 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frozen", [(), (0, 3, 7)])
def test_every_gradient_method(method, frozen):
    model, features, cotangents = small(frozen)
    outputs, gradient = both(
        model, features, cotangents, "mock_ideal", method, **METHODS[method]
    )
    assert np.abs(gradient).max() > 0.1
    for name in MACHINES:
        seen, slopes = both(
            model, features, cotangents, name, method, **METHODS[method]
        )
        close(seen, outputs)
        close(slopes, gradient, 1e-8)
        assert not slopes[list(frozen)].any()


@pytest.mark.parametrize("name", FAST)
def test_the_gradient_with_shots_has_the_same_mean(name):
    model, features, cotangents = small((0, 3))
    _, exact = both(model, features, cotangents, "mock_ideal")
    found = estimator(model, name, shots=200)
    runs = []
    for _ in range(20):
        found.forward(model.parameters, features, np.arange(3))
        runs.append(found.backward(cotangents).copy())
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    assert np.all(abs(np.mean(runs, axis=0) - exact) <= 5 * error + 1e-12)
    assert np.all(error[model.trainable] > 0)


@pytest.mark.parametrize("name", FAST)
def test_adaptive_shots(name):
    """Circuits of one submission have different numbers of shots."""
    model, features, cotangents = small()
    _, exact = both(model, features, cotangents, "mock_ideal")
    model.backend = backend(name, seed=4)
    found = AdaptiveShift(ModelExpectations(model), budget=40_000)
    device, runs = model.device, []
    for _ in range(12):
        jobs = device.spent.jobs
        found.forward(model.parameters, features, np.arange(3))
        runs.append(found.backward(cotangents).copy())
        assert device.spent.jobs == jobs + 1
    assert device.spent.shots <= 12 * 40_000
    error = np.std(runs[2:], axis=0, ddof=1) / np.sqrt(10)
    assert np.all(abs(np.mean(runs[2:], axis=0) - exact) <= 5 * error + 1e-12)
