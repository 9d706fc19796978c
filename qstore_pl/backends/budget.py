"""The most that a run may spend, which is asked before anything is submitted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from qstore_pl.backends.machine import Bill
from qstore_pl.errors import BudgetError


@final
@dataclass(frozen=True)
class Budget:
    """The most that a run may spend, with all that was spent before.

    Args:
        cost: Most US dollars, > 0; None does not limit them.
        circuits: Most circuits, >= 1; None does not limit them.
        shots: Most shots of all circuits together, >= 1; None does not limit them.
        elsewhere: What the run has spent on its other backends.
    """

    cost: float | None = None
    circuits: int | None = None
    shots: int | None = None
    elsewhere: Bill = field(default_factory=Bill)

    def __bool__(self) -> bool:
        return (self.cost, self.circuits, self.shots) != (None, None, None)

    def check(self, spent: Bill, more: Bill, *, backend: str) -> None:
        """Refuse a submission that would exceed the budget.

        Args:
            spent: What was spent so far on this backend.
            more: What the submission takes.
            backend: Name of the backend.

        Raises:
            BudgetError: If it would, or if its price is not known.
        """
        if self.cost is not None and more.dollars is None:
            raise BudgetError(
                f"max_cost={self.cost} cannot be held, since the price of backend "
                f"{backend} is not known. Give a price list, or limit max_circuits or "
                "max_shots."
            )
        spent += self.elsewhere
        total = spent + more
        for name, most, now, next_one in (
            ("max_cost", self.cost, spent.dollars, total.dollars),
            ("max_circuits", self.circuits, spent.circuits, total.circuits),
            ("max_shots", self.shots, spent.shots, total.shots),
        ):
            if most is not None and (next_one is None or next_one > most):
                raise BudgetError(
                    f"The next submission to backend {backend} would bring the run to "
                    f"{_number(next_one)}, more than {name}={_number(most)}; "
                    f"{_number(now)} are spent. Nothing was sent. Raise the limit and "
                    "resume, or stop here."
                )


def _number(value: float | None) -> str:
    if value is None:
        return "an unknown sum"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
