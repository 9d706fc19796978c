"""Mixed states gate by gate and in random circuits, against dense density matrices.

What a channel means is written down here once, in numpy and without fusion; the other
tests of mixed states import it.
"""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest

from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    Channel,
    Kraus,
    Matrix,
    PauliRotation,
    Permutation,
    Transfer,
    slot_angles,
)
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.transfer import transfer_matrix
from tests.engine.test_gates import (
    N_FEATURES,
    N_WEIGHTS,
    Circuit,
    angle_value,
    dense_gate,
    dense_observable,
    entries,
    initial_state,
    random_circuit,
    random_permutation,
    random_word,
    unitary_values,
)
from tests.engine.test_program import CASES as PURE_CASES
from tests.engine.test_program import SMALL, agree, cotangents, gradients
from tests.engine.test_transfer import random_kraus
from tests.naive import (
    apply_kraus,
    apply_transfer,
    mixed_expectation,
    pauli_components,
)

STEP = 1e-5  # of central differences: their errors are about 1e-10


# ------------------------------------------------------- what a channel means
def channel_matrix(gate, w, x):
    """Transfer matrix of a :class:`Channel` for one sample."""
    factors = [angle_value(factor, w, x) for factor in gate.factors]
    matrix = np.diag([factors[i] for i in gate.which])
    if len(gate.wires) == 1:
        matrix[3, 0] = angle_value(gate.shift, w, x)
    return matrix


def dense_step(rho, gate, w, x):
    """The density matrix after a gate."""
    if isinstance(gate, Channel):
        return apply_transfer(rho, channel_matrix(gate, w, x), gate.wires)
    if isinstance(gate, Transfer):
        return apply_transfer(rho, np.array(gate.matrix), gate.wires)
    if isinstance(gate, Kraus):
        side = 2 ** len(gate.wires)
        values = entries(gate.slot, gate.count * side**2, w, x)
        return apply_kraus(rho, values.reshape(gate.count, side, side), gate.wires)
    if isinstance(gate, PauliRotation) and not gate.wires and not gate.controls:
        return rho  # a global phase
    matrix, wires = dense_gate(gate, w, x)
    return apply_kraus(rho, [matrix], wires)


def dense_matrix(n, gates, w, x):
    """The density matrix after all gates."""
    state, gates = initial_state(n, gates, w, x)
    rho = np.outer(state, state.conj())
    for gate in gates:
        rho = dense_step(rho, gate, w, x)
    return rho


@dataclass
class NoisyCircuit(Circuit):
    """As :class:`Circuit`, of gates and channels."""

    def program(self):
        return MixedProgram(
            self.n,
            self.gates,
            self.observables,
            n_weights=len(self.weights),
            n_features=self.features.shape[1],
        )

    def matrices(self):
        """The dense twin's density matrices, shape ``(batch, 2**n, 2**n)``."""
        return [
            dense_matrix(self.n, self.gates, self.weights, x) for x in self.features
        ]

    def slots(self):
        """Values with a gradient: those of angles, factors and amplitudes."""
        found = set()
        for gate in self.gates:
            if isinstance(gate, PauliRotation):
                found |= gate.angle.slots
            elif isinstance(gate, Channel):
                for angle in (*gate.factors, gate.shift):
                    found |= angle.slots
            elif isinstance(gate, Amplitudes):
                kind, first = gate.slot
                size = 2 ** (len(gate.wires) + gate.complex)
                found |= {(kind, first + i) for i in range(size)}
        return sorted(found)


