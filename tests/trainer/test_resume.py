"""A run that was stopped and resumed ends as the one that was not: bit for bit.

What files survive is in `test_checkpoint`, what a directory holds in
`test_run_directory`, and how signals stop a run in `test_interrupts`.
"""

import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import Loss, QuantumModel, QuantumTrainer, TrainingConfig, checkpoint
from qstore_pl.callbacks import Callback
from qstore_pl.errors import CheckpointError
from qstore_pl.losses import get_loss
from qstore_pl.optimizers import OPTIMIZERS, Adam, NaturalGradient
from qstore_pl.trainer import resume as resume_module

X = np.random.default_rng(3).uniform(-1.5, 1.5, (7, 3))
Y = np.random.default_rng(4).uniform(-1, 1, (7, 2))
LABELS = np.array([0, 1, 1, 0, 1, 0, 0])
BATCHES = [(X[:3], Y[:3]), (X[3:6], Y[3:6]), (X[6:], Y[6:])]
MARK = 9.0  # a target for which the loss below is not finite
MARKED = Y.copy()
MARKED[2] = MARK
WIDE = np.random.default_rng(5).uniform(-1, 1, (70, 8))

pytestmark = pytest.mark.timeout(120)


class StopAfter(Callback):
    """Asks the trainer to stop after a number of batches."""

    def __init__(self, trainer, n_batches):
        self._trainer, self._left = trainer, n_batches

    def on_step_end(self, epoch, step, loss):
        self._left -= 1
        if self._left == 0:
            self._trainer.stop()


def spoilt_value(predictions, targets):
    if targets.max() == MARK:
        return float("nan")
    return float(((predictions - targets) ** 2).mean())


SPOILT = Loss(spoilt_value, lambda p, t: 2 * (p - t) / p.size)


def mean_absolute_error(predictions, targets):
    return abs(predictions - targets).mean()


@dataclass(frozen=True)
class Case:
    """A run: settings, data, and where it happens."""

    config: dict[str, Any] = field(default_factory=dict)
    device: str = "mock_ideal"
    data: Any = (X, Y)
    val_data: Any = None
    optimizer: Any = None
    metrics: Any = None
    model: dict[str, Any] = field(default_factory=dict)

    def new_model(self):
        options = {"input_dim": 3, "output_dim": 2, "n_layers": 1, "seed": 0}
        options |= self.model
        noise = {"noise": "mild"} if self.device == "mock_noisy" else {}
        name = f"qstore.{self.device}" if "mock" in self.device else self.device
        device = qml.device(name, wires=options["input_dim"], seed=5, **noise)
        return QuantumModel(**options, backend=device)

    def new_trainer(self, directory, **changed):
        config = {"epochs": 4, "seed": 0, "checkpoint_directory": directory}
        if directory is not None:
            config["checkpoint_interval"] = 1
        if self.optimizer is None:
            config["learning_rate"] = 0.1
        if isinstance(self.data, tuple):
            config["batch_size"] = 3
        return QuantumTrainer(
            TrainingConfig(**config | self.config | changed),
            optimizer=self.optimizer,
            metrics=self.metrics,
        )

    def run(self, directory, *, stop_after=None, resume=None, **changed):
        """Train a new model: the end of it, and the trainer."""
        model, trainer = self.new_model(), self.new_trainer(directory, **changed)
        callbacks = [StopAfter(trainer, stop_after)] if stop_after else []
        trainer.train(
            model, self.data, self.val_data, resume=resume, callbacks=callbacks
        )
        return ending(model, trainer), trainer


def ending(model, trainer):
    """All that must be the same: parameters, history without times, and the reason."""
    rows = [{k: v for k, v in row.items() if k != "time"} for row in trainer.history]
    return model.parameters.tobytes().hex(), json.dumps(rows), trainer.stopped


