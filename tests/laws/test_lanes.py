"""Gradients by lanes are those of the adjoint method, for every row of `tests.cases`.

Shift rules are exact, so that a gradient by exact lanes is that of the device but for
rounding. Differences have an error, so that they are compared with the same differences
of what the circuit measures at shifted weights.
"""

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl import QuantumModel
from qstore_pl.devices import NoiseSpec, Shifts
from qstore_pl.devices.bound import bound_operations
from qstore_pl.devices.deferring import deferred_bound
from qstore_pl.devices.lanes import lanes_of
from qstore_pl.gradients import ModelExpectations, estimator_of
from qstore_pl.layers import AmplitudeEncoding
from qstore_pl.placed import traced
from tests.cases import (
    FIRST_LAYERS,
    LAYERS,
    READOUTS,
    AngleEncoding,
    random_model,
    random_samples,
)

NOISE = NoiseSpec(p1=0.01, p2=0.03, dephasing=0.02, readout=(0.02, 0.05))
DEVICES = {
    "ideal": ("qstore.mock_ideal", {}),
    "preset": ("qstore.mock_noisy", {"noise": "ibm"}),
    "readout": ("qstore.mock_noisy", {"noise": NOISE}),
}
N_MODELS = 14  # random stacks of layers, two with each readout
ROWS = [
    *[("layer", name) for name in LAYERS],
    *[("encoding", name) for name in FIRST_LAYERS],
    *[("readout", name) for name in READOUTS],
    *[("model", seed) for seed in range(N_MODELS)],
]
every_row = pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: " ".join(map(str, row))
)
every_device = pytest.mark.parametrize("device", DEVICES)
BATCH = np.array([2, 0, 1, 2])  # rows of the data, one of them twice


def model_of(row, device):
    """A model, its encoded samples, a generator, and a random mask of its weights."""
    kind, name = row
    rng = np.random.default_rng([14, ROWS.index(row)])
    if kind == "model":
        model = random_model(rng, list(READOUTS)[name % len(READOUTS)])
    else:
        first = FIRST_LAYERS[name](rng) if kind == "encoding" else AngleEncoding()
        after = LAYERS[name] if kind == "layer" else LAYERS["rotations, circular"]
        readout = READOUTS[name](rng, (0, 1), 2) if kind == "readout" else "affine"
        layers = [first, after(rng)]
        model = QuantumModel(3, 2, layers=layers, readout=readout, n_qubits=3)
        model.parameters[:] = rng.uniform(-2, 2, model.parameters.size)
    features = model.prepare(random_samples(rng, model, 3))
    device, options = DEVICES[device]
    model.backend = qml.device(device, wires=model.n_qubits, **options)
    mask = rng.random(model.n_weights) < 0.6
    return model, features, rng, mask


def close(seen, wanted, atol):
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=atol)


def by(model, mask, method, features, cotangents, **options):
    """Outputs, and the gradient with respect to trained weights and the readout."""
    expectations = ModelExpectations(model, trainable=mask)
    estimator = estimator_of(expectations, method, **options)
    outputs = estimator.forward(model.parameters, features, BATCH).copy()
    gradient = estimator.backward(cotangents).copy()
    kept = np.append(mask, np.ones(model.parameters.size - mask.size, dtype=bool))
    return outputs, gradient[kept]


@every_device
@every_row
def test_shifts_in_exact_lanes_give_the_adjoint_gradient(row, device):
    model, features, rng, mask = model_of(row, device)
    assert model.placed.program is not None
    assert model.placed.lanes(shots=False, shifted=True) is not None
    cotangents = rng.normal(size=(len(BATCH), model.output_dim))
    given = features, cotangents
    for trained in (mask, ~mask, np.ones_like(mask), np.zeros_like(mask)):
        outputs, wanted = by(model, trained, "adjoint", *given)
        seen, gradient = by(model, trained, "parameter_shift", *given)
        close(seen, outputs, 1e-12)
        close(gradient, wanted, 1e-10)


def differences(model, features, directions, cotangents):
    """Changes of a sum of measured values by steps forward and backward."""
    own = model.parameters[model.n_weights :]
    samples = features[BATCH]
    here = model.placed.values(samples, model.weights)
    by_values, _ = model.readout.pull_back(cotangents, here, own)
    return np.array(
        [
            np.sum(
                by_values
                * (
                    model.placed.values(samples, model.weights + step)
                    - model.placed.values(samples, model.weights - step)
                )
            )
            / 2
            for step in directions
        ]
    )


