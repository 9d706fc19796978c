"""Checkpoints in a vector store, searched by what their models do."""

from __future__ import annotations

from typing import final


@final
class CheckpointIndex:
    """To come."""
