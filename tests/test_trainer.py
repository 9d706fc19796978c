"""QuantumTrainer: what it does with data, what it records, what it leaves alone.

The arithmetic of the optimizers, losses and gradients has tests of its own; that every
device gives the same weights is in `test_roads`, which backend is taken in
`test_backends`, and what is refused in `test_errors`.
"""

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from qstore_pl import (
    History,
    Loss,
    QuantumModel,
    QuantumTrainer,
    TrainingConfig,
    checkpoint,
)

X = np.random.default_rng(3).uniform(-1.5, 1.5, (7, 3))
Y = np.random.default_rng(4).uniform(-1, 1, (7, 2))
LABELS = np.array([0, 1, 1, 0, 1, 0, 0])


def make(**options):
    return QuantumModel(3, 2, **{"seed": 0, "n_layers": 1, **options})


def settings(**changed):
    defaults = {"epochs": 3, "batch_size": 3, "learning_rate": 0.1, "seed": 0}
    return TrainingConfig(**defaults | changed)


def run(model=None, data=None, *, val_data=None, **changed):
    """The parameters after training, and the history."""
    model = make() if model is None else model
    data = (X, Y) if data is None else data
    history = QuantumTrainer(settings(**changed)).train(model, data, val_data=val_data)
    return model.parameters, history


def recording(calls, gradient=0.0):
    """A loss that notes its targets and its value at every call."""

    def value(predictions, targets):
        result = float((predictions**2).mean())
        calls.append((targets.tolist(), result))
        return result

    return Loss(value, lambda predictions, targets: gradient * predictions)


# --- learning -------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_it_learns_to_tell_two_irises_apart(loss, optimizer):
    features, labels = load_iris(return_X_y=True)
    features = StandardScaler().fit_transform(features[:100])
    targets = labels = labels[:100]
    if loss == "mse":
        targets = 2.0 * np.eye(2)[labels] - 1
    rate = 0.05 if optimizer == "adam" else 0.3
    model = QuantumModel(4, 2, readout="affine", seed=0)
    config = TrainingConfig(
        epochs=30,
        batch_size=10,
        learning_rate=rate,
        loss=loss,
        optimizer=optimizer,
        seed=0,
    )
    history = QuantumTrainer(config).train(model, (features, targets))
    assert history["losses"][-1] < 0.5 * history["losses"][0]
    assert (model.forward(features).argmax(axis=1) == labels).mean() > 0.9


def test_a_loop_written_out_gives_the_same_weights_and_history():
    """Gradient descent, in order, with a short last batch."""
    model = make(readout="affine")
    twin = make(readout="affine")
    parameters, history = run(
        model, optimizer="sgd", shuffle=False, val_data=(X[:2], Y[:2])
    )
    for row in history:
        total, norms = 0.0, []
        for start in (0, 3, 6):
            x, y = X[start : start + 3], Y[start : start + 3]
            predictions = twin.forward(x)
            total += ((predictions - y) ** 2).mean() * len(x)
            dy = 2 * (predictions - y) / y.size
            values = (predictions - twin.parameters[-2:]) / twin.parameters[-4:-2]
            gradient = np.concatenate(
                [
                    twin.placed.program.vjp(
                        twin.weights, twin.prepare(x), dy * twin.parameters[-4:-2]
                    )[0],
                    (dy * values).sum(axis=0),
                    dy.sum(axis=0),
                ]
            )
            norms.append(np.linalg.norm(gradient))
            twin.parameters[:] -= 0.1 * gradient
        assert row["loss"] == pytest.approx(total / 7, rel=1e-12)
        assert row["gradient_norm"] == pytest.approx(np.mean(norms), rel=1e-12)
        val_loss = ((twin.forward(X[:2]) - Y[:2]) ** 2).mean()
        assert row["val_loss"] == pytest.approx(val_loss, rel=1e-12)
    np.testing.assert_allclose(parameters, twin.parameters, rtol=0, atol=1e-13)


# --- history --------------------------------------------------------------------


def test_a_row_per_epoch():
    _, history = run(learning_rate=0.02)
    assert isinstance(history, History)
    assert history["epochs"] == [0, 1, 2]
    assert history["learning_rates"] == [0.02] * 3
    assert history["circuits"] == [7] * 3  # a simulated gradient comes with its circuit
    assert history["shots"] == [0] * 3
    assert min(history["times"]) > 0
    for column in ("val_losses", "accuracies", "val_accuracies"):
        assert history[column] == [None] * 3


