"""Runs with a vector store: what they write, and that nothing else is changed."""

import logging

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import (
    Callback,
    CheckpointIndex,
    EmbeddingIndex,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    open_store,
)
from qstore_pl import checkpoint as files
from qstore_pl.errors import BudgetError, StoreError
from tests.servers.pinecone import KEY, serving

pytestmark = pytest.mark.timeout(60)

RNG = np.random.default_rng(2)
X = RNG.uniform(-1, 1, (30, 3))
Y = (X[:, 0] > 0).astype(int)
BATCHES = [{"inputs": X[i : i + 7], "targets": Y[i : i + 7]} for i in range(0, 30, 7)]
SETTINGS = {"epochs": 3, "batch_size": 8, "seed": 0, "loss": "cross_entropy"}


def trained(data=(X, Y), model=None, *, callbacks=(), resume=None, **settings):
    """A trainer after its run, and the model."""
    if model is None:
        model = QuantumModel(3, 2, n_layers=1, seed=0)
    trainer = QuantumTrainer(TrainingConfig(**SETTINGS | settings))
    trainer.train(model, data, callbacks=callbacks, resume=resume)
    return trainer, model


def rows(trainer):
    """The history without times."""
    columns = set(trainer.history.columns) - {"time"}
    return {name: trainer.history[name] for name in columns}


def names_of(index):
    """The checkpoints of a store by their names within their runs; the runs."""
    parts = [name.split("/") for name in index.names()]
    return [last for _, last in parts], {run for run, _ in parts}


