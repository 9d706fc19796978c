"""Convolutions against windows written out by hand and dense products."""

import itertools

import numpy as np
import pennylane as qml
import pytest

from qstore_pl.templates import ConvolutionLayers
from qstore_pl.templates.convolution import windows
from tests.naive import PAULI, on_all_wires

# Written out by hand: (wires, kernel_size, stride, wrap) to windows in their order.
WINDOWS = {
    (1, 1, 1, False): [(0,)],
    (3, 1, 1, True): [(0,), (1,), (2,)],
    (3, 1, 2, False): [(0,), (2,)],
    (2, 2, 1, False): [(0, 1)],
    (2, 2, 1, True): [(0, 1)],
    (3, 2, 1, False): [(0, 1), (1, 2)],
    (3, 2, 1, True): [(0, 1), (2, 0), (1, 2)],
    (4, 2, 1, False): [(0, 1), (2, 3), (1, 2)],
    (4, 2, 1, True): [(0, 1), (2, 3), (1, 2), (3, 0)],
    (4, 2, 2, False): [(0, 1), (2, 3)],
    (4, 2, 2, True): [(0, 1), (2, 3)],
    (5, 2, 2, True): [(0, 1), (2, 3), (4, 0)],
    (5, 2, 3, False): [(0, 1), (3, 4)],
    (5, 3, 1, False): [(0, 1, 2), (1, 2, 3), (2, 3, 4)],
    (5, 3, 2, True): [(0, 1, 2), (4, 0, 1), (2, 3, 4)],
    (6, 3, 1, False): [(0, 1, 2), (3, 4, 5), (1, 2, 3), (2, 3, 4)],
    (6, 3, 3, False): [(0, 1, 2), (3, 4, 5)],
    (6, 4, 2, True): [(0, 1, 2, 3), (4, 5, 0, 1), (2, 3, 4, 5)],
}
SIZES = pytest.mark.parametrize(("n", "size", "stride", "wrap"), WINDOWS)
RNG = np.random.default_rng(11)


@SIZES
def test_windows(n, size, stride, wrap):
    assert windows(n, size, stride, wrap=wrap) == WINDOWS[n, size, stride, wrap]


@pytest.mark.parametrize("n", range(2, 9))
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows_without_wrapping_are_all_that_fit(n, size, stride):
    if size > n:
        with pytest.raises(ValueError, match=f"must be at most {n}, the number of"):
            windows(n, size, stride)
        return
    found = windows(n, size, stride)
    starts = np.arange(0, n - size + 1, stride)
    assert sorted(found) == [tuple(range(s, s + size)) for s in starts.tolist()]
    ring = windows(n, size, stride, wrap=True)
    assert set(found) <= set(ring)
    assert len(set(ring)) == len(ring)


# ------------------------------------------------------------------ dense products
def _turn(letter, angle):
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * PAULI[letter]


def _coupling(letter, angle):
    word = np.kron(PAULI[letter], PAULI[letter])
    return np.cos(angle / 2) * np.eye(4) - 1j * np.sin(angle / 2) * word


def _rotations(weights):
    """RX, RY, RZ on each wire, then CNOT of neighbours, as (matrix, places)."""
    for wire, angles in enumerate(weights):
        for letter, angle in zip("XYZ", angles, strict=True):
            yield _turn(letter, angle), (wire,)
    cnot = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
    for wire in range(len(weights) - 1):
        yield cnot, (wire, wire + 1)


def _rot(phi, theta, omega):
    return _turn("Z", omega) @ _turn("Y", theta) @ _turn("Z", phi)


def _su4(w):
    yield _rot(*w[0:3]), (0,)
    yield _rot(*w[3:6]), (1,)
    for letter, angle in zip("XYZ", w[6:9], strict=True):
        yield _coupling(letter, angle), (0, 1)
    yield _rot(*w[9:12]), (0,)
    yield _rot(*w[12:15]), (1,)


def _dense(weights, kernel, places, n):
    unitary = np.eye(2**n)
    for layer in weights:
        for window in places:
            for matrix, at in kernel(layer):
                on = [window[i] for i in at]
                unitary = on_all_wires(matrix, on, n) @ unitary
    return unitary


