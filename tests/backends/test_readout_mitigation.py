"""Readout error that is measured and corrected, against a dense misread machine."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from qiskit_aer import noise

from qstore_pl import BackendManager
from qstore_pl.backends import Batch, ReadoutMitigation, Ticket
from qstore_pl.devices import Circuit, Gate
from qstore_pl.errors import QuantumCircuitError
from tests.noisy_machine import IDEAL, OBSERVABLES, RATES, TICKET, Dense, circuit, on


def test_misread_wires_are_corrected_exactly():
    machine = Dense(rates=RATES)
    assert np.abs(np.array(on(machine)()) - IDEAL).max() > 1e-2
    found = on(ReadoutMitigation(machine))()
    np.testing.assert_allclose(found, IDEAL, rtol=0, atol=1e-10)


@pytest.mark.parametrize("measured", [(2,), (2, 0), (0, 1, 2), (1, 2, 0)])
def test_outcomes_of_some_wires_in_any_order(measured):
    made = Circuit(3, (Gate("RX", (0,), column=0), Gate("CNOT", (0, 2))), measured, 1)
    batch = Batch(made, np.array([[0.3], [0.0], [2.0]]))
    (expected,) = Dense().run([batch], TICKET)
    (found,) = ReadoutMitigation(Dense(rates=RATES)).run([batch], TICKET)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_shots_are_corrected_on_average():
    """Of 200 submissions, each with rates of its own."""
    machine = ReadoutMitigation(Dense(rates=RATES), every=1, shots=20_000)
    made = Circuit(2, (Gate("RY", (0,), angle=1.0), Gate("CNOT", (0, 1))), (0, 1))
    batch = Batch(made, np.empty((1, 0)), np.array([100]))
    expected = np.array([np.cos(0.5) ** 2, 0, 0, np.sin(0.5) ** 2])
    drawn = np.array([machine.run([batch], Ticket(i, "run"))[0][0] for i in range(200)])
    np.testing.assert_allclose(drawn.sum(axis=1), 1, rtol=0, atol=1e-12)
    error = drawn.std(axis=0, ddof=1) / np.sqrt(len(drawn))
    assert error.max() < 5e-3
    assert (np.abs(drawn.mean(axis=0) - expected) < 5 * error).all()
    assert drawn.min() < 0  # a frequency that is no probability


def test_aer_with_misread_wires():
    model = noise.NoiseModel()
    for wire, (p10, p01) in enumerate(RATES):
        error = noise.ReadoutError([[1 - p10, p10], [p01, 1 - p01]])
        model.add_readout_error(error, [wire])
    manager, n_shots = BackendManager(), 100_000
    values = {}
    for chosen in (None, True):
        backend = manager.get_backend(
            "qiskit", noise_model=model, readout_mitigation=chosen, seed=3
        )
        device = backend.device(3)
        values[chosen] = np.array(qml.QNode(circuit, device, shots=n_shots)())
    contrast = np.array([1 - p10 - p01 for p10, p01 in RATES])
    growth = np.array([contrast[op.wires.tolist()].prod() for op in OBSERVABLES])
    error = np.sqrt(2 / n_shots) / growth  # of the circuits and of the rates
    assert (np.abs(values[True] - IDEAL) < 5 * error).all()
    assert (np.abs(values[None] - IDEAL) > 5 * error).any()


def test_thirteen_wires_are_calibrated_by_their_lists():
    class Listed(Dense):
        def run(self, batches, ticket):
            rng = np.random.default_rng(0)
            found = []
            for batch in batches:
                k = len(batch.circuit.measured)
                ones = bool(batch.circuit.gates)
                p = 0.25 * (np.array(batch.circuit.measured) == 4)  # wire 4 is misread
                bits = ones ^ (rng.random((batch.shots[0], k)) < p)
                listed = bits @ (1 << np.arange(k)[::-1])
                share = np.bincount(listed, minlength=1 << k)[None] / len(listed)
                found.append([listed] if k > 12 else share)
            return found

    machine = ReadoutMitigation(Listed())
    batch = Batch(Circuit(13, (), (4, 5)), np.empty((1, 0)), np.array([20_000]))
    (found,) = machine.run([batch], TICKET)
    np.testing.assert_allclose(found, [[1, 0, 0, 0]], rtol=0, atol=0.03)
    rates = machine.state["rates"]
    assert rates.shape == (13, 2)
    assert np.abs(rates[4] - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 20_000)
    assert not np.delete(rates, 4, axis=0).any()


def test_circuits_are_added_when_the_rates_are_measured():
    machine = Dense(rates=RATES)
    qnode = on(ReadoutMitigation(machine, every=3))
    for _ in range(7):
        qnode()
    # The observables share one circuit.
    assert machine.submissions == [3, 1, 1, 3, 1, 1, 3]
    machine = Dense(rates=RATES)
    once = ReadoutMitigation(machine)
    for n_wires in (1, 1, 2, 1, 3, 2):
        once.run([Batch(Circuit(n_wires, (), (0,)), np.empty((1, 0)))], TICKET)
    assert machine.submissions == [3, 1, 3, 1, 3, 1]
    once.run([], TICKET)
    assert machine.submissions[-1] == 0


def test_a_wire_that_tells_nothing_is_refused():
    machine = ReadoutMitigation(Dense(rates=((0.0, 0.0), (0.4, 0.55), (0.0, 0.0))))
    message = r"Wire 1 is read as 1 in 40\.0% .* 0 in 55\.0% .*\(backend `dense`\)"
    with pytest.raises(QuantumCircuitError, match=message):
        on(machine)()
    assert machine.state["rates"] is None
