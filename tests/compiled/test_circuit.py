"""When a compiled circuit is traced, what it keeps, its threads, its copies."""

from __future__ import annotations

import collections
import copy
import functools
import importlib
import inspect
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp

from qstore_pl import compile
from qstore_pl.compiled import MAX_TRACES
from tests.processes import run

jax.config.update("jax_enable_x64", True)
DEVICE = qml.device("qstore.mock_ideal", wires=2)
AS = {"numpy": np.asarray, "torch": torch.as_tensor, "jax": jnp.asarray}
W, X = np.array([0.3, -0.4, 0.5]), np.array([0.1, 0.8])


def circuit(x, w, depth=1, *, gate="CNOT", flags=(True,)):
    """The circuit of these tests."""
    for _ in range(depth):
        qml.AngleEmbedding(x, wires=[0, 1])
        getattr(qml, gate)(wires=[0, 1])
        if flags[0]:
            qml.Rot(w[0], w[1], w[2], wires=1)
    return qml.expval(qml.Z(1))


def made(function=circuit, **options):
    return compile(qml.QNode(function, DEVICE), **options)


def close(found, expected):
    assert np.shape(found) == np.shape(expected)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def right(compiled, *args, **kwargs):
    """The call, held to the QNode's result."""
    close(compiled(*args, **kwargs), compiled.qnode(*args, **kwargs))


# ----------------------------------------------------------------------- retracing
@pytest.mark.parametrize("kind", list(AS))
def test_changing_shapes_and_types(kind):
    """Traced once for each shape and type, right at every call."""
    compiled, rng = made(), np.random.default_rng(1)
    seen = set()
    for size in (None, 1, 2, 3, 4, 5, 2, None, 5, 1):
        for dtype in (np.float64, np.float32):
            shape = (2,) if size is None else (size, 2)
            x = rng.uniform(-1, 1, shape).astype(dtype)
            right(compiled, AS[kind](x), AS[kind](W))
            seen.add((size, dtype))
            assert compiled.retrace_count == len(seen) - 1
    right(compiled, AS[kind](rng.uniform(-1, 1, 2)), AS[kind](W))
    assert compiled.retrace_count == len(seen) - 1


@pytest.mark.parametrize("kind", list(AS))
def test_static_values(kind):
    compiled, seen = made(), set()
    x, w = AS[kind](X), AS[kind](W)
    calls = [
        {},
        {"depth": 1},
        {"depth": 2},
        {"depth": True},
        {"depth": np.int64(2)},
        {"gate": "CZ"},
        {"gate": "CZ", "depth": 2},
        {"flags": (False,)},
        {"flags": (0,)},
        {"flags": [False]},
        {"flags": (None, 3)},
        {"flags": (True, (1, (2, "a")))},
        {"flags": np.array([True, False])},
        {"flags": np.array([False, False])},
        {"flags": {0: False}},
    ]
    for kwargs in [*calls, *reversed(calls), *calls]:
        right(compiled, x, w, **kwargs)
        seen.add(repr(kwargs))
        assert compiled.retrace_count == len(seen) - 1


def test_equal_values_of_other_types_are_traced_again():
    """1 == True == 1.0, but a circuit may tell them apart."""

    def named(w, value):
        qml.RX(w, 0)
        if value is True:
            qml.RX(0.1, 0)
        elif isinstance(value, int):
            qml.RX(0.2, 0)
        return qml.expval(qml.Z(0))

    compiled = made(named)
    for value in (1, True, 1, np.int64(1), True):
        right(compiled, 0.3, value)
    for value in ((1,), (True,), (1, "1"), ("1", 1), [1], (1,)):
        right(compiled, 0.3, value)
    assert compiled.retrace_count == 7


