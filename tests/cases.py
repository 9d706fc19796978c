"""Tables the tests run over: gates, templates, observables, layers, readouts, models.

A new gate, template, layer or readout is one line here, and every law of the test suite
then runs over it. The table of gates is enumerated from ``qml.ops``: a gate that
PennyLane adds fails the tests until it has a row or stands in `UNSUPPORTED` with a
reason.

Constructors are deterministic: what is not a parameter (a Pauli word, control values)
is drawn from the generator they are given.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.operation import Channel, Operation, Operator, PowUndefinedError

from qstore_pl import (
    QuantumConvolutionalLayer,
    QuantumLayer,
    QuantumModel,
    QuantumPoolingLayer,
)
from qstore_pl.errors import UnseenWarning
from qstore_pl.layers import (
    AmplitudeEncoding,
    AngleEncoding,
    BasisEncoding,
    Block,
    Encoding,
    Features,
    Layer,
    Weights,
    ZZEncoding,
)
from qstore_pl.readout import Affine, ExpectationValues, Probabilities, Readout
from qstore_pl.templates import BasisEncoding as BasisTemplate
from qstore_pl.templates import (
    ConvolutionLayers,
    RotationEntanglerLayers,
    ZZFeatureMap,
)

Shape = tuple[int, ...]
Generator = np.random.Generator

INTERFACES = ("autograd", "torch", "jax")
ENTANGLEMENTS = ("linear", "circular", "full", "none")
BATCHES = (None, 1, 3)

NOT_GATES = {
    "Barrier": "a directive to the compiler",
    "WireCut": "a directive to the circuit cutter",
    "Snapshot": "a measurement inside the circuit",
    "Conditional": "classical control by a mid-circuit measurement",
    "ControlledOp": "a wrapper; the variants of the table make it by qml.ctrl",
}
UNSUPPORTED = {
    "QubitDensityMatrix": "prepares a mixed state; the device holds pure ones",
}


def gate_classes() -> set[type[Operation]]:
    """Every qubit gate of ``qml.ops``.

    The rule: a class reachable from ``qml.ops`` that is an ``Operation``, except
    continuous-variable and qutrit operations (by their module), channels, and the
    names in `NOT_GATES`. Observables and measurements are no ``Operation``.
    """
    return {
        cls
        for cls in vars(qml.ops).values()
        if isinstance(cls, type)
        and issubclass(cls, Operation)
        and not issubclass(cls, Channel)
        and cls.__module__.startswith("pennylane.ops")
        and not cls.__module__.startswith(("pennylane.ops.cv", "pennylane.ops.qutrit"))
        and cls.__name__ not in NOT_GATES
    }


# ---------------------------------------------------------------- values
def angles(rng: Generator, shape: Shape) -> np.ndarray:
    return rng.uniform(-np.pi, np.pi, size=shape)


def amplitudes(rng: Generator, shape: Shape) -> np.ndarray:
    """Real vectors that are not normalised."""
    return rng.normal(size=shape)


def states(rng: Generator, shape: Shape) -> np.ndarray:
    """Normalised complex vectors."""
    vectors = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def phases(rng: Generator, shape: Shape) -> np.ndarray:
    return np.exp(1j * angles(rng, shape))


def unitaries(rng: Generator, shape: Shape) -> np.ndarray:
    return np.linalg.qr(rng.normal(size=shape) + 1j * rng.normal(size=shape))[0]


def contractions(rng: Generator, shape: Shape) -> np.ndarray:
    """Complex matrices of norm 0.9."""
    matrices = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    norms = np.linalg.norm(matrices, ord=2, axis=(-2, -1), keepdims=True)
    return 0.9 * matrices / norms


def bits(rng: Generator, shape: Shape) -> np.ndarray:
    return rng.integers(2, size=shape)


def pauli_letters(rng: Generator, n: int) -> str:
    return "".join(rng.choice(list("IXYZ"), size=n))


# ----------------------------------------------------------------- gates
@dataclass(frozen=True)
class Gate:
    """A row of the table.

    Args:
        operation: The class the row stands for.
        n_wires: Number of wires.
        shapes: Shape of each parameter, without the batch axis.
        build: Maps (parameters, wires, generator) to the operation; the parameters may
            be arrays of any interface, with a batch axis in front.
        draw: Draws one parameter from (generator, shape).
        oracle: Interface in which default.qubit differentiates the gate; None if its
            parameters are complex or discrete: those are data.
        batches: Whether PennyLane broadcasts it.
        batch_gradients: Whether PennyLane differentiates a batch of it.
        in_torch: Whether PennyLane decomposes it in torch.
        powers: Whether PennyLane raises it to a power.
    """

    operation: type[Operator]
    n_wires: int
    shapes: tuple[Shape, ...]
    build: Callable[[Sequence[Any], Sequence[int], Generator], Operator]
    draw: Callable[[Generator, Shape], np.ndarray] = angles
    oracle: str | None = "autograd"
    batches: bool = True
    batch_gradients: bool = True
    in_torch: bool = True
    powers: bool = True

    def parameters(self, rng: Generator, batch: int | None = None) -> list[np.ndarray]:
        """Values for every parameter; ``batch`` puts an axis in front."""
        front = () if batch is None else (batch,)
        return [self.draw(rng, front + shape) for shape in self.shapes]

    def random(self, rng: Generator, wires: Sequence[int]) -> Operator:
        """The operation at values drawn from ``rng``."""
        return self.build(self.parameters(rng), wires, rng)

    def has_root(self) -> bool:
        """Whether PennyLane knows the square root, as a gate or as a matrix."""
        if not self.powers or not self.shapes:
            return self.powers
        try:
            self.random(np.random.default_rng(0), range(self.n_wires)).pow(0.5)
        except PowUndefinedError:
            return False
        return True


def row(cls: type[Operator], n_wires: int, *shapes: Shape, **fields: Any) -> Gate:
    """A row whose operation is ``cls(*parameters, wires=wires, **options)``.

    ``options`` go to the operation; a ``build`` replaces that call.
    """
    options = fields.pop("options", {})

    def build(parameters, wires, rng):
        return cls(*parameters, wires=wires, **options)

    return Gate(cls, n_wires, shapes, **{"build": build, **fields})


def global_phase(parameters, wires, rng):
    return qml.GlobalPhase(*parameters, wires=list(wires))


def pauli_rot(parameters, wires, rng):
    return qml.PauliRot(*parameters, pauli_letters(rng, len(wires)), wires=wires)


def projector_phase(parameters, wires, rng):
    dim = int(rng.integers(1, 2 ** len(wires)))
    return qml.PCPhase(*parameters, dim=dim, wires=wires)


def controlled_unitary(parameters, wires, rng):
    n_targets = int(np.log2(parameters[0].shape[-1]))
    values = [bool(b) for b in bits(rng, (len(wires) - n_targets,))]
    return qml.ControlledQubitUnitary(*parameters, wires=wires, control_values=values)


def multi_controlled_x(parameters, wires, rng):
    values = [bool(b) for b in bits(rng, (len(wires) - 1,))]
    return qml.MultiControlledX(wires=wires, control_values=values)


def comparator(parameters, wires, rng):
    value = int(rng.integers(2 ** (len(wires) - 1)))
    return qml.IntegerComparator(value, geq=bool(rng.integers(2)), wires=wires)


def exponential(parameters, wires, rng):
    return qml.exp(qml.X(wires[0]) @ qml.Y(wires[1]), -0.5j * parameters[0])


def evolution(parameters, wires, rng):
    return qml.evolve(0.7 * qml.Z(wires[0]) @ qml.Y(wires[1]), *parameters)


FIXED = {
    cls.__name__: row(cls, cls.num_wires, *[()] * cls.num_params)
    for cls in sorted(gate_classes(), key=lambda cls: cls.__name__)
    if isinstance(cls.num_wires, int) and isinstance(cls.num_params, int)
}
UNITARY = {"draw": unitaries, "oracle": None}
DIAGONAL = {"draw": phases, "oracle": None}
BLOCK = {"draw": contractions, "oracle": None, "batches": False}
# autograd cannot differentiate PennyLane's matrix exponential; torch can.
# PennyLane decomposes these, but no batch of them, and in torch it fails to.
WHOLE = {"powers": False, "batches": False, "in_torch": False}
# Its decomposition takes no batch, so neither does parameter shift.
EXPONENTIAL = {"oracle": "torch", "batch_gradients": False}
OPEN = {
    "Identity-1": row(qml.Identity, 1),
    "Identity-2": row(qml.Identity, 2),
    "GlobalPhase-0": row(qml.GlobalPhase, 0, (), build=global_phase),
    "GlobalPhase-1": row(qml.GlobalPhase, 1, (), build=global_phase),
    "MultiRZ-1": row(qml.MultiRZ, 1, ()),
    "MultiRZ-3": row(qml.MultiRZ, 3, ()),
    "PauliRot-1": row(qml.PauliRot, 1, (), build=pauli_rot),
    "PauliRot-2": row(qml.PauliRot, 2, (), build=pauli_rot),
    "PauliRot-4": row(qml.PauliRot, 4, (), build=pauli_rot),
    "PCPhase-1": row(qml.PCPhase, 1, (), build=projector_phase),
    "PCPhase-3": row(qml.PCPhase, 3, (), build=projector_phase),
    # Of one Pauli word: PennyLane's own conversion to numpy fails on a sum of words,
    # and its Pow on both classes.
    "Exp": row(qml.ops.Exp, 2, (), build=exponential, **WHOLE),
    "Evolution": row(qml.ops.Evolution, 2, (), build=evolution, **WHOLE),
    "SpecialUnitary-1": row(qml.SpecialUnitary, 1, (3,), **EXPONENTIAL),
    "SpecialUnitary-2": row(qml.SpecialUnitary, 2, (15,), **EXPONENTIAL),
    "QubitUnitary-1": row(qml.QubitUnitary, 1, (2, 2), **UNITARY),
    "QubitUnitary-2": row(qml.QubitUnitary, 2, (4, 4), **UNITARY),
    "QubitUnitary-3": row(qml.QubitUnitary, 3, (8, 8), **UNITARY),
    "DiagonalQubitUnitary-1": row(qml.DiagonalQubitUnitary, 1, (2,), **DIAGONAL),
    "DiagonalQubitUnitary-3": row(qml.DiagonalQubitUnitary, 3, (8,), **DIAGONAL),
    "ControlledQubitUnitary-2": row(
        qml.ControlledQubitUnitary, 2, (2, 2), build=controlled_unitary, **UNITARY
    ),
    "ControlledQubitUnitary-4": row(
        qml.ControlledQubitUnitary, 4, (4, 4), build=controlled_unitary, **UNITARY
    ),
    "BlockEncode": row(qml.BlockEncode, 2, (2, 2), **BLOCK),
    "MultiControlledX-2": row(qml.MultiControlledX, 2, build=multi_controlled_x),
    "MultiControlledX-4": row(qml.MultiControlledX, 4, build=multi_controlled_x),
    "IntegerComparator": row(qml.IntegerComparator, 3, build=comparator),
}
GATES = FIXED | OPEN


# ---------------------------------------------------- variants of a gate
def adjoint(op: Operator, control: Sequence[int], rng: Generator) -> Operator:
    return qml.adjoint(op)


def controlled(op: Operator, control: Sequence[int], rng: Generator) -> Operator:
    return qml.ctrl(op, control, control_values=bits(rng, (len(control),)).tolist())


def adjoint_of_controlled(
    op: Operator, control: Sequence[int], rng: Generator
) -> Operator:
    return qml.adjoint(controlled(op, control, rng))


def square(op: Operator, control: Sequence[int], rng: Generator) -> Operator:
    return qml.pow(op, 2)


def root(op: Operator, control: Sequence[int], rng: Generator) -> Operator:
    return qml.pow(op, 0.5)


VARIANTS = {
    "adjoint": adjoint,
    "controlled": controlled,
    "adjoint of controlled": adjoint_of_controlled,
    "square": square,
    "root": root,
}


def has_variant(gate: Gate, variant: str) -> bool:
    """Whether PennyLane itself can apply the variant to the gate."""
    if variant == "root":
        return gate.has_root()
    return gate.powers or variant != "square"


# ------------------------------------- products, templates, preparations
def product(parameters, wires, rng):
    return qml.prod(qml.RX(parameters[0], wires[0]), qml.CNOT(wires))


def change_of_basis(parameters, wires, rng):
    return qml.change_op_basis(qml.CNOT(wires), qml.RZ(parameters[0], wires[1]))


def select(parameters, wires, rng):
    ops = [qml.RX(parameters[0], wires[0]), qml.IsingYY(parameters[1], wires[:2])]
    return qml.Select(ops, control=wires[2:])


STRONG = qml.StronglyEntanglingLayers
BASIC = qml.BasicEntanglerLayers
DISCRETE = {"draw": bits, "oracle": None}
TEMPLATES = {
    "Prod": row(qml.ops.Prod, 2, (), build=product),
    "ChangeOpBasis": row(qml.ops.ChangeOpBasis, 2, (), build=change_of_basis),
    "Select": row(qml.Select, 3, (), (), build=select),
    "QFT": row(qml.QFT, 3),
    "GroverOperator": row(qml.GroverOperator, 3),
    "AngleEmbedding-2 of 3": row(qml.AngleEmbedding, 3, (2,)),
    "IQPEmbedding": row(qml.IQPEmbedding, 3, (3,), options={"n_repeats": 2}),
    "StronglyEntanglingLayers-1": row(STRONG, 1, (2, 1, 3)),
    "StronglyEntanglingLayers-4": row(STRONG, 4, (4, 4, 3)),
    "StronglyEntanglingLayers-CZ": row(
        STRONG, 3, (2, 3, 3), options={"imprimitive": qml.CZ}
    ),
    "StronglyEntanglingLayers-ranges": row(
        STRONG, 4, (3, 4, 3), options={"ranges": (3, 1, 2)}
    ),
    "BasicEntanglerLayers-1": row(BASIC, 1, (2, 1)),
    "BasicEntanglerLayers-2": row(BASIC, 2, (2, 2)),
    "BasisEncoding": row(BasisTemplate, 3, (3,), **DISCRETE),
    "ConvolutionLayers-ring": row(
        ConvolutionLayers, 3, (2, 2, 3), options={"wrap": True}
    ),
    "ConvolutionLayers-su4": row(
        ConvolutionLayers, 3, (1, 15), options={"kernel": "su4"}
    ),
}
for axis in "XYZ":
    rotation = {"options": {"rotation": axis}}
    TEMPLATES[f"AngleEmbedding-{axis}"] = row(qml.AngleEmbedding, 2, (2,), **rotation)
    rotation = {"options": {"rotation": getattr(qml, f"R{axis}")}}
    TEMPLATES[f"BasicEntanglerLayers-{axis}"] = row(BASIC, 3, (2, 3), **rotation)
for word in ENTANGLEMENTS:
    layers = row(RotationEntanglerLayers, 4, (2, 4, 3), options={"entanglement": word})
    TEMPLATES[f"RotationEntanglerLayers-{word}"] = layers
for word in ("linear", "full"):
    feature_map = row(ZZFeatureMap, 3, (3,), options={"entanglement": word})
    TEMPLATES[f"ZZFeatureMap-{word}"] = feature_map

# What random circuits draw from. Some of their tests know what PennyLane cannot do with
# the circuits of some seeds, so that a template that comes later is not among them.
LATER = {
    "ConvolutionLayers-ring",
    "ConvolutionLayers-su4",
    "RotationEntanglerLayers-none",
}
DRAWN = sorted({*GATES, *TEMPLATES} - LATER)

# Only these may stand first in a circuit; they take the wires from |0...0>.
NORMALIZED = {"draw": amplitudes, "options": {"normalize": True}}
PADDED = {"draw": amplitudes, "options": {"normalize": True, "pad_with": 0.25}}
PREPARATIONS = {
    "BasisState": row(qml.BasisState, 3, (3,), batches=False, **DISCRETE),
    "BasisEmbedding": row(qml.BasisEmbedding, 2, (2,), batches=False, **DISCRETE),
    "StatePrep": row(qml.StatePrep, 2, (4,), draw=states, oracle=None),
    "AmplitudeEmbedding-1": row(qml.AmplitudeEmbedding, 1, (2,), **NORMALIZED),
    "AmplitudeEmbedding-3": row(qml.AmplitudeEmbedding, 3, (8,), **NORMALIZED),
    "AmplitudeEmbedding-padded": row(qml.AmplitudeEmbedding, 2, (3,), **PADDED),
}


# ----------------------------------------------------------- observables
def pauli_word(rng, wires, coefficients=None):
    letters = pauli_letters(rng, len(wires))
    factors = [
        getattr(qml, letter)(w) for letter, w in zip(letters, wires, strict=True)
    ]
    return qml.prod(*factors) if len(factors) > 1 else factors[0]


def pauli_sum(rng, wires, coefficients=None):
    scales = rng.normal(size=3)
    return qml.sum(*[qml.s_prod(float(c), pauli_word(rng, wires)) for c in scales])


def hamiltonian(rng, wires, coefficients):
    return qml.Hamiltonian(coefficients, [pauli_word(rng, wires) for _ in range(3)])


def hermitian(rng, wires, coefficients=None):
    wires = wires[:2]
    dim = 2 ** len(wires)
    matrix = rng.normal(size=(dim, dim)) + 1j * rng.normal(size=(dim, dim))
    return qml.Hermitian(matrix + matrix.conj().T, wires)


def hermitian_times_word(rng, wires, coefficients=None):
    if len(wires) < 2:
        return hermitian(rng, wires)
    return hermitian(rng, wires[:1]) @ pauli_word(rng, wires[1:])


def basis_projector(rng, wires, coefficients=None):
    return qml.Projector(bits(rng, (len(wires),)), wires)


def state_projector(rng, wires, coefficients=None):
    return qml.Projector(states(rng, (2 ** len(wires),)), wires)


def hadamard(rng, wires, coefficients=None):
    return qml.Hadamard(wires[0])


# Each maps (generator, wires, three coefficients) to an observable.
OBSERVABLES = {
    "word": pauli_word,
    "sum": pauli_sum,
    "hamiltonian": hamiltonian,
    "hermitian": hermitian,
    "hermitian times word": hermitian_times_word,
    "basis projector": basis_projector,
    "state projector": state_projector,
    "hadamard": hadamard,
}


# ------------------------------------------------------------- encodings
@dataclass(frozen=True)
class EncodingTemplate:
    """A way to put a sample on wires.

    Args:
        n_features: Maps a number of wires to a number of features.
        draw: Draws samples from (generator, shape), the features last.
        template: Maps (features, wires) to the operation.
    """

    n_features: Callable[[int], int]
    draw: Callable[[Generator, Shape], np.ndarray]
    template: Callable[..., Operator]


ENCODINGS = {
    "angle": EncodingTemplate(int, angles, partial(qml.AngleEmbedding, rotation="Y")),
    "amplitude": EncodingTemplate(
        lambda n_wires: 2**n_wires,
        amplitudes,
        partial(qml.AmplitudeEmbedding, normalize=True, pad_with=0.0),
    ),
    "basis": EncodingTemplate(int, bits, BasisTemplate),
    "zz_feature_map": EncodingTemplate(int, angles, ZZFeatureMap),
}


# -------------------------------------------------- layers, readouts, models
class Couplings(Layer):
    """As a user writes one: controlled rotations that share weights, and a constant."""

    def blocks(self, wires):
        pairs = itertools.pairwise(wires)
        return [
            *[Block(qml.CRot, pair, [Weights(0), 0.3, Weights(1)]) for pair in pairs],
            *[Block(qml.RX, [wire], [Weights(2 + i)]) for i, wire in enumerate(wires)],
        ]


class Tilted(Operation):
    """A user's template: angles are polynomials of its parameters."""

    num_params = 2
    ndim_params = (1, 0)

    @staticmethod
    def compute_decomposition(angles, factor, wires, **_):
        turns = [qml.RY(factor * angles[..., i], w) for i, w in enumerate(wires)]
        return [*turns, *[qml.CNOT(pair) for pair in itertools.pairwise(wires)]]


