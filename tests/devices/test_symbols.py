"""Templates are compiled by calling their own decompositions with symbols."""

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.devices.symbols import SymbolError, Symbols
from qstore_pl.engine.gates import ONE, WEIGHT, Angle, slot_angles
from qstore_pl.templates import RotationEntanglerLayers, ZZFeatureMap

RNG = np.random.default_rng(0)
N_WIRES = 4


def values(*shape):
    return RNG.uniform(-1, 1, shape)


def block(weights, wires):
    qml.RX(weights[0], wires[0])
    qml.RY(weights[1], wires[1])
    qml.CNOT(wires)


HARTREE_FOCK = np.array([1, 1, 0, 0])
HAMILTONIAN = qml.Hamiltonian([0.3, 0.5], [qml.X(0) @ qml.Z(1), qml.Z(2)])
PAIRS = [qml.X(0) @ qml.X(1), qml.Z(0) @ qml.Z(1)]
# Every template of PennyLane that acts on qubits and is made of other operations.
COMPILED = {
    "AQFT": lambda: qml.AQFT(1, wires=range(3)),
    "Adder": lambda: qml.Adder(2, x_wires=range(3)),
    "AllSinglesDoubles": lambda: qml.AllSinglesDoubles(
        values(3),
        wires=range(4),
        hf_state=HARTREE_FOCK,
        singles=[[0, 2], [1, 3]],
        doubles=[[0, 1, 2, 3]],
    ),
    "AmplitudeEmbedding": lambda: qml.AmplitudeEmbedding(np.full(4, 0.5), range(2)),
    "AngleEmbedding": lambda: qml.AngleEmbedding(values(3), wires=range(3)),
    "ArbitraryStatePreparation": lambda: qml.ArbitraryStatePreparation(
        values(6), wires=range(2)
    ),
    "ArbitraryUnitary": lambda: qml.ArbitraryUnitary(values(15), wires=range(2)),
    "BasicEntanglerLayers": lambda: qml.BasicEntanglerLayers(values(2, 3), range(3)),
    "BasisEmbedding": lambda: qml.BasisEmbedding(np.array([1, 0, 1]), wires=range(3)),
    "ControlledSequence": lambda: qml.ControlledSequence(qml.RX(0.3, 2), [0, 1]),
    "FermionicDoubleExcitation": lambda: qml.FermionicDoubleExcitation(
        0.4, wires1=[0, 1], wires2=[2, 3]
    ),
    "FermionicSingleExcitation": lambda: qml.FermionicSingleExcitation(0.4, range(3)),
    "FlipSign": lambda: qml.FlipSign([1, 0], wires=range(2)),
    "GateFabric": lambda: qml.GateFabric(
        values(2, 1, 2), wires=range(4), init_state=HARTREE_FOCK
    ),
    "GroverOperator": lambda: qml.GroverOperator(wires=range(3)),
    "IQPEmbedding": lambda: qml.IQPEmbedding(values(3), wires=range(3), n_repeats=2),
    "MERA": lambda: qml.MERA(range(4), 2, block, 2, values(5, 2)),
    "MPS": lambda: qml.MPS(range(3), 2, block, 2, values(2, 2)),
    "MultiControlledX": lambda: qml.MultiControlledX(wires=range(4)),
    "OutAdder": lambda: qml.OutAdder([0], [1], [2, 3]),
    "OutMultiplier": lambda: qml.OutMultiplier([0], [1], [2, 3]),
    "ParticleConservingU1": lambda: qml.ParticleConservingU1(
        values(2, 2, 2), wires=range(3), init_state=np.array([1, 0, 0])
    ),
    "ParticleConservingU2": lambda: qml.ParticleConservingU2(
        values(2, 5), wires=range(3), init_state=np.array([1, 0, 0])
    ),
    "Permute": lambda: qml.Permute([2, 0, 1], wires=range(3)),
    "PhaseAdder": lambda: qml.PhaseAdder(2, x_wires=range(3)),
    "PrepSelPrep": lambda: qml.PrepSelPrep(
        qml.Hamiltonian([0.3, 0.5], PAIRS), control=[2]
    ),
    "QAOAEmbedding": lambda: qml.QAOAEmbedding(values(3), values(2, 6), wires=range(3)),
    "QFT": lambda: qml.QFT(wires=range(3)),
    "QuantumPhaseEstimation": lambda: qml.QuantumPhaseEstimation(
        qml.PhaseShift(0.3, 2), estimation_wires=[0, 1]
    ),
    "RandomLayers": lambda: qml.RandomLayers(values(2, 5), wires=range(3), seed=1),
    "Reflection": lambda: qml.Reflection(qml.Hadamard(0), 0.7),
    "Select": lambda: qml.Select([qml.RX(0.3, 2), qml.RY(0.4, 2)], control=[0]),
    "SimplifiedTwoDesign": lambda: qml.SimplifiedTwoDesign(
        values(3), values(2, 2, 2), wires=range(3)
    ),
    "StronglyEntanglingLayers": lambda: qml.StronglyEntanglingLayers(
        values(2, 3, 3), wires=range(3)
    ),
    "TTN": lambda: qml.TTN(range(4), 2, block, 2, values(3, 2)),
    "TwoLocalSwapNetwork": lambda: qml.TwoLocalSwapNetwork(
        wires=range(3),
        acquaintances=lambda index, wires, param: qml.CRX(param, wires=index),
        weights=values(3),
    ),
    "UCCSD": lambda: qml.UCCSD(
        values(3),
        wires=range(4),
        s_wires=[[0, 1, 2], [1, 2, 3]],
        d_wires=[[[0, 1], [2, 3]]],
        init_state=HARTREE_FOCK,
    ),
    "kUpCCGSD": lambda: qml.kUpCCGSD(
        values(1, 6), wires=range(4), k=1, delta_sz=0, init_state=HARTREE_FOCK
    ),
    "RotationEntanglerLayers": lambda: RotationEntanglerLayers(
        values(2, 3, 3), range(3)
    ),
    "ZZFeatureMap": lambda: ZZFeatureMap(values(3), wires=range(3)),
    "adjoint": lambda: qml.adjoint(qml.IQPEmbedding(values(3), wires=range(3))),
    "ctrl": lambda: qml.ctrl(qml.BasicEntanglerLayers(values(2, 2), range(2)), 3),
}
# What their decompositions do with a parameter, and no polynomial does.
REFUSED = {
    "ApproxTimeEvolution": (
        lambda: qml.ApproxTimeEvolution(HAMILTONIAN, 0.7, 2),
        "conversion to numbers",
    ),
    "BasisRotation": (
        lambda: qml.BasisRotation(range(2), np.linalg.qr(values(2, 2))[0]),
        "imag",
    ),
    "CommutingEvolution": (
        lambda: qml.CommutingEvolution(qml.Hamiltonian([0.3, 0.4], PAIRS), 0.7),
        "conversion to numbers",
    ),
    "MottonenStatePreparation": (
        lambda: qml.MottonenStatePreparation(np.full(4, 0.5), wires=range(2)),
        "absolute",
    ),
    "QDrift": (
        lambda: qml.QDrift(HAMILTONIAN, 0.7, n=3, seed=1),
        "conversion to numbers",
    ),
    "QROM": (
        lambda: qml.QROM(["1", "0"], [0], [1], None),
        "conversion to numbers",
    ),
    "SelectPauliRot": (
        lambda: qml.SelectPauliRot(values(2), control_wires=[0], target_wire=1),
        "absolute",
    ),
    "TrotterProduct": (
        lambda: qml.TrotterProduct(HAMILTONIAN, 0.7, n=2, order=2),
        "iscomplex",
    ),
}


