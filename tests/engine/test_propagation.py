"""Pauli propagation: every gate and channel as by dense matrices, and known counts.

Values are those of the dense twin of ``tests/naive.py``, or closed forms; gradients are
those of Pauli vectors, which are held equal to differences of the twin elsewhere.
"""

import pickle

import numpy as np
import pytest

from qstore_pl.engine import propagation as propagation_module
from qstore_pl.engine import threads
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Angle,
    Channel,
    Kraus,
    Matrix,
    PauliRotation,
    Permutation,
    Transfer,
    slot_angles,
)
from qstore_pl.engine.propagation import NoStatesError, PropagationProgram
from qstore_pl.engine.propagation_tables import CannotPropagateError
from qstore_pl.engine.propagation_words import (
    PulledBack,
    TooManyWordsError,
    measured_words,
)
from tests.engine.test_gates import dense_observable
from tests.engine.test_pauli import NAMES, NoisyCircuit, alone, random_noisy_circuit
from tests.engine.test_pauli_fusion import cnot, damping, depolarizing, turn
from tests.engine.test_program import agree, gradients
from tests.naive import mixed_expectation

w = slot_angles(WEIGHT, 0, (100,))
x = slot_angles(FEATURE, 0, (4,))
NO_FEATURES = np.empty((1, 0))


def propagated(case, **options):
    return PropagationProgram(
        case.n,
        case.gates,
        case.observables,
        n_weights=len(case.weights),
        n_features=case.features.shape[1],
        **options,
    )


def check(case):
    """Values by dense matrices, gradients by Pauli vectors."""
    program = propagated(case)
    dense = [dense_observable(case.n, terms) for terms in case.observables]
    values = [[mixed_expectation(m, o) for o in dense] for m in case.matrices()]
    agree([program.run(case.weights, case.features)], [np.array(values)], 1e-12)
    agree(gradients(case, program), gradients(case), 1e-11)


# ------------------------------------------------------- every gate
@pytest.mark.parametrize("start", ["rotations", "any state"])
@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_gate_alone(name, start):
    check(alone(name, start))


@pytest.mark.parametrize("n", [2, 3])
def test_random_circuits(n):
    for seed in range(12):
        rng = np.random.default_rng([7, n, seed])
        check(random_noisy_circuit(rng, n, 8, batch=1 + seed % 3))


def test_permutations_of_many_wires():
    wires = (3, 0, 4, 1, 2)
    rng = np.random.default_rng(5)
    matrix = np.triu(rng.integers(0, 2, (5, 5)), 1) + np.eye(5, dtype=int)
    matrix = matrix[rng.permutation(5)]  # invertible over the field of two elements
    bits = np.arange(32)[:, None] >> np.arange(5) & 1
    table = (bits @ matrix.T % 2) @ (1 << np.arange(5)) ^ 0b01101
    before = [turn(a, i, w[3 * i + j]) for i in range(5) for j, a in enumerate("XY")]
    gates = [*before, Permutation(wires, tuple(table.tolist()), 32 * (0,))]
    words = ("YXZ", "ZYY", "XXI", "YYX")
    observables = tuple(((1.0, word, (4, 2, i % 2)),) for i, word in enumerate(words))
    weights = rng.uniform(-2, 2, 20)
    check(NoisyCircuit(5, gates, weights, np.empty((1, 0)), observables))


@pytest.mark.parametrize("quarters", [1, 2, 3, 5, -1])
def test_right_angles_make_one_word_of_one(quarters):
    about = PauliRotation("XYZ", (0, 2, 1), Angle(0.5 * np.pi * quarters))
    gates = [*(turn("Y", i, w[i]) for i in range(3)), turn("X", 1, w[3]), about]
    sums = tuple(((1.0, word, (0, 1, 2)),) for word in ("ZXZ", "YIX", "IZY"))
    case = NoisyCircuit(3, gates, np.array([0.3, 1.1, -0.7, 0.4]), NO_FEATURES, sums)
    check(case)
    x_masks, z_masks, _ = measured_words(sums)
    words = PulledBack(x_masks, z_masks, most=100, of=1)
    before = words.n_cells
    words.turn("XYZ", (0, 2, 1), quarters)
    assert words.n_cells == before


