"""Constants of a Program: values in the weight slots behind the weights.

The oracles are the dense twins, which take the constants as weights, and the Program
that has them as weights.
"""

import copy
import pickle

import numpy as np
import pytest

from qstore_pl.engine import program as program_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Amplitudes,
    Kraus,
    Matrix,
    PauliRotation,
    slot_angles,
)
from qstore_pl.engine.metric import Bures, FubiniStudy
from qstore_pl.engine.mixed import MixedProgram
from qstore_pl.engine.pure import PureProgram
from qstore_pl.engine.trajectories import TrajectoryProgram
from tests.engine.test_gates import (
    dense_final_state,
    dense_observable,
    unitary_values,
)
from tests.engine.test_mixed import CASES as MIXED
from tests.engine.test_pauli import differences
from tests.engine.test_program import CASES as PURE
from tests.engine.test_program import SMALL, agree, cotangents, dense_gradients
from tests.engine.test_trajectories import KINDS, circuit, drawn, frozen
from tests.naive import (
    derivatives,
    expectation,
    fubini_study,
    mixed_expectation,
    pauli_components,
)

CASES = {f"pure: {name}": case for name, case in PURE.items() if name != "ten wires"}
CASES |= {f"mixed: {name}": case for name, case in MIXED.items()}
SHARES = {"no weights": 0.0, "half of them": 0.5, "all but the last": 1.0}


def split(case, kept):
    """The program with the first weights alone; the others are its constants."""
    kind = PureProgram if case in PURE.values() else MixedProgram
    return kind(
        case.n,
        case.gates,
        case.observables,
        n_weights=kept,
        n_features=case.features.shape[1],
        constants=case.weights[kept:],
    )


def n_kept(case, share):
    """About this share of the weights, no gate's entries on both sides."""
    kept = int(share * max(0, len(case.weights) - 1))
    for gate in case.gates:
        kind, first = getattr(gate, "slot", (FEATURE, 0))
        if kind == WEIGHT and first < kept:
            if isinstance(gate, Amplitudes):
                size = 2 ** (len(gate.wires) + gate.complex)
            else:
                size = 2 * getattr(gate, "count", 1) * 4 ** len(gate.wires)
            kept = kept if first + size <= kept else first
    return kept


def numbers(case, program, weights):
    """Outputs, states and all gradients, those of each sample included."""
    arguments = weights, case.features
    dy = cotangents(case)
    both = program.vjp(*arguments, dy, inputs=True)
    alone = program.vjp(*arguments, dy)[0]
    each = program.vjp(*arguments, dy, inputs=True, reduce="none")
    return [program.run(*arguments), program.states(*arguments), *both, alone, *each]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", CASES)
def test_constants_are_weights_without_a_gradient(name, share):
    case = CASES[name]
    kept = n_kept(case, SHARES[share])
    seen = numbers(case, split(case, kept), case.weights[:kept])
    expected = numbers(case, case.program(), case.weights)
    for i in (2, 4):
        expected[i] = expected[i][:kept]
    expected[5] = expected[5][:, :kept]
    agree(seen, expected, 1e-11)


@pytest.mark.parametrize("name", SMALL)
def test_pure_circuits_are_their_dense_twins(name):
    case = PURE[name]
    kept = n_kept(case, 0.5)
    program, weights = split(case, kept), case.weights[:kept]
    states = case.states()
    matrices = [dense_observable(case.n, o) for o in case.observables]
    outputs = [[expectation(s, m) for m in matrices] for s in states]
    outputs = np.array(outputs).reshape(len(states), -1)
    agree([program.run(weights, case.features)], [outputs], 1e-12)
    agree([program.states(weights, case.features)], [states], 1e-12)
    seen = program.vjp(weights, case.features, cotangents(case), inputs=True)
    gw, gx = dense_gradients(case)
    agree(seen, (gw[:kept], gx), 1e-10)


