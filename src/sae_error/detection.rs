//! Scores of explanations by detection: how often a judge tells contexts with a feature from others.

use std::fmt;

use crate::check::check_sizes;
use crate::display::{ShownColumn, ShownTable};
use crate::geometry::Interval;
use crate::{Error, Result};

const CONFIDENCE: f64 = 0.95;
/// Draws of the intervals that a table shows.
const SHOWN_DRAWS: usize = 1_000;

/// What a judge answered, given explanations of some features: for each feature, how many contexts it
/// took to have the feature, among those of each decile of its activation and among those without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectionCounts {
    /// Of each feature and decile, the strongest decile first.
    positives: Vec<Vec<u64>>,
    totals: Vec<Vec<u64>>,
    /// Of each feature, among contexts without it.
    negative_positives: Vec<u64>,
    negative_totals: Vec<u64>,
}

impl DetectionCounts {
    /// Counts of some features: contexts taken to have the feature and contexts shown, for each decile
    /// (the strongest first) and for contexts without it.
    ///
    /// # Errors
    /// [`Error::Shape`] for lists of different lengths, [`Error::Invalid`] for no features or deciles, a
    /// group of which no context was shown, or more contexts taken than shown.
    pub fn new(
        positives: Vec<Vec<u64>>,
        totals: Vec<Vec<u64>>,
        negative_positives: Vec<u64>,
        negative_totals: Vec<u64>,
    ) -> Result<Self> {
        let own = Self { positives, totals, negative_positives, negative_totals };
        let (features, deciles) = (own.features(), own.deciles());
        check_sizes(&[("the number of features", features), ("the number of deciles", deciles)])?;
        let lengths = [own.totals.len(), own.negative_positives.len(), own.negative_totals.len()];
        let rows = own.positives.iter().chain(&own.totals);
        if lengths != [features; 3] || rows.clone().any(|row| row.len() != deciles) {
            let expected = format!("{features} features of {deciles} deciles in each list");
            return Err(Error::shape("the counts", expected, lengths));
        }
        let mut groups = (0..features).flat_map(|feature| own.groups(feature));
        if let Some([taken, shown]) = groups.find(|[taken, shown]| taken > shown) {
            let expected = format!("at most {shown}, the contexts shown");
            return Err(Error::invalid("a count of contexts", expected, taken));
        }
        if own.pooled().iter().any(|[_, shown]| *shown == 0) {
            let expected = "at least one of each decile and one without the feature";
            return Err(Error::invalid("the contexts shown", expected, 0));
        }
        Ok(own)
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.positives.len()
    }

    /// Number of deciles.
    pub fn deciles(&self) -> usize {
        self.positives.first().map_or(0, Vec::len)
    }

    /// Taken and shown of a feature's groups: without it, then the deciles.
    fn groups(&self, feature: usize) -> Vec<[u64; 2]> {
        let without = [self.negative_positives[feature], self.negative_totals[feature]];
        let deciles = self.positives[feature].iter().zip(&self.totals[feature]);
        std::iter::once(without).chain(deciles.map(|(taken, shown)| [*taken, *shown])).collect()
    }

    /// Right answers and answers of a feature's groups: those without it are right where they are not
    /// taken to have it.
    fn right(&self, feature: usize) -> Vec<[u64; 2]> {
        let mut groups = self.groups(feature);
        if let Some([taken, shown]) = groups.first_mut() {
            *taken = *shown - *taken;
        }
        groups
    }

    /// Right answers and answers of all features together: for contexts without the feature, then for
    /// each decile.
    pub fn pooled(&self) -> Vec<[u64; 2]> {
        let mut sums = vec![[0; 2]; self.deciles() + 1];
        for feature in 0..self.features() {
            for (sum, own) in sums.iter_mut().zip(self.right(feature)) {
                *sum = [sum[0] + own[0], sum[1] + own[1]];
            }
        }
        sums
    }

    /// The share of right answers, pooled over features, for contexts without the feature and then for
    /// each decile, with a 95 % interval by a bootstrap over features: answers about one feature share
    /// its explanation.
    ///
    /// # Errors
    /// As [`Interval::bootstrap`]: fewer than two features with contexts in a group, no draws.
    pub fn accuracies(&self, draws: usize, seed: u64) -> Result<Vec<Interval>> {
        let groups = 0..=self.deciles();
        groups.map(|group| self.accuracy(group, draws, seed)).collect()
    }

