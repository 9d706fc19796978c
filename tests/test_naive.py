"""The dense twins against closed forms written out by hand."""

import numpy as np
import pytest

from tests.naive import (
    PAULI,
    controlled,
    dense_state,
    expectation,
    on_all_wires,
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
