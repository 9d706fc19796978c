"""Pooling is a sum over projectors, written here on dense density matrices.

With readout error an outcome r is read where m is true, with the probability C[r, m]:

    rho' = Tr_m sum over r, m of C[r, m] V^r P_m rho P_m V^r^dagger
"""

import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl import NoiseSpec, compile
from qstore_pl.templates import pool
from qstore_pl.templates.pooling import pooling_shape
from tests.naive import PAULI, derivatives, on_all_wires, pauli_word_matrix

RNG = np.random.default_rng(23)
PAIRS = {0: (0.1, 0.2), 1: (0.05, 0.3), 2: (0.15, 0.02), 3: (0.2, 0.1), 4: (0.0, 0.25)}


# -------------------------------------------------------------------- the oracle
def turn(letter, angle):
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULI[letter]


def rot(angles):
    return turn("Z", angles[2]) @ turn("Y", angles[1]) @ turn("Z", angles[0])


def gate_of_two(weights, wires):
    qml.RX(weights[..., 0], wires)
    qml.RY(weights[..., 1], wires)


# What the user gives: gate, shape of its weights; for the oracle its gates in order.
GATES = {
    "rot": ({}, (3,), lambda w: [rot(w)]),
    "rx": ({"gate": qml.RX, "gate_shape": ()}, (), lambda w: [turn("X", w)]),
    "of two": (
        {"gate": gate_of_two, "gate_shape": (2,)},
        (2,),
        lambda w: [turn("X", w[0]), turn("Y", w[1])],
    ),
}


def errors(rho, p, dephasing, wires):
    """Pauli errors of a gate on wires, each word equally likely; then dephasing."""
    n = len(rho).bit_length() - 1
    words = [*itertools.product("IXYZ", repeat=len(wires))][1:]
    paulis = [on_all_wires(pauli_word_matrix(word), wires, n) for word in words]
    rho = (1 - p) * rho + p / len(words) * sum(q @ rho @ q for q in paulis)
    for wire in wires:
        z = on_all_wires(PAULI["Z"], [wire], n)
        rho = (1 - dephasing) * rho + dephasing * (z @ rho @ z)
    return rho


def dense_pool(rho, weights, wires, pool_size, gates, pairs=None, p1=0.0, dephasing=0):
    """The state after pooling, on all wires; those that were measured are mixed."""
    n = len(rho).bit_length() - 1
    for start in range(0, len(wires), pool_size):
        kept, *others = wires[start : start + pool_size]
        for w, other in zip(weights, others, strict=False):
            e0, e1 = (0.0, 0.0) if pairs is None else pairs[other]
            confusion = np.array([[1 - e0, e1], [e0, 1 - e1]])  # row = what is read
            branches = [0.0, 0.0]
            for r, m in np.ndindex(2, 2):
                p = on_all_wires(np.diag([1.0 - m, float(m)]), [other], n)
                branches[r] = branches[r] + confusion[r, m] * (p @ rho @ p)
            for gate in gates(w):
                v = on_all_wires(gate, [kept], n)
                branches[1] = v @ branches[1] @ v.conj().T
                branches = [errors(b, p1, dephasing, [kept]) for b in branches]
            rho = branches[0] + branches[1]
    return rho


def read(rho, wires, pairs=None):
    """<Z> of some wires, and <X Y> of the first two, misread by the pairs."""
    n = len(rho).bit_length() - 1

    def mean(word, on):
        if not word:
            return np.trace(rho).real
        return np.trace(on_all_wires(pauli_word_matrix(word), on, n) @ rho).real

    def misread(word, on):
        total = 0.0
        for kept in np.ndindex(*[2] * len(on)):
            scale, letters, places = 1.0, "", []
            for keep, letter, wire in zip(kept, word, on, strict=True):
                e0, e1 = (0.0, 0.0) if pairs is None else pairs[wire]
                scale *= 1 - e0 - e1 if keep else e1 - e0
                letters += letter if keep else ""
                places += [wire] if keep else []
            total += scale * mean(letters, places)
        return total

    two = [misread("XY", wires[:2])] if len(wires) > 1 else []
    return np.array([misread("Z", [wire]) for wire in wires] + two)


# ------------------------------------------------------------------- the circuits
def start(x, n):
    """A state in which all wires are entangled."""
    for wire in range(n):
        qml.RY(x[wire], wire)
    for wire in range(n - 1):
        qml.CNOT([wire, wire + 1])
    for wire in range(n):
        qml.RX(0.3 + 0.2 * wire, wire)


def dense_start(x, n, p1=0.0, p2=0.0, dephasing=0.0):
    rho = np.zeros((2**n, 2**n), complex)
    rho[0, 0] = 1.0
    cnot = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    gates = [(turn("Y", x[wire]), [wire]) for wire in range(n)]
    gates += [(cnot, [wire, wire + 1]) for wire in range(n - 1)]
    gates += [(turn("X", 0.3 + 0.2 * wire), [wire]) for wire in range(n)]
    for matrix, wires in gates:
        u = on_all_wires(matrix, wires, n)
        p = p1 if len(wires) == 1 else p2
        rho = errors(u @ rho @ u.conj().T, p, dephasing, wires)
    return rho


