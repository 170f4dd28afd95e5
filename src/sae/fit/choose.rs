//! Which features are in the codes of a batch.

use rayon::prelude::*;

use crate::sae::select::largest;

/// One feature in the code of one activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Entry {
    pub(super) feature: u32,
    /// What the encoder says.
    pub(super) h: f32,
    /// What the code holds; 0 where only a threshold is near.
    pub(super) value: f32,
    /// The squared error's gradient with respect to `value`.
    pub(super) pull: f32,
}

/// The codes of a batch, a row an activation.
pub(super) type Rows = Vec<Vec<Entry>>;

/// How codes come from h `[n, m]`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule<'a> {
    Relu,
    TopK { k: usize, relu: bool },
    BatchTopK { k: usize },
    JumpRelu { thresholds: &'a [f32], bandwidth: f32 },
    Gated { bias: &'a [f32], gains: &'a [f32], magnitude: &'a [f32] },
}

/// NaN counts as positive: it must not get lost.
pub(super) fn positive(h: f32) -> bool {
    (h > 0.0) | h.is_nan()
}

impl Entry {
    /// A feature of which the code holds what the encoder says.
    fn new(feature: u32, h: f32) -> Self {
        Self { feature, h, value: h, pull: 0.0 }
    }
}

fn entries(h: &[f32]) -> impl Iterator<Item = Entry> {
    (0..).zip(h).map(|(feature, h)| Entry::new(feature, *h))
}

impl Rule<'_> {
    /// Writes the codes of `h` to `rows`; the smallest value of all where a batch was chosen from
    /// together.
    pub(super) fn choose(&self, h: &[f32], m: usize, rows: &mut Rows) -> Option<f32> {
        rows.resize_with(h.len() / m, Vec::new);
        if let Self::BatchTopK { k } = *self {
            return largest_of_all(h, m, k * rows.len(), rows);
        }
        rows.par_iter_mut().zip(h.par_chunks(m)).for_each(|(row, h)| {
            row.clear();
            self.choose_row(h, row);
        });
        None
    }

    fn choose_row(&self, h: &[f32], row: &mut Vec<Entry>) {
        match *self {
            Self::TopK { k, relu } => {
                let kept = largest(h, k).into_iter().filter(|(_, h)| !relu || positive(*h));
                row.extend(kept.map(|(feature, h)| Entry::new(feature, h)));
            }
            Self::JumpRelu { thresholds, bandwidth } => {
                // Most are below; not less or equal: NaN counts.
                let below = |above: f32| above <= -0.5 * bandwidth;
                let some = entries(h).zip(thresholds).filter(|(entry, t)| !below(entry.h - **t));
                row.extend(some.filter_map(|(entry, _)| self.admit(entry)));
            }
            rule => row.extend(entries(h).filter_map(|entry| rule.admit(entry))),
        }
    }

    /// The entry of a code that h alone decides on, if it has one.
    #[inline(always)]
    fn admit(&self, entry: Entry) -> Option<Entry> {
        let at = entry.feature as usize;
        match *self {
            Self::Relu => positive(entry.h).then_some(entry),
            // Those that count their features.
            Self::TopK { .. } | Self::BatchTopK { .. } => None,
            Self::JumpRelu { thresholds, bandwidth } => {
                let above = entry.h - thresholds[at];
                match positive(above) {
                    true => Some(entry),
                    false => near(above, bandwidth).then_some(Entry { value: 0.0, ..entry }),
                }
            }
            Self::Gated { gains, magnitude, .. } => {
                let value = entry.h * gains[at] + magnitude[at];
                (self.open(entry).is_some() && positive(value)).then_some(Entry { value, ..entry })
            }
        }
    }

    /// What a gated autoencoder's gate lets through.
    #[inline(always)]
    fn open(&self, entry: Entry) -> Option<Entry> {
        let Self::Gated { bias, .. } = *self else { return None };
        let value = entry.h + bias[entry.feature as usize];
        positive(value).then_some(Entry { value, ..entry })
    }

    /// Whether codes of `h` `[n, m]` are better handled as a matrix, by some of the rows.
    pub(super) fn is_dense(&self, h: &[f32], m: usize) -> bool {
        /// From this share of features in a code on, products of dense matrices are faster; the second
        /// is for two codes, what a gate lets through being one.
        const SHARES: [f64; 2] = [1.0 / 8.0, 1.0 / 16.0];
        /// Rows of which one is looked at.
        const STEP: usize = 16;
        let rows = h.chunks(m).step_by(STEP);
        let all = rows.len() * m;
        let held = |entry: &Entry| self.admit(*entry).or_else(|| self.open(*entry)).is_some();
        let count = rows.flat_map(entries).filter(held).count();
        let share = SHARES[usize::from(matches!(self, Self::Gated { .. }))];
        count as f64 > share * all as f64
    }

    /// Writes what a gated autoencoder's gate lets through of `h` to `rows`.
    pub(super) fn choose_open(&self, h: &[f32], m: usize, rows: &mut Rows) {
        rows.resize_with(h.len() / m, Vec::new);
        rows.par_iter_mut().zip(h.par_chunks(m)).for_each(|(row, h)| {
            row.clear();
            row.extend(entries(h).filter_map(|entry| self.open(entry)));
        });
    }

    /// Writes the `k` largest of the features `dead` to `rows`, with their signs or the positive
    /// ones.
    pub(super) fn choose_dead(&self, h: &[f32], m: usize, dead: &[u32], k: usize, rows: &mut Rows) {
        let signed = matches!(self, Self::TopK { relu: false, .. });
        rows.resize_with(h.len() / m, Vec::new);
        rows.par_iter_mut().zip(h.par_chunks(m)).for_each(|(row, h)| {
            let own: Vec<f32> = dead.iter().map(|feature| h[*feature as usize]).collect();
            let kept = largest(&own, k).into_iter().filter(|(_, h)| signed || positive(*h));
            row.clear();
            row.extend(kept.map(|(at, h)| Entry::new(dead[at as usize], h)));
        });
    }

    /// The loss's gradient with respect to h of an entry of the codes, with the penalty `lambda` of
    /// one feature of one activation.
    pub(super) fn slope(&self, entry: &Entry, lambda: f32) -> f32 {
        match *self {
            Self::Relu => entry.pull + lambda,
            Self::TopK { .. } | Self::BatchTopK { .. } => entry.pull,
            Self::JumpRelu { .. } if entry.value == 0.0 => 0.0,
            Self::JumpRelu { .. } => entry.pull,
            Self::Gated { gains, .. } => entry.pull * gains[entry.feature as usize],
        }
    }

    /// The same of an entry beside the codes.
    pub(super) fn slope_beside(&self, entry: &Entry, lambda: f32) -> f32 {
        match self {
            Self::Gated { .. } => entry.pull + lambda,
            _ => entry.pull,
        }
    }

    /// The gradient with respect to log θ through the straight-through estimators.
    pub(super) fn threshold_slope(&self, entry: &Entry, lambda: f32) -> f32 {
        match *self {
            Self::JumpRelu { thresholds, bandwidth } => {
                let threshold = thresholds[entry.feature as usize];
                match near(entry.h - threshold, bandwidth) {
                    true => -(threshold * entry.pull + lambda) * threshold / bandwidth,
                    false => 0.0,
                }
            }
            _ => 0.0,
        }
    }
}

