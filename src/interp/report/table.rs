//! Reports as they are shown.

use std::fmt;

use super::{FeatureScore, Report, Scoring};
use crate::display::{MimeBundle, ShownCell, ShownColumn, ShownTable, rows_to_show};
use crate::geometry::Interval;

/// Features that are shown of a longer list.
const MOST_ROWS: usize = 20;
const NONE: &str = "–";

impl Report {
    /// Shows the tables of scores as the value of a cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).html(self.tables()).show_as_result();
    }

    /// Both tables as HTML.
    pub(super) fn tables(&self) -> String {
        let accuracies = self.accuracy_table().caption(self.heading()).note(self.note());
        format!("{}{}", accuracies.html(), self.feature_table().html())
    }

    fn heading(&self) -> String {
        let (unread, all) = self.unparsed();
        let features = self.data.features.len();
        format!(
            "{features} features, explained and judged by {}: {unread} of {all} answers could not be \
             read",
            self.model()
        )
    }

    fn note(&self) -> String {
        let mut note = "95 % by feature; decile 1 has the strongest activations".to_owned();
        if self.scorings().contains(&Scoring::Fuzzing) {
            note.push_str("; in fuzzing the first row is of texts with wrong marks");
        }
        for (count, what) in [
            (self.too_rare().len(), "features with too few contexts"),
            (self.rarely_silent().len(), "features that are rarely silent"),
        ] {
            if count > 0 {
                note.push_str(&format!("; {what}: {count}"));
            }
        }
        note.push('.');
        note
    }

    /// The share of right answers by group of texts, and the means over features.
    fn accuracy_table(&self) -> ShownTable {
        let scorings = self.scorings();
        let columns = scorings.iter().map(|scoring| ShownColumn::right(scoring.to_string()));
        let columns =
            std::iter::once(ShownColumn::left("right answers").naming_rows()).chain(columns);
        let mut shown = ShownTable::new(columns);
        let shares: Vec<Option<Vec<Interval>>> =
            scorings.iter().map(|scoring| self.accuracies(*scoring).ok()).collect();
        for group in 0..=self.deciles() {
            let name = match group {
                0 => "without the feature".to_owned(),
                decile => format!("decile {decile}"),
            };
            let cells =
                shares.iter().map(|own| own.as_ref().and_then(|own| own.get(group)).copied());
            shown.push(std::iter::once(name).chain(cells.map(in_percent)));
        }
        let balanced =
            scorings.iter().map(|scoring| in_percent(self.balanced_accuracy(*scoring).ok()));
        shown.push(std::iter::once("balanced accuracy".to_owned()).chain(balanced));
        let areas: Vec<Option<Interval>> =
            scorings.iter().map(|scoring| self.auroc(*scoring)).collect();
        if areas.iter().any(Option::is_some) {
            let areas = areas.into_iter().map(in_percent);
            shown.push(std::iter::once("area under the curve".to_owned()).chain(areas));
        }
        shown
    }

    /// The features with their explanations and balanced accuracies.
    fn feature_table(&self) -> ShownTable {
        let scorings = self.scorings();
        let columns = scorings.iter().map(|scoring| ShownColumn::right(scoring.to_string()));
        let columns = std::iter::once(ShownColumn::right("feature"))
            .chain(columns)
            .chain([ShownColumn::right("unread")])
            .chain([ShownColumn::left("explanation").css("text-align:left")]);
        let mut shown = ShownTable::new(columns);
        let features = self.feature_scores();
        for row in rows_to_show(features.len(), MOST_ROWS) {
            let Some(own) = row.and_then(|row| features.get(row)) else {
                shown.push_gap(None);
                continue;
            };
            let scores = scorings.iter().map(|scoring| balanced(own, *scoring));
            let words = own.explanation.as_deref().unwrap_or("could not be read");
            let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
            let cells = std::iter::once(own.feature.to_string())
                .chain(scores)
                .chain([own.unparsed.to_string(), words]);
            shown.push(cells.map(ShownCell::from));
        }
        shown
    }
}

/// A feature's balanced accuracy.
fn balanced(own: &FeatureScore, scoring: Scoring) -> String {
    let score = match scoring {
        Scoring::Detection => own.detection,
        Scoring::Fuzzing => own.fuzzing,
    };
    score.map_or_else(|| NONE.to_owned(), |share| format!("{} %", percent(share)))
}

/// A share with its interval, if it has one.
fn in_percent(share: Option<Interval>) -> String {
    let Some(own) = share else { return NONE.to_owned() };
    let [mean, lower, upper] = [own.mean, own.lower, own.upper].map(percent);
    match own.lower.is_finite() && own.upper.is_finite() {
        true => format!("{mean} % ({lower} to {upper})"),
        false => format!("{mean} %"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0}", 100.0 * share)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accuracies, features) = (self.accuracy_table().text(), self.feature_table().text());
        write!(f, "{}\n{accuracies}\n{}\n\n{features}", self.heading(), self.note())
    }
}
