//! What a classifier's eigenvectors say about one sample, as plain data.

use candle_core::Tensor;

/// One sample's logits, taken apart into the contributions of each class's eigenvectors.
///
/// `logits[c] = Σ_i contributions[c, i]` (plus a bias, where the model has one), with
/// `contributions[c, i] = λ_ci (v_ci · x)²`.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The sample, `[height, width]`.
    pub input: Tensor,
    /// One logit a class.
    pub logits: Vec<f32>,
    /// One name a class.
    pub labels: Vec<String>,
    /// Eigenvalues ascending, `[classes, rank]`.
    pub eigenvalues: Tensor,
    /// Eigenvectors in input space, `[classes, rank, height, width]`.
    pub eigenvectors: Tensor,
    /// `λ (v·x)²`, `[classes, rank]`.
    pub contributions: Tensor,
}
