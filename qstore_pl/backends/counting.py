"""A machine that runs nothing, and says what another one would run.

A training run on it is that run without its circuits: what it would send is counted by
the machine that it stands for. What it gives back are outcomes that are nearly all
alike, but not quite, so that weights that are trained move, as they do in a real run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.backends.machine import (
    MOST_COUNTED,
    Batch,
    Bill,
    Machine,
    Outcomes,
    Ticket,
    gates_run,
)
from qstore_pl.devices import Circuit

UNEVEN = 0.01  # by which the shares of outcomes differ
KINDS_OF_ROWS = 61  # different rows; a prime, so that they follow no pattern of lanes


@final
class Counting(Machine):
    """Another machine, of which nothing is run.

    Its bill is that of the other machine.

    Args:
        machine: The machine that it stands for.

    Attributes:
        machine: The machine that it stands for.
        gate_shots: Numbers of gates on one qubit, and on more, in all shots that it was
            asked for.
        submissions: How often it was asked to run something.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.name, self.gate_set = machine.name, machine.gate_set
        self.limits = machine.limits
        self.gate_shots, self.submissions = (0, 0), 0

    def __repr__(self) -> str:
        return f"Counting({self.machine!r})"

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What the other machine would run of these batches, and takes for it."""
        return self.machine.bill(batches)

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Outcomes in the right form, of circuits that are not run.

        Circuits that only flip wires, as those that measure the readout error, have the
        outcome that they should have.
        """
        del ticket
        self.submissions += 1
        one, more = self.gate_shots
        for batch in batches:
            if batch.shots is not None:
                gates = gates_run(batch)
                one += int(gates[0] @ batch.shots)
                more += int(gates[1] @ batch.shots)
        self.gate_shots = one, more
        return [_outcomes(batch) for batch in batches]


def _outcomes(batch: Batch) -> Outcomes:
    k = len(batch.circuit.measured)
    certain = _flipped(batch.circuit)
    if batch.shots is not None and k > MOST_COUNTED:
        most = int(batch.shots.max(initial=0))
        listed = _listed(k, most, certain)
        starts = np.arange(len(batch)) % KINDS_OF_ROWS
        pairs = zip(starts.tolist(), batch.shots.tolist(), strict=True)
        return [listed[start : start + shots] for start, shots in pairs]
    if certain is not None:
        shares = np.zeros((len(batch), 1 << k))
        shares[:, certain] = 1.0
        return shares
    return _shares(k)[np.arange(len(batch)) % KINDS_OF_ROWS]


def _flipped(circuit: Circuit) -> int | None:
    """The outcome of a circuit that only flips wires; None of another one."""
    bits = [0] * circuit.n_wires
    for gate in circuit.gates:
        if gate.name != "PauliX" and (gate.name, gate.angle) != ("RX", np.pi):
            return None
        bits[gate.wires[0]] ^= 1
    found = 0
    for wire in circuit.measured:
        found = 2 * found + bits[wire]
    return found


@cache
def _shares(k: int) -> NDArray[np.float64]:
    """Shares of the outcomes of k wires, shape ``(KINDS_OF_ROWS, 2**k)``."""
    rng = np.random.default_rng(0)
    shares = 1.0 + rng.uniform(-UNEVEN, UNEVEN, (KINDS_OF_ROWS, 1 << k))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _listed(k: int, most: int, certain: int | None) -> NDArray[Any]:
    """Outcomes of k wires, from which those of all circuits are cut."""
    if certain is not None:
        return np.full(most + KINDS_OF_ROWS, certain, dtype=np.int64)
    return np.random.default_rng(0).integers(0, 1 << k, most + KINDS_OF_ROWS)
