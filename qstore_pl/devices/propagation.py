"""Pauli propagation: what is measured is an expectation value, and there are no states.

The Program computes only those components of a state that the measurements depend on.
Measurements that are no linear function of a few Pauli words are refused.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, MeasurementProcess, ProbabilityMP
from pennylane.operation import Operator
from scipy.linalg import hadamard

from qstore_pl import _computer
from qstore_pl.devices.gate_noise import SpecNoise
from qstore_pl.devices.lowering import Circuit, lower
from qstore_pl.devices.outputs import MAX_WIRES
from qstore_pl.devices.readout import OfWords, PauliSumValue, Readout
from qstore_pl.devices.states import StateKind
from qstore_pl.engine.gates import MixedGate, PauliSum
from qstore_pl.engine.program import Program
from qstore_pl.engine.propagation import WORD_BYTES, PropagationProgram
from qstore_pl.engine.propagation_tables import CannotPropagateError
from qstore_pl.engine.propagation_words import TooManyWordsError

Float = NDArray[np.float64]
NO_STATES = (
    "Pauli propagation computes expectation values and probabilities of at most "
    f"{MAX_WIRES} wires, without shots and without states, and not {{}}. Use "
    'method="density" where it fits, or method="trajectories".'
)


class Propagated(StateKind):
    """No states, but the Pauli words that expectation values depend on.

    Args:
        noise: Noise of the device.
        max_words: How many Pauli words there may be, those after each gate counted
            again.
    """

    simulator = qml.devices.qubit_mixed
    noise: SpecNoise

    def __init__(self, noise: SpecNoise, max_words: int) -> None:
        self.noise = noise
        self.program = functools.partial(propagation_program, max_words=max_words)

    def lower(
        self,
        circuit: Circuit,
        rotation: Sequence[Operator] = (),
        *,
        dtype: str = "complex128",
    ) -> Program:
        """The Program of a tape that was taken apart."""
        return lower(circuit, self.noise, self.program, rotation, dtype=dtype)

    def readout(self, mp: MeasurementProcess, order: tuple[Any, ...]) -> Readout:
        """How a measurement is computed from Pauli words.

        Args:
            mp: The measurement.
            order: Wire labels in the order of the register.

        Raises:
            DeviceError: If it is no expectation value of Pauli words, and not the
                probabilities of a few wires.
        """
        if isinstance(mp, ExpectationMP) and mp.obs is not None:
            if mp.obs.pauli_rep is not None:
                return PauliSumValue(mp.obs.pauli_rep, order)
            raise DeviceError(
                "Pauli propagation needs observables that are sums of Pauli words, but "
                f"{mp.obs} is none. Write it as one: qml.pauli_decompose(matrix)."
            )
        if isinstance(mp, ProbabilityMP) and mp.obs is None and mp.eigvals() is None:
            wires = list(mp.wires) or list(order)
            if len(wires) <= MAX_WIRES:
                return WordProbabilities(wires)
        raise DeviceError(NO_STATES.format(mp))

    def reads_truly(self, wires: Iterable[Any]) -> bool:
        """Whether the outcomes on these wires are read without errors."""
        return not any(any(self.noise.readout_of(wire)) for wire in wires)

    def tensor(self, states: NDArray[Any]) -> NoReturn:
        """Refuse states.

        Raises:
            DeviceError: Always.
        """
        del states
        raise DeviceError(NO_STATES.format("states"))

    def state_bytes(self, n_wires: int) -> int:
        """Memory that the values of one sample take, besides those of its words."""
        return 16 * n_wires


class WordProbabilities(OfWords):
    """Probabilities of outcomes, from all words of the letter Z on their wires.

    Args:
        wires: Labels of the wires that are read; the first is the most significant bit.
    """

    def __init__(self, wires: Sequence[Any]) -> None:
        self.words = tuple(
            qml.pauli.PauliWord(dict.fromkeys(itertools.compress(wires, chosen), "Z"))
            for chosen in itertools.product((0, 1), repeat=len(wires))
        )
        self.shape = (len(self.words),)
        self._signs = hadamard(len(self.words)) / len(self.words)

    def value(self, words: Float, states: NDArray[Any] | None) -> Float:
        """The probabilities of each sample, shape ``(batch, 2**k)``."""
        del states
        return words @ self._signs

    def by_words(self, dy: Float) -> Float:
        """Derivatives with respect to the words, shape ``(batch, 2**k)``."""
        return dy @ self._signs


def propagation_program(
    n_wires: int,
    gates: Sequence[MixedGate],
    outputs: Sequence[PauliSum],
    *,
    max_words: int,
    **options: Any,
) -> PropagationProgram:
    """The Program of a circuit, or an error in the words of a device.

    Args:
        n_wires: Number of wires.
        gates: The gates of the circuit.
        outputs: One Pauli sum for each output.
        max_words: How many Pauli words there may be.
        options: As for :class:`PropagationProgram`.

    Raises:
        DeviceError: If there are more words, or more than fit into memory, if a gate
            has too many wires, or if nothing is measured but states or outcomes.
    """
    if not outputs:
        raise DeviceError(NO_STATES.format("the state or its outcomes"))
    room = _computer.memory() // WORD_BYTES
    try:
        return PropagationProgram(
            n_wires, gates, outputs, max_words=min(max_words, room), **options
        )
    except TooManyWordsError as error:
        larger = "a larger `max_words`, " if max_words < room else "more memory, "
        raise DeviceError(
            f"Pauli propagation of this circuit on {n_wires} wires needs {error}. Use "
            f'fewer layers, wires or observables, {larger}or method="trajectories".'
        ) from error
    except CannotPropagateError as error:
        raise DeviceError(
            f"Pauli propagation cannot take {error}. Write it in other gates, or use "
            'method="trajectories".'
        ) from error
