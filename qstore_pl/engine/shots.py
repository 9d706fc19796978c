"""Circuits with shots: measured values that are estimated from drawn outcomes.

A circuit is run once for each group of values that are read from the same outcomes. The
outcomes are drawn from the exact probabilities, misread wire by wire, and averaged.
This module knows arrays and Programs, not PennyLane.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._lazy import cached_property
from qstore_pl.engine.observables import multiply
from qstore_pl.engine.passes import IdlePasses
from qstore_pl.engine.program import Float1D, Float2D, Program
from qstore_pl.engine.readings import CHANNELS, Group
from qstore_pl.engine.streams import Ids, Key, uniforms
from qstore_pl.engine.trajectories import TrajectoryPass


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
            last = not idle.keeps(work)
            found.append(group.read(work.probabilities(group.wires, last=last)))
            idle.give_back(work)
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
        exact = [
            read if group.is_counted else group.misread(read)
            for group, read in zip(
                self.groups,
                self.probabilities(weights, features, key, ids),
                strict=True,
            )
        ]
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
            shares.append(group.draw(read, shots, key, own))
        return Drawn(self, shares, len(ids))

    def _each(self) -> Any:
        return zip(self.groups, self.programs, self._idle, strict=True)

    @cached_property
    def tables(self) -> list[Float2D | None]:
        """The contribution of each outcome of each group, ``(2**k, n_outputs)``.

        It is None where outcomes are not counted, or their frequencies are the values.
        """
        return [
            None
            if group.distribution is not None or not group.is_counted
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
                for values, one in zip(total, shares, strict=True):
                    self._add_mean(values, group, one)
            elif group.distribution is not None:
                total[:, group.distribution] += shares
            else:
                if table is None:
                    table = group.values(np.arange(shares.shape[1]), total.shape[1])
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
                found[:, g] = [self._scores(group, one, c).var() for one, c in pairs]
                continue
            if group.distribution is not None:
                scores = cotangents[:, group.distribution].copy()
            else:
                if table is None:
                    n_outcomes, n_outputs = shares.shape[1], cotangents.shape[1]
                    table = group.values(np.arange(n_outcomes), n_outputs)
                scores = _product(cotangents, np.ascontiguousarray(table.T))
            scores -= np.vecdot(shares, scores)[:, None]
            found[:, g] = np.vecdot(shares, scores**2)
        return found

    def _parts(self) -> Any:
        sampler = self._sampler
        return zip(sampler.groups, sampler.tables, self._shares, strict=True)

    def _add_mean(
        self, values: Float1D, group: Group, listed: NDArray[np.int64]
    ) -> None:
        """Add the mean over the outcomes of one sample to its values."""
        if len(listed) == 0:
            values[:] = np.nan  # no group has any
        elif group.distribution is not None:
            found, times = np.unique(listed, return_counts=True)
            values[group.distribution][found] += times / len(listed)
        else:
            values += group.values(listed, len(values)).mean(axis=0)

    def _scores(
        self, group: Group, listed: NDArray[np.int64], cotangents: Float1D
    ) -> Float1D:
        """What each outcome of one sample contributes to a sum of measured values."""
        if group.distribution is not None:
            return cotangents[group.distribution][listed]
        return group.values(listed, len(cotangents)) @ cotangents


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
    own = np.stack([ids[:, 0], np.full(len(ids), CHANNELS)], axis=1)

    def uniform(shape: tuple[int, ...]) -> Float2D:
        n_draws, n_rows = shape
        each = uniforms(key, own, n_draws * (n_rows // len(own)))
        return each.reshape(len(own), n_draws, -1).transpose(1, 0, 2).reshape(shape)

    work.uniform = uniform
