"""Gradients with shots: their means are exact, their variances those of the theory.

A circuit with S shots gives the mean of S scores, whose variance is that of one score
over S. A gradient is a sum of such means over lanes, samples and groups, which are
independent. Probabilities are computed here from density matrices of PennyLane's
simulators.

Bounds: a mean is within 5 of its standard errors by theory (false alarms 6e-7 for each
number), and a variance over 1000 runs within 25 %, which is 5.6 of its own standard
errors. The seeds are fixed.
"""

import functools
import itertools

import numpy as np
import pennylane as qml
import pytest

from qstore_pl import QuantumModel
from qstore_pl.devices import NoiseSpec
from qstore_pl.engine import readings
from qstore_pl.gradients import ModelExpectations, estimator_of
from qstore_pl.layers import AngleEncoding, Block, Layer, Weights
from qstore_pl.readout import Affine, ExpectationValues, Probabilities
from tests.naive import on_all_wires

N = 2  # wires
SHOTS, RUNS, SEEDS = 40, 1000, 400
STRENGTHS = {"p1": 0.02, "p2": 0.05, "dephasing": 0.03}
ERRORS = {0: (0.03, 0.08), 1: (0.1, 0.02)}  # p(1|0) and p(0|1) of each wire
DEVICES = {
    "ideal": ("qstore.mock_ideal", {}),
    "noisy": ("qstore.mock_noisy", {"noise": NoiseSpec(**STRENGTHS, readout=ERRORS)}),
}
# Gates, their wires, and the weight that each turns by, if any.
GATES = [
    (qml.RX, [0], 0),
    (qml.RY, [1], 1),
    (qml.CNOT, [0, 1], None),
    (qml.CRX, [1, 0], 2),
    (qml.RY, [1], 0),
    (qml.RZ, [0], 3),
    (qml.CNOT, [1, 0], None),
]
WEIGHTS = np.array([0.7, -1.1, 1.9, 0.4])
X = np.array([[0.5, -0.8], [1.3, 0.2]])
P, Y, Z = qml.X, qml.Y, qml.Z
MATRIX = np.array([[1.0, 0.5j], [-0.5j, -2.0]])
HAMILTONIANS = [
    qml.Hamiltonian([0.5, 1.0, -0.3], [P(0) @ P(1), Z(0), Y(1)]),
    qml.Hamiltonian([1.5, 0.2, 0.7], [Z(0) @ Z(1), P(0), qml.I(0)]),
]
WORDS = [P(0) @ P(1), Z(0), Y(1), Z(0) @ Z(1), P(0)]  # of both, in order
READOUTS = {
    "z": (ExpectationValues(), 2),
    "hamiltonians": (ExpectationValues(HAMILTONIANS), 2),
    "probabilities": (Probabilities(), 4),
    "matrices": (
        ExpectationValues([qml.Hermitian(MATRIX, 0), qml.Hermitian(MATRIX, 1)]),
        2,
    ),
    "affine": (Affine(ExpectationValues([P(0), Z(1)])), 2),
}
every = pytest.mark.parametrize("readout", READOUTS)
some = pytest.mark.parametrize("readout", ["hamiltonians", "probabilities"])
on_every_device = pytest.mark.parametrize("device", DEVICES)


class Gates(Layer):
    """The gates above."""

    def blocks(self, wires):
        return [
            Block(
                gate,
                [wires[w] for w in on],
                [] if weight is None else [Weights(weight)],
            )
            for gate, on, weight in GATES
        ]


def model_with(readout, device):
    name, options = device
    made, n_outputs = READOUTS[readout]
    layers = [AngleEncoding("Y"), Gates()]
    model = QuantumModel(N, n_outputs, layers=layers, readout=made, n_qubits=N)
    model.parameters[: len(WEIGHTS)] = WEIGHTS
    model.backend = qml.device(name, wires=N, seed=0, **options)
    return model


# --- the theory -----------------------------------------------------------------


