"""The device's own gradients: right in every framework, and really the device's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pennylane as qml
import pytest
import scipy.sparse
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError

from qstore_pl.templates import RotationEntanglerLayers, ZZFeatureMap

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
@pytest.mark.parametrize("name", CASES)
def test_jacobian_agrees_with_default_qubit(
    name, framework, reference, rng, flat, agree
):
    circuit, shapes = CASES[name]
    arguments = draw(rng, shapes)
    actual = framework.jacobian(flat(ours(circuit)), *arguments)
    agree(actual, reference.jacobian(circuit, *arguments))


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


def test_torch_leaves_non_trainable_inputs_without_a_gradient(rng):
    circuit, shapes = CASES["ragged_arguments"]
    x, *weights = map(torch.tensor, draw(rng, shapes))
    for weight in weights:
        weight.requires_grad_()
    sum(ours(circuit)(x, *weights)).sum().backward()
    assert x.grad is None
    assert all(w.grad is not None and w.grad.shape == w.shape for w in weights)


def test_an_unused_result_adds_nothing_to_the_gradient(
    framework, reference, rng, flat, agree
):
    circuit, shapes = CASES["mixed_kinds"]
    arguments = draw(rng, shapes)
    qnode = ours(circuit)
    actual = framework.jacobian(flat(lambda *a: qnode(*a)[1]), *arguments)
    alone = measured(lambda: qml.probs([0, 1]))
    agree(actual, reference.jacobian(alone, *arguments))


def test_sparse_hamiltonians_are_differentiated(framework, reference, rng, agree):
    # default.qubit does not: the same matrix, dense, is the reference.
    sparse = scipy.sparse.csr_matrix(np.kron(HERMITIAN, [[0, 1], [1, 0]]))
    arguments = draw(rng, [(4, 3), (1, 3, 3)])
    circuit = measured(lambda: qml.expval(qml.SparseHamiltonian(sparse, WIRES)))
    dense = measured(lambda: qml.expval(qml.Hermitian(sparse.toarray(), WIRES)))
    actual = framework.jacobian(lambda *a: ours(circuit)(*a)[0], *arguments)
    agree(actual, reference.jacobian(dense, *arguments))


@pytest.mark.parametrize("name", ["torch", "jax", "jax-jit"])
def test_float32_inputs_get_float32_gradients(name, reference, rng, flat, agree):
    circuit, shapes = CASES["ragged_arguments"]
    arguments = [a.astype(np.float32) for a in draw(rng, shapes)]
    loss = flat(ours(circuit))
    if name == "torch":
        tensors = [torch.tensor(a, requires_grad=True) for a in arguments]
        loss(*tensors).sum().backward()
        gradients: list[Any] = [t.grad for t in tensors]
    else:
        gradient = jax.grad(lambda *a: loss(*a).sum(), argnums=(0, 1, 2, 3))
        gradients = list(
            (jax.jit(gradient) if name == "jax-jit" else gradient)(*arguments)
        )
    exact = reference.jacobian(circuit, *(a.astype(float) for a in arguments))
    for actual, jacobian in zip(gradients, exact, strict=True):
        assert qml.math.get_dtype_name(actual) == "float32"
        agree(np.asarray(actual), jacobian.sum(axis=0), atol=1e-5)


@pytest.mark.parametrize("device_vjp", [True, False, None])
def test_the_device_vjp_option_changes_nothing(device_vjp, framework, rng, flat, agree):
    circuit, shapes = CASES["ragged_arguments"]
    arguments = draw(rng, shapes)
    actual = framework.jacobian(flat(ours(circuit, device_vjp=device_vjp)), *arguments)
    agree(actual, framework.jacobian(flat(ours(circuit)), *arguments), atol=0)


def test_backward_passes_may_come_long_after_many_forward_passes(reference, rng, agree):
    circuit, shapes = CASES["pauli_word"]
    features, w = rng.uniform(-3, 3, (20, 4, 3)), rng.uniform(-3, 3, shapes[1])
    qnode = ours(circuit)

    def loss(w):
        return sum(pnp.sum(qnode(x, w)[0] ** 2) for x in features)

    values = [reference.qnode(circuit)(x, w)[0] for x in features]
    slopes = [reference.jacobian(lambda v, x=x: circuit(x, v), w)[0] for x in features]
    expected = sum(
        2 * np.tensordot(v, s, 1) for v, s in zip(values, slopes, strict=True)
    )
    agree(qml.grad(loss)(pnp.array(w)), expected)


def test_a_graph_kept_by_torch_can_be_walked_twice(rng, agree):
    circuit, shapes = CASES["pauli_word"]
    x, w = (torch.tensor(a, requires_grad=True) for a in draw(rng, shapes))
    loss = ours(circuit)(x, w)[0].square().sum()
    loss.backward(retain_graph=True)
    once = w.grad.clone()
    loss.backward()
    agree(w.grad, 2 * once)


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


def test_a_forward_pass_computes_no_derivative(rng):
    circuit, shapes = CASES["ragged_arguments"]
    qnode = ours(circuit)
    with qml.Tracker(qnode.device) as tracker:
        qnode(*(pnp.array(a, requires_grad=True) for a in draw(rng, shapes)))
    assert tracker.totals["simulations"] == 1
    assert "vjps" not in tracker.totals


@pytest.mark.parametrize("trainable", [[0], [1], [0, 1]])
def test_compute_vjp_returns_the_trainable_parameters_only(trainable, rng):
    x, w = draw(rng, [(5, 3), (2, 3, 3)])
    operations = [qml.AngleEmbedding(x, WIRES), qml.StronglyEntanglingLayers(w, WIRES)]
    tape = qml.tape.QuantumScript(
        operations, [qml.expval(PAULI)], trainable_params=trainable
    )
    device = qml.device(DEVICE, wires=3)
    config = device.setup_execution_config(
        qml.devices.ExecutionConfig(gradient_method="adjoint"), tape
    )
    vjp = device.compute_vjp(tape, np.ones(5), config)
    shapes = [np.shape(v) for v in (vjp if isinstance(vjp, tuple) else (vjp,))]
    assert shapes == [[(5, 3), (2, 3, 3)][i] for i in trainable]


# ------------------------------------------------------------- fallback and refusal
# Autograd casts on the way from a complex matrix back to the real angle.
@pytest.mark.filterwarnings("ignore:Casting complex:numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("gate", ["QubitUnitary", "DiagonalQubitUnitary"])
def test_matrices_fall_back_to_parameter_shift(gate, framework, reference, agree):
    def circuit(t):
        qml.RY(0.4, 0)
        if gate == "QubitUnitary":
            c, s = qml.math.cos(t), qml.math.sin(t)
            rows = [qml.math.stack([c, -s]), qml.math.stack([s, c])]
            qml.QubitUnitary(qml.math.stack(rows), 0)
        else:
            phase = qml.math.exp(1j * qml.math.cast(t, "complex128"))
            qml.DiagonalQubitUnitary(qml.math.stack([phase, qml.math.conj(phase)]), 0)
        return qml.expval(qml.X(0))

    t = np.array(0.3)
    (expected,) = reference.jacobian(circuit, t)
    agree(framework.jacobian(ours(circuit), t), (expected[0],))


@pytest.mark.parametrize(
    "measurement",
    [
        qml.state,
        lambda: qml.density_matrix([0]),
        lambda: qml.purity([0]),
        lambda: qml.vn_entropy([0]),
        lambda: qml.mutual_info([0], [1]),
    ],
    ids=["state", "density_matrix", "purity", "vn_entropy", "mutual_info"],
)
def test_gradients_of_other_measurements_are_refused(measurement, rng, flat):
    # PennyLane's parameter shift would take them for linear in the state.
    circuit = measured(measurement)
    arguments = [pnp.array(a, requires_grad=True) for a in draw(rng, [(3,), (1, 3, 3)])]
    qnode = ours(circuit)
    qnode(*arguments)  # the value itself is fine
    with pytest.raises((DeviceError, QuantumFunctionError, ValueError)):
        qml.jacobian(lambda *a: qml.math.real(flat(qnode)(*a)))(*arguments)


def test_vmap_of_a_gradient_is_refused_by_jax(rng):
    # A mapped tape looks like a batch, but each sample wants a gradient of its own.
    circuit, shapes = CASES["pauli_word"]
    qnode = ours(lambda x, w: circuit(x, w)[0])
    x, w = map(jax.numpy.asarray, draw(rng, shapes))
    with pytest.raises(jax.errors.JaxRuntimeError):
        jax.vmap(jax.grad(qnode, argnums=1), in_axes=(0, None))(x, w)
