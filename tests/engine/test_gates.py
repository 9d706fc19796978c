"""Gates and angles against dense matrices.

What a gate means is written down here once, in numpy and without fusion; the other
tests of the engine import it.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.linalg import expm

from qstore_pl.engine.gates import (
    CONSTANT,
    FEATURE,
    ONE,
    WEIGHT,
    Amplitudes,
    Angle,
    Matrix,
    PauliRotation,
    Permutation,
    slot_angles,
)
from qstore_pl.engine.pure import PureProgram
from tests.naive import controlled, dense_state, on_all_wires, pauli_word_matrix

NO_FEATURES = np.empty(0)


# ------------------------------------------------------- what a gate means
def slot_value(slot, w, x):
    """A weight, a feature or 1."""
    kind, index = slot
    return 1.0 if kind == CONSTANT else {WEIGHT: w, FEATURE: x}[kind][index]


def angle_value(angle, w, x):
    """c_0 + sum_t c_t a_t b_t for one sample ``x``."""
    return angle.constant + sum(
        c * slot_value(a, w, x) * slot_value(b, w, x) for c, a, b in angle.terms
    )


def word_matrix(word):
    return pauli_word_matrix(word) if word else np.eye(1)


def entries(slot, n, w, x):
    """``n`` real parts and as many imaginary parts from ``slot`` on."""
    kind, first = slot
    values = {WEIGHT: w, FEATURE: x}[kind][first : first + 2 * n]
    return values[:n] + 1j * values[n:]


def local_matrix(gate, w, x):
    """The gate on its own wires, controls aside."""
    if isinstance(gate, PauliRotation):
        return expm(-0.5j * angle_value(gate.angle, w, x) * word_matrix(gate.word))
    if isinstance(gate, Permutation):
        turns = np.exp(0.25j * np.pi * np.array(gate.phases))
        return turns[:, None] * np.eye(len(gate.table))[list(gate.table)]
    side = 2 ** len(gate.wires)
    matrix = entries(gate.slot, side**2, w, x).reshape(side, side)
    return matrix.conj().T if gate.inverse else matrix


def dense_gate(gate, w, x):
    """Matrix and wires, the controls in front."""
    matrix, wires = local_matrix(gate, w, x), list(gate.wires)
    controls = () if isinstance(gate, Permutation) else gate.controls
    if controls:
        places, values = zip(*controls, strict=True)
        matrix, wires = controlled(matrix, len(values), values), [*places, *wires]
    return matrix, wires


def initial_state(n, gates, w, x):
    """The state before the gates, and the gates without the amplitudes."""
    if not gates or not isinstance(gates[0], Amplitudes):
        return np.eye(2**n, dtype=complex)[0], gates
    first, *gates = gates
    side = 2 ** len(first.wires)
    if first.complex:
        vector = entries(first.slot, side, w, x)
    else:
        kind, slot = first.slot
        vector = {WEIGHT: w, FEATURE: x}[kind][slot : slot + side]
    # A matrix whose first column is the vector takes |0...0> there.
    column = np.zeros((side, side), dtype=complex)
    column[:, 0] = vector
    return on_all_wires(column, first.wires, n)[:, 0], gates


def dense_final_state(n, gates, w, x):
    initial, gates = initial_state(n, gates, w, x)
    return dense_state([dense_gate(gate, w, x) for gate in gates], n, initial)


def dense_observable(n, pauli_sum):
    total = np.zeros((2**n, 2**n), dtype=complex)
    for coefficient, word, wires in pauli_sum:
        total += coefficient * on_all_wires(word_matrix(word), wires, n)
    return total


# ------------------------------------------------------- drawing circuits
N_WEIGHTS, N_FEATURES = 4, 3  # values of angles; those of matrices come after them


@dataclass
class Circuit:
    """Gates with the values to run them at; ``features`` is (batch, n_features)."""

    n: int
    gates: list
    weights: np.ndarray
    features: np.ndarray
    observables: tuple = ()

    def program(self):
        return PureProgram(
            self.n,
            self.gates,
            self.observables,
            n_weights=len(self.weights),
            n_features=self.features.shape[1],
        )

    def states(self):
        """The dense twin's states, shape ``(batch, 2**n)``."""
        return np.array(
            [
                dense_final_state(self.n, self.gates, self.weights, x)
                for x in self.features
            ]
        )


