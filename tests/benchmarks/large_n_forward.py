"""Cases `large-n-forward-*`: a run of a circuit on many wires, in copies of its state.

A copy reads and writes as many bytes as a state of complex128 has. It takes its turn
with the others.
"""

from __future__ import annotations

import abc

import numpy as np
import pennylane as qml

from tests.benchmarks.chain import Chain
from tests.benchmarks.contender import SINGLE_PRECISION, Call
from tests.benchmarks.peers import settings
from tests.benchmarks.race import Row, race

PROBLEMS = {
    "large-n-forward-20q": Chain(20),
    "large-n-forward-22q": Chain(22),
}
MOST_COPIES = 15
HERE = "tests.benchmarks.large_n_forward"
MOST_REPEATS = 5
COPY = "a copy of the state"
COLUMNS = [
    settings("prism-q", f"{HERE}:Prism"),
    settings(
        "qulacs",
        f"{HERE}:Qulacs",
        {"optimize": None},
        *({"optimize": size} for size in ("light", 2, 3)),
    ),
    settings("scaluq", f"{HERE}:Scaluq", {"optimize": None}, {"optimize": 3}),
    settings("lightning.qubit", f"{HERE}:Lightning"),
    settings(
        "qiskit-aer",
        f"{HERE}:Aer",
        {"fusion_enable": True},
        {"fusion_enable": False},
    ),
    settings("qsim", f"{HERE}:Qsim", *({"fused": size} for size in (2, 3, 4))),
]


class Forward(Call):
    """A program that runs the circuit and measures Z on the last wire."""

    def __init__(self, chain):
        self.chain, self.last = chain, chain.n_qubits - 1

    @abc.abstractmethod
    def run(self):
        """The expectation value."""

    def numbers(self):
        return {"value": float(self.run())}


class Ours(Forward):
    """The compiled circuit's forward run, with work arrays that are there."""

    name = "qstore_pl"
    setting = "compile(qnode)"

    def __init__(self, chain):
        from qstore_pl import compile

        super().__init__(chain)

        @compile
        @qml.qnode(qml.device("qstore.mock_ideal", wires=chain.n_qubits))
        def circuit(angles):
            chain.queue(angles)
            return qml.expval(qml.Z(self.last))

        self._circuit, self._angles = circuit, chain.angles

    def run(self):
        return self._circuit(self._angles)


class Prism(Forward):
    """A prepared circuit of PRISM-Q, which keeps its plan of fusion."""

    name = "prism-q"
    setting = "PreparedCircuit.expectation_values, statevector"

    def __init__(self, chain):
        import prism_q

        super().__init__(chain)
        builder = chain.prism()
        self._prepared = prism_q.PreparedCircuit(
            builder.build(), builder.parameters(), prism_q.BackendKind.statevector()
        )
        self._angles = chain.angles.tolist()

    def run(self):
        measured = [[(self.last, "Z")]]
        return self._prepared.expectation_values(self._angles, measured)[0]


class Qulacs(Forward):
    """A circuit with fixed angles; optimizing it is not in the time."""

    name = "qulacs"

    def __init__(self, chain, *, optimize):
        import qulacs
        from qulacs.circuit import QuantumCircuitOptimizer

        super().__init__(chain)
        self._circuit = chain.qulacs()
        if optimize == "light":
            QuantumCircuitOptimizer().optimize_light(self._circuit)
        elif optimize is not None:
            QuantumCircuitOptimizer().optimize(self._circuit, optimize)
        self.setting = f"optimizer {optimize}"
        self._state = qulacs.QuantumState(chain.n_qubits)
        self._observable = qulacs.Observable(chain.n_qubits)
        self._observable.add_operator(1.0, f"Z {self.last}")

    def run(self):
        self._state.set_zero_state()
        self._circuit.update_quantum_state(self._state)
        return self._observable.get_expectation_value(self._state)


