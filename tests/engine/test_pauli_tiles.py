"""Large mixed states: groups of instructions on tiles give what small kernels give."""

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp

from qstore_pl.engine import pauli_schedule, threads
from qstore_pl.engine import program as program_module
from qstore_pl.engine.gates import FEATURE, WEIGHT, Permutation, slot_angles
from qstore_pl.engine.instructions import BATCHED, BLOCK, PERMUTE
from qstore_pl.engine.pauli_fusion import SHUFFLE, build
from qstore_pl.engine.pauli_schedule import TILE_DIGITS
from tests.engine.test_mixed import model, numbers, strong_damping
from tests.engine.test_pauli import NoisyCircuit, random_noisy_circuit
from tests.engine.test_pauli_fusion import cnot, damping, depolarizing, turn, two_wires
from tests.engine.test_program import agree

w = slot_angles(WEIGHT, 0, (200,))
x = slot_angles(FEATURE, 0, (10,))

CASES = {
    "depolarized": model(7, 1, depolarizing),
    "damped": model(8, 2, lambda wire: damping(wire, 0.95)),
    "damped by a weight": model(7, 1, lambda wire: damping(wire, w[21])),
    "checkpoints": model(8, 1, strong_damping),
}
for seed, n in enumerate((7, 7)):
    drawn = random_noisy_circuit(np.random.default_rng(seed), n, n_gates=30, batch=1)
    CASES[f"random {seed}"] = drawn


@pytest.fixture(autouse=True)
def always_tiled(monkeypatch):
    """Tiles from 7 wires on, also where tables take less time."""
    monkeypatch.setattr(pauli_schedule, "MOST_TABLE_WIRES", 0)


@pytest.fixture
def as_small(monkeypatch):
    """A function that makes programs from now on use the kernels of small states."""

    def use():
        monkeypatch.setattr(pauli_schedule, "TILED", 99)

    return use


@pytest.mark.parametrize("name", CASES)
def test_tiles_give_what_small_kernels_give(name, as_small):
    circuit = CASES[name]
    program = circuit.program()
    assert program.tables.variant.startswith("tiled")
    found = numbers(circuit, program)
    as_small()
    small = circuit.program()
    assert not small.tables.variant.startswith("tiled")
    agree(found, numbers(circuit, small), 1e-12)


def test_values_and_a_gradient_are_those_of_default_mixed():
    def circuit(weights):
        for i in range(7):
            qml.RY(weights[i], i)
            qml.RX(0.3 * i + 0.2, i)
        for i in range(7):
            qml.CNOT((i, (i + 1) % 7))
            qml.AmplitudeDamping(0.1, i)
            qml.DepolarizingChannel(0.05, (i + 1) % 7)
        qml.RX(weights[2], 0)
        qml.IsingXY(0.4, (3, 6))
        return [qml.expval(qml.Z(i) @ qml.X((i + 2) % 7)) for i in range(7)]

    ours = qml.QNode(circuit, qml.device("qstore.mock_noisy", wires=7, noise=None))
    theirs = qml.QNode(circuit, qml.device("default.mixed", wires=7))
    weights = pnp.array(np.random.default_rng(2).uniform(-2, 2, 7), requires_grad=True)
    agree([np.array(ours(weights))], [np.array(theirs(weights))], 1e-10)
    gradient = qml.jacobian(lambda w: pnp.stack(ours(w)))(weights)[:, 5]
    shift = np.zeros(7)
    shift[5] = np.pi / 2
    ends = [np.array(theirs(weights + sign * shift)) for sign in (1, -1)]
    agree([gradient], [(ends[0] - ends[1]) / 2], 1e-10)


