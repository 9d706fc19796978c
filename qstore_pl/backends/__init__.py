"""Backends by name: where a circuit runs."""

from qstore_pl.backends.manager import Backend, BackendManager

__all__ = ["Backend", "BackendManager"]
