"""The dense twins against closed forms written out by hand."""

from itertools import product

import numpy as np
import pytest

from tests.naive import (
    PAULI,
    apply_kraus,
    apply_transfer,
    controlled,
    dense_state,
    expectation,
    mixed_expectation,
    on_all_wires,
    pauli_components,
    pauli_word_matrix,
)

HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


def ry(angle):
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    return np.array([[c, -s], [s, c]])


def test_wire_0_is_the_most_significant_bit():
    state = dense_state([(PAULI["X"], [0])], n=3)
    np.testing.assert_array_equal(state, np.eye(8)[0b100])


@pytest.mark.parametrize("first", [0, 1, 2])
def test_bell_pair_on_any_two_wires(first):
    second = (first + 1) % 3
    gates = [(HADAMARD, [first]), (controlled(PAULI["X"], 1), [first, second])]
    both = 2 ** (2 - first) + 2 ** (2 - second)
    expected = np.zeros(8)
    expected[[0, both]] = 1 / np.sqrt(2)
    np.testing.assert_allclose(dense_state(gates, n=3), expected, atol=1e-15)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.5])
def test_rotated_qubit_has_cosine_and_sine(angle):
    state = dense_state([(ry(angle), [1])], n=2)
    z, x = pauli_word_matrix("IZ"), pauli_word_matrix("IX")
    assert expectation(state, z) == pytest.approx(np.cos(angle), abs=1e-15)
    assert expectation(state, x) == pytest.approx(np.sin(angle), abs=1e-15)


def test_control_values_choose_the_block():
    gate = controlled(PAULI["Y"], 2, values=[1, 0])
    expected = np.eye(8, dtype=complex)
    expected[4:6, 4:6] = [[0, -1j], [1j, 0]]
    np.testing.assert_array_equal(gate, expected)


def test_word_is_the_product_of_its_letters():
    letters = [on_all_wires(PAULI[p], [w], 3) for w, p in enumerate("XYZ")]
    product = letters[0] @ letters[1] @ letters[2]
    np.testing.assert_array_equal(pauli_word_matrix("XYZ"), product)


def test_gate_on_reversed_wires_swaps_its_roles():
    cnot = controlled(PAULI["X"], 1)
    expected = np.eye(4)[[0, 3, 2, 1]]  # control on wire 1, target on wire 0
    np.testing.assert_array_equal(on_all_wires(cnot, [1, 0], 2), expected)


def test_given_initial_state_is_where_the_gates_start():
    initial = np.array([0.6, 0.8j])
    state = dense_state([(PAULI["X"], [0])], n=1, initial=initial)
    np.testing.assert_array_equal(state, [0.8j, 0.6])


# ------------------------------------------------------- mixed states
BELL = np.outer([1, 0, 0, 1], [1, 0, 0, 1]) / 2


def test_damping_one_half_of_a_bell_pair():
    gamma = 0.36  # the other half learns nothing of it
    kraus = [np.diag([1, 0.8]), np.array([[0, 0.6], [0, 0]])]
    rho = apply_kraus(BELL, kraus, [1])
    expected = np.array(
        [[1, 0, 0, 0.8], [0, 0, 0, 0], [0, 0, gamma, 0], [0.8, 0, 0, 1 - gamma]]
    )
    np.testing.assert_allclose(rho, expected / 2, rtol=0, atol=1e-15)


@pytest.mark.parametrize("wires", [[0], [2], [1, 0], [0, 2]])
def test_a_transfer_matrix_is_the_channel_it_was_read_from(wires):
    rng = np.random.default_rng(4)
    k, side = len(wires), 2 ** len(wires)
    kraus = rng.normal(size=(3, side, side)) + 1j * rng.normal(size=(3, side, side))
    words = [pauli_word_matrix("".join(p)) for p in product(PAULI, repeat=k)]
    images = [apply_kraus(word, kraus, range(k)) for word in words]
    transfer = [[np.trace(p @ image).real / side for image in images] for p in words]
    matrix = rng.normal(size=(8, 8)) + 1j * rng.normal(size=(8, 8))
    rho = matrix @ matrix.conj().T
    np.testing.assert_allclose(
        apply_transfer(rho, np.array(transfer), wires),
        apply_kraus(rho, kraus, wires),
        rtol=0,
        atol=1e-11,
    )


def test_components_of_a_bell_pair():
    components = pauli_components(BELL).reshape(4, 4)
    np.testing.assert_allclose(components, np.diag([1, 1, -1, 1]), atol=1e-15)


def test_mixed_expectation_of_a_pure_state_is_its_expectation():
    rng = np.random.default_rng(6)
    state = rng.normal(size=4) + 1j * rng.normal(size=4)
    matrix = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    matrix = matrix + matrix.conj().T
    mixed = mixed_expectation(np.outer(state, state.conj()), matrix)
    assert mixed == pytest.approx(expectation(state, matrix), abs=1e-13)
