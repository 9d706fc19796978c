"""What circuits cost: a table of prices with dates and sources, which users can change.

The table is the file ``prices.toml`` beside this module, which says what its entries
mean. A price that is not known is None, never 0. It knows no machine and no network.
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Float1D = NDArray[np.float64]
Int1D = NDArray[np.int64]

VERSION = 1  # of the form of the file
_BUILT_IN = Path(__file__).with_name("prices.toml")
_WORDS = ("source", "unknown")  # entries of a target that are sentences


@final
@dataclass(frozen=True)
class Price:
    """What one target takes for its circuits, and how long its gates are.

    Args:
        circuit: US dollars for each circuit.
        shot: US dollars for each shot.
        one_qubit_gate: US dollars for each gate on one qubit in each shot.
        two_qubit_gate: US dollars for each gate on two qubits in each shot.
        minimum: The least that a circuit costs, in US dollars.
        minimum_mitigated: The least that a circuit costs with the error mitigation of
            the service, in US dollars; None if it is the same.
        seconds_one: Duration of a gate on one qubit in seconds; None if not known.
        seconds_two: Duration of a gate on two qubits in seconds; None if not known.
    """

    circuit: float = 0.0
    shot: float = 0.0
    one_qubit_gate: float = 0.0
    two_qubit_gate: float = 0.0
    minimum: float = 0.0
    minimum_mitigated: float | None = None
    seconds_one: float | None = None
    seconds_two: float | None = None

    def dollars(
        self, one: Int1D, two: Int1D, shots: Int1D, *, mitigated: bool = False
    ) -> Float1D:
        """What each of some circuits costs, shape ``(n,)``, in US dollars.

        Args:
            one: Number of gates on one qubit of each circuit, shape ``(n,)``.
            two: Number of gates on two qubits of each circuit, shape ``(n,)``.
            shots: Number of shots of each circuit, shape ``(n,)``.
            mitigated: Whether the service mitigates errors.

        Example:
            >>> one, two, shots = np.array([[18, 18], [8, 8], [100, 10_000]])
            >>> price_list().of("ionq.qpu.aria-1").dollars(one, two, shots)
            array([ 12.4166, 117.6   ])
        """
        gates = one * self.one_qubit_gate + two * self.two_qubit_gate
        least = self.minimum
        if mitigated and self.minimum_mitigated is not None:
            least = self.minimum_mitigated
        found = self.circuit + shots * (self.shot + gates)
        return np.asarray(np.maximum(found, least), dtype=np.float64)

    def seconds(self, one: float, two: float) -> float | None:
        """How long gates take that act one after the other; None if not known.

        Args:
            one: Number of gates on one qubit, in all shots together.
            two: Number of gates on two qubits, in all shots together.
        """
        if self.seconds_one is None or self.seconds_two is None:
            return None
        return one * self.seconds_one + two * self.seconds_two


@final
@dataclass(frozen=True)
class Entry:
    """A target in a list of prices.

    Args:
        price: What it takes; None if that is not known.
        source: Where the numbers come from.
        as_of: The day of the source.
        unknown: Why the price is not known; empty if it is.
    """

    price: Price | None
    source: str
    as_of: datetime.date
    unknown: str = ""


@final
class PriceList:
    """The prices of some targets.

    Args:
        date: The day on which the list was made.
        entries: The targets by name.

    Example:
        >>> prices = price_list()
        >>> prices.of("cirq").minimum
        0.0
        >>> prices.of("qiskit_remote") is None
        True
    """

    def __init__(self, date: datetime.date, entries: Mapping[str, Entry]) -> None:
        self.date, self._entries = date, dict(entries)

    def __repr__(self) -> str:
        return f"PriceList({self.date.isoformat()}, {', '.join(self._entries)})"

    def __contains__(self, target: object) -> bool:
        return target in self._entries

    def of(self, target: str) -> Price | None:
        """What a target takes for its circuits; None if that is not known.

        Args:
            target: Name of the target, such as ``"ionq.qpu.aria-1"`` or ``"cirq"``.
        """
        entry = self._entries.get(target)
        return None if entry is None else entry.price

    def source_of(self, target: str) -> str:
        """Where a price comes from with its day, or why it is not known.

        Args:
            target: Name of the target.
        """
        entry = self._entries.get(target)
        if entry is None:
            return f"The list of prices has no entry for {target}."
        said = f"{entry.source} ({entry.as_of.isoformat()})"
        return f"{entry.unknown} {said}" if entry.unknown else said

    def with_entries_of(self, other: PriceList) -> PriceList:
        """This list, with the targets of another one added or replaced."""
        return PriceList(other.date, {**self._entries, **other._entries})


def price_list(path: str | PathLike[str] | None = None) -> PriceList:
    """The list of prices of this package, with targets that a user's file replaces.

    Args:
        path: A TOML file of the form of ``qstore_pl/backends/prices.toml``: ``version``
            and ``date``, and a table ``[targets.NAME]`` for each target. The date of
            the list is then that of the file. None takes the list as it is.

    Raises:
        ValueError: If the file is not of that form; the message names the entry.
        TypeError: If an entry is of the wrong kind.
        OSError: If the file cannot be read.

    Example:
        >>> price_list().of("cirq").shot
        0.0
    """
    built_in = _read(_BUILT_IN)
    return built_in if path is None else built_in.with_entries_of(_parsed(Path(path)))


@cache
def _read(path: Path) -> PriceList:
    return _parsed(path)


def _parsed(path: Path) -> PriceList:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"`{path}` is not TOML in UTF-8: {error}") from error
    wanted = {"version", "date", "targets"}
    if content.keys() != wanted:
        raise ValueError(
            f"`{path}` must have version, date and tables [targets.NAME], but has "
            f"{', '.join(sorted(content)) or 'nothing'}."
        )
    if content["version"] != VERSION:
        raise ValueError(
            f"Entry version of `{path}` must be {VERSION}, but is "
            f"{content['version']!r}."
        )
    if not isinstance(content["targets"], dict):
        raise TypeError(f"Entry targets of `{path}` must be a table.")
    date = _day(content["date"], f"Entry date of `{path}`")
    entries = {
        target: _entry(table, f"[targets.{target}] of `{path}`")
        for target, table in content["targets"].items()
    }
    return PriceList(date, entries)


def _entry(table: Any, where: str) -> Entry:
    """An entry of the file.

    Args:
        table: What the file has.
        where: The entry and the file, for error messages.
    """
    if not isinstance(table, dict):
        raise TypeError(f"{where} must be a table, but is {table!r}.")
    numbers = [field.name for field in fields(Price)]
    known = [*numbers, *_WORDS, "as_of"]
    for name, value in table.items():
        if name not in known:
            raise ValueError(
                f"{where} must not have {name!r}; it may have {', '.join(known)}."
            )
        if name in numbers:
            _check_number(name, value, where)
        elif name in _WORDS and not (isinstance(value, str) and value):
            raise ValueError(f"{name} in {where} must be a text, but is {value!r}.")
    if missing := [name for name in ("source", "as_of") if name not in table]:
        raise ValueError(f"{where} must have {missing[0]}, but has none.")
    as_of = _day(table["as_of"], f"as_of in {where}")
    unknown = table.get("unknown", "")
    given = {name: float(table[name]) for name in numbers if name in table}
    if unknown and given:
        raise ValueError(
            f"{where} must have no {next(iter(given))} where it says why the price is "
            "unknown."
        )
    price = None if unknown else Price(**given)
    return Entry(price, table["source"], as_of, unknown)


def _check_number(name: str, value: Any, where: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} in {where} must be a number >= 0, but is {value!r}.")


def _day(value: Any, where: str) -> datetime.date:
    if isinstance(value, datetime.datetime) or not isinstance(value, datetime.date):
        raise TypeError(f"{where} must be a day such as 2026-11-30, but is {value!r}.")
    return value