def differences(circuit):
    """Gradients of sum(cotangents * outputs) by the dense twin's central differences.

    They are zero where no gradient is: at the entries of matrices.
    """
    gw, gx = np.zeros(len(circuit.weights)), np.zeros(circuit.features.shape)
    for b, (x, dy) in enumerate(
        zip(circuit.features, cotangents(circuit), strict=True)
    ):
        total = np.zeros((2**circuit.n, 2**circuit.n))
        for c, observable in zip(dy, circuit.observables, strict=True):
            total = total + c * dense_observable(circuit.n, observable)
        for kind, index in circuit.slots():
            ends = []
            for step in (STEP, -STEP):
                w_, x_ = circuit.weights.copy(), x.copy()
                (w_ if kind == WEIGHT else x_)[index] += step
                rho = dense_matrix(circuit.n, circuit.gates, w_, x_)
                ends.append(mixed_expectation(rho, total))
            slope = (ends[0] - ends[1]) / (2 * STEP)
            if kind == WEIGHT:
                gw[index] += slope
            else:
                gx[b, index] = slope
    return gw, gx


def check_values(circuit):
    """States and expectation values are the dense ones."""
    program, arguments = circuit.program(), (circuit.weights, circuit.features)
    matrices = circuit.matrices()
    states = np.array([pauli_components(rho) for rho in matrices])
    agree([program.states(*arguments)], [states], 1e-12)
    observables = [dense_observable(circuit.n, o) for o in circuit.observables]
    outputs = [[mixed_expectation(rho, o) for o in observables] for rho in matrices]
    agree([program.run(*arguments)], [np.array(outputs)], 1e-12)


def check_gradients(circuit):
    """Gradients are the dense differences; those of the weights alone are the same."""
    both = gradients(circuit)
    agree(both, differences(circuit), 1e-7)
    arguments = circuit.weights, circuit.features, cotangents(circuit)
    alone, none = circuit.program().vjp(*arguments)
    assert none is None
    agree([alone], both[:1], 1e-13)


# ------------------------------------------------------- drawing circuits
class Values:
    """Weights and features that grow while a circuit is written."""

    def __init__(self, rng, weights, features):
        self.rng = rng
        self.weights, self.features = list(weights), list(np.transpose(features))

    @classmethod
    def drawn(cls, rng, batch=2):
        weights = rng.uniform(-2, 2, N_WEIGHTS)
        return cls(rng, weights, rng.uniform(-2, 2, (batch, N_FEATURES)))

    def slot(self, kind, draw):
        """Numbers of ``draw`` as shared values or as values of each sample."""
        if kind == WEIGHT:
            self.weights.extend(numbers := draw())
            return WEIGHT, len(self.weights) - len(numbers)
        columns = np.array([draw() for _ in self.features[0]]).T
        self.features.extend(columns)
        return FEATURE, len(self.features) - len(columns)

    def kraus(self, kind, wires, count):
        def draw():
            matrices = random_kraus(self.rng, len(wires), count)
            return [*matrices.real.ravel(), *matrices.imag.ravel()]

        return Kraus(tuple(wires), self.slot(kind, draw), count)

    def matrix(self, kind, wires, *, inverse=False, controls=()):
        slot = self.slot(kind, lambda: unitary_values(self.rng, len(wires)))
        return Matrix(tuple(wires), slot, inverse, tuple(controls))

    def amplitudes(self, kind, wires, *, complex_):
        def draw():
            vector = self.rng.normal(size=2 ** (len(wires) + complex_))
            return vector / np.linalg.norm(vector)

        return Amplitudes(tuple(wires), self.slot(kind, draw), complex_)

    def circuit(self, n, gates, observables):
        features = np.ascontiguousarray(np.transpose(self.features))
        weights = np.array(self.weights)
        return NoisyCircuit(n, gates, weights, features, observables)


def transfer(wires, matrix):
    return Transfer(tuple(wires), tuple(map(tuple, np.asarray(matrix).tolist())))


def random_observables(rng, n, count):
    """Sums of three Pauli words on any number of wires."""

    def term():
        wires = rng.permutation(n)[: rng.integers(n + 1)].tolist()
        return float(rng.normal()), random_word(rng, wires), tuple(wires)

    return tuple(tuple(term() for _ in range(3)) for _ in range(count))


