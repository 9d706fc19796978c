"""One run of a large state vector: sample by sample, the threads inside one state.

This module knows arrays, the kernels and threads, not circuits.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, final

import numba
import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine import atomics, swept, swept_ends, threads
from qstore_pl.engine.affine import Affine
from qstore_pl.engine.amplitudes import AmplitudePass
from qstore_pl.engine.compile import F1, F1_IN, I8, T1_IN, Array, Kernel, kernel
from qstore_pl.engine.program import (
    PARALLEL,
    Float1D,
    Float2D,
    Plan,
    Program,
    Rows,
    aligned,
)
from qstore_pl.engine.sweeps import SweptTables
from qstore_pl.engine.swept import CHUNK
from qstore_pl.engine.swept_views import APART, PARTS

LARGE = 12  # wires from which states are swept over
MANY = 17  # wires up to which each thread has a state of its own, if there are several


@final
class LargePass(AmplitudePass):
    """Work arrays of one forward run of large state vectors, kept for its backward run.

    Two states of each sample are in memory, the state and its cotangent. Amplitudes are
    in the order of the last sweep, until somebody asks for them.

    Args:
        program: The circuit; its tables are those of :mod:`sweeps`.
        batch: Number of samples.
        keep: Whether to keep the states of all samples, however much memory they take.
    """

    _kernels: ModuleType = swept
    _tables: SweptTables

    def __init__(self, program: Program, batch: int, *, keep: bool = False) -> None:
        super().__init__(program, batch, keep=keep)
        tables = self._tables
        # In Python counters are no atomic ones, and threads no gain.
        much = self._amount >= PARALLEL and not numba.config.DISABLE_JIT
        several = threads.count() if much else 1
        # Threads take samples where a state is small, and else work on the same one.
        self._parallel = self._kept and batch >= several > 1 and tables.n_wires <= MANY
        self._swapped = 0
        self._prepare, self._outputs, self._gradients = (
            self._variant(swept_ends, name).compiled
            for name in ("prepare", "outputs", "gradients")
        )
        alone = self._parallel or self._amount < PARALLEL * batch
        self._workers = 1 if alone else several
        self._teams: deque[_Team] = deque()  # made when they are needed

    @property
    def plan(self) -> Plan:
        """How the batch is run; it says that XLA must not run it."""
        scratch, stops = (0, 0), (self._stop, self._stop_for_inputs)
        size = self._work_size(1)
        return Plan(1, size, 0, scratch, stops, 0, self._amount, parallel=True)

    def _state(self, i: int, batch: int) -> list[Float2D]:
        """The parts of a state in the order of their indices, copied."""
        if batch == 0:
            return 2 * [np.empty((self._length, 0))]
        if not self._kept:
            self._forward_chunk(i)
        work = self._works[i if self._kept else 0]
        size = self._length + APART
        parts = [work[k * size :][: self._length] for k in range(2)]
        return [_sorted(part, self._tables.places)[:, None] for part in parts]

    def _columns(self) -> int:
        return 1

    def _work_size(self, batch: int) -> int:
        """Room for two states, angles, blocks, and the sums of all parts."""
        tables, low = self._tables, (self._tables.n_wires + 1) // 2
        sums = int(tables.slots[-1]) + len(tables.observables) + (2 << low)
        doubles = 2 * len(tables.rotations) + 7 * len(tables.code)
        doubles += PARTS * sums + (2 << tables.n_wires - low)
        return 4 * (self._length + APART) + self._per_double * doubles

    def _room(self) -> int:
        """Numbers that each thread needs for itself."""
        tables = self._tables
        low = (tables.n_wires + 1) // 2
        lanes = 1 << tables.size - tables.rows
        phases = 5 * tables.most_phases << tables.rows
        matrices = 2 * tables.scratch * lanes + lanes
        words = (1 << CHUNK) + 9 * len(tables.observables)
        start = (2 << CHUNK) + (2 << max(0, tables.n_wires - CHUNK))
        end = (10 << low) + 3 * (len(tables.code) + 1)
        doubles = words + max(start + phases + matrices, end)
        return 4 * ((1 << tables.size) + APART) + self._per_double * doubles

    def _run_forward(
        self, i: int, weights: Float1D, features: Float2D, rows: Rows, out: Float2D
    ) -> None:
        if not len(rows):
            return
        work = self._works[i if self._kept else 0]
        self._prepare(*self._structure, weights, features, rows, work)
        with self._team() as team:
            values = (*self._structure, weights, features, team.same(rows), work)
            team.run(lambda room: self._forward(*values, room, team.counters))
        self._outputs(*self._structure, work, out)

    def _run_backward(
        self,
        i: int,
        weights: Float1D,
        features: Float2D,
        rows: Rows,
        dy: Float2D,
        stop: int,
        gx: Float2D | None,
    ) -> None:
        assert self._backward is not None
        if not len(rows):
            self._gw[i] = 0.0
            return
        work, backward = self._works[i if self._kept else 0], self._backward
        with self._team() as team:
            values = (*self._structure, weights, features, team.same(rows), work)
            team.run(lambda room: backward(*values, dy, stop, room, team.counters))
            self._gradients(
                *self._structure, weights, features, rows, work, stop, team.rooms[0],
                self._gw[i], self._no_gx if gx is None else gx,
            )  # fmt: skip

    @contextlib.contextmanager
    def _team(self) -> Iterator[_Team]:
        """A team that nobody else has."""
        try:
            team = self._teams.pop()
        except IndexError:
            team = _Team(self._tables, self._room(), self._workers, self._number)
        try:
            yield team
        finally:
            self._teams.append(team)

    def _write_bra(self, i: int, parts: Sequence[Float1D]) -> None:
        work, size = self._works[i if self._kept else 0], self._length + APART
        for k, part in enumerate(parts, 2):
            _scatter(part, self._tables.places, work[k * size :][: self._length])


class _Team:
    """What the threads that work on one state need, each for itself and together.

    Args:
        tables: The structure of the circuit.
        room: Numbers that each thread needs for itself.
        workers: Number of threads.
        number: The type of the numbers of a state.
    """

    def __init__(
        self, tables: SweptTables, room: int, workers: int, number: np.dtype[Any]
    ) -> None:
        self.rooms = [aligned(room, number) for _ in range(workers)]
        stages = len(tables.sweeps) + 3
        self.counters = np.zeros(2 * atomics.APART * stages, np.int64)
        self._rows = np.zeros(1 << tables.size - tables.rows, np.int64)

    def same(self, rows: Rows) -> Rows:
        """The row of the sample for each lane of a tile."""
        self._rows[:] = rows[0]
        return self._rows

    def run(self, task: Callable[[Float1D], None]) -> None:
        """Call a task in each thread, with the room of this thread."""
        self.counters[:] = 0
        threads.together(lambda worker: task(self.rooms[worker]), len(self.rooms))


def _sorted(part: Float1D, places: Affine) -> Float1D:
    """Numbers in the order of their indices, from their places."""
    found = np.empty_like(part)
    _move_in(part.dtype)(part, *_halves(places), 0, found)
    return found


def _scatter(part: Float1D, places: Affine, found: Float1D) -> None:
    """Numbers at their places, from the order of their indices."""
    source = np.ascontiguousarray(part, dtype=found.dtype)
    _move_in(found.dtype)(source, *_halves(places), 1, found)


def _move_in(number: np.dtype[Any]) -> Kernel:
    return _move if number == np.float64 else _move.single


def _halves(places: Affine) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The map as two tables, of the high and the low bits of an index."""
    n = len(places.columns)
    low = n // 2
    tables = []
    for columns, shift in (
        (places.columns[low:], places.shift),
        (places.columns[:low], 0),
    ):
        table = np.empty(1 << len(columns), np.int32)
        Affine(columns, shift).write(table)
        tables.append(table)
    return tables[0], tables[1]


@kernel(F1_IN, T1_IN, T1_IN, I8, F1, states=(0, 4))
def _move(source: Array, high: Array, low: Array, back: int, target: Array) -> None:
    """Move numbers from places to indices, or from indices to places."""
    n = low.shape[0]
    for i in range(high.shape[0]):
        for j in range(n):
            place = high[i] ^ low[j]
            if back == 1:
                target[place] = source[i * n + j]
            else:
                target[i * n + j] = source[place]
