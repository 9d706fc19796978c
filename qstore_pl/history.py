"""What training recorded: one row of numbers per epoch. It knows no trainer."""

from __future__ import annotations

import csv
import json
import math
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final, overload

from qstore_pl._checks import integer

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
_VERSION = 1


@final
class History:
    """The rows of a training run, also readable by column.

    A row has the keys ``epoch, loss, val_loss, accuracy, val_accuracy, gradient_norm,
    learning_rate, circuits, shots, time`` (seconds); what was not measured is None. A
    column has one entry per row, and is found by that key or by its plural:
    ``history["loss"]`` is ``history["losses"]``. Metrics of one's own have columns of
    their names, and ``val_`` before them.

    Args:
        metrics: Names of further columns.

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
    """

    def __init__(self, metrics: Iterable[str] = ()) -> None:
        self._rows: list[Row] = []
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

    @property
    def columns(self) -> list[str]:
        """The keys of a row."""
        return list(self._columns.values())

    def append(self, row: Mapping[str, Any]) -> None:
        """Add the row of one epoch; keys that are left out are None.

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
        self._rows.append({key: _number(key, row.get(key)) for key in known})

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        """Copies of the rows, first epoch first."""
        return map(dict, self._rows)

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | str) -> Row | list[Any]:
        """A copy of the row at an index, or the column of that name or key.

        Raises:
            IndexError: If there is no such row.
            KeyError: If there is no such column; the message lists those there are.
        """
        if not isinstance(key, str):
            return dict(self._rows[key])
        name = self._columns.get(key, key)
        if name not in self.columns:
            both = [n if n == k else f"{n} or {k}" for n, k in self._columns.items()]
            raise KeyError(f"no column {key!r}; there are {', '.join(both)}")
        return [row[name] for row in self._rows]

    def to_json(self) -> str:
        """The rows as strict JSON, which has no NaN: that is the string ``"nan"``.

        Infinities are ``"inf"`` and ``"-inf"``. Numbers come back bit for bit.
        """
        rows = [spelled(row) for row in self._rows]
        content: dict[str, Any] = {"version": _VERSION, "rows": rows}
        if self._metrics:
            content["metrics"] = list(self._metrics)
        return json.dumps(content, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> History:
        """The history that :meth:`to_json` wrote.

        Raises:
            ValueError: If the text is not JSON or of another version, or as
                :meth:`append`.
            TypeError: As :meth:`append`.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise ValueError(
                f"Argument `text` must be a history of version {_VERSION}, but begins "
                f"with {text[:40]!r}."
            )
        history = cls(content.get("metrics", ()))
        for row in content["rows"]:
            history.append(
                {key: _SPELLED.get(value, value) for key, value in row.items()}
            )
        return history

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as CSV, with a line of names; empty is not measured.

        Args:
            path: The file, replaced.
        """
        with Path(path).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(self._columns.values()))
            writer.writeheader()
            writer.writerows(self._rows)

    def to_dataframe(self) -> Any:
        """The rows as a :class:`pandas.DataFrame`.

        Raises:
            ModuleNotFoundError: If pandas is missing.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "History.to_dataframe needs pandas: pip install pandas. Without it "
                "there are to_csv and to_json."
            ) from error
        return pd.DataFrame(self._rows, columns=list(self._columns.values()))

    def plot(self, axes: Any = None, *, columns: str | Iterable[str] = "loss") -> Any:
        """Draw columns by epoch, each with its ``val_`` twin if that was measured.

        A notebook shows the figure below the cell; a script shows it with
        ``matplotlib.pyplot.show()``.

        Args:
            axes: Of matplotlib; None makes a figure with pyplot.
            columns: A column, or several, such as ``["accuracy", "f1"]``.

        Returns:
            The axes; their ``figure`` can be saved.

        Raises:
            ModuleNotFoundError: If matplotlib is missing.
            TypeError: If ``axes`` are none of matplotlib's.
            KeyError: If there is no such column; the message lists those there are.

        Example:
            >>> history = History()
            >>> history.append({"epoch": 0, "loss": 0.5, "accuracy": 0.75})
            >>> axes = history.plot(columns="accuracy")
            >>> axes.get_ylabel()
            'accuracy'
        """
        try:
            from matplotlib.axes import Axes
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'History.plot needs matplotlib: pip install "qstore-pl[viz]".'
            ) from error
        if axes is not None and not isinstance(axes, Axes):
            raise TypeError(
                f"Argument `axes` must be axes of matplotlib, but is {axes!r}. "
                "Names of columns are given as columns=."
            )
        given = [columns] if isinstance(columns, str) else list(columns)
        drawn = {}
        for column in given:
            drawn[self._columns.get(column, column)] = self[column]
            twin = f"val_{self._columns.get(column, column)}"
            if twin in self.columns:
                drawn[twin] = self[twin]
        if axes is None:
            import matplotlib.pyplot as plt  # what notebooks and plt.show() look at

            _, axes = plt.subplots(layout="constrained")
        epochs = [epoch + 1 for epoch in self["epochs"]]
        for name, values in drawn.items():
            pairs = [
                (e, v) for e, v in zip(epochs, values, strict=True) if v is not None
            ]
            if pairs:
                axes.plot(*zip(*pairs, strict=True), label=name)
        axes.set(xlabel="epoch", ylabel=next(iter(drawn)) if len(given) == 1 else "")
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False)
        return axes

    def __eq__(self, other: object) -> bool:
        """Same rows, bit for bit; NaN equals NaN."""
        if not isinstance(other, History):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __repr__(self) -> str:
        if not self._rows:
            return "History(0 epochs)"
        text = f"{len(self)} epochs, last loss {self['losses'][-1]:.6g}"
        pairs = zip(self["losses"], self["epochs"], strict=True)
        numbered = [pair for pair in pairs if not math.isnan(pair[0])]
        if numbered:
            loss, epoch = min(numbered)
            text += f", best loss {loss:.6g} in epoch {epoch}"
        return f"History({text})"


def spelled(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for strict JSON: what is not finite as a word."""
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
        return integer(name, value, minimum=0)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Argument `{name}` must be a real number, but is {value!r}.")
    return float(value)
