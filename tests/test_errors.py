"""Every error a user can make: its kind, and words that say what came and what to do.

A row is a call, the exception, and what its message must contain. The errors of one
class alone (bad states, checkpoints, the encoder's, the losses') are in its own tests.
"""

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl import (
    BackendManager,
    QStoreError,
    QuantumCircuitError,
    QuantumDataEncoder,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)

X = np.random.default_rng(0).uniform(-1, 1, (4, 3))
Y = np.zeros((4, 2))


def model(**options):
    return QuantumModel(3, 2, **{"n_layers": 1, "seed": 0, **options})


def train(data=(X, Y), val_data=None, *, of=None, **settings):
    config = TrainingConfig(**{"epochs": 1, "seed": 0, **settings})
    return QuantumTrainer(config).train(of or model(), data, val_data=val_data)


def spoilt(value):
    features = X.copy()
    features[2, 1] = value
    return features


def on_mock_ideal(function, wires=None):
    return qml.QNode(function, qml.device("qstore.mock_ideal", wires=wires))


class Unheard(qml.operation.Operation):
    """A gate without matrix or decomposition."""

    num_wires = 1


def unheard():
    Unheard(wires=0)
    return qml.expval(qml.Z(0))


def mixed():
    qml.QubitDensityMatrix(np.eye(2) / 2, wires=0)
    return qml.expval(qml.Z(0))


def large():
    for i in range(50):
        qml.RX(0.1, wires=i)
    return qml.expval(qml.Z(0))


AMPLITUDE, BASIS = {"encoding": "amplitude"}, {"encoding": "basis"}
ENCODINGS = ('"amplitude"', '"angle"', '"basis"', '"zz_feature_map"')

