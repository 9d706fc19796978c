"""Iris by the protocol of the benchmark: as good as logistic regression.

20 stratified splits, 80 to 20 percent, `random_state` 0 to 19, features scaled by the
training part. The model and its settings are those of ``qstore quickstart``, which
makes this split from its seed. Both means are printed, whether the test passes or not.
"""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qstore_pl import quickstart

SPLITS = range(20)


def logistic_regression(seed):
    """Test accuracy on one split."""
    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, stratify=y, random_state=seed
    )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return classifier.fit(X_train, y_train).score(X_test, y_test)


def test_as_good_as_logistic_regression_on_20_splits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # it writes a checkpoint and a plot
    for name in ("_draw", "_index", "_search"):  # what follows the training
        monkeypatch.setattr(quickstart, name, lambda *_: None)
    ours = [quickstart.quickstart(seed=seed).accuracy for seed in SPLITS]
    theirs = [logistic_regression(seed) for seed in SPLITS]
    capsys.readouterr()
    with capsys.disabled():
        print(
            f"\nIris, {len(SPLITS)} splits, mean test accuracy: qstore_pl "
            f"{np.mean(ours):.4f} (lowest {min(ours):.4f}), logistic regression "
            f"{np.mean(theirs):.4f} (lowest {min(theirs):.4f})"
        )
    assert np.mean(ours) >= np.mean(theirs) - 0.01
