"""What the trainer needs of a model, whatever class it is.

:class:`qstore_pl.QuantumModel` is one; a class of your own that has these members is
trained, checkpointed and resumed in the same way.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qstore_pl.backends import Backend
from qstore_pl.gradients.expectations import Model

Float1D = NDArray[np.float64]
Float2D = NDArray[np.float64]


class Trainable(Model, Protocol):
    """A model whose parameters can be trained.

    Its circuit takes encoded data and weights; its readout makes outputs of what is
    measured. Both are documented in :mod:`qstore_pl.placed` and
    :mod:`qstore_pl.readout`.
    """

    @property
    def output_dim(self) -> int:
        """Number of outputs."""

    @property
    def parameters(self) -> Float1D:
        """Weights of the circuit, then those of the readout; written in place."""

    @property
    def backend(self) -> Backend | None:
        """Where it runs; None leaves the choice to the trainer."""

    @property
    def has_own_backend(self) -> bool:
        """Whether the user chose :attr:`backend`; else a trainer filled it in."""

    def fill_backend(self, backend: Backend) -> None:
        """Run on the trainer's backend from now on."""

    def prepare(self, inputs: Any) -> Float2D:
        """Encoded data, shape ``(n_samples, n_features)``, of checked samples."""

    def get_state(self) -> dict[str, Any]:
        """A copy of what training changes, as numbers, words and arrays."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`get_state` returned, or raise and change nothing."""

    def trained_with(self, *, classes: bool) -> None:
        """Be told, at the end of training, whether the loss is one of classes."""


MEMBERS = (
    *("n_weights", "trainable", "readout", "output_dim", "parameters", "backend"),
    *("has_own_backend", "fill_backend", "placed", "prepare", "get_state"),
    *("load_state", "trained_with"),
)


def check_trainable(model: Any) -> None:
    """Refuse what has not the members of a :class:`Trainable`.

    Raises:
        TypeError: If some are missing; the message names them.
    """
    missing = [name for name in MEMBERS if name not in dir(model)]
    if missing:
        raise TypeError(
            "Argument `model` must be a QuantumModel, or have the members of "
            f"qstore_pl.trainer.Trainable, but is of type {type(model).__name__}, "
            f"without {', '.join(missing)}. QuantumModel(input_dim, output_dim) makes "
            "one."
        )
