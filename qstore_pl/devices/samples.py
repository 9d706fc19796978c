"""Results of measurements with shots, drawn from probabilities in compiled kernels.

Expectation values, variances and probabilities are estimated in the groups of
:mod:`groups`. Samples, counts and measurements of a user's own read the outcome of
every shot, and share it where they are read in the same basis. Results have the form of
PennyLane's. Which numbers are drawn depends on the key of a submission, the sample and
the number of the circuit alone, not on what else is executed with it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.measurements import (
    ClassicalShadowMP,
    CountsMP,
    MeasurementProcess,
    SampleMP,
    ShadowExpvalMP,
    Shots,
)
from pennylane.operation import Operator
from scipy.sparse import issparse

from qstore_pl.devices.aside import aside
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.groups import grouped, has_groups
from qstore_pl.devices.lowering import Part
from qstore_pl.devices.meters import Output
from qstore_pl.devices.readout import check_hermitian, untraced
from qstore_pl.devices.tensors import to_numpy
from qstore_pl.engine.readings import MOST_COUNTED, bits_of, drawn_outcomes
from qstore_pl.engine.sampling import counts, misread
from qstore_pl.engine.shots import Drawn, Sampler
from qstore_pl.engine.streams import Ids, Key

SHADOWS = (ClassicalShadowMP, ShadowExpvalMP)
KEPT_READINGS = 64
_POSTSELECTING = -4  # the number of the stream that draws how many shots are kept

Float = NDArray[np.float64]
Positions: TypeAlias = tuple[int, ...]


class Rotation(NamedTuple):
    """Gates that turn the basis that is measured into the computational one.

    Args:
        operations: The gates.
        key: What tells them from others, with every bit of their numbers.
    """

    operations: tuple[Operator, ...] = ()
    key: Hashable = ()

    @classmethod
    def of(cls, operations: Sequence[Operator]) -> Rotation:
        """These gates, which have entries in the registry."""
        parts = [Part.of(op) for op in operations]
        key = [(part.key, *(v.rows.tobytes() for v in part.values)) for part in parts]
        return cls(tuple(operations), tuple(key))


Probabilities: TypeAlias = Callable[[Rotation, Positions], Float]
"""Function from gates and wires to the probabilities of outcomes after the gates,
of shape ``(n_rows, 2**len(wires))``."""


@dataclass(frozen=True)
class Listing:
    """Measurements that read the outcome of every shot of one circuit.

    Args:
        rotation: Gates that come before the outcomes are read.
        wires: Positions of the wires that are read, the first the most significant bit.
        labels: Their labels.
        errors: For each of them the probabilities to read 1 for 0, and 0 for 1.
        members: Which measurements these are.
        shuffled: Whether the order of the shots can be seen.
    """

    rotation: Rotation
    wires: Positions
    labels: tuple[Any, ...]
    errors: tuple[tuple[float, float], ...]
    members: tuple[int, ...]
    shuffled: bool

    def draw(self, probabilities: Float, shots: int, key: Key, ids: Ids) -> Any:
        """The outcomes that are read, shape ``(n_rows, shots)``.

        Args:
            probabilities: Probabilities of the true outcomes, ``(n_rows, 2**k)``.
            shots: Number of shots of every row.
            key: Key of the random streams.
            ids: Sample and circuit of each row, shape ``(n_rows, 2)``.
        """
        errors = self.errors
        if len(self.wires) <= MOST_COUNTED and any(map(any, errors)):
            probabilities, errors = misread(probabilities, np.array(errors)), ()
        return drawn_outcomes(
            probabilities, shots, key, ids, errors, shuffled=self.shuffled
        )


@dataclass(frozen=True)
class Reading:
    """How the measurements of a circuit are read: groups of them, and their parts.

    Args:
        estimated: The measurements that are estimated from groups.
        rotations: For each group the gates before its outcomes are read.
        sampler: The groups, without Programs.
        outputs: For each estimated measurement the values it is made of.
        listings: What reads every outcome.
        shadows: Which measurements are classical shadows.
    """

    estimated: tuple[int, ...]
    rotations: tuple[Rotation, ...]
    sampler: Sampler
    outputs: tuple[Output, ...]
    listings: tuple[Listing, ...]
    shadows: tuple[int, ...]

    @property
    def n_circuits(self) -> int:
        """How many circuits are run for each number of shots."""
        return len(self.rotations) + len(self.listings) + len(self.shadows)


def reading_of(
    measurements: Sequence[MeasurementProcess],
    order: Sequence[Any],
    noise: SpecNoise | None,
) -> Reading:
    """How the measurements of a circuit are read.

    Args:
        measurements: The measurements, with numbers on their observables.
        order: Wire labels in the order of the register.
        noise: Noise of the device, of which the readout error counts; None is none.

    Raises:
        DeviceError: If an observable is not Hermitian.
    """
    estimated: list[int] = []
    listed: list[int] = []
    shadows: list[int] = []
    for i, mp in enumerate(measurements):
        if mp.obs is not None:
            check_hermitian(mp.obs)
        if isinstance(mp, SHADOWS):
            shadows.append(i)
        else:
            (estimated if has_groups(mp) else listed).append(i)
    found = grouped([measurements[i] for i in estimated], order, noise)
    with aside():
        listings = _listings(measurements, listed, order, noise)
    return Reading(
        tuple(estimated),
        tuple(map(Rotation.of, found.rotations)),
        Sampler((), found.groups, found.offsets),
        found.outputs,
        tuple(listings),
        tuple(shadows),
    )


class _Basis:
    """Wires that are read, each after some gates."""

    def __init__(self) -> None:
        self.members: list[int] = []
        self.rotation: list[Operator] = []
        self._before: dict[Any, Hashable] = {}

    @property
    def wires(self) -> set[Any]:
        """The labels of the wires."""
        return set(self._before)

    def takes(self, before: Mapping[Any, Hashable]) -> bool:
        """Whether every wire that is read already has the same gates before it."""
        return all(self._before.get(w, gates) == gates for w, gates in before.items())

    def add(
        self, i: int, gates: Sequence[Operator], before: Mapping[Any, Hashable]
    ) -> None:
        """Add a measurement that is taken."""
        self.members.append(i)
        self.rotation += [g for g in gates if g.wires[0] not in self._before]
        self._before |= before


def _listings(
    measurements: Sequence[MeasurementProcess],
    listed: Sequence[int],
    order: Sequence[Any],
    noise: SpecNoise | None,
) -> list[Listing]:
    """Groups of measurements that are read in the same basis."""
    bases: list[_Basis] = []
    for i in listed:
        mp = measurements[i]
        gates = mp.diagonalizing_gates() if mp.obs is not None else []
        own = isinstance(mp, SampleMP | CountsMP)
        before: dict[Any, Hashable] = dict.fromkeys((own and mp.wires) or order, ())
        together = any(len(gate.wires) > 1 for gate in gates)
        for gate in gates:
            key = (i,) if together else (gate.name, *_numbers(gate.data))
            for wire in gate.wires:
                before[wire] = (before.get(wire, ()), key)
        found = next((basis for basis in bases if basis.takes(before)), None)
        if found is None:
            found = _Basis()
            bases.append(found)
        found.add(i, gates, before)
    listings = []
    for basis in bases:
        wires = tuple(w for w, label in enumerate(order) if label in basis.wires)
        labels = tuple(order[w] for w in wires)
        pair = (0.0, 0.0)
        errors = tuple(pair if noise is None else noise.readout_of(w) for w in labels)
        members = tuple(basis.members)
        shuffled = any(not isinstance(measurements[i], CountsMP) for i in members)
        listings.append(
            Listing(
                Rotation.of(basis.rotation), wires, labels, errors, members, shuffled
            )
        )
    return listings


class Readings:
    """The latest readings, which take longer to find than to use.

    Threads may share them.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Reading] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self,
        measurements: Sequence[MeasurementProcess],
        key: Hashable,
        order: tuple[Any, ...],
        noise: SpecNoise | None,
    ) -> Reading:
        """The reading of some measurements, as :func:`reading_of`.

        Args:
            measurements: The measurements.
            key: What :func:`measured_key` says of each.
            order: Wire labels in the order of the register.
            noise: Noise of the device, or None.
        """
        errors = None if noise is None else tuple(map(noise.readout_of, order))
        key = key, order, errors
        with self._lock:
            reading = self._kept.get(key)
            if reading is not None:
                self._kept.move_to_end(key)
                return reading
        reading = reading_of([untraced(mp) for mp in measurements], order, noise)
        with self._lock:
            self._kept[key] = reading
            if len(self._kept) > KEPT_READINGS:
                self._kept.popitem(last=False)
        return reading


