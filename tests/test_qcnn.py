"""Convolutional models with pooling: every door, every gradient, circuits and shots.

The oracle is the circuit of the model on default.qubit, where PennyLane defers the
measurements inside it. How outcomes are misread is tested against sums over projectors,
in templates/test_pooling.py and conformance/test_misread_outcomes.py.
"""

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import (
    AmplitudeEncoding,
    AngleEncoding,
    NoiseSpec,
    QuantumConvolutionalLayer,
    QuantumGradientComputer,
    QuantumLayer,
    QuantumModel,
    QuantumPoolingLayer,
    QuantumTrainer,
    TrainingConfig,
    compile,
)
from qstore_pl.gradients import ModelExpectations, estimator_of, metric_of
from qstore_pl.readout import ExpectationValues, Probabilities
from qstore_pl.templates import ConvolutionLayers, pool
from tests.compiled.frameworks import assert_same, in_autograd, in_jax, in_torch
from tests.naive import derivatives, fubini_study

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

NOISE = NoiseSpec(p1=0.01, p2=0.03, dephasing=0.02, readout=(0.02, 0.05))
SAMPLES = 2
C, P = QuantumConvolutionalLayer, QuantumPoolingLayer


def couplings(weights, wires):
    qml.CRX(weights[..., 0], wires)
    qml.RY(weights[..., 1], wires[1])


MODELS = {
    "su4": lambda: QuantumModel(
        4,
        1,
        layers=[
            *[AngleEncoding(), C(kernel="su4"), P(), C(kernel="su4"), P()],
            QuantumLayer(n_layers=1),
        ],
    ),
    "ring of amplitudes": lambda: QuantumModel(
        16,
        1,
        layers=[AmplitudeEncoding(), C(wrap=True), P(), C(wrap=True), P()],
        readout="affine",
    ),
    "in threes": lambda: QuantumModel(
        6,
        2,
        layers=[AngleEncoding(), C(kernel_size=3, stride=3), P(3), QuantumLayer()],
        readout="affine",
    ),
    "the user's": lambda: QuantumModel(
        5,
        2,
        layers=[
            *[AngleEncoding(), C(kernel=couplings, kernel_shape=(2,))],
            *[P(gate=qml.RX, gate_shape=()), P()],
        ],
        readout=Probabilities([0]),
    ),
}


def placed(name, device="qstore.mock_ideal", **options):
    """A model away from special values, its encoded samples and cotangents."""
    rng = np.random.default_rng(list(MODELS).index(name))
    model = MODELS[name]()
    model.parameters[:] = rng.uniform(-2, 2, model.parameters.size)
    model.backend = qml.device(device, wires=model.n_qubits, **options)
    features = model.prepare(rng.uniform(0.1, 1.5, (SAMPLES, model.input_dim)))
    return model, features, rng.normal(size=(SAMPLES, model.output_dim))


def by(model, method, features, cotangents, mask=None, **options):
    """Outputs, their gradient, and the number of circuits."""
    expectations = ModelExpectations(model, trainable=mask)
    estimator = estimator_of(expectations, method, **options)
    rows = np.arange(len(features))
    outputs = estimator.forward(model.parameters, features, rows).copy()
    return outputs, estimator.backward(cotangents).copy(), expectations.circuits


def close(seen, expected, atol=1e-10):
    np.testing.assert_allclose(seen, expected, rtol=0, atol=atol)


# --------------------------------------------------------------------- three doors
@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_are_those_of_default_qubit(name):
    model, features, cotangents = placed(name)
    assert model.placed.program is not None
    reference = model.on(qml.device("default.qubit", wires=model.n_qubits)).qnode
    n = model.n_weights
    own = model.parameters[n:]

    def rows(results):
        return qml.math.hstack([qml.math.reshape(p, (SAMPLES, -1)) for p in results])

    values = rows(reference(features, model.weights))
    by_values, by_own = model.readout.pull_back(cotangents, values, own)
    slopes = qml.grad(lambda w: qml.math.sum(by_values * rows(reference(features, w))))(
        pnp.array(model.weights)
    )
    close(rows(model.qnode(features, model.weights)), values)
    outputs, gradient, _ = by(model, "adjoint", features, cotangents)
    close(outputs, model.readout.outputs(values, own))
    close(gradient, np.append(slopes, by_own))


