"""Every transform of JAX over every kind of circuit gives default.qubit's numbers.

A form is a transform, or several, on a circuit. What default.qubit gives is compiled
once for each circuit; the devices must give it eagerly and under jax.jit.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

ATOL = 1e-8
WIRES = range(2)
ENSEMBLE = (0, None)  # of weights, on the same data
BATCH = (None, 0)  # of data, for the same weights
DEVICES = {
    "ideal": functools.partial(qml.device, "qstore.mock_ideal", wires=3),
    "noiseless": functools.partial(
        qml.device, "qstore.mock_noisy", wires=3, noise=None
    ),
}

_rng = np.random.default_rng(11)
DATA = {
    "w": jnp.asarray(_rng.uniform(-1, 1, (1, 2, 3))),
    "x": jnp.asarray(_rng.uniform(-1, 1, 2)),
    "ws": jnp.asarray(_rng.uniform(-1, 1, (3, 1, 2, 3))),
    "xs": jnp.asarray(_rng.uniform(-1, 1, (4, 2))),
}


# ------------------------------------------------------------------------ circuits
def ansatz(w, x):
    qml.AngleEmbedding(x, WIRES)
    qml.BasicEntanglerLayers(w[..., 0], WIRES, rotation=qml.RY)
    qml.PauliRot(w[0, 0, 1], "XY", WIRES)


def expval(w, x):
    ansatz(w, x)
    return qml.expval(qml.Z(0) @ qml.X(1))


def few(w, x):
    """Few kinds of gates, for JAX compiles each of default.qubit's operations."""
    qml.RY(x[0], 0)
    qml.RX(w[0, 0, 0], 0)
    qml.CNOT([0, 1])
    qml.RY(w[0, 0, 1] * x[1], 1)


def observable(w, x):
    a, b = w[0, 0, 0], x[1]
    return jnp.array([[a, b * 1j], [-b * 1j, a * b]])


def probs(w, x):
    ansatz(w, x)
    return qml.probs(wires=[1, 0])


def variance(w, x):
    few(w, x)
    return qml.var(qml.Z(0) @ qml.X(1))


def gates(w, x):
    few(w, x)
    qml.IsingXX(x[0] * w[0, 1, 0], [0, 1])
    qml.ctrl(qml.RX, control=0, control_values=[0])(w[0, 1, 2], 1)
    return qml.expval(qml.Z(0) @ qml.X(1))


def hamiltonian(w, x):
    few(w, x)
    coefficients = [w[0, 0, 0], 2 * x[1]]
    return qml.expval(qml.Hamiltonian(coefficients, [qml.Z(0), qml.X(0) @ qml.Y(1)]))


def hermitian(w, x):
    few(w, x)
    return qml.expval(qml.Hermitian(observable(w, x), 1))


def hermitian_variance(w, x):
    few(w, x)
    return qml.var(qml.Hermitian(observable(w, x), 1))


def amplitudes(w, x):
    v = jnp.exp(1j * jnp.concatenate([x, w[0, 0, :2]])) * jnp.arange(1, 5)
    qml.StatePrep(v / jnp.linalg.norm(v), WIRES)
    qml.RX(w[0, 0, 2], 0)
    return qml.expval(qml.Z(0) @ qml.X(1))


def unitary(w, x):
    few(w, x)
    a, b = x[0], w[0, 0, 2]
    # The square of the generator is 1.
    single = jnp.array([[jnp.sin(a), jnp.cos(a)], [jnp.cos(a), -jnp.sin(a)]])
    generator = jnp.kron(single, jnp.array([[0, -1j], [1j, 0]]))
    qml.QubitUnitary(jnp.cos(b) * jnp.eye(4) + 1j * jnp.sin(b) * generator, WIRES)
    return qml.expval(qml.Z(0) @ qml.X(1))


def feedback(w, x):
    few(w, x)
    outcome = qml.measure(0)
    qml.cond(outcome, qml.RX, qml.RY)(w[0, 0, 0] * x[1], 1)
    return qml.expval(qml.Z(1)), qml.probs(op=outcome)


def postselected(w, x):
    few(w, x)
    qml.measure(0, postselect=1)
    qml.RX(w[0, 0, 0], 1)
    return qml.expval(qml.Z(1))


def several(w, x):
    few(w, x)
    return qml.expval(qml.Z(0)), qml.probs(wires=[1, 0]), qml.var(qml.X(1))


CIRCUITS = {
    circuit.__name__: circuit
    for circuit in (
        *(expval, probs, variance, gates, hamiltonian, hermitian, hermitian_variance),
        *(amplitudes, unitary, feedback, postselected, several),
    )
}

SLOW = {"feedback", "postselected"}  # for PennyLane to prepare, JAX to compile


