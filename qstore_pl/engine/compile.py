"""Compile kernels on first use and cache them where the cache cannot go stale.

numba's own cache misses an edit in a helper of another file and fails where the
package directory is read-only. Here the cache lives in a directory named by a hash of
all engine sources, and processes that start together take turns, so that only one of
them compiles. This module knows nothing of circuits.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import caching, types

log = logging.getLogger("qstore_pl")

# `nnan` and `ninf` stay out: with them isnan() becomes False.
FLAGS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp", "afn"},
    "error_model": "numpy",
    "boundscheck": False,
    "nogil": True,
}

F1 = types.Array(types.float64, 1, "C")
F2 = types.Array(types.float64, 2, "C")
F1_IN = types.Array(types.float64, 1, "C", readonly=True)
F2_IN = types.Array(types.float64, 2, "C", readonly=True)
I1_IN = types.Array(types.int64, 1, "C", readonly=True)
T1_IN = types.Array(types.int32, 1, "C", readonly=True)
F8 = types.float64
I8 = types.int64

Array = Any  # of a kernel's argument: numba types it by the signature

_lock = threading.RLock()


class Kernel:
    """A function that numba compiles for one signature when it is first called.

    Args:
        function: Body of the kernel. It may call functions marked by :func:`inner`.
        signature: Types of the arguments. ``*_IN`` arrays may be read-only.
    """

    def __init__(
        self, function: Callable[..., Any], signature: tuple[Any, ...]
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.signature = signature

    def __call__(self, *args: Any) -> Any:
        """Run the kernel, compiled at the first call."""
        return self.compiled(*args)

    @property
    def compiled(self) -> Callable[..., Any]:
        """The compiled function: keep it where a call per microsecond matters."""
        with _lock:
            compiled = self.__dict__.get("_compiled")
            if compiled is None:
                compiled = self.__dict__["_compiled"] = self._compile()
        return compiled

    def _compile(self) -> Callable[..., Any]:
        dispatcher: Any = numba.njit(**FLAGS)(self.function)
        name, directory = self.function.__name__, cache_directory()
        if directory is None:
            log.info("compiling %s (no writable cache directory)", name)
            dispatcher.compile(self.signature)
        else:
            dispatcher._cache = _Cache(self.function)
            with _one_process_at_a_time(directory):
                # Compiling looks into the cache first: whoever waited here only loads.
                dispatcher.compile(self.signature)
            if dispatcher.stats.cache_misses:
                log.info("compiled %s once, kept in %s", name, directory)
        # From here on other argument types are an error, not another compilation.
        dispatcher.disable_compile()
        return dispatcher

    def __reduce__(self) -> str:
        return self.function.__qualname__


def kernel(*signature: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorate a kernel that Python calls, with the types of its arguments."""
    return lambda function: Kernel(function, signature)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that only kernels call; in Python it stays a plain function."""
    return numba.extending.register_jitable(**FLAGS)(function)


@functools.cache
def source_hash() -> str:
    """Hash of every engine source file."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_directory() -> Path | None:
    """The first that can be written: ``QSTORE_CACHE_DIR``, the user's, a temporary one.

    Returns:
        A directory for this version of the sources, or None if none can be written.
    """
    candidates = []
    if named := os.environ.get("QSTORE_CACHE_DIR"):
        candidates.append(Path(named))
    cache_home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with contextlib.suppress(RuntimeError):  # no home directory
        candidates.append(Path(cache_home).expanduser() / "qstore_pl")
    with contextlib.suppress(FileNotFoundError):  # no temporary directory
        owner = os.getuid() if os.name == "posix" else os.getlogin()
        candidates.append(Path(tempfile.gettempdir()) / f"qstore_pl-{owner}")
    for candidate in candidates:
        directory = candidate / source_hash()
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A cache holds machine code: never load one that somebody else owns.
            owners = {candidate.stat().st_uid, directory.stat().st_uid}
            if os.name == "posix" and owners != {os.getuid()}:
                continue
            tempfile.TemporaryFile(dir=directory).close()
            return directory
    return None


class _Place:
    """Where one kernel is kept: what numba asks of a cache locator."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get_cache_path(self) -> str:
        return str(self.directory)

    def get_source_stamp(self) -> str:
        return source_hash()

    def ensure_cache_path(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)


class _Implementation(caching.CompileResultCacheImpl):
    def __init__(self, function: Callable[..., Any]) -> None:
        # Not the base's: it would look for a place beside the source file.
        directory = cache_directory()
        assert directory is not None
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Place(directory)
        version = "py{}{}".format(*sys.version_info[:2])
        self._filename_base = f"{function.__qualname__}-{self._lineno}.{version}"


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation


@contextlib.contextmanager
def _one_process_at_a_time(directory: Path) -> Iterator[None]:
    """Hold a lock file in ``directory``; where locks do not exist, do without."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes may compile the same kernel
        yield
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may be tidied away
    with (directory / "lock").open("w") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