def network(x, kernels, pools, last):
    """A QCNN as a user writes it in a QNode."""
    for wire in range(4):
        qml.RY(x[..., wire], wire)
    wires = range(4)
    for kernel, turns in zip(kernels, pools, strict=True):
        ConvolutionLayers(kernel, wires, kernel="su4")
        wires = pool(turns, wires)
    qml.Rot(last[0], last[1], last[2], wires[0])
    return qml.expval(qml.Z(wires[0])), qml.expval(qml.X(wires[0]))


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "qstore.mock_noisy"])
def test_templates_in_a_compiled_qnode_in_every_framework(device):
    rng = np.random.default_rng(4)
    shapes = (SAMPLES, 4), (2, 1, 15), (2, 1, 3), (3,)
    args = [rng.uniform(-2, 2, shape) for shape in shapes]
    noisy = device == "qstore.mock_noisy"
    own = qml.device(device, wires=4, **({"noise": NOISE} if noisy else {}))
    qnode = qml.QNode(network, own)
    reference = qnode if noisy else qml.QNode(network, qml.device("default.qubit"))
    expected = in_autograd(reference, args, {})
    for framework in (in_autograd, in_torch, in_jax):
        assert_same(framework(compile(qnode), args, {}), expected)


# ----------------------------------------------------------------------- gradients
DEVICES = {
    "ideal": ("qstore.mock_ideal", {}),
    "noisy": ("qstore.mock_noisy", {"noise": NOISE}),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_shifts_in_lanes_give_the_adjoint_gradient(name, device):
    kind, options = DEVICES[device]
    model, features, cotangents = placed(name, kind, **options)
    values, expected, _ = by(model, "adjoint", features, cotangents)
    outputs, gradient, _ = by(model, "parameter_shift", features, cotangents)
    close(outputs, values, 1e-12)
    close(gradient, expected)


def sums_of(name):
    """Uses of weights by gates that an output can be reached from, counted by hand."""
    return {
        # Windows of 4 and of 2 wires, 15 numbers each; one pool for each pair.
        "su4": (3 + 1) * 15 + (2 + 1) * 3 + 3,
        "ring of amplitudes": (4 + 1) * 6 + (2 + 1) * 3,
        # Two windows of 3 wires with 9 numbers; 2 pools of 2 gates with 3; 2 layers.
        "in threes": 2 * 9 + 4 * 3 + 2 * 6,
        # A CRX takes four circuits, so it counts twice. Wire 4 is not joined to wire 0
        # after the last window, whose second gate is therefore not seen.
        "the user's": 4 * (2 + 1) - 1 + 2 + 3,
    }[name]


@pytest.mark.parametrize("name", MODELS)
def test_a_number_takes_two_circuits_on_lanes_and_on_tapes(name):
    """DESIGN: two circuits for each use, four for a controlled rotation."""
    model, features, cotangents = placed(name)
    given = features[:1], cotangents[:1]
    _, expected, circuits = by(model, "parameter_shift", *given)
    assert circuits == 1 + 2 * sums_of(name)
    model.backend = qml.device("default.qubit", wires=model.n_qubits)
    with qml.Tracker(model.placed.device) as tracker:
        _, gradient, on_tapes = by(model, "parameter_shift", *given)
    assert on_tapes == tracker.totals["executions"] == circuits
    close(gradient, expected)


def decided(weights):
    """An outcome decides a gate with a rule of four terms and a template."""
    qml.RY(weights[0], 0)
    qml.RX(weights[1], 1)
    outcome = qml.measure(0)
    qml.cond(outcome, qml.CRX)(weights[2], [1, 2])
    own = qml.math.reshape(weights[3:], (1, 1, 3))
    qml.cond(outcome, qml.StronglyEntanglingLayers)(own, [2])
    return qml.expval(qml.Z(2)), qml.expval(qml.X(1))


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_a_gate_that_an_outcome_decides_has_the_rule_of_the_gate(device):
    weights = np.random.default_rng(8).uniform(-2, 2, 6)
    computer = QuantumGradientComputer(method="parameter_shift")
    qnode = qml.QNode(decided, qml.device(device, wires=3))
    result = computer.compute_gradients(qnode, weights)
    reference = qml.QNode(decided, qml.device("default.qubit", wires=3))
    expected = derivatives(lambda w: np.sum(reference(w)), weights)
    close(result.gradients, expected)
    assert result.n_circuit_executions == 1 + 2 * 2 + 4 + 3 * 2


def test_what_no_output_sees_and_what_is_frozen_takes_no_circuits():
    layers = [AngleEncoding(), C(stride=2), P()]
    readout = ExpectationValues([qml.Z(2)])
    model = QuantumModel(4, 1, layers=layers, readout=readout, n_qubits=4, seed=0)
    features = model.prepare(np.ones((1, 4)))
    mask = np.ones(9, dtype=bool)
    seen = []
    for frozen in ([], [0, 7]):
        mask[frozen] = False
        for name in ("qstore.mock_ideal", "default.qubit"):
            model.backend = qml.device(name, wires=4)
            _, gradient, circuits = by(
                model, "parameter_shift", features, np.ones((1, 1)), mask
            )
            seen.append(circuits)
            assert not gradient[frozen].any()
    # One window of 6 numbers and one gate of 3, then without two of them.
    assert seen == [1 + 2 * 9] * 2 + [1 + 2 * 7] * 2


def test_differences_and_perturbations_are_those_of_tapes():
    model, features, cotangents = placed("the user's")
    given = features[:1], cotangents[:1]
    for method, options in (
        ("finite_diff", {"epsilon": 0.05}),
        ("spsa", {"epsilon": 0.05, "n_directions": 3}),
    ):
        found = []
        for name in ("qstore.mock_ideal", "default.qubit"):
            model.backend = qml.device(name, wires=model.n_qubits)
            if method == "spsa":
                options["rng"] = np.random.default_rng(3)
            found.append(by(model, method, *given, **options))
        close(found[0][1], found[1][1])
        assert found[0][2] == found[1][2]


def test_shots_shift_a_gate_that_depends_on_an_outcome_with_any_device():
    """At this weight the outcomes of both shifted circuits are certain."""
    layers = [AngleEncoding(), P(gate=qml.RX, gate_shape=())]
    model = QuantumModel(2, 1, layers=layers, seed=0)
    model.parameters[:] = np.pi / 2
    sample = np.array([[0.0, np.pi]])  # wire 1 is read as 1
    computer = QuantumGradientComputer(method="parameter_shift", shots=4)
    for name in ("qstore.mock_ideal", "default.qubit"):
        model.backend = qml.device(name, wires=2)
        result = computer.compute_gradients(model, model.parameters, inputs=sample)
        close(result.gradients, [-1.0], 1e-12)
        assert (result.n_circuit_executions, result.n_shots) == (3, 12)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["su4", "in threes"])
