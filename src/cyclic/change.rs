//! What an intervention asks for: problems, and the class that they are to be changed to.

use super::problems::Role;
use super::task::Question;
use crate::{Error, Result};

/// A problem, and another class that an intervention wants it to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The problem.
    pub problem: usize,
    /// The class to change to: of the start, the step or the answer.
    pub class: usize,
    /// The problem whose activations show that class.
    pub source: usize,
    /// The answer without the change.
    pub old: usize,
    /// The answer that the change asks for.
    pub new: usize,
}

/// Every change of a class: each class v, and each question with another one, v outermost.
///
/// The source of a changed start has the same step and template, that of a changed step the same
/// start, and that of a changed answer the same step; or the step `source_step`, as Engels et al.
/// (2024) take step 3 for all answers.
///
/// # Errors
/// [`Error::Invalid`] without questions, and if there is no question that a source could be.
pub fn changes(
    questions: &[Question],
    period: usize,
    role: Role,
    source_step: Option<usize>,
) -> Result<Vec<Change>> {
    if questions.is_empty() {
        return Err(Error::invalid("the questions", "at least one", "none"));
    }
    let mut found = Vec::new();
    for class in 0..period {
        for (problem, question) in questions.iter().enumerate() {
            if question.class(role, period) == class {
                continue;
            }
            let same = |other: &Question| {
                let step = source_step.unwrap_or(question.step);
                other.class(role, period) == class
                    && match role {
                        Role::Start | Role::Last => other.step == step,
                        Role::Step => other.start == question.start,
                    }
            };
            let own = |other: &Question| same(other) && other.template == question.template;
            let source = questions.iter().position(own).or_else(|| questions.iter().position(same));
            let Some(source) = source else {
                let what = format!("the {role} of {:?}", question.prompt);
                let expected = format!("one that another question has with class {class}");
                return Err(Error::invalid(what, expected, "none"));
            };
            let new = question.answer_with(role, class, period);
            found.push(Change { problem, class, source, old: question.answer, new });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::task::{CyclicTask, QuestionOrder};
    use super::*;

    #[test]
    fn every_other_class_is_asked_for_once() {
        for (task, count) in [(CyclicTask::weekdays(), 294), (CyclicTask::months(), 1_584)] {
            let (questions, period) = (task.questions(QuestionOrder::Grid), task.period());
            for role in [Role::Start, Role::Step, Role::Last] {
                let all = changes(&questions, period, role, None).unwrap();
                assert_eq!(all.len(), count);
                for change in &all {
                    let (own, source) = (&questions[change.problem], &questions[change.source]);
                    assert_eq!(source.class(role, period), change.class);
                    assert_ne!(own.class(role, period), change.class);
                    assert_eq!((change.old, change.new), (own.answer, source.answer));
                    assert!(change.old != change.new);
                }
            }
            let all = changes(&questions, period, Role::Last, Some(3)).unwrap();
            assert!(all.iter().all(|change| questions[change.source].step == 3));
            let message = changes(&questions, period, Role::Last, Some(99)).unwrap_err();
            assert!(message.to_string().contains("class 0"), "{message}");
        }
        assert!(changes(&[], 7, Role::Start, None).is_err());
    }

    #[test]
    fn sources_ask_in_the_same_way() {
        let task = CyclicTask::next_month();
        let questions = task.questions(QuestionOrder::Original);
        for change in changes(&questions, 12, Role::Start, None).unwrap() {
            let template = |problem: usize| questions[problem].template;
            assert_eq!(template(change.problem), template(change.source));
        }
    }
}