class Scaluq(Forward):
    """A circuit with fixed angles; optimizing it is not in the time."""

    name = "scaluq"

    def __init__(self, chain, *, optimize):
        import scaluq

        super().__init__(chain)
        self._circuit = chain.scaluq()
        if optimize is not None:
            self._circuit.optimize(optimize)
        self.setting = f"optimize {optimize}"
        self._state = scaluq.StateVector(chain.n_qubits)
        self._observable = scaluq.Operator([scaluq.PauliOperator(f"Z {self.last}")])

    def run(self):
        self._state.set_zero_state()
        self._circuit.update_quantum_state(self._state)
        return self._observable.get_expectation_value(self._state).real


class Lightning(Forward):
    """The device's own call."""

    name = "lightning.qubit"
    setting = "device.execute"

    def __init__(self, chain):
        super().__init__(chain)
        self._device = qml.device("lightning.qubit", wires=chain.n_qubits)
        with qml.queuing.AnnotatedQueue() as queue:
            chain.queue(chain.angles.tolist())
            qml.expval(qml.Z(self.last))
        self._tape = qml.tape.QuantumScript.from_queue(queue)

    def run(self):
        return self._device.execute(self._tape)


class Aer(Forward):
    """Aer's state vector on one thread, of a circuit that is there."""

    name = "qiskit-aer"

    def __init__(self, chain, **options):
        from qiskit.quantum_info import Pauli
        from qiskit_aer import AerSimulator

        super().__init__(chain)
        words = [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join(["save_expectation_value", *words])
        self._circuit = chain.qiskit()
        self._circuit.save_expectation_value(Pauli("Z"), [self.last], label="z")
        self._simulator = AerSimulator(
            method="statevector", max_parallel_threads=1, **options
        )

    def run(self):
        return self._simulator.run(self._circuit).result().data()["z"]


class Qsim(Forward):
    """qsim, which has single precision and one thread here."""

    name = "qsim"
    tolerance = SINGLE_PRECISION

    def __init__(self, chain, *, fused):
        import cirq
        import qsimcirq

        super().__init__(chain)
        self.setting = f"complex64, max_fused_gate_size={fused}"
        self._circuit, qubits = chain.cirq()
        self._observable = cirq.PauliString(cirq.Z(qubits[self.last]))
        self._simulator = qsimcirq.QSimSimulator(
            qsimcirq.QSimOptions(max_fused_gate_size=fused, cpu_threads=1)
        )

    def run(self):
        found = self._simulator.simulate_expectation_values(
            self._circuit, [self._observable]
        )
        return found[0].real


class Copy(Call):
    """A copy of the state, by numpy."""

    name, setting = COPY, "numpy.copyto, complex128"

    def __init__(self, chain):
        self._source = np.ones(2**chain.n_qubits, dtype=np.complex128)
        self._target = np.zeros_like(self._source)

    def run(self):
        np.copyto(self._target, self._source)

    def numbers(self):
        return {}


def in_copies(row, copy):
    """A row whose times are numbers of copies; `copy` is the time of one."""
    row.ours /= copy
    row.peer_time /= copy
    for who in ("ours", "peer"):
        row.raw[who] = [time / copy for time in row.raw[who]]
    row.raw["tried"] = {k: time / copy for k, time in row.raw["tried"].items()}
    row.unit = "copies"
    return row


def measured(name, peers, repeats):
    """Time the run, each peer in the quickest of its settings, in copies."""
    chain = PROBLEMS[name]
    columns = [[Copy(chain)], *peers.columns(name, COLUMNS, chain)]
    copied, *rows = race(name, Ours(chain), columns, min(repeats, MOST_REPEATS))
    copy = copied.peer_time
    ours = Row(
        row=name,
        ours=copied.ours / copy,
        target=MOST_COPIES,
        unit="copies",
        raw={"ours": [time / copy for time in copied.raw["ours"]]},
        work={"seconds of a copy": copy},
    )
    return [ours, *(in_copies(row, copy) for row in rows)]
