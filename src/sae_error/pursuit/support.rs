//! Least squares among the features of a support.

use crate::linalg::{wide_dot, with_avx2_if_present};

/// A feature lies in the span of others if its squared distance from it is below this share of its
/// squared length. Products are known to about 1e-7.
const LEAST_DISTANCE: f64 = 1e-6;
/// A feature comes back if its gradient is above this share of the largest at the start.
const LEAST_GAIN: f64 = 1e-9;
/// Features that come back, for each in the support, at most.
const MOST_CHANGES_PER_FEATURE: usize = 4;

/// What is known of the features of a support.
#[derive(Debug, Default)]
pub(super) struct SupportProducts {
    /// `dᵢ·dⱼ` for j ≤ i, row after row.
    values: Vec<f32>,
    /// The gradient of the first feature.
    pub(super) first: Option<f64>,
}

impl SupportProducts {
    /// The bytes of as many features.
    pub(super) fn bytes_of(features: usize) -> usize {
        (features.saturating_mul(features.saturating_add(1)) / 2).saturating_mul(size_of::<f32>())
    }

    fn get(&self, a: usize, b: usize) -> f64 {
        let (row, column) = (a.max(b), a.min(b));
        f64::from(self.values[row * (row + 1) / 2 + column])
    }

    /// Takes in a feature, by its products with all before it and with itself.
    pub(super) fn push(&mut self, products: impl Iterator<Item = f32>) {
        self.values.extend(products);
    }

    /// Forgets the features that are not `kept`.
    pub(super) fn keep(&mut self, kept: Vec<bool>) {
        let pairs = kept.iter().enumerate();
        let mut stay =
            pairs.flat_map(|(i, row)| kept[..=i].iter().map(move |column| *row && *column));
        self.values.retain(|_| stay.next().unwrap_or(false));
    }

    /// `‖Σ gᵢ dᵢ‖²`.
    pub(super) fn squared_length(&self, gradient: &[f32]) -> f64 {
        with_avx2_if_present(|| {
            let (mut rest, mut sum) = (&self.values[..], 0.0);
            for (at, own) in gradient.iter().enumerate() {
                let (row, others) = rest.split_at(at);
                let before = wide_dot(row, &gradient[..at]);
                let (own, square) = (f64::from(*own), f64::from(others[0]));
                sum += own * (2.0 * before + square * own);
                rest = &others[1..];
            }
            sum
        })
    }

    /// The weights of the least squares, from weights at which the gradient is known: not negative
    /// unless `signed`. `None` if features depend on each other.
    pub(super) fn least_squares(
        &self,
        gradient: &[f64],
        before: &[f64],
        signed: bool,
    ) -> Option<Vec<f64>> {
        let count = before.len();
        let mut weights = before.to_vec();
        if signed {
            let all: Vec<usize> = (0..count).collect();
            let step = self.solve(&all, gradient.to_vec())?;
            weights.iter_mut().zip(step).for_each(|(weight, step)| *weight += step);
            return Some(weights);
        }
        let most = gradient.iter().fold(0.0, |most: f64, own| most.max(own.abs()));
        let mut free: Vec<usize> = (0..count).collect();
        for _ in 0..MOST_CHANGES_PER_FEATURE * count {
            self.descend(&mut free, &mut weights, gradient, before)?;
            // What was left out may have a gradient again.
            let left_out = (0..count).filter(|at| !free.contains(at));
            let gains = left_out.map(|at| (self.gradient(at, gradient, &weights, before), at));
            match gains.max_by(|a, b| a.0.total_cmp(&b.0)) {
                Some((gain, at)) if gain > LEAST_GAIN * most => free.push(at),
                _ => break,
            }
        }
        Some(weights)
    }

    /// Moves the weights of `free` to their least squares, or leaves out those that are zero on the
    /// way there, until the others are.
    fn descend(
        &self,
        free: &mut Vec<usize>,
        weights: &mut [f64],
        gradient: &[f64],
        before: &[f64],
    ) -> Option<()> {
        while !free.is_empty() {
            let slopes = free.iter().map(|at| self.gradient(*at, gradient, weights, before));
            let step = self.solve(free, slopes.collect())?;
            // The share of the step after which a weight is zero.
            let end = |(&at, step): (&usize, &f64)| match weights[at] + step > 0.0 {
                true => f64::INFINITY,
                false => weights[at] / -step,
            };
            let ends: Vec<f64> = free.iter().zip(&step).map(end).collect();
            let share = ends.iter().copied().fold(1.0, f64::min);
            for ((at, step), end) in free.iter().zip(&step).zip(&ends) {
                weights[*at] = if *end <= share { 0.0 } else { weights[*at] + share * step };
            }
            if share == 1.0 && ends.iter().all(|end| *end > share) {
                break;
            }
            free.retain(|at| weights[*at] > 0.0);
        }
        Some(())
    }