class Trained(Encoding):
    """A user's encoding: every feature has a trained factor, which begins at 1."""

    def n_wires(self, input_dim):
        return max(1, input_dim - 1)

    def blocks(self, wires):
        size = min(len(wires), self.input_dim)
        return [Block(Tilted, wires[:size], [Features(0, (size,)), Weights(0)])]

    def encode(self, inputs):
        return np.tanh(inputs[:, : self.n_columns])

    def sources(self, n_columns):
        return [(i,) for i in range(n_columns)]

    def initial(self, n_weights, rng):
        return np.ones(n_weights)


class GivesAway(Layer):
    """Gives its last wire away, as a pooling layer does."""

    def blocks(self, wires):
        last = wires[-2:]
        return [Block(qml.CRX, last, [Weights(0)])] if len(wires) > 1 else []

    def keeps(self, wires):
        return wires[: max(1, len(wires) - 1)]


class Squares(Readout):
    """A user's readout: trained multiples of squared expectation values."""

    def measurements(self, wires, output_dim):
        return [qml.expval(qml.X(wires[i % len(wires)])) for i in range(output_dim)]

    def initial(self, output_dim):
        return np.linspace(0.5, 1.5, output_dim)

    def outputs(self, values, parameters):
        return parameters * values**2

    def jacobian(self, values, parameters):
        n = values.shape[1]
        by_values = 2.0 * parameters * values
        return by_values[:, :, None] * np.eye(n), values[:, :, None] ** 2 * np.eye(n)


