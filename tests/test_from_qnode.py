"""`QuantumModel.from_qnode`: a user's own circuit in the trainer, like every model."""

import copy
import pickle
from functools import partial

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError

from qstore_pl import (
    Callback,
    CheckpointError,
    QuantumGradientComputer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    UnseenWarning,
    compile,
)
from qstore_pl.gradients import audit_gradients
from qstore_pl.interfaces.jax import model_function
from qstore_pl.interfaces.torch import QuantumModule

RNG = np.random.default_rng(5)
N = 4
IDEAL = qml.device("qstore.mock_ideal", wires=N)

# --- the circuits -----------------------------------------------------------------

GATES = RNG.integers(3, size=(5, 7))
ROTATIONS = (qml.RX, qml.RY, qml.RZ)


@qml.qnode(qml.device("qstore.mock_ideal", wires=7))
def natural_gradient_circuit(inputs, angles):
    """Stokes et al., arXiv:1909.02108; the first rotations are the data."""
    for wire in range(7):
        qml.RY(inputs[..., wire], wire)
    for layer in range(5):
        for wire in range(7):
            ROTATIONS[GATES[layer, wire]](angles[layer, wire], wire)
        for wire in range(6):
            qml.CZ([wire, wire + 1])
    return qml.expval(qml.Z(0) @ qml.Z(1))


@qml.qnode(IDEAL)
def iqp_classifier(inputs, weights, bias):
    """Havlicek et al., arXiv:1804.11326, and a variational circuit behind it."""
    qml.IQPEmbedding(np.pi * inputs, wires=range(N), n_repeats=2)
    qml.StronglyEntanglingLayers(weights, wires=range(N))
    qml.RY(qml.math.arctan(bias), wires=0)
    return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))


@qml.qnode(qml.device("qstore.mock_ideal", wires=["a", "b"]))
def reuploading_classifier(weights, inputs, shifts):
    """Perez-Salinas et al., arXiv:1907.02085: angles are w x + b."""
    for layer in range(3):
        for i, wire in enumerate(["a", "b"]):
            angles = [
                weights[layer, i, k] * inputs[..., k % 2] + shifts[layer, i, k]
                for k in range(3)
            ]
            qml.Rot(*angles, wires=wire)
        qml.CZ(["a", "b"])
    return qml.probs(wires=["b", "a"])


CIRCUITS = {
    "natural gradient": (natural_gradient_circuit, {"angles": (5, 7)}, 7, 1),
    "iqp": (iqp_classifier, {"weights": (2, N, 3), "bias": 1}, N, 2),
    "re-uploading": (
        reuploading_classifier,
        {"weights": (3, 2, 3), "shifts": (3, 2, 3)},
        2,
        4,
    ),
}
circuits = pytest.mark.parametrize("name", CIRCUITS)


def made(name, **options):
    qnode, shapes, input_dim, _ = CIRCUITS[name]
    options = {"seed": 1} | options
    return QuantumModel.from_qnode(qnode, shapes, input_dim=input_dim, **options)


def data(name, n_samples=12):
    _, _, input_dim, n_outputs = CIRCUITS[name]
    rng = np.random.default_rng(7)
    X = rng.uniform(-1, 1, (n_samples, input_dim))
    return X, rng.uniform(-1, 1, (n_samples, n_outputs))


def split(name, parameters):
    """Flat weights as the named arguments of the QNode."""
    _, shapes, _, _ = CIRCUITS[name]
    found, start = {}, 0
    for key, shape in shapes.items():
        shape = () if shape == 1 else shape
        size = int(np.prod(shape))
        found[key] = qml.math.reshape(parameters[start : start + size], shape)
        start += size
    return found


def on_default_qubit(name):
    qnode = CIRCUITS[name][0]
    wires = qnode.device.wires
    return qml.QNode(qnode.func, qml.device("default.qubit", wires=wires))


def outputs(name, qnode, X, parameters):
    found = qnode(inputs=X, **split(name, parameters))
    parts = found if isinstance(found, tuple) else (found,)
    columns = [qml.math.reshape(part, (len(X), -1)) for part in parts]
    return qml.math.concatenate(columns, axis=1)


# --- right ------------------------------------------------------------------------


