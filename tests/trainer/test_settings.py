"""What every setting does to a run, and that none is ignored without a word."""

import logging
import math

import numpy as np
import pennylane as qml
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from qstore_pl import (
    SGD,
    Callback,
    Loss,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
)

X = np.random.default_rng(3).uniform(-1.5, 1.5, (12, 2))
Y = np.random.default_rng(4).uniform(-1, 1, (12, 2))
LABELS = np.array([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0])


def make(output_dim=2, **options):
    return QuantumModel(2, output_dim, **{"n_layers": 2, "seed": 0, **options})


def fit(model, data=(X, Y), val_data=None, *, metrics=None, callbacks=(), **changed):
    """Train in place; the trainer."""
    defaults = {"epochs": 3, "seed": 0}
    if isinstance(data, tuple):
        defaults["batch_size"] = 4
    trainer = QuantumTrainer(TrainingConfig(**defaults | changed), metrics=metrics)
    trainer.train(model, data, val_data, callbacks=callbacks)
    return trainer


def trained(model=None, *arguments, **options):
    """The parameters and the history of a run."""
    model = make() if model is None else model
    history = fit(model, *arguments, **options).history
    return model.parameters.copy(), history


def without_times(history):
    return [{k: v for k, v in row.items() if k != "time"} for row in history]


class Recorder(Callback):
    """Parameters before the first epoch and after each."""

    def on_train_begin(self, model, history):
        self.model, self.parameters = model, [model.parameters.copy()]

    def on_epoch_end(self, row):
        self.parameters.append(self.model.parameters.copy())


# --- settings that would be ignored ----------------------------------------------

AT_CONSTRUCTION = {
    "schedule_every": ({"schedule_every": 2}, 'schedule="step"'),
    "schedule_every of cosine": (
        {"schedule_every": 2, "schedule": "cosine"},
        'schedule="step"',
    ),
    "schedule_factor": ({"schedule_factor": 0.5}, 'schedule="step"'),
    "schedule_epochs": ({"schedule_epochs": 5}, 'schedule="cosine"'),
    "schedule_epochs of step": (
        {"schedule_epochs": 5, "schedule": "step"},
        'schedule="cosine"',
    ),
    "schedule_final": ({"schedule_final": 0.0}, 'schedule="cosine"'),
    "schedule_final of step": (
        {"schedule_final": 0.1, "schedule": "step"},
        'schedule="cosine"',
    ),
    "restore_best": ({"restore_best": False}, "patience"),
    "restore_best, directory": (
        {"restore_best": True, "checkpoint_directory": "unused"},
        "patience",
    ),
    "monitor": ({"monitor": "loss"}, "patience, checkpoint_directory or"),
    "monitor_mode": (
        {"monitor_mode": "min"},
        "patience, checkpoint_directory or",
    ),
    "min_delta": ({"min_delta": 0.0}, "patience, checkpoint_directory or"),
    "checkpoint_interval": ({"checkpoint_interval": 2}, "checkpoint_directory"),
    "checkpoint_keep": ({"checkpoint_keep": 2}, "checkpoint_directory"),
    "clipping without a limit": ({"use_gradient_clipping": True}, "must come with"),
    "no clipping, value": (
        {"use_gradient_clipping": False, "gradient_clip_value": 1.0},
        "without gradient_clip_value",
    ),
    "no clipping, norm": (
        {"use_gradient_clipping": False, "gradient_clip_norm": 1.0},
        "without gradient_clip_norm",
    ),
    "epsilon": ({"gradient_epsilon": 0.1}, '"best"'),
    "directions": (
        {"gradient_directions": 2, "gradient_method": "finite_diff"},
        '"finite_diff"',
    ),
    "sample size": (
        {"gradient_sample_size": 2, "gradient_method": "adjoint"},
        '"adjoint"',
    ),
    "momentum": ({"momentum": 0.5}, '"adam"'),
    "damping": ({"damping": 0.5}, '"adam"'),
    "metric_tensor": ({"metric_tensor": "bures"}, "natural_gradient"),
    "metric_tensor_approximation": (
        {"metric_tensor_approximation": "diag"},
        "natural_gradient",
    ),
}