LAYERS: dict[str, Callable[[Generator], Layer]] = {
    "rotations, linear": lambda rng: QuantumLayer(n_layers=1, entanglement="linear"),
    "rotations, circular": lambda rng: QuantumLayer(n_layers=2),
    "rotations, full": lambda rng: QuantumLayer(n_layers=1, entanglement="full"),
    "couplings": lambda rng: Couplings(),
    "giving a wire away": lambda rng: GivesAway(),
    "convolution": lambda rng: QuantumConvolutionalLayer(wrap=True),
    "convolution, su4": lambda rng: QuantumConvolutionalLayer(kernel="su4"),
    "pooling": lambda rng: QuantumPoolingLayer(),
}
GIVING = GivesAway, QuantumPoolingLayer  # of a random model the last layer alone
OF_PAIRS = QuantumConvolutionalLayer, QuantumPoolingLayer  # which need two wires
ENCODING_LAYERS: dict[str, Callable[[Generator], Encoding]] = {
    "angle": lambda rng: AngleEncoding(str(rng.choice(list("XYZ")))),
    "angle, several axes": lambda rng: AngleEncoding("YZX", 0.7),
    "angle, one feature": lambda rng: AngleEncoding(features=[0]),
    "zz": lambda rng: ZZEncoding(),
    "trained": lambda rng: Trained(),
}
FIRST_LAYERS: dict[str, Callable[[Generator], Encoding]] = {
    "amplitude": lambda rng: AmplitudeEncoding(),
    "basis": lambda rng: BasisEncoding(),
    **ENCODING_LAYERS,
}


