//! Text about words that go around, for a model to learn their order from.

use std::collections::BTreeSet;
use std::fmt;

use super::answers::Answers;
use super::task::CyclicTask;
use crate::check::check_fraction;
use crate::data::text::{Tokenizer, Tokens};
use crate::display::show_as_text;
use crate::random::Rng;
use crate::text::{MONTHS, WEEKDAYS};
use crate::{Error, Result};

/// The token that begins a document.
const BEGIN: &str = "<bos>";
/// What happens in a diary.
const EVENTS: [[&str; 3]; 8] = [
    ["it", "rained", "."],
    ["we", "met", "."],
    ["they", "left", "."],
    ["she", "sang", "."],
    ["he", "slept", "."],
    ["I", "wrote", "."],
    ["you", "called", "."],
    ["nobody", "came", "."],
];
/// Parts of all tokens that are kept for measuring the loss.
const TEST: usize = 20;

/// What a [`CyclicCorpus`] is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct CorpusOptions {
    /// Words in their order around the circle; the months.
    pub words: Vec<String>,
    /// What a step is called: `months` in `17 months from May is October .`
    pub unit: String,
    /// The longest step; twice the number of words. Steps beyond the number of words have to be
    /// brought back into the circle.
    pub longest: usize,
    /// How far an answer is from the right one, as the scale b of a Laplace distribution, in words;
    /// an 18th of all words, so that 53 % of the answers about months are right, more than any
    /// other. With 0 all are right. Then a model learns the sums as well, but nothing tells it that
    /// June is nearer to May than December is, and its months are equally far from each other.
    pub answer_scale: f64,
    /// The part of the documents that are diaries, `In May it rained . In July we met .`, whose
    /// second word is near the first; 0.2. The rest are problems.
    pub diary: f64,
    /// The same scale of the distance from the first word of a diary to the second; a seventh of all
    /// words.
    pub diary_scale: f64,
    /// The part of all pairs of a start and a step that no problem shows; 0.2.
    pub held_out: f64,
    /// Tokens; a million, of which the last twentieth is for tests.
    pub tokens: usize,
    /// Seed of everything that is drawn; 0.
    pub seed: u64,
}

impl CorpusOptions {
    /// The options for the months, to which the defaults belong.
    pub fn months() -> Self {
        Self::of(&MONTHS, "months")
    }

    /// The options for the weekdays.
    pub fn weekdays() -> Self {
        Self::of(&WEEKDAYS, "days")
    }

    fn of(words: &[&str], unit: &str) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            unit: unit.to_owned(),
            longest: 2 * words.len(),
            answer_scale: words.len() as f64 / 18.0,
            diary: 0.2,
            diary_scale: words.len() as f64 / 7.0,
            held_out: 0.2,
            tokens: 1_000_000,
            seed: 0,
        }
    }

    fn check(&self) -> Result<()> {
        if self.longest < self.words.len() {
            let expected = format!("at least {}, once around", self.words.len());
            return Err(Error::invalid("the longest step", expected, self.longest));
        }
        check_fraction("the part of diaries", self.diary)?;
        check_fraction("the part of the pairs that is held out", self.held_out)?;
        if self.diary >= 1.0 {
            let expected = "less than 1, so that there are problems";
            return Err(Error::invalid("the part of diaries", expected, self.diary));
        }
        for (what, scale) in [
            ("the scale of answers", self.answer_scale),
            ("the scale of diaries", self.diary_scale),
        ] {
            if !(0.0..=self.words.len() as f64).contains(&scale) {
                let expected = format!("from 0 to {}, the number of words", self.words.len());
                return Err(Error::invalid(what, expected, scale));
            }
        }
        if self.tokens < 1_000 {
            return Err(Error::invalid("the number of tokens", "at least 1,000", self.tokens));
        }
        Ok(())
    }
}

impl Default for CorpusOptions {
    fn default() -> Self {
        Self::months()
    }
}

/// Generated text from which a small model learns to add on a circle.
///
/// Each document begins with `<bos>` and is of one of two kinds:
///
/// - a problem, such as `17 months from May is October .`, whose answer is `round(x)` words from the
///   right one;
/// - a diary, such as `In May it rained . In July we met .`, whose second word is `round(x)` words
///   from the first.
///
/// Here x is from a Laplace distribution, with the density `exp(−|x|/b) / 2b`, of each kind's own
/// scale b. Every word and number is one token.
///
/// ```
/// use eigenlens::cyclic::{CorpusOptions, CyclicCorpus};
/// let corpus = CyclicCorpus::write(&CorpusOptions { tokens: 2_000, ..CorpusOptions::months() })?;
/// assert_eq!(corpus.train().len() + corpus.test().len(), 2_000);
/// assert_eq!(corpus.task().period(), 12);
/// # Ok::<(), eigenlens::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CyclicCorpus {
    options: CorpusOptions,
    task: CyclicTask,
    tokenizer: Tokenizer,
    train: Tokens,
    test: Tokens,
    held_out: BTreeSet<(usize, usize)>,
}

