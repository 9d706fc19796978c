"""What holds for all tests: threads of BLAS, and when Python collects garbage.

Matrices of the tests are small: on several threads BLAS spends its time waiting.
Processes that tests start have the threads of the machine, as a user has.

PennyLane, JAX and 18,000 tests are some millions of objects that stay to the end.
Python need not look through them again and again, nor ask XLA for garbage each time.
"""

from __future__ import annotations

import gc

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

LIBRARIES = np, scipy.linalg  # each brings its own BLAS, and only those loaded obey
LIMITS = threadpool_limits(1, user_api="blas")

gc.set_threshold(20_000, 20, 20)


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
