"""What the conformance tests share: frameworks of one shape, a reference, equality."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from numpy.exceptions import ComplexWarning
from pennylane import numpy as pnp

# Without this JAX computes in float32, and nothing below could agree to 1e-10.
jax.config.update("jax_enable_x64", True)
# JAX compiles thousands of small functions here, nearly all of which run once. Without
# LLVM's optimization of what is between our kernels that takes a quarter less time.
jax.config.update("jax_disable_most_optimizations", True)

FRAMEWORKS = ("autograd", "torch", "jax", "jax-jit")


@dataclass(frozen=True)
class Framework:
    """Derivatives of ``function(*arrays) -> array``, as numpy arrays."""

    name: str

    def tensor(self, array: Any) -> Any:
        """A trainable tensor of the framework."""
        if self.name == "autograd":
            return pnp.array(array, requires_grad=True)
        if self.name == "torch":
            return torch.tensor(np.asarray(array), requires_grad=True)
        return jnp.asarray(array)

    def jit(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return jax.jit(function) if self.name == "jax-jit" else function

    def value(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """The result of ``function`` in the framework's own types."""
        return self.jit(function)(*map(self.tensor, arrays))

    def jacobian(
        self, function: Callable[..., Any], *arrays: Any
    ) -> tuple[np.ndarray, ...]:
        """One array per argument, of shape ``(*result.shape, *argument.shape)``."""
        tensors = tuple(map(self.tensor, arrays))
        everything = tuple(range(len(arrays)))
        if self.name == "autograd":
            jacobian = qml.jacobian(function, argnums=everything)(*tensors)
        elif self.name == "torch":
            jacobian = torch.autograd.functional.jacobian(function, tensors)
        else:
            jacobian = self.jit(jax.jacobian(function, argnums=everything))(*tensors)
        return tuple(np.asarray(j) for j in jacobian)

    def hessian(self, function: Callable[..., Any], array: Any) -> np.ndarray:
        """Second derivatives of a scalar, shape ``(*array.shape, *array.shape)``."""
        tensor = self.tensor(array)
        if self.name == "autograd":
            # PennyLane may hand the second jacobian back in a box.
            twice = qml.jacobian(qml.grad(function))(tensor)
            return np.asarray(qml.math.unwrap([twice])[0])
        if self.name == "torch":
            hessian: Any = torch.autograd.functional.hessian(function, tensor)
            return hessian.numpy()
        return np.asarray(self.jit(jax.hessian(function))(tensor))


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each framework in turn."""
    return Framework(request.param)


def flattened(result: Any) -> Any:
    if isinstance(result, tuple | list):
        return qml.math.concatenate([flattened(r) for r in result])
    return qml.math.reshape(result, (-1,))


@pytest.fixture
def flat() -> Callable[..., Callable[..., Any]]:
    """Maps a function to one that returns all its results as one 1-D array."""
    return lambda function: lambda *arguments: flattened(function(*arguments))


class Reference:
    """default.qubit, exact and differentiated by backprop in autograd."""

    def qnode(self, circuit: Callable[..., Any]) -> qml.QNode:
        return qml.QNode(circuit, qml.device("default.qubit"), diff_method="backprop")

    def jacobian(
        self, circuit: Callable[..., Any], *arrays: Any
    ) -> tuple[np.ndarray, ...]:
        """Derivatives of all results, flat, by every argument."""
        qnode = self.qnode(circuit)
        with warnings.catch_warnings():
            # default.qubit casts complex to real on its way back.
            warnings.simplefilter("ignore", ComplexWarning)
            return Framework("autograd").jacobian(
                lambda *a: flattened(qnode(*a)), *arrays
            )

    def hessian(self, circuit: Callable[..., Any], array: Any) -> np.ndarray:
        """Second derivatives of a circuit with one scalar result."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ComplexWarning)
            return Framework("autograd").hessian(self.qnode(circuit), array)


@pytest.fixture
def reference() -> Reference:
    """default.qubit as the oracle."""
    return Reference()


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator seeded afresh for each test."""
    return np.random.default_rng(2024)


def assert_agree(actual: Any, expected: Any, atol: float = 1e-10) -> None:
    """The same nesting of results, the same shapes, values within ``atol``."""
    if isinstance(expected, dict):
        assert isinstance(actual, dict)
        assert set(actual) == set(expected)
        for key, value in expected.items():
            assert_agree(actual[key], value, atol)
    elif isinstance(expected, tuple | list):
        assert isinstance(actual, tuple | list)
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_agree(one, other, atol)
    else:
        one, other = qml.math.unwrap([actual, expected])
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


@pytest.fixture
def agree() -> Callable[..., None]:
    """The comparison `assert_agree`."""
    return assert_agree
