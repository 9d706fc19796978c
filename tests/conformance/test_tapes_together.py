"""Tapes of one structure in one call: one batch, and the results of each alone."""

from __future__ import annotations

import numpy as np
import pennylane as qml
import pytest
from pennylane.devices import ExecutionConfig

from qstore_pl import NoiseSpec
from qstore_pl.devices import together
from qstore_pl.engine.program import Program

DEVICES = {
    "ideal": lambda **options: qml.device("qstore.mock_ideal", **options),
    "noisy": lambda **options: qml.device(
        "qstore.mock_noisy", noise=NoiseSpec(p1=0.02, readout=(0.03, 0.05)), **options
    ),
    "trajectories": lambda **options: qml.device(
        "qstore.mock_noisy",
        noise=NoiseSpec(p1=0.02, readout=(0.03, 0.05)),
        method="trajectories",
        trajectories=20,
        **options,
    ),
}
EXACT = ["ideal", "noisy"]
RNG = np.random.default_rng(4)
U = np.linalg.qr(RNG.normal(size=(4, 4)) + 1j * RNG.normal(size=(4, 4)))[0]
H = np.array([[1.0, 2.0j], [-2.0j, 0.5]])

MEASURED = {
    "words": lambda: [qml.expval(qml.Z(0) @ qml.X(1)), qml.expval(qml.Y(2))],
    "sum": lambda: [qml.expval(0.3 * qml.Z(0) - 0.8 * qml.X(0) @ qml.Y(1))],
    "matrix": lambda: [qml.expval(qml.Hermitian(H, 1)), qml.var(qml.X(0))],
    "probs": lambda: [qml.probs(wires=[2, 0]), qml.probs(op=qml.X(1))],
}
ANALYTIC = MEASURED | {
    "purity": lambda: [qml.purity([0]), qml.expval(qml.Z(1))],
    "density matrix": lambda: [qml.density_matrix([1])],
}
SAMPLED = MEASURED | {
    "samples": lambda: [qml.sample(), qml.sample(qml.X(0) @ qml.Z(1))],
    "counts": lambda: [qml.counts(wires=[0, 2]), qml.counts(qml.Y(0))],
}


def tape(x, w, measured, *, shots=None, unitary=U):
    """A circuit whose every number is a parameter of the tape."""
    return qml.tape.QuantumScript(
        [
            *[qml.RX(x, wire) for wire in range(3)],
            qml.Rot(*w, wires=1),
            qml.CNOT([0, 1]),
            qml.QubitUnitary(unitary, [1, 2]),
            qml.CRY(0.4, [2, 0]),
        ],
        measured,
        shots=shots,
    )


def tapes(measured, *, shots=None, batch=None, n=5):
    rng = np.random.default_rng(0)
    return [
        tape(rng.normal(size=batch), rng.normal(size=3), measured(), shots=shots)
        for _ in range(n)
    ]


def together_and_alone(device, circuits):
    """Results of one call, and of a call for each tape."""
    config = device.setup_execution_config(ExecutionConfig(), circuits[0])
    config = ExecutionConfig(
        gradient_method="parameter-shift", mcm_config=config.mcm_config
    )
    batched = device.execute(circuits, config)
    return batched, [device.execute([one], config)[0] for one in circuits]


def flat(results):
    return [np.asarray(leaf) for leaf in qml.pytrees.flatten(results)[0]]


