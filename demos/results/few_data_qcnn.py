"""A quantum convolutional network learns two digits from 40 pictures.

``python -m demos.results.few_data_qcnn`` tells the zeros from the ones of scikit-learn's
8x8 digits, from 40 pictures drawn at random, ten times. The 64 pixels are the amplitudes of 6
qubits. Two convolutions, any unitary on pairs of neighbours with shared weights, are each
followed by a pooling that measures every second qubit; one more unitary acts on what is
left: 51 weights. The output is the probability of one qubit, and the cost one less the
probability of the right class. The number to reach is a mean test accuracy of 0.98, on
100 pictures of each run that were not trained on. The short version has 2 runs and 40
epochs, and the number 0.90.

After Caro et al., Generalization in quantum machine learning from few training data,
Nature Communications 13, 4919 (2022), arXiv:2111.05292, and PennyLane's demo of it.
"""

import sys
import time

import numpy as np
from sklearn.datasets import load_digits

from demos.results import report
from qstore_pl import (
    AmplitudeEncoding,
    Loss,
    QuantumConvolutionalLayer,
    QuantumModel,
    QuantumPoolingLayer,
    QuantumTrainer,
    TrainingConfig,
)

N_TRAIN, N_TEST = 40, 100


def digits(rng):
    """Pictures and classes to train on and to test, drawn at random."""
    X, y = load_digits(n_class=2, return_X_y=True)
    chosen = rng.permutation(len(X))
    train, test = chosen[:N_TRAIN], chosen[N_TRAIN : N_TRAIN + N_TEST]
    return X[train], y[train], X[test], y[test]


def network(rng):
    """The circuit, with first weights from a normal distribution as in the demo."""
    layers = [
        AmplitudeEncoding(),
        QuantumConvolutionalLayer(kernel="su4"),
        QuantumPoolingLayer(),
        QuantumConvolutionalLayer(kernel="su4"),
        QuantumPoolingLayer(),
        QuantumConvolutionalLayer(kernel="su4"),
    ]
    model = QuantumModel(64, 2, layers=layers, readout="probs")
    model.parameters[:] = rng.normal(size=model.parameters.size)
    return model


def wrong(probabilities, labels):
    """Mean probability of the wrong class."""
    return 1 - probabilities[np.arange(len(labels)), labels].mean()


def wrong_gradient(probabilities, labels):
    """Its derivative."""
    gradient = np.zeros_like(probabilities)
    gradient[np.arange(len(labels)), labels] = -1 / len(labels)
    return gradient


def accuracy(seed, epochs):
    """Test accuracy after training, and the seconds that it took."""
    rng = np.random.default_rng(seed)
    X_train, y_train, X_test, y_test = digits(rng)
    model = network(rng)
    config = TrainingConfig(
        epochs=epochs,
        batch_size=N_TRAIN,
        loss=Loss(wrong, wrong_gradient),
        learning_rate=0.1,
        schedule="cosine",
        schedule_final=0.095,
        seed=seed,
    )
    start = time.perf_counter()
    QuantumTrainer(config).train(model, (X_train, y_train))
    seconds = time.perf_counter() - start
    return float(np.mean(model(X_test).argmax(axis=1) == y_test)), seconds


def run(short):
    """Train from every seed."""
    seeds, epochs, wanted = (range(2), 40, 0.90) if short else (range(10), 100, 0.98)
    found = [accuracy(seed, epochs) for seed in seeds]
    accuracies = [one for one, _ in found]
    return report.Report(
        "Digits 0 and 1, 40 pictures to train: test accuracy",
        f"6 qubits, 51 weights, {epochs} steps of Adam on the whole batch, step size "
        "0.1 falling to 0.095, as in the demo",
        [report.Row("qstore_pl", accuracies, float(np.mean([s for _, s in found])))],
        [report.Claim("mean accuracy", float(np.mean(accuracies)), wanted)],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
