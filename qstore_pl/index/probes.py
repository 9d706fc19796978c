"""Probe sets in a store: the samples on which models are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from qstore_pl import checkpoint
from qstore_pl._checks import Float2D
from qstore_pl.errors import StoreError
from qstore_pl.index.behaviour import (
    MOST_OUTPUTS,
    checked_probe,
    digest_of,
    vector_of,
)
from qstore_pl.index.blobs import read_blob, write_blob
from qstore_pl.model import QuantumModel
from qstore_pl.store import Record, VectorStore

PROBES: Final = "probes"  # the namespace


@final
class ProbeSets:
    """The probe sets of an index of checkpoints, each named by its digest.

    Args:
        store: The store of the checkpoints.
    """

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def keep(self, probe: Float2D) -> str:
        """Write a probe set unless it is there, and return its digest."""
        digest = digest_of(probe)
        if not self._store.fetch([digest], namespace=PROBES):
            data = checkpoint.to_bytes({"inputs": probe})
            shape = {"n_probe": len(probe), "input_dim": probe.shape[1]}
            write_blob(self._store, PROBES, digest, data, shape, vector_of(None))
        return digest

    def digest(self, probe: Float2D) -> str:
        """The digest of a probe set that is in the store.

        Raises:
            StoreError: If it is not there.
        """
        digest, records = digest_of(probe), self._records()
        if digest not in records:
            raise StoreError(
                f"No checkpoint has the probe set {digest[:12]}, of {len(probe)} "
                f"samples with {probe.shape[1]} features. {_listed(records)}"
            )
        return digest

    def fitting(self, model: QuantumModel, probe: Any) -> list[Float2D]:
        """The probe sets on which a model can be compared.

        Args:
            model: The model.
            probe: The only one that is wanted; None takes all that fit.

        Raises:
            StoreError: If there is none.
        """
        if probe is not None:
            samples = checked_probe(probe)
            self.digest(samples)
            return [samples]
        records = self._records()
        found = [
            self._samples(digest)
            for digest, record in records.items()
            if record.metadata["input_dim"] == model.input_dim
            and record.metadata["n_probe"] * model.output_dim <= MOST_OUTPUTS
        ]
        if not found:
            raise StoreError(
                f"No checkpoint can be compared with a model of {model.input_dim} "
                f"inputs. {_listed(records)}"
            )
        return found

    def _samples(self, digest: str) -> Float2D:
        data, _ = read_blob(self._store, PROBES, digest)
        samples: Float2D = checkpoint.from_bytes(data, f"Probe set {digest}")["inputs"]
        return samples

    def _records(self) -> dict[str, Record]:
        digests = self._store.list(namespace=PROBES)
        return self._store.fetch(digests, namespace=PROBES) if digests else {}


def _listed(records: Mapping[str, Record]) -> str:
    """The probe sets of a store, in words."""
    if not records:
        return "The store has no probe set."
    sizes = ", ".join(
        f"{digest[:12]} ({int(r.metadata['n_probe'])} samples, "
        f"{int(r.metadata['input_dim'])} features)"
        for digest, r in records.items()
    )
    return f"The store has the probe sets {sizes}."
