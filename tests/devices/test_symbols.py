"""Templates are compiled by calling their own decompositions with symbols."""

import math
import re

import autograd
import autograd.numpy as anp
import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError

from qstore_pl import devices
from qstore_pl.devices.symbols import SymbolError, Symbols, of_objects
from qstore_pl.engine.gates import FEATURE, ONE, WEIGHT, Angle, slot_angles
from qstore_pl.templates import RotationEntanglerLayers, ZZFeatureMap
from tests.symbol_values import gradients
from tests.symbol_values import values as numbers

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
    "ApproxTimeEvolution": lambda: qml.ApproxTimeEvolution(HAMILTONIAN, 0.7, 2),
    "CommutingEvolution": lambda: qml.CommutingEvolution(
        qml.Hamiltonian([0.3, 0.4], PAIRS), 0.7
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
    "BasisRotation": (
        lambda: qml.BasisRotation(range(2), np.linalg.qr(values(2, 2))[0]),
        "imag",
    ),
    "MottonenStatePreparation": (
        lambda: qml.MottonenStatePreparation(np.full(4, 0.5), wires=range(2)),
        "angle",
    ),
    "QDrift": (
        lambda: qml.QDrift(HAMILTONIAN, 0.7, n=3, seed=1),
        "complex number",
    ),
    "QROM": (
        lambda: qml.QROM(["1", "0"], [0], [1], None),
        "a hash",
    ),
    "SelectPauliRot": (
        lambda: qml.SelectPauliRot(values(2), control_wires=[0], target_wire=1),
        "greater",
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

WEIGHTS = RNG.uniform(0.2, 0.9, 6)
MASK = np.array([True, False, True])


def in_place(x):
    """Sums in a loop, as they are often written."""
    total = x[0, 0]
    for i in range(3):
        total += x[1, i] * i
    total *= 2.0
    total -= x[0, 1]
    total /= 4.0
    return total


LAWS = {
    # entries
    "affine": lambda x: 2 * x[0] - x[1] / 4 + np.pi,
    "a square": lambda x: (1 - x) ** 2,
    "a product": lambda x: x[0] * x[1],
    "minus": lambda x: -x + +x[::-1],
    "a quotient": lambda x: 1 / x + x / x[0, 1] + x / np.array([1.0, 2.0, 4.0]),
    "powers": lambda x: x**0 + x**1 + x**3 + x**-2 + x**0.5 + x**-1.5 + (-x) ** 7,
    "an array of powers": lambda x: np.power(x, [1, 2, 3]),
    "a power of symbols": lambda x: x[0] ** x[1] + 2**x + np.float_power(x, 2.5),
    "many factors": lambda x: x[0, 0] * x[0, 1] * x[0, 2] * x[1, 0] * x[1, 1],
    "angles in degrees": lambda x: np.deg2rad(x) + np.radians(x) + np.rad2deg(x),
    "two arguments": lambda x: np.arctan2(-x[0], x[1] - 1) + np.hypot(x[0], 3.0),
    "absolute": lambda x: abs(x - 0.5) + np.absolute(-x) + np.fabs(x - 0.3),
    "functions": lambda x: np.exp2(x) + np.log2(x) * np.arctanh(x) + np.log10(x),
    "hyperbolic": lambda x: np.arcsinh(x) - np.arccosh(1 + x),
    "a mask as numbers": lambda x: x * MASK,
    # places
    "indices": lambda x: x[..., 1] + x[0, [2, 0]].sum(),
    "a new axis": lambda x: x[None, :, 0],
    "a mask": lambda x: x[:, MASK],
    "reshape": lambda x: x.reshape((3, 2)) + x.reshape(3, -1) + np.reshape(x, (3, 2)),
    "order": lambda x: x.ravel("F") + x.reshape((3, 2), order="F").flatten(),
    "transpose": lambda x: qml.math.transpose(x) - x.T + x.transpose(1, 0),
    "axes": lambda x: x[:1].squeeze() + np.squeeze(x.swapaxes(0, 1)[:, 1:], 1),
    "repeat": lambda x: x.repeat(2, axis=0) + np.tile(x, (2, 1)),
    "roll": lambda x: np.roll(x, 1, axis=1) + np.flip(x) + np.fliplr(x) + x.copy(),
    "take": lambda x: x.take([5, 0]) + np.delete(x, 1, axis=1)[0],
    "diagonal": lambda x: x.diagonal() + np.diag(x) + np.diag(x[0, :2])[0],
    "triangles": lambda x: np.tril(x) - np.triu(x),
    "stack": lambda x: qml.math.stack([x[0], 3 * x[1]], axis=1),
    "stack with numbers": lambda x: np.stack([x[0, 0], 0.5, x[1, 1], np.float64(2)]),
    "concatenate": lambda x: qml.math.concatenate([x[0], np.array([0.5])]),
    "more joins": lambda x: np.hstack([x, x]) + np.column_stack([x, np.ones((2, 3))]),
    "append": lambda x: np.append(x, 2.0) + np.insert(x, 0, 1.0),
    "block": lambda x: np.block([[x, x], [x, np.ones((2, 3))]]),
    "split": lambda x: np.array_split(x[0], 2)[1] + np.split(x, 3, axis=1)[1],
    "broadcast": lambda x: sum(np.broadcast_arrays(x, x[0], np.ones((2, 1)))),
    "at least": lambda x: np.atleast_2d(x[0]) + np.atleast_1d(x[0, 0], 3.0)[1],
    "meshgrid": lambda x: np.meshgrid(x[0], x[1])[1],
    "where": lambda x: np.where(MASK, x, 2.0 * x[0]) + np.where(MASK, 1.0, x),
    "iteration": lambda x: sum(row[0] for row in x),
    "entries": lambda x: x.item(4) + x[0, 0].item() + x.tolist()[1][2],
    "conjugate": lambda x: x.real + np.real(x) + np.conj(x) + x.conj(),
    "nothing": lambda x: x[:0].sum() + x[0, 0],
    # sums of products
    "sum": lambda x: qml.math.sum(x, axis=0) + x.ravel()[0] + x.sum(0, keepdims=True),
    "mean": lambda x: x.mean(axis=1) + np.mean(x) + np.average(x, 1, [1, 2, 3]),
    "product": lambda x: x.prod(axis=0) + np.prod(x) + np.cumprod(x[0]),
    "cumulative sum": lambda x: x.cumsum(axis=1) + np.cumsum(x)[-1],
    "difference": lambda x: np.diff(x, axis=0) + np.diff(x, n=2),
    "trace": lambda x: x.trace() + np.trace(x, offset=1),
    "dot": lambda x: qml.math.dot(np.arange(2.0), x) + x.T.dot(np.arange(2.0)),
    "dot of products": lambda x: np.dot(x * x, x[0] * x[1]),
    "matrix product": lambda x: x @ x.T + np.matmul(x, x.T) + np.ones((2, 2)),
    "numbers first": lambda x: np.ones((2, 2)) @ x + np.ones(3) * x + np.float64(2) * x,
    "inner": lambda x: np.inner(x, x) + np.vdot(x, x) + np.tensordot(x, x, ([1], [1])),
    "outer": lambda x: np.outer(x[0], x[1]) + np.kron(x[0], x[1]).reshape(3, 3),
    "einsum": lambda x: np.einsum("ij,kj,il->kl", x, x, x),
    "einsum in order": lambda x: np.einsum("ij,kj,il->kl", x, x, x, optimize=True),
    "cross": lambda x: np.cross(x[0], x[1]),
    "norm": lambda x: x / np.linalg.norm(x, axis=1, keepdims=True) + np.linalg.norm(x),
    "polynomial": lambda x: np.polyval([1.0, 2.0, 3.0], x),
    "numbers like symbols": lambda x: np.ones_like(x) * x + np.full_like(x, 2.0),
    # pennylane.numpy, autograd and qml.math
    "pnp functions": lambda x: pnp.sin(x) + pnp.arctan(x) ** 2 + pnp.pi * x,
    "pnp sums": lambda x: pnp.dot(x, np.ones(3)) + pnp.sum(x) + pnp.mean(x, axis=1),
    "pnp products": lambda x: pnp.matmul(x, x.T) + pnp.einsum("ij,kj->ik", x, x),
    "pnp places": lambda x: (
        pnp.reshape(x, (3, 2)) + pnp.transpose(x) + pnp.roll(x, 1).T
    ),
    "pnp joins": lambda x: pnp.concatenate([x[0], x[1]]) + pnp.hstack([x[0], x[1]]),
    "pnp rows": lambda x: pnp.vstack([x[0], x[1]]) + pnp.expand_dims(x, 0),
    "arrays of symbols": lambda x: np.array([x[0], 2.0 * x[1]]) + x,
    "arrays of single symbols": lambda x: np.sin(np.array([x[0, 1:], x[1, 1:]])),
    "an array of symbols and numbers": lambda x: (
        np.exp(np.array([x[0, 0], x[1, 2]])) @ np.array([1.0, x[0, 1]])
    ),
    "pnp arrays": lambda x: pnp.array([x[0, 0], x[0, 1]]) * pnp.array(2.0),
    "pnp stack": lambda x: pnp.stack([x[0], x[1]]) - pnp.append(x[0], x[1])[:3],
    "a pnp tensor on the left": lambda x: pnp.array([1.0, 2.0, 3.0]) * x,
    "in place": in_place,
    "a pnp tensor": lambda x: x * pnp.array([1.0, 2.0, 3.0]) - pnp.array(0.5),
    "autograd": lambda x: anp.exp(x) + anp.concatenate([x, x])[:2] + anp.sqrt(x),
    "qml.math": lambda x: qml.math.sin(x) + qml.math.cast(x, "float64"),
    "qml.math sums": lambda x: qml.math.einsum("ij->j", x) + qml.math.mean(x),
    "qml.math places": lambda x: qml.math.reshape(x, (3, 2)) + qml.math.T(x),
    "qml.math parts": lambda x: qml.math.unstack(x)[0] + qml.math.take(x, 1, axis=0),
    "qml.math numbers": lambda x: (
        qml.math.stack([x[0, 0], 0.5]) + qml.math.ones_like(x[0, 0])
    ),
}


def weight_symbols(*shape):
    return Symbols(slot_angles(WEIGHT, 0, shape))


SOURCES_OF_SIX = {
    "angles": lambda: weight_symbols(2, 3),
    "indices": lambda: devices.symbols("weights", 0, (2, 3)),
}


@pytest.mark.parametrize("source", SOURCES_OF_SIX.values(), ids=SOURCES_OF_SIX)
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_symbols_compute_as_numbers_do(law, source):
    expected = law(WEIGHTS.reshape(2, 3))
    found = law(source())
    if isinstance(found, np.ndarray):
        found = of_objects(found)
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(numbers(found, WEIGHTS), expected, rtol=0, atol=1e-13)


REFUSALS = {
    "sign": lambda x: np.sign(x),
    "floor": lambda x: np.floor(x),
    "remainder": lambda x: x % 1.0,
    "maximum": lambda x: np.maximum(x, 0.0),
    "cbrt": lambda x: np.cbrt(x),
    "isnan": lambda x: np.isnan(x),
    "greater": lambda x: x > 0,
    "equal": lambda x: x[0] == 0,
    "a decision": lambda x: bool(x[0, 0]),
    "a search with `in`": lambda x: 1.0 in x,
    "a conversion to a number": lambda x: math.sin(x[0, 0]),
    "conversion to float": lambda x: np.zeros(3).__setitem__(slice(3), x[0]),
    "conversion to float64": lambda x: np.asarray(x, dtype=float),
    "hash": lambda x: {x[0, 0]: 1},
    "greater_equal": lambda x: np.array([x[0, 0], x[0, 1]]).max(),
    "conversion to int": lambda x: x.astype(int),
    "conversion to complex": lambda x: qml.math.cast(x, complex),
    "complex number": lambda x: 1j * x,
    "a product with a complex number": lambda x: np.dot(x, [1j, 1.0, 0.0]),
    "array_equal": lambda x: np.array_equal(x, x),
    "allclose": lambda x: np.allclose(x, 0),
    "isclose": lambda x: np.isclose(x, 0),
    "any": lambda x: np.any(x),
    "all": lambda x: np.all(x),
    "max": lambda x: np.max(x),
    "argsort": lambda x: np.argsort(x),
    "sinc": lambda x: np.sinc(x),
    "apply_along_axis": lambda x: np.apply_along_axis(np.sum, 0, x),
    "where with a condition": lambda x: np.where(x, 1.0, 0.0),
    "where with": lambda x: np.where(x),
    "imag": lambda x: np.imag(x),
    "inv": lambda x: np.linalg.inv(x[:, :2]),
    "norm with ord": lambda x: np.linalg.norm(x, ord=1),
    "take": lambda x: np.take(x, x),
    "repeat": lambda x: np.repeat(x, x.ravel()),
    "sum with numbers of type int64": lambda x: np.sum(x, dtype=int),
    "sum with an array for": lambda x: np.sum(x, out=np.zeros(())),
    "add.reduce": lambda x: np.add.reduce(x),
    "assignment in place": lambda x: x.__iadd__(1.0),
    "attribute imag": lambda x: x.imag,
    "attribute max": lambda x: x.max(),
    "assignment to an entry": lambda x: x.__setitem__(0, 1.0),
    "a conversion to a number, as": lambda x: round(x[0, 0]),
    "length": lambda x: len(x[0, 0]),
    "view": lambda x: x.view(int),
    "text": lambda x: f"{x[0, 0]:.2f}",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_needs_a_value_is_refused_by_name(name):
    with pytest.raises(SymbolError, match=re.escape(name)):
        REFUSALS[name](weight_symbols(2, 3))


def test_numpy_hides_the_refusal_of_an_assignment_behind_an_error_of_its_own():
    array = np.zeros(2)
    with pytest.raises(ValueError, match="array element") as caught:
        array[0] = weight_symbols(2)[0]
    assert isinstance(caught.value.__cause__, SymbolError)
    assert "assignments to entries" in str(caught.value.__cause__)


def test_symbols_look_like_numbers_to_pennylane():
    symbols = weight_symbols(2, 3)
    assert qml.math.get_interface(symbols) == "numpy"
    assert (qml.math.shape(symbols), qml.math.ndim(symbols), len(symbols)) == (
        (2, 3),
        2,
        2,
    )
    assert (qml.math.size(symbols), qml.math.get_dtype_name(symbols)) == (6, "float64")
    assert np.result_type(symbols, 1.0) == np.float64
    assert np.isrealobj(symbols)
    assert not np.iscomplexobj(symbols)
    assert symbols[0, 1].angle == Angle(0.0, ((1.0, (WEIGHT, 1), ONE),))
    assert qml.RX(symbols[0, 0], 0).batch_size is None


# --- places without angles --------------------------------------------------------

MOVES = {
    "an index": lambda x: x[1],
    "columns": lambda x: x[:, [2, 0]],
    "a mask": lambda x: x[:, MASK],
    "transpose": lambda x: x.T,
    "reshape": lambda x: x.reshape(3, 2),
    "ravel": lambda x: np.ravel(x, order="F"),
    "flip": lambda x: np.flip(x, axis=1),
    "roll": lambda x: np.roll(x, 1),
    "repeat": lambda x: x.repeat(2),
    "tile": lambda x: np.tile(x, 2),
    "take": lambda x: np.take(x, [1, 0], axis=1),
    "broadcast": lambda x: np.broadcast_to(x, (2, 2, 3)),
    "stack": lambda x: np.stack([x[:, i] for i in range(3)]),
    "stack of entries": lambda x: qml.math.stack([x[1, 1], x[0, 2]]),
    "concatenate": lambda x: np.concatenate([x, x[::-1]]),
    "split": lambda x: np.split(x, 3, axis=1)[2],
    "an entry": lambda x: x[1, 2],
    "item": lambda x: x.item(3),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_moved_weights_are_still_indices(move):
    symbols = devices.symbols("weights", 4, (2, 3))
    found, expected = move(symbols), move(4 + np.arange(6).reshape(2, 3))
    assert found.kind == WEIGHT
    assert found.indices.dtype.kind == "i"
    np.testing.assert_array_equal(found.indices, expected)
    assert found.highest == {WEIGHT: np.max(expected)}
    assert "angles" not in vars(symbols)
    flat = [angle.terms[0][1] for angle in found.angles.flat]
    assert flat == [(WEIGHT, int(index)) for index in np.ravel(expected)]


def test_indices_are_unknown_where_something_is_computed_or_joined():
    weights = devices.symbols("weights", 0, (3,))
    features = devices.symbols("features", 0, (3,))
    for made in (
        2.0 * weights,
        np.stack([weights, features]),
        np.append(weights, 1.0),
        np.concatenate([weights, [0.5]]),
        np.tril(devices.symbols("weights", 0, (2, 2))),
    ):
        assert made.kind is None
        assert made.indices is None
    assert np.stack([weights, features]).highest == {WEIGHT: 2, FEATURE: 2}


def test_consecutive_weights_are_named_by_the_first():
    many = devices.symbols("features", 7, (2**20,))
    assert (many.slot, many.highest) == ((FEATURE, 7), {FEATURE: 2**20 + 6})
    assert not {"_entries", "angles"} & vars(many).keys()  # nothing was made
    assert many.reshape(2**10, 2**10)[3, 5:9].slot == (FEATURE, 7 + 3 * 2**10 + 5)
    for other in (many[:6:2], many[1::-1], 2.0 * many[:3], many[:0]):
        with pytest.raises(SymbolError, match="consecutive"):
            other.slot  # noqa: B018
    assert weight_symbols(2, 3)[1].slot == (WEIGHT, 3)


# --- random expressions -------------------------------------------------------------

N_SAMPLES = 3
FEATURES = RNG.uniform(-1.0, 1.0, (N_SAMPLES, 6))
SIGNED = RNG.uniform(-1.0, 1.0, 6)
STEPS = (  # functions of numpy (np or autograd's) and arrays of shape (2, 3)
    lambda np, a, b: a + b,
    lambda np, a, b: 0.7 * a - b,
    lambda np, a, b: a * b,
    lambda np, a, b: a / (1.5 + b * b),
    lambda np, a, b: np.sin(a) + np.cos(b),
    lambda np, a, b: np.exp(0.3 * a),
    lambda np, a, b: np.tanh(a) * np.arctan(b),
    lambda np, a, b: np.sqrt(1.0 + a**2) - b,
    lambda np, a, b: np.log(1.2 + a * a),
    lambda np, a, b: (1.1 + a * a) ** -1.3 + b**3,
    lambda np, a, b: (1.1 + a * a) ** (0.2 * b),
    lambda np, a, b: np.abs(a) - 2.0 * b,
    lambda np, a, b: np.arctan2(a, 1.1 + b * b),
    lambda np, a, b: np.arcsinh(a) * 0.5,
    lambda np, a, b: np.reshape(a.T, (2, 3)) + np.roll(b, 1, axis=1),
    lambda np, a, b: np.concatenate([a[:1], b[1:]]),
    lambda np, a, b: np.vstack([a[1], np.flipud(b)[1]]),
    lambda np, a, b: np.where(MASK, a, b),
    lambda np, a, b: np.matmul(np.dot(a, b.T) / 3.0, a),
    lambda np, a, b: np.einsum("ij,kj->ik", a, b) @ b / 4.0,
    lambda np, a, b: np.outer(np.sum(a, axis=1), np.mean(b, axis=0)),
    lambda np, a, b: np.cumsum(a, axis=1) / 3.0,
    lambda np, a, b: a[:, ::-1] * np.prod(b[:, :2], axis=1)[:, None],
    lambda np, a, b: np.tensordot(a, np.ones((3, 3)) / 3.0, axes=1),
)


def expression(rng, depth):
    """A random function of (np, weights, features), arrays of shape (2, 3)."""
    if not depth:
        which = rng.integers(2)
        return lambda np, *given: given[which]
    step = STEPS[rng.integers(len(STEPS))]
    one, other = expression(rng, depth - 1), expression(rng, rng.integers(depth))
    return lambda np, *given: step(np, one(np, *given), other(np, *given))


@pytest.mark.parametrize("seed", range(60))
def test_random_expressions_have_the_values_and_gradients_of_numbers(seed):
    rng = np.random.default_rng(seed)
    function = expression(rng, 3)
    dy = rng.normal(size=(N_SAMPLES, 2, 3))
    w, x = (devices.symbols(name, 0, (2, 3)) for name in ("weights", "features"))
    found = function(np, w, x)

    def total(weights, features):
        rows = [
            function(anp, anp.reshape(weights, (2, 3)), anp.reshape(row, (2, 3)))
            for row in features
        ]
        return sum(anp.sum(d * row) for d, row in zip(dy, rows, strict=True))

    wanted = [function(np, SIGNED.reshape(2, 3), row.reshape(2, 3)) for row in FEATURES]
    np.testing.assert_allclose(
        numbers(found, SIGNED, FEATURES), wanted, rtol=1e-13, atol=1e-13
    )
    gw, gx = gradients(found, SIGNED, FEATURES, dy)
    of_w, of_x = autograd.grad(total, (0, 1))(SIGNED, FEATURES)
    np.testing.assert_allclose(gw, of_w, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(gx, of_x, rtol=1e-11, atol=1e-12)
