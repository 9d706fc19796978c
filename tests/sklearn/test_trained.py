"""Classifier and regressor: what they train, and how they go on."""

import copy
import logging
import pickle

import joblib
import numpy as np
import pennylane as qml
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_iris, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from qstore_pl import (
    Adam,
    AmplitudeEncoding,
    AngleEncoding,
    QuantumClassifier,
    QuantumLayer,
    QuantumModel,
    QuantumRegressor,
    QuantumTrainer,
    TrainingConfig,
    ZZEncoding,
)
from qstore_pl.sklearn.circuits import (
    layers_of,
    n_layers_of,
    n_qubits_of,
    observables_of,
    uploads,
)
from qstore_pl.sklearn.scaling import Scaling

X, y = make_moons(80, noise=0.1, random_state=0)
NAMES = np.array(["left", "right"])[y]
RNG = np.random.default_rng(0)
WIDE = RNG.normal(5.0, 3.0, (40, 6))
VALUES = 100.0 + 20.0 * np.sin(WIDE[:, 0]) + WIDE[:, 1]
QUICK = {"epochs": 4, "random_state": 3}


@pytest.fixture(scope="module")
def moons():
    return QuantumClassifier(epochs=60, random_state=0).fit(X, NAMES)


# --- the circuit -------------------------------------------------------------------