# ------------------------------------------------------- what is counted
def test_a_chain_of_clifford_gates_on_all_wires_is_one_word():
    n = 62
    cnots = [cnot(i, i + 1) for i in range(n - 1)]
    noise = [depolarizing(i, 0.01) for i in range(n)]
    gates = [turn("Y", 0, w[0]), *cnots, *noise]
    ends = (((1.0, "Z", (n - 1,)),), ((1.0, "Z" * n, tuple(range(n))),))
    program = PropagationProgram(n, gates, ends, n_weights=1)
    assert program.n_words == 3  # two that are measured, one before the rotation
    kept = 1 - 4 * 0.01 / 3
    out = program.run(np.array([0.7]), NO_FEATURES)
    # The product of all Z is pulled back to Z on every other wire, from the last on.
    agree([out], [np.array([[kept * np.cos(0.7), kept**n]])], 1e-12)


def test_what_no_output_depends_on_costs_nothing():
    near = [turn("X", 0, w[0]), turn("Y", 1, w[1]), cnot(0, 1)]
    far = [turn("Y", i, w[2 + i]) for i in range(2, 40)]
    far += [cnot(i, i + 1) for i in range(2, 39)]
    sums = (((1.0, "Z", (1,)),),)
    few = PropagationProgram(40, near, sums, n_weights=100)
    many = PropagationProgram(40, [*near, *far], sums, n_weights=100)
    assert few.n_words == many.n_words == 3  # Z, ZZ and what the two rotations read
    weights = np.linspace(-1, 1, 100)
    gradient, _ = many.vjp(weights, NO_FEATURES, np.ones((1, 1)))
    value = np.cos(weights[0]) * np.cos(weights[1])
    agree([many.run(weights, NO_FEATURES)], [np.array([[value]])], 1e-14)
    assert np.flatnonzero(gradient).tolist() == [0, 1]


def test_values_of_deep_noise_keep_their_relative_accuracy():
    gates = [turn("X", 0, w[0])]
    for _ in range(300):
        gates += [depolarizing(0, 0.3), turn("X", 0, w[1])]
    program = PropagationProgram(1, gates, [((1.0, "Z", (0,)),)], n_weights=2)
    weights = np.array([0.4, 0.01])
    angle, kept = 0.4 + 300 * 0.01, 0.6**300
    out = program.run(weights, NO_FEATURES)
    np.testing.assert_allclose(out, kept * np.cos(angle), rtol=1e-11)
    gradient, _ = program.vjp(weights, NO_FEATURES, np.ones((1, 1)))
    slopes = -kept * np.sin(angle) * np.array([1.0, 300.0])
    np.testing.assert_allclose(gradient, slopes, rtol=1e-11)


def test_too_many_words_are_counted_and_refused():
    n = 16
    gates = []
    for layer in range(2):
        for i in range(n):
            gates += [turn(a, i, w[16 * layer + i]) for a in "XYZ"]
        gates += [cnot(i, (i + 1) % n) for i in range(n)]
    sums = [((1.0, "Z", (i,)),) for i in range(n)]
    with pytest.raises(TooManyWordsError, match="more than 20,000 Pauli words") as info:
        PropagationProgram(n, gates, sums, n_weights=100, max_words=20_000)
    assert 0 < info.value.gates < info.value.of
    assert pickle.loads(pickle.dumps(info.value)).most == 20_000


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (Matrix((0, 1), (WEIGHT, 0), controls=((2, 1), (3, 0))), "matrix on 4 wires"),
        (Kraus((0, 1, 2, 3), (WEIGHT, 0), 1), "matrix on 4 wires"),
        (
            Permutation(tuple(range(5)), (*range(30), 31, 30), 32 * (0,)),
            "permutation of the basis states of 5 wires",
        ),
        (Channel(tuple(range(5)), (Angle(1.0),), 1024 * (0,)), "channel on 5 wires"),
    ],
)
def test_gates_on_too_many_wires_are_refused(gate, message):
    with pytest.raises(CannotPropagateError, match=message):
        PropagationProgram(5, [gate], [((1.0, "Z", (0,)),)], n_weights=9000)


def test_registers_have_at_most_62_wires():
    with pytest.raises(CannotPropagateError, match="63 wires: the most are 62"):
        PropagationProgram(63, [], [((1.0, "Z", (0,)),)])


