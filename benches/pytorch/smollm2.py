"""SmolLM2-135M by transformers."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from pytorch.protocol import Sizes, Work


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


WORKS: dict[str, Work] = {
    "smollm2-prefill": SmolLM2Prefill,
    "smollm2-decode": SmolLM2Decode,
    "smollm2-load": SmolLM2Load,
}
