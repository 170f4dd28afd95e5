//! Prompts for a language model that explains features and scores explanations, and its answers.
//!
//! The first message is the system's, then come examples as pairs of a user and an assistant, and
//! the last message holds the task:
//!
//! ```text
//! explain     1. "The <<king>> sat on the <<throne>> of"     marks: above 0.6 of the text's largest
//!             activations: [["king",10],["throne",7]]        activation; numbers: 10 is the largest
//!                                                            activation of all texts
//! detect      Explanation: words for kings and what is theirs
//!
//!             1. "text"
//!             2. "text"
//! fuzz        as detect, with the tokens to judge between the marks
//! ```
//!
//! A text is a JSON string in one line, so that its line breaks and quotes are harmless. A `<` or `>`
//! in it that stands beside another of its kind, or beside a mark, is written `\u003c` or `\u003e`,
//! which is the same string in JSON: what reads `<<` or `>>` is a mark and nothing else.
//!
//! Answers are `[EXPLANATION]: …`, and a JSON list of 0 and 1, one for each text.

mod answers;
mod read;
mod shots;
mod shown;
#[cfg(test)]
mod tests;
mod write;

pub(super) use answers::{read_explanation, read_labels, read_probabilities};
pub(super) use read::ReadPrompt;
pub(super) use shown::ShownExcerpt;
pub(super) use write::{detect, explain, fuzz, repaired};

/// The version of the templates; answers to another one are not answers to this one.
pub(super) const PROMPTS_VERSION: &str = "eigenlens-1";

/// What an explanation begins with.
const EXPLANATION: &str = "[EXPLANATION]:";
/// What the line of an explanation in a task begins with.
const GIVEN: &str = "Explanation: ";
/// What the line of activations below a text begins with.
const ACTIVATIONS: &str = "activations: ";
