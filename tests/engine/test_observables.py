"""Words that outputs share are measured once, and no number changes by it."""

import pickle
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from qstore_pl.engine import observables as observables_module
from qstore_pl.engine import program as program_module
from qstore_pl.engine import pure as pure_module
from qstore_pl.engine.observables import multiply, shared_words
from tests.engine.test_gates import dense_observable, random_circuit
from tests.engine.test_mixed import model, strong_damping
from tests.engine.test_pauli import random_noisy_circuit, random_observables
from tests.engine.test_program import (
    agree,
    cotangents,
    dense_gradients,
    encode,
    gradients,
    layer,
)
from tests.engine.test_program import case as pure_case
from tests.engine.test_trajectories import (
    DEEP,
    KINDS,
    drawn,
    frozen,
    layers,
)
from tests.engine.test_trajectories import circuit as trajectory_case
from tests.naive import expectation


def probabilities(wires):
    """The projectors on the basis states of some wires, as sums of words of Z."""
    k = len(wires)
    words = [w for size in range(k + 1) for w in combinations(range(k), size)]
    return tuple(
        tuple(
            (
                0.5**k * (-1) ** sum(index >> (k - 1 - i) & 1 for i in word),
                "Z" * len(word),
                tuple(wires[i] for i in word),
            )
            for word in words
        )
        for index in range(2**k)
    )


def mixtures(rng, n, n_words=6, n_outputs=30):
    """Sums of the same few words, in any order of wires, with letters I among them."""
    words = [
        (word, wires) for ((_, word, wires),) in
        [terms[:1] for terms in random_observables(rng, n, n_words)]
    ]  # fmt: skip

    def term():
        word, wires = words[rng.integers(len(words))]
        letters = [*zip(word, wires, strict=True)]
        free = [wire for wire in range(n) if wire not in wires]
        letters += [("I", wire) for wire in free if rng.random() < 0.3]
        letters = [letters[i] for i in rng.permutation(len(letters))]
        word = "".join(letter for letter, _ in letters)
        return float(rng.normal()), word, tuple(wire for _, wire in letters)

    return tuple(tuple(term() for _ in range(8)) for _ in range(n_outputs))


RNG = np.random.default_rng(3)
PURE = {
    "probabilities of all wires": pure_case(
        4, (24, 4), encode(4) + layer(4, 0) + layer(4, 12), probabilities((0, 1, 2, 3))
    ),
    "probabilities of some wires": pure_case(
        4, (12, 4), encode(4) + layer(4, 0), probabilities((3, 0, 1))
    ),
    "random circuit": replace(
        random_circuit(RNG, 4, 15, batch=3), observables=mixtures(RNG, 4)
    ),
    "amplitudes": replace(
        random_circuit(np.random.default_rng(0), 3, 9, batch=3),
        observables=mixtures(RNG, 3),
    ),
}
MIXED = {
    "mixed: probabilities": replace(
        model(5, 1, strong_damping), observables=probabilities((0, 1, 2, 3, 4))
    ),
    "mixed: random circuit": replace(
        random_noisy_circuit(RNG, 3, 12, batch=4),
        observables=mixtures(RNG, 3, n_outputs=90),
    ),
}
CASES = PURE | MIXED


