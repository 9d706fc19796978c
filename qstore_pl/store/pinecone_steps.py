"""What a store at Pinecone does, as steps that block nothing.

Each function is a generator. It yields requests, pauses, and lists of generators that
may run beside each other, gets the replies, and returns the result. Who runs it decides
how to wait: the blocking store with threads, the awaitable one with asyncio.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final
from urllib.parse import quote

import numpy as np

from qstore_pl.errors import StoreError, StoreTimeoutError, UpsertError
from qstore_pl.store.filters import Condition, mongo
from qstore_pl.store.pinecone_errors import (
    MissingError,
    TooLargeError,
    UnavailableError,
)
from qstore_pl.store.records import (
    DEFAULT_NAMESPACE,
    Batch,
    Match,
    Metadata,
    Record,
    Stats,
)
from qstore_pl.store.store import Query

MOST_RECORDS: Final = 1000  # of a request
MOST_BYTES: Final = 1_900_000  # of a request, 25 for each number; the limit is 2 MB
MOST_IDS: Final = 100  # of a request in whose address they stand
MOST_URL: Final = 4000  # characters for them
PAGE: Final = 100
ATTEMPTS: Final = 3  # each of which the client repeats four times by itself
DEADLINE: Final = 60.0  # seconds until a write must be seen
FIRST_PAUSE = 0.1  # seconds; tests make it shorter
LONGEST_PAUSE: Final = 2.0

_jitter = random.Random()


@final
@dataclass(frozen=True, slots=True)
class Call:
    """A request: a method of the client's index, and its arguments."""

    method: str
    arguments: dict[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for a time in seconds."""

    seconds: float


T = TypeVar("T")
Step = Call | Pause | Sequence[Generator[Any, Any, Any]]
Steps = Generator[Step, Any, T]


def pause(attempt: int) -> Pause:
    """The pause after an attempt, which are counted from 0."""
    longest = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
    return Pause(longest * _jitter.uniform(0.5, 1.0))


def request(method: str, **arguments: Any) -> Steps[Any]:
    """Send a request, and send it again if no reply came that can be read.

    All requests of this module may be done twice.
    """
    start = time.monotonic()
    for attempt in itertools.count():
        try:
            return (yield Call(method, arguments))
        except (UnavailableError, StoreTimeoutError):
            spent = time.monotonic() - start
            if attempt == ATTEMPTS - 1 or spent > DEADLINE:
                raise
        yield pause(attempt)


def until(what: str, seen: Callable[[], Steps[bool]]) -> Steps[None]:
    """Ask until a change is seen.

    Raises:
        StoreTimeoutError: If it is not within the deadline.
    """
    deadline = time.monotonic() + DEADLINE
    for attempt in itertools.count():
        if (yield from seen()):
            return
        if time.monotonic() > deadline:
            raise StoreTimeoutError(
                f"{what} was accepted, but could not be seen after {DEADLINE:g} "
                "seconds. It may become visible later."
            )
        yield pause(attempt)


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


# --- writing ---------------------------------------------------------------------


def sizes(batch: Batch) -> Iterator[int]:
    """Numbers of records for requests that are small enough."""
    values = 25 * batch.values.shape[1]  # -1.1754943508222875e-38 and a comma
    count = total = 0
    for one, metadata in zip(batch.ids, batch.metadata, strict=True):
        own = values + 2 * len(one) + 50
        own += len(json.dumps(metadata, ensure_ascii=False).encode())
        if count == MOST_RECORDS or (count and total + own > MOST_BYTES):
            yield count
            count = total = 0
        count += 1
        total += own
    if count:
        yield count


def upsert(batch: Batch, namespace: str) -> Steps[int]:
    """Write records, one request after the other, and wait until they are seen."""
    parts = deque(batch.parts(sizes(batch)))
    last: list[Batch] = []
    position: int | None = None
    while parts:
        part = parts.popleft()
        try:
            position = yield from _send(part, namespace)
        except TooLargeError as error:
            if len(part) == 1:
                raise _unwritten([part, *parts], len(batch), error) from error
            half = len(part) // 2
            parts.extendleft(reversed(list(part.parts([half, len(part) - half]))))
            continue
        except StoreError as error:
            raise _unwritten([part, *parts], len(batch), error) from error
        last.append(part)
    final_ = {part.ids[-1]: part for part in last}
    yield from until(
        f"A write of {len(batch)} records",
        lambda: _written(final_, namespace, position),
    )
    return len(batch)


def _send(part: Batch, namespace: str) -> Steps[int | None]:
    """Write the records of one request; return its position in the service's log."""
    records = [
        {"id": one, "values": values, **({"metadata": metadata} if metadata else {})}
        for one, values, metadata in zip(
            part.ids, part.values.tolist(), part.metadata, strict=True
        )
    ]
    for attempt in itertools.count():
        reply = yield from request("upsert", vectors=records, namespace=namespace)
        if reply.upserted_count == len(records):
            info = reply.response_info
            return None if info is None else info.lsn_committed
        if attempt == ATTEMPTS - 1:
            break
        yield pause(attempt)
    raise StoreError(
        f"The service wrote {reply.upserted_count} of {len(records)} records."
    )


def _unwritten(parts: list[Batch], count: int, error: StoreError) -> UpsertError:
    failed = [one for part in parts for one in part.ids]
    return UpsertError(
        f"{len(failed)} of {count} records could not be written. {error} The list "
        "`failed` of this error has their identifiers; they may be written again.",
        failed=failed,
    )


def _written(
    last: dict[str, Batch], namespace: str, position: int | None
) -> Steps[bool]:
    """Whether reads see the last record of each request, by the log or by contents."""
    some = next(iter(last.values()))
    if position is not None:
        vector = some.values[-1].tolist()
        try:
            reply = yield from request(
                "query", vector=vector, top_k=1, namespace=namespace
            )
        except MissingError as error:
            _must_be_the_namespace(error)
            return False
        info = reply.response_info
        if info is not None and info.lsn_reconciled is not None:
            return bool(info.lsn_reconciled >= position)
    found = yield from fetch(list(last), namespace)
    return all(
        one in found
        and np.array_equal(found[one].values, part.values[-1])
        and found[one].metadata == _kept(part.metadata[-1])
        for one, part in last.items()
    )


def delete(
    what: list[str] | Condition | None, namespace: str, dimension: int
) -> Steps[None]:
    """Delete records, and wait until they are gone."""
    if isinstance(what, list):
        yield from _delete_ids(what, namespace)
        return
    arguments: dict[str, Any] = (
        {"delete_all": True} if what is None else {"filter": mongo(what)}
    )
    if (yield from _delete(namespace, arguments)):
        yield from until(
            "A deletion", lambda: _nothing_left(what, namespace, dimension)
        )


def _delete_ids(ids: list[str], namespace: str) -> Steps[None]:
    for start in range(0, len(ids), MOST_RECORDS):
        group = ids[start : start + MOST_RECORDS]
        if not (yield from _delete(namespace, {"ids": group})):
            return
    left = list(ids)

    def gone() -> Steps[bool]:
        left[:] = yield from fetch(left, namespace)
        return not left

    yield from until(f"A deletion of {len(ids)} records", gone)


def _delete(namespace: str, arguments: dict[str, Any]) -> Steps[bool]:
    """Delete in a namespace, and tell whether there is this namespace."""
    try:
        yield from request("delete", namespace=namespace, **arguments)
    except MissingError as error:
        _must_be_the_namespace(error)
        return False
    return True


def _nothing_left(
    condition: Condition | None, namespace: str, dimension: int
) -> Steps[bool]:
    found = yield from query(
        Query(
            np.eye(1, dimension, dtype=np.float32)[0],
            "",
            1,
            condition,
            namespace,
            include_values=False,
            include_metadata=False,
        )
    )
    return not found


# --- reading ---------------------------------------------------------------------


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
        _must_be_the_namespace(error)
        return []
    return [
        Match(
            match.id,
            float(match.score),
            np.array(match.values, np.float32) if asked.include_values else None,
            _kept(match.metadata or {}),
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
        _must_be_the_namespace(error)
        return {}
    return {
        one: Record(
            one, np.array(record.values, np.float32), _kept(record.metadata or {})
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
            _must_be_the_namespace(error)
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


def _must_be_the_namespace(error: MissingError) -> None:
    """Raise the error again, unless it says that there is no such namespace.

    A namespace is there as soon as it has a record, and one that is not is empty.
    """
    if "namespace not found" not in str(error).lower():
        raise error


def _kept(metadata: Metadata) -> Metadata:
    """Metadata whose numbers are floats, as the service keeps them."""
    return {
        key: float(value)
        if isinstance(value, int) and not isinstance(value, bool)
        else value
        for key, value in metadata.items()
    }
