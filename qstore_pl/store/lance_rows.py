"""Records as rows of a LanceDB table, each with a checksum of its contents."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.store.lance_sql import KINDS, column_name
from qstore_pl.store.records import MAX_DIMENSION, Batch, Float32, Metadata, Record

UInt64 = NDArray[np.uint64]
Columns = dict[str, Any]  # from the name of a column to an Arrow array

FIXED: Final = ("id", "vector", "checksum")
CACHED_ROWS: Final = 4096
# With this mark on the identifier, two writers that insert it at the same time are a
# conflict of which one is repeated; without it, the table would have it twice.
PRIMARY_KEY: Final = {"lance-schema:unenforced-primary-key": "true"}


# --- columns ---------------------------------------------------------------------


def fixed_fields(dimension: int) -> list[Any]:
    """The fields that every table has, as Arrow fields."""
    import pyarrow as pa

    return [
        pa.field("id", pa.string(), nullable=False, metadata=PRIMARY_KEY),
        pa.field("vector", pa.list_(pa.float32(), dimension)),
        pa.field("checksum", pa.uint64()),
    ]


def metadata_fields(names: Iterable[str]) -> list[Any]:
    """Arrow fields of columns of metadata, by the names of the columns."""
    import pyarrow as pa

    return [pa.field(name, _arrow_type(kind_of(name))) for name in names]


def _arrow_type(kind: str) -> Any:
    import pyarrow as pa

    return {
        "string": pa.string(),
        "number": pa.float64(),
        "bool": pa.bool_(),
        "strings": pa.list_(pa.string()),
    }[kind]


def kind_of(column: str) -> str:
    """The kind of values in a column of metadata: ``number`` of ``number_label``."""
    return column.partition("_")[0]


def key_of(column: str) -> str:
    """The key of a column of metadata: ``label`` of ``number_label``."""
    return column.partition("_")[2]


def metadata_columns(names: Iterable[str]) -> list[str]:
    """Those columns of a table that are metadata."""
    return [name for name in names if kind_of(name) in KINDS]


def columns_of(batch: Batch) -> Columns:
    """A batch as Arrow arrays by the names of their columns.

    Metadata have a column for each key and kind of value.
    """
    import pyarrow as pa

    found: Columns = {}
    for key, values in batch.columns.items():
        try:
            arrays = [pa.array(values)]
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # of several kinds
            kinds = sorted({_KIND[kind] for kind in set(map(type, values)) - {_NONE}})
            arrays = [
                pa.array([x if _KIND.get(type(x)) == kind else None for x in values])
                for kind in kinds
            ]
        for array in arrays:
            kind, column = _as_kept(array)
            found[column_name(kind, key)] = column
    ids = pa.array(batch.ids)
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(batch.values.reshape(-1)), batch.values.shape[1]
    )
    checksum = pa.array(checksums(ids, batch.values, found))
    return {"id": ids, "vector": vectors, "checksum": checksum, **found}


def _as_kept(array: Any) -> tuple[str, Any]:
    """The kind of an Arrow array, and the array with the type of its column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(array.type):
        return "string", array
    if pa.types.is_boolean(array.type):
        return "bool", array
    if pa.types.is_list(array.type):  # of nulls, if all lists are empty
        return "strings", array.cast(_arrow_type("strings"))
    # The sum makes -0.0 to 0.0, which compares the same everywhere.
    return "number", pc.add(array.cast(_arrow_type("number")), 0.0)


_NONE: Final = type(None)
_KIND: Final = {
    str: "string",
    float: "number",
    int: "number",
    bool: "bool",
    list: "strings",
}


# --- to and from Arrow -----------------------------------------------------------


