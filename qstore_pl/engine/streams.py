"""Streams of random numbers that belong to a circuit, and not to a thread.

Each circuit of each sample has a generator of its own, xoshiro256++, whose state is
made from a key, the row of the sample and the number of the circuit. So its numbers
depend neither on the other circuits nor on the order in which they run. This module
knows nothing of what the numbers are for.

References:
    D. Blackman and S. Vigna, Scrambled linear pseudorandom number generators, ACM
    Trans. Math. Softw. 47, 36 (2021), arXiv:1805.01407.
    G. L. Steele, D. Lea and C. H. Flood, Fast splittable pseudorandom number
    generators, OOPSLA 2014, doi:10.1145/2660193.2660195.
"""

from __future__ import annotations

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from qstore_pl.engine.compile import F2, Array, inner, kernel

U1_IN = types.Array(types.uint64, 1, "C", readonly=True)
I2_IN = types.Array(types.int64, 2, "C", readonly=True)

Key = NDArray[np.uint64]  # (4,)
Ids = NDArray[np.int64]  # (batch, 2): row of the sample, number of the circuit

# numba makes a float of an int64 and a uint64: every number here is a uint64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64 adds 2**64 over the golden ratio
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_11, _17, _19, _23, _27 = (np.uint64(bits) for bits in (11, 17, 19, 23, 27))
_30, _31, _41, _45 = (np.uint64(bits) for bits in (30, 31, 41, 45))
_TO_UNIT = 2.0**-53


@inner
def _mix(z: np.uint64) -> np.uint64:
    """The output function of SplitMix64: one-to-one, and each bit changes about 32."""
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@inner
def seed(key: Array, row: int, circuit: int, state: Array) -> None:
    """Write the first state of a stream.

    Word :math:`i` of the state is output number ``circuit`` of the SplitMix64 generator
    that starts from output number ``row`` of the one that starts from
    ``key[i]``, shifted so that equal words of a key give different words of the state.

    Args:
        key: Four words that all streams of a submission share, shape ``(4,)``.
        row: Row of the sample.
        circuit: Number of the circuit of this sample.
        state: The state that is written, shape ``(4,)``.
    """
    shift = np.uint64(0)
    for i in range(4):
        shift = shift + _mix(shift + _GOLDEN)
        start = _mix(key[i] + shift + _GOLDEN * np.uint64(row))
        state[i] = _mix(start + _GOLDEN * np.uint64(circuit))
    if state[0] == 0 and state[1] == 0 and state[2] == 0 and state[3] == 0:
        state[0] = _GOLDEN  # from zeros the generator makes only zeros


@inner
def next_word(state: Array) -> np.uint64:
    """The next 64 random bits of the stream with this state, which moves on."""
    a, b, c, d = state[0], state[1], state[2], state[3]
    total = a + d
    word = ((total << _23) | (total >> _41)) + a
    c ^= a
    d ^= b
    state[0] = a ^ d
    state[1] = b ^ c
    state[2] = c ^ (b << _17)
    state[3] = (d << _45) | (d >> _19)
    return word


@inner
def uniform(state: Array) -> float:
    """The next number of the stream, a multiple of 2**-53 in [0, 1)."""
    return np.float64(next_word(state) >> _11) * _TO_UNIT


@kernel(U1_IN, I2_IN, F2)
def _fill(key: Array, ids: Array, out: Array) -> None:
    state = np.empty(4, np.uint64)
    for b in range(ids.shape[0]):
        seed(key, ids[b, 0], ids[b, 1], state)
        for i in range(out.shape[1]):
            out[b, i] = uniform(state)


def uniforms(key: Key, ids: Ids, n: int) -> NDArray[np.float64]:
    """The first numbers of some streams.

    Args:
        key: Four words that all streams of a submission share, shape ``(4,)``.
        ids: Row of the sample and number of the circuit of each stream, shape
            ``(batch, 2)``.
        n: How many numbers of each stream.

    Returns:
        Uniform random numbers in [0, 1), shape ``(batch, n)``.
    """
    out = np.empty((len(ids), n))
    _fill(key, ids, out)
    return out
