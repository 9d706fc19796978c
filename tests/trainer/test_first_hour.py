"""What a newcomer tries first: forms of data, scores, splits, schedules, mistakes."""

import numpy as np
import pennylane as qml
import pytest
import sklearn.metrics
import torch
from pennylane import numpy as pnp

from qstore_pl import (
    BackendManager,
    Callback,
    CheckpointError,
    History,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    checkpoint,
)
from qstore_pl.losses import LOSSES, get_loss, weighed
from qstore_pl.optimizers import StepDecay
from qstore_pl.trainer.scores import SCORES

RNG = np.random.default_rng(1)
X = RNG.uniform(-1.5, 1.5, (30, 3))
NUMBERS = np.tanh(X[:, :2])
LABELS = (X[:, 0] > 0).astype(int)


def make(n_outputs=2, seed=0, **options):
    return QuantumModel(3, n_outputs, n_layers=1, seed=seed, **options)


def trainer(metrics=None, **changed):
    settings = {"epochs": 3, "batch_size": 10, "seed": 0}
    if "learning_rate" not in changed and not callable(changed.get("schedule")):
        settings["learning_rate"] = 0.1
    return QuantumTrainer(TrainingConfig(**settings | changed), metrics=metrics)


def fitted(data, val_data=None, *, n_outputs=2, **changed):
    model = make(n_outputs)
    history = trainer(**changed).train(model, data, val_data)
    return model.parameters, history


# --- weights of samples ---------------------------------------------------------

