"""A circle in a square, learned by one qubit that takes the data ten times.

``python -m demos.results.circle`` trains on 200 points of the square [-1, 1]^2 and
tests on 4,000, five times. A point is inside if its distance from the middle is less
than sqrt(2/pi), which is half of the square. Each of the 10 layers is a rotation by
three angles, theta + w x, with w trained as well: 50 weights. The cost is the paper's
fidelity cost, here the mean square of <Z> less a target of 1 or -1. The paper minimises
it by L-BFGS-B, this script by Adam. The number to reach is a mean test accuracy of
0.93. The short version has 4 layers and one seed, and the number 0.80.

Perez-Salinas et al., Data re-uploading for a universal quantum classifier, Quantum 4,
226 (2020), arXiv:1907.02085.
"""

import sys
import time

import numpy as np
import pennylane as qml

from demos.results import report
from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.layers import Block, Encoding, Features, Weights

N_TRAIN, N_TEST = 200, 4000
SETTINGS = {"learning_rate": 0.05, "epochs": 200, "batch_size": 20, "loss": "mse"}


class Upload(Encoding):
    """A rotation of one qubit by angles that depend on two features."""

    def n_wires(self, input_dim):
        """One."""
        return 1

    def blocks(self, wires):
        """Three angles with their own shift; the first two have a feature."""
        return [Block(uploaded, wires, [Features(0, (2,)), Weights(0, (5,))])]

    def initial(self, n_weights, rng):
        """Angles and factors anywhere on the circle, as in the paper."""
        return rng.uniform(-np.pi, np.pi, n_weights)


def uploaded(x, w, wires):
    """The gates of an upload."""
    qml.RZ(w[0] + w[3] * x[..., 0], wires)
    qml.RY(w[1] + w[4] * x[..., 1], wires)
    qml.RZ(w[2], wires)


def points(rng, n):
    """Points of the square, and 1 inside the circle, -1 outside."""
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.where(np.linalg.norm(X, axis=1) < np.sqrt(2 / np.pi), 1.0, -1.0)


def accuracy(n_layers, seed):
    """Test accuracy after training, and the seconds that it took."""
    rng = np.random.default_rng(seed)
    train, (X_test, y_test) = points(rng, N_TRAIN), points(rng, N_TEST)
    layers = [Upload() for _ in range(n_layers)]
    model = QuantumModel(2, 1, layers=layers, n_qubits=1, seed=seed)
    trainer = QuantumTrainer(TrainingConfig(**SETTINGS, seed=seed))
    start = time.perf_counter()
    trainer.train(model, train)
    seconds = time.perf_counter() - start
    return float(np.mean(np.sign(model(X_test)[:, 0]) == y_test)), seconds


def run(short):
    """Train from every seed."""
    n_layers, seeds, wanted = (4, range(1), 0.80) if short else (10, range(5), 0.93)
    found = [accuracy(n_layers, seed) for seed in seeds]
    accuracies = [one for one, _ in found]
    return report.Report(
        "Circle, one qubit: test accuracy",
        f"{n_layers} layers, {N_TRAIN} points to train, {N_TEST} to test; Adam 0.05, "
        "200 epochs, batches of 20, fixed beforehand",
        [
            report.Row("qstore_pl", accuracies, float(np.mean([s for _, s in found]))),
            report.Row("always inside", [0.5], source="by construction"),
        ],
        [report.Claim("mean accuracy", float(np.mean(accuracies)), wanted)],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
