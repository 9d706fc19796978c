"""Probabilities of outcomes, against squares and diagonals of dense matrices."""

import itertools

import numpy as np
import pytest

from qstore_pl.engine import mixed as mixed_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine.outcomes import of_amplitudes, of_pauli_vector
from tests.engine.test_gates import random_circuit
from tests.engine.test_mixed import CASES as MIXED
from tests.engine.test_trajectories import KINDS, circuit, drawn, listed
from tests.every_string import every_string  # noqa: F401
from tests.naive import pauli_components

BATCH = 3
SOME = [(), (0,), (3,), (1, 0), (2, 3, 1), (0, 1, 2, 3), (3, 1, 2, 0)]


def read_one_by_one(p, wires):
    """Probabilities of some wires, from those of all, outcome by outcome."""
    n = len(p).bit_length() - 1
    found = np.zeros(1 << len(wires))
    for index, share in enumerate(p):
        bits = [index >> (n - 1 - w) & 1 for w in wires]
        found[int("".join(map(str, bits)) or "0", 2)] += share
    return found


def random_states(n, seed):
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(BATCH, 2**n)) + 1j * rng.normal(size=(BATCH, 2**n))
    return states / np.linalg.norm(states, axis=1, keepdims=True)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_amplitudes(n):
    states = random_states(n, n)
    re, im = (np.ascontiguousarray(part.T) for part in (states.real, states.imag))
    for k in range(n + 1):
        for wires in itertools.permutations(range(n), k):
            out = np.full((2**k, BATCH), np.nan)
            of_amplitudes(re, im, n, wires, out)
            wanted = [read_one_by_one(abs(psi) ** 2, wires) for psi in states]
            np.testing.assert_allclose(out.T, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_pauli_vectors(n):
    rng = np.random.default_rng(n)
    rhos = []
    for _ in range(BATCH):
        root = rng.normal(size=(2**n, 2**n)) + 1j * rng.normal(size=(2**n, 2**n))
        rhos.append(root @ root.conj().T / np.sum(np.abs(root) ** 2))
    vectors = np.array([pauli_components(rho) for rho in rhos]).T
    before = vectors.copy()
    for k in range(n + 1):
        for wires in itertools.permutations(range(n), k):
            found = of_pauli_vector(vectors, n, wires)
            wanted = [read_one_by_one(np.diag(rho).real, wires) for rho in rhos]
            np.testing.assert_allclose(found.T, wanted, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(vectors, before)


# --- after a forward run --------------------------------------------------------


def read(program, case, wires, rows):
    work = program.new_pass(len(rows))
    work.forward(case.weights, case.features, rows, gradient=False)
    return work.probabilities(wires)


@pytest.mark.parametrize("columns", [None, 1, 2])
@pytest.mark.parametrize("wires", SOME)
@pytest.mark.parametrize("seed", range(3))
def test_pure_circuits(seed, wires, columns, monkeypatch):
    case = random_circuit(np.random.default_rng(seed), 4, 12, batch=5)
    if columns:
        monkeypatch.setattr(pure_module, "CHUNK", columns << case.n)
    rows = np.array([4, 0, 2, 2, 1])
    wanted = [read_one_by_one(abs(psi) ** 2, wires) for psi in case.states()[rows]]
    seen = read(case.program(), case, wires, rows)
    assert seen.flags.c_contiguous
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-13)
    one = read(case.program(), case, wires, rows[:1])
    np.testing.assert_allclose(one, wanted[:1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("columns", [None, 1, 2])
@pytest.mark.parametrize("name", MIXED)
def test_mixed_circuits(name, columns, monkeypatch):
    case = MIXED[name]
    if columns:
        monkeypatch.setattr(mixed_module, "CHUNK", columns << 2 * case.n)
        monkeypatch.setattr(mixed_module, "LANES", columns)
    rows = np.arange(len(case.features))[::-1].copy()
    program = case.program()
    work = program.new_pass(len(rows))
    work.forward(case.weights, case.features, rows, gradient=False)
    states = work.states()
    rng = np.random.default_rng(0)
    for k in range(case.n + 1):
        wires = tuple(rng.permutation(case.n)[:k].tolist())
        seen = work.probabilities(wires)
        wanted = [diagonal_of(state, wires) for state in states]
        np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-13)
        # Random Kraus matrices need not keep the trace.
        np.testing.assert_allclose(seen.sum(axis=1), states[:, 0], rtol=0, atol=1e-12)


def diagonal_of(vector, wires):
    """Probabilities by the components of words of Z, outcome by outcome."""
    n = (len(vector).bit_length() - 1) // 2
    found = []
    for bits in itertools.product((0, 1), repeat=len(wires)):
        total = 0.0
        for chosen in itertools.product((0, 1), repeat=len(wires)):
            places = [w for w, c in zip(wires, chosen, strict=True) if c]
            index = sum(3 << 2 * (n - 1 - w) for w in places)
            odd = sum(b * c for b, c in zip(bits, chosen, strict=True)) % 2
            total += (1 - 2 * odd) * vector[index]
        found.append(total / 2 ** len(wires))
    return found


def test_the_mean_of_all_trajectories_is_the_mixed_state():
    channel, count = KINDS["damping"]
    case = circuit(channel)
    rows = np.arange(len(case.features))
    for wires in ((), (1,), (2, 0), (0, 1, 2)):
        every = read(listed(case, count), case, wires, rows)
        wanted = read(case.program(), case, wires, rows)
        np.testing.assert_allclose(every, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["damping", "depolarizing", "channel of two"])
def test_the_mean_of_many_trajectories_is_the_mixed_state(name):
    """Of 200 sets of 50, within 5 standard errors: false alarms 6e-7 each."""
    case = circuit(KINDS[name][0], KINDS["damping"][0])
    rows, program = np.arange(len(case.features)), drawn(case, 50, 7)
    work = program.new_pass(len(rows))
    sets = []
    for _ in range(200):
        work.forward(case.weights, case.features, rows, gradient=False)
        sets.append(work.probabilities((2, 0, 1)))
    error = np.std(sets, axis=0, ddof=1) / np.sqrt(len(sets))
    wanted = read(case.program(), case, (2, 0, 1), rows)
    assert np.all(np.abs(np.mean(sets, axis=0) - wanted) <= 5 * error + 1e-12)
    assert error.max() < 0.01


def test_probabilities_need_a_forward_run():
    case = MIXED[next(iter(MIXED))]
    with pytest.raises(RuntimeError, match="needs a forward run"):
        case.program().new_pass(2).probabilities((0,))
