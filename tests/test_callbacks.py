"""Callbacks: when they are told what, that they cannot harm a run, and the loggers."""

import copy
import csv
import itertools
import json
import logging
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qstore_pl import Callback, Loss, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.callbacks import (
    CSVLogger,
    JSONLLogger,
    MLflowLogger,
    TensorBoardLogger,
)

X = np.random.default_rng(3).uniform(-1.5, 1.5, (7, 2))
Y = np.random.default_rng(4).uniform(-1, 1, (7, 2))
EVENTS = (
    *("on_train_begin", "on_step_end", "on_epoch_end", "on_checkpoint"),
    *("on_exception", "on_train_end"),
)


def make():
    return QuantumModel(2, 2, n_layers=1, seed=0)


def fit(model, *callbacks, val_data=None, resume=None, **changed):
    defaults = {"epochs": 2, "batch_size": 3, "seed": 0}
    trainer = QuantumTrainer(TrainingConfig(**defaults | changed))
    trainer.train(model, (X, Y), val_data, callbacks=callbacks, resume=resume)
    return trainer


def without_times(history):
    return [{k: v for k, v in row.items() if k != "time"} for row in history]


class Recorder(Callback):
    """Every call with its arguments as they were then."""

    def __init__(self):
        self.calls = []

    @property
    def names(self):
        return [name for name, *_ in self.calls]

    def on_train_begin(self, model, history):
        self.model = model
        self.calls.append(("begin", model, len(history)))

    def on_step_end(self, epoch, step, loss):
        self.calls.append(("step", epoch, step, loss, self.model.parameters.copy()))

    def on_epoch_end(self, row):
        self.calls.append(("epoch", dict(row)))

    def on_checkpoint(self, path):
        assert path.exists()
        self.calls.append(("checkpoint", path))

    def on_exception(self, error):
        self.calls.append(("exception", error))

    def on_train_end(self, history):
        self.calls.append(("end", copy.deepcopy(history)))


def raising(event):
    """A callback that raises in one of its methods, and counts."""

    class Raising(Callback):
        n_calls = 0

        def fail(self, *arguments):
            self.n_calls += 1
            raise RuntimeError(f"in {event}")

    setattr(Raising, event, Raising.fail)
    return Raising()


# --- when, and with what ------------------------------------------------------------


def test_the_order_of_calls(tmp_path):
    recorder = Recorder()
    files = {"checkpoint_directory": tmp_path, "checkpoint_interval": 1}
    fit(make(), recorder, epochs=2, **files)
    one_epoch = ["step"] * 3 + ["epoch", "checkpoint", "checkpoint"]  # best, regular
    assert recorder.names == ["begin", *one_epoch, *one_epoch, "end"]


def test_the_arguments_of_calls(tmp_path):
    recorder, model = Recorder(), make()
    trainer = fit(
        model, recorder, val_data=(X, Y), checkpoint_directory=tmp_path, shuffle=False
    )
    assert recorder.calls[0] == ("begin", model, 0)
    assert recorder.calls[0][1] is model
    steps = [call for call in recorder.calls if call[0] == "step"]
    assert [call[1:3] for call in steps] == [(e, s) for e in (0, 1) for s in (0, 1, 2)]
    first = ((make().forward(X[:3]) - Y[:3]) ** 2).mean()
    assert steps[0][3] == pytest.approx(first, rel=1e-13)
    for epoch in (0, 1):
        losses = [call[3] for call in steps[3 * epoch : 3 * epoch + 3]]
        assert trainer.history["losses"][epoch] == pytest.approx(
            np.average(losses, weights=[3, 3, 1]), rel=1e-13
        )
    for before, after in itertools.pairwise(steps):  # after the update
        assert (before[4] != after[4]).any()
    rows = [call[1] for call in recorder.calls if call[0] == "epoch"]
    assert rows == list(trainer.history)
    assert rows[0]["val_loss"] is not None
    written = [call[1].name for call in recorder.calls if call[0] == "checkpoint"]
    assert written == [
        *("best.qstore", "epoch000001-step000000.qstore"),
        *("best.qstore", "epoch000002-step000000.qstore"),
    ]
    assert recorder.calls[-1] == ("end", trainer.history)


def test_several_callbacks_are_told_in_their_order():
    heard = []

    class Named(Callback):
        def __init__(self, name):
            self.name = name

        def on_step_end(self, epoch, step, loss):
            heard.append((epoch, step, self.name))

    fit(make(), Named("a"), Named("b"), epochs=1)
    assert heard == [(0, step, name) for step in range(3) for name in "ab"]


