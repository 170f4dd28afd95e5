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


def keep(h: Tensor, k: int) -> Tensor:
    values, indices = h.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(h).scatter(-1, indices, values)


def total(error: Tensor) -> Tensor:
    return error.square().sum(-1).mean()


class Outcome(NamedTuple):
    loss: Tensor
    codes: Tensor
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
        return Outcome(total(error) + sparsity + total(target - through_gate), codes, error)
    if extras:
        h = h + extras[0]
    if name == "standard":
        codes = functional.relu(h)
        error = target - codes @ decoder - bias
        return Outcome(total(error) + kind["penalty"] * codes.sum(-1).mean(), codes, error)
    if name == "jump_relu":
        threshold, bandwidth = extras[1].exp(), kind["bandwidth"]
        codes = Jump.apply(h, threshold, bandwidth)
        count = Step.apply(h, threshold, bandwidth).sum(-1).mean()
        error = target - codes @ decoder - bias
        return Outcome(total(error) + kind["penalty"] * count, codes, error)
    if name == "top_k":
        codes = keep(h, kind["k"])
        codes = functional.relu(codes) if kind["relu"] else codes
    else:
        codes = keep(functional.relu(h).flatten(), kind["k"] * len(h)).view_as(h)
    error, start, totals = target - bias, 0, []
    for end in [*kind["prefixes"], len(decoder)]:
        # Each dictionary adds what it has beyond the one before.
        error = error - codes[:, start:end] @ decoder[start:end]
        totals.append(total(error))
        start = end
    result = torch.stack(totals).sum()
    if len(kind["dead"]) > 0:
        dead = torch.as_tensor(kind["dead"])
        revived = keep(h[:, dead], min(kind["auxiliary_k"], len(dead)))
        # Only signed codes have negative entries.
        revived = functional.relu(revived) if kind["relu"] else revived
        result = result + kind["auxiliary"] * total(error.detach() - revived @ decoder[dead])
    return Outcome(result, codes, error)
