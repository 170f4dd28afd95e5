"""Training sparse autoencoders of every kind on a model's activations."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytorch.language import Decoder, Text
from pytorch.losses import outcome
from pytorch.protocol import Sizes, Work

# As in benches/speed/autoencoders.rs, and eigenlens' usual options.
PENALTY = 1.0
AUXILIARY = 1 / 32
BANDWIDTH, THRESHOLD = 0.1, 2.0


# What is read and what is predicted, in random order.
Source = Callable[[], tuple[Tensor, Tensor]]


def kind_of(name: str, sizes: Sizes) -> dict[str, Any]:
    """A kind as pytorch.losses wants it."""
    prefixes = [sizes["fit_prefix_1"], sizes["fit_prefix_2"]] if name == "matryoshka" else []
    return {
        "kind": "top_k" if name == "transcoder" else name,
        "transcoder": name == "transcoder",
        "k": sizes["fit_k"],
        "relu": True,
        "penalty": PENALTY,
        "bandwidth": BANDWIDTH,
        "prefixes": prefixes,
        "dead": [],
        "auxiliary": AUXILIARY,
        "auxiliary_k": sizes["d_model"] // 2,
    }


class Fit:
    """Buffers of activations, in each of which every activation is trained on once."""

    def __init__(self, sizes: Sizes, name: str, source: Source | None = None) -> None:
        self.sizes, self.model, self.text = sizes, Decoder(sizes), Text(sizes)
        self.buffer = source or self.collected
        # A step alone is timed on embeddings, which cost next to nothing.
        self.of_model = name in {"collected", "transcoder"}
        name = "top_k" if name == "collected" else name
        self.kind = kind_of(name, sizes)
        self.counted = name in {"top_k", "batch_top_k", "matryoshka", "transcoder"}
        self.scale = 1.0
        read, written = self.buffer()
        if not self.counted:
            self.scale = written.square().mean().sqrt().item()
            read = written = written / self.scale
        d, m = sizes["d_model"], sizes["fit_features"]
        decoder = functional.normalize(torch.randn(m, d), dim=-1)
        encoder, said = decoder.clone(), torch.zeros(m)
        if self.kind["transcoder"]:
            encoder = functional.normalize(torch.randn(m, d), dim=-1)
            said = -encoder @ read.mean(0)
        extras = {
            "top_k": [],
            "gated": [said, torch.zeros(m), said],
            "jump_relu": [said, torch.full((m,), math.log(THRESHOLD))],
        }.get(name, [said])
        weights = [encoder, decoder, written.mean(0), *extras]
        self.weights: list[Tensor] = [nn.Parameter(weight.clone()) for weight in weights]
        self.optimiser = torch.optim.AdamW(self.weights, lr=1e-3, weight_decay=0.0, fused=True)
        self.seen_at = torch.zeros(m)
        self.steps = 0
        self.rows: list[float] = []

    @torch.no_grad()
    def collected(self) -> tuple[Tensor, Tensor]:
        """Of windows of random text."""
        tokens = self.sizes["fit_buffer"]
        parts: list[tuple[Tensor, Tensor]] = []
        while tokens > 0:
            drawn = self.text.draw(self.sizes["batch"])
            if self.of_model:
                read, written = self.model.around_mlp(self.sizes["fit_layer"], drawn)
            else:
                read = written = self.model.embed(drawn)
            parts.append((read.flatten(0, 1)[:tokens], written.flatten(0, 1)[:tokens]))
            tokens -= len(parts[-1][0])
        order = torch.randperm(self.sizes["fit_buffer"])
        written = torch.cat([written for _, written in parts])[order]
        if self.scale != 1.0:
            written /= self.scale
        if not self.kind["transcoder"]:
            return written, written
        return torch.cat([read for read, _ in parts])[order], written

    def step(self, x: Tensor, target: Tensor) -> tuple[float, float]:
        if self.counted:
            dead = self.seen_at + self.sizes["fit_dead_after"] < self.steps
            self.kind["dead"] = dead.nonzero()[:, 0]
        result = outcome(self.kind, self.weights, x, target)
        self.optimiser.zero_grad()
        result.loss.backward()
        decoder = self.weights[1]
        with torch.no_grad():
            along = (decoder.grad * decoder).sum(-1, keepdim=True)
            decoder.grad -= along * decoder
            self.optimiser.step()
            decoder /= decoder.norm(dim=-1, keepdim=True)
            self.steps += 1
            self.seen_at[result.fired] = self.steps
            variance = (target - target.mean(0)).square().sum().item()
            return result.error.square().sum().item(), variance

    def __call__(self) -> None:
        parts = zip(*(part.split(self.sizes["fit_batch"]) for part in self.buffer()), strict=True)
        sums = [self.step(x, target) for x, target in parts]
        self.rows.append(sum(error for error, _ in sums) / sum(variance for _, variance in sums))


class Curve:
    """A whole training of a top-k autoencoder on activations [n, d_model] from a file that
    `EIGENLENS_BENCH_ACTIVATIONS` names, from other random weights each time. `found` is the error's
    share of the variance over each quarter of the steps. The learning rate falls along a cosine."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        path, d = os.environ["EIGENLENS_BENCH_ACTIVATIONS"], sizes["d_model"]
        count = os.path.getsize(path) // 4
        self.x = torch.from_file(path, size=count, dtype=torch.float32).view(-1, d)
        self.found: list[float] = []

    def shuffled(self) -> tuple[Tensor, Tensor]:
        x = self.x[torch.randperm(len(self.x))]
        return x, x

    def __call__(self) -> None:
        fit = Fit(self.sizes, "top_k", self.shuffled)
        steps, sums = self.sizes["curve_steps"], []
        while len(sums) < steps:
            for x in fit.buffer()[0].split(self.sizes["fit_batch"])[: steps - len(sums)]:
                for group in fit.optimiser.param_groups:
                    group["lr"] = 1e-3 * (1 + math.cos(math.pi * len(sums) / steps)) / 2
                sums.append(fit.step(x, x))
        parts = [sums[i : i + steps // 4] for i in range(0, steps, steps // 4)]
        self.found = [sum(e for e, _ in part) / sum(v for _, v in part) for part in parts]


KINDS = ("top_k", "batch_top_k", "matryoshka", "standard", "jump_relu", "gated")
PARTS = (*KINDS, "collected", "transcoder")
WORKS: dict[str, Work] = {f"fit-{name}": functools.partial(Fit, name=name) for name in PARTS}
WORKS["fit-curve"] = Curve
