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
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from qstore_pl.engine import threads
from qstore_pl.engine.binomial import binomial
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

_RUN = 64  # neighbouring outcomes whose sum is compared first


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
def _last(p: Array) -> int:
    """The last outcome that has a probability."""
    k = p.shape[0] - 1
    while k > 0 and not p[k] > 0.0:
        k -= 1
    return k


@inner
def _draw_counts(p: Array, total: float, n: int, state: Array, out: Array) -> None:
    """Write the number of each outcome, where it is not 0, by binomial numbers."""
    last, left, rest = _last(p), n, total
    for k in range(last):
        if left == 0:
            return
        if p[k] > 0.0:
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
    k = _last(p)
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
