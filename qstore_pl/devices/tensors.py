"""Tensors of any framework as numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pennylane as qml
from autograd.tracer import isbox
from numpy.typing import NDArray


def to_numpy(value: Any) -> NDArray[Any]:
    """The numbers of a tensor of any framework, as float64 or complex128."""
    while isbox(value):  # autograd traces
        value = value._value
    if not isinstance(value, np.ndarray | np.generic | float | int | complex):
        value = qml.math.to_numpy(value)
    array = np.asarray(value)
    return array.astype(
        np.complex128 if array.dtype.kind == "c" else np.float64, copy=False
    )
