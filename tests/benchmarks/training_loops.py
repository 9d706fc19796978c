"""Simulators without batches: gradients of one sample after another.

Each is imported where it is used: a machine may have some of them.
"""

from __future__ import annotations

import abc
import itertools

import numpy as np

from tests.benchmarks.problem import N_OUTPUTS, HandAdam


class Qulacs(HandAdam):
    """Backpropagation in qulacs, sample by sample (it has no batches)."""

    name = "qulacs backprop"
    setting = "loop, backprop_inner_product"

    def __init__(self, problem):
        import qulacs

        super().__init__(problem)
        n = problem.n_qubits
        self._circuit = qulacs_circuit(problem)
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


def qulacs_circuit(problem):
    """The problem's gates, with angles that are set by their number."""
    import qulacs

    circuit = qulacs.ParametricQuantumCircuit(problem.n_qubits)
    for one in problem.perfect_gates(problem.inputs[0], problem.weights):
        if one.num_params:
            getattr(circuit, f"add_parametric_{one.name}_gate")(one.wires[0], 0.0)
        else:
            circuit.add_CNOT_gate(*one.wires)
    return circuit


class Loop(HandAdam):
    """A sample at a time: its outputs, and the gradient of a weighted sum of them."""

    def value_and_grad(self, inputs, targets, weights):
        self.bind_weights(weights.ravel())
        loss, gradient = 0.0, np.zeros(weights.size)
        for x, y in zip(inputs, targets, strict=True):
            errors = self.outputs(x) - y
            loss += errors @ errors
            gradient += self.gradient(2 * errors)
        return loss / targets.size, (gradient / targets.size).reshape(weights.shape)

    def bind_weights(self, weights):
        """Take the weights of the samples that follow."""
        self.weights = weights

    @abc.abstractmethod
    def outputs(self, inputs):
        """Expectation values of one sample, shape (N_OUTPUTS,)."""

    @abc.abstractmethod
    def gradient(self, factors):
        """Gradient of the sum of factors times outputs, of the sample that was last."""


class Scaluq(Loop):
    """Backpropagation in scaluq, whose circuits have named parameters."""

    name = "scaluq backprop"

    def __init__(self, problem, *, reuse):
        import scaluq

        super().__init__(problem)
        self._reuse, self.setting = reuse, f"loop, {scaluq_setting(reuse=reuse)}"
        self._scaluq = scaluq
        self._circuit = scaluq_circuit(problem)
        self._names = [
            f"{k:04}" for k in range(problem.n_qubits + problem.weights.size)
        ]
        self._state = scaluq.StateVector(problem.n_qubits)
        self._values = [
            scaluq.Operator([scaluq.PauliOperator(f"Z {wire}")])
            for wire in range(N_OUTPUTS)
        ]

    def outputs(self, inputs):
        angles = np.concatenate([inputs, self.weights]).tolist()
        self._angles = dict(zip(self._names, angles, strict=True))
        self._state.set_zero_state()
        self._circuit.update_quantum_state(self._state, params=self._angles)
        found = [one.get_expectation_value(self._state).real for one in self._values]
        return np.array(found)

    def gradient(self, factors):
        make, operator = self._scaluq.PauliOperator, self._scaluq.Operator
        total = operator([make(f"Z {k}", f) for k, f in enumerate(factors.tolist())])
        found = scaluq_gradient(
            self._circuit, total, self._state, self._angles, reuse=self._reuse
        )
        return np.array([found[name] for name in self._names[self.problem.n_qubits :]])


def scaluq_gradient(circuit, observable, state, angles, *, reuse):
    """Gradient by name of angle, from the state that is there or from the start."""
    if not reuse:
        return circuit.compute_expectation_gradient(observable, angles)
    bra = state.copy()
    observable.apply_to_state(bra)
    return circuit.compute_expectation_gradient_backprop(state, bra, angles)


def scaluq_setting(*, reuse):
    """The name of the call."""
    return "compute_expectation_gradient" + ("_backprop" if reuse else "")


def scaluq_circuit(problem):
    """The problem's gates, whose angles are named by their number."""
    from scaluq import Circuit, gate

    circuit, count = Circuit(), itertools.count()
    rotations = {"RX": gate.ParamRX, "RY": gate.ParamRY, "RZ": gate.ParamRZ}
    for one in problem.perfect_gates(problem.inputs[0], problem.weights):
        if one.name in rotations:
            rotation = rotations[one.name](one.wires[0])
            circuit.add_param_gate(rotation, f"{next(count):04}")
        else:
            circuit.add_gate(gate.CX(*one.wires))
    return circuit


class Prism(Loop):
    """The adjoint gradient of PRISM-Q, of circuits to which the angles are bound."""

    name = "prism-q adjoint"
    setting = "loop, expectation_gradient"

    def __init__(self, problem):
        import prism_q

        super().__init__(problem)
        self._prism = prism_q
        self._circuit, self._parameters = prism_circuit(problem)
        self._prepared = prism_q.PreparedCircuit(
            self._circuit, self._parameters, prism_q.BackendKind.statevector()
        )
        n = problem.n_qubits
        # Slots in the order of the weights: the gradient is by instruction.
        self._links = [(i, k - n) for i, k in self._parameters.links() if k >= n]
        self._outputs = [[(wire, "Z")] for wire in range(N_OUTPUTS)]

    def outputs(self, inputs):
        self._angles = np.concatenate([inputs, self.weights]).tolist()
        return np.array(self._prepared.expectation_values(self._angles, self._outputs))

    def gradient(self, factors):
        total = list(zip(factors.tolist(), self._outputs, strict=True))
        simulation = self._prism.simulate(self._prepared.bind(self._angles))
        simulation = simulation.backend(self._prism.BackendKind.statevector())
        return simulation.expectation_gradient(total, self._links)[1]


def prism_circuit(problem):
    """The problem's gates, and the slots of their angles in their order."""
    import prism_q

    builder, count = prism_q.CircuitBuilder(problem.n_qubits), itertools.count()
    for one in problem.perfect_gates(problem.inputs[0], problem.weights):
        if one.num_params:
            rotate = getattr(builder, one.name.lower())
            rotate(float(one.data[0]), one.wires[0]).param(next(count))
        else:
            builder.cx(*one.wires)
    return builder.build(), builder.parameters()
