"""The layers of an encoder, checked: a decoder must be able to undo them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pennylane as qml
from numpy.typing import NDArray
from pennylane.operation import Channel, StatePrepBase
from pennylane.ops import MidMeasure

from qstore_pl._checks import choice
from qstore_pl.circuit import Block, Features
from qstore_pl.layers import Encoding, Layer
from qstore_pl.layers.encodings import BY_WORD

N_LAYERS, ENTANGLEMENT = 3, "circular"  # where no layers are given


def checked_encoding(encoding: Any) -> Encoding:
    """The encoding layer that an argument names or is."""
    if isinstance(encoding, Encoding):
        return encoding
    if not isinstance(encoding, str):
        raise TypeError(
            "Argument `encoding` must be a word or an encoding layer, but is "
            f"{encoding!r}."
        )
    return BY_WORD[choice("encoding", encoding, BY_WORD)]()


def checked_layers(layers: Any) -> list[Layer]:
    """Layers as a list, which the model checks further."""
    if isinstance(layers, Layer):
        raise TypeError(
            f"Argument `layers` must be a list of layers, but is {layers!r} alone."
        )
    layers = list(layers)
    if not layers:
        raise ValueError("Argument `layers` must have a layer, but is empty.")
    return layers


def check_left_out(n_layers: int, entanglement: str) -> None:
    """Refuse words that a list of layers would make meaningless."""
    if (n_layers, entanglement) != (N_LAYERS, ENTANGLEMENT):
        raise ValueError(
            "Arguments `n_layers` and `entanglement` must be left out with `layers`, "
            "which would ignore them. Give them to the layers."
        )


def irreversible(blocks: Sequence[Block], weights: NDArray[np.float64]) -> str:
    """Why a decoder cannot undo some blocks; empty if it can."""
    for block in blocks:
        if any(isinstance(given, Features) for given in block.inputs):
            return "depends on the data, which the decoder does not have"
        values = block.values(None, weights)
        tape = qml.tape.make_qscript(block.operation)(*values, wires=block.wires)
        for op in tape.operations:
            if isinstance(op, (Channel, MidMeasure, StatePrepBase)):
                return f"applies {op.name}, which is not unitary"
    return ""
