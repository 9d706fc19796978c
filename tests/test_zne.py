"""Zero-noise extrapolation on `qstore.mock_noisy`: what it recovers and what it cannot.

Scale factors 1, 3 and 5, global folding, Richardson's extrapolation. An even factor
would fold a part of the circuit only, whose noise does not stand for that of the whole.
Folding repeats gates, so that gate noise grows with the scale; misread outcomes do not,
and stay what they are.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import QuantumModel
from qstore_pl.devices import NoiseSpec
from qstore_pl.devices.presets import preset
from qstore_pl.templates import RotationEntanglerLayers

WIRES = range(4)
SCALES = [1.0, 3.0, 5.0]
STRONG = dataclasses.replace(preset("strong"), readout=(0.0, 0.0))
READOUT = NoiseSpec(readout=preset("strong").readout)


def circuit(x, w):
    """What a model runs: angles, layers, <Z> of every wire."""
    qml.AngleEmbedding(x, WIRES, rotation="Y")
    RotationEntanglerLayers(w, WIRES)
    return [qml.expval(qml.Z(i)) for i in WIRES]


@qml.transform
def written_out(tape):
    """Folding needs gates, not templates."""
    operations = [gate for op in tape.operations for gate in op.decomposition()]
    return (tape.copy(operations=operations),), lambda results: results[0]


def mitigated(qnode):
    return qml.noise.mitigate_with_zne(
        written_out(qnode),
        SCALES,
        qml.noise.fold_global,
        qml.noise.richardson_extrapolate,
    )


def on(noise):
    return qml.QNode(circuit, qml.device("qstore.mock_noisy", wires=4, noise=noise))


def models(n):
    """Inputs (4,) and weights (2, 4, 3) of random models."""
    rng = np.random.default_rng(17)
    return [
        (rng.uniform(-np.pi, np.pi, 4), rng.uniform(-np.pi, np.pi, (2, 4, 3)))
        for _ in range(n)
    ]


def test_the_circuit_is_that_of_a_model():
    x, w = models(1)[0]
    model = QuantumModel(4, 4, 2, readout="expval")
    model.parameters[:] = w.ravel()
    np.testing.assert_allclose(model.forward(x[None])[0], on(None)(x, w), atol=1e-12)


def test_most_of_the_error_of_strong_gate_noise_is_recovered():
    ideal, noisy = on(None), on(STRONG)
    zne = mitigated(noisy)
    recovered = []
    for x, w in models(20):
        exact = np.array(ideal(x, w))
        error = np.abs(np.array(noisy(x, w)) - exact)
        left = np.abs(np.array(zne(x, w)) - exact)
        recovered.extend(1 - left / error)
    assert len(recovered) == 80
    assert np.median(recovered) >= 0.7


def test_folding_recovers_nothing_of_readout_error():
    ideal, noisy = on(None), on(READOUT)
    zne = mitigated(noisy)
    for x, w in models(5):
        exact, read = np.array(ideal(x, w)), np.array(noisy(x, w))
        assert np.abs(read - exact).max() > 1e-2
        np.testing.assert_allclose(zne(x, w), read, rtol=0, atol=1e-6)


def test_of_both_only_the_readout_error_is_left():
    """Extrapolated to no gate noise, outcomes are as misread as without any."""
    both = dataclasses.replace(STRONG, readout=READOUT.readout)
    ideal, read, noisy = on(None), on(READOUT), on(both)
    zne = mitigated(noisy)
    to_read, to_ideal = [], []
    for x, w in models(20):
        value = np.array(zne(x, w))
        to_read.extend(np.abs(value - np.array(read(x, w))))
        to_ideal.extend(np.abs(value - np.array(ideal(x, w))))
    assert np.median(to_read) < np.median(to_ideal)


def test_gradients_go_through_the_extrapolation():
    """Against the same extrapolation of default.mixed with the same noise."""

    def total(qnode):
        return lambda x, w: qml.math.sum(qml.math.stack(qnode(x, w)))

    model = STRONG.to_noise_model()
    mixed = qml.QNode(circuit, qml.device("default.mixed", wires=4))
    folded = [
        qml.noise.add_noise(
            qml.noise.fold_global(written_out(mixed), scale_factor=scale), model
        )
        for scale in SCALES
    ]

    def expected(x, w):
        # Richardson's weights for the scales 1, 3 and 5.
        parts = [total(qnode)(x, w) for qnode in folded]
        return (15 * parts[0] - 10 * parts[1] + 3 * parts[2]) / 8

    x, w = (pnp.array(a, requires_grad=True) for a in models(1)[0])
    for one, other in zip(
        qml.grad(total(mitigated(on(STRONG))))(x, w),
        qml.grad(expected)(x, w),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("batched", ["features", "weights"])
def test_a_batch_is_extrapolated_sample_by_sample(batched):
    pairs = models(3)
    x, w = (np.stack(column) for column in zip(*pairs, strict=True))
    x, w = (x, w[0]) if batched == "features" else (x[0], w)
    zne = mitigated(on(STRONG))
    expected = [
        zne(x[b] if batched == "features" else x, w[b] if batched == "weights" else w)
        for b in range(3)
    ]
    np.testing.assert_allclose(
        np.array(zne(x, w)), np.array(expected).T, rtol=0, atol=1e-10
    )
