"""Embeddings: samples as vectors that describe the states of a circuit."""

from __future__ import annotations
