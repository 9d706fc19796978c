"""What ``qstore train`` reads: a TOML file of three tables, and an npz archive."""

from __future__ import annotations

import difflib
import inspect
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

FROM_CSV = (
    "import numpy as np; t = np.loadtxt('data.csv', delimiter=',', skiprows=1); "
    "np.savez('data.npz', X=t[:, :-1], y=t[:, -1].astype(int))"
)


def tables_of(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, with no key that nobody would read.

    Raises:
        ValueError: If it is no TOML, or a table or a key is missing or unknown.
        TypeError: If a table is something else.
    """
    from qstore_pl import QuantumModel
    from qstore_pl.config import DEFAULTS

    known = {
        "data": ["path"],
        "model": [
            name
            for name in inspect.signature(QuantumModel).parameters
            if name not in ("layers", "observables")  # objects, which no file holds
        ],
        "training": list(DEFAULTS),
    }
    try:  # editors of Windows begin files with a byte order mark
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(
            f"`{path}` must be TOML in UTF-8, but is not: {error}"
        ) from error
    for key in content:
        if any(key in keys for keys in known.values()):
            raise ValueError(f"The top of `{path}` {_misplaced(key, known, 'data')}")
    if content.keys() != known.keys():
        raise ValueError(
            f"`{path}` must have the tables data, model and training, but has "
            f"{', '.join(content) or 'none'}."
        )
    for name, table in content.items():
        if not isinstance(table, dict):
            raise TypeError(f"[{name}] of `{path}` must be a table, but is {table!r}.")
        for key in table:
            if (name, key) == ("model", "input_dim"):
                raise ValueError(
                    f"Table [model] of `{path}` must not have `input_dim`: it is the "
                    "number of columns of the array X."
                )
            if key not in known[name]:
                where = f"Table [{name}] of `{path}`"
                raise ValueError(f"{where} {_misplaced(key, known, name)}")
    source = content["data"].get("path")
    if not isinstance(source, str):
        raise TypeError(
            f"Table [data] of `{path}` must have a `path`, a string, but it is "
            f"{source!r}."
        )
    return content


def _misplaced(key: str, known: Mapping[str, Sequence[str]], table: str) -> str:
    """Why a table may not have a key, and where that should be."""
    if places := [name for name, keys in known.items() if key in keys]:
        return f"must not have `{key}`, which belongs in [{places[0]}]."
    close = difflib.get_close_matches(key, known[table], n=1)
    meant = f"Did you mean `{close[0]}`? " if close else ""
    listed = ", ".join(known[table])
    return f"must not have `{key}`. {meant}It may have {listed}."


def arrays_of(path: Path) -> dict[str, Any]:
    """The arrays X and y of an npz archive, and X_val and y_val if they are there.

    Raises:
        ValueError: If it is none, or has others.
    """
    with path.open("rb") as file:
        if not is_zipfile(file):
            raise ValueError(
                f"`{path}` must be a whole npz archive with arrays X and y, but is "
                "none. From a CSV file whose last column is the label, numpy makes "
                f"one: {FROM_CSV}"
            )
        try:
            archive = np.load(file, allow_pickle=False)
            names = set(archive.files)
        except (EOFError, ValueError, BadZipFile) as error:
            raise ValueError(f"`{path}` cannot be read: {error}") from error
        if names not in ({"X", "y"}, {"X", "y", "X_val", "y_val"}):
            raise ValueError(
                f"`{path}` must have arrays X and y, and X_val and y_val or none of "
                f"them, but has {', '.join(sorted(names)) or 'none'}."
            )
        arrays = {name: _array(path, archive, name) for name in names}
    if arrays["X"].ndim != 2:
        raise ValueError(
            f"Array X of `{path}` must have shape (n_samples, n_features), but has "
            f"shape {arrays['X'].shape}."
        )
    return arrays


def _array(path: Path, archive: Any, name: str) -> Any:
    try:
        return archive[name]
    except (EOFError, ValueError, BadZipFile) as error:
        raise ValueError(
            f"Array {name} of `{path}` must hold numbers, but holds Python objects or "
            "is damaged. Save it once more, as array.astype(float)."
        ) from error
