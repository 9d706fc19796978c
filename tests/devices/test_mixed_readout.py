"""Misread outcomes against the confusion matrix, written out on all outcomes.

The oracle takes the ideal density matrix from default.mixed, rotates it to the measured
basis by dense matrices, and multiplies the probabilities of all outcomes by one matrix:
the Kronecker product of the confusion matrices of the wires.
"""

from __future__ import annotations

import functools

import numpy as np
import pennylane as qml
import pytest
import scipy.sparse
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError
from scipy import stats

from qstore_pl.devices import NoiseSpec

LABELS = ("a", 1, 0)
READOUT = {"a": (0.02, 0.11), 0: (0.3, 0.05), 1: (0.0, 0.2)}
GATES = {"p1": 0.01, "p2": 0.03, "dephasing": 0.02}
BASIS = {
    "X": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "Y": np.array([[1, -1j], [1, 1j]]) / np.sqrt(2),
    "Z": np.eye(2),
    "I": np.eye(2),
}


def prepare(x):
    for i, label in enumerate(LABELS):
        qml.RY(x[..., i], label)
        qml.RZ(x[..., i + 3], label)
    qml.CNOT(["a", 1])
    qml.CRX(x[..., 6], [1, 0])


def device(**noise):
    return qml.device(
        "qstore.mock_noisy", wires=LABELS, noise=NoiseSpec(**GATES, **noise), seed=11
    )


def measured(dev, *measurements):
    def circuit(x):
        prepare(x)
        results = tuple(measurement() for measurement in measurements)
        return results[0] if len(results) == 1 else results

    return qml.QNode(circuit, dev)


def ideal_rho(x):
    """What the gates and their noise leave, from default.mixed."""

    def circuit(x):
        prepare(x)
        return qml.density_matrix(LABELS)

    qnode = qml.QNode(circuit, qml.device("default.mixed", wires=LABELS))
    model = NoiseSpec(**GATES).to_noise_model()
    return qml.noise.add_noise(qnode, model, level="user")(x)


def confusion(label):
    """Column = true outcome, row = outcome read."""
    e0, e1 = READOUT[label]
    return np.array([[1 - e0, e1], [e0, 1 - e1]])


def read(rho, letters=("Z", "Z", "Z")):
    """Probabilities of all outcomes, in the measured bases, as they are read."""
    rotation = functools.reduce(np.kron, [BASIS[letter] for letter in letters])
    p = np.diag(rotation @ rho @ rotation.conj().T).real
    return functools.reduce(np.kron, map(confusion, LABELS)) @ p


def marginal(p, wires):
    p = p.reshape(2, 2, 2)
    axes = [LABELS.index(wire) for wire in wires]
    rest = tuple(i for i in range(3) if i not in axes)
    return np.transpose(p.sum(axis=rest), np.argsort(np.argsort(axes))).ravel()


def signs(word):
    """Value of a word for each outcome."""
    factors = [np.array([1, 1 if letter == "I" else -1]) for letter in word]
    return functools.reduce(np.kron, factors)


def operator(word):
    factors = [
        getattr(qml, letter)(label)
        for letter, label in zip(word, LABELS, strict=True)
        if letter != "I"
    ]
    return qml.prod(*factors) if len(factors) > 1 else factors[0]


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)


@pytest.fixture
def x():
    return np.random.default_rng(3).uniform(-3, 3, 7)


@pytest.fixture
def dev():
    return device(readout=READOUT)


# ---------------------------------------------------------------- probabilities
ORDERS = [
    ("a",),
    (1,),
    (0,),
    ("a", 1),
    (0, "a"),
    (1, 0),
    ("a", 1, 0),
    (0, "a", 1),
    (1, 0, "a"),
]


@pytest.mark.parametrize("wires", ORDERS)
def test_probabilities_on_any_wires_in_any_order(wires, x, dev):
    expected = marginal(read(ideal_rho(x)), wires)
    close(measured(dev, lambda: qml.probs(wires))(x), expected)


def test_marginals_of_the_oracle_are_those_of_default_mixed(x):
    """The transposition above, held to PennyLane's."""
    p = np.diag(ideal_rho(x)).real
    for wires in ORDERS:
        state = qml.QubitDensityMatrix(np.diag(p), wires=LABELS)
        tape = qml.tape.QuantumScript([state], [qml.probs(wires=list(wires))])
        expected = qml.device("default.mixed", wires=LABELS).execute(tape)
        close(marginal(p, wires), expected)


@pytest.mark.parametrize("word", ["XYZ", "ZIX", "IYI"])
def test_probabilities_of_an_observable_are_misread_after_the_rotation(word, x, dev):
    p = read(ideal_rho(x), word)
    wires = [w for w, letter in zip(LABELS, word, strict=True) if letter != "I"]
    close(
        measured(dev, lambda: qml.probs(op=operator(word)))(x),
        marginal(p, wires),
    )