@pytest.mark.parametrize("name", [name for name in MIXED if "model" not in name])
def test_mixed_circuits_are_their_dense_twins(name):
    case = MIXED[name]
    kept = n_kept(case, 0.5)
    program, weights = split(case, kept), case.weights[:kept]
    matrices = case.matrices()
    observables = [dense_observable(case.n, o) for o in case.observables]
    outputs = [[mixed_expectation(rho, o) for o in observables] for rho in matrices]
    outputs = np.array(outputs).reshape(len(matrices), -1)
    agree([program.run(weights, case.features)], [outputs], 1e-12)
    states = np.array([pauli_components(rho) for rho in matrices])
    agree([program.states(weights, case.features)], [states], 1e-12)
    seen = program.vjp(weights, case.features, cotangents(case), inputs=True)
    gw, gx = differences(case)
    agree(seen, (gw[:kept], gx), 1e-7)


# ------------------------------------------------------- the kinds of entries
RNG = np.random.default_rng(5)
w = slot_angles(WEIGHT, 0, (3,))
x = slot_angles(FEATURE, 0, (2,))
VECTOR = RNG.normal(size=(2, 4))
VECTOR /= np.linalg.norm(VECTOR)
UNITARY = unitary_values(RNG, 1)
CONSTANTS = np.concatenate([[0.7], VECTOR.ravel(), UNITARY])
c = slot_angles(WEIGHT, 3, (1,))[0]
MATRIX = Matrix((1,), (WEIGHT, 12), controls=((0, 1),))
GATES = [
    Amplitudes((0, 1), (WEIGHT, 4), complex=True),
    PauliRotation("X", (0,), w[0] * c),
    PauliRotation("ZY", (0, 1), w[1] + c * x[0]),
    MATRIX,
    PauliRotation("", (), c * w[1]),
    PauliRotation("Y", (1,), w[2] * x[1] + 0.2),
]
WEIGHTS, FEATURES = RNG.uniform(-2, 2, 3), RNG.uniform(-2, 2, (4, 2))
SIZES = {"n_weights": 3, "n_features": 2, "constants": CONSTANTS}
SUMS = (((1.0, "Z", (0,)),), ((0.4, "XY", (0, 1)), (2.0, "Z", (1,))))


def dense(weights, sample):
    """The state with the constants among the weights."""
    return dense_final_state(2, GATES, np.concatenate([weights, CONSTANTS]), sample)


def test_amplitudes_matrices_and_angles_may_have_constants():
    program = PureProgram(2, GATES, SUMS, **SIZES)
    states = [dense(WEIGHTS, sample) for sample in FEATURES]
    agree([program.states(WEIGHTS, FEATURES)], [np.array(states)], 1e-13)
    matrices = [dense_observable(2, pauli_sum) for pauli_sum in SUMS]
    outputs = [[expectation(state, m) for m in matrices] for state in states]
    agree([program.run(WEIGHTS, FEATURES)], [np.array(outputs)], 1e-13)


@pytest.mark.parametrize("approximation", ["full", "block-diag", "diag"])
def test_the_metric_of_pure_states_with_constants(approximation):
    program = PureProgram(2, GATES, SUMS, **SIZES)
    metric = FubiniStudy(program, np.ones(3, bool), approximation=approximation)
    seen = metric(WEIGHTS, FEATURES, np.arange(4))
    expected = []
    for sample in FEATURES:
        tangents = derivatives(lambda v, s=sample: dense(v, s), WEIGHTS)
        expected.append(fubini_study(dense(WEIGHTS, sample), tangents))
    expected = np.array(expected)
    if approximation != "full":  # each rotation acts after the one before it
        expected = expected * np.eye(3)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-10)
    mean = metric.mean(WEIGHTS, FEATURES, np.arange(4))
    np.testing.assert_allclose(mean, expected.mean(axis=0), rtol=0, atol=1e-10)


def test_a_chain_rule_of_constants_is_the_same_for_all_samples():
    gates = [GATES[0], PauliRotation("X", (0,), w[0] * c), GATES[3]]
    metric = FubiniStudy(PureProgram(2, gates, SUMS, **SIZES), np.ones(3, bool))
    np.testing.assert_array_equal(metric._constant_chain, [[[0.7, 0.0, 0.0]]])


