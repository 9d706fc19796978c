"""Metrics of models and QNodes: one number for one circuit, whatever the road.

Oracles: PennyLane's ``adjoint_metric_tensor`` sample by sample, and the definition,
from states of gates written out on default.qubit.
"""

import functools
import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError
from scipy.sparse.linalg import LinearOperator

from qstore_pl import QuantumModel
from qstore_pl.devices import NoiseSpec
from qstore_pl.gradients import (
    ModelExpectations,
    NaturalGradientComputer,
    QNodeExpectations,
    metric_of,
)
from qstore_pl.model import ENCODINGS
from qstore_pl.templates import ENTANGLEMENTS
from tests.naive import derivatives, fubini_study
from tests.test_roads import build, encode, entangle

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

SIZE = (3, 2, 2, 3)  # qubits, layers, outputs, samples
NOISE = NoiseSpec(p1=0.02, p2=0.05, over_rotation=0.03)
APPROXIMATIONS = ("full", "block-diag", "diag")


# ------------------------------------------------------- oracles
def plain(encoding, entanglement, sample, measure):
    """The circuit of a model, gate by gate, for one sample."""
    n_qubits, n_layers, *_ = SIZE

    @qml.qnode(qml.device("default.qubit", wires=n_qubits))
    def circuit(weights):
        encode(encoding, sample, n_qubits)
        layers = qml.math.reshape(weights, (n_layers, n_qubits, 3))
        for layer in layers:
            for i, angles in enumerate(layer):
                qml.RX(angles[0], i)
                qml.RY(angles[1], i)
                qml.RZ(angles[2], i)
            entangle(entanglement, n_qubits)
        return measure()

    return circuit


def by_definition(circuits, weights):
    """The average of the metrics of circuits that return their state."""
    metrics = [
        fubini_study(circuit(weights), derivatives(circuit, weights))
        for circuit in circuits
    ]
    return np.mean(metrics, axis=0)


def expected_of(encoding, entanglement, inputs, weights):
    circuits = [plain(encoding, entanglement, sample, qml.state) for sample in inputs]
    return by_definition(circuits, weights)


def case_of(encoding="angle", entanglement="linear", backend=None):
    model, inputs, _ = build(encoding, entanglement, "expval", SIZE, backend)
    return model, inputs, model.prepare(inputs)


def metric_at(expectations, weights, features, rows=None, **options):
    rows = np.arange(len(features)) if rows is None else np.array(rows)
    return metric_of(expectations, **options)(weights, features, rows)


def of_model(model, features, rows=None, **options):
    return metric_at(ModelExpectations(model), model.weights, features, rows, **options)


def close(seen, expected, atol=1e-10):
    np.testing.assert_allclose(seen, expected, rtol=0, atol=atol)


# ------------------------------------------------------- models
ENTANGLED = [word for word in ENTANGLEMENTS if word != "none"]
CASES = list(itertools.product(ENCODINGS, ENTANGLED))


@pytest.mark.parametrize(("encoding", "entanglement"), CASES)
def test_of_a_model_it_is_the_definition_averaged(encoding, entanglement):
    model, inputs, features = case_of(encoding, entanglement)
    seen = of_model(model, features[:2])
    expected = expected_of(encoding, entanglement, inputs[:2], model.weights)
    close(seen, expected)
    assert np.linalg.eigvalsh(seen).min() > -1e-14
    assert np.abs(expected - np.diag(np.diag(expected))).max() > 0.01


@pytest.mark.parametrize("encoding", ["angle", "basis", "zz_feature_map"])
def test_of_a_model_it_is_that_of_pennylane_sample_by_sample(encoding):
    model, inputs, features = case_of(encoding, "circular")

    def measure():
        return qml.expval(qml.Z(0))

    weights = pnp.array(model.weights, requires_grad=True)
    circuits = [plain(encoding, "circular", sample, measure) for sample in inputs]
    theirs = [qml.adjoint_metric_tensor(circuit)(weights) for circuit in circuits]
    close(of_model(model, features), np.mean(theirs, axis=0))
    for row, one in enumerate(theirs):
        close(of_model(model, features, [row]), one)


def test_rows_choose_samples_with_repetition():
    model, _, features = case_of()
    seen = of_model(model, features, [2, 0, 2])
    singles = [of_model(model, features, [row]) for row in (2, 0, 2)]
    close(seen, np.mean(singles, axis=0), 1e-15)


