"""Light cones: no derivative outside of them, and the sizes that are known.

The oracle of soundness is the circuit itself: outputs outside a cone must not change
when a value does, by a step or by another matrix. Cones that are too large would pass
there, so exact ones are written down as well.
"""

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Channel,
    Drawn,
    Kraus,
    Matrix,
    PauliRotation,
    Permutation,
    Transfer,
    slot_angles,
    slots_of,
    wires_of,
)
from qstore_pl.engine.lightcone import (
    MOST_WIRES,
    _permuted,
    last_rotations,
    light_cones,
)
from tests.engine.test_gates import local_matrix, random_circuit, unitary_values
from tests.engine.test_pauli import (
    NoisyCircuit,
    random_kraus,
    random_noisy_circuit,
    random_observables,
    transfer,
)
from tests.naive import pauli_words

w = slot_angles(WEIGHT, 0, (40,))
x = slot_angles(FEATURE, 0, (4,))


def z(*wires):
    return ((1.0, "Z" * len(wires), wires),)


def turn(word, wires, angle=w[0], controls=()):
    return PauliRotation(word, wires, angle, controls)


def cnot(control, target):
    return Permutation((control, target), (0, 1, 3, 2), (0, 0, 0, 0))


def model(n, n_layers):
    """RY of the features, then RX, RY, RZ on each wire and a chain of CNOTs a layer."""
    weights = slot_angles(WEIGHT, 0, (n_layers, n, 3))
    gates = [turn("Y", (i,), a) for i, a in enumerate(slot_angles(FEATURE, 0, (n,)))]
    for layer in weights:
        for i, angles in enumerate(layer):
            gates += [turn(a, (i,), b) for a, b in zip("XYZ", angles, strict=True)]
        gates += [cnot(i, i + 1) for i in range(n - 1)]
    return gates


# ------------------------------------------------------- soundness
def jacobian(circuit, weights, features):
    """Outputs' central differences by every weight and feature, a row for each slot."""
    program, step = circuit.program(), 1e-4
    rows = {}
    for kind, size in ((WEIGHT, len(weights)), (FEATURE, features.shape[1])):
        for i in range(size):
            ends = []
            for sign in (step, -step):
                w_, x_ = weights.copy(), features.copy()
                if kind == WEIGHT:
                    w_[i] += sign
                else:
                    x_[:, i] += sign
                ends.append(program.run(w_, x_))
            rows[kind, i] = np.abs(ends[0] - ends[1]).max(axis=0) / (2 * step)
    return rows


def entries(gates):
    """Slots of gates whose numbers are not free: entries of matrices and amplitudes."""
    kinds = Matrix | Kraus | Amplitudes
    return set().union(*(slots_of(gate) for gate in gates if isinstance(gate, kinds)))


def other_entries(rng, gate):
    """Other numbers of the same kind: unitary, trace preserving or normalised."""
    k = len(gate.wires)
    if isinstance(gate, Matrix):
        return unitary_values(rng, k)
    if isinstance(gate, Kraus):
        matrices = random_kraus(rng, k, gate.count)
        return np.concatenate([matrices.real.ravel(), matrices.imag.ravel()])
    vector = rng.normal(size=len(slots_of(gate)))
    return vector / np.linalg.norm(vector)


def exchange(gate, new, weights, features):
    """Copies of the values with other entries of a gate."""
    weights, features = weights.copy(), features.copy()
    kind, first = gate.slot
    if kind == WEIGHT:
        weights[first : first + len(new)] = new
    else:
        features[:, first : first + len(new)] = new
    return weights, features


