"""PennyLane devices over the engine, and the one door to its Programs."""

from qstore_pl.devices.lowering import Binding, CacheInfo
from qstore_pl.devices.lowering import compile_tape as compile  # noqa: A004
from qstore_pl.devices.mock_ideal import MockIdeal

__all__ = ["Binding", "CacheInfo", "MockIdeal", "compile"]
