"""How the measurements of a circuit with shots are read, whatever its values are.

Expectation values, variances and probabilities are estimated in the groups of
:mod:`groups`. Samples, counts and measurements of a user's own read the outcome of
every shot, and share it where they are read in the same basis.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pennylane.measurements import (
    ClassicalShadowMP,
    CountsMP,
    MeasurementProcess,
    SampleMP,
    ShadowExpvalMP,
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
from qstore_pl.engine.readings import MOST_COUNTED, drawn_outcomes
from qstore_pl.engine.sampling import misread
from qstore_pl.engine.shots import Sampler
from qstore_pl.engine.streams import Ids, Key

SHADOWS = (ClassicalShadowMP, ShadowExpvalMP)
KEPT_READINGS = 64

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
    """The bytes of some numbers."""
    for value in data:
        if issparse(value):
            rows = value.tocsr()
            parts = rows.data, rows.indices, rows.indptr
            yield rows.shape, *(part.tobytes() for part in parts)
        else:
            yield to_numpy(value).tobytes()