@functools.cache
def simulated(device):
    """A function from the angles of all gates and features to a density matrix."""
    noisy = device == "noisy"

    @qml.qnode(qml.device("default.mixed" if noisy else "default.qubit", wires=N))
    def circuit(angles, x):
        for wire in range(N):
            qml.RY(x[wire], wire)
        for (gate, on, weight), angle in zip(GATES, angles, strict=True):
            gate(*([] if weight is None else [angle]), wires=on)
        return qml.state()

    if noisy:
        return qml.noise.add_noise(circuit, NoiseSpec(**STRENGTHS).to_noise_model())

    def state(angles, x):
        psi = circuit(angles, x)
        return np.outer(psi, psi.conj())

    return state


def sign(wires):
    """The product of the eigenvalues of Z on wires, for each outcome of all."""
    bits = np.array(list(itertools.product((0, 1), repeat=N)))
    return (-1.0) ** bits[:, list(wires)].sum(axis=1)


def groups_of(readout):
    """For each group the gates before it, and scores of each value and outcome."""
    if readout == "probabilities":
        return [((), np.eye(4))]
    if readout == "z":
        return [((), np.stack([sign([0]), sign([1])]))]
    if readout == "affine":
        return [((qml.Hadamard(0),), np.stack([sign([0]), sign([1])]))]
    if readout == "matrices":
        gates = [
            g for w in (0, 1) for g in qml.Hermitian(MATRIX, w).diagonalizing_gates()
        ]
        values = np.linalg.eigvalsh(MATRIX)
        return [(gates, np.stack([np.repeat(values, 2), np.tile(values, 2)]))]
    factors = np.zeros((2, len(WORDS)))
    for k, hamiltonian in enumerate(HAMILTONIANS):
        for c, word in zip(*hamiltonian.terms(), strict=True):
            if word in WORDS:
                factors[k, WORDS.index(word)] += c
    tape = qml.tape.QuantumScript([], [qml.expval(word) for word in WORDS])
    found = []
    for of_group in qml.transforms.split_non_commuting(tape)[0]:
        words = [mp.obs for mp in of_group.measurements]
        gates = {(g.name, g.wires): g for w in words for g in w.diagonalizing_gates()}
        scores = sum(
            np.outer(factors[:, WORDS.index(word)], sign(word.wires)) for word in words
        )
        found.append((list(gates.values()), scores))
    assert len(found) == 3
    return found


OFFSETS = {"hamiltonians": np.array([0.0, 0.7])}


def distributions(readout, device, angles, x):
    """Probabilities of what is read in each group, shape ``(n_groups, 2**N)``."""
    rho, found = simulated(device)(angles, x), []
    for gates, _ in groups_of(readout):
        turned = rho
        for gate in gates:
            whole = on_all_wires(gate.matrix(), list(gate.wires), N)
            turned = whole @ turned @ whole.conj().T
        p = np.real(np.diag(turned)).reshape(2, 2)
        if device == "noisy":
            for wire, (up, down) in ERRORS.items():
                confusion = np.array([[1 - up, down], [up, 1 - down]])
                p = np.moveaxis(np.tensordot(confusion, p, [1, wire]), 0, wire)
        found.append(p.reshape(-1))
    return np.array(found)


def angles_at(weights):
    return np.array([0.0 if j is None else weights[j] for _, _, j in GATES])


def moments(readout, device, angles, x):
    """Means of the measured values, and covariances for one shot of each group."""
    mean, covariance = OFFSETS.get(readout, 0.0), 0.0
    each = distributions(readout, device, angles, x)
    for (_, scores), p in zip(groups_of(readout), each, strict=True):
        mean = mean + scores @ p
        covariance = (
            covariance + (scores * p) @ scores.T - np.outer(scores @ p, scores @ p)
        )
    return mean, covariance


def combined(readout, device, lanes, cotangents):
    """Mean and variance of a sum over lanes of measured values.

    Args:
        readout: Name of the readout.
        device: Name of the device.
        lanes: Pairs of coefficients of each gradient entry, and the angles of gates.
        cotangents: Factors of the measured values of each sample.
    """
    mean, variance = 0.0, 0.0
    for coefficients, angles in lanes:
        for x, dm in zip(X, cotangents, strict=True):
            value, covariance = moments(readout, device, angles, x)
            mean = mean + coefficients * (dm @ value)
            variance = variance + coefficients**2 * (dm @ covariance @ dm) / SHOTS
    return mean, variance