def tape_of(op):
    first = [] if "Embedding" in op.name else [qml.RY(0.3 * i, i) for i in range(4)]
    last = [qml.RX(0.4 + 0.2 * i, i) for i in range(4)]
    measured = [qml.expval(qml.Z(i)) for i in range(4)]
    return qml.tape.QuantumScript([*first, op, *last], measured)


def compiled(tape, device):
    """The Program of a tape, and its numbers as weights."""
    inputs, numbers = [], np.empty(0)
    for value in tape.get_parameters(trainable_only=False):
        inputs.append(devices.symbols("weights", len(numbers), np.shape(value)))
        numbers = np.append(numbers, value)
    program = devices.compile(
        tape, inputs, device, n_weights=len(numbers), n_features=0
    )
    return program, numbers


NO_FEATURES = np.zeros((1, 0))


@pytest.mark.parametrize("name", COMPILED)
def test_a_template_is_compiled_by_its_own_decomposition(name):
    tape = tape_of(COMPILED[name]())
    device = qml.device("qstore.mock_ideal", wires=N_WIRES)
    program, weights = compiled(tape, device)
    (expected,) = qml.execute([tape], qml.device("default.qubit", wires=N_WIRES))
    found = program.run(weights, NO_FEATURES)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_compiled_says_what_it_does_with_a_parameter(name):
    make, words = REFUSED[name]
    device = qml.device("qstore.mock_ideal", wires=N_WIRES)
    with pytest.raises(DeviceError, match=f"cannot be compiled.*{words}.*its QNode"):
        compiled(tape_of(make()), device)


NOISY = (
    *("RotationEntanglerLayers", "ZZFeatureMap", "UCCSD", "GroverOperator", "TTN"),
    *("QAOAEmbedding", "MultiControlledX", "adjoint", "ctrl"),
)


@pytest.mark.parametrize("name", NOISY)
def test_noise_follows_the_gates_that_a_qnode_finds(name):
    tape = tape_of(COMPILED[name]())
    device = qml.device("qstore.mock_noisy", wires=N_WIRES, noise="strong")
    program, weights = compiled(tape, device)
    (expected,) = qml.execute([tape], device)
    found = program.run(weights, NO_FEATURES)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