def test_integers_as_arrays():
    def named(w, wires, order):
        for i, wire in enumerate(wires):
            qml.RX(w[int(order[i])], int(wire))
            qml.RY(0.3, int(wire))
        return qml.expval(qml.Z(0) @ qml.X(1))

    compiled = made(named)
    for kind in (np.asarray, torch.as_tensor):
        for wires in ([0, 1], [1, 0], [0], [1, 0]):
            for order in ([0, 1], [2, 0]):
                right(compiled, W, kind(np.array(wires)), kind(np.array(order)))
    assert compiled.retrace_count == 11


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (np.array, ()),
        (lambda order: pnp.array(order, requires_grad=False), ()),
        (np.ma.array, ()),
        (lambda order: np.array(order, dtype=float), "order"),
    ],
    ids=["numpy", "pennylane.numpy", "masked", "static floats"],
)
def test_a_static_array_is_kept_as_it_was(kind, names):
    """With shots the QNode is called again for its gradient."""

    def named(w, order):
        for i in np.asarray(order).astype(int).tolist():
            (qml.RX if i else qml.RY)(w[i] * (1 + i), 0)
            qml.RZ(0.4, 0)
        return qml.expval(qml.X(0))

    device = qml.device("qstore.mock_ideal", wires=1, seed=3)
    qnode = qml.QNode(named, device, shots=50_000)
    sampled = compile(qnode, static_argnames=names)
    w, order = pnp.array([0.3, 0.9]), kind([0, 1])
    first = qml.grad(sampled)(w, order)
    order[:] = [1, 0]
    other = qml.grad(sampled)(w, order)
    assert np.abs(first - other).max() > 0.5
    again = qml.grad(sampled)(w, kind([0, 1]))
    np.testing.assert_allclose(again, first, atol=0.05)
    assert sampled.retrace_count == 1


def test_an_array_of_integers_that_changes_in_place():
    """Also where the QNode is called again later: with shots, and in JAX."""

    def named(w, order):
        for i in order:
            (qml.RX if i else qml.RY)(w[i] * (1 + i), 0)
            qml.RZ(0.4, 0)
        return qml.expval(qml.X(0))

    device = qml.device("qstore.mock_ideal", wires=1, seed=3)
    sampled = compile(qml.QNode(named, device, shots=100_000))
    exact = made(named)
    first, order = np.array([0, 1]), np.array([0, 1])
    w = pnp.array([0.3, 0.9])
    expected = qml.grad(exact)(w, first)
    assert np.abs(expected - qml.grad(exact)(w, first[::-1].copy())).max() > 0.5
    np.testing.assert_allclose(qml.grad(sampled)(w, order), expected, atol=0.03)
    close(exact(w, order), exact.qnode(w, first))
    order[:] = [1, 0]
    qml.grad(sampled)(w, order)
    close(exact(w, order), exact.qnode(w, order))
    np.testing.assert_allclose(qml.grad(sampled)(w, first), expected, atol=0.03)
    close(exact(w, first), exact.qnode(w, first))
    in_jax = made(named)
    order[:] = [0, 1]
    in_jax(jnp.asarray(w), order)
    order[:] = [1, 0]
    with jax.experimental.disable_x64():
        close(in_jax(jnp.asarray(W[:2]), first), in_jax.qnode(W[:2], first))


def test_static_argnames():
    calls = []

    def named(x, w, scale=1.0, *, name="a", shift=0.0):
        calls.append(scale)
        if np.max(scale) > 1:
            qml.RX(0.3, 0)
        qml.RY(np.sum(scale) * w + shift, 0)
        if name == "a":
            qml.RZ(x, 0)
        qml.RX(0.4, 0)
        return qml.expval(qml.Z(0))

    compiled = made(named, static_argnames=["scale", "name"])
    scales = [0.5, 2.0, np.array([0.5, 1.5]), np.array([0.5, 1.6]), [1.5, 0.2]]
    for scale in [*scales, *scales]:
        right(compiled, 0.1, 0.2, scale)
        right(compiled, 0.3, w=-0.2, scale=scale, shift=0.4)
        gradient = qml.grad(compiled, argnums=[0, 1])(0.1, 0.2, scale)
        np.testing.assert_allclose(
            gradient, qml.grad(compiled.qnode, argnums=[0, 1])(0.1, 0.2, scale)
        )
    assert compiled.retrace_count == 2 * len(scales) - 1
    right(compiled, 0.1, 0.2)
    right(compiled, 0.1, 0.2, 2.0, name="b")
    right(compiled, x=0.1, w=0.2, scale=2.0, name="b")
    n = len(calls)
    assert compiled(0.1, 0.7, 2.0, name="b") == compiled(0.1, 0.7, 2.0, name="b")
    assert len(calls) == n
    assert made(named, static_argnames="scale")(0.1, 0.2, 0.5) == pytest.approx(
        float(compiled(0.1, 0.2, 0.5))
    )


@pytest.mark.parametrize("kind", ["torch", "jax"])
def test_static_argnames_in_frameworks(kind):
    def named(w, scale):
        if scale > 0:
            qml.RX(w, 0)
        return qml.expval(qml.Z(0))

    compiled = made(named, static_argnames="scale")
    for scale in (0.5, -0.5, np.float64(0.5), torch.tensor(-0.5), np.array(-0.5)):
        right(compiled, AS[kind](np.array(0.3)), scale)


