"""PennyLane's parameter shift and SPSA, all circuits of a step in one submission."""

from __future__ import annotations

import abc
from functools import cache

import numpy as np
import pennylane as qml

from tests.benchmarks.problem import N_OUTPUTS, HandAdam


class ParameterShift:
    """Parameter shift by hand, of weights that are in one rotation each."""

    name = "parameter shift"
    transform = "param_shift"

    def options(self, n_weights):
        """What PennyLane's transform of that name is given."""
        return {}

    def __call__(self, weights):
        """Where to measure, and the matrix that turns values into derivatives.

        Args:
            weights: Shape ``(n_weights,)``.

        Returns:
            Weights of shape ``(n_points, n_weights)``, the first row the given ones,
            and a matrix of shape ``(n_weights, n_points)``.
        """
        unit = np.eye(len(weights))
        middle = np.zeros_like(unit[:1])
        signs = np.vstack([middle, unit, -unit])
        return weights + np.pi / 2 * signs, signs.T / 2


class Spsa:
    """Simultaneous perturbation along one random direction a step."""

    name = "SPSA"
    transform = "spsa_grad"

    def __init__(self, epsilon):
        self.epsilon = epsilon
        self._rng = np.random.default_rng(0)

    def direction(self, n_weights):
        """The next direction, entries 1 and -1."""
        return self._rng.choice([-1.0, 1.0], n_weights)

    def options(self, n_weights):
        """What PennyLane's transform of that name is given for the next step."""
        direction = self.direction(n_weights)  # one for all samples, as ours
        return {"h": self.epsilon, "sampler": lambda *_, **__: direction}

    def __call__(self, weights):
        """Where to measure, and the matrix that turns values into derivatives."""
        direction = self.direction(len(weights))
        signs = np.outer([0.0, 1.0, -1.0], direction)
        return weights + self.epsilon * signs, signs.T / (2 * self.epsilon)


class Measuring(HandAdam):
    """A gradient from the measured values of circuits that are submitted together."""

    def __init__(self, problem, rule, shots=None):
        super().__init__(problem)
        self.rule, self.shots = rule, shots

    @abc.abstractmethod
    def values(self, angles):
        """The measured values of circuits, shape ``(n_circuits, N_OUTPUTS)``.

        Args:
            angles: Those of the rotations in their order, the inputs and then the
                weights, shape ``(n_circuits, n_angles)``.
        """

    def value_and_grad(self, inputs, targets, weights):
        points, matrix = self.rule(weights.ravel())
        shape = len(inputs), len(points), N_OUTPUTS
        rows = np.repeat(inputs, len(points), axis=0)
        angles = np.hstack([rows, np.tile(points, (len(inputs), 1))])
        values = self.values(angles).reshape(shape)
        errors = values[:, 0] - targets
        slopes = np.einsum("bpk,bk->p", values, 2 * errors / errors.size)
        return np.mean(errors**2), (matrix @ slopes).reshape(weights.shape)


class Tapes(Measuring):
    """One tape for each circuit, made by hand: circuits share gates of equal angle.

    Either PennyLane prepares them for the device or, since the device has all of the
    gates, they go there as they are.
    """

    def __init__(self, problem, rule, shots=None, *, direct):
        super().__init__(problem, rule, shots)
        self.name = f"lightning.qubit {rule.name}"
        road = "device.execute" if direct else "qml.execute"
        self.setting = f"tapes by hand, {road}"
        self._direct = direct
        self._device = qml.device("lightning.qubit", wires=problem.n_qubits, seed=0)
        self._gates = list(problem.perfect_gates(problem.inputs[0], problem.weights))
        self._measured = measured()

    def values(self, angles):
        tapes = self._tapes(angles)
        if self._direct:
            return np.array(self._device.execute(tapes))
        return np.array(qml.execute(tapes, self._device, diff_method=None))

    def _tapes(self, angles):
        @cache  # rows differ in few angles
        def rotation(place, angle):
            gate = self._gates[place]
            return type(gate)(angle, gate.wires)

        places = [k for k, gate in enumerate(self._gates) if gate.num_params]
        tapes = []
        for row in angles.tolist():
            gates = self._gates.copy()
            for place, angle in zip(places, row, strict=True):
                gates[place] = rotation(place, angle)
            tapes.append(qml.tape.QuantumScript(gates, self._measured, self.shots))
        return tapes


class BroadcastTape(Measuring):
    """All circuits as one tape whose angles are arrays, which `default.qubit` takes."""

    def __init__(self, problem, rule, shots=None, *, direct):
        super().__init__(problem, rule, shots)
        self.name = f"default.qubit {rule.name}"
        road = "device.execute" if direct else "qml.execute"
        self.setting = f"one broadcast tape, {road}"
        self._direct = direct
        self._device = qml.device("default.qubit", wires=problem.n_qubits, seed=0)

    def values(self, angles):
        inputs, weights = np.split(angles, [self.problem.n_qubits], axis=1)
        weights = weights.T.reshape(*self.problem.weights.shape, -1)
        tape = qml.tape.make_qscript(self.problem.gates)(inputs, weights)
        tape = tape.copy(measurements=measured(), shots=self.shots)
        if self._direct:
            (values,) = self._device.execute([tape])
        else:
            (values,) = qml.execute([tape], self._device, diff_method=None)
        return np.stack(values, axis=1)


class Transform(HandAdam):
    """PennyLane's gradient transform, of one tape for each sample."""

    def __init__(self, problem, rule, shots=None, **options):
        super().__init__(problem)
        self.name = f"lightning.qubit {rule.name}"
        self.rule, self.shots, self._options = rule, shots, options
        self._device = qml.device("lightning.qubit", wires=problem.n_qubits, seed=0)
        self._transform = getattr(qml.gradients, rule.transform)
        words = [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join([rule.transform, *words, "qml.execute"])

    def value_and_grad(self, inputs, targets, weights):
        first, size = self.problem.n_qubits, weights.size
        options = self._options | self.rule.options(size)
        tapes, parts = [], []
        for x in inputs:
            tape = qml.tape.make_qscript(self.problem.gates)(x, weights)
            tape = tape.copy(measurements=measured(), shots=self.shots)
            tape.trainable_params = range(first, first + size)
            shifted, combine = self._transform(tape, **options)
            tapes.append(tape)
            parts.append((slice(len(tapes), len(tapes) + len(shifted)), combine))
            tapes += shifted
        results = qml.execute(tapes, self._device, diff_method=None)
        loss, gradient = 0.0, np.zeros(size)
        for target, (part, combine) in zip(targets, parts, strict=True):
            errors = np.array(results[part.start - 1]) - target
            loss += errors @ errors
            gradient += 2 * errors @ np.array(combine(results[part]))
        return loss / targets.size, (gradient / targets.size).reshape(weights.shape)


def measured():
    """The outputs of the problem as PennyLane measures them."""
    return [qml.expval(qml.Z(wire)) for wire in range(N_OUTPUTS)]
