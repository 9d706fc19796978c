"""Trajectories under PennyLane: channels, measurements, samples, refusals.

Where it can be, a test lists all draws, which must give the density method to rounding.
The others compare within five standard errors: a false alarm of 6e-7 for each number,
below 1e-4 for all numbers of this file. Seeds are fixed.
"""

import functools
import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import _computer
from qstore_pl.devices import lowering
from qstore_pl.devices.channels import constant_gate
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.noise import NoiseSpec, two_qubit_depolarizing
from qstore_pl.engine.gates import Drawn
from qstore_pl.engine.trajectories import TrajectoryProgram
from tests.devices.test_channels import CHANNELS, LIMITS, TEXTBOOK, kraus_matrices
from tests.engine.test_trajectories import operator
from tests.every_string import every_string, unknown  # noqa: F401
from tests.naive import PAULI, apply_kraus, pauli_word_matrix

# PennyLane casts complex numbers to real ones in the Kraus matrices of a PauliError.
pytestmark = pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")

DEVICE = "qstore.mock_noisy"
WIRES = ["a", 1, "c"]
MISREAD = {"a": (0.02, 0.1), 1: (0.05, 0.0)}
HERMITIAN = np.array([[1, 2j], [-2j, 0.5]])
PAIR = np.kron(HERMITIAN, PAULI["X"]) + np.diag([0.0, 1.0, 3.0, 0.0])


# ------------------------------------------------------------- every channel
def row(name, numbers=None):
    """A channel of the table, on its first wires."""
    entry = next(one for label, one in CHANNELS.items() if label.startswith(name))
    numbers = entry.numbers if numbers is None else numbers
    return entry.build(numbers, range(entry.n_wires))


OPERATIONS = {name: functools.partial(row, name) for name in CHANNELS}
OPERATIONS |= {
    f"{name} {numbers}": functools.partial(row, name, numbers)
    for name, limits in LIMITS.items()
    for numbers in limits
}
OPERATIONS["two-qubit depolarizing"] = lambda: qml.QubitChannel(
    two_qubit_depolarizing(0.3), [0, 1]
)
OPERATIONS["reset"] = lambda: qml.QubitChannel(
    [np.diag([1, 0]), np.array([[0, 1], [0, 0]])], 0
)


def of_circuit(op):
    """The program of a channel whose numbers are values."""
    circuit = lowering.take_apart(qml.tape.QuantumScript([op]))
    program = functools.partial(TrajectoryProgram, trajectories=1, uniform=None)
    return lowering.lower(circuit, SpecNoise(NoiseSpec()), program), circuit.weights


def of_noise(op):
    """The program of a channel that is a constant of the structure."""
    gate = constant_gate(op, tuple(range(len(op.wires))))
    program = TrajectoryProgram(len(op.wires), [gate], trajectories=1, uniform=None)
    return program, np.empty(0)


def sets_of_choices(draw, weights, kraus):
    """The sets of what may be drawn: lists of pairs (p, matrix)."""
    k = kraus[0].shape[0].bit_length() - 1
    found = draw.choices(weights, np.empty((1, 0)))
    if not isinstance(draw.gates[0], Drawn):
        # A Pauli channel: |Tr(P K)|**2 / 4**k summed over its Kraus matrices.
        words = map("".join, itertools.product(PAULI, repeat=k))
        words = [pauli_word_matrix(word) for word in words]
        traces = [[np.trace(word @ one) for one in kraus] for word in words]
        wanted = np.sum(np.abs(traces) ** 2, axis=1) / 4**k
        np.testing.assert_allclose(found.probabilities, [wanted], rtol=0, atol=1e-12)
    for one in filter(None, (found, found.strong)):
        matrices = [operator(draw, row, k)[0] for row in one.table]
        yield list(zip(one.probabilities[0], matrices, strict=True))


@pytest.mark.parametrize("lowered", [of_circuit, of_noise])
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_average_over_the_choices_is_the_channel(name, lowered):
    op = OPERATIONS[name]()
    program, weights = lowered(op)
    ((_, draw),) = program.draws
    kraus = [np.asarray(matrix) for matrix in op.kraus_matrices()]
    if lowered is of_circuit and op.name in TEXTBOOK:
        # PennyLane adds 2e-16 under its roots, and is 1e-8 off where damping is full.
        kraus = TEXTBOOK[op.name](*op.data)
    wires = range(len(op.wires))
    rng = np.random.default_rng(4)
    rho = rng.normal(size=(2, 2 ** len(wires), 2 ** len(wires)))
    rho = (rho[0] + 1j * rho[1]) @ (rho[0] + 1j * rho[1]).conj().T
    rho /= np.trace(rho)
    wanted = apply_kraus(rho, kraus, wires)
    for pairs in sets_of_choices(draw, weights, kraus):
        mean = sum(p * apply_kraus(rho, [matrix], wires) for p, matrix in pairs)
        np.testing.assert_allclose(mean, wanted, rtol=0, atol=1e-12)