# --------------------------------------------------------------------------- forms
def loss(results):
    """A number that every result enters with a weight of its own."""
    leaves = [jnp.ravel(leaf) for leaf in jax.tree_util.tree_leaves(results)]
    y = jnp.concatenate(leaves)
    return jnp.sum(jnp.sin(y) * jnp.arange(1, 1 + y.size))


def of(f, *transforms):
    """The loss after transforms of a function: the innermost comes first."""
    for transform in transforms:
        f = transform(f)
    return lambda *arguments: loss(f(*arguments))


batched = functools.partial(jax.vmap, in_axes=BATCH)
ensemble = functools.partial(jax.vmap, in_axes=ENSEMBLE)


def descend(f, d):
    def step(w, x):
        value, slope = jax.value_and_grad(of(f))(w, x)
        return w - 0.1 * slope, value

    return jax.lax.scan(step, d["w"], d["xs"])


def tangents(d):
    return jnp.cos(d["w"]), jnp.sin(d["x"])


def pulled(f, d):
    results, back = jax.vjp(f, d["w"], d["x"])
    return results, back(jax.tree_util.tree_map(jnp.ones_like, results))


def linear(f, d):
    results, forward = jax.linearize(f, d["w"], d["x"])
    return results, forward(*tangents(d)), jax.vmap(forward)(d["ws"], d["xs"][:3])


FORMS = {
    "value": lambda f, d: f(d["w"], d["x"]),
    "grad": lambda f, d: jax.grad(of(f))(d["w"], d["x"]),
    "grad of data": lambda f, d: jax.grad(of(f), argnums=1)(d["w"], d["x"]),
    "grad of both": lambda f, d: jax.grad(of(f), argnums=(0, 1))(d["w"], d["x"]),
    "value_and_grad": lambda f, d: jax.value_and_grad(of(f))(d["w"], d["x"]),
    "vmap over data": lambda f, d: batched(f)(d["w"], d["xs"]),
    "vmap over weights": lambda f, d: ensemble(f)(d["ws"], d["x"]),
    "vmap over both": lambda f, d: jax.vmap(f)(d["ws"], d["xs"][:3]),
    "vmap over the last axis": lambda f, d: jax.vmap(f, (None, 1), 0)(
        d["w"], d["xs"].T
    ),
    "nested vmap": lambda f, d: ensemble(batched(f))(d["ws"], d["xs"]),
    "grad of vmap": lambda f, d: jax.grad(of(f, batched), (0, 1))(d["w"], d["xs"]),
    "vmap of grad": lambda f, d: batched(jax.grad(of(f), (0, 1)))(d["w"], d["xs"]),
    "vmap of grad over weights": lambda f, d: ensemble(jax.grad(of(f), (0, 1)))(
        d["ws"], d["x"]
    ),
    "vmap of grad over both": lambda f, d: jax.vmap(jax.grad(of(f)))(
        d["ws"], d["xs"][:3]
    ),
    "grad of nested vmap": lambda f, d: jax.grad(of(f, batched, ensemble), (0, 1))(
        d["ws"], d["xs"]
    ),
    # Equal sizes of both axes hide an axis that was taken for the other.
    "grad of nested vmap, equal sizes": lambda f, d: jax.grad(of(f, batched, ensemble))(
        d["ws"], d["xs"][:3]
    ),
    "vmap of grad of vmap": lambda f, d: ensemble(jax.grad(of(f, batched)))(
        d["ws"], d["xs"][:3]
    ),
    "jacobian": lambda f, d: jax.jacobian(f, argnums=(0, 1))(d["w"], d["x"]),
    "jacfwd": lambda f, d: jax.jacfwd(f, argnums=(0, 1))(d["w"], d["x"]),
    "jacrev of vmap": lambda f, d: jax.jacrev(batched(f))(d["w"], d["xs"]),
    "jacfwd of vmap": lambda f, d: jax.jacfwd(batched(f))(d["w"], d["xs"]),
    "vmap of jacobian": lambda f, d: batched(jax.jacobian(f))(d["w"], d["xs"]),
    "vmap of jacfwd over weights": lambda f, d: ensemble(jax.jacfwd(f, 1))(
        d["ws"], d["x"]
    ),
    "jvp": lambda f, d: jax.jvp(f, (d["w"], d["x"]), tangents(d)),
    "jvp along data": lambda f, d: jax.jvp(
        lambda x: f(d["w"], x), (d["x"],), tangents(d)[1:]
    ),
    "vmap of jvp": lambda f, d: jax.vmap(
        lambda x: jax.jvp(lambda w: f(w, x), (d["w"],), tangents(d)[:1])
    )(d["xs"]),
    "vmap of tangents": lambda f, d: jax.vmap(
        lambda t: jax.jvp(lambda w: f(w, d["x"]), (d["w"],), (t,))[1]
    )(d["ws"]),
    "vjp": pulled,
    "linearize": linear,
    "scan": descend,
    "map": lambda f, d: jax.lax.map(lambda x: f(d["w"], x), d["xs"]),
    "fori_loop": lambda f, d: jax.lax.fori_loop(
        0, 3, lambda _, w: w - 0.1 * jax.grad(of(f))(w, d["x"]), d["w"]
    ),
    "checkpoint": lambda f, d: jax.grad(jax.checkpoint(of(f)))(d["w"], d["x"]),
    "checkpoint under vmap": lambda f, d: jax.grad(of(f, jax.checkpoint, batched))(
        d["w"], d["xs"]
    ),
    "cond": lambda f, d: jax.grad(
        lambda w: jax.lax.cond(
            w[0, 0, 0] > 9, lambda v: 0.0, lambda v: of(f)(v, d["x"]), w
        )
    )(d["w"]),
    "kernel": lambda f, d: jax.vmap(
        lambda v: jax.vmap(lambda x: f(v[None], x))(d["xs"][:3])
    )(d["ws"][:, 0]),
}

