"""Runs that lose nothing: what is overwritten, when files are written, how runs end."""

import logging
import os
import signal
import threading
import time

import numpy as np
import pytest

from qstore_pl import (
    Callback,
    CheckpointError,
    History,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    checkpoint,
)
from qstore_pl.trainer import run_directory, saving
from qstore_pl.trainer.run_directory import RunDirectory

RNG = np.random.default_rng(0)
X = RNG.uniform(-1.5, 1.5, (12, 3))
Y = np.tanh(X[:, :2])


def make(seed=0, **options):
    return QuantumModel(3, 2, n_layers=1, seed=seed, **options)


def trainer(directory=None, **changed):
    settings = {"epochs": 4, "batch_size": 4, "learning_rate": 0.1, "seed": 0}
    files = {} if directory is None else {"checkpoint_directory": directory}
    return QuantumTrainer(TrainingConfig(**settings | files | changed))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


# --- a better result is not overwritten (N3) ------------------------------------


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_second_run_in_the_same_directory_is_refused_and_changes_nothing(tmp_path):
    trainer(tmp_path, epochs=20).train(make(), (X, Y))
    before, model = contents(tmp_path), make(seed=1)
    with pytest.raises(
        CheckpointError, match=r"has checkpoints of another run.*overwri"
    ):
        trainer(tmp_path, epochs=1).train(model, (X, Y))
    assert contents(tmp_path) == before  # the lock is gone too
    np.testing.assert_array_equal(model.parameters, make(seed=1).parameters)


def test_the_best_alone_is_a_result_too(tmp_path):
    trainer(tmp_path).train(make(), (X, Y))
    for path in tmp_path.glob("epoch*"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"`best\.qstore`"):
        trainer(tmp_path).train(make(), (X, Y))


def test_told_to_a_run_replaces_the_one_that_was_there(tmp_path):
    trainer(tmp_path, epochs=9, checkpoint_interval=1).train(make(), (X, Y))
    trainer(tmp_path, epochs=2).train(make(seed=1), (X, Y), overwrite=True)
    assert names(tmp_path) == [
        "best.qstore",
        "epoch000001-step000000.qstore",
        "epoch000002-step000000.qstore",
    ]
    expected = make(seed=1)
    trainer(epochs=3).train(expected, (X, Y))
    resumed = make(seed=1)
    trainer(tmp_path, epochs=3).train(resumed, (X, Y), resume="latest")
    np.testing.assert_array_equal(resumed.parameters, expected.parameters)


def test_the_old_run_stays_until_the_new_one_has_written(tmp_path):
    trainer(tmp_path).train(make(), (X, Y))
    before = contents(tmp_path)

    class Die(Callback):
        def on_step_end(self, epoch, step, loss):
            raise SystemExit

    with pytest.raises(SystemExit):
        trainer(tmp_path).train(make(1), (X, Y), overwrite=True, callbacks=Die())
    assert contents(tmp_path) == before


def test_overwriting_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be False without a checkpoint_dir"):
        trainer().train(make(), (X, Y), overwrite=True)
    trainer(tmp_path).train(make(), (X, Y))
    for resume in ("latest", "auto", tmp_path / "best.qstore"):
        with pytest.raises(ValueError, match="must be False for a run that goes on"):
            trainer(tmp_path).train(make(), (X, Y), resume=resume, overwrite=True)


def test_a_run_from_elsewhere_does_not_replace_the_one_that_is_here(tmp_path):
    for name, seed in (("here", 0), ("elsewhere", 1)):
        trainer(tmp_path / name, epochs=2).train(make(seed), (X, Y))
    latest = tmp_path / "elsewhere" / "epoch000002-step000000.qstore"
    model = make(2)
    with pytest.raises(CheckpointError, match="has checkpoints of another run"):
        trainer(tmp_path / "here").train(model, (X, Y), resume=latest)
    np.testing.assert_array_equal(model.parameters, make(2).parameters)
    trainer(tmp_path / "there").train(make(1), (X, Y), resume=latest)


