"""Adaptive shots: what the rule asks for, the budget, the history, and resuming."""

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.gradients import (
    FEWEST,
    AdaptiveShift,
    ModelExpectations,
    adaptive,
    estimator_of,
)
from qstore_pl.gradients.adaptive import MEMORY

RATE = 40.0
BATCH, CIRCUITS = 5, 1 + 2 * 12
DEVICES = ("mock_ideal", "mock_noisy")


def made(backend="mock_ideal", seed=0, **options):
    device = qml.device(f"qstore.{backend}", wires=2, seed=seed)
    return QuantumModel(2, 2, 2, device, seed=1, **options)


def data(n=BATCH):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (n, 2)), rng.uniform(-1, 1, (n, 2))


def estimator(model, budget=10**9):
    expectations = ModelExpectations(model, shots=FEWEST)
    return AdaptiveShift(expectations, budget=budget)


def steps(found, model, n):
    """Gradients at the same parameters, and the shots that each of them spent."""
    X, y = data()
    gradients, spent = [], []
    for _ in range(n):
        before = found.spent
        found.forward(model.parameters, X, np.arange(BATCH))
        gradients.append(found.backward(y).copy())
        spent.append(found.spent - before)
    return np.array(gradients), spent


@pytest.mark.parametrize("backend", DEVICES)
def test_the_gradient_has_the_mean_of_the_exact_one(backend):
    model = made(backend)
    gradients, _ = steps(estimator(model, BATCH * CIRCUITS * 30), model, 300)
    X, y = data()
    exact = estimator_of(ModelExpectations(model), "adjoint")
    exact.forward(model.parameters, X, np.arange(BATCH))
    expected = exact.backward(y)
    # Shots follow earlier gradients, so that only runs are independent: but here the
    # variances that they follow do not move much.
    error = gradients[20:].std(axis=0, ddof=1) / np.sqrt(len(gradients) - 20)
    assert np.all(np.abs(gradients[20:].mean(axis=0) - expected) <= 5.5 * error)
    assert np.all(error > 0)


def test_the_first_gradient_takes_the_fewest_shots():
    model = made()
    _, spent = steps(estimator(model), model, 1)
    assert spent == [BATCH * CIRCUITS * FEWEST]


@pytest.fixture
def demanding(monkeypatch):
    """A rule that asks for more than the fewest shots in the small problems here."""
    monkeypatch.setattr(adaptive, "RATE", RATE)


def test_shots_are_those_of_the_rule(demanding):
    """At fixed parameters they come close to the rule with the exact numbers."""
    model = made()
    found = estimator(model)
    _, spent = steps(found, model, 60)
    X, y = data()
    exact = estimator_of(ModelExpectations(model), "adjoint")
    exact.forward(model.parameters, X, np.arange(BATCH))
    norm = np.sum(exact.backward(y) ** 2)
    variance = single_shot_variance(model, X, y)
    sigma = np.sqrt(variance)
    asked = np.maximum(RATE * sigma * sigma.sum() / norm, FEWEST)
    assert asked.max() > 2 * FEWEST
    wanted = BATCH * (asked.max() + 2 * asked.sum())
    assert np.mean(spent[-20:]) == pytest.approx(wanted, rel=0.15)
    state = found.state
    fraction = 1 - MEMORY ** state["n_steps"]
    np.testing.assert_allclose(state["variance"] / fraction, variance, rtol=0.35)


def single_shot_variance(model, X, y):
    """Of each gradient entry, from expectation values of products on default.qubit."""
    device = qml.device("default.qubit", wires=2)

    @qml.qnode(device)
    def products(x, w):
        model.circuit(x, w)
        for mp in list(qml.QueuingManager.active_context().queue):
            if isinstance(mp, qml.measurements.MeasurementProcess):
                qml.QueuingManager.remove(mp)
        return [qml.expval(o) for o in (qml.Z(0), qml.Z(1), qml.Z(0) @ qml.Z(1))]

    total = np.zeros(model.n_weights)
    for i in range(model.n_weights):
        for sign in (1.0, -1.0):
            moved = model.weights.copy()
            moved[i] += sign * np.pi / 2
            for x, c in zip(X, y, strict=True):
                a, b, ab = products(x, moved)
                mean = c[0] * a + c[1] * b
                second = c[0] ** 2 + c[1] ** 2 + 2 * c[0] * c[1] * ab
                total[i] += 0.25 * (second - mean**2)
    return total


