"""What goes wrong in long runs: kills, full disks, NaN, bad data, bad callbacks.

What can be wrong with a file is in `test_checkpoint`; breaks without a fault are in
`test_resume`, signals in `test_interrupts`, other runs in `test_run_directory`.
"""

import errno
import json
import os
import random
import signal
import time

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import Loss, QuantumModel, QuantumTrainer, TrainingConfig, checkpoint
from qstore_pl.callbacks import Callback, CSVLogger, JSONLLogger
from qstore_pl.errors import CheckpointError
from qstore_pl.optimizers import OPTIMIZERS
from qstore_pl.trainer.run_directory import latest_in
from tests.processes import Forked, run

X = np.random.default_rng(3).uniform(-1.5, 1.5, (12, 3))
Y = np.random.default_rng(4).uniform(-1, 1, (12, 2))
GOOD = [(X[i : i + 3], Y[i : i + 3]) for i in (0, 3, 6, 9)]
MARK = 9.0  # a target for which the loss, or its gradient, is not finite
BAD = (X[:3] / 2, np.full((3, 2), MARK))

pytestmark = pytest.mark.timeout(60)


def spoilt(value):
    """Mean squared error, but of marked targets ``value``."""

    def loss(predictions, targets):
        if targets.max() == MARK:
            return value
        return float(((predictions - targets) ** 2).mean())

    return Loss(loss, lambda p, t: 2 * (p - t) / p.size)


def spoilt_gradient(value):
    """Mean squared error, but with a gradient of marked targets that is ``value``."""

    def gradient(predictions, targets):
        if targets.max() == MARK:
            return np.full_like(predictions, value)
        return 2 * (predictions - targets) / predictions.size

    return Loss(lambda p, t: float(((p - t) ** 2).mean()), gradient)


SPOILT = {
    "loss nan": spoilt(float("nan")),
    "loss inf": spoilt(float("inf")),
    "gradient nan": spoilt_gradient(float("nan")),
    "gradient inf": spoilt_gradient(float("-inf")),
}


class Steps(Callback):
    """Calls a function after every batch, and notes errors."""

    def __init__(self, function=lambda epoch, step: None):
        self._function, self.errors = function, []

    def on_step_end(self, epoch, step, loss):
        self._function(epoch, step)

    def on_exception(self, error):
        self.errors.append(error)


def make(**options):
    return QuantumModel(3, 2, n_layers=1, readout="affine", seed=0, **options)


def new_trainer(*, metrics=None, **changed):
    settings = {"epochs": 3, "learning_rate": 0.1, "seed": 0}
    if "checkpoint_directory" in changed:
        settings["checkpoint_interval"] = 1
    return QuantumTrainer(TrainingConfig(**settings | changed), metrics=metrics)


def trained(data, *, resume=None, model=None, callbacks=(), **changed):
    """The parameters after training, and the rows without times."""
    model = make() if model is None else model
    trainer = new_trainer(**changed)
    trainer.train(model, data, resume=resume, callbacks=callbacks)
    return model.parameters.tobytes(), rows(trainer)


def rows(trainer):
    return [{k: v for k, v in row.items() if k != "time"} for row in trainer.history]


# --- kill -9 --------------------------------------------------------------------

TRAIN = """
import sys
from tests.faults.test_training import Steps, long_run

say = Steps(lambda *at: print(*at, flush=True))
long_run(checkpoint_directory=sys.argv[1], resume=sys.argv[2], callbacks=[say])
"""


def long_run(*, resume="", **options):
    device = qml.device("qstore.mock_noisy", wires=3, noise="mild", seed=8)
    return trained(
        (X, Y),
        model=make(backend=device),
        resume=resume or None,
        epochs=24,
        batch_size=3,
        shots=5,
        gradient_method="spsa",
        **options,
    )


