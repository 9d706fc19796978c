"""Which measurements share outcomes, and that the outcomes give what is measured.

With the exact distribution of outcomes in place of shots the values must be those of
dense matrices.
"""

import itertools

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError
from pennylane.tape import QuantumScript

from qstore_pl.devices import NoiseSpec
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.groups import grouped, has_groups
from tests.cases import OBSERVABLES
from tests.naive import on_all_wires

ORDER = ["a", 2, 0]  # labels of the register
X, Y, Z, I = qml.X, qml.Y, qml.Z, qml.I  # noqa: E741
ERRORS = {"a": (0.03, 0.1), 2: (0.2, 0.0), 0: (0.05, 0.15)}
NOISE = SpecNoise(NoiseSpec(readout=ERRORS))


def random_state(seed):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=8) + 1j * rng.normal(size=8)
    return psi / np.linalg.norm(psi)


def positions(wires):
    return [ORDER.index(w) for w in wires]


def confused(p, wires, errors):
    """What is read of wires, from probabilities of shape ``(2,) * k``."""
    for axis, wire in enumerate(wires):
        up, down = errors.get(wire, (0.0, 0.0))
        matrix = np.array([[1 - up, down], [up, 1 - down]])
        p = np.moveaxis(np.tensordot(matrix, p, [1, axis]), 0, axis)
    return p


def values_of(read, psi):
    """The values of many shots: scores by the exact probabilities of outcomes."""
    n_values = len(read.offsets)
    total = np.array(read.offsets)
    for gates, group in zip(read.rotations, read.groups, strict=True):
        turned = psi
        for gate in gates:
            turned = on_all_wires(gate.matrix(), positions(gate.wires), 3) @ turned
        p = np.abs(turned.reshape(2, 2, 2)) ** 2
        others = tuple(w for w in range(3) if w not in group.wires)
        left = p.sum(axis=others).transpose(np.argsort(np.argsort(group.wires)))
        errors = dict(zip(group.wires, group.errors, strict=True))
        probabilities = confused(left, group.wires, errors).reshape(-1)
        total += probabilities @ group.values(np.arange(probabilities.size), n_values)
    return total


def dense(obs):
    return on_all_wires(qml.matrix(obs, wire_order=obs.wires), positions(obs.wires), 3)


def exact(mp, psi):
    """The values that a measurement is made of, of a state without misreading."""
    if isinstance(mp, qml.measurements.ProbabilityMP):
        if mp.obs is not None:
            for gate in mp.diagonalizing_gates():
                psi = on_all_wires(gate.matrix(), positions(gate.wires), 3) @ psi
        wires = list(mp.wires or ORDER)
        p, places = np.abs(psi.reshape(2, 2, 2)) ** 2, positions(wires)
        found = []
        for bits in itertools.product((0, 1), repeat=len(wires)):
            index = [slice(None)] * 3
            for place, bit in zip(places, bits, strict=True):
                index[place] = bit
            found.append(p[tuple(index)].sum())
        return found
    matrix = dense(mp.obs)
    mean = np.vdot(psi, matrix @ psi).real
    if isinstance(mp, qml.measurements.VarianceMP):
        return [mean, np.vdot(psi, matrix @ matrix @ psi).real]
    return [mean]


def observable(name, seed):
    rng = np.random.default_rng(seed)
    wires = [ORDER[i] for i in rng.permutation(3)]
    return OBSERVABLES[name](rng, wires, rng.normal(size=3))


