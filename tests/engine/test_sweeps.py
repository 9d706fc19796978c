"""Large states, on ten wires: sweeps over tiles against dense matrices.

Circuits of a few wires run on some wires of the register, so that the matrices stay
small. What they are too slow for is compared with the kernels of small states, which
are tested themselves.
"""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numba
import numpy as np
import pytest

from qstore_pl.engine import large as large_module
from qstore_pl.engine import program as program_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine import sweeps, swept, threads
from qstore_pl.engine.compile import Kernel
from qstore_pl.engine.derived import Derived
from qstore_pl.engine.fusion import Tables
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Angle,
    Drawn,
    Matrix,
    PauliRotation,
    Permutation,
    slot_angles,
)
from qstore_pl.engine.instructions import BLOCK
from qstore_pl.engine.pure import PureProgram
from qstore_pl.engine.schedule import BLOCKS, LINES, RUNS
from qstore_pl.engine.sweeps import SweptTables, build, tile_shape
from tests.engine.test_gates import (
    Circuit,
    dense_observable,
    random_circuit,
    random_permutation,
    unitary_values,
)
from tests.engine.test_program import CASES as SMALL
from tests.engine.test_program import agree, cotangents, dense_gradients, gradients
from tests.engine.test_schedule import random_map
from tests.naive import PAULI

N = 10  # wires of the register
w = slot_angles(WEIGHT, 0, (24,))
x = slot_angles(FEATURE, 0, (4,))
RNG = np.random.default_rng(18)
SUMS = (
    ((0.5, "XY", (1, 0)), (-1.5, "Z", (5,)), (2.0, "", ())),
    ((1.0, "YIX", (0, 5, 2)), (0.3, "ZZ", (4, 3))),
    ((0.7, "I", (1,)), (0.4, "ZYXZYX", (5, 0, 1, 4, 3, 2))),
    (),
)


@pytest.fixture(autouse=True)
def small_states_are_large(monkeypatch):
    monkeypatch.setattr(pure_module, "LARGE", N)


# ------------------------------------------------------- circuits
def case(n, gates, batch=3, n_values=(24, 4), more=()):
    """A circuit on ``n`` wires, with weights of ``more`` behind those of angles."""
    n_weights, n_features = n_values
    features = RNG.uniform(-2, 2, (batch, n_features))
    weights = np.concatenate([RNG.uniform(-2, 2, n_weights), *more])
    return Circuit(n, gates, weights, features, SUMS)


def cnot(control, target):
    return Permutation((control, target), (0, 1, 3, 2), (0,) * 4)


def layer(n, first):
    """Rotations about all axes, the later ones with features, and a ring."""
    turns = [PauliRotation("XYZ"[i % 3], (i,), w[first + i]) for i in range(n)]
    turns += [PauliRotation("Y", (i,), w[first + i] * x[i % 4]) for i in range(n)]
    return turns + [cnot(i, (i + 1) % n) for i in range(n)]


def linear(n):
    """A permutation of all wires whose bits are XORs of bits."""
    move = random_map(RNG, n)
    table = tuple(move(i) for i in range(1 << n))
    return Permutation(tuple(RNG.permutation(n).tolist()), table, (0,) * len(table))