class Mine(qml.operation.Operation):
    """A user's own, which nobody registered: products, sums, a template inside."""

    ndim_params = (1, 0)

    def __init__(self, angles, factor, wires):
        super().__init__(angles, factor, wires=wires)

    @staticmethod
    def compute_decomposition(angles, factor, wires):
        mixed = qml.math.stack(
            [angles[0] - 2 * angles[1], factor * angles[1], angles[0]]
        )
        return [
            qml.RX(factor * angles[0] / 2 + 0.1, wires[0]),
            qml.AngleEmbedding(mixed[::-1], wires=wires, rotation="Y"),
            qml.CRZ(-(qml.math.sum(angles) ** 2), wires=[wires[0], wires[2]]),
            qml.RX(np.pi - factor, wires[1]),
        ]


@pytest.mark.parametrize("name", ["mock_ideal", "mock_noisy"])
def test_an_operation_of_ones_own_is_compiled_with_its_gradient(name):
    tape = tape_of(Mine(values(2), 0.7, wires=[2, 0, 3]))
    device = qml.device(f"qstore.{name}", wires=N_WIRES)
    program, weights = compiled(tape, device)
    (expected,) = qml.execute([tape], device)
    np.testing.assert_allclose(
        program.run(weights, NO_FEATURES)[0], expected, rtol=0, atol=1e-10
    )
    gradient, _ = program.vjp(weights, NO_FEATURES, np.ones((1, 4)))
    for i in range(len(weights)):
        ends = []
        for step in (1e-5, -1e-5):
            moved = weights.copy()
            moved[i] += step
            ends.append(program.run(moved, NO_FEATURES).sum())
        slope = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(gradient[i], slope, rtol=0, atol=1e-8)


def test_an_operation_without_a_decomposition_is_refused():
    class Nothing(qml.operation.Operation):
        pass

    device = qml.device("qstore.mock_ideal", wires=N_WIRES)
    with pytest.raises(DeviceError, match=r"Nothing .* no decomposition\. Write"):
        compiled(tape_of(Nothing(wires=0)), device)


# --- symbols --------------------------------------------------------------------

WEIGHTS = RNG.normal(size=6)


def numbers(symbols):
    """What symbols stand for, with these weights."""
    found = [
        angle.evaluate(WEIGHTS, np.zeros((1, 0)))[0] for angle in symbols.angles.flat
    ]
    return np.reshape(found, symbols.shape)


LAWS = {
    "affine": lambda x: 2 * x[0] - x[1] / 4 + np.pi,
    "a square": lambda x: (1 - x) ** 2,
    "a product": lambda x: x[0] * x[1],
    "minus": lambda x: -x + +x[::-1],
    "indices": lambda x: x[..., 1] + x[0, [2, 0]].sum(),
    "a mask": lambda x: x[:, np.array([True, False, True])],
    "reshape": lambda x: x.reshape((3, 2)),
    "stack": lambda x: qml.math.stack([x[0], 3 * x[1]], axis=1),
    "concatenate": lambda x: qml.math.concatenate([x[0], np.array([0.5])]),
    "sum": lambda x: qml.math.sum(x, axis=0) + x.ravel()[0],
    "dot": lambda x: qml.math.dot(np.arange(2.0), x),
    "transpose": lambda x: qml.math.transpose(x) - x.T,
    "iteration": lambda x: sum(row[0] for row in x),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_symbols_compute_as_numbers_do(law):
    symbols = Symbols(slot_angles(WEIGHT, 0, (2, 3)))
    expected = law(WEIGHTS.reshape(2, 3))
    found = law(symbols)
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(numbers(found), expected, rtol=0, atol=1e-14)


REFUSALS = {
    "the power 2.5": lambda x: x**2.5,
    "sign": lambda x: np.sign(x),
    "greater": lambda x: x > 0,
    "equal": lambda x: x[0] == 0,
    "decision": lambda x: bool(x[0, 0]),
    "conversion to a number": lambda x: float(x[0, 0]),
    "conversion to numbers": lambda x: np.asarray(x),
    "conversion to int": lambda x: x.astype(int),
    "complex number": lambda x: 1j * x,
    "allclose": lambda x: np.allclose(x, 0),
    "reduce": lambda x: np.add.reduce(x),
    "attribute real": lambda x: x.real,
    "attribute item": lambda x: x[0, 0].item(),
    "assignment": lambda x: x.__setitem__(0, 1.0),
    "a conversion to a number": lambda x: round(x[0, 0]),
    "text": lambda x: f"{x[0, 0]:.2f}",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_no_polynomial_is_refused_by_name(name):
    symbols = Symbols(slot_angles(WEIGHT, 0, (2, 3)))
    with pytest.raises(SymbolError, match=name):
        REFUSALS[name](symbols)


def test_symbols_look_like_numbers_to_pennylane():
    symbols = Symbols(slot_angles(WEIGHT, 0, (2, 3)))
    assert qml.math.get_interface(symbols) == "numpy"
    assert (qml.math.shape(symbols), qml.math.ndim(symbols), len(symbols)) == (
        (2, 3),
        2,
        2,
    )
    assert symbols[0, 1].angle == Angle(0.0, ((1.0, (WEIGHT, 1), ONE),))
    assert qml.RX(symbols[0, 0], 0).batch_size is None
