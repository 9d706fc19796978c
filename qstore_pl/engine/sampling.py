r"""Outcomes of measurements, drawn from the probabilities of the outcomes.

There are two exact algorithms. With few outcomes for each shot the number of shots of
each outcome is drawn, one outcome after the other, from a binomial distribution given
those before it. Otherwise sorted uniform numbers, one for each shot, are merged with
the cumulative sum of the probabilities. With independent :math:`E_i` of the exponential
distribution and :math:`S_i = E_1 + \dots + E_i`, the numbers :math:`S_i / S_{n+1}` are
distributed as :math:`n` sorted uniform ones (Devroye, chapter V.3).

A row is one circuit. What is drawn for it depends on its own probabilities, shots and
stream alone. This module knows no states and no wires, except those that are misread.

References:
    L. Devroye, Non-Uniform Random Variate Generation, Springer (1986).
    W. Hörmann, The generation of binomial random variates, J. Stat. Comput. Simul. 46,
    101 (1993), doi:10.1080/00949659308811496.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from qstore_pl.engine import threads
from qstore_pl.engine.compile import F2_IN, I1_IN, Array, inner, kernel
from qstore_pl.engine.streams import I2_IN, U1_IN, Ids, Key, seed, uniform

I1 = types.Array(types.int64, 1, "C")
I2 = types.Array(types.int64, 2, "C")
BOOL = types.boolean

Float2D = NDArray[np.float64]
Counts = NDArray[np.int64]

FEW = 6  # shots for each outcome up to which sorted numbers are faster
PARALLEL = 1 << 17  # outcomes and shots of all rows from which threads pay
CHUNK = 1 << 16  # most shots that are sorted at once, unless there are more outcomes

# Rounding must not decide how numbers are drawn, so that the same circuit, computed in
# another way, has the same outcomes. No limit is where probabilities often are.
_INVERSION = 10.0 - 1e-6  # mean below which a binomial number is drawn by inversion
_HALF = 0.5 + 1e-9  # probability above which failures are drawn instead
_NOTHING = 1e-24  # probability up to which an outcome is taken for one that never is
_TAIL = 110  # a number with such a mean is larger with a probability below 1e-70
_RUN = 64  # neighbouring outcomes whose sum is compared first

# log k! minus Stirling's formula for it, for k < 10
_STIRLING = tuple(
    math.lgamma(k + 1.0)
    - ((k + 0.5) * math.log(k + 1.0) - (k + 1.0) + 0.5 * math.log(2 * math.pi))
    for k in range(10)
)


# --- binomial numbers -------------------------------------------------------------


@inner
def binomial(n: int, p: float, state: Array) -> int:
    """How many of ``n`` independent trials succeed, each with probability ``p``."""
    if n <= 0 or p <= 0.0:
        return 0
    if p >= 1.0:
        return n
    small = p if p <= _HALF else 1.0 - p
    if n * small < _INVERSION:
        k = _by_inversion(n, small, state)
    else:
        k = _by_rejection(n, small, state)
    return k if p <= _HALF else n - k


@inner
def _by_inversion(n: int, p: float, state: Array) -> int:
    """Add probabilities from k = 0 on until they exceed a uniform number."""
    odds = p / (1.0 - p)
    none = math.exp(n * math.log1p(-p))
    while True:
        left, term, k = uniform(state), none, 0
        while left >= term and k <= _TAIL:
            left -= term
            k += 1
            term *= (n + 1 - k) * odds / k
        if k <= min(n, _TAIL):  # else the sum was below 1 by rounding
            return k


@inner
def _by_rejection(n: int, p: float, state: Array) -> int:
    """Hörmann's algorithm BTRS, for p <= 1/2 and n p >= 10, or very little beyond."""
    spread = math.sqrt(n * p * (1.0 - p))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * p
    centre = n * p + 0.5
    squeeze = 0.92 - 4.2 / b
    while True:
        u = uniform(state) - 0.5
        v = 1.0 - uniform(state)
        edge = 0.5 - abs(u)
        k = np.floor((2.0 * a / edge + b) * u + centre)
        if edge >= 0.07 and v <= squeeze:
            return int(k)
        if k < 0.0 or k > n:
            continue
        v *= (2.83 + 5.1 / b) * spread / (a / (edge * edge) + b)
        if math.log(v) <= _log_ratio(n, p, k):
            return int(k)


@inner
def _log_ratio(n: int, p: float, k: float) -> float:
    r"""Logarithm of the probability of ``k`` over that of the most likely number.

    With Stirling's formula for all factorials. Only the distance from the most likely
    number is multiplied by logarithms of the order of 1, so that the terms are of the
    order of :math:`\sqrt n`, where those of :math:`\log n!` would lose all digits.
    """
    m = np.floor((n + 1) * p)
    d = k - m
    return (
        d * math.log(p / (1.0 - p) * ((n - m + 1.0) / (m + 1.0)))
        - (k + 0.5) * math.log1p(d / (m + 1.0))
        - (n - k + 0.5) * math.log1p(-d / (n - m + 1.0))
        + (_stirling(m) - _stirling(k))
        + (_stirling(n - m) - _stirling(n - k))
    )


