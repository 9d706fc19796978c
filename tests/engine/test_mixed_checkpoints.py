"""What a noisy circuit cannot undo it keeps: when, how much, and the gradients."""

from dataclasses import replace

import numpy as np
import pytest

from qstore_pl.engine.gates import (
    FEATURE,
    WEIGHT,
    Angle,
    PauliRotation,
    slot_angles,
)
from qstore_pl.engine.transfer import transfer_matrix
from tests.engine.test_mixed import BATCH, CASES, Z0, Z1, model, strong_damping
from tests.engine.test_pauli import (
    NoisyCircuit,
    Values,
    check_gradients,
    check_values,
    random_observables,
    transfer,
)
from tests.engine.test_pauli_fusion import (
    cnot,
    damping,
    depolarizing,
    reset,
    turn,
    two_wires,
)
from tests.engine.test_program import agree, cotangents, gradients

w = slot_angles(WEIGHT, 0, (200,))
x = slot_angles(FEATURE, 0, (10,))


# ------------------------------------------------------- counted
def checkpoints(circuit):
    """How many states a run keeps beyond those it always has, counted by its bytes."""
    work = circuit.program().new_pass(len(circuit.features))
    before = work.nbytes
    rows = np.arange(work.batch)
    work.forward(circuit.weights, circuit.features, rows, gradient=False)
    assert work.nbytes == before  # nothing is kept where no gradient follows
    work.forward(circuit.weights, circuit.features, rows)
    count, rest = divmod(work.nbytes - before, 8 * work.batch * 4**circuit.n)
    assert rest == 0
    return count


def in_the_middle(gate, weights=(0.4, 1.1), values=None):
    """A gate between two halves of an entangling circuit, on wires 0 to 2."""
    values = values or Values.drawn(np.random.default_rng(5))
    values.weights[:2] = weights
    half = [cnot(0, 1), turn("X", 1, w[2]), cnot(1, 2), turn("Y", 0, x[0])]
    half += [PauliRotation("ZX", (0, 2), x[1]), turn("Z", 2, w[3])]
    start = [turn("Y", i, Angle(0.5)) for i in range(3)]
    observables = random_observables(np.random.default_rng(8), 3, 4)
    return values.circuit(3, [*start, *half, gate, *half], observables)


def of_kraus(matrices):
    """A circuit with a channel of these Kraus matrices as weights."""
    values = Values.drawn(np.random.default_rng(5))
    stacked = np.array(matrices, complex)
    numbers = [*stacked.real.ravel(), *stacked.imag.ravel()]
    k = int(np.log2(len(stacked[0])))
    gate = values.kraus(WEIGHT, (1, 0)[:k], len(stacked))
    values.weights[gate.slot[1] :] = numbers
    return in_the_middle(gate, values=values)