CZ = Permutation((0, 1), (0, 1, 2, 3), (0, 0, 0, 4))
TOFFOLI = Permutation((0, 1, 2), (0, 1, 2, 3, 4, 5, 7, 6), (0,) * 8)
T = Permutation((0,), (0, 1), (0, 1))
WIDE_WORDS = [
    PauliRotation(
        "XYZZYXY"[:k], tuple(RNG.permutation(7)[:k].tolist()), w[k] * x[k % 4]
    )
    for k in (5, 6, 7)
]
ENTRIES = [unitary_values(RNG, k) for k in (1, 2, 3)]
FIRST = [24 + sum(len(values) for values in ENTRIES[:k]) for k in range(3)]
MATRICES = [
    Matrix((4,), (WEIGHT, FIRST[0]), controls=((0, 1), (6, 0))),
    Matrix((1, 5), (WEIGHT, FIRST[1]), inverse=True),
    Matrix((5, 0, 3), (WEIGHT, FIRST[2]), controls=((2, 0),)),
]
WORDS_WITH_CONTROLS = [
    PauliRotation("Y", (5,), w[0] + x[0], ((0, 1),)),
    PauliRotation("", (), w[1] * x[1], ((6, 0), (1, 1))),
    PauliRotation("ZZ", (0, 6), w[2], ((2, 1), (3, 0))),
    PauliRotation("XZY", (6, 1, 4), w[3] * w[4], ((0, 0),)),
]
CIRCUITS = {
    "layers": case(7, [*layer(7, 0), *layer(7, 7), *layer(7, 14)]),
    "one sample": case(6, [*layer(6, 0), *layer(6, 7)], batch=1),
    "no features": case(6, [PauliRotation("X", (0,), w[0])], 1, (24, 0)),
    "no weights": case(6, [PauliRotation("X", (0,), x[0])], 3, (0, 4)),
    "only maps": case(6, [cnot(0, 5), cnot(5, 3), linear(5)]),
    "only a matrix": case(7, MATRICES[:1], more=ENTRIES),
    "maps of many wires": case(6, [*layer(6, 0), linear(6), *layer(6, 6), linear(6)]),
    "wide words": case(7, [*layer(7, 0), *WIDE_WORDS, *layer(7, 8)]),
    "words with controls": case(7, [*layer(7, 0), *WORDS_WITH_CONTROLS]),
    "matrices": case(7, [*layer(7, 0), *MATRICES, *layer(7, 8)], more=ENTRIES),
    "phases": case(
        7,
        [
            *layer(7, 0),
            *(replace(CZ, wires=(i, (i + 3) % 7)) for i in range(7)),
            *(replace(TOFFOLI, wires=(i, (i + 5) % 7, (i + 2) % 7)) for i in range(7)),
            *(replace(T, wires=(i,)) for i in range(0, 7, 2)),
            random_permutation(RNG, [6, 0, 2, 5]),
            *layer(7, 8),
        ],
    ),
    "angles of zero and pi": case(
        6,
        [
            PauliRotation(letter, (i,), Angle(angle))
            for angle in (0.0, np.pi, np.pi / 2, -np.pi)
            for i, letter in enumerate("XYZXYZ")
        ]
        + [*layer(6, 0), *(PauliRotation("X", (i,), Angle(np.pi)) for i in range(6))],
    ),
}
for seed in range(10):
    drawn = random_circuit(np.random.default_rng([18, seed]), 6, 25, batch=3)
    CIRCUITS[f"drawn {seed}"] = replace(drawn, observables=SUMS)
CIRCUITS |= {name: circuit for name, circuit in SMALL.items() if circuit.n < 7}
SOME = ["layers", "wide words", "matrices", "phases", "real amplitudes", "drawn 4"]


@dataclass
class Placed:
    """A circuit on some wires of the register; the others are idle."""

    circuit: Circuit
    wires: list

    @cached_property
    def program(self):
        """The Program of the register, which is of the kind of large states."""
        wires = self.wires
        gates = []
        for gate in self.circuit.gates:
            changes = {"wires": tuple(wires[wire] for wire in gate.wires)}
            if isinstance(gate, PauliRotation | Matrix):
                changes["controls"] = tuple((wires[i], v) for i, v in gate.controls)
            gates.append(replace(gate, **changes))
        sums = [
            tuple((c, word, tuple(wires[i] for i in on)) for c, word, on in one)
            for one in self.circuit.observables
        ]
        program = replace(self.circuit, n=N, gates=gates, observables=sums).program()
        assert isinstance(program.tables, SweptTables)
        return program

    @property
    def values(self):
        """Weights and features."""
        return self.circuit.weights, self.circuit.features

    def states(self):
        """The dense twin's states on the whole register."""
        dense = self.circuit.states()
        found = np.zeros((len(dense), *[2] * N), complex)
        axes = [1 + wire for wire in self.wires]
        used = np.moveaxis(found, axes, range(1, 1 + len(axes)))
        used[(..., *[0] * (N - len(axes)))] = dense.reshape(-1, *[2] * len(axes))
        return found.reshape(len(dense), -1)


