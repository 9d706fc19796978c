"""The table that every script here prints, and whether its number is reached.

A script has a function ``run(short)`` that returns a :class:`Report`, and ends with
``sys.exit(report.main(run))``. The exit status is 0 if all claims are reached, else 1.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

HERE = "this run"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``values`` has one number for each seed or split, or the only number of a reference.
    ``seconds`` is the mean time that one of them took; None where nothing was timed.
    """

    name: str
    values: Sequence[float]
    seconds: float | None = None
    source: str = HERE

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Claim:
    """A number that must be at least, or at most, another one."""

    text: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether the number is on the right side of its bound; NaN never is."""
        if self.at_most:
            return self.value <= self.bound
        return self.value >= self.bound

    def __str__(self) -> str:
        sign = "<=" if self.at_most else ">="
        verdict = "reached" if self.reached else "MISSED"
        return f"{verdict}: {self.text}: {self.value:.4g} {sign} {self.bound:.4g}"


@dataclass(frozen=True)
class Report:
    """What a script found."""

    task: str
    setup: str
    rows: Sequence[Row]
    claims: Sequence[Claim]

    @property
    def reached(self) -> bool:
        """Whether all claims are reached."""
        return all(claim.reached for claim in self.claims)

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        head = (
            f"{'':{width}}{'mean':>9}{'spread':>9}{'lowest':>9}{'n':>4}{'seconds':>9}"
        )
        lines = [self.task, self.setup, "", f"{head}  from"]
        for row in self.rows:
            n = len(row.values)
            spread = f"{np.std(row.values):.4f}" if n > 1 else ""
            lowest = f"{np.min(row.values):.4f}" if n > 1 else ""
            seconds = "" if row.seconds is None else f"{row.seconds:.3g}"
            numbers = f"{row.mean:>9.4f}{spread:>9}{lowest:>9}{n:>4}{seconds:>9}"
            lines.append(f"{row.name:{width}}{numbers}  {row.source}")
        return "\n".join([*lines, "", *map(str, self.claims)])


def main(run: Callable[[bool], Report], arguments: Sequence[str] | None = None) -> int:
    """Read the command line, run a script's ``run``, print what it found.

    Returns:
        The exit status: 1 if a claim is missed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--short", action="store_true", help="a reduced version of a few seconds"
    )
    short = parser.parse_args(arguments).short
    start = time.perf_counter()
    report = run(short)
    print(report)
    kind = "reduced version" if short else "full version"
    print(f"{kind}, {time.perf_counter() - start:.1f} s")
    return 0 if report.reached else 1
