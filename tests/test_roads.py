"""Every road from a model to its numbers gives those of gates written out in PennyLane.

The oracle shares no code with the package: it applies plain gates of PennyLane to
default.qubit, one sample at a time, and autograd differentiates it. The roads are the
compiled Program, the QNode on our device, and the QNode and the shifted tapes on other
devices.
"""

import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import BackendManager, Loss, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.devices import NoiseSpec
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.gradients import ModelExpectations, estimator_of
from qstore_pl.model import ENCODINGS
from qstore_pl.templates import ENTANGLEMENTS

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

READOUTS = ("affine", "expval")
SIZES = ((1, 1, 1, 1), (2, 3, 1, 4), (3, 2, 3, 3))  # qubits, layers, outputs, samples
# Of read-outs, which come after the circuit, every other circuit has the other one.
CASES = [
    (encoding, entanglement, tuple(READOUTS)[i % 2], size)
    for i, (encoding, entanglement, size) in enumerate(
        itertools.product(ENCODINGS, ENTANGLEMENTS, SIZES)
    )
]


def build(encoding, entanglement, readout, size, backend=None, seed=7):
    """A model away from special values, its samples, and cotangents."""
    n_qubits, n_layers, n_outputs, n_samples = size
    rng = np.random.default_rng(seed)
    n_features = n_qubits
    if encoding == "amplitude":
        n_features = 2**n_qubits - (n_qubits > 1)  # one to pad, where it can be
    model = QuantumModel(
        n_features,
        n_outputs,
        n_layers,
        backend,
        encoding=encoding,
        entanglement=entanglement,
        readout=readout,
    )
    model.parameters[:] = rng.uniform(-3, 3, model.parameters.size)
    if encoding == "basis":
        inputs = rng.integers(0, 2, (n_samples, n_features))
    else:
        inputs = rng.uniform(-2, 2, (n_samples, n_features))
    return model, inputs, rng.normal(size=(n_samples, n_outputs))


def encode(encoding, x, n_qubits):
    if encoding == "angle":
        for i in range(n_qubits):
            qml.RY(x[i], wires=i)
    elif encoding == "amplitude":
        vector = np.zeros(2**n_qubits)
        vector[: len(x)] = x
        qml.StatePrep(vector / np.linalg.norm(vector), wires=range(n_qubits))
    elif encoding == "basis":
        for i in np.flatnonzero(x):
            qml.X(int(i))
    else:
        for _ in range(2):
            for i in range(n_qubits):
                qml.Hadamard(i)
                qml.PhaseShift(2 * x[i], wires=i)
            for i, j in itertools.combinations(range(n_qubits), 2):
                qml.CNOT([i, j])
                qml.PhaseShift(2 * (np.pi - x[i]) * (np.pi - x[j]), wires=j)
                qml.CNOT([i, j])


def entangle(entanglement, n_qubits):
    if entanglement == "none":
        return
    if entanglement == "full":
        pairs = list(itertools.combinations(range(n_qubits), 2))
    else:
        pairs = [(i, i + 1) for i in range(n_qubits - 1)]
    if entanglement == "circular" and n_qubits > 2:
        pairs.append((n_qubits - 1, 0))
    for pair in pairs:
        qml.CNOT(pair)


def oracle(encoding, entanglement, readout, size, inputs, parameters, cotangents):
    """Outputs, and the gradient of the sum of cotangents times outputs."""
    n_qubits, n_layers, n_outputs, _ = size

    @qml.qnode(qml.device("default.qubit"), diff_method="backprop")
    def circuit(x, weights):
        encode(encoding, x, n_qubits)
        index = 0
        for _ in range(n_layers):
            for i in range(n_qubits):
                qml.RX(weights[index], wires=i)
                qml.RY(weights[index + 1], wires=i)
                qml.RZ(weights[index + 2], wires=i)
                index += 3
            entangle(entanglement, n_qubits)
        return [qml.expval(qml.Z(i)) for i in range(n_outputs)]

    def output(x, parameters):
        values = pnp.stack(circuit(x, parameters[: 3 * n_qubits * n_layers]))
        if readout == "expval":
            return values
        scales, biases = (
            parameters[-2 * n_outputs : -n_outputs],
            parameters[-n_outputs:],
        )
        return scales * values + biases

    tensor = pnp.array(parameters, requires_grad=True)
    outputs = np.array([output(x, parameters) for x in inputs])
    gradient = np.zeros(len(parameters))
    for x, dy in zip(inputs, cotangents, strict=True):
        gradient += qml.grad(lambda p, x=x, dy=dy: pnp.dot(dy, output(x, p)))(tensor)
    return outputs, gradient


