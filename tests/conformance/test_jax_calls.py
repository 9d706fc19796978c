"""Compiled steps whose circuits call the kernels, and what still goes through Python.

The callback into Python is the reference: with it, all numbers are those of the QNode.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

from qstore_pl import NoiseSpec
from qstore_pl.devices import jax_primitive
from qstore_pl.devices.jax_primitive import Measured
from qstore_pl.engine import foreign, statevector, xla
from qstore_pl.engine.compile import Foreign, Kernel
from qstore_pl.engine.program import PARALLEL

ATOL = 1e-10
WIRES = range(3)

jax.config.update("jax_enable_x64", True)


def qnode(circuit, name="qstore.mock_ideal", **options):
    return qml.QNode(circuit, qml.device(name, wires=6, **options))


def same(actual, wanted, atol=ATOL):
    ours, theirs = map(jax.tree_util.tree_flatten, (actual, wanted))
    assert ours[1] == theirs[1]
    for one, other in zip(ours[0], theirs[0], strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def targets(function, *args):
    """Names of the functions that a compiled function calls, in their order."""
    return targets_of(jax.jit(function).lower(*args))


def targets_of(lowered):
    names = re.findall(r"custom_call @(\w+)", lowered.as_text())
    return [re.sub(r"^qstore_pl_(\w+)_[0-9a-f]{16}$", r"\1", name) for name in names]


@pytest.fixture
def callback(monkeypatch):
    """A context in which compiled functions call back into Python."""
    context = monkeypatch.context

    class Callback:
        def __enter__(self):
            self.context = context()
            patch = self.context.__enter__()
            for name in ("forward_call", "backward_call"):
                patch.setattr(jax_primitive, name, lambda *args, **options: None)

        def __exit__(self, *error):
            return self.context.__exit__(*error)

    return Callback


# ------------------------------------------------------------------------ circuits
def ansatz(w, x):
    qml.AngleEmbedding(x, WIRES)
    qml.StronglyEntanglingLayers(w, WIRES)


def layered(w, x):
    ansatz(w, x)
    return qml.expval(qml.Z(0) @ qml.Z(1)), qml.expval(qml.Z(2))


def general(w, x):
    """Gates, words and constants that the kernels of usual models do not know."""
    qml.AmplitudeEmbedding(np.arange(1, 9), WIRES, normalize=True)
    qml.PauliRot(w[0, 0, 0], "XYZ", WIRES)
    qml.IsingXX(x[..., 0], [0, 2])
    qml.ctrl(qml.RX, control=1, control_values=[0])(w[0, 1, 0] * x[..., 1], 2)
    observable = qml.Hamiltonian([0.3, -1.2], [qml.Y(0) @ qml.X(2), qml.Z(1)])
    return qml.expval(observable), qml.expval(qml.Y(1)), qml.expval(qml.Y(0))


def channels(w, x):
    qml.RX(w[0, 0, 0], 0)
    qml.AmplitudeDamping(jnp.sin(w[0, 1, 0]) ** 2, 0)
    qml.RY(x[..., 1], 1)
    qml.CNOT([0, 1])
    qml.ResetError(0.2, 0.3, 1)
    qml.DepolarizingChannel(w[0, 0, 1] ** 2, 1)
    qml.RZ(w[0, 0, 2], 1)
    return qml.expval(qml.Z(0) @ qml.X(1)), qml.expval(qml.Z(1))


def shared(w, x):
    """Misread outcomes make sums of shared words, each of which is measured once."""
    ansatz(w, x)
    for wire in range(3, 6):
        qml.CNOT([wire - 3, wire])
        qml.RX(0.2 * wire, wire)
    words = [
        qml.prod(*map(qml.Z, wires))
        for size in range(1, 7)
        for wires in itertools.combinations(range(6), size)
    ]
    rng = np.random.default_rng(5)
    sums = [qml.Hamiltonian(rng.uniform(-1, 1, len(words)), words) for _ in range(2)]
    return [qml.expval(each) for each in sums]


CIRCUITS = {
    "pure": (layered, {}),
    "pure, all kernels": (general, {}),
    "noise after gates": (layered, {"name": "qstore.mock_noisy", "noise": "ibm"}),
    "channels": (channels, {"name": "qstore.mock_noisy", "noise": None}),
    "shared words": (shared, {"name": "qstore.mock_noisy", "noise": "ibm"}),
}


def loss(results):
    y = jnp.concatenate([jnp.ravel(leaf) for leaf in results])
    return jnp.sum(jnp.sin(y) * jnp.arange(1, 1 + y.size))


def of(f):
    return lambda *args: loss(f(*args))


def descend(f, w, xs):
    def step(w, x):
        value, slope = jax.value_and_grad(of(f))(w, x)
        return w - 0.1 * slope, value

    return jax.lax.scan(step, w, xs)


FORMS = {
    "value": lambda f, w, xs: f(w, xs[0]),
    "batch": lambda f, w, xs: f(w, xs),
    "gradients": lambda f, w, xs: jax.value_and_grad(of(f), (0, 1))(w, xs),
    "gradient of data": lambda f, w, xs: jax.grad(of(f), 1)(w, xs[0]),
    "vmap": lambda f, w, xs: jax.vmap(f, (None, 0))(w, xs),
    "vmap of grad": lambda f, w, xs: jax.vmap(jax.grad(of(f)), (None, 0))(w, xs),
    "grad of vmap": lambda f, w, xs: jax.grad(of(jax.vmap(f, (None, 0))))(w, xs),
    "ensemble": lambda f, w, xs: jax.vmap(jax.grad(of(f)), (0, None))(
        jnp.stack([w, -w]), xs
    ),
    "jacrev": lambda f, w, xs: jax.jacrev(f, (0, 1))(w, xs),
    "jacfwd": lambda f, w, xs: jax.jacfwd(f, (0, 1))(w, xs),
    "jvp": lambda f, w, xs: jax.jvp(f, (w, xs), (jnp.cos(w), jnp.sin(xs))),
    "scan": descend,
    "cond": lambda f, w, xs: jax.lax.cond(
        w[0, 0, 0] > 9, lambda w: 0.0 * w, lambda w: jax.grad(of(f))(w, xs), w
    ),
}

# What a circuit of another kind could do differently.
FEW = ("value", "gradients", "vmap of grad", "jacrev", "jvp")


@pytest.fixture
def w(rng):
    return jnp.asarray(rng.uniform(-1, 1, (2, 3, 3)))


@pytest.fixture
def xs(rng):
    return jnp.asarray(rng.uniform(-1, 1, (4, 3)))


@pytest.mark.parametrize(
    ("circuit", "form"),
    [("pure", form) for form in FORMS]
    + [(circuit, form) for circuit in list(CIRCUITS)[1:] for form in FEW],
)
def test_without_python_the_numbers_are_the_same(circuit, form, w, xs, callback):
    function, options = CIRCUITS[circuit]

    def transform():
        """A function that JAX does not know: what it knows, it does not lower again."""
        return functools.partial(FORMS[form], qnode(function, **options))

    with callback():
        through_python = jax.jit(transform()).lower(w, xs)
        assert any("callback" in name for name in targets_of(through_python))
        wanted = through_python.compile()(w, xs)
    transform = transform()
    lowered = jax.jit(transform).lower(w, xs)
    names = targets_of(lowered)
    assert names
    assert all(name.startswith("xla_") for name in names)
    same(lowered.compile()(w, xs), wanted)
    same(transform(w, xs), wanted)


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_a_warm_step_runs_no_python(circuit, w, xs, monkeypatch):
    function, options = CIRCUITS[circuit]
    f = qnode(function, **options)
    step = jax.jit(jax.value_and_grad(of(f)))
    values = [step(w, xs), step(-w, xs)]

    def fail(*args, **options):
        raise AssertionError("Python ran.")

    for name in ("run", "pull", "push", "_forward"):
        monkeypatch.setattr(Measured, name, fail)
    same([step(w, xs), step(-w, xs)], values)


def test_shared_words_are_measured_once(w, xs, monkeypatch):
    lowered = []

    def program_of(program, batch, readouts, *, linearized):
        lowered.append(program)

    function, options = CIRCUITS["shared words"]
    monkeypatch.setattr(jax_primitive, "forward_call", program_of)
    jax.jit(qnode(function, **options)).lower(w, xs)
    assert lowered[0].sums is not None


def test_many_chunks_with_a_smaller_one_at_the_end(rng, callback):
    w, xs = rng.uniform(-1, 1, (2, 3, 3)), rng.uniform(-1, 1, (1200, 3))
    for name in ("qstore.mock_ideal", "qstore.mock_noisy"):
        f = qnode(layered, name)
        step = jax.jit(jax.value_and_grad(of(f), (0, 1)))
        assert "xla" in str(targets(step, w, xs))
        found = step(w, xs)
        with callback():
            step = jax.value_and_grad(of(qnode(layered, name)), (0, 1))
            assert "callback" in str(targets(step, w, xs))
            same(found, jax.jit(step)(w, xs), 1e-8)


def test_no_samples(w, xs):
    for name in ("qstore.mock_ideal", "qstore.mock_noisy"):
        f = jax.vmap(qnode(layered, name), (None, 0))
        assert [y.shape for y in jax.jit(f)(w, xs[:0])] == [(0,), (0,)]
        slopes = jax.jit(jax.grad(of(f), (0, 1)))(w, xs[:0])
        same(slopes, (0.0 * w, xs[:0]))


def damped(w, x):
    """A noisy circuit that cannot be un-computed: states are kept on the way."""
    for k in range(6):
        qml.RX(w[0, k % 3, 0] + x[..., k % 3], 0)
        qml.AmplitudeDamping(0.8, 0)
        qml.CNOT([0, 1])
        qml.DepolarizingChannel(0.3, 1)
        qml.RY(w[1, k % 3, 1], 1)
    return (qml.expval(qml.Z(0)), qml.expval(qml.Z(1)))


def test_checkpoints(w, xs, callback):
    def slopes():
        f = qnode(damped, "qstore.mock_noisy", noise=None)
        return jax.jit(jax.grad(of(f), (0, 1)))

    found = slopes()(w, xs)
    with callback():
        assert "callback" in str(targets(slopes(), w, xs))
        same(found, slopes()(w, xs))
    assert np.abs(found[0]).max() > 1e-3


# ------------------------------------------------------------------------ lifetime
def test_the_structure_lives_as_long_as_the_compiled_function(w, xs):
    f = qnode(layered)
    step = jax.jit(jax.value_and_grad(of(f)))
    wanted = step(w, xs)
    del f
    gc.collect()
    assert all(isinstance(a, np.ndarray) for a in [np.full(10_000, np.nan)] * 99)
    same(step(w, xs), wanted)
    compiled = jax.jit(of(qnode(layered))).lower(w, xs).compile()
    gc.collect()
    same(compiled(w, xs), wanted[0])


def test_two_circuits_in_one_compiled_function(w, xs):
    f, g = qnode(layered), qnode(general, "qstore.mock_noisy", noise="mild")

    def both(w, xs):
        return loss(f(w, xs)) * loss(g(w, xs)) + loss(f(jnp.sin(w), xs))

    one = jax.jit(jax.value_and_grad(both, (0, 1)))(w, xs)
    same(one, jax.value_and_grad(both, (0, 1))(w, xs))


def test_threads_call_one_compiled_function(rng, xs):
    step = jax.jit(jax.value_and_grad(of(qnode(layered, "qstore.mock_noisy"))))
    weights = jnp.asarray(rng.uniform(-1, 1, (2, 2, 3, 3)))
    wanted = [step(w, xs) for w in weights]
    wrong = []

    def work(w, expected):
        for _ in range(200):
            value, slope = step(w, xs)
            if value != expected[0] or (slope != expected[1]).any():
                wrong.append(value)

    pairs = zip(weights, wanted, strict=True)
    threads = [threading.Thread(target=work, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


SINGLE = """
import sys, jax, jax.numpy as jnp, pennylane as qml
from qstore_pl.devices.jax_primitive import Measured

