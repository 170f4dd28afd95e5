"""Interventions on a circle by a loop over changes, and probes of other orders one by one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pytorch.language import Decoder
from pytorch.protocol import Sizes, Work

# Principal components that a probe reads.
COMPONENTS = 5


def circle(places: Tensor, words: int) -> Tensor:
    angles = places * (2 * math.pi / words)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


class Plane:
    """The directions in which a probe of principal components reads a circle."""

    def __init__(self, x: Tensor, classes: Tensor, words: int) -> None:
        self.mean = x.mean(0)
        centred = x - self.mean
        self.components = torch.linalg.svd(centred, full_matrices=False).Vh[:COMPONENTS]
        self.scores = centred @ self.components.T
        solution = torch.linalg.lstsq(self.scores, circle(classes, words)).solution
        self.basis, triangle = torch.linalg.qr(self.components.T @ solution)
        # Takes a place on the circle to the plane.
        self.place = torch.linalg.inv(triangle) @ self.basis.T


class Interventions:
    """The study's seven runs for each change at each layer, a whole pass of the model each."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes, self.model = sizes, Decoder(sizes)
        words, steps = sizes["words"], sizes["problems"] // sizes["words"]
        shape = (sizes["problems"], sizes["prompt"])
        self.tokens = torch.randint(sizes["vocab"], shape)
        self.classes = torch.arange(words).repeat_interleave(steps)
        self.targets = circle(torch.arange(words), words)
        self.position = sizes["prompt"] - 2
        self.rows: list[list[float]] = []
        self.at = 0
        with torch.inference_mode():
            x = self.model.embed(self.tokens)
            streams = [x, *self.model.layers_from(0, x)][:-1]
            self.streams = [stream[:, self.position] for stream in streams]
            self.planes = [Plane(stream, self.classes, words) for stream in self.streams]

    @torch.inference_mode()
    def __call__(self) -> None:
        words, layers = self.sizes["words"], self.sizes["layers"]
        problems = self.sizes["problems"]
        for _ in range(self.sizes["changes"]):
            layer, problem = self.at % layers, self.at // layers % problems
            change = 1 + self.at // (layers * problems) % (words - 1)
            self.at += 1
            word = int(self.classes[problem])
            asked = (word + change) % words
            # The problem with the same step that starts at the word asked for.
            steps = problems // words
            source = asked * steps + problem % steps
            vectors = self.vectors(layer, problem, source, asked)
            self.rows.append([self.score(layer, problem, own, word, asked) for own in vectors])

    def vectors(self, layer: int, problem: int, source: int, asked: int) -> list[Tensor]:
        """What takes the place of the stream: nothing else, the source's, the circle's place, the
        source's components, the mean, the stream without the plane, and in it alone."""
        x, theirs = self.streams[layer][problem], self.streams[layer][source]
        own = self.planes[layer]
        turned = own.mean + self.targets[asked] @ own.place
        components = x + (theirs - x) @ own.components.T @ own.components
        within = (x - own.mean) @ own.basis @ own.basis.T
        return [x, theirs, turned, components, own.mean, x - within, own.mean + within]

    def score(self, layer: int, problem: int, vector: Tensor, word: int, asked: int) -> float:
        model, x = self.model, self.model.embed(self.tokens[problem : problem + 1])
        angles = model.angles[:, : x.shape[1]]
        for i, block in enumerate(model.blocks):
            if i == layer:
                x[0, self.position] = vector
            x = block(x, angles)
        # The words are the first tokens.
        logits = model.logits(x)[0, -1, : self.sizes["words"]]
        return (logits[word] - logits[asked]).item()


class Orders:
    """R² of probes of a circle, each with the words in another order."""

    def __init__(self, sizes: Sizes) -> None:
        self.words, self.count = sizes["words"], sizes["orders"]
        self.classes = torch.arange(self.words).repeat_interleave(sizes["problems"] // self.words)
        x = torch.randn(sizes["problems"], sizes["d_model"])
        self.scores = Plane(x, self.classes, self.words).scores

    @torch.inference_mode()
    def __call__(self) -> None:
        found = []
        for _ in range(self.count):
            targets = circle(torch.randperm(self.words)[self.classes], self.words)
            targets = targets - targets.mean(0)
            solution = torch.linalg.lstsq(self.scores, targets).solution
            rest = (targets - self.scores @ solution).square().sum()
            found.append((1 - rest / targets.square().sum()).item())


WORKS: dict[str, Work] = {"interventions": Interventions, "orders": Orders}
