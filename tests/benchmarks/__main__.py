"""The benchmark suite: one command prints the table and writes the JSON file.

Run it on an idle machine, from the root: ``python -m tests.benchmarks``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from functools import partial
from pathlib import Path

# One thread for everybody, set before anything that reads these is imported.
for library in ("OMP", "OPENBLAS", "MKL", "QSTORE"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

MODULES = ("qulacs", "jax", "torch", "pennylane_lightning")
ROWS = ("training-4q", "training-8q", "qnode-gradient", "import", "first-epoch")


def benchmarks():
    """Each row's function of the number of repeats."""
    from tests.benchmarks.qnode_gradient import qnode_gradient
    from tests.benchmarks.start_up import first_epoch, import_time
    from tests.benchmarks.training_step import training_step

    return {
        "training-4q": partial(training_step, "training-4q"),
        "training-8q": partial(training_step, "training-8q"),
        "qnode-gradient": qnode_gradient,
        "import": import_time,
        "first-epoch": first_epoch,
    }


def main():
    """Read the command line, run the rows, print and write the results."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--only", choices=ROWS, action="append", metavar="ROW")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"))
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if missing:
        parser.exit(
            1,
            f"error: {', '.join(missing)} not installed; a comparison needs its peers: "
            'pip install -e ".[benchmark]"\n',
        )

    from tests.benchmarks.timing import load_average, machine, table

    load = {"before": load_average(allowed=0.5)}
    rows = []
    run = benchmarks()
    for name in options.only or ROWS:
        rows += run[name](options.repeats)
    # The suite itself keeps one core busy.
    load["after"] = load_average(allowed=1.5)
    print(f"\n{table(rows)}\n")
    for row in rows:
        if row.setting:
            print(f"{row.row}: {row.peer} with {row.setting}", end="")
            compile_seconds = row.compile_seconds
            print(f", compiled in {compile_seconds:.1f} s" if compile_seconds else "")
    result = {
        "machine": machine(),
        "load_average": load,
        "repeats": options.repeats,
        "rows": [row.as_dict() for row in rows],
    }
    options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
