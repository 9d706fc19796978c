"""Exceptions and warnings of this package. This module imports no other of ours."""

from __future__ import annotations

import functools
from typing import Any


class QStoreError(Exception):
    """Base class of all exceptions that only qstore_pl raises.

    Example:
        >>> from qstore_pl import checkpoint
        >>> checkpoint.save("model.qstore", {"epoch": 3})
        >>> with open("model.qstore", "r+b") as file:
        ...     _ = file.truncate(10)
        >>> try:
        ...     checkpoint.load("model.qstore")
        ... except QStoreError as error:
        ...     print(type(error).__name__)
        CheckpointError
    """


class CheckpointError(QStoreError):
    """A checkpoint cannot be written or read, or does not belong to the model."""


class QuantumCircuitError(QStoreError):
    """A circuit failed on a backend; its ``__cause__`` is what the backend raised.

    Args:
        message: What failed, and what to do about it.
        backend: Name of the backend that ran the circuit.
        job: Identifier of the remote job; None where there is none.
    """

    def __init__(self, message: str, *, backend: str, job: str | None = None) -> None:
        self.message, self.backend, self.job = message, backend, job
        where = f"backend `{backend}`" + (f", job `{job}`" if job else "")
        super().__init__(f"{message} ({where})")

    def __reduce__(self) -> tuple[Any, ...]:
        # Without this method pickle would pass on the positional arguments only.
        make = functools.partial(type(self), backend=self.backend, job=self.job)
        return make, (self.message,), self.__dict__


class BudgetError(QStoreError):
    """The next step of a run would exceed its budget; nothing was sent."""


class JobFailedError(QuantumCircuitError):
    """A remote job failed, or was refused by the service: it has no result."""


class JobCancelledError(QuantumCircuitError):
    """A remote job was cancelled, by the user or by the service."""


class JobTimeoutError(QuantumCircuitError):
    """A remote job had no result when its deadline passed; it may still be running."""


class LostJobError(QuantumCircuitError):
    """A remote job may exist or not: no reply came when it was sent."""


class CredentialsError(QuantumCircuitError):
    """A service has no key of the user, or does not accept it."""


class WrongResultError(QuantumCircuitError):
    """What a service returned cannot be the result of the circuits that were sent."""


class ExecutorError(QStoreError):
    """An executor does not reach its workers, lost them, or they cannot do the work."""


class LedgerError(QStoreError):
    """The record of remote jobs cannot be read or written, or has no such job."""


class StoreError(QStoreError):
    """A vector store cannot be opened, read or written, or its contents are damaged."""


class StoreTimeoutError(StoreError):
    """A vector store did not answer, or did not show what was written, in time."""


class UpsertError(StoreError):
    """Some records could not be written, also when they were sent again.

    Args:
        message: What failed, and what to do about it.
        failed: Identifiers of the records that are not known to be in the store.
    """

    def __init__(self, message: str, *, failed: list[str]) -> None:
        self.message, self.failed = message, failed
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), failed=self.failed), (self.message,)


class ProvenanceError(StoreError):
    """Records in a store were made by another model than the one that asks for them."""


class UnseenWarning(UserWarning):
    """No output of a model depends on some of its features or weights."""
