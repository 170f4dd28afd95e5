//! The variances of the original.

use std::fmt;

use crate::Result;
use crate::display::show_as_text;
use crate::multilayer::codes::{LayerCodes, check_layers_and_latents};

/// The original's variances over layers, under its names.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct OriginalVarianceValues {
    /// Mean over tokens and latents of the variance of their shares.
    pub exp_var_l_tf: f64,
    /// Mean over latents of the variance of their mean shares.
    pub exp_var_l_f: f64,
    /// Variance of the mean share of all.
    pub var_l: f64,
    /// `exp_var_l_f / var_l`, meant as the share within latents.
    pub rel_var_f: f64,
    /// `exp_var_l_tf / exp_var_l_f`, meant as the share within tokens.
    pub rel_var_t: f64,
}

impl OriginalVarianceValues {
    fn values(&mut self) -> [&mut f64; 5] {
        let Self { exp_var_l_tf, exp_var_l_f, var_l, rel_var_f, rel_var_t } = self;
        [exp_var_l_tf, exp_var_l_f, var_l, rel_var_f, rel_var_t]
    }
}

/// The original's formula for the variance over layers, which does not measure what it says: use
/// [`VarianceDecomposition`](crate::multilayer::VarianceDecomposition).
///
/// With `p(ℓ,t,j) = v(ℓ,t,j) / Σ_ℓ v(ℓ,t,j)`, 0 where that is none, and
/// `var(q) = Σ_ℓ ℓ² q − (Σ_ℓ ℓ q)²`, of each batch
///
/// ```text
/// exp_var_l_tf = mean_tj var(p)     exp_var_l_f = mean_j var(mean_t p)     var_l = var(mean_tj p)
/// ```
///
/// and the results, the ratios too, are averaged over batches. The means over tokens include those at
/// which the latent is inactive. So what is called a distribution does not sum to 1, and its
/// variance is about a raw second moment times the share of active tokens: `rel_var_f` is close to 1
/// whatever the truth is.
///
/// ```
/// use eigenlens::multilayer::{LayerCodes, OriginalVariances};
/// use eigenlens::sae::Codes;
/// # fn main() -> eigenlens::Result<()> {
/// // One of two latents is active, at layer 1, at one of four tokens.
/// let none = || Codes::new(2, vec![vec![]; 4]);
/// let one = Codes::new(2, [vec![(0, 1.0)], vec![], vec![], vec![]])?;
/// let mut found = OriginalVariances::new(2, 2)?;
/// found.add(&LayerCodes::new([none()?, one])?)?;
/// // Its layer does not vary. The formula says (1/4 − 1/16)/2.
/// assert_eq!(found.values().exp_var_l_f, 0.09375);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct OriginalVariances {
    layers: usize,
    latents: usize,
    batches: u64,
    sums: OriginalVarianceValues,
}

impl OriginalVariances {
    /// Of so many layers and latents, before the first batch.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for no layers or no latents.
    pub fn new(layers: usize, latents: usize) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        Ok(Self { layers, latents, batches: 0, sums: OriginalVarianceValues::default() })
    }

    /// Takes in a batch, all entries of it: the original's script gives values before the ReLU.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for codes of another number of layers or latents.
    pub fn add(&mut self, codes: &LayerCodes) -> Result<()> {
        codes.check(self.layers, self.latents)?;
        if codes.rows() == 0 {
            return Ok(());
        }
        let (tokens, latents) = (codes.rows() as f64, self.latents as f64);
        let mut shares = vec![0.0; self.layers * self.latents];
        let mut of_pairs = 0.0;
        codes.for_each_pair(
            |_| true,
            |_, latent, values| {
                let sum: f64 = values.iter().map(|(_, value)| f64::from(*value)).sum();
                let own = values.iter().map(|&(layer, value)| (layer, f64::from(value) / sum));
                let own = own.map(|(layer, p)| (layer, if p.is_finite() { p } else { 0.0 }));
                of_pairs += variance(own.clone());
                own.for_each(|(layer, p)| shares[latent * self.layers + layer] += p);
            },
        );
        let mut overall = vec![0.0; self.layers];
        let mut of_latents = 0.0;
        for own in shares.chunks(self.layers) {
            let own = own.iter().map(|sum| sum / tokens);
            of_latents += variance(own.clone().enumerate());
            overall.iter_mut().zip(own).for_each(|(all, own)| *all += own / latents);
        }
        let mut found = OriginalVarianceValues {
            exp_var_l_tf: of_pairs / (tokens * latents),
            exp_var_l_f: of_latents / latents,
            var_l: variance(overall.into_iter().enumerate()),
            ..OriginalVarianceValues::default()
        };
        found.rel_var_f = found.exp_var_l_f / found.var_l;
        found.rel_var_t = found.exp_var_l_tf / found.exp_var_l_f;
        let pairs = self.sums.values().into_iter().zip(found.values());
        pairs.for_each(|(sum, found)| *sum += *found);
        self.batches += 1;
        Ok(())
    }

    /// The means over batches; NaN before the first.
    pub fn values(&self) -> OriginalVarianceValues {
        let mut means = self.sums;
        means.values().into_iter().for_each(|sum| *sum /= self.batches as f64);
        means
    }
}