def test_every_feature_is_uploaded_and_no_qubit_is_left_out():
    for n_features in range(1, 12):
        for n_qubits in range(1, 6):
            n_uploads = n_layers_of("angle", n_features, n_qubits, None, 2)
            assert n_uploads == max(2, -(-n_features // n_qubits))
            found = uploads(n_features, n_qubits, n_uploads)
            assert {len(upload) for upload in found} == {n_qubits}
            times = np.bincount(np.concatenate(found), minlength=n_features)
            assert times.min() >= 1
            assert times.max() - times.min() <= 1


@pytest.mark.parametrize(
    ("words", "n_qubits"),
    [
        (("angle", 1, 1, None), 2),
        (("angle", 3, 2, None), 3),
        (("angle", 64, 3, None), 4),
        (("angle", 64, 10, None), 4),
        (("angle", 2, 3, None), 3),
        (("angle", 2, 16, None), 5),
        (("angle", 9, 2, 7), 7),
        (("amplitude", 64, 2, None), 6),
        (("amplitude", 2, 3, None), 3),
        (("basis", 5, 2, None), 5),
        (("zz_feature_map", 6, 2, None), 6),
    ],
)
def test_number_of_qubits(words, n_qubits):
    assert n_qubits_of(*words) == n_qubits


def test_more_outputs_than_qubits():
    assert observables_of(4, 4) is None
    found = [tuple(word.wires) for word in observables_of(3, 7)]
    assert found == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    with pytest.raises(ValueError, match="n_qubits must be >= 4 for 8 outputs"):
        observables_of(3, 8)
    labels = RNG.integers(0, 6, 80)
    classifier = QuantumClassifier(**QUICK, n_qubits=3).fit(X, labels)
    model = classifier.model_
    device = qml.device("default.qubit", wires=3)
    outputs = model.readout.outputs(
        model.on(device).values(
            model.prepare(classifier.scaling_(X[:5])), model.weights
        ),
        model.parameters[model.n_weights :],
    )
    assert_allclose(classifier.decision_function(X[:5]), outputs, atol=1e-10)


def test_layers():
    found = layers_of("angle", 5, 4, None, "full")
    assert [type(layer) for layer in found] == [AngleEncoding, QuantumLayer] * 3
    assert found[2].features == (4, 0, 1, 2)
    assert found[1].n_layers == 1
    assert found[1].entanglement == "full"
    first, second = layers_of("zz_feature_map", 5, 5, 2, "linear")
    assert isinstance(first, ZZEncoding)
    assert second.n_layers == 2
    with pytest.raises(ValueError, match="n_layers must be >= 3, so that 4 qubits"):
        layers_of("angle", 9, 4, 2, "full")


@pytest.mark.parametrize(
    ("options", "standardised", "factor"),
    [
        ({"encoding": "angle"}, True, 0.5),
        ({"encoding": "zz_feature_map"}, True, 0.5),
        ({"encoding": "amplitude"}, False, 1.0),
        ({"encoding": "basis"}, False, 1.0),
        ({"encoding": "angle", "standardize": False}, False, 1.0),
        ({"encoding": "amplitude", "standardize": True}, True, 1.0),
        ({"encoding": "angle", "scale": 2}, True, 2.0),
        ({"encoding": "angle", "layers": [AngleEncoding()]}, True, 1.0),
        ({"encoding": "angle", "layers": [AmplitudeEncoding()]}, False, 1.0),
    ],
)
def test_scaling(options, standardised, factor):
    inputs = RNG.normal(3.0, 2.0, (20, 8))
    scaling = Scaling(8, **options)
    scaling.learn(inputs)
    wanted = inputs
    if standardised:
        wanted = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    assert_allclose(scaling(inputs), factor * wanted, rtol=1e-12)


# --- training ----------------------------------------------------------------------


def test_a_classifier_is_a_model_and_a_trainer():
    options = {"epochs": 3, "batch_size": 30, "learning_rate": 0.1}
    classifier = QuantumClassifier(n_layers=2, **options, random_state=7)
    classifier.fit(X, NAMES)
    seed = int(np.random.RandomState(7).randint(2**31 - 1))
    layers = [AngleEncoding(features=(0, 1)), QuantumLayer(n_layers=1)] * 1
    layers += [AngleEncoding(features=(0, 1)), QuantumLayer(n_layers=1)]
    model = QuantumModel(2, 2, layers=layers, readout="affine", seed=seed)
    config = TrainingConfig(**options, loss="cross_entropy", seed=seed)
    scaled = StandardScaler().fit_transform(X)
    history = QuantumTrainer(config).train(model, (scaled, y))
    assert np.array_equal(classifier.model_.parameters, model.parameters)
    assert classifier.loss_curve_ == history["losses"]
    assert classifier.n_iter_ == 3
    logits = model(scaled)
    assert_allclose(classifier.predict_proba(X), softmax(logits, axis=1), atol=1e-14)
    assert_allclose(
        classifier.decision_function(X), logits[:, 1] - logits[:, 0], atol=1e-14
    )
    assert classifier.predict(X).tolist() == [
        ("left", "right")[row.argmax()] for row in logits
    ]
    assert_allclose(
        np.exp(classifier.predict_log_proba(X)), classifier.predict_proba(X)
    )


def test_it_learns_what_is_not_linear(moons):
    line = LogisticRegression().fit(X, NAMES)
    assert line.score(X, NAMES) < 0.9
    assert moons.score(X, NAMES) > 0.97
    wave = RNG.uniform(-4, 4, (100, 1))
    regressor = QuantumRegressor(random_state=0).fit(wave, np.sin(wave[:, 0]))
    fresh = np.linspace(-3.5, 3.5, 50)[:, None]
    assert regressor.score(fresh, np.sin(fresh[:, 0])) > 0.99


def test_three_classes_by_cross_validation():
    scores = cross_val_score(
        QuantumClassifier(random_state=0), *load_iris(return_X_y=True), cv=3
    )
    assert scores.mean() > 0.92


def test_class_weights_multiply_sample_weights():
    weights = RNG.uniform(0.5, 2.0, 60)
    samples, labels = X[:60], y[:60].copy()
    labels[:15] = 0
    balanced = compute_sample_weight("balanced", labels)
    parts = [
        QuantumClassifier(**QUICK, class_weight="balanced"),
        QuantumClassifier(
            **QUICK, class_weight={k: balanced[labels == k][0] for k in (0, 1)}
        ),
        QuantumClassifier(**QUICK),
    ]
    for part, weight in zip(parts, (weights, weights, balanced * weights), strict=True):
        part.fit(samples, labels, sample_weight=weight)
    first, second, third = (part.model_.parameters for part in parts)
    assert_allclose(first, third, rtol=1e-10)
    assert_allclose(second, third, rtol=1e-10)
    plain = QuantumClassifier(**QUICK).fit(samples, labels)
    assert np.abs(plain.model_.parameters - third).max() > 1e-3


def test_predictions_have_the_units_of_the_targets():
    regressor = QuantumRegressor(**QUICK)
    first = regressor.fit(WIDE, VALUES).predict(WIDE)
    second = regressor.fit(WIDE, 1e4 * VALUES - 7.0).predict(WIDE)
    assert_allclose(second, 1e4 * first - 7.0, rtol=1e-9)


def test_several_targets():
    targets = np.column_stack([VALUES, -VALUES, WIDE[:, 2]])
    regressor = QuantumRegressor(**QUICK).fit(WIDE, targets)
    assert regressor.model_.output_dim == 3
    assert regressor.predict(WIDE).shape == (40, 3)
    scaled = StandardScaler().fit(targets)
    outputs = regressor.model_(regressor.scaling_(WIDE))
    assert_allclose(regressor.predict(WIDE), scaled.inverse_transform(outputs))


def test_the_seed_decides_everything():
    def parameters(state):
        quick = QuantumClassifier(epochs=2, random_state=state, shots=20)
        return quick.fit(X, y).model_.parameters

    assert np.array_equal(parameters(3), parameters(3))
    assert np.array_equal(parameters(3), parameters(np.random.RandomState(3)))
    assert not np.array_equal(parameters(3), parameters(4))
    assert not np.array_equal(parameters(None), parameters(None))


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "amplitude"},
        {"encoding": "zz_feature_map", "entanglement": "linear"},
        {"layers": [AngleEncoding("YZ"), QuantumLayer(n_layers=1)], "n_qubits": 2},
        {"optimizer": Adam(0.1)},
        {"optimizer": "sgd", "learning_rate": 0.5},
        {"optimizer": "natural_gradient"},
        {"readout": "probs", "n_qubits": 1},
        {"backend": qml.device("qstore.mock_noisy", wires=2, noise="ibm")},
        {"shots": 100},
        {"verbose": 2},
    ],
    ids=lambda options: "-".join(options),
)
def test_options_train(options, caplog):
    with caplog.at_level(logging.INFO, "qstore_pl.trainer"):
        classifier = QuantumClassifier(**QUICK, **options).fit(X, y)
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0]
    assert len(caplog.records) == (2 if "verbose" in options else 0)


