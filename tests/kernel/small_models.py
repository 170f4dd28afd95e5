"""Small random models and autoencoders, in the layouts in which larger ones are published.

Each function fills a folder, which `hub.Hub.put` serves. A seed makes the same files again.
"""

import json
import math
import re
import random

from writers import Numbers, write_npz, write_parquet, write_safetensors

# Pairs that are one token, beside the 256 bytes.
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ a", "i n", "r e", "o n", "e r", "Ġ w", "Ġ o", "a n", "Ġ s"]


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1))


class Draws:
    """Random tensors."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def normal(self, *shape, std):
        return Numbers(shape, [self.random.gauss(0, std) for _ in range(math.prod(shape))])

    def unit_rows(self, rows, columns):
        found = []
        for _ in range(rows):
            row = [self.random.gauss(0, 1) for _ in range(columns)]
            length = math.sqrt(sum(x * x for x in row))
            found += [x / length for x in row]
        return Numbers([rows, columns], found)


def constant(value, *shape):
    return Numbers(shape, [value] * math.prod(shape))


def tokenizer(folder, special, settings):
    """Byte-pair encoding of bytes and a few pairs, with special tokens first; returns the size of the vocabulary."""
    # GPT-2's letters: bytes that can be printed are themselves, others are counted from U+0100 on.
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    letters = [chr(byte) for byte in printed] + [chr(256 + at) for at in range(len(others))]
    vocabulary = [*special, *letters, *(merge.replace(" ", "") for merge in MERGES)]
    ids = {token: number for number, token in enumerate(vocabulary)}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    cut = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": ids[token], "content": token, **plain} for token in special],
        "normalizer": None, "pre_tokenizer": cut, "post_processor": None, "decoder": cut,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": ids, "merges": MERGES,
        },
    })
    write_json(folder / "tokenizer_config.json", settings)
    return len(vocabulary)


def gpt_neox(folder, layers=4, width=32, heads=4, context=256, seed=0):
    """A GPT-NeoX, as Pythia is published. Returns its tensors by name."""
    end = "<|endoftext|>"
    special = {"bos_token": end, "eos_token": end, "unk_token": end, "tokenizer_class": "GPTNeoXTokenizer"}
    # Pythia pads its vocabulary to whole hundreds of rows or so.
    vocabulary = math.ceil(tokenizer(folder, [end], special) / 16) * 16
    draws, hidden, std = Draws(seed), 4 * width, 0.7 / math.sqrt(width)
    tensors = {"gpt_neox.embed_in.weight": draws.normal(vocabulary, width, std=1)}
    for layer in range(layers):
        own = f"gpt_neox.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{own}{norm}.weight"], tensors[f"{own}{norm}.bias"] = constant(1, width), constant(0, width)
        for name, rows, columns in (
            ("attention.query_key_value", 3 * width, width),
            ("attention.dense", width, width),
            ("mlp.dense_h_to_4h", hidden, width),
            ("mlp.dense_4h_to_h", width, hidden),
        ):
            tensors[f"{own}{name}.weight"] = draws.normal(rows, columns, std=std)
            tensors[f"{own}{name}.bias"] = draws.normal(rows, std=0.1)
    tensors["gpt_neox.final_layer_norm.weight"] = constant(1, width)
    tensors["gpt_neox.final_layer_norm.bias"] = constant(0, width)
    tensors["embed_out.weight"] = draws.normal(vocabulary, width, std=std)
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", {
        "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "bos_token_id": 0, "eos_token_id": 0,
        "hidden_act": "gelu", "hidden_size": width, "initializer_range": 0.02, "intermediate_size": hidden,
        "layer_norm_eps": 1e-05, "max_position_embeddings": context, "num_attention_heads": heads,
        "num_hidden_layers": layers, "rotary_emb_base": 10000, "rotary_pct": 0.5, "tie_word_embeddings": False,
        "torch_dtype": "float32", "use_cache": True, "use_parallel_residual": True, "vocab_size": vocabulary,
    })
    return tensors


def mlsae_tfm(folder, model, transformer, layers=None, expansion=4, k=8, seed=1):
    """A multi-layer autoencoder with the language model in the same file (`-tfm`), of the repository `model` with the
    tensors `transformer`, after all layers if none are given. Returns the number of its latents."""
    width = transformer["gpt_neox.embed_in.weight"].shape[1]
    latents = expansion * width
    encoder = Draws(seed).unit_rows(latents, width)
    tensors = {
        "autoencoder.encoder.weight": encoder, "autoencoder.decoder.weight": encoder.turned(),
        "autoencoder.pre_encoder_bias": constant(0, width),
        "autoencoder.last_nonzero": Numbers([latents], [0] * latents, integers=True),
    }
    tensors.update({f"transformer.model.{name}": tensor for name, tensor in transformer.items()})
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", {
        "accumulate_grad_batches": 64, "auxk": 256, "auxk_coef": 0.03125, "batch_size": 1, "dead_steps_threshold": 76,
        "dead_threshold": 0.001, "expansion_factor": expansion, "k": k, "layers": layers, "lr": 0.0001,
        "max_length": 2048, "model_name": model, "skip_special_tokens": True, "standardize": True, "tuned_lens": False,
    })
    return latents


def mlsae_dists(folder, layers, latents, seed=2):
    """The data set `-dists` of a multi-layer autoencoder: a row a latent."""
    (folder / "data").mkdir()
    draws = random.Random(seed)
    counts = [[float(draws.randrange(1, 100)) for _ in range(layers)] for _ in range(latents)]
    totals = [[count * draws.uniform(0.5, 2) for count in row] for row in counts]
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", {
        "latent": list(range(latents)), "count": [sum(row) for row in counts], "total": [sum(row) for row in totals],
        "counts": counts, "totals": totals,
    })


def mlsae_examples(folder, layers, latents, seed=3):
    """The data set `-examples` of a multi-layer autoencoder: two rows for each latent and layer, lists as JSON."""
    (folder / "data").mkdir()
    draws = random.Random(seed)
    pairs = [(layer, latent) for latent in range(latents) for layer in range(layers)] * 2
    acts = [draws.uniform(0.5, 4) for _ in pairs]
    windows = [[draws.randrange(1, 256) for _ in range(8)] for _ in pairs]
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", {
        "layer": [layer for layer, _ in pairs], "latent": [latent for _, latent in pairs],
        "token_id": [window[4] for window in windows], "token": [str(window[4]) for window in windows], "act": acts,
        "token_ids": [json.dumps(window) for window in windows],
        "tokens": [json.dumps([str(token) for token in window]) for window in windows],
        "acts": [json.dumps([0.0] * 4 + [act] + [0.0] * 3) for act in acts],
    })


def gemma2(folder, layers=2, width=32, heads=2, context=1024, seed=4):
    """A Gemma 2, with every part of the family: grouped heads, windows, caps, norms of outputs. Returns its tensors."""
    head, groups, hidden = width // heads, 1, 2 * width
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>"]
    vocabulary = tokenizer(folder, tokens, {**special, "add_bos_token": True, "tokenizer_class": "GemmaTokenizer"})
    draws, std = Draws(seed), 0.7 / math.sqrt(width)
    # Embeddings are multiplied by the root of the width, and gains are 1 + w.
    tensors = {"model.embed_tokens.weight": draws.normal(vocabulary, width, std=1 / math.sqrt(width))}
    for layer in range(layers):
        own = f"model.layers.{layer}."
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            tensors[f"{own}{norm}_layernorm.weight"] = constant(0, width)
        for name, rows, columns in (
            ("self_attn.q_proj", heads * head, width),
            ("self_attn.k_proj", groups * head, width),
            ("self_attn.v_proj", groups * head, width),
            ("self_attn.o_proj", width, heads * head),
            ("mlp.gate_proj", hidden, width),
            ("mlp.up_proj", hidden, width),
            ("mlp.down_proj", width, hidden),
        ):
            tensors[f"{own}{name}.weight"] = draws.normal(rows, columns, std=std)
    tensors["model.norm.weight"] = constant(0, width)
    write_safetensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "attention_bias": False,
        "attention_dropout": 0.0, "attn_logit_softcapping": 50.0, "bos_token_id": 2, "cache_implementation": "hybrid",
        "eos_token_id": 1, "final_logit_softcapping": 30.0, "head_dim": head, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": width, "initializer_range": 0.02,
        "intermediate_size": hidden, "max_position_embeddings": context, "num_attention_heads": heads,
        "num_hidden_layers": layers, "num_key_value_heads": groups, "pad_token_id": 0, "query_pre_attn_scalar": head,
        "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": context // 2, "torch_dtype": "float32",
        "use_cache": True, "vocab_size": vocabulary,
    })
    return tensors


def gemma_scope(folder, ids=("layer_0/width_16k/average_l0_50", "layer_1/width_16k/average_l0_50"), width=32, seed=5):
    """Autoencoders of Gemma Scope's first edition, `params.npz` in a folder each; `width` is the model's.

    Their own widths are small, and in the order of those in the names.
    """
    sizes = ["16k", "32k", "65k", "131k", "262k", "524k", "1m"]
    for number, name in enumerate(ids):
        latents = 32 + 8 * sizes.index(re.search(r"width_(\w+)/", name)[1])
        place = folder / name
        place.mkdir(parents=True)
        encoder = Draws(seed + number).unit_rows(latents, width)
        write_npz(place / "params.npz", {
            "W_enc": encoder.turned(), "W_dec": encoder, "b_enc": constant(0, latents), "b_dec": constant(0, width),
            # A stream has entries of about 1: one latent in fifteen is above this.
            "threshold": constant(1.5, latents),
        })


def documents(folder, texts):
    """A data set of texts, in the column `text`."""
    (folder / "data").mkdir()
    write_parquet(folder / "data" / "train-00000-of-00001.parquet", {"text": list(texts)})
