"""audit_gradients: its rows against default.qubit, its floor against many draws."""

import numpy as np
import pennylane as qml
import pytest
from scipy import stats

from qstore_pl import Loss, QuantumGradientComputer, QuantumModel, audit_gradients
from qstore_pl.devices import NoiseSpec
from qstore_pl.model import ENCODINGS
from tests.test_roads import SPEC, build, noisy_oracle, oracle

# default.qubit casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

READOUTS = ("affine", "expval")
FALSE_ALARM = 1e-3
NOISE = NoiseSpec(p1=0.02, p2=0.05, readout=(0.03, 0.01))
NAMES = [
    "adjoint",
    "parameter shift",
    "finite differences",
    "SPSA, 4 directions",
    "random subset, 3 weights",
]


def slopes_of_mse(outputs, targets):
    return 2 * (outputs - targets) / targets.size


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rows(encoding, readout):
    """Errors are distances from the gradient of default.qubit, of trained weights."""
    case = (encoding, "circular", readout, (3, 1, 3, 2))
    model, inputs, targets = build(*case)
    model.quantum_layer.freeze_parameters([0, 4, 8])
    outputs, _ = oracle(*case, inputs, model.parameters, targets)
    slopes = slopes_of_mse(outputs, targets)
    _, gradient = oracle(*case, inputs, model.parameters, slopes)
    expected = np.where(model.trainable, gradient, 0.0)[: model.n_weights]
    before = model.parameters.copy()
    audit = audit_gradients(
        model, (inputs, targets), n_directions=4, sample_size=3, shots=50, seed=2
    )
    assert [row.method for row in audit.rows] == NAMES
    per_sample = [1, 1 + 2 * 6, 1 + 2 * 6, 1 + 2 * 4, 1 + 2 * 3]
    assert [row.circuits for row in audit.rows] == [2 * n for n in per_sample]
    assert audit.norm == pytest.approx(np.linalg.norm(expected), rel=1e-10)
    assert audit.shots == 50
    errors = {}
    for name, options in {
        "parameter_shift": {},
        "finite_diff": {},
        "spsa": {"n_directions": 4, "seed": 2},
        "random_subset": {"sample_size": 3, "seed": 2},
    }.items():
        result = QuantumGradientComputer(method=name, **options).compute_gradients(
            model,
            model.parameters[: model.n_weights],
            inputs=inputs,
            targets=targets,
            loss="mse",
        )
        errors[name] = np.linalg.norm(result.gradients - expected)
    adjoint, shift, difference, spsa, subset = (row.error for row in audit.rows)
    assert adjoint == 0.0
    assert shift < 1e-12
    assert 0 < difference < 1e-8
    assert spsa == pytest.approx(errors["spsa"], rel=1e-8)
    assert subset == pytest.approx(errors["random_subset"], rel=1e-8)
    assert min(spsa, subset) > 1e-2 * audit.norm
    assert audit.rows[0].shot_error is None
    assert all(row.shot_error > 1e-4 for row in audit.rows[1:])
    np.testing.assert_array_equal(model.parameters, before)
    assert model.trainable.sum() == model.parameters.size - 3


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_rows_with_noise(encoding):
    case = (encoding, "linear", "expval", (3, 1, 2, 2))
    device = qml.device("qstore.mock_noisy", wires=3, noise=NOISE)
    model, inputs, targets = build(*case, backend=device)
    setting = (case, NOISE.to_noise_model(), inputs, model.parameters)
    outputs, _ = noisy_oracle(*setting, targets)
    _, gradient = noisy_oracle(*setting, slopes_of_mse(outputs, targets))
    audit = audit_gradients(model, (inputs, targets), shots=50)
    assert audit.norm == pytest.approx(np.linalg.norm(gradient), rel=1e-10)
    adjoint, shift, difference, spsa, subset = (row.error for row in audit.rows)
    assert (adjoint, shift < 1e-12, difference < 1e-8) == (0.0, True, True)
    assert min(spsa, subset) > 1e-2 * audit.norm
    # Of nine weights four are drawn.
    assert audit.rows[-1].method == "random subset, 4 weights"
    assert audit.rows[-2].method == "SPSA, 10 directions"
    assert audit.shot_noise_floor > 0


