"""Vector stores: LanceDB in a directory, Pinecone as a service, behind one door."""

from qstore_pl.store.lance import LanceStore
from qstore_pl.store.opening import INDEX, PINECONE, indexes_at, open_store
from qstore_pl.store.pinecone import PineconeStore
from qstore_pl.store.records import METRICS, Match, Metadata, Record, Stats, Vectors
from qstore_pl.store.store import VectorStore

__all__ = [
    "INDEX",
    "METRICS",
    "PINECONE",
    "LanceStore",
    "Match",
    "Metadata",
    "PineconeStore",
    "Record",
    "Stats",
    "VectorStore",
    "Vectors",
    "indexes_at",
    "open_store",
]
