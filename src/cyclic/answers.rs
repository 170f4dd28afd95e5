//! How many questions a model answers.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{D, DType, Device, IndexOp, Tensor};

use super::pass::stream_point;
use super::problems::{Problem, Problems};
use super::task::Question;
use crate::display::{ShownCell, ShownColumn, ShownTable, show_as_text};
use crate::model::Decoder;
use crate::progress::Progress;
use crate::{Error, Result};

/// Problems of one pass.
const BATCH: usize = 32;

/// What a model answers.
#[derive(Debug, Clone)]
pub struct Answers {
    problems: Problems,
    logits: Tensor,
    best: Vec<usize>,
    tokens: Vec<u32>,
    /// The best token of the vocabulary as a display shows it.
    visible: Vec<String>,
}

impl Problems {
    /// Asks the model: the best of the task's words, and the best of all tokens, after each prompt.
    ///
    /// # Errors
    /// As [`Decoder::run`]; [`Error::Interrupted`] when Stop is pressed.
    pub fn evaluate(&self, model: &Decoder) -> Result<Answers> {
        let all: Vec<usize> = (0..self.len()).collect();
        let answers = Tensor::new(self.answer_tokens(), model.device())?;
        let mut rows: Vec<Option<(Tensor, u32)>> = vec![None; self.len()];
        let mut progress = Progress::new("answers", self.len() as u64, "problem");
        for batch in self.batches(&all, BATCH) {
            let tokens = self.tokens(&batch, model)?;
            let point = stream_point(model, 0);
            let stream = model.activations(&tokens, &[point])?.tensor(point)?;
            let logits = model.last_logits_from(0, &stream)?;
            let own = logits.index_select(&answers, 1)?.to_dtype(DType::F64)?;
            let own = own.to_device(&Device::Cpu)?;
            let best: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
            for (i, &problem) in batch.iter().enumerate() {
                rows[problem] = Some((own.i(i)?, best[i]));
            }
            if progress.advance(batch.len() as u64) {
                return Err(Error::Interrupted { what: "the evaluation".to_owned() });
            }
        }
        // Every problem is in one batch.
        let (logits, tokens): (Vec<Tensor>, Vec<u32>) = rows.into_iter().flatten().unzip();
        let logits = Tensor::stack(&logits, 0)?;
        let best: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
        let tokenizer = model.tokenizer()?;
        let visible = tokens.iter().map(|&token| tokenizer.visible(token));
        Ok(Answers {
            problems: self.clone(),
            visible: visible.collect::<Result<_>>()?,
            best: best.into_iter().map(|word| word as usize).collect(),
            logits,
            tokens,
        })
    }
}

impl Answers {
    /// Logits of the words after each prompt, `[problems, words]`, f64.
    pub fn logits(&self) -> &Tensor {
        &self.logits
    }

    /// The best word of each problem.
    pub fn best(&self) -> &[usize] {
        &self.best
    }

    /// The best token of the vocabulary for each problem.
    pub fn best_tokens(&self) -> &[u32] {
        &self.tokens
    }

    fn all(&self) -> &[Problem] {
        self.problems.all()
    }

    fn is_right(&self, problem: usize) -> bool {
        self.best[problem] == self.all()[problem].question.answer
    }

    /// How many problems have the right word as the best of the words: Table 1 of Engels et al.
    /// (2024).
    pub fn right(&self) -> usize {
        (0..self.best.len()).filter(|&problem| self.is_right(problem)).count()
    }

    /// How many are right among the questions that `which` takes, and of how many.
    pub fn right_among(&self, which: impl Fn(&Question) -> bool) -> (usize, usize) {
        let taken = |problem: &usize| which(&self.all()[*problem].question);
        let all: Vec<usize> = (0..self.best.len()).filter(taken).collect();
        (all.iter().filter(|&&problem| self.is_right(problem)).count(), all.len())
    }

    /// How many have it as the best of all tokens.
    pub fn right_of_all_tokens(&self) -> usize {
        let tokens = self.problems.answer_tokens();
        let right =
            |(problem, token): &(&Problem, &u32)| tokens[problem.question.answer] == **token;
        self.all().iter().zip(&self.tokens).filter(right).count()
    }

    /// For each step: how many are right, and of how many.
    pub fn by_step(&self) -> BTreeMap<usize, (usize, usize)> {
        self.counts(|problem| problem.question.step)
    }