def check_soundness(circuit, rng):
    """Nothing outside of a cone changes an output; how many pairs are outside."""
    cones = light_cones(circuit.gates, circuit.observables)
    fixed = entries(circuit.gates)
    outside = 0
    for _ in range(2):
        weights, features = circuit.weights.copy(), circuit.features.copy()
        free = [s for g in circuit.gates for s in slots_of(g) - fixed]
        for kind, i in set(free):
            if kind == WEIGHT:
                weights[i] = rng.uniform(-2, 2)
            else:
                features[:, i] = rng.uniform(-2, 2, len(features))
        if circuit.gates and isinstance(first := circuit.gates[0], Amplitudes):
            # Those of random circuits are not normalised.
            new = other_entries(rng, first)
            weights, features = exchange(first, new, weights, features)
        slopes = jacobian(circuit, weights, features)
        for slot in slopes.keys() - fixed:
            for output, cone in enumerate(cones):
                if slot not in cone:
                    outside += 1
                    assert slopes[slot][output] < 1e-9, (slot, output)
        program = circuit.program()
        before = program.run(weights, features)
        for gate in circuit.gates:
            if not isinstance(gate, Matrix | Kraus | Amplitudes):
                continue
            new = other_entries(rng, gate)
            other = exchange(gate, new, weights, features)
            change = np.abs(program.run(*other) - before).max(axis=0)
            for output, cone in enumerate(cones):
                if cone.isdisjoint(slots_of(gate)):
                    outside += 1
                    assert change[output] < 1e-12, (gate, output)
                else:
                    assert cone >= slots_of(gate)
    return outside


def words(rng, n, count=4):
    """Single words on one or two wires, so that some gates commute with them."""
    found = []
    for _ in range(count):
        wires = rng.permutation(n)[: rng.integers(1, 3)].tolist()
        word = "".join(rng.choice(list("XYZ"), len(wires)))
        found.append(((1.0, word, tuple(wires)),))
    return tuple(found)


def clifford_like(rng, n, n_gates):
    """Gates that keep letters apart: CNOT, S, H as a quarter turn, words, controls."""
    gates = []
    for i in range(n_gates):
        wires = rng.permutation(n).tolist()
        gates.append(
            [
                cnot(wires[0], wires[1]),
                Permutation((wires[0],), (0, 1), (0, int(rng.integers(8)))),
                turn("Y", (wires[0],), Angle(np.pi / 2 * rng.integers(-3, 4))),
                turn("XYZ"[rng.integers(3)], (wires[0],), w[i]),
                turn("".join(rng.choice(list("XYZ"), 2)), tuple(wires[:2]), w[i]),
                turn("Z", (wires[0],), w[i] * x[0], ((wires[1], int(i % 2)),)),
                Permutation(tuple(wires[:2]), (0, 2, 1, 3), (0, 2, 2, 0)),
                turn("Z", (wires[0],), x[1]),
            ][rng.integers(8)]
        )
    return gates


@pytest.mark.parametrize("n", [2, 3, 4])
def test_nothing_outside_changes_an_output_of_pure_circuits(n):
    outside = 0
    for seed in range(40):
        rng = np.random.default_rng([n, seed])
        circuit = random_circuit(rng, n, n_gates=int(rng.integers(1, 9)), batch=2)
        circuit = replace(circuit, observables=words(rng, n))
        outside += check_soundness(circuit, rng)
    assert outside > 200


@pytest.mark.parametrize("n", [2, 3])
def test_nothing_outside_changes_an_output_of_sums(n):
    outside = 0
    for seed in range(20):
        rng = np.random.default_rng([n, seed, 1])
        circuit = random_circuit(rng, n, n_gates=4, batch=2)
        circuit = replace(circuit, observables=random_observables(rng, n, 3))
        outside += check_soundness(circuit, rng)
    assert outside > 50


@pytest.mark.parametrize("n", [2, 3])
def test_nothing_outside_changes_an_output_of_noisy_circuits(n):
    outside = 0
    for seed in range(30):
        rng = np.random.default_rng([n, seed, 2])
        circuit = random_noisy_circuit(rng, n, int(rng.integers(1, 6)), batch=2)
        circuit = replace(circuit, observables=words(rng, n))
        outside += check_soundness(circuit, rng)
    assert outside > 200


@pytest.mark.parametrize("noisy", [False, True])
def test_nothing_outside_changes_an_output_of_clifford_like_circuits(noisy):
    outside = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, noisy])
        gates = clifford_like(rng, 4, 12)
        if noisy:
            for _ in range(3):
                channel = Channel(
                    (int(rng.integers(4)),),
                    (Angle(1.0), Angle(0.8), 0.7 + 0.1 * w[30]),
                    (0, 1, 1, 2),
                    0.1 * w[31] if rng.random() < 0.5 else Angle(),
                )
                gates.insert(int(rng.integers(len(gates))), channel)
        circuit = NoisyCircuit(
            4, gates, rng.uniform(-2, 2, 40), rng.uniform(-2, 2, (2, 4)), words(rng, 4)
        )
        outside += check_soundness(circuit, rng)
    assert outside > 500


