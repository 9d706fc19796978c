"""gradient_variance: loops over default.qubit, and circuits whose variance is known."""

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumModel
from qstore_pl.diagnostics import gradient_variance
from qstore_pl.diagnostics.circuits import random_weights
from qstore_pl.diagnostics.gradients import derivatives
from tests.test_roads import SPEC, noisy_oracle, oracle


def word(n):
    """Z on every wire."""
    return qml.prod(*map(qml.Z, range(n))) if n > 1 else qml.Z(0)


def apart(n, depth, observable):
    """Rotations alone: <Z> of each qubit is cos(a) cos(b) of its first two angles."""
    return QuantumModel(n, 1, depth, entanglement="none", observables=[observable])


@pytest.mark.parametrize("readout", ["expval", "affine"])
@pytest.mark.parametrize("output", [0, 1])
def test_derivatives_are_those_of_single_circuits(readout, output):
    model = QuantumModel(3, 2, 2, readout=readout, seed=0)
    model.quantum_layer.freeze_parameters([1, 7])
    rng = np.random.default_rng(1)
    scale = 1.0
    if readout == "affine":
        model.parameters[model.n_weights :] = [1.5, -0.5, 0.2, 0.1]
        scale = [1.5, -0.5][output]
    inputs = rng.uniform(-2, 2, (2, 3))
    weights = random_weights(model, 5, rng)
    assert (weights[:, [1, 7]] == model.weights[[1, 7]]).all()
    found = derivatives(model, weights, inputs, output)
    unit = scale * np.eye(2)[[output]]
    for i, row in enumerate(weights):
        case = ("angle", "circular", "expval", (3, 2, 2, 1))
        _, gradient = oracle(*case, inputs[[i % 2]], row, unit)
        expected = gradient[model.trainable[: model.n_weights]]
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-10)


def test_derivatives_with_noise():
    device = qml.device("qstore.mock_noisy", wires=3, noise=SPEC)
    model = QuantumModel(3, 1, 1, backend=device, seed=0)
    rng = np.random.default_rng(1)
    inputs, weights = rng.uniform(-2, 2, (1, 3)), random_weights(model, 2, rng)
    found = derivatives(model, weights, inputs, 0)
    for row, seen in zip(weights, found, strict=True):
        case = ("angle", "circular", "expval", (3, 1, 1, 1))
        _, expected = noisy_oracle(
            case, SPEC.to_noise_model(), inputs, row, np.ones((1, 1))
        )
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-10)


def test_the_rate_of_a_global_observable_is_known():
    """The variance is 4**-n for 2 of 3 angles of each qubit; RZ changes nothing."""
    found = gradient_variance(
        lambda n, depth: apart(n, depth, word(n)),
        widths=[1, 2, 3, 4],
        depths=[1],
        samples=4000,
    )
    exact = 0.25 ** np.arange(1, 5)
    assert (np.abs(found.variances[0] - exact) < 5 * found.standard_errors[0]).all()
    assert abs(found.rates[0] - np.log(4)) < 5 * found.rate_errors[0]
    assert found.rate_errors[0] < 0.05
    assert found.samples == 4000


def test_the_rate_of_a_local_observable_of_a_product_is_zero():
    found = gradient_variance(
        lambda n, depth: apart(n, depth, qml.Z(0)),
        widths=[1, 3],
        depths=[1],
        samples=2000,
    )
    np.testing.assert_allclose(found.variances, 0.25, rtol=0.1)
    assert abs(found.rates[0]) < 5 * found.rate_errors[0]


def test_deep_circuits_have_the_rate_of_a_two_design():
    found = gradient_variance(
        lambda n, depth: QuantumModel(n, 1, depth), widths=[2, 3, 4, 5], depths=[20]
    )
    assert found.rates[0] == pytest.approx(np.log(2), abs=0.05)


