//! Functions of a question that may explain what a model computes with it.

use super::task::Question;
use crate::Result;
use crate::geometry::Explanatory;

/// What explains activations at the last position besides the answer: a constant, one-hot α and β,
/// and the circle of α − β, for [`Probe::inverse`](crate::geometry::Probe::inverse).
///
/// With `first`, one-hot inputs have that many classes, and steps count from 0: Engels et al. (2024)
/// have 8 for every task, so that the starts and steps of months beyond share one class.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) without questions.
pub fn answer_functions(
    questions: &[Question],
    period: usize,
    first: Option<usize>,
) -> Result<Vec<Explanatory>> {
    let starts = questions.iter().map(|question| question.start);
    let steps = questions.iter().map(|question| question.step);
    let (starts, steps) = match first {
        Some(count) => (
            Explanatory::one_hot_of_first("start", starts, count)?,
            Explanatory::one_hot_of_first("step", steps, count)?,
        ),
        None => (
            Explanatory::one_hot("start", starts, period)?,
            Explanatory::one_hot("step", steps.map(|step| step % period), period)?,
        ),
    };
    Ok(vec![
        Explanatory::constant(questions.len())?,
        starts,
        steps,
        circle_of_difference(questions, period)?,
    ])
}

/// What may explain activations at the last position besides the start and the step themselves, for
/// [`Regression::search`](crate::geometry::Regression::search), with α the start and β the step:
///
/// - circles of the answer, cos and sin of 2πf(α + β)/p for f from 1 to p/2;
/// - the circle of α − β;
/// - one-hot answers, and one-hot α + β without going around;
/// - whether the sum goes around, α + β ≥ p;
/// - one-hot α where β is 1;
/// - whether α and β are the same place, α + 1 = β.
///
/// These are the functions that Engels et al. (2024) chose from by hand, with all frequencies.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) without questions.
pub fn answer_candidates(questions: &[Question], period: usize) -> Result<Vec<Explanatory>> {
    let sums = || questions.iter().map(|question| question.start + question.step);
    let of_sum = |frequency: usize| {
        let angles = sums().map(move |sum| (frequency * sum) as f64);
        let name = match frequency {
            1 => "circle of the answer".to_owned(),
            _ => format!("circle of {frequency} × the answer"),
        };
        Explanatory::circle(name, angles, period as f64)
    };
    let mut candidates = (1..=period / 2).map(of_sum).collect::<Result<Vec<_>>>()?;
    let most = sums().max().unwrap_or(0);
    let next = questions.iter().map(|question| match question.step {
        1 => question.start,
        _ => period,
    });
    let same = questions.iter().map(|question| question.start + 1 == question.step);
    candidates.extend([
        circle_of_difference(questions, period)?,
        Explanatory::one_hot("answer", questions.iter().map(|question| question.answer), period)?,
        Explanatory::one_hot("start + step", sums(), most + 1)?,
        Explanatory::indicator("goes around", sums().map(|sum| sum >= period))?,
        Explanatory::one_hot_of_first("start, if step is 1", next, period)?,
        Explanatory::indicator("start + 1 = step", same)?,
    ]);
    Ok(candidates)
}

fn circle_of_difference(questions: &[Question], period: usize) -> Result<Explanatory> {
    let apart = questions.iter().map(|question| question.start as f64 - question.step as f64);
    Explanatory::circle("circle of start − step", apart, period as f64)
}

#[cfg(test)]
mod tests {
    use super::super::task::{CyclicTask, QuestionOrder};
    use super::*;
    use crate::geometry::{Regression, SearchEnd};

    #[test]
    fn the_original_has_eight_classes_of_everything() {
        let questions = CyclicTask::months().questions(QuestionOrder::Grid);
        let columns = |first| {
            let functions = answer_functions(&questions, 12, first).unwrap();
            functions.iter().map(|one| one.columns().dims()[1]).collect::<Vec<_>>()
        };
        assert_eq!(columns(None), [1, 12, 12, 2]);
        assert_eq!(columns(Some(8)), [1, 8, 8, 2]);
        assert!(answer_functions(&[], 12, None).is_err());
    }

    #[test]
    fn what_a_sum_is_made_of_is_found() {
        for task in [CyclicTask::weekdays(), CyclicTask::months()] {
            let (questions, period) = (task.questions(QuestionOrder::Grid), task.period());
            let candidates = answer_candidates(&questions, period).unwrap();
            let known = answer_functions(&questions, period, None).unwrap();
            // The constant, start and step, without the circle of the difference.
            let known = &known[..3];
            for (at, planted) in candidates.iter().enumerate() {
                let size = planted.columns().sqr().unwrap().sum_all().unwrap();
                assert!(size.to_scalar::<f64>().unwrap() > 0.0, "{}", planted.name());
                let end = SearchEnd { most: 1, ..SearchEnd::default() };
                let found =
                    Regression::search(planted.columns(), known, &candidates, &end).unwrap();
                let step = found.steps().last().unwrap();
                // A function is a part of any one-hot of it: the one of fewer columns is taken.
                assert_eq!(step.name, candidates[at].name(), "{found}");
                assert!(step.r_squared > 1.0 - 1e-9, "{found}");
            }
        }
        assert!(answer_candidates(&[], 7).is_err());
    }
}
