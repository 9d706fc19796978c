"""Forward runs waiting for their backward call: few, bounded, locked."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from qstore_pl.engine.program import Pass, Program

KEPT_RUNS = 8
KEPT_BYTES = 1 << 28

Float = NDArray[np.float64]


class Runs:
    """Forward runs waiting for their backward call: few, bounded, locked."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, bytes, bytes], tuple[Program, Pass]]
        self._kept = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def _key(
        program: Program, weights: Float, features: Float
    ) -> tuple[int, bytes, bytes]:
        return id(program), weights.tobytes(), features.tobytes()

    def put(self, program: Program, weights: Float, features: Float, run: Pass) -> None:
        """Keep a run; the oldest make room."""
        with self._lock:
            self._kept[self._key(program, weights, features)] = (program, run)
            while len(self._kept) > KEPT_RUNS or (
                len(self._kept) > 1
                and sum(kept.nbytes for _, kept in self._kept.values()) > KEPT_BYTES
            ):
                self._kept.popitem(last=False)

    def take(self, program: Program, weights: Float, features: Float) -> Pass | None:
        """The run of this circuit on these values, if it is kept, for one use."""
        with self._lock:
            kept = self._kept.pop(self._key(program, weights, features), None)
        return None if kept is None else kept[1]
