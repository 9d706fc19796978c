"""Rotation-entangler layers against a dense product of Kronecker products."""

import functools
import itertools

import numpy as np
import pennylane as qml
import pytest

from qstore_pl.templates import (
    ENTANGLEMENTS,
    RotationEntanglerLayers,
    entangler_pairs,
)

I2 = np.eye(2)
X = np.array([[0, 1], [1, 0]])
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1, -1])

# Written out by hand: control, target.
PAIRS = {
    ("linear", 1): [],
    ("linear", 2): [(0, 1)],
    ("linear", 3): [(0, 1), (1, 2)],
    ("linear", 4): [(0, 1), (1, 2), (2, 3)],
    ("circular", 1): [],
    ("circular", 2): [(0, 1)],
    ("circular", 3): [(0, 1), (1, 2), (2, 0)],
    ("circular", 4): [(0, 1), (1, 2), (2, 3), (3, 0)],
    ("none", 1): [],
    ("none", 2): [],
    ("none", 3): [],
    ("none", 4): [],
    ("full", 1): [],
    ("full", 2): [(0, 1)],
    ("full", 3): [(0, 1), (0, 2), (1, 2)],
    ("full", 4): [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)],
}


def _rotation(pauli, angle):
    return np.cos(angle / 2) * I2 - 1j * np.sin(angle / 2) * pauli


def _cnot(control, target, n):
    """|0><0| on the control plus |1><1| on the control and X on the target."""
    stay, flip = [I2] * n, [I2] * n
    stay[control] = np.diag([1, 0])
    flip[control] = np.diag([0, 1])
    flip[target] = X
    return functools.reduce(np.kron, stay) + functools.reduce(np.kron, flip)


def _dense(weights, pairs):
    n_layers, n, _ = weights.shape
    unitary = np.eye(2**n)
    for layer in range(n_layers):
        blocks = [
            _rotation(Z, z) @ _rotation(Y, y) @ _rotation(X, x)
            for x, y, z in weights[layer]
        ]
        unitary = functools.reduce(np.kron, blocks) @ unitary
        for control, target in pairs:
            unitary = _cnot(control, target, n) @ unitary
    return unitary


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("entanglement", ENTANGLEMENTS)
@pytest.mark.parametrize("n_layers", [1, 3])
def test_is_the_dense_product(n, entanglement, n_layers):
    weights = np.random.default_rng(n).uniform(-4, 4, size=(n_layers, n, 3))
    operation = RotationEntanglerLayers(weights, range(n), entanglement=entanglement)
    np.testing.assert_allclose(
        qml.matrix(operation, wire_order=range(n)),
        _dense(weights, PAIRS[entanglement, n]),
        atol=1e-13,
    )


@pytest.mark.parametrize(
    ("entanglement", "n"), list(itertools.product(ENTANGLEMENTS, [1, 2, 3, 4]))
)
def test_pairs_in_order(entanglement, n):
    assert entangler_pairs(n, entanglement) == PAIRS[entanglement, n]


def test_gates_come_in_the_documented_order():
    weights = np.arange(6.0).reshape(1, 2, 3)
    gates = RotationEntanglerLayers(weights, ["a", "b"]).decomposition()
    assert [(gate.name, *gate.wires, *gate.data) for gate in gates] == [
        ("RX", "a", 0.0),
        ("RY", "a", 1.0),
        ("RZ", "a", 2.0),
        ("RX", "b", 3.0),
        ("RY", "b", 4.0),
        ("RZ", "b", 5.0),
        ("CNOT", "a", "b"),
    ]


def test_circular_is_the_default():
    weights = np.zeros((1, 3, 3))
    assert RotationEntanglerLayers(weights, range(3)).hyperparameters == {
        "entanglement": "circular"
    }


def test_shape_is_that_of_the_weights():
    assert RotationEntanglerLayers.shape(n_layers=2, n_wires=4) == (2, 4, 3)
    RotationEntanglerLayers(np.zeros(RotationEntanglerLayers.shape(2, 4)), range(4))
    with pytest.raises(ValueError, match="`n_layers` must be >= 1, but is 0"):
        RotationEntanglerLayers.shape(0, 4)
    with pytest.raises(TypeError, match=r"`n_wires` must be an integer, but is 2\.0"):
        RotationEntanglerLayers.shape(1, 2.0)


def test_needs_a_layer():
    with pytest.raises(ValueError, match=r"\(n_layers, 4, 3\).*has shape \(0, 4, 3\)"):
        RotationEntanglerLayers(np.zeros((0, 4, 3)), range(4))


def test_says_the_shape_needed_and_got():
    with pytest.raises(
        ValueError,
        match=r"`weights` must have shape \(n_layers, 4, 3\) or "
        r"\(batch, n_layers, 4, 3\), but has shape \(2, 3, 3\)\.",
    ):
        RotationEntanglerLayers(np.zeros((2, 3, 3)), range(4))


@pytest.mark.parametrize("word", ["ring", "Full", "", None, 3])
def test_unknown_entanglement_lists_the_known(word):
    known = '"circular", "full", "linear", "none"'
    with pytest.raises(ValueError, match=f"one of {known}, but is {word!r}"):
        RotationEntanglerLayers(np.zeros((1, 2, 3)), range(2), entanglement=word)
    with pytest.raises(ValueError, match=f"one of {known}"):
        entangler_pairs(2, word)
