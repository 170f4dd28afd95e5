//! How a model knows where a token stands.

use std::f64::consts::TAU;
use std::sync::Arc;

use crate::{Error, Result};

/// How a model knows where a token stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// Queries and keys are turned by angles that grow with the position.
    Rotary(Rotary),
    /// A vector for each position, added to the token's embedding.
    Learned,
    /// A vector for each position, added to what queries and keys read in every layer, after the
    /// norm there, and never to the residual stream or to what values read (Press, Smith and Lewis,
    /// 2021).
    Shortformer,
}

/// Rotary embedding: of the first `r = dims` entries of a head, numbers i and i + r/2 turn together,
/// by `position · f(base^(-2i/r))` radians.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Entries of a head that turn. `None`: all.
    pub dims: Option<usize>,
    /// Wavelengths grow up to 2π times this; 10,000.
    pub base: f64,
    /// What is done to the frequencies so that longer texts fit.
    pub scaling: Scaling,
}

/// A change `f` of the rotary frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum Scaling {
    /// None.
    None,
    /// `f / factor`.
    Linear {
        /// How many times slower.
        factor: f64,
    },
    /// That of Llama 3.1. With wavelength `w = 2π/f`: `f` where `w < original/high`, `f / factor`
    /// where `w > original/low`, and between them `(1 − s) f / factor + s f` with
    /// `s = (original/w − low) / (high − low)`.
    Llama3 {
        /// How many times slower low frequencies are.
        factor: f64,
        /// Turns within the original context below which a frequency is low.
        low: f64,
        /// Turns within the original context above which a frequency stays.
        high: f64,
        /// Context that the model was first trained with, in tokens.
        original: f64,
    },
    /// YaRN (Peng et al., 2023). Of r entries that turn, pair `p(t) = r ln(original / (2πt)) / (2 ln
    /// base)` makes t turns within the original context. With `lo = max(⌊p(beta_fast)⌋, 0)`,
    /// `hi = min(⌈p(beta_slow)⌉, r − 1)` and `s_i = (i − lo) / (hi − lo)`, no less than 0 and no more
    /// than 1, the frequency of pair i becomes `(1 − s_i) f + s_i f / factor`.
    Yarn {
        /// How many times slower low frequencies are.
        factor: f64,
        /// Context that the model was first trained with, in tokens.
        original: f64,
        /// Turns within the original context from which a frequency stays; 32 as published.
        beta_fast: f64,
        /// Turns within the original context up to which a frequency is low; 1 as published.
        beta_slow: f64,
        /// What cosines and sines are multiplied by; `0.1 ln(factor) + 1` as published.
        attention_factor: f64,
    },
    /// LongRoPE (Ding et al., 2024): the frequency of pair i is divided by number i of `long` in a
    /// text of more than `original` tokens, at every position of it, and by number i of `short` in
    /// any other.
    LongRope {
        /// A divisor for each pair of entries that turn.
        short: Arc<[f64]>,
        /// The same for longer texts.
        long: Arc<[f64]>,
        /// The longest text that `short` is for, in tokens.
        original: f64,
        /// What cosines and sines are multiplied by; `√(1 + ln(context / original) / ln(original))` as
        /// published.
        attention_factor: f64,
    },
}

impl Position {
    /// Whether there is a vector for each position.
    pub(in crate::model) fn has_vectors(&self) -> bool {
        !matches!(self, Self::Rotary(_))
    }
}

impl Rotary {
    /// All of a head, wavelengths up to 2π·`base`, no scaling.
    pub fn new(base: f64) -> Self {
        Self { dims: None, base, scaling: Scaling::None }
    }

    /// The entries that turn of a head of width `d_head`.
    pub(in crate::model) fn entries(&self, d_head: usize) -> usize {
        self.dims.unwrap_or(d_head)
    }

    /// Radians a position that each pair of these entries turns by, for a text of `length` tokens.
    pub(in crate::model) fn frequencies(&self, d_head: usize, length: usize) -> Vec<f64> {
        let entries = self.entries(d_head);
        let pairs = 0..entries / 2;
        let plain = pairs.map(|i| self.base.powf(-2. * i as f64 / entries as f64));
        match &self.scaling {
            Scaling::None => plain.collect(),
            Scaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            Scaling::Llama3 { factor, low, high, original } => {
                plain.map(|f| banded(f, *factor, [*low, *high], *original)).collect()
            }
            Scaling::Yarn { factor, original, beta_fast, beta_slow, .. } => {
                let pair = |turns: f64| {
                    entries as f64 * (original / (TAU * turns)).ln() / (2. * self.base.ln())
                };
                let first = pair(*beta_fast).floor().max(0.);
                let last = pair(*beta_slow).ceil().min(entries as f64 - 1.);
                // One pair between the bands is slow or fast, not half.
                let width = if first == last { 1e-3 } else { last - first };
                let ramped = |(i, f): (usize, f64)| {
                    let share = ((i as f64 - first) / width).clamp(0., 1.);
                    f * (1. - share) + f / factor * share
                };
                plain.enumerate().map(ramped).collect()
            }
            Scaling::LongRope { short, long, .. } => {
                let divisors = if self.is_long(length) { long } else { short };
                plain.zip(divisors.iter()).map(|(f, divisor)| f / divisor).collect()
            }
        }
    }

