"""Value and gradient of <Z_0> of one sample, by simulators of others.

Each is imported where it is used: a Python may have some of them.
"""

from __future__ import annotations

import abc
import time

import numpy as np
import pennylane as qml

from tests.benchmarks.contender import Call
from tests.benchmarks.training_loops import (
    prism_circuit,
    qulacs_circuit,
    scaluq_circuit,
    scaluq_gradient,
    scaluq_setting,
)


class Gradient(Call):
    """A program whose unit of work is one value with its gradient."""

    def __init__(self, problem):
        self.problem = problem
        self.x, self.weights = problem.inputs[0], problem.weights.copy()
        self.angles = np.concatenate([self.x, self.weights.ravel()]).tolist()

    @abc.abstractmethod
    def run(self):
        """The value and its gradient, of as many entries as there are weights."""

    def numbers(self):
        value, gradient = self.run()
        shape = self.problem.weights.shape
        return {"value": float(value), "gradient": np.reshape(gradient, shape)}

    def qnode(self, device="lightning.qubit", **options):
        """The circuit of inputs and weights."""

        @qml.qnode(qml.device(device, wires=self.problem.n_qubits), **options)
        def circuit(x, w):
            self.problem.gates(x, w)
            return qml.expval(qml.Z(0))

        return circuit


class Lightning(Gradient):
    """`qml.grad` of a QNode."""

    name = "lightning.qubit adjoint"

    def __init__(self, problem, **options):
        super().__init__(problem)
        words = [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join(["autograd", *words])
        circuit = self.qnode(diff_method="adjoint", **options)
        self._gradient = qml.grad(lambda w: circuit(self.x, w))
        self.weights = qml.numpy.array(self.weights, requires_grad=True)

    def run(self):
        gradient = self._gradient(self.weights)
        return self._gradient.forward, gradient


class LightningDirect(Gradient):
    """The device's own call, without autograd and without preparing the circuit."""

    name = "lightning.qubit adjoint"
    setting = "device.execute_and_compute_derivatives"

    def __init__(self, problem):
        super().__init__(problem)
        self._device = qml.device("lightning.qubit", wires=problem.n_qubits)
        self._tape = qml.tape.make_qscript(self._circuit)(self.x, self.weights)
        first = problem.n_qubits
        self._tape.trainable_params = range(first, len(self.angles))
        self._config = qml.devices.ExecutionConfig(gradient_method="adjoint")

    def _circuit(self, x, w):
        self.problem.gates(x, w)
        qml.expval(qml.Z(0))

    def run(self):
        both = self._device.execute_and_compute_derivatives((self._tape,), self._config)
        return both[0][0], np.array(both[1][0])


class Prism(Gradient):
    """The adjoint gradient of PRISM-Q, which gives the value too."""

    name = "prism-q adjoint"
    setting = "expectation_gradient, statevector, angles bound in the time"

    def __init__(self, problem):
        import prism_q

        super().__init__(problem)
        self._prism = prism_q
        self._circuit, self._parameters = prism_circuit(problem)
        n = problem.n_qubits
        self._links = [(i, k - n) for i, k in self._parameters.links() if k >= n]

    def run(self):
        bound = self._parameters.bind(self._circuit, self.angles)
        simulation = self._prism.simulate(bound)
        simulation = simulation.backend(self._prism.BackendKind.statevector())
        return simulation.expectation_gradient([(1.0, [(0, "Z")])], self._links)


class Qulacs(Gradient):
    """`backprop_inner_product` of a circuit whose angles are set."""

    name = "qulacs backprop"
    setting = "backprop_inner_product"

    def __init__(self, problem):
        import qulacs

        super().__init__(problem)
        self._circuit = qulacs_circuit(problem)
        self._state, self._bra = (
            qulacs.QuantumState(problem.n_qubits) for _ in range(2)
        )
        self._work = qulacs.QuantumState(problem.n_qubits)
        self._observable = qulacs.Observable(problem.n_qubits)
        self._observable.add_operator(1.0, "Z 0")

    def run(self):
        # A rotation is exp(+i angle P / 2) in qulacs: angles and gradients change sign.
        for k, angle in enumerate(self.angles):
            self._circuit.set_parameter(k, -angle)
        self._state.set_zero_state()
        self._circuit.update_quantum_state(self._state)
        value = self._observable.get_expectation_value(self._state)
        self._observable.apply_to_state(self._work, self._state, self._bra)
        found = self._circuit.backprop_inner_product(self._bra)
        return value, -2 * np.array(found[self.problem.n_qubits :])


class Scaluq(Gradient):
    """Backpropagation, from the state that gives the value or from the start."""

    name = "scaluq backprop"

    def __init__(self, problem, *, reuse):
        import scaluq

        super().__init__(problem)
        self._reuse, self.setting = reuse, scaluq_setting(reuse=reuse)
        self._circuit = scaluq_circuit(problem)
        self._names = [f"{k:04}" for k in range(len(self.angles))]
        self._state = scaluq.StateVector(problem.n_qubits)
        self._observable = scaluq.Operator([scaluq.PauliOperator("Z 0")])

    def run(self):
        angles = dict(zip(self._names, self.angles, strict=True))
        self._state.set_zero_state()
        self._circuit.update_quantum_state(self._state, params=angles)
        value = self._observable.get_expectation_value(self._state).real
        found = scaluq_gradient(
            self._circuit, self._observable, self._state, angles, reuse=self._reuse
        )
        return value, [found[name] for name in self._names[self.problem.n_qubits :]]


class Catalyst(Gradient):
    """A compiled value and gradient of Catalyst."""

    name = "Catalyst"
    setting = "lightning.qubit adjoint, qjit, value_and_grad"

    def __init__(self, problem):
        import catalyst

        super().__init__(problem)
        circuit = self.qnode(diff_method="adjoint")
        self._both = qml.qjit(catalyst.value_and_grad(circuit, argnums=1))
        start = time.perf_counter()
        self.run()
        self.compile_seconds = time.perf_counter() - start

    def run(self):
        value, gradient = self._both(self.x, self.weights)
        return float(value), np.asarray(gradient)


class Jax(Gradient):
    """`jax.jit(jax.value_and_grad(...))` of default.qubit."""

    name = "jax.jit default.qubit"
    setting = "backprop"

    def __init__(self, problem):
        import jax

        super().__init__(problem)
        jax.config.update("jax_enable_x64", True)
        circuit = self.qnode("default.qubit", diff_method="backprop")
        self._both = jax.jit(jax.value_and_grad(circuit, argnums=1))
        start = time.perf_counter()
        self.run()
        self.compile_seconds = time.perf_counter() - start

    def run(self):
        value, gradient = self._both(self.x, self.weights)
        return float(value), np.asarray(gradient)
