"""What a model is made of, as a table. It knows how to count, and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final


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
        header = ("layer", "wires", "weights", "trained", "gates 1q+2q", "depth")
        rows = [header, *map(_cells, self.rows), _cells(self.total)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [_line(row, widths) for row in rows]
        rule = "-" * len(lines[0])
        table = [lines[0], rule, *lines[1:-1], rule, lines[-1]]
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
            f"no output depends on the {name}{'s'[: len(which) - 1]} {listed(which)}"
            for name, which in (
                ("feature", self.unseen_features),
                ("weight", self.unseen_weights),
            )
            if which
        ]
        return "\n".join([*table, readout, seen, *unseen])

    __repr__ = __str__


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


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [
        cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
    ]
    return "  ".join([first, *rest])


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"
