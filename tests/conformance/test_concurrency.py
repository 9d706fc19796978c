"""Eight threads on one QNode give what one thread gives, bit for bit."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp

DEVICE = "qstore.mock_ideal"
WIRES = range(4)
THREADS = 8
TASKS = 32


def circuit(x, w):
    qml.AngleEmbedding(x, WIRES)
    qml.StronglyEntanglingLayers(w, WIRES)
    return [qml.expval(qml.Z(i)) for i in WIRES]


@pytest.fixture
def qnode():
    return qml.QNode(circuit, qml.device(DEVICE, wires=4, seed=3))


@pytest.fixture
def tasks(rng):
    """Features of different batch sizes, and weights of two depths."""
    sizes = rng.integers(1, 40, size=TASKS)
    depths = rng.integers(1, 3, size=TASKS)
    return [
        (rng.normal(size=(b, 4)), rng.normal(size=(d, 4, 3)))
        for b, d in zip(sizes, depths, strict=True)
    ]


def own(qnode):
    """A copy for one thread: PennyLane writes the state of a call into the QNode."""
    return copy.copy(qnode)


def assert_threads_equal_serial(function, tasks):
    with ThreadPoolExecutor(THREADS) as pool:
        threaded = list(pool.map(function, tasks))
    for actual, task in zip(threaded, tasks, strict=True):
        for one, other in zip(actual, function(task), strict=True):
            np.testing.assert_array_equal(one, other)


def test_values(qnode, tasks):
    assert_threads_equal_serial(lambda task: own(qnode)(*task), tasks)


def test_gradients_in_autograd(qnode, tasks):
    def gradient(task):
        x, w = (pnp.array(t, requires_grad=True) for t in task)
        mine = own(qnode)
        return qml.grad(lambda x, w: pnp.sum(pnp.stack(mine(x, w)) ** 2))(x, w)

    assert_threads_equal_serial(gradient, tasks)


def test_gradients_in_torch(qnode, tasks):
    def gradient(task):
        x, w = (torch.tensor(t, requires_grad=True) for t in task)
        torch.stack(own(qnode)(x, w)).square().sum().backward()
        return x.grad.numpy(), w.grad.numpy()

    assert_threads_equal_serial(gradient, tasks)


def test_samples_of_threads_are_all_different(qnode, rng):
    w = rng.normal(size=(1, 4, 3))

    def sampled(_):
        qml.StronglyEntanglingLayers(w, WIRES)
        return qml.sample()

    shots = qml.QNode(sampled, qnode.device, shots=500)
    with ThreadPoolExecutor(THREADS) as pool:
        draws = list(pool.map(lambda task: own(shots)(task), range(TASKS)))
    assert len({draw.tobytes() for draw in draws}) == TASKS