# ------------------------------------------------------- how it runs
@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(11)
    gates = []
    for i in range(4):
        gates += [turn("Y", i, x[i]), turn("X", i, w[i] * x[i])]
        gates += [damping(i, Angle(0.9)), depolarizing(i, w[20])]
    gates += [cnot(0, 1), cnot(2, 3), cnot(1, 2)]
    gates += [PauliRotation("ZZ", (0, 3), w[5] * w[6] + x[1]), turn("Y", 2, w[4])]
    weights = rng.uniform(-1, 1, 21)
    weights[20] = 0.1
    sums = (
        ((0.5, "ZZ", (0, 2)), (1.0, "", ()), (-0.3, "X", (2,))),
        ((1.0, "Y", (3,)),),
        ((2.0, "", ()),),
    )
    return NoisyCircuit(4, gates, weights, rng.uniform(-1, 1, (7, 4)), sums)


def test_a_batch_is_the_same_as_its_samples(case):
    program = propagated(case)
    both = gradients(case, program)
    rows = [
        propagated(case).run(case.weights, case.features[i : i + 1]) for i in range(7)
    ]
    agree([program.run(case.weights, case.features)], [np.concatenate(rows)], 1e-14)
    by_weights, by_features = gradients(case, program, reduce="none")
    assert by_weights.shape == (7, 21)
    agree([by_weights.sum(axis=0), by_features], both, 1e-13)
    nothing = program.run(case.weights, case.features, np.empty(0, np.int64))
    assert nothing.shape == (0, 3)
    chosen = np.array([3, 3, 0])
    out = program.run(case.weights, case.features, chosen)
    agree([out], [np.concatenate(rows)[chosen]], 1e-14)


def test_chunks_threads_and_recomputing_change_no_bit(case, monkeypatch):
    wide = propagated(case)
    features = np.tile(case.features, (40, 1))
    dy = np.random.default_rng(0).normal(size=(len(features), 3))
    rows = np.arange(len(features))

    def results():
        work = wide.new_pass(len(features))
        out = work.forward(case.weights, features, rows).copy()
        gw, gx = work.backward(dy, inputs=True)
        return len(work._spans), work._kept, out, gw.copy(), gx.copy()

    monkeypatch.setattr(propagation_module, "CHUNK", 8 * len(wide.tables.factors))
    chunks, kept, *expected = results()
    assert chunks == 35
    assert kept
    monkeypatch.setattr(propagation_module, "PARALLEL", 1)
    for n in (1, 3):
        monkeypatch.setattr(threads, "count", lambda n=n: n)
        agree(results()[2:], expected, 0.0)
    monkeypatch.setattr("qstore_pl.engine.program.KEPT_BYTES", 0)
    _, kept, *again = results()
    assert not kept
    agree(again, expected, 0.0)


def test_backward_runs_again(case):
    program = propagated(case)
    work, rows = program.new_pass(7), np.arange(7)
    work.forward(case.weights, case.features, rows)
    found = []
    for output in range(3):
        if output:
            work.again()
        dy = np.zeros((7, 3))
        dy[:, output] = 1.0
        found.append(work.backward(dy)[0].copy())
    assert found[2].tolist() == [0.0] * 21  # a constant
    agree(
        [sum(found)],
        [program.vjp(case.weights, case.features, np.ones((7, 3)))[0]],
        1e-13,
    )


def test_a_copy_is_the_same(case):
    program = propagated(case, max_words=5000)
    copy = pickle.loads(pickle.dumps(program))
    assert copy.max_words == copy.untied.max_words == 5000
    arguments = case.weights, case.features
    agree([copy.run(*arguments)], [program.run(*arguments)], 0.0)
    assert copy.nbytes == program.nbytes


def test_there_are_no_states(case):
    program = propagated(case)
    with pytest.raises(NoStatesError, match="no states"):
        program.states(case.weights, case.features)
    work = program.new_pass(7)
    with pytest.raises(NoStatesError, match="no outcomes"):
        work.probabilities((0,))
    with pytest.raises(NoStatesError, match="by a Pass alone"):
        _ = work.plan


def test_a_word_that_is_scaled_before_it_is_read_again():
    """Z of wire 1 is measured and scaled; the shift of wire 0 needs it unscaled."""
    scaled = Transfer((1,), tuple(map(tuple, np.diag([1.0, 0.5, 0.5, 0.25]).tolist())))
    gates = [turn("Y", 0, w[0]), turn("Y", 1, w[1]), cnot(0, 1), damping(0, w[2])]
    gates += [scaled, damping(0, w[3])]
    sums = (((1.0, "ZZ", (0, 1)),), ((1.0, "Z", (1,)),), ((1.0, "Z", (0,)),))
    weights = np.array([0.4, 1.2, 0.8, 0.7])
    check(NoisyCircuit(2, gates, weights, NO_FEATURES, sums))
