"""The Program: a circuit structure that runs on arrays, forward and backward.

A Program is immutable and shared between threads; a :class:`Pass` holds the work
arrays of one forward run until its backward run and belongs to one thread at a time.
This module knows arrays and the kernels, not PennyLane.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine import statevector, threads
from qstore_pl.engine.compile import Kernel
from qstore_pl.engine.fusion import PERMUTE, Tables, build
from qstore_pl.engine.gates import Gate, PauliSum

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]
Rows = NDArray[np.int64]

CHUNK = 1 << 15  # amplitudes of a chunk: ket, bra and scratch stay in the L2 cache
PARALLEL = 1 << 22  # amplitudes times instructions from which threads pay
KEPT_BYTES = 1 << 28  # most bytes of forward states kept for the backward run


class Program:
    """A pure-state circuit: weights and features in, expectation values out.

    Args:
        n_wires: Number of wires; wire 0 is the most significant bit of an index.
        gates: The circuit; initial amplitudes only as the first.
        observables: One Pauli sum per output.
        n_weights: Length of the weights, the values all samples share.
        n_features: Columns of the features, the values each sample has.
    """

    def __init__(
        self,
        n_wires: int,
        gates: Sequence[Gate],
        observables: Sequence[PauliSum] = (),
        *,
        n_weights: int = 0,
        n_features: int = 0,
    ) -> None:
        self.tables: Tables = build(
            n_wires, gates, observables, n_weights=n_weights, n_features=n_features
        )

    @property
    def n_wires(self) -> int:
        """Number of wires."""
        return self.tables.n_wires

    @property
    def n_outputs(self) -> int:
        """Number of observables."""
        return self.tables.n_outputs

    def run(
        self, weights: Float1D, features: Float2D, rows: Rows | None = None
    ) -> Float2D:
        """Expectation values.

        Args:
            weights: Shared values, shape ``(n_weights,)``.
            features: Values per sample, shape ``(n_samples, n_features)``.
            rows: Which samples, shape ``(batch,)``; all of them if None.

        Returns:
            Shape ``(batch, n_outputs)``.
        """
        values = self._checked(weights, features, rows)
        return _scratch_pass(self, len(values[2])).forward(*values).copy()

    def vjp(
        self,
        weights: Float1D,
        features: Float2D,
        cotangents: Float2D,
        rows: Rows | None = None,
        *,
        inputs: bool = False,
    ) -> tuple[Float1D, Float2D | None]:
        """Vector-Jacobian product: gradient of the sum of cotangents times outputs.

        Args:
            weights: Shared values, shape ``(n_weights,)``.
            features: Values per sample, shape ``(n_samples, n_features)``.
            cotangents: Shape ``(batch, n_outputs)``.
            rows: Which samples, shape ``(batch,)``; all of them if None.
            inputs: Whether the gradient with respect to the features is wanted.

        Returns:
            Gradients of shapes ``(n_weights,)`` and ``(batch, n_features)`` or None.
        """
        values = self._checked(weights, features, rows)
        shape = (len(values[2]), self.n_outputs)
        cotangents = np.ascontiguousarray(cotangents, dtype=np.float64)
        if cotangents.shape != shape:
            raise ValueError(
                f"Argument `cotangents` must have shape {shape}, but has shape "
                f"{cotangents.shape}."
            )
        work = _scratch_pass(self, len(values[2]))
        work.forward(*values)
        gw, gx = work.backward(cotangents, inputs=inputs)
        return gw.copy(), None if gx is None else gx.copy()

    def new_pass(self, batch: int) -> Pass:
        """Work arrays for runs of ``batch`` samples, to keep in a loop."""
        return Pass(self, batch)

    def states(
        self, weights: Float1D, features: Float2D, rows: Rows | None = None
    ) -> NDArray[np.complex128]:
        """State vectors, shape ``(batch, 2**n_wires)``, global phase included."""
        values = self._checked(weights, features, rows)
        work = Pass(self, len(values[2]), keep=True)
        work.forward(*values)
        return work.states()

    def _checked(
        self, weights: Float1D, features: Float2D, rows: Rows | None
    ) -> tuple[Float1D, Float2D, Rows]:
        """The arrays as the kernels take them, which read without looking."""
        weights = np.ascontiguousarray(weights, dtype=np.float64)
        features = np.ascontiguousarray(features, dtype=np.float64)
        tables = self.tables
        if weights.shape != (tables.n_weights,):
            raise ValueError(
                f"Argument `weights` must have shape ({tables.n_weights},), but has "
                f"shape {weights.shape}."
            )
        if features.ndim != 2 or features.shape[1] != tables.n_features:
            raise ValueError(
                f"Argument `features` must have shape (n_samples, "
                f"{tables.n_features}), but has shape {features.shape}."
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
        return {"tables": self.tables}


class Pass:
    """Work arrays of one forward run, kept for its backward run.

    It is for loops: arguments are not checked, and must be contiguous float64 arrays
    and int64 rows. What a method returns is overwritten by the next call.

    Args:
        program: The circuit.
        batch: Number of samples.
        keep: Whether to keep every state, however large; else states beyond a bound are
            computed again in the backward run.
    """

    def __init__(self, program: Program, batch: int, *, keep: bool = False) -> None:
        tables = self._tables = program.tables
        variant = "general" if tables.general else "core"
        self._forward = getattr(statevector, f"forward_{variant}").compiled
        self._backward: Callable[..., Any] | None = None  # compiled when first needed
        self._backward_kernel: Kernel = getattr(statevector, f"backward_{variant}")
        self._structure = (tables.sizes, tables.ints, tables.floats)
        n_blocks = len(tables.code)
        first_weight = tables.first_weight if tables.first_weight >= 0 else n_blocks
        first_feature = tables.first_feature if tables.first_feature >= 0 else n_blocks
        self._stop = first_weight
        self._stop_for_inputs = min(first_weight, first_feature)
        self._swapped = int(np.sum(tables.code[:, 0] == PERMUTE)) % 2
        columns = max(1, min(512, CHUNK >> tables.n_wires))
        self._spans = [
            (start, min(start + columns, batch)) for start in range(0, batch, columns)
        ] or [(0, 0)]
        sizes = [work_size(tables, end - start) for start, end in self._spans]
        self._kept = keep or 8 * sum(sizes) <= KEPT_BYTES
        self._works = [np.empty(size) for size in (sizes if self._kept else sizes[:1])]
        self._parallel = (
            self._kept
            and len(self._spans) > 1
            and (batch << tables.n_wires) * len(tables.code) >= PARALLEL
        )
        self.batch = batch
        self.out = np.empty((batch, tables.n_outputs))
        self._gw = np.empty((len(self._spans), tables.n_weights))
        self._gx: Float2D | None = None
        self._no_gx = np.empty((0, 0))
        self._values: tuple[Float1D, Float2D, Rows] | None = None

    def forward(self, weights: Float1D, features: Float2D, rows: Rows) -> Float2D:
        """Expectation values, shape ``(batch, n_outputs)``."""
        self._values = (weights, features, rows)
        if len(self._spans) == 1:
            work = self._works[0]
            self._forward(*self._structure, weights, features, rows, work, self.out)
        else:
            self._each(self._forward_chunk)
        return self.out

    def backward(
        self,
        cotangents: Float2D,
        *,
        inputs: bool = False,
        bra: NDArray[np.complex128] | None = None,
    ) -> tuple[Float1D, Float2D | None]:
        r"""Gradients after :meth:`forward`; it un-computes the state, so only once.

        Args:
            cotangents: Shape ``(batch, n_outputs)``.
            inputs: Whether the gradient with respect to the features is wanted.
            bra: Instead of the cotangents, the vector
                :math:`\sum_k dy_k O_k |\psi\rangle`, shape ``(batch, 2**n_wires)``,
                without the global phase of the state.

        Returns:
            Gradients of shapes ``(n_weights,)`` and ``(batch, n_features)`` or None.
        """
        if self._values is None:
            raise RuntimeError("Pass.backward needs a forward run, once for each.")
        kernel = self._backward
        if kernel is None:
            kernel = self._backward = self._backward_kernel.compiled
        gx = None
        stop = self._stop
        if inputs:
            stop = self._stop_for_inputs
            if self._gx is None:
                self._gx = np.empty((self.batch, self._tables.n_features))
            gx = self._gx
        if len(self._spans) == 1 and bra is None:
            weights, features, rows = self._values
            kernel(
                *self._structure, weights, features, rows, self._works[0], cotangents,
                stop, self._swapped, self._gw[0], self._no_gx if gx is None else gx,
            )  # fmt: skip
        else:
            self._each(
                lambda i: self._backward_chunk(i, kernel, cotangents, stop, gx, bra)
            )
        self._values = None
        # In the order of the chunks, whatever the threads did.
        gw = self._gw[0] if len(self._spans) == 1 else self._gw.sum(axis=0)
        return gw, gx

    def states(self, *, phase: bool = True) -> NDArray[np.complex128]:
        """The states of the last :meth:`forward`, shape ``(batch, 2**n_wires)``.

        Args:
            phase: Whether the global phase is included.
        """
        if self._values is None:
            raise RuntimeError("Pass.states needs a forward run before it.")
        weights, features, rows = self._values
        states = np.empty((self.batch, 1 << self._tables.n_wires), np.complex128)
        for i, (start, end) in enumerate(self._spans):
            re, im = self._ket(i, end - start)
            states[start:end].real = re.T
            states[start:end].imag = im.T
        if not phase:
            return states
        turn = self._tables.phase.evaluate(weights, features[rows])
        return states * np.exp(1j * turn)[:, None]

    @property
    def nbytes(self) -> int:
        """Bytes of the work arrays."""
        return sum(work.nbytes for work in self._works)

    def _ket(self, i: int, batch: int) -> tuple[Float2D, Float2D]:
        if not self._kept:
            self._forward_chunk(i)
        size = batch << self._tables.n_wires
        at = 2 * size * self._swapped
        work = self._works[i if self._kept else 0]
        re, im = work[at : at + size], work[at + size : at + 2 * size]
        shape = (1 << self._tables.n_wires, batch)
        return re.reshape(shape), im.reshape(shape)

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
        work = self._works[i if self._kept else 0]
        self._forward(
            *self._structure, weights, features, rows[start:end], work,
            self.out[start:end],
        )  # fmt: skip

    def _backward_chunk(
        self,
        i: int,
        kernel: Callable[..., Any],
        cotangents: Float2D,
        stop: int,
        gx: Float2D | None,
        bra: NDArray[np.complex128] | None,
    ) -> None:
        assert self._values is not None
        weights, features, rows = self._values
        start, end = self._spans[i]
        work = self._works[i if self._kept else 0]
        if not self._kept:
            self._forward_chunk(i)
        if bra is None:
            dy = cotangents[start:end]
        else:
            dy = self._no_gx
            size = (end - start) << self._tables.n_wires
            part = bra[start:end].T
            work[4 * size : 5 * size] = part.real.reshape(-1)
            work[5 * size : 6 * size] = part.imag.reshape(-1)
        kernel(
            *self._structure, weights, features, rows[start:end], work, dy, stop,
            self._swapped, self._gw[i], self._no_gx if gx is None else gx[start:end],
        )  # fmt: skip


def work_size(tables: Tables, batch: int) -> int:
    """Numbers a chunk needs: three states, angles, blocks, sums."""
    sums = max(3, 1 + len(tables.observables), 2 * tables.scratch)
    per_sample = (
        (6 << tables.n_wires) + 2 * len(tables.rotations) + 4 * len(tables.code) + sums
    )
    return per_sample * max(batch, 1)


_local = threading.local()


def _scratch_pass(program: Program, batch: int) -> Pass:
    """This thread's last Pass if it fits, else a new one."""
    last = getattr(_local, "last", None)
    if last is None or last[0] is not program or last[1].batch != batch:
        _local.last = last = (program, Pass(program, batch))
    return last[1]
