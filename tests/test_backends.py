"""Backends: names, what they stand for, and which one a training run takes."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    BackendManager,
    QuantumGradientComputer,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)
from qstore_pl.backends import Backend, as_backend
from qstore_pl.backends.kinds import KINDS, OTHERS, OURS
from qstore_pl.devices.presets import preset

BUILT_IN = {*OURS, *KINDS, *OTHERS}
X = np.random.default_rng(0).uniform(-1, 1, (4, 2))
Y = np.zeros((4, 1))


class Factory:
    """Makes a device of PennyLane's and notes for how many wires."""

    def __init__(self, name):
        self.name = name
        self.asked = []

    def __call__(self, n_wires):
        self.asked.append(n_wires)
        return qml.device(self.name, wires=n_wires)


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch):
    """Names are known in the whole process: here none but those of the test."""
    monkeypatch.setattr("qstore_pl.backends.manager._registered", {})


@pytest.fixture
def manager():
    manager = BackendManager()
    manager.register_backend("reference", Factory("default.qubit"))
    manager.register_backend("fast", Factory("lightning.qubit"))
    return manager


def trainer(manager, **options):
    config = TrainingConfig(epochs=1, learning_rate=0.1, seed=0, **options)
    return QuantumTrainer(config, manager)


def model(**options):
    return QuantumModel(2, 1, n_layers=1, seed=0, **options)


# --- names ----------------------------------------------------------------------


def test_the_built_in_names():
    assert {"mock_ideal", "mock_noisy", "cirq", "cirq_mixed", "qiskit"} <= BUILT_IN
    assert {"ionq_simulator", "ionq_qpu", "default.qubit", "lightning"} <= BUILT_IN
    assert list(BackendManager().list_backends()) == sorted(BUILT_IN)


def bell():
    qml.Hadamard(0)
    qml.CNOT([0, 1])
    return qml.probs(wires=[0, 1])


def test_a_bell_state_is_00_or_11():
    device = BackendManager().get_backend("mock_ideal").device(2)
    assert device.name == "qstore.mock_ideal"
    np.testing.assert_allclose(
        qml.QNode(bell, device)(), [0.5, 0, 0, 0.5], rtol=0, atol=1e-15
    )


def test_a_bell_state_is_noisy_by_the_default_preset():
    device = BackendManager().get_backend("mock_noisy").device(2)
    assert device.name == "qstore.mock_noisy"
    reference = qml.noise.add_noise(
        qml.QNode(bell, qml.device("default.mixed", wires=2)),
        preset("default").to_noise_model(),
    )
    probabilities = qml.QNode(bell, device)()
    assert probabilities[1] > 1e-3
    np.testing.assert_allclose(probabilities, reference(), rtol=0, atol=1e-10)


def test_without_a_name_the_configuration_decides(manager):
    assert BackendManager().get_backend().name == "mock_ideal"
    config = TrainingConfig(quantum_sdk="mock")
    assert BackendManager(config).get_backend().name == "mock_ideal"
    assert BackendManager().get_backend("mock").name == "mock_ideal"
    manager.config.quantum_sdk = "fast"
    assert manager.get_backend().name == "fast"


def test_registered_names_are_known_wherever_a_name_is_taken(manager):
    names = sorted({"fast", "reference"} | BUILT_IN)
    assert list(manager.list_backends()) == names
    assert list(BackendManager().list_backends()) == names
    fast = manager.get_backend("fast")
    assert BackendManager().get_backend("fast") is fast
    assert as_backend("fast") is fast
    assert model(backend="fast").device.name == "lightning.qubit"
    assert QuantumLayer(2, 1, backend="fast").circuit.device.name == "lightning.qubit"
    assert fast.factory.asked == [2, 2]
    layer = QuantumLayer(2, 1, seed=0)
    of_name, own = (
        QuantumGradientComputer(backend).compute_gradients(
            layer.circuit, layer.parameters
        )
        for backend in ("fast", None)
    )
    assert fast.factory.asked == [2, 2, 2]
    np.testing.assert_allclose(of_name.gradients, own.gradients, rtol=0, atol=1e-12)


def test_the_configuration_of_a_trainer_without_a_manager_knows_them(manager):
    trained = model()
    config = TrainingConfig(epochs=1, quantum_sdk="reference", seed=0)
    QuantumTrainer(config).train(trained, (X, Y))
    assert trained.device.name == "default.qubit"
    with pytest.raises(ValueError, match=r'"fast", "ionq_qpu".*"refe'):
        QuantumTrainer(TrainingConfig(quantum_sdk="mine"))


def test_a_name_means_one_backend_until_it_is_replaced(manager):
    before, device = model(backend="fast"), qml.device("default.qubit")
    for other in (manager, BackendManager()):
        with pytest.raises(ValueError, match=r"'fast' is registered.*replace=True"):
            other.register_backend("fast", device)
    assert model(backend="fast").device.name == "lightning.qubit"
    BackendManager().register_backend("fast", device, replace=True)
    assert model(backend="fast").device is device
    assert manager.get_backend("fast").device(2) is device
    assert before.device.name == "lightning.qubit"
    for name in ("mock", "mock_ideal", "mock_noisy"):
        with pytest.raises(ValueError, match=f"'{name}' is built in"):
            manager.register_backend(name, device, replace=True)