# --- going on (M8, N12) ---------------------------------------------------------


def test_auto_begins_and_goes_on(tmp_path):
    expected = make()
    trainer(epochs=6).train(expected, (X, Y))
    for directory in (tmp_path / "missing", tmp_path):
        for epochs in (2, 6):
            model = make()
            trainer(directory, epochs=epochs).train(model, (X, Y), resume="auto")
        np.testing.assert_array_equal(model.parameters, expected.parameters)
    with pytest.raises(ValueError, match='may be "auto" only with a checkpoint_dir'):
        trainer().train(make(), (X, Y), resume="auto")


def test_auto_does_not_begin_anew_where_all_is_damaged(tmp_path):
    trainer(tmp_path).train(make(), (X, Y))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="to resume from that can be read"):
        trainer(tmp_path).train(make(), (X, Y), resume="auto")


def test_if_only_the_best_can_be_read_the_run_goes_on_from_there(tmp_path, caplog):
    expected = make()
    trainer(epochs=6).train(expected, (X, Y))
    trainer(tmp_path).train(make(), (X, Y))
    for path in tmp_path.glob("epoch*"):
        path.write_bytes(b"")
    model = make()
    trainer(tmp_path, epochs=6).train(model, (X, Y), resume="latest")
    np.testing.assert_array_equal(model.parameters, expected.parameters)
    assert "Going back to the one before" in caplog.text


def test_patience_may_be_raised_for_a_run_that_stopped_early(tmp_path):
    def run(directory, model, patience, resume=None):
        new = trainer(directory, epochs=40, learning_rate=1.5, patience=patience)
        return new, new.train(model, (X, Y), resume=resume)

    whole = make()
    _, expected = run(None, whole, 9)
    first, short = run(tmp_path, make(), 2)
    assert first.stopped == "early stopping"
    assert len(short) < len(expected)
    again, model = make(), make()
    same, _ = run(tmp_path, again, 2, "latest")
    assert same.stopped == "early stopping"
    _, history = run(tmp_path, model, 9, "latest")
    assert history["losses"] == expected["losses"]
    np.testing.assert_array_equal(model.parameters, whole.parameters)


def test_a_default_said_aloud_is_no_other_setting(tmp_path):
    defaults = {"batch_size": 32, "shuffle": True, "learning_rate": 0.01}
    unset = dict.fromkeys(defaults)
    for first, second in ((unset, defaults), (defaults, unset)):
        directory = tmp_path / str(first is unset)
        trainer(directory, epochs=1, **first).train(make(), (X, Y))
        model = make()
        trainer(directory, **second).train(model, (X, Y), resume="latest")
        whole = make()
        trainer(**unset).train(whole, (X, Y))
        np.testing.assert_array_equal(model.parameters, whole.parameters)


def test_a_checkpoint_of_the_first_version_can_be_resumed(tmp_path):
    """Its history was a JSON document."""
    trainer(tmp_path, epochs=2).train(make(), (X, Y))
    (latest,) = tmp_path.glob("epoch000002*")
    tree = checkpoint.load(latest)
    history = History.from_tree(tree["run"]["history"])
    tree["version"], tree["run"]["history"] = 1, history.to_json()
    checkpoint.save(tmp_path / "old", tree)
    model, expected = make(), make()
    seen = trainer().train(model, (X, Y), resume=tmp_path / "old")
    assert seen["losses"] == trainer().train(expected, (X, Y))["losses"]
    np.testing.assert_array_equal(model.parameters, expected.parameters)


# --- when files are written (N5) ------------------------------------------------


