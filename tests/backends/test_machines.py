"""Machines of other packages: every gate, state and channel is that of PennyLane."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import BackendManager
from qstore_pl.backends import cirq
from qstore_pl.backends.cirq import CirqMachine
from qstore_pl.backends.machine import Batch, Ticket
from qstore_pl.backends.qiskit import AerMachine
from qstore_pl.devices import Circuit, Gate
from tests.cases import (
    DRAWN,
    GATES,
    OBSERVABLES,
    PREPARATIONS,
    TEMPLATES,
    VARIANTS,
    has_variant,
)

pytestmark = pytest.mark.timeout(60)

TICKET = Ticket(7, "test")
MACHINES = {
    "cirq": CirqMachine(),
    "cirq_mixed": CirqMachine(mixed=True),
    "qiskit": AerMachine(),
}
GATES_OF = [
    (name, gate) for name, made in MACHINES.items() for gate in sorted(made.gate_set)
]
ANGLES = np.array([-2.9, -0.4, 0.0, 0.7, np.pi, 5.0])
NOISELESS = ("mock_ideal", *MACHINES, "default.qubit", "lightning")
ROWS = GATES | TEMPLATES | PREPARATIONS


def close(seen: Any, wanted: Any, atol: float = 1e-10) -> None:
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=atol)


# --- gates -------------------------------------------------------------------------


def around(gate: Gate, n_columns: int) -> Circuit:
    """A gate between rotations, so that all of its matrix is seen."""
    before = [Gate("RY", (0,), 0.6), Gate("RX", (1,), 1.1), Gate("RZ", (0,), 0.8)]
    before += [Gate("CNOT", (1, 0)), Gate("RY", (1,), -0.7), Gate("RZ", (1,), 0.3)]
    after = [Gate("RX", (0,), 0.9), Gate("RY", (1,), 0.5), Gate("CNOT", (0, 1))]
    after += [Gate("RX", (1,), -0.4), Gate("RY", (0,), 1.3)]
    return Circuit(2, (*before, gate, *after), (1, 0), n_columns)


def dense(circuit: Circuit, angles: Any) -> np.ndarray:
    """The probabilities of the measured outcomes, by matrices of PennyLane."""
    state = np.eye(2**circuit.n_wires)[0]
    for gate in circuit.gates:
        own = [gate.angle] if gate.angle is not None else []
        own = own if gate.column is None else [angles[gate.column]]
        op = getattr(qml, gate.name)(*own, wires=gate.wires)
        state = qml.matrix(op, wire_order=range(circuit.n_wires)) @ state
    tensor = (abs(state) ** 2).reshape([2] * circuit.n_wires)
    rest = tuple(w for w in range(circuit.n_wires) if w not in circuit.measured)
    kept = sorted(circuit.measured)
    order = [kept.index(w) for w in circuit.measured]
    return tensor.sum(axis=rest).transpose(order).ravel()


@pytest.mark.parametrize(("machine", "name"), GATES_OF)
def test_a_gate_is_its_matrix(machine, name):
    """Bound at many angles and as a constant, on the wires in both orders."""
    kind = getattr(qml, name)
    wires = [(0, 1), (1, 0)] if kind.num_wires == 2 else [(0,), (1,)]
    angles = ANGLES[:, None] if kind.num_params else np.zeros((1, 0))
    batches = []
    for own in wires:
        column = 0 if kind.num_params else None
        batches.append(
            Batch(around(Gate(name, own, None, column), column == 0), angles)
        )
    if kind.num_params:
        constant = Gate(name, wires[0], ANGLES[1])
        batches.append(Batch(around(constant, 0), np.zeros((1, 0))))
    found = MACHINES[machine].run(batches, TICKET)
    for batch, seen in zip(batches, found, strict=True):
        close(seen, [dense(batch.circuit, row) for row in batch.angles], 1e-12)


@pytest.mark.parametrize("at_once", [cirq.AT_ONCE, 1 << 5, 1])
@pytest.mark.parametrize("machine", MACHINES)
def test_many_angles_in_one_batch(machine, at_once, monkeypatch):
    """One column turns two gates, and angles are equal in some circuits only."""
    monkeypatch.setattr(cirq, "AT_ONCE", at_once)
    gates = [
        Gate("RY", (0,), column=0),
        Gate("RX", (1,), column=1),
        Gate("CNOT", (0, 2)),
    ]
    gates += [Gate("RZ", (0,), column=0), Gate("RY", (2,), column=2)]
    gates += [Gate("CNOT", (2, 1)), Gate("Hadamard", (0,)), Gate("RX", (2,), 0.3)]
    circuit = Circuit(3, tuple(gates), (2, 0), 3)
    values = [(0.3, 1.2), (-0.5, 2.0), (0.9, -1.0)]
    angles = np.array(list(itertools.product(*values)))
    (seen,) = MACHINES[machine].run([Batch(circuit, angles)], TICKET)
    close(seen, [dense(circuit, row) for row in angles], 1e-12)


# --- shots -------------------------------------------------------------------------


def two_wires(shots: Any, n: int = 3) -> Batch:
    gate = Gate("RY", (0,), column=0)
    return Batch(around(gate, 1), ANGLES[:n, None], np.array(shots))


@pytest.mark.parametrize("machine", MACHINES)
def test_shots_are_drawn_from_the_probabilities(machine):
    shots = [4000, 500, 4000]
    (seen,) = MACHINES[machine].run([two_wires(shots)], TICKET)
    batch = two_wires(shots)
    for row, angle, n in zip(seen, batch.angles, shots, strict=True):
        wanted = dense(batch.circuit, angle)
        assert np.all(abs(row - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / n))
        close(row * n, np.round(row * n), 1e-9)
        assert round(row.sum() * n) == n


@pytest.mark.parametrize("machine", MACHINES)
def test_a_ticket_decides_what_is_drawn(machine):
    def drawn(seed):
        return MACHINES[machine].run([two_wires([300] * 3)] * 2, Ticket(seed, "a"))

    first, again, other = drawn(1), drawn(1), drawn(2**127 + 1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("machine", MACHINES)
def test_streams_of_circuits_and_groups_of_shots_differ(machine):
    """Of one stream two neighbours would differ by one outcome at most."""
    half = Batch(
        Circuit(1, (Gate("RX", (0,), column=0),), (0,), 1),
        np.full((40, 1), np.pi / 2),
        np.arange(1000, 1040),
    )
    (seen,) = MACHINES[machine].run([half], TICKET)
    ups = seen[:, 1] * half.shots
    assert np.median(abs(np.diff(ups))) > 5


@pytest.mark.parametrize("name", NOISELESS)
def test_a_bell_state_is_00_or_11(name):
    def bell():
        qml.Hadamard(0)
        qml.CNOT([0, 1])
        return qml.probs(wires=[0, 1])

    device = BackendManager().get_backend(name).device(2)
    circuit = qml.QNode(bell, device)
    close(circuit(), [0.5, 0, 0, 0.5], 1e-12)
    found = qml.set_shots(circuit, 1000)()
    assert found[1] == found[2] == 0
    assert abs(found[0] - 0.5) <= 5 * np.sqrt(0.25 / 1000)
    assert found[0] + found[3] == 1


# --- operations of PennyLane -------------------------------------------------------


def spread(rng, wires):
    for wire in wires:
        qml.RY(rng.uniform(0.5, 2.5), wire)
        qml.RZ(rng.uniform(0.5, 2.5), wire)


def of_row(name: str) -> qml.tape.QuantumScript:
    """A row of the tables in a state that shows its phases."""
    row, rng = ROWS[name], np.random.default_rng(sum(map(ord, name)))
    wires = range(max(1, row.n_wires))

    def circuit():
        if name not in PREPARATIONS:
            spread(rng, wires)
        row.random(rng, wires[: row.n_wires])
        for wire in wires:
            qml.RX(rng.uniform(0.5, 2.5), wire)
        qml.probs(wires=wires[::-1])

    return qml.tape.make_qscript(circuit)()


def at_random(seed: int) -> qml.tape.QuantumScript:
    """Gates of the tables, plain or changed, on up to 4 wires, and measurements."""
    rng = np.random.default_rng([16, seed])
    n = int(rng.integers(1, 5))

    def gate():
        name = str(rng.choice([x for x in DRAWN if ROWS[x].n_wires <= n]))
        row, order = ROWS[name], [int(w) for w in rng.permutation(n)]
        wires, spare = order[: row.n_wires], order[row.n_wires :][:1]
        op = row.random(rng, wires)
        possible = [v for v in VARIANTS if spare or "controlled" not in v]
        variant = str(rng.choice([None, None, *possible]))
        if variant in VARIANTS and name in GATES and has_variant(GATES[name], variant):
            VARIANTS[variant](op, spare, rng)

    def circuit():
        if rng.random() < 0.3:
            first = [x for x, row in PREPARATIONS.items() if row.n_wires <= n]
            row = PREPARATIONS[str(rng.choice(first))]
            row.random(rng, list(range(row.n_wires)))
        spread(rng, range(n))
        for _ in range(3):
            gate()
        for _ in range(2):
            kind = str(rng.choice(["expval", "var", "probs", "probs of"]))
            wires = [int(w) for w in rng.permutation(n)[: int(rng.integers(1, 4))]]
            if kind == "probs":
                qml.probs(wires=wires)
            elif kind == "probs of":
                qml.probs(op=OBSERVABLES["word"](rng, wires, None))
            else:
                name = str(rng.choice(list(OBSERVABLES)))
                observable = OBSERVABLES[name](rng, wires, rng.normal(size=3))
                getattr(qml, kind)(observable)

    return qml.tape.make_qscript(circuit)()


def results(tapes, device):
    return qml.execute(tapes, device, diff_method=None)


def check_tapes(tapes, name):
    """Each is right, and so are some of them in one submission."""
    device = BackendManager().get_backend(name).device(4)
    wanted = results(tapes, qml.device("default.qubit", wires=range(4)))
    for i, tape in enumerate(tapes):
        close(np.hstack(results([tape], device)[0]), np.hstack(wanted[i]), 1e-8)
    jobs = device.spent.jobs
    for i, seen in enumerate(results(tapes[:10], device)):
        close(np.hstack(seen), np.hstack(wanted[i]), 1e-8)
    assert device.spent.jobs == jobs + 1


@pytest.mark.parametrize("name", ["cirq", "qiskit"])
def test_every_operation_and_template(name):
    check_tapes([of_row(row) for row in ROWS], name)


@pytest.mark.parametrize("name", ["cirq", "qiskit"])
def test_random_circuits(name):
    check_tapes([at_random(seed) for seed in range(100)], name)


WIDE = {
    "MultiControlledX": lambda: qml.MultiControlledX(range(4), [0, 1, 1]),
    "MultiRZ": lambda: qml.MultiRZ(0.7, [3, 0, 2, 1]),
    "PauliRot": lambda: qml.PauliRot(0.4, "XYZX", [1, 3, 0, 2]),
    "GroverOperator": lambda: qml.GroverOperator(range(4)),
    "QFT": lambda: qml.QFT([2, 0, 3, 1]),
    "TrotterProduct": lambda: qml.TrotterProduct(
        qml.dot([0.3, -0.8], [qml.X(0) @ qml.Y(2), qml.Z(1) @ qml.Z(3)]), 0.9, n=2
    ),
    "QAOA": lambda: qml.QAOAEmbedding([0.3, 0.9], np.full((1, 3), 0.4), [0, 1]),
    "AmplitudeEmbedding": lambda: qml.AmplitudeEmbedding(
        np.array([3.0, -1j, 0.0, 2.0 + 1j]), [2, 1], normalize=True
    ),
    "QubitUnitary of 4": lambda: qml.QubitUnitary(qml.QFT.compute_matrix(4), range(4)),
    "power without a rule": lambda: qml.pow(qml.CSWAP([0, 2, 3]), 0.5),
}


@pytest.mark.parametrize("name", ["cirq", "qiskit"])
def test_wide_operations(name):
    def circuit(first):
        rng = np.random.default_rng(2)
        if first is not WIDE["AmplitudeEmbedding"]:
            spread(rng, range(4))
        first()
        spread(rng, range(4))
        return [qml.probs(wires=[3, 1, 0, 2]), qml.expval(qml.Y(1) @ qml.X(2))]

    tapes = [qml.tape.make_qscript(circuit)(make) for make in WIDE.values()]
    check_tapes(tapes, name)


# --- widths ------------------------------------------------------------------------


def chain(n: int) -> Circuit:
    """A state that is a product of pairs."""
    gates = [Gate("RY", (w,), column=w % 2) for w in range(n)]
    gates += [Gate("CNOT", (w, w + 1)) for w in range(0, n - 1, 2)]
    return Circuit(n, tuple(gates), tuple(range(n))[::-1], 2)


@pytest.mark.parametrize("machine", ["cirq", "qiskit"])
def test_ten_wires(machine):
    angles = np.array([[0.5, 1.2], [2.0, -0.3]])
    (seen,) = MACHINES[machine].run([Batch(chain(10), angles)], TICKET)
    for row, (a, b) in zip(seen, angles, strict=True):
        pair = Circuit(2, chain(2).gates, (1, 0), 2)
        wanted = functools.reduce(np.kron, [dense(pair, (a, b))] * 5)
        close(row, wanted, 1e-12)


@pytest.mark.parametrize("machine", ["cirq", "qiskit"])
def test_sixteen_measured_wires(machine):
    """Lists of outcomes, whose memory is that of shots and not of outcomes."""
    angles = np.array([[np.pi / 2, 0.0], [np.pi / 2, np.pi]])
    shots = np.array([300, 200])
    (seen,) = MACHINES[machine].run([Batch(chain(16), angles, shots)], TICKET)
    assert [len(one) for one in seen] == [300, 200]
    for one, differ in zip(seen, (0, 1), strict=True):
        bits = one[:, None] >> np.arange(16) & 1  # wire 0 first
        # Each pair is 00 or 11, or 01 or 10 if its second wire was turned.
        np.testing.assert_array_equal(bits[:, ::2] ^ bits[:, 1::2], differ)
        assert len(np.unique(one)) > 100
        assert np.all(abs(bits[:, ::2].mean(axis=0) - 0.5) <= 5 * 0.5 / len(one) ** 0.5)
