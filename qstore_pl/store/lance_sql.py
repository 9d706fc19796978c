"""Conditions on metadata, written in the SQL of LanceDB.

Each key of the metadata has a column for each kind of value, such as ``number_label``
and ``string_label``, which is NULL where a record has no such value. Keys consist of
letters, digits and underscores; values are quoted here, so that no text from outside
becomes SQL.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from qstore_pl.store.filters import ORDERS, Comparison, Condition, Value

KINDS: Final = ("string", "number", "bool", "strings")
_SYMBOLS: Final = dict(zip(ORDERS, (">", ">=", "<", "<="), strict=True))


def column_name(kind: str, key: str) -> str:
    """The column of a key for one of the ``KINDS`` of values.

    Example:
        >>> column_name("number", "label")
        'number_label'
    """
    return f"{kind}_{key}"


def where(condition: Condition, columns: Collection[str]) -> str:
    """The SQL expression of a condition.

    Args:
        condition: The condition.
        columns: Columns that the table has. Where one is missing, no record has such a
            value.

    Returns:
        An expression that is true for the records that satisfy the condition, and
        false or NULL for all others.

    Example:
        >>> where(Comparison("label", "$eq", "it's"), {"string_label"})
        "`string_label` = 'it''s'"
    """
    if isinstance(condition, Comparison):
        return _comparison(condition, columns)
    word = " AND " if condition.all else " OR "
    return _joined(word, [where(one, columns) for one in condition.conditions])


def quoted(text: str) -> str:
    """A string as SQL.

    Example:
        >>> print(quoted("it's"))
        'it''s'
    """
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def among(column: str, values: Iterable[str]) -> str:
    """Whether a column has one of these strings."""
    return f"{column} IN ({', '.join(map(quoted, values))})"


def _comparison(condition: Comparison, columns: Collection[str]) -> str:
    key, operator, value = condition.key, condition.operator, condition.value
    present = {
        kind: f"`{column_name(kind, key)}`"
        for kind in KINDS
        if column_name(kind, key) in columns
    }
    if operator == "$exists":
        found = [f"{column} IS NOT NULL" for column in present.values()]
        return _joined(" OR ", found) if value else _unless(found)
    if operator in ORDERS:
        if "number" not in present:
            return "false"
        return f"{present['number']} {_SYMBOLS[operator]} {value!r}"
    values = value if isinstance(value, tuple) else (value,)
    found = _equalities(present, values)
    return _unless(found) if operator in ("$ne", "$nin") else _joined(" OR ", found)


def _equalities(present: dict[str, str], values: Sequence[Value]) -> list[str]:
    """Expressions of which one holds where a record has one of the values."""
    texts = [quoted(value) for value in values if isinstance(value, str)]
    literals = {
        "string": texts,
        "number": [repr(value) for value in values if type(value) is float],
        "bool": [str(value).lower() for value in values if isinstance(value, bool)],
    }
    found = []
    for kind, listed in literals.items():
        if kind in present and len(listed) == 1:
            found.append(f"{present[kind]} = {listed[0]}")
        elif kind in present and listed:
            found.append(f"{present[kind]} IN ({', '.join(listed)})")
    if "strings" in present and texts:
        found.append(
            f"array_has_any({present['strings']}, make_array({', '.join(texts)}))"
        )
    return found


def _unless(conditions: Sequence[str]) -> str:
    """Whether none of the conditions is true: where one is NULL, it is not."""
    return f"({_joined(' OR ', conditions)}) IS NOT TRUE"


def _joined(word: str, conditions: Sequence[str]) -> str:
    # A tree of little depth: LanceDB reads expressions by recursion, and would run out
    # of stack in a row of thousands.
    if not conditions:
        return "false"
    if len(conditions) == 1:
        return conditions[0]
    half = len(conditions) // 2
    left = _joined(word, conditions[:half])
    right = _joined(word, conditions[half:])
    return f"({left}{word}{right})"
