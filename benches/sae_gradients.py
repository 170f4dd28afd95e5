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

from pytorch.losses import outcome

ROWS, WIDTH, OUT, FEATURES = 7, 5, 4, 24


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
        result = outcome(kind, weights, x, target if to else x).loss
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
