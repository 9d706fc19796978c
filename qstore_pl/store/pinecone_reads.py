"""What a store at Pinecone reads, as steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from qstore_pl.store.filters import mongo
from qstore_pl.store.pinecone_errors import MissingError
from qstore_pl.store.pinecone_steps import Steps, request
from qstore_pl.store.records import (
    DEFAULT_NAMESPACE,
    Match,
    Metadata,
    Record,
    Stats,
)
from qstore_pl.store.store import Query

MOST_IDS: Final = 100  # of a request in whose address they stand
MOST_URL: Final = 4000  # characters for them
PAGE: Final = 100


def chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    """Identifiers in groups that an address can hold."""
    group: list[str] = []
    length = 0
    for one in ids:
        own = len(quote(one, safe="")) + len("&ids=")
        if group and (len(group) == MOST_IDS or length + own > MOST_URL):
            yield group
            group, length = [], 0
        group.append(one)
        length += own
    if group:
        yield group


def query(asked: Query) -> Steps[list[Match]]:
    """The nearest records."""
    vector = asked.vector
    if vector is None:
        found = yield from fetch([asked.id], asked.namespace)
        if asked.id not in found:
            raise KeyError(f"There is no record {asked.id!r} in this namespace.")
        vector = found[asked.id].values
    arguments: dict[str, Any] = {
        "vector": vector.tolist(),
        "top_k": asked.top_k,
        "namespace": asked.namespace,
        "include_values": asked.include_values,
        "include_metadata": asked.include_metadata,
    }
    if asked.condition is not None:
        arguments["filter"] = mongo(asked.condition)
    try:
        reply = yield from request("query", **arguments)
    except MissingError as error:
        must_be_the_namespace(error)
        return []
    return [
        Match(
            match.id,
            float(match.score),
            np.array(match.values, np.float32) if asked.include_values else None,
            kept(match.metadata or {}),
        )
        for match in reply.matches
    ]


def query_many(queries: Sequence[Query]) -> Steps[list[list[Match]]]:
    """The nearest records for each query."""
    found: list[list[Match]] = yield [query(one) for one in queries]
    return found


def fetch(ids: Sequence[str], namespace: str) -> Steps[dict[str, Record]]:
    """The records that are there, in the order of their identifiers."""
    groups: list[dict[str, Record]] = yield [
        _fetch(group, namespace) for group in chunks(ids)
    ]
    found = {one: record for group in groups for one, record in group.items()}
    return {one: found[one] for one in ids if one in found}


def _fetch(ids: list[str], namespace: str) -> Steps[dict[str, Record]]:
    try:
        reply = yield from request("fetch", ids=ids, namespace=namespace)
    except MissingError as error:
        must_be_the_namespace(error)
        return {}
    return {
        one: Record(
            one, np.array(record.values, np.float32), kept(record.metadata or {})
        )
        for one, record in reply.vectors.items()
    }


def list_ids(prefix: str, namespace: str) -> Steps[list[str]]:
    """The identifiers with this prefix, sorted."""
    found: list[str] = []
    arguments: dict[str, Any] = {"limit": PAGE, "namespace": namespace}
    if prefix:
        arguments["prefix"] = prefix
    while True:
        try:
            page = yield from request("list_paginated", **arguments)
        except MissingError as error:
            must_be_the_namespace(error)
            return []
        found += [item.id for item in page.vectors]
        token = None if page.pagination is None else page.pagination.next
        if not token:
            return sorted(found)
        arguments["pagination_token"] = token


def stats(dimension: int, metric: str) -> Steps[Stats]:
    """What is in the index."""
    reply = yield from request("describe_index_stats")
    counts = {
        "" if name == DEFAULT_NAMESPACE else name: int(summary.vector_count)
        for name, summary in reply.namespaces.items()
        if summary.vector_count
    }
    return Stats(dimension, metric, counts)


def verify() -> Steps[dict[str, list[str]]]:
    """Nothing: the service guards what it stores; but it must answer."""
    yield from request("describe_index_stats")
    return {}


def must_be_the_namespace(error: MissingError) -> None:
    """Raise the error again, unless it says that there is no such namespace.

    A namespace is there as soon as it has a record, and one that is not is empty.
    """
    if "namespace not found" not in str(error).lower():
        raise error


def kept(metadata: Metadata) -> Metadata:
    """Metadata whose numbers are floats, as the service keeps them."""
    return {
        key: float(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for key, value in metadata.items()
    }