impl CyclicCorpus {
    /// Writes it. The same options give the same text.
    ///
    /// # Errors
    /// [`Error::Invalid`] for words that [`CyclicTask::new`] refuses, with spaces in them, or that
    /// the documents have already, such as `from`; for steps that do not go around once; for parts
    /// that are not fractions or leave no problems; for fewer than 1,000 tokens.
    pub fn write(options: &CorpusOptions) -> Result<Self> {
        options.check()?;
        let task = task(options)?;
        let tokenizer = Tokenizer::of_words(BEGIN, vocabulary(options).iter().map(String::as_str))?;
        let pairs = options.words.len() * options.longest;
        let order = Rng::stream(options.seed, 0).permutation(pairs);
        let count = (pairs as f64 * options.held_out).round() as usize;
        let pair = |at: &u32| (*at as usize / options.longest, *at as usize % options.longest + 1);
        let held_out: BTreeSet<(usize, usize)> = order[..count].iter().map(pair).collect();
        if count == pairs {
            return Err(Error::invalid("the part that is held out", "less than all", count));
        }

        let mut rng = Rng::stream(options.seed, 1);
        let mut tokens = Vec::with_capacity(options.tokens + options.words.len());
        while tokens.len() < options.tokens {
            let document = document(options, &held_out, &mut rng);
            tokens.extend(tokenizer.encode_with_bos(&document)?);
        }
        tokens.truncate(options.tokens);
        let test = tokens.split_off(options.tokens - options.tokens / TEST);
        let (train, test) = (tokens.into(), test.into());
        Ok(Self { options: options.clone(), task, tokenizer, train, test, held_out })
    }

    /// The tokenizer, of whole words.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Tokens to train on.
    pub fn train(&self) -> &Tokens {
        &self.train
    }

    /// Tokens to measure the loss on. They are drawn as those to train on are.
    pub fn test(&self) -> &Tokens {
        &self.test
    }

    /// Whether no problem shows this start with this step.
    pub fn is_held_out(&self, start: usize, step: usize) -> bool {
        self.held_out.contains(&(start, step))
    }

    /// The questions that the problems ask, with steps up to the number of words.
    pub fn task(&self) -> &CyclicTask {
        &self.task
    }

    /// How many answers are right among the pairs that were held out, and of how many.
    pub fn held_out_right(&self, answers: &Answers) -> (usize, usize) {
        answers.right_among(|question| self.is_held_out(question.start, question.step))
    }
}

fn task(options: &CorpusOptions) -> Result<CyclicTask> {
    let words = options.words.iter().map(String::as_str);
    let numbers: Vec<(String, usize)> =
        (1..=options.words.len()).map(|step| (step.to_string(), step)).collect();
    let steps = numbers.iter().map(|(text, step)| (text.as_str(), *step));
    let template = format!("{{step}} {} from {{start}} is", options.unit);
    CyclicTask::new(&options.unit, words, steps, [template.as_str()])
}

/// Every word of every document: those around the circle, numbers, the others.
fn vocabulary(options: &CorpusOptions) -> Vec<String> {
    let mut others = vec![options.unit.as_str(), "from", "is", "In"];
    for word in EVENTS.into_iter().flatten() {
        if !others.contains(&word) {
            others.push(word);
        }
    }
    let numbers = (1..=options.longest).map(|number| number.to_string());
    let others = others.into_iter().map(str::to_owned);
    options.words.iter().cloned().chain(numbers).chain(others).collect()
}

fn document(options: &CorpusOptions, held_out: &BTreeSet<(usize, usize)>, rng: &mut Rng) -> String {
    let (words, period) = (&options.words, options.words.len());
    if f64::from(rng.unit()) < options.diary {
        let first = rng.below(period);
        let second = near(first, options.diary_scale, period, rng);
        let sentence = |word: usize, rng: &mut Rng| {
            format!("In {} {}", words[word], EVENTS[rng.below(EVENTS.len())].join(" "))
        };
        return format!("{} {}", sentence(first, rng), sentence(second, rng));
    }
    loop {
        let (start, step) = (rng.below(period), 1 + rng.below(options.longest));
        if !held_out.contains(&(start, step)) {
            let answer = near((start + step) % period, options.answer_scale, period, rng);
            let (from, to) = (&words[start], &words[answer]);
            return format!("{step} {} from {from} is {to} .", options.unit);
        }
    }
}

/// A word that is a Laplace number of the scale `b` from another, rounded.
fn near(word: usize, b: f64, period: usize, rng: &mut Rng) -> usize {
    // The difference of two exponential numbers is a Laplace one.
    let exponential = |rng: &mut Rng| -f64::from(1.0 - rng.unit()).ln();
    let distance = (exponential(rng) - exponential(rng)) * b;
    (word as i64 + distance.round() as i64).rem_euclid(period as i64) as usize
}

