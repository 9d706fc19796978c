"""Every measurement PennyLane offers, against default.qubit."""

from __future__ import annotations

import warnings

import numpy as np
import pennylane as qml
import pytest
import scipy.sparse
from numpy.exceptions import ComplexWarning

DEVICE = "qstore.mock_ideal"
WIRES = range(3)
HERMITIAN = np.array(
    [[1, 2j, 0, 1], [-2j, 0.5, 1, 0], [0, 1, -1, 0.3j], [1, 0, -0.3j, 2]]
)
SPARSE = scipy.sparse.csr_matrix(np.kron(HERMITIAN, [[0, 1], [1, 0]]))

OBSERVABLES = {
    "x": lambda: qml.X(0),
    "identity": lambda: qml.Identity(1),
    "hadamard": lambda: qml.Hadamard(2),
    "word": lambda: qml.Z(0) @ qml.Y(2),
    "word_on_one_wire_twice": lambda: qml.prod(qml.X(0), qml.X(0), qml.Z(1)),
    "sum": lambda: qml.sum(qml.X(0), qml.Y(1), qml.X(2) @ qml.Z(0)),
    "scalar_product": lambda: qml.s_prod(-0.7, qml.X(1) @ qml.X(2)),
    "linear_combination": lambda: qml.Hamiltonian(
        [0.3, -2.0, 1.1], [qml.Z(0), qml.X(0) @ qml.Y(1), qml.Identity(2)]
    ),
    "product_with_a_matrix": lambda: qml.prod(
        qml.Hermitian(HERMITIAN, [2, 0]), qml.Y(1)
    ),
    "sum_with_a_matrix": lambda: qml.Hermitian(HERMITIAN, [1, 0]) + 2 * qml.Z(2),
    "hermitian": lambda: qml.Hermitian(HERMITIAN, [2, 1]),
    "basis_projector": lambda: qml.Projector([1, 0], [2, 0]),
    "state_projector": lambda: qml.Projector([0.6, 0, 0.48j, 0.64], [0, 2]),
}
OTHERS = {
    "expval_sparse": lambda: qml.expval(qml.SparseHamiltonian(SPARSE, WIRES)),
    "probs_of_all_wires": qml.probs,
    "probs_of_some_wires": lambda: qml.probs([2, 0]),
    "probs_of_an_observable": lambda: qml.probs(op=qml.Y(1) @ qml.Hadamard(0)),
    "state": qml.state,
    "density_matrix": lambda: qml.density_matrix([2, 0]),
    "density_matrix_of_one_wire": lambda: qml.density_matrix(1),
    "purity": lambda: qml.purity([0, 1]),
    "vn_entropy": lambda: qml.vn_entropy([1], log_base=2),
    "mutual_info": lambda: qml.mutual_info([0], [1, 2]),
}
MEASUREMENTS = (
    {f"expval_{k}": (lambda o=o: qml.expval(o())) for k, o in OBSERVABLES.items()}
    | {f"var_{k}": (lambda o=o: qml.var(o())) for k, o in OBSERVABLES.items()}
    | OTHERS
)


def prepare(x, w):
    qml.AngleEmbedding(x, WIRES, rotation="Y")
    qml.StronglyEntanglingLayers(w, WIRES)


def on_both(circuit, *arguments, wires=3):
    """Results of the circuit on our device and on default.qubit."""

    def run(name):
        return qml.QNode(circuit, qml.device(name, wires=wires))(*arguments)

    ours = run(DEVICE)
    with warnings.catch_warnings():
        # default.qubit casts some variances from complex to real.
        warnings.simplefilter("ignore", ComplexWarning)
        return ours, run("default.qubit")


@pytest.fixture
def arguments(rng):
    """Features (4, 3) and weights (2, 3, 3)."""
    return rng.uniform(-3, 3, (4, 3)), rng.uniform(-3, 3, (2, 3, 3))