def gradient_of(model, road, features, cotangents):
    """Gradient by one road, with the chain rule of the read-out."""
    method = {"compiled": "adjoint", "shifted": "parameter_shift"}.get(road, road)
    estimator = estimator_of(ModelExpectations(model), method)
    estimator.forward(model.parameters, features, np.arange(len(features)))
    return estimator.backward(cotangents)


def read_out(model, values):
    return model.readout.outputs(values, model.parameters[model.n_weights :])


def gradient_of_qnode(model, features, cotangents):
    """Gradient by autograd through the model's own QNode, weights only."""

    def total(weights):
        values = model.qnode(features, weights)
        return pnp.sum(cotangents * pnp.stack(values, axis=1))

    return qml.grad(total)(pnp.array(model.weights, requires_grad=True))


@pytest.mark.parametrize(("encoding", "entanglement", "readout", "size"), CASES)
def test_outputs_and_gradients(encoding, entanglement, readout, size):
    case = (encoding, entanglement, readout, size)
    model, inputs, cotangents = build(*case)
    outputs, gradient = oracle(*case, inputs, model.parameters, cotangents)
    other, _, _ = build(*case, backend=qml.device("default.qubit"))
    assert model.placed.program is not None
    assert other.placed.program is None
    features = model.prepare(inputs)

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)

    close(model.forward(inputs), outputs)
    close(other.forward(inputs), outputs)
    on_qnode = np.stack(model.qnode(features, model.weights), axis=1)
    close(read_out(model, on_qnode), outputs)

    close(gradient_of(model, "compiled", features, cotangents), gradient)
    close(gradient_of(other, "shifted", features, cotangents), gradient)
    own = model.parameters[model.n_weights :]
    dy, _ = model.readout.pull_back(cotangents, on_qnode, own)
    close(gradient_of_qnode(model, features, dy), gradient[: model.n_weights])
    close(gradient_of_qnode(other, features, dy), gradient[: model.n_weights])


