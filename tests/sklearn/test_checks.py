"""Every estimator passes scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import check_estimator

from qstore_pl.sklearn import (
    QuantumAutoencoderTransformer,
    QuantumClassifier,
    QuantumFeatureMap,
    QuantumKernelClassifier,
    QuantumKernelRegressor,
    QuantumRegressor,
)

# What this check needs is switched off.
SKIPPED = {
    "check_array_api_input": "SCIPY_ARRAY_API",
}
NO_STATE = {
    "check_estimators_dtypes": "it has a row of zeros, which is no vector of amplitudes"
}


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (QuantumClassifier(epochs=30, learning_rate=0.1), {}),
        (QuantumRegressor(epochs=60), {}),
        (QuantumAutoencoderTransformer(epochs=10), NO_STATE),
        (QuantumFeatureMap(), {}),
        (QuantumKernelClassifier(), {}),
        (QuantumKernelClassifier("projected"), {}),
        (QuantumKernelRegressor(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_checks_of_scikit_learn(estimator, expected):
    done = check_estimator(
        estimator, expected_failed_checks=expected, on_skip=None, on_fail=None
    )
    found = {row["check_name"]: row for row in done}
    failed = {name for name in found if found[name]["status"] == "failed"}
    assert failed == set(), [found[name]["exception"] for name in failed]
    assert {n for n in found if found[n]["status"] == "xfail"} == set(expected)
    for name, row in found.items():
        if row["status"] == "skipped":
            assert SKIPPED[name] in str(row["exception"])
    assert sum(row["status"] == "passed" for row in done) > 40
