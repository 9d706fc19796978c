"""Embeddings of samples in a vector store, searched by the nearness of their states."""

from __future__ import annotations

from typing import final


@final
class EmbeddingIndex:
    """To come."""
