"""Backends by name: where a circuit runs."""

from qstore_pl.backends.manager import Backend, BackendManager, as_backend

__all__ = ["Backend", "BackendManager", "as_backend"]
