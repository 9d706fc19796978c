"""Pauli vectors and transfer matrices against their definitions and closed forms."""

from itertools import product

import numpy as np
import pytest

from qstore_pl.engine.transfer import (
    density_matrix,
    pauli_vector,
    pauli_words,
    transfer_matrix,
)
from tests.naive import (
    PAULI,
    apply_kraus,
    apply_transfer,
    pauli_components,
    pauli_word_matrix,
)


def hermitian(rng, n, batch):
    matrices = rng.normal(size=(2, batch, 2**n, 2**n))
    matrices = matrices[0] + 1j * matrices[1]
    return matrices + matrices.conj().transpose(0, 2, 1)


def random_kraus(rng, k, count):
    """``count`` matrices with sum of K^dagger K equal to 1: slices of an isometry."""
    normal = rng.normal(size=(2, count * 2**k, 2**k))
    q, _ = np.linalg.qr(normal[0] + 1j * normal[1])
    return q.reshape(count, 2**k, 2**k)


# ------------------------------------------------------- vectors
@pytest.mark.parametrize("k", [1, 2, 3])
def test_words_are_kronecker_products_in_the_order_of_their_digits(k):
    expected = [pauli_word_matrix("".join(word)) for word in product("IXYZ", repeat=k)]
    np.testing.assert_array_equal(pauli_words(k), expected)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_pauli_vector_holds_the_traces_with_all_words(n):
    matrices = hermitian(np.random.default_rng(n), n, batch=3)
    expected = [pauli_components(matrix) for matrix in matrices]
    np.testing.assert_allclose(pauli_vector(matrices), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_density_matrix_of_a_pauli_vector_is_where_it_came_from(n):
    matrices = hermitian(np.random.default_rng(n), n, batch=2)
    back = density_matrix(pauli_vector(matrices))
    np.testing.assert_allclose(back, matrices, rtol=0, atol=1e-14)


def test_a_density_matrix_is_the_sum_of_its_words():
    vectors = np.random.default_rng(9).normal(size=(2, 16))
    expected = np.tensordot(vectors, pauli_words(2), 1) / 4
    np.testing.assert_allclose(density_matrix(vectors), expected, rtol=0, atol=1e-15)


# ------------------------------------------------------- channels in closed form
def depolarizing(p):
    identity, *letters = PAULI.values()
    return [np.sqrt(1 - p) * identity, *(np.sqrt(p / 3) * one for one in letters)]


def damping(gamma):
    return [
        np.diag([1, np.sqrt(1 - gamma)]),
        np.sqrt(gamma) * np.array([[0, 1], [0, 0]]),
    ]


@pytest.mark.parametrize("p", [0.0, 0.2, 0.75, 1.0])
def test_depolarizing_shrinks_every_letter_alike(p):
    expected = np.diag([1.0] + 3 * [1 - 4 * p / 3])
    transfer = transfer_matrix(depolarizing(p))
    np.testing.assert_allclose(transfer, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("gamma", [0.0, 0.36, 1.0])
def test_damping_shifts_z_by_gamma(gamma):
    expected = np.diag([1.0, np.sqrt(1 - gamma), np.sqrt(1 - gamma), 1 - gamma])
    expected[3, 0] = gamma
    transfer = transfer_matrix(damping(gamma))
    np.testing.assert_allclose(transfer, expected, rtol=0, atol=1e-15)


def test_a_rotation_about_z_turns_x_towards_y():
    angle = 0.7
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.diag(np.exp([-0.5j * angle, 0.5j * angle]))
    expected = [[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(transfer_matrix([rotation]), expected, atol=1e-15)


def test_cnot_maps_words_to_words():
    cnot = np.eye(4)[[0, 1, 3, 2]]
    images = {"XI": "XX", "IX": "IX", "ZI": "ZI", "IZ": "ZZ", "YI": "YX", "XZ": "-YY"}
    transfer = transfer_matrix([cnot])
    words = ["".join(word) for word in product("IXYZ", repeat=2)]
    for word, image in images.items():
        expected = np.zeros(16)
        expected[words.index(image[-2:])] = -1.0 if image.startswith("-") else 1.0
        column = transfer[:, words.index(word)]
        np.testing.assert_allclose(column, expected, rtol=0, atol=1e-15)


# ------------------------------------------------------- channels in general
@pytest.mark.parametrize(("k", "count"), [(1, 1), (1, 4), (2, 1), (2, 3), (3, 2)])
def test_a_transfer_matrix_does_what_its_kraus_matrices_do(k, count):
    rng = np.random.default_rng([k, count])
    kraus = random_kraus(rng, k, count)
    (rho,) = hermitian(rng, k, batch=1)
    transfer = transfer_matrix(kraus)
    after = apply_kraus(rho, kraus, range(k))
    moved = transfer @ pauli_vector(rho[None])[0]
    np.testing.assert_allclose(moved, pauli_components(after), rtol=0, atol=1e-13)
    dense = apply_transfer(rho, transfer, range(k))
    np.testing.assert_allclose(dense, after, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("k", "count"), [(1, 2), (2, 4)])
def test_channels_keep_the_trace_and_shrink_words(k, count):
    transfer = transfer_matrix(random_kraus(np.random.default_rng(k), k, count))
    np.testing.assert_allclose(transfer[0], np.eye(4**k)[0], rtol=0, atol=1e-15)
    assert np.all(np.abs(transfer) <= 1 + 1e-15)
    assert np.max(np.abs(transfer[1:, 0])) > 1e-3  # this one is not unital


def test_a_unitary_is_an_orthogonal_matrix_and_order_is_composition():
    one, other = random_kraus(np.random.default_rng(2), 2, 1), np.eye(4)[[0, 2, 1, 3]]
    transfer = transfer_matrix(one)
    np.testing.assert_allclose(transfer @ transfer.T, np.eye(16), rtol=0, atol=1e-14)
    both = transfer_matrix([other @ one[0]])
    product_ = transfer_matrix([other]) @ transfer
    np.testing.assert_allclose(both, product_, rtol=0, atol=1e-14)
