"""Outcomes of measurements inside a circuit that are misread, on `qstore.mock_noisy`.

The oracle follows every branch with dense matrices: true outcome, outcome as it is
read, state. What is returned, decides a later gate or is postselected is what was read;
what was reset or projected is what was true.
"""

from __future__ import annotations

import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import NoiseSpec, compile
from tests.naive import pauli_word_matrix

PAIRS = {0: (0.1, 0.25), 1: (0.04, 0.15), 2: (0.3, 0.02)}
SPECS = {
    "every wire": ({0: (0.1, 0.25), 1: (0.1, 0.25), 2: (0.1, 0.25)}, (0.1, 0.25)),
    "by wire": (PAIRS, PAIRS),
    "one wire": ({0: (0.1, 0.25), 1: (0.0, 0.0), 2: (0.0, 0.0)}, {0: (0.1, 0.25)}),
}
N = 3  # wires of every circuit


# -------------------------------------------------------------------- the oracle
def on(matrix, *wires):
    """A matrix on some wires as a matrix on all."""
    return qml.math.expand_matrix(matrix, wires, wire_order=range(N))


def rotation(letter, angle):
    pauli = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}[letter](0).matrix()
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * pauli


class Branches:
    """Unnormalised density matrices by what was read, in the order of measuring.

    Noise follows a gate on its own wires, whatever was read: Pauli errors, dephasing.
    """

    def __init__(self, pairs, p1=0.0, p2=0.0, dephasing=0.0):
        rho = np.zeros((2**N, 2**N), complex)
        rho[0, 0] = 1.0
        self.pairs, self.read = pairs, {(): rho}
        self.p, self.dephasing = {1: p1, 2: p2}, dephasing

    def gate(self, matrix, *wires, when=lambda *read: True):
        u = on(matrix, *wires)
        for read, rho in self.read.items():
            if when(*read):
                self.read[read] = u @ rho @ u.conj().T
        self.errors([*itertools.product("IXYZ", repeat=len(wires))][1:], wires)
        for wire in wires:
            self.errors(["Z"], [wire], self.dephasing)

    def errors(self, words, wires, p=None):
        """One of these Pauli words with the probability p in all."""
        p = self.p[len(wires)] if p is None else p
        matrices = [on(pauli_word_matrix(word), *wires) for word in words]
        for read, rho in self.read.items():
            mixed = sum(matrix @ rho @ matrix for matrix in matrices) / len(words)
            self.read[read] = (1 - p) * rho + p * mixed

    def measure(self, wire, postselect=None, *, reset=False):
        e0, e1 = self.pairs[wire]
        confusion = np.array([[1 - e0, e1], [e0, 1 - e1]])  # row = what is read
        read = {}
        for key, rho in self.read.items():
            for seen in (0, 1) if postselect is None else (postselect,):
                branch = 0.0
                for true in (0, 1):
                    p = on(np.diag([1.0 - true, float(true)]), wire)
                    kept = p @ rho @ p
                    if reset and true:
                        x = on(qml.X(0).matrix(), wire)
                        kept = x @ kept @ x
                    branch = branch + confusion[seen, true] * kept
                read[(*key, seen)] = branch
        self.read = read

    def mean(self, value):
        """Of a function of (what was read, state of trace 1), over all branches."""
        weights = {read: np.trace(rho).real for read, rho in self.read.items()}
        total = sum(
            weights[read] * value(read, rho / max(weights[read], 1e-300))
            for read, rho in self.read.items()
        )
        return total / sum(weights.values())

    def observed(self, letter, wire):
        """Mean of a Pauli letter that is misread at the end."""
        e0, e1 = self.pairs[wire]
        matrix = on({"X": qml.X, "Y": qml.Y, "Z": qml.Z}[letter](0).matrix(), wire)
        mean = self.mean(lambda read, rho: np.trace(matrix @ rho).real)
        return (1 - e0 - e1) * mean + e1 - e0

    def distribution(self, wires):
        """Probabilities of outcomes of wires that are misread at the end."""
        p = self.mean(lambda read, rho: np.diag(rho).real).reshape([2] * N)
        for wire in range(N):
            e0, e1 = self.pairs[wire]
            confusion = np.array([[1 - e0, e1], [e0, 1 - e1]])
            p = np.moveaxis(np.tensordot(confusion, p, [[1], [wire]]), 0, wire)
        rest = tuple(w for w in range(N) if w not in wires)
        return p.sum(axis=rest).transpose(np.argsort(np.argsort(wires))).ravel()


