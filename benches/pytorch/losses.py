"""The losses of every kind of sparse autoencoder.

benches/sae_gradients.py has PyTorch differentiate them for the tests of src/sae/fit, and
`cargo bench` times training with them: what is timed is what is compared. Weights are encoder
[m, d], decoder [m, d_out] with rows of length one, bias [d_out], and "extras" with an entry a
feature: nothing or the encoder's bias; that and the logarithm of the thresholds; or a gate's bias,
log gains and magnitudes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Jump(torch.autograd.Function):
    """h where it is above its threshold."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(h, threshold)
        ctx.bandwidth = bandwidth
        return h * (h > threshold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        h, threshold = ctx.saved_tensors
        window = ((h - threshold).abs() < ctx.bandwidth / 2).to(h)
        smooth = -(threshold / ctx.bandwidth) * window * grad
        return (h > threshold) * grad, smooth.sum(0), None


class Step(torch.autograd.Function):
    """1 where h is above its threshold."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(h, threshold)
        ctx.bandwidth = bandwidth
        return (h > threshold).to(h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        h, threshold = ctx.saved_tensors
        window = ((h - threshold).abs() < ctx.bandwidth / 2).to(h)
        return torch.zeros_like(h), (-window * grad / ctx.bandwidth).sum(0), None


class Entries(NamedTuple):
    """The entries of the codes of n activations, by row."""

    rows: Tensor
    features: Tensor
    values: Tensor
    n: int


def largest(h: Tensor, k: int, relu: bool, together: bool = False) -> Entries:
    """The k largest entries of each row of h, or k n of all; of them the positive ones' values."""
    n, m = h.shape
    if together:
        at = h.detach().flatten().topk(k * n, sorted=False).indices.sort().values
        rows, features = at // m, at % m
        values = h.flatten().gather(0, at)
    else:
        values, features = h.topk(k, dim=-1, sorted=False)
        rows = torch.arange(n).repeat_interleave(k)
        values, features = values.flatten(), features.flatten()
    return Entries(rows, features, functional.relu(values) if relu else values, n)


def sums(codes: Entries, decoder: Tensor) -> Tensor:
    """codes @ decoder. With 16 of 1,536 features and this, a step took half as long as with a
    matrix of codes."""
    ends = torch.bincount(codes.rows, minlength=codes.n).cumsum(0)
    starts = functional.pad(ends[:-1], (1, 0))
    return functional.embedding_bag(
        codes.features, decoder, starts, mode="sum", per_sample_weights=codes.values
    )


def within(codes: Entries, start: int, end: int) -> Entries:
    """The entries of features from start to end."""
    there = (codes.features >= start) & (codes.features < end)
    return Entries(codes.rows[there], codes.features[there], codes.values[there], codes.n)


def total(error: Tensor) -> Tensor:
    return error.square().sum(-1).mean()


class Outcome(NamedTuple):
    loss: Tensor
    # whether each feature is in a code
    fired: Tensor
    # target - reconstruction, of the whole dictionary
    error: Tensor


def outcome(kind: dict[str, Any], weights: list[Tensor], x: Tensor, target: Tensor) -> Outcome:
    """What training makes small. `kind["dead"]` are features that the auxiliary loss is for."""
    encoder, decoder, bias, *extras = weights
    name, transcoder = kind["kind"], kind["transcoder"]
    h = functional.linear(x if transcoder else x - bias, encoder)
    if name == "gated":
        gate, log_gains, magnitude = extras
        opening = h + gate
        codes = functional.relu(h * log_gains.exp() + magnitude) * (opening > 0)
        opened = functional.relu(opening)
        through_gate = opened @ decoder.detach() + bias.detach()
        sparsity = kind["penalty"] * opened.sum(-1).mean()
        error = target - codes @ decoder - bias
        return Outcome(total(error) + sparsity + total(target - through_gate), codes.any(0), error)
    if extras:
        h = h + extras[0]
    if name == "standard":
        codes = functional.relu(h)
        error = target - codes @ decoder - bias
        sparsity = kind["penalty"] * codes.sum(-1).mean()
        return Outcome(total(error) + sparsity, codes.any(0), error)
    if name == "jump_relu":
        threshold, bandwidth = extras[1].exp(), kind["bandwidth"]
        codes = Jump.apply(h, threshold, bandwidth)
        count = Step.apply(h, threshold, bandwidth).sum(-1).mean()
        error = target - codes @ decoder - bias
        return Outcome(total(error) + kind["penalty"] * count, codes.any(0), error)
    kept = largest(h, kind["k"], kind["relu"], together=name != "top_k")
    ends = [*kind["prefixes"], len(decoder)]
    error, start, totals = target - bias, 0, []
    for end in ends:
        # Each dictionary adds what it has beyond the one before.
        error = error - sums(kept if len(ends) == 1 else within(kept, start, end), decoder)
        totals.append(total(error))
        start = end
    result = torch.stack(totals).sum()
    if len(kind["dead"]) > 0:
        dead = torch.as_tensor(kind["dead"])
        revived = largest(h[:, dead], min(kind["auxiliary_k"], len(dead)), kind["relu"])
        rest = error.detach() - sums(revived, decoder[dead])
        result = result + kind["auxiliary"] * total(rest)
    fired = torch.zeros(len(decoder), dtype=torch.bool)
    fired[kept.features[kept.values != 0]] = True
    return Outcome(result, fired, error)
