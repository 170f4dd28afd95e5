//! Pairs of problems for activation patching.

use std::fmt;

use candle_core::Tensor;

use super::problems::{Problem, Problems};
use super::shuffle::MersenneTwister;
use super::task::QuestionOrder;
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::model::Decoder;
use crate::random::Rng;
use crate::{Error, Result};

/// The seed of the original's problems and pairs.
const ORIGINAL_SEED: u32 = 42;

/// What the two problems of a pair share, and nothing else of start, step and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedPart {
    /// The start.
    Start,
    /// The step.
    Step,
    /// The answer: of no use for a difference of logits.
    Answer,
}

/// How pairs are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairOptions {
    /// What the two share; the start.
    pub same: SharedPart,
    /// How many pairs; 20.
    pub count: usize,
    /// Partners that one problem has at most; 10.
    pub partners: usize,
    /// Whether the answers must differ in their first letter; false. Engels et al. (2024) ask for
    /// it, which leaves out Tuesday and Thursday, and January, June and July.
    pub first_letter: bool,
    /// The order in which pairs are drawn: by the seed, or as the original draws them, whose
    /// generator goes on from where it shuffled the problems.
    pub order: QuestionOrder,
    /// Seed of the draw; 0.
    pub seed: u64,
}

impl Default for PairOptions {
    fn default() -> Self {
        Self {
            same: SharedPart::Start,
            count: 20,
            partners: 10,
            first_letter: false,
            order: QuestionOrder::Grid,
            seed: 0,
        }
    }
}

impl PairOptions {
    /// The pairs of Engels et al. (2024), of problems in [`QuestionOrder::Original`].
    pub fn original(same: SharedPart) -> Self {
        Self { same, first_letter: true, order: QuestionOrder::Original, ..Self::default() }
    }
}

/// Two problems, of whose activations some are exchanged.
#[derive(Debug, Clone)]
pub struct PatchPair {
    /// The problem that activations are taken from.
    pub clean: Problem,
    /// The problem that they are put into.
    pub corrupted: Problem,
    /// The token of the clean problem's answer.
    pub clean_answer: u32,
    /// The token of the corrupted problem's answer.
    pub corrupted_answer: u32,
}

impl Problems {
    /// Pairs of problems that share one of start, step and answer, for
    /// [`Decoder::patch`](crate::model::Decoder::patch) and
    /// [`Decoder::patch_heads`](crate::model::Decoder::patch_heads) with the metric
    /// `logit_difference(logits, pair.clean_answer, pair.corrupted_answer)`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a count of 0, if there are fewer pairs, and for a pair of prompts with
    /// different numbers of tokens, which cannot be exchanged position by position.
    pub fn pairs(&self, options: &PairOptions) -> Result<Vec<PatchPair>> {
        check_sizes(&[("`count`", options.count), ("`partners`", options.partners)])?;
        let mut all = self.possible(options);
        match options.order {
            QuestionOrder::Original => {
                // Its generator has shuffled the problems before.
                let mut twister = MersenneTwister::seed(ORIGINAL_SEED);
                twister.shuffle(&mut vec![(); self.len()]);
                twister.shuffle(&mut all);
            }
            QuestionOrder::Grid => {
                let order = Rng::seed(options.seed).permutation(all.len());
                all = order.into_iter().map(|at| all[at as usize]).collect();
            }
        }
        if all.len() < options.count {
            let expected = format!("at most {}, for there are no more pairs", all.len());
            return Err(Error::invalid("`count`", expected, options.count));
        }
        all.truncate(options.count);
        let pair = |(clean, corrupted): (usize, usize)| {
            let (clean, corrupted) = (self.get(clean)?.clone(), self.get(corrupted)?.clone());
            let lengths = [&clean, &corrupted].map(|problem| problem.tokens.len());
            if lengths[0] != lengths[1] {
                let [first, second] = [&clean, &corrupted].map(|one| &one.question.prompt);
                let what = format!("the prompts {first:?} and {second:?}");
                let found = format!("{} and {} tokens", lengths[0], lengths[1]);
                return Err(Error::invalid(what, "of the same number of tokens", found));
            }
            let answer = |problem: &Problem| self.answer_tokens()[problem.question.answer];
            Ok(PatchPair {
                clean_answer: answer(&clean),
                corrupted_answer: answer(&corrupted),
                clean,
                corrupted,
            })
        };
        all.into_iter().map(pair).collect()
    }

    /// Every pair, problem by problem.
    fn possible(&self, options: &PairOptions) -> Vec<(usize, usize)> {
        let initial = |word: usize| self.task().words()[word].chars().next();
        let mut found = Vec::new();
        for (i, first) in self.all().iter().enumerate() {
            let first = &first.question;
            let fits = |(j, second): (usize, &Problem)| {
                let second = &second.question;
                let same = [
                    first.start == second.start,
                    first.step == second.step,
                    first.answer == second.answer,
                ];
                let wanted = match options.same {
                    SharedPart::Start => [true, false, false],
                    SharedPart::Step => [false, true, false],
                    SharedPart::Answer => [false, false, true],
                };
                let letters = initial(first.answer) != initial(second.answer);
                let fits = same == wanted
                    && first.template == second.template
                    && (letters || !options.first_letter);
                fits.then_some((i, j))
            };
            let own = self.all().iter().enumerate().filter_map(fits);
            found.extend(own.take(options.partners));
        }
        found
    }
}

impl PatchPair {
    /// The tokens of the two, `[1, positions]` each.
    ///
    /// # Errors
    /// [`Error::Tensor`] if memory runs out.
    pub fn tokens(&self, model: &Decoder) -> Result<(Tensor, Tensor)> {
        let row = |problem: &Problem| -> Result<Tensor> {
            Ok(Tensor::new(problem.tokens.as_slice(), model.device())?.unsqueeze(0)?)
        };
        Ok((row(&self.clean)?, row(&self.corrupted)?))
    }
}

show_as_text!(PatchPair);

impl fmt::Display for PatchPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [clean, corrupted] = [&self.clean, &self.corrupted].map(|one| &one.question.prompt);
        write!(f, "{clean:?} into {corrupted:?}")
    }
}
