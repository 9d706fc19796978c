"""A canary key that must show up nowhere: no repr, file, copy, log or traceback."""

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import numpy as np
import pytest

from qstore_pl import BackendManager, QuantumModel, QuantumTrainer, TrainingConfig, cli
from qstore_pl._secrets import Secret
from qstore_pl.callbacks import CSVLogger, JSONLLogger
from qstore_pl.index import CheckpointIndex
from qstore_pl.store import PineconeStore
from tests.servers.pinecone import serving

CANARY = "pcsk_canary_4f1d"
FIELDS = ("quantum_api_key", "pinecone_api_key")
X = np.random.default_rng(0).uniform(-1, 1, (6, 2))
Y = np.zeros((6, 1))


def both(value=CANARY):
    return TrainingConfig(epochs=2, seed=0, **dict.fromkeys(FIELDS, value))


SHOWN = {
    "repr": repr,
    "str": str,
    "format": lambda config: f"{config} {config.pinecone_api_key:}",
    "percent": lambda config: "%s %r" % (config, config.quantum_api_key),  # noqa: UP031
    "toml": TrainingConfig.to_toml,
    "dict": lambda config: str(config.to_dict()),
    "asdict": lambda config: str(dataclasses.asdict(config)),
    "astuple": lambda config: str(dataclasses.astuple(config)),
    "vars": lambda config: str(vars(config)),
    "copy": lambda config: str(vars(copy.copy(config))),
    "deepcopy": lambda config: str(vars(copy.deepcopy(config))),
    "replace": lambda config: str(vars(dataclasses.replace(config, epochs=3))),
    "manager": lambda config: f"{BackendManager(config)!r} {vars(BackendManager())}",
    "trainer": lambda config: str(vars(QuantumTrainer(config))),
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_key_is_never_shown(show):
    shown = show(both())
    assert isinstance(shown, str)
    assert CANARY not in shown


def test_it_is_still_there_for_who_needs_it():
    config = both()
    for twin in (config, copy.copy(config), copy.deepcopy(config)):
        assert all(getattr(twin, name).reveal() == CANARY for name in FIELDS)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "of", [lambda: Secret(CANARY), both, lambda: QuantumTrainer(both())]
)
def test_a_key_cannot_be_pickled(of, protocol):
    with pytest.raises(TypeError, match=r"cannot be pickled.*env:NAME") as raised:
        pickle.dumps(of(), protocol)
    assert CANARY not in "".join(traceback.format_exception(raised.value))


def test_a_key_is_no_json():
    with pytest.raises(TypeError, match="not JSON serializable") as raised:
        json.dumps(dataclasses.asdict(both()))
    assert CANARY not in str(raised.value)


def test_a_reference_is_written_and_comes_back(monkeypatch):
    config = both("env:QSTORE_TEST_KEY")
    monkeypatch.delenv("QSTORE_TEST_KEY", raising=False)
    with pytest.raises(KeyError, match="no variable QSTORE_TEST_KEY"):
        config.quantum_api_key.reveal()
    monkeypatch.setenv("QSTORE_TEST_KEY", CANARY)
    for twin in (
        TrainingConfig.from_toml(config.to_toml()),
        pickle.loads(pickle.dumps(config)),
        TrainingConfig(**config.to_dict()),
    ):
        assert twin == config
        assert all(getattr(twin, name).reveal() == CANARY for name in FIELDS)
        assert CANARY not in f"{twin!r}{twin.to_toml()}{vars(twin)}"
        assert CANARY.encode() not in pickle.dumps(twin)
    assert repr(config.quantum_api_key) == "Secret('env:QSTORE_TEST_KEY')"
    assert "env:QSTORE_TEST_KEY" in repr(config)


def test_the_words_that_stand_for_a_key():
    config = both()
    assert repr(config.pinecone_api_key) == "Secret('***')"
    assert "pinecone_api_key" not in config.to_toml()
    assert config.set_fields() == {"epochs", "seed", *FIELDS}
    assert TrainingConfig.from_toml(config.to_toml()).set_fields() == {"epochs", "seed"}


