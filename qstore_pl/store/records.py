"""Records of a vector store, and what is checked before any of them is written.

The limits are those of Pinecone, and hold for every store: what is accepted here can be
moved to any of them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl._checks import choice, integer, plain

Float32 = NDArray[np.float32]
Metadata = dict[str, Any]

METRICS: Final = ("cosine", "dotproduct", "euclidean")
DEFAULT_NAMESPACE: Final = "__default__"
MAX_DIMENSION: Final = 20_000
MAX_TOP_K: Final = 10_000
MAX_TOP_K_WITH_VALUES: Final = 1_000
MAX_ID: Final = 512  # characters
MAX_METADATA: Final = 40_960  # bytes of JSON
MAX_INTEGER: Final = 1 << 53  # beyond it, a float64 has gaps between integers

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_INDEX = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,43}[a-z0-9])?")
_MISSING = object()
_NUMBER = 24  # bytes of a number as JSON, at most
_IN_RANGE: Final[dict[type, Callable[[list[Any]], Any]]] = {
    str: lambda column: "".join(column).isascii(),
    int: lambda column: -MAX_INTEGER <= min(column) <= max(column) <= MAX_INTEGER,
    float: lambda column: np.isfinite(column).all(),
}
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is in the store.

    Attributes:
        id: Its identifier.
        values: Its vector, float32 of shape ``(dimension,)``.
        metadata: Its metadata; numbers are floats.
    """

    id: str
    values: Float32
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """A record that a query found.

    Attributes:
        id: Its identifier.
        score: The cosine or the dot product of its vector with that of the query, which
            are the higher the nearer; or for the metric ``"euclidean"`` the squared
            distance, which is the lower the nearer.
        values: Its vector, float32 of shape ``(dimension,)``; None if it was not
            asked for.
        metadata: Its metadata; empty if it was not asked for.
    """

    id: str
    score: float
    values: Float32 | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in an index of a store.

    Attributes:
        dimension: Length of its vectors.
        metric: ``"cosine"``, ``"dotproduct"`` or ``"euclidean"``.
        namespaces: Number of records in each namespace that has any. The default
            namespace is the empty string.
    """

    dimension: int
    metric: str
    namespaces: dict[str, int]

    @property
    def total(self) -> int:
        """Number of all records."""
        return sum(self.namespaces.values())


@final
@dataclass(frozen=True, slots=True)
class Vectors:
    """Many records as columns, which is the fastest form to write them.

    Args:
        ids: Identifiers, strings of 1 to 512 printable ASCII characters.
        values: Vectors, shape ``(n_records, dimension)``.
        metadata: A dict for each record, or None for no metadata. Its keys are names
            of letters, digits and underscores; its values are strings, numbers, bools
            or lists of strings.

    Example:
        >>> records = Vectors(["a", "b"], np.eye(2), [{"label": 0}, {"label": 1}])
    """

    ids: Sequence[str]
    values: Any
    metadata: Sequence[Mapping[str, Any]] | None = None


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Records that were checked, as columns.

    Attributes:
        ids: Identifiers, each once.
        values: Vectors, C-ordered float32 of shape ``(n_records, dimension)``.
        columns: Metadata by key: the value of each record, of Python's own types, and
            None where it has none.
    """

    ids: list[str]
    values: Float32
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    def parts(self, sizes: Iterable[int]) -> Iterator[Batch]:
        """The batch cut into consecutive parts of these numbers of records."""
        ends = list(itertools.accumulate(sizes))
        for start, end in zip([0, *ends], ends, strict=False):
            cut = slice(start, end)
            columns = {key: column[cut] for key, column in self.columns.items()}
            yield Batch(self.ids[cut], self.values[cut], columns)

    def metadata(self) -> list[Metadata]:
        """The metadata as a dict for each record."""
        found: list[Metadata] = [{} for _ in self.ids]
        for key, column in self.columns.items():
            for kept, value in zip(found, column, strict=True):
                if value is not None:
                    kept[key] = value
        return found


# --- names -----------------------------------------------------------------------


def checked_index(name: str, value: Any) -> str:
    """Return the name of an index: at most 45 of a-z, 0-9 and hyphens inside.

    Raises:
        TypeError: If it is no string.
        ValueError: If it has other characters or is too long.
    """
    return _matching(
        name, value, _INDEX, "1 to 45 characters out of a-z, 0-9 and hyphens inside"
    )


def checked_namespace(value: Any) -> str:
    """Return a namespace; the default one is the empty string.

    Raises:
        TypeError: If it is no string.
        ValueError: If it has other characters than letters, digits, ``.``, ``_`` and
            ``-``, or more than 128.
    """
    if isinstance(value, str) and value in ("", DEFAULT_NAMESPACE):
        return ""
    return _matching(
        "namespace",
        value,
        _NAME,
        "1 to 128 letters, digits, dots, hyphens and underscores, and begin with a "
        "letter or a digit",
    )