@pytest.mark.slow
def test_killed_runs_are_resumed_to_the_same_bits(tmp_path):
    rng = random.Random(2)
    epochs = [0]
    for attempt in range(3):
        with Forked(TRAIN, tmp_path, "auto") as child:
            told = [child.stdout.readline() for _ in range(rng.randrange(10, 26))]
            time.sleep(rng.uniform(0, 0.004))
            child.kill()
            rest, err = child.communicate(timeout=20)
        assert child.returncode == -signal.SIGKILL, err
        told += rest.splitlines()
        assert told[0].split() == [f"{epochs[-1]}", "0"]
        tree = latest_in(tmp_path)[1]
        epochs.append(tree["run"]["epoch"])
        assert epochs[-1] >= int(told[-2].split()[0])  # no finished epoch is lost
        (tmp_path / f".tmp-checkpoint-{attempt}").write_text("torn")
    assert epochs[3] > epochs[2] > epochs[1] > 0
    assert long_run(checkpoint_directory=tmp_path, resume="latest") == long_run()
    assert not list(tmp_path.glob(".tmp-checkpoint-*"))
    assert not (tmp_path / "run.lock").exists()


# --- losses that are not finite -------------------------------------------------


@pytest.mark.parametrize("loss", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_raise_leaves_the_parameters_before_the_step(loss, optimizer, tmp_path):
    options = {"loss": loss, "optimizer": optimizer}
    model = make()
    trainer = new_trainer(checkpoint_directory=tmp_path, **options)
    steps = Steps()
    epochs = [*GOOD[:2], GOOD[2]], [*GOOD[:2], BAD, GOOD[2]]
    with pytest.raises(ValueError, match="must be finite, but") as raised:
        trainer.train(model, ByEpoch(*epochs), callbacks=[steps])
    assert steps.errors == [raised.value]
    twin, other = make(), new_trainer(**options)
    other.train(twin, ByEpoch(epochs[0], GOOD[:2]), epochs=2)
    np.testing.assert_array_equal(model.parameters, twin.parameters)
    assert rows(trainer) == rows(other)[:1]
    assert all(np.isfinite(v).all() for v in trainer.optimizer.state.values())
    kept = checkpoint.load(tmp_path / "epoch000001-step000000.qstore")
    first = make()
    new_trainer(**options).train(first, epochs[0], epochs=1)
    np.testing.assert_array_equal(kept["model"]["parameters"], first.parameters)
    assert len(list(tmp_path.glob("epoch*"))) == 1


class ByEpoch:
    """Other batches in every epoch, the last ones again and again."""

    def __init__(self, *epochs):
        self._epochs, self._n = epochs, 0

    def __iter__(self):
        self._n += 1
        return iter(self._epochs[min(self._n, len(self._epochs)) - 1])


@pytest.mark.parametrize("loss", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_skip_is_as_if_the_batch_were_not_there(loss, optimizer):
    options = {"loss": loss, "optimizer": optimizer, "on_nan": "skip"}
    skipped = trained([GOOD[0], BAD, *GOOD[1:], BAD], **options)
    expected = trained(GOOD, **options)
    assert skipped[0] == expected[0]
    for one, other in zip(skipped[1], expected[1], strict=True):
        assert one | {"circuits": 0} == other | {"circuits": 0}


@pytest.mark.parametrize(
    "data",
    [
        [GOOD[0], BAD, GOOD[1]],
        [BAD, GOOD[0], GOOD[1], GOOD[2]],
        [GOOD[0], GOOD[1], GOOD[2], BAD],
        [GOOD[0], BAD],
    ],
    ids=["between", "first", "last of three", "last"],
)
def test_skip_with_gradients_that_are_accumulated(data):
    options = {"loss": spoilt(float("nan")), "accumulation_steps": 2, "on_nan": "skip"}
    good = [batch for batch in data if batch is not BAD]
    skipped, expected = trained(data, **options), trained(good, **options)
    assert skipped[0] == expected[0]
    assert [r["loss"] for r in skipped[1]] == [r["loss"] for r in expected[1]]


def test_skip_of_all_batches_is_told_and_changes_nothing(caplog):
    model, trainer = make(), new_trainer(loss=spoilt(float("nan")), on_nan="skip")
    trainer.train(model, [BAD, BAD], epochs=2)
    np.testing.assert_array_equal(model.parameters, make().parameters)
    assert np.isnan(trainer.history["losses"]).all()
    said = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert [line.split(":")[0] for line in said] == [
        f"epoch {epoch}, batch {batch}" for epoch in (0, 1) for batch in (0, 1)
    ]
    assert all("must be finite, but is nan" in line for line in said)


@pytest.mark.parametrize("loss", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rollback_is_to_the_end_of_the_last_epoch(loss, optimizer):
    """So the batches since then might as well not have been there."""
    options = {"loss": loss, "optimizer": optimizer, "on_nan": "rollback"}
    back = trained([GOOD[0], GOOD[1], BAD, GOOD[2], GOOD[3]], **options)
    expected = trained(GOOD[2:], **options)
    assert back[0] == expected[0]


@pytest.mark.parametrize("n_before", [1, 2, 3])
def test_rollback_forgets_gradients_that_are_accumulated(n_before):
    options = {
        "loss": spoilt(float("nan")),
        "accumulation_steps": 2,
        "on_nan": "rollback",
    }
    back = trained([*GOOD[:n_before], BAD, *GOOD[2:]], **options)
    assert back[0] == trained(GOOD[2:], **options)[0]


def test_rollback_gives_up_after_three_in_a_row():
    options = {"loss": spoilt(float("nan")), "on_nan": "rollback", "epochs": 2}
    three = [*[BAD] * 3, GOOD[0]] * 2
    assert trained(three, **options)[0] == trained([GOOD[0]], **options)[0]
    model, trainer = make(), new_trainer(**options)
    with pytest.raises(ValueError, match="must be finite, but is nan"):
        trainer.train(model, ByEpoch(GOOD, [GOOD[0], *[BAD] * 4]))
    twin = make()
    new_trainer(**options).train(twin, GOOD, epochs=1)
    np.testing.assert_array_equal(model.parameters, twin.parameters)
    assert len(trainer.history) == 1


def test_a_loss_that_is_nan_is_never_the_best(tmp_path):
    """In epochs 0 and 2 every batch is skipped."""
    trainer = new_trainer(
        loss=spoilt(float("nan")),
        on_nan="skip",
        patience=2,
        epochs=6,
        checkpoint_directory=tmp_path,
    )
    model = make()
    trainer.train(model, ByEpoch([BAD], GOOD[:1], [BAD], [BAD]))
    assert trainer.stopped == "early stopping"
    assert np.isnan(trainer.history["losses"]).tolist() == [True, False, True, True]
    best = checkpoint.load(tmp_path / "best.qstore")
    assert best["run"]["best_epoch"] == 1
    np.testing.assert_array_equal(model.parameters, best["model"]["parameters"])
    assert (model.parameters != make().parameters).any()


def test_losses_that_are_all_nan_are_none_of_them_the_best(tmp_path):
    trainer = new_trainer(
        loss=spoilt(float("nan")),
        on_nan="skip",
        patience=2,
        restore_best=False,
        epochs=6,
        checkpoint_directory=tmp_path,
    )
    history = trainer.train(make(), [BAD])
    assert (trainer.stopped, len(history)) == ("early stopping", 2)
    assert not (tmp_path / "best.qstore").exists()


# --- a full disk ----------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while ``disk.full(path)`` says so."""

    class Disk:
        attempts = ()
        full = staticmethod(lambda path: False)

    real_save = checkpoint.save

    def save(path, tree):
        Disk.attempts = (*Disk.attempts, path.name)
        if Disk.full(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        real_save(path, tree)

    monkeypatch.setattr(checkpoint, "save", save)
    return Disk


def warnings_in(caplog):
    return [r.message for r in caplog.records if r.levelname == "WARNING"]


def test_a_disk_that_is_full_for_a_while_costs_a_warning(disk, tmp_path, caplog):
    expected = trained(GOOD, epochs=4)
    disk.full = lambda path: "epoch000002" in path.name
    assert trained(GOOD, epochs=4, checkpoint_directory=tmp_path) == expected
    assert sorted(path.name for path in tmp_path.glob("epoch*")) == [
        f"epoch{epoch:06d}-step000000.qstore" for epoch in (1, 3, 4)
    ]
    said = warnings_in(caplog)
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert "it will be tried again" in said[0]


def test_a_full_disk_at_the_end_is_an_error_that_loses_nothing(disk, tmp_path, caplog):
    expected = trained(GOOD)
    disk.full = lambda path: "epoch000001" not in path.name
    model, trainer = make(), new_trainer(checkpoint_directory=tmp_path)
    with pytest.raises(CheckpointError, match=r"last checkpoint.*No space left"):
        trainer.train(model, GOOD)
    assert (model.parameters.tobytes(), rows(trainer)) == expected
    assert disk.attempts.count("epoch000003-step000000.qstore") == 2  # tried again
    assert [path.name for path in tmp_path.iterdir()] == [
        "epoch000001-step000000.qstore"
    ]
    disk.full = lambda path: False
    resumed = trained(GOOD, checkpoint_directory=tmp_path, resume="latest")
    assert resumed == expected


def test_the_best_is_written_as_soon_as_there_is_room(disk, tmp_path):
    """It was best in the first epoch, when the disk was full."""
    full = [True]
    disk.full = lambda path: full[0]
    left = iter([3.0, 2.0, 1.0])
    watched = {"monitor": "score", "monitor_mode": "max"}
    trainer = new_trainer(
        checkpoint_directory=tmp_path,
        metrics={"score": lambda p, t: next(left)},
        **watched,
    )
    make_room = Steps(lambda epoch, step: epoch == 1 and full.__setitem__(0, False))
    history = trainer.train(make(), GOOD, callbacks=[make_room])
    assert history["score"] == [3.0, 2.0, 1.0]
    best = checkpoint.load(tmp_path / "best.qstore")
    first = make()
    new_trainer().train(first, GOOD, epochs=1)
    np.testing.assert_array_equal(best["run"]["best_parameters"], first.parameters)


# --- callbacks that raise -------------------------------------------------------

HOOKS = ["train_begin", "step_end", "epoch_end", "checkpoint", "train_end"]


def raising(hook):
    def fail(self, *arguments):
        raise RuntimeError(f"{hook} failed")

    return type("Raising", (Callback,), {f"on_{hook}": fail})()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_callback_that_raises_is_logged_once_and_changes_nothing(
    hook, tmp_path, caplog
):
    model, trainer = make(), new_trainer(checkpoint_directory=tmp_path)
    counted = []
    trainer.train(
        model,
        GOOD,
        callbacks=[raising(hook), Steps(lambda epoch, step: counted.append(step))],
    )
    assert (model.parameters.tobytes(), rows(trainer)) == trained(GOOD)
    assert counted == [0, 1, 2, 3] * 3
    errors = [r for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert (
        f"Raising.on_{hook} raised RuntimeError('{hook} failed')" in errors[0].message
    )
    assert errors[0].exc_info is not None


@pytest.mark.parametrize("hook", HOOKS)
def test_a_strict_run_ends_with_the_error_of_a_callback(hook, tmp_path):
    trainer = new_trainer(checkpoint_directory=tmp_path, strict_callbacks=True)
    steps = Steps()
    with pytest.raises(RuntimeError, match=f"{hook} failed") as raised:
        trainer.train(make(), GOOD, callbacks=[raising(hook), steps])
    assert steps.errors == [raised.value]
    assert not (tmp_path / "run.lock").exists()


def test_an_interrupt_inside_a_callback_is_not_swallowed():
    def interrupt(epoch, step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        new_trainer().train(make(), GOOD, callbacks=[Steps(interrupt)])


def test_the_row_a_callback_gets_is_its_own():
    class Greedy(Callback):
        def on_epoch_end(self, row):
            row.clear()

    model, trainer = make(), new_trainer()
    trainer.train(model, GOOD, callbacks=[Greedy()])
    assert (model.parameters.tobytes(), rows(trainer)) == trained(GOOD)


def test_logs_of_a_run_that_failed_have_its_epochs(tmp_path):
    jsonl, table = tmp_path / "log.jsonl", tmp_path / "log.csv"
    with pytest.raises(ValueError, match="must be finite"):
        new_trainer(loss=spoilt(float("nan"))).train(
            make(),
            ByEpoch(GOOD, [BAD]),
            callbacks=[JSONLLogger(jsonl), CSVLogger(table)],
        )
    assert [json.loads(line)["epoch"] for line in jsonl.read_text().splitlines()] == [0]
    assert len(table.read_text().splitlines()) == 2


# --- bad data -------------------------------------------------------------------

INF, NAN = X.copy(), Y.copy()
INF[11, 2], NAN[11, 1] = np.inf, np.nan
BAD_DATA = {
    "inf in features": (INF, Y),
    "nan in targets": (X, NAN),
    "complex": (X + 1j, Y),
    "empty": (X[:0], Y[:0]),
    "fewer features": (X[:, :2], Y),
    "fewer targets": (X, Y[:5]),
    "words": (X.astype(str), Y),
    "no batches": [],
    "a number": 3.0,
}


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_are_refused_before_the_first_step(data, tmp_path):
    model, steps = make(), []
    trainer = new_trainer(checkpoint_directory=tmp_path)
    with pytest.raises((ValueError, TypeError), match=r"Argument `"):
        trainer.train(
            model, data, callbacks=[Steps(lambda epoch, step: steps.append(step))]
        )
    np.testing.assert_array_equal(model.parameters, make().parameters)
    assert steps == []
    assert list(tmp_path.iterdir()) == []


def test_a_bad_batch_is_refused_before_the_one_before_it_is_trained_on():
    model, trainer = make(), new_trainer()
    with pytest.raises(ValueError, match="must be finite"):
        trainer.train(model, [*GOOD[:2], (INF[9:], Y[9:]), GOOD[3]])
    twin = make()
    new_trainer().train(twin, GOOD[:1], epochs=1)
    np.testing.assert_array_equal(model.parameters, twin.parameters)


# --- memory ---------------------------------------------------------------------

GROW = """
import os, sys
from pathlib import Path
import numpy as np
from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.callbacks import Callback, JSONLLogger

page, resident = os.sysconf("SC_PAGE_SIZE"), {}

class Measure(Callback):
    n = 0
    def on_step_end(self, epoch, step, loss):
        self.n += 1
        if self.n in (1000, 10_000):
            pages = Path("/proc/self/statm").read_text().split()[1]
            resident[self.n] = page * int(pages)

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (500, 4))
y = X[:, 0] > 0
targets = y.astype(int) if sys.argv[2] == "cross_entropy" else np.eye(2)[y.astype(int)]
config = TrainingConfig(
    epochs=100, batch_size=5, seed=0, loss=sys.argv[2], checkpoint_interval=5,
    checkpoint_directory=sys.argv[1], log_interval=10,
)
QuantumTrainer(config).train(
    QuantumModel(4, 2, seed=0), (X, targets), (X[:50], targets[:50]),
    callbacks=[Measure(), JSONLLogger(sys.argv[1] + "/log")],
)
print(resident[10_000] - resident[1000])
"""


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_ten_thousand_steps_grow_by_less_than_two_megabytes(loss, tmp_path):
    status, out, errors = run(GROW, tmp_path, loss)
    assert status == 0, errors
    assert int(out) < 2e6
