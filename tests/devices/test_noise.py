"""The noise description against dense matrices, closed forms and default.mixed."""

import copy
import dataclasses
import itertools
import math
import pickle
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest
import torch
from jax.experimental import enable_x64
from pennylane import numpy as pnp

from qstore_pl.devices import noise as noise_module
from qstore_pl.devices.noise import NoiseSpec
from qstore_pl.devices.presets import PRESETS, as_noise, preset

FILE = Path(noise_module.__file__).with_name("presets.toml")
TABLES = tomllib.loads(FILE.read_text(encoding="utf-8"))
FULL = NoiseSpec(
    p1=0.02,
    p2=0.05,
    t1=50e-6,
    t2=70e-6,
    gate_time_1=2e-6,
    gate_time_2=9e-6,
    excited=0.15,
    dephasing=0.03,
    over_rotation=0.04,
    readout={0: (0.03, 0.08), "b": (0.1, 0.02)},
)


# --- what a spec takes -----------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"p1": -0.1}, ValueError, "`p1` must be >= 0"),
        ({"p1": 0.76}, ValueError, "`p1` must be <= 0.75"),
        ({"p1": math.nan}, ValueError, "`p1` must be finite"),
        ({"p1": True}, TypeError, "`p1` must be a real number"),
        ({"p1": "0.1"}, TypeError, "`p1` must be a real number"),
        ({"p2": -1e-9}, ValueError, "`p2` must be >= 0"),
        ({"p2": 0.94}, ValueError, "`p2` must be <= 0.9375"),
        ({"p2": 2.0}, ValueError, "`p2` must be <= 0.9375"),
        ({"dephasing": 0.51}, ValueError, "`dephasing` must be <= 0.5"),
        ({"dephasing": -0.01}, ValueError, "`dephasing` must be >= 0"),
        ({"excited": 1.01}, ValueError, "`excited` must be <= 1"),
        ({"excited": -0.01}, ValueError, "`excited` must be >= 0"),
        ({"t1": 0.0, "t2": 0.0}, ValueError, "`t1` must be > 0"),
        ({"t1": -math.inf}, ValueError, "`t1` must be finite"),
        ({"t1": math.nan}, ValueError, "`t1` must be finite"),
        ({"t2": 0.0}, ValueError, "`t2` must be > 0"),
        ({"t1": 1.0, "t2": 2.0000001}, ValueError, r"`t2` must be <= 2 \* t1 = 2.0 s"),
        ({"t1": 1.0}, ValueError, r"is t2 = 2 \* t1"),
        ({"gate_time_1": -1e-9}, ValueError, "`gate_time_1` must be >= 0"),
        ({"gate_time_2": math.inf}, ValueError, "`gate_time_2` must be finite"),
        ({"over_rotation": math.inf}, ValueError, "`over_rotation` must be finite"),
        ({"readout": 0.1}, ValueError, "but has shape"),
        ({"readout": (0.1, 0.2, 0.3)}, ValueError, "but has shape"),
        ({"readout": np.eye(3)}, ValueError, "but has shape"),
        ({"readout": (-0.1, 0.2)}, ValueError, "probabilities from 0 to 1"),
        ({"readout": (0.1, 1.2)}, ValueError, "probabilities from 0 to 1"),
        ({"readout": (math.nan, 0.2)}, ValueError, "must be finite"),
        ({"readout": ("a", "b")}, TypeError, "must hold real numbers"),
        ({"readout": (0.6, 0.5)}, ValueError, "Swap the outcomes"),
        ({"readout": {"q": (0.6, 0.5)}}, ValueError, r"`readout\['q'\]`"),
        ({"readout": [[0.9, 0.1], [0.3, 0.8]]}, ValueError, "rows that sum to 1"),
        ({"readout": [[1.1, -0.1], [0.2, 0.8]]}, ValueError, "probabilities from"),
        ({"readout": [[0.1, 0.9], [0.8, 0.2]]}, ValueError, "Swap the outcomes"),
    ],
)
def test_refused(values, error, message):
    with pytest.raises(error, match=message):
        NoiseSpec(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"p1": 0.75, "p2": 15 / 16, "dephasing": 0.5, "excited": 1.0},
        {"t1": 1.0, "t2": 2.0},
        {"t2": 1.0},
        {"over_rotation": -0.3},
        {"readout": (0.5, 0.5)},
        {"readout": (1.0, 0.0)},
    ],
)
def test_limits_are_accepted(values):
    spec = NoiseSpec(**values)
    assert all(getattr(spec, name) == value for name, value in values.items())


