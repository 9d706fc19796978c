"""How circuits of one structure are executed: what is measured, and how it is found.

A plan has no values. It runs circuits that were taken apart, one or several of one
structure together, and gives the results of each of them in PennyLane's form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pennylane.measurements import MeasurementProcess, Shots

from qstore_pl.devices.lowering import Circuit
from qstore_pl.devices.readings import Positions, Reading, Rotation
from qstore_pl.devices.readout import Readout
from qstore_pl.devices.samples import (
    Runs,
    Selection,
    sampled,
)
from qstore_pl.devices.states import StateKind
from qstore_pl.engine.program import Pass, Program
from qstore_pl.engine.streams import Key

Float = NDArray[np.float64]
ProgramOf = Callable[[Rotation], Program]
"""Function from gates before outcomes are read to the Program that ends with them."""
Measured = Sequence[Sequence[MeasurementProcess]]


class Streams:
    """The random streams of one call of a device.

    Args:
        key: Function that draws the key of the call, when it is first needed.
    """

    def __init__(self, key: Callable[[], Key]) -> None:
        self._draw = key
        self._key: Key | None = None
        self._next = 0

    @property
    def key(self) -> Key:
        """The key of the call."""
        if self._key is None:
            self._key = self._draw()
        return self._key

    def take(self, n_circuits: int) -> int:
        """The number of the first of some circuits that are drawn for.

        Args:
            n_circuits: How many they are.
        """
        first, self._next = self._next, self._next + n_circuits
        return first


@dataclass(frozen=True)
class Plan:
    """How circuits of one structure are executed.

    Args:
        kind: The kind of their states.
        order: Wire labels in the order of the register.
        readouts: What each measurement needs, for circuits without shots.
        reading: How outcomes are read, for circuits with shots; else None.
    """

    kind: StateKind
    order: tuple[Any, ...]
    readouts: Sequence[Readout] = ()
    reading: Reading | None = None

    @property
    def words(self) -> tuple[Any, ...]:
        """The distinct Pauli words whose expectation values are needed."""
        found = (word for readout in self.readouts for word in readout.words)
        return tuple(dict.fromkeys(found))

    @property
    def needs_state(self) -> bool:
        """Whether a measurement without shots is computed from states."""
        return any(readout.needs_state for readout in self.readouts)

    def n_circuits(self, shots: Shots) -> int:
        """For how many circuits outcomes are drawn."""
        if self.reading is None:
            return 0
        return self.reading.n_circuits * shots.num_copies

    def values(
        self,
        circuit: Circuit,
        work: Pass,
        states: NDArray[Any] | None,
        n_tapes: int,
        batch: int | None,
    ) -> list[Any]:
        """The results of tapes without shots, after a forward run.

        Args:
            circuit: The tapes as one circuit, the rows of one after the other.
            work: The forward run.
            states: Its states, or None if they are not needed.
            n_tapes: How many tapes there are.
            batch: Number of samples of each tape, or None without a batch axis.
        """
        columns = []
        for readout in self.readouts:
            words = work.out[:, [circuit.words.index(word) for word in readout.words]]
            if batch is None and not readout.per_sample:
                assert states is not None
                pairs = zip(words, states, strict=True)
                each = [readout.value(*pair) for pair in pairs]
                columns.append([_in_precision(readout, one, work) for one in each])
                continue
            found = _in_precision(readout, readout.value(words, states), work)
            if batch is None:
                columns.append(list(found))
            elif n_tapes == 1:
                columns.append([found])
            else:
                starts = range(0, n_tapes * batch, batch)
                columns.append([found[i : i + batch] for i in starts])
        if len(columns) == 1:
            return columns[0]
        return list(zip(*columns, strict=True))

    def drawn(
        self,
        measured: Measured,
        shots: Shots,
        values: tuple[Float, Float],
        batch: int | None,
        program_of: ProgramOf,
        key: Key,
        numbers: Sequence[int],
        *,
        fill: bool,
    ) -> list[Any]:
        """The results of circuits with shots.

        Args:
            measured: The measurements of each circuit.
            shots: The shots of each circuit.
            values: Weights and features, the rows of one circuit after the other.
            batch: Number of samples of each circuit, or None without a batch axis.
            program_of: Gives the Program of the circuits.
            key: Key of the random streams.
            numbers: Number of the first circuit that each one draws for.
            fill: Whether postselection keeps every shot.
        """
        assert self.reading is not None
        kind, order = self.kind, self.order

        def probabilities(rotation: Rotation, wires: Positions) -> Float:
            work = program_of(rotation).new_pass(len(values[1]))
            rows = np.arange(work.batch)
            work.forward(*values, rows, gradient=False)
            return work.probabilities(wires, last=True)

        found: list[NDArray[Any]] = []

        def shadows(
            mp: MeasurementProcess, t: int, rng: np.random.Generator
        ) -> Sequence[Any]:
            if not found:
                found.append(program_of(Rotation()).states(*values))
            return kind.shadow(mp, found[0][t : t + 1], order, shots, rng)

        runs = Runs(measured, batch, shots, key, numbers)
        outcomes = {order.index(w): one for w, one in kind.postselected.items()}
        selection = Selection(outcomes, fill and kind.fills, kind.check_kept)
        return sampled(self.reading, runs, probabilities, selection, shadows)


def _in_precision(readout: Readout, value: Any, work: Pass) -> Any:
    """The value of a measurement, a state in the precision that it was computed in."""
    return value.astype(work.dtype, copy=False) if readout.is_state else value
