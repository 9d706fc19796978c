"""Measurements inside the circuit: deferred when exact, one by one with shots."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl import NoiseSpec, compile

DEVICE = "qstore.mock_ideal"
W = np.array([1.4, 1.1])


def teleport(w):
    """Measure, reset and act on the outcome."""
    qml.RX(w[0], 0)
    first = qml.measure(0, reset=True)
    qml.cond(first, qml.RY)(w[1], 1)
    qml.CNOT([1, 0])
    second = qml.measure(1)
    qml.cond(second & first, qml.Hadamard)(0)
    return [
        qml.expval(qml.Z(0)),
        qml.probs(wires=[1, 0]),
        qml.expval(first),
        qml.probs(op=[first, second]),
    ]


def selected(w):
    """Keep the runs whose first wire was found in |1>."""
    qml.RX(w[0], 0)
    qml.CRY(w[1], [0, 1])
    qml.measure(0, postselect=1)
    return [qml.expval(qml.Z(1)), qml.probs(wires=[0, 1])]


def device():
    return qml.device(DEVICE, seed=11)


@pytest.mark.parametrize("circuit", [teleport, selected])
def test_deferred_measurements_are_exact(circuit, reference, agree):
    agree(qml.QNode(circuit, device())(W), reference.qnode(circuit)(W))


@pytest.mark.parametrize("circuit", [teleport, selected])
def test_deferred_measurements_are_differentiated(
    circuit, framework, reference, flat, agree
):
    actual = framework.jacobian(flat(qml.QNode(circuit, device())), W)
    agree(actual, reference.jacobian(circuit, W))


def test_deferred_measurements_are_batched(framework, reference, flat, agree):
    def batched(x):
        qml.RX(x, 0)
        outcome = qml.measure(0)
        qml.cond(outcome, qml.RY)(x, 1)
        return qml.expval(qml.Z(1)), qml.var(outcome)

    x = np.array([0.3, 0.7, 2.0])
    actual = framework.jacobian(flat(qml.QNode(batched, device())), x)
    agree(actual, reference.jacobian(batched, x))


@pytest.mark.parametrize("circuit", [teleport, selected])
@pytest.mark.parametrize(
    ("mcm_method", "shots"), [("deferred", 5000), ("one-shot", 500)]
)
def test_measured_circuits_are_sampled_without_bias(circuit, mcm_method, shots, flat):
    f = qml.QNode(circuit, device(), mcm_method=mcm_method, shots=shots)
    expected = flat(qml.QNode(circuit, device()))(W)
    p = 1 if circuit is teleport else np.sin(W[0] / 2) ** 2
    kept = shots * p - 5 * np.sqrt(shots * p * (1 - p))
    # What is averaged lies within [-1, 1], so that its standard deviation is below 1.
    assert np.all(np.abs(flat(f)(W) - expected) < 5 / np.sqrt(kept))


@pytest.mark.parametrize(
    ("mode", "fewer"), [("hw-like", True), ("fill-shots", False)], ids=lambda v: str(v)
)
def test_postselection_drops_runs_only_as_hardware_would(mode, fewer):
    def circuit():
        qml.Hadamard(0)
        qml.measure(0, postselect=1)
        return qml.sample(wires=0)

    f = qml.QNode(
        circuit, device(), shots=100, mcm_method="deferred", postselect_mode=mode
    )
    samples = f()
    assert set(samples.ravel()) == {1}
    assert (len(samples) < 100) is fewer


@pytest.mark.parametrize(("shots", "method"), [(20, "one-shot"), (None, "deferred")])
def test_measurement_method_follows_the_shots(shots, method):
    tape = qml.tape.QuantumScript([], [qml.expval(qml.Z(0))], shots=shots)
    config = device().setup_execution_config(qml.devices.ExecutionConfig(), tape)
    assert config.mcm_config.mcm_method == method


def test_tree_traversal_is_refused():
    f = qml.QNode(teleport, device(), shots=20, mcm_method="tree-traversal")
    with pytest.raises(DeviceError, match="tree-traversal"):
        f(W)


# ------------------------------------------------- one-shot circuits, run only once
def branching(w):
    """Outcomes of three measurements, two of the same wire, with a reset between."""
    qml.RX(w[0], 0)
    first = qml.measure(0, reset=True)
    qml.cond(first, qml.RY)(w[1], 0)
    second = qml.measure(0)
    qml.cond(~second, qml.RX)(0.9, 1)
    third = qml.measure(1)
    return first, second, third


def kept(w):
    """Runs in which the first outcome is 1."""
    qml.RX(w[0], 0)
    first = qml.measure(0, postselect=1)
    qml.RY(w[1], 0)
    second = qml.measure(0, reset=True)
    qml.cond(second, qml.RX)(0.9, 1)
    third = qml.measure(1)
    return first, second, third


def simulations(tracker):
    return tracker.totals["simulations"], tracker.totals["executions"]


@pytest.mark.parametrize("circuit", [branching, kept])
def test_one_shot_circuits_have_the_distribution_of_default_qubits(circuit):
    """Joint frequencies of three outcomes, and of a basis state at the end."""

    def returned(w):
        outcomes = circuit(w)
        return qml.sample(list(outcomes)), qml.sample(wires=[0, 1])

    shots = 3000
    joint = []
    for name, n in ((DEVICE, 100 * shots), ("default.qubit", shots)):
        dev = qml.device(name, wires=2, seed=3)
        qnode = qml.QNode(returned, dev, shots=n, mcm_method="one-shot")
        inside, final = qnode(W)
        assert len(inside) == len(final)
        index = np.hstack([inside, final]).astype(int) @ [16, 8, 4, 2, 1]
        joint.append(np.bincount(index, minlength=32))
    ours, theirs = joint
    p, n = ours / ours.sum(), theirs.sum()
    assert np.all(np.abs(theirs - n * p) <= 5 * np.sqrt(n * p * (1 - p)) + 1e-9)
    # So many shots are kept as have the outcome.
    share = np.sin(W[0] / 2) ** 2 if circuit is kept else 1.0
    spread = np.sqrt(100 * shots * share * (1 - share))
    assert abs(ours.sum() - 100 * shots * share) <= 5 * spread


def test_one_shot_circuits_run_once():
    def circuit(w):
        first, second, _ = branching(w)
        return qml.expval(first + 2 * second)

    dev = qml.device(DEVICE, wires=2, seed=5)
    with qml.Tracker(dev) as tracker:
        found = qml.QNode(circuit, dev, shots=100_000)(W)
    assert simulations(tracker) == (1, 1)
    exact = qml.QNode(circuit, device())(W)
    assert abs(found - exact) < 5 * 3 / np.sqrt(100_000)


@pytest.mark.parametrize("shots", [60, (60, 20)])
def test_results_of_one_shot_circuits_nest_as_default_qubits(shots):
    def circuit(w):
        m, n, _ = branching(w)
        return (
            qml.expval(qml.X(1)),
            qml.probs(wires=[0, 1]),
            qml.sample(m),
            qml.sample([m, n]),
            qml.sample(m + n),
            qml.counts(m),
            qml.counts([m, n]),
            qml.probs(op=[m, n]),
            qml.var(n),
            qml.sample(),
        )

    def shapes(results):
        if isinstance(results, tuple | list):
            return [shapes(result) for result in results]
        if isinstance(results, dict):
            return sum(results.values())
        return np.shape(results)

    ours, theirs = (
        qml.QNode(circuit, qml.device(name, wires=2), shots=shots)(W)
        for name in (DEVICE, "default.qubit")
    )
    assert shapes(ours) == shapes(theirs)


def test_a_batch_is_drawn_in_one_run():
    def circuit(x):
        qml.RX(x, 0)
        m = qml.measure(0)
        qml.cond(m, qml.RY)(x, 1)
        return qml.expval(qml.Z(1)), qml.probs(op=[m])

    x = np.array([0.3, 0.7, 2.0])
    sampled = qml.QNode(circuit, device(), shots=40_000)(x)
    exact = qml.QNode(circuit, device())(x)
    for one, other in zip(sampled, exact, strict=True):
        assert np.shape(one) == np.shape(other)
        assert np.all(np.abs(one - other) < 5 / np.sqrt(40_000))


def test_no_shot_may_be_kept():
    def circuit():
        qml.Identity(0)
        qml.measure(0, postselect=1)
        return qml.expval(qml.Z(0)), qml.sample(wires=0), qml.probs(wires=0)

    for result in qml.QNode(circuit, device(), shots=50)():
        assert np.all(np.isnan(result))


def test_many_measurements_of_few_shots_are_run_one_by_one():
    """Each outcome would need a wire of its own."""

    def circuit():
        outcomes = []
        for _ in range(18):
            qml.Hadamard(0)
            outcomes.append(qml.measure(0))
        return qml.sample(outcomes)

    dev = device()
    with qml.Tracker(dev) as tracker:
        assert qml.QNode(circuit, dev, shots=3)().shape == (3, 18)
    assert tracker.totals["shots"] == 3


def test_snapshots_show_the_circuit_that_was_written():
    def circuit():
        qml.Hadamard(0)
        qml.measure(0, reset=True)
        qml.Snapshot("end")
        return qml.sample(wires=0)

    shown = qml.snapshots(qml.QNode(circuit, device(), shots=4))()
    assert np.shape(shown["end"]) in ((2,), (4, 2)) or len(shown["end"]) == 4


def test_one_shot_gradients_are_those_of_the_exact_circuit(framework):
    def circuit(w):
        qml.RX(w[0], 0)
        qml.RY(w[1], 1)
        m = qml.measure(0)
        qml.cond(m, qml.X)(1)
        return qml.expval(qml.Z(1))

    exact = qml.QNode(circuit, device())
    sampled = qml.QNode(circuit, device(), shots=40_000, diff_method="parameter-shift")
    (one,) = framework.jacobian(sampled, W)
    (other,) = framework.jacobian(exact, W)
    # Four terms at most, each a mean with at most 1 of variance.
    assert np.all(np.abs(np.asarray(one) - np.asarray(other)) < 5 * 1.5 / 200)


@pytest.mark.parametrize("name", [DEVICE, "qstore.mock_noisy"])
def test_wide_gates_that_an_outcome_decides_on_are_compiled(name):
    unitary = np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]

    def circuit(w):
        qml.RX(w[0], 0)
        qml.RY(w[1], 1)
        m = qml.measure(0)
        qml.cond(m, qml.QubitUnitary)(unitary, wires=[1, 2, 3])
        qml.cond(m == 0, qml.IsingXX)(w[1], wires=[2, 3])
        return [qml.expval(qml.Z(wire)) for wire in (1, 2, 3)]

    spec = {} if name == DEVICE else {"noise": NoiseSpec(readout=(0.0, 1e-300))}
    fast = compile(qml.QNode(circuit, qml.device(name, wires=4, **spec)))
    expected = qml.QNode(circuit, qml.device("default.qubit", wires=4))(W)
    np.testing.assert_allclose(fast(W), expected, rtol=0, atol=1e-12)