def checked_id(name: str, value: Any) -> str:
    """Return an identifier: a string of 1 to 512 printable ASCII characters.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is empty, too long, or has other characters.
    """
    if not isinstance(value, str):
        raise TypeError(f"Argument `{name}` must hold strings, but has {value!r}.")
    if not (0 < len(value) <= MAX_ID and value.isascii() and value.isprintable()):
        raise ValueError(
            f"Argument `{name}` must hold strings of 1 to {MAX_ID} printable ASCII "
            f"characters, but has {_short(value)}."
        )
    return str.__str__(value)  # of exactly this type, as clients expect


def checked_ids(name: str, values: Any) -> list[str]:
    """Return identifiers as a list, each of which must come once.

    Raises:
        TypeError: If they are a single string or cannot be iterated over, or one of
            them is no string.
        ValueError: If one is not an identifier, or comes twice.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(
            f"Argument `{name}` must be a sequence of identifiers, but is {values!r}. "
            "Write [identifier] for a single one."
        )
    found = list(values)
    distinct = set(found) if _all_are(str, found) else None
    if distinct is None or not _are_plain_ids(found) or "" in distinct:
        found = [checked_id(name, value) for value in found]
        distinct = set(found)
    if len(distinct) < len(found):
        twice = next(one for one, count in Counter(found).items() if count > 1)
        raise ValueError(
            f"Argument `{name}` must have every identifier once, but has {twice!r} "
            "several times."
        )
    return found


def _are_plain_ids(values: Sequence[str]) -> bool:
    """Whether strings are identifiers or empty, found out without a loop of Python."""
    text = "".join(values)
    longest = max(map(len, values), default=0)
    return longest <= MAX_ID and text.isascii() and text.isprintable()


def checked_key(name: str, key: Any) -> str:
    """Return a key of metadata: 1 to 64 letters, digits and underscores.

    Raises:
        TypeError: If it is no string.
        ValueError: If it has other characters, or begins with a digit.
    """
    return _matching(
        name,
        key,
        _KEY,
        "keys of 1 to 64 letters, digits and underscores that do not begin with a "
        "digit",
    )


def _matching(name: str, value: Any, pattern: re.Pattern[str], wanted: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"Argument `{name}` must have {wanted}, but has {value!r}.")
    if not pattern.fullmatch(value):
        raise ValueError(
            f"Argument `{name}` must have {wanted}, but has {_short(value)}."
        )
    return value


def _short(value: str) -> str:
    shown = repr(value[:40])
    return shown if len(value) <= 40 else f"{shown}... of {len(value)} characters"


# --- vectors ---------------------------------------------------------------------


def checked_dimension(value: Any) -> int:
    """Return a number of dimensions, 1 to 20,000.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is out of this range.
    """
    found = integer("dimension", value, minimum=1)
    if found > MAX_DIMENSION:
        raise ValueError(
            f"Argument `dimension` must be <= {MAX_DIMENSION}, but is {found}. The "
            'embedding "pauli" has 4**n_qubits numbers, and is for up to 7 qubits; '
            '"local" has 3 * n_qubits.'
        )
    return found


def checked_metric(value: Any) -> str:
    """Return the name of a metric.

    Raises:
        ValueError: If it is unknown.
    """
    return choice("metric", value, METRICS)


def checked_values(name: str, values: Any, shape: tuple[int | None, int]) -> Float32:
    """Return vectors as C-ordered float32.

    Args:
        name: Name of the argument, for errors.
        values: The vectors, one in each row.
        shape: Number of vectors, or None for any, and their dimension.

    Raises:
        TypeError: If they are not real numbers.
        ValueError: If the shape differs, or a vector is zero or not finite in single
            precision.
    """
    n_records, dimension = shape
    array = plain(name, values)
    if array.dtype.kind not in "fiu":
        raise TypeError(
            f"Argument `{name}` must hold real numbers, but has dtype {array.dtype}."
        )
    wanted_rows = (None, len(array)) if array.ndim else ()
    if array.shape[1:] != (dimension,) or n_records not in wanted_rows:
        count = "n" if n_records is None else n_records
        raise ValueError(
            f"Argument `{name}` must have shape ({count}, {dimension}), but has shape "
            f"{array.shape}. The index has vectors of {dimension} numbers."
        )
    with np.errstate(over="ignore", under="ignore"):
        found = np.ascontiguousarray(array, dtype=np.float32)
        squares = np.einsum("ij,ij->i", found, found)
    bad = ~((squares >= _SMALLEST) & (squares < np.inf))
    if bad.any():
        row = int(np.argmax(bad))
        finite = np.isfinite(array[row]).all()
        wanted = "not be zero" if finite and not found[row].any() else "be finite"
        raise ValueError(
            f"Argument `{name}` must {wanted}, and have a length between 1e-19 and "
            f"1e19 in single precision, but the vector in row {row} has not."
        )
    return found


def checked_vector(name: str, values: Any, dimension: int) -> Float32:
    """Return one vector of shape ``(dimension,)`` as float32, as `checked_values`."""
    array = plain(name, values)
    if array.ndim != 1:
        raise ValueError(
            f"Argument `{name}` must have shape ({dimension},), but has shape "
            f"{array.shape}."
        )
    return checked_values(name, array[None], (1, dimension))[0]


# --- metadata --------------------------------------------------------------------


def checked_metadata(metadata: Any, n_records: int) -> dict[str, list[Any]]:
    """Return the metadata of records as columns, with values of Python's own types.

    Returns:
        By key the value of each record, None where it has none.

    Raises:
        TypeError: If one is no dict, or has a value of another kind.
        ValueError: If there are not ``n_records``, a key is not a name, a number is not
            finite or an integer beyond 2**53, or one takes more than 40,960 bytes.
    """
    if metadata is None:
        return {}
    if isinstance(metadata, str | Mapping) or not isinstance(metadata, Iterable):
        raise TypeError(
            f"Argument `metadata` must be a list of dicts, but is {metadata!r:.200}."
        )
    given = list(metadata)
    if len(given) != n_records:
        raise ValueError(
            f"Argument `metadata` must have {n_records} dicts, one for each record, "
            f"but has {len(given)}."
        )
    if not _all_are(dict, given):
        for one in given:
            if not isinstance(one, Mapping):
                raise TypeError(
                    f"Argument `metadata` must hold dicts, but has {one!r}."
                )
        given = list(map(dict, given))  # others may make up the keys they lack
    found: dict[str, list[Any]] = {}
    longest = 2
    for key, column in _split(given).items():
        found[key], length = _checked_column(checked_key("metadata", key), column)
        longest += len(key) + 4 + length
    if longest > MAX_METADATA:  # a bound for all records; now they are measured
        for row, values in enumerate(zip(*found.values(), strict=True)):
            kept = {k: v for k, v in zip(found, values, strict=True) if v is not None}
            size = len(json.dumps(kept, ensure_ascii=False).encode())
            if size > MAX_METADATA:
                raise ValueError(
                    f"Argument `metadata` must take at most {MAX_METADATA} bytes as "
                    f"JSON for each record, but that of record {row} takes {size}."
                )
    return found


def _all_are(kind: type, values: Sequence[Any]) -> bool:
    """Whether all values are exactly of a type, found out without a loop of Python."""
    return list(map(type, values)).count(kind) == len(values)


def _split(given: Sequence[Metadata]) -> dict[Any, list[Any]]:
    """The values of each key; ``_MISSING`` where a record has none."""
    first = given[0]
    if sum(map(len, given)) == len(first) * len(given):
        # Usually all have the same keys, and no loop of Python is needed.
        with contextlib.suppress(KeyError):
            return {key: list(map(operator.itemgetter(key), given)) for key in first}
    keys = dict.fromkeys(itertools.chain.from_iterable(given))
    return {key: [one.get(key, _MISSING) for one in given] for key in keys}


def _checked_column(key: str, column: list[Any]) -> tuple[list[Any], int]:
    """The values of a key, checked, and at least the bytes of the longest one."""
    kind = type(column[0])
    if kind in _IN_RANGE and _all_are(kind, column) and _IN_RANGE[kind](column):
        longest = 6 * max(map(len, column)) + 2 if kind is str else _NUMBER
        return column, longest
    found = [None if one is _MISSING else _value(key, one) for one in column]
    return found, max(map(_length, found))


def _value(key: str, value: Any) -> Any:
    """A value of metadata: str, bool, int, float or a list of str."""
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if kind is str:
        return value if value.isascii() else encodable("metadata", key, value)
    if kind is bool:
        return value
    if kind is int:
        if abs(value) > MAX_INTEGER:
            raise ValueError(
                f"Argument `metadata` must hold integers up to 2**53, but {key!r} is "
                f"{value}. Write it as a string."
            )
        return value
    if kind is float:
        if not np.isfinite(value):
            raise ValueError(
                f"Argument `metadata` must hold finite numbers, but {key!r} is {value}."
            )
        return value
    if kind in (list, tuple) and all(isinstance(item, str) for item in value):
        return [encodable("metadata", key, item) for item in value]
    raise TypeError(
        "Argument `metadata` must hold strings, numbers, bools and lists of strings, "
        f"but {key!r} is {value!r}. Leave a key out that has no value; write anything "
        "else as a string."
    )


def encodable(name: str, key: str, value: str) -> str:
    """Return text as a plain string that can be written as UTF-8.

    Raises:
        ValueError: If it has half of a surrogate pair.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Argument `{name}` must hold text that UTF-8 can hold, but {key!r} has "
            "a lone surrogate."
        ) from error
    return str.__str__(value)


def _length(value: Any) -> int:
    """At least the bytes that a value takes as JSON."""
    if isinstance(value, str):
        return 6 * len(value) + 2
    if isinstance(value, list):
        return 2 + sum(6 * len(item) + 4 for item in value)
    return _NUMBER
