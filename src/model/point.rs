//! Places in a forward pass.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A place in the forward pass of a [`Decoder`](super::Decoder), most of them in the layer that they
/// name.
///
/// With `x` the residual stream `[batch, positions, d_model]`, n₁, n₂, n₃ norms, p₁ and p₂ the norms
/// of outputs, n_q, n_k and n_m the norms of queries, keys and an MLP's neurons, and R the rotary
/// embedding, each where there is one and nothing where there is none:
///
/// ```text
/// resid_pre = embed (+ pos_embed)         in the first layer, else the last resid_post
/// q, k, v = W n₁(resid_pre) + b           (Shortformer: q and k of n₁(resid_pre) + pos_embed)
/// q_normed, k_normed = n_q(q), n_k(k)     rot_q, rot_k = R q_normed, R k_normed
/// scores = cap(scale · rot_q rot_kᵀ)      where a key may not be seen: -1e30
/// pattern = softmax(scores)               z = pattern v
/// attn_out = residual_scale · p₁(W_o z + b)
/// resid_mid = resid_pre + attention_scale · attn_out
/// mlp_in = n₂(resid_mid)                  (parallel residual: n₂(resid_pre), no resid_mid)
/// mlp_pre, mlp_pre_linear = W mlp_in + b  mlp_mid = act(mlp_pre) ∘ mlp_pre_linear
/// mlp_post = n_m(mlp_mid)                 mlp_out = residual_scale · p₂(W mlp_post + b)
/// resid_post = resid_mid + mlp_out        (attention alone: resid_mid is called resid_post)
/// logits = cap(logit_scale · (W_u n₃(last resid_post) + b))
/// ```
///
/// A norm is `normalized = x / scale` (a LayerNorm: of `x` less its mean), then gain and bias. Its
/// two points lie **before gain and bias**.
///
/// Activations have the dtype of the model, with one exception: where that is f16 or bf16, the
/// denominators of norms and the attention scores are f32, because they decide how much everything
/// else counts.
///
/// A point prints and parses under its short name (`1.resid_pre`) and parses under
/// TransformerLens's too (`blocks.1.hook_resid_pre`), which [`HookPoint::long_name`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// Token embeddings, after the scale that Gemma multiplies them by; `hook_embed`.
    Embed,
    /// Vectors of positions `[batch, positions, d_model]`, where they are learned: before they are
    /// added to the embeddings, or in a Shortformer to what the queries and keys of every layer read;
    /// `hook_pos_embed`.
    PosEmbed,
    /// The residual stream before the attention; TransformerLens: `blocks.L.hook_resid_pre`.
    ResidPre(usize),
    /// Denominator of the norm before the attention, `[batch, positions, 1]`;
    /// `blocks.L.ln1.hook_scale`.
    Ln1Scale(usize),
    /// That norm's result before gain and bias; `blocks.L.ln1.hook_normalized`.
    Ln1Normalized(usize),
    /// Queries with bias, before their norm and before rotary embedding,
    /// `[batch, positions, heads, d_head]`; `blocks.L.attn.hook_q`.
    Q(usize),
    /// Keys with bias, before their norm and before rotary embedding,
    /// `[batch, positions, kv_heads, d_head]`; `blocks.L.attn.hook_k`.
    K(usize),
    /// Values with bias, `[batch, positions, kv_heads, d_head]`; `blocks.L.attn.hook_v`.
    V(usize),
    /// Denominator of the norm of queries, which comes after [`HookPoint::Q`]:
    /// `[batch, positions, heads, 1]`, or `[batch, positions, 1]` of a norm of all heads together
    /// ([`QkNorm::Whole`](super::QkNorm::Whole)); `blocks.L.attn.q_norm.hook_scale`.
    QNormScale(usize),
    /// That norm's result **before its gain**, `[batch, positions, heads, d_head]`, or
    /// `[batch, positions, heads · d_head]` of a norm of all heads together;
    /// `blocks.L.attn.q_norm.hook_normalized`.
    QNormNormalized(usize),
    /// Queries after their norm **with its gain**, before rotary embedding,
    /// `[batch, positions, heads, d_head]`; `blocks.L.attn.hook_q_normed`.
    QNormed(usize),
    /// Denominator of the norm of keys, as [`HookPoint::QNormScale`];
    /// `blocks.L.attn.k_norm.hook_scale`.
    KNormScale(usize),
    /// That norm's result **before its gain**, as [`HookPoint::QNormNormalized`];
    /// `blocks.L.attn.k_norm.hook_normalized`.
    KNormNormalized(usize),
    /// Keys after their norm **with its gain**, before rotary embedding,
    /// `[batch, positions, kv_heads, d_head]`; `blocks.L.attn.hook_k_normed`.
    KNormed(usize),
    /// Queries after their norm and rotary embedding, the entries that do not turn included; of a
    /// layer in which nothing turns, the queries that others would turn. `blocks.L.attn.hook_rot_q`.
    RotQ(usize),
    /// Keys after their norm and rotary embedding, as [`HookPoint::RotQ`];
    /// `blocks.L.attn.hook_rot_k`.
    RotK(usize),
    /// Attention scores `[batch, heads, queries, keys]` before the softmax: scaled, capped, masked
    /// entries [`MASKED_SCORE`](super::MASKED_SCORE), at least f32; `blocks.L.attn.hook_attn_scores`.
    Scores(usize),
    /// Attention probabilities `[batch, heads, queries, keys]`; `blocks.L.attn.hook_pattern`.
    Pattern(usize),
    /// Each head's mix of values `[batch, positions, heads, d_head]`; `blocks.L.attn.hook_z`.
    Z(usize),
    /// Denominator of the norm of the attention's output; `blocks.L.ln1_post.hook_scale`.
    Ln1PostScale(usize),
    /// That norm's result before its gain; `blocks.L.ln1_post.hook_normalized`.
    Ln1PostNormalized(usize),
    /// The attention's output, with bias, after the norm of outputs with its gain and after Granite's
    /// `residual_scale`, before the `attention_scale` with which bilinear transformers add it;
    /// `blocks.L.hook_attn_out` (TransformerLens's models have no such scale).
    AttnOut(usize),
    /// Between attention and MLP; `blocks.L.hook_resid_mid`. A model with attention alone has
    /// [`HookPoint::ResidPost`] there.
    ResidMid(usize),
    /// Denominator of the norm before the MLP; `blocks.L.ln2.hook_scale`.
    Ln2Scale(usize),
    /// That norm's result before gain and bias; `blocks.L.ln2.hook_normalized`.
    Ln2Normalized(usize),
    /// What the MLP reads, after the norm with gain and bias: where a norm has none of them, as in
    /// bilinear transformers, equal to [`HookPoint::Ln2Normalized`], and where there is no norm before
    /// the MLP, as in OLMo 2, to [`HookPoint::ResidMid`]. `blocks.L.mlp.hook_in` of
    /// TransformerLens's bridge; its `hook_mlp_in` is another place, before the norm.
    MlpIn(usize),
    /// Before the activation, with bias, `[batch, positions, d_hidden]`; of a gated MLP the half
    /// that the activation acts on; `blocks.L.mlp.hook_pre`.
    MlpPre(usize),
    /// The other half of a gated MLP; `blocks.L.mlp.hook_pre_linear`.
    MlpPreLinear(usize),
    /// After the activation of an MLP whose neurons have a norm (`solu_ln`), before that norm,
    /// `[batch, positions, d_hidden]`; `blocks.L.mlp.hook_mid`.
    MlpMid(usize),
    /// Denominator of the norm of the neurons, `[batch, positions, 1]`; `blocks.L.mlp.ln.hook_scale`.
    MlpLnScale(usize),
    /// That norm's result **before gain and bias**, `[batch, positions, d_hidden]`;
    /// `blocks.L.mlp.ln.hook_normalized`.
    MlpLnNormalized(usize),
    /// What the MLP's output map reads: after the activation, and after the norm of the neurons with
    /// gain and bias where there is one; `blocks.L.mlp.hook_post`.
    MlpPost(usize),
    /// Denominator of the norm of the MLP's output; `blocks.L.ln2_post.hook_scale`.
    Ln2PostScale(usize),
    /// That norm's result before its gain; `blocks.L.ln2_post.hook_normalized`.
    Ln2PostNormalized(usize),
    /// What the MLP adds to the residual stream: with bias, after the norm of outputs with its gain
    /// and after Granite's `residual_scale`; `blocks.L.hook_mlp_out`.
    MlpOut(usize),
    /// After the MLP, before the final norm in the last layer too; `blocks.L.hook_resid_post`.
    ResidPost(usize),
    /// Denominator of the final norm; `ln_final.hook_scale`.
    LnFinalScale,
    /// The final norm's result before gain and bias; `ln_final.hook_normalized`.
    LnFinalNormalized,
}

