"""Trajectories as a user meets them: seeds, interfaces, the tracker, training, copies.

Numbers drawn at random are compared within five standard errors: a false alarm of 6e-7
for each, 1e-5 where the error is estimated from 60 repetitions (Student's t), below
1e-3 for this file. Seeds are fixed.
"""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import NoiseSpec, QuantumModel, QuantumTrainer, TrainingConfig
from qstore_pl.engine.trajectories import TrajectoryProgram
from tests.devices.test_trajectories import MEASURED, NOISE, W, both
from tests.every_string import every_string  # noqa: F401

DEVICE = "qstore.mock_noisy"
SPEC = NoiseSpec(p1=0.01, p2=0.05, t1=50e-6, t2=70e-6, gate_time_1=1e-6,
                 gate_time_2=3e-6, dephasing=0.01, over_rotation=0.02, excited=0.1,
                 readout=(0.02, 0.05))  # fmt: skip
COPIES = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
}


def device(trajectories=200, seed=5, noise=SPEC, wires=3, **options):
    return qml.device(
        DEVICE, wires=wires, noise=noise, method="trajectories",
        trajectories=trajectories, seed=seed, **options,
    )  # fmt: skip


def circuit(x, weights):
    """Templates and gates on three wires, with noise after each by the device."""
    qml.AngleEmbedding(x, wires=range(3), rotation="Y")
    qml.StronglyEntanglingLayers(weights, wires=range(3))
    qml.CRX(x[..., 0], wires=[0, 1])
    qml.IsingXY(weights[0, 0, 0], wires=[1, 2])
    return (
        qml.expval(qml.Z(0) + 0.5 * qml.X(1)),
        qml.expval(qml.X(1) @ qml.Y(2)),
        qml.probs(wires=[2, 0]),
        qml.expval(qml.Hermitian(np.array([[1, 2j], [-2j, 0.5]]), 1)),
    )


RNG = np.random.default_rng(0)
X, WEIGHTS = RNG.normal(size=(2, 3)), RNG.normal(size=(1, 3, 3))


# -------------------------------------------------------------------- interfaces
@pytest.mark.parametrize("x", [0.7, np.array([0.7, -1.2])], ids=["one", "batch"])
def test_gradients_of_all_draws_are_those_of_the_density_method(framework, flat, x):
    names = ("word", "sum", "hermitian", "probs")
    listed, density = both(NOISE, *(MEASURED[name] for name in names))
    x = np.array(x)
    wanted = framework.jacobian(flat(density), x, W)
    for one, other in zip(framework.jacobian(flat(listed), x, W), wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    value = framework.value(flat(listed), x, W)
    assert type(value) is type(framework.value(flat(density), x, W))


# -------------------------------------------------------- draws at random, the tracker
def test_averages_are_within_five_of_the_standard_errors_told_to_the_tracker():
    mine = device(4000)
    exact = qml.QNode(circuit, qml.device(DEVICE, wires=3, noise=SPEC))(X, WEIGHTS)
    with qml.Tracker(mine) as tracker:
        results = qml.QNode(circuit, mine)(X, WEIGHTS)
    (errors,) = tracker.history["standard_errors"]
    for one, other, error in zip(results, exact, errors, strict=True):
        assert error.shape == np.shape(one)
        assert np.all((error > 0) & (error < 0.05))
        assert np.all(np.abs(one - other) < 5 * error)


def test_the_tracker_has_an_entry_for_each_execution():
    mine = device(50)
    qnode = qml.QNode(circuit, mine)
    with qml.Tracker(mine) as tracker:
        qnode(X[0], WEIGHTS)
        qnode(X, WEIGHTS)
    one, batch = tracker.history["standard_errors"]
    assert [np.shape(error) for error in one] == [(), (), (4,), ()]
    assert [np.shape(error) for error in batch] == [(2,), (2,), (2, 4), (2,)]
    with qml.Tracker(density := qml.device(DEVICE, wires=3, noise=SPEC)) as tracker:
        qml.QNode(circuit, density)(X[0], WEIGHTS)
    assert "standard_errors" not in tracker.history


def test_one_trajectory_has_no_standard_error():
    mine = device(1)
    with qml.Tracker(mine) as tracker:
        qml.QNode(circuit, mine)(X[0], WEIGHTS)
    assert all(np.all(e == np.inf) for e in tracker.history["standard_errors"][0])


def test_gradients_are_within_five_standard_errors(flat):
    x, weights = (pnp.array(a, requires_grad=True) for a in (X, WEIGHTS))
    cotangents = np.random.default_rng(1).normal(size=2 * 7)

    def gradients(some):
        def total(x, weights):
            return pnp.dot(cotangents, flat(qml.QNode(circuit, some))(x, weights))

        return np.concatenate([g.ravel() for g in qml.grad(total)(x, weights)])

    mine, wanted = device(200), gradients(qml.device(DEVICE, wires=3, noise=SPEC))
    found = np.array([gradients(mine) for _ in range(60)])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - wanted) < 5 * error)
    # The power: five errors are this share of what the noise does to a gradient.
    effect = np.abs(wanted - gradients(qml.device(DEVICE, wires=3, noise=None)))
    assert np.min(5 * error / effect) < 0.1