/// `Σ ℓ² q − (Σ ℓ q)²`.
fn variance(shares: impl Iterator<Item = (usize, f64)>) -> f64 {
    let (first, second) = shares.fold((0.0, 0.0), |(first, second), (layer, q)| {
        let layer = layer as f64;
        (first + layer * q, second + layer * layer * q)
    });
    second - first * first
}

show_as_text!(OriginalVariances);

impl fmt::Display for OriginalVariances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = self.values();
        write!(
            f,
            "the original's variances: var_l {:.4}, exp_var_l_f {:.4}, exp_var_l_tf {:.4}, \
             rel_var_f {:.3}, rel_var_t {:.3}",
            own.var_l, own.exp_var_l_f, own.exp_var_l_tf, own.rel_var_f, own.rel_var_t
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multilayer::codes::tests::{dense, random_codes};

    #[test]
    fn values_are_those_of_the_dense_formula() {
        let [l, t, n] = [4, 12, 7];
        let batches = [random_codes(1, [l, t, 3, n]), random_codes(2, [l, t, 3, n])];
        let mut found = OriginalVariances::new(l, n).unwrap();
        let mut expected = [0.0; 5];
        for codes in &batches {
            found.add(codes).unwrap();
            let dense = dense(codes);
            let mut p = vec![0.0; l * t * n];
            for token in 0..t {
                for latent in 0..n {
                    let value = |layer: usize| f64::from(dense[layer][token][latent]);
                    let sum: f64 = (0..l).map(value).sum();
                    for layer in 0..l {
                        let share = value(layer) / sum;
                        p[(layer * t + token) * n + latent] =
                            if share.is_finite() { share } else { 0.0 };
                    }
                }
            }
            let mean = |layer: usize, keep: &dyn Fn(usize, usize) -> bool| {
                let all = (0..t).flat_map(|token| (0..n).map(move |latent| (token, latent)));
                let own: Vec<f64> = all
                    .filter(|(token, latent)| keep(*token, *latent))
                    .map(|(token, latent)| p[(layer * t + token) * n + latent])
                    .collect();
                own.iter().sum::<f64>() / own.len() as f64
            };
            let var = |keep: &dyn Fn(usize, usize) -> bool| {
                variance((0..l).map(|layer| (layer, mean(layer, keep))))
            };
            let pairs = (0..t).flat_map(|token| (0..n).map(move |latent| (token, latent)));
            let tf = pairs.map(|own| var(&|a, b| (a, b) == own)).sum::<f64>() / (t * n) as f64;
            let of_latents = (0..n).map(|own| var(&|_, latent| latent == own)).sum::<f64>();
            let (of_latents, all) = (of_latents / n as f64, var(&|_, _| true));
            let own = [tf, of_latents, all, of_latents / all, tf / of_latents];
            expected.iter_mut().zip(own).for_each(|(mean, own)| *mean += own / 2.0);
        }
        let mut values = found.values();
        for (found, expected) in values.values().iter().zip(expected) {
            assert!((**found - expected).abs() < 1e-12, "{found} for {expected}");
        }
        assert!(found.add(&random_codes(0, [2, 1, 1, n])).is_err());
        assert!(OriginalVariances::new(0, 1).is_err());
    }
}
