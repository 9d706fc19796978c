"""Results of compiled circuits have the form of the QNode's, in every framework."""

from __future__ import annotations

import functools

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
DEVICES = {
    name: functools.partial(qml.device, f"qstore.{name}", wires=3)
    for name in ("mock_ideal", "mock_noisy")
}
MIXED = np.array([[1, 2j], [-2j, 0.5]])
FORMS = {
    "one": lambda: qml.expval(qml.Z(0)),
    "variance": lambda: qml.var(qml.Z(0) @ qml.X(1)),
    "probs": lambda: qml.probs(wires=[1, 0]),
    "probs of all wires": lambda: qml.probs(),
    "probs of an observable": lambda: qml.probs(op=qml.X(0)),
    "hermitian": lambda: qml.expval(qml.Hermitian(MIXED, 1)),
    "identity": lambda: qml.expval(qml.Identity(0)),
    "list": lambda: [qml.expval(qml.Z(0)), qml.probs(wires=[1])],
    "list of one": lambda: [qml.expval(qml.Z(0))],
    "tuple": lambda: (qml.expval(qml.Z(0)), qml.var(qml.X(1))),
    "tuple of one": lambda: (qml.probs(wires=[0]),),
    "dict": lambda: {"a": qml.expval(qml.Z(0)), "b": qml.probs(wires=[0])},
    "dict of one": lambda: {3: qml.expval(qml.Z(0))},
    "nested": lambda: (
        [qml.expval(qml.Z(0)), (qml.probs(wires=[0]), {"c": qml.var(qml.Z(1))})],
        {"a": [qml.expval(qml.Hermitian(MIXED, 0))]},
    ),
}
X = np.array([0.3, 0.8])
BATCHES = {
    "none": X,
    "one sample": X[None],
    "three": np.linspace(-1, 1, 6).reshape(3, 2),
}
KINDS = {
    "numpy": np.asarray,
    "float32": np.float32,
    "pennylane.numpy": functools.partial(pnp.array, requires_grad=False),
    "trainable": functools.partial(pnp.array, requires_grad=True),
    "torch": torch.as_tensor,
    "torch, float32": lambda x: torch.as_tensor(x, dtype=torch.float32),
    "torch, trainable": lambda x: torch.tensor(x, requires_grad=True),
    "jax": jnp.asarray,
    "jax, float32": lambda x: jnp.asarray(x, dtype=jnp.float32),
}


def qnode(device, measure):
    def circuit(x):
        qml.AngleEmbedding(x, wires=[0, 1])
        qml.CNOT([0, 1])
        return measure()

    return qml.QNode(circuit, DEVICES[device]())


def family(value):
    """The framework: numpy has several classes for a number."""
    for kind in (torch.Tensor, jax.Array):
        if isinstance(value, kind):
            return kind
    assert isinstance(value, np.ndarray | np.generic | float)
    return np.ndarray


def assert_same_form(found, expected, *, rtol=1e-10):
    assert type(found) is type(expected) or not isinstance(
        expected, list | tuple | dict
    )
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_form(one, other, rtol=rtol)
        return
    assert family(found) is family(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    one, other = (qml.math.toarray(v) for v in (found, expected))
    np.testing.assert_allclose(one, other, rtol=0, atol=rtol)


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "jax" not in kind])
def test_forms(kind, form):
    for device in DEVICES if kind in ("trainable", "torch") else ["mock_ideal"]:
        call = qnode(device, FORMS[form])
        compiled = compile(call)
        for batch in BATCHES.values():
            x = KINDS[kind](batch)
            assert_same_form(compiled(x), call(x))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "jax" in kind])
@pytest.mark.parametrize("form", ["one", "probs", "list of one", "dict", "nested"])
def test_forms_in_jax(kind, form):
    call = qnode("mock_ideal", FORMS[form])
    compiled = compile(call)
    for name in ("none", "three") if "float32" in kind else BATCHES:
        x = KINDS[kind](BATCHES[name])
        assert_same_form(compiled(x), call(x), rtol=1e-7)


def test_no_arguments():
    def circuit():
        qml.RX(0.3, 0)
        return qml.expval(qml.Z(0)), qml.probs(wires=[0])

    call = qml.QNode(circuit, DEVICES["mock_ideal"]())
    compiled = compile(call)
    for _ in range(2):
        assert_same_form(compiled(), call())
    assert compiled.retrace_count == 0


