"""What ``qstore bench`` compares: training loops of one problem on several devices."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane import numpy as pnp

from qstore_pl.config import TrainingConfig
from qstore_pl.errors import QStoreError
from qstore_pl.model import QuantumModel
from qstore_pl.trainer import QuantumTrainer

LEARNING_RATE = 0.01
N_OUTPUTS = 2
N_BATCHES = 50
TOLERANCE = 1e-9
SECONDS = 0.25  # that a measurement takes about
LIGHTNING = "lightning.qubit"


@dataclass(frozen=True)
class Problem:
    """A circuit and data to train it on.

    Args:
        n_qubits: Number of qubits, and of features.
        n_layers: Layers of rotations and CNOTs.
        batch: Samples in a batch.
    """

    n_qubits: int
    n_layers: int
    batch: int

    def model(self) -> QuantumModel:
        """The circuit with its first weights."""
        return QuantumModel(self.n_qubits, N_OUTPUTS, self.n_layers, seed=0)

    def data(self, n_batches: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Features and targets of some batches."""
        rng = np.random.default_rng(0)
        n_samples = n_batches * self.batch
        X = rng.uniform(-np.pi, np.pi, (n_samples, self.n_qubits))
        return X, rng.uniform(-1, 1, (n_samples, N_OUTPUTS))


PROBLEMS = (Problem(4, 2, 10), Problem(8, 4, 32))


class Timing(NamedTuple):
    """How long a training step takes, in seconds.

    Attributes:
        device: Name of the device.
        setting: How it was used.
        median: The median of the measurements.
        quartiles: Between which half of the measurements are.
    """

    device: str
    setting: str
    median: float
    quartiles: tuple[float, float]


class Contender(ABC):
    """A training loop on a device.

    Args:
        problem: What it trains.
        device: Name of the device.
        setting: How it is used, in words.
    """

    def __init__(self, problem: Problem, device: str, setting: str) -> None:
        self.problem, self.device, self.setting = problem, device, setting

    least = 1
    """The fewest steps that can be timed."""

    @abstractmethod
    def loss_and_gradient(self) -> NDArray[np.float64]:
        """The loss of the first batch, followed by its gradient."""

    @abstractmethod
    def seconds(self, n_steps: int) -> float:
        """How long a step takes, as the mean of some."""


@final
class Ours(Contender):
    """:class:`QuantumTrainer` on arrays."""

    least = N_BATCHES

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem, "qstore.mock_ideal", "QuantumTrainer")

    def _train(self, n_batches: int, epochs: int, **settings: Any) -> tuple[Any, float]:
        """A trained model with its first loss, and the seconds it took."""
        model, data = self.problem.model(), self.problem.data(n_batches)
        config = TrainingConfig(
            batch_size=self.problem.batch, progress=False, seed=0, **settings
        )
        trainer = QuantumTrainer(config)
        start = time.perf_counter()
        history = trainer.train(model, data, epochs=epochs)
        return (model, history["losses"][0]), time.perf_counter() - start

    def loss_and_gradient(self) -> NDArray[np.float64]:
        """As declared: a step of gradient descent with learning rate 1 is it."""
        (model, loss), _ = self._train(1, 1, optimizer="sgd", learning_rate=1.0)
        step = self.problem.model().parameters - model.parameters
        return np.array([loss, *step])

    def seconds(self, n_steps: int) -> float:
        """As declared, without the set-up of a run, which is subtracted."""
        epochs = max(1, round(n_steps / N_BATCHES))
        _, short = self._train(N_BATCHES, 1, learning_rate=LEARNING_RATE)
        _, long = self._train(N_BATCHES, 1 + epochs, learning_rate=LEARNING_RATE)
        return (long - short) / (epochs * N_BATCHES)


