r"""Strings of errors that are run: the one without errors, and others that are drawn.

A *string* has one choice for each channel (:mod:`draws`); with :math:`q(s)` the product
of their probabilities and :math:`v(s)` the value of the circuit with these matrices,
the exact value is :math:`\sum_s q(s)\,v(s)`. The string without errors, :math:`s = 0`,
is run once with its exact weight :math:`q(0)`. The others are drawn with probabilities
:math:`q(s) / (1 - q(0))`, so that

.. math:: q(0)\,v(0) + \frac{1 - q(0)}{n} \sum_{i=1}^{n} v(s_i)

has no bias. Drawing a string is inverse transform twice. Its first error, at channel c
with choice k, has the probability :math:`q_{ck} \prod_{c' < c} q_{c'0}`, and follows
from one uniform number; later channels are independent, with a number each. The
numbers of the first error are stratified: draw :math:`i` has its number in
:math:`[i/n, (i + 1)/n)`. Where most strings have one error, the draws so come close to
a list of all of them, and the mean still has no bias. Equal strings of one sample are
run once, with the sum of their weights.

Since neighbours among the draws come from neighbouring strata, the variance of the mean
is estimated from their differences,

.. math:: \frac{(1 - q(0))^2}{n} \cdot
    \frac{1}{2 (n - 1)} \sum_{i=1}^{n-1} (v(s_{i+1}) - v(s_i))^2 ,

which is too large rather than too small, since the means of neighbouring strata differ
as well. An interval must also allow for strings that are rare and were not drawn. It is
as wide as if one more had been, whose value is off by the scale of the observable; or,
where the norm of states varies and a few strings count much, by twice as much as the
farthest that was drawn (:func:`half_width`). With noise so strong that a string without
errors is a rare exception, averages of a few strings of damping are so skewed that even
this is too narrow. This module knows arrays, not PennyLane.

References:
    W. G. Cochran, Sampling Techniques, 3rd ed., Wiley 1977, chapters 5A (collapsed
    strata) and 8 (successive differences).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from qstore_pl.engine.draws import Choices
from qstore_pl.engine.program import Float1D, Float2D

Int1D = NDArray[np.int64]
Int2D = NDArray[np.int64]
Float3D = NDArray[np.float64]
CONFIDENCE = 0.95
_BELOW_ONE = np.nextafter(1.0, 0.0)


class Odds:
    """Probabilities of the choices of all channels, as strings are drawn from them.

    Args:
        choices: The choices of each channel.

    Attributes:
        probabilities: Of each channel, as in :class:`Choices`.
        no_error: Probability of the string without errors, shape ``(n_samples,)``, or
            ``(1,)`` if all samples share it.
        rest: Probability of all other strings, of the same shape.
        skewed: Whether the norms of states vary between strings.
    """

    def __init__(self, choices: Sequence[Choices]) -> None:
        self.probabilities = [one.probabilities for one in choices]
        each = self.probabilities
        self.skewed = any(bool(np.any(one.growth != 1.0)) for one in choices)
        n_samples = max((len(one) for one in each), default=1)
        most = max((one.shape[1] for one in each), default=1)
        kept = np.empty((len(each), n_samples))
        # Cumulative probabilities of errors, infinite from the last one on.
        self._ends = np.full((len(each), n_samples, max(most - 2, 0)), np.inf)
        self._errors = np.empty((len(each), n_samples))
        for c, one in enumerate(each):
            kept[c] = one[:, 0]
            self._errors[c] = one[:, 1:].sum(axis=1)
            self._ends[c, :, : max(one.shape[1] - 2, 0)] = np.cumsum(
                one[:, 1:-1], axis=1
            )
        upto = np.cumprod(np.concatenate([np.ones((1, n_samples)), kept]), axis=0)
        self._before = upto[:-1]  # (n_channels, n_samples), no error before a channel
        self._first = np.cumsum(self._before * self._errors, axis=0)
        self.no_error = upto[-1]
        self.rest = self._first[-1] if len(each) else np.zeros(n_samples)

    def strings(self, uniform: Float3D) -> NDArray[np.uint16]:
        """Draw strings with at least one error.

        Args:
            uniform: Numbers in [0, 1), shape ``(1 + n_channels, batch, n)``: those of
                the first errors, and of each channel.

        Returns:
            Choices, shape ``(n_channels, batch, n)``; none is an error where all errors
            have the probability 0.
        """
        _, batch, n = uniform.shape
        n_channels = len(self._errors)
        sample = np.arange(batch) % len(self.rest)
        found = np.zeros((n_channels, batch, n), np.uint16)
        if not np.any(self.rest):
            return found
        strata = (np.arange(n) + uniform[0]) / n * self.rest[sample, None]
        first = np.empty((batch, n), np.int64)
        for row in range(batch):
            ends = self._first[:, sample[row]]
            last = np.searchsorted(ends, ends[-1])  # that may have an error
            at = np.searchsorted(ends, strata[row], side="right")
            first[row] = np.minimum(at, last)
        column = sample[:, None]
        begin = np.where(first > 0, self._first[first - 1, column], 0.0)
        inside = (strata - begin) / self._before[first, column]
        inside = np.clip(inside, 0.0, self._errors[first, column] * _BELOW_ONE)
        channel = np.arange(n_channels)[:, None, None]
        numbers = np.where(channel == first, inside, uniform[1:])
        happens = (numbers < self._errors[:, sample, None]) & (channel >= first)
        c, b, i = np.nonzero(happens)
        beyond = numbers[c, b, i][:, None] >= self._ends[c, sample[b]]
        found[c, b, i] = 1 + beyond.sum(axis=1)
        return found


@dataclass(frozen=True)
class Strata:
    """The strings of a batch that are run, in the order in which they are.

    Args:
        choices: The choice of each channel, shape ``(n_channels, n_rows)``.
        sample: The sample of each string, shape ``(n_rows,)``.
        weights: What the string counts in the average of its sample, ``(n_rows,)``.
        place: Where the string of each draw is, shape ``(batch, n)``.
        slot: The place of each string in arrays of shape ``(batch, 1 + n)``, flat: that
            of the string without errors, or of its first draw, shape ``(n_rows,)``.
        no_error: Probability of the string without errors, shape ``(batch,)``.
        rest: Probability of all others, shape ``(batch,)``.
        skewed: Whether the norms of states vary between strings.
    """

    choices: NDArray[np.uint16]
    sample: Int1D
    weights: Float1D
    place: Int2D
    slot: Int1D
    no_error: Float1D
    rest: Float1D
    skewed: bool = False

    @classmethod
    def draw(cls, odds: Odds, uniform: Float3D) -> Strata:
        """Draw strings, and put equal ones together.

        Args:
            odds: Probabilities of the choices.
            uniform: Numbers in [0, 1), shape ``(1 + n_channels, batch, n)``.
        """
        drawn = odds.strings(uniform)
        n_channels, batch, n = drawn.shape
        no_error = np.broadcast_to(odds.no_error, batch)
        rest = np.broadcast_to(odds.rest, batch)
        place, slot, sample = _merged(drawn.reshape(n_channels, batch * n), batch, n)
        within = slot % (1 + n)
        choices = np.zeros((n_channels, len(slot)), np.uint16)
        is_drawn = within > 0
        choices[:, is_drawn] = drawn[:, sample[is_drawn], within[is_drawn] - 1]
        weights = np.bincount(place.ravel(), minlength=len(slot)) / n * rest[sample]
        weights[~is_drawn] = no_error
        return cls(choices, sample, weights, place, slot, no_error, rest, odds.skewed)

    def sorted_by(self, key: Int1D) -> Strata:
        """The same strings in the order of a key of each.

        Args:
            key: Shape ``(n_rows,)``.
        """
        order = np.argsort(key, kind="stable")
        new = np.empty_like(order)
        new[order] = np.arange(len(order))
        return replace(
            self,
            choices=np.ascontiguousarray(self.choices[:, order]),
            sample=self.sample[order],
            weights=self.weights[order],
            place=new[self.place],
            slot=self.slot[order],
        )

    def totals(self, each: Float2D) -> Float2D:
        """Weighted sums over the strings of each sample.

        Args:
            each: Numbers of each string, shape ``(n_rows, n)``.

        Returns:
            Shape ``(batch, n)``.
        """
        found = np.zeros((len(self.rest), each.shape[1]))
        np.add.at(found, self.sample, self.weights[:, None] * each)
        return found

    def standard_errors(self, each: Float2D) -> Float2D:
        """Standard errors of the averages of some numbers.

        Args:
            each: Numbers of each string, shape ``(n_rows, n_values)``.

        Returns:
            Shape ``(batch, n_values)``.
        """
        n = self.place.shape[1]
        error = np.sqrt(variance(each[self.place]) / n)
        return scaled(self.rest[:, None], error)

    def half_widths(self, each: Float2D, scale: Float1D) -> Float2D:
        """Half the widths of the 95 % intervals of the averages of some numbers.

        Args:
            each: Numbers of each string, shape ``(n_rows, n_values)``.
            scale: How far a value may be off the mean, shape ``(n_values,)``.

        Returns:
            Shape ``(batch, n_values)``.
        """
        distinct = np.array([len(np.unique(places)) for places in self.place])
        width = half_width(each[self.place], scale, distinct, skewed=self.skewed)
        return scaled(self.rest[:, None], width)


def variance(draws: Float3D) -> Float2D:
    """Variance of one draw, from the differences of neighbours along axis 1.

    It is infinite where there is only one draw.

    Args:
        draws: Values of draws from strata in their order, shape ``(batch, n, ...)``.
    """
    n = draws.shape[1]
    if n == 1:
        return np.full_like(draws[:, 0], np.inf)
    return np.asarray((np.diff(draws, axis=1) ** 2).sum(axis=1) / (2.0 * (n - 1)))


def half_width(
    draws: Float3D, scale: Float1D, distinct: Int1D, *, skewed: bool = False
) -> Float2D:
    r"""Half the width of the 95 % interval of the mean of draws.

    .. math:: t \sqrt{\frac{(n - 1)\,s^2 + r^2}{n^2}}

    with the variance :math:`s^2` of a draw, the scale :math:`r` of the values, and the
    quantile t of Student's distribution with :math:`\min(n, 2 d) - 1` degrees of
    freedom, for d distinct strings. One more string that was not drawn is allowed for,
    whose value is off by r.

    Args:
        draws: Values of draws from strata in their order, ``(batch, n, n_values)``.
        scale: How far a value may be off the mean, shape ``(n_values,)``.
        distinct: Number of distinct strings, shape ``(batch,)``.
        skewed: Whether r is at least twice the largest distance of a draw to the mean.

    Returns:
        Shape ``(batch, n_values)``; infinite where there is only one draw.
    """
    n = draws.shape[1]
    if n == 1:
        return np.full_like(draws[:, 0], np.inf)
    freedom = np.minimum(n, 2 * distinct) - 1
    t = stdtrit(freedom, 0.5 + 0.5 * CONFIDENCE)
    off = np.broadcast_to(scale, draws[:, 0].shape)
    if skewed:
        far = np.abs(draws - draws.mean(axis=1, keepdims=True)).max(axis=1)
        off = np.maximum(off, 2.0 * far)
    return t[:, None] / n * np.sqrt((n - 1) * variance(draws) + off**2)


def scaled(rest: Float2D, error: Float2D) -> Float2D:
    """Errors times the weight of what was drawn; 0 where that is nothing."""
    return np.multiply(rest, error, out=np.zeros_like(error), where=rest > 0.0)


def _merged(
    drawn: NDArray[np.uint16], batch: int, n: int
) -> tuple[Int2D, Int1D, Int1D]:
    """Where equal strings of each sample are run: place, slot and sample of `Strata`.

    Args:
        drawn: Choices, shape ``(n_channels, batch * n)``; the draws of one sample are
            neighbours.
        batch: Number of samples.
        n: Number of draws of each.
    """
    place = np.empty(batch * n, np.int64)
    slot: list[int] = []
    sample: list[int] = []
    keys = _bytes_of(drawn)
    none = bytes(2 * len(drawn))
    for b in range(batch):
        seen = {none: len(slot)}
        slot.append(b * (1 + n))
        sample.append(b)
        for i in range(n):
            key = keys[b * n + i]
            at = seen.setdefault(key, len(slot))
            if at == len(slot):
                slot.append(b * (1 + n) + 1 + i)
                sample.append(b)
            place[b * n + i] = at
    return place.reshape(batch, n), np.array(slot), np.array(sample)


def _bytes_of(drawn: NDArray[np.uint16]) -> list[bytes]:
    """Each column as bytes."""
    if len(drawn) == 0:
        return drawn.shape[1] * [b""]
    rows = np.ascontiguousarray(drawn.T)
    return [row.tobytes() for row in rows]


def checkpoints(
    growths: Sequence[Float1D],
    choices: NDArray[np.uint16],
    columns: int,
    most: float,
) -> tuple[Int2D, int]:
    """Where backward runs need a checkpoint before a matrix that was drawn.

    The rows of a chunk have their checkpoints at the same channels.

    Args:
        growths: The growth of each choice of each channel, see :class:`Choices`.
        choices: The choice of each channel, shape ``(n_channels, n_rows)``.
        columns: Number of rows of a chunk.
        most: Factor by which un-computing may grow errors between checkpoints.

    Returns:
        The number of the checkpoint of each channel and row, -1 for none, shape
        ``(n_channels, n_rows)``; and the largest number of them in a chunk.
    """
    n_rows = choices.shape[1]
    marks = np.full(choices.shape, -1)
    starts = np.arange(0, n_rows, columns)
    chunk = np.arange(n_rows) // columns
    growth, counts = np.ones(n_rows), np.zeros(len(starts), np.int64)
    for own, mark, one in zip(growths, marks, choices, strict=True):
        if np.all(own == 1.0):
            continue
        growth *= own[one]
        here = np.logical_or.reduceat(~(growth <= most), starts)
        rows = here[chunk]
        mark[rows] = counts[chunk[rows]]
        growth[rows] = 1.0
        counts += here
    return marks, int(counts.max(initial=0))


def first_over(
    growths: Sequence[Float1D], choices: NDArray[np.uint16], most: float
) -> Int1D:
    """The first channel of each row that alone needs a checkpoint.

    Rows with equal ones are run as neighbours, since a chunk shares its checkpoints.

    Args:
        growths: The growth of each choice of each channel, see :class:`Choices`.
        choices: The choice of each channel, shape ``(n_channels, n_rows)``.
        most: Factor by which un-computing may grow errors between checkpoints.
    """
    found = np.full(choices.shape[1], len(choices))
    for c in reversed(range(len(choices))):
        if np.any(growths[c] > most):
            found[growths[c][choices[c]] > most] = c
    return found
