"""PyTorch's backpropagation through PennyLane's own simulators."""

from __future__ import annotations

import torch

from tests.benchmarks.problem import HandAdam
from tests.benchmarks.training_peers import pennylane_qnode


class Torch(HandAdam):
    """Backprop under torch, which is quicker than under autograd."""

    setting = "torch, broadcast, diff_method=backprop"

    def __init__(self, problem):
        super().__init__(problem)
        torch.set_default_dtype(torch.float64)  # default.mixed takes it for RZ
        device = problem.default_device
        self.name = f"{device} backprop"
        self._qnode = pennylane_qnode(problem, device, diff_method="backprop")

    def value_and_grad(self, inputs, targets, weights):
        leaf = torch.from_numpy(weights).requires_grad_()
        outputs = torch.stack(self._qnode(torch.from_numpy(inputs), leaf)).T
        loss = ((outputs - torch.from_numpy(targets)) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.item(), gradient.numpy()
