"""What went wrong in use of the devices, each fault as the kind it is one of.

Values are theory's, default.qubit's or default.mixed's. Where a device has no noise the
same circuits run three times: as pure states, as pure states of the noisy device, and
as mixed states that nothing happens to.
"""

from __future__ import annotations

import functools

import autograd
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import scipy.linalg
import scipy.sparse
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError

from qstore_pl import NoiseSpec, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.devices.presets import PRESETS
from qstore_pl.templates import BasisEncoding, RotationEntanglerLayers, ZZFeatureMap
from tests.conformance.conftest import Framework

IDEAL = functools.partial(qml.device, "qstore.mock_ideal")
NOISY = functools.partial(qml.device, "qstore.mock_noisy")
# Only a wire that no circuit has is misread: mixed states, and nothing is noisy.
NOTHING = NoiseSpec(readout={"nowhere": (0.1, 0.2)})
DEVICES = {
    "ideal": IDEAL,
    "noiseless": functools.partial(NOISY, noise=None),
    "mixed": functools.partial(NOISY, noise=NOTHING),
}
MILD = NoiseSpec(p1=0.02, p2=0.05, readout=(0.02, 0.05))


@pytest.fixture(params=DEVICES)
def device(request):
    """Each device without noise in turn, to be called with its options."""
    return DEVICES[request.param]


def stacked(values):
    """Nested lists of tensors as one tensor."""
    if isinstance(values, list | tuple):
        return qml.math.stack([stacked(value) for value in values])
    return values


def as_written(values):
    return values


# ----------------------------------------------------- F1: lists of traced values
def angles(w, make):
    qml.AngleEmbedding(make([w[0], w[1]]), wires=[0, 1], rotation="Y")


def tuple_of_angles(w, make):
    qml.AngleEmbedding(make((w[0], 0.3 * w[1])), wires=[0, 1])


def number_and_angle(w, make):
    qml.AngleEmbedding(make([0.4, w[1] * w[2]]), wires=[0, 1], rotation="Y")


def strong_layers(w, make):
    rows = [[[w[0], w[1], w[2]], [w[2], w[0], w[1]]]]
    qml.StronglyEntanglingLayers(make(rows), wires=[0, 1])


def tuples_of_basic_layers(w, make):
    qml.BasicEntanglerLayers(make(((w[0], w[1]), (w[1], w[2]))), wires=[0, 1])


def iqp(w, make):
    qml.IQPEmbedding(make([w[0], w[1]]), wires=[0, 1], n_repeats=2)


def qaoa(w, make):
    features, weights = make([w[0], w[1]]), make([[w[2], w[0], w[1]]])
    qml.QAOAEmbedding(features, weights, wires=[0, 1])


def adjoint(w, make):
    qml.RX(0.4, 0)
    qml.adjoint(qml.AngleEmbedding)(make([w[0], w[1]]), wires=[0, 1], rotation="Y")


def adjoint_of_layers(w, make):
    qml.RX(0.4, 0)
    rows = [[[w[0], w[1], w[2]], [w[2], w[0], w[1]]]]
    qml.adjoint(qml.StronglyEntanglingLayers(make(rows), wires=[0, 1]))


def control(w, make):
    qml.Hadamard(2)
    qml.ctrl(qml.AngleEmbedding, 2)(make([w[0], w[1]]), wires=[0, 1])


def control_of_layers(w, make):
    qml.Hadamard(2)
    op = qml.BasicEntanglerLayers(make([[w[0], w[1]]]), wires=[0, 1])
    qml.ctrl(op, 2, control_values=[0])


def samples_in_a_list(w, make):
    qml.AngleEmbedding(make([[w[0], w[1]], [w[2], 0.7]]), wires=[0, 1], rotation="Y")


def rotations_in_a_list(w, make):
    qml.RY(make([w[0], w[1], w[2]]), 0)
    qml.RX(w[1], 1)


LISTS = [
    angles,
    tuple_of_angles,
    number_and_angle,
    strong_layers,
    tuples_of_basic_layers,
    iqp,
    qaoa,
    adjoint,
    adjoint_of_layers,
    control,
    control_of_layers,
    samples_in_a_list,
    rotations_in_a_list,
]


@pytest.mark.parametrize("prepare", LISTS)
def test_lists_of_traced_values_have_the_gradient_of_tensors(
    prepare, device, reference, flat, agree
):
    # In torch and JAX PennyLane makes no such operation.
    def circuit(w, make=as_written):
        prepare(w, make)
        qml.CNOT([0, 1])
        qml.RX(0.3, 1)
        return qml.expval(qml.Z(0) @ qml.Y(1)), qml.expval(qml.Z(1) + qml.X(0))

    w = np.array([0.37, 0.5, -1.1])
    qnode = qml.QNode(circuit, device(wires=3))
    (expected,) = reference.jacobian(lambda w: circuit(w, stacked), w)
    assert np.abs(expected).max() > 0.05
    agree(Framework("autograd").jacobian(flat(qnode), w), (expected,))
    agree(np.stack(qnode(w)), np.stack(reference.qnode(circuit)(w, stacked)))