def test_readout_has_one_form():
    pair = NoiseSpec(readout=(0.02, 0.05))
    assert NoiseSpec(readout=np.array([[0.98, 0.02], [0.05, 0.95]])) == pair
    assert pair.readout_of("any") == (0.02, 0.05)
    by_wire = NoiseSpec(
        readout={"b": [0.1, 0.0], 2: [[0.9, 0.1], [0.2, 0.8]], 1: (0, 0)}
    )
    assert by_wire == NoiseSpec(readout={2: (0.1, 0.2), "b": (0.1, 0.0)})
    assert by_wire.readout_of(2) == (0.1, 0.2)
    assert by_wire.readout_of("b") == (0.1, 0.0)
    assert by_wire.readout_of(1) == by_wire.readout_of("c") == (0.0, 0.0)
    assert NoiseSpec(readout={0: (0.0, 0.0)}) == NoiseSpec(readout={}) == NoiseSpec()


def test_is_a_value():
    for spec in (FULL, NoiseSpec(), NoiseSpec(t1=1.0, t2=1.0, readout=(0.1, 0.2))):
        assert pickle.loads(pickle.dumps(spec)) == spec == copy.deepcopy(spec)
        assert hash(dataclasses.replace(spec)) == hash(spec)
        names = {"NoiseSpec": NoiseSpec, "math": math}
        assert eval(repr(spec), names) == spec
    assert repr(NoiseSpec()) == "NoiseSpec()"
    assert repr(NoiseSpec(p1=1e-3)) == "NoiseSpec(p1=0.001)"
    assert NoiseSpec(p1=0.1) != NoiseSpec(p2=0.1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.p1 = 0.0
    with pytest.raises(TypeError, match="positional"):
        NoiseSpec(0.1)


@pytest.mark.parametrize(
    ("values", "gates", "readout"),
    [
        ({}, False, False),
        ({"p1": 0.1}, True, False),
        ({"p2": 0.1}, True, False),
        ({"dephasing": 0.1}, True, False),
        ({"over_rotation": -0.1}, True, False),
        ({"t1": 1.0, "t2": 1.0}, False, False),
        ({"gate_time_1": 1.0}, False, False),
        ({"t2": 1.0, "gate_time_1": 1.0}, True, False),
        ({"t2": 1.0, "gate_time_2": 1.0}, True, False),
        ({"readout": (0.0, 0.1)}, False, True),
        ({"readout": {"a": (0.0, 0.1)}}, False, True),
    ],
)
def test_what_is_noisy(values, gates, readout):
    spec = NoiseSpec(**values)
    assert (spec.has_gate_noise, spec.has_readout_error) == (gates, readout)


# --- scaling ---------------------------------------------------------------------


def test_scaling_multiplies():
    twice = FULL.scaled(2)
    assert twice == NoiseSpec(
        p1=0.04,
        p2=0.1,
        t1=50e-6,
        t2=70e-6,
        gate_time_1=4e-6,
        gate_time_2=18e-6,
        excited=0.15,
        dephasing=0.06,
        over_rotation=0.08,
        readout={0: (0.06, 0.16), "b": (0.2, 0.04)},
    )
    assert NoiseSpec(readout=(0.1, 0.04)).scaled(0.5).readout == (0.05, 0.02)


def test_scaling_stops_where_everything_is_forgotten():
    much = FULL.scaled(100)
    assert (much.p1, much.p2, much.dephasing) == (0.75, 15 / 16, 0.5)
    assert much.readout_of("b") == (0.5, 0.5)
    assert much.over_rotation == 4.0
    assert NoiseSpec(readout=(0.3, 0.1)).scaled(3).readout == (0.5, 0.1 * 3)


def test_scaling_by_zero_and_one():
    nothing = FULL.scaled(0)
    assert not nothing.has_gate_noise
    assert not nothing.has_readout_error
    assert FULL.scaled(1) == FULL
    lopsided = NoiseSpec(readout=(0.8, 0.1))
    assert lopsided.scaled(1.0) == lopsided


@pytest.mark.parametrize("scale", [-0.1, math.inf, math.nan])
def test_scale_out_of_range(scale):
    with pytest.raises(ValueError, match="`scale` must be"):
        FULL.scaled(scale)


# --- channels --------------------------------------------------------------------

I2, X, Y, Z = (qml.matrix(op(0)) for op in (qml.I, qml.X, qml.Y, qml.Z))


def superoperator(channels, wires):
    """Row-major superoperator of channels in time order, shape (4**n, 4**n)."""
    total = np.eye(4 ** len(wires))
    for channel in channels:
        kraus = [
            qml.math.expand_matrix(k, channel.wires, wires)
            for k in channel.kraus_matrices()
        ]
        total = sum(np.kron(k, k.conj()) for k in kraus) @ total
    return total


def process_infidelity(superop):
    """1 - F of the average gate fidelity F, from the trace of the superoperator."""
    d = math.isqrt(len(superop))
    return 1 - (np.trace(superop).real / d + 1) / (d + 1)


def random_spec(rng):
    """Any accepted strengths, with their limits now and then."""

    def draw(maximum):
        return float(rng.choice([0.0, maximum, rng.uniform(0, maximum)]))

    t1 = float(rng.choice([math.inf, 10 ** rng.uniform(-6, 0)]))
    scale = 1.0 if math.isinf(t1) else t1
    ratio = float(rng.choice([rng.uniform(0.01, 1), rng.uniform(1, 2), 2.0]))
    return NoiseSpec(
        p1=draw(0.75),
        p2=draw(15 / 16),
        t1=t1,
        t2=ratio * scale,
        gate_time_1=scale * 10 ** rng.uniform(-4, 2),
        gate_time_2=scale * 10 ** rng.uniform(-4, 2),
        excited=draw(1.0),
        dephasing=draw(0.5),
        readout=tuple(rng.dirichlet([1, 1, 1])[:2]),
    )


@pytest.mark.parametrize("op", [qml.H("a"), qml.CNOT(["a", 1]), "readout"], ids=str)
def test_completely_positive_and_trace_preserving(op):
    rng = np.random.default_rng(5)
    for _ in range(150):
        spec = random_spec(rng)
        channels = (
            [spec.readout_channel(0)] if op == "readout" else spec.operations_after(op)
        )
        wires = qml.wires.Wires([0]) if op == "readout" else op.wires
        n, d = len(wires), 2 ** len(wires)
        superop = superoperator(channels, wires)
        grid = superop.reshape(d, d, d, d)  # out row, out column, in row, in column
        choi = grid.transpose(0, 2, 1, 3).reshape(d * d, d * d)
        assert np.linalg.eigvalsh(choi).min() > -1e-12
        assert np.trace(choi) == pytest.approx(2**n, abs=1e-12)
        np.testing.assert_allclose(np.einsum("iijk->jk", grid), np.eye(d), atol=1e-12)


def relaxed(blocks, spec, time):
    """The textbook solution for the blocks [[a, b], [c, d]] of one wire."""
    (a, b), (c, d) = blocks
    kept, coherent = math.exp(-time / spec.t1), math.exp(-time / spec.t2)
    up, down = (1 - kept) * spec.excited, (1 - kept) * (1 - spec.excited)
    return [
        [(1 - up) * a + down * d, coherent * b],
        [coherent * c, up * a + (1 - down) * d],
    ]


def mixed(blocks, kept):
    (a, b), (c, d) = blocks
    half = (1 - kept) * (a + d) / 2
    return [[kept * a + half, kept * b], [kept * c, kept * d + half]]


def dephased(blocks, q):
    (a, b), (c, d) = blocks
    return [[a, (1 - 2 * q) * b], [(1 - 2 * q) * c, d]]


def on_wire(rho, wire, change):
    """Apply a function of the four blocks of a density tensor, shape (2,) * 2n."""
    n = rho.ndim // 2
    moved = np.moveaxis(rho, (wire, n + wire), (0, 1))
    return np.moveaxis(np.array(change(moved)), (0, 1), (wire, n + wire))


def noisy(rho, spec, wires):
    """What follows a gate on ``wires`` (numbers), with no Kraus matrix."""
    if len(wires) == 1:
        rho = on_wire(rho, wires[0], lambda b: mixed(b, 1 - 4 * spec.p1 / 3))
        time = spec.gate_time_1
    else:
        flat = rho
        for wire in wires:
            flat = on_wire(flat, wire, lambda b: mixed(b, 0.0))
        kept = 1 - 16 * spec.p2 / 15
        rho, time = kept * rho + (1 - kept) * flat, spec.gate_time_2
    for wire in wires:
        rho = on_wire(rho, wire, lambda b: dephased(b, spec.dephasing))
        rho = on_wire(rho, wire, lambda b: relaxed(b, spec, time))
    return rho


def random_density(rng, n):
    a = rng.normal(size=(2**n, 2**n)) + 1j * rng.normal(size=(2**n, 2**n))
    rho = a @ a.conj().T
    return rho / np.trace(rho)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("n", [1, 2])
def test_channels_are_the_textbook_ones(n, seed):
    rng = np.random.default_rng([n, seed])
    spec, rho = random_spec(rng), random_density(rng, n)
    op = qml.H("a") if n == 1 else qml.CNOT(["a", 1])
    expected = noisy(rho.reshape((2,) * 2 * n), spec, list(range(n)))
    found = superoperator(spec.operations_after(op), op.wires) @ rho.ravel()
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-12)


