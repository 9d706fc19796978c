"""Files that are replaced as a whole or not at all. It knows no format."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(target: Path, data: bytes, *, prefix: str) -> None:
    """Write a file so that whoever reads it finds the old bytes or the new ones.

    The bytes go to a temporary file in the same directory, which then takes the name.
    A killed process can leave that temporary file behind.

    Args:
        target: The file; its directory must exist.
        data: What it is to hold.
        prefix: How the name of the temporary file begins.

    Raises:
        OSError: If the bytes cannot be written; the old file is as it was.
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
        temporary.unlink(missing_ok=True)  # there only if something above failed
    if os.name == "posix":  # elsewhere a directory cannot be opened, nor needs it
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
