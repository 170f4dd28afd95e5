//! The weights of a decoder, and the matrices that the literature names after them.

use candle_core::{Device, Tensor, Var};

use super::{Config, Decoder, Mlp};
use crate::linalg::matmul_tn;
use crate::random::Rng;
use crate::{Error, Result};

/// All weights, as they are stored: `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub(super) struct Parameters {
    pub(super) embed: Var,
    pub(super) blocks: Vec<Block>,
    pub(super) unembed: Var,
}

#[derive(Debug, Clone)]
pub(super) struct Block {
    /// `[3 · d_model, d_model]`: queries, keys, values, each head after head.
    pub(super) qkv: Var,
    pub(super) attention_out: Var,
    /// `[rows, d_model]`: left above right where the MLP is gated.
    pub(super) mlp_in: Var,
    pub(super) mlp_in_bias: Option<Var>,
    pub(super) mlp_out: Var,
    pub(super) mlp_out_bias: Option<Var>,
}

impl Parameters {
    /// Weights from wherever `take` gets a tensor of a name and shape. Names are the published
    /// checkpoints'.
    pub(super) fn build(
        config: &Config,
        mut take: impl FnMut(&str, &[usize]) -> Result<Var>,
    ) -> Result<Self> {
        let (d, h, rows) = (config.d_model, config.d_hidden, config.mlp_rows());
        let embed = take("transformer.wte.weight", &[config.vocab, d])?;
        let mut blocks = Vec::with_capacity(config.layers);
        for i in 0..config.layers {
            let mut take =
                |name: &str, shape: &[usize]| take(&format!("transformer.h.{i}.{name}"), shape);
            blocks.push(Block {
                qkv: take("attn.qkv.weight", &[3 * d, d])?,
                attention_out: take("attn.o.weight", &[d, d])?,
                mlp_in: take("mlp.w.weight", &[rows, d])?,
                mlp_in_bias: config.mlp_bias.then(|| take("mlp.w.bias", &[rows])).transpose()?,
                mlp_out: take("mlp.p.weight", &[d, h])?,
                mlp_out_bias: config.mlp_bias.then(|| take("mlp.p.bias", &[d])).transpose()?,
            });
        }
        Ok(Self { embed, blocks, unembed: take("lm_head.weight", &[config.vocab, d])? })
    }

    /// Normal with standard deviation 0.02, maps into the residual stream divided by √(2·layers);
    /// biases zero.
    pub(super) fn random(config: &Config, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = Rng::seed(seed);
        let into_stream = 1. / (2. * config.layers as f64).sqrt();
        Self::build(config, |name, shape| {
            let scale = match name {
                _ if name.ends_with(".bias") => 0.0,
                _ if name.ends_with(".p.weight") => 0.02 * into_stream,
                _ => 0.02,
            };
            Ok(Var::from_tensor(&(rng.normal(shape, device)? * scale)?)?)
        })
    }

    /// Every weight with its name, in a fixed order.
    pub(super) fn named(&self) -> Vec<(String, &Var)> {
        let mut named = vec![("transformer.wte.weight".to_owned(), &self.embed)];
        for (i, block) in self.blocks.iter().enumerate() {
            let all = [
                ("attn.qkv.weight", Some(&block.qkv)),
                ("attn.o.weight", Some(&block.attention_out)),
                ("mlp.w.weight", Some(&block.mlp_in)),
                ("mlp.w.bias", block.mlp_in_bias.as_ref()),
                ("mlp.p.weight", Some(&block.mlp_out)),
                ("mlp.p.bias", block.mlp_out_bias.as_ref()),
            ];
            named.extend(
                all.into_iter()
                    .filter_map(|(name, var)| Some((format!("transformer.h.{i}.{name}"), var?))),
            );
        }
        named.push(("lm_head.weight".to_owned(), &self.unembed));
        named
    }
}

/// Weights under the names of the literature. They are the stored ones, without a copy where that
/// is possible, and rows are outputs: `y = W x`.
impl Decoder {
    /// Token embeddings `[vocab, d_model]`, a row a token.
    pub fn w_e(&self) -> Tensor {
        self.parameters().embed.as_detached_tensor()
    }

