"""Losses and gradients of every kind of sparse autoencoder, by PyTorch's autograd in float64.

    python benches/sae_gradients.py > tests/fixtures/sae_gradients.json

The tests of src/sae/fit hold their own against that file. All kinds share activations x [n, d],
targets [n, d_out], encoder [m, d], decoder [m, d_out] with rows of length one, and bias [d_out].
"extras" are the weights with an entry a feature: nothing or the encoder's bias; that and the
logarithm of the thresholds; or a gate's bias, log gains and magnitudes. "gradients" are those of
encoder, decoder, bias and extras. Sizes are such that some codes are sparse and some are not.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ROWS, WIDTH, OUT, FEATURES = 7, 5, 4, 24


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
    values, indices = h.topk(k, dim=-1)
    return torch.zeros_like(h).scatter(-1, indices, values)


def total(error: Tensor) -> Tensor:
    return error.square().sum(-1).mean()


def loss(kind: dict[str, Any], weights: list[Tensor], x: Tensor, target: Tensor) -> Tensor:
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
        return total(target - codes @ decoder - bias) + sparsity + total(target - through_gate)
    if extras:
        h = h + extras[0]
    if name == "standard":
        codes = functional.relu(h)
        return total(target - codes @ decoder - bias) + kind["penalty"] * codes.sum(-1).mean()
    if name == "jump_relu":
        threshold, bandwidth = extras[1].exp(), kind["bandwidth"]
        codes = Jump.apply(h, threshold, bandwidth)
        count = Step.apply(h, threshold, bandwidth).sum(-1).mean()
        return total(target - codes @ decoder - bias) + kind["penalty"] * count
    if name == "top_k":
        codes = keep(h, kind["k"])
        codes = functional.relu(codes) if kind["relu"] else codes
    else:
        codes = keep(functional.relu(h).flatten(), kind["k"] * len(h)).view_as(h)
    ends = [*kind["prefixes"], FEATURES]
    errors = [target - codes[:, :end] @ decoder[:end] - bias for end in ends]
    result = torch.stack([total(error) for error in errors]).sum()
    if kind["dead"]:
        dead = torch.tensor(kind["dead"])
        revived = keep(h[:, dead], min(kind["auxiliary_k"], len(dead)))
        revived = functional.relu(revived) if kind["relu"] else revived
        result = result + kind["auxiliary"] * total(errors[-1].detach() - revived @ decoder[dead])
    return result


def kinds() -> list[dict[str, Any]]:
    usual: dict[str, Any] = {
        "transcoder": False, "k": 3, "relu": True, "penalty": 0.0, "bandwidth": 0.0,
        "prefixes": [], "dead": [], "auxiliary": 0.5, "auxiliary_k": 2,
    }  # fmt: skip
    dead = {"dead": [1, 4, 9, 17, 20]}
    return [
        usual | kind
        for kind in [
            {"kind": "standard", "penalty": 0.3, "shift": 0.0},
            {"kind": "standard", "penalty": 0.3, "shift": -1.6},
            {"kind": "standard", "penalty": 0.3, "shift": -1.6, "transcoder": True},
            {"kind": "top_k"},
            {"kind": "top_k", **dead},
            {"kind": "top_k", "k": 7, "relu": False, **dead},
            {"kind": "top_k", "shift": 0.1, "transcoder": True, **dead},
            {"kind": "batch_top_k", "k": 2, "shift": 0.1, **dead},
            {"kind": "jump_relu", "penalty": 0.2, "bandwidth": 0.9, "shift": 0.1},
            {"kind": "jump_relu", "penalty": 0.2, "bandwidth": 0.2, "shift": -1.5},
            {"kind": "gated", "penalty": 0.3, "shift": 0.0},
            {"kind": "gated", "penalty": 0.3, "shift": -1.6},
            {"kind": "matryoshka", "k": 2, "prefixes": [5, 12], "shift": 0.1, **dead},
            {"kind": "matryoshka", "k": 6, "prefixes": [12], "shift": 0.1, **dead},
        ]
    ]


def main() -> None:
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)

    def single(tensor: Tensor) -> Tensor:
        """Numbers that f32 holds exactly, in few digits."""
        return (tensor * 1024).round() / 1024

    x, target = single(torch.randn(ROWS, WIDTH) + 0.3), single(torch.randn(ROWS, OUT) - 0.2)
    encoder = single(torch.randn(FEATURES, WIDTH))
    decoders = [single(functional.normalize(torch.randn(FEATURES, to))) for to in (WIDTH, OUT)]
    biases = [single(0.3 * torch.randn(to)) for to in (WIDTH, OUT)]
    cases = []
    for kind in kinds():
        to = int(kind["transcoder"])
        count = {"jump_relu": 2, "gated": 3}.get(kind["kind"], int("shift" in kind))
        extras = [single(0.3 * torch.randn(FEATURES)) for _ in range(count)]
        for at, extra in enumerate(extras):
            if at == 0 or (at == 2 and kind["kind"] == "gated"):
                extra += single(torch.tensor(kind["shift"]))
        if kind["kind"] == "jump_relu":
            extras[1] -= 0.5
        weights = [encoder, decoders[to], biases[to], *extras]
        weights = [weight.clone().requires_grad_() for weight in weights]
        result = loss(kind, weights, x, target if to else x)
        gradients = torch.autograd.grad(result, weights)
        kind.pop("shift", None)
        cases.append(
            kind
            | {
                "extras": [extra.tolist() for extra in extras],
                "loss": round(result.item(), 9),
                "gradients": [
                    [round(entry, 8) for entry in gradient.flatten().tolist()]
                    for gradient in gradients
                ],
            }
        )
    shared = {
        "made_by": "python benches/sae_gradients.py > tests/fixtures/sae_gradients.json",
        "torch": torch.__version__,
        "x": x.flatten().tolist(),
        "target": target.flatten().tolist(),
        "encoder": encoder.flatten().tolist(),
        "decoders": [decoder.flatten().tolist() for decoder in decoders],
        "biases": [bias.tolist() for bias in biases],
    }
    print(json.dumps(shared | {"cases": cases}))


if __name__ == "__main__":
    main()