def count_runs(monkeypatch):
    """Numbers of samples of the passes that are made."""
    made = []
    for kind in ("PureProgram", "MixedProgram"):
        program = next(c for c in Program.__subclasses__() if c.__name__ == kind)
        new_pass = program.new_pass

        def counted(self, batch, *, new_pass=new_pass, **options):
            made.append(batch)
            return new_pass(self, batch, **options)

        monkeypatch.setattr(program, "new_pass", counted)
    return made


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("measured", ANALYTIC)
@pytest.mark.parametrize("name", EXACT)
def test_tapes_without_shots_have_their_own_results(name, measured, batch):
    circuits = tapes(ANALYTIC[measured], batch=batch)
    batched, alone = together_and_alone(DEVICES[name](), circuits)
    assert len(batched) == len(alone)
    for one, other in zip(batched, alone, strict=True):
        assert qml.pytrees.flatten(one)[1] == qml.pytrees.flatten(other)[1]
        for a, b in zip(flat(one), flat(other), strict=True):
            assert a.shape == b.shape
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shots", [None, 100])
@pytest.mark.parametrize("name", EXACT)
def test_they_are_one_run(name, shots, monkeypatch):
    circuits = tapes(lambda: [qml.expval(qml.Z(0)), qml.expval(qml.Z(1))], shots=shots)
    made = count_runs(monkeypatch)
    DEVICES[name]().execute(circuits, ExecutionConfig(gradient_method="best"))
    assert made == [len(circuits)]


def test_tapes_of_many_structures_keep_their_order():
    device = DEVICES["ideal"]()
    kinds = [
        tape(0.3, [0.1, 0.2, 0.3], [qml.expval(qml.Z(0))]),
        tape(0.3, [0.1, 0.2, 0.3], [qml.expval(qml.Z(1))]),
        tape(np.array([0.3, 0.4]), [0.1, 0.2, 0.3], [qml.expval(qml.Z(0))]),
        qml.tape.QuantumScript([qml.X("a")], [qml.probs("a")]),
        qml.tape.QuantumScript([], [qml.expval(qml.Z(0))]),
        tape(0.3, [0.1, 0.2, 0.3], [qml.expval(qml.Hermitian(H, 0))]),
        tape(0.3, [0.1, 0.2, 0.3], [qml.expval(qml.Hermitian(2 * H, 0))]),
    ]
    circuits = [*kinds, *kinds[::-1], *kinds]
    batched, alone = together_and_alone(device, circuits)
    for one, other in zip(batched, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-13)


def test_what_is_equal_stays_shared():
    """A large matrix that all tapes have is not a column of each."""
    plan_circuits = tapes(MEASURED["words"])
    taking = together.Taking()
    circuit = together.take_apart(plan_circuits[0])
    values = [together.values_of(taking.of(one).parts) for one in plan_circuits]
    stacked = together.stacked(
        circuit,
        np.stack([weights for weights, _, _ in values]),
        np.stack([features for _, features, _ in values]),
    )
    assert stacked.features.shape == (5, 6)  # three angles RX, three of Rot
    assert stacked.weights.shape == (33,)  # of the matrix, and of CRY
    batched = tape(np.zeros(5), np.zeros((3, 5)), MEASURED["words"]())
    assert stacked.key == together.take_apart(batched).key


def test_matrices_may_differ():
    others = [np.linalg.qr(U + k * np.eye(4))[0] for k in range(3)]
    circuits = [
        tape(0.2, [0.1, 0.2, 0.3], [qml.expval(qml.X(1))], unitary=other)
        for other in others
    ]
    batched, alone = together_and_alone(DEVICES["ideal"](), circuits)
    np.testing.assert_allclose(batched, alone, rtol=0, atol=1e-13)
    assert len(set(np.round(alone, 6))) == 3


