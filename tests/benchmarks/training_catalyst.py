"""Catalyst: a compiled loop over the samples, and the chain rule by hand.

Catalyst neither broadcasts nor maps gradients, and `value_and_grad` in a loop over a
batch ends in an error of its compiler; this is what works.
"""

from __future__ import annotations

import time

import catalyst
import jax.numpy as jnp
import numpy as np
import pennylane as qml

from tests.benchmarks.problem import N_OUTPUTS, HandAdam


class Catalyst(HandAdam):
    """Loss and gradient of a batch in one compiled function; the update is numpy."""

    name = "Catalyst"

    def __init__(self, problem, *, derivative):
        super().__init__(problem)
        self.setting = f"lightning.qubit, @qjit, for_loop over samples, {derivative}"

        @qml.qnode(
            qml.device("lightning.qubit", wires=problem.n_qubits), diff_method="adjoint"
        )
        def circuit(x, w):
            problem.gates(x, w)
            return [qml.expval(qml.Z(wire)) for wire in range(N_OUTPUTS)]

        def outputs(x, w):
            return jnp.stack(circuit(x, w))

        @qml.qjit
        def value_and_grad(inputs, targets, weights):
            @catalyst.for_loop(0, len(problem.batches[0]), 1)
            def of_samples(i, loss, gradient):
                errors = outputs(inputs[i], weights) - targets[i]
                if derivative == "jacobian":
                    slopes = catalyst.jacobian(outputs, argnums=1)(inputs[i], weights)
                    own = jnp.tensordot(2 * errors, slopes, 1)
                else:
                    arguments = (inputs[i], weights)
                    _, (own,) = catalyst.vjp(
                        outputs, arguments, (2 * errors,), argnums=1
                    )
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