def test_a_resumed_run_begins_with_its_history(tmp_path):
    fit(make(), checkpoint_directory=tmp_path)
    recorder = Recorder()
    fit(make(), recorder, checkpoint_directory=tmp_path, epochs=3, resume="latest")
    assert recorder.calls[0][2] == 2
    assert [call[1]["epoch"] for call in recorder.calls if call[0] == "epoch"] == [2]
    assert [call[1] for call in recorder.calls if call[0] == "step"] == [2] * 3
    assert len(recorder.calls[-1][1]) == 3


def test_an_error_is_told_and_is_the_last_word():
    def fn(predictions, targets):
        return math.nan

    recorder = Recorder()
    with pytest.raises(ValueError, match="must be finite") as raised:
        fit(make(), recorder, loss=Loss(fn, lambda p, t: p))
    assert recorder.names == ["begin", "exception"]
    assert recorder.calls[-1][1] is raised.value


def test_an_interrupt_is_told_too():
    class Interrupting(Callback):
        def on_step_end(self, epoch, step, loss):
            raise KeyboardInterrupt

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        fit(make(), recorder, Interrupting())
    assert recorder.names == ["begin", "step", "exception"]


def test_the_end_is_told_of_a_run_that_stopped_early():
    recorder = Recorder()
    fit(make(), recorder, epochs=9, patience=1, min_delta=100.0)
    assert recorder.names.count("epoch") == 2
    assert recorder.names[-1] == "end"


def test_an_interrupted_run_has_an_end_and_no_row_for_its_last_epoch():
    class Stopping(Callback):
        def on_step_end(self, epoch, step, loss):
            if (epoch, step) == (1, 0):
                trainer.stop()

    recorder = Recorder()
    trainer = QuantumTrainer(TrainingConfig(epochs=3, batch_size=3, seed=0))
    trainer.train(make(), (X, Y), callbacks=[recorder, Stopping()])
    assert recorder.names == ["begin", "step", "step", "step", "epoch", "step", "end"]


@pytest.mark.parametrize("wrong", [print, Recorder, "logger", None])
def test_only_callbacks_are_callbacks(wrong):
    model = make()
    with pytest.raises(TypeError, match="`callbacks` must hold Callbacks"):
        fit(model, wrong)
    np.testing.assert_array_equal(model.parameters, make().parameters)


# --- callbacks that raise -------------------------------------------------------------


@pytest.mark.parametrize("event", [e for e in EVENTS if e != "on_exception"])
def test_a_callback_that_raises_is_logged_once_and_changes_nothing(
    event, tmp_path, caplog
):
    plain, wanted = make(), Recorder()
    history = fit(plain, wanted, checkpoint_directory=tmp_path / "plain").history
    model, recorder, bad = make(), Recorder(), raising(event)
    caplog.clear()
    found = fit(model, bad, recorder, checkpoint_directory=tmp_path / "run").history
    assert model.parameters.tobytes() == plain.parameters.tobytes()
    assert without_times(found) == without_times(history)
    assert recorder.names == wanted.names
    expected = {"on_train_begin": 1, "on_train_end": 1, "on_epoch_end": 2}
    assert bad.n_calls == expected.get(
        event, wanted.names.count(event[3:].split("_")[0])
    )
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"Raising.{event} raised RuntimeError('in {event}')" in record.getMessage()
    assert record.exc_info[0] is RuntimeError


def test_a_callback_that_raises_about_an_error_does_not_hide_it(caplog):
    bad = raising("on_exception")
    with pytest.raises(ValueError, match="must be finite"):
        fit(make(), bad, loss=Loss(lambda p, t: math.nan, lambda p, t: p))
    assert bad.n_calls == 1
    assert "Raising.on_exception raised" in caplog.text


def test_each_callback_is_logged_once_whatever_it_raises_in(caplog):
    class Broken(Callback):
        def on_step_end(self, epoch, step, loss):
            raise KeyError(step)

        def on_epoch_end(self, row):
            raise ValueError

    fit(make(), Broken(), Broken())
    assert len(caplog.records) == 2


