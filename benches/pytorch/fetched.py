"""Models that `eigenlens fetch` brings, by transformers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pytorch.protocol import Sizes, Work

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def smollm2() -> PreTrainedModel:
    """transformers' model of SmolLM2-135M's shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1_536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
        max_position_embeddings=8_192, eos_token_id=None, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def gemma3() -> PreTrainedModel:
    """transformers' model of Gemma 3 270M's shape: every sixth layer sees more than its window."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=640, intermediate_size=2_048, num_hidden_layers=18,
        num_attention_heads=4, num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=256,
        sliding_window=512, tie_word_embeddings=True, max_position_embeddings=32_768,
        eos_token_id=None, bos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return Gemma3ForCausalLM(config)


MODELS = {"smollm2": smollm2, "gemma3": gemma3}


class Model:
    """A model, and what it is asked to do. The first work that is asked for makes it."""

    made: dict[str, PreTrainedModel] = {}

    def __init__(self, name: str, sizes: Sizes) -> None:
        if name not in self.made:
            self.made[name] = MODELS[name]().eval()
        self.model = self.made[name]
        self.tokens = torch.randint(self.model.config.vocab_size, (1, sizes["length"]))
        self.prompt, self.new = sizes["prompt"], sizes["new"]


class Prefill(Model):
    @torch.inference_mode()
    def __call__(self) -> None:
        self.model(self.tokens, use_cache=False)


class Decode(Model):
    @torch.inference_mode()
    def __call__(self) -> None:
        tokens = self.tokens[:, : self.prompt]
        options = {"max_new_tokens": self.new, "min_new_tokens": self.new, "do_sample": False}
        self.model.generate(tokens, attention_mask=torch.ones_like(tokens), **options)


class Load:
    """Reading the GGUF file in a folder of what was fetched."""

    def __init__(self, folder: str) -> None:
        home = os.environ.get("EIGENLENS_HOME") or Path.home() / ".cache" / "eigenlens"
        self.file = next((Path(home) / "data" / folder).glob("*.gguf"))

    def __call__(self) -> None:
        from transformers import AutoModelForCausalLM

        AutoModelForCausalLM.from_pretrained(self.file.parent, gguf_file=self.file.name)


WORKS: dict[str, Work] = {
    "smollm2-prefill": lambda sizes: Prefill("smollm2", sizes),
    "smollm2-decode": lambda sizes: Decode("smollm2", sizes),
    "smollm2-load": lambda _: Load("smollm2"),
    "gemma3-prefill": lambda sizes: Prefill("gemma3", sizes),
    "gemma3-decode": lambda sizes: Decode("gemma3", sizes),
    "gemma3-load": lambda _: Load("gemma3-270m"),
}
