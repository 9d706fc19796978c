"""Filters of metadata in the words of MongoDB and Pinecone, read once and checked.

A filter is a dict such as ``{"label": {"$eq": 1}, "noise": {"$lt": 0.1}}``. It becomes
conditions, which each store writes in its own language: what came from outside is only
ever a value there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from qstore_pl.store.records import MAX_INTEGER, checked_key, encodable

ORDERS: Final = ("$gt", "$gte", "$lt", "$lte")
MEMBERS: Final = ("$in", "$nin")
OPERATORS: Final = ("$eq", "$ne", *ORDERS, *MEMBERS, "$exists")
MAX_VALUES: Final = 10_000
MAX_DEPTH: Final = 20
MAX_CONDITIONS: Final = 1_000  # 50,000 overflow the stack of a store that recurses

Value = str | float | bool


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """What one key of the metadata must satisfy.

    A list of strings equals a string if it contains it. Numbers equal numbers of the
    same value, and never bools. A record without the key satisfies ``$ne`` and
    ``$nin``, and nothing else but ``{"$exists": False}``.

    Attributes:
        key: The key.
        operator: One of ``OPERATORS``.
        value: A string, a float or a bool; for ``$in`` and ``$nin`` a tuple of them.
    """

    key: str
    operator: str
    value: Value | tuple[Value, ...]


@final
@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions of which all, or at least one, must hold.

    Attributes:
        all: Whether all of them must hold.
        conditions: The conditions, at least one.
    """

    all: bool
    conditions: tuple[Condition, ...]


Condition = Comparison | Combination


def checked_filter(name: str, given: Any) -> Condition:
    """The condition that a filter means.

    Args:
        name: Name of the argument, for errors.
        given: The filter.

    Raises:
        TypeError: If it is no dict, or a value is of a kind that its operator does not
            take.
        ValueError: If it is empty, an operator is unknown, or it is too large.

    Example:
        >>> checked_filter("filter", {"label": {"$in": ["a", "b"]}})
        Comparison(key='label', operator='$in', value=('a', 'b'))
    """
    found = _condition(name, given, 0)
    if (count := _count(found)) > MAX_CONDITIONS:
        raise ValueError(
            f"Argument `{name}` must have at most {MAX_CONDITIONS} conditions, but has "
            f"{count}. Write several values of one key with $in or $nin."
        )
    return found


def mongo(condition: Condition) -> dict[str, Any]:
    """A condition as a filter again, with every operator written out."""
    if isinstance(condition, Combination):
        word = "$and" if condition.all else "$or"
        return {word: [mongo(one) for one in condition.conditions]}
    value = condition.value
    return {
        condition.key: {
            condition.operator: list(value) if isinstance(value, tuple) else value
        }
    }


def _condition(name: str, given: Any, depth: int) -> Condition:
    if not isinstance(given, Mapping):
        raise TypeError(f"Argument `{name}` must be a dict, but is {given!r}.")
    if not given:
        raise ValueError(
            f"Argument `{name}` must have a condition, but is empty. Leave it out to "
            "take all records."
        )
    if depth > MAX_DEPTH:
        raise ValueError(
            f"Argument `{name}` must be nested at most {MAX_DEPTH} deep, but is deeper."
        )
    found: list[Condition] = []
    for key, value in given.items():
        if key in ("$and", "$or"):
            found.append(_combination(name, key, value, depth))
        else:
            found += _comparisons(name, key, value)
    return (
        found[0] if len(found) == 1 else Combination(all=True, conditions=tuple(found))
    )


def _count(condition: Condition) -> int:
    if isinstance(condition, Combination):
        return sum(map(_count, condition.conditions))
    return 1


def _combination(name: str, word: str, value: Any, depth: int) -> Condition:
    if not isinstance(value, list | tuple):
        raise TypeError(
            f"Argument `{name}` must have a list of dicts for {word!r}, but has "
            f"{value!r}."
        )
    if not value:
        raise ValueError(
            f"Argument `{name}` must have conditions for {word!r}, but has none."
        )
    parts = tuple(_condition(name, one, depth + 1) for one in value)
    return Combination(all=word == "$and", conditions=parts)


def _comparisons(name: str, key: Any, value: Any) -> list[Condition]:
    if isinstance(key, str) and key.startswith("$"):
        raise ValueError(
            f"Argument `{name}` must combine conditions by $and and $or, but has "
            f"{key!r}. The operators {', '.join(OPERATORS)} stand behind a key: "
            '{"label": {"$eq": 1}}.'
        )
    checked_key(name, key)
    if not isinstance(value, Mapping):
        # As a dict in its place would be taken for operators, a value that comes from
        # outside must never stand here.
        raise TypeError(
            f"Argument `{name}` must have a dict of operators for {key!r}, but has "
            f"{value!r}. Write {{{key!r}: {{'$eq': ...}}}}, so that no value from "
            "outside can be taken for an operator."
        )
    if not value:
        raise ValueError(
            f"Argument `{name}` must have an operator for {key!r}, but has none."
        )
    return [
        Comparison(key, operator, _operand(name, key, operator, operand))
        for operator, operand in value.items()
    ]


def _operand(name: str, key: str, operator: Any, value: Any) -> Any:
    if operator not in OPERATORS:
        raise ValueError(
            f"Argument `{name}` must have one of the operators {', '.join(OPERATORS)} "
            f"for {key!r}, but has {operator!r}."
        )
    where = f"{operator} of {key!r}"
    if operator == "$exists":
        if not isinstance(value, bool):
            raise TypeError(
                f"Argument `{name}` must have True or False for {where}, but has "
                f"{value!r}."
            )
        return value
    if operator in MEMBERS:
        if not isinstance(value, list | tuple | np.ndarray) or not len(value):
            raise TypeError(
                f"Argument `{name}` must have a list with at least one value for "
                f"{where}, but has {value!r}."
            )
        if len(value) > MAX_VALUES:
            raise ValueError(
                f"Argument `{name}` must have at most {MAX_VALUES} values for {where}, "
                f"but has {len(value)}."
            )
        return tuple(_scalar(name, key, operator, item) for item in value)
    found = _scalar(name, key, operator, value)
    if operator in ORDERS and not isinstance(found, float):
        raise TypeError(
            f"Argument `{name}` must have a number for {where}, but has {value!r}."
        )
    return found


def _scalar(name: str, key: str, operator: str, value: Any) -> Value:
    where = f"{operator} of {key!r}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return encodable(name, key, value)
    if isinstance(value, int | float):
        if abs(value) > MAX_INTEGER and isinstance(value, int):
            raise ValueError(
                f"Argument `{name}` must have integers up to 2**53 for {where}, but "
                f"has {value}."
            )
        if not np.isfinite(value):
            raise ValueError(
                f"Argument `{name}` must have finite numbers for {where}, but has "
                f"{value}."
            )
        return float(value)
    raise TypeError(
        f"Argument `{name}` must have a string, a number or a bool for {where}, but "
        f"has {value!r}."
    )