EXACT = {
    f"{name} on {device}": Case(
        {"optimizer": name}
        | ({"metric_tensor": "noiseless"} if name == "natural_gradient" else {}),
        device=device,
    )
    for name in OPTIMIZERS
    for device in ("mock_ideal", "mock_noisy")
} | {
    "gauss-newton": Case(
        {"optimizer": "natural_gradient", "metric_tensor": "gauss-newton"}
    ),
    "gauss-newton with noise": Case(
        {"optimizer": "natural_gradient", "metric_tensor": "gauss-newton"},
        device="mock_noisy",
    ),
    "fubini-study, one by one, accumulated": Case(
        {
            "optimizer": "natural_gradient",
            "metric_tensor_approximation": "matrix-free",
            "accumulation_steps": 2,
        }
    ),
    "a metric kept and averaged, damping that adapts": Case(
        optimizer=NaturalGradient(
            0.1, interval=2, averaging=0.5, momentum=0.3, adapt_damping=True
        )
    ),
    "cosine after a warm-up": Case({"schedule": "cosine", "warmup_epochs": 2}),
    "steps": Case({"schedule": "step", "schedule_every": 2, "optimizer": "momentum"}),
    "accumulated by two": Case({"accumulation_steps": 2}),
    "accumulated over all": Case({"accumulation_steps": 5}, device="mock_noisy"),
    "validation and patience": Case(
        {"patience": 1, "learning_rate": 2.0, "epochs": 12}, val_data=(X[:3], -Y[:3])
    ),
    "patience, without the best": Case(
        {"patience": 2, "learning_rate": 2.0, "epochs": 12, "restore_best": False}
    ),
    "patience, rare checkpoints": Case(
        {"patience": 1, "learning_rate": 2.0, "epochs": 12, "checkpoint_interval": 3}
    ),
    "freezing": Case({"freeze_schedule": {0: [0, 1], 1: [4], 3: []}}),
    "spsa": Case({"gradient_method": "spsa", "gradient_directions": 2}),
    "random_subset": Case(
        {"gradient_method": "random_subset", "gradient_sample_size": 2},
        device="mock_noisy",
    ),
    "parameter_shift": Case({"gradient_method": "parameter_shift", "epochs": 2}),
    "skip": Case({"loss": SPOILT, "on_nan": "skip"}, data=(X, MARKED)),
    "rollback": Case({"loss": SPOILT, "on_nan": "rollback"}, data=(X, MARKED)),
    "rollback, accumulated": Case(
        {"loss": SPOILT, "on_nan": "rollback", "accumulation_steps": 2},
        data=(X, MARKED),
    ),
    "labels, class weights, metrics": Case(
        {"loss": "cross_entropy", "class_weight": "balanced", "validation_interval": 3},
        data=(X, LABELS),
        val_data=(X[1:5], LABELS[1:5]),
        metrics={"mae": mean_absolute_error},
        model={"readout": "affine"},
    ),
    "class weights by hand, clipped": Case(
        {
            "loss": "cross_entropy",
            "class_weight": {0: 1.0, 1: 3.0},
            "gradient_clip_norm": 0.1,
        },
        data=(X, LABELS),
    ),
    "metrics of values": Case(
        {"monitor": "val_mae", "monitor_mode": "min", "patience": 1},
        val_data=(X[:2], Y[:2]),
        metrics={"mae": mean_absolute_error},
    ),
    "scores of one output": Case(
        {"loss": Loss(lambda p, t: ((p - t) ** 2).mean(), name="own")},
        data=(X, Y[:, 0]),
        val_data=(X[:2], Y[:2, 0]),
        metrics={"mae": mean_absolute_error},
        model={"output_dim": 1},
    ),
    "batches": Case(data=BATCHES, val_data=BATCHES[:2]),
    "batches of labels": Case(
        {"loss": "cross_entropy"},
        data=[{"inputs": X[:4], "targets": LABELS[:4]}, (X[4:], LABELS[4:])],
    ),
    "in order, amplitudes": Case(
        {"shuffle": False}, model={"encoding": "amplitude", "n_qubits": 2}
    ),
    "wide": Case(
        {"batch_size": 32, "epochs": 2},
        data=(WIDE, WIDE[:, :2]),
        model={"input_dim": 8, "n_layers": 2},
    ),
    "wide with labels": Case(
        {"batch_size": 32, "epochs": 2, "loss": "cross_entropy"},
        data=(WIDE, (WIDE[:, 0] > 0).astype(int)),
        model={"input_dim": 8, "n_layers": 2},
    ),
}
SHOTS = {
    "shots": Case({"shots": 20, "epochs": 2}, val_data=(X[:2], Y[:2])),
    "shots with noise": Case(
        {"shots": 20, "epochs": 2, "optimizer": "sgd"}, device="mock_noisy"
    ),
    "spsa with shots": Case(
        {"shots": 20, "gradient_method": "spsa", "epochs": 2}, device="mock_noisy"
    ),
    "spsa with shots, without noise": Case(
        {"shots": 20, "gradient_method": "spsa", "epochs": 2}
    ),
    "parameter_shift with shots": Case(
        {"shots": 20, "gradient_method": "parameter_shift", "epochs": 2},
        model={"readout": "affine"},
    ),
    "parameter_shift with shots and noise": Case(
        {"shots": 20, "gradient_method": "parameter_shift", "accumulation_steps": 2},
        device="mock_noisy",
        val_data=(X[:2], Y[:2]),
    ),
    "finite_diff with shots": Case(
        {"shots": 20, "gradient_method": "finite_diff", "epochs": 2}
    ),
} | {
    f"random_subset with shots on {device}": Case(
        {
            "shots": 20,
            "gradient_method": "random_subset",
            "gradient_sample_size": 2,
            "epochs": 2,
        },
        device=device,
    )
    for device in ("mock_ideal", "mock_noisy")
}
CASES = EXACT | SHOTS