@pytest.mark.parametrize("approximation", APPROXIMATIONS)
def test_frozen_weights_have_rows_of_zeros(approximation):
    model, inputs, features = case_of()
    metric = metric_of(ModelExpectations(model), approximation=approximation)
    run = model.weights, features, np.arange(3)
    whole = metric(*run)
    frozen = [0, 3, 4, 17]
    model.quantum_layer.freeze_parameters(frozen)
    seen = metric(*run)  # it sees the mask change
    kept = model.trainable
    close(seen[~kept], 0.0, 0.0)
    close(seen[:, ~kept], 0.0, 0.0)
    expected = whole
    if approximation == "full":
        expected = expected_of("angle", "linear", inputs, model.weights)
    if approximation != "block-diag":  # its layers depend on what is trained
        close(seen[np.ix_(kept, kept)], expected[np.ix_(kept, kept)])
    model.quantum_layer.unfreeze_parameters(frozen)
    close(metric(*run), whole, 0.0)


@pytest.mark.parametrize("approximation", [*APPROXIMATIONS, "matrix-free"])
def test_with_every_weight_frozen_it_is_zero(approximation):
    model, _, features = case_of()
    model.quantum_layer.freeze_parameters(range(18))
    seen = of_model(model, features, approximation=approximation)
    close(seen @ np.ones(18), 0.0, 0.0)


def test_it_does_not_depend_on_outputs_or_read_out():
    model, inputs, features = case_of()
    other = QuantumModel(3, 1, 2, entanglement="linear", readout="affine")
    other.weights[:] = model.weights
    close(of_model(other, other.prepare(inputs)), of_model(model, features), 0.0)


@pytest.mark.parametrize("frozen", [[], [1, 5, 6]])
def test_the_linear_operator_is_the_matrix(frozen):
    model, _, features = case_of("zz_feature_map", "full")
    model.quantum_layer.freeze_parameters(frozen)
    seen = of_model(model, features, approximation="matrix-free")
    assert isinstance(seen, LinearOperator)
    assert seen.shape == (18, 18)
    close(seen @ np.eye(18), of_model(model, features))
    close(seen.rmatvec(np.ones(18)), seen.matvec(np.ones(18)), 1e-15)


# ------------------------------------------------------- QNodes
def gates(weights, angles, x):
    """Two arguments, weights in several gates, and times features."""
    for i in range(2):
        qml.RY(x[..., i], i)
    qml.RX(weights[0], 0)
    qml.CNOT([0, 1])
    qml.RY(weights[0] * x[..., 1], 1)
    qml.RZ(weights[1] + angles[0, 0], 0)
    qml.RZ(2 * angles[0, 1], 1)
    qml.RX(pnp.sin(weights[1]) * angles[1, 0], 1)
    qml.CNOT([1, 0])
    qml.RY(angles[1, 1] + 0.3, 0)


def shared(weights, angles, x):
    gates(weights, angles, x)
    return qml.expval(qml.Z(0))


WEIGHTS = np.array([0.4, -1.1, 0.8, 0.3, -0.7, 1.9])
SAMPLES = np.random.default_rng(1).uniform(-2, 2, (3, 2))


def call(weights, features):
    return (weights[:2], weights[2:].reshape(2, 2), features), {}


def of_qnode(device, circuit=shared, *, trainable=None, shots=None, qnode=None):
    made = qml.QNode(circuit, device, **(qnode or {}))
    return QNodeExpectations(made, 6, call, shots=shots, trainable=trainable)


def expected_of_shared(samples=SAMPLES, made=gates):
    return expected_of_gates(made, tuple(map(tuple, samples)))


@functools.cache
def expected_of_gates(made, samples):
    device = qml.device("default.qubit", wires=2)

    def state(sample):
        def circuit(weights):
            made(*call(weights, np.array(sample))[0])
            return qml.state()

        return qml.QNode(circuit, device)

    expected = by_definition([state(sample) for sample in samples], WEIGHTS)
    expected.flags.writeable = False
    return expected


