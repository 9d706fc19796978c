"""Gradients of random circuits of the kinds that went wrong are right, or refused.

Each circuit is drawn twice over: as PennyLane writes it, and as dense matrices, of
which differences are taken. What a device gives is that to 1e-8, or a DeviceError or
QuantumFunctionError that names what is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import scipy.linalg
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError

jax.config.update("jax_enable_x64", True)

N_CASES, BLOCK = 150, 25
DEVICES = {
    "ideal": functools.partial(qml.device, "qstore.mock_ideal"),
    "noiseless": functools.partial(qml.device, "qstore.mock_noisy", noise=None),
}
LABELS = [
    [0, 1, 2],
    [np.int64(1), np.int64(0), np.int64(2)],
    [np.int64(5), 1, np.int32(3)],
    ["b", np.int64(0), "a"],
    [2, np.int64(0), 1],
]
# PennyLane defers a measurement onto a wire of the circuit where labels are numpy's.
MEASURED = [[0, 1, 2], [2, 0, 1], ["b", "a", "c"], ["b", 0, 1]]
PAULI = {c: getattr(qml, c)(0).matrix() for c in "XYZ"} | {"I": np.eye(2)}


@dataclass(frozen=True)
class Step:
    """A piece of a circuit.

    Args:
        kind: What it is.
        write: Maps (angles, labels of all wires) to PennyLane's operations.
        matrix: Maps angles to a matrix on ``wires``; a projection is not unitary.
        wires: Positions.
    """

    kind: str
    write: Callable[[Any, list], object]
    matrix: Callable[[np.ndarray], np.ndarray]
    wires: tuple[int, ...]


def word_matrix(word):
    return functools.reduce(np.kron, [PAULI[c] for c in word])


def word_operator(word, labels):
    factors = [getattr(qml, c)(w) for c, w in zip(word, labels, strict=True)]
    return qml.prod(*factors) if len(factors) > 1 else factors[0]


def rotated(letter, angle):
    return scipy.linalg.expm(-0.5j * angle * PAULI[letter])


# ------------------------------------------------------------------- the pieces
def rotation(rng, n):
    letter, i, w = rng.choice(list("XYZ")), rng.integers(3), int(rng.integers(n))
    a, b = rng.uniform(0.5, 1.5), rng.uniform(-1, 1)
    gate = getattr(qml, f"R{letter}")
    return Step(
        "rotation",
        lambda t, labels: gate(a * t[i] + b, labels[w]),
        lambda t: rotated(letter, a * t[i] + b),
        (w,),
    )


def pair(rng, n):
    return tuple(int(w) for w in rng.permutation(n)[:2])


def entangler(rng, n):
    gate, wires = [qml.CNOT, qml.CZ, qml.CY, qml.ISWAP][rng.integers(4)], pair(rng, n)
    return Step(
        "entangler",
        lambda t, labels: gate([labels[w] for w in wires]),
        lambda t: gate([0, 1]).matrix(),
        wires,
    )


def coupling(rng, n):
    wires, i = pair(rng, n), rng.integers(3)
    return Step(
        "coupling",
        lambda t, labels: qml.ctrl(qml.RY(t[i], labels[wires[1]]), labels[wires[0]]),
        lambda t: scipy.linalg.block_diag(np.eye(2), rotated("Y", t[i])),
        wires,
    )


def exponential(rng, n):
    """Of two words that do not commute."""
    wires, i = pair(rng, n), rng.integers(3)
    words = [("XY", "ZI"), ("ZZ", "XI"), ("IX", "XZ"), ("YI", "ZX")][rng.integers(4)]
    scale = rng.uniform(0.4, 1.2)
    evolves = bool(rng.integers(2))
    generator = sum(word_matrix(word) for word in words)

    def write(t, labels):
        terms = [word_operator(word, [labels[w] for w in wires]) for word in words]
        if evolves:
            return qml.evolve(qml.sum(*terms), scale * t[i])
        return qml.exp(qml.sum(*terms), -1j * scale * t[i])

    return Step(
        "exponential",
        write,
        lambda t: scipy.linalg.expm(-1j * scale * t[i] * generator),
        wires,
    )


def embedding(rng, n):
    """A list or tuple of traced values; only autograd has them."""
    wires, (i, j) = pair(rng, n), rng.integers(3, size=2)
    shape = [list, tuple][rng.integers(2)]

    def write(t, labels):
        values = shape([t[i], 0.7 * t[j]])
        if qml.math.get_interface(t) != "autograd":
            values = qml.math.stack(values)
        qml.AngleEmbedding(values, [labels[w] for w in wires], rotation="Y")

    return Step(
        "list",
        write,
        lambda t: np.kron(rotated("Y", t[i]), rotated("Y", 0.7 * t[j])),
        wires,
    )


def own_gate(rng, n):
    """Somebody's gate, known by its matrix, with a name of PennyLane's."""
    name = str(rng.choice(["SX", "T", "PauliX", "CNOT", "ISWAP"]))
    wires = pair(rng, n)[: 2 if name in ("CNOT", "ISWAP") else 1]
    side = 2 ** len(wires)
    a = rng.normal(size=(side, side)) + 1j * rng.normal(size=(side, side))
    matrix = np.linalg.qr(a)[0]
    fields = {
        "num_wires": len(wires),
        "num_params": 0,
        "compute_matrix": staticmethod(lambda: matrix),
    }
    gate = type(name, (qml.operation.Operation,), fields)
    return Step(
        "own gate",
        lambda t, labels: gate(wires=[labels[w] for w in wires]),
        lambda t: matrix,
        wires,
    )


def own_rotation(rng, n):
    """Somebody's gate with an angle: RX by name, RY at twice the angle in truth."""
    i, w = rng.integers(3), int(rng.integers(n))
    fields = {
        "num_wires": 1,
        "num_params": 1,
        "ndim_params": (0,),
        "compute_matrix": staticmethod(lambda x: qml.RY.compute_matrix(2.0 * x)),
    }
    gate = type("RX", (qml.operation.Operation,), fields)
    return Step(
        "own rotation",
        lambda t, labels: gate(t[i], wires=labels[w]),
        lambda t: rotated("Y", 2.0 * t[i]),
        (w,),
    )


