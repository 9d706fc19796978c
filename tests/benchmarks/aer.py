"""The problem's circuit in Qiskit, and the ways in which Aer measures it with shots."""

from __future__ import annotations

import numpy as np
from qiskit import ClassicalRegister, QuantumCircuit
from qiskit.circuit import ParameterVector
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2, SamplerV2

from tests.benchmarks.problem import N_OUTPUTS
from tests.benchmarks.shift_peers import Measuring

AER_NAMES = {"RX": "rx", "RY": "ry", "RZ": "rz", "CNOT": "cx"}
OUTCOMES = np.arange(2**N_OUTPUTS)[:, None]
SIGNS = 1 - 2 * (OUTCOMES >> np.arange(N_OUTPUTS) & 1)
"""The value of Z on each output's wire for each outcome; wire 0 is the last bit."""


def aer_circuit(problem, angles):
    """The problem's gates, in the basis of the noise model, with nothing measured.

    Args:
        angles: Those of the rotations in their order, numbers or parameters.
    """
    circuit, angles = QuantumCircuit(problem.n_qubits), iter(angles)
    for gate in problem.perfect_gates(problem.inputs[0], problem.weights):
        own = [next(angles) for _ in gate.data]
        getattr(circuit, AER_NAMES[gate.name])(*own, *gate.wires)
    return circuit


def aer_simulator(problem, method, **options):
    """Aer's simulator on one thread, with the problem's noise."""
    noise = problem.noise
    return AerSimulator(
        method=method,
        noise_model=noise and noise.to_aer(basis_gates=list(AER_NAMES.values())),
        max_parallel_threads=1,
        **options,
    )


class AerPeer(Measuring):
    """One circuit with parameters; each way to run it takes all their values at once.

    With noise not one trajectory a shot, which takes more than ten times as long on 4
    qubits. Not with shot_branching_enable, which is for trajectories.
    """

    def __init__(self, problem, rule, shots, **options):
        super().__init__(problem, rule, shots)
        method = "density_matrix" if problem.noise else "statevector"
        self.name = f"{self.kind} {method}"
        words = [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join([self.call, *words])
        n_angles = problem.n_qubits + problem.weights.size
        self._parameters = ParameterVector("a", n_angles)
        self._circuit = aer_circuit(problem, self._parameters)
        self._simulator = aer_simulator(problem, method, **options)
        self._rng = np.random.default_rng(0)

    def seed(self):
        """The next seed: neighbouring seeds draw alike."""
        return int(self._rng.integers(2**31))


class AerCounts(AerPeer):
    """`AerSimulator.run`, and the counts of the outputs' qubits."""

    kind, call = "qiskit-aer", "run(parameter_binds)"

    def __init__(self, problem, rule, shots, **options):
        super().__init__(problem, rule, shots, **options)
        self._circuit.add_register(ClassicalRegister(N_OUTPUTS, "c"))
        self._circuit.measure(range(N_OUTPUTS), range(N_OUTPUTS))

    def values(self, angles):
        binds = dict(zip(self._parameters, angles.T.tolist(), strict=True))
        result = self._simulator.run(
            self._circuit,
            parameter_binds=[binds],
            shots=self.shots,
            seed_simulator=self.seed(),
        ).result()
        counts = np.zeros((len(angles), 2**N_OUTPUTS))
        for row, one in zip(counts, result.results, strict=True):
            for outcome, count in one.data.counts.items():
                row[int(outcome, 16)] = count
        return counts @ SIGNS / self.shots


class AerSampler(AerCounts):
    """`SamplerV2`, and the means of the bits of its shots."""

    call = "SamplerV2"

    def values(self, angles):
        sampler = SamplerV2.from_backend(self._simulator, seed=self.seed())
        (result,) = sampler.run([(self._circuit, angles)], shots=self.shots).result()
        bits = result.data.c.array[..., :1] >> np.arange(N_OUTPUTS) & 1
        return 1 - 2 * bits.mean(axis=1)


class AerEstimator(AerPeer):
    """`EstimatorV2`: exact values, and normal errors of the size that shots have.

    The errors of its values have the standard deviation that a fair coin has. It knows
    nothing of readout error.
    """

    kind, call = "qiskit-aer EstimatorV2", "run"

    def __init__(self, problem, rule, shots, **options):
        super().__init__(problem, rule, shots, **options)
        words = ["I" * wire + "Z" for wire in range(N_OUTPUTS)]
        words = [word.ljust(problem.n_qubits, "I")[::-1] for word in words]
        self._observables = [[SparsePauliOp(word)] for word in words]
        self._estimator = EstimatorV2.from_backend(self._simulator)

    def values(self, angles):
        self._estimator.options.run_options["seed_simulator"] = self.seed()
        precision = self.shots**-0.5 if self.shots else 0.0
        job = self._estimator.run(
            [(self._circuit, self._observables, angles)], precision=precision
        )
        return job.result()[0].data.evs.T
