"""Outcomes of measurements: their exact distributions, and that rows are independent.

The oracles are the binomial and multinomial distributions of scipy. Each statistical
assertion has a false alarm below 1e-8, and seeds are fixed.
"""

import math
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from qstore_pl.engine import binomial, sampling, threads
from qstore_pl.engine.compile import F1_IN, F8, I8, Array, kernel
from qstore_pl.engine.sampling import I1, I2, counts, misread, outcomes
from qstore_pl.engine.streams import U1_IN, seed, uniforms
from tests.engine.test_streams import ALARM, SIGMAS, drawn_key, p_value

KEY = drawn_key(100)
SORTED, BINOMIAL = 4 * sampling.FEW, 4 * sampling.FEW + 1  # shots of four outcomes


@pytest.fixture
def fresh_pool(monkeypatch):
    """No pool at the start, so that it is made with the size the test asks for."""
    monkeypatch.setattr(threads, "_pool", None)
    yield
    if threads._pool is not None:
        threads._pool.shutdown()


@kernel(I8, F8, U1_IN, I1)
def fill_binomial(n: int, p: float, key: Array, out: Array) -> None:
    state = np.empty(4, np.uint64)
    seed(key, 0, 0, state)
    for i in range(out.shape[0]):
        out[i] = binomial.binomial(n, p, state)


@kernel(I8, F1_IN, I8, U1_IN, I2)
def fill_counts(by_binomials: int, p: Array, n: int, key: Array, out: Array) -> None:
    """Counts of ``n`` shots by either algorithm, in each row of ``out`` anew."""
    state, sums, drawn = np.empty(4, np.uint64), np.empty(1), np.empty(n, np.int64)
    total = sampling._add_up(p, sums)
    seed(key, 0, 0, state)
    for b in range(out.shape[0]):
        if by_binomials == 1:
            sampling._draw_counts(p, total, n, state, out[b])
        else:
            sampling._draw_sorted(p, sums, total, state, drawn)
            for i in range(n):
                out[b, drawn[i]] += 1


def binomials(n, p, size=200_000):
    out = np.empty(size, np.int64)
    fill_binomial(n, p, drawn_key(101), out)
    return out


