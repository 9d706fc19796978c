"""The mixed-state Program on arrays: chunks, threads, and who owns what."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from qstore_pl.engine import mixed as mixed_module
from qstore_pl.engine import program as program_module
from qstore_pl.engine import threads
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Angle,
    PauliRotation,
    slot_angles,
)
from qstore_pl.engine.pauli_fusion import word_index
from tests.engine.test_pauli import (
    NoisyCircuit,
    check_gradients,
    check_values,
    random_noisy_circuit,
    random_observables,
)
from tests.engine.test_pauli_fusion import (
    cnot,
    damping,
    depolarizing,
    turn,
)
from tests.engine.test_program import agree, cotangents, gradients

BATCH = 5
w = slot_angles(WEIGHT, 0, (200,))
x = slot_angles(FEATURE, 0, (10,))
Z0, Z1 = ((1.0, "Z", (0,)),), ((1.0, "Z", (1,)),)


# ------------------------------------------------------- circuits
def model(n, n_layers, noise):
    """Encoded features, layers of rotations and a CNOT ring; noise after every gate."""
    rng = np.random.default_rng(n)
    gates = []
    for i in range(n):
        gates += [turn("Y", i, x[i]), noise(i)]
    angles = w[: 3 * n * n_layers].reshape(n_layers, n, 3)
    for layer in angles:
        for i, three in enumerate(layer):
            for letter, angle in zip("XYZ", three, strict=True):
                gates += [turn(letter, i, angle), noise(i)]
        for i in range(n):
            j = (i + 1) % n
            gates += [cnot(i, j), noise(i), noise(j)]
    weights = rng.uniform(-2, 2, angles.size + 1)
    weights[-1] = 0.95  # of noise by a value
    features = rng.uniform(-2, 2, (BATCH, n))
    return NoisyCircuit(n, gates, weights, features, random_observables(rng, n, 3))


def strong_damping(wire):
    return damping(wire, np.sqrt(0.7))


CASES = {
    "model": model(3, 2, depolarizing),
    "damped model": model(3, 2, lambda wire: damping(wire, 0.95)),
    "model damped by a weight": model(3, 1, lambda wire: damping(wire, w[9])),
    "checkpoints": model(3, 2, strong_damping),
    "no values": NoisyCircuit(
        2, [turn("X", 0, Angle(0.4)), cnot(0, 1), depolarizing(0)], np.empty(0),
        np.empty((2, 0)), (Z0, Z1),
    ),
    "no outputs": replace(model(2, 1, depolarizing), observables=()),
    "no gates": NoisyCircuit(2, [], np.ones(1), np.ones((2, 1)), (Z0,)),
}  # fmt: skip
for seed in range(8):
    drawn = random_noisy_circuit(
        np.random.default_rng(seed), 3, n_gates=12, batch=BATCH
    )
    CASES[f"random {seed}"] = drawn


@pytest.fixture(params=CASES)
def circuit(request):
    """Each circuit in turn."""
    return CASES[request.param]


def chunks_of(monkeypatch, circuit, columns):
    """Chunks of so many samples in passes made from now on."""
    monkeypatch.setattr(mixed_module, "CHUNK", columns << 2 * circuit.n)
    monkeypatch.setattr(mixed_module, "LANES", 1)


def numbers(circuit, program=None):
    """All a program gives, as copies."""
    program = program or circuit.program()
    arguments = circuit.weights, circuit.features
    results = [program.run(*arguments), program.states(*arguments)]
    return [*results, *gradients(circuit, program)]


# ------------------------------------------------------- values and gradients
@pytest.mark.parametrize("name", [name for name in CASES if "random" not in name])
def test_models_are_their_dense_twins(name):
    check_values(CASES[name])
    check_gradients(CASES[name])


def test_the_smaller_kernels_are_used_and_agree():
    circuit = CASES["checkpoints"]
    unused = PauliRotation("ZZ", (0, 1), Angle(0.0))
    more = replace(circuit, gates=[*circuit.gates, unused])
    assert not circuit.program().tables.general
    assert more.program().tables.general
    agree(numbers(circuit), numbers(more), 1e-13)


def test_a_batch_is_a_loop(circuit):
    program, dy = circuit.program(), cotangents(circuit)
    out = program.run(circuit.weights, circuit.features)
    ones = [row[None] for row in circuit.features]
    loop = [program.run(circuit.weights, one) for one in ones]
    agree([out], [np.concatenate(loop)], 1e-14)
    pairs = [
        program.vjp(circuit.weights, one, dy[b : b + 1], inputs=True)
        for b, one in enumerate(ones)
    ]
    looped = sum(p[0] for p in pairs), np.concatenate([p[1] for p in pairs])
    agree(gradients(circuit, program), looped, 1e-12)


def test_rows_choose_samples(circuit):
    program = circuit.program()
    rows = np.random.default_rng(1).integers(0, len(circuit.features), 7)
    dy = np.random.default_rng(2).normal(size=(7, len(circuit.observables)))
    chosen = np.ascontiguousarray(circuit.features[rows])
    arguments = circuit.weights, circuit.features
    agree(
        [program.run(*arguments, rows), program.states(*arguments, rows)],
        [program.run(circuit.weights, chosen), program.states(circuit.weights, chosen)],
        0.0,
    )
    ours = program.vjp(*arguments, dy, rows, inputs=True)
    agree(ours, program.vjp(circuit.weights, chosen, dy, inputs=True), 0.0)


def test_a_bra_is_the_derivative_by_the_components(circuit):
    forward = circuit.program().new_pass(len(circuit.features))
    forward.forward(circuit.weights, circuit.features, np.arange(forward.batch))
    bra = np.zeros((forward.batch, 4**circuit.n))
    for dy, observable in zip(cotangents(circuit).T, circuit.observables, strict=True):
        for coefficient, word, wires in observable:
            bra[:, word_index(circuit.n, word, wires)] += coefficient * dy
    ours = forward.backward(np.empty((0, 0)), inputs=True, bra=bra)
    agree(ours, gradients(circuit), 1e-14)


# ------------------------------------------------------- chunks and threads
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_chunks_do_not_change_the_numbers(circuit, columns, monkeypatch):
    whole = numbers(circuit)
    chunks_of(monkeypatch, circuit, columns)
    agree(numbers(circuit), whole, 1e-12)


@pytest.mark.parametrize("columns", [2, 16])
def test_states_that_are_not_kept_are_computed_again(circuit, columns, monkeypatch):
    def passed():
        """All a pass gives, by cotangents and by a bra, and its bytes."""
        forward = circuit.program().new_pass(len(circuit.features))
        arguments = circuit.weights, circuit.features, np.arange(forward.batch)
        first = forward.nbytes
        results = [forward.forward(*arguments).copy(), forward.states()]
        results += [
            g.copy() for g in forward.backward(cotangents(circuit), inputs=True)
        ]
        forward.forward(*arguments)
        results += forward.backward(np.empty((0, 0)), inputs=True, bra=results[1])
        return results, first

    chunks_of(monkeypatch, circuit, columns)
    kept, kept_bytes = passed()
    monkeypatch.setattr(program_module, "KEPT_BYTES", 0)
    again, bytes_ = passed()
    agree(again, kept, 0.0)
    n_chunks = -(-len(circuit.features) // columns)
    assert (bytes_ < kept_bytes) is (n_chunks > 1)


@pytest.mark.parametrize(("n", "batch", "chunks"), [(4, 600, 3), (6, 40, 3)])
def test_large_batches_are_cut_into_chunks_by_themselves(n, batch, chunks):
    circuit = model(n, 1, strong_damping)
    features = np.random.default_rng(0).uniform(-2, 2, (batch, n))
    wide = replace(circuit, features=features)
    program, rows, dy = wide.program(), np.arange(batch), cotangents(wide)
    work = program.new_pass(batch)
    assert len(work._spans) == chunks
    out = work.forward(wide.weights, features, rows)
    gw, gx = work.backward(dy, inputs=True)
    parts = np.split(rows, 5)
    ours = [program.run(wide.weights, features, part) for part in parts]
    agree([out], [np.concatenate(ours)], 1e-14)
    pairs = [
        program.vjp(wide.weights, features, dy[part], part, inputs=True)
        for part in parts
    ]
    looped = sum(p[0] for p in pairs), np.concatenate([p[1] for p in pairs])
    agree((gw, gx), looped, 1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3, 5])
def test_matrices_take_wide_batches_in_tiles(seed):
    circuit = random_noisy_circuit(np.random.default_rng(seed), 4, 12, batch=70)
    program, dy = circuit.program(), cotangents(circuit)
    out, _, gw, gx = numbers(circuit, program)
    parts = np.split(np.arange(70), 35)
    arguments = circuit.weights, circuit.features
    looped = [program.run(*arguments, part) for part in parts]
    agree([out], [np.concatenate(looped)], 1e-13)
    pairs = [program.vjp(*arguments, dy[p], p, inputs=True) for p in parts]
    agree([gw], [sum(pair[0] for pair in pairs)], 1e-12)
    agree([gx], [np.concatenate([pair[1] for pair in pairs])], 1e-12)


@pytest.fixture
def fresh_pool(monkeypatch):
    """No pool at the start, so that it is made with the size the test asks for."""
    monkeypatch.setattr(threads, "_pool", None)
    yield
    if threads._pool is not None:
        threads._pool.shutdown()


@pytest.mark.usefixtures("fresh_pool")
@pytest.mark.parametrize("name", ["checkpoints", "random 1", "random 2"])
def test_numbers_do_not_depend_on_the_threads(name, monkeypatch):
    circuit = CASES[name]
    chunks_of(monkeypatch, circuit, 1)
    monkeypatch.setattr(program_module, "PARALLEL", 1 << 62)
    serial = numbers(circuit)
    monkeypatch.setattr(program_module, "PARALLEL", 0)
    run, parallel = threads.run, []
    monkeypatch.setattr(threads, "run", lambda *args: (parallel.append(1), run(*args)))
    for count in ("1", "2", "4"):
        monkeypatch.setattr(threads, "_pool", None)
        monkeypatch.setenv("QSTORE_NUM_THREADS", count)
        agree(numbers(circuit), serial, 0.0)
    assert len(parallel) == 3 * 4  # run, states, and vjp there and back


def test_eight_threads_on_one_program():
    circuits = [CASES[name] for name in ("checkpoints", "random 0", "random 3")]
    programs = [circuit.program() for circuit in circuits]
    serial = [numbers(c, p) for c, p in zip(circuits, programs, strict=True)]

    def work(index):
        return index % 3, numbers(circuits[index % 3], programs[index % 3])

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(48)))
    for which, result in results:
        agree(result, serial[which], 0.0)


# ------------------------------------------------------- the contract
@pytest.mark.parametrize("when", ["before forward", "twice", "without a gradient"])
def test_backward_needs_a_forward_run_with_a_gradient(when):
    circuit = CASES["model"]
    work = circuit.program().new_pass(BATCH)
    arguments = circuit.weights, circuit.features, np.arange(BATCH)
    if when == "twice":
        work.forward(*arguments)
        work.backward(cotangents(circuit))
    if when == "without a gradient":
        work.forward(*arguments, gradient=False)
    with pytest.raises(RuntimeError, match="needs a forward run"):
        work.backward(cotangents(circuit))


def test_states_need_a_forward_run():
    circuit = CASES["model"]
    work = circuit.program().new_pass(BATCH)
    with pytest.raises(RuntimeError, match="needs a forward run"):
        work.states()
    work.forward(circuit.weights, circuit.features, np.arange(BATCH), gradient=False)
    states = work.states()
    assert states.dtype == np.float64
    expected = circuit.program().states(circuit.weights, circuit.features)
    np.testing.assert_array_equal(states, expected)


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


def test_results_belong_to_the_caller(circuit):
    program = circuit.program()
    before = numbers(circuit, program)
    copies = [array.copy() for array in before]
    numbers(replace(circuit, weights=circuit.weights + 0.1), program)
    agree(before, copies, 0.0)


def test_arguments_may_be_read_only(circuit):
    arrays = [circuit.weights.copy(), circuit.features.copy(), cotangents(circuit)]
    arrays.append(np.arange(len(circuit.features)))
    for array in arrays:
        array.flags.writeable = False
    agree(circuit.program().vjp(*arrays, inputs=True), gradients(circuit), 0.0)


COPIES = {
    "pickle": lambda program: pickle.loads(pickle.dumps(program)),
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_programs_are_copied_by_value(circuit, duplicate, used):
    program = circuit.program()
    if used:
        numbers(circuit, program)
    twin = duplicate(program)
    assert type(twin) is type(program)
    assert twin.tables is not program.tables
    assert (twin.n_wires, twin.n_outputs) == (circuit.n, len(circuit.observables))
    agree(numbers(circuit, twin), numbers(circuit, program), 0.0)


def test_runs_leave_a_program_as_it_is(circuit):
    program = circuit.program()
    before = pickle.dumps(program)
    numbers(circuit, program)
    assert pickle.dumps(program) == before


@pytest.mark.parametrize("name", CASES)
def test_a_batch_without_samples_has_empty_results(name):
    circuit = CASES[name]
    program = circuit.program()
    none = np.empty((0, circuit.features.shape[1]))
    no_dy = np.empty((0, len(circuit.observables)))
    assert program.run(circuit.weights, none).shape == no_dy.shape
    assert program.states(circuit.weights, none).shape == (0, 4**circuit.n)
    gw, gx = program.vjp(circuit.weights, none, no_dy, inputs=True)
    np.testing.assert_array_equal(gw, np.zeros(len(circuit.weights)))
    assert gx.shape == none.shape
