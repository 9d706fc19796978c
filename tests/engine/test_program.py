"""The Program on arrays: expectation values, their gradients, and who owns what."""

import copy
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qstore_pl.engine import program as program_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Angle,
    PauliRotation,
    Permutation,
    slot_angles,
)
from tests.engine.test_gates import (
    Circuit,
    dense_gate,
    dense_observable,
    initial_state,
    random_circuit,
    slot_value,
    word_matrix,
)
from tests.naive import controlled, expectation, on_all_wires

BATCH = 5


# ------------------------------------------------------- circuits
def rx(wire, angle):
    return PauliRotation("X", (wire,), angle)


def ry(wire, angle):
    return PauliRotation("Y", (wire,), angle)


def rz(wire, angle):
    return PauliRotation("Z", (wire,), angle)


def cnot(control, target):
    return Permutation((control, target), (0, 1, 3, 2), (0, 0, 0, 0))


HADAMARD = [ry(0, Angle(np.pi / 2)), Permutation((0,), (1, 0), (0, 0))]
Z0, Z1 = ((1.0, "Z", (0,)),), ((1.0, "Z", (1,)),)
ZZ = ((1.0, "ZZ", (0, 1)),)
SUMS = (
    ((0.5, "XY", (1, 0)), (-1.5, "Z", (1,)), (2.0, "", ())),
    ((1.0, "YIX", (0, 1, 2)), (0.3, "ZZ", (2, 0))),
    ((0.7, "I", (1,)),),
    (),
)
w = slot_angles(WEIGHT, 0, (24,))
x = slot_angles(FEATURE, 0, (4,))
RNG = np.random.default_rng(11)


def unit_rows(n_columns):
    rows = RNG.normal(size=(BATCH, n_columns))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def case(n, n_values, gates, observables, features=None):
    """A circuit with ``n_values`` weights and features drawn at random."""
    n_weights, n_features = n_values
    if features is None:
        batch = BATCH if n_features else 1
        features = RNG.uniform(-2, 2, (batch, n_features))
    return Circuit(n, gates, RNG.uniform(-2, 2, n_weights), features, observables)


def layer(n, first):
    angles = w[first : first + 3 * n].reshape(n, 3)
    turns = [r(i, angles[i, k]) for i in range(n) for k, r in enumerate((rx, ry, rz))]
    return turns + [cnot(i, (i + 1) % n) for i in range(n)]


def encode(n):
    return [ry(i, x[i]) for i in range(n)]


def upload(i, first):
    return ry(i, w[first] * x[i] + w[first + 1])


