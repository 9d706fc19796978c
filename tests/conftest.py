"""Matrices of the tests are small: on several threads BLAS spends its time waiting.

Processes that tests start have the threads of the machine, as a user has.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

LIBRARIES = np, scipy.linalg  # each brings its own BLAS, and only those loaded obey
LIMITS = threadpool_limits(1, user_api="blas")