def circuit_of(n, pool_size, options, wires=None):
    def circuit(x, weights):
        start(x, n)
        kept = pool(weights, wires or range(n), pool_size, **options)
        found = [qml.expval(qml.Z(wire)) for wire in kept]
        if len(kept) > 1:
            found.append(qml.expval(qml.X(kept[0]) @ qml.Y(kept[1])))
        return found

    return circuit


SIZES = [(2, 2), (3, 2), (4, 2), (5, 2), (3, 3), (4, 3), (5, 3), (3, 4)]
DEVICES = ["qstore.mock_ideal", "default.qubit", "lightning.qubit"]
CASES = [
    *[(*size, "rot") for size in SIZES],
    (3, 2, "rx"),
    (5, 3, "rx"),
    (4, 3, "of two"),
]
each = pytest.mark.parametrize(("n", "pool_size", "gate"), CASES)


def case(n, pool_size, gate):
    options, shape, matrices = GATES[gate]
    x = RNG.uniform(-2, 2, n)
    weights = RNG.uniform(-3, 3, (pool_size - 1, *shape))
    return x, weights, options, matrices


def close(seen, expected, atol=1e-12):
    np.testing.assert_allclose(np.stack(seen), expected, rtol=0, atol=atol)


@each
def test_it_is_the_sum_over_projectors(n, pool_size, gate):
    x, weights, options, matrices = case(n, pool_size, gate)
    wires = list(range(n))
    rho = dense_pool(dense_start(x, n), weights, wires, pool_size, matrices)
    expected = read(rho, wires[::pool_size])
    for name in DEVICES:
        # Lightning needs room for outcomes.
        device = qml.device(name, wires=2 * n if name == "lightning.qubit" else n)
        close(
            qml.QNode(circuit_of(n, pool_size, options), device)(x, weights), expected
        )
    own = qml.device("qstore.mock_ideal", wires=n)
    compiled = compile(qml.QNode(circuit_of(n, pool_size, options), own))
    close(compiled(x, weights), expected)


STRENGTHS = {"p1": 0.05, "p2": 0.12, "dephasing": 0.03}


@pytest.mark.parametrize("strengths", [{}, STRENGTHS], ids=["readout", "gates too"])
@each
def test_an_outcome_that_is_misread_decides_wrongly(n, pool_size, gate, strengths):
    x, weights, options, matrices = case(n, pool_size, gate)
    wires = list(range(n))
    after = {key: v for key, v in strengths.items() if key != "p2"}
    rho = dense_start(x, n, **strengths)
    rho = dense_pool(rho, weights, wires, pool_size, matrices, PAIRS, **after)
    expected = read(rho, wires[::pool_size], PAIRS)
    device = qml.device(
        "qstore.mock_noisy", wires=n, noise=NoiseSpec(readout=PAIRS, **strengths)
    )
    qnode = qml.QNode(circuit_of(n, pool_size, options), device)
    close(qnode(x, weights), expected)
    close(compile(qnode)(x, weights), expected)


@pytest.mark.parametrize("strengths", [{}, STRENGTHS], ids=["readout", "gates too"])
def test_gradients_are_those_of_the_sum(strengths):
    n, pool_size = 3, 3
    x, weights, options, matrices = case(n, pool_size, "rot")
    after = {key: v for key, v in strengths.items() if key != "p2"}

    def dense(values):
        rho = dense_start(values[:n], n, **strengths)
        turned = values[n:].reshape(weights.shape)
        rho = dense_pool(rho, turned, [0, 1, 2], pool_size, matrices, PAIRS, **after)
        return read(rho, [0], PAIRS)

    expected = derivatives(dense, np.append(x, weights))[:, 0]
    noise = NoiseSpec(readout=PAIRS, **strengths)
    device = qml.device("qstore.mock_noisy", wires=n, noise=noise)
    qnode = qml.QNode(circuit_of(n, pool_size, options), device)
    for function in (qnode, compile(qnode)):
        by_x, by_w = qml.grad(lambda x, w, f=function: f(x, w)[0])(
            pnp.array(x), pnp.array(weights)
        )
        close(np.append(by_x, by_w), expected, 1e-10)


