"""What a training run writes to its vector store: checkpoints, and embeddings.

The store is opened before the first step, so that nothing is trained in vain, and is
written when the run has ended. With ``checkpoint_interval`` checkpoints are written in
between as well.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self, final

import numpy as np
from pennylane.exceptions import DeviceError

from qstore_pl import devices, embedding
from qstore_pl._checks import Float2D
from qstore_pl.config import TrainingConfig
from qstore_pl.errors import StoreError
from qstore_pl.index import CheckpointIndex, EmbeddingIndex
from qstore_pl.index.behaviour import MOST_OUTPUTS, outputs_on
from qstore_pl.index.rows import MAX_FEATURES
from qstore_pl.losses import get_loss
from qstore_pl.model import QuantumModel
from qstore_pl.trainer.first_samples import FirstSamples
from qstore_pl.trainer.resume import Parts
from qstore_pl.trainer.saving import Saver
from qstore_pl.trainer.settings import STORES
from qstore_pl.trainer.state import TrainState
from qstore_pl.trainer.trainable import Trainable

MOST_TARGETS: Final = 16  # that the metadata of a sample have

_MADE_BY: Final = {"pauli": embedding.pauli, "local": embedding.local}
_log = logging.getLogger("qstore_pl.trainer")


@final
class Storing(Saver):
    """A context manager: the vector store of a run.

    Args:
        config: Settings of the run, which name the store.
        model: The model, on its backend.
        data: The training data, as for ``train``.
        parts: What a checkpoint holds besides the state of the run.

    Raises:
        StoreError: If the store cannot be opened, or has embeddings of another
            dimension.
        ModuleNotFoundError: If the package of the store is not installed.
    """

    def __init__(
        self, config: TrainingConfig, model: Trainable, data: Any, parts: Parts
    ) -> None:
        self._config, self._model, self._parts = config, model, parts
        self._n_samples = int(config.resolve("store_samples"))
        self.first = FirstSamples(data, max(self._n_samples, MOST_OUTPUTS))
        self._best: dict[str, Any] | None = None
        self._latest: dict[str, Any] | None = None
        self._written: list[str] = []
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._checkpoints = CheckpointIndex.open(self._config)
            self._opened.callback(self._checkpoints.store.close)
            self._embeddings = self._embedding_index()
        except StoreError as error:
            self._opened.close()
            raise StoreError(
                f"The vector store of the run cannot be used: {error} Nothing was "
                "trained. Where it holds embeddings of another dimension, choose "
                + (
                    "another store_directory."
                    if self._config.pinecone_api_key is None
                    else "another pinecone_index_name."
                )
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()

    def _embedding_index(self) -> EmbeddingIndex | None:
        """The index of the embeddings; None, with the reason in the log, if none."""
        model = self._model
        if not self._n_samples:
            return None
        if not isinstance(model, QuantumModel):
            why = f"a {type(model).__name__} is no QuantumModel"
        elif not devices.is_ours(model.device):
            why = f"the states on {model.device.name} are not at hand"
        elif model.device.shots:
            why = f"the states cannot be known from shots of {model.device.name}"
        elif model.input_dim > MAX_FEATURES:
            why = f"the samples have more than {MAX_FEATURES} features"
        else:
            kinds = ["local"]
            if model.n_qubits <= embedding.MAX_QUBITS:
                kinds.insert(0, "pauli")
            for kind in kinds:
                try:
                    _MADE_BY[kind](model.placed, model.examples()[:1], model.weights)
                except DeviceError as error:
                    why = str(error)
                else:
                    index = EmbeddingIndex.open(model, self._config, kind=kind)
                    self._opened.callback(index.store.close)
                    return index
        _log.info("No embeddings of the training samples are written: %s.", why)
        return None

    def begin(self, run_id: str) -> None:
        """Begin a run.

        Args:
            run_id: Its name in the store; empty takes a new one.
        """
        if not run_id:
            now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            run_id = f"{now}-{uuid.uuid4().hex[:8]}"
        self._parts.run_id = run_id

    # --- what is saved when -------------------------------------------------------

    def at_the_beginning(self, state: TrainState) -> None:
        """Do nothing: what has not begun is not worth a place in the store."""

    def keep_best(self, state: TrainState) -> None:
        """Remember the present state of the run as the best one."""
        self._best = self._parts.tree(state)

    def after_epoch(self, state: TrainState) -> None:
        """Write a checkpoint if it is time; if that fails, training goes on."""
        every = self._config.checkpoint_interval
        if every is None or state.epoch % every:
            return
        try:
            tree = self._tree(state)
            self._write(_name_of(tree), tree)
        except StoreError as error:
            _log.warning(
                "A checkpoint could not be written to the vector store (%s). Training "
                "goes on.",
                error,
            )

    def at_the_end(self, state: TrainState) -> None:
        """Remember the last state of the run, which :meth:`write` writes."""
        self._latest = self._tree(state)
        if self._best is not None:
            n_rows = self._best["run"]["epoch"]
            self._best["run"]["history"] = state.history.to_tree(n_rows)

    def write(self) -> None:
        """Write the last and the best checkpoint, and the embeddings.

        Raises:
            StoreError: If that fails.
        """
        assert self._latest is not None
        try:
            if (name := _name_of(self._latest)) not in self._written:
                self._write(name, self._latest)
            if self._best is not None:
                self._write("best", self._best)
            n_embeddings = self._write_embeddings()
        except StoreError as error:
            raise StoreError(
                f"The run could not be written to its vector store: {error} The "
                "trained parameters are in the model, and the history is in "
                "trainer.history."
            ) from error
        _log.info(
            "Written to the vector store: run `%s` with the checkpoints %s%s.",
            self._parts.run_id,
            ", ".join(self._written),
            f", and {n_embeddings} embeddings" if n_embeddings else "",
        )

    def _tree(self, state: TrainState) -> dict[str, Any]:
        tree = self._parts.tree(state)
        tree["run"]["history"] = state.history.to_tree(len(state.history))
        return tree

    def _write(self, name: str, tree: dict[str, Any]) -> None:
        probe, outputs = self._behaviour(tree["model"])
        self._checkpoints.save(
            f"{self._parts.run_id}/{name}",
            tree,
            outputs=outputs,
            probe=probe,
            metadata={"run": self._parts.run_id},
        )
        self._written.append(name)

    def _behaviour(
        self, state: dict[str, Any]
    ) -> tuple[Float2D, Float2D] | tuple[None, None]:
        """The probe set, and the outputs on it with the parameters of a state."""
        model = self._model
        if not isinstance(model, QuantumModel):
            return None, None
        probe = self.first.inputs[: MOST_OUTPUTS // model.output_dim]
        if not len(probe):
            return None, None
        try:
            return probe, outputs_on(model, probe, state["parameters"])
        except DeviceError as error:
            _log.info("What the model does cannot be searched for: %s", error)
            return None, None

    def _write_embeddings(self) -> int:
        """Write the embeddings of the first samples, and return their number."""
        samples = self.first.inputs[: self._n_samples]
        if self._embeddings is None or not len(samples):
            return 0
        return self._embeddings.add(
            [f"{row:06d}" for row in range(len(samples))],
            samples,
            [
                {"row": row, "run": self._parts.run_id} | about
                for row, about in enumerate(self._targets(len(samples)))
            ],
        )

    def _targets(self, n_samples: int) -> list[dict[str, Any]]:
        """The class of each sample, or its targets, as metadata."""
        loss = get_loss(self._config.resolve("loss"))
        prepared = loss.prepare_targets(
            self.first.targets[:n_samples], self._model.output_dim, n_samples
        )
        if loss.labels is not None:
            return [{"label": int(label)} for label in loss.labels(prepared)]
        numbers = np.asarray(prepared).reshape(n_samples, -1)
        n_targets = numbers.shape[1]
        if n_targets > MOST_TARGETS or numbers.dtype.kind not in "biuf":
            return [{}] * n_samples
        keys = ["target"]
        if n_targets > 1:
            keys = [f"target_{i}" for i in range(n_targets)]
        return [dict(zip(keys, map(float, row), strict=True)) for row in numbers]


def has_store(config: TrainingConfig) -> bool:
    """Whether a run with these settings has a vector store."""
    return bool(config.set_fields() & STORES)


def _name_of(tree: dict[str, Any]) -> str:
    """The name of a checkpoint within its run."""
    epoch, step = tree["run"]["epoch"], tree["run"]["step"]
    return f"epoch{epoch:06d}" + (f"-step{step:06d}" if step else "")
