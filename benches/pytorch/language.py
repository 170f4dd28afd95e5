"""A bilinear transformer: reading, writing and training it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytorch.protocol import Sizes, Work


def norm(x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], eps=1e-8)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary embedding: entries i and i + half of a head turn together."""
    cos, sin = angles
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, left * sin + right * cos), dim=-1)


class Block(nn.Module):
    """x + A(norm x) / sqrt(2 layers) = y, y + P((L norm y) * (R norm y)); A is attention."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d, hidden = sizes["d_model"], sizes["d_hidden"]
        self.heads, self.scale = sizes["heads"], (2 * sizes["layers"]) ** -0.5
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.attention_out = nn.Linear(d, d, bias=False)
        self.bilinear = nn.Linear(d, 2 * hidden, bias=False)
        self.mlp_out = nn.Linear(hidden, d, bias=False)

    def attention(self, x: Tensor, angles: Tensor, seen: int, past: Tensor | None) -> Tensor:
        batch, positions, d = x.shape
        qkv = self.qkv(x).view(batch, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        (q, k), v = turned(qkv[:2], angles), qkv[2]
        if past is not None:
            past[:, :, :, seen : seen + positions] = torch.stack((k, v))
            k, v = past[:, :, :, : seen + positions]
        z = functional.scaled_dot_product_attention(q, k, v, is_causal=positions > 1)
        return self.attention_out(z.transpose(1, 2).reshape(batch, positions, d))

    def mlp(self, x: Tensor) -> Tensor:
        """What the MLP makes of normalised x."""
        left, right = self.bilinear(x).chunk(2, dim=-1)
        return self.mlp_out(left * right)

    def middle(
        self, x: Tensor, angles: Tensor, seen: int = 0, past: Tensor | None = None
    ) -> Tensor:
        return x + self.scale * self.attention(norm(x), angles, seen, past)

    def forward(
        self, x: Tensor, angles: Tensor, seen: int = 0, past: Tensor | None = None
    ) -> Tensor:
        x = self.middle(x, angles, seen, past)
        return x + self.mlp(norm(x))


class Decoder(nn.Module):
    """A bilinear transformer."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d, half = sizes["d_model"], sizes["d_model"] // sizes["heads"] // 2
        self.embed = nn.Embedding(sizes["vocab"], d)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes["layers"]))
        self.unembed = nn.Linear(d, sizes["vocab"], bias=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02)
        turns = torch.outer(torch.arange(sizes["context"]), 10_000 ** -(torch.arange(half) / half))
        self.angles = torch.stack((turns.cos(), turns.sin()))

    def stream(self, tokens: Tensor, seen: int = 0, past: Tensor | None = None) -> Tensor:
        """The residual stream after all layers, for tokens that follow those in `past`."""
        x = self.embed(tokens)
        angles = self.angles[:, seen : seen + tokens.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block(x, angles, seen, None if past is None else past[i])
        return x

    def layers_from(self, first: int, x: Tensor) -> list[Tensor]:
        """The residual stream after each layer from `first` on, which gets x."""
        angles, streams = self.angles[:, : x.shape[1]], []
        for block in self.blocks[first:]:
            x = block(x, angles)
            streams.append(x)
        return streams

    def around_mlp(self, layer: int, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer's MLP reads and writes."""
        x = self.embed(tokens)
        angles = self.angles[:, : tokens.shape[1]]
        for block in self.blocks[:layer]:
            x = block(x, angles)
        read = norm(self.blocks[layer].middle(x, angles))
        return read, self.blocks[layer].mlp(read)

    def logits(self, stream: Tensor) -> Tensor:
        return self.unembed(norm(stream))


class Text:
    """Random tokens, to draw windows from."""

    def __init__(self, sizes: Sizes) -> None:
        self.windows = torch.randint(sizes["vocab"], (sizes["text"],)).unfold(0, sizes["length"], 1)

    def draw(self, count: int) -> Tensor:
        return self.windows[torch.randint(len(self.windows), (count,))]


class Prefill:
    """Logits of windows of text."""

    def __init__(self, sizes: Sizes) -> None:
        self.model, self.tokens = Decoder(sizes), Text(sizes).draw(sizes["prefill"])

    @torch.inference_mode()
    def __call__(self) -> None:
        self.model.logits(self.model.stream(self.tokens))


class Generation:
    """Texts that go on from one prompt."""

    def __init__(self, sizes: Sizes) -> None:
        self.model, self.new = Decoder(sizes), sizes["new"]
        self.prompt = torch.randint(sizes["vocab"], (1, sizes["prompt"]))
        heads, d_head = sizes["heads"], sizes["d_model"] // sizes["heads"]
        self.past = torch.empty(sizes["layers"], 2, 1, heads, sizes["context"], d_head)
        self.rows: list[list[int]] = []

    @torch.inference_mode()
    def __call__(self) -> None:
        tokens, seen, row = self.prompt, 0, []
        for _ in range(self.new):
            stream = self.model.stream(tokens, seen, self.past)
            seen += tokens.shape[1]
            tokens = self.model.logits(stream[:, -1]).softmax(-1).multinomial(1)
            row.append(int(tokens.item()))
        self.rows.append(row)


class LanguageTraining:
    """Steps of training, each with its loss."""

    def __init__(self, sizes: Sizes) -> None:
        self.model, self.text, self.batch = Decoder(sizes), Text(sizes), sizes["batch"]
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
        )
        self.rows: list[float] = []

    def __call__(self) -> None:
        tokens = self.text.draw(self.batch)
        logits = self.model.logits(self.model.stream(tokens)[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.rows.append(loss.item())


WORKS: dict[str, Work] = {
    "prefill": Prefill,
    "generation": Generation,
    "language": LanguageTraining,
}
