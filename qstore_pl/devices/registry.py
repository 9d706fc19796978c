"""The one list of operations the devices run whole, and the engine gates of each.

An entry turns an operation, with a symbolic angle for every number it holds, into
gates. What is not listed, nor the adjoint of a listed operation or one under control,
PennyLane decomposes. Nothing here depends on a value.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DecompositionUndefinedError, DeviceError
from pennylane.operation import Operator
from pennylane.ops.functions import bind_new_parameters

from qstore_pl import templates
from qstore_pl.devices.matrices import is_pauli_rotation, matrix_of, rotation_of
from qstore_pl.devices.records import Record, RecordCopy
from qstore_pl.devices.symbols import TOO_MANY_FACTORS, Constant, SymbolError, Symbols
from qstore_pl.devices.tensors import is_jax, to_numpy
from qstore_pl.engine.gates import (
    ONE,
    Amplitudes,
    Angle,
    Matrix,
    MixedGate,
    PauliRotation,
    Permutation,
    Slot,
    slot_angles,
)

Wires: TypeAlias = tuple[int, ...]
MAX_MATRIX_WIRES = 8  # a matrix on more wires costs more than what it is made of


@dataclass(frozen=True)
class Parameter:
    """Where the numbers of one tape parameter are found.

    Args:
        kind: WEIGHT or FEATURE.
        offset: First slot.
        shape: Shape of the parameter without a batch axis.
        complex: Whether imaginary parts follow the real ones.
        wanted: Whether gradients by the entries of a matrix are wanted.
    """

    kind: int
    offset: int
    shape: tuple[int, ...]
    complex: bool = False
    wanted: bool = False

    @property
    def angles(self) -> NDArray[np.object_]:
        """The numbers as angles, shape ``shape``."""
        return slot_angles(self.kind, self.offset, self.shape)

    @property
    def angle(self) -> Angle:
        """The one number of a scalar parameter."""
        return Angle(0.0, ((1.0, self.slot, ONE),))

    @property
    def slot(self) -> Slot:
        """The first slot."""
        return self.kind, self.offset


Pull: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
Lower: TypeAlias = Callable[[Operator, Sequence[Any], Wires], Iterable[MixedGate]]
Parts: TypeAlias = Callable[
    [Operator, Sequence[Any], Sequence[Any]],
    Iterable[tuple[Operator, tuple[Any, ...]]],
]


@dataclass(frozen=True)
class Entry:
    """How one kind of operation is run.

    Args:
        lower: From operation, parameters and wires to gates.
        key: What besides name, wires and shapes determines the gates.
        ndims: Axes of each parameter without a batch; None asks the operation's class.
        values: From the operation to its numbers, where these are not its parameters.
        complex: Whether its numbers are complex even where their imaginary part is 0.
        differentiable: Whether a gradient with respect to its parameters exists here.
        controllable: Whether it is a unitary, which can be inverted and controlled.
        initial: Whether it can only be the first operation.
        channel: Whether it needs mixed states.
        parts: The gates of a template as PennyLane writes them, with their parameters,
            on given wires; the numbers the gates hold mean nothing.
        jacobian: Where ``values`` computes with the parameters: its derivative, shape
            ``(n_parameters, n_values)``.
        pulls: Where ``values`` arranges the parameters in one array of numbers: for
            each parameter a map from the gradient with respect to those numbers.
    """

    lower: Lower
    key: Callable[[Operator], Hashable] = lambda op: None
    ndims: tuple[int, ...] | None = None
    values: Callable[[Operator], tuple[Any, ...]] | None = None
    complex: bool = False
    differentiable: bool = True
    controllable: bool = True
    initial: bool = False
    channel: bool = False
    parts: Parts | None = None
    jacobian: Callable[[Operator], NDArray[np.float64]] | None = None
    pulls: Callable[[Operator], Sequence[Pull]] | None = None


REGISTRY: dict[str, Entry] = {}


def register(*names: str, **options: Any) -> Callable[[Lower], Lower]:
    """Decorate a lowering with the names of the operations it is for."""

    def decorate(lower: Lower) -> Lower:
        for name in names:
            REGISTRY[name] = Entry(lower, **options)
        return lower

    return decorate


def phase(angle: Angle | float) -> PauliRotation:
    r"""A global phase :math:`e^{i\,angle}`."""
    return PauliRotation("", (), Angle() - 2.0 * angle)


def rotation(word: str, wires: Wires, angle: Angle | float) -> PauliRotation:
    r""":math:`e^{-i\,angle\,P/2}`."""
    return PauliRotation(word, wires, Angle() + angle)


# --- gates without parameters ----------------------------------------------------

_FIXED_ROTATIONS: dict[str, tuple[tuple[tuple[str, float], ...], float]] = {
    # name: rotations in time order, then the global phase
    "Identity": ((), 0.0),
    "PauliX": ((("X", np.pi),), np.pi / 2),
    "PauliY": ((("Y", np.pi),), np.pi / 2),
    "PauliZ": ((("Z", np.pi),), np.pi / 2),
    "Hadamard": ((("Z", np.pi), ("Y", np.pi / 2)), np.pi / 2),
    "S": ((("Z", np.pi / 2),), np.pi / 4),
    "T": ((("Z", np.pi / 4),), np.pi / 8),
    "SX": ((("X", np.pi / 2),), np.pi / 4),
}


@register(*_FIXED_ROTATIONS)
def _fixed(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    rotations, turn = _FIXED_ROTATIONS[op.name]
    for letter, angle in rotations:
        yield rotation(letter, wires, angle)
    if turn:
        yield phase(turn)


@register("Barrier", "Snapshot", controllable=False)
def _nothing(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    return ()


RECORD_ENTRY = Entry(
    _nothing,  # SpecNoise has it misread
    key=lambda op: tuple(op.hyperparameters.values()),
    controllable=False,
)


@functools.cache
def _permutation_of(name: str, n_wires: int) -> tuple[Any, Any]:
    """Table and phases of a gate whose matrix is a permutation with phases."""
    matrix = np.asarray(getattr(qml, name)(wires=range(n_wires)).matrix())
    table = np.abs(matrix).argmax(axis=1)
    entries = matrix[np.arange(len(table)), table]
    eighths = np.round(np.angle(entries) / (np.pi / 4)).astype(int) % 8
    rebuilt = np.zeros_like(matrix, dtype=complex)
    rebuilt[np.arange(len(table)), table] = np.exp(1j * np.pi / 4 * eighths)
    if not np.allclose(rebuilt, matrix, atol=1e-12):
        raise ValueError(f"{name} is not a permutation with phases.")
    return tuple(table.tolist()), tuple(eighths.tolist())


@register("CNOT", "CZ", "CY", "CCZ", "SWAP", "ISWAP", "Toffoli", "CSWAP")
@register("QubitCarry", "QubitSum")
def _permutation(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    name = "CNOT" if isinstance(op, RecordCopy) else op.name
    yield Permutation(wires, *_permutation_of(name, len(wires)))


@register("MultiControlledX", key=lambda op: tuple(map(bool, op.control_values)))
def _multi_controlled_x(
    op: Any, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    values = [int(value) for value in op.control_values]
    flip = Permutation(wires[len(values) :], (1, 0), (0, 0))
    yield flip.controlled(list(zip(wires, values, strict=False)))


# --- rotations -------------------------------------------------------------------

_WORDS = {
    "RX": "X",
    "RY": "Y",
    "RZ": "Z",
    "IsingXX": "XX",
    "IsingYY": "YY",
    "IsingZZ": "ZZ",
}


@register(*_WORDS)
def _rotation(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    yield PauliRotation(_WORDS[op.name], wires, params[0].angle)


@register("MultiRZ")
def _multi_rz(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    yield PauliRotation("Z" * len(wires), wires, params[0].angle)


@register("PauliRot", key=lambda op: op.hyperparameters["pauli_word"])
def _pauli_rot(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    word = op.hyperparameters["pauli_word"]
    kept = [
        (letter, wire)
        for letter, wire in zip(word, wires, strict=True)
        if letter != "I"
    ]
    yield PauliRotation(
        "".join(letter for letter, _ in kept),
        tuple(wire for _, wire in kept),
        params[0].angle,
    )


@register("PhaseShift", "U1")
def _phase_shift(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield PauliRotation("Z", wires, params[0].angle)
    yield phase(0.5 * params[0].angle)


@register("GlobalPhase")
def _global_phase(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield phase(-params[0].angle)


@register("Rot")
def _rot(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    for letter, param in zip("ZYZ", params, strict=True):
        yield PauliRotation(letter, wires, param.angle)


@register("U2", "U3")
def _u3(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    angles = [param.angle for param in params]
    theta, phi, delta = angles if len(angles) == 3 else (Angle(np.pi / 2), *angles)
    yield PauliRotation("Z", wires, delta)
    yield PauliRotation("Y", wires, theta)
    yield PauliRotation("Z", wires, phi)
    yield phase(0.5 * (phi + delta))


@register("CRX", "CRY", "CRZ")
def _controlled_rotation(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield PauliRotation(op.name[-1], wires[1:], params[0].angle, ((wires[0], 1),))


@register("CRot")
def _crot(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    for letter, param in zip("ZYZ", params, strict=True):
        yield PauliRotation(letter, wires[1:], param.angle, ((wires[0], 1),))


@register("ControlledPhaseShift", "CPhaseShift00", "CPhaseShift01", "CPhaseShift10")
def _controlled_phase(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    bits = op.name[-2:] if op.name[-1] in "01" else "11"
    yield phase(params[0].angle).controlled(
        [(wire, int(bit)) for wire, bit in zip(wires, bits, strict=True)]
    )


@register("PCPhase", key=lambda op: op.hyperparameters["dimension"])
def _projector_phase(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    """The phases +angle below an index and -angle from it on."""
    bound, n = op.hyperparameters["dimension"][0], len(wires)
    yield phase(-params[0].angle)
    # Indices below the bound, block by block: a block shares the bound's bits down to
    # one that is 1, and has a 0 there.
    for place in range(n + 1):
        if (bound >> place) & 1:
            bits = [(bound >> (n - 1 - i)) & 1 for i in range(n - place)]
            bits[-1:] = [0] if bits else []
            block = list(zip(wires, bits, strict=False))
            yield phase(2.0 * params[0].angle).controlled(block)


@register("IsingXY", "SingleExcitation", "SingleExcitationPlus")
@register("SingleExcitationMinus", "DoubleExcitation", "DoubleExcitationPlus")
@register("DoubleExcitationMinus", "OrbitalRotation", "FermionicSWAP")
def _by_generator(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    r"""exp(i angle G) for a generator G of Pauli words."""
    for coefficient, word, local in _generator_terms(op.name, len(wires)):
        yield PauliRotation(
            word, tuple(wires[i] for i in local), -2.0 * coefficient * params[0].angle
        )


@functools.cache
def _generator_terms(name: str, n_wires: int) -> tuple[tuple[float, str, Wires], ...]:
    generator = getattr(qml, name)(0.1, wires=range(n_wires)).generator()
    sentence = generator.pauli_rep
    if sentence is None:
        dense = generator.sparse_matrix().toarray().astype(complex)
        sentence = qml.pauli_decompose(dense, pauli=True)
    # XX + YY and Z1 + Z2 of FermionicSWAP commute as sums, not word by word.
    if name != "FermionicSWAP" and not _commute(sentence):
        raise ValueError(f"The generator of {name} has no commuting terms.")
    words = sorted(sentence, key=len)
    return tuple(
        (float(np.real(sentence[word])), "".join(word.values()), tuple(word.keys()))
        for word in words
    )


def _commute(sentence: Any) -> bool:
    words = list(sentence)
    return all(
        word.commutes_with(other) for i, word in enumerate(words) for other in words[:i]
    )


@register("SISWAP")
def _root_of_iswap(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    for word in ("XX", "YY"):
        yield rotation(word, wires, -np.pi / 4)


@register("ECR")
def _echoed_cross_resonance(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield rotation("ZX", wires, np.pi / 2)
    yield rotation("X", wires[:1], np.pi)
    yield phase(np.pi / 2)


@register("PSWAP")
def _phase_swap(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield PauliRotation("ZZ", wires, params[0].angle)
    yield phase(0.5 * params[0].angle)
    yield Permutation(wires, *_permutation_of("SWAP", 2))


# --- values ----------------------------------------------------------------------


NOT_COMPLEX = (
    "{} cannot be compiled: its numbers are complex, which weights and features are "
    "not. Run the circuit through its QNode, or leave it constant."
)


def first_slot(op: Operator, param: Any, *, complex: bool = False) -> Slot:
    """The first slot of a parameter whose numbers are not angles.

    Args:
        op: Whose parameter it is.
        param: The parameter.
        complex: Whether imaginary parts must follow the real ones.

    Raises:
        DeviceError: If its numbers are not consecutive weights or features.
    """
    if complex and isinstance(param, Symbols):
        raise DeviceError(NOT_COMPLEX.format(op.name))
    if complex and isinstance(param, Constant):
        return Constant(param.numbers.astype(np.complex128)).slot
    try:
        return param.slot
    except SymbolError as error:
        raise DeviceError(
            f"{op.name} cannot be compiled: its numbers must be consecutive weights or "
            f"features, as they are, but are {error}. Run the circuit through its "
            "QNode."
        ) from error


@register("QubitUnitary", ndims=(2,), complex=True)
def _unitary(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    (param,) = params
    slot = first_slot(op, param, complex=True)
    yield Matrix(wires, slot, differentiable=param.wanted)


def _diagonal(op: Operator) -> tuple[Any, ...]:
    (entries,) = op.data
    entries = entries if is_jax(entries) else to_numpy(entries)
    return (entries[..., :, None] * np.eye(entries.shape[-1]),)


REGISTRY["DiagonalQubitUnitary"] = Entry(
    _unitary,
    ndims=(2,),
    values=_diagonal,
    pulls=lambda op: [lambda gradient: np.diagonal(gradient, axis1=-2, axis2=-1)],
    complex=True,
)
# Executed without preprocessing: there such operations become a QubitUnitary or a
# StatePrep, whose numbers the user's framework computes and differentiates.
MATRIX_ENTRY = Entry(
    _unitary,
    ndims=(2,),
    values=lambda op: (matrix_of(op),),
    complex=True,
    differentiable=False,
)


@register(
    "StatePrep", "AmplitudeEmbedding", ndims=(1,), controllable=False, initial=True
)
def _amplitudes(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield Amplitudes(wires, first_slot(op, params[0]), params[0].complex)


STATE_ENTRY = Entry(
    _amplitudes,
    ndims=(1,),
    values=lambda op: (op.state_vector(wire_order=op.wires).reshape(-1),),
    complex=True,
    differentiable=False,
    controllable=False,
    initial=True,
)


def _bit_values(op: Operator) -> tuple[Any, ...]:
    (bits,) = op.data
    return (bits.astype(int) if is_jax(bits) else bits,)


@register(
    "BasisState",
    "BasisEmbedding",
    ndims=(1,),
    values=_bit_values,
    pulls=lambda op: [np.zeros_like],  # bits are discrete
)
def _bits(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    # X to the power of a bit, as a rotation: a bit is a value, not structure.
    for bit, wire in zip(params[0].angles, wires, strict=True):
        yield PauliRotation("X", (wire,), np.pi * bit)
        yield phase(np.pi / 2 * bit)


# --- templates -------------------------------------------------------------------


def made_of(
    op: Operator, params: Sequence[Any], wires: Sequence[Any]
) -> Iterable[tuple[Operator, tuple[Any, ...]]]:
    """The operations that the decomposition of an operation names, as it names them.

    Args:
        op: For its class and hyperparameters; its numbers are not looked at.
        params: What each parameter is. A constant is given to the decomposition as the
            number it is, anything else as a symbol.
        wires: What its wires are called.

    Returns:
        Each operation with its parameters, as symbols or as the constants they are.

    Raises:
        DeviceError: If the decomposition does more with a parameter than a polynomial
            of degree 2 says.
    """
    names = dict(zip(op.wires.labels, wires, strict=True))
    try:
        with qml.QueuingManager.stop_recording():
            bound = _with_symbols(op, params)
            if any(label is not name for label, name in names.items()):
                bound = qml.map_wires(bound, names)
            parts = bound.decomposition()
        return [(part, tuple(map(_parameter, part.data))) for part in parts]
    except SymbolError as error:
        raise DeviceError(
            f"{op.name} cannot be compiled: its decomposition takes {error} of a "
            "parameter. Run the circuit through its QNode."
        ) from error
    except DecompositionUndefinedError as error:
        raise DeviceError(
            f"{op.name} cannot be compiled: it has no decomposition for any value of "
            "its parameters. Run the circuit through its QNode."
        ) from error


_AROUND = (qml.ops.op_math.Adjoint, qml.ops.op_math.Controlled, qml.ops.Pow)


def _with_symbols(op: Operator, params: Sequence[Any]) -> Operator:
    """The operation with symbols in the place of the numbers that are no constants."""
    if all(isinstance(param, Constant) for param in params):
        return op
    given = [
        param.numbers if isinstance(param, Constant) else Symbols(param.angles)
        for param in params
    ]
    inner = op
    while isinstance(inner, _AROUND):
        inner = inner.base
    if isinstance(inner, qml.ops.Evolution):
        # Its base may hold numbers, which are no parameters: PennyLane looks for those.
        twin = copy.copy(op)
        twin.data = tuple(given)
        return twin
    return bind_new_parameters(op, given)


def _parameter(value: Any) -> Symbols | Constant:
    return value if isinstance(value, Symbols) else Constant(to_numpy(value))


def _by_parts(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    return _lower_parts(op, made_of(op, params, wires), wires)


def _structure(op: Operator) -> Hashable:
    """What an operation has besides numbers and wires."""
    found = op.hyperparameters.items()
    return tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in found)


# Run whole in QNodes too: there it costs time to decompose them at every call.
REGISTRY |= {
    name: Entry(_by_parts, ndims=(ndim,), key=_structure, parts=made_of)
    for name, ndim in (
        ("AngleEmbedding", 1),
        ("BasisEncoding", 1),
        ("BasicEntanglerLayers", 2),
        ("RotationEntanglerLayers", 3),
        ("StronglyEntanglingLayers", 3),
    )
}


@register(
    "ZZFeatureMap",
    ndims=(1,),
    key=_structure,
    parts=made_of,
)
def _zz_feature_map(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    """Its CNOT, phase shift, CNOT as one rotation: a third of the instructions."""
    x = params[0].angles
    pairs = templates.entangler_pairs(len(wires), op.hyperparameters["entanglement"])
    for _ in range(op.hyperparameters["reps"]):
        for i, wire in enumerate(wires):
            yield from _fixed(qml.Hadamard(0), (), (wire,))
            yield PauliRotation("Z", (wire,), 2.0 * x[i])
            yield phase(x[i])
        for i, j in pairs:
            # CNOT, phase shift, CNOT: a phase where the two bits differ.
            product = 2.0 * _product(np.pi - x[i], np.pi - x[j])
            yield PauliRotation("ZZ", (wires[i], wires[j]), product)
            yield phase(0.5 * product)


def _product(one: Angle, other: Angle) -> Angle:
    try:
        return one * other
    except ValueError as error:  # of a degree past 2
        raise SymbolError(TOO_MANY_FACTORS) from error


# --- the operations PennyLane builds from others ---------------------------------


_HOMES = ("pennylane.", "qstore_pl.")
# By class, for speed; what is asked for most is found without its name.
_KNOWN: dict[type, Entry] = {Record: RECORD_ENTRY, RecordCopy: REGISTRY["CNOT"]}


def entry_of(op: Operator) -> Entry | None:
    """The registry's entry for an operation, or None if it must be decomposed."""
    known = _KNOWN.get(type(op))
    if known is not None:
        return known
    entry = REGISTRY.get(op.name)
    if entry is not None and not is_foreign(op):
        if type(op).__name__ == op.name:  # not a name that depends on the instance
            _KNOWN[type(op)] = entry
        return entry
    if isinstance(op, qml.ops.op_math.Adjoint | qml.ops.op_math.Controlled):
        base = entry_of(op.base)
        if base is None or not base.controllable:
            return None
        values, pulls = base.values, base.pulls
        return Entry(
            _inverse if isinstance(op, qml.ops.op_math.Adjoint) else _controlled,
            key=_symbolic_key,
            ndims=base.ndims,
            values=None if values is None else lambda op: values(op.base),
            complex=base.complex,
            differentiable=base.differentiable,
            parts=None if base.parts is None else made_of,
            pulls=None if pulls is None else lambda op: pulls(op.base),
        )
    if isinstance(op, qml.operation.StatePrepBase):
        return STATE_ENTRY
    return MATRIX_ENTRY if _is_known_by_its_matrix(op) else None


