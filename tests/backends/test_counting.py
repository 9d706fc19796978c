"""Machines and devices that run nothing: their results have the right form."""

import numpy as np
import pennylane as qml
import pytest

from qstore_pl.backends import Backend, BackendManager, Batch, Bill, Ticket
from qstore_pl.backends.cirq import CirqMachine
from qstore_pl.backends.counted import CountingBackends, counting, counting_of
from qstore_pl.backends.counting import Counting
from qstore_pl.backends.readout_mitigation import ReadoutMitigation
from qstore_pl.backends.zero_noise import ZeroNoise
from qstore_pl.devices import Circuit
from qstore_pl.devices.parametric import Gate

TICKET = Ticket(0, "run")
MACHINE = CirqMachine()
FLIPS = (Gate("PauliX", (0,)), Gate("RX", (2,), angle=np.pi))


def batch(k, shots=None, gates=(), n=3):
    circuit = Circuit(max(k, 3), tuple(gates), tuple(range(k)), 1)
    each = None if shots is None else np.full(n, shots)
    return Batch(circuit, np.arange(float(n))[:, None], each)


@pytest.mark.parametrize(("k", "shots"), [(2, None), (2, 10), (12, 10), (13, None)])
def test_shares_are_nearly_even_and_differ(k, shots):
    (shares,) = Counting(MACHINE).run(
        [batch(k, shots, [Gate("RX", (0,), column=0)])], TICKET
    )
    assert shares.shape == (3, 2**k)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(shares, 2.0**-k, rtol=0.03)
    assert (shares[0] != shares[1]).all()


def test_outcomes_of_many_wires_are_listed():
    gates = [Gate("RX", (0,), column=0)]
    (listed,) = Counting(MACHINE).run([batch(13, 40, gates)], TICKET)
    assert [len(one) for one in listed] == [40] * 3
    assert all(one.dtype == np.int64 and one.max() < 2**13 for one in listed)
    assert not np.array_equal(listed[0], listed[1])


@pytest.mark.parametrize(("k", "shots"), [(3, None), (3, 5), (13, 5)])
def test_flipped_wires_are_read_as_flipped(k, shots):
    given = batch(k, shots, FLIPS)
    (found,) = Counting(MACHINE).run([given], TICKET)
    (wanted,) = MACHINE.run([given], TICKET)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_bill_is_that_of_the_machine():
    machine = Counting(MACHINE)
    gates = [Gate("RX", (0,), column=0), Gate("CNOT", (0, 1)), *FLIPS]
    batches = [batch(2, 10, gates), batch(3, None, gates, n=2)]
    assert machine.bill(batches) == MACHINE.bill(batches) == Bill(5, 30, 13, 5, 1)
    machine.run(batches, TICKET)
    assert machine.gate_shots == (80, 30)  # in each batch one angle is 0
    assert machine.limits is MACHINE.limits
    assert repr(machine) == "Counting(CirqMachine(mixed=False, noise=None))"


def test_error_mitigation_stays_around_a_machine_that_counts():
    given = ZeroNoise(ReadoutMitigation(MACHINE), scale_factors=(1, 3))
    found = counting(given)
    batches = [batch(2, 10, [Gate("RX", (0,), column=0)])]
    assert found.bill(batches) == given.bill(batches)
    found.run(batches, TICKET)
    assert found.bill(batches).circuits == 2 * 3  # the readout was measured
    assert given.bill(batches).circuits == 2 * 3 + 2
    assert isinstance(found.machine.machine, Counting)


def test_backends_that_count(tmp_path):
    manager = CountingBackends(BackendManager())
    device = manager.get_backend("cirq", shots=7, seed=1).device(2)
    assert isinstance(counting_of(device).machine, CirqMachine)
    assert device.shots.total_shots == 7
    own = BackendManager().get_backend("cirq", seed=1).device(3)
    given = Backend("own", lambda _: own)
    wrapped = manager.counted(given).device(2)
    assert counting_of(wrapped).machine is own.machine
    assert len(wrapped.wires) == 3
    assert manager.counted(given) == manager.counted(given)
    assert manager.get_backend("mock_ideal") == BackendManager().get_backend(
        "mock_ideal"
    )


def test_our_own_devices_keep_their_random_numbers():
    device = qml.device("qstore.mock_ideal", wires=1, seed=3)
    manager = CountingBackends(BackendManager())
    backend = manager.counted(Backend("own", lambda _: device))
    before = device.generator_state
    for _ in range(2):
        assert backend.device(1) is device
        qml.set_shots(qml.QNode(lambda: qml.expval(qml.X(0)), device), 10)()
    assert device.generator_state != before
    manager.restore()
    assert device.generator_state == before


MEASURED = [
    [qml.expval(qml.Z(0))],
    [qml.expval(qml.Z(0)), qml.var(qml.X(1)), qml.probs(wires=[0, 1])],
]


@pytest.mark.parametrize("measured", MEASURED)
@pytest.mark.parametrize("angle", [0.3, np.array([0.1, 0.2, 0.3])])
def test_results_of_other_devices_have_their_shapes(measured, angle):
    device = qml.device("default.qubit", wires=2)
    backend = CountingBackends(BackendManager()).counted(Backend("b", lambda _: device))
    counted = backend.device(2)
    tape = qml.tape.QuantumScript([qml.RX(angle, 0), qml.CNOT([0, 1])], measured)
    found, wanted = counted.execute(tape), device.execute(tape)
    assert counted.name == "default.qubit"
    if len(measured) == 1:
        found, wanted = [found], [wanted]
    assert list(map(np.shape, found)) == list(map(np.shape, wanted))
    n = np.size(angle)
    assert counted.spent == Bill(n, 0, n, n, 1, dollars=None)


def test_measurements_that_no_model_has_are_refused():
    backend = CountingBackends(BackendManager()).get_backend("default.qubit")
    tape = qml.tape.QuantumScript([qml.RX(0.1, 0)], [qml.state()])
    with pytest.raises(
        qml.exceptions.DeviceError, match="can be counted for expectation"
    ):
        backend.device(1).execute(tape)