@pytest.mark.parametrize("n_samples", [1, 700])
def test_a_batch_of_any_size_is_the_samples_one_by_one(n_samples):
    # 700 samples are more than one chunk of work arrays.
    case = ("angle", "circular", "affine", (3, 2, 2, n_samples))
    model, inputs, cotangents = build(*case)
    outputs, gradient = oracle(*case, inputs[-1:], model.parameters, cotangents[-1:])
    np.testing.assert_allclose(model.forward(inputs)[-1:], outputs, rtol=0, atol=1e-10)
    cotangents[:-1] = 0
    features = model.prepare(inputs)
    np.testing.assert_allclose(
        gradient_of(model, "compiled", features, cotangents),
        gradient,
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("wires", [["a", "b", "c"], [2, 0, 1], [9, "x", 0, 5]])
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_wires_may_have_any_labels_and_be_more_than_needed(device, wires):
    case = ("zz_feature_map", "circular", "affine", (3, 2, 2, 3))
    model, inputs, cotangents = build(*case, qml.device(device, wires=wires))
    outputs, gradient = oracle(*case, inputs, model.parameters, cotangents)
    features = model.prepare(inputs)
    on_qnode = np.stack(model.qnode(features, model.weights), axis=1)
    for seen in (model.forward(inputs), read_out(model, on_qnode)):
        np.testing.assert_allclose(seen, outputs, rtol=0, atol=1e-10)
    roads = ["shifted"] + ["compiled"] * (model.placed.program is not None)
    assert len(roads) == (2 if device == "qstore.mock_ideal" else 1)
    for road in roads:
        seen = gradient_of(model, road, features, cotangents)
        np.testing.assert_allclose(seen, gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("device", "optimizer"), [("default.qubit", "adam"), ("lightning.qubit", "sgd")]
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_training_gives_the_same_weights(encoding, device, optimizer):
    def trained(backend):
        case = (encoding, "linear", "affine", (2, 1, 2, 7))
        model, inputs, targets = build(*case, backend)
        config = TrainingConfig(
            epochs=3, batch_size=3, learning_rate=0.1, optimizer=optimizer, seed=0
        )
        # The last RZ of a wire has gradient 0, and Adam divides rounding errors of
        # 1e-16 by its epsilon of 1e-8: these weights are not defined to 1e-9.
        model.quantum_layer.freeze_parameters([2, 5])
        before = model.parameters.copy()
        history = QuantumTrainer(config).train(
            model, (inputs, targets), val_data=(inputs, targets)
        )
        return model.parameters - before, model.parameters, history

    moved, compiled, history = trained("mock_ideal")
    _, shifted, other = trained(qml.device(device, wires=2))
    assert np.abs(moved).max() > 0.1
    np.testing.assert_allclose(shifted, compiled, rtol=0, atol=1e-9)
    for column in ("losses", "val_losses", "gradient_norms"):
        np.testing.assert_allclose(other[column], history[column], rtol=0, atol=1e-9)


# --- with noise -----------------------------------------------------------------

SPEC = NoiseSpec(
    p1=0.01,
    p2=0.04,
    t1=50e-6,
    t2=70e-6,
    gate_time_1=1e-6,
    gate_time_2=5e-6,
    excited=0.1,
    dephasing=0.01,
    over_rotation=0.02,
    readout={0: (0.02, 0.05), 2: (0.1, 0.0)},
)


@qml.BooleanFn
def is_turned_far(op, **_):
    """Of the gates with a weight, which is no batch."""
    return op.name == "RX" and bool(qml.math.unwrap(op.data)[0] > 0.5)


def damp(op, **_):
    qml.AmplitudeDamping(0.1, wires=op.wires)


READS_VALUES = qml.NoiseModel({is_turned_far: damp})


def noisy_oracle(case, noise_model, inputs, parameters, cotangents):
    """As `oracle`, on default.mixed with noise after each of the gates."""
    encoding, entanglement, _, (n_qubits, n_layers, n_outputs, _) = case

    def circuit(x, weights):
        if encoding == "basis":  # a rotation on every wire, which is noisy for 0 too
            for i in range(n_qubits):
                qml.RX(np.pi * x[i], wires=i)
        else:
            encode(encoding, x, n_qubits)
        angles = iter(weights)
        for _ in range(n_layers):
            for i in range(n_qubits):
                for gate in (qml.RX, qml.RY, qml.RZ):
                    gate(next(angles), wires=i)
            entangle(entanglement, n_qubits)
        return [qml.expval(qml.Z(i)) for i in range(n_outputs)]

    mixed = qml.QNode(circuit, qml.device("default.mixed", wires=n_qubits))
    mixed = qml.noise.add_noise(mixed, noise_model)
    tensor = pnp.array(parameters, requires_grad=True)
    outputs = np.array([mixed(x, parameters) for x in inputs])
    gradient = np.zeros(len(parameters))
    for x, dy in zip(inputs, cotangents, strict=True):
        gradient += qml.grad(lambda p, x=x, dy=dy: pnp.dot(dy, pnp.stack(mixed(x, p))))(
            tensor
        )
    return outputs, gradient


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("entanglement", ENTANGLEMENTS)
def test_roads_with_noise(encoding, entanglement):
    """Templates that are lowered whole have the noise of their gates."""
    case = (encoding, entanglement, "expval", (3, 1, 3, 2))
    device = qml.device("qstore.mock_noisy", wires=3, noise=SPEC)
    model, inputs, cotangents = build(*case, backend=device)
    assert isinstance(model.placed.program, MixedProgram)
    outputs, gradient = noisy_oracle(
        case, SPEC.to_noise_model(), inputs, model.parameters, cotangents
    )
    features = model.prepare(inputs)
    on_qnode = np.stack(model.qnode(features, model.weights), axis=1)
    for seen in (model.forward(inputs), on_qnode):
        np.testing.assert_allclose(seen, outputs, rtol=0, atol=1e-10)
    for seen in (
        gradient_of(model, "compiled", features, cotangents),
        gradient_of_qnode(model, features, cotangents),
    ):
        np.testing.assert_allclose(seen, gradient, rtol=0, atol=1e-10)


def test_noise_that_reads_values_takes_the_road_of_the_qnode():
    case = ("angle", "linear", "expval", (2, 2, 2, 3))
    device = qml.device("qstore.mock_noisy", wires=2, noise=READS_VALUES)
    model, inputs, cotangents = build(*case, backend=device)
    assert model.placed.program is None
    outputs, gradient = noisy_oracle(
        case, READS_VALUES, inputs, model.parameters, cotangents
    )
    np.testing.assert_allclose(model.forward(inputs), outputs, rtol=0, atol=1e-10)
    features = model.prepare(inputs)
    for seen in (
        gradient_of_qnode(model, features, cotangents),
        gradient_of(model, "best", features, cotangents),
    ):
        np.testing.assert_allclose(seen, gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "noise", ["default", SPEC, READS_VALUES], ids=["preset", "spec", "model"]
)
def test_a_model_trains_with_noise(noise):
    device = qml.device("qstore.mock_noisy", wires=2, noise=noise)
    case = ("angle", "linear", "affine", (2, 2, 1, 8))
    model, inputs, _ = build(*case, backend=device)
    assert (model.placed.program is None) == isinstance(noise, qml.NoiseModel)
    targets = np.sign(inputs[:, :1])
    config = TrainingConfig(epochs=15, batch_size=4, learning_rate=0.1, seed=0)
    history = QuantumTrainer(config).train(model, (inputs, targets))
    assert history["losses"][-1] < 0.7 * history["losses"][0]


def test_the_name_of_the_backend_is_enough_to_train_with_noise():
    model, inputs, targets = build("angle", "linear", "affine", (2, 1, 1, 4))
    config = TrainingConfig(epochs=2, quantum_sdk="mock_noisy", seed=0)
    QuantumTrainer(config).train(model, (inputs, targets))
    assert model.device.name == "qstore.mock_noisy"
    assert isinstance(model.placed.program, MixedProgram)


# --- finite shots ---------------------------------------------------------------


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_qnode_with_shots_has_the_same_mean(encoding, device):
    shots = 20_000
    case = (encoding, "circular", "expval", (3, 2, 3, 4))
    model, inputs, cotangents = build(*case, qml.device(device, wires=3, seed=1))
    exact, _ = oracle(*case, inputs, model.parameters, cotangents)
    qnode = qml.set_shots(model.qnode, shots=shots)
    means = np.stack(qnode(model.prepare(inputs), model.weights), axis=1)
    standard_errors = np.sqrt((1 - exact**2) / shots)
    assert (means != exact).any()
    assert (np.abs(means - exact) <= 5 * standard_errors + 1e-12).all()


def linear(gradient):
    """A loss that is linear in the predictions, so that its mean is exact."""
    return Loss(
        lambda predictions, targets: float((predictions * targets).sum()),
        lambda predictions, targets: gradient * targets,
        name="linear",
    )


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "default.qubit"])
def test_training_with_shots_has_the_same_mean(device):
    """One step of gradient descent in 40 runs: the loss and every weight on average."""
    case = ("zz_feature_map", "linear", "affine", (2, 1, 2, 3))
    _, inputs, targets = build(*case)
    manager = BackendManager()
    manager.register_backend("noisy", qml.device(device, wires=2, seed=3), replace=True)
    losses, steps = [], []
    for _ in range(40):
        model, _, _ = build(*case)
        before = model.parameters.copy()
        config = TrainingConfig(
            epochs=1,
            optimizer="sgd",
            learning_rate=1.0,
            loss=linear(1.0),
            quantum_sdk="noisy",
            shots=50,
            seed=0,
        )
        history = QuantumTrainer(config, manager).train(model, (inputs, targets))
        losses += history["losses"]
        steps.append(before - model.parameters)
        assert history["shots"] == [50 * circuits for circuits in history["circuits"]]
    outputs, gradient = oracle(*case, inputs, before, targets)
    for seen, exact in (
        (np.array(losses), (outputs * targets).sum()),
        (np.array(steps), gradient),
    ):
        spread = seen.std(axis=0, ddof=1)
        assert np.ravel(spread)[0] > 0.01  # of the loss, and of the first weight
        errors = np.abs(seen.mean(axis=0) - exact)
        assert (errors <= 5 * spread / np.sqrt(40) + 1e-12).all()