w = slot_angles(WEIGHT, 0, (N_WEIGHTS,))
x = slot_angles(FEATURE, 0, (N_FEATURES,))
FACTORS = (
    Angle(1.0),
    Angle(0.8),
    0.7 + 0.1 * w[0],
    0.8 + 0.1 * x[0],
    0.6 + 0.05 * w[1] * x[1] - 0.1 * w[0],
    0.7 - 0.04 * x[0] * x[2],
    0.05 * w[1] * w[1] + 0.5,
)


def random_channel(rng, values, n):
    """A channel of any kind on one to three wires."""
    wires = tuple(rng.permutation(n)[: rng.integers(1, min(n, 3) + 1)].tolist())
    kind = rng.choice(["damping", "channel", "kraus", "transfer"])
    source = (WEIGHT, FEATURE)[rng.integers(2)]
    if kind == "damping":
        fx, fy, fz, s = (FACTORS[i] for i in rng.integers(0, len(FACTORS), 4))
        return Channel(
            wires[:1], (Angle(1.0), fx, fy, fz), (0, 1, 2, 3), s - s.constant
        )
    if kind == "channel":
        factors = (Angle(1.0), *(FACTORS[i] for i in rng.integers(0, len(FACTORS), 2)))
        which = (0, *rng.integers(0, 3, 4 ** len(wires) - 1).tolist())
        return Channel(wires, factors, which)
    wires, count = wires[:2], int(rng.integers(1, 5))
    if kind == "kraus":
        return values.kraus(source, wires, count)
    return transfer(wires, transfer_matrix(random_kraus(rng, len(wires), count)))


def random_noisy_circuit(rng, n, n_gates, batch=2):
    """Gates of all kinds with channels among them, and three observables."""
    pure = random_circuit(rng, n, n_gates, batch)
    values = Values(rng, pure.weights, pure.features)
    gates = []
    for gate in pure.gates:
        gates.append(gate)
        if rng.random() < 0.5:
            gates.append(random_channel(rng, values, n))
    return values.circuit(n, gates, random_observables(rng, n, 3))


# ------------------------------------------------------- every kind of gate alone
RNG = np.random.default_rng(17)
QUADRATIC = w[1] * x[0] + 0.3 * x[1] * x[1] - 0.2 * w[2]
WIRES = (1, 2, 0)
CONTROLS = [(), (0,), (1,), (1, 0), (1, 1)]
SOURCES = {"weights": WEIGHT, "features": FEATURE}


def rotation(word, values, angle):
    wires, k = WIRES[: len(word)], len(word)
    controls = zip(WIRES[k : k + len(values)], values, strict=True)
    return PauliRotation(word, wires, angle, tuple(controls))


def channel(wires, *factors):
    """Factors of words at random, each used."""
    n_words = 4 ** len(wires)
    which = RNG.permutation(np.arange(n_words - 1) % len(factors)) + 1
    return Channel(tuple(wires), (Angle(1.0), *factors), (0, *which.tolist()))