@pytest.mark.parametrize(
    ("given", "words"), AT_CONSTRUCTION.values(), ids=AT_CONSTRUCTION
)
def test_a_setting_that_would_be_ignored_is_refused_at_once(given, words):
    name = next(iter(given))
    with pytest.raises(ValueError, match=name) as raised:
        QuantumTrainer(TrainingConfig(**given))
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("given", "words"), AT_CONSTRUCTION.values(), ids=AT_CONSTRUCTION
)
def test_it_is_refused_too_if_it_is_set_later(given, words):
    trainer, model = QuantumTrainer(TrainingConfig(epochs=1, seed=0)), make()
    for name, value in given.items():
        setattr(trainer.config, name, value)
    with pytest.raises(ValueError, match=next(iter(given))) as raised:
        trainer.train(model, (X, Y))
    assert words in str(raised.value)
    np.testing.assert_array_equal(model.parameters, make().parameters)


IN_TRAINING = {
    "quantum_target": ({"quantum_target": "forte"}, "quantum_target must be unset"),
    "quantum_api_key": ({"quantum_api_key": "k"}, "quantum_api_key must be unset"),
    "max_concurrent_circuits": (
        {"max_concurrent_circuits": 3},
        "max_concurrent_circuits must be unset",
    ),
    "n_qubits": ({"n_qubits": 3}, "must equal the model's 2, but is 3"),
    "circuit_depth": ({"circuit_depth": 1}, "must equal the model's 2, but is 1"),
    "entanglement": ({"entanglement": "full"}, "must equal the model's circular"),
    "class_weight": ({"class_weight": {0: 2.0}}, "must be one of classes"),
    "validation_interval": ({"validation_interval": 2}, "validation_interval"),
    "a schedule within its warm-up": (
        {"schedule": "cosine", "schedule_epochs": 3, "warmup_epochs": 3},
        "schedule_epochs must be > warmup_epochs=3, which are among them, but is 3",
    ),
    "a learning rate of 0": (
        {"schedule": "cosine", "schedule_epochs": 2},
        "schedule_epochs must be >= 3, the run's epochs, but is 2",
    ),
}


@pytest.mark.parametrize(("given", "words"), IN_TRAINING.values(), ids=IN_TRAINING)
def test_a_setting_that_would_be_ignored_is_refused_before_training(given, words):
    model = make()
    with pytest.raises(ValueError, match="must") as raised:
        fit(model, **given)
    assert words in str(raised.value)
    np.testing.assert_array_equal(model.parameters, make().parameters)


@pytest.mark.parametrize("labels", [{7: 2.0}, {0: 1.0, 2: 0.5}])
def test_the_weight_of_a_class_that_is_none_is_refused(labels):
    with pytest.raises(ValueError, match="class_weight"):
        fit(make(), (X, LABELS), loss="cross_entropy", class_weight=labels)


def test_an_optimizer_has_its_own_settings():
    for name, value in (("optimizer", "sgd"), ("learning_rate", 0.1)):
        with pytest.raises(ValueError, match=f"{name} must be unset"):
            QuantumTrainer(TrainingConfig(**{name: value}), optimizer=SGD(0.1))


def test_settings_that_agree_with_the_model_change_nothing():
    named = {"n_qubits": 2, "circuit_depth": 2, "entanglement": "circular"}
    wanted, _ = trained()
    assert trained(**named)[0].tobytes() == wanted.tobytes()


def test_default_values_said_aloud_change_nothing():
    said = {
        **{"loss": "mse", "shuffle": True, "accumulation_steps": 1},
        **{"optimizer": "adam", "learning_rate": 0.01, "schedule": "constant"},
        **{"gradient_method": "best", "track_gradients": True, "on_nan": "raise"},
        **{"quantum_sdk": "mock", "progress": False, "strict_callbacks": False},
    }
    wanted, history = trained()
    parameters, same = trained(**said)
    assert parameters.tobytes() == wanted.tobytes()
    assert without_times(same) == without_times(history)


def test_clipping_that_is_named_is_the_clipping_of_its_limit():
    wanted, _ = trained(optimizer="sgd", gradient_clip_norm=0.01)
    named, _ = trained(
        optimizer="sgd", gradient_clip_norm=0.01, use_gradient_clipping=True
    )
    free, _ = trained(optimizer="sgd", use_gradient_clipping=False)
    assert named.tobytes() == wanted.tobytes()
    assert free.tobytes() == trained(optimizer="sgd")[0].tobytes()
    assert free.tobytes() != wanted.tobytes()


# --- accumulation ---------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_accumulated_gradients_are_those_of_one_big_batch(momentum, clip):
    same = {
        "optimizer": "sgd",
        "momentum": momentum,
        "learning_rate": 0.1,
        "gradient_clip_norm": clip,
        "epochs": 4,
    }
    parts, history = trained(batch_size=3, accumulation_steps=4, **same)
    whole, wanted = trained(batch_size=12, **same)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12)
    for name in ("losses", "gradient_norms"):
        np.testing.assert_allclose(history[name], wanted[name], rtol=1e-11)
    assert not np.allclose(trained(batch_size=3, **same)[0], whole, atol=1e-4)


