"""QNodes that are traced once, and from then on run on arrays alone."""

from __future__ import annotations

from qstore_pl.compiled.circuit import MAX_TRACES, Compiled, compile, plain_qnode

__all__ = ["MAX_TRACES", "Compiled", "compile", "plain_qnode"]