def shift_lanes():
    """Two terms for rotations, four for a controlled one, of each gate on its own."""
    root = np.sqrt(2.0)
    two = [(0.5, np.pi / 2), (-0.5, -np.pi / 2)]
    near, far = (root + 1) / (4 * root), (root - 1) / (4 * root)
    four = [(near, np.pi / 2), (-near, -np.pi / 2)]
    four += [(-far, 3 * np.pi / 2), (far, -3 * np.pi / 2)]
    lanes = []
    for g, (gate, _, weight) in enumerate(GATES):
        if weight is None:
            continue
        for c, shift in four if gate is qml.CRX else two:
            angles = angles_at(WEIGHTS)
            angles[g] += shift
            lanes.append((c * np.eye(len(WEIGHTS))[weight], angles))
    return lanes


def step_lanes(steps, factors):
    """A step forward and backward in each direction."""
    return [
        (s * factor, angles_at(WEIGHTS + s * step))
        for step, factor in zip(steps, factors, strict=True)
        for s in (1.0, -1.0)
    ]


# --- means and variances of many runs -------------------------------------------


def agree(seen, mean, variance):
    """The means of 400 seeds, and the variances of all runs."""
    error = np.sqrt(variance / SEEDS)
    assert np.all(np.abs(seen[:SEEDS].mean(axis=0) - mean) <= 5 * error + 1e-12)
    certain = variance < 1e-12
    ratio = seen.var(axis=0, ddof=1)[~certain] / variance[~certain]
    assert np.all(np.abs(ratio - 1.0) < 0.25), ratio
    assert np.ptp(seen[:, certain]) < 1e-12 if certain.any() else True
    assert np.count_nonzero(~certain) > 0


def runs(readout, device, method, n_runs=RUNS, shots=SHOTS, **options):
    """Measured values and gradients by the weights, of devices of other seeds."""
    given = DEVICES[device] if isinstance(device, str) else device
    model = model_with(readout, given)
    device = model.placed.device
    rng = np.random.default_rng()
    first = np.random.default_rng(3).bit_generator.state
    expectations = ModelExpectations(model, shots=shots)
    estimator = estimator_of(expectations, method, rng=rng, **options)
    dy = cotangents_of(model)
    values, gradients = [], []
    for run in range(n_runs):
        device.generator_state = np.random.default_rng([run, 14]).bit_generator.state
        rng.bit_generator.state = first  # the same directions in each run
        outputs = estimator.forward(model.parameters, X, np.arange(2))
        values.append(outputs.reshape(-1).copy())
        gradients.append(estimator.backward(dy)[: len(WEIGHTS)].copy())
    return np.array(values), np.array(gradients)


def cotangents_of(model):
    return np.random.default_rng(8).normal(size=(2, model.output_dim))


def factors_of(readout):
    """Factors of the measured values; of the affine readout by its first weights."""
    model = model_with(readout, DEVICES["ideal"])
    dy, own = cotangents_of(model), model.parameters[len(WEIGHTS) :]
    return model.readout.pull_back(dy, np.zeros_like(dy), own)[0]


def moments_of_outputs(readout, device, shots=SHOTS):
    """Means and variances of the outputs of both samples, and both flat."""
    each = [moments(readout, device, angles_at(WEIGHTS), x) for x in X]
    mean = np.concatenate([mean for mean, _ in each])
    variance = np.concatenate([np.diag(found) for _, found in each])
    return mean, variance / shots


@on_every_device
@every
def test_parameter_shift(readout, device):
    values, gradients = runs(readout, device, "parameter_shift")
    agree(gradients, *combined(readout, device, shift_lanes(), factors_of(readout)))
    if readout != "affine":  # whose outputs have a factor and an offset
        agree(values, *moments_of_outputs(readout, device))


@pytest.mark.parametrize("shots", [1, 700], ids=["one shot", "many shots"])
@on_every_device
@some
def test_other_numbers_of_shots(readout, device, shots):
    """Of few shots each is drawn, of many the counts are binomial numbers."""
    values, gradients = runs(readout, device, "parameter_shift", shots=shots)
    mean, variance = combined(readout, device, shift_lanes(), factors_of(readout))
    agree(gradients, mean, variance * SHOTS / shots)
    agree(values, *moments_of_outputs(readout, device, shots))


