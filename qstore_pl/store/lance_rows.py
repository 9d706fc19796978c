"""Records as rows of a LanceDB table, each with a checksum of its contents."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.store.lance_sql import KINDS, column_name
from qstore_pl.store.records import MAX_DIMENSION, Batch, Float32, Metadata, Record

UInt64 = NDArray[np.uint64]

FIXED: Final = ("id", "vector", "checksum")
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

    types = {
        "string": pa.string(),
        "number": pa.float64(),
        "bool": pa.bool_(),
        "strings": pa.list_(pa.string()),
    }
    return [pa.field(name, types[kind_of(name)]) for name in names]


def kind_of(column: str) -> str:
    """The kind of values in a column of metadata: ``number`` of ``number_label``."""
    return column.partition("_")[0]


def key_of(column: str) -> str:
    """The key of a column of metadata: ``label`` of ``number_label``."""
    return column.partition("_")[2]


def metadata_columns(names: Iterable[str]) -> list[str]:
    """Those columns of a table that are metadata."""
    return [name for name in names if kind_of(name) in KINDS]


def columns_of(batch: Batch) -> dict[str, list[Any]]:
    """The metadata of a batch as columns, one for each key and kind of value."""
    found: dict[str, list[Any]] = {}
    for key, values in batch.columns().items():
        kinds = sorted(
            {_KIND[kind] for kind in set(map(type, values)) if kind in _KIND}
        )
        for kind in kinds:
            only = len(kinds) == 1 and kind != "number"
            found[column_name(kind, key)] = values if only else _of_kind(kind, values)
    return found


_KIND: Final = {
    str: "string",
    float: "number",
    int: "number",
    bool: "bool",
    list: "strings",
}


def _of_kind(kind: str, values: Sequence[Any]) -> list[Any]:
    if kind == "number":
        # The sum makes -0.0 to 0.0, which compares the same everywhere.
        if set(map(type, values)) <= {int, float}:
            numbers: list[float] = (np.array(values, dtype=np.float64) + 0.0).tolist()
            return numbers
        return [
            float(value) + 0.0 if type(value) in (float, int) else None
            for value in values
        ]
    return [value if _KIND.get(type(value)) == kind else None for value in values]


# --- to and from Arrow -----------------------------------------------------------


def arrow_table(batch: Batch, columns: Mapping[str, list[Any]], schema: Any) -> Any:
    """A batch as an Arrow table.

    Args:
        batch: The records.
        columns: Their metadata, from :func:`columns_of`.
        schema: The Arrow schema of the table; a column of metadata that the batch has
            not is null.
    """
    import pyarrow as pa

    dimension = batch.values.shape[1]
    fixed = {
        "id": batch.ids,
        "vector": pa.FixedSizeListArray.from_arrays(
            pa.array(batch.values.reshape(-1)), dimension
        ),
        "checksum": checksums(batch.ids, batch.values, columns),
    }
    arrays = [
        pa.array(fixed[field.name], type=field.type)
        if field.name in fixed
        else pa.array(columns[field.name], type=field.type)
        if field.name in columns
        else pa.nulls(len(batch), field.type)
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
    columns = {
        name: table[name].to_pylist() for name in metadata_columns(table.column_names)
    }
    ids = table["id"].to_pylist()
    wanted = table["checksum"].to_numpy()
    wrong = checksums(ids, vectors(table), columns) != wanted
    return list(itertools.compress(ids, wrong))


# --- checksums -------------------------------------------------------------------


def checksums(
    ids: Sequence[str], values: Float32, columns: Mapping[str, Sequence[Any]]
) -> UInt64:
    """A number for each row that changes with every single bit of the row.

    It is the sum, modulo 2**64, of the 32-bit words of the vector and of a code of each
    text and value, each times an odd number of its own. An odd factor maps no change of
    a word to zero. A value that a row has not adds nothing, so that new columns leave
    the checksums of old rows as they are.

    Args:
        ids: Identifiers of the rows.
        values: Vectors, shape ``(n_rows, dimension)``.
        columns: Metadata by the name of their column; None where a row has no value.

    Returns:
        Shape ``(n_rows,)``.
    """
    words = np.ascontiguousarray(values).view(np.uint32)
    total: UInt64 = words @ _weights()[: words.shape[1]]
    for name, column in {"id": ids, **columns}.items():
        factor, offset = _column_weights(name)
        code = _CODES["string" if name == "id" else kind_of(name)]
        total += code(column) * factor
        if name != "id":
            present = np.fromiter((v is not None for v in column), bool, len(column))
            total += present * offset
    return total


def _texts(column: Sequence[str | None]) -> UInt64:
    crc = zlib.crc32
    codes = (0 if text is None else crc(text.encode()) for text in column)
    return np.fromiter(codes, np.uint64, len(column))


def _numbers(column: Sequence[float | None]) -> UInt64:
    codes = (0.0 if value is None else value for value in column)
    return np.fromiter(codes, np.float64, len(column)).view(np.uint64)


def _bools(column: Sequence[bool | None]) -> UInt64:
    return np.fromiter(map(bool, column), np.uint64, len(column))


def _lists(column: Sequence[list[str] | None]) -> UInt64:
    return _texts([None if one is None else json.dumps(one) for one in column])


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
