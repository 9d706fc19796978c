"""The circuit of the forward and sampling cases, in the words of each simulator.

RX and RZ on each wire and a chain of CNOTs, twice; small angles, so that expectation
values are not. Simulators are imported where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pennylane as qml

N_LAYERS = 2
LARGEST = 0.5  # angle, in radians


@dataclass(frozen=True)
class Chain:
    """The circuit on some wires.

    Args:
        n_qubits: How many.
    """

    n_qubits: int
    gates: tuple = field(init=False, repr=False)

    def __post_init__(self):
        rng = np.random.default_rng(0)
        n, gates = self.n_qubits, []
        for _ in range(N_LAYERS):
            for wire in range(n):
                a, b = rng.uniform(-LARGEST, LARGEST, 2).tolist()
                gates += [("RX", wire, a), ("RZ", wire, b)]
            gates += [("CNOT", wire, wire + 1) for wire in range(n - 1)]
        object.__setattr__(self, "gates", tuple(gates))

    @property
    def angles(self):
        """Those of the rotations in their order."""
        return np.array([gate[2] for gate in self.gates if gate[0] != "CNOT"])

    def queue(self, angles):
        """Queue PennyLane's operations."""
        angles = iter(angles)
        for name, a, b in self.gates:
            if name == "CNOT":
                qml.CNOT([a, b])
            else:
                getattr(qml, name)(next(angles), wires=a)

    def qulacs(self):
        """A circuit whose angles are fixed, which qulacs can optimize."""
        import qulacs

        circuit = qulacs.QuantumCircuit(self.n_qubits)
        for name, a, b in self.gates:
            # A rotation is exp(+i angle P / 2) in qulacs.
            circuit_gate = getattr(circuit, f"add_{name}_gate")
            circuit_gate(a, b if name == "CNOT" else -b)
        return circuit

    def scaluq(self):
        """A circuit whose angles are fixed, which scaluq can optimize."""
        from scaluq import Circuit, gate

        circuit = Circuit()
        makers = {"RX": gate.RX, "RZ": gate.RZ, "CNOT": gate.CX}
        for name, a, b in self.gates:
            circuit.add_gate(makers[name](a, b))
        return circuit

    def prism(self, n_bits=0):
        """A circuit and the slots of its angles."""
        import prism_q

        builder, count = prism_q.CircuitBuilder(self.n_qubits, n_bits), 0
        for name, a, b in self.gates:
            if name == "CNOT":
                builder.cx(a, b)
            else:
                getattr(builder, name.lower())(b, a).param(count)
                count += 1
        return builder

    def qiskit(self):
        """A circuit without measurements."""
        from qiskit import QuantumCircuit

        circuit = QuantumCircuit(self.n_qubits)
        for name, a, b in self.gates:
            if name == "CNOT":
                circuit.cx(a, b)
            else:
                getattr(circuit, name.lower())(b, a)
        return circuit

    def cirq(self):
        """A circuit without measurements, and its qubits."""
        import cirq

        qubits = cirq.LineQubit.range(self.n_qubits)
        rotations = {"RX": cirq.rx, "RZ": cirq.rz}
        circuit = cirq.Circuit()
        for name, a, b in self.gates:
            if name == "CNOT":
                circuit.append(cirq.CNOT(qubits[a], qubits[b]))
            else:
                circuit.append(rotations[name](b).on(qubits[a]))
        return circuit, qubits
