r"""The Pauli-propagation Program: noisy circuits on many wires, exactly.

An expectation value :math:`\mathrm{Tr}\, O\rho` needs only those components
:math:`r_P = \mathrm{Tr}\, P\rho` of a state on which it depends: the words P that the
gates make of O in the Heisenberg picture. Where these are few, a circuit runs on them,
whatever its number of wires. They follow from the structure alone, and nothing is
truncated. This module knows arrays and the kernels, not PennyLane.

References:
    Rall, Liang, Cook and Kretschmer, Simulation of qubit quantum circuits via Pauli
    propagation, Phys. Rev. A 99, 062337 (2019); Rudolph et al., Pauli propagation: a
    computational framework for simulating quantum systems, arXiv:2505.21606.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn, final

from qstore_pl.engine import propagation_kernels
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.gates import MixedGate, PauliSum
from qstore_pl.engine.program import (
    PARALLEL,
    Float1D,
    Float2D,
    Pass,
    Plan,
    Program,
    Rows,
)
from qstore_pl.engine.propagation_tables import PropagationTables, build

MAX_WORDS = 3_000_000  # words of all gates together
CHUNK = 1 << 16  # numbers of a chunk, which stay in the cache
LANES = 8  # samples that a chunk has at least, to fill the vector units
LARGEST = 1 << 22  # most numbers of a chunk that has several samples
WORD_BYTES = 128  # of a word in the tables, while they are written, and in a run


class NoStatesError(RuntimeError):
    """A whole state was asked for, of which only a few components are computed."""


@final
class PropagationProgram(Program):
    """A circuit whose expectation values are found by Pauli propagation.

    It has no states, since only those components of a state are computed that the
    expectation values depend on.

    Args: as :class:`Program`, channels among the gates, and
        max_words: How many Pauli words there may be, those after each gate counted
            again.

    Raises:
        TooManyWordsError: If there are more words.
        CannotPropagateError: If a gate or the register has too many wires.
    """

    tables: PropagationTables

    def __init__(
        self,
        n_wires: int,
        gates: Sequence[MixedGate],
        observables: Sequence[PauliSum] = (),
        *,
        n_weights: int = 0,
        n_features: int = 0,
        constants: Float1D | Sequence[float] = (),
        derived: Sequence[Derived] = (),
        max_words: int = MAX_WORDS,
    ) -> None:
        self.max_words = max_words
        super().__init__(
            n_wires,
            gates,
            observables,
            n_weights=n_weights,
            n_features=n_features,
            constants=constants,
            derived=derived,
        )

    @property
    def n_words(self) -> int:
        """How many Pauli words are computed for a sample, those of all gates."""
        return len(self.tables.factors) - 2

    @property
    def _options(self) -> dict[str, Any]:
        return {"max_words": self.max_words}

    def _reads(self) -> int:
        return 1

    def _build(self, observables: Sequence[PauliSum]) -> PropagationTables:
        return build(
            self.n_wires,
            self.gates,
            observables,
            n_weights=self.n_weights,
            n_features=self.n_features + len(self.derived),
            n_constants=self.constants.size,
            max_words=self.max_words,
        )

    def new_pass(self, batch: int, *, keep: bool = False) -> PropagationPass:
        """Work arrays for repeated runs of ``batch`` samples.

        Args:
            batch: Number of samples.
            keep: Whether to keep the words of all samples, however much memory they
                take.
        """
        return PropagationPass(self, batch, keep=keep)


@final
class PropagationPass(Pass):
    """Work arrays of one forward run, kept for its backward run.

    Args: as :class:`Pass`.
    """

    _kernels: ModuleType = propagation_kernels
    _parts = 1
    _digit_bits = 0
    _tables: PropagationTables

    def __init__(self, program: Program, batch: int, *, keep: bool = False) -> None:
        super().__init__(program, batch, keep=keep)
        self._amount = batch * len(self._tables.cells)
        self._parallel = (
            self._kept and len(self._spans) > 1 and self._amount >= PARALLEL
        )

    def states(self, *, phase: bool = True) -> NoReturn:
        """Refuse a whole state.

        Raises:
            NoStatesError: Always.
        """
        del phase
        raise NoStatesError(
            "Pauli propagation computes expectation values, and no states."
        )

    def probabilities(self, wires: tuple[int, ...], *, last: bool = False) -> NoReturn:
        """Refuse probabilities of outcomes that are no outputs of the Program.

        Raises:
            NoStatesError: Always.
        """
        del wires, last
        raise NoStatesError(
            "Pauli propagation computes expectation values, and no outcomes of wires."
        )

    @property
    def plan(self) -> Plan:
        """Refuse a plan, which is for kernels that XLA calls.

        Raises:
            NoStatesError: Always.
        """
        raise NoStatesError("Pauli propagation is run by a Pass alone.")

    def _outcomes(self, i: int, wires: tuple[int, ...], out: Float2D) -> None:
        del i, out
        self.probabilities(wires)

    def _columns(self) -> int:
        n_cells = len(self._tables.factors)
        wide = min(LANES, LARGEST // n_cells)
        return max(1, min(512, CHUNK // n_cells), wide)

    def _work_size(self, batch: int) -> int:
        tables = self._tables
        per_sample = 2 * (len(tables.factors) + tables.n_numbers)
        per_sample += 2 * len(tables.rotations) + 12 * len(tables.elements)
        per_sample += max(16, tables.scratch)
        return per_sample * max(batch, 1)

    def _run_forward(
        self, i: int, weights: Float1D, features: Float2D, rows: Rows, out: Float2D
    ) -> None:
        if len(rows) == 0:  # views of no samples have no shape
            return
        work = self._works[i if self._kept else 0]
        self._forward(
            *self._structure, weights, features, rows, work, self._tables.n_numbers, out
        )

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
        del stop
        assert self._backward is not None
        if len(rows) == 0:
            self._gw[i] = 0.0
            return
        self._backward(
            *self._structure, weights, features, rows,
            self._works[i if self._kept else 0], self._tables.n_numbers, dy,
            self._gw[i], self._no_gx if gx is None else gx,
        )  # fmt: skip
