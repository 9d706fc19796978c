"""What a model is made of and what its outputs can depend on; nothing is run."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import MeasurementProcess
from pennylane.operation import Operator

from qstore_pl import devices
from qstore_pl._tables import aligned, html_table, paragraph
from qstore_pl.circuit import Block
from qstore_pl.errors import UnseenWarning
from qstore_pl.placed import Circuit, traced
from qstore_pl.readout import Readout
from qstore_pl.stack import Stack

HEAD = ("layer", "wires", "weights", "trained", "gates 1q+2q", "depth")
MOST_COLUMNS = 1 << 16  # of a model whose light cones are found when it is made


class Model(Circuit, Protocol):
    """What a summary needs of a model."""

    @property
    def stack(self) -> Stack:
        """Its layers on their wires."""

    @property
    def readout(self) -> Readout:
        """How outputs are made of what is measured."""

    @property
    def output_dim(self) -> int:
        """Number of outputs."""

    @property
    def trainable(self) -> NDArray[np.bool_]:
        """Which parameters are trained: weights first, then those of the readout."""


@final
@dataclass(frozen=True)
class LayerRow:
    """One layer of a model.

    Args:
        name: The layer as Python writes it.
        wires: Positions of the wires it acts on.
        n_weights: Its weights; 0 where it is a layer again, which shares them.
        n_trainable: Those of them that are trained.
        n_gates: Gates on one wire and on two, once templates are taken apart.
        depth: Layers of gates that act at the same time.
    """

    name: str
    wires: tuple[int, ...]
    n_weights: int
    n_trainable: int
    n_gates: tuple[int, int]
    depth: int


@final
@dataclass(frozen=True)
class ModelSummary:
    """What :meth:`qstore_pl.QuantumModel.summary` returns; printed, a table.

    Args:
        rows: One for each layer, in the order in which they act.
        total: All layers together; their depth is that of the whole circuit.
        readout: What is measured, as Python writes it.
        n_outputs: Number of outputs.
        n_readout: Parameters of the readout.
        n_readout_trainable: Those of them that are trained.
        features_seen: For each output, how many features of a sample it can depend on.
        weights_seen: For each output, how many circuit weights it can depend on.
        unseen_features: Features that no output can depend on.
        unseen_weights: Circuit weights that no output can depend on.
    """

    rows: tuple[LayerRow, ...]
    total: LayerRow
    readout: str
    n_outputs: int
    n_readout: int
    n_readout_trainable: int
    features_seen: tuple[int, ...]
    weights_seen: tuple[int, ...]
    unseen_features: tuple[int, ...]
    unseen_weights: tuple[int, ...]

    def __str__(self) -> str:
        rows = self._cells()
        rules = (1, len(rows) - 1)
        table = aligned(rows, right=range(1, len(HEAD)), rules=rules)
        return "\n".join([*table, *self._sentences()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The table and the sentences below it, for notebooks."""
        table = html_table(self._cells(), right=range(1, len(HEAD)))
        return table + paragraph("\n".join(self._sentences()))

    def _cells(self) -> list[tuple[str, ...]]:
        return [HEAD, *map(_cells, self.rows), _cells(self.total)]

    def _sentences(self) -> list[str]:
        """What is measured, and what the outputs can depend on."""
        readout = f"readout: {self.readout}, {self.n_outputs} outputs"
        if self.n_readout:
            readout += (
                f", {self.n_readout} parameters, {self.n_readout_trainable} trained"
            )
        seen = (
            f"each output can depend on {_span(self.features_seen)} features and "
            f"{_span(self.weights_seen)} weights"
        )
        unseen = [
            f"no output depends on {_named(name, which)}"
            for name, which in (
                ("feature", self.unseen_features),
                ("weight", self.unseen_weights),
            )
            if which
        ]
        return [readout, seen, *unseen]


def summary_of(model: Model) -> ModelSummary:
    """The summary of a model.

    Args:
        model: The model.

    Raises:
        DeviceError: If an operation has no decomposition that can be compiled.
    """
    stack, rows = model.stack, []
    everything: list[Operator] = []
    for part in stack.parts:
        gates = devices.gates(
            *traced(Excerpt(model, part.blocks), range(model.n_qubits))
        )
        everything += gates
        n_weights = n_trained = 0
        if not part.is_again:
            n_weights = part.layer.n_weights
            n_trained = int(part.layer.trainable.sum())
        rows.append(_row(repr(part.layer), part.wires, n_weights, n_trained, gates))
    trained = model.trainable
    n, wires = model.n_weights, tuple(range(model.n_qubits))
    cones = _light_cones(model)
    features, weights = _unseen(model, cones)
    return ModelSummary(
        rows=tuple(rows),
        total=_row("total", wires, n, int(trained[:n].sum()), everything),
        readout=repr(model.readout),
        n_outputs=model.output_dim,
        n_readout=trained.size - n,
        n_readout_trainable=int(trained[n:].sum()),
        features_seen=tuple(len(stack.sources(c)) for c in cones.features),
        weights_seen=tuple(map(len, cones.weights)),
        unseen_features=features,
        unseen_weights=weights,
    )


