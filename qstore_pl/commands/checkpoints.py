"""``qstore checkpoints``: look at checkpoints of training runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from qstore_pl._tables import aligned
from qstore_pl.commands.printing import add_command, show

NOT_OF_A_RUN = "not of a training run"
HEAD = ("checkpoint", "bytes", "epoch", "batch", "last loss", "state")


def add(commands: Any) -> None:
    """Add the commands to the command line."""
    parser = add_command(commands, "checkpoints", "look at checkpoints", json=False)
    what = parser.add_subparsers(dest="what", required=True)
    for name, description, run in (
        ("ls", "print one line for each checkpoint in a directory", _ls),
        ("show", "print what a checkpoint, or the latest in a directory, holds", _show),
        (
            "verify",
            "read a checkpoint, or all in a directory; fail if one is damaged",
            _verify,
        ),
    ):
        one = add_command(what, name, description)
        one.add_argument("path", type=Path)
        one.set_defaults(run=run)


def _ls(options: argparse.Namespace) -> int:
    """Print one line for each checkpoint in a directory, oldest first."""
    from qstore_pl.trainer.run_directory import BEST, checkpoints_in

    best = options.path / BEST
    paths = [*checkpoints_in(options.path), *([best] if best.exists() else [])]
    found = [_summary(path) for path in paths]
    document = {"directory": str(options.path), "checkpoints": found}
    rows = [HEAD, *map(_row, found)]
    show(options, document, aligned(rows, right=range(1, len(HEAD) - 1)))
    return 0


def _show(options: argparse.Namespace) -> int:
    """Print what a checkpoint, or the latest one in a directory, holds."""
    from qstore_pl import checkpoint

    path = latest_of(options.path)
    tree = checkpoint.load(path)
    if not _is_run(tree):
        names = list(tree) if isinstance(tree, dict) else [type(tree).__name__]
        document = {"path": str(path), "of_a_run": False, "entries": names}
        show(options, document, [f"{path}: {NOT_OF_A_RUN}; {', '.join(names)}"])
        return 0
    summary = _summary(path, tree)
    document = {
        "path": str(path),
        "of_a_run": True,
        **{key: summary[key] for key in ("epoch", "batch", "last_loss")},
        "config": tree["config"],
        "environment": tree["environment"],
        "model": tree["model"]["model"],
    }
    lines = [f"{path}: {_in_words(summary)}"]
    for title in ("config", "environment"):
        lines.append(title)
        lines += [f"  {name} = {value}" for name, value in tree[title].items()]
    show(options, document, [*lines, f"model\n  {tree['model']['model']}"])
    return 0


def _verify(options: argparse.Namespace) -> int:
    """Read a checkpoint, or all in a directory, and print which are damaged."""
    from qstore_pl import checkpoint
    from qstore_pl._progress import bar
    from qstore_pl.errors import CheckpointError

    paths, found = _checkpoints(options.path), []
    with bar(len(paths), "file") as shown:
        for one in paths:
            damage = None
            try:
                checkpoint.load(one)
            except CheckpointError as error:
                damage = str(error)
            found.append({"name": one.name, "damage": damage})
            if shown is not None:
                shown.update()
    lines = [
        f"ok       {one['name']}"
        if one["damage"] is None
        else f"damaged  {one['name']}: {one['damage']}"
        for one in found
    ]
    show(options, {"checkpoints": found}, lines)
    return int(any(one["damage"] is not None for one in found))


def latest_of(path: Path) -> Path:
    """A file itself, or the latest checkpoint in a directory, or else its best one.

    Raises:
        CheckpointError: If the directory has no checkpoints.
    """
    from qstore_pl.trainer.run_directory import BEST

    found = _checkpoints(path)
    return ([one for one in found if one.name != BEST] or found)[-1]


def _checkpoints(path: Path) -> list[Path]:
    """The file itself, or the checkpoints in a directory: by age, then the best one.

    Raises:
        CheckpointError: If the directory has no checkpoints.
    """
    from qstore_pl.errors import CheckpointError
    from qstore_pl.trainer.run_directory import BEST, checkpoints_in

    if not path.is_dir():
        return [path]
    found = [*checkpoints_in(path), *path.glob(BEST)]
    if not found:
        raise CheckpointError(
            f"There are no checkpoints in `{path}`. Give the checkpoint_directory of a "
            "training run, or a file."
        )
    return found


def _is_run(tree: Any) -> bool:
    from qstore_pl.trainer.resume import RUN_KEYS

    return isinstance(tree, dict) and tree.keys() >= RUN_KEYS


def _summary(path: Path, tree: Any = None) -> dict[str, Any]:
    """What is told of a checkpoint in a line.

    Args:
        path: The file.
        tree: What it holds; None reads it.
    """
    from qstore_pl import checkpoint
    from qstore_pl.errors import CheckpointError
    from qstore_pl.trainer.state import history_of

    found: dict[str, Any] = {
        **{"name": path.name, "bytes": path.stat().st_size},
        **{"epoch": None, "batch": None, "last_loss": None, "state": "ok"},
    }
    try:
        tree = checkpoint.load(path) if tree is None else tree
    except CheckpointError as error:
        return found | {"state": f"damaged: {error}"}
    if not _is_run(tree):
        return found | {"state": NOT_OF_A_RUN}
    run = tree["run"]
    losses = history_of(run["history"])["losses"]
    last = losses[-1] if losses else None
    return found | {"epoch": run["epoch"], "batch": run["step"], "last_loss": last}


def _row(found: dict[str, Any]) -> tuple[str, ...]:
    epoch, batch, loss = (found[key] for key in ("epoch", "batch", "last_loss"))
    return (
        found["name"],
        f"{found['bytes']:,}",
        "-" if epoch is None else str(epoch),
        "-" if batch is None else str(batch),
        "-" if loss is None else f"{loss:.6g}",
        found["state"],
    )


def _in_words(found: dict[str, Any]) -> str:
    loss = found["last_loss"]
    said = "no epoch finished" if loss is None else f"last loss {loss:.6g}"
    return f"epoch {found['epoch']}, batch {found['batch']}, {said}"