@qml.qnode(qml.device("qstore.mock_ideal", wires=2))
def model(w, x):
    qml.RX(w, 0)
    qml.RX(x, 1)
    return qml.expval(qml.Z(0) @ qml.Z(1))

xs = jnp.array([0.1, 0.2])
both = jax.jit(jax.value_and_grad(lambda w: model(w, xs).sum()))
assert "callback" not in both.lower(0.7).as_text()
value, slope = both(0.7)
assert value.dtype == slope.dtype == jnp.float32
print(value, slope)
"""


def run(program, **environment):
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return [float(number) for number in done.stdout.split()]


KEPT = """
import jax
jax.config.update("jax_compilation_cache_dir", {directory!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
"""


@pytest.mark.slow
def test_single_precision_and_compiled_functions_that_jax_keeps_on_disk(tmp_path):
    program = KEPT.format(directory=str(tmp_path)) + SINGLE
    total = np.cos([0.1, 0.2]).sum()
    wanted = [np.cos(0.7) * total, -np.sin(0.7) * total]
    first = run(program)
    np.testing.assert_allclose(first, wanted, atol=1e-6)
    assert any("lambda" in path.name for path in tmp_path.iterdir())
    assert run(program) == first


# ----------------------------------------------------------------- back into Python
def matrix(w, x):
    ansatz(w, x)
    return (qml.expval(qml.Hermitian(np.ones((4, 4)), wires=[0, 2])),)


def outcomes(w, x):
    ansatz(w, x)
    pair = 0.3 * qml.Z(0) @ qml.X(1) - qml.Y(2)
    return qml.probs(wires=[2, 0]), qml.probs(), qml.var(qml.Z(1)), qml.var(pair)


@pytest.mark.parametrize("device", ["qstore.mock_ideal", "qstore.mock_noisy"])
def test_probabilities_and_variances_are_words(device, w, rng):
    options = {"noise": NoiseSpec(p1=0.01, p2=0.02)} if "noisy" in device else {}
    circuit = qml.QNode(outcomes, qml.device(device, wires=3, **options))
    xs = jnp.asarray(rng.uniform(-1, 1, (4, 3)))

    def cost(w):
        return sum(jnp.sum(jnp.sin(part)) for part in circuit(w, xs))

    step = jax.jit(jax.value_and_grad(cost))
    assert "callback" not in step.lower(w).as_text()
    value, slope = step(w)

    def plain(w):
        parts = circuit(w, np.asarray(xs))
        return sum(qml.math.sum(qml.math.sin(part)) for part in parts)

    start = qml.numpy.array(np.asarray(w), requires_grad=True)
    np.testing.assert_allclose(value, plain(start), atol=1e-12)
    np.testing.assert_allclose(slope, qml.grad(plain)(start), atol=1e-12)


def unitary(w, x):
    qml.QubitUnitary(np.eye(2), 0)
    ansatz(w, x)
    return (qml.expval(qml.Z(0)),)


def many_gates(w, x):
    for _ in range(300):
        ansatz(w, x)
    return (qml.expval(qml.Z(0)),)


TRAJECTORIES = {
    "name": "qstore.mock_noisy",
    "noise": "ibm",
    "method": "trajectories",
    "trajectories": 3,
}
STAYS = {
    "functions of the state": (matrix, {}, 4),
    "a matrix that must be unitary": (unitary, {}, 4),
    "trajectories": (layered, TRAJECTORIES, 4),
    "work for several threads": (many_gates, {}, 1 + PARALLEL // 1000),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_calls_back(name, w, rng):
    circuit, options, batch = STAYS[name]
    step = jax.jit(jax.grad(of(qnode(circuit, **options))))
    xs = jnp.asarray(rng.uniform(-1, 1, (batch, 3)))
    names = targets(step, w, xs)
    assert "callback" in names[-1]
    if name == "a matrix that must be unitary":  # its value needs no check
        assert names[0] == "xla_forward_general"


def test_large_work_is_run_forward_once(w, rng):
    """Only where a derivative follows; the value alone needs no Python."""
    step = qnode(many_gates)
    xs = jnp.asarray(rng.uniform(-1, 1, (400, 3)))
    assert targets(step, w, xs) == ["xla_forward_core"]
    both = targets(jax.value_and_grad(of(step)), w, xs)
    assert len(both) == 2
    assert all("callback" in name for name in both)


def test_matrices_that_are_not_unitary_are_refused(w, xs):
    def circuit(w, x):
        qml.QubitUnitary(jnp.array([[2.0, 0.0], [0.0, 1.0]]), 0)
        return layered(w, x)

    with pytest.raises(Exception, match="must be unitary for a device gradient"):
        jax.block_until_ready(jax.jit(jax.grad(of(qnode(circuit))))(w, xs))


def test_sizes_that_call_back(w, xs, monkeypatch):
    assert targets(qnode(layered), w, xs) == ["xla_forward_core"]
    for name in ("MOST_STRUCTURE", "KEPT_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(xla, name, 64)
            assert "callback" in targets(qnode(layered), w, xs)[0]


def test_without_compiling_python_is_called(w, xs, monkeypatch):
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert "callback" in targets(qnode(layered), w, xs)[0]


# -------------------------------------------------------------------------- errors
def test_a_kernel_that_fails_is_an_error_and_not_the_end(w, xs, monkeypatch):
    kernel = statevector.forward_core

    def broken(sizes, ints, floats, w, X, rows, ws, out):
        if w.shape[0] > 0:
            raise ValueError
        out[:] = 0.0

    broken.__name__ = broken.__qualname__ = "broken_kernel"
    bad = Kernel(broken, kernel.signature)
    run, _ = xla._pure(bad, statevector.backward_core)
    function = xla._forward(run)
    function.__name__ = function.__qualname__ = "xla_broken"
    monkeypatch.setitem(xla.FORWARD, kernel.symbol, Foreign(function, [bad]))
    f = jax.jit(qnode(layered))
    for _ in range(2):
        with pytest.raises(jax.errors.JaxRuntimeError, match="kernel of qstore_pl"):
            jax.block_until_ready(f(w, xs))
    same(jnp.sin(0.0), jnp.zeros(()))  # XLA still works


def test_the_places_of_fields_are_those_of_the_header():
    path = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    text = re.sub(r"//.*", "", path.read_text())

    def places(struct, **lengths):
        """Where the fields of a struct are, in units of 8 bytes, and where it ends."""
        (body,) = re.findall(rf"struct {struct} \{{(.*?)\n\}}", text, re.DOTALL)
        names, at, found = re.findall(r"(\w+)\)?;", body), 0, {}
        for name in names:
            found[name] = at
            at += lengths.get(name, 1)
        return found | {"end": at}

    arguments, results = places("XLA_FFI_Args"), places("XLA_FFI_Rets")
    lengths = {"args": arguments["end"], "rets": results["end"]}
    attributes = places("XLA_FFI_Attrs")["end"]
    frame = places("XLA_FFI_CallFrame", attrs=attributes, **lengths)
    buffer = places("XLA_FFI_Buffer")
    extension = places("XLA_FFI_Extension_Base")
    # The version has two places before its two numbers, which share one.
    metadata = places("XLA_FFI_Metadata", api_version=3)
    api = places("XLA_FFI_Api", api_version=3)
    wanted = {
        "EXTENSIONS": frame["extension_start"],
        "API": frame["api"],
        "STAGE": frame["stage"],
        "ARGUMENTS": frame["args"] + arguments["args"],
        "RESULTS": frame["rets"] + results["rets"],
        "FRAME": frame["end"],
        "DTYPE": buffer["dtype"],
        "DATA": buffer["data"],
        "BUFFER": buffer["end"],
        "KIND": extension["type"],
        "NEXT": extension["next"],
        "METADATA": extension["end"],
        "EXTENSION": extension["end"] + 1,
        "VERSION": metadata["api_version"] + 2,
        "TRAITS": metadata["traits"],
        "ERROR_CREATE": api["XLA_FFI_Error_Create"],
    }
    for name, place in wanted.items():
        assert getattr(foreign, name) == place, name
    for name, value in (
        ("XLA_FFI_Extension_Metadata", foreign.IS_METADATA),
        ("XLA_FFI_ExecutionStage_EXECUTE", foreign.EXECUTE),
        ("XLA_FFI_DataType_F32", foreign.SINGLE),
        ("XLA_FFI_Error_Code_INTERNAL", foreign.INTERNAL),
    ):
        assert f"{name} = {value}," in text
    for name, value in (("MAJOR", 0), ("MINOR", foreign.VERSION_0_1 >> 32)):
        assert f"#define XLA_FFI_API_{name} {value}\n" in text
