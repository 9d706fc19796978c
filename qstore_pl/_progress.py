"""Progress bars, and whether a person is there to see them."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def is_watched() -> bool:
    """Whether a person sees what is written to stderr while it is written.

    That is so if stderr is a terminal, or in a notebook. It is not so where the
    environment variable ``TQDM_DISABLE`` is set to anything but 0.
    """
    if os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        return False
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def bar(
    total: int, unit: str, *, done: int = 0, shown: bool | None = None
) -> AbstractContextManager[Any]:
    """A progress bar with the time that is left.

    Args:
        total: How many steps there are.
        unit: What a step is called.
        done: How many of them were done before.
        shown: Whether there is a bar; None shows one where a person is watching.

    Returns:
        A context manager that gives the bar of tqdm, whose method ``update`` is called
        after each step; or that gives None where no bar is shown.
    """
    if not (is_watched() if shown is None else shown):
        return nullcontext()
    from tqdm import TqdmWarning

    with warnings.catch_warnings():
        # In a notebook without ipywidgets it says so, and draws with characters.
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm
    found: AbstractContextManager[Any] = tqdm(
        total=total, initial=done, unit=unit, disable=False
    )
    return found