@circuits
def test_it_is_the_qnode(name):
    X, _ = data(name)
    model = made(name)
    expected = outputs(name, on_default_qubit(name), X, model.parameters)
    np.testing.assert_allclose(model(X), expected, atol=1e-12)
    assert model.placed.program is not None
    assert model.n_qubits == len(CIRCUITS[name][0].device.wires)


class Recorder(Callback):
    def __init__(self):
        self.rows = []

    def on_train_begin(self, model, history):
        self._model = model

    def on_step_end(self, epoch, step, loss):
        self.rows.append((loss, self._model.parameters.copy()))


@circuits
def test_training_equals_a_loop_of_pennylane_step_by_step(name):
    X, Y = data(name)
    model = made(name)
    start = pnp.array(model.parameters.copy(), requires_grad=True)
    seen = Recorder()
    config = TrainingConfig(
        optimizer="sgd", learning_rate=0.1, epochs=5, batch_size=12, loss="mse"
    )
    QuantumTrainer(config).train(model, (X, Y), callbacks=[seen])

    qnode = on_default_qubit(name)

    def cost(parameters):
        return qml.math.mean((outputs(name, qnode, X, parameters) - Y) ** 2)

    optimizer = qml.GradientDescentOptimizer(0.1)
    parameters = start
    for loss, after in seen.rows:
        parameters, before = optimizer.step_and_cost(cost, parameters)
        np.testing.assert_allclose(loss, before, atol=1e-10)
        np.testing.assert_allclose(after, parameters, atol=1e-10)
    assert len(seen.rows) == 5


@circuits
@pytest.mark.parametrize("optimizer", ["adam", "natural_gradient"])
def test_a_run_is_resumed_bit_for_bit(name, optimizer, tmp_path):
    X, Y = data(name)

    def config(epochs, directory):
        return TrainingConfig(
            optimizer=optimizer,
            learning_rate=0.05,
            epochs=epochs,
            batch_size=5,
            loss="mse",
            checkpoint_directory=directory,
            seed=3,
        )

    whole = made(name)
    history = QuantumTrainer(config(4, tmp_path / "whole")).train(whole, (X, Y))
    first, rest = made(name), made(name, seed=9)
    QuantumTrainer(config(2, tmp_path / "parts")).train(first, (X, Y))
    resumed = QuantumTrainer(config(4, tmp_path / "parts"))
    again = resumed.train(rest, (X, Y), resume="latest")
    assert np.array_equal(rest.parameters, whole.parameters)
    assert again["losses"] == history["losses"]
    assert history["losses"][-1] < history["losses"][0]


def test_its_gradient_is_that_of_pennylane():
    model = made("re-uploading")
    X, Y = data("re-uploading", 1)
    computer = QuantumGradientComputer()
    found = computer.compute_gradients(
        model, model.parameters, inputs=X, targets=Y, loss="mse"
    )
    qnode = on_default_qubit("re-uploading")

    def cost(parameters):
        return qml.math.mean((outputs("re-uploading", qnode, X, parameters) - Y) ** 2)

    start = pnp.array(model.parameters, requires_grad=True)
    np.testing.assert_allclose(found.gradients, qml.grad(cost)(start), atol=1e-10)


def test_parameter_shift_agrees():
    audit = audit_gradients(made("re-uploading"), data("re-uploading", 2))
    shift = next(row for row in audit.rows if "shift" in row.method)
    assert shift.error < 1e-10, str(audit)


@circuits
def test_it_runs_on_another_backend_through_the_qnode(name):
    X, Y = data(name, 3)
    here = made(name)
    n_qubits = here.n_qubits
    device = qml.device("default.qubit", wires=n_qubits)
    there = made(name, backend=device)
    assert there.placed.program is None
    np.testing.assert_allclose(there(X), here(X), atol=1e-12)
    config = TrainingConfig(
        epochs=2, batch_size=3, learning_rate=0.1, loss="mse", optimizer="sgd"
    )
    for model in (here, there):
        QuantumTrainer(config).train(model, (X, Y))
    np.testing.assert_allclose(there.parameters, here.parameters, atol=1e-10)