MATRIX = np.array([[1.0, 0.5j], [-0.5j, -2.0]])
WIDE = np.diag([0.0, 1.0, 2.0, 3.0])
STATE = np.array([0.6, 0.8j])
MEASUREMENTS = {
    "words": [qml.expval(X("a")), qml.expval(Z(2) @ Y(0)), qml.expval(Z("a"))],
    "one basis": [qml.expval(Z(w)) for w in ORDER] + [qml.expval(Z("a") @ Z(0))],
    "identities": [qml.expval(I(0)), qml.expval(2.0 * I(2) + 0.5 * Z(2))],
    "only an identity": [qml.expval(I("a"))],
    "hamiltonians that share words": [
        qml.expval(
            qml.Hamiltonian([0.5, 1.0, -0.3, 0.4], [X("a") @ X(0), Z(2), Y(0), I(0)])
        ),
        qml.expval(qml.Hamiltonian([1.5, 0.2, 0.7], [Z(2), X("a") @ X(0), Y("a")])),
        qml.expval(Z(2)),
    ],
    "the same twice": [qml.expval(X(0)), qml.expval(X(0)), qml.expval(-2.0 * X(0))],
    "matrices": [
        qml.expval(qml.Hermitian(MATRIX, 0)),
        qml.expval(qml.Hermitian(MATRIX, 2)),
    ],
    "a matrix of two wires": [
        qml.expval(
            qml.Hermitian(np.kron(MATRIX, MATRIX) + np.diag([0, 1, 2, 3]), [0, "a"])
        )
    ],
    "a matrix times a word": [qml.expval(qml.Hermitian(MATRIX, 0) @ X("a"))],
    "a sum with a matrix": [
        qml.expval(0.5 * qml.Hermitian(MATRIX, 0) + 2.0 * X("a") + Z(2) @ Z(0)),
        qml.expval(X("a")),
    ],
    "projectors": [
        qml.expval(qml.Projector([1, 0], [0, "a"])),
        qml.expval(qml.Projector(STATE, [2])),
    ],
    "a sum of projectors": [
        qml.expval(qml.Projector([1], [0]) + 0.3 * qml.Projector(STATE, [0]))
    ],
    "hadamards": [qml.expval(qml.Hadamard(0)), qml.expval(qml.Hadamard(2) @ Z("a"))],
    "probabilities": [qml.probs(wires=[0, "a"]), qml.probs(wires=[2])],
    "all probabilities": [qml.probs()],
    "probabilities of an observable": [qml.probs(op=X(0) @ Y(2)), qml.probs(op=Z("a"))],
    "probabilities of a basis": [qml.probs(op=qml.Hadamard(2))],
    "variances": [
        qml.var(X(0)),
        qml.var(qml.Hermitian(MATRIX, 2)),
        qml.var(Z(0) @ Z(2)),
    ],
    "variance of a sum": [qml.var(0.5 * Z(0) + X(2) - 0.2 * Y(0))],
    "variance of a projector": [qml.var(qml.Projector([1, 0], [0, "a"]))],
    "all kinds": [
        qml.probs(wires=[2, 0]),
        qml.expval(X(0) @ Z("a")),
        qml.var(Y(0)),
        qml.expval(0.3 * Z("a") + 1.0 * X(0)),
    ],
}
every = pytest.mark.parametrize("name", MEASUREMENTS)


@every
def test_outcomes_give_what_is_measured(name):
    measurements, psi = MEASUREMENTS[name], random_state(len(name))
    assert all(map(has_groups, measurements))
    wanted = np.concatenate([exact(mp, psi) for mp in measurements])
    for noise in (None, SpecNoise(NoiseSpec())):
        read = grouped(measurements, ORDER, noise)
        np.testing.assert_allclose(values_of(read, psi), wanted, rtol=0, atol=1e-12)
    ends = [output.end for output in read.outputs]
    assert [output.first for output in read.outputs] == [0, *ends[:-1]]
    assert ends[-1] == len(wanted)
    kinds = [isinstance(mp, qml.measurements.VarianceMP) for mp in measurements]
    assert [output.variance for output in read.outputs] == kinds


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", OBSERVABLES)
def test_observables_of_the_table(kind, seed):
    others = [observable(name, seed + 7) for name in ("word", "sum")]
    measurements = [qml.expval(obs) for obs in (observable(kind, seed), *others)]
    measurements.append(qml.var(observable(kind, seed)))
    psi = random_state(seed)
    wanted = np.concatenate([exact(mp, psi) for mp in measurements])
    seen = values_of(grouped(measurements, ORDER), psi)
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-12)


