//! Tensors of GGUF files under the names, and in the order, of Hugging Face's files.

use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};

use super::architecture::GgufArchitecture;
use super::no_such_name;
use super::rope::{FACTORS, LONG_FACTORS, SHORT_FACTORS};
use crate::Result;
use crate::gguf::Gguf;

/// Names of a block's parts: in GGUF files, and at Hugging Face.
const PARTS: [(&str, &str); 19] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    // Phi-3's.
    ("attn_qkv", "self_attn.qkv_proj"),
    ("ffn_up", "mlp.gate_up_proj"),
    // GPT-2's.
    ("attn_norm", "ln_1"),
    ("attn_qkv", "attn.c_attn"),
    ("attn_output", "attn.c_proj"),
    ("ffn_norm", "ln_2"),
    ("ffn_up", "mlp.c_fc"),
    ("ffn_down", "mlp.c_proj"),
    // Of those without norms of outputs.
    ("ffn_norm", "post_attention_layernorm"),
];
/// The same for Gemma, where they are others.
const GEMMA_PARTS: [(&str, &str); 3] = [
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];
/// Names of the other tensors.
const OTHERS: [(&str, &str); 7] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
    ("token_embd.weight", "wte.weight"),
    ("position_embd.weight", "wpe.weight"),
    ("output_norm.weight", "ln_f.weight"),
    ("output_norm.bias", "ln_f.bias"),
];

/// The tensors of a file, to be taken one by one.
#[derive(Debug)]
pub(super) struct GgufTensors<'a> {
    gguf: &'a Gguf,
    architecture: GgufArchitecture,
    d_head: usize,
    device: &'a Device,
    dtype: DType,
    /// Names, as the file has them, of tensors that were not taken.
    left: BTreeSet<String>,
}

impl<'a> GgufTensors<'a> {
    pub(super) fn new(
        gguf: &'a Gguf,
        architecture: GgufArchitecture,
        d_head: usize,
        device: &'a Device,
        dtype: DType,
    ) -> Self {
        // The config has the factors of frequencies.
        let in_config: &[&str] = match architecture {
            GgufArchitecture::Gpt2 => &[],
            _ => &[FACTORS, SHORT_FACTORS, LONG_FACTORS],
        };
        let names = gguf.tensors().iter().map(|info| info.name());
        let left = names.filter(|name| !in_config.contains(name)).map(str::to_owned).collect();
        Self { gguf, architecture, d_head, device, dtype, left }
    }

    /// The tensor that Hugging Face calls `name`, as it is there; it must have this shape.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let own = self.file_name(name).ok_or_else(|| no_such_name(name))?;
        let info = self.gguf.info(&own);
        if info.is_none_or(|info| info.shape() != shape) {
            let found =
                info.map_or("no such tensor".to_owned(), |info| format!("{:?}", info.shape()));
            return Err(self.gguf.wrong(format!("`{own}` of shape {shape:?}"), found));
        }
        let tensor = self.gguf.tensor(&own, self.device)?;
        self.left.remove(&own);
        let turned = name.contains("q_proj") || name.contains("k_proj");
        if turned && self.architecture.turns_neighbours() {
            return Ok(self.in_halves(&own, &tensor)?.to_dtype(self.dtype)?);
        }
        if self.architecture.has_one_in_gains() && own.ends_with("norm.weight") {
            // In f64, so that the difference has every digit that the model's type has.
            let gain = tensor.to_dtype(DType::F64)?.affine(1., -1.)?;
            return Ok(gain.to_dtype(self.dtype)?);
        }
        Ok(tensor.to_dtype(self.dtype)?)
    }

    /// Rows of queries or keys in Hugging Face's order, in which entries of a head that turn together
    /// are half a head apart. In files they are neighbours: in each head, row 2j is Hugging Face's row
    /// j and row 2j + 1 its row j + d_head/2.
    fn in_halves(&self, own: &str, tensor: &Tensor) -> Result<Tensor> {
        let (rows, d_head) = (tensor.dims()[0], self.d_head);
        if !rows.is_multiple_of(d_head) {
            let expected = format!("rows of `{own}` for heads of {d_head}");
            return Err(self.gguf.wrong(expected, rows.to_string()));
        }
        let width = tensor.elem_count() / rows.max(1);
        let pairs = tensor.reshape((rows / d_head, d_head / 2, 2, width))?;
        Ok(pairs.transpose(1, 2)?.contiguous()?.reshape(tensor.dims())?)
    }

    /// Fails if a tensor was not taken: it could matter.
    pub(super) fn finish(&self) -> Result<()> {
        match self.left.first() {
            Some(name) => {
                let expected = "only tensors that its metadata speaks of";
                Err(self.gguf.wrong(expected, format!("also `{name}`")))
            }
            None => Ok(()),
        }
    }

    /// The file's name of the tensor that Hugging Face calls `name`.
    fn file_name(&self, name: &str) -> Option<String> {
        if let Some((own, _)) = OTHERS.iter().find(|(_, theirs)| *theirs == name) {
            return Some((*own).to_owned());
        }
        let in_block = name.strip_prefix("model.layers.").or_else(|| name.strip_prefix("h."))?;
        let (layer, part) = in_block.split_once('.')?;
        let (part, ending) = part.rsplit_once('.')?;
        let of_gemma: &[(&str, &str)] = match self.architecture {
            GgufArchitecture::Gemma2 | GgufArchitecture::Gemma3 => &GEMMA_PARTS[..],
            _ => &[],
        };
        let mut parts = of_gemma.iter().chain(&PARTS);
        let (own, _) = parts.find(|(_, theirs)| *theirs == part)?;
        Some(format!("blk.{layer}.{own}.{ending}"))
    }
}