ENTANGLED = [*layer(2, 6), PauliRotation("XY", (1, 0), w[12]), rx(0, w[13])]
ZZ_REPETITION = [ry(i, Angle(1.1) + x[i]) for i in range(3)] + [
    PauliRotation("ZZ", (i, j), 2 * (np.pi - x[i]) * (np.pi - x[j]))
    for i, j in [(0, 1), (0, 2), (1, 2)]
]
CASES = {
    "model": case(3, (18, 3), encode(3) + layer(3, 0) + layer(3, 9), (Z0, Z1)),
    "shared weights": case(
        2,
        (2, 1),
        [rx(0, w[0]), ry(1, w[0]), cnot(0, 1), rz(1, w[0]), rx(1, 2 * w[0] + w[1])],
        (Z0, Z1, ZZ),
    ),
    "re-uploading": case(
        2,
        (12, 2),
        [upload(0, 0), upload(1, 2), *layer(2, 4), upload(0, 4), upload(1, 10)],
        (Z0, Z1),
    ),
    "batched and shared angles in turn": case(
        1,
        (5, 2),
        [
            Permutation((0,), (1, 0), (0, 0)),
            rx(0, w[0]),
            ry(0, x[0]),
            rz(0, w[1]),
            rx(0, x[0] * x[1]),
            ry(0, w[0] * w[2]),
            rz(0, w[3]),
            rx(0, w[4]),
        ],
        (Z0,),
    ),
    "squares": case(2, (1, 1), [rx(0, w[0] * w[0]), ry(0, x[0] * x[0])], (Z0, Z1)),
    "ZZ map": case(3, (0, 3), 2 * ZZ_REPETITION, SUMS),
    "controls": case(
        3,
        (4, 2),
        [
            *HADAMARD,
            rx(1, Angle(0.7)),
            rx(2, Angle(0.4)),
            PauliRotation("Y", (1,), w[0] + x[0], ((0, 1),)),
            PauliRotation("", (), w[1] * x[1], ((2, 0), (1, 1))),
            PauliRotation("ZZ", (0, 1), w[2], ((2, 1),)),
            rx(0, w[3]),
        ],
        SUMS,
    ),
    "real amplitudes": case(
        3,
        (14, 5),
        [Amplitudes((2, 0), (FEATURE, 1)), rx(1, x[0]), *ENTANGLED],
        (ZZ, *SUMS),
        np.hstack([RNG.normal(size=(BATCH, 1)), unit_rows(4)]),
    ),
    "complex amplitudes": case(
        3,
        (14, 16),
        [Amplitudes((1, 2, 0), (FEATURE, 0), complex=True), *ENTANGLED],
        SUMS,
        unit_rows(16),
    ),
    "amplitudes from weights": case(
        2,
        (18, 1),
        [Amplitudes((1,), (WEIGHT, 14), complex=True), rx(0, x[0]), *ENTANGLED],
        (Z0, ZZ),
    ),
    "amplitudes that are angles too": case(
        2,
        (0, 2),
        [Amplitudes((0,), (FEATURE, 0)), rx(0, x[0] * x[1]), cnot(0, 1)],
        (Z1, Z0),
    ),
    "constants": case(2, (3, 2), [rx(0, Angle(0.3)), cnot(0, 1), *HADAMARD], (Z0, Z1)),
    "no weights": case(2, (0, 2), [*encode(2), cnot(0, 1), rx(1, x[1])], (Z0, Z1)),
    "no features": case(2, (6, 0), layer(2, 0), (Z0, Z1)),
    "no values": case(2, (0, 0), HADAMARD, SUMS[:1]),
    "no outputs": case(2, (6, 1), [*layer(2, 0), rx(0, x[0])], ()),
    "no gates": case(2, (1, 1), [], (Z0, ((1.0, "X", (1,)),))),
    "global phase": case(
        2,
        (1, 1),
        [PauliRotation("", (), w[0] * x[0]), rx(0, w[0]), rx(1, x[0])],
        (Z0,),
    ),
    "ten wires": case(10, (24, 1), [rx(9, x[0]), *layer(8, 0)], (Z0,)),
}
for seed in range(8):
    drawn = random_circuit(np.random.default_rng(seed), 4, n_gates=15, batch=3)
    CASES[f"random {seed}"] = replace(drawn, observables=SUMS)
CORE = [name for name, circuit in CASES.items() if not circuit.program().tables.general]


@pytest.fixture(params=CASES)
def circuit(request):
    """Each circuit in turn."""
    return CASES[request.param]


def cotangents(circuit):
    shape = len(circuit.features), len(circuit.observables)
    return np.random.default_rng(3).normal(size=shape)


def gradients(circuit, program=None, **options):
    program = program or circuit.program()
    dy = cotangents(circuit)
    return program.vjp(circuit.weights, circuit.features, dy, inputs=True, **options)


def agree(actual, expected, atol):
    """Each array of a pair, to ``atol`` of the larger of 1 and its largest entry."""
    for one, other in zip(actual, expected, strict=True):
        assert one.shape == other.shape
        scale = max(1.0, np.max(np.abs(other), initial=0.0))
        np.testing.assert_allclose(one, other, rtol=0, atol=atol * scale)


# ------------------------------------------------------- dense derivatives
def angle_derivative(angle, slot, w, x):
    """The chain rule of c_0 + sum_t c_t a_t b_t by hand."""
    return sum(
        c * ((a == slot) * slot_value(b, w, x) + (b == slot) * slot_value(a, w, x))
        for c, a, b in angle.terms
    )


