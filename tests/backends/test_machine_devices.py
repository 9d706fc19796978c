"""The PennyLane device of a machine: QNodes, counting, copies, and what is refused."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, WireError

from qstore_pl import BackendManager, QuantumModel
from qstore_pl.backends import MachineDevice
from qstore_pl.backends.machine import Bill

pytestmark = pytest.mark.timeout(60)

MACHINES = "cirq", "cirq_mixed", "qiskit"
FAST = "cirq", "qiskit"
WEIGHTS = pnp.array([0.4, -1.2, 0.9])
X = np.array([0.3, -0.8, 1.7])


def device(name, wires, **options):
    return BackendManager().get_backend(name, **options).device(wires)


def close(seen, wanted, atol=1e-10):
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=atol)


def circuit(weights, x, wires=("a", "b", 7)):
    """Measurements that need several bases, on wires with names."""
    a, b, c = wires
    qml.RY(x, a)
    qml.Rot(*weights, b)
    qml.CNOT([a, c])
    qml.CRX(weights[0] * weights[1], [c, b])
    return (
        qml.expval(qml.X(a) @ qml.Y(c)),
        qml.var(qml.Hadamard(b)),
        qml.probs([c, b]),
        qml.expval(0.3 * qml.Z(a) @ qml.Z(b) - 1.2 * qml.X(b)),
    )


def columns(found, batch=()):
    return pnp.concatenate([qml.math.reshape(v, (*batch, -1)) for v in found], axis=-1)


def named(name, **options):
    labels = MachineDevice(device(name, 3).machine, ["a", "b", 7, "spare"], **options)
    return qml.QNode(circuit, labels, diff_method="parameter-shift")


REFERENCE = qml.QNode(circuit, qml.device("default.qubit"), diff_method="backprop")


@pytest.mark.parametrize("name", MACHINES)
def test_values_and_gradients(name):
    qnode = named(name)
    close(columns(qnode(WEIGHTS, 0.3)), columns(REFERENCE(WEIGHTS, 0.3)))
    close(columns(qnode(WEIGHTS, X), (3,)), columns(REFERENCE(WEIGHTS, X), (3,)))

    def jacobian(one):
        return qml.jacobian(lambda w: columns(one(w, 0.3)))(WEIGHTS)

    close(jacobian(qnode), jacobian(REFERENCE))

    def gradient(one):
        return qml.grad(lambda w: one(w, 0.3)[0] ** 2 + one(w, 0.3)[3])(WEIGHTS)

    close(gradient(qnode), gradient(REFERENCE))


@pytest.mark.parametrize("name", MACHINES)
def test_all_shifted_circuits_are_one_submission(name):
    qnode = named(name)
    with qml.Tracker(qnode.device) as tracker:
        qml.jacobian(lambda w: qnode(w, 0.3)[0])(WEIGHTS)
    groups = tracker.history["executions"][0]
    assert groups == 4
    assert tracker.totals["batches"] == len(tracker.history["batches"]) == 2
    # The values, and again for the rule of variances; three numbers of the Rot, and
    # CRX by its rule of four.
    assert tracker.totals["executions"] == groups * (1 + 1 + 2 * 3 + 4)
    assert qnode.device.spent.circuits == tracker.totals["executions"]
    assert qnode.device.spent.jobs == 2


@pytest.mark.parametrize("name", FAST)
def test_shots(name):
    qnode = named(name, seed=0)
    exact = columns(qnode(WEIGHTS, X), (3,))
    shots = 4000
    with qml.Tracker(qnode.device) as tracker:
        found = columns(qml.set_shots(qnode, shots)(WEIGHTS, X), (3,))
    assert tracker.totals["shots"] == shots * tracker.totals["executions"]
    # No measured value has a variance above 2.
    assert np.all(abs(found - exact) <= 5 * np.sqrt(2 / shots))
    assert np.all(abs(found - exact).max(axis=0) > 1e-12)
    of_device = named(name, seed=0, shots=50)
    p = of_device(WEIGHTS, 0.3)[2]
    close(p * 50, np.round(p * 50), 1e-9)


@pytest.mark.parametrize("name", FAST)
def test_circuits_that_are_the_same_run_once(name):
    one = device(name, 2)

    def tape(x, shots=None):
        gates = [qml.RY(x, 0), qml.CNOT([0, 1])]
        return qml.tape.QuantumScript(gates, [qml.expval(qml.Z(1))], shots)

    xs = [0.3, 0.8, 0.3, -0.3, 0.8, 0.3]
    close(one.execute([tape(x) for x in xs]), np.cos(xs))
    assert (one.spent.circuits, one.spent.jobs) == (3, 1)
    # One gate on a qubit and one on two in each.
    assert (one.spent.one_qubit_gates, one.spent.two_qubit_gates) == (3, 3)
    found = one.execute([tape(0.3, n) for n in (100, 100, 200, None)])
    assert found[0] == found[1]
    close(found[3], np.cos(0.3))
    assert one.spent == Bill(6, 300, 6, 6, 2)


def test_parameters_that_are_equal_are_no_reason_to_run_again():
    model = QuantumModel(2, 1, n_layers=1, backend="cirq", seed=0)
    rows = np.array([[0.1, 0.2], [0.3, 0.4], [0.1, 0.2]])
    seen = model(rows)
    assert seen[0] == seen[2] != seen[1]
    assert model.device.spent.circuits == 2


# --- refused -----------------------------------------------------------------------

MEASURED = {
    "counts": lambda: qml.counts(wires=[0]),
    "sample": lambda: qml.sample(wires=[0]),
    "state": lambda: qml.state(),
    "vn_entropy": lambda: qml.vn_entropy([0]),
}


@pytest.mark.parametrize("kind", MEASURED)
def test_other_measurements_are_refused(kind):
    @qml.set_shots(None if kind in ("state", "vn_entropy") else 10)
    @qml.qnode(device("cirq", 2))
    def qnode():
        qml.Hadamard(0)
        return MEASURED[kind]()

    with pytest.raises(DeviceError, match=r"cirq measures expectation values"):
        qnode()


def test_what_else_is_refused():
    one = device("cirq", 2)

    @qml.qnode(one)
    def outside():
        qml.Hadamard(5)
        return qml.expval(qml.Z(0))

    @qml.qnode(one)
    def kept():
        qml.Hadamard(0)
        qml.measure(0, postselect=1)
        return qml.expval(qml.Z(0))

    @qml.qnode(one)
    def plain(x):
        qml.RX(x, 0)
        return qml.expval(qml.Z(0))

    with pytest.raises(WireError, match="cirq"):
        outside()
    with pytest.raises(DeviceError, match=r"keeps 1 of wire 0 only"):
        kept()
    projector = qml.tape.QuantumScript([qml.Projector([1], 0)], [qml.probs([0])])
    with pytest.raises(DeviceError, match="Projector is not unitary"):
        one.execute([projector])
    with pytest.raises(DeviceError, match=r"one number of shots"):
        qml.set_shots(plain, [10, 10])(0.3)
    with pytest.raises(DeviceError, match="cirq has 26 qubits, but 27 are needed"):
        device("cirq", 27)
    with pytest.raises(DeviceError, match="cirq_mixed has 13 qubits"):
        device("cirq_mixed", 14)
    assert one.spent.circuits == 0


@pytest.mark.parametrize("name", FAST)
def test_outcomes_that_decide(name):
    def measuring(x):
        qml.RX(x, "a")
        outcome = qml.measure("a", reset=True)
        qml.cond(outcome, qml.RY)(x, "b")
        qml.RX(0.3, "a")
        return qml.expval(qml.Z("a") @ qml.Z("b")), qml.expval(outcome)

    one = MachineDevice(device(name, 2).machine, ["a", "b"])
    reference = qml.QNode(measuring, qml.device("default.qubit"))
    close(qml.QNode(measuring, one)(0.7), reference(0.7))


# --- copies and threads ------------------------------------------------------------


def shots_of(one, n=200):
    tape = qml.tape.QuantumScript(
        [qml.Hadamard(0), qml.RY(0.4, 1)], [qml.probs([0, 1])], n
    )
    return np.array(one.execute([tape])[0])


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies(name, copied):
    backend = BackendManager().get_backend(name, seed=6)
    twin = copied(backend)
    assert twin == backend
    first, second = backend.device(2), twin.device(2)
    close(shots_of(first), shots_of(second), 0)
    other = copied(first)
    assert other.spent == first.spent
    assert not np.array_equal(shots_of(other), shots_of(first))

    model = QuantumModel(2, 1, n_layers=1, backend=backend, seed=0)
    features = np.array([[0.1, 0.5]])
    wanted = model(features)
    close(copied(model)(features), wanted)
    assert copied(model).device.name == name


@pytest.mark.parametrize("name", FAST)
def test_the_same_seed_gives_the_same_results(name):
    first, second, other = (device(name, 2, seed=s) for s in (1, 1, 2))
    runs = [[shots_of(one) for _ in range(2)] for one in (first, second, other)]
    close(runs[0], runs[1], 0)
    assert not np.array_equal(runs[0], runs[2])
    assert not np.array_equal(*runs[0])
    state = first.generator_state
    again = device(name, 2)
    again.generator_state = state
    close(shots_of(first), shots_of(again), 0)


@pytest.mark.parametrize("name", FAST)
def test_threads_share_a_device(name):
    qnode = named(name)
    xs = np.linspace(-1, 1, 8)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: columns(qnode(WEIGHTS, x)), xs))
    close(found, [columns(REFERENCE(WEIGHTS, x)) for x in xs])
    assert qnode.device.spent.jobs == len(xs)


@pytest.mark.parametrize("name", FAST)
def test_thirteen_measured_wires(name):
    """Values are computed from lists of outcomes, also where circuits are the same."""
    one = device(name, 13, seed=0)
    n, shots = 13, 500

    def tape(x):
        gates = [qml.RY(x + 0.1 * w, w) for w in range(n)]
        word = qml.prod(*(qml.Z(w) for w in range(n)))
        measured = [qml.expval(qml.Z(w)) for w in range(n)]
        return qml.tape.QuantumScript(gates, [*measured, qml.expval(word)], shots)

    found = np.array(one.execute([tape(x) for x in (0.0, 0.9, 0.0)]))
    assert one.spent.circuits == 2
    for row, x in zip(found, (0.0, 0.9, 0.0), strict=True):
        exact = np.cos(x + 0.1 * np.arange(n))
        exact = np.append(exact, exact.prod())
        assert np.all(abs(row - exact) <= 5 * np.sqrt((1 - exact**2) / shots) + 1e-12)
    close(found[0], found[2], 0)