# ------------------------------------------------------------------ the circuits
# Each comes twice: as PennyLane writes it, and for the oracle. It gives outcomes.
def start(w):
    qml.RY(w[0], 0)
    qml.RX(w[1], 1)
    qml.CNOT([0, 1])
    qml.RY(0.4, 2)


def dense_start(w, pairs, **noise):
    branches = Branches(pairs, **noise)
    branches.gate(rotation("Y", w[0]), 0)
    branches.gate(rotation("X", w[1]), 1)
    branches.gate(qml.CNOT([0, 1]).matrix(), 0, 1)
    branches.gate(rotation("Y", 0.4), 2)
    return branches


def decided(w):
    """One outcome turns another wire, which is measured and turns the first."""
    start(w)
    m = qml.measure(0)
    qml.cond(m, qml.RX)(w[2], 1)
    n = qml.measure(1)
    qml.cond(n == 0, qml.RY)(0.7, 0)
    return m, n


def dense_decided(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0)
    b.gate(rotation("X", w[2]), 1, when=lambda m: m == 1)
    b.measure(1)
    b.gate(rotation("Y", 0.7), 0, when=lambda m, n: n == 0)
    return b


def alternatives(w):
    """if and else on two outcomes, and another if."""
    start(w)
    m, n = qml.measure(0), qml.measure(1)

    def both():
        qml.RX(w[2], 2)

    def other():
        qml.RX(-0.4, 2)

    qml.cond(m & n, both, other)()  # PennyLane has elif under qjit only
    qml.cond(m & ~n, qml.RY)(0.9, 2)
    return m, n


def dense_alternatives(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0)
    b.measure(1)
    b.gate(rotation("X", w[2]), 2, when=lambda m, n: m and n)
    b.gate(rotation("X", -0.4), 2, when=lambda m, n: not (m and n))
    b.gate(rotation("Y", 0.9), 2, when=lambda m, n: m and not n)
    return b


def reset_and_reused(w):
    """A wire is measured, reset, turned and measured again."""
    start(w)
    m = qml.measure(0, reset=True)
    qml.RY(w[2], 0)
    n = qml.measure(0)
    qml.cond(m + n == 1, qml.RX)(0.8, 1)
    return m, n


def dense_reset_and_reused(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0, reset=True)
    b.gate(rotation("Y", w[2]), 0)
    b.measure(0)
    b.gate(rotation("X", 0.8), 1, when=lambda m, n: m + n == 1)
    return b


def twice(w):
    """The same wire measured twice in a row: each reading has its own error."""
    start(w)
    m, n = qml.measure(1), qml.measure(1)
    qml.cond(m != n, qml.RY)(w[2], 2)
    return m, n


