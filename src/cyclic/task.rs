//! Questions about words that go around: weekdays, months, hours.

use std::fmt;

use super::shuffle::numpy_order;
use crate::display::show_as_text;
use crate::text::{MONTHS, WEEKDAYS};
use crate::{Error, Result};

/// What a template has in place of the word that a question starts from.
const START: &str = "{start}";
/// What a template has in place of the step.
const STEP: &str = "{step}";
/// The seed of the original's order.
const ORIGINAL_SEED: u32 = 42;

const NUMBERS: [&str; 12] = [
    "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven",
    "Twelve",
];

/// Questions whose answer is some steps further around a circle of words.
///
/// With p words numbered from 0, a question has a start α, a step β and the answer (α + β) mod p.
///
/// ```
/// use eigenlens::cyclic::{CyclicTask, QuestionOrder};
/// # fn main() -> eigenlens::Result<()> {
/// let questions = CyclicTask::weekdays().questions(QuestionOrder::Grid);
/// assert_eq!(questions.len(), 49);
/// assert!(questions[8].prompt.ends_with("Two days from Tuesday is"));
/// assert_eq!((questions[8].start, questions[8].step, questions[8].answer), (1, 2, 3));
///
/// let seasons = ["spring", "summer", "autumn", "winter"];
/// let next = CyclicTask::new("seasons", seasons, [("", 1)], ["It is {start}. Next it will be"])?;
/// assert_eq!(next.questions(QuestionOrder::Grid).len(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CyclicTask {
    name: String,
    words: Vec<String>,
    steps: Vec<StepPhrase>,
    templates: Vec<String>,
}

/// How a step is written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StepPhrase {
    /// What stands before the whole prompt.
    lead: &'static str,
    /// The number, whose last token is the step's position.
    number: String,
    /// What follows the number: ` days`.
    unit: &'static str,
    amount: usize,
}

/// The order of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QuestionOrder {
    /// Template by template, start by start, step by step.
    #[default]
    Grid,
    /// Shuffled as by Engels et al. (2024), with NumPy's generator and the seed 42.
    Original,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The text, which the answer follows.
    pub prompt: String,
    /// The word that it starts from, α.
    pub start: usize,
    /// How far on, β.
    pub step: usize,
    /// The answer, (α + β) mod p.
    pub answer: usize,
    /// The template that it was made of.
    pub template: usize,
    /// The prompt's length in bytes up to the end of the start.
    pub(super) start_end: usize,
    /// The same for the number of the step, if the template has one.
    pub(super) step_end: Option<usize>,
}

impl CyclicTask {
    /// `Let's do some days of the week math. Two days from Monday is`, with one to seven days: 49
    /// questions. After Engels et al. (2024), whose prompts these are.
    pub fn weekdays() -> Self {
        let unit = |amount: usize| if amount == 1 { " day" } else { " days" };
        let template = "Let's do some days of the week math. {step} from {start} is";
        Self::counted("weekdays", &WEEKDAYS, |_| "", unit, &[template])
    }

    /// `Let's do some calendar math. Two months from January is`, with one to twelve months: 144
    /// questions. After Engels et al. (2024), who write `One months` too.
    pub fn months() -> Self {
        let template = "Let's do some calendar math. {step} months from {start} is";
        Self::counted("months", &MONTHS, |_| "", |_| "", &[template])
    }

    /// [`CyclicTask::months`] as the original asks Mistral 7B: with `. ` in front, except of nine,
    /// eleven and twelve months, so that all prompts have as many of its tokens.
    pub fn months_for_mistral() -> Self {
        let lead = |amount: usize| if [9, 11, 12].contains(&amount) { "" } else { ". " };
        let template = "Let's do some calendar math. {step} months from {start} is";
        Self::counted("months", &MONTHS, lead, |_| "", &[template])
    }

    /// The next weekday, four ways to ask: a question that models too small for arithmetic answer.
    pub fn next_day() -> Self {
        let templates = [
            "It is {start} today. Tomorrow it will be",
            "Today is {start}. Tomorrow is",
            "This day is {start}. The next day is",
            "If today is {start}, then tomorrow is",
        ];
        Self::next("next day", &WEEKDAYS, &templates)
    }