def dense_tangents(circuit, sample):
    """The state and its derivatives by all weights, then all features, one a row."""
    n, w = circuit.n, circuit.weights
    slots = [(WEIGHT, i) for i in range(len(w))]
    slots += [(FEATURE, i) for i in range(len(sample))]
    state, gates = initial_state(n, circuit.gates, w, sample)
    tangents = np.zeros((len(slots), 2**n), dtype=complex)
    if len(gates) < len(circuit.gates):  # linear in the amplitudes
        for t, (kind, index) in enumerate(slots):
            if kind == circuit.gates[0].slot[0]:
                one = np.eye(len(w) if kind == WEIGHT else len(sample))[index]
                tangents[t] = initial_state(n, circuit.gates[:1], one, one)[0]
    for gate in gates:
        matrix, wires = dense_gate(gate, w, sample)
        whole = on_all_wires(matrix, wires, n)
        state, tangents = whole @ state, tangents @ whole.T
        if isinstance(gate, PauliRotation):
            word = word_matrix(gate.word)
            if gate.controls:  # zero where the controls do not hold
                values = [value for _, value in gate.controls]
                word = controlled(word, len(values), values) - controlled(
                    0 * word, len(values), values
                )
            moved = on_all_wires(word, wires, n) @ state
            factors = [angle_derivative(gate.angle, slot, w, sample) for slot in slots]
            tangents += np.multiply.outer(factors, -0.5j * moved)
    return state, tangents


def dense_gradients(circuit):
    """Gradients of sum(cotangents * outputs): (n_weights,), (batch, n_features)."""
    n_weights = len(circuit.weights)
    gw, gx = np.zeros(n_weights), np.zeros(circuit.features.shape)
    for b, (sample, dy) in enumerate(
        zip(circuit.features, cotangents(circuit), strict=True)
    ):
        state, tangents = dense_tangents(circuit, sample)
        for c, observable in zip(dy, circuit.observables, strict=True):
            matrix = dense_observable(circuit.n, observable)
            gradient = 2 * c * (tangents.conj() @ (matrix @ state)).real
            gw += gradient[:n_weights]
            gx[b] += gradient[n_weights:]
    return gw, gx


SMALL = [name for name in CASES if name != "ten wires"]
NO_MATRIX = [name for name in CASES if not name.startswith("random")]


# ------------------------------------------------------- values and gradients
@pytest.mark.parametrize("name", SMALL)
def test_outputs_are_expectation_values_of_the_dense_state(name):
    circuit = CASES[name]
    states = circuit.states()
    matrices = [dense_observable(circuit.n, o) for o in circuit.observables]
    wanted = np.array([[expectation(s, m) for m in matrices] for s in states])
    ours = circuit.program().run(circuit.weights, circuit.features)
    agree([ours], [wanted.reshape(len(states), -1)], 1e-13)


@pytest.mark.parametrize("name", SMALL)
def test_states_are_the_dense_states_with_their_phase(name):
    circuit = CASES[name]
    ours = circuit.program().states(circuit.weights, circuit.features)
    agree([ours], [circuit.states()], 1e-13)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_the_dense_derivatives(name):
    circuit = CASES[name]
    agree(gradients(circuit), dense_gradients(circuit), 1e-10)


@pytest.mark.parametrize("name", NO_MATRIX)
def test_gradients_are_central_differences(name):
    # The error of a difference is h**2 / 6 times a third derivative (here below 1e3)
    # plus rounding / h: both stay below 1e-7 at this h.
    h = 1e-5
    circuit = CASES[name]
    program, dy = circuit.program(), cotangents(circuit)

    def difference(weight_step, feature_step):
        up, down = (
            program.run(
                circuit.weights + s * weight_step, circuit.features + s * feature_step
            )
            for s in (h, -h)
        )
        return np.sum(dy * (up - down), axis=1) / (2 * h)

    n_weights, n_features = len(circuit.weights), circuit.features.shape[1]
    gw = np.array([difference(e, 0).sum() for e in np.eye(n_weights)])
    gx = np.array([difference(0, e) for e in np.eye(n_features)])
    gx = gx.reshape(n_features, len(circuit.features)).T
    agree(gradients(circuit), (gw, gx), 1e-7)


