"""Nearest neighbours among quantum states, beside those among the features.

``python -m demos.results.nearest_states`` writes the embeddings of the training samples
to LanceDB, and gives each test sample the label of most of its 5 nearest states: Iris,
and the digits 0 to 3 in four principal components. The states are those of the angle
encoding alone, and those of a model before it is measured, which encodes the features
three times and was trained on the same samples. (With a single encoding training would
change nothing, since gates that all samples share leave every fidelity as it is.) The
local embedding of the trained model has the expectation values of single qubits. Beside
them is KNeighborsClassifier(5) of scikit-learn on the same features.

The number to reach is its mean test accuracy over 20 splits, less 0.02, for the trained
model. The short version has 2 splits, and allows 0.05.
"""

import sys
import tempfile
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits, load_iris
from sklearn.neighbors import KNeighborsClassifier

from demos.results import classifier, report
from qstore_pl import (
    AngleEncoding,
    EmbeddingIndex,
    QuantumLayer,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    UnseenWarning,
)

K = 5
MODEL = (
    "angle encoding and a layer, three times, trained scale and bias,\ncross entropy, "
    "Adam 0.05, 60 epochs, batches of 32"
)
TRAINED, PLAIN = "trained model", "scikit-learn"


def iris():
    """150 flowers, 4 features, 3 classes."""
    X, y = load_iris(return_X_y=True)
    return X, y, None


def digits():
    """720 pictures of 0, 1, 2 and 3, of which 4 principal components are taken."""
    X, y = load_digits(n_class=4, return_X_y=True)
    return X, y, 4


def models(X, y, seed):
    """The circuits whose states are compared, and the kinds of embedding."""
    with warnings.catch_warnings():  # what is measured does not matter here
        warnings.simplefilter("ignore", UnseenWarning)
        angle = QuantumModel(X.shape[1], 1, layers=[AngleEncoding()])
    layers = [
        part for _ in range(3) for part in (AngleEncoding(), QuantumLayer(n_layers=1))
    ]
    trained = QuantumModel(
        X.shape[1], len(np.unique(y)), layers=layers, readout="affine", seed=seed
    )
    config = TrainingConfig(**classifier.SETTINGS, seed=seed)
    QuantumTrainer(config).train(trained, (X, y))
    return {
        "angle encoding": (angle, "pauli"),
        TRAINED: (trained, "pauli"),
        "trained, local": (trained, "local"),
    }


def quantum(model, kind, X_train, X_test, y_train, y_test):
    """Test accuracy by the nearest states, and where at least 4 of 5 agree."""
    ids = [f"train{i:04d}" for i in range(len(X_train))]
    metadata = [{"label": int(label)} for label in y_train]
    with tempfile.TemporaryDirectory() as directory:
        index = EmbeddingIndex.open(model, directory, kind=kind)
        with index.store:
            index.add(ids, X_train, metadata)
            found = index.classify(X_test, k=K, min_agreement=0.0)
    right = found.labels == y_test
    sure = found.agreement >= 0.8
    return float(np.mean(right)), float(np.mean(right[sure])), float(np.mean(sure))


def run(short):
    """Compare on both sets of data."""
    splits, allowed = (range(2), 0.05) if short else (range(20), 0.02)
    rows, claims = [], []
    for data in (iris, digits):
        X, y, n_components = data()
        found = {}
        start = time.perf_counter()
        for seed in splits:
            parts = classifier.split(X, y, seed, n_components=n_components)
            X_train, X_test, y_train, y_test = parts
            plain = KNeighborsClassifier(K).fit(X_train, y_train)
            found.setdefault(PLAIN, []).append(plain.score(X_test, y_test))
            for name, (model, kind) in models(X_train, y_train, seed).items():
                accuracy, sure, share = quantum(model, kind, *parts)
                found.setdefault(name, []).append(accuracy)
                if name == TRAINED:
                    found.setdefault("  where 4 of 5 agree", []).append(sure)
                    found.setdefault("  share of these", []).append(share)
        seconds = (time.perf_counter() - start) / len(splits)
        rows += [
            report.Row(
                f"{data.__name__}: {name}", values, seconds if name == TRAINED else None
            )
            for name, values in found.items()
        ]
        claims.append(
            report.Claim(
                f"{data.__name__}, mean accuracy, scikit-learn's less {allowed}",
                float(np.mean(found[TRAINED])),
                float(np.mean(found[PLAIN])) - allowed,
            )
        )
    return report.Report(
        "Iris and digits 0 to 3: test accuracy of the 5 nearest neighbours",
        f"{len(splits)} splits, {classifier.SPLITS}; trained: {MODEL}",
        rows,
        claims,
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
