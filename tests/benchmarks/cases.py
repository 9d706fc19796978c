"""All cases: which module measures each, and which peers it cannot do without."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What ``--only`` names.

    Args:
        module: Module of this directory; its function ``measured`` takes the name of the
            case, the peers and the number of repeats, and gives rows.
        needs: Peers without which the case is left out. All others are left out of the
            table one by one.
    """

    module: str
    needs: tuple[str, ...] = ()

    def run(self, name, peers, repeats):
        """The rows; what the module imports stays out of the other cases."""
        module = importlib.import_module(f"tests.benchmarks.{self.module}")
        return module.measured(name, peers, repeats)


JAX, TORCH, AER = "jax", "torch", "qiskit-aer"
LIGHTNING = "lightning.qubit"
TRAINING, SHIFT = Case("training_step"), Case("shift", (LIGHTNING, AER))
COMPILED, STORE = Case("compiled", (JAX, TORCH)), Case("store", ("lancedb",))
METRIC, START = Case("metric", (JAX,)), Case("start_up")
CIRQ, PLUGIN = ("pennylane-cirq",), ("pennylane-qiskit", AER)

CASES = {
    "training-4q": TRAINING,
    "training-8q": TRAINING,
    "qnode-gradient": Case("qnode_gradient"),
    "noisy-4q": TRAINING,
    "noisy-4q-default": TRAINING,
    "noisy-6q": TRAINING,
    "noisy-8q": TRAINING,
    "trajectories-12q": Case("trajectories", (AER,)),
    "shift-4q": SHIFT,
    "shots-4q": SHIFT,
    "shots-noisy-4q": SHIFT,
    "spsa-8q": SHIFT,
    "audit-4q": SHIFT,
    "metric": METRIC,
    "natural-step": METRIC,
    "lowering": Case("lowering"),
    "import": START,
    "first-epoch": START,
    "compile-4q": COMPILED,
    "compile-8q": COMPILED,
    "tracing": COMPILED,
    "torch-module": COMPILED,
    "jax-step": COMPILED,
    "kernel-4q": Case("kernel", (LIGHTNING,)),
    "kernel-8q": Case("kernel", (LIGHTNING,)),
    "cirq-4q": Case("machines", CIRQ),
    "cirq-shots-4q": Case("machines", CIRQ),
    "aer-4q": Case("machines", PLUGIN),
    "aer-shots-4q": Case("machines", PLUGIN),
    "large-n-16q": Case("large_n"),
    "large-n-20q": Case("large_n"),
    "large-n-forward-20q": Case("large_n_forward"),
    "large-n-forward-22q": Case("large_n_forward"),
    "sampling-16q": Case("sampling"),
    "sampling-20q": Case("sampling"),
    "iris-accuracy": Case("iris_accuracy"),
    "forum-epoch": Case("forum_epoch"),
    "growth-batch": Case("growth"),
    "growth-depth": Case("growth"),
    "growth-qubits": Case("growth"),
    "growth-threads": Case("growth_threads"),
    "roofline": Case("roofline"),
    "files": Case("files", ("lancedb",)),
    "store-upsert": STORE,
    "store-query": STORE,
    "store-query-filtered": STORE,
    "store-states-4q": STORE,
}