def test_relaxation_longer_than_pennylane_can():
    """Its Kraus operators for t2 > t1 are off by 1 at 40 t1."""
    spec = NoiseSpec(t1=1.0, t2=1.5, gate_time_1=40.0, excited=0.2)
    found = superoperator(spec.operations_after(qml.X(0)), [0]) @ [0, 0, 0, 1]
    np.testing.assert_allclose(found, [0.8, 0, 0, 0.2], atol=1e-12)


@pytest.mark.parametrize(
    ("values", "one", "two"),
    [
        ({}, [], []),
        ({"p1": 0.1}, ["DepolarizingChannel"], []),
        ({"p2": 0.1}, [], ["QubitChannel"]),
        ({"dephasing": 0.1}, ["PhaseFlip"], ["PhaseFlip"] * 2),
        ({"t2": 1.0, "gate_time_1": 0.1}, ["ThermalRelaxationError"], []),
        (
            {"t1": 1.0, "t2": 1.0, "gate_time_2": 1.0},
            [],
            ["ThermalRelaxationError"] * 2,
        ),
        ({"over_rotation": 0.1, "readout": (0.1, 0.1)}, [], []),
    ],
)
def test_what_follows_a_gate(values, one, two):
    spec = NoiseSpec(**values)
    assert [op.name for op in spec.operations_after(qml.RX(0.1, "a"))] == one
    assert [op.name for op in spec.operations_after(qml.CRX(0.1, ["a", 3]))] == two


