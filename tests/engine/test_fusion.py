"""What fusing makes of a list of gates: the instructions, and the same state."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from qstore_pl.engine.fusion import AMPLITUDES, DIAGONAL, MATRIX, PAULI, build
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Matrix,
    PauliRotation,
    Permutation,
    slot_angles,
)
from qstore_pl.engine.instructions import BATCHED, BLOCK, FACTOR, PERMUTE
from tests.engine.test_gates import random_circuit

w = slot_angles(WEIGHT, 0, (100,))
x = slot_angles(FEATURE, 0, (10,))
ZERO = (0, 0, 0, 0)


def rx(wire, angle=w[0]):
    return PauliRotation("X", (wire,), angle)


def ry(wire, angle=w[1]):
    return PauliRotation("Y", (wire,), angle)


def rz(wire, angle=w[2]):
    return PauliRotation("Z", (wire,), angle)


def cnot(control, target):
    return Permutation((control, target), (0, 1, 3, 2), ZERO)


def zz(one, other, angle=w[3]):
    return PauliRotation("ZZ", (one, other), angle)


def operations(n, gates):
    """Operations in order, and how many rotations each block has."""
    code = build(n, gates).code
    counts = [
        int(row[3] - row[2]) for row in code if row[0] in (FACTOR, BLOCK, BATCHED)
    ]
    return code[:, 0].tolist(), counts


# ------------------------------------------------------- the same state
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_random_circuits_prepare_the_dense_state(n):
    for seed in range(40):
        rng = np.random.default_rng([n, seed])
        circuit = random_circuit(rng, n, n_gates=int(rng.integers(0, 15)))
        ours = circuit.program().states(circuit.weights, circuit.features)
        np.testing.assert_allclose(
            ours, circuit.states(), rtol=0, atol=1e-13, err_msg=f"seed {seed}"
        )


# ------------------------------------------------------- the instructions
@pytest.mark.parametrize("encoding", [False, True])
@pytest.mark.parametrize(("n", "n_layers"), [(2, 1), (4, 2), (5, 3)])
def test_rotation_layers_are_n_blocks_and_one_permutation_a_layer(
    n, n_layers, encoding
):
    ring = [cnot(i, (i + 1) % n) for i in range(n)]
    layer = [rotate(i) for i in range(n) for rotate in (rx, ry, rz)] + ring
    features = [ry(i, x[i]) for i in range(n)] if encoding else []
    gates = features + n_layers * layer
    codes, counts = operations(n, gates)
    first, later = [FACTOR] * n + [PERMUTE], [BLOCK] * n + [PERMUTE]
    assert codes == first + (n_layers - 1) * later
    assert counts == [3 + encoding] * n + [3] * n * (n_layers - 1)
    assert build(n, gates).tables.shape == (2, 2**n)  # one table and its inverse


@pytest.mark.parametrize(
    ("gates", "codes", "counts"),
    [
        pytest.param([], [FACTOR] * 3, [0] * 3, id="nothing"),
        pytest.param(
            [rx(0), ry(0), rx(0), rz(0)], [FACTOR] * 3, [4, 0, 0], id="one block"
        ),
        pytest.param(
            [cnot(0, 1), rx(0), rx(1, x[0]), rz(0)],
            [FACTOR] * 3 + [PERMUTE, BLOCK, BATCHED],
            [0, 0, 0, 2, 1],
            id="a feature makes a block per sample",
        ),
        pytest.param(
            [cnot(0, 1), rx(2), ry(2)],
            [FACTOR] * 3 + [PERMUTE],
            [0, 0, 2],
            id="a first block is a factor wherever it stands",
        ),
        pytest.param(
            [cnot(0, 1), rx(0), zz(1, 2), rx(0)],
            [FACTOR] * 3 + [PERMUTE, BLOCK, DIAGONAL],
            [0, 0, 0, 2],
            id="a rotation moves past other wires",
        ),
        pytest.param(
            [cnot(0, 1), rx(0), zz(0, 2), rx(0)],
            [FACTOR] * 3 + [PERMUTE, BLOCK, DIAGONAL, BLOCK],
            [0, 0, 0, 1, 1],
            id="a rotation stays behind its own wire",
        ),
        pytest.param(
            [cnot(0, 1), rx(0), cnot(1, 2), cnot(2, 1), ry(0)],
            [FACTOR] * 3 + [PERMUTE, BLOCK],
            [0, 0, 0, 2],
            id="a permutation moves past other wires",
        ),
        pytest.param(
            [cnot(0, 1), rx(1), cnot(1, 2), ry(0), cnot(0, 2)],
            [FACTOR] * 3 + [PERMUTE, BLOCK, PERMUTE, BLOCK, PERMUTE],
            [0, 0, 0, 1, 1],
            id="a permutation stays behind its own wires",
        ),
        pytest.param(
            [PauliRotation("X", (1,), w[0], ((0, 1),)), zz(0, 1), zz(0, 1)],
            [FACTOR] * 3 + [PAULI, DIAGONAL, DIAGONAL],
            [0, 0, 0],
            id="words and controls stay alone",
        ),
        pytest.param(
            [Amplitudes((1,), (WEIGHT, 0)), rx(0), rx(1), Matrix((2,), (WEIGHT, 2))],
            [AMPLITUDES, BLOCK, BLOCK, MATRIX],
            [1, 1],
            id="amplitudes are the initial state",
        ),
        pytest.param(
            [PauliRotation("", (), w[0]), rx(0)],
            [FACTOR] * 3,
            [1, 0, 0],
            id="a global phase is no instruction",
        ),
    ],
)
def test_instructions(gates, codes, counts):
    assert operations(3, gates) == (codes, counts)


def test_equal_permutations_share_a_table_however_they_were_written():
    swap = Permutation((1, 2), (0, 2, 1, 3), ZERO)
    three = [cnot(1, 2), cnot(2, 1), cnot(1, 2)]
    tables = build(3, [*three, rx(1), rx(2), swap, rx(1), rx(2), cnot(1, 2)])
    permutes = tables.code[tables.code[:, 0] == PERMUTE]
    assert permutes[:, 1].tolist() == [0, 0, 1]
    assert len(tables.tables) == 4


def test_every_second_table_is_the_inverse():
    rng = np.random.default_rng(5)
    gates = random_circuit(rng, 4, n_gates=40).gates
    gates = [gate for gate in gates if not isinstance(gate, Amplitudes)]
    tables = build(4, gates)
    assert len(tables.tables) > 4
    for one, inverse in tables.tables.reshape(-1, 2, 16):
        np.testing.assert_array_equal(one[inverse], np.arange(16))


@pytest.mark.parametrize(
    ("gates", "first_weight", "first_feature"),
    [
        ([], -1, -1),
        ([rx(1, Angle(0.3)), zz(0, 1, Angle(1.0))], -1, -1),
        ([rx(1)], 1, -1),
        ([ry(2, x[0]), rz(0, w[0])], 0, 2),
        ([rz(0, Angle(1.0)), cnot(0, 1), rx(1), rz(0, x[0] * w[1])], 4, 5),
        ([Amplitudes((0,), (FEATURE, 0)), zz(0, 1), rx(2)], 1, 0),
        ([Matrix((0,), (FEATURE, 0)), zz(0, 1)], 4, -1),
    ],
)
def test_first_instruction_with_a_gradient(gates, first_weight, first_feature):
    tables = build(3, gates)
    assert (tables.first_weight, tables.first_feature) == (first_weight, first_feature)


CORE = [rx(0), ry(1, x[0]), cnot(0, 1), rz(1), rx(0, x[1])]


@pytest.mark.parametrize(
    ("gates", "word", "general"),
    [
        (CORE, "ZZ", False),
        (CORE, "", False),
        (CORE, "ZX", True),
        (CORE, "Y", True),
        ([*CORE, zz(0, 1)], "Z", True),
        ([*CORE, PauliRotation("XY", (0, 1), w[0])], "Z", True),
        ([*CORE, PauliRotation("", (), w[0], ((1, 0),))], "Z", True),
        ([*CORE, Permutation((0,), (0, 1), (0, 2))], "Z", True),
        ([*CORE, Matrix((1,), (WEIGHT, 0))], "Z", True),
        ([Amplitudes((1,), (WEIGHT, 0)), *CORE], "Z", True),
    ],
)
def test_only_models_circuits_take_the_smaller_kernels(gates, word, general):
    observable = ((0.5, word, tuple(range(len(word)))),)
    assert build(2, gates, [observable]).general is general


# ------------------------------------------------------- tables as values
DUPLICATES = {
    "itself": lambda tables: tables,
    "pickle": lambda tables: pickle.loads(pickle.dumps(tables)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("duplicate", DUPLICATES)
def test_copies_are_equal_and_as_read_only(duplicate):
    rng = np.random.default_rng(1)
    circuit = random_circuit(rng, 3, n_gates=20)
    observable = ((0.5, "XZ", (2, 0)),)
    tables = build(3, circuit.gates, [observable], n_weights=50, n_features=9)
    twin = DUPLICATES[duplicate](tables)
    arrays = 0
    for field in dataclasses.fields(tables):
        one, other = getattr(tables, field.name), getattr(twin, field.name)
        np.testing.assert_array_equal(one, other)
        assert type(one) is type(other)
        if isinstance(other, np.ndarray):
            arrays += 1
            assert one.dtype == other.dtype
            with pytest.raises(ValueError, match="read-only"):
                other[...] = 0
    assert arrays >= 10
    with pytest.raises(dataclasses.FrozenInstanceError):
        twin.n_wires = 1
