"""What fusing makes of gates and channels: the instructions and their tables."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Channel,
    Kraus,
    Matrix,
    PauliRotation,
    Permutation,
    Transfer,
    slot_angles,
)
from qstore_pl.engine.instructions import BATCHED, BLOCK, FACTOR, PERMUTE
from qstore_pl.engine.pauli_fusion import (
    AMPLITUDES,
    DAMP,
    FIXED,
    KRAUS,
    PAULI,
    SCALE,
    TRANSFER,
    build,
    word_index,
)
from tests.engine.test_pauli import random_noisy_circuit

w = slot_angles(WEIGHT, 0, (100,))
x = slot_angles(FEATURE, 0, (10,))
ZERO = (0, 0, 0, 0)
AXES = "XYZ"
X, Y, Z = range(3)  # kinds of elements


def turn(letter, wire, angle=w[0]):
    return PauliRotation(letter, (wire,), angle)


def cnot(control, target):
    return Permutation((control, target), (0, 1, 3, 2), ZERO)


def depolarizing(wire, p=0.01):
    return Channel((wire,), (Angle(1.0), 1 - 4 / 3 * (Angle() + p)), (0, 1, 1, 1))


def damping(wire, root=w[1]):
    """Amplitude damping by ``root``, the square root of 1 - gamma."""
    root = Angle() + root
    factors = (Angle(1.0), root, root * root)
    return Channel((wire,), factors, (0, 1, 1, 2), 1 - root * root)


def two_wires(one, other, factor):
    """Depolarizing of a pair of wires."""
    return Channel((one, other), (Angle(1.0), Angle() + factor), (0, *(15 * (1,))))


def reset(wire):
    rows = np.outer([1, 0, 0, 1], [1, 0, 0, 0])
    return Transfer((wire,), tuple(map(tuple, rows.tolist())))


def operations(n, gates):
    """Operations in order, and the kinds of elements each block has."""
    tables = build(n, gates)
    kinds = [
        tables.elements[row[2] : row[3], 0].tolist()
        for row in tables.code
        if row[0] in (FACTOR, BLOCK, BATCHED)
    ]
    return tables.code[:, 0].tolist(), kinds


# ------------------------------------------------------- the instructions
@pytest.mark.parametrize("n", [2, 4, 5])
def test_a_noisy_ring_is_one_permutation(n):
    ring = []
    for i in range(n):
        j = (i + 1) % n
        ring += [cnot(i, j), depolarizing(i), depolarizing(j)]
    start = [turn("Y", i) for i in range(n)]
    codes, kinds = operations(n, start + ring)
    assert codes == [FACTOR] * n + [PERMUTE]
    assert kinds == n * [[Y]]


@pytest.mark.parametrize(("n", "n_layers"), [(2, 2), (4, 3)])
def test_noisy_layers_are_n_blocks_and_one_permutation_a_layer(n, n_layers):
    layer = []
    for i in range(n):
        for letter in AXES:
            layer += [turn(letter, i), depolarizing(i)]
    for i in range(n):
        j = (i + 1) % n
        layer += [cnot(i, j), two_wires(i, j, 0.98)]
    codes, kinds = operations(n, n_layers * layer)
    first, later = [FACTOR] * n + [PERMUTE], [BLOCK] * n + [PERMUTE]
    assert codes == first + (n_layers - 1) * later
    assert kinds == n * n_layers * [[X, FIXED, Y, FIXED, Z, FIXED]]
    assert build(n, n_layers * layer).tables.shape == (1, 4**n)


@pytest.mark.parametrize(
    ("gates", "codes", "kinds"),
    [
        pytest.param([], [FACTOR] * 2, [[], []], id="nothing"),
        pytest.param(
            [turn("X", 0), depolarizing(0), turn("X", 0), damping(0), turn("Z", 1)],
            [FACTOR] * 2,
            [[X, FIXED, X, DAMP], [Z]],
            id="noise of one wire is inside its block",
        ),
        pytest.param(
            [turn("X", 0), depolarizing(0), damping(0, 0.9), reset(0), turn("Y", 0)],
            [FACTOR] * 2,
            [[X, FIXED, Y], []],
            id="constants in a row are one element",
        ),
        pytest.param(
            [turn("X", 0), Permutation((0,), (1, 0), (0, 0)), depolarizing(0)],
            [FACTOR] * 2,
            [[X, FIXED], []],
            id="a permutation of one wire is a constant",
        ),
        pytest.param(
            [cnot(0, 1), depolarizing(1), turn("X", 1), depolarizing(1)],
            [FACTOR] * 2 + [PERMUTE, BLOCK],
            [[], [], [X, FIXED]],
            id="scaling joins the permutation before it, else the block",
        ),
        pytest.param(
            [cnot(0, 1), damping(1, 0.9), damping(0)],
            [FACTOR] * 2 + [PERMUTE, BLOCK, BLOCK],
            [[], [], [FIXED], [DAMP]],
            id="damping does not scale",
        ),
        pytest.param(
            [cnot(0, 1), depolarizing(1, w[3])],
            [FACTOR] * 2 + [PERMUTE, BLOCK],
            [[], [], [DAMP]],
            id="nor does depolarizing by a value",
        ),
        pytest.param(
            [cnot(0, 1), depolarizing(1, 0.75), depolarizing(0)],
            [FACTOR] * 2 + [PERMUTE, BLOCK],
            [[], [], [FIXED]],
            id="nor a factor of zero",
        ),
        pytest.param(
            [cnot(0, 1), damping(0, x[0])],
            [FACTOR] * 2 + [PERMUTE, BATCHED],
            [[], [], [DAMP]],
            id="a feature makes a block per sample",
        ),
        pytest.param(
            [two_wires(0, 1, 0.9), turn("X", 0), two_wires(0, 1, w[0])],
            [FACTOR] * 2 + [PERMUTE, BLOCK, SCALE],
            [[], [], [X]],
            id="scaling of a pair by a value",
        ),
        pytest.param(
            [two_wires(1, 0, 0.0), turn("X", 1)],
            [FACTOR] * 2 + [TRANSFER, BLOCK],
            [[], [], [X]],
            id="what cannot be divided by",
        ),
        pytest.param(
            [Permutation((0, 1), (0, 1, 2, 3), (0, 0, 0, 1)), turn("X", 1)],
            [FACTOR] * 2 + [TRANSFER, BLOCK],
            [[], [], [X]],
            id="a permutation that mixes words",
        ),
        pytest.param(
            [PauliRotation("X", (1,), w[0], ((0, 1),))],
            [FACTOR, FACTOR, PAULI],
            [[], [X]],
            id="a controlled rotation is two",
        ),
        pytest.param(
            [PauliRotation("", (), w[0], ((0, 1), (1, 0)))],
            [FACTOR, FACTOR, PAULI],
            [[Z], [Z]],
            id="a controlled phase is three",
        ),
        pytest.param(
            [PauliRotation("", (), w[0]), turn("X", 0)],
            [FACTOR] * 2,
            [[X], []],
            id="a global phase is none",
        ),
        pytest.param(
            [
                Amplitudes((1,), (WEIGHT, 0)),
                turn("X", 0),
                Matrix((1,), (WEIGHT, 2)),
                Kraus((0, 1), (WEIGHT, 10), 2),
            ],
            [AMPLITUDES, BLOCK, KRAUS, KRAUS],
            [[X]],
            id="matrices of values",
        ),
    ],
)
def test_instructions(gates, codes, kinds):
    assert operations(2, gates) == (codes, kinds)


def test_permutations_meet_across_first_blocks():
    # These write the product state, so they run before the first permutation anyway.
    gates = [cnot(0, 1), turn("X", 2), depolarizing(2), cnot(1, 2)]
    codes, kinds = operations(3, gates)
    assert codes == [FACTOR] * 3 + [PERMUTE]
    assert kinds == [[], [], [X, FIXED]]


def test_constants_in_a_row_are_multiplied_in_the_order_of_time():
    flip = Permutation((0,), (1, 0), (0, 0))
    tables = build(1, [flip, damping(0, 0.8)])  # to -Z first, then shifted by gamma
    rows = [[0, 0.8, 0, 0], [0, 0, -0.8, 0], [0.36, 0, 0, -0.64]]
    np.testing.assert_allclose(
        tables.matrices[:12].reshape(3, 4), rows, rtol=0, atol=1e-15
    )


def test_a_controlled_rotation_has_half_of_the_angle():
    # exp(-i a P (1 + s Z) / 4) with s = -1 for control value 1.
    for value, sign in [(0, 1.0), (1, -1.0)]:
        tables = build(2, [PauliRotation("X", (1,), w[0], ((0, value),))])
        assert tables.coefficients.tolist() == [0.5, 0.5 * sign]
        assert tables.code[2, 5] == word_index(2, "ZX", (0, 1))


def test_a_permutation_has_the_signs_and_factors_of_its_words():
    tables = build(2, [cnot(0, 1), depolarizing(1, 0.03)])
    (table,), (scale,) = tables.tables, tables.scales
    f = 0.96
    images = {"XI": ("XX", f), "IX": ("IX", f), "IZ": ("ZZ", f), "ZI": ("ZI", 1.0),
              "XZ": ("YY", -f), "YY": ("XZ", -f)}  # fmt: skip
    for word, (image, factor) in images.items():
        row = word_index(2, image, (0, 1))
        assert table[row] == word_index(2, word, (0, 1))
        assert scale[row] == pytest.approx(factor, abs=1e-15)
    assert sorted(table) == list(range(16))


def test_equal_permutations_share_a_table_and_equal_matrices_a_place():
    mixing = Permutation((0, 1), (0, 1, 2, 3), (0, 0, 0, 1))
    noisy = [cnot(0, 1), depolarizing(0)]
    gates = [*noisy, turn("X", 0), *noisy, mixing, cnot(0, 1), mixing]
    tables = build(2, gates)
    permutes = tables.code[tables.code[:, 0] == PERMUTE]
    assert permutes[:, 1].tolist() == [0, 0, 1]
    transfers = tables.code[tables.code[:, 0] == TRANSFER]
    assert len(transfers) == 2
    assert transfers[0, 3] == transfers[1, 3]


@pytest.mark.parametrize(
    ("gates", "first_weight", "first_feature"),
    [
        ([], -1, -1),
        ([depolarizing(0), cnot(0, 1), damping(1, 0.9)], -1, -1),
        ([turn("X", 1), damping(2, x[0])], 1, 2),
        ([cnot(0, 1), damping(1), depolarizing(1, x[0] * w[0])], 4, 4),
        ([cnot(0, 1), damping(2), two_wires(0, 1, x[0])], 2, 4),
        ([Amplitudes((0,), (FEATURE, 0)), damping(1)], 1, 0),
        ([Kraus((0,), (FEATURE, 0), 1), damping(0)], 4, -1),
    ],
)
def test_first_instruction_with_a_gradient(gates, first_weight, first_feature):
    tables = build(3, gates)
    assert (tables.first_weight, tables.first_feature) == (first_weight, first_feature)


CORE = [turn("X", 0), damping(0, x[0]), cnot(0, 1), depolarizing(0), turn("Z", 1)]


@pytest.mark.parametrize(
    ("gates", "general"),
    [
        (CORE, False),
        ([*CORE, two_wires(0, 1, 0.9)], False),
        ([*CORE, PauliRotation("ZZ", (0, 1), w[0])], True),
        ([*CORE, two_wires(0, 1, w[0])], True),
        ([*CORE, two_wires(0, 1, 0.0)], True),
        ([*CORE, Kraus((1,), (WEIGHT, 0), 1)], True),
        ([Amplitudes((1,), (WEIGHT, 0)), *CORE], True),
    ],
)
def test_only_models_circuits_take_the_smaller_kernels(gates, general):
    # Any word is one component: observables ask for nothing more.
    assert build(2, gates, [((1.0, "XY", (0, 1)),)]).general is general


# ------------------------------------------------------- tables as values
@pytest.mark.parametrize(
    "duplicate",
    [lambda tables: tables, lambda t: pickle.loads(pickle.dumps(t)), copy.deepcopy],
    ids=["itself", "pickle", "deepcopy"],
)
def test_copies_are_equal_and_as_read_only(duplicate):
    circuit = random_noisy_circuit(np.random.default_rng(1), 3, n_gates=20)
    observable = ((0.5, "XZ", (2, 0)),)
    tables = build(3, circuit.gates, [observable], n_weights=500, n_features=90)
    twin = duplicate(tables)
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
    assert arrays >= 12
    with pytest.raises(dataclasses.FrozenInstanceError):
        twin.n_wires = 1