class StopAfter(Callback):
    """Stops the run after so many batches."""

    def __init__(self, trainer, n_batches):
        self.trainer, self.left = trainer, n_batches

    def on_step_end(self, epoch, step, loss):
        self.left -= 1
        if not self.left:
            self.trainer.stop()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a store and files: directory, trainer, model."""
    path = tmp_path_factory.mktemp("run")
    trainer, model = trained(
        store_directory=path / "store",
        checkpoint_directory=path / "files",
        store_samples=20,
    )
    return path, trainer, model


# --- what is written ----------------------------------------------------------------


def test_the_result_is_the_same_bit_for_bit(run):
    _, trainer, model = run
    plain, alone = trained()
    assert model.parameters.tobytes() == alone.parameters.tobytes()
    assert rows(trainer) == rows(plain)


def test_the_checkpoints_are_those_of_the_files(run):
    path, trainer, model = run
    index = CheckpointIndex.open(path / "store")
    names, (run_id,) = names_of(index)
    assert names == ["best", "epoch000003"]
    for name, file in (("best", "best.qstore"), (names[1], "epoch000003-step000000")):
        (there,) = (path / "files").glob(f"{file}*")
        tree = index.load(f"{run_id}/{name}")
        assert files.to_bytes(tree) == there.read_bytes()
    (alike,) = index.search(f"{run_id}/best")
    assert alike.metadata["run"] == run_id
    assert alike.metadata["loss"] == trainer.history["losses"][-1]
    again = index.model(f"{run_id}/epoch000003")
    assert again.parameters.tobytes() == model.parameters.tobytes()
    probe = index.search(model, probe=X)
    assert probe[0].difference == 0.0


def test_the_embeddings_are_those_of_the_first_samples(run):
    path, _, model = run
    index = EmbeddingIndex.open(model, path / "store")
    assert len(index) == 20
    elsewhere = model.on(qml.device("default.qubit", wires=3))
    states = elsewhere.states(model.prepare(X[:20]), model.weights)
    exact = np.abs(states.conj() @ states[4]) ** 2
    found = index.search(X[4], top_k=20)
    assert found[0].id == "000004"
    for neighbour in found:
        row = int(neighbour.metadata["row"])
        assert neighbour.id == f"{row:06d}"
        assert neighbour.metadata["label"] == Y[row]
        assert neighbour.fidelity == pytest.approx(exact[row], abs=1e-5)


def test_a_run_goes_on_from_an_exported_checkpoint(tmp_path):
    store = tmp_path / "store"
    trained(store_directory=store, epochs=2)
    index = CheckpointIndex.open(store)
    _, (run_id,) = names_of(index)
    index.export(f"{run_id}/epoch000002", tmp_path / "exported")
    trainer, model = trained(
        resume=tmp_path / "exported", epochs=4, store_directory=store
    )
    plain, alone = trained(epochs=4)
    assert model.parameters.tobytes() == alone.parameters.tobytes()
    assert rows(trainer) == rows(plain)
    assert names_of(index) == (["best", "epoch000002", "epoch000004"], {run_id})
    trained(store_directory=store, epochs=2)
    assert len(names_of(index)[1]) == 2


def test_with_an_interval_checkpoints_are_written_in_between(tmp_path):
    trained(store_directory=tmp_path, checkpoint_interval=2, store_samples=0, epochs=5)
    names, _ = names_of(index := CheckpointIndex.open(tmp_path))
    assert names == ["best", "epoch000002", "epoch000004", "epoch000005"]
    assert index.store.indexes() == ["qstore-checkpoints"]


def test_a_run_that_was_stopped_is_written(tmp_path):
    model = QuantumModel(3, 2, n_layers=1, seed=0)
    config = TrainingConfig(**SETTINGS, store_directory=tmp_path, store_samples=0)
    trainer = QuantumTrainer(config)
    trainer.train(model, (X, Y), callbacks=StopAfter(trainer, 6))
    assert trainer.stopped == "stop()"
    trained(max_circuits=70, store_directory=tmp_path, store_samples=0)
    with pytest.raises(BudgetError):
        trained(
            max_circuits=70,
            on_budget="raise",
            store_directory=tmp_path,
            store_samples=0,
        )
    index = CheckpointIndex.open(tmp_path)
    names, runs = names_of(index)
    assert len(runs) == 3
    by_budget = sorted({*names} - {"best", "epoch000001-step000002"})
    assert all("-step" in name for name in by_budget)
    (stopped,) = [n for n in index.names() if n.endswith("epoch000001-step000002")]
    assert index.model(stopped).parameters.tobytes() == model.parameters.tobytes()


def test_after_early_stopping_embeddings_are_of_the_best_parameters(tmp_path):
    config = {"patience": 1, "learning_rate": 3.0, "epochs": 30}
    trainer, model = trained(store_directory=tmp_path, **config)
    assert trainer.stopped == "early stopping"
    index = CheckpointIndex.open(tmp_path)
    alike = index.search(model, probe=X)
    assert alike[0].name.endswith("/best")
    assert alike[0].difference == 0.0
    assert alike[1].difference > 0.01
    assert len(EmbeddingIndex.open(model, tmp_path)) == 30


# --- which embeddings ----------------------------------------------------------------


def test_wide_models_have_local_embeddings(tmp_path):
    wide = QuantumModel(8, 1, n_layers=1, seed=0)
    data = RNG.uniform(-1, 1, (6, 8)), RNG.uniform(-1, 1, 6)
    trained(data, wide, store_directory=tmp_path, loss="mse", epochs=1)
    index = EmbeddingIndex.open(wide, tmp_path, kind="local")
    (nearest, *_) = index.search(data[0][2], top_k=1)
    assert nearest.metadata["target"] == pytest.approx(data[1][2])


WITHOUT = {
    "shots": (
        lambda: QuantumModel(
            3, 2, n_layers=1, seed=0, backend=qml.device("qstore.mock_ideal", shots=50)
        ),
        "shots",
    ),
    "another device": (
        lambda: QuantumModel(
            3, 2, n_layers=1, seed=0, backend=qml.device("default.qubit")
        ),
        "the states on default.qubit are not at hand",
    ),
}


@pytest.mark.parametrize("case", WITHOUT)
@pytest.mark.filterwarnings("ignore:Setting shots on device")
def test_where_no_embeddings_are_written_a_line_says_why(case, tmp_path, caplog):
    make, why = WITHOUT[case]
    with caplog.at_level(logging.INFO, "qstore_pl"):
        trained((X[:4], Y[:4]), make(), store_directory=tmp_path, epochs=1)
    lines = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in lines if "No embeddings" in line]
    assert why in line
    assert "with the checkpoints epoch000001, best" in lines[-1]
    assert open_store(tmp_path, index="qstore-checkpoints").indexes() == [
        "qstore-checkpoints"
    ]


class Loader:
    """Batches that count how often they are gone over."""

    def __init__(self):
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(BATCHES)


class OfMyOwn:
    """A model that is trained, and is no QuantumModel."""

    def __init__(self, model):
        self.model = model

    def __dir__(self):
        return dir(self.model)

    def __getattr__(self, name):
        return getattr(self.model, name)


def test_other_models_have_checkpoints_only(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    model = OfMyOwn(QuantumModel(3, 2, n_layers=1, seed=0))
    _, same = trained()
    trained(model=model, store_directory=tmp_path)
    assert "No embeddings of the training samples are written: a OfMyOwn" in caplog.text
    index = CheckpointIndex.open(tmp_path)
    assert index.store.indexes() == ["qstore-checkpoints"]
    saved = index.ls()[-1]
    assert "probe" not in saved.metadata
    assert index.load(saved.name)["model"]["parameters"].tolist() == list(
        same.parameters
    )
    with pytest.raises(StoreError, match="without a model and a probe set"):
        index.search(saved.name)


def test_batches_are_gone_over_as_often_as_without_a_store(tmp_path):
    loader = Loader()
    _, model = trained(loader, store_directory=tmp_path, batch_size=None)
    _, alone = trained(Loader(), batch_size=None)
    assert loader.passes == 3
    assert model.parameters.tobytes() == alone.parameters.tobytes()
    index = EmbeddingIndex.open(model, tmp_path)
    assert len(index) == 30
    (nearest, *_) = index.search(X[17], top_k=1)
    assert (nearest.id, nearest.metadata["label"]) == ("000017", Y[17])
    # The same data are the same probe set, in batches or in arrays.
    trained(store_directory=tmp_path)
    (probe,) = CheckpointIndex.open(tmp_path).store.list(namespace="probes")
    assert len(probe) == 64


def test_an_iterator_is_used_up_once(tmp_path):
    trained(iter(BATCHES), store_directory=tmp_path, batch_size=None, epochs=1)
    store = open_store(tmp_path)
    (space,) = [
        s for s in store.stats().namespaces if s.count(".") == 1 and "models" not in s
    ]
    assert len(store.list(namespace=space)) == 30


# --- what fails -----------------------------------------------------------------------


def in_the_way(path):
    path.write_text("a file")


def other_dimension(path):
    open_store(path, dimension=5).close()


@pytest.mark.parametrize("obstacle", [in_the_way, other_dimension])
def test_a_store_that_cannot_be_used_is_refused_before_the_first_step(
    obstacle, tmp_path
):
    obstacle(tmp_path / "store")
    model = QuantumModel(3, 2, n_layers=1, seed=0)
    before = model.parameters.copy()
    with pytest.raises(StoreError, match=r"Nothing was trained.*store_directory"):
        trained(model=model, store_directory=tmp_path / "store")
    assert model.parameters.tobytes() == before.tobytes()


def test_a_store_that_fails_at_the_end_loses_nothing(tmp_path, monkeypatch):
    def fail(self, *arguments, **options):
        raise StoreError("The disk is full.")

    monkeypatch.setattr(CheckpointIndex, "save", fail)
    model = QuantumModel(3, 2, n_layers=1, seed=0)
    config = TrainingConfig(
        **SETTINGS,
        store_directory=tmp_path / "store",
        checkpoint_directory=tmp_path / "files",
    )
    trainer = QuantumTrainer(config)
    with pytest.raises(StoreError, match=r"disk is full.*trainer.history"):
        trainer.train(model, (X, Y))
    _, alone = trained()
    assert model.parameters.tobytes() == alone.parameters.tobytes()
    assert len(trainer.history) == 3
    (last,) = (tmp_path / "files").glob("epoch000003*")
    assert files.load(last)["run"]["epoch"] == 3


def test_a_checkpoint_in_between_that_fails_ends_nothing(tmp_path, monkeypatch, caplog):
    save, calls = CheckpointIndex.save, []

    def fail_once(self, name, *arguments, **options):
        calls.append(name)
        if len(calls) == 1:
            raise StoreError("The network is down.")
        save(self, name, *arguments, **options)

    monkeypatch.setattr(CheckpointIndex, "save", fail_once)
    trained(store_directory=tmp_path, checkpoint_interval=1, store_samples=0)
    names, _ = names_of(CheckpointIndex.open(tmp_path))
    assert names == ["best", "epoch000002", "epoch000003"]
    assert "network is down" in caplog.text


def test_an_estimate_writes_nothing(tmp_path):
    config = TrainingConfig(**SETTINGS, store_directory=tmp_path / "store")
    model = QuantumModel(3, 2, n_layers=1, seed=0)
    estimate = QuantumTrainer(config).estimate_cost(model, (X, Y))
    assert estimate.total.circuits > 0
    assert list(tmp_path.iterdir()) == []


# --- Pinecone -------------------------------------------------------------------------


def test_a_run_with_a_key_writes_to_the_service_but_not_the_key(tmp_path, monkeypatch):
    with serving(monkeypatch) as server:
        settings = {
            "pinecone_api_key": KEY,
            "pinecone_index_name": "mine",
            "checkpoint_directory": tmp_path,
        }
        _, model = trained(**settings)
        config = TrainingConfig(**settings)
        index = CheckpointIndex.open(config)
        assert names_of(index)[0] == ["best", "epoch000003"]
        assert len(EmbeddingIndex.open(model, config)) == 30
        assert sorted(server.indexes) == ["mine", "mine-checkpoints"]
        for name in index.names():
            assert KEY.encode() not in files.to_bytes(index.load(name))
        monkeypatch.setenv("PINECONE_API_KEY", "wrong")
        before = model.parameters.copy()
        with pytest.raises(StoreError, match=r"Nothing was.*pinecone_index_name"):
            trained(model=model, pinecone_api_key="env:PINECONE_API_KEY")
        assert model.parameters.tobytes() == before.tobytes()
    for path in tmp_path.iterdir():
        assert KEY.encode() not in path.read_bytes()