/// A kind of point, to be placed in a layer.
type PointOfLayer = fn(usize) -> HookPoint;

/// Points of each layer.
const KINDS: usize = 34;

/// Short name, TransformerLens's name, and the point, of each kind, as a pass reaches them.
const NAMES: [(&str, &str, PointOfLayer); KINDS] = [
    ("resid_pre", "hook_resid_pre", HookPoint::ResidPre),
    ("ln1_scale", "ln1.hook_scale", HookPoint::Ln1Scale),
    ("ln1_normalized", "ln1.hook_normalized", HookPoint::Ln1Normalized),
    ("q", "attn.hook_q", HookPoint::Q),
    ("k", "attn.hook_k", HookPoint::K),
    ("v", "attn.hook_v", HookPoint::V),
    ("q_norm_scale", "attn.q_norm.hook_scale", HookPoint::QNormScale),
    ("q_norm_normalized", "attn.q_norm.hook_normalized", HookPoint::QNormNormalized),
    ("q_normed", "attn.hook_q_normed", HookPoint::QNormed),
    ("k_norm_scale", "attn.k_norm.hook_scale", HookPoint::KNormScale),
    ("k_norm_normalized", "attn.k_norm.hook_normalized", HookPoint::KNormNormalized),
    ("k_normed", "attn.hook_k_normed", HookPoint::KNormed),
    ("rot_q", "attn.hook_rot_q", HookPoint::RotQ),
    ("rot_k", "attn.hook_rot_k", HookPoint::RotK),
    ("scores", "attn.hook_attn_scores", HookPoint::Scores),
    ("pattern", "attn.hook_pattern", HookPoint::Pattern),
    ("z", "attn.hook_z", HookPoint::Z),
    ("ln1_post_scale", "ln1_post.hook_scale", HookPoint::Ln1PostScale),
    ("ln1_post_normalized", "ln1_post.hook_normalized", HookPoint::Ln1PostNormalized),
    ("attn_out", "hook_attn_out", HookPoint::AttnOut),
    ("resid_mid", "hook_resid_mid", HookPoint::ResidMid),
    ("ln2_scale", "ln2.hook_scale", HookPoint::Ln2Scale),
    ("ln2_normalized", "ln2.hook_normalized", HookPoint::Ln2Normalized),
    ("mlp_in", "mlp.hook_in", HookPoint::MlpIn),
    ("mlp_pre", "mlp.hook_pre", HookPoint::MlpPre),
    ("mlp_pre_linear", "mlp.hook_pre_linear", HookPoint::MlpPreLinear),
    ("mlp_mid", "mlp.hook_mid", HookPoint::MlpMid),
    ("mlp_ln_scale", "mlp.ln.hook_scale", HookPoint::MlpLnScale),
    ("mlp_ln_normalized", "mlp.ln.hook_normalized", HookPoint::MlpLnNormalized),
    ("mlp_post", "mlp.hook_post", HookPoint::MlpPost),
    ("ln2_post_scale", "ln2_post.hook_scale", HookPoint::Ln2PostScale),
    ("ln2_post_normalized", "ln2_post.hook_normalized", HookPoint::Ln2PostNormalized),
    ("mlp_out", "hook_mlp_out", HookPoint::MlpOut),
    ("resid_post", "hook_resid_post", HookPoint::ResidPost),
];

