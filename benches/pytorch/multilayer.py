"""Training a multi-layer sparse autoencoder the original's way, directions of its latents, and
looking up examples."""

from __future__ import annotations

import functools
import random

import torch
from torch.nn import functional

from pytorch.layers import (
    INSERT,
    Activations,
    Distributions,
    Evaluation,
    Examples,
    MultiLayer,
    Variances,
    database,
)
from pytorch.protocol import Sizes, Work

# Of the original's training.
AUXILIARY, ALIVE_ABOVE, DEAD_AFTER = 1 / 32, 1e-3, 76
# Columns whose cosines with all others are held at a time.
CHUNK = 1024
# Bins of differences of mean layers and of cosines, and the range of the latter.
BINS, COSINES = [64, 512], (-0.25, 0.25)


class Training:
    """Steps on neighbouring activations of all layers.

    The loss is each layer's share of unexplained variance, plus what dead latents leave of the
    errors: their largest values are sought among all latents in each step, dead or not. Then the
    decoder's columns get length one, and the gradient loses its part along them."""

    def __init__(self, sizes: Sizes, of: str) -> None:
        # As many activations as our batch has.
        self.source = Activations(sizes, of, sizes[f"{of}_step_windows"])
        self.autoencoder = MultiLayer(sizes, of)
        self.auxiliary_k = sizes[f"{of}_auxiliary_k"]
        self.optimiser = torch.optim.Adam(
            self.autoencoder.parameters(), lr=1e-4, eps=6.25e-10, fused=True
        )
        self.silent_for = torch.zeros(self.autoencoder.latents, dtype=torch.long)
        self.rows: list[float] = []

    def __call__(self) -> None:
        own, x = self.autoencoder, self.source.next()
        z, mean, std = own.standardised(x)
        h = own.before_top_k(z)
        values, indices = h.topk(own.k, sorted=False)
        error = x - (own.decoded(values.relu(), indices) * std + mean)
        self.silent_for += 1
        self.silent_for[indices[values > ALIVE_ABOVE]] = 0
        of_dead = (h * (self.silent_for >= DEAD_AFTER)).topk(self.auxiliary_k, sorted=False)
        rest = error - own.decoded(of_dead.values.relu(), of_dead.indices)
        unexplained = error.square().flatten(1).mean(-1) / x.flatten(1).var(-1)
        spread = (error - error.mean(-1, keepdim=True)).square().mean()
        loss = unexplained.mean() + AUXILIARY * (rest.square().mean() / spread).nan_to_num()
        loss.backward()
        with torch.no_grad():
            own.columns /= own.columns.norm(dim=-1, keepdim=True)
            along = (own.columns.grad * own.columns).sum(-1, keepdim=True)
            own.columns.grad -= along * own.columns
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.rows.append(loss.item())


class LookUp:
    """The best examples of a latent at a layer, from a table without an index."""

    def __init__(self, sizes: Sizes) -> None:
        self.layers, self.latents = sizes["lookup_layers"], sizes["lookup_latents"]
        self.database = database()
        # As much text as the windows of real rows have.
        lists = str([40_000] * 8), str([" word"] * 8), str([0.125] * 8)
        self.database.executemany(
            INSERT,
            (
                (latent, layer, 40_000, " word", random.random(), *lists)
                for _ in range(sizes["examples"])
                for layer in range(self.layers)
                for latent in range(self.latents)
            ),
        )
        self.database.commit()

    def __call__(self) -> None:
        asked = random.randrange(self.layers), random.randrange(self.latents)
        query = "select * from examples where layer = ? and latent = ? order by act desc"
        self.database.execute(query, asked).fetchall()


class MaxCosines:
    """The largest cosine of every direction with another one, some directions at a time."""

    def __init__(self, sizes: Sizes) -> None:
        self.directions = torch.randn(sizes["mmcs_latents"], sizes["wide_width"])

    @torch.inference_mode()
    def __call__(self) -> None:
        unit, found = functional.normalize(self.directions, dim=-1), []
        for start in range(0, len(unit), CHUNK):
            cosines = unit[start : start + CHUNK] @ unit.T
            rows = torch.arange(len(cosines))
            cosines[rows, rows + start] = -1.0
            found.append(cosines.amax(-1))
        torch.cat(found).mean().item()


class CosinesByLayer:
    """Pairs of directions by their cosine and the distance of their mean layers."""

    def __init__(self, sizes: Sizes) -> None:
        self.directions = torch.randn(sizes["cosines_latents"], sizes["wide_width"])
        self.last = float(sizes["wide_layers"] - 1)
        self.mean_layers = torch.rand(len(self.directions)) * self.last

    @torch.inference_mode()
    def __call__(self) -> None:
        layers, order = self.mean_layers.sort(descending=True)
        unit = functional.normalize(self.directions[order], dim=-1)
        cosines, apart = unit @ unit.T, layers[:, None] - layers
        rows, columns = torch.triu_indices(len(unit), len(unit), 1)
        pairs = torch.stack((apart[rows, columns], cosines[rows, columns]), dim=-1)
        torch.histogramdd(pairs, BINS, range=[0.0, self.last, *COSINES])


ON_CLASSICS = {"training": Training, "distributions": Distributions, "evaluation": Evaluation}
ON_WIDE = {
    "training": Training,
    "distributions": Distributions,
    "variances": Variances,
    "examples": Examples,
}
WORKS: dict[str, Work] = {
    f"layers-{name}-{of}": functools.partial(work, of=of)
    for of, works in (("classics", ON_CLASSICS), ("wide", ON_WIDE))
    for name, work in works.items()
}
WORKS["layers-lookup"] = LookUp
WORKS["layers-mmcs"] = MaxCosines
WORKS["layers-cosines"] = CosinesByLayer