@pytest.mark.parametrize(
    "pair", [(6, 7), (5, 6), (5, 7), (0, 7), (0, 6), (0, 1), (3, 7), (4, 6), (5, 1)]
)
def test_permutations_of_every_pair_of_digits(pair, as_small):
    i, j = pair
    rng = np.random.default_rng(3)
    start = [turn(p, q, w[3 * q + "XYZ".index(p)]) for q in range(8) for p in "XYZ"]
    swap = Permutation(pair, (0, 2, 1, 3), (0, 2, 2, 0))  # iSWAP
    middle = [cnot(i, j), depolarizing(i), turn("X", j, x[0]), cnot(j, i), swap]
    observables = [((1.0, "ZX", pair), (0.5, "Y", (i,))), ((1.0, "XZY", (0, 3, 7)),)]
    values = rng.uniform(-2, 2, 24), rng.uniform(-2, 2, (1, 1))
    circuit = NoisyCircuit(8, [*start, cnot(3, 5), *middle], *values, observables)
    found = numbers(circuit)
    as_small()
    agree(found, numbers(circuit), 1e-12)


def test_threads_and_their_number_change_no_bit(monkeypatch):
    circuit = CASES["damped"]
    alone = numbers(circuit)
    monkeypatch.setattr(program_module, "PARALLEL", 0)
    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setenv("QSTORE_NUM_THREADS", "2")
    for one, other in zip(numbers(circuit), alone, strict=True):
        assert np.array_equal(one, other)
    threads._pool.shutdown()


# ------------------------------------------------------- which run together
def layers(n, n_layers, pair):
    gates = []
    for _ in range(n_layers):
        gates += [turn("X", i) for i in range(n)]
        for i in range(n - 1):
            gates += [cnot(i, i + 1), *pair(i, i + 1)]
    return gates


def groups_of(tables):
    """For each group its digits from 2 on, and its instructions."""
    rows = [row for row in tables.code if row[0] in (BLOCK, BATCHED, SHUFFLE)]
    found = sorted({(row[6], row[7], row[5]) for row in rows})
    return [(mask, tables.code[a:b]) for a, b, mask in found]


def noisy(i, j):
    return damping(i, 0.9), damping(j, 0.9)


@pytest.mark.parametrize("n", [7, 9, 11])
def test_a_layer_takes_two_passes_at_most(n):
    tables = build(n, layers(n, 4, noisy))
    groups = groups_of(tables)
    assert len(groups) <= (1 if n == 7 else 2 * 4)
    assert sum(len(code) for _, code in groups) == len(tables.code) - n
    for mask, code in groups:
        assert mask.bit_count() == TILE_DIGITS - 2
        assert mask & 3 == 0
        for row in code:
            digits = [row[1]]
            if row[0] == SHUFFLE:
                digits = tables.wires[row[1] : row[1] + row[2]]
            assert all(digit < 2 or mask >> digit & 1 for digit in digits)


def test_large_states_need_no_tables():
    many = build(11, layers(11, 4, lambda i, j: [two_wires(i, j, 0.9)]))
    assert many.tables.size == many.scales.size == 0
    assert PERMUTE not in many.code[:, 0]
    assert many.ints.nbytes + many.floats.nbytes < 100_000


def test_a_permutation_on_many_wires_takes_the_whole_state(as_small):
    order = tuple(int(i) for i in np.random.default_rng(0).permutation(4))
    start = [turn("Y", i, w[i]) for i in range(9)]
    wide = [cnot(i, 8) for i in range(8)] + [cnot(0, i) for i in range(1, 9)]
    local = Permutation((2, 7), order, (0, 0, 0, 0))
    rng = np.random.default_rng(1)
    observables = [((1.0, "ZZ", (0, 8)),), ((1.0, "X", (4,)),)]
    values = rng.uniform(-2, 2, 9), np.empty((1, 0))
    circuit = NoisyCircuit(9, [*start, *wide, local], *values, observables)
    found = numbers(circuit)
    as_small()
    agree(found, numbers(circuit), 1e-12)


@pytest.mark.parametrize(
    ("n", "noise", "tiled"),
    [
        (6, noisy, False),
        (7, noisy, True),
        (9, noisy, True),
        (7, lambda i, j: (), False),
        (9, lambda i, j: [two_wires(i, j, 0.9)], False),
        (10, lambda i, j: [two_wires(i, j, 0.9)], True),
    ],
)
def test_permutations_that_are_one_keep_their_table(n, noise, tiled, monkeypatch):
    monkeypatch.setattr(pauli_schedule, "MOST_TABLE_WIRES", 9)
    tables = build(n, layers(n, 2, noise))
    assert tables.tiled is tiled
    assert (tables.tables.size > 0) is not tiled
