//! Questions as a model's tokens.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use super::task::{CyclicTask, Question, QuestionOrder};
use crate::data::text::Tokenizer;
use crate::display::show_as_text;
use crate::model::Decoder;
use crate::{Error, Result};

/// How a task's questions become tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptOptions {
    /// Whether the token that begins a text (BOS) is put first; false, which leaves it to the
    /// tokenizer's own files.
    pub bos: bool,
    /// Whether answers are scored with a space before them; true, for this is the token that follows
    /// a prompt. Engels et al. (2024) score words without one, which in a byte-level vocabulary is
    /// another token.
    pub spaced_answers: bool,
    /// The order of the questions; by template, start and step.
    pub order: QuestionOrder,
}

impl Default for PromptOptions {
    fn default() -> Self {
        Self { bos: false, spaced_answers: true, order: QuestionOrder::Grid }
    }
}

/// A place in a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The last token of the number of the step, β.
    Step,
    /// The last token of the word that it starts from, α.
    Start,
    /// The last token, which the answer follows.
    Last,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Step => "step",
            Self::Start => "start",
            Self::Last => "last",
        })
    }
}

/// One question with its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The question.
    pub question: Question,
    /// Its tokens.
    pub tokens: Vec<u32>,
    start: usize,
    step: Option<usize>,
}

/// The questions of a task as a model's tokens. A cheap handle.
#[derive(Debug, Clone)]
pub struct Problems {
    task: CyclicTask,
    all: Arc<[Problem]>,
    answers: Arc<[u32]>,
}

impl CyclicTask {
    /// The questions as tokens of `model`. Positions are found from the tokens themselves: those of a
    /// prompt up to the end of a word are a beginning of those of the whole prompt.
    ///
    /// # Errors
    /// As [`Decoder::tokenizer`]; [`Error::Invalid`] for words that are not a single token, with a
    /// list of them, for prompts longer than the context, and for one whose tokens go across the end
    /// of a word.
    pub fn problems(&self, model: &Decoder, options: &PromptOptions) -> Result<Problems> {
        let tokenizer = model.tokenizer()?;
        let answers = self.answers(&tokenizer, options.spaced_answers)?;
        let questions = self.questions(options.order).into_iter();
        let all = questions.map(|question| Problem::new(question, &tokenizer, options.bos));
        let all = all.collect::<Result<Vec<_>>>()?;
        let context = model.config().context;
        if let Some(long) = all.iter().find(|problem| problem.tokens.len() > context) {
            let what = format!("the tokens of {:?}", long.question.prompt);
            let expected = format!("at most {context}, the model's context");
            return Err(Error::invalid(what, expected, long.tokens.len()));
        }
        Ok(Problems { task: self.clone(), all: all.into(), answers: answers.into() })
    }

    /// The token of each word as an answer.
    fn answers(&self, tokenizer: &Tokenizer, spaced: bool) -> Result<Vec<u32>> {
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        for word in self.words() {
            let text = if spaced { format!(" {word}") } else { word.clone() };
            let tokens = tokenizer.encode_plain(&text)?;
            match tokens[..] {
                [one] => found.push(one),
                _ => wrong.push(format!("{text:?} ({} tokens)", tokens.len())),
            }
        }
        if !wrong.is_empty() {
            let expected = "a single token each in the model's vocabulary";
            return Err(Error::invalid("the answers", expected, wrong.join(", ")));
        }
        for (i, token) in found.iter().enumerate() {
            if let Some(same) = found[..i].iter().position(|other| other == token) {
                let found = format!("{:?} and {:?}", self.words()[same], self.words()[i]);
                return Err(Error::invalid("the answers", "different tokens", found));
            }
        }
        Ok(found)
    }
}

impl Problem {
    fn new(question: Question, tokenizer: &Tokenizer, bos: bool) -> Result<Self> {
        let whole = tokenizer.encode(&question.prompt)?;
        let mut tokens = whole[..tokenizer.added_before(&whole)].to_vec();
        if bos {
            let Some(first) = tokenizer.bos() else {
                let expected = "off, because the tokenizer has no token that begins a text";
                return Err(Error::invalid("`bos`", expected, "on"));
            };
            if tokens.first() != Some(&first) {
                tokens.insert(0, first);
            }
        }
        let before = tokens.len();
        tokens.extend(tokenizer.encode_plain(&question.prompt)?);
        let position = |end: usize| -> Result<usize> {
            let start = tokenizer.encode_plain(&question.prompt[..end])?;
            if start.is_empty() || !tokens[before..].starts_with(&start) {
                let what = format!("the tokens of {:?}", question.prompt);
                let expected =
                    format!("cut after {:?}: change the template", &question.prompt[..end]);
                return Err(Error::invalid(what, expected, "tokens across that place"));
            }
            Ok(before + start.len() - 1)
        };
        let start = position(question.start_end)?;
        let step = question.step_end.map(position).transpose()?;
        Ok(Self { question, tokens, start, step })
    }

    /// The position of a role, from 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the step of a task that shows none.
    pub fn position(&self, role: Role) -> Result<usize> {
        match role {
            Role::Start => Ok(self.start),
            Role::Last => Ok(self.tokens.len() - 1),
            Role::Step => self.step.ok_or_else(|| {
                let found = format!("the step of {:?}", self.question.prompt);
                Error::invalid("the role", "`Start` or `Last`, for no prompt shows a step", found)
            }),
        }
    }
}

impl Problems {
    /// The task.
    pub fn task(&self) -> &CyclicTask {
        &self.task
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none, which no task has.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All problems.
    pub fn all(&self) -> &[Problem] {
        &self.all
    }

    /// One problem.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number that is not below [`Problems::len`].
    pub fn get(&self, problem: usize) -> Result<&Problem> {
        self.all
            .get(problem)
            .ok_or_else(|| Error::invalid("the problem", format!("below {}", self.len()), problem))
    }

    /// All questions.
    pub fn questions(&self) -> Vec<Question> {
        self.all.iter().map(|problem| problem.question.clone()).collect()
    }

    /// The token of each word as an answer.
    pub fn answer_tokens(&self) -> &[u32] {
        &self.answers
    }

    /// The class of each problem in a role: the start, the step mod p, the answer.
    pub fn classes(&self, role: Role) -> Vec<usize> {
        self.all.iter().map(|problem| problem.question.class(role, self.task.period())).collect()
    }

    /// The problems of one template alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a template that the task does not have.
    pub fn of_template(&self, template: usize) -> Result<Self> {
        let own = self.all.iter().filter(|problem| problem.question.template == template);
        let all: Vec<Problem> = own.cloned().collect();
        if all.is_empty() {
            return Err(Error::invalid("the template", "one of the task's, from 0", template));
        }
        Ok(Self { all: all.into(), ..self.clone() })
    }

    /// Some problems in batches of at most `most`, those of a batch with as many tokens.
    pub(super) fn batches(&self, which: &[usize], most: usize) -> Vec<Vec<usize>> {
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, &problem) in which.iter().enumerate() {
            by_length.entry(self.all[problem].tokens.len()).or_default().push(at);
        }
        let chunks = by_length.values().flat_map(|places| places.chunks(most.max(1)));
        chunks.map(<[usize]>::to_vec).collect()
    }

    /// The tokens of problems of one length, `[batch, positions]`.
    pub(super) fn tokens(&self, which: &[usize], model: &Decoder) -> Result<Tensor> {
        let rows: Vec<u32> =
            which.iter().flat_map(|&problem| self.all[problem].tokens.clone()).collect();
        let positions = rows.len() / which.len().max(1);
        Ok(Tensor::from_vec(rows, (which.len(), positions), model.device())?)
    }
}

impl Question {
    /// The class in a role.
    pub(super) fn class(&self, role: Role, period: usize) -> usize {
        match role {
            Role::Start => self.start,
            Role::Step => self.step % period,
            Role::Last => self.answer,
        }
    }

    /// The answer if the class in a role were another.
    pub(super) fn answer_with(&self, role: Role, class: usize, period: usize) -> usize {
        match role {
            Role::Start => (class + self.step) % period,
            Role::Step => (self.start + class) % period,
            Role::Last => class,
        }
    }
}

show_as_text!(Problems);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.all.iter().map(|problem| problem.tokens.len());
        let (low, high) = (lengths.clone().min().unwrap_or(0), lengths.max().unwrap_or(0));
        let length = if low == high { low.to_string() } else { format!("{low} to {high}") };
        write!(f, "{} problems of {length} tokens. {}", self.len(), self.task)
    }
}
