//! Whether a latent that is active at one layer is still active at the next.

use std::fmt;

use candle_core::{Device, Tensor};

use super::codes::{LayerCodes, check_layers_and_latents};
use crate::Result;
use crate::display::show_as_text;
use crate::text::thousands;

/// At which layers pairs of a token and a latent are active, beside what chance would give.
///
/// A pair is active at layer ℓ if its activation there is above zero; N is the number of tokens, n
/// that of latents, and `c(ℓ,j)` the tokens at which latent j is active at ℓ. Everything is counted:
///
/// ```text
/// conditional(k, ℓ) = P(active at ℓ | active at k) = joint(k, ℓ) / joint(k, k)
/// chance(k, ℓ)      = Σ_j c(k,j) c(ℓ,j)/N / Σ_j c(k,j)
/// density(ℓ)        = Σ_j c(ℓ,j) / (N n)
/// ```
///
/// Chance keeps the frequency of every latent and takes tokens to be independent, so it is above the
/// density. The residual stream changes little from layer to layer, and so Lawson et al. (2024) expected
/// latents to stay active; these are the numbers for that.
///
/// ```
/// use eigenlens::multilayer::{LayerCodes, Persistence};
/// use eigenlens::sae::Codes;
/// # fn main() -> eigenlens::Result<()> {
/// let first = Codes::new(3, [vec![(0, 1.0), (1, 1.0)]])?;
/// let second = Codes::new(3, [vec![(1, 2.0)]])?;
/// let mut found = Persistence::new(2, 3)?;
/// found.add(&LayerCodes::new([first, second])?)?;
/// assert_eq!(found.stays(), [0.5]); // one of the two pairs of the first layer
/// assert_eq!(found.layers_per_pair(), [1, 1]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Persistence {
    layers: usize,
    latents: usize,
    tokens: u64,
    /// `c(ℓ,j)`, `[L, n]`.
    active: Vec<u64>,
    /// `[L, L]`.
    joint: Vec<u64>,
    run_lengths: Vec<u64>,
    layers_per_pair: Vec<u64>,
    first_layer: Vec<u64>,
    last_layer: Vec<u64>,
    in_one_run: u64,
}

