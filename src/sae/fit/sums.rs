//! What is summed over all entries of a batch's codes.

use super::Objective;
use super::choose::{Entry, Rule};
use super::part::weighed_sum;
use super::setup::{ENCODER, Outcome, Setup, Weight};

/// Sums over the entries of the codes, and of what there is beside them.
#[derive(Debug)]
pub(super) struct Sums {
    /// Gradients with respect to h, by feature: through the codes, and through what is beside them.
    pub(super) slopes: [Vec<f64>; 2],
    /// Gradients with respect to log θ, or r and c.
    pub(super) others: [Vec<f64>; 2],
    pub(super) fired: Vec<bool>,
    pub(super) active: usize,
    /// Values, in the codes and beside.
    pub(super) values: [f64; 2],
}

impl Sums {
    pub(super) fn new(m: usize) -> Self {
        let zeros = || [vec![0f64; m], vec![0f64; m]];
        let (slopes, others) = (zeros(), zeros());
        Self { slopes, others, fired: vec![false; m], active: 0, values: [0.0; 2] }
    }

    /// An entry of a code; `lambda` is the penalty of one feature of one activation.
    #[inline(always)]
    pub(super) fn add(&mut self, entry: &Entry, rule: &Rule<'_>, lambda: f32) {
        let at = entry.feature as usize;
        let slope = f64::from(rule.slope(entry, lambda));
        self.slopes[0][at] += slope;
        match rule {
            Rule::JumpRelu { .. } => {
                self.others[0][at] += f64::from(rule.threshold_slope(entry, lambda));
            }
            Rule::Gated { .. } => {
                self.others[0][at] += slope * f64::from(entry.h);
                self.others[1][at] += f64::from(entry.pull);
            }
            _ => {}
        }
        if entry.value != 0.0 {
            self.fired[at] = true;
            self.active += 1;
            self.values[0] += f64::from(entry.value);
        }
    }

    /// An entry beside the codes, and the gradient with respect to its h.
    #[inline(always)]
    pub(super) fn add_beside(&mut self, entry: &Entry, slope: f32) {
        self.slopes[1][entry.feature as usize] += f64::from(slope);
        self.values[1] += f64::from(entry.value);
    }

    /// The sums of other entries.
    pub(super) fn merge(&mut self, other: &Self) {
        let own = self.slopes.iter_mut().chain(&mut self.others).flatten();
        let others = other.slopes.iter().chain(&other.others).flatten();
        own.zip(others).for_each(|(sum, other)| *sum += other);
        self.fired.iter_mut().zip(&other.fired).for_each(|(own, other)| *own |= other);
        self.active += other.active;
        self.values = [self.values[0] + other.values[0], self.values[1] + other.values[1]];
    }

    /// What is told of a step.
    pub(super) fn outcome(self, loss: f64, error: f64, smallest: Option<f32>) -> Outcome {
        Outcome { loss, error, active: self.active, fired: self.fired, smallest }
    }

    /// What a penalty multiplies.
    pub(super) fn penalised(&self, objective: &Objective) -> f64 {
        match objective {
            Objective::Standard { .. } => self.values[0],
            Objective::JumpRelu { .. } => self.active as f64,
            Objective::Gated { .. } => self.values[1],
            Objective::TopK | Objective::BatchTopK | Objective::Matryoshka { .. } => 0.0,
        }
    }

    /// Gradients of the bias and of the weights with an entry a feature; `errors` are those of the codes,
    /// `[n, groups, d_out]`, and `factor` what their gradients are multiplied by.
    pub(super) fn small_gradients(
        &self,
        setup: &Setup,
        weights: &[Weight],
        errors: &[f32],
        factor: f32,
    ) -> Vec<Vec<f32>> {
        let [d, out] = setup.widths;
        let [own, beside] = &self.slopes;
        let slopes: Vec<f64> = own.iter().zip(beside).map(|(own, beside)| own + beside).collect();
        // The first group of each row sums the errors of all dictionaries.
        let errors = weighed_sum(errors, setup.ends.len() * out, |_| factor.into());
        let mut bias = errors[..out].to_vec();
        if !setup.transcoder {
            let back = weighed_sum(&weights[ENCODER].values, d, |feature| slopes[feature]);
            bias.iter_mut().zip(back).for_each(|(bias, back)| *bias -= back);
        }
        let narrow = |wide: &[f64]| wide.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let [first, second] = &self.others;
        let extras = match setup.objective {
            Objective::Gated { .. } => vec![&**beside, first, second],
            Objective::JumpRelu { .. } => vec![&*slopes, first],
            _ if setup.encoder_bias() => vec![&*slopes],
            _ => Vec::new(),
        };
        [&*bias].into_iter().chain(extras).map(narrow).collect()
    }
}
