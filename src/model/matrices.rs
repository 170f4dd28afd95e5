//! The matrices that the literature names.

use candle_core::{DType, Tensor};

use super::operations::scaled;
use super::parameters::{BlockParameters, MlpParameters};
use super::{Decoder, Mlp};
use crate::linalg::{matmul_nt, matmul_tn};
use crate::{Error, Result};

/// Rows of a narrow unembedding that are widened at a time.
const UNEMBED_ROWS: usize = 8_192;

/// Weights under the names of the literature. They are the stored ones, without a copy where that
/// is possible, and rows are outputs: `y = W x`.
impl Decoder {
    /// Token embeddings `[vocab, d_model]`, a row a token.
    pub fn w_e(&self) -> Tensor {
        self.parameters().embed.as_detached_tensor()
    }

    /// The unembedding `[vocab, d_model]`: logits are `W_u` times the normed residual stream, plus a
    /// bias ([`Decoder::b_u`]) and times a scale ([`Config::logit_scale`](super::Config)) where there
    /// are any. Where it is tied, the embeddings.
    pub fn w_u(&self) -> Tensor {
        self.parameters().unembed().as_detached_tensor()
    }

    /// The unembedding's bias `[vocab]`; `None`: no bias.
    pub fn b_u(&self) -> Option<Tensor> {
        self.parameters().unembed_bias.as_ref().map(|bias| bias.as_detached_tensor())
    }

    /// What directions `[n, d_model]` of the residual stream's end add to each logit, `[n, vocab]` in
    /// f32: `s W_u (γ ∘ c(d))` with the final norm's gain γ (`1 + w` for Gemma, 1 where there is
    /// none), the scale s of logits (1 but for Granite) and, for a LayerNorm, `c(d) = d − mean(d)`. The
    /// division by the stream's length, which the norm does as well, is left out: it is one positive
    /// number for all tokens of a position.
    ///
    /// # Errors
    /// Directions of another width.
    pub fn direct_logits(&self, directions: &Tensor) -> Result<Tensor> {
        let (_, width) = directions.dims2()?;
        let (d, norm) = (self.config().d_model, self.config().norm);
        if width != d {
            let expected = format!("[n, {d}], the model's width");
            return Err(Error::shape("the directions", expected, directions.dims()));
        }
        let mut directions = directions.to_dtype(DType::F32)?;
        if norm.centres() {
            directions = directions.broadcast_sub(&directions.mean_keepdim(1)?)?;
        }
        let gain = self.parameters().ln_final.factor(norm, |var| var.as_detached_tensor())?;
        if let Some(gain) = gain {
            directions = directions.broadcast_mul(&gain.to_dtype(DType::F32)?)?;
        }
        let directions = scaled(directions, self.config().logit_scale)?;
        let unembed = self.w_u();
        if unembed.dtype() == DType::F32 {
            return matmul_nt(&directions, &unembed);
        }
        // Half of a large vocabulary's matrix is widened a part at a time.
        let rows = unembed.dim(0)?;
        let parts = (0..rows).step_by(UNEMBED_ROWS).map(|start| {
            let rows = UNEMBED_ROWS.min(rows - start);
            let part = unembed.narrow(0, start, rows)?.to_dtype(DType::F32)?;
            matmul_nt(&directions, &part)
        });
        Ok(Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1)?)
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

    /// Output map of an MLP, `[d_model, d_hidden]`, without the scale of the MLP's output
    /// ([`Config::residual_scale`](super::Config)).
    ///
    /// # Errors
    /// A layer the model does not have; a model without MLPs.
    pub fn w_p(&self, layer: usize) -> Result<Tensor> {
        Ok(self.mlp(layer)?.output.as_detached_tensor())
    }

    /// Input map of an MLP that is not gated, `[d_hidden, d_model]`.
    ///
    /// # Errors
    /// A layer the model does not have; a model without MLPs; a gated MLP, whose halves are
    /// [`Decoder::w_l`] and [`Decoder::w_r`].
    pub fn w_in(&self, layer: usize) -> Result<Tensor> {
        let own = self.mlp(layer)?;
        match self.config().mlp {
            Mlp::Plain(_) => Ok(own.input.as_detached_tensor()),
            gated => {
                let expected = "plain, to have one input map; w_l and w_r give a gated one's";
                Err(Error::invalid("the MLP", expected, format!("{gated:?}")))
            }
        }
    }

