//! Which of a row's values a code keeps.

use rayon::prelude::*;

use super::autoencoder::Inner;
use super::codes::Part;
use super::{Activation, Rescale};

impl Inner {
    /// Indices and values of the code of a row `h` `[features]`.
    pub(super) fn select(&self, h: &[f32]) -> Vec<(u32, f32)> {
        let entries = || (0..).zip(h.iter().copied());
        match self.architecture.activation {
            Activation::Relu | Activation::JumpRelu | Activation::Gated => {
                entries().filter_map(|(i, h)| Some((i, self.admit(i, h)?))).collect()
            }
            Activation::TopK { k, .. } => {
                let kept = match self.architecture.rescale {
                    Rescale::None => largest(h, k),
                    _ => {
                        let weighed: Vec<f32> =
                            entries().map(|(i, h)| h * self.weight(i)).collect();
                        let kept = largest(&weighed, k).into_iter();
                        kept.map(|(i, _)| (i, h[i as usize])).collect()
                    }
                };
                kept.into_iter().filter_map(|(i, h)| Some((i, self.admit(i, h)?))).collect()
            }
            Activation::AbsTopK { k } => {
                let weighed = entries().map(|(i, h)| self.kept(i, h)).collect::<Vec<f32>>();
                let sizes: Vec<f32> = weighed.iter().map(|value| value.abs()).collect();
                let kept = largest(&sizes, k).into_iter();
                kept.map(|(i, _)| (i, weighed[i as usize])).collect()
            }
            Activation::GroupMax { k } => {
                let groups = (0u32..).zip(h.chunks((h.len() / k).max(1)));
                let best = groups.filter_map(|(group, values)| {
                    let (i, value) = largest(values, 1).into_iter().next()?;
                    Some((group * values.len() as u32 + i, value))
                });
                best.filter(|(_, value)| *value > 0.0).collect()
            }
            // It has no h.
            Activation::MatchingPursuit { .. } => Vec::new(),
        }
    }

    /// The code's value for h of feature i, unless it is left out for its size; for top-k, of one
    /// that is among the k largest.
    pub(super) fn admit(&self, i: u32, h: f32) -> Option<f32> {
        let at = i as usize;
        let (value, open) = match self.architecture.activation {
            Activation::Relu => (h, h > 0.0),
            Activation::JumpRelu => {
                (self.kept(i, h), h * self.weight(i) > self.thresholds[at] && h > 0.0)
            }
            Activation::Gated => {
                let gate = self.gate.as_ref()?;
                let value = h * gate.gains[at] + gate.magnitude[at];
                (value, h + gate.bias[at] > 0.0 && value > 0.0)
            }
            Activation::TopK { relu, .. } => {
                let value = self.kept(i, h);
                (value, !relu || value > 0.0)
            }
            _ => (self.kept(i, h), true),
        };
        open.then_some(value)
    }

    /// Whether it is top-k that leaves out what is not positive.
    pub(super) fn keeps_positive(&self) -> bool {
        matches!(self.architecture.activation, Activation::TopK { relu: true, .. })
    }

    /// What h of feature i must exceed for [`Inner::admit`] to let it in; not all that do come in.
    pub(super) fn bar(&self, i: u32) -> f32 {
        let at = i as usize;
        match (self.architecture.activation, self.architecture.rescale) {
            (Activation::JumpRelu, Rescale::None) => self.thresholds[at].max(0.0),
            (Activation::Gated, _) => self.gate.as_ref().map_or(0.0, |gate| -gate.bias[at]),
            _ => 0.0,
        }
    }

    /// What h of feature i is multiplied with before it is compared.
    fn weight(&self, i: u32) -> f32 {
        self.lengths.get(i as usize).copied().unwrap_or(1.0)
    }

    /// The code's value for h of feature i.
    fn kept(&self, i: u32, h: f32) -> f32 {
        match self.architecture.rescale {
            Rescale::Kept => h * self.lengths[i as usize],
            _ => h,
        }
    }

    /// Matching pursuit of `rows`, each `[d]`.
    pub(super) fn pursue(&self, rows: &[f32], d: usize) -> Vec<Part> {
        let Activation::MatchingPursuit { threshold, steps, stop_on_repeat } =
            self.architecture.activation
        else {
            return Vec::new();
        };
        let pursue = |row: &[f32]| {
            let mut rest = row.to_vec();
            let mut code: Vec<(u32, f32)> = Vec::new();
            for _ in 0..steps {
                if length(&rest) < threshold {
                    break;
                }
                let scores = self.columns.products(&rest).into_iter();
                let scores: Vec<f32> = scores.map(|score| score.max(0.0)).collect();
                let Some(&(best, score)) = largest(&scores, 1).first() else { break };
                self.columns.add(best as usize, -score, &mut rest);
                let repeated = match code.iter_mut().find(|(own, _)| *own == best) {
                    Some((_, value)) => {
                        *value += score;
                        true
                    }
                    None if score > 0.0 => {
                        code.push((best, score));
                        false
                    }
                    None => true,
                };
                if repeated && (stop_on_repeat || score == 0.0) {
                    break;
                }
            }
            let mut part = Part::default();
            part.push_unsorted(code);
            part
        };
        rows.par_chunks(d).map(pursue).collect()
    }
}

fn length(x: &[f32]) -> f32 {
    (x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>() as f32).sqrt()
}

/// Index and value of the k largest entries.
pub(super) fn largest(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut best = Best::new(k, f32::NAN);
    for (i, value) in row.iter().enumerate() {
        if best.misses(*value) {
            continue;
        }
        best.offer(i as u32, *value);
    }
    best.into_entries()
}

/// The k largest of entries that come one by one, in ascending order of their indices.
///
/// Of equal entries, 0 and -0 among them, the earlier is kept, and NaN counts as large: it must not
/// get lost.
#[derive(Debug)]
pub(super) struct Best {
    k: usize,
    /// Entries that fall short of the k-th largest by less than this are kept too.
    slack: f32,
    kept: Vec<(u32, f32)>,
    /// How many entries are kept before the best are chosen among them.
    room: usize,
    /// Most entries fall short of the k-th best so far: a comparison each. NaN as long as there are
    /// too few to say.
    bar: f32,
}

impl Best {
    /// Entries up to `bar` do not count.
    pub(super) fn new(k: usize, bar: f32) -> Self {
        let room = (2 * k).max(64);
        Self { k, slack: 0.0, kept: Vec::with_capacity(room), room, bar }
    }

    /// The same, of entries that are known to within half of `slack`.
    pub(super) fn within(self, slack: f32) -> Self {
        Self { slack, ..self }
    }

    /// Whether it is sure that `value` is not among the k largest.
    pub(super) fn misses(&self, value: f32) -> bool {
        value <= self.bar
    }

    /// What a value must exceed to be among them, as far as is known.
    pub(super) fn bar(&self) -> f32 {
        self.bar
    }

    /// Takes in an entry.
    pub(super) fn offer(&mut self, i: u32, value: f32) {
        // What processors make of ∞ · 0 has a sign, by which it would be the smallest.
        let value = if value.is_nan() { f32::NAN } else { value };
        self.kept.push((i, value));
        if self.kept.len() == self.room {
            self.cut();
            self.room = self.room.max(2 * self.kept.len());
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
    pub(super) fn into_entries(mut self) -> Vec<(u32, f32)> {
        self.cut();
        self.kept
    }
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
}
