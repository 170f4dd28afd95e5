//! A bootstrap over contexts, of sums that are too large to keep for each context.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::layer_variance::{LayerVariance, variance};
use crate::check::check_sizes;
use crate::random::Rng;
use crate::{Error, Result};

/// `[Σu, Σuℓ, Σuℓ², (Σuℓ)²/Σu]` for each weighting.
pub(super) type PairSums = [[f64; 4]; 3];

/// The sums of one draw.
#[derive(Debug, Clone)]
struct DrawSums {
    /// For each latent `[Σu, Σuℓ]` of each weighting.
    latents: Vec<[[f64; 2]; 3]>,
    /// `[Σuℓ², Σ(Σuℓ)²/Σu]` of each weighting, over all latents.
    overall: [[f64; 2]; 3],
}

/// Sums of resampled contexts. A draw takes context c as often as a Poisson variable of mean 1 says
/// that depends on the seed, c and the draw: contexts come one by one, in any order and in parts, and
/// no draw has to know how many there will be.
#[derive(Debug, Clone)]
pub(super) struct ContextResampling {
    seed: u64,
    draws: Vec<DrawSums>,
    /// What is known of the running context.
    context: Option<u64>,
    latents: BTreeMap<usize, PairSums>,
    seen: BTreeSet<u64>,
}

impl ContextResampling {
    pub(super) fn new(draws: usize, latents: usize, seed: u64) -> Result<Self> {
        check_sizes(&[("the number of draws", draws)])?;
        let empty = DrawSums { latents: vec![[[0.0; 2]; 3]; latents], overall: [[0.0; 2]; 3] };
        let (draws, latents) = (vec![empty; draws], BTreeMap::new());
        Ok(Self { seed, draws, context: None, latents, seen: BTreeSet::new() })
    }

    /// The number of a context that comes after all so far.
    pub(super) fn next_context(&self) -> u64 {
        self.seen.last().map_or(0, |last| last + 1)
    }

    /// Takes in a pair of a token of `context` and a latent.
    pub(super) fn add(&mut self, context: u64, latent: usize, pair: &PairSums) {
        if self.context != Some(context) {
            self.flush();
            self.context = Some(context);
        }
        let sums = self.latents.entry(latent).or_insert([[0.0; 4]; 3]);
        for (sums, pair) in sums.iter_mut().flatten().zip(pair.iter().flatten()) {
            *sums += pair;
        }
    }

    /// Whether draws of both are of the same contexts.
    pub(super) fn draws_as(&self, other: &Self) -> bool {
        (self.seed, self.draws.len()) == (other.seed, other.draws.len())
    }

    /// Takes in the same draws of other contexts.
    pub(super) fn merge(&mut self, other: &Self) {
        for (own, other) in self.draws.iter_mut().zip(&other.draws) {
            let pairs = own.latents.iter_mut().flatten().zip(other.latents.iter().flatten());
            let pairs = pairs.chain(own.overall.iter_mut().zip(&other.overall));
            for (own, other) in pairs {
                own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
            }
        }
        self.seen.extend(&other.seen);
    }

    /// Ends a batch of these contexts, some of which may have had nothing active.
    pub(super) fn end(&mut self, contexts: &[u64]) {
        self.flush();
        self.seen.extend(contexts);
    }

    /// Hands the running context to all draws.
    fn flush(&mut self) {
        let Some(context) = self.context.take() else { return };
        let latents = std::mem::take(&mut self.latents);
        let mut rng = Rng::stream(self.seed, context);
        let times: Vec<f64> = self.draws.iter().map(|_| poisson(rng.unit())).collect();
        self.draws.par_iter_mut().zip(times).filter(|(_, times)| *times > 0.0).for_each(
            |(draw, times)| {
                for (latent, sums) in &latents {
                    let own = draw.latents[*latent].iter_mut().zip(&mut draw.overall);
                    for ((own, overall), [w, wl, wll, wl2_over_w]) in own.zip(sums) {
                        own[0] += times * w;
                        own[1] += times * wl;
                        overall[0] += times * wll;
                        overall[1] += times * wl2_over_w;
                    }
                }
            },
        );
    }

    /// The variance and its parts in each draw in which anything was active.
    ///
    /// # Errors
    /// If there were fewer than two contexts.
    pub(super) fn variances(&self, weighting: usize) -> Result<Vec<LayerVariance>> {
        if self.seen.len() < 2 {
            let expected = "at least 2, for one has no spread";
            return Err(Error::invalid("the number of contexts", expected, self.seen.len()));
        }
        let of = |draw: &DrawSums| {
            let latents = draw.latents.iter().map(|own| (own[weighting][0], own[weighting][1]));
            let [wll, wl2_over_w] = draw.overall[weighting];
            variance(latents, wll, wl2_over_w)
        };
        Ok(self.draws.par_iter().map(of).filter(|own| !own.total.is_nan()).collect())
    }
}

/// The Poisson variable of mean 1 at quantile `u`, from 0 to 1.
fn poisson(u: f32) -> f64 {
    let u = f64::from(u);
    let (mut count, mut share) = (0.0, (-1f64).exp());
    let mut below = share;
    while u >= below && count < 16.0 {
        count += 1.0;
        share /= count;
        below += share;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_mean_and_variance_one() {
        let mut rng = Rng::seed(3);
        let draws: Vec<f64> = (0..20_000).map(|_| poisson(rng.unit())).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let square = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 1.0).abs() < 0.03 && (square - 1.0).abs() < 0.06, "{mean} {square}");
        assert_eq!((poisson(0.0), poisson(0.36), poisson(0.37)), (0.0, 0.0, 1.0));
        assert!(poisson(1.0) <= 16.0);
    }
}