class Clock:
    """A clock that epochs and files move."""

    def __init__(self, monkeypatch, *, epoch, file):
        self.now, self.epoch, self.file = 0.0, epoch, file
        monkeypatch.setattr(saving.time, "perf_counter", lambda: self.now)
        real = RunDirectory.save
        self.saved = []

        def save(directory, epoch, step, tree):
            self.now += self.file
            self.saved.append(epoch)
            return real(directory, epoch, step, tree)

        monkeypatch.setattr(RunDirectory, "save", save)
        monkeypatch.setattr(RunDirectory, "save_best", lambda *_: None)

    def callback(self):
        clock = self

        class Ticking(Callback):
            def on_epoch_end(self, row):
                clock.now += clock.epoch

        return Ticking()


@pytest.mark.parametrize(
    ("epoch", "file", "saved"),
    [
        (1.0, 0.05, list(range(1, 31))),  # 0.05 of 1.05 s is less than 5 %
        (1.0, 0.10, [*range(1, 30, 2), 30]),
        (1.0, 1.00, [1, 20, 30]),
        (0.01, 1.00, [1, 30]),
    ],
)
def test_files_take_a_twentieth_of_the_time(monkeypatch, tmp_path, epoch, file, saved):
    clock = Clock(monkeypatch, epoch=epoch, file=file)
    trainer(tmp_path, epochs=30).train(make(), (X, Y), callbacks=clock.callback())
    assert clock.saved == saved


def test_an_interval_is_kept_whatever_it_takes(monkeypatch, tmp_path):
    clock = Clock(monkeypatch, epoch=0.1, file=5.0)
    run = trainer(tmp_path, epochs=10, checkpoint_interval=3)
    run.train(make(), (X, Y), callbacks=clock.callback())
    assert clock.saved == [3, 6, 9, 10]


def test_files_do_not_change_the_run(tmp_path):
    expected, model = make(), make()
    trainer(epochs=30).train(expected, (X, Y))
    trainer(tmp_path, epochs=30).train(model, (X, Y))
    np.testing.assert_array_equal(model.parameters, expected.parameters)


def test_a_checkpoint_between_epochs_has_no_outputs_of_the_last_one(tmp_path):
    labels = (X[:, 0] > 0).astype(int)
    trainer(tmp_path, loss="cross_entropy").train(make(), (X, labels))
    for path in tmp_path.iterdir():
        totals = checkpoint.load(path)["run"]["totals"]
        assert totals["outputs"] == totals["targets"] == []


def test_the_best_has_the_history_until_then(tmp_path):
    """However late it is written."""
    values = iter([3.0, 1.0, 2.0, 2.0])
    watched = {"monitor": "score", "monitor_mode": "min", "checkpoint_interval": 4}
    new = QuantumTrainer(
        TrainingConfig(epochs=4, seed=0, checkpoint_directory=tmp_path, **watched),
        metrics={"score": lambda p, t: next(values)},
    )
    new.train(make(), (X, Y))
    run = checkpoint.load(tmp_path / "best.qstore")["run"]
    assert run["epoch"] == 2
    assert History.from_tree(run["history"])["score"] == [3.0, 1.0]


def test_a_full_disk_is_said_once(tmp_path, monkeypatch, caplog):
    def full(path, tree):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(CheckpointError, match="No space left"):
        trainer(tmp_path, checkpoint_interval=1).train(make(), (X, Y))
    assert caplog.text.count("could not be written") == 1


