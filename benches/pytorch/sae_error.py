"""Errors of autoencoders as the study computes them: regressions, pursuit, losses downstream."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pytorch.language import Decoder
from pytorch.protocol import Sizes, Work


class LeastSquares:
    """Activations to errors, of rows in random order."""

    def __init__(self, sizes: Sizes) -> None:
        rows, d = sizes["lstsq_rows"], sizes["lstsq_d"]
        self.x, self.y = torch.randn(rows, d), torch.randn(rows, d)
        self.order = torch.randperm(rows)

    @torch.inference_mode()
    def __call__(self) -> None:
        torch.linalg.lstsq(self.x[self.order], self.y[self.order], rcond=1e-9)


class Pursuit:
    """Gradient pursuit of a batch, every row with as many steps."""

    def __init__(self, sizes: Sizes) -> None:
        dictionary = torch.randn(sizes["pursuit_features"], sizes["pursuit_d"])
        self.dictionary = functional.normalize(dictionary, dim=-1)
        self.signals = torch.randn(sizes["pursuit_rows"], sizes["pursuit_d"])
        self.steps = sizes["pursuit_steps"]

    def step(self, weights: Tensor) -> Tensor:
        rest = self.signals - weights @ self.dictionary
        gradient = rest @ self.dictionary.T
        support = weights != 0
        support.scatter_(1, gradient.argmax(1, keepdim=True), True)
        gradient *= support
        direction = gradient @ self.dictionary
        length = (direction * rest).sum(1) / direction.square().sum(1)
        return (weights + length[:, None] * gradient).clamp_min(0)

    @torch.inference_mode()
    def __call__(self) -> None:
        weights = torch.zeros(len(self.signals), len(self.dictionary))
        for _ in range(self.steps):
            weights = self.step(weights)


class Downstream:
    """Losses with and without reconstructions after a layer, in a window of positions."""

    def __init__(self, sizes: Sizes) -> None:
        self.model, self.layer = Decoder(sizes), sizes["downstream_layer"]
        contexts, length, d = sizes["downstream_contexts"], sizes["length"], sizes["d_model"]
        self.window = slice(sizes["downstream_from"], length - 1)
        tokens = torch.randint(sizes["vocab"], (contexts, length))
        shape = (contexts, self.window.stop - self.window.start, d)
        self.batches = list(
            zip(
                tokens.split(sizes["downstream_batch"]),
                torch.randn(shape).split(sizes["downstream_batch"]),
                strict=True,
            )
        )
        self.solution = torch.randn(d, d) / d

    def replaced(self, arm: str, x: Tensor, reconstructions: Tensor) -> Tensor:
        if arm == "clean":
            return x
        changed = x.clone()
        changed[:, self.window] = reconstructions
        linear = x @ self.solution
        if arm == "linear":
            changed += linear
        elif arm == "nonlinear":
            changed += x - changed - linear
        changed[:, : self.window.start] = x[:, : self.window.start]
        return changed

    def loss(self, arm: str, tokens: Tensor, reconstructions: Tensor) -> float:
        model = self.model
        x, angles = model.embed(tokens), model.angles[:, : tokens.shape[1]]
        for i, block in enumerate(model.blocks):
            x = block(x, angles)
            if i == self.layer:
                x = self.replaced(arm, x, reconstructions)
        logits = model.logits(x)[:, self.window]
        return functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, 1:][:, self.window].flatten()
        ).item()

    @torch.inference_mode()
    def __call__(self) -> None:
        for arm in ("clean", "sae", "linear", "nonlinear"):
            for tokens, reconstructions in self.batches:
                self.loss(arm, tokens, reconstructions)


WORKS: dict[str, Work] = {
    **{f"lstsq-{size}": LeastSquares for size in ("small", "middle", "large")},
    **{f"pursuit-{size}": Pursuit for size in ("small", "middle", "large")},
    "downstream": Downstream,
}
