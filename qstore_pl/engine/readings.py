"""What is computed from outcomes: signs, scores and frequencies, in groups.

The values of a group are read from the outcomes of one circuit, which are misread wire
by wire. This module knows arrays, not circuits and not PennyLane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.sampling import counts, misread, outcomes
from qstore_pl.engine.streams import Ids, Key, uniforms

Float2D = NDArray[np.float64]
Wires: TypeAlias = tuple[int, ...]

MOST_COUNTED = 12  # wires up to which outcomes are counted, not listed
MISREADING, CHANNELS = -1, -2  # numbers of streams that draw no outcomes


@dataclass(frozen=True)
class Signs:
    """A multiple of the sign of outcomes: -1 for an odd number of ones, else 1.

    Its mean is that of a Pauli word of Z on the wires.

    Args:
        output: The measured value that it is a part of.
        coefficient: What the sign is multiplied by.
        wires: The wires whose ones count.
    """

    output: int
    coefficient: float
    wires: Wires

    def add(self, bits: Any, values: Float2D) -> None:
        """Add what some outcomes contribute to the measured values.

        Args:
            bits: Function from wires to the outcomes of these, numbers whose bits are
                those of the wires, shape ``(n,)``.
            values: The array that is added to, shape ``(n, n_outputs)``.
        """
        ones = np.bitwise_count(bits(self.wires))
        values[:, self.output] += self.coefficient * (1.0 - 2.0 * (ones & 1))


@dataclass(frozen=True, eq=False)
class Scores:
    """Numbers for each outcome of some wires.

    Args:
        output: The first measured value that it is a part of.
        wires: The wires that are read, the first of them the most significant bit.
        numbers: Shape ``(2**len(wires), n)``, for n measured values.
    """

    output: int
    wires: Wires
    numbers: Float2D

    def add(self, bits: Any, values: Float2D) -> None:
        """Add the numbers of some outcomes, as :meth:`Signs.add`."""
        end = self.output + self.numbers.shape[1]
        values[:, self.output : end] += self.numbers[bits(self.wires)]


@dataclass(frozen=True)
class Distribution:
    """The relative frequency of each outcome of some wires.

    Args:
        output: The first of as many measured values as there are outcomes.
        wires: The wires that are read, the first of them the most significant bit.
    """

    output: int
    wires: Wires

    def add(self, bits: Any, values: Float2D) -> None:
        """Add 1 where an outcome is the one that counts, as :meth:`Signs.add`."""
        found = bits(self.wires)
        values[np.arange(len(found)), self.output + found] += 1.0


@dataclass(frozen=True)
class Group:
    """Measured values that are read from the outcomes of one circuit.

    Args:
        wires: The wires that are read, the first of them the most significant bit.
        errors: For each of these wires the probabilities to read 1 for 0, and 0 for 1.
        parts: What is computed from the outcomes.
    """

    wires: Wires
    errors: tuple[tuple[float, float], ...]
    parts: tuple[Signs | Scores | Distribution, ...]

    @property
    def distribution(self) -> slice | None:
        """The measured values that are the frequencies of outcomes, if any are."""
        part = self.parts[0]
        if isinstance(part, Distribution) and part.wires == self.wires:
            return slice(part.output, part.output + (1 << len(self.wires)))
        return None

    @property
    def is_counted(self) -> bool:
        """Whether there are so few outcomes that the shots of each are counted."""
        return len(self.wires) <= MOST_COUNTED

    def read(self, probabilities: Float2D) -> Float2D:
        """Probabilities of what is read, where these are drawn from.

        Args:
            probabilities: Probabilities of the true outcomes, ``(batch, 2**k)``.
        """
        if self.is_counted:
            return self.misread(probabilities)
        return probabilities  # outcomes are misread one by one

    def misread(self, probabilities: Float2D) -> Float2D:
        """Probabilities of outcomes as they are read, errors included.

        Args:
            probabilities: Probabilities of the true outcomes, ``(batch, 2**k)``.
        """
        if any(map(any, self.errors)):
            return misread(probabilities, np.array(self.errors))
        return probabilities

    def draw(self, read: Float2D, shots: NDArray[np.int64], key: Key, ids: Ids) -> Any:
        """Draw outcomes, for :class:`Drawn`.

        Args:
            read: What :meth:`read` returns, shape ``(batch, 2**k)``.
            shots: Number of shots of each sample, shape ``(batch,)``.
            key: Key of the random streams.
            ids: Row and circuit of each sample, shape ``(batch, 2)``.

        Returns:
            The relative frequency of each outcome, shape ``(batch, 2**k)``, not a
            number where there are no shots; or, where there are too many outcomes to
            count each, a list of the outcomes of each sample.
        """
        if self.is_counted:
            with np.errstate(invalid="ignore"):
                return counts(read, shots, key, ids) / shots[:, None]
        return [
            drawn_outcomes(read[b : b + 1], int(n), key, ids[b : b + 1], self.errors)[0]
            for b, n in enumerate(shots)
        ]

    def values(self, outcomes: NDArray[np.int64], n_outputs: int) -> Float2D:
        """What outcomes contribute to the measured values, ``(n, n_outputs)``.

        Args:
            outcomes: Numbers whose bits are those of the wires, shape ``(n,)``.
            n_outputs: Number of measured values.
        """

        def bits(wires: Wires) -> NDArray[np.int64]:
            return bits_of(outcomes, self.wires, wires)

        total = np.zeros((len(outcomes), n_outputs))
        for part in self.parts:
            part.add(bits, total)
        return total


def drawn_outcomes(
    probabilities: Float2D,
    shots: int,
    key: Key,
    ids: Ids,
    errors: Sequence[tuple[float, float]],
    *,
    shuffled: bool = False,
) -> NDArray[np.int64]:
    """The outcome of each shot, as it is read.

    Args:
        probabilities: Probabilities of the true outcomes, shape ``(batch, 2**k)``.
        shots: Number of shots of every sample.
        key: Key of the random streams.
        ids: Row and circuit of each sample, shape ``(batch, 2)``.
        errors: For each of the k wires the probabilities to read 1 for 0, and 0 for 1.
        shuffled: Whether the shots are in random order, not sorted by true outcomes.

    Returns:
        Shape ``(batch, shots)``.
    """
    found = outcomes(probabilities, shots, key, ids, shuffled=shuffled)
    for b in range(len(found)) if any(map(any, errors)) else ():
        found[b] = flipped(found[b], errors, key, ids[b : b + 1])
    return found


def flipped(
    listed: NDArray[np.int64],
    errors: Sequence[tuple[float, float]],
    key: Key,
    ids: Ids,
) -> NDArray[np.int64]:
    """Outcomes of one sample after their wires were misread, shot by shot.

    Args:
        listed: The outcomes, shape ``(shots,)``.
        errors: For each wire, the most significant bit first, the probabilities to read
            1 for 0, and 0 for 1.
        key: Key of the random streams.
        ids: Row and circuit of the sample, shape ``(1, 2)``.
    """
    if not any(map(any, errors)):
        return listed
    stream = ids.copy()
    stream[:, 1] = MISREADING - 2 * (1 + stream[:, 1])  # negative, and not CHANNELS
    numbers = uniforms(key, stream, len(errors) * len(listed))
    flips = np.zeros_like(listed)
    for k, drawn in enumerate(numbers.reshape(len(errors), -1)):
        bit = 1 << (len(errors) - 1 - k)
        e0, e1 = errors[k]
        flips |= np.where(drawn < np.where(listed & bit, e1, e0), bit, 0)
    return listed ^ flips


def bits_of(
    listed: NDArray[np.int64], wires: Wires, chosen: Wires
) -> NDArray[np.int64]:
    """The outcomes of some wires, from outcomes of more.

    Args:
        listed: Numbers whose bits are those of ``wires``, of any shape.
        wires: Wires, the first of them the most significant bit.
        chosen: Some of them, in the order that their bits are to have.
    """
    if chosen == wires:
        return listed
    place = {wire: k for k, wire in enumerate(reversed(wires))}
    found = np.zeros_like(listed)
    for wire in chosen:
        found = found << 1 | listed >> place[wire] & 1
    return found
