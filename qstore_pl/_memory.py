"""How much memory this machine has, asked before arrays that cannot fit into it.

A system may promise more memory than it has, and end the process that uses it.
"""

from __future__ import annotations

import os


def physical() -> int:
    """Bytes of physical memory, or ``2**62`` where the system does not tell."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 62


def require(n_bytes: int, what: str, way_out: str) -> None:
    """Refuse what does not fit into the memory of this machine.

    Args:
        n_bytes: Bytes that are needed.
        what: What needs them, the beginning of a sentence.
        way_out: What to do instead, a sentence.

    Raises:
        MemoryError: If they do not fit.
    """
    if n_bytes > physical():
        raise MemoryError(
            f"{what} needs {n_bytes:,} bytes, but this machine has {physical():,}. "
            f"{way_out}"
        )