def placed(name):
    circuit = CIRCUITS[name]
    rng = np.random.default_rng(len(name))
    return Placed(circuit, rng.permutation(N)[: circuit.n].tolist())


@pytest.fixture(params=SOME)
def one(request):
    """Some circuits in turn."""
    return placed(request.param)


def small_twin(monkeypatch, *arguments, **options):
    """A Program on the kernels of small states."""
    with monkeypatch.context() as context:
        context.setattr(pure_module, "LARGE", 99)
        program = PureProgram(*arguments, **options)
    assert isinstance(program.tables, Tables)
    return program


def numbers(one, program=None, features=None):
    """Outputs, states and gradients."""
    program = program or one.program
    circuit = (
        one.circuit if features is None else replace(one.circuit, features=features)
    )
    arguments = circuit.weights, circuit.features
    out, states = program.run(*arguments), program.states(*arguments)
    return out, states, *gradients(circuit, program)


def same_bits(results, expected):
    for one, other in zip(results, expected, strict=True):
        assert one.tobytes() == other.tobytes()


# ------------------------------------------------------- values and gradients
@pytest.mark.parametrize("name", CIRCUITS)
def test_values_states_and_gradients_are_the_dense_ones(name):
    one, circuit = placed(name), CIRCUITS[name]
    out, states, gw, gx = numbers(one)
    matrices = [dense_observable(circuit.n, o) for o in circuit.observables]
    wanted = [[np.vdot(s, m @ s).real for m in matrices] for s in circuit.states()]
    agree([out], [np.array(wanted).reshape(out.shape)], 1e-13)
    agree([states], [one.states()], 1e-13)
    agree([gw, gx], dense_gradients(circuit), 1e-12)


def test_every_kind_of_route_is_among_them():
    found = [placed(name).program.tables.sweeps for name in CIRCUITS]
    assert set(np.concatenate(found)[:, 3]) == {LINES, BLOCKS, RUNS}


@pytest.mark.parametrize("name", SOME[:4])
def test_smaller_tiles_need_more_sweeps(name, monkeypatch):
    wanted, n_sweeps = numbers(placed(name)), len(placed(name).program.tables.sweeps)
    monkeypatch.setattr(sweeps, "TILE", 7)
    one = placed(name)
    assert one.program.tables.size == 7
    assert len(one.program.tables.sweeps) > n_sweeps
    agree(numbers(one), wanted, 1e-13)


@pytest.mark.parametrize("name", [*SOME, "random 5"])
def test_a_bra_stands_for_the_cotangents(name):
    one, circuit = placed(name), CIRCUITS[name]
    work = one.program.new_pass(len(circuit.features))
    work.forward(*one.values, np.arange(work.batch))
    bra = np.zeros((work.batch, 2**N), dtype=complex)
    for dy, observable in zip(
        cotangents(circuit).T, one.program.observables, strict=True
    ):
        for c, word, wires in observable:
            state = work.states(phase=False).reshape(-1, *[2] * N)
            for letter, wire in zip(word, wires, strict=True):
                moved = np.tensordot(PAULI[letter], state, ([1], [1 + wire]))
                state = np.moveaxis(moved, 0, 1 + wire)
            bra += c * dy[:, None] * state.reshape(bra.shape)
    ours = work.backward(np.empty((0, 0)), inputs=True, bra=bra)
    agree(ours, gradients(circuit, one.program), 1e-13)


@pytest.mark.parametrize("wires", [(0,), (9, 0), (3, 1, 8), tuple(range(N))])
def test_probabilities_are_those_of_the_dense_state(one, wires):
    work = one.program.new_pass(len(one.circuit.features))
    work.forward(*one.values, np.arange(work.batch))
    each = np.abs(one.states().reshape(work.batch, *[2] * N)) ** 2
    found = each.sum(axis=tuple(1 + i for i in range(N) if i not in wires))
    axes = [0, *(1 + sorted(wires).index(wire) for wire in wires)]
    wanted = found.transpose(axes).reshape(work.batch, -1)
    np.testing.assert_allclose(work.probabilities(wires), wanted, rtol=0, atol=1e-13)