def unitary_values(rng, k):
    """A random unitary on ``k`` wires as 2 * 4**k numbers."""
    normal = rng.normal(size=(2, 2**k, 2**k))
    q, _ = np.linalg.qr(normal[0] + 1j * normal[1])
    return np.concatenate([q.real.ravel(), q.imag.ravel()])


def random_angle(rng):
    w, v = slot_angles(WEIGHT, 0, (N_WEIGHTS,))[rng.integers(0, N_WEIGHTS, 2)]
    x, y = slot_angles(FEATURE, 0, (N_FEATURES,))[rng.integers(0, N_FEATURES, 2)]
    forms = (
        Angle(1.3),
        w,
        -x,
        w * x + v,
        (np.pi - x) * (np.pi - y),
        w * v - 0.4,
        x + w,
    )
    return forms[rng.integers(len(forms))]


def random_permutation(rng, wires):
    size = 2 ** len(wires)
    table = tuple(rng.permutation(size).tolist())
    return Permutation(tuple(wires), table, tuple(rng.integers(0, 8, size).tolist()))


def random_word(rng, wires):
    return "".join(rng.choice(list("XYZ"), len(wires)))


def random_circuit(rng, n, n_gates, batch=2):
    """Gates of all four kinds, most of them one-qubit rotations and permutations."""
    weights = list(rng.uniform(-2, 2, N_WEIGHTS))
    features = list(rng.uniform(-2, 2, (N_FEATURES, batch)))  # (n_features, batch)

    def new_slot(draw):
        """Numbers of ``draw`` as shared values or as values of each sample."""
        if rng.random() < 0.5:
            weights.extend(drawn := draw())
            return WEIGHT, len(weights) - len(drawn)
        columns = np.array([draw() for _ in range(batch)]).T
        features.extend(columns)
        return FEATURE, len(features) - len(columns)

    def gate():
        wires = rng.permutation(n).tolist()
        k = int(rng.integers(1, min(n, 3) + 1))
        kind = rng.choice(
            ["rotation", "word", "permutation", "matrix"], p=[0.4, 0.2, 0.3, 0.1]
        )
        if kind == "rotation":
            return PauliRotation(
                random_word(rng, wires[:1]), (wires[0],), random_angle(rng)
            )
        if kind == "permutation":
            drawn = random_permutation(rng, wires[:k])
        elif kind == "word":
            k = int(rng.integers(0, k + 1))
            word = random_word(rng, wires[:k])
            drawn = PauliRotation(word, tuple(wires[:k]), random_angle(rng))
        else:
            slot = new_slot(lambda: unitary_values(rng, k))
            drawn = Matrix(tuple(wires[:k]), slot, inverse=bool(rng.random() < 0.5))
        controls = [
            (w, int(rng.integers(2))) for w in wires[k : k + rng.integers(0, 3)]
        ]
        return drawn.controlled(controls) if controls else drawn

    gates = []
    if rng.random() < 0.5:
        wires = tuple(rng.permutation(n)[: rng.integers(1, n + 1)].tolist())
        complex_ = bool(rng.random() < 0.5)
        size = 2 ** (len(wires) + complex_)
        slot = new_slot(lambda: rng.normal(size=size) / np.sqrt(size))
        gates.append(Amplitudes(wires, slot, complex_))
    gates += [gate() for _ in range(n_gates)]
    return Circuit(
        n, gates, np.array(weights), np.ascontiguousarray(np.array(features).T)
    )