TARGETS = {
    "mse": (2, NUMBERS),
    "cross_entropy": (2, LABELS),
    "hinge": (2, LABELS),
    "binary": (1, LABELS),
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_weight_of_a_sample_multiplies_its_loss(name):
    n_outputs, targets = TARGETS[name]
    outputs = RNG.normal(size=(len(X), n_outputs))
    weights = RNG.uniform(0, 3, len(X))
    plain = get_loss(name)
    prepared = plain.prepare_targets(targets, n_outputs, len(X))
    loss, given = plain.with_sample_weight(), weighed(prepared, weights)
    alone = [
        plain.value(outputs[i : i + 1], prepared[i : i + 1]) for i in range(len(X))
    ]
    value, gradient = loss.value_and_grad(outputs, given)
    assert value == pytest.approx(np.mean(weights * alone), rel=1e-13)
    step = 1e-6
    for i, k in [(0, 0), (7, n_outputs - 1)]:
        moved = [outputs.copy(), outputs.copy()]
        moved[0][i, k] += step
        moved[1][i, k] -= step
        values = [loss.value(m, given) for m in moved]
        assert gradient[i, k] == pytest.approx(
            (values[0] - values[1]) / (2 * step), abs=1e-8
        )
    ones = weighed(prepared, None)
    assert loss.value(outputs, ones) == pytest.approx(plain.value(outputs, prepared))
    if plain.is_classification:
        assert loss.accuracy(outputs, given) == plain.accuracy(outputs, prepared)
    if plain.hessian is not None:
        np.testing.assert_allclose(
            loss.second_derivative(outputs, given),
            weights[:, None, None] * plain.second_derivative(outputs, prepared),
            rtol=1e-13,
        )


def test_weighted_cross_entropy_is_torchs():
    weights = RNG.uniform(0, 3, len(X))
    outputs = RNG.normal(size=(len(X), 2))
    each = torch.nn.functional.cross_entropy(
        torch.tensor(outputs), torch.tensor(LABELS), reduction="none"
    )
    loss = get_loss("cross_entropy")
    given = weighed(loss.prepare_targets(LABELS, 2, len(X)), weights)
    value = loss.with_sample_weight().value(outputs, given)
    assert value == pytest.approx((torch.tensor(weights) * each).mean().item())


@pytest.mark.parametrize("optimizer", ["adam", "natural_gradient"])
@pytest.mark.parametrize("name", TARGETS)
def test_whole_weights_are_samples_given_several_times(name, optimizer):
    """In one batch, and with as many samples: the mean is one over samples."""
    n_outputs, y = TARGETS[name]
    weights = np.array([2, 1, 0] * 10)
    options = {"loss": name, "optimizer": optimizer, "batch_size": 30}
    options |= {"shuffle": False, "n_outputs": n_outputs, "epochs": 2}
    twice = np.repeat(np.arange(30), weights)
    expected, _ = fitted((X[twice], y[twice]), **options)
    found, _ = fitted((X, y, weights), **options)
    if optimizer == "adam":  # the metric of the states has no weights
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert not np.allclose(found, fitted((X, y), **options)[0], atol=1e-6)


def test_the_order_and_a_break_do_not_part_samples_from_their_weights(tmp_path):
    weights = RNG.uniform(0, 3, len(X))
    whole = make()
    data, held_out = (X, LABELS, weights), (X[:9], LABELS[:9])
    options = {"loss": "cross_entropy", "class_weight": "balanced", "epochs": 5}
    expected = trainer(**options).train(whole, data, held_out)
    directory = {"checkpoint_directory": tmp_path}
    trainer(**options | {"epochs": 2} | directory).train(make(), data, held_out)
    model = make()
    resumed = trainer(**options | directory)
    assert (
        resumed.train(model, data, held_out, resume="latest")["losses"]
        == (expected["losses"])
    )
    np.testing.assert_array_equal(model.parameters, whole.parameters)
    other = X, LABELS, weights[::-1].copy()
    with pytest.raises(CheckpointError, match="must have the data it began with"):
        resumed.train(make(), other, held_out, resume="latest")


def test_weights_of_the_samples_to_validate():
    weights = np.zeros(30)
    weights[:3] = 10.0
    data = (X, NUMBERS)
    _, history = fitted(data, (X, NUMBERS, weights))
    _, first = fitted(data, (X[:3], NUMBERS[:3]))
    np.testing.assert_allclose(history["val_loss"], first["val_loss"], rtol=1e-12)
    assert history["loss"] == pytest.approx(fitted(data)[1]["loss"], rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(29), r"`weights` must have shape \(30,\), one weight for each sample"),
        (np.ones((30, 1)), r"but has shape \(30, 1\)"),
        (-np.ones(30), r"must be >= 0, but has -1\.0"),
        (np.full(30, np.nan), "must be finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, words):
    with pytest.raises(ValueError, match=words):
        fitted((X, NUMBERS, weights))


def test_a_loss_of_ones_own_says_how_it_takes_weights():
    def mine(p, t):
        return pnp.mean((p - t) ** 2)

    with pytest.raises(ValueError, match=r"one of mse, cross_entropy, .*prepare"):
        fitted((X, NUMBERS, np.ones(30)), loss=mine)
    with pytest.raises(ValueError, match=r"has a third part.*\(X, y, weights\)"):
        fitted([(X, NUMBERS, np.ones(30))], batch_size=None)


# --- scores by name -------------------------------------------------------------


def test_scores_of_classes_are_scikit_learns():
    model = make(3)
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    names = [name for name, score in SCORES.items() if score.of_classes]
    new = trainer(names, loss="cross_entropy", epochs=1)
    history = new.train(model, (X, y), (X, y))
    predicted = model.forward(X).argmax(axis=1)
    expected = {
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(y, predicted),
        "matthews": sklearn.metrics.matthews_corrcoef(y, predicted),
    }
    for name in ("f1", "precision", "recall"):
        score = getattr(sklearn.metrics, f"{name}_score")
        expected[name] = score(y, predicted, average="macro", zero_division=0.0)
    assert {name: history[f"val_{name}"][0] for name in names} == expected
    assert history["val_accuracy"][0] == np.mean(predicted == y)


def test_scores_of_numbers_are_scikit_learns():
    model = make()
    names = [name for name, score in SCORES.items() if not score.of_classes]
    history = trainer([*names[:-2], "r2"], epochs=1).train(
        model, (X, NUMBERS), (X, NUMBERS)
    )
    outputs = model.forward(X)
    assert history["val_mae"][0] == pytest.approx(abs(outputs - NUMBERS).mean())
    assert history["val_rmse"][0] == pytest.approx(
        np.sqrt(((outputs - NUMBERS) ** 2).mean(axis=0)).mean()
    )
    assert history["val_r2"][0] == pytest.approx(
        sklearn.metrics.r2_score(NUMBERS, outputs)
    )
    one = make(1)
    history = trainer(["max_error"], epochs=1).train(
        one, (X, NUMBERS[:, 0]), (X, NUMBERS[:, 0])
    )
    assert history["val_max_error"][0] == pytest.approx(
        abs(one.forward(X)[:, 0] - NUMBERS[:, 0]).max()
    )


@pytest.mark.parametrize("loss", ["binary", "hinge", "cross_entropy"])
def test_every_loss_of_classes_has_their_scores(loss):
    n_outputs = 1 if loss == "binary" else 2
    new = trainer(["f1"], loss=loss, epochs=1)
    model = make(n_outputs)
    history = new.train(model, (X, LABELS, np.ones(30)), (X, LABELS))
    outputs = model.forward(X)
    predicted = outputs.argmax(1) if n_outputs > 1 else outputs[:, 0] > 0
    assert history["val_f1"][0] == pytest.approx(
        sklearn.metrics.f1_score(LABELS, predicted, average="macro")
    )


def test_names_and_functions_may_be_mixed_and_their_best_is_known():
    metrics = {"error": "mae", "worst": lambda p, t: abs(p - t).max()}
    new = trainer(metrics, patience=2, monitor="val_error", epochs=30)
    history = new.train(make(), (X, NUMBERS), (X, NUMBERS))
    assert (history.monitor, history.mode) == ("val_error", "min")
    values = history["val_error"]
    assert history.best_epoch == values.index(min(values))
    with pytest.raises(ValueError, match="monitor_mode must be"):
        trainer(metrics, patience=2, monitor="worst").train(make(), (X, NUMBERS))


@pytest.mark.parametrize(
    ("metrics", "error", "words"),
    [
        (["f2"], ValueError, 'one of "accuracy", "balanced_accuracy", "f1", .*\'f2\''),
        ("f1", TypeError, "list of names or a dict .*'f1'"),
        (3, TypeError, "list of names or a dict"),
        ({"mine": 3}, TypeError, "'mine' is 3"),
        ({"mine": "f2"}, ValueError, r"`metrics\['mine'\]` must be one of"),
    ],
)
def test_scores_that_are_none_are_refused(metrics, error, words):
    with pytest.raises(error, match=words):
        trainer(metrics)


def test_scores_of_classes_need_classes():
    with pytest.raises(ValueError, match="Metric `f1` compares classes"):
        trainer(["f1"]).train(make(), (X, NUMBERS))
    history = trainer(["accuracy"], loss="hinge", epochs=1).train(make(), (X, LABELS))
    assert history["accuracy"][0] is not None  # recorded anyhow, and once


def test_a_score_that_fails_is_named():
    def broken(p, t):
        raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError) as raised:
        trainer({"mine": broken}).train(make(), (X, NUMBERS))
    assert "Metric `mine` raised this" in raised.value.__notes__[0]


# --- a share to validate --------------------------------------------------------


def test_a_share_is_held_out_and_drawn_by_the_seed():
    y = np.sort(LABELS)  # sorted labels, as in many files
    options = {"loss": "cross_entropy", "epochs": 2, "validation_split": 0.3}
    runs = [fitted((X, y), **options, seed=seed) for seed in (0, 0, 1)]
    assert all(value is not None for value in runs[0][1]["val_loss"])
    assert runs[0][1]["val_loss"] == runs[1][1]["val_loss"]
    assert runs[0][1]["val_loss"] != runs[2][1]["val_loss"]


def test_both_parts_have_the_same_share_of_every_class_and_all_samples():
    from qstore_pl.trainer.data import split

    y = np.repeat([0, 1], [20, 10])
    weights = np.arange(30.0)
    loss = LOSSES["cross_entropy"]
    first, second = split((X, y, weights), 0.3, 0, make(), loss)
    assert [np.bincount(part[1]).tolist() for part in (first, second)] == [
        [14, 7],
        [6, 3],
    ]
    kept = np.concatenate([first[2], second[2]]).astype(int)
    assert sorted(kept) == list(range(30))
    np.testing.assert_array_equal(np.concatenate([first[0], second[0]]), X[kept])


def test_a_split_can_be_resumed(tmp_path):
    options = {"validation_split": 0.2, "seed": None, "shuffle": False}
    whole = trainer(**options, epochs=4).train(make(), (X, NUMBERS))
    files = {"checkpoint_directory": tmp_path}
    trainer(**options, **files, epochs=2).train(make(), (X, NUMBERS))
    rest = trainer(**options, **files, epochs=4)
    history = rest.train(make(), (X, NUMBERS), resume="latest")
    assert history["val_loss"] == whole["val_loss"]


@pytest.mark.parametrize(
    ("data", "val_data", "changed", "words"),
    [
        ((X, NUMBERS), (X, NUMBERS), {}, "must be unset where `val_data` is given"),
        ([(X, NUMBERS)], None, {"batch_size": None}, "tuple .* of arrays"),
        (
            (X[:3], np.array([0, 0, 1])),
            None,
            {"loss": "cross_entropy"},
            "Pass val_data",
        ),
    ],
)
def test_what_cannot_be_split_is_refused(data, val_data, changed, words):
    with pytest.raises(ValueError, match=words):
        trainer(validation_split=0.2, **changed).train(make(), data, val_data)


# --- schedules of one's own -----------------------------------------------------


def falling(epoch):
    return 0.1 / (1 + epoch)


def test_a_function_gives_the_rate_of_every_epoch():
    _, history = fitted((X, NUMBERS), schedule=falling)
    assert history["learning_rate"] == [0.1, 0.05, 0.1 / 3]
    _, history = fitted((X, NUMBERS), schedule=falling, warmup_epochs=1)
    assert history["learning_rate"] == [0.05, 0.1, 0.05]


def test_a_schedule_object_is_taken_as_it_is():
    own = StepDecay(0.4, every=2, factor=0.5)
    _, history = fitted((X, NUMBERS), schedule=own)
    assert history["learning_rate"] == [0.4, 0.4, 0.2]


def test_a_schedule_is_compared_when_a_run_is_resumed(tmp_path):
    files = {"checkpoint_directory": tmp_path}
    fitted((X, NUMBERS), schedule=falling, epochs=1, **files)
    with pytest.raises(CheckpointError, match="the function of the schedule was"):
        trainer(schedule=lambda e: 0.1, **files).train(
            make(), (X, NUMBERS), resume="latest"
        )
    model, whole = make(), make()
    trainer(schedule=falling, **files).train(model, (X, NUMBERS), resume="latest")
    trainer(schedule=falling).train(whole, (X, NUMBERS))
    np.testing.assert_array_equal(model.parameters, whole.parameters)
    other = {"checkpoint_directory": tmp_path / "other", "epochs": 1}
    fitted((X, NUMBERS), schedule=StepDecay(0.4, every=2, factor=0.5), **other)
    changed = StepDecay(0.3, every=2, factor=0.5)
    with pytest.raises(CheckpointError, match=r"schedule was 'StepDecay\(rate=0\.4"):
        trainer(schedule=changed, **other).train(make(), (X, NUMBERS), resume="latest")


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"schedule": 3}, TypeError, "a name, a Schedule or a function"),
        ({"schedule": "linear"}, ValueError, '"constant", "cosine", "step"'),
        (
            {"schedule": falling, "learning_rate": 0.1},
            ValueError,
            "learning_rate must be unset where the schedule is a function",
        ),
        ({"schedule": falling, "schedule_every": 2}, ValueError, "must be unset"),
        ({"schedule": lambda epoch: -1.0}, ValueError, r"`schedule\(0\)` must be > 0"),
        ({"schedule": lambda epoch: "x"}, TypeError, r"`schedule\(0\)` must be a real"),
    ],
)
def test_schedules_that_are_none_are_refused(changed, error, words):
    with pytest.raises(error, match=words):
        fitted((X, NUMBERS), **changed)