@inner
def _stirling(k: float) -> float:
    """Logarithm of k! minus (k + 1/2) log(k + 1) - (k + 1) + log(2 pi) / 2."""
    if k < 10.0:
        return _STIRLING[int(k)]
    r = 1.0 / (k + 1.0)
    s = r * r
    return r * (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680))))


# --- one row ----------------------------------------------------------------------


@inner
def _add_up(p: Array, sums: Array) -> float:
    """Write the sum of each run of neighbours into ``sums``, and return that of all.

    Negative probabilities count as 0; with one that is not a number the sum is none.
    """
    total = 0.0
    for r in range(sums.shape[0]):
        part = 0.0
        for k in range(r * _RUN, min((r + 1) * _RUN, p.shape[0])):
            part += 0.0 if p[k] < 0.0 else p[k]
        sums[r] = part
        total += part
    return total


@inner
def _last(p: Array, total: float) -> int:
    """The last outcome that has a probability."""
    k = p.shape[0] - 1
    while k > 0 and not p[k] > _NOTHING * total:
        k -= 1
    return k


@inner
def _draw_counts(p: Array, total: float, n: int, state: Array, out: Array) -> None:
    """Write the number of each outcome, where it is not 0, by binomial numbers."""
    last, left, rest = _last(p, total), n, total
    for k in range(last):
        if left == 0:
            return
        if p[k] > _NOTHING * total:
            out[k] = binomial(left, p[k] / rest, state)
            left -= out[k]
            rest -= p[k]
    out[last] = left


@inner
def _draw_sorted(p: Array, sums: Array, total: float, state: Array, out: Array) -> None:
    """Write the outcome of each shot in ascending order, by sorted uniform numbers.

    Where the outcomes of many neighbours together are not drawn, only their sum is
    read. Rounding may leave numbers beyond all sums: they belong to the last outcome.
    """
    n, above, i, k = out.shape[0], 0.0, 0, 0
    places = out.view(np.float64)  # each is read before its outcome is written
    place = 0.0
    for j in range(n):
        place -= math.log(1.0 - uniform(state))
        places[j] = place
    scale = total / (place - math.log(1.0 - uniform(state)))
    for r in range(sums.shape[0]):
        if i == n:
            return
        inside, above = above, above + sums[r]
        if places[i] * scale >= above:
            continue
        for j in range(r * _RUN, min((r + 1) * _RUN, p.shape[0])):
            if p[j] > 0.0:
                k = j
                inside += p[j]
                while i < n and places[i] * scale < inside:
                    out[i] = k
                    i += 1
        while i < n and places[i] * scale < above:
            out[i] = k
            i += 1
    k = _last(p, total)
    while i < n:
        out[i] = k
        i += 1


@inner
def _shuffle(out: Array, state: Array) -> None:
    """Put the entries into random order, each with the same probability."""
    for i in range(out.shape[0] - 1, 0, -1):
        j = int(uniform(state) * (i + 1))
        out[i], out[j] = out[j], out[i]


# --- all rows ---------------------------------------------------------------------


