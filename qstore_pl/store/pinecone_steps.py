"""Steps that block nothing, of which all that a store at Pinecone does is made.

Steps are a generator. It yields requests, pauses, and lists of generators that
may run beside each other, gets the replies, and returns the result. Who runs it decides
how to wait: the blocking store with threads, the awaitable one with asyncio.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from qstore_pl.errors import StoreTimeoutError
from qstore_pl.store.pinecone_errors import UnavailableError

ATTEMPTS: Final = 3  # each of which the client repeats four times by itself
DEADLINE: Final = 60.0  # seconds until a write must be seen
FIRST_PAUSE = 0.1  # seconds; tests make it shorter
LONGEST_PAUSE: Final = 2.0

_jitter = random.Random()


@final
@dataclass(frozen=True, slots=True)
class Call:
    """A request: a method of the client's index, and its arguments."""

    method: str
    arguments: dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for a time in seconds."""

    seconds: float


T = TypeVar("T")
Step = Call | Pause | Sequence[Generator[Any, Any, Any]]
Steps = Generator[Step, Any, T]


def pause(attempt: int) -> Pause:
    """The pause after an attempt, which are counted from 0."""
    longest = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
    return Pause(longest * _jitter.uniform(0.5, 1.0))


def request(method: str, **arguments: Any) -> Steps[Any]:
    """Send a request, and send it again if no reply came that can be read.

    All requests of the store may be done twice.
    """
    start = time.monotonic()
    for attempt in itertools.count():
        try:
            return (yield Call(method, arguments))
        except (UnavailableError, StoreTimeoutError):
            spent = time.monotonic() - start
            if attempt == ATTEMPTS - 1 or spent > DEADLINE:
                raise
        yield pause(attempt)


def until(what: str, seen: Callable[[], Steps[bool]]) -> Steps[None]:
    """Ask until a change is seen.

    Raises:
        StoreTimeoutError: If it is not within the deadline.
    """
    deadline = time.monotonic() + DEADLINE
    for attempt in itertools.count():
        if (yield from seen()):
            return
        if time.monotonic() > deadline:
            raise StoreTimeoutError(
                f"{what} was accepted, but could not be seen after {DEADLINE:g} "
                "seconds. It may become visible later."
            )
        yield pause(attempt)
