"""Splits, a baseline and a trained model for the scripts with tables of data."""

import time

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig

SETTINGS = {
    "learning_rate": 0.05,
    "epochs": 60,
    "batch_size": 32,
    "loss": "cross_entropy",
}
MODEL = (
    "angle encoding on 4 qubits, 3 layers, trained scale and bias,\ncross entropy, "
    "Adam 0.05, 60 epochs, batches of 32: the settings of `qstore quickstart`"
)
SPLITS = (
    "stratified, 80 to 20 percent, random_state from 0; scaler and PCA fitted on the "
    "training part"
)


def split(X, y, seed, *, n_components=None):
    """Training and test part, scaled, with ``n_components`` reduced by PCA."""
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=seed
    )
    steps = [StandardScaler()]
    if n_components is not None:
        # The components have the variance of the data; a second scaler makes it 1.
        steps += [PCA(n_components, random_state=0), StandardScaler()]
    scaler = make_pipeline(*steps).fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def quantum(X_train, X_test, y_train, y_test, *, seed, n_layers=3):
    """Test accuracy of a trained model, and the seconds that training took."""
    n_classes = len(np.unique(y_train))
    model = QuantumModel(
        X_train.shape[1], n_classes, n_layers=n_layers, readout="affine", seed=seed
    )
    trainer = QuantumTrainer(TrainingConfig(**SETTINGS, seed=seed))
    start = time.perf_counter()
    trainer.train(model, (X_train, y_train))
    seconds = time.perf_counter() - start
    return float(np.mean(model.predict(X_test) == y_test)), seconds


def logistic(X_train, X_test, y_train, y_test):
    """Test accuracy of logistic regression on the same features."""
    classifier = LogisticRegression(max_iter=1000).fit(X_train, y_train)
    return float(classifier.score(X_test, y_test))


def compare(X, y, splits, *, n_components=None):
    """Accuracies of both on each split, and the seconds of each training.

    One training comes first and is not counted: it loads the compiled kernels.
    """
    quantum(*split(X, y, 0, n_components=n_components), seed=0)
    ours, theirs, seconds = [], [], []
    for seed in splits:
        parts = split(X, y, seed, n_components=n_components)
        accuracy, time_taken = quantum(*parts, seed=seed)
        ours.append(accuracy)
        seconds.append(time_taken)
        theirs.append(logistic(*parts))
    return ours, theirs, seconds
