"""Both error mitigations in one machine: what they cost, and runs that are resumed."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    BackendManager,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    checkpoint,
)
from qstore_pl.backends import (
    Backend,
    Batch,
    MachineDevice,
    ReadoutMitigation,
    Ticket,
    ZeroNoise,
)
from qstore_pl.devices import Circuit, Gate
from tests.noisy_machine import IDEAL, RATES, TICKET, Dense, circuit, on

WRAPPED = {
    "readout": lambda m: ReadoutMitigation(m),
    "every": lambda m: ReadoutMitigation(m, every=2, shots=50),
    "zero noise": lambda m: ZeroNoise(m),
    "both": lambda m: ZeroNoise(ReadoutMitigation(m, every=3), scale_factors=(1, 3)),
}


@pytest.mark.parametrize("shots", [None, 100])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_the_bill_is_what_is_run(wrap, shots):
    machine = Dense(strength=0.01, rates=RATES)
    wrapped = wrap(machine)
    qnode = on(wrapped, shots=shots)
    assert (wrapped.name, wrapped.gate_set) == ("dense", Dense.gate_set)
    assert wrapped.bill([]) == machine.bill([])
    for _ in range(4):
        with qml.Tracker(qnode.device) as tracker:
            before = machine.ran
            qnode()
        assert qnode.device.spent == machine.ran
        assert tracker.totals["executions"] == machine.ran.circuits - before.circuits
    assert machine.ran.jobs == 4


def test_both_leave_little_of_both_errors():
    machine = Dense(strength=0.003, rates=RATES)
    both = ZeroNoise(ReadoutMitigation(machine))
    assert np.abs(np.array(on(machine)()) - IDEAL).max() > 0.04
    assert np.abs(np.array(on(both)()) - IDEAL).max() < 5e-3  # noise of PauliX
    assert repr(both) == (
        "ZeroNoise(ReadoutMitigation(Dense(), every=None, shots=None), "
        "scale_factors=(1, 3, 5), extrapolate='richardson')"
    )


def test_the_same_ticket_gives_the_same():
    made = Circuit(2, (Gate("RY", (0,), angle=1.0),), (0, 1))
    batch = Batch(made, np.empty((1, 0)), np.array([100]))
    machines = [ZeroNoise(ReadoutMitigation(Dense(rates=RATES))) for _ in range(2)]
    one, other = (machine.run([batch], TICKET)[0] for machine in machines)
    np.testing.assert_array_equal(one, other)
    assert (one != machines[0].run([batch], Ticket(18, "run"))[0]).any()


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_goes_on_with_the_rates(copied):
    machine = ZeroNoise(ReadoutMitigation(Dense(rates=RATES), every=5))
    on(machine, shots=100)()
    twin = copied(machine)
    np.testing.assert_array_equal(twin.state["rates"], machine.state["rates"])
    assert twin.state["used"] == 1
    found = [on(each, shots=100)() for each in (machine, twin)]
    np.testing.assert_array_equal(*found)
    assert twin.machine.machine.submissions == [3 + 2, 3]


def test_a_run_goes_on_from_a_checkpoint_of_its_device(tmp_path):
    def made():
        return on(ZeroNoise(ReadoutMitigation(Dense(rates=RATES), every=3)), shots=200)

    whole, first, second = made(), made(), made()
    for qnode in (whole, first):
        qnode.device.begin_run(np.random.default_rng(5).bit_generator.state)
    expected = [whole() for _ in range(6)]
    for _ in range(2):
        first()
    checkpoint.save(tmp_path / "state", first.device.generator_state)
    second()  # rates that are to be forgotten
    second.device.generator_state = checkpoint.load(tmp_path / "state")
    np.testing.assert_array_equal([second() for _ in range(4)], expected[2:])
    assert second.device.spent == whole.device.spent
    inner = second.device.machine.machine.machine
    assert inner.loaded == {"submissions": 2}
    before = copy.deepcopy(second.device.draws)  # as of a step that is undone
    once = second()
    second.device.draws = before
    np.testing.assert_array_equal(second(), once)
    assert inner.submissions[-2:] == [3 + 2, 3 + 2]
    second.device.begin_run(None)
    assert second.device.machine.state["rates"] is None


def test_a_training_run_comes_nearer_to_the_one_without_noise():
    X = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    y = np.sin(X[:, :1])

    def final_loss(machine):
        model = QuantumModel(2, 1, 1, backend=MachineDevice(machine, 2), seed=1)
        config = TrainingConfig(
            epochs=5, learning_rate=0.2, seed=0, gradient_method="parameter_shift"
        )
        return QuantumTrainer(config).train(model, (X, y))["losses"][-1]

    noisy = Dense(strength=0.003, rates=((0.1, 0.15), (0.2, 0.05)))
    ideal, raw = final_loss(Dense()), final_loss(noisy)
    both = final_loss(ZeroNoise(ReadoutMitigation(noisy)))
    assert abs(both - ideal) < 0.1 * abs(raw - ideal)


def test_a_run_that_a_budget_stops_goes_on_with_the_rates_it_had(tmp_path):
    """It stops within steps, too: the metric tensor is a second submission."""

    def trained(**options):
        machine = ReadoutMitigation(Dense(rates=RATES), every=3)
        backend = Backend("dense", lambda n: MachineDevice(machine, n, seed=0))
        model = QuantumModel(2, 1, 1, backend=backend, seed=1)
        config = TrainingConfig(
            epochs=2,
            batch_size=2,
            seed=0,
            shots=40,
            optimizer="natural_gradient",
            damping=0.1,
            metric_tensor_approximation="block-diag",
            gradient_method="parameter_shift",
            checkpoint_directory=options.pop("directory"),
            **options,
        )
        trainer = QuantumTrainer(config)
        trainer.train(model, (X, y), resume=resume)
        return model.parameters.copy(), trainer

    X = np.random.default_rng(0).uniform(-1, 1, (4, 2))
    y, resume = np.sin(X[:, :1]), None
    whole, reference = trained(directory=tmp_path / "whole")
    total, stops = reference.spent.circuits, 0
    for limit in range(total // 4, 2 * total, total // 9):
        parameters, trainer = trained(directory=tmp_path / "own", max_circuits=limit)
        resume = "latest"
        if trainer.stopped != "budget":
            break
        stops += 1
    assert stops >= 4
    np.testing.assert_array_equal(parameters, whole)
    assert trainer.spent.circuits >= total


@pytest.mark.parametrize("own", [True, False])
def test_the_estimated_cost_is_that_of_the_run(own):
    """Of a device of the user's, which has run before, and of a backend by its name."""
    every = {"every": 2}
    if own:
        machine = ReadoutMitigation(Dense(rates=RATES), **every)
        backend = MachineDevice(ZeroNoise(machine, scale_factors=(1, 3)), 2)
    else:
        backend = BackendManager().get_backend(
            "cirq", readout_mitigation=every, zero_noise=(1, 3)
        )
    model = QuantumModel(2, 1, 1, backend=backend, seed=1)
    if own:
        model.forward(np.zeros((1, 2)))
        backend.begin_run(None)
    config = TrainingConfig(
        epochs=3, shots=50, seed=0, gradient_method="parameter_shift", batch_size=2
    )
    trainer, data = QuantumTrainer(config), (np.ones((3, 2)) / 4, np.ones((3, 1)))
    total = trainer.estimate_cost(model, data).total
    trainer.train(model, data)
    spent = model.placed.device.spent
    assert total.circuits == spent.circuits
    assert (total.shots, total.jobs, total.dollars) == (spent.shots, 6, 0.0)
    assert total.one_qubit_gates == spent.one_qubit_gates


@pytest.mark.timeout(30)
def test_rates_are_sent_to_a_service_once(ionq_server, tmp_path):
    """An interrupted run takes them from the ledger, or from its checkpoint."""
    backend = BackendManager().get_backend(
        "ionq_simulator",
        ledger=tmp_path / "jobs.db",
        poll=0.01,
        readout_mitigation=True,
    )
    device = backend.device(3)
    qnode = qml.QNode(circuit, device, shots=100)
    states, values = [], []
    for _ in range(2):
        states.append(copy.deepcopy(device.generator_state))
        values.append(np.array(qnode()))
    sent = ionq_server.submissions
    assert device.spent.jobs == sent == 2
    assert device.spent.circuits == (1 + 2) + 1
    for state, value in zip(states, values, strict=True):
        device.generator_state = state
        np.testing.assert_array_equal(qnode(), value)
    assert ionq_server.submissions == sent
