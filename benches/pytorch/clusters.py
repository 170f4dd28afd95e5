"""The search of features by PyTorch, SciPy and scikit-learn: neighbours, clusters, occurrences."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pytorch.protocol import Sizes, Work

# Numbers of neighbours that the graphs of the study have.
KS = (2, 3, 4)


def dictionary(sizes: Sizes, count: int) -> Tensor:
    """Directions, the first of them in groups."""
    groups, each = sizes["cluster_groups"], sizes["cluster_each"]
    centres = torch.randn(groups, sizes["cluster_width"]).repeat_interleave(each, 0)[:count]
    own = centres + 0.7 * torch.randn_like(centres)
    rest = torch.randn(count - len(own), sizes["cluster_width"])
    return torch.cat((own, rest))


def square(vectors: Tensor) -> Tensor:
    """The cosines of all pairs, 0 of a vector with itself."""
    unit = functional.normalize(vectors, dim=-1)
    return (unit @ unit.T).fill_diagonal_(0.0)


class Neighbours:
    """The largest cosines of every vector, from those of all pairs."""

    def __init__(self, sizes: Sizes) -> None:
        self.vectors = dictionary(sizes, sizes["cluster_vectors"])

    @torch.inference_mode()
    def __call__(self) -> None:
        square(self.vectors).topk(KS[-1])


class Graphs:
    """How well a planted group is found among the connected parts of graphs of neighbours, whose
    lists are there already."""

    def __init__(self, sizes: Sizes) -> None:
        near = square(dictionary(sizes, sizes["cluster_vectors"])).topk(KS[-1])
        self.cosines, self.others = near
        self.each = sizes["cluster_each"]
        self.cutoffs = [*(10 ** (i / 19 - 1) for i in range(20)), 0.5]

    @torch.inference_mode()
    def __call__(self) -> None:
        for cutoff in self.cutoffs:
            for k in KS:
                self.jaccard(k, cutoff)

    def jaccard(self, k: int, cutoff: float) -> float:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        rows, places = (self.cosines[:, :k] > cutoff).nonzero(as_tuple=True)
        ends = rows.numpy(), self.others[rows, places].numpy()
        count = len(self.cosines)
        graph = coo_array(([True] * len(rows), ends), shape=(count, count))
        labels = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
        sizes = labels.bincount()
        both = labels[: self.each].bincount(minlength=len(sizes))
        return (both / (sizes + self.each - both)).max().item()


class Spectral:
    """scikit-learn's spectral clusters of the matrix of angles; k-means has one start, as ours."""

    def __init__(self, sizes: Sizes) -> None:
        self.vectors = dictionary(sizes, sizes["spectral_vectors"])
        self.clusters = sizes["spectral_clusters"]

    @torch.inference_mode()
    def __call__(self) -> None:
        from sklearn.cluster import SpectralClustering

        affinity = 1 - square(self.vectors).clamp(-1, 1).arccos() / math.pi
        SpectralClustering(self.clusters, affinity="precomputed", n_init=1).fit(affinity.numpy())


class Occurrences:
    """What a cluster writes at each token where it is active, from all activations of a text."""

    def __init__(self, sizes: Sizes, tokens: str) -> None:
        features, active = sizes["occurrence_features"], sizes["occurrence_active"]
        pitch, count = features // active, sizes[tokens]
        self.features = torch.randint(pitch, (count, active)) + pitch * torch.arange(active)
        self.features = self.features.flatten()
        self.tokens = torch.arange(count).repeat_interleave(active)
        self.values = torch.ones(len(self.features))
        self.members = torch.arange(sizes["cluster_each"])
        self.decoder = torch.randn(features, sizes["cluster_width"])


class AtOnce(Occurrences):
    """By a mask of the activations that count."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes, "occurrence_tokens")

    @torch.inference_mode()
    def __call__(self) -> None:
        there = torch.isin(self.features, self.members)
        written = self.values[there, None] * self.decoder[self.features[there]]
        tokens, place = self.tokens[there].unique_consecutive(return_inverse=True)
        torch.zeros(len(tokens), written.shape[1]).index_add_(0, place, written)


class OneByOne(Occurrences):
    """By a loop, as the study does it."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes, "occurrence_sampled")
        self.arrays = self.features.numpy(), self.tokens.numpy(), self.values.numpy()
        self.wanted = set(self.members.tolist())

    @torch.inference_mode()
    def __call__(self) -> None:
        points: list[Tensor] = []
        tokens: list[int] = []
        for feature, token, value in zip(*self.arrays, strict=True):
            if feature not in self.wanted:
                continue
            if not tokens or tokens[-1] != token:
                tokens.append(token)
                points.append(torch.zeros(self.decoder.shape[1]))
            points[-1] += float(value) * self.decoder[feature]
        torch.stack(points)


WORKS: dict[str, Work] = {
    "neighbours": Neighbours,
    "graphs": Graphs,
    "spectral": Spectral,
    "occurrences": AtOnce,
    "occurrences-loop": OneByOne,
}