ROADS = {
    "mock_ideal": lambda: qml.device("qstore.mock_ideal", wires=2),
    "mock_ideal, no wires": lambda: qml.device("qstore.mock_ideal"),
    "mock_noisy without noise": lambda: qml.device(
        "qstore.mock_noisy", wires=2, noise=NoiseSpec()
    ),
    "default.qubit, a spare wire": lambda: qml.device("default.qubit", wires=3),
    "default.qubit, no wires": lambda: qml.device("default.qubit"),
}
OTHERS = ["default.qubit, a spare wire", "default.qubit, no wires"]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("road", ROADS)
def test_of_several_arguments_it_has_the_blocks_between_them(road, batch):
    seen = metric_at(of_qnode(ROADS[road]()), WEIGHTS, SAMPLES[:batch])
    expected = expected_of_shared(SAMPLES[:batch])
    close(seen, expected)
    assert np.abs(expected[:2, 2:]).max() > 0.01


def words(weights, angles, x):
    gates(weights, angles, x)
    qml.PhaseShift(angles[1, 1], 1)
    qml.IsingZZ(weights[1], [1, 0])
    qml.IsingXY(angles[0, 0], [0, 1])
    qml.CRY(weights[0] * x[..., 0], [0, 1])
    qml.PauliRot(angles[1, 0], "XY", [0, 1])


@pytest.mark.parametrize("road", ROADS)
def test_phases_and_gates_of_two_wires_are_taken_everywhere(road):
    def circuit(weights, angles, x):
        words(weights, angles, x)
        return qml.expval(qml.Z(0))

    seen = metric_at(of_qnode(ROADS[road](), circuit), WEIGHTS, SAMPLES)
    close(seen, expected_of_shared(made=words))


@pytest.mark.parametrize("approximation", ["block-diag", "diag"])
@pytest.mark.parametrize("road", OTHERS)
def test_approximations_are_the_same_on_other_devices(road, approximation):
    option = {"approximation": approximation}
    ours = metric_at(of_qnode(ROADS["mock_ideal"]()), WEIGHTS, SAMPLES, **option)
    theirs = metric_at(of_qnode(ROADS[road]()), WEIGHTS, SAMPLES, **option)
    close(theirs, ours)
    assert np.abs(ours - expected_of_shared()).max() > 0.01


@pytest.mark.parametrize("road", ROADS)
def test_of_a_qnode_rows_of_frozen_weights_are_zero(road):
    trainable = np.array([True, False, True, True, False, False])
    expectations = of_qnode(ROADS[road](), trainable=trainable)
    expected = expected_of_shared() * np.outer(trainable, trainable)
    close(metric_at(expectations, WEIGHTS, SAMPLES), expected)


@pytest.mark.parametrize("road", ["mock_ideal", OTHERS[0]])
def test_a_gate_by_a_sum_of_weights_is_found_with_others_frozen(road):
    # Any weights may cancel in a sum: 1 + 2 - 3 as well as 2 - 2.
    def circuit(weights):
        qml.RX(0.3 + weights[0], 0)
        qml.RY(weights[0] + weights[1] - weights[2], 0)
        qml.RZ(2 * weights[0] - weights[1], 0)
        qml.RX(weights[3], 0)
        return qml.expval(qml.Z(0))

    def metric(trainable):
        expectations = QNodeExpectations(
            qml.QNode(circuit, ROADS[road]()),
            4,
            lambda weights, _: ((weights,), {}),
            trainable=trainable,
        )
        return metric_at(expectations, np.zeros(4), np.empty((1, 0)))

    kept = np.array([True, True, True, False])
    whole = metric(None)
    assert np.abs(whole[:3, :3]).min() > 0.01
    close(metric(kept), whole * np.outer(kept, kept))


def cancelling(weights, angles, x):
    qml.RY(0.4 + weights[0], 0)
    qml.RX(x[..., 0] * weights[1], 0)
    qml.RY(angles[0, 0] - weights[0], 0)
    qml.RZ(x[..., 1] * angles[0, 1] - angles[0, 0], 0)
    qml.RX(angles[1, 1] + angles[0, 0], 0)


@pytest.mark.parametrize("road", ROADS)
def test_slopes_that_cancel_in_a_sum_are_kept_apart(road):
    samples = np.array([[0.5, 0.1], [-1.5, 0.7], [1.0, -0.8]])  # columns add up to 0

    def circuit(weights, angles, x):
        cancelling(weights, angles, x)
        return qml.expval(qml.Z(0))

    seen = metric_at(of_qnode(ROADS[road](), circuit), WEIGHTS, samples)
    expected = expected_of_shared(samples, made=cancelling)
    close(seen, expected)
    assert np.diag(expected)[[0, 1, 2, 3, 5]].min() > 0.01


