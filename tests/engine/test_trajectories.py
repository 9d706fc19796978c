"""Trajectories: exact when every draw is listed, unbiased when they are drawn.

Two kinds of oracle. All strings of errors with their weights must give the mixed
state to rounding. Random draws must agree with it within five standard errors, a false
alarm of 6e-7 for each number if the errors are normal, 3e-6 where they are estimated
from 100 repetitions: below 2e-3 for all numbers of this file together. Seeds are fixed.
"""

import copy
import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest

from qstore_pl.engine import program as program_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine import threads
from qstore_pl.engine import trajectories as trajectories_module
from qstore_pl.engine.draws import canonical
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Channel,
    Drawn,
    Kraus,
    PauliRotation,
    slot_angles,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.trajectories import TrajectoryProgram
from qstore_pl.engine.transfer import kraus_matrices, transfer_matrix
from tests.engine.test_gates import dense_gate, dense_observable, entries
from tests.engine.test_pauli import NoisyCircuit, channel_matrix, transfer
from tests.engine.test_pauli_fusion import cnot, damping, depolarizing, reset, turn
from tests.engine.test_program import agree, cotangents
from tests.engine.test_transfer import random_kraus
from tests.every_string import every_string, unknown  # noqa: F401
from tests.naive import apply_kraus, apply_transfer, pauli_word_matrix

w = slot_angles(WEIGHT, 0, (12,))
x = slot_angles(FEATURE, 0, (4,))
OBSERVABLES = (
    ((1.0, "Z", (0,)),),
    ((0.5, "XY", (0, 1)), (-1.5, "Z", (1,))),
    ((1.0, "YX", (2, 1)), (2.0, "", ())),
)
ONTO_ZERO = [np.array([[1, 0], [0, 0]]), np.array([[0, 1], [0, 0]])]
K1 = random_kraus(np.random.default_rng(1), 1, 3)
K2 = random_kraus(np.random.default_rng(2), 2, 3)
N_ANGLES = 10  # weights of rotations; the others are numbers of channels


def pair(wires, p):
    """Depolarizing of two wires, by the probability of an error."""
    return transfer(wires, np.diag([1.0] + 15 * [1.0 - 16.0 * p / 15.0]))


def relaxation(wire, coherence, kept, shift):
    factors = (Angle(1.0), Angle(coherence), Angle(kept))
    return Channel((wire,), factors, (0, 1, 1, 2), Angle(shift))


# name: the channel, and how many choices there are for it
KINDS = {
    "damping": (damping(0, Angle(0.8)), 2),
    "damping by a weight": (damping(0, w[10]), 2),
    "strong damping": (damping(1, Angle(0.1)), 2),
    "full damping": (damping(1, Angle(0.0)), 2),
    "relaxation": (relaxation(0, 0.8, 0.7, 0.1), 4),
    "reset": (reset(1), 2),
    "depolarizing": (depolarizing(0, 3 / 8), 4),
    "depolarizing by a weight": (depolarizing(0, w[11]), 4),
    "depolarizing by a feature": (depolarizing(0, x[3]), 4),
    "uneven Pauli": (
        transfer((0,), np.diag([1.0, 0.5, 0.25, 0.25])), 4,
    ),
    "depolarizing of two": (pair((2, 0), 15 / 32), 16),
    "dephasing of two": (
        transfer((0, 1), np.diag([1.0 - 0.5 * (i not in (0, 3, 12, 15))
                                  for i in range(16)])), 16,
    ),
    "full depolarizing": (depolarizing(0, 0.75), 4),
    "channel": (transfer((0,), transfer_matrix(K1)), 3),
    "channel of two": (transfer((1, 0), transfer_matrix(K2)), 3),
    "projection": (
        transfer((0,), transfer_matrix([np.diag([1, 0]), np.diag([0, 1])])), 4,
    ),
    "reset of one of two": (
        transfer((2, 1), transfer_matrix([np.kron(k, np.eye(2)) for k in ONTO_ZERO])),
        2,
    ),
    "Kraus": (Kraus((1,), (WEIGHT, 12), 3), 3),
    "Kraus of two": (Kraus((0, 2), (WEIGHT, 12 + 2 * K1.size), 3), 3),
}  # fmt: skip


