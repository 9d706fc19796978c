"""Basis encoding: |bits> with phase 1, on batches too."""

import functools
import itertools

import jax
import numpy as np
import pennylane as qml
import pytest
import torch

from qstore_pl.templates import BasisEncoding


def _encoded(bits):
    @qml.qnode(qml.device("default.qubit"))
    def circuit(bits):
        BasisEncoding(bits, wires=range(bits.shape[-1]))
        return qml.state()

    return circuit(bits)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_all_basis_states_in_one_batch(n):
    batch = np.array(list(itertools.product([0, 1], repeat=n)))
    np.testing.assert_allclose(_encoded(batch), np.eye(2**n), atol=1e-15)
    for k, bits in enumerate(batch):
        np.testing.assert_allclose(_encoded(bits), np.eye(2**n)[k], atol=1e-15)


@pytest.mark.parametrize("bits", list(itertools.product([0, 1], repeat=3)))
def test_is_x_where_the_bit_is_one(bits):
    flip = np.array([[0, 1], [1, 0]])
    expected = functools.reduce(np.kron, [flip if bit else np.eye(2) for bit in bits])
    operation = BasisEncoding(bits, wires=range(3))
    np.testing.assert_allclose(
        qml.matrix(operation, wire_order=range(3)), expected, atol=1e-15
    )


def test_takes_the_batch_that_pennylanes_embedding_refuses():
    batch = np.array([[0, 1], [1, 1]])
    with pytest.raises(ValueError, match="must be one-dimensional"):
        qml.BasisEmbedding(batch, wires=range(2))
    assert BasisEncoding(batch, wires=range(2)).batch_size == 2


def test_is_the_state_of_pennylanes_embedding():
    bits = np.array([1, 0, 1, 1])

    @qml.qnode(qml.device("default.qubit"))
    def embedded():
        qml.BasisEmbedding(bits, wires=range(4))
        return qml.state()

    np.testing.assert_allclose(_encoded(bits), embedded(), atol=1e-15)


@pytest.mark.parametrize(
    "bits",
    [
        np.array([True, False, True]),
        np.array([1, 0, 1], dtype=np.uint8),
        np.array([1, 0, 1], dtype=np.float32),
        torch.tensor([1, 0, 1]),
        torch.tensor([True, False, True]),
        torch.tensor([1.0, 0.0, 1.0]),
    ],
    ids=lambda bits: str(bits.dtype),
)
def test_any_number_type_gives_the_state_in_double_precision(bits):
    np.testing.assert_allclose(_encoded(bits), np.eye(8)[5], atol=1e-15)


def test_jax_in_single_precision_without_a_warning():
    operation = BasisEncoding(jax.numpy.array([1, 0, 1]), wires=range(3))
    assert [gate.name for gate in operation.decomposition()] == [
        *["RX"] * 3,
        "GlobalPhase",
    ]


@pytest.mark.parametrize(
    ("bits", "where", "value"),
    [
        ([0, 2, 1], r"\(1,\)", "2"),
        ([[0, 1], [1, 0.5]], r"\(1, 1\)", r"0\.5"),
        ([[0, -1]], r"\(0, 1\)", "-1"),
        ([np.nan, 1], r"\(0,\)", "nan"),
        ([1, np.inf], r"\(1,\)", "inf"),
    ],
)
@pytest.mark.parametrize("framework", [np.array, torch.tensor, jax.numpy.array])
def test_other_values_are_refused(bits, where, value, framework):
    bits = framework(bits)
    with pytest.raises(
        ValueError, match=rf"only 0 and 1, but entry {where} is .*{value}"
    ):
        BasisEncoding(bits, wires=range(bits.shape[-1]))


def test_traced_values_are_not_looked_at():
    @jax.jit
    def first_angle(bits):
        operation = BasisEncoding(bits, wires=range(2))
        return operation.decomposition()[0].data[0]

    assert first_angle(jax.numpy.array([0.5, 1])) == pytest.approx(np.pi / 2)


def test_the_bit_count_is_the_wire_count():
    with pytest.raises(
        ValueError,
        match=r"`bits` must have shape \(2,\) or \(batch, 2\), but has shape \(3,\)",
    ):
        BasisEncoding([1, 0, 1], wires=range(2))
