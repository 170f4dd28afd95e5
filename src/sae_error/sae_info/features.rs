//! How often and how strongly each feature is active.

use std::fmt;

use crate::display::show_as_text;
use crate::sae::Codes;

/// Counts and means of the features of an autoencoder over some tokens. A feature is active at a token
/// if its value there is not 0, which for signed kinds may be a negative one.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::FeatureStatistics;
/// # fn main() -> Result<()> {
/// let codes = Codes::new(3, [vec![(0, 1.0)], vec![(0, 3.0), (2, 1.0)]])?;
/// let found = FeatureStatistics::of(&codes);
/// assert_eq!(found.counts(), [2, 0, 1]);
/// assert_eq!(found.mean_when_active(), [Some(2.0), None, Some(1.0)]);
/// assert_eq!(found.mean(), [2.0, 0.0, 0.5]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureStatistics {
    tokens: usize,
    counts: Vec<u64>,
    sums: Vec<f64>,
}

impl FeatureStatistics {
    /// Of codes, a row a token.
    pub fn of(codes: &Codes) -> Self {
        let (mut counts, mut sums) = (vec![0; codes.width()], vec![0.0; codes.width()]);
        for (feature, value) in (0..codes.rows()).flat_map(|row| codes.row(row)) {
            if value != 0.0 {
                counts[feature as usize] += 1;
                sums[feature as usize] += f64::from(value);
            }
        }
        Self { tokens: codes.rows(), counts, sums }
    }

    /// Tokens that were looked at.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Tokens at which each feature is active. The study calls them frequencies.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The share of tokens at which each feature is active.
    pub fn density(&self) -> Vec<f64> {
        let tokens = self.tokens.max(1) as f64;
        self.counts.iter().map(|count| *count as f64 / tokens).collect()
    }

    /// The mean value of each feature where it is active; none if it never is.
    pub fn mean_when_active(&self) -> Vec<Option<f64>> {
        let pairs = self.sums.iter().zip(&self.counts);
        pairs.map(|(sum, count)| (*count > 0).then(|| sum / *count as f64)).collect()
    }

    /// The mean value of each feature over all tokens.
    pub fn mean(&self) -> Vec<f64> {
        let tokens = self.tokens.max(1) as f64;
        self.sums.iter().map(|sum| sum / tokens).collect()
    }

    /// Features that are active nowhere.
    pub fn dead(&self) -> usize {
        self.counts.iter().filter(|count| **count == 0).count()
    }
}

show_as_text!(FeatureStatistics);

impl fmt::Display for FeatureStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (features, active) = (self.counts.len(), self.counts.iter().sum::<u64>());
        let l0 = active as f64 / self.tokens.max(1) as f64;
        let dead = self.dead();
        write!(f, "{features} features, {l0:.1} active in each of {} tokens, ", self.tokens)?;
        write!(f, "{dead} active in none")
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn statistics_are_those_of_the_dense_matrix() {
        let mut rng = Rng::seed(1);
        let rows = (0..50).map(|_| {
            let active = (0..7).filter(|_| rng.below(3) == 0).collect::<Vec<u32>>();
            active.into_iter().map(|feature| (feature, rng.below(9) as f32 - 4.0)).collect()
        });
        let rows: Vec<Vec<(u32, f32)>> = rows.collect();
        let codes = Codes::new(8, rows).unwrap();
        let found = FeatureStatistics::of(&codes);
        let dense = codes.to_dense(&Device::Cpu).unwrap().t().unwrap().to_vec2::<f32>().unwrap();
        for (feature, values) in dense.iter().enumerate() {
            let active: Vec<f64> =
                values.iter().filter(|x| **x != 0.0).map(|x| f64::from(*x)).collect();
            let sum = active.iter().sum::<f64>();
            assert_eq!(found.counts()[feature], active.len() as u64);
            assert!((found.mean()[feature] - sum / 50.0).abs() < 1e-12);
            assert!((found.density()[feature] - active.len() as f64 / 50.0).abs() < 1e-15);
            let mean = (!active.is_empty()).then(|| sum / active.len() as f64);
            assert_eq!(found.mean_when_active()[feature], mean);
        }
        assert_eq!((found.counts()[7], found.dead() > 0), (0, true));
        assert!(found.to_string().contains("of 50 tokens"), "{found}");
        assert_eq!(FeatureStatistics::of(&Codes::new(2, []).unwrap()).density(), [0.0, 0.0]);
    }
}