# ----------------------------------------------------------------- expectations
WORDS = ["XII", "IYI", "IIZ", "XYI", "ZIY", "XXX", "YZX", "ZZZ"]


@pytest.mark.parametrize("word", WORDS)
def test_words_are_read_letter_by_letter(word, x, dev):
    p = read(ideal_rho(x), word)
    mean = p @ signs(word)
    ours = measured(
        dev,
        lambda: qml.expval(operator(word)),
        lambda: qml.var(operator(word)),
    )(x)
    close(ours, [mean, 1 - mean**2])


def test_a_sum_is_the_sum_of_its_words_as_they_are_read(x, dev):
    terms = {"XYI": 0.7, "ZZZ": -1.3, "IYX": 0.4, "XII": 2.0}
    rho = ideal_rho(x)
    expected = sum(c * read(rho, w) @ signs(w) for w, c in terms.items())
    observable = qml.dot(list(terms.values()), [operator(w) for w in terms])
    close(measured(dev, lambda: qml.expval(observable + 0.9))(x), expected + 0.9)


def test_the_variance_of_words_on_one_basis_is_that_of_the_outcomes(x, dev):
    # X on "a" and Z on 0 are read in the same shots, and so is their product.
    values = 0.5 * signs("XII") - 2.0 * signs("IIZ") + 0.3 * signs("XIZ")
    p = read(ideal_rho(x), "XIZ")
    observable = 0.5 * qml.X("a") - 2.0 * qml.Z(0) + 0.3 * qml.X("a") @ qml.Z(0)
    expected = p @ values**2 - (p @ values) ** 2
    close(measured(dev, lambda: qml.var(observable))(x), expected)


@pytest.mark.parametrize("wires", [(0,), ("a", 0), (1, "a")])
def test_a_hermitian_is_read_in_its_own_basis(wires, x, dev):
    rng = np.random.default_rng(5)
    d = 2 ** len(wires)
    matrix = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    matrix = matrix + matrix.conj().T
    rho = qml.math.partial_trace(
        ideal_rho(x)[None], [i for i, w in enumerate(LABELS) if w not in wires]
    )[0]
    inside = [w for w in LABELS if w in wires]
    rho = qml.math.expand_matrix(rho, inside, list(wires))
    values, vectors = np.linalg.eigh(matrix)
    p = np.diag(vectors.conj().T @ rho @ vectors).real
    p = functools.reduce(np.kron, map(confusion, wires)) @ p
    mean, square = p @ values, p @ values**2
    ours = measured(
        dev,
        lambda: qml.expval(qml.Hermitian(matrix, wires)),
        lambda: qml.var(qml.Hermitian(matrix, wires)),
    )(x)
    close(ours, [mean, square - mean**2])


def test_a_projector_is_the_probability_of_its_outcome(x, dev):
    p = marginal(read(ideal_rho(x)), (0, "a"))
    close(measured(dev, lambda: qml.expval(qml.Projector([1, 0], [0, "a"])))(x), p[2])


def test_one_pair_holds_for_every_wire(x):
    e0, e1 = 0.04, 0.13
    p = marginal(np.diag(ideal_rho(x)).real, (1,))
    expected = np.array([[1 - e0, e1], [e0, 1 - e1]]) @ p
    dev = device(readout=(e0, e1))
    ours = measured(dev, lambda: qml.probs([1]), lambda: qml.expval(qml.Z(1)))(x)
    close(ours[0], expected)
    close(ours[1], expected[0] - expected[1])


def test_gradients_of_misread_outcomes(x, dev):
    """The outcomes are linear in the ideal ones, and so are their derivatives."""
    measurements = (
        lambda: qml.probs([0, "a"]),
        lambda: qml.expval(operator("XYZ")),
        lambda: qml.var(operator("ZIY")),
        lambda: qml.expval(qml.Hermitian(np.array([[1, 2j], [-2j, 0.5]]), 1)),
    )
    model = NoiseSpec(**GATES, readout=READOUT).to_noise_model()
    tensor = pnp.array(x, requires_grad=True)
    for measurement in measurements:
        reference = qml.noise.add_noise(
            measured(qml.device("default.mixed", wires=LABELS), measurement), model
        )
        np.testing.assert_allclose(
            qml.jacobian(measured(dev, measurement))(tensor),
            qml.jacobian(reference)(tensor),
            rtol=0,
            atol=1e-10,
        )