    /// The gradient of a feature's weight at `weights`, from all gradients at `before`.
    fn gradient(&self, at: usize, gradient: &[f64], weights: &[f64], before: &[f64]) -> f64 {
        let moved = weights.iter().zip(before).map(|(weight, before)| weight - before);
        gradient[at] - moved.enumerate().map(|(own, moved)| self.get(at, own) * moved).sum::<f64>()
    }

    /// The solution of the products among `free` with a right side, by Cholesky's factors.
    fn solve(&self, free: &[usize], mut solution: Vec<f64>) -> Option<Vec<f64>> {
        let k = free.len();
        let mut lower = vec![0.0; k * k];
        for i in 0..k {
            for j in 0..=i {
                let known = (0..j).map(|m| lower[i * k + m] * lower[j * k + m]).sum::<f64>();
                let own = self.get(free[i], free[j]);
                let rest = own - known;
                lower[i * k + j] = match i == j {
                    true if rest > LEAST_DISTANCE * own => rest.sqrt(),
                    true => return None,
                    false => rest / lower[j * k + j],
                };
            }
            let known = (0..i).map(|m| lower[i * k + m] * solution[m]).sum::<f64>();
            solution[i] = (solution[i] - known) / lower[i * k + i];
        }
        for i in (0..k).rev() {
            let known = (i + 1..k).map(|m| lower[m * k + i] * solution[m]).sum::<f64>();
            solution[i] = (solution[i] - known) / lower[i * k + i];
        }
        Some(solution)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::random::Rng;

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn products_are_those_of_the_features_that_are_kept() {
        let columns = [[1.0, 2.0, 0.0], [0.0, 1.0, -3.0], [4.0, 0.0, 1.0], [2.0, 2.0, 2.0]];
        let mut products = SupportProducts::default();
        for i in 0..4 {
            products.push((0..=i).map(|j| dot(&columns[i], &columns[j]) as f32));
        }
        let length = |columns: &[[f64; 3]], gradient: &[f32]| -> f64 {
            let at = |k: usize| -> f64 {
                columns.iter().zip(gradient).map(|(column, g)| f64::from(*g) * column[k]).sum()
            };
            (0..3).map(|k| at(k).powi(2)).sum()
        };
        let gradient = [1.0, -2.0, 0.5, 3.0];
        assert_eq!(products.squared_length(&gradient), length(&columns, &gradient));
        products.keep(vec![true, false, true, true]);
        let kept = [columns[0], columns[2], columns[3]];
        assert_eq!(products.squared_length(&gradient[1..]), length(&kept, &gradient[1..]));
        assert_eq!(products.get(1, 2), dot(&columns[2], &columns[3]));
    }

    #[test]
    fn least_squares_that_are_not_negative_are_those_of_the_best_features() {
        for case in 0..200 {
            let draw = |seed, rows: usize| -> Vec<Vec<f64>> {
                let values = Rng::seed(seed).normal((rows, 7), &Device::Cpu).unwrap();
                values.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
            };
            let (columns, y) = (draw(2 * case, 5), draw(2 * case + 1, 1));
            let mut products = SupportProducts::default();
            for i in 0..5 {
                products.push((0..=i).map(|j| dot(&columns[i], &columns[j]) as f32));
            }
            let right: Vec<f64> = columns.iter().map(|column| dot(column, &y[0])).collect();
            let found = products.least_squares(&right, &[0.0; 5], false).unwrap();
            let squares = |weights: &[f64]| -> f64 {
                let at = |k: usize| -> f64 { (0..5).map(|i| weights[i] * columns[i][k]).sum() };
                (0..7).map(|k| (y[0][k] - at(k)).powi(2)).sum()
            };
            // Every set of features, where its least squares are not negative.
            let mut least = f64::INFINITY;
            for set in 0u32..32 {
                let free: Vec<usize> = (0..5).filter(|i| (set >> i) & 1 == 1).collect();
                let own = free.iter().map(|i| right[*i]).collect();
                let solution = products.solve(&free, own).unwrap();
                if solution.iter().all(|weight| *weight >= 0.0) {
                    let mut weights = [0.0; 5];
                    free.iter().zip(&solution).for_each(|(i, weight)| weights[*i] = *weight);
                    least = least.min(squares(&weights));
                }
            }
            assert!(found.iter().all(|weight| *weight >= 0.0));
            assert!((squares(&found) - least).abs() < 1e-9 * (1.0 + least), "{case}");
        }
    }
}
