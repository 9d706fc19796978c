"""Making operations that are not put into the circuit which PennyLane records.

PennyLane puts every operation that is made into the circuit that is being recorded,
also if another thread records it, and ``stop_recording`` exchanges the queues of all
threads without a lock. Here the lock is held with which circuits are recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pennylane as qml
from pennylane.queuing import AnnotatedQueue
from pennylane.tape import QuantumScript


@contextmanager
def aside() -> Iterator[None]:
    """Record what is made in this context into a queue that is thrown away."""
    with AnnotatedQueue():
        yield


def transform_aside(transform: Any) -> Any:
    """A transform of tapes that makes its operations aside.

    Args:
        transform: One of PennyLane's or of this package.
    """

    def apply(
        tape: QuantumScript, *args: Any, **options: Any
    ) -> tuple[Any, Callable[..., Any]]:
        with aside():
            tapes, combine = transform(tape, *args, **options)
            return tuple(tapes), combine

    apply.__name__ = transform.__name__
    return qml.transform(apply)