def dense_twice(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(1)
    b.measure(1)
    b.gate(rotation("Y", w[2]), 2, when=lambda m, n: m != n)
    return b


def postselected(w):
    """Only runs in which wire 0 was read as 1, whatever it was."""
    start(w)
    m = qml.measure(0, postselect=1)
    qml.cond(m, qml.RX)(w[2], 1)
    n = qml.measure(1)
    qml.cond(n == 0, qml.RY)(0.7, 0)
    return m, n


def dense_postselected(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0, postselect=1)
    b.gate(rotation("X", w[2]), 1, when=lambda m: m == 1)
    b.measure(1)
    b.gate(rotation("Y", 0.7), 0, when=lambda m, n: n == 0)
    return b


def postselected_and_reset(w):
    start(w)
    m = qml.measure(0, postselect=0, reset=True)
    qml.RY(w[2], 0)
    n = qml.measure(0, postselect=1)
    return m, n


def dense_postselected_and_reset(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0, postselect=0, reset=True)
    b.gate(rotation("Y", w[2]), 0)
    b.measure(0, postselect=1)
    return b


CIRCUITS = {
    decided: dense_decided,
    alternatives: dense_alternatives,
    reset_and_reused: dense_reset_and_reused,
    twice: dense_twice,
    postselected: dense_postselected,
    postselected_and_reset: dense_postselected_and_reset,
}


def measured(m, n):
    return (
        qml.expval(qml.Z(0)),
        qml.expval(qml.X(2)),
        qml.probs(wires=[2, 1]),
        qml.expval(m),
        qml.var(n),
        qml.probs(op=[m, n]),
        qml.expval(2 * m + n),
        qml.var(m - 3 * n),
        qml.expval(m * n),
    )


def dense_measured(b):
    def of(function):
        return b.mean(lambda read, rho: function(*read))

    def variance(function):
        return of(lambda m, n: function(m, n) ** 2) - of(function) ** 2

    joint = [of(lambda m, n, x=x: float((m, n) == x)) for x in np.ndindex(2, 2)]
    return (
        b.observed("Z", 0),
        b.observed("X", 2),
        b.distribution([2, 1]),
        of(lambda m, n: m),
        variance(lambda m, n: n),
        np.array(joint),
        of(lambda m, n: 2 * m + n),
        variance(lambda m, n: m - 3 * n),
        of(lambda m, n: m * n),
    )


W = np.array([0.8, 1.1, 0.9])


def ours(circuit, readout, returned=measured, **options):
    seed = options.pop("seed", None)
    dev = qml.device("qstore.mock_noisy", noise=NoiseSpec(readout=readout), seed=seed)
    return qml.QNode(lambda w: returned(*circuit(w)), dev, **options)


def flat_dense(circuit, pairs):
    def function(w):
        return np.hstack(dense_measured(CIRCUITS[circuit](w, pairs)))

    return function


def by_name(function):
    return getattr(function, "__name__", None)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("circuit", CIRCUITS, ids=by_name)
def test_misread_outcomes_are_those_of_all_branches(circuit, spec, agree):
    pairs, readout = SPECS[spec]
    actual = ours(circuit, readout)(W)
    agree(actual, dense_measured(CIRCUITS[circuit](W, pairs)), atol=1e-12)


def differences(function, w, step=2e-3):
    columns = []
    for i in range(len(w)):
        e = step * np.eye(len(w))[i]
        near, far = (function(w + k * e) - function(w - k * e) for k in (1, 2))
        columns.append((8 * near - far) / (12 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("circuit", CIRCUITS, ids=by_name)
def test_their_gradients_are_those_of_all_branches(circuit, framework, flat, agree):
    actual = framework.jacobian(flat(ours(circuit, PAIRS)), W)
    expected = differences(flat_dense(circuit, PAIRS), W)
    agree(actual, (expected,), atol=1e-9)


@pytest.mark.parametrize("circuit", [decided, postselected], ids=by_name)
def test_a_batch_is_misread_sample_by_sample(circuit, flat, agree):
    batch = np.stack([W, [0.1, -0.4, 2.0], [3.0, 0.5, -0.7]], axis=-1)
    results = ours(circuit, PAIRS)(batch)
    rows = [dense_measured(CIRCUITS[circuit](w, PAIRS)) for w in batch.T]
    agree(results, tuple(map(np.stack, zip(*rows, strict=True))), atol=1e-12)
    first = ours(circuit, PAIRS, lambda m, n: qml.expval(qml.Z(0)))
    slopes = qml.jacobian(first)(pnp.array(batch))
    dense = flat_dense(circuit, PAIRS)
    for b, w in enumerate(batch.T):
        agree(slopes[b, :, b], differences(dense, w)[0], atol=1e-9)


# ----------------------------------------------------------------------- shots
SHOTS = 20_000


def kept_share(circuit, pairs):
    """The probability that postselection keeps a run."""
    b = CIRCUITS[circuit](W, pairs)
    return sum(np.trace(rho).real for rho in b.read.values())


@pytest.mark.parametrize("method", ["deferred", "one-shot"])
@pytest.mark.parametrize("circuit", CIRCUITS, ids=by_name)
def test_samples_are_within_five_standard_errors_of_all_branches(circuit, method):
    def returned(m, n):
        return (
            qml.expval(qml.Z(0)),
            qml.probs(wires=[2, 1]),
            qml.expval(m),
            qml.probs(op=[m, n]),
            qml.counts([m, n]),
            qml.sample(n),
        )

    qnode = ours(circuit, PAIRS, returned, seed=3, shots=SHOTS, mcm_method=method)
    z, p, m, joint, counts, sample = qnode(W)
    b = CIRCUITS[circuit](W, PAIRS)
    mean_z, _, probabilities, mean_m, _, of_both, *_ = dense_measured(b)
    n_kept = len(sample)
    share = kept_share(circuit, PAIRS)
    assert abs(n_kept - SHOTS * share) <= 5 * np.sqrt(SHOTS * share * (1 - share))

    def near(seen, exact):
        return np.all(np.abs(seen - exact) <= 5 * np.sqrt(exact * (1 - exact) / n_kept))

    assert near((1 + z) / 2, (1 + mean_z) / 2)
    assert near(p, probabilities)
    assert near(m, mean_m)
    assert near(joint, of_both)
    seen = [counts.get(f"{i}{j}", 0) / n_kept for i, j in np.ndindex(2, 2)]
    assert near(np.array(seen), of_both)
    assert near(np.mean(sample), of_both[1] + of_both[3])


# ---------------------------------------------------------- gate noise and outcomes
STRENGTHS = {"p1": 0.06, "p2": 0.2, "dephasing": 0.03}


def pooled(w):
    """Two wires act on the third by their outcomes, one of them through another."""
    start(w)
    m = qml.measure(0)
    qml.cond(m, qml.RX)(w[2], 2)
    qml.CNOT([2, 1])
    n = qml.measure(1)
    qml.cond(n == 0, qml.RY)(0.7, 2)
    return m, n


def dense_pooled(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0)
    b.gate(rotation("X", w[2]), 2, when=lambda m: m == 1)
    b.gate(qml.CNOT([0, 1]).matrix(), 2, 1)
    b.measure(1)
    b.gate(rotation("Y", 0.7), 2, when=lambda m, n: n == 0)
    return b


def used_again(w):
    """A wire is measured and reset, its outcome acts on another, and it goes on."""
    start(w)
    m = qml.measure(0, reset=True)
    qml.RY(w[2], 0)
    qml.cond(m, qml.RX)(0.8, 1)
    n = qml.measure(0)
    qml.cond(n, qml.RX)(-0.5, 2)
    return m, n


def dense_used_again(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0, reset=True)
    b.gate(rotation("Y", w[2]), 0)
    b.gate(rotation("X", 0.8), 1, when=lambda m: m == 1)
    b.measure(0)
    b.gate(rotation("X", -0.5), 2, when=lambda m, n: n == 1)
    return b


def by_both(w):
    """Gates that two outcomes decide on, one of them in two branches."""
    start(w)
    m, n = qml.measure(0), qml.measure(1)
    qml.cond(m & n, qml.RX)(w[2], 2)
    qml.cond(m != n, qml.RY)(0.7, 2)
    qml.cond(m & n, qml.Rot)(0.4, w[1], -0.9, 2)
    return m, n


def dense_by_both(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    b.measure(0)
    b.measure(1)
    b.gate(rotation("X", w[2]), 2, when=lambda m, n: m and n)
    b.gate(rotation("Y", 0.7), 2, when=lambda m, n: m != n)
    turn = rotation("Z", -0.9) @ rotation("Y", w[1]) @ rotation("Z", 0.4)
    b.gate(turn, 2, when=lambda m, n: m and n)
    return b


def on_two_wires(w):
    """Gates on two wires, and a template of two, that an outcome decides on."""
    start(w)
    m = qml.measure(0)
    qml.cond(m, qml.IsingXX)(w[2], [1, 2])
    qml.cond(m == 0, qml.CNOT)([2, 1])
    qml.cond(m, qml.BasicEntanglerLayers)([[0.3, w[1]]], [1, 2])
    n = qml.measure(1)
    return m, n


def dense_on_two_wires(w, pairs, **noise):
    b = dense_start(w, pairs, **noise)
    cnot = qml.CNOT([0, 1]).matrix()
    b.measure(0)
    turn = qml.IsingXX(w[2], [0, 1]).matrix()
    b.gate(turn, 1, 2, when=lambda m: m)
    b.gate(cnot, 2, 1, when=lambda m: not m)
    b.gate(rotation("X", 0.3), 1, when=lambda m: m)
    b.gate(rotation("X", w[1]), 2, when=lambda m: m)
    b.gate(cnot, 1, 2, when=lambda m: m)
    b.measure(1)
    return b


SELECTED = {
    postselected: dense_postselected,
    postselected_and_reset: dense_postselected_and_reset,
}
KEPT = {
    decided: dense_decided,
    pooled: dense_pooled,
    used_again: dense_used_again,
    by_both: dense_by_both,
    on_two_wires: dense_on_two_wires,
}


def of_one_wire(m, n):
    """A wire that is measured inside and not needed afterwards is its own record."""
    return qml.expval(qml.X(2)), qml.expval(m), qml.probs(op=[m, n])


@pytest.mark.parametrize("returned", [measured, of_one_wire], ids=by_name)
@pytest.mark.parametrize("circuit", KEPT | SELECTED, ids=by_name)
def test_gate_noise_comes_before_and_after_an_outcome(circuit, returned, agree):
    # A conditional gate is a gate, whatever was read; copying an outcome is none.
    noise = NoiseSpec(**STRENGTHS, readout=PAIRS)
    qnode = qml.QNode(
        lambda w: returned(*circuit(w)), qml.device("qstore.mock_noisy", noise=noise)
    )
    branches = (KEPT | SELECTED)[circuit](W, PAIRS, **STRENGTHS)
    z, x, p, m, n, both, *rest = dense_measured(branches)
    expected = (x, m, both) if returned is of_one_wire else (z, x, p, m, n, both, *rest)
    agree(qnode(W), expected, atol=1e-12)
    if circuit in SELECTED:
        with pytest.raises(DeviceError, match="Postselection cannot be compiled"):
            compile(qnode)(W)
    else:
        agree(compile(qnode)(W), expected, atol=1e-12)


# ------------------------------------------------------------------ trajectories
def trajectories(seed=5, n=4000):
    return qml.device(
        "qstore.mock_noisy",
        noise=NoiseSpec(readout=PAIRS),
        method="trajectories",
        trajectories=n,
        seed=seed,
    )


@pytest.mark.parametrize("circuit", [postselected, postselected_and_reset], ids=by_name)
def test_trajectories_refuse_postselected_outcomes(circuit):
    qnode = qml.QNode(
        lambda w: (circuit(w), qml.expval(qml.Z(0)))[1], trajectories(n=5)
    )
    with pytest.raises(DeviceError, match="no postselected outcomes"):
        qnode(W)


@pytest.mark.parametrize(
    "circuit", [decided, alternatives, reset_and_reused, twice], ids=by_name
)
def test_trajectories_average_to_all_branches(circuit):
    def returned(w):
        m, n = circuit(w)
        return qml.expval(qml.Z(0)), qml.expval(m), qml.probs(op=[m, n])

    dev = trajectories()
    with qml.Tracker(dev) as tracker:
        results = qml.QNode(returned, dev)(W)
    errors = tracker.history["standard_errors"][0]
    z, _, _, m, _, joint, *_ = dense_measured(CIRCUITS[circuit](W, PAIRS))
    for seen, exact, error in zip(results, (z, m, joint), errors, strict=True):
        assert np.all(np.abs(seen - exact) <= 5 * np.asarray(error) + 1e-12)
        assert np.all(np.asarray(error) < 0.02)
