"""The mixed-state Program: channels and gates in, expectation values out.

States are Pauli vectors. This module knows arrays and the kernels, not PennyLane.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine import pauli
from qstore_pl.engine.gates import PauliSum
from qstore_pl.engine.outcomes import of_pauli_vector
from qstore_pl.engine.pauli_fusion import PauliTables, build
from qstore_pl.engine.pauli_schedule import TILE_DIGITS
from qstore_pl.engine.pauli_values import TILE
from qstore_pl.engine.pauli_views import LINE
from qstore_pl.engine.program import Float1D, Float2D, Pass, Program, Rows, aligned

CHUNK = 1 << 16  # components of a chunk: state, cotangent and scratch stay in the cache
LANES = 8  # samples that a chunk has at least, to fill the vector units
LARGEST = 1 << 22  # most components of a chunk that has several samples


@final
class MixedProgram(Program):
    """A mixed-state circuit: weights and features in, expectation values out.

    Its states are Pauli vectors, shape ``(batch, 4**n_wires)``.

    Args: as :class:`Program`, and channels among the gates.
    """

    tables: PauliTables

    def _reads(self) -> int:
        return 1

    def _build(self, observables: Sequence[PauliSum]) -> PauliTables:
        return build(
            self.n_wires,
            self.gates,
            observables,
            n_weights=self.n_weights,
            n_features=self.n_features + len(self.derived),
            n_constants=self.constants.size,
        )

    def new_pass(self, batch: int, *, keep: bool = False) -> MixedPass:
        """Work arrays for repeated runs of ``batch`` samples.

        Args:
            batch: Number of samples.
            keep: Whether to keep the states of all samples, however much memory they
                take.
        """
        return MixedPass(self, batch, keep=keep)


@final
class MixedPass(Pass):
    """Work arrays of one forward run of Pauli vectors, kept for its backward run.

    Its states have shape ``(batch, 4**n_wires)``, and so has the ``bra`` of
    :meth:`backward`: the derivative with respect to the components of the states.

    Args: as :class:`Pass`.
    """

    _kernels: ModuleType = pauli
    _parts = 1
    _digit_bits = 2
    _tables: PauliTables

    def states(self, *, phase: bool = True) -> NDArray[np.float64]:
        """The states of the last :meth:`forward`, shape ``(batch, 4**n_wires)``."""
        del phase  # a density matrix has none
        if self._values is None:
            raise RuntimeError("Pass.states needs a forward run before it.")
        states = np.empty((self.batch, self._length))
        for i, (start, end) in enumerate(self._spans):
            (state,) = self._state(i, end - start)
            states[start:end] = state.T
        return states

    def _outcomes(self, i: int, wires: tuple[int, ...], out: Float2D) -> None:
        (state,) = self._state(i, out.shape[1])
        out[:] = of_pauli_vector(state, self._tables.n_wires, wires)

    def _columns(self) -> int:
        if self._tables.tiled:
            return 1
        wide = min(LANES, LARGEST // self._length)
        return max(1, min(512, CHUNK // self._length), wide)

    def _work_size(self, batch: int) -> int:
        tables = self._tables
        per_sample = 3 * self._length + 12 * len(tables.elements)
        doubles = 2 * len(tables.rotations) * max(batch, 1) + len(tables.code)
        doubles += self._scratch(batch)
        return per_sample * max(batch, 1) + self._per_double * doubles + LINE

    def _scratch(self, batch: int) -> int:
        """How many float64 numbers one instruction uses at a time."""
        each, more = self._scratch_sizes()
        return each * max(batch, 1) + more

    def _scratch_sizes(self) -> tuple[int, int]:
        tables, more = self._tables, TILE * self._tables.side
        if tables.tiled:
            more += (2 << 2 * TILE_DIGITS) + 32 * len(tables.code)
        return tables.scratch, more

    def _most_checkpoints(self) -> int:
        return len(self._tables.code) * self._length

    def _run_forward(
        self, i: int, weights: Float1D, features: Float2D, rows: Rows, out: Float2D
    ) -> None:
        if len(rows) == 0:  # views of no samples have no shape
            return
        index = i if self._kept else 0
        values = (*self._structure, weights, features, rows)
        last = (self._scratch(len(rows)), int(self._gradient), out)
        needed = self._forward(*values, self._works[index], *last)
        size = self._work_size(len(rows)) + needed * len(rows) * self._length
        if size > len(self._works[index]):
            # The number of checkpoints depends on values, so it is known only now.
            self._works[index] = aligned(size, self._number)
            self._forward(*values, self._works[index], *last)

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
        if len(rows) == 0:
            self._gw[i] = 0.0
            return
        self._backward(
            *self._structure, weights, features, rows,
            self._works[i if self._kept else 0], self._scratch(len(rows)), dy, stop,
            self._swapped, self._gw[i], self._no_gx if gx is None else gx,
        )  # fmt: skip