def test_a_noise_model_is_drawn_too():
    model = NoiseSpec(p1=0.05, p2=0.2).to_noise_model()
    exact = qml.QNode(circuit, qml.device(DEVICE, wires=3, noise=model))(X, WEIGHTS)
    mine = device(2000, noise=model)
    with qml.Tracker(mine) as tracker:
        results = qml.QNode(circuit, mine)(X, WEIGHTS)
    (errors,) = tracker.history["standard_errors"]
    for one, other, error in zip(results, exact, errors, strict=True):
        assert np.all(np.abs(one - other) < 5 * error)


# -------------------------------------------------------------------------- seeds
def test_the_seed_fixes_the_numbers_and_each_execution_draws_anew(flat):
    first, second, other = (
        flat(qml.QNode(circuit, device(20, seed=seed))) for seed in (5, 5, 6)
    )
    once = first(X, WEIGHTS)
    np.testing.assert_array_equal(once, second(X, WEIGHTS))
    again = first(X, WEIGHTS)
    assert np.all(again != once)
    np.testing.assert_array_equal(again, second(X, WEIGHTS))
    assert np.all(other(X, WEIGHTS) != once)


def test_one_draw_serves_a_value_and_its_gradient():
    mine = device(20)
    weights = pnp.array(WEIGHTS, requires_grad=True)

    def value(weights):
        return qml.QNode(circuit, mine)(X[0], weights)[0]

    draws = []
    uniform = mine._uniform
    mine._uniform = lambda shape: draws.append(uniform(shape)) or draws[-1]
    qml.grad(value)(weights)
    assert len(draws) == 1
    value(weights)
    assert len(draws) == 2
    assert np.all(draws[0] != draws[1])


def test_the_gradient_is_the_slope_of_the_numbers_it_came_with():
    """With the same draws the value of a circuit is as smooth as without noise."""
    weights = pnp.array(WEIGHTS, requires_grad=True)

    def value(weights):
        return qml.QNode(circuit, device(20, seed=9))(X[0], weights)[1]

    gradient, step = qml.grad(value)(weights), 1e-5
    for index in ((0, 0, 0), (0, 1, 1), (0, 2, 2)):
        up, down = WEIGHTS.copy(), WEIGHTS.copy()
        up[index] += step
        down[index] -= step
        slope = (value(up) - value(down)) / (2 * step)
        np.testing.assert_allclose(gradient[index], slope, rtol=0, atol=1e-7)


# -------------------------------------------------------------------- finite shots
def test_shots_follow_the_seed_and_are_drawn_anew():
    @qml.set_shots(shots=50)
    @qml.qnode(device(20, seed=5))
    def mine():
        prepare_numbered()
        return qml.sample()

    @qml.set_shots(shots=50)
    @qml.qnode(device(20, seed=5))
    def twin():
        prepare_numbered()
        return qml.sample()

    first = mine()
    np.testing.assert_array_equal(first, twin())
    assert np.any(mine() != first)


def prepare_numbered():
    for i in range(3):
        qml.RY(0.4 + i, i)
    qml.CNOT([0, 1])


def test_gradients_with_shots_are_within_five_standard_errors(framework):
    """Parameter shift: half the difference of two means."""
    shots, n = 5000, 5000

    def rotated(angle):
        qml.RX(angle, 0)
        return qml.expval(qml.Z(0))

    noise = NoiseSpec(p1=0.1)
    qnode = qml.QNode(rotated, device(n, noise=noise, wires=1), shots=shots)
    (slope,) = framework.jacobian(qnode, np.array(0.7))
    error = np.sqrt((1 / shots + 1 / n) / 2)
    assert abs(slope + (1 - 4 * 0.1 / 3) * np.sin(0.7)) < 5 * error


