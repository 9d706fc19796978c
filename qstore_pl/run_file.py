"""Reads files of ``qstore train`` and ``qstore cost``: TOML, and npz archives."""

from __future__ import annotations

import difflib
import inspect
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import BadZipFile, is_zipfile

import numpy as np

if TYPE_CHECKING:
    from qstore_pl.config import TrainingConfig
    from qstore_pl.model import QuantumModel

FROM_CSV = (
    "import numpy as np; t = np.loadtxt('data.csv', delimiter=',', skiprows=1); "
    "np.savez('data.npz', X=t[:, :-1], y=t[:, -1].astype(int))"
)


class RunFile(NamedTuple):
    """What a file says of a run.

    Attributes:
        config: Settings of the run.
        model: The model with its first weights.
        data: The training data, ``(X, y)``.
        val_data: The validation data, or None.
    """

    config: TrainingConfig
    model: QuantumModel
    data: tuple[Any, Any]
    val_data: tuple[Any, Any] | None


def run_of(path: Path) -> RunFile:
    """The run that a TOML file describes; its paths are relative to the file.

    Raises:
        ValueError: If the file or its data are not of the right form.
        TypeError: If a table or the path is of the wrong kind.
    """
    from qstore_pl import QuantumModel, TrainingConfig

    content = tables_of(path)
    arrays = arrays_of(path.parent / content["data"]["path"])
    X = arrays["X"]
    config = TrainingConfig(**content["training"])
    for name in ("checkpoint_directory", "store_directory"):
        directory = getattr(config, name)
        if directory is not None:
            setattr(config, name, path.parent / directory)
    # The seed of the run is also that of the first weights, unless the model has one.
    model = QuantumModel(X.shape[1], **{"seed": config.seed} | content["model"])
    held_out = (arrays["X_val"], arrays["y_val"]) if "X_val" in arrays else None
    return RunFile(config, model, (X, arrays["y"]), held_out)


def tables_of(path: Path) -> dict[str, Any]:
    """The three tables of a TOML file, data, model and training, whose keys are known.

    Raises:
        ValueError: If the file is not TOML, or a table or a key is missing or unknown.
        TypeError: If a table or the path is of the wrong kind.
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
    try:  # Windows editors may write a byte order mark first
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"`{path}` is not TOML in UTF-8: {error}") from error
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
    """The end of a sentence that says why a table may not have a key."""
    if places := [name for name, keys in known.items() if key in keys]:
        return f"must not have `{key}`, which belongs in [{places[0]}]."
    close = difflib.get_close_matches(key, known[table], n=1)
    meant = f"Did you mean `{close[0]}`? " if close else ""
    listed = ", ".join(known[table])
    return f"must not have `{key}`. {meant}It may have {listed}."


def arrays_of(path: Path) -> dict[str, Any]:
    """The arrays X and y of an npz archive, and X_val and y_val if it has them.

    Raises:
        ValueError: If the file is no npz archive, or has other arrays.
    """
    with path.open("rb") as file:
        if not is_zipfile(file):
            raise ValueError(
                f"`{path}` is not a whole npz archive, as it should be, with arrays X "
                "and y. From a CSV file whose last column is the label, numpy makes "
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
            f"Array {name} of `{path}` is damaged, or holds Python objects instead of "
            "numbers. Save it once more, as array.astype(float)."
        ) from error
