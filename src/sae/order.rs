//! The tie rule and the NaN rule, in code: see the [page of kinds](super::kind).

use rayon::prelude::*;

/// Whether `h` is above `bar`; NaN is.
#[inline(always)]
#[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN is above everything")]
pub(crate) fn exceeds(h: f32, bar: f32) -> bool {
    !(h <= bar)
}

/// Whether `h` is above zero; NaN is.
#[inline(always)]
pub(crate) fn positive(h: f32) -> bool {
    exceeds(h, 0.0)
}

/// The value if the condition holds, else 0; by its bits, lest a compiler makes a branch of it.
#[inline(always)]
pub(crate) fn keep_if(condition: bool, value: f32) -> f32 {
    f32::from_bits(value.to_bits() & u32::from(condition).wrapping_neg())
}

/// Index and value of the k largest entries.
pub(crate) fn largest(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut best = TopEntries::new(k, f32::NAN);
    for (i, value) in row.iter().enumerate() {
        if best.misses(*value) {
            continue;
        }
        best.offer(i as u32, *value);
    }
    best.into_entries()
}

/// The k largest of entries that come one by one, in ascending order of their indices.
#[derive(Debug)]
pub(crate) struct TopEntries {
    k: usize,
    /// Entries that fall short of the k-th largest by less than this are kept too.
    slack: f32,
    kept: Vec<(u32, f32)>,
    /// How many entries are kept before the best are chosen among them.
    capacity: usize,
    /// Most entries fall short of the k-th best so far: a comparison each. NaN as long as there are
    /// too few to say.
    bar: f32,
}

impl TopEntries {
    /// Entries up to `bar` do not count.
    pub(crate) fn new(k: usize, bar: f32) -> Self {
        let capacity = (2 * k).max(64);
        Self { k, slack: 0.0, kept: Vec::with_capacity(capacity), capacity, bar }
    }

    /// The same, of entries that are known to within half of `slack`.
    pub(crate) fn within(self, slack: f32) -> Self {
        Self { slack, ..self }
    }

    /// Whether it is sure that `value` is not among the k largest.
    pub(crate) fn misses(&self, value: f32) -> bool {
        value <= self.bar
    }

    /// What a value must exceed to be among them, as far as is known.
    pub(crate) fn bar(&self) -> f32 {
        self.bar
    }

    /// Takes in an entry.
    pub(crate) fn offer(&mut self, i: u32, value: f32) {
        // What processors make of ∞ · 0 has a sign, by which it would be the smallest.
        let value = if value.is_nan() { f32::NAN } else { value };
        self.kept.push((i, value));
        if self.kept.len() == self.capacity {
            self.cut();
            self.capacity = self.capacity.max(2 * self.kept.len());
        }
    }

    fn cut(&mut self) {
        if self.kept.len() > self.k {
            let by_size = |(i, a): &(u32, f32), (j, b): &(u32, f32)| {
                // -0 + 0 is 0.
                (b + 0.0).total_cmp(&(a + 0.0)).then(i.cmp(j))
            };
            self.kept.select_nth_unstable_by(self.k - 1, by_size);
            self.bar = self.kept[self.k - 1].1 - self.slack;
            let mut end = self.k;
            for next in self.k..self.kept.len() {
                if self.kept[next].1 > self.bar {
                    self.kept.swap(end, next);
                    end += 1;
                }
            }
            self.kept.truncate(end);
        }
    }

    /// The k largest and what is kept with them, in no order.
    pub(crate) fn into_entries(mut self) -> Vec<(u32, f32)> {
        self.cut();
        self.kept
    }

    /// The same in ascending order of their indices.
    pub(crate) fn into_sorted(self) -> Vec<(u32, f32)> {
        let mut entries = self.into_entries();
        entries.sort_unstable_by_key(|(i, _)| *i);
        entries
    }
}

/// What an entry must reach to be among the largest positive ones of several rows together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bar(u32);

