"""Gradients in shards, by threads: the serial ones, whoever computes them."""

from __future__ import annotations

import numpy as np
import pytest
from pennylane import numpy as pnp

from qstore_pl import (
    Loss,
    QuantumModel,
    QuantumTrainer,
    ThreadExecutor,
    TrainingConfig,
)
from qstore_pl.callbacks import Callback
from qstore_pl.errors import CheckpointError, ExecutorError
from qstore_pl.trainer import Executor

RNG = np.random.default_rng(3)
X = RNG.uniform(-1, 1, (23, 2))
Y = np.sign(X[:, :1]) * 0.5
LABELS = (Y[:, 0] > 0).astype(int)
# Adam would divide the rounding errors of gradients that are 0 by their size.
SETTINGS = {"epochs": 2, "batch_size": 10, "learning_rate": 0.2, "optimizer": "sgd"}


def model(n_outputs=1, **options):
    options = {"n_layers": 1, "readout": "affine", "seed": 0} | options
    return QuantumModel(2, n_outputs, **options)


def trained(
    executor=None, data=(X, Y), made=None, resume=None, callbacks=(), **options
):
    made = model() if made is None else made
    config = TrainingConfig(**(SETTINGS | {"seed": 4} | options))
    trainer = QuantumTrainer(config, executor=executor)
    history = trainer.train(made, data, resume=resume, callbacks=callbacks)
    return made.parameters.copy(), history


def spread(p, t):
    """A loss that mixes samples: their mean counts more than each of them."""
    return pnp.mean((p - t) ** 2) + 3.0 * pnp.mean(p - t) ** 2


def mean(p, t):
    return pnp.mean((p - t) ** 2)


class Recording(Executor):
    """Calls in a row, of which the number of arguments is kept."""

    def __init__(self, **options):
        super().__init__(**options)
        self.rounds = []

    def crew(self, function):
        from contextlib import nullcontext

        def run(items):
            self.rounds.append([len(item.features) for item in items])
            return [function(item) for item in items]

        return nullcontext(run)

    def map(self, function, items):
        return [function(item) for item in items]


# --- the same as without an executor ----------------------------------------------

CASES = {
    "mse": {},
    "accumulated": {"accumulation_steps": 2, "gradient_clip_norm": 0.1},
    "validated": {"validation_split": 0.3, "patience": 5},
    "frozen": {"freeze_schedule": {0: [1, 2], 1: [0]}},
    "shift": {"gradient_method": "parameter_shift"},
    "natural": {"optimizer": "natural_gradient"},
    "mixes": {"loss": spread},
    "batched": {"batch_size": 3},  # fewer samples than shards
    "other device": {"quantum_sdk": "default.qubit", "epochs": 1, "batch_size": 12},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_weights_are_those_of_the_serial_run(options):
    wanted, history = trained(**options)
    found, ours = trained(ThreadExecutor(2), **options)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours["losses"], history["losses"], rtol=0, atol=1e-12)
    if "loss" not in options:  # which takes two rounds
        assert ours["circuits"] == history["circuits"]


CLASSES = {
    "cross_entropy": {"loss": "cross_entropy", "class_weight": {0: 2.0}},
    "hinge": {"loss": "hinge"},
    "binary": {"loss": "binary", "class_weight": "balanced"},
}


@pytest.mark.parametrize("options", CLASSES.values(), ids=CLASSES)
def test_losses_of_classes_with_weights(options):
    n_outputs = 1 if options["loss"] == "binary" else 2
    weights = np.linspace(0.0, 2.0, len(X))
    both = [
        trained(e, (X, LABELS, weights), model(n_outputs), **options)[0]
        for e in (None, ThreadExecutor(2))
    ]
    np.testing.assert_allclose(both[1], both[0], rtol=0, atol=1e-12)


