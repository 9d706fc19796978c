"""PennyLane's gates and state preparations, as gates of the engine.

Each function turns an operation, with a symbolic angle for every number it holds, into
gates. Templates have their entries in :mod:`registry`, channels in :mod:`channels`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pennylane as qml
from pennylane.operation import Operator

from qstore_pl.devices.entries import Entry, Wires, first_slot, register
from qstore_pl.devices.matrices import matrix_of
from qstore_pl.devices.records import RecordCopy
from qstore_pl.devices.tensors import is_jax, to_numpy
from qstore_pl.engine.gates import (
    Amplitudes,
    Angle,
    Matrix,
    MixedGate,
    PauliRotation,
    Permutation,
)

GATES: dict[str, Entry] = {}


def phase(angle: Angle | float) -> PauliRotation:
    r"""The global phase :math:`e^{i\,angle}`."""
    return PauliRotation("", (), Angle() - 2.0 * angle)


def rotation(word: str, wires: Wires, angle: Angle | float) -> PauliRotation:
    r"""The rotation :math:`e^{-i\,angle\,P/2}` about the Pauli word P."""
    return PauliRotation(word, wires, Angle() + angle)


# --- gates without parameters ----------------------------------------------------

_FIXED_ROTATIONS: dict[str, tuple[tuple[tuple[str, float], ...], float]] = {
    # name: the rotations in the order they act, and a global phase
    "Identity": ((), 0.0),
    "PauliX": ((("X", np.pi),), np.pi / 2),
    "PauliY": ((("Y", np.pi),), np.pi / 2),
    "PauliZ": ((("Z", np.pi),), np.pi / 2),
    "Hadamard": ((("Z", np.pi), ("Y", np.pi / 2)), np.pi / 2),
    "S": ((("Z", np.pi / 2),), np.pi / 4),
    "T": ((("Z", np.pi / 4),), np.pi / 8),
    "SX": ((("X", np.pi / 2),), np.pi / 4),
}


@register(GATES, *_FIXED_ROTATIONS)
def _fixed(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    rotations, turn = _FIXED_ROTATIONS[op.name]
    for letter, angle in rotations:
        yield rotation(letter, wires, angle)
    if turn:
        yield phase(turn)


@register(GATES, "Barrier", "Snapshot", controllable=False)
def _nothing(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    return ()


RECORD_ENTRY = Entry(
    _nothing,  # the noise of the device makes something of it, see SpecNoise
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


@register(GATES, "CNOT", "CZ", "CY", "CCZ", "SWAP", "ISWAP", "Toffoli", "CSWAP")
@register(GATES, "QubitCarry", "QubitSum")
def _permutation(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    name = "CNOT" if isinstance(op, RecordCopy) else op.name
    yield Permutation(wires, *_permutation_of(name, len(wires)))


@register(GATES, "MultiControlledX", key=lambda op: tuple(map(bool, op.control_values)))
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


@register(GATES, *_WORDS)
def _rotation(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    yield PauliRotation(_WORDS[op.name], wires, params[0].angle)


@register(GATES, "MultiRZ")
def _multi_rz(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    yield PauliRotation("Z" * len(wires), wires, params[0].angle)


@register(GATES, "PauliRot", key=lambda op: op.hyperparameters["pauli_word"])
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


@register(GATES, "PhaseShift", "U1")
def _phase_shift(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield PauliRotation("Z", wires, params[0].angle)
    yield phase(0.5 * params[0].angle)


@register(GATES, "GlobalPhase")
def _global_phase(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield phase(-params[0].angle)


@register(GATES, "Rot")
def _rot(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    for letter, param in zip("ZYZ", params, strict=True):
        yield PauliRotation(letter, wires, param.angle)


@register(GATES, "U2", "U3")
def _u3(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    angles = [param.angle for param in params]
    theta, phi, delta = angles if len(angles) == 3 else (Angle(np.pi / 2), *angles)
    yield PauliRotation("Z", wires, delta)
    yield PauliRotation("Y", wires, theta)
    yield PauliRotation("Z", wires, phi)
    yield phase(0.5 * (phi + delta))


@register(GATES, "CRX", "CRY", "CRZ")
def _controlled_rotation(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield PauliRotation(op.name[-1], wires[1:], params[0].angle, ((wires[0], 1),))


@register(GATES, "CRot")
def _crot(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    for letter, param in zip("ZYZ", params, strict=True):
        yield PauliRotation(letter, wires[1:], param.angle, ((wires[0], 1),))


@register(
    GATES, "ControlledPhaseShift", "CPhaseShift00", "CPhaseShift01", "CPhaseShift10"
)
def _controlled_phase(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    bits = op.name[-2:] if op.name[-1] in "01" else "11"
    yield phase(params[0].angle).controlled(
        [(wire, int(bit)) for wire, bit in zip(wires, bits, strict=True)]
    )


@register(GATES, "PCPhase", key=lambda op: op.hyperparameters["dimension"])
def _projector_phase(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    r"""The phase :math:`e^{i\,angle}` below an index, and its inverse from there on."""
    bound, n = op.hyperparameters["dimension"][0], len(wires)
    yield phase(-params[0].angle)
    # The indices below the bound form blocks, one for each bit of the bound that is 1:
    # they have the higher bits of the bound, and a 0 in the place of that bit.
    for place in range(n + 1):
        if (bound >> place) & 1:
            bits = [(bound >> (n - 1 - i)) & 1 for i in range(n - place)]
            bits[-1:] = [0] if bits else []
            block = list(zip(wires, bits, strict=False))
            yield phase(2.0 * params[0].angle).controlled(block)


@register(GATES, "IsingXY", "SingleExcitation", "SingleExcitationPlus")
@register(GATES, "SingleExcitationMinus", "DoubleExcitation", "DoubleExcitationPlus")
@register(GATES, "DoubleExcitationMinus", "OrbitalRotation", "FermionicSWAP")
def _by_generator(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    r"""The gate :math:`e^{i\,angle\,G}`, where G is a sum of Pauli words."""
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
    # In FermionicSWAP the sums XX + YY and Z1 + Z2 commute, their words do not.
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


@register(GATES, "SISWAP")
def _root_of_iswap(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    for word in ("XX", "YY"):
        yield rotation(word, wires, -np.pi / 4)


@register(GATES, "ECR")
def _echoed_cross_resonance(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield rotation("ZX", wires, np.pi / 2)
    yield rotation("X", wires[:1], np.pi)
    yield phase(np.pi / 2)


@register(GATES, "PSWAP")
def _phase_swap(
    op: Operator, params: Sequence[Any], wires: Wires
) -> Iterable[MixedGate]:
    yield PauliRotation("ZZ", wires, params[0].angle)
    yield phase(0.5 * params[0].angle)
    yield Permutation(wires, *_permutation_of("SWAP", 2))


# --- values ----------------------------------------------------------------------


@register(GATES, "QubitUnitary", ndims=(2,), complex=True)
def _unitary(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    (param,) = params
    slot = first_slot(op, param, complex=True)
    yield Matrix(wires, slot, differentiable=param.wanted)


def _diagonal(op: Operator) -> tuple[Any, ...]:
    (entries,) = op.data
    entries = entries if is_jax(entries) else to_numpy(entries)
    return (entries[..., :, None] * np.eye(entries.shape[-1]),)


GATES["DiagonalQubitUnitary"] = Entry(
    _unitary,
    ndims=(2,),
    values=_diagonal,
    pulls=lambda op: [lambda gradient: np.diagonal(gradient, axis1=-2, axis2=-1)],
    complex=True,
)
# For tapes that reach the device without its preprocessing, which makes such an
# operation a QubitUnitary or a StatePrep: then the user's framework computes the
# numbers, and differentiates them.
MATRIX_ENTRY = Entry(
    _unitary,
    ndims=(2,),
    values=lambda op: (matrix_of(op),),
    complex=True,
    differentiable=False,
)


@register(
    GATES,
    "StatePrep",
    "AmplitudeEmbedding",
    ndims=(1,),
    controllable=False,
    initial=True,
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
    GATES,
    "BasisState",
    "BasisEmbedding",
    ndims=(1,),
    values=_bit_values,
    pulls=lambda op: [np.zeros_like],  # bits are discrete
)
def _bits(op: Operator, params: Sequence[Any], wires: Wires) -> Iterable[MixedGate]:
    # X to the power of the bit, as a rotation by pi times the bit: so that the bit is
    # a value, and circuits with other bits have the same structure.
    for bit, wire in zip(params[0].angles, wires, strict=True):
        yield PauliRotation("X", (wire,), np.pi * bit)
        yield phase(np.pi / 2 * bit)