impl Persistence {
    /// Of so many layers and latents, before the first token.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for no layers or no latents.
    pub fn new(layers: usize, latents: usize) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        let zeros = || vec![0; layers];
        Ok(Self {
            layers,
            latents,
            tokens: 0,
            active: vec![0; layers * latents],
            joint: vec![0; layers * layers],
            run_lengths: zeros(),
            layers_per_pair: zeros(),
            first_layer: zeros(),
            last_layer: zeros(),
            in_one_run: 0,
        })
    }

    /// Takes in the codes of a batch.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for codes of another number of layers or latents.
    pub fn add(&mut self, codes: &LayerCodes) -> Result<()> {
        codes.check(self.layers, self.latents)?;
        self.tokens += codes.rows() as u64;
        codes.for_each_pair(
            |value| value > 0.0,
            |_, latent, values| {
                let mut runs = 0;
                for run in values.chunk_by(|a, b| a.0 + 1 == b.0) {
                    self.run_lengths[run.len() - 1] += 1;
                    runs += 1;
                }
                self.in_one_run += u64::from(runs == 1);
                self.layers_per_pair[values.len() - 1] += 1;
                self.first_layer[values[0].0] += 1;
                self.last_layer[values[values.len() - 1].0] += 1;
                for &(layer, _) in values {
                    self.active[layer * self.latents + latent] += 1;
                    for &(other, _) in values {
                        self.joint[layer * self.layers + other] += 1;
                    }
                }
            },
        );
        Ok(())
    }

    /// Takes in what was counted on another part of the text.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for another number of layers or latents.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if (self.layers, self.latents) != (other.layers, other.latents) {
            let expected = format!("of {} layers and {} latents", self.layers, self.latents);
            return Err(crate::Error::invalid("the counts to merge", expected, other));
        }
        self.tokens += other.tokens;
        self.in_one_run += other.in_one_run;
        for (own, other) in [
            (&mut self.active, &other.active),
            (&mut self.joint, &other.joint),
            (&mut self.run_lengths, &other.run_lengths),
            (&mut self.layers_per_pair, &other.layers_per_pair),
            (&mut self.first_layer, &other.first_layer),
            (&mut self.last_layer, &other.last_layer),
        ] {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
        Ok(())
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Number of tokens, N.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Pairs of a token and a latent that are active at some layer.
    pub fn pairs(&self) -> u64 {
        self.layers_per_pair.iter().sum()
    }

    /// Tokens at which each latent is active, by layer: `[L, n]`, i64.
    ///
    /// # Errors
    /// Memory.
    pub fn active_counts(&self) -> Result<Tensor> {
        integers(&self.active, (self.layers, self.latents))
    }

    /// Pairs that are active at both layers, `[L, L]`, i64; on the diagonal those of the layer.
    ///
    /// # Errors
    /// Memory.
    pub fn joint_counts(&self) -> Result<Tensor> {
        integers(&self.joint, (self.layers, self.layers))
    }

    /// `P(active at the column's layer | active at the row's)`, `[L, L]`, f64. NaN in the row of a layer
    /// at which nothing is active.
    ///
    /// # Errors
    /// Memory.
    pub fn conditional(&self) -> Result<Tensor> {
        self.square(|row, column| self.joint_at(row, column) / self.joint_at(row, row))
    }

    /// What [`conditional`](Self::conditional) would be if tokens were independent.
    ///
    /// # Errors
    /// Memory.
    pub fn conditional_chance(&self) -> Result<Tensor> {
        self.square(|row, column| self.chance_at(row, column))
    }

    /// The share of latents that are active at a token, by layer.
    pub fn density(&self) -> Vec<f64> {
        let all = self.tokens as f64 * self.latents as f64;
        (0..self.layers).map(|layer| self.joint_at(layer, layer) / all).collect()
    }

    /// `P(active at ℓ + 1 | active at ℓ)` for ℓ = 0 … L − 2.
    pub fn stays(&self) -> Vec<f64> {
        let next = |layer| self.joint_at(layer, layer + 1) / self.joint_at(layer, layer);
        (0..self.layers - 1).map(next).collect()
    }

    /// What [`stays`](Self::stays) would be if tokens were independent.
    pub fn stays_chance(&self) -> Vec<f64> {
        (0..self.layers - 1).map(|layer| self.chance_at(layer, layer + 1)).collect()
    }

    /// Number of maximal runs of neighbouring active layers, of length 1 … L.
    pub fn run_lengths(&self) -> &[u64] {
        &self.run_lengths
    }

    /// Number of pairs that are active at exactly 1 … L layers.
    pub fn layers_per_pair(&self) -> &[u64] {
        &self.layers_per_pair
    }

    /// The share of the active pairs that are active at exactly 1 … L layers.
    pub fn layers_per_pair_share(&self) -> Vec<f64> {
        let all = self.pairs() as f64;
        self.layers_per_pair.iter().map(|own| *own as f64 / all).collect()
    }

    /// Number of pairs whose first active layer is 0 … L − 1.
    pub fn first_layer(&self) -> &[u64] {
        &self.first_layer
    }

    /// Number of pairs whose last active layer is 0 … L − 1.
    pub fn last_layer(&self) -> &[u64] {
        &self.last_layer
    }

    /// The share of active pairs whose active layers follow each other without a gap.
    pub fn contiguous(&self) -> f64 {
        self.in_one_run as f64 / self.pairs() as f64
    }

    fn joint_at(&self, row: usize, column: usize) -> f64 {
        self.joint[row * self.layers + column] as f64
    }

    fn chance_at(&self, row: usize, column: usize) -> f64 {
        let of = |layer: usize| &self.active[layer * self.latents..][..self.latents];
        let tokens = self.tokens as f64;
        let pairs = of(row).iter().zip(of(column));
        let together: f64 = pairs.map(|(own, other)| *own as f64 * *other as f64 / tokens).sum();
        together / self.joint_at(row, row)
    }

    fn square(&self, of: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
        let layers = 0..self.layers;
        let all = layers.clone().flat_map(|row| layers.clone().map(move |column| (row, column)));
        let values: Vec<f64> = all.map(|(row, column)| of(row, column)).collect();
        Ok(Tensor::from_vec(values, (self.layers, self.layers), &Device::Cpu)?)
    }
}

fn integers(counts: &[u64], shape: (usize, usize)) -> Result<Tensor> {
    let counts: Vec<i64> = counts.iter().map(|count| *count as i64).collect();
    Ok(Tensor::from_vec(counts, shape, &Device::Cpu)?)
}

show_as_text!(Persistence);

