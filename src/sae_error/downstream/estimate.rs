//! From what each token costs to the rows of a table.

use super::arm::Arm;
use super::losses::RowLosses;
use crate::Result;
use crate::geometry::Interval;
use crate::random::Rng;

/// What an arm costs the model.
#[derive(Debug, Clone, PartialEq)]
pub struct DownstreamRow {
    /// What took the place of activations.
    pub arm: Arm,
    /// Cross-entropy of the next token at the replaced positions, nats a token.
    pub cross_entropy: Interval,
    /// `KL(clean ‖ arm)` of the next token's distribution, nats a token.
    pub kl: Interval,
    /// The share of the autoencoder's cost that goes away,
    ///
    /// ```text
    /// (L(x̂) − L(arm)) / (L(x̂) − L(x))
    /// ```
    ///
    /// None for arms that do not begin with x̂, and where the autoencoder costs nothing.
    pub recovered: Option<Interval>,
    /// The share of the squared error that goes away, `1 − Σ‖x − arm‖²/Σ‖x − x̂‖²`, which is
    /// `(R²(arm) − R²(x̂))/(1 − R²(x̂))`. None as `recovered`.
    pub r_squared_recovered: Option<f64>,
    /// The mean over tokens of `‖arm − x̂‖/‖x − x̂‖`. None as `recovered`.
    pub norm_share: Option<f64>,
}

/// What an arm does at the tokens so far.
#[derive(Debug, Clone, Default)]
pub(super) struct ArmTokens {
    pub(super) losses: RowLosses,
    /// `Σ‖x − arm‖²`.
    pub(super) squared_error: f64,
    /// `Σ‖arm − x̂‖/‖x − x̂‖` over the tokens that have an error, and their number.
    pub(super) norm_shares: [f64; 2],
}

/// Confidence, draws and seed of a bootstrap over contexts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resampling {
    pub(super) confidence: f64,
    pub(super) draws: usize,
    pub(super) seed: u64,
}

/// A row for each arm, of which the first are [`Arm::Clean`] and [`Arm::Sae`]; `context_of` tells the
/// context of each token.
///
/// # Errors
/// As [`Interval::bootstrap`]: fewer than two contexts.
pub(super) fn downstream_rows(
    arms: &[Arm],
    tokens: &[ArmTokens],
    context_of: &[usize],
    resampling: Resampling,
) -> Result<Vec<DownstreamRow>> {
    let Resampling { confidence, draws, seed } = resampling;
    let losses: Vec<Vec<f64>> =
        tokens.iter().map(|own| sums(&own.losses.cross_entropy, context_of)).collect();
    let error = tokens[1].squared_error;
    let row = |(i, arm): (usize, &Arm)| -> Result<DownstreamRow> {
        let own = &tokens[i];
        let mean =
            |values: &[f64]| Interval::bootstrap(values, context_of, confidence, draws, seed);
        let of_context = |c: usize| [losses[1][c] - losses[i][c], losses[1][c] - losses[0][c]];
        let pairs: Vec<[f64; 2]> = (0..losses[0].len()).map(of_context).collect();
        let recovered = share(&pairs, resampling)?;
        let [norms, count] = own.norm_shares;
        Ok(DownstreamRow {
            arm: *arm,
            cross_entropy: mean(&own.losses.cross_entropy)?,
            kl: mean(&own.losses.kl)?,
            recovered: recovered.filter(|_| arm.adds()),
            r_squared_recovered: (arm.adds() && error > 0.0)
                .then(|| 1.0 - own.squared_error / error),
            norm_share: (arm.adds() && count > 0.0).then(|| norms / count),
        })
    };
    arms.iter().enumerate().map(row).collect()
}

/// The sum of the values of each context that has any, as [`Interval::bootstrap`] draws them.
fn sums(values: &[f64], context_of: &[usize]) -> Vec<f64> {
    let contexts = context_of.iter().max().map_or(0, |last| last + 1);
    let mut sums = vec![None::<f64>; contexts];
    for (context, value) in context_of.iter().zip(values) {
        *sums[*context].get_or_insert(0.0) += value;
    }
    sums.into_iter().flatten().collect()
}

