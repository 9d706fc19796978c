"""Results of measurements with shots, drawn from probabilities in compiled kernels.

Results have the form of PennyLane's. Which numbers are drawn depends on the key of a
submission, the sample and the number of the circuit alone, not on what else is executed
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.measurements import CountsMP, MeasurementProcess, Shots

from qstore_pl.devices.aside import aside
from qstore_pl.devices.meters import Output
from qstore_pl.devices.readings import Listing, Positions, Reading, Rotation
from qstore_pl.devices.readout import untraced
from qstore_pl.engine.readings import bits_of
from qstore_pl.engine.sampling import counts
from qstore_pl.engine.shots import Drawn
from qstore_pl.engine.streams import Ids, Key

_POSTSELECTING = -4  # the number of the stream that draws how many shots are kept

Float = NDArray[np.float64]
Probabilities: TypeAlias = Callable[[Rotation, Positions], Float]
"""Function from gates and wires to the probabilities of outcomes after the gates,
of shape ``(n_rows, 2**len(wires))``."""


@dataclass(frozen=True)
class Runs:
    """Circuits of one structure that are run together, and their random streams.

    Args:
        measurements: The measurements of each circuit, which are read in the same way.
        batch: Number of samples of each, or None for circuits without a batch axis.
        shots: The shots of each circuit, which may be several numbers.
        key: Key of the submission.
        numbers: Number of the first of its circuits that each one draws for.
    """

    measurements: Sequence[Sequence[MeasurementProcess]]
    batch: int | None
    shots: Shots
    key: Key
    numbers: Sequence[int]

    @property
    def entries(self) -> list[int]:
        """The numbers of shots."""
        return list(self.shots)

    def ids(self, offset: int) -> Ids:
        """Sample and circuit of each row, shape ``(n_rows, 2)``.

        Args:
            offset: What is added to the number of each circuit.
        """
        size = self.batch or 1
        sample = np.tile(np.arange(size), len(self.numbers))
        number = np.repeat(np.array(self.numbers, dtype=np.int64) + offset, size)
        return np.stack([sample, number], axis=1)

    def split(self, rows: Any) -> list[Any]:
        """The rows of each circuit, or its only row where there is no batch axis."""
        if self.batch is None:
            return list(rows)
        size = self.batch
        return [rows[i : i + size] for i in range(0, len(rows), size)]


@dataclass(frozen=True)
class Selection:
    """Postselection: outcomes of some wires that are kept.

    Args:
        outcomes: The outcome that is kept, for each position.
        fill: Whether every shot is kept, as if circuits without the outcome were run
            again; otherwise as many as have the outcome.
        check: Function from numbers of shots, how many are kept and the share of these,
            which may refuse that none is.
    """

    outcomes: Mapping[int, int]
    fill: bool = False
    check: Callable[[Sequence[int], Sequence[int], float], None] = lambda *_: None

    def conditioned(self, probabilities: Probabilities) -> Probabilities:
        """Probabilities of outcomes together with those that are kept."""

        def found(rotation: Rotation, wires: Positions) -> Float:
            others = tuple(w for w in self.outcomes if w not in wires)
            index = 0
            for wire in others:
                index = 2 * index + self.outcomes[wire]
            joint = probabilities(rotation, wires + others)
            kept = joint.reshape(len(joint), 1 << len(wires), -1)[:, :, index].copy()
            for place, wire in enumerate(wires):
                if wire in self.outcomes:
                    halves = kept.reshape(len(joint), 1 << place, 2, -1)
                    halves[:, :, 1 - self.outcomes[wire]] = 0.0
            return kept

        return found

    def kept(self, probabilities: Float, runs: Runs) -> list[NDArray[np.int64]]:
        """How many shots of each row are kept, for each number of shots.

        Args:
            probabilities: Probabilities of outcomes together with those that are kept.
            runs: The circuits.
        """
        n_rows, entries = len(probabilities), runs.entries
        share = probabilities.sum(axis=1).clip(0.0, 1.0)
        if not self.outcomes:
            return [np.full(n_rows, shots) for shots in entries]
        if self.fill:
            if not np.all(share > 0.0):
                raise RuntimeError(
                    "The probability of the postselected outcome is 0, so no shots can "
                    'be filled. Use postselect_mode="hw-like".'
                )
            return [np.full(n_rows, shots) for shots in entries]
        pairs = np.stack([share, 1.0 - share], axis=1)
        kept = []
        for j, shots in enumerate(entries):
            ids = runs.ids(j)
            ids[:, 1] = _POSTSELECTING - 2 * ids[:, 1]  # even, below all others
            kept.append(counts(pairs, np.full(n_rows, shots), runs.key, ids)[:, 0])
        for row, left in enumerate(zip(*kept, strict=True)):
            self.check(entries, [int(n) for n in left], float(share[row]))
        return kept


def sampled(
    reading: Reading,
    runs: Runs,
    probabilities: Probabilities,
    selection: Selection,
    shadows: Callable[[MeasurementProcess, int, np.random.Generator], Sequence[Any]],
) -> list[Any]:
    """The results of circuits with shots, each in PennyLane's form.

    Args:
        reading: How the measurements are read.
        runs: The circuits.
        probabilities: The probabilities of their outcomes, a row for each sample.
        selection: Which outcomes are kept.
        shadows: Function that gives a classical shadow of one of the circuits, none of
            which has a batch axis, for each number of shots.
    """
    entries, n = runs.entries, reading.n_circuits
    n_circuits, n_measurements = len(runs.numbers), len(runs.measurements[0])
    # [number of shots][measurement][circuit]
    results: list[list[Any]] = [[None] * n_measurements for _ in entries]
    conditioned = probabilities
    if selection.outcomes:
        conditioned = selection.conditioned(probabilities)
    kept: list[NDArray[np.int64]] | None = None
    shares: list[list[Any]] = [[] for _ in entries]
    n_rows = n_circuits * (runs.batch or 1)
    for g, group in enumerate(reading.sampler.groups):
        exact = conditioned(reading.rotations[g], group.wires)
        kept = selection.kept(exact, runs) if kept is None else kept
        read = group.read(exact)
        for j, shots in enumerate(kept):
            drawn = group.draw(read, shots, runs.key, runs.ids(j * n + g))
            shares[j].append(drawn)
    for j, parts in enumerate(shares if reading.estimated else ()):
        values = Drawn(reading.sampler, parts, n_rows).values()
        for i, output in zip(reading.estimated, reading.outputs, strict=True):
            results[j][i] = _estimates(values, output, runs)
    for g, listing in enumerate(reading.listings, len(reading.rotations)):
        exact = conditioned(listing.rotation, listing.wires)
        kept = selection.kept(exact, runs) if kept is None else kept
        for j, shots in enumerate(kept):
            found = _listed(listing, exact, shots, runs, runs.ids(j * n + g))
            for i in listing.members:
                results[j][i] = [
                    _processed(mps[i], one, listing)
                    for mps, one in zip(runs.measurements, found, strict=True)
                ]
    for i in reading.shadows:
        for t, number in enumerate(runs.numbers):
            rng = np.random.default_rng([*map(int, runs.key), number, i])
            for j, one in enumerate(shadows(runs.measurements[t][i], t, rng)):
                results[j][i] = [*(results[j][i] or []), one]
    return [
        _nested([[row[t] for row in of_shots] for of_shots in results], runs.shots)
        for t in range(n_circuits)
    ]


def _nested(results: list[list[Any]], shots: Shots) -> Any:
    """Results by number of shots and measurement, nested as PennyLane does."""
    nested = [row[0] if len(row) == 1 else tuple(row) for row in results]
    return tuple(nested) if shots.has_partitioned_shots else nested[0]


def _estimates(values: Float, output: Output, runs: Runs) -> list[Any]:
    """A measurement that is made of estimated values, for each circuit."""
    if output.variance:
        mean, square = values[:, output.first], values[:, output.first + 1]
        found = np.maximum(square - mean**2, 0.0)
    elif output.shape:
        found = values[:, output.first : output.end].reshape(-1, *output.shape)
    else:
        found = values[:, output.first]
    each = runs.split(found)
    # PennyLane drops a batch axis of length 1.
    return each if runs.batch is None else [np.squeeze(one) for one in each]


def _listed(
    listing: Listing,
    exact: Float,
    shots: NDArray[np.int64],
    runs: Runs,
    ids: Ids,
) -> list[NDArray[np.int64]]:
    """The outcomes that each circuit reads, with a batch axis if it has one."""
    if np.all(shots == shots[0]):
        return runs.split(listing.draw(exact, int(shots[0]), runs.key, ids))
    rows = [
        listing.draw(exact[b : b + 1], int(n), runs.key, ids[b : b + 1])[0]
        for b, n in enumerate(shots)
    ]
    # A batch has been taken apart where each of its samples keeps other shots.
    return rows if runs.batch is None else [row[None] for row in rows]


def _processed(mp: Any, outcomes: NDArray[np.int64], listing: Listing) -> Any:
    """A measurement of outcomes, in PennyLane's form.

    Args:
        mp: The measurement.
        outcomes: What is read, shape ``(shots,)`` or ``(batch, shots)``.
        listing: What the bits of an outcome are.
    """
    if outcomes.shape[-1] == 0:
        return np.nan  # as PennyLane returns where no shot was kept
    mp = untraced(mp)
    if isinstance(mp, CountsMP) and _counts_wires(mp):
        if outcomes.ndim == 2:
            return [_counted(mp, one, listing) for one in outcomes]
        return _counted(mp, outcomes, listing)
    places = np.arange(len(listing.wires))[::-1]
    bits = outcomes[..., None] >> places & 1
    with aside():
        return mp.process_samples(bits, qml.wires.Wires(listing.labels))


def _counts_wires(mp: CountsMP) -> bool:
    return mp.obs is None and mp.mv is None and mp.eigvals() is None


def _counted(
    mp: CountsMP, outcomes: NDArray[np.int64], listing: Listing
) -> dict[Any, Any]:
    """Counts of wires, without a text for every shot."""
    places = dict(zip(listing.labels, listing.wires, strict=True))
    chosen = tuple(places[label] for label in mp.wires.labels or listing.labels)
    k = len(chosen)
    found, times = np.unique(
        bits_of(outcomes, listing.wires, chosen), return_counts=True
    )
    names = [f"{outcome:0{k}b}" for outcome in found.tolist()]
    if mp.all_outcomes:
        every = {f"{i:0{k}b}": np.int64(0) for i in range(1 << k)}
        return every | dict(zip(names, times, strict=True))
    return dict(zip(map(np.str_, names), times, strict=True))