def test_order_after_a_gate():
    after = FULL.operations_after(qml.CNOT([3, "a"]))
    assert [(op.name, *op.wires) for op in after] == [
        ("QubitChannel", 3, "a"),
        ("PhaseFlip", 3),
        ("PhaseFlip", "a"),
        ("ThermalRelaxationError", 3),
        ("ThermalRelaxationError", "a"),
    ]
    assert after[-1].parameters == [0.15, 50e-6, 70e-6, 9e-6]


@pytest.mark.parametrize(
    "op",
    [
        qml.StatePrep([1, 0], 0),
        qml.BasisState([1], 0),
        qml.AmplitudeEmbedding([1, 0], 0),
        qml.BasisEmbedding([1], 0),
        qml.QubitDensityMatrix(np.diag([1, 0]), 0),
        qml.StatePrep(np.eye(8)[0], [0, 1, 2]),
        qml.Barrier([0]),
        qml.WireCut(0),
        qml.GlobalPhase(0.3),
        qml.GlobalPhase(0.3, 0),
        qml.Identity(0),
        qml.Snapshot("now"),
        qml.BitFlip(0.1, 0),
        qml.QubitChannel([np.eye(2)], 0),
        qml.ops.MidMeasure(0),
    ],
    ids=str,
)
def test_no_gate_has_no_noise(op):
    assert FULL.operations_after(op) == []


@pytest.mark.parametrize("op", [qml.Toffoli([0, 1, 2]), qml.MultiRZ(0.1, range(4))])
def test_wide_gates_are_refused(op):
    with pytest.raises(ValueError, match=rf"{op.name} acts on {len(op.wires)}. Decomp"):
        FULL.operations_after(op)


# --- presets ---------------------------------------------------------------------


