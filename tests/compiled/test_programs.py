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
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import compile
from tests.compiled.frameworks import (
    assert_same,
    in_autograd,
    in_jax,
    in_torch,
)
from tests.compiled.programs import Program, drawn

N_PROGRAMS, N_ON_DEFAULT = 500, 50
# A program of seed s is run as the s-th of these, again and again.
RUNS = {
    "jax": (in_jax, jnp),
    **{f"torch, {i}": (in_torch, torch) for i in range(5)},
    **{f"qml.math in torch, {i}": (in_torch, qml.math) for i in range(5)},
    "jax, jitted": (functools.partial(in_jax, jit=True), qml.math),
    **{f"autograd, {i}": (in_autograd, qml.math) for i in range(9)},
    **{f"pennylane.numpy, {i}": (in_autograd, pnp) for i in range(9)},
}
NAMES = list(RUNS)
SEEDS = range(N_PROGRAMS)
# On the noisy device, where PennyLane decomposes these gates by their value.
REFUSED = {
    149: "Adjoint(U2)",
    398: "PCPhase",
    59: "C(PhaseShift)",
    113: "C(PhaseShift)",
    139: "C(PhaseShift)",
    258: "Adjoint(C(U3))",
    277: "QubitUnitary",
    298: "C(PhaseShift)",
    371: "C(PhaseShift)",
    392: "C(RX)",
    399: "DiagonalQubitUnitary",
    467: "C(PhaseShift)",
}
# PennyLane decomposes no batch of these, or has no matrix of them.
NO_QNODE = {4, 41, 46, 355, 395, 450}


@functools.cache
def program(seed: int) -> Program:
    return drawn(seed)


def leaves(*results):
    return [qml.pytrees.flatten(result)[0] for result in results]


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
    run, xp = RUNS[NAMES[seed % len(NAMES)]]
    assert p.device == "noisy"
    with pytest.raises(DeviceError, match=r"cannot be compiled|not supported") as error:
        run(compile(p.qnode(xp)), p.args, p.kwargs)
    text = str(error.value)
    # Under jax.jit PennyLane itself cannot decompose some of these.
    assert text.startswith(REFUSED[seed]) or "not supported" in text


@pytest.mark.parametrize("seed", sorted(NO_QNODE))
def test_what_the_qnode_cannot_run_is_right_or_refused(seed):
    p = program(seed)
    with pytest.raises((DeviceError, ValueError)):
        p.qnode(qml.math)(*p.args, **p.kwargs)
    try:
        found = compile(p.qnode(np))(*p.args, **p.kwargs)
    except (DeviceError, ValueError):
        return
    names = {"ideal": "default.qubit"}
    assert p.device in names
    expected = p.qnode(np, names[p.device])(*p.args, **p.kwargs)
    for one, other in zip(*leaves(found, expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


def test_most_programs_are_right():
    assert len(REFUSED) + len(NO_QNODE) < 0.04 * N_PROGRAMS


def on_default_qubit():
    """The first programs that default.qubit can run; it has no noise."""
    seeds = [s for s in SEEDS if program(s).device == "ideal" and s not in NO_QNODE]
    return seeds[:N_ON_DEFAULT]


@pytest.mark.parametrize("seed", on_default_qubit())
def test_values_on_default_qubit(seed):
    p = program(seed)
    found = compile(p.qnode(np))(*p.args, **p.kwargs)
    expected = p.qnode(np, "default.qubit")(*p.args, **p.kwargs)
    for one, other in zip(*leaves(found, expected), strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


# ----------------------------------------------------------------------- channels
CHANNEL_SEEDS = range(1000, 1040)
# add_noise and default.mixed have these gates as the device has them.
PLAIN = ("RX", "RY", "RZ", "Rot", "CNOT", "CZ", "Hadamard", "SWAP", "PhaseShift", "S")


@pytest.mark.parametrize("seed", CHANNEL_SEEDS)
def test_channels_whose_strengths_are_arguments(seed):
    p = drawn(seed, names=PLAIN, channels=True, variants=False)
    check(p, ("torch, 0", "autograd, 0", "pennylane.numpy, 0")[seed % 3])


# default.mixed has no batch of a Hermitian matrix times a word in seed 1017.
@pytest.mark.parametrize("seed", sorted({*CHANNEL_SEEDS[1::2]} - {1017}))
def test_channels_on_default_mixed(seed):
    p = drawn(seed, names=PLAIN, channels=True, variants=False)
    device = qml.device("qstore.mock_noisy", wires=p.n_wires, noise=None)
    other = qml.device("default.mixed", wires=p.n_wires)
    function = p.function(np)
    found = compile(qml.QNode(function, device))(*p.args, **p.kwargs)
    expected = qml.QNode(function, other)(*p.args, **p.kwargs)
    for one, other in zip(*leaves(found, expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