@pytest.mark.parametrize("name", DEVICES)
def test_the_program_that_had_no_gradient_has_its_own(name):
    def circuit(w):
        qml.AngleEmbedding([w[0], w[1]], wires=[0, 1], rotation="Y")
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(1))

    gradient = qml.grad(qml.QNode(circuit, DEVICES[name](wires=2)))
    w = np.array([0.37, 0.5])
    right = -np.sin(w) * np.cos(w[::-1])
    np.testing.assert_allclose(gradient(pnp.array(w)), right, atol=1e-12)


# ------------------------------------------------------------ F4: labels of wires
I64 = np.int64
LABELS = {
    "numpy": [I64(1), I64(0)],
    "numpy and int": [1, I64(0)],
    "int and numpy": [I64(1), 0, 2],
    "small integers": [np.int32(2), np.uint8(0), np.int16(1)],
    "with a gap": [I64(5), 1, I64(3)],
    "text": ["b", "a"],
    "text and numpy": ["b", I64(0), 1],
    "argsort": list(np.argsort([5, 1, 3])),
}


@pytest.mark.parametrize("batched", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_registers_are_ordered_as_on_default_qubit(labels, batched, device, agree):
    x = np.array([0.3, 1.9]) if batched else 0.3

    def all_outcomes():
        for i, label in enumerate(labels):
            qml.RY(x + i, wires=label)
        return qml.probs()

    actual = qml.QNode(all_outcomes, device())()
    agree(actual, qml.QNode(all_outcomes, qml.device("default.qubit"))())


MEASURED_MORE = {
    "first is only measured": ([1], [0]),
    "last is only measured": ([0], [1]),
    "numpy first is only measured": ([I64(1)], [0]),
    "middle": ([I64(2), 0], [1]),
    "several": ([I64(2)], [3, I64(0)]),
    "text": (["b"], ["a", I64(0)]),
}


@pytest.mark.parametrize("case", MEASURED_MORE.values(), ids=MEASURED_MORE)
def test_wires_that_are_only_measured_come_where_default_qubit_has_them(
    case, device, agree
):
    acted, measured = case

    def circuit():
        for i, label in enumerate(acted):
            qml.RY(0.7 + i, wires=label)
        return qml.probs(), *[qml.expval(qml.Z(label)) for label in measured]

    actual = qml.QNode(circuit, device())()
    agree(actual, qml.QNode(circuit, qml.device("default.qubit"))())


# ------------------------------------------ F5: values that others change in place
def turned(x, w):
    qml.RX(x, 0)
    qml.RY(w, 0)
    return qml.expval(qml.Z(0))


MATRIX = np.array([[0.3, 0.2 - 0.4j], [0.2 + 0.4j, -1.0]])
UNITARY = scipy.linalg.expm(0.4j * MATRIX)
PLUS = np.array([0.6, 0.8j])


def unitary(x, w):
    qml.RY(w, 0)
    qml.QubitUnitary(x, 0)
    qml.RX(0.3 * w, 0)
    return qml.expval(qml.Z(0))


def prepared(x, w):
    qml.StatePrep(x, 0)
    qml.RY(w, 0)
    return qml.expval(qml.Z(0))


def layer(x, w):
    qml.AngleEmbedding(x, [0, 1])
    qml.RY(w, 0)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))


CHANGED = {
    "batch": (turned, np.array([0.4, 1.1])),
    "embedding": (layer, np.array([0.4, 1.1])),
    "batch of embeddings": (layer, np.array([[0.4, 1.1], [0.2, -0.3]])),
    "QubitUnitary": (unitary, UNITARY),
    "StatePrep": (prepared, PLUS),
}


def slope(circuit, x):
    """The derivative of the sum of all results by the weight 0.7, exactly."""
    qnode = qml.QNode(circuit, qml.device("default.qubit"))
    w = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    results = qnode(torch.tensor(x), w)
    total(results).backward()
    return w.grad.numpy()


def total(results):
    results = results if isinstance(results, tuple) else (results,)
    return sum(r.sum() for r in results)


@pytest.mark.parametrize("data", ["torch", "numpy"])
@pytest.mark.parametrize("case", CHANGED.values(), ids=CHANGED)
def test_torch_goes_back_through_the_data_that_went_forward(case, data, device):
    circuit, values = case
    x = torch.tensor(values) if data == "torch" else values.copy()
    w = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    results = total(qml.QNode(circuit, device(wires=2))(x, w))
    x *= 3.0
    results.backward()
    np.testing.assert_allclose(w.grad, slope(circuit, values), atol=1e-12)


