"""Checkpoints in a vector store, searched by what their models do.

An index has two namespaces: ``checkpoints``, whose vectors are the outputs of the
models on a probe set, and ``probes`` with the probe sets themselves. The contents are
in chunks beside them (:mod:`qstore_pl.index.blobs`).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, final

import numpy as np
import pennylane as qml

from qstore_pl import checkpoint
from qstore_pl._checks import Float2D, integer, real
from qstore_pl.config import TrainingConfig
from qstore_pl.errors import CheckpointError, StoreError
from qstore_pl.history import History
from qstore_pl.index.behaviour import (
    DIMENSION,
    checked_outputs,
    checked_probe,
    digest_of,
    outputs_on,
    vector_of,
)
from qstore_pl.index.blobs import (
    read_blob,
    unused_chunks,
    without_own_keys,
    write_blob,
)
from qstore_pl.index.probes import PROBES, ProbeSets
from qstore_pl.layers import Layer
from qstore_pl.model import QuantumModel
from qstore_pl.readout import Readout
from qstore_pl.store import INDEX, Metadata, Record, VectorStore, open_store

SUFFIX: Final = "-checkpoints"
CHECKPOINTS: Final = "checkpoints"  # the namespace
METRIC: Final = "euclidean"
KEYS: Final = frozenset(
    {
        *("epoch", "step", "loss", "time", "model"),
        *("input_dim", "output_dim", "probe", "n_probe"),
    }
)
Names = list[str]


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint in a store, without its contents.

    Attributes:
        name: Its name.
        metadata: What is known of it: ``"epoch"``, ``"step"`` and ``"loss"`` of a
            training run, ``"model"`` in words, the ``"time"`` when it was written, in
            seconds since 1970, and what :meth:`CheckpointIndex.save` was given.
            Numbers are floats.
    """

    name: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Alike:
    """A checkpoint, and how much its model differs from another one.

    Attributes:
        name: Its name.
        difference: Root mean square of the differences of the outputs on the probe set.
        metadata: As in :class:`Saved`.
    """

    name: str
    difference: float
    metadata: Metadata