def test_a_directory_that_turns_read_only_is_an_error_that_loses_nothing(
    tmp_path, monkeypatch
):
    """As permissions would do it, which do not bind a superuser."""
    expected = make()
    trainer().train(expected, (X, Y))

    def refused(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    class ReadOnly(Callback):
        def on_epoch_end(self, row):
            monkeypatch.setattr(checkpoint, "save", refused)
            monkeypatch.setattr(run_directory.Path, "unlink", refused)

    model, new = make(), trainer(tmp_path)
    with pytest.raises(CheckpointError, match=r"last checkpoint.*Permission denied"):
        new.train(model, (X, Y), callbacks=ReadOnly())
    np.testing.assert_array_equal(model.parameters, expected.parameters)
    assert len(new.history) == 4


# --- one run to a directory (F22) -----------------------------------------------


def test_a_lock_file_that_was_removed_meanwhile_is_not_taken(tmp_path, monkeypatch):
    """Between opening and locking, the process that held it removes it."""
    real, calls = run_directory._hold, []

    def hold(file):
        calls.append(file)
        if len(calls) == 1:
            (tmp_path / "run.lock").unlink()
        return real(file)

    monkeypatch.setattr(run_directory, "_hold", hold)
    with RunDirectory(tmp_path, keep=1) as held:
        assert len(calls) == 2
        inside = os.fstat(held._lock.fileno())
        assert os.path.samestat(inside, (tmp_path / "run.lock").stat())
        with (
            pytest.raises(CheckpointError, match="trains there"),
            RunDirectory(tmp_path, keep=1),
        ):
            pass


# --- how a run ends (M7) --------------------------------------------------------


class Send(Callback):
    """Sends a signal to this process after a batch."""

    def __init__(self, number):
        self.number = number

    def on_step_end(self, epoch, step, loss):
        if (epoch, step) == (1, 0):
            signal.raise_signal(self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_by_default_train_returns_and_says_so(number, caplog):
    new = trainer()
    history = new.train(make(), (X, Y), callbacks=Send(number))
    assert (len(history), new.stopped) == (1, number.name)
    assert "train() returns, and the program goes on (on_interrupt" in caplog.text


def test_if_asked_an_interrupt_is_raised_after_its_checkpoint(tmp_path):
    new = trainer(tmp_path, on_interrupt="raise")
    with pytest.raises(KeyboardInterrupt):
        new.train(make(), (X, Y), callbacks=Send(signal.SIGINT))
    assert (tmp_path / "epoch000001-step000001.qstore").exists()
    assert new.stopped == "SIGINT"
    model, expected = make(), make()
    trainer().train(expected, (X, Y))
    trainer(tmp_path).train(model, (X, Y), resume="latest")
    np.testing.assert_array_equal(model.parameters, expected.parameters)


def test_sigterm_reaches_who_waits_for_it(tmp_path):
    came = []
    before = signal.signal(signal.SIGTERM, lambda *_: came.append("SIGTERM"))
    try:
        trainer(on_interrupt="raise").train(
            make(), (X, Y), callbacks=Send(signal.SIGTERM)
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert came == ["SIGTERM"]


def test_stop_of_the_trainer_is_no_interrupt():
    new = trainer(on_interrupt="raise", epochs=100_000)
    threading.Timer(0.05, new.stop).start()
    begin = time.monotonic()
    new.train(make(), (X, Y))
    assert new.stopped == "stop()"
    assert time.monotonic() - begin < 30


# --- what is shown (M3) ---------------------------------------------------------


@pytest.fixture
def without_logging(monkeypatch):
    """As in a script that has not set up logging."""
    log = logging.getLogger("qstore_pl.trainer")
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [])


def test_lines_that_are_asked_for_are_seen(without_logging, capsys):
    trainer(log_interval=2).train(make(), (X, Y))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch 1", "epoch 3"]
    assert "loss" in lines[0]


def test_where_logging_is_set_up_they_go_there(caplog, capsys):
    caplog.set_level(logging.INFO, logger="qstore_pl.trainer")
    trainer(log_interval=2).train(make(), (X, Y))
    assert len(caplog.messages) == 2
    assert capsys.readouterr().err == ""


def test_without_being_asked_nothing_is_said(without_logging, capsys):
    trainer().train(make(), (X, Y))
    assert capsys.readouterr() == ("", "")


def test_the_progress_bar_shows_the_loss(capsys):
    trainer(progress=True).train(make(), (X, Y), (X, Y))
    shown = capsys.readouterr().err
    assert "loss=" in shown
    assert "val_loss=" in shown
