"""The six rows of the README, from the JSON file of the suite.

``python -m tests.benchmarks.summary`` writes them between their marks in README.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.benchmarks.page import DOCS, RESULTS
from tests.benchmarks.report import markdown, ratio, rows_of, seconds

README = DOCS.parent / "README.md"
COLUMNS = ("lightning.qubit", "default.qubit", "jax.jit of default.qubit")
# What a row is called, the row of the suite, and the peer of each column.
ROWS = (
    (
        "training step, 4 qubits, 2 layers, batch 10",
        "training-4q",
        ("lightning.qubit adjoint", "default.qubit backprop", "jax.jit default.qubit"),
    ),
    (
        "training step, 8 qubits, 4 layers, batch 32",
        "training-8q",
        ("lightning.qubit adjoint", "default.qubit backprop", "jax.jit default.qubit"),
    ),
    (
        "`compile(qnode)`, value and gradient, 8 qubits, batch 32",
        "compile-8q",
        (None, "default.qubit backprop", "jax.jit default.qubit"),
    ),
    (
        "training step by parameter shift, 1,000 shots, 4 qubits",
        "shots-4q",
        ("lightning.qubit parameter shift", "default.qubit parameter shift", None),
    ),
    (
        "noisy training step, 6 qubits, batch 16 (there default.mixed)",
        "noisy-6q",
        (None, "default.mixed backprop", "jax.jit default.mixed"),
    ),
    (
        "gradient of one sample, 20 qubits, 4 layers",
        "large-n-20q",
        ("lightning.qubit adjoint", None, None),
    ),
)
BEGIN, END = "<!-- tests.benchmarks.summary -->", "<!-- end -->"


def summary(result):
    """The table as Markdown."""
    known = {(row["row"], row["peer"]): row for row in rows_of(result)}
    lines = [("", "qstore_pl", *COLUMNS)]
    for words, name, peers in ROWS:
        found = [known[name, peer] if peer else None for peer in peers]
        ours = next(seconds(row["ours"]) for row in found if row)
        cells = [
            f"{seconds(row['peer_time'])} ({ratio(row['ratio'])})" if row else ""
            for row in found
        ]
        lines.append((words, f"**{ours}**", *cells))
    return markdown(lines)


def between(text):
    """The part of the README between the marks."""
    return re.search(f"{BEGIN}\n\n(.*?)\n\n{END}", text, re.S)


def main():
    """Write the table into the README."""
    result = json.loads((DOCS / RESULTS).read_text())
    text = README.read_text()
    start, end = between(text).span(1)
    Path(README).write_text(text[:start] + summary(result) + text[end:])


if __name__ == "__main__":
    main()