/// `Σa/Σb` over pairs (a, b) of contexts, with the interval between percentiles of a bootstrap over
/// contexts; none unless Σb is above 0.
fn share(pairs: &[[f64; 2]], resampling: Resampling) -> Result<Option<Interval>> {
    let add = |[a, b]: [f64; 2], [more_a, more_b]: [f64; 2]| [a + more_a, b + more_b];
    let [a, b] = pairs.iter().copied().fold([0.0; 2], add);
    if b <= 0.0 || b.is_nan() {
        return Ok(None);
    }
    let mut rng = Rng::seed(resampling.seed);
    let mut draw = || {
        let drawn = (0..pairs.len()).map(|_| pairs[rng.below(pairs.len())]);
        let [a, b] = drawn.fold([0.0; 2], add);
        a / b
    };
    let draws = (0..resampling.draws).map(|_| draw()).collect();
    Interval::of_draws(a / b, draws, resampling.confidence).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESAMPLING: Resampling = Resampling { confidence: 0.95, draws: 400, seed: 0 };

    fn tokens(losses: &[f64], squared_error: f64, norm_shares: [f64; 2]) -> ArmTokens {
        let losses = RowLosses { cross_entropy: losses.to_vec(), kl: vec![0.25; losses.len()] };
        ArmTokens { losses, squared_error, norm_shares }
    }

    #[test]
    fn shares_are_those_of_the_algebra() {
        let arms = [Arm::Clean, Arm::Sae, Arm::Nonlinear, Arm::Zero];
        // The autoencoder costs 1 at each token, of which 0.75 go away, in every context.
        let clean = [1.0, 2.0, 3.0, 4.0, 5.0];
        let plus = |cost: f64| clean.map(|loss| loss + cost);
        let all = [
            tokens(&clean, 0.0, [0.0; 2]),
            tokens(&plus(1.0), 10.0, [0.0; 2]),
            tokens(&plus(0.25), 4.0, [3.0, 5.0]),
            tokens(&plus(9.0), 90.0, [0.0; 2]),
        ];
        let rows = downstream_rows(&arms, &all, &[0, 0, 1, 1, 2], RESAMPLING).unwrap();
        let [own, sae, part, zero] = &rows[..] else { panic!("four rows") };
        assert!(own.recovered.is_none() && sae.recovered.is_none() && zero.recovered.is_none());
        assert_eq!((own.cross_entropy.mean, sae.cross_entropy.mean), (3.0, 4.0));
        let recovered = part.recovered.unwrap();
        for value in [recovered.mean, recovered.lower, recovered.upper] {
            assert!((value - 0.75).abs() < 1e-12, "{recovered}");
        }
        assert!((part.r_squared_recovered.unwrap() - 0.6).abs() < 1e-12);
        assert!((part.norm_share.unwrap() - 0.6).abs() < 1e-12);
        assert_eq!((part.kl.mean, zero.r_squared_recovered), (0.25, None));
    }

    #[test]
    fn contexts_without_a_replaced_token_are_not_drawn() {
        let arms = [Arm::Clean, Arm::Sae, Arm::Linear];
        let all = [
            tokens(&[1.0, 2.0, 3.0, 4.0], 0.0, [0.0; 2]),
            tokens(&[2.0, 3.0, 4.0, 5.0], 1.0, [0.0; 2]),
            // Half of the cost of 1 goes away in one context, all of it in the other.
            tokens(&[1.5, 2.5, 3.0, 4.0], 0.5, [1.0, 2.0]),
        ];
        let rows = downstream_rows(&arms, &all, &[0, 0, 9, 9], RESAMPLING).unwrap();
        let recovered = rows[2].recovered.unwrap();
        // A quarter of the draws has either context twice: the ends of 95 %.
        assert_eq!((recovered.lower, recovered.mean, recovered.upper), (0.5, 0.75, 1.0));
        assert_eq!(sums(&[1.0, 2.0, 4.0], &[0, 3, 3]), [1.0, 6.0]);
    }

    #[test]
    fn an_autoencoder_that_costs_nothing_has_no_shares() {
        let arms = [Arm::Clean, Arm::Sae, Arm::Linear];
        let all = [(); 3].map(|()| tokens(&[1.0, 2.0], 0.0, [0.0; 2]));
        let rows = downstream_rows(&arms, &all, &[0, 1], RESAMPLING).unwrap();
        let last = &rows[2];
        assert!(last.recovered.is_none() && last.r_squared_recovered.is_none());
        assert!(last.norm_share.is_none());
        assert!(downstream_rows(&arms, &all, &[0, 0], RESAMPLING).is_err());
    }

    #[test]
    fn contexts_that_differ_widen_the_interval() {
        // Half of the cost goes away in one half of the contexts, all of it in the other.
        let pairs: Vec<[f64; 2]> =
            (0..40).map(|i| [if i % 2 == 0 { 0.5 } else { 1.0 }, 1.0]).collect();
        let found = share(&pairs, RESAMPLING).unwrap().unwrap();
        // A mean of 40 draws of 0.5 and 1 has the standard deviation 0.25/√40.
        let expected = 2.0 * 1.96 * 0.25 / 40f64.sqrt();
        assert!((found.mean - 0.75).abs() < 1e-12);
        assert!((found.upper - found.lower - expected).abs() < 0.25 * expected, "{found}");
        assert!(share(&[[1.0, -1.0]], RESAMPLING).unwrap().is_none());
    }
}
