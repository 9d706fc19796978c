"""What cannot be compiled is refused: the text says what was needed, what to do."""

from __future__ import annotations

import random

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import compile

jax.config.update("jax_enable_x64", True)
DEVICE = qml.device("qstore.mock_ideal", wires=3)
GENERATOR = np.random.default_rng(0)
NUMPY = np.array([0.3, -0.4, 0.5])
TORCH, JAX = torch.tensor(NUMPY), jnp.asarray(NUMPY)
ARRAYS = {"numpy": NUMPY, "torch": TORCH, "jax": JAX}


def made(function, **options):
    return compile(qml.QNode(function, DEVICE), **options)


def circuit(w):
    qml.RX(w[0], 0)
    return qml.expval(qml.Z(0))


# ---------------------------------------------------------------- values that decide
NEED_VALUES = {
    "branch": lambda w: qml.RX(w[0], 0) if w[0] > 0 else qml.RY(w[0], 0),
    "truth": lambda w: qml.RX(w[0], 0) if w[0] else qml.RY(w[0], 0),
    "equal": lambda w: qml.RX(w[0], 0) if w[0] == 0.3 else qml.RY(w[0], 0),
    "max": lambda w: qml.RX(max(w[1], 0), 0),
    "min": lambda w: qml.RX(min(w[0], 1.0), 0),
    "float": lambda w: qml.RX(float(w[0]), 0),
    "int": lambda w: qml.RX(0.1 * int(w[0]), 0),
    "round": lambda w: qml.RX(round(w[0], 1), 0),
    "tolist": lambda w: [qml.RX(max(v, 0.0), 0) for v in w.tolist()],
    "item": lambda w: qml.RX(max(w[0].item(), 0.0), 0),
    "range": lambda w: [qml.RX(0.1, 0) for _ in range(w[0])],
    "index": lambda w: qml.RX([0.1, 0.2][w[0]], 0),
    "sorted": lambda w: [qml.RX(v, 0) for v in sorted(w)],
    "text": lambda w: qml.PauliRot(0.3, "X" if f"{w[0]:.1f}" == "0.3" else "Y", 0),
    "into an array": lambda w: qml.AngleEmbedding(_written(w), range(3)),
    "argmax": lambda w: qml.RX(0.1, int(w.argmax())),
    "wire": lambda w: qml.RX(0.1, int(w[0])),
    "chained": lambda w: qml.RX(0.1, 0) if -1 < w[0] < 1 else None,
    "allclose": lambda w: qml.RX(0.1, 0) if np.allclose(w, 0) else None,
    "isnan": lambda w: qml.RX(0.1, 0) if np.isnan(w).any() else None,
}


def _written(w):
    array = np.zeros(3)
    for i in range(3):
        array[i] = w[i]
    return array


def returned(step):
    def named(w):
        step(w)
        return qml.expval(qml.Z(0))

    return named


# JAX rounds what it traces, and takes no number of floating point for a length.
IN_JAX = [name for name in NEED_VALUES if name not in ("round", "range", "index")]
NEEDED = [(kind, name) for kind in ("numpy", "torch") for name in NEED_VALUES]
NEEDED += [("jax", name) for name in IN_JAX]


@pytest.mark.parametrize(("kind", "name"), NEEDED)
def test_what_needs_a_value(kind, name):
    compiled = made(returned(NEED_VALUES[name]))
    with pytest.raises(DeviceError, match="named cannot be compiled") as error:
        compiled(ARRAYS[kind])
    text = str(error.value)
    assert "value" in text
    assert "static_argnames" in text
    assert compiled.retrace_count == 0
    assert compiled.program is None


@pytest.mark.parametrize("name", ["branch", "max", "float", "item", "text"])
def test_static_argnames_is_the_way_out(name):
    function = returned(NEED_VALUES[name])
    compiled = made(function, static_argnames="w")
    for values in (NUMPY, -NUMPY, NUMPY + 0.1, NUMPY):
        expected = qml.QNode(function, DEVICE)(values)
        np.testing.assert_allclose(compiled(values), expected, atol=1e-12)
    assert compiled.retrace_count == 2


