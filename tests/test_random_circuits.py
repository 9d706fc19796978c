"""Random circuits on the device against default.qubit, to 1e-10, in three interfaces.

A circuit is a `Recipe`: a plain value that Hypothesis draws and shrinks, whose printed
form rebuilds it. The reference is always default.qubit in autograd, run on one sample
after the other.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

from tests.cases import (
    BATCHES,
    DRAWN,
    GATES,
    OBSERVABLES,
    PREPARATIONS,
    TEMPLATES,
    VARIANTS,
    has_variant,
)

DEVICE = "qstore.mock_ideal"
ARGUMENTS = ("weights", "features")
N_WEIGHTS, N_FEATURES = 5, 4
ALL = GATES | TEMPLATES | PREPARATIONS
WIDTHS = (1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8)
BATCHED = {"feature", "weight * feature", "batch of constants"}
SOURCES = ("weight", "feature", "weight * feature", "constant", "batch of constants")


# --------------------------------------------------------------- recipes
@dataclass(frozen=True)
class Step:
    """One gate: its row in the tables, where, and where each parameter comes from.

    A source is a name of `SOURCES` and the index of the first entry it takes; a
    parameter with more entries takes the following ones, cyclically, so that one weight
    stands in several places.
    """

    gate: str
    wires: tuple[int, ...]
    sources: tuple[tuple[str, int], ...]
    variant: str | None
    controls: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Measurement:
    """``kind`` is expval, var, probs or probs of an observable of `OBSERVABLES`."""

    kind: str
    observable: str
    wires: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Recipe:
    """A circuit of ``weights`` (5,) and ``features`` (4,) or (batch, 4)."""

    n_wires: int
    batch: int | None
    trainable: tuple[str, ...]
    steps: tuple[Step, ...]
    measurements: tuple[Measurement, ...]
    seed: int

    @property
    def is_batched(self) -> bool:
        """Whether any gate takes a parameter with a batch axis."""
        sources = {source for step in self.steps for source, _ in step.sources}
        return self.batch is not None and not sources.isdisjoint(BATCHED)


def random_step(seed: int, labels: Sequence[str], n_wires: int, batch: int | None):
    """A gate of those of ``labels`` that fit."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice([label for label in labels if ALL[label].n_wires <= n_wires]))
    gate = ALL[name]
    order = [int(w) for w in rng.permutation(n_wires)]
    wires, spare = order[: gate.n_wires], order[gate.n_wires :]
    variant, controls = None, []
    possible = [v for v in VARIANTS if v != "root" and has_variant(gate, v)]
    if name not in PREPARATIONS and rng.random() < 0.3:
        variant = str(rng.choice(possible))
    if variant and "controlled" in variant:
        controls = spare[: int(rng.integers(1, 3))]
        variant = variant if controls else None
    allowed = SOURCES if gate.oracle == "autograd" else SOURCES[-2:]
    if batch is None or not gate.batches:
        allowed = [source for source in allowed if source not in BATCHED]
    sources = [(str(rng.choice(allowed)), int(rng.integers(8))) for _ in gate.shapes]
    return Step(name, tuple(wires), tuple(sources), variant, tuple(controls), seed)


def random_measurement(seed: int, n_wires: int) -> Measurement:
    rng = np.random.default_rng(seed)
    kind = str(rng.choice(["expval", "expval", "var", "probs", "probs of"]))
    observable = str(rng.choice(list(OBSERVABLES)))
    wires = rng.permutation(n_wires)[: int(rng.integers(1, 4))]
    return Measurement(kind, observable, tuple(int(w) for w in wires), seed)


@st.composite
def recipes(draw):
    """Few wires more often than many; Hypothesis shrinks by leaving out gates.

    A gate is uniform in its seed: drawn one by one, its parts would repeat themselves.
    """
    seeds = st.integers(0, 10**6)  # a small range, which Hypothesis draws evenly
    n_wires = draw(st.sampled_from(WIDTHS))
    batch = draw(st.sampled_from(BATCHES))
    gates = [
        random_step(seed, DRAWN, n_wires, batch)
        for seed in draw(st.lists(seeds, min_size=1, max_size=12))
    ]
    if draw(st.booleans()):
        first = [name for name, row in PREPARATIONS.items() if row.n_wires <= n_wires]
        gates.insert(0, random_step(draw(seeds), first, n_wires, batch))
    measurements = [
        random_measurement(seed, n_wires)
        for seed in draw(st.lists(seeds, min_size=1, max_size=3))
    ]
    trainable = draw(st.sampled_from((("weights",), ("features",), ARGUMENTS)))
    return Recipe(
        n_wires, batch, trainable, tuple(gates), tuple(measurements), draw(seeds)
    )