def test_the_mean_of_gradients_with_shots_is_the_gradient(name, device):
    kind, options = DEVICES[device]
    model, features, _ = placed(name, kind, seed=7, **options)
    # Of one value, in which the gradient is linear.
    cotangents = np.ones((SAMPLES, model.output_dim))
    values, exact, _ = by(model, "adjoint", features, cotangents)
    expectations = ModelExpectations(model, shots=400)
    estimator = estimator_of(expectations, "parameter_shift")
    n, repeats = model.n_weights, 25
    found, means = [], []
    for _ in range(repeats):
        means.append(estimator.forward(model.parameters, features, np.arange(SAMPLES)))
        found.append(estimator.backward(cotangents)[:n].copy())
    for seen, expected in ((found, exact[:n]), (means, values)):
        error = np.std(seen, axis=0, ddof=1) / np.sqrt(repeats)
        assert (np.abs(np.mean(seen, axis=0) - expected) <= 5 * error + 1e-12).all()
    assert np.abs(exact[:n]).max() > 20 * np.std(found, axis=0).max() / repeats


# ---------------------------------------------------------------- natural gradients
@pytest.mark.parametrize("name", ["ring of amplitudes", "the user's"])
def test_the_metric_is_that_of_the_deferred_circuit(name):
    model, features, _ = placed(name)
    circuit = qml.tape.make_qscript(model.on(qml.device("default.qubit")).circuit)

    def of_sample(x):
        def state(weights):
            (tape,), _ = qml.defer_measurements(circuit(x, weights))
            tape = qml.tape.QuantumScript(tape.operations, [qml.state()])
            return qml.execute([tape], qml.device("default.qubit"))[0]

        return fubini_study(state(model.weights), derivatives(state, model.weights))

    expected = np.mean([of_sample(x) for x in features], axis=0)
    metric = metric_of(ModelExpectations(model))
    seen = metric(model.weights, features, np.arange(SAMPLES))
    close(seen[: model.n_weights, : model.n_weights], expected)