@pytest.mark.parametrize("strengths", [{}, STRENGTHS], ids=["readout", "gates too"])
def test_trajectories_average_to_the_sum(strengths):
    n, pool_size = 4, 2
    x, weights, options, matrices = case(n, pool_size, "rot")
    after = {key: v for key, v in strengths.items() if key != "p2"}
    rho = dense_start(x, n, **strengths)
    rho = dense_pool(rho, weights, [0, 1, 2, 3], pool_size, matrices, PAIRS, **after)
    device = qml.device(
        "qstore.mock_noisy",
        wires=n,
        noise=NoiseSpec(readout=PAIRS, **strengths),
        method="trajectories",
        trajectories=4000,
        seed=3,
    )
    with qml.Tracker(device) as tracker:
        seen = qml.QNode(circuit_of(n, pool_size, options), device)(x, weights)
    deviation = np.abs(np.stack(seen) - read(rho, [0, 2], PAIRS))
    allowed = np.stack(tracker.history["standard_errors"][0])
    assert (deviation <= 5 * allowed + 1e-12).all()
    assert (allowed < 0.03).all()


@pytest.mark.parametrize("method", ["deferred", "one-shot"])
def test_shots_are_within_five_standard_errors(method):
    n, shots = 3, 4000
    x, weights, options, matrices = case(n, 2, "rot")
    rho = dense_pool(dense_start(x, n), weights, [0, 1, 2], 2, matrices, PAIRS)
    exact = read(rho, [0, 2], PAIRS)
    noise = NoiseSpec(readout=PAIRS)
    device = qml.device("qstore.mock_noisy", wires=n, noise=noise, seed=5)
    qnode = qml.QNode(circuit_of(n, 2, options), device, shots=shots, mcm_method=method)
    error = np.sqrt((1 - exact**2) / shots)
    assert (np.abs(np.stack(qnode(x, weights)) - exact) <= 5 * error).all()


# ------------------------------------------------------------ batches and frameworks
def test_a_batch_is_its_samples():
    n = 4
    xs = RNG.uniform(-2, 2, (3, n))
    weights = RNG.uniform(-3, 3, (3, 1, 3))
    circuit = circuit_of(n, 2, {})
    device = qml.device("qstore.mock_ideal", wires=n)

    def batched(x, w):
        return circuit(np.moveaxis(x, -1, 0), w)

    singles = [
        qml.QNode(circuit, device)(x, w) for x, w in zip(xs, weights, strict=True)
    ]
    for function in (qml.QNode(batched, device), compile(qml.QNode(batched, device))):
        close(function(xs, weights), np.stack(singles, axis=1))
        close(
            function(xs, weights[0]),
            np.stack([qml.QNode(circuit, device)(x, weights[0]) for x in xs], axis=1),
        )


def test_it_is_drawn_with_its_measurements():
    device = qml.device("qstore.mock_ideal", wires=3)
    qnode = qml.QNode(circuit_of(3, 3, {}), device)
    drawn = qml.draw(qnode, show_matrices=False)(np.zeros(3), np.zeros((2, 3)))
    assert drawn.count("┤↗├") == 2
    assert drawn.count("Rot(") == 2
    assert drawn.count("<Z>") == 1


def test_wires_may_have_any_name():
    names = ["a", 7, "c"]
    x, weights, _, _ = case(3, 2, "rot")

    @qml.qnode(qml.device("qstore.mock_ideal"))
    def named(x, weights):
        for wire, angle in zip(names, x, strict=True):
            qml.RY(angle, wire)
        kept = pool(weights, names)
        assert kept == ["a", "c"]
        return [qml.expval(qml.Z(wire)) for wire in kept]

    rho = np.eye(1)
    for angle in x:
        column = turn("Y", angle)[:, :1]
        rho = np.kron(rho, column @ column.conj().T)
    rho = dense_pool(rho, weights, [0, 1, 2], 2, lambda w: [rot(w)])
    close(named(x, weights), read(rho, [0, 2])[:2])


# ----------------------------------------------------------------------- refusals
def test_shape_of_the_weights():
    assert pooling_shape(2, (3,)) == (1, 3)
    assert pooling_shape(4, (2, 5)) == (3, 2, 5)
    assert pooling_shape(3, ()) == (2,)


WRONG = {
    "other weights": (
        lambda: pool(np.zeros((2, 3)), range(4)),
        ValueError,
        r"must have shape \(1, 3\) or \(batch, 1, 3\), but has shape \(2, 3\)",
    ),
    "no wires": (lambda: pool(np.zeros((1, 3)), []), ValueError, "at least one wire"),
    "a pool of one": (
        lambda: pool(np.zeros((0, 3)), range(2), 1),
        ValueError,
        "`pool_size` must be >= 2, but is 1",
    ),
    "half a wire": (
        lambda: pool(np.zeros((1, 3)), range(2), 2.5),
        TypeError,
        r"`pool_size` must be an integer, but is 2\.5",
    ),
    "a broken shape": (
        lambda: pool(np.zeros((1, 3)), range(2), gate_shape=(0,)),
        ValueError,
        "`gate_shape` must be >= 1, but is 0",
    ),
    "a shape of half": (
        lambda: pool(np.zeros((1, 3)), range(2), gate_shape=(1.5,)),
        TypeError,
        r"`gate_shape` must be an integer, but is 1\.5",
    ),
}


@pytest.mark.parametrize(("make", "error", "words"), WRONG.values(), ids=WRONG)
def test_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
