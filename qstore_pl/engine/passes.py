"""Work arrays that wait for the next call of a Program."""

from __future__ import annotations

from collections import deque
from typing import Any

from qstore_pl.engine.program import Program

IDLE_PASSES = 4  # that wait for the next call, one for each thread
IDLE_BYTES = 1 << 24  # of the largest pass that waits


class IdlePasses:
    """Work arrays of a Program that wait for its next call. Threads may share them.

    Args:
        program: The Program.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._idle: deque[Any] = deque(maxlen=IDLE_PASSES)

    def take(self, batch: int) -> Any:
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

    def keeps(self, work: Any) -> bool:
        """Whether work arrays are kept for a later call, since they are not large."""
        return bool(work.nbytes <= IDLE_BYTES)

    def give_back(self, work: Any) -> None:
        """Keep work arrays for a later call, unless they are large."""
        if self.keeps(work):
            self._idle.append(work)