# ------------------------------------------------------- angles
W, X = np.array([0.7, -1.3]), np.array([[0.2, 2.0], [-0.4, 0.9], [1.1, -3.0]])
w0, w1 = slot_angles(WEIGHT, 0, (2,))
x0, x1 = slot_angles(FEATURE, 0, (2,))
ANGLES = {
    "constant": (Angle(0.3), lambda w, x: 0.3),
    "weight": (w1, lambda w, x: w[1]),
    "feature": (x0, lambda w, x: x[0]),
    "negated": (-x1, lambda w, x: -x[1]),
    "sum": (w0 + x1 + 2, lambda w, x: w[0] + x[1] + 2),
    "difference": (w0 - x1 - 0.5, lambda w, x: w[0] - x[1] - 0.5),
    "reversed": (np.pi - x0, lambda w, x: np.pi - x[0]),
    "numpy number": (np.float64(2) * w0, lambda w, x: 2 * w[0]),
    "quotient": ((w0 + x0) / 4, lambda w, x: (w[0] + x[0]) / 4),
    "re-uploading": (w0 * x0 + w1, lambda w, x: w[0] * x[0] + w[1]),
    "square": (x1 * x1, lambda w, x: x[1] ** 2),
    "scaled": ((1 + 0.1) * (w0 - 1) * 3, lambda w, x: 3.3 * (w[0] - 1)),
    "ZZ map": (
        2 * (np.pi - x0) * (np.pi - x1),
        lambda w, x: 2 * (np.pi - x[0]) * (np.pi - x[1]),
    ),
    "two sums": (
        (w0 + 2 * x0 - 1) * (3 - w1 + x1),
        lambda w, x: (w[0] + 2 * x[0] - 1) * (3 - w[1] + x[1]),
    ),
}


@pytest.mark.parametrize("name", ANGLES)
def test_an_angle_is_evaluated_as_the_formula_it_was_written_as(name):
    angle, formula = ANGLES[name]
    expected = [formula(W, x) for x in X]
    np.testing.assert_allclose(angle.evaluate(W, X), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("angle", "slots"),
    [
        (Angle(1.0), set()),
        (w1 + 3, {(WEIGHT, 1)}),
        (w0 * x1 - x1, {(WEIGHT, 0), (FEATURE, 1)}),
    ],
)
def test_slots_are_the_values_an_angle_depends_on(angle, slots):
    assert angle.slots == slots


@pytest.mark.parametrize(
    ("one", "other"), [(w0 * w0, w1), (x0 * x1, x0 + 1), (w0 * x0 + 1, w1 * x1)]
)
def test_degree_three_is_an_error(one, other):
    with pytest.raises(ValueError, match="degree <= 2"):
        one * other


@pytest.mark.parametrize("kind", [WEIGHT, FEATURE])
def test_slot_angles_count_in_c_order(kind):
    angles = slot_angles(kind, 5, (2, 3))
    wanted = [[Angle(0.0, ((1.0, (kind, 5 + 3 * i + j), ONE),)) for j in range(3)]
              for i in range(2)]  # fmt: skip
    assert angles.tolist() == wanted
    assert slot_angles(kind, 5, ()).item() == Angle(0.0, ((1.0, (kind, 5), ONE),))


