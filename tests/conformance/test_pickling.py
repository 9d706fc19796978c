"""Devices and QNodes survive pickle and deepcopy, with a random stream of their own."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

DEVICE = "qstore.mock_ideal"
W = np.array([0.4, 1.1])
VALUE = np.cos(0.4) * np.cos(1.1)

COPIES = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(params=COPIES)
def duplicate(request):
    """Each way to copy an object in turn."""
    return COPIES[request.param]


def circuit(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(1))


def draw(device):
    def sampled():
        qml.Hadamard(0)
        qml.Hadamard(1)
        return qml.sample(wires=[0, 1])

    return qml.QNode(sampled, device, shots=200)().tolist()


@pytest.mark.parametrize("wires", [2, None, [1, 0, "spare"]])
@pytest.mark.parametrize("used", [False, True])
def test_copies_compute_the_same(duplicate, wires, used, agree):
    device = qml.device(DEVICE, wires=wires)
    if used:
        qml.grad(qml.QNode(circuit, device))(pnp.array(W))
    twin = duplicate(device)
    assert twin is not device
    assert twin.wires == device.wires
    agree(qml.QNode(circuit, twin)(W), VALUE)
    gradient = qml.grad(qml.QNode(circuit, twin))(pnp.array(W))
    agree(gradient, qml.grad(qml.QNode(circuit, device))(pnp.array(W)), atol=0)


def test_copies_draw_other_samples(duplicate):
    device = qml.device(DEVICE, wires=2, seed=7)
    first, second = duplicate(device), duplicate(device)
    draws = [draw(d) for d in (device, first, second)]
    assert draws[0] != draws[1] != draws[2] != draws[0]


def test_the_samples_of_copies_follow_from_the_seed(duplicate):
    copies = [duplicate(qml.device(DEVICE, wires=2, seed=7)) for _ in range(2)]
    assert draw(copies[0]) == draw(copies[1])


def test_one_pickle_is_one_stream():
    data = pickle.dumps(qml.device(DEVICE, wires=2, seed=7))
    assert draw(pickle.loads(data)) == draw(pickle.loads(data))


def test_copying_does_not_touch_the_original(duplicate):
    device, untouched = (qml.device(DEVICE, wires=2, seed=7) for _ in range(2))
    duplicate(device)
    assert draw(device) == draw(untouched)


def test_devices_without_a_seed_are_copied_too(duplicate):
    device = qml.device(DEVICE, wires=2)
    assert draw(duplicate(device)) != draw(device)


def test_qnodes_are_copied_with_their_device(agree):
    qnode = qml.QNode(circuit, qml.device(DEVICE, wires=2))
    twin = copy.deepcopy(qnode)
    assert twin.device is not qnode.device
    agree(twin(W), VALUE)