def test_gradients_of_each_sample(one):
    dy = cotangents(one.circuit)
    gw, gx = one.program.vjp(*one.values, dy, inputs=True, reduce="none")
    weights, features = one.values
    for i in range(len(features)):
        alone = features[i : i + 1]
        wanted, _ = one.program.vjp(weights, alone, dy[i : i + 1])
        agree([gw[i]], [wanted], 1e-13)
    agree([gx], [gradients(one.circuit, one.program)[1]], 1e-13)


def test_rows_choose_samples(one):
    rows, (weights, features) = np.array([2, 0, 0, 1, 2]), one.values
    chosen = np.ascontiguousarray(features[rows])
    dy = RNG.normal(size=(5, len(one.circuit.observables)))
    same_bits(
        [
            one.program.run(weights, features, rows),
            *one.program.vjp(weights, features, dy, rows, inputs=True),
        ],
        [
            one.program.run(weights, chosen),
            *one.program.vjp(weights, chosen, dy, inputs=True),
        ],
    )


# ------------------------------------------------------- what a Pass keeps
def test_states_that_are_not_kept_are_computed_again(one, monkeypatch):
    batch = len(one.circuit.features)
    values = *one.values, np.arange(batch)
    first, kept = numbers(one), one.program.new_pass(batch)
    kept.forward(*values)
    monkeypatch.setattr(program_module, "KEPT_BYTES", 0)
    work, held = one.program.new_pass(batch), one.program.new_pass(batch, keep=True)
    assert held.nbytes == kept.nbytes == batch * work.nbytes
    same_bits(numbers(one, copy.deepcopy(one.program)), first)
    for each in (work, held):
        each.forward(*values)
        same_bits([each.states()], [kept.states()])
        wanted = kept.probabilities((1, 4))
        same_bits([each.probabilities((1, 4))], [wanted])


@pytest.mark.parametrize("most", [0, program_module.KEPT_BYTES])
def test_a_forward_run_is_repeated(one, most, monkeypatch):
    monkeypatch.setattr(program_module, "KEPT_BYTES", most)
    work = one.program.new_pass(len(one.circuit.features))
    work.forward(*one.values, np.arange(work.batch))
    dy = cotangents(one.circuit)
    first = [each.copy() for each in work.backward(dy, inputs=True)]
    with pytest.raises(RuntimeError, match="a forward run before it"):
        work.states()
    work.again()
    same_bits(work.backward(dy, inputs=True), first)


@pytest.mark.parametrize("name", [*SOME, "only maps", "amplitudes from weights"])
def test_a_batch_without_samples_has_empty_results(name):
    one = placed(name)
    out, states, gw, gx = numbers(one, features=one.circuit.features[:0])
    assert out.shape == (0, len(one.circuit.observables))
    assert states.shape == (0, 2**N)
    assert not gw.any()
    assert gx.shape == (0, one.circuit.features.shape[1])


# ------------------------------------------------------- values of other kinds
def test_constants_derived_values_and_entries_are_those_of_small_states(monkeypatch):
    n, size = N, len(ENTRIES[1])
    constant = Angle(0.0, ((0.5, (WEIGHT, 3 + size), (0, 0)),))
    column = 2 + len(ENTRIES[0])
    derived = Angle(0.0, ((1.0, (FEATURE, column), (WEIGHT, 1)),))
    gates = [
        *(PauliRotation("Y", (i,), w[i % 3] + x[i % 2]) for i in range(n)),
        PauliRotation("XZ", (6, 1), constant * w[0]),
        Matrix((5, 2), (WEIGHT, 3), differentiable=True, controls=((0, 1),)),
        cnot(2, 6),
        PauliRotation("X", (4,), derived),
        Matrix((3,), (FEATURE, 2), inverse=True, differentiable=True),
        Matrix((6,), (WEIGHT, 4 + size)),
        *(PauliRotation("X", (i,), w[i % 3] * x[i % 2]) for i in range(n)),
    ]
    options = {
        "n_weights": 3 + size,
        "n_features": column,
        "constants": np.concatenate([[0.3], ENTRIES[0]]),
        "derived": [Derived("sqrt", (w[0] * w[0] + x[1] * x[1] + 1.0,))],
    }
    program = PureProgram(n, gates, SUMS, **options)
    assert isinstance(program.tables, SweptTables)
    weights = np.concatenate([RNG.uniform(-2, 2, 3), ENTRIES[1]])
    features = np.array(
        [[*RNG.uniform(-2, 2, 2), *unitary_values(RNG, 1)] for _ in range(3)]
    )
    dy = RNG.normal(size=(3, len(SUMS)))
    small = small_twin(monkeypatch, n, gates, SUMS, **options)
    for reduce in ("sum", "none"):
        agree(
            program.vjp(weights, features, dy, inputs=True, reduce=reduce),
            small.vjp(weights, features, dy, inputs=True, reduce=reduce),
            1e-13,
        )
    agree([program.run(weights, features)], [small.run(weights, features)], 1e-14)
    agree([program.states(weights, features)], [small.states(weights, features)], 1e-14)


