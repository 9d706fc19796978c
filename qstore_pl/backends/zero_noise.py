"""Zero-noise extrapolation: circuits at several strengths of their noise.

A machine that wraps another one. It runs each circuit several times as long, and
extrapolates what is measured to no noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl import _checks
from qstore_pl.backends.machine import Batch, Bill, Machine, Outcomes, Ticket
from qstore_pl.backends.readout_mitigation import check_counted
from qstore_pl.devices import Circuit, Gate

Float1D = NDArray[np.float64]
DEFAULT_FACTORS = (1, 3, 5)
BARRIER = "Barrier"  # no gate: what is before it is not merged with what follows
ORDERS = ("richardson", "linear")

SELF_INVERSE = frozenset(
    {"Identity", "PauliX", "PauliY", "PauliZ", "Hadamard", "CNOT", "CY", "CZ", "CH"}
    | {"SWAP", "Toffoli", "CCZ", "CSWAP", BARRIER}
)
ROTATIONS = frozenset(
    {"RX", "RY", "RZ", "PhaseShift", "CRX", "CRY", "CRZ", "ControlledPhaseShift"}
    | {"IsingXX", "IsingYY", "IsingZZ", "IsingXY"}
)
# Gates that are a rotation but for their phase, and of which some number is nothing.
FRACTIONS = {
    "S": ("RZ", np.pi / 2, 4),
    "T": ("RZ", np.pi / 4, 8),
    "SX": ("RX", np.pi / 2, 4),
}


@final
class ZeroNoise(Machine):
    r"""A machine whose results are extrapolated to those without gate noise.

    Every circuit :math:`U` is run as :math:`U (U^\dagger U)^k`, which without noise is
    the same, and has :math:`\lambda = 2k + 1` times as many gates and as much gate
    noise. A polynomial in :math:`\lambda` is fitted to what is measured, and taken at
    :math:`\lambda = 0`. This is linear in the frequencies of outcomes, which may be
    below 0 or above 1, and with shots the errors grow. Readout errors do not grow with
    the gates, and are left as they are; correct them by readout mitigation.

    A circuit is folded after it was decomposed into gates of the machine, and all of
    these are folded, those too that turn the basis of what is measured. Barriers keep
    compilers from cancelling gates with their inverses, unless the machine runs every
    gate as it is.

    Each circuit is run once, with all its shots, for every scale factor.

    Args:
        machine: What runs the circuits.
        scale_factors: Different odd integers :math:`\lambda` >= 1, at least two.
        extrapolate: What is fitted: ``"richardson"``, the polynomial through all
            points; ``"linear"``, a straight line; or the degree of a polynomial, an
            integer >= 1 and below the number of scale factors.

    Attributes:
        machine: What runs the circuits.

    Raises:
        ValueError: If an argument is none of these, or the machine may cancel gates
            and has no barriers, or has a gate whose inverse is not known.

    Example:
        >>> from qstore_pl.backends import BackendManager
        >>> backend = BackendManager().get_backend("cirq_mixed", zero_noise=(1, 3))
        >>> print(backend.device(2).machine)  # doctest: +NORMALIZE_WHITESPACE
        ZeroNoise(CirqMachine(mixed=True, noise=None),
            scale_factors=(1, 3), extrapolate='richardson')

    References:
        Temme, Bravyi and Gambetta, Error mitigation for short-depth quantum circuits,
        Phys. Rev. Lett. 119, 180509 (2017), arXiv:1612.02058.

        Giurgica-Tiron, Hindy, LaRose, Mari and Zeng, Digital zero noise extrapolation
        for quantum error mitigation (2020), arXiv:2005.10921.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        scale_factors: Sequence[int] = DEFAULT_FACTORS,
        extrapolate: str | int = "richardson",
    ) -> None:
        check_zero_noise_options(scale_factors=scale_factors, extrapolate=extrapolate)
        self._has_barriers = BARRIER in machine.gate_set
        if not can_extrapolate(machine):
            raise ValueError(
                f"Backend {machine.name} may cancel gates with their inverses, and so "
                "all that zero-noise extrapolation adds. Leave out zero_noise."
            )
        self.machine = machine
        self._factors = tuple(int(factor) for factor in scale_factors)
        self._extrapolate = extrapolate
        self._inverses = {
            name: _inverse(name, machine) for name in sorted(machine.gate_set)
        }
        self._coefficients = _coefficients(self._factors, extrapolate)
        self.name, self.gate_set = machine.name, machine.gate_set
        self.limits = dataclasses.replace(machine.limits, quasi=True)

    def __repr__(self) -> str:
        chosen = f"scale_factors={self._factors}, extrapolate={self._extrapolate!r}"
        return f"ZeroNoise({self.machine!r}, {chosen})"

    @property
    def price_name(self) -> str:
        """The name of the machine in the list of prices."""
        return self.machine.price_name

    def around(self, machine: Machine) -> ZeroNoise:
        """The same extrapolation of another machine."""
        return ZeroNoise(
            machine, scale_factors=self._factors, extrapolate=self._extrapolate
        )

    @property
    def state(self) -> dict[str, Any]:
        """The state of the machine."""
        return self.machine.state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :attr:`state` returned."""
        self.machine.load_state(state)

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run: every circuit once for each scale factor."""
        check_counted(batches, self)
        return self.machine.bill(self._folded(batches))

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits at every scale factor, in one submission.

        Returns:
            For each batch the extrapolated frequencies or probabilities, shape
            ``(n, 2**k)``; their sums are 1, and some may be negative.

        Raises:
            QuantumCircuitError: If more than 12 wires are measured with shots.
        """
        check_counted(batches, self)
        found: Any = self.machine.run(self._folded(batches), ticket)
        n = len(batches)
        total = [self._coefficients[0] * shares for shares in found[:n]]
        for i, factor in enumerate(self._coefficients[1:], start=1):
            scaled = found[i * n : (i + 1) * n]
            total = [
                part + factor * shares
                for part, shares in zip(total, scaled, strict=True)
            ]
        return list(total)

    def _folded(self, batches: Sequence[Batch]) -> list[Batch]:
        """The batches at the first scale factor, then those at the second, ..."""
        folds = [self._fold(batch.circuit) for batch in batches]
        return [
            _folded(batch, fold, factor // 2)
            for factor in self._factors
            for batch, fold in zip(batches, folds, strict=True)
        ]

    def _fold(self, circuit: Circuit) -> tuple[Gate, ...]:
        """The gates that a circuit is folded by once: its inverse, and itself."""
        barrier: tuple[Gate, ...] = ()
        if self._has_barriers:
            barrier = (Gate(BARRIER, tuple(range(circuit.n_wires))),)
        return (*barrier, *self._inverse_of(circuit), *barrier, *circuit.gates)

    def _inverse_of(self, circuit: Circuit) -> tuple[Gate, ...]:
        """The gates of the inverse circuit.

        Angles that differ between the circuits of a batch are taken from columns behind
        the others, which have the other sign.
        """
        gates: list[Gate] = []
        for gate in reversed(circuit.gates):
            for own in self._inverses[gate.name]:
                if gate.angle is not None:
                    own = own._replace(angle=0.0 - gate.angle)
                elif gate.column is not None:
                    own = own._replace(column=circuit.n_columns + gate.column)
                gates.append(own._replace(wires=gate.wires))
        return tuple(gates)


def can_extrapolate(machine: Machine) -> bool:
    """Whether a machine runs gates followed by their inverses, and cancels none."""
    return BARRIER in machine.gate_set or machine.limits.verbatim


def check_zero_noise_options(
    *,
    scale_factors: Sequence[int] = DEFAULT_FACTORS,
    extrapolate: str | int = "richardson",
) -> None:
    """Check the options of zero-noise extrapolation.

    Args:
        scale_factors: Different odd integers >= 1, at least two.
        extrapolate: ``"richardson"``, ``"linear"``, or the degree of a polynomial.

    Raises:
        TypeError: If the scale factors are no sequence of integers.
        ValueError: If the options are others.
    """
    if not isinstance(scale_factors, (tuple, list, np.ndarray)):
        raise TypeError(
            "Argument `scale_factors` must be a sequence of odd integers, but is "
            f"{scale_factors!r}."
        )
    for factor in scale_factors:
        _checks.integer("scale_factors", factor, minimum=1)
    factors = {int(factor) for factor in scale_factors}
    even = any(factor % 2 == 0 for factor in factors)
    if even or len(factors) < 2 or len(factors) < len(scale_factors):
        raise ValueError(
            "Argument `scale_factors` must be at least two different odd integers, but "
            f"is {tuple(scale_factors)}. Folding a circuit k times makes it 2 k + 1 "
            "times as long."
        )
    if isinstance(extrapolate, str):
        _checks.choice("extrapolate", extrapolate, ORDERS)
    elif _checks.integer("extrapolate", extrapolate, minimum=1) >= len(factors):
        raise ValueError(
            f"Argument `extrapolate` must be below {len(factors)}, the number of scale "
            f"factors, but is {extrapolate}."
        )


def _coefficients(factors: Sequence[int], extrapolate: str | int) -> list[float]:
    """What each scale factor contributes to the value at no noise."""
    scales, each = np.array(factors, dtype=np.float64), np.eye(len(factors))
    if extrapolate == "richardson":
        found = qml.noise.richardson_extrapolate(scales, each)
    else:
        order = 1 if extrapolate == "linear" else extrapolate
        found = qml.noise.poly_extrapolate(scales, each, order)
    return [float(factor) for factor in found]


def _folded(batch: Batch, fold: tuple[Gate, ...], times: int) -> Batch:
    """A batch whose circuits are folded some times."""
    if not times:
        return batch
    circuit = dataclasses.replace(
        batch.circuit,
        gates=batch.circuit.gates + fold * times,
        n_columns=2 * batch.circuit.n_columns,
    )
    angles = np.hstack([batch.angles, 0.0 - batch.angles])  # 0 has no sign
    return Batch(circuit, angles, batch.shots)


def _inverse(name: str, machine: Machine) -> tuple[Gate, ...]:
    """The gates of the inverse of a gate, without their wires and chosen angles."""
    if name in SELF_INVERSE or name in ROTATIONS:
        return (Gate(name, ()),)
    base = name.removeprefix("Adjoint(").removesuffix(")")
    if base not in FRACTIONS:
        raise ValueError(
            f"Zero-noise extrapolation does not know the inverse of {name}, a gate of "
            f"backend {machine.name}. Leave out zero_noise."
        )
    return _inverse_fraction(base, machine.gate_set, adjoint=base != name)


def _inverse_fraction(
    base: str, gate_set: Collection[str], *, adjoint: bool
) -> tuple[Gate, ...]:
    """The gates of the inverse of a fraction of a turn, or of its adjoint."""
    rotation, angle, turn = FRACTIONS[base]
    own, other = base, f"Adjoint({base})"
    if adjoint:
        own, other, angle = other, own, -angle
    if other in gate_set:
        return (Gate(other, ()),)
    if rotation in gate_set:
        return (Gate(rotation, (), angle=-angle),)
    return (Gate(own, ()),) * (turn - 1)