# --- going on ----------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_calls_of_partial_fit_are_epochs(whole):
    options = {"standardize": False, "batch_size": 30, "random_state": 3}
    fitted = QuantumClassifier(epochs=4, **options).fit(X, NAMES)
    parts = QuantumClassifier(**options)
    for i in range(4):
        classes = ["right", "left"] if whole or i == 0 else None
        assert parts.partial_fit(X, NAMES, classes=classes) is parts
    assert np.array_equal(parts.model_.parameters, fitted.model_.parameters)
    assert_allclose(parts.loss_curve_, fitted.loss_curve_, rtol=1e-13)
    assert parts.n_iter_ == 4
    assert parts.classes_.tolist() == ["left", "right"]


def test_partial_fit_goes_on_with_the_state_of_the_optimizer():
    options = {"batch_size": 80, "random_state": 3}
    long = QuantumRegressor(epochs=5, **options).fit(X, y)
    short = QuantumRegressor(epochs=4, **options).fit(X, y)
    copied = pickle.loads(pickle.dumps(short))
    for part in (short, copied):
        part.partial_fit(X, y)
        assert_allclose(part.model_.parameters, long.model_.parameters, rtol=1e-9)
    assert len(short.history_) == 5


def test_partial_fit_follows_the_scale_of_all_samples():
    parts = QuantumRegressor(epochs=1, random_state=3)
    weights = RNG.uniform(0.1, 2.0, 40)
    for rows in (slice(0, 1), slice(1, 30), slice(30, 40)):
        parts.partial_fit(WIDE[rows], VALUES[rows], sample_weight=weights[rows])
    mean = np.average(WIDE, axis=0, weights=weights)
    assert_allclose(parts.scaling_.scaler.mean_, mean, rtol=1e-12)
    mean = np.average(VALUES, weights=weights)
    assert_allclose(parts.target_scaler_.mean_, mean, rtol=1e-12)


