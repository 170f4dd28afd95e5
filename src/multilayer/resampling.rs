//! A bootstrap over contexts, of sums that are too large to keep for each context.

use std::collections::BTreeSet;

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

/// The sums of a context that is over.
#[derive(Debug, Clone)]
struct LatentSumsOfContext {
    context: u64,
    /// Latents with `[Σu, Σuℓ]` of each weighting.
    latents: Vec<(u32, [[f64; 2]; 3])>,
    /// `[Σuℓ², Σ(Σuℓ)²/Σu]` of each weighting, over all latents.
    overall: [[f64; 2]; 3],
}

/// Latents of contexts that are over, before all draws take them in: few megabytes.
const LATENTS_AT_A_TIME: usize = 1 << 16;
/// How often contexts are in draws, as many numbers at a time.
const TIMES_AT_A_TIME: usize = 1 << 16;

/// Sums of resampled contexts. A draw takes context c as often as a Poisson variable of mean 1 says
/// that depends on the seed, c and the draw: contexts come one by one, in any order and in parts, and
/// no draw has to know how many there will be.
#[derive(Debug, Clone)]
pub(super) struct ContextResampling {
    seed: u64,
    draws: Vec<DrawSums>,
    context: Option<u64>,
    /// What is known of the running context, for each latent; zero for those that are not `active`.
    sums: Vec<PairSums>,
    active: Vec<u32>,
    /// Contexts that are over. Draws take several together, for each draw is as large as a cache.
    ended: Vec<LatentSumsOfContext>,
    /// Latents of these.
    num_ended: usize,
    seen: BTreeSet<u64>,
}

impl ContextResampling {
    pub(super) fn new(draws: usize, latents: usize, seed: u64) -> Result<Self> {
        check_sizes(&[("the number of draws", draws)])?;
        let empty = DrawSums { latents: vec![[[0.0; 2]; 3]; latents], overall: [[0.0; 2]; 3] };
        Ok(Self {
            seed,
            draws: vec![empty; draws],
            context: None,
            sums: vec![[[0.0; 4]; 3]; latents],
            active: Vec::new(),
            ended: Vec::new(),
            num_ended: 0,
            seen: BTreeSet::new(),
        })
    }

    /// The number of a context that comes after all so far.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none after the last.
    pub(super) fn next_context(&self) -> Result<u64> {
        let Some(last) = self.seen.last() else { return Ok(0) };
        last.checked_add(1).ok_or_else(|| {
            Error::invalid("the number of a context", "below 2⁶⁴ − 1, for another follows", last)
        })
    }

    /// Takes in a pair of a token of `context` and a latent.
    pub(super) fn add(&mut self, context: u64, latent: usize, pair: &PairSums) {
        if self.context != Some(context) {
            self.end_context();
            self.context = Some(context);
        }
        let sums = &mut self.sums[latent];
        // Weights are above zero, whatever the weighting.
        if sums[0][0] == 0.0 {
            self.active.push(latent as u32);
        }
        for (sums, pair) in sums.as_flattened_mut().iter_mut().zip(pair.as_flattened()) {
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
        self.end_context();
        self.hand_over();
        let mut last = None;
        for context in contexts {
            if last.replace(context) != Some(context) {
                self.seen.insert(*context);
            }
        }
    }

    /// Puts the running context among those that are over.
    fn end_context(&mut self) {
        let Some(context) = self.context.take() else { return };
        self.active.sort_unstable();
        let mut overall = [[0.0; 2]; 3];
        let mut latents = Vec::with_capacity(self.active.len());
        for latent in self.active.drain(..) {
            let sums = std::mem::take(&mut self.sums[latent as usize]);
            for (overall, [_, _, wll, wl2_over_w]) in overall.iter_mut().zip(sums) {
                overall[0] += wll;
                overall[1] += wl2_over_w;
            }
            latents.push((latent, sums.map(|[w, wl, ..]| [w, wl])));
        }
        self.num_ended += latents.len();
        self.ended.push(LatentSumsOfContext { context, latents, overall });
        if self.num_ended >= LATENTS_AT_A_TIME {
            self.hand_over();
        }
    }

    /// Hands the contexts that are over to all draws.
    fn hand_over(&mut self) {
        let (seed, draws) = (self.seed, self.draws.len());
        for ended in self.ended.chunks((TIMES_AT_A_TIME / draws).max(1)) {
            let times = ended.iter().map(|ended| {
                let mut rng = Rng::stream(seed, ended.context);
                (0..draws).map(|_| poisson(rng.unit())).collect::<Vec<f64>>()
            });
            let times: Vec<Vec<f64>> = times.collect();
            self.draws.par_iter_mut().enumerate().for_each(|(at, draw)| {
                let drawn = ended.iter().zip(&times).filter(|(_, times)| times[at] > 0.0);
                for (ended, times) in drawn {
                    let add = |sums: &mut [[f64; 2]; 3], more: &[[f64; 2]; 3]| {
                        let pairs = sums.as_flattened_mut().iter_mut().zip(more.as_flattened());
                        pairs.for_each(|(sum, more)| *sum += times[at] * more);
                    };
                    for (latent, sums) in &ended.latents {
                        add(&mut draw.latents[*latent as usize], sums);
                    }
                    add(&mut draw.overall, &ended.overall);
                }
            });
        }
        self.ended.clear();
        self.num_ended = 0;
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

    /// `contexts` of one pair each, with the numbers of their contexts as weights.
    fn resampled(contexts: std::ops::Range<u64>, each: bool) -> ContextResampling {
        let mut found = ContextResampling::new(1 << 12, 1, 7).unwrap();
        for context in contexts.clone() {
            let weight = context as f64 + 1.0;
            found.add(context, 0, &[[weight, 0.0, 0.0, 0.0]; 3]);
            if each {
                found.end(&[context]);
            }
        }
        found.end(&contexts.collect::<Vec<_>>());
        found
    }

    #[test]
    fn draws_do_not_depend_on_how_many_contexts_are_taken_together() {
        // More than fit in one turn of as many draws.
        let [one, other] = [false, true].map(|each| resampled(0..40, each));
        let sums = |found: &ContextResampling| -> Vec<f64> {
            found.draws.iter().map(|draw| draw.latents[0][0][0]).collect()
        };
        assert_eq!(sums(&one), sums(&other));
        let times = |context| {
            let mut rng = Rng::stream(7, context);
            (0..1 << 12).map(|_| poisson(rng.unit())).collect::<Vec<f64>>()
        };
        let times: Vec<Vec<f64>> = (0..40).map(times).collect();
        for (at, sum) in sums(&one).into_iter().enumerate() {
            let expected: f64 = (0..40).map(|c| times[c][at] * (c as f64 + 1.0)).sum();
            assert_eq!(sum, expected);
        }
    }

    #[test]
    fn the_last_number_has_none_after_it() {
        let mut found = ContextResampling::new(1, 1, 0).unwrap();
        assert_eq!(found.next_context().unwrap(), 0);
        found.end(&[6]);
        assert_eq!(found.next_context().unwrap(), 7);
        found.end(&[u64::MAX]);
        let error = found.next_context().unwrap_err().to_string();
        assert!(error.contains("the number of a context"), "{error}");
        assert!(error.contains("18446744073709551615"), "{error}");
    }
}
