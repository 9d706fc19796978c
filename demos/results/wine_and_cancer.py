"""Wine and breast cancer in four principal components, beside logistic regression.

``python -m demos.results.wine_and_cancer`` takes 20 splits of each. The number to reach
is the mean test accuracy of logistic regression on the same four components, less 0.02.
The short version takes 2 splits, and allows 0.05.
"""

import sys

import numpy as np
from sklearn.datasets import load_breast_cancer, load_wine

from demos.results import classifier, report

DATA = {"wine": load_wine, "breast cancer": load_breast_cancer}


def run(short):
    """Train and compare on both sets of data."""
    splits, allowed = (range(2), 0.05) if short else (range(20), 0.02)
    rows, claims = [], []
    for name, load in DATA.items():
        X, y = load(return_X_y=True)
        ours, theirs, seconds = classifier.compare(X, y, splits, n_components=4)
        rows += [
            report.Row(f"{name}: qstore_pl", ours, float(np.mean(seconds))),
            report.Row(f"{name}: logistic regression", theirs),
        ]
        claims.append(
            report.Claim(
                f"{name}, mean accuracy, logistic regression's less {allowed}",
                float(np.mean(ours)),
                float(np.mean(theirs)) - allowed,
            )
        )
    return report.Report(
        "Wine (3 classes) and breast cancer (2 classes), PCA to 4: test accuracy",
        f"{len(splits)} splits, {classifier.SPLITS}; {classifier.MODEL}",
        rows,
        claims,
    )


if __name__ == "__main__":
    sys.exit(report.main(run))
