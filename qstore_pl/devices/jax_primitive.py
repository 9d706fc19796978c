"""A circuit as a function that JAX transforms by jit, vmap, grad and jvp, in any order.

There are three primitives, and each is a call of the kernels: ``run`` gives the
measurements :math:`f(w, X)`, ``push`` their derivative along tangents, and ``pull`` the
transpose of that, the vector-Jacobian product, for several cotangents at once. ``push``
and ``pull`` are linear in all but :math:`(w, X)`. With respect to these they have no
derivative, since that would be a second derivative of the circuit. ``run`` is told
whether it is ``linearized``: whether ``push`` or ``pull`` may follow with the same
values. Under ``vmap`` the new axis is merged with the batch axis, and weights that vary
along it become features. Compiled functions call the kernels directly where
:mod:`qstore_pl.engine.xla` can, and else through Python.
This module is imported only where JAX is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl._lazy import cached_property
from qstore_pl.devices.jax_calls import apply_call
from qstore_pl.devices.passes import KeptPasses
from qstore_pl.devices.pullback import SECOND_DERIVATIVE, backward, forward_values
from qstore_pl.devices.readout import PauliSumValue, Readout
from qstore_pl.engine.program import Pass, Program, untied_columns
from qstore_pl.engine.xla import Call, backward_call, forward_call

MOST_READOUT_NUMBERS = 1 << 17  # words times readouts of a call without Python

Float = NDArray[np.float64]
Array = Any  # an array or a tracer of JAX


class Measured:
    """The measurements of a circuit, as a function of numpy's weights and features.

    Args:
        program: The Program of the circuit.
        words: The Pauli words that the Program measures.
        readouts: One for each measurement.
        kept_passes: Where forward passes are kept for their backward passes.
        exact: Whether two executions with the same values have the same results.
        report: Function that is called with every forward pass, and with its states
            where these were computed.
        check: Function that raises an error for weights and features at which there is
            no derivative, or None if there is one everywhere.
        refusal: Why the circuit has no derivative at all, or None if it has one.
    """

    def __init__(
        self,
        program: Program,
        words: Sequence[Any],
        readouts: Sequence[Readout],
        kept_passes: KeptPasses,
        *,
        exact: bool,
        report: Callable[[Any, NDArray[Any] | None], None],
        check: Callable[[Float, Float], None] | None,
        refusal: str | None = None,
    ) -> None:
        self.program, self.words, self.readouts = program, tuple(words), tuple(readouts)
        self._kept_passes, self._exact, self._report = kept_passes, exact, report
        self._check, self.refusal = check, refusal
        self._needs_state = any(readout.needs_state for readout in self.readouts)

    def untied(self) -> Measured:
        """The same circuit, with weights of each sample as further features."""
        n, check = self.program.n_features, self._check

        def check_own(_: Float, own: Float) -> None:
            assert check is not None
            check(own[:, n:], own[:, :n])

        return Measured(
            self.program.untied,
            self.words,
            self.readouts,
            self._kept_passes,
            exact=self._exact,
            report=self._report,
            check=None if check is None else check_own,
            refusal=self.refusal,
        )

    def run(self, weights: Float, features: Float) -> list[NDArray[Any]]:
        """The measurements, each an array of shape ``(batch, *shape)``."""
        work = (
            self._kept_passes.take(self.program, weights, features)
            if self._exact
            else None
        )
        work = work or self._forward(weights, features)
        states = work.states() if self._needs_state else None
        results = forward_values(work, self.words, self.readouts, states)
        self._report(work, states)
        self._kept_passes.put(self.program, weights, features, work)
        return results

    def push(
        self, weights: Float, features: Float, by_weights: Any, by_features: Any
    ) -> list[Float]:
        """Derivatives of the measurements along tangents.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
            by_weights: Tangent of the weights, or None for zero.
            by_features: Tangent of the features, or None for zero.
        """
        if self._check is not None:
            self._check(weights, features)
        program = self.program.untied
        own = untied_columns(weights, features)
        tangents = np.zeros_like(own)
        n = features.shape[1]
        if by_features is not None:
            tangents[:, :n] = by_features
        if by_weights is not None:
            tangents[:, n:] = by_weights
        work = program.new_pass(len(own))
        work.forward(np.empty(0), own, np.arange(len(own)))
        results = [np.zeros((len(own), *readout.shape)) for readout in self.readouts]
        first = True
        for result in results:
            numbers = result.reshape(len(own), -1)
            for k in range(numbers.shape[1]):
                if not first:
                    work.again()
                first = False
                rows = [np.zeros_like(other) for other in results]
                rows[_index(results, result)].reshape(len(own), -1)[:, k] = 1.0
                _, gradient = backward(
                    work, self.words, self.readouts, rows, inputs=True
                )
                assert gradient is not None
                numbers[:, k] = np.sum(gradient * tangents, axis=1)
        return results

    def pull(
        self,
        weights: Float,
        features: Float,
        cotangents: Sequence[Float],
        *,
        inputs: bool,
    ) -> tuple[Float, Float | None]:
        """Several vector-Jacobian products, from one forward pass.

        Args:
            weights: Shape ``(n_weights,)``.
            features: Shape ``(batch, n_features)``.
            cotangents: One array for each measurement, shape ``(n, batch, *shape)`` for
                n products.
            inputs: Whether the gradient with respect to the features is wanted.

        Returns:
            The gradients with respect to the weights, shape ``(n, n_weights)``, and
            with respect to the features, shape ``(n, batch, n_features)`` or None.
        """
        if self._check is not None:
            self._check(weights, features)
        work = self._kept_passes.take(self.program, weights, features)
        work = work or self._forward(weights, features)
        by_weights, by_features = [], []
        for k, rows in enumerate(zip(*cotangents, strict=True)):
            if k:
                work.again()
            gw, gx = backward(work, self.words, self.readouts, rows, inputs=inputs)
            by_weights.append(gw.copy())
            if gx is not None:
                by_features.append(gx.copy())
        return np.stack(by_weights), np.stack(by_features) if inputs else None

    def run_call(self, batch: int, *, linearized: bool) -> Call | None:
        """:meth:`run` as a function that XLA calls, or None if it needs Python.

        Args:
            batch: Number of samples.
            linearized: Whether :meth:`push` or :meth:`pull` may follow.
        """
        if self._matrix is None:
            return None
        return forward_call(self.program, batch, self._matrix, linearized=linearized)

    def pull_call(
        self, batch: int, *, wanted: tuple[bool, bool], products: int
    ) -> Call | None:
        """:meth:`pull` as a function that XLA calls, or None if it needs Python.

        Args:
            batch: Number of samples.
            wanted: Whether the gradients with respect to weights and features are.
            products: Number of products.
        """
        if self._matrix is None or self._check is not None:
            return None
        return backward_call(
            self.program, batch, self._matrix, wanted=wanted, products=products
        )

    @cached_property
    def _matrix(self) -> Float | None:
        """From the words to the readouts, where these are sums of words."""
        size = len(self.words) * len(self.readouts)
        if not size or size > MOST_READOUT_NUMBERS:
            return None
        matrix = np.zeros((len(self.readouts), len(self.words)))
        columns = {word: i for i, word in enumerate(self.words)}
        for row, readout in zip(matrix, self.readouts, strict=True):
            if not isinstance(readout, PauliSumValue):
                return None
            for word, c in zip(readout.words, readout.coefficients, strict=True):
                row[columns[word]] += c
        return matrix

    def _forward(self, weights: Float, features: Float) -> Pass:
        work = self.program.new_pass(len(features))
        work.forward(weights, features, np.arange(work.batch))
        return work


def _index(items: Sequence[Any], item: Any) -> int:
    return next(i for i, other in enumerate(items) if other is item)


def apply(measured: Measured, weights: Array, features: Array) -> list[Array]:
    """The measurements of a circuit, where JAX traces its values.

    Args:
        measured: The circuit.
        weights: Shape ``(n_weights,)``, in JAX's default precision.
        features: Shape ``(batch, n_features)``, in JAX's default precision.

    Returns:
        One array of shape ``(batch, *shape)`` for each measurement.
    """
    return list(run_p.bind(weights, features, measured=measured, linearized=False))


# --- the primitives ---------------------------------------------------------------

run_p = Primitive("qstore_run")
push_p = Primitive("qstore_push")
pull_p = Primitive("qstore_pull")
for _primitive in (run_p, push_p, pull_p):
    _primitive.multiple_results = True


def _host(array: Array) -> Float:
    return np.ascontiguousarray(array, dtype=np.float64)


def _run_host(
    w: Array, x: Array, *, measured: Measured, linearized: bool
) -> list[NDArray[Any]]:
    del linearized
    return measured.run(_host(w), _host(x))


def _push_host(
    w: Array, x: Array, *tangents: Array, measured: Measured, wanted: tuple[bool, bool]
) -> list[Float]:
    along = iter(map(_host, tangents))
    by_weights, by_features = (next(along) if given else None for given in wanted)
    return measured.push(_host(w), _host(x), by_weights, by_features)


def _pull_host(
    w: Array,
    x: Array,
    *cotangents: Array,
    measured: Measured,
    wanted: tuple[bool, bool],
) -> list[Float]:
    rows = list(map(_host, cotangents))
    gradients = measured.pull(_host(w), _host(x), rows, inputs=wanted[1])
    return [
        g for g, given in zip(gradients, wanted, strict=True) if given and g is not None
    ]


def _run_call(
    w: Array, x: Array, *, measured: Measured, linearized: bool
) -> list[Array] | None:
    call = measured.run_call(len(x), linearized=linearized)
    if call is None:
        return None
    return apply_call(call, _results(measured, len(x), real=True), w, x)


def _push_call(
    w: Array, x: Array, *tangents: Array, measured: Measured, wanted: tuple[bool, bool]
) -> list[Array] | None:
    """One vector-Jacobian product for each measurement, times the tangents."""
    n, batch = len(measured.readouts), len(x)
    untied = measured.untied()
    if untied.pull_call(batch, wanted=(False, True), products=n) is None:
        return None
    along = iter(tangents)
    dw = next(along) if wanted[0] else jnp.zeros_like(w)
    dx = next(along) if wanted[1] else jnp.zeros_like(x)
    rows = jnp.repeat(jnp.eye(n, dtype=x.dtype)[:, :, None], batch, axis=2)
    (slopes,) = pull_p.bind(
        jnp.zeros(0, dtype=w.dtype),
        _own(w[None], x[None])[0],
        *rows,
        measured=untied,
        wanted=(False, True),
    )
    return list(jnp.sum(slopes * _own(dw[None], dx[None]), axis=2))


def _pull_call(
    w: Array,
    x: Array,
    *cotangents: Array,
    measured: Measured,
    wanted: tuple[bool, bool],
) -> list[Array] | None:
    n = len(cotangents[0])
    call = measured.pull_call(len(x), wanted=wanted, products=n)
    if call is None:
        return None
    shapes = _pull_abstract(w, x, *cotangents, measured=measured, wanted=wanted)
    return apply_call(call, shapes, w, x, *cotangents)


def _results(measured: Measured, batch: int, *, real: bool) -> list[Any]:
    """Shapes and types of the measurements, or of their derivatives."""
    found = []
    for readout in measured.readouts:
        shape, is_complex = readout.layout()
        kind = complex if is_complex and not real else float
        found.append(jax.core.ShapedArray((batch, *shape), jnp.result_type(kind)))
    return found


def _run_abstract(w: Any, x: Any, *, measured: Measured, linearized: bool) -> list[Any]:
    del w, linearized
    return _results(measured, x.shape[0], real=False)


def _push_abstract(
    w: Any, x: Any, *tangents: Any, measured: Measured, wanted: tuple[bool, bool]
) -> list[Any]:
    del w, tangents, wanted
    return _results(measured, x.shape[0], real=True)


def _pull_abstract(
    w: Any, x: Any, *cotangents: Any, measured: Measured, wanted: tuple[bool, bool]
) -> list[Any]:
    del measured
    n = (cotangents[0].shape[0],)
    pairs = zip((w, x), wanted, strict=True)
    return [jax.core.ShapedArray(n + v.shape, v.dtype) for v, given in pairs if given]


def _define(
    primitive: Primitive,
    host: Callable[..., Any],
    abstract: Callable[..., Any],
    direct: Callable[..., list[Array] | None],
) -> None:
    """Define how a primitive is evaluated, alone and inside compiled functions.

    Args:
        primitive: The primitive.
        host: Function of numpy arrays that evaluates it.
        abstract: Function from the shapes of its arguments to those of its results.
        direct: Function of JAX's arrays that calls the kernels without Python, or
            returns None where compiled functions must call back into Python.
    """

    def eager(*args: Array, **params: Any) -> list[Array]:
        shapes = abstract(*args, **params)
        results = host(*args, **params)
        return [
            jnp.asarray(result, dtype=shape.dtype)
            for result, shape in zip(results, shapes, strict=True)
        ]

    def staged(*args: Array, **params: Any) -> list[Array]:
        avals = [jax.core.ShapedArray(a.shape, a.dtype) for a in args]
        shapes = [
            jax.ShapeDtypeStruct(shape.shape, shape.dtype)
            for shape in abstract(*avals, **params)
        ]

        def call(*values: Array) -> list[NDArray[Any]]:
            results = host(*values, **params)
            arrays = [
                np.asarray(result, dtype=shape.dtype)
                for result, shape in zip(results, shapes, strict=True)
            ]
            return [*arrays, np.zeros(1, np.uint8)]

        # There is a second result because XLA 0.7.1 aborts the process ("invalid JSON
        # in xla.cpu.BackendConfig") where a large function only returns a callback's.
        more = jax.ShapeDtypeStruct((1,), np.uint8)
        return list(jax.pure_callback(call, [*shapes, more], *args))[:-1]

    def on_cpu(*args: Array, **params: Any) -> list[Array]:
        results = direct(*args, **params)
        return staged(*args, **params) if results is None else results

    primitive.def_impl(eager)
    primitive.def_abstract_eval(abstract)
    for platform, function in ((None, staged), ("cpu", on_cpu)):
        rule = mlir.lower_fun(function, multiple_results=True)
        mlir.register_lowering(primitive, rule, platform=platform)


_define(run_p, _run_host, _run_abstract, _run_call)
_define(push_p, _push_host, _push_abstract, _push_call)
_define(pull_p, _pull_host, _pull_abstract, _pull_call)


# --- derivatives ------------------------------------------------------------------


def _run_jvp(
    primals: Sequence[Array],
    tangents: Sequence[Array],
    *,
    measured: Measured,
    linearized: bool,
) -> tuple[list[Array], list[Array]]:
    del linearized
    if measured.refusal is not None:
        raise DeviceError(measured.refusal)
    for readout in measured.readouts:
        if not readout.differentiable:
            raise DeviceError(
                "The device gives derivatives of expectation values, variances and "
                "probabilities only. Return nothing else from the circuit."
            )
    results = run_p.bind(*primals, measured=measured, linearized=True)
    wanted = tuple(not isinstance(tangent, ad.Zero) for tangent in tangents)
    given = [t for t, wants in zip(tangents, wanted, strict=True) if wants]
    pushed = push_p.bind(*primals, *given, measured=measured, wanted=wanted)
    return results, pushed


def _linear_jvp(primitive: Primitive) -> Callable[..., Any]:
    """The derivative of push or pull, which are linear in all arguments but two."""

    def jvp(
        primals: Sequence[Array], tangents: Sequence[Array], **params: Any
    ) -> tuple[list[Array], list[Array]]:
        if not all(isinstance(tangent, ad.Zero) for tangent in tangents[:2]):
            raise DeviceError(SECOND_DERIVATIVE)
        along = [ad.instantiate_zeros(tangent) for tangent in tangents[2:]]
        results = primitive.bind(*primals, **params)
        return results, primitive.bind(*primals[:2], *along, **params)

    return jvp


def _push_transpose(
    cotangents: Sequence[Array], w: Array, x: Array, *tangents: Any, **params: Any
) -> list[Array | None]:
    del tangents
    given = [ad.instantiate_zeros(cotangent)[None] for cotangent in cotangents]
    return [None, None, *(g[0] for g in pull_p.bind(w, x, *given, **params))]


def _pull_transpose(
    cotangents: Sequence[Array], w: Array, x: Array, *linear: Any, **params: Any
) -> list[Array | None]:
    del linear
    given = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
    pushed = jax.vmap(lambda *g: push_p.bind(w, x, *g, **params))(*given)
    return [None, None, *pushed]


ad.primitive_jvps[run_p] = _run_jvp
ad.primitive_jvps[push_p] = _linear_jvp(push_p)
ad.primitive_jvps[pull_p] = _linear_jvp(pull_p)
ad.primitive_transposes[push_p] = _push_transpose
ad.primitive_transposes[pull_p] = _pull_transpose


# --- vmap -------------------------------------------------------------------------


def _first(value: Array, axis: int | None, size: int) -> Array:
    """An array with its mapped axis in front, repeated along it if it had none."""
    if axis is None:
        return jnp.broadcast_to(value, (size, *value.shape))
    return jnp.moveaxis(value, axis, 0)


def _flat(value: Array) -> Array:
    """An array with its first two axes merged."""
    return value.reshape(math.prod(value.shape[:2]), *value.shape[2:])


def _own(w: Array, x: Array) -> Array:
    """Features ``(n, batch, f)``, with the weights ``(n, w)`` as further features."""
    shape = (*x.shape[:2], w.shape[-1])
    return jnp.concatenate([x, jnp.broadcast_to(w[:, None], shape)], axis=2)


def _size(values: Sequence[Array], axes: Sequence[int | None]) -> int:
    return next(
        value.shape[axis]
        for value, axis in zip(values, axes, strict=True)
        if axis is not None
    )


def _split(
    results: Sequence[Array], size: int, batch: int
) -> tuple[list[Array], list[int]]:
    parts = [r.reshape(size, batch, *r.shape[1:]) for r in results]
    return parts, [0] * len(parts)


def _run_batch(
    values: Sequence[Array],
    axes: Sequence[int | None],
    *,
    measured: Measured,
    linearized: bool,
) -> tuple[list[Array], list[int]]:
    size = _size(values, axes)
    w, x = values
    x = _first(x, axes[1], size)
    if axes[0] is not None:
        x = _own(_first(w, axes[0], size), x)
        w, measured = jnp.zeros(0, dtype=w.dtype), measured.untied()
    results = run_p.bind(w, _flat(x), measured=measured, linearized=linearized)
    return _split(results, size, x.shape[1])


def _push_batch(
    values: Sequence[Array],
    axes: Sequence[int | None],
    *,
    measured: Measured,
    wanted: tuple[bool, bool],
) -> tuple[list[Array], list[int]]:
    size = _size(values, axes)
    w, x = _first(values[0], axes[0], size), _first(values[1], axes[1], size)
    along = [_first(v, a, size) for v, a in zip(values[2:], axes[2:], strict=True)]
    found = iter(along)
    dw = next(found) if wanted[0] else jnp.zeros_like(w)
    dx = next(found) if wanted[1] else jnp.zeros_like(x)
    pushed = push_p.bind(
        jnp.zeros(0, dtype=w.dtype),
        _flat(_own(w, x)),
        _flat(_own(dw, dx)),
        measured=measured.untied(),
        wanted=(False, True),
    )
    return _split(pushed, size, x.shape[1])


def _pull_batch(
    values: Sequence[Array],
    axes: Sequence[int | None],
    *,
    measured: Measured,
    wanted: tuple[bool, bool],
) -> tuple[list[Array], list[int]]:
    size = _size(values, axes)
    w, x = values[:2]
    # Mapped cotangents, (size, n, batch, ...).
    given = [_first(v, a, size) for v, a in zip(values[2:], axes[2:], strict=True)]
    n = given[0].shape[1]
    if axes[0] is None and axes[1] is None:  # one forward pass serves all, as in jacrev
        rows = [_flat(dy) for dy in given]
        pulled = pull_p.bind(w, x, *rows, measured=measured, wanted=wanted)
        return [g.reshape(size, n, *g.shape[1:]) for g in pulled], [0] * len(pulled)
    own = _own(_first(w, axes[0], size), _first(x, axes[1], size))
    batch, n_features = own.shape[1], x.shape[-1]
    # (n, size * batch, ...): the mapped axis joins the batch.
    rows = [
        jnp.moveaxis(dy, 1, 0).reshape(n, size * batch, *dy.shape[3:]) for dy in given
    ]
    (gradient,) = pull_p.bind(
        jnp.zeros(0, dtype=w.dtype),
        _flat(own),
        *rows,
        measured=measured.untied(),
        wanted=(False, True),
    )
    gradient = gradient.reshape(n, size, batch, own.shape[2])
    parts = (gradient[..., n_features:].sum(axis=2), gradient[..., :n_features])
    results = [part for part, given in zip(parts, wanted, strict=True) if given]
    return results, [1] * len(results)


_batchers: dict[Any, Any] = batching.primitive_batchers
_batchers |= {run_p: _run_batch, push_p: _push_batch, pull_p: _pull_batch}
