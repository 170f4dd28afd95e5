//! Asking a model: all explanations first, then all scores.

#[cfg(test)]
mod tests;

use super::chat::{ChatAnswer, ChatModel, ChatRequest};
use super::prompts::{read_explanation, read_labels, read_probabilities, repaired};
use super::report::{JudgedFeature, JudgedText, JudgedTexts, Report};
use super::sample::{Group, Plan, PlannedFeature, PlannedText, Scoring};
use crate::progress::Progress;
use crate::{Error, Result};

/// A request to judge some texts of a feature.
#[derive(Debug)]
struct ScoringJob<'a> {
    /// The feature's place in the plan.
    at: usize,
    planned: &'a PlannedFeature,
    explanation: &'a str,
    scoring: Scoring,
    /// The texts' places among those of the feature.
    places: &'a [usize],
}

/// What a model said of a text: whether it is as the explanation says, and how probable that is.
type TextLabel = (bool, Option<f64>);

impl Plan {
    /// Asks `chat` to explain all features, and then to judge texts by its explanations.
    ///
    /// An answer that cannot be read is asked for once more; if that cannot be read either, it counts
    /// as unread and not as wrong: see [`Report::unparsed`]. A feature whose explanation is unread has
    /// no scores. Every answer is kept in the [folder of answers](ChatModel::answers), so the same call
    /// once more sends nothing, and goes on if the one before was stopped or failed.
    ///
    /// ```no_run
    /// use eigenlens::prelude::*;
    /// use eigenlens::interp::{Interp, judge};
    /// # fn main() -> Result<()> {
    /// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    /// let sae = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?.output().clone();
    /// let contexts = Contexts::from_pretrained("eigenlens/classics-4k")?;
    /// let plan = Interp { features: 10, ..Interp::default() }.plan(&model, &sae, &contexts)?;
    /// let server = judge::serve(&model.tokenizer()?)?;
    /// let report = plan.run(&server.chat()?)?;
    /// report.plot()?.show();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - Those of [`ChatModel::ask`]: a server that does not answer, a key that is refused, a limit of
    ///   cost. There is no report then, because an outage is no answer.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn run(&self, chat: &ChatModel) -> Result<Report> {
        let (options, planned) = (self.options(), self.planned());
        let mut progress = Progress::new("explaining", planned.len() as u64, "feature");
        let explanations = chat.all(planned, &mut progress, |own| {
            let read = |answer: &ChatAnswer| read_explanation(&answer.text);
            ask_twice(chat, &own.explain_request(), 0, read)
        });
        let explanations = explanations.map_err(keeping_answers)?;
        progress.finish();
        let jobs = scoring_jobs(planned, &explanations, &options.scores);
        let mut progress = Progress::new("scoring", jobs.len() as u64, "answer");
        let log_probabilities = options.log_probabilities;
        let answers = chat.all(&jobs, &mut progress, |job| job.ask(chat, log_probabilities));
        let answers = answers.map_err(keeping_answers)?;
        progress.finish();
        let mut features: Vec<JudgedFeature> = planned
            .iter()
            .zip(&explanations)
            .map(|(own, explanation)| JudgedFeature::new(own.feature, explanation.clone()))
            .collect();
        for (job, labels) in jobs.iter().zip(answers) {
            job.add_to(features[job.at].of_mut(job.scoring), labels);
        }
        Ok(Report::new(chat.model(), self, features))
    }
}

/// One job for each request about texts of a feature that has an explanation.
fn scoring_jobs<'a>(
    planned: &'a [PlannedFeature],
    explanations: &'a [Option<String>],
    scores: &[Scoring],
) -> Vec<ScoringJob<'a>> {
    let mut jobs = Vec::new();
    for (at, (planned, explanation)) in planned.iter().zip(explanations).enumerate() {
        let Some(explanation) = explanation else { continue };
        for &scoring in scores {
            let batches = planned.batches(scoring).iter();
            let job =
                |places: &'a Vec<usize>| ScoringJob { at, planned, explanation, scoring, places };
            jobs.extend(batches.map(job));
        }
    }
    jobs
}

impl ScoringJob<'_> {
    /// The labels of the texts; none if neither the answer nor its repair can be read.
    fn ask(&self, chat: &ChatModel, log_probabilities: bool) -> Result<Option<Vec<TextLabel>>> {
        let Self { scoring, places, explanation, .. } = *self;
        let request = self.planned.score_request(scoring, places, explanation, log_probabilities);
        let read = |answer: &ChatAnswer| -> Option<Vec<TextLabel>> {
            let labels = read_labels(answer, places.len())?;
            let probabilities = log_probabilities.then(|| read_probabilities(answer, places.len()));
            Some(match probabilities.flatten() {
                Some(own) => labels.into_iter().zip(own.into_iter().map(Some)).collect(),
                None => labels.into_iter().map(|label| (label, None)).collect(),
            })
        };
        ask_twice(chat, &request, places.len(), read)
    }

    /// Adds the labels to what was said of the feature so far.
    fn add_to(&self, judged: &mut JudgedTexts, labels: Option<Vec<TextLabel>>) {
        judged.answers += 1;
        let Some(labels) = labels else {
            judged.unread += 1;
            return;
        };
        for (place, (said, probability)) in self.places.iter().zip(labels) {
            let group = group_of(&self.planned.texts[*place]);
            judged.texts.push(JudgedText { group, said, probability });
        }
    }
}

/// The number of a text's group in a report: 0 for those that are not as the explanation says.
fn group_of(text: &PlannedText) -> usize {
    match text.group {
        Group::Without => 0,
        Group::Decile(decile) => decile + 1,
    }
}

/// What `read` finds in the answer to a request, or in the answer to one request to repair it; none if
/// in neither. `expected` is the number of labels asked for, and 0 for an explanation.
fn ask_twice<T>(
    chat: &ChatModel,
    request: &ChatRequest,
    expected: usize,
    read: impl Fn(&ChatAnswer) -> Option<T>,
) -> Result<Option<T>> {
    let answer = chat.ask(request)?;
    if let Some(found) = read(&answer) {
        return Ok(Some(found));
    }
    Ok(read(&chat.ask(&repaired(request, &answer.text, expected))?))
}

/// The same error, which says after Stop that nothing is lost.
fn keeping_answers(error: Error) -> Error {
    match error {
        Error::Interrupted { .. } => Error::Interrupted {
            what: "the interpretation (its answers are kept, and the same call goes on with them)"
                .to_owned(),
        },
        other => other,
    }
}