# name: (call, exception, words of its message)
FEATURES = {
    "feature count": (
        lambda: model().forward(np.zeros((5, 4))),
        ValueError,
        ("shape (n_samples, 3)", "has shape (5, 4)", "input_dim=3"),
    ),
    "feature count of one sample": (
        lambda: model().forward(np.zeros(2)),
        ValueError,
        ("shape (n_samples, 3)", "(1, 2)", "input_dim=3"),
    ),
    "feature count in training": (
        lambda: train((np.zeros((5, 4)), np.zeros((5, 2)))),
        ValueError,
        ("shape (n_samples, 3)", "has shape (5, 4)", "input_dim=3"),
    ),
    "feature count, amplitudes": (
        lambda: model(**AMPLITUDE).forward(np.zeros((5, 4))),
        ValueError,
        ("shape (n_samples, 3)", "has shape (5, 4)", "input_dim=3"),
    ),
    "three axes": (
        lambda: model().forward(np.zeros((5, 3, 3))),
        ValueError,
        ("shape (n_samples, 3)", "has shape (5, 3, 3)"),
    ),
    "no axis": (
        lambda: model().forward(1.0),
        ValueError,
        ("shape (n_samples, 3)", "has shape ()"),
    ),
    "NaN": (
        lambda: model().forward(spoilt(np.nan)),
        ValueError,
        ("must be finite", "entry (2, 1) is nan", "Remove or impute"),
    ),
    "infinity": (
        lambda: model().forward(spoilt(-np.inf)),
        ValueError,
        ("must be finite", "entry (2, 1) is -inf", "Remove or impute"),
    ),
    "NaN in training": (
        lambda: train((spoilt(np.nan), Y)),
        ValueError,
        ("must be finite", "entry (2, 1) is nan", "Remove or impute"),
    ),
    "NaN in validation": (
        lambda: train(val_data=(spoilt(np.nan), Y)),
        ValueError,
        ("must be finite", "entry (2, 1) is nan", "Remove or impute"),
    ),
    "NaN in a batch": (
        lambda: train([(spoilt(np.nan), Y)]),
        ValueError,
        ("must be finite", "entry (2, 1) is nan", "Remove or impute"),
    ),
    "NaN in targets": (
        lambda: train((X, Y * np.nan)),
        ValueError,
        ("`targets` must be finite", "entry (0, 0) is nan"),
    ),
    "NaN, amplitudes": (
        lambda: model(**AMPLITUDE).forward(spoilt(np.nan)),
        ValueError,
        ("must be finite", "entry (2, 1) is nan"),
    ),
    "complex": (
        lambda: model().forward(X + 1j),
        TypeError,
        ("must hold real numbers", "complex128"),
    ),
    "words": (
        lambda: model().forward([["a", "b", "c"]]),
        TypeError,
        ("must hold real numbers", "<U1"),
    ),
    "zero vector": (
        lambda: model(**AMPLITUDE).forward([[1, 0, 0], [0, 0, 0]]),
        ValueError,
        ("no zero vector", '"amplitude"', "row 1"),
    ),
    "zero vector in training": (
        lambda: train((0 * X, Y), of=model(**AMPLITUDE)),
        ValueError,
        ("no zero vector", '"amplitude"', "row 0"),
    ),
    "fraction for a bit": (
        lambda: model(**BASIS).forward([[0, 1, 0.5]]),
        ValueError,
        ("bits 0 and 1", "entry (0, 2) is 0.5"),
    ),
    "2 for a bit": (
        lambda: train((np.full((4, 3), 2), Y), of=model(**BASIS)),
        ValueError,
        ("bits 0 and 1", "entry (0, 0) is 2.0"),
    ),
    "fraction for a whole number": (
        lambda: QuantumDataEncoder(3).encode([[2.5]], method="basis"),
        ValueError,
        ("whole numbers", "entry (0, 0) is 2.5"),
    ),
}
DATA = {
    "no samples": (
        lambda: model().forward(np.zeros((0, 3))),
        ValueError,
        ("at least one sample", "(0, 3)"),
    ),
    "no samples to train on": (
        lambda: train((X[:0], Y[:0])),
        ValueError,
        ("at least one sample", "(0, 3)"),
    ),
    "no batches": (
        lambda: train([]),
        ValueError,
        ("`data` must have a batch", "empty"),
    ),
    "no batches from a generator": (
        lambda: train(batch for batch in []),
        ValueError,
        ("`data` must have a batch", "empty"),
    ),
    "no samples to validate on": (
        lambda: train(val_data=(X[:0], Y[:0])),
        ValueError,
        ("at least one sample", "(0, 3)"),
    ),
    "more samples than targets": (
        lambda: train((X, Y[:3])),
        ValueError,
        ("`data`", "as many targets as samples", "4 samples and 3 targets"),
    ),
    "more targets than samples in validation": (
        lambda: train(val_data=(X[:2], Y)),
        ValueError,
        ("`val_data`", "as many targets as samples", "2 samples and 4 targets"),
    ),
    "mismatch in a batch": (
        lambda: train([(X, Y[:3])]),
        ValueError,
        ("`data`", "as many targets as samples", "4 samples and 3 targets"),
    ),
    "target outputs": (
        lambda: train((X, np.zeros((4, 3)))),
        ValueError,
        ("`targets` must have shape (4, 2)", "has shape (4, 3)"),
    ),
    "labels for mse": (
        lambda: train((X, np.array([0, 1, 1, 0]))),
        ValueError,
        ("shape (4, 2)", "has shape (4,)", "cross_entropy"),
    ),
    "labels past the outputs": (
        lambda: train((X, np.array([0, 1, 2, 0])), loss="cross_entropy"),
        ValueError,
        ("labels from 0 to 1", "entry 2 is 2", "as many outputs as there are classes"),
    ),
    "X alone": (
        lambda: train(X),
        TypeError,
        ("`data`", "tuple (X, y) or (X, y, weights), or an iterable", "ndarray"),
    ),
    "a number": (
        lambda: train(3),
        TypeError,
        ("`data`", "tuple (X, y) or (X, y, weights), or an iterable", "int"),
    ),
    "a list of X and y": (
        lambda: train([X, Y]),
        TypeError,
        ("`data`", "a tuple where it holds arrays", "is a list"),
    ),
    "keys of a batch": (
        lambda: train([{"inputs": X, "labels": Y}]),
        ValueError,
        ("inputs and targets", "['inputs', 'labels']"),
    ),
    "latest of nowhere": (
        lambda: QuantumTrainer(TrainingConfig()).train(
            model(), (X, Y), resume="latest"
        ),
        ValueError,
        ("`resume`", '"latest"', "checkpoint_directory", "Give a path"),
    ),
    "a function for a callback": (
        lambda: QuantumTrainer().train(model(), (X, Y), callbacks=[print]),
        TypeError,
        ("`callbacks` must hold Callbacks", "Inherit from Callback"),
    ),
    "a generator for two epochs": (
        lambda: train(((X, Y) for _ in range(2)), epochs=2),
        ValueError,
        ("`data`", "start again", "2 epochs", "Pass a list"),
    ),
    "a generator to validate on for two epochs": (
        lambda: train(val_data=((X, Y) for _ in range(2)), epochs=2),
        ValueError,
        ("`val_data`", "start again", "2 epochs", "Pass a list"),
    ),
}
NAMES = {
    "encoding": (
        lambda: model(encoding="angel"),
        ValueError,
        ("`encoding` must be one of", *ENCODINGS, "'angel'"),
    ),
    "encoding of the encoder": (
        lambda: QuantumDataEncoder().encode(X, method="angel"),
        ValueError,
        ("`method` must be one of", *ENCODINGS, "'angel'"),
    ),
    "entanglement": (
        lambda: model(entanglement="ring"),
        ValueError,
        ("`entanglement` must be", '"circular", "full", "linear", "none"', "'ring'"),
    ),
    "entanglement of a layer": (
        lambda: QuantumLayer(3, entanglement="ring"),
        ValueError,
        ("`entanglement` must be", '"circular", "full", "linear", "none"', "'ring'"),
    ),
    "readout": (
        lambda: model(readout="z"),
        ValueError,
        ("`readout` must be", '"affine", "expval"', "'z'"),
    ),
    "rotation": (
        lambda: model(rotation="y"),
        ValueError,
        ("`rotation` must be", '"X", "Y", "Z"', "'y'"),
    ),
    "schedule": (
        lambda: TrainingConfig(schedule="linear"),
        ValueError,
        ("`schedule` must be", '"constant", "cosine", "step"', "'linear'"),
    ),
    "on_nan": (
        lambda: TrainingConfig(on_nan="ignore"),
        ValueError,
        ("`on_nan` must be", '"raise", "rollback", "skip"', "'ignore'"),
    ),
    "column to monitor": (
        lambda: train(monitor="val_los", patience=1),
        ValueError,
        ("monitor must be a column", "loss, gradient_norm", "'val_los'"),
    ),
    "optimizer": (
        lambda: QuantumTrainer(TrainingConfig(optimizer="lbfgs")),
        ValueError,
        ("`optimizer` must be", '"adam", "adamw", ', "'lbfgs'"),
    ),
    "loss": (
        lambda: QuantumTrainer(TrainingConfig(loss="huber")),
        ValueError,
        ("`loss` must be", '"binary", "cross_entropy", "hinge", "mse"', "'huber'"),
    ),
    "backend": (
        lambda: BackendManager().get_backend("cuquantum"),
        ValueError,
        ("`backend` must be", '"mock_ideal"', "'cuquantum'"),
    ),
    "backend of a model": (
        lambda: model(backend="cuquantum"),
        ValueError,
        ("`backend` must be", '"mock_ideal"', "'cuquantum'"),
    ),
    "backend of a layer": (
        lambda: QuantumLayer(3, backend="cuquantum"),
        ValueError,
        ("`backend` must be", '"mock_ideal"', "'cuquantum'"),
    ),
    "backend of the configuration": (
        lambda: QuantumTrainer(TrainingConfig(quantum_sdk="cuquantum")),
        ValueError,
        ('"mock_ideal"', "'cuquantum'"),
    ),
    "backend of the configuration in training": (
        lambda: train(quantum_sdk="cuquantum"),
        ValueError,
        ('"mock_ideal"', "'cuquantum'"),
    ),
    "a number for a backend": (
        lambda: model(backend=3),
        TypeError,
        ("`backend`", "a name, a Backend or a PennyLane device", "3"),
    ),
    "a name that is taken": (
        lambda: BackendManager().register_backend(
            "mock_ideal", qml.device("null.qubit")
        ),
        ValueError,
        ("`name` must be new", "'mock_ideal'"),
    ),
    "a number to register": (
        lambda: BackendManager().register_backend("three", 3),
        TypeError,
        ("`backend`", "PennyLane device", "3"),
    ),
    "a field of the configuration": (
        lambda: TrainingConfig(epochs=1).__setattr__("learning_rat", 0.1),
        AttributeError,
        ("'learning_rat'", "learning_rate", "epochs"),
    ),
}
FIT = {
    "more outputs than qubits": (
        lambda: QuantumModel(4, 5),
        ValueError,
        ("`output_dim` must be <= 4", "but is 5", "n_qubits=5", "observables="),
    ),
    "more outputs than qubits, amplitudes": (
        lambda: QuantumModel(4, 3, encoding="amplitude"),
        ValueError,
        ("`output_dim` must be <= 2", "but is 3", "n_qubits=3"),
    ),
    "no outputs": (
        lambda: QuantumModel(4, 0),
        ValueError,
        ("`output_dim` must be >= 1",),
    ),
    "no inputs": (
        lambda: QuantumModel(0, 1),
        ValueError,
        ("`input_dim` must be >= 1",),
    ),
    "no layers": (
        lambda: QuantumModel(4, 1, 0),
        ValueError,
        ("`n_layers` must be >= 1",),
    ),
    "a fraction of a layer": (
        lambda: QuantumModel(4, 1, 1.5),
        TypeError,
        ("`n_layers` must be an integer", "1.5"),
    ),
    "fewer qubits than features": (
        lambda: QuantumModel(4, 1, n_qubits=3),
        ValueError,
        ("`n_qubits` must be >= 4", "4 features", "but is 3", "several axes"),
    ),
    "fewer qubits than amplitudes": (
        lambda: QuantumModel(64, 1, encoding="amplitude", n_qubits=5),
        ValueError,
        ("`n_qubits` must be >= 6", "64 features", "but is 5"),
    ),
    "a device with few wires": (
        lambda: model(backend=qml.device("default.qubit", wires=2)).forward(X),
        ValueError,
        ("`backend` must have at least 3 wires", "default.qubit has 2"),
    ),
    "layers of the configuration": (
        lambda: train(circuit_depth=4),
        ValueError,
        ("circuit_depth", "must equal the model's 1", "but is 4"),
    ),
    "entanglement of the configuration": (
        lambda: train(entanglement="full"),
        ValueError,
        ("entanglement", "must equal the model's circular", "but is full"),
    ),
    "frozen weights that are none": (
        lambda: train(freeze_schedule={0: [9]}),
        IndexError,
        ("from 0 to 8", "has 9"),
    ),
    "qubits of the configuration": (
        lambda: train(n_qubits=4),
        ValueError,
        ("n_qubits", "must equal the model's 3", "but is 4"),
    ),
}
IGNORED = {
    "scale": (
        lambda: model(encoding="zz_feature_map", scale=2.0),
        ValueError,
        ("`scale` must be left out", '"angle"', "'zz_feature_map'"),
    ),
    "rotation of bits": (
        lambda: model(encoding="basis", rotation="X"),
        ValueError,
        ("`rotation`", "must be left out", '"angle"', "'basis'"),
    ),
    "scale of the encoder": (
        lambda: QuantumDataEncoder().encode(X, method="amplitude", scale=2.0),
        ValueError,
        ("`scale` must be left out", '"amplitude"'),
    ),
    "class weights of numbers": (
        lambda: train(class_weight="balanced"),
        ValueError,
        ("Loss `mse` must be one of classes", '"cross_entropy"', '"hinge"'),
    ),
    "hardware": (
        lambda: train(quantum_target="forte", quantum_api_key="k"),
        ValueError,
        ("quantum_api_key, quantum_target must be unset", "would ignore it"),
    ),
    "decay of a constant rate": (
        lambda: train(schedule_every=2),
        ValueError,
        ("schedule_every must be unset", 'without schedule="step"'),
    ),
    "what to monitor without patience": (
        lambda: train(monitor="loss"),
        ValueError,
        ("monitor must be unset", "patience, checkpoint_directory or a vector"),
    ),
    "checkpoints without a directory": (
        lambda: train(checkpoint_keep=1),
        ValueError,
        ("checkpoint_keep must be unset", "without checkpoint_directory"),
    ),
    "momentum of adam": (
        lambda: QuantumTrainer(TrainingConfig(optimizer="adam", momentum=0.9)),
        ValueError,
        ("`momentum` must be left out", '"adam"'),
    ),
    "batch size for batches": (
        lambda: train([(X, Y)], batch_size=2),
        ValueError,
        ("batch_size=2 must be the size of the batches", "Leave it unset"),
    ),
    "shuffling of batches": (
        lambda: train([(X, Y)], shuffle=True),
        ValueError,
        ("shuffle must be False or unset", "come in batches"),
    ),
}
CIRCUITS = {
    "unsupported gate": (
        on_mock_ideal(unheard),
        DeviceError,
        ("Unheard", "not supported", "qstore.mock_ideal"),
    ),
    "mixed state": (
        on_mock_ideal(mixed),
        DeviceError,
        ("QubitDensityMatrix", "not supported", "qstore.mock_ideal"),
    ),
    "too many qubits": (
        on_mock_ideal(large),
        DeviceError,
        # Three states of 2**50 complex numbers.
        ("50 wires", f"{3 * 16 * 2**50:,} bytes", "this machine has", "fewer wires"),
    ),
    "too many qubits for a model": (
        lambda: QuantumModel(40, 1).forward(np.zeros((1, 40))),
        DeviceError,
        ("40 wires", f"{3 * 16 * 2**40:,} bytes", "this machine has", "fewer wires"),
    ),
    "too many qubits for training": (
        lambda: train((np.zeros((1, 40)), [0.0]), of=QuantumModel(40, 1)),
        DeviceError,
        ("40 wires", f"{3 * 16 * 2**40:,} bytes", "this machine has", "fewer wires"),
    ),
    "too many qubits for amplitudes": (
        lambda: QuantumModel(4, 1, encoding="amplitude", n_qubits=50).forward(
            np.ones((1, 4))
        ),
        DeviceError,
        ("50 wires", f"{3 * 16 * 2**50:,} bytes", "this machine has", "fewer wires"),
    ),
}
ERRORS = FEATURES | DATA | NAMES | FIT | IGNORED | CIRCUITS


