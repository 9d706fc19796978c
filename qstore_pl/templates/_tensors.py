"""Shape checks of the templates. They never look at values, which may be traced."""

from __future__ import annotations

from typing import Any

import numpy as np
from pennylane import math
from pennylane.typing import TensorLike
from pennylane.wires import Wires, WiresLike


def named_wires(wires: WiresLike) -> Wires:
    """Return ``wires`` as PennyLane's ``Wires``, of which there must be at least one.

    Raises:
        ValueError: If there is no wire.
    """
    named = Wires(wires)
    if not named:
        raise ValueError("Argument `wires` must name at least one wire, but is empty.")
    return named


def tensor(name: str, value: TensorLike, last_axes: tuple[int | str, ...]) -> Any:
    """Return ``value`` as a tensor with the given last axes and at most a batch axis.

    Args:
        name: Name of the argument, for error messages.
        value: Tensor of any framework, or nested lists of numbers or tensors.
        last_axes: For each axis its size, or a name if it may have any size above 0.

    Raises:
        ValueError: If the tensor has another shape.
    """
    array: Any = math.stack(value) if isinstance(value, list | tuple) else value
    shape = tuple(np.shape(array))
    last = shape[-len(last_axes) :]
    fits = len(shape) - len(last_axes) in (0, 1) and all(
        size > 0 if isinstance(wanted, str) else size == wanted
        for size, wanted in zip(last, last_axes, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(axis) for axis in last_axes)
        comma = "," if len(last_axes) == 1 else ""
        raise ValueError(
            f"Argument `{name}` must have shape ({wanted}{comma}) or "
            f"(batch, {wanted}), but has shape {shape}."
        )
    return array