impl Bar {
    /// The `count`-th largest positive entry of `h` `[n, m]`, or the least above 0 if there are
    /// fewer.
    pub(crate) fn of_largest(h: &[f32], m: usize, count: usize) -> Self {
        let guess = guess(h, m, count);
        let mut high = keys_from(h, m, guess);
        if high.len() < count && guess > 1 {
            high = keys_from(h, m, 1);
        }
        if high.len() < count {
            return Self(1);
        }
        let (_, bar, _) = high.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
        Self(*bar)
    }

    /// Whether `h` is at or above it.
    #[inline(always)]
    pub(crate) fn admits(self, h: f32) -> bool {
        // Not less: NaN counts.
        (h >= f32::from_bits(self.0)) | h.is_nan()
    }

    /// Whether `h` is exactly at it.
    pub(crate) fn ties(self, h: f32) -> bool {
        key(h) == self.0
    }
}

/// A number that ascends with h, 0 for what is not positive.
fn key(h: f32) -> u32 {
    if positive(h) { h.to_bits() & 0x7fff_ffff } else { 0 }
}

/// A key that about twice `count` entries reach, by a few of the rows.
fn guess(h: &[f32], m: usize, count: usize) -> u32 {
    /// CodeRows of which one is looked at.
    const ROWS_PER_LOOK: usize = 16;
    let some = h.chunks(m).step_by(ROWS_PER_LOOK);
    let share = 2 * count * some.len() / (h.len() / m);
    let mut keys: Vec<u32> = some.flatten().map(|h| key(*h)).filter(|key| *key > 0).collect();
    match share < keys.len() {
        true => *keys.select_nth_unstable_by(share, |a, b| b.cmp(a)).1,
        false => 1,
    }
}

/// The keys of at least `least`, which is above 0.
fn keys_from(h: &[f32], m: usize, least: u32) -> Vec<u32> {
    let bar = Bar(least);
    let high = |row: &[f32]| row.iter().filter(|h| bar.admits(**h)).map(|h| key(*h)).collect();
    let rows: Vec<Vec<u32>> = h.par_chunks(m).map(high).collect();
    rows.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    #[test]
    fn of_equals_the_first_are_kept() {
        assert_eq!(largest(&[1., 2., 2., 2.], 2), [(1, 2.), (2, 2.)]);
        assert_eq!(largest(&[-1., -2.], 2).len(), 2);
        // Few entries, and so many that a bar leaves most of them out.
        for n in [2, 1000] {
            let row: Vec<f32> = (0..n).map(|i| if i % 2 == 0 { -0.0 } else { 0.0 }).collect();
            assert_eq!(largest(&row, 1)[0].0, 0);
        }
    }

    #[test]
    fn the_largest_of_many_are_those_of_a_sort() {
        let mut rng = Rng::seed(8);
        for (n, k) in [(1000, 3), (1000, 40), (1000, 999), (70, 70), (5, 1)] {
            // Few different values: ties.
            let row: Vec<f32> = (0..n).map(|_| (20.0 * rng.unit()).floor() - 10.0).collect();
            let mut sorted: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            sorted.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
            sorted.truncate(k);
            let mut found = largest(&row, k);
            found.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
            assert_eq!(found, sorted, "{k} of {n}");
        }
        for nan in [f32::NAN, -f32::NAN] {
            assert!(largest(&[1.0, nan, 2.0], 1)[0].1.is_nan());
        }
    }

    #[test]
    fn nan_exceeds_every_bar() {
        for bar in [f32::NEG_INFINITY, -1.0, 0.0, 7.0, f32::INFINITY] {
            assert!(exceeds(f32::NAN, bar) && exceeds(-f32::NAN, bar));
            assert!(!exceeds(bar, bar));
        }
        assert!(positive(f32::MIN_POSITIVE) && !positive(0.0) && !positive(-0.0));
        assert_eq!((keep_if(true, -2.0), keep_if(false, f32::NAN)), (-2.0, 0.0));
    }
}