def test_standard_errors_are_the_spread_over_seeds():
    runs = [
        gradient_variance(
            lambda n, depth: QuantumModel(n, 1, depth),
            widths=[1, 2],
            depths=[1, 2],
            samples=50,
            seed=seed,
        )
        for seed in range(40)
    ]
    spread = np.std([run.variances for run in runs], axis=0, ddof=1)
    told = np.mean([run.standard_errors for run in runs], axis=0)
    np.testing.assert_allclose(told, spread, rtol=0.4)


def test_samples_are_given_by_a_function():
    def ones(model):
        return np.ones((1, model.input_dim))

    settings = {"widths": [1, 2], "depths": [1], "samples": 50}
    at_one = gradient_variance(
        lambda n, _: apart(n, 1, word(n)), inputs=ones, **settings
    )
    at_zero = gradient_variance(lambda n, _: apart(n, 1, word(n)), **settings)
    again = gradient_variance(
        lambda n, _: apart(n, 1, word(n)), inputs=lambda m: 0 * ones(m), **settings
    )
    np.testing.assert_array_equal(at_zero.variances, again.variances)
    assert (at_one.variances != at_zero.variances).all()
    amplitudes = gradient_variance(
        lambda n, _: QuantumModel(2**n, 1, 1, encoding="amplitude"),
        inputs=ones,
        **settings,
    )
    assert (amplitudes.variances > 0).all()


def drawn(n):
    return qml.device(
        "qstore.mock_noisy",
        wires=n,
        noise="ibm",
        method="trajectories",
        trajectories=2,
    )


def make(n, depth):
    return QuantumModel(n, 1, depth)


@pytest.mark.parametrize(
    ("made", "changed", "error", "message"),
    [
        (make, {"widths": [2]}, ValueError, "at least two different numbers"),
        (make, {"widths": [2, 2]}, ValueError, r"are \[2, 2\]"),
        (make, {"depths": []}, ValueError, "one number of layers"),
        (make, {"depths": [0]}, ValueError, "`depths` must be >= 1"),
        (make, {"widths": [1.5, 2]}, TypeError, "`widths` must be an integer"),
        (make, {"samples": 1}, ValueError, "`samples` must be >= 2"),
        (make, {"output": 1}, ValueError, "`output` must be < 1"),
        (lambda n, d: n, {}, TypeError, "must return a QuantumModel, but.* int"),
        (
            lambda n, d: QuantumModel(2, 1, encoding="amplitude"),
            {},
            ValueError,
            "`inputs` must be given for this model",
        ),
        (
            lambda n, d: QuantumModel(
                n, 1, d, backend=qml.device("default.qubit", wires=n)
            ),
            {},
            ValueError,
            "must run on a qstore device without shots.*default.qubit",
        ),
        (
            lambda n, d: QuantumModel(n, 1, d, backend=drawn(n)),
            {},
            ValueError,
            "without shots and trajectories",
        ),
        (
            lambda n, d: QuantumModel(n, 1, entanglement="none", observables=[
                qml.Identity(0)]),
            {},
            ValueError,
            "output depends on a trained weight, but that of 1 qubits and 1 layers",
        ),
    ],
)  # fmt: skip
def test_bad_input(made, changed, error, message):
    settings = {"widths": [1, 2], "depths": [1], "samples": 5} | changed
    with pytest.raises(error, match=message):
        gradient_variance(made, **settings)


def test_it_prints_and_plots():
    found = gradient_variance(make, widths=[1, 2], depths=[1, 2], samples=20)
    lines = repr(found).splitlines()
    assert lines[0] == "GradientVariance of 20 draws"
    assert lines[2].startswith("depth 2: variance ")
    _, ax = plt.subplots()
    assert found.plot(ax) is ax
    fits = [line for line in ax.lines if str(line.get_label()).startswith("depth")]
    expected = np.exp(found.intercepts[1] - found.rates[1] * found.widths)
    np.testing.assert_allclose(fits[1].get_ydata(), expected)
    # Two widths are met by the line exactly.
    np.testing.assert_allclose(expected, found.variances[1])
    plt.close("all")