# What a circuit of another kind could do differently: how it is read, batched,
# differentiated forwards and backwards, and compiled.
FEW = [
    ("vmap over weights", "eager"),
    ("grad of nested vmap, equal sizes", "jit"),
    ("vmap of grad", "jit"),
    ("jacobian", "eager"),
    ("jacfwd", "jit"),
]


def on_default_qubit(circuit):
    """A circuit as a QNode that JAX differentiates through the simulation."""
    device = qml.device("default.qubit", wires=3)
    return qml.QNode(circuit, device, diff_method="backprop")


def moments(w, x):
    """What is wanted of :func:`hermitian_variance`.

    Of variances default.qubit forgets the derivative with respect to the matrix.
    """

    def means(w, x):
        few(w, x)
        matrix = observable(w, x)
        square = qml.Hermitian(matrix @ matrix, 1)
        return qml.expval(qml.Hermitian(matrix, 1)), qml.expval(square)

    mean, square = on_default_qubit(means)(w, x)
    return square - mean**2


@functools.cache
def exact(circuit):
    """A circuit on default.qubit for each sample by itself, compiled once.

    JAX's own rules make every form of its values and jacobians.
    """
    function = CIRCUITS[circuit]
    f = moments if function is hermitian_variance else on_default_qubit(function)

    def both(w, x):
        return f(w, x), jax.jacobian(f, argnums=(0, 1))(w, x)

    arguments = DATA["w"], DATA["x"]
    compiled = jax.jit(both).lower(*arguments).compile()
    shapes = jax.eval_shape(both, *arguments)

    def of_one_sample(w, x):
        def call(*values):
            return compiled(*map(jnp.asarray, values))

        return jax.pure_callback(call, shapes, w, x, vmap_method="sequential")

    reference = jax.custom_jvp(lambda w, x: of_one_sample(w, x)[0])

    @reference.defjvp
    def along(primals, tangents):
        results, slopes = of_one_sample(*primals)
        dw, dx = tangents
        return results, jax.tree_util.tree_map(
            lambda _, s: jnp.tensordot(s[0], dw, 3) + jnp.tensordot(s[1], dx, 1),
            results,
            slopes,
        )

    return reference


@functools.cache
def expected(circuit, form):
    """What a form gives of default.qubit's values and jacobians."""
    reference = exact(circuit)
    with jax.disable_jit():  # a compiled program may not call another
        return FORMS[form](reference, DATA)


def assert_same(actual, wanted, atol=ATOL):
    """The same tree of arrays, of the same shapes and types, values within atol."""
    ours, theirs = map(jax.tree_util.tree_flatten, (actual, wanted))
    assert ours[1] == theirs[1]
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert isinstance(one, jax.Array)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def check(device, circuit, form, mode):
    qnode = qml.QNode(CIRCUITS[circuit], DEVICES[device]())
    transform = functools.partial(FORMS[form], qnode)
    if mode == "jit":
        transform = jax.jit(transform)
    assert_same(transform(DATA), expected(circuit, form))


@pytest.mark.parametrize("mode", ["eager", "jit"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_template(form, mode):
    check("ideal", "expval", form, mode)


# A noisy device without noise is the ideal one: the forms of a circuit, and the
# circuits of a form, are on either in turn.
IN_FIVE_FORMS = [
    (device, circuit, *form)
    for c, circuit in enumerate(CIRCUITS)
    for k, form in enumerate(FEW[::2] if circuit in SLOW else FEW)
    for device in [("ideal", "noiseless")[(c + k) % 2]]
    if (device, circuit) != ("ideal", "expval")  # which is in every form above
]


@pytest.mark.parametrize(("device", "circuit", "form", "mode"), IN_FIVE_FORMS)
def test_every_circuit_in_five_forms(device, circuit, form, mode):
    check(device, circuit, form, mode)