@pytest.mark.parametrize("road", ROADS)
def test_of_a_circuit_without_weights_it_is_zero(road):
    def fixed(weights, angles, x):
        qml.RY(x[..., 0], 0)
        return qml.expval(qml.Z(0))

    seen = metric_at(of_qnode(ROADS[road](), fixed), WEIGHTS, SAMPLES)
    close(seen, np.zeros((6, 6)), 0.0)


@pytest.mark.parametrize("template", ["amplitudes", "layers"])
def test_of_templates_it_is_the_same_on_every_road(template):
    def circuit(weights, angles, x):
        if template == "amplitudes":
            qml.AmplitudeEmbedding(x, range(1), normalize=True)
        else:
            qml.AngleEmbedding(x, range(2))
        qml.BasicEntanglerLayers(angles, range(2))
        qml.CRX(weights[0], [0, 1])
        qml.Rot(weights[1], weights[0], angles[0, 0], 1)
        return qml.expval(qml.Z(0))

    seen = [
        metric_at(of_qnode(ROADS[road](), circuit), WEIGHTS, SAMPLES) for road in ROADS
    ]
    for one in seen[1:]:
        close(one, seen[0])
    assert np.abs(seen[0]).max() > 0.1


def test_without_a_spare_wire_the_full_metric_is_refused():
    expectations = of_qnode(qml.device("default.qubit", wires=2))
    with pytest.raises(ValueError, match=r"default.qubit has none left. Take more wir"):
        metric_at(expectations, WEIGHTS, SAMPLES)
    option = {"approximation": "block-diag"}
    ours = metric_at(of_qnode(ROADS["mock_ideal"]()), WEIGHTS, SAMPLES, **option)
    close(metric_at(expectations, WEIGHTS, SAMPLES, **option), ours)


def test_a_circuit_of_another_batch_is_refused():
    expectations = of_qnode(ROADS[OTHERS[0]](), lambda w, a, x: shared(w, a, x[:2]))
    with pytest.raises(ValueError, match="was given 3 samples as one batch, but has"):
        metric_at(expectations, WEIGHTS, SAMPLES)


def test_circuits_are_counted():
    expectations = of_qnode(ROADS[OTHERS[0]]())
    metric = metric_of(expectations, approximation="diag")
    device = expectations.device
    with qml.Tracker(device) as tracker:
        metric(WEIGHTS, SAMPLES, np.arange(3))
    assert expectations.circuits == tracker.totals["executions"] > 0


# ------------------------------------------------------- natural gradients
@pytest.mark.parametrize("damping", [0.0, 0.05])
@pytest.mark.parametrize("road", ["mock_ideal", OTHERS[0]])
def test_natural_gradients_are_solutions(road, damping):
    def circuit(parameters, inputs):
        gates(parameters[0, :2], parameters.reshape(-1)[2:].reshape(2, 2), inputs)
        return qml.expval(qml.Z(0)), qml.expval(qml.X(1))

    def loss(predictions):
        return pnp.mean((predictions - 0.3) ** 2)

    qnode = qml.QNode(circuit, ROADS[road]())
    parameters = WEIGHTS.reshape(2, 3)
    kept = np.array([[True, True, False], [True, True, True]])
    result = NaturalGradientComputer(damping=damping).compute_natural_gradient(
        qnode, parameters, loss, inputs=SAMPLES, trainable=kept
    )
    there = qml.QNode(circuit, qml.device("default.qubit"))
    gradient = qml.grad(lambda values: loss(pnp.stack(there(values, SAMPLES), axis=1)))(
        pnp.array(parameters, requires_grad=True)
    )
    chosen = kept.ravel()
    block = expected_of_shared()[np.ix_(chosen, chosen)] + damping * np.eye(5)
    expected = np.zeros(6)
    inverse = np.linalg.pinv(block, rcond=1e-7, hermitian=True)
    expected[chosen] = inverse @ gradient.ravel()[chosen]
    close(result.gradients, expected.reshape(2, 3), 1e-9)
    np.testing.assert_array_equal(result.trainable, kept)
    values = np.stack(there(parameters, SAMPLES), axis=1)
    assert result.function_value == pytest.approx(loss(values), abs=1e-12)