def numbered(batch):
    """Rows and circuits that are all different."""
    return np.stack([np.arange(batch) // 3, np.arange(batch) % 3], axis=1)


def same_rows(p, batch, shots):
    """Counts of many circuits with the same probabilities."""
    rows = np.tile(np.asarray(p, float), (batch, 1))
    return counts(rows, np.full(batch, shots), KEY, numbered(batch))


def drawn_rows(batch, k, s):
    """Random probabilities, some of them 0, and ids."""
    rng = np.random.default_rng(s)
    rows = rng.exponential(size=(batch, k)) * (rng.random((batch, k)) < 0.7)
    rows[:, -2] += 0.01
    return rows / rows.sum(axis=1, keepdims=True), numbered(batch)


# ------------------------------------------------------- binomial numbers
@pytest.mark.parametrize(
    ("n", "p"),
    [
        (1, 1e-3), (1, 0.5), (1, 0.999), (2, 0.3), (7, 0.5), (15, 0.2), (19, 0.5),
        (21, 0.5), (20, 0.4999), (25, 0.41), (33, 0.3), (34, 0.3), (90, 0.9),
        (120, 0.9), (1000, 1e-5), (1000, 0.00999), (1000, 0.01001), (1000, 0.0625),
        (1000, 0.5), (1000, 0.9), (1000, 0.99), (1000, 0.9901), (1000, 1 - 1e-5),
        (9999, 1e-3), (10_001, 1e-3), (50_000, 0.7), (10**6, 3e-6), (10**6, 2e-5),
        (2**31, 4e-9), (2**33, 2e-9), (2**40, 5e-12), (2**40, 2.0**-36),
        (8, 0.55), (1000, 0.55),
    ],
)  # fmt: skip
def test_numbers_are_binomial(n, p):
    numbers = binomials(n, p)
    top = int(numbers.max())
    expected = np.append(
        stats.binom.pmf(np.arange(top + 1), n, p), stats.binom.sf(top, n, p)
    )
    observed = np.append(np.bincount(numbers, minlength=top + 1), 0)
    assert p_value(observed, len(numbers) * expected) > ALARM


@pytest.mark.parametrize("p", [1e-6, 1e-3, 0.25, 0.5, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("n", [2**36 - 1, 2**40])
def test_huge_binomial_numbers_are_normal(n, p):
    numbers = binomials(n, p)
    size, variance = len(numbers), n * p * (1 - p)
    between = np.random.default_rng(6).uniform(-0.5, 0.5, size)
    z = (numbers + between - n * p) / np.sqrt(variance)
    assert abs(z.sum()) / np.sqrt(size) < SIGMAS
    assert abs((z**2 - 1).sum()) / np.sqrt(2 * size) < SIGMAS
    bins = np.bincount((stats.norm.cdf(z) * 100).astype(int), minlength=100)
    assert p_value(bins, np.full(100, size / 100)) > ALARM
    if variance > 1e8:  # all numbers are there, not even ones alone
        last = np.bincount(numbers & 7, minlength=8)
        assert p_value(last, np.full(8, size / 8)) > ALARM


@pytest.mark.parametrize("p", [1e-3, 0.3, 0.5])
def test_ratios_of_huge_binomial_probabilities_are_exact(p):
    n = 2**40
    variance, skew = n * p * (1 - p), (1 - 2 * p) / (6 * (n * p * (1 - p)) ** 2)
    for sigmas in (-7, -2, -0.1, 0.5, 4, 8):
        k = np.floor(n * p + sigmas * np.sqrt(variance))
        d = k - n * p
        # of the Edgeworth series; what follows is of the order of 1 / variance
        expected = -(d**2) / (2 * variance) + skew * d**3
        expected -= (1 - 2 * p) * d / (2 * variance)
        ratio = binomial._log_ratio(n, p, k)
        assert ratio == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("n", [21, 60, 1000])
@pytest.mark.parametrize("p", [0.49, 0.5])
def test_ratios_of_binomial_probabilities_are_exact(n, p):
    k = np.arange(n + 1)
    expected = stats.binom.logpmf(k, n, p) - stats.binom.logpmf(int((n + 1) * p), n, p)
    ratios = [binomial._log_ratio(n, p, float(each)) for each in k]
    np.testing.assert_allclose(ratios, expected, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize(
    ("n", "p", "expected"),
    [(0, 0.3, 0), (-1, 0.3, 0), (9, 0.0, 0), (9, -0.1, 0), (9, 1.0, 9), (9, 1.1, 9)],
)
def test_certain_numbers(n, p, expected):
    assert set(binomials(n, p, 100)) == {expected}


# ------------------------------------------------------- counts
@pytest.mark.parametrize("by_binomials", [0, 1])
@pytest.mark.parametrize("p", [(0.5, 0.2, 0.3), (1e-2, 0.0, 6.0, 1.5)])
def test_both_algorithms_have_the_multinomial_distribution(by_binomials, p):
    n, out = 12, np.zeros((200_000, len(p)), np.int64)
    fill_counts(by_binomials, np.array(p), n, drawn_key(102), out)
    assert (out.sum(axis=1) == n).all()
    shares = np.array(p) / np.sum(p)
    found, times = np.unique(out, axis=0, return_counts=True)
    expected = len(out) * stats.multinomial.pmf(found, n, shares)
    order = np.argsort(expected)
    others = len(out) - expected.sum()  # what should occur, but does not
    observed = np.append(times[order], 0)
    assert p_value(observed, np.append(expected[order], others)) > ALARM


@pytest.mark.parametrize("shots", [1, SORTED, BINOMIAL, 1000])
def test_counts_have_binomial_marginals_and_their_covariances(shots):
    p, batch = np.array([0.4, 0.05, 0.25, 0.3]), 60_000
    drawn = same_rows(p, batch, shots)
    for k in range(4):
        expected = batch * stats.binom.pmf(np.arange(shots + 1), shots, p[k])
        observed = np.bincount(drawn[:, k], minlength=shots + 1)
        assert p_value(observed, expected) > ALARM
    off = drawn - shots * p
    for i, j in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]:
        products = off[:, i] * off[:, j] + shots * p[i] * p[j]
        assert abs(products.mean()) < SIGMAS * products.std() / np.sqrt(batch)


@pytest.mark.parametrize("shots", [1, 30, 1200, 1201, 40_000])
def test_many_outcomes_with_gaps(shots):
    rng, batch = np.random.default_rng(7), max(20, 60_000 // shots)
    p = rng.exponential(size=200)
    p[[0, 3, 70, 198, 199]] = 0.0
    p[64:128] = 0.0
    p[128:192] *= 1e-3
    p[190] = 0.0
    drawn = same_rows(p, batch, shots)
    assert (drawn.sum(axis=1) == shots).all()
    assert not drawn[:, p == 0].any()
    expected = batch * shots * p / p.sum()
    assert p_value(drawn.sum(axis=0)[p > 0], expected[p > 0]) > ALARM


def test_many_shots_of_many_outcomes_are_drawn_in_chunks():
    k, shots = 1 << 15, 150_000
    assert sampling.CHUNK < shots <= sampling.FEW * k
    p = np.random.default_rng(8).exponential(size=(1, k))
    (drawn,) = counts(p, np.array([shots]), KEY, numbered(1))
    assert drawn.sum() == shots
    assert p_value(drawn, shots * p[0] / p.sum()) > ALARM


@pytest.mark.parametrize("place", [0, 1 << 17, (1 << 18) - 1])
def test_one_certain_outcome_among_many(place):
    p = np.zeros((1, 1 << 18))
    p[0, place] = 0.3
    (drawn,) = counts(p, np.array([777]), KEY, numbered(1))
    assert drawn[place] == drawn.sum() == 777


@pytest.mark.parametrize("k", [1, 2, 16, 63, 64, 65, 129])
def test_counts_add_up_to_the_shots_of_each_row(k):
    rows, ids = drawn_rows(50, max(k, 2), k)
    rows = rows[:, -k:] if k > 1 else rows[:, -2:-1].copy()
    rows = np.ascontiguousarray(rows)
    shots = np.random.default_rng(k).integers(0, 12 * k, 50)
    shots[::7] = 0
    drawn = counts(rows, shots, KEY, ids)
    assert (drawn >= 0).all()
    np.testing.assert_array_equal(drawn.sum(axis=1), shots)
    assert not drawn[rows == 0].any()


@pytest.mark.parametrize("shots", [SORTED, BINOMIAL])
def test_probabilities_need_no_norm_and_negative_ones_are_zero(shots):
    rows, ids = drawn_rows(300, 4, 9)
    shots = np.full(300, shots)
    drawn = counts(rows, shots, KEY, ids)
    np.testing.assert_array_equal(counts(8.0 * rows, shots, KEY, ids), drawn)
    below = np.where(rows == 0, -0.1, rows)
    assert (below < 0).any()
    np.testing.assert_array_equal(counts(below, shots, KEY, ids), drawn)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_a_row_without_a_sum_is_an_error_unless_it_has_no_shots(wrong):
    rows, ids = drawn_rows(5, 4, 10)
    rows[3] = [wrong, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="positive and finite sum, but those of row 3"):
        counts(rows, np.array([3, 0, 3, 1, 3]), KEY, ids)
    with pytest.raises(ValueError, match="positive and finite sum, but those of row 3"):
        outcomes(rows, 5, KEY, ids, shuffled=True)
    drawn = counts(rows, np.array([3, 0, 3, 0, 3]), KEY, ids)
    assert drawn.sum() == 9
    assert outcomes(rows, 0, KEY, ids, shuffled=True).shape == (5, 0)


def test_what_rounding_leaves_belongs_to_the_last_outcome_with_a_probability():
    assert sampling._last(np.array([0.5, 0.3, 0.2, 0.0, -1e-18]), 1.0) == 2
    assert sampling._last(np.array([0.5, 0.5]), 1.0) == 1
    assert sampling._last(np.array([0.5, 0.0]), 0.5) == 0
    assert sampling._last(np.array([0.5, 1e-30]), 0.5) == 0


def test_no_rows_have_no_counts():
    none, ids = np.empty((0, 4)), np.empty((0, 2), np.int64)
    assert counts(none, np.empty(0, np.int64), KEY, ids).shape == (0, 4)
    assert outcomes(none, 3, KEY, ids, shuffled=True).shape == (0, 3)
    assert misread(none, np.full((2, 2), 0.1)).shape == (0, 4)


# ------------------------------------------------------- rows are independent
@pytest.mark.parametrize("k", [4, 300])
def test_a_row_is_drawn_alone(k):
    rows, ids = drawn_rows(60, k, 11)
    rng = np.random.default_rng(11)
    shots = rng.integers(0, 12 * k, 60)
    drawn = counts(rows, shots, KEY, ids)
    each = outcomes(rows, 50, KEY, ids, shuffled=True)
    order = rng.permutation(60)
    moved = rows[order], shots[order], KEY, ids[order]
    np.testing.assert_array_equal(counts(*moved), drawn[order])
    moved_each = outcomes(rows[order], 50, KEY, ids[order], shuffled=True)
    np.testing.assert_array_equal(moved_each, each[order])
    for start, end in pairwise([0, 1, 13, 60]):
        part = slice(start, end)
        found = counts(rows[part], shots[part], KEY, ids[part])
        np.testing.assert_array_equal(found, drawn[part])
        found = outcomes(rows[part], 50, KEY, ids[part], shuffled=True)
        np.testing.assert_array_equal(found, each[part])


@pytest.mark.parametrize("k", [4, 300])
@pytest.mark.parametrize("count", ["1", "2", "4"])
def test_no_count_depends_on_the_number_of_threads(k, count, monkeypatch, fresh_pool):
    rows, ids = drawn_rows(45, k, 12)
    shots = np.random.default_rng(12).integers(0, 12 * k, 45)
    serial = counts(rows, shots, KEY, ids)
    serial_each = outcomes(rows, 50, KEY, ids, shuffled=True)
    assert threads._pool is None  # too small for threads
    monkeypatch.setenv("QSTORE_NUM_THREADS", count)
    for work in (0, 84 * k):  # each row is a block of its own, or a few rows are one
        monkeypatch.setattr(sampling, "PARALLEL", work)
        np.testing.assert_array_equal(counts(rows, shots, KEY, ids), serial)
        each = outcomes(rows, 50, KEY, ids, shuffled=True)
        np.testing.assert_array_equal(each, serial_each)
    assert (threads._pool is not None) is (count != "1")
    rows[31] = 0.0
    shots[31] = 1
    with pytest.raises(ValueError, match="those of row 31 have the sum 0"):
        counts(rows, shots, KEY, ids)


@pytest.mark.parametrize("shots", [SORTED, BINOMIAL])
def test_streams_of_rows_circuits_and_keys_differ(shots):
    rows = np.tile([0.1, 0.2, 0.3, 0.4], (3, 1))
    ids = np.array([[0, 0], [0, 1], [1, 0]])
    many = [counts(rows, np.full(3, shots), drawn_key(s), ids) for s in range(40)]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        same = [np.array_equal(drawn[one], drawn[other]) for drawn in many]
        assert np.mean(same) < 0.5
    assert np.mean([np.array_equal(a[0], b[0]) for a, b in pairwise(many)]) < 0.5


# ------------------------------------------------------- single outcomes
@pytest.mark.parametrize("shots", [1, SORTED, BINOMIAL, 500])
def test_outcomes_are_those_that_are_counted(shots):
    rows, ids = drawn_rows(40, 4, 13)
    drawn = counts(rows, np.full(40, shots), KEY, ids)
    ordered = outcomes(rows, shots, KEY, ids, shuffled=False)
    each = outcomes(rows, shots, KEY, ids, shuffled=True)
    assert (np.diff(ordered) >= 0).all()
    np.testing.assert_array_equal(np.sort(each), ordered)
    found = [np.bincount(row, minlength=4) for row in ordered]
    np.testing.assert_array_equal(found, drawn)


def test_all_orders_of_shots_are_as_likely():
    k, batch, shots = 4096, 60_000, 4
    rows = np.broadcast_to(np.full(k, 1 / k), (1000, k)).copy()
    ids = numbered(batch).reshape(-1, 1000, 2)
    each = [outcomes(rows, shots, KEY, part, shuffled=True) for part in ids]
    order = np.concatenate(each).argsort(axis=1)
    orders = np.unique(order, axis=0, return_counts=True)[1]
    assert len(orders) == 24
    assert p_value(orders, np.full(24, batch / 24)) > ALARM


@pytest.mark.parametrize("shots", [SORTED, 8 * SORTED])
def test_each_shot_has_the_distribution_and_no_memory(shots):
    p, batch = np.array([0.1, 0.2, 0.3, 0.4]), 20_000
    rows = np.tile(p, (batch, 1))
    each = outcomes(rows, shots, KEY, numbered(batch), shuffled=True)
    pairs = [(0, shots - 1), (0, 1), (shots // 2, shots // 2 + 1), (1, shots // 2)]
    for one, other in pairs:
        both = np.bincount(4 * each[:, one] + each[:, other], minlength=16)
        assert p_value(both, batch * np.outer(p, p)) > ALARM
    z = (each - p @ np.arange(4)) / np.sqrt(p @ np.arange(4) ** 2 - 4)
    for lag in (1, 2, 5):
        product = z[:, lag:] * z[:, :-lag]
        assert abs(product.sum()) < SIGMAS * np.sqrt(product.size)


@pytest.mark.parametrize("k", [5, 64, 65, 1000, 1 << 20])
def test_sorted_shots_are_where_the_cumulative_sum_passes_sorted_numbers(k):
    shots = min(sampling.FEW * k, 20_000)
    (row,), ids = drawn_rows(1, k, 14)
    steps = -np.log1p(-uniforms(KEY, ids, shots + 1)[0])
    places = np.cumsum(steps[:-1]) / steps.sum()
    expected = np.searchsorted(np.cumsum(row) / row.sum(), places, side="right")
    (each,) = outcomes(row[None], shots, KEY, ids, shuffled=False)
    np.testing.assert_array_equal(each, expected)
    assert stats.kstest(places, "uniform").pvalue > ALARM


# ------------------------------------------------------- errors of reading
def drawn_errors(k, s):
    errors = np.random.default_rng(s).uniform(0, 0.3, (k, 2))
    errors[1:2], errors[2:3, 0] = 0.0, 0.0
    return errors


@pytest.mark.parametrize("k", [1, 2, 4])
def test_misreading_is_a_product_of_matrices_of_wires(k):
    errors, (rows, _) = drawn_errors(k, 16), drawn_rows(5, 2**k, 16)
    matrices = [np.array([[1 - up, down], [up, 1 - down]]) for up, down in errors]
    before = rows.copy()
    read = misread(rows, errors)
    np.testing.assert_allclose(read, rows @ reduce(np.kron, matrices).T, atol=1e-15)
    np.testing.assert_array_equal(rows, before)
    assert read.flags.c_contiguous


def test_misreading_turns_the_bits_of_single_shots():
    k, shots, rng = 3, 300_000, np.random.default_rng(17)
    errors, (rows, ids) = drawn_errors(k, 17), drawn_rows(1, 2**k, 17)
    (each,) = outcomes(rows, shots, KEY, ids, shuffled=True)
    bits = each[:, None] >> np.arange(k)[::-1] & 1
    bits ^= rng.random(bits.shape) < errors[np.arange(k), bits]
    found = np.bincount(bits @ (1 << np.arange(k)[::-1]), minlength=2**k)
    assert p_value(found, shots * misread(rows, errors)[0]) > ALARM
    assert p_value(found, shots * misread(rows, errors[:, ::-1])[0]) < ALARM


def test_without_errors_the_probabilities_are_what_they_were():
    rows, _ = drawn_rows(3, 8, 18)
    assert misread(rows, np.zeros((3, 2))) is rows
    assert misread(rows, np.array([[0, 0], [0, 0], [0, 0.1]])) is not rows
    assert math.isclose(misread(rows, drawn_errors(3, 18)).sum(), 3.0)
