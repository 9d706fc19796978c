"""The cache of Programs: a structure that was met before is not lowered again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from qstore_pl.devices.lowering import Circuit
from qstore_pl.engine.program import Program

KEPT_BYTES = 1 << 28  # of the tables of all Programs but the latest


class CacheInfo(NamedTuple):
    """How a cache of Programs was used.

    ``hits`` counts how often it had the structure of a circuit, ``misses`` how often a
    circuit had to be lowered, and ``size`` is how many Programs it has now.

    Example:
        >>> device = qml.device("qstore.mock_ideal", wires=1)
        >>> @qml.qnode(device)
        ... def circuit(x):
        ...     qml.RX(x, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> _ = circuit(0.1), circuit(0.2)
        >>> device.cache_info()
        CacheInfo(hits=1, misses=1, size=1)
    """

    hits: int
    misses: int
    size: int


class ProgramCache:
    """The most recently used Programs, found by structure. Threads may share it.

    Fewer are kept where their tables, as those of permutations on many wires, take more
    than 256 MB.

    Args:
        size: The largest number of Programs that are kept.
    """

    def __init__(self, size: int = 128) -> None:
        self._size = size
        self._programs: OrderedDict[Hashable, Program] = OrderedDict()
        self._hits = self._misses = self._bytes = 0
        self._lock = threading.Lock()

    def get(
        self, circuit: Circuit, lower: Callable[[Circuit], Program], kind: Hashable
    ) -> Program:
        """The Program of a structure, which is lowered when it is first met.

        Args:
            circuit: A tape that was taken apart.
            lower: Function that gives its Program.
            kind: What the Program depends on besides the structure.
        """
        key = kind, circuit.key
        with self._lock:
            program = self._programs.get(key)
            if program is not None:
                self._hits += 1
                self._programs.move_to_end(key)
                return program
            self._misses += 1
        program = lower(circuit)
        with self._lock:
            old = self._programs.pop(key, None)  # another thread was faster
            self._bytes -= 0 if old is None else old.nbytes
            self._programs[key] = program
            self._bytes += program.nbytes
            while len(self._programs) > self._size or (
                len(self._programs) > 1 and self._bytes > KEPT_BYTES
            ):
                _, oldest = self._programs.popitem(last=False)
                self._bytes -= oldest.nbytes
        return program

    def info(self) -> CacheInfo:
        """How often a structure was found or not, and how many Programs are kept."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._programs))

    def __reduce__(self) -> tuple[Any, ...]:
        return ProgramCache, (self._size,)