def test_weights_of_partial_fit_are_used_as_they_are():
    heavy, light = (
        QuantumRegressor(optimizer="sgd", random_state=3).partial_fit(
            X, y, sample_weight=np.full(80, weight)
        )
        for weight in (2.0, 1.0)
    )
    assert_allclose(heavy.loss_curve_[0], 2.0 * light.loss_curve_[0], rtol=0.1)


def test_a_warm_start_goes_on_from_the_weights():
    classifier = QuantumClassifier(**QUICK, warm_start=True).fit(X, y)
    model, before = classifier.model_, classifier.model_.parameters.copy()
    scaler = copy.deepcopy(classifier.scaling_.scaler)
    classifier.fit(X + 1.0, y)
    assert classifier.model_ is model
    assert_allclose(classifier.scaling_.scaler.mean_, scaler.mean_)
    twin = clone(classifier).fit(X, y).model_
    assert np.array_equal(twin.parameters, before)
    config = TrainingConfig(
        epochs=4, batch_size=64, learning_rate=0.02, loss="cross_entropy",
        seed=int(np.random.RandomState(3).randint(2**31 - 1)),
    )  # fmt: skip
    QuantumTrainer(config).train(twin, (scaler.transform(X + 1.0), y))
    assert np.array_equal(twin.parameters, model.parameters)


def test_early_stopping_keeps_the_best_epoch():
    classifier = QuantumClassifier(
        **{**QUICK, "epochs": 500},
        learning_rate=0.3,
        early_stopping=True,
        validation_fraction=0.25,
        patience=5,
    ).fit(X, NAMES, sample_weight=RNG.uniform(0.5, 1.5, 80))
    losses = classifier.history_["val_losses"]
    assert classifier.n_iter_ < 500
    assert np.argmin(losses) == classifier.n_iter_ - 1 - 5
    seed = np.random.RandomState(3).randint(2**31 - 1)
    rows = np.arange(80)
    _, held_out = train_test_split(rows, test_size=0.25, random_state=seed, stratify=y)
    assert y[held_out].mean() == 0.5
    assert classifier.scaling_.scaler.n_samples_seen_ != 80


# --- as an estimator -----------------------------------------------------------------


def test_copies_predict_the_same(moons, tmp_path):
    wanted = moons.predict_proba(X)
    joblib.dump(moons, tmp_path / "moons.joblib")
    for twin in (
        pickle.loads(pickle.dumps(moons)),
        copy.deepcopy(moons),
        joblib.load(tmp_path / "moons.joblib"),
        joblib.load(tmp_path / "moons.joblib", mmap_mode="r"),
    ):
        assert np.array_equal(twin.predict_proba(X), wanted)
        assert np.shares_memory(twin.model_.layers[1].parameters, twin.model_.weights)
    with pytest.raises(NotFittedError):
        clone(moons).predict(X)


def test_grid_search_in_processes():
    pipeline = make_pipeline(
        MinMaxScaler((0.0, np.pi)),
        QuantumClassifier(standardize=False, epochs=10, random_state=0),
    )
    grid = {"quantumclassifier__learning_rate": [1e-4, 0.1]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise")
    search.fit(X, NAMES)
    assert search.best_params_ == {"quantumclassifier__learning_rate": 0.1}
    alone = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, NAMES)
    key = "mean_test_score"
    assert np.array_equal(search.cv_results_[key], alone.cv_results_[key])


# --- errors -----------------------------------------------------------------------

BITS = np.eye(4)[:, :3]