def test_a_short_last_batch_counts_by_its_samples():
    x, y = X[:10], Y[:10]
    same = {"optimizer": "sgd", "learning_rate": 0.2, "epochs": 2}
    parts, history = trained(
        None, (x, y), batch_size=4, shuffle=False, accumulation_steps=2, **same
    )
    batches = [(x[:8], y[:8]), (x[8:], y[8:])]  # 4 + 4, and the 2 that are left
    whole, wanted = trained(None, batches, **same)
    np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        history["gradient_norms"], wanted["gradient_norms"], rtol=1e-11
    )
    uneven, _ = trained(
        None, (x, y), batch_size=4, shuffle=False, accumulation_steps=5, **same
    )
    whole, _ = trained(None, [(x, y)], **same)
    np.testing.assert_allclose(uneven, whole, rtol=0, atol=1e-12)


# --- learning rate ---------------------------------------------------------------

SCHEDULES = {
    "constant": ({}, lambda e: 0.4),
    "step": (
        {"schedule": "step", "schedule_every": 2, "schedule_factor": 0.5},
        lambda e: 0.4 * 0.5 ** (e // 2),
    ),
    "step of ten": ({"schedule": "step"}, lambda e: 0.4 * 0.1 ** (e // 10)),
    "cosine": (
        {"schedule": "cosine"},
        lambda e: 0.2 * (1 + math.cos(math.pi * e / 12)),
    ),
    "cosine to 0.1": (
        {"schedule": "cosine", "schedule_final": 0.1},
        lambda e: 0.1 + 0.15 * (1 + math.cos(math.pi * e / 12)),
    ),
    "cosine of 20": (
        {"schedule": "cosine", "schedule_epochs": 20},
        lambda e: 0.2 * (1 + math.cos(math.pi * e / 20)),
    ),
    "cosine of 6": (
        {"schedule": "cosine", "schedule_epochs": 6, "schedule_final": 0.1},
        lambda e: 0.1 + 0.15 * (1 + math.cos(math.pi * min(e, 6) / 6)),
    ),
    "warm-up and cosine of 20": (
        {"warmup_epochs": 2, "schedule": "cosine", "schedule_epochs": 20},
        lambda e: (
            0.4 * (e + 1) / 3 if e < 2 else 0.2 * (1 + math.cos(math.pi * (e - 2) / 18))
        ),
    ),
    "warm-up": ({"warmup_epochs": 3}, lambda e: 0.4 * min(1, (e + 1) / 4)),
    "warm-up and cosine": (
        {"warmup_epochs": 2, "schedule": "cosine"},
        lambda e: (
            0.4 * (e + 1) / 3 if e < 2 else 0.2 * (1 + math.cos(math.pi * (e - 2) / 10))
        ),
    ),
    "warm-up of all epochs": (
        {"warmup_epochs": 20, "schedule": "cosine"},
        lambda e: 0.4 * (e + 1) / 21,
    ),
}


@pytest.mark.parametrize(("given", "rate"), SCHEDULES.values(), ids=SCHEDULES)
def test_the_learning_rate_of_every_epoch_is_recorded_and_taken(given, rate):
    same = {"optimizer": "sgd", "shuffle": False}
    parameters, history = trained(epochs=12, learning_rate=0.4, **same, **given)
    rates = [rate(epoch) for epoch in range(12)]
    np.testing.assert_allclose(history["learning_rates"], rates, rtol=1e-13)
    twin = make()
    for each in history["learning_rates"]:  # gradient descent has no memory
        fit(twin, epochs=1, learning_rate=each, **same)
    assert twin.parameters.tobytes() == parameters.tobytes()


def test_the_rate_of_an_optimizer_that_was_given_follows_the_schedule():
    config = TrainingConfig(
        epochs=3, seed=0, schedule="step", schedule_every=1, schedule_factor=0.5
    )
    trainer = QuantumTrainer(config, optimizer=SGD(0.8))
    assert trainer.train(make(), (X, Y))["learning_rates"] == [0.8, 0.4, 0.2]
    assert trainer.train(make(), (X, Y))["learning_rates"] == [0.8, 0.4, 0.2]


# --- freezing -------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "natural_gradient"])
def test_the_schedule_freezes_and_unfreezes(optimizer):
    recorder, model = Recorder(), make()
    fit(
        model,
        epochs=6,
        optimizer=optimizer,
        freeze_schedule={0: [0, 1], 2: [3], 4: []},
        callbacks=[recorder],
    )
    for epoch, frozen in enumerate([[0, 1], [0, 1], [3], [3], [], []]):
        before, after = recorder.parameters[epoch : epoch + 2]
        assert before[frozen].tobytes() == after[frozen].tobytes()
        others = [i for i in (0, 1, 3, 6) if i not in frozen]
        assert (before[others] != after[others]).all()
    assert model.trainable.all()


def test_a_schedule_that_begins_later_leaves_what_was_frozen():
    recorder, model = Recorder(), make()
    model.quantum_layer.freeze_parameters([6])
    fit(model, epochs=3, freeze_schedule={1: [0]}, callbacks=[recorder])
    first, second, *_, last = recorder.parameters
    assert (first != second)[[0, 1, 6]].tolist() == [True, True, False]
    assert (second != last)[[0, 1, 6]].tolist() == [False, True, True]


def test_a_schedule_is_the_loop_written_out():
    same = {"optimizer": "sgd", "shuffle": False, "learning_rate": 0.1}
    parameters, _ = trained(epochs=4, freeze_schedule={1: [0], 3: []}, **same)
    twin = make()
    for epochs, frozen in ((1, []), (2, [0]), (1, [])):
        twin.quantum_layer.unfreeze_parameters()
        twin.quantum_layer.freeze_parameters(frozen)
        fit(twin, epochs=epochs, **same)
    assert twin.parameters.tobytes() == parameters.tobytes()


# --- validation and early stopping ------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "epochs", "measured"),
    [
        (1, 3, [0, 1, 2]),
        (2, 5, [1, 3, 4]),
        (2, 4, [1, 3]),
        (3, 7, [2, 5, 6]),
        (9, 4, [3]),
    ],
)
def test_validation_of_every_kth_epoch_and_the_last(interval, epochs, measured):
    _, history = trained(
        None,
        (X, LABELS),
        (X[:5], LABELS[:5]),
        loss="cross_entropy",
        epochs=epochs,
        validation_interval=interval,
    )
    for name in ("val_losses", "val_accuracies"):
        found = [e for e, value in enumerate(history[name]) if value is not None]
        assert found == measured
    assert None not in history["losses"] + history["accuracies"]


def test_how_often_one_validates_changes_nothing_else():
    wanted, history = trained(None, (X, Y), (X, Y), epochs=5)
    parameters, rare = trained(None, (X, Y), (X, Y), epochs=5, validation_interval=3)
    assert parameters.tobytes() == wanted.tobytes()
    assert rare["val_losses"][2] == history["val_losses"][2]
    assert rare["losses"] == history["losses"]


def scripted(values):
    """A metric that has these values one after the other."""
    left = iter(values)
    return lambda outputs, targets: next(left)


NAN = math.nan
MAX = {"monitor_mode": "max"}
STOPS = {  # values, settings, epochs that are done, the best one
    "min": ([5, 4, 3, 3.5, 3.2, 1], {"monitor_mode": "min"}, 5, 2),
    "max": ([1, 2, 3, 2, 2.5, 9], MAX, 5, 2),
    "less than min_delta": (
        [5, 4.8, 4.6, 0],
        {"monitor_mode": "min", "min_delta": 0.5},
        3,
        0,
    ),
    "more than min_delta": (
        [5, 4.4, 3.8, 3.2],
        {"monitor_mode": "min", "min_delta": 0.5},
        4,
        3,
    ),
    "min_delta of max": ([1, 1.4, 1.6, 1.9, 2, 9], {**MAX, "min_delta": 0.5}, 5, 2),
    "exactly min_delta": (
        [1, 1.5, 2, 9],
        {**MAX, "min_delta": 0.5, "patience": 1},
        2,
        0,
    ),
    "equal is no better": ([1, 1, 1, 9], MAX, 3, 0),
    "NaN is no better": ([NAN, 3, NAN, NAN, 9], MAX, 4, 1),
    "NaN between": ([1, NAN, 2, NAN, 3], MAX, 5, 4),
    "NaN is no better, min": ([3, NAN, 4, 0], {"monitor_mode": "min"}, 3, 0),
    "minus infinity": ([-math.inf, 1, 0, 0], MAX, 4, 1),
    "patience of one": ([1, 2, 1, 9], {**MAX, "patience": 1}, 3, 1),
    "on the last epoch": ([1, 0, 0], MAX, 3, 0),
    "never": ([1, 2, 3, 2], {**MAX, "patience": 5}, 4, 2),
}


@pytest.mark.parametrize("restore", [None, True, False])
@pytest.mark.parametrize(("values", "given", "n", "best"), STOPS.values(), ids=STOPS)
def test_it_stops_after_epochs_without_a_better_one(values, given, n, best, restore):
    model, recorder = make(), Recorder()
    trainer = fit(
        model,
        epochs=len(values),
        metrics={"score": scripted(values)},
        callbacks=[recorder],
        **{"monitor": "score", "patience": 2, "restore_best": restore, **given},
    )
    assert len(trainer.history) == n
    # The last epoch may be one too many as well as the last.
    waited = n - 1 - best
    early = waited >= given.get("patience", 2)
    assert trainer.stopped == ("early stopping" if early else "")
    kept = n - 1 if restore is False else best
    assert model.parameters.tobytes() == recorder.parameters[kept + 1].tobytes()
    np.testing.assert_array_equal(trainer.history["score"], values[:n])


@pytest.mark.parametrize("restore", [None, False])
def test_a_metric_that_is_always_nan_stops_a_run_that_keeps_its_last_weights(restore):
    model, recorder = make(), Recorder()
    trainer = fit(
        model,
        epochs=5,
        metrics={"score": lambda outputs, targets: math.nan},
        monitor="score",
        monitor_mode="max",
        patience=2,
        restore_best=restore,
        callbacks=[recorder],
    )
    assert (len(trainer.history), trainer.stopped) == (2, "early stopping")
    assert model.parameters.tobytes() == recorder.parameters[-1].tobytes()


def test_without_a_word_the_validation_loss_is_watched():
    rising = (X, -2 * Y)  # the better on the data, the worse on these
    same = {"epochs": 6, "patience": 1, "batch_size": 12}
    same |= {"optimizer": "sgd", "learning_rate": 0.05}
    recorder, model = Recorder(), make()
    trainer = fit(model, (X, Y), rising, callbacks=[recorder], **same)
    assert trainer.history["val_losses"][1] > trainer.history["val_losses"][0]
    assert (len(trainer.history), trainer.stopped) == (2, "early stopping")
    assert model.parameters.tobytes() == recorder.parameters[1].tobytes()
    trainer = fit(make(), (X, Y), rising, monitor="loss", **same)
    assert (len(trainer.history), trainer.stopped) == (6, "")
    trainer = fit(make(), **same)
    assert (len(trainer.history), trainer.stopped) == (6, "")


def test_epochs_that_were_not_measured_do_not_count():
    def score(outputs, targets):
        return next(left) if len(targets) == 5 else 0.0

    left = iter([1.0, 2.0, 3.0, 0.0])
    trainer = fit(
        make(),
        (X, Y),
        (X[:5], Y[:5]),
        epochs=12,
        validation_interval=3,
        metrics={"score": score},
        monitor="val_score",
        monitor_mode="min",
        patience=2,
    )
    assert len(trainer.history) == 9
    assert trainer.history["val_score"][2::3] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "monitor", ["score", "losses", "val_loss", "accuracy", "val_accuracy"]
)
def test_what_is_monitored_must_be_measured(monitor):
    model = make()
    with pytest.raises(ValueError, match=f"monitor.*{monitor}"):
        fit(model, monitor=monitor, patience=2)
    np.testing.assert_array_equal(model.parameters, make().parameters)


def root_mean_square(outputs, targets):
    return np.sqrt(np.mean((outputs - targets) ** 2))


def test_the_best_of_an_error_is_the_smallest():
    """It was taken for the largest, since its name is none of a loss."""
    same = {"epochs": 12, "batch_size": 12, "learning_rate": 0.1, "patience": 2}
    watched = {"monitor": "val_rmse", "monitor_mode": "min"}
    metrics = {"rmse": root_mean_square}
    trainer = fit(make(), (X, Y), (X, Y), metrics=metrics, **same, **watched)
    errors = trainer.history["val_rmse"]
    assert (len(errors), trainer.stopped) == (12, "")
    assert min(errors) < 0.9 * errors[0]
    wanted, _ = trained(None, (X, Y), (X, Y), **same)  # by the mean square itself
    found, _ = trained(None, (X, Y), (X, Y), metrics=metrics, **same, **watched)
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    "monitor", ["rmse", "val_rmse", "val_my_loss", "gradient_norm", "learning_rate"]
)
@pytest.mark.parametrize("where", ["patience", "checkpoint_directory"])
def test_which_value_is_best_is_asked_and_not_guessed(monitor, where, tmp_path):
    watched = {"patience": 2} if where == "patience" else {where: tmp_path / "run"}
    metrics = {"rmse": root_mean_square, "my_loss": root_mean_square}
    model = make()
    with pytest.raises(ValueError, match="monitor_mode must be") as raised:
        fit(model, (X, Y), (X, Y), metrics=metrics, monitor=monitor, **watched)
    for words in (f"monitor='{monitor}'", '"min" or "max"', "is unset"):
        assert words in str(raised.value)
    np.testing.assert_array_equal(model.parameters, make().parameters)
    assert not list(tmp_path.iterdir())