@SIZES
def test_rotations_are_the_dense_product(n, size, stride, wrap):
    weights = RNG.uniform(-3, 3, ConvolutionLayers.shape(2, size))
    assert weights.shape == (2, size, 3)
    op = ConvolutionLayers(weights, range(n), size, stride, wrap=wrap)
    expected = _dense(weights, _rotations, WINDOWS[n, size, stride, wrap], n)
    seen = qml.matrix(op, wire_order=range(n))
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_su4_is_the_dense_product(n, wrap):
    weights = RNG.uniform(-3, 3, ConvolutionLayers.shape(2, kernel="su4"))
    assert weights.shape == (2, 15)
    op = ConvolutionLayers(weights, range(n), kernel="su4", wrap=wrap)
    expected = _dense(weights, _su4, WINDOWS[n, 2, 1, wrap], n)
    seen = qml.matrix(op, wire_order=range(n))
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-13)


def test_su4_can_be_moved_in_all_directions_of_su4():
    """The tangents at a random point span the 15 dimensions of the group."""
    w = RNG.uniform(-3, 3, 15)

    def unitary(w):
        return _dense(w[None], _su4, [(0, 1)], 2)

    step = 1e-6
    tangents = [
        (unitary(w + step * e) - unitary(w - step * e)) @ unitary(w).conj().T
        for e in np.eye(15)
    ]
    real = [np.concatenate([t.real.ravel(), t.imag.ravel()]) for t in tangents]
    assert np.linalg.matrix_rank(real, tol=1e-3 * step) == 15


# ----------------------------------------------------------------- a user's kernel
def ladder(weights, wires):
    """Weights of shape (2, 3), one row for each coupling of three wires."""
    for row, pair in enumerate(itertools.pairwise(wires)):
        qml.CRot(weights[..., row, 0], weights[..., row, 1], weights[..., row, 2], pair)


class Whole(qml.operation.Operation):
    """A user's operation with one number."""

    num_params = 1
    ndim_params = (0,)

    @staticmethod
    def compute_decomposition(angle, wires):
        return [qml.RX(angle, wires[0]), qml.CZ(wires)]


def _crot(angles):
    blocks = np.eye(4, dtype=complex)
    blocks[2:, 2:] = _rot(*angles)
    return blocks


