"""The ZZ feature map against its formula, written out on all basis states."""

import itertools

import numpy as np
import pennylane as qml
import pytest

from qstore_pl.templates import ZZFeatureMap


def _dense_state(x, pairs, reps):
    """(D(x) H^n)^reps |0>, D(x) diagonal in the basis states b, wire 0 first."""
    n = len(x)
    hadamards = np.ones((1, 1))
    for _ in range(n):
        hadamards = np.kron(hadamards, np.array([[1, 1], [1, -1]]) / np.sqrt(2))
    phases = np.array(
        [
            sum(2 * x[i] * b[i] for i in range(n))
            + sum(2 * (np.pi - x[i]) * (np.pi - x[j]) * (b[i] ^ b[j]) for i, j in pairs)
            for b in itertools.product([0, 1], repeat=n)
        ]
    )
    state = np.eye(2**n)[0]
    for _ in range(reps):
        state = np.exp(1j * phases) * (hadamards @ state)
    return state


PAIRS = {
    "full": {1: [], 2: [(0, 1)], 3: [(0, 1), (0, 2), (1, 2)]},
    "linear": {1: [], 2: [(0, 1)], 3: [(0, 1), (1, 2)]},
}


@qml.qnode(qml.device("default.qubit"))
def _state(x, **options):
    ZZFeatureMap(x, wires=range(x.shape[-1]), **options)
    return qml.state()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("entanglement", ["full", "linear"])
@pytest.mark.parametrize("reps", [1, 2, 3])
def test_is_the_formula(n, entanglement, reps):
    batch = np.random.default_rng(n).uniform(-7, 7, size=(4, n))
    pairs = PAIRS[entanglement][n]
    expected = np.stack([_dense_state(x, pairs, reps) for x in batch])
    states = _state(batch, reps=reps, entanglement=entanglement)
    np.testing.assert_allclose(states, expected, atol=1e-12)


def test_two_repetitions_and_all_pairs_are_the_default():
    x = np.array([0.4, -1.1, 2.5])
    expected = _dense_state(x, PAIRS["full"][3], reps=2)
    np.testing.assert_allclose(_state(x), expected, atol=1e-13)


def test_is_the_conjugate_of_the_papers_state_up_to_a_phase():
    """Havlicek et al., eq. (S34): exp(i (x_0 Z_0 + x_1 Z_1 + (pi-x_0)(pi-x_1) ZZ))."""
    x = np.array([0.7, -2.2])
    z = np.array([1, -1])
    ones = np.ones(2)
    angles = (
        x[0] * np.kron(z, ones)
        + x[1] * np.kron(ones, z)
        + (np.pi - x[0]) * (np.pi - x[1]) * np.kron(z, z)
    )
    hadamard = np.array([[1, 1], [1, -1]]) / np.sqrt(2)
    layer = np.exp(1j * angles)[:, None] * np.kron(hadamard, hadamard)
    paper = layer @ layer @ np.eye(4)[0]
    assert abs(np.vdot(_state(x), paper.conj())) == pytest.approx(1, abs=1e-13)
    assert abs(np.vdot(_state(x), paper)) < 0.99


def test_angles_are_not_reduced():
    x = np.array([0.3, 0.9])
    angles = [
        float(gate.data[0])
        for gate in ZZFeatureMap(10 * x, wires=[0, 1], reps=1).decomposition()
        if gate.num_params
    ]
    product = 2 * (np.pi - 3) * (np.pi - 9)
    np.testing.assert_allclose(angles, [6.0, 18.0, product], rtol=1e-15)
    shifted = _state(x + np.array([2 * np.pi, 0]))
    assert abs(np.vdot(_state(x), shifted)) < 0.99


def test_the_feature_count_is_the_wire_count():
    with pytest.raises(
        ValueError,
        match=r"`features` must have shape \(4,\) or \(batch, 4\), "
        r"but has shape \(3,\)",
    ):
        ZZFeatureMap(np.zeros(3), wires=range(4))


@pytest.mark.parametrize("word", ["circular", "all", None])
def test_unknown_entanglement_lists_the_known(word):
    with pytest.raises(ValueError, match=f'one of "full", "linear", but is {word!r}'):
        ZZFeatureMap(np.zeros(3), wires=range(3), entanglement=word)


def test_repetitions_are_a_positive_integer():
    with pytest.raises(ValueError, match="`reps` must be >= 1, but is 0"):
        ZZFeatureMap(np.zeros(2), wires=range(2), reps=0)
    with pytest.raises(TypeError, match=r"`reps` must be an integer, but is 1\.5"):
        ZZFeatureMap(np.zeros(2), wires=range(2), reps=1.5)