@pytest.mark.parametrize("case", CHANGED.values(), ids=CHANGED)
def test_autograd_goes_back_through_the_data_that_went_forward(case, device):
    circuit, values = case
    x = values.copy()
    qnode = qml.QNode(circuit, device(wires=2))

    def loss(w):
        results = qnode(x, w)
        return pnp.sum(results if not isinstance(results, tuple) else stacked(results))

    vjp, _ = autograd.make_vjp(loss)(pnp.array(0.7, requires_grad=True))
    x *= 3.0
    np.testing.assert_allclose(vjp(1.0), slope(circuit, values), atol=1e-12)


def test_weights_changed_by_an_optimizer_step_do_not_reach_back(device):
    x = torch.tensor(0.4, dtype=torch.float64)
    w = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    results = qml.QNode(turned, device(wires=1))(x, w)
    with torch.no_grad():
        w.mul_(3.0)
    results.backward()
    np.testing.assert_allclose(w.grad, -np.cos(0.4) * np.sin(0.7), atol=1e-12)


# ---------------------------------------------- F6: observables that are Hermitian
NOT_HERMITIAN = {
    "imaginary coefficient": lambda: 1j * qml.Z(0),
    "product on one wire": lambda: qml.X(0) @ qml.Y(0),
    "product in a sum": lambda: qml.Z(1) + qml.X(0) @ qml.Y(0),
    "product on two wires": lambda: qml.Z(1) @ qml.X(0) @ qml.Z(0),
    "matrix in a product": lambda: qml.X(0) @ qml.Hermitian(MATRIX, 0),
    "matrix with a coefficient": lambda: 1j * qml.Hermitian(MATRIX, 0),
    "matrix and word": lambda: qml.Z(1) @ (1j * qml.Hermitian(MATRIX, 0)),
    "Hamiltonian": lambda: qml.Hamiltonian([0.5, 0.3j], [qml.Z(0), qml.X(1)]),
    "Hamiltonian of matrices": lambda: qml.Hamiltonian(
        [0.5, 0.3j], [qml.Z(1), qml.Hermitian(MATRIX, 0)]
    ),
    "Hadamard": lambda: qml.Hadamard(0) @ qml.X(0),
}


WORDS = [name for name, make in NOT_HERMITIAN.items() if make().pauli_rep is not None]


@pytest.mark.parametrize("measure", [qml.expval, qml.var])
@pytest.mark.parametrize(
    ("name", "shots"),
    [*[(name, None) for name in NOT_HERMITIAN], *[(name, 50) for name in WORDS]],
)
def test_observables_that_are_not_hermitian_are_refused(name, measure, shots, device):
    def circuit():
        qml.RX(0.7, 0)
        return measure(NOT_HERMITIAN[name]())

    with pytest.raises((DeviceError, QuantumFunctionError), match="Hermitian"):
        qml.QNode(circuit, device(wires=2, seed=1), shots=shots)()


HERMITIAN = {
    "word times i": lambda: 1j * (qml.X(0) @ qml.Y(0)),
    "complex number that is real": lambda: (0.5 + 0j) * qml.Z(0),
    "product that commutes": lambda: qml.Z(0) @ qml.Hermitian(np.diag([0.3, 2.0]), 0),
    "imaginary parts that cancel": lambda: qml.X(0) @ qml.Y(0) + qml.Y(0) @ qml.X(0),
}


@pytest.mark.parametrize("name", HERMITIAN)
def test_products_that_are_hermitian_have_the_value_of_their_matrix(name, device):
    def circuit():
        qml.RX(0.7, 0)
        return qml.expval(HERMITIAN[name]())

    psi = np.array([np.cos(0.35), -1j * np.sin(0.35)])
    matrix = qml.matrix(HERMITIAN[name](), wire_order=[0])
    expected = np.vdot(psi, matrix @ psi).real
    actual = qml.QNode(circuit, device(wires=1))()
    np.testing.assert_allclose(actual, expected, atol=1e-12)


# ------------------------------------------- F10: somebody else's gates by matrices
FOREIGN = {"SX": 1, "T": 1, "PauliX": 1, "Hadamard": 1, "CNOT": 2, "Toffoli": 3}


def foreign(name):
    """A gate of that name that is RX(0.7) on its first wire, known by its matrix."""
    n = FOREIGN[name]
    matrix = np.kron(qml.RX(0.7, 0).matrix(), np.eye(2 ** (n - 1)))
    fields = {
        "num_wires": n,
        "num_params": 0,
        "compute_matrix": staticmethod(lambda: matrix),
    }
    return type(name, (qml.operation.Operation,), fields)