# --- how many -------------------------------------------------------------------


@every
def test_there_are_as_many_groups_as_pennylane_has_circuits(name):
    measurements = MEASUREMENTS[name]
    kind = qml.measurements.ExpectationMP
    together = [mp for mp in measurements if isinstance(mp, kind)]
    wanted = len(measurements) - len(together)
    if together:
        wanted += len(
            qml.transforms.split_non_commuting(QuantumScript([], together))[0]
        )
    read = grouped(measurements, ORDER)
    if name == "only an identity":
        assert len(read.groups) == 0
    else:
        assert len(read.groups) == len(read.rotations) == wanted


@pytest.mark.parametrize("seed", range(20))
def test_random_hamiltonians_have_as_many_groups_as_tapes(seed):
    rng = np.random.default_rng(seed)
    measurements = [
        qml.expval(observable("hamiltonian", rng.integers(1000))) for _ in range(3)
    ]
    tapes, _ = qml.transforms.split_non_commuting(QuantumScript([], measurements))
    read = grouped(measurements, ORDER)
    assert len(read.groups) == len(tapes)
    # Each word is read once, for all that it is a part of.
    words = set().union(*(mp.obs.pauli_rep for mp in measurements))
    counted = {
        (g, part.wires) for g, group in enumerate(read.groups) for part in group.parts
    }
    assert len(counted) == sum(len(word) > 0 for word in words)


def test_a_group_is_read_on_its_own_wires_alone():
    read = grouped(MEASUREMENTS["words"], ORDER)
    assert sorted(sorted(group.wires) for group in read.groups) == [[0], [0, 1, 2]]
    read = grouped([qml.expval(Z(2))], ORDER)
    assert [group.wires for group in read.groups] == [(1,)]


def test_identities_are_offsets():
    measurements = MEASUREMENTS["hamiltonians that share words"]
    np.testing.assert_array_equal(grouped(measurements, ORDER).offsets, [0.4, 0.0, 0.0])
    read = grouped(MEASUREMENTS["only an identity"], ORDER)
    assert (read.groups, read.rotations, read.offsets.tolist()) == ((), (), [1.0])


# --- misreading -----------------------------------------------------------------


def test_errors_stand_beside_their_wires():
    for group in grouped(MEASUREMENTS["all kinds"], ORDER, NOISE).groups:
        assert group.errors == tuple(ERRORS[ORDER[wire]] for wire in group.wires)
    record = SpecNoise(NoiseSpec(readout=ERRORS), [2])
    (group,) = grouped([qml.probs(wires=[0, 2])], ORDER, record).groups
    assert group.errors == (ERRORS[0], (0.0, 0.0))


@pytest.mark.parametrize(
    "name", ["words", "one basis", "identities", "hamiltonians that share words"]
)
def test_each_letter_of_a_word_is_misread(name):
    r""":math:`P \to (1 - e_0 - e_1) P + (e_1 - e_0) I` on each of its wires."""
    psi, wanted = random_state(3), []
    for mp in MEASUREMENTS[name]:
        total = 0.0
        for word, c in mp.obs.pauli_rep.items():
            operator = np.eye(8)
            for wire, letter in word.items():
                e0, e1 = ERRORS[wire]
                whole = dense(getattr(qml, letter)(wire))
                operator = operator @ ((1 - e0 - e1) * whole + (e1 - e0) * np.eye(8))
            total += c * np.vdot(psi, operator @ psi).real
        wanted.append(total)
    seen = values_of(grouped(MEASUREMENTS[name], ORDER, NOISE), psi)
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-12)