# --- batches (M5) ---------------------------------------------------------------


def test_a_batch_size_that_is_that_of_the_batches_is_taken():
    batches = [(X[i : i + 8], NUMBERS[i : i + 8]) for i in range(0, 30, 8)]
    found, _ = fitted(batches, batch_size=8)
    np.testing.assert_array_equal(found, fitted(batches, batch_size=None)[0])
    np.testing.assert_array_equal(
        found, fitted(batches, batch_size=8, shuffle=False)[0]
    )


@pytest.mark.parametrize("sizes", [[8, 9], [8, 7, 8]])
def test_another_batch_size_is_refused(sizes):
    batches = [(X[:n], NUMBERS[:n]) for n in sizes]
    with pytest.raises(ValueError, match="batch_size=8 must be the size of the b"):
        fitted(batches, batch_size=8)


# --- labels (M11) ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS + 1, "Labels start at 0: y = np.unique"),
        (2 * LABELS - 1, 'Labels start at 0.* "hinge" takes -1 and 1'),
        (np.arange(30) % 3, "Take as many outputs as there are classes"),
    ],
)
def test_the_advice_on_labels_is_right(labels, words):
    with pytest.raises(ValueError, match=words):
        fitted((X, labels), loss="cross_entropy")
    if "Labels start" in words:
        advised = np.unique(labels, return_inverse=True)[1]
        fitted((X, advised), loss="cross_entropy", epochs=1)