/// Short name, TransformerLens's name, and the point, outside the layers.
const OUTSIDE: [(&str, &str, HookPoint); 4] = [
    ("embed", "hook_embed", HookPoint::Embed),
    ("pos_embed", "hook_pos_embed", HookPoint::PosEmbed),
    ("ln_final_scale", "ln_final.hook_scale", HookPoint::LnFinalScale),
    ("ln_final_normalized", "ln_final.hook_normalized", HookPoint::LnFinalNormalized),
];

impl HookPoint {
    /// Every point of a layer, as a pass reaches them. No model has them all: see
    /// [`Decoder::points`](super::Decoder::points).
    pub fn all(layer: usize) -> [Self; KINDS] {
        NAMES.map(|(_, _, point)| point(layer))
    }

    /// The layer; `None` for those before the first and after the last.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Embed | Self::PosEmbed | Self::LnFinalScale | Self::LnFinalNormalized => None,
            Self::ResidPre(layer)
            | Self::Ln1Scale(layer)
            | Self::Ln1Normalized(layer)
            | Self::Q(layer)
            | Self::K(layer)
            | Self::V(layer)
            | Self::QNormScale(layer)
            | Self::QNormNormalized(layer)
            | Self::QNormed(layer)
            | Self::KNormScale(layer)
            | Self::KNormNormalized(layer)
            | Self::KNormed(layer)
            | Self::RotQ(layer)
            | Self::RotK(layer)
            | Self::Scores(layer)
            | Self::Pattern(layer)
            | Self::Z(layer)
            | Self::Ln1PostScale(layer)
            | Self::Ln1PostNormalized(layer)
            | Self::AttnOut(layer)
            | Self::ResidMid(layer)
            | Self::Ln2Scale(layer)
            | Self::Ln2Normalized(layer)
            | Self::MlpIn(layer)
            | Self::MlpPre(layer)
            | Self::MlpPreLinear(layer)
            | Self::MlpMid(layer)
            | Self::MlpLnScale(layer)
            | Self::MlpLnNormalized(layer)
            | Self::MlpPost(layer)
            | Self::Ln2PostScale(layer)
            | Self::Ln2PostNormalized(layer)
            | Self::MlpOut(layer)
            | Self::ResidPost(layer) => Some(layer),
        }
    }

    /// TransformerLens's name: `blocks.3.attn.hook_z`.
    pub fn long_name(self) -> String {
        match self.layer() {
            Some(layer) => {
                let name = NAMES.iter().find(|(_, _, point)| point(layer) == self);
                format!("blocks.{layer}.{}", name.map_or("", |(_, long, _)| long))
            }
            None => {
                let name = OUTSIDE.iter().find(|(_, _, point)| *point == self);
                name.map_or("", |(_, long, _)| long).to_owned()
            }
        }
    }

    /// Whether it lies after all layers.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::LnFinalScale | Self::LnFinalNormalized)
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer() {
            Some(layer) => {
                let name = NAMES.iter().find(|(_, _, point)| point(layer) == *self);
                write!(f, "{layer}.{}", name.map_or("", |(name, ..)| name))
            }
            None => {
                let name = OUTSIDE.iter().find(|(_, _, point)| point == self);
                f.write_str(name.map_or("", |(name, ..)| name))
            }
        }
    }
}

