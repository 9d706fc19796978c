"""Classes by the nearest states, beside scikit-learn's neighbours."""

import numpy as np
import pennylane as qml
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from qstore_pl import EmbeddingIndex, QuantumModel
from qstore_pl.circuit import Block
from qstore_pl.layers import AmplitudeEncoding, AngleEncoding, Layer, QuantumLayer
from tests.naive_store import MemoryStore

pytestmark = pytest.mark.filterwarnings("ignore::qstore_pl.UnseenWarning")
LAYERS = [AngleEncoding(), QuantumLayer(n_layers=1), AngleEncoding("X")]


class Entangling(Layer):
    """Makes a Bell state of a turned qubit."""

    def blocks(self, wires):
        return [Block(qml.CNOT, wires)]


def iris():
    return load_iris(return_X_y=True)


def digits():
    """0 to 3, in four principal components."""
    X, y = load_digits(n_class=4, return_X_y=True)
    scaler = make_pipeline(StandardScaler(), PCA(4, random_state=0), StandardScaler())
    return scaler.fit_transform(X), y


@pytest.mark.parametrize("data", [iris, digits])
@pytest.mark.parametrize("kind", ["pauli", "local"])
def test_the_vote_is_that_of_scikit_learn_on_the_same_states(data, kind, tmp_path):
    """The oracle is given distances of states, which grow as fidelities fall."""
    X, y = data()
    model = QuantumModel(4, 1, layers=LAYERS, seed=0)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(X))
    train, test = order[:100], order[100:150]
    if kind == "pauli":
        states = model.states(X)
        distances = 1.0 - np.abs(states[test].conj() @ states[train].T) ** 2
    else:
        vectors = model.embed(X, kind)
        distances = np.linalg.norm(vectors[test][:, None] - vectors[train], axis=2)
    oracle = KNeighborsClassifier(5, metric="precomputed")
    oracle.fit(np.zeros((100, 100)), y[train])
    shares = oracle.predict_proba(distances)
    with EmbeddingIndex.open(model, tmp_path, kind=kind).store as store:
        index = EmbeddingIndex(model, store, kind=kind)
        index.add(
            [f"t{i}" for i in train],
            X[train],
            [{"label": int(one)} for one in y[train]],
        )
        found = index.classify(X[test], min_agreement=0.0)
        unsure = index.classify(X[test], min_agreement=0.7)
    np.testing.assert_allclose(found.agreement, shares.max(axis=1), atol=1e-12)
    clear = (shares == shares.max(axis=1, keepdims=True)).sum(axis=1) == 1
    assert clear.sum() >= 45
    expected = oracle.predict(distances)
    assert found.labels[clear].tolist() == expected[clear].tolist()
    assert {type(one) for one in found.labels} == {int}
    agreed = shares.max(axis=1) >= 0.7
    assert (unsure.labels[agreed] == found.labels[agreed]).all()
    assert set(unsure.labels[~agreed]) == {None}
    assert np.mean(found.labels == y[test]) >= 0.8


@pytest.fixture(scope="module")
def index():
    """Two samples of one label and one of another, with a stranger without a label."""
    model = QuantumModel(1, 1, layers=[AngleEncoding()])
    index = EmbeddingIndex(model, MemoryStore(4))
    index.add(
        ["a", "b", "c", "stranger"],
        [[0.0], [0.2], [1.0], [3.0]],
        [{"label": "near"}, {"label": "near"}, {"label": "far"}, {"other": ["x"]}],
    )
    return index


def test_when_no_label_is_given(index):
    X = [[0.1], [1.0], [3.0]]
    found = index.classify(X, k=3, min_fidelity=0.9)
    assert found.labels.tolist() == ["near", "near", None]
    np.testing.assert_allclose(found.agreement, [2 / 3] * 3)
    # The stranger has no label, and no vote.
    assert [one.id for one in found.neighbours[2]] == ["c", "b", "a"]
    np.testing.assert_allclose(
        found.neighbours[2][0].fidelity, np.cos(1.0) ** 2, atol=1e-6
    )
    found = index.classify(X, k=2)  # of two votes for two labels the nearest is taken
    assert found.labels.tolist() == ["near", "far", "far"]
    assert index.classify(X, k=2, min_agreement=0.6).labels.tolist() == [
        *("near", None, None)
    ]


def test_what_classify_refuses(index):
    for options, error, wrong in [
        ({"label": "class"}, ValueError, "no record has 'class'"),
        ({"label": "other"}, TypeError, "'other' is"),
        ({"min_agreement": 1.5}, ValueError, "`min_agreement` must be <= 1"),
        ({"min_fidelity": -1}, ValueError, "`min_fidelity` must be >= 0"),
        ({"k": 0}, ValueError, "`k` must be >= 1"),
    ]:
        with pytest.raises(error, match=wrong):
            index.classify([[0.0]], **options)


def test_what_add_and_the_index_refuse(index):
    model, store = index.model, index.store
    for ids, X, metadata, wrong in [
        (["a"], [[0.0], [1.0]], None, "`ids` must have 2 identifiers"),
        (["a"], [[0.0]], [{}, {}], "`metadata` must have 1 dicts"),
        (["a"], [[0.0]], [{"qstore_model": "x"}], "`metadata` must have no key"),
        (["a"], [[0.0, 1.0]], None, r"`X` must have shape \(n_samples, 1\)"),
        (["a"], [[np.nan]], None, "`X` must be finite"),
    ]:
        with pytest.raises(ValueError, match=wrong):
            index.add(ids, X, metadata)
    for options, error, wrong in [
        ({"kind": "state"}, ValueError, "`kind` must be one of"),
        ({"kind": "local"}, ValueError, "`store` must have vectors of 3 numbers"),
        ({"name": "a/b"}, ValueError, "`name` must have 1 to 45 characters"),
        ({"seed": -1}, ValueError, "`seed` must be >= 0"),
        ({"seed": "x"}, TypeError, "`seed` must be an integer"),
    ]:
        with pytest.raises(error, match=wrong):
            EmbeddingIndex(model, store, **options)
    with pytest.raises(TypeError, match="`model` must be a QuantumModel"):
        EmbeddingIndex("model", store)
    with pytest.raises(TypeError, match="`store` must be a VectorStore"):
        EmbeddingIndex(model, "stored")
    wide = QuantumModel(4096, 1, layers=[AmplitudeEncoding()])
    with pytest.raises(ValueError, match="`model` must have at most 3000 features"):
        EmbeddingIndex(wide, MemoryStore(36), kind="local")


def test_states_without_any_expectation_value():
    """The qubits of a Bell state have none: no direction, but a place."""
    model = QuantumModel(2, 1, layers=[AngleEncoding(), Entangling()])
    X = [[0.3, 0.1], [np.pi / 2, 0.0]]
    index = EmbeddingIndex(model, MemoryStore(6, "cosine"), kind="local")
    with pytest.raises(ValueError, match="sample 1 has a zero one"):
        index.add(["a", "b"], X)
    index = EmbeddingIndex(model, MemoryStore(6, "euclidean"), kind="local")
    index.add(["a", "b"], X)
    near, far = index.search(X[1])
    assert (near.id, near.score) == ("b", pytest.approx(0.0, abs=1e-12))
    assert far.score == pytest.approx((model.embed(X, "local")[0] ** 2).sum(), rel=1e-6)
    assert index.state("b").shape == (4,)