def test_equal_keys_are_equal_and_tell_no_hash():
    assert Secret(CANARY) == Secret(CANARY)
    assert Secret(CANARY) != Secret(CANARY + "x")
    assert Secret(CANARY) != CANARY
    assert hash(Secret(CANARY)) == hash(Secret("another"))
    assert both() == both()


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("", ValueError),
        ("env:", ValueError),
        (3, TypeError),
        (b"pcsk", TypeError),
    ],
)
def test_what_is_no_key_is_refused_without_being_said(value, error):
    with pytest.raises(error, match="secret must") as raised:
        TrainingConfig(pinecone_api_key=value)
    assert "pcsk" not in str(raised.value)


def test_no_traceback_has_it():
    config = both()
    with pytest.raises(ValueError, match="`epochs`") as raised:
        TrainingConfig(pinecone_api_key=CANARY, epochs=0)
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(ValueError, match="quantum_api_key must be unset") as raised:
        QuantumTrainer(config).train(QuantumModel(2, 1, seed=0), (X, Y))
    found = traceback.TracebackException.from_exception(
        raised.value, capture_locals=True
    )
    shown = "".join(found.format())
    assert "config = TrainingConfig" in shown  # what the frames hold is looked at
    assert CANARY not in shown


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch, key=CANARY) as running:
        yield running


@pytest.mark.timeout(60)
def test_no_file_store_or_log_of_a_run_has_it(server, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    config = TrainingConfig(
        epochs=2,
        seed=0,
        pinecone_api_key=CANARY,
        checkpoint_directory=tmp_path / "run",
        log_interval=1,
    )
    trainer, model = QuantumTrainer(config), QuantumModel(2, 1, n_layers=1, seed=0)
    loggers = [JSONLLogger(tmp_path / "a.jsonl"), CSVLogger(tmp_path / "a.csv")]
    history = trainer.train(model, (X, Y), callbacks=loggers)
    history.to_csv(tmp_path / "history.csv")
    (tmp_path / "history.json").write_text(history.to_json())
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    (tmp_path / "config.toml").write_text(config.to_toml())
    config.epochs = 3
    trainer.train(model, (X, Y), resume="latest")
    saved = sorted((tmp_path / "run").glob("*.qstore"))
    assert len(saved) == 4
    for path in saved:
        assert CANARY not in str(trainer.load_checkpoint(path))
        assert cli.main(["checkpoints", "show", str(path)]) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4 + 6  # checkpoints, and what was written here
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path
    stored = CheckpointIndex(PineconeStore(index="qstore-checkpoints"))
    names = stored.names()
    assert len(names) == 3  # the last one of both runs, and the best
    assert not any(CANARY in str(stored.load(name)) for name in names)
    bodies = [str(request.body) for request in server.requests]
    assert not any(CANARY in body for body in bodies)
    assert any("qstore_input" in body for body in bodies)  # embeddings came as well
    shown = capfd.readouterr()
    assert "pinecone_api_key" not in shown.out
    assert CANARY not in caplog.text + shown.out + shown.err


@pytest.mark.timeout(60)
def test_a_reference_in_a_checkpoint_is_only_its_name(server, tmp_path, monkeypatch):
    monkeypatch.setenv("QSTORE_TEST_KEY", CANARY)
    config = TrainingConfig(
        epochs=1,
        seed=0,
        pinecone_api_key="env:QSTORE_TEST_KEY",
        checkpoint_directory=tmp_path,
    )
    QuantumTrainer(config).train(QuantumModel(2, 1, n_layers=1, seed=0), (X, Y))
    (path,) = tmp_path.glob("epoch*")
    found = QuantumTrainer().load_checkpoint(path)["config"]
    assert found["pinecone_api_key"] == "env:QSTORE_TEST_KEY"
    assert CANARY.encode() not in path.read_bytes()