def test_no_gradient_reaches_the_entries_of_a_matrix():
    used = set()
    for name in set(CASES) - set(NO_MATRIX):
        circuit = CASES[name]
        gw, gx = gradients(circuit)
        for gate in circuit.gates:
            if (slot := getattr(gate, "slot", None)) and not isinstance(
                gate, Amplitudes
            ):
                used.add(slot[0])
                entries = slice(slot[1], slot[1] + 2 * 4 ** len(gate.wires))
                wanted = gw[entries] if slot[0] == WEIGHT else gx[:, entries]
                np.testing.assert_array_equal(wanted, 0.0)
    assert used == {WEIGHT, FEATURE}


def test_a_batch_is_a_loop(circuit):
    program, dy = circuit.program(), cotangents(circuit)
    out = program.run(circuit.weights, circuit.features)
    gw, gx = gradients(circuit, program)
    ones = [row[None] for row in circuit.features]
    loop = [program.run(circuit.weights, one) for one in ones]
    agree([out], [np.concatenate(loop)], 1e-14)
    pairs = [
        program.vjp(circuit.weights, one, dy[b : b + 1], inputs=True)
        for b, one in enumerate(ones)
    ]
    looped = sum(p[0] for p in pairs), np.concatenate([p[1] for p in pairs])
    agree((gw, gx), looped, 1e-14)


def test_rows_choose_samples(circuit):
    program = circuit.program()
    rows = np.random.default_rng(1).integers(0, len(circuit.features), 7)
    chosen = np.ascontiguousarray(circuit.features[rows])
    dy = np.random.default_rng(2).normal(size=(7, len(circuit.observables)))
    arguments = circuit.weights, circuit.features
    np.testing.assert_array_equal(
        program.run(*arguments, rows), program.run(circuit.weights, chosen)
    )
    np.testing.assert_array_equal(
        program.states(*arguments, rows), program.states(circuit.weights, chosen)
    )
    ours = program.vjp(*arguments, dy, rows, inputs=True)
    wanted = program.vjp(circuit.weights, chosen, dy, inputs=True)
    agree(ours, wanted, 0.0)


def test_gradients_of_the_weights_alone(circuit):
    program = circuit.program()
    gw, gx = program.vjp(circuit.weights, circuit.features, cotangents(circuit))
    assert gx is None
    agree([gw], [gradients(circuit)[0]], 1e-14)


@pytest.mark.parametrize("name", SMALL)
def test_a_bra_stands_for_the_cotangents(name):
    circuit = CASES[name]
    forward = circuit.program().new_pass(len(circuit.features))
    forward.forward(circuit.weights, circuit.features, np.arange(forward.batch))
    bra = np.zeros((forward.batch, 2**circuit.n), dtype=complex)
    for dy, observable in zip(cotangents(circuit).T, circuit.observables, strict=True):
        matrix = dense_observable(circuit.n, observable)
        bra += dy[:, None] * (forward.states(phase=False) @ matrix.T)
    ours = forward.backward(np.empty((0, 0)), inputs=True, bra=bra)
    agree(ours, gradients(circuit), 1e-13)


@pytest.mark.parametrize("name", CORE)
def test_all_kernels_agree_where_the_smaller_ones_can(name):
    circuit = CASES[name]
    more = replace(circuit, observables=(*circuit.observables, ((1.0, "X", (0,)),)))
    assert more.program().tables.general
    n = len(circuit.observables)
    arguments = circuit.weights, circuit.features
    agree(
        [circuit.program().run(*arguments)],
        [more.program().run(*arguments)[:, :n]],
        1e-14,
    )
    dy = np.hstack([cotangents(circuit), np.zeros((len(circuit.features), 1))])
    agree(gradients(circuit), more.program().vjp(*arguments, dy, inputs=True), 1e-14)


