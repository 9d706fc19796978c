"""Making operations that are not put into the circuit which PennyLane records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pennylane.queuing import AnnotatedQueue


@contextmanager
def aside() -> Iterator[None]:
    """Record what is made in this context into a queue that is thrown away.

    PennyLane's ``stop_recording`` exchanges the queues of all threads without a lock: a
    thread that records a circuit at that moment would lose its gates, or wait for ever.
    """
    with AnnotatedQueue():
        yield
