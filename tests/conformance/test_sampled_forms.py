"""Results with shots have the form, the shapes and the types of default.qubit's."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest

DEVICES = ["qstore.mock_ideal", "qstore.mock_noisy"]
H = np.array([[1.0, 2.0j], [-2.0j, 0.5]])
X = np.array([[0.3, -0.8, 1.9], [0.7, 0.2, -0.4]])

MEASUREMENTS = {
    "expval of a word": lambda: qml.expval(qml.Z(0) @ qml.Y(1)),
    "expval of a sum": lambda: qml.expval(0.5 * qml.X(0) @ qml.Z(1) - 2 * qml.Y(2)),
    "expval of a Hamiltonian": lambda: qml.expval(
        qml.Hamiltonian([0.3, 0.7], [qml.Z(0), qml.X(1)])
    ),
    "expval of a sum of matrices": lambda: qml.expval(
        2.0 * qml.Hermitian(H, 0) + qml.Z(1)
    ),
    "expval of a matrix": lambda: qml.expval(qml.Hermitian(H, 1)),
    "expval of a projector": lambda: qml.expval(qml.Projector([1, 0], [0, 2])),
    "var": lambda: qml.var(qml.Z(0) @ qml.X(1)),
    "var of a matrix": lambda: qml.var(qml.Hermitian(H, 2)),
    "probs": lambda: qml.probs(wires=[2, 0]),
    "probs of all wires": lambda: qml.probs(),
    "probs of an observable": lambda: qml.probs(op=qml.X(0) @ qml.Y(1)),
    "sample": lambda: qml.sample(),
    "sample of a wire": lambda: qml.sample(wires=1),
    "sample of wires": lambda: qml.sample(wires=[2, 0]),
    "sample of a word": lambda: qml.sample(qml.X(0) @ qml.Z(1)),
    "sample of a letter": lambda: qml.sample(qml.Y(0)),
    "sample of a matrix": lambda: qml.sample(qml.Hermitian(H, 1)),
    "sample of small integers": lambda: qml.sample(wires=[0, 1], dtype=np.int8),
    "counts": lambda: qml.counts(),
    "counts of wires": lambda: qml.counts(wires=[2, 0]),
    "all counts": lambda: qml.counts(wires=[1, 0], all_outcomes=True),
    "counts of a word": lambda: qml.counts(qml.X(0) @ qml.Z(1)),
    "all counts of a matrix": lambda: qml.counts(
        qml.Hermitian(H, 1), all_outcomes=True
    ),
    "shadow": lambda: qml.classical_shadow([0, 1], seed=3),
    "expval of a shadow": lambda: qml.shadow_expval(qml.Z(0) @ qml.X(1), seed=3),
}
SHOTS = [40, (40,), (40, 30), ((40, 2), 30)]


def circuit(x, returned):
    for i in range(3):
        qml.RX(x[i], i)
        qml.RY(0.4 * (i + 1), i)
    qml.CNOT([0, 1])
    return returned()


def form(result):
    """Nesting, types and shapes of results; for counts the types of keys and values."""
    if isinstance(result, tuple | list):
        return type(result), [form(one) for one in result]
    if isinstance(result, dict):
        kinds = {(type(k), type(v)) for k, v in result.items()}
        return dict, kinds, sum(result.values())
    # PennyLane has a number where it adds up arrays without axes.
    kind = type(result) if np.ndim(result) else None
    return kind, np.shape(result), np.asarray(result).dtype


def both(name, returned, shots, x, *, wires=3, **options):
    for device in (name, "default.qubit"):
        dev = qml.device(device, wires=wires, seed=2)
        qnode = qml.QNode(lambda x: circuit(x, returned), dev, shots=shots, **options)
        yield form(qnode(x))


# Of shadows default.qubit draws no batch, and they know no readout error, which the
# default noise has.
CASES = [
    (name, measurement, batch)
    for name in DEVICES
    for measurement in MEASUREMENTS
    for batch in (None, 1, 2)
    if "shadow" not in measurement or (name, batch) == ("qstore.mock_ideal", None)
]


@pytest.mark.parametrize("shots", SHOTS, ids=str)
@pytest.mark.parametrize(("name", "measurement", "batch"), CASES)
def test_each_measurement_has_the_form_of_default_qubits(
    name, measurement, batch, shots
):
    x = X[0] if batch is None else X[:batch].T
    ours, theirs = both(name, MEASUREMENTS[measurement], shots, x)
    assert ours == theirs


@pytest.mark.parametrize("shots", SHOTS, ids=str)
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("name", DEVICES)
def test_several_measurements_have_the_form_of_default_qubits(name, batch, shots):
    wanted = ["probs", "sample of a word", "expval of a sum", "counts", "var", "sample"]

    def returned():
        return [MEASUREMENTS[measurement]() for measurement in wanted]

    x = X[0] if batch is None else X.T
    ours, theirs = both(name, returned, shots, x)
    assert ours == theirs


MIDDLE = {
    "expval": lambda m, n: qml.expval(m),
    "expval of a sum": lambda m, n: qml.expval(m + 2 * n),
    "var": lambda m, n: qml.var(n),
    "probs": lambda m, n: qml.probs(op=[m, n]),
    "sample": lambda m, n: qml.sample(m),
    "sample of a sum": lambda m, n: qml.sample(m + n),
    "sample of both": lambda m, n: qml.sample([m, n]),
    "counts": lambda m, n: qml.counts(m),
    "counts of a sum": lambda m, n: qml.counts(m + n, all_outcomes=True),
    "counts of both": lambda m, n: qml.counts([m, n]),
}


@pytest.mark.parametrize("shots", SHOTS, ids=str)
@pytest.mark.parametrize("measurement", MIDDLE)
@pytest.mark.parametrize("name", DEVICES)
def test_measurements_inside_have_the_form_of_default_qubits(name, measurement, shots):
    def returned():
        m, n = qml.measure(0), qml.measure(1)
        qml.cond(m, qml.RX)(0.4, 2)
        return MIDDLE[measurement](m, n)

    options = {"wires": None, "mcm_method": "deferred"}
    ours, theirs = both(name, returned, shots, X[0], **options)
    assert ours == theirs
