"""What is in the directory of a run, and who may write there."""

import os
import subprocess
import sys

import numpy as np
import pytest

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig, checkpoint
from qstore_pl.callbacks import Callback
from qstore_pl.errors import CheckpointError
from tests.processes import Forked

X = np.random.default_rng(3).uniform(-1.5, 1.5, (7, 3))
Y = np.random.default_rng(4).uniform(-1, 1, (7, 2))

pytestmark = pytest.mark.timeout(60)


class Recorder(Callback):
    """Notes what it is told, and calls a function after every batch."""

    def __init__(self, on_step=lambda: None):
        self.told, self.paths, self._on_step = [], [], on_step

    def on_train_begin(self, model, history):
        self.told.append("begin")

    def on_step_end(self, epoch, step, loss):
        self.told.append((epoch, step))
        self._on_step()

    def on_checkpoint(self, path):
        assert path.exists()
        self.paths.append(path.name)

    def on_exception(self, error):
        self.told.append(type(error).__name__)


def make(seed=0):
    return QuantumModel(3, 2, n_layers=1, seed=seed)


def new_trainer(directory, **changed):
    settings = {"epochs": 5, "batch_size": 3, "learning_rate": 0.1, "seed": 0}
    settings |= {"checkpoint_directory": directory, "strict_callbacks": True}
    if directory is not None:
        settings["checkpoint_interval"] = 1
    return QuantumTrainer(TrainingConfig(**settings | changed))


def train(
    directory, *, model=None, callback=(), resume=None, overwrite=False, **changed
):
    model = make() if model is None else model
    new_trainer(directory, **changed).train(
        model, (X, Y), callbacks=callback, resume=resume, overwrite=overwrite
    )
    return model.parameters


def interrupted(directory, *, after, model=None, overwrite=False, **changed):
    """A run that stops after a number of batches."""
    trainer = new_trainer(directory, **changed)
    recorder = Recorder(lambda: len(recorder.told) > after and trainer.stop())
    trainer.train(
        make() if model is None else model,
        (X, Y),
        overwrite=overwrite,
        callbacks=[recorder],
    )
    assert trainer.stopped == "stop()"


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def checkpoint_names(*epochs, step=0):
    return [f"epoch{epoch:06d}-step{step:06d}.qstore" for epoch in epochs]


# --- what is kept ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "epochs"),
    [
        ({}, [3, 4, 5]),
        ({"checkpoint_keep": 1}, [5]),
        ({"checkpoint_keep": 9}, [1, 2, 3, 4, 5]),
        ({"checkpoint_keep": 9, "checkpoint_interval": 2}, [2, 4, 5]),
        ({"checkpoint_keep": 2, "checkpoint_interval": 9}, [5]),
    ],
)
def test_the_latest_and_the_best_are_kept(tmp_path, changed, epochs):
    train(tmp_path, **changed)
    assert names(tmp_path) == ["best.qstore", *checkpoint_names(*epochs)]


def test_the_best_is_that_of_the_monitored_column(tmp_path):
    recorder = Recorder()
    settings = {"learning_rate": 1.5, "epochs": 8}
    train(tmp_path, callback=recorder, checkpoint_keep=8, **settings)
    best = checkpoint.load(tmp_path / "best.qstore")
    last = checkpoint.load(tmp_path / checkpoint_names(8)[0])
    history = new_trainer(None, **settings).train(make(), (X, Y))
    losses = history["losses"]
    epoch = int(np.argmin(losses))
    assert 0 < epoch < 7
    assert (best["run"]["best_epoch"], best["run"]["best"]) == (epoch, losses[epoch])
    assert last["run"]["best_epoch"] == epoch
    after = checkpoint.load(tmp_path / checkpoint_names(epoch + 1)[0])
    for tree in (best["model"], {"parameters": last["run"]["best_parameters"]}):
        np.testing.assert_array_equal(tree["parameters"], after["model"]["parameters"])
    assert 1 < recorder.paths.count("best.qstore") < 8
    assert [p for p in recorder.paths if p != "best.qstore"] == checkpoint_names(
        *range(1, 9)
    )


def test_files_of_others_are_left_alone(tmp_path):
    others = ["README", "epoch.qstore", "epoch000001-step000000.qstore.bak", "tmp-1"]
    for name in others:
        (tmp_path / name).write_text(name)
    (tmp_path / ".tmp-checkpoint-old").write_text("of a process that was killed")
    train(tmp_path, checkpoint_keep=1)
    assert set(names(tmp_path)) == {*others, "best.qstore", *checkpoint_names(5)}
    assert all((tmp_path / name).read_text() == name for name in others)