    /// The share of right answers of a group: 0 without the feature, else a decile.
    ///
    /// # Errors
    /// As [`DetectionCounts::accuracies`].
    pub(crate) fn accuracy(&self, group: usize, draws: usize, seed: u64) -> Result<Interval> {
        let (mut answers, mut features) = (Vec::new(), Vec::new());
        for feature in 0..self.features() {
            let [right, all] = self.right(feature)[group];
            answers.extend((0..all).map(|answer| f64::from(u8::from(answer < right))));
            features.resize(answers.len(), feature);
        }
        Interval::bootstrap(&answers, &features, CONFIDENCE, draws, seed)
    }

    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let band = format!("{:.0} % by feature", 100.0 * CONFIDENCE);
        let columns = [
            ShownColumn::left("contexts"),
            ShownColumn::right("answers"),
            ShownColumn::right("right"),
            ShownColumn::right(band),
        ];
        let mut shown = ShownTable::new(columns).caption(self.heading());
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        for (group, [right, all]) in self.pooled().into_iter().enumerate() {
            let name = match group {
                0 => "without the feature".to_owned(),
                decile => format!("decile {decile}"),
            };
            let within = match self.accuracy(group, SHOWN_DRAWS, 0) {
                Ok(own) => format!("{} to {}", percent(own.lower), percent(own.upper)),
                Err(_) => "–".to_owned(),
            };
            shown.push([name, all.to_string(), percent(right as f64 / all as f64), within]);
        }
        shown
    }

    fn heading(&self) -> String {
        format!("Detection of {} features, decile 1 the strongest", self.features())
    }
}

impl fmt::Display for DetectionCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.heading(), self.shown().text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(features: usize) -> DetectionCounts {
        // Half of the features are always detected, the others never.
        let taken = |feature: usize, shown: u64| if feature.is_multiple_of(2) { shown } else { 0 };
        let rows = |total: bool| {
            let row = |feature| match total {
                true => vec![8, 6],
                false => vec![taken(feature, 8), taken(feature, 6)],
            };
            (0..features).map(row).collect()
        };
        let negatives = (0..features).map(|_| 5).collect();
        DetectionCounts::new(rows(false), rows(true), negatives, vec![20; features]).unwrap()
    }

    #[test]
    fn accuracies_are_pooled_and_their_intervals_are_over_features() {
        let found = counts(100).accuracies(4_000, 1).unwrap();
        let means: Vec<f64> = found.iter().map(|own| own.mean).collect();
        assert_eq!(means, [0.75, 0.5, 0.5]);
        // All features have the same negatives, and a hundred are 0 or 1 in a decile.
        assert_eq!((found[0].lower, found[0].upper), (0.75, 0.75));
        let width = found[1].upper - found[1].lower;
        assert!((width - 2.0 * 1.96 * 0.05).abs() < 0.03, "{width}");
        let text = counts(4).to_string();
        assert!(text.contains("without the feature") && text.contains("decile 2"), "{text}");
    }

    #[test]
    fn counts_that_cannot_be_are_refused() {
        let text = |positives, totals, negatives: [u64; 2]| {
            let [taken, shown] = negatives;
            let found = DetectionCounts::new(positives, totals, vec![taken], vec![shown]);
            found.unwrap_err().to_string()
        };
        assert!(text(vec![vec![3]], vec![vec![2]], [0, 1]).contains("at most 2"));
        assert!(text(vec![vec![1]], vec![vec![2]], [2, 1]).contains("at most 1"));
        assert!(text(vec![vec![1, 1]], vec![vec![2]], [0, 1]).contains("2 deciles"));
        assert!(text(vec![vec![0]], vec![vec![0]], [0, 1]).contains("at least one"));
        assert!(text(vec![], vec![], [0, 1]).contains("features"));
        let one = counts(1).accuracies(10, 0).unwrap_err().to_string();
        assert!(one.contains("the number of groups"), "{one}");
    }
}