def test_a_static_argument_that_is_differentiated_is_refused():
    compiled = made(lambda w: circuit(X, [w, w, w]), static_argnames="w")
    with pytest.raises(qml.exceptions.DeviceError, match="differentiated"):
        qml.grad(compiled)(pnp.array(0.3))
    with pytest.raises(qml.exceptions.DeviceError, match="differentiated"):
        compiled(torch.tensor(0.3, requires_grad=True))


def test_a_static_array_that_changes_in_place():
    compiled = made(lambda w, s: circuit(X, [w, w * s[0], w]), static_argnames="s")
    s = np.array([0.5, 1.0])
    first = compiled(0.3, s)
    s[0] = 2.0
    right(compiled, 0.3, s)
    assert compiled(0.3, np.array([0.5, 1.0])) == first


def test_the_number_of_traces_is_bounded():
    def named(w, turns):
        qml.RX(w * (1 + 0.01 * turns), 0)
        return qml.expval(qml.Z(0))

    compiled = made(named)
    for turns in range(3 * MAX_TRACES):
        close(compiled(0.3, turns), np.cos(0.3 * (1 + 0.01 * turns)))
        assert len(compiled._traces) == min(turns + 1, MAX_TRACES)
    n = compiled.retrace_count
    assert n == 3 * MAX_TRACES - 1
    close(
        compiled(0.3, 3 * MAX_TRACES - 1), np.cos(0.3 * (3 * MAX_TRACES * 0.01 + 0.99))
    )
    assert compiled.retrace_count == n  # the latest is there still
    close(compiled(0.3, 0), np.cos(0.3))
    assert compiled.retrace_count == n + 1  # the first was forgotten


def test_a_trace_in_use_is_not_forgotten():
    def named(w, turns):
        qml.RX(w * turns, 0)
        return qml.expval(qml.Z(0))

    compiled = made(named)
    n = MAX_TRACES + 20
    for turns in range(1, n):
        close(compiled(0.3, 0), 1.0)
        close(compiled(0.3, turns), np.cos(0.3 * turns))
    assert compiled.retrace_count == n - 1


@pytest.mark.parametrize("kind", list(AS))
def test_what_the_qnode_reads_outside_is_as_it_was_when_traced(kind):
    outside = {"n": 0.3}

    def named(w):
        qml.RX(w * outside["n"], 0)
        return qml.expval(qml.Z(0))

    compiled, w = made(named), AS[kind](np.array(0.7))
    close(compiled(w), np.cos(0.7 * 0.3))
    outside["n"] = 0.9
    close(compiled(w), np.cos(0.7 * 0.3))
    compiled.retrace()
    close(compiled(w), np.cos(0.7 * 0.9))
    assert compiled.retrace_count == 1


def test_the_quantum_function_does_not_run_again():
    calls = []

    def named(w):
        calls.append(w)
        qml.RX(w, 0)
        return qml.expval(qml.Z(0))

    for kind in AS:
        compiled = made(named)
        for value in (0.1, 0.2):
            compiled(AS[kind](np.array(value)))
        n = len(calls)
        for value in np.linspace(0, 1, 5):
            close(compiled(AS[kind](np.array(value))), np.cos(value))
        assert len(calls) == n
    compiled = made(named)
    qml.grad(compiled)(pnp.array(0.1))
    n = len(calls)
    qml.grad(compiled)(pnp.array(0.2))
    assert compiled(0.4) == pytest.approx(np.cos(0.4))
    assert len(calls) == n  # numbers, arrays and what autograd traces share a trace


def test_program():
    compiled = made()
    assert compiled.program is None
    value = compiled(X, W)
    found = compiled.program.run(np.concatenate([X, W]), np.empty((1, 0)))
    close(np.ravel(found), [value])
    compiled.retrace()
    assert compiled.program is None


# ---------------------------------------------------------------------- what is given
@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1],
        lambda x: x.T.copy().T,
        lambda x: x[:, ::-1],
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.float16),
        lambda x: np.longdouble(x),
        lambda x: np.broadcast_to(x[:1], x.shape),
    ],
)
def test_arrays_in_any_order_of_memory(change):
    compiled = made()
    x = change(np.random.default_rng(0).uniform(-1, 1, (4, 2)))
    right(compiled, x, W[::-1])
    gradient = qml.jacobian(compiled, argnums=1)(x, pnp.array(W))
    expected = qml.jacobian(compiled.qnode, argnums=1)(x, pnp.array(W))
    close(gradient, expected)