# ------------------------------------------------------------- what is not read
@pytest.mark.parametrize(
    "measurement",
    [
        qml.state,
        lambda: qml.density_matrix([0, "a"]),
        lambda: qml.purity([1]),
        lambda: qml.vn_entropy(["a"]),
        lambda: qml.mutual_info([0], ["a"]),
    ],
    ids=["state", "density_matrix", "purity", "vn_entropy", "mutual_info"],
)
def test_states_are_not_read(measurement, x, dev):
    theirs = measured(qml.device("default.mixed", wires=LABELS), measurement)
    model = NoiseSpec(**GATES).to_noise_model()
    expected = qml.noise.add_noise(theirs, model, level="user")(x)
    close(measured(dev, measurement)(x), expected)


def test_a_sparse_hamiltonian_cannot_be_misread(x, dev):
    matrix = scipy.sparse.csr_matrix(np.diag([1.0, -1.0]))
    sparse = measured(dev, lambda: qml.expval(qml.SparseHamiltonian(matrix, [0])))
    with pytest.raises(DeviceError, match="sparse Hamiltonian has no outcomes"):
        sparse(x)
    perfect = device(readout={"a": (0.1, 0.1)})
    sparse = measured(perfect, lambda: qml.expval(qml.SparseHamiltonian(matrix, [0])))
    p = marginal(np.diag(ideal_rho(x)).real, (0,))
    close(sparse(x), p[0] - p[1])


@pytest.mark.parametrize(
    "measurement",
    [lambda: qml.classical_shadow([0]), lambda: qml.shadow_expval(qml.Z(0))],
)
def test_shadows_cannot_be_misread(measurement, x, dev):
    with pytest.raises(DeviceError, match="shadows cannot be misread"):
        qml.set_shots(measured(dev, measurement), 10)(x)


# --------------------------------------------------------------------- sampling
# Each test below raises a false alarm with this probability; the seeds are fixed.
FALSE_ALARM = 1e-6
SHOTS = 20_000


def assert_drawn_from(p, counts):
    """Pearson's chi-square test; every outcome is expected often enough for it."""
    assert (p * counts.sum()).min() > 20
    assert stats.chisquare(counts, p * counts.sum()).pvalue > FALSE_ALARM


def histogram(bits):
    index = bits @ (1 << np.arange(bits.shape[-1])[::-1])
    return np.bincount(index, minlength=1 << bits.shape[-1])


@pytest.mark.parametrize("wires", [("a",), (1, "a"), (0, 1, "a")])
def test_samples_are_misread(wires, x, dev):
    p = marginal(read(ideal_rho(x)), wires)
    bits = qml.set_shots(measured(dev, lambda: qml.sample(wires=wires)), SHOTS)(x)
    assert_drawn_from(p, histogram(bits))


def test_samples_of_a_batch_are_misread(x, dev):
    xs = np.stack([x, -x, 0.3 * x])
    bits = qml.set_shots(measured(dev, lambda: qml.sample(wires=LABELS)), SHOTS)(xs)
    assert bits.shape == (3, SHOTS, 3)
    for one, sample in zip(xs, bits, strict=True):
        assert_drawn_from(read(ideal_rho(one)), histogram(sample))


def test_counts_and_probabilities_are_misread(x, dev):
    p = marginal(read(ideal_rho(x)), (0, "a"))
    counts, probs = qml.set_shots(
        measured(
            dev,
            lambda: qml.counts(wires=[0, "a"], all_outcomes=True),
            lambda: qml.probs([0, "a"]),
        ),
        SHOTS,
    )(x)
    assert_drawn_from(p, np.array([counts[key] for key in ("00", "01", "10", "11")]))
    assert_drawn_from(p, probs * SHOTS)


@pytest.mark.parametrize("word", ["XYI", "ZIY", "XXX"])
def test_sampled_words_are_misread(word, x, dev):
    p = read(ideal_rho(x), word)
    mean = p @ signs(word)
    samples = qml.set_shots(measured(dev, lambda: qml.sample(operator(word))), SHOTS)(x)
    assert_drawn_from(
        np.array([(1 + mean) / 2, (1 - mean) / 2]),
        np.array([(samples == 1).sum(), (samples == -1).sum()]),
    )
    sampled = qml.set_shots(measured(dev, lambda: qml.expval(operator(word))), SHOTS)
    assert abs(sampled(x) - mean) < 5 * np.sqrt((1 - mean**2) / SHOTS)


def test_samples_without_readout_error_fail_the_test_for_it(x):
    """The alarm rings when it should."""
    p = read(ideal_rho(x))
    dev = device()
    bits = qml.set_shots(measured(dev, lambda: qml.sample(wires=LABELS)), SHOTS)(x)
    counts = histogram(bits)
    assert stats.chisquare(counts, p * SHOTS).pvalue < 1e-100