def test_wires_from_an_array_of_floats():
    def named(w, wires):
        qml.RX(w, wires[0])
        return qml.expval(qml.Z(0))

    with pytest.raises((DeviceError, TypeError, qml.wires.WireError)):
        made(named)(0.3, np.array([0.0, 1.0]))
    expected = made(named).qnode(0.3, [0, 1])
    assert made(named)(0.3, np.array([0, 1])) == pytest.approx(float(expected))


# --------------------------------------------------------------- numbers at random
class Holder:
    generator = np.random.default_rng(1)


def closed_over():
    generator = np.random.default_rng(2)
    return lambda w: qml.RX(w[0] + generator.normal(), 0)


def counting():
    calls = []

    def step(w):
        calls.append(0)
        for _ in calls:
            qml.RX(w[0], 0)

    return step


def alternating():
    state = {"n": 0}

    def step(w):
        state["n"] += 1
        (qml.RX if state["n"] % 2 else qml.RY)(w[0], 0)

    return step


def new_constant():
    state = {"n": 0.0}

    def step(w):
        state["n"] += 0.1
        qml.RX(w[0] * state["n"], 0)

    return step


DRAWS = {
    "np.random": lambda w: qml.RX(w[0] + np.random.rand(), 0),  # noqa: NPY002
    "np.random, discrete": lambda w: qml.RX(w[0], np.random.randint(2)),  # noqa: NPY002
    "generator": lambda w: qml.RX(w[0] * GENERATOR.normal(), 0),
    "generator, discrete": lambda w: qml.RX(w[0], int(GENERATOR.integers(2))),
    "generator, nearly sure": lambda w: _rarely(w, GENERATOR.random() < 1e-9),
    "random": lambda w: qml.RX(w[0] + random.random(), 0),
    "random, discrete": lambda w: qml.RX(w[0], random.choice([0, 1])),
    "generator of a class": lambda w: qml.RX(w[0], int(Holder.generator.integers(2))),
    "generator, closed over": closed_over(),
    "torch": lambda w: qml.RX(w[0] + float(torch.rand(())), 0),
    "torch, discrete": lambda w: qml.RX(w[0], int(torch.randint(2, ()))),
    "counting": counting(),
    "alternating": alternating(),
    "another constant": new_constant(),
}


def _rarely(w, happens):
    if happens:
        qml.RX(w[0], 0)


@pytest.mark.parametrize("kind", list(ARRAYS))
@pytest.mark.parametrize("name", list(DRAWS))
def test_what_is_different_every_time(name, kind):
    torch_state = torch.get_rng_state()
    state, other = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with pytest.raises(DeviceError, match="cannot be compiled") as error:
            made(returned(DRAWS[name]))(ARRAYS[kind])
    finally:
        np.random.set_state(state)  # noqa: NPY002
        random.setstate(other)
        torch.set_rng_state(torch_state)
    assert "argument" in str(error.value)


def test_the_same_draw_every_time_is_right():
    def named(w):
        rng = np.random.default_rng(3)
        np.random.seed(3)  # noqa: NPY002
        qml.RX(w[0] * rng.normal() + np.random.rand(), 0)  # noqa: NPY002
        return qml.expval(qml.Z(0))

    state = np.random.get_state()  # noqa: NPY002
    try:
        compiled = made(named)
        found = compiled(NUMPY)
        np.testing.assert_allclose(found, compiled.qnode(NUMPY), atol=1e-12)
    finally:
        np.random.set_state(state)  # noqa: NPY002