def test_the_budget_holds(demanding):
    model = made()
    budget = BATCH * CIRCUITS * 40
    _, spent = steps(estimator(model, budget), model, 20)
    assert max(spent) <= budget
    assert max(spent) > 0.9 * budget
    with pytest.raises(ValueError, match=f"must be >= {BATCH * CIRCUITS * FEWEST}, 10"):
        steps(estimator(model, BATCH * CIRCUITS * FEWEST - 1), model, 1)


def test_frozen_weights_take_no_shots():
    model = made()
    model.quantum_layer.freeze_parameters([0, 1, 2, 3])
    _, spent = steps(estimator(model), model, 1)
    assert spent == [BATCH * (CIRCUITS - 8) * FEWEST]


def config(**options):
    settings = {
        "epochs": 4,
        "batch_size": 3,
        "seed": 0,
        "shots": "adaptive",
        "shots_budget": 3 * CIRCUITS * 100,
    }
    return TrainingConfig(**(settings | options))


@pytest.mark.parametrize("backend", DEVICES)
def test_the_history_says_what_was_spent(backend, demanding):
    model = made(backend)
    with qml.Tracker(model.device) as tracker:
        history = QuantumTrainer(config()).train(model, data(), val_data=data(4))
    assert sum(history["shots"]) == tracker.totals["shots"]
    assert sum(history["circuits"]) == tracker.totals["executions"]
    # Not one number of shots for each circuit:
    assert len({row["shots"] / row["circuits"] for row in history}) > 1


@pytest.mark.parametrize("backend", DEVICES)
def test_a_resumed_run_ends_as_one_without_a_break(backend, tmp_path, demanding):
    whole = made(backend)
    expected = QuantumTrainer(config()).train(whole, data())
    model = made(backend)
    kept = config(epochs=2, checkpoint_directory=str(tmp_path), checkpoint_interval=1)
    QuantumTrainer(kept).train(model, data())
    model = made(backend, seed=99)
    again = config(checkpoint_directory=str(tmp_path), checkpoint_interval=1)
    history = QuantumTrainer(again).train(model, data(), resume="latest")
    np.testing.assert_array_equal(model.parameters, whole.parameters)
    assert history["shots"] == expected["shots"]
    assert history["losses"] == expected["losses"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots_budget": None}, "shots_budget must be set"),
        ({"shots": 100}, "shots_budget must be unset without"),
        ({"gradient_method": "spsa"}, 'must be "parameter_shift" or unset'),
        ({"gradient_method": "adjoint"}, 'must be "parameter_shift" or unset'),
        ({"shots_budget": 10}, "budget of adaptive shots must be >= 750"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        QuantumTrainer(config(**options)).train(made(), data())


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="adaptive"):
        TrainingConfig(shots="many")


def test_other_devices_are_refused():
    model = QuantumModel(2, 2, 2, qml.device("default.qubit", wires=2), seed=1)
    with pytest.raises(ValueError, match="Adaptive shots need a device of this"):
        QuantumTrainer(config()).train(model, data())


def test_validation_data_may_be_larger_than_the_budget():
    X = np.random.default_rng(1).uniform(-1, 1, (300, 2))
    settings = config(epochs=1, shots_budget=3 * CIRCUITS * FEWEST)
    history = QuantumTrainer(settings).train(made(), data(), val_data=(X, X))
    assert history["circuits"] == [BATCH * CIRCUITS + 300]
    assert history["shots"] == [FEWEST * (BATCH * CIRCUITS + 300)]
