"""Cases `sampling-*`: 100,000 shots of all wires, from the circuit to the outcomes."""

from __future__ import annotations

import abc

import numpy as np
import pennylane as qml

from tests.benchmarks.chain import Chain
from tests.benchmarks.contender import Call
from tests.benchmarks.peers import settings
from tests.benchmarks.race import DisagreementError, timed

PROBLEMS = {"sampling-16q": Chain(16), "sampling-20q": Chain(20)}
SHOTS = 100_000
MOST_ERRORS = 5.5  # standard errors, of 20 wires and 9 contenders
HERE = "tests.benchmarks.sampling"
MOST_REPEATS = 5
KINDS = {"kind": "sample"}, {"kind": "counts"}
COLUMNS = [
    settings("default.qubit", f"{HERE}:QNode", {"device": "default.qubit"} | KINDS[0]),
    settings(
        "lightning.qubit",
        f"{HERE}:QNode",
        *({"device": "lightning.qubit"} | kind for kind in KINDS),
    ),
    settings("qulacs", f"{HERE}:Qulacs"),
    settings("scaluq", f"{HERE}:Scaluq"),
    settings("prism-q", f"{HERE}:Prism"),
    settings("qiskit-aer", f"{HERE}:Aer"),
    settings("qsim", f"{HERE}:Qsim"),
]


class Sampler(Call):
    """A program whose unit of work is one run with all shots."""

    def __init__(self, chain):
        self.chain = chain
        self._rng = np.random.default_rng(0)

    def seed(self):
        """A new seed for each run."""
        return int(self._rng.integers(2**31))

    @abc.abstractmethod
    def run(self):
        """The outcomes as the program has them."""

    @abc.abstractmethod
    def bits(self, outcomes):
        """The same as 0 and 1, shape (shots, n_qubits), the first wire first."""

    def numbers(self):
        """Mean of Z on each wire, shape (n_qubits,)."""
        return {"means": 1 - 2 * self.bits(self.run()).mean(axis=0)}

    def digits(self, integers, *, first_is_lowest):
        """Integers as bits."""
        shifts = np.arange(self.chain.n_qubits)
        shifts = shifts if first_is_lowest else shifts[::-1]
        return np.asarray(integers)[:, None] >> shifts & 1

    def counted(self, counts, *, first_is_lowest, base=2):
        """Bits of strings and how often each was found."""
        values = [int(word, base) for word in counts]
        rows = np.repeat(values, list(counts.values()))
        return self.digits(rows, first_is_lowest=first_is_lowest)


class QNode(Sampler):
    """A QNode of PennyLane."""

    def __init__(self, chain, *, device, kind):
        super().__init__(chain)
        self.name = "qstore_pl" if device == "qstore.mock_ideal" else device
        self.setting = f"QNode, qml.{kind}"
        measure = {"sample": qml.sample, "counts": qml.counts}[kind]

        @qml.set_shots(SHOTS)
        @qml.qnode(qml.device(device, wires=chain.n_qubits, seed=self.seed()))
        def circuit(angles):
            chain.queue(angles)
            return measure()

        self._circuit, self._angles, self._kind = circuit, chain.angles, kind

    def run(self):
        return self._circuit(self._angles)

    def bits(self, outcomes):
        if self._kind == "sample":
            return np.asarray(outcomes)
        return self.counted(outcomes, first_is_lowest=False)


class OfState(Sampler):
    """A circuit that updates a state, from which shots are drawn at once.

    Args:
        chain: The circuit.
        circuit: The same in the program.
        state: A state of the program, which is written.
    """

    setting = "sampling"

    def __init__(self, chain, circuit, state):
        super().__init__(chain)
        self._circuit, self._state = circuit, state

    def run(self):
        self._state.set_zero_state()
        self._circuit.update_quantum_state(self._state)
        return self._state.sampling(SHOTS, self.seed())

    def bits(self, outcomes):
        return self.digits(outcomes, first_is_lowest=True)