OWN = {
    "function": (
        ladder,
        3,
        (2, 3),
        lambda w: [(_crot(row), (i, i + 1)) for i, row in enumerate(w)],
    ),
    "template": (
        qml.StronglyEntanglingLayers,
        1,
        (1, 1, 3),
        lambda w: [(_rot(*w[0, 0]), (0,))],
    ),
    "operation": (
        Whole,
        2,
        (),
        lambda w: [(_turn("X", w), (0,)), (np.diag([1, 1, 1, -1]), (0, 1))],
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_a_kernel_of_the_users(name):
    kernel, size, shape, dense = OWN[name]
    options = {"kernel": kernel, "kernel_shape": shape}
    weights = RNG.uniform(-3, 3, ConvolutionLayers.shape(2, size, **options))
    assert weights.shape == (2, *shape)
    op = ConvolutionLayers(weights, range(4), size, **options)
    places = sorted(windows(4, size), key=windows(4, size).index)
    seen = qml.matrix(op, wire_order=range(4))
    np.testing.assert_allclose(seen, _dense(weights, dense, places, 4), atol=1e-13)
    batch = np.stack([weights, 2 * weights])
    both = ConvolutionLayers(batch, range(4), size, **options)
    assert both.batch_size == 2
    np.testing.assert_allclose(qml.matrix(both, wire_order=range(4))[0], seen)


def test_it_is_drawn_whole_and_window_by_window():
    @qml.qnode(qml.device("default.qubit"))
    def circuit(w):
        ConvolutionLayers(w, range(3), kernel="su4")
        return qml.expval(qml.Z(0))

    drawn = qml.draw(circuit, show_matrices=False)(np.zeros((1, 15)))
    assert drawn.count("ConvolutionLayers") == 3
    drawn = qml.draw(circuit, level="device", show_matrices=False, max_length=300)
    assert drawn(np.zeros((1, 15))).count("IsingXX") == 4  # both wires of two windows


@pytest.mark.parametrize("kernel", ["rotation", "su4"])
def test_resources_are_those_of_the_gates(kernel):
    """PennyLane's graph knows how many gates it is made of, without making them."""
    weights = np.zeros(ConvolutionLayers.shape(2, kernel=kernel))
    op = ConvolutionLayers(weights, range(4), wrap=True, kernel=kernel)
    rule = qml.list_decomps(ConvolutionLayers)[0]
    found = rule.compute_resources(**op.resource_params).gate_counts
    gates = [gate.name for gate in op.decomposition()]
    counts = {rep.name: n for rep, n in found.items()}
    assert counts == {name: gates.count(name) for name in gates}


# ----------------------------------------------------------------------- refusals
SHAPE = (1, 2, 3)
WRONG = {
    "other weights": (
        lambda: ConvolutionLayers(np.zeros((1, 3, 3)), range(4)),
        ValueError,
        r"`weights` must have shape \(n_layers, 2, 3\) or \(batch, n_layers, 2, 3\), "
        r"but has shape \(1, 3, 3\)",
    ),
    "weights without layers": (
        lambda: ConvolutionLayers(np.zeros(15), range(4), kernel="su4"),
        ValueError,
        r"must have shape \(n_layers, 15\).*but has shape \(15,\)",
    ),
    "no wires": (
        lambda: ConvolutionLayers(np.zeros(SHAPE), []), ValueError, "at least one wire"
    ),
    "few wires": (
        lambda: ConvolutionLayers(np.zeros((1, 3, 3)), range(2), 3),
        ValueError,
        "`kernel_size` must be at most 2, the number of wires, but is 3",
    ),
    "a small kernel": (
        lambda: ConvolutionLayers(np.zeros(SHAPE), range(2), 0),
        ValueError,
        "`kernel_size` must be >= 1, but is 0",
    ),
    "half a kernel": (
        lambda: ConvolutionLayers(np.zeros(SHAPE), range(2), 1.5),
        TypeError,
        r"`kernel_size` must be an integer, but is 1\.5",
    ),
    "no stride": (
        lambda: ConvolutionLayers(np.zeros(SHAPE), range(2), stride=0),
        ValueError,
        "`stride` must be >= 1, but is 0",
    ),
    "half a stride": (
        lambda: windows(3, 2, 0.5), TypeError, r"`stride` must be an integer"
    ),
    "an unknown kernel": (
        lambda: ConvolutionLayers(np.zeros(SHAPE), range(2), kernel="SU4"),
        ValueError,
        '`kernel` must be one of "rotation", "su4", but is \'SU4\'',
    ),
    "no kernel": (
        lambda: ConvolutionLayers(np.zeros(SHAPE), range(2), kernel=3),
        TypeError,
        "`kernel` must be a word, a quantum function or an operation's class, but is "
        "of type int",
    ),
    "su4 of three": (
        lambda: ConvolutionLayers.shape(1, 3, kernel="su4"),
        ValueError,
        r'must be 2 for the kernel "su4", a unitary of two wires, but is 3',
    ),
    "no shape": (
        lambda: ConvolutionLayers.shape(1, kernel=ladder),
        ValueError,
        r"`kernel_shape` must be the shape of the weights .* but is None",
    ),
    "a shape that is another": (
        lambda: ConvolutionLayers.shape(1, kernel="su4", kernel_shape=(3,)),
        ValueError,
        r"`kernel_shape` must be left out for the kernel 'su4', which takes \(15,\)",
    ),
    "a broken shape": (
        lambda: ConvolutionLayers.shape(1, kernel=ladder, kernel_shape=(0,)),
        ValueError,
        "`kernel_shape` must be >= 1, but is 0",
    ),
    "no layers": (
        lambda: ConvolutionLayers.shape(0), ValueError, "`n_layers` must be >= 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "error", "words"), WRONG.values(), ids=WRONG)
def test_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()
