"""Binomial random numbers from a stream, exact for any number of trials.

References:
    W. Hörmann, The generation of binomial random variates, J. Stat. Comput. Simul. 46,
    101 (1993), doi:10.1080/00949659308811496.
"""

from __future__ import annotations

import math

import numpy as np

from qstore_pl.engine.compile import Array, inner
from qstore_pl.engine.streams import uniform

_INVERSION = 10.0  # mean below which a binomial number is drawn by inversion
_TAIL = 110  # a number with such a mean is larger with a probability below 1e-70

# By how much log k! exceeds the formula of Stirling, for k < 10
_STIRLING = tuple(
    math.lgamma(k + 1.0)
    - ((k + 0.5) * math.log(k + 1.0) - (k + 1.0) + 0.5 * math.log(2 * math.pi))
    for k in range(10)
)


@inner
def binomial(n: int, p: float, state: Array) -> int:
    """How many of ``n`` independent trials succeed, each with probability ``p``."""
    if n <= 0 or p <= 0.0:
        return 0
    if p >= 1.0:
        return n
    small = min(p, 1.0 - p)
    if n * small < _INVERSION:
        k = _by_inversion(n, small, state)
    else:
        k = _by_rejection(n, small, state)
    return k if p <= 0.5 else n - k


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
    """Hörmann's algorithm BTRS, for p <= 1/2 and n p >= 10."""
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
    """By how much log k! exceeds (k + 1/2) log(k + 1) - (k + 1) + log(2 pi) / 2."""
    if k < 10.0:
        return _STIRLING[int(k)]
    r = 1.0 / (k + 1.0)
    s = r * r
    return r * (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680))))