class Qulacs(OfState):
    """`QuantumState.sampling`."""

    name = "qulacs"

    def __init__(self, chain):
        import qulacs

        super().__init__(chain, chain.qulacs(), qulacs.QuantumState(chain.n_qubits))


class Scaluq(OfState):
    """`StateVector.sampling`."""

    name = "scaluq"

    def __init__(self, chain):
        import scaluq

        super().__init__(chain, chain.scaluq(), scaluq.StateVector(chain.n_qubits))


class Prism(Sampler):
    """`Simulation.sample_counts`."""

    name, setting = "prism-q", "sample_counts, statevector"

    def __init__(self, chain):
        import prism_q

        super().__init__(chain)
        self._prism = prism_q
        self._circuit = chain.prism(chain.n_qubits).measure_all().build()

    def run(self):
        simulation = self._prism.simulate(self._circuit).seed(self.seed())
        simulation = simulation.backend(self._prism.BackendKind.statevector())
        return simulation.sample_counts(SHOTS).counts()

    def bits(self, outcomes):
        return self.counted(outcomes, first_is_lowest=False)


class Aer(Sampler):
    """Counts of Aer's state vector, on one thread."""

    name, setting = "qiskit-aer", "run, counts"

    def __init__(self, chain):
        from qiskit_aer import AerSimulator

        super().__init__(chain)
        self._circuit = chain.qiskit()
        self._circuit.measure_all()
        self._simulator = AerSimulator(method="statevector", max_parallel_threads=1)

    def run(self):
        job = self._simulator.run(
            self._circuit, shots=SHOTS, seed_simulator=self.seed()
        )
        return job.result().get_counts()

    def bits(self, outcomes):
        return self.counted(outcomes, first_is_lowest=True)


class Qsim(Sampler):
    """qsim, which has single precision and one thread here."""

    name, setting = "qsim", "complex64, max_fused_gate_size=4"

    def __init__(self, chain):
        import cirq
        import qsimcirq

        super().__init__(chain)
        self._circuit, qubits = chain.cirq()
        self._circuit.append(cirq.measure(*qubits, key="m"))
        options = qsimcirq.QSimOptions(max_fused_gate_size=4, cpu_threads=1)
        self._simulator = qsimcirq.QSimSimulator(options, seed=self.seed())

    def run(self):
        return self._simulator.run(self._circuit, repetitions=SHOTS)

    def bits(self, outcomes):
        return outcomes.measurements["m"]


def exact_means(chain):
    """Expectation values of Z on every wire."""

    @qml.qnode(qml.device("lightning.qubit", wires=chain.n_qubits))
    def circuit():
        chain.queue(chain.angles.tolist())
        return [qml.expval(qml.Z(wire)) for wire in range(chain.n_qubits)]

    return np.array(circuit())


def check_samples(contenders, wanted):
    """Compare the mean of Z on every wire with the exact one.

    Raises:
        DisagreementError: If one is more than `MOST_ERRORS` standard errors off.
    """
    error = np.sqrt((1 - wanted**2) / SHOTS)
    for contender in contenders:
        off = np.max(np.abs(contender.numbers()["means"] - wanted) / error)
        if not off <= MOST_ERRORS:
            raise DisagreementError(
                f"samples of {contender.name} ({contender.setting}): {off:.1f} "
                "standard errors from the exact mean"
            )


def measured(name, peers, repeats):
    """Time all shots, each peer in the quickest of its settings."""
    chain = PROBLEMS[name]
    ours = [QNode(chain, device="qstore.mock_ideal", **kind) for kind in KINDS]
    columns = peers.columns(name, COLUMNS, chain)
    print(f"{name}: checking the means of all", flush=True)
    everybody = [*ours, *(peer for column in columns for peer in column)]
    check_samples(everybody, exact_means(chain))
    quicker = min(ours, key=lambda contender: contender.seconds(1))
    return timed(name, quicker, columns, min(repeats, MOST_REPEATS))
