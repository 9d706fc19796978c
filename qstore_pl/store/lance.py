"""The embedded store: LanceDB in a directory."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from qstore_pl.errors import StoreError
from qstore_pl.store.filters import Condition
from qstore_pl.store.lance_calls import repeated, translated
from qstore_pl.store.lance_rows import (
    Columns,
    arrow_table,
    columns_of,
    damaged,
    metadata,
    metadata_columns,
    records,
    vectors,
)
from qstore_pl.store.lance_sql import among, quoted, where
from qstore_pl.store.lance_tables import ABOUT, Tables
from qstore_pl.store.records import (
    Batch,
    Float32,
    Match,
    Record,
    Stats,
    checked_dimension,
    checked_index,
    checked_metric,
)
from qstore_pl.store.store import Ids, Matches, Query, VectorStore

PART_BYTES: Final = 16e6  # of vectors in one commit
PART_ROWS: Final = 50_000  # whose metadata fit into an array of Arrow, of 2 GiB
INDEXED_ROWS: Final = 10_000  # from here on an index is faster than a scan
OPTIMIZED_AFTER: Final = 64  # commits
KEPT_VERSIONS: Final = timedelta(minutes=2)  # a reader may still be in them
VECTORS_AT_ONCE: Final = 100  # of searches beside each other
IDS_AT_ONCE: Final = 10_000
ROWS_AT_ONCE: Final = 4096

_EVERY_PARTITION: Final = 1 << 20
_DISTANCES: Final = {"cosine": "cosine", "dotproduct": "dot", "euclidean": "l2"}
_QUERY_LENGTH: Final = 60  # as a power of two
_MIXED_WAIT: Final = 0.1  # seconds


@final
class LanceStore(VectorStore):
    """Vectors in a directory of this machine, by LanceDB.

    An :meth:`upsert` of up to 50,000 records, with vectors of up to 16 MB together, is
    written as a whole or not at all, also when the process is killed; a larger one is
    cut into such parts. Several processes can read and write at the same time.

    Each record has a checksum of its identifier, vector and metadata, which is compared
    whenever a vector is read: by :meth:`fetch`, by :meth:`verify`, and by queries that
    return vectors.

    Searches are exact. :meth:`optimize` makes them several times faster for 10,000
    records and more; it also runs by itself, after every 64 writes of this object.

    Args:
        path: The directory; ``~`` is the home directory. It is made if it is not there.
        index: Name of the index, of 1 to 45 characters out of a-z, 0-9 and hyphens.
        dimension: Length of its vectors, 1 to 20,000; None only opens an index that is
            there.
        metric: ``"cosine"``, ``"dotproduct"`` or ``"euclidean"``; None is that of the
            index, or ``"cosine"`` for a new one.

    Raises:
        ModuleNotFoundError: If LanceDB is not installed.
        StoreError: If the index cannot be opened, is not there and has no dimension to
            be made with, has another dimension or metric, or was written by a newer
            version of this package.

    Example:
        >>> store = LanceStore("stored", index="flowers", dimension=2)
        >>> store.upsert([("a", [1.0, 0.0], {"label": 1}), ("b", [0.6, 0.8])])
        2
        >>> found = store.query([0.0, 1.0], filter={"label": {"$eq": 1}})
        >>> [match.id for match in found]
        ['a']

    References:
        LanceDB, https://docs.lancedb.com
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        index: str = "qstore",
        dimension: int | None = None,
        metric: str | None = None,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.index = checked_index("index", index)
        self._open: Tables | None = Tables(
            self.path,
            index,
            None if dimension is None else checked_dimension(dimension),
            None if metric is None else checked_metric(metric),
        )
        self.dimension, self.metric = self._open.dimension, self._open.metric
        self._commits = 0

    def __repr__(self) -> str:
        return (
            f"LanceStore({str(self.path)!r}, index={self.index!r}, "
            f"dimension={self.dimension}, metric={self.metric!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy opens the files for itself.
        return functools.partial(LanceStore, index=self.index), (str(self.path),)

    def optimize(self) -> None:
        """Make later queries faster: join small files, and build an index.

        What changes nothing any more is removed two minutes later: until then readers
        may be in it.

        Raises:
            StoreError: If the store cannot be written.
        """
        for _, table in self._tables.all():
            repeated(
                functools.partial(table.optimize, cleanup_older_than=KEPT_VERSIONS),
                self._tables.doing("optimize"),
            )
            repeated(
                functools.partial(self._build_index, table),
                self._tables.doing("optimize"),
            )
        self._commits = 0

    def close(self) -> None:
        """Let go of the files; the store cannot be used afterwards."""
        self._open = None

    def indexes(self) -> Ids:
        """The names of all indexes in the directory, sorted."""
        return indexes_in(self.path)

    def beside(
        self, index: str, *, dimension: int | None = None, metric: str | None = None
    ) -> LanceStore:
        """Another index in the same directory, as :class:`LanceStore` opens it."""
        return LanceStore(self.path, index=index, dimension=dimension, metric=metric)

    # --- writing ------------------------------------------------------------------

    def _upsert(self, batch: Batch, namespace: str) -> int:
        n_rows = rows_in_part(self.dimension)
        for part in batch.parts([n_rows] * math.ceil(len(batch) / n_rows)):
            self._upsert_part(columns_of(part), namespace)
        return len(batch)

    def _upsert_part(self, columns: Columns, namespace: str) -> None:
        while True:
            table = self._tables.made(namespace, metadata_columns(columns))
            schema = table.schema
            rows = arrow_table(columns, schema)
            merge = (
                table.merge_insert("id")
                .when_matched_update_all()
                .when_not_matched_insert_all()
            )
            self._change(functools.partial(merge.execute, rows))
            # If another writer added a column in between, then rows that were there may
            # still have its values in it: they are written again, with null.
            if len(table.schema) == len(schema):
                return

    def _delete(self, what: Ids | Condition | None, namespace: str) -> None:
        table = self._tables.find(namespace)
        if table is None:
            return
        if what is None:
            conditions = ["true"]
        elif isinstance(what, list):
            conditions = [among("id", some) for some in _cut(what)]
        else:
            with translated(self._tables.doing("read")):
                conditions = [where(what, table.schema.names)]
        for condition in conditions:
            self._change(functools.partial(table.delete, condition))

    def _change(self, change: Callable[[], Any]) -> None:
        """Make one commit, and optimize if there were many."""
        repeated(change, self._tables.doing("write"))
        self._commits += 1
        if self._commits >= OPTIMIZED_AFTER:
            self.optimize()

    def _build_index(self, table: Any) -> None:
        if table.list_indices() or table.count_rows() < INDEXED_ROWS:
            return
        from lancedb.index import IvfFlat

        table.create_index(
            "vector", config=IvfFlat(distance_type=_DISTANCES[self.metric])
        )

    # --- reading ------------------------------------------------------------------

    def _query(self, query: Query) -> Matches:
        table = self._tables.find(query.namespace)
        vector = query.vector
        if vector is None:
            found = self._fetch([query.id], query.namespace)
            if query.id not in found:
                raise KeyError(query.id)
            vector = found[query.id].values
        if table is None:
            return []
        search = functools.partial(self._nearest, table, query, [vector])
        if query.include_values:
            rows = self._sound(search)
            values: Sequence[Float32 | None] = list(vectors(rows))
        else:
            with translated(self._tables.doing("read")):
                rows = search()
            values = [None] * rows.num_rows
        more = metadata(rows) if query.include_metadata else [{} for _ in values]
        scores = (self._score(one, vector) for one in rows["_distance"].to_pylist())
        return [
            Match(*match)
            for match in zip(rows["id"].to_pylist(), scores, values, more, strict=True)
        ]

    def _nearest(self, table: Any, query: Query, sought: Sequence[Float32]) -> Any:
        """The rows that are nearest to each vector, as an Arrow table."""
        columns = table.schema.names
        selected = ["id", "_distance"]
        if query.include_values:
            selected = [*columns, "_distance"]  # the checksum is over all of them
        elif query.include_metadata:
            selected += metadata_columns(columns)
        scaled = [self._scaled(vector) for vector in sought]
        several = len(sought) > 1
        search = (
            table.search(scaled if several else scaled[0])
            .distance_type(_DISTANCES[self.metric])
            .nprobes(_EVERY_PARTITION)
            .limit(query.top_k)
            .select([*selected, *["query_index"] * several])
        )
        if query.condition is not None:
            search = search.where(where(query.condition, columns), prefilter=True)
        return search.to_arrow()

    def _scaled(self, vector: Float32) -> Float32:
        """The vector to search with.

        The distance of the dot product is 1 minus the product, in single precision: a
        query as long as this makes small products large enough to be kept.
        """
        if self.metric != "dotproduct":
            return vector
        return np.ldexp(vector, self._exponent(vector))

    def _exponent(self, vector: Float32) -> int:
        return _QUERY_LENGTH - math.frexp(float(np.linalg.norm(vector)))[1]

    def _score(self, distance: float, vector: Float32) -> float:
        if self.metric == "euclidean":
            return distance
        if self.metric == "cosine":
            return 1.0 - distance
        return math.ldexp(1.0 - distance, -self._exponent(vector))

    def _query_many(self, queries: Sequence[Query]) -> Sequence[Matches]:
        table = self._tables.find(queries[0].namespace) if queries else None
        if table is None:
            return [[] for _ in queries]
        found: list[Matches] = []
        for start in range(0, len(queries), VECTORS_AT_ONCE):
            found += self._query_some(table, queries[start : start + VECTORS_AT_ONCE])
        return found

    def _query_some(self, table: Any, queries: Sequence[Query]) -> list[Matches]:
        sought = [query.vector for query in queries if query.vector is not None]
        with translated(self._tables.doing("read")):
            rows = self._nearest(table, queries[0], sought)
        found: list[Matches] = [[] for _ in sought]
        several = len(sought) > 1
        matches = zip(
            rows["query_index"].to_pylist() if several else [0] * rows.num_rows,
            rows["id"].to_pylist(),
            rows["_distance"].to_pylist(),
            metadata(rows),
            strict=True,
        )
        for i, one, distance, more in matches:
            score = self._score(distance, sought[i])
            found[i].append(Match(one, score, metadata=more))
        return found

    def _fetch(self, ids: Ids, namespace: str) -> dict[str, Record]:
        table = self._tables.find(namespace)
        if table is None:
            return {}
        return {
            record.id: record
            for some in _cut(ids)
            for record in records(self._sound(functools.partial(_rows, table, some)))
        }

    def _list(self, prefix: str, namespace: str) -> Ids:
        table = self._tables.find(namespace)
        if table is None:
            return []
        with translated(self._tables.doing("read")):
            search = table.search().select(["id"])
            if prefix:
                search = search.where(f"starts_with(id, {quoted(prefix)})")
            return sorted(search.to_arrow()["id"].to_pylist())

    def _stats(self) -> Stats:
        with translated(self._tables.doing("read")):
            counts = {space: table.count_rows() for space, table in self._tables.all()}
        return Stats(
            self.dimension,
            self.metric,
            {space: count for space, count in counts.items() if count},
        )

    def _verify(self) -> dict[str, Ids]:
        found: dict[str, Ids] = {}
        for space, table in self._tables.all():
            with translated(self._tables.doing("read")):
                wrong = _damaged_in(table)
                if wrong:
                    time.sleep(_MIXED_WAIT)
                    wrong = _damaged_in(table)
            if wrong:
                found[space] = sorted(wrong)
        return found

    def _sound(self, read: Callable[[], Any]) -> Any:
        """Rows whose checksums are right."""
        for last in (False, True):
            with translated(self._tables.doing("read")):
                rows = read()
                wrong = damaged(rows)
            if not wrong:
                break
            if last:
                listed = ", ".join(f"`{one}`" for one in wrong[:5])
                raise StoreError(
                    f"Cannot {self._tables.doing('read')}: record {listed} is damaged, "
                    "its contents are not what was written. Method verify() lists all "
                    "such records; write them again."
                )
            time.sleep(_MIXED_WAIT)  # a writer may be about to write them again
        return rows

    @property
    def _tables(self) -> Tables:
        if self._open is None:
            raise StoreError("The store is closed. Open it again with open_store().")
        return self._open


def _damaged_in(table: Any) -> Ids:
    import pyarrow as pa

    return [
        one
        for rows in table.search().to_batches(ROWS_AT_ONCE)
        for one in damaged(pa.Table.from_batches([rows]))
    ]


def rows_in_part(dimension: int) -> int:
    """The most records that are written in one commit."""
    return max(1, min(PART_ROWS, int(PART_BYTES / (4 * dimension))))


def indexes_in(directory: Path) -> Ids:
    """The names of all indexes in a directory, sorted."""
    found = directory.expanduser().glob(f"*/{ABOUT}.lance")
    return sorted(one.parent.name for one in found if one.is_dir())


def _rows(table: Any, ids: Ids) -> Any:
    return table.search().where(among("id", ids)).to_arrow()


def _cut(ids: Ids) -> Iterator[Ids]:
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ids[start : start + IDS_AT_ONCE]