def test_natural_gradients_of_a_model_leave_its_read_out_undamped():
    model = QuantumModel(3, 2, 2, readout="affine", seed=0)
    inputs, targets = np.ones((4, 3)) * 0.3, np.zeros((4, 2))
    run = {"inputs": inputs, "targets": targets}
    computer = NaturalGradientComputer(damping=0.5)
    plain = computer.compute_gradients(model, model.parameters, loss="mse", **run)
    natural = computer.compute_natural_gradient(model, model.parameters, "mse", **run)
    close(natural.gradients[18:], plain.gradients[18:], 1e-15)
    metric = of_model(model, model.prepare(inputs)) + 0.5 * np.eye(18)
    close(natural.gradients[:18], np.linalg.solve(metric, plain.gradients[:18]), 1e-12)


# ------------------------------------------------------- shots
@pytest.mark.parametrize(
    ("name", "approximation"),
    [("default.qubit", "full"), ("qstore.mock_ideal", "block-diag")],
)
def test_with_shots_its_mean_is_the_exact_one(name, approximation):
    # Entries of 20 runs are within 5 standard errors of their mean, estimated from the
    # runs: a false alarm of 1e-4 for each of 21 entries (Student's t, 19 degrees). The
    # product of two measured numbers has a bias of 1/shots, allowed for.
    option = {"approximation": approximation}
    exact = metric_at(of_qnode(ROADS["mock_ideal"]()), WEIGHTS, SAMPLES, **option)
    shots, runs = 500, []
    for seed in range(20):
        device = qml.device(name, wires=3, seed=seed)
        expectations = of_qnode(device, shots=shots)
        runs.append(metric_at(expectations, WEIGHTS, SAMPLES, **option))
    error = np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    assert np.all(np.abs(np.mean(runs, axis=0) - exact) <= 5 * error + 1 / shots)
    assert 0 < error.max() < 0.02


# ------------------------------------------------------- noise
@pytest.mark.parametrize("shots", [None, 50])
@pytest.mark.parametrize(
    "device",
    [
        lambda: qml.device("qstore.mock_ideal", wires=3),
        lambda: qml.device("qstore.mock_noisy", wires=3, noise=NOISE),
        lambda: qml.device("default.qubit", wires=3),
        lambda: qml.device("default.mixed", wires=3),
    ],
)
@pytest.mark.parametrize("approximation", [*APPROXIMATIONS, "matrix-free"])
def test_noiseless_is_that_of_mock_ideal_for_models(device, shots, approximation):
    ideal, _, features = case_of()
    expected = of_model(ideal, features, approximation=approximation)
    model, _, _ = case_of(backend=device())
    seen = metric_at(
        ModelExpectations(model, shots=shots),
        model.weights,
        features,
        metric="noiseless",
        approximation=approximation,
    )
    close(seen @ np.eye(18), expected @ np.eye(18), 0.0)


@pytest.mark.parametrize("shots", [None, 50])
@pytest.mark.parametrize(
    ("device", "options"),
    [
        (lambda: qml.device("qstore.mock_noisy", wires=2, noise=NOISE), {}),
        (lambda: qml.device("default.mixed", wires=2), {}),
        (lambda: qml.device("default.qubit", wires=2), {}),
        (lambda: qml.device("default.qubit"), {"diff_method": "parameter-shift"}),
    ],
)
def test_noiseless_is_that_of_mock_ideal_for_qnodes(device, options, shots):
    expectations = of_qnode(device(), shots=shots, qnode=options)
    seen = metric_at(expectations, WEIGHTS, SAMPLES, metric="noiseless")
    close(seen, expected_of_shared())


@pytest.mark.parametrize("diff_method", ["backprop", "adjoint", "finite-diff"])
def test_noiseless_asks_for_no_gradient_of_its_device(diff_method):
    device = qml.device("default.qubit", wires=2)
    expectations = of_qnode(device, qnode={"diff_method": diff_method})
    seen = metric_at(expectations, WEIGHTS, SAMPLES, metric="noiseless")
    close(seen, expected_of_shared())


def test_of_a_noisy_device_fubini_study_is_refused_with_both_ways_out():
    model, _, features = case_of(
        backend=qml.device("qstore.mock_noisy", wires=3, noise=NOISE)
    )
    both = r'metric="noiseless".*metric="bures"'
    with pytest.raises(DeviceError, match=both):
        of_model(model, features)
    device = qml.device("qstore.mock_noisy", wires=2, noise=NOISE)
    with pytest.raises(DeviceError, match=both):
        metric_at(of_qnode(device), WEIGHTS, SAMPLES)
    with pytest.raises(DeviceError, match=both):
        NaturalGradientComputer().compute_natural_gradient(
            qml.QNode(lambda p: (qml.RX(p[0], 0), qml.expval(qml.Z(0)))[1], device),
            np.ones(1),
        )


