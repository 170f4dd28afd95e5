//! A step's gradients through sparse codes.

use super::choose::{Entry, Rule};
use super::host::Step;
use super::part::{Part, Sizes};
use super::setup::{Chosen, DECODER, Outcome};
use super::sums::Sums;

/// The codes of a step and what there is beside them.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    chosen: Chosen,
    main: Part,
    beside: Part,
    has_beside: bool,
}

impl Sparse {
    /// Takes a step in: what it finds, and the gradients of the small weights.
    pub(super) fn take(&mut self, step: &Step<'_>) -> (Outcome, Vec<Vec<f32>>) {
        let Step { setup, rule, moment, .. } = *step;
        let (n, m, [_, out]) = (step.batch.rows, setup.m, setup.widths);
        let decoder = &step.weights[DECODER].values;
        let Self { chosen, main, beside, has_beside } = self;
        chosen.main = std::mem::take(&mut main.rows);
        chosen.beside = Some(std::mem::take(&mut beside.rows));
        setup.choose(rule, step.h, moment.dead, chosen);
        main.rows = std::mem::take(&mut chosen.main);

        let sizes = Sizes { n, out, ends: &setup.ends };
        (main.factor, main.trains_decoder) = (step.factor(), true);
        let less_target = |row: usize, error: &mut [f32]| step.less_target(row, error);
        let [mut squares, error] = main.reconstruct(decoder, sizes, less_target);
        let gated = matches!(rule, Rule::Gated { .. });
        *has_beside = chosen.beside.is_some();
        if let Some(rows) = chosen.beside.take() {
            beside.rows = rows;
            // What is beside the codes has one dictionary only: the whole.
            let whole = Sizes { ends: &setup.ends[setup.ends.len() - 1..], ..sizes };
            let weight = if gated { 1.0 } else { setup.auxiliary };
            (beside.factor, beside.trains_decoder) = (weight as f32 * step.factor(), !gated);
            let (errors, width) = (&main.errors, setup.ends.len() * out);
            let [own, _] = beside.reconstruct(decoder, whole, |row, error| match gated {
                true => step.less_target(row, error),
                // What the codes leave is t − x̂: their error in the whole dictionary.
                false => error.copy_from_slice(&errors[(row + 1) * width - out..][..out]),
            });
            squares += weight * own;
        }

        let lambda = step.lambda();
        let slope = |entry: &Entry| rule.slope(entry, lambda);
        let slope_beside = |entry: &Entry| rule.slope_beside(entry, lambda);
        let mut sums = Sums::new(m);
        main.rows.iter().flatten().for_each(|entry| sums.add(entry, rule, lambda));
        main.group(m, slope);
        if *has_beside {
            let entries = beside.rows.iter().flatten();
            entries.for_each(|entry| sums.add_beside(entry, slope_beside(entry)));
            beside.group(m, slope_beside);
        }
        let penalty = moment.penalty * sums.penalised(&setup.objective);
        let small = sums.small_gradients(setup, step.weights, &main.errors, main.factor);
        let loss = (squares + penalty) / n as f64;
        (sums.outcome(loss, error, chosen.smallest), small)
    }

    /// What its gradients of encoder and decoder are summed from.
    pub(super) fn parts(&self) -> Vec<&Part> {
        let parts = [(true, &self.main), (self.has_beside, &self.beside)];
        parts.into_iter().filter_map(|(there, part)| there.then_some(part)).collect()
    }
}
