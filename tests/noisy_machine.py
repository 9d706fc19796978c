"""A dense simulation in numpy with noise of gates and misread wires, and a circuit."""

from __future__ import annotations

import functools

import numpy as np
import pennylane as qml

from qstore_pl.backends import Bill, Limits, Machine, MachineDevice, Ticket

PAULIS = {"RX": "PauliX", "RY": "PauliY", "RZ": "PauliZ"}
RATES = ((0.03, 0.11), (0.2, 0.05), (0.0, 0.3))  # read 1 for 0, and 0 for 1
TICKET = Ticket(17, "run")


class Dense(Machine):
    """Density matrices, depolarised after each gate on its wires, then misread.

    It counts what it runs, and has a state of its own: the number of submissions.
    """

    name = "dense"
    gate_set = frozenset(
        {"PauliX", "Hadamard", "S", "T", "SX", "RX", "RY", "RZ", "CNOT"}
    )

    def __init__(self, *, strength=0.0, rates=((0.0, 0.0),) * 3, limits=None):
        self.strength, self.rates = strength, rates
        self.limits = limits or Limits(verbatim=True)
        self.ran = Bill()
        self.submissions = []  # circuits of each

    def __repr__(self):
        return "Dense()"

    @property
    def state(self):
        return {"submissions": len(self.submissions)}

    def load_state(self, state):
        self.loaded = dict(state)

    def bill(self, batches):
        found = Bill(jobs=1)
        for batch in batches:
            for row in range(len(batch)):
                gates = [g for g in batch.circuit.gates if angle_of(g, batch, row) != 0]
                shots = 0 if batch.shots is None else int(batch.shots[row])
                one = sum(len(gate.wires) == 1 for gate in gates)
                found += Bill(1, shots, one, len(gates) - one)
        return found

    def run(self, batches, ticket):
        self.ran += self.bill(batches)
        self.submissions.append(sum(map(len, batches)))
        rng = np.random.default_rng(ticket.seed)
        results = []
        for batch in batches:
            exact = np.array([self.read(batch, row) for row in range(len(batch))])
            if batch.shots is not None:
                drawn = rng.multinomial(
                    batch.shots, exact / exact.sum(1, keepdims=True)
                )
                exact = drawn / batch.shots[:, None]
            results.append(exact)
        return results

    def read(self, batch, row):
        """The probabilities of what is read of the measured wires."""
        circuit = batch.circuit
        n = circuit.n_wires
        rho = np.zeros((1 << n, 1 << n), complex)
        rho[0, 0] = 1
        for gate in circuit.gates:
            unitary = unitary_of(gate, angle_of(gate, batch, row), n)
            rho = unitary @ rho @ unitary.conj().T
            for wire in gate.wires if self.strength else ():
                errors = [fixed(name, (wire,), n) for name in PAULIS.values()]
                flipped = sum(error @ rho @ error for error in errors)
                rho = (1 - self.strength) * rho + self.strength / 3 * flipped
        tensor = rho.diagonal().real.reshape((2,) * n)
        rest = tuple(w for w in range(n) if w not in circuit.measured)
        tensor = tensor.transpose(*circuit.measured, *rest)
        exact = tensor.reshape(1 << len(circuit.measured), -1).sum(1)
        confusion = np.eye(1)
        for wire in circuit.measured:
            p10, p01 = self.rates[wire]
            confusion = np.kron(confusion, [[1 - p10, p01], [p10, 1 - p01]])
        return confusion @ exact


def angle_of(gate, batch, row):
    """The angle of a gate; None if it has none."""
    return gate.angle if gate.column is None else batch.angles[row, gate.column]


@functools.cache
def fixed(name, wires, n):
    matrix = qml.matrix(getattr(qml, name)(range(len(wires))))
    return qml.math.expand_matrix(matrix, list(wires), range(n))


def unitary_of(gate, angle, n):
    if angle is None:
        return fixed(gate.name, gate.wires, n)
    pauli = fixed(PAULIS[gate.name], gate.wires, n)
    return np.cos(angle / 2) * np.eye(1 << n) - 1j * np.sin(angle / 2) * pauli


def matrix_of(gate, batch, row):
    """The matrix of any gate of PennyLane's on its own wires."""
    angle = angle_of(gate, batch, row)
    params = [] if angle is None else [angle]
    if gate.name.startswith("Adjoint("):
        return matrix_of(gate._replace(name=gate.name[8:-1]), batch, row).conj().T
    op = getattr(qml, gate.name)(*params, wires=range(len(gate.wires)))
    return qml.matrix(op)


def circuit():
    """Every gate of the dense machine but SX, whose inverse is three in PennyLane."""
    qml.RX(0.3, 0)
    qml.RY(0.7, 1)
    qml.T(1)
    qml.Hadamard(2)
    qml.CNOT([1, 2])
    qml.S(2)
    qml.RX(1.1, 1)
    qml.CNOT([0, 2])
    qml.RX(0.8, 2)
    qml.PauliX(1)
    qml.RZ(0.4, 0)
    qml.RX(0.9, 0)
    return [qml.expval(op) for op in OBSERVABLES]


OBSERVABLES = (qml.Z(0), qml.Z(1), qml.Z(2) @ qml.Z(0), qml.Z(0) @ qml.Z(1) @ qml.Z(2))


def on(machine, **options):
    return qml.QNode(circuit, MachineDevice(machine, 3, seed=0), **options)


IDEAL = np.array(qml.QNode(circuit, qml.device("default.qubit", wires=3))())


def depolarized(strength):
    """PennyLane's simulator with depolarising noise after each gate."""

    def noise(op, **options):
        for wire in op.wires:
            qml.DepolarizingChannel(strength, wire)

    model = qml.NoiseModel({qml.noise.wires_in(range(3)): noise})
    device = qml.noise.add_noise(qml.device("default.mixed", wires=3), model)
    return qml.QNode(circuit, device)
