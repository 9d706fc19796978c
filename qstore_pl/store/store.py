"""The vector store: one door, in Pinecone's words, to every place for vectors.

The public methods check their arguments, and hand them to the methods of one kind of
store, which do not check again. This package knows no model and no circuit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, final

from qstore_pl._checks import boolean, integer
from qstore_pl.store.filters import Condition, checked_filter
from qstore_pl.store.records import (
    MAX_TOP_K,
    MAX_TOP_K_WITH_VALUES,
    Batch,
    Float32,
    Match,
    Record,
    Stats,
    Vectors,
    checked_id,
    checked_ids,
    checked_metadata,
    checked_namespace,
    checked_values,
    checked_vector,
)

# In the class, `list` is a method.
Ids = list[str]
Matches = list[Match]


@final
@dataclass(frozen=True, slots=True)
class Query:
    """A search for the nearest records, checked.

    Attributes:
        vector: The vector, float32 of shape ``(dimension,)``; None if the search is for
            the neighbours of a record.
        id: Identifier of this record; empty if there is a vector.
        top_k: Number of records to find, >= 1.
        condition: What their metadata must satisfy; None takes all.
        namespace: Where to search; empty is the default namespace.
        include_values: Whether matches have their vectors.
        include_metadata: Whether matches have their metadata.
    """

    vector: Float32 | None
    id: str
    top_k: int
    condition: Condition | None
    namespace: str
    include_values: bool
    include_metadata: bool


class VectorStore(ABC):
    """An index of vectors with metadata, which are searched by their nearness.

    Vectors are kept in single precision. Every record has an identifier, and belongs to
    a namespace: records of one namespace are searched together, apart from all others.

    Filters are dicts in the words of MongoDB, as
    ``{"label": {"$in": [0, 1]}, "purity": {"$gt": 0.9}}``, with the operators ``$eq
    $ne $gt $gte $lt $lte $in $nin $exists`` behind a key, and ``$and $or`` before lists
    of dicts. Values always stand behind an operator, so that a value from outside
    cannot become one.

    Attributes:
        index: Name of the index.
        dimension: Length of its vectors.
        metric: ``"cosine"``, ``"dotproduct"`` or ``"euclidean"``.

    Example:
        >>> from qstore_pl import open_store
        >>> store = open_store("stored", dimension=2)
        >>> store.upsert([("a", [1, 0], {"label": 0}), ("b", [3, 4], {"label": 1})])
        2
        >>> [(match.id, round(match.score, 3)) for match in store.query([0, 1])]
        [('b', 0.8), ('a', 0.0)]
        >>> [match.id for match in store.query([0, 1], filter={"label": {"$lt": 1}})]
        ['a']
        >>> store.delete(["a"])
        >>> store.stats()
        Stats(dimension=2, metric='cosine', namespaces={'': 1})
    """

    index: str
    dimension: int
    metric: str

    @property
    def plain(self) -> VectorStore:
        """The same store, whose methods block until they are done."""
        return self

    # --- writing ------------------------------------------------------------------

    def upsert(self, vectors: Vectors | Iterable[Any], *, namespace: str = "") -> int:
        """Write records; those with an identifier that is there already are replaced.

        Nothing is written if any record is refused. When the method returns, all
        records are written, and a query finds them.

        Args:
            vectors: Records as :class:`Vectors`; or an iterable of tuples
                ``(id, values)`` and ``(id, values, metadata)``, of dicts with these
                keys, or of records that :meth:`fetch` returned.
            namespace: Where they are written; the empty string is the default.

        Returns:
            Number of records.

        Raises:
            TypeError: If a record is of another form, or not of numbers.
            ValueError: If an identifier, a vector or metadata are not as
                :class:`Vectors` says, or an identifier comes twice.
            UpsertError: If some records could not be written; it lists them.
            StoreError: If the store cannot be written.
        """
        space = checked_namespace(namespace)
        return self._upsert(self._batch(vectors), space)

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        namespace: str | None = None,
    ) -> None:
        """Delete records by identifier, by metadata, or all of a namespace.

        An identifier that is not there is no error.

        Args:
            ids: Identifiers.
            filter: What the metadata of the records must satisfy.
            delete_all: Whether all records of the namespace are deleted. The namespace
                must then be given, ``namespace=""`` for the default one.
            namespace: Where the records are; None is the default namespace.

        Raises:
            ValueError: If not exactly one of the three is given, or the filter is
                empty.
            StoreError: If the store cannot be written.
        """
        chosen = (
            (ids is not None) + (filter is not None) + boolean("delete_all", delete_all)
        )
        if chosen != 1:
            raise ValueError(
                "One of the arguments `ids`, `filter` and `delete_all` must be given, "
                f"but {chosen} are. To delete by both, query with the filter first."
            )
        if delete_all and namespace is None:
            raise ValueError(
                "Argument `namespace` must be given with `delete_all`, so that no "
                'namespace is emptied by mistake; namespace="" is the default one.'
            )
        space = checked_namespace("" if namespace is None else namespace)
        if ids is not None:
            return self._delete(checked_ids("ids", ids), space)
        if filter is not None:
            return self._delete(checked_filter("filter", filter), space)
        return self._delete(None, space)

    @abstractmethod
    def optimize(self) -> None:
        """Make later queries faster, where there is something to be done for it."""

    # --- reading ------------------------------------------------------------------

    def query(
        self,
        vector: Any = None,
        *,
        id: str | None = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        namespace: str = "",
        include_values: bool = False,
        include_metadata: bool = True,
    ) -> Matches:
        """The records that are nearest to a vector, or to a record.

        The search is exact. Among records of the same score the order is not defined.

        Args:
            vector: Shape ``(dimension,)``.
            id: Identifier of a record, whose vector is taken in its place. The record
                is among the matches.
            top_k: Number of records to find, 1 to 10,000; with vectors up to 1,000.
            filter: What their metadata must satisfy; None takes all records.
            namespace: Where to search.
            include_values: Whether matches have their vectors.
            include_metadata: Whether matches have their metadata.

        Returns:
            A list of :class:`Match`, the nearest first.

        Raises:
            ValueError: If neither or both of vector and id are given, or an argument is
                out of its range.
            TypeError: If an argument is of the wrong kind.
            KeyError: If there is no record with this identifier.
            StoreError: If the store cannot be read.
        """
        if (vector is None) == (id is None):
            raise ValueError(
                "One of the arguments `vector` and `id` must be given, but "
                f"{'both are' if id is not None else 'none is'}."
            )
        shown = boolean("include_values", include_values)
        most = MAX_TOP_K_WITH_VALUES if shown else MAX_TOP_K
        if integer("top_k", top_k, minimum=1) > most:
            raise ValueError(
                f"Argument `top_k` must be <= {most}"
                f"{' with include_values=True' if shown else ''}, but is {top_k}."
            )
        return self._query(
            Query(
                vector=None
                if vector is None
                else checked_vector("vector", vector, self.dimension),
                id="" if id is None else checked_id("id", id),
                top_k=int(top_k),
                condition=None if filter is None else checked_filter("filter", filter),
                namespace=checked_namespace(namespace),
                include_values=shown,
                include_metadata=boolean("include_metadata", include_metadata),
            )
        )

    def query_many(
        self,
        vectors: Any,
        *,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> Sequence[Matches]:
        """As :meth:`query` for many vectors, whose searches run beside each other.

        Args:
            vectors: Shape ``(n_vectors, dimension)``.
            top_k: Number of records to find for each, 1 to 10,000.
            filter: What their metadata must satisfy; None takes all records.
            namespace: Where to search.

        Returns:
            A list of matches with metadata for each vector, the nearest first.
        """
        if integer("top_k", top_k, minimum=1) > MAX_TOP_K:
            raise ValueError(
                f"Argument `top_k` must be <= {MAX_TOP_K}, but is {top_k}."
            )
        rows = checked_values("vectors", vectors, (None, self.dimension))
        condition = None if filter is None else checked_filter("filter", filter)
        space = checked_namespace(namespace)
        return self._query_many(
            [
                Query(
                    vector=row,
                    id="",
                    top_k=int(top_k),
                    condition=condition,
                    namespace=space,
                    include_values=False,
                    include_metadata=True,
                )
                for row in rows
            ]
        )

    def fetch(self, ids: Sequence[str], *, namespace: str = "") -> dict[str, Record]:
        """Records by identifier.

        Args:
            ids: Identifiers.
            namespace: Where the records are.

        Returns:
            A dict from identifier to :class:`Record`; one that is not there is left
            out.

        Raises:
            StoreError: If the store cannot be read, or a record is damaged.
        """
        return self._fetch(checked_ids("ids", ids), checked_namespace(namespace))

    def list(self, prefix: str = "", *, namespace: str = "") -> Ids:
        """The identifiers of a namespace, sorted.

        Args:
            prefix: First characters of the identifiers.
            namespace: Where the records are.

        Returns:
            A list of strings.

        Raises:
            StoreError: If the store cannot be read.
        """
        whole = isinstance(prefix, str) and not prefix
        first = "" if whole else checked_id("prefix", prefix)
        return self._list(first, checked_namespace(namespace))

    def stats(self) -> Stats:
        """The dimension, the metric, and the number of records: :class:`Stats`.

        Raises:
            StoreError: If the store cannot be read.
        """
        return self._stats()

    def verify(self) -> dict[str, Ids]:
        """The records whose contents have changed since they were written.

        Returns:
            A dict from namespace to a list of identifiers; empty if all is well.

        Raises:
            StoreError: If the store cannot be read.
        """
        return self._verify()

    @abstractmethod
    def close(self) -> None:
        """Give back connections; the store cannot be used afterwards."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- other indexes at the same place ------------------------------------------

    @abstractmethod
    def indexes(self) -> Ids:
        """The names of all indexes at the place of this one, sorted."""

    @abstractmethod
    def beside(
        self, index: str, *, dimension: int | None = None, metric: str | None = None
    ) -> VectorStore:
        """Another index at the same place.

        Args:
            index: Its name.
            dimension: Length of its vectors; None only opens an index that is there.
            metric: Its metric; None is that of the index, or ``"cosine"`` if it is
                new.

        Raises:
            StoreError: If it cannot be opened, is not there and has no dimension to be
                made with, or has another dimension or metric.
        """

    # --- what a kind of store does ------------------------------------------------

    @abstractmethod
    def _upsert(self, batch: Batch, namespace: str) -> int:
        """Write records; return their number."""

    @abstractmethod
    def _delete(self, what: Ids | Condition | None, namespace: str) -> None:
        """Delete these identifiers, or what satisfies a condition; None is all."""

    @abstractmethod
    def _query(self, query: Query) -> Matches:
        """The nearest records."""

    @abstractmethod
    def _query_many(self, queries: Sequence[Query]) -> Sequence[Matches]:
        """The nearest records for each query, all of one namespace and condition."""

    @abstractmethod
    def _fetch(self, ids: Ids, namespace: str) -> dict[str, Record]:
        """The records that are there."""

    @abstractmethod
    def _list(self, prefix: str, namespace: str) -> Ids:
        """The identifiers with this prefix, sorted."""

    @abstractmethod
    def _stats(self) -> Stats:
        """What is in the index."""

    @abstractmethod
    def _verify(self) -> dict[str, Ids]:
        """The damaged records of each namespace."""

    def _batch(self, vectors: Vectors | Iterable[Any]) -> Batch:
        """The records of :meth:`upsert`, checked."""
        if not isinstance(vectors, Vectors):
            vectors = _columns(vectors)
        ids = checked_ids("ids", vectors.ids)
        if not ids:
            raise ValueError("Argument `vectors` must have a record, but has none.")
        values = checked_values("values", vectors.values, (len(ids), self.dimension))
        return Batch(ids, values, checked_metadata(vectors.metadata, len(ids)))


def _columns(records: Iterable[Any]) -> Vectors:
    """Records in Pinecone's forms, as columns."""
    if not isinstance(records, Iterable):
        raise TypeError(
            "Argument `vectors` must be Vectors or an iterable of records, but is "
            f"{records!r:.200}."
        )
    ids, values, metadata = [], [], []
    for record in records:
        match record:
            case (one, vector):
                found: tuple[Any, Any, Any] = one, vector, None
            case (_, _, _):
                found = record
            case Record(id=one, values=vector, metadata=more):
                found = one, vector, more
            case Mapping() if record.keys() - {"metadata"} == {"id", "values"}:
                found = record["id"], record["values"], record.get("metadata")
            case _:
                raise TypeError(
                    "Argument `vectors` must hold (id, values), (id, values, metadata) "
                    f"or dicts with these keys, but has {record!r:.200}."
                )
        ids.append(found[0])
        values.append(found[1])
        metadata.append({} if found[2] is None else found[2])
    return Vectors(ids, values, metadata)
