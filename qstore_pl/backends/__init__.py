"""Backends by name: where a circuit runs."""

from qstore_pl.backends.manager import (
    Backend,
    BackendManager,
    NamedDevice,
    as_backend,
    wire_labels,
)

__all__ = ["Backend", "BackendManager", "NamedDevice", "as_backend", "wire_labels"]
