"""TorchQuantum-NG: PyTorch's backpropagation through a batch of states."""

from __future__ import annotations

import torch
import torchquantum as tq
import torchquantum.functional as tqf

from tests.benchmarks.contender import SINGLE_PRECISION
from tests.benchmarks.problem import N_OUTPUTS, HandAdam


class TorchQuantum(HandAdam):
    """Loss and gradient by PyTorch; the update is numpy. It has single precision."""

    tolerance = SINGLE_PRECISION

    def numbers(self):
        """Not the weights: Adam makes whole steps of gradients that should vanish."""
        found = super().numbers()
        del found["trained weights"], found["mean loss"]
        return found

    name = "TorchQuantum-NG"
    setting = "torch, batch of states, complex64"

    def value_and_grad(self, inputs, targets, weights):
        problem = self.problem
        leaf = torch.tensor(weights, dtype=torch.float32, requires_grad=True)
        x = torch.tensor(inputs, dtype=torch.float32)
        device = tq.QuantumDevice(n_wires=problem.n_qubits, bsz=len(x))
        for gate in problem.perfect_gates(x, leaf):
            if gate.num_params:
                getattr(tqf, gate.name.lower())(
                    device, wires=gate.wires[0], params=gate.data[0]
                )
            else:
                tqf.cnot(device, wires=gate.wires.tolist())
        outputs = tq.MeasureAll(tq.PauliZ)(device)[:, :N_OUTPUTS]
        loss = ((outputs - torch.tensor(targets, dtype=torch.float32)) ** 2).mean()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return loss.item(), gradient.double().numpy()