impl FromStr for HookPoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let outside = OUTSIDE.iter().find(|(short, long, _)| [*short, *long].contains(&text));
        if let Some((.., point)) = outside {
            return Ok(*point);
        }
        let place = text.strip_prefix("blocks.").unwrap_or(text);
        let found = place.split_once('.').and_then(|(layer, name)| {
            let (.., point) =
                NAMES.iter().find(|(short, long, _)| [*short, *long].contains(&name))?;
            Some(point(layer.parse().ok()?))
        });
        found.ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(short, ..)| *short).collect();
            let outside: Vec<_> = OUTSIDE.iter().map(|(short, ..)| *short).collect();
            let expected = format!(
                "a layer and one of {}, as in 3.mlp_in, or one of {}",
                names.join(", "),
                outside.join(", ")
            );
            Error::invalid("a hook point", expected, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_point() {
        for ((short, long, _), point) in NAMES.iter().zip(HookPoint::all(12)) {
            assert_eq!(point.to_string(), format!("12.{short}"));
            assert_eq!(point.to_string().parse::<HookPoint>().unwrap(), point);
            assert_eq!(point.long_name(), format!("blocks.12.{long}"));
            assert_eq!(point.long_name().parse::<HookPoint>().unwrap(), point);
        }
        for (short, long, point) in OUTSIDE {
            assert_eq!((point.to_string(), point.long_name()), (short.to_owned(), long.to_owned()));
            assert_eq!(short.parse::<HookPoint>().unwrap(), point);
            assert_eq!(long.parse::<HookPoint>().unwrap(), point);
        }
        let message = "3.resid".parse::<HookPoint>().unwrap_err().to_string();
        assert!(message.contains("resid_mid") && message.contains("3.resid"), "{message}");
        assert!("x.resid_pre".parse::<HookPoint>().is_err());
    }
}