def is_plain(op: Operator) -> bool:
    """Whether its class alone says that an operation is in the registry."""
    return type(op) in _KNOWN


def is_foreign(op: Operator) -> bool:
    """Whether an operation is somebody else's, whatever its name is."""
    return not type(op).__module__.startswith(_HOMES)


def has_own_decomposition(op: Operator) -> bool:
    """Whether its class says what an operation is made of.

    PennyLane finds rules by name, and somebody else's operation may be named like one
    of PennyLane's and mean something else.
    """
    if not is_foreign(op):
        return bool(op.has_decomposition)
    base, own = qml.operation.Operator, type(op)
    return (
        own.compute_decomposition is not base.compute_decomposition
        or own.decomposition is not base.decomposition
    )


def _is_known_by_its_matrix(op: Operator) -> bool:
    if not op.has_matrix or len(op.wires) > MAX_MATRIX_WIRES:
        return False
    if isinstance(op, qml.Projector | qml.ops.Conditional | qml.ops.MidMeasure):
        return False  # no evolution
    if isinstance(op, qml.SpecialUnitary):
        return True  # its decomposition reads values
    if isinstance(op, qml.ops.Exp):
        if qml.math.ndim(op.data[0]):
            raise DeviceError(
                f"{op.name} must have one coefficient on the qstore devices, but has a "
                "batch. Use qml.PauliRot, whose angle may be a batch."
            )
        return not is_pauli_rotation(op)
    return not has_own_decomposition(op)