def test_an_over_rotation_shows_as_an_error_of_parameter_shift():
    """The shift of a gate that turns by 1.02 times its angle is too far."""
    case = ("angle", "linear", "expval", (3, 1, 2, 2))
    device = qml.device("qstore.mock_noisy", wires=3, noise=SPEC)
    model, inputs, targets = build(*case, backend=device)
    audit = audit_gradients(model, (inputs, targets), shots=50)
    _, shift, difference, *_ = (row.error / audit.norm for row in audit.rows)
    assert 0.01 < shift < 0.03
    assert difference < 1e-8


# --- the floor ------------------------------------------------------------------

linear = Loss(
    lambda predictions, targets: float((predictions * targets).sum()),
    lambda predictions, targets: targets,
    name="linear",
)
SHOTS = 400
X = np.array([[0.4, -0.9], [1.1, 0.3]])


def shot_errors(model, inputs, distance, loss, n=40):
    """Of parameter shift in several audits, with targets at a distance; the floor."""
    targets = model.forward(inputs) + distance
    audits = [
        audit_gradients(
            model,
            (inputs, targets),
            loss=loss,
            shots=SHOTS,
            n_directions=1,
            sample_size=1,
        )
        for _ in range(n)
    ]
    floors = {audit.shot_noise_floor for audit in audits}
    assert len(floors) == 1
    return np.array([audit.rows[1].shot_error for audit in audits]), floors.pop()


@pytest.mark.parametrize(
    ("loss", "distance"),
    [(linear, 1.0), ("mse", 1.5), ("mse", 0.02)],
    ids=["linear", "far from the target", "near the target"],
)
@pytest.mark.parametrize("device", ["qstore.mock_ideal", "qstore.mock_noisy"])
def test_the_floor_is_the_error_of_parameter_shift(device, loss, distance):
    """Chi-square of one weight's errors in 40 audits; false-alarm rate 1e-3.

    Near the target the shots of the loss's own derivative are most of the error.
    """
    model = QuantumModel(1, 1, 1, qml.device(device, wires=1, seed=5))
    model.parameters[:] = [0.3, 0.7, 0.0]
    model.quantum_layer.freeze_parameters([0, 2])
    errors, floor = shot_errors(model, X[:1, :1], distance, loss)
    low, high = stats.chi2.interval(1 - FALSE_ALARM, len(errors))
    assert low < (errors**2).sum() / floor**2 < high


def test_the_floor_of_several_weights():
    """The mean squared norm over 40 audits, by its spread; false-alarm rate 1e-3."""
    device = qml.device("qstore.mock_ideal", wires=2, seed=0)
    model = QuantumModel(2, 2, 1, device, readout="affine")
    rng = np.random.default_rng(6)
    model.parameters[:] = rng.uniform(-1.5, 1.5, model.parameters.size)
    model.quantum_layer.freeze_parameters([2, 5])
    distance = np.array([[1.5, -2.0], [0.5, 1.0]])
    errors, floor = shot_errors(model, X, distance, linear)
    squares = errors**2
    bound = stats.t.isf(FALSE_ALARM / 2, len(squares) - 1)
    standard_error = squares.std(ddof=1) / np.sqrt(len(squares))
    assert standard_error < 0.2 * floor**2
    assert abs(squares.mean() - floor**2) < bound * standard_error


def test_the_floor_falls_by_the_root_of_the_shots():
    model = QuantumModel(2, 2, 1, seed=0)
    few, many = (
        audit_gradients(model, (X, 1 + X), loss=linear, shots=shots).shot_noise_floor
        for shots in (100, 10_000)
    )
    assert few == pytest.approx(10 * many, rel=1e-12)


