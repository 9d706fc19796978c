"""Models as words and numbers, which go to files, and models made of them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pennylane as qml

from qstore_pl.layers import (
    AmplitudeEncoding,
    AngleEncoding,
    BasisEncoding,
    Layer,
    QNodeLayer,
    QuantumConvolutionalLayer,
    QuantumLayer,
    QuantumPoolingLayer,
    ZZEncoding,
)
from qstore_pl.readout import (
    WORDS,
    Affine,
    ExpectationValues,
    Probabilities,
    Readout,
    observable_of,
    readout_of,
)
from qstore_pl.stack import Stack

LAYERS: dict[str, Callable[..., Layer]] = {
    "AmplitudeEncoding": AmplitudeEncoding,
    "AngleEncoding": AngleEncoding,
    "BasisEncoding": BasisEncoding,
    "QuantumConvolutionalLayer": QuantumConvolutionalLayer,
    "QuantumLayer": QuantumLayer,
    "QuantumPoolingLayer": QuantumPoolingLayer,
    "ZZEncoding": ZZEncoding,
}
# Options that only layers with code of the user's have, and what that code is.
_OWN_PARTS = {"kernel_shape": "kernel", "gate": "gate"}
READOUTS: dict[str, Callable[..., Readout]] = {
    "Affine": Affine,
    "ExpectationValues": ExpectationValues,
    "Probabilities": Probabilities,
}


def layers_described(stack: Stack) -> list[list[Any]]:
    """The layers of a stack: class, options, and where in the list it stands first."""
    first: dict[int, int] = {}
    for i, part in enumerate(stack.parts):
        first.setdefault(id(part.layer), i)
    return [
        [_class_name(part.layer), part.layer.options(), first[id(part.layer)]]
        for part in stack.parts
    ]


def readout_described(readout: Readout) -> str | list[Any]:
    """A readout: the word that means it, or its class and options."""
    found = [_class_name(readout), readout.options()]
    for word in WORDS:
        meant = readout_of(word, None)
        if found == [_class_name(meant), meant.options()]:
            return word
    return found


def arguments_of(
    description: dict[str, Any],
    layers: Sequence[Layer] | None,
    readout: Readout | None,
    qnode: qml.QNode | None,
) -> dict[str, Any]:
    """The arguments that make the model of a description again.

    Args:
        description: What a file holds.
        layers: Instead of those described, or None.
        readout: Instead of the one described, or None.
        qnode: The QNode of a model that was made of one, or None.

    Raises:
        ValueError: If a class is none of this package and nothing is given instead.
    """
    found = dict(description)
    if layers is not None:
        found["layers"] = layers
    elif "layers" in found:
        made: list[Layer] = []
        for i, (name, options, first) in enumerate(found["layers"]):
            if name == QNodeLayer.__name__:
                made.append(_qnode_layer(qnode, options))
                continue
            if name not in LAYERS:
                raise ValueError(
                    f"its layer {name} is none of qstore_pl's, pass layers=[...]"
                )
            if own := [part for key, part in _OWN_PARTS.items() if key in options]:
                raise ValueError(
                    f"its {name} has a {own[0]} of your own, pass layers=[...]"
                )
            made.append(LAYERS[name](**options) if first == i else made[first])
        found["layers"] = made
    if readout is not None:
        found["readout"] = readout
    elif not isinstance(found["readout"], str):
        found["readout"] = _readout_of(*found["readout"])
    return found


def _qnode_layer(qnode: qml.QNode | None, options: dict[str, Any]) -> QNodeLayer:
    """The layer of a QNode, of which a file has the name and the shapes only."""
    if qnode is None:
        raise ValueError(f"it was made of the QNode {options['qnode']!r}, pass qnode=")
    return QNodeLayer(qnode, options["weight_shapes"])


def _readout_of(name: str, options: dict[str, Any]) -> Readout:
    if name not in READOUTS:
        raise ValueError(f"its readout {name} is none of qstore_pl's, pass readout=")
    options = dict(options)
    if "of" in options:
        options["of"] = _readout_of(*options["of"])
    if "observables" in options:
        options["observables"] = list(map(observable_of, options["observables"]))
    return READOUTS[name](**options)


def _class_name(part: Layer | Readout) -> str:
    """The name of a class of this package; of another, with its module."""
    cls = type(part)
    if cls in (*LAYERS.values(), *READOUTS.values(), QNodeLayer):
        return cls.__name__
    return f"{cls.__module__}.{cls.__qualname__}"


def listed(layers: Sequence[Layer]) -> str:
    """Layers as Python writes them, a list that repeats itself as a product."""
    n = len(layers)
    for size in range(1, n + 1):
        pairs = zip(layers, layers[size:], strict=False)
        if n % size == 0 and all(one is other for one, other in pairs):
            times = f" * {n // size}" if n > size else ""
            return f"{list(layers[:size])!r}{times}"
    return repr(list(layers))
