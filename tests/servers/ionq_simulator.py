"""Outcomes of IonQ's circuits, by dense state vectors in NumPy.

Bit q of a basis state is the outcome of qubit q, as in the keys of IonQ's results. It
shares no code with the package that it tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from tests.servers.ionq_payload import ROTATIONS, Gate, Payload

TINY = 1e-14  # probabilities below it are rounding errors
I2 = np.eye(2)
X = np.array([[0, 1], [1, 0]], dtype=complex)
Y = np.array([[0, -1j], [1j, 0]])
Z = np.diag([1, -1]).astype(complex)
V = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
PLAIN = {
    "x": X,
    "y": Y,
    "z": Z,
    "h": (X + Z) / np.sqrt(2),
    "s": np.diag([1, 1j]),
    "si": np.diag([1, -1j]),
    "t": np.diag([1, np.exp(0.25j * np.pi)]),
    "ti": np.diag([1, np.exp(-0.25j * np.pi)]),
    "v": V,
    "vi": V.conj().T,
}
AXES = dict(zip(ROTATIONS, (X, Y, Z), strict=True))
# Shares of circuits that a gate on one and on two qubits, and reading a qubit, destroy:
# numbers of the right size that nobody measured.
ERRORS = {
    "ideal": (0.0, 0.0, 0.0),
    "harmony": (0.004, 0.02, 0.002),
    "aria-1": (0.0005, 0.01, 0.004),
    "aria-2": (0.0005, 0.012, 0.004),
    "forte-1": (0.0002, 0.004, 0.005),
    "forte-enterprise-1": (0.0002, 0.004, 0.005),
}


def counted(circuit: Sequence[Gate]) -> tuple[int, int]:
    """Numbers of gates on one and on two qubits."""
    one = sum(len(gate.qubits) == 1 for gate in circuit)
    return one, len(circuit) - one


def exact(circuit: Sequence[Gate], n_qubits: int) -> np.ndarray:
    """Probabilities of the basis states, shape ``(2**n_qubits,)``."""
    state = np.zeros(1 << n_qubits, dtype=complex)
    state[0] = 1.0
    for gate in circuit:
        state = _applied(gate, state, n_qubits)
    return np.abs(state) ** 2


def destroyed(circuit: Sequence[Gate], n_qubits: int, model: str) -> np.ndarray:
    """Probabilities, with circuits that noise makes uniform."""
    one, two = counted(circuit)
    of_one, of_two, of_reading = ERRORS[model]
    kept = (1 - of_one) ** one * (1 - of_two) ** two * (1 - of_reading) ** n_qubits
    return kept * exact(circuit, n_qubits) + (1 - kept) / (1 << n_qubits)


def histograms(payload: Payload, seed: Sequence[int]) -> list[dict[str, float]]:
    """The results of a job: for each circuit the probabilities of its outcomes.

    The ideal simulator gives probabilities; all others give relative frequencies.

    Args:
        payload: The job.
        seed: Of what is drawn, unless the payload has a seed of its own.
    """
    if payload.noise_seed is not None:
        seed = (payload.noise_seed,)
    model = payload.noise_model
    if payload.backend != "simulator":
        model = payload.backend.removeprefix("qpu.")
    found = []
    for number, circuit in enumerate(payload.circuits):
        if model in (None, "ideal"):
            shares = exact(circuit, payload.n_qubits)
        else:
            rng = np.random.default_rng([*seed, number])
            shares = destroyed(circuit, payload.n_qubits, model)
            shares = rng.multinomial(payload.shots, shares / shares.sum())
            shares = shares / payload.shots
        seen = np.flatnonzero(shares > TINY)
        found.append({str(key): float(shares[key]) for key in seen})
    return found


def _applied(gate: Gate, state: np.ndarray, n_qubits: int) -> np.ndarray:
    name, qubits, angle = gate
    if len(qubits) == 1:
        if name in PLAIN:
            matrix = PLAIN[name]
        else:
            matrix = np.cos(angle / 2) * I2 - 1j * np.sin(angle / 2) * AXES[name]
        parts = state.reshape(-1, 2, 1 << qubits[0])
        return (matrix @ parts).reshape(-1)
    if name in ("cnot", "swap"):
        return state[_permutation(name, qubits, n_qubits)]
    other, phases = _word(name, qubits, n_qubits)
    turned = state[other] * phases
    return np.cos(angle / 2) * state - 1j * np.sin(angle / 2) * turned


def _bits(qubits: tuple[int, ...], n_qubits: int) -> tuple[np.ndarray, ...]:
    states = np.arange(1 << n_qubits)
    return states, *((states >> qubit) & 1 for qubit in qubits)


@cache
def _permutation(name: str, qubits: tuple[int, ...], n_qubits: int) -> np.ndarray:
    """The basis state whose amplitude each basis state gets."""
    states, first, second = _bits(qubits, n_qubits)
    if name == "cnot":
        return states ^ (first << qubits[1])
    differ = first ^ second
    return states ^ (differ << qubits[0]) ^ (differ << qubits[1])


@cache
def _word(
    name: str, qubits: tuple[int, ...], n_qubits: int
) -> tuple[np.ndarray, np.ndarray]:
    """The word XX, YY or ZZ as a permutation and the phases after it."""
    states, first, second = _bits(qubits, n_qubits)
    same = 1 - 2 * (first ^ second)
    if name == "zz":
        return states, same
    flipped = states ^ (1 << qubits[0]) ^ (1 << qubits[1])
    return flipped, -same if name == "yy" else np.ones_like(same)