# --- mistakes (N11) -------------------------------------------------------------


@qml.qnode(qml.device("qstore.mock_ideal", wires=1))
def circuit(x):
    qml.RX(x, 0)
    return qml.expval(qml.Z(0))


MISTAKES = {
    "a dict for the settings": (
        lambda: QuantumTrainer({"epochs": 3}),
        "must be a TrainingConfig, but is of type dict",
    ),
    "a name for the manager": (
        lambda: QuantumTrainer(TrainingConfig(), "mock_ideal"),
        "must be a BackendManager, but is 'mock_ideal'.*quantum_sdk",
    ),
    "a QNode": (lambda: trainer().train(circuit, (X, NUMBERS)), "of type QNode"),
    "the other order": (
        lambda: trainer().train((X, NUMBERS), make()),
        r"of type tuple\. The order is train\(model, data\)",
    ),
    "None": (lambda: trainer().train(None, (X, NUMBERS)), "of type NoneType"),
    "no callback": (
        lambda: trainer().train(make(), (X, NUMBERS), callbacks=[print]),
        "must hold Callbacks",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_at_the_door(name):
    call, words = MISTAKES[name]
    with pytest.raises(TypeError, match=words):
        call()


def test_one_callback_is_a_list_of_one():
    class Counts(Callback):
        n = 0

        def on_epoch_end(self, row):
            self.n += 1

    counts = Counts()
    trainer().train(make(), (X, NUMBERS), callbacks=counts)
    assert counts.n == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "rmspropp"),
        ("loss", "nll"),
        ("gradient_method", "autograd"),
        ("metric_tensor", "euclid"),
        ("metric_tensor_approximation", "block"),
        ("entanglement", "ring"),
    ],
)
def test_a_word_is_checked_when_it_is_assigned(name, value):
    config = TrainingConfig()
    with pytest.raises(ValueError, match=f"`{name}` must be one of .*'{value}'"):
        setattr(config, name, value)
    assert config == TrainingConfig()


