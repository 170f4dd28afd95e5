"""Codes of activations, and what codes stand for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pytorch.protocol import Sizes, Work


class Encoding:
    """Codes of activations, and where they are not zero."""

    def __init__(self, sizes: Sizes, of: str = "sae") -> None:
        d = sizes[f"{of}_d_model"]
        self.x = torch.randn(sizes[f"{of}_rows"], d)
        self.encoder = torch.randn(sizes[f"{of}_features"], d)
        self.bias, self.k = torch.randn(d), sizes[f"{of}_k"]

    def codes(self) -> tuple[Tensor, Tensor]:
        values, indices = functional.linear(self.x - self.bias, self.encoder).topk(
            self.k, sorted=False
        )
        return values, indices

    @torch.inference_mode()
    def __call__(self) -> None:
        self.codes()


class Decoding:
    """Weighted sums of the decoder's columns, which lie in memory one after the other."""

    def __init__(self, sizes: Sizes, of: str = "sae") -> None:
        encoding = Encoding(sizes, of)
        self.values, self.indices = encoding.codes()
        self.columns, self.bias = torch.randn_like(encoding.encoder), encoding.bias

    @torch.inference_mode()
    def __call__(self) -> None:
        sums = functional.embedding_bag(
            self.indices, self.columns, per_sample_weights=self.values, mode="sum"
        )
        sums.add_(self.bias)


WORKS: dict[str, Work] = {
    "encoding": Encoding,
    "decoding": Decoding,
    "encoding-batch": lambda sizes: Encoding(sizes, "batch"),
    "decoding-batch": lambda sizes: Decoding(sizes, "batch"),
}