# ------------------------------------------------------------------------- training
@pytest.mark.parametrize("kernel", ["rotation", "su4"])
def test_the_number_of_weights_does_not_depend_on_the_width(kernel):
    found = set()
    for width in (4, 6, 8):
        layers = [AngleEncoding(), C(n_layers=2, kernel=kernel), P()]
        model = QuantumModel(width, 2, layers=layers)
        found.add(model.count_parameters())
        assert model.stack.kept == tuple(range(0, width, 2))
    assert found == {2 * (6 if kernel == "rotation" else 15) + 3}


@pytest.fixture(scope="module")
def digits():
    """Zeros and ones of scikit-learn's digits, 4 x 4 pixels, as rows of 16 numbers."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(n_class=2, return_X_y=True)
    pixels = images.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
    return pixels[:300] + 0.1, labels[:300]


def qcnn(backend=None):
    layers = [AmplitudeEncoding(), C(kernel="su4"), P(), QuantumLayer(n_layers=1)]
    return QuantumModel(16, 2, layers=layers, readout="affine", backend=backend, seed=1)


CONFIG = {
    "epochs": 4,
    "batch_size": 20,
    "learning_rate": 0.1,
    "loss": "cross_entropy",
    "seed": 0,
}


@pytest.mark.parametrize("backend", ["mock_ideal", "mock_noisy"])
def test_it_learns_to_tell_zeros_from_ones(digits, backend):
    X, y = digits
    model = qcnn(backend)
    frozen = model.layers[1].parameters[3].copy()
    model.layers[1].freeze_parameters([3])
    history = QuantumTrainer(TrainingConfig(**CONFIG)).train(model, (X[:200], y[:200]))
    assert np.mean(model.predict(X[200:]) == y[200:]) > 0.9
    assert history["losses"][-1] < 0.7 * history["losses"][0]
    assert model.layers[1].parameters[3] == frozen


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shots": 20},
        {"shots": "adaptive", "shots_budget": 30_000},
        {"optimizer": "natural_gradient"},
        {"gradient_method": "spsa", "shots": 20},
    ],
    ids=["exact", "shots", "adaptive", "natural", "spsa"],
)
def test_a_run_goes_on_bit_for_bit(digits, tmp_path, options):
    X, y = digits[0][:24], digits[1][:24]

    def run(epochs, directory, **resume):
        natural = "optimizer" in options  # its metric is that of pure states
        model = qcnn("mock_ideal" if natural else "mock_noisy")
        config = CONFIG | options | {"epochs": epochs, "batch_size": 8}
        config["checkpoint_directory"] = str(tmp_path / directory)
        QuantumTrainer(TrainingConfig(**config)).train(model, (X, y), **resume)
        return model.parameters.tobytes()

    whole = run(3, "whole")
    halfway = run(1, "parts")
    assert run(3, "parts", resume="auto") == whole != halfway


def test_trajectories_average_to_the_density_matrix():
    noise = NoiseSpec(p1=0.02, p2=0.04, readout=(0.1, 0.2))
    model, features, cotangents = placed("su4", "qstore.mock_noisy", noise=noise)
    values, gradient, _ = by(model, "adjoint", features, cotangents)
    found = []
    for seed in range(20):
        model.backend = qml.device(
            "qstore.mock_noisy",
            wires=4,
            noise=noise,
            method="trajectories",
            trajectories=100,
            seed=seed,
        )
        found.append(by(model, "adjoint", features, cotangents)[:2])
    for seen, expected in zip(
        zip(*found, strict=True), (values, gradient), strict=True
    ):
        error = np.std(seen, axis=0, ddof=1) / np.sqrt(len(found))
        assert (np.abs(np.mean(seen, axis=0) - expected) <= 5 * error + 1e-12).all()
