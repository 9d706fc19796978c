"""What is no number, below a mask or in a gate, is refused and never read as one."""

import re

import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane.exceptions import DeviceError

from qstore_pl import (
    SGD,
    NaturalGradient,
    NoiseSpec,
    QuantumDataEncoder,
    QuantumGradientComputer,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)
from qstore_pl._checks import finite, plain
from qstore_pl.templates import RotationEntanglerLayers, ZZFeatureMap

WHOLE = np.array([[0.1, 0.2], [0.3, 0.4]])
MASKED = np.ma.array(WHOLE, mask=[[False, False], [True, False]])
layer = QuantumLayer(2, 1, seed=0)
FLAT = np.ma.array(layer.parameters, mask=[True, *[False] * 5])

TAKERS = {
    "plain": lambda: plain("data", MASKED),
    "finite": lambda: finite("data", MASKED),
    "rows in a list": lambda: finite("data", list(MASKED)),
    "the masked constant": lambda: finite("data", [0.5, np.ma.masked]),
    "encoder": lambda: QuantumDataEncoder().encode(MASKED, "angle"),
    "parameters": lambda: QuantumGradientComputer().compute_gradients(
        layer.circuit, FLAT
    ),
    "trainable": lambda: QuantumGradientComputer().compute_gradients(
        layer.circuit, layer.parameters, trainable=FLAT > 0
    ),
    "metric": lambda: NaturalGradient().step(np.ones(2), np.ones(2), metric=MASKED),
    "readout errors": lambda: NoiseSpec(readout=MASKED),
    "samples": lambda: train((MASKED, WHOLE)),
    "targets": lambda: train((WHOLE, MASKED)),
    "labels": lambda: train((WHOLE, np.ma.array([0, 1], mask=[0, 1])), "hinge"),
    "weights of samples": lambda: train((WHOLE, WHOLE, MASKED[1])),
    "samples to predict": lambda: QuantumModel(2, 2, seed=0).forward(MASKED),
    "gradients": lambda: SGD().step(np.ones(2), MASKED[1]),
    "frozen": lambda: SGD().step(np.ones(2), np.ones(2), trainable=MASKED[1] > 0),
}


def train(data, loss="mse"):
    config = TrainingConfig(epochs=1, seed=0, loss=loss)
    QuantumTrainer(config).train(QuantumModel(2, 2, seed=0), data)


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_masked_entry_is_refused_with_the_way_out(take):
    with pytest.raises(ValueError, match=r"no masked entries.*\.filled\(number\)"):
        take()


def test_masked_arrays_without_a_masked_entry_are_taken():
    for array in (np.ma.array(WHOLE), np.ma.array(WHOLE, mask=False)):
        taken = finite("data", array)
        assert type(taken) is np.ndarray
        np.testing.assert_array_equal(taken, WHOLE)
        encoded = QuantumDataEncoder().encode(array, "angle")
        np.testing.assert_array_equal(encoded, WHOLE)


GATES = {
    "RX": lambda bad: qml.RX(bad, 0),
    "Rot": lambda bad: qml.Rot(0.1, bad, 0.2, 0),
    "Adjoint(RX)": lambda bad: qml.adjoint(qml.RX)(bad, 0),
    "CRX": lambda bad: qml.ctrl(qml.RX, 1)(bad, 0),
    "AngleEmbedding": lambda bad: qml.AngleEmbedding([0.1, bad], wires=[0, 1]),
    "RotationEntanglerLayers": lambda bad: RotationEntanglerLayers(
        [[[0.1, 0.2, bad], [0.1, 0.2, 0.3]]], wires=[0, 1]
    ),
    "ZZFeatureMap": lambda bad: ZZFeatureMap([bad, 0.2], wires=[0, 1]),
}
VALUES = {"numpy": 0.1, "JAX": jnp.array(0.1), "torch": torch.tensor(0.1)}


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "qstore.mock_noisy"])
@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("bad", [None, "a"])
def test_a_gate_refuses_none_and_text_by_its_name(device, name, bad):
    @qml.qnode(qml.device(device, wires=2))
    def circuit(x):
        qml.RY(x, 1)
        GATES[name](bad)
        return qml.expval(qml.Z(0))

    for value in VALUES.values():
        with pytest.raises(DeviceError, match=re.escape(f"of {name} ")):
            circuit(value)


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "qstore.mock_noisy"])
def test_a_gate_refuses_masked_values_and_takes_others(device):
    @qml.qnode(qml.device(device, wires=2))
    def circuit(angles):
        qml.RX(angles, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match=r"of RX .* masked entries"):
        circuit(MASKED[1])
    np.testing.assert_array_equal(circuit(MASKED[0]), circuit(WHOLE[0]))