def warn_of_unseen(model: Model, *, stacklevel: int) -> None:
    """Warn of features and weights that no output can depend on, if there are any.

    Weights in the last gates of a wire are excused, as long as all features are seen:
    there some always change nothing, as those that turn about the measured axis.
    Nothing is looked at where encoded data have more than ``MOST_COLUMNS`` columns.

    Args:
        model: The model.
        stacklevel: Which caller the warning is for, as :func:`warnings.warn` counts.
    """
    if model.n_features > MOST_COLUMNS:
        return
    try:
        cones = _light_cones(model)
    except (DeviceError, ValueError):
        return  # it cannot be compiled, which is said where it is to be
    features, weights = _unseen(model, cones)
    if not features and cones.last.issuperset(weights):
        return
    shown = " and ".join(
        _named(name, which)
        for name, which in (("feature", features), ("weight", weights))
        if which
    )
    warnings.warn(
        f"No output depends on {shown}, whatever their values are: the circuit does "
        "not join their wires to those that are measured. Take "
        'entanglement="circular", more layers, more outputs, or observables on other '
        "wires; model.summary() shows what is seen.",
        UnseenWarning,
        stacklevel=stacklevel + 1,
    )


@dataclass(frozen=True)
class Excerpt:
    """Some blocks of a model, as a circuit that measures nothing.

    Args:
        model: The model, whose features and weights the blocks take.
        blocks: The blocks.
        measurements: What is measured: nothing.
    """

    model: Model
    blocks: tuple[Block, ...]
    measurements: tuple[MeasurementProcess, ...] = ()

    @property
    def n_qubits(self) -> int:
        """Number of wires of the model."""
        return self.model.n_qubits

    @property
    def n_features(self) -> int:
        """Columns of the encoded data of the model."""
        return self.model.n_features

    @property
    def n_weights(self) -> int:
        """Length of the weights of the model."""
        return self.model.n_weights

    def examples(self) -> NDArray[np.float64]:
        """Encoded samples that differ."""
        return self.model.examples()


def _light_cones(model: Model) -> devices.LightCones:
    tape, inputs = traced(model, range(model.n_qubits))
    return devices.light_cones(
        tape, inputs, n_weights=model.n_weights, n_features=model.n_features
    )


def _unseen(
    model: Model, cones: devices.LightCones
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Features and weights that no output can depend on."""
    stack = model.stack
    features = stack.sources(frozenset().union(*cones.features))
    weights: frozenset[int] = frozenset().union(*cones.weights)
    return (
        tuple(i for i in range(stack.input_dim) if i not in features),
        tuple(i for i in range(stack.n_weights) if i not in weights),
    )


def _row(
    name: str,
    wires: tuple[int, ...],
    n_weights: int,
    n_trainable: int,
    gates: Sequence[Operator],
) -> LayerRow:
    on_two = sum(len(gate.wires) > 1 for gate in gates)
    counts = len(gates) - on_two, on_two
    return LayerRow(name, wires, n_weights, n_trainable, counts, devices.depth(gates))


def _named(name: str, positions: Sequence[int]) -> str:
    """As "the features 3-9", or "the feature 3" of one."""
    return f"the {name}{'s'[: len(positions) - 1]} {listed(positions)}"


def listed(positions: Sequence[int]) -> str:
    """Positions as text, runs of them by their ends.

    >>> listed([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7, 8'
    """
    runs: list[list[int]] = []
    for position in positions:
        if runs and runs[-1][-1] == position - 1:
            runs[-1].append(position)
        else:
            runs.append([position])
    return ", ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run))
        for run in runs
    )


def _cells(row: LayerRow) -> tuple[str, ...]:
    one, two = row.n_gates
    return (
        row.name,
        listed(row.wires),
        str(row.n_weights),
        str(row.n_trainable),
        f"{one} + {two}",
        str(row.depth),
    )


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
