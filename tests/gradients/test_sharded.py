"""One model trained on several backends at once."""

import threading

import numpy as np
import pytest

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.backends import Backend, MachineDevice
from qstore_pl.backends.cirq import CirqMachine
from qstore_pl.backends.machine import Machine
from qstore_pl.errors import CheckpointError, QuantumCircuitError
from qstore_pl.gradients import (
    ModelExpectations,
    Shard,
    ShardedEstimator,
    estimator_of,
)
from qstore_pl.gradients.sharded import divided

RNG = np.random.default_rng(3)
X = RNG.uniform(-1, 1, (13, 2))
Y = np.sign(X[:, :1]) * 0.5


def model():
    return QuantumModel(2, 1, n_layers=1, readout="affine", seed=0)


def trained(n=13, **options):
    settings = {"epochs": 2, "batch_size": 5, "learning_rate": 0.1, "seed": 4}
    made = model()
    history = QuantumTrainer(TrainingConfig(**{**settings, **options})).train(
        made, (X[:n], Y[:n])
    )
    return made, history


# --- how samples are divided ------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "shares", "wanted"),
    [
        (10, [1, 3], [3, 7]),  # 2.5 and 7.5: the first of equal fractions
        (4, [1, 3], [1, 3]),
        (1, [1, 3], [0, 1]),
        (0, [1, 3], [0, 0]),
        (7, [0.1, 0.1, 0.1], [3, 2, 2]),
        (100, [1, 1e-9], [100, 0]),
        (3, [2, 1], [2, 1]),
    ],
)
def test_the_largest_fractions_get_what_is_left(n, shares, wanted):
    assert divided(n, shares) == wanted


def test_no_part_is_further_than_one_from_its_quota():
    rng = np.random.default_rng(0)
    for n in range(40):
        shares = rng.uniform(0.01, 5, 4)
        found = np.array(divided(n, shares))
        assert found.sum() == n
        assert (np.abs(found - n * shares / shares.sum()) < 1).all()


# --- the same as on one backend ---------------------------------------------------

METHODS = [
    {},
    {"gradient_method": "finite_diff"},
    {"gradient_method": "spsa", "gradient_directions": 2},
    {"gradient_method": "random_subset", "gradient_sample_size": 2},
    {"optimizer": "natural_gradient"},
]


@pytest.mark.parametrize(
    "options", METHODS, ids=["best", "differences", "spsa", "subset", "natural"]
)
def test_exact_backends_give_what_one_gives(options):
    shares = {"mock_ideal": 2, "cirq": 1, "qiskit": 1}
    # Adam would divide the rounding errors of gradients that are 0 by their size.
    options = {"optimizer": "sgd", **options}
    several, history = trained(backend_shares=shares, **options)
    # Our device alone is exact to the last digits by the same rule.
    alone, wanted = trained(**{"gradient_method": "parameter_shift", **options})
    # Finite differences divide rounding errors by their step, 1e-5.
    atol = 1e-8 if options.get("gradient_method") == "finite_diff" else 1e-10
    np.testing.assert_allclose(several.parameters, alone.parameters, rtol=0, atol=atol)
    np.testing.assert_allclose(history["losses"], wanted["losses"], rtol=0, atol=atol)
    if (
        "gradient_method" in options
    ):  # else our device takes its own gradient, of one circuit a sample
        assert history["circuits"] == wanted["circuits"]


def test_each_backend_runs_its_share():
    made = model()
    rng = np.random.default_rng(0)
    shards = []
    for name, share in (("cirq", 1), ("qiskit", 3)):
        expectations = ModelExpectations(made, made.on(name), shots=100)
        shards.append(Shard(estimator_of(expectations), share))
    several = ShardedEstimator(shards, rng)
    outputs = several.forward(made.parameters, X, np.arange(8))
    several.backward(np.ones_like(outputs))
    circuits = 1 + 2 * made.n_weights
    # The last RZ of a wire does not change <Z>: it is not shifted.
    machines = [part.expectations.device for part in several.parts]
    spent = [device.spent.circuits for device in machines]
    assert spent[1] == 3 * spent[0]
    assert spent[0] <= 2 * circuits
    assert several.circuits == sum(spent)
    assert several.spent == 100 * sum(spent)
    assert [device.spent.jobs for device in machines] == [1, 1]
    # Fewer samples than backends: one of them has none, and is not asked.
    several.forward(made.parameters, X, np.arange(1), gradient=False)
    assert [device.spent.jobs for device in machines] == [1, 2]


