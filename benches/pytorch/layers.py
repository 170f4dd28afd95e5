"""What a multi-layer sparse autoencoder finds over a text, computed the original's way.

Activations are [layers, windows, length, d]: of a random model's residual stream, or random ones
where the shape is large and only the autoencoder is of interest.
"""

from __future__ import annotations

import json
import sqlite3

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytorch.language import Decoder, Text
from pytorch.protocol import Sizes

# Tokens of an example's window before the peak, and from it on.
WINDOW = 4
# What an activation must be above to be an example.
THRESHOLD = 1e-3
# Batches after which all but the best examples are deleted.
DELETE_EVERY = 10
SCHEMA = (
    "create table examples (id integer primary key, latent integer, layer integer,"
    " token_id integer, token text, act real, token_ids text, tokens text, acts text)"
)
INSERT = (
    "insert into examples (latent, layer, token_id, token, act, token_ids, tokens, acts)"
    " values (?, ?, ?, ?, ?, ?, ?, ?)"
)
DELETE = (
    "delete from examples where id in (select id from (select id, row_number() over"
    " (partition by latent, layer order by act desc) as place from examples) where place > ?)"
)


def database() -> sqlite3.Connection:
    """An empty table of examples in a file of SQLite's, which goes with the process."""
    connection = sqlite3.connect("")
    connection.execute(SCHEMA)
    return connection