def test_directories_are_made(tmp_path):
    train(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == ["best.qstore", *checkpoint_names(3, 4, 5)]


def test_without_a_directory_there_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(None)
    assert names(tmp_path) == []


def test_only_the_owner_can_read(tmp_path):
    train(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("after", [2, 4])
def test_latest_is_of_the_run_that_wrote_last(tmp_path, after):
    """Not of a longer one that was in the directory before."""
    train(tmp_path, model=make(seed=1))
    interrupted(tmp_path, after=after, model=make(seed=2), overwrite=True)
    expected = train(None, model=make(seed=2))
    resumed = train(tmp_path, model=make(seed=2), resume="latest")
    np.testing.assert_array_equal(resumed, expected)


# --- one run at a time ----------------------------------------------------------

TRAIN_UNTIL_TOLD = """
import sys
from tests.trainer.test_run_directory import Recorder, train

def wait():
    print("step", flush=True)
    sys.stdin.readline()

train(sys.argv[1], callback=Recorder(wait))
"""


def test_a_second_process_is_refused(tmp_path):
    with Forked(TRAIN_UNTIL_TOLD, tmp_path) as child:
        try:
            assert child.stdout.readline() == "step\n"
            assert (tmp_path / "run.lock").read_text() == str(child.pid)
            model, recorder = make(), Recorder()
            with pytest.raises(CheckpointError, match=f"process {child.pid} trains"):
                train(tmp_path, model=model, callback=recorder)
            np.testing.assert_array_equal(model.parameters, make().parameters)
            assert recorder.told == []
            assert (tmp_path / "run.lock").exists()
            train(tmp_path / "other")
        finally:
            child.kill()
            child.wait()
    assert (tmp_path / "run.lock").exists()
    train(tmp_path)  # the process is dead, and wrote nothing
    assert names(tmp_path) == ["best.qstore", *checkpoint_names(3, 4, 5), "other"]


def test_a_second_run_in_this_process_is_refused(tmp_path):
    messages = []

    def begin_another():
        with pytest.raises(CheckpointError) as raised:
            train(tmp_path)
        messages.append(str(raised.value))

    recorder = Recorder(begin_another)
    train(tmp_path, callback=recorder, epochs=1)
    assert len(messages) == 3
    assert all(f"process {os.getpid()} trains there" in m for m in messages)
    assert names(tmp_path) == ["best.qstore", *checkpoint_names(1)]


def dead_pid():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    return child.pid


@pytest.mark.parametrize(
    "content",
    [
        lambda: str(dead_pid()),
        lambda: str(os.getpid()),  # of a container that had the same number
        lambda: "",
        lambda: "not a number",
        lambda: "9" * 30,
        lambda: "-1",
    ],
    ids=["dead", "this process", "empty", "words", "too large", "negative"],
)
def test_a_lock_that_nobody_holds_is_taken_over(tmp_path, content):
    (tmp_path / "run.lock").write_text(content())
    train(tmp_path, epochs=1)
    assert names(tmp_path) == ["best.qstore", *checkpoint_names(1)]


def test_the_lock_is_there_during_the_run_only(tmp_path):
    lock = tmp_path / "run.lock"
    seen = []
    train(tmp_path, callback=Recorder(lambda: seen.append(lock.read_text())))
    assert seen == [str(os.getpid())] * 15
    assert not lock.exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_lock_is_gone_after_an_error(tmp_path, error):
    def fail():
        assert (tmp_path / "run.lock").exists()
        raise error("stop here")

    recorder = Recorder(fail)
    with pytest.raises(error, match="stop here"):
        train(tmp_path, callback=recorder)
    assert recorder.told == ["begin", (0, 0), error.__name__]
    assert names(tmp_path) == []


# --- directories that cannot be written -----------------------------------------


@pytest.mark.parametrize("below", [(), ("runs",), ("runs", "first")])
def test_a_path_that_cannot_be_a_directory_is_refused_before_training(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("a file")
    model, recorder = make(), Recorder()
    with pytest.raises(CheckpointError, match=r"Nothing was trained; choose another"):
        train(file.joinpath(*below), model=model, callback=recorder)
    np.testing.assert_array_equal(model.parameters, make().parameters)
    assert recorder.told == []
    assert file.read_text() == "a file"


def test_a_directory_that_is_read_only_is_refused_before_training(
    tmp_path, monkeypatch
):
    """As root may write everywhere, the answer of the system is made up."""
    real_open = type(tmp_path).open

    def refuse(self, mode="r", *rest, **options):
        if self.parent == tmp_path and mode != "r":
            raise PermissionError(13, "Permission denied", str(self))
        return real_open(self, mode, *rest, **options)

    monkeypatch.setattr(type(tmp_path), "open", refuse)
    model, recorder = make(), Recorder()
    with pytest.raises(CheckpointError, match=r"Permission denied.*Nothing was train"):
        train(tmp_path, model=model, callback=recorder)
    np.testing.assert_array_equal(model.parameters, make().parameters)
    assert recorder.told == []
