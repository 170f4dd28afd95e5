//! The variance over layers, taken apart by the law of total variance.

use std::fmt;

use super::codes::{LayerCodes, LayerValue, check_layers_and_latents};
use super::layer_variance::{LatentSums, LayerVariance};
use super::resampling::{ContextResampling, PairSums};
use crate::display::show_as_text;
use crate::geometry::Interval;
use crate::{Error, Result};

/// What an active entry of token t and latent j at layer ℓ weighs, with a its activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weighting {
    /// `a`: strong activations weigh more. The default.
    #[default]
    Activation,
    /// `1`: every active entry weighs the same.
    Count,
    /// `a / Σ_ℓ a`: every active pair of token and latent weighs the same.
    Pairs,
}

impl Weighting {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Activation, Self::Count, Self::Pairs];

    /// The weight of an entry `value` of a pair whose entries add up to `sum`.
    fn of_pair(self, value: f64, sum: f64) -> f64 {
        match self {
            Self::Activation => value,
            Self::Count => 1.0,
            Self::Pairs => value / sum,
        }
    }
}

impl fmt::Display for Weighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Activation => "weighted by activation",
            Self::Count => "each entry alike",
            Self::Pairs => "each pair alike",
        })
    }
}

/// Intervals for a [`LayerVariance`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerVarianceIntervals {
    /// For [`LayerVariance::total`].
    pub total: Interval,
    /// For [`LayerVariance::between_latents`].
    pub between_latents: Interval,
    /// For [`LayerVariance::between_tokens`].
    pub between_tokens: Interval,
    /// For [`LayerVariance::within_tokens`].
    pub within_tokens: Interval,
    /// For [`LayerVariance::within_latents_share`].
    pub within_latents_share: Interval,
    /// For [`LayerVariance::within_tokens_share`].
    pub within_tokens_share: Interval,
}

/// How much of the variance over layers is between latents, between the tokens of a latent, and
/// within a token, by the law of total variance:
///
/// ```text
/// Var(ℓ) = Var(E[ℓ|j]) + E[Var(E[ℓ|j,t] | j)] + E[Var(ℓ|j,t)]
/// ```
///
/// ℓ is the layer of an active entry (0 … L − 1), j its latent and t its token; entries are drawn
/// by their [`Weighting`], and all three are computed. With sums per latent `w = Σu`, `wl = Σuℓ`,
/// `wll = Σuℓ²`, `wl2 = Σ_t (Σ_ℓ uℓ)²/Σ_ℓ u` and W = Σ_j w, the terms are
/// `(Σ wl²/w)/W − (Σ wl/W)²`, `(Σ wl2 − Σ wl²/w)/W` and `(Σ wll − Σ wl2)/W`: a single pass, memory
/// for four numbers a latent.
///
/// Lawson et al. (2024) ask the same of averages that do not add up
/// ([`OriginalVariances`](super::OriginalVariances) has them).
///
/// ```
/// use eigenlens::multilayer::{LayerCodes, VarianceDecomposition, Weighting};
/// use eigenlens::sae::Codes;
/// # fn main() -> eigenlens::Result<()> {
/// // Two latents, each at its own layer, whatever the token.
/// let first = Codes::new(2, [vec![(0, 1.0)], vec![(0, 2.0)]])?;
/// let second = Codes::new(2, [vec![(1, 2.0)], vec![(1, 1.0)]])?;
/// let mut found = VarianceDecomposition::new(2, 2)?;
/// found.add(&LayerCodes::new([first, second])?)?;
/// let parts = found.variance(Weighting::Activation);
/// assert_eq!((parts.total, parts.between_latents, parts.within_tokens), (0.25, 0.25, 0.0));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct VarianceDecomposition {
    layers: usize,
    latents: usize,
    sums: [LatentSums; 3],
    tokens: u64,
    resampling: Option<ContextResampling>,
}

