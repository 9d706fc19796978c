"""Circuits with shots: measured values that are estimated from drawn outcomes.

A circuit is run once for each group of values that are read from the same outcomes. The
outcomes are drawn from the exact probabilities, misread wire by wire, and averaged.
This module knows arrays and Programs, not PennyLane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._lazy import cached_property
from qstore_pl.engine.observables import multiply
from qstore_pl.engine.passes import IdlePasses
from qstore_pl.engine.program import Float1D, Float2D, Program
from qstore_pl.engine.sampling import counts, misread, outcomes
from qstore_pl.engine.streams import Ids, Key, uniforms
from qstore_pl.engine.trajectories import TrajectoryPass

MOST_COUNTED = 12  # wires up to which outcomes are counted, not listed
_MISREADING = -1  # the number of the stream that misreads listed outcomes
_CHANNELS = -2  # the number of the stream that draws trajectories

Wires: TypeAlias = tuple[int, ...]


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


@final
class Sampler:
    """A circuit with shots, as a function of weights and features.

    Args:
        programs: The circuit for each group, with the gates that turn the basis that is
            measured into the computational one, and without observables.
        groups: What is read from each.
        offsets: Constants that are added to the measured values, ``(n_outputs,)``.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        groups: Sequence[Group],
        offsets: Float1D | Sequence[float],
    ) -> None:
        self.programs, self.groups = tuple(programs), tuple(groups)
        self.offsets = np.array(offsets, dtype=np.float64)
        self._idle = [IdlePasses(program) for program in self.programs]

    @property
    def n_outputs(self) -> int:
        """Number of measured values."""
        return len(self.offsets)

    @property
    def n_features(self) -> int:
        """Columns of the features."""
        return self.programs[0].n_features if self.programs else 0

    @cached_property
    def untied(self) -> Sampler:
        """The same circuit, in which the last features of a sample are its weights."""
        programs = [program.untied for program in self.programs]
        return Sampler(programs, self.groups, self.offsets)

    def probabilities(
        self, weights: Float1D, features: Float2D, key: Key, ids: Ids
    ) -> list[Float2D]:
        """The exact probabilities of what is read, for each group.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(batch, n_features)``.
            key: Key of the random streams, which trajectories are drawn from.
            ids: Row and circuit of each sample, shape ``(batch, 2)``.

        Returns:
            For each group shape ``(batch, 2**k)``, for its k wires.
        """
        found = []
        rows = np.arange(len(features))
        for group, program, idle in self._each():
            work = idle.take(len(features))
            draw_from(work, program, key, ids)
            work.forward(weights, features, rows, gradient=False)
            read = work.probabilities(self._read(group, program))
            idle.give_back(work)
            if len(group.wires) <= MOST_COUNTED and any(map(any, group.errors)):
                read = misread(read, np.array(group.errors))
            found.append(read)
        return found

    def spread(
        self,
        weights: Float1D,
        features: Float2D,
        cotangents: Float2D,
        key: Key,
        ids: Ids,
    ) -> Float1D:
        """Exact variance of a sum of measured values with one shot in each group.

        The sum is that of the measured values times their cotangents.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(batch, n_features)``.
            cotangents: Factors of the measured values, shape ``(batch, n_outputs)``.
            key: Key of the random streams.
            ids: Row and circuit of each sample, shape ``(batch, 2)``.

        Returns:
            Shape ``(batch,)``.
        """
        exact = self.probabilities(weights, features, key, ids)
        found = Drawn(self, exact, len(features)).variances(cotangents)
        return np.asarray(found.sum(axis=1))

    def draw(
        self,
        exact: Sequence[Float2D],
        shots: NDArray[np.int64],
        key: Key,
        ids: Ids,
    ) -> Drawn:
        """Draw outcomes, from which the measured values are estimated.

        Args:
            exact: Their probabilities, from :meth:`probabilities`.
            shots: Number of shots of each sample, shape ``(batch,)``, >= 1.
            key: Key of the random streams.
            ids: Row and circuit of each sample, shape ``(batch, 2)``, which with the
                key determine its random numbers.
        """
        shares: list[Any] = []
        for g, (group, read) in enumerate(zip(self.groups, exact, strict=True)):
            own = ids.copy()
            own[:, 1] = own[:, 1] * len(self.groups) + g
            if len(group.wires) <= MOST_COUNTED:
                shares.append(counts(read, shots, key, own) / shots[:, None])
            else:
                shares.append(self._listed(group, read, shots, key, own))
        return Drawn(self, shares, len(ids))

    def _listed(
        self, group: Group, read: Float2D, shots: NDArray[np.int64], key: Key, ids: Ids
    ) -> list[NDArray[np.int64]]:
        """The outcomes of each sample, where there are too many to count each."""
        listed = []
        for b, n in enumerate(shots):
            own = ids[b : b + 1]
            (found,) = outcomes(read[b : b + 1], int(n), key, own, shuffled=False)
            found = bits_of(found, tuple(range(self.programs[0].n_wires)), group.wires)
            listed.append(flipped(found, group.errors, key, own))
        return listed

    def _each(self) -> Any:
        return zip(self.groups, self.programs, self._idle, strict=True)

    @staticmethod
    def _read(group: Group, program: Program) -> Wires:
        """The wires whose outcomes are drawn: those of the group, or all."""
        if len(group.wires) <= MOST_COUNTED:
            return group.wires
        return tuple(range(program.n_wires))

    @cached_property
    def tables(self) -> list[Float2D | None]:
        """The contribution of each outcome of each group, ``(2**k, n_outputs)``.

        It is None where outcomes are not counted, or their frequencies are the values.
        """
        return [
            None
            if group.distribution is not None or len(group.wires) > MOST_COUNTED
            else group.values(np.arange(1 << len(group.wires)), self.n_outputs)
            for group in self.groups
        ]