def test_a_device_can_be_registered(manager):
    device = qml.device("default.qubit", wires=5)
    backend = manager.register_backend("mine", device)
    assert backend is manager.get_backend("mine")
    assert backend.name == "mine"
    assert backend.device(3) is device


def test_a_backend_is_made_of_a_name_a_device_or_a_backend():
    device = qml.device("default.qubit", wires=2)
    assert as_backend("mock_ideal").device(2).name == "qstore.mock_ideal"
    assert as_backend(device).name == "default.qubit"
    assert as_backend(device).device(2) is device
    backend = Backend("mine", Factory("default.qubit"))
    assert as_backend(backend) is backend


@pytest.mark.parametrize("name", ["mock_ideal", "mock_noisy"])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_built_in_backends_can_be_copied(copied, name):
    backend = copied(BackendManager()).get_backend(name)
    assert backend == BackendManager().get_backend(name)
    assert len(backend.device(3).wires) == 3


# --- models ---------------------------------------------------------------------


def test_a_model_takes_any_of_them():
    device = qml.device("default.qubit")
    chosen = model(backend=device)
    assert chosen.device is device
    assert chosen.quantum_layer.circuit.device is device
    assert model(backend="mock").backend.name == "mock_ideal"
    assert model().backend is None
    assert model().device.name == "qstore.mock_ideal"


def test_a_model_can_be_moved_and_gives_the_same():
    moved = model()
    expected = moved.forward(X)
    assert moved.placed.program is not None
    moved.backend = qml.device("lightning.qubit", wires=2)
    assert moved.placed.program is None
    np.testing.assert_allclose(moved.forward(X), expected, rtol=0, atol=1e-12)
    assert moved.quantum_layer.circuit.device.name == "lightning.qubit"
    moved.backend = None
    assert moved.backend is None
    assert moved.quantum_layer.circuit.device.name == "qstore.mock_ideal"
    np.testing.assert_array_equal(moved.forward(X), expected)


# --- which one a run takes ------------------------------------------------------


def test_the_configuration_fills_a_model_without_a_backend(manager):
    trained = model()
    trainer(manager, quantum_sdk="reference").train(trained, (X, Y))
    assert trained.device.name == "default.qubit"
    assert manager.get_backend("reference").factory.asked == [2]


def test_the_default_fills_it_otherwise(manager):
    trained = model()
    trainer(manager).train(trained, (X, Y))
    assert trained.device.name == "qstore.mock_ideal"


@pytest.mark.parametrize("own", ["mock_ideal", "device"])
def test_a_backend_of_the_models_own_wins(manager, own):
    backend = qml.device("lightning.qubit", wires=2) if own == "device" else own
    trained = model(backend=backend)
    with pytest.raises(ValueError, match=r'"reference" must be unset.*backend of its'):
        trainer(manager, quantum_sdk="reference").train(trained, (X, Y))
    trainer(manager).train(trained, (X, Y))
    assert trained.device.name == (
        "lightning.qubit" if own == "device" else "qstore.mock_ideal"
    )
    assert manager.get_backend("reference").factory.asked == []


@pytest.mark.parametrize("own", [None, "mock_ideal"])
def test_assigning_another_name_later_rebinds_the_next_run(manager, own):
    trained = model(backend=own)
    again = trainer(manager)
    again.train(trained, (X, Y))
    assert trained.device.name == "qstore.mock_ideal"
    weights = trained.parameters.copy()
    again.config.quantum_sdk = "reference"
    before = trained.forward(X)
    again.train(trained, (X, Y))
    assert trained.device.name == "default.qubit"
    # It went on from the weights it had, as it would have gone on anywhere.
    stayed = model()
    stayed.parameters[:] = weights
    np.testing.assert_allclose(stayed.forward(X), before, rtol=0, atol=1e-12)
    trainer(manager).train(stayed, (X, Y))
    np.testing.assert_allclose(trained.parameters, stayed.parameters, rtol=0, atol=1e-7)
    # Bound once: a backend the model is given afterwards is its own again.
    trained.backend = "mock_ideal"
    with pytest.raises(ValueError, match=r'"reference" must be unset.*`mock_ideal`'):
        again.train(trained, (X, Y))
    assert trained.device.name == "qstore.mock_ideal"


def test_a_backend_another_trainer_filled_in_is_not_the_models_own(manager):
    trained = model()
    trainer(manager, quantum_sdk="mock_ideal").train(trained, (X, Y))
    trainer(manager, quantum_sdk="reference").train(trained, (X, Y))
    assert trained.device.name == "default.qubit"


def test_names_are_looked_up_in_the_managers_own_configuration(manager):
    manager.config.quantum_sdk = "fast"
    trained = model()
    QuantumTrainer(TrainingConfig(epochs=1, quantum_sdk="reference"), manager).train(
        trained, (X, Y)
    )
    assert trained.device.name == "default.qubit"