# ------------------------------------------------------- gates
RNG = np.random.default_rng(7)
MATRICES = np.concatenate([unitary_values(RNG, k) for k in (1, 2)])
MATRIX_1, MATRIX_2 = (WEIGHT, 2), (WEIGHT, 2 + 8)
VALUES = np.concatenate([W, MATRICES])
GATES = {
    "X": PauliRotation("X", (1,), w0),
    "Y": PauliRotation("Y", (0,), w0 * w1 + 0.1),
    "Z": PauliRotation("Z", (2,), -w1),
    "XY": PauliRotation("XY", (2, 0), w0),
    "ZZZ": PauliRotation("ZZZ", (0, 2, 1), w1),
    "YYX": PauliRotation("YYX", (1, 2, 0), w1),
    "global phase": PauliRotation("", (), w0),
    "controlled Y": PauliRotation("Y", (1,), w0, ((2, 0),)),
    "S": Permutation((1,), (0, 1), (0, 2)),
    "Y gate": Permutation((2,), (1, 0), (6, 2)),
    "CNOT": Permutation((2, 0), (0, 1, 3, 2), (0, 0, 0, 0)),
    "cycle": random_permutation(RNG, [1, 2]),
    "anything on 3": random_permutation(RNG, [2, 0, 1]),
    "matrix": Matrix((1,), MATRIX_1),
    "inverse matrix": Matrix((2,), MATRIX_1, inverse=True),
    "two wires": Matrix((2, 0), MATRIX_2),
    "controlled matrix": Matrix((0,), MATRIX_1, controls=((1, 0), (2, 1))),
}


def unitary(n, gates):
    """What the engine does to every basis state, shape ``(2**n, 2**n)``."""
    load = Amplitudes(tuple(range(n)), (FEATURE, 0))
    program = PureProgram(n, [load, *gates], n_weights=len(VALUES), n_features=2**n)
    return program.states(VALUES, np.eye(2**n)).T


@pytest.fixture(params=GATES)
def gate(request):
    """Each gate in turn, on some of wires 0 to 2."""
    return GATES[request.param]


def test_a_gate_is_its_matrix(gate):
    matrix, wires = dense_gate(gate, VALUES, NO_FEATURES)
    expected = on_all_wires(matrix, wires, 3)
    np.testing.assert_allclose(unitary(3, [gate]), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [1, -1])
def test_the_adjoint_is_the_inverse(gate, order):
    product = unitary(3, [gate, gate.adjoint()][::order])
    np.testing.assert_allclose(product, np.eye(8), rtol=0, atol=1e-14)


@pytest.mark.parametrize("values", [(0,), (1,), (1, 0), (0, 1)])
def test_a_controlled_gate_is_the_block_matrix(gate, values):
    wires = (3, 4)[: len(values)]
    n = 3 + len(values)
    inner, places = dense_gate(gate, VALUES, NO_FEATURES)
    block = controlled(inner, len(values), values)
    expected = on_all_wires(block, [*wires, *places], n)
    ours = unitary(n, [gate.controlled(list(zip(wires, values, strict=True)))])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-14)


def test_control_and_adjoint_commute(gate):
    one = gate.controlled([(3, 0)]).adjoint()
    other = gate.adjoint().controlled([(3, 0)])
    np.testing.assert_allclose(
        unitary(4, [one]), unitary(4, [other]), rtol=0, atol=1e-15
    )


@pytest.mark.parametrize(
    ("gates", "matrix"),
    [
        (
            [PauliRotation("", (), Angle(math.pi / 2))],
            np.exp(-0.25j * np.pi) * np.eye(2),
        ),
        ([PauliRotation("X", (0,), Angle(math.pi))], [[0, -1j], [-1j, 0]]),
        ([PauliRotation("Z", (0,), Angle(math.pi))], [[-1j, 0], [0, 1j]]),
        ([PauliRotation("", (), Angle(-math.pi), ((0, 1),))], [[1, 0], [0, 1j]]),
        ([Permutation((0,), (1, 0), (0, 0))], [[0, 1], [1, 0]]),
        ([Permutation((0,), (0, 1), (0, 1))], [[1, 0], [0, np.exp(0.25j * np.pi)]]),
    ],
    ids=["global phase", "RX(pi)", "RZ(pi)", "S as a phase", "X", "T"],
)
def test_signs_written_out_by_hand(gates, matrix):
    np.testing.assert_allclose(unitary(1, gates), matrix, rtol=0, atol=1e-15)