def circuit(*gates, batch=2):
    """Channels between rotations and entangling gates."""
    rng = np.random.default_rng(3)
    before = [turn("Y", 0, x[0]), turn("X", 1, x[1] + 0.3), turn("Y", 2, w[0])]
    before += [cnot(0, 1), turn("Z", 1, w[1]), PauliRotation("ZX", (1, 2), w[2])]
    after = [turn("X", 0, w[5]), cnot(2, 0), turn("Y", 1, w[6]), turn("Z", 0, w[7])]
    after += [PauliRotation("Y", (2,), x[2], ((0, 1),)), turn("X", 2, w[8])]
    between = itertools.chain.from_iterable(
        (turn("Y", 0, 0.4 + w[9]), turn("X", 1, 0.7 * w[3]), cnot(1, 2), gate)
        for gate in gates
    )
    numbers = [part.ravel() for k in (K1, K2) for part in (k.real, k.imag)]
    weights = np.concatenate([rng.uniform(-2, 2, N_ANGLES), [0.7, 0.2], *numbers])
    features = rng.uniform(-2, 2, (batch, 4))
    features[:, 3] = rng.uniform(0.1, 0.6, batch)  # strengths of noise
    gates = [*before, *between, *after]
    return NoisyCircuit(3, gates, weights, features, OBSERVABLES)


def sizes(case):
    return {"n_weights": len(case.weights), "n_features": case.features.shape[1]}


def drawn(case, trajectories, uniform=0):
    """The program of a circuit; ``uniform`` may be a seed."""
    if isinstance(uniform, int):
        uniform = np.random.default_rng(uniform).random
    return TrajectoryProgram(
        case.n, case.gates, case.observables, **sizes(case),
        trajectories=trajectories, uniform=uniform,
    )  # fmt: skip


def frozen(seed):
    """The same numbers at every call."""
    return lambda shape: np.random.default_rng(seed).random(shape)


def listed(case, *counts):
    """The program whose trajectories are all strings, with their exact weights."""
    return drawn(case, int(np.prod(counts)) - 1, unknown)


def results(case, program, rows=None):
    """Outputs, gradients by angles and by the features of angles."""
    rows = np.arange(len(case.features)) if rows is None else rows
    dy = cotangents(case)[: len(rows)]
    out = program.run(case.weights, case.features, rows)
    gw, gx = program.vjp(case.weights, case.features, dy, rows, inputs=True)
    return out, gw[:N_ANGLES], gx[:, :3]


# ------------------------------------------------------- Kraus matrices
@pytest.mark.parametrize(("k", "count"), [(1, 1), (1, 3), (1, 4), (2, 1), (2, 5)])
def test_kraus_matrices_are_as_few_as_can_be_and_make_the_channel(k, count):
    matrix = transfer_matrix(random_kraus(np.random.default_rng([k, count]), k, count))
    found = kraus_matrices(matrix)
    assert found.shape == (count, 2**k, 2**k)
    np.testing.assert_allclose(transfer_matrix(found), matrix, rtol=0, atol=1e-13)
    total = np.einsum("iba,ibc->ac", found.conj(), found)
    np.testing.assert_allclose(total, np.eye(2**k), rtol=0, atol=1e-13)


RANKS = {"damping": 2, "full damping": 2, "reset": 2, "relaxation": 4,
         "depolarizing": 4, "full depolarizing": 4, "depolarizing of two": 16,
         "projection": 2, "reset of one of two": 2}  # fmt: skip


@pytest.mark.parametrize("name", RANKS)
def test_ranks_of_known_channels(name):
    gate, _ = KINDS[name]
    of_channel = isinstance(gate, Channel)
    matrix = channel_matrix(gate, (), ()) if of_channel else np.array(gate.matrix)
    found = kraus_matrices(matrix)
    assert len(found) == RANKS[name]
    np.testing.assert_allclose(transfer_matrix(found), matrix, rtol=0, atol=1e-13)


# ------------------------------------------------------- every draw listed
def operator(draw, columns, k):
    """What a draw applies to the wires of its channel, and the inverse it keeps."""
    (first, *_) = draw.gates
    if isinstance(first, Drawn):
        kept = entries((FEATURE, 0), 4**k, (), columns).reshape(2**k, 2**k)
        inverse = entries((FEATURE, 2 * 4**k), 4**k, (), columns)
        return kept, inverse.reshape(2**k, 2**k)
    wires = sorted({wire for gate in draw.gates for wire in gate.wires})
    local = {wire: i for i, wire in enumerate(wires)}
    total = np.eye(2**k)
    for gate in draw.gates:
        placed = replace(gate, wires=tuple(local[wire] for wire in gate.wires))
        total = apply_left(dense_gate(placed, (), columns), total)
    return total, total.conj().T