def test_outcomes_of_probabilities_are_misread():
    psi, wires = random_state(4), [0, "a"]
    p = np.reshape(exact(qml.probs(wires=wires), psi), (2, 2))
    wanted = confused(p, wires, ERRORS).reshape(-1)
    seen = values_of(grouped([qml.probs(wires=wires)], ORDER, NOISE), psi)
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["expval", "var"])
@pytest.mark.parametrize("seed", range(3))
def test_eigenvalues_are_those_of_misread_outcomes(kind, seed):
    """Of a matrix: the outcome is the number of its eigenvalue, in ascending order."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    matrix, wires, psi = matrix + matrix.conj().T, ["a", 0], random_state(seed)
    numbers, vectors = np.linalg.eigh(matrix)
    turned = on_all_wires(vectors.conj().T, positions(wires), 3) @ psi
    p = np.reshape(exact(qml.probs(wires=wires), turned), (2, 2))
    read = confused(p, wires, ERRORS).reshape(-1)
    wanted = [read @ numbers] + ([read @ numbers**2] if kind == "var" else [])
    mp = getattr(qml, kind)(qml.Hermitian(matrix, wires))
    seen = values_of(grouped([mp], ORDER, NOISE), psi)
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-12)


# --- measurements inside a circuit ----------------------------------------------


def test_values_of_measurements_inside_the_circuit():
    def circuit():
        qml.RX(0.7, 0)
        first = qml.measure(0)
        qml.RY(1.1, 0)
        second = qml.measure(0)
        qml.RX(0.3, 0)
        return [
            qml.expval(first),
            qml.expval(first + 2 * second),
            qml.var(second),
            qml.probs(op=[second, first]),
            qml.expval(Z(0)),
        ]

    tape = qml.tape.make_qscript(circuit)()
    (deferred,), _ = qml.defer_measurements(tape)
    order = list(deferred.wires)
    assert len(order) == 3
    psi = np.eye(8)[0]
    for op in deferred.operations:
        places = [order.index(wire) for wire in op.wires]
        psi = on_all_wires(qml.matrix(op, wire_order=op.wires), places, 3) @ psi
    one = np.sin(0.35) ** 2  # the first outcome is 1
    turned = np.sin(0.55) ** 2  # the second is another one than the first
    both = np.array(
        [
            [(1 - one) * (1 - turned), one * turned],
            [(1 - one) * turned, one * (1 - turned)],
        ]
    )  # second, first
    second = both[1].sum()
    z = (1 - 2 * second) * np.cos(0.3)
    wanted = [one, one + 2 * second, second, second, *both.reshape(-1), z]
    read = grouped(deferred.measurements, order)
    total = np.array(read.offsets)
    for gates, group in zip(read.rotations, read.groups, strict=True):
        assert gates == ()
        p = np.abs(psi.reshape(2, 2, 2)) ** 2
        others = tuple(w for w in range(3) if w not in group.wires)
        p = (
            p.sum(axis=others)
            .transpose(np.argsort(np.argsort(group.wires)))
            .reshape(-1)
        )
        total += p @ group.values(np.arange(p.size), len(total))
    np.testing.assert_allclose(total, wanted, rtol=0, atol=1e-12)


# --- refusals -------------------------------------------------------------------

CROOKED = np.array([[1.0, 1.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("mp", "words"),
    [
        (qml.expval(qml.Hermitian(CROOKED, 0)), "Hermitian"),
        (qml.expval((0.5 + 1j) * Z(0)), "real"),
        (qml.expval(1j * Z(0) + X(2)), "real"),
        (qml.expval(qml.SparseHamiltonian(qml.Z(0).sparse_matrix(), [0])), "sparse"),
    ],
    ids=["matrix", "multiple", "sum", "sparse"],
)
def test_what_has_no_outcomes_is_refused(mp, words):
    with pytest.raises(DeviceError, match=words):
        grouped([mp], ORDER)


@pytest.mark.parametrize(
    "mp", [qml.sample(wires=[0]), qml.counts(), qml.state(), qml.purity(wires=[0])]
)
def test_others_have_no_groups(mp):
    assert not has_groups(mp)
