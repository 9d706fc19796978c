"""Every operation compiled: its parameters weights, features or constants."""

import contextlib
import copy

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from tests.cases import GATES, PREPARATIONS, TEMPLATES, VARIANTS, has_variant
from tests.devices.test_channels import CHANNELS

pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
PURE = GATES | TEMPLATES | PREPARATIONS
SOURCES = ("weights", "features")
BITS = {"BasisState", "BasisEmbedding", "BasisEncoding"}  # no gradient: discrete
# Why an operation is refused whose parameters are weights or features.
COMPLEX = "are complex, which weights and features are not"
REFUSED = {
    "QubitUnitary": COMPLEX,
    "DiagonalQubitUnitary": COMPLEX,
    "ControlledQubitUnitary": COMPLEX,
    "SpecialUnitary": COMPLEX,
    "BlockEncode": COMPLEX,
    "Exp": "with a complex number",  # with a real coefficient it is no unitary
    "QubitChannel": COMPLEX,
}


def operation_of(name):
    rng = np.random.default_rng(3)
    if name in PURE:
        return PURE[name].random(rng, range(PURE[name].n_wires))
    row = CHANNELS[name]
    return row.build(row.numbers, range(row.n_wires))


def tape_of(op, *, mixed=False):
    """The operation between rotations, with a channel if the state must be mixed."""
    wires = list(op.wires) or [0]
    first = isinstance(op, qml.operation.StatePrepBase)
    before = [] if first else [qml.RY(0.3 + 0.2 * i, w) for i, w in enumerate(wires)]
    after = [qml.RX(0.7 - 0.1 * i, w) for i, w in enumerate(wires)]
    if mixed:
        after.append(qml.PhaseFlip(0.1, wires[0]))
    measured = [qml.expval(qml.Z(w)) for w in wires] + [qml.probs(wires=wires[:2])]
    place = range(len(before), len(before) + op.num_params)
    return qml.tape.QuantumScript([*before, op, *after], measured), place


def with_numbers(op, numbers):
    """The operation with other parameters.

    PennyLane's bind_new_parameters loses control values of matrices, and fails for the
    evolution under a multiple of a word, whose matrix keeps its first parameter.
    """
    if isinstance(op, qml.ops.Evolution):
        return qml.evolve(op.base, *numbers)
    if isinstance(op, qml.ops.op_math.Adjoint):
        return qml.adjoint(with_numbers(op.base, numbers), lazy=True)
    if type(op) in (qml.ops.Controlled, qml.ops.ControlledOp):
        base = with_numbers(op.base, numbers)
        return qml.ops.Controlled(base, op.control_wires, op.control_values)
    twin = copy.copy(op)
    twin.data = tuple(numbers)
    return twin


def simulated(op, numbers, device, *, mixed):
    """The measurements with these parameters of the operation."""
    tape, _ = tape_of(with_numbers(op, numbers), mixed=mixed)
    (results,) = qml.execute([tape], device)
    return np.hstack(results)


def compared(op, symbolic, sources, device, oracle, *, mixed=False):
    """Compile with some parameters symbolic: values and gradients are the oracle's.

    The oracle is asked once for all sources, since it knows none of them.
    """
    tape, place = tape_of(op, mixed=mixed)
    values = tape.get_parameters(trainable_only=False)
    shapes = [np.shape(values[place[i]]) for i in symbolic]
    symbolized = [np.ravel(values[place[i]]) for i in symbolic]
    numbers = np.hstack([np.empty(0), *symbolized]).real.astype(float)
    starts = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)]).tolist()

    def expected(numbers):
        given = [values[index] for index in place]
        for i, shape, start, stop in zip(
            symbolic, shapes, starts, starts[1:], strict=False
        ):
            given[i] = numbers[start:stop].reshape(shape)
        return simulated(op, given, oracle, mixed=mixed)

    def found(source):
        """The value by a source of the numbers, and the way to its gradient."""
        inputs = [None] * len(values)
        for i, shape, start in zip(symbolic, shapes, starts, strict=False):
            inputs[place[i]] = devices.symbols(source, start, shape)
        sizes = {"n_weights": 0, "n_features": 0, f"n_{source}": len(numbers)}
        program = devices.compile(tape, inputs, device, **sizes)
        arguments = (numbers, np.empty((1, 0)))
        if source == "features":
            arguments = (np.empty(0), numbers[None])

        def gradient(dy):
            by_weights, by_features = program.vjp(*arguments, dy, inputs=True)
            return by_weights if source == "weights" else by_features[0]

        return program.run(*arguments)[0], gradient

    each = [found(source) for source in sources]
    wanted = expected(numbers)
    for value, _ in each:
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-10)
    if op.name in BITS:
        return
    dy = np.random.default_rng(0).normal(size=(1, len(wanted)))
    slopes, step = [], 1e-5
    for unit in step * np.eye(len(numbers)):
        difference = expected(numbers + unit) - expected(numbers - unit)
        slopes.append((dy @ difference).item() / (2 * step))
    for _, gradient in each:
        np.testing.assert_allclose(gradient(dy), slopes, rtol=1e-7, atol=1e-7)


