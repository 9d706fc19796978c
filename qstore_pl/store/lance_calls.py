"""Calls of LanceDB: the package, its errors as ours, and repeats after conflicts."""

from __future__ import annotations

import functools
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Final, TypeVar, final

from qstore_pl.errors import StoreError, StoreTimeoutError

T = TypeVar("T")

DEADLINE: Final = 60.0  # seconds, for a change that other writers come before
_FIRST_WAIT, _LONGEST_WAIT = 0.01, 1.0

_FAILURES: Final = (KeyError, OSError, RuntimeError, ValueError)
_PANIC: Final = "RustPanic"

# What LanceDB says when another writer was faster, or added the same table or column.
_CONFLICT = re.compile(
    r"commit conflict|concurrent writ|write contention|manifest contention"
    r"|please retry|already exists",
    re.IGNORECASE,
)
_SOURCE = re.compile(r",? ?/\S+\.rs:\d+(:\d+)?")  # where in LanceDB it happened


def lancedb() -> ModuleType:
    """The package.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    try:
        import lancedb
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'LanceStore needs LanceDB: pip install "qstore-pl[lance]".'
        ) from error
    check_process()
    return lancedb


def check_process() -> None:
    """Refuse to use LanceDB in the child of a process that has used it.

    Its threads do not survive a fork: a child that goes on hangs, or dies of a
    segmentation fault, in some of the cases.

    Raises:
        StoreError: If this process was forked after LanceDB was used.
    """
    if os.getpid() != _first_process():
        raise StoreError(
            "LanceDB cannot be used in a process that was forked after LanceDB was "
            'used. Start such processes by the method "spawn" or "forkserver" of '
            "multiprocessing."
        )


@functools.cache
def _first_process() -> int:
    return os.getpid()


@final
@dataclass(frozen=True, slots=True)
class translated:
    """A context that turns what LanceDB and Arrow raise into a StoreError.

    LanceDB and Arrow raise OSError, RuntimeError and ValueError for damaged files, full
    disks and missing permissions, KeyError for damaged names of columns, and for some
    damaged files an exception that no module offers: it is known by its name.

    Args:
        doing: What cannot be done if something fails: ``"read index `a` in `b`"``.

    Raises:
        StoreError: If the block raises one of these.
    """

    doing: str

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and (
            issubclass(kind, _FAILURES) or kind.__name__ == _PANIC
        ):
            reason = _SOURCE.sub("", str(error)).strip()
            raise StoreError(f"Cannot {self.doing}: {reason[:1000]}") from error


def is_conflict(error: Exception) -> bool:
    """Whether LanceDB refused a change because another writer was faster."""
    return bool(_CONFLICT.search(str(error)))


def repeated(change: Callable[[], T], doing: str, *, deadline: float = DEADLINE) -> T:
    """Make a change, again and again while other writers are faster.

    Args:
        change: Makes the change as a whole, or raises and changes nothing.
        doing: As in :func:`translated`.
        deadline: Seconds after which it is not tried again.

    Raises:
        StoreTimeoutError: If it did not succeed before the deadline.
        StoreError: If it fails for another reason.
    """
    end = time.monotonic() + deadline
    wait = _FIRST_WAIT
    while True:
        with translated(doing):
            try:
                return change()
            except (RuntimeError, ValueError) as error:
                if not is_conflict(error):
                    raise
                if time.monotonic() + wait > end:
                    raise StoreTimeoutError(
                        f"Cannot {doing}: other writers changed it again and again for "
                        f"{deadline:g} seconds. Write from fewer processes."
                    ) from error
        time.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(2 * wait, _LONGEST_WAIT)
