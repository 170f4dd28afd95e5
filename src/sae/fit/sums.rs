//! What is summed over all entries of a batch's codes.

use super::reconstruction::weighed_sum;
use super::step::{HostStep, Outcome};
use super::weights::{Parameter, SmallWeights};
use crate::sae::kind::extras::{ExtraWeights, PerFeature};
use crate::sae::kind::rule::{CodeEntry, TrainingRule};
use crate::sae::kind::training::SaeKind;

/// BatchSums over the entries of the codes, and of the auxiliary codes.
#[derive(Debug)]
pub(super) struct BatchSums {
    pub(super) per_feature: PerFeature,
    pub(super) fired: Vec<bool>,
    pub(super) num_active: usize,
    /// Of what is penalised.
    pub(super) penalised: f64,
}

impl BatchSums {
    pub(super) fn new(m: usize) -> Self {
        let zeros = || vec![0f64; m];
        let (h, auxiliary, extras) = (zeros(), zeros(), [zeros(), zeros()]);
        let per_feature = PerFeature { h, auxiliary, extras };
        Self { per_feature, fired: vec![false; m], num_active: 0, penalised: 0.0 }
    }

    /// An entry of a code; `lambda` is the penalty's slope.
    #[inline(always)]
    pub(super) fn add<R: TrainingRule>(&mut self, entry: &CodeEntry, rule: &R, lambda: f32) {
        let at = entry.at();
        let gradient = rule.gradient(entry, lambda);
        self.per_feature.h[at] += f64::from(gradient.h);
        if R::HAS_EXTRAS {
            let [first, second] = &mut self.per_feature.extras;
            first[at] += f64::from(gradient.extras[0]);
            second[at] += f64::from(gradient.extras[1]);
        }
        if entry.value != 0.0 {
            self.fired[at] = true;
            self.num_active += 1;
            self.penalised += f64::from(rule.penalised(entry));
        }
    }

    /// An entry of an auxiliary code.
    #[inline(always)]
    pub(super) fn add_auxiliary<R: TrainingRule>(
        &mut self,
        entry: &CodeEntry,
        rule: &R,
        lambda: f32,
    ) {
        let gradient = rule.auxiliary_gradient(entry, lambda);
        self.per_feature.auxiliary[entry.at()] += f64::from(gradient);
        self.penalised += f64::from(rule.auxiliary_penalised(entry));
    }

    /// The sums of other entries.
    pub(super) fn merge(&mut self, other: &Self) {
        let PerFeature { h, auxiliary, extras: [first, second] } = &other.per_feature;
        let others = [h, auxiliary, first, second].into_iter().flatten();
        let PerFeature { h, auxiliary, extras: [first, second] } = &mut self.per_feature;
        let own = [h, auxiliary, first, second].into_iter().flatten();
        own.zip(others).for_each(|(sum, other)| *sum += other);
        self.fired.iter_mut().zip(&other.fired).for_each(|(own, other)| *own |= other);
        self.num_active += other.num_active;
        self.penalised += other.penalised;
    }

    /// What is told of a step, of the loss and the squared error of all its activations.
    pub(super) fn outcome(self, loss: f64, error: f64, smallest: Option<f32>) -> Outcome {
        Outcome { loss, error, num_active: self.num_active, fired: self.fired, smallest }
    }

    /// StepGradients of the small weights; `errors` are those of the codes, `[n, groups, d_out]`, each row
    /// to be multiplied by what `factor` says.
    pub(super) fn small_gradients<K: SaeKind>(
        &self,
        step: &HostStep<'_, K>,
        errors: &[f32],
        factor: impl Fn(usize) -> f32 + Sync,
    ) -> SmallWeights<K, Vec<f32>> {
        let shape = step.shape;
        let PerFeature { h, auxiliary, .. } = &self.per_feature;
        let slopes: Vec<f64> =
            h.iter().zip(auxiliary).map(|(h, auxiliary)| h + auxiliary).collect();
        let narrow = |sums: &[f64]| sums.iter().map(|x| *x as f32).collect::<Vec<_>>();
        let small: &SmallWeights<K, Parameter> = &step.weights.small;
        let bias = small.bias.as_ref().map(|_| {
            let (d, out) = (shape.widths.input, shape.widths.output);
            // The first group of each row sums the errors of all dictionaries.
            let errors = weighed_sum(errors, shape.ends.len() * out, |row| factor(row).into());
            let mut bias = errors[..out].to_vec();
            if shape.is_centred() {
                let encoder = &step.weights.reading().values;
                let back = weighed_sum(encoder, d, |feature| slopes[feature]);
                bias.iter_mut().zip(back).for_each(|(bias, back)| *bias -= back);
            }
            narrow(&bias)
        });
        SmallWeights {
            bias,
            encoder_bias: small.encoder_bias.as_ref().map(|_| narrow(&slopes)),
            extras: K::Extras::map(K::Extras::gradients(&self.per_feature), narrow),
        }
    }
}