    /// What cosines and sines are multiplied by.
    pub(in crate::model) fn amplitude(&self) -> f64 {
        match self.scaling {
            Scaling::Yarn { attention_factor, .. } | Scaling::LongRope { attention_factor, .. } => {
                attention_factor
            }
            Scaling::None | Scaling::Linear { .. } | Scaling::Llama3 { .. } => 1.,
        }
    }

    /// Whether a text of so many tokens has frequencies of its own.
    pub(in crate::model) fn is_long(&self, length: usize) -> bool {
        matches!(&self.scaling, Scaling::LongRope { original, .. } if length as f64 > *original)
    }

    /// The same as if every token stood at position 0: angles are zero, and cosines keep their
    /// factor.
    pub(in crate::model) fn at_rest(&self, d_head: usize) -> Self {
        let attention_factor = self.amplitude();
        let scaling = if attention_factor == 1. {
            Scaling::Linear { factor: f64::INFINITY }
        } else {
            let still: Arc<[f64]> = vec![f64::INFINITY; self.entries(d_head) / 2].into();
            Scaling::LongRope { short: still.clone(), long: still, original: 0., attention_factor }
        };
        Self { scaling, ..self.clone() }
    }

    /// Checks that heads of width `d_head` can be turned. `which` is empty or "local ".
    pub(super) fn check(&self, d_head: usize, which: &str) -> Result<()> {
        let entries = self.entries(d_head);
        if !entries.is_multiple_of(2) || entries > d_head {
            let expected = format!("an even number up to {d_head}, the width of a head");
            let what = format!("the {which}rotary entries of a head");
            return Err(Error::invalid(what, expected, entries));
        }
        if !is_positive(self.base) {
            return Err(Error::invalid(format!("the {which}rotary base"), "positive", self.base));
        }
        self.scaling.check(entries / 2, which)
    }
}

impl Scaling {
    /// Checks the numbers for `pairs` pairs of entries.
    fn check(&self, pairs: usize, which: &str) -> Result<()> {
        let (numbers, ordered) = match self {
            Self::None => return Ok(()),
            Self::Linear { factor } => (vec![*factor], true),
            Self::Llama3 { factor, low, high, original } => {
                (vec![*factor, *low, *high, *original], high > low)
            }
            Self::Yarn { factor, original, beta_fast, beta_slow, attention_factor } => (
                vec![*factor, *original, *beta_fast, *beta_slow, *attention_factor],
                beta_fast >= beta_slow,
            ),
            Self::LongRope { short, long, original, attention_factor } => {
                for (name, divisors) in [("short", short), ("long", long)] {
                    if divisors.len() != pairs {
                        let what = format!("the {name} divisors of {which}rotary scaling");
                        let expected = format!("{pairs}, one for each pair of entries that turn");
                        return Err(Error::invalid(what, expected, divisors.len()));
                    }
                }
                let all = short.iter().chain(long.iter()).chain([original, attention_factor]);
                (all.copied().collect(), true)
            }
        };
        if ordered && numbers.into_iter().all(is_positive) {
            return Ok(());
        }
        let expected = match self {
            Self::Llama3 { .. } => "positive, with a high frequency factor above the low one",
            Self::Yarn { .. } => "positive, with a `beta_fast` of at least `beta_slow`",
            Self::None | Self::Linear { .. } | Self::LongRope { .. } => "positive",
        };
        let what = format!("the numbers of {which}rotary scaling");
        Err(Error::invalid(what, expected, format!("{self:?}")))
    }
}

fn is_positive(number: f64) -> bool {
    number > 0. && number.is_finite()
}

