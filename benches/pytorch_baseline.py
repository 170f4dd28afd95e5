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
- fit-KIND: a buffer of such a model's activations, and training an autoencoder on it, where KIND is
  top_k, batch_top_k, matryoshka, standard (ReLU with L1), jump_relu, gated or transcoder (top-k,
  from what the MLP reads to what it writes); decoder rows of length one and no gradient along them,
  Adam (rate 1e-3); an auxiliary loss for features that were in no code for long, where codes are
  counted; the error's share of the variance and the features that fired;
- dictionaries: an epoch of a grid of tied autoencoders (L1 penalties 0.1 and 0.2; as many atoms as
  dimensions, and twice as many) on the same batches, one after another in a loop; atoms of length
  one and no gradient along them, Adam (rate 1e-2);
- scan: the two largest eigenvalues of the symmetrised interaction matrices of output features, in
  f32; matrices by a batched product, which took half as long as einsum;
- mixture: one step of gradient ascent on the soft share of points in a band, by autograd;
- separability: the mutual information of rotated points in 40 x 40 bins, at one angle; counts by
  bincount;
- smollm2-prefill, gemma3-prefill: all logits of a window of tokens, by transformers' Llama of
  SmolLM2-135M's shape and its Gemma 3 of the 270M model's;
- smollm2-decode, gemma3-decode: tokens after a prompt from it, greedily, with kept keys and values;
- smollm2-load, gemma3-load: reading the GGUF file that `eigenlens fetch` brings;
- layers-training-SHAPE: a step of training a multi-layer top-k autoencoder on neighbouring
  activations of all layers, with Adam (rate 1e-4) and the loss of dead latents; codes are a sparse
  matrix. SHAPE is classics, with a model's activations, or wide, with random ones;
- layers-distributions-SHAPE, layers-variances-SHAPE, layers-examples-SHAPE: what it finds in a
  batch: counts and totals by put_; variances over layers of codes with their zeros; a row of SQLite
  for every value;
- layers-evaluation-SHAPE: its errors, and the model's losses with each layer's reconstruction;
- layers-lookup: the examples of a latent at a layer, from a table of SQLite without an index;
- layers-mmcs: every direction's largest cosine with another, 1,024 directions at a time;
- layers-cosines: a histogram of all pairs' cosines and distances of mean layers;
- neighbours: the four largest cosines of every vector, from those of all pairs;
- graphs: the connected parts of 63 graphs of such neighbours, by SciPy, and how well a planted
  group is among them;
- spectral: scikit-learn's SpectralClustering of the matrix of angles;
- occurrences, occurrences-loop: what a cluster writes at every token where it is active, from all
  activations of a text, by a mask and in a loop;
- interventions: changes of a word at a layer of a small transformer, each by seven passes of the
  model, prompt by prompt;
- orders: R^2 of probes of five components with the classes in other orders, by lstsq one by one;
- lstsq-SIZE: the regression of errors on activations, without an intercept: rows in random order,
  of which copies are made, and lstsq, which takes the driver gelsy on a CPU;
- pursuit-SIZE: gradient pursuit of a batch of rows, with all weights, zeros included: three products
  with the dictionary in each step;
- downstream: losses of a model as it is, with reconstructions that are there already, and with a
  linear map's prediction of their error or the rest of it added: a whole pass each, all logits at once.

All is eager; AdamW is the fused one, PyTorch's fastest. Each part has a module in benches/pytorch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from pytorch import (
    autoencoders,
    circles,
    clusters,
    coding,
    dictionaries,
    fetched,
    geometry,
    images,
    language,
    multilayer,
    sae_error,
    tracer,
)
from pytorch.protocol import Work

PARTS = (
    autoencoders, circles, clusters, coding, dictionaries, fetched, geometry, images, language,
    multilayer, sae_error, tracer,
)  # fmt: skip
WORKS: dict[str, Work] = {name: work for part in PARTS for name, work in part.WORKS.items()}


def main() -> None:
    pairs = (argument.split("=") for argument in sys.argv[1:])
    sizes = {name: int(size) for name, size in pairs}
    torch.set_num_threads(sizes["threads"])
    torch.manual_seed(0)
    works: dict[str, Callable[[], None]] = {}
    for request in sys.stdin:
        name, times = request.split()
        if name not in works:
            works[name] = WORKS[name](sizes)
        start = time.perf_counter()
        for _ in range(int(times)):
            works[name]()
        seconds = time.perf_counter() - start
        print(seconds, *getattr(works[name], "found", []), flush=True)


if __name__ == "__main__":
    main()