KNOWN = {"loss": "min", "val_loss": "min", "accuracy": "max", "val_accuracy": "max"}


@pytest.mark.parametrize("monitor", [None, *KNOWN])
def test_what_is_known_may_be_said_and_not_be_denied(monitor):
    def stopped(**said):
        trainer = fit(
            make(),
            (X, LABELS),
            (X, LABELS),
            loss="cross_entropy",
            epochs=6,
            learning_rate=2.0,
            monitor=monitor,
            patience=1,
            **said,
        )
        return len(trainer.history), trainer.stopped

    known = KNOWN[monitor or "val_loss"]
    assert stopped(monitor_mode=known) == stopped()
    other = "max" if known == "min" else "min"
    with pytest.raises(ValueError, match=f'monitor_mode must be "{known}".*{other}'):
        stopped(monitor_mode=other)


def test_gradients_that_are_not_tracked_cannot_be_monitored():
    with pytest.raises(ValueError, match=r"monitor.*gradient_norm"):
        fit(make(), monitor="gradient_norm", track_gradients=False, patience=2)


# --- weights of classes ------------------------------------------------------------


def first_loss(model, data, **settings):
    """Of all samples at the initial parameters."""
    _, history = trained(
        model, data, epochs=1, batch_size=12, learning_rate=1e-300, **settings
    )
    return history["losses"][0]