    /// The next month, four ways to ask: a question that models too small for arithmetic answer.
    pub fn next_month() -> Self {
        let templates = [
            "It is {start} now. Next month it will be",
            "This month is {start}. Next month is",
            "We are in {start}. The next month is",
            "If this month is {start}, then next month is",
        ];
        Self::next("next month", &MONTHS, &templates)
    }

    fn counted(
        name: &str,
        words: &[&str],
        lead: fn(usize) -> &'static str,
        unit: fn(usize) -> &'static str,
        templates: &[&str],
    ) -> Self {
        let step = |amount: usize| StepPhrase {
            lead: lead(amount),
            number: NUMBERS[amount - 1].to_owned(),
            unit: unit(amount),
            amount,
        };
        let steps = (1..=words.len()).map(step).collect();
        Self::of(name, words, steps, templates)
    }

    fn next(name: &str, words: &[&str], templates: &[&str]) -> Self {
        let step = StepPhrase { lead: "", number: String::new(), unit: "", amount: 1 };
        Self::of(name, words, vec![step], templates)
    }

    fn of(name: &str, words: &[&str], steps: Vec<StepPhrase>, templates: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self { name: name.to_owned(), words: owned(words), steps, templates: owned(templates) }
    }

    /// Questions about any `words` in their order around the circle. `steps` are a text and an amount
    /// each; a template has `{start}` in place of the word, and `{step}` in place of the text of the
    /// step. If no template has a step, there is one step with any text.
    ///
    /// Prompts should end where a space and the answer can follow.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than three words, empty or equal ones; for no steps or templates;
    /// for a template with another number of `{start}` than one or of `{step}` than the others; for
    /// steps that no template shows.
    pub fn new<'a>(
        name: &str,
        words: impl IntoIterator<Item = &'a str>,
        steps: impl IntoIterator<Item = (&'a str, usize)>,
        templates: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let words: Vec<&str> = words.into_iter().collect();
        let steps: Vec<(&str, usize)> = steps.into_iter().collect();
        let templates: Vec<&str> = templates.into_iter().collect();
        if words.len() < 3 {
            return Err(Error::invalid("the words", "at least 3, to go around", words.len()));
        }
        for (i, word) in words.iter().enumerate() {
            if word.trim().is_empty() || words[..i].contains(word) {
                let expected = "different from each other and not empty";
                return Err(Error::invalid("the words", expected, format!("{word:?}")));
            }
        }
        if steps.is_empty() || templates.is_empty() {
            let what = if steps.is_empty() { "the steps" } else { "the templates" };
            return Err(Error::invalid(what, "at least one", "none"));
        }
        let counts = templates.iter().map(|template| template.matches(STEP).count());
        let shown = counts.max().unwrap_or(0);
        for template in &templates {
            let wrong = |part| template.matches(part).count() != 1;
            if wrong(START) || shown > 0 && wrong(STEP) {
                let all = if shown > 0 { "`{start}` and `{step}`" } else { "`{start}`" };
                let expected = format!("a text with {all} once");
                return Err(Error::invalid("a template", expected, format!("{template:?}")));
            }
        }
        if shown == 0 && steps.len() > 1 {
            let expected = "one, because no template has `{step}`";
            return Err(Error::invalid("the number of steps", expected, steps.len()));
        }
        if shown > 0
            && let Some((_, amount)) = steps.iter().find(|(text, _)| text.trim().is_empty())
        {
            return Err(Error::invalid(format!("the text of the step {amount}"), "a text", "none"));
        }
        let phrase = |(text, amount): (&str, usize)| StepPhrase {
            lead: "",
            number: text.to_owned(),
            unit: "",
            amount,
        };
        Ok(Self::of(name, &words, steps.into_iter().map(phrase).collect(), &templates))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The words in their order around the circle.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// p, the number of words.
    pub fn period(&self) -> usize {
        self.words.len()
    }

    /// The amounts of all steps.
    pub fn steps(&self) -> Vec<usize> {
        self.steps.iter().map(|step| step.amount).collect()
    }

    /// Every question: each template with each start and each step.
    pub fn questions(&self, order: QuestionOrder) -> Vec<Question> {
        let mut grid = Vec::new();
        for template in 0..self.templates.len() {
            for start in 0..self.period() {
                grid.extend(self.steps.iter().map(|step| self.question(template, start, step)));
            }
        }
        match order {
            QuestionOrder::Grid => grid,
            QuestionOrder::Original => {
                let order = numpy_order(ORIGINAL_SEED, grid.len());
                order.into_iter().map(|at| grid[at].clone()).collect()
            }
        }
    }

    fn question(&self, template: usize, start: usize, step: &StepPhrase) -> Question {
        let mut prompt = step.lead.to_owned();
        let (mut start_end, mut step_end) = (0, None);
        let mut rest = self.templates[template].as_str();
        while let Some(at) = rest.find('{') {
            prompt.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix(START) {
                prompt.push_str(&self.words[start]);
                start_end = prompt.len();
                rest = after;
            } else if let Some(after) = rest.strip_prefix(STEP) {
                prompt.push_str(&step.number);
                step_end = Some(prompt.len());
                prompt.push_str(step.unit);
                rest = after;
            } else {
                prompt.push('{');
                rest = &rest[1..];
            }
        }
        prompt.push_str(rest);
        let answer = (start + step.amount) % self.period();
        Question { prompt, start, step: step.amount, answer, template, start_end, step_end }
    }
}

show_as_text!(CyclicTask);

impl fmt::Display for CyclicTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let questions = self.questions(QuestionOrder::Grid);
        let first = questions.first().map_or("", |question| question.prompt.as_str());
        let answer = questions.first().map_or(0, |question| question.answer);
        write!(
            f,
            "{}: {} questions about {} words, such as {first:?} ({})",
            self.name,
            questions.len(),
            self.period(),
            self.words[answer]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_words_are_known() {
        for task in [CyclicTask::months_for_mistral(), CyclicTask::weekdays()] {
            for question in task.questions(QuestionOrder::Original) {
                let start = &question.prompt[..question.start_end];
                assert!(start.ends_with(&task.words()[question.start]));
                let step = &question.prompt[..question.step_end.unwrap()];
                assert!(step.ends_with(NUMBERS[question.step - 1]));
                assert_eq!(question.answer, (question.start + question.step) % task.period());
            }
        }
        let questions = CyclicTask::months_for_mistral().questions(QuestionOrder::Grid);
        assert_eq!(
            questions[0].prompt,
            ". Let's do some calendar math. One months from January is"
        );
        assert!(questions[8].prompt.starts_with("Let's") && questions[8].step == 9);
        let next = CyclicTask::next_month();
        let questions = next.questions(QuestionOrder::Grid);
        assert_eq!((questions.len(), questions[11].answer), (48, 0));
        assert_eq!(questions[11].prompt, "It is December now. Next month it will be");
        assert!(questions.iter().all(|question| question.step_end.is_none()));
        assert!(CyclicTask::weekdays().to_string().contains("49 questions about 7 words"));
    }

    #[test]
    fn tasks_of_ones_own_are_checked() {
        let words = ["north", "east", "south", "west"];
        let of = |words: &[&'static str],
                  steps: &[(&'static str, usize)],
                  templates: &[&'static str]| {
            CyclicTask::new("turns", words.to_vec(), steps.to_vec(), templates.to_vec())
        };
        let task = of(&words, &[("one", 1), ("three", 3)], &["Turn {step} from {start} {ok}:"]);
        let questions = task.unwrap().questions(QuestionOrder::Grid);
        assert_eq!(questions[3].prompt, "Turn three from east {ok}:");
        assert_eq!((questions.len(), questions[3].answer), (8, 0));
        let text = |words: &[&'static str],
                    steps: &[(&'static str, usize)],
                    templates: &[&'static str]| {
            of(words, steps, templates).unwrap_err().to_string()
        };
        let one = [("", 1)];
        assert!(text(&words[..2], &one, &["{start}"]).contains("at least 3"));
        assert!(text(&["a", "b", "a"], &one, &["{start}"]).contains("different"));
        assert!(text(&words, &[], &["{start}"]).contains("the steps"));
        assert!(text(&words, &one, &[]).contains("the templates"));
        assert!(text(&words, &one, &["no word"]).contains("`{start}` once"));
        assert!(text(&words, &one, &["{start} {start}"]).contains("`{start}` once"));
        assert!(text(&words, &one, &["{step} {start}"]).contains("the text of the step 1"));
        let two = [("one", 1), ("two", 2)];
        assert!(text(&words, &two, &["{start}"]).contains("no template has `{step}`"));
        let mixed = ["{start} {step}", "{start}"];
        assert!(text(&words, &two, &mixed).contains("`{start}` and `{step}`"));
    }
}