def test_the_metric_as_a_function_on_vectors_with_constants():
    program = PureProgram(2, GATES, SUMS, **SIZES)
    metric = FubiniStudy(program, np.array([True, False, True]))
    arguments = WEIGHTS, FEATURES, np.arange(4)
    product, matrix = metric.product(*arguments), metric.mean(*arguments)
    for vector in ([1.0, 0.0], [0.3, -2.0]):
        seen = product(np.array(vector))
        np.testing.assert_allclose(seen, matrix @ vector, rtol=0, atol=1e-11)


def test_the_bures_metric_with_constants_is_the_one_of_pure_states():
    mixed = MixedProgram(2, GATES, SUMS, **SIZES)
    pure = PureProgram(2, GATES, SUMS, **SIZES)
    chosen, rows = (np.ones(3, bool), np.ones(2, bool)), np.arange(4)
    seen = Bures(mixed, *chosen)(WEIGHTS, FEATURES, rows)
    expected = FubiniStudy(pure, *chosen)(WEIGHTS, FEATURES, rows)
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-10)


# ------------------------------------------------------- trajectories
def moved(case, trajectories, seed):
    """The same draws; the weights from the tenth on, of channels, are constants."""
    return TrajectoryProgram(
        case.n, case.gates, case.observables, n_weights=10,
        n_features=case.features.shape[1], constants=case.weights[10:],
        trajectories=trajectories, uniform=frozen(seed),
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["damping by a weight", "depolarizing by a weight", "Kraus", "Kraus of two"],
)
def test_trajectories_draw_channels_of_constants(name):
    case = circuit(KINDS[name][0], batch=3)
    program, twin = moved(case, 30, 2), drawn(case, 30, frozen(2))
    dy, weights = cotangents(case), case.weights[:10]
    agree(
        [program.run(weights, case.features), program.states(weights, case.features)],
        [
            twin.run(case.weights, case.features),
            twin.states(case.weights, case.features),
        ],
        1e-13,
    )
    gw, gx = twin.vjp(case.weights, case.features, dy, inputs=True)
    seen = program.vjp(weights, case.features, dy, inputs=True)
    agree(seen, (gw[:10], gx), 1e-12)
    # A damping by a weight is another for each sample once weights are; not so here.
    rows, features = program.vjp(weights, case.features, dy, inputs=True, reduce="none")
    agree([rows.sum(axis=0), features], seen, 1e-11)


def test_trajectories_read_constant_channels_once():
    case = circuit(KINDS["Kraus"][0], KINDS["damping by a weight"][0])
    for program, known in ((moved(case, 3, 1), True), (drawn(case, 3), False)):
        assert all((draw.constant is not None) is known for _, draw in program.draws)


# ------------------------------------------------------- the contract
@pytest.mark.parametrize("kind", [PureProgram, MixedProgram])
def test_backward_runs_end_where_the_last_weight_is(kind):
    def first_weight(*gates):
        return kind(2, [GATES[0], *gates], SUMS, **SIZES).tables.first_weight

    turn = PauliRotation("XY", (0, 1), c)
    assert first_weight() == -1
    assert first_weight(turn, MATRIX) == -1
    assert first_weight(turn, MATRIX, PauliRotation("ZZ", (0, 1), c + w[0])) == 3


@pytest.mark.parametrize("kind", [PureProgram, MixedProgram])
def test_gradients_of_matrices_of_weights_beside_constants(kind):
    first = slot_angles(WEIGHT, 0, (1,))[0]
    values = np.concatenate([[0.3], unitary_values(RNG, 1)])
    gates = [
        PauliRotation("X", (0,), first),
        Matrix((0,), (WEIGHT, 1), differentiable=True),
        Matrix((0,), (WEIGHT, 9), differentiable=True),
        PauliRotation("Y", (0,), 0.3 * first),
    ]
    alone, constants = kind(1, gates, SUMS[:1], n_weights=17), unitary_values(RNG, 1)
    program = kind(1, gates, SUMS[:1], n_weights=9, constants=constants)
    none = np.empty((1, 0)), np.ones((1, 1))
    seen, _ = program.vjp(values, *none)
    expected, _ = alone.vjp(np.concatenate([values, constants]), *none)
    assert np.all(np.abs(seen[1:]) > 1e-3)
    agree([seen], [expected[:9]], 1e-13)