def foreign_rotation():
    """A gate named RX that is RY at twice the angle."""

    def compute_matrix(theta):
        return qml.RY.compute_matrix(2.0 * theta)

    fields = {
        "num_wires": 1,
        "num_params": 1,
        "ndim_params": (0,),
        "grad_method": "A",
        "compute_matrix": staticmethod(compute_matrix),
    }
    return type("RX", (qml.operation.Operation,), fields)


@pytest.mark.parametrize("name", FOREIGN)
def test_gates_of_that_name_are_run_by_their_own_matrix(name, device):
    own, n = foreign(name), FOREIGN[name]

    def circuit(gate):
        gate(wires=range(n))
        return qml.expval(qml.Z(0)), qml.expval(qml.Y(0)), qml.expval(qml.Z(n - 1))

    dev = device(wires=3)
    theirs = getattr(qml, name)
    reference = qml.QNode(circuit, qml.device("default.qubit"))
    right = [np.cos(0.7), -np.sin(0.7), np.cos(0.7) if n == 1 else 1.0]
    for gate in (theirs, own, theirs, own):  # no structure is taken for the other
        expected = right if gate is own else reference(theirs)
        actual = qml.QNode(circuit, dev)(gate)
        np.testing.assert_allclose(actual, expected, atol=1e-12)


@pytest.mark.parametrize("wrap", [qml.adjoint, functools.partial(qml.ctrl, control=2)])
def test_adjoint_and_control_of_such_a_gate_are_of_its_matrix(wrap, device):
    own = foreign("SX")

    def circuit(gate):
        qml.PauliX(2)
        wrap(gate(wires=0))
        return qml.expval(qml.Y(0))

    sign = 1.0 if wrap is qml.adjoint else -1.0
    dev = device(wires=3)
    qml.QNode(circuit, dev)(qml.SX)
    value = qml.QNode(circuit, dev)(own)
    np.testing.assert_allclose(value, sign * np.sin(0.7), atol=1e-12)


def test_a_rotation_of_that_name_has_its_own_gradient(device, framework, agree):
    own = foreign_rotation()

    def circuit(t, gate=own):
        gate(t, wires=0)
        return qml.expval(qml.X(0))

    dev = device(wires=1)
    qml.QNode(circuit, dev)(0.3, qml.RX)
    t = np.array(0.3)
    qnode = qml.QNode(circuit, dev)
    agree(np.asarray(framework.value(qnode, t).tolist()), np.sin(2 * t))
    agree(framework.jacobian(qnode, t), (2 * np.cos(2 * t),))


def test_noise_follows_such_a_gate_as_any_other():
    own = foreign("SX")

    def circuit():
        own(wires=0)
        return qml.expval(qml.Z(0))

    value = qml.QNode(circuit, NOISY(wires=1, noise=NoiseSpec(p1=0.03)))()
    np.testing.assert_allclose(value, (1 - 4 * 0.03 / 3) * np.cos(0.7), atol=1e-12)


# --------------------------------------------- F19: sparse values, density matrices
def sparse_gate():
    matrix = qml.IsingXX(0.7, [0, 1]).matrix()
    qml.RY(0.4, 0)
    qml.QubitUnitary(scipy.sparse.csr_matrix(matrix), [1, 0])
    return qml.expval(qml.Z(0)), qml.probs([0, 1])


def sparse_state():
    state = np.array([0.6, 0, 0, 0.8j])
    qml.StatePrep(scipy.sparse.csr_matrix(state), [0, 1])
    qml.RX(0.3, 0)
    return qml.expval(qml.Y(0)), qml.probs([0, 1])


@pytest.mark.parametrize("circuit", [sparse_gate, sparse_state])
def test_sparse_values_give_what_dense_ones_give(circuit, device, agree, monkeypatch):
    actual = qml.QNode(circuit, device(wires=2))()
    monkeypatch.setattr(scipy.sparse, "csr_matrix", np.asarray)
    agree(actual, qml.QNode(circuit, qml.device("default.qubit"))())


def test_gradients_pass_a_sparse_gate(device, framework, agree):
    matrix = scipy.sparse.csr_matrix(qml.IsingXX(0.7, [0, 1]).matrix())

    def circuit(x):
        qml.RY(x, 0)
        qml.QubitUnitary(matrix, [0, 1])
        return qml.expval(qml.Z(0))

    x = np.array(0.4)
    slopes = framework.jacobian(qml.QNode(circuit, device(wires=2)), x)
    agree(slopes, (-np.cos(0.7) * np.sin(x),))


SWAP = qml.SWAP([0, 1]).matrix()


def density(n, rng):
    a = rng.normal(size=(2**n, 2**n)) + 1j * rng.normal(size=(2**n, 2**n))
    rho = a @ a.conj().T
    return rho / np.trace(rho)