def test_arguments_are_not_changed_and_results_are_not_shared():
    def named(x, w):
        qml.AngleEmbedding(x, wires=[0, 1])
        qml.Rot(*w, wires=0)
        return qml.probs(wires=[0])

    compiled = made(named)
    x, w = np.ones((3, 2)), W.copy()
    x.setflags(write=False)
    w.setflags(write=False)
    first = compiled(x, w)
    kept = first.copy()
    first[:] = 0.0
    compiled(x + 1, w)
    np.testing.assert_array_equal(compiled(x, w), kept)


def test_numbers_that_are_no_numbers():
    compiled = made()
    assert np.isnan(compiled(np.array([np.nan, 0.1]), W))
    assert np.isnan(compiled(X, np.array([0.1, np.inf, 0.2])))
    close(compiled(X, W), compiled.qnode(X, W))


def test_masked_entries_are_refused_as_in_the_qnode():
    masked = np.ma.array(X, mask=[False, True])
    for call in (made(), made().qnode):
        with pytest.raises((TypeError, qml.exceptions.DeviceError), match="mask"):
            call(masked, W)


def test_batches_of_different_lengths_are_refused():
    def named(x, y):
        qml.RX(x, 0)
        qml.RY(y, 0)
        return qml.expval(qml.Z(0))

    for call in (made(named), made(named).qnode):
        with pytest.raises(ValueError, match=r"batch|broadcast|dimension"):
            call(np.ones(3), np.ones(2))
        with pytest.raises(ValueError, match=r"batch|broadcast|dimension|samples"):
            call(np.ones(0), 0.1)


def test_a_named_tuple_is_not_remembered_by_its_identity():
    pair = collections.namedtuple("pair", "x w")
    compiled = made(lambda p: circuit(p.x, p.w))
    for kind in ("numpy", "torch"):
        p = pair(AS[kind](X.copy()), AS[kind](W.copy()))
        for _ in range(2):
            close(compiled(p), compiled.qnode(p))
            p.w[:] = p.w + 1


# --------------------------------------------------------------------------- threads
def together(function, arguments):
    """Eight threads that begin at once; results in the order of the arguments."""
    start = threading.Barrier(8, timeout=60)

    def first(argument):
        start.wait()
        return function(argument)

    with ThreadPoolExecutor(8) as pool:
        begun = [pool.submit(first, argument) for argument in arguments[:8]]
        rest = [pool.submit(function, argument) for argument in arguments[8:]]
        return [future.result(timeout=120) for future in begun + rest]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "qstore.mock_noisy"])
@pytest.mark.parametrize("kind", ["numpy", "autograd", "torch", "jax"])
def test_eight_threads(kind, device):
    """Values and gradients, the first call included, are those of one thread."""

    def function(x, w):
        qml.AngleEmbedding(x, wires=[0, 1])
        qml.Rot(w[0], w[1], w[2], wires=1)
        qml.CNOT([0, 1])
        qml.RY(np.pi * w[0] * w[1], 0)
        return qml.expval(qml.Z(1)), qml.probs(wires=[0])

    def call(compiled, task):
        x, w = task
        if kind == "numpy":
            return [np.asarray(v) for v in compiled(x, w)]
        if kind == "autograd":

            def cost(x, w):
                one, other = compiled(x, w)
                return pnp.sum(one**2) + pnp.sum(other[..., 0] ** 2)

            return list(qml.grad(cost, argnums=[0, 1])(x, w))
        if kind == "torch":
            x, w = (torch.tensor(v, requires_grad=True) for v in (x, w))
            one, other = compiled(x, w)
            (one.square().sum() + other[..., 0].square().sum()).backward()
            return [one.detach().numpy(), x.grad.numpy(), w.grad.numpy()]

        def cost(x, w):
            one, other = compiled(x, w)
            return jnp.sum(one**2) + jnp.sum(other[..., 0] ** 2)

        return [np.asarray(v) for v in jax.grad(cost, (0, 1))(x, w)]

    rng = np.random.default_rng(7)
    sizes = [None, 1, 3] if kind != "jax" else [None, 3]
    tasks = [
        (rng.normal(size=(2,) if size is None else (size, 2)), rng.normal(size=3))
        for size in [sizes[i % len(sizes)] for i in range(24)]
    ]
    dev = qml.device(device, wires=2)
    compiled = compile(qml.QNode(function, dev))
    found = together(functools.partial(call, compiled), tasks)
    serial = compile(qml.QNode(function, dev))
    for values, task in zip(found, tasks, strict=True):
        for one, other in zip(values, call(serial, task), strict=True):
            np.testing.assert_array_equal(one, other)
    assert compiled.retrace_count == serial.retrace_count


