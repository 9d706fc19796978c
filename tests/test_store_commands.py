"""The commands that look at a vector store, over LanceDB and over a service."""

import shutil

import numpy as np
import pytest

from qstore_pl import (
    CheckpointIndex,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    cli,
    open_store,
)
from qstore_pl import checkpoint as files
from tests.servers.pinecone import KEY, serving

pytestmark = pytest.mark.timeout(60)

X = np.random.default_rng(0).uniform(-1, 1, (12, 2))
Y = (X[:, 0] > 0).astype(int)
RUN = {"epochs": 2, "batch_size": 6, "loss": "cross_entropy"}


def train(seed=0, **settings):
    """A run; its model."""
    model = QuantumModel(2, 2, n_layers=1, seed=seed)
    QuantumTrainer(TrainingConfig(**RUN, seed=0, **settings)).train(model, (X, Y))
    return model


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A store with two runs, and their models."""
    path = tmp_path_factory.mktemp("store")
    models = [train(seed, store_directory=path) for seed in (0, 1)]
    return path, models


@pytest.fixture
def store(two_runs, tmp_path):
    """A copy of it, which may be damaged."""
    return shutil.copytree(two_runs[0], tmp_path / "store")


def said(capsys, *words):
    """The exit status and the lines of a command."""
    status = cli.main(["store", *map(str, words)])
    shown = capsys.readouterr()
    return status, shown.out.splitlines(), shown.err


def test_what_is_there(two_runs, capsys):
    path, _ = two_runs
    status, lines, _ = said(capsys, "ls", path)
    assert status == 0
    assert [line for line in lines if not line.startswith(" ")] == [
        "qstore  16 numbers, cosine",
        "qstore-checkpoints  256 numbers, euclidean",
    ]
    assert "  checkpoints  4 records" in lines
    assert sum("12 records" in line for line in lines) == 2
    models = [line for line in lines if line.startswith("    model ")]
    assert len(models) == 2
    index = CheckpointIndex.open(path)
    for saved in index.ls():
        (line,) = [line for line in lines if saved.name in line]
        loss = f"{saved.metadata['loss']:.6g}"
        assert f"epoch {int(saved.metadata['epoch'])}, loss {loss}, 2 inputs" in line


def test_which_runs_behave_alike(two_runs, tmp_path, capsys):
    path, models = two_runs
    saved = CheckpointIndex.open(path).ls()
    names = [one.name for one in sorted(saved, key=lambda one: one.metadata["time"])]
    status, lines, _ = said(capsys, "search", path, names[1], "--top-k", 1)
    assert (status, len(lines)) == (0, 1)
    assert names[0] in lines[0]  # the other one of the same run
    models[1].save(tmp_path / "model.qstore")
    status, lines, _ = said(capsys, "search", path, tmp_path / "model.qstore")
    assert status == 0
    assert "difference 0.000000" in lines[0]
    assert lines[0].split()[2] in names[2:]
    outputs = [model(X) for model in models]
    far = np.sqrt(np.mean((outputs[0] - outputs[1]) ** 2))
    differences = [float(line.split()[1]) for line in lines]
    assert min(abs(one - far) for one in differences) < 2e-6


def test_which_samples_are_near(two_runs, capsys):
    path, models = two_runs
    status, lines, _ = said(capsys, "search", path, "--id", "000003", "--top-k", 2)
    assert (status, len(lines)) == (0, 6)
    wanted = []
    for model in models:
        states = model.states(X)
        fidelities = np.abs(states.conj() @ states[3]) ** 2
        fidelities[3] = 0
        wanted.append([f"{i:06d}" for i in np.argsort(-fidelities)[:2]])
    found = [[lines[i].split()[2] for i in (j + 1, j + 2)] for j in (0, 3)]
    assert sorted(found) == sorted(wanted)
    assert all(line.startswith("  fidelity 0.") for line in lines if "0000" in line)


def test_a_checkpoint_is_exported_and_resumed(two_runs, tmp_path, capsys):
    path, _ = two_runs
    name = CheckpointIndex.open(path).names()[1]
    status, lines, _ = said(capsys, "export", path, name, tmp_path / "out.qstore")
    assert (status, lines) == (0, [f"{name} written to {tmp_path / 'out.qstore'}"])
    assert cli.main(["checkpoints", "show", str(tmp_path / "out.qstore")]) == 0
    assert "epoch 2, batch 0" in capsys.readouterr().out
    trainer = QuantumTrainer(TrainingConfig(**RUN | {"epochs": 3}, seed=0))
    model = QuantumModel(2, 2, n_layers=1, seed=0)
    trainer.train(model, (X, Y), resume=tmp_path / "out.qstore")
    assert len(trainer.history) == 3


def test_rubbish_is_collected(store, capsys):
    index = CheckpointIndex.open(store)
    for name in index.names():
        index.delete(name)
    status, lines, _ = said(capsys, "gc", store)
    assert (status, lines[1]) == (0, "qstore-checkpoints  0 unused chunks deleted")
    _, lines, _ = said(capsys, "gc", store, "--older-than", 0)
    n_chunks = int(lines[1].split()[1])
    assert n_chunks >= 2
    assert lines[0] == "qstore  0 unused chunks deleted"


def test_damage_is_found(store, capsys):
    status, lines, _ = said(capsys, "verify", store)
    assert (status, lines) == (0, ["ok       qstore", "ok       qstore-checkpoints"])
    index = CheckpointIndex.open(store)
    name = index.names()[-1]
    record = index.store.fetch([name], namespace="checkpoints")[name]
    digest = record.metadata["qstore_sha256"]
    chunk = f"{digest}.000000"
    index.store.delete([chunk], namespace="checkpoints.chunks")
    status, lines, _ = said(capsys, "verify", store)
    assert status == 1
    assert f"damaged  qstore-checkpoints: checkpoint {name}" in lines


def test_other_indexes_are_named_and_left_alone(store, capsys):
    with open_store(store, index="another", dimension=2) as another:
        another.upsert([("a", [1.0, 0.0])], namespace="x.models")
    assert said(capsys, "ls", store)[1][-1] == "other indexes, for --index: another"
    _, lines, _ = said(capsys, "ls", store, "--index", "another")
    assert lines[0] == "another  2 numbers, cosine"
    assert lines[-1] == "other indexes, for --index: qstore, qstore-checkpoints"
    _, _, error = said(capsys, "search", store, "a", "--index", "another")
    assert "Index `another` has no checkpoints beside it." in error
    assert [line.split()[0] for line in said(capsys, "gc", store)[1]] == [
        "qstore",
        "qstore-checkpoints",
    ]


REFUSED = {
    "no directory": (("ls", "nothing"), "There is no directory `nothing`"),
    "no index": (
        ("ls", "{}", "--index", "other"),
        "which has qstore, qstore-checkpoints. Choose one by --index.",
    ),
    "no checkpoint": (("search", "{}", "a"), "There is no checkpoint 'a'"),
    "no record": (("search", "{}", "--id", "a"), "has no record `a`"),
    "nothing to export": (("export", "{}", "a", "b"), "There is no checkpoint 'a'"),
    "no neighbours": (
        ("search", "{}", "--id", "a", "--top-k", "-1"),
        "`top-k` must be >= 1",
    ),
    "an age of its own": (
        ("gc", "{}", "--older-than", "-1"),
        "`older-than` must be >= 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case, two_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, message = REFUSED[case]
    status, lines, error = said(capsys, *(word.format(two_runs[0]) for word in words))
    assert (status, lines) == (1, [])
    assert message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["ls"], ["search", "x"], ["export", "x", "y"]])
def test_wrong_words(words, capsys):
    with pytest.raises(SystemExit):
        cli.main(["store", *words])
    assert "usage: qstore store" in capsys.readouterr().err


def test_the_service_is_looked_at_with_the_key_of_the_environment(
    tmp_path, monkeypatch, capsys
):
    with serving(monkeypatch):
        model = train(pinecone_api_key="env:PINECONE_API_KEY")
        status, lines, error = said(capsys, "ls", "pinecone")
        assert status == 0
        name = next(line.split()[1] for line in lines if "/epoch000002" in line)
        assert said(capsys, "export", "pinecone", name, tmp_path / "out")[0] == 0
        state = files.load(tmp_path / "out")["model"]
        assert state["parameters"].tobytes() == model.parameters.tobytes()
        assert said(capsys, "verify", "pinecone")[0] == 0
        monkeypatch.setenv("PINECONE_API_KEY", f"not-{KEY}")
        status, _, wrong = said(capsys, "ls", "pinecone")
        assert status == 1
    assert KEY not in "".join([*lines, error, wrong])