def test_many_words_are_those_of_small_states(monkeypatch):
    circuit = CIRCUITS["layers"]
    words = ["".join(row) for row in RNG.choice(list("IXYZ"), (60, N))]
    words += ["Z" * k + "I" * (N - k) for k in range(N + 1)]
    sums = tuple(((RNG.normal(), word, tuple(range(N))),) for word in words)
    sums += (tuple(term for (term,) in sums),)
    options = {"n_weights": 24, "n_features": 4}
    dy = RNG.normal(size=(3, len(sums)))
    found = []
    program = PureProgram(N, circuit.gates, sums, **options)
    assert isinstance(program.tables, SweptTables)
    for each in (program, small_twin(monkeypatch, N, circuit.gates, sums, **options)):
        arguments = circuit.weights, circuit.features
        found.append((each.run(*arguments), *each.vjp(*arguments, dy, inputs=True)))
    agree(*found, 1e-13)


# ------------------------------------------------------- gates that tiles do not take
WIDE = {
    "a control of many wires": PauliRotation(
        "Y", (0,), w[20], tuple((i, i % 2) for i in range(1, 6))
    ),
    "a matrix of many wires": Matrix((4, 0, 2, 1, 5, 3), (WEIGHT, 24)),
    "a permutation of many wires": random_permutation(RNG, [5, 0, 3, 1, 4, 2]),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_gates_run_on_the_kernels_of_small_states(name):
    entries = unitary_values(RNG, 6) if "matrix" in name else []
    circuit = case(6, [*layer(6, 0), WIDE[name], *layer(6, 6)], 1, more=[entries])
    program = replace(circuit, n=N).program()
    assert isinstance(program.tables, Tables)
    states = program.states(*Placed(circuit, list(range(6))).values)
    agree([states], [Placed(circuit, list(range(6))).states()], 1e-13)
    agree(gradients(circuit, program), dense_gradients(circuit), 1e-12)


def test_drawn_matrices_are_left_to_trajectories():
    assert build(8, [Drawn((0,), (FEATURE, 0))]) is None
    assert build(8, [Matrix((0,), (FEATURE, 0))]) is not None


# ------------------------------------------------------- threads
@pytest.fixture(params=["samples", "tiles"])
def shared(request, monkeypatch):
    """Threads share samples or the tiles of each, in a pool made when it is needed."""
    monkeypatch.setattr(large_module, "PARALLEL", 0)
    monkeypatch.setattr(large_module, "MANY", N if request.param == "samples" else 0)
    monkeypatch.setattr(threads, "_pool", None)
    yield request.param
    if threads._pool is not None:
        threads._pool.shutdown()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("count", ["2", "3", "40"])
@pytest.mark.parametrize("name", SOME)
def test_no_bit_depends_on_the_number_of_threads(name, count, shared, monkeypatch):
    one = placed(name)
    monkeypatch.setenv("QSTORE_NUM_THREADS", "1")
    alone = numbers(one)
    assert threads._pool is None
    monkeypatch.setenv("QSTORE_NUM_THREADS", count)
    same_bits(numbers(one, copy.deepcopy(one.program)), alone)
    assert threads._pool is not None


@pytest.mark.timeout(60)
@pytest.mark.parametrize("shared", ["tiles"], indirect=True)
def test_a_pool_that_is_busy_is_not_waited_for(one, shared, monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", "2")
    wanted, free = numbers(one), threading.Event()
    busy = [threads._get_pool().submit(free.wait) for _ in range(2)]
    try:
        same_bits(numbers(one), wanted)
        assert not any(each.done() for each in busy)
    finally:
        free.set()


@pytest.mark.timeout(60)
def test_a_pool_may_have_more_threads_than_are_counted(one, shared, monkeypatch):
    wanted = numbers(one)
    monkeypatch.setenv("QSTORE_NUM_THREADS", "6")
    threads._get_pool()
    monkeypatch.setenv("QSTORE_NUM_THREADS", "2")
    same_bits(numbers(one, copy.deepcopy(one.program)), wanted)


@pytest.mark.timeout(60)
def test_several_threads_run_the_same_program(one, shared, monkeypatch):
    monkeypatch.setenv("QSTORE_NUM_THREADS", "3")
    start = threading.Barrier(4, timeout=30)
    tasks = [s * one.circuit.features for s in np.linspace(0.5, 1.5, 12)]
    wanted = [numbers(one, features=features) for features in tasks]
    with ThreadPoolExecutor(4, initializer=start.wait) as pool:
        found = list(pool.map(lambda task: numbers(one, features=task), tasks))
    for theirs, ours in zip(found, wanted, strict=True):
        same_bits(theirs, ours)


# ------------------------------------------------------- Python
@pytest.mark.parametrize("name", ["phases", "random 5"])
def test_kernels_do_in_python_what_they_do_compiled(name, monkeypatch):
    one = placed(name)
    wanted = numbers(one)
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    monkeypatch.setattr(large_module, "PARALLEL", 0)
    monkeypatch.setenv("QSTORE_NUM_THREADS", "4")  # which are not safe in Python
    monkeypatch.setattr(threads, "_pool", None)
    kernels = [each for each in vars(swept).values() if isinstance(each, Kernel)]
    for each in [*kernels, large_module._move]:
        monkeypatch.setattr(each, "_compiled", None)
    agree(numbers(one, copy.deepcopy(one.program)), wanted, 1e-13)
    assert threads._pool is None


# ------------------------------------------------------- tables
COPIES = {
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_programs_are_copied_by_value(one, duplicate):
    twin = duplicate(one.program)
    assert twin.tables is not one.program.tables
    assert not twin.tables.ints.flags.writeable
    assert twin.tables.places == one.program.tables.places
    same_bits(numbers(one, twin), numbers(one))


def test_no_table_is_as_long_as_the_state():
    n = 18
    pairs = [(i, (i + 1) % n) for i in range(n)]
    swap = Permutation((0, 1), (0, 2, 1, 3), (0,) * 4)
    gates = [PauliRotation("Y", (i,), w[i % 24]) for i in range(n)]
    for gate in (cnot(0, 1), swap, CZ):
        gates += [replace(gate, wires=pair) for pair in pairs]
    gates += [replace(TOFFOLI, wires=(i, (i + 1) % n, (i + 2) % n)) for i in range(n)]
    gates += [Permutation((i,), (0, 1), (0, p)) for p in (2, 1) for i in range(n)]
    gates += [Permutation((i,), (1, 0), (0, 0)) for i in range(n)]
    program = PureProgram(n, 3 * gates, SUMS, n_weights=24)
    assert program.nbytes < 1 << 19  # the state has 2**22


def test_a_layer_of_rotations_is_a_block_for_each_wire():
    n = 10
    turns = [PauliRotation(letter, (i,), w[i]) for i in range(n) for letter in "XYZ"]
    ring = [cnot(i, (i + 1) % n) for i in range(n)]
    tables = build(n, 3 * [*turns, *ring], n_weights=24)
    size, rows = tile_shape(n)
    assert (tables.size, tables.rows) == (size, rows)
    assert np.count_nonzero(tables.code[:, 0] == BLOCK) == 2 * n
    assert len(tables.sweeps) == 2 * n // rows
    assert tables.slots[-1] == 3 * 2 * n
