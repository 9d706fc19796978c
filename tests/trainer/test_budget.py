"""Budgets: no run spends more than it may, and nothing is lost when it stops."""

import itertools
import logging
import pickle

import numpy as np
import pytest

from qstore_pl import BudgetError, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.backends import Bill, Budget
from qstore_pl.errors import QuantumCircuitError
from tests.machines import DenseMachine, backend_of

X = np.random.default_rng(0).uniform(-1, 1, (6, 2))
Y = np.sign(X[:, 0])
SETTINGS = {"epochs": 2, "batch_size": 2, "seed": 3, "learning_rate": 0.1}
METHODS = {
    "parameter_shift": {},
    "spsa": {"gradient_directions": 2},
    "finite_diff": {},
    "random_subset": {"gradient_sample_size": 2},
}


def model_on(backend):
    return QuantumModel(2, 1, n_layers=1, seed=1, backend=backend)


def trained(backend, resume=None, val_data=None, **settings):
    model = model_on(backend)
    trainer = QuantumTrainer(TrainingConfig(**(SETTINGS | settings)))
    trainer.train(model, (X, Y), val_data, resume=resume)
    return model.parameters.copy(), trainer


def rows(trainer):
    kept = ("epoch", "loss", "val_loss", "gradient_norm", "circuits", "shots")
    return [{k: row[k] for k in kept} for row in trainer.history]


@pytest.mark.parametrize("seed", range(200))
def test_no_random_run_spends_more_than_its_budget(seed, caplog):
    rng = np.random.default_rng(seed)
    method = rng.choice(sorted(METHODS))
    machine = DenseMachine(price=0.25)
    where = [backend_of(machine), "mock_ideal"][int(rng.integers(2))]
    limits = {
        "max_cost": float(rng.uniform(0.5, 30)),
        "max_circuits": int(rng.integers(1, 150)),
        "max_shots": int(rng.integers(1, 3000)),
    }
    kept = rng.choice(sorted(limits), rng.integers(1, 4), replace=False)
    limits = {name: limits[name] for name in kept}
    shots = None if rng.integers(2) and "max_shots" not in limits else 20
    options = {"epochs": 1, "batch_size": int(rng.integers(1, 4)), "shots": shots}
    with caplog.at_level(logging.CRITICAL):
        _, trainer = trained(
            where, gradient_method=str(method), **options, **METHODS[method], **limits
        )
    spent = trainer.spent
    assert spent.dollars <= limits.get("max_cost", np.inf)
    assert spent.circuits <= limits.get("max_circuits", np.inf)
    assert spent.shots <= limits.get("max_shots", np.inf)
    if where != "mock_ideal":
        assert spent == machine.ran  # all that was run is known
    assert (trainer.stopped == "budget") == (len(trainer.history) == 0)