@kernel(F2_IN, I1_IN, U1_IN, I2_IN, I2)
def _counts(p: Array, shots: Array, key: Array, ids: Array, out: Array) -> int:
    """Add counts to ``out``; returns the first row without probabilities, or -1."""
    state, few, most = np.empty(4, np.uint64), FEW * p.shape[1], 0
    for b in range(p.shape[0]):
        if shots[b] <= few:
            most = max(most, shots[b])
    sums = np.empty((p.shape[1] + _RUN - 1) // _RUN)
    drawn = np.empty(min(most, max(CHUNK, p.shape[1] >> 3)), np.int64)
    for b in range(p.shape[0]):
        left = shots[b]
        if left == 0:
            continue
        total = _add_up(p[b], sums)
        if not 0.0 < total < np.inf:
            return b
        seed(key, ids[b, 0], ids[b, 1], state)
        if left > few:
            _draw_counts(p[b], total, left, state, out[b])
            continue
        while left > 0:  # the counts of all chunks are the sum of those of each
            part = drawn[: min(left, drawn.shape[0])]
            _draw_sorted(p[b], sums, total, state, part)
            for i in range(part.shape[0]):
                out[b, part[i]] += 1
            left -= part.shape[0]
    return -1


@kernel(F2_IN, U1_IN, I2_IN, BOOL, I2)
def _outcomes(p: Array, key: Array, ids: Array, shuffled: bool, out: Array) -> int:
    """Write outcomes; returns the first row without probabilities, or -1."""
    state, n = np.empty(4, np.uint64), out.shape[1]
    few = n <= FEW * p.shape[1]
    sums = np.empty((p.shape[1] + _RUN - 1) // _RUN)
    counts = np.empty(0 if few else p.shape[1], np.int64)
    for b in range(p.shape[0]):
        if n == 0:
            break
        total = _add_up(p[b], sums)
        if not 0.0 < total < np.inf:
            return b
        seed(key, ids[b, 0], ids[b, 1], state)
        if few:
            _draw_sorted(p[b], sums, total, state, out[b])
        else:
            counts[:] = 0
            _draw_counts(p[b], total, n, state, counts)
            i = 0
            for k in range(counts.shape[0]):
                for _ in range(counts[k]):
                    out[b, i] = k
                    i += 1
        if shuffled:
            _shuffle(out[b], state)
    return -1


def counts(probabilities: Float2D, shots: Counts, key: Key, ids: Ids) -> Counts:
    """How often each outcome is measured.

    Args:
        probabilities: Probability of each outcome, shape ``(batch, K)``. A row is
            divided by its sum, and negative entries count as 0.
        shots: Number of shots of each row, shape ``(batch,)``.
        key: Four words that all streams of a submission share, shape ``(4,)``.
        ids: Row of the sample and number of the circuit of each row, shape
            ``(batch, 2)``.

    Returns:
        Number of shots with each outcome, shape ``(batch, K)``.

    Raises:
        ValueError: If the probabilities of a row that has shots have no positive and
            finite sum.
    """
    out = np.zeros(probabilities.shape, np.int64)

    def task(rows: slice) -> int:
        return _counts(probabilities[rows], shots[rows], key, ids[rows], out[rows])

    most = min(int(shots.max(initial=0)), FEW * probabilities.shape[1])
    _in_blocks(task, probabilities, most)
    return out


def outcomes(
    probabilities: Float2D, shots: int, key: Key, ids: Ids, *, shuffled: bool
) -> Counts:
    """The outcome of each shot.

    Args:
        probabilities: Probability of each outcome, shape ``(batch, K)``. A row is
            divided by its sum, and negative entries count as 0.
        shots: Number of shots of every row.
        key: Four words that all streams of a submission share, shape ``(4,)``.
        ids: Row of the sample and number of the circuit of each row, shape
            ``(batch, 2)``.
        shuffled: Whether the shots of a row are in random order, as they are measured,
            or sorted by their outcomes, which takes less time.

    Returns:
        Outcomes from 0 to K - 1, shape ``(batch, shots)``.

    Raises:
        ValueError: If the probabilities of a row have no positive and finite sum.
    """
    out = np.empty((len(probabilities), shots), np.int64)

    def task(rows: slice) -> int:
        return _outcomes(probabilities[rows], key, ids[rows], shuffled, out[rows])

    _in_blocks(task, probabilities, shots)
    return out


def _in_blocks(task: Callable[[slice], int], p: Float2D, shots: int) -> None:
    """Call ``task`` for blocks of rows, on several threads if the work is large.

    Args:
        task: Function of rows that returns the first of them without probabilities.
        p: Probability of each outcome, shape ``(batch, K)``.
        shots: Most shots of a row, where the time of a row grows with them.
    """
    batch, work = len(p), p.shape[1] + shots
    size = batch if batch * work < PARALLEL else max(1, PARALLEL // (4 * work))

    def run(i: int) -> None:
        row = task(slice(i * size, (i + 1) * size))
        if row >= 0:
            total = p[i * size + row].clip(0.0).sum()
            raise ValueError(
                f"The probabilities of a circuit must have a positive and finite sum, "
                f"but those of row {i * size + row} have the sum {total}."
            )

    if size >= batch:
        run(0)
    else:
        threads.run(run, range(math.ceil(batch / size)))


# --- errors of reading ------------------------------------------------------------


def misread(probabilities: Float2D, errors: Float2D) -> Float2D:
    """Probabilities of what is read, if each wire is misread independently.

    Args:
        probabilities: Probability of each outcome, shape ``(batch, 2**k)``.
        errors: Probabilities of reading 1 where a wire is 0, and of reading 0 where it
            is 1, shape ``(k, 2)``. The first wire is the most significant bit.

    Returns:
        Probabilities of the outcomes that are read, shape ``(batch, 2**k)``: the same
        array if no wire is misread.
    """
    batch, k = len(probabilities), len(errors)
    for wire, (up, down) in enumerate(errors):
        if up == 0.0 and down == 0.0:
            continue
        shape = (batch, 2**wire, 2, 2 ** (k - wire - 1))
        zero, one = probabilities.reshape(shape).transpose(2, 0, 1, 3)
        moved = up * zero - down * one
        read = np.stack([zero - moved, one + moved], axis=2)
        probabilities = read.reshape(batch, 2**k)
    return probabilities