@pytest.mark.parametrize(
    ("estimator", "data", "error", "words"),
    [
        (QuantumClassifier(epochs=0), (X, y), ValueError, "`epochs` must be >= 1"),
        (QuantumClassifier(epochs=None), (X, y), TypeError, "`epochs` must be an int"),
        (QuantumClassifier(encoding="none"), (X, y), ValueError, "`encoding` must be"),
        (QuantumClassifier(n_layers=0), (X, y), ValueError, "`n_layers` must be >= 1"),
        (QuantumClassifier(n_qubits=1), (X, y), ValueError, "n_qubits must be >= 2"),
        (QuantumClassifier(optimizer="lbfgs"), (X, y), ValueError, "`optimizer` must"),
        (
            QuantumClassifier(optimizer=Adam(0.1), learning_rate=0.1),
            (X, y),
            ValueError,
            "learning_rate must be left at 0.02 with an optimizer",
        ),
        (
            QuantumClassifier(patience=3),
            (X, y),
            ValueError,
            "patience must be left at 10 without early_stopping=True",
        ),
        (
            QuantumClassifier(layers=[AngleEncoding()], n_layers=2),
            (X, y),
            ValueError,
            "n_layers must be left at None where layers are given",
        ),
        (QuantumClassifier(warm_start=1), (X, y), TypeError, "`warm_start` must be"),
        (QuantumClassifier(early_stopping="yes"), (X, y), TypeError, "`early_stopp"),
        (QuantumClassifier(standardize="on"), (X, y), ValueError, "`standardize` must"),
        (QuantumClassifier(verbose=-1), (X, y), ValueError, "`verbose` must be >= 0"),
        (QuantumClassifier(scale=0.0), (X, y), ValueError, "`scale` must be > 0"),
        (
            QuantumClassifier(encoding="amplitude", scale=2.0),
            (X, y),
            ValueError,
            '`scale` must be "auto" for amplitudes',
        ),
        (
            QuantumClassifier(encoding="amplitude"),
            (BITS, [0, 1, 0, 1]),
            ValueError,
            "zero vector .* row 3",
        ),
        (
            QuantumClassifier(encoding="basis"),
            (X, y),
            ValueError,
            "bits 0 and 1",
        ),
        (
            QuantumClassifier(early_stopping=True, validation_fraction=0.01),
            (X, y),
            ValueError,
            "validation_fraction=0.01 must leave samples on both sides",
        ),
        (QuantumClassifier(), (X, np.zeros(80, int)), ValueError, "one class: \\[0\\]"),
        (QuantumClassifier(), (X, VALUES), ValueError, "inconsistent numbers"),
        (QuantumClassifier(), (X, y + 0.5), ValueError, "Unknown label type"),
        (QuantumClassifier(), (X, y, -np.ones(80)), ValueError, "must be >= 0"),
        (QuantumClassifier(), (X, y, np.zeros(80)), ValueError, "all are zero"),
        (QuantumClassifier(), (X, y, np.ones(79)), ValueError, "shape \\(80,\\)"),
        (QuantumRegressor(), (X, NAMES), ValueError, "could not convert"),
    ],
)
def test_errors_of_fit(estimator, data, error, words):
    with pytest.raises(error, match=words):
        estimator.fit(*data)
    with pytest.raises(NotFittedError):
        estimator.predict(X)


@pytest.mark.parametrize(
    ("options", "arguments", "words"),
    [
        ({}, {}, "`classes` must be given in the first call"),
        ({}, {"classes": [0]}, "one class"),
        ({}, {"classes": [1, 2]}, r"labels out of \[1, 2\].* but has \[0\]"),
        ({"class_weight": "balanced"}, {"classes": [0, 1]}, "class_weight must not"),
        ({"early_stopping": True}, {"classes": [0, 1]}, "early_stopping must be False"),
    ],
)
def test_errors_of_the_first_partial_fit(options, arguments, words):
    with pytest.raises(ValueError, match=words):
        QuantumClassifier(**options).partial_fit(X, y, **arguments)


def test_errors_of_going_on():
    classifier = QuantumClassifier(epochs=1, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"labels out of \[0, 1\].* but has \[2\]"):
        classifier.fit(X, 2 * y)
    with pytest.raises(ValueError, match="X has 6 features, but QuantumClassifier"):
        classifier.fit(WIDE, y[:40])
    with pytest.raises(ValueError, match=r"`classes` must be \[0, 1\], as before"):
        classifier.partial_fit(X, y, classes=[0, 1, 2])
    regressor = QuantumRegressor(epochs=1, warm_start=True).fit(X, y)
    for going_on in (regressor.fit, regressor.partial_fit):
        with pytest.raises(ValueError, match="1 targets on 1 axes, as before"):
            going_on(X, np.column_stack([y, y]))
