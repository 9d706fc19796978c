"""Passes that are kept: for the backward runs that may follow, or for the next call."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.program import Pass, Program

KEPT_PASSES = 8
KEPT_BYTES = 1 << 28  # of several passes together
IDLE_PASSES = 4  # that wait for the next call, one for each thread
IDLE_BYTES = 1 << 24  # of the largest pass that waits

Float = NDArray[np.float64]


class KeptPasses:
    """The latest forward passes, until their backward passes are asked for.

    PennyLane asks for the value of a circuit and for its gradient in two calls. At most
    8 passes are kept, or fewer where they take more than 256 MB. Threads may share
    them.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, bytes, bytes], tuple[Program, Pass]]
        self._kept = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def _key(
        program: Program, weights: Float, features: Float
    ) -> tuple[int, bytes, bytes]:
        return id(program), weights.tobytes(), features.tobytes()

    def put(
        self, program: Program, weights: Float, features: Float, work: Pass
    ) -> None:
        """Keep a forward pass; the oldest ones make room for it.

        Args:
            program: The Program that was executed.
            weights: Its weights, shape ``(n_weights,)``.
            features: Its features, shape ``(batch, n_features)``.
            work: The forward pass.
        """
        with self._lock:
            self._kept[self._key(program, weights, features)] = (program, work)
            while len(self._kept) > KEPT_PASSES or (
                len(self._kept) > 1
                and sum(kept.nbytes for _, kept in self._kept.values()) > KEPT_BYTES
            ):
                self._kept.popitem(last=False)

    def take(self, program: Program, weights: Float, features: Float) -> Pass | None:
        """Take out the forward pass of a Program with these values, or None.

        Args:
            program: The Program.
            weights: Its weights, shape ``(n_weights,)``.
            features: Its features, shape ``(batch, n_features)``.
        """
        with self._lock:
            kept = self._kept.pop(self._key(program, weights, features), None)
        return None if kept is None else kept[1]


class IdlePasses:
    """Work arrays of a Program that wait for its next call. Threads may share them.

    Args:
        program: The Program.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._idle: deque[Pass] = deque(maxlen=IDLE_PASSES)

    def take(self, batch: int) -> Pass:
        """Work arrays of an earlier call if they fit, or new ones.

        Args:
            batch: Number of samples.
        """
        try:
            work = self._idle.pop()
        except IndexError:
            work = None
        if work is None or work.batch != batch:
            work = self._program.new_pass(batch)
        return work

    def give_back(self, work: Pass) -> None:
        """Keep work arrays for a later call, unless they are large."""
        if work.nbytes <= IDLE_BYTES:
            self._idle.append(work)
