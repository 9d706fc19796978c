"""Streams of random numbers: the published sequence, and streams that are unrelated.

Each statistical assertion has a false alarm below 1e-8, and seeds are fixed.
"""

import numpy as np
import pytest
from numba.core import types
from scipy import stats

from qstore_pl.engine.compile import Array, kernel
from qstore_pl.engine.streams import next_word, uniforms
from tests.naive import WORD, split_mix, stream_state, xoshiro_words

ALARM = 1e-8
SIGMAS = 5.8  # a normal number is further off with a probability of 7e-9
WORDS = types.Array(types.uint64, 1, "C")

# rand_xoshiro's test of its Xoshiro256PlusPlus, from the authors' C code
PUBLISHED = (
    41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205,
    9973669472204895162, 14011001112246962877, 12406186145184390807,
    15849039046786891736, 10450023813501588000,
)  # fmt: skip


@kernel(WORDS, WORDS)
def fill_words(state: Array, out: Array) -> None:
    for i in range(out.shape[0]):
        out[i] = next_word(state)


def drawn_key(seed):
    return np.random.default_rng(seed).integers(0, WORD, 4, dtype=np.uint64)


def p_value(observed, expected):
    """Of a chi-square test; neighbours are joined until 25 are expected of each."""
    observed, expected = np.ravel(observed), np.ravel(expected)
    cells = np.floor((np.cumsum(expected) - expected / 2) / 25).astype(int)
    cells = np.unique(cells, return_inverse=True)[1]
    observed = np.bincount(cells, observed)
    expected = np.bincount(cells, expected)
    if len(expected) > 1 and expected[-1] < 12:
        observed[-2] += observed[-1]
        expected[-2] += expected[-1]
        observed, expected = observed[:-1], expected[:-1]
    assert observed.sum() == pytest.approx(expected.sum())
    statistic = ((observed - expected) ** 2 / expected).sum()
    return stats.chi2.sf(statistic, max(1, len(expected) - 1))


# ------------------------------------------------------- the generator
@pytest.mark.parametrize("function", ["kernel", "twin"])
def test_words_are_the_published_ones(function):
    state, out = np.array([1, 2, 3, 4], np.uint64), np.empty(10, np.uint64)
    fill_words(state, out)
    words = out.tolist() if function == "kernel" else xoshiro_words([1, 2, 3, 4], 10)
    assert tuple(words) == PUBLISHED


def test_outputs_of_split_mix_are_the_published_ones():
    # The first of its seed 1234567, in the tests of many libraries.
    golden = 0x9E3779B97F4A7C15
    outputs = [split_mix((1234567 + i * golden) % WORD) for i in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("row", [0, 1, 77, 2**40 + 3])
@pytest.mark.parametrize("circuit", [0, 1, 12345])
@pytest.mark.parametrize("key", [np.zeros(4, np.uint64), drawn_key(0)])
def test_a_stream_is_that_of_plain_integers(key, row, circuit):
    words = xoshiro_words(stream_state(key.tolist(), row, circuit), 50)
    expected = [(word >> 11) * 2.0**-53 for word in words]
    (numbers,) = uniforms(key, np.array([[row, circuit]]), 50)
    np.testing.assert_array_equal(numbers, expected)


def before_split_mix(z):
    """The counter whose output is ``z``."""
    z ^= z >> 31 ^ z >> 62
    z = z * pow(0x94D049BB133111EB, -1, WORD) % WORD
    z ^= z >> 27 ^ z >> 54
    z = z * pow(0xBF58476D1CE4E5B9, -1, WORD) % WORD
    return z ^ z >> 30 ^ z >> 60


def test_a_key_that_would_give_zeros_gives_numbers():
    golden, shift, key = 0x9E3779B97F4A7C15, 0, []
    for _ in range(4):
        shift = (shift + split_mix((shift + golden) % WORD)) % WORD
        key.append((before_split_mix(-7 * golden % WORD) - shift - 3 * golden) % WORD)
    (numbers,) = uniforms(np.array(key, np.uint64), np.array([[3, 7]]), 20)
    assert numbers.all()
    words = xoshiro_words(stream_state(key, 3, 7), 20)
    np.testing.assert_array_equal(numbers, [(word >> 11) * 2.0**-53 for word in words])


def test_a_stream_depends_on_nothing_but_its_key_and_ids():
    rng = np.random.default_rng(1)
    ids, key = rng.integers(0, 50, (40, 2)), drawn_key(1)
    numbers = uniforms(key, ids, 30)
    order = rng.permutation(40)
    np.testing.assert_array_equal(uniforms(key, ids[order], 30), numbers[order])
    np.testing.assert_array_equal(uniforms(key, ids[7:9], 11), numbers[7:9, :11])
    assert uniforms(key, ids[:0], 5).shape == (0, 5)
    assert uniforms(key, ids, 0).shape == (40, 0)


# ------------------------------------------------------- what streams are for
def test_numbers_of_a_stream_are_uniform():
    (numbers,) = uniforms(drawn_key(2), np.array([[5, 6]]), 1_000_000)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert stats.kstest(numbers, "uniform").pvalue > ALARM
    bins = np.bincount((numbers * 1000).astype(int), minlength=1000)
    assert p_value(bins, np.full(1000, 1000.0)) > ALARM
    pairs = (numbers.reshape(-1, 2) * 30).astype(int) @ [30, 1]
    assert p_value(np.bincount(pairs, minlength=900), np.full(900, 5e5 / 900)) > ALARM


@pytest.mark.parametrize("key", [np.zeros(4, np.uint64), drawn_key(3)])
def test_neighbouring_streams_are_not_correlated(key):
    n, ids = 100_000, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 2), (2**32, 0)]
    numbers = uniforms(key, np.array(ids), n)
    next_key = key + np.array([0, 0, 0, 1], np.uint64)
    numbers = np.concatenate([numbers, uniforms(next_key, np.array(ids[:2]), n)])
    normal = (numbers - 0.5) * np.sqrt(12 / n)
    same_place = normal @ normal.T - np.diag((normal**2).sum(axis=1))
    assert np.abs(same_place).max() < SIGMAS
    assert np.abs(normal[:, 1:] @ normal[:, :-1].T).max() < SIGMAS


@pytest.mark.parametrize("key", [np.zeros(4, np.uint64), drawn_key(4)])
def test_first_numbers_of_neighbouring_streams_are_as_good_as_those_of_one(key):
    side, n = 320, 320 * 320
    ids = np.stack(np.meshgrid(range(side), range(side), indexing="ij"), -1)
    first = uniforms(key, ids.reshape(-1, 2), 2)
    assert len(np.unique(first)) == 2 * n
    for numbers in first.T:
        assert stats.kstest(numbers, "uniform").pvalue > ALARM
        bits = (numbers * 2.0**53).astype(np.int64)[:, None] >> np.arange(53) & 1
        z = (bits.sum(axis=0) - n / 2) / np.sqrt(n / 4)
        assert stats.chi2.sf((z**2).sum(), 53) > ALARM
        grid = bits.reshape(side, side, 53)
        for changed in (grid[1:] ^ grid[:-1], grid[:, 1:] ^ grid[:, :-1]):
            flips = changed.sum(axis=(0, 1))
            m = changed[..., 0].size
            assert stats.chi2.sf(((2 * flips - m) ** 2 / m).sum(), 53) > ALARM
