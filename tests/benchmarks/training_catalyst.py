"""Catalyst: a compiled loop over the samples, and the chain rule by hand.

Catalyst neither broadcasts nor maps gradients, and its compiler fails where the value
and the gradient of a batch are asked for in one; this is what works.
"""

from __future__ import annotations

import time

import catalyst
import jax.numpy as jnp
import numpy as np
import pennylane as qml

from tests.benchmarks.problem import N_OUTPUTS, HandAdam


class Catalyst(HandAdam):
    """Loss and gradient of a batch in one compiled function; the update is numpy.

    Args:
        problem: What to train.
        weighted: Whether the gradient is that of a Hamiltonian that weighs the outputs
            by their errors. Otherwise it is by the Jacobian of the outputs.
    """

    name = "Catalyst"

    def __init__(self, problem, *, weighted):
        super().__init__(problem)
        how = "catalyst.grad of a Hamiltonian" if weighted else "catalyst.jacobian"
        self.setting = f"lightning.qubit adjoint, qjit, for_loop over samples, {how}"
        device = qml.device("lightning.qubit", wires=problem.n_qubits)
        words = [qml.Z(wire) for wire in range(N_OUTPUTS)]

        @qml.qnode(device, diff_method="adjoint")
        def circuit(x, w):
            problem.gates(x, w)
            return [qml.expval(word) for word in words]

        @qml.qnode(device, diff_method="adjoint")
        def energy(x, w, factors):
            problem.gates(x, w)
            return qml.expval(qml.Hamiltonian(list(factors), words))

        def gradient_of(x, w, factors):
            if weighted:
                return catalyst.grad(energy, argnums=1)(x, w, factors)
            jacobian = catalyst.jacobian(circuit, argnums=1)(x, w)
            return sum(f * one for f, one in zip(factors, jacobian, strict=True))

        @qml.qjit
        def value_and_grad(inputs, targets, weights):
            @catalyst.for_loop(0, len(problem.batches[0]), 1)
            def of_samples(i, loss, gradient):
                errors = jnp.stack(circuit(inputs[i], weights)) - targets[i]
                own = gradient_of(inputs[i], weights, 2 * errors)
                return loss + jnp.sum(errors**2), gradient + own

            loss, gradient = of_samples(0.0, jnp.zeros_like(weights))
            return loss / targets.size, gradient / targets.size

        self._value_and_grad = value_and_grad
        start = time.perf_counter()
        self.loss_and_gradient()
        self.compile_seconds = time.perf_counter() - start

    def value_and_grad(self, inputs, targets, weights):
        loss, gradient = self._value_and_grad(inputs, targets, weights)
        return float(loss), np.asarray(gradient)
