//! Circles of words: does a model compute with the angle of a weekday or a month?
//!
//! Some models place the weekdays and the months on circles in their activations. Whether they
//! *use* the circles is asked with questions such as "Two days from Monday is": the activation of
//! "Monday" is exchanged for another place on the circle, and the answer should move with it. After
//! Engels, Liao, Michaud, Gurnee and Tegmark, "Not All Language Model Features Are Linear" (2024),
//! sections 4 and 5.
//!
//! - [`CyclicTask`] makes questions about any words that go around, and [`Problems`] are their
//!   tokens and positions;
//! - [`Answers`]: how many a model answers;
//! - [`Streams`]: its activations, for the probes of [`geometry`](crate::geometry);
//! - [`Interventions`]: what it answers when a [`Patch`] takes the place of an activation, beside
//!   all baselines and controls; [`Patcher`] has the formulas;
//! - [`Alignment`]: the plane that changes answers best, found from the answers themselves;
//! - [`answer_candidates`]: functions of a question that may explain an activation;
//! - [`PlaneSweep`]: answers all over the plane of the circle;
//! - [`Problems::pairs`]: problems for activation patching;
//! - [`CyclicCorpus`]: text from which a small model learns to add on a circle.
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::cyclic::CircleReading;
//! # fn main() -> Result<()> {
//! let tokenizer = Tokenizer::train(["It is red now. Next it will be green, then blue. red red \
//!     green green blue blue"], 280)?;
//! let config = Config { vocab: 280, context: 40, ..Config::llama(1, 2, 8, 16) };
//! let model = Decoder::random(config, 0, &Device::Cpu)?.with_tokenizer(&tokenizer)?;
//! let task = CyclicTask::new("colours", ["red", "green", "blue"], [("", 1)], [
//!     "It is {start} now. Next it will be",
//!     "Next to {start} is",
//! ])?;
//! let problems = task.problems(&model, &PromptOptions::default())?;
//! println!("{}", problems.evaluate(&model)?);
//! let streams = problems.activations(&model, Role::Start)?;
//! let reading = CircleReading::Direct(ProbeOptions { components: Some(2) });
//! let options = InterveneOptions { reading, ..InterveneOptions::default() };
//! println!("{}", Interventions::run(&model, &problems, &streams, &options)?);
//! # Ok(())
//! # }
//! ```

mod alignment;
mod answers;
mod change;
mod corpus;
mod explanations;
mod intervene_options;
mod interventions;
mod kept;
mod outcome;
mod pairs;
mod pass;
mod patch;
mod problems;
mod shuffle;
mod streams;
mod sweep;
mod table;
mod task;
#[cfg(test)]
mod tests;

pub use alignment::{Alignment, AlignmentOptions};
pub use answers::{Answers, Disagreement, Disagreements};
pub use change::{Change, changes};
pub use corpus::{CorpusOptions, CyclicCorpus};
pub use explanations::{answer_candidates, answer_functions};
pub use intervene_options::InterveneOptions;
pub use interventions::Interventions;
pub use outcome::PatchOutcome;
pub use pairs::{PairOptions, PatchPair, SharedPart};
pub use patch::{CircleReading, Patch, PatchVariant, Patcher};
pub use problems::{Problem, Problems, PromptOptions, Role};
pub use shuffle::numpy_order;
pub use streams::Streams;
pub use sweep::{PlaneSweep, SweepOptions, polar_grid, polar_truth};
pub use task::{CyclicTask, Question, QuestionOrder};
