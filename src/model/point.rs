//! Places in a forward pass.

use std::fmt;
use std::str::FromStr;

use super::{Config, Mlp, Norm, Position};
use crate::{Error, Result};

/// A place in the forward pass of a [`Decoder`](super::Decoder), most of them in the layer that they
/// name.
///
/// With `x` the residual stream `[batch, positions, d_model]`, n₁, n₂, n₃ norms, p₁ and p₂ the norms
/// of outputs where there are any, and R the rotary embedding where there is one:
///
/// ```text
/// resid_pre = embed (+ pos_embed)         in the first layer, else the last resid_post
/// q, k, v = W n₁(resid_pre) + b           rot_q, rot_k = R q, R k
/// scores = cap(scale · rot_q rot_kᵀ)      where a key may not be seen: -1e30
/// pattern = softmax(scores)               z = pattern v
/// attn_out = p₁(W_o z + b)                resid_mid = resid_pre + attention_scale · attn_out
/// mlp_in = n₂(resid_mid)                  (parallel residual: n₂(resid_pre), no resid_mid)
/// mlp_pre, mlp_pre_linear = W mlp_in + b  mlp_post = act(mlp_pre) ∘ mlp_pre_linear
/// mlp_out = p₂(W mlp_post + b)            resid_post = resid_mid + mlp_out
/// logits = cap(W_u n₃(last resid_post))
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
    /// Vectors of positions `[batch, positions, d_model]`, where they are learned;
    /// `hook_pos_embed`.
    PosEmbed,
    /// The residual stream before the attention; TransformerLens: `blocks.L.hook_resid_pre`.
    ResidPre(usize),
    /// Denominator of the norm before the attention, `[batch, positions, 1]`;
    /// `blocks.L.ln1.hook_scale`.
    Ln1Scale(usize),
    /// That norm's result before gain and bias; `blocks.L.ln1.hook_normalized`.
    Ln1Normalized(usize),
    /// Queries with bias, before rotary embedding, `[batch, positions, heads, d_head]`;
    /// `blocks.L.attn.hook_q`.
    Q(usize),
    /// Keys with bias, before rotary embedding, `[batch, positions, kv_heads, d_head]`;
    /// `blocks.L.attn.hook_k`.
    K(usize),
    /// Values with bias, `[batch, positions, kv_heads, d_head]`; `blocks.L.attn.hook_v`.
    V(usize),
    /// Queries after rotary embedding, the entries that do not turn included;
    /// `blocks.L.attn.hook_rot_q`.
    RotQ(usize),
    /// Keys after rotary embedding; `blocks.L.attn.hook_rot_k`.
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
    /// The attention's output, with bias and after the norm of outputs with its gain, before the
    /// scale with which bilinear transformers add it; `blocks.L.hook_attn_out` (TransformerLens's
    /// models have no such scale).
    AttnOut(usize),
    /// Between attention and MLP; `blocks.L.hook_resid_mid`.
    ResidMid(usize),
    /// Denominator of the norm before the MLP; `blocks.L.ln2.hook_scale`.
    Ln2Scale(usize),
    /// That norm's result before gain and bias; `blocks.L.ln2.hook_normalized`.
    Ln2Normalized(usize),
    /// What the MLP reads, after the norm with gain and bias: where a norm has none of them, as in
    /// bilinear transformers, equal to [`HookPoint::Ln2Normalized`]. `blocks.L.mlp.hook_in` of
    /// TransformerLens's bridge; its `hook_mlp_in` is another place, before the norm.
    MlpIn(usize),
    /// Before the activation, with bias, `[batch, positions, d_hidden]`; of a gated MLP the half
    /// that the activation acts on; `blocks.L.mlp.hook_pre`.
    MlpPre(usize),
    /// The other half of a gated MLP; `blocks.L.mlp.hook_pre_linear`.
    MlpPreLinear(usize),
    /// What the MLP's output map reads; `blocks.L.mlp.hook_post`.
    MlpPost(usize),
    /// Denominator of the norm of the MLP's output; `blocks.L.ln2_post.hook_scale`.
    Ln2PostScale(usize),
    /// That norm's result before its gain; `blocks.L.ln2_post.hook_normalized`.
    Ln2PostNormalized(usize),
    /// What the MLP adds to the residual stream: with bias, after the norm of outputs with its
    /// gain; `blocks.L.hook_mlp_out`.
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
const KINDS: usize = 25;