def apply_left(gate, matrix):
    one, wires = gate
    k = len(matrix).bit_length() - 1
    (place,) = wires
    return (
        np.kron(np.kron(np.eye(2**place), one), np.eye(2 ** (k - 1 - place))) @ matrix
    )


@pytest.mark.parametrize("name", KINDS)
def test_the_average_over_all_choices_for_a_channel_is_the_channel(name):
    gate, count = KINDS[name]
    k = len(gate.wires)
    gate = replace(gate, wires=tuple(range(k)))
    case = circuit()
    program = drawn(replace(case, gates=[gate], n=k, observables=()), 1)
    ((first, draw),) = program.draws
    found = draw.choices(case.weights, case.features)
    rho = random_kraus(np.random.default_rng(5), k, 1)[0]
    rho = rho @ np.diag(np.arange(1.0, 2**k + 1)) @ rho.conj().T
    if isinstance(gate, Kraus):
        wanted = apply_kraus(rho, K1 if k == 1 else K2, range(k))
    elif isinstance(gate, Channel):
        matrix = channel_matrix(gate, case.weights, case.features[0])
        wanted = apply_transfer(rho, matrix, range(k))
    else:
        wanted = apply_transfer(rho, np.array(gate.matrix), range(k))
    assert len(found.growth) == count
    for choices in filter(None, (found, found.strong)):
        table = choices.table
        if not isinstance(draw.gates[0], Drawn):
            table = np.pad(table, [(0, 0), (first, 0)])
        operators = [operator(draw, row, k) for row in table]
        images = [apply_kraus(rho, [one], range(k)) for one, _ in operators]
        mean = np.tensordot(choices.probabilities[0], images, 1)
        np.testing.assert_allclose(mean, wanted, rtol=0, atol=1e-12)
        for (one, inverse), growth in zip(operators, choices.growth, strict=True):
            condition = np.linalg.cond(one)
            assert (growth == np.inf) == (condition > 1e9)
            if growth < np.inf:
                np.testing.assert_allclose(growth, condition, rtol=1e-9)
                identity = np.eye(2**k)
                np.testing.assert_allclose(inverse @ one, identity, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("k", "count"), [(1, 4), (2, 3)])
def test_no_error_is_the_largest_part_that_one_matrix_can_have(k, count):
    rng = np.random.default_rng([k, count])
    kraus = random_kraus(rng, k, count)
    matrices, squares = canonical(kraus)
    np.testing.assert_allclose(
        transfer_matrix(matrices), transfer_matrix(kraus), rtol=0, atol=1e-13
    )
    overlaps = np.einsum("iab,jab->ij", matrices.conj(), matrices)
    np.testing.assert_allclose(overlaps, np.diag(squares), rtol=0, atol=1e-13)
    # The largest eigenvalue of the Choi matrix bounds the share of any one of them.
    vectors = kraus.reshape(count, -1)
    choi = np.einsum("ia,ib->ab", vectors, vectors.conj())
    np.testing.assert_allclose(squares[0], np.linalg.eigvalsh(choi)[-1], rtol=1e-12)


