"""The abstract Program: a circuit structure that runs on arrays, forward and backward.

A Program is immutable and shared between threads; a :class:`Pass` holds the work
arrays of one forward run until its backward run and belongs to one thread at a time.
The kind of states is the business of the final classes: :mod:`pure`, :mod:`mixed` and
:mod:`trajectories`. This module knows arrays and threads, not PennyLane.
"""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qstore_pl._checks import choice
from qstore_pl._computer import require_memory
from qstore_pl._lazy import cached_property
from qstore_pl.engine import threads
from qstore_pl.engine.compile import Kernel
from qstore_pl.engine.derived import Columns, Derived
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    MixedGate,
    PauliSum,
    Slot,
    renamed,
)
from qstore_pl.engine.instructions import PERMUTE
from qstore_pl.engine.observables import multiply, shared_words
from qstore_pl.engine.precision import DOUBLE, SINGLE, precision, real_type

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Rows = NDArray[np.int64]

PARALLEL = 1 << 22  # amplitudes times instructions from which threads pay
KEPT_BYTES = 1 << 28  # most bytes of forward states kept for the backward run
_NO_WEIGHTS = np.empty(0)
_FLOAT64 = np.dtype(np.float64)


@dataclass(frozen=True)
class Plan:
    """How the kernels run a batch, for a caller of them other than a :class:`Pass`.

    Args:
        columns: Most samples of a chunk.
        size: Length of the work array of a chunk.
        checkpoints: Most numbers that a forward run adds to it for a backward run.
        scratch: Length of the part of it that one instruction uses at a time: a number
            for each sample of the chunk, and one more for the chunk.
        stop: Where a backward run stops that gives the gradient with respect to the
            weights, and where one stops that gives also that with respect to the
            features.
        swapped: Whether a forward run leaves its state in the second place.
        work: Amplitudes times instructions of the whole batch.
        parallel: Whether a Pass runs the chunks in several threads.
    """

    columns: int
    size: int
    checkpoints: int
    scratch: tuple[int, int]
    stop: tuple[int, int]
    swapped: int
    work: int
    parallel: bool


