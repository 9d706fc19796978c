"""Breast cancer by a kernel that is trained, in nested cross-validation.

``python -m demos.results.trained_kernel`` splits the 569 samples into five folds, four
to train on and one to test, in turn. On the four alone are fitted: the scaler, the
eight principal components, the weights of the kernel's circuit, by kernel-target
alignment, and the support vector machine. The factor of the features in the circuit and
the constant C are chosen by three inner folds of the four, which fit all of these anew.
The classical kernels have the same folds and a choice of their own. The number to reach
is a mean balanced accuracy of 0.96; arXiv:2604.18837 has 0.968 for its trained kernel.
Of that paper the abstract was read, so that its folds and its circuit are not
reproduced. The short version has one outer fold, two inner ones, four components and no
choice of the factor, and the number 0.90.

Hubregtsen et al., Training quantum embedding kernels on near-term quantum computers,
Physical Review A 106, 042431 (2022), arXiv:2105.02276.
"""

import itertools
import sys
import time

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.decomposition import PCA
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from demos.results import report
from qstore_pl import AngleEncoding, QuantumLayer
from qstore_pl.kernels import FidelityKernel, train_kernel

CONSTANTS = (0.1, 1.0, 10.0, 100.0)
GAMMAS = (0.001, 0.01, 0.1, 1.0)


def scaled(n_components):
    """Scaler and principal components, which a training part is fitted with."""
    if n_components is None:
        return StandardScaler()
    return make_pipeline(StandardScaler(), PCA(n_components, random_state=0))


def matrices(X, y, train, test, *, factor, n_components, epochs):
    """Kernel matrices of a training part and to a test part, trained on the first."""
    scaler = scaled(n_components).fit(X[train])
    X_train, X_test = scaler.transform(X[train]), scaler.transform(X[test])
    layers = [AngleEncoding(scale=factor), QuantumLayer(n_layers=1)]
    layers = [QuantumLayer(n_layers=1), *layers, AngleEncoding(scale=factor)]
    kernel = FidelityKernel(n_components, layers=layers, seed=0)
    train_kernel(
        kernel, X_train, y[train], epochs=epochs, batch_size=64, centered=True, seed=0
    )
    return kernel(X_train), kernel(X_test, X_train)


def score(of_train, of_test, y_train, y_test, constant):
    """Balanced accuracy with these kernel matrices."""
    classifier = SVC(kernel="precomputed", C=constant, class_weight="balanced")
    predicted = classifier.fit(of_train, y_train).predict(of_test)
    return balanced_accuracy_score(y_test, predicted)


def trained(X, y, train, test, inner, *, factors, **settings):
    """Balanced accuracy on an outer fold, with what the inner folds choose."""
    found = dict.fromkeys(itertools.product(factors, CONSTANTS), 0.0)
    for factor in factors:
        for fit, check in inner.split(X[train], y[train]):
            fit, check = train[fit], train[check]
            both = matrices(X, y, fit, check, factor=factor, **settings)
            for constant in CONSTANTS:
                found[factor, constant] += score(*both, y[fit], y[check], constant)
    factor, constant = max(found, key=found.get)
    both = matrices(X, y, train, test, factor=factor, **settings)
    return score(*both, y[train], y[test], constant)


def classical(X, y, train, test, inner, *, n_components, **grid):
    """The same of a classical kernel with its own grid."""
    classifier = make_pipeline(scaled(n_components), SVC(class_weight="balanced"))
    search = GridSearchCV(
        classifier,
        {"svc__C": CONSTANTS} | {f"svc__{key}": list(v) for key, v in grid.items()},
        cv=inner,
        scoring="balanced_accuracy",
    )
    return search.fit(X[train], y[train]).score(X[test], y[test])


def run(short):
    """Every outer fold with every kernel."""
    X, y = load_breast_cancer(return_X_y=True)
    outer = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    inner = StratifiedKFold(2 if short else 3, shuffle=True, random_state=1)
    n = 4 if short else 8
    factors, epochs, wanted = (
        ((0.3,), 3, 0.90) if short else ((0.1, 0.3, 0.6), 15, 0.96)
    )
    outer = outer[:1] if short else outer

    def each(one, **settings):
        return [one(X, y, *fold, inner, **settings) for fold in outer]

    start = time.perf_counter()
    ours = each(trained, factors=factors, n_components=n, epochs=epochs)
    seconds = (time.perf_counter() - start) / len(outer)
    rows = [report.Row(f"trained kernel, {n} qubits", ours, seconds)]
    for count, of in ((n, f"{n} components"), (None, "all 30 features")):
        gaussian = each(classical, n_components=count, kernel=["rbf"], gamma=GAMMAS)
        linear = each(classical, n_components=count, kernel=["linear"])
        rows.append(report.Row(f"Gaussian kernel, {of}", gaussian))
        rows.append(report.Row(f"linear kernel, {of}", linear))
    rows.append(report.Row("trained kernel of the paper", [0.968], source="2604.18837"))
    return report.Report(
        "Breast cancer: balanced accuracy",
        f"{len(outer)} of 5 outer folds, {inner.n_splits} inner ones; factor from "
        f"{factors}, C from {CONSTANTS};\ntrained by centered alignment in {epochs} "
        "epochs",
        rows,
        [report.Claim("mean balanced accuracy", float(np.mean(ours)), wanted)],
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