# ------------------------------------------------------ from recipe to numbers
def entries(array: Any, start: int, shape: tuple[int, ...]) -> Any:
    """``shape`` entries of the last axis, cyclically, the axes before it in front."""
    n = array.shape[-1]
    if shape == ():
        return array[..., start % n]
    index = (start + np.arange(math.prod(shape))) % n
    return qml.math.reshape(array[..., index], tuple(array.shape[:-1]) + shape)


def parameters(
    step: Step, weights: Any, features: Any, batch: int | None, sample: int | None
) -> list[Any]:
    gate = ALL[step.gate]
    constants = gate.parameters(np.random.default_rng(step.seed))
    batches = gate.parameters(np.random.default_rng(step.seed), batch)
    if sample is not None:
        batches = [values[sample] for values in batches]
    values: dict[str, Callable[[int, int, tuple[int, ...]], Any]] = {
        "weight": lambda k, i, shape: entries(weights, i, shape),
        "feature": lambda k, i, shape: entries(features, i, shape),
        "weight * feature": lambda k, i, shape: (
            entries(weights, i, shape) * entries(features, i, shape)
        ),
        "constant": lambda k, i, shape: constants[k],
        "batch of constants": lambda k, i, shape: batches[k],
    }
    return [
        values[source](k, start, shape)
        for k, ((source, start), shape) in enumerate(
            zip(step.sources, gate.shapes, strict=True)
        )
    ]


def apply(recipe: Recipe, weights: Any, features: Any, sample: int | None) -> None:
    for step in recipe.steps:
        rng = np.random.default_rng(step.seed)
        values = parameters(step, weights, features, recipe.batch, sample)
        op = ALL[step.gate].build(values, step.wires, rng)
        if step.variant is not None:
            VARIANTS[step.variant](op, step.controls, rng)


def measure(recipe: Recipe, weights: Any) -> list[Any]:
    results = []
    for m in recipe.measurements:
        if m.kind == "probs":
            results.append(qml.probs(wires=m.wires))
            continue
        rng = np.random.default_rng(m.seed)
        if m.kind == "probs of":
            observable = OBSERVABLES["word"](rng, m.wires, None)
            results.append(qml.probs(op=observable))
            continue
        coefficients = weights[:3] if m.kind == "expval" else rng.normal(size=3)
        observable = OBSERVABLES[m.observable](rng, m.wires, coefficients)
        results.append(getattr(qml, m.kind)(observable))
    return results


QNodes = tuple[Callable[..., Any], Callable[..., list[Any]]]


def qnodes(
    recipe: Recipe, device: str, interface: str, sample: int | None = None
) -> QNodes:
    """The state and the measurements as functions of (weights, features).

    With a ``sample``, features and constants are those of that one.
    """
    dev = qml.device(device, wires=recipe.n_wires)

    @qml.qnode(dev, interface=interface)
    def state(weights, features):
        apply(recipe, weights, features, sample)
        return qml.state()

    @qml.qnode(dev, interface=interface)
    def results(weights, features):
        apply(recipe, weights, features, sample)
        return measure(recipe, weights)

    return state, results


def reference_qnodes(
    recipe: Recipe, of_sample: Callable[[int | None], QNodes] | None = None
) -> QNodes:
    """default.qubit or other QNodes, run on one sample after the other."""
    if of_sample is None:

        def of_sample(b: int | None) -> QNodes:
            return qnodes(recipe, "default.qubit", "autograd", b)

    if not recipe.is_batched:
        return of_sample(None)
    samples = range(recipe.batch)
    pairs = [of_sample(b) for b in samples]

    def state(weights, features):
        return np.stack([pairs[b][0](weights, features[b]) for b in samples])

    def results(weights, features):
        rows = [pairs[b][1](weights, features[b]) for b in samples]
        return [qml.math.stack(column) for column in zip(*rows, strict=True)]

    return state, results


