//! Sampling: what comes next.

use std::cmp::Ordering;
use std::collections::HashSet;

use candle_core::{DType, Tensor};

use super::past::Past;
use super::{Decoder, Hooks};
use crate::check::{check_not_negative, check_positive};
use crate::progress::{OnStop, Progress, StopShield};
use crate::random::Rng;
use crate::{Error, Result};

/// How the next token is drawn. The options act in this order, which is that of Hugging Face's
/// `generate`: `repetition_penalty`, `temperature`, `top_k`, `top_p`.
///
/// ```
/// use eigenlens::model::Sampling;
/// let sampling = Sampling { temperature: 0.7, top_p: Some(0.9), ..Sampling::default() };
/// assert_eq!((sampling.top_k, sampling.repetition_penalty, sampling.seed), (None, 1.0, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 1. Zero takes the most probable token always.
    pub temperature: f64,
    /// Only so many of the most probable tokens can be drawn; `None`, all of them.
    pub top_k: Option<usize>,
    /// Only the most probable tokens can be drawn that together reach this probability, above 0 and
    /// up to 1, and at least one; `None`, all of them. Nucleus sampling of Holtzman, Buys, Du, Forbes
    /// and Choi (2020).
    pub top_p: Option<f64>,
    /// Logits of tokens that are in the text already, its prompt included, are divided by this if they
    /// are positive and multiplied by it if they are negative; 1, which changes nothing. Above 1
    /// repetitions are rarer, below 1 more frequent. Keskar, McCann, Varshney, Xiong and Socher (2019).
    pub repetition_penalty: f64,
    /// Seed of the draws; 0.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: None, top_p: None, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// Probabilities of the first token of a text, [`Sampling::probabilities_after`] nothing.
    ///
    /// # Errors
    /// As [`Sampling::probabilities_after`].
    pub fn probabilities(&self, logits: &Tensor) -> Result<Vec<f64>> {
        self.probabilities_after(&[], logits)
    }

    /// Probabilities of the token after `tokens`: `softmax(penalised logits / temperature)` over the
    /// `top_k` largest logits, of these over the fewest that reach `top_p`, and zero elsewhere, for
    /// `logits` `[vocab]`. Of equal logits the first token counts as the more probable.
    ///
    /// # Errors
    /// A temperature that is negative or not a number, a `top_k` of zero, a `top_p` that is not above
    /// 0 and up to 1, a `repetition_penalty` that is not above zero; logits that hold NaN or, penalised,
    /// positive infinity, that are all negative infinity, or are no vector; a token beyond them.
    pub fn probabilities_after(&self, tokens: &[u32], logits: &Tensor) -> Result<Vec<f64>> {
        self.check()?;
        let mut logits: Vec<f64> = logits.to_dtype(DType::F64)?.to_vec1()?;
        self.penalise(tokens, &mut logits)?;
        let is_bad = |logit: &f64| logit.is_nan() || *logit == f64::INFINITY;
        if let Some(index) = logits.iter().position(is_bad) {
            return Err(Error::NonFinite { what: "the logits".to_owned(), index });
        }
        // One of negative infinity has no probability; of these alone nothing can be drawn.
        if !logits.is_empty() && logits.iter().all(|logit| logit.is_infinite()) {
            return Err(Error::NonFinite { what: "the logits".to_owned(), index: 0 });
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        let kept = if self.temperature == 0.0 { 1 } else { self.top_k.unwrap_or(logits.len()) };
        // Zeros of both signs are equal, which they are not for `total_cmp`.
        let above = |a: &usize, b: &usize| {
            logits[*b].partial_cmp(&logits[*a]).unwrap_or(Ordering::Equal).then(a.cmp(b))
        };
        if kept < logits.len() {
            order.select_nth_unstable_by(kept - 1, above);
            order.truncate(kept);
        }
        let Some(largest) = order.iter().map(|token| logits[*token]).reduce(f64::max) else {
            return Err(Error::shape("the logits", "at least one", [0]));
        };
        let temperature = if self.temperature == 0.0 { 1.0 } else { self.temperature };
        let share = |token: usize| ((logits[token] - largest) / temperature).exp();
        if let Some(top_p) = self.top_p.filter(|top_p| *top_p < 1.0) {
            order.sort_unstable_by(above);
            let enough = top_p * order.iter().map(|token| share(*token)).sum::<f64>();
            let mut reached = 0.0;
            let nucleus = order.iter().take_while(|token| {
                let is_needed = reached < enough;
                reached += share(**token);
                is_needed
            });
            let fewest = nucleus.count();
            order.truncate(fewest);
        }
        let mut probabilities = vec![0.0; logits.len()];
        for token in order {
            probabilities[token] = share(token);
        }
        let sum: f64 = probabilities.iter().sum();
        probabilities.iter_mut().for_each(|probability| *probability /= sum);
        Ok(probabilities)
    }

    fn check(&self) -> Result<()> {
        check_not_negative("`temperature`", self.temperature)?;
        if self.top_k == Some(0) {
            return Err(Error::invalid("`top_k`", "at least 1", 0));
        }
        if let Some(top_p) = self.top_p.filter(|top_p| !(*top_p > 0.0 && *top_p <= 1.0)) {
            return Err(Error::invalid("`top_p`", "above 0 and up to 1", top_p));
        }
        check_positive("`repetition_penalty`", self.repetition_penalty)
    }

    /// Changes the logits of tokens that are there already, each once.
    fn penalise(&self, tokens: &[u32], logits: &mut [f64]) -> Result<()> {
        if self.repetition_penalty == 1.0 {
            return Ok(());
        }
        let seen: HashSet<u32> = tokens.iter().copied().collect();
        for token in seen {
            let size = logits.len();
            let Some(logit) = logits.get_mut(token as usize) else {
                return Err(Error::invalid("every token", format!("below {size}"), token));
            };
            let penalty = self.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
        Ok(())
    }
}

impl Decoder {
    /// Continues `tokens` by up to `count` tokens. It stops after one of [`Decoder::end_tokens`],
    /// which is then the last; [`Decoder::with_end_tokens`] chooses others, or none. Attention keeps
    /// its keys and values, so each new token costs one position; but a text that grows over the
    /// original context of [`LongRope`](super::Scaling::LongRope) is read anew there, because every
    /// position of a longer text turns by other angles. When Stop is pressed, the call fails and
    /// `stopped::<Vec<u32>>()` returns the tokens so far.
    ///
    /// # Errors
    /// No tokens, or more with the new ones than the context holds; tokens that are not in the
    /// vocabulary; see [`Sampling::probabilities_after`] and [`Decoder::end_tokens`]; [`Error::Stopped`] when
    /// Stop is pressed.
    pub fn generate_tokens(
        &self,
        tokens: &[u32],
        count: usize,
        sampling: Sampling,
    ) -> Result<Vec<u32>> {
        self.generate_tokens_with(tokens, count, sampling, &Hooks::new())
    }

    /// [`Decoder::generate_tokens`] with `hooks` acting at every position, once each, and once more where
    /// a text is read anew.
    ///
    /// # Errors
    /// As [`Decoder::generate_tokens`] and [`Decoder::run`].
    pub fn generate_tokens_with(
        &self,
        tokens: &[u32],
        count: usize,
        sampling: Sampling,
        hooks: &Hooks,
    ) -> Result<Vec<u32>> {
        let mut progress = Progress::new("generating", count as u64, "token");
        let _shield = StopShield::new();
        let mut generation = self.generation(tokens, count, sampling, hooks)?;
        while let Some(token) = generation.next() {
            token?;
            if generation.ended {
                progress.note("ended by itself");
            }
            if progress.advance(1) && generation.left() > 0 {
                let access = "`stopped::<Vec<u32>>()?` gives the tokens so far, which \
                              `model.tokenizer()?.decode` turns into text.";
                return OnStop::EndCell.end("generating", generation.all, access);
            }
        }
        Ok(generation.all)
    }

    /// What [`Decoder::generate_tokens_with`] returns, token by token as it is drawn.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    /// let prompt: Vec<u32> = model.tokens("It is a truth")?.flatten_all()?.to_vec1()?;
    /// let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    /// for token in model.generation(&prompt, 3, sampling, &Hooks::new())? {
    ///     print!("{}", model.tokenizer()?.token(token?)?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::generate_tokens_with`] for the prompt; the iterator's items those of the rest. It
    /// ends after an error.
    pub fn generation(
        &self,
        tokens: &[u32],
        count: usize,
        sampling: Sampling,
        hooks: &Hooks,
    ) -> Result<Generation> {
        let context = self.config().context;
        if tokens.is_empty() {
            return Err(Error::invalid("the prompt", "at least one token", "none"));
        }
        let length = tokens.len().saturating_add(count);
        if length > context {
            let expected =
                format!("at most {context} tokens with what follows, the model's context");
            return Err(Error::invalid("the prompt", expected, length));
        }
        self.checked(&Tensor::new(tokens, self.device())?)?;
        Ok(Generation {
            model: self.clone(),
            hooks: hooks.clone(),
            sampling,
            rng: Rng::seed(sampling.seed),
            ends: self.end_tokens()?,
            all: tokens.to_vec(),
            past: Past::default(),
            unseen: 0,
            length,
            ended: false,
        })
    }
}

/// Tokens as they are drawn, one by one; [`Decoder::generation`] makes it. It ends after one of
/// [`Decoder::end_tokens`], which is then the last.
#[derive(Debug)]
pub struct Generation {
    model: Decoder,
    hooks: Hooks,
    sampling: Sampling,
    rng: Rng,
    ends: Vec<u32>,
    all: Vec<u32>,
    past: Past,
    /// The first token that the model has not seen.
    unseen: usize,
    /// Of the text at its longest.
    length: usize,
    ended: bool,
}

impl Generation {
    /// The prompt and what came after it so far.
    pub fn tokens(&self) -> &[u32] {
        &self.all
    }

    /// How many tokens may still come.
    pub fn left(&self) -> usize {
        if self.ended { 0 } else { self.length - self.all.len() }
    }

    fn draw(&mut self) -> Result<u32> {
        let more = self.all.len() - self.unseen;
        if self.model.config().turns_anew(self.past.len(), more) {
            (self.past, self.unseen) = (Past::default(), 0);
        }
        let logits =
            self.model.next_logits(&self.all[self.unseen..], &mut self.past, &self.hooks)?;
        self.unseen = self.all.len();
        let probabilities = self.sampling.probabilities_after(&self.all, &logits)?;
        let next = draw(&probabilities, f64::from(self.rng.unit()));
        self.all.push(next);
        self.ended = self.ends.contains(&next);
        Ok(next)
    }
}

impl Iterator for Generation {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Result<u32>> {
        if self.left() == 0 {
            return None;
        }
        let next = self.draw();
        self.ended |= next.is_err();
        Some(next)
    }
}

/// The token whose share of the unit interval `at` falls into.
fn draw(probabilities: &[f64], at: f64) -> u32 {
    let mut sum = 0.0;
    let mut last = 0;
    for (token, probability) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        sum += probability;
        last = token;
        if at < sum {
            break;
        }
    }
    last as u32
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::Config;

    fn model() -> Decoder {
        let config = Config { vocab: 13, context: 12, ..Config::bilinear(2, 2, 8, 6) };
        Decoder::random(config, 1, &Device::Cpu).unwrap()
    }

    #[test]
    fn kept_keys_and_values_change_nothing() {
        let model = model();
        let tokens = [3u32, 1, 4, 1, 5, 9];
        let mut past = Past::default();
        for at in 0..tokens.len() {
            let seen = Tensor::new(&tokens[..=at], &Device::Cpu).unwrap();
            let expected = model.logits(&seen).unwrap().get(0).unwrap().get(at).unwrap();
            let found = model.next_logits(&tokens[at..=at], &mut past, &Hooks::new()).unwrap();
            let gap = (found - expected).unwrap().abs().unwrap().max_all().unwrap();
            assert!(gap.to_scalar::<f32>().unwrap() < 1e-6);
        }
    }

    #[test]
    fn probabilities_of_few_and_cold_tokens() {
        let logits = Tensor::new(&[1f32, 3., 2., 3.], &Device::Cpu).unwrap();
        let of = |temperature, top_k| {
            Sampling { temperature, top_k, ..Sampling::default() }.probabilities(&logits).unwrap()
        };
        assert_eq!(of(0.0, None), [0., 1., 0., 0.]);
        assert_eq!(of(1.0, Some(2)), [0., 0.5, 0., 0.5]);
        let two = of(0.5, Some(3));
        assert!((two[2] / two[1] - (-2f64).exp()).abs() < 1e-12 && two[0] == 0.0);
        assert!((of(2.0, None).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    /// Logits that are logarithms of probabilities: 0.1, 0.4, 0.2, 0.25, 0.05.
    fn logits() -> Tensor {
        let logits = [0.1f64, 0.4, 0.2, 0.25, 0.05].map(f64::ln);
        Tensor::new(&logits, &Device::Cpu).unwrap()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near && found.len() == expected.len(), "{found:?}, expected {expected:?}");
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_reach_a_probability() {
        let of = |top_p| {
            let sampling = Sampling { top_p: Some(top_p), ..Sampling::default() };
            sampling.probabilities(&logits()).unwrap()
        };
        assert_near(&of(1e-9), &[0., 1., 0., 0., 0.]);
        assert_near(&of(0.399), &[0., 1., 0., 0., 0.]);
        assert_near(&of(0.401), &[0., 0.4 / 0.65, 0., 0.25 / 0.65, 0.]);
        assert_near(&of(0.84), &[0., 0.4 / 0.85, 0.2 / 0.85, 0.25 / 0.85, 0.]);
        assert_near(&of(0.86), &[0.1 / 0.95, 0.4 / 0.95, 0.2 / 0.95, 0.25 / 0.95, 0.]);
        assert_near(&of(1.0), &[0.1, 0.4, 0.2, 0.25, 0.05]);
        // Of equal tokens the first.
        let equal = Tensor::new(&[0f32, 0., 0., 0.], &Device::Cpu).unwrap();
        let half = Sampling { top_p: Some(0.5), ..Sampling::default() };
        assert_near(&half.probabilities(&equal).unwrap(), &[0.5, 0.5, 0., 0.]);
        // After top-k, whose tokens share all of the probability: 0.4 / 0.65 is above 0.6.
        let both = Sampling { top_k: Some(2), top_p: Some(0.6), ..Sampling::default() };
        assert_near(&both.probabilities(&logits()).unwrap(), &[0., 1., 0., 0., 0.]);
        // After the temperature: squares are 0.16, 0.0625, 0.04, 0.01, 0.0025 of 0.275.
        let cold = Sampling { temperature: 0.5, top_p: Some(0.58), ..Sampling::default() };
        assert_near(&cold.probabilities(&logits()).unwrap(), &[0., 1., 0., 0., 0.]);
    }

    #[test]
    fn infinite_logits_are_refused_unless_they_only_leave_tokens_out() {
        let of = |logits: &[f64], sampling: Sampling| {
            let logits = Tensor::new(logits, &Device::Cpu).unwrap();
            sampling.probabilities_after(&[0], &logits)
        };
        let infinity = f64::INFINITY;
        let usual = Sampling::default();
        let cold = Sampling { temperature: 0.0, ..usual };
        for sampling in [usual, cold, Sampling { top_p: Some(0.5), ..usual }] {
            let bad: [(&[f64], usize); 3] =
                [(&[0., infinity], 1), (&[-infinity, -infinity], 0), (&[0., 1., f64::NAN], 2)];
            for (logits, expected) in bad {
                let Err(Error::NonFinite { index, .. }) = of(logits, sampling) else {
                    panic!("{logits:?}");
                };
                assert_eq!(index, expected, "{logits:?}");
            }
            assert_near(&of(&[-infinity, 3.], sampling).unwrap(), &[0., 1.]);
        }
        assert_near(&of(&[0., -infinity, 0.], usual).unwrap(), &[0.5, 0., 0.5]);
        // The penalty can make one of a large number.
        let rising = Sampling { repetition_penalty: 1e-300, ..usual };
        assert!(matches!(of(&[1e10, 0.], rising), Err(Error::NonFinite { index: 0, .. })));
        // Of zeros of both signs, which are equal, the first.
        let logits = Tensor::new(&[-0.0f64, 0.0], &Device::Cpu).unwrap();
        assert_near(&cold.probabilities(&logits).unwrap(), &[1., 0.]);
    }

    #[test]
    fn tokens_that_are_there_are_penalised_once_and_first() {
        let logits = Tensor::new(&[2f64, -1., 0., 1.], &Device::Cpu).unwrap();
        let sampling = Sampling { repetition_penalty: 2.0, ..Sampling::default() };
        let found = sampling.probabilities_after(&[0, 1, 0, 2], &logits).unwrap();
        // 2 / 2, -1 * 2, 0, and 1 as it was.
        let shares = [1f64, -2., 0., 1.].map(f64::exp);
        let sum: f64 = shares.iter().sum();
        assert_near(&found, &shares.map(|share| share / sum));
        let plain = |sampling: Sampling| sampling.probabilities(&logits).unwrap();
        assert_eq!(plain(sampling), plain(Sampling::default()));
        // Before top-k and without a temperature: the largest logit is another then.
        let greedy = Sampling { temperature: 0.0, repetition_penalty: 3.0, ..sampling };
        assert_near(&greedy.probabilities_after(&[0], &logits).unwrap(), &[0., 0., 0., 1.]);
        let one = Sampling { top_k: Some(1), ..sampling };
        assert_near(&one.probabilities_after(&[0, 3], &logits).unwrap(), &[1., 0., 0., 0.]);
        let beyond = sampling.probabilities_after(&[4], &logits).unwrap_err().to_string();
        assert!(beyond.contains("below 4"), "{beyond}");
    }

    #[test]
    fn a_penalty_keeps_a_text_from_repeating_its_prompt() {
        let model = model();
        let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
        // No logit is zero: whatever was said is below all that was not.
        let huge = Sampling { repetition_penalty: 1e12, ..greedy };
        let shifted = |text: &[u32]| {
            let logits = model.logits(&Tensor::new(text, &Device::Cpu).unwrap()).unwrap();
            let last = logits.get(0).unwrap().get(text.len() - 1).unwrap();
            huge.probabilities_after(text, &last).unwrap()
        };
        let text = model.generate_tokens(&[1, 2], 8, huge).unwrap();
        for at in 2..text.len() {
            assert_eq!(shifted(&text[..at])[text[at] as usize], 1.0);
        }
        assert_ne!(text, model.generate_tokens(&[1, 2], 8, greedy).unwrap());
    }

    #[test]
    fn a_seed_repeats_a_text_and_draws_follow_the_probabilities() {
        let model = model();
        let text = |seed| {
            let sampling = Sampling { seed, ..Sampling::default() };
            model.generate_tokens(&[1, 2], 8, sampling).unwrap()
        };
        assert_eq!(text(4), text(4));
        let sampling = Sampling { seed: 4, ..Sampling::default() };
        let mut one_by_one = model.generation(&[1, 2], 8, sampling, &Hooks::new()).unwrap();
        let drawn: Vec<u32> = one_by_one.by_ref().map(Result::unwrap).collect();
        assert_eq!(([&[1, 2], &drawn[..]].concat(), one_by_one.left()), (text(4), 0));
        assert_eq!(one_by_one.tokens(), text(4));
        assert_ne!(text(4), text(5));
        assert_eq!(draw(&[0.25, 0.0, 0.75], 0.2499), 0);
        assert_eq!(draw(&[0.25, 0.0, 0.75], 0.25), 2);
        assert_eq!(draw(&[0.5, 0.5 - 1e-9, 0.0], 0.9999999999), 1);
    }

    #[test]
    fn bad_prompts_and_settings_are_refused() {
        let model = model();
        let message = |tokens: &[u32], count, sampling| {
            model.generate_tokens(tokens, count, sampling).unwrap_err().to_string()
        };
        let usual = Sampling::default();
        assert!(message(&[], 3, usual).contains("at least one token"));
        assert!(message(&[1; 10], 3, usual).contains("at most 12"));
        assert!(message(&[1, 2], usize::MAX, usual).contains("at most 12"));
        assert!(message(&[13], 3, usual).contains("below 13"));
        assert!(message(&[1], 3, Sampling { temperature: -1.0, ..usual }).contains("temperature"));
        assert!(message(&[1], 3, Sampling { top_k: Some(0), ..usual }).contains("`top_k`"));
        for bad in [0.0, -0.1, 1.0 + 1e-9, f64::NAN, f64::INFINITY] {
            let found = message(&[1], 3, Sampling { top_p: Some(bad), ..usual });
            assert!(found.starts_with("`top_p` must be above 0 and up to 1"), "{found}");
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let found = message(&[1], 3, Sampling { repetition_penalty: bad, ..usual });
            assert!(found.starts_with("`repetition_penalty` must be"), "{found}");
        }
    }
}
