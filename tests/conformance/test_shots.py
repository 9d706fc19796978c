"""Finite shots: seeded, unbiased, differentiated by parameter shift."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, PennyLaneDeprecationWarning

from qstore_pl import compile

DEVICE = "qstore.mock_ideal"
W = np.array([0.4, 1.1, -0.7])


def prepare(w):
    qml.RX(w[0], 0)
    qml.RY(w[1], 1)
    qml.CNOT([0, 1])
    qml.RX(w[2], 1)


def qnode(*measurements, shots=1000, seed=5, wires=2, **options):
    def circuit(w):
        prepare(w)
        results = [measurement() for measurement in measurements]
        return results[0] if len(results) == 1 else results

    device = qml.device(DEVICE, wires=wires, seed=seed)
    return qml.set_shots(qml.QNode(circuit, device, **options), shots=shots)


def exact(*measurements):
    return qnode(*measurements, shots=None)(W)


# -------------------------------------------------------------------------- seeds
@pytest.mark.parametrize("measurement", [qml.sample, qml.counts, qml.probs])
def test_the_seed_fixes_the_samples(measurement, agree):
    one, other = (qnode(measurement, seed=5) for _ in range(2))
    agree([one(W), one(W)], [other(W), other(W)], atol=0)


def test_every_call_draws_new_samples():
    f = qnode(qml.sample)
    assert not np.array_equal(f(W), f(W))


@pytest.mark.parametrize("seeds", [(5, 6), (None, None)])
def test_devices_of_other_seeds_draw_other_samples(seeds):
    one, other = (qnode(qml.sample, seed=seed)(W) for seed in seeds)
    assert not np.array_equal(one, other)


def test_the_seed_is_the_devices_own():
    np.random.seed(1)  # noqa: NPY002 - the global state must play no part
    first = qnode(qml.sample)(W)
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, qnode(qml.sample)(W))


# ----------------------------------------------------------------------- unbiased
OBSERVABLES = {
    "word": lambda: qml.Z(0) @ qml.Y(1),
    "sum": lambda: 0.5 * qml.X(0) @ qml.Z(1) + 2 * qml.Z(1) - qml.Y(0),
    "hermitian": lambda: qml.Hermitian([[1, 2j], [-2j, 0.5]], 1),
    "projector": lambda: qml.Projector([1, 0], [0, 1]),
}


@pytest.mark.parametrize("name", OBSERVABLES)
def test_expectations_are_within_five_standard_errors(name):
    observable, shots = OBSERVABLES[name], 20_000
    mean, variance = exact(
        lambda: qml.expval(observable()), lambda: qml.var(observable())
    )
    sampled = qnode(lambda: qml.expval(observable()), shots=shots)(W)
    # The terms of a sum may be sampled apart, with at most (sum |c|)**2 of variance.
    bound = max(variance, 3.5**2 if name == "sum" else 0)
    assert abs(sampled - mean) < 5 * np.sqrt(bound / shots)
    assert sampled != mean


def test_probabilities_and_counts_are_within_five_standard_errors():
    shots = 20_000
    p = exact(lambda: qml.probs([0, 1]))
    error = 5 * np.sqrt(p * (1 - p) / shots)
    f = qnode(
        lambda: qml.probs([0, 1]), lambda: qml.counts(all_outcomes=True), shots=shots
    )
    probabilities, counts = f(W)
    assert np.all(np.abs(probabilities - p) < error)
    assert list(counts) == ["00", "01", "10", "11"]
    assert np.all(np.abs(np.array(list(counts.values())) / shots - p) < error)


def test_variances_are_within_five_standard_errors():
    shots = 20_000
    (mean,) = (exact(lambda: qml.expval(qml.Z(1))),)
    sampled = qnode(lambda: qml.var(qml.Z(1)), shots=shots)(W)
    # The variance is 1 - <Z>**2: delta method.
    error = 2 * abs(mean) * np.sqrt((1 - mean**2) / shots)
    assert abs(sampled - (1 - mean**2)) < 5 * error


def test_samples_of_an_observable_are_its_eigenvalues():
    samples = qnode(lambda: qml.sample(qml.X(0) @ qml.Z(1)))(W)
    assert samples.shape == (1000,)
    assert set(samples) == {-1.0, 1.0}


def test_samples_of_wires_are_bits_in_the_order_asked_for():
    reverse, forward = qnode(
        lambda: qml.sample(wires=[1, 0]), lambda: qml.sample(wires=[0, 1])
    )(W)
    assert reverse.shape == (1000, 2)
    np.testing.assert_array_equal(reverse, forward[:, ::-1])
    assert set(np.unique(forward)) == {0, 1}


def test_samples_and_counts_of_one_call_are_the_same_draws():
    samples, counts = qnode(
        lambda: qml.sample(wires=0), lambda: qml.counts(wires=0, all_outcomes=True)
    )(W)
    ones = int(np.sum(samples))
    assert counts == {"0": 1000 - ones, "1": ones}


def test_shadows_estimate_expectations():
    shots = 20_000
    observables = [qml.Z(0), qml.Z(0) @ qml.X(1)]
    bits, recipes = qnode(lambda: qml.classical_shadow([0, 1]), shots=shots)(W)
    assert bits.shape == recipes.shape == (shots, 2)
    shadow = qml.ClassicalShadow(bits, recipes)
    estimates = qnode(lambda: qml.shadow_expval(observables), shots=shots)(W)
    for i, observable in enumerate(observables):
        mean = exact(lambda o=observable: qml.expval(o))
        # A word on k wires has a shadow norm of 3**k.
        error = np.sqrt(3 ** len(observable.wires) / shots)
        assert abs(estimates[i] - mean) < 5 * error
        assert abs(shadow.expval(observable) - mean) < 5 * error


# ------------------------------------------------------------------ ways to say it
@pytest.mark.parametrize("shots", [[10, 20], (10, 10, 30), [(5, 3), 7]])
@pytest.mark.parametrize(
    "measurements",
    [
        [qml.sample],
        [qml.counts],
        [lambda: qml.expval(qml.Z(0)), lambda: qml.probs([0, 1])],
        [lambda: qml.classical_shadow([0, 1])],
    ],
)
def test_shot_vectors_nest_as_on_default_qubit(measurements, shots):
    f = qnode(*measurements, shots=shots)
    theirs = qml.QNode(f.func, qml.device("default.qubit", wires=2), shots=shots)
    assert shapes(f(W)) == shapes(theirs(W))


def shapes(result):
    if isinstance(result, tuple | list):
        return [shapes(r) for r in result]
    return sum(result.values()) if isinstance(result, dict) else np.shape(result)


def test_shots_of_the_device_are_accepted_and_deprecated():
    with pytest.warns(PennyLaneDeprecationWarning, match="shots"):
        device = qml.device(DEVICE, wires=2, shots=100, seed=5)

    @qml.qnode(device)
    def circuit():
        qml.Hadamard(0)
        return qml.sample(wires=0)

    assert circuit().shape == (100, 1)
    assert qml.set_shots(circuit, shots=7)().shape == (7, 1)


def test_analytic_measurements_are_refused_with_shots():
    with pytest.raises(DeviceError, match="state"):
        qnode(qml.state)(W)


def test_samples_are_refused_without_shots():
    with pytest.raises(DeviceError, match="sample"):
        qnode(qml.sample, shots=None)(W)


def test_jitted_functions_draw_new_samples():
    f = jax.jit(qnode(lambda: qml.sample(wires=[0, 1])))
    first, second = f(jnp.asarray(W)), f(jnp.asarray(W))
    assert first.shape == (1000, 2)
    assert not np.array_equal(first, second)


# ---------------------------------------------------------------------- gradients
def test_best_is_parameter_shift_with_shots():
    f = qnode(lambda: qml.expval(qml.Z(1)))
    with qml.Tracker(f.device) as tracker:
        qml.grad(f)(pnp.array(W))
    assert "vjps" not in tracker.totals
    assert tracker.totals["executions"] == 1 + 2 * len(W)
    assert tracker.totals["shots"] == 1000 * (1 + 2 * len(W))


def test_gradients_with_shots_are_within_five_standard_errors(framework):
    shots = 20_000
    f = qnode(lambda: qml.expval(qml.Z(1)), shots=shots)
    (gradient,) = framework.jacobian(f, W)
    g = qnode(lambda: qml.expval(qml.Z(1)), shots=None)
    for i, shift in enumerate(np.pi / 2 * np.eye(3)):
        up, down = g(W + shift), g(W - shift)
        error = np.sqrt((2 - up**2 - down**2) / shots) / 2
        assert abs(gradient[i] - (up - down) / 2) <= 5 * error


def test_gradients_with_shots_of_a_batch_are_within_five_standard_errors(framework):
    def batched(w):
        qml.RY(np.array([0.1, 0.9, 2.0]), 0)
        qml.RX(w, 0)
        return qml.expval(qml.Z(0))

    shots, w = 20_000, np.array(0.4)
    device = qml.device(DEVICE, wires=1, seed=5)
    (slope,) = framework.jacobian(qml.QNode(batched, device, shots=shots), w)
    expected = -np.cos([0.1, 0.9, 2.0]) * np.sin(0.4)
    # Half the difference of two means, each with at most 1 of variance.
    assert np.all(np.abs(slope - expected) < 5 * np.sqrt(0.5 / shots))


@pytest.mark.parametrize("diff_method", ["device", "adjoint"])
def test_device_gradients_are_refused_with_shots(diff_method):
    f = qnode(lambda: qml.expval(qml.Z(1)), diff_method=diff_method)
    with pytest.raises((DeviceError, qml.exceptions.QuantumFunctionError)):
        qml.grad(f)(pnp.array(W))


@pytest.mark.parametrize("name", ["qstore.mock_ideal", "qstore.mock_noisy"])
def test_gates_that_pennylane_would_difference_are_refused(name):
    """Its step of 1e-7 makes nothing but noise of shots."""

    @qml.set_shots(100)
    @qml.qnode(qml.device(name, wires=None, seed=1))
    def circuit(w):
        qml.RX(0.7, 0)
        qml.cond(qml.measure(0), qml.RY)(w, 1)
        return qml.expval(qml.Z(1))

    with pytest.raises(DeviceError, match=r"no shift rule for Conditional\(RY\)"):
        qml.grad(circuit)(pnp.array(0.4))
    found = [qml.grad(compile(circuit))(pnp.array(0.4)) for _ in range(100)]
    exact = qml.grad(qml.set_shots(circuit, None))(pnp.array(0.4))
    error = np.std(found, ddof=1) / 10
    assert abs(np.mean(found) - exact) < 5.5 * error
