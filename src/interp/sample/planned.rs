//! What is shown of a feature.

use super::options::Scoring;
use crate::interp::chat::ChatRequest;
use crate::interp::prompts::{ShownExcerpt, detect, explain, fuzz};

/// What stands in place of an explanation before there is one; as long as most.
pub(super) const NOT_YET_KNOWN: &str = "(here stand the words that answer the first prompt: what the \
                                        marked tokens are, what they mean, or what is around them)";

/// What a text counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::interp) enum Group {
    /// It is without the feature, or its marks are wrong.
    Without,
    /// It is of that group of contexts with the feature; 0 has the strongest.
    Decile(usize),
}

/// A text that is scored.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::interp) struct PlannedText {
    pub(in crate::interp) excerpt: ShownExcerpt,
    pub(in crate::interp) group: Group,
    /// The number of its context in the text.
    pub(in crate::interp) context: usize,
    /// Where it begins in its context, without counting tokens that are not shown.
    pub(in crate::interp) start: usize,
    /// The tokens that are marked where marks are judged; none in a text without the feature.
    pub(in crate::interp) marks: Vec<bool>,
    /// Whether those are the tokens at which the feature is active.
    pub(in crate::interp) marks_are_right: bool,
}

/// A feature with everything that is shown of it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::interp) struct PlannedFeature {
    pub(in crate::interp) feature: usize,
    /// Different contexts in which it is active.
    pub(in crate::interp) contexts: usize,
    /// Texts that it is explained by, the strongest first.
    pub(in crate::interp) explained: Vec<ShownExcerpt>,
    /// Texts that are scored: with the feature, without it, and with wrong marks.
    pub(in crate::interp) texts: Vec<PlannedText>,
    /// Of each request for detection, the places of its texts in `texts`.
    pub(in crate::interp) detection: Vec<Vec<usize>>,
    /// Of each request for fuzzing.
    pub(in crate::interp) fuzzing: Vec<Vec<usize>>,
}

impl PlannedFeature {
    /// Of each request of a scoring, the places of its texts.
    pub(in crate::interp) fn batches(&self, scoring: Scoring) -> &[Vec<usize>] {
        match scoring {
            Scoring::Detection => &self.detection,
            Scoring::Fuzzing => &self.fuzzing,
        }
    }

    /// The request for an explanation.
    pub(in crate::interp) fn explain_request(&self) -> ChatRequest {
        explain(&self.explained)
    }

    /// A request to judge the texts at some places by an explanation.
    pub(in crate::interp) fn score_request(
        &self,
        scoring: Scoring,
        places: &[usize],
        explanation: &str,
        log_probabilities: bool,
    ) -> ChatRequest {
        let texts = places.iter().map(|place| &self.texts[*place]);
        let request = match scoring {
            Scoring::Detection => {
                let texts: Vec<&ShownExcerpt> = texts.map(|text| &text.excerpt).collect();
                detect(explanation, &texts)
            }
            Scoring::Fuzzing => {
                let marked: Vec<(&ShownExcerpt, &[bool])> =
                    texts.map(|text| (&text.excerpt, text.marks.as_slice())).collect();
                fuzz(explanation, &marked)
            }
        };
        ChatRequest { log_probabilities, ..request }
    }
}