def arrow_table(columns: Columns, schema: Any) -> Any:
    """Columns as an Arrow table.

    Args:
        columns: What :func:`columns_of` returned.
        schema: The Arrow schema of the table; a column that is not among them is null.
    """
    import pyarrow as pa

    n_rows = len(columns["id"])
    arrays = [
        columns[field.name] if field.name in columns else pa.nulls(n_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def vectors(table: Any) -> Float32:
    """The vectors of an Arrow table, shape ``(n_rows, dimension)``."""
    column = table["vector"].combine_chunks()
    dimension = column.type.list_size
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.float32).reshape(-1, dimension)


def metadata(table: Any) -> list[Metadata]:
    """The metadata of each row of an Arrow table."""
    found: list[Metadata] = [{} for _ in range(table.num_rows)]
    for name in metadata_columns(table.column_names):
        key = key_of(name)
        for kept, value in zip(found, table[name].to_pylist(), strict=True):
            if value is not None:
                kept[key] = value
    return found


def records(table: Any) -> list[Record]:
    """The rows of an Arrow table as records."""
    rows = zip(table["id"].to_pylist(), vectors(table), metadata(table), strict=True)
    return [Record(one, values.copy(), more) for one, values, more in rows]


def damaged(table: Any) -> list[str]:
    """Identifiers of the rows whose checksum is not that of their contents."""
    import pyarrow as pa

    if any(table[name].null_count for name in FIXED):
        missing = functools.reduce(
            np.logical_or, (np.asarray(table[name].is_null()) for name in FIXED)
        )
        return [str(one) for one in table["id"].filter(pa.array(missing)).to_pylist()]
    names = metadata_columns(table.column_names)
    columns = {name: table[name].combine_chunks() for name in names}
    ids = table["id"].combine_chunks()
    wanted = table["checksum"].to_numpy()
    wrong = checksums(ids, vectors(table), columns) != wanted
    return list(itertools.compress(ids.to_pylist(), wrong))


# --- checksums -------------------------------------------------------------------


def checksums(ids: Any, values: Float32, columns: Columns) -> UInt64:
    """A number for each row that changes with every single bit of the row.

    It is the sum, modulo 2**64, of the words of the vector, the bytes of the
    texts and the words of the numbers, each times an odd number of its own. An odd
    factor maps no change of a word to zero. A value that a row has not adds nothing, so
    that new columns leave the checksums of old rows as they are.

    Args:
        ids: Identifiers of the rows, an Arrow array.
        values: Vectors, shape ``(n_rows, dimension)``.
        columns: Metadata as Arrow arrays; null where a row has no value.

    Returns:
        Shape ``(n_rows,)``.
    """
    import pyarrow.compute as pc

    total = _vectors(values)
    for name, column in {"id": ids, **columns}.items():
        factor, offset = _column_weights(name)
        code = _CODES["string" if name == "id" else kind_of(name)]
        present = np.asarray(pc.is_valid(column))
        total += np.where(present, code(column) * factor + offset, np.uint64(0))
    return total


def _vectors(values: Float32) -> UInt64:
    """The numbers of each vector, two in a word, each word times its weight."""
    n_rows, dimension = values.shape
    if dimension % 2:
        values = np.concatenate([values, np.zeros((n_rows, 1), np.float32)], axis=1)
    words = np.ascontiguousarray(values).view(np.uint64)
    found: UInt64 = words @ _weights()[: words.shape[1]]
    return found


def _texts(column: Any) -> UInt64:
    """The bytes of each text, each times the weight of its place, and its length."""
    _, starts, data = column.buffers()
    offsets = np.frombuffer(starts, np.int32)[column.offset :][: len(column) + 1]
    if data is None:
        return np.zeros(len(column), np.uint64)
    text = np.frombuffer(data, np.uint8)
    return _weighed(text[offsets[0] : offsets[-1]], offsets - offsets[0])


def _weighed(numbers: NDArray[Any], offsets: NDArray[Any]) -> UInt64:
    """For each row the sum of its numbers times weights, and the weighed length.

    Args:
        numbers: The numbers of all rows, one row after the other.
        offsets: Where each row begins, and where the last one ends.
    """
    found = np.empty(len(offsets) - 1, np.uint64)
    for start in range(0, len(found), CACHED_ROWS):  # the arrays stay in the cache
        ends = offsets[start : start + CACHED_ROWS + 1]
        lengths, ends = np.diff(ends), ends - ends[0]
        first = offsets[start]
        places = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
        sums = np.zeros(len(places) + 1, np.uint64)
        weights = _weights().take(places, mode="wrap")
        np.cumsum(numbers[first : first + ends[-1]] * weights, out=sums[1:])
        total = sums[ends[1:]] - sums[ends[:-1]] + lengths.astype(np.uint64) * _LENGTH
        found[start : start + CACHED_ROWS] = total
    return found


def _numbers(column: Any) -> UInt64:
    return np.asarray(column.fill_null(0.0)).view(np.uint64)


def _bools(column: Any) -> UInt64:
    return np.asarray(column.fill_null(False)).astype(np.uint64)  # noqa: FBT003


def _lists(column: Any) -> UInt64:
    offsets = np.asarray(column.offsets)
    codes = _texts(column.values)[offsets[0] : offsets[-1]]
    return _weighed(codes, offsets - offsets[0])


_LENGTH: Final = np.uint64(0x9E3779B97F4A7C15)  # odd, and unlike the weights
_CODES: Final[dict[str, Callable[[Any], UInt64]]] = {
    "string": _texts,
    "number": _numbers,
    "bool": _bools,
    "strings": _lists,
}


@functools.cache
def _weights() -> UInt64:
    """Odd numbers that no version of numpy changes."""
    bits = hashlib.shake_256(b"qstore_pl vector").digest(8 * MAX_DIMENSION)
    return np.frombuffer(bits, "<u8").astype(np.uint64) | np.uint64(1)


@functools.cache
def _column_weights(name: str) -> tuple[np.uint64, np.uint64]:
    digest = hashlib.sha256(name.encode()).digest()
    factor, offset = np.frombuffer(digest[:16], "<u8").astype(np.uint64)
    return factor | np.uint64(1), offset | np.uint64(1)