@final
class Drawn:
    """Outcomes of circuits with shots.

    Args:
        sampler: What drew them.
        shares: For each group the relative frequencies of outcomes, shape
            ``(batch, 2**k)``, or a list of the outcomes of each sample.
        batch: Number of samples.
    """

    def __init__(self, sampler: Sampler, shares: Sequence[Any], batch: int) -> None:
        self._sampler, self._shares, self._batch = sampler, shares, batch

    def __len__(self) -> int:
        return self._batch

    def values(self) -> Float2D:
        """The estimated values, shape ``(batch, n_outputs)``."""
        sampler = self._sampler
        total = np.tile(sampler.offsets, (self._batch, 1))
        for group, table, shares in self._parts():
            if isinstance(shares, list):
                total += [self._of(group, one).mean(axis=0) for one in shares]
            elif table is None:
                total[:, group.distribution] += shares
            else:
                total += _product(shares, table)
        return total

    def variances(self, cotangents: Float2D) -> Float2D:
        """Estimated variance of a sum of measured values with one shot in each group.

        The sum is that of the measured values times their cotangents.

        Args:
            cotangents: Factors of the measured values, shape ``(batch, n_outputs)``.

        Returns:
            The part of each group, shape ``(batch, n_groups)``. It is the variance of
            the outcomes that were drawn, divided by their number, not by one less.
        """
        found = np.empty((len(cotangents), len(self._shares)))
        for g, (group, table, shares) in enumerate(self._parts()):
            if isinstance(shares, list):
                pairs = zip(shares, cotangents, strict=True)
                found[:, g] = [(self._of(group, one) @ c).var() for one, c in pairs]
                continue
            if table is None:
                scores = cotangents[:, group.distribution].copy()
            else:
                scores = _product(cotangents, np.ascontiguousarray(table.T))
            scores -= np.vecdot(shares, scores)[:, None]
            found[:, g] = np.vecdot(shares, scores**2)
        return found

    def _parts(self) -> Any:
        sampler = self._sampler
        return zip(sampler.groups, sampler.tables, self._shares, strict=True)

    def _of(self, group: Group, listed: NDArray[np.int64]) -> Float2D:
        return group.values(listed, self._sampler.n_outputs)


def _product(rows: Float2D, matrix: Float2D) -> Float2D:
    """A matrix product whose bits do not depend on how many rows there are."""
    out = np.empty((len(rows), matrix.shape[1]))
    multiply(np.ascontiguousarray(rows), matrix, out)
    return out


def draw_from(work: Any, program: Program, key: Key, ids: Ids) -> None:
    """Let a Pass of trajectories draw them from streams of each sample.

    All circuits of a sample have the same trajectories, so that differences between
    them do not come from these.

    Args:
        work: A Pass of any kind; only one of trajectories is changed.
        program: Its Program.
        key: Key of the random streams.
        ids: Row and circuit of each sample, shape ``(batch, 2)``.
    """
    if not isinstance(work, TrajectoryPass):
        return
    own = np.stack([ids[:, 0], np.full(len(ids), _CHANNELS)], axis=1)

    def uniform(shape: tuple[int, ...]) -> Float2D:
        n_draws, n_rows = shape
        each = uniforms(key, own, n_draws * (n_rows // len(own)))
        return each.reshape(len(own), n_draws, -1).transpose(1, 0, 2).reshape(shape)

    work.uniform = uniform


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
    stream[:, 1] = _MISREADING - 2 * (1 + stream[:, 1])  # negative, and not _CHANNELS
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