@pytest.mark.parametrize("targets", [LABELS, np.eye(2)[LABELS]], ids=["labels", "rows"])
@pytest.mark.parametrize("weights", ["balanced", {0: 0.5, 1: 4.0}, {1: 4.0}])
def test_weighted_cross_entropy_equals_torchs(targets, weights):
    if weights == "balanced":
        factors = compute_class_weight("balanced", classes=np.unique(LABELS), y=LABELS)
    else:
        factors = [weights.get(label, 1.0) for label in (0, 1)]
    each = torch.nn.functional.cross_entropy(
        torch.tensor(make().forward(X)),
        torch.tensor(LABELS),
        weight=torch.tensor(factors, dtype=torch.float64),
        reduction="none",
    )
    found = first_loss(make(), (X, targets), loss="cross_entropy", class_weight=weights)
    assert found == pytest.approx(each.mean().item(), rel=1e-12)


SIGNED = {
    "labels": LABELS,
    "column": LABELS[:, None],
    "bools": LABELS.astype(bool),
}
SIGNS = {"signs": 2 * LABELS - 1, "column of signs": 2.0 * LABELS[:, None] - 1}


@pytest.mark.parametrize(
    ("loss", "targets"),
    [("binary", targets) for targets in SIGNED.values()]
    + [("hinge", targets) for targets in (SIGNED | SIGNS).values()],
    ids=[f"binary {name}" for name in SIGNED]
    + [f"hinge {name}" for name in SIGNED | SIGNS],
)
@pytest.mark.parametrize("weights", ["balanced", {0: 0.5, 1: 4.0}])
def test_weights_of_two_classes_of_one_output(loss, targets, weights):
    factors = np.array([0.5, 4.0])
    if weights == "balanced":
        factors = compute_class_weight("balanced", classes=np.unique(LABELS), y=LABELS)
    signs = 2 * LABELS - 1
    margin = signs * make(1).forward(X)[:, 0]
    each = np.maximum(0, 1 - margin) if loss == "hinge" else np.log1p(np.exp(-margin))
    found = first_loss(make(1), (X, targets), loss=loss, class_weight=weights)
    assert found == pytest.approx((factors[LABELS] * each).mean(), rel=1e-12)