def test_names_of_the_presets():
    assert set(PRESETS) == {*TABLES, "default"}
    assert {"ionq", "ibm", "rigetti", "google", "mild", "strong"} <= set(PRESETS)
    assert preset("default") == preset("mild")
    with pytest.raises(AttributeError, match="'NOTHING'"):
        _ = noise_module.NOTHING


@pytest.mark.parametrize("name", TABLES)
def test_a_preset_is_documented_and_physical(name):
    table, spec = TABLES[name], preset(name)
    for key in ("source", "date", "notes"):
        assert isinstance(table[key], str)
        assert table[key].strip()
    given = {f.name for f in dataclasses.fields(NoiseSpec)} & set(table)
    assert {"t1", "t2", "gate_time_1", "gate_time_2", "readout"} <= given
    infidelities = {"infidelity_1", "infidelity_2"}
    assert set(table) == {"source", "date", "notes", *given} | (
        infidelities & set(table) or {"p1", "p2"}
    )
    assert all(
        getattr(spec, key) == (tuple(table[key]) if key == "readout" else table[key])
        for key in given
    )
    assert 0 < spec.p1 < spec.p2 < 0.05
    assert spec.t2 <= 2 * spec.t1
    assert 0 < spec.gate_time_1 < spec.gate_time_2 < spec.t2 / 100
    assert all(0 < e < 0.1 for e in spec.readout)


@pytest.mark.parametrize("name", [n for n in TABLES if "infidelity_1" in TABLES[n]])
def test_a_preset_has_the_published_infidelity(name):
    spec, table = preset(name), TABLES[name]
    for op, published in [
        (qml.H(0), table["infidelity_1"]),
        (qml.CZ([0, 1]), table["infidelity_2"]),
    ]:
        superop = superoperator(spec.operations_after(op), op.wires)
        assert process_infidelity(superop) == pytest.approx(published, abs=1e-12)


def test_the_strong_preset_is_as_strong_as_it_says():
    after = preset("strong").operations_after(qml.CZ([0, 1]))
    assert process_infidelity(superoperator(after, [0, 1])) == pytest.approx(
        0.014, abs=5e-4
    )


def test_as_noise():
    model = FULL.to_noise_model()
    assert as_noise(model) is model
    assert as_noise(FULL) is FULL
    assert as_noise(None) == NoiseSpec()
    assert as_noise("ibm") == preset("ibm")
    with pytest.raises(ValueError, match='must be one of "default", "google", "ibm"'):
        as_noise("eagle")
    with pytest.raises(TypeError, match=r"`noise` must be the name .* but is 0.1"):
        as_noise(0.1)


# --- as a NoiseModel of PennyLane ------------------------------------------------

LABELS = ["b", 0, 2]


def run(ops, measure, spec, *, level="user", shots=None):
    @qml.noise.add_noise(noise_model=spec.to_noise_model(), level=level)
    @qml.qnode(qml.device("default.mixed", wires=LABELS, seed=1), shots=shots)
    def circuit():
        for op in ops:
            qml.apply(op)
        return measure()

    return circuit()


def over_rotated(op, eps):
    """The dense matrix of the gate with scaled angles."""
    angles = [(1 + eps) * value for value in op.data]
    if isinstance(op, qml.ops.Adjoint):
        return over_rotated(op.base, eps).conj().T
    return qml.matrix(type(op)(*angles, wires=op.wires))


def twin(ops, spec):
    """Density tensor after the noisy circuit, shape (2,) * 6."""
    n = len(LABELS)
    rho = np.zeros((2,) * 2 * n, complex)
    rho[(0,) * 2 * n] = 1
    for op in ops:
        wires = [LABELS.index(w) for w in op.wires]
        gate = qml.math.expand_matrix(
            over_rotated(op, spec.over_rotation), wires, range(n)
        )
        rho = (gate @ rho.reshape(2**n, -1) @ gate.conj().T).reshape(rho.shape)
        if op.name != "Identity":
            rho = noisy(rho, spec, wires)
    return rho