class Program(ABC):
    """A circuit: weights and features in, expectation values out.

    Args:
        n_wires: Number of wires; wire 0 is the most significant bit of an index.
        gates: The gates in the order in which they act; :class:`Amplitudes` only as
            the first.
        observables: One Pauli sum per output.
        n_weights: Length of the weights, the values all samples share.
        n_features: Columns of the features, the values each sample has.
        constants: Values that never change, shape ``(n_constants,)``: those of the
            weight slots from ``n_weights`` on. No gradient is taken with respect to
            them. Of the entries of one gate all are constants, or none is.
        derived: Functions of weights and features: the values of the feature slots
            from ``n_features`` on. Gradients go through them.
    """

    tables: Any  # what the kernels read
    dtype: str = DOUBLE  # of amplitudes, with the precision of Pauli vectors as well

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
    ) -> None:
        self.derived = tuple(derived)
        self.n_wires, self.n_weights, self.n_features = n_wires, n_weights, n_features
        self.constants = np.array(constants, dtype=np.float64)
        if self.constants.ndim != 1:
            raise ValueError(
                "Argument `constants` must have shape (n_constants,), but has shape "
                f"{self.constants.shape}."
            )
        self.constants.flags.writeable = False
        self.gates, self.observables = tuple(gates), tuple(observables)
        shared = shared_words(self.observables, self._reads())
        measured = self.observables
        self.sums: Float2D | None = None  # from what is measured to the outputs
        if shared is not None:
            measured, self.sums = shared
        self.tables = self._build(measured)

    @abstractmethod
    def _reads(self) -> int:
        """How many numbers of a state the kernel reads to measure a Pauli word."""

    @abstractmethod
    def _build(self, observables: Sequence[PauliSum]) -> Any:
        """The circuit as the kernels read it, with these observables."""

    @abstractmethod
    def new_pass(self, batch: int, *, keep: bool = False) -> Any:
        """Work arrays for repeated runs of ``batch`` samples.

        Args:
            batch: Number of samples.
            keep: Whether to keep the states of all samples, however much memory they
                take.
        """

    def with_gates(
        self,
        gates: Sequence[MixedGate],
        observables: Sequence[PauliSum] = (),
        *,
        n_weights: int = 0,
        n_features: int = 0,
        derived: Sequence[Derived] = (),
    ) -> Self:
        """Another circuit as a Program of this kind, with the same constants.

        Args:
            gates: The gates of the circuit; their constants are in the weight slots
                from the new ``n_weights`` on.
            observables: One Pauli sum per output.
            n_weights: Length of the weights.
            n_features: Columns of the features.
            derived: Functions of weights and features.
        """
        options = self._options | ({"derived": derived} if derived else {})
        program = type(self)(
            self.n_wires,
            gates,
            observables,
            n_weights=n_weights,
            n_features=n_features,
            constants=self.constants,
            **options,
        )
        return program.with_dtype(self.dtype)

    def with_dtype(self, dtype: str) -> Self:
        """The same circuit with states in another precision; it has the same tables.

        Args:
            dtype: ``"complex128"`` or ``"complex64"``.
        """
        if dtype == self.dtype:
            return self
        twin = copy.copy(self)
        twin.dtype = precision(dtype)
        return twin

    @property
    def _options(self) -> dict[str, Any]:
        """What a final class takes besides, to make another Program of its kind."""
        return {}

    def with_constants(self, weights: Float1D) -> Float1D:
        """The weights followed by the constants, as the kernels read them."""
        if self.constants.size == 0:
            return weights
        return np.concatenate([weights, self.constants])

    @property
    def n_outputs(self) -> int:
        """Number of observables."""
        return len(self.observables)

    @property
    def nbytes(self) -> int:
        """Bytes of what the kernels read."""
        return int(self.tables.ints.nbytes + self.tables.floats.nbytes)

    @cached_property
    def untied(self) -> Program:
        """The same circuit with weights of each sample's own, as its last features."""
        n_weights, n_features = self.n_weights, self.n_features

        def rename(slot: Slot) -> Slot:
            kind, index = slot
            if kind == FEATURE and index >= n_features:  # a derived value
                return (FEATURE, n_weights + index)
            if kind != WEIGHT:
                return slot
            if index >= n_weights:  # a constant: all samples still share it
                return (WEIGHT, index - n_weights)
            return (FEATURE, n_features + index)

        return self.with_gates(
            [renamed(gate, rename) for gate in self.gates],
            self.observables,
            n_features=n_features + n_weights,
            derived=[one.renamed(rename) for one in self.derived],
        )

    def run(
        self, weights: Float1D, features: Float2D, rows: Rows | None = None
    ) -> Float2D:
        """Expectation values.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(n_samples, n_features)``.
            rows: Indices of the samples to run, shape ``(batch,)``; None runs all.

        Returns:
            Expectation values, shape ``(batch, n_outputs)``.
        """
        values = self._checked(weights, features, rows)
        work = _scratch_pass(self, len(values[2]))
        return work.forward(*values, gradient=False).copy()

    def vjp(
        self,
        weights: Float1D,
        features: Float2D,
        cotangents: Float2D,
        rows: Rows | None = None,
        *,
        inputs: bool = False,
        reduce: str = "sum",
    ) -> tuple[NDArray[np.float64], Float2D | None]:
        """Vector-Jacobian product: gradient of the sum of cotangents times outputs.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(n_samples, n_features)``.
            cotangents: Factors of the outputs, shape ``(batch, n_outputs)``.
            rows: Indices of the samples to run, shape ``(batch,)``; None runs all.
            inputs: Whether the gradient with respect to the features is wanted.
            reduce: ``"sum"`` adds the gradients of all samples, ``"none"`` returns a
                gradient for each sample.

        Returns:
            The gradient with respect to the weights, shape ``(n_weights,)``, or
            ``(batch, n_weights)`` where samples are not summed; and that with respect
            to the features, shape ``(batch, n_features)``, or None.
        """
        choice("reduce", reduce, ("sum", "none"))
        values = self._checked(weights, features, rows)
        shape = (len(values[2]), self.n_outputs)
        cotangents = np.ascontiguousarray(cotangents, dtype=np.float64)
        if cotangents.shape != shape:
            raise ValueError(
                f"Argument `cotangents` must have shape {shape}, but has shape "
                f"{cotangents.shape}."
            )
        if reduce == "none":
            own = untied_columns(values[0], values[1][values[2]])
            _, gradients = self.untied.vjp(_NO_WEIGHTS, own, cotangents, inputs=True)
            assert gradients is not None
            n = self.n_features
            return gradients[:, n:], gradients[:, :n] if inputs else None
        work = _scratch_pass(self, len(values[2]))
        work.forward(*values)
        gw, gx = work.backward(cotangents, inputs=inputs)
        return gw.copy(), None if gx is None else gx.copy()

    def states(
        self, weights: Float1D, features: Float2D, rows: Rows | None = None
    ) -> NDArray[Any]:
        """The final states, a row for each sample; each final class says of what kind.

        They are returned in double precision, however they were computed.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(n_samples, n_features)``.
            rows: Indices of the samples to run, shape ``(batch,)``; None runs all.
        """
        values = self._checked(weights, features, rows)
        work = self.new_pass(len(values[2]), keep=True)
        work.forward(*values, gradient=False)
        return work.states()

    def _checked(
        self, weights: Float1D, features: Float2D, rows: Rows | None
    ) -> tuple[Float1D, Float2D, Rows]:
        """The arguments as contiguous arrays; the kernels check no shape or index."""
        weights = np.ascontiguousarray(weights, dtype=np.float64)
        features = np.ascontiguousarray(features, dtype=np.float64)
        if weights.shape != (self.n_weights,):
            raise ValueError(
                f"Argument `weights` must have shape ({self.n_weights},), but has "
                f"shape {weights.shape}."
            )
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(
                f"Argument `features` must have shape (n_samples, "
                f"{self.n_features}), but has shape {features.shape}."
            )
        n_samples = len(features)
        if rows is None:
            return weights, features, np.arange(n_samples)
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        inside = rows.size == 0 or 0 <= rows.min() <= rows.max() < n_samples
        if rows.ndim != 1 or not inside:
            raise ValueError(
                f"Argument `rows` must hold indices from 0 to {n_samples - 1}, but "
                f"holds {rows}."
            )
        return weights, features, rows

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("untied", None)
        return state


