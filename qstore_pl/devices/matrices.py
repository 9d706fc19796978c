r"""Exponentials and matrices of operations, which every framework can differentiate.

PennyLane refuses to differentiate matrix exponentials in autograd. Here :math:`e^A` has
the derivative :math:`L(A, E) = \int_0^1 e^{(1-s)A} E\, e^{sA}\, ds` in the direction E,
and the transpose of that linear map is :math:`L(A^T, \cdot)`.

References:
    Higham, Functions of Matrices (SIAM, 2008), section 10.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from autograd.extend import defvjp, primitive
from numpy.typing import NDArray
from pennylane.operation import Operator
from scipy import linalg

from qstore_pl._blas import one_blas_thread
from qstore_pl.engine.transfer import pauli_words


def matrix_of(op: Operator) -> Any:
    """The matrix of an operation on its own wires, in the framework of its data."""
    if isinstance(op, qml.SpecialUnitary):
        theta = _complex(op.data[0])
        words = qml.math.convert_like(pauli_words(len(op.wires))[1:].copy(), theta)
        return _exponential(1j * qml.math.tensordot(theta, words, [[-1], [0]]))
    if isinstance(op, qml.ops.Exp):
        coefficient = _complex(op.coeff)
        base = op.base.matrix(wire_order=op.wires)
        if qml.math.get_interface(coefficient) == "torch":
            base = qml.math.convert_like(_complex(base), coefficient)
        return _exponential(coefficient * base)
    return op.matrix()


_AROUND = (qml.ops.op_math.Adjoint, qml.ops.op_math.Controlled)


def is_pauli_rotation(op: Operator) -> bool:
    """Whether an operation is the exponential of a Pauli word, and unitary.

    It may also be the adjoint of such an exponential, or have controls.
    """
    while isinstance(op, _AROUND):
        op = op.base
    if not isinstance(op, qml.ops.Exp):
        return False
    sentence = op.base.pauli_rep
    if sentence is None or len(sentence) != 1 or not next(iter(sentence)):
        return False
    if isinstance(op, qml.ops.Evolution):
        return bool(qml.math.get_interface(op.param) != "torch")
    # A coefficient that JAX traces may have a real part. A coefficient of torch has no
    # decomposition in PennyLane.
    interface = qml.math.get_interface(op.coeff)
    if interface == "torch" or qml.math.is_abstract(op.coeff):
        return False
    return bool(qml.math.all(qml.math.real(op.coeff) == 0.0))


def rotation_of(op: Operator) -> Operator:
    """The rotation that is equal to an exponential of a Pauli word.

    It is the gate that PennyLane's decomposition finds by a search through all gates.

    Args:
        op: An operation for which :func:`is_pauli_rotation` holds.
    """
    if isinstance(op, qml.ops.op_math.Adjoint):
        return qml.adjoint(rotation_of(op.base), lazy=True)
    if isinstance(op, qml.ops.op_math.Controlled):
        return qml.ctrl(rotation_of(op.base), op.control_wires, op.control_values)
    ((word, coefficient),) = op.base.pauli_rep.items()
    if isinstance(op, qml.ops.Evolution):
        return rotation_about(word, 2.0 * op.param * qml.math.real(coefficient))
    return rotation_about(word, qml.math.real(2j * op.coeff * coefficient))


def rotation_about(word: qml.pauli.PauliWord, angle: Any) -> Operator:
    r"""PennyLane's gate for :math:`e^{-i\,angle\,P/2}`.

    Args:
        word: The Pauli word P, which is not the identity.
        angle: The angle in radians, a number of any framework.
    """
    letters, wires = "".join(word.values()), list(word)
    if letters in _ROTATIONS:
        return _ROTATIONS[letters](angle, wires=wires)
    if set(letters) == {"Z"}:
        return qml.MultiRZ(angle, wires=wires)
    return qml.PauliRot(angle, letters, wires=wires)


_ROTATIONS = {
    "X": qml.RX,
    "Y": qml.RY,
    "Z": qml.RZ,
    "XX": qml.IsingXX,
    "YY": qml.IsingYY,
    "ZZ": qml.IsingZZ,
}


def _complex(value: Any) -> Any:
    if qml.math.get_interface(value) in ("autograd", "jax"):
        return value + 0j  # a cast would change the precision that JAX is set to
    return qml.math.cast(value, "complex128")


def _exponential(matrix: Any) -> Any:
    if qml.math.get_interface(matrix) in ("autograd", "numpy"):
        if qml.math.ndim(matrix) == 2:
            return _expm(matrix)
        return qml.math.stack([_expm(one) for one in matrix])
    return qml.math.expm(matrix)


@primitive
def _expm(matrix: NDArray[np.complex128]) -> NDArray[np.complex128]:
    with one_blas_thread():  # for small matrices several threads are slower
        return np.asarray(linalg.expm(matrix))


def _pull_back(_: Any, matrix: NDArray[np.complex128]) -> Any:
    def pull_back(gradient: Any) -> Any:
        with one_blas_thread():
            return linalg.expm_frechet(matrix.T, gradient, compute_expm=False)

    return pull_back


defvjp(_expm, _pull_back)