def random_ops(rng, n_ops=10):
    one = [qml.RX, qml.RY, qml.RZ, qml.PhaseShift]
    fixed = [qml.H, qml.X, qml.SX, qml.T, qml.Identity]
    two = [qml.CRX, qml.IsingXY, qml.CNOT, qml.ISWAP, qml.SingleExcitation]
    ops = []
    for _ in range(n_ops):
        wires = [LABELS[i] for i in rng.permutation(3)]
        angles = rng.uniform(-3, 3, size=3)
        kind = rng.integers(5)
        if kind == 0:
            ops.append(rng.choice(one)(angles[0], wires=wires[0]))
        elif kind == 1:
            ops.append(rng.choice(fixed)(wires=wires[0]))
        elif kind == 2:
            ops.append(qml.Rot(*angles, wires=wires[0]))
        elif kind == 3:
            gate = rng.choice(two)
            ops.append(gate(*angles[: gate.num_params], wires=wires[:2]))
        else:
            ops.append(qml.adjoint(qml.CRY(angles[0], wires=wires[:2])))
    return ops


@pytest.mark.parametrize("seed", range(12))
def test_noise_model_on_random_circuits(seed):
    ops = random_ops(np.random.default_rng(seed))
    rho = twin(ops, FULL).reshape(8, 8)
    density = run(ops, qml.state, FULL, level="top")
    np.testing.assert_allclose(density, rho, atol=1e-12)
    word = qml.Z("b") @ qml.X(0) @ qml.Y(2)
    expected = np.trace(rho @ misread_word("ZXY", FULL)).real
    found = run(ops, lambda: qml.expval(word), FULL, level="top")
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("level", ["top", "user", "device", "gradient"])
def test_every_level_of_add_noise(level):
    ops = [qml.H("b"), qml.Rot(0.3, 0.8, -0.4, 0), qml.CNOT(["b", 2]), qml.RY(0.7, 2)]
    found = run(ops, lambda: qml.expval(qml.Y(0) @ qml.Z("b")), FULL, level=level)
    rho = twin(ops, FULL).reshape(8, 8)
    expected = np.trace(rho @ misread_word("ZYI", FULL)).real
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("theta", [0.0, 1e-11, 0.7])
@pytest.mark.parametrize("eps", [-1.0, -0.1, 1e-9, 1e-6, 0.25, 1.0])
def test_over_rotation_of_any_size(theta, eps):
    """add_noise compares to a tolerance: a gate must not be taken for its own noise."""
    spec = NoiseSpec(over_rotation=eps)
    ops = [qml.RX(0.4, 0), qml.RX(theta, 0)]
    found = run(ops, lambda: qml.expval(qml.Z(0)), spec)
    assert found == pytest.approx(math.cos((1 + eps) * (0.4 + theta)), abs=1e-12)


def test_over_rotation_leaves_matrices():
    matrix = qml.matrix(qml.Rot(0.1, 0.2, 0.3, 0))
    ops = [qml.QubitUnitary(matrix, 0), qml.DiagonalQubitUnitary([1, 1j], 0)]
    found = run(ops, qml.state, NoiseSpec(over_rotation=0.5))
    np.testing.assert_allclose(found, run(ops, qml.state, NoiseSpec()), atol=1e-12)


def test_wide_gates_are_refused_by_the_model():
    with pytest.raises(ValueError, match="Toffoli acts on 3"):
        run([qml.Toffoli(LABELS)], qml.state, FULL)


def test_the_model_holds_only_what_is_noisy():
    model = NoiseSpec().to_noise_model()
    assert (model.model_map, model.meas_map) == ({}, {})
    assert not NoiseSpec(p1=0.1).to_noise_model().meas_map
    assert not NoiseSpec(readout=(0.1, 0.0)).to_noise_model().model_map
    copied = pickle.loads(pickle.dumps(FULL)).to_noise_model()
    assert len(copied.model_map) == len(copied.meas_map) == 1


@pytest.mark.parametrize("diff_method", ["backprop", "parameter-shift"])
def test_gradient_through_over_rotation(diff_method):
    spec = dataclasses.replace(FULL, readout={0: (0.03, 0.08)})

    def ops(x):
        yield qml.Rot(x[0], x[1], x[2], "b")
        yield qml.CRX(x[3], ["b", 0])
        yield qml.RY(x[0], 0)
        yield qml.IsingXX(x[2], [0, 2])
        yield qml.H(0)

    @qml.noise.add_noise(noise_model=spec.to_noise_model())
    @qml.qnode(qml.device("default.mixed", wires=LABELS), diff_method=diff_method)
    def circuit(x):
        list(ops(x))
        return qml.expval(qml.X(0))

    def dense(x):
        rho = twin(list(ops(x)), spec).reshape(8, 8)
        return np.trace(rho @ misread_word("IXI", spec)).real

    x = np.array([0.3, -0.8, 1.1, 2.0])
    step = 1e-5 * np.eye(4)
    differences = [(dense(x + h) - dense(x - h)) / 2e-5 for h in step]
    found = qml.grad(circuit)(pnp.array(x))
    np.testing.assert_allclose(found, differences, atol=1e-9)
    assert np.abs(found).min() > 1e-3