def test_the_home_directory_is_no_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = TrainingConfig(checkpoint_directory="~/run")
    assert config.checkpoint_directory == str(tmp_path / "run")


def test_the_repr_of_a_trainer_says_what_was_given():
    shown = repr(trainer(["mae"], epochs=2, learning_rate=0.5, batch_size=4))
    assert shown == (
        "QuantumTrainer(config=TrainingConfig(learning_rate=0.5, epochs=2, "
        "batch_size=4, seed=0), metrics=['mae'])"
    )


# --- keeping and predicting (M9) ------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"encoding": "amplitude", "n_qubits": 3}, {"scale": 2.0, "rotation": "X"}],
)
def test_a_model_comes_back_from_its_file(options, tmp_path):
    model = make(readout="affine", **options)
    model.quantum_layer.freeze_parameters([1, 2])
    model.save(tmp_path / "model")
    twin = QuantumModel.from_checkpoint(tmp_path / "model")
    assert repr(twin) == repr(model)
    np.testing.assert_array_equal(twin.parameters, model.parameters)
    np.testing.assert_array_equal(twin.trainable, model.trainable)
    np.testing.assert_array_equal(twin.forward(X), model.forward(X))
    assert twin.backend is None
    device = qml.device("default.qubit", wires=3)
    assert QuantumModel.from_checkpoint(tmp_path / "model", backend=device).device


