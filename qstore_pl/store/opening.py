"""Opening a store: LanceDB in a directory, or Pinecone if there is a key for it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from qstore_pl._secrets import Secret
from qstore_pl.config import TrainingConfig
from qstore_pl.store.lance import LanceStore, indexes_in
from qstore_pl.store.pinecone import TIMEOUT, PineconeStore
from qstore_pl.store.pinecone_indexes import Account, controller, names
from qstore_pl.store.store import VectorStore

INDEX: Final = "qstore"
PINECONE: Final = "pinecone"
PINECONE_KEY: Final = Secret("env:PINECONE_API_KEY")

_log = logging.getLogger("qstore_pl.store")


def open_store(
    where: str | os.PathLike[str] | TrainingConfig,
    *,
    index: str | None = None,
    dimension: int | None = None,
    metric: str | None = None,
) -> VectorStore:
    """Open an index of a vector store, and make it if it is not there.

    One line in the log says which store it is, at level INFO.

    Args:
        where: A directory, for the embedded LanceDB; ``"pinecone"``, with the key in
            the environment variable PINECONE_API_KEY; or the configuration of a
            training run: with a ``pinecone_api_key`` it means Pinecone, and otherwise
            LanceDB in its ``store_directory``.
        index: Name of the index: 1 to 45 characters out of a-z, 0-9 and hyphens. None
            takes ``pinecone_index_name`` of the configuration, or ``"qstore"``.
        dimension: Length of its vectors, 1 to 20,000; None only opens an index that is
            there.
        metric: ``"cosine"``, ``"dotproduct"`` or ``"euclidean"``; None is that of the
            index, or ``"cosine"`` for a new one.

    Returns:
        The store.

    Raises:
        ModuleNotFoundError: If the package of the store is not installed.
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of its range, or the configuration names no
            store or two.
        StoreError: If it cannot be opened, is not there and has no dimension to be made
            with, or has another dimension or metric.

    Example:
        >>> store = open_store("stored", dimension=2)
        >>> store.upsert([("a", [1.0, 0.0]), ("b", [0.6, 0.8])])
        2
        >>> [match.id for match in store.query([0.0, 2.0])]
        ['b', 'a']
    """
    key, environment, directory = None, None, ""
    if isinstance(where, TrainingConfig):
        key, environment = where.pinecone_api_key, where.pinecone_environment
        directory = os.fspath(where.store_directory or "")
        index = where.pinecone_index_name if index is None else index
        if (key is None) == (not directory):
            raise ValueError(
                "Configuration pinecone_api_key or store_directory must be set to open "
                f"a store, but {'neither is' if key is None else 'both are'}."
            )
    elif isinstance(where, str) and where == PINECONE:
        key = PINECONE_KEY
    else:
        directory = _directory(where)
    index = INDEX if index is None else index
    store: VectorStore
    if key is None:
        store = LanceStore(directory, index=index, dimension=dimension, metric=metric)
        place = f"LanceDB in `{directory}`"
    else:
        store = PineconeStore(
            key,
            index=index,
            dimension=dimension,
            metric=metric,
            environment=environment,
        )
        place = "Pinecone"
    _log.info("The store is %s, index `%s`.", place, index)
    return store


def indexes_at(where: str | os.PathLike[str]) -> list[str]:
    """The names of all indexes at a place, sorted.

    Args:
        where: A directory with LanceDB, or ``"pinecone"``.

    Raises:
        StoreError: If the service cannot be reached, or does not accept the key.

    Example:
        >>> store = open_store("stored", index="states", dimension=2)
        >>> indexes_at("stored")
        ['states']
    """
    if isinstance(where, str) and where == PINECONE:
        host = controller(None, insecure=False)
        return names(Account(PINECONE_KEY, host, TIMEOUT, insecure=False))
    return indexes_in(Path(_directory(where)))


def _directory(where: str | os.PathLike[str]) -> str:
    found = os.fspath(where) if isinstance(where, str | os.PathLike) else None
    if not isinstance(found, str):
        raise TypeError(
            "Argument `where` must be a directory, `pinecone` or a TrainingConfig, but "
            f"is {where!r}."
        )
    if not found:
        raise ValueError(
            "Argument `where` must name a directory, but is empty. The current one is "
            '".".'
        )
    return found
