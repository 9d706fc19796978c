"""How much memory states take, and how much this machine has."""

from __future__ import annotations

import os

from pennylane.exceptions import DeviceError


def check_memory(n_wires: int, *, mixed: bool = False) -> None:
    """Refuse more wires than this machine has memory for.

    Raises:
        DeviceError: If it has less than three states take: the state, its cotangent and
            scratch.
    """
    needed = 3 * 8 << 2 * n_wires if mixed else 3 * 16 << n_wires
    if n_wires > (15 if mixed else 30) or needed > memory():
        way_out = ', or method="trajectories"' if mixed else ""
        raise DeviceError(
            f"A circuit on {n_wires} wires needs {needed:,} bytes for its "
            f"{'density matrices' if mixed else 'states'}, but this machine has "
            f"{memory():,}. Use fewer wires{way_out}."
        )


def memory() -> int:
    """Bytes of physical memory, or what 64 bits can address where that is not known."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 62