def unshared(case, make):
    """The program whose kernels measure the sums as they are written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observables_module, "SAVED", 1 << 62)
        program = make(case)
        assert program.untied.sums is None
    assert program.sums is None
    return program


def shared(case, make):
    program = make(case)
    assert program.sums is not None
    assert program.n_outputs == len(case.observables)
    assert program.tables.n_outputs == program.sums.shape[1]
    assert len(program.tables.observables) == program.sums.shape[1]
    return program


def both(case, make=lambda case: case.program()):
    return shared(case, make), unshared(case, make)


def numbers(case, program):
    """Outputs, states and gradients, those of each sample included."""
    arguments = case.weights, case.features
    each = gradients(case, program, reduce="none")
    alone = program.vjp(*arguments, cotangents(case))[0]
    return [
        program.run(*arguments),
        program.states(*arguments),
        *gradients(case, program),
        alone,
        *each,
    ]


# ------------------------------------------------------- the same numbers
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_sums_as_written(name):
    case = CASES[name]
    one, other = both(case)
    agree(numbers(case, one), numbers(case, other), 1e-12)


@pytest.mark.parametrize("name", PURE)
def test_outputs_and_gradients_are_the_dense_ones(name):
    case = PURE[name]
    matrices = [dense_observable(case.n, o) for o in case.observables]
    outputs = [[expectation(s, m) for m in matrices] for s in case.states()]
    program = shared(case, lambda case: case.program())
    agree([program.run(case.weights, case.features)], [np.array(outputs)], 1e-12)
    agree(gradients(case, program), dense_gradients(case), 1e-10)


def test_probabilities_are_squares_of_amplitudes():
    case = PURE["probabilities of all wires"]
    out = case.program().run(case.weights, case.features)
    agree([out], [np.abs(case.states()) ** 2], 1e-14)


@pytest.mark.parametrize("name", ["damping", "depolarizing", "channel of two"])
def test_trajectories_share_words(name):
    case = trajectory_case(KINDS[name][0], batch=3)
    case = replace(case, observables=probabilities((0, 2, 1)))
    one, other = both(case, lambda case: drawn(case, 40, frozen(4)))
    agree(gradients(case, one), gradients(case, other), 1e-12)
    works = [program.new_pass(3) for program in (one, other)]
    arguments = case.weights, case.features, np.arange(3)
    outputs = [work.forward(*arguments).copy() for work in works]
    agree(outputs[:1], outputs[1:], 1e-13)
    agree([works[0].outputs], [works[1].outputs], 1e-13)
    agree([works[0].standard_errors], [works[1].standard_errors], 1e-13)


def test_trajectories_with_checkpoints_share_words():
    case = layers(DEEP["strong damping"][0], 5)
    case = replace(case, observables=probabilities((0, 2, 1)))
    one, other = both(case, lambda case: drawn(case, 40, frozen(4)))
    agree(gradients(case, one), gradients(case, other), 1e-11)


@pytest.mark.parametrize("name", CASES)
def test_a_bra_stands_for_the_cotangents(name):
    case = CASES[name]
    arguments = case.weights, case.features, np.arange(len(case.features))
    results = []
    for program in both(case):
        work = program.new_pass(len(case.features))
        work.forward(*arguments)
        bra = np.random.default_rng(1).normal(size=work.states(phase=False).shape)
        results.append(work.backward(np.empty((0, 0)), inputs=True, bra=bra))
    agree(*results, 1e-13)


# ------------------------------------------------------- passes
@pytest.mark.parametrize("kept", [True, False])
def test_chunks_change_no_bit(kept, monkeypatch):
    case = PURE["random circuit"]
    whole = numbers(case, shared(case, lambda case: case.program()))
    monkeypatch.setattr(pure_module, "CHUNK", 2 << case.n)
    if not kept:
        monkeypatch.setattr(program_module, "KEPT_BYTES", 0)
    cut = numbers(case, shared(case, lambda case: case.program()))
    agree(cut[:2], whole[:2], 0.0)
    agree(cut[2:], whole[2:], 1e-14)


def test_a_pass_is_used_again():
    case = PURE["random circuit"]
    program, rows, dy = case.program(), np.arange(3), cotangents(case)
    work = program.new_pass(3)
    for scale in (1.0, 0.3, 1.0):
        arguments = scale * case.weights, case.features
        out = work.forward(*arguments, rows)
        agree([out], [program.run(*arguments)], 0.0)
        first = [part.copy() for part in work.backward(dy, inputs=True)]
        work.again()
        agree(work.backward(dy, inputs=True), first, 0.0)
        agree(first, program.vjp(*arguments, dy, inputs=True), 0.0)


@pytest.mark.parametrize("name", ["random circuit", "mixed: random circuit"])
def test_copies_share_as_well(name):
    case = CASES[name]
    program = shared(case, lambda case: case.program())
    twin = pickle.loads(pickle.dumps(program))
    agree(gradients(case, twin), gradients(case, program), 0.0)


@pytest.mark.parametrize("name", CASES)
def test_a_batch_without_samples_has_empty_results(name):
    case = CASES[name]
    program = shared(case, lambda case: case.program())
    none = np.empty((0, case.features.shape[1]))
    dy = np.empty((0, len(case.observables)))
    assert program.run(case.weights, none).shape == dy.shape
    gw, gx = program.vjp(case.weights, none, dy, inputs=True)
    np.testing.assert_array_equal(gw, np.zeros(len(case.weights)))
    assert gx.shape == none.shape


# ------------------------------------------------------- where it pays
@pytest.mark.parametrize(
    ("observables", "reads"),
    [
        pytest.param([], 16, id="nothing"),
        pytest.param(
            [((1.0, "Z", (i,)),) for i in range(20)], 1 << 20, id="a word each"
        ),
        pytest.param(
            [((1.0, "Z", (i,)), (0.5, "Z", (0,))) for i in range(20)], 1 << 20,
            id="small sums",
        ),
        pytest.param(probabilities((0,)), 1 << 20, id="probabilities of one wire"),
        pytest.param(probabilities((0, 1)), 4, id="a small state"),
        pytest.param(probabilities((0, 1, 2, 3)), 1, id="a few numbers of a vector"),
    ],
)  # fmt: skip
def test_nothing_is_shared_where_it_does_not_pay(observables, reads):
    assert shared_words(observables, reads) is None


def test_words_are_the_same_whatever_the_order_of_their_wires():
    one = ((0.5, "XZ", (0, 2)), (0.25, "ZX", (2, 0)), (1.0, "XIZ", (0, 1, 2)))
    other = ((2.0, "", ()), (3.0, "I", (1,)), (1.0, "ZX", (0, 2)), (1.0, "Z", (2,)))
    words, matrix = shared_words(5 * (one, other), 1 << 10)
    assert words == (
        ((1.0, "XZ", (0, 2)),), ((1.0, "", ()),), ((1.0, "ZX", (0, 2)),),
        ((1.0, "Z", (2,)),),
    )  # fmt: skip
    np.testing.assert_array_equal(matrix, 5 * [[1.75, 0, 0, 0], [0, 5.0, 1.0, 1.0]])
    assert not matrix.flags.writeable


def test_the_product_is_that_of_the_matrices():
    rows, matrix = RNG.normal(size=(3, 7)), RNG.normal(size=(7, 5))
    out = np.empty((3, 5))
    multiply(rows, matrix, out)
    np.testing.assert_allclose(out, rows @ matrix, rtol=0, atol=1e-14)