def test_a_generator_that_is_an_argument_is_refused():
    def named(w, rng):
        qml.RX(w + rng.normal(), 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(TypeError, match="Generator"):
        made(named)(0.3, np.random.default_rng(0))


# ------------------------------------------------------------------------ arguments
@pytest.mark.parametrize("value", [1j, np.complex128(1j), np.array([1j]), TORCH * 1j])
def test_complex_arguments(value):
    with pytest.raises(TypeError, match=r"real.*QNode itself"):
        made(circuit)(value)


def test_complex_arguments_in_jax_whose_parts_are_taken():
    def parts(w):
        qml.RX(jnp.real(w), 0)
        qml.RY(jnp.imag(w), 0)
        return qml.expval(qml.Z(0))

    value = jnp.asarray(0.3 + 0.4j)
    expected = np.cos(0.3) * np.cos(0.4)
    assert float(made(parts)(value)) == pytest.approx(expected)
    with pytest.raises(DeviceError, match="must be real"):
        made(circuit)(JAX * 1j)


def test_arrays_of_objects():
    with pytest.raises(TypeError, match="objects"):
        made(circuit)(np.array([0.1, None], dtype=object))


@pytest.mark.parametrize("value", [{0.1, 0.2}, bytearray(b"ab"), [{1}], {"a": {1}}])
def test_what_has_no_hash(value):
    with pytest.raises(TypeError, match="hashed"):
        made(circuit)(value)


def test_two_frameworks_at_once():
    def named(a, b):
        qml.RX(a, 0)
        qml.RY(b, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(TypeError, match=r"one framework.*jax and torch"):
        made(named)(JAX[0], TORCH[0])
    with pytest.raises(TypeError, match="one framework"):
        qml.grad(lambda a: made(named)(a, TORCH[0]))(pnp.array(0.3))


def test_a_wrong_number_of_arguments():
    for call in (lambda: made(circuit)(), lambda: made(circuit)(NUMPY, NUMPY)):
        with pytest.raises(TypeError, match="argument"):
            call()
    with pytest.raises(TypeError, match="argument"):
        made(circuit)(v=NUMPY)
    with pytest.raises(TypeError, match="argument"):
        made(circuit, static_argnames="w")(NUMPY, NUMPY)


# --------------------------------------------- values that are none of the arguments
def outside(value):
    def named(w):
        qml.RX(w, 0)
        qml.RY(value, 0)
        return qml.expval(qml.Z(0))

    return made(named)


def test_a_tensor_outside_that_requires_a_gradient():
    value = torch.tensor(0.3, requires_grad=True)
    with pytest.raises(DeviceError, match=r"none of its arguments.*argument"):
        outside(value)(torch.tensor(0.2))
    with pytest.raises(DeviceError, match="none of its arguments"):
        outside(value * 2)(0.2)
    with pytest.raises(DeviceError, match="none of its arguments"):
        outside(torch.nn.Parameter(torch.tensor(0.3)))(0.2)
    assert np.isfinite(float(outside(value.detach())(0.2)))


def test_a_product_of_an_argument_and_a_tensor_outside_that_requires_a_gradient():
    value = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def named(w):
        qml.RX(w * value, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError):
        made(named)(torch.tensor(0.2, dtype=torch.float64))


def test_a_value_outside_that_autograd_differentiates():
    for product in (lambda b: b, lambda b: 2 * b):
        with pytest.raises(DeviceError, match="none of its arguments"):
            qml.grad(lambda b, p=product: outside(p(b))(0.2))(pnp.array(0.3))

    def mixed(b):
        def named(w):
            qml.RX(w * b, 0)
            return qml.expval(qml.Z(0))

        return made(named)(0.2)

    with pytest.raises(DeviceError):
        qml.grad(mixed)(pnp.array(0.3))


def test_a_value_outside_that_jax_traces():
    for call in (jax.grad, jax.jit):
        with pytest.raises(Exception, match=r"none of its arguments|leak|Leak"):
            call(lambda b: outside(b)(jnp.asarray(0.2)))(0.3)
        with pytest.raises(DeviceError, match="none of its arguments"):
            call(lambda b: outside(b)(0.2))(0.3)


# --------------------------------------------------------------------------- QNodes
def test_no_qnode():
    for value in (circuit, None, DEVICE):
        with pytest.raises(TypeError, match=r"`qnode` must be a QNode.*@qml.qnode"):
            compile(value)


def test_a_compiled_one_again():
    with pytest.raises(TypeError, match="must be a QNode"):
        compile(made(circuit))


@pytest.mark.parametrize("device", ["default.qubit", "default.mixed"])
def test_another_device(device):
    with pytest.raises(ValueError, match=r"qstore device.*default.*qml.device\("):
        compile(qml.QNode(circuit, qml.device(device, wires=3)))


def test_transforms():
    for transform in (
        qml.transforms.merge_rotations,
        qml.transforms.cancel_inverses,
        qml.simplify,
    ):
        with pytest.raises(ValueError, match=r"no transforms.*quantum function"):
            compile(transform(qml.QNode(circuit, DEVICE)))
    inside = qml.QNode(qml.transforms.merge_rotations(circuit), DEVICE)
    assert compile(inside)(NUMPY) == pytest.approx(float(inside(NUMPY)))


@pytest.mark.parametrize("method", ["finite-diff", "spsa"])
def test_inexact_gradients(method):
    with pytest.raises(ValueError, match=f'exact.*diff_method="best".*{method}'):
        compile(qml.QNode(circuit, DEVICE, diff_method=method))


@pytest.mark.parametrize("method", ["best", "device", "adjoint", "parameter-shift"])
def test_exact_gradients(method):
    qnode = qml.QNode(circuit, DEVICE, diff_method=method)
    expected = qml.grad(qnode)(pnp.array(NUMPY))
    found = qml.grad(compile(qnode))(pnp.array(NUMPY))
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_a_qnode_without_gradient():
    qnode = qml.QNode(circuit, DEVICE, diff_method=None)
    assert compile(qnode)(NUMPY) == pytest.approx(float(qnode(NUMPY)))


def test_unknown_static_names():
    with pytest.raises(ValueError, match=r"static_argnames.*\['w'\].*\['v'\]"):
        made(circuit, static_argnames="v")
    with pytest.raises(ValueError, match=r"\['a', 'b'\]"):
        made(circuit, static_argnames=("b", "w", "a"))


# --------------------------------------------------------------- quantum functions
def test_nothing_returned():
    for function in (lambda w: None, lambda w: w[0], lambda w: []):
        with pytest.raises(qml.exceptions.QuantumFunctionError, match="measurement"):
            made(function)(NUMPY)


def test_measurements_that_are_not_returned_or_in_another_order():
    def forgotten(w):
        qml.expval(qml.X(0))
        return qml.expval(qml.Z(0))

    def swapped(w):
        one, other = qml.expval(qml.X(0)), qml.expval(qml.Z(0))
        return other, one

    for function in (forgotten, swapped):
        with pytest.raises(qml.exceptions.QuantumFunctionError, match="order"):
            qml.QNode(function, DEVICE)(NUMPY)
        with pytest.raises(qml.exceptions.QuantumFunctionError, match="order"):
            made(function)(NUMPY)


OBSERVABLES = {
    "hamiltonian": lambda w: qml.Hamiltonian([w[1], 0.3], [qml.Z(0), qml.X(0)]),
    "times": lambda w: w[1] * qml.Z(0),
    "times from the right": lambda w: qml.Z(0) * w[1],
    "s_prod": lambda w: qml.s_prod(w[1], qml.Z(0)),
    "sum": lambda w: qml.sum(qml.s_prod(w[1], qml.Z(0)), qml.X(0)),
    "hermitian": lambda w: qml.Hermitian(
        qml.math.stack([qml.math.stack([w[0], w[1]]), qml.math.stack([w[1], w[0]])]), 0
    ),
}


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", list(OBSERVABLES))
def test_numbers_of_observables(name, kind):
    def named(w):
        qml.RX(w[0], 0)
        return qml.expval(OBSERVABLES[name](w))

    with pytest.raises(DeviceError, match="observables must be constants"):
        made(named)(ARRAYS[kind])


@pytest.mark.parametrize("name", [name for name in OBSERVABLES if name != "hermitian"])
def test_numbers_of_observables_in_jax(name):
    def named(w):
        qml.RX(w[0], 0)
        return qml.expval(OBSERVABLES[name](w))

    expected = jax.grad(qml.QNode(named, DEVICE))(JAX)
    found = jax.grad(made(named))(JAX)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_an_error_of_the_quantum_function_is_its_own():
    def named(w):
        raise KeyError("mine")

    for array in ARRAYS.values():
        with pytest.raises(KeyError, match="mine"):
            made(named)(array)


def test_after_an_error_other_arguments_work():
    def named(w, deep):
        if deep:
            float(w[0])
        qml.RX(w[0], 0)
        return qml.expval(qml.Z(0))

    compiled = made(named)
    for _ in range(2):
        with pytest.raises(DeviceError, match="cannot be compiled"):
            compiled(NUMPY, deep=True)
    assert compiled(NUMPY, deep=False) == pytest.approx(np.cos(NUMPY[0]))
    assert compiled.retrace_count == 0