impl VarianceDecomposition {
    /// Of so many layers and latents, before the first token.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no layers or no latents.
    pub fn new(layers: usize, latents: usize) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        let sums = [(); 3].map(|()| LatentSums::new(latents));
        Ok(Self { layers, latents, sums, tokens: 0, resampling: None })
    }

    /// With `draws` resamplings of the contexts beside it, for [`intervals`](Self::intervals); none
    /// by default. Each draw takes 48 bytes a latent.
    ///
    /// In a draw every context counts as often as a Poisson variable of mean 1 says, which is the
    /// bootstrap over contexts for texts of unknown length. The variable depends on `seed` and on the
    /// number of the context alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no draws, or if tokens were taken in already.
    pub fn with_intervals(self, draws: usize, seed: u64) -> Result<Self> {
        if self.tokens > 0 {
            let expected = "set before the first token";
            return Err(Error::invalid("the draws of contexts", expected, "a later call"));
        }
        let resampling = Some(ContextResampling::new(draws, self.latents, seed)?);
        Ok(Self { resampling, ..self })
    }

    /// Takes in the codes of one more context.
    ///
    /// # Errors
    /// [`Error::Invalid`] for codes of another number of layers or latents, or after a context whose
    /// number is the last of all.
    pub fn add(&mut self, codes: &LayerCodes) -> Result<()> {
        let context = match &self.resampling {
            Some(resampling) => resampling.next_context()?,
            None => 0,
        };
        self.add_contexts(codes, &vec![context; codes.rows()])
    }

    /// Takes in codes of several contexts: `contexts` has the number of each row's context.
    ///
    /// # Errors
    /// [`Error::Invalid`] for codes of another number of layers or latents; [`Error::Shape`] unless
    /// every row has a context.
    pub fn add_contexts(&mut self, codes: &LayerCodes, contexts: &[u64]) -> Result<()> {
        codes.check(self.layers, self.latents)?;
        if contexts.len() != codes.rows() {
            let expected = format!("{}, one a row", codes.rows());
            return Err(Error::shape("the contexts of the rows", expected, contexts.len()));
        }
        let Self { sums, resampling, .. } = self;
        codes.for_each_pair(
            |value| value > 0.0,
            |row, latent, values| {
                let pair = pair_sums(values);
                for (sums, [w, wl, wll, wl2_over_w]) in sums.iter_mut().zip(pair) {
                    sums.w[latent] += w;
                    sums.wl[latent] += wl;
                    sums.wll[latent] += wll;
                    sums.wl2_over_w[latent] += wl2_over_w;
                }
                if let Some(resampling) = resampling {
                    resampling.add(contexts[row], latent, &pair);
                }
            },
        );
        if let Some(resampling) = resampling {
            resampling.end(contexts);
        }
        self.tokens += codes.rows() as u64;
        Ok(())
    }

    /// Takes in what was summed on another part of the text, whose contexts have other numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of layers or latents, or for other draws.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let fits = (self.layers, self.latents) == (other.layers, other.latents)
            && match (&self.resampling, &other.resampling) {
                (Some(own), Some(other)) => own.draws_as(other),
                (None, None) => true,
                _ => false,
            };
        if !fits {
            let expected = "of the same sizes, draws and seed";
            return Err(Error::invalid("the decompositions to merge", expected, other));
        }
        self.sums.iter_mut().zip(&other.sums).for_each(|(own, other)| own.merge(other));
        if let (Some(own), Some(other)) = (&mut self.resampling, &other.resampling) {
            own.merge(other);
        }
        self.tokens += other.tokens;
        Ok(())
    }

    /// Number of tokens.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// The sums of each latent.
    pub fn sums(&self, weighting: Weighting) -> &LatentSums {
        &self.sums[weighting as usize]
    }

    /// The variance over layers and its parts; NaN if nothing was active.
    pub fn variance(&self, weighting: Weighting) -> LayerVariance {
        self.sums(weighting).variance()
    }

    /// Intervals of the bootstrap over contexts: percentiles of the draws, moved so that their mean is
    /// the value itself. A draw repeats contexts and so varies less between them than the text does,
    /// which moves all draws to one side where contexts are few. NaN if a draw has no variance to
    /// divide by.
    ///
    /// # Errors
    /// [`Error::Invalid`] without [`with_intervals`](Self::with_intervals), for fewer than two
    /// contexts, or for a confidence that is not between 0 and 1.
    pub fn intervals(
        &self,
        weighting: Weighting,
        confidence: f64,
    ) -> Result<LayerVarianceIntervals> {
        let Some(resampling) = &self.resampling else {
            let expected = "made with `with_intervals`, which draws contexts";
            return Err(Error::invalid("the decomposition", expected, "one without draws"));
        };
        let draws = resampling.variances(weighting as usize)?;
        let own = self.variance(weighting);
        let of = |part: &dyn Fn(&LayerVariance) -> f64| {
            let (own, draws): (f64, Vec<f64>) = (part(&own), draws.iter().map(part).collect());
            let shift = own - draws.iter().sum::<f64>() / draws.len() as f64;
            let centred = draws.into_iter().map(|draw| draw + shift).collect();
            Interval::of_draws(own, centred, confidence)
        };
        Ok(LayerVarianceIntervals {
            total: of(&|parts| parts.total)?,
            between_latents: of(&|parts| parts.between_latents)?,
            between_tokens: of(&|parts| parts.between_tokens)?,
            within_tokens: of(&|parts| parts.within_tokens)?,
            within_latents_share: of(&LayerVariance::within_latents_share)?,
            within_tokens_share: of(&LayerVariance::within_tokens_share)?,
        })
    }
}

/// `[Σu, Σuℓ, Σuℓ², (Σuℓ)²/Σu]` of a pair's active layers, for each weighting.
fn pair_sums(values: &[LayerValue]) -> PairSums {
    let all: f64 = values.iter().map(|(_, value)| f64::from(*value)).sum();
    Weighting::ALL.map(|weighting| {
        let [mut w, mut wl, mut wll] = [0.0; 3];
        for &(layer, value) in values {
            let (layer, own) = (layer as f64, weighting.of_pair(f64::from(value), all));
            w += own;
            wl += own * layer;
            wll += own * layer * layer;
        }
        [w, wl, wll, wl * wl / w]
    })
}

show_as_text!(VarianceDecomposition);

impl fmt::Display for VarianceDecomposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens at {} layers", self.tokens, self.layers)?;
        Weighting::ALL.iter().try_for_each(|own| write!(f, "\n  {own}: {}", self.variance(*own)))
    }
}

#[cfg(test)]
mod tests;