def test_the_loss_is_the_mean_over_samples_of_losses_before_each_update():
    calls = []
    _, history = run(loss=recording(calls, gradient=1.0), optimizer="sgd")
    assert [len(targets) for targets, _ in calls] == [3, 3, 1] * 3
    for epoch, loss in enumerate(history["losses"]):
        part = calls[3 * epoch : 3 * epoch + 3]
        expected = sum(value * len(targets) for targets, value in part) / 7
        assert loss == pytest.approx(expected, rel=1e-14)
    first, again = make(), make()
    assert run(first, learning_rate=1e-300)[1]["losses"] == pytest.approx(
        [((again.forward(X) - Y) ** 2).mean()] * 3, rel=1e-12
    )


def test_accuracy_is_counted_before_updates_and_for_validation_after():
    model = make()
    before = (model.forward(X).argmax(axis=1) == LABELS).mean()
    _, history = run(
        model,
        (X, LABELS),
        val_data=(X, LABELS),
        batch_size=7,
        loss="cross_entropy",
        learning_rate=0.5,
        epochs=8,
    )
    after = (model.forward(X).argmax(axis=1) == LABELS).mean()
    assert history["accuracies"][0] == before
    assert history["val_accuracies"][-1] == after
    assert history["accuracies"][1:] == history["val_accuracies"][:-1]
    assert before != after


def test_49_circuits_for_24_weights_one_sample_and_all_outputs():
    model = QuantumModel(4, 4, backend=qml.device("default.qubit"), seed=0)
    _, history = run(model, (np.ones((1, 4)), np.zeros((1, 4))), epochs=2)
    assert history["circuits"] == [49, 49]
    assert history["shots"] == [0, 0]


def test_circuits_of_validation_and_shots_are_counted():
    model = QuantumModel(2, 2, n_layers=1, seed=0)
    _, history = run(
        model, (X[:, :2], Y), val_data=(X[:2, :2], Y[:2]), epochs=1, shots=10
    )
    # 6 weights; the two last RZ commute with what is measured but are still shifted.
    assert history["circuits"] == [7 * 13 + 2]
    assert history["shots"] == [10 * (7 * 13 + 2)]


def test_gradient_norms_are_those_before_clipping():
    _, free = run(epochs=1, batch_size=7)
    _, clipped = run(epochs=1, batch_size=7, gradient_clip_norm=0.01)
    assert clipped["gradient_norms"] == free["gradient_norms"]
    assert free["gradient_norms"][0] > 0.02


# --- data -----------------------------------------------------------------------

BATCHES = [(X[0:3], Y[0:3]), (X[3:6], Y[3:6]), (X[6:], Y[6:])]


class Restartable:
    """An iterable that is no sequence."""

    def __iter__(self):
        return iter(BATCHES)


