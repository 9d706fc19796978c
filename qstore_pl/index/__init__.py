"""What is kept in a vector store: embeddings of samples, and checkpoints of runs."""

from qstore_pl.index.checkpoints import Alike, CheckpointIndex, Saved
from qstore_pl.index.embeddings import EmbeddingIndex

__all__ = ["Alike", "CheckpointIndex", "EmbeddingIndex", "Saved"]
