//! Text about words that go around, for a model to learn their order from.

use std::collections::BTreeSet;
use std::fmt;

use super::answers::Answers;
use super::task::{CyclicTask, MONTHS, WEEKDAYS};
use crate::check::check_fraction;
use crate::data::text::{Tokenizer, Tokens};
use crate::display::show_as_text;
use crate::random::Rng;
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
    /// The longest step; 48. Steps beyond the number of words are what makes a model compute with
    /// an angle: with shorter ones it can know every pair by heart.
    pub longest: usize,
    /// The part of the documents that are diaries, `In May it rained . In July we met .`, whose
    /// second word is near the first; 0.3. Without them no order of the words is likelier than
    /// any other that makes the same sums.
    pub diary: f64,
    /// The part that are recitations, `March April May`; 0.15. The rest are problems.
    pub recitation: f64,
    /// The part of all pairs of a start and a step that no problem shows; 0.2.
    pub held_out: f64,
    /// Tokens; 400,000, of which the last twentieth is for tests.
    pub tokens: usize,
    /// Seed of everything that is drawn; 0.
    pub seed: u64,
}

impl CorpusOptions {
    /// The options for the months, to which the defaults belong.
    pub fn months() -> Self {
        Self::of(&MONTHS, "months", 48)
    }

    /// The options for the weekdays, with steps of up to 56 days.
    pub fn weekdays() -> Self {
        Self::of(&WEEKDAYS, "days", 56)
    }

    fn of(words: &[&str], unit: &str, longest: usize) -> Self {
        Self {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            unit: unit.to_owned(),
            longest,
            diary: 0.3,
            recitation: 0.15,
            held_out: 0.2,
            tokens: 400_000,
            seed: 0,
        }
    }

    fn check(&self) -> Result<()> {
        if self.longest < self.words.len() {
            let expected = format!("at least {}, once around", self.words.len());
            return Err(Error::invalid("the longest step", expected, self.longest));
        }
        check_fraction("the part of diaries", self.diary)?;
        check_fraction("the part of recitations", self.recitation)?;
        check_fraction("the part of the pairs that is held out", self.held_out)?;
        if self.diary + self.recitation >= 1.0 {
            let expected = "less than 1 together, so that there are problems";
            let found = format!("{} and {}", self.diary, self.recitation);
            return Err(Error::invalid("the parts of diaries and recitations", expected, found));
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
/// Each document begins with `<bos>` and is one of three kinds: a problem, such as
/// `17 months from May is October .`; a diary, whose second word is `round(x)` places from the
/// first, with x from a Laplace distribution of scale p/7; a recitation of 2 to p words in order.
/// Every word and number is one token.
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
    let kind = f64::from(rng.unit());
    if kind < options.diary {
        let first = rng.below(period);
        // The difference of two exponential numbers is a Laplace one.
        let exponential = |rng: &mut Rng| -f64::from(1.0 - rng.unit()).ln();
        let distance = (exponential(rng) - exponential(rng)) * period as f64 / 7.0;
        let second = (first as i64 + distance.round() as i64).rem_euclid(period as i64) as usize;
        let sentence = |word: usize, rng: &mut Rng| {
            format!("In {} {}", words[word], EVENTS[rng.below(EVENTS.len())].join(" "))
        };
        return format!("{} {}", sentence(first, rng), sentence(second, rng));
    }
    if kind < options.diary + options.recitation {
        let (first, count) = (rng.below(period), 2 + rng.below(period - 1));
        let names: Vec<&str> =
            (first..first + count).map(|word| words[word % period].as_str()).collect();
        return names.join(" ");
    }
    loop {
        let (start, step) = (rng.below(period), 1 + rng.below(options.longest));
        if !held_out.contains(&(start, step)) {
            let (from, to) = (&words[start], &words[(start + step) % period]);
            return format!("{step} {} from {from} is {to} .", options.unit);
        }
    }
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
        let (mut kinds, mut distances) = ([0usize; 3], BTreeMap::<usize, usize>::new());
        let mut shown = BTreeSet::new();
        for words in documents(&corpus) {
            if words[0] == "In" {
                kinds[0] += 1;
                let apart = (place(&words[6]) + 12 - place(&words[1])) % 12;
                *distances.entry(apart.min(12 - apart)).or_default() += 1;
            } else if MONTHS.contains(&words[0].as_str()) {
                kinds[1] += 1;
                assert!((2..=12).contains(&words.len()), "{words:?}");
                let in_order = |pair: &[String]| (place(&pair[0]) + 1) % 12 == place(&pair[1]);
                assert!(words.windows(2).all(in_order), "{words:?}");
            } else {
                kinds[2] += 1;
                let step: usize = words[0].parse().unwrap();
                let start = place(&words[3]);
                assert_eq!(place(&words[5]), (start + step) % 12, "{words:?}");
                assert!(!corpus.is_held_out(start, step), "{words:?}");
                shown.insert((start, step));
            }
        }
        let all: usize = kinds.iter().sum();
        let share = |kind: usize| kinds[kind] as f64 / all as f64;
        assert!((share(0) - 0.3).abs() < 0.02 && (share(1) - 0.15).abs() < 0.02, "{kinds:?}");
        // Of the 576 pairs 115 are held out; nearly all others are shown.
        assert_eq!(corpus.held_out.len(), 115);
        assert!(shown.len() > 450 && shown.len() <= 461, "{}", shown.len());
        // |x| ≤ ½ has the probability 1 − exp(−7/24) = 0.253, and farther ones fall off.
        let diaries = kinds[0] as f64;
        assert!((distances[&0] as f64 / diaries - 0.253).abs() < 0.03, "{distances:?}");
        assert!(distances[&1] > distances[&2] && distances[&2] > distances[&4], "{distances:?}");
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
        assert!(refused(|options| options.recitation = 0.8).contains("less than 1 together"));
        assert!(refused(|options| options.held_out = 1.0).contains("held out"));
        assert!(refused(|options| options.tokens = 10).contains("1,000"));
        assert!(refused(|options| options.words.truncate(2)).contains("at least 3"));
        assert!(refused(|options| options.words[0] = "two words".into()).contains("two words"));
        assert!(refused(|options| options.words[0] = "from".into()).contains("from"));
    }
}
