//! What is known of each feature of an autoencoder after some contexts, and how parts of it merge.

use std::cmp::Ordering;

use super::Histogram;
use crate::sae::Codes;

/// A feature's largest activation in a context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peak {
    /// The context.
    pub context: u64,
    /// The first position in it with that activation.
    pub position: u32,
    /// The activation.
    pub value: f32,
}

impl Peak {
    /// Larger activations first, and of equal ones the earlier context.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        other.value.total_cmp(&self.value).then(self.context.cmp(&other.context))
    }
}

/// Sums over the entries of a feature in the codes.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct FeatureSums {
    /// Entries, of either sign.
    pub(super) count: u64,
    /// Contexts with an entry.
    pub(super) contexts: u64,
    pub(super) sum: f64,
    pub(super) sum_squares: f64,
    /// The largest entry; 0 without any.
    pub(super) max: f32,
    /// Of entries above zero.
    pub(super) histogram: Histogram,
}

/// All features of an autoencoder.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Contexts that are kept per feature.
    keep: usize,
    pub(super) features: Vec<FeatureSums>,
    /// The best contexts of each feature, best first: only those with an activation above zero.
    pub(super) best: Vec<Vec<Peak>>,
    /// Scratch of one context: the peak and whether there was an entry.
    peaks: Vec<Option<Peak>>,
}

impl Tally {
    pub(crate) fn new(features: usize, keep: usize) -> Self {
        Self {
            keep,
            features: vec![FeatureSums::default(); features],
            best: vec![Vec::new(); features],
            peaks: vec![None; features],
        }
    }

    /// Bytes that a tally takes.
    pub(super) fn bytes(features: usize, keep: usize) -> usize {
        let best = size_of::<Vec<Peak>>() + keep * size_of::<Peak>();
        features * (size_of::<FeatureSums>() + size_of::<Option<Peak>>() + best)
    }

    /// Takes in codes of whole contexts of `length` rows, of which the first is number `first`, at the
    /// rows that `is_kept`.
    pub(crate) fn add(&mut self, codes: &Codes, first: u64, length: usize, is_kept: &[bool]) {
        for at in 0..codes.rows() / length {
            let context = first + at as u64;
            let mut active = Vec::new();
            for position in 0..length {
                let row = at * length + position;
                if !is_kept[row] {
                    continue;
                }
                for (feature, value) in codes.row(row) {
                    let feature = feature as usize;
                    self.features[feature].add(value);
                    let peak = &mut self.peaks[feature];
                    if peak.is_none() {
                        active.push(feature);
                    }
                    if peak.is_none_or(|peak| value > peak.value) {
                        *peak = Some(Peak { context, position: position as u32, value });
                    }
                }
            }
            for feature in active {
                self.features[feature].contexts += 1;
                if let Some(peak) = self.peaks[feature].take().filter(|peak| peak.value > 0.0) {
                    self.insert(feature, peak);
                }
            }
        }
    }

    /// Takes in a context, of which a feature was not told yet.
    pub(super) fn insert(&mut self, feature: usize, peak: Peak) {
        let best = &mut self.best[feature];
        let place = best.partition_point(|own| own.order(&peak).is_lt());
        if place < self.keep {
            best.truncate(self.keep - 1);
            best.insert(place, peak);
        }
    }
}

impl FeatureSums {
    fn add(&mut self, value: f32) {
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += f64::from(value);
        self.sum_squares += f64::from(value) * f64::from(value);
        if value > 0.0 {
            self.histogram.add(value);
        }
    }

    /// Takes in the sums over other contexts.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.count > 0 {
            self.max = if self.count == 0 { other.max } else { self.max.max(other.max) };
        }
        self.count += other.count;
        self.contexts += other.contexts;
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.histogram.merge(&other.histogram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    /// Codes of 40 contexts of 5 rows with 12 features, some below zero.
    fn codes() -> Codes {
        let mut rng = Rng::seed(3);
        let rows = (0..200).map(|_| {
            let features = rng.permutation(12);
            let value = |rng: &mut Rng| (rng.unit() * 8.0).round() / 2.0 - 1.0;
            features[..3].iter().map(|feature| (*feature, value(&mut rng))).collect()
        });
        Codes::new(12, rows.collect::<Vec<_>>()).unwrap()
    }

    fn part(codes: &Codes, contexts: std::ops::Range<usize>, keep: usize) -> Tally {
        let rows = contexts.start * 5..contexts.end * 5;
        let own = Codes::new(12, rows.clone().map(|row| codes.row(row).collect())).unwrap();
        let is_kept: Vec<bool> = rows.map(|row| row % 7 != 0).collect();
        let mut tally = Tally::new(12, keep);
        tally.add(&own, contexts.start as u64, 5, &is_kept);
        tally
    }

    #[test]
    fn sums_and_peaks_are_those_of_a_look_at_everything() {
        let codes = codes();
        let tally = part(&codes, 0..40, 6);
        for feature in 0..12 {
            let values = codes.feature(feature).unwrap();
            let rows = || (0..200).filter(|row| row % 7 != 0 && values[*row] != 0.0);
            let sums = &tally.features[feature];
            // A code of 0.0 is an entry too, which `feature` does not tell from none.
            let zeros = (0..200usize).filter(|row| row % 7 != 0).flat_map(|row| codes.row(row));
            let zeros = zeros.filter(|(own, value)| *own as usize == feature && *value == 0.0);
            assert_eq!(sums.count as usize, rows().count() + zeros.count());
            let sum: f64 = rows().map(|row| f64::from(values[row])).sum();
            assert_eq!(sums.sum, sum);
            assert_eq!(
                sums.histogram.total() as usize,
                rows().filter(|row| values[*row] > 0.0).count()
            );
            let mut peaks: Vec<(usize, f32)> = (0..40)
                .map(|context| {
                    let rows = rows().filter(|row| row / 5 == context);
                    (context, rows.map(|row| values[row]).fold(0f32, f32::max))
                })
                .filter(|(_, value)| *value > 0.0)
                .collect();
            peaks.sort_by(|a, b| b.1.total_cmp(&a.1));
            peaks.truncate(6);
            let found: Vec<(usize, f32)> = tally.best[feature]
                .iter()
                .map(|peak| (peak.context as usize, peak.value))
                .collect();
            assert_eq!(found, peaks);
        }
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let codes = codes();
        let whole = part(&codes, 0..40, 6);
        let mut merged = part(&codes, 0..13, 6);
        let rest = part(&codes, 13..40, 6);
        for feature in 0..12 {
            merged.features[feature].merge(&rest.features[feature]);
            rest.best[feature].iter().for_each(|peak| merged.insert(feature, *peak));
        }
        assert_eq!(merged.best, whole.best);
        assert_eq!(merged.features, whole.features, "values are halves, so sums are exact");
    }
}
