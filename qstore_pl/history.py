"""The record of a training run: one row of numbers per epoch. It knows no trainer."""

from __future__ import annotations

import csv
import json
import math
import numbers
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final, overload

import numpy as np
from numpy.typing import NDArray

from qstore_pl._axes import axes_of
from qstore_pl._checks import choice, integer
from qstore_pl._curves import curves_of
from qstore_pl._tables import html_table, paragraph

Number = int | float | None
Row = dict[str, Number]

COLUMNS = {
    "epochs": "epoch",
    "losses": "loss",
    "val_losses": "val_loss",
    "accuracies": "accuracy",
    "val_accuracies": "val_accuracy",
    "gradient_norms": "gradient_norm",
    "learning_rates": "learning_rate",
    "circuits": "circuits",
    "shots": "shots",
    "times": "time",
}
_COUNTS = {"epoch", "circuits", "shots"}
_SPELLED = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_LARGEST = 2**63 - 1  # largest count, since counts are kept as int64
_VERSION = 1
_SETTINGS = ("metrics", "monitor", "mode")


@final
class History:
    """The record of a training run: one row for each epoch, readable by column.

    A row has the keys ``epoch, loss, val_loss, accuracy, val_accuracy, gradient_norm,
    learning_rate, circuits, shots, time`` (seconds). An entry that was not measured is
    None. A column has one entry per row, and is found by its key or by the plural:
    ``history["loss"]`` is ``history["losses"]``. Every metric has two more columns: its
    name, and ``val_`` followed by its name.

    Args:
        metrics: Names of the metrics, which are recorded besides the loss and accuracy.
        monitor: Column by which epochs are compared to find the best.
        mode: Whether the smallest (``"min"``) or the largest value (``"max"``) of the
            monitored column is the best.

    Attributes:
        monitor: As the argument.
        mode: As the argument.

    Example:
        >>> history = History()
        >>> history.append({"epoch": 0, "loss": 0.5})
        >>> history.append({"epoch": 1, "loss": 0.25, "val_loss": 0.3})
        >>> history["losses"]
        [0.5, 0.25]
        >>> history["val_losses"]
        [None, 0.3]
        >>> history
        History(2 epochs, last loss 0.25, best loss 0.25 in epoch 1)
        >>> history.best_epoch
        1
    """

    def __init__(
        self,
        metrics: Iterable[str] = (),
        *,
        monitor: str = "loss",
        mode: str = "min",
    ) -> None:
        self._metrics = tuple(metrics)
        extra = [prefix + name for name in self._metrics for prefix in ("", "val_")]
        for name in extra:
            taken = name in COLUMNS or name in COLUMNS.values()
            if taken or extra.count(name) > 1:
                raise ValueError(
                    f"Argument `metrics` must have names of its own, but {name!r} is a "
                    "column already."
                )
        self._columns = COLUMNS | {name: name for name in extra}
        self._numbers = {key: _Numbers(key) for key in self._columns.values()}
        self.monitor = choice("monitor", monitor, self._numbers)
        self.mode = choice("mode", mode, ("min", "max"))

    @property
    def columns(self) -> list[str]:
        """The keys of a row, in order."""
        return list(self._columns.values())

    @property
    def best_epoch(self) -> int | None:
        """The epoch with the best monitored value, counted from 0.

        It is the first one of several with the same value, and None if the value was
        never measured.
        """
        row = self._best()
        return None if row is None else int(row["epoch"])

    def _best(self) -> dict[str, Any] | None:
        """The row with the best monitored value, or None."""
        values = self[self.monitor]
        known = [i for i, v in enumerate(values) if v is not None and not math.isnan(v)]
        if not known:
            return None
        extreme = min if self.mode == "min" else max
        return self._row(extreme(known, key=values.__getitem__))

    def append(self, row: Mapping[str, Any]) -> None:
        """Add the row of one epoch; entries that are left out are None.

        Args:
            row: Numbers by key; ``epoch`` and ``loss`` must be among them.

        Raises:
            ValueError: If ``epoch`` or ``loss`` is missing, or a key is unknown.
            TypeError: If a value is not a real number, or a count not an integer.
        """
        known = self._columns.values()
        if unknown := row.keys() - set(known):
            raise ValueError(
                f"Argument `row` must have keys out of {', '.join(known)}, but has "
                f"{', '.join(sorted(unknown))}."
            )
        if row.get("epoch") is None or row.get("loss") is None:
            raise ValueError("Argument `row` must have an epoch and a loss.")
        checked = {key: _number(key, row.get(key)) for key in known}
        for key, kept in self._numbers.items():
            kept.append(checked[key])

    def __len__(self) -> int:
        return len(self._numbers["epoch"])

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows, from the first epoch on."""
        return map(self._row, range(len(self)))

    def _row(self, index: int) -> Row:
        return {key: kept[index] for key, kept in self._numbers.items()}

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | str) -> Row | list[Any]:
        """A copy of the row with an index, or of the column with a name.

        Raises:
            IndexError: If there is no such row.
            KeyError: If there is no such column; the message lists all columns.
        """
        if not isinstance(key, str):
            return self._row(key)
        name = self._columns.get(key, key)
        if name not in self._numbers:
            both = [n if n == k else f"{n} or {k}" for n, k in self._columns.items()]
            raise KeyError(f"no column {key!r}; there are {', '.join(both)}")
        return self._numbers[name].to_list()

    def to_json(self) -> str:
        """The rows as strict JSON, from which all numbers come back bit for bit.

        JSON has no NaN and no infinities: they become the strings ``"nan"``, ``"inf"``
        and ``"-inf"``.
        """
        rows = [spelled(row) for row in self]
        content = {"version": _VERSION, "rows": rows} | self._settings()
        return json.dumps(content, allow_nan=False)

    def _settings(self) -> dict[str, Any]:
        """The constructor's arguments that differ from the defaults."""
        found: dict[str, Any] = {}
        if self._metrics:
            found["metrics"] = list(self._metrics)
        if (self.monitor, self.mode) != ("loss", "min"):
            found |= {"monitor": self.monitor, "mode": self.mode}
        return found

    @classmethod
    def from_json(cls, text: str) -> History:
        """The history that :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is not JSON or of another version, or if
                :meth:`append` refuses a row.
            TypeError: If :meth:`append` refuses a row.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise ValueError(
                f"Argument `text` must be a history of version {_VERSION}, but begins "
                f"with {text[:40]!r}."
            )
        rows = content["rows"]
        history = cls(**{k: v for k, v in content.items() if k in _SETTINGS})
        for row in rows:
            history.append(
                {key: _SPELLED.get(value, value) for key, value in row.items()}
            )
        return history

    def to_tree(self, n_rows: int) -> dict[str, Any]:
        """The first rows as arrays, which a checkpoint holds.

        To keep files small, a column whose entries are all the same is stored as one
        entry, and columns that were never measured are left out. The column of epochs
        is left out too where they are 0, 1, 2, ...

        Args:
            n_rows: Number of rows, from the first one.
        """
        columns = {}
        for key, kept in self._numbers.items():
            values, measured = kept.arrays(n_rows)
            counted = key == "epoch" and (values == np.arange(n_rows)).all()
            if measured.any() and not counted:
                columns[key] = [_shortened(values), _shortened(measured)]
        return {"n_rows": n_rows, "columns": columns} | self._settings()

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> History:
        """The history whose arrays :meth:`to_tree` returned."""
        history = cls(**{k: v for k, v in tree.items() if k in _SETTINGS})
        n_rows, columns = tree["n_rows"], tree["columns"]
        counted = [np.arange(n_rows), np.ones(1, dtype=np.bool_)]
        nothing = [np.zeros(1), np.zeros(1, dtype=np.bool_)]
        for key, kept in history._numbers.items():
            missing = counted if key == "epoch" else nothing
            kept.extend(*(np.resize(a, n_rows) for a in columns.get(key, missing)))
        return history

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as CSV below a line of column names.

        An entry that was not measured is empty.

        Args:
            path: The file to write; an existing file is replaced.
        """
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(self._columns.values()))
            writer.writeheader()
            writer.writerows(self)

    def to_dataframe(self) -> Any:
        """The rows as a :class:`pandas.DataFrame`.

        Raises:
            ModuleNotFoundError: If pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "History.to_dataframe needs pandas: pip install pandas. Without it "
                "there are to_csv and to_json."
            ) from error
        return pd.DataFrame(list(self), columns=list(self._columns.values()))

    def plot(self, axes: Any = None, *, columns: str | Iterable[str] = "loss") -> Any:
        """Draw columns against the epoch, with their validation columns if measured.

        A notebook shows the figure below the cell; a script shows it with
        ``matplotlib.pyplot.show()``.

        Args:
            axes: Axes of matplotlib to draw on; None makes a new figure with pyplot.
            columns: Name of a column, or names such as ``["accuracy", "f1"]``.

        Returns:
            The axes; their ``figure`` can be saved.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
            TypeError: If ``axes`` are not axes of matplotlib.
            KeyError: If there is no such column; the message lists all columns.

        Example:
            >>> history = History()
            >>> history.append({"epoch": 0, "loss": 0.5, "accuracy": 0.75})
            >>> axes = history.plot(columns="accuracy")
            >>> axes.get_ylabel()
            'accuracy'
        """
        given = [columns] if isinstance(columns, str) else list(columns)
        drawn = {}
        for column in given:
            drawn[self._columns.get(column, column)] = self[column]
            twin = f"val_{self._columns.get(column, column)}"
            if twin in self.columns:
                drawn[twin] = self[twin]
        hint = "Names of columns are given as columns=."
        axes = axes_of("History.plot", "axes", axes, hint)
        epochs = [epoch + 1 for epoch in self["epochs"]]
        for name, values in drawn.items():
            pairs = [
                (e, v) for e, v in zip(epochs, values, strict=True) if v is not None
            ]
            if pairs:
                axes.plot(*zip(*pairs, strict=True), label=name)
        axes.set(xlabel="epoch", ylabel=next(iter(drawn)) if len(given) == 1 else "")
        if axes.lines:
            axes.legend(frameon=False)
        return axes

    def __eq__(self, other: object) -> bool:
        """Whether the rows are the same bit for bit; NaN equals NaN."""
        if not isinstance(other, History):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __repr__(self) -> str:
        if not len(self):
            return "History(0 epochs)"
        text = f"{len(self)} epochs, last loss {self['losses'][-1]:.6g}"
        best = self._best()
        if best is not None:
            value, epoch = best[self.monitor], best["epoch"]
            text += f", best {self.monitor} {value:.6g} in epoch {epoch}"
        return f"History({text})"

    def _repr_html_(self) -> str:
        """The first, the best and the last row and the losses, for notebooks."""
        shown = paragraph(repr(self))
        if not len(self):
            return shown
        best = self.best_epoch
        named: dict[int, list[str]] = {0: ["first"]}
        if best is not None:
            named.setdefault(self["epochs"].index(best), []).append("best")
        named.setdefault(len(self) - 1, []).append("last")
        rows = {index: self._row(index) for index in sorted(named)}
        columns = [key for key, kept in self._numbers.items() if any(kept.measured)]
        cells = [["", *columns]]
        for index, row in rows.items():
            told = [_told(row[key]) for key in columns]
            cells.append([" and ".join(named[index]), *told])
        losses = {
            key: [
                (epoch, value)
                for epoch, value in zip(self["epoch"], self[key], strict=True)
                if value is not None
            ]
            for key in ("loss", "val_loss")
        }
        drawn = curves_of(losses, x="epoch, counted from 0", y="loss")
        return shown + html_table(cells, right=range(1, len(cells[0]))) + drawn


class _Numbers:
    """The entries of a column: numbers, and for each whether it was measured."""

    def __init__(self, key: str) -> None:
        self.values: array[Any] = array("q" if key in _COUNTS else "d")
        self.measured = bytearray()

    def append(self, value: Number) -> None:
        self.values.append(0 if value is None else value)
        self.measured.append(value is not None)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Number:
        return self.values[index] if self.measured[index] else None

    def to_list(self) -> list[Number]:
        values: list[Number] = self.values.tolist()
        if all(self.measured):
            return values
        return [v if m else None for v, m in zip(values, self.measured, strict=True)]

    def arrays(self, n_rows: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Copies of the first values, and of their flags."""
        values = np.array(self.values[:n_rows], dtype=self.values.typecode)
        return values, np.frombuffer(bytes(self.measured[:n_rows]), dtype=np.bool_)

    def extend(self, values: NDArray[Any], measured: NDArray[np.bool_]) -> None:
        self.values.frombytes(values.astype(self.values.typecode).tobytes())
        self.measured += measured.tobytes()


def _told(value: Number) -> str:
    """An entry in few characters."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _shortened(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or its first entry alone if all entries are the same bit for bit."""
    words = array.view(f"u{array.itemsize}")
    return array[:1] if (words == words[:1]).all() else array


def spelled(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for strict JSON, with NaN and infinities as strings."""
    return {
        key: str(value)
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for key, value in row.items()
    }


def _number(key: str, value: Any) -> Number:
    if value is None:
        return None
    name = f"row[{key!r}]"
    if key in _COUNTS:
        count = integer(name, value, minimum=0)
        if count > _LARGEST:
            raise ValueError(
                f"Argument `{name}` must be <= {_LARGEST} (64 bits), but is {count}."
            )
        return count
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Argument `{name}` must be a real number, but is {value!r}.")
    return float(value)
