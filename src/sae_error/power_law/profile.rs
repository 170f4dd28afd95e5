//! The squared error of a power law as a function of its exponent alone.

/// Exponents that are tried before the search narrows.
const GRID: usize = 400;
/// Exponents times the logarithm of the ratio of the widths, from and to: below, the law is a
/// straight line in the logarithm of W, above, all but the smallest width have the same value.
const RANGE: [f64; 2] = [1e-3, 100.0];
/// Values whose spread is below this share of the largest are constant.
const FLAT: f64 = 1e-12;
const MOST_POLISHING_STEPS: usize = 100;

/// Points of a power law, its widths divided by the smallest one W₀: `y ≈ factor (W/W₀)^−m + c`.
#[derive(Debug)]
pub(super) struct Profile {
    /// ln(W/W₀).
    logs: Vec<f64>,
    values: Vec<f64>,
    /// ln W₀.
    first: f64,
    /// Whether c is fitted; it is 0 otherwise.
    pub(super) constant: bool,
}

/// The best parameters for an exponent, and their squared error.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProfilePoint {
    pub(super) exponent: f64,
    pub(super) factor: f64,
    pub(super) constant: f64,
    pub(super) squares: f64,
}

/// Sums over the points for an exponent, with `x = (W/W₀)^−m`.
#[derive(Debug)]
pub(super) struct ProfileSums {
    pub(super) n: f64,
    /// Means of x and y.
    pub(super) x: f64,
    pub(super) y: f64,
    /// `Σ x²` and `Σ x y`.
    pub(super) xx: f64,
    pub(super) xy: f64,
    /// The same about the means.
    pub(super) centred_xx: f64,
    pub(super) centred_xy: f64,
}

impl Profile {
    pub(super) fn new(widths: &[f64], values: &[f64], constant: bool) -> Self {
        let first = widths.iter().copied().fold(f64::INFINITY, f64::min).ln();
        let logs = widths.iter().map(|width| width.ln() - first).collect();
        Self { logs, values: values.to_vec(), first, constant }
    }

    /// `W₀^m`, by which a is the factor.
    pub(super) fn scale_of(&self, exponent: f64) -> f64 {
        (exponent * self.first).exp()
    }

    /// The logarithms of the smallest and the largest exponent that are tried.
    pub(super) fn range(&self) -> [f64; 2] {
        let ratio = self.logs.iter().copied().fold(0.0, f64::max);
        RANGE.map(|product| (product / ratio).ln())
    }

    pub(super) fn sums(&self, exponent: f64) -> ProfileSums {
        let n = self.values.len() as f64;
        let x: Vec<f64> = self.logs.iter().map(|log| (-exponent * log).exp()).collect();
        let (x_mean, y_mean) = (x.iter().sum::<f64>() / n, self.values.iter().sum::<f64>() / n);
        let over = |term: fn(f64, f64) -> f64, a: f64, b: f64| -> f64 {
            x.iter().zip(&self.values).map(|(x, y)| term(x - a, y - b)).sum()
        };
        ProfileSums {
            n,
            x: x_mean,
            y: y_mean,
            xx: over(|x, _| x * x, 0.0, 0.0),
            xy: over(|x, y| x * y, 0.0, 0.0),
            centred_xx: over(|x, _| x * x, x_mean, 0.0),
            centred_xy: over(|x, y| x * y, x_mean, y_mean),
        }
    }

    /// The least squares for an exponent, with a factor and a constant that are not negative.
    pub(super) fn at(&self, exponent: f64) -> ProfilePoint {
        let sums = self.sums(exponent);
        let without = self.point(exponent, (sums.xy / sums.xx).max(0.0), 0.0);
        if !self.constant {
            return without;
        }
        let factor = sums.centred_xy / sums.centred_xx;
        let constant = sums.y - factor * sums.x;
        if factor >= 0.0 && constant >= 0.0 {
            return self.point(exponent, factor, constant);
        }
        // The best is on one of the two edges.
        let flat = self.point(exponent, 0.0, sums.y.max(0.0));
        if flat.squares < without.squares { flat } else { without }
    }

    fn point(&self, exponent: f64, factor: f64, constant: f64) -> ProfilePoint {
        let squares = self.squares(exponent, factor, constant);
        ProfilePoint { exponent, factor, constant, squares }
    }

    /// The squared error of a law.
    pub(super) fn squares(&self, exponent: f64, factor: f64, constant: f64) -> f64 {
        let points = self.logs.iter().zip(&self.values);
        points.map(|(log, y)| (y - factor * (-exponent * log).exp() - constant).powi(2)).sum()
    }

    /// What rounding may make of the squared error of values that follow a law exactly.
    pub(super) fn rounding(&self) -> f64 {
        1e-28 * self.values.iter().map(|y| y * y).sum::<f64>()
    }

    /// The law of values that do not fall.
    fn flat(&self) -> ProfilePoint {
        let mean = self.values.iter().sum::<f64>() / self.values.len() as f64;
        match self.constant {
            true => self.point(0.0, 0.0, mean.max(0.0)),
            false => self.point(0.0, mean.max(0.0), 0.0),
        }
    }

    /// The best law of all.
    pub(super) fn best(&self) -> ProfilePoint {
        let flat = self.flat();
        let range =
            |fold: fn(f64, f64) -> f64, start| self.values.iter().copied().fold(start, fold);
        let (low, high) = (range(f64::min, f64::INFINITY), range(f64::max, f64::NEG_INFINITY));
        if high - low <= FLAT * high.abs().max(low.abs()) {
            return flat;
        }
        let [from, to] = self.range();
        let step = (to - from) / (GRID - 1) as f64;
        let squares = |log: f64| self.at(log.exp()).squares;
        let tried = (0..GRID).map(|i| from + step * i as f64).map(|log| (squares(log), log));
        let middle = tried.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(from, |(_, log)| log);
        let log = brent([(middle - step).max(from), (middle + step).min(to)], squares);
        let found = self.polished(self.at(log.exp()));
        if found.factor > 0.0 && found.squares < flat.squares { found } else { flat }
    }

