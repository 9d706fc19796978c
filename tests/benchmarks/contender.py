"""What takes part in a comparison: a program in one setting.

This module needs numpy alone, so that programs of others can be made from it in a
Python that lacks this package.
"""

from __future__ import annotations

import abc
import time
from typing import Any

SINGLE_PRECISION = 1e-4


class Contender(abc.ABC):
    """A program in one setting."""

    name: str
    setting: str = ""
    compile_seconds: float | None = None
    """How long it took to compile, where that is worth knowing."""
    tolerance = 1e-9
    """How much its numbers may differ from those of the others."""
    first = 1
    """Units of work of the first measurement, by which the length of others is set."""
    kind = "peer"
    """`"peer"`; `"ours"`, where both sides are; or `"bound"`, which is no program."""
    made_by: Any = None
    """What makes another one of a problem, where one is wanted."""

    @abc.abstractmethod
    def numbers(self) -> dict[str, Any]:
        """What must agree with the others before anything is timed, by its name."""

    @abc.abstractmethod
    def seconds(self, n: int) -> float:
        """Wall time of one unit of work: the mean of `n`."""


class Call(Contender):
    """A contender whose unit of work is one call of :meth:`run`."""

    @abc.abstractmethod
    def run(self) -> Any:
        """One unit of work."""

    def seconds(self, n):
        start = time.perf_counter()
        for _ in range(n):
            self.run()
        return (time.perf_counter() - start) / n


class Function(Call):
    """A contender made of functions.

    Args:
        name: What it is.
        setting: How it was set.
        run: One unit of work.
        numbers: Function from what `run` returned to what must agree, by its name.
        compile_seconds: How long it took to compile.
        kind: What it is beside ours.
    """

    def __init__(
        self,
        name,
        setting,
        run,
        numbers=lambda found: {},
        compile_seconds=None,
        *,
        kind="peer",
    ):
        self.name, self.setting, self.compile_seconds = name, setting, compile_seconds
        self.kind = kind
        self._run, self._numbers = run, numbers

    def run(self):
        return self._run()

    def numbers(self):
        return self._numbers(self._run())