@pytest.mark.parametrize("shots", [None, 30])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(method, shots, tmp_path):
    settings = {"gradient_method": method, "shots": shots, **METHODS[method]}
    settings |= {"optimizer": "adam", "checkpoint_directory": tmp_path}
    held_out = X[:2], Y[:2]
    whole, reference = trained(
        backend_of(DenseMachine(), seed=0), val_data=held_out, **settings
    )
    n_all = reference.spent.circuits
    settings["checkpoint_directory"] = tmp_path / "stopped"
    stops, resume = 0, None
    for limit in itertools.count(n_all // 5, max(1, n_all // 5)):
        parameters, trainer = trained(
            backend_of(DenseMachine(), seed=0),
            val_data=held_out,
            resume=resume,
            max_circuits=limit,
            **settings,
        )
        assert trainer.spent.circuits <= limit
        resume = "latest"
        if trainer.stopped != "budget":
            break
        stops += 1
    assert stops >= 3
    assert np.array_equal(parameters, whole)
    assert rows(trainer) == rows(reference)
    assert trainer.spent == reference.spent


def test_a_stop_within_a_step_undoes_the_step(tmp_path):
    # The natural gradient measures its metric tensor in a second submission.
    settings = {"optimizer": "natural_gradient", "gradient_method": "parameter_shift"}
    settings["metric_tensor_approximation"] = "block-diag"
    machine = DenseMachine()
    whole, _ = trained(backend_of(machine), **settings)
    start = model_on("mock_ideal").parameters
    settings["checkpoint_directory"] = tmp_path
    values_and_shifts = 26  # 2 samples, and 2 shifts of 6 weights
    stopped, trainer = trained(
        backend_of(machine), max_circuits=values_and_shifts + 1, **settings
    )
    assert trainer.stopped == "budget"
    assert trainer.spent.circuits == values_and_shifts
    assert np.array_equal(stopped, start)
    parameters, trainer = trained(backend_of(machine), resume="latest", **settings)
    assert np.array_equal(parameters, whole)
    assert trainer.spent.circuits == (machine.ran.circuits + values_and_shifts) // 2


def test_raising_is_asked_for_and_leaves_a_checkpoint(tmp_path):
    settings = {"max_cost": 20.0, "on_budget": "raise"}
    settings |= {"gradient_method": "parameter_shift", "checkpoint_directory": tmp_path}
    with pytest.raises(BudgetError, match=r"max_cost=20\.00; 13\.00 are spent"):
        trained(backend_of(DenseMachine()), **settings)
    assert list(tmp_path.glob("*"))
    settings["max_cost"] = 1000.0
    after, _ = trained(backend_of(DenseMachine()), resume="latest", **settings)
    whole, _ = trained(backend_of(DenseMachine()), gradient_method="parameter_shift")
    assert np.array_equal(after, whole)


def test_a_failure_of_the_machine_loses_nothing(tmp_path):
    settings = {"gradient_method": "parameter_shift", "checkpoint_directory": tmp_path}
    settings["shots"] = 50
    whole, _ = trained(backend_of(DenseMachine(), seed=0), **settings)
    settings["checkpoint_directory"] = tmp_path / "failed"
    machine = DenseMachine(fails=[2, 5])
    for resume in (None, "latest"):
        with pytest.raises(QuantumCircuitError, match="the machine is down"):
            trained(backend_of(machine, seed=0), resume=resume, **settings)
    parameters, trainer = trained(
        backend_of(machine, seed=0), resume="latest", **settings
    )
    assert np.array_equal(parameters, whole)
    assert trainer.spent == machine.ran
    # A submission that failed comes again under the same name.
    assert machine.tickets[3] == machine.tickets[2]
    assert len(set(machine.tickets)) == len(machine.tickets) - 2


def test_two_runs_with_one_seed_are_not_the_same_submissions():
    machines = DenseMachine(), DenseMachine()
    for machine in machines:
        trained(backend_of(machine), gradient_method="spsa", shots=10)
    seeds, runs = (
        [[getattr(ticket, name) for ticket in m.tickets] for m in machines]
        for name in ("seed", "run")
    )
    assert len(set(runs[0])) == len(set(runs[1])) == 1
    assert runs[0] != runs[1]
    assert seeds[0] != seeds[1]  # a device that the user made has its own seed


def test_a_price_that_is_not_known_cannot_be_held():
    with pytest.raises(BudgetError, match="price of backend dense is not known"):
        trained(backend_of(DenseMachine(price=None)), max_cost=5.0, on_budget="raise")


@pytest.mark.parametrize("name", ["max_cost", "max_circuits", "max_shots"])
def test_a_limit_must_be_positive(name):
    with pytest.raises(ValueError, match=name):
        TrainingConfig(**{name: 0})


def test_what_to_do_at_a_limit_needs_a_limit():
    with pytest.raises(ValueError, match="on_budget must be unset without max_cost"):
        QuantumTrainer(TrainingConfig(on_budget="raise"))


def test_the_error_can_be_pickled_and_says_what_to_do():
    budget = Budget(shots=100)
    with pytest.raises(BudgetError) as caught:
        budget.check(Bill(shots=90), Bill(shots=11), backend="cirq")
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == str(caught.value)
    assert "Nothing was sent. Raise the limit and resume" in str(error)
    budget.check(Bill(shots=90), Bill(shots=10), backend="cirq")
