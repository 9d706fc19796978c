"""The records of the Pinecone conformance server: limits, filters and scores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

MOST_RECORDS = 1000  # of a request
MOST_METADATA = 40_960  # bytes
MOST_ID = 512  # characters
DEFAULT = "__default__"


class Refused(Exception):
    """What the server answers with a status code other than 200.

    Args:
        status: The status code.
        code: Pinecone's word for it.
        message: Why.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)


def invalid(message: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message)


@dataclass
class Kept:
    """A record as it is kept: values are float32, and numbers of metadata float64."""

    id: str
    values: np.ndarray
    metadata: dict[str, Any]

    def sent(self) -> dict[str, Any]:
        found: dict[str, Any] = {"id": self.id, "values": self.values.tolist()}
        return found | ({"metadata": self.metadata} if self.metadata else {})


Namespaces = dict[str, dict[str, Kept]]


@dataclass
class Index:
    """An index, whose reads may see its writes late.

    Attributes:
        stale_reads: Number of reads that do not see a write.
        stale_seconds: Time for which reads do not see a write.
    """

    name: str
    dimension: int
    metric: str
    stale_reads: int = 0
    stale_seconds: float = 0.0
    spaces: Namespaces = field(default_factory=dict)
    pending: list[tuple[int, float, Callable[[], None]]] = field(default_factory=list)
    reads: int = 0
    committed: int = 0  # position of the last write in the log
    _stacked: dict[str, tuple[list[Kept], np.ndarray]] = field(default_factory=dict)

    def write(self, change: Callable[[], None]) -> None:
        """Do a change as soon as reads shall see it."""
        self.committed += 1
        due = time.monotonic() + self.stale_seconds
        self.pending.append((self.reads + self.stale_reads, due, change))
        if not self.stale_reads and not self.stale_seconds:
            self.settle()

    def settle(self) -> None:
        """Do the changes that are due, in their order."""
        while self.pending:
            reads, due, change = self.pending[0]
            if self.reads < reads or time.monotonic() < due:
                return
            del self.pending[0]
            change()
            self._stacked.clear()

    def read(self) -> None:
        """Begin to read."""
        self.settle()
        self.reads += 1

    @property
    def reconciled(self) -> int:
        """Position in the log of the last write that reads see."""
        return self.committed - len(self.pending)

    # --- writing ------------------------------------------------------------------

    def upsert(self, namespace: str, vectors: Any) -> int:
        if not isinstance(vectors, list) or not vectors:
            raise invalid("vectors must be a list with at least one vector")
        if len(vectors) > MOST_RECORDS:
            raise invalid(f"batch size exceeds {MOST_RECORDS}")
        kept = [self._kept(vector) for vector in vectors]

        def change() -> None:
            self.spaces.setdefault(namespace, {}).update({r.id: r for r in kept})

        self.write(change)
        return len(kept)

    def delete(self, namespace: str, body: dict[str, Any]) -> None:
        given = [word for word in ("ids", "deleteAll", "filter") if body.get(word)]
        if len(given) != 1:
            raise invalid("exactly one of ids, deleteAll and filter must be given")
        if namespace not in self.spaces and not self.pending:
            raise Refused(404, "NOT_FOUND", "Namespace not found")
        if given == ["filter"]:
            satisfies({}, body["filter"])  # an error is told at once

        def change() -> None:
            space = self.spaces.get(namespace, {})
            for one in list(space):
                if given == ["filter"]:
                    gone = satisfies(space[one].metadata, body["filter"])
                else:
                    gone = given == ["deleteAll"] or one in body["ids"]
                if gone:
                    del space[one]

        self.write(change)

    def _kept(self, vector: Any) -> Kept:
        if not isinstance(vector, dict) or vector.keys() - {"metadata"} != {
            "id",
            "values",
        }:
            raise invalid("a vector must have id, values and perhaps metadata")
        one = vector["id"]
        if not isinstance(one, str) or not 0 < len(one) <= MOST_ID or not one.isascii():
            raise invalid(f"an id must have 1 to {MOST_ID} ASCII characters")
        values = self.vector(vector["values"])
        if not values.any():
            raise invalid("Dense vectors must contain at least one non-zero value")
        return Kept(one, values, metadata_of(vector.get("metadata") or {}))

    def vector(self, given: Any) -> np.ndarray:
        """The values of a vector as float32."""
        if not isinstance(given, list) or not all(map(is_number, given)):
            raise invalid("values: invalid value: expected f32")
        if len(given) != self.dimension:
            raise invalid(
                f"Vector dimension {len(given)} does not match the dimension of the "
                f"index {self.dimension}"
            )
        return np.array(given, dtype=np.float32)

    # --- reading ------------------------------------------------------------------

    def query(self, namespace: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        space = self.spaces.get(namespace, {})
        if ("vector" in body) == ("id" in body):
            raise invalid("exactly one of vector and id must be given")
        top_k = body.get("topK")
        if not isinstance(top_k, int) or not 1 <= top_k <= 10_000:
            raise invalid("topK must be between 1 and 10000")
        wanted = body.get("filter")
        if wanted is not None:
            satisfies({}, wanted)
        if "vector" in body:
            vector = self.vector(body["vector"])
        elif body["id"] in space:
            vector = space[body["id"]].values
        else:
            return []
        records, values = self._columns(namespace)
        if wanted is not None:
            rows = [i for i, r in enumerate(records) if satisfies(r.metadata, wanted)]
            records, values = [records[i] for i in rows], values[rows]
        if not records:
            return []
        scores = scores_of(self.metric, values, vector.astype(float))
        signed = scores if self.metric == "euclidean" else -scores
        matches = []
        for row in np.argsort(signed, kind="stable")[:top_k]:
            record = records[row].sent()
            if not body.get("includeValues"):
                del record["values"]
            if not body.get("includeMetadata"):
                record.pop("metadata", None)
            matches.append(record | {"score": float(scores[row])})
        return matches

    def _columns(self, namespace: str) -> tuple[list[Kept], np.ndarray]:
        if namespace not in self._stacked:
            records = list(self.spaces.get(namespace, {}).values())
            values = np.zeros((len(records), self.dimension))
            for row, record in enumerate(records):
                values[row] = record.values
            self._stacked[namespace] = records, values
        return self._stacked[namespace]


def scores_of(metric: str, values: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Scores as the service gives them; those of "euclidean" are squared distances."""
    if metric == "euclidean":
        return ((values - vector) ** 2).sum(axis=1)
    products = values @ vector
    if metric == "dotproduct":
        return products
    return products / np.sqrt((values**2).sum(axis=1) * (vector @ vector))


# --- metadata --------------------------------------------------------------------


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def metadata_of(given: Any) -> dict[str, Any]:
    """Metadata as they are kept."""
    if not isinstance(given, dict):
        raise invalid("metadata must be an object")
    if len(json.dumps(given, ensure_ascii=False).encode()) > MOST_METADATA:
        raise invalid(f"Metadata size exceeds the limit of {MOST_METADATA} bytes")
    kept = {}
    for key, value in given.items():
        if key.startswith("$"):
            raise invalid(f"metadata key {key!r} begins with $")
        if is_number(value):
            kept[key] = float(value)
        elif isinstance(value, str | bool) or (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            kept[key] = value
        else:
            raise invalid(
                f"metadata value of {key!r} must be a string, number, boolean or a "
                "list of strings"
            )
    return kept


def satisfies(metadata: dict[str, Any], wanted: Any) -> bool:
    """Whether metadata satisfy a filter, all parts of which are checked."""
    if not isinstance(wanted, dict) or not wanted:
        raise invalid("a filter must be an object with a condition")
    parts = [_holds(metadata, key, value) for key, value in wanted.items()]
    return all(parts)


def _holds(metadata: dict[str, Any], key: str, wanted: Any) -> bool:
    if key in ("$and", "$or"):
        if not isinstance(wanted, list) or not wanted:
            raise invalid(f"{key} must have a list of filters")
        parts = [satisfies(metadata, part) for part in wanted]
        return all(parts) if key == "$and" else any(parts)
    if key.startswith("$"):
        raise invalid(f"operator {key} is not supported here")
    if not isinstance(wanted, dict):
        wanted = {"$eq": wanted}
    value = metadata.get(key)
    parts = [_compares(value, word, given) for word, given in wanted.items()]
    return all(parts)


def _compares(value: Any, word: str, given: Any) -> bool:
    if word in ("$in", "$nin"):
        if not isinstance(given, list):
            raise invalid(f"{word} must have a list")
        parts = [_equals(value, item) for item in given]
        return any(parts) == (word == "$in")
    if word in ("$eq", "$ne"):
        return _equals(value, given) == (word == "$eq")
    if word == "$exists":
        if not isinstance(given, bool):
            raise invalid("$exists must have a boolean")
        return (value is not None) == given
    if word not in ("$gt", "$gte", "$lt", "$lte"):
        raise invalid(f"operator {word} is not supported")
    if not is_number(given):
        raise invalid(f"{word} must have a number")
    if not is_number(value):
        return False
    return bool(
        {
            "$gt": value > given,
            "$gte": value >= given,
            "$lt": value < given,
            "$lte": value <= given,
        }[word]
    )


def _equals(value: Any, given: Any) -> bool:
    if not isinstance(given, str | bool) and not is_number(given):
        raise invalid("a filter compares strings, numbers and booleans only")
    if isinstance(value, list):
        return given in value
    if isinstance(value, bool) or isinstance(given, bool):
        return value is given
    return bool(value == given)