/// Whether the rectangle around a threshold reaches what is that much above it.
pub(super) fn near(above: f32, bandwidth: f32) -> bool {
    above.abs() < 0.5 * bandwidth
}

/// The `count` largest positive entries of a batch, of equal ones the first; the smallest of them.
fn largest_of_all(h: &[f32], m: usize, count: usize, rows: &mut Rows) -> Option<f32> {
    let bar = smallest_of_largest(h, m, count);
    let least = f32::from_bits(bar);
    rows.par_iter_mut().zip(h.par_chunks(m)).for_each(|(row, h)| {
        row.clear();
        row.extend(entries(h).filter(|entry| entry.h >= least || entry.h.is_nan()));
    });
    let kept: usize = rows.iter().map(Vec::len).sum();
    let mut surplus = kept.saturating_sub(count);
    for row in rows.iter_mut().rev() {
        for at in (0..row.len()).rev() {
            if surplus > 0 && key(row[at].h) == bar {
                row.remove(at);
                surplus -= 1;
            }
        }
    }
    rows.iter().flatten().map(|entry| entry.h).min_by(f32::total_cmp)
}

/// A number that ascends with h, 0 for what is not positive.
fn key(h: f32) -> u32 {
    if positive(h) { h.to_bits() & 0x7fff_ffff } else { 0 }
}

/// The key of the `count`-th largest positive entry, or the least above 0 if there are fewer.
fn smallest_of_largest(h: &[f32], m: usize, count: usize) -> u32 {
    let guess = guess(h, m, count);
    let mut high = keys_from(h, m, guess);
    if high.len() < count && guess > 1 {
        high = keys_from(h, m, 1);
    }
    if high.len() < count {
        return 1;
    }
    let (_, bar, _) = high.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
    *bar
}

