"""Random noisy circuits on the device against default.mixed, to 1e-10.

A circuit is a `Recipe` of tests/test_random_circuits.py with channels between its
gates, or on a device with noise of its own. The reference is default.mixed in
autograd, run on one sample after the other.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any

import jax
import numpy as np
import pennylane as qml
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import enable_x64
from pennylane import numpy as pnp

from qstore_pl.devices import NoiseSpec
from qstore_pl.devices.channels import MAX_CHANNEL_WIRES
from qstore_pl.devices.registry import REGISTRY
from tests.cases import BATCHES, DRAWN, GATES, PREPARATIONS
from tests.devices.test_channels import CHANNELS
from tests.test_random_circuits import (
    N_FEATURES,
    N_WEIGHTS,
    Recipe,
    Step,
    apply,
    measure,
    once,
    random_measurement,
    random_step,
)

WIDTHS = (1, 2, 2, 3, 3, 4, 5)
# Angles that cannot be scaled: PennyLane's bind_new_parameters fails on the first, and
# the second is known by its matrix alone.
NOT_SCALED = {"Evolution", "BlockEncode"}
NARROW = sorted({name for name, row in GATES.items() if row.n_wires <= 2} - NOT_SCALED)
SEEDS = st.integers(0, 10**6)
PERFECT = NoiseSpec()


# --------------------------------------------------------------------- recipes
@dataclasses.dataclass(frozen=True)
class Strike:
    """A channel of `CHANNELS`; its numbers are scaled by entries of ``rates``."""

    channel: str
    wires: tuple[int, ...]
    seed: int


@dataclasses.dataclass(frozen=True)
class NoisyRecipe(Recipe):
    """A recipe with channels between its gates, and the noise of the device."""

    spec: NoiseSpec = PERFECT


def random_strike(seed: int, n_wires: int) -> Strike:
    rng = np.random.default_rng(seed)
    possible = [name for name, row in CHANNELS.items() if row.n_wires <= n_wires]
    name = str(rng.choice(possible))
    wires = rng.permutation(n_wires)[: CHANNELS[name].n_wires]
    return Strike(name, tuple(int(w) for w in wires), seed)


def random_spec(seed: int) -> NoiseSpec:
    """All fields at once, or some of them; readout wire by wire or of all alike."""
    rng = np.random.default_rng(seed)
    t1 = float(rng.uniform(20e-6, 200e-6))
    everything = {
        "p1": rng.uniform(0, 0.1),
        "p2": rng.uniform(0, 0.2),
        "dephasing": rng.uniform(0, 0.1),
        "over_rotation": rng.uniform(-0.1, 0.1),
        "excited": rng.uniform(0, 0.5),
        "t1": t1,
        "t2": t1 * rng.uniform(0.2, 2.0),
        "gate_time_1": rng.uniform(0, 5e-6),
        "gate_time_2": rng.uniform(0, 20e-6),
        "readout": tuple(rng.uniform(0, 0.2, 2)),
    }
    if rng.random() < 0.5:
        pairs = rng.uniform(0, 0.2, (3, 2))
        everything["readout"] = {w: tuple(pairs[i]) for i, w in enumerate((0, 2, 1))}
    kept = {k: v for k, v in everything.items() if rng.random() < 0.8}
    if "t2" in kept and "t1" not in kept:
        del kept["t2"]
    if "t1" in kept and "t2" not in kept:
        kept["t2"] = kept["t1"]
    return NoiseSpec(**kept)


@st.composite
def channel_recipes(draw):
    """Gates, templates, preparations and channels, without noise of the device."""
    n_wires = draw(st.sampled_from(WIDTHS))
    batch = draw(st.sampled_from(BATCHES))
    steps: list[Any] = []
    for seed in draw(st.lists(SEEDS, min_size=1, max_size=8)):
        step = random_step(seed, DRAWN, n_wires, batch)
        if step.gate in GATES and len(step.wires + step.controls) > MAX_CHANNEL_WIRES:
            # It is decomposed, and PennyLane cannot do that for every batch.
            step = random_step(seed, DRAWN, n_wires, None)
        steps.append(step)
        if seed % 3:
            steps.append(random_strike(seed + 1, n_wires))
    if draw(st.booleans()):
        first = [name for name, row in PREPARATIONS.items() if row.n_wires <= n_wires]
        steps.insert(0, random_step(draw(SEEDS), first, n_wires, batch))
    return finished(draw, n_wires, batch, steps, PERFECT)


def known(gate):
    """Whether the device runs a gate, and so its controlled form, as it is."""
    return GATES[gate].operation.__name__ in REGISTRY


@st.composite
def spec_recipes(draw):
    """Gates on at most two wires, each followed by the noise of a random device."""
    n_wires = draw(st.sampled_from((1, 2, 2, 2, 3)))
    batch = draw(st.sampled_from((None, None, 2)))
    # No outcome is impossible: default.mixed differentiates the root of a probability.
    steps = [Step("RY", (w,), (("constant", 0),), None, (), w) for w in range(n_wires)]
    for seed in draw(st.lists(SEEDS, min_size=1, max_size=5)):
        step = random_step(seed, NARROW, n_wires, batch)
        # add_noise writes these as other gates: the adjoint of T as a phase shift and
        # that of U2 with angles pi larger, over-rotated as such; a square as two gates.
        inverts = step.variant is not None and "adjoint" in step.variant
        rewritten = not GATES[step.gate].shapes or step.gate == "U2"
        is_other = step.variant == "square" or (inverts and rewritten)
        # Under control it is decomposed, and noise follows each part.
        is_other |= bool(step.controls) and not known(step.gate)
        if is_other or len(step.wires + step.controls) > 2:
            step = dataclasses.replace(step, variant=None, controls=())
        steps.append(step)
    return finished(draw, n_wires, batch, steps, random_spec(draw(SEEDS)))


def finished(draw, n_wires, batch, steps, spec):
    measurements = []
    for seed in draw(st.lists(SEEDS, min_size=1, max_size=2)):
        m = random_measurement(seed, n_wires)
        if spec.has_readout_error and m.observable in ("sum", "hamiltonian"):
            # Words that are not read together: add_noise cannot misread them.
            m = dataclasses.replace(m, observable="word")
        measurements.append(m)
    trainable = ("weights", "features")
    return NoisyRecipe(
        n_wires,
        batch,
        trainable,
        tuple(steps),
        tuple(measurements),
        draw(SEEDS),
        spec,
    )


# -------------------------------------------------------- from recipe to numbers
def play(recipe, weights, features, rates, sample):
    for step in recipe.steps:
        if isinstance(step, Step):
            one = dataclasses.replace(recipe, steps=(step,))
            apply(one, weights, features, sample)
            continue
        row = CHANNELS[step.channel]
        if row.oracle != "autograd":
            row.build(row.numbers, step.wires)
            continue
        numbers = [
            number * rates[(step.seed + i) % len(rates)]
            for i, number in enumerate(row.numbers)
        ]
        row.build(numbers, step.wires)


def circuits(recipe, device, interface, sample=None):
    """The measurements, and the density matrix, as functions of the arguments."""

    def results(weights, features, rates):
        play(recipe, weights, features, rates, sample)
        return tuple(measure(recipe, weights))

    def state(weights, features, rates):
        play(recipe, weights, features, rates, sample)
        return qml.density_matrix(range(recipe.n_wires))

    return [qml.QNode(f, device, interface=interface) for f in (results, state)]


def is_batched(recipe):
    steps = tuple(step for step in recipe.steps if isinstance(step, Step))
    return dataclasses.replace(recipe, steps=steps).is_batched


def reference(recipe):
    """default.mixed, one sample after the other; without noise from its state alone."""
    device = qml.device("default.mixed", wires=recipe.n_wires)
    model = recipe.spec.to_noise_model()
    order = range(recipe.n_wires)

    def noisy(sample):
        results, state = circuits(recipe, device, "autograd", sample)
        if recipe.spec != PERFECT:
            noise = functools.partial(
                qml.noise.add_noise, noise_model=model, level="user"
            )
            return noise(results), noise(state)

        # default.mixed differentiates the root of a probability, also where it is 0.
        def from_state(weights, features, rates):
            rho = state(weights, features, rates)
            return [value_of(m, rho, order) for m in measure(recipe, weights)]

        return from_state, state

    if not is_batched(recipe):
        return noisy(None)
    pairs = [noisy(b) for b in range(recipe.batch)]

    def results(weights, features, rates):
        rows = [pairs[b][0](weights, features[b], rates) for b in range(recipe.batch)]
        return [qml.math.stack(column) for column in zip(*rows, strict=True)]

    def state(weights, features, rates):
        rows = [pairs[b][1](weights, features[b], rates) for b in range(recipe.batch)]
        return qml.math.stack(rows)

    return results, state


def value_of(measurement, rho, order):
    """A measurement of a density matrix by dense algebra."""
    if isinstance(measurement, qml.measurements.ProbabilityMP):
        for op in measurement.diagonalizing_gates():
            unitary = qml.matrix(op, wire_order=order)
            rho = unitary @ rho @ unitary.conj().T
        wires = measurement.wires.tolist()
        outcomes = qml.math.real(qml.math.diagonal(rho))
        outcomes = qml.math.reshape(outcomes, (2,) * len(order))
        rest = tuple(w for w in order if w not in wires)
        ranks = np.argsort(np.argsort(wires)).tolist()
        return qml.math.reshape(
            qml.math.transpose(qml.math.sum(outcomes, axis=rest), ranks), (-1,)
        )
    matrix = qml.matrix(measurement.obs, wire_order=order)
    mean = qml.math.real(qml.math.trace(rho @ matrix))
    if isinstance(measurement, qml.measurements.ExpectationMP):
        return mean
    return qml.math.real(qml.math.trace(rho @ matrix @ matrix)) - mean**2


def objective(recipe, outcome, arguments):
    """A random linear form; the classical term makes it depend on every argument."""
    rng = np.random.default_rng(recipe.seed + 1)
    total = 0.1 * sum(qml.math.sum(a) for a in arguments)
    for values in outcome:
        scales = qml.math.asarray(rng.normal(size=tuple(values.shape)), like=values)
        total = total + qml.math.sum(scales * values)
    return total


def run_autograd(recipe, pair, values):
    results, state = pair
    arguments = [pnp.array(v, requires_grad=True) for v in values]
    gradients = qml.grad(lambda *a: objective(recipe, results(*a), a))(*arguments)
    return [state(*arguments), *results(*arguments), *gradients]


def run_torch(recipe, pair, values):
    results, state = pair
    arguments = [torch.tensor(v, requires_grad=True) for v in values]
    outcome = results(*arguments)
    objective(recipe, outcome, arguments).backward()
    arrays = [state(*arguments), *outcome, *(a.grad for a in arguments)]
    return [a.detach().numpy() for a in arrays]


def run_jax(recipe, pair, values):
    results, state = pair

    def loss(*arguments):
        outcome = results(*arguments)
        return objective(recipe, outcome, arguments), outcome

    with enable_x64():
        arguments = [jax.numpy.asarray(v) for v in values]
        gradients, outcome = jax.grad(loss, (0, 1, 2), has_aux=True)(*arguments)
        arrays = [state(*arguments), *outcome, *gradients]
        return [np.asarray(a) for a in arrays]


RUN = {"autograd": run_autograd, "torch": run_torch, "jax": run_jax}


def check(recipe: NoisyRecipe, interface: str) -> None:
    rng = np.random.default_rng(recipe.seed)
    front = () if recipe.batch is None else (recipe.batch,)
    values = [
        rng.uniform(-2 * np.pi, 2 * np.pi, size=(N_WEIGHTS,)),
        rng.uniform(-2 * np.pi, 2 * np.pi, size=(*front, N_FEATURES)),
        rng.uniform(0.85, 1.0, size=(3,)),
    ]
    device = qml.device("qstore.mock_noisy", wires=recipe.n_wires, noise=recipe.spec)
    got = RUN[interface](recipe, circuits(recipe, device, interface), values)
    with warnings.catch_warnings():
        # Autograd's own: the cotangent of a real angle inside a complex matrix.
        warnings.filterwarnings("ignore", "Casting complex values to real")
        results, state = reference(recipe)
        expected = run_autograd(recipe, (once(results), state), values)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


# A failing law may take minutes to shrink.
pytestmark = pytest.mark.timeout(900)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(recipe=channel_recipes())
def test_channels_in_autograd(recipe):
    check(recipe, "autograd")


@settings(derandomize=True, max_examples=12, deadline=None)
@given(recipe=channel_recipes())
def test_channels_in_torch(recipe):
    check(recipe, "torch")


@pytest.mark.slow
@settings(derandomize=True, max_examples=8, deadline=None)
@given(recipe=channel_recipes())
def test_channels_in_jax(recipe):
    check(recipe, "jax")


@pytest.mark.slow
@settings(derandomize=True, max_examples=120, deadline=None)
@given(recipe=spec_recipes())
def test_noise_of_the_device_is_its_noise_model_on_default_mixed(recipe):
    check(recipe, "autograd")