def test_balanced_weights_need_data_that_can_be_counted():
    with pytest.raises(ValueError, match=r'"balanced" must come with a tuple'):
        fit(make(), [(X, LABELS)], loss="cross_entropy", class_weight="balanced")


def test_equal_weights_change_nothing_and_others_do():
    same = {"loss": "cross_entropy", "batch_size": 4}
    wanted, _ = trained(None, (X, LABELS), **same)
    equal, _ = trained(None, (X, LABELS), class_weight={0: 1.0, 1: 1.0}, **same)
    other, _ = trained(None, (X, LABELS), class_weight={1: 9.0}, **same)
    np.testing.assert_allclose(equal, wanted, rtol=0, atol=1e-14)
    assert not np.allclose(other, wanted, atol=1e-4)


# --- what is recorded --------------------------------------------------------------


def test_gradients_are_tracked_unless_it_is_switched_off():
    wanted, history = trained()
    parameters, untracked = trained(track_gradients=False)
    assert parameters.tobytes() == wanted.tobytes()
    assert untracked["losses"] == history["losses"]
    assert untracked["gradient_norms"] == [None] * 3
    assert min(history["gradient_norms"]) > 0


@pytest.mark.parametrize(("interval", "epochs"), [(None, []), (1, [0, 1, 2, 3, 4])])
def test_a_line_of_the_log_every_so_many_epochs(interval, epochs, caplog):
    caplog.set_level(logging.INFO, "qstore_pl")
    _, history = trained(epochs=5, log_interval=interval)
    lines = [record.getMessage() for record in caplog.records]
    assert [int(line.split(",")[0].removeprefix("epoch ")) for line in lines] == epochs
    for epoch, line in zip(epochs, lines, strict=True):
        assert f"loss {history['losses'][epoch]:.6g}" in line
        assert "val_loss" not in line


