"""Bytes of any size in a vector store, which keeps at most 40 kB with each record.

A *blob* is cut into chunks, records of the namespace ``<namespace>.chunks`` whose
metadata hold the bytes as base64. They are named by the SHA-256 of the whole blob, so
that the same bytes are kept once. The blob's *manifest* is one record of the namespace
itself, under the key of the blob. It is written last: a writer that dies before leaves
chunks that no manifest names, and the earlier blob of that key as it was.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from qstore_pl.errors import CheckpointError
from qstore_pl.store import Metadata, Record, Vectors, VectorStore

CHUNK: Final = 29_800  # bytes, which are 39,736 characters of base64
CHUNKS_AT_A_TIME: Final = 256
OWN: Final = "qstore_"  # the first characters of the keys that are ours

_COUNT, _DIGEST, _SIZE = "qstore_chunks", "qstore_sha256", "qstore_size"
_DATA, _TIME = "qstore_data", "qstore_time"


def write_blob(
    store: VectorStore,
    namespace: str,
    key: str,
    data: bytes,
    manifest: Metadata,
    vector: Any = None,
) -> None:
    """Write bytes to a store under a key, completely or not at all.

    A blob that has this key is replaced. Its chunks stay until they are deleted as
    :func:`unused_chunks`.

    Args:
        store: The store.
        namespace: Where the manifest is written, not the default namespace.
        key: Identifier of the manifest.
        data: The bytes.
        manifest: Metadata of the manifest; no key begins with ``qstore_``.
        vector: The vector of the manifest, shape ``(dimension,)``; None is the first
            unit vector.

    Raises:
        ValueError: If a key of the manifest begins with ``qstore_``, or an argument
            cannot be stored.
        StoreError: If the store cannot be written.
    """
    check_own_keys("manifest", manifest)
    digest = hashlib.sha256(data).hexdigest()
    pieces = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    ids = chunk_ids(digest, len(pieces))
    for start in range(0, len(pieces), CHUNKS_AT_A_TIME):
        some = slice(start, start + CHUNKS_AT_A_TIME)
        now = time.time()
        metadata = [
            {_DATA: base64.b64encode(piece).decode(), _TIME: now}
            for piece in pieces[some]
        ]
        vectors = np.tile(first_unit_vector(store), (len(metadata), 1))
        store.upsert(
            Vectors(ids[some], vectors, metadata), namespace=chunks_space(namespace)
        )
    more = {_COUNT: len(pieces), _DIGEST: digest, _SIZE: len(data)}
    row = first_unit_vector(store) if vector is None else vector
    store.upsert([(key, row, {**manifest, **more})], namespace=namespace)


def read_blob(store: VectorStore, namespace: str, key: str) -> tuple[bytes, Metadata]:
    """The bytes under a key, and the metadata of their manifest.

    Args:
        store: The store.
        namespace: Where the manifest is.
        key: Identifier of the manifest.

    Returns:
        The bytes; and the metadata that :func:`write_blob` was given, in which numbers
        are floats.

    Raises:
        KeyError: If there is no manifest of this key.
        CheckpointError: If a chunk is missing or damaged, or the bytes are not those
            that were written.
        StoreError: If the store cannot be read.
    """
    found = store.fetch([key], namespace=namespace)
    if key not in found:
        raise KeyError(key)
    manifest = found[key].metadata
    if not {_COUNT, _DIGEST, _SIZE} <= manifest.keys():
        raise CheckpointError(
            f"Record `{key}` of namespace `{namespace}` in the store must be a "
            "manifest, but does not say what its chunks are."
        )
    digest = manifest[_DIGEST]
    ids = chunk_ids(digest, int(manifest[_COUNT]))
    pieces: list[bytes] = []
    for start in range(0, len(ids), CHUNKS_AT_A_TIME):
        some = ids[start : start + CHUNKS_AT_A_TIME]
        records = store.fetch(some, namespace=chunks_space(namespace))
        pieces += [_piece(key, one, records.get(one)) for one in some]
    data = b"".join(pieces)
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(
            f"`{key}` in the store is damaged: the SHA-256 of its chunks is not "
            f"{digest}."
        )
    return data, without_own_keys(manifest)


def manifests(store: VectorStore, namespace: str) -> dict[str, Metadata]:
    """The metadata of all manifests of a namespace, by key; ours are among them."""
    keys = store.list(namespace=namespace)
    return {
        key: record.metadata
        for key, record in store.fetch(keys, namespace=namespace).items()
    }


def unused_chunks(
    store: VectorStore, namespace: str, *, older_than: float = 3600.0
) -> list[str]:
    """Identifiers of chunks that no manifest names.

    Args:
        store: The store.
        namespace: Where the manifests are; the chunks are in ``<namespace>.chunks``.
        older_than: Age in seconds that they must have, since a writer that is still at
            work has chunks without a manifest, too.

    Raises:
        StoreError: If the store cannot be read.
    """
    space = chunks_space(namespace)
    ids = store.list(namespace=space)  # before the manifests: no new one is missed
    known = manifests(store, namespace).values()
    named = {manifest.get(_DIGEST) for manifest in known}
    suspects = [one for one in ids if one.partition(".")[0] not in named]
    latest = time.time() - older_than
    unused: list[str] = []
    for start in range(0, len(suspects), CHUNKS_AT_A_TIME):
        some = suspects[start : start + CHUNKS_AT_A_TIME]
        for one, record in store.fetch(some, namespace=space).items():
            if record.metadata.get(_TIME, 0.0) <= latest:
                unused.append(one)
    return unused


def chunk_ids(digest: str, count: int) -> list[str]:
    """The identifiers of the chunks of a blob, in order."""
    return [f"{digest}.{i:06d}" for i in range(count)]


def check_own_keys(name: str, metadata: Mapping[str, Any]) -> None:
    """Refuse metadata of a user that have a key of ours.

    Raises:
        ValueError: If a key begins with ``qstore_``.
    """
    for key in metadata:
        if isinstance(key, str) and key.startswith(OWN):
            raise ValueError(
                f"Argument `{name}` must have no key that begins with {OWN!r}, which "
                f"are this package's own, but has {key!r}."
            )


def without_own_keys(metadata: Metadata) -> Metadata:
    """The metadata that a user gave."""
    return {key: value for key, value in metadata.items() if not key.startswith(OWN)}


def first_unit_vector(store: VectorStore) -> Any:
    """The vector of records that are not searched for, float32 ``(dimension,)``."""
    vector = np.zeros(store.dimension, np.float32)
    vector[0] = 1.0
    return vector


def chunks_space(namespace: str) -> str:
    """The namespace of the chunks of blobs whose manifests are in a namespace."""
    return f"{namespace}.chunks"


def _piece(key: str, one: str, record: Record | None) -> bytes:
    """The bytes of one chunk."""
    if record is None:
        raise CheckpointError(
            f"`{key}` in the store is damaged: its chunk `{one}` is missing."
        )
    try:
        return base64.b64decode(record.metadata.get(_DATA, ""), validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise CheckpointError(
            f"`{key}` in the store is damaged: its chunk `{one}` is no base64."
        ) from error
