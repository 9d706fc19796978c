"""A vector store in memory, written to be read: the twin of the real stores."""

import numpy as np

from qstore_pl.errors import StoreError
from qstore_pl.store import Match, Record, Stats, VectorStore
from qstore_pl.store.filters import Combination
from qstore_pl.store.records import (
    checked_dimension,
    checked_index,
    checked_metric,
)


class MemoryStore(VectorStore):
    """Namespaces are dicts from identifier to record. Indexes share ``place``."""

    def __init__(self, dimension=None, metric=None, *, index="qstore", place=None):
        self.place = {} if place is None else place
        self.index = checked_index("index", index)
        if index not in self.place:
            if dimension is None:
                raise StoreError(f"There is no index `{index}`.")
            made = checked_dimension(dimension), checked_metric(metric or "cosine")
            self.place[index] = (*made, {})
        self.dimension, self.metric, self.spaces = self.place[index]
        if (dimension or self.dimension, metric or self.metric) != (
            self.dimension,
            self.metric,
        ):
            raise StoreError(f"Index `{index}` has another dimension or metric.")

    def indexes(self):
        return sorted(self.place)

    def beside(self, index, *, dimension=None, metric=None):
        return MemoryStore(dimension, metric, index=index, place=self.place)

    def optimize(self):
        pass

    def close(self):
        pass

    def _upsert(self, batch, namespace):
        space = self.spaces.setdefault(namespace, {})
        for one, values, metadata in zip(
            batch.ids, batch.values, batch.metadata(), strict=True
        ):
            kept = {key: as_kept(value) for key, value in metadata.items()}
            space[one] = Record(one, values.copy(), kept)
        return len(batch)

    def _delete(self, what, namespace):
        space = self.spaces.get(namespace, {})
        for one in list(space):
            if what is None or (
                one in what
                if isinstance(what, list)
                else satisfies(space[one].metadata, what)
            ):
                del space[one]

    def _query(self, query):
        space = self.spaces.get(query.namespace, {})
        if query.vector is None and query.id not in space:
            raise KeyError(query.id)
        vector = space[query.id].values if query.vector is None else query.vector
        found = [
            Match(
                record.id,
                score(self.metric, vector, record.values),
                record.values if query.include_values else None,
                record.metadata if query.include_metadata else {},
            )
            for record in space.values()
            if query.condition is None or satisfies(record.metadata, query.condition)
        ]
        nearest_first = 1 if self.metric == "euclidean" else -1
        found.sort(key=lambda match: nearest_first * match.score)
        return found[: query.top_k]

    def _query_many(self, queries):
        return [self._query(query) for query in queries]

    def _fetch(self, ids, namespace):
        space = self.spaces.get(namespace, {})
        return {one: space[one] for one in ids if one in space}

    def _list(self, prefix, namespace):
        found = self.spaces.get(namespace, {})
        return sorted(one for one in found if one.startswith(prefix))

    def _stats(self):
        counts = {name: len(space) for name, space in self.spaces.items() if space}
        return Stats(self.dimension, self.metric, counts)

    def _verify(self):
        return {}


def as_kept(value):
    """Numbers are floats in a store."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else value


def score(metric, a, b):
    a, b = a.astype(float), b.astype(float)
    if metric == "euclidean":
        return float(np.sum((a - b) ** 2))
    if metric == "dotproduct":
        return float(a @ b)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def satisfies(metadata, condition):
    """Whether metadata satisfy a condition."""
    if isinstance(condition, Combination):
        parts = [satisfies(metadata, one) for one in condition.conditions]
        return all(parts) if condition.all else any(parts)
    value = metadata.get(condition.key)
    wanted = condition.value
    match condition.operator:
        case "$exists":
            return (condition.key in metadata) == wanted
        case "$eq":
            return equal(value, wanted)
        case "$ne":
            return not equal(value, wanted)
        case "$in":
            return any(equal(value, one) for one in wanted)
        case "$nin":
            return not any(equal(value, one) for one in wanted)
    if not isinstance(value, float):
        return False
    return {
        "$gt": value > wanted,
        "$gte": value >= wanted,
        "$lt": value < wanted,
        "$lte": value <= wanted,
    }[condition.operator]


def equal(value, wanted):
    """A list equals what it contains; a bool is no number."""
    if isinstance(value, list):
        return isinstance(wanted, str) and wanted in value
    return type(value) is type(wanted) and value == wanted
