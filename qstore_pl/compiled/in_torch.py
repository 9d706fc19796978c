"""Functions of numpy arrays with a derivative, as functions of PyTorch's tensors.

This module is imported only where PyTorch is installed.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError

from qstore_pl.devices import ONLY_FIRST_DERIVATIVES, Call, Executable

Float = NDArray[np.float64]


class Run(ABC):
    """One call of a function, until its derivative was asked for."""

    @abstractmethod
    def values(self, arrays: Sequence[Float]) -> Sequence[NDArray[Any]]:
        """The values of the function.

        Args:
            arrays: Its arguments.
        """

    @abstractmethod
    def pull(
        self, cotangents: Sequence[Float], wanted: Sequence[int]
    ) -> Sequence[Float | None]:
        """Gradients with respect to the arguments.

        Args:
            cotangents: One for each value, of its shape.
            wanted: Indices of the arguments whose gradient is needed; what is given for
                the others is not used.
        """

    @abstractmethod
    def again(self) -> Run:
        """Another call of the same function."""


def applied(run: Run, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The values of a function, which PyTorch can differentiate once.

    Args:
        run: The function, a new one for each call.
        tensors: Its arguments, of float64.
    """
    return list(_Values.apply(run, *tensors))


def differentiated(executable: Executable, leaves: Sequence[Any]) -> list[torch.Tensor]:
    """The measurements of a circuit, as tensors of float64 on the CPU.

    Args:
        executable: The circuit.
        leaves: Its arguments: tensors, arrays and numbers.
    """
    tensors = [torch.as_tensor(leaf, dtype=torch.float64) for leaf in leaves]
    return applied(_CircuitRun(executable), tensors)


def wants_gradient(leaves: Sequence[Any]) -> bool:
    """Whether a function of these arguments would be differentiated."""
    return torch.is_grad_enabled() and any(
        isinstance(leaf, torch.Tensor) and leaf.requires_grad for leaf in leaves
    )


def tensor(value: Any) -> torch.Tensor:
    """A measurement as a tensor on the CPU."""
    return torch.as_tensor(np.asarray(value))


@final
class _CircuitRun(Run):
    """A call of a circuit."""

    def __init__(self, executable: Executable) -> None:
        self._executable = executable
        self._call: Call | None = None

    def again(self) -> _CircuitRun:
        return _CircuitRun(self._executable)

    def values(self, arrays: Sequence[Float]) -> Sequence[NDArray[Any]]:
        self._call = self._executable.call(arrays)
        return self._call.values()

    def pull(
        self, cotangents: Sequence[Float], wanted: Sequence[int]
    ) -> Sequence[Float | None]:
        assert self._call is not None
        return self._call.pull(cotangents, wanted)


class _Values(torch.autograd.Function):
    """The values of a function, and its vector-Jacobian product."""

    @staticmethod
    def forward(run: Run, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(map(tensor, run.values(_arrays(tensors))))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.run = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        wanted = [k - 1 for k, needed in enumerate(ctx.needs_input_grad) if needed]
        if torch.is_grad_enabled():  # the derivative may be differentiated again
            tensors = ctx.saved_tensors
            found = _Pull.apply(ctx.run, wanted, len(tensors), *tensors, *cotangents)
        else:
            found = _pulled(ctx.run, wanted, ctx.saved_tensors, cotangents)
        return None, *found

    @staticmethod
    def vmap(info: Any, in_dims: Any, run: Run, *tensors: Any) -> Any:
        """One call for each place of the mapped axis."""
        rows = [
            _Values.apply(run.again(), *_at(i, in_dims[1:], tensors))
            for i in range(info.batch_size)
        ]
        return _stacked(rows)


# torch asks for the signature at every call, which takes longer than a small circuit.
_Values.forward.__signature__ = inspect.signature(  # type: ignore[attr-defined]
    _Values.forward
)


class _Pull(torch.autograd.Function):
    """The vector-Jacobian product, which has no derivative."""

    @staticmethod
    def forward(
        run: Run, wanted: list[int], n: int, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        return _pulled(run, wanted, tensors[:n], tensors[n:])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        raise DeviceError(ONLY_FIRST_DERIVATIVES)

    @staticmethod
    def vmap(
        info: Any, in_dims: Any, run: Run, wanted: list[int], n: int, *tensors: Any
    ) -> Any:
        """One product for each place of the mapped axis."""
        rows = []
        for i in range(info.batch_size):
            own = run.again()
            parts = _at(i, in_dims[3:], tensors)
            own.values(_arrays(parts[:n]))
            rows.append(_Pull.apply(own, wanted, n, *parts))
        return _stacked(rows)


def _at(i: int, dims: Sequence[int | None], tensors: Sequence[Any]) -> list[Any]:
    """Tensors at a place of their mapped axes."""
    return [
        one if dim is None else one.select(dim, i)
        for dim, one in zip(dims, tensors, strict=True)
    ]


def _stacked(rows: Sequence[Sequence[Any]]) -> tuple[Any, Any]:
    """Results with the mapped axis in front, and where that axis is."""
    columns = list(zip(*rows, strict=True))
    joined = tuple(None if c[0] is None else torch.stack(c) for c in columns)
    return joined, tuple(None if one is None else 0 for one in joined)


def _pulled(
    run: Run,
    wanted: Sequence[int],
    tensors: Sequence[torch.Tensor],
    cotangents: Sequence[torch.Tensor],
) -> tuple[torch.Tensor | None, ...]:
    found = run.pull(_arrays(cotangents), wanted)
    return tuple(
        torch.as_tensor(found[k]).to(one.device) if k in wanted else None
        for k, one in enumerate(tensors)
    )


def _arrays(tensors: Sequence[torch.Tensor]) -> list[Float]:
    return [one.detach().cpu().numpy() for one in tensors]