@pytest.mark.parametrize("batched", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_measurement_agrees_with_default_qubit(name, batched, arguments, agree):
    x, w = arguments

    def circuit(x, w):
        prepare(x, w)
        return MEASUREMENTS[name]()

    agree(*on_both(circuit, x if batched else x[0], w))


def test_many_measurements_together_agree_with_default_qubit(arguments, agree):
    def circuit(x, w):
        prepare(x, w)
        return tuple(measurement() for measurement in MEASUREMENTS.values())

    agree(*on_both(circuit, *arguments))


def test_nested_results_keep_their_structure(arguments, agree):
    def circuit(x, w):
        prepare(x, w)
        return {"z": [qml.expval(qml.Z(0))], "p": (qml.probs([0]), qml.var(qml.X(1)))}

    agree(*on_both(circuit, *arguments))


@pytest.mark.parametrize("wires", [5, None])
@pytest.mark.parametrize(
    "measurement",
    [
        qml.state,
        qml.probs,
        lambda: qml.expval(qml.Z(1)),
        lambda: qml.density_matrix([0, 1]),
    ],
    ids=["state", "probs", "expval", "density_matrix"],
)
def test_wires_without_gates_stay_in_zero(measurement, wires, agree):
    def circuit():
        qml.RX(0.3, 0)
        qml.CNOT([0, 2])
        return measurement()

    agree(*on_both(circuit, wires=wires))


def test_a_circuit_without_gates_is_the_zero_state(agree):
    agree(*on_both(lambda: (qml.probs([1, 0]), qml.expval(qml.Z(2)))))


@pytest.mark.parametrize(
    "preparation",
    [
        lambda: qml.BasisState([1, 0], [2, 0]),
        lambda: qml.StatePrep([0.6, 0, 0.48j, 0.64], [1, 2]),
        lambda: qml.AmplitudeEmbedding([1, 2, 3], [0, 1], pad_with=1j, normalize=True),
        lambda: qml.BasisEmbedding([1, 1, 0], WIRES),
    ],
    ids=["basis_state", "state_prep", "amplitude_embedding", "basis_embedding"],
)
def test_prepared_states_agree_with_default_qubit(preparation, agree):
    def circuit():
        preparation()
        qml.CRX(0.4, [1, 2])
        return qml.state()

    agree(*on_both(circuit))


# ------------------------------------------------------------------------ snapshots
def photographed(x):
    qml.RX(x, 0)
    qml.Snapshot("rotated")
    qml.CNOT([0, 1])
    qml.Snapshot()
    qml.Snapshot("z", measurement=qml.expval(qml.Z(1)))
    qml.Snapshot("p", measurement=qml.probs([1, 0]))
    return qml.expval(qml.X(0))


@pytest.mark.parametrize("x", [0.3, np.array([0.3, 0.7])], ids=["single", "batch"])
def test_snapshots_agree_with_default_qubit(x, agree):
    ours, theirs = (
        qml.snapshots(qml.QNode(photographed, qml.device(name, wires=2)))(x)
        for name in (DEVICE, "default.qubit")
    )
    assert list(ours) == list(theirs)
    agree(ours, theirs)


def test_snapshots_cost_no_other_execution():
    device = qml.device(DEVICE, wires=2)
    with qml.Tracker(device) as tracker:
        qml.snapshots(qml.QNode(photographed, device))(0.3)
    assert tracker.totals["executions"] == 1


def test_snapshots_outside_of_qml_snapshots_change_nothing(agree):
    agree(*on_both(photographed, 0.3))


def test_snapshots_of_samples_are_taken_with_shots():
    def circuit():
        qml.X(0)
        qml.Snapshot("bits", measurement=qml.sample(wires=[0, 1]), shots=5)
        return qml.counts()

    device = qml.device(DEVICE, wires=2, seed=1)
    shots = qml.snapshots(qml.QNode(circuit, device, shots=10))()
    np.testing.assert_array_equal(shots["bits"], [[1, 0]] * 5)
    assert shots["execution_results"] == {"10": 10}
