"""How much memory the states of a circuit take, and how much this machine has."""

from __future__ import annotations

import numpy as np
from pennylane.exceptions import DeviceError

from qstore_pl import _computer


def check_memory(
    n_wires: int, *, mixed: bool = False, dtype: str = "complex128"
) -> None:
    """Refuse a register whose states do not fit into the memory of this machine.

    A gradient needs three states at a time: the state, its cotangent and one to compute
    with.

    Args:
        n_wires: Number of wires of the register.
        mixed: Whether the states are density matrices.
        dtype: The type of amplitudes.

    Raises:
        DeviceError: If they do not fit.
    """
    if not fits(n_wires, mixed=mixed, dtype=dtype):
        needed = _needed(n_wires, mixed=mixed, dtype=dtype)
        way_out = ', or method="trajectories"' if mixed else ""
        raise DeviceError(
            f"A circuit on {n_wires} wires needs {needed:,} bytes for its "
            f"{'density matrices' if mixed else 'states'}, but this machine has "
            f"{_computer.memory():,}. Use fewer wires{way_out}."
        )


def fits(n_wires: int, *, mixed: bool = False, dtype: str = "complex128") -> bool:
    """Whether the states of a register fit into the memory of this machine.

    Args:
        n_wires: Number of wires of the register.
        mixed: Whether the states are density matrices.
        dtype: The type of amplitudes.
    """
    needed = _needed(n_wires, mixed=mixed, dtype=dtype)
    return n_wires <= (15 if mixed else 30) and needed <= _computer.memory()


def _needed(n_wires: int, *, mixed: bool, dtype: str) -> int:
    """Bytes of three states."""
    size = np.dtype(dtype).itemsize
    return 3 * size // 2 << 2 * n_wires if mixed else 3 * size << n_wires
