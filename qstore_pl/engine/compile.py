"""Compile kernels on first use and cache them where the cache cannot go stale.

numba's own cache misses an edit in a helper of another file, believes whatever bytes it
finds, and fails where the package directory is read-only. Here the cache lives in a
directory named by a hash of all engine sources, each file has a checksum, and processes
that start together take turns, so that only one of them compiles. Every process has the
same machine code, whether it compiled it or found it. This module knows nothing of
circuits.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import pickle
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core import codegen, compiler, registry, serialize, types
from numba.core.ccallback import CFunc

from qstore_pl._files import replace_file

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
I1 = types.Array(types.int64, 1, "C")
I1_IN = types.Array(types.int64, 1, "C", readonly=True)
T1_IN = types.Array(types.int32, 1, "C", readonly=True)
F8 = types.float64
I8 = types.int64

_SINGLE = {
    kind: types.Array(types.float32, kind.ndim, "C", readonly=not kind.mutable)
    for kind in (F1, F2, F1_IN, F2_IN)
}

Array = Any  # of a kernel's argument: numba types it by the signature

_DIGEST_SIZE = 32
_TEMPORARY, _LONG_AGO = ".tmp-kernel-", 3600.0  # seconds
_SETTINGS = (  # of numba, that change the code it makes
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "USING_SVML", "ENABLE_AVX"),
    *("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LLVM_REFPRUNE_PASS"),
)

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A process forked while a thread compiles would wait for that thread for ever.
    os.register_at_fork(
        before=_lock.acquire,
        after_in_parent=_lock.release,
        after_in_child=_lock.release,
    )


class Kernel:
    """A function that numba compiles for one signature when it is first called.

    With ``NUMBA_DISABLE_JIT=1`` it is the Python function: slow, and for debugging.

    Args:
        function: Body of the kernel. It may call functions marked by :func:`inner`.
        signature: Types of the arguments. ``*_IN`` arrays may be read-only.
        states: Places of the arguments that hold states, which may be in single
            precision.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: tuple[Any, ...],
        states: tuple[int, ...] = (),
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.signature = signature
        self._states = states
        self._double: Kernel | None = None  # where this one is its twin
        self._single: Kernel | None = None
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *args: Any) -> Any:
        """Run the kernel, compiled at the first call."""
        return self.compiled(*args)

    @property
    def compiled(self) -> Callable[..., Any]:
        """The compiled function: keep it where a call per microsecond matters."""
        with _lock:
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled

    @property
    def single(self) -> Kernel:
        """The same kernel for states in single precision."""
        with _lock:
            if self._single is None:
                signature = list(self.signature)
                for place in self._states:
                    signature[place] = _SINGLE[signature[place]]
                self._single = Kernel(self.function, tuple(signature))
                self._single._double = self
            return self._single

    def _compile(self) -> Callable[..., Any]:
        if numba.config.DISABLE_JIT:
            return self.function
        dispatcher: Any = numba.njit(pipeline_class=_Compiler, **FLAGS)(self.function)
        _compile_once(self, dispatcher, lambda: dispatcher.compile(self.signature))
        # From here on other argument types are an error, not another compilation.
        dispatcher.disable_compile()
        return dispatcher

    @property
    def symbol(self) -> str:
        """The name by which a :class:`Foreign` function calls this kernel."""
        return f"qstore_pl_{self.function.__qualname__}"

    def export(self) -> None:
        """Compile the kernel, and make its machine code known by its symbol."""
        compiled: Any = self.compiled
        (result,) = compiled.overloads.values()
        name = result.fndesc.llvm_func_name
        llvm.add_symbol(self.symbol, result.library.get_pointer_to_function(name))

    def __reduce__(self) -> Any:
        if self._double is not None:
            return _single_of, (self._double,)
        return self.function.__qualname__


def _single_of(kernel: Kernel) -> Kernel:
    return kernel.single


class Foreign:
    """A function that code other than Python calls by its address.

    In C it is ``int64_t f(int64_t)``. It is compiled when its address is first asked
    for, and exists as long as the process, as it is kept by a module.

    Args:
        function: Body of the function, which must raise no error.
        kernels: The kernels that it calls by their symbols.
    """

    signature = (I8,)

    def __init__(
        self, function: Callable[[int], int], kernels: Sequence[Kernel]
    ) -> None:
        self.function, self._kernels = function, tuple(kernels)
        self._compiled: Any = None

    @property
    def address(self) -> int:
        """Where the machine code is."""
        with _lock:
            if self._compiled is None:
                for each in self._kernels:
                    each.export()
                self._compiled = self._compile()
            return self._compiled.address

    def _compile(self) -> Any:
        made = CFunc(self.function, (self.signature, I8), {}, FLAGS, _Compiler)
        _compile_once(self, made, made.compile)
        return made


