//! Llama models in GGUF files: sizes from the metadata, tensors under Hugging Face's names.

use std::collections::BTreeSet;
use std::f64::consts::TAU;

use candle_core::{Device, Tensor};

use super::super::{Config, Norm, Position, Rotary, Scaling};
use super::gguf_metadata::{self, LayerSize, LlamaMetadata, Positive};
use crate::gguf::{Gguf, Value};
use crate::store::UnknownFields;
use crate::{Error, Result};

const ARCHITECTURE: &str = "general.architecture";
const FACTORS: &str = "rope_freqs.weight";
/// Names of a block's parts: in the file, and at Hugging Face.
const PARTS: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
/// Names of the other tensors.
const OTHERS: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// A llama model in a file.
#[derive(Debug)]
pub(crate) struct GgufLlama {
    gguf: Gguf,
    /// Names, as the file has them, of tensors that were not taken.
    left: BTreeSet<String>,
    /// Metadata that was ignored because the user allowed it, as `key: value`.
    pub(crate) ignored: Vec<String>,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    d_model: usize,
    d_head: usize,
    d_hidden: usize,
    context: usize,
    vocab: usize,
    eps: f64,
    rope_base: f64,
    scaling: Scaling,
    /// Whether queries, keys and values have biases.
    qkv_bias: bool,
    /// Whether the attention's output map has a bias.
    attention_bias: bool,
    /// Whether the unembedding is the embedding.
    tied: bool,
}

impl GgufLlama {
    /// The model in a file.
    ///
    /// # Errors
    /// A file of another architecture, or one part of several; tensors of types that are not read
    /// here, before any is read; metadata that is missing, wrong, or, unless allowed, unknown.
    pub(crate) fn new(gguf: &Gguf, unknown: UnknownFields) -> Result<Self> {
        check_whole(gguf)?;
        match gguf.get(ARCHITECTURE).map(|value| (value, value.as_str())) {
            Some((_, Some("llama"))) => {}
            Some((value, _)) => {
                let found = format!(
                    "{value}, which eigenlens cannot load from GGUF. It reads other families from \
                     their Hugging Face repositories: Decoder::from_pretrained(\"owner/name\", …)"
                );
                return Err(gguf.wrong(format!("`llama` in `{ARCHITECTURE}`"), found));
            }
            None => return Err(gguf.wrong(format!("`llama` in `{ARCHITECTURE}`"), "nothing")),
        }
        let mut document = gguf_metadata::document(gguf);
        let fields: LlamaMetadata = document.read()?;
        let LayerSize(layers) = fields.layers;
        if layers > gguf.tensors().len() {
            let expected = format!("tensors for the {layers} layers of `llama.block_count`");
            return Err(gguf.wrong(expected, format!("{} tensors", gguf.tensors().len())));
        }
        let (LayerSize(d_model), LayerSize(heads)) = (fields.d_model, fields.heads);
        let size =
            |field: Option<LayerSize>, default| field.map_or(default, |LayerSize(size)| size);
        let kv_heads = size(fields.kv_heads, heads);
        let d_head = size(fields.key_length, d_model / heads);
        for (same, found) in [
            ("attention.value_length", fields.value_length),
            ("rope.dimension_count", fields.rope_dimensions),
        ] {
            let found = size(found, d_head);
            if found != d_head || !d_head.is_multiple_of(2) {
                let expected = format!("an even {d_head}, the width of a head, in `llama.{same}`");
                return Err(gguf.wrong(expected, found.to_string()));
            }
        }
        let (LayerSize(d_hidden), LayerSize(context)) = (fields.d_hidden, fields.context);
        let Positive(eps) = fields.eps;
        let rope_base = fields.rope_base.map_or(10_000., |Positive(base)| base);
        let scaling = gguf_metadata::scaling(&mut document)?;
        let embedding = gguf.info("token_embd.weight").map(|info| info.shape());
        let vocab = embedding.and_then(|shape| shape.first()).copied().unwrap_or_default();
        let stated = size(fields.vocab, vocab);
        if stated != vocab {
            let expected =
                format!("{vocab}, the rows of `token_embd.weight`, in `llama.vocab_size`");
            return Err(gguf.wrong(expected, stated.to_string()));
        }
        let ignored = gguf_metadata::ignored(document, gguf, unknown)?;
        gguf.check_types()?;
        let has = |name: &str| gguf.info(name).is_some();
        let mut llama = Self {
            gguf: gguf.clone(),
            ignored,
            left: gguf.tensors().iter().map(|info| info.name().to_owned()).collect(),
            layers,
            heads,
            kv_heads,
            d_model,
            d_head,
            d_hidden,
            context,
            vocab,
            eps,
            rope_base,
            scaling,
            qkv_bias: has("blk.0.attn_q.bias"),
            attention_bias: has("blk.0.attn_output.bias"),
            tied: !has("output.weight"),
        };
        if llama.left.remove(FACTORS) {
            llama.scaling = llama.factors()?;
        }
        Ok(llama)
    }

