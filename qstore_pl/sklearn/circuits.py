"""How the features of a sample reach the qubits of an estimator's circuit."""

from __future__ import annotations

from collections.abc import Sequence

from qstore_pl._checks import choice, integer
from qstore_pl.layers import AngleEncoding, Layer, QuantumLayer
from qstore_pl.layers.encodings import BY_WORD

FEWEST_QUBITS, MOST_QUBITS = 2, 4  # of trained circuits, for features by angles
KERNEL_QUBITS = 8  # of feature maps, for features by angles


def n_qubits_of(
    encoding: str, n_features: int, n_outputs: int, n_qubits: int | None
) -> int:
    """How many qubits a trained circuit has.

    Every qubit doubles the time of training, and beyond four the predictions of new
    samples hardly got better on the data sets of scikit-learn.

    Args:
        encoding: The word for an encoding.
        n_features: Features of a sample.
        n_outputs: Qubits that are measured.
        n_qubits: The number that was asked for; None chooses it.

    Raises:
        ValueError: If the encoding is unknown, or the number is < 1.
        TypeError: If the number is not an integer.
    """
    for_angles = min(max(n_features, FEWEST_QUBITS), MOST_QUBITS)
    return max(
        _n_qubits(encoding, n_features, n_qubits, for_angles),
        n_outputs if n_qubits is None else 1,
    )


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


def uploads(n_features: int, n_qubits: int) -> list[list[int]]:
    """Which feature each qubit is given, in each of the uploads of one sample.

    The features are dealt to the qubits in turns, and from the first one again until
    the last upload is full, so that every qubit is given a feature in every upload.

    Args:
        n_features: Features of a sample, >= 1.
        n_qubits: Number of qubits, >= 1.

    Example:
        >>> uploads(6, 4), uploads(1, 2)
        ([[0, 1, 2, 3], [4, 5, 0, 1]], [[0, 0]])
    """
    n_uploads = -(-n_features // n_qubits)
    return [
        [(upload * n_qubits + wire) % n_features for wire in range(n_qubits)]
        for upload in range(n_uploads)
    ]


def layers_of(
    encoding: str, n_features: int, n_qubits: int, n_layers: int, entanglement: str
) -> Sequence[Layer]:
    """The layers of a circuit that is given in words.

    Args:
        encoding: The word for an encoding. By ``"angle"`` all features are uploaded
            ``n_layers`` times, by the others once.
        n_features: Features of a sample.
        n_qubits: Number of qubits.
        n_layers: Repetitions, >= 1.
        entanglement: ``"linear"``, ``"circular"`` or ``"full"``.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If a number is < 1, or the entanglement is unknown.

    Example:
        >>> layers = layers_of("angle", 6, 4, 2, "linear")
        >>> [type(layer).__name__ for layer in layers[:2]], len(layers)
        (['AngleEncoding', 'QuantumLayer'], 8)
    """
    n_layers = integer("n_layers", n_layers, minimum=1)
    if encoding != "angle":
        layer = QuantumLayer(n_layers=n_layers, entanglement=entanglement)
        return [BY_WORD[encoding](), layer]
    found: list[Layer] = []
    for _ in range(n_layers):
        for features in uploads(n_features, n_qubits):
            found += [
                AngleEncoding(features=features),
                QuantumLayer(n_layers=1, entanglement=entanglement),
            ]
    return found


def kernel_layers_of(
    encoding: str, n_features: int, n_qubits: int, n_layers: int, entanglement: str
) -> Sequence[Layer]:
    """The layers of a feature map that is given in words: nothing in it is trained.

    They are those of :func:`layers_of` up to the last encoding, since what all states
    have in common at the end does not change how alike they are.

    Args:
        encoding: The word for an encoding.
        n_features: Features of a sample.
        n_qubits: Number of qubits.
        n_layers: How many times all features are uploaded, >= 1.
        entanglement: ``"linear"``, ``"circular"`` or ``"full"``.

    Example:
        >>> kernel_layers_of("zz_feature_map", 3, 3, 2, "circular")
        [ZZEncoding()]
    """
    return layers_of(encoding, n_features, n_qubits, n_layers, entanglement)[:-1]
