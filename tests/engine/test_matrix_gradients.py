"""Gradients by the entries of matrices and Kraus matrices, against differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Angle,
    Kraus,
    Matrix,
    PauliRotation,
    Permutation,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.program import untied_columns
from qstore_pl.engine.pure import PureProgram

STEP = 1e-5
OBSERVABLES = [((1.0, "ZX", (0, 2)), (0.4, "Y", (1,))), ((0.7, "XZ", (1, 2)),)]
CNOT = Permutation((0, 1), (0, 1, 3, 2), (0, 0, 0, 0))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def unitary(rng, k):
    side = 1 << k
    q, _ = np.linalg.qr(rng.normal(size=(side, side, 2)) @ [1, 1j])
    return q


def parts(matrices):
    flat = np.asarray(matrices).reshape(-1)
    return np.concatenate([flat.real, flat.imag])


def differences(run, values):
    """Central differences of the outputs of each sample by values of each sample."""
    columns = []
    for i in range(values.shape[-1]):
        step = np.zeros(values.shape[-1])
        step[i] = STEP
        columns.append((run(values + step) - run(values - step)) / (2 * STEP))
    return np.stack(columns, axis=-1)


def rotations(kind):
    """A gate before, and one after, whose angles are the first two slots."""
    return [
        PauliRotation("Y", (w,), Angle(0.3 + w, ((1.0, (kind, w % 2), (0, 0)),)))
        for w in range(3)
    ]


CASES = [
    pytest.param(wires, inverse, controls, id=f"{wires}-{inverse}-{controls}")
    for wires, inverse, controls in itertools.product(
        [(1,), (2, 0)], [False, True], [(), ((1, 0),), ((0, 1),)]
    )
    if not {wire for wire, _ in controls} & set(wires)
]


@pytest.mark.parametrize("program", [PureProgram, MixedProgram])
@pytest.mark.parametrize("kind", [WEIGHT, FEATURE])
@pytest.mark.parametrize(("wires", "inverse", "controls"), CASES)
def test_gradient_by_a_matrix_is_the_difference(
    program, kind, wires, inverse, controls, rng
):
    batch, size = 3, 2 * 4 ** len(wires)
    matrix = Matrix(wires, (kind, 2), inverse, controls, differentiable=True)
    gates = [*rotations(kind), CNOT, matrix, CNOT, *rotations(WEIGHT)]
    n_weights = 2 + size if kind == WEIGHT else 2
    n_features = 0 if kind == WEIGHT else 2 + size
    program = program(3, gates, OBSERVABLES, n_weights=n_weights, n_features=n_features)
    weights = rng.uniform(-1, 1, n_weights)
    features = rng.uniform(-1, 1, (batch, n_features))
    if kind == WEIGHT:
        weights[2:] = parts(unitary(rng, len(wires)))
    else:
        features[:, 2:] = [parts(unitary(rng, len(wires))) for _ in range(batch)]
    cotangents = rng.normal(size=(batch, 2))
    gw, gx = program.vjp(weights, features, cotangents, inputs=True)
    by_weight = differences(lambda w: program.run(w, features), weights)
    np.testing.assert_allclose(
        gw, np.einsum("bo,bow->w", cotangents, by_weight), atol=2e-9
    )
    if kind == FEATURE:
        by_feature = differences(lambda x: program.run(weights, x), features)
        expected = np.einsum("bo,bof->bf", cotangents, by_feature)
        np.testing.assert_allclose(gx, expected, atol=2e-9)
    # Sample by sample the same, through the circuit whose weights are features.
    own = untied_columns(weights, features)
    _, each = program.untied.vjp(np.empty(0), own, cotangents, inputs=True)
    np.testing.assert_allclose(each[:, n_features:].sum(axis=0), gw, atol=1e-12)


@pytest.mark.parametrize("kind", [WEIGHT, FEATURE])
@pytest.mark.parametrize("wires", [(1,), (2, 0)])
def test_gradient_by_kraus_matrices_is_the_difference(kind, wires, rng):
    batch, count, side = 2, 3, 1 << len(wires)
    size = 2 * count * side**2
    gate = Kraus(wires, (kind, 2), count, differentiable=True)
    gates = [*rotations(kind), CNOT, gate, CNOT, *rotations(WEIGHT)]
    n_weights = 2 + size if kind == WEIGHT else 2
    n_features = 0 if kind == WEIGHT else 2 + size
    program = MixedProgram(
        3, gates, OBSERVABLES, n_weights=n_weights, n_features=n_features
    )

    def channel():
        stacked = rng.normal(size=(count * side, side, 2)) @ [1, 1j]
        return parts(np.linalg.qr(stacked)[0].reshape(count, side, side))

    weights = rng.uniform(-1, 1, n_weights)
    features = rng.uniform(-1, 1, (batch, n_features))
    if kind == WEIGHT:
        weights[2:] = channel()
    else:
        features[:, 2:] = [channel() for _ in range(batch)]
    cotangents = rng.normal(size=(batch, 2))
    gw, gx = program.vjp(weights, features, cotangents, inputs=True)
    by_weight = differences(lambda w: program.run(w, features), weights)
    np.testing.assert_allclose(
        gw, np.einsum("bo,bow->w", cotangents, by_weight), atol=2e-9
    )
    if kind == FEATURE:
        by_feature = differences(lambda x: program.run(weights, x), features)
        expected = np.einsum("bo,bof->bf", cotangents, by_feature)
        np.testing.assert_allclose(gx, expected, atol=2e-9)


@pytest.mark.parametrize("program", [PureProgram, MixedProgram])
def test_entries_that_are_not_wanted_get_no_gradient(program, rng):
    gates = [*rotations(WEIGHT), Matrix((1,), (WEIGHT, 2)), *rotations(WEIGHT)]
    program = program(3, gates, OBSERVABLES, n_weights=10)
    weights = np.concatenate([rng.uniform(-1, 1, 2), parts(unitary(rng, 1))])
    gw, _ = program.vjp(weights, np.zeros((1, 0)), np.ones((1, 2)))
    assert gw[:2].all()
    assert not gw[2:].any()
