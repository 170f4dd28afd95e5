//! What an autoencoder computes, apart from its weights.

use std::fmt;

/// How an activation becomes a code, step by step, in the order of the fields.
///
/// With x an activation `[d]`, b the decoder's bias, E and e the encoder and its bias, D the decoder
/// and dᵢ its columns:
///
/// ```text
/// h = E (n(x) − b) + e      f = act(h)      x̂ = n⁻¹(D f + b) + S x
/// ```
///
/// with a normalisation n, b left out of the encoder unless it is `centred`, and the skip
/// connection S of some transcoders.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// n, undone on the way out.
    pub normalization: Normalization,
    /// Whether b is taken off before encoding. Transcoders and several families never do.
    pub centred: bool,
    /// How h comes from the encoder's rows.
    pub encoder: Encoder,
    /// Whether the lengths of the decoder's columns weigh in.
    pub rescale: Rescale,
    /// How f comes from h.
    pub activation: SaeActivation,
    /// Whether it reads one place of the model and predicts another.
    pub transcoder: bool,
}

impl Architecture {
    /// `relu(E(x − b) + e)`: SAELens's `standard`.
    pub fn standard() -> Self {
        Self {
            normalization: Normalization::None,
            centred: true,
            encoder: Encoder::Linear,
            rescale: Rescale::None,
            activation: SaeActivation::Relu,
            transcoder: false,
        }
    }

    /// The k largest of `E(x − b) + e`, and of those the positive ones.
    pub fn top_k(k: usize) -> Self {
        Self { activation: SaeActivation::TopK { k, relu: true }, ..Self::standard() }
    }

    /// The k largest of `E(x − b) + e` as they are, also where they are negative: the bilinear
    /// `-scope` autoencoders.
    pub fn signed_top_k(k: usize) -> Self {
        Self { activation: SaeActivation::TopK { k, relu: false }, ..Self::standard() }
    }

    /// What of `E(x − b) + e` lies above each feature's threshold.
    pub fn jump_relu() -> Self {
        Self { activation: SaeActivation::JumpRelu, ..Self::standard() }
    }
}

/// What happens to an activation before it is encoded, and is undone after decoding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Normalization {
    /// Nothing.
    None,
    /// `(x − mean)/(s + 1e-5)` with the sample standard deviation s (over d − 1) of each row; on the
    /// way out times s, plus the mean.
    LayerNorm,
    /// `x √d / ‖x‖`, row by row.
    UnitNorm,
    /// `x − mean(x)`, row by row; on the way out plus the mean.
    Centre,
    /// `s x` with a constant s, such as √d over the mean length in a data set.
    Scale(f64),
}

/// The encoder's maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// `E y + e`.
    Linear,
    /// `(E₁ y + e₁) ∘ (E₂ y + e₂)`.
    Bilinear,
    /// `(E₁ y + e₁) ∘ σ(E₂ y + e₂)` with the logistic function σ.
    Glu,
}

impl Encoder {
    /// Rows of E for each feature.
    pub(super) fn maps(self) -> usize {
        if self == Self::Linear { 1 } else { 2 }
    }
}

/// What the lengths ‖dᵢ‖ of the decoder's columns do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescale {
    /// Nothing.
    None,
    /// `hᵢ ‖dᵢ‖` is compared, and is the code; decoding divides by ‖dᵢ‖ (SAELens).
    Kept,
    /// `hᵢ ‖dᵢ‖` is compared, and hᵢ is the code (Language-Model-SAEs).
    Undone,
}

/// How a code comes from h.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SaeActivation {
    /// `max(h, 0)`.
    Relu,
    /// h where it is above its feature's threshold and above 0.
    JumpRelu,
    /// The k largest; with `relu` only the positive ones of them.
    TopK {
        /// How many.
        k: usize,
        /// Whether negative ones are left out.
        relu: bool,
    },
    /// The k largest in magnitude, with their signs.
    AbsTopK {
        /// How many.
        k: usize,
    },
    /// The features are cut into k equal runs; the largest of each, where it is positive.
    GroupMax {
        /// How many.
        k: usize,
    },
    /// `max(hᵢ exp(rᵢ) + cᵢ, 0)` where `hᵢ + gᵢ > 0`, with the weights of a
    /// [`Gate`](super::Gate). h has no bias then.
    Gated,
    /// Matching pursuit: the encoder is the decoder. As long as the rest of x is at least
    /// `threshold` long, and at most `steps` times, the feature with the largest `dᵢ · rest` is
    /// taken in with that value, and its part is taken off.
    MatchingPursuit {
        /// The length of the rest that is short enough.
        threshold: f32,
        /// Most steps.
        steps: usize,
        /// Whether to end when a step brings no feature that was not in before.
        stop_on_repeat: bool,
    },
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.transcoder { "transcoder" } else { "autoencoder" };
        write!(f, "{} {kind}", self.activation)?;
        match self.encoder {
            Encoder::Linear => {}
            Encoder::Bilinear => f.write_str(", bilinear encoder")?,
            Encoder::Glu => f.write_str(", gated linear encoder")?,
        }
        match self.normalization {
            Normalization::None => Ok(()),
            Normalization::LayerNorm => f.write_str(", inputs standardised"),
            Normalization::UnitNorm => f.write_str(", inputs scaled to length √d"),
            Normalization::Centre => f.write_str(", inputs centred"),
            Normalization::Scale(scale) => write!(f, ", inputs times {scale:.4}"),
        }
    }
}
