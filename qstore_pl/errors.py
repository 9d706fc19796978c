"""The errors this package raises beside Python's own. It knows no other module."""

from __future__ import annotations

import functools
from typing import Any


class QStoreError(Exception):
    """Base class of every error that is particular to qstore_pl."""


class CheckpointError(QStoreError):
    """A checkpoint cannot be written or read, or does not belong to the model."""


class QuantumCircuitError(QStoreError):
    """A circuit failed on a backend; what the backend raised is its ``__cause__``.

    Args:
        message: What failed and the way out.
        backend: Name of the backend that ran the circuit.
        job: Identifier of the remote job, where there is one.
    """

    def __init__(self, message: str, *, backend: str, job: str | None = None) -> None:
        self.message, self.backend, self.job = message, backend, job
        where = f"backend `{backend}`" + (f", job `{job}`" if job else "")
        super().__init__(f"{message} ({where})")

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are copied by their positional arguments alone, if nothing is said.
        make = functools.partial(type(self), backend=self.backend, job=self.job)
        return make, (self.message,), self.__dict__


class UnseenWarning(UserWarning):
    """Some features or weights of a model can change none of its outputs."""
