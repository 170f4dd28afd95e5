//! What files of a family call the weights, and how they hold them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};

use super::{D, HEADS, PlainCase, PlainWeights};

/// Plain names of matrices, gains and vectors, and those of a family; biases have the same with
/// another end.
pub(super) type PlainNames = &'static [(&'static str, &'static str)];

pub(super) const GPT_NEO: PlainNames = &[
    ("embed", "transformer.wte"),
    ("positions", "transformer.wpe"),
    ("final", "transformer.ln_f"),
    ("unembed", "lm_head"),
    ("layer", "transformer.h."),
    ("ln1", "ln_1"),
    ("ln2", "ln_2"),
    ("q", "attn.attention.q_proj"),
    ("k", "attn.attention.k_proj"),
    ("v", "attn.attention.v_proj"),
    ("out", "attn.attention.out_proj"),
    ("in", "mlp.c_fc"),
    ("proj", "mlp.c_proj"),
];

pub(super) const OPT: PlainNames = &[
    ("embed", "model.decoder.embed_tokens"),
    ("positions", "model.decoder.embed_positions"),
    ("final", "model.decoder.final_layer_norm"),
    ("unembed", "lm_head"),
    ("layer", "model.decoder.layers."),
    ("ln1", "self_attn_layer_norm"),
    ("ln2", "final_layer_norm"),
    ("q", "self_attn.q_proj"),
    ("k", "self_attn.k_proj"),
    ("v", "self_attn.v_proj"),
    ("out", "self_attn.out_proj"),
    ("in", "fc1"),
    ("proj", "fc2"),
];

pub(super) const STARCODER2: PlainNames = &[
    ("embed", "model.embed_tokens"),
    ("final", "model.norm"),
    ("unembed", "lm_head"),
    ("layer", "model.layers."),
    ("ln1", "input_layernorm"),
    ("ln2", "post_attention_layernorm"),
    ("q", "self_attn.q_proj"),
    ("k", "self_attn.k_proj"),
    ("v", "self_attn.v_proj"),
    ("out", "self_attn.o_proj"),
    ("in", "mlp.c_fc"),
    ("proj", "mlp.c_proj"),
];

/// `?` stands for what tells matrices and gains from biases: `W` and `b` before a map's letter, `w`
/// and `b` after a norm.
pub(super) const TRANSFORMER_LENS: PlainNames = &[
    ("embed", "embed.?_E"),
    ("positions", "pos_embed.?_pos"),
    ("final", "ln_final.?"),
    ("unembed", "unembed.?_U"),
    ("layer", "blocks."),
    ("ln1", "ln1.?"),
    ("ln2", "ln2.?"),
    ("q", "attn.?_Q"),
    ("k", "attn.?_K"),
    ("v", "attn.?_V"),
    ("out", "attn.?_O"),
    ("in", "mlp.?_in"),
    ("mid", "mlp.ln.?"),
    ("proj", "mlp.?_out"),
];

/// Tensors that published files have beside the weights.
const BUFFERS: [(&str, &str); 6] = [
    ("gpt_neo", "transformer.h.1.attn.attention.bias"),
    ("gpt_neo", "transformer.h.1.attn.attention.masked_bias"),
    ("opt", "model.decoder.version"),
    ("starcoder2", "model.layers.1.self_attn.rotary_emb.inv_freq"),
    ("", "blocks.1.attn.mask"),
    ("", "blocks.1.attn.IGNORE"),
];

impl PlainCase {
    /// The name in files of a weight such as `1.q_bias`.
    fn name(&self, plain: &str) -> String {
        let find = |part: &str| self.names.iter().find(|(own, _)| *own == part).unwrap().1;
        let (layer, part) = match plain.split_once('.') {
            Some((layer, part)) => (format!("{}{layer}.", find("layer")), part),
            None => (String::new(), plain),
        };
        let (part, is_bias) = match part.strip_suffix("_bias") {
            Some(part) => (part, true),
            None => (part, false),
        };
        let name = find(part);
        let end = match (name.ends_with('?'), is_bias) {
            _ if !self.turned => return layer + name + if is_bias { ".bias" } else { ".weight" },
            (_, true) => "b",
            (true, false) => "w",
            (false, false) => "W",
        };
        layer + &name.replace('?', end)
    }

    /// A weight as files hold it.
    fn stored(&self, plain: &str, x: &Tensor) -> candle_core::Result<Tensor> {
        let part = plain.split_once('.').map_or(plain, |(_, part)| part);
        match part {
            _ if !self.turned => Ok(x.clone()),
            "q" | "k" | "v" => x.reshape((HEADS, self.hd, D))?.transpose(1, 2)?.contiguous(),
            "q_bias" | "k_bias" | "v_bias" => x.reshape((HEADS, self.hd)),
            "out" => x.t()?.contiguous()?.reshape((HEADS, self.hd, D)),
            "in" | "proj" | "unembed" => x.t()?.contiguous(),
            _ => Ok(x.clone()),
        }
    }

    /// The tensors of a file.
    pub(super) fn in_file(&self, weights: &PlainWeights) -> Vec<(String, Tensor)> {
        let all = weights.iter().map(|(name, x)| (self.name(name), self.stored(name, x).unwrap()));
        let mut all: Vec<(String, Tensor)> = all.collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Writes a folder's files, with the buffers that published ones have.
    pub(super) fn write(&self, folder: &Path, weights: &PlainWeights) {
        let mut tensors: HashMap<String, Tensor> = self.in_file(weights).into_iter().collect();
        let family = self.config["model_type"].as_str().unwrap_or_default();
        for (_, name) in BUFFERS.iter().filter(|(own, _)| *own == family) {
            let buffer = match name.ends_with("mask") || name.ends_with("attention.bias") {
                true => Tensor::zeros((1, 1, 3, 3), DType::U8, &Device::Cpu),
                false => Tensor::new(f32::NEG_INFINITY, &Device::Cpu),
            };
            tensors.insert((*name).to_owned(), buffer.unwrap());
        }
        safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
    }
}