# --- resuming ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"shots": 20, "validation_split": 0.3},
        {"shots": "adaptive", "shots_budget": 4000},  # of few shots that differ
        {"shots": 20, "gradient_method": "spsa"},
    ],
    ids=["fixed", "adaptive", "spsa"],
)
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, options):
    shares = {"qiskit": 1, "cirq": 1, "mock_ideal": 2}
    options = options | {"backend_shares": shares, "batch_size": 4}
    whole, _ = trained(8, epochs=2, **options)
    settings = {"checkpoint_directory": str(tmp_path), "checkpoint_interval": 1}
    trained(8, epochs=1, **options, **settings)
    config = TrainingConfig(epochs=2, learning_rate=0.1, seed=4, **options, **settings)
    again = model()
    history = QuantumTrainer(config).train(again, (X[:8], Y[:8]), resume="latest")
    assert len(history) == 2
    assert again.parameters.tobytes() == whole.parameters.tobytes()


def test_a_run_goes_on_with_the_devices_it_began_with(tmp_path):
    settings = {"checkpoint_directory": str(tmp_path), "seed": 4}
    shares = {"cirq": 1, "qiskit": 1}
    trained(8, epochs=1, backend_shares=shares, **settings)
    config = TrainingConfig(
        epochs=2, backend_shares={"qiskit": 1, "cirq": 1}, batch_size=5, **settings
    )
    config.learning_rate = 0.1
    with pytest.raises(CheckpointError, match=r"device was .*Cirq.* and .*Aer"):
        QuantumTrainer(config).train(model(), (X[:8], Y[:8]), resume="latest")


# --- remote backends run at the same time -----------------------------------------


class Slow(Machine):
    """Stands for a machine elsewhere: it is ready after all others were asked."""

    gate_set = CirqMachine.gate_set

    def __init__(self, name, barrier, *, fails=False):
        self._inner, self.name, self._barrier = CirqMachine(), name, barrier
        self.limits, self._fails = self._inner.limits, fails
        self.threads = []

    def run(self, batches, ticket):
        self.threads.append(threading.get_ident())
        self._barrier.wait(timeout=20)
        if self._fails:
            raise RuntimeError("It is switched off.")
        return self._inner.run(batches, ticket)

    def bill(self, batches):
        return self._inner.bill(batches)


def on(machine, *, remote, seed):
    made = model()
    device = MachineDevice(machine, 2, seed=seed)
    placed = made.on(Backend(machine.name, lambda _: device))
    expectations = ModelExpectations(made, placed, shots=50)
    estimator = estimator_of(expectations, "parameter_shift")
    return Shard(estimator, 1, remote=remote)


def gradient(several):
    outputs = several.forward(model().parameters, X, np.arange(9))
    return several.backward(2 * outputs).copy()


@pytest.mark.timeout(60)
def test_remote_backends_run_at_the_same_time_and_local_ones_meanwhile():
    class NoBarrier:
        def wait(self, timeout):
            del timeout

    def several(barrier, *, remote):
        machines = [Slow(f"far {i}", barrier) for i in range(2)]
        machines.append(CirqMachine())
        shards = [on(m, remote=remote, seed=i) for i, m in enumerate(machines)]
        shards[2] = on(machines[2], remote=False, seed=2)
        return ShardedEstimator(shards, np.random.default_rng(0)), machines

    # The barrier opens when both machines are at work, or breaks.
    at_once, machines = several(threading.Barrier(2), remote=True)
    found = gradient(at_once)
    idents = {*machines[0].threads, *machines[1].threads}
    assert len(idents) == 2
    assert threading.get_ident() not in idents
    one_by_one, machines = several(NoBarrier(), remote=False)
    np.testing.assert_array_equal(found, gradient(one_by_one))
    assert machines[0].threads == [threading.get_ident()]