/// Short name, TransformerLens's name, and the point, of each kind, as a pass reaches them.
const NAMES: [(&str, &str, PointOfLayer); KINDS] = [
    ("resid_pre", "hook_resid_pre", HookPoint::ResidPre),
    ("ln1_scale", "ln1.hook_scale", HookPoint::Ln1Scale),
    ("ln1_normalized", "ln1.hook_normalized", HookPoint::Ln1Normalized),
    ("q", "attn.hook_q", HookPoint::Q),
    ("k", "attn.hook_k", HookPoint::K),
    ("v", "attn.hook_v", HookPoint::V),
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

    /// Why no pass of such a model reaches it, if none does.
    pub(super) fn never(self, config: &Config) -> Option<String> {
        if self.layer().is_some_and(|layer| layer >= config.layers) {
            return Some(format!("in a layer below {}", config.layers));
        }
        let reason = match self {
            Self::PosEmbed | Self::RotQ(_) | Self::RotK(_) => {
                let learned = config.position == Position::Learned;
                match (self, learned) {
                    (Self::PosEmbed, false) => {
                        "of a model with learned positions; this one's are rotary"
                    }
                    (Self::RotQ(_) | Self::RotK(_), true) => {
                        "of a model with rotary embedding; this one's positions are learned"
                    }
                    _ => return None,
                }
            }
            Self::ResidMid(_) if config.parallel => {
                "of a model that adds attention and MLP one after the other; this one adds both to \
                 resid_pre (parallel residual)"
            }
            Self::Ln1PostScale(_)
            | Self::Ln1PostNormalized(_)
            | Self::Ln2PostScale(_)
            | Self::Ln2PostNormalized(_)
                if !config.post_norms =>
            {
                "of a model with norms of outputs, as Gemma 2; this one has none"
            }
            Self::Ln1Scale(_)
            | Self::Ln1Normalized(_)
            | Self::Ln2Scale(_)
            | Self::Ln2Normalized(_)
            | Self::Ln1PostScale(_)
            | Self::Ln1PostNormalized(_)
            | Self::Ln2PostScale(_)
            | Self::Ln2PostNormalized(_)
            | Self::LnFinalScale
            | Self::LnFinalNormalized
                if config.norm == Norm::None =>
            {
                "of a model with norms; this one has none"
            }
            Self::MlpPreLinear(_) if matches!(config.mlp, Mlp::Plain(_)) => {
                "of a gated MLP; this model's have one half"
            }
            _ => return None,
        };
        Some(reason.to_owned())
    }
}

impl Config {
    /// Every point that a pass reaches, in its order.
    pub(super) fn points(&self) -> Vec<HookPoint> {
        let [embed, pos_embed, scale, normalized] = OUTSIDE.map(|(_, _, point)| point);
        let layers = (0..self.layers).flat_map(HookPoint::all);
        let all = [embed, pos_embed].into_iter().chain(layers).chain([scale, normalized]);
        all.filter(|point| point.never(self).is_none()).collect()
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

    #[test]
    fn a_model_has_the_points_of_its_parts() {
        let count = |config: Config| config.points().len();
        let common = KINDS - 4;
        // Embedding and the final norm's two; no learned positions, no norms of outputs.
        assert_eq!(count(Config::llama(2, 2, 8, 8)), 2 * common + 3);
        assert_eq!(count(Config::gemma2(2, 2, 8, 8)), 2 * KINDS + 3);
        // No rotary embedding, no second half.
        assert_eq!(count(Config::gpt2(2, 2, 8, 8)), 2 * (common - 3) + 4);
        // Nor a resid_mid.
        assert_eq!(count(Config::gpt_neox(2, 2, 8, 8)), 2 * (common - 2) + 3);
        let none = Config { norm: Norm::None, ..Config::llama(1, 2, 8, 8) };
        assert_eq!(count(none), common - 4 + 1);
    }
}
