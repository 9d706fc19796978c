"""The peers of the training step, each in the settings worth trying."""

from __future__ import annotations

import itertools
import time
from functools import partial

import autograd
import autograd.numpy as anp
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import torch

from tests.benchmarks.problem import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    N_OUTPUTS,
    HandAdam,
    Problem,
)


def pennylane_qnode(problem: Problem, device, **options):
    """The problem's circuit and outputs on one of PennyLane's devices."""

    def circuit(inputs, weights):
        problem.gates(inputs, weights)
        return [qml.expval(qml.Z(wire)) for wire in range(N_OUTPUTS)]

    return qml.QNode(circuit, qml.device(device, wires=problem.n_qubits), **options)


class Autograd(HandAdam):
    """A QNode under autograd, the batch broadcast or looped over sample by sample."""

    def __init__(self, problem, device, *, loop=False, **options):
        super().__init__(problem)
        self.name = f"{device} {options['diff_method']}"
        words = ["autograd", "loop" if loop else "broadcast"]
        words += [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join(words)
        qnode = pennylane_qnode(problem, device, **options)

        def outputs(inputs, weights):  # (batch, N_OUTPUTS)
            if loop:
                return anp.stack([anp.stack(qnode(x, weights)) for x in inputs])
            return anp.stack(qnode(inputs, weights)).T

        def loss(weights, inputs, targets):
            return anp.mean((outputs(inputs, weights) - targets) ** 2)

        self._value_and_grad = autograd.value_and_grad(loss)

    def value_and_grad(self, inputs, targets, weights):
        return self._value_and_grad(weights, inputs, targets)


class Torch(HandAdam):
    """Backprop under torch, which is quicker than under autograd."""

    setting = "torch, broadcast, diff_method=backprop"

    def __init__(self, problem):
        super().__init__(problem)
        torch.set_default_dtype(torch.float64)  # default.mixed takes it for RZ
        device = problem.default_device
        self.name = f"{device} backprop"
        self._qnode = pennylane_qnode(problem, device, diff_method="backprop")

    def value_and_grad(self, inputs, targets, weights):
        leaf = torch.from_numpy(weights).requires_grad_()
        outputs = torch.stack(self._qnode(torch.from_numpy(inputs), leaf)).T
        loss = ((outputs - torch.from_numpy(targets)) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.item(), gradient.numpy()


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


class Qulacs(HandAdam):
    """Backpropagation in qulacs, sample by sample (it has no batches)."""

    name = "qulacs backprop"
    setting = "loop, backprop_inner_product"

    def __init__(self, problem):
        import qulacs  # here, so that the tests of the other peers run without it

        super().__init__(problem)
        n = problem.n_qubits
        self._circuit = circuit = qulacs.ParametricQuantumCircuit(n)
        rotations = (
            circuit.add_parametric_RX_gate,
            circuit.add_parametric_RY_gate,
            circuit.add_parametric_RZ_gate,
        )
        for wire in range(n):
            circuit.add_parametric_RY_gate(wire, 0.0)
        for _ in range(problem.n_layers):
            for wire, rotate in itertools.product(range(n), rotations):
                rotate(wire, 0.0)
            for pair in problem.ring:
                circuit.add_CNOT_gate(*pair)
        self._state, self._bra, self._work = (qulacs.QuantumState(n) for _ in range(3))
        self._observable = qulacs.Observable
        self._outputs = [qulacs.Observable(n) for _ in range(N_OUTPUTS)]
        for wire, output in enumerate(self._outputs):
            output.add_operator(1.0, f"Z {wire}")

    def value_and_grad(self, inputs, targets, weights):
        n, circuit, state = self.problem.n_qubits, self._circuit, self._state
        loss, gradient = 0.0, np.zeros(weights.size)
        # A rotation is exp(+i angle P / 2) in qulacs: angles and gradients change sign.
        for k, angle in enumerate((-weights).ravel().tolist()):
            circuit.set_parameter(n + k, angle)
        for angles, target in zip((-inputs).tolist(), targets.tolist(), strict=True):
            for k, angle in enumerate(angles):
                circuit.set_parameter(k, angle)
            state.set_zero_state()
            circuit.update_quantum_state(state)
            bra = self._observable(n)
            for wire, (output, y) in enumerate(zip(self._outputs, target, strict=True)):
                error = output.get_expectation_value(state) - y
                loss += error**2
                bra.add_operator(error, f"Z {wire}")
            bra.apply_to_state(self._work, state, self._bra)
            gradient += circuit.backprop_inner_product(self._bra)[n:]
        # backprop_inner_product is half the derivative; the other 2 is the square's.
        gradient *= -4 / targets.size
        return loss / targets.size, gradient.reshape(weights.shape)


IDEAL = [
    [partial(Autograd, device="default.qubit", diff_method="backprop"), Torch],
    [
        partial(
            Autograd,
            device="lightning.qubit",
            loop=loop,
            diff_method="adjoint",
            device_vjp=device_vjp,
            grad_on_execution=grad_on_execution,
        )
        for loop, device_vjp, grad_on_execution in itertools.product(
            (False, True), (True, False, None), (True, False)
        )
    ],
    [partial(Jax, vmap=vmap) for vmap in (False, True)],
    [partial(JaxLoop, vmap=vmap) for vmap in (False, True)],
    [Qulacs],
]
NOISY = [
    [partial(Autograd, device="default.mixed", diff_method="backprop"), Torch],
    [partial(Jax, vmap=vmap) for vmap in (False, True)],
]


def candidates(problem: Problem):
    """The peers in the order of the table, each as its settings to choose from.

    A setting is a function from a problem to a contender.
    """
    return NOISY if problem.noise else IDEAL
