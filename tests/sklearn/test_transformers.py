"""The quantum autoencoder as a transformer, and the names that transformers give."""

import copy

import numpy as np
import pennylane as qml
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import estimator_checks

from qstore_pl.sklearn import QuantumAutoencoderTransformer, QuantumFeatureMap

X, y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def reducer():
    return QuantumAutoencoderTransformer(epochs=30, random_state=0).fit(X)


def test_latent_features_are_expectation_values_behind_the_encoder(reducer):
    model = reducer.autoencoder_.model
    assert model.n_qubits == 2

    @qml.qnode(qml.device("default.qubit", wires=2))
    def latent(inputs):
        for block in model.blocks:
            block.apply(inputs, model.weights, (0, 1))
        return [qml.expval(letter(0)) for letter in (qml.X, qml.Y, qml.Z)]

    wanted = np.stack(latent(model.prepare(X)), axis=1)
    assert_allclose(reducer.transform(X), wanted, atol=1e-10)
    names = reducer.get_feature_names_out()
    assert names.tolist() == ["latent_X", "latent_Y", "latent_Z"]


def test_what_is_kept_tells_the_classes_apart(reducer):
    assert reducer.score(X) > 0.97
    assert reducer.n_iter_ == 30
    assert reducer.history_["losses"][-1] < 0.1 * reducer.history_["losses"][0]
    pipeline = make_pipeline(copy.deepcopy(reducer), LogisticRegression(C=1e3))
    assert pipeline.fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize(
    ("options", "n_qubits", "shape"),
    [
        ({"n_latent": 2}, 3, (150, 15)),
        ({"encoding": "angle", "objective": "global"}, 4, (150, 3)),
        ({"encoding": "zz_feature_map", "entanglement": "linear"}, 4, (150, 3)),
        ({"n_qubits": 3, "backend": "mock_noisy"}, 3, (150, 3)),
    ],
    ids=str,
)
def test_options(options, n_qubits, shape):
    reducer = QuantumAutoencoderTransformer(**options, epochs=2, random_state=0)
    found = reducer.fit_transform(X)
    assert found.shape == shape
    assert reducer.autoencoder_.n_qubits == n_qubits
    assert np.abs(found).max() <= 1.0 + 1e-12
    assert len(reducer.get_feature_names_out()) == shape[1]
    standardised = options.get("encoding") in ("angle", "zz_feature_map")
    assert (reducer.scaling_.scaler is not None) == standardised


@pytest.mark.parametrize(
    ("options", "samples", "words"),
    [
        ({"n_latent": 0}, X, "`n_latent` must be >= 1"),
        ({"n_latent": 2, "n_qubits": 2}, X, "`n_latent` must be < 2"),
        ({"encoding": "angel"}, X, "`encoding` must be one of"),
        ({"objective": "none"}, X, "`objective` must be one of"),
        ({"epochs": 0}, X, "`epochs` must be >= 1"),
        ({"scale": 2.0}, X, '`scale` must be "auto"'),
        ({}, np.eye(4)[:, :3], "zero vector .* row 3"),
    ],
)
def test_errors(options, samples, words):
    reducer = QuantumAutoencoderTransformer(**options)
    with pytest.raises(ValueError, match=words):
        reducer.fit(samples)
    with pytest.raises(NotFittedError):
        reducer.transform(X)


@pytest.mark.parametrize(
    "transformer",
    [QuantumFeatureMap(random_state=0), QuantumAutoencoderTransformer(epochs=1)],
    ids=lambda value: type(value).__name__,
)
def test_names_of_features(transformer):
    name = type(transformer).__name__
    for check in (
        estimator_checks.check_get_feature_names_out_error,
        estimator_checks.check_transformer_get_feature_names_out,
        estimator_checks.check_set_output_transform,
    ):
        check(name, transformer)
    union = FeatureUnion([("a", transformer), ("b", copy.deepcopy(transformer))])
    shape = union.fit_transform(X).shape
    names = union.get_feature_names_out(["one", "two", "three", "four"])
    assert len(set(names)) == len(names) == shape[1]
    fitted = union.transformer_list[0][1]
    fitted.feature_names_in_ = np.array(["one", "two", "three", "four"])
    with pytest.raises(ValueError, match="is not equal to feature_names_in_"):
        fitted.get_feature_names_out(["four", "three", "two", "one"])