def _compile_once(
    source: Kernel | Foreign, compiler: Any, run: Callable[[], Any]
) -> None:
    """Compile a function, or load it from its file, where numba looks first.

    Args:
        source: The function.
        compiler: numba's object for it, which has a cache.
        run: Function that compiles it.
    """
    name, directory = source.function.__name__, cache_directory()
    if directory is None:
        log.info("compiling %s (no writable cache directory)", name)
        run()
        return
    compiler._cache = kept = _KernelFile(directory, source)
    # Compiling looks for the file first: a process that waited loads it.
    with contextlib.nullcontext() if kept.exists() else _turn(directory):
        run()


def kernel(
    *signature: Any, states: tuple[int, ...] = ()
) -> Callable[[Callable[..., Any]], Kernel]:
    """Decorate a kernel that Python calls.

    Args:
        signature: The types of its arguments.
        states: As for :class:`Kernel`.
    """
    return lambda function: Kernel(function, signature, states)


def inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a function that only kernels call; in Python it stays a plain function."""
    return numba.extending.register_jitable(**FLAGS)(function)


# --- the machine code -------------------------------------------------------------


class _Library(codegen.JITCodeLibrary):
    """The machine code of a kernel, which calls no code of another one.

    numba gives a kernel copies of the functions it calls, as weak symbols. When such
    code is loaded, a weak symbol is bound to a function of that name that the process
    has already, compiled apart and rounded otherwise: the process that compiles would
    not have the bits of those that load. Here the copies are the kernel's own.
    """

    def _finalize_final_module(self) -> None:
        for function in self._final_module.functions:
            if function.linkage == llvm.Linkage.linkonce_odr:
                function.linkage = llvm.Linkage.internal
        super()._finalize_final_module()


class _Compiler(compiler.CompilerBase):
    """numba's compiler, into such a library."""

    def define_pipelines(self) -> list[Any]:
        state = self.state
        library = _Library(state.targetctx.codegen(), state.func_id.func_qualname)
        library.enable_object_caching()  # so that it can be kept
        state.library = library
        return [compiler.DefaultPassBuilder.define_nopython_pipeline(state)]


# --- the cache --------------------------------------------------------------------


@functools.cache
def source_hash() -> str:
    """Hash of every engine source file."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_directory() -> Path | None:
    """Where compiled kernels are kept.

    It is in the first directory that can be written: ``QSTORE_CACHE_DIR``, the user's
    cache directory or a temporary one.

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


class _KernelFile:
    """The file of a compiled kernel, with the methods numba asks of a cache.

    The file has the SHA-256 of a key and the contents, and then the contents: what
    numba pickles of a compiled function. The key is all that machine code depends on
    besides the engine's sources, so that the file of another kernel, processor or
    version of numba is as foreign as one that was damaged.

    Args:
        directory: The cache directory of these sources.
        kernel: The kernel that is kept in the file.
    """

    def __init__(self, directory: Path, kernel: Kernel | Foreign) -> None:
        function, target = kernel.function, registry.cpu_target.target_context
        key = (
            (function.__module__, function.__qualname__, function.__code__.co_code),
            (function.__code__.co_firstlineno, kernel.signature),
            (numba.__version__, llvm.llvm_version_info, sys.version_info),
            target.codegen().magic_tuple(),  # of the processor
            [getattr(numba.config, name) for name in _SETTINGS],
        )
        self._key = repr(key).encode()
        self._name = function.__name__
        digest = hashlib.sha256(self._key).hexdigest()
        self.path = directory / f"{self._name}-{digest[:16]}.kernel"

    def exists(self) -> bool:
        """Whether there is such a file, sound or not."""
        return self.path.exists()

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function, or None if it must be compiled."""
        del signature
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("A compiled kernel cannot be read (%s): compiled again.", error)
            return None
        digest, contents = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
        if digest != self._digest(contents):
            log.warning("%s is damaged or foreign: compiled again.", self.path)
            return None
        target.refresh()  # else the functions of numba's runtime are unknown
        return compiler.CompileResult._rebuild(target, *pickle.loads(contents))

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep a compiled function; a failure is logged, and is no error."""
        del signature
        contents = serialize.dumps(result._reduce())
        try:
            self._tidy()
            data = self._digest(contents) + contents
            replace_file(self.path, data, prefix=_TEMPORARY)
        except OSError as error:
            log.warning("compiled %s, which cannot be kept: %s", self._name, error)
        else:
            log.info("compiled %s once, kept in %s", self._name, self.path.parent)

    def _digest(self, contents: bytes) -> bytes:
        return hashlib.sha256(self._key + contents).digest()

    def _tidy(self) -> None:
        """Make the directory, and remove what killed processes left there."""
        directory = self.path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.glob(f"{_TEMPORARY}*"):
            if time.time() - path.stat().st_mtime > _LONG_AGO:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """A context in which no other process compiles, where files can be locked."""
    try:
        import fcntl
    except ImportError:  # Windows: two processes may compile the same kernel
        yield
        return
    with contextlib.ExitStack() as stack:
        # The directory may have been removed since. A full disk or a file system
        # without locks is no reason not to compile.
        with contextlib.suppress(OSError):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = stack.enter_context((directory / "lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