def test_the_floor_of_one_rotation_is_known():
    """RY(w) on |0>: outcomes at w +- pi/2 have variance cos(w)**2 each."""
    model = QuantumModel(1, 1, 1, seed=0)
    model.parameters[:] = [0.0, 0.7, 0.0]
    model.quantum_layer.freeze_parameters([0, 2])
    loss = Loss(lambda p, _: float(3 * p.sum()), lambda p, _: 3 + 0 * p)
    audit = audit_gradients(model, (np.zeros((1, 1)), [0.0]), loss=loss, shots=100)
    expected = 3 * 0.5 * np.sqrt(2 * np.cos(0.7) ** 2 / 100)
    assert audit.shot_noise_floor == pytest.approx(expected, rel=1e-10)
    assert audit.norm == pytest.approx(3 * np.sin(0.7), rel=1e-10)


# --- the table and its errors ---------------------------------------------------


def test_printed_it_is_a_table():
    model = QuantumModel(2, 1, 1, seed=0)
    audit = audit_gradients(model, (X, np.array([1.0, -1.0])), shots=1500, seed=3)
    head, *rows, foot = str(audit).splitlines()
    assert head.split() == [
        "method",
        "circuits",
        "error",
        "1,500",
        "shots",
        "/",
        "floor",
    ]
    assert len(rows) == len(audit.rows) == 5
    for line, row in zip(rows, audit.rows, strict=True):
        assert line.startswith(row.method + " ")
        numbers = line.removeprefix(row.method).split()
        assert numbers[0] == str(row.circuits)
        assert numbers[1] == f"{row.error:.1e}"
        if row.shot_error is None:
            assert len(numbers) == 2
        else:
            ratio = row.shot_error / audit.shot_noise_floor
            assert numbers[2:] == [f"{row.shot_error:.1e}", f"{ratio:.2f}"]
    assert len({len(line) for line in (head, *rows[1:])}) == 1
    assert f"{audit.norm:.1e}" in foot
    assert f"{audit.shot_noise_floor:.1e}" in foot


def frozen_model():
    model = QuantumModel(2, 1, 1, seed=0)
    model.quantum_layer.freeze_parameters(range(6))
    return model


def on(device):
    return QuantumModel(2, 1, 1, qml.device(device, wires=2), seed=0)


REFUSED = {
    "another device": (
        lambda: audit_gradients(on("default.qubit"), (X, [0.0, 1.0])),
        ("`model`", "qstore device without shots", "default.qubit", "mock_ideal"),
    ),
    "nothing to train": (
        lambda: audit_gradients(frozen_model(), (X, [0.0, 1.0])),
        ("`model`", "trainable circuit weight"),
    ),
    "no shots": (
        lambda: audit_gradients(on("qstore.mock_ideal"), (X, [0.0, 1.0]), shots=0),
        ("`shots`", ">= 1", "is 0"),
    ),
    "targets of another length": (
        lambda: audit_gradients(on("qstore.mock_ideal"), (X, [0.0, 1.0, 2.0])),
        ("`targets`", "(2, 1)", "(3,)"),
    ),
    "features of another width": (
        lambda: audit_gradients(on("qstore.mock_ideal"), (X[:, :1], [0.0, 1.0])),
        ("`inputs`", "(n_samples, 2)", "(2, 1)"),
    ),
    "an unknown loss": (
        lambda: audit_gradients(on("qstore.mock_ideal"), (X, [0.0, 1.0]), loss="mae"),
        ("`loss`", '"mse"', "'mae'"),
    ),
    "no directions": (
        lambda: audit_gradients(
            on("qstore.mock_ideal"), (X, [0.0, 1.0]), n_directions=0
        ),
        ("`n_directions`", ">= 1", "is 0"),
    ),
    "no weights in a sample": (
        lambda: audit_gradients(
            on("qstore.mock_ideal"), (X, [0.0, 1.0]), sample_size=0
        ),
        ("`sample_size`", ">= 1", "is 0"),
    ),
}


@pytest.mark.parametrize(("call", "words"), REFUSED.values(), ids=REFUSED)
def test_it_refuses(call, words):
    with pytest.raises(ValueError, match="must") as caught:
        call()
    for word in words:
        assert word in str(caught.value)