def test_no_traced_arguments():
    def circuit(n, angles):
        for angle in range(n):
            qml.RX(0.1 * angle, 0)
        qml.RY(angles[0], 0)
        return qml.expval(qml.Z(0))

    call = qml.QNode(circuit, DEVICES["mock_ideal"]())
    compiled = compile(call)
    assert_same_form(compiled(3, (1, 2)), call(3, (1, 2)))
    assert_same_form(compiled(3, np.array([1, 2])), call(3, np.array([1, 2])))


def test_constants_only_with_a_batch():
    def circuit(w):
        qml.RX(np.array([0.1, 0.2, 0.3]), 0)
        return qml.probs(wires=[0])

    call = qml.QNode(circuit, DEVICES["mock_ideal"]())
    assert_same_form(compile(call)(0.3), call(0.3))


def test_no_gates():
    for measure in (lambda: qml.expval(qml.Z(0)), qml.probs):
        call = qml.QNode(lambda x, m=measure: m(), DEVICES["mock_ideal"]())
        assert_same_form(compile(call)(0.3), call(0.3))


def test_arguments_of_length_zero():
    def circuit(x, w):
        for value in w:
            qml.RY(value, 0)
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    call = qml.QNode(circuit, DEVICES["mock_ideal"]())
    compiled = compile(call)
    assert_same_form(compiled(0.3, np.empty(0)), call(0.3, np.empty(0)))
    assert_same_form(compiled(0.3, []), call(0.3, []))
    gradient = qml.grad(compiled, argnums=[0, 1])(0.3, pnp.array([]))
    np.testing.assert_allclose(gradient[0], -np.sin(0.3))
    assert np.shape(gradient[1]) == (0,)


# ----------------------------------------------------------------------------- states
STATES = {
    "state": qml.state,
    "density matrix": lambda: qml.density_matrix([1]),
    "density matrix of two": lambda: qml.density_matrix([2, 0]),
    "entropy": lambda: qml.vn_entropy([0]),
    "purity": lambda: qml.purity([0]),
    "mutual information": lambda: qml.mutual_info([0], [1]),
    "with others": lambda: (qml.state(), qml.expval(qml.Z(0)), qml.probs(wires=[2])),
}


@pytest.mark.parametrize("device", list(DEVICES))
@pytest.mark.parametrize("name", list(STATES))
def test_states(name, device):
    call = qnode(device, STATES[name])
    compiled = compile(call)
    for batch in BATCHES.values():
        for kind in ("numpy", "pennylane.numpy", "torch"):
            x = KINDS[kind](batch)
            assert_same_form(compiled(x), call(x))
        with torch.no_grad():
            x = KINDS["torch, trainable"](batch)
            assert_same_form(compiled(x), call(x))


@pytest.mark.parametrize("name", ["state", "entropy"])
def test_states_in_jax(name):
    call = qnode("mock_ideal", STATES[name])
    assert_same_form(compile(call)(jnp.asarray(X)), call(jnp.asarray(X)))


@pytest.mark.parametrize("name", list(STATES))
def test_gradients_of_states_are_refused(name):
    compiled = compile(qnode("mock_ideal", STATES[name]))

    def total(x):
        leaves = qml.pytrees.flatten(compiled(x))[0]
        return sum(qml.math.sum(qml.math.abs(value)) for value in leaves)

    with pytest.raises(DeviceError, match="gradients of expectation values"):
        qml.grad(total)(pnp.array(X))
    with pytest.raises(DeviceError, match="gradients of expectation values"):
        total(torch.tensor(X, requires_grad=True)).backward()


def test_gradients_of_states_in_jax():
    call = qnode("mock_ideal", STATES["entropy"])
    expected = qml.grad(call)(pnp.array(X))
    found = jax.grad(compile(call))(jnp.asarray(X))
    np.testing.assert_allclose(found, expected, atol=1e-8)


@pytest.mark.parametrize("measure", [qml.sample, qml.counts])
def test_samples_without_shots_are_refused_as_in_the_qnode(measure):
    call = qnode("mock_ideal", measure)
    for function in (call, compile(call)):
        with pytest.raises(DeviceError, match="not accepted for analytic simulation"):
            function(X)
