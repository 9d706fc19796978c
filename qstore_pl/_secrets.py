"""API keys that never appear in a repr, a log, a file or a pickle."""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Iterator
from typing import Any, final

REFERENCE = "env:"


@contextlib.contextmanager
def unlinked() -> Iterator[None]:
    """A context whose errors forget those they were raised in place of.

    ``from None`` only hides these from tracebacks. What pickles errors with all that
    led to them, as Dask does, would still write a key that is in one of them.
    """
    try:
        yield
    except Exception as error:
        if error.__suppress_context__:
            error.__context__ = None
        raise


@final
class Secret:
    """A key, or the name of the environment variable that holds it.

    Args:
        value: The key itself, or ``"env:NAME"``.

    Raises:
        TypeError: If the value is no string.
        ValueError: If the value is empty.

    Example:
        >>> key = Secret("env:PINECONE_API_KEY")
        >>> key
        Secret('env:PINECONE_API_KEY')
        >>> Secret("pcsk_very_secret")
        Secret('***')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError(
                "A secret must be a string, a key or env:NAME, but is of type "
                f"{type(value).__name__}."
            )
        if value.removeprefix(REFERENCE) == "":
            raise ValueError("A secret must not be empty.")
        self._value = value

    @property
    def reference(self) -> str | None:
        """The value if it is ``"env:NAME"``, which may be written to files."""
        return self._value if self._value.startswith(REFERENCE) else None

    def reveal(self) -> str:
        """The key.

        Raises:
            KeyError: If the environment has no such variable.
        """
        if self.reference is None:
            return self._value
        name = self._value.removeprefix(REFERENCE)
        if name not in os.environ:
            raise KeyError(f"The environment has no variable {name}. Set it.")
        return os.environ[name]

    def __repr__(self) -> str:
        return f"Secret({self.reference or '***'!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(type(self))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> Any:
        if self.reference is not None:
            return Secret, (self.reference,)
        raise TypeError(
            "A secret cannot be pickled, since a pickle would hold it in clear. Set it "
            "to env:NAME and read it where it is needed."
        )
