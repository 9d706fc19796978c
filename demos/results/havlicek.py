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
from qstore_pl import QuantumModel
from qstore_pl.kernels import FidelityKernel

GAP, N_TRAIN, N_TEST = 0.3, 20, 10  # points of each class


def data(seed):
    """Points to train on with their classes, and points to test."""
    rng = np.random.default_rng(seed)
    turn = unitary_group.rvs(4, random_state=rng)
    parity = turn.conj().T @ np.diag([1, -1, -1, 1]) @ turn
    X = rng.uniform(0, 2 * np.pi, (1000, 2))
    states = QuantumModel(2, 1, encoding="zz_feature_map", n_layers=1).states(X)
    return X, states, parity


def run(short):
    """Train with every unitary."""


if __name__ == "__main__":
    sys.exit(report.main(run))