KINDS = {
    f"{word or 'phase'} {values} by {name}": rotation(word, values, angle)
    for word in ("", "X", "Y", "Z", "XY", "ZX", "YZX")
    for values in CONTROLS
    for name, angle in (("a weight", w[0]), ("a polynomial", QUADRATIC))
    if 0 < len(word) + len(values) <= 3
}
KINDS |= {
    "X": Permutation((1,), (1, 0), (0, 0)),
    "S": Permutation((2,), (0, 1), (0, 2)),
    "T": Permutation((0,), (0, 1), (0, 1)),
    "CNOT": Permutation((2, 0), (0, 1, 3, 2), (0, 0, 0, 0)),
    "iSWAP": Permutation((1, 2), (0, 2, 1, 3), (0, 2, 2, 0)),
    "controlled S": Permutation((0, 2), (0, 1, 2, 3), (0, 0, 0, 2)),
    "Toffoli": Permutation((1, 0, 2), (0, 1, 2, 3, 4, 5, 7, 6), 8 * (0,)),
    "any permutation": random_permutation(RNG, (2, 1, 0)),
    "reset": transfer((1,), np.outer([1, 0, 0, 1], [1, 0, 0, 0])),
    "full depolarizing": transfer((2, 0), np.diag([1.0] + 15 * [0.0])),
    "scaled words": transfer((0, 2), np.diag([1.0, *RNG.uniform(0.5, 1, 15)])),
    "singular": transfer((1,), transfer_matrix([np.diag([1, 0]), np.diag([0, 1])])),
    "damping": Channel((1,), (Angle(1.0), w[3], w[3] * w[3]), (0, 1, 1, 2),
                       1 - w[3] * w[3]),
    "damping of each": Channel((0,), (Angle(1.0), x[2], x[2] * x[2]), (0, 1, 1, 2),
                               1 - x[2] * x[2]),
    "shift alone": Channel((2,), (Angle(1.0),), (0, 0, 0, 0), 0.3 * w[0]),
    "constant shift": Channel((2,), (Angle(1.0), Angle(0.6)), (0, 1, 1, 1), Angle(0.2)),
    "scaled Y": Channel((0,), (Angle(1.0), w[1]), (0, 0, 1, 0)),
}  # fmt: skip
for k in (1, 2, 3):
    wires = WIRES[:k]
    KINDS |= {
        f"constants {k}": channel(wires, Angle(0.7), Angle(0.4)),
        f"a constant zero {k}": channel(wires, Angle(0.7), Angle(0.0)),
        f"weights {k}": channel(wires, w[0], 0.5 + 0.1 * w[1], Angle(0.9)),
        f"features {k}": channel(wires, x[0], 0.5 + 0.1 * w[1], x[1]),
        f"polynomials {k}": channel(wires, 0.3 + 0.1 * w[0] * x[0], x[1] * x[1]),
    }
for k, count in [(1, 1), (1, 2), (1, 4), (2, 1), (2, 3)]:
    matrix = transfer_matrix(random_kraus(RNG, k, count))
    KINDS[f"transfer {k} {count}"] = transfer(WIRES[:k], matrix)
OF_VALUES = {  # name: number of wires, how it is made on them
    "matrix": (1, Values.matrix),
    "two wires": (2, Values.matrix),
    "inverse": (2, lambda v, *place: v.matrix(*place, inverse=True)),
    "controlled": (1, lambda v, *place: v.matrix(*place, controls=((2, 0),))),
    "controlled inverse": (
        1,
        lambda v, *place: v.matrix(*place, inverse=True, controls=((2, 1), (0, 0))),
    ),
    "two controlled": (2, lambda v, *place: v.matrix(*place, controls=((0, 1),))),
    **{
        f"Kraus {k} {count}": (
            k,
            lambda v, *place, count=count: v.kraus(*place, count),
        )
        for k, count in [(1, 1), (1, 2), (1, 4), (2, 1), (2, 4)]
    },
}
NAMES = [*KINDS, *product(OF_VALUES, SOURCES)]


def alone(name, start):
    """A gate on |0>, or after rotations, where it may fuse, or on any state."""
    rng = np.random.default_rng(list(repr(name).encode()))
    values = Values.drawn(rng)
    if start == "any state":
        before = [values.amplitudes(FEATURE, (0, 1, 2), complex_=True)]
    elif start == "zero":
        before = []
    else:
        before = [PauliRotation("X", (i,), w[i] + x[i]) for i in range(3)]
        before += [PauliRotation("Y", (i,), w[3]) for i in range(3)]
    if name in KINDS:
        gate = KINDS[name]
    else:
        size, make = OF_VALUES[name[0]]
        gate = make(values, SOURCES[name[1]], WIRES[:size])
    return values.circuit(3, [*before, gate], random_observables(rng, 3, 4))


@pytest.mark.parametrize("start", ["zero", "rotations", "any state"])
@pytest.mark.parametrize("name", NAMES, ids=str)
def test_a_gate_alone(name, start):
    circuit = alone(name, start)
    check_values(circuit)
    check_gradients(circuit)


