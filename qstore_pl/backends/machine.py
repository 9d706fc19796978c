"""Machines of other packages: the only door through which circuits leave.

A machine runs batches of circuits, lists of gates with an angle each, and gives back
what was measured. Error mitigation, and counting without running, are machines that
wrap another one. This module knows arrays and gates, not PennyLane and no network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.backends.prices import PriceList, price_list
from qstore_pl.devices import Circuit

Float2D = NDArray[np.float64]
Int1D = NDArray[np.int64]
MOST_COUNTED = 12  # measured wires up to which every outcome has a number


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """One circuit at many angles.

    Args:
        circuit: The gates, and what is measured.
        angles: The angles of each, shape ``(n, n_columns)``, radians.
        shots: Number of shots of each, shape ``(n,)``; None asks for exact
            probabilities.
    """

    circuit: Circuit
    angles: Float2D
    shots: Int1D | None = None

    def __len__(self) -> int:
        return len(self.angles)

    def some(self, which: Any) -> Batch:
        """The batch of some of its circuits."""
        shots = None if self.shots is None else self.shots[which]
        return Batch(self.circuit, self.angles[which], shots)


Outcomes = Float2D | list[Int1D]
"""What was measured in a batch: shares, the relative frequencies or probabilities of
outcomes, shape ``(n, 2**k)`` for k measured wires; or, with shots of more than
``MOST_COUNTED`` wires, the outcomes of all shots of each circuit."""


@final
@dataclass(frozen=True)
class Bill:
    """What was run, or would be.

    Args:
        circuits: Number of circuits.
        shots: Number of shots of all circuits together.
        one_qubit_gates: Number of gates on one qubit in all circuits, after they were
            decomposed into gates of the machine; None where gates are not counted.
        two_qubit_gates: Number of gates on two qubits, in the same way.
        jobs: Number of submissions; None where nothing is submitted.
        dollars: What the machine takes for it, in US dollars; None if the price is not
            known.

    Example:
        >>> bill = Bill(circuits=3, shots=300) + Bill(circuits=1, shots=100)
        >>> bill.circuits, bill.shots
        (4, 400)
    """

    circuits: int = 0
    shots: int = 0
    one_qubit_gates: int | None = 0
    two_qubit_gates: int | None = 0
    jobs: int | None = 0
    dollars: float | None = 0.0

    def __add__(self, other: Bill) -> Bill:
        return Bill(*map(_sum, astuple(self), astuple(other)))

    def __sub__(self, other: Bill) -> Bill:
        negative: list[Any] = [None if n is None else -n for n in astuple(other)]
        return self + Bill(*negative)


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other


class Ticket(NamedTuple):
    """The name of a submission, which no other one has.

    Args:
        seed: From which everything is drawn, >= 0 and below ``2**128``.
        run: Identifier of the training run, or of the device, that it belongs to.
    """

    seed: int
    run: str


@final
@dataclass(frozen=True)
class Limits:
    """What a machine takes at once.

    Args:
        qubits: Most qubits of a circuit; None if that is not limited.
        circuits: Most circuits of a job; None if that is not limited.
        shots: Most shots of a circuit; None if that is not limited.
        exact: Whether it gives exact probabilities.
        sampled: Whether it runs with shots.
        verbatim: Whether every gate is run as it is, so that no compiler merges gates
            or cancels any.
        quasi: Whether its shares were corrected, so that they may be negative.
    """

    qubits: int | None = None
    circuits: int | None = None
    shots: int | None = None
    exact: bool = True
    sampled: bool = True
    verbatim: bool = False
    quasi: bool = False


class Machine(ABC):
    """A simulator or service of another package, which runs circuits of one gate set.

    Attributes:
        name: Name of the backend, as users know it.
        gate_set: PennyLane's names of its gates.
        limits: What it takes at once.

    Example:
        A machine that answers every circuit on one wire with a fair coin:

        >>> from qstore_pl.backends import MachineDevice
        >>> class Coin(Machine):
        ...     name = "coin"
        ...     gate_set = frozenset({"RX"})
        ...     limits = Limits(sampled=False)
        ...     def run(self, batches, ticket):
        ...         return [np.full((len(batch), 2), 0.5) for batch in batches]
        ...     def bill(self, batches):
        ...         return Bill(circuits=sum(map(len, batches)))
        >>> device = MachineDevice(Coin(), wires=1)
        >>> @qml.qnode(device)
        ... def circuit(x):
        ...     qml.RX(x, wires=0)
        ...     return qml.expval(qml.Z(0))
        >>> print(circuit(0.3), device.spent.circuits)
        0.0 1
    """

    name: str
    gate_set: frozenset[str]
    limits: Limits

    @property
    def price_name(self) -> str:
        """Its name in the list of prices."""
        return self.name

    @property
    def job_seconds(self) -> list[float]:
        """How long earlier jobs took, in seconds, where that was recorded."""
        return []

    @property
    def prices(self) -> PriceList:
        """The list of prices that it computes its bill with."""
        return price_list()

    @abstractmethod
    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits in one submission.

        Args:
            batches: The circuits. None of them is there twice.
            ticket: The name of the submission. A submission with the same circuits and
                the same ticket is the same one, and is not paid again.

        Raises:
            QuantumCircuitError: If the machine fails.
        """

    @abstractmethod
    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run of these batches, and what it takes for it."""

    @property
    def state(self) -> dict[str, Any]:
        """What it has measured and later results depend on, for a checkpoint.

        A machine that wraps another one passes its state on.
        """
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :attr:`state` returned.

        Args:
            state: The state. An empty one is that of a machine that has run nothing.
        """
        del state


