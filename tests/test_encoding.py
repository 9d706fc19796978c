"""QuantumDataEncoder: what each method returns, refuses, and means in a circuit."""

import copy
import pickle

import numpy as np
import pennylane as qml
import pytest
import torch

from qstore_pl.encoding import METHODS, QuantumDataEncoder
from qstore_pl.templates import BasisEncoding, ZZFeatureMap

RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    ("n_features", "n_qubits"),
    [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (64, 6), (65, 7)],
)
def test_amplitude_rows_are_padded_unit_vectors(n_features, n_qubits):
    data = RNG.normal(size=(5, n_features))
    rows = QuantumDataEncoder().encode(data, method="amplitude")
    assert rows.shape == (5, 2**n_qubits)
    np.testing.assert_allclose((rows**2).sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(rows[:, n_features:], 0)
    cosines = (rows[:, :n_features] * data).sum(axis=1) / np.sqrt((data**2).sum(axis=1))
    np.testing.assert_allclose(cosines, 1, rtol=1e-14)


@pytest.mark.parametrize("n_features", [8, 13, 64])
def test_amplitude_embedding_of_a_row_is_the_padded_vector(n_features):
    data = RNG.normal(size=(3, n_features))
    rows = QuantumDataEncoder().encode(data, method="amplitude")
    wires = range((rows.shape[1] - 1).bit_length())

    @qml.qnode(qml.device("default.qubit"))
    def embedded(row):
        qml.AmplitudeEmbedding(row, wires=wires)
        return qml.state()

    for sample, row in zip(data, rows, strict=True):
        target = np.zeros(len(row))
        target[:n_features] = sample / np.sqrt(sample @ sample)
        fidelity = abs(np.vdot(target, embedded(row))) ** 2
        assert fidelity == pytest.approx(1, abs=1e-14)


def test_amplitude_uses_the_qubits_it_is_given():
    rows = QuantumDataEncoder(n_qubits=4).encode([[3, 4], [0, 2]], method="amplitude")
    expected = np.zeros((2, 16))
    expected[:, :2] = [[0.6, 0.8], [0, 1]]
    np.testing.assert_allclose(rows, expected, rtol=1e-15)


def test_amplitude_says_how_many_qubits_are_needed():
    encoder = QuantumDataEncoder(n_qubits=5)
    with pytest.raises(
        ValueError,
        match="`n_qubits` must be >= 6 to hold 64 features as amplitudes, but is 5",
    ):
        encoder.encode(np.ones((2, 64)), method="amplitude")


@pytest.mark.parametrize("factor", [1e-320, 1e-200, 1e200, 1e308])
def test_amplitude_of_very_small_and_large_vectors(factor):
    rows = QuantumDataEncoder().encode([[factor, -factor]], method="amplitude")
    np.testing.assert_allclose(rows, [[np.sqrt(0.5), -np.sqrt(0.5)]], rtol=1e-15)


@pytest.mark.parametrize(
    ("data", "row"), [(np.zeros(4), 0), ([[1, 0], [0, 0], [0, 0]], 1)]
)
def test_amplitude_refuses_a_zero_vector_by_its_row(data, row):
    with pytest.raises(ValueError, match=f"no zero vector .*, but row {row} is one"):
        QuantumDataEncoder().encode(data, method="amplitude")


@pytest.mark.parametrize("method", ["angle", "zz_feature_map"])
def test_features_pass_times_the_scale(method):
    data = RNG.normal(size=(6, 4))
    for encoder in (QuantumDataEncoder(), QuantumDataEncoder(n_qubits=4)):
        np.testing.assert_array_equal(encoder.encode(data, method=method), data)
        np.testing.assert_array_equal(
            encoder.encode(data, method=method, scale=-np.pi), -np.pi * data
        )


def test_angle_is_the_default():
    np.testing.assert_array_equal(
        QuantumDataEncoder().encode([[1, 2]], scale=0.5), [[0.5, 1.0]]
    )


@pytest.mark.parametrize("method", ["angle", "basis", "zz_feature_map"])
def test_one_feature_per_qubit(method):
    with pytest.raises(
        ValueError,
        match=rf'must have 3 features, one per qubit, for method "{method}", '
        r"but has shape \(2, 4\)",
    ):
        QuantumDataEncoder(n_qubits=3).encode(np.ones((2, 4)), method=method)


def test_basis_bits_pass():
    bits = RNG.integers(0, 2, size=(6, 5))
    for data in (bits, bits.astype(bool), bits.astype(np.float32), bits.tolist()):
        rows = QuantumDataEncoder(n_qubits=5).encode(data, method="basis")
        np.testing.assert_array_equal(rows, bits)
        assert rows.dtype == np.float64


@pytest.mark.parametrize("n_qubits", [None, 5, 70])
def test_basis_numbers_become_digits(n_qubits):
    numbers = np.array([0, 1, 6, 19])
    rows = QuantumDataEncoder(n_qubits).encode(numbers[:, None], method="basis")
    width = n_qubits or 5
    expected = [[float(digit) for digit in f"{k:0{width}b}"] for k in numbers]
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("number", [6, 6.0, [6], np.int8(6)])
def test_basis_of_one_number_is_one_row(number):
    row = QuantumDataEncoder(4).encode(number, method="basis")
    np.testing.assert_array_equal(row, [0, 1, 1, 0])


def test_basis_zero_takes_one_qubit():
    np.testing.assert_array_equal(QuantumDataEncoder().encode(0, method="basis"), [0])


def test_basis_number_that_does_not_fit():
    with pytest.raises(
        ValueError, match="`n_qubits` must be >= 3 to hold the number 5, but is 2"
    ):
        QuantumDataEncoder(n_qubits=2).encode([[1], [5]], method="basis")


@pytest.mark.parametrize("wrong", [0.5, 2, -1])
def test_basis_refuses_other_bits(wrong):
    with pytest.raises(
        ValueError, match=rf"bits 0 and 1 .*, but entry \(1, 0\) is {wrong}"
    ):
        QuantumDataEncoder().encode([[0, 1], [wrong, 1]], method="basis")


def test_basis_says_how_numbers_come():
    with pytest.raises(ValueError, match=r"one per row, shape \(n_samples, 1\)"):
        QuantumDataEncoder().encode([5, 2], method="basis")


@pytest.mark.parametrize("wrong", [0.5, -1, 2**53, 2**60])
def test_basis_refuses_what_is_no_whole_number(wrong):
    with pytest.raises(
        ValueError, match=r"whole numbers from 0 to 2\*\*53 - 1, but entry \(1, 0\)"
    ):
        QuantumDataEncoder().encode([[3], [wrong]], method="basis")


def test_the_largest_whole_number_is_exact():
    row = QuantumDataEncoder().encode(2**53 - 1, method="basis")
    np.testing.assert_array_equal(row, np.ones(53))


@pytest.mark.parametrize(
    ("method", "embedding"),
    [
        ("amplitude", qml.AmplitudeEmbedding),
        ("angle", qml.AngleEmbedding),
        ("basis", BasisEncoding),
        ("zz_feature_map", ZZFeatureMap),
    ],
)
def test_rows_are_what_the_template_takes(method, embedding):
    data = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    rows = QuantumDataEncoder(n_qubits=2).encode(data, method=method)
    operation = embedding(rows, wires=range(2))
    assert operation.batch_size == 3
    assert len(operation.wires) == 2


@pytest.mark.parametrize("method", METHODS)
def test_one_sample_in_one_row_out(method):
    encoder = QuantumDataEncoder()
    batch = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    rows = encoder.encode(batch, method=method)
    for sample, row in zip(batch, rows, strict=True):
        alone = encoder.encode(sample, method=method)
        assert alone.ndim == 1
        np.testing.assert_array_equal(alone, row)


@pytest.mark.parametrize("method", METHODS)
def test_encode_batch_is_encode(method):
    encoder = QuantumDataEncoder(n_qubits=2)
    batch = [[1, 0], [1, 1]]
    np.testing.assert_array_equal(
        encoder.encode_batch(batch, method=method), encoder.encode(batch, method=method)
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_new_and_the_data_stay(method):
    data = np.array([[1.0, 0.0], [1.0, 1.0]])
    before = data.copy()
    rows = QuantumDataEncoder().encode(data, method=method)
    assert not np.shares_memory(rows, data)
    np.testing.assert_array_equal(data, before)
    assert rows.dtype == np.float64


@pytest.mark.parametrize(
    "container", [np.asfortranarray, np.ndarray.tolist, torch.tensor]
)
@pytest.mark.parametrize("method", METHODS)
def test_containers(container, method):
    data = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    encoder = QuantumDataEncoder()
    np.testing.assert_array_equal(
        encoder.encode(container(data), method=method),
        encoder.encode(data, method=method),
    )


@pytest.mark.parametrize("method", ["amplitude", "basis"])
def test_a_scale_that_would_be_ignored_is_an_error(method):
    with pytest.raises(
        ValueError, match=rf'`scale` must be left out for method "{method}".*is 2\.0'
    ):
        QuantumDataEncoder().encode([[1, 0]], method=method, scale=2)


@pytest.mark.parametrize(
    ("scale", "error"), [("2", TypeError), (1j, TypeError), (np.nan, ValueError)]
)
def test_scale_is_a_finite_real_number(scale, error):
    with pytest.raises(error, match="Argument `scale` must be"):
        QuantumDataEncoder().encode([[1, 0]], scale=scale)


@pytest.mark.parametrize("method", ["Angle", "iqp", "", None])
def test_unknown_method_lists_the_known(method):
    known = '"amplitude", "angle", "basis", "zz_feature_map"'
    with pytest.raises(ValueError, match=f"one of {known}, but is {method!r}"):
        QuantumDataEncoder().encode([[1, 0]], method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_by_position(method, value):
    data = np.ones((3, 2))
    data[2, 1] = value
    with pytest.raises(ValueError, match=rf"finite, but entry \(2, 1\) is {value}"):
        QuantumDataEncoder().encode(data, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("data", [[[1 + 0j, 1]], [["1", "0"]], [[None, 1]]])
def test_complex_and_not_numeric_are_refused(method, data):
    with pytest.raises(TypeError, match="`data` must hold real numbers, but has dtype"):
        QuantumDataEncoder().encode(data, method=method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "data", [[], np.ones((0, 2)), np.ones((2, 0)), np.ones((1, 1, 2))]
)
def test_empty_and_other_shapes_are_refused(method, data):
    with pytest.raises(ValueError, match=r"must have shape \(n_samples, n_features\)"):
        QuantumDataEncoder().encode(data, method=method)


@pytest.mark.parametrize("method", ["amplitude", "angle", "zz_feature_map"])
def test_a_bare_number_is_no_sample(method):
    with pytest.raises(ValueError, match=r"but has shape \(\)"):
        QuantumDataEncoder().encode(3, method=method)


@pytest.mark.parametrize(
    ("n_qubits", "error"),
    [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)],
)
def test_n_qubits_is_a_positive_integer(n_qubits, error):
    with pytest.raises(error, match="Argument `n_qubits` must be"):
        QuantumDataEncoder(n_qubits=n_qubits)


def test_is_a_value():
    encoder = QuantumDataEncoder(n_qubits=4)
    assert repr(encoder) == "QuantumDataEncoder(n_qubits=4)"
    assert pickle.loads(pickle.dumps(encoder)) == encoder == copy.deepcopy(encoder)