FORMS = {
    "tuples": BATCHES,
    "lists": [list(batch) for batch in BATCHES],
    "dicts": [{"inputs": x, "targets": y} for x, y in BATCHES],
    "nested lists": [(x.tolist(), y.tolist()) for x, y in BATCHES],
    "torch": [(torch.tensor(x), torch.tensor(y)) for x, y in BATCHES],
    "iterable": Restartable(),
    "DataLoader": DataLoader(
        TensorDataset(torch.tensor(X), torch.tensor(Y)), batch_size=3
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_batches_gives_the_weights_of_arrays(form):
    expected, history = run(shuffle=False, val_data=(X, Y))
    model = make()
    config = TrainingConfig(epochs=3, learning_rate=0.1)
    other = QuantumTrainer(config).train(model, form, val_data=form)
    np.testing.assert_array_equal(model.parameters, expected)
    assert other["losses"] == history["losses"]
    np.testing.assert_allclose(other["val_losses"], history["val_losses"], rtol=1e-12)


def test_a_generator_serves_one_epoch():
    expected, _ = run(shuffle=False, epochs=1)
    model = make()
    config = TrainingConfig(epochs=1, learning_rate=0.1)
    QuantumTrainer(config).train(
        model, (batch for batch in BATCHES), val_data=(batch for batch in BATCHES)
    )
    np.testing.assert_array_equal(model.parameters, expected)


@pytest.mark.parametrize(
    "data",
    [
        (X.tolist(), Y.tolist()),
        (torch.tensor(X), torch.tensor(Y)),
        (np.asfortranarray(X), np.asfortranarray(Y)),
    ],
    ids=["lists", "torch", "Fortran"],
)
def test_arrays_of_any_kind(data):
    np.testing.assert_array_equal(run(data=data)[0], run()[0])


def test_targets_of_one_output_may_have_one_axis():
    flat, _ = run(QuantumModel(3, 1, seed=0), (X, Y[:, 0]))
    column, _ = run(QuantumModel(3, 1, seed=0), (X, Y[:, :1]))
    np.testing.assert_array_equal(flat, column)


def test_labels_may_be_one_hot():
    labels, _ = run(data=(X, LABELS), loss="cross_entropy")
    rows, _ = run(data=(X, np.eye(2)[LABELS]), loss="cross_entropy")
    np.testing.assert_array_equal(labels, rows)


def test_a_batch_may_be_larger_than_the_data():
    np.testing.assert_array_equal(run(batch_size=500)[0], run(batch_size=7)[0])


def test_data_are_not_changed():
    x, y = X.copy(), Y.copy()
    run(data=(x, y))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


# --- shuffling and seeds --------------------------------------------------------


def orders(**changed):
    """Rows in the order of training, one list per epoch."""
    calls = []
    run(data=(X, np.arange(7)), loss=recording(calls), **changed)
    rows = [row for targets, _ in calls for row in targets]
    return [rows[i : i + 7] for i in range(0, len(rows), 7)]


def test_every_epoch_is_another_order_of_all_samples():
    epochs = orders(epochs=6)
    assert len(epochs) == 6
    assert all(sorted(order) == list(range(7)) for order in epochs)
    assert len(set(map(tuple, epochs))) == 6
    assert all(len(set(place)) > 1 for place in zip(*epochs, strict=True))
    assert epochs == orders(epochs=6)
    assert epochs != orders(epochs=6, seed=1)
    assert orders(shuffle=False) == [list(range(7))] * 3


def test_targets_stay_with_their_samples():
    calls = []

    def value(predictions, targets):
        calls.append((predictions.copy(), targets))
        return 0.0

    loss = Loss(value, lambda predictions, targets: 0 * predictions)
    model = make()
    run(model, (X, np.arange(7)), loss=loss)
    outputs = model.forward(X)
    for predictions, rows in calls:
        np.testing.assert_allclose(predictions, outputs[rows], rtol=0, atol=1e-14)


@pytest.mark.parametrize("encoding", ["angle", "amplitude", "zz_feature_map"])
def test_the_same_seed_gives_the_same_bits(encoding):
    first, history = run(make(encoding=encoding))
    second, again = run(make(encoding=encoding))
    other, _ = run(make(encoding=encoding), seed=1)
    assert first.tobytes() == second.tobytes()
    assert history["losses"] == again["losses"]
    assert (first != other).any()


def test_without_a_seed_runs_differ():
    config = TrainingConfig(epochs=3, batch_size=3, learning_rate=0.1)
    models = [make(), make()]
    for model in models:
        QuantumTrainer(config).train(model, (X, Y))
    assert (models[0].parameters != models[1].parameters).any()


def test_a_seed_gives_the_same_shots():
    def trained(seed):
        model = make(backend=qml.device("qstore.mock_ideal", wires=3, seed=seed))
        return run(model, shots=20, epochs=1)[0]

    np.testing.assert_array_equal(trained(1), trained(1))
    assert (trained(1) != trained(2)).any()


# --- validation -----------------------------------------------------------------


def test_validation_is_the_loss_after_the_epoch_and_changes_nothing():
    model = make()
    parameters, history = run(model, val_data=(X[2:6] / 2, Y[2:6]))
    expected = ((model.forward(X[2:6] / 2) - Y[2:6]) ** 2).mean()
    assert history["val_losses"][-1] == pytest.approx(expected, rel=1e-13)
    without, plain = run()
    np.testing.assert_array_equal(parameters, without)
    assert history["losses"] == plain["losses"]


# --- losses ---------------------------------------------------------------------


def mse(predictions, targets):
    return pnp.mean((predictions - targets) ** 2)


@pytest.mark.parametrize(
    "loss",
    [mse, Loss(mse), Loss(mse, lambda p, t: 2 * (p - t) / p.size)],
    ids=["function", "Loss", "Loss with gradient"],
)
@pytest.mark.parametrize("readout", ["expval", "affine"])
def test_a_loss_of_the_users_own_is_the_built_in_one(loss, readout):
    # Not by Adam, which makes rounding errors large where a gradient is 0.
    options = {"val_data": (X, Y), "optimizer": "sgd"}
    expected, history = run(make(readout=readout), **options)
    parameters, other = run(make(readout=readout), **options, loss=loss)
    np.testing.assert_allclose(parameters, expected, rtol=0, atol=1e-12)
    for column in ("losses", "val_losses"):
        np.testing.assert_allclose(other[column], history[column], rtol=1e-12)


ONE = X[:, 0]  # targets of one output, of one axis
OWN = {
    "function": mse,
    "Loss": Loss(mse),
    "Loss with gradient": Loss(mse, lambda p, t: 2 * (p - t) / p.size),
}


@pytest.mark.parametrize("loss", OWN.values(), ids=OWN)
@pytest.mark.parametrize("readout", ["expval", "affine"])
@pytest.mark.parametrize("targets", [ONE, ONE[:, None]], ids=["one axis", "two axes"])
@pytest.mark.parametrize("batches", [False, True])
def test_a_users_loss_of_one_output_is_the_built_in_one(
    loss, readout, targets, batches
):
    def trained(loss):
        model = QuantumModel(3, 1, n_layers=1, readout=readout, seed=0)
        data, options = (X, targets), {"batch_size": 3}
        if batches:
            data, options = [(X[:4], targets[:4]), (X[4:], targets[4:])], {}
        config = TrainingConfig(
            epochs=5, learning_rate=0.1, optimizer="sgd", loss=loss, seed=0, **options
        )
        history = QuantumTrainer(config).train(model, data, (X, targets))
        return model.parameters, history

    expected, history = trained("mse")
    parameters, other = trained(loss)
    np.testing.assert_allclose(parameters, expected, rtol=0, atol=1e-12)
    for column in ("losses", "val_losses"):
        np.testing.assert_allclose(other[column], history[column], rtol=1e-12)


def test_gauss_newton_of_a_users_loss_of_one_output():
    own = Loss(
        lambda p, t: float(np.mean((p - t) ** 2)),
        lambda p, t: 2 * (p - t) / p.size,
        hessian=lambda p, t: np.full((p.size, 1, 1), 2 / p.size),
    )

    def trained(loss, targets):
        model = QuantumModel(3, 1, n_layers=1, readout="affine", seed=0)
        options = {"optimizer": "natural_gradient", "metric_tensor": "gauss-newton"}
        return run(model, (X, targets), loss=loss, **options)[0]

    expected = trained("mse", ONE)
    for targets in (ONE, ONE[:, None]):
        np.testing.assert_allclose(trained(own, targets), expected, rtol=0, atol=1e-10)


SCORED = {  # loss, targets as given, and as a score gets them
    "own, one axis": (mse, ONE, ONE),
    "own, two axes": (mse, ONE[:, None], ONE[:, None]),
    "mse, one axis": ("mse", ONE, ONE),
    "mse, two axes": ("mse", ONE[:, None], ONE[:, None]),
    "binary, one axis": ("binary", LABELS, LABELS),
    "binary, two axes": ("binary", LABELS[:, None], LABELS[:, None]),
    "binary, one-hot": ("binary", np.eye(2)[LABELS], LABELS[:, None]),
    "hinge, one axis": ("hinge", LABELS, 2.0 * LABELS - 1),
    "hinge, two axes": ("hinge", LABELS[:, None], 2.0 * LABELS[:, None] - 1),
}


@pytest.mark.parametrize(("loss", "targets", "wanted"), SCORED.values(), ids=SCORED)
@pytest.mark.parametrize("batches", [False, True])
def test_scores_get_predictions_of_the_shape_of_the_targets(
    loss, targets, wanted, batches
):
    model = QuantumModel(3, 1, n_layers=1, seed=0)
    outputs = model.forward(X).reshape(wanted.shape)
    seen = []

    def score(predictions, targets):
        seen.append((predictions, targets))
        return np.mean((predictions - targets) ** 2)

    data = [(X[:4], targets[:4]), (X[4:], targets[4:])] if batches else (X, targets)
    options = {} if batches else {"shuffle": False, "batch_size": 7}
    config = TrainingConfig(
        epochs=1, learning_rate=1e-300, loss=loss, seed=0, **options
    )
    trainer = QuantumTrainer(config, metrics={"score": score})
    history = trainer.train(model, data, (X, targets))
    for predictions, found in seen:  # of training, and of validation
        np.testing.assert_array_equal(found, wanted)
        np.testing.assert_allclose(predictions, outputs, rtol=0, atol=1e-14)
    assert [len(seen), seen[0][0].shape] == [2, wanted.shape]
    value = np.mean((outputs - wanted) ** 2)
    np.testing.assert_allclose(history["val_score"], [value], rtol=1e-12)


@pytest.mark.parametrize(
    ("score", "error", "words"),
    [
        (
            lambda p, t: np.mean(p[:, 0] - t),
            IndexError,
            r"`odd` failed on .*\(7,\) and",
        ),
        (lambda p, t: p - t, TypeError, r"`odd` must return a real .* shape \(7,\)"),
        (lambda p, t: 1j, TypeError, "`odd` must return a real .*complex128"),
    ],
    ids=["axis", "array", "complex"],
)
def test_a_score_that_does_not_fit_is_named(score, error, words):
    trainer = QuantumTrainer(TrainingConfig(epochs=1), metrics={"odd": score})
    with pytest.raises(error, match=words):
        trainer.train(QuantumModel(3, 1, n_layers=1, seed=0), (X, ONE))


def test_targets_that_would_broadcast_are_refused_before_training():
    model = make()
    with pytest.raises(ValueError, match=r"\(2,\) of integer labels"):
        run(model, (X[:2], ONE[:2]), loss=mse)  # two samples, two outputs
    np.testing.assert_array_equal(model.parameters, make().parameters)


def test_a_loss_autograd_cannot_follow_is_refused_by_both_ways_out():
    def plain(predictions, targets):
        return float(np.mean((np.asarray(predictions) - targets) ** 2))

    model = make()
    before = model.parameters.copy()
    with pytest.raises(TypeError, match="`plain` cannot be differentiated") as raised:
        run(model, loss=plain)
    assert "pennylane.numpy" in str(raised.value)
    assert "Loss(fn, grad)" in str(raised.value)
    np.testing.assert_array_equal(model.parameters, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["value", "gradient"])
def test_a_loss_that_is_not_finite_stops_before_that_step(bad, where):
    def loss(last):
        count = 0

        def grad(predictions, targets):
            spoilt = bad if where == "gradient" and count == last else 1.0
            return spoilt * predictions

        def value(predictions, targets):
            nonlocal count
            count += 1
            spoilt = bad if where == "value" and count == last else 1.0
            return spoilt * float(np.mean(predictions**2))

        return Loss(value, grad)

    model = make()
    with pytest.raises(ValueError, match="must be finite, but"):
        run(model, loss=loss(3), shuffle=False)
    expected = make()
    two = [(X[0:3], Y[0:3]), (X[3:6], Y[3:6])]
    config = TrainingConfig(epochs=1, learning_rate=0.1, loss=loss(-1))
    QuantumTrainer(config).train(expected, two)
    np.testing.assert_array_equal(model.parameters, expected.parameters)


# --- gradients ------------------------------------------------------------------


def one_step(model=None, **changed):
    """How far one step of gradient descent with rate 1 goes, minus the gradient."""
    model = make(readout="affine") if model is None else model
    before = model.parameters.copy()
    changed = {"epochs": 1, "batch_size": 7, "optimizer": "sgd", **changed}
    run(model, learning_rate=1.0, **changed)
    return before - model.parameters


def test_clipping_by_value_then_by_norm():
    gradient = one_step()
    by_value = np.clip(gradient, -0.05, 0.05)
    assert (by_value != gradient).any()
    assert (by_value == gradient).any()

    def close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)

    close(one_step(gradient_clip_value=0.05), by_value)
    norm = np.linalg.norm
    close(one_step(gradient_clip_norm=0.1), 0.1 * gradient / norm(gradient))
    close(one_step(gradient_clip_norm=1e3), gradient)
    close(
        one_step(gradient_clip_value=0.05, gradient_clip_norm=0.1),
        0.1 * by_value / norm(by_value),
    )


def test_the_norm_leaves_frozen_weights_out():
    gradient = one_step()
    largest = int(np.abs(gradient).argmax())
    model = make(readout="affine")
    model.trainable[largest] = False
    gradient[largest] = 0
    np.testing.assert_allclose(
        one_step(model, gradient_clip_norm=0.1),
        0.1 * gradient / np.linalg.norm(gradient),
        rtol=0,
        atol=1e-14,
    )


@pytest.mark.parametrize("backend", ["mock_ideal", "default.qubit"])
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam", "weight_decay": 0.1},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    ],
    ids=["adam", "sgd"],
)
def test_frozen_weights_stay_bit_for_bit(options, backend):
    if backend == "default.qubit":
        backend = qml.device(backend)
    model = make(readout="affine", backend=backend)
    before = model.parameters.copy()
    model.quantum_layer.freeze_parameters([0, 1, 2, 3])
    model.trainable[-1] = False  # a bias
    frozen = [0, 1, 2, 3, model.parameters.size - 1]
    run(model, **options)
    run(model, **options)
    assert model.parameters[frozen].tobytes() == before[frozen].tobytes()
    assert (np.delete(model.parameters, frozen) != np.delete(before, frozen)).all()
    model.quantum_layer.unfreeze_parameters()
    run(model, **options)
    assert (model.parameters[:4] != before[:4]).all()
    assert model.parameters[-1] == before[-1]