def measured_word(rng, wires, output_dim):
    size = int(rng.integers(1, len(wires) + 1))
    on = [int(w) for w in rng.choice(wires, size, replace=False)]
    words = [pauli_word(rng, on) for _ in range(output_dim)]
    return ExpectationValues(words)


def measured_sums(rng, wires, output_dim):
    kinds = [OBSERVABLES[k] for k in ("sum", "hermitian", "basis projector")]
    chosen = rng.choice(len(kinds), output_dim)
    return ExpectationValues([kinds[i](rng, list(wires)) for i in chosen])


# Each maps (generator, wires kept, number of outputs) to a readout.
READOUTS: dict[str, Callable[[Generator, Sequence[int], int], Readout]] = {
    "z": lambda rng, wires, n: ExpectationValues(),
    "words": measured_word,
    "sums": measured_sums,
    "probabilities": lambda rng, wires, n: Probabilities(),
    "affine": lambda rng, wires, n: Affine(measured_word(rng, wires, n)),
    "affine probabilities": lambda rng, wires, n: Affine(Probabilities()),
    "squares": lambda rng, wires, n: Squares(),
}


def random_model(rng: Generator, readout: str) -> QuantumModel:
    """A random stack of layers with a readout, away from special values."""
    first = str(rng.choice(list(FIRST_LAYERS)))
    layers: list[Layer] = [FIRST_LAYERS[first](rng)]
    for _ in range(int(rng.integers(1, 4))):
        again = rng.random() < 0.4
        rows = ENCODING_LAYERS if again else LAYERS
        layers.append(rows[str(rng.choice(list(rows)))](rng))
    if rng.random() < 0.3:
        layers.append(layers[int(rng.integers(1, len(layers)))])  # shares weights
    giving = [layer for layer in layers if isinstance(layer, GIVING)]
    layers = [x for x in layers if not isinstance(x, GIVING)] + giving[-1:]
    input_dim = int(rng.integers(1, 4))
    n_qubits = int(rng.integers(input_dim, 4))
    if any(isinstance(layer, OF_PAIRS) for layer in layers):
        n_qubits = max(2, n_qubits)
    kept = layers[-1].keeps(tuple(range(n_qubits)))
    n_outputs = 2 if "probabilities" in readout else int(rng.integers(1, len(kept) + 1))
    made = READOUTS[readout](rng, kept, n_outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenWarning)
        model = QuantumModel(
            input_dim, n_outputs, layers=layers, readout=made, n_qubits=n_qubits
        )
    model.parameters[:] = rng.uniform(-2, 2, model.parameters.size)
    return model


def random_samples(rng: Generator, model: QuantumModel, n_samples: int) -> np.ndarray:
    """Samples that every encoding of a model takes."""
    shape = (n_samples, model.input_dim)
    if any(isinstance(layer, BasisEncoding) for layer in model.layers):
        return bits(rng, shape)
    return rng.uniform(-2, 2, shape)