def test_mock_noisy_without_noise_is_pure():
    silent = qml.device("qstore.mock_noisy", wires=3, noise=NoiseSpec())
    model, _, features = case_of(backend=silent)
    ideal, _, _ = case_of()
    close(of_model(model, features), of_model(ideal, features), 0.0)


def test_bures_of_faint_noise_is_near_fubini_study_and_of_more_is_less():
    ideal, _, features = case_of()
    pure = of_model(ideal, features)
    traces = []
    for p in (1e-7, 0.01, 0.05):
        spec = NoiseSpec(p1=p)
        backend = qml.device("qstore.mock_noisy", wires=3, noise=spec)
        model, _, _ = case_of(backend=backend)
        seen = of_model(model, features, metric="bures")
        assert np.linalg.eigvalsh(seen).min() > -1e-14
        traces.append(np.trace(seen))
        if p < 1e-6:
            close(seen, pure, 1e-4)
    assert np.trace(pure) > traces[0] > traces[1] > traces[2] > 0


def test_bures_of_a_qnode_is_that_of_its_density_matrix():
    device = qml.device("qstore.mock_noisy", wires=1, noise=NoiseSpec(p1=0.15))

    def circuit(weights):
        qml.RY(np.pi / 2, 0)
        qml.RZ(weights[0], 0)
        return qml.expval(qml.X(0))

    expectations = QNodeExpectations(
        qml.QNode(circuit, device), 1, lambda weights, _: ((weights,), {})
    )
    seen = metric_at(expectations, np.array([0.3]), np.empty((1, 0)), metric="bures")
    length = (1 - 4 / 3 * 0.15) ** 2  # after two gates
    close(seen, [[length**2 / 4]], 1e-13)


# ------------------------------------------------------- refusals
def test_bures_is_refused_where_there_are_no_density_matrices():
    model, _, features = case_of()
    with pytest.raises(DeviceError, match=r'but the device has none. Take metric="fub'):
        of_model(model, features, metric="bures")
    other, _, _ = case_of(backend=qml.device("default.qubit", wires=3))
    with pytest.raises(ValueError, match=r"but default.qubit is another or has shots"):
        of_model(other, features, metric="bures")
    noisy, _, _ = case_of(backend=qml.device("qstore.mock_noisy", wires=3, noise=NOISE))
    with pytest.raises(ValueError, match=r"qstore.mock_noisy is another or has shots"):
        metric_at(
            ModelExpectations(noisy, shots=10), noisy.weights, features, metric="bures"
        )
    with pytest.raises(ValueError, match='"matrix-free" is not available for'):
        of_model(noisy, features, metric="bures", approximation="matrix-free")


def test_matrix_free_is_refused_where_nothing_is_compiled():
    for expectations in (
        of_qnode(ROADS["mock_ideal"]()),
        of_qnode(ROADS[OTHERS[0]]()),
        ModelExpectations(case_of(backend=qml.device("default.qubit", wires=3))[0]),
    ):
        with pytest.raises(ValueError, match='"matrix-free" needs a compiled model'):
            metric_of(expectations, approximation="matrix-free")


def test_unknown_words_are_refused():
    expectations = of_qnode(ROADS["mock_ideal"]())
    with pytest.raises(ValueError, match='"bures", "fubini-study", "noiseless", but'):
        metric_of(expectations, metric="fisher")
    with pytest.raises(ValueError, match="`approximation` must be one of"):
        metric_of(expectations, approximation="block")


def test_weights_that_are_no_angles_are_refused_by_name():
    def circuit(weights, angles, x):
        qml.RX(weights[0], 0)
        return qml.expval(qml.Hamiltonian(weights, [qml.Z(0), qml.X(0)]))

    close(  # an observable is no part of the state
        metric_at(of_qnode(ROADS["mock_ideal"](), circuit), WEIGHTS, SAMPLES[:1])[0, 0],
        0.25,
    )

    def amplitudes(weights, angles, x):
        qml.AmplitudeEmbedding(weights, [0], normalize=True)
        return qml.expval(qml.Z(0))

    with pytest.raises((DeviceError, ValueError), match=r"Mark (it|them) as not train"):
        metric_at(of_qnode(ROADS["mock_ideal"](), amplitudes), WEIGHTS, SAMPLES[:1])