def test_with_every_weight_frozen_nothing_moves():
    model = make()
    model.trainable[:] = False
    before = model.parameters.copy()
    with pytest.raises(ValueError, match="a parameter to train, but all are frozen"):
        run(model)
    every = list(range(model.n_weights))
    _, history = run(model, weight_decay=0.5, freeze_schedule={0: every})
    assert model.parameters.tobytes() == before.tobytes()
    assert history["gradient_norms"] == [0.0] * 3


def test_momentum_and_weight_decay_reach_the_optimizer():
    trainer = QuantumTrainer(settings(optimizer="sgd", momentum=0.5, weight_decay=0.25))
    trainer.train(make(), (X, Y))
    expected = "SGD(learning_rate=0.1, momentum=0.5, nesterov=False, weight_decay=0.25)"
    assert repr(trainer.optimizer) == expected


# --- the trainer ----------------------------------------------------------------


def test_epochs_of_the_call_come_before_those_of_the_configuration():
    trainer = QuantumTrainer(settings(epochs=5))
    assert trainer.train(make(), (X, Y), epochs=2)["epochs"] == [0, 1]
    assert trainer.train(make(), (X, Y))["epochs"] == [0, 1, 2, 3, 4]


def test_every_run_begins_with_a_fresh_optimizer_and_the_settings_of_then():
    trainer = QuantumTrainer(settings())
    assert trainer.optimizer is None
    first, second = make(), make()
    trainer.train(first, (X, Y))
    assert trainer.optimizer.state["count"] == 9  # three batches in three epochs
    trainer.train(second, (X, Y))
    np.testing.assert_array_equal(first.parameters, second.parameters)
    trainer.config.learning_rate = 0.2
    assert trainer.train(make(), (X, Y))["learning_rates"] == [0.2] * 3
    trainer.config.optimizer = "sgd"
    trainer.train(make(), (X, Y))
    assert "velocity" in trainer.optimizer.state


def test_a_checkpoint_comes_back(tmp_path):
    trainer = QuantumTrainer(settings())
    model = make(readout="affine")
    history = trainer.train(model, (X, Y))
    saved = {
        "epoch": len(history),
        "model_state": model.get_state(),
        "optimizer_state": trainer.optimizer.state,
        "loss": history["losses"][-1],
        "history": history.to_json(),
    }
    path = tmp_path / "checkpoint.pkl"  # the ending means nothing
    trainer.save_checkpoint(saved, path)
    loaded = QuantumTrainer().load_checkpoint(path)
    assert loaded["epoch"] == 3
    assert loaded["loss"] == history["losses"][-1]
    assert History.from_json(loaded["history"]) == history
    other = make(readout="affine", seed=9)
    other.load_state(loaded["model_state"])
    np.testing.assert_array_equal(other.forward(X), model.forward(X))
    state = trainer.optimizer.state
    assert loaded["optimizer_state"].keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(loaded["optimizer_state"][key], value)
    assert checkpoint.load(path).keys() == saved.keys()


def test_a_progress_bar_only_if_asked(capsys):
    run()
    assert capsys.readouterr() == ("", "")
    run(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err