ONTO_ZERO = [np.array([[1, 0], [0, 0]]), np.array([[0, 1], [0, 0]])]
SINGULAR = {
    "full damping": in_the_middle(damping(1, 0.0)),
    "full damping by a weight": in_the_middle(damping(1, w[0]), (0.0, 0.0)),
    "reset": in_the_middle(reset(2)),
    "fully depolarizing": in_the_middle(depolarizing(0, 0.75)),
    "fully depolarizing by a weight": in_the_middle(depolarizing(0, w[1]), (0.0, 0.75)),
    "a pair by a weight": in_the_middle(two_wires(2, 0, w[0]), (0.0, 0.0)),
    "a constant pair": in_the_middle(two_wires(2, 0, 0.0)),
    "full damping by Kraus matrices": of_kraus(ONTO_ZERO),
    "a pair by Kraus matrices": of_kraus([np.kron(m, np.eye(2)) for m in ONTO_ZERO]),
    "almost full damping": in_the_middle(damping(1, 1e-9)),
    "projected": in_the_middle(
        transfer((0,), transfer_matrix([np.diag([1, 0]), np.diag([0, 1])]))
    ),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_what_cannot_be_undone_is_one_checkpoint(name):
    circuit = SINGULAR[name]
    assert checkpoints(circuit) == 1
    check_values(circuit)
    check_gradients(circuit)


def test_a_first_block_is_never_undone():
    gates = [turn("X", 0), reset(0), turn("Y", 0, w[1]), damping(1, 0.0), cnot(0, 1)]
    circuit = NoisyCircuit(2, gates, np.array([0.3, 0.8]), np.empty((1, 0)), (Z0, Z1))
    assert checkpoints(circuit) == 0
    check_gradients(circuit)


def mixing():
    """Half of every word, then a gate that maps no word to a word."""
    phase = np.diag([1, 1, 1, np.exp(0.25j * np.pi)])
    return transfer((0, 1), transfer_matrix([phase]) @ np.diag([1.0] + 15 * [0.5]))


# What the layers between two CNOTs do, and a bound on the norm of its inverse.
NORMS = {
    "a constant": ([turn("X", 0), depolarizing(0, 0.375)], 2),
    "a value": ([turn("X", 0), depolarizing(0, w[1])], 2),
    "a shift": ([turn("X", 0), damping(0, w[2])], 3),  # 1 + gamma over 1 - gamma
    "two of a block": ([turn("X", 0), depolarizing(0, w[1]), damping(0, w[2])], 6),
    "a permutation": ([turn("X", 0), two_wires(0, 1, 0.5)], 2),
    "a pair by a value": ([two_wires(0, 1, w[3])], 2),
    "a transfer matrix": ([mixing()], 2),
}


@pytest.mark.parametrize("factor", NORMS)
def test_a_checkpoint_whenever_the_inverses_multiply_to_a_thousand(factor):
    layer, norm = NORMS[factor]
    weights = np.array([0.3, 0.375, np.sqrt(0.5), 0.5])
    most = int(np.log(1000) / np.log(norm))  # layers until the first
    counts = {1: 0, most: 0, most + 1: 1, 2 * most + 1: 1, 2 * most + 2: 2}
    start = [turn("Y", 0), turn("Y", 1), cnot(0, 1)]
    for n_layers, count in counts.items():
        gates = [*start, *(n_layers * [*layer, cnot(0, 1)])]
        circuit = NoisyCircuit(2, gates, weights, np.empty((1, 0)), (Z0, Z1))
        assert checkpoints(circuit) == count


@pytest.mark.parametrize(
    "noise", [lambda wire: depolarizing(wire, 0.001), lambda wire: damping(wire, 0.999)]
)
def test_weak_noise_keeps_no_states(noise):
    assert checkpoints(model(4, 4, noise)) == 0


def shifted(circuit):
    """The exact gradient: half the difference of each angle shifted by a right angle.

    It needs forward runs alone, so nothing is undone in it.
    """
    program, dy = circuit.program(), cotangents(circuit)
    gradient = np.zeros(len(circuit.weights))
    for i, shift in enumerate(np.pi / 2 * np.eye(len(gradient))[:-1]):
        up, down = (
            program.run(circuit.weights + s * shift, circuit.features) for s in (1, -1)
        )
        gradient[i] = np.sum(dy * (up - down)) / 2
    return gradient


@pytest.mark.parametrize(("n_layers", "count"), [(4, 5), (8, 11)])
def test_deep_damping_is_differentiated_to_rounding(n_layers, count):
    circuit = model(6, n_layers, strong_damping)
    circuit = replace(circuit, features=circuit.features[:1])
    wanted = shifted(circuit)
    assert np.max(np.abs(wanted)) > 1e-3
    assert checkpoints(circuit) == count  # without them the errors are 4e-11 and 0.03
    agree(gradients(circuit)[:1], [wanted], 1e-14)


def test_the_run_that_grows_gives_what_the_next_one_gives():
    circuit = CASES["checkpoints"]
    work, seen = circuit.program().new_pass(BATCH), []
    arguments = circuit.weights, circuit.features, np.arange(BATCH)
    sizes = [work.nbytes]
    for _ in range(2):
        out = work.forward(*arguments).copy()
        gw, gx = work.backward(cotangents(circuit), inputs=True)
        seen.append((out, gw.copy(), gx.copy()))
        sizes.append(work.nbytes)
    assert sizes[0] < sizes[1] == sizes[2]
    agree(*seen, 0.0)


def test_a_pass_serves_values_with_fewer_and_more_checkpoints():
    circuit = model(3, 3, lambda wire: damping(wire, w[27]))
    work, rows = circuit.program().new_pass(BATCH), np.arange(BATCH)
    for root in (0.99, 0.3, 0.8, 0.1, 0.99):
        weights = circuit.weights.copy()
        weights[27] = root
        work.forward(weights, circuit.features, rows)
        gw, _ = work.backward(cotangents(circuit))
        fresh = replace(circuit, weights=weights)
        agree([gw], gradients(fresh)[:1], 1e-14)
