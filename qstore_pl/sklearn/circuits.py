"""How the features of a sample reach the qubits of an estimator's circuit."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pennylane as qml
from pennylane.operation import Operator

from qstore_pl._checks import choice, integer
from qstore_pl.layers import AngleEncoding, Layer, QuantumLayer
from qstore_pl.layers.encodings import BY_WORD

FEWEST_QUBITS, MOST_QUBITS = 2, 4  # of trained circuits, for features by angles
KERNEL_QUBITS = 8  # of feature maps, for features by angles
LAYERS, KERNEL_LAYERS = 3, 2  # unless more are needed to upload all features


def n_qubits_of(
    encoding: str, n_features: int, n_outputs: int, n_qubits: int | None
) -> int:
    """How many qubits a trained circuit has.

    Every qubit doubles the time of training, and beyond four the predictions of new
    samples hardly got better on the data sets of scikit-learn.

    Args:
        encoding: The word for an encoding.
        n_features: Features of a sample.
        n_outputs: Outputs of the model.
        n_qubits: The number that was asked for; None chooses it.

    Raises:
        ValueError: If the encoding is unknown, or the number is < 1.
        TypeError: If the number is not an integer.
    """
    for_angles = min(max(n_features, FEWEST_QUBITS), MOST_QUBITS)
    found = _n_qubits(encoding, n_features, n_qubits, for_angles)
    if n_qubits is not None:
        return found
    # Words of Z on n qubits give 2**n - 1 outputs that differ.
    return max(found, min(n_outputs, MOST_QUBITS), n_outputs.bit_length())


def observables_of(n_qubits: int, n_outputs: int) -> list[Operator] | None:
    """What a trained circuit measures where it has more outputs than qubits.

    They are the products of Z on one qubit, on two, and so on. Qubits that are added
    for more outputs would make training slow: ten classes fit on four qubits.

    Args:
        n_qubits: Number of qubits.
        n_outputs: Outputs of the model.

    Returns:
        One observable for each output; None where there is a qubit for each.

    Raises:
        ValueError: If there are too few qubits.

    Example:
        >>> observables_of(2, 3)
        [Z(0), Z(1), Z(0) @ Z(1)]
    """
    if n_outputs <= n_qubits:
        return None
    if n_outputs.bit_length() > n_qubits:
        raise ValueError(
            f"Parameter n_qubits must be >= {n_outputs.bit_length()} for {n_outputs} "
            f"outputs, but is {n_qubits}. Leave it out."
        )
    words = itertools.chain.from_iterable(
        itertools.combinations(range(n_qubits), size) for size in range(1, n_qubits + 1)
    )
    return [qml.prod(*map(qml.Z, word)) for word in itertools.islice(words, n_outputs)]


def kernel_qubits_of(encoding: str, n_features: int, n_qubits: int | None) -> int:
    """How many qubits a feature map has.

    Args:
        encoding: The word for an encoding.
        n_features: Features of a sample.
        n_qubits: The number that was asked for; None chooses it.

    Raises:
        ValueError: If the encoding is unknown, or the number is < 1.
        TypeError: If the number is not an integer.
    """
    return _n_qubits(encoding, n_features, n_qubits, KERNEL_QUBITS)


def _n_qubits(
    encoding: str, n_features: int, n_qubits: int | None, for_angles: int
) -> int:
    choice("encoding", encoding, BY_WORD)
    if n_qubits is not None:
        return integer("n_qubits", n_qubits, minimum=1)
    if encoding == "angle":
        return for_angles
    return BY_WORD[encoding]().n_wires(n_features)


def uploads(n_features: int, n_qubits: int, n_uploads: int) -> list[list[int]]:
    """Which feature each qubit is given, in each of the uploads of one sample.

    The features are dealt to the qubits in turns, and from the first one again after
    the last, so that every qubit is given a feature in every upload.

    Args:
        n_features: Features of a sample, >= 1.
        n_qubits: Number of qubits, >= 1.
        n_uploads: Number of uploads, >= 1.

    Example:
        >>> uploads(6, 4, 3), uploads(1, 2, 2)
        ([[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]], [[0, 0], [0, 0]])
    """
    return [
        [(upload * n_qubits + wire) % n_features for wire in range(n_qubits)]
        for upload in range(n_uploads)
    ]


def n_layers_of(
    encoding: str, n_features: int, n_qubits: int, n_layers: int | None, default: int
) -> int:
    """How many layers a circuit has.

    Args:
        encoding: The word for an encoding.
        n_features: Features of a sample.
        n_qubits: Number of qubits.
        n_layers: The number that was asked for; None chooses it.
        default: The number where fewer would do.

    Raises:
        TypeError: If the number is not an integer.
        ValueError: If it is < 1, or not all features would be uploaded.
    """
    needed = -(-n_features // n_qubits) if encoding == "angle" else 1
    if n_layers is None:
        return max(default, needed)
    if integer("n_layers", n_layers, minimum=1) < needed:
        raise ValueError(
            f"Parameter n_layers must be >= {needed}, so that {n_qubits} qubits are "
            f"given all {n_features} features, but is {n_layers}. Leave it out, or use "
            "more qubits."
        )
    return n_layers


def layers_of(
    encoding: str,
    n_features: int,
    n_qubits: int,
    n_layers: int | None,
    entanglement: str,
) -> Sequence[Layer]:
    """The layers of a trained circuit that is given in words.

    Args:
        encoding: The word for an encoding. By ``"angle"`` there is an upload before
            each layer, by the others before the first one alone.
        n_features: Features of a sample.
        n_qubits: Number of qubits.
        n_layers: Number of trainable layers, >= 1; None is 3, or as many as it takes to
            upload all features.
        entanglement: ``"linear"``, ``"circular"`` or ``"full"``.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is too small, or the entanglement is unknown.

    Example:
        >>> layers = layers_of("angle", 6, 4, 2, "linear")
        >>> [type(layer).__name__ for layer in layers]
        ['AngleEncoding', 'QuantumLayer', 'AngleEncoding', 'QuantumLayer']
    """
    n_layers = n_layers_of(encoding, n_features, n_qubits, n_layers, LAYERS)
    if encoding != "angle":
        layer = QuantumLayer(n_layers=n_layers, entanglement=entanglement)
        return [BY_WORD[encoding](), layer]
    found: list[Layer] = []
    for features in uploads(n_features, n_qubits, n_layers):
        layer = QuantumLayer(n_layers=1, entanglement=entanglement)
        found += [AngleEncoding(features=features), layer]
    return found


def kernel_layers_of(
    encoding: str,
    n_features: int,
    n_qubits: int,
    n_layers: int | None,
    entanglement: str,
) -> Sequence[Layer]:
    """The layers of a feature map that is given in words: nothing in it is trained.

    It ends with an encoding, since what all states have in common at the end does not
    change how alike they are.

    Args:
        encoding: The word for an encoding.
        n_features: Features of a sample.
        n_qubits: Number of qubits.
        n_layers: Number of uploads by ``"angle"``, >= 1, with a layer between any two;
            None is 2, or as many as it takes to upload all features.
        entanglement: ``"linear"``, ``"circular"`` or ``"full"``.

    Example:
        >>> kernel_layers_of("zz_feature_map", 3, 3, None, "circular")
        [ZZEncoding()]
        >>> len(kernel_layers_of("angle", 3, 3, None, "circular"))
        3
    """
    n_layers = n_layers_of(encoding, n_features, n_qubits, n_layers, KERNEL_LAYERS)
    return layers_of(encoding, n_features, n_qubits, n_layers, entanglement)[:-1]