@pytest.mark.parametrize("wires", [(1,), (2, 0), (1, 2, 0)])
@pytest.mark.parametrize("complex_", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_amplitudes(source, complex_, wires):
    rng = np.random.default_rng([*wires, complex_])
    values = Values.drawn(rng)
    gates = [
        values.amplitudes(SOURCES[source], wires, complex_=complex_),
        KINDS["damping"],
        PauliRotation("ZX", (0, 1), x[0]),
        KINDS["CNOT"],
        KINDS["polynomials 2"],
    ]
    circuit = values.circuit(3, gates, random_observables(rng, 3, 3))
    check_values(circuit)
    check_gradients(circuit)


def test_no_gradient_reaches_the_entries_of_matrices():
    for source, kind in SOURCES.items():
        for name in OF_VALUES:
            circuit = alone((name, source), "rotations")
            gw, gx = gradients(circuit)
            first = circuit.gates[-1].slot[1]
            wanted = gw[first:] if kind == WEIGHT else gx[:, first:]
            assert wanted.size > 0
            np.testing.assert_array_equal(wanted, 0.0)


def test_known_circuits():
    # After RY(a), depolarizing with p and damping with gamma:
    # <Z> = gamma + (1 - gamma) (1 - 4p/3) cos a, <X> = sqrt(1 - gamma) (...) sin a.
    a, p, root = 0.7, 0.3, 0.8  # root = sqrt(1 - gamma)
    shrunk = 1 - 4 * w[1] / 3
    gates = [
        PauliRotation("Y", (0,), w[0]),
        Channel((0,), (Angle(1.0), shrunk), (0, 1, 1, 1)),
        replace(KINDS["damping"], wires=(0,), factors=(Angle(1.0), x[0], x[0] * x[0]),
                shift=1 - x[0] * x[0]),
    ]  # fmt: skip
    sums = (((1.0, "Z", (0,)),), ((1.0, "X", (0,)),))
    circuit = NoisyCircuit(1, gates, np.array([a, p]), np.array([[root]]), sums)
    program, f = circuit.program(), 1 - 4 * p / 3
    out = program.run(circuit.weights, circuit.features)
    z, x_ = 1 - root**2 + root**2 * f * np.cos(a), root * f * np.sin(a)
    agree([out], [np.array([[z, x_]])], 1e-15)
    gw, gx = program.vjp(circuit.weights, circuit.features, np.eye(2)[:1], inputs=True)
    slopes = np.array([-(root**2) * f * np.sin(a), -4 / 3 * root**2 * np.cos(a)])
    agree([gw], [slopes], 1e-15)
    agree([gx], [np.array([[2 * root * (f * np.cos(a) - 1)]])], 1e-15)


# ------------------------------------------------------- pure circuits
@pytest.mark.parametrize("name", SMALL)
def test_without_noise_it_is_the_pure_program(name):
    pure = PURE_CASES[name]
    mixed = NoisyCircuit(**vars(pure))
    arguments = pure.weights, pure.features
    outputs = mixed.program().run(*arguments), pure.program().run(*arguments)
    agree(outputs[:1], outputs[1:], 1e-12)
    agree(gradients(mixed), gradients(pure), 1e-12)


# ------------------------------------------------------- random circuits
@pytest.mark.parametrize("n", [1, 2, 3])
def test_random_circuits(n):
    for seed in range(30):
        rng = np.random.default_rng([n, seed])
        batch = int(rng.integers(1, 5))
        circuit = random_noisy_circuit(rng, n, int(rng.integers(1, 9)), batch)
        check_values(circuit)
        check_gradients(circuit)


@pytest.mark.parametrize(("n", "seed"), [(4, 0), (4, 1), (4, 2), (4, 3), (5, 0)])
def test_larger_random_circuits(n, seed):
    rng = np.random.default_rng([n, seed])
    circuit = random_noisy_circuit(rng, n, n_gates=12, batch=1)
    check_values(circuit)
    check_gradients(circuit)
