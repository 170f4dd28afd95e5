//! Examples of tasks with their answers, which come before a task.

use super::shown::ShownExcerpt;

/// Texts with marked tokens, and what explains them.
pub(super) struct ExplainShot {
    pub(super) examples: Vec<ShownExcerpt>,
    pub(super) explanation: &'static str,
}

/// An explanation, and texts of which some fit it.
pub(super) struct JudgeShot {
    pub(super) explanation: &'static str,
    pub(super) texts: Vec<ShownExcerpt>,
    pub(super) labels: Vec<bool>,
}

const DAYS: &str = "names of days of the week";
const QUANTITIES: &str = "numbers directly before a unit of measurement, in prose and in code";
const RIVERS: &str = "words for parts of a river and for the land beside it";

/// In these texts `|` is between tokens, and `=7` follows a token at which the feature has the
/// activation 7.
const EXPLAINED: [(&str, [&str; 3]); 3] = [
    (
        DAYS,
        [
            "The| library| stays| closed| on| Mondays=9|,| but| the| café| opens| at| nine|.",
            "We| meet| again| next| Thursday=10|,| right| after| the| exam|.",
            "From| Friday=8| evening| until| Sunday=9| the| bridge| is| blocked|.",
        ],
    ),
    (
        QUANTITIES,
        [
            "Let| it| boil| for| 12=8| minutes|,| then| add| 3=7| spoons| of| salt|.",
            "The| ridge| is| 840=10| metres| high|,| and| chapter| 5| tells| how| they| got| there|.",
            ".|box| {|\n| margin|:| 4=7|em|;|\n| border|:| 20=8|px| solid|;|\n|}",
        ],
    ),
    (
        RIVERS,
        [
            "They| walked| along| the| muddy=4| bank=10| of| the| stream=7|.",
            "Reeds| grew| on| both| shores=9|,| and| a| heron| stood| in| the| shallows=8|.",
            "Below| the| weir=6| the| current=6| is| too| strong=2| to| swim|.",
        ],
    ),
];

const DETECTED: [(&str, &[(&str, bool)]); 2] = [
    (
        DAYS,
        &[
            ("The shop opens again on Tuesday at eight.", true),
            ("She said that the holidays had been too short.", false),
            (" on the last day of the month, payments are due", false),
        ],
    ),
    (
        QUANTITIES,
        &[
            ("Chapter 7 begins with a storm at sea.\n\nThe crew", false),
            (" a pipe of 35 mm, cut to length", true),
            ("outline: 2px solid red; /* thin */", true),
            ("In 1848 the king left the city.", false),
            (" about 6 kg of flour, sifted twice", true),
        ],
    ),
];

/// A marked token is one with an activation.
const FUZZED: [(&str, &[(&str, bool)]); 2] = [
    (
        RIVERS,
        &[
            ("The| boat| drifted| past| the| old| weir=1| into| the| estuary=1|.", true),
            ("He| paid=1| the| money| in| at| the| bank|,| and| left=1|.", false),
            ("Nobody| had| crossed=1| the| river| here=1| before|.", false),
        ],
    ),
    (
        DAYS,
        &[
            ("Every| Wednesday=1| they| play| cards|.", true),
            ("See| you=1| on| Saturday|!", false),
            ("Both| Monday=1| and| Tuesday=1| are| taken|.", true),
            ("The| week=1| begins| on| a| Monday|.", false),
        ],
    ),
];

/// Examples of explaining.
pub(super) fn explained() -> Vec<ExplainShot> {
    let shot = |&(explanation, texts): &(&'static str, [&str; 3])| ExplainShot {
        examples: texts.iter().map(|text| excerpt(text)).collect(),
        explanation,
    };
    EXPLAINED.iter().map(shot).collect()
}

/// Examples of telling texts with a feature from others.
pub(super) fn detected() -> Vec<JudgeShot> {
    judged(&DETECTED)
}

/// Examples of telling right marks from wrong ones.
pub(super) fn fuzzed() -> Vec<JudgeShot> {
    judged(&FUZZED)
}

fn judged(shots: &[(&'static str, &[(&str, bool)])]) -> Vec<JudgeShot> {
    let shot = |&(explanation, texts): &(&'static str, &[(&str, bool)])| JudgeShot {
        explanation,
        texts: texts.iter().map(|(text, _)| excerpt(text)).collect(),
        labels: texts.iter().map(|(_, label)| *label).collect(),
    };
    shots.iter().map(shot).collect()
}

/// The tokens of one of the texts above.
fn excerpt(text: &str) -> ShownExcerpt {
    let token = |part: &str| {
        let active = part.rsplit_once('=').and_then(|(token, value)| {
            let value: f32 = value.parse().ok()?;
            Some((token.to_owned(), value))
        });
        active.unwrap_or_else(|| (part.to_owned(), 0.0))
    };
    let (tokens, activations) = text.split('|').map(token).unzip();
    ShownExcerpt { tokens, activations }
}