def steps_in_an_epoch(case, trainer):
    """How many batches a run did in an epoch."""
    spoilt = isinstance(case.data, tuple) and case.data[1] is MARKED
    samples = len(case.data[0]) if isinstance(case.data, tuple) else None
    size = trainer.config.resolve("batch_size")
    per_epoch = -(-samples // size) if samples else len(case.data)
    return per_epoch - spoilt


# --- the law --------------------------------------------------------------------

# Where what is kept between batches is more than weights and the optimizer's state.
AT_EVERY_BATCH = {
    "adam on mock_ideal",
    "a metric kept and averaged, damping that adapts",
    "accumulated by two",
    "validation and patience",
    "patience, rare checkpoints",
    "freezing",
    "rollback, accumulated",
    "spsa with shots",
    "random_subset with shots on mock_ideal",
    "batches of labels",
}


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_ends_as_one_without_a_break(name, tmp_path):
    case = CASES[name]
    expected, whole = case.run(tmp_path / "whole")
    assert len(whole.history) > 1
    size = steps_in_an_epoch(case, whole)
    last = size * len(whole.history)
    # In the first epoch, between two, in the second, and at the end of the run.
    some = {1, size, 2 * size - 1, last}
    every = name in AT_EVERY_BATCH
    broken = set()
    for k in range(1, last + 1) if every else sorted(some):
        directory = tmp_path / f"{k}"
        part, stopped = case.run(directory, stop_after=k)
        broken.add(len(stopped.history))
        assert (part != expected) == (stopped.stopped == "stop()") or k == last
        resumed, _ = case.run(directory, resume="latest")
        assert resumed == expected, f"stopped after batch {k}"
    epochs = set(range(len(whole.history) + 1))
    assert broken == (epochs if every else {0, 1, max(epochs)})


@pytest.mark.parametrize(
    "name", ["validation and patience", "skip", "adam on mock_noisy"]
)
def test_a_finished_run_resumed_is_the_same_once_more(name, tmp_path):
    case = CASES[name]
    expected, _ = case.run(tmp_path)
    for _ in range(2):
        assert case.run(tmp_path, resume="latest")[0] == expected


@pytest.mark.parametrize("name", ["cosine after a warm-up", "shots with noise", "skip"])
def test_a_run_may_break_again_and_again(name, tmp_path):
    case = CASES[name]
    expected, _ = case.run(tmp_path / "whole")
    directory = tmp_path / "broken"
    case.run(directory, stop_after=1)
    for _ in range(20):
        resumed, trainer = case.run(directory, stop_after=1, resume="latest")
        if not trainer.stopped:
            break
    assert resumed == expected


@pytest.mark.parametrize("name", ["natural_gradient on mock_ideal", "rollback", "skip"])
def test_every_file_that_is_left_may_be_resumed_by_its_path(name, tmp_path):
    case = CASES[name]
    expected, _ = case.run(tmp_path, checkpoint_keep=10)
    files = [p for p in tmp_path.iterdir() if p.suffix == ".qstore"]
    assert {"best.qstore", "epoch000001-step000000.qstore"} <= {f.name for f in files}
    for file in files:
        assert case.run(None, resume=file)[0] == expected, file.name
        assert case.run(None, resume=str(file))[0] == expected, file.name


def test_more_epochs_are_one_long_run(tmp_path):
    case = Case(device="mock_noisy", val_data=(X[:2], Y[:2]))
    expected, _ = case.run(tmp_path / "long", epochs=6)
    case.run(tmp_path / "two", epochs=2)
    assert case.run(tmp_path / "two", resume="latest", epochs=6)[0] == expected


COSINE = {"schedule": "cosine"}
PROLONGED = {
    "cosine": COSINE | {"schedule_epochs": 6},
    "cosine of more": COSINE | {"schedule_epochs": 9, "optimizer": "momentum"},
    "cosine that ends": COSINE | {"schedule_epochs": 3, "schedule_final": 0.01},
    "cosine after a warm-up": COSINE | {"schedule_epochs": 6, "warmup_epochs": 2},
    "warm-up": {"warmup_epochs": 4},
    "steps": {"schedule": "step", "schedule_every": 2},
    "freezing": {"freeze_schedule": {0: [0], 1: [3], 4: []}},
}


@pytest.mark.parametrize("config", PROLONGED.values(), ids=PROLONGED)
def test_a_run_whose_schedule_does_not_ask_for_its_epochs_is_prolonged(
    config, tmp_path
):
    case = Case(config)
    expected, _ = case.run(tmp_path / "whole", epochs=6)
    for name, begun in (
        ("ended", {"epochs": 2}),
        ("broken", {"epochs": 3, "stop_after": 4}),
    ):
        case.run(tmp_path / name, **begun)
        resumed, _ = case.run(tmp_path / name, resume="latest", epochs=6)
        assert resumed == expected, name


@pytest.mark.parametrize("warm", [{}, {"warmup_epochs": 2}], ids=["", "warm-up"])
@pytest.mark.parametrize("by_call", [False, True])
def test_a_schedule_that_took_its_length_from_the_epochs_keeps_it(
    warm, by_call, tmp_path
):
    case = Case(COSINE | warm)
    case.run(tmp_path, stop_after=7)  # of 4 epochs
    model = case.new_model()
    before = model.parameters.copy()
    trainer = case.new_trainer(tmp_path, **({} if by_call else {"epochs": 6}))
    with pytest.raises(CheckpointError, match="schedule_epochs was 4, is 6") as raised:
        trainer.train(model, (X, Y), epochs=6 if by_call else None, resume="latest")
    assert "keep epochs=4, or set schedule_epochs=4" in str(raised.value)
    np.testing.assert_array_equal(model.parameters, before)


def test_the_length_may_be_said_when_it_is_resumed(tmp_path):
    case, final = Case(COSINE), {"schedule_final": 0.01}
    expected, _ = case.run(tmp_path / "a")
    case.run(tmp_path / "b", stop_after=4)
    assert case.run(tmp_path / "b", resume="latest", schedule_epochs=4)[0] == expected
    said = final | {"epochs": 6, "schedule_epochs": 4}
    expected, _ = case.run(tmp_path / "c", **said)
    case.run(tmp_path / "d", **final)
    assert case.run(tmp_path / "d", resume="latest", **said)[0] == expected


def without(path, where, *names):
    """A checkpoint as one of an earlier version: without some of its settings."""
    tree = checkpoint.load(path)
    for name in names:
        del tree["config"][name]
    checkpoint.save(where, tree)
    return where


def test_a_length_that_was_not_recorded_is_taken_to_be_the_same(tmp_path):
    case = Case(COSINE)
    expected, _ = case.run(tmp_path / "whole")
    case.run(tmp_path / "new", stop_after=4)
    new = tmp_path / "new" / "epoch000001-step000001.qstore"
    old = without(new, tmp_path / "old.qstore", "schedule_epochs")
    with pytest.warns(UserWarning, match="length of its schedule was not recorded"):
        assert case.run(None, resume=old)[0] == expected


def test_a_validation_out_of_turn_is_told(tmp_path):
    """The last epoch is validated always, and so may stop a run that goes on."""
    case = Case({"validation_interval": 3}, val_data=(X[:2], Y[:2]))
    case.run(tmp_path, epochs=4)
    with pytest.warns(
        UserWarning, match="epoch 4 was validated because it was the last"
    ):
        resumed, _ = case.run(tmp_path, resume="latest", epochs=6)
    expected, _ = case.run(None, epochs=6)
    assert resumed[0] == expected[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case.run(tmp_path, resume="latest", epochs=7)


def test_the_epochs_of_the_call_are_the_total(tmp_path):
    case = Case()
    expected, _ = case.run(tmp_path / "long", epochs=3)
    case.run(tmp_path / "two", stop_after=4)
    model, trainer = case.new_model(), case.new_trainer(tmp_path / "two")
    trainer.train(model, case.data, epochs=3, resume="latest")
    assert ending(model, trainer) == expected


def test_without_resume_a_run_begins_at_the_models_parameters(tmp_path):
    case = Case()
    model = case.new_model()
    case.new_trainer(tmp_path / "a").train(model, case.data)
    twin = case.new_model()
    twin.parameters[:] = model.parameters
    first, second = case.new_trainer(tmp_path / "a"), case.new_trainer(None)
    first.train(model, case.data, overwrite=True)
    second.train(twin, case.data)
    assert ending(model, first) == ending(twin, second)


def test_one_trainer_may_resume_itself(tmp_path):
    case = Case({"optimizer": "momentum"})
    expected, _ = case.run(tmp_path / "whole")
    model, trainer = case.new_model(), case.new_trainer(tmp_path / "broken")
    trainer.train(model, case.data, callbacks=[StopAfter(trainer, 5)])
    assert (trainer.stopped, len(trainer.history)) == ("stop()", 1)
    trainer.train(model, case.data, resume="latest")
    assert ending(model, trainer) == expected


@pytest.mark.parametrize("sdk", ["mock_ideal", "mock_noisy"])
def test_the_seed_of_the_settings_is_that_of_the_shots_too(sdk, tmp_path):
    """Where the device is the trainer's choice."""

    def trained(directory, *, seed=0, stop_after=None, resume=None):
        model = QuantumModel(3, 2, n_layers=1, seed=0)
        trainer = Case().new_trainer(
            directory, seed=seed, shots=20, epochs=1, shuffle=False, quantum_sdk=sdk
        )
        stop = [StopAfter(trainer, stop_after)] if stop_after else []
        trainer.train(model, (X, Y), resume=resume, callbacks=stop)
        return ending(model, trainer)

    expected = trained(None)
    assert trained(None) == expected
    assert trained(None, seed=1) != expected
    trained(tmp_path, stop_after=1)
    assert trained(tmp_path, resume="latest") == expected


ELSEWHERE = """
import json, sys
from tests.trainer.test_resume import CASES
directory, names = sys.argv[1], sys.argv[2:]
print(json.dumps(
    [CASES[n].run(f"{directory}/{n}", resume="latest")[0] for n in names]
))
"""


def test_another_process_with_other_threads_and_hashes(tmp_path):
    names = {
        "adam on mock_noisy": 5,
        "gauss-newton": 7,
        "labels, class weights, metrics": 3,
        "shots with noise": 4,
        "wide": 4,
        "wide with labels": 2,
    }
    expected = [CASES[name].run(tmp_path / "whole" / name)[0] for name in names]
    for name, k in names.items():
        CASES[name].run(tmp_path / name, stop_after=k)
    environment = os.environ | {"PYTHONHASHSEED": "12345", "QSTORE_NUM_THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ELSEWHERE, str(tmp_path), *names],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    for name, one, other in zip(names, json.loads(done.stdout), expected, strict=True):
        assert tuple(one) == other, name


# --- what is refused ------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The file of a run that stopped in its second epoch."""
    directory = tmp_path_factory.mktemp("stopped")
    Case().run(directory, stop_after=4)
    return directory / "epoch000001-step000001.qstore"


@pytest.mark.parametrize(
    ("changed", "listed"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"batch_size": 2}, "batch_size was 3, is 2"),
        ({"shots": 10}, "shots was None, is 10"),
        ({"learning_rate": 0.2}, "learning_rate was 0.1, is 0.2"),
        ({"loss": mean_absolute_error}, "loss was 'mse', is 'function mean_absolute_e"),
        ({"on_nan": "skip"}, "on_nan was 'raise', is 'skip'"),
        ({"freeze_schedule": {1: [0]}}, r"freeze_schedule was None, is \{'1': \[0\]\}"),
        ({"optimizer": "sgd"}, r"optimizer was 'Adam\(.*', is 'SGD\("),
        (
            {"schedule": "step", "gradient_clip_norm": 1.0},
            "gradient_clip_norm was None, is 1.0; schedule was 'constant', is 'step'",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_settings_are_listed(stopped, changed, listed):
    model, trainer = Case().new_model(), Case().new_trainer(None, **changed)
    before = model.parameters.copy()
    with pytest.raises(CheckpointError, match=f"settings it began with, but.*{listed}"):
        trainer.train(model, (X, Y), resume=stopped)
    np.testing.assert_array_equal(model.parameters, before)


def test_settings_that_change_no_bit_may_change(stopped, tmp_path):
    expected, _ = Case().run(tmp_path / "whole")
    resumed, _ = Case().run(
        tmp_path / "there",
        resume=stopped,
        checkpoint_interval=2,
        checkpoint_keep=1,
        log_interval=1,
        strict_callbacks=True,
    )
    assert resumed == expected


def test_another_optimizer_object(tmp_path):
    Case(optimizer=Adam(0.1)).run(tmp_path, stop_after=4)
    with pytest.raises(
        CheckpointError, match=r"beta2=0\.999, .* is 'Adam\(.*beta2=0\.9,"
    ):
        Case(optimizer=Adam(0.1, beta2=0.9)).run(tmp_path, resume="latest")


@pytest.mark.parametrize(
    "data",
    [(X + 1e-9, Y), (X, Y[::-1].copy()), (X[:6], Y[:6]), BATCHES],
    ids=["features", "targets", "fewer", "batches"],
)
def test_other_data(stopped, data):
    config = TrainingConfig(epochs=4, seed=0, learning_rate=0.1)
    if isinstance(data, tuple):
        config.batch_size = 3
    with pytest.raises(CheckpointError, match=r"(the data|settings) it began with"):
        QuantumTrainer(config).train(Case().new_model(), data, resume=stopped)


def test_other_validation_data(tmp_path):
    """They decide which epoch is best, and when to stop."""
    Case(val_data=(X[:2], Y[:2])).run(tmp_path, stop_after=4)
    for other in (None, (X[:3], Y[:3])):
        with pytest.raises(CheckpointError, match="data it began with"):
            Case(val_data=other).run(tmp_path, resume="latest")


def test_other_metrics(stopped):
    case = Case(metrics={"mae": mean_absolute_error})
    with pytest.raises(CheckpointError, match="mae"):
        case.run(None, resume=stopped)


def off_by(shift):
    """A loss that closes over a number or an array."""
    return lambda p, t: pnp.mean((p - t - shift) ** 2)


def slope(p, t):
    return 2 * (p - t) / p.size


def noise_of(probability):
    """A noise model of a function and a condition of one's own."""
    wide = qml.BooleanFn(lambda op: len(op.wires) > 1)
    channel = {"op": lambda op, **_: qml.BitFlip(probability, wires=op.wires[0])}["op"]
    return qml.NoiseModel({~wide: channel})


OTHER_FUNCTIONS = {  # two runs that differ by a function of the same name
    "code": (
        Case({"loss": lambda p, t: pnp.mean((p - t) ** 2)}),
        Case({"loss": lambda p, t: pnp.mean(abs(p - t))}),
        r"the loss \(fn\)",
    ),
    "number closed over": (
        Case({"loss": off_by(0.5)}),
        Case({"loss": off_by(0.25)}),
        r"the loss \(fn\)",
    ),
    "array closed over": (
        Case({"loss": off_by(Y[:1])}),
        Case({"loss": off_by(Y[1:2])}),
        r"the loss \(fn\)",
    ),
    "gradient": (
        Case({"loss": Loss(off_by(0.0), slope)}),
        Case({"loss": Loss(off_by(0.0), lambda p, t: 2 * (p - t) / p.size)}),
        r"the loss \(grad\)",
    ),
    "preparation": (
        Case({"loss": Loss(off_by(0.0), prepare=lambda t, *_: np.asarray(t))}),
        Case({"loss": Loss(off_by(0.0), prepare=lambda t, *_: np.asarray(t) * 1)}),
        r"the loss \(prepare\)",
    ),
    "metric": (
        Case(metrics={"mae": mean_absolute_error}),
        Case(metrics={"mae": lambda p, t: abs(p - t).max()}),
        r"metrics\['mae'\]",
    ),
}


@pytest.mark.parametrize(
    ("mine", "other", "words"), OTHER_FUNCTIONS.values(), ids=OTHER_FUNCTIONS
)
def test_another_function_of_the_same_name(mine, other, words, tmp_path):
    expected, _ = mine.run(tmp_path / "whole")
    mine.run(tmp_path / "broken", stop_after=4)
    with pytest.raises(CheckpointError, match=f"the function of {words} was"):
        other.run(tmp_path / "broken", resume="latest")
    assert mine.run(tmp_path / "broken", resume="latest")[0] == expected


def test_a_function_that_is_made_again_is_the_same(tmp_path):
    def case():
        loss = Loss(off_by(Y[:1].copy()), lambda p, t: 2 * (p - t - Y[:1]) / p.size)
        return Case({"loss": loss}, metrics={"largest": lambda p, t: abs(p - t).max()})

    expected, _ = case().run(tmp_path / "whole")
    case().run(tmp_path / "broken", stop_after=4)
    assert case().run(tmp_path / "broken", resume="latest")[0] == expected


def test_a_loss_of_ours_is_known_by_its_name(tmp_path):
    """Its code may change with the version, of which there is a warning."""
    case = Case({"loss": get_loss("mse"), "epochs": 1})
    case.run(tmp_path)
    assert "functions" not in checkpoint.load(tmp_path / "best.qstore")["config"]


def test_another_function_of_a_noise_model(tmp_path):
    def trained(probability, **options):
        device = qml.device(
            "qstore.mock_noisy", wires=3, noise=noise_of(probability), seed=0
        )
        model = QuantumModel(3, 2, n_layers=1, seed=0, backend=device)
        trainer = Case().new_trainer(tmp_path, epochs=1, gradient_method="finite_diff")
        trainer.train(model, (X, Y), **options)

    trained(0.1)
    trained(0.1, resume="latest")
    with pytest.raises(CheckpointError, match=r"the function of the noise \(\d\) was"):
        trained(0.2, resume="latest")


def test_functions_that_were_not_recorded_are_taken_to_be_the_same(tmp_path):
    case = OTHER_FUNCTIONS["metric"][0]
    expected, _ = case.run(tmp_path / "whole")
    case.run(tmp_path / "new", stop_after=4)
    new = tmp_path / "new" / "epoch000001-step000001.qstore"
    old = without(new, tmp_path / "old.qstore", "functions")
    with pytest.warns(UserWarning, match="what its functions do was not recorded"):
        assert case.run(None, resume=old)[0] == expected


def test_another_version_of_python_has_other_bytecode(tmp_path, monkeypatch):
    mine, other, _ = OTHER_FUNCTIONS["code"]
    mine.run(tmp_path, stop_after=4)
    here = resume_module.environment()
    major, minor, micro = here["python"].split(".")
    for version, refused in (
        (f"{major}.{minor}.{int(micro) + 1}", True),
        (f"{major}.{int(minor) + 1}.{micro}", False),
    ):
        there = here | {"python": version}
        monkeypatch.setattr(resume_module, "environment", lambda new=there: new)
        if refused:
            with pytest.raises(CheckpointError, match="the function of"):
                other.run(None, resume=next(tmp_path.glob("epoch000001*")))
        else:
            with pytest.warns(UserWarning, match="cannot be compared between Python"):
                other.run(None, resume=next(tmp_path.glob("epoch000001*")))


def test_another_model(stopped):
    case = Case(model={"n_layers": 2})
    model = case.new_model()
    before = model.parameters.copy()
    with pytest.raises(CheckpointError, match="another model: n_layers is 1, here 2"):
        case.new_trainer(None).train(model, case.data, resume=stopped)
    np.testing.assert_array_equal(model.parameters, before)


def test_another_device(stopped):
    """Its noise would change the weights, silently."""
    with pytest.raises(CheckpointError, match=r"qstore\.mock_ideal"):
        Case(device="mock_noisy").run(None, resume=stopped)


@pytest.mark.parametrize(
    "tree",
    [{"epoch": 3}, {"version": 1, "epoch": 3}, [1, 2], None, {"version": "1"}],
    ids=repr,
)
def test_a_file_that_is_no_run(tmp_path, tree):
    checkpoint.save(tmp_path / "mine.qstore", tree)
    with pytest.raises(CheckpointError, match="not written by a training run"):
        Case().run(None, resume=tmp_path / "mine.qstore")


def test_a_newer_version(stopped, tmp_path):
    tree = checkpoint.load(stopped)
    tree["version"] += 1
    checkpoint.save(tmp_path / "newer.qstore", tree)
    with pytest.raises(CheckpointError, match=r"has version 5, but .* version 4"):
        Case().run(None, resume=tmp_path / "newer.qstore")


def test_latest_needs_a_directory_and_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match='may be "latest" only with a checkpoint_dir'):
        Case().run(None, resume="latest")
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match=r"no checkpoint in .* resume from\."):
            Case().run(directory, resume="latest")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        Case().run(None, resume=tmp_path / "missing.qstore")


def test_another_environment_is_approximate(stopped, tmp_path, monkeypatch):
    expected, _ = Case().run(tmp_path)
    here = resume_module.environment()
    monkeypatch.setattr(
        resume_module, "environment", lambda: here | {"numpy": "1", "machine": "z80"}
    )
    with pytest.warns(UserWarning, match="approximately, .* machine changed, numpy ch"):
        assert Case().run(None, resume=stopped)[0] == expected


def test_shots_of_a_device_whose_generator_is_not_saved_are_approximate(tmp_path):
    case = Case({"shots": 20, "epochs": 2}, device="default.qubit")
    case.run(tmp_path, stop_after=2)
    with pytest.warns(UserWarning, match=r"approximately, .*default\.qubit"):
        case.run(tmp_path, resume="latest")


def test_an_exact_run_on_a_device_of_others_is_the_same(tmp_path):
    case = Case({"epochs": 2}, device="default.qubit")
    expected, _ = case.run(tmp_path / "whole")
    case.run(tmp_path / "broken", stop_after=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert case.run(tmp_path / "broken", resume="latest")[0] == expected


# --- damaged files --------------------------------------------------------------


def cut(data):
    return data[: len(data) // 2]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory):
    """A case, how its run ends, and a directory of one that stopped after batch 5."""
    case = CASES["shots with noise"]
    directory = tmp_path_factory.mktemp("broken")
    case.run(directory, stop_after=5)
    return case, case.run(None)[0], directory


@pytest.mark.parametrize("damage", [cut, flipped, lambda data: b""])
def test_a_damaged_file_is_passed_over(damage, broken_off, tmp_path, caplog):
    case, expected, directory = broken_off
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    latest = tmp_path / "epoch000001-step000002.qstore"
    latest.write_bytes(damage(latest.read_bytes()))
    caplog.clear()
    assert case.run(tmp_path, resume="latest")[0] == expected
    said = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert len(said) == 1
    assert "epoch000001-step000002.qstore" in said[0]
    assert "Going back to the one before" in said[0]


def test_if_all_are_damaged_nothing_is_trained(tmp_path):
    Case().run(tmp_path, stop_after=5)
    for file in tmp_path.glob("*.qstore"):
        file.write_bytes(cut(file.read_bytes()))
    model = Case().new_model()
    before = model.parameters.copy()
    with pytest.raises(CheckpointError, match=r"resume from that can be read\."):
        Case().new_trainer(tmp_path).train(model, (X, Y), resume="latest")
    np.testing.assert_array_equal(model.parameters, before)