def postselection(rng, n):
    w, outcome = int(rng.integers(n)), int(rng.integers(2))
    return Step(
        "postselection",
        lambda t, labels: qml.measure(labels[w], postselect=outcome),
        lambda t: np.diag([1.0 - outcome, float(outcome)]),
        (w,),
    )


def projector(rng, n):
    w, outcome = int(rng.integers(n)), int(rng.integers(2))
    return Step(
        "projector",
        lambda t, labels: qml.Projector([outcome], labels[w]),
        lambda t: np.diag([1.0 - outcome, float(outcome)]),
        (w,),
    )


USUAL = [rotation, entangler, coupling]
SPECIAL = [
    exponential,
    embedding,
    own_gate,
    own_rotation,
    postselection,
    projector,
]


@dataclass(frozen=True)
class Case:
    """A random circuit, its angles and what is measured of it."""

    n: int
    labels: list
    steps: list[Step]
    angles: np.ndarray
    words: tuple[str, str]
    measurement: str
    weights: np.ndarray

    def circuit(self, t):
        for step in self.steps:
            step.write(t, self.labels)
        if self.measurement == "probs":
            return qml.probs(wires=self.labels[::-1])
        words = [word_operator(word, self.labels) for word in self.words]
        if self.measurement == "var":
            return qml.var(words[0])
        return qml.expval(qml.sum(words[0], qml.s_prod(-0.6, words[1])))

    def state(self, t):
        """The state by dense matrices; its norm is smaller after a projection."""
        psi = np.zeros([2] * self.n, complex)
        psi[(0,) * self.n] = 1.0
        for step in self.steps:
            k = len(step.wires)
            gate = step.matrix(t).reshape([2] * (2 * k))
            psi = np.tensordot(gate, psi, [range(k, 2 * k), step.wires])
            psi = np.moveaxis(psi, range(k), step.wires)
        return psi

    def loss(self, t):
        """What the loss is by theory."""
        psi = self.state(t)
        psi = psi / np.linalg.norm(psi)
        if self.measurement == "probs":
            return self.weights @ (np.abs(psi.T) ** 2).ravel()
        a, b = (word_matrix(word) for word in self.words)
        psi = psi.ravel()
        mean = np.vdot(psi, a @ psi).real
        if self.measurement == "var":
            return 1.0 - mean**2
        return mean - 0.6 * np.vdot(psi, b @ psi).real

    def gradient(self, step=1e-3):
        """Differences of fourth order."""
        slopes = []
        for e in step * np.eye(len(self.angles)):
            near, far = (
                self.loss(self.angles + k * e) - self.loss(self.angles - k * e)
                for k in (1, 2)
            )
            slopes.append((8 * near - far) / (12 * step))
        return np.array(slopes)


