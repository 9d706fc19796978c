"""JAX's backpropagation through PennyLane's own simulators, compiled."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.problem import BETA1, BETA2, EPSILON, LEARNING_RATE, HandAdam
from tests.benchmarks.training_peers import pennylane_qnode


class Jax(HandAdam):
    """Backprop inside one jitted step: rows, loss, gradient and update."""

    name = "jax.jit {}"

    def __init__(self, problem, *, vmap):
        super().__init__(problem)
        jax.config.update("jax_enable_x64", True)
        device = problem.default_device
        self.name = self.name.format(device)
        self.setting = "vmap" if vmap else "broadcast"
        qnode = pennylane_qnode(problem, device, diff_method="backprop")
        if vmap:
            qnode = jax.vmap(qnode, in_axes=(0, None))
        inputs, targets = jnp.asarray(problem.inputs), jnp.asarray(problem.targets)
        self._rows = [jnp.asarray(rows) for rows in problem.batches]

        def loss(weights, x, y):
            return jnp.mean((jnp.stack(qnode(x, weights)).T - y) ** 2)

        def step(state, rows):
            weights, mean, square, count = state
            value, gradient = jax.value_and_grad(loss)(
                weights, inputs[rows], targets[rows]
            )
            mean = BETA1 * mean + (1 - BETA1) * gradient
            square = BETA2 * square + (1 - BETA2) * gradient**2
            count = count + 1
            root = jnp.sqrt(square / (1 - BETA2**count)) + EPSILON
            weights -= LEARNING_RATE / (1 - BETA1**count) * mean / root
            return (weights, mean, square, count), value

        weights = jnp.asarray(problem.weights)
        zero = jnp.zeros_like(weights)
        self._first = (weights, zero, zero, jnp.zeros(()))
        self._loss, self._step = loss, step
        self._compile()

    def _compile(self):
        start = time.perf_counter()
        lowered = jax.jit(self._step).lower(self._first, self._rows[0])
        self._compiled = lowered.compile()
        self.compile_seconds = time.perf_counter() - start

    def value_and_grad(self, inputs, targets, weights):
        loss, gradient = jax.jit(jax.value_and_grad(self._loss))(
            *(jnp.asarray(a) for a in (weights, inputs, targets))
        )
        return float(loss), np.asarray(gradient)

    def train(self, n_steps):
        state, losses = self._first, []
        for step in range(n_steps):
            state, loss = self._compiled(state, self._rows[step % len(self._rows)])
            losses.append(loss)
        jax.block_until_ready(state)
        return np.asarray(state[0]), np.mean(losses)


class JaxLoop(Jax):
    """The same with the loop over steps compiled too: one call for a whole training."""

    name = "jax.jit {}, whole loop"

    def _compile(self):
        rows = jnp.stack(self._rows)

        def body(i, carry):
            state, losses = carry
            state, loss = self._step(state, rows[i % len(rows)])
            return state, losses.at[i % len(rows)].set(loss)

        def run(state, n_steps):
            losses = jnp.zeros(len(rows))
            return jax.lax.fori_loop(0, n_steps, body, (state, losses))

        start = time.perf_counter()
        self._compiled = jax.jit(run).lower(self._first, 0).compile()
        self.compile_seconds = time.perf_counter() - start

    def train(self, n_steps):
        state, losses = jax.block_until_ready(self._compiled(self._first, n_steps))
        return np.asarray(state[0]), np.mean(losses[:n_steps])
