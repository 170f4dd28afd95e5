"""Reducibility of points in the plane."""

from __future__ import annotations

import math

import torch

from pytorch.protocol import Sizes, Work


class MixtureAscent:
    """P = mean sigmoid((0.1 - |z|) / T), z = (x a + b) / rms; steps of 0.1 along its gradient."""

    def __init__(self, sizes: Sizes) -> None:
        self.x = torch.randn(sizes["points"], 2)
        self.a = torch.tensor([0.6, -0.8], requires_grad=True)
        self.b = torch.zeros((), requires_grad=True)

    def __call__(self) -> None:
        y = self.x @ self.a + self.b
        z = y / y.square().mean().sqrt()
        share = torch.sigmoid((0.1 - z.abs()) / 0.5).mean()
        slopes = torch.autograd.grad(share, (self.a, self.b))
        with torch.no_grad():
            self.a += 0.1 * slopes[0]
            self.b += 0.1 * slopes[1]


class Separability:
    """One angle of the curve."""

    def __init__(self, sizes: Sizes) -> None:
        self.x, self.angle = torch.randn(sizes["points"], 2), 0.0

    @torch.inference_mode()
    def __call__(self) -> None:
        self.angle += 0.00628
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        rotated = self.x @ torch.tensor([[cos, -sin], [sin, cos]])
        bins = ((rotated + 3) * (20 / 3)).clamp(0, 39.9).long()
        joint = torch.bincount(bins[:, 0] * 40 + bins[:, 1], minlength=1600).view(40, 40)
        joint = joint / len(self.x)
        product = joint.sum(1, keepdim=True) * joint.sum(0)
        (joint * ((joint + 1e-4) / (product + 1e-4)).log()).sum().item()


WORKS: dict[str, Work] = {"mixture": MixtureAscent, "separability": Separability}