def test_a_pass_is_used_again_with_other_weights():
    program = PureProgram(2, GATES, SUMS, **SIZES)
    work, rows, dy = program.new_pass(4), np.arange(4), np.ones((4, 2))
    for scale in (1.0, 0.3, 1.0):
        weights = scale * WEIGHTS
        out = work.forward(weights, FEATURES, rows)
        agree([out], [program.run(weights, FEATURES)], 0.0)
        first, _ = work.backward(dy)
        kept = first.copy()
        work.again()
        second, _ = work.backward(dy)
        agree([second, kept], 2 * [program.vjp(weights, FEATURES, dy)[0]], 0.0)


def test_chunks_read_the_same_constants(monkeypatch):
    expected = PureProgram(2, GATES, SUMS, **SIZES).vjp(
        WEIGHTS, FEATURES, np.ones((4, 2)), inputs=True
    )
    monkeypatch.setattr(pure_module, "CHUNK", 4)
    monkeypatch.setattr(program_module, "PARALLEL", 0)
    program = PureProgram(2, GATES, SUMS, **SIZES)
    assert len(program.new_pass(4)._spans) == 4
    seen = program.vjp(WEIGHTS, FEATURES, np.ones((4, 2)), inputs=True)
    agree(seen, expected, 1e-14)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))]
)
def test_copies_have_the_constants(duplicate):
    program = PureProgram(2, GATES, SUMS, **SIZES)
    twin = duplicate(program)
    agree([twin.constants], [CONSTANTS], 0.0)
    dy = np.ones((4, 2))
    for reduce in ("sum", "none"):
        agree(
            [twin.vjp(WEIGHTS, FEATURES, dy, reduce=reduce)[0]],
            [program.vjp(WEIGHTS, FEATURES, dy, reduce=reduce)[0]],
            0.0,
        )


def test_constants_are_the_program_s_own():
    values = CONSTANTS.copy()
    program = PureProgram(2, GATES, SUMS, **(SIZES | {"constants": values}))
    expected = program.run(WEIGHTS, FEATURES)
    values[:] = 0.0
    agree([program.run(WEIGHTS, FEATURES)], [expected], 0.0)
    assert not program.constants.flags.writeable


def test_callers_see_the_weights_alone():
    program = PureProgram(2, GATES, SUMS, **SIZES)
    with pytest.raises(ValueError, match=r"`weights` must have shape \(3,\)"):
        program.run(np.concatenate([WEIGHTS, CONSTANTS]), FEATURES)


def test_constants_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`constants` must have .* shape \(2, 2\)"):
        PureProgram(1, [], constants=np.ones((2, 2)))


def test_kraus_matrices_of_constants():
    kraus = np.array([[[1, 0], [0, 0.6]], [[0, 0.8], [0, 0]]])
    constants = np.concatenate([kraus.ravel(), np.zeros(8)])
    gates = [PauliRotation("X", (0,), w[0]), Kraus((0,), (WEIGHT, 1), 2)]
    z = (((1.0, "Z", (0,)),),)
    program = MixedProgram(1, gates, z, n_weights=1, constants=constants)
    a = 0.7
    out = program.run(np.array([a]), np.empty((1, 0)))
    agree([out], [np.array([[0.64 + 0.36 * np.cos(a)]])], 1e-15)
    gw, _ = program.vjp(np.array([a]), np.empty((1, 0)), np.ones((1, 1)))
    agree([gw], [np.array([-0.36 * np.sin(a)])], 1e-15)
