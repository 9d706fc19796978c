"""All cases: which module measures each, and which peers it cannot do without."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What ``--only`` names.

    Args:
        says: What is measured, for the page of the documentation.
        module: Module of this directory; its function ``measured`` takes the name of
            the case, the peers and the number of repeats, and gives rows.
        needs: Peers without which the case is left out. All others are left out of the
            table one by one.
    """

    says: str
    module: str
    needs: tuple[str, ...] = ()

    def run(self, name, peers, repeats):
        """The rows; what the module imports stays out of the other cases."""
        module = importlib.import_module(f"tests.benchmarks.{self.module}")
        return module.measured(name, peers, repeats)


JAX, TORCH, AER, CIRQ = "jax", "torch", "qiskit-aer", "pennylane-cirq"
LIGHTNING, PLUGIN = "lightning.qubit", "pennylane-qiskit"

GROUPS = {
    "Training": {
        "training-4q": Case(
            "A whole training step: 4 qubits, 2 layers, batch 10.", "training_step"
        ),
        "training-8q": Case(
            "The same with 8 qubits, 4 layers, batch 32.", "training_step"
        ),
        "iris-accuracy": Case(
            "Seconds until 95 % of the held-out Iris are right.", "iris_accuracy"
        ),
        "forum-epoch": Case(
            "An epoch of 16,384 samples in batches of 64, 2 qubits, 12 weights.",
            "forum_epoch",
        ),
        "metric": Case(
            "The Fubini-Study metric of a batch, with respect to 24 weights.",
            "metric",
            (JAX,),
        ),
        "natural-step": Case(
            "A training step along the natural gradient, beside one of Adam.",
            "metric",
            (JAX,),
        ),
        "files": Case(
            "Epochs of a second that write checkpoints, a store and the history.",
            "files",
            ("lancedb",),
        ),
    },
    "QNodes and compiled circuits": {
        "qnode-gradient": Case(
            "`qml.grad` of a QNode, gate by gate and as templates.", "qnode_gradient"
        ),
        "compile-4q": Case(
            "Value and gradient of a compiled circuit: 4 qubits, 2 layers, batch 10.",
            "compiled",
            (JAX, TORCH),
        ),
        "compile-8q": Case(
            "The same with 8 qubits, 4 layers, batch 32.", "compiled", (JAX, TORCH)
        ),
        "tracing": Case(
            "The first call of a compiled circuit.", "compiled", (JAX, TORCH)
        ),
        "torch-module": Case(
            "A compiled circuit as a module of PyTorch.", "compiled", (JAX, TORCH)
        ),
        "jax-step": Case(
            "A compiled circuit inside `jax.jit`.", "compiled", (JAX, TORCH)
        ),
        "lowering": Case(
            "A Program of a new structure: 1,000 gates on 16 wires.", "lowering"
        ),
    },
    "Many qubits": {
        "large-n-16q": Case(
            "Value and gradient of one sample: 16 qubits, 4 layers.", "large_n"
        ),
        "large-n-20q": Case("The same with 20 qubits.", "large_n"),
        "large-n-forward-20q": Case(
            "One run of 20 qubits, in copies of the state, read and written.",
            "large_n_forward",
        ),
        "large-n-forward-22q": Case("The same with 22 qubits.", "large_n_forward"),
        "sampling-16q": Case("100,000 shots of all 16 wires.", "sampling"),
        "sampling-20q": Case("100,000 shots of all 20 wires.", "sampling"),
    },
    "Noise": {
        "noisy-4q": Case(
            "A training step with depolarizing noise: 4 qubits, batch 10.",
            "training_step",
        ),
        "noisy-4q-default": Case(
            "The same with the preset `default`, T1 and T2 too.", "training_step"
        ),
        "noisy-6q": Case("The same with 6 qubits, batch 16.", "training_step"),
        "noisy-8q": Case("The same with 8 qubits, batch 8.", "training_step"),
        "trajectories-12q": Case(
            "Outputs of 12 noisy qubits as an average over trajectories.",
            "trajectories",
            (AER,),
        ),
        "propagation-30q": Case(
            "30 noisy qubits by Pauli propagation: all ⟨Z⟩ and their gradient.",
            "propagation",
        ),
    },
    "Shots and hardware gradients": {
        "shift-4q": Case(
            "A training step by parameter shift, exact: 490 circuits.",
            "shift",
            (LIGHTNING, AER),
        ),
        "shots-4q": Case(
            "The same with 1,000 shots a circuit.", "shift", (LIGHTNING, AER)
        ),
        "shots-noisy-4q": Case(
            "The same with noise and readout error.", "shift", (LIGHTNING, AER)
        ),
        "spsa-8q": Case(
            "A training step by SPSA: 96 circuits with 1,000 shots.",
            "shift",
            (LIGHTNING, AER),
        ),
        "audit-4q": Case("One call of `audit_gradients`.", "shift", (LIGHTNING, AER)),
        "cirq-4q": Case(
            "A training step by parameter shift on the backend `cirq`.",
            "machines",
            (CIRQ,),
        ),
        "cirq-shots-4q": Case("The same with 1,000 shots.", "machines", (CIRQ,)),
        "aer-4q": Case("The same on the backend `qiskit`.", "machines", (PLUGIN, AER)),
        "aer-shots-4q": Case("The same with 1,000 shots.", "machines", (PLUGIN, AER)),
    },
    "Kernels": {
        "kernel-4q": Case(
            "The fidelity kernel matrix of 100 samples, 4 qubits.",
            "kernel",
            (LIGHTNING,),
        ),
        "kernel-8q": Case(
            "The same of 1,000 samples, 8 qubits, and the share of the rate of DGEMM.",
            "kernel",
            (LIGHTNING,),
        ),
    },
    "Vector store": {
        "store-upsert": Case("Writing 100,000 vectors.", "store", ("lancedb",)),
        "store-query": Case("The ten nearest of them.", "store", ("lancedb",)),
        "store-query-filtered": Case(
            "The ten nearest with a label.", "store", ("lancedb",)
        ),
        "store-states-4q": Case(
            "The ten nearest states of 4 qubits.", "store", ("lancedb",)
        ),
    },
    "Starting up": {
        "import": Case("Our imports in a process that has PennyLane.", "start_up"),
        "first-epoch": Case(
            "From the start of Python to the end of the first epoch.", "start_up"
        ),
    },
    "Growth": {
        "growth-batch": Case("Time a sample, 8 qubits, 4 layers.", "growth"),
        "growth-depth": Case(
            "Time a layer after the first, 8 qubits, batch 32.", "growth"
        ),
        "growth-qubits": Case(
            "Time an amplitude and one-qubit block, one sample, 2 layers.", "growth"
        ),
        "growth-threads": Case(
            "Two threads inside one state, beside two processes.", "growth_threads"
        ),
        "roofline": Case(
            "The gradient beside what DGEMM and copies of memory allow.", "roofline"
        ),
    },
}
CASES = {name: case for group in GROUPS.values() for name, case in group.items()}