def test_a_line_of_the_log_every_second_epoch(caplog):
    caplog.set_level(logging.INFO, "qstore_pl")
    trained(epochs=5, log_interval=2)
    assert [r.getMessage()[:8] for r in caplog.records] == ["epoch 1,", "epoch 3,"]


def test_metrics_are_those_of_all_samples():
    def worst(outputs, targets):
        return np.abs(outputs - targets).max()

    def n_samples(outputs, targets):
        assert outputs.shape == targets.shape
        return len(outputs)

    model = make()
    before = worst(model.forward(X), Y)
    metrics = {"worst": worst, "n_samples": n_samples}
    history = fit(
        model, (X, Y), (X[:5], Y[:5]), metrics=metrics, epochs=2, batch_size=12
    ).history
    assert history["n_samples"] == [12.0, 12.0]
    assert history["val_n_samples"] == [5.0, 5.0]
    assert history["worst"][0] == pytest.approx(before, rel=1e-13)
    after = worst(model.forward(X[:5]), Y[:5])
    assert history["val_worst"][-1] == pytest.approx(after, rel=1e-13)


def test_metrics_change_nothing():
    wanted, history = trained(None, (X, Y), (X, Y))
    found, more = trained(None, (X, Y), (X, Y), metrics={"one": lambda o, t: 1.0})
    assert found.tobytes() == wanted.tobytes()
    for name in ("losses", "val_losses", "gradient_norms"):
        assert more[name] == history[name]


def test_metrics_whose_columns_are_the_same_are_refused():
    pair = {"a": lambda o, t: 1.0, "val_a": lambda o, t: 2.0}
    with pytest.raises(ValueError, match=r"`metrics` must have .*val_a"):
        QuantumTrainer(metrics=pair)


# --- losses that are not finite ------------------------------------------------------

BAD = (X[:2], np.full((2, 2), 9.0))
A, B, C = ((X[i : i + 3], Y[i : i + 3]) for i in (2, 5, 8))


def spoilt_loss(value=math.nan, slope=1.0):
    """Mean square, but of a target 9."""

    def fn(predictions, targets):
        bad = value if targets[0, 0] == 9 else 1.0
        return bad * float(((predictions - targets) ** 2).mean())

    def grad(predictions, targets):
        bad = slope if targets[0, 0] == 9 else 1.0
        return bad * 2 * (predictions - targets) / predictions.size

    return Loss(fn, grad, name="spoilt")


