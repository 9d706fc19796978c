"""Row `trajectories-12q`: outputs of a noisy circuit as an average over trajectories.

Forward only, 12 qubits, 8 samples: a density matrix would have 4**12 entries each.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from qiskit.quantum_info import Pauli

from tests.benchmarks.aer import aer_circuit, aer_simulator
from tests.benchmarks.contender import Call
from tests.benchmarks.ours import our_model
from tests.benchmarks.problem import N_OUTPUTS, Problem
from tests.benchmarks.race import check_mean, timed
from tests.benchmarks.training_step import DEPOLARIZING

TRAJECTORIES = 200  # for each sample
PROBLEM = Problem(n_qubits=12, n_layers=2, batch=8, noise=DEPOLARIZING)


class Outputs(Call):
    """A program that averages over trajectories."""

    def numbers(self):
        """Nothing: see :func:`check_unbiased`."""
        return {}


class OurTrajectories(Outputs):
    """A model's outputs for the first batch, on ``qstore.mock_noisy``."""

    name = "qstore_pl"
    setting = "QuantumModel.forward"

    def __init__(self, problem):
        self._inputs = problem.inputs[problem.batches[0]]
        self._model = our_model(
            problem, method="trajectories", trajectories=TRAJECTORIES
        )

    def run(self):
        """Averages of the next trajectories, shape (batch, N_OUTPUTS)."""
        return self._model.forward(self._inputs)


class Aer(Outputs):
    """Aer's state vectors, from ready circuits in the basis of the noise model.

    A shot is a trajectory and gives the expectation values of its state, as ours does.
    Not with shot_branching_enable: Aer 0.17 then gives every branch the same weight,
    however many shots are in it.
    """

    name = "qiskit-aer statevector"

    def __init__(self, problem, *, fusion_enable=True):
        self.setting = f"save_expectation_value, fusion_enable={fusion_enable}"
        self._circuits = [
            self._circuit(problem, x) for x in problem.inputs[problem.batches[0]]
        ]
        self._simulator = aer_simulator(
            problem, "statevector", fusion_enable=fusion_enable
        )
        self._rng = np.random.default_rng(0)

    def _circuit(self, problem, inputs):
        circuit = aer_circuit(problem, [*inputs, *problem.weights.ravel()])
        for wire in range(N_OUTPUTS):
            circuit.save_expectation_value(Pauli("Z"), [wire], label=str(wire))
        return circuit

    def run(self):
        """Averages of the next trajectories, shape (batch, N_OUTPUTS)."""
        seed = int(self._rng.integers(2**31))  # neighbouring seeds draw alike
        result = self._simulator.run(
            self._circuits, shots=TRAJECTORIES, seed_simulator=seed
        ).result()
        data = [result.data(circuit) for circuit in self._circuits]
        return np.array([[d[str(i)] for i in range(N_OUTPUTS)] for d in data])


def check_unbiased(contender, problem, runs=20):
    """Compare the mean of several runs with the outputs of the density matrix.

    Raises:
        DisagreementError: If one is more than 5 standard errors off.
    """
    exact = our_model(problem).forward(problem.inputs[problem.batches[0]])
    found = [contender.run() for _ in range(runs)]
    check_mean(f"outputs of {type(contender).__name__}", found, exact)


def measured(name, peers, repeats):
    """Time per trajectory and sample; making circuits and models is not in it."""
    print("trajectories-12q: checking 4 qubits against density matrices", flush=True)
    small = replace(PROBLEM, n_qubits=4)
    for make in (OurTrajectories, Aer):
        check_unbiased(make(small), small)

    aers = [Aer(PROBLEM, fusion_enable=fusion) for fusion in (True, False)]
    return timed(
        "trajectories-12q, per trajectory and sample",
        OurTrajectories(PROBLEM),
        [aers],
        repeats,
        scale=1 / (TRAJECTORIES * PROBLEM.batch),
    )
