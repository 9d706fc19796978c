"""Maps of bits: composed, inverted and written, they are permutations."""

import numpy as np
import pytest

from qstore_pl.engine.affine import Affine, affine_of

GATES = {
    "CNOT": (0, 1, 3, 2),
    "SWAP": (0, 2, 1, 3),
    "X": (1, 0),
    "X X": (3, 2, 1, 0),
    "CNOT and X": (2, 3, 1, 0),
}
OTHERS = {
    "Toffoli": ((0, 1, 2, 3, 4, 5, 7, 6), (0,) * 8),
    "CZ": ((0, 1, 2, 3), (0, 0, 0, 4)),
    "S": ((0, 1), (0, 2)),
}


def table_of(affine):
    table = np.empty(1 << len(affine.columns), np.int32)
    affine.write(table)
    return table


def widened(table, bits, n_bits):
    """A table of some bits on all of them, index by index."""
    wide = []
    for index in range(1 << n_bits):
        source = table[sum((index >> bit & 1) << k for k, bit in enumerate(bits))]
        kept = index & ~sum(1 << bit for bit in bits)
        wide.append(kept | sum((source >> k & 1) << bit for k, bit in enumerate(bits)))
    return np.array(wide)


@pytest.mark.parametrize("table", GATES.values(), ids=GATES)
def test_a_gate_is_known_by_its_table(table):
    affine = affine_of(table, (0,) * len(table))
    assert affine is not None
    np.testing.assert_array_equal(table_of(affine), table)


@pytest.mark.parametrize(("table", "phases"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_such_map_is_none(table, phases):
    assert affine_of(table, phases) is None


@pytest.mark.parametrize("seed", range(30))
def test_a_run_of_gates_is_its_permutation_and_has_its_inverse(seed):
    rng = np.random.default_rng(seed)
    n_bits = int(rng.integers(2, 7))
    whole, wanted = Affine.identity(n_bits), np.arange(1 << n_bits)
    for _ in range(int(rng.integers(1, 20))):
        table = list(GATES.values())[rng.integers(len(GATES))]
        n = len(table).bit_length() - 1
        bits = [int(bit) for bit in rng.choice(n_bits, n, replace=False)]
        whole = whole.after(affine_of(table, (0,) * len(table)), bits)
        wanted = wanted[widened(table, bits, n_bits)]
    table = table_of(whole)
    np.testing.assert_array_equal(table, wanted)
    assert [whole(index) for index in range(1 << n_bits)] == wanted.tolist()
    np.testing.assert_array_equal(
        table_of(whole.inverse())[table], np.arange(1 << n_bits)
    )


def test_a_map_that_is_no_permutation_has_no_inverse():
    with pytest.raises(ValueError, match="must be invertible"):
        Affine((1, 1), 0).inverse()
