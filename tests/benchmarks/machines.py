"""Rows `cirq-*` and `aer-*`: a training step by parameter shift on machines of others.

The peer is the loop that a user of PennyLane writes over the device of the plugin.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace

import autograd
import autograd.numpy as anp
import pennylane as qml

from qstore_pl import BackendManager
from tests.benchmarks.ours import OursByAdjoint, OursMeasured, our_model
from tests.benchmarks.problem import N_OUTPUTS, HandAdam, Problem
from tests.benchmarks.race import check_close, check_mean, timed
from tests.benchmarks.training_step import PROBLEMS

SHOTS = 1000
SINGLE_PRECISION = 1e-6  # of Cirq's device in PennyLane
CHECKED = Problem(n_qubits=2, n_layers=1, batch=1)
CHECKED_RUNS = 20
MOST_REPEATS = 3  # of steps that take most of a minute
TARGETS = {"cirq.simulator parameter-shift": 100, "qiskit.aer parameter-shift": 30}


class OursOnMachine(OursMeasured):
    """Our trainer, with a model on a backend that has a name."""

    def __init__(self, problem, backend, shots):
        settings = {} if shots is None else {"shots": shots}
        super().__init__(problem, gradient_method="parameter_shift", **settings)
        self._backend = backend

    def model(self, seed):
        backend = BackendManager().get_backend(self._backend, seed=seed)
        self.last = our_model(self.problem, seed=seed)
        self.last.backend = backend
        return self.last

    def submissions(self):
        """Of one training step."""
        self.train(1)
        return self.last.device.spent.jobs


class Plugin(HandAdam):
    """`qml.grad` of a QNode with broadcast inputs on the device of a plugin."""

    def __init__(self, problem, device, options, shots):
        super().__init__(problem)
        self.name = f"{device} parameter-shift"
        words = [f"{key}={value}" for key, value in options.items()]
        self.setting = ", ".join(["autograd, broadcast", *words])
        self._device = qml.device(device, wires=problem.n_qubits, **options)

        @qml.set_shots(shots)
        @qml.qnode(self._device, diff_method="parameter-shift")
        def circuit(inputs, weights):
            problem.gates(inputs, weights)
            return [qml.expval(qml.Z(wire)) for wire in range(N_OUTPUTS)]

        def loss(weights, inputs, targets):
            # One sample has no batch axis on every device.
            outputs = anp.reshape(anp.stack(circuit(inputs, weights)), (N_OUTPUTS, -1))
            return anp.mean((outputs.T - targets) ** 2)

        self._value_and_grad = autograd.value_and_grad(loss)

    def value_and_grad(self, inputs, targets, weights):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the plugins' own
            return self._value_and_grad(weights, inputs, targets)

    def submissions(self):
        """Calls of the device's simulator in one training step, each a submission."""
        with qml.Tracker(self._device) as tracker:
            self.loss_and_gradient()
        return tracker.totals["executions"]


@dataclass(frozen=True)
class OnMachine:
    """A row.

    Args:
        backend: Our name of the backend.
        device: PennyLane's name of the plugin's device.
        options: Of that device.
        shots: Measurements per circuit; None is exact.
        problem: What is trained.
    """

    backend: str
    device: str
    options: dict = field(default_factory=dict)
    shots: int | None = None
    problem: Problem = PROBLEMS["training-4q"]

    def ours(self):
        """Our trainer."""
        return OursOnMachine(self.problem, self.backend, self.shots)

    def peer(self):
        """The loop over the plugin's device."""
        return Plugin(self.problem, self.device, self.options, self.shots)


AER = {"backend": "aer_simulator_statevector"}
ROWS = {
    "cirq-4q": OnMachine("cirq", "cirq.simulator"),
    "cirq-shots-4q": OnMachine("cirq", "cirq.simulator", shots=SHOTS),
    "aer-4q": OnMachine("qiskit", "qiskit.aer", AER),
    "aer-shots-4q": OnMachine("qiskit", "qiskit.aer", shots=SHOTS),
}


def check_machine(row: OnMachine, runs=CHECKED_RUNS):
    """Compare both with the adjoint gradient: with shots, the means of several runs.

    Raises:
        DisagreementError: If one does not agree.
    """
    value, exact = OursByAdjoint(row.problem).loss_and_gradient()
    for contender in (row.ours(), row.peer()):
        if row.shots is None:
            found, gradient = contender.loss_and_gradient()
            check_close(f"loss of {contender.name}", found, value, SINGLE_PRECISION)
            who = f"gradient of {contender.name}"
            check_close(who, gradient, exact, SINGLE_PRECISION)
        else:
            found = [contender.loss_and_gradient()[1] for _ in range(runs)]
            check_mean(f"gradient of {contender.name}", found, exact)


def measured(name, peers, repeats):
    """Time a training step, and count what is submitted for it."""
    row = ROWS[name]
    print(f"{name}: checking that both agree", flush=True)
    check_machine(replace(row, problem=CHECKED))
    ours, peer = row.ours(), row.peer()
    counts = {"ours": ours.submissions(), "peer": peer.submissions()}
    print(f"{name}: submissions of a step: {counts['ours']}, not {counts['peer']}")
    rows = timed(name, ours, [[peer]], min(repeats, MOST_REPEATS), TARGETS)
    for one in rows:
        one.work["submissions"] = counts
    return rows
