"""``compile``: a QNode that is traced once, and then runs on arrays alone.

Its quantum function is called with symbols in the place of arrays, which tells how the
parameter of every gate depends on the arguments. The Program that this gives is kept,
and called from then on. This module knows arguments, traces and results; how a function
is traced is in :mod:`devices`, what is kept of it in :mod:`traces`.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, TypeAlias

import pennylane as qml

from qstore_pl import devices
from qstore_pl.compiled.arguments import (
    JAX,
    described,
    emptied,
    filled,
    fixed,
    road_of,
)
from qstore_pl.compiled.traces import Trace, traced_by_jax, traced_by_symbols

MAX_TRACES = 128  # the least recently used is forgotten
INEXACT_METHODS = ("finite-diff", "spsa")
Key: TypeAlias = Hashable


def compile(qnode: qml.QNode, *, static_argnames: str | Sequence[str] = ()) -> Compiled:
    """A QNode that is traced once, and from then on runs in compiled kernels.

    It is called as the QNode is called, and returns what the QNode returns. In its
    first call the QNode's Python runs with symbols in the place of arrays. This shows
    which gates there are, and how their parameters depend on the arguments. Later calls
    run a compiled kernel, and no Python of the QNode.

    Numbers and arrays of floating point are traced, also inside lists, tuples and
    dictionaries, and have gradients in autograd, PyTorch and JAX: exact ones, or with
    shots those of the parameter-shift rule. For arrays of another shape the QNode is
    traced again. Anything else, such as an integer or a string, is static: the QNode is
    traced again for another value. Where the QNode broadcasts over the samples of a
    batch, they run in one call.

    Whatever the QNode reads besides its arguments, such as a variable outside of it, is
    as it was when the QNode was traced, until :meth:`Compiled.retrace` is called.

    Args:
        qnode: A QNode on ``qstore.mock_ideal`` or ``qstore.mock_noisy``, without
            transforms.
        static_argnames: Names of arguments that are static though they are of floating
            point, so that the QNode may look at their values, as ``if x > 0`` does; it
            is traced again for each value, as in ``jax.jit``.

    Raises:
        TypeError: If it is no QNode.
        ValueError: If it is on another device, or has transforms or a gradient method
            that is not exact.

    Example:
        >>> import pennylane as qml
        >>> from pennylane import numpy as np
        >>> @compile
        ... @qml.qnode(qml.device("qstore.mock_ideal", wires=2))
        ... def circuit(x, w):
        ...     qml.AngleEmbedding(np.pi * x, wires=[0, 1])
        ...     qml.CRY(w, wires=[0, 1])
        ...     return qml.expval(qml.Z(1))
        >>> x = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], requires_grad=False)
        >>> circuit(x, 0.7).shape
        (3,)
        >>> cost = lambda w: np.mean(circuit(x, w))
        >>> float(qml.grad(cost)(np.array(0.7, requires_grad=True))).__round__(6)
        0.015251
    """
    return Compiled(qnode, static_argnames=static_argnames)


class Compiled:
    """A QNode that was compiled: see :func:`compile`.

    Args:
        qnode: The QNode.
        static_argnames: Names of arguments that are not traced.
    """

    def __init__(
        self, qnode: qml.QNode, *, static_argnames: str | Sequence[str] = ()
    ) -> None:
        self._qnode = _checked(qnode)
        names = (
            (static_argnames,)
            if isinstance(static_argnames, str)
            else tuple(static_argnames)
        )
        self._static = frozenset(names)
        functools.update_wrapper(self, qnode, updated=())
        if names:
            self._signature = inspect.signature(qnode.func)
            unknown = self._static - set(self._signature.parameters)
            if unknown:
                raise ValueError(
                    "Argument `static_argnames` must name arguments of the QNode, "
                    f"{list(self._signature.parameters)}, but has {sorted(unknown)}."
                )
        self._traces: OrderedDict[Key, Trace] = OrderedDict()
        self._last: Trace | None = None
        self._lock = threading.RLock()
        self._count = 0

    @property
    def qnode(self) -> qml.QNode:
        """The QNode itself, to be drawn, transformed, or called without kernels."""
        return self._qnode

    @property
    def retrace_count(self) -> int:
        """How often the QNode was traced, without the first time."""
        return max(0, self._count - 1)

    @property
    def program(self) -> devices.Program | None:
        """The Program of the last call: a function of two arrays, weights and features.

        It is None before the first call, and after a call with arrays of JAX, which
        keeps a program of its own.
        """
        return None if self._last is None else self._last.program

    def retrace(self) -> None:
        """Forget all traces, so that the next call traces the QNode again.

        This is needed after a change of something that the QNode reads and that is not
        among its arguments.
        """
        with self._lock:
            self._traces.clear()
            self._last = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The results of the QNode."""
        leaves: list[Any] = []
        key = self._key(args, kwargs, leaves)
        trace = self._traces.get(key)
        if trace is None or trace is not self._last:
            trace = self._found(key, leaves, args, kwargs)
        return trace(leaves, road_of(leaves))

    def _key(self, args: Any, kwargs: Any, leaves: list[Any]) -> Key:
        """What a trace is kept under; the leaves of the arguments are collected."""
        if self._static:
            bound = self._signature.bind(*args, **kwargs)
            return tuple(
                (name, fixed(v) if name in self._static else described(v, leaves))
                for name, v in bound.arguments.items()
            )
        key: Key = tuple([described(value, leaves) for value in args])
        if not kwargs:
            return key
        return key, *((k, described(kwargs[k], leaves)) for k in sorted(kwargs))

    def _found(self, key: Key, leaves: Sequence[Any], args: Any, kwargs: Any) -> Trace:
        """The trace of a call that is not like the last one."""
        # PennyLane's lock comes first: it is held where a QNode calls this circuit.
        with devices.aside(), self._lock:
            trace = self._traces.get(key)
            if trace is None:
                trace = self._traced(leaves, args, kwargs)
                self._traces[key] = trace
                self._count += 1
                if len(self._traces) > MAX_TRACES:
                    self._traces.popitem(last=False)
            self._traces.move_to_end(key)
            self._last = trace
            return trace

    def _traced(self, leaves: Sequence[Any], args: Any, kwargs: Any) -> Trace:
        if self._static:
            bound = self._signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                keep = copy.deepcopy if name in self._static else emptied
                bound.arguments[name] = keep(value)  # arrays may change in place later
            args, kwargs = bound.args, bound.kwargs
        else:
            args = tuple(map(emptied, args))
            kwargs = {name: emptied(kwargs[name]) for name in sorted(kwargs)}

        def rebuild(given: Iterator[Any]) -> tuple[Any, Any]:
            return filled(args, given), filled(kwargs, given)

        make = traced_by_jax if road_of(leaves) == JAX else traced_by_symbols
        return make(self._qnode, leaves, rebuild)

    # --- copies -------------------------------------------------------------------

    def __reduce__(self) -> str | tuple[Any, ...]:
        home = sys.modules.get(self.__module__)
        found: Any = home
        for name in self.__dict__["__qualname__"].split("."):
            found = getattr(found, name, None)
        if found is self:  # a decorated function, found by its name
            return self.__dict__["__qualname__"]
        return _again, (self._qnode, tuple(sorted(self._static)))

    def __repr__(self) -> str:
        return f"<compiled {self._qnode!r}>"


