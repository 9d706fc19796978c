"""Backends of Qiskit on this computer, through the sampler of IBM's quantum computers.

What is tried here on a simulator, or on the model of a chip, runs in the same way on
the chip itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from qstore_pl.backends.ibm_circuits import ISING, Translator, counted
from qstore_pl.backends.machine import (
    Batch,
    Bill,
    Limits,
    Machine,
    Outcomes,
    Ticket,
    joined,
    shares_of,
    simulated,
)
from qstore_pl.backends.qiskit import METHODS

Float2D = NDArray[np.float64]
Int1D = NDArray[np.int64]


class Part(NamedTuple):
    """Circuits of a batch with the same number of shots.

    Args:
        batch: Number of the batch.
        rows: Their numbers in the batch.
        shots: Number of shots of each.
    """

    batch: int
    rows: Int1D
    shots: int


@final
class SamplerMachine(Machine):
    """A backend of Qiskit on this computer, run by IBM's ``SamplerV2``.

    A circuit is translated into the gates of the backend once, and runs at all its
    angles in one job. Small circuits are simulated faster by one
    thread: ``AerSimulator(max_parallel_threads=1)``, or ``set_options`` of the backend.

    Args:
        backend: A ``qiskit.providers.BackendV2``, such as ``AerSimulator()`` or one of
            ``qiskit_ibm_runtime.fake_provider``.
        optimization_level: How much Qiskit optimises circuits for the chip, from 0,
            not at all, to 3.
    """

    gate_set = frozenset(METHODS) - ISING
    name = "qiskit_remote"

    def __init__(self, *, backend: Any, optimization_level: int = 1) -> None:
        self._backend = backend
        self._translator = Translator(backend, optimization_level)
        self.limits = Limits(qubits=backend.num_qubits, exact=False)

    def __repr__(self) -> str:
        level = self._translator.level
        return f"SamplerMachine({self._backend.name!r}, optimization_level={level})"

    @property
    def price_name(self) -> str:
        """Its name in the list of prices, which is that of Qiskit's simulator."""
        return "qiskit"

    def bill(self, batches: Sequence[Batch]) -> Bill:
        """What :meth:`run` would run of these batches; it costs nothing."""
        jobs = len({part.shots for part in parts_of(batches)})
        return replace(simulated(batches, self._translator.gates), jobs=jobs)

    def run(self, batches: Sequence[Batch], ticket: Ticket) -> list[Outcomes]:
        """Run batches of circuits, those with as many shots in one job of the sampler.

        A sampler on this computer has one seed for a job, and begins with it anew for
        every number of shots.
        """
        from qiskit_ibm_runtime import SamplerV2

        by_shots: dict[int, list[Part]] = {}
        for part in parts_of(batches):
            by_shots.setdefault(part.shots, []).append(part)
        seeds = np.random.SeedSequence(ticket.seed).generate_state(len(by_shots))
        found: list[list[Any]] = [[None] * len(batch) for batch in batches]
        for seed, (shots, parts) in zip(seeds, by_shots.items(), strict=True):
            pubs = []
            for b, rows, _ in parts:
                circuit, angles = batches[b].circuit, batches[b].angles[rows]
                pubs.append(self._translator.pub(circuit, angles, shots))
            # The sampler takes the seed 0 for none.
            options = {"simulator": {"seed_simulator": int(seed) | 1}}
            result = SamplerV2(mode=self._backend, options=options).run(pubs).result()
            for (b, rows, _), own in zip(parts, result, strict=True):
                k = len(batches[b].circuit.measured)
                for i, (outcomes, times) in zip(rows, counted(own), strict=True):
                    found[b][i] = shares_of(outcomes, times, k)
        return [
            joined(own, len(batch.circuit.measured))
            for own, batch in zip(found, batches, strict=True)
        ]


def parts_of(batches: Sequence[Batch]) -> Iterator[Part]:
    """The circuits of each batch by their number of shots."""
    for b, batch in enumerate(batches):
        assert batch.shots is not None
        for shots in np.unique(batch.shots).tolist():
            yield Part(b, np.flatnonzero(batch.shots == shots), shots)
