"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

T = TypeVar("T")


class cached_property(functools.cached_property[T]):
    """:class:`functools.cached_property` as it is from Python 3.12 on: without a lock.

    On Python 3.11 all instances of a class share a lock while the value is computed. A
    process that is forked in that moment has the lock, but not the thread that would
    release it, and waits for ever. Without it two threads may both compute a value,
    which does no harm.
    """

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        """Compute the value, and keep it where Python finds it before this object."""
        if instance is None:
            return self
        value = self.func(instance)
        instance.__dict__[self.attrname] = value
        return value
