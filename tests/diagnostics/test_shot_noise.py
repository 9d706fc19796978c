"""shot_noise: closed forms of one qubit, and the spread of gradients that are drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
import pytest
from scipy import stats

from qstore_pl import QuantumGradientComputer, QuantumModel
from qstore_pl.devices import NoiseSpec
from qstore_pl.diagnostics import shot_noise
from qstore_pl.gradients import ModelExpectations, estimator_of
from qstore_pl.losses import get_loss

FALSE_ALARM = 1e-4
SHOTS = 200


def one_qubit(a, b):
    """<Z> is cos(a) cos(b); RZ changes nothing."""
    model = QuantumModel(1, 1, 1, seed=0)
    model.parameters[:] = [a, b, 0.7]
    return model


def test_one_qubit_in_closed_form():
    a, b, y, shots = 0.4, 1.1, 0.3, 50
    found = shot_noise(one_qubit(a, b), ([[0.0]], [y]), shots=shots)
    m = np.cos(a) * np.cos(b)
    assert found.loss == pytest.approx((m - y) ** 2)
    slope = 2 * (m - y)
    assert found.loss_error == pytest.approx(
        abs(slope) * np.sqrt((1 - m**2) / shots), rel=1e-8
    )
    moved = {  # <Z> with each angle shifted by pi / 2 and back
        0: -np.sin(a) * np.cos(b),
        1: -np.cos(a) * np.sin(b),
    }
    for i, d in moved.items():
        assert found.gradient[i] == pytest.approx(slope * d)
        # Two circuits of value d and -d, and the value at which the loss is taken.
        variance = slope**2 * (1 - d**2) / 2 + (2 * d) ** 2 * (1 - m**2)
        assert found.gradient_errors[i] == pytest.approx(
            np.sqrt(variance / shots), rel=1e-6
        )


@pytest.mark.parametrize("noise", [None, NoiseSpec(p1=0.02, readout=(0.05, 0.02))])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_errors_are_the_spread_of_what_is_drawn(noise, loss):
    device = qml.device("qstore.mock_ideal", wires=2, seed=0)
    if noise is not None:
        device = qml.device("qstore.mock_noisy", wires=2, noise=noise, seed=0)
    model = QuantumModel(2, 2, 1, readout="affine", seed=0, backend=device)
    rng = np.random.default_rng(3)
    model.parameters[: model.n_weights] = rng.uniform(0, 2, model.n_weights)
    X, y = rng.uniform(-1, 1, (3, 2)), np.array([0, 1, 1])
    if loss == "mse":
        y = rng.uniform(-1, 1, (3, 2))
    shots = SHOTS if loss == "mse" else 50 * SHOTS  # the first order is not exact
    found = shot_noise(model, (X, y), loss=loss, shots=shots)
    sampled = ModelExpectations(model, shots=shots)
    estimator = estimator_of(sampled, "parameter_shift")
    features, rows = model.prepare(X), np.arange(3)
    known = get_loss(loss)
    targets = known.prepare_targets(y, 2, 3)
    losses, gradients = [], []
    for _ in range(300):
        outputs = estimator.forward(model.parameters, features, rows)
        value, cotangents = known.value_and_grad(outputs, targets)
        losses.append(value)
        gradients.append(estimator.backward(cotangents)[: model.n_weights].copy())
    gradients = np.array(gradients)
    along = gradients @ (found.gradient / found.norm)
    low, high = stats.chi2.ppf((FALSE_ALARM / 2, 1 - FALSE_ALARM / 2), 299) / 299
    pairs = [
        (np.var(losses, ddof=1), found.loss_error**2),
        (np.var(along, ddof=1), found.norm_error**2),
        *zip(gradients.var(axis=0, ddof=1), found.gradient_errors**2, strict=True),
    ]
    for seen, told in pairs:
        assert low * told - 1e-30 <= seen <= high * told + 1e-30  # RZ has none
    mean_square = np.mean(np.sum((gradients - found.gradient) ** 2, axis=1))
    assert np.sqrt(mean_square) == pytest.approx(found.gradient_error, rel=0.15)


def test_the_gradient_is_the_adjoint_one():
    model = QuantumModel(3, 2, 2, readout="affine", seed=0)
    model.quantum_layer.freeze_parameters([2, 5])
    rng = np.random.default_rng(0)
    data = rng.uniform(-1, 1, (4, 3)), rng.uniform(-1, 1, (4, 2))
    before = model.parameters.copy()
    found = shot_noise(model, data)
    result = QuantumGradientComputer().compute_gradients(
        model, model.parameters, inputs=data[0], targets=data[1], loss="mse"
    )
    expected = result.gradients[: model.n_weights]
    np.testing.assert_allclose(found.gradient, expected, atol=1e-12)
    assert (found.gradient_errors[[2, 5]] == 0).all()
    assert (found.gradient[[2, 5]] == 0).all()
    np.testing.assert_array_equal(model.parameters, before)
    assert found.signal_to_noise == found.norm / found.gradient_error


@pytest.mark.parametrize("relative_error", [0.01, 0.1, 0.5])
def test_suggested_shots_give_the_error(relative_error):
    model, data = one_qubit(0.4, 1.1), ([[0.2], [0.5]], [0.3, -0.2])
    found = shot_noise(model, data, shots=7, relative_error=relative_error)
    n = found.suggested_shots
    enough, fewer = (shot_noise(model, data, shots=k) for k in (n, max(1, n - 1)))
    assert 1 / enough.signal_to_noise <= relative_error * (1 + 1e-9)
    assert 1 / fewer.signal_to_noise >= relative_error * (1 - 1e-9) or n == 1


def test_a_gradient_of_zero_needs_no_number():
    found = shot_noise(one_qubit(0.0, 0.0), ([[0.0]], [0.0]))
    assert found.norm == pytest.approx(0, abs=1e-15)
    exact = shot_noise(one_qubit(0.0, 0.0), ([[0.0]], [1.0]))
    assert exact.loss_error == exact.gradient_error == 0.0
    assert exact.signal_to_noise == float("inf")
    with pytest.raises(ValueError, match="has no relative error"):
        _ = exact.suggested_shots


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shots": 0}, ValueError, "`shots` must be >= 1"),
        ({"shots": 1.5}, TypeError, "`shots` must be an integer"),
        ({"relative_error": 0.0}, ValueError, "`relative_error` must be > 0"),
        ({"loss": "msee"}, ValueError, "`loss` must be one of"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        shot_noise(one_qubit(0.1, 0.2), ([[0.0]], [0.0]), **options)


def test_models_that_are_refused():
    data = ([[0.0]], [0.0])
    frozen = one_qubit(0.1, 0.2)
    frozen.quantum_layer.freeze_parameters(range(3))
    with pytest.raises(ValueError, match="must have a trainable circuit weight"):
        shot_noise(frozen, data)
    other = QuantumModel(1, 1, backend=qml.device("default.qubit", wires=1))
    with pytest.raises(ValueError, match="must run on a qstore device"):
        shot_noise(other, data)


def test_it_prints_and_plots():
    found = shot_noise(one_qubit(0.4, 1.1), ([[0.0]], [0.3]))
    assert repr(found).startswith("ShotNoise(1,000 shots: loss 0.0139 ± ")
    ax = found.plot()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), found.gradient)
    assert ax.get_title() == "1,000 shots in each circuit"
    plt.close("all")
