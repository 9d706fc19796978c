"""A device of others that fails ends in one error, wherever its circuits are run."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
from pennylane.devices import DefaultQubit
from pennylane.exceptions import DeviceError, WireError

from qstore_pl import (
    BackendManager,
    FiniteDifferenceGradient,
    NaturalGradientComputer,
    QuantumCircuitError,
    QuantumGradientComputer,
    QuantumModel,
    QuantumTrainer,
    SPSAGradient,
    TrainingConfig,
)

X = np.random.default_rng(5).uniform(-1, 1, (6, 2))
Y = np.sign(X[:, :1])


class Flaky(DefaultQubit):
    """PennyLane's simulator, which raises instead of running its last circuits."""

    def __init__(self, good, error):
        super().__init__(wires=4)
        self.good, self.error = good, error

    def _count(self):
        if self.good == 0:
            raise self.error
        self.good -= 1

    def execute(self, circuits, execution_config=None):
        self._count()
        return super().execute(circuits, execution_config)

    def compute_derivatives(self, circuits, execution_config=None):
        self._count()
        return super().compute_derivatives(circuits, execution_config)

    def compute_vjp(self, circuits, cotangents, execution_config=None):
        self._count()
        return super().compute_vjp(circuits, cotangents, execution_config)

    def execute_and_compute_derivatives(self, circuits, execution_config=None):
        self._count()
        return super().execute_and_compute_derivatives(circuits, execution_config)

    def execute_and_compute_vjp(self, circuits, cotangents, execution_config=None):
        self._count()
        return super().execute_and_compute_vjp(circuits, cotangents, execution_config)


def model(device):
    BackendManager().register_backend("flaky", device, replace=True)
    return QuantumModel(2, 1, n_layers=1, backend="flaky", seed=0)


def train(of, *, validation=False, **settings):
    config = TrainingConfig(epochs=2, batch_size=3, seed=0, **settings)
    QuantumTrainer(config).train(of, (X, Y), (X, Y) if validation else None)


def computed(computer):
    return lambda of: computer.compute_gradients(
        of, of.parameters, inputs=X, targets=Y, loss="mse"
    )


# What runs circuits, and how many submissions pass before one fails.
ROADS = {
    "forward": (lambda of: of.forward(X), 0),
    "one sample": (lambda of: of.forward(X[0]), 0),
    "training": (train, 0),
    "the third batch": (train, 2),
    "validation": (lambda of: train(of, validation=True), 2),
    "natural gradient": (lambda of: train(of, optimizer="natural_gradient"), 1),
    "spsa in training": (lambda of: train(of, gradient_method="spsa"), 0),
    "adjoint in training": (lambda of: train(of, gradient_method="adjoint"), 0),
    "shifts": (computed(QuantumGradientComputer()), 0),
    "adjoint": (computed(QuantumGradientComputer(method="adjoint")), 0),
    "differences": (computed(FiniteDifferenceGradient()), 0),
    "directions": (computed(SPSAGradient(seed=0)), 0),
    "metric": (
        lambda of: NaturalGradientComputer(
            approximation="block-diag"
        ).compute_natural_gradient(of, of.parameters, "mse", inputs=X, targets=Y),
        1,
    ),
}


@pytest.mark.parametrize(("run", "good"), ROADS.values(), ids=ROADS)
@pytest.mark.parametrize("kind", [RuntimeError, ConnectionError, DeviceError])
def test_a_failing_device_ends_in_one_error(run, good, kind):
    error = kind("the job failed")
    of = model(Flaky(good, error))
    before = of.parameters.copy() if good < 2 else None
    with pytest.raises(QuantumCircuitError) as raised:
        run(of)
    assert raised.value.backend == "flaky"
    assert raised.value.__cause__ is error
    assert f"{kind.__name__}: the job failed." in str(raised.value)
    assert str(raised.value).endswith("(backend `flaky`)")
    if before is not None:
        np.testing.assert_array_equal(of.parameters, before)
    of.device.good = 10**6
    run(of)  # nothing was left broken


@pytest.mark.parametrize("road", ["forward", "training", "shifts"])
def test_an_interrupt_is_no_failure(road):
    run, good = ROADS[road]
    with pytest.raises(KeyboardInterrupt):
        run(model(Flaky(good, KeyboardInterrupt())))


@pytest.mark.parametrize(("method", "good"), [("adjoint", 0), ("parameter_shift", 0)])
def test_a_qnode_is_told_by_the_name_of_its_device_or_of_the_backend(method, good):
    def circuit(w):
        qml.RX(w, 0)
        return qml.expval(qml.Z(0))

    device = Flaky(good, RuntimeError("no"))
    qnode = qml.QNode(circuit, device)
    with pytest.raises(QuantumCircuitError, match="RuntimeError: no") as raised:
        QuantumGradientComputer(method=method).compute_gradients(qnode, 0.5)
    assert raised.value.backend == "default.qubit"
    qnode = qml.QNode(circuit, qml.device("default.qubit", wires=1))
    BackendManager().register_backend("flaky", Flaky(good, OSError()), replace=True)
    computer = QuantumGradientComputer("flaky", method=method)
    with pytest.raises(QuantumCircuitError) as raised:
        computer.compute_gradients(qnode, 0.5)
    assert raised.value.backend == "flaky"


@pytest.mark.parametrize("method", ["adjoint", "parameter_shift"])
def test_an_error_in_the_circuits_function_is_no_failure_of_the_device(method):
    @qml.qnode(qml.device("default.qubit", wires=1))
    def circuit(w):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        QuantumGradientComputer(method=method).compute_gradients(circuit, 0.5)


def test_our_devices_say_themselves_what_is_wrong():
    @qml.qnode(qml.device("qstore.mock_ideal", wires=1))
    def circuit(w):
        qml.RX(w, 1)
        return qml.expval(qml.Z(0))

    for method in ("adjoint", "parameter_shift"):
        with pytest.raises(WireError):
            QuantumGradientComputer(method=method).compute_gradients(circuit, 0.5)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))],
)
def test_the_error_is_copied_with_what_it_knows(duplicate):
    error = QuantumCircuitError("The job failed.", backend="ionq_qpu", job="7f3a")
    error.add_note("a note")
    twin = duplicate(error)
    assert type(twin) is QuantumCircuitError
    assert str(twin) == str(error) == "The job failed. (backend `ionq_qpu`, job `7f3a`)"
    for name in ("message", "backend", "job", "args", "__notes__"):
        assert getattr(twin, name) == getattr(error, name)
