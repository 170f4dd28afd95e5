#!/usr/bin/env python3
"""PyTorch's speed at what `cargo bench` times: the other half of each comparison.

Prints one JSON array of rows {"name", "size", "value", "unit"}:

- image training, epochs/s: embedding 784 -> 512, bilinear 512 -> (512, 512) -> product, head -> 10,
  no biases; cross-entropy, AdamW (rate 1e-3, decay 0.5), batches of 2,048, shuffled every epoch,
  with and without Gaussian input noise 0.4;
- tensor decomposition, steps/s: rank-64 factors of the same model's 10×784×784 tensor by cosine
  similarity, one Muon step each, without forming either tensor.

The data are the idx files of a folder (default: the digits in assets/mnist).

    python benches/pytorch_baseline.py [--data DIR] [--threads N] [--repeats N]

Needs PyTorch.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

BATCH = 2_048
HIDDEN = 512
RANK = 64
PIXELS = 784


def load(folder: Path) -> tuple[Tensor, Tensor]:
    def body(name: str, header: int) -> Tensor:
        raw = gzip.decompress((folder / name).read_bytes())
        return torch.frombuffer(bytearray(raw[header:]), dtype=torch.uint8)

    pixels = body("train-images-idx3-ubyte.gz", 16).view(-1, PIXELS).float() / 255
    return pixels, body("train-labels-idx1-ubyte.gz", 8).long()


class Classifier(nn.Module):
    """logits = D((L E x) * (R E x)), all matrices without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(PIXELS, HIDDEN, bias=False)
        self.bilinear = nn.Linear(HIDDEN, 2 * HIDDEN, bias=False)
        self.head = nn.Linear(HIDDEN, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.bilinear(self.embed(x)).chunk(2, dim=-1)
        return self.head(left * right)


def train(pixels: Tensor, labels: Tensor, noise: float) -> Callable[[], None]:
    """One epoch of training, to be called again and again."""
    model = Classifier()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.5)

    def epoch() -> None:
        order = torch.randperm(len(pixels))
        for index in order.split(BATCH):
            x = pixels[index]
            if noise > 0:
                x = x + noise * torch.randn_like(x)
            loss = functional.cross_entropy(model(x), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return epoch


def orthogonalised(update: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrix (Jordan et al., 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update / (update.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def inner(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> Tensor:
    """Inner product of the symmetrised tensors of factors (L, R, D), each [rank, size].

    <sum d (x) l (x) r, sum d' (x) l' (x) r'> with l, r symmetrised on one side:
    sum_ij (D D'^T) * (L L'^T * R R'^T + L R'^T * R L'^T) / 2.
    """
    (l, r, d), (l2, r2, d2) = one, other
    pairs = (l @ l2.T) * (r @ r2.T) + (l @ r2.T) * (r @ l2.T)
    return 0.5 * ((d @ d2.T) * pairs).sum()


def decompose() -> Callable[[], None]:
    """One step of fitting rank-64 factors to a classifier's tensor."""
    with torch.no_grad():
        model = Classifier()
        left, right = model.bilinear.weight.chunk(2, dim=0)
        embed = model.embed.weight
        target = (left @ embed, right @ embed, model.head.weight.T.contiguous())
        target_norm = inner(target, target).sqrt()
    factors = [
        nn.Parameter(torch.randn(RANK, size) / math.sqrt(size)) for size in (PIXELS, PIXELS, 10)
    ]
    momenta = [torch.zeros_like(factor) for factor in factors]

    def step() -> None:
        found = tuple(factors)
        similarity = inner(found, target) / (inner(found, found).sqrt() * target_norm)
        gradients = torch.autograd.grad(1 - similarity, factors)
        with torch.no_grad():
            for factor, momentum, gradient in zip(factors, momenta, gradients, strict=True):
                momentum.lerp_(gradient, 0.05)
                update = orthogonalised(gradient.lerp(momentum, 0.95))
                rows, columns = factor.shape
                factor.add_(update, alpha=-0.02 * max(1.0, rows / columns) ** 0.5)

    return step


def rate(work: Callable[[], None], times: int, repeats: int) -> float:
    """Calls a second: the best of `repeats` runs of `times` calls, after a warm-up."""
    work()
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(times):
            work()
        best = max(best, times / (time.perf_counter() - start))
    return best


def main() -> None:
    assets = Path(__file__).resolve().parent.parent / "assets/mnist"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=assets, help="folder of the idx .gz files")
    parser.add_argument("--threads", type=int, default=0, help="default: PyTorch's own choice")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    pixels, labels = load(options.data)
    size = f"{len(pixels)} images, batch {BATCH}, hidden {HIDDEN}"
    rows = [
        ("image training", size, rate(train(pixels, labels, 0.0), 3, options.repeats), "epochs/s"),
        (
            "image training, noise 0.4",
            size,
            rate(train(pixels, labels, 0.4), 3, options.repeats),
            "epochs/s",
        ),
        (
            "tensor decomposition",
            f"rank {RANK}, {HIDDEN} to 10x{PIXELS}x{PIXELS}",
            rate(decompose(), 20, options.repeats),
            "steps/s",
        ),
    ]
    keys = ("name", "size", "value", "unit")
    print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))


if __name__ == "__main__":
    main()