def test_known_circuits():
    # <Z> after RX(a) RY(b) is cos(a) cos(b); the bell pair has <XX> = <ZZ> = 1.
    a, b = 0.4, 1.1
    one = Circuit(1, [rx(0, w[0]), ry(0, x[0])], np.array([a]), np.array([[b]]), (Z0,))
    program = one.program()
    out = program.run(one.weights, one.features)
    agree([out], [np.array([[np.cos(a) * np.cos(b)]])], 1e-15)
    gw, gx = program.vjp(one.weights, one.features, np.ones((1, 1)), inputs=True)
    agree([gw], [np.array([-np.sin(a) * np.cos(b)])], 1e-15)
    agree([gx], [np.array([[-np.cos(a) * np.sin(b)]])], 1e-15)
    words = ["XX", "YY", "ZZ", "XY"]
    sums = tuple(((1.0, word, (0, 1)),) for word in words)
    bell = Circuit(2, [*HADAMARD, cnot(0, 1)], np.empty(0), np.empty((1, 0)), sums)
    out = bell.program().run(bell.weights, bell.features)
    agree([out], [np.array([[1.0, -1.0, 1.0, 0.0]])], 1e-15)


# ------------------------------------------------------- work arrays
def chunks_of(monkeypatch, circuit, columns):
    monkeypatch.setattr(pure_module, "CHUNK", columns << circuit.n)


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_chunks_do_not_change_the_numbers(circuit, columns, monkeypatch):
    out = circuit.program().run(circuit.weights, circuit.features)
    states = circuit.program().states(circuit.weights, circuit.features)
    whole = gradients(circuit)
    chunks_of(monkeypatch, circuit, columns)
    program = circuit.program()
    agree([program.run(circuit.weights, circuit.features)], [out], 1e-14)
    agree([program.states(circuit.weights, circuit.features)], [states], 1e-14)
    agree(gradients(circuit, program), whole, 1e-14)