def test_no_row_of_the_table_hides_another():
    parts = (FEATURES, DATA, NAMES, FIT, IGNORED, CIRCUITS)
    assert len(ERRORS) == sum(map(len, parts))


@pytest.mark.parametrize(("call", "exception", "words"), ERRORS.values(), ids=ERRORS)
def test_the_message_says_what_was_needed_and_what_came(call, exception, words):
    with pytest.raises(exception) as raised:
        call()
    message = str(raised.value)
    missing = [word for word in words if word not in message]
    assert not missing, message


REFUSED = {
    "features": lambda trained: train((spoilt(np.nan), Y), of=trained),
    "targets": lambda trained: train((X, Y[:3]), of=trained),
    "validation": lambda trained: train(val_data=(X[:2], Y), of=trained),
    "qubits": lambda trained: train(n_qubits=4, of=trained),
    "backend": lambda trained: train(quantum_sdk="cuquantum", of=trained),
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_has_not_trained_the_model(call):
    trained = model()
    before = trained.parameters.copy()
    with pytest.raises(ValueError, match="must"):
        call(trained)
    np.testing.assert_array_equal(trained.parameters, before)


def test_our_own_errors_are_of_one_family():
    error = QuantumCircuitError("The job failed.", backend="ionq_qpu", job="7f3a")
    assert isinstance(error, QStoreError)
    assert (error.backend, error.job) == ("ionq_qpu", "7f3a")
    assert str(error) == "The job failed. (backend `ionq_qpu`, job `7f3a`)"
    assert "job `" not in str(QuantumCircuitError("It failed.", backend="mock_ideal"))