    /// The sizes and kinds of the transformer.
    pub(crate) fn config(&self) -> Config {
        let usual = self.d_head * self.heads == self.d_model;
        let rotary = Rotary { scaling: self.scaling.clone(), ..Rotary::new(self.rope_base) };
        Config {
            kv_heads: (self.kv_heads != self.heads).then_some(self.kv_heads),
            d_head: (!usual).then_some(self.d_head),
            context: self.context,
            vocab: self.vocab,
            norm: Norm::RmsGain { eps: self.eps },
            position: Position::Rotary(rotary),
            qkv_bias: self.qkv_bias,
            attention_bias: self.attention_bias,
            tied: self.tied,
            ..Config::llama(self.layers, self.heads, self.d_model, self.d_hidden)
        }
    }

    /// The tensor that Hugging Face calls `name`, which must have this shape, in f32.
    ///
    /// Files have the rows of queries and keys in the order for rotary embedding on neighbours: in
    /// each head, row 2j is Hugging Face's row j and row 2j + 1 its row j + d_head/2.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        let own = file_name(name)
            .ok_or_else(|| Error::invalid("the name of a tensor", "one of a llama model", name))?;
        let info = self.gguf.info(&own);
        if info.is_none_or(|info| info.shape() != shape) {
            let found =
                info.map_or("no such tensor".to_owned(), |info| format!("{:?}", info.shape()));
            return Err(self.gguf.wrong(format!("`{own}` of shape {shape:?}"), found));
        }
        let tensor = self.gguf.tensor(&own, device)?;
        self.left.remove(&own);
        if !(name.contains("q_proj") || name.contains("k_proj")) {
            return Ok(tensor);
        }
        let (rows, width) = (shape[0], tensor.elem_count() / shape[0].max(1));
        if !rows.is_multiple_of(self.d_head) {
            let expected = format!("rows of `{own}` for heads of {}", self.d_head);
            return Err(self.gguf.wrong(expected, rows.to_string()));
        }
        let pairs = tensor.reshape((rows / self.d_head, self.d_head / 2, 2, width))?;
        Ok(pairs.transpose(1, 2)?.contiguous()?.reshape(shape)?)
    }

    /// Fails if a tensor was not taken: it could matter.
    pub(crate) fn finish(&self) -> Result<()> {
        match self.left.first() {
            Some(name) => {
                let expected = "only tensors that its metadata speaks of";
                Err(self.gguf.wrong(expected, format!("also `{name}`")))
            }
            None => Ok(()),
        }
    }

    /// The scaling behind the file's divisors of frequencies. Files do not say how these were made:
    /// they are compared with what the published Llama 3 models do.
    fn factors(&self) -> Result<Scaling> {
        let half = self.d_head / 2;
        let shape = self.gguf.info(FACTORS).map(|info| info.shape().to_vec());
        let wrong = |expected: &str, found: String| {
            Err(self.gguf.wrong(format!("{expected} in `{FACTORS}`"), found))
        };
        if shape.as_deref() != Some(&[half]) {
            return wrong(&format!("{half} factors"), format!("{shape:?}"));
        }
        let factors: Vec<f32> = self.gguf.tensor(FACTORS, &Device::Cpu)?.to_vec1()?;
        let factor = f64::from(factors.iter().copied().fold(1f32, f32::max));
        let (low, high, original) = (1., 4., 8192.);
        for (i, found) in factors.iter().enumerate() {
            let turns = original / TAU * self.rope_base.powf(-2. * i as f64 / self.d_head as f64);
            let share = ((turns - low) / (high - low)).clamp(0., 1.);
            let expected = 1. / ((1. - share) / factor + share);
            if (f64::from(*found) - expected).abs() > 1e-4 * expected {
                let what = format!("at {i} a factor of Llama 3, {expected}");
                return wrong(&what, format!("{found}, a scaling that eigenlens does not know"));
            }
        }
        match &self.scaling {
            Scaling::None if factor == 1. => Ok(Scaling::None),
            Scaling::None => Ok(Scaling::Llama3 { factor, low, high, original }),
            other => wrong("no factors, beside a scaling in the metadata,", format!("{other:?}")),
        }
    }
}

/// Fails for one of several files into which a model was split.
fn check_whole(gguf: &Gguf) -> Result<()> {
    let number = |key: &str| gguf.get(key).and_then(Value::as_u64);
    match number("split.count") {
        Some(count) if count > 1 => {
            let part = number("split.no").unwrap_or(0) + 1;
            let found = format!(
                "part {part} of {count}. Join them with llama.cpp's `llama-gguf-split --merge` and \
                 the first part, and load the result"
            );
            Err(gguf.wrong("a whole model", found))
        }
        _ => Ok(()),
    }
}

/// A file's name of the tensor that Hugging Face calls `name`.
fn file_name(name: &str) -> Option<String> {
    if let Some((own, _)) = OTHERS.iter().find(|(_, theirs)| *theirs == name) {
        return Some((*own).to_owned());
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, ending) = part.rsplit_once('.')?;
    let (own, _) = PARTS.iter().find(|(_, theirs)| *theirs == part)?;
    Some(format!("blk.{layer}.{own}.{ending}"))
}
