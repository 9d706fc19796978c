"""The device's own gradients: right in every framework, and really the device's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl.templates import RotationEntanglerLayers, ZZFeatureMap
from tests.conformance.conftest import Reference

DEVICE = "qstore.mock_ideal"
WIRES = range(3)
PAULI = qml.Z(0) @ qml.X(1) @ qml.Y(2)
HERMITIAN = np.array(
    [[1, 2j, 0, 1], [-2j, 0.5, 1, 0], [0, 1, -1, 0.3j], [1, 0, -0.3j, 2]]
)
STATE = np.array([0.6, 0, 0.48j, 0.64])

Circuit = Callable[..., Any]
CASES: dict[str, tuple[Circuit, tuple[tuple[int, ...], ...]]] = {}


def case(*shapes: tuple[int, ...]) -> Callable[[Circuit], Circuit]:
    """Add a circuit whose arguments have these shapes to the table."""

    def add(circuit: Circuit) -> Circuit:
        CASES[circuit.__name__] = (circuit, shapes)
        return circuit

    return add


def expvals() -> list[Any]:
    return [qml.expval(qml.Z(i)) for i in WIRES]


@case((), (), (), ())
def plain_gates(a, b, c, d):
    qml.RX(a, 0)
    qml.CRY(b, [0, 1])
    qml.IsingXX(c, [1, 2])
    qml.PhaseShift(d, 2)
    qml.Hadamard(2)
    return expvals()


@case((5,), (3,))
def batched_angle_and_unbatched_rotation(x, w):
    qml.RX(x, 0)
    qml.Rot(w[0], w[1], w[2], 1)
    qml.CNOT([0, 1])
    qml.RY(w[1], 2)
    return expvals()


@case((5,), (5,))
def every_angle_batched(x, y):
    qml.RX(x, 0)
    qml.RY(y, 1)
    qml.CRZ(x, [0, 1])
    return qml.expval(PAULI)


@case(())
def weight_shared_between_gates(w):
    qml.RX(w, 0)
    qml.RY(2 * w, 1)
    qml.IsingZZ(w, [0, 1])
    qml.RX(w**2, 1)
    return expvals()


@case((), ())
def wrapped_gates(a, b):
    qml.Hadamard(0)
    qml.adjoint(qml.RX(a, 1))
    qml.ctrl(qml.RY(b, 2), [0, 1], control_values=[1, 0])
    qml.pow(qml.RX(a, 0), 2)
    qml.prod(qml.RY(b, 1), qml.RZ(a, 1))
    return expvals()


@case((5, 3), (2, 3, 3))
def angle_and_strongly_entangling(x, w):
    qml.AngleEmbedding(x, WIRES, rotation="Y")
    qml.StronglyEntanglingLayers(w, WIRES, imprimitive=qml.CZ)
    return expvals()


@case((5, 3), (5, 2, 3, 3))
def batched_strongly_entangling_weights(x, w):
    qml.AngleEmbedding(x, WIRES, rotation="Z")
    qml.StronglyEntanglingLayers(w, WIRES)
    return expvals()


@case((5, 2, 3))
def only_batched_template_weights(w):
    qml.BasicEntanglerLayers(w, WIRES, rotation=qml.RY)
    return expvals()


@case((8,), (2, 3))
def amplitudes_of_one_sample(x, w):
    qml.AmplitudeEmbedding(x, WIRES, normalize=True)
    qml.BasicEntanglerLayers(w, WIRES)
    return expvals()


@case((5, 6), (2, 3))
def padded_amplitudes_of_a_batch(x, w):
    # PennyLane pads in float32 under torch: 0.5 is exact there.
    qml.AmplitudeEmbedding(x, WIRES, normalize=True, pad_with=0.5)
    qml.BasicEntanglerLayers(w, WIRES)
    return expvals()


@case((5, 4), (4,))
def prepared_states(x, v):
    qml.StatePrep(x, [0, 1], normalize=True)
    qml.CNOT([1, 2])
    qml.Rot(v[0], v[1], v[2], 2)
    qml.CRX(v[3], [2, 0])
    return expvals()


@case((5, 3), (2, 3, 3))
def rotation_entangler_layers(x, w):
    qml.AngleEmbedding(x, WIRES)
    RotationEntanglerLayers(w, WIRES, entanglement="circular")
    return expvals()


@case((5, 3), (5, 2, 3, 3))
def batched_rotation_entangler_layers(x, w):
    qml.AngleEmbedding(x, WIRES)
    RotationEntanglerLayers(w, WIRES, entanglement="full")
    return expvals()


@case((5, 3), (2, 3, 3))
def zz_feature_map(x, w):
    ZZFeatureMap(x, WIRES, reps=2, entanglement="linear")
    RotationEntanglerLayers(w, WIRES)
    return expvals()


@case((5, 3), (2, 3, 3), (), (3,))
def ragged_arguments(x, w, a, v):
    qml.AngleEmbedding(x, WIRES)
    qml.RX(a, 0)
    qml.StronglyEntanglingLayers(w, WIRES)
    qml.Rot(v[0], v[1], v[2], 2)
    return expvals()


def measured(*measurements: Callable[[], Any]) -> Circuit:
    def circuit(x, w):
        qml.AngleEmbedding(x, WIRES)
        qml.StronglyEntanglingLayers(w, WIRES)
        return [measurement() for measurement in measurements]

    return circuit


def add_measurements(**kinds: Sequence[Callable[[], Any]]) -> None:
    for name, measurements in kinds.items():
        CASES[name] = (measured(*measurements), ((4, 3), (1, 3, 3)))


add_measurements(
    pauli_word=[lambda: qml.expval(PAULI)],
    sum_of_words=[lambda: qml.expval(0.5 * qml.X(0) @ qml.Y(2) - 2 * qml.Z(1))],
    hermitian=[lambda: qml.expval(qml.Hermitian(HERMITIAN, [2, 0]))],
    basis_projector=[lambda: qml.expval(qml.Projector([1, 0], [0, 2]))],
    state_projector=[lambda: qml.expval(qml.Projector(STATE, [0, 1]))],
    probabilities=[lambda: qml.probs([2, 0])],
    rotated_probabilities=[lambda: qml.probs(op=qml.X(0) @ qml.Y(1))],
    identity_and_hadamard=[
        lambda: qml.expval(qml.Identity(0)),
        lambda: qml.expval(qml.Hadamard(1)),
    ],
    product_with_a_matrix=[
        lambda: qml.expval(qml.prod(qml.Hermitian(HERMITIAN, [2, 0]), qml.Y(1)))
    ],
    sum_with_a_matrix=[
        lambda: qml.expval(qml.Hermitian(HERMITIAN, [1, 0]) + 2 * qml.Z(2))
    ],
    one_word_twice=[lambda: qml.expval(PAULI), lambda: qml.expval(PAULI)],
    every_probability=[qml.probs],
    variance=[lambda: qml.var(PAULI)],
    variance_of_sum=[lambda: qml.var(0.5 * qml.X(0) @ qml.Y(2) - 2 * qml.Z(1))],
    variance_of_hermitian=[lambda: qml.var(qml.Hermitian(HERMITIAN, [0, 1]))],
    variance_of_projector=[lambda: qml.var(qml.Projector([1], 1))],
    mixed_kinds=[
        lambda: qml.expval(PAULI),
        lambda: qml.probs([0, 1]),
        lambda: qml.var(qml.X(2)),
        lambda: qml.expval(qml.Hermitian(HERMITIAN, [0, 1])),
    ],
)


@case((3,), (3,))
def hamiltonian_with_trainable_coefficients(w, c):
    qml.BasicEntanglerLayers(w[None], WIRES)
    return qml.expval(qml.dot(c, [qml.X(0), qml.Z(0) @ qml.Z(1), qml.Y(2)]))


def draw(rng: np.random.Generator, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
    return [rng.uniform(-np.pi, np.pi, shape) for shape in shapes]


def ours(circuit: Circuit, **options: Any) -> qml.QNode:
    return qml.QNode(circuit, qml.device(DEVICE, wires=3), **options)


# ------------------------------------------------------------------------- values
@functools.cache
def exact_jacobian(name: str) -> tuple[Circuit, list[Any], tuple[np.ndarray, ...]]:
    """A circuit, its arguments, and its derivatives on default.qubit."""
    circuit, shapes = CASES[name]
    arguments = draw(np.random.default_rng(2024), shapes)
    return circuit, arguments, Reference().jacobian(circuit, *arguments)


@pytest.mark.parametrize("name", CASES)
def test_jacobian_agrees_with_default_qubit(name, framework, flat, agree):
    circuit, arguments, expected = exact_jacobian(name)
    agree(framework.jacobian(flat(ours(circuit)), *arguments), expected)


@pytest.mark.parametrize("name", ["padded_amplitudes_of_a_batch", "ragged_arguments"])
def test_only_the_trainable_arguments_are_differentiated(
    name, reference, rng, flat, agree
):
    circuit, shapes = CASES[name]
    x, *weights = draw(rng, shapes)
    tensors = [pnp.array(w, requires_grad=True) for w in weights]
    features = pnp.array(x, requires_grad=False)
    actual = qml.jacobian(flat(ours(circuit)))(features, *tensors)
    expected = reference.jacobian(lambda *w: circuit(x, *w), *weights)
    agree(actual if isinstance(actual, tuple) else (actual,), expected)


def test_an_unused_result_adds_nothing_to_the_gradient(
    framework, reference, rng, flat, agree
):
    circuit, shapes = CASES["mixed_kinds"]
    arguments = draw(rng, shapes)
    qnode = ours(circuit)
    actual = framework.jacobian(flat(lambda *a: qnode(*a)[1]), *arguments)
    alone = measured(lambda: qml.probs([0, 1]))
    agree(actual, reference.jacobian(alone, *arguments))


# ---------------------------------------------------------------------- economics
@pytest.mark.parametrize("name", CASES)
def test_one_simulation_and_one_device_vjp_make_a_gradient(name, rng, flat):
    circuit, shapes = CASES[name]
    qnode = ours(circuit)
    arguments = [pnp.array(a, requires_grad=True) for a in draw(rng, shapes)]
    with qml.Tracker(qnode.device) as tracker:
        qml.grad(lambda *a: pnp.sum(flat(qnode)(*a)))(*arguments)
    assert tracker.totals["simulations"] == 1
    assert tracker.totals["vjps"] == 1
    assert "derivatives" not in tracker.totals