# --------------------------------------------------------- all draws of a circuit
class Unknown(np.random.Generator):
    """A generator in the place of which every string of errors is taken."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def random(self, shape):
        return unknown(shape)


COUNTS = (2, 4, 16, 3, 4)  # choices for each channel of the circuit below
K = kraus_matrices(1, 3)


def prepare(x, weights):
    """Three noisy wires; a CNOT has 16 choices by the device's noise."""
    qml.RY(x, "a")
    qml.Rot(*weights[:3], 1)
    qml.AmplitudeDamping(0.3, "a")
    qml.RX(weights[3], "c")
    qml.BitFlip(0.25, 1)
    qml.CNOT(["a", 1])
    qml.RY(weights[4], 1)
    qml.QubitChannel(K, 1)
    qml.PhaseFlip(0.25, "c")
    qml.RX(x, "c")
    qml.RY(weights[5], "a")


NOISE = NoiseSpec(p2=15 / 32, readout=MISREAD)
W = np.random.default_rng(8).uniform(-2, 2, 6)
MEASURED = {
    "word": lambda: qml.expval(qml.Z("a") @ qml.X(1)),
    "identity": lambda: qml.expval(qml.Identity(1)),
    "sum": lambda: qml.expval(
        0.5 * qml.X("a") - 2 * qml.Z(1) @ qml.Y("a") + qml.Z("c")
    ),
    "hamiltonian": lambda: qml.expval(
        qml.Hamiltonian([0.4, 2.0], [qml.Y(1), qml.Z("a")])
    ),
    "hermitian": lambda: qml.expval(qml.Hermitian(HERMITIAN, 1)),
    "hermitian of two": lambda: qml.expval(qml.Hermitian(PAIR, ["c", "a"])),
    "hermitian times word": lambda: qml.expval(
        qml.Hermitian(HERMITIAN, "a") @ qml.Y("c")
    ),
    "projector": lambda: qml.expval(qml.Projector([1, 0], [1, "a"])),
    "probs": lambda: qml.probs([1, "a"]),
    "probs of all": lambda: qml.probs(),
    "probs of one": lambda: qml.probs("c"),
    "probs of a word": lambda: qml.probs(op=qml.Y(1) @ qml.X("a")),
}  # fmt: skip


def both(noise, *measurements, counts=COUNTS, circuit=prepare, wires=WIRES):
    """The circuit with all its draws listed, and by the density method."""

    def measured(*arguments):
        circuit(*arguments)
        return tuple(measurement() for measurement in measurements)

    n = int(np.prod(counts)) - 1
    how = {"method": "trajectories", "trajectories": n, "seed": Unknown()}
    devices = [qml.device(DEVICE, wires=wires, noise=noise, **one) for one in (how, {})]
    return [qml.QNode(measured, one) for one in devices]


def flat(qnode):
    return lambda *a: qml.math.concatenate(
        [qml.math.reshape(r, (-1,)) for r in qnode(*a)]
    )


