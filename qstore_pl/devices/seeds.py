"""The seed of the random generator of a device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.random import SeedSequence

from qstore_pl.devices.tensors import is_jax, is_traced


def as_seed(seed: Any) -> Any:
    """A seed in a form that :func:`numpy.random.default_rng` takes.

    Args:
        seed: ``"global"`` takes a number from numpy's global generator, as PennyLane's
            devices do, so that ``np.random.seed`` decides. The numbers of a key of
            ``jax.random`` are the seed. Anything else is handed to numpy.

    Raises:
        TypeError: If it is a key that JAX traces.
    """
    if isinstance(seed, str) and seed == "global":
        return np.random.randint(0, high=10_000_000)  # noqa: NPY002
    if not is_jax(seed):
        return seed
    if is_traced(seed):
        raise TypeError(
            "Argument `seed` must have its value when the device is made, but is a key "
            "that JAX traces. Make the device outside of the compiled function."
        )
    import jax

    key = jax.random.key_data(seed) if _is_typed_key(seed) else seed
    return SeedSequence(np.asarray(key).reshape(-1).tolist())


def _is_typed_key(seed: Any) -> bool:
    import jax.numpy as jnp
    from jax.dtypes import prng_key

    return bool(jnp.issubdtype(seed.dtype, prng_key))
