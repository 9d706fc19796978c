"""TensorCircuit-NG with JAX: one compiled function of a batch, mapped over samples."""

from __future__ import annotations

import time

import numpy as np
import tensorcircuit as tc

from tests.benchmarks.problem import N_OUTPUTS, HandAdam


class TensorCircuit(HandAdam):
    """Loss and gradient by `K.jit(K.value_and_grad(...))`; the update is numpy."""

    name = "TensorCircuit-NG"
    setting = "jax, vmap, jit, complex128"

    def __init__(self, problem):
        super().__init__(problem)
        K = tc.set_backend("jax")
        tc.set_dtype("complex128")
        gates = [
            (gate.name.lower(), gate.wires.tolist(), gate.num_params)
            for gate in problem.perfect_gates(problem.inputs[0], problem.weights)
        ]

        def outputs(x, weights):
            circuit = tc.Circuit(problem.n_qubits)
            angles = iter(K.concat([x, K.reshape(weights, [-1])]))
            for name, wires, n_angles in gates:
                if n_angles:
                    getattr(circuit, name)(*wires, theta=next(angles))
                else:
                    circuit.cnot(*wires)
            values = [circuit.expectation_ps(z=[k]) for k in range(N_OUTPUTS)]
            return K.real(K.stack(values))

        of_batch = K.vmap(outputs, vectorized_argnums=0)

        def loss(weights, inputs, targets):
            return K.mean((of_batch(inputs, weights) - targets) ** 2)

        self._value_and_grad = K.jit(K.value_and_grad(loss))
        start = time.perf_counter()
        self.loss_and_gradient()
        self.compile_seconds = time.perf_counter() - start

    def value_and_grad(self, inputs, targets, weights):
        loss, gradient = self._value_and_grad(weights, inputs, targets)
        return float(loss), np.asarray(gradient)
