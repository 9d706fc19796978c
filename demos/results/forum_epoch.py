"""An epoch of 16,384 samples in batches of 64, beside PennyLane's default.qubit.

``python -m demos.results.forum_epoch`` times what a user asked about in PennyLane's
forum (thread 1131: 2 qubits, 12 weights, 100 s an epoch). Both programs have the same
circuit, first weights, batches and gradient descent; the losses of the epoch must agree
before the times count. The number to reach: an epoch takes at most 1/20 of the same
epoch with default.qubit, backpropagation and broadcast batches, in the same run. The
short version has 1,024 samples, and the same number.
"""

import sys
import time

import numpy as np
import pennylane as qml
from pennylane import numpy as pnp

from demos.results import report
from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig

BATCH, LEARNING_RATE = 64, 0.1
SAME = 1e-9


def problem(n_samples):
    """Points and targets, and the model with its first weights."""
    X = np.random.default_rng(0).uniform(-1, 1, (n_samples, 2))
    return X, np.tanh(X[:, 0] - X[:, 1]), QuantumModel(2, 1, n_layers=2, seed=0)


def ours(n_samples):
    """Seconds and loss of an epoch of the trainer."""
    X, y, model = problem(n_samples)
    config = TrainingConfig(
        epochs=1,
        batch_size=BATCH,
        optimizer="sgd",
        learning_rate=LEARNING_RATE,
        shuffle=False,
    )
    trainer = QuantumTrainer(config)
    start = time.perf_counter()
    history = trainer.train(model, (X, y))
    return time.perf_counter() - start, history["losses"][0]


@qml.qnode(qml.device("default.qubit", wires=2), diff_method="backprop")
def circuit(inputs, weights):
    """The gates of the model, with weights of shape (2, 2, 3)."""
    qml.AngleEmbedding(inputs, wires=[0, 1], rotation="Y")
    for layer in weights:
        for wire, (x, y, z) in enumerate(layer):
            qml.RX(x, wire)
            qml.RY(y, wire)
            qml.RZ(z, wire)
        qml.CNOT([0, 1])
    return qml.expval(qml.Z(0))


def default_qubit(n_samples):
    """The same of a loop over batches, with PennyLane's optimizer."""
    X, y, model = problem(n_samples)
    weights = pnp.array(model.weights.reshape(2, 2, 3), requires_grad=True)
    optimizer = qml.GradientDescentOptimizer(LEARNING_RATE)
    losses = []
    start = time.perf_counter()
    for first in range(0, n_samples, BATCH):
        inputs, targets = X[first : first + BATCH], y[first : first + BATCH]
        weights, loss = optimizer.step_and_cost(
            lambda w, x=inputs, t=targets: pnp.mean((circuit(x, w) - t) ** 2), weights
        )
        losses.append(loss)
    return time.perf_counter() - start, float(np.mean(losses))


def run(short):
    """Both in turn; the quickest of three runs counts."""
    n_samples, repeats = (1024, 1) if short else (16_384, 3)
    ours(BATCH), default_qubit(BATCH)  # loads kernels and modules
    found = [(ours(n_samples), default_qubit(n_samples)) for _ in range(repeats)]
    mine, theirs = (np.array(one) for one in zip(*found, strict=True))
    quickest, reference = mine[:, 0].min(), theirs[:, 0].min()
    return report.Report(
        f"An epoch of {n_samples:,} samples, 2 qubits, 12 weights: seconds",
        f"batches of {BATCH} in order, mean square error, step {LEARNING_RATE}; "
        f"quickest of {repeats}",
        [
            report.Row("qstore_pl", mine[:, 0], quickest),
            report.Row("default.qubit, backprop", theirs[:, 0], reference),
            report.Row("the user's epoch", [100.0], 100, "discuss.pennylane.ai, 1131"),
        ],
        [
            report.Claim(
                "difference of the losses of the epoch",
                float(np.max(np.abs(mine[:, 1] - theirs[:, 1]))),
                SAME,
                at_most=True,
            ),
            report.Claim(
                "share of default.qubit's time",
                float(quickest / reference),
                1 / 20,
                at_most=True,
            ),
        ],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
