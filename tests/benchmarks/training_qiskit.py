"""Qiskit Machine Learning: a neural network whose outputs an estimator gives."""

from __future__ import annotations

import numpy as np
from qiskit.circuit import ParameterVector
from qiskit.primitives import StatevectorEstimator
from qiskit.quantum_info import SparsePauliOp
from qiskit_machine_learning.neural_networks import EstimatorQNN

from tests.benchmarks.aer import aer_circuit
from tests.benchmarks.problem import N_OUTPUTS, HandAdam


class QiskitMachineLearning(HandAdam):
    """Forward and backward of the network; loss, chain rule and update are numpy."""

    name = "qiskit-machine-learning"
    setting = "EstimatorQNN, StatevectorEstimator, exact; parameter shift, its default"

    def __init__(self, problem):
        super().__init__(problem)
        n = problem.n_qubits
        inputs = ParameterVector("x", n)
        weights = ParameterVector("w", problem.weights.size)
        words = ["I" * (n - 1 - wire) + "Z" + "I" * wire for wire in range(N_OUTPUTS)]
        self._network = EstimatorQNN(
            circuit=aer_circuit(problem, [*inputs, *weights]),
            observables=[SparsePauliOp(word) for word in words],
            input_params=list(inputs),
            weight_params=list(weights),
            estimator=StatevectorEstimator(),
            default_precision=0.0,
        )

    def value_and_grad(self, inputs, targets, weights):
        flat = weights.ravel()
        errors = self._network.forward(inputs, flat) - targets
        _, slopes = self._network.backward(inputs, flat)
        gradient = np.einsum("bo,bow->w", 2 * errors / errors.size, slopes)
        return np.mean(errors**2), gradient.reshape(weights.shape)
