"""Five hundred random QNodes, compiled: values and gradients are the QNode's, to 1e-10.

The QNode itself runs in autograd; on the ideal device the first of them also run on
default.qubit. A program that cannot be compiled is listed with the reason, as is one
that PennyLane cannot run: for these the compiled circuit must be refused as well.
"""

from __future__ import annotations

import functools
import warnings

import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import compile
from tests.compiled.frameworks import (
    assert_same,
    in_autograd,
    in_jax,
    in_torch,
    taken_apart,
)
from tests.compiled.programs import Program, drawn

N_PROGRAMS, N_ON_DEFAULT = 500, 50
# A program of seed s is run as the s-th of these, again and again.
RUNS = {
    "jax": (in_jax, jnp),
    **{f"torch, {i}": (in_torch, qml.math) for i in range(8)},
    "jax, jitted": (functools.partial(in_jax, jit=True), qml.math),
    **{f"autograd, {i}": (in_autograd, qml.math) for i in range(5)},
    **{f"pennylane.numpy, {i}": (in_autograd, pnp) for i in range(5)},
}
NAMES = list(RUNS)
SEEDS = range(N_PROGRAMS)
REFUSED: dict[int, str] = {}
NO_QNODE: set[int] = set()


@functools.cache
def program(seed: int) -> Program:
    return drawn(seed)


def check(program: Program, name: str, **options: object) -> None:
    run, xp = RUNS[name]
    qnode = program.qnode(qml.math, **options)
    with warnings.catch_warnings():
        # Autograd's own: the cotangent of a real angle inside a complex matrix.
        warnings.filterwarnings("ignore", "Casting complex values to real")
        expected = in_autograd(qnode, program.args, program.kwargs)
    compiled = compile(program.qnode(xp, **options))
    assert_same(run(compiled, program.args, program.kwargs), expected)
    assert compiled.retrace_count <= 1  # jax may trace once with and without x64


@pytest.mark.parametrize("seed", sorted(set(SEEDS) - set(REFUSED) - NO_QNODE))
def test_values_and_gradients(seed):
    check(program(seed), NAMES[seed % len(NAMES)])


@pytest.mark.parametrize("seed", sorted(REFUSED))
def test_refused(seed):
    p = program(seed)
    with pytest.raises(DeviceError, match="cannot be compiled") as error:
        compile(p.qnode(qml.math))(*p.args, **p.kwargs)
    assert REFUSED[seed] in str(error.value)


@pytest.mark.parametrize("seed", range(N_ON_DEFAULT))
def test_values_on_default_qubit(seed):
    p = program(seed)
    if p.device != "ideal":
        pytest.skip("default.qubit has no noise")
    found = compile(p.qnode(np))(*p.args, **p.kwargs)
    expected = p.qnode(np, "default.qubit")(*p.args, **p.kwargs)
    for one, other in zip(*(qml.pytrees.flatten(r)[0] for r in (found, expected))):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
