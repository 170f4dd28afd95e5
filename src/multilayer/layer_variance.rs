//! The variance over layers and its parts, from sums of weights.

use std::fmt;

use crate::display::show_as_text;

/// The variance of the layer and its parts. They add up to [`total`](Self::total).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerVariance {
    /// `Var(ℓ)`, over all active entries.
    pub total: f64,
    /// `Var(E[ℓ|j])`: latents live at different layers.
    pub between_latents: f64,
    /// `E[Var(E[ℓ|j,t] | j)]`: a latent is active at other layers for other tokens.
    pub between_tokens: f64,
    /// `E[Var(ℓ|j,t)]`: a latent is active at several layers for one token.
    pub within_tokens: f64,
}

impl LayerVariance {
    /// The share of the variance that is within latents: 0 if each lives at a layer of its own, 1 if
    /// all spread alike. NaN without variance.
    pub fn within_latents_share(&self) -> f64 {
        (self.between_tokens + self.within_tokens) / self.total
    }

    /// Of the variance within latents, the share that is there for a single token. NaN if there is
    /// none.
    pub fn within_tokens_share(&self) -> f64 {
        self.within_tokens / (self.between_tokens + self.within_tokens)
    }
}

/// Sums of weights u(ℓ,t,j) of each latent j, from which its parts of the variance follow.
#[derive(Debug, Clone, PartialEq)]
pub struct LatentSums {
    /// `w(j) = Σ u`.
    pub w: Vec<f64>,
    /// `Σ u ℓ`.
    pub wl: Vec<f64>,
    /// `Σ u ℓ²`.
    pub wll: Vec<f64>,
    /// `Σ_t (Σ_ℓ u ℓ)² / Σ_ℓ u`.
    pub wl2_over_w: Vec<f64>,
}

impl LatentSums {
    pub(super) fn new(latents: usize) -> Self {
        let zeros = || vec![0.0; latents];
        Self { w: zeros(), wl: zeros(), wll: zeros(), wl2_over_w: zeros() }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (own, other) in [
            (&mut self.w, &other.w),
            (&mut self.wl, &other.wl),
            (&mut self.wll, &other.wll),
            (&mut self.wl2_over_w, &other.wl2_over_w),
        ] {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
    }

    /// The parts of the variance that follow from the sums.
    pub fn variance(&self) -> LayerVariance {
        let sum = |values: &[f64]| values.iter().sum::<f64>();
        let pairs = self.w.iter().copied().zip(self.wl.iter().copied());
        variance(pairs, sum(&self.wll), sum(&self.wl2_over_w))
    }
}

/// The parts of the variance from each latent's `(Σu, Σuℓ)`, from `Σuℓ²` and from `Σ(Σuℓ)²/Σu`.
pub(super) fn variance(
    latents: impl Iterator<Item = (f64, f64)>,
    wll: f64,
    wl2_over_w: f64,
) -> LayerVariance {
    let (mut w, mut wl, mut by_latent) = (0.0, 0.0, 0.0);
    for (own, first) in latents.filter(|(own, _)| *own > 0.0) {
        w += own;
        wl += first;
        by_latent += first * first / own;
    }
    let middle = wl / w;
    LayerVariance {
        total: wll / w - middle * middle,
        between_latents: by_latent / w - middle * middle,
        between_tokens: (wl2_over_w - by_latent) / w,
        within_tokens: (wll - wl2_over_w) / w,
    }
}

show_as_text!(LayerVariance);

impl fmt::Display for LayerVariance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, between_latents, between_tokens, within_tokens } = self;
        write!(
            f,
            "variance over layers {total:.4}: between latents {between_latents:.4}, between tokens \
             {between_tokens:.4}, within tokens {within_tokens:.4}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_of_the_parts() {
        let parts = LayerVariance {
            total: 2.0,
            between_latents: 1.0,
            between_tokens: 0.75,
            within_tokens: 0.25,
        };
        assert_eq!((parts.within_latents_share(), parts.within_tokens_share()), (0.5, 0.25));
        assert!(parts.to_string().contains("between tokens 0.7500"), "{parts}");
        // Two latents at layers 0 and 2, of which the second is as often at 1.
        let sums = LatentSums {
            w: vec![2.0, 0.0, 2.0],
            wl: vec![0.0, 0.0, 3.0],
            wll: vec![0.0, 0.0, 5.0],
            wl2_over_w: vec![0.0, 0.0, 5.0],
        };
        let found = sums.variance();
        assert!((found.total - 11.0 / 16.0).abs() < 1e-15);
        assert!((found.between_latents - 9.0 / 16.0).abs() < 1e-15);
        assert_eq!((found.between_tokens, found.within_tokens), (0.125, 0.0));
    }
}