DEVICES = {
    "mock_ideal": (False, "default.qubit", {}),
    "mock_noisy": (True, "default.mixed", {"noise": None}),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PURE)
def test_a_bound_operation_is_that_of_pennylane(name, device):
    op = operation_of(name)
    mixed, oracle, options = DEVICES[device]
    ours = qml.device(f"qstore.{device}", wires=len(op.wires) or 1, **options)
    theirs = qml.device(oracle, wires=len(op.wires) or 1)
    symbolic = range(op.num_params)
    if op.name in REFUSED:
        for source in SOURCES:
            with pytest.raises(DeviceError, match=f"{REFUSED[op.name]}.*QNode"):
                compared(op, symbolic, [source], ours, theirs, mixed=mixed)
    else:
        compared(op, symbolic, SOURCES, ours, theirs, mixed=mixed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", PURE)
def test_a_constant_operation_is_that_of_pennylane(name, device):
    op = operation_of(name)
    mixed, oracle, options = DEVICES[device]
    ours = qml.device(f"qstore.{device}", wires=len(op.wires) or 1, **options)
    theirs = qml.device(oracle, wires=len(op.wires) or 1)
    compared(op, [], ["weights"], ours, theirs, mixed=mixed)


BY_VARIANT = [
    (name, variant)
    for name, row in GATES.items()
    for variant in VARIANTS
    if has_variant(row, variant)
]


@pytest.mark.parametrize(("name", "variant"), BY_VARIANT)
def test_a_variant_of_a_gate_is_run_or_refused(name, variant):
    """Bound where it can be, always as a constant."""
    rng, n = np.random.default_rng(3), GATES[name].n_wires
    op = VARIANTS[variant](operation_of(name), [n, n + 1], rng)
    ours = qml.device("qstore.mock_ideal", wires=n + 2)
    theirs = qml.device("default.qubit", wires=n + 2)
    compared(op, [], ["weights"], ours, theirs)
    with contextlib.suppress(DeviceError):
        compared(op, range(op.num_params), ["weights"], ours, theirs)


# For each channel the parameters that may depend on weights and features, one by one;
# its numbers are polynomials of these, and a square root or exponential of the others.
BOUND = {
    "AmplitudeDamping": [0],
    "GeneralizedAmplitudeDamping": [0, 1],
    "PhaseDamping": [0],
    "DepolarizingChannel": [0],
    "BitFlip": [0],
    "PhaseFlip": [0],
    "ResetError": [0, 1],
    "ThermalRelaxationError": [0, 1, 2, 3],
    "PauliError": [0],
    "QubitChannel": [],
}
BY_NUMBER = [
    (name, i) for name in CHANNELS for i in range(operation_of(name).num_params)
]
WHY = {
    "QubitChannel": COMPLEX,
}


@pytest.mark.parametrize(("name", "index"), BY_NUMBER)
def test_a_channel_of_bound_strength_is_that_of_pennylane(name, index):
    op = operation_of(name)
    ours = qml.device("qstore.mock_noisy", wires=len(op.wires), noise=None)
    theirs = qml.device("default.mixed", wires=len(op.wires))
    if index in BOUND[op.name]:
        compared(op, [index], SOURCES, ours, theirs)
        return
    refused = f"{op.name} cannot.*({WHY[op.name]}).*QNode"
    for source in SOURCES:
        with pytest.raises(DeviceError, match=refused):
            compared(op, [index], [source], ours, theirs)


@pytest.mark.parametrize("name", CHANNELS)
def test_a_constant_channel_is_that_of_pennylane(name):
    op = operation_of(name)
    ours = qml.device("qstore.mock_noisy", wires=len(op.wires), noise=None)
    theirs = qml.device("default.mixed", wires=len(op.wires))
    compared(op, [], ["weights"], ours, theirs)


def test_several_numbers_of_a_channel_may_be_bound():
    op = operation_of("ResetError")
    ours = qml.device("qstore.mock_noisy", wires=1, noise=None)
    compared(op, [0, 1], ["weights"], ours, qml.device("default.mixed", wires=1))


@pytest.mark.parametrize(
    "op",
    [
        qml.GeneralizedAmplitudeDamping(1.5, 0.2, wires=0),
        qml.ThermalRelaxationError(0.2, 1.0, 3.0, 0.1, wires=0),
    ],
)
def test_constant_strengths_are_checked_beside_bound_ones(op):
    tape, place = tape_of(op)
    inputs = [None] * len(tape.par_info)
    inputs[place[op.name == "GeneralizedAmplitudeDamping"]] = devices.symbols(
        "weights", 0, ()
    )
    device = qml.device("qstore.mock_noisy", wires=1, noise=None)
    with pytest.raises(ValueError, match=f"Parameters of {op.name} must have .*symbol"):
        devices.compile(tape, inputs, device, n_weights=1, n_features=0)


class Damped(qml.operation.Operation):
    """A user's own operation with channels inside."""

    ndim_params = (0, 0)

    @staticmethod
    def compute_decomposition(angle, strength, wires):
        return [
            qml.RX(2.0 * angle, wires[0]),
            qml.AmplitudeDamping(0.3, wires[0]),
            qml.BitFlip(strength / 2.0, wires[0]),
        ]


def test_channels_inside_an_operation_of_ones_own_are_compiled():
    op = Damped(0.4, 0.5, wires=[0])
    ours = qml.device("qstore.mock_noisy", wires=1, noise=None)
    compared(op, [0, 1], ["weights"], ours, qml.device("default.mixed", wires=1))


def test_pure_states_have_no_channels():
    device = qml.device("qstore.mock_ideal", wires=1)
    for op in (qml.BitFlip(0.1, 0), Damped(0.4, 0.5, wires=[0])):
        tape, _ = tape_of(op)
        inputs = [None] * len(tape.par_info)
        with pytest.raises(
            DeviceError, match=r"is a channel or has .*Use qstore.mock_noisy"
        ):
            devices.compile(tape, inputs, device, n_weights=0, n_features=0)


@pytest.mark.parametrize("op", [qml.BitFlip(0.1, 0), Damped(0.4, 0.5, wires=[0])])
def test_trajectories_have_no_bound_strengths(op):
    options = {"noise": None, "method": "trajectories", "trajectories": 10}
    device = qml.device("qstore.mock_noisy", wires=1, **options)
    tape, place = tape_of(op)
    inputs = [None] * len(tape.par_info)
    constant = devices.compile(tape, inputs, device, n_weights=0, n_features=0)
    assert constant.run([], np.empty((1, 0))).shape == (1, 3)
    inputs[place[-1]] = devices.symbols("weights", 0, ())
    with pytest.raises(DeviceError, match=f"no gradient .* parameters of {op.name}"):
        devices.compile(tape, inputs, device, n_weights=1, n_features=0)


@pytest.mark.parametrize("wrapped", [qml.adjoint, lambda op: qml.ctrl(op, 2)])
def test_the_evolution_under_a_multiple_of_a_word_is_bound(wrapped):
    op = wrapped(qml.evolve(0.7 * qml.Z(0) @ qml.Y(1), 0.3))
    tape, place = tape_of(op)
    device = qml.device("qstore.mock_ideal", wires=3)
    inputs = [None] * len(tape.par_info)
    inputs[place[0]] = devices.symbols("weights", 0, ())
    program = devices.compile(tape, inputs, device, n_weights=1, n_features=0)
    (expected,) = qml.execute([tape], qml.device("default.qubit", wires=3))
    found = program.run(np.array([0.3]), np.empty((1, 0)))[0]
    np.testing.assert_allclose(found, np.hstack(expected), rtol=0, atol=1e-12)


def test_a_product_of_many_numbers_is_computed_before_the_circuit_runs():
    op = operation_of("ZZFeatureMap-full")
    tape, place = tape_of(op)
    x = devices.symbols("weights", 0, (3,))
    inputs = [None] * len(tape.par_info)
    inputs[place[0]] = x * x
    device = qml.device("qstore.mock_ideal", wires=3)
    program = devices.compile(tape, inputs, device, n_weights=3, n_features=0)
    weights = np.array([0.4, -0.7, 1.1])
    direct = devices.compile(
        tape, [x if given is not None else None for given in inputs], device,
        n_weights=3, n_features=0,
    )  # fmt: skip
    empty = np.empty((1, 0))
    np.testing.assert_allclose(
        program.run(weights, empty), direct.run(weights**2, empty), rtol=0, atol=1e-12
    )


# --- constants that are no angles -------------------------------------------------


class Mixture(qml.operation.Operation):
    """A user's own operation with constant matrices and amplitudes inside."""

    ndim_params = (0,)

    @staticmethod
    def compute_decomposition(angle, wires):
        matrix = qml.IsingXY(0.7, wires=[0, 1]).matrix()
        return [
            qml.StatePrep(np.array([0.6, 0.8j]), wires=wires[0]),
            qml.RX(angle, wires[0]),
            qml.QubitUnitary(matrix, wires=wires[1:]),
            qml.RY(-angle, wires[1]),
            qml.ctrl(qml.QubitUnitary(matrix, wires=wires[:2]), wires[2]),
            qml.adjoint(qml.DiagonalQubitUnitary([1.0, 1j], wires=wires[0])),
            qml.SpecialUnitary(np.array([0.1, -0.2, 0.3]), wires=wires[0]),
        ]


def test_constants_inside_an_operation_of_ones_own_are_compiled():
    ours, theirs = qml.device("qstore.mock_ideal", 3), qml.device("default.qubit", 3)
    compared(Mixture(0.4, wires=[2, 0, 1]), [0], ["weights"], ours, theirs)


class Astray(qml.operation.Operation):
    """An operation that acts on a wire which it does not name."""

    @staticmethod
    def compute_decomposition(wires):
        return [qml.CNOT([wires[0], 1])]


@pytest.mark.parametrize("device", ["mock_ideal", "mock_noisy"])
def test_an_operation_acts_on_its_own_wires(device):
    tape = qml.tape.QuantumScript([Astray(wires=0)], [qml.expval(qml.Z(0))])
    ours = qml.device(f"qstore.{device}", wires=2)
    with pytest.raises(DeviceError, match="Astray must act on its own wires"):
        devices.compile(tape, [], ours, n_weights=0, n_features=0)


@pytest.mark.parametrize("noise", [None, "strong"])
def test_noise_treats_constants_as_a_qnode_does(noise):
    """Amplitudes in the middle of a circuit are gates, and noise follows these."""
    ops = [
        qml.RX(0.3, 0),
        qml.QubitUnitary(qml.IsingXY(0.7, wires=[0, 1]).matrix(), wires=[0, 1]),
        qml.StatePrep(np.array([0.6, 0.0, 0.48, 0.64j]), wires=[1, 2]),
        qml.QubitChannel(qml.AmplitudeDamping(0.2, 0).kraus_matrices(), wires=1),
        qml.SpecialUnitary(np.linspace(0.1, 0.3, 3), wires=2),
        Mixture(0.4, wires=[2, 0, 1]),
    ]
    tape = qml.tape.QuantumScript(ops, [qml.probs(wires=[0, 1, 2])])
    device = qml.device("qstore.mock_noisy", wires=3, noise=noise)
    inputs = [devices.symbols("weights", 0, ()), *[None] * (len(tape.par_info) - 1)]
    program = devices.compile(tape, inputs, device, n_weights=1, n_features=0)
    (tapes,), _ = device.preprocess_transforms()([tape])
    (expected,) = device.execute([tapes])
    found = program.run(np.array([0.3]), np.empty((1, 0)))[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    gradient, _ = program.vjp(np.array([0.3]), np.empty((1, 0)), np.ones((1, 8)))
    assert gradient.shape == (1,)


def test_equal_constants_are_held_once():
    matrix = qml.IsingXY(0.7, wires=[0, 1]).matrix()
    ops = [qml.QubitUnitary(matrix, wires=[i, i + 1]) for i in range(5)]
    tape = qml.tape.QuantumScript(ops, [qml.expval(qml.Z(0))])
    device = qml.device("qstore.mock_ideal", wires=6)
    program = devices.compile(tape, [None] * 5, device, n_weights=0, n_features=0)
    assert program.constants.shape == (32,)


def test_bound_amplitudes_are_the_first_operation():
    ops = [qml.RX(0.1, 0), qml.StatePrep(np.array([0.6, 0.8]), wires=1)]
    tape = qml.tape.QuantumScript(ops, [qml.expval(qml.Z(1))])
    device = qml.device("qstore.mock_ideal", wires=2)
    inputs = [None, devices.symbols("features", 0, (2,))]
    with pytest.raises(DeviceError, match="must be the first operation"):
        devices.compile(tape, inputs, device, n_weights=0, n_features=2)


def test_trajectories_draw_from_constant_matrices():
    kraus = qml.AmplitudeDamping(0.6, 0).kraus_matrices()
    ops = [qml.RX(2.0, 0), qml.QubitChannel(kraus, wires=0)]
    tape = qml.tape.QuantumScript(ops, [qml.expval(qml.Z(0))])
    options = {"noise": None, "method": "trajectories", "trajectories": 4000}
    device = qml.device("qstore.mock_noisy", wires=1, seed=1, **options)
    inputs = [devices.symbols("weights", 0, ()), None, None]
    program = devices.compile(tape, inputs, device, n_weights=1, n_features=0)
    found = program.run(np.array([2.0]), np.empty((1, 0)))[0, 0]
    assert found == pytest.approx(0.6 + 0.4 * np.cos(2.0), abs=0.06)
