"""The tables of one index: a LanceDB database with a table for each namespace.

The database is the directory ``path/index``. In it the table ``about`` has no rows; its
schema says what the index is, and making it makes the index.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, final

from qstore_pl.errors import StoreError
from qstore_pl.store.lance_calls import check_process, lancedb, repeated, translated
from qstore_pl.store.lance_rows import fixed_fields, metadata_fields

ABOUT: Final = "about"
DEFAULT: Final = "default"
FORMAT: Final = "qstore_pl vectors"
VERSION: Final = 1
_HASH: Final = 8  # hexadecimal digits


def table_name(namespace: str) -> str:
    """The table of a namespace.

    The hash keeps namespaces apart on file systems that take ``A`` and ``a`` for the
    same, and from the tables ``about`` and ``default``.

    Example:
        >>> table_name(""), table_name("flowers")
        ('default', 'flowers-846d124b')
    """
    if not namespace:
        return DEFAULT
    return f"{namespace}-{hashlib.sha256(namespace.encode()).hexdigest()[:_HASH]}"


def namespace_of(table: str) -> str:
    """The namespace whose table this is."""
    return "" if table == DEFAULT else table[: -_HASH - 1]


@final
class Tables:
    """The tables of an index, opened when they are first used.

    Args:
        path: The directory of the store.
        index: Name of the index.
        dimension: Length of its vectors; None only opens an index that is there.
        metric: Its metric; None is that of the index, or ``"cosine"`` for a new one.

    Attributes:
        dimension: Length of its vectors.
        metric: Its metric.

    Raises:
        ModuleNotFoundError: If LanceDB is not installed.
        StoreError: If the index cannot be opened, is not there and has no dimension to
            be made with, is of another dimension or metric, or was written by a newer
            version.
    """

    dimension: int
    metric: str

    def __init__(
        self, path: Path, index: str, dimension: int | None, metric: str | None
    ) -> None:
        connect = lancedb().connect
        self.directory = path / index
        self.index = index
        for directory in (path, self.directory):
            if directory.exists() and not directory.is_dir():
                raise StoreError(
                    f"Cannot open index `{index}` in `{path}`: `{directory}` is a file."
                )
        if dimension is None and not (self.directory / f"{ABOUT}.lance").is_dir():
            raise self._missing()
        with translated(self.doing("open")):
            # Every read sees what other processes wrote.
            self._database: Any = connect(
                self.directory, read_consistency_interval=timedelta(0)
            )
        self._known: dict[str, Any] = {}
        self._read_about(self._about(dimension, metric), dimension, metric)

    def find(self, namespace: str) -> Any:
        """The table of a namespace, None if nothing was written there yet."""
        return self._find(table_name(namespace))

    def made(self, namespace: str, columns: Iterable[str]) -> Any:
        """The table of a namespace, which is made if it is not there.

        Args:
            namespace: The namespace.
            columns: Names of columns of metadata; the table has at least these.
        """
        import pyarrow as pa

        name, columns = table_name(namespace), list(columns)

        def make() -> Any:
            if (found := self._find(name)) is not None:
                return found
            fields = [*fixed_fields(self.dimension), *metadata_fields(columns)]
            return self._database.create_table(name, schema=pa.schema(fields))

        table = self._known[name] = repeated(make, self.doing("write"))

        def widen() -> None:
            there = set(table.schema.names)
            if missing := [column for column in columns if column not in there]:
                table.add_columns(metadata_fields(missing))

        repeated(widen, self.doing("write"))
        return table

    def all(self) -> Iterator[tuple[str, Any]]:
        """Each namespace with its table, the default one first if it is there."""
        with translated(self.doing("read")):
            names = self._names()
        for name in sorted(names, key=lambda name: (name != DEFAULT, name)):
            if name != ABOUT and (table := self._find(name)) is not None:
                yield namespace_of(name), table

    def doing(self, verb: str) -> str:
        """What fails, for errors: ``"read index `qstore` in `stored`"``."""
        return f"{verb} index `{self.index}` in `{self.directory.parent}`"

    # --- the database -------------------------------------------------------------

    def _find(self, name: str) -> Any:
        check_process()
        with translated(self.doing("open")):
            if name not in self._known:
                if not (self.directory / f"{name}.lance").is_dir():
                    return None
                try:
                    self._known[name] = self._database.open_table(name)
                except ValueError as error:
                    if "was not found" in str(error):  # it is being made just now
                        return None
                    raise
            return self._known[name]

    def _names(self) -> list[str]:
        found: list[str] = []
        page = self._database.list_tables()
        found += page.tables
        while page.page_token:
            page = self._database.list_tables(page_token=page.page_token)
            found += page.tables
        return found

    # --- what the index is --------------------------------------------------------

    def _about(self, dimension: int | None, metric: str | None) -> Any:
        import pyarrow as pa

        def make() -> Any:
            if (found := self._find(ABOUT)) is not None:
                return found
            if dimension is None:
                raise self._missing()
            said = {
                "format": FORMAT,
                "version": str(VERSION),
                "dimension": str(dimension),
                "metric": metric or "cosine",
            }
            said["checksum"] = _checksum(said)
            schema = pa.schema([pa.field("nothing", pa.bool_())], metadata=said)
            return self._database.create_table(ABOUT, schema=schema)

        return repeated(make, self.doing("open"))

    def _read_about(
        self, about: Any, dimension: int | None, metric: str | None
    ) -> None:
        with translated(self.doing("open")):
            said = {
                key.decode(): value.decode()
                for key, value in (about.schema.metadata or {}).items()
            }
        checksum = said.pop("checksum", None)
        if said.get("format") != FORMAT or checksum != _checksum(said):
            raise StoreError(
                f"Cannot {self.doing('open')}: it was not written by qstore_pl, or is "
                "damaged."
            )
        if int(said["version"]) > VERSION:
            raise StoreError(
                f"Cannot {self.doing('open')}: it was written by a newer version of "
                f"qstore_pl, in format {said['version']}, and this one reads up to "
                f"{VERSION}. Update qstore_pl."
            )
        self.dimension, self.metric = int(said["dimension"]), said["metric"]
        for name, given, there in (
            ("dimension", dimension, self.dimension),
            ("metric", metric, self.metric),
        ):
            if given not in (None, there):
                raise StoreError(
                    f"Index `{self.index}` in `{self.directory.parent}` has {name} "
                    f"{there}, not {given}. Open it without the argument `{name}`, or "
                    "take another index."
                )

    def _missing(self) -> StoreError:
        return StoreError(
            f"There is no index `{self.index}` in `{self.directory.parent}`. To make "
            "it, give the argument `dimension`."
        )


def _checksum(said: Mapping[str, str]) -> str:
    return str(zlib.crc32(json.dumps(said, sort_keys=True).encode()))