def test_most_of_a_cone_has_a_derivative():
    # Not a law: letters forget how wires are correlated. Of these slots 97 % do.
    inside = moving = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 3])
        gates = [turn("Y", (i,), Angle(0.7 + i)) for i in range(4)]
        gates += [turn("XYZ"[i % 3], (i,), Angle(0.4 + i)) for i in range(4)]
        gates += clifford_like(rng, 4, 12)
        circuit = NoisyCircuit(
            4, gates, rng.uniform(-2, 2, 40), rng.uniform(-2, 2, (2, 4)), words(rng, 4)
        )
        slopes = jacobian(circuit, circuit.weights, circuit.features)
        for output, cone in enumerate(light_cones(gates, circuit.observables)):
            inside += len(cone)
            moving += sum(slopes[slot][output] > 1e-7 for slot in cone)
    assert inside > 200
    assert moving > 0.9 * inside


# ------------------------------------------------------- the known sizes
@pytest.mark.parametrize(
    ("n", "features", "n_weights"), [(10, {0, 1, 2}, 13), (4, {0, 1, 2}, 13)]
)
def test_known_cones_of_models(n, features, n_weights):
    first, second = light_cones(model(n, 2), [z(0), z(1)])
    seen = first | second
    assert {i for kind, i in seen if kind == FEATURE} == features
    assert sum(kind == WEIGHT for kind, _ in seen) == n_weights