def objective(recipe: Recipe, outcome: Sequence[Any], arguments: Sequence[Any]) -> Any:
    """A random linear form of the outcome.

    The classical term makes it depend on every argument even if the circuit does not.
    """
    rng = np.random.default_rng(recipe.seed + 1)
    total = 0.1 * sum(qml.math.sum(a) for a in arguments)
    for values in outcome:
        scales = qml.math.asarray(rng.normal(size=tuple(values.shape)), like=values)
        total = total + qml.math.sum(scales * values)
    return total


# ------------------------------------------------------------ interfaces
Numbers = list[np.ndarray]


def run_autograd(recipe: Recipe, circuits: QNodes, values: Numbers) -> Numbers:
    state, results = circuits
    arguments = [
        pnp.array(v, requires_grad=name in recipe.trainable)
        for name, v in zip(ARGUMENTS, values, strict=True)
    ]

    def loss(*arguments):
        return objective(recipe, results(*arguments), arguments)

    gradient = qml.grad(loss)(*arguments)
    gradients = [gradient] if len(recipe.trainable) == 1 else list(gradient)
    return [state(*arguments), *results(*arguments), *gradients]


def run_torch(recipe: Recipe, circuits: QNodes, values: Numbers) -> Numbers:
    state, results = circuits
    arguments = [
        torch.tensor(v, requires_grad=name in recipe.trainable)
        for name, v in zip(ARGUMENTS, values, strict=True)
    ]
    outcome = results(*arguments)
    objective(recipe, outcome, arguments).backward()
    gradients = [a.grad for a in arguments if a.requires_grad]
    tensors = [state(*arguments), *outcome, *gradients]
    return [t.detach().numpy() for t in tensors]


def run_jax(recipe: Recipe, circuits: QNodes, values: Numbers) -> Numbers:
    state, results = circuits
    argnums = [ARGUMENTS.index(name) for name in recipe.trainable]

    def loss(*arguments):
        outcome = results(*arguments)
        return objective(recipe, outcome, arguments), outcome

    with enable_x64():
        arguments = [jax.numpy.asarray(v) for v in values]
        gradients, outcome = jax.grad(loss, argnums, has_aux=True)(*arguments)
        arrays = [state(*arguments), *outcome, *gradients]
        return [np.asarray(a) for a in arrays]


def once(results: Callable[..., Any]) -> Callable[..., Any]:
    """Results that are computed once, with the gradient: default.qubit takes long."""
    found: list[Any] = []

    def call(*arguments):
        if found:
            return found
        outcome = results(*arguments)
        found.extend(qml.math.unwrap(outcome))
        return outcome

    return call


RUN = {"autograd": run_autograd, "torch": run_torch, "jax": run_jax}


def check(recipe: Recipe, interface: str) -> None:
    rng = np.random.default_rng(recipe.seed)
    front = () if recipe.batch is None else (recipe.batch,)
    values = [
        rng.uniform(-2 * np.pi, 2 * np.pi, size=(N_WEIGHTS,)),
        rng.uniform(-2 * np.pi, 2 * np.pi, size=(*front, N_FEATURES)),
    ]
    with warnings.catch_warnings():
        # Autograd's own: the cotangent of a real angle inside a complex matrix.
        warnings.filterwarnings("ignore", "Casting complex values to real")
        state, results = reference_qnodes(recipe)
        expected = run_autograd(recipe, (state, once(results)), values)
    got = RUN[interface](recipe, qnodes(recipe, DEVICE, interface), values)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)


# A failing law may take minutes to shrink.
pytestmark = pytest.mark.timeout(900)


@pytest.mark.slow
@settings(derandomize=True, max_examples=300, deadline=None)
@given(recipe=recipes())
def test_autograd(recipe):
    check(recipe, "autograd")


@settings(derandomize=True, max_examples=80, deadline=None)
@given(recipe=recipes())
def test_torch(recipe):
    check(recipe, "torch")


@pytest.mark.slow
@settings(derandomize=True, max_examples=50, deadline=None)
@given(recipe=recipes())
def test_jax(recipe):
    check(recipe, "jax")