    /// The unembedding `[vocab, d_model]`: logits are `W_u` times the normed residual stream.
    pub fn w_u(&self) -> Tensor {
        self.parameters().unembed.as_detached_tensor()
    }

    /// Left map of a gated MLP, `[d_hidden, d_model]`: the one that an activation acts on, if there
    /// is one.
    ///
    /// # Errors
    /// A layer the model does not have; an MLP that is not gated.
    pub fn w_l(&self, layer: usize) -> Result<Tensor> {
        self.gated_half(layer, 0)
    }

    /// Right map of a gated MLP, `[d_hidden, d_model]`.
    ///
    /// # Errors
    /// As [`Decoder::w_l`].
    pub fn w_r(&self, layer: usize) -> Result<Tensor> {
        self.gated_half(layer, 1)
    }

    /// Output map of an MLP, `[d_model, d_hidden]`.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_p(&self, layer: usize) -> Result<Tensor> {
        Ok(self.block(layer)?.mlp_out.as_detached_tensor())
    }

    /// Query maps of the heads, `[heads, d_head, d_model]`.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_q(&self, layer: usize) -> Result<Tensor> {
        self.heads_of(layer, 0)
    }

    /// Key maps of the heads, `[heads, d_head, d_model]`.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_k(&self, layer: usize) -> Result<Tensor> {
        self.heads_of(layer, 1)
    }

    /// Value maps of the heads, `[heads, d_head, d_model]`.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_v(&self, layer: usize) -> Result<Tensor> {
        self.heads_of(layer, 2)
    }

    /// Output maps of the heads, `[heads, d_model, d_head]`, without the scale of the attention's
    /// output.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_o(&self, layer: usize) -> Result<Tensor> {
        let (heads, d, d_head) =
            (self.config().heads, self.config().d_model, self.config().d_head());
        let all = self.block(layer)?.attention_out.as_detached_tensor();
        Ok(all.reshape((d, heads, d_head))?.transpose(0, 1)?.contiguous()?)
    }

    /// `W_qᵀ W_k` of a head, `[d_model, d_model]`: what a query position (rows) looks for in a key
    /// position (columns), where rotary embedding turns neither.
    ///
    /// # Errors
    /// A layer or head the model does not have.
    pub fn qk(&self, layer: usize, head: usize) -> Result<Tensor> {
        self.check_head(head)?;
        matmul_tn(&self.w_q(layer)?.get(head)?, &self.w_k(layer)?.get(head)?)
    }

    /// `W_o W_v` of a head, `[d_model, d_model]`: what it writes (rows) for what it reads (columns).
    ///
    /// # Errors
    /// A layer or head the model does not have.
    pub fn ov(&self, layer: usize, head: usize) -> Result<Tensor> {
        self.check_head(head)?;
        Ok(self.w_o(layer)?.get(head)?.matmul(&self.w_v(layer)?.get(head)?)?)
    }

    pub(super) fn block(&self, layer: usize) -> Result<&Block> {
        let blocks = &self.parameters().blocks;
        blocks
            .get(layer)
            .ok_or_else(|| Error::invalid("the layer", format!("below {}", blocks.len()), layer))
    }

    fn check_head(&self, head: usize) -> Result<()> {
        let heads = self.config().heads;
        if head < heads {
            return Ok(());
        }
        Err(Error::invalid("the head", format!("below {heads}"), head))
    }

    fn gated_half(&self, layer: usize, half: usize) -> Result<Tensor> {
        let h = self.config().d_hidden;
        let block = self.block(layer)?;
        if !matches!(self.config().mlp, Mlp::Gated(_)) {
            let found = format!("{:?}", self.config().mlp);
            return Err(Error::invalid("the MLP", "gated, to have a left and a right map", found));
        }
        Ok(block.mlp_in.as_detached_tensor().narrow(0, half * h, h)?)
    }

    fn heads_of(&self, layer: usize, part: usize) -> Result<Tensor> {
        let (heads, d, d_head) =
            (self.config().heads, self.config().d_model, self.config().d_head());
        let all = self.block(layer)?.qkv.as_detached_tensor();
        Ok(all.narrow(0, part * d, d)?.reshape((heads, d_head, d))?)
    }
}
