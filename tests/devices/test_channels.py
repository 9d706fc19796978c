"""Every channel of PennyLane: values, states and gradients as on default.mixed.

The table of channels is held equal to PennyLane's own list: a channel it adds fails the
tests until it has a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl.devices.registry import REGISTRY

# default.mixed casts complex numbers to real ones when autograd goes back through it.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

WIRES = range(3)
HERMITIAN = np.array([[1, 2j], [-2j, 0.5]])


# -------------------------------------------------------------------- the table
@dataclass(frozen=True)
class Noise:
    """A row: a channel with numbers away from special values.

    Args:
        build: Maps (numbers, wires) to the channel.
        numbers: Parameters that are differentiated.
        n_wires: Number of wires.
        oracle: Interface in which default.mixed differentiates it.
    """

    build: Callable[[Any, Sequence[Any]], Any]
    numbers: tuple[float, ...]
    n_wires: int = 1
    oracle: str = "autograd"


def of(cls: Any, *numbers: float) -> Noise:
    """A channel on one wire."""
    return Noise(lambda p, wires: cls(*p, wires=wires), numbers)


def pauli_error(word: str, p: float) -> Noise:
    # Autograd cannot take the Kronecker product PennyLane makes of three letters.
    return Noise(
        lambda q, wires: qml.PauliError(word, *q, wires=wires),
        (p,),
        len(word),
        "torch" if len(word) > 2 else "autograd",
    )


def kraus_matrices(n_wires: int, n_matrices: int) -> list[np.ndarray]:
    """The blocks of a random isometry."""
    rng, d = np.random.default_rng(n_wires), 2**n_wires
    shape = (n_matrices * d, d)
    isometry = np.linalg.qr(rng.normal(size=shape) + 1j * rng.normal(size=shape))[0]
    return list(isometry.reshape(n_matrices, d, d))


def random_channel(n_wires: int, n_matrices: int) -> Noise:
    matrices = kraus_matrices(n_wires, n_matrices)
    return Noise(lambda _, wires: qml.QubitChannel(matrices, wires), (), n_wires)


CHANNELS = {
    "AmplitudeDamping": of(qml.AmplitudeDamping, 0.3),
    "GeneralizedAmplitudeDamping": of(qml.GeneralizedAmplitudeDamping, 0.3, 0.2),
    "PhaseDamping": of(qml.PhaseDamping, 0.4),
    "DepolarizingChannel": of(qml.DepolarizingChannel, 0.1),
    "BitFlip": of(qml.BitFlip, 0.15),
    "PhaseFlip": of(qml.PhaseFlip, 0.8),
    "ResetError": of(qml.ResetError, 0.1, 0.25),
    "ThermalRelaxationError-t2 < t1": of(
        qml.ThermalRelaxationError, 0.2, 1.3, 0.9, 0.4
    ),
    "ThermalRelaxationError-t2 > t1": of(
        qml.ThermalRelaxationError, 0.2, 1.1, 1.6, 0.4
    ),
    "PauliError-1": pauli_error("Y", 0.3),
    "PauliError-2": pauli_error("XZ", 0.2),
    "PauliError-3": pauli_error("ZIY", 0.4),
    "QubitChannel-1": random_channel(1, 3),
    "QubitChannel-2": random_channel(2, 4),
    "QubitChannel-3": random_channel(3, 2),
}


def test_the_table_is_pennylanes_list_of_channels():
    names = {
        row.build(row.numbers, range(row.n_wires)).name for row in CHANNELS.values()
    }
    assert names == qml.ops.channel.__qubit_channels__
    mixed = {name for name, entry in REGISTRY.items() if entry.channel}
    assert mixed == names | {"QubitDensityMatrix"}


# ------------------------------------------------------------------ default.mixed
PLACES = {1: [(0,), (1,), (2,)], 2: [(0, 1), (2, 0), (1, 2)], 3: [(0, 1, 2), (2, 0, 1)]}
CASES = [
    (name, place) for name, row in CHANNELS.items() for place in PLACES[row.n_wires]
]
EXACT = (
    lambda: qml.expval(qml.Z(0) @ qml.X(1) @ qml.Y(2)),
    lambda: qml.expval(0.5 * qml.X(0) - 2 * qml.Z(1) @ qml.Z(2)),
    lambda: qml.var(qml.Y(1) @ qml.Z(2)),
    lambda: qml.probs([2, 0]),
    lambda: qml.expval(qml.Hermitian(HERMITIAN, 1)),
)
STATES = (
    lambda: qml.density_matrix(WIRES),
    lambda: qml.density_matrix([2, 0]),
    lambda: qml.purity([1]),
    lambda: qml.purity(WIRES),
)


def circuit(row: Noise, place: Sequence[int], measurements: Any) -> Callable[..., Any]:
    """The channel twice between rotations of entangled wires."""

    def function(x, p):
        for i in WIRES:
            qml.Rot(x[i], x[i + 3], x[6], i)
        qml.CNOT([0, 1])
        qml.CRY(x[6], [1, 2])
        row.build(p, place)
        for i in WIRES:
            qml.RX(x[7 + i], i)
        qml.CZ([0, 2])
        row.build(p, place[::-1])
        qml.RY(x[10], 1)
        return tuple(measurement() for measurement in measurements)

    return function


def run(device: str, function: Callable[..., Any]) -> Callable[..., Any]:
    options = {"noise": None} if device == "qstore.mock_noisy" else {}
    return qml.QNode(function, qml.device(device, wires=3, **options))


def both(function: Callable[..., Any]) -> list[Callable[..., Any]]:
    return [run(name, function) for name in ("qstore.mock_noisy", "default.mixed")]


def flat(qnode: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *a: qml.math.concatenate(
        [qml.math.reshape(r, (-1,)) for r in qnode(*a)]
    )


def close(actual: Any, expected: Any, atol: float = 1e-10) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


@pytest.fixture
def x():
    return pnp.array(np.random.default_rng(1).uniform(-3, 3, 11), requires_grad=True)


@pytest.mark.parametrize(("name", "place"), CASES)
def test_values_states_and_gradients_agree_with_default_mixed(name, place, x):
    row = CHANNELS[name]
    p = pnp.array(row.numbers, requires_grad=True)
    ours, theirs = both(circuit(row, place, EXACT + STATES))
    for one, other in zip(ours(x, p), theirs(x, p), strict=True):
        assert np.shape(one) == np.shape(other)
        close(one, other)
    ours, theirs = both(circuit(row, place, EXACT))
    expected = jacobian(theirs, x, p, row.oracle)
    for one, other in zip(jacobian(ours, x, p), expected, strict=True):
        assert np.abs(other).max(initial=1.0) > 1e-2
        close(one, other)


def jacobian(qnode: Any, x: Any, p: Any, interface: str = "autograd") -> list[Any]:
    """By the angles and by the numbers of the channel."""
    if interface == "torch":
        tensors = tuple(torch.tensor(np.asarray(a)) for a in (x, p))
        return [
            j.numpy() for j in torch.autograd.functional.jacobian(flat(qnode), tensors)
        ]
    by_angles = qml.jacobian(flat(qnode), 0)(x, p)
    return [by_angles, qml.jacobian(flat(qnode), 1)(x, p)] if p.size else [by_angles]


# ---------------------------------------------------------------------- limits
LIMITS = {
    "AmplitudeDamping": [(0.0,), (1.0,)],
    "GeneralizedAmplitudeDamping": [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.5, 1.0)],
    "PhaseDamping": [(0.0,), (1.0,)],
    "DepolarizingChannel": [(0.0,), (0.75,), (1.0,)],
    "BitFlip": [(0.0,), (0.5,), (1.0,)],
    "PhaseFlip": [(0.0,), (0.5,), (1.0,)],
    "ResetError": [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.4, 0.6)],
    "ThermalRelaxationError": [(0.0, 1.0, 2.0, 0.0), (1.0, 1.0, 2.0, 0.3)],
    "PauliError": [(0.0,), (1.0,)],
}


def amplitude_damping(gamma: float, excited: float = 0.0) -> list[np.ndarray]:
    """Nielsen and Chuang, equations 8.111 to 8.115, our p being their 1 - p."""
    root, kept = np.sqrt(gamma), np.sqrt(1 - gamma)
    down = [np.diag([1, kept]), np.array([[0, root], [0, 0]])]
    up = [np.diag([kept, 1]), np.array([[0, 0], [root, 0]])]
    return [np.sqrt(1 - excited) * k for k in down] + [np.sqrt(excited) * k for k in up]


TEXTBOOK = {
    "AmplitudeDamping": amplitude_damping,
    "GeneralizedAmplitudeDamping": amplitude_damping,
    "PhaseDamping": lambda gamma: [
        np.diag([1, np.sqrt(1 - gamma)]),
        np.diag([0, np.sqrt(gamma)]),
    ],
}


@pytest.mark.parametrize(
    ("name", "numbers"),
    [(n, numbers) for n, rows in LIMITS.items() for numbers in rows],
)
def test_limits_are_accepted_and_right(name, numbers, x):
    row = next(row for label, row in CHANNELS.items() if label.startswith(name))
    p = pnp.array(numbers, requires_grad=False)
    exact = row
    if name in TEXTBOOK:
        # PennyLane adds 2e-16 under its roots, and is 1e-8 off where damping is full.
        kraus = TEXTBOOK[name](*numbers)
        exact = Noise(lambda _, wires: qml.QubitChannel(kraus, wires), ())
    ours = run("qstore.mock_noisy", circuit(row, (1,), EXACT + STATES))
    theirs = run("default.mixed", circuit(exact, (1,), EXACT + STATES))
    for one, other in zip(ours(x, p), theirs(x, p), strict=True):
        close(one, other)
    ours = run("qstore.mock_noisy", circuit(row, (1,), EXACT))
    theirs = run("default.mixed", circuit(exact, (1,), EXACT))
    # Angles before a channel that forgets a wire: its state cannot be un-computed.
    close(qml.jacobian(flat(ours), 0)(x, p), qml.jacobian(flat(theirs), 0)(x, p))


@pytest.mark.parametrize("gamma", [0.3, 1.0])
def test_many_full_dampings_lose_no_gradient(gamma):
    """The state before a reset cannot be un-computed from the one after it."""

    observables = (qml.Z(0), qml.X(1) @ qml.Z(2))

    def deep(damp, *measurements):
        def function(x):
            for i, angle in enumerate(x):
                qml.RX(angle, i % 3)
                qml.CNOT([i % 3, (i + 1) % 3])
                damp(i % 3)
                qml.RY(0.7 * angle, (i + 1) % 3)
            return tuple(measurement() for measurement in measurements)

        return function

    kraus = amplitude_damping(gamma)
    x = pnp.array(np.random.default_rng(2).uniform(-3, 3, 18), requires_grad=True)
    ours = run(
        "qstore.mock_noisy",
        deep(
            lambda i: qml.AmplitudeDamping(gamma, i),
            lambda: qml.expval(observables[0]),
            lambda: qml.expval(observables[1]),
        ),
    )
    theirs = run(
        "default.mixed",
        deep(lambda i: qml.QubitChannel(kraus, i), lambda: qml.density_matrix(WIRES)),
    )

    # default.mixed differentiates the root of a probability, also where it is 0.
    def expected(x):
        (rho,) = theirs(x)
        matrices = [qml.matrix(o, wire_order=WIRES) for o in observables]
        return [qml.math.real(qml.math.trace(rho @ matrix)) for matrix in matrices]

    close(qml.jacobian(flat(ours))(x), qml.jacobian(flat(expected))(x))


# -------------------------------------------------------------------- refusals
BAD = {
    "AmplitudeDamping": [(-0.1,), (1.1,), (np.nan,)],
    "GeneralizedAmplitudeDamping": [(0.1, -0.2), (1.2, 0.1), (np.nan, 0.1)],
    "PhaseDamping": [(-1e-3,), (2.0,), (np.nan,)],
    "DepolarizingChannel": [(-0.1,), (1.1,), (np.nan,)],
    "BitFlip": [(-0.1,), (1.1,), (np.nan,)],
    "PhaseFlip": [(-0.1,), (1.1,), (np.inf,)],
    "ResetError": [(-0.1, 0.1), (0.1, 1.1), (0.6, 0.5), (np.nan, 0.1)],
    "ThermalRelaxationError": [
        (-0.1, 1.0, 1.0, 0.1),
        (1.1, 1.0, 1.0, 0.1),
        (0.1, 0.0, 1.0, 0.1),
        (0.1, -1.0, 1.0, 0.1),
        (0.1, 1.0, 0.0, 0.1),
        (0.1, 1.0, 2.1, 0.1),
        (0.1, 1.0, 1.0, -0.1),
        (0.1, 1.0, np.nan, 0.1),
        (np.nan, 1.0, 1.0, 0.1),
    ],
    "PauliError": [(-0.1,), (1.1,), (np.nan,)],
}


@pytest.mark.parametrize(
    ("name", "numbers"), [(n, numbers) for n, rows in BAD.items() for numbers in rows]
)
def test_numbers_out_of_range_are_refused_by_the_name_of_the_channel(name, numbers):
    row = next(row for label, row in CHANNELS.items() if label.startswith(name))
    # PennyLane checks some channels when they are made: changed in place here.
    channel = row.build(row.numbers, (0,))
    channel.data = numbers
    tape = qml.tape.QuantumScript([channel], [qml.expval(qml.Z(0))])
    with pytest.raises(ValueError, match=f"Parameters of {name} must"):
        qml.device("qstore.mock_noisy", noise=None).execute(tape)


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_are_refused_by_name_on_the_ideal_device(name):
    row = CHANNELS[name]
    channel = row.build(row.numbers, range(row.n_wires))

    def noisy():
        qml.apply(channel)
        return qml.expval(qml.Z(0))

    with pytest.raises(DeviceError, match=channel.name):
        qml.QNode(noisy, qml.device("qstore.mock_ideal", wires=3))()


def test_a_channel_on_too_many_wires_is_refused():
    wide = qml.QubitChannel([np.eye(32)], wires=range(5))
    with pytest.raises(DeviceError, match="at most 4 wires here, but is on 5"):
        run("qstore.mock_noisy", lambda: (qml.apply(wide), qml.expval(qml.Z(0)))[1])()


def test_a_batch_of_angles_runs_through_channels(x):
    row = CHANNELS["AmplitudeDamping"]
    xs = pnp.array(np.stack([x, 2 * x, -x], axis=1), requires_grad=True)  # (11, batch)
    p = pnp.array(row.numbers, requires_grad=True)
    ours, theirs = both(circuit(row, (1,), EXACT))
    single = [theirs(column, p) for column in xs.T]
    for one, other in zip(ours(xs, p), zip(*single, strict=True), strict=True):
        close(one, np.array(other))
    gradient = qml.jacobian(lambda x, p: ours(x, p)[0], [0, 1])(xs, p)
    expected = [
        qml.jacobian(lambda x, p: theirs(x, p)[0], [0, 1])(column, p) for column in xs.T
    ]
    for b, (by_x, by_p) in enumerate(expected):
        close(gradient[0][b, :, b], by_x)
        close(gradient[1][b], by_p)


@pytest.mark.parametrize("row", [of(qml.BitFlip, 0.1), of(qml.ResetError, 0.1, 0.1)])
def test_a_batch_of_strengths_is_refused(row):
    numbers = [np.array([p, 2 * p]) for p in row.numbers]

    def function():
        row.build(numbers, (0,))
        return (qml.expval(qml.Z(0)),)

    with pytest.raises((ValueError, TypeError, DeviceError)):
        run("qstore.mock_noisy", function)()
