"""What a training run would run and cost, as values and as a table to be read.

The trainer makes these reports; this module knows neither models nor devices.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

from qstore_pl._tables import aligned, html_table, paragraph
from qstore_pl.backends import Bill

UNKNOWN = "unknown"
Table = Sequence[Sequence[str]]  # the cells of each row, the first of which is the head


@final
@dataclass(frozen=True)
class Formula:
    """The circuits of a step by the formula ``1 + 2P``, and how many really are run.

    Args:
        n_weights: Number P of weights of the circuit.
        samples: Number of samples of the first step.
        groups: Number of circuits for one sample, one for each group of observables
            that are measured together.
        lanes: Number of circuits for one sample and group: its value, and the terms of
            the shift rules of its gates.
        run: Number of circuits of the first step by parameter shift.
        reasons: Why that number is another one.
    """

    n_weights: int
    samples: int
    groups: int
    lanes: int
    run: int
    reasons: tuple[str, ...] = ()

    @property
    def circuits(self) -> int:
        """Samples times groups times ``1 + 2P``."""
        return self.samples * self.groups * (1 + 2 * self.n_weights)


@final
@dataclass(frozen=True)
class CostEstimate:
    """What a training run would run and cost; made by ``QuantumTrainer.estimate_cost``.

    Args:
        backend: Name of the backend.
        method: The gradient method.
        step: The first training step.
        epochs: Each epoch, with its validation.
        methods: The whole run with other gradient methods, by name.
        unfrozen: The whole run if no weight were frozen; None if none is.
        formula: The number of circuits by ``1 + 2P`` beside what is run; None where
            circuits cannot be shifted.
        seconds: The least and the most time of the whole run in seconds; None where a
            bound is not known.
        time_source: What these times are made of.
        price_source: Where the price comes from, or why it is not known.
        price_date: The day on which the list of prices was made.
        notes: What the numbers do not hold for.

    Example:
        >>> step, epoch = Bill(10, 1000), Bill(40, 4000)
        >>> estimate = CostEstimate("cirq", "spsa", step, (epoch, epoch))
        >>> estimate.total.circuits
        80
        >>> estimate.to_dict()["total"]["shots"]
        8000
    """

    backend: str
    method: str
    step: Bill
    epochs: tuple[Bill, ...]
    methods: Mapping[str, Bill] = field(default_factory=dict)
    unfrozen: Bill | None = None
    formula: Formula | None = None
    seconds: tuple[float | None, float | None] = (None, None)
    time_source: str = ""
    price_source: str = ""
    price_date: datetime.date | None = None
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> Bill:
        """The whole run."""
        return sum(self.epochs, Bill())

    @property
    def saved(self) -> Bill | None:
        """What the whole run does not run since weights are frozen; None if none is."""
        return None if self.unfrozen is None else self.unfrozen - self.total

    def to_dict(self) -> dict[str, Any]:
        """The numbers and sentences, in dicts and lists that JSON can hold."""
        found = asdict(self)
        found["epochs"] = [asdict(epoch) for epoch in self.epochs]
        found["total"] = asdict(self.total)
        found["saved"] = None if self.saved is None else asdict(self.saved)
        found["seconds"], found["notes"] = list(self.seconds), list(self.notes)
        if self.formula is not None:
            found["formula"]["circuits"] = self.formula.circuits
            found["formula"]["reasons"] = list(self.formula.reasons)
        if self.price_date is not None:
            found["price_date"] = self.price_date.isoformat()
        return found

    def __str__(self) -> str:
        blocks = ["\n".join(_lines(part)) for part in self._parts()]
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        """The tables and sentences for notebooks."""
        blocks = []
        for text, cells in self._parts():
            if text:
                blocks.append(paragraph(text))
            if cells:
                blocks.append(html_table(cells, right=range(1, len(cells[0]))))
        return "".join(blocks)

    def _parts(self) -> list[tuple[str, Table]]:
        """Sentences, each with the cells of a table that follows, or none."""
        n = len(self.epochs)
        rows = {"first step": self.step, "first epoch": self.epochs[0]}
        dearest = max(self.epochs, key=lambda cost: (cost.circuits, cost.shots))
        if dearest != self.epochs[0]:
            where = self.epochs.index(dearest) + 1
            rows[f"epoch {where}, the largest"] = dearest
        rows[f"whole run, {n} epoch{'s' * (n > 1)}"] = self.total
        parts: list[tuple[str, Table]] = [
            (f"Cost of training on {self.backend} with {self.method}", []),
            ("", _cells(rows)),
            (f"Price: {self._price()}\nTime: {self._time()}", []),
        ]
        if len(self.methods) > 1:
            parts.append(("The whole run by gradient method", _cells(self.methods)))
        if self.unfrozen is not None and self.saved is not None:
            rows = {"if none were frozen": self.unfrozen, "saved": self.saved}
            parts.append(("The whole run, with frozen weights", _cells(rows)))
        if self.formula is not None:
            parts.append((_check(self.formula), []))
        return [*parts, *((f"Note: {note}", []) for note in self.notes)]

    def _price(self) -> str:
        source = f"{self.price_source} " if self.price_source else ""
        date = "" if self.price_date is None else f"List of {self.price_date}."
        return f"{_dollars(self.total.dollars)}. {source}{date}".strip()

    def _time(self) -> str:
        least, most = self.seconds
        if least is None and most is None:
            return f"{UNKNOWN}. {self.time_source}".strip()
        if least == most and least is not None:
            return f"{_span(least)}. {self.time_source}".strip()
        parts = [
            f"at least {UNKNOWN if least is None else _span(least)}",
            f"at most {UNKNOWN if most is None else _span(most)}",
        ]
        return f"{', '.join(parts)}. {self.time_source}".strip()


def _lines(part: tuple[str, Table]) -> list[str]:
    text, cells = part
    table = aligned(cells, right=range(1, len(cells[0]))) if cells else []
    return [*([text] if text else []), *table]


def _check(formula: Formula) -> str:
    lines = [
        "Check: samples x groups of observables x (1 + 2P), with P the number of "
        f"weights, is {formula.samples} x {formula.groups} x (1 + 2 x "
        f"{formula.n_weights}) = {formula.circuits:,} circuits. A step with parameter "
        f"shift runs {formula.run:,}.",
        *(f"- {reason}" for reason in formula.reasons),
    ]
    return "\n".join(lines)


def _cells(rows: Mapping[str, Bill]) -> Table:
    """Costs in columns, a row for each, below a head."""
    head = ["", "circuits", "shots", "1-qubit gates", "2-qubit gates", "jobs", "price"]
    body = [
        [
            name,
            *(
                _number(value)
                for value in (
                    cost.circuits,
                    cost.shots,
                    cost.one_qubit_gates,
                    cost.two_qubit_gates,
                    cost.jobs,
                )
            ),
            _dollars(cost.dollars),
        ]
        for name, cost in rows.items()
    ]
    return [head, *body]


def _number(value: int | None) -> str:
    return "not counted" if value is None else f"{value:,}"


def _dollars(value: float | None) -> str:
    return UNKNOWN if value is None else f"${value:,.2f}"


def _span(seconds: float) -> str:
    """A time in a unit that suits it."""
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"
