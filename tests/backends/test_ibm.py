"""IBM's sampler on a simulator, and on the model of a chip."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
from qiskit.transpiler import StagedPassManager
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import SamplerV2
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from qstore_pl import (
    BackendManager,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)
from qstore_pl.backends import Batch, Ticket
from qstore_pl.backends.ibm import qiskit_remote
from qstore_pl.backends.sampler import SamplerMachine
from qstore_pl.devices import Circuit, Gate

pytestmark = pytest.mark.timeout(60)
SHOTS = 4000
X = np.random.default_rng(1).uniform(-1, 1, (3, 2))
Y = np.sign(X)
AER, CHIP = AerSimulator(max_parallel_threads=1), FakeManilaV2()
CHIP.set_options(max_parallel_threads=1)
TICKET = Ticket(seed=7, run="a")


def backend_of(backend, **options):
    return BackendManager().get_backend("qiskit_remote", backend=backend, **options)


def model(backend):
    return QuantumModel(2, 2, n_layers=1, seed=3, backend=backend)


@pytest.fixture
def runs(monkeypatch):
    """The circuits of every call of the sampler, and those that were translated."""
    calls, translated = [], []
    run, translate = SamplerV2.run, StagedPassManager.run

    def noted_run(self, pubs, **options):
        calls.append(list(pubs))
        return run(self, calls[-1], **options)

    def noted_translate(self, circuits, *args, **options):
        translated.append(circuits)
        return translate(self, circuits, *args, **options)

    monkeypatch.setattr(SamplerV2, "run", noted_run)
    monkeypatch.setattr(StagedPassManager, "run", noted_translate)
    return calls, translated


def bell(device):
    @qml.set_shots(SHOTS)
    @qml.qnode(device)
    def circuit():
        qml.Hadamard(0)
        qml.CNOT([0, 1])
        return qml.probs(wires=[0, 1])

    return circuit()


def test_a_bell_state_is_00_or_11():
    device = backend_of(AER, seed=1).device(2)
    found = bell(device)
    assert found[1] == found[2] == 0.0
    assert abs(found[0] - 0.5) < 5 * 0.5 / np.sqrt(SHOTS)
    assert (device.spent.shots, device.spent.jobs) == (SHOTS, 1)
    assert device.spent.dollars == 0.0


def test_the_noise_of_a_chip_is_seen():
    found = bell(backend_of(CHIP, seed=1).device(2))
    assert 0.01 < found[1] + found[2] < 0.2
    assert abs(found.sum() - 1.0) < 1e-12


def test_values_of_a_model_are_those_of_mock_ideal():
    found = model(backend_of(AER, shots=SHOTS, seed=2)).forward(X)
    exact = model("mock_ideal").forward(X)
    np.testing.assert_allclose(found, exact, rtol=0, atol=5 / np.sqrt(SHOTS))
    assert (found != exact).any()


def test_a_step_of_parameter_shift_is_one_job(runs):
    calls, translated = runs
    trained = model(backend_of(CHIP))
    config = TrainingConfig(
        epochs=2,
        batch_size=3,
        shots=200,
        gradient_method="parameter_shift",
        seed=0,
    )
    QuantumTrainer(config).train(trained, (X, Y))
    assert len(calls) == 2  # steps
    assert len(translated) == 1
    ((_, angles, shots),) = calls[0]
    n_circuits = trained.device.spent.circuits
    assert len(angles) == len(calls[1][0][1]) == n_circuits // 2 > 30
    assert shots == 200


def shifted(measured, angle_of=0):
    """An X on wire 2 of 3, and a rotation of wire 0 by a column."""
    gates = (
        Gate("PauliX", (2,)),
        Gate("RX", (0,), column=1 - angle_of),
        Gate("RZ", (1,), column=angle_of),
        Gate("CNOT", (0, 1)),
    )
    return Circuit(3, gates, measured, 2)


@pytest.mark.parametrize("backend", [AER, CHIP], ids=["aer", "chip"])
def test_wires_angles_and_shots_are_told_apart(backend, runs):
    calls, _ = runs
    machine = SamplerMachine(backend=backend)
    # Turned by 0 and by pi, wires 0 and 1 are 0 or 1; the other column does nothing.
    angles = np.array([[0.3, 0.0], [0.2, np.pi], [0.1, np.pi]])
    shots = np.array([100, 300, 100])
    batches = [
        Batch(shifted((2, 0)), angles, shots),
        Batch(shifted((1, 2, 0), 1), angles[:, ::-1], shots),
    ]
    found = machine.run(batches, TICKET)
    assert [one.shape for one in found] == [(3, 4), (3, 8)]
    assert [one.argmax(axis=1).tolist() for one in found] == [[2, 3, 3], [2, 7, 7]]
    assert machine.bill(batches).jobs == len(calls) == 2
    counts = found[0] * shots[:, None]
    np.testing.assert_allclose(counts, np.rint(counts), rtol=0, atol=1e-9)
    assert [[pub[2] for pub in call] for call in calls] == [[100, 100], [300, 300]]
    again = machine.run(batches, TICKET)
    other = machine.run(batches, Ticket(8, "a"))
    for one, same in zip(found, again, strict=True):
        np.testing.assert_array_equal(one, same)
    if backend is CHIP:
        assert (found[0] != other[0]).any()


def test_streams_of_circuits_with_other_shots_differ():
    """Of one stream two neighbours would differ by one outcome at most."""
    circuit = Circuit(1, (Gate("RX", (0,), column=0),), (0,), 1)
    shots = np.arange(1000, 1012)
    halves = Batch(circuit, np.full((12, 1), np.pi / 2), shots)
    (found,) = SamplerMachine(backend=AER).run([halves], TICKET)
    assert np.median(abs(np.diff(found[:, 1] * shots))) > 5


def test_the_bill_counts_the_gates_of_the_chip(runs):
    machine = SamplerMachine(backend=CHIP)
    batch = Batch(shifted((0, 1, 2)), np.zeros((5, 2)), np.full(5, 10))
    bill = machine.bill([batch])
    machine.run([batch], TICKET)
    ((sent, _, _),) = runs[0][0]
    counts = sent.count_ops()
    two = counts.pop("cx")
    assert counts.pop("measure") == 3
    assert set(counts) <= {"rz", "sx", "x"}
    assert bill.one_qubit_gates == 5 * sum(counts.values()) > 0
    assert bill.two_qubit_gates == 5 * two > 0
    assert (bill.circuits, bill.shots, bill.jobs) == (5, 50, 1)


def test_outcomes_of_many_wires_are_listed():
    gates = (Gate("PauliX", (1,)), Gate("RX", (12,), column=0))
    machine = SamplerMachine(backend=AER)
    circuit = Circuit(13, gates, tuple(range(13)), 1)
    (found,) = machine.run(
        [Batch(circuit, np.array([[np.pi]]), np.array([20]))], TICKET
    )
    assert [one.tolist() for one in found] == [[(1 << 11) + 1] * 20]


def test_it_can_be_copied():
    machine = SamplerMachine(backend=AER, optimization_level=2)
    batch = Batch(shifted((0,)), np.array([[0.4, 0.5]]), np.array([50]))
    (expected,) = machine.run([batch], TICKET)
    for copied in (copy.deepcopy(machine), pickle.loads(pickle.dumps(machine))):
        assert repr(copied) == "SamplerMachine('aer_simulator', optimization_level=2)"
        np.testing.assert_array_equal(copied.run([batch], TICKET)[0], expected)


def test_what_cannot_be_a_backend():
    with pytest.raises(TypeError, match=r"`backend` must be the name.*but is 3"):
        backend_of(3).device(2)
    with pytest.raises(ValueError, match="`token` is for IBM's service"):
        qiskit_remote(backend=AER, token="secret")
    with pytest.raises(ValueError, match="`optimization_level` must be <= 3"):
        qiskit_remote(backend=AER, optimization_level=4)
    with pytest.raises(qml.exceptions.DeviceError, match="has 5 qubits, but 6"):
        backend_of(CHIP).device(6)
    with pytest.raises(qml.exceptions.DeviceError, match="needs a number of shots"):
        model(backend_of(AER)).forward(X)
    with pytest.raises(TypeError, match="no option 'shot'; its options are backend"):
        backend_of(AER, shot=3)