def test_batches_of_an_iterable():
    batches = [(X[:9], Y[:9]), {"inputs": X[9:], "targets": Y[9:]}]
    options = {"data": batches, "batch_size": None}
    wanted, found = trained(**options)[0], trained(ThreadExecutor(2), **options)[0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


# --- independent of the number of workers -----------------------------------------

DRAWN = {
    "exact": {},
    "shots": {"shots": 20},
    "shots, any loss": {"shots": 20, "loss": spread},
    "spsa": {"gradient_method": "spsa", "gradient_directions": 2},
    "subset": {"gradient_method": "random_subset", "gradient_sample_size": 2},
    "trajectories": {},
}


def drawn_model(name):
    if name != "trajectories":
        return model()
    import pennylane as qml

    noisy = {"noise": "ibm", "method": "trajectories", "trajectories": 3, "seed": 5}
    return model(backend=qml.device("qstore.mock_noisy", wires=2, **noisy))


@pytest.mark.parametrize("name", DRAWN)
def test_workers_change_no_bit_and_a_run_is_resumed(name, tmp_path):
    options = DRAWN[name]
    whole, history = trained(ThreadExecutor(1), made=drawn_model(name), **options)
    three, _ = trained(ThreadExecutor(3), made=drawn_model(name), **options)
    assert three.tobytes() == whole.tobytes()
    kept = options | {"checkpoint_directory": tmp_path, "checkpoint_interval": 1}
    trained(ThreadExecutor(2), made=drawn_model(name), **(kept | {"epochs": 1}))
    again, rest = trained(
        ThreadExecutor(3), made=drawn_model(name), resume="latest", **kept
    )
    assert again.tobytes() == whole.tobytes()
    assert rest["losses"] == history["losses"]


def test_shards_draw_from_streams_of_their_own():
    """Equal samples in different shards have different outcomes."""
    found = []

    class Values(Recording):
        def crew(self, function):
            from contextlib import nullcontext

            def run(items):
                results = [function(item) for item in items]
                found.append(np.stack([result.values for result in results]))
                return results

            return nullcontext(run)

    data = np.ones((8, 2)), np.zeros((8, 1))
    trained(Values(n_shards=4), data, batch_size=8, epochs=2, shots=1000)
    first, second = found
    assert len(np.unique(first[:, 0])) > 1  # of shards
    assert (first != second).any()  # of steps
    # The mean of 1,000 outcomes has a standard deviation of at most 0.032.
    assert np.ptp(np.stack(found)[0], axis=0).max() < 0.3


# --- rounds and shards ------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "n_rounds"),
    [("mse", 1), (spread, 2), (Loss(mean, is_mean=True), 1), (Loss(mean), 2)],
)
def test_one_round_for_a_mean_and_two_for_any_other_loss(loss, n_rounds):
    executor = Recording(n_shards=4)
    trained(executor, loss=loss, epochs=1)
    # 23 samples are batches of 10, 10 and 3; a shard has no empty part.
    cut = [[3, 3, 2, 2], [3, 3, 2, 2], [1, 1, 1]]
    assert executor.rounds == [one for one in cut for _ in range(n_rounds)]


def test_a_loss_that_is_no_mean_is_found_out():
    with pytest.raises(ValueError, match="must be a mean over samples"):
        trained(ThreadExecutor(1), loss=Loss(spread, is_mean=True))


def test_shots_of_two_rounds_are_counted_twice():
    once = trained(ThreadExecutor(1), loss="mse", shots=10)[1]
    twice = trained(ThreadExecutor(1), loss=spread, shots=10)[1]
    assert twice["shots"] == [2 * n for n in once["shots"]]


# --- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend_shares": {"cirq": 1, "mock_ideal": 1}}, "backend_shares must be"),
        ({"max_shots": 10, "shots": 5}, "max_shots must be unset with an executor"),
        ({"shots": "adaptive", "shots_budget": 9}, "shots must be a number or unset"),
        ({"quantum_sdk": "cirq"}, "must be None for backend `cirq`"),
        ({"quantum_sdk": "default.qubit", "shots": 5}, "None for shots on backend"),
    ],
)
def test_what_no_executor_does(options, message):
    with pytest.raises(ValueError, match=message):
        trained(ThreadExecutor(1), **options)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: QuantumTrainer(executor="dask"), TypeError),
        (lambda: ThreadExecutor(0), ValueError),
        (lambda: ThreadExecutor(2, n_shards=0), ValueError),
        (lambda: ThreadExecutor(1.5), TypeError),
    ],
)
def test_wrong_arguments(make, error):
    with pytest.raises(error, match="Argument `"):
        make()


@pytest.mark.parametrize("executor", [None, ThreadExecutor(1, n_shards=5)])
def test_a_run_goes_on_with_the_shards_it_began_with(executor, tmp_path):
    kept = {"checkpoint_directory": tmp_path, "checkpoint_interval": 1}
    trained(ThreadExecutor(1), **(kept | {"epochs": 1}))
    with pytest.raises(CheckpointError, match=r"executor.n_shards was 8, is (None|5)"):
        trained(executor, resume="latest", **kept)


# --- failures ---------------------------------------------------------------------


class Failing(Recording):
    """Workers that are lost in one round."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def crew(self, function):
        from contextlib import nullcontext

        def run(items):
            self.at -= 1
            if self.at == 0:
                raise ExecutorError("no worker is left")
            return [function(item) for item in items]

        return nullcontext(run)


@pytest.mark.parametrize("options", [{}, {"loss": spread}, {"shots": 7}])
@pytest.mark.parametrize("at", [2, 5])
def test_a_run_whose_workers_are_lost_is_resumed_bit_for_bit(at, options, tmp_path):
    whole, _ = trained(ThreadExecutor(1), **options)
    kept = options | {"checkpoint_directory": tmp_path}
    with pytest.raises(ExecutorError, match="no worker is left"):
        trained(Failing(at), **kept)
    again, _ = trained(ThreadExecutor(1), resume="latest", **kept)
    assert again.tobytes() == whole.tobytes()


def test_an_error_of_the_circuit_reaches_the_user():
    class Broken(Callback):
        def on_step_end(self, epoch, step, loss):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trained(ThreadExecutor(1), callbacks=Broken(), strict_callbacks=True)
    bad = Loss(lambda p, t: np.nan, lambda p, t: p, is_mean=True)
    with pytest.raises(ValueError, match="The loss must be finite"):
        trained(ThreadExecutor(2), loss=bad)


def test_it_is_shown():
    shown = repr(QuantumTrainer(TrainingConfig(seed=1), executor=ThreadExecutor(2)))
    assert shown.endswith("executor=ThreadExecutor(2, n_shards=8))")
