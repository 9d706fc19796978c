"""What the client of Pinecone raises, in the words of this package.

This is the only place that knows the client's exceptions. No message and no cause of
what it returns holds the API key.
"""

from __future__ import annotations

import importlib.metadata
from types import ModuleType
from typing import Final

from qstore_pl.errors import StoreError, StoreTimeoutError

INSTALL: Final = 'pip install "qstore-pl[pinecone]"'
DEPRECATED: Final = "pinecone-client"


class MissingError(StoreError):
    """There is no such index or namespace."""


class TooLargeError(StoreError):
    """A request has too many bytes."""


class UnavailableError(StoreError):
    """The service did not answer, or with an error that may go away."""


def client() -> ModuleType:
    """The package ``pinecone``.

    Raises:
        ModuleNotFoundError: If it is not installed.
        ImportError: If its predecessor ``pinecone-client`` is, which breaks it.
    """
    if any(importlib.metadata.distributions(name=DEPRECATED)):
        raise ImportError(
            f"The package {DEPRECATED} is installed. It is the old name of pinecone, "
            "and the two overwrite each other. Run `pip uninstall -y pinecone-client "
            f"pinecone`, and then `{INSTALL}`.",
            name="pinecone",
        )
    try:
        import pinecone
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"A store at Pinecone needs the package pinecone: {INSTALL}.",
            name=error.name,
        ) from error
    return pinecone


def failures() -> tuple[type[Exception], ...]:
    """What the client raises: its own exceptions, and some of its transport's."""
    import httpx

    return client().PineconeError, httpx.HTTPError, httpx.InvalidURL


def translated(error: Exception, where: str, key: str) -> StoreError:
    """The error of this package for one of the client.

    Args:
        error: What the client raised, one of :func:`failures`.
        where: The host that it spoke to.
        key: The API key, which is not shown.

    Returns:
        The exception to raise. Its cause is the client's, without the frames and the
        causes of that, in which the key is; or none, if its text holds the key.
    """
    shown = str(error).replace(key, "***")
    found = _translated(error, where, shown)
    if key not in f"{error} {error!r}":
        error.__context__ = error.__cause__ = None
        found.__cause__ = error.with_traceback(None)
    found.__suppress_context__ = True
    return found


def _translated(error: Exception, where: str, shown: str) -> StoreError:
    import httpx

    errors = client().errors
    match error:
        case errors.UnauthorizedError():
            return StoreError(
                f"{where} does not accept the API key. Set the environment variable "
                "PINECONE_API_KEY, or pass `api_key`."
            )
        case errors.NotFoundError():
            return MissingError(f"{where} has no such index or namespace: {shown}")
        case errors.PayloadTooLargeError():
            return TooLargeError(f"{where} refused a request as too large: {shown}")
        case errors.PineconeTimeoutError():
            return StoreTimeoutError(f"{where} did not answer in time: {shown}")
        case errors.PineconeConnectionError():
            return UnavailableError(f"The connection to {where} failed: {shown}")
        case errors.ResponseParsingError() | httpx.HTTPError():
            return UnavailableError(f"The reply of {where} cannot be read: {shown}")
        case errors.RateLimitError() | errors.ServiceError():
            return UnavailableError(f"{where} is not available: {shown}")
        case errors.ApiError(status_code=408):
            return UnavailableError(f"{where} is not available: {shown}")
        case errors.ApiError():
            return StoreError(f"{where} refused a request: {shown}")
    return StoreError(f"The client of Pinecone refused a request: {shown}")
