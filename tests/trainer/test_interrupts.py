"""Runs that are asked to stop: by a signal, or by another thread."""

import json
import signal
import subprocess
import threading

import numpy as np
import pytest

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.callbacks import Callback
from tests.processes import Forked

X = np.random.default_rng(3).uniform(-1.5, 1.5, (7, 3))
Y = np.random.default_rng(4).uniform(-1, 1, (7, 2))
SIGNALS = [signal.SIGINT, signal.SIGTERM]

pytestmark = pytest.mark.timeout(60)


class EveryStep(Callback):
    """Calls a function of the number of batches done."""

    def __init__(self, function):
        self._function, self._n = function, 0

    def on_step_end(self, epoch, step, loss):
        self._n += 1
        self._function(self._n)


def make():
    return QuantumModel(3, 2, n_layers=1, seed=0)


def new_trainer(directory=None, **changed):
    settings = {"epochs": 3, "batch_size": 3, "learning_rate": 0.1, "seed": 0}
    return QuantumTrainer(
        TrainingConfig(**settings | changed, checkpoint_directory=directory)
    )


def ending(model, trainer):
    rows = [{k: v for k, v in row.items() if k != "time"} for row in trainer.history]
    return model.parameters.tolist(), rows, trainer.stopped


def uninterrupted(**changed):
    model, trainer = make(), new_trainer(**changed)
    trainer.train(model, (X, Y))
    return ending(model, trainer)


def resumed(directory):
    model, trainer = make(), new_trainer(directory)
    trainer.train(model, (X, Y), resume="latest")
    return ending(model, trainer)


# --- signals --------------------------------------------------------------------

TRAIN = """
import json, sys
from tests.trainer.test_interrupts import EveryStep, X, Y, ending, make, new_trainer

def wait(n):
    print(n, flush=True)
    sys.stdin.readline()

for directory in sys.argv[1:]:
    model, trainer = make(), new_trainer(directory)
    returned = trainer.train(model, (X, Y), callbacks=[EveryStep(wait)])
    assert returned is trainer.history
    print(json.dumps(ending(model, trainer)), flush=True)
"""


class Child:
    """A process that trains in each directory, and waits for a line after a batch."""

    def __init__(self, *directories):
        self.process = Forked(TRAIN, *directories)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.__exit__(*error)

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait_for(self, n_batches):
        """Until so many batches are done, and the last one waits."""
        for n in range(1, n_batches + 1):
            assert self.process.stdout.readline() == f"{n}\n"
            if n < n_batches:
                self.go_on()


# signal, batches before it, the epoch and the step of the checkpoint
FIRST = [
    (signal.SIGINT, 2, 0, 2),
    (signal.SIGTERM, 2, 0, 2),
    (signal.SIGINT, 6, 2, 0),
    (signal.SIGTERM, 6, 2, 0),
]


def test_a_signal_ends_the_run_after_the_batch(tmp_path):
    """And the next run of the process is again one that a signal ends."""
    directories = [tmp_path / f"{i}" for i in range(len(FIRST))]
    whole = uninterrupted()
    with Child(*directories) as child:
        for directory, (number, n_batches, epoch, step) in zip(
            directories, FIRST, strict=True
        ):
            child.wait_for(n_batches)
            child.process.send_signal(number)
            child.go_on()
            # No batch was begun after the signal.
            parameters, rows, stopped = json.loads(child.process.stdout.readline())
            assert stopped == number.name
            assert len(rows) == epoch
            assert rows == whole[1][:epoch]
            assert parameters != whole[0]
            assert (directory / f"epoch{epoch:06d}-step{step:06d}.qstore").exists()
            assert not (directory / "run.lock").exists()
            assert resumed(directory) == whole
        out, err = child.process.communicate(timeout=30)
    assert (child.process.returncode, out) == (0, ""), err


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_ends_it_at_once(tmp_path, number):
    with Child(tmp_path) as child:
        child.wait_for(4)
        process = child.process
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)  # the first one waits for the batch
        process.send_signal(number)
        out, err = process.communicate(timeout=20)  # no line: the batch does not end
    assert process.returncode == -number
    assert out == ""
    assert ("KeyboardInterrupt" in err) == (number == signal.SIGINT)
    assert not list(tmp_path.glob("epoch000001-step00000[1-9].qstore"))
    assert resumed(tmp_path) == uninterrupted()


def test_signals_are_handled_as_before_once_it_is_over():
    def mine(number, frame):
        raise AssertionError("not sent")

    before = [signal.signal(number, mine) for number in SIGNALS]
    try:
        during = []

        def note(n):
            during.extend(map(signal.getsignal, SIGNALS))
            if n == 2:
                raise RuntimeError("stop here")

        for options in ({}, {"strict_callbacks": True}):
            trainer = new_trainer(**options)
            try:
                trainer.train(make(), (X, Y), callbacks=[EveryStep(note)])
            except RuntimeError:
                assert options
            assert [signal.getsignal(number) for number in SIGNALS] == [mine, mine]
        assert mine not in during
        assert len(during) == 2 * 9 + 2 * 2
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)


# --- stop() ---------------------------------------------------------------------


@pytest.mark.parametrize("k", range(1, 10))
def test_stop_ends_the_run_after_the_batch(k):
    model, trainer = make(), new_trainer()
    steps = []

    def stop(n):
        steps.append(n)
        if n == k:
            trainer.stop()

    history = trainer.train(model, (X, Y), callbacks=[EveryStep(stop)])
    assert steps == list(range(1, k + 1))
    assert len(history) == k // 3
    assert trainer.stopped == ("stop()" if k < 9 else "")
    assert trainer.history is history


def test_stop_is_for_the_run_that_is_on():
    model, trainer = make(), new_trainer()
    trainer.stop()
    trainer.train(model, (X, Y), callbacks=[EveryStep(lambda n: trainer.stop())])
    assert (trainer.stopped, len(trainer.history)) == ("stop()", 0)
    again = make()
    trainer.train(again, (X, Y))
    assert ending(again, trainer) == uninterrupted()


def test_stop_at_the_end_of_the_run_leaves_early_stopping_its_name():
    options = {"patience": 1, "learning_rate": 2.0, "epochs": 12}
    expected = uninterrupted(**options)
    assert expected[2] == "early stopping"
    model, trainer = make(), new_trainer(**options)
    last = 3 * len(expected[1])
    trainer.train(
        model, (X, Y), callbacks=[EveryStep(lambda n: n == last and trainer.stop())]
    )
    assert ending(model, trainer) == expected


def test_another_thread_may_train_and_this_one_stop_it():
    model, trainer = make(), new_trainer()
    handlers = [signal.getsignal(number) for number in SIGNALS]
    at_four, stopped, seen = threading.Event(), threading.Event(), []

    def wait(n):
        seen.append([signal.getsignal(number) for number in SIGNALS])
        if n == 4:
            at_four.set()
            assert stopped.wait(30)

    thread = threading.Thread(
        target=trainer.train,
        args=(model, (X, Y)),
        kwargs={"callbacks": [EveryStep(wait)]},
    )
    thread.start()
    assert at_four.wait(30)
    trainer.stop()
    stopped.set()
    thread.join(30)
    assert not thread.is_alive()
    assert (trainer.stopped, len(trainer.history)) == ("stop()", 1)
    assert seen == [handlers] * 4
