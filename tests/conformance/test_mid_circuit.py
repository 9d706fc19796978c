"""Measurements inside the circuit: deferred when exact, one by one with shots."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

DEVICE = "qstore.mock_ideal"
W = np.array([1.4, 1.1])


def teleport(w):
    """Measure, reset and act on the outcome."""
    qml.RX(w[0], 0)
    first = qml.measure(0, reset=True)
    qml.cond(first, qml.RY)(w[1], 1)
    qml.CNOT([1, 0])
    second = qml.measure(1)
    qml.cond(second & first, qml.Hadamard)(0)
    return [
        qml.expval(qml.Z(0)),
        qml.probs(wires=[1, 0]),
        qml.expval(first),
        qml.probs(op=[first, second]),
    ]


def selected(w):
    """Keep the runs whose first wire was found in |1>."""
    qml.RX(w[0], 0)
    qml.CRY(w[1], [0, 1])
    qml.measure(0, postselect=1)
    return [qml.expval(qml.Z(1)), qml.probs(wires=[0, 1])]


def device():
    return qml.device(DEVICE, seed=11)


@pytest.mark.parametrize("circuit", [teleport, selected])
def test_deferred_measurements_are_exact(circuit, reference, agree):
    agree(qml.QNode(circuit, device())(W), reference.qnode(circuit)(W))


@pytest.mark.parametrize("circuit", [teleport, selected])
def test_deferred_measurements_are_differentiated(
    circuit, framework, reference, flat, agree
):
    actual = framework.jacobian(flat(qml.QNode(circuit, device())), W)
    agree(actual, reference.jacobian(circuit, W))


def test_deferred_measurements_are_batched(framework, reference, flat, agree):
    def batched(x):
        qml.RX(x, 0)
        outcome = qml.measure(0)
        qml.cond(outcome, qml.RY)(x, 1)
        return qml.expval(qml.Z(1)), qml.var(outcome)

    x = np.array([0.3, 0.7, 2.0])
    actual = framework.jacobian(flat(qml.QNode(batched, device())), x)
    agree(actual, reference.jacobian(batched, x))


@pytest.mark.parametrize("circuit", [teleport, selected])
@pytest.mark.parametrize(
    ("mcm_method", "shots"), [("deferred", 5000), ("one-shot", 500)]
)
def test_measured_circuits_are_sampled_without_bias(circuit, mcm_method, shots, flat):
    f = qml.QNode(circuit, device(), mcm_method=mcm_method, shots=shots)
    expected = flat(qml.QNode(circuit, device()))(W)
    p = 1 if circuit is teleport else np.sin(W[0] / 2) ** 2
    kept = shots * p - 5 * np.sqrt(shots * p * (1 - p))
    # What is averaged lies within [-1, 1], so that its standard deviation is below 1.
    assert np.all(np.abs(flat(f)(W) - expected) < 5 / np.sqrt(kept))


@pytest.mark.parametrize(
    ("mode", "fewer"), [("hw-like", True), ("fill-shots", False)], ids=lambda v: str(v)
)
def test_postselection_drops_runs_only_as_hardware_would(mode, fewer):
    def circuit():
        qml.Hadamard(0)
        qml.measure(0, postselect=1)
        return qml.sample(wires=0)

    f = qml.QNode(
        circuit, device(), shots=100, mcm_method="deferred", postselect_mode=mode
    )
    samples = f()
    assert set(samples.ravel()) == {1}
    assert (len(samples) < 100) is fewer


@pytest.mark.parametrize(("shots", "method"), [(20, "one-shot"), (None, "deferred")])
def test_measurement_method_follows_the_shots(shots, method):
    tape = qml.tape.QuantumScript([], [qml.expval(qml.Z(0))], shots=shots)
    config = device().setup_execution_config(qml.devices.ExecutionConfig(), tape)
    assert config.mcm_config.mcm_method == method


def test_tree_traversal_is_refused():
    f = qml.QNode(teleport, device(), shots=20, mcm_method="tree-traversal")
    with pytest.raises(DeviceError, match="tree-traversal"):
        f(W)
