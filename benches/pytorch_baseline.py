"""PyTorch's side of `cargo bench`: the computations of benches/speed, on request.

The arguments are sizes, `NAME=SIZE`. Reads requests from standard input, one a line, `WORK TIMES`,
does the work that often and answers with the seconds it took. WORK is one of

- image: one epoch of a bilinear classifier of images: embedding [hidden, pixels], left and right
  [hidden, hidden], head [classes, hidden], no biases; cross-entropy, AdamW (rate 1e-3, decay 0.5);
  shuffled batches, of which loss and accuracy are averaged; loss and accuracy on the test images;
- image-noise: the same, with Gaussian noise 0.4 on each batch;
- cpd: one Muon step of fitting factors [pixels, rank], [pixels, rank] and [classes, rank] to such a
  model's tensor [classes, pixels, pixels] by cosine similarity, without forming either tensor;
  Newton-Schulz in bfloat16, as in torch.optim.Muon;
- cpd-f32: the same, with Newton-Schulz in f32;
- prefill: the logits of windows of text from a bilinear transformer, without gradients;
- generation: tokens after a prompt from such a model, one by one, with kept keys and values;
- language: one step of training it: windows from anywhere in a text, cross-entropy of the next
  token, gradients shortened to length 1, AdamW (rate 1e-3, beta2 0.95, decay 0.1);
- encoding: top-k codes of activations: a matrix product and topk;
- decoding: what such codes stand for, with embedding_bag: a product of the codes with zeros filled
  in took 30 times as long;
- encoding-batch, decoding-batch: the same for another autoencoder and more activations;
- features: a buffer of such a model's activations, and training an autoencoder on it: top-k codes,
  decoder with columns of length one and no gradient along them, Adam (rate 1e-3); the error's
  share of the variance and the features that fired;
- dictionaries: an epoch of a grid of tied autoencoders (L1 penalties 0.1 and 0.2; as many atoms as
  dimensions, and twice as many) on the same batches, one after another in a loop; atoms of length
  one and no gradient along them, Adam (rate 1e-2);
- scan: the two largest eigenvalues of the symmetrised interaction matrices of output features, in
  f32; matrices by a batched product, which took half as long as einsum;
- mixture: one step of gradient ascent on the soft share of points in a band, by autograd;
- separability: the mutual information of rotated points in 40 x 40 bins, at one angle; counts by
  bincount;
- smollm2-prefill: all logits of a window of tokens, by transformers' Llama of SmolLM2-135M's shape;
- smollm2-decode: tokens after a prompt from it, greedily, with kept keys and values;
- smollm2-load: reading the GGUF file that `eigenlens fetch smollm2` brings.

All is eager; AdamW is the fused one, PyTorch's fastest.
"""

from __future__ import annotations

import gzip
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 10
MNIST = Path(__file__).resolve().parent.parent / "assets/mnist"

Sizes = dict[str, int]
Work = Callable[[], None]


def load(part: str) -> tuple[Tensor, Tensor]:
    def body(name: str, header: int) -> Tensor:
        raw = gzip.decompress((MNIST / f"{part}-{name}-ubyte.gz").read_bytes())
        return torch.frombuffer(bytearray(raw[header:]), dtype=torch.uint8)

    labels = body("labels-idx1", 8).long()
    return body("images-idx3", 16).view(len(labels), -1).float() / 255, labels


class Classifier(nn.Module):
    """logits = D((L E x) * (R E x))."""

    def __init__(self, pixels: int, hidden: int) -> None:
        super().__init__()
        self.embed = nn.Linear(pixels, hidden, bias=False)
        # Left above right: one product instead of two.
        self.bilinear = nn.Linear(hidden, 2 * hidden, bias=False)
        self.head = nn.Linear(hidden, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.bilinear(self.embed(x)).chunk(2, dim=-1)
        return self.head(left * right)


class ImageTraining:
    """Epochs of training, each with its row of metrics."""

    def __init__(self, sizes: Sizes, noise: float) -> None:
        self.train, self.test = load("train"), load("t10k")
        self.batch, self.noise = sizes["batch"], noise
        self.model = Classifier(self.train[0].shape[1], sizes["d_hidden"])
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, weight_decay=0.5, fused=True
        )
        self.rows: list[tuple[float, ...]] = []

    def __call__(self) -> None:
        pixels, labels = self.train
        loss_sum = right = 0.0
        for index in torch.randperm(len(pixels)).split(self.batch):
            x, y = pixels[index], labels[index]
            if self.noise > 0:
                x = x + self.noise * torch.randn_like(x)
            logits = self.model(x)
            loss = functional.cross_entropy(logits, y)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            loss_sum += len(index) * loss.item()
            right += (logits.argmax(-1) == y).sum().item()
        with torch.no_grad():
            logits = self.model(self.test[0])
            loss = functional.cross_entropy(logits, self.test[1]).item()
            accuracy = (logits.argmax(-1) == self.test[1]).float().mean().item()
        self.rows.append((loss_sum / len(pixels), right / len(pixels), loss, accuracy))


