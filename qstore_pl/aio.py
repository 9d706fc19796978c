"""Awaitable twins: what may take long runs in a thread, and the event loop goes on.

``from qstore_pl.aio import ...`` instead of ``from qstore_pl import ...``; names that
have nothing to wait for are the same.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import qstore_pl

AWAITABLE = {
    "QuantumModel": ("forward",),
    "QuantumDataEncoder": ("encode", "encode_batch"),
    "QuantumGradientComputer": ("compute_gradients",),
    "FiniteDifferenceGradient": ("compute_gradients",),
    "SPSAGradient": ("compute_gradients",),
    "NaturalGradientComputer": ("compute_gradients", "compute_natural_gradient"),
    "QuantumTrainer": ("train",),
}
"""The classes whose methods are to be awaited."""

__all__ = ["AWAITABLE", *qstore_pl.__all__]


def __getattr__(name: str) -> Any:
    if name in AWAITABLE:
        return _twin(name)
    return getattr(qstore_pl, name)


def __dir__() -> list[str]:
    return __all__


@functools.cache
def _twin(name: str) -> type:
    """A class like the plain one, with methods to await."""
    plain = getattr(qstore_pl, name)
    methods = {method: _awaitable(getattr(plain, method)) for method in AWAITABLE[name]}
    members = {"__module__": __name__, "__doc__": plain.__doc__, "__qualname__": name}
    return type(name, (plain,), members | methods)


def _awaitable(method: Any) -> Any:
    @functools.wraps(method)
    async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = functools.partial(method, self, *args, **kwargs)
        task = asyncio.ensure_future(asyncio.to_thread(call))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while isinstance(self, qstore_pl.QuantumTrainer) and not task.done():
                self.stop()  # after the batch that is running; it may not have begun
                await asyncio.wait([task], timeout=0.05)
            raise

    return run
