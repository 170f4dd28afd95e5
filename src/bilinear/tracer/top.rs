//! The output features with the largest statistic.

use std::fmt;

use super::forms::Forms;
use super::{Statistic, Tracer, write_list};
use crate::display::show_as_text;
use crate::linalg::lanczos;
use crate::progress::Progress;
use crate::{Error, Result};

/// Features that are looked at together at first, and at most: what the first ones reach is what
/// others need not be computed below.
const TOGETHER: [usize; 2] = [64, 1_024];

/// The output features with the largest statistic.
#[derive(Debug, Clone, PartialEq)]
pub struct Top {
    /// Features and their statistic, from the largest down.
    pub entries: Vec<(usize, f32)>,
    /// How many features' statistic was computed to the accuracy asked for. All others are certain to
    /// be smaller than the last of `entries`.
    pub refined: usize,
    /// How many features there are.
    pub features: usize,
}

impl Tracer {
    /// The `count` output features with the largest statistic.
    ///
    /// For truncated eigenvalues most features need not be computed to the end. The k largest of
    /// eigenvalues whose squares add up to ‖S‖² add up to at most √k ‖S‖, and `‖S‖²` of all features
    /// takes three matrix products. Features are looked at in the order of that bound, until the
    /// bounds of all that are left lie below the `count`-th value found; and the iteration leaves a
    /// feature as soon as what may still be missing from its sum, a few times the residual bound and
    /// a margin, cannot lift it there. Among those refined, two that differ by less than
    /// [`Tracer::with_accuracy`] may change places.
    ///
    /// # Errors
    /// As [`Tracer::compute`]; more features than there are.
    pub fn top(&self, count: usize, statistic: Statistic) -> Result<Top> {
        let features = self.features();
        if count > features {
            let expected = format!("at most {features}, the output features");
            return Err(Error::invalid("the number of features", expected, count));
        }
        match statistic {
            Statistic::TruncatedEigenvalues { k } => {
                self.check_truncated(k)?;
                if self.iterates(k) {
                    return self.certified(count, k);
                }
            }
            Statistic::EffectiveRank | Statistic::Kurtosis => {}
        }
        let values: Vec<f32> = self.compute(statistic)?.to_vec1()?;
        let mut top = Top { entries: Vec::new(), refined: features, features };
        top.merge(count, values.into_iter().enumerate());
        Ok(top)
    }

    fn certified(&self, count: usize, k: usize) -> Result<Top> {
        let features = self.features();
        let forms = Forms::new(self)?;
        let mut start = lanczos::start(&forms, k)?;
        let bounds: Vec<f64> =
            forms.squares()?.iter().map(|square| (k as f64 * square).sqrt()).collect();
        let mut order: Vec<usize> = (0..features).collect();
        order.sort_by(|a, b| bounds[*b].total_cmp(&bounds[*a]));
        let mut top = Top { entries: Vec::new(), refined: 0, features };
        let label = "top output features";
        let mut progress = Progress::new(label, features as u64, "feature");
        let [mut together, most] = TOGETHER;
        let mut waiting = order.as_slice();
        while !waiting.is_empty() {
            let (group, later) = waiting.split_at(together.min(waiting.len()));
            (waiting, together) = (later, most.min(2 * together));
            let least = top.entries.last().map_or(f64::INFINITY, |(_, least)| f64::from(*least));
            let bar = if top.entries.len() < count { 0.0 } else { least };
            let asked: Vec<usize> =
                group.iter().copied().filter(|feature| bounds[*feature] >= bar).collect();
            if asked.is_empty() {
                break;
            }
            let (values, refined) =
                self.truncated(&forms, &asked, k, bar, &mut start, &mut progress)?;
            top.refined += refined;
            // What is below the bar does not get in.
            top.merge(count, asked.into_iter().zip(values.into_iter().map(|value| value as f32)));
        }
        Ok(top)
    }
}

impl Top {
    /// Takes more features in, and keeps the first `count`.
    fn merge(&mut self, count: usize, more: impl Iterator<Item = (usize, f32)>) {
        self.entries.extend(more);
        self.entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.entries.truncate(count);
    }

    /// The features alone, from the largest down.
    pub fn indices(&self) -> Vec<usize> {
        self.entries.iter().map(|(feature, _)| *feature).collect()
    }
}

show_as_text!(Top);

impl fmt::Display for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, refined, features } = self;
        let count = entries.len();
        let heading =
            format!("top {count} of {features} output features, {refined} of them refined");
        write_list(f, heading, entries, |(feature, value)| format!("{feature:>8}  {value:.4}"))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::super::tests::{tracer, wide};
    use super::*;

    #[test]
    fn the_top_features_come_first() {
        let statistic = Statistic::TruncatedEigenvalues { k: 1 };
        let tracer = tracer();
        let top = tracer.top(16, statistic).unwrap();
        assert!(top.entries.is_sorted_by(|a, b| a.1 >= b.1) && top.refined == 16);
        assert_eq!(tracer.top(3, statistic).unwrap().entries, top.entries[..3]);
        assert!(tracer.top(17, statistic).unwrap_err().to_string().contains("at most 16"));
        assert!(tracer.top(3, Statistic::TruncatedEigenvalues { k: 9 }).is_err());
    }

    /// Directions of very different lengths: most features can be left out.
    #[test]
    fn what_is_left_out_is_below_what_is_found() {
        let plain = wide();
        let lengths: Vec<f32> = (0..144).map(|i| ((i * 89) % 144 + 1) as f32).collect();
        let scale = Tensor::new(lengths, plain.out.device()).unwrap();
        let mut weights = plain.output.weights().clone();
        weights.encoder = weights.encoder.broadcast_mul(&scale.unsqueeze(1).unwrap()).unwrap();
        let architecture = plain.output.architecture().clone();
        let output = crate::sae::Sae::new(architecture, weights).unwrap();
        let steep = Tracer { output, ..plain.clone() };
        assert_eq!(
            steep.top(1, Statistic::TruncatedEigenvalues { k: 2 }).unwrap().refined,
            TOGETHER[0]
        );
        for tracer in [plain, steep] {
            for (count, k) in [(1, 2), (5, 1), (12, 3), (144, 2), (0, 2)] {
                let statistic = Statistic::TruncatedEigenvalues { k };
                let top = tracer.top(count, statistic).unwrap();
                let exact = tracer.clone().with_accuracy(0.0).unwrap();
                let exact = exact.top(count, statistic).unwrap();
                assert_eq!(top.entries.len(), count);
                for (found, exact) in top.entries.iter().zip(&exact.entries) {
                    assert!((found.1 / exact.1 - 1.0).abs() < 1e-4, "{top} {exact:?}");
                }
            }
        }
    }

    #[test]
    fn the_report_says_how_many_were_refined() {
        let top = wide().top(2, Statistic::TruncatedEigenvalues { k: 2 }).unwrap();
        assert!(top.to_string().contains(&format!("{} of them refined", top.refined)));
        assert_eq!(top.indices(), [top.entries[0].0, top.entries[1].0]);
    }
}
