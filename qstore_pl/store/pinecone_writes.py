"""What a store at Pinecone writes, as steps that end when reads see it."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from qstore_pl.errors import StoreError, UpsertError
from qstore_pl.store.filters import Condition, mongo
from qstore_pl.store.pinecone_errors import MissingError, TooLargeError
from qstore_pl.store.pinecone_reads import fetch, kept, must_be_the_namespace, query
from qstore_pl.store.pinecone_steps import ATTEMPTS, Steps, pause, request, until
from qstore_pl.store.records import Batch
from qstore_pl.store.store import Query

MOST_RECORDS: Final = 1000  # of a request
MOST_BYTES: Final = 1_900_000  # of a request, 25 for each number; the limit is 2 MB


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
            must_be_the_namespace(error)
            return False
        info = reply.response_info
        if info is not None and info.lsn_reconciled is not None:
            return bool(info.lsn_reconciled >= position)
    found = yield from fetch(list(last), namespace)
    return all(
        one in found
        and np.array_equal(found[one].values, part.values[-1])
        and found[one].metadata == kept(part.metadata[-1])
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
        must_be_the_namespace(error)
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
