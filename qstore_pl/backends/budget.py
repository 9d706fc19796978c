"""The most that a run may spend, which is asked before anything is submitted."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, final

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

    Example:
        >>> budget = Budget(circuits=100)
        >>> spent = Bill(circuits=90)
        >>> budget.check(spent, Bill(circuits=10), backend="cirq")
        >>> budget.check(spent, Bill(circuits=11), backend="cirq")
        Traceback (most recent call last):
            ...
        qstore_pl.errors.BudgetError: The next submission to backend cirq would ...
    """

    cost: float | None = None
    circuits: int | None = None
    shots: int | None = None

    def check(self, spent: Bill, more: Bill, *, backend: str) -> None:
        """Refuse a submission that would exceed the budget.

        Args:
            spent: What was spent so far.
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
        total = spent + more
        for name, most, now, then in (
            ("max_cost", self.cost, spent.dollars, total.dollars),
            ("max_circuits", self.circuits, spent.circuits, total.circuits),
            ("max_shots", self.shots, spent.shots, total.shots),
        ):
            if most is not None and (then is None or then > most):
                raise BudgetError(
                    f"The next submission to backend {backend} would bring the run to "
                    f"{_number(then)}, more than {name}={_number(most)}; "
                    f"{_number(now)} are spent. Nothing was sent. Raise the limit and "
                    "resume, or stop here."
                )


@final
class Purse:
    """What all devices of a run spend together, within its budget.

    Args:
        budget: The most that may be spent; None does not limit it.
        spent: What was spent before; None is nothing.

    Attributes:
        spent: What was spent so far.
    """

    def __init__(self, budget: Budget | None = None, spent: Bill | None = None) -> None:
        self.budget = Budget() if budget is None else budget
        self.spent = Bill() if spent is None else spent
        self._lock = threading.Lock()

    def pay(self, bill: Bill, *, backend: str) -> None:
        """Spend for a submission that comes next.

        Args:
            bill: What it takes.
            backend: Name of the backend.

        Raises:
            BudgetError: If the budget does not allow it; then nothing is spent.
        """
        with self._lock:
            self.budget.check(self.spent, bill, backend=backend)
            self.spent += bill

    def __getstate__(self) -> dict[str, Any]:
        return {"budget": self.budget, "spent": self.spent}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.budget, self.spent = state["budget"], state["spent"]
        self._lock = threading.Lock()


def _number(value: float | None) -> str:
    if value is None:
        return "an unknown sum"
    return f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