def gates_run(batch: Batch) -> tuple[Int1D, Int1D]:
    """Numbers of gates on one qubit, and on more, of each circuit of a batch.

    Args:
        batch: The batch. Rotations by exactly 0 and barriers are no gates.
    """
    one, more = np.zeros(len(batch), dtype=np.int64), np.zeros(len(batch), np.int64)
    for gate in batch.circuit.gates:
        total = one if len(gate.wires) == 1 else more
        if gate.column is not None:
            total += batch.angles[:, gate.column] != 0.0
        elif gate.angle != 0.0 and gate.name != "Barrier":
            total += 1
    return one, more


def simulated(
    batches: Sequence[Batch],
    gates: Callable[[Batch], tuple[Int1D, Int1D]] = gates_run,
) -> Bill:
    """What a simulator that costs nothing runs of some batches, in one submission.

    Args:
        batches: The circuits.
        gates: Function from a batch to numbers of gates on one qubit, and on more, of
            each circuit.
    """
    bill = Bill(jobs=1)
    for batch in batches:
        one, more = gates(batch)
        shots = 0 if batch.shots is None else int(batch.shots.sum())
        bill += Bill(len(batch), shots, int(one.sum()), int(more.sum()))
    return bill


def marginal(probabilities: Float2D, n_wires: int, wires: Sequence[int]) -> Float2D:
    """Probabilities of the outcomes of some wires.

    Args:
        probabilities: Those of all wires, shape ``(n, 2**n_wires)``; wire 0 is the most
            significant bit.
        n_wires: Number of wires.
        wires: The wires, the first of them the most significant bit.
    """
    batch = len(probabilities)
    rest = [wire for wire in range(n_wires) if wire not in wires]
    tensor = probabilities.reshape(batch, *[2] * n_wires)
    axes = [0, *(1 + wire for wire in (*wires, *rest))]
    return tensor.transpose(axes).reshape(batch, 1 << len(wires), -1).sum(axis=2)


def drawn(probabilities: Float2D, shots: Int1D, seed: Sequence[int]) -> Outcomes:
    """Outcomes that are drawn from their probabilities.

    Args:
        probabilities: Shape ``(n, 2**k)``.
        shots: Number of shots of each row, shape ``(n,)``.
        seed: Numbers that name the stream of random numbers.
    """
    # A float64 error would be refused as a probability over 1.
    exact = np.clip(probabilities.astype(np.float64), 0.0, None)
    exact /= exact.sum(axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    if probabilities.shape[1] <= 1 << MOST_COUNTED:
        return rng.multinomial(shots, exact) / shots[:, None]
    size = probabilities.shape[1]
    return [
        rng.choice(size, int(n), p=row) for row, n in zip(exact, shots, strict=True)
    ]


def shares_of(outcomes: Int1D, times: Int1D, k: int) -> Any:
    """Outcomes and how often each was seen, in the form of :data:`Outcomes`.

    Args:
        outcomes: Different outcomes of k wires, shape ``(m,)``.
        times: How often each was seen, shape ``(m,)``.
        k: Number of measured wires.

    Returns:
        The relative frequency of every outcome, shape ``(2**k,)``; or the outcomes of
        all shots, where k is more than ``MOST_COUNTED``.
    """
    if k > MOST_COUNTED:
        return np.repeat(outcomes, times)
    found = np.zeros(1 << k)
    np.add.at(found, outcomes, times / times.sum())
    return found


def joined(parts: Sequence[Any], k: int) -> Outcomes:
    """What :func:`shares_of` found for each circuit of a batch."""
    if k > MOST_COUNTED and parts and parts[0].dtype.kind == "i":
        return list(parts)
    return np.array(parts, dtype=np.float64).reshape(len(parts), 1 << k)