    /// Vectors of positions `[context, d_model]`, that of position 0 first.
    ///
    /// # Errors
    /// A model whose positions are rotary.
    pub fn w_pos(&self) -> Result<Tensor> {
        let (config, parameters) = (self.config(), self.parameters());
        match &parameters.positions {
            Some(positions) => {
                let all = positions.as_detached_tensor();
                Ok(all.narrow(0, config.position_offset, config.context)?)
            }
            None => Err(Error::invalid("the positions", "learned, to have vectors", "rotary")),
        }
    }

    /// Query maps of the heads, `[heads, d_head, d_model]`.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_q(&self, layer: usize) -> Result<Tensor> {
        self.heads_of(layer, 0, self.config().heads)
    }

    /// Key maps of the heads that have some, `[kv_heads, d_head, d_model]`.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_k(&self, layer: usize) -> Result<Tensor> {
        self.heads_of(layer, self.config().heads, self.config().kv_heads())
    }

    /// Value maps of the heads that have some, `[kv_heads, d_head, d_model]`.
    ///
    /// # Errors
    /// A layer the model does not have.
    pub fn w_v(&self, layer: usize) -> Result<Tensor> {
        let (heads, kv_heads) = (self.config().heads, self.config().kv_heads());
        self.heads_of(layer, heads + kv_heads, kv_heads)
    }

    /// Output maps of the heads, `[heads, d_model, d_head]`, without the scales of the attention's
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
    /// position (columns), where rotary embedding turns neither and norms of queries and keys are left
    /// out.
    ///
    /// # Errors
    /// A layer or head the model does not have.
    pub fn qk(&self, layer: usize, head: usize) -> Result<Tensor> {
        let own = self.kv_head(head)?;
        matmul_tn(&self.w_q(layer)?.get(head)?, &self.w_k(layer)?.get(own)?)
    }

    /// `W_o W_v` of a head, `[d_model, d_model]`: what it writes (rows) for what it reads (columns).
    ///
    /// # Errors
    /// A layer or head the model does not have.
    pub fn ov(&self, layer: usize, head: usize) -> Result<Tensor> {
        let own = self.kv_head(head)?;
        Ok(self.w_o(layer)?.get(head)?.matmul(&self.w_v(layer)?.get(own)?)?)
    }

    pub(super) fn block(&self, layer: usize) -> Result<&BlockParameters> {
        let blocks = &self.parameters().blocks;
        blocks
            .get(layer)
            .ok_or_else(|| Error::invalid("the layer", format!("below {}", blocks.len()), layer))
    }

    /// The MLP of a layer.
    fn mlp(&self, layer: usize) -> Result<&MlpParameters> {
        let expected = "one with MLPs, whose maps are asked for";
        let own = self.block(layer)?.mlp.as_ref();
        own.ok_or_else(|| Error::invalid("the model", expected, "attention alone"))
    }

    /// The keys and values that a head reads.
    fn kv_head(&self, head: usize) -> Result<usize> {
        let (heads, kv_heads) = (self.config().heads, self.config().kv_heads());
        if head < heads {
            return Ok(head / (heads / kv_heads));
        }
        Err(Error::invalid("the head", format!("below {heads}"), head))
    }

    fn gated_half(&self, layer: usize, half: usize) -> Result<Tensor> {
        let h = self.config().d_hidden;
        let own = self.mlp(layer)?;
        if !matches!(self.config().mlp, Mlp::Gated(_)) {
            let found = format!("{:?}", self.config().mlp);
            return Err(Error::invalid("the MLP", "gated, to have a left and a right map", found));
        }
        Ok(own.input.as_detached_tensor().narrow(0, half * h, h)?)
    }

    /// The maps of `heads` heads from number `first` on, of queries, keys and values in a row.
    fn heads_of(&self, layer: usize, first: usize, heads: usize) -> Result<Tensor> {
        let d_head = self.config().d_head();
        let all = self.block(layer)?.qkv.as_detached_tensor();
        let own = all.narrow(0, first * d_head, heads * d_head)?;
        Ok(own.reshape((heads, d_head, self.config().d_model))?)
    }
}