@every_device
@every_row
def test_differences_in_lanes_are_those_of_the_values(row, device):
    model, features, rng, mask = model_of(row, device)
    cotangents = rng.normal(size=(len(BATCH), model.output_dim))
    n, step = mask.sum(), 0.05
    units = np.eye(model.n_weights)[mask]
    slopes = differences(model, features, step * units, cotangents) / step
    outputs, seen = by(model, mask, "finite_diff", features, cotangents, epsilon=step)
    wanted, own = by(model, mask, "adjoint", features, cotangents)
    close(outputs, wanted, 1e-12)
    close(seen[:n], slopes, 1e-11)
    close(seen[n:], own[n:], 1e-12)

    signs = np.zeros((3, model.n_weights))
    drawn = np.random.default_rng(9).integers(0, 2, (3, n))
    signs[:, mask] = 2.0 * drawn - 1.0
    slopes = differences(model, features, step * signs, cotangents) / step
    options = {"epsilon": step, "n_directions": 3, "rng": np.random.default_rng(9)}
    outputs, seen = by(model, mask, "spsa", features, cotangents, **options)
    close(outputs, wanted, 1e-12)
    close(seen[:n], (slopes @ signs / 3)[mask], 1e-11)
    close(seen[n:], own[n:], 1e-12)


@every_device
@pytest.mark.parametrize("row", ROWS[: len(LAYERS)], ids=lambda row: row[1])
def test_a_random_subset_is_a_part_of_the_gradient(row, device):
    model, features, rng, _ = model_of(row, device)
    cotangents = rng.normal(size=(len(BATCH), model.output_dim))
    n = model.n_weights
    size, mask = min(2, n), np.ones(n, dtype=bool)
    _, whole = by(model, mask, "adjoint", features, cotangents)
    chosen = np.random.default_rng(3).choice(n, size, replace=False)
    options = {"sample_size": size, "rng": np.random.default_rng(3)}
    _, seen = by(model, mask, "random_subset", features, cotangents, **options)
    wanted = np.zeros(n)
    wanted[chosen] = n / size * whole[:n][chosen]
    close(seen[:n], wanted, n * 1e-10)
    close(seen[n:], whole[n:], 1e-12)


@every_device
@every_row
def test_features_are_shifted_as_weights_are(row, device):
    """What no layer can do yet: gradients with respect to the encoded data."""
    model, features, rng, _ = model_of(row, device)
    wires = model.placed.wires
    tape, inputs = deferred_bound(*traced(model, wires))
    sizes = {"n_weights": model.n_weights, "n_features": model.n_features}
    given = tape, bound_operations(tape, inputs), model.placed.device
    options = {"shots": False, "shifted": True, "inputs": True}
    if isinstance(model.layers[0], AmplitudeEncoding):
        with pytest.raises(DeviceError, match=r"StatePrep|AmplitudeEmbedding"):
            lanes_of(*given, **sizes, **options)
        return
    lanes = lanes_of(*given, **sizes, **options)
    uses = lanes.uses
    samples = features[BATCH].astype(float)
    shifts = Shifts(uses, range(len(uses.uses)))
    values = lanes.shifted(shifts, model.weights, samples, BATCH)
    cotangents = rng.normal(size=values[0].shape)
    by_weights, by_features = shifts.gradient(
        values, cotangents, model.weights, samples
    )
    program = model.placed.program
    wanted = program.vjp(model.weights, samples, cotangents, inputs=True)
    close(values[0], program.run(model.weights, samples), 1e-12)
    close(by_weights, wanted[0], 1e-10)
    close(by_features, wanted[1], 1e-10)
    # Of some features alone, those of the others are 0 or have no shifted gate.
    one = np.arange(model.n_features) == rng.integers(model.n_features)
    which = uses.depending(np.zeros(model.n_weights, dtype=bool), one)
    some = Shifts(uses, which)
    values = lanes.shifted(some, model.weights, samples, BATCH)
    assert some.n_lanes <= shifts.n_lanes
    _, seen = some.gradient(values, cotangents, model.weights, samples)
    close(seen[:, one], wanted[1][:, one], 1e-10)


@pytest.mark.parametrize("excess", [-0.2, 0.02, 0.1])
def test_over_rotated_gates_are_shifted_too_far(excess):
    r"""The shift of a gate that turns too far is too large, as on a machine.

    With the excess e an expectation value is :math:`A + B \cos((1 + e) w + c)`, for
    which the two-term rule gives the derivative times
    :math:`\cos(e \pi / 2) / (1 + e)`.
    """
    model, features, rng, mask = model_of(("layer", "rotations, circular"), "ideal")
    mask[:] = True
    cotangents = rng.normal(size=(len(BATCH), model.output_dim))
    noise = NoiseSpec(p1=0.01, over_rotation=excess)
    model.backend = qml.device("qstore.mock_noisy", wires=model.n_qubits, noise=noise)
    outputs, wanted = by(model, mask, "adjoint", features, cotangents)
    wanted[: model.n_weights] *= np.cos(excess * np.pi / 2) / (1 + excess)
    values, seen = by(model, mask, "parameter_shift", features, cotangents)
    close(values, outputs, 1e-12)
    close(seen, wanted, 1e-10)