@pytest.mark.timeout(60)
def test_an_error_names_its_backend_and_leaves_none_at_work():
    barrier = threading.Barrier(2)
    machines = [Slow("far", barrier), Slow("broken", barrier, fails=True)]
    shards = [on(m, remote=True, seed=i) for i, m in enumerate(machines)]
    several = ShardedEstimator(shards, np.random.default_rng(0))
    with pytest.raises(QuantumCircuitError, match="switched off") as caught:
        gradient(several)
    assert caught.value.backend == "broken"
    assert several.parts[0].expectations.device.spent.jobs == 1


# --- budgets ----------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_circuits", "max_shots"])
def test_all_backends_together_keep_within_the_budget(tmp_path, limit):
    shares = {"cirq": 1, "mock_ideal": 1, "qiskit": 2}
    options = {"backend_shares": shares, "shots": 10, "batch_size": 4}
    whole, history = trained(8, **options)
    total = sum(history["circuits" if limit == "max_circuits" else "shots"])
    settings = {"checkpoint_directory": str(tmp_path), "learning_rate": 0.1, "seed": 4}
    config = TrainingConfig(epochs=2, **options, **settings)
    # A step takes about a quarter: the run ends in its third one.
    setattr(config, limit, int(0.6 * total))
    made = model()
    trainer = QuantumTrainer(config)
    trainer.train(made, (X[:8], Y[:8]))
    spent = {"max_circuits": trainer.spent.circuits, "max_shots": trainer.spent.shots}
    assert trainer.stopped == "budget"
    assert 0.5 * total < spent[limit] <= 0.6 * total
    # With a higher one it goes on, with the same random numbers.
    setattr(config, limit, 2 * total)
    again = QuantumTrainer(config)
    again.train(made, (X[:8], Y[:8]), resume="latest")
    assert again.stopped == ""
    assert made.parameters.tobytes() == whole.parameters.tobytes()
    # Four steps on two machines, and the part of the step that the budget ended.
    assert again.spent.jobs == 2 * 4 + 1


def test_one_shard_at_least():
    with pytest.raises(ValueError, match="must have at least one"):
        ShardedEstimator([], np.random.default_rng(0))


# --- the configuration ------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"backend_shares": {"cirq": 1}}, "at least two backends"),
        ({"backend_shares": {"mock": 1, "mock_ideal": 1}}, "each once"),
        ({"backend_shares": {"cirq": 1, "qiskit": 0}}, "must be > 0"),
        (
            {"backend_shares": {"cirq": 1, "qiskit": 1}, "quantum_sdk": "cirq"},
            "quantum_sdk must be unset where backend_shares",
        ),
        ({"backend_shares": {"cirq": 1, "mine": 1}}, "must be one of .*'mine'"),
        (
            {"backend_shares": {"cirq": 1, "mock": 1}, "gradient_method": "adjoint"},
            "needs a device with a gradient of its own",
        ),
        (
            {"backend_shares": {"cirq": 1, "qiskit": 1}, "quantum_target": "forte"},
            "quantum_target must be unset: cirq, qiskit would ignore it",
        ),
    ],
)
def test_shares_that_cannot_be(options, problem):
    with pytest.raises(ValueError, match=problem):
        trained(**options)


def test_a_model_with_a_backend_of_its_own_is_refused():
    made = QuantumModel(2, 1, backend="cirq")
    config = TrainingConfig(backend_shares={"cirq": 1, "qiskit": 1})
    with pytest.raises(ValueError, match="backend of its own, `cirq`"):
        QuantumTrainer(config).train(made, (X, Y))


def test_afterwards_the_model_runs_where_the_next_run_says():
    made, _ = trained(backend_shares={"mock_noisy": 1, "mock_ideal": 1}, epochs=1)
    assert made.device.name == "qstore.mock_noisy"
    QuantumTrainer(TrainingConfig(epochs=1)).train(made, (X, Y))
    assert made.device.name == "qstore.mock_ideal"


def test_shares_are_kept_in_files():
    config = TrainingConfig(backend_shares={"mock": 1, "qiskit": 2.5})
    assert config.backend_shares == {"mock_ideal": 1.0, "qiskit": 2.5}
    assert TrainingConfig.from_toml(config.to_toml()) == config