@pytest.mark.parametrize("x", [0.7, np.array([0.7, -1.2])], ids=["one", "batch"])
@pytest.mark.parametrize("noise", [NOISE, NoiseSpec(p2=15 / 32)], ids=["misread", ""])
@pytest.mark.parametrize("name", MEASURED)
def test_all_draws_give_the_density_methods_values_and_gradients(name, noise, x):
    listed, density = both(noise, MEASURED[name])
    x, weights = pnp.array(x, requires_grad=True), pnp.array(W, requires_grad=True)
    for one, other in zip(listed(x, weights), density(x, weights), strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    gradients = [
        qml.jacobian(flat(qnode), [0, 1])(x, weights) for qnode in (listed, density)
    ]
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    assert name == "identity" or np.max(np.abs(gradients[1][1])) > 1e-2


def test_measurements_together_share_one_set_of_trajectories():
    listed, density = both(NOISE, *MEASURED.values())
    for one, other in zip(listed(0.7, W), density(0.7, W), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    weights = pnp.array(W, requires_grad=True)
    one, other = (qml.jacobian(flat(q), 1)(0.7, weights) for q in (listed, density))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_trainable_coefficients_have_a_gradient():
    def energy(c):
        return (qml.expval(qml.Hamiltonian(c, [qml.X(1), qml.Z("a") @ qml.Z(1)])),)

    def circuit(device):
        def measured(c):
            prepare(0.7, W)
            return energy(c)[0]

        return qml.QNode(measured, device)

    devices = [qnode.device for qnode in both(NOISE)]
    c = pnp.array([0.3, -1.1], requires_grad=True)
    one, other = (qml.grad(circuit(device))(c) for device in devices)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_deferred_measurements_are_averaged():
    def circuit():
        qml.RY(0.7, "a")
        qml.AmplitudeDamping(0.3, "a")
        circuit.outcome = qml.measure("a")
        qml.cond(circuit.outcome, qml.RY)(0.4, "c")

    listed, density = both(
        NoiseSpec(p1=3 / 8),
        lambda: qml.expval(circuit.outcome),
        lambda: qml.probs(op=circuit.outcome),
        lambda: qml.expval(qml.Z("c")),
        counts=(4, 2, 4),  # after RY, the damping, after RY again
        circuit=circuit,
        wires=None,  # PennyLane adds one where the measurement is deferred to
    )
    for one, other in zip(listed(), density(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


# -------------------------------------------------------------- finite shots
N, SHOTS = 4000, 20_000
STRONG = NoiseSpec(p1=0.02, p2=0.1, t1=50e-6, t2=60e-6, gate_time_2=5e-6,
                   readout=MISREAD)  # fmt: skip


def device(noise=STRONG, trajectories=N, **options):
    return qml.device(
        DEVICE, wires=WIRES, noise=noise, method="trajectories",
        trajectories=trajectories, seed=5, **options,
    )  # fmt: skip


def sampled(*measurements, noise=STRONG, shots=SHOTS, x=0.7, trajectories=N):
    """Results from shots, of the whole noisy circuit."""

    def measured():
        prepare(x, W)
        return tuple(measurement() for measurement in measurements)

    return qml.QNode(measured, device(noise, trajectories), shots=shots)()


def analytic(*measurements, noise=STRONG):
    def measured():
        prepare(0.7, W)
        return tuple(measurement() for measurement in measurements)

    exact = qml.QNode(measured, qml.device(DEVICE, wires=WIRES, noise=noise))()
    with qml.Tracker(mine := device(noise)) as tracker:
        qml.QNode(measured, mine)()
    (errors,) = tracker.history["standard_errors"]
    return exact, errors


SAMPLED = {
    name: measurement
    for name, measurement in MEASURED.items()
    if name not in ("sum", "hamiltonian", "identity")
}


def test_shots_are_within_five_standard_errors():
    exact, errors = analytic(*SAMPLED.values())
    results = sampled(*SAMPLED.values())
    largest = {"hermitian": 2.8, "hermitian of two": 6.0, "hermitian times word": 2.8}
    for name, one, other, error in zip(SAMPLED, results, exact, errors, strict=True):
        # Of outcomes at most this large; and of the trajectories they come from.
        variance = largest.get(name, 1.0) ** 2 / SHOTS
        if "probs" in name:
            variance = other * (1.0 - other) / SHOTS
        assert np.all(np.abs(one - other) < 5 * np.sqrt(variance + error**2)), name
        assert np.any(one != other)


def test_sums_are_measured_term_by_term():
    sums = [MEASURED[name] for name in ("sum", "hamiltonian")]
    sums.append(lambda: qml.expval(qml.X(1) + 2 * qml.Identity(1)))
    exact, errors = analytic(*sums)
    for one, other, error, scale in zip(
        sampled(*sums), exact, errors, (3.5, 2.4, 1.0), strict=True
    ):
        assert abs(one - other) < 5 * np.sqrt(scale**2 / SHOTS + error**2)


def test_a_multiple_of_a_sum_is_measured_in_its_eigenbasis():
    def half():
        return qml.expval(0.5 * (qml.X(1) + qml.Z(1)))

    noise = NoiseSpec(p2=0.1)
    (exact,), (error,) = analytic(half, noise=noise)
    (result,) = sampled(half, noise=noise)
    assert abs(result - exact) < 5 * np.sqrt(0.5 / SHOTS + error**2)


def bell(*measurements, noise=None, shots=5000):
    """Measurements of a Bell pair; the damping of a wire in 0 makes it noisy."""

    @qml.set_shots(shots=shots)
    @qml.qnode(device(noise, trajectories=20))
    def circuit():
        qml.Hadamard("a")
        qml.CNOT(["a", 1])
        qml.AmplitudeDamping(0.3, "c")
        return tuple(measurement() for measurement in measurements)

    return circuit()


def test_measurements_of_one_basis_are_the_same_shots():
    z0, z1, pair, counts, bits = bell(
        lambda: qml.sample(qml.Z("a")),
        lambda: qml.sample(qml.Z(1)),
        lambda: qml.expval(qml.Z("a") @ qml.Z(1)),
        lambda: qml.counts(wires=["a"], all_outcomes=True),
        lambda: qml.sample(wires=[1, "c"]),
    )
    np.testing.assert_array_equal(z0, z1)
    assert set(z0) == {-1.0, 1.0}
    assert pair == 1.0
    assert counts == {"0": np.sum(z0 > 0), "1": np.sum(z0 < 0)}
    np.testing.assert_array_equal(bits[:, 0], z1 < 0)
    np.testing.assert_array_equal(bits[:, 1], 0)


def test_measurements_of_other_bases_are_other_shots():
    x0, z0, x1, xx, yy, z1 = bell(
        lambda: qml.sample(qml.X("a")),
        lambda: qml.sample(qml.Z("a")),
        lambda: qml.sample(qml.X(1)),
        lambda: qml.expval(qml.X("a") @ qml.X(1)),
        lambda: qml.expval(qml.Y("a") @ qml.Y(1)),
        lambda: qml.sample(qml.Z(1)),
    )
    np.testing.assert_array_equal(x0, x1)
    np.testing.assert_array_equal(z0, z1)
    assert (xx, yy) == (1.0, -1.0)
    # Independent signs: a mean product of 5 / sqrt(shots) is five standard errors.
    assert abs(np.mean(x0 * z0)) < 5 / np.sqrt(len(x0))


def test_matrices_on_one_wire_are_read_each_in_its_own_eigenbasis():
    x, z, half = bell(
        lambda: qml.expval(qml.Hermitian(PAULI["X"], "c")),
        lambda: qml.expval(qml.Hermitian(PAULI["Z"], "c")),
        lambda: qml.expval(qml.Hermitian(PAULI["Y"] + PAULI["Z"], "c")),
    )
    assert z == 1.0
    assert abs(x) < 5 / np.sqrt(5000)
    assert abs(half - 1.0) < 5 / np.sqrt(5000)


def test_shots_are_split_as_on_the_density_method():
    measured = [lambda: qml.expval(qml.Z(1)), qml.counts, lambda: qml.probs(["a"])]

    def shapes(result):
        if isinstance(result, tuple | list):
            return [shapes(one) for one in result]
        return sum(result.values()) if isinstance(result, dict) else np.shape(result)

    for shots in ([100, 20], [(5, 3), 7], 10):
        theirs = qml.QNode(
            lambda: (prepare(0.7, W), tuple(one() for one in measured))[1],
            qml.device(DEVICE, wires=WIRES, noise=STRONG), shots=shots,
        )()  # fmt: skip
        assert shapes(sampled(*measured, shots=shots)) == shapes(theirs)


def test_a_batch_is_sampled_row_by_row():
    x = np.array([0.0, np.pi])
    noise = NoiseSpec(readout={"a": (0.0, 0.25)})

    @qml.set_shots(shots=SHOTS)
    @qml.qnode(device(noise, trajectories=20))
    def circuit():
        qml.RX(x, "a")
        return qml.expval(qml.Z("a")), qml.counts(wires="a"), qml.sample(wires="a")

    mean, counts, bits = circuit()
    assert (mean.shape, len(counts), bits.shape) == ((2,), 2, (2, SHOTS, 1))
    assert mean[0] == 1.0  # wire in 0 is read perfectly
    error = 5 * np.sqrt(0.25 * 0.75 / SHOTS)
    assert abs(np.mean(bits[1]) - 0.75) < error
    assert counts[1]["1"] == np.sum(bits[1])


# ------------------------------------------------------------------ refusals
REFUSED = {
    "var": lambda: qml.var(qml.Z("a")),
    "state": qml.state,
    "density_matrix": lambda: qml.density_matrix(["a"]),
    "purity": lambda: qml.purity(["a"]),
    "vnentropy": lambda: qml.vn_entropy(["a"]),
    "mutualinfo": lambda: qml.mutual_info(["a"], [1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_linear_in_the_state_is_refused_by_name(name):
    @qml.qnode(device(trajectories=3))
    def circuit():
        qml.RX(0.3, "a")
        return REFUSED[name]()

    with pytest.raises(DeviceError, match=r'Trajectories give .*method="density"') as e:
        circuit()
    assert name.split("_")[0] in str(e.value)


def test_snapshots_are_refused():
    @qml.qnode(device(trajectories=3))
    def circuit():
        qml.RX(0.3, "a")
        qml.Snapshot("here")
        return qml.expval(qml.Z("a"))

    with pytest.raises(DeviceError, match=r'snapshots.*method="density"'):
        qml.snapshots(circuit)()


@pytest.mark.parametrize("noise", [STRONG, NoiseSpec(p1=0.1)], ids=["misread", "read"])
@pytest.mark.parametrize(
    "shadow",
    [lambda: qml.classical_shadow(["a"]), lambda: qml.shadow_expval(qml.Z("a"))],
)
def test_shadows_are_refused(shadow, noise):
    @qml.set_shots(shots=10)
    @qml.qnode(device(noise, trajectories=3))
    def circuit():
        qml.RX(0.3, "a")
        return shadow()

    with pytest.raises(DeviceError, match="shadow"):
        circuit()


def flip(p, wire):
    qml.PauliError("X", p, wires=wire)


@pytest.mark.parametrize("channel", [qml.AmplitudeDamping, qml.BitFlip, flip])
def test_gradients_by_numbers_of_channels_are_refused(channel):
    @qml.qnode(device(trajectories=3))
    def circuit(angle, p):
        qml.RX(angle, "a")
        channel(p, "a")
        return qml.expval(qml.Z("a"))

    angle, p = pnp.array(0.4, requires_grad=True), pnp.array(0.2, requires_grad=True)
    with pytest.raises(DeviceError, match=r'no gradient .* Use method="density"'):
        qml.grad(circuit)(angle, p)
    assert qml.grad(circuit, argnums=0)(angle, 0.2).shape == ()


BAD = [
    ({"method": "trajectories"}, ValueError, "`trajectories` must be given"),
    ({"trajectories": 10}, ValueError, "only there, but is 10"),
    ({"method": "exact"}, ValueError, "`method` must be"),
    ({"method": "trajectories", "trajectories": 0}, ValueError, "`trajectories` must"),
    ({"method": "trajectories", "trajectories": 2.5}, TypeError, "`trajectories` must"),
]


@pytest.mark.parametrize(("options", "error", "match"), BAD)
def test_options_that_do_not_fit_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        qml.device(DEVICE, wires=1, **options)


# -------------------------------------------------------------------- memory
def wide(n_wires, **options):
    @qml.qnode(qml.device(DEVICE, wires=n_wires, seed=1, noise=STRONG, **options))
    def circuit(weights):
        for i in range(n_wires):
            qml.RY(weights[i], i)
        for i in range(n_wires - 1):
            qml.CNOT([i, i + 1])
        return qml.expval(qml.Z(0)), qml.probs([0, n_wires - 1])

    return circuit


def test_density_matrices_that_do_not_fit_are_refused_with_their_bytes(monkeypatch):
    weights, how = (
        np.linspace(0.1, 1.0, 5),
        {"method": "trajectories", "trajectories": 3},
    )
    monkeypatch.setattr(_computer, "memory", lambda: 4 * 8 * 4**5)
    assert np.shape(wide(5)(weights)[0]) == ()
    monkeypatch.setattr(_computer, "memory", lambda: 3 * 8 * 4**5 - 1)
    with pytest.raises(DeviceError, match=r"5 wires needs 24,576 bytes") as refusal:
        wide(5)(weights)
    assert 'method="trajectories"' in str(refusal.value)
    assert np.shape(wide(5, **how)(weights)[0]) == ()
    monkeypatch.setattr(_computer, "memory", lambda: 3 * 16 * 2**5 - 1)
    with pytest.raises(DeviceError, match=r"1,536 bytes .* states.* Use fewer wires\."):
        wide(5, **how)(weights)


def test_fourteen_wires_run_by_trajectories():
    circuit = wide(14, method="trajectories", trajectories=40)
    weights = pnp.array(np.linspace(0.1, 1.0, 14), requires_grad=True)
    with qml.Tracker(circuit.device) as tracker:
        z, probabilities = circuit(weights)
    error = tracker.history["standard_errors"][0][0]
    # The first wire has one rotation and one CNOT: a closed form on one wire alone.
    exact, _ = wide(2)(np.array(weights[:2]))
    assert abs(z - exact) < 5 * error
    assert error < 0.2
    assert probabilities.shape == (4,)
    assert qml.grad(lambda a: circuit(a)[0])(weights).shape == (14,)
