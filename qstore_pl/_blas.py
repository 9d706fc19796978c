"""BLAS and LAPACK on one thread: results must not depend on the number of threads."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> AbstractContextManager[Any]:
    """A context manager within which BLAS and LAPACK use one thread."""
    controller = _controller()
    if controller is None:
        return nullcontext()
    return controller.limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController | None:
    """Controls the BLAS libraries that are loaded; None if none has several threads."""
    found = ThreadpoolController().select(user_api="blas")
    return found if any(one["num_threads"] > 1 for one in found.info()) else None