def test_noise_acts_on_its_gates():
    device = qml.device("qstore.mock_noisy", wires=["a", "b"], seed=0)
    noisy = qml.QNode(reuploading_classifier.func, device)
    _, shapes, input_dim, _ = CIRCUITS["re-uploading"]
    model = QuantumModel.from_qnode(noisy, shapes, input_dim=input_dim, seed=1)
    X, _ = data("re-uploading")
    expected = outputs("re-uploading", noisy, X, model.parameters)
    np.testing.assert_allclose(model(X), expected, atol=1e-12)
    assert np.abs(model(X) - made("re-uploading")(X)).max() > 1e-4


def test_shots_of_the_configuration(tmp_path):
    model = made("re-uploading")
    X, Y = data("re-uploading", 4)
    config = TrainingConfig(
        epochs=1, shots=200, loss="mse", seed=0, gradient_method="parameter_shift"
    )
    losses = QuantumTrainer(config).train(model, (X, Y))["losses"]
    assert np.isfinite(losses).all()


# --- like every model -------------------------------------------------------------


@circuits
def test_copies_and_files(name, tmp_path):
    model = made(name)
    X, _ = data(name, 2)
    model.layers[0].freeze_parameters([1])
    model.save(tmp_path / "model.qstore")
    twin = QuantumModel.from_checkpoint(
        tmp_path / "model.qstore", qnode=CIRCUITS[name][0]
    )
    for other in (copy.deepcopy(model), twin):
        assert np.array_equal(other(X), model(X))
        assert np.array_equal(other.trainable, model.trainable)
    if name != "natural gradient":  # pickle finds functions by name, here QNodes
        return
    with pytest.raises(Exception, match="pickle"):
        pickle.dumps(model)


def test_a_file_needs_the_qnode_and_tells_another(tmp_path):
    made("re-uploading").save(tmp_path / "model.qstore")
    with pytest.raises(CheckpointError, match="pass qnode="):
        QuantumModel.from_checkpoint(tmp_path / "model.qstore")
    with pytest.raises(CheckpointError, match="gates"):
        QuantumModel.from_checkpoint(tmp_path / "model.qstore", qnode=other_gates)


@qml.qnode(qml.device("qstore.mock_ideal", wires=["a", "b"]))
def other_gates(weights, inputs, shifts):
    for layer in range(3):
        qml.Rot(*weights[layer, 0], wires="a")
        qml.Rot(*shifts[layer, 0], wires="b")
    qml.RX(inputs[..., 0] * inputs[..., 1], wires="a")
    return qml.probs(wires=["b", "a"])


def test_affine_outputs():
    model = made("iqp", affine=True)
    assert model.count_parameters(include_readout=True) == 25 + 4
    X, _ = data("iqp")
    model.parameters[-4:] = [2.0, 3.0, 0.5, -0.5]
    expected = made("iqp")(X) * [2.0, 3.0] + [0.5, -0.5]
    np.testing.assert_allclose(model(X), expected, atol=1e-12)


def test_a_compiled_circuit_is_as_good():
    _, shapes, input_dim, _ = CIRCUITS["iqp"]
    fast = compile(iqp_classifier)
    model = QuantumModel.from_qnode(fast, shapes, input_dim=input_dim, seed=1)
    X, _ = data("iqp")
    assert np.array_equal(model(X), made("iqp")(X))


def test_summary_and_repr():
    model = made("re-uploading")
    summary = model.summary()
    assert summary.total.n_weights == 36
    assert summary.total.n_gates == (6, 3)
    assert "reuploading_classifier" in repr(model)


def test_in_torch_and_jax():
    import jax
    import torch

    model = made("re-uploading")
    X, _ = data("re-uploading")
    module = QuantumModule(model).double()
    np.testing.assert_allclose(module(torch.tensor(X)).detach(), model(X), atol=1e-12)
    with jax.experimental.enable_x64():
        found = model_function(model)(model.parameters, model.prepare(X))
        np.testing.assert_allclose(found, model(X), atol=1e-12)


# --- refused ----------------------------------------------------------------------


def qnode_of(function, **options):
    return qml.QNode(function, qml.device("qstore.mock_ideal", wires=2), **options)


def plain(inputs, w):
    qml.AngleEmbedding(inputs, wires=[0, 1])
    qml.CRX(w, wires=[0, 1])
    return qml.expval(qml.Z(1))