def _again(qnode: qml.QNode, static_argnames: tuple[str, ...]) -> Compiled:
    return Compiled(qnode, static_argnames=static_argnames)


def plain_qnode(qnode: Any) -> qml.QNode:
    """A QNode without transforms.

    Args:
        qnode: What should be one.

    Raises:
        TypeError: If it is no QNode.
        ValueError: If it has transforms.
    """
    if not isinstance(qnode, qml.QNode):
        raise TypeError(
            f"Argument `qnode` must be a QNode, but is of type {type(qnode).__name__}. "
            "Make one with @qml.qnode(device)."
        )
    if len(qnode.compile_pipeline):
        names = ", ".join(str(transform) for transform in qnode.compile_pipeline)
        raise ValueError(
            f"Argument `qnode` must have no transforms, but has {names}. Apply them to "
            "the quantum function, before the QNode is made."
        )
    return qnode


def _checked(qnode: Any) -> qml.QNode:
    """The QNode, if it can be compiled.

    Raises:
        TypeError: If it is no QNode.
        ValueError: If its device, its transforms or its gradient method do not fit.
    """
    qnode = plain_qnode(qnode)
    if not devices.is_ours(qnode.device):
        raise ValueError(
            "Argument `qnode` must be on a qstore device, but is on "
            f"{qnode.device.name}. Make it with "
            'qml.device("qstore.mock_ideal", wires=...).'
        )
    if callable(qnode.diff_method) or qnode.diff_method in INEXACT_METHODS:
        raise ValueError(
            "Argument `qnode` must have an exact gradient, as with "
            f'diff_method="best", but has diff_method={qnode.diff_method!r}, which '
            "would not be used."
        )
    return qnode