@pytest.mark.parametrize("noise", [None, MILD], ids=["noiseless", "noise"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("wires", [[0], [1], [1, 0]])
def test_density_matrices_are_prepared_as_on_default_mixed(
    wires, first, noise, rng, agree
):
    rho = density(len(wires), rng)

    def circuit():
        if not first:
            qml.RY(0.4, 0)
            qml.CNOT([0, 1])
        qml.QubitDensityMatrix(rho, wires)
        qml.RX(0.3, 0)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(0) @ qml.Y(1)), qml.probs([1, 0]), qml.purity([0])

    actual = qml.QNode(circuit, NOISY(wires=2, noise=noise))()
    if wires == [1, 0]:  # default.mixed takes it for the matrix on [0, 1]
        rho, wires = SWAP @ rho @ SWAP, [0, 1]
    mixed = qml.QNode(circuit, qml.device("default.mixed", wires=2))
    if noise is not None:
        mixed = qml.noise.add_noise(mixed, noise.to_noise_model())
    agree(actual, mixed())


def test_gradients_pass_a_density_matrix(framework, rng, agree):
    rho = density(1, rng)

    def circuit(x):
        qml.QubitDensityMatrix(rho, 0)
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    z = (rho[0, 0] - rho[1, 1]).real
    y = -2 * rho[0, 1].imag
    x = np.array(0.3)
    slopes = framework.jacobian(qml.QNode(circuit, NOISY(wires=1, noise=None)), x)
    agree(slopes, (-z * np.sin(x) + y * np.cos(x),))


# ------------------------------------------------- F20: snapshots of every partition
@pytest.mark.parametrize("shots", [(10, 20), [(5, 2), 7]])
def test_snapshots_keep_every_partition_of_the_shots(shots, device):
    def circuit():
        qml.Hadamard(0)
        qml.PauliX(1)
        qml.Snapshot("mean", qml.expval(qml.Z(1)))
        qml.Snapshot("counts", qml.counts(wires=0))
        qml.Snapshot("samples", qml.sample(wires=[0, 1]))
        qml.PauliX(1)
        return qml.expval(qml.Z(1))

    taken = qml.snapshots(qml.QNode(circuit, device(wires=2, seed=4), shots=shots))()
    parts = list(qml.measurements.Shots(shots))
    assert taken["mean"] == (-1.0,) * len(parts)
    assert [sum(counts.values()) for counts in taken["counts"]] == parts
    assert [np.shape(rows) for rows in taken["samples"]] == [(n, 2) for n in parts]
    assert np.all(np.concatenate(taken["samples"])[:, 1] == 1)
    assert taken["execution_results"] == (1.0,) * len(parts)


# --------------------------------------------------------------- F21: small things
@pytest.mark.parametrize("wires", [None, 0, 2])
def test_the_state_of_an_empty_circuit_is_the_first_basis_state(wires):
    n = wires or 0
    vector = np.zeros(2**n)
    vector[0] = 1.0
    options = {} if wires is None else {"wires": wires}
    np.testing.assert_array_equal(qml.QNode(qml.state, IDEAL(**options))(), vector)
    for noise in (None, "mild") if n else ():
        state = qml.QNode(qml.state, NOISY(noise=noise, **options))()
        np.testing.assert_array_equal(state, np.outer(vector, vector))


@pytest.mark.parametrize("name", PRESETS)
def test_any_scale_of_noise_leaves_a_physical_state(name):
    def circuit(x, measure):
        qml.RY(x, 0)
        qml.CNOT([0, 1])
        qml.RX(0.4, 1)
        return measure()

    dev = NOISY(wires=2, noise=name, noise_scale=1e6)
    qnode = qml.QNode(circuit, dev)
    rho = qnode(0.7, qml.state)
    np.testing.assert_allclose(rho, rho.conj().T, atol=1e-12)
    np.testing.assert_allclose(np.trace(rho), 1.0, atol=1e-12)
    assert np.linalg.eigvalsh(rho).min() > -1e-12
    p = qnode(0.7, lambda: qml.probs([0, 1]))
    assert p.min() > -1e-12
    np.testing.assert_allclose(p.sum(), 1.0, atol=1e-12)
    slopes = qml.grad(lambda x: qnode(x, lambda: qml.expval(qml.Z(1))))(pnp.array(0.7))
    assert abs(slopes) <= 1.0
    # The largest strengths are those that the noise can have.
    again = qml.QNode(circuit, NOISY(wires=2, noise=dev.noise))
    np.testing.assert_array_equal(again(0.7, qml.state), rho)


TUPLES = [("a", 1), ("b", 2), ("a", 2)]
TEMPLATES = {
    "RotationEntanglerLayers": lambda w, wires: RotationEntanglerLayers(
        w, wires=wires, entanglement="full"
    ),
    "ZZFeatureMap": lambda w, wires: ZZFeatureMap(w[0, :, 0], wires=wires),
    "BasisEncoding": lambda w, wires: BasisEncoding([1, 0, 1], wires=wires),
}


@pytest.mark.parametrize("noise", [None, MILD], ids=["noiseless", "noise"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_our_templates_take_tuples_as_labels(name, noise, rng, agree):
    w = pnp.array(rng.uniform(-3, 3, (1, 3, 3)))

    def circuit(w, wires):
        qml.RX(0.3, wires=qml.wires.Wires([wires[0]]))
        TEMPLATES[name](w, wires)
        return qml.probs(wires=qml.wires.Wires(wires))

    named = qml.QNode(circuit, NOISY(wires=TUPLES, noise=noise))
    plain = qml.QNode(circuit, NOISY(wires=3, noise=noise))
    agree(named(w, TUPLES), plain(w, range(3)))
    if name != "BasisEncoding":
        agree(
            qml.jacobian(named, argnums=0)(w, TUPLES),
            qml.jacobian(plain, argnums=0)(w, range(3)),
        )


GENERATORS = {
    "word": lambda: 0.7 * (qml.Z(0) @ qml.Y(1)),
    "sum": lambda: qml.X(0) + 0.4 * (qml.Z(0) @ qml.Y(1)),
    "product on one wire": lambda: qml.X(0) + qml.X(1) @ qml.Y(0),
    "matrix": lambda: qml.Hermitian(MATRIX, 0),
}


EVOLUTIONS = [
    *[(name, "autograd") for name in GENERATORS],
    *[("product on one wire", other) for other in ("torch", "jax-jit")],
]


@pytest.mark.parametrize(("name", "framework"), EVOLUTIONS)
def test_evolutions_have_the_gradient_of_the_matrix_exponential(
    name, framework, device, agree
):
    def circuit(t):
        qml.RX(0.4, 0)
        qml.evolve(GENERATORS[name](), t)
        return qml.expval(qml.Z(0) + qml.X(0) @ qml.Z(1))

    z, x = np.diag([1.0, -1.0]), np.array([[0, 1], [1, 0]])
    observable = np.kron(z, np.eye(2)) + np.kron(x, z)
    matrix = qml.matrix(GENERATORS[name](), wire_order=[0, 1])
    start = np.kron([np.cos(0.2), -1j * np.sin(0.2)], [1, 0])
    t = np.array(0.3)
    psi = scipy.linalg.expm(-1j * t * matrix) @ start
    right = 2 * np.vdot(psi, observable @ (-1j * matrix) @ psi).real
    qnode = qml.QNode(circuit, device(wires=2))
    agree(Framework(framework).jacobian(qnode, t), (right,))


# -------------------------------------- P2: derivatives nobody told the device about
@pytest.mark.parametrize("x", [0.5, [0.5, 0.7]], ids=["single", "batch"])
@pytest.mark.parametrize("how", ["autograd", "jax", "jax-jit", "vmap"])
def test_traced_values_given_to_execute_are_refused(how, x, device):
    def run(x):
        tape = qml.tape.QuantumScript([qml.RX(x, 0)], [qml.expval(qml.Z(0))])
        return qml.math.sum(device(wires=1).execute([tape])[0])

    traced = {
        "autograd": lambda: qml.grad(run)(pnp.array(x)),
        "jax": lambda: jax.grad(run)(jnp.array(x)),
        "jax-jit": lambda: jax.jit(run)(jnp.array(x)),
        "vmap": lambda: jax.vmap(run)(jnp.array([x, x])),
    }
    with pytest.raises(DeviceError, match="would be 0 without a word"):
        traced[how]()
    np.testing.assert_allclose(run(np.array(x)), np.sum(np.cos(x)), atol=1e-12)


# -------------------------------------------------------- P4: one shape of the state
@pytest.mark.parametrize("batched", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize(
    "noise", [None, NoiseSpec(), NOTHING, MILD], ids=["None", "empty", "other", "mild"]
)
def test_states_of_the_noisy_device_are_density_matrices(noise, batched, agree):
    x = np.array([0.3, 0.8]) if batched else 0.3

    def circuit(x):
        qml.RX(x, 0)
        qml.CNOT([0, 1])
        qml.Snapshot("state")
        qml.Snapshot("one wire", qml.density_matrix([1]))
        qml.RY(0.3, 0)
        return qml.state()

    taken = qml.snapshots(qml.QNode(circuit, NOISY(wires=2, noise=noise)))(x)
    mixed = qml.QNode(circuit, qml.device("default.mixed", wires=2))
    if noise is not None:
        gates = NoiseSpec(p1=noise.p1, p2=noise.p2)  # no outcomes are read
        mixed = qml.noise.add_noise(mixed, gates.to_noise_model())
    expected = [qml.snapshots(mixed)(one) for one in np.atleast_1d(x)]
    for key in ("state", "one wire", "execution_results"):
        rows = np.stack([np.asarray(one[key]) for one in expected])
        agree(np.asarray(taken[key]), rows if batched else rows[0])


# ------------------------------------------------------------- P5: keys of jax.random
@pytest.mark.parametrize("make", [jax.random.PRNGKey, jax.random.key])
def test_keys_of_jax_are_seeds(make, device):
    def samples(key):
        def circuit():
            qml.Hadamard(0)
            return qml.sample(wires=0)

        return qml.QNode(circuit, device(wires=1, seed=key), shots=64)().tolist()

    first = samples(make(3))
    assert samples(make(3)) == first
    assert samples(make(4)) != first
    assert samples(jax.random.split(make(3))[0]) != first
    with pytest.raises(TypeError, match="must have its value"):
        jax.jit(lambda key: jnp.asarray(samples(key)))(make(3))


# ------------------------------------------------------------ P6: backprop written out
def several(x, w):
    qml.AngleEmbedding(x, [0, 1])
    qml.StronglyEntanglingLayers(w, [0, 1])
    return qml.expval(qml.Z(0)), qml.var(qml.X(1)), qml.probs([1])


@pytest.mark.parametrize("batched", [False, True], ids=["single", "batch"])
def test_backprop_is_the_gradient_of_best(
    batched, device, framework, reference, flat, rng, agree
):
    arguments = rng.uniform(-3, 3, (3, 2) if batched else 2), rng.normal(size=(1, 2, 3))
    best, backprop = (
        qml.QNode(several, device(wires=2), diff_method=method)
        for method in ("best", "backprop")
    )
    actual = framework.jacobian(flat(backprop), *arguments)
    agree(actual, framework.jacobian(flat(best), *arguments), atol=1e-13)
    agree(actual, reference.jacobian(several, *arguments))


# ---------------------------------------------------------------- P7: marks of gates
def test_marked_gates_have_their_gradient(device, framework, reference, agree):
    def circuit(x, mark=qml.fourier.mark):
        mark(qml.RX(x[0], 0), "x0")
        qml.CNOT([0, 1])
        mark(qml.IsingXX(x[1], [0, 1]), "x1")
        mark(qml.CRY(x[0], [0, 1]), "x0")
        return qml.expval(qml.Z(0) @ qml.Z(1))

    x = np.array([0.3, 0.8])
    (expected,) = reference.jacobian(lambda x: circuit(x, lambda op, name: op), x)
    qnode = qml.QNode(circuit, device(wires=2))
    agree(framework.jacobian(qnode, x), (expected[0],))
    spectrum = qml.fourier.circuit_spectrum(qnode)(x)
    assert spectrum == {"x0": [-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]} | {
        "x1": [-1.0, 0.0, 1.0]
    }


# ------------------------------------------------- P14b: second derivatives of several
def two_means(x):
    qml.RX(x[0], 0)
    qml.RY(x[1], 0)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(0)), qml.expval(qml.Z(1))


def two_probabilities(x):
    qml.RX(x[0], 0)
    qml.RY(x[1], 0)
    qml.CNOT([0, 1])
    return qml.probs(wires=0), qml.probs(wires=1)


def mean_and_probabilities(x):
    qml.RX(x[0], 0)
    qml.RY(x[1], 0)
    qml.CNOT([0, 1])
    return qml.expval(qml.X(0) @ qml.X(1)), qml.probs(wires=1)


def twice(function, framework, x):
    """Second derivatives of an array, shape ``(n, len(x), len(x))``."""
    if framework.name == "autograd":
        found = qml.jacobian(qml.jacobian(function))(pnp.array(x))
        return np.asarray(qml.math.unwrap([found])[0])
    if framework.name == "torch":
        jacobian = functools.partial(
            torch.autograd.functional.jacobian, function, create_graph=True
        )
        return torch.autograd.functional.jacobian(jacobian, torch.tensor(x)).numpy()
    return np.asarray(framework.jit(jax.jacobian(jax.jacobian(function)))(x))


X = np.array([1.0, 0.7])
(C0, C1), (S0, S1) = np.cos(X), np.sin(X)
# Of cos(x0) cos(x1), which is <Z> of both wires, and of cos(x0) sin(x1), <XX>.
OF_Z = np.array([[-C0 * C1, S0 * S1], [S0 * S1, -C0 * C1]])
OF_XX = np.array([[-C0 * S1, -S0 * C1], [-S0 * C1, -C0 * S1]])
SEVERAL = {
    two_means: np.stack([OF_Z, OF_Z]),
    two_probabilities: np.stack([OF_Z, -OF_Z, OF_Z, -OF_Z]) / 2,
    mean_and_probabilities: np.stack([OF_XX, OF_Z / 2, -OF_Z / 2]),
}


@pytest.mark.parametrize("circuit", SEVERAL)
@pytest.mark.parametrize(
    ("name", "framework"),
    [
        ("ideal", "autograd"),
        ("ideal", "torch"),
        ("ideal", "jax-jit"),  # eager JAX compiles piece by piece
        ("noiseless", "autograd"),
        ("noiseless", "torch"),
    ],
)
def test_second_derivatives_of_several_results_are_right(
    circuit, name, framework, flat, agree
):
    qnode = flat(qml.QNode(circuit, DEVICES[name](wires=2), max_diff=2))
    agree(twice(qnode, Framework(framework), X), SEVERAL[circuit])


@pytest.mark.parametrize("circuit", SEVERAL)
@pytest.mark.parametrize("framework", ["autograd", "torch", "jax-jit"])
@pytest.mark.parametrize(
    ("name", "method"), [("mixed", "best"), ("ideal", "parameter-shift")]
)
def test_second_derivatives_by_shifts_are_right_or_refused(
    circuit, name, method, framework, flat, agree
):
    qnode = qml.QNode(circuit, DEVICES[name](wires=2), diff_method=method, max_diff=2)
    if framework == "autograd":  # every PennyLane device has them wrong
        with pytest.raises(DeviceError, match="Second derivatives of several"):
            twice(flat(qnode), Framework(framework), X)
    else:
        agree(twice(flat(qnode), Framework(framework), X), SEVERAL[circuit])


@pytest.mark.parametrize("circuit", SEVERAL)
@pytest.mark.parametrize("name", ["autograd", "torch"])
def test_second_derivatives_without_max_diff_are_refused(circuit, name, device, flat):
    qnode = flat(qml.QNode(circuit, device(wires=2)))
    with pytest.raises(DeviceError, match="max_diff=2"):
        twice(qnode, Framework(name), X)


# ------------------------------------------------------- P14c: values and the cache
@pytest.mark.parametrize("cache", [{}, True], ids=["dict", "True"])
@pytest.mark.parametrize("make", [torch.tensor, np.array, jnp.array, pnp.array])
def test_the_cache_tells_values_apart_to_the_last_digits(make, cache, device):
    def circuit(x):
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    qnode = qml.QNode(circuit, device(wires=1), cache=cache)
    values = 0.3 + 1e-9 * np.arange(4)
    actual = [float(qnode(make(x))) for x in values]
    np.testing.assert_allclose(actual, np.cos(values), rtol=0, atol=1e-14)


@pytest.mark.parametrize("make", [torch.tensor, np.array, jnp.array])
def test_the_cache_tells_large_arrays_apart(make, device):
    def circuit(x):
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    cache = {}
    qnode = qml.QNode(circuit, device(wires=1), cache=cache)
    x = np.linspace(0, 1, 3000)
    changed = x.copy()
    changed[1500] = 2.0
    for values in (x, changed, x):
        actual = np.asarray(qnode(make(values)))
        np.testing.assert_allclose(actual, np.cos(values), rtol=0, atol=1e-12)
    assert len(cache) == 2  # the third was found


def test_steps_smaller_than_what_torch_prints_have_a_slope(device):
    def circuit(w):
        qml.RX(w[0], 0)
        return qml.expval(qml.Z(0))

    options = {"diff_method": "spsa", "gradient_kwargs": {"h": 1e-5}, "cache": True}
    w = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    qml.QNode(circuit, device(wires=1), **options)(w).backward()
    np.testing.assert_allclose(w.grad, [-np.sin(0.3)], atol=1e-8)


# ------------------------------------------------------- P14f: the global generator
def tosses(dev):
    def circuit():
        qml.Hadamard(0)
        return qml.sample(wires=0)

    return qml.QNode(circuit, dev, shots=64)().tolist()


def test_the_seed_of_numpy_fixes_the_samples(device):
    draws = []
    for seed in (42, 42, 43):
        np.random.seed(seed)  # noqa: NPY002
        draws.append(tosses(device(wires=1)))
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_a_seed_of_its_own_leaves_numpys_generator_alone(device):
    np.random.seed(42)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(42)  # noqa: NPY002
    tosses(device(wires=1, seed=7))
    assert np.random.random() == expected  # noqa: NPY002


@pytest.mark.parametrize("shots", [None, 20])
def test_models_and_trainers_leave_numpys_generator_alone(shots):
    np.random.seed(42)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(42)  # noqa: NPY002
    model = QuantumModel(2, 1, n_layers=1)
    config = TrainingConfig(epochs=1, batch_size=2, shots=shots)
    x = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    QuantumTrainer(config).train(model, (x, x[:, :1]))
    assert np.random.random() == expected  # noqa: NPY002