@pytest.mark.parametrize("columns", [2, 16])
def test_states_that_are_not_kept_are_computed_again(circuit, columns, monkeypatch):
    def numbers():
        """All a pass gives, by cotangents and by a bra, and its bytes."""
        forward = circuit.program().new_pass(len(circuit.features))
        arguments = circuit.weights, circuit.features, np.arange(forward.batch)
        results = [forward.forward(*arguments).copy(), forward.states(phase=False)]
        results += [
            g.copy() for g in forward.backward(cotangents(circuit), inputs=True)
        ]
        forward.forward(*arguments)
        results += forward.backward(np.empty((0, 0)), inputs=True, bra=results[1])
        return results, forward.nbytes

    chunks_of(monkeypatch, circuit, columns)
    kept, kept_bytes = numbers()
    monkeypatch.setattr(program_module, "KEPT_BYTES", 0)
    again, bytes_ = numbers()
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one, other)
    n_chunks = -(-len(circuit.features) // columns)
    assert (bytes_ < kept_bytes) is (n_chunks > 1)


def test_memory_is_three_states_whatever_the_depth():
    n, state = 11, 16 * 2**11
    for depth in (1, 40):
        gates = depth * [*layer(8, 0), rx(10, x[0])]
        deep = Circuit(n, gates, np.ones(24), np.ones((1, 1)), (Z0,))
        assert 3 * state <= deep.program().new_pass(1).nbytes < 5 * state


def test_a_pass_is_used_again_and_again(circuit):
    forward = circuit.program().new_pass(len(circuit.features))
    rows, seen = np.arange(forward.batch), []
    for scale in (1.0, 0.3, 1.0):
        out = forward.forward(scale * circuit.weights, circuit.features, rows).copy()
        gw, gx = forward.backward(cotangents(circuit), inputs=True)
        seen.append((out, gw.copy(), gx.copy()))
    for one, other in zip(seen[0], seen[2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_results_belong_to_the_caller(circuit):
    program, dy = circuit.program(), cotangents(circuit)
    before = [
        program.run(circuit.weights, circuit.features),
        *gradients(circuit, program),
    ]
    copies = [array.copy() for array in before]
    program.run(circuit.weights + 1, circuit.features)
    program.vjp(circuit.weights + 1, circuit.features, -dy, inputs=True)
    for one, other in zip(before, copies, strict=True):
        np.testing.assert_array_equal(one, other)


def test_arguments_may_be_read_only(circuit):
    arrays = [circuit.weights.copy(), circuit.features.copy(), cotangents(circuit)]
    arrays.append(np.arange(len(circuit.features)))
    for array in arrays:
        array.flags.writeable = False
    agree(circuit.program().vjp(*arrays, inputs=True), gradients(circuit), 0.0)


@pytest.mark.parametrize("when", ["before forward", "twice"])
def test_backward_without_a_forward_run_is_an_error(when):
    circuit = CASES["model"]
    forward = circuit.program().new_pass(BATCH)
    if when == "twice":
        forward.forward(circuit.weights, circuit.features, np.arange(BATCH))
        forward.backward(cotangents(circuit))
    with pytest.raises(RuntimeError, match="needs a forward run"):
        forward.backward(cotangents(circuit))
    with pytest.raises(RuntimeError, match="needs a forward run"):
        forward.states()


@pytest.mark.parametrize(
    ("argument", "convert"),
    [
        (0, np.float32),
        (0, np.int64),
        (1, np.float32),
        (1, np.asfortranarray),
        (2, np.float32),
        (3, np.int32),
    ],
)
def test_other_dtypes_and_orders_are_converted(argument, convert):
    circuit = CASES["model"]
    arrays = [circuit.weights, circuit.features, cotangents(circuit), np.arange(BATCH)]
    arrays[argument] = convert(arrays[argument])
    same = [np.ascontiguousarray(array, dtype=np.float64) for array in arrays[:3]]
    gradient, _ = circuit.program().vjp(*arrays)
    expected, _ = circuit.program().vjp(*same, np.arange(BATCH))
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("weights", lambda a: a[1:]),
        ("features", lambda a: a[:, 1:]),
        ("features", lambda a: a[0]),
        ("cotangents", lambda a: a[1:]),
        ("rows", lambda a: a + 1),
        ("rows", lambda a: a - 1),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(argument, wrong):
    circuit = CASES["model"]
    arrays = {
        "weights": circuit.weights,
        "features": circuit.features,
        "cotangents": cotangents(circuit),
        "rows": np.arange(BATCH),
    }
    arrays[argument] = wrong(arrays[argument])
    with pytest.raises(ValueError, match=f"Argument `{argument}` must"):
        circuit.program().vjp(**arrays)


COPIES = {
    "pickle": lambda program: pickle.loads(pickle.dumps(program)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_programs_are_copied_by_value(circuit, duplicate, used):
    program = circuit.program()
    if used:
        gradients(circuit, program)
    twin = duplicate(program)
    assert twin.tables is not program.tables
    assert (twin.n_wires, twin.n_outputs) == (circuit.n, len(circuit.observables))
    agree(gradients(circuit, twin), gradients(circuit, program), 0.0)


# ------------------------------------------------------- no samples
def run_without_samples(circuit):
    program = circuit.program()
    none = np.empty((0, circuit.features.shape[1]))
    no_dy = np.empty((0, len(circuit.observables)))
    assert program.run(circuit.weights, none).shape == no_dy.shape
    assert program.states(circuit.weights, none).shape == (0, 2**circuit.n)
    gw, gx = program.vjp(circuit.weights, none, no_dy, inputs=True)
    np.testing.assert_array_equal(gw, np.zeros(len(circuit.weights)))
    assert gx.shape == none.shape


@pytest.mark.timeout(120)
def test_a_batch_without_samples_has_empty_results():
    # In a process that checks its heap: a kernel that writes to an empty array would
    # leave this one with damage that shows somewhere else.
    code = (
        "from tests.engine.test_program import CASES, run_without_samples\n"
        "for circuit in CASES.values(): run_without_samples(circuit)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MALLOC_CHECK_": "3"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr
