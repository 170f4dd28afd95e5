//! What features mean, in words: a language model explains them, and tells how far its words go.
//!
//! [`Interp`] says what is asked: which features, how many texts of each, how they are scored.
//! [`Interp::plan`] reads a text once and draws all texts, so that nothing depends on the answers. A
//! [`Plan`] tells what it would cost ([`Plan::estimate`]) and shows what would be sent
//! ([`Plan::dry_run`]) before [`Plan::run`] sends it to a [`ChatModel`], which is any server with
//! `POST {base}/chat/completions`: vLLM, llama.cpp, Ollama, OpenRouter and others. Out comes a
//! [`Report`] with explanations and their scores.
//!
//! An explanation is made of the texts that activate a feature most. It is then scored on others:
//!
//! | score | what is shown | what is asked |
//! | --- | --- | --- |
//! | [`Scoring::Detection`] | texts with the feature, of each decile of its strength, and texts without it | Does the explanation fit the text? |
//! | [`Scoring::Fuzzing`] | texts with some of their tokens marked | Are these the tokens at which the feature is active? |
//!
//! Texts with and without the feature have the same length and come from the same positions, no text
//! is shown twice (in fuzzing some are, with right and with wrong marks, in different requests if
//! these are enough), and none shows a special token; else a judge could tell them apart by that. An
//! answer that cannot be read is counted as such and is no score; a server that fails is an error and
//! no score.
//!
//! The [`judge`] is a judge without a language model, on this machine: it explains a feature by five
//! token types and detects it by them. Any model should do better than that.
//!
//! Answers are kept on disk, so a run that was stopped goes on, and the same run sends nothing.
//!
//! After Bills et al., "Language models can explain neurons in language models" (2023), and Paulo et
//! al., "Automatically interpreting millions of features in large language models" (2024).
//!
//! # Examples
//!
//! ```
//! use eigenlens::interp::{Interp, judge};
//! use eigenlens::prelude::*;
//!
//! # fn main() -> Result<()> {
//! # let folder = tempfile::tempdir().map_err(Error::io("create", "a folder".as_ref()))?;
//! let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
//! let sae = Sae::from_pretrained("eigenlens/classics-scope", "2-mlp-out-x8-k16", &Device::Cpu)?;
//! let contexts = Contexts::from_pretrained("eigenlens/classics-4k")?;
//! # let contexts = Contexts::new(contexts.length(), contexts.as_slice()[..64 * contexts.length()].to_vec())?;
//! let asked = Interp { features: 2, min_contexts: 20, explained: 5, ..Interp::default() };
//! let plan = asked.plan(&model, &sae, &contexts)?;
//! let judge = judge::serve(&model.tokenizer()?)?;
//! let report = plan.run(&judge.chat()?.answers(folder.path()))?;
//! assert_eq!(report.explanations().len(), 2);
//! # Ok(())
//! # }
//! ```

mod chat;
pub mod judge;
mod prompts;
mod report;
mod run;
mod sample;

pub use chat::{
    AnswerToken, ChatAnswer, ChatMessage, ChatModel, ChatRequest, ChatRole, ChatUsage, Limits,
    Retries,
};
pub use report::{FeatureScore, Report};
pub use sample::{DryRun, Estimate, Interp, Plan, Scoring};
