"""The benchmark suite: one command prints the table and writes the JSON file.

Run it on an idle machine, from the root: ``python -m tests.benchmarks``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from pathlib import Path

# One thread for everybody, set before anything that reads these is imported.
for library in ("OMP", "OPENBLAS", "MKL", "QSTORE"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

PEERS = (
    *("qulacs", "jax", "torch", "pennylane_lightning", "qiskit_aer"),
    *("pennylane_cirq", "pennylane_qiskit", "lancedb"),
)
ROWS = (
    *("training-4q", "training-8q", "qnode-gradient"),
    *("noisy-4q", "noisy-4q-default", "noisy-6q", "noisy-8q", "trajectories-12q"),
    *("shift-4q", "shots-4q", "shots-noisy-4q", "spsa-8q", "audit-4q"),
    *("metric", "natural-step", "lowering", "import", "first-epoch"),
    *("compile-4q", "compile-8q", "tracing", "torch-module", "jax-step"),
    *("kernel-4q", "kernel-8q"),
    *("cirq-4q", "cirq-shots-4q", "aer-4q", "aer-shots-4q"),
    *("store-upsert", "store-query", "store-query-filtered", "store-states-4q"),
)
COMPARISONS = (
    *("training", "noisy", "trajectories", "metric", "natural-step"),
    *("shift", "shots", "spsa", "audit"),
    *("compile", "tracing", "torch-module", "jax-step", "kernel"),
    *("cirq", "aer", "store"),
)


def run(name, repeats):
    """The rows of one benchmark; what it imports stays out of the others."""
    if name.startswith(("training", "noisy")):
        from tests.benchmarks.training_step import training_step

        return training_step(name, repeats)
    if name.startswith(("shift", "shots", "spsa")):
        from tests.benchmarks.shift import measured

        return measured(name, repeats)
    if name.startswith(("cirq", "aer")):
        from tests.benchmarks.machines import on_machine

        return on_machine(name, repeats)
    if name == "audit-4q":
        from tests.benchmarks.shift import audit

        return audit(repeats)
    if name == "trajectories-12q":
        from tests.benchmarks.trajectories import trajectories

        return trajectories(repeats)
    if name == "qnode-gradient":
        from tests.benchmarks.qnode_gradient import qnode_gradient

        return qnode_gradient(repeats)
    if name.startswith("store"):
        from tests.benchmarks.store import store

        return store(name, repeats)
    if name == "lowering":
        from tests.benchmarks.lowering import lowering

        return lowering(repeats)
    if name in ("metric", "natural-step"):
        from tests.benchmarks.metric import metric, natural_step

        return {"metric": metric, "natural-step": natural_step}[name](repeats)
    if name == "tracing":
        from tests.benchmarks.compiled import tracing

        return tracing(repeats)
    if name.startswith("kernel"):
        from tests.benchmarks.kernel import kernel_matrix

        return kernel_matrix(name, repeats)
    if name.startswith(("compile", "torch", "jax")):
        from tests.benchmarks.compiled import compiled

        return compiled(name, repeats)
    from tests.benchmarks.start_up import first_epoch, import_time

    return {"import": import_time, "first-epoch": first_epoch}[name](repeats)


def main():
    """Read the command line, run the rows, print and write the results."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--only", choices=ROWS, action="append", metavar="ROW")
    parser.add_argument("--json", type=Path, default=Path("benchmarks.json"))
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    names = options.only or ROWS
    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing and any(name.startswith(COMPARISONS) for name in names):
        parser.exit(
            1,
            f"error: {', '.join(missing)} not installed; a comparison needs its peers: "
            'pip install -e ".[benchmark]"\n',
        )

    from tests.benchmarks.race import load_average, machine, table

    load = {"before": load_average(allowed=0.5)}
    rows = []
    for name in names:
        rows += run(name, options.repeats)
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