class Pass(ABC):
    """Work arrays of one forward run, kept for its backward run.

    It is made for loops: arguments are not checked, and must be contiguous float64
    arrays and int64 rows. The next call overwrites what a method has returned.

    Args:
        program: The circuit.
        batch: Number of samples.
        keep: Whether to keep the states of all samples, however much memory they take.
            Otherwise, where they take more than ``KEPT_BYTES``, the backward run
            computes them again.
    """

    _kernels: ModuleType
    _parts: int  # real numbers that make up one component of a state
    _digit_bits: int  # bits that each wire has in the index of a component

    def __init__(self, program: Program, batch: int, *, keep: bool = False) -> None:
        tables = self._tables = program.tables
        self.dtype, self._is_single = program.dtype, program.dtype == SINGLE
        self._number = np.dtype(real_type(program.dtype))  # of which works are made
        self._per_double = 8 // self._number.itemsize
        self._forward_kernel = self._variant(self._kernels, f"forward_{tables.variant}")
        self._backward_kernel = self._variant(
            self._kernels, f"backward_{tables.variant}"
        )
        self._forward = self._forward_kernel.compiled
        self._backward: Callable[..., Any] | None = None  # compiled when first needed
        self._structure = (tables.sizes, tables.ints, tables.floats)
        n_blocks = len(tables.code)
        first_weight = tables.first_weight if tables.first_weight >= 0 else n_blocks
        first_feature = tables.first_feature if tables.first_feature >= 0 else n_blocks
        self._stop = first_weight
        self._stop_for_inputs = min(first_weight, first_feature)
        self._swapped = int(np.sum(tables.code[:, 0] == PERMUTE)) % 2
        self._length = 1 << self._digit_bits * tables.n_wires  # components of a state
        columns = self._columns()
        self._spans = [
            (start, min(start + columns, batch)) for start in range(0, batch, columns)
        ] or [(0, 0)]
        sizes = [self._work_size(end - start) for start, end in self._spans]
        itemsize = self._number.itemsize
        self._kept = keep or itemsize * sum(sizes) <= KEPT_BYTES
        if not self._kept:
            sizes = sizes[:1]
        results = 8 * self._parts * self._length * batch if keep else 0
        require_memory(
            itemsize * sum(sizes) + results,
            f"A run of {batch} samples on {tables.n_wires} wires",
            "Use smaller batches, or fewer wires.",
        )
        self._works = [aligned(size, self._number) for size in sizes]
        self._amount = batch * self._length * n_blocks
        self._parallel = (
            self._kept and len(self._spans) > 1 and self._amount >= PARALLEL
        )
        self.batch = batch
        self.out = self._measured = np.empty((batch, program.n_outputs))
        self._sums = program.sums
        if self._sums is not None:
            self._multiply = multiply.compiled
            self._sums_transposed = np.ascontiguousarray(self._sums.T)
            self._measured = np.empty((batch, tables.n_outputs))
            self._measured_cotangents = np.empty((batch, tables.n_outputs))
        self._n_weights = program.n_weights
        # The weights with the constants behind them; without constants no copy is made.
        self._joined: Float1D | None = None
        if program.constants.size:
            self._joined = program.with_constants(np.zeros(self._n_weights))
        n_shared = self._n_weights + program.constants.size
        self._gw = np.empty((len(self._spans), n_shared))
        self._gx: Float2D | None = None
        self._no_gx = np.empty((0, 0))
        self._values: tuple[Float1D, Float2D, Rows] | None = None
        self._columns_behind: Columns | None = None
        if program.derived:
            self._columns_behind = Columns(program.derived, program.n_features)

    def forward(
        self, weights: Float1D, features: Float2D, rows: Rows, *, gradient: bool = True
    ) -> Float2D:
        """Expectation values, shape ``(batch, n_outputs)``.

        Args:
            weights: Values that all samples share, shape ``(n_weights,)``.
            features: Values of each sample, shape ``(n_samples, n_features)``.
            rows: Indices of the samples to run, shape ``(batch,)``.
            gradient: Whether :meth:`backward` may follow.
        """
        if self._columns_behind is not None:
            self._given = weights, features, rows
            features = self._columns_behind.forward(weights, features[rows])
            rows = np.arange(self.batch)
        if self._joined is not None:
            self._joined[: self._n_weights] = weights
            weights = self._joined
        self._values, self._gradient = (weights, features, rows), gradient
        if len(self._spans) == 1:
            self._run_forward(0, weights, features, rows, self._measured)
        else:
            self._each(self._forward_chunk)
        if self._sums is not None:
            self._multiply(self._measured, self._sums_transposed, self.out)
        return self.out

    def backward(
        self,
        cotangents: Float2D,
        *,
        inputs: bool = False,
        bra: NDArray[Any] | None = None,
    ) -> tuple[Float1D, Float2D | None]:
        r"""Gradients after :meth:`forward`, once for each forward run.

        It un-computes the states, so that a second call has none to begin with.

        Args:
            cotangents: Factors of the outputs, shape ``(batch, n_outputs)``.
            inputs: Whether the gradient with respect to the features is wanted.
            bra: If given, it is used instead of the cotangents: the vector
                :math:`\sum_k dy_k O_k |\psi\rangle`, shape ``(batch, 2**n_wires)``,
                without the global phase of the state.

        Returns:
            The gradient with respect to the weights, shape ``(n_weights,)``, and that
            with respect to the features, shape ``(batch, n_features)``, or None.
        """
        if self._values is None or not self._gradient:
            raise RuntimeError(
                "Pass.backward needs a forward run before it, a new one each time."
            )
        if self._backward is None:
            self._backward = self._backward_kernel.compiled
        if self._sums is not None and bra is None:
            self._multiply(cotangents, self._sums, self._measured_cotangents)
            cotangents = self._measured_cotangents
        gx = None
        stop = self._stop
        if inputs or self._columns_behind is not None:
            stop = self._stop_for_inputs
            if self._gx is None:
                self._gx = np.empty((self.batch, self._tables.n_features))
            gx = self._gx
        if len(self._spans) == 1 and bra is None:
            self._run_backward(0, *self._values, cotangents, stop, gx)
        else:
            self._each(lambda i: self._backward_chunk(i, cotangents, stop, gx, bra))
        self._spent, self._values = self._values, None
        # Summed in the order of the chunks, so that threads do not change the result.
        gw = self._gw[0] if len(self._spans) == 1 else self._gw.sum(axis=0)
        if self._joined is not None:
            gw = gw[: self._n_weights]
        if self._columns_behind is not None:
            assert gx is not None
            self._spent = self._given
            gw, gx = self._columns_behind.backward(gw, gx)
            return gw, gx if inputs else None
        return gw, gx

    def again(self) -> None:
        """Repeat the last forward run, so that :meth:`backward` can follow again."""
        weights, features, rows = self._spent
        self.forward(weights[: self._n_weights], features, rows)

    @property
    def kernels(self) -> tuple[Kernel, Kernel]:
        """The forward and the backward kernel of the circuit."""
        return self._forward_kernel, self._backward_kernel

    def _variant(self, kernels: ModuleType, name: str) -> Kernel:
        """A kernel for states of the precision of this pass."""
        found: Kernel = getattr(kernels, name)
        return found.single if self._is_single else found

    @property
    def plan(self) -> Plan:
        """How the batch is run."""
        columns = max(1, *(end - start for start, end in self._spans))
        return Plan(
            columns,
            self._work_size(columns),
            self._most_checkpoints() * columns,
            self._scratch_sizes(),
            (self._stop, self._stop_for_inputs),
            self._swapped,
            self._amount,
            self._parallel,
        )

    def _scratch_sizes(self) -> tuple[int, int]:
        """Length of the scratch for each sample of a chunk, and of the rest of it."""
        return 0, 0

    def _most_checkpoints(self) -> int:
        """Most numbers of each sample that a forward run adds for a backward run."""
        return 0

    @abstractmethod
    def states(self, *, phase: bool = True) -> NDArray[Any]:
        """The states of the last :meth:`forward`, a row for each sample.

        Args:
            phase: Whether the global phase is included, where states have one.
        """

    def probabilities(self, wires: tuple[int, ...], *, last: bool = False) -> Float2D:
        """Probabilities of outcomes after the last :meth:`forward`.

        Args:
            wires: The wires that are read, the first of them the most significant bit
                of an outcome.
            last: Whether nothing else is asked of this run. Then they may be written
                over the states, so that large ones need no more memory.

        Returns:
            Shape ``(batch, 2**len(wires))``.
        """
        if self._values is None:
            raise RuntimeError("Pass.probabilities needs a forward run before it.")
        if last and (over := self._written_over(wires)) is not None:
            self._values = None
            return over
        found = np.empty((self.batch, 1 << len(wires)))
        for i, (start, end) in enumerate(self._spans):
            if end - start == 1:  # without another array of this size
                self._outcomes(i, wires, found[start:end].reshape(-1, 1))
            else:
                part = np.empty((found.shape[1], end - start))
                self._outcomes(i, wires, part)
                found[start:end] = part.T
        return found

    def _written_over(self, wires: tuple[int, ...]) -> Float2D | None:
        """Probabilities that are written over the states, or None if they are not."""
        del wires
        return None

    @abstractmethod
    def _outcomes(self, i: int, wires: tuple[int, ...], out: Float2D) -> None:
        """Write probabilities of chunk ``i``, shape ``(2**len(wires), columns)``."""

    @abstractmethod
    def _columns(self) -> int:
        """Number of samples in a chunk."""

    @abstractmethod
    def _work_size(self, batch: int) -> int:
        """Length of the work array of a chunk of ``batch`` samples.

        It is counted in numbers of a state, of which a float64 takes two in single
        precision.
        """

    @abstractmethod
    def _run_forward(
        self, i: int, weights: Float1D, features: Float2D, rows: Rows, out: Float2D
    ) -> None:
        """Call the forward kernel on chunk ``i``."""

    @abstractmethod
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
        """Call the backward kernel on chunk ``i``."""

    @property
    def nbytes(self) -> int:
        """Bytes of the work arrays."""
        return sum(work.nbytes for work in self._works)

    def _state(self, i: int, batch: int) -> list[Float2D]:
        """The parts of a chunk's states, each of shape ``(length, batch)``."""
        if not self._kept:
            self._forward_chunk(i)
        size = batch * self._length
        at = self._parts * size * self._swapped
        work = self._works[i if self._kept else 0]
        parts = work[at : at + self._parts * size]
        return list(parts.reshape(self._parts, self._length, batch))

    def _each(self, task: Callable[[int], None]) -> None:
        indices = range(len(self._spans))
        if self._parallel:
            threads.run(task, indices)
        else:
            for i in indices:
                task(i)

    def _forward_chunk(self, i: int) -> None:
        assert self._values is not None
        weights, features, rows = self._values
        start, end = self._spans[i]
        out = self._measured[start:end]
        self._run_forward(i, weights, features, rows[start:end], out)

    def _backward_chunk(
        self,
        i: int,
        cotangents: Float2D,
        stop: int,
        gx: Float2D | None,
        bra: NDArray[Any] | None,
    ) -> None:
        assert self._values is not None
        weights, features, rows = self._values
        start, end = self._spans[i]
        if not self._kept:
            self._forward_chunk(i)
        if bra is None:
            dy = cotangents[start:end]
        else:
            dy = self._no_gx
            parts = (bra.real, bra.imag)[: self._parts]
            self._write_bra(i, [part[start:end].T.reshape(-1) for part in parts])
        self._run_backward(
            i, weights, features, rows[start:end], dy, stop,
            None if gx is None else gx[start:end],
        )  # fmt: skip

    def _write_bra(self, i: int, parts: Sequence[Float1D]) -> None:
        """Write the bra of chunk ``i``, from its parts in the order of a state."""
        work = self._works[i if self._kept else 0]
        for k, part in enumerate(parts, 2 * self._parts):
            work[k * part.size : (k + 1) * part.size] = part