def _symbolic_key(op: Any) -> Hashable:
    entry = entry_of(op.base)
    assert entry is not None
    controls = tuple(map(bool, getattr(op, "control_values", ())))
    return type(op.base), controls, len(op.base.wires), entry.key(op.base)


def _inverse(op: Any, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    entry = entry_of(op.base)
    assert entry is not None
    for gate in reversed(list(entry.lower(op.base, params, wires))):
        assert isinstance(gate, PauliRotation | Permutation | Matrix)
        yield gate.adjoint()


def _controlled(op: Any, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    values = [int(value) for value in op.control_values]
    controls = list(zip(wires, values, strict=False))
    n_base = len(op.base.wires)
    base_wires = wires[len(values) : len(values) + n_base]
    entry = entry_of(op.base)
    assert entry is not None
    for gate in entry.lower(op.base, params, base_wires):
        assert isinstance(gate, PauliRotation | Permutation | Matrix)
        yield gate.controlled(controls)


def elementary(
    op: Operator, params: Sequence[Any]
) -> Iterable[tuple[Operator, Sequence[Any]]]:
    """An operation, or the gates of a template, each with its parameters."""
    entry = entry_of(op)
    parts = _by_itself if entry is None else entry.parts
    if parts is None:
        yield op, params
        return
    for part, its_params in parts(op, params, op.wires.labels):
        yield from elementary(part, its_params)


def _by_itself(
    op: Operator, params: Sequence[Any], wires: Sequence[Any]
) -> Iterable[tuple[Operator, tuple[Any, ...]]]:
    """The parts of an operation that is not in the registry.

    Raises:
        DeviceError: As :func:`made_of`, or if it has no decomposition.
    """
    if isinstance(op, qml.ops.Exp) and is_pauli_rotation(op):
        names = dict(zip(op.wires.labels, wires, strict=True))
        rotation = qml.map_wires(rotation_of(_with_symbols(op, params)), names)
        return [(rotation, tuple(map(_parameter, rotation.data)))]
    if not has_own_decomposition(op):
        raise DeviceError(
            f"Operation {op.name} is not supported by the qstore devices and has no "
            "decomposition. Write one: compute_decomposition of its class."
        )
    return made_of(op, params, wires)


def lower_operation(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    """The gates of an operation, of one that is not in the registry by its parts.

    Args:
        op: The operation; a number of it that is no constant is not looked at.
        params: What each of its parameters is; or, of a tape that was taken apart,
            where the numbers are found that its entry computes from its parameters.
        wires: Positions of its wires in the register.

    Raises:
        DeviceError: If it has no decomposition, or one that is no polynomial.
        SymbolError: If a gate of it needs more of a parameter than a polynomial.
    """
    entry = entry_of(op)
    if entry is not None:
        if entry.values is not None:
            params = _held(op, entry, params)
        return entry.lower(op, params, wires)
    return _lower_parts(op, _by_itself(op, params, wires), wires)


def _lower_parts(
    op: Operator, parts: Iterable[tuple[Operator, Sequence[Any]]], wires: Wires
) -> Iterable[MixedGate]:
    own = frozenset(wires)
    for part, its_params in parts:
        its_wires = part.wires.labels
        if not own.issuperset(its_wires):
            raise DeviceError(
                f"{op.name} must act on its own wires, but its decomposition has a "
                f"{part.name} on others."
            )
        yield from lower_operation(part, its_params, its_wires)


def _held(op: Operator, entry: Entry, params: Sequence[Any]) -> Sequence[Any]:
    """The numbers that an operation's gates hold, computed from its parameters."""
    if any(isinstance(param, Parameter) for param in params):
        return params
    assert entry.values is not None
    if entry.complex and any(isinstance(param, Symbols) for param in params):
        raise DeviceError(NOT_COMPLEX.format(op.name))
    return [_parameter(value) for value in entry.values(_with_symbols(op, params))]