def measured_key(mp: MeasurementProcess) -> Hashable:
    """What tells a measurement from others, with every bit of its numbers.

    Args:
        mp: The measurement.
    """
    labels = mp.wires.labels
    if mp.obs is not None:
        return type(mp), labels, mp.obs.hash, *_numbers(mp.obs.data)
    if isinstance(mp, SHADOWS):
        return type(mp), labels, mp.hash
    values = mp.eigvals()  # of measurements inside the circuit, or None
    return type(mp), labels, None if values is None else to_numpy(values).tobytes()


def _numbers(data: Iterable[Any]) -> Iterable[Hashable]:
    for value in data:
        # The circuit keeps a sparse matrix alive; the key is for what is executed now.
        yield id(value) if issparse(value) else to_numpy(value).tobytes()


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
    shadows: Callable[[MeasurementProcess, np.random.Generator], Sequence[Any]],
) -> list[Any]:
    """The results of circuits with shots, each in PennyLane's form.

    Args:
        reading: How the measurements are read.
        runs: The circuits.
        probabilities: The probabilities of their outcomes, a row for each sample.
        selection: Which outcomes are kept.
        shadows: Function that gives a classical shadow of the only circuit, for each
            number of shots.
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
        seed = [*map(int, runs.key), runs.numbers[0], i]
        of_each = shadows(runs.measurements[0][i], np.random.default_rng(seed))
        for j, one in enumerate(of_each):
            results[j][i] = [one]
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
