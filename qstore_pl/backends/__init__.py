"""Backends, the places where circuits run, and how they are found by name."""

from qstore_pl.backends.manager import (
    Backend,
    BackendManager,
    NamedDevice,
    as_backend,
    wire_labels,
)

__all__ = ["Backend", "BackendManager", "NamedDevice", "as_backend", "wire_labels"]
