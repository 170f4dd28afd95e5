"""Training a bilinear classifier of images, and decomposing its tensor."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytorch.protocol import Sizes, Work

CLASSES = 10
MNIST = Path(__file__).resolve().parent.parent.parent / "assets/mnist"


def load(part: str) -> tuple[Tensor, Tensor]:
    def body(name: str, header: int) -> Tensor:
        raw = gzip.decompress((MNIST / f"{part}-{name}-ubyte.gz").read_bytes())
        return torch.frombuffer(bytearray(raw[header:]), dtype=torch.uint8)

    labels = body("labels-idx1", 8).long()
    return body("images-idx3", 16).view(len(labels), -1).float() / 255, labels


class Classifier(nn.Module):
    """logits = D((L E x) * (R E x))."""

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Linear(pixels, hidden, bias=False)
        # Left above right: one product instead of two.
        self.bilinear = nn.Linear(hidden, 2 * hidden, bias=False)
        self.head = nn.Linear(hidden, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.bilinear(self.embed(x)).chunk(2, dim=-1)
        return self.head(left * right)


class ImageTraining:
    """Epochs of training, each with its row of metrics."""

    def __init__(self, sizes: Sizes, noise: float) -> None:
        self.train, self.test = load("train"), load("t10k")
        self.batch, self.noise = sizes["batch"], noise
        self.model = Classifier(self.train[0].shape[1], sizes["d_hidden"])
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, weight_decay=0.5, fused=True
        )
        self.rows: list[tuple[float, ...]] = []

    def __call__(self) -> None:
        pixels, labels = self.train
        loss_sum = right = 0.0
        for index in torch.randperm(len(pixels)).split(self.batch):
            x, y = pixels[index], labels[index]
            if self.noise > 0:
                x = x + self.noise * torch.randn_like(x)
            logits = self.model(x)
            loss = functional.cross_entropy(logits, y)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            loss_sum += len(index) * loss.item()
            right += (logits.argmax(-1) == y).sum().item()
        with torch.no_grad():
            logits = self.model(self.test[0])
            loss = functional.cross_entropy(logits, self.test[1]).item()
            accuracy = (logits.argmax(-1) == self.test[1]).float().mean().item()
        self.rows.append((loss_sum / len(pixels), right / len(pixels), loss, accuracy))


def orthogonalised(update: Tensor, dtype: torch.dtype) -> Tensor:
    """Five Newton-Schulz steps towards the nearest semi-orthogonal matrix (Jordan et al., 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = update.shape[0] > update.shape[1]
    x = (update.T if tall else update).to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(update.dtype)


def inner(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Inner product of the symmetrised tensors of factors l, r, d, each [size, rank]:
    sum of (d^T d') * (l^T l' * r^T r' + l^T r' * r^T l') / 2."""
    (l, r, d), (l2, r2, d2) = one, other
    pairs = (l.T @ l2) * (r.T @ r2) + (l.T @ r2) * (r.T @ l2)
    return 0.5 * ((d.T @ d2) * pairs).sum()


class Decomposition:
    """Muon steps towards the factors of a classifier's tensor."""

    def __init__(self, sizes: Sizes, dtype: torch.dtype) -> None:
        self.dtype = dtype
        pixels = 28 * 28
        with torch.no_grad():
            model = Classifier(pixels, sizes["d_hidden"])
            maps = (model.bilinear.weight @ model.embed.weight).chunk(2)
            self.target = [maps[0].T, maps[1].T, model.head.weight]
            self.norm = inner(self.target, self.target).sqrt()
        self.factors = [
            nn.Parameter(torch.randn(size, sizes["rank"]) / math.sqrt(size))
            for size in (pixels, pixels, CLASSES)
        ]
        self.means = [torch.zeros_like(factor) for factor in self.factors]
        self.rows: list[float] = []

    def __call__(self) -> None:
        length = inner(self.factors, self.factors).sqrt()
        similarity = inner(self.factors, self.target) / (length * self.norm)
        gradients = torch.autograd.grad(1 - similarity, self.factors)
        with torch.no_grad():
            for factor, mean, gradient in zip(self.factors, self.means, gradients, strict=True):
                mean.lerp_(gradient, 0.05)
                rows, columns = factor.shape
                scale = 0.02 * max(1.0, rows / columns) ** 0.5
                factor.mul_(1 - 0.02 * 0.1)
                factor.add_(orthogonalised(gradient.lerp(mean, 0.95), self.dtype), alpha=-scale)
        self.rows.append(similarity.item())


WORKS: dict[str, Work] = {
    "image": lambda sizes: ImageTraining(sizes, noise=0.0),
    "image-noise": lambda sizes: ImageTraining(sizes, noise=0.4),
    "cpd": lambda sizes: Decomposition(sizes, torch.bfloat16),
    "cpd-f32": lambda sizes: Decomposition(sizes, torch.float32),
}
