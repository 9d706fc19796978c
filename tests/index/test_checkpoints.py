"""Checkpoints in a store: exact bytes, damage, and which models behave alike."""

import math

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import CheckpointIndex, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl import checkpoint as files
from qstore_pl.errors import CheckpointError, StoreError
from qstore_pl.index.behaviour import digest_of, outputs_on
from tests.naive_store import MemoryStore

RNG = np.random.default_rng(5)
X = RNG.uniform(-1, 1, (10, 3))
MODELS = [QuantumModel(3, 2, seed=seed) for seed in range(5)]


def empty():
    return CheckpointIndex(MemoryStore(256, "euclidean", index="qstore-checkpoints"))


@pytest.fixture(scope="module")
def five():
    """Five models on the same probe set; one more on another, and one without."""
    index = empty()
    for seed, model in enumerate(MODELS):
        index.save(
            f"run/{seed}",
            model.get_state(),
            model=model,
            probe=X,
            metadata={"seed": seed},
        )
    index.save("other", MODELS[0].get_state(), model=MODELS[0], probe=X[:4])
    index.save("bare", {"note": "no model"})
    return index


def outputs_of(model, samples):
    """The outputs by PennyLane's own simulator."""
    node = qml.QNode(model.circuit, qml.device("default.qubit", wires=model.n_qubits))
    return np.stack(node(model.prepare(samples), model.weights), axis=1)


# --- save and load ----------------------------------------------------------------


