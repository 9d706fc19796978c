"""Attributes that are computed when they are first read."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

T = TypeVar("T")


class cached_property(functools.cached_property[T]):
    """:class:`functools.cached_property` as it is from Python 3.12 on: without a lock.

    On Python 3.11 all instances of a class share a lock while the value is computed. A
    process that is forked at that moment inherits the locked lock, but not the thread
    that would release it, and waits for ever. Without a lock two threads may both
    compute the value, which does no harm.
    """

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """Compute the value, and store it in the instance, where Python looks first."""
        if instance is None:
            return self
        value = self.func(instance)
        instance.__dict__[self.attrname] = value
        return value
