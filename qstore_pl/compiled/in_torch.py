"""Compiled circuits in PyTorch: functions of tensors, and a layer of a network.

This module needs PyTorch: ``pip install "qstore-pl[torch]"``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qstore_pl.devices import Call, Executable

Float = NDArray[np.float64]


class _Run:
    """A call that PyTorch may ask to be differentiated."""

    def __init__(self, executable: Executable) -> None:
        self.executable = executable
        self.call: Call | None = None


def differentiated(executable: Executable, leaves: Sequence[Any]) -> list[torch.Tensor]:
    """The measurements, as tensors of float64 on the CPU.

    Args:
        executable: The circuit.
        leaves: Its arguments: tensors, arrays and numbers.
    """
    tensors = [torch.as_tensor(leaf, dtype=torch.float64) for leaf in leaves]
    return list(_Values.apply(_Run(executable), *tensors))


def wants_gradient(leaves: Sequence[Any]) -> bool:
    """Whether a function of these arguments would be differentiated."""
    return torch.is_grad_enabled() and any(
        isinstance(leaf, torch.Tensor) and leaf.requires_grad for leaf in leaves
    )


def tensor(value: Any) -> torch.Tensor:
    """A measurement as a tensor on the CPU."""
    return torch.as_tensor(np.asarray(value))


class _Values(torch.autograd.Function):
    """The measurements of a circuit, and its vector-Jacobian product."""

    @staticmethod
    def forward(run: _Run, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arrays = [tensor.detach().cpu().numpy() for tensor in tensors]
        run.call = run.executable.call(arrays)
        return tuple(torch.from_numpy(np.array(v)) for v in run.call.values())

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.run, ctx.shapes = inputs[0], [value.shape for value in output]
        ctx.devices = [tensor.device for tensor in inputs[1:]]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Any) -> tuple[Any, ...]:
        wanted = [k - 1 for k, needed in enumerate(ctx.needs_input_grad) if needed]
        arrays = [dy.detach().cpu().numpy() for dy in cotangents]
        found = ctx.run.call.pull(arrays, wanted)
        return None, *(
            torch.from_numpy(found[k]).to(device) if k in wanted else None
            for k, device in enumerate(ctx.devices)
        )