@pytest.mark.parametrize(
    ("readout", "device"),
    [("z", "noisy"), ("probabilities", "noisy"), ("hamiltonians", "ideal")],
)
def test_listed_outcomes_have_the_same_moments(readout, device, monkeypatch):
    """As of registers whose outcomes are too many to count, misread shot by shot."""
    monkeypatch.setattr(readings, "MOST_COUNTED", 1)
    values, gradients = runs(readout, device, "parameter_shift", shots=SHOTS)
    agree(gradients, *combined(readout, device, shift_lanes(), factors_of(readout)))
    agree(values, *moments_of_outputs(readout, device))


@on_every_device
@some
def test_finite_differences(readout, device):
    step = 0.4
    _, gradients = runs(readout, device, "finite_diff", epsilon=step)
    units = np.eye(len(WEIGHTS))
    lanes = step_lanes(step * units, units / (2 * step))
    agree(gradients, *combined(readout, device, lanes, factors_of(readout)))


@on_every_device
@some
def test_simultaneous_perturbation(readout, device):
    """The directions are those that the generator draws first, in every run."""
    step, n = 0.4, 2
    _, gradients = runs(readout, device, "spsa", epsilon=step, n_directions=n)
    signs = 2.0 * np.random.default_rng(3).integers(0, 2, (n, len(WEIGHTS))) - 1.0
    # Entries share circuits, which does not matter for the variance of each.
    lanes = step_lanes(step * signs, signs / (2 * step * n))
    agree(gradients, *combined(readout, device, lanes, factors_of(readout)))


@on_every_device
def test_a_random_subset(device):
    _, gradients = runs("z", device, "random_subset", sample_size=2)
    chosen = np.random.default_rng(3).choice(len(WEIGHTS), 2, replace=False)
    mean, variance = combined("z", device, shift_lanes(), factors_of("z"))
    others = np.delete(np.arange(len(WEIGHTS)), chosen)
    assert not gradients[:, others].any()
    agree(gradients[:, chosen], 2 * mean[chosen], 4 * variance[chosen])


def test_the_error_of_a_gradient_falls_by_the_root_of_the_shots():
    few, many = (
        runs("z", "noisy", "parameter_shift", shots=shots)[1] for shots in (10, 1000)
    )
    ratio = few.var(axis=0) / many.var(axis=0)
    moving = many.var(axis=0) > 1e-12
    assert np.all(np.abs(ratio[moving] / 100 - 1) < 0.4)


# --- trajectories ---------------------------------------------------------------


@some
def test_trajectories_of_pauli_noise_have_the_same_mean(readout):
    """Drawn anew in each run: only the means are known."""
    drawn = {"method": "trajectories", "trajectories": 4}
    device = "qstore.mock_noisy", DEVICES["noisy"][1] | drawn
    for method, options, lanes in (
        ("parameter_shift", {}, shift_lanes()),
        ("finite_diff", {"epsilon": 0.4}, None),
    ):
        values, gradients = runs(readout, device, method, SEEDS, **options)
        units = np.eye(len(WEIGHTS))
        lanes = lanes or step_lanes(0.4 * units, units / 0.8)
        mean, least = combined(readout, "noisy", lanes, factors_of(readout))
        error = gradients.std(axis=0, ddof=1) / np.sqrt(len(gradients))
        assert np.all(np.abs(gradients.mean(axis=0) - mean) <= 5 * error + 1e-12)
        assert np.all(gradients.var(axis=0, ddof=1) > 0.6 * least)
        if readout != "affine":
            mean, _ = moments_of_outputs(readout, "noisy")
            error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
            assert np.all(np.abs(values.mean(axis=0) - mean) <= 5 * error + 1e-12)


def test_all_lanes_of_a_row_share_trajectories():
    """So that a difference of two lanes has the variance of its shots alone."""
    noise = {"noise": NoiseSpec(p1=0.3), "method": "trajectories", "trajectories": 1}
    device = "qstore.mock_noisy", noise
    _, shared = runs("z", device, "finite_diff", epsilon=0.01, shots=10**9)
    # Other trajectories in each lane would change values by about 1, and slopes by 50.
    assert np.abs(shared).max() < 10
    assert shared.std(axis=0).max() > 0.1