LOSSES = {
    "NaN loss": spoilt_loss(),
    "infinite loss": spoilt_loss(math.inf),
    "NaN gradient": spoilt_loss(1.0, math.nan),
    "infinite gradient": spoilt_loss(1.0, math.inf),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_bad_batch_is_raised_skipped_or_rolled_back(loss, optimizer, caplog):
    same = {"loss": loss, "optimizer": optimizer, "learning_rate": 0.1, "epochs": 2}
    model = make()
    with pytest.raises(ValueError, match="must be finite"):
        fit(model, [A, BAD, B], **same)
    after_a, _ = trained(None, [A], **same | {"epochs": 1})
    assert model.parameters.tobytes() == after_a.tobytes()

    assert not caplog.records
    skipped, history = trained(None, [A, BAD, B], on_nan="skip", **same)
    assert [r.levelname for r in caplog.records] == ["WARNING"] * 2
    assert "epoch 1, batch 1" in caplog.records[1].getMessage()
    wanted, clean = trained(None, [A, B], **same)
    assert skipped.tobytes() == wanted.tobytes()
    assert history["losses"] == clean["losses"]
    assert history["gradient_norms"] == clean["gradient_norms"]

    rolled, history = trained(None, [A, BAD, B], on_nan="rollback", **same)
    wanted, _ = trained(None, [B], **same)  # A is undone
    assert rolled.tobytes() == wanted.tobytes()
    assert np.isfinite(history["losses"]).all()


def test_good_batches_are_the_same_whatever_is_to_be_done_about_bad_ones():
    wanted, history = trained()
    for way in ("skip", "rollback"):
        parameters, same = trained(on_nan=way)
        assert parameters.tobytes() == wanted.tobytes()
        assert without_times(same) == without_times(history)


@pytest.mark.timeout(60)
def test_a_run_that_only_rolls_back_ends():
    model = make()
    with pytest.raises(ValueError, match="must be finite"):
        fit(model, [BAD], loss=spoilt_loss(), on_nan="rollback", epochs=10**6)
    np.testing.assert_array_equal(model.parameters, make().parameters)
    trainer = fit(make(), [BAD], loss=spoilt_loss(), on_nan="skip", epochs=2)
    assert np.isnan(trainer.history["losses"]).all()


ACCUMULATED = {
    "loss": spoilt_loss(),
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "accumulation_steps": 3,
    "epochs": 1,
}


def test_the_last_update_of_an_epoch_is_made_though_its_last_batch_is_skipped():
    found, _ = trained(None, [A, B, C, A, BAD], on_nan="skip", **ACCUMULATED)
    wanted, _ = trained(None, [A, B, C, A], **ACCUMULATED)
    assert found.tobytes() == wanted.tobytes()


def test_gradients_that_were_gathered_are_undone_too():
    found, _ = trained(None, [A, BAD, B, C], on_nan="rollback", **ACCUMULATED)
    wanted, _ = trained(None, [B, C], **ACCUMULATED)
    assert found.tobytes() == wanted.tobytes()


# --- backends ----------------------------------------------------------------------


def test_another_backend_between_two_runs():
    config = TrainingConfig(epochs=2, batch_size=4, seed=0)
    trainer, model = QuantumTrainer(config), make()
    trainer.train(model, (X, Y))
    twin = make(backend="mock_noisy")
    twin.parameters[:] = model.parameters
    assert model.device.name == "qstore.mock_ideal"
    config.quantum_sdk = "mock_noisy"
    noisy = trainer.train(model, (X, Y))
    assert model.device.name == "qstore.mock_noisy"
    wanted = QuantumTrainer(TrainingConfig(epochs=2, batch_size=4, seed=0)).train(
        twin, (X, Y)
    )
    assert model.parameters.tobytes() == twin.parameters.tobytes()
    assert noisy["losses"] == wanted["losses"]
    config.quantum_sdk = "mock"
    trainer.train(model, (X, Y))
    assert model.device.name == "qstore.mock_ideal"


def test_a_models_own_backend_wins_until_another_is_chosen():
    config = TrainingConfig(epochs=1, seed=0)
    trainer = QuantumTrainer(config)
    model = make(backend=qml.device("default.qubit"))
    trainer.train(model, (X, Y))
    assert model.device.name == "default.qubit"
    config.quantum_sdk = "mock_ideal"
    trainer.train(model, (X, Y))
    assert model.device.name == "qstore.mock_ideal"
    config.quantum_sdk = "cuquantum"
    with pytest.raises(ValueError, match="'cuquantum'"):
        trainer.train(model, (X, Y))


def test_a_backend_that_would_be_ignored_is_refused():
    model = make(backend="mock_ideal")
    before = model.parameters.copy()
    with pytest.raises(
        ValueError, match=r'quantum_sdk="mock_noisy" must be unset.*own'
    ):
        trained(quantum_sdk="mock_noisy", model=model)
    np.testing.assert_array_equal(model.parameters, before)
    trained(quantum_sdk="mock_ideal", model=model)  # they agree


def test_shots_have_two_names_of_which_one_is_given():
    parameters, history = trained(shots=20)
    others, same = trained(shots_per_circuit=20)
    assert others.tobytes() == parameters.tobytes()
    assert without_times(same) == without_times(history)
    assert history["shots"][0] > 0
    with pytest.raises(ValueError, match="shots_per_circuit must be unset where shots"):
        trained(shots=20, shots_per_circuit=20)
