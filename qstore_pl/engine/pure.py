"""The pure-state Program: gates in, expectation values out.

States are vectors of amplitudes. This module knows arrays and the kernels, not
PennyLane.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import cast, final

import numpy as np

from qstore_pl.engine import statevector, sweeps
from qstore_pl.engine.amplitudes import AmplitudePass
from qstore_pl.engine.fusion import Tables, build
from qstore_pl.engine.gates import Gate, PauliSum
from qstore_pl.engine.large import LARGE, LargePass
from qstore_pl.engine.program import Float1D, Float2D, Pass, Program, Rows
from qstore_pl.engine.sweeps import SweptTables

CHUNK = 1 << 15  # amplitudes of a chunk: ket, bra and scratch stay in the L2 cache


@final
class PureProgram(Program):
    """A pure-state circuit: weights and features in, expectation values out.

    Its states are vectors of amplitudes, shape ``(batch, 2**n_wires)``, with their
    global phase.

    Args: as :class:`Program`; the gates are no channels.
    """

    tables: Tables | SweptTables

    def _reads(self) -> int:
        return 1 << self.n_wires

    def _build(self, observables: Sequence[PauliSum]) -> Tables | SweptTables:
        gates = cast(tuple[Gate, ...], self.gates)
        sizes = {
            "n_weights": self.n_weights,
            "n_features": self.n_features + len(self.derived),
            "n_constants": self.constants.size,
        }
        if self.n_wires >= LARGE:
            swept = sweeps.build(self.n_wires, gates, observables, **sizes)
            if swept is not None:
                return swept
        return build(self.n_wires, gates, observables, **sizes)

    def new_pass(self, batch: int, *, keep: bool = False) -> Pass:
        """Work arrays for repeated runs of ``batch`` samples.

        Args:
            batch: Number of samples.
            keep: Whether to keep the states of all samples, however much memory they
                take.
        """
        if isinstance(self.tables, SweptTables):
            return LargePass(self, batch, keep=keep)
        return PurePass(self, batch, keep=keep)


@final
class PurePass(AmplitudePass):
    """Work arrays of one forward run of state vectors, kept for its backward run.

    Args:
        program: The circuit; its tables are those of :mod:`fusion`.
        batch: Number of samples.
        keep: Whether to keep the states of all samples, however much memory they take.
        checkpoints: Number of states of each sample that are kept before a
            :class:`Drawn` matrix.
    """

    _kernels: ModuleType = statevector
    _tables: Tables

    def __init__(
        self, program: Program, batch: int, *, keep: bool = False, checkpoints: int = 0
    ) -> None:
        self._checkpoints = checkpoints
        super().__init__(program, batch, keep=keep)

    def _written_over(self, wires: tuple[int, ...]) -> Float2D | None:
        whole = wires == tuple(range(self._tables.n_wires))
        if self.batch != 1 or not whole or self._is_single:
            return None
        re, im = self._state(0, 1)
        np.multiply(re, re, out=re)
        np.multiply(im, im, out=im)
        re += im
        return re.reshape(1, -1)

    def _columns(self) -> int:
        return max(1, min(512, CHUNK >> self._tables.n_wires))

    def _work_size(self, batch: int) -> int:
        """Room for three states, angles, blocks, sums and checkpoints."""
        tables = self._tables
        sums = max(3, 1 + len(tables.observables), 2 * tables.scratch)
        per_sample = 6 * self._length + 4 * len(tables.code)
        per_sample += self._per_double * (2 * len(tables.rotations) + sums)
        return per_sample * max(batch, 1) + self._checkpoints * 2 * self._length * batch

    def _run_forward(
        self, i: int, weights: Float1D, features: Float2D, rows: Rows, out: Float2D
    ) -> None:
        work = self._works[i if self._kept else 0]
        self._forward(*self._structure, weights, features, rows, work, out)

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
        self._backward(
            *self._structure, weights, features, rows,
            self._works[i if self._kept else 0], dy, stop, self._swapped, self._gw[i],
            self._no_gx if gx is None else gx,
        )  # fmt: skip