/// A key that about twice `count` entries reach, by a few of the rows.
fn guess(h: &[f32], m: usize, count: usize) -> u32 {
    /// Rows of which one is looked at.
    const STEP: usize = 16;
    let some = h.chunks(m).step_by(STEP);
    let share = 2 * count * some.len() / (h.len() / m);
    let mut keys: Vec<u32> = some.flatten().map(|h| key(*h)).filter(|key| *key > 0).collect();
    match share < keys.len() {
        true => *keys.select_nth_unstable_by(share, |a, b| b.cmp(a)).1,
        false => 1,
    }
}

/// The keys of at least `bar`, which is above 0.
fn keys_from(h: &[f32], m: usize, bar: u32) -> Vec<u32> {
    let least = f32::from_bits(bar);
    // Not less: NaN counts.
    let high =
        |row: &[f32]| row.iter().filter(|h| **h >= least || h.is_nan()).map(|h| key(*h)).collect();
    let rows: Vec<Vec<u32>> = h.par_chunks(m).map(high).collect();
    rows.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    #[test]
    fn the_largest_of_a_batch_are_those_of_a_sort() {
        let mut rng = Rng::seed(4);
        for (n, m, k, steps) in [(7, 24, 3, 1e6), (40, 50, 4, 20.0), (3, 5, 5, 2.0), (5, 8, 2, 1.0)]
        {
            // Few different values: ties.
            let h: Vec<f32> =
                (0..n * m).map(|_| (steps * (rng.unit() - 0.4)).floor() / steps).collect();
            let mut sorted: Vec<usize> = (0..n * m).filter(|at| h[*at] > 0.0).collect();
            sorted.sort_by(|a, b| h[*b].total_cmp(&h[*a]).then(a.cmp(b)));
            sorted.truncate(k * n);
            let mut rows = Rows::new();
            let smallest = Rule::BatchTopK { k }.choose(&h, m, &mut rows);
            assert_eq!(smallest, sorted.last().map(|at| h[*at]));
            sorted.sort_unstable();
            let found = rows.iter().enumerate().flat_map(|(row, entries)| {
                entries.iter().map(move |entry| row * m + entry.feature as usize)
            });
            assert_eq!(found.collect::<Vec<_>>(), sorted, "{k} of {n} × {m}");
        }
        let mut rows = Rows::new();
        Rule::BatchTopK { k: 1 }.choose(&[f32::NAN, 1.0, 2.0, 0.5], 2, &mut rows);
        assert!(rows[0][0].h.is_nan() && rows[1][0].h == 2.0);
    }

    #[test]
    fn codes_are_dense_from_some_share_of_the_features_on() {
        let h = |open: usize| -> Vec<f32> {
            (0..20 * 80).map(|at| if at % 80 < open { 1.0 } else { -1.0 }).collect()
        };
        let ones = [1.0; 80];
        let gated = Rule::Gated { bias: &[-0.5; 80], gains: &ones, magnitude: &[-2.0; 80] };
        let jump_relu = Rule::JumpRelu { thresholds: &[0.5; 80], bandwidth: 0.1 };
        for (rule, most) in [(Rule::Relu, 10), (jump_relu, 10), (gated, 5)] {
            let dense = [most, most + 1].map(|open| rule.is_dense(&h(open), 80));
            assert_eq!(dense, [false, true], "{rule:?}");
        }
        let high = Rule::JumpRelu { thresholds: &[1.5; 80], bandwidth: 0.1 };
        assert!(!high.is_dense(&h(80), 80) && !Rule::BatchTopK { k: 40 }.is_dense(&h(80), 80));
    }

    #[test]
    fn dead_features_are_chosen_among_themselves() {
        let h = [9.0, 1.0, -3.0, 2.0, 9.0, -1.0, -3.0, -2.0];
        let mut rows = Rows::new();
        let chosen = |rows: &Rows| -> Vec<Vec<u32>> {
            rows.iter().map(|row| row.iter().map(|entry| entry.feature).collect()).collect()
        };
        Rule::TopK { k: 1, relu: true }.choose_dead(&h, 4, &[1, 2, 3], 1, &mut rows);
        assert_eq!(chosen(&rows), [vec![3], vec![]]);
        Rule::TopK { k: 1, relu: false }.choose_dead(&h, 4, &[1, 2, 3], 1, &mut rows);
        assert_eq!(chosen(&rows), [vec![3], vec![1]]);
    }
}
