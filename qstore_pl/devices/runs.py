"""Forward runs waiting for their backward call: few, bounded, locked."""

from __future__ import annotations

import threading
from collections import OrderedDict

from qstore_pl.devices.lowering import Circuit
from qstore_pl.engine.program import Pass, Program

KEPT_RUNS = 8
KEPT_BYTES = 1 << 28


class Runs:
    """Forward runs waiting for their backward call: few, bounded, locked."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, bytes, bytes], tuple[Program, Pass]]
        self._kept = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def _key(program: Program, circuit: Circuit) -> tuple[int, bytes, bytes]:
        return id(program), circuit.weights.tobytes(), circuit.features.tobytes()

    def put(self, program: Program, circuit: Circuit, run: Pass) -> None:
        """Keep a run; the oldest make room."""
        with self._lock:
            self._kept[self._key(program, circuit)] = (program, run)
            while len(self._kept) > KEPT_RUNS or (
                len(self._kept) > 1
                and sum(kept.nbytes for _, kept in self._kept.values()) > KEPT_BYTES
            ):
                self._kept.popitem(last=False)

    def take(self, program: Program, circuit: Circuit) -> Pass | None:
        """The run of this circuit on these values, if it is kept, for one use."""
        with self._lock:
            kept = self._kept.pop(self._key(program, circuit), None)
        return None if kept is None else kept[1]
