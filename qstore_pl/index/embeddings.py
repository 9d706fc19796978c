"""Embeddings of samples in a vector store, searched by the nearness of their states."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self, final

import numpy as np
import pennylane as qml
from numpy.typing import NDArray

from qstore_pl._checks import boolean, choice, finite, integer, real
from qstore_pl.config import TrainingConfig
from qstore_pl.embedding import KINDS
from qstore_pl.errors import ProvenanceError
from qstore_pl.index.blobs import check_own_keys
from qstore_pl.index.classes import Classified, voted
from qstore_pl.index.neighbours import Neighbour, neighbours_of
from qstore_pl.index.provenance import (
    Provenance,
    checked_name,
    checked_seed,
    fingerprint,
    known,
    listed,
    one_of,
    rebuilt,
    records_space,
)
from qstore_pl.index.reindexing import embed_anew, sources_of
from qstore_pl.index.rows import (
    MAX_FEATURES,
    MODEL,
    embedded,
    metadata_of,
    rows_of,
)
from qstore_pl.layers import Layer
from qstore_pl.model import QuantumModel
from qstore_pl.readout import Readout
from qstore_pl.store import Metadata, Vectors, VectorStore, open_store

Float2D = NDArray[np.float64]

TOLERANCE = 1e-5  # of vectors that went through single precision


@final
class EmbeddingIndex:
    r"""Samples in a vector store, as embeddings of the states a model makes of them.

    Nearest neighbours are those whose quantum states overlap most. Each record holds
    the sample it was made of, and the fingerprint of the model that made it; the model
    itself is in the store as well. So states of different models are never compared,
    and a record's state can be made again. When a model was trained further, its
    records are no longer those of the model: a search is refused until
    :meth:`reindex` has embedded them anew.

    Args:
        model: The model, on a backend that is exact.
        store: A store whose dimension is :meth:`QuantumModel.embedding_dimension` of
            this kind; :meth:`open` makes one.
        kind: ``"pauli"``, ``"local"`` or ``"outputs"``, as :meth:`QuantumModel.embed`
            says.
        name: Name of the index. One store can hold several.
        seed: The seed of the run that the model comes from, to be kept with it.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the kind is unknown, the dimension of the store is another one,
            the name cannot be that of a namespace, or the model has more than 3,000
            features.

    Example:
        >>> model = QuantumModel(2, 1, seed=0)
        >>> index = EmbeddingIndex.open(model, "stored", index="states")
        >>> X = np.array([[0.1, 0.2], [0.3, 0.1], [2.0, 2.5]])
        >>> index.add(["a", "b", "c"], X, [{"label": i} for i in (0, 0, 1)])
        3
        >>> for found in index.search([0.2, 0.2], top_k=2):
        ...     print(found.id, round(found.fidelity, 3), found.metadata)
        a 0.998 {'label': 0.0}
        b 0.995 {'label': 0.0}
        >>> index.classify([[0.2, 0.2], [2.1, 2.4]], k=1).labels
        array([0, 1], dtype=object)
    """

    def __init__(
        self,
        model: QuantumModel,
        store: VectorStore,
        *,
        kind: str = "pauli",
        name: str = "embeddings",
        seed: int | None = None,
    ) -> None:
        if not isinstance(model, QuantumModel):
            raise TypeError(
                "Argument `model` must be a QuantumModel, but is of type "
                f"{type(model).__name__}."
            )
        if not isinstance(store, VectorStore):
            raise TypeError(
                "Argument `store` must be a VectorStore, but is of type "
                f"{type(store).__name__}. Take open_store, or EmbeddingIndex.open."
            )
        self.model, self.store = model, store.plain
        self.kind = choice("kind", kind, KINDS)
        self.name, self.seed = checked_name(name), checked_seed(seed)
        dimension = model.embedding_dimension(kind)
        if self.store.dimension != dimension:
            raise ValueError(
                f"Argument `store` must have vectors of {dimension} numbers for the "
                f"{kind!r} embeddings of this model, but has {self.store.dimension}. "
                "EmbeddingIndex.open makes an index that fits; give it a new name by "
                "index="
            )
        if model.input_dim > MAX_FEATURES:
            raise ValueError(
                f"Argument `model` must have at most {MAX_FEATURES} features, since "
                f"records hold their samples, but has {model.input_dim}."
            )
        self._complete: set[str] = set()  # fingerprints whose records are all there
        self._made = ""  # fingerprint with which this object was used last

    @classmethod
    def open(
        cls,
        model: QuantumModel,
        where: str | os.PathLike[str] | TrainingConfig,
        *,
        kind: str = "pauli",
        index: str | None = None,
        metric: str | None = None,
        name: str = "embeddings",
        seed: int | None = None,
    ) -> Self:
        """An index in a store, which is made if it is not there.

        Args:
            model: The model.
            where: As for :func:`qstore_pl.open_store`: a directory for LanceDB,
                ``"pinecone"``, or the configuration of a training run.
            kind: Kind of the embeddings.
            index: Name of the index of the store.
            metric: Metric of the store; None is that of the store, and for a new one
                ``"cosine"`` for ``"pauli"``, else ``"euclidean"``.
            name: As for the class.
            seed: As for the class.

        Raises:
            ValueError: If an argument is out of its range.
            StoreError: If the store cannot be opened, or has another dimension or
                metric.
        """
        if metric is None:
            metric = "cosine" if kind == "pauli" else "euclidean"
        store = open_store(
            where,
            index=index,
            dimension=model.embedding_dimension(kind),
            metric=metric,
        )
        return cls(model, store, kind=kind, name=name, seed=seed)

    @classmethod
    def from_store(
        cls,
        store: VectorStore,
        *,
        name: str = "embeddings",
        fingerprint: str | None = None,
        backend: Any = None,
        layers: Sequence[Layer] | None = None,
        readout: Readout | None = None,
        qnode: qml.QNode | None = None,
    ) -> Self:
        """An index that is there, with the model that made its records.

        Args:
            store: The store.
            name: Name of the index.
            fingerprint: First characters of the fingerprint of the model, where there
                are several.
            backend: Where the model runs, the same backend as then.
            layers: The layers of the model, needed if some are classes of your own.
            readout: The readout, needed if it is of a class of your own.
            qnode: The QNode, needed if the model was made of one.

        Raises:
            ProvenanceError: If there is no such model, there are several, or its
                records were made on another backend.
            CheckpointError: If the model is damaged, or needs code that is not given.
            StoreError: If the store cannot be read.
        """
        plain = store.plain
        found = one_of(name, known(plain, checked_name(name)), fingerprint)
        model = rebuilt(
            plain,
            name,
            found,
            backend=backend,
            layers=layers,
            readout=readout,
            qnode=qnode,
        )
        return cls(model, plain, kind=found.kind, name=name, seed=found.seed)

    # --- writing ------------------------------------------------------------------

    def add(
        self,
        ids: Sequence[str],
        X: Any,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Embed samples and write them; records with the same identifier are replaced.

        Args:
            ids: Identifiers, strings of printable ASCII characters.
            X: Samples, shape ``(n_samples, input_dim)``.
            metadata: A dict for each sample, such as its label; no key begins with
                ``qstore_``.

        Returns:
            Number of records.

        Raises:
            ValueError: If an argument does not fit, or an embedding is zero and the
                metric of the store the cosine.
            ProvenanceError: If the model has changed since this index was used, or a
                reindex was interrupted.
            UpsertError: If some records could not be written; it lists them.
            StoreError: If the store cannot be written.
        """
        samples = self._samples(X)
        if len(ids) != len(samples):
            raise ValueError(
                f"Argument `ids` must have {len(samples)} identifiers, one for each "
                f"sample, but has {len(ids)}."
            )
        given = [{}] * len(samples) if metadata is None else list(metadata)
        if len(given) != len(samples):
            raise ValueError(
                f"Argument `metadata` must have {len(samples)} dicts, one for each "
                f"sample, but has {len(given)}."
            )
        for one in given:
            check_own_keys("metadata", one)
        now = self._fingerprint()
        vectors = self._embedded(samples)
        if not self._is_there(now):
            if self._made not in ("", now):
                raise ProvenanceError(
                    f"The model has changed since index `{self.name}` was used, from "
                    f"{self._made[:16]} to {now[:16]}. Call reindex(), which embeds "
                    "the earlier records anew; or make another EmbeddingIndex."
                )
            found = Provenance.of(self.model, self.kind, seed=self.seed)
            found.write(self.store, self.name, self.model)
        kept = metadata_of(now, samples, vectors, given, kind=self.kind)
        count = self.store.upsert(
            Vectors(ids, vectors, kept), namespace=records_space(self.name, now)
        )
        self._used(now)
        return count

    def reindex(
        self, *, fingerprint: str | None = None, keep: bool = False, batch: int = 1000
    ) -> int:
        """Embed the records of an earlier model anew, with the present weights.

        What is interrupted is finished by calling it again; until then searches are
        refused. The earlier records are deleted when all new ones are written.

        Args:
            fingerprint: First characters of the fingerprint of the earlier model; None
                is the one that this index was used with, or the only one.
            keep: Whether the earlier records are kept, too.
            batch: Number of records that are embedded at a time, >= 1.

        Returns:
            Number of records that were embedded. Identifiers that the present model has
            already are left as they are.

        Raises:
            ProvenanceError: If there is no earlier model, or there are several; or its
                samples have another number of features.
            StoreError: If the store cannot be read or written.
        """
        mine = Provenance.of(self.model, self.kind, seed=self.seed)
        models = known(self.store, self.name)
        sources = sources_of(
            self.name, mine.fingerprint, models, wanted=fingerprint, last=self._made
        )
        count = embed_anew(
            self.store,
            self.name,
            self.model,
            mine,
            sources,
            keep=boolean("keep", keep),
            batch=integer("batch", batch, minimum=1),
        )
        self._used(mine.fingerprint)
        return count

    # --- searching ----------------------------------------------------------------

    def search(
        self, X: Any, top_k: int = 10, filter: Mapping[str, Any] | None = None
    ) -> list[Any]:
        """The records whose states are nearest to those of samples.

        Args:
            X: Samples, shape ``(n_samples, input_dim)``; ``(input_dim,)`` for one.
            top_k: Number of records to find for each sample, 1 to 10,000.
            filter: What their metadata must satisfy, as for :meth:`VectorStore.query`.

        Returns:
            For each sample a list of :class:`Neighbour`, the nearest first; for one
            sample the list itself.

        Raises:
            ValueError: If an argument is out of its range.
            ProvenanceError: If there are no records of the model as it is now.
            StoreError: If the store cannot be read.
        """
        one = np.ndim(X) == 1
        found = self._nearest(self._samples([X] if one else X), top_k, filter)
        return found[0] if one else found

    def classify(
        self,
        X: Any,
        *,
        k: int = 5,
        label: str = "label",
        min_fidelity: float | None = None,
        min_agreement: float = 0.5,
    ) -> Classified:
        """The labels of samples by a vote of their nearest neighbours, or none.

        Each neighbour has one vote, as in scikit-learn's KNeighborsClassifier. Of
        several labels with the most votes that of the nearest neighbour is taken.

        Args:
            X: Samples, shape ``(n_samples, input_dim)``.
            k: Number of neighbours that vote, >= 1, out of the records with a label.
            label: The key of the metadata whose value is the label.
            min_fidelity: No label is given where the nearest neighbour has a smaller
                fidelity; for the kind ``"pauli"`` only.
            min_agreement: No label is given where a smaller share of the neighbours
                has it, 0 to 1.

        Raises:
            TypeError: If labels are lists.
            ValueError: If an argument is out of its range, or no record has a label.
            ProvenanceError: If there are no records of the model as it is now.
            StoreError: If the store cannot be read.
        """
        if min_fidelity is not None:
            if self.kind != "pauli":
                raise ValueError(
                    f"Argument `min_fidelity` must be left out for {self.kind!r} "
                    'embeddings, which have no fidelity. Take kind="pauli".'
                )
            real("min_fidelity", min_fidelity, minimum=0.0)
        if real("min_agreement", min_agreement, minimum=0.0) > 1.0:
            raise ValueError(
                f"Argument `min_agreement` must be <= 1, but is {min_agreement}."
            )
        count = integer("k", k, minimum=1)
        labelled = {label: {"$exists": True}}
        nearest = self._nearest(self._samples(X), count, labelled)
        if not nearest[0]:
            raise ValueError(
                "Argument `label` must be a key of the metadata, but no record has "
                f"{label!r}."
            )
        return voted(
            nearest,
            label=label,
            min_fidelity=min_fidelity,
            min_agreement=min_agreement,
        )

    # --- what is there ------------------------------------------------------------

    def state(self, id: str) -> NDArray[Any]:
        """The state of a record, made again from its sample and the model.

        Args:
            id: Identifier of the record.

        Returns:
            As :meth:`QuantumModel.states`, for the one sample.

        Raises:
            KeyError: If there is no such record.
            ProvenanceError: If there are no records of the model as it is now, or the
                record's vector is not that of its sample.
            StoreError: If the store cannot be read.
        """
        now = self._present()
        found = self.store.fetch([id], namespace=records_space(self.name, now))
        if id not in found:
            raise KeyError(id)
        samples = rows_of(list(found.values()), self.model.input_dim)
        again = self._embedded(samples)[0]
        if not np.allclose(again, found[id].values, rtol=TOLERANCE, atol=TOLERANCE):
            worst = float(np.abs(again - found[id].values).max())
            raise ProvenanceError(
                f"Record `{id}` of index `{self.name}` is not what the model makes of "
                f"its sample: its vector differs by {worst:.1e}."
            )
        states: NDArray[Any] = self.model.states(samples)[0]
        return states

    def models(self) -> list[Provenance]:
        """The models that made records under this name, sorted by fingerprint.

        Raises:
            StoreError: If the store cannot be read.
        """
        return known(self.store, self.name)

    def __len__(self) -> int:
        """Number of records of the model as it is now."""
        space = records_space(self.name, self._fingerprint())
        return self.store.stats().namespaces.get(space, 0)

    def __repr__(self) -> str:
        return (
            f"EmbeddingIndex({self.model!r}, {self.store!r}, kind={self.kind!r}, "
            f"name={self.name!r}, seed={self.seed!r})"
        )

    # --- inside -------------------------------------------------------------------

    def _fingerprint(self) -> str:
        return fingerprint(self.model, self.kind)

    def _samples(self, X: Any) -> Float2D:
        samples = finite("X", X)
        if samples.ndim != 2 or samples.shape[1] != self.model.input_dim:
            raise ValueError(
                f"Argument `X` must have shape (n_samples, {self.model.input_dim}), "
                f"but has shape {samples.shape}."
            )
        return samples

    def _embedded(self, samples: Float2D) -> Float2D:
        return embedded(self.model, samples, kind=self.kind, metric=self.store.metric)

    def _nearest(
        self, samples: Float2D, top_k: int, filter: Mapping[str, Any] | None
    ) -> list[list[Neighbour]]:
        now = self._present()
        vectors = self._embedded(samples)
        matches = self.store.query_many(
            vectors,
            top_k=top_k,
            filter=filter,
            namespace=records_space(self.name, now),
        )
        if not any(matches):  # another process may have embedded them anew
            self._complete.discard(now)
            self._present()
        for match in (match for found in matches for match in found):
            self._check_made(match.id, match.metadata, now)
        metric, kind = self.store.metric, self.kind
        return [
            neighbours_of(vector, found, metric=metric, kind=kind)
            for vector, found in zip(vectors, matches, strict=True)
        ]

    def _check_made(self, id: str, metadata: Metadata, now: str) -> None:
        if metadata.get(MODEL) != now:
            raise ProvenanceError(
                f"Record `{id}` of index `{self.name}` was not made by the model with "
                f"the fingerprint {now[:16]}, in whose namespace it is."
            )

    def _present(self) -> str:
        """The fingerprint of the model, whose records must be there."""
        now = self._fingerprint()
        if self._is_there(now):
            self._used(now)
            return now
        raise ProvenanceError(
            f"Index `{self.name}` must have records of the model as it is now, with "
            f"the fingerprint {now[:16]}, but has none. {listed(self.models())} Call "
            "reindex() to embed the earlier records with the present weights, load the "
            "model that made them by EmbeddingIndex.from_store, or add() samples."
        )

    def _is_there(self, now: str) -> bool:
        """Whether the model is in the store, with all its records."""
        if now in self._complete:
            return True
        for found in self.models():
            if found.fingerprint == now:
                if not found.complete:
                    raise ProvenanceError(
                        f"Index `{self.name}` must have all records of model "
                        f"{now[:16]}, but embedding them anew was interrupted. Call "
                        "reindex(), which finishes it."
                    )
                return True
        return False

    def _used(self, now: str) -> None:
        self._complete.add(now)
        self._made = now