/// The frequency in the place of `f` with the scaling of Llama 3.1.
fn banded(f: f64, factor: f64, [low, high]: [f64; 2], original: f64) -> f64 {
    let turns = original * f / TAU;
    if turns > high {
        f
    } else if turns < low {
        f / factor
    } else {
        let share = (turns - low) / (high - low);
        (1. - share) * f / factor + share * f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(base: f64, scaling: Scaling) -> Rotary {
        Rotary { scaling, ..Rotary::new(base) }
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12 * expected.abs(), "{found} {expected}");
        }
    }

    #[test]
    fn llama3_frequencies_fall_in_three_bands() {
        let of_turns = |turns: f64| turns * TAU / 64.;
        let share = |turns: f64| banded(of_turns(turns), 8., [1., 4.], 64.) / of_turns(turns);
        assert_eq!((share(5.), share(0.5)), (1., 1. / 8.));
        assert!((share(2.5) - (0.5 / 8. + 0.5)).abs() < 1e-12);
        let slow = scaled(16., Scaling::Linear { factor: 4. });
        assert_eq!(slow.frequencies(4, 9), [0.25, 0.0625]);
        assert_eq!(Rotary { dims: Some(2), ..slow }.frequencies(4, 9), [0.25]);
    }

    /// Twelve entries at base 500,000, first trained with 16 tokens: `p(t) = 12 ln(16 / (2πt)) / (2 ln
    /// 500000)` is 0.110… at two turns and 0.977… at 0.3, so that pair 0 stays and the rest is slow;
    /// at 0.05 turns it is 1.796…, so that pair 1 is in the middle.
    #[test]
    fn yarn_ramps_between_the_pairs_of_two_numbers_of_turns() {
        let (base, entries): (f64, usize) = (5e5, 12);
        let f = |i: usize| base.powf(-(i as f64) / 6.);
        let yarn = |beta_slow: f64| Scaling::Yarn {
            factor: 4.,
            original: 16.,
            beta_fast: 2.,
            beta_slow,
            attention_factor: 1.2,
        };
        let slow = |i: usize| f(i) / 4.;
        let narrow = scaled(base, yarn(0.3));
        let expected: Vec<f64> = (0..6).map(|i| if i == 0 { f(0) } else { slow(i) }).collect();
        assert_near(&narrow.frequencies(entries, 3), &expected);
        assert_near(&narrow.frequencies(entries, 3000), &expected);
        let wide = scaled(base, yarn(0.05));
        let middle = 0.5 * f(1) + 0.5 * slow(1);
        let expected: Vec<f64> = [f(0), middle].into_iter().chain((2..6).map(slow)).collect();
        assert_near(&wide.frequencies(entries, 3), &expected);
        assert_eq!((wide.amplitude(), Rotary::new(1e4).amplitude()), (1.2, 1.));
        // Published numbers, by the formula as it stands.
        let published = scaled(
            5e5,
            Scaling::Yarn {
                factor: 8.,
                original: 8192.,
                beta_fast: 32.,
                beta_slow: 1.,
                attention_factor: 0.1 * 8f64.ln() + 1.,
            },
        );
        let pair = |turns: f64| 128. * (8192. / (TAU * turns)).ln() / (2. * 5e5f64.ln());
        let (lo, hi) = (pair(32.).floor(), pair(1.).ceil());
        assert!(lo > 10. && hi > lo + 5. && hi < 64., "{lo} {hi}");
        let expected: Vec<f64> = (0..64)
            .map(|i| {
                let f = 5e5f64.powf(-2. * i as f64 / 128.);
                let share = ((i as f64 - lo) / (hi - lo)).clamp(0., 1.);
                (1. - share) * f + share * f / 8.
            })
            .collect();
        assert_near(&published.frequencies(128, 1), &expected);
    }

    #[test]
    fn longrope_has_divisors_of_its_own_for_longer_texts() {
        let scaling = Scaling::LongRope {
            short: vec![1., 2.].into(),
            long: vec![3., 5.].into(),
            original: 16.,
            attention_factor: 1.1,
        };
        let rotary = Rotary { dims: Some(4), ..scaled(16., scaling) };
        assert_near(&rotary.frequencies(6, 16), &[1., 0.125]);
        assert_near(&rotary.frequencies(6, 17), &[1. / 3., 0.05]);
        assert!(rotary.is_long(17) && !rotary.is_long(16) && !Rotary::new(1e4).is_long(1 << 40));
        rotary.check(6, "").unwrap();
        let message = Rotary { dims: Some(6), ..rotary.clone() }.check(6, "").unwrap_err();
        assert!(message.to_string().contains("short divisors"), "{message}");
        // At rest nothing turns, and lengths are kept.
        let rest = rotary.at_rest(6);
        assert_eq!((rest.frequencies(6, 3), rest.amplitude()), (vec![0., 0.], 1.1));
        assert_eq!(Rotary::new(1e4).at_rest(4).frequencies(4, 3), [0., 0.]);
    }

    #[test]
    fn numbers_that_make_no_scaling_are_refused() {
        let yarn = |beta_fast, attention_factor| Scaling::Yarn {
            factor: 2.,
            original: 16.,
            beta_fast,
            beta_slow: 1.,
            attention_factor,
        };
        let long = |first: f64, original: f64| Scaling::LongRope {
            short: vec![1.].into(),
            long: vec![first].into(),
            original,
            attention_factor: 1.,
        };
        for scaling in [
            Scaling::Linear { factor: 0. },
            Scaling::Llama3 { factor: 8., low: 4., high: 1., original: 64. },
            yarn(0.5, 1.),
            yarn(2., f64::NAN),
            long(0., 16.),
            long(1., f64::INFINITY),
        ] {
            let message = scaled(1e4, scaling).check(2, "local ").unwrap_err().to_string();
            assert!(message.contains("local rotary scaling"), "{message}");
        }
        for scaling in [Scaling::None, yarn(1., 1.), long(2., 16.)] {
            scaled(1e4, scaling).check(2, "").unwrap();
        }
    }
}
