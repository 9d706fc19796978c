"""What this computer has: memory, which is asked for before it is used, and processors.

A system may promise more memory than it has, and end the process that uses it.
"""

from __future__ import annotations

import os


def memory() -> int:
    """Bytes of physical memory, or ``2**62`` where the system does not tell."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 62


def require_memory(n_bytes: int, what: str, way_out: str) -> None:
    """Refuse what does not fit into the memory of this computer.

    Args:
        n_bytes: Bytes that are needed.
        what: What needs them, the beginning of a sentence.
        way_out: What to do instead, a sentence.

    Raises:
        MemoryError: If they do not fit.
    """
    if n_bytes > memory():
        raise MemoryError(
            f"{what} needs {n_bytes:,} bytes, but this machine has {memory():,}. "
            f"{way_out}"
        )


def processors() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