    /// Gauss–Newton steps on all parameters from a point near the best one: a search by comparing
    /// squares ends at half of the digits.
    fn polished(&self, start: ProfilePoint) -> ProfilePoint {
        let mut point = start;
        let mut with_constant = self.constant && point.constant > 0.0;
        for _ in 0..MOST_POLISHING_STEPS {
            let Some(step) = self.gauss_newton(&point, with_constant) else { break };
            let [factor, exponent, constant] =
                [point.factor + step[0], point.exponent + step[1], point.constant + step[2]];
            if constant < 0.0 {
                with_constant = false;
                point = self.point(point.exponent, point.factor, 0.0);
                continue;
            }
            if factor <= 0.0 || exponent <= 0.0 {
                break;
            }
            let next = self.point(exponent, factor, constant);
            if next.squares > point.squares * (1.0 + 1e-9) + self.rounding() {
                break;
            }
            point = next;
            let is_small = |(step, value): (f64, f64)| step.abs() <= 1e-15 * value;
            if step.into_iter().zip([factor, exponent, constant.max(factor)]).all(is_small) {
                break;
            }
        }
        if point.squares <= start.squares + self.rounding() { point } else { start }
    }

    /// The step of factor, exponent and constant that is best where the law is taken as linear.
    fn gauss_newton(&self, point: &ProfilePoint, with_constant: bool) -> Option<[f64; 3]> {
        let (mut products, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
        for (log, y) in self.logs.iter().zip(&self.values) {
            let x = (-point.exponent * log).exp();
            let slopes = [x, -point.factor * log * x, f64::from(u8::from(with_constant))];
            let residual = y - point.factor * x - point.constant;
            for i in 0..3 {
                right[i] += slopes[i] * residual;
                for j in 0..3 {
                    products[i][j] += slopes[i] * slopes[j];
                }
            }
        }
        if !with_constant {
            products[2][2] = 1.0;
        }
        solve(products, right)
    }
}

/// The solution of a positive definite system of three equations; `None` if it has none.
fn solve(matrix: [[f64; 3]; 3], right: [f64; 3]) -> Option<[f64; 3]> {
    let mut lower = [[0.0; 3]; 3];
    let mut solution = right;
    for i in 0..3 {
        for j in 0..=i {
            let sum = matrix[i][j] - (0..j).map(|k| lower[i][k] * lower[j][k]).sum::<f64>();
            if i != j {
                lower[i][j] = sum / lower[j][j];
            } else if sum > 1e-15 * matrix[i][i] {
                lower[i][i] = sum.sqrt();
            } else {
                return None;
            }
        }
        let known: f64 = (0..i).map(|k| lower[i][k] * solution[k]).sum();
        solution[i] = (solution[i] - known) / lower[i][i];
    }
    for i in (0..3).rev() {
        let known: f64 = (i + 1..3).map(|k| lower[k][i] * solution[k]).sum();
        solution[i] = (solution[i] - known) / lower[i][i];
    }
    Some(solution)
}

/// The place of a function's minimum between two ends, to about half of the digits, by Brent's
/// method: parabolas through the three best points, sections by the golden ratio where these fail.
pub(super) fn brent([mut low, mut high]: [f64; 2], value: impl Fn(f64) -> f64) -> f64 {
    const GOLDEN: f64 = 0.381_966_011_250_105_1;
    const MOST_STEPS: usize = 100;
    let start = low + GOLDEN * (high - low);
    // The best point, the second and the one before it.
    let [mut x, mut w, mut v] = [(start, value(start)); 3];
    let (mut step, mut before) = (0.0f64, 0.0f64);
    for _ in 0..MOST_STEPS {
        let middle = 0.5 * (low + high);
        let tolerance = 1e-9 * x.0.abs() + 1e-12;
        if (x.0 - middle).abs() + 0.5 * (high - low) <= 2.0 * tolerance {
            break;
        }
        let r = (x.0 - w.0) * (x.1 - v.1);
        let q = (x.0 - v.0) * (x.1 - w.1);
        let p = (x.0 - v.0) * q - (x.0 - w.0) * r;
        let parabola = -p / (2.0 * (q - r));
        let is_inside = x.0 + parabola > low + tolerance && x.0 + parabola < high - tolerance;
        // NaN, where the three points are one, is not below anything.
        let next = if parabola.abs() < 0.5 * before.abs() && is_inside {
            (before, step) = (step, parabola);
            parabola
        } else {
            before = if x.0 < middle { high - x.0 } else { low - x.0 };
            step = GOLDEN * before;
            step
        };
        let at = x.0 + if next.abs() >= tolerance { next } else { tolerance.copysign(next) };
        let found = (at, value(at));
        if found.1 <= x.1 {
            if found.0 >= x.0 {
                low = x.0
            } else {
                high = x.0
            }
            (v, w, x) = (w, x, found);
        } else {
            if found.0 < x.0 {
                low = found.0
            } else {
                high = found.0
            }
            if found.1 <= w.1 || w.0 == x.0 {
                (v, w) = (w, found);
            } else if found.1 <= v.1 || v.0 == x.0 || v.0 == w.0 {
                v = found;
            }
        }
    }
    x.0
}