def autograd_gradient(f, x):
    return qml.grad(f)(pnp.array(x))


def torch_gradient(f, x):
    x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(f(x), x)[0].item()


def jax_gradient(f, x):
    with enable_x64():
        return jax.grad(f)(jnp.array(x))


def jit_gradient(f, x):
    with enable_x64():
        return jax.jit(jax.grad(f))(jnp.array(x))


@pytest.mark.parametrize(
    "gradient", [autograd_gradient, torch_gradient, jax_gradient, jit_gradient]
)
@pytest.mark.parametrize("level", ["user", "device"])
def test_gradient_of_one_rotation(gradient, level):
    spec = NoiseSpec(p1=0.03, over_rotation=0.2, readout=(0.1, 0.05))

    @qml.noise.add_noise(noise_model=spec.to_noise_model(), level=level)
    @qml.qnode(qml.device("default.mixed", wires=1))
    def circuit(x):
        qml.RX(x, 0)
        return qml.expval(qml.Z(0)), qml.expval(qml.Y(0))

    expected = -0.85 * (1 - 0.04) * 1.2 * math.sin(1.2 * 0.5)
    found = gradient(lambda x: circuit(x)[0], 0.5)
    assert found == pytest.approx(expected, abs=1e-12)


# --- readout ---------------------------------------------------------------------


def misread_word(word, spec):
    """Each letter P as (1 - e0 - e1) P + (e1 - e0) I, as a matrix on LABELS."""
    total = np.eye(1)
    for label, letter in zip(LABELS, word, strict=True):
        e0, e1 = spec.readout_of(label)
        pauli = {"I": I2, "X": X, "Y": Y, "Z": Z}[letter]
        if letter != "I":
            pauli = (1 - e0 - e1) * pauli + (e1 - e0) * I2
        total = np.kron(total, pauli)
    return total


READOUT = NoiseSpec(readout={"b": (0.1, 0.02), 0: (0.03, 0.08), 2: (0.0, 0.2)})
PREPARE = [
    qml.Rot(0.3, 0.9, 1.2, "b"),
    qml.RY(2.1, 0),
    qml.CNOT(["b", 2]),
    qml.RX(0.8, 2),
    qml.CRY(1.3, [2, 0]),
]
RHO = twin(PREPARE, NoiseSpec()).reshape(8, 8)


@pytest.mark.parametrize(
    "word", ["".join(w) for w in itertools.product("IXYZ", repeat=3)]
)
def test_every_word_is_misread(word):
    obs = qml.prod(*(getattr(qml, p)(w) for p, w in zip(word, LABELS, strict=True)))
    noisy_word = misread_word(word, READOUT)
    found = run(PREPARE, lambda: qml.expval(obs), READOUT)
    assert found == pytest.approx(np.trace(RHO @ noisy_word).real, abs=1e-12)


def test_sums_and_variance():
    def measure():
        return (
            qml.expval(0.5 * qml.X("b") @ qml.Z(2) - 2.0 * qml.X("b") + 0.3 * qml.Z(2)),
            qml.expval(qml.Z(0)),
            qml.var(qml.Y(0)),
        )

    words = [(0.5, "XIZ"), (-2.0, "XII"), (0.3, "IIZ")]
    total = sum(c * np.trace(RHO @ misread_word(w, READOUT)).real for c, w in words)
    z, y = (np.trace(RHO @ misread_word(w, READOUT)).real for w in ("IZI", "IYI"))
    found = run(PREPARE, measure, READOUT)
    np.testing.assert_allclose(found, [total, z, 1 - y**2], atol=1e-12)


def confusion(e0, e1):
    return np.array([[1 - e0, e1], [e0, 1 - e1]])  # column: true outcome