def orthogonalised(update: Tensor, dtype: torch.dtype) -> Tensor:
    """Five Newton-Schulz steps towards the nearest semi-orthogonal matrix (Jordan et al., 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = update.shape[0] > update.shape[1]
    x = (update.T if tall else update).to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(update.dtype)


def inner(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """Inner product of the symmetrised tensors of factors l, r, d, each [size, rank]:
    sum of (d^T d') * (l^T l' * r^T r' + l^T r' * r^T l') / 2."""
    (l, r, d), (l2, r2, d2) = one, other
    pairs = (l.T @ l2) * (r.T @ r2) + (l.T @ r2) * (r.T @ l2)
    return 0.5 * ((d.T @ d2) * pairs).sum()


class Decomposition:
    """Muon steps towards the factors of a classifier's tensor."""

    def __init__(self, sizes: Sizes, dtype: torch.dtype) -> None:
        self.dtype = dtype
        pixels = 28 * 28
        with torch.no_grad():
            model = Classifier(pixels, sizes["d_hidden"])
            maps = (model.bilinear.weight @ model.embed.weight).chunk(2)
            self.target = [maps[0].T, maps[1].T, model.head.weight]
            self.norm = inner(self.target, self.target).sqrt()
        self.factors = [
            nn.Parameter(torch.randn(size, sizes["rank"]) / math.sqrt(size))
            for size in (pixels, pixels, CLASSES)
        ]
        self.means = [torch.zeros_like(factor) for factor in self.factors]
        self.rows: list[float] = []

    def __call__(self) -> None:
        length = inner(self.factors, self.factors).sqrt()
        similarity = inner(self.factors, self.target) / (length * self.norm)
        gradients = torch.autograd.grad(1 - similarity, self.factors)
        with torch.no_grad():
            for factor, mean, gradient in zip(self.factors, self.means, gradients, strict=True):
                mean.lerp_(gradient, 0.05)
                rows, columns = factor.shape
                scale = 0.02 * max(1.0, rows / columns) ** 0.5
                factor.mul_(1 - 0.02 * 0.1)
                factor.add_(orthogonalised(gradient.lerp(mean, 0.95), self.dtype), alpha=-scale)
        self.rows.append(similarity.item())


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
        left, right = self.bilinear(norm(x)).chunk(2, dim=-1)
        return self.mlp_out(left * right)

    def middle(
        self, x: Tensor, angles: Tensor, seen: int = 0, past: Tensor | None = None
    ) -> Tensor:
        return x + self.scale * self.attention(norm(x), angles, seen, past)


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
            x = block.middle(x, angles, seen, None if past is None else past[i])
            x = x + block.mlp(x)
        return x

    def mlp_out(self, layer: int, tokens: Tensor) -> Tensor:
        """What a layer's MLP writes."""
        x = self.embed(tokens)
        angles = self.angles[:, : tokens.shape[1]]
        for block in self.blocks[:layer]:
            x = block.middle(x, angles)
            x = x + block.mlp(x)
        return self.blocks[layer].mlp(self.blocks[layer].middle(x, angles))

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


class FeatureTraining:
    """Buffers of activations, in each of which every activation is trained on once."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes, self.model, self.text = sizes, Decoder(sizes), Text(sizes)
        d, features = sizes["d_model"], sizes["fit_features"]
        decoder = torch.randn(d, features)
        decoder /= decoder.norm(dim=0)
        self.encoder, self.decoder = nn.Parameter(decoder.T.contiguous()), nn.Parameter(decoder)
        self.bias = nn.Parameter(self.buffer().mean(0))
        self.optimiser = torch.optim.AdamW(
            [self.encoder, self.decoder, self.bias], lr=1e-3, weight_decay=0.0, fused=True
        )
        self.seen_at = torch.zeros(features)
        self.steps = 0
        self.rows: list[float] = []

    @torch.no_grad()
    def buffer(self) -> Tensor:
        parts: list[Tensor] = []
        while sum(len(part) for part in parts) < self.sizes["fit_buffer"]:
            tokens = self.text.draw(self.sizes["batch"])
            parts.append(self.model.mlp_out(self.sizes["fit_layer"], tokens).flatten(0, 1))
        together = torch.cat(parts)
        return together[torch.randperm(len(together))]

    def step(self, x: Tensor) -> tuple[float, float]:
        dense = functional.linear(x - self.bias, self.encoder)
        values, indices = dense.topk(self.sizes["fit_k"], sorted=False)
        codes = torch.zeros_like(dense).scatter(-1, indices, values)
        reconstruction = functional.linear(codes, self.decoder, self.bias)
        loss = (reconstruction - x).square().sum(-1).mean()
        self.optimiser.zero_grad()
        loss.backward()
        with torch.no_grad():
            along = (self.decoder.grad * self.decoder).sum(0)
            self.decoder.grad -= self.decoder * along
            self.optimiser.step()
            self.decoder /= self.decoder.norm(dim=0)
            self.steps += 1
            self.seen_at[indices.flatten()] = self.steps
            variance = (x - x.mean(0)).square().sum().item()
        return loss.item() * len(x), variance

    def __call__(self) -> None:
        sums = [self.step(x) for x in self.buffer().split(self.sizes["fit_batch"])]
        self.rows.append(sum(error for error, _ in sums) / sum(variance for _, variance in sums))


class Dictionaries:
    """Sparse autoencoders of sparse sums of random directions."""

    def __init__(self, sizes: Sizes) -> None:
        count, features, dims = sizes["toy_samples"], sizes["toy_features"], sizes["toy_dims"]
        truth = functional.normalize(torch.randn(features, dims), dim=-1)
        codes = torch.rand(count, features) * (torch.rand(count, features) < 5 / features)
        self.x, self.batch = codes @ truth, sizes["toy_batch"]
        self.members = [
            (
                nn.Parameter(functional.normalize(torch.randn(size, dims), dim=-1)),
                nn.Parameter(torch.zeros(size)),
                penalty,
            )
            for penalty in (0.1, 0.2)
            for size in (dims, 2 * dims)
        ]
        parameters = [part for atoms, bias, _ in self.members for part in (atoms, bias)]
        self.optimiser = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.0, fused=True)
        self.rows: list[float] = []

    def __call__(self) -> None:
        total = 0.0
        for index in torch.randperm(len(self.x)).split(self.batch):
            x = self.x[index]
            loss = torch.zeros(())
            for atoms, bias, penalty in self.members:
                codes = functional.linear(x, atoms, bias).relu()
                error = codes @ atoms - x
                loss = loss + (error.square().sum() + penalty * codes.sum()) / len(x)
            self.optimiser.zero_grad()
            loss.backward()
            with torch.no_grad():
                for atoms, _, _ in self.members:
                    along = (atoms.grad * atoms).sum(-1, keepdim=True)
                    atoms.grad -= along * atoms
                self.optimiser.step()
                for atoms, _, _ in self.members:
                    atoms /= atoms.norm(dim=-1, keepdim=True)
            total += loss.item() * len(x)
        self.rows.append(total / len(self.x))


class Scan:
    """Sums of the two largest eigenvalues, 32 output features at a time."""

    def __init__(self, sizes: Sizes) -> None:
        d, hidden = sizes["d_model"], sizes["d_hidden"]
        self.left, self.right = torch.randn(hidden, d), torch.randn(hidden, d)
        self.out = torch.randn(d, hidden)
        self.directions = torch.randn(sizes["outputs"], d)
        self.rows: list[list[float]] = []

    @torch.inference_mode()
    def __call__(self) -> None:
        row: list[float] = []
        for directions in self.directions.split(32):
            out = directions @ self.out
            q = (self.left * out[:, :, None]).mT @ self.right
            values = torch.linalg.eigvalsh((q + q.mT) / 2)
            row += values.abs().topk(2).values.sum(-1).tolist()
        self.rows.append(row)


class MixtureAscent:
    """P = mean sigmoid((0.1 - |z|) / T), z = (x a + b) / rms; steps of 0.1 along its gradient."""

    def __init__(self, sizes: Sizes) -> None:
        self.x = torch.randn(sizes["points"], 2)
        self.a = torch.tensor([0.6, -0.8], requires_grad=True)
        self.b = torch.zeros((), requires_grad=True)

    def __call__(self) -> None:
        y = self.x @ self.a + self.b
        z = y / y.square().mean().sqrt()
        share = torch.sigmoid((0.1 - z.abs()) / 0.5).mean()
        slopes = torch.autograd.grad(share, (self.a, self.b))
        with torch.no_grad():
            self.a += 0.1 * slopes[0]
            self.b += 0.1 * slopes[1]


class Separability:
    """One angle of the curve."""

    def __init__(self, sizes: Sizes) -> None:
        self.x, self.angle = torch.randn(sizes["points"], 2), 0.0

    @torch.inference_mode()
    def __call__(self) -> None:
        self.angle += 0.00628
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        rotated = self.x @ torch.tensor([[cos, -sin], [sin, cos]])
        bins = ((rotated + 3) * (20 / 3)).clamp(0, 39.9).long()
        joint = torch.bincount(bins[:, 0] * 40 + bins[:, 1], minlength=1600).view(40, 40)
        joint = joint / len(self.x)
        product = joint.sum(1, keepdim=True) * joint.sum(0)
        (joint * ((joint + 1e-4) / (product + 1e-4)).log()).sum().item()


class SmolLM2:
    """transformers' model of SmolLM2-135M's shape, and what it is asked to do."""

    def __init__(self, sizes: Sizes) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            vocab_size=49_152, hidden_size=576, intermediate_size=1_536, num_hidden_layers=30,
            num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
            max_position_embeddings=8_192, eos_token_id=None, bos_token_id=None, pad_token_id=0,
        )
        self.model = LlamaForCausalLM(config).eval()
        self.tokens = torch.randint(49_152, (1, sizes["length"]))
        self.prompt, self.new = sizes["prompt"], sizes["new"]


class SmolLM2Prefill(SmolLM2):
    @torch.inference_mode()
    def __call__(self) -> None:
        self.model(self.tokens, use_cache=False)


class SmolLM2Decode(SmolLM2):
    @torch.inference_mode()
    def __call__(self) -> None:
        tokens = self.tokens[:, : self.prompt]
        options = {"max_new_tokens": self.new, "min_new_tokens": self.new, "do_sample": False}
        self.model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)


class SmolLM2Load:
    def __init__(self, sizes: Sizes) -> None:
        home = os.environ.get("EIGENLENS_HOME") or Path.home() / ".cache" / "eigenlens"
        self.file = next((Path(home) / "data" / "smollm2").glob("*.gguf"))

    def __call__(self) -> None:
        from transformers import LlamaForCausalLM

        LlamaForCausalLM.from_pretrained(self.file.parent, gguf_file=self.file.name)


WORKS: dict[str, Callable[[Sizes], Work]] = {
    "image": lambda sizes: ImageTraining(sizes, noise=0.0),
    "image-noise": lambda sizes: ImageTraining(sizes, noise=0.4),
    "cpd": lambda sizes: Decomposition(sizes, torch.bfloat16),
    "cpd-f32": lambda sizes: Decomposition(sizes, torch.float32),
    "prefill": Prefill,
    "generation": Generation,
    "language": LanguageTraining,
    "encoding": Encoding,
    "decoding": Decoding,
    "encoding-batch": lambda sizes: Encoding(sizes, "batch"),
    "decoding-batch": lambda sizes: Decoding(sizes, "batch"),
    "features": FeatureTraining,
    "dictionaries": Dictionaries,
    "scan": Scan,
    "mixture": MixtureAscent,
    "separability": Separability,
    "smollm2-prefill": SmolLM2Prefill,
    "smollm2-decode": SmolLM2Decode,
    "smollm2-load": SmolLM2Load,
}


def main() -> None:
    pairs = (argument.split("=") for argument in sys.argv[1:])
    sizes = {name: int(size) for name, size in pairs}
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    works: dict[str, Work] = {}
    for request in sys.stdin:
        name, times = request.split()
        if name not in works:
            works[name] = WORKS[name](sizes)
        start = time.perf_counter()
        for _ in range(int(times)):
            works[name]()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
