//! A step's gradients through sparse codes.

use super::reconstruction::{NestedDecoder, Reconstruction};
use super::step::{HostStep, Outcome};
use super::sums::BatchSums;
use super::weights::SmallWeights;
use crate::sae::kind::rule::{CodeEntry, Explains, TrainingRule};
use crate::sae::kind::training::SaeKind;

/// The codes of a step and the auxiliary ones.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    main: Reconstruction,
    auxiliary: Reconstruction,
    has_auxiliary: bool,
}

impl Sparse {
    /// Takes a step in: what it finds, and the gradients of the small weights.
    pub(super) fn take<K: SaeKind, R: TrainingRule>(
        &mut self,
        step: &HostStep<'_, K>,
        rule: &R,
    ) -> (Outcome, SmallWeights<K, Vec<f32>>) {
        let HostStep { shape, batch, settings, .. } = *step;
        let (n, m, out, ends) = (batch.rows, shape.m, shape.widths.output, &*shape.ends);
        let Self { main, auxiliary, has_auxiliary } = self;
        let smallest = rule.choose(step.h, m, &mut main.rows);
        if ends.len() > 1 {
            main.rows.iter_mut().for_each(|row| row.sort_unstable_by_key(|entry| entry.feature));
        }
        let chosen = rule.choose_auxiliary(step.h, m, settings.dead, &mut auxiliary.rows);
        *has_auxiliary = chosen.is_some();

        let whole = NestedDecoder { decoder: &step.weights.decoder.values, out, ends };
        (main.factor, main.trains_decoder) = (step.factor(), true);
        let start = |row: usize, error: &mut [f32]| step.bias_less_target(row, error);
        let squares = main.reconstruct(whole, &batch, start);
        let mut loss = squares.weighted;
        if let Some(chosen) = chosen {
            // Auxiliary codes use all features as one dictionary.
            let whole = NestedDecoder { ends: &ends[ends.len() - 1..], ..whole };
            let explains_target = chosen.explains == Explains::Target;
            auxiliary.factor = chosen.weight as f32 * step.factor();
            auxiliary.trains_decoder = !explains_target;
            let (errors, width) = (&main.errors, ends.len() * out);
            let squares =
                auxiliary.reconstruct(whole, &batch, |row, error| match explains_target {
                    true => step.bias_less_target(row, error),
                    // What the codes leave is t − x̂: their error in the whole dictionary.
                    false => error.copy_from_slice(&errors[(row + 1) * width - out..][..out]),
                });
            loss += chosen.weight * squares.weighted;
        }

        let entries = || main.rows.iter().flatten();
        let auxiliary_entries = || auxiliary.rows.iter().flatten().filter(|_| *has_auxiliary);
        let sum = if R::PENALTY_NEEDS_SUM {
            let sum: f64 = entries().map(|entry| f64::from(rule.penalised(entry))).sum();
            let penalised = |entry: &CodeEntry| f64::from(rule.auxiliary_penalised(entry));
            sum + auxiliary_entries().map(penalised).sum::<f64>()
        } else {
            0.0
        };
        let lambda = rule.penalty(settings.lambda, sum, n).slope as f32;
        let mut sums = BatchSums::new(m);
        entries().for_each(|entry| sums.add(entry, rule, lambda));
        auxiliary_entries().for_each(|entry| sums.add_auxiliary(entry, rule, lambda));
        main.group(m, &batch, |entry| rule.gradient(entry, lambda).h);
        if *has_auxiliary {
            auxiliary.group(m, &batch, |entry| rule.auxiliary_gradient(entry, lambda));
        }
        loss += rule.penalty(settings.lambda, sums.penalised, n).value;
        let factor = |row| batch.weight(row) * step.factor();
        let small = sums.small_gradients(step, &main.errors, factor);
        (sums.outcome(loss / n as f64, squares.whole, smallest), small)
    }

    /// What its gradients of encoder and decoder are summed from.
    pub(super) fn reconstructions(&self) -> Vec<&Reconstruction> {
        let all = [(true, &self.main), (self.has_auxiliary, &self.auxiliary)];
        all.into_iter().filter_map(|(there, one)| there.then_some(one)).collect()
    }
}
