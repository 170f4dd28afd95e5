"""The Tracer's scan."""

from __future__ import annotations

import torch

from pytorch.protocol import Sizes, Work


class Scan:
    """Sums of the two largest eigenvalues, 32 output features at a time."""

    def __init__(self, sizes: Sizes) -> None:
        d, hidden = sizes["d_model"], sizes["d_hidden"]
        self.left, self.right = torch.randn(hidden, d), torch.randn(hidden, d)
        self.out = torch.randn(d, hidden)
        self.directions = torch.randn(sizes["outputs"], d)
        self.rows: list[list[float]] = []

    @torch.inference_mode()
    def __call__(self) -> None:
        row: list[float] = []
        for directions in self.directions.split(32):
            out = directions @ self.out
            q = (self.left * out[:, :, None]).mT @ self.right
            values = torch.linalg.eigvalsh((q + q.mT) / 2)
            row += values.abs().topk(2).values.sum(-1).tolist()
        self.rows.append(row)


WORKS: dict[str, Work] = {"scan": Scan}
