"""Forward passes that are kept for the backward runs that may follow."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.program import Pass, Program

KEPT_PASSES = 8
KEPT_BYTES = 1 << 28  # of several passes together

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
