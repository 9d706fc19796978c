"""Dense twins of the engine: slow, obvious, numpy alone. They know no engine.

States are vectors of shape ``(2**n,)`` or density matrices of shape ``(2**n, 2**n)``,
operators matrices of shape ``(2**k, 2**k)``; the first wire of a list is the most
significant bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, reduce
from itertools import product

import numpy as np
from numpy.typing import NDArray

Complex1D = NDArray[np.complex128]
Complex2D = NDArray[np.complex128]
Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]

PAULI = {
    "I": np.eye(2, dtype=complex),
    "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=complex),
    "Z": np.array([[1, 0], [0, -1]], dtype=complex),
}


@cache
def pauli_words(n: int) -> NDArray[np.complex128]:
    """All words, ``II``, ``IX``, ..., ``ZZ``, shape ``(4**n, 2**n, 2**n)``."""
    words = product(PAULI, repeat=n)
    return np.array([pauli_word_matrix("".join(word)) for word in words])


def pauli_word_matrix(word: str) -> Complex2D:
    """Kronecker product of the letters: ``"XI"`` has X on wire 0 of two."""
    return reduce(np.kron, [PAULI[letter] for letter in word])


def controlled(
    matrix: Complex2D, n_controls: int, values: Sequence[int] | None = None
) -> Complex2D:
    """``matrix`` where the controls, in front, hold ``values`` (ones), else 1."""
    dim = len(matrix)
    values = [1] * n_controls if values is None else values
    block = int("".join(str(int(v)) for v in values), 2)
    out = np.eye(2**n_controls * dim, dtype=complex)
    out[block * dim : (block + 1) * dim, block * dim : (block + 1) * dim] = matrix
    return out


def on_all_wires(matrix: Complex2D, wires: Sequence[int], n: int) -> Complex2D:
    """``matrix`` on ``wires`` times the identity elsewhere, shape ``(2**n, 2**n)``."""
    order = [*wires, *(wire for wire in range(n) if wire not in wires)]
    whole = np.kron(matrix, np.eye(2 ** (n - len(wires)))).astype(complex)
    axes = [*order, *(n + wire for wire in order)]
    return whole.reshape([2] * (2 * n)).transpose(np.argsort(axes)).reshape(2**n, 2**n)


def dense_state(
    gates: Iterable[tuple[Complex2D, Sequence[int]]],
    n: int,
    initial: Complex1D | None = None,
) -> Complex1D:
    """State after ``gates``, pairs (matrix, wires), from ``initial`` or ``|0...0>``."""
    state = np.eye(2**n, dtype=complex)[0] if initial is None else initial
    for matrix, wires in gates:
        state = on_all_wires(np.asarray(matrix), wires, n) @ state
    return state


def expectation(state: Complex1D, matrix: Complex2D) -> float:
    """``<state| matrix |state>`` of a Hermitian matrix over all wires."""
    value = np.vdot(state, matrix @ state)
    assert abs(value.imag) < 1e-10 * max(1.0, abs(value)), "the matrix is not Hermitian"
    return float(value.real)


# --- mixed states -----------------------------------------------------------------


def apply_kraus(
    rho: Complex2D, kraus: Iterable[Complex2D], wires: Sequence[int]
) -> Complex2D:
    """The sum of ``K rho K^dagger`` over the matrices K on ``wires``."""
    n = len(rho).bit_length() - 1
    wholes = [on_all_wires(np.asarray(matrix), wires, n) for matrix in kraus]
    return np.sum([whole @ rho @ whole.conj().T for whole in wholes], axis=0)


def apply_transfer(
    rho: Complex2D, transfer: Float2D, wires: Sequence[int]
) -> Complex2D:
    """The linear map E with ``transfer[i, j] = Tr(P_i E(P_j)) / 2**k`` on ``wires``."""
    n, k = len(rho).bit_length() - 1, len(wires)
    order = [*wires, *(wire for wire in range(n) if wire not in wires)]
    axes = [*order, *(n + wire for wire in order)]
    split = (2**k, 2 ** (n - k), 2**k, 2 ** (n - k))
    local = rho.reshape([2] * (2 * n)).transpose(axes).reshape(split)
    words = pauli_words(k)
    components = np.einsum("jba,arbs->jrs", words, local)  # Tr P_j rho over the wires
    moved = np.tensordot(transfer, components, 1)
    local = np.einsum("iab,irs->arbs", words, moved) / 2**k
    back = local.reshape([2] * (2 * n)).transpose(np.argsort(axes))
    return back.reshape(rho.shape)


def pauli_components(rho: Complex2D) -> Float1D:
    """``Tr(P rho)`` of all words, ``II``, ``IX``, ..., ``ZZ``, shape ``(4**n,)``."""
    words = pauli_words(len(rho).bit_length() - 1)
    return np.array([mixed_expectation(rho, word) for word in words])


def mixed_expectation(rho: Complex2D, matrix: Complex2D) -> float:
    """``Tr(rho matrix)`` of Hermitian matrices over all wires."""
    value = np.sum(rho * matrix.T)
    assert abs(value.imag) < 1e-10 * max(1.0, abs(value)), "a matrix is not Hermitian"
    return float(value.real)


# --- metrics ----------------------------------------------------------------------


def derivatives(
    function: Callable[[Float1D], NDArray[np.complex128]], values: Float1D
) -> NDArray[np.complex128]:
    """By each value, a row each: central differences of sixth order.

    For functions of sines and cosines of angles: with this step they are exact to about
    1e-13 for a value that is one angle, and to 1e-10 for one that enters five.
    """
    step = 0.02
    stencil = {1: 45.0, 2: -9.0, 3: 1.0}
    rows = [
        sum(
            c * (function(values + k * unit) - function(values - k * unit))
            for k, c in stencil.items()
        )
        / (60.0 * step)
        for unit in step * np.eye(len(values))
    ]
    return np.array(rows)


def fubini_study(state: Complex1D, tangents: Complex2D) -> Float2D:
    """``Re(<i|j> - <i|state><state|j>)`` of tangents, shape ``(n_values, 2**n)``."""
    overlaps = tangents.conj() @ state
    gram = tangents.conj() @ tangents.T
    return (gram - np.outer(overlaps, overlaps.conj())).real


def bures(rho: Complex2D, slopes: NDArray[np.complex128]) -> Float2D:
    """``Tr(drho_i L_j) / 4``, where ``rho L + L rho = 2 drho`` is solved as it stands.

    Args:
        rho: Density matrix.
        slopes: Its derivatives, shape ``(n_values, 2**n, 2**n)``.
    """
    one = np.eye(len(rho))
    system = np.kron(rho, one) + np.kron(one, rho.T)  # on the entries of L in C order
    flat = slopes.reshape(len(slopes), -1)
    logarithmic = np.linalg.lstsq(system, 2 * flat.T, rcond=1e-11)[0]
    return (flat.conj() @ logarithmic).real / 4


# --- random numbers ---------------------------------------------------------------

WORD = 2**64  # one more than the largest word


def split_mix(z: int) -> int:
    """Output of SplitMix64 whose counter is ``z``."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def stream_state(key: Sequence[int], row: int, circuit: int) -> list[int]:
    """First state of the stream of a circuit: output ``circuit`` of output ``row``."""
    golden = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio, made odd
    shift, state = 0, []
    for word in key:
        shift = (shift + split_mix((shift + golden) % WORD)) % WORD
        start = split_mix((word + shift + golden * row) % WORD)
        state.append(split_mix((start + golden * circuit) % WORD))
    return state if any(state) else [golden, 0, 0, 0]


def xoshiro_words(state: Sequence[int], n: int) -> list[int]:
    """The first ``n`` numbers of 64 bits of xoshiro256++, as its authors write it."""
    s, words = list(state), []

    def turned(x: int, k: int) -> int:
        return (x << k | x >> (64 - k)) % WORD

    for _ in range(n):
        words.append((turned((s[0] + s[3]) % WORD, 23) + s[0]) % WORD)
        t = (s[1] << 17) % WORD
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = turned(s[3], 45)
    return words
