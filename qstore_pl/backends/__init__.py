"""Backends by name: where a circuit runs."""

from qstore_pl.backends.manager import (
    Backend,
    BackendManager,
    as_backend,
    wire_labels,
)

__all__ = ["Backend", "BackendManager", "as_backend", "wire_labels"]
