//! Rules for codes that are handled as whole rows: the same as entry by entry, without a branch, for
//! half of all features to be in a code costs as much as all or none.

use super::choose::{Rule, near, positive};
use super::sums::Sums;
use crate::linalg::wide;

/// What one h comes to.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    value: f32,
    /// The gradient with respect to h, through the code.
    slope: f32,
    /// The gradients with respect to log θ, or r and c.
    others: [f32; 2],
    /// The value beside the code, and the gradient with respect to h through it.
    beside: [f32; 2],
}

/// The value where the condition holds, else 0; by its bits, lest a compiler makes a branch of it.
#[inline(always)]
fn select(condition: bool, value: f32) -> f32 {
    f32::from_bits(value.to_bits() & u32::from(condition).wrapping_neg())
}

impl Rule<'_> {
    /// The values of a code of `h` `[m]`, zeros where it has none.
    pub(super) fn write_values(&self, values: &mut [f32], h: &[f32]) {
        let m = h.len();
        let (values, h) = (&mut values[..m], &h[..m]);
        wide(|| match *self {
            Self::Relu => (0..m).for_each(|at| values[at] = select(positive(h[at]), h[at])),
            Self::JumpRelu { thresholds, .. } => {
                let thresholds = &thresholds[..m];
                let open = |at: usize| positive(h[at] - thresholds[at]);
                (0..m).for_each(|at| values[at] = select(open(at), h[at]));
            }
            Self::Gated { bias, gains, magnitude } => {
                let (bias, gains, magnitude) = (&bias[..m], &gains[..m], &magnitude[..m]);
                for at in 0..m {
                    let value = h[at] * gains[at] + magnitude[at];
                    values[at] = select(positive(h[at] + bias[at]) & positive(value), value);
                }
            }
            // Those that count their features.
            Self::TopK { .. } | Self::BatchTopK { .. } => values.fill(0.0),
        });
    }

    /// What a gated autoencoder's gate lets through of `h` `[m]`, zeros elsewhere.
    pub(super) fn write_open(&self, values: &mut [f32], h: &[f32]) {
        let Self::Gated { bias, .. } = *self else { return };
        let m = h.len();
        let (values, h, bias) = (&mut values[..m], &h[..m], &bias[..m]);
        wide(|| {
            (0..m).for_each(|at| values[at] = select(positive(h[at] + bias[at]), h[at] + bias[at]))
        });
    }

    /// Makes gradients with respect to h `[m]` of what pulls at the values and at what is beside them,
    /// both to be multiplied by `factor`, and adds a row to `sums`.
    pub(super) fn add_row(
        &self,
        h: &[f32],
        [factor, lambda]: [f32; 2],
        pulls: &mut [f32],
        beside: &[f32],
        sums: &mut Columns,
    ) {
        let m = h.len();
        let (h, beside) = (&h[..m], &beside[..m]);
        wide(|| match *self {
            Self::Relu => sums.add::<false>(pulls, |at, pull| {
                let open = positive(h[at]);
                let (value, slope) = (select(open, h[at]), select(open, factor * pull + lambda));
                Cell { value, slope, ..Cell::default() }
            }),
            Self::JumpRelu { thresholds, bandwidth } => {
                let thresholds = &thresholds[..m];
                sums.add::<true>(pulls, |at, pull| {
                    let (pull, threshold) = (factor * pull, thresholds[at]);
                    let above = h[at] - threshold;
                    let open = positive(above);
                    let smooth = -(threshold * pull + lambda) * threshold / bandwidth;
                    let others = [select(near(above, bandwidth), smooth), 0.0];
                    let (value, slope) = (select(open, h[at]), select(open, pull));
                    Cell { value, slope, others, ..Cell::default() }
                });
            }
            Self::Gated { bias, gains, magnitude } => {
                let (bias, gains, magnitude) = (&bias[..m], &gains[..m], &magnitude[..m]);
                sums.add::<true>(pulls, |at, pull| {
                    let pull = factor * pull;
                    let (open, value) = (h[at] + bias[at], h[at] * gains[at] + magnitude[at]);
                    let passes = positive(open);
                    let both = passes & positive(value);
                    let slope = select(both, pull * gains[at]);
                    let own = select(passes, factor * beside[at] + lambda);
                    Cell {
                        value: select(both, value),
                        slope,
                        others: [select(both, slope * h[at]), select(both, pull)],
                        beside: [select(passes, open), own],
                    }
                });
            }
            Self::TopK { .. } | Self::BatchTopK { .. } => {}
        });
    }
}

/// Sums over some rows, an entry a feature: narrow ones, so that eight features are added at once.
#[derive(Debug)]
pub(super) struct Columns {
    counts: Vec<u32>,
    /// Values, in the codes and beside.
    values: [Vec<f64>; 2],
    slopes: [Vec<f64>; 2],
    others: [Vec<f64>; 2],
}

impl Columns {
    pub(super) fn new(m: usize) -> Self {
        let zeros = || [vec![0f64; m], vec![0f64; m]];
        let (values, slopes, others) = (zeros(), zeros(), zeros());
        Self { counts: vec![0; m], values, slopes, others }
    }

    /// Adds a row of cells; without `MORE` they have a value and a slope only.
    #[inline(always)]
    fn add<const MORE: bool>(&mut self, pulls: &mut [f32], cell: impl Fn(usize, f32) -> Cell) {
        let m = pulls.len();
        let [values, beside_values] = self.values.each_mut().map(|own| &mut own[..m]);
        let [slopes, beside_slopes] = self.slopes.each_mut().map(|own| &mut own[..m]);
        let [first, second] = self.others.each_mut().map(|own| &mut own[..m]);
        let counts = &mut self.counts[..m];
        for at in 0..m {
            let cell = cell(at, pulls[at]);
            counts[at] += u32::from(cell.value != 0.0);
            values[at] += f64::from(cell.value);
            slopes[at] += f64::from(cell.slope);
            pulls[at] = cell.slope;
            if MORE {
                let [value, slope] = cell.beside;
                beside_values[at] += f64::from(value);
                beside_slopes[at] += f64::from(slope);
                first[at] += f64::from(cell.others[0]);
                second[at] += f64::from(cell.others[1]);
                pulls[at] += slope;
            }
        }
    }

    pub(super) fn sums(self) -> Sums {
        let fired = self.counts.iter().map(|count| *count > 0).collect();
        let active = self.counts.iter().map(|count| *count as usize).sum();
        let values = self.values.map(|values| values.iter().sum());
        Sums { slopes: self.slopes, others: self.others, fired, active, values }
    }
}