@final
class Plain(Contender):
    """PennyLane's Adam with a QNode, which takes each batch as a whole.

    Args:
        problem: What it trains.
        device: Name of the device.
        **options: Options of the QNode.
    """

    def __init__(self, problem: Problem, device: str, **options: Any) -> None:
        words = ", ".join(f"{key}={value}" for key, value in options.items())
        super().__init__(problem, device, words)
        n, n_layers = problem.n_qubits, problem.n_layers

        @qml.qnode(qml.device(device, wires=n), **options)
        def circuit(inputs: Any, weights: Any) -> Any:
            for wire in range(n):
                qml.RY(inputs[:, wire], wires=wire)
            for layer in range(n_layers):
                for wire in range(n):
                    qml.RX(weights[layer, wire, 0], wires=wire)
                    qml.RY(weights[layer, wire, 1], wires=wire)
                    qml.RZ(weights[layer, wire, 2], wires=wire)
                for wire in range(n):
                    qml.CNOT([wire, (wire + 1) % n])
            return [qml.expval(qml.Z(wire)) for wire in range(N_OUTPUTS)]

        def cost(weights: Any, inputs: Any, targets: Any) -> Any:
            return pnp.mean((pnp.stack(circuit(inputs, weights)).T - targets) ** 2)

        self._cost = cost
        X, y = problem.data(N_BATCHES)
        self._batches = [
            (pnp.array(x, requires_grad=False), pnp.array(t, requires_grad=False))
            for x, t in zip(np.split(X, N_BATCHES), np.split(y, N_BATCHES), strict=True)
        ]
        first = problem.model().parameters.reshape(n_layers, n, 3)
        self._first = pnp.array(first, requires_grad=True)

    def loss_and_gradient(self) -> NDArray[np.float64]:
        """As declared, by qml.grad."""
        X, y = self.problem.data(1)
        gradient = qml.grad(self._cost, argnums=0)(self._first, X, y)
        loss = float(self._cost(self._first, X, y))
        return np.array([loss, *np.asarray(gradient).ravel()])

    def seconds(self, n_steps: int) -> float:
        """As declared, by PennyLane's Adam."""
        optimizer = qml.AdamOptimizer(LEARNING_RATE, beta2=0.999)
        weights = self._first
        start = time.perf_counter()
        for step in range(n_steps):
            batch = self._batches[step % N_BATCHES]
            (weights, *_), _ = optimizer.step_and_cost(self._cost, weights, *batch)
        return (time.perf_counter() - start) / n_steps


def checked(problem: Problem) -> tuple[list[Contender], float]:
    """The contenders, after their losses and gradients were compared.

    Of the settings of Lightning the quickest is taken.

    Args:
        problem: What they train.

    Returns:
        The contenders, ours first; and the largest difference from ours.

    Raises:
        QStoreError: If two differ.
    """
    ours = Ours(problem)
    columns: list[list[Contender]] = [
        [Plain(problem, "default.qubit", diff_method="backprop")]
    ]
    if LIGHTNING in qml.plugin_devices:
        columns.append(
            [
                Plain(problem, LIGHTNING, diff_method="adjoint", device_vjp=device_vjp)
                for device_vjp in (False, True)
            ]
        )
    wanted, worst = ours.loss_and_gradient(), 0.0
    for one in (one for column in columns for one in column):
        error = float(np.max(np.abs(one.loss_and_gradient() - wanted)))
        worst = max(worst, error)
        if not error <= TOLERANCE:  # NaN differs too
            raise QStoreError(
                f"The loss and gradient of {problem.n_qubits} qubits on {one.device} "
                f"differ from ours by {error:.1e}, so that nothing was timed. Please "
                "report it with the versions that `qml.about()` prints."
            )
    quickest = [min(column, key=lambda one: one.seconds(1)) for column in columns]
    return [ours, *quickest], worst


def timed(
    contenders: Sequence[Contender],
    repeats: int,
    after_round: Callable[[], Any] | None = None,
) -> list[Timing]:
    """Time a training step of each, in turn.

    Args:
        contenders: The contenders.
        repeats: Measurements of each.
        after_round: What is called after each has been measured once.
    """
    rough = [
        one.seconds(N_BATCHES if one is contenders[0] else 1) for one in contenders
    ]
    steps = [max(1, round(SECONDS / seconds)) for seconds in rough]
    times: list[list[float]] = [[] for _ in contenders]
    for _ in range(repeats):
        for one, n_steps, found in zip(contenders, steps, times, strict=True):
            found.append(one.seconds(n_steps))
        if after_round is not None:
            after_round()
    timings = []
    for one, found in zip(contenders, times, strict=True):
        low, median, high = np.percentile(found, [25, 50, 75]).tolist()
        timings.append(Timing(one.device, one.setting, median, (low, high)))
    return timings
