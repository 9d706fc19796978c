"""What is kept in a vector store: embeddings of samples, and checkpoints of runs."""

from qstore_pl.index.checkpoints import Alike, CheckpointIndex, Saved
from qstore_pl.index.classes import Classified
from qstore_pl.index.embeddings import EmbeddingIndex
from qstore_pl.index.neighbours import Neighbour
from qstore_pl.index.provenance import Provenance

__all__ = [
    "Alike",
    "CheckpointIndex",
    "Classified",
    "EmbeddingIndex",
    "Neighbour",
    "Provenance",
    "Saved",
]
