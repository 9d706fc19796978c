"""A machine for tests: a dense simulation in numpy, and a price for each circuit."""

import numpy as np
import pennylane as qml

from qstore_pl.backends import Backend, Bill, Limits, Machine, MachineDevice
from qstore_pl.backends.machine import drawn, gates_run, marginal


class DenseMachine(Machine):
    """Runs every gate as a dense matrix, and counts what leaves.

    Args:
        price: Dollars for each circuit; None is unknown.
        per_job: Most circuits of a job.
        fails: Numbers of the submissions that fail, counted from 0.
    """

    gate_set = frozenset({"RX", "RY", "RZ", "CNOT", "Hadamard", "PauliX", "S", "T"})
    name = "dense"

    def __init__(self, price=0.5, *, per_job=None, fails=()):
        self.price, self.fails = price, set(fails)
        self.limits = Limits(circuits=per_job)
        self.tickets, self.ran = [], Bill()

    def __repr__(self):
        return f"DenseMachine(price={self.price})"

    def bill(self, batches):
        n = sum(map(len, batches))
        per_job = self.limits.circuits or max(n, 1)
        one, two = np.sum([[g.sum() for g in gates_run(b)] for b in batches], axis=0)
        shots = sum(int(b.shots.sum()) for b in batches if b.shots is not None)
        dollars = None if self.price is None else self.price * n
        return Bill(n, shots, int(one), int(two), -(-n // per_job), dollars)

    def run(self, batches, ticket):
        number = len(self.tickets)
        self.tickets.append(ticket)
        if number in self.fails:
            raise RuntimeError("the machine is down")
        self.ran += self.bill(batches)
        found = []
        for b, batch in enumerate(batches):
            circuit = batch.circuit
            exact = np.array([probabilities(circuit, row) for row in batch.angles])
            exact = exact.reshape(len(batch), -1)
            exact = marginal(exact, circuit.n_wires, circuit.measured)
            if batch.shots is not None:
                exact = drawn(exact, batch.shots, [ticket.seed, b])
            found.append(exact)
        return found


def probabilities(circuit, angles):
    """Probabilities of all outcomes of one circuit."""
    n = circuit.n_wires
    state = np.zeros((2,) * n, dtype=complex)
    state[(0,) * n] = 1.0
    for gate in circuit.gates:
        angle = gate.angle if gate.column is None else angles[gate.column]
        numbers = [] if angle is None else [float(angle)]
        k = len(gate.wires)
        op = getattr(qml, gate.name)(*numbers, wires=range(k))
        matrix = op.matrix().reshape((2,) * 2 * k)
        state = np.tensordot(matrix, state, (range(k, 2 * k), gate.wires))
        state = np.moveaxis(state, range(k), gate.wires)
    return np.abs(state.reshape(-1)) ** 2


def backend_of(machine, **options):
    """A backend on which every model has its circuits run by this machine."""
    return Backend(machine.name, lambda n: MachineDevice(machine, n, **options))