@final
class CheckpointIndex:
    """Checkpoints in a vector store, found by name or by what their models do.

    Args:
        store: An index with vectors of 256 numbers and the metric ``"euclidean"``.
            :meth:`open` and :meth:`beside` make one.

    Attributes:
        store: The store, whose methods block.

    Raises:
        ValueError: If the store has another dimension or metric.

    Example:
        >>> index = CheckpointIndex.open("stored")
        >>> model, X = QuantumModel(2, 1, seed=0), np.linspace(0, 1, 8).reshape(4, 2)
        >>> index.save("mine", model.get_state(), model=model, probe=X)
        >>> index.search(model)[0].name
        'mine'
    """

    def __init__(self, store: VectorStore) -> None:
        self.store = store.plain
        self._probes = ProbeSets(self.store)
        if (store.dimension, store.metric) != (DIMENSION, METRIC):
            raise ValueError(
                f"Argument `store` must have dimension {DIMENSION} and metric "
                f'"{METRIC}", but has {store.dimension} and "{store.metric}". '
                "CheckpointIndex.open(...) makes such an index."
            )

    @classmethod
    def open(
        cls, where: str | os.PathLike[str] | TrainingConfig, *, index: str | None = None
    ) -> Self:
        """Open the checkpoints of a store, and make the index if it is not there.

        Args:
            where: As for :func:`qstore_pl.open_store`.
            index: Name of the index of the embeddings, at most 33 characters; that of
                the checkpoints has the suffix ``-checkpoints``. None is as for
                :func:`qstore_pl.open_store`.

        Raises:
            StoreError: As :func:`qstore_pl.open_store`.
            ValueError: As :func:`qstore_pl.open_store`.
        """
        if index is None and isinstance(where, TrainingConfig):
            index = where.pinecone_index_name
        return cls(
            open_store(
                where,
                index=f"{index or INDEX}{SUFFIX}",
                dimension=DIMENSION,
                metric=METRIC,
            )
        )

    @classmethod
    def beside(cls, store: VectorStore) -> Self:
        """The checkpoints at the place of another index; they are made if missing.

        Args:
            store: The other index, usually that of the embeddings.

        Raises:
            StoreError: If the store cannot be opened.
        """
        name = f"{store.index}{SUFFIX}"
        return cls(store.plain.beside(name, dimension=DIMENSION, metric=METRIC))

    # --- writing ------------------------------------------------------------------

    def save(
        self,
        name: str,
        tree: Any,
        *,
        model: QuantumModel | None = None,
        outputs: Any = None,
        probe: Any = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint; one of the same name is replaced.

        A reader finds the old checkpoint until the new one is complete.

        Args:
            name: Its name, 1 to 512 printable ASCII characters.
            tree: Its contents, as for :func:`qstore_pl.checkpoint.save`: those of a
                checkpoint file, of ``model.get_state()``, or others.
            model: The model whose exact outputs on the probe set are the vector of the
                checkpoint. Without it :meth:`search` does not find the checkpoint.
            outputs: Outputs on the probe set in the place of the model's, shape
                ``(n_probe, n_outputs)``.
            probe: The probe set, shape ``(n_probe, input_dim)``, with
                ``n_probe * n_outputs <= 255``.
            metadata: More to be known of it, by keys that do not begin with
                ``qstore_``: strings, numbers, bools or lists of strings.

        Raises:
            ValueError: If model or outputs come without a probe set or the other way
                round, the probe set does not fit, or metadata have a key that this
                method writes.
            TypeError: If the tree holds what a checkpoint cannot.
            StoreError: If the store cannot be written.
        """
        given = dict(metadata or {})
        if taken := sorted(KEYS & given.keys()):
            raise ValueError(
                "Argument `metadata` must not have keys that are filled in, "
                f"{', '.join(sorted(KEYS))}, but has {', '.join(taken)}."
            )
        if (model is not None) + (outputs is not None) != (probe is not None):
            raise ValueError(
                "Argument `probe` must be given with one of `model` and `outputs`, and "
                "only then."
            )
        data, vector = checkpoint.to_bytes(tree), vector_of(None)
        found = _described(tree) | {"time": time.time()}
        if probe is not None:
            samples = checked_probe(probe)
            given_or_run = outputs if model is None else outputs_on(model, samples)
            numbers = checked_outputs(given_or_run, len(samples))
            vector = vector_of(numbers)
            found |= {
                "input_dim": samples.shape[1],
                "output_dim": numbers.shape[1],
                "probe": self._probes.keep(samples),
                "n_probe": len(samples),
            }
        write_blob(self.store, CHECKPOINTS, name, data, found | given, vector)

    def delete(self, name: str) -> None:
        """Delete a checkpoint; :meth:`gc` frees its space.

        Raises:
            KeyError: If there is no checkpoint of this name.
            StoreError: If the store cannot be written.
        """
        self._record(name)
        self.store.delete([name], namespace=CHECKPOINTS)

    def gc(self, *, older_than: float = 3600.0) -> int:
        """Delete chunks that belong to no checkpoint.

        They are left by checkpoints that were deleted or replaced, and by writers that
        were killed.

        Args:
            older_than: Age in seconds, >= 0, from which they are deleted. Younger ones
                may belong to a checkpoint that is just being written.

        Returns:
            Number of chunks that were deleted.

        Raises:
            StoreError: If the store cannot be written.
        """
        age, n_chunks = real("older_than", older_than, minimum=0.0), 0
        for namespace in (CHECKPOINTS, PROBES):
            unused = unused_chunks(self.store, namespace, older_than=age)
            if unused:
                self.store.delete(unused, namespace=f"{namespace}.chunks")
            n_chunks += len(unused)
        return n_chunks

    # --- reading ------------------------------------------------------------------

    def load(self, name: str) -> Any:
        """The contents of a checkpoint.

        Raises:
            KeyError: If there is no checkpoint of this name.
            CheckpointError: If it is damaged.
            StoreError: If the store cannot be read.
        """
        self._record(name)
        return self._tree(name)

    def model(
        self,
        name: str,
        *,
        backend: Any = None,
        layers: Sequence[Layer] | None = None,
        readout: Readout | None = None,
        qnode: qml.QNode | None = None,
    ) -> QuantumModel:
        """The model of a checkpoint.

        Args:
            name: Name of the checkpoint.
            backend: As for :meth:`QuantumModel.from_checkpoint`.
            layers: As for :meth:`QuantumModel.from_checkpoint`.
            readout: As for :meth:`QuantumModel.from_checkpoint`.
            qnode: As for :meth:`QuantumModel.from_checkpoint`.

        Raises:
            KeyError: If there is no checkpoint of this name.
            CheckpointError: If it is damaged, or holds no model.
            StoreError: If the store cannot be read.
        """
        return QuantumModel.from_tree(
            self.load(name),
            f"The checkpoint `{name}`",
            backend=backend,
            layers=layers,
            readout=readout,
            qnode=qnode,
        )

    def export(self, name: str, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint to a file, from which a run is resumed.

        Args:
            name: Name of the checkpoint.
            path: The file; one that is there is replaced.

        Raises:
            KeyError: If there is no checkpoint of this name.
            CheckpointError: If it is damaged.
            StoreError: If the store cannot be read.
            OSError: If the file cannot be written.
        """
        checkpoint.save(path, self.load(name))

    def names(self, prefix: str = "") -> Names:
        """The names of all checkpoints, sorted.

        Args:
            prefix: First characters of the names.

        Raises:
            StoreError: If the store cannot be read.
        """
        return self.store.list(prefix, namespace=CHECKPOINTS)

    def ls(self, prefix: str = "") -> list[Saved]:
        """All checkpoints, sorted by name.

        Args:
            prefix: First characters of the names.

        Raises:
            StoreError: If the store cannot be read.
        """
        names = self.names(prefix)
        found = self.store.fetch(names, namespace=CHECKPOINTS) if names else {}
        return [
            Saved(name, without_own_keys(found[name].metadata))
            for name in sorted(found)
        ]

    def verify(self) -> Names:
        """Read all checkpoints.

        Returns:
            The names of those that are damaged.

        Raises:
            StoreError: If the store cannot be read.
        """
        damaged = []
        for name in self.names():
            try:
                self._tree(name)
            except CheckpointError:
                damaged.append(name)
        return damaged

    # --- what behaves alike -------------------------------------------------------

    def search(
        self,
        what: str | QuantumModel | Any,
        *,
        probe: Any = None,
        top_k: int = 10,
        filter: Mapping[str, Any] | None = None,
    ) -> list[Alike]:
        """The checkpoints whose models do most nearly the same.

        Two models are compared by their outputs on the same probe set, and only if
        they have the same number of outputs.

        Args:
            what: The name of a checkpoint, which is not among what is found; or a
                model; or outputs on a probe set, shape ``(n_probe, n_outputs)``.
            probe: The probe set, shape ``(n_probe, input_dim)``. It must be given with
                outputs, and not with a name. For a model, None takes all probe sets in
                the store that fit it.
            top_k: Number of checkpoints to find, >= 1.
            filter: What their metadata must satisfy, as for :class:`VectorStore`.

        Returns:
            A list of :class:`Alike`, the least different first.

        Raises:
            KeyError: If there is no checkpoint of this name.
            ValueError: If an argument is out of its range.
            StoreError: If no checkpoint can be compared, or the store cannot be read.
        """
        integer("top_k", top_k, minimum=1)
        if isinstance(what, str):
            if probe is not None:
                raise ValueError(
                    "Argument `probe` must be None with the name of a checkpoint, "
                    "which has its own."
                )
            return self._like_checkpoint(what, top_k, filter)
        if isinstance(what, QuantumModel):
            probes = self._probes.fitting(what, probe)
            found = [
                alike
                for samples in probes
                for alike in self._nearest(
                    digest_of(samples),
                    checked_outputs(outputs_on(what, samples), len(samples)),
                    top_k,
                    filter,
                )
            ]
            return sorted(found, key=lambda alike: alike.difference)[:top_k]
        if probe is None:
            raise ValueError(
                "Argument `probe` must be given with outputs: the samples that they "
                "are the outputs of."
            )
        samples = checked_probe(probe)
        outputs = checked_outputs(what, len(samples))
        return self._nearest(self._probes.digest(samples), outputs, top_k, filter)

    def _like_checkpoint(
        self, name: str, top_k: int, filter: Mapping[str, Any] | None
    ) -> list[Alike]:
        record = self._record(name)
        about = record.metadata
        if "probe" not in about:
            raise StoreError(
                f"Checkpoint `{name}` was saved without a model and a probe set, and "
                "cannot be compared. Search with a model: "
                "index.search(index.model(name))."
            )
        n_outputs = int(about["output_dim"])
        numbers = record.values[1 : 1 + int(about["n_probe"]) * n_outputs]
        outputs = numbers.reshape(-1, n_outputs).astype(np.float64)
        found = self._nearest(about["probe"], outputs, top_k + 1, filter)
        return [alike for alike in found if alike.name != name][:top_k]

    def _nearest(
        self,
        digest: str,
        outputs: Float2D,
        top_k: int,
        filter: Mapping[str, Any] | None,
    ) -> list[Alike]:
        wanted: list[Mapping[str, Any]] = [
            {"probe": {"$eq": digest}},
            {"output_dim": {"$eq": outputs.shape[1]}},
        ]
        if filter is not None:
            wanted.append(filter)
        matches = self.store.query(
            vector_of(outputs),
            top_k=top_k,
            filter={"$and": wanted},
            namespace=CHECKPOINTS,
        )
        # The score of this metric is the squared distance.
        return [
            Alike(
                match.id,
                math.sqrt(max(0.0, match.score) / outputs.size),
                without_own_keys(match.metadata),
            )
            for match in matches
        ]

    # --- records ------------------------------------------------------------------

    def _record(self, name: str) -> Record:
        found = self.store.fetch([name], namespace=CHECKPOINTS)
        if name not in found:
            raise KeyError(
                f"There is no checkpoint {name!r} in index `{self.store.index}`, which "
                f"has {len(self.names())}."
            )
        return found[name]

    def _tree(self, name: str) -> Any:
        data, _ = read_blob(self.store, CHECKPOINTS, name)
        return checkpoint.from_bytes(data, f"{self.store.index}: {name}")

    def __repr__(self) -> str:
        return f"CheckpointIndex({self.store!r})"


def _described(tree: Any) -> Metadata:
    """What can be told of a checkpoint from its contents."""
    found: Metadata = {}
    state = tree
    match tree:
        case {"run": {"epoch": int(epoch), "step": int(step), "history": history}}:
            found |= {"epoch": epoch, "step": step}
            state = tree["model"]
            losses = History.from_tree(history)["losses"]
            if losses and math.isfinite(losses[-1]):
                found["loss"] = losses[-1]
    match state:
        case {
            "model": {"input_dim": inputs, "output_dim": outputs, "n_qubits": qubits},
            "parameters": np.ndarray() as parameters,
        }:
            found["model"] = (
                f"{inputs} inputs, {outputs} outputs, {qubits} qubits, "
                f"{parameters.size} parameters"
            )
    return found