@pytest.mark.timeout(180)
def test_different_circuits_whose_first_calls_are_at_once():
    def function(i):
        def named(x):
            for _ in range(10):
                qml.adjoint(qml.CRot)(x[0], 0.3 * i, x[1], wires=[0, 1])
                qml.StronglyEntanglingLayers(x[None, :, None] * np.ones(3), [0, 1])
            return qml.expval(qml.Z(1)), qml.var(qml.X(0))

        return named

    devices = [qml.device("qstore.mock_noisy", wires=2) for _ in range(16)]
    made = [compile(qml.QNode(function(i), d)) for i, d in enumerate(devices)]
    found = together(lambda compiled: compiled(X), made)
    for compiled, results in zip(made, found, strict=True):
        for one, other in zip(results, compiled.qnode(X), strict=True):
            close(one, other)


@pytest.mark.timeout(180)
def test_forgetting_while_others_call():
    compiled, stop = made(), threading.Event()

    def forget():
        while not stop.wait(0.002):
            compiled.retrace()

    thread = threading.Thread(target=forget, daemon=True)
    thread.start()
    try:
        rng = np.random.default_rng(0)
        tasks = [rng.normal(size=2) for _ in range(64)]
        found = together(lambda x: compiled(x, W), tasks)
    finally:
        stop.set()
        thread.join(60)
    for value, x in zip(found, tasks, strict=True):
        close(value, compiled.qnode(x, W))


# ---------------------------------------------------------------------------- copies
@compile
@qml.qnode(DEVICE)
def decorated(x, w: float = 0.5, *, flag: bool = True):
    """A circuit with a docstring."""
    qml.RX(x, 0)
    qml.RY(w, 0)
    return qml.expval(qml.Z(0))


def plain(x):
    qml.RX(x, 0)
    return qml.expval(qml.Z(0))


def test_looks_like_the_quantum_function():
    function = decorated.qnode.func
    assert decorated.__name__ == "decorated"
    assert decorated.__doc__ == "A circuit with a docstring."
    assert decorated.__module__ == __name__
    assert inspect.signature(decorated) == inspect.signature(function)
    assert inspect.unwrap(decorated) is function
    assert repr(decorated) == f"<compiled {decorated.qnode!r}>"
    assert callable(decorated)


def test_pickle_of_a_decorated_function():
    decorated(0.3)
    again = pickle.loads(pickle.dumps(decorated))
    assert again is decorated


def test_copies_of_a_compiled_qnode():
    compiled = compile(qml.QNode(plain, qml.device("qstore.mock_ideal", wires=1)))
    for copied in (
        lambda c: pickle.loads(pickle.dumps(c)),
        copy.deepcopy,
        copy.copy,
    ):
        for first in (False, True):
            if first:
                compiled(0.1)
            again = copied(compiled)
            assert again is not compiled
            assert again.__name__ == "plain"
            assert again(0.3) == compiled(0.3)
            assert qml.grad(again)(pnp.array(0.3)) == qml.grad(compiled)(pnp.array(0.3))


def test_copies_keep_static_names():
    def function(x, n):
        qml.RX(x * float(n), 0)
        return qml.expval(qml.Z(0))

    again = copy.deepcopy(made(function, static_argnames="n"))
    close(again(0.3, 0.5), np.cos(0.15))


def test_deepcopy_of_a_decorated_function_is_right():
    close(copy.deepcopy(decorated)(0.3, 0.4), decorated.qnode(0.3, 0.4))
    close(copy.copy(decorated)(0.3, 0.4), decorated.qnode(0.3, 0.4))


def test_pickle_into_another_process(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import pennylane as qml\n"
        "from qstore_pl import compile\n"
        "@compile\n"
        "@qml.qnode(qml.device('qstore.mock_ideal', wires=1))\n"
        "def circuit(x):\n"
        "    qml.RX(x, 0)\n"
        "    return qml.expval(qml.Z(0))\n"
        "def other(x):\n"
        "    qml.RX(2 * x, 0)\n"
        "    return qml.expval(qml.Z(0))\n"
        "renamed = compile(qml.QNode(other, circuit.qnode.device))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = importlib.import_module("mine")
    try:
        mine.circuit(0.1), mine.renamed(0.1)
        dumped = pickle.dumps((mine.circuit, mine.renamed)).hex()
    finally:
        del sys.modules["mine"]
    load = (
        "import pickle, sys; one, other = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "print(one(0.3), other(0.3))"
    )
    status, out, errors = run(load, dumped, cwd=tmp_path)
    assert status == 0, errors
    close([float(value) for value in out.split()], np.cos([0.3, 0.6]))
