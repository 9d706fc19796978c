"""Atomic replacement of files, whatever their format."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(target: Path, data: bytes, *, prefix: str) -> None:
    """Write a file so that a reader finds either all old bytes or all new ones.

    The bytes go to a temporary file in the same directory, which is then renamed. A
    killed process can leave the temporary file behind.

    Args:
        target: The file to write; its directory must exist.
        data: The new contents of the file.
        prefix: First characters of the name of the temporary file.

    Raises:
        OSError: If the bytes cannot be written; the old file is then unchanged.
    """
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # it exists only if something above failed
    if os.name == "posix":  # Windows cannot open a directory, and need not
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