@pytest.mark.parametrize("n_bytes", [0, 29_000, 200_000])
def test_a_tree_comes_back_bit_for_bit(n_bytes):
    index = empty()
    tree = {"numbers": RNG.random(n_bytes // 8), "list": [1, "a", math.inf]}
    index.save("name", tree)
    assert files.to_bytes(index.load("name")) == files.to_bytes(tree)
    assert index.names() == ["name"]


def test_a_checkpoint_of_the_same_name_is_replaced_and_its_chunks_are_collected():
    index = empty()
    for value in (1, 2):
        index.save("name", {"value": value})
    assert index.load("name") == {"value": 2}
    assert index.gc() == 0  # they are too young
    assert index.gc(older_than=0) == 1
    assert index.load("name") == {"value": 2}
    index.delete("name")
    assert index.gc(older_than=0) == 1
    assert index.store.stats().total == 0


def test_a_model_is_made_again(five):
    made = five.model("run/3")
    assert made.parameters.tobytes() == MODELS[3].parameters.tobytes()
    noisy = five.model("run/3", backend="mock_noisy")
    assert noisy.backend.name == "mock_noisy"
    with pytest.raises(CheckpointError, match="`bare` must hold a model"):
        five.model("bare")


def test_an_exported_file_is_the_one_that_would_have_been_written(five, tmp_path):
    five.export("run/2", tmp_path / "exported")
    MODELS[2].save(tmp_path / "saved")
    found = (tmp_path / "exported").read_bytes()
    assert found == (tmp_path / "saved").read_bytes()
    again = QuantumModel.from_checkpoint(tmp_path / "exported")
    assert again.parameters.tobytes() == MODELS[2].parameters.tobytes()


def test_what_is_listed(five):
    names = ["bare", "other", *(f"run/{seed}" for seed in range(5))]
    assert five.names() == names
    assert [saved.name for saved in five.ls("run/")] == names[2:]
    bare, _, first = five.ls()[:3]
    assert bare.metadata.keys() == {"time"}
    about = dict(first.metadata)
    assert about.pop("time") > 1.7e9
    assert about == {
        "model": "3 inputs, 2 outputs, 3 qubits, 18 parameters",
        "input_dim": 3.0,
        "output_dim": 2.0,
        "probe": digest_of(X),
        "n_probe": 10.0,
        "seed": 0.0,
    }


def test_what_is_listed_of_a_run(tmp_path):
    config = TrainingConfig(epochs=3, seed=0, checkpoint_directory=tmp_path)
    trainer = QuantumTrainer(config)
    trainer.train(QuantumModel(3, 2, seed=0), (X, X[:, :2]))
    (path,) = tmp_path.glob("epoch000003*")
    index = empty()
    index.save("a", files.load(path))
    (saved,) = index.ls()
    about = saved.metadata
    assert (about["epoch"], about["step"]) == (3, 0)
    assert about["loss"] == trainer.history["losses"][-1]


def test_damage_is_found():
    index = empty()
    for name in ("a", "b", "c"):
        index.save(name, {"numbers": np.full(9000, float(ord(name)))})
    spaces = index.store.spaces
    chunks = sorted(spaces["checkpoints.chunks"])
    owner = {spaces["checkpoints"][n].metadata["qstore_sha256"]: n for n in "abc"}
    lost, changed = [one for one in chunks if one.endswith("000001")][:2]
    del spaces["checkpoints.chunks"][lost]
    data = spaces["checkpoints.chunks"][changed].metadata
    data["qstore_data"] = data["qstore_data"].swapcase()
    damaged = sorted(owner[one.partition(".")[0]] for one in (lost, changed))
    assert index.verify() == damaged
    for name in damaged:
        with pytest.raises(CheckpointError, match="damaged"):
            index.load(name)
    (whole,) = {"a", "b", "c"} - {*damaged}
    assert index.load(whole)["numbers"][0] == ord(whole)


# --- search -----------------------------------------------------------------------


def test_the_outputs_are_exact_and_those_of_default_qubit():
    noisy = QuantumModel(3, 2, seed=1, backend="mock_noisy")
    found = outputs_on(noisy, X)
    np.testing.assert_allclose(found, outputs_of(noisy, X), rtol=0, atol=1e-12)
    others = RNG.uniform(-1, 1, noisy.parameters.size)
    moved = outputs_on(noisy, X, others)
    noisy.parameters[:] = others
    np.testing.assert_array_equal(moved, outputs_on(noisy, X))


def differences(to):
    """By definition, from PennyLane's own simulator."""
    wanted = outputs_of(to, X)
    return {
        f"run/{seed}": np.sqrt(np.mean((outputs_of(model, X) - wanted) ** 2))
        for seed, model in enumerate(MODELS)
    }


@pytest.mark.parametrize("by", ["model", "outputs"])
def test_models_that_behave_alike(five, by):
    asked = QuantumModel(3, 2, seed=9)
    wanted = differences(asked)
    what = asked if by == "model" else outputs_of(asked, X)
    found = five.search(what, probe=X)
    assert [one.name for one in found] == sorted(wanted, key=wanted.get)
    for one in found:
        assert one.difference == pytest.approx(wanted[one.name], abs=1e-6)
        assert one.metadata["seed"] == float(one.name[-1])


def test_what_is_like_a_checkpoint(five):
    wanted = differences(MODELS[1])
    del wanted["run/1"]
    found = five.search("run/1", top_k=3)
    assert [one.name for one in found] == sorted(wanted, key=wanted.get)[:3]
    few = five.search("run/1", filter={"seed": {"$gte": 3}})
    assert {one.name for one in few} == {"run/3", "run/4"}


def test_a_model_is_compared_on_every_probe_set(five):
    found = five.search(MODELS[0])
    assert {one.name for one in found[:2]} == {"run/0", "other"}
    assert [one.difference for one in found[:2]] == [0.0, 0.0]
    assert len(found) == 6
    assert [one.name for one in five.search(MODELS[0], probe=X[:4])] == ["other"]


# --- refusals ---------------------------------------------------------------------

WIDE = QuantumModel(4, 1, n_layers=1, seed=0)

REFUSED = {
    "another store": (
        lambda index: CheckpointIndex(MemoryStore(4, "cosine")),
        (ValueError, 'must have dimension 256 and metric "euclidean", but has 4'),
    ),
    "no such name": (lambda i: i.load("what"), (KeyError, "no checkpoint 'what'")),
    "deleting nothing": (lambda i: i.delete("what"), (KeyError, "which has 7")),
    "searching for nothing": (lambda i: i.search("what"), (KeyError, "'what'")),
    "without a probe set": (
        lambda i: i.search("bare"),
        (StoreError, "saved without a model and a probe set"),
    ),
    "an unknown probe set": (
        lambda i: i.search(MODELS[0], probe=X[:5]),
        (StoreError, f"{digest_of(X)[:12]} .10 samples, 3 features"),
    ),
    "no probe set that fits": (
        lambda i: i.search(WIDE),
        (StoreError, "model of 4 inputs. The store has the probe sets"),
    ),
    "outputs without a probe set": (
        lambda i: i.search(np.ones((10, 2))),
        (ValueError, "`probe` must be given with outputs"),
    ),
    "a name with a probe set": (
        lambda i: i.search("run/1", probe=X),
        (ValueError, "`probe` must be None with the name"),
    ),
    "outputs of another length": (
        lambda i: i.search(np.ones((9, 2)), probe=X),
        (ValueError, r"shape \(10, n_outputs\).*\(9, 2\)"),
    ),
    "a model without a probe set": (
        lambda i: i.save("new", {}, model=MODELS[0]),
        (ValueError, "`probe` must be given with one of"),
    ),
    "too large a probe set": (
        lambda i: i.save("new", {}, model=MODELS[0], probe=np.zeros((128, 3))),
        (ValueError, "at most 127 samples for 2 outputs"),
    ),
    "a probe set of one axis": (
        lambda i: i.save("new", {}, model=MODELS[0], probe=X[0]),
        (ValueError, r"shape \(n_probe, input_dim\)"),
    ),
    "a key of ours": (
        lambda i: i.save("new", {}, metadata={"loss": 0.0}),
        (ValueError, "but has loss"),
    ),
    "no neighbours": (lambda i: i.search("run/1", top_k=0), (ValueError, "top_k")),
    "a tree with a set": (lambda i: i.save("new", {"a": {1}}), (TypeError, "is a set")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(five, case):
    call, (kind, message) = REFUSED[case]
    with pytest.raises(kind, match=message):
        call(five)
    assert "new" not in five.names()


def test_an_empty_index():
    index = empty()
    assert (index.names(), index.ls(), index.verify(), index.gc()) == ([], [], [], 0)
    with pytest.raises(StoreError, match="The store has no probe set"):
        index.search(MODELS[0])
    beside = CheckpointIndex.beside(MemoryStore(4, "cosine", index="mine"))
    assert beside.store.index == "mine-checkpoints"
