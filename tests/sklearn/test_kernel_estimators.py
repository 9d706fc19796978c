"""Support vector machines over quantum kernels, and projected features."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_circles, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from qstore_pl import AmplitudeEncoding, AngleEncoding, QuantumLayer
from qstore_pl.kernels import FidelityKernel, HammingKernel, ProjectedKernel
from qstore_pl.sklearn import (
    QuantumFeatureMap,
    QuantumKernelClassifier,
    QuantumKernelRegressor,
)
from qstore_pl.sklearn.circuits import kernel_layers_of, kernel_qubits_of

X, y = make_moons(60, noise=0.15, random_state=0)
NAMES = np.array(["left", "right"])[y]
RNG = np.random.default_rng(0)
FRESH = RNG.uniform(-1, 2, (20, 2))
SEED = int(np.random.RandomState(3).randint(2**31 - 1))
BITS = np.eye(4)[:, :3]


def kernel_of(kind, n_layers=2, n_qubits=8, **options):
    """The kernel of the same circuit, made by hand."""
    upload = AngleEncoding(features=[wire % 2 for wire in range(n_qubits)])
    layers = [upload]
    for _ in range(n_layers - 1):
        again = AngleEncoding(features=[wire % 2 for wire in range(n_qubits)])
        layers += [QuantumLayer(n_layers=1), again]
    return kind(2, layers=layers, n_qubits=n_qubits, seed=SEED, **options)


def test_layers_of_feature_maps():
    assert kernel_qubits_of("angle", 3, None) == 8
    assert kernel_qubits_of("angle", 30, 5) == 5
    assert kernel_qubits_of("amplitude", 30, None) == 5
    kinds = [type(layer) for layer in kernel_layers_of("angle", 9, 4, None, "full")]
    assert kinds == [AngleEncoding, QuantumLayer] * 2 + [AngleEncoding]
    assert len(kernel_layers_of("amplitude", 5, 3, None, "full")) == 1


@pytest.mark.parametrize(
    ("word", "kind"), [("fidelity", FidelityKernel), ("projected", ProjectedKernel)]
)
def test_it_is_a_machine_over_a_kernel_matrix(word, kind):
    scaler = StandardScaler().fit(X)
    kernel = kernel_of(kind)
    inputs, fresh = scaler.transform(X), scaler.transform(FRESH)
    machine = SVC(kernel="precomputed", tol=1e-9).fit(kernel(inputs), NAMES)
    wanted = machine.decision_function(kernel(fresh, inputs))
    classifier = QuantumKernelClassifier(word, random_state=3).fit(X, NAMES)
    assert_allclose(classifier.decision_function(FRESH), wanted, atol=1e-8)
    assert (classifier.predict(FRESH) == np.where(wanted > 0, "right", "left")).all()
    values = 50.0 + 3.0 * X[:, 0]
    scaled = (values - values.mean()) / values.std()
    machine = SVR(kernel="precomputed", tol=1e-9).fit(kernel(inputs), scaled)
    wanted = machine.predict(kernel(fresh, inputs)) * values.std() + values.mean()
    regressor = QuantumKernelRegressor(word, random_state=3).fit(X, values)
    assert_allclose(regressor.predict(FRESH), wanted, rtol=1e-8)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"kernel": "hamming", "n_qubits": 2, "n_layers": 1}, 0.8),
        ({"kernel": "projected", "encoding": "zz_feature_map", "scale": 0.5}, 0.7),
        ({"encoding": "amplitude"}, 0.55),
        ({"layers": [AngleEncoding("YZ"), QuantumLayer(), AngleEncoding("YZ")]}, 0.8),
        ({"shots": 2000, "n_qubits": 2}, 0.75),
        ({"backend": "mock_noisy", "n_qubits": 3}, 0.8),
        ({"kernel": FidelityKernel(2, encoding="angle"), "standardize": True}, 0.8),
        ({"class_weight": "balanced"}, 0.9),
    ],
    ids=str,
)
def test_options(options, least):
    classifier = QuantumKernelClassifier(**options, random_state=0).fit(X, NAMES)
    assert classifier.score(X, NAMES) > least


def test_a_kernel_object_takes_samples_as_they_are():
    kernel = HammingKernel(2, encoding="angle", scale=0.8)
    classifier = QuantumKernelClassifier(kernel).fit(X, y)
    wanted = SVC(kernel="precomputed", tol=1e-9).fit(kernel(X), y)
    assert_allclose(
        classifier.decision_function(X), wanted.decision_function(kernel(X)), atol=1e-8
    )
    assert classifier.kernel is kernel
    assert classifier.kernel_ is not kernel


def test_samples_of_weight_zero_are_left_out():
    weights = RNG.integers(0, 3, 60)
    repeated = np.repeat(np.arange(60), weights)
    for estimator in (QuantumKernelClassifier(), QuantumKernelRegressor()):
        estimator.set_params(random_state=0)
        first = clone(estimator).fit(X, y, sample_weight=weights).predict(FRESH)
        second = estimator.fit(X[repeated], y[repeated]).predict(FRESH)
        assert_allclose(first, second, rtol=1e-6)


def test_it_classifies_as_well_as_other_machines():
    for data, others in ((make_moons(200, noise=0.15, random_state=0), 0.95),
                         (load_iris(return_X_y=True), 0.95)):  # fmt: skip
        ours = cross_val_score(QuantumKernelClassifier(random_state=0), *data, cv=5)
        theirs = cross_val_score(make_pipeline(StandardScaler(), SVC()), *data, cv=5)
        assert theirs.mean() > others - 0.01
        assert ours.mean() > theirs.mean() - 0.02


def test_projected_features():
    feature_map = QuantumFeatureMap(n_layers=1, n_qubits=3, scale=0.5)
    found = feature_map.fit_transform(X)
    scaled = 0.5 * StandardScaler().fit_transform(X)[:, [0, 1, 0]]
    # RY turns |0> in the plane of X and Z
    wanted = np.hstack([np.sin(scaled), np.zeros((60, 3)), np.cos(scaled)])
    assert_allclose(found, wanted, atol=1e-14)
    names = feature_map.get_feature_names_out()
    assert names.tolist() == ["X0", "X1", "X2", "Y0", "Y1", "Y2", "Z0", "Z1", "Z2"]
    assert feature_map.get_feature_names_out(["a", "b"]).tolist() == names.tolist()
    with pytest.raises(ValueError, match="should have length equal to number of feat"):
        feature_map.get_feature_names_out(["a"])
    wanted = kernel_of(ProjectedKernel).features(StandardScaler().fit_transform(X))
    assert_allclose(QuantumFeatureMap(random_state=3).fit_transform(X), wanted)


def test_projected_features_in_a_pipeline():
    pipeline = make_pipeline(QuantumFeatureMap(random_state=0), LogisticRegression())
    grid = {"quantumfeaturemap__scale": [0.01, 1.0]}
    circles = make_circles(60, noise=0.1, factor=0.4, random_state=0)
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(*circles)
    assert search.best_params_ == {"quantumfeaturemap__scale": 1.0}
    assert search.score(*circles) > 0.85


def test_calibrated_probabilities():
    classifier = QuantumKernelClassifier(random_state=0)
    calibrated = CalibratedClassifierCV(classifier, cv=3).fit(X, NAMES)
    found = calibrated.predict_proba(FRESH)
    assert_allclose(found.sum(axis=1), 1.0)
    assert calibrated.score(X, NAMES) > 0.9


def test_copies_predict_the_same():
    for estimator in (QuantumKernelClassifier(), QuantumKernelRegressor("projected")):
        estimator.fit(X, y)
        twin = pickle.loads(pickle.dumps(estimator))
        assert np.array_equal(twin.predict(FRESH), estimator.predict(FRESH))
        with pytest.raises(NotFittedError):
            clone(estimator).predict(FRESH)


@pytest.mark.parametrize(
    ("estimator", "data", "error", "words"),
    [
        (QuantumKernelClassifier("rbf"), (X, y), ValueError, "`kernel` must be one of"),
        (QuantumKernelClassifier(C=0.0), (X, y), ValueError, "`C` must be > 0"),
        (QuantumKernelRegressor(epsilon=-1), (X, y), ValueError, "`epsilon` must be >"),
        (QuantumKernelClassifier(shots=0), (X, y), ValueError, "`shots` must be >= 1"),
        (
            QuantumKernelClassifier(FidelityKernel(2), n_qubits=3),
            (X, y),
            ValueError,
            "n_qubits must be left at None where the kernel is an object",
        ),
        (
            QuantumKernelClassifier(encoding="zz_feature_map", n_layers=3),
            (X, y),
            ValueError,
            'n_layers must be left at None unless encoding is "angle"',
        ),
        (
            QuantumKernelClassifier(layers=[AngleEncoding()], entanglement="full"),
            (X, y),
            ValueError,
            "entanglement must be left at 'circular' where layers are given",
        ),
        (QuantumKernelClassifier(), (X, np.ones(60, int)), ValueError, "one class"),
        (QuantumKernelClassifier(), (X, y, y), ValueError, "one class: \\[1\\]"),
        (
            QuantumKernelClassifier(encoding="amplitude"),
            (BITS, [0, 1, 0, 1]),
            ValueError,
            "zero vector .* row 3",
        ),
        (
            QuantumKernelClassifier(layers=[AmplitudeEncoding()], n_qubits=2, scale=2),
            (X, y),
            ValueError,
            '`scale` must be "auto" for amplitudes',
        ),
        (QuantumKernelClassifier(encoding="basis"), (X, y), ValueError, "bits 0 and 1"),
        (QuantumKernelClassifier(FidelityKernel(3)), (X, y), ValueError, "input_dim=3"),
    ],
)
def test_errors(estimator, data, error, words):
    with pytest.raises(error, match=words):
        estimator.fit(*data)