@pytest.mark.parametrize(
    ("qnode", "shapes", "error", "message"),
    [
        (plain, {"w": ()}, TypeError, "must be a QNode"),
        (qnode_of(plain), {}, ValueError, r"\['w'\]"),
        (qnode_of(plain), {"w": (), "v": 3}, ValueError, r"'v'"),
        (qnode_of(plain), {"w": "two"}, TypeError, "weight_shapes"),
        (qnode_of(plain), {"w": 0}, ValueError, "weight_shapes"),
        (qml.set_shots(qnode_of(plain), 10), {"w": 1}, ValueError, "no shots"),
        (
            qml.transforms.merge_rotations(qnode_of(plain)),
            {"w": 1},
            ValueError,
            "no transforms",
        ),
    ],
)
def test_what_is_refused(qnode, shapes, error, message):
    with pytest.raises(error, match=message):
        QuantumModel.from_qnode(qnode, shapes, input_dim=2)


def test_other_measurements_are_refused():
    def circuit(inputs, w):
        plain(inputs, w)
        return qml.var(qml.Z(0))

    def measured(inputs, w):
        qml.AngleEmbedding(inputs, wires=[0, 1])
        qml.RX(w, 0)
        return qml.var(qml.Z(0))

    with pytest.raises(ValueError, match="must measure expectation values"):
        QuantumModel.from_qnode(qnode_of(measured), {"w": 1}, input_dim=2)
    with pytest.raises(QuantumFunctionError, match="all measurements"):
        QuantumModel.from_qnode(qnode_of(circuit), {"w": 1}, input_dim=2)


def test_a_circuit_that_does_not_broadcast_is_refused():
    def circuit(inputs, w):
        qml.RX(inputs[0], 0)
        qml.RY(w * inputs[1], 1)
        return qml.expval(qml.Z(0))

    with pytest.raises(ValueError, match=r"inputs\[\.\.\., i\]"):
        QuantumModel.from_qnode(qnode_of(circuit), {"w": 1}, input_dim=2)


def test_a_circuit_for_batches_only_is_right():
    def circuit(inputs, w):
        qml.RX(inputs[:, 0], 0)
        qml.RY(w * inputs[:, 1], 1)
        qml.CNOT([1, 0])
        return qml.expval(qml.Z(0))

    model = QuantumModel.from_qnode(qnode_of(circuit), {"w": 1}, input_dim=2, seed=0)
    X = RNG.uniform(-1, 1, (5, 2))
    expected = np.cos(X[:, 0]) * np.cos(model.parameters[0] * X[:, 1])
    np.testing.assert_allclose(model(X), expected[:, None], atol=1e-12)


def test_a_partial_function():
    def circuit(inputs, w, axis):
        qml.RX(inputs[..., 0], 0)
        axis(w, 0)
        return qml.expval(qml.Z(0))

    qnode = qnode_of(partial(circuit, axis=qml.RY))
    model = QuantumModel.from_qnode(qnode, {"w": ()}, input_dim=1)
    (w,) = model.parameters
    np.testing.assert_allclose(model([[0.3]]), np.cos(0.3) * np.cos([[w]]))


def test_a_circuit_without_data():
    def circuit(w):
        qml.RX(w, 0)
        return qml.expval(qml.Z(0))

    with pytest.warns(UnseenWarning, match="features? 0"):
        model = QuantumModel.from_qnode(qnode_of(circuit), {"w": 1}, input_dim=1)
    np.testing.assert_allclose(model([[0.3], [0.4]]), np.cos(model.parameters[0]))


def test_a_circuit_that_reads_values_says_so_when_it_is_compiled():
    def circuit(inputs, w):
        qml.AngleEmbedding(inputs, wires=[0, 1])
        if w > 0:
            qml.RX(w, 0)
        else:
            qml.RY(w, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="cannot be compiled"):
        QuantumModel.from_qnode(qnode_of(circuit), {"w": 1}, input_dim=2)(np.eye(2))


def test_a_circuit_that_draws_random_numbers_is_refused():
    rng = np.random.default_rng(0)

    def circuit(inputs, w):
        qml.AngleEmbedding(inputs, wires=[0, 1])
        qml.RX(w + rng.normal(), 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match="draws random numbers"):
        QuantumModel.from_qnode(qnode_of(circuit), {"w": 1}, input_dim=2)
