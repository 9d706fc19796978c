"""fourier_spectrum: series that are known, and least squares on default.qubit."""

import matplotlib.pyplot as plt
import numpy as np
import pennylane as qml
import pytest

from qstore_pl import AngleEncoding, QuantumLayer, QuantumModel
from qstore_pl.diagnostics import fourier_spectrum


def uploads(times, **options):
    return [AngleEncoding(**options), QuantumLayer(n_layers=1)] * times


def model_of(layers, input_dim=1, output_dim=1, **options):
    model = QuantumModel(input_dim, output_dim, layers=layers, seed=0, **options)
    model.parameters[:] = np.random.default_rng(1).uniform(-3, 3, model.n_weights)
    return model


@pytest.mark.parametrize("times", [1, 2, 5])
def test_rotations_about_one_axis_add_up(times):
    """<Z> is cos(L x), half of it at L and half at -L."""
    model = QuantumModel(1, 1, layers=uploads(times), seed=0)
    model.parameters[:] = 0
    found = fourier_spectrum(model)
    np.testing.assert_allclose(found.frequencies, np.arange(-times, times + 1))
    expected = np.zeros(2 * times + 1)
    expected[[0, -1]] = 0.5
    np.testing.assert_allclose(found.coefficients, [expected], atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, -2.0, 0.5])
def test_coefficients_solve_the_equations_of_default_qubit(scale):
    model = model_of(uploads(3, scale=scale), 2, 2)
    at = np.array([0.3, -0.8])
    found = fourier_spectrum(model, 1, at=at)
    step = abs(scale)
    np.testing.assert_allclose(found.frequencies, step * np.arange(-3, 4))
    rng = np.random.default_rng(2)
    points = np.tile(at, (15, 1))
    points[:, 1] = rng.uniform(-9, 9, 15)
    circuit = qml.QNode(model.circuit, qml.device("default.qubit", wires=2))
    values = np.stack(circuit(scale * points, model.weights), axis=1)
    waves = np.exp(1j * np.outer(points[:, 1], found.frequencies))
    expected = np.linalg.lstsq(waves, values, rcond=None)[0].T
    np.testing.assert_allclose(found.coefficients, expected, atol=1e-10)
    conjugate = found.coefficients[:, ::-1].conj()
    np.testing.assert_allclose(found.coefficients, conjugate, atol=1e-14)
    np.testing.assert_allclose(found(points[:, 1]), values, atol=1e-10)


@pytest.mark.parametrize(
    ("layers", "feature", "count"),
    [
        ([AngleEncoding("YZ"), QuantumLayer()], 1, 1),
        ([AngleEncoding(features=[0, 1, 1]), QuantumLayer()], 1, 2),
        ([AngleEncoding(), QuantumLayer(), AngleEncoding(features=[0])], 0, 2),
        ([AngleEncoding(), QuantumLayer(), AngleEncoding(features=[0])], 1, 1),
    ],
)
def test_uploads_are_counted(layers, feature, count):
    found = fourier_spectrum(model_of(layers, 2), feature)
    assert len(found.frequencies) == 2 * count + 1
    assert found.feature == feature


def test_a_feature_that_no_encoding_takes_is_a_constant():
    model = model_of([AngleEncoding(features=[0]), QuantumLayer()], 2)
    found = fourier_spectrum(model, 1)
    np.testing.assert_allclose(found.coefficients, model(np.zeros((1, 2))), atol=1e-14)


def test_noise_and_readout_are_included():
    layers, device = uploads(2), qml.device("qstore.mock_noisy", wires=2, noise="ibm")
    model = model_of(layers, 2, 2, readout="expval", backend=device)
    x = np.linspace(-3, 3, 7)
    points = np.stack([x, np.zeros(7)], axis=1)
    np.testing.assert_allclose(fourier_spectrum(model)(x), model(points), atol=1e-12)


def test_another_encoding_with_frequencies_that_are_given():
    """P(2 x) and P(2 (pi - x)(pi - y)), twice; periodic where 2 (pi - y) is whole."""
    model = QuantumModel(2, 2, encoding="zz_feature_map", seed=0)
    model.parameters[:] = np.random.default_rng(1).uniform(-3, 3, model.n_weights)
    settings = {"max_frequency": 8, "period": 2 * np.pi}
    found = fourier_spectrum(model, at=[0.0, np.pi - 1], **settings)
    x = np.array([0.4, 2.1])
    expected = model(np.stack([x, np.full(2, np.pi - 1)], axis=1))
    np.testing.assert_allclose(found(x), expected, atol=1e-12)
    with pytest.raises(ValueError, match="or are not periodic"):
        fourier_spectrum(model, **settings)
    with pytest.raises(ValueError, match="must be given for ZZEncoding"):
        fourier_spectrum(model)


BOTH = [AngleEncoding(scale=2.0), QuantumLayer(), AngleEncoding(), QuantumLayer()]


@pytest.mark.parametrize(
    ("layers", "options", "error", "message"),
    [
        (uploads(3), {"max_frequency": 2}, ValueError, "beyond the frequency 2"),
        (uploads(3), {"period": 3.0}, ValueError, "for the period 3: they have other"),
        (uploads(1), {"max_frequency": -1}, ValueError, "`max_frequency` must be >= 0"),
        (uploads(1), {"max_frequency": 1.0}, TypeError, "must be an integer"),
        (uploads(1), {"period": 0.0}, ValueError, "`period` must be > 0"),
        (uploads(1), {"feature": 1}, ValueError, "`feature` must be < 1"),
        (uploads(1), {"at": [0.0, 1.0]}, ValueError, r"`at` must have shape \(1,\)"),
        (BOTH, {}, ValueError, r"of scales \[1.0, 2.0\]"),
        (uploads(1, scale=0.0), {}, ValueError, r"of scales \[0.0\]"),
    ],
)
def test_bad_input(layers, options, error, message):
    with pytest.raises(error, match=message):
        fourier_spectrum(model_of(layers), **options)


def test_scales_that_differ_with_their_period():
    found = fourier_spectrum(model_of(BOTH), max_frequency=3, period=2 * np.pi)
    assert np.abs(found.coefficients).max() > 0.1


def test_devices_of_others_are_refused():
    model = QuantumModel(1, 1, backend=qml.device("default.qubit", wires=1))
    with pytest.raises(ValueError, match="must run on a qstore device"):
        fourier_spectrum(model)


def test_it_prints_and_plots():
    model = QuantumModel(1, 1, layers=uploads(2), seed=0)
    model.parameters[:] = 0
    found = fourier_spectrum(model)
    assert repr(found) == (
        "FourierSpectrum(feature 0: largest |c| of output 0.000 at 0, 0.000 at 1, "
        "0.500 at 2 radians per unit)"
    )
    ax = found.plot()
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [0.5, 0, 0, 0, 0.5], atol=1e-14)
    plt.close("all")
