//! Which of a row's values a code keeps.

use rayon::prelude::*;

use super::autoencoder::Inner;
use super::{Activation, Rescale};

impl Inner {
    /// Indices and values of the code of a row `h` `[features]`.
    pub(super) fn select(&self, h: &[f32]) -> Vec<(u32, f32)> {
        let entries = || (0..).zip(h.iter().copied());
        let weigh = |i: u32| self.lengths.get(i as usize).copied().unwrap_or(1.0);
        match self.architecture.activation {
            Activation::Relu => entries().filter(|(_, h)| *h > 0.0).collect(),
            Activation::JumpRelu => {
                let above = |(i, h): &(u32, f32)| {
                    let h = h * if self.architecture.rescale == Rescale::None {
                        1.0
                    } else {
                        weigh(*i)
                    };
                    h > self.thresholds[*i as usize] && h > 0.0
                };
                entries().filter(above).map(|(i, h)| (i, self.kept(i, h))).collect()
            }
            Activation::TopK { k, relu } => {
                let mut kept = match self.architecture.rescale {
                    Rescale::None => largest(h, k),
                    _ => {
                        let weighed: Vec<f32> = entries().map(|(i, h)| h * weigh(i)).collect();
                        let kept = largest(&weighed, k).into_iter();
                        kept.map(|(i, _)| (i, self.kept(i, h[i as usize]))).collect()
                    }
                };
                if relu {
                    kept.retain(|(_, value)| *value > 0.0);
                }
                kept
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
            Activation::Gated => {
                let Some(gate) = &self.gate else { return Vec::new() };
                let open = |(i, h): (u32, f32)| {
                    let at = i as usize;
                    let value = h * gate.gains[at] + gate.magnitude[at];
                    (h + gate.bias[at] > 0.0 && value > 0.0).then_some((i, value))
                };
                entries().filter_map(open).collect()
            }
            // It has no h.
            Activation::MatchingPursuit { .. } => Vec::new(),
        }
    }

    /// The code's value for h of feature i.
    fn kept(&self, i: u32, h: f32) -> f32 {
        match self.architecture.rescale {
            Rescale::Kept => h * self.lengths[i as usize],
            _ => h,
        }
    }

    /// Matching pursuit of `rows`, each `[d]`.
    pub(super) fn pursue(&self, rows: &[f32], d: usize) -> Vec<Vec<(u32, f32)>> {
        let Activation::MatchingPursuit { threshold, steps, stop_on_repeat } =
            self.architecture.activation
        else {
            return Vec::new();
        };
        let pursue = |row: &[f32]| {
            let mut rest = row.to_vec();
            let mut code: Vec<(u32, f32)> = Vec::new();
            for _ in 0..steps {
                if dot(&rest, &rest).sqrt() < threshold {
                    break;
                }
                let scores = self.columns.chunks(d).map(|column| dot(&rest, column).max(0.0));
                let scores: Vec<f32> = scores.collect();
                let Some(&(best, score)) = largest(&scores, 1).first() else { break };
                rest.iter_mut()
                    .zip(&self.columns[best as usize * d..])
                    .for_each(|(rest, entry)| *rest -= score * entry);
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
            code
        };
        rows.par_chunks(d).map(pursue).collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}

/// Index and value of the k largest entries.
pub(super) fn largest(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let room = (2 * k).max(64);
    let mut kept: Vec<(u32, f32)> = Vec::with_capacity(room);
    let keep_best = |kept: &mut Vec<(u32, f32)>| {
        if kept.len() > k {
            kept.select_nth_unstable_by(k - 1, |(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
            kept.truncate(k);
        }
    };
    // Most entries fall short of the k-th best so far: a comparison each.
    let mut bar = f32::NEG_INFINITY;
    for (i, value) in row.iter().enumerate() {
        // Of equal entries the earlier is kept, and NaN counts as large: it must not get lost.
        if kept.len() >= k && *value <= bar {
            continue;
        }
        kept.push((i as u32, *value));
        if kept.len() == room {
            keep_best(&mut kept);
            bar = kept[k - 1].1;
        }
    }
    keep_best(&mut kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    #[test]
    fn of_equals_the_first_are_kept() {
        assert_eq!(largest(&[1., 2., 2., 2.], 2), [(1, 2.), (2, 2.)]);
        assert_eq!(largest(&[-1., -2.], 2).len(), 2);
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
        assert!(largest(&[1.0, f32::NAN, 2.0], 1)[0].1.is_nan());
    }
}
