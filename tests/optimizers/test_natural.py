"""NaturalGradient: a twin in plain numpy, the laws of optimizers, what it refuses."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
from scipy.sparse.linalg import aslinearoperator

from qstore_pl import QuantumModel, QuantumTrainer, TrainingConfig, checkpoint
from qstore_pl.devices import NoiseSpec
from qstore_pl.gradients import ModelExpectations, estimator_of, metric_of
from qstore_pl.optimizers import GradientResult, NaturalGradient, get_optimizer
from qstore_pl.optimizers.natural import LEAST_DAMPING, MOST_DAMPING
from qstore_pl.trainer import step as trainer_step

SIZE, CIRCUIT = 12, 9  # parameters, and those that have a metric

CASES = {
    "as it is": {},
    "undamped": {"damping": 0.0},
    "momentum": {"momentum": 0.9},
    "averaging": {"averaging": 0.7},
    "interval": {"interval": 3},
    "trust radius": {"trust_radius": 0.02},
    "adapting": {"adapt_damping": True},
    "all": {
        "damping": 0.01,
        "momentum": 0.5,
        "averaging": 0.3,
        "interval": 2,
        "trust_radius": 0.05,
        "adapt_damping": True,
    },
}
every = pytest.mark.parametrize("options", CASES.values(), ids=list(CASES))


def start(size=SIZE):
    return np.random.default_rng(7).normal(size=size)


def slopes(parameters):
    return np.arange(1, parameters.size + 1) * np.sin(parameters) + 0.1


def metric_at(parameters, n=CIRCUIT, rank=CIRCUIT):
    """A positive semidefinite matrix that moves with the parameters."""
    rng = np.random.default_rng(5)
    factor = rng.normal(size=(n, rank)) * (1 + 0.3 * np.sin(parameters[:n, None]))
    return factor @ factor.T / n


def make(options):
    return NaturalGradient(0.05, **options)


def bits(state):
    return {key: np.asarray(value).tobytes() for key, value in state.items()}


class Twin:
    """The same law, written out."""

    def __init__(self, rate, damping=1e-3, momentum=0.0, averaging=0.0, **rest):
        self.rate, self.damping, self.momentum = rate, damping, momentum
        self.averaging, self.radius = averaging, rest.get("trust_radius")
        self.metric, self.velocity = None, 0.0

    def step(self, parameters, gradients, metric):
        if metric is not None and self.metric is not None:
            metric = self.averaging * self.metric + (1 - self.averaging) * metric
        self.metric = metric = self.metric if metric is None else metric
        whole = np.eye(len(parameters))
        whole[: len(metric), : len(metric)] = metric
        damped = whole.copy()
        damped[: len(metric), : len(metric)] += self.damping * np.eye(len(metric))
        if self.damping:
            direction = np.linalg.solve(damped, gradients)
        else:  # by eigenvectors
            values, vectors = np.linalg.eigh(metric)
            kept = values > 1e-7 * values.max()
            inverse = vectors[:, kept] / values[kept] @ vectors[:, kept].T
            direction = gradients.copy()
            direction[: len(metric)] = inverse @ gradients[: len(metric)]
        if self.radius is not None:
            length = self.rate * np.sqrt(direction @ whole @ direction)
            direction = direction * min(1.0, self.radius / length)
        self.velocity = self.momentum * self.velocity + direction
        return parameters - self.rate * self.velocity


@every
@pytest.mark.parametrize("rank", [CIRCUIT, 5])
def test_twenty_steps_are_those_of_the_twin(options, rank):
    if options.get("adapt_damping"):
        options = options | {"adapt_damping": False}
    optimizer, twin = make(options), Twin(0.05, **options)
    parameters, expected = start(), start()
    for count in range(20):
        # Gradients and metrics do not feed back: rounding is not to grow.
        there = start() + 0.2 * count
        assert optimizer.wants_metric == (count % options.get("interval", 1) == 0)
        metric = metric_at(there, rank=rank) if optimizer.wants_metric else None
        expected = twin.step(expected, slopes(there), metric)
        optimizer.step(parameters, slopes(there), metric=metric)
        np.testing.assert_allclose(parameters, expected, rtol=1e-10, atol=1e-10)


def test_undamped_directions_outside_of_the_metric_do_not_move():
    parameters = np.zeros(3)
    metric = np.diag([1.0, 2e-7, 0.5e-7])  # the last is below the cut
    NaturalGradient(1.0, damping=0.0).step(parameters, [1.0, 1.0, 1.0], metric=metric)
    np.testing.assert_allclose(parameters, [-1.0, -5e6, 0.0], rtol=1e-12)


def test_parameters_beyond_the_metric_are_not_damped():
    parameters = np.zeros(3)
    NaturalGradient(0.1, damping=1.0).step(
        parameters, [1.0, 1.0, 1.0], metric=np.eye(2)
    )
    np.testing.assert_allclose(parameters, [-0.05, -0.05, -0.1], rtol=1e-15)


@pytest.mark.parametrize("damping", [0.0, 0.01])
def test_the_identity_makes_it_gradient_descent(damping):
    parameters = start()
    NaturalGradient(0.05, damping=damping).step(
        parameters, slopes(parameters), metric=np.eye(SIZE)
    )
    expected = start() - 0.05 / (1 + damping) * slopes(start())
    np.testing.assert_allclose(parameters, expected, rtol=1e-14)


@pytest.mark.parametrize("radius", [1e-3, 0.1, 100.0])
def test_the_trust_radius_bounds_the_length_in_the_metric(radius):
    parameters, metric = start(), metric_at(start())
    free, bound = parameters.copy(), parameters.copy()
    NaturalGradient(0.05).step(free, slopes(free), metric=metric)
    NaturalGradient(0.05, trust_radius=radius).step(bound, slopes(bound), metric=metric)
    whole = np.eye(SIZE)
    whole[:CIRCUIT, :CIRCUIT] = metric
    full, limited = free - start(), bound - start()
    length = np.sqrt(full @ whole @ full)
    factor = min(1.0, radius / length)
    np.testing.assert_allclose(limited, factor * full, rtol=1e-12)
    assert (factor < 1) == (radius < 1)


# ------------------------------------------------------- the laws of optimizers
def step(optimizer, parameters, trainable=None):
    metric = metric_at(parameters) if optimizer.wants_metric else None
    optimizer.step(parameters, slopes(parameters), trainable=trainable, metric=metric)


@every
def test_update_and_step_are_bit_equal_and_update_is_pure(options):
    stepped, optimizer, pure = start(), make(options), make(options)
    parameters, state = start(), pure.init(SIZE)
    trainable = np.arange(SIZE) % 5 != 2
    for count in range(5):
        gradients = slopes(parameters)
        due = count % options.get("interval", 1) == 0
        metric = metric_at(parameters) if due else None
        arguments = [gradients, parameters] + ([metric] if due else [])
        before = [array.tobytes() for array in arguments], bits(state)
        new = pure.update(
            gradients, state, parameters, trainable=trainable, metric=metric
        )
        assert before == ([array.tobytes() for array in arguments], bits(state))
        parameters, state = new
        step(optimizer, stepped, trainable)
        assert stepped.tobytes() == parameters.tobytes()
        assert bits(optimizer.state) == bits(state)
    assert pure.state == {}
    assert pure.wants_metric


@every
def test_frozen_parameters_and_their_velocity_stay_bit_equal(options):
    parameters, optimizer = start(), make(options)
    step(optimizer, parameters)
    before, velocity = parameters.copy(), optimizer.state["velocity"]
    trainable = np.arange(SIZE) % 4 != 1
    for _ in range(3):
        gradients = slopes(parameters)
        gradients[1] = np.nan  # nobody has to compute it
        metric = metric_at(parameters)
        metric[1], metric[:, 1] = 1e9, -1e9  # nor these
        optimizer.step(parameters, gradients, trainable=trainable, metric=metric)
    assert parameters[~trainable].tobytes() == before[~trainable].tobytes()
    assert np.all(parameters[trainable] != before[trainable])
    after = optimizer.state["velocity"]
    assert after[~trainable].tobytes() == velocity[~trainable].tobytes()


@every
def test_frozen_parameters_do_not_move_the_others(options):
    trainable = np.arange(SIZE) % 4 != 1
    whole, alone = start(), start()[trainable]
    optimizer, lone = make(options), make(options)
    kept = trainable[:CIRCUIT]
    for _ in range(5):
        gradients, metric = slopes(whole), metric_at(whole)
        due = optimizer.wants_metric
        block = metric[np.ix_(kept, kept)]
        optimizer.step(
            whole, gradients, trainable=trainable, metric=metric if due else None
        )
        lone.step(alone, gradients[trainable], metric=block if due else None)
        np.testing.assert_allclose(whole[trainable], alone, rtol=1e-12)


def test_a_gradient_result_brings_its_mask():
    trainable = np.arange(SIZE) > 3
    result = GradientResult(slopes(start()), 0.0, 1, 0, 0.0, trainable)
    one, other = start(), start()
    NaturalGradient(0.1).step(one, result, metric=metric_at(one))
    NaturalGradient(0.1).step(
        other, slopes(other), trainable=trainable, metric=metric_at(other)
    )
    assert one.tobytes() == other.tobytes()
    assert one[:4].tobytes() == start()[:4].tobytes()


@every
def test_a_run_continues_from_its_state_bit_for_bit(options, tmp_path):
    def adapted(optimizer, count):
        if optimizer.adapt_damping:
            optimizer.adapt(1.0, 1.5 if count % 2 else 0.0)

    straight, optimizer = start(), make(options)
    for count in range(7):
        step(optimizer, straight)
        adapted(optimizer, count)
    resumed, first, second = start(), make(options), make(options)
    for count in range(4):
        step(first, resumed)
        adapted(first, count)
    checkpoint.save(tmp_path / "state", first.state)
    second.load_state(checkpoint.load(tmp_path / "state"))
    assert second.wants_metric == first.wants_metric
    for count in range(4, 7):
        step(second, resumed)
        adapted(second, count)
    assert resumed.tobytes() == straight.tobytes()
    assert bits(second.state) == bits(optimizer.state)


@every
def test_state_is_copied_out_and_in(options):
    parameters, optimizer = start(), make(options)
    step(optimizer, parameters)
    state = optimizer.state
    kept = bits(state)
    other = make(options)
    other.load_state(state)
    for key in ("metric", "velocity"):
        state[key][:] = 99.0
    assert bits(optimizer.state) == bits(other.state) == kept


def test_the_metric_that_is_kept_is_not_the_callers_array():
    metric, optimizer = metric_at(start()), NaturalGradient(interval=2)
    optimizer.step(start(), slopes(start()), metric=metric)
    _, state = optimizer.update(
        slopes(start()), optimizer.init(SIZE), start(), metric=metric
    )
    kept = metric.tobytes()
    metric[:] = 99.0
    assert optimizer.state["metric"].tobytes() == kept
    assert state["metric"].tobytes() == kept


@every
def test_an_empty_state_begins_afresh(options):
    optimizer = make(options)
    assert optimizer.state == {}
    step(optimizer, start())
    optimizer.load_state({})
    assert optimizer.state == {}
    assert optimizer.wants_metric
    shorter = start(CIRCUIT)
    step(optimizer, shorter)
    wanted = start(CIRCUIT)
    step(make(options), wanted)
    assert shorter.tobytes() == wanted.tobytes()


@every
def test_copies_and_pickles_continue_alike(options):
    parameters, optimizer = start(), make(options)
    step(optimizer, parameters)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert repr(twin) == repr(optimizer)
        assert bits(twin.state) == bits(optimizer.state)
        wanted, moved = parameters.copy(), parameters.copy()
        step(copy.deepcopy(optimizer), wanted)
        step(twin, moved)
        assert moved.tobytes() == wanted.tobytes()


def test_it_is_made_by_name():
    made = get_optimizer("natural_gradient", 0.1, momentum=0.5, damping=0.2)
    assert repr(made) == (
        "NaturalGradient(learning_rate=0.1, damping=0.2, momentum=0.5, averaging=0.0, "
        "interval=1, trust_radius=None, adapt_damping=False)"
    )
    with pytest.raises(ValueError, match="`weight_decay` must be left out"):
        get_optimizer("natural_gradient", 0.1, weight_decay=0.1)


# ------------------------------------------------------- linear operators
@pytest.mark.parametrize("frozen", [[], [0, 4]])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"trust_radius": 0.02}])
def test_conjugate_gradients_find_what_cholesky_does(options, frozen):
    trainable = np.ones(SIZE, bool)
    trainable[frozen] = False
    by_matrix, by_products = start(), start()
    one, other = make(options), make(options)
    for _ in range(5):
        metric = metric_at(by_matrix)
        gradients = slopes(by_matrix)
        one.step(by_matrix, gradients, trainable=trainable, metric=metric)
        operator = aslinearoperator(metric)
        other.step(by_products, gradients, trainable=trainable, metric=operator)
        assert other.wants_metric
        np.testing.assert_allclose(by_products, by_matrix, rtol=0, atol=1e-8)
    assert other.state["metric"].shape == (0, 0)


@pytest.mark.parametrize("options", [{"averaging": 0.5}, {"interval": 2}])
def test_operators_that_would_have_to_be_kept_are_refused(options):
    parameters, optimizer = start(), make(options)
    with pytest.raises(ValueError, match="must be a matrix for averaging and interval"):
        optimizer.step(
            parameters, slopes(parameters), metric=aslinearoperator(np.eye(SIZE))
        )
    assert parameters.tobytes() == start().tobytes()


def test_operators_without_a_solution_are_refused():
    parameters, optimizer = start(), NaturalGradient()
    matrix = np.eye(SIZE)
    matrix[2, 3] = np.nan
    with pytest.raises(ValueError, match="Conjugate gradients did not find"):
        optimizer.step(parameters, slopes(parameters), metric=aslinearoperator(matrix))
    assert parameters.tobytes() == start().tobytes()
    assert optimizer.state == {}


# ------------------------------------------------------- damping that adapts
def adapting(damping=0.5):
    """An optimizer after a step that promised a reduction of 0.05 * 2 / 1.5."""
    optimizer = NaturalGradient(0.1, damping=damping, adapt_damping=True)
    optimizer.step(np.zeros(2), [1.0, 1.0], metric=np.eye(2))
    return optimizer, 0.5 * 0.1 * 2.0 / (1.0 + damping)


@pytest.mark.parametrize(
    ("share", "factor"),
    [
        (-1.0, 2.0),
        (0.0, 2.0),
        (0.24, 2.0),
        (0.26, 1.0),
        (0.74, 1.0),
        (0.76, 0.5),
        (3.0, 0.5),
        (np.nan, 2.0),
        (-np.inf, 2.0),
    ],
)
def test_damping_follows_the_share_of_the_promise_that_was_kept(share, factor):
    optimizer, promised = adapting()
    assert optimizer.state["predicted"] == pytest.approx(promised, rel=1e-14)
    optimizer.adapt(1.0, 1.0 - share * promised)
    assert optimizer.state["damping"] == 0.5 * factor
    assert optimizer.damping == 0.5  # the first, for a fresh start
    parameters = np.zeros(2)
    optimizer.step(parameters, [1.0, 1.0], metric=np.eye(2))
    np.testing.assert_allclose(parameters, -0.1 / (1 + 0.5 * factor), rtol=1e-14)


def test_damping_stays_within_its_bounds():
    optimizer, _ = adapting(3e-8)
    for _ in range(4):
        optimizer.adapt(1.0, 0.0)
    assert optimizer.state["damping"] == LEAST_DAMPING
    optimizer, _ = adapting(3e7)
    for _ in range(4):
        optimizer.adapt(0.0, 1.0)
    assert optimizer.state["damping"] == MOST_DAMPING


def test_a_step_of_nothing_changes_no_damping():
    optimizer = NaturalGradient(adapt_damping=True)
    optimizer.step(np.zeros(2), np.zeros(2), metric=np.eye(2))
    optimizer.adapt(1.0, 1.0)
    assert optimizer.state["damping"] == 1e-3


@pytest.mark.parametrize("adapt_damping", [False, True])
def test_adapt_must_follow_a_step_and_be_asked_for(adapt_damping):
    optimizer = NaturalGradient(adapt_damping=adapt_damping)
    if not adapt_damping:
        optimizer.step(np.zeros(2), np.ones(2), metric=np.eye(2))
    with pytest.raises(ValueError, match=r"adapt was called before the first step"):
        optimizer.adapt(1.0, 0.5)


# ------------------------------------------------------- refusals
def indefinite():
    metric = np.eye(SIZE)
    metric[3, 3] = -0.5
    return metric


def with_entry(value):
    metric = np.eye(SIZE)
    metric[1, 2] = value
    return metric


BAD_METRICS = {
    "indefinite": (indefinite(), ValueError, "must be positive definite when damped"),
    "nan": (with_entry(np.nan), ValueError, r"`metric` must be finite, but entry \(1,"),
    "inf": (with_entry(np.inf), ValueError, "`metric` must be finite"),
    "asymmetric": (
        with_entry(2.0),
        ValueError,
        r"must be symmetric, but entry \(1, 2\) is 2.0 and entry \(2, 1\) is 0.0",
    ),
    "asymmetric by little": (with_entry(3e-8), ValueError, "must be symmetric"),
    "not square": (np.ones((2, 3)), ValueError, r"shape \(n, n\).* shape \(2, 3\)"),
    "too large": (np.eye(SIZE + 1), ValueError, "n <= 12 parameters, but has shape"),
    "a vector": (np.ones(SIZE), ValueError, r"but has shape \(12,\)"),
    "complex": (np.eye(SIZE) * 1j, TypeError, "must hold real numbers"),
    "words": ("metric", TypeError, "must hold real numbers"),
    "large operator": (
        aslinearoperator(np.eye(SIZE + 1)),
        ValueError,
        "n <= 12 parameters",
    ),
}


@pytest.mark.parametrize("name", BAD_METRICS)
def test_metrics_that_cannot_be_are_refused_before_anything_changes(name):
    metric, error, message = BAD_METRICS[name]
    parameters, optimizer = start(), NaturalGradient()
    with pytest.raises(error, match=message):
        optimizer.step(parameters, slopes(parameters), metric=metric)
    assert optimizer.state == {}
    assert parameters.tobytes() == start().tobytes()
    step(optimizer, parameters)
    before, state = parameters.tobytes(), bits(optimizer.state)
    with pytest.raises(error, match=message):
        optimizer.step(parameters, slopes(parameters), metric=metric)
    assert parameters.tobytes() == before
    assert bits(optimizer.state) == state
    with pytest.raises(error, match=message):
        optimizer.update(slopes(start()), optimizer.state, start(), metric=metric)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gradients_that_are_not_finite_are_refused_before_anything_changes(bad):
    parameters, optimizer = start(), NaturalGradient(averaging=0.5)
    step(optimizer, parameters)
    before, state = parameters.tobytes(), bits(optimizer.state)
    gradients = slopes(parameters)
    gradients[[3, 5]] = bad
    with pytest.raises(ValueError, match="`gradients` must be finite, but entry 3 is"):
        optimizer.step(parameters, gradients, metric=metric_at(parameters))
    assert parameters.tobytes() == before
    assert bits(optimizer.state) == state


def test_the_first_metric_must_be_given():
    parameters, optimizer = start(), NaturalGradient(interval=5)
    with pytest.raises(ValueError, match="`metric` must be given for the first step"):
        optimizer.step(parameters, slopes(parameters))
    assert optimizer.state == {}
    step(optimizer, parameters)
    optimizer.step(parameters, slopes(parameters))  # the last one is kept


def test_a_step_after_a_linear_operator_needs_a_metric():
    parameters, optimizer = start(), NaturalGradient()
    optimizer.step(parameters, slopes(parameters), metric=aslinearoperator(np.eye(3)))
    with pytest.raises(ValueError, match="`metric` must be given"):
        optimizer.step(parameters, slopes(parameters))


def test_an_average_keeps_its_size():
    parameters, optimizer = start(), NaturalGradient(averaging=0.5)
    step(optimizer, parameters)
    with pytest.raises(ValueError, match=r"shape \(9, 9\), as the average so far"):
        optimizer.step(parameters, slopes(parameters), metric=np.eye(SIZE))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"damping": -1e-9}, ValueError, "`damping` must be >= 0"),
        ({"damping": np.nan}, ValueError, "`damping` must be finite"),
        ({"momentum": 1.0}, ValueError, "`momentum` must be < 1"),
        ({"averaging": 1.0}, ValueError, "`averaging` must be < 1"),
        ({"averaging": -0.1}, ValueError, "`averaging` must be >= 0"),
        ({"interval": 0}, ValueError, "`interval` must be >= 1"),
        ({"interval": 1.5}, TypeError, "`interval` must be an integer"),
        ({"trust_radius": 0.0}, ValueError, "`trust_radius` must be > 0"),
        ({"adapt_damping": 1}, TypeError, "`adapt_damping` must be True or False"),
        (
            {"adapt_damping": True, "damping": 0.0},
            ValueError,
            "`damping` must be > 0 with adapt_damping=True",
        ),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        NaturalGradient(**options)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"metric": np.zeros((2, 3))}, ValueError, r"shape \(n, n\)"),
        ({"metric": np.zeros(4)}, ValueError, r"shape \(n, n\)"),
        ({"metric": np.eye(SIZE + 1)}, ValueError, "metric"),
        ({"metric": np.full((2, 2), np.nan)}, ValueError, r"state\['metric'\]"),
        ({"damping": -1.0}, ValueError, "must be >= 0"),
        ({"count": 1.5}, TypeError, "an integer"),
        ({"velocity": np.zeros((2, 2))}, ValueError, r"shape \(n_parameters,\)"),
        ({"more": 1}, ValueError, "must have the entries count, damping, metric"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(changed, error, message):
    optimizer = NaturalGradient()
    step(optimizer, start())
    before = optimizer.state
    with pytest.raises(error, match=message):
        optimizer.load_state(before | changed)
    assert bits(optimizer.state) == bits(before)


# ------------------------------------------------------- in the trainer
X = np.random.default_rng(3).uniform(-1.5, 1.5, (7, 3))
Y = np.random.default_rng(4).uniform(-1, 1, (7, 2))


def settings(**changed):
    return TrainingConfig(**{"epochs": 3, "batch_size": 3, "seed": 0} | changed)


@pytest.mark.parametrize(("interval", "calls"), [(1, 9), (2, 5), (4, 3), (20, 1)])
def test_the_trainer_asks_for_metrics_when_they_are_due(interval, calls, monkeypatch):
    seen = []
    original = trainer_step.metric_of

    def counted(*args, **options):
        metric = original(*args, **options)

        def at(weights, features, rows):
            seen.append(len(rows))
            return metric(weights, features, rows)

        return at

    monkeypatch.setattr(trainer_step, "metric_of", counted)
    optimizer = NaturalGradient(0.05, interval=interval)
    QuantumTrainer(settings(), optimizer=optimizer).train(
        QuantumModel(3, 2, seed=0), (X, Y)
    )
    assert len(seen) == calls
    assert seen[0] == 3  # of the batch


@pytest.mark.parametrize("approximation", ["full", "block-diag", "diag", "matrix-free"])
def test_a_step_of_the_trainer_is_a_solution(approximation):
    model = QuantumModel(3, 2, readout="affine", seed=0)
    model.quantum_layer.freeze_parameters([2, 7])
    rng = np.random.default_rng(8)
    model.parameters[:18] = rng.uniform(-2, 2, 18)
    before, rows = model.parameters.copy(), np.arange(7)
    features = model.prepare(X)
    expectations = ModelExpectations(model)
    name = "full" if approximation == "matrix-free" else approximation
    metric = metric_of(expectations, approximation=name)(model.weights, features, rows)
    run = estimator_of(expectations, "adjoint")
    outputs = run.forward(model.parameters, features, rows)
    gradient = run.backward((outputs - Y) * 2 / Y.size)
    config = settings(
        epochs=1,
        batch_size=7,
        optimizer="natural_gradient",
        learning_rate=0.1,
        damping=0.01,
        metric_tensor_approximation=approximation,
        shuffle=False,
    )
    QuantumTrainer(config).train(model, (X, Y))
    kept = model.trainable[:18]
    expected = before - 0.1 * gradient  # of the read-out, undamped
    block = metric[np.ix_(kept, kept)] + 0.01 * np.eye(16)
    moved = np.zeros(18)
    moved[kept] = np.linalg.solve(block, gradient[:18][kept])
    expected[:18] = before[:18] - 0.1 * moved
    np.testing.assert_allclose(model.parameters, expected, rtol=0, atol=1e-9)
    assert model.parameters[[2, 7]].tobytes() == before[[2, 7]].tobytes()


@pytest.mark.parametrize(
    ("metric", "approximation"),
    [("noiseless", "full"), ("fubini-study", "block-diag"), ("fubini-study", "full")],
)
def test_training_on_another_device_is_the_same(metric, approximation):
    words = {"metric_tensor": metric, "metric_tensor_approximation": approximation}
    config = settings(
        optimizer="natural_gradient", learning_rate=0.05, epochs=1, **words
    )
    trained = []
    for name in ("qstore.mock_ideal", "default.qubit"):
        device = qml.device(name, wires=4)  # one to spare
        model = QuantumModel(3, 2, 1, device, readout="affine", seed=0)
        QuantumTrainer(config).train(model, (X, Y))
        trained.append(model.parameters)
    np.testing.assert_allclose(trained[1], trained[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("metric", ["bures", "noiseless"])
def test_training_with_noise_lowers_the_loss(metric):
    device = qml.device("qstore.mock_noisy", wires=3, noise=NoiseSpec(p1=0.01))
    config = settings(
        optimizer="natural_gradient", learning_rate=0.1, epochs=10, metric_tensor=metric
    )
    history = QuantumTrainer(config).train(
        QuantumModel(3, 2, 2, device, seed=0), (X, Y)
    )
    assert history["losses"][-1] < 0.8 * history["losses"][0]


def test_the_trainer_tells_the_loss_of_the_same_batch_after_the_step():
    told = []

    class Listening(NaturalGradient):
        def adapt(self, before, after):
            told.append((before, after))
            super().adapt(before, after)

    model = QuantumModel(3, 2, seed=0)
    optimizer = Listening(0.2, adapt_damping=True)
    made = QuantumTrainer(settings(batch_size=7, shuffle=False), optimizer=optimizer)
    history = made.train(model, (X, Y))
    assert [before for before, _ in told] == history["losses"]
    # One batch: the loss after a step is the loss before the next.
    after = [after for _, after in told]
    final = np.mean((model.forward(X) - Y) ** 2)
    np.testing.assert_allclose(after, [*history["losses"][1:], final], rtol=1e-13)
    assert made.optimizer.state["damping"] != 1e-3


def test_a_trained_state_is_kept_by_a_checkpoint_bit_for_bit(tmp_path):
    model = QuantumModel(3, 2, seed=0)
    config = settings(optimizer="natural_gradient", momentum=0.9, learning_rate=0.05)
    made = QuantumTrainer(config)
    made.train(model, (X, Y))
    made.save_checkpoint(made.optimizer.state, tmp_path / "state")
    state = made.load_checkpoint(tmp_path / "state")
    assert bits(state) == bits(made.optimizer.state)
    again = NaturalGradient(0.05, momentum=0.9)
    again.load_state(state)
    one, other = model.parameters.copy(), model.parameters.copy()
    gradients, metric = slopes(one), np.eye(18)
    made.optimizer.step(one, gradients, metric=metric)
    again.step(other, gradients, metric=metric)
    assert one.tobytes() == other.tobytes() != model.parameters.tobytes()


def test_words_that_only_natural_gradients_read_are_refused_for_others():
    with pytest.raises(ValueError, match="metric_tensor must be unset unless the"):
        QuantumTrainer(settings(metric_tensor="noiseless"))
    with pytest.raises(ValueError, match='"bures", "fubini-study", "gauss-newton", "n'):
        QuantumTrainer(settings(optimizer="natural_gradient", metric_tensor="fisher"))


def test_an_indefinite_metric_is_refused_without_damping():
    parameters, optimizer = start(), NaturalGradient(damping=0.0)
    with pytest.raises(ValueError, match=r"eigenvalue -0.5. Set a damping > 0.5:"):
        optimizer.step(parameters, slopes(parameters), metric=indefinite())
    assert parameters.tobytes() == start().tobytes()
    NaturalGradient(damping=0.6).step(parameters, slopes(start()), metric=indefinite())


@pytest.mark.parametrize("damping", [0.0, 1e-3])
def test_rounding_makes_no_metric_asymmetric_or_indefinite(damping):
    metric = np.diag(np.arange(SIZE, dtype=float))
    metric[1, 2] = 1e-8
    metric[0, 0] = -1e-8
    parameters = start()
    NaturalGradient(damping=damping).step(parameters, slopes(start()), metric=metric)
    assert np.isfinite(parameters).all()