def aligned(size: int, number: np.dtype[Any] = _FLOAT64) -> NDArray[Any]:
    """An array of this length that begins at a cache line.

    Args:
        size: Its length.
        number: The type of its numbers.
    """
    per_line = 64 // number.itemsize
    whole = np.empty(size + per_line - 1, number)
    return whole[-whole.ctypes.data // number.itemsize % per_line :][:size]


def untied_columns(weights: NDArray[np.float64], features: Float2D) -> Float2D:
    """The features of :attr:`Program.untied`: those given, then the weights.

    Args:
        weights: Weights of all samples, shape ``(n_weights,)``, or of each sample,
            shape ``(n_samples, n_weights)``.
        features: Features of each sample, shape ``(n_samples, n_features)``.
    """
    # Not np.concatenate, which writes a single column of features in Fortran's order.
    n_samples, n = features.shape
    columns = np.empty((n_samples, n + weights.shape[-1]))
    columns[:, :n], columns[:, n:] = features, weights
    return columns


_local = threading.local()


def _scratch_pass(program: Program, batch: int) -> Any:
    """The Pass this thread used last, if it fits; otherwise a new one."""
    last = getattr(_local, "last", None)
    if last is None or last[0] is not program or last[1].batch != batch:
        _local.last = last = (program, program.new_pass(batch))
    return last[1]
