"""Data that the ZZ kernel of two qubits separates, and a Gaussian kernel does not.

``python -m demos.results.havlicek`` makes the data of Havlicek et al.: points of the
square [0, 2 pi)^2, whose class is the sign of an observable in the state of the ZZ
feature map. The observable is the parity Z Z, turned by a random unitary. Points at
which it is within 0.3 of zero are left out. A support vector machine with the fidelity
kernel learns from 20 points of each class and is tested on 10 more, with 5 unitaries.
The number to reach is a mean test accuracy of 1.00. The short version has two
unitaries, and the same number.

Havlicek et al., Supervised learning with quantum-enhanced feature spaces, Nature 567,
209 (2019), arXiv:1804.11326. The set-up is that of qiskit-machine-learning's
``ad_hoc_data`` and of its tutorial 03.
"""

import sys
import time

import numpy as np
from scipy.stats import unitary_group
from sklearn.svm import SVC

from demos.results import report
from qstore_pl import QuantumModel, ZZEncoding
from qstore_pl.kernels import FidelityKernel

GAP, N_TRAIN, N_TEST = 0.3, 20, 10  # points of each class
HARD = 1e6  # no point of the training data may be on the wrong side


def data(seed):
    """Points with their classes, to train on and to test."""
    rng = np.random.default_rng(seed)
    turn = unitary_group.rvs(4, random_state=rng)
    parity = turn.conj().T @ np.diag([1, -1, -1, 1]) @ turn
    X = rng.uniform(0, 2 * np.pi, (2000, 2))
    states = QuantumModel(2, 1, layers=[ZZEncoding()]).states(X)
    values = np.einsum("ni,ij,nj->n", states.conj(), parity, states).real
    n = N_TRAIN + N_TEST
    classes = [X[values > GAP][:n], X[values < -GAP][:n]]
    y_train, y_test = np.repeat([1, -1], N_TRAIN), np.repeat([1, -1], N_TEST)
    return (
        np.concatenate([points[:N_TRAIN] for points in classes]),
        np.concatenate([points[N_TRAIN:] for points in classes]),
        y_train,
        y_test,
    )


def run(short):
    """Train with every unitary."""
    seeds = range(2) if short else range(5)
    kernel = FidelityKernel(2, encoding="zz_feature_map")
    kernel(np.zeros((1, 2)))  # loads the compiled circuit
    ours, gaussian, seconds = [], [], []
    for seed in seeds:
        X_train, X_test, y_train, y_test = data(seed)
        start = time.perf_counter()
        ours.append(
            SVC(kernel=kernel, C=HARD).fit(X_train, y_train).score(X_test, y_test)
        )
        seconds.append(time.perf_counter() - start)
        gaussian.append(SVC(C=HARD).fit(X_train, y_train).score(X_test, y_test))
    return report.Report(
        "Havlicek's data, 2 qubits: test accuracy",
        f"gap {GAP}, {N_TRAIN} points of each class to train on, {N_TEST} to test, "
        "hard margin as in the paper",
        [
            report.Row("ZZ kernel", ours, float(np.mean(seconds))),
            report.Row("Gaussian kernel", gaussian),
            report.Row(
                "ZZ kernel of the tutorial", [1.0], source="qiskit-machine-learning, 03"
            ),
        ],
        [report.Claim("mean accuracy", float(np.mean(ours)), 1.0)],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
