"""Where the records of an embedding index come from: the models that made them.

A model is written once for all records that it makes, as the bytes of a checkpoint. Its
fingerprint names it: a digest of its circuit, its parameters, its backend with the
noise, and the kind of embedding. Every record has this fingerprint, and the records of
one fingerprint have a namespace of their own, so that states of different models are
never searched together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import pennylane as qml

from qstore_pl import checkpoint, devices
from qstore_pl._checks import integer
from qstore_pl.errors import ProvenanceError
from qstore_pl.index.blobs import manifests, read_blob, write_blob
from qstore_pl.layers import Encoding, Layer
from qstore_pl.model import QuantumModel
from qstore_pl.readout import Readout
from qstore_pl.store import Metadata, VectorStore
from qstore_pl.store.records import checked_index

SHORT = 16  # characters of a fingerprint in the name of a namespace


@final
@dataclass(frozen=True, slots=True)
class Provenance:
    """A model that made records of an embedding index.

    Attributes:
        fingerprint: Digest of all that its embeddings depend on, 64 characters.
        kind: Kind of its embeddings.
        encoding: Its encodings in words.
        n_qubits: Number of qubits.
        input_dim: Number of features of a sample.
        device: Where it ran, with the noise.
        seed: The seed that the index was given; None if it was given none.
        source: Fingerprint of the model whose records were embedded anew by this one;
            empty if it made its records itself.
        complete: Whether all records are there; False after a reindex that was
            interrupted.
    """

    fingerprint: str
    kind: str
    encoding: str
    n_qubits: int
    input_dim: int
    device: str
    seed: int | None
    source: str = ""
    complete: bool = True

    @classmethod
    def of(cls, model: QuantumModel, kind: str, *, seed: int | None) -> Provenance:
        """What is known of a model as it is now."""
        encodings = [x for x in model.layers if isinstance(x, Encoding)]
        return cls(
            fingerprint=fingerprint(model, kind),
            kind=kind,
            encoding=", ".join(dict.fromkeys(map(repr, encodings))),
            n_qubits=model.n_qubits,
            input_dim=model.input_dim,
            device=devices.description(model.device),
            seed=seed,
        )

    @classmethod
    def read(cls, key: str, manifest: Metadata) -> Provenance:
        """What a manifest says."""
        seed = manifest.get("seed")
        return cls(
            fingerprint=key,
            kind=manifest["kind"],
            encoding=manifest["encoding"],
            n_qubits=int(manifest["n_qubits"]),
            input_dim=int(manifest["input_dim"]),
            device=manifest["device"],
            seed=None if seed is None else int(seed),
            source=manifest["source"],
            complete=manifest["complete"],
        )

    def write(self, store: VectorStore, name: str, model: QuantumModel) -> None:
        """Write it to a store, with the model.

        Args:
            store: The store.
            name: Name of the embedding index.
            model: The model, which has this fingerprint.
        """
        manifest: Metadata = {
            "kind": self.kind,
            "encoding": self.encoding,
            "n_qubits": self.n_qubits,
            "input_dim": self.input_dim,
            "device": self.device,
            "source": self.source,
            "complete": self.complete,
        }
        if self.seed is not None:
            manifest["seed"] = self.seed
        data = checkpoint.to_bytes(model.get_state())
        write_blob(store, models_space(name), self.fingerprint, data, manifest)

    def __str__(self) -> str:
        """One line for errors."""
        left = "" if self.complete else ", incomplete"
        return (
            f"{self.fingerprint[:SHORT]} ({self.kind}, {self.encoding}, "
            f"{self.n_qubits} qubits, {self.device}{left})"
        )


def fingerprint(model: QuantumModel, kind: str) -> str:
    """A digest of all that the embeddings of a model depend on.

    The code of layers, QNodes and noise models of your own is not part of it, since a
    file does not hold it; their names are.

    Args:
        model: The model, on its backend.
        kind: Kind of the embeddings.

    Returns:
        64 hexadecimal digits.
    """
    state = model.get_state()
    tree = {
        "model": state["model"],
        "parameters": state["parameters"],
        "device": devices.description(model.device),
        "kind": kind,
    }
    return hashlib.sha256(checkpoint.to_bytes(tree)).hexdigest()


def models_space(name: str) -> str:
    """The namespace of the models of an embedding index."""
    return f"{name}.models"


def records_space(name: str, fingerprint: str) -> str:
    """The namespace of the records that one model made."""
    return f"{name}.{fingerprint[:SHORT]}"


def known(store: VectorStore, name: str) -> list[Provenance]:
    """The models of an embedding index, sorted by fingerprint.

    Raises:
        StoreError: If the store cannot be read.
    """
    found = manifests(store, models_space(name))
    return [Provenance.read(key, found[key]) for key in sorted(found)]


def marked(store: VectorStore, name: str, fingerprint: str, *, complete: bool) -> None:
    """Write of a model that all its records are there, or that they are not.

    Raises:
        ProvenanceError: If the model is not there.
        StoreError: If the store cannot be read or written.
    """
    space = models_space(name)
    found = store.fetch([fingerprint], namespace=space).get(fingerprint)
    if found is None:
        raise ProvenanceError(
            f"Model {fingerprint[:SHORT]} of index `{name}` was deleted meanwhile."
        )
    manifest = {**found.metadata, "complete": complete}
    store.upsert([(fingerprint, found.values, manifest)], namespace=space)


def one_of(name: str, models: Sequence[Provenance], wanted: str | None) -> Provenance:
    """The model that a user means.

    Args:
        name: Name of the embedding index.
        models: The models that are there.
        wanted: The first characters of a fingerprint; None is the only model.

    Raises:
        ProvenanceError: If there is no such model, or there are several.
    """
    chosen = [x for x in models if x.fingerprint.startswith(wanted or "")]
    if len(chosen) == 1:
        return chosen[0]
    named = "" if wanted is None else f" whose fingerprint begins with {wanted!r}"
    raise ProvenanceError(
        f"Index `{name}` must have one model{named}, but has "
        f"{len(chosen) or 'none'}. {listed(models)} Give the `fingerprint` of one."
    )


def listed(models: Sequence[Provenance]) -> str:
    """The models as a sentence, for errors."""
    if not models:
        return "There are no models."
    return f"The models there are: {'; '.join(map(str, models))}."


def rebuilt(
    store: VectorStore,
    name: str,
    provenance: Provenance,
    *,
    backend: Any,
    layers: Sequence[Layer] | None,
    readout: Readout | None,
    qnode: qml.QNode | None,
) -> QuantumModel:
    """A model as it was when it made its records.

    Args:
        store: The store.
        name: Name of the embedding index.
        provenance: What is known of the model.
        backend: Where it runs, the same as then; None is that of a new model.
        layers: As for :meth:`QuantumModel.from_checkpoint`.
        readout: As for :meth:`QuantumModel.from_checkpoint`.
        qnode: As for :meth:`QuantumModel.from_checkpoint`.

    Raises:
        CheckpointError: If the model is damaged, or needs code that is not given.
        ProvenanceError: If the backend is another one.
    """
    key = provenance.fingerprint
    data, _ = read_blob(store, models_space(name), key)
    source = f"Model `{key[:SHORT]}` of index `{name}`"
    model = QuantumModel.from_tree(
        checkpoint.from_bytes(data, source),
        source,
        backend=backend,
        layers=layers,
        readout=readout,
        qnode=qnode,
    )
    device = devices.description(model.device)
    if device != provenance.device:
        raise ProvenanceError(
            f"{source} made its records on {provenance.device}, but the backend is "
            f"{device}. Pass a `backend` that is the same."
        )
    if fingerprint(model, provenance.kind) != key:
        raise ProvenanceError(
            f"{source} is not the model that made its records: its fingerprint is "
            f"{fingerprint(model, provenance.kind)[:SHORT]}."
        )
    return model


def checked_name(name: Any) -> str:
    """The name of an embedding index, out of which names of namespaces are made.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is not made of a-z, 0-9 and hyphens, or is too long.
    """
    return checked_index("name", name)


def checked_seed(seed: Any) -> int | None:
    """A seed that a store can hold.

    Raises:
        TypeError: If it is neither an integer nor None.
        ValueError: If it is negative.
    """
    return None if seed is None else integer("seed", seed, minimum=0)