# -------------------------------------------------------------------- without noise
@pytest.mark.parametrize("options", [{"noise_scale": 0.0}, {"noise": None}])
def test_without_noise_it_is_the_ideal_device(options, flat):
    mine, ideal = device(7, **options), qml.device("qstore.mock_ideal", wires=3, seed=5)
    x, weights = (pnp.array(a, requires_grad=True) for a in (X, WEIGHTS))
    one, other = (flat(qml.QNode(circuit, some)) for some in (mine, ideal))
    np.testing.assert_array_equal(one(x, weights), other(x, weights))
    for a, b in zip(
        qml.jacobian(one, [0, 1])(x, weights),
        qml.jacobian(other, [0, 1])(x, weights), strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(a, b)

    def state():
        prepare_numbered()
        return qml.state()

    def bits():
        prepare_numbered()
        return qml.sample()

    # A state is a density matrix on this device, whatever its noise.
    vector = qml.QNode(state, ideal)()
    outer = np.outer(vector, vector.conj())
    np.testing.assert_allclose(qml.QNode(state, mine)(), outer, rtol=0, atol=1e-12)
    one, other = (qml.set_shots(qml.QNode(bits, d), shots=20)() for d in (mine, ideal))
    np.testing.assert_array_equal(one, other)


def test_a_channel_of_the_circuit_is_drawn_without_noise_of_the_device():
    @qml.qnode(device(50, noise=None, wires=1))
    def damped():
        qml.RY(2.0, 0)
        qml.AmplitudeDamping(0.3, 0)
        return qml.expval(qml.Z(0))

    with qml.Tracker(damped.device) as tracker:
        value = damped()
    # There is one error, so that both strings are run, with their exact weights.
    np.testing.assert_allclose(value, 0.3 + 0.7 * np.cos(2.0), rtol=0, atol=1e-12)
    assert tracker.history["standard_errors"] == [(0.0,)]
    (((lower, upper),),) = tracker.history["intervals"]
    assert lower < value < upper
    kept = (1.0 + np.sqrt(0.7)) ** 2 + (1.0 - np.sqrt(0.7)) ** 2  # Tr of its square
    np.testing.assert_allclose(tracker.history["no_error_weights"], [kept / 4.0])


# --------------------------------------------------------------- copies and training
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copies_of_a_device_draw_a_stream_of_their_own(duplicate, flat):
    def numbers(some):
        return flat(qml.QNode(circuit, some))(X, WEIGHTS)

    mine = device(20)
    numbers(mine)  # a Program is cached
    twins = [duplicate(mine), duplicate(mine)]
    draws = [numbers(some) for some in (mine, *twins)]
    assert np.all(draws[0] != draws[1])
    assert np.all(draws[1] != draws[2])
    again, first = duplicate(device(20)), duplicate(device(20))
    np.testing.assert_array_equal(numbers(again), numbers(first))


def model(seed=5):
    return QuantumModel(2, 1, 2, device(60, seed=seed, wires=2), seed=1)


def test_a_model_is_compiled_and_its_program_draws_from_the_device():
    one, other = model(), model()
    assert isinstance(one.placed.program, TrajectoryProgram)
    inputs = np.random.default_rng(2).uniform(-1, 1, (4, 2))
    np.testing.assert_array_equal(one.forward(inputs), other.forward(inputs))
    density = QuantumModel(2, 1, 2, qml.device(DEVICE, wires=2, noise=SPEC), seed=1)
    mean = np.mean([one.forward(inputs) for _ in range(50)], axis=0)
    # 50 sets of 60 trajectories, each trajectory within [-3, 3] by far.
    assert np.all(np.abs(mean - density.forward(inputs)) < 5 / np.sqrt(50 * 60))


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_a_model_is_copied_with_its_program(duplicate):
    mine, inputs = model(), np.zeros((2, 2))
    mine.forward(inputs)
    twin = duplicate(mine)
    assert isinstance(twin.placed.program, TrajectoryProgram)
    assert np.any(twin.forward(inputs) != mine.forward(inputs))
    twin.parameters[:] = 0.0
    assert np.any(mine.parameters != 0.0)


def test_training_lowers_the_loss_and_follows_the_seed():
    rng = np.random.default_rng(3)
    inputs = rng.uniform(-1, 1, (24, 2))
    targets = np.cos(inputs.sum(axis=1, keepdims=True)) * 0.5
    histories = []
    for _ in range(2):
        trained = model()
        trainer = QuantumTrainer(TrainingConfig(epochs=15, batch_size=8, seed=1))
        histories.append(trainer.train(trained, (inputs, targets)))
    assert isinstance(trained.placed.program, TrajectoryProgram)
    first, second = histories
    assert first["losses"] == second["losses"]
    assert np.mean(first["losses"][-3:]) < 0.5 * first["losses"][0]


def test_one_draw_serves_all_rows_of_a_jacobian():
    """jax stacks the cotangents of all outputs: here twice the same one."""

    @qml.qnode(device(20, noise="strong", wires=2))
    def circuit(weights):
        qml.RX(weights[0], 0)
        qml.CNOT([0, 1])
        qml.RY(weights[1], 1)
        return qml.expval(qml.X(1)), qml.expval(qml.X(1))

    jacobian = jax.jacobian(lambda weights: jnp.stack(circuit(weights)))
    first, second = np.asarray(jacobian(jnp.array([0.3, 0.7])))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first).max() > 0.1