SEEN = {
    "a rotation about the letter": ([turn("Z", (0,))], z(0), False),
    "a rotation about another letter": ([turn("X", (0,))], z(0), True),
    "another wire": ([turn("X", (1,))], z(0), False),
    "an even number of anticommuting letters": ([turn("XY", (0, 1))], z(0, 1), False),
    "an odd number": ([turn("XZ", (0, 1))], z(0, 1), True),
    "the control of a CNOT": ([turn("X", (0,)), cnot(0, 1)], z(0), True),
    "the target of a CNOT": ([turn("X", (1,)), cnot(0, 1)], z(0), False),
    "Z through a target": ([turn("X", (0,)), cnot(0, 1)], z(1), True),
    "X through a control": (
        [turn("Z", (1,)), cnot(0, 1)], ((1.0, "X", (0,)),), True,
    ),
    "X through a target": (
        [turn("Z", (0,)), cnot(0, 1)], ((1.0, "X", (1,)),), False,
    ),
    "letters of a sum": (
        [turn("Z", (0,))], ((1.0, "Z", (0,)), (0.5, "X", (0,))), True,
    ),
    "no letters": ([turn("X", (0,))], ((1.0, "", ()), (1.0, "I", (0,))), False),
    "no terms": ([turn("X", (0,))], (), False),
    "after a rotation both letters": (
        [turn("Z", (0,)), turn("X", (0,), Angle(0.3))], z(0), True,
    ),
    "about the same letter once more": (
        [turn("X", (0,), w[1]), turn("Z", (0,)), turn("Z", (0,), Angle(0.3))], z(0),
        False,
    ),
    "a quarter turn": (
        [turn("X", (0,)), turn("Y", (0,), Angle(np.pi / 2))], z(0), False,
    ),
    "a quarter turn of a word": (
        [turn("X", (0,)), turn("YX", (0, 1), Angle(-np.pi / 2))], z(0), False,
    ),
    "a half turn": ([turn("Z", (0,)), turn("X", (0,), Angle(np.pi))], z(0), False),
    "a controlled rotation, its target": (
        [turn("Z", (0,), w[0], ((1, 1),))], z(0), False,
    ),
    "a controlled rotation, its control": (
        [turn("X", (0,), w[0], ((1, 1),))], z(1), False,
    ),
    "a controlled rotation, X of its control": (
        [turn("X", (0,), w[0], ((1, 1),))], ((1.0, "X", (1,)),), True,
    ),
    "a phase": ([turn("", ())], z(0), False),
    "a controlled phase": ([turn("", (), w[0], ((0, 1),))], z(0), False),
    "a controlled phase and X": (
        [turn("", (), w[0], ((0, 1),))], ((1.0, "X", (0,)),), True,
    ),
    "S turns X to Y": (
        [turn("Y", (0,)), Permutation((0,), (0, 1), (0, 2))], ((1.0, "X", (0,)),),
        False,
    ),
    "T makes X and Y": (
        [turn("Y", (0,)), Permutation((0,), (0, 1), (0, 1))], ((1.0, "X", (0,)),), True,
    ),
    "a swap": (
        [turn("X", (0,)), Permutation((0, 1), (0, 2, 1, 3), (0,) * 4)], z(0), False,
    ),
    "a matrix makes all letters": (
        [turn("Z", (1,)), Matrix((0, 1), (WEIGHT, 1))], z(0), True,
    ),
    "a matrix on other wires": (
        [turn("Z", (0,)), Matrix((1,), (WEIGHT, 1))], z(0), False,
    ),
    "the control of a matrix": (
        [turn("Z", (1,)), Matrix((0,), (WEIGHT, 1), controls=((1, 0),))], z(0), True,
    ),
    "a channel keeps letters": (
        [turn("Z", (0,)), Channel((0,), (Angle(1.0), Angle(0.5)), (0, 1, 1, 1))], z(0),
        False,
    ),
    "a shift of Z": (
        [
            turn("Z", (1,)),
            cnot(0, 1),
            Channel((0,), (Angle(1.0),), (0, 0, 0, 0), Angle(0.1)),
        ],
        ((1.0, "ZZ", (0, 1)),),
        False,
    ),
    "a channel by a matrix": (
        [turn("Z", (0,)), transfer((0,), np.diag([1.0, 0.5, 0.5, 0.2]))], z(0), False,
    ),
    "a reset": (
        [turn("X", (0,)), transfer((0,), np.outer([1, 0, 0, 1], [1, 0, 0, 0]))], z(0),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEN)
def test_the_first_rotation_is_seen_or_not(name):
    gates, observable, seen = SEEN[name]
    (cone,) = light_cones(gates, [observable])
    assert ((WEIGHT, 0) in cone) is seen


def test_entries_are_seen_where_anything_but_the_identity_is():
    gates = [
        Amplitudes((0, 1), (FEATURE, 4), complex=True),
        Kraus((2,), (WEIGHT, 8), 2),
        Matrix((1,), (FEATURE, 20)),
        Drawn((0,), (FEATURE, 30)),
        Channel((2,), (Angle(1.0), w[0]), (0, 1, 1, 1), w[1] * x[1]),
    ]
    amplitudes = {(FEATURE, i) for i in range(4, 12)}
    cones = light_cones(gates, [z(0), z(1), z(2), z()])
    assert cones[0] == amplitudes | {(FEATURE, i) for i in range(30, 47)}
    assert cones[1] == amplitudes | {(FEATURE, i) for i in range(20, 28)}
    kraus = {(WEIGHT, i) for i in range(8, 24)}
    assert cones[2] == kraus | {(WEIGHT, 0), (WEIGHT, 1), (FEATURE, 1)}
    assert cones[3] == set()


def test_observables_do_not_mix():
    gates = model(4, 2)
    observables = [z(0), z(3), ((1.0, "XY", (1, 2)),), z(0, 3)]
    together = light_cones(gates, observables)
    assert together == [light_cones(gates, [one])[0] for one in observables]
    assert light_cones(gates, []) == []
    assert light_cones([], [z(0)]) == [set()]


# ------------------------------------------------------- permutations
PERMUTATIONS = {
    "CNOT": cnot(0, 1),
    "iSWAP": Permutation((0, 1), (0, 2, 1, 3), (0, 2, 2, 0)),
    "T": Permutation((0,), (0, 1), (0, 1)),
    "Toffoli": Permutation((0, 1, 2), (0, 1, 2, 3, 4, 5, 7, 6), (0,) * 8),
    "cycle with phases": Permutation((0, 1), (2, 0, 1, 3), (0, 3, 1, 6)),
}


@pytest.mark.parametrize("name", PERMUTATIONS)
def test_words_are_pulled_back_as_by_matrices(name):
    gate = PERMUTATIONS[name]
    k = len(gate.wires)
    unitary, all_words = local_matrix(gate, (), ()), pauli_words(k)
    indices = list(itertools.product(range(4), repeat=k))
    for word, matrix in zip(indices, all_words, strict=True):
        moved = unitary.conj().T @ matrix @ unitary
        shares = np.einsum("pab,ba->p", all_words, moved) / 2**k
        found = [indices[i] for i in np.flatnonzero(np.abs(shares) > 1e-12)]
        expected = [sum({1 << other[i] for other in found}) for i in range(k)]
        assert _permuted(gate.table, gate.phases, word) == tuple(expected)


@pytest.mark.parametrize("k", [3, MOST_WIRES + 1])
def test_what_is_too_large_makes_all_letters(k):
    gate = Permutation(tuple(range(k)), tuple(range(2**k)), (0,) * 2**k)
    everything = [turn("XY"[i % 2], (i,), Angle(0.3)) for i in range(k)]
    gates = [*(turn("Z", (i,), w[i]) for i in range(k)), gate]
    (cone,) = light_cones(gates, [z(*range(k))])  # one word, or too many wires
    assert len(cone) == (0 if k <= MOST_WIRES else k)
    (cone,) = light_cones([*gates, *everything], [z(*range(k))])
    assert len(cone) == k


# ------------------------------------------------------- last rotations
def weights_of(slots):
    assert all(kind == WEIGHT for kind, _ in slots)
    return {i for _, i in slots}


@pytest.mark.parametrize(
    ("gates", "last"),
    [
        pytest.param([], set(), id="nothing"),
        pytest.param([turn("X", (0,)), turn("Z", (0,), w[1])], {0, 1}, id="one wire"),
        pytest.param(
            [turn("X", (0,)), cnot(0, 1), turn("Z", (0,), w[1])], {1},
            id="before a gate on several wires",
        ),
        pytest.param(
            [turn("X", (0,)), turn("Z", (1,), w[1]), cnot(0, 1)], {0, 1},
            id="gates on several wires at the end",
        ),
        pytest.param(
            [turn("X", (0,)), cnot(0, 1), turn("Z", (1,), w[1]), cnot(1, 2)], {0, 1},
            id="a wire that is not turned again",
        ),
        pytest.param(
            [turn("X", (0,)), cnot(0, 1), turn("Z", (0,), w[0])], set(),
            id="a weight that occurs before as well",
        ),
        pytest.param(
            [turn("X", (0,), w[0] * x[0]), turn("X", (1,), x[0])], {0},
            id="weights alone",
        ),
        pytest.param(
            [turn("X", (0,)), turn("ZZ", (0, 1), w[1])], {0, 1},
            id="a word at the end",
        ),
        pytest.param(
            [turn("ZZ", (0, 1)), turn("X", (0,), w[1])], {1},
            id="a word before a rotation",
        ),
        pytest.param(
            [turn("X", (0,)), turn("Y", (0,), w[1], ((1, 1),)), turn("Z", (1,), w[2])],
            {0, 2},
            id="a controlled rotation ends the wires that are turned",
        ),
        pytest.param(
            [Matrix((0,), (WEIGHT, 4)), turn("", (), w[2])], set(), id="no rotations",
        ),
    ],
)  # fmt: skip
def test_last_rotations(gates, last):
    assert weights_of(last_rotations(gates)) == last


@pytest.mark.parametrize(("outcomes", "last"), [((), {2, 4}), ((1,), {1, 2, 3, 4})])
def test_a_wire_that_is_measured_inside_ends_there(outcomes, last):
    """A turn of each wire; the outcome of wire 1 turns wire 0, which then goes on."""
    gates = [
        *[turn("ZZ", (0, 1), w[0]), turn("X", (0,), w[1]), turn("X", (1,), w[2])],
        *[turn("Y", (0,), w[3], ((1, 1),)), turn("Z", (0,), w[4])],
    ]
    assert weights_of(last_rotations(gates, outcomes)) == last


def test_the_last_rotations_of_a_model_are_its_last_layer():
    assert weights_of(last_rotations(model(4, 3))) == set(range(24, 36))


# ------------------------------------------------------- slots and time
@pytest.mark.parametrize("seed", range(5))
def test_slots_are_those_a_channel_or_gate_names(seed):
    rng = np.random.default_rng(seed)
    circuit = random_noisy_circuit(rng, 3, 12)
    for gate in circuit.gates:
        found = slots_of(gate)
        assert all(kind in (WEIGHT, FEATURE) for kind, _ in found)
        assert set(gate.wires) <= set(wires_of(gate))
        if isinstance(gate, Permutation | Transfer):
            assert not found


def test_a_large_model_takes_no_time():
    gates, observables = model(20, 4), [z(i) for i in range(20)]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        light_cones(gates, observables)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05