@pytest.mark.parametrize("word", ["XI", "YZ", "ZY"])
def test_every_word_of_two_wires_is_drawn_with_its_probability(word):
    # Errors of probability 1/8 for one word, 1/8 for XX: chi of the channel.
    words = ["II", word, "XX"]
    kraus = [np.sqrt(p) * pauli_word_matrix(one)
             for p, one in zip((6 / 8, 1 / 8, 1 / 8), words, strict=True)]  # fmt: skip
    case = circuit(transfer((2, 0), transfer_matrix(kraus)))
    mixed = MixedProgram(3, case.gates, OBSERVABLES, **sizes(case))
    agree(results(case, listed(case, 16)), results(case, mixed), 1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_all_draws_of_one_channel_give_the_mixed_state(name):
    gate, count = KINDS[name]
    case = circuit(gate)
    mixed = MixedProgram(3, case.gates, OBSERVABLES, **sizes(case))
    agree(results(case, listed(case, count)), results(case, mixed), 1e-12)


TOGETHER = ("reset", "uneven Pauli", "damping by a weight", "depolarizing of two",
            "Kraus of two", "channel")  # fmt: skip


@pytest.mark.parametrize("rows", [None, [1], [1, 0, 1]])
def test_all_draws_of_several_channels_give_the_mixed_state(rows):
    gates, counts = zip(*map(KINDS.get, TOGETHER), strict=True)
    case = circuit(*gates, batch=3)
    mixed = MixedProgram(3, case.gates, OBSERVABLES, **sizes(case))
    rows = None if rows is None else np.array(rows)
    agree(results(case, listed(case, *counts), rows), results(case, mixed, rows), 1e-12)


def test_initial_amplitudes_are_kept_and_differentiated():
    gates = [Amplitudes((2, 0), (FEATURE, 0)), KINDS["damping"][0], cnot(0, 1)]
    gates += [turn("Y", 1, w[0]), KINDS["Kraus"][0], turn("X", 2, w[1])]
    case = replace(circuit(), gates=gates)
    mixed = MixedProgram(3, gates, OBSERVABLES, **sizes(case))
    agree(results(case, listed(case, 2, 3)), results(case, mixed), 1e-12)


# ------------------------------------------------------- draws at random
REPETITIONS, EACH = 100, 1000


def repeated(case, trajectories, n=REPETITIONS, seed=11):
    """Numbers of ``n`` sets of trajectories."""
    work = drawn(case, trajectories, seed).new_pass(len(case.features))
    rows, dy, found = np.arange(work.batch), cotangents(case), []
    for _ in range(n):
        out = work.forward(case.weights, case.features, rows).copy()
        gw, gx = work.backward(dy, inputs=True)
        parts = out, gw[:N_ANGLES], gx[:, :3]
        found.append(np.concatenate([part.ravel() for part in parts]))
    return np.array(found)


@pytest.mark.parametrize("name", [*KINDS, "together"])
def test_averages_and_gradients_are_within_five_standard_errors(name):
    gates = [KINDS[one][0] for one in (TOGETHER if name == "together" else [name])]
    case = circuit(*gates)
    exact = [
        np.concatenate([part.ravel() for part in results(some, program)])
        for some in (case, circuit(*len(gates) * [turn("Z", 0, Angle(0.0))]))
        for program in [MixedProgram(3, some.gates, OBSERVABLES, **sizes(some))]
    ]
    found = repeated(case, EACH)
    error = found.std(axis=0, ddof=1) / np.sqrt(REPETITIONS)
    # Numbers that no draw changes have rounding for an error.
    assert np.all(np.abs(found.mean(axis=0) - exact[0]) < 5 * error + 1e-12)
    # The power: a bias of this share of the channel's effect would be five errors.
    effect = np.abs(exact[0] - exact[1])
    seen = effect > 1e-3
    assert np.min(5 * error[seen] / effect[seen]) < 0.05


def test_the_standard_errors_reported_are_at_least_those_of_repetitions():
    # 1000 repetitions know a standard error to 2.3 percent, five of them are 12.
    case = circuit(*[KINDS[name][0] for name in TOGETHER])
    rows = np.zeros(1000, np.int64)
    work = drawn(case, 50, 11).new_pass(len(rows))
    found = work.forward(case.weights, case.features, rows, gradient=False)
    spread = found.std(axis=0, ddof=1)
    reported = np.sqrt(np.mean(work.standard_errors**2, axis=0))
    assert np.all((reported > 0.88 * spread) & (reported < 1.3 * spread))


# ------------------------------------------------------- one set of trajectories
def shifted(case, program):
    """The exact gradient of one set's average, from forward runs alone.

    Every angle turns one gate once, so half the difference at two right angles is the
    derivative, whatever matrices are drawn between.
    """
    dy = cotangents(case)

    def total(weights, features):
        return np.sum(dy * program.run(weights, features), axis=1)

    slopes = []
    for step in np.pi / 2 * np.eye(len(case.weights)):
        ends = [total(case.weights + s * step, case.features) for s in (1, -1)]
        slopes.append((ends[0] - ends[1]).sum() / 2)
    columns = []
    for step in np.pi / 2 * np.eye(case.features.shape[1]):
        ends = [total(case.weights, case.features + s * step) for s in (1, -1)]
        columns.append((ends[0] - ends[1]) / 2)
    return np.array(slopes), np.array(columns).T


def layers(channel, n_layers, batch=2):
    """Layers of rotations with a channel after each, all angles used once."""
    angles = slot_angles(WEIGHT, 0, (n_layers, 3))
    gates = [turn("Y", i, x[i]) for i in range(3)]
    for layer in angles:
        for i, angle in enumerate(layer):
            gates += [turn("XYX"[i], i, angle), cnot(i, (i + 1) % 3), channel(i)]
    rng = np.random.default_rng(4)
    weights = rng.uniform(-2, 2, angles.size)
    return NoisyCircuit(3, gates, weights, rng.uniform(-2, 2, (batch, 3)), OBSERVABLES)


def checkpoints(case, program):
    """How many states of each trajectory a run keeps, counted by its bytes."""
    work, rows = program.new_pass(len(case.features)), np.arange(len(case.features))
    kept = []
    for gradient in (False, True):
        work.forward(case.weights, case.features, rows, gradient=gradient)
        kept.append(work.nbytes)
    state = 16 * 2**case.n * len(work.strata.sample)
    count, rest = divmod(kept[1] - kept[0], state)
    assert rest == 0
    return count


DEEP = {  # channel, number of checkpoints in five layers of three
    "weak damping": (lambda i: damping(i, Angle(0.999)), None),  # one at each jump
    "strong damping": (lambda i: damping(i, Angle(np.sqrt(0.5))), 1),  # 2.41**8 > 1000
    "dephasing": (lambda i: transfer((i,), np.diag([1.0, 0.9, 0.9, 1.0])), 0),
    "reset": (reset, 15),
    "full damping": (lambda i: damping(i, Angle(0.0)), 15),
    "depolarizing": (lambda i: depolarizing(i, 0.75), 0),
    "random": (lambda i: transfer((i, (i + 1) % 3), transfer_matrix(K2)), None),
}


@pytest.mark.parametrize("name", DEEP)
def test_the_gradient_is_that_of_the_set_that_was_drawn(name):
    channel, count = DEEP[name]
    case = layers(channel, 5)
    program = drawn(case, 30, frozen(6))
    both = program.vjp(case.weights, case.features, cotangents(case), inputs=True)
    wanted = shifted(case, program)
    scale = np.max(np.abs(wanted[0]))
    assert scale > 1e-2
    agree(both, wanted, 1e-9 * scale)
    if count is None:
        assert checkpoints(case, program) > 0
    else:
        assert checkpoints(case, program) == count


def test_without_checkpoints_strong_damping_would_lose_the_gradient(monkeypatch):
    case = layers(lambda i: damping(i, Angle(0.3)), 10)
    errors = []
    for most in (trajectories_module.MOST_GROWTH, 1e300):
        monkeypatch.setattr(trajectories_module, "MOST_GROWTH", most)
        program = drawn(case, 30, frozen(6))
        gw, _ = program.vjp(case.weights, case.features, cotangents(case))
        wanted, _ = shifted(case, program)
        errors.append(np.max(np.abs(gw - wanted)) / np.max(np.abs(wanted)))
    assert errors[0] < 1e-9
    assert errors[1] > 1e-3


def test_no_state_is_kept_where_growth_stays_below_a_thousand(monkeypatch):
    monkeypatch.setattr(trajectories_module, "FEW", 2.0)  # K0 +- K1 in any case
    # The condition number of K0 +- K1, multiplied until it passes 1000.
    one = np.array([[1.0, np.sqrt(0.5)], [0.0, np.sqrt(0.5)]])
    dampings = int(np.log(1e3) // np.log(np.linalg.cond(one)))
    for more, count in ((0, 0), (1, 1)):
        gates = [turn("Y", 0, w[0]), turn("X", 1, w[1])]
        gates += (dampings + more) * [damping(0, Angle(np.sqrt(0.5))), cnot(0, 1)]
        case = replace(circuit(), gates=gates)
        assert checkpoints(case, drawn(case, 3)) == count


CHUNKS = {"chunks": [(pure_module, "CHUNK", 8 * 7)]}
CHUNKS["not kept"] = [*CHUNKS["chunks"], (program_module, "KEPT_BYTES", 0)]


@pytest.mark.parametrize("channel", ["reset", "strong damping", "depolarizing"])
@pytest.mark.parametrize("patched", CHUNKS)
def test_chunks_change_nothing(channel, patched, monkeypatch):
    case = layers(DEEP[channel][0], 3)
    whole = results(case, drawn(case, 30, frozen(6)))
    for module, name, value in CHUNKS[patched]:
        monkeypatch.setattr(module, name, value)
    agree(results(case, drawn(case, 30, frozen(6))), whole, 1e-10)


@pytest.mark.parametrize("patched", ["whole", *CHUNKS])
def test_bras_stand_for_cotangents(patched, monkeypatch):
    for module, name, value in CHUNKS.get(patched, []):
        monkeypatch.setattr(module, name, value)
    case = layers(DEEP["strong damping"][0], 3)
    dy, work = cotangents(case), drawn(case, 30, frozen(6)).new_pass(2)
    run = case.weights, case.features, np.arange(2)
    work.forward(*run)
    wanted = [part.copy() for part in work.backward(dy, inputs=True)]
    work.forward(*run)
    states = work.states(phase=False)
    assert states.shape == (62, 8)
    totals = [
        sum(c * dense_observable(3, o) for c, o in zip(row, OBSERVABLES, strict=True))
        for row in dy
    ]
    bra = np.concatenate(
        [
            part @ total.T
            for part, total in zip(np.split(states, 2), totals, strict=True)
        ]
    )
    agree(work.backward(np.empty((0, 0)), inputs=True, bra=bra), wanted, 1e-11)


# ------------------------------------------------------- draws and who owns them
def test_one_draw_serves_forward_and_backward_and_the_next_forward_draws_anew():
    case, calls = circuit(KINDS["damping"][0], KINDS["depolarizing"][0]), []
    generator = np.random.default_rng(3)

    def uniform(shape):
        calls.append(shape)
        return generator.random(shape)

    work, rows = drawn(case, 20, uniform).new_pass(2), np.arange(2)
    first = work.forward(case.weights, case.features, rows).copy()
    work.backward(cotangents(case), inputs=True)
    assert calls == [(3, 40)]
    with pytest.raises(RuntimeError, match="needs a forward run"):
        work.backward(cotangents(case))
    second = work.forward(case.weights, case.features, rows)
    assert calls == 2 * [(3, 40)]
    assert np.all(first != second)


def test_samples_of_a_batch_have_draws_of_their_own():
    case = circuit(KINDS["depolarizing"][0])
    case = replace(case, features=case.features[[0, 0]])
    out = drawn(case, 20).run(case.weights, case.features)
    assert np.any(out[0] != out[1])


@pytest.mark.parametrize("count", ["1", "2", "4"])
def test_no_bit_depends_on_the_number_of_threads(count, monkeypatch):
    monkeypatch.setattr(pure_module, "CHUNK", 8 * 16)
    case = layers(DEEP["strong damping"][0], 3)
    serial = results(case, drawn(case, 200, 7))
    monkeypatch.setattr(program_module, "PARALLEL", 0)
    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setenv("QSTORE_NUM_THREADS", count)
    for one, other in zip(results(case, drawn(case, 200, 7)), serial, strict=True):
        assert one.tobytes() == other.tobytes()
    if threads._pool is not None:
        threads._pool.shutdown()


def test_the_seed_fixes_every_number():
    case = circuit(*[KINDS[name][0] for name in TOGETHER])
    first, second, other = (results(case, drawn(case, 20, seed)) for seed in (1, 1, 2))
    agree(first, second, 0.0)
    assert np.all(first[0] != other[0])


def test_one_pass_serves_weights_with_fewer_and_more_checkpoints():
    case = layers(lambda i: damping(i, Angle(0.0) + slot_angles(WEIGHT, 9, (1,))[0]), 3)
    work = drawn(replace(case, weights=np.ones(10)), 20, frozen(2)).new_pass(2)
    for root in (0.99, 0.0, 0.3, 0.99):
        there = replace(case, weights=np.append(case.weights, root))
        run = there.weights, there.features, np.arange(2)
        work.forward(*run)
        gw, _ = work.backward(cotangents(case))
        fresh = drawn(there, 20, frozen(2)).vjp(*run[:2], cotangents(case))
        agree([gw], fresh[:1], 1e-14)


def test_a_channel_other_than_pauli_must_be_the_same_for_all_samples():
    for gate in (damping(0, x[0]), Kraus((0,), (FEATURE, 0), 2)):
        with pytest.raises(ValueError, match="must be the same for all samples"):
            drawn(replace(circuit(), gates=[gate]), 2)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]
)
def test_copies_draw_the_same(duplicate):
    case = circuit(KINDS["damping"][0])
    program = drawn(case, 5, np.random.default_rng(8).random)
    twin = duplicate(program)
    assert (twin.n_features, twin.trajectories) == (4, 5)
    agree(results(case, twin), results(case, program), 0.0)