impl fmt::Display for Persistence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pairs, tokens) = (thousands(self.pairs() as usize), thousands(self.tokens as usize));
        write!(f, "{pairs} active pairs of {tokens} tokens and {} latents: ", self.latents)?;
        write!(f, "{:.1} % without a gap", 100.0 * self.contiguous())?;
        for (layer, (stays, chance)) in self.stays().iter().zip(self.stays_chance()).enumerate() {
            let next = layer + 1;
            write!(f, "\n  active at {next} if at {layer}: {stays:.3} (by chance {chance:.3})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::codes::tests::{dense, random_codes};
    use super::*;
    use crate::sae::Codes;

    #[test]
    fn counts_are_those_of_a_look_at_everything() {
        let [l, t, n] = [5, 40, 9];
        let codes = random_codes(6, [l, t, 3, n]);
        let dense = dense(&codes);
        let mut found = Persistence::new(l, n).unwrap();
        found.add(&codes).unwrap();
        let is_on = |layer: usize, token: usize, latent: usize| dense[layer][token][latent] > 0.0;
        let pairs = || (0..t).flat_map(|token| (0..n).map(move |latent| (token, latent)));
        let joint: Vec<Vec<i64>> = found.joint_counts().unwrap().to_vec2().unwrap();
        let conditional: Vec<Vec<f64>> = found.conditional().unwrap().to_vec2().unwrap();
        let chance: Vec<Vec<f64>> = found.conditional_chance().unwrap().to_vec2().unwrap();
        for a in 0..l {
            let own = pairs().filter(|(t, j)| is_on(a, *t, *j)).count() as f64;
            for b in 0..l {
                let both = pairs().filter(|(t, j)| is_on(a, *t, *j) && is_on(b, *t, *j)).count();
                assert_eq!(joint[a][b], both as i64);
                assert!((conditional[a][b] - both as f64 / own).abs() < 1e-12);
                // Tokens of the two layers drawn apart.
                let apart: usize = (0..n)
                    .map(|j| {
                        let count = |layer| (0..t).filter(|t| is_on(layer, *t, j)).count();
                        count(a) * count(b)
                    })
                    .sum();
                assert!((chance[a][b] - apart as f64 / t as f64 / own).abs() < 1e-12);
            }
            assert!((found.density()[a] - own / (t * n) as f64).abs() < 1e-12);
        }
        assert_eq!(found.stays(), (0..l - 1).map(|a| conditional[a][a + 1]).collect::<Vec<_>>());
        let weighed = |counts: &[u64]| (1..).zip(counts).map(|(i, own)| i * own).sum::<u64>();
        let entries = weighed(found.layers_per_pair());
        assert_eq!(entries, weighed(found.run_lengths()));
        assert_eq!(entries as i64, (0..l).map(|a| joint[a][a]).sum::<i64>());
        assert_eq!(found.first_layer().iter().sum::<u64>(), found.pairs());
        assert_eq!(found.last_layer().iter().sum::<u64>(), found.pairs());
    }

    #[test]
    fn runs_and_gaps_by_hand() {
        // One latent at layers 0, 1 and 3, one at layer 2 alone.
        let layer = |latents: &[u32]| {
            Codes::new(2, [latents.iter().map(|own| (*own, 1.0)).collect()]).unwrap()
        };
        let codes = LayerCodes::new([layer(&[0]), layer(&[0]), layer(&[1]), layer(&[0])]).unwrap();
        let mut found = Persistence::new(4, 2).unwrap();
        found.add(&codes).unwrap();
        assert_eq!(found.run_lengths(), [2, 1, 0, 0]);
        assert_eq!(found.layers_per_pair_share(), [0.5, 0.0, 0.5, 0.0]);
        assert_eq!((found.contiguous(), found.tokens(), found.pairs()), (0.5, 1, 2));
        assert_eq!(
            (found.first_layer(), found.last_layer()),
            (&[1, 0, 1, 0][..], &[0, 0, 1, 1][..])
        );
        assert_eq!(found.stays(), [1.0, 0.0, 0.0]);
        let mut twice = found.clone();
        twice.merge(&found).unwrap();
        assert_eq!((twice.run_lengths(), twice.tokens()), (&[4, 2, 0, 0][..], 2));
        assert!(twice.merge(&Persistence::new(4, 3).unwrap()).is_err());
        assert!(twice.to_string().contains("active at 1 if at 0: 1.000"), "{twice}");
        assert!(twice.add(&random_codes(0, [4, 1, 1, 3])).is_err());
        assert!(Persistence::new(1, 1).unwrap().stays().is_empty());
    }
}