def test_a_model_comes_back_from_the_best_epoch_of_a_run(tmp_path):
    model = make()
    new = trainer(checkpoint_directory=tmp_path, epochs=30, patience=3)
    new.train(model, (X, NUMBERS), (X, -NUMBERS))  # validation gets worse
    best = QuantumModel.from_checkpoint(tmp_path / "best.qstore")
    np.testing.assert_array_equal(best.parameters, model.parameters)


@pytest.mark.parametrize(
    "tree", [{}, [], {"model": {}}, {"run": 1}, {"model": {"input_dim": 2}}]
)
def test_a_file_without_a_model_is_refused(tree, tmp_path):
    checkpoint.save(tmp_path / "other", tree)
    with pytest.raises(CheckpointError, match="must hold a model, but does not"):
        QuantumModel.from_checkpoint(tmp_path / "other")


# --- backends by the name of a device (M6) --------------------------------------


@pytest.mark.parametrize("name", ["default.qubit", "lightning.qubit"])
def test_a_device_of_pennylane_is_a_backend_by_its_name(name):
    model = make(backend=name)
    assert model.device.name == name
    np.testing.assert_allclose(model.forward(X), make().forward(X), atol=1e-12)
    trained = make()
    trainer(quantum_sdk=name, epochs=1).train(trained, (X, NUMBERS))
    assert trained.device.name == name


def test_our_devices_have_two_names():
    manager = BackendManager()
    for name in ("mock_ideal", "mock_noisy"):
        assert manager.get_backend(f"qstore.{name}") == manager.get_backend(name)
    with pytest.raises(ValueError, match=r"PennyLane device that is ins.*'default\.q'"):
        manager.get_backend("default.q")


# --- the best epoch -------------------------------------------------------------


def test_the_best_is_that_of_what_is_watched():
    history = trainer(epochs=8).train(make(), (X, NUMBERS), (X, -NUMBERS))
    assert (history.monitor, history.mode) == ("val_loss", "min")
    assert history.best_epoch == int(np.argmin(history["val_loss"]))
    assert history.best_epoch != int(np.argmin(history["loss"]))
    assert f"best val_loss {min(history['val_loss']):.6g} in epoch" in repr(history)
    assert History.from_json(history.to_json()).best_epoch == history.best_epoch
    tree = history.to_tree(len(history))
    assert History.from_tree(tree) == history


def test_without_a_number_there_is_no_best():
    assert History().best_epoch is None
    history = History(monitor="val_loss")
    history.append({"epoch": 0, "loss": 1.0})
    assert history.best_epoch is None
    assert repr(history) == "History(1 epochs, last loss 1)"
