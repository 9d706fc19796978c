"""The directory of a training run: its checkpoints, and a lock while it is written."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from qstore_pl import checkpoint
from qstore_pl.errors import CheckpointError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK, BEST = "run.lock", "best.qstore"
_NAME = re.compile(r"epoch(\d{6})-step(\d{6})\.qstore")

_log = logging.getLogger(__name__)


class RunDirectory:
    """A context manager that locks the directory of a run for this process.

    Args:
        path: The directory; it is created if it does not exist.
        keep: Number of latest checkpoints that are kept, >= 1.
        continues: Whether the run continues from a checkpoint in this directory.
            Otherwise the directory must not have any, unless ``overwrite`` is True.
        overwrite: Whether checkpoints of another run are replaced: they are removed
            once the first new checkpoint is written.

    Raises:
        CheckpointError: If the directory cannot be written, another process writes
            there, or it has checkpoints of another run.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep: int,
        continues: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path, self._keep = Path(path), keep
        self._continues, self._overwrite = continues, overwrite
        self._replaced: list[Path] = []
        self._lock: IO[str] | None = None

    def __enter__(self) -> RunDirectory:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock, held = _locked(self.path / LOCK)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"Checkpoints cannot be written to `{self.path}`: {error}. Nothing was "
                "trained; choose another checkpoint_directory."
            ) from error
        if not held:
            self._lock.seek(0)
            holder = self._lock.read()
            self._lock.close()
            raise CheckpointError(
                f"Checkpoints cannot be written to `{self.path}`: process {holder} "
                "trains there. Wait for it, or choose another checkpoint_directory."
            )
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()
        for stale in self.path.glob(".tmp-checkpoint-*"):
            stale.unlink(missing_ok=True)
        if not self._continues:
            self._replaced = files_in(self.path)
            if self._replaced and not self._overwrite:
                self._release()
                raise CheckpointError(
                    f"The directory `{self.path}` has checkpoints of another run, "
                    f"{len(self._replaced)} in all, such as "
                    f"`{self._replaced[-1].name}`. Pass "
                    'resume="auto" to go on from there, overwrite=True to replace them '
                    "(`qstore train` has --resume and --overwrite), or choose another "
                    "checkpoint_directory."
                )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()

    def _release(self) -> None:
        assert self._lock is not None
        # If the directory has become read-only the file stays, which does no harm.
        with contextlib.suppress(OSError):
            (self.path / LOCK).unlink(missing_ok=True)
        self._lock.close()

    def save(self, epoch: int, step: int, tree: dict[str, Any]) -> Path:
        """Write a checkpoint, then remove old ones."""
        path = self.path / f"epoch{epoch:06d}-step{step:06d}.qstore"
        checkpoint.save(path, tree)
        if self._replaced:
            for old in {*self._replaced} - {path, self.path / BEST}:
                old.unlink(missing_ok=True)
            self._replaced = []
        for old in checkpoints_in(self.path)[: -self._keep]:
            old.unlink(missing_ok=True)
        return path

    def save_best(self, tree: dict[str, Any]) -> Path:
        """Write the checkpoint of the best epoch."""
        path = self.path / BEST
        checkpoint.save(path, tree)
        return path


def checkpoints_in(directory: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints in a directory, oldest first, without that of the best epoch.

    They are sorted by the time of the file, not by epoch: a new run in the same
    directory may have finished fewer epochs than the one before.
    """
    found = [path for path in Path(directory).iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def files_in(directory: str | os.PathLike[str]) -> list[Path]:
    """The checkpoint of the best epoch, if there is one, then the others by age."""
    best = Path(directory) / BEST
    return [*([best] if best.exists() else []), *checkpoints_in(directory)]


def latest_in(directory: str | os.PathLike[str]) -> tuple[Path, Any]:
    """The latest checkpoint that can be read, and its contents.

    A damaged one is skipped, with a warning in the log. If none of the latest can be
    read, that of the best epoch is tried.

    Raises:
        CheckpointError: If no checkpoint can be read.
    """
    folder = Path(directory)
    found = files_in(folder) if folder.is_dir() else []
    for path in reversed(found):
        try:
            return path, checkpoint.load(path)
        except CheckpointError as error:
            _log.warning("%s Going back to the one before.", error)
    raise CheckpointError(
        f"There is no checkpoint in `{directory}` to resume from"
        f"{' that can be read' if found else ''}."
    )


def _locked(path: Path) -> tuple[IO[str], bool]:
    """The open lock file, and whether this process holds the lock.

    The previous holder may remove the file after it was opened here. The lock on the
    removed file is then worthless, and the file that other processes see is opened.
    """
    while True:
        file = path.open("a+", encoding="utf-8")
        held = _hold(file)
        try:
            if not held or os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file, held
        except FileNotFoundError:
            pass
        file.close()


def _hold(file: IO[str]) -> bool:
    """Lock a file until it is closed; return False if another process has it."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
