"""Readout error that is measured, and taken out of what a machine measures.

A machine that wraps another one. With the first circuits it runs two more, in which
all wires are prepared in 0 and in 1, and from then on it corrects every outcome.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl import _checks
from qstore_pl.backends.machine import (
    MOST_COUNTED,
    Batch,
    Bill,
    Machine,
    Outcomes,
    Ticket,
    marginal,
)
from qstore_pl.devices import Circuit, Gate
from qstore_pl.errors import QuantumCircuitError

Float2D = NDArray[np.float64]
Float3D = NDArray[np.float64]
LEAST = 0.1  # contrast of a wire, below which shot noise grows more than tenfold


@final
class ReadoutMitigation(Machine):
    r"""A machine whose readout error is corrected, wire by wire.

    Two rates are measured for each wire: :math:`p_{10}`, that 1 is read after it was
    prepared in 0, and :math:`p_{01}`, that 0 is read after it was prepared in 1. Wires
    are taken to be misread independently of each other, so that relative frequencies
    of outcomes are corrected by

    .. math::
        M^{-1} = \bigotimes_w \begin{pmatrix}
            1 - p_{10} & p_{01} \\ p_{10} & 1 - p_{01} \end{pmatrix}_w^{-1}.

    This is linear in the frequencies: expectation values of many shots are right, while
    single frequencies may be below 0 or above 1. Errors from shots grow by the factor
    :math:`1 / (1 - p_{10} - p_{01})` for each wire in an observable. The noise of the
    gates that prepare 1 is taken for readout error.

    Two circuits are added to the submission in which the rates are measured.

    Args:
        machine: What runs the circuits.
        every: Number of submissions that share the measured rates, >= 1; None measures
            them once.
        shots: Number of shots of the two circuits, >= 1; None takes the largest number
            of the circuits they are submitted with.

    Attributes:
        machine: What runs the circuits.

    Raises:
        ValueError: If ``every`` or ``shots`` is below 1, or the machine does not take
            so many shots or has no gate that prepares 1.

    Example:
        >>> from qstore_pl.backends import BackendManager
        >>> backend = BackendManager().get_backend("cirq", readout_mitigation=True)
        >>> backend.device(2).machine
        ReadoutMitigation(CirqMachine(mixed=False, noise=None), every=None, shots=None)

    References:
        Bravyi, Sheldon, Kandala, Mckay and Gambetta, Mitigating measurement errors in
        multiqubit experiments, Phys. Rev. A 103, 042605 (2021), arXiv:2006.14044.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        every: int | None = None,
        shots: int | None = None,
    ) -> None:
        check_readout_options(every=every, shots=shots)
        most = machine.limits.shots
        if shots is not None and most is not None and shots > most:
            raise ValueError(
                f"Argument `shots` of the readout mitigation must be <= {most}, which "
                f"backend {machine.name} takes at most, but is {shots}."
            )
        if shots is not None and not machine.limits.sampled:
            raise ValueError(
                f"Backend {machine.name} runs without shots, but argument `shots` of "
                f"the readout mitigation is {shots}. Leave it out."
            )
        self.machine = machine
        self._every, self._shots = every, shots
        self._flip = _flip(machine)
        self.name, self.gate_set = machine.name, machine.gate_set
        self.limits = dataclasses.replace(machine.limits, quasi=True)
        self._rates: Float2D | None = None  # (n_wires, 2)
        self._used = 0  # submissions that these rates have corrected

    def __repr__(self) -> str:
        chosen = f"every={self._every}, shots={self._shots}"
        return f"ReadoutMitigation({self.machine!r}, {chosen})"

    @property
    def price_name(self) -> str:
        """The name of the machine in the list of prices."""
        return self.machine.price_name

    def around(self, machine: Machine) -> ReadoutMitigation:
        """The same correction of another machine, of which no rates are known."""
        return ReadoutMitigation(machine, every=self._every, shots=self._shots)

    @property
    def state(self) -> dict[str, Any]:
        """The measured rates, and the state of the machine."""
        rates = None if self._rates is None else self._rates.copy()
        return {"rates": rates, "used": self._used, "machine": self.machine.state}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :attr:`state` returned; an empty one has no rates."""
        rates = state.get("rates")
        self._rates = None if rates is None else rates.copy()
        self._used = state.get("used", 0)
        self.machine.load_state(state.get("machine", {}))

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run, with the circuits that measure the rates."""
        check_counted(batches, self)
        return self.machine.bill([*batches, *self._calibration(batches)])

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits, and correct what is read.

        Returns:
            For each batch the corrected frequencies or probabilities, shape
            ``(n, 2**k)``; their sums are 1, and some may be negative.

        Raises:
            QuantumCircuitError: If more than 12 wires are measured with shots, or a
                wire is read nearly the same whatever it was prepared in.
        """
        check_counted(batches, self)
        calibration = self._calibration(batches)
        found = self.machine.run([*batches, *calibration], ticket)
        if calibration:
            zeros, ones = found[len(batches) :]
            self._rates, self._used = self._measured(zeros, ones, batches), 0
        self._used += 1
        if self._rates is None:  # an empty submission
            return found
        matrices = _inverses(self._rates)
        return [
            _corrected(shares, matrices[list(batch.circuit.measured)])
            for batch, shares in zip(batches, found, strict=False)
        ]

    def _calibration(self, batches: Sequence[Batch]) -> list[Batch]:
        """The circuits of this submission that measure the rates."""
        if not batches:
            return []
        n_wires = _width(batches)
        known = self._rates is not None and len(self._rates) >= n_wires
        if known and (self._every is None or self._used < self._every):
            return []
        shots = self._shots
        if shots is None:
            given = [one.shots for one in batches if one.shots is not None]
            largest = max((int(each.max(initial=0)) for each in given), default=0)
            shots = largest or None
        each = None if shots is None else np.array([shots])
        wires = tuple(range(n_wires))
        flips = tuple(self._flip._replace(wires=(wire,)) for wire in wires)
        return [
            Batch(Circuit(n_wires, gates, wires), np.empty((1, 0)), each)
            for gates in ((), flips)
        ]

    def _measured(
        self, zeros: Outcomes, ones: Outcomes, batches: Sequence[Batch]
    ) -> Float2D:
        """The rates of each wire, shape ``(n_wires, 2)``."""
        n_wires = _width(batches)
        rates = np.empty((n_wires, 2))
        for wire in range(n_wires):
            rates[wire] = (
                _share(zeros, n_wires, wire, 1),
                _share(ones, n_wires, wire, 0),
            )
        contrast = 1.0 - rates.sum(axis=1)
        if contrast.min() < LEAST:
            wire = int(contrast.argmin())
            p10, p01 = rates[wire]
            raise QuantumCircuitError(
                f"Wire {wire} is read as 1 in {p10:.1%} of the shots after it was "
                f"prepared in 0, and as 0 in {p01:.1%} after it was prepared in 1, too "
                "many to be corrected. Take more shots, another machine, or no "
                "readout_mitigation.",
                backend=self.name,
            )
        return rates


def check_readout_options(
    *, every: int | None = None, shots: int | None = None
) -> None:
    """Check the options of the readout mitigation.

    Args:
        every: Number of submissions that share the measured rates, or None.
        shots: Number of shots of the circuits that measure them, or None.

    Raises:
        TypeError: If one of them is no integer.
        ValueError: If one of them is below 1.
    """
    for name, value in (("every", every), ("shots", shots)):
        if value is not None:
            _checks.integer(name, value, minimum=1)


def check_counted(batches: Sequence[Batch], machine: Machine) -> None:
    """Check that outcomes are counted, as only shares can be corrected.

    Args:
        batches: The circuits.
        machine: What is to correct them.

    Raises:
        QuantumCircuitError: If more wires are measured with shots than are counted.
    """
    for batch in batches:
        k = len(batch.circuit.measured)
        if batch.shots is not None and k > MOST_COUNTED:
            raise QuantumCircuitError(
                f"{type(machine).__name__} corrects circuits with shots of at most "
                f"{MOST_COUNTED} measured wires, but {k} are measured. Measure fewer "
                "wires in one observable, or leave it out.",
                backend=machine.name,
            )


def _flip(machine: Machine) -> Gate:
    """The gate that prepares 1 from 0, on no wire yet."""
    if "PauliX" in machine.gate_set:
        return Gate("PauliX", ())
    if "RX" in machine.gate_set:
        return Gate("RX", (), angle=np.pi)
    raise ValueError(
        f"The readout of backend {machine.name} cannot be corrected, as it has neither "
        "of the gates PauliX and RX, which prepare 1."
    )


def _width(batches: Sequence[Batch]) -> int:
    return max(batch.circuit.n_wires for batch in batches)


def _share(outcomes: Outcomes, n_wires: int, wire: int, bit: int) -> float:
    """The share of the shots of one circuit in which a wire was read as this bit."""
    if isinstance(outcomes, list):
        (listed,) = outcomes
        found = (listed >> (n_wires - 1 - wire)) & 1
        return float((found == bit).sum() / max(len(found), 1))
    return float(marginal(outcomes, n_wires, [wire])[0, bit])


def _inverses(rates: Float2D) -> Float3D:
    """The inverse of the confusion matrix of each wire, shape ``(n_wires, 2, 2)``."""
    p10, p01 = rates.T
    matrices = np.array([[1.0 - p01, -p01], [-p10, 1.0 - p10]])
    return np.moveaxis(matrices / (1.0 - p10 - p01), 2, 0)


def _corrected(shares: Any, matrices: Float3D) -> Float2D:
    """Shares that a matrix for each measured wire was applied to.

    Args:
        shares: Shape ``(n, 2**k)``.
        matrices: Shape ``(k, 2, 2)``.
    """
    found: Float2D = shares
    for place, matrix in enumerate(matrices):
        behind = 1 << (len(matrices) - 1 - place)
        zero, one = np.moveaxis(found.reshape(-1, 2, behind), 1, 0)
        parts = [row[0] * zero + row[1] * one for row in matrix]
        found = np.stack(parts, axis=1)
    return found.reshape(shares.shape)