# -------------------------------------------------------------------------- shots
@pytest.mark.parametrize("shots", [40, (30, 10)])
@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("measured", SAMPLED)
@pytest.mark.parametrize("name", DEVICES)
def test_samples_do_not_depend_on_what_runs_together(
    name, measured, batch, shots, monkeypatch
):
    circuits = tapes(SAMPLED[measured], shots=shots, batch=batch)
    config = ExecutionConfig(gradient_method="parameter-shift")
    results = [DEVICES[name](seed=3).execute(circuits, config) for _ in range(2)]
    monkeypatch.setattr(together, "CHUNK_BYTES", 1)  # one tape at a time
    results.append(DEVICES[name](seed=3).execute(circuits, config))
    first, *others = map(qml.pytrees.flatten, results)
    for other in others:
        assert str(first[1]) == str(other[1])
        for a, b in zip(first[0], other[0], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", DEVICES)
def test_no_two_circuits_of_a_call_draw_the_same(name):
    """Tapes, groups, samples and numbers of shots all have streams of their own."""
    half = [qml.RX(np.full(2, np.pi / 2), 0), qml.RX(np.pi / 2, 1)]
    returned = [qml.sample(wires=[0]), qml.sample(qml.Y(0)), qml.expval(qml.Z(1))]
    alone = [qml.sample(wires=[0])]
    circuits = [
        qml.tape.QuantumScript(half, measured, shots=(100, 100))
        for measured in (returned, alone, returned, alone)
    ]
    found = DEVICES[name](seed=1).execute(circuits)
    draws = []
    for result in found:
        for entry in result:
            bits = entry[0] if isinstance(entry, tuple) else entry
            draws += [np.asarray(row).tobytes() for row in bits]
    assert len(draws) == len(set(draws)) == 16


@pytest.mark.parametrize("measured", MEASURED)
@pytest.mark.parametrize("name", EXACT)
def test_means_are_within_five_standard_errors(name, measured):
    shots = 20_000
    exact = DEVICES[name]().execute(tapes(MEASURED[measured], n=8))
    found = DEVICES[name](seed=7).execute(tapes(MEASURED[measured], shots=shots, n=8))
    for a, b in zip(flat(found), flat(exact), strict=True):
        bound = b * (1 - b) if measured == "probs" else 9.0
        assert np.all(np.abs(a - b) <= 5 * np.sqrt(bound / shots) + 1e-12)
    assert np.any(np.concatenate([a.ravel() for a in flat(found)]) != 0)


@pytest.mark.parametrize("name", EXACT)
def test_a_call_is_tracked_as_before(name):
    circuits = tapes(MEASURED["sum"], shots=10)
    device = DEVICES[name]()
    with qml.Tracker(device) as one:
        device.execute(circuits)
    with qml.Tracker(device) as other:
        for circuit in circuits:
            device.execute([circuit])
    assert one.totals["executions"] == other.totals["executions"] == 2 * len(circuits)
    assert one.totals["shots"] == other.totals["shots"] == 20 * len(circuits)


# ------------------------------------------------------------------ who uses it
@pytest.mark.parametrize("shots", [None, 30_000])
@pytest.mark.parametrize("name", EXACT)
def test_shifted_gradients_are_those_of_default_mixed(name, shots):
    def circuit(w):
        qml.RX(w[0], 0)
        qml.CNOT([0, 1])
        qml.Rot(w[1], w[2], w[0] * w[1], 1)
        return qml.expval(qml.Z(1))

    w = qml.numpy.array([0.4, 1.1, -0.7])
    exact = qml.QNode(circuit, DEVICES[name](), diff_method="best")
    shifted = qml.QNode(
        circuit, DEVICES[name](seed=2), diff_method="parameter-shift", shots=shots
    )
    error = 1e-12 if shots is None else 5 * np.sqrt(3 / shots)
    np.testing.assert_allclose(
        qml.grad(shifted)(w), qml.grad(exact)(w), rtol=0, atol=error
    )


def test_each_tape_has_its_own_shadow():
    circuits = [
        qml.tape.QuantumScript(
            [qml.RX(x, 0)], [qml.shadow_expval(qml.Z(0))], shots=20_000
        )
        for x in (0.0, 1.0, 3.0)
    ]
    found = DEVICES["ideal"](seed=4).execute(circuits)
    error = 5 * np.sqrt(3 / 20_000)
    np.testing.assert_allclose(found, np.cos([0.0, 1.0, 3.0]), rtol=0, atol=error)
