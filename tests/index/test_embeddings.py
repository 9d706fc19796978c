"""The embedding index, against states of default.qubit and default.mixed."""

import warnings

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import EmbeddingIndex, QuantumModel
from qstore_pl.devices import NoiseSpec
from qstore_pl.errors import ProvenanceError, StoreError
from qstore_pl.layers import (
    AngleEncoding,
    QuantumConvolutionalLayer,
    QuantumLayer,
    ZZEncoding,
)
from qstore_pl.store import METRICS, LanceStore
from tests.naive_store import MemoryStore

NOISE = NoiseSpec(p1=0.02, p2=0.05)
GATES = {"RX", "RY", "RZ", "CNOT", "CZ", "Hadamard", "PhaseShift"}
LAYERS = {
    "angle": lambda: [AngleEncoding("YZ"), QuantumLayer()],
    "zz": lambda: [ZZEncoding(), QuantumLayer(n_layers=1)],
    "again": lambda: [AngleEncoding(), QuantumLayer(), AngleEncoding("X")],
    "convolution": lambda: [AngleEncoding(), QuantumConvolutionalLayer()],
}
pytestmark = [
    pytest.mark.filterwarnings("ignore::qstore_pl.UnseenWarning"),
    pytest.mark.timeout(60),
]


def a_model(case="angle", *, noisy=False, n_qubits=3, seed=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = QuantumModel(
            n_qubits, 2, layers=LAYERS[case](), n_qubits=n_qubits, seed=seed
        )
    rng = np.random.default_rng(seed)
    model.parameters[:] = rng.uniform(-3, 3, model.parameters.size)
    if noisy:
        model.backend = qml.device("qstore.mock_noisy", wires=n_qubits, noise=NOISE)
    return model


def samples_for(model, count, seed=0):
    return np.random.default_rng(seed).uniform(-2, 2, (count, model.input_dim))


def names(count):
    return [f"row{i:03d}" for i in range(count)]


def exact(model, X, *, noisy):
    """Fidelities, or Hilbert-Schmidt cosines, of all pairs, by PennyLane's devices."""
    wires = range(model.n_qubits)
    device = "default.mixed" if noisy else "default.qubit"

    def state(row):
        for block in model.blocks:
            block.apply(row, model.weights, wires)
        return qml.state()

    circuit = qml.QNode(state, qml.device(device, wires=model.n_qubits))
    if noisy:
        clean = qml.transforms.decompose(circuit, gate_set=GATES)
        circuit = qml.noise.add_noise(clean, NOISE.to_noise_model(), level="user")
        found = np.stack([circuit(row) for row in model.prepare(X)])
        overlaps = np.einsum("aij,bji->ab", found, found).real
    else:
        found = circuit(model.prepare(X))
        overlaps = np.abs(found.conj() @ found.T) ** 2
    lengths = np.sqrt(np.diag(overlaps))
    return overlaps / np.outer(lengths, lengths), overlaps


@pytest.mark.parametrize("case", LAYERS)
def test_the_ten_nearest_are_those_of_the_highest_fidelity(case):
    """200 samples: the first 20 are searched for among the others."""
    model = a_model(case)
    X = samples_for(model, 200)
    fidelities, _ = exact(model, X, noisy=False)
    index = EmbeddingIndex(model, MemoryStore(64))
    assert index.add(names(180), X[20:]) == len(index) == 180
    for row, found in enumerate(index.search(X[:20])):
        expected = fidelities[row, 20:]
        order = np.argsort(-expected)[:10]
        assert [one.id for one in found] == [names(180)[i] for i in order]
        np.testing.assert_allclose(
            [one.fidelity for one in found], expected[order], atol=1e-5
        )
        np.testing.assert_allclose(
            [one.overlap for one in found], expected[order], atol=1e-5
        )


@pytest.mark.parametrize("metric", METRICS)
def test_mixed_states_and_every_metric(metric):
    """The order is that of the metric; fidelity and overlap are those of the states."""
    model = a_model(noisy=True, n_qubits=2)
    X = samples_for(model, 40)
    cosines, overlaps = exact(model, X, noisy=True)
    purities = np.diag(overlaps)
    scores = {
        "cosine": cosines,
        "dotproduct": overlaps,
        "euclidean": purities[:, None] + purities - 2 * overlaps,
    }[metric]
    index = EmbeddingIndex(model, MemoryStore(16, metric))
    index.add(names(30), X[10:])
    sign = 1 if metric == "euclidean" else -1
    for row, found in enumerate(index.search(X[:10], top_k=10)):
        order = np.argsort(sign * scores[row, 10:])[:10]
        assert [one.id for one in found] == [names(30)[i] for i in order]
        for values, expected in [
            ([one.score for one in found], scores),
            ([one.fidelity for one in found], cosines),
            ([one.overlap for one in found], overlaps),
        ]:
            np.testing.assert_allclose(values, expected[row, 10:][order], atol=1e-5)
    kept = index.store.fetch(names(30), namespace=space(index))
    found = [kept[one].metadata["qstore_purity"] for one in names(30)]
    np.testing.assert_allclose(found, purities[10:], atol=1e-10)


def space(index):
    """Where the records of the present model are."""
    return f"{index.name}.{index._fingerprint()[:16]}"


def test_in_lancedb(tmp_path):
    model = a_model()
    X = samples_for(model, 40)
    fidelities, _ = exact(model, X, noisy=False)
    index = EmbeddingIndex.open(model, tmp_path)
    assert isinstance(index.store, LanceStore)
    assert (index.store.dimension, index.store.metric) == (64, "cosine")
    index.add(names(39), X[1:], [{"label": i % 3} for i in range(39)])
    found = index.search(X[0], top_k=5, filter={"label": {"$eq": 1}})
    expected = fidelities[0, 1:][1::3]
    order = np.argsort(-expected)[:5]
    assert [one.id for one in found] == [names(39)[1::3][i] for i in order]
    np.testing.assert_allclose(
        [one.fidelity for one in found], expected[order], atol=1e-5
    )
    assert [one.metadata for one in found] == [{"label": 1.0}] * 5
    index.store.close()
    store = LanceStore(tmp_path, index="qstore")
    again = EmbeddingIndex.from_store(store)
    assert again.search(X[0], top_k=5, filter={"label": {"$eq": 1}}) == found
    local = EmbeddingIndex.open(model, tmp_path, kind="local", index="other")
    assert (local.store.dimension, local.store.metric) == (9, "euclidean")
    with pytest.raises(StoreError):
        EmbeddingIndex.open(model, tmp_path, kind="local")


@pytest.mark.parametrize("kind", ["local", "outputs"])
def test_other_kinds_are_searched_by_distance(kind):
    model = a_model()
    X = samples_for(model, 30)
    vectors = model.embed(X, kind)
    store = MemoryStore(vectors.shape[1], "euclidean")
    index = EmbeddingIndex(model, store, kind=kind)
    index.add(names(29), X[1:])
    distances = ((vectors[1:] - vectors[0]) ** 2).sum(axis=1)
    order = np.argsort(distances)[:4]
    found = index.search(X[0], top_k=4)
    assert [one.id for one in found] == [names(29)[i] for i in order]
    np.testing.assert_allclose(
        [one.score for one in found], distances[order], atol=1e-5
    )
    assert {(one.fidelity, one.overlap) for one in found} == {(None, None)}
    with pytest.raises(ValueError, match="`min_fidelity` must be left out"):
        index.classify(X, min_fidelity=0.5)


# --- provenance ------------------------------------------------------------------


def test_a_model_that_has_changed_finds_no_records_of_the_earlier_one():
    model = a_model(seed=1)
    X = samples_for(model, 6)
    index = EmbeddingIndex(model, MemoryStore(64), seed=7)
    with pytest.raises(ProvenanceError, match="There are no models"):
        index.search(X)
    index.add(names(6), X)
    (made,) = index.models()
    assert (made.kind, made.n_qubits, made.input_dim, made.seed, made.complete) == (
        *("pauli", 3, 3, 7, True),
    )
    assert made.encoding == repr(model.layers[0])
    model.parameters[0] += 0.1
    for refused in (index.search, index.classify):
        with pytest.raises(ProvenanceError, match=made.fingerprint[:16]) as caught:
            refused(X)
        assert "reindex()" in str(caught.value)
    with pytest.raises(ProvenanceError, match="The model has changed since"):
        index.add(["more"], X[:1])
    with pytest.raises(ProvenanceError):
        index.state("row000")
    assert len(index) == 0
    model.parameters[0] -= 0.1
    assert len(index) == 6


def test_noise_is_part_of_the_fingerprint():
    model = a_model(n_qubits=2)
    X = samples_for(model, 3)
    store = MemoryStore(16)
    EmbeddingIndex(model, store).add(names(3), X)
    model.backend = qml.device("qstore.mock_noisy", wires=2, noise=NOISE)
    index = EmbeddingIndex(model, store)
    with pytest.raises(ProvenanceError, match=r"qstore\.mock_ideal"):
        index.search(X)
    index.add(names(3), X)  # both can be there, and are searched apart
    assert [len(found) for found in index.search(X)] == [3, 3, 3]
    assert len(index.models()) == 2
    with pytest.raises(ProvenanceError, match="one model, but has 2"):
        EmbeddingIndex.from_store(store)
    mine = index._fingerprint()
    with pytest.raises(ProvenanceError, match=r"made its records on .*p1=0\.02"):
        EmbeddingIndex.from_store(store, fingerprint=mine[:8])
    again = EmbeddingIndex.from_store(
        store, fingerprint=mine[:8], backend=model.backend
    )
    assert again.search(X) == index.search(X)


def test_records_of_another_model_in_the_namespace_are_refused():
    model = a_model(n_qubits=2)
    X = samples_for(model, 3)
    index = EmbeddingIndex(model, MemoryStore(16))
    index.add(names(3), X)
    index.store.upsert([("foreign", np.ones(16))], namespace=space(index))
    with pytest.raises(
        ProvenanceError, match=r"`foreign` .* was not made by the model"
    ):
        index.search(X)


def test_models_and_states_are_made_again_from_the_store():
    model = a_model(noisy=True, n_qubits=2)
    X = samples_for(model, 4)
    store = MemoryStore(16)
    EmbeddingIndex(model, store, seed=3).add(names(4), X)
    noisy = qml.device("qstore.mock_noisy", wires=2, noise=NOISE)
    index = EmbeddingIndex.from_store(store, backend=noisy)
    assert index.seed == 3
    np.testing.assert_array_equal(index.model.parameters, model.parameters)
    np.testing.assert_array_equal(index.state("row002"), model.states(X[2:3])[0])
    with pytest.raises(KeyError, match="row009"):
        index.state("row009")
    kept = store.fetch(["row002"], namespace=space(index))["row002"]
    moved = kept.values + np.float32(1e-4)
    store.upsert([("row002", moved, kept.metadata)], namespace=space(index))
    with pytest.raises(ProvenanceError, match=r"`row002` .* differs by 1\.0e-04"):
        index.state("row002")
    for metadata, wrong in [
        ({"qstore_input": "AAAA"}, "3 bytes"),
        ({}, "does not hold its sample"),
    ]:
        store.upsert([("row002", moved, metadata)], namespace=space(index))
        with pytest.raises(ProvenanceError, match=wrong):
            index.state("row002")


# --- embedding anew --------------------------------------------------------------


def trained(model):
    """The model moved, as training does it."""
    model.parameters[:] += 0.1


def assert_same(found, expected):
    """The same neighbours; those of one batch differ from others in the last bits."""
    for one, other in zip(found, expected, strict=True):
        assert [x.id for x in one] == [x.id for x in other]
        assert [x.metadata for x in one] == [x.metadata for x in other]
        np.testing.assert_allclose(
            [x.fidelity for x in one], [x.fidelity for x in other], atol=1e-6
        )


def namespaces(index):
    """Number of records in each namespace but that of chunks."""
    found = index.store.stats().namespaces
    return {k: v for k, v in found.items() if not k.endswith(".chunks")}


@pytest.mark.parametrize("keep", [False, True])
def test_reindex_embeds_all_records_with_the_present_weights(keep):
    model = a_model()
    X = samples_for(model, 25)
    labels = [{"label": i % 2, "tags": ["a"]} for i in range(25)]
    index = EmbeddingIndex(model, MemoryStore(64))
    index.add(names(25), X, labels)
    earlier = space(index)
    trained(model)
    assert index.reindex(batch=10, keep=keep) == 25
    expected = EmbeddingIndex(model, MemoryStore(64))
    expected.add(names(25), X, labels)
    assert_same(index.search(X), expected.search(X))
    left = {earlier: 25} if keep else {}
    models = {"embeddings.models": 1 + keep}
    assert namespaces(index) == {space(index): 25} | models | left
    assert index.reindex(keep=keep) == 0  # nothing is left to do


def counted(store, method, fails_at):
    """Let a method of a store fail at its call of this number, counted from 0."""
    plain, calls = getattr(store, method), []

    def failing(*arguments):
        calls.append(1)
        if len(calls) - 1 == fails_at:
            raise KeyboardInterrupt
        return plain(*arguments)

    setattr(store, method, failing)


@pytest.mark.parametrize(
    ("method", "fails_at"),
    [("_upsert", k) for k in range(7)] + [("_delete", k) for k in range(2)],
)
def test_an_interrupted_reindex_is_finished_by_the_next(method, fails_at):
    """Whenever it is killed, no search gives a part, and nothing is lost or left."""
    model = a_model(n_qubits=2)
    X = samples_for(model, 25)
    store = MemoryStore(16)
    index = EmbeddingIndex(model, store)
    index.add(names(25), X)
    trained(model)
    counted(store, method, fails_at)
    with pytest.raises(KeyboardInterrupt):
        index.reindex(batch=10)
    delattr(store, method)
    after = EmbeddingIndex(model, store)
    try:
        assert [len(found) for found in after.search(X, top_k=25)] == [25] * 25
    except ProvenanceError as error:
        assert "reindex()" in str(error)  # noqa: PT017
        if "interrupted" in str(error):
            with pytest.raises(ProvenanceError, match="interrupted"):
                after.add(["more"], X[:1])
    after.reindex(batch=10)
    expected = EmbeddingIndex(model, MemoryStore(16))
    expected.add(names(25), X)
    assert_same(after.search(X), expected.search(X))
    assert namespaces(after) == {space(after): 25, "embeddings.models": 1}


def test_an_interrupted_reindex_and_a_model_trained_further():
    """Records of both earlier models are embedded anew, and no one is lost."""
    model = a_model(n_qubits=2)
    X = samples_for(model, 25)
    store = MemoryStore(16)
    EmbeddingIndex(model, store).add(names(25), X)
    trained(model)
    counted(store, "_upsert", 4)
    index = EmbeddingIndex(model, store)
    with pytest.raises(KeyboardInterrupt):
        index.reindex(batch=10)
    delattr(store, "_upsert")
    half = index._fingerprint()
    trained(model)
    assert EmbeddingIndex(model, store).reindex(fingerprint=half) == 25
    assert namespaces(index) == {space(index): 25, "embeddings.models": 1}
    assert [len(found) for found in index.search(X, top_k=25)] == [25] * 25


def test_which_records_are_embedded_anew():
    model = a_model(n_qubits=2)
    store = MemoryStore(16)
    X = samples_for(model, 2)
    for one in ("a", "b"):
        EmbeddingIndex(model, store).add([one], X[:1])
        trained(model)
    index = EmbeddingIndex(model, store)
    with pytest.raises(ProvenanceError, match="one model, but has 2"):
        index.reindex()
    with pytest.raises(ProvenanceError, match="begins with 'xyz', but has none"):
        index.reindex(fingerprint="xyz")
    first = index.models()[0].fingerprint
    assert index.reindex(fingerprint=first[:10], keep=True) == 1
    other = QuantumModel(1, 1, layers=[AngleEncoding(), QuantumLayer()], n_qubits=2)
    with pytest.raises(ProvenanceError, match=r"samples of 2 features.* takes 1"):
        EmbeddingIndex(other, store).reindex(fingerprint=first)
