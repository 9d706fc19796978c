"""Compiled circuits in JAX: functions that ``jax.jit`` compiled, with the gradients.

JAX itself traces what a quantum function does with numbers, so that it may compute with
``jax.numpy``; the circuit is the primitive of the device. This module needs JAX:
``pip install "qstore-pl[jax]"``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import pennylane as qml
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.compiled.results import builder

_ADDRESS = re.compile("0x[0-9a-f]+")
_NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
Rebuild = Callable[[Iterator[Any]], tuple[Any, Any]]


def traced(
    qnode: qml.QNode, leaves: Sequence[Any], rebuild: Rebuild
) -> Callable[..., Any]:
    """A QNode as a function of the arrays among its arguments, compiled by JAX.

    Args:
        qnode: The QNode.
        leaves: The arrays and numbers among its arguments.
        rebuild: Function from such arrays to its arguments.

    Raises:
        DeviceError: If the QNode does something else when it is called again.
    """
    name = qnode.func.__name__
    kinds = [
        jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf))
        for leaf in leaves
    ]

    def record() -> tuple[Any, Any]:
        tapes: list[devices.Recorded] = []

        def gates(*given: Any) -> list[Any]:  # a new one, which JAX has not traced
            found = devices.recorded(qnode.func, *rebuild(iter(given)))
            tapes.append(found)
            return list(found.tape.get_parameters(trainable_only=False))

        try:
            program = jax.make_jaxpr(gates)(*kinds)
        except Exception as error:
            if not _needs_a_value(error):
                raise
            raise DeviceError(
                f"{name} cannot be compiled: it needs the value of an argument, which "
                "is not known when it is traced. Give that argument to "
                "static_argnames, so that the circuit is traced again for each of its "
                "values, or call the QNode itself."
            ) from error
        if any(isinstance(value, jax.core.Tracer) for value in program.consts):
            raise DeviceError(
                f"{name} cannot be compiled: it uses a value that is being "
                "differentiated or mapped and is none of its arguments. Pass it as an "
                "argument."
            )
        return tapes[0], program

    (one, first), (other, second) = devices.twice(qnode.func, record)
    same = devices.alike(one.tape.circuit, other.tape.circuit)
    devices.check_alike(name, same and _same(first, second))
    if all(map(devices.has_groups, one.tape.measurements)) and qnode.shots:
        return jax.jit(in_shots(qnode, one, first))

    def call(*given: Any) -> Any:
        args, kwargs = rebuild(iter(given))
        with devices.aside():  # PennyLane's lock, since other threads may trace too
            return qnode(*args, **kwargs)

    return jax.jit(call)


def in_shots(
    qnode: qml.QNode, found: devices.Recorded, program: Any
) -> Callable[..., Any]:
    """A QNode with shots, as a function that JAX can trace and differentiate.

    JAX computes the numbers of the gates, and the circuit is a function of these, whose
    gradient is taken by the parameter-shift rule.

    Args:
        qnode: The QNode.
        found: What it did when JAX traced it.
        program: The numbers of its gates as a function of its leaves, as JAX knows it.
    """
    numbers = found.tape.get_parameters(trainable_only=False)
    moving = [i for i, n in enumerate(numbers) if isinstance(n, jax.core.Tracer)]
    shapes = [tuple(np.shape(numbers[i])) for i in moving]
    starts = itertools.accumulate(map(math.prod, shapes), initial=0)
    pairs = zip(starts, shapes, strict=False)
    named = [devices.symbols("weights", start, shape) for start, shape in pairs]
    tape = found.tape.bind_new_parameters(named, moving)
    executable = devices.executable(tape, qnode.device, shapes, qnode.shots)
    build = builder(found.output, partitioned=qnode.shots.has_partitioned_shots)
    circuit = _sampled(executable)

    def call(*given: Any) -> Any:
        leaves = [jax.numpy.asarray(leaf) for leaf in given]
        values = jax.core.eval_jaxpr(program.jaxpr, program.consts, *leaves)
        return build(circuit(*(values[i] for i in moving)))

    return call


@jax.tree_util.register_static
class _Wanted(tuple[int, ...]):
    """Indices of the numbers with respect to which a gradient is taken."""


def _sampled(executable: Any) -> Any:
    """A circuit with shots as a function of the numbers of its gates.

    Args:
        executable: The circuit.
    """
    estimated = (executable.packing.batch, executable.meter.n_outputs)

    def run(*numbers: Any) -> tuple[list[Any], list[Any]]:
        """The measurements, and the estimated values that they are made of."""

        def call(*given: Any) -> Any:
            made = executable.call(_arrays(given))
            return tuple(map(_own, made.values())), tuple(map(_own, made.estimates))

        kinds = list(map(_kind, executable.shapes))
        more = [_kind(estimated) for _ in executable.shots]
        found = (tuple(kinds), tuple(more))
        values, estimates = jax.pure_callback(
            call, found, *numbers, vmap_method="sequential"
        )
        return list(values), list(estimates)

    @jax.custom_vjp
    def circuit(*numbers: Any) -> list[Any]:
        return run(*numbers)[0]

    def forward(*primals: Any) -> tuple[list[Any], Any]:
        numbers = [primal.value for primal in primals]
        wanted = _Wanted(i for i, primal in enumerate(primals) if primal.perturbed)
        values, estimates = run(*numbers)
        return values, (numbers, estimates, wanted)

    def backward(kept: Any, cotangents: Any) -> tuple[Any, ...]:
        numbers, estimates, wanted = kept
        cotangents = [
            jax.numpy.zeros(dy.shape, dy.dtype)
            if isinstance(dy, jax.custom_derivatives.SymbolicZero)
            else dy
            for dy in cotangents
        ]

        def pull(given: Any, known: Any, dys: Any) -> Any:
            made = executable.call(_arrays(given), _arrays(known))
            found = made.pull(_arrays(dys), wanted)
            return [_own(found[i]) for i in wanted]

        kinds = [_kind(numbers[i].shape) for i in wanted]
        found = jax.pure_callback(
            pull, kinds, numbers, estimates, cotangents, vmap_method="sequential"
        )
        by_index = dict(zip(wanted, found, strict=True))
        return tuple(
            by_index[i].astype(n.dtype) if i in by_index else jax.numpy.zeros_like(n)
            for i, n in enumerate(numbers)
        )

    circuit.defvjp(forward, backward, symbolic_zeros=True)
    return circuit


def _kind(shape: tuple[int, ...]) -> Any:
    """The kind of an array of floats in the precision that JAX uses."""
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(np.float64))


def _own(value: Any) -> Any:
    """An array in the precision that JAX uses."""
    return np.asarray(value, dtype=jax.dtypes.canonicalize_dtype(np.float64))


def _arrays(given: Sequence[Any]) -> list[Any]:
    return [np.asarray(one, dtype=np.float64) for one in given]


def _needs_a_value(error: BaseException | None) -> bool:
    """Whether an error was raised because JAX traces a value that is needed."""
    while error is not None:
        if isinstance(error, _NEEDS_VALUES) or "Tracer" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _same(one: Any, other: Any) -> bool:
    """Whether two programs of JAX compute the same."""
    texts = [_ADDRESS.sub("", str(program)) for program in (one, other)]
    pairs = zip(one.consts, other.consts, strict=False)
    return texts[0] == texts[1] and all(np.array_equal(*pair) for pair in pairs)