class MultiLayer(nn.Module):
    """Top-k codes of standardised activations, and their sums of decoder columns.

    Decoding is a product of a sparse matrix, as the original does it on the CPU."""

    def __init__(self, sizes: Sizes, of: str) -> None:
        super().__init__()
        self.latents, self.k = sizes[f"{of}_latents"], sizes[f"{of}_k"]
        directions = torch.randn(self.latents, sizes[f"{of}_width"])
        directions = functional.normalize(directions, dim=-1)
        self.encoder = nn.Parameter(directions)
        # The decoder's columns, one after the other in memory.
        self.columns = nn.Parameter(directions.clone())
        self.bias = nn.Parameter(torch.zeros(sizes[f"{of}_width"]))

    def standardised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """With the means and standard deviations that undo it."""
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return (x - mean) / (std + 1e-5), mean, std

    def before_top_k(self, z: Tensor) -> Tensor:
        return functional.linear(z - self.bias, self.encoder)

    def chosen(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The k largest values before the ReLU, and their latents."""
        values, indices = self.before_top_k(self.standardised(x)[0]).topk(self.k, sorted=False)
        return values, indices

    def decoded(self, values: Tensor, indices: Tensor) -> Tensor:
        """Codes [..., k] times the decoder."""
        *shape, k = values.shape
        rows = torch.arange(values.numel() // k).repeat_interleave(k)
        places = torch.stack((rows, indices.flatten()))
        size = (values.numel() // k, self.latents)
        codes = torch.sparse_coo_tensor(places, values.flatten(), size).coalesce()
        return torch.sparse.mm(codes, self.columns).view(*shape, -1) + self.bias

    def forward(self, x: Tensor) -> Tensor:
        z, mean, std = self.standardised(x)
        values, indices = self.before_top_k(z).topk(self.k, sorted=False)
        return self.decoded(values.relu(), indices) * std + mean


class Activations:
    """Of a random model's layers, from text, or the same random ones each time."""

    def __init__(self, sizes: Sizes, of: str, windows: int) -> None:
        self.windows, self.layers = windows, sizes[f"{of}_layers"]
        if of == "wide":
            self.text = self.model = None
            shape = (self.layers, windows, sizes["length"], sizes[f"{of}_width"])
            self.given = torch.randn(shape)
        else:
            self.model, self.text = Decoder(sizes), Text(sizes)

    @torch.no_grad()
    def next(self) -> Tensor:
        if self.model is None:
            return self.given
        tokens = self.text.draw(self.windows)
        return torch.stack(self.model.layers_from(0, self.model.embed(tokens)))


class Survey:
    """An autoencoder at all layers of what is given."""

    def __init__(self, sizes: Sizes, of: str) -> None:
        self.source = Activations(sizes, of, sizes[f"{of}_windows"])
        self.autoencoder = MultiLayer(sizes, of)
        self.layers, self.latents = self.source.layers, self.autoencoder.latents

    def entries(self) -> tuple[Tensor, Tensor]:
        """Values and latents, [layers, tokens, k]."""
        values, indices = self.autoencoder.chosen(self.source.next())
        return values.flatten(1, 2), indices.flatten(1, 2)

    def dense(self) -> Tensor:
        """Codes with their zeros, [layers, tokens, latents]."""
        values, indices = self.entries()
        codes = torch.zeros(*values.shape[:-1], self.latents)
        return codes.scatter_(-1, indices, values)


class Distributions(Survey):
    """Counts and totals of every latent at every layer."""

    def __init__(self, sizes: Sizes, of: str) -> None:
        super().__init__(sizes, of)
        self.counts = torch.zeros(self.layers, self.latents)
        self.totals = torch.zeros(self.layers, self.latents)

    @torch.inference_mode()
    def __call__(self) -> None:
        values, indices = self.entries()
        places = indices + torch.arange(self.layers)[:, None, None] * self.latents
        self.counts.put_(places, torch.ones_like(values), accumulate=True)
        self.totals.put_(places, values, accumulate=True)


class Variances(Survey):
    """The original's three variances over layers, of codes with their zeros."""

    def over_layers(self, shares: Tensor) -> Tensor:
        """Of shares [layers, ...]."""
        layer = torch.arange(self.layers).view(-1, *[1] * (shares.dim() - 1))
        return (layer.square() * shares).sum(0) - (layer * shares).sum(0).square()

    @torch.inference_mode()
    def __call__(self) -> None:
        codes = self.dense()
        shares = (codes / codes.sum(0)).nan_to_num(0.0, 0.0, 0.0)
        within_tokens = self.over_layers(shares).mean().item()
        within_latents = self.over_layers(shares.mean(1)).mean().item()
        total = self.over_layers(shares.mean((1, 2))).item()
        self.ratios = within_latents / total, within_tokens / within_latents


class Examples(Survey):
    """A row of a table for every value that counts; now and then all but the best are deleted."""

    def __init__(self, sizes: Sizes, of: str) -> None:
        super().__init__(sizes, of)
        self.kept, self.batches = sizes["examples"], 0
        tokens = self.source.windows * sizes["length"]
        self.ids = torch.randint(sizes["vocab"], (tokens,)).tolist()
        self.words = [f" word{token}" for token in self.ids]
        self.database = database()

    @torch.inference_mode()
    def __call__(self) -> None:
        codes = self.dense().half()
        rows = []
        for layer, token, latent in (codes > THRESHOLD).nonzero().tolist():
            window = slice(max(token - WINDOW, 0), token + WINDOW)
            acts = codes[layer, window, latent].tolist()
            lists = self.ids[window], self.words[window], acts
            peak = self.ids[token], self.words[token], codes[layer, token, latent].item()
            rows.append((latent, layer, *peak, *map(json.dumps, lists)))
        self.database.executemany(INSERT, rows)
        self.batches += 1
        if self.batches % DELETE_EVERY == 0:
            self.database.execute(DELETE, (self.kept,))
        self.database.commit()


class Evaluation(Survey):
    """Errors of every layer, and the model's losses with each reconstruction in its place."""

    def __init__(self, sizes: Sizes, of: str) -> None:
        super().__init__(sizes, of)
        self.tokens = self.source.text.draw(self.source.windows)
        self.rows: list[list[float]] = []

    @torch.inference_mode()
    def __call__(self) -> None:
        model = self.source.model
        streams = model.layers_from(0, model.embed(self.tokens))
        made = self.autoencoder(torch.stack(streams))
        logits = model.logits(streams[-1])
        loss, usual = self.loss(logits), logits.log_softmax(-1)
        for layer, (x, own) in enumerate(zip(streams, made, strict=True)):
            error = (x - own).square()
            fvu = error.mean() / x.var()
            patched = model.logits([own, *model.layers_from(layer + 1, own)][-1])
            changed = patched.log_softmax(-1)
            divergence = functional.kl_div(changed, usual, reduction="sum", log_target=True)
            added = self.loss(patched) - loss
            self.rows.append([part.item() for part in (error.mean(), fvu, added, divergence)])

    def loss(self, logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits[:, :-1].flatten(0, 1), self.tokens[:, 1:].flatten())