def misread_probabilities(rho, labels):
    matrix = np.eye(1)
    for label in labels:
        matrix = np.kron(matrix, confusion(*READOUT.readout_of(label)))
    return matrix @ np.diag(rho).real


def test_probabilities_are_misread():
    expected = misread_probabilities(RHO, LABELS)
    found = run(PREPARE, lambda: qml.probs(wires=LABELS), READOUT)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    some = run(PREPARE, lambda: qml.probs(wires=[2, "b"]), READOUT)
    np.testing.assert_allclose(
        some, expected.reshape(2, 2, 2).sum(axis=1).T.ravel(), atol=1e-12
    )
    whole = run(PREPARE, qml.probs, READOUT, level="device")
    np.testing.assert_allclose(whole, expected, atol=1e-12)


def test_other_observables_are_read_in_their_own_basis():
    e0, e1 = READOUT.readout_of(0)
    hadamard = np.kron(np.kron(I2, (X + Z) / math.sqrt(2)), I2)
    exact = np.trace(RHO @ hadamard).real
    found = run(PREPARE, lambda: qml.expval(qml.H(0)), READOUT)
    assert found == pytest.approx((1 - e0 - e1) * exact + e1 - e0, abs=1e-12)
    word = run(PREPARE, lambda: qml.expval(2 * qml.H(0) @ qml.Z("b")), READOUT)
    f0, f1 = READOUT.readout_of("b")
    z = (1 - f0 - f1) * Z + (f1 - f0) * I2
    h = (1 - e0 - e1) * (X + Z) / math.sqrt(2) + (e1 - e0) * I2
    expected = 2 * np.trace(RHO @ np.kron(np.kron(z, h), I2)).real
    assert word == pytest.approx(expected, abs=1e-12)
    projector = run(PREPARE, lambda: qml.expval(qml.Projector([0, 1], [0, 2])), READOUT)
    outcomes = misread_probabilities(RHO, LABELS).reshape(2, 2, 2)
    assert projector == pytest.approx(outcomes[:, 0, 1].sum(), abs=1e-12)


def test_samples_and_counts_are_misread():
    """Deterministic: an outcome that is always misread."""
    spec = NoiseSpec(readout={0: (1.0, 0.0)})
    counts = run([], lambda: qml.counts(wires=[0, 2]), spec, shots=50)
    assert counts == {"10": 50}
    samples = run([], lambda: qml.sample(qml.Z(0)), spec, shots=20)
    assert (samples == -1).all()


def test_states_are_not_read():
    def measure():
        return qml.density_matrix(["b", 0]), qml.purity([0]), qml.vn_entropy([2])

    found = run(PREPARE, measure, READOUT)
    exact = run(PREPARE, measure, NoiseSpec())
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)
    np.testing.assert_allclose(run(PREPARE, qml.state, READOUT), RHO, atol=1e-12)


def outcome():
    return qml.expval(qml.measure(0))


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: qml.expval(qml.X(0) + qml.Z(0)), "split_non_commuting"),
        (lambda: qml.expval(qml.X(0) @ qml.Z(2) + qml.Y(0)), "split_non_commuting"),
        (lambda: qml.expval(2 * (qml.H(0) + qml.Z(0))), "split_non_commuting"),
        (lambda: qml.expval(qml.H(0) @ qml.Z(2) @ qml.H(2)), "split_non_commuting"),
        (qml.probs, "Name its wires"),
        (outcome, "Defer measurements"),
    ],
)
def test_readout_that_cannot_be_inserted(measure, message):
    with pytest.raises(ValueError, match=rf"cannot be inserted before .*{message}"):
        run(PREPARE, measure, READOUT)


def test_shadows_are_refused():
    def measure():
        return qml.classical_shadow(wires=[0])

    with pytest.raises(ValueError, match="Its bases are drawn later"):
        run(PREPARE, measure, READOUT, shots=10)


def test_wires_read_perfectly_have_no_channel():
    spec = NoiseSpec(readout={0: (0.1, 0.2)})
    assert spec.readout_channel("b") is None
    rho = random_density(np.random.default_rng(3), 1)
    found = superoperator([spec.readout_channel(0)], [0]) @ rho.ravel()
    expected = confusion(0.1, 0.2) @ np.diag(rho)
    np.testing.assert_allclose(found, [expected[0], 0, 0, expected[1]], atol=1e-14)