show_as_text!(CyclicCorpus);

impl fmt::Display for CyclicCorpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, tokenizer, train, test, held_out, .. } = self;
        write!(
            f,
            "{} tokens about {} words, {} of them for tests; {} in the vocabulary, {} of {} pairs \
             held out",
            train.len() + test.len(),
            options.words.len(),
            test.len(),
            tokenizer.vocab(),
            held_out.len(),
            options.words.len() * options.longest
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The documents of a corpus, as words.
    fn documents(corpus: &CyclicCorpus) -> Vec<Vec<String>> {
        let mut all: Vec<Vec<String>> = Vec::new();
        for &token in corpus.train().as_slice() {
            let text = corpus.tokenizer().token(token).unwrap();
            if text == BEGIN {
                all.push(Vec::new());
            } else {
                all.last_mut().unwrap().push(text.trim().to_owned());
            }
        }
        all.pop();
        all
    }

    #[test]
    fn documents_are_what_the_options_say() {
        let options = CorpusOptions { tokens: 100_000, ..CorpusOptions::months() };
        let corpus = CyclicCorpus::write(&options).unwrap();
        let place = |word: &str| MONTHS.iter().position(|month| *month == word).unwrap();
        let mut kinds = [0usize; 2];
        let (mut distances, mut errors) = (BTreeMap::<usize, usize>::new(), [0usize; 7]);
        let around = |from: usize, to: usize| {
            let apart = (to + 12 - from) % 12;
            apart.min(12 - apart)
        };
        let mut shown = BTreeSet::new();
        for words in documents(&corpus) {
            if words[0] == "In" {
                kinds[0] += 1;
                *distances.entry(around(place(&words[1]), place(&words[6]))).or_default() += 1;
            } else {
                kinds[1] += 1;
                let step: usize = words[0].parse().unwrap();
                let start = place(&words[3]);
                errors[around((start + step) % 12, place(&words[5]))] += 1;
                assert!(!corpus.is_held_out(start, step), "{words:?}");
                shown.insert((start, step));
            }
        }
        let all: usize = kinds.iter().sum();
        assert!((kinds[0] as f64 / all as f64 - 0.2).abs() < 0.02, "{kinds:?}");
        // Of the 288 pairs 58 are held out, and all others are shown.
        assert_eq!((corpus.held_out.len(), shown.len()), (58, 230));
        // |x| ≤ ½ has the probability 1 − exp(−7/24) = 0.253, and farther ones fall off.
        let diaries = kinds[0] as f64;
        assert!((distances[&0] as f64 / diaries - 0.253).abs() < 0.03, "{distances:?}");
        assert!(distances[&1] > distances[&2] && distances[&2] > distances[&4], "{distances:?}");
        // The same of answers: 1 − exp(−3/4) = 0.528, and exp(−3/4) − exp(−9/4) = 0.367 are next.
        let problems = kinds[1] as f64;
        assert!((errors[0] as f64 / problems - 0.528).abs() < 0.02, "{errors:?}");
        assert!((errors[1] as f64 / problems - 0.367).abs() < 0.02, "{errors:?}");
        let exact = CorpusOptions { answer_scale: 0.0, tokens: 1_000, ..options.clone() };
        for words in documents(&CyclicCorpus::write(&exact).unwrap()) {
            if let Ok(step) = words[0].parse::<usize>() {
                assert_eq!(place(&words[5]), (place(&words[3]) + step) % 12, "{words:?}");
            }
        }
        let again = CyclicCorpus::write(&options).unwrap();
        assert_eq!(again.train().as_slice(), corpus.train().as_slice());
    }

    #[test]
    fn options_that_make_no_text_are_refused() {
        let refused = |change: fn(&mut CorpusOptions)| {
            let mut options = CorpusOptions { tokens: 1_000, ..CorpusOptions::weekdays() };
            change(&mut options);
            CyclicCorpus::write(&options).unwrap_err().to_string()
        };
        assert!(refused(|options| options.longest = 6).contains("at least 7"));
        assert!(refused(|options| options.diary = f64::NAN).contains("diaries"));
        assert!(refused(|options| options.diary = 1.0).contains("less than 1"));
        assert!(refused(|options| options.answer_scale = f64::NAN).contains("scale of answers"));
        assert!(refused(|options| options.diary_scale = -1.0).contains("scale of diaries"));
        assert!(refused(|options| options.held_out = 1.0).contains("held out"));
        assert!(refused(|options| options.tokens = 10).contains("1,000"));
        assert!(refused(|options| options.words.truncate(2)).contains("at least 3"));
        assert!(refused(|options| options.words[0] = "two words".into()).contains("two words"));
        assert!(refused(|options| options.words[0] = "from".into()).contains("from"));
    }
}
