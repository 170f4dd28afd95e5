"""A grid of toy dictionaries."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from pytorch.protocol import Sizes, Work


class Dictionaries:
    """Sparse autoencoders of sparse sums of random directions."""

    def __init__(self, sizes: Sizes) -> None:
        count, features, dims = sizes["toy_samples"], sizes["toy_features"], sizes["toy_dims"]
        truth = functional.normalize(torch.randn(features, dims), dim=-1)
        codes = torch.rand(count, features) * (torch.rand(count, features) < 5 / features)
        self.x, self.batch = codes @ truth, sizes["toy_batch"]
        self.members = [
            (
                nn.Parameter(functional.normalize(torch.randn(size, dims), dim=-1)),
                nn.Parameter(torch.zeros(size)),
                penalty,
            )
            for penalty in (0.1, 0.2)
            for size in (dims, 2 * dims)
        ]
        parameters = [part for atoms, bias, _ in self.members for part in (atoms, bias)]
        self.optimiser = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.0, fused=True)
        self.rows: list[float] = []

    def __call__(self) -> None:
        total = 0.0
        for index in torch.randperm(len(self.x)).split(self.batch):
            x = self.x[index]
            loss = torch.zeros(())
            for atoms, bias, penalty in self.members:
                codes = functional.linear(x, atoms, bias).relu()
                error = codes @ atoms - x
                loss = loss + (error.square().sum() + penalty * codes.sum()) / len(x)
            self.optimiser.zero_grad()
            loss.backward()
            with torch.no_grad():
                for atoms, _, _ in self.members:
                    along = (atoms.grad * atoms).sum(-1, keepdim=True)
                    atoms.grad -= along * atoms
                self.optimiser.step()
                for atoms, _, _ in self.members:
                    atoms /= atoms.norm(dim=-1, keepdim=True)
            total += loss.item() * len(x)
        self.rows.append(total / len(self.x))


WORKS: dict[str, Work] = {"dictionaries": Dictionaries}
