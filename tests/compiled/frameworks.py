"""Values and gradients of a QNode, compiled or not, in three frameworks.

The arguments are plain: arrays of numpy and Python numbers. A framework turns them into
its own, takes the gradient of one random linear form of all outputs with respect to
every float among them, and gives arrays of numpy back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd
import jax
import numpy as np
import pennylane as qml
import torch

jax.config.update("jax_enable_x64", True)

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a QNode gave.

    Args:
        structure: How its results are nested.
        types: The classes of its results.
        results: Its results.
        gradients: Of a linear form of the results, with respect to each float argument.
    """

    structure: Any
    types: list[type]
    results: list[np.ndarray]
    gradients: list[np.ndarray]


def is_float(leaf: Any) -> bool:
    return isinstance(leaf, float) or getattr(leaf, "dtype", np.dtype(int)).kind == "f"


def taken_apart(args: Any, kwargs: Any) -> tuple[list[Any], Callable[..., Arguments]]:
    """The floats among arguments, and the function that puts others in their place."""
    flat, structure = qml.pytrees.flatten((tuple(args), dict(kwargs)))
    places = [i for i, leaf in enumerate(flat) if is_float(leaf)]

    def rebuilt(floats: Sequence[Any]) -> Arguments:
        again = list(flat)
        for place, value in zip(places, floats, strict=True):
            again[place] = value
        return qml.pytrees.unflatten(again, structure)

    return [flat[i] for i in places], rebuilt


def form(results: Sequence[Any], leaves: Sequence[Any], like: str) -> Any:
    """A linear form of all results and arguments, which depends on each of them."""
    rng = np.random.default_rng(5)
    total = 0.1 * sum(qml.math.sum(leaf) for leaf in leaves)
    for value in results:
        scales = qml.math.asarray(rng.normal(size=tuple(np.shape(value))), like=like)
        total = total + qml.math.sum(scales * value)
    return total


def outcome(results: Any, arrays: Callable[[Any], Any], gradients: Any) -> Outcome:
    flat, structure = qml.pytrees.flatten(results)
    return Outcome(
        structure, [type(v) for v in flat], [arrays(v) for v in flat], list(gradients)
    )


def in_autograd(qnode: Any, args: Any, kwargs: Any) -> Outcome:
    floats, rebuilt = taken_apart(args, kwargs)

    def call(*leaves):
        again, named = rebuilt(leaves)
        return qnode(*again, **named)

    def cost(*leaves):
        return form(qml.pytrees.flatten(call(*leaves))[0], leaves, "autograd")

    results = call(*floats)
    n = len(floats)
    gradients = autograd.grad(cost, tuple(range(n)))(*floats) if n else []
    return outcome(results, np.asarray, map(np.asarray, gradients))


def in_torch(qnode: Any, args: Any, kwargs: Any) -> Outcome:
    floats, rebuilt = taken_apart(args, kwargs)
    tensors = [torch.tensor(leaf, dtype=torch.float64) for leaf in floats]
    for tensor in tensors:
        tensor.requires_grad_()
    again, named = rebuilt(tensors)
    results = qnode(*again, **named)
    if tensors:
        form(qml.pytrees.flatten(results)[0], tensors, "torch").backward()
    gradients = [tensor.grad.numpy() for tensor in tensors]
    return outcome(results, lambda value: value.detach().numpy(), gradients)


def in_jax(qnode: Any, args: Any, kwargs: Any, *, jit: bool = False) -> Outcome:
    floats, rebuilt = taken_apart(args, kwargs)

    def cost(leaves):
        again, named = rebuilt(leaves)
        results = qnode(*again, **named)
        return form(qml.pytrees.flatten(results)[0], leaves, "jax"), results

    arrays = [jax.numpy.asarray(leaf) for leaf in floats]
    gradient = jax.grad(cost, has_aux=True)
    found, results = (jax.jit(gradient) if jit else gradient)(arrays)
    return outcome(results, np.asarray, map(np.asarray, found))


def assert_same(found: Outcome, expected: Outcome, *, atol: float = 1e-10) -> None:
    assert found.structure == expected.structure
    for name in ("results", "gradients"):
        pairs = zip(getattr(found, name), getattr(expected, name), strict=True)
        for i, (one, other) in enumerate(pairs):
            assert np.shape(one) == np.shape(other), (name, i)
            message = f"{name} {i}"
            np.testing.assert_allclose(one, other, rtol=0, atol=atol, err_msg=message)