@functools.cache
def draw(index):
    """A case whose projections happen, so that differences are as good as elsewhere."""
    rng = np.random.default_rng([2026, index])
    while True:
        case = draw_any(rng, index)
        if np.linalg.norm(case.state(case.angles)) > 0.4:
            return case


def draw_any(rng, index):
    n = 2 + int(rng.integers(2))
    steps = [rotation(rng, n) for _ in range(2 * n)]
    special = [SPECIAL[i] for i in rng.permutation(len(SPECIAL))[:2]]
    special.append(SPECIAL[index % len(SPECIAL)])
    for make in special:
        steps.append(make(rng, n))
        steps += [USUAL[i](rng, n) for i in rng.integers(len(USUAL), size=2)]
    measured = any(step.kind == "postselection" for step in steps)
    labels = MEASURED if measured else LABELS
    words = tuple("".join(rng.choice(list("XYZ"), size=n)) for _ in range(2))
    return Case(
        n=n,
        labels=labels[rng.integers(len(labels))][:n],
        steps=steps,
        angles=rng.uniform(-1.5, 1.5, 3),
        words=words,
        measurement=str(rng.choice(["expval", "expval", "var", "probs"])),
        weights=rng.normal(size=2**n),
    )


@functools.cache
def expected(index):
    """Value and gradient by the oracle."""
    case = draw(index)
    return case.loss(case.angles), case.gradient()


def interface_of(index):
    """JAX compiles every circuit it meets, so it gets one of each special piece."""
    return "jax" if index % 25 == 0 else ("autograd", "torch")[index % 2]


def weighted(case, results):
    if case.measurement != "probs":
        return results
    return qml.math.sum(results * qml.math.convert_like(case.weights, results))


def value_and_gradient(case, device, interface):
    qnode = qml.QNode(case.circuit, device)

    def loss(t):
        return weighted(case, qnode(t))

    if interface == "torch":
        t = torch.tensor(case.angles, requires_grad=True)
        value = loss(t)
        value.backward()
        return value.item(), t.grad.numpy()
    if interface == "jax":
        return map(np.asarray, jax.value_and_grad(loss)(jnp.asarray(case.angles)))
    t = pnp.array(case.angles, requires_grad=True)
    return loss(t), qml.grad(loss)(t)


@pytest.mark.parametrize("block", range(N_CASES // BLOCK))
@pytest.mark.parametrize("name", DEVICES)
def test_gradients_are_those_of_dense_matrices_or_refused(name, block):
    device = DEVICES[name]()
    refused = []
    for index in range(BLOCK * block, BLOCK * (block + 1)):
        case, interface = draw(index), interface_of(index)
        kinds = [step.kind for step in case.steps]
        told = f"case {index} in {interface}: {kinds}, {case.measurement}"
        try:
            value, gradient = value_and_gradient(case, device, interface)
        except (DeviceError, QuantumFunctionError) as error:
            refused.append((told, str(error)))
            continue
        exact, slopes = expected(index)
        np.testing.assert_allclose(value, exact, rtol=0, atol=1e-10, err_msg=told)
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=1e-8, err_msg=told)
    assert refused == []