@pytest.mark.parametrize("event", EVENTS)
def test_strict_callbacks_end_the_run(event, tmp_path, caplog):
    bad, recorder = raising(event), Recorder()
    changed = {}
    if event == "on_exception":
        changed["loss"] = Loss(lambda p, t: math.nan, lambda p, t: p)
    with pytest.raises(RuntimeError, match=f"^in {event}$"):
        fit(
            make(),
            recorder,
            bad,
            strict_callbacks=True,
            checkpoint_directory=tmp_path,
            **changed,
        )
    assert bad.n_calls == 1
    assert recorder.names[-1] == "exception"
    assert caplog.records == []


# --- loggers --------------------------------------------------------------------


def no_constant(word):
    raise AssertionError(f"{word} is no JSON")


def test_jsonl_has_a_line_for_every_epoch(tmp_path):
    path = tmp_path / "log.jsonl"
    history = fit(make(), JSONLLogger(path), val_data=(X, Y)).history
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_constant=no_constant) for line in lines]
    assert rows == list(history)
    assert rows[0]["accuracy"] is None
    again = fit(make(), JSONLLogger(str(path)), epochs=1).history
    assert path.read_text().splitlines()[:2] == lines
    assert json.loads(path.read_text().splitlines()[2]) == again[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_jsonl_is_strict_json_whatever_was_measured(value, tmp_path):
    path = tmp_path / "log.jsonl"
    JSONLLogger(path).on_epoch_end({"epoch": 0, "loss": value})
    row = json.loads(path.read_text(), parse_constant=no_constant)
    assert row == {"epoch": 0, "loss": str(value)}  # as in the history's JSON


def test_csv_has_a_line_of_names_and_one_for_every_epoch(tmp_path):
    path = tmp_path / "log.csv"
    history = fit(make(), CSVLogger(path), epochs=2).history
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row, wanted in zip(rows, history, strict=True):
        assert list(row) == list(wanted)
        for name, value in wanted.items():
            assert row[name] == ("" if value is None else repr(value))


def test_a_resumed_run_appends_to_its_csv(tmp_path):
    def run(epochs, **options):
        return fit(
            make(),
            CSVLogger(tmp_path / "log.csv"),
            epochs=epochs,
            checkpoint_directory=tmp_path / "run",
            **options,
        )

    run(2)
    run(3, resume="latest")
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]


def test_a_logger_that_cannot_write_does_not_end_the_run(tmp_path, caplog):
    missing = tmp_path / "nowhere" / "log"
    trainer = fit(make(), JSONLLogger(missing), CSVLogger(missing))
    assert len(trainer.history) == 2
    assert [r.getMessage().split(".")[0] for r in caplog.records] == [
        *("JSONLLogger", "CSVLogger")
    ]


class Scalars:
    """Stands in for a writer of TensorBoard."""

    made = ()

    def __init__(self, directory):
        self.directory, self.scalars, self.flushed = directory, [], False
        Scalars.made = (*Scalars.made, self)

    def add_scalar(self, name, value, step):
        assert not self.flushed
        self.scalars.append((name, value, step))

    def flush(self):
        self.flushed = True


def numbers(history):
    return [
        (name, value, row["epoch"])
        for row in history
        for name, value in row.items()
        if name != "epoch" and value is not None
    ]


def test_tensorboard_gets_every_number(tmp_path, monkeypatch):
    module = ModuleType("tensorboardX")
    module.SummaryWriter = Scalars
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    monkeypatch.setattr(Scalars, "made", ())
    history = fit(make(), TensorBoardLogger(Path(tmp_path))).history
    (writer,) = Scalars.made
    assert writer.directory == str(tmp_path)
    assert writer.scalars == numbers(history)
    assert writer.flushed


def test_mlflow_gets_every_number(monkeypatch):
    logged = []
    module = ModuleType("mlflow")
    module.log_metrics = lambda metrics, step: logged.append((metrics, step))
    monkeypatch.setitem(sys.modules, "mlflow", module)
    history = fit(make(), MLflowLogger()).history
    flat = [(n, v, step) for metrics, step in logged for n, v in metrics.items()]
    assert [step for _, step in logged] == [0, 1]
    assert flat == numbers(history)


@pytest.mark.parametrize(
    ("make_logger", "package", "extra"),
    [
        (lambda: TensorBoardLogger("runs"), "tensorboardX", "tensorboard"),
        (MLflowLogger, "mlflow", "mlflow"),
    ],
)
def test_without_their_package_they_say_what_to_install(
    make_logger, package, extra, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as raised:
        make_logger()
    assert f'pip install "qstore-pl[{extra}]"' in str(raised.value)
