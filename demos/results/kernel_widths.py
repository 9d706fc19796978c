"""Fidelity, projected and Hamming kernels on 2 to 10 qubits: a table, no claim.

``python -m demos.results.kernel_widths`` takes the first 2, 4, 6, 8 or 10 principal
components of the breast cancer data, 60 samples to train on and 60 to test, three
times. The circuit is the ZZ feature map. For each kernel the factor of the features and
the constant C are chosen by cross-validation on the training part. A Gaussian kernel
stands beside them. The short version has 2 and 4 qubits and one draw.

Hamming kernel: arXiv:2605.31449. Projected kernel: Huang et al., Power of data in
quantum machine learning, Nature Communications 12, 2631 (2021), arXiv:2011.01938.
"""

import sys
import time

from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from demos.results import report
from qstore_pl.kernels import FidelityKernel, HammingKernel, ProjectedKernel

KERNELS = {
    "fidelity": FidelityKernel,
    "projected": ProjectedKernel,
    "Hamming": HammingKernel,
}
FACTORS, CONSTANTS = (0.05, 0.2, 1.0), (0.1, 1.0, 10.0, 100.0)
N = 60  # samples to train on, and as many to test


def data(n_qubits, seed):
    """Training and test part, scaled and projected by the training part."""
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=N, test_size=N, stratify=y, random_state=seed
    )
    scaler = make_pipeline(
        StandardScaler(), PCA(n_qubits, random_state=0), StandardScaler()
    ).fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def chosen(matrix, y):
    """A support vector machine with the best C of a kernel matrix."""
    search = GridSearchCV(SVC(kernel="precomputed"), {"C": CONSTANTS}, cv=3)
    return search.fit(matrix, y)


def accuracy(kind, X_train, X_test, y_train, y_test):
    """Test accuracy with the factor that is best on the training part."""
    found = []
    for factor in FACTORS:
        kernel = kind(X_train.shape[1], encoding="zz_feature_map", scale=factor)
        search = chosen(kernel(X_train), y_train)
        found.append((search.best_score_, factor, kernel, search))
    _, _, kernel, search = max(found, key=lambda one: one[:2])
    return search.score(kernel(X_test, X_train), y_test)


def gaussian(X_train, X_test, y_train, y_test):
    """Test accuracy of a Gaussian kernel, chosen in the same way."""
    grid = {"C": CONSTANTS, "gamma": (0.001, 0.01, 0.1, 1.0)}
    return GridSearchCV(SVC(), grid, cv=3).fit(X_train, y_train).score(X_test, y_test)


def run(short):
    """Every kernel on every width."""
    widths, seeds = ((2, 4), range(1)) if short else ((2, 4, 6, 8, 10), range(3))
    rows = []
    for n in widths:
        parts = [data(n, seed) for seed in seeds]
        for name, kind in KERNELS.items():
            start = time.perf_counter()
            found = [accuracy(kind, *part) for part in parts]
            seconds = (time.perf_counter() - start) / len(parts)
            rows.append(report.Row(f"{n:2} qubits, {name}", found, seconds))
        found = [gaussian(*part) for part in parts]
        rows.append(report.Row(f"{n:2} components, Gaussian", found))
    return report.Report(
        "Kernels of the ZZ feature map, breast cancer: test accuracy",
        f"{N} samples to train on, {N} to test; factor from {FACTORS} and C from "
        f"{CONSTANTS}, chosen on the training part; no number is claimed",
        rows,
        [],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