    /// For each template: how many are right, and of how many.
    pub fn by_template(&self) -> BTreeMap<usize, (usize, usize)> {
        self.counts(|problem| problem.question.template)
    }

    fn counts(&self, key: impl Fn(&Problem) -> usize) -> BTreeMap<usize, (usize, usize)> {
        let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (i, problem) in self.all().iter().enumerate() {
            let (right, all) = counts.entry(key(problem)).or_default();
            *right += usize::from(self.is_right(i));
            *all += 1;
        }
        counts
    }

    /// How often the words on the right were answered where those on the left would be right,
    /// `[words, words]`, f64.
    ///
    /// # Errors
    /// [`Error::Tensor`] if memory runs out.
    pub fn confusion(&self) -> Result<Tensor> {
        let period = self.problems.task().period();
        let mut counts = vec![0.0; period * period];
        for (problem, best) in self.all().iter().zip(&self.best) {
            counts[problem.question.answer * period + best] += 1.0;
        }
        Ok(Tensor::from_vec(counts, (period, period), &Device::Cpu)?)
    }

    /// The problems that this model or another does not answer, by step and start: Tables 3 and 4 of
    /// Engels et al. (2024).
    ///
    /// # Errors
    /// [`Error::Invalid`] for answers to other questions; the order does not matter.
    pub fn against(&self, other: &Self) -> Result<Disagreements> {
        let mut rows = Vec::new();
        let places: BTreeMap<&str, usize> = other
            .all()
            .iter()
            .enumerate()
            .map(|(i, problem)| (problem.question.prompt.as_str(), i))
            .collect();
        for (i, problem) in self.all().iter().enumerate() {
            let Some(&at) = places.get(problem.question.prompt.as_str()) else {
                let expected = "to the same questions";
                let found = format!("none to {:?}", problem.question.prompt);
                return Err(Error::invalid("the other answers", expected, found));
            };
            if !(self.is_right(i) && other.is_right(at)) {
                rows.push((
                    (problem.question.step, problem.question.start),
                    Disagreement {
                        prompt: problem.question.prompt.clone(),
                        truth: self.word(problem.question.answer),
                        first: self.word(self.best[i]),
                        second: self.word(other.best[at]),
                        first_token: self.visible[i].clone(),
                        second_token: other.visible[at].clone(),
                    },
                ));
            }
        }
        rows.sort_by_key(|(place, _)| *place);
        Ok(Disagreements { rows: rows.into_iter().map(|(_, row)| row).collect() })
    }

    fn word(&self, word: usize) -> String {
        self.problems.task().words()[word].clone()
    }
}

show_as_text!(Answers);

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, task) = (self.best.len(), self.problems.task());
        write!(
            f,
            "{}: {} of {all} right among {} words, {} as the best of all tokens",
            task.name(),
            self.right(),
            task.period(),
            self.right_of_all_tokens()
        )?;
        for (name, counts) in [("step", self.by_step()), ("template", self.by_template())] {
            if counts.len() > 1 {
                let counts: Vec<String> = counts
                    .iter()
                    .map(|(key, (right, all))| format!("{key}: {right}/{all}"))
                    .collect();
                write!(f, "\nby {name} {}", counts.join(", "))?;
            }
        }
        Ok(())
    }
}

/// Problems that one of two models does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreements {
    /// By step and start.
    pub rows: Vec<Disagreement>,
}

/// A problem that one of two models does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The prompt.
    pub prompt: String,
    /// The right word.
    pub truth: String,
    /// The best word of the first model.
    pub first: String,
    /// The best word of the second model.
    pub second: String,
    /// The best token of the first model.
    pub first_token: String,
    /// The best token of the second model.
    pub second_token: String,
}

impl Disagreements {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let names = ["prompt", "right", "first model", "its token", "second model", "its token"];
        let mut shown = ShownTable::new(names.map(ShownColumn::left))
            .note(format!("{} problems that not both models answer", self.rows.len()));
        for row in &self.rows {
            shown.push([
                ShownCell::from(&row.prompt),
                ShownCell::from(&row.truth),
                ShownCell::from(&row.first),
                ShownCell::code(&row.first_token),
                ShownCell::from(&row.second),
                ShownCell::code(&row.second_token),
            ]);
        }
        shown
    }
}

impl fmt::Display for Disagreements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n{} problems that not both models answer",
            self.shown().text(),
            self.rows.len()
        )
    }
}
