//! How well explanations of features tell texts apart.

use crate::geometry::Interval;
use crate::interp::{Report, Scoring};
use crate::plot::{Figure, Mark, Panel, PanelBlock, SERIES, Series, Style};
use crate::{Error, Result};

/// Plotting area: height, and width of a group of texts.
const HEIGHT: f64 = 280.0;
const GROUP: f64 = 42.0;
const LEAST_WIDTH: f64 = 260.0;
/// How far the series of a group stand apart, and how far they reach together at most.
const APART: f64 = 0.12;
const REACH: f64 = 0.6;
/// What guessing gets right.
const CHANCE: f64 = 0.5;
const TITLE: &str = "How well explanations tell texts apart";

/// A series of a figure: its name, and the share of right answers of each group, as
/// [`Report::accuracies`] has them.
type GroupShares = (String, Vec<Interval>);

impl Report {
    /// Draws the share of right answers for texts without the feature and for each decile of its
    /// activation, from the weakest to the strongest, as in figure 8 of Engels, Riggs and Tegmark
    /// (2024), with intervals over features: detection and fuzzing as two series. The dashed line is what guessing gets right.
    ///
    /// # Errors
    /// As [`Report::accuracies`], of every way of scoring.
    pub fn plot(&self) -> Result<Figure> {
        let named = |scoring: Scoring| -> Result<GroupShares> {
            Ok((scoring.to_string(), self.accuracies(scoring)?))
        };
        let series = self.scorings().into_iter().map(named).collect::<Result<Vec<_>>>()?;
        if series.is_empty() {
            return Err(Error::invalid("the ways of scoring", "at least one", "none"));
        }
        Ok(Figure::single(groups(&series, self.deciles(), true)).title(TITLE))
    }

    /// Draws the same for several interpretations: a series a report, and a panel a way of scoring, of
    /// those that all reports have. Names tell them apart: of models that judged, or of autoencoders.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no reports, different numbers of deciles, or no way of scoring that all
    /// have; those of [`Report::accuracies`].
    pub fn compare(reports: &[(&str, &Self)]) -> Result<Figure> {
        let Some((_, first)) = reports.first() else {
            return Err(Error::invalid("the reports", "at least one", "none"));
        };
        let deciles = first.deciles();
        if let Some((name, other)) = reports.iter().find(|(_, own)| own.deciles() != deciles) {
            let expected = format!("{deciles} for all, \"{name}\" too");
            return Err(Error::invalid("the number of deciles", expected, other.deciles()));
        }
        let scorings = first
            .scorings()
            .into_iter()
            .filter(|scoring| reports.iter().all(|(_, own)| own.scorings().contains(scoring)));
        let mut panels = Vec::new();
        for scoring in scorings {
            let of = |(name, own): &(&str, &Self)| -> Result<GroupShares> {
                Ok(((*name).to_owned(), own.accuracies(scoring)?))
            };
            let series = reports.iter().map(of).collect::<Result<Vec<_>>>()?;
            // One legend is enough.
            let panel = groups(&series, deciles, panels.is_empty());
            panels.push(Panel { title: Some(scoring.to_string()), ..panel });
        }
        if panels.is_empty() {
            let expected = "at least one that all reports have";
            return Err(Error::invalid("the ways of scoring", expected, "none"));
        }
        Ok(Figure::of(PanelBlock::of(panels, 1), Vec::new()).title(TITLE))
    }
}

/// A panel of groups of texts: those without the feature, and deciles from the weakest.
fn groups(series: &[GroupShares], deciles: usize, has_names: bool) -> Panel {
    let order: Vec<usize> = std::iter::once(0).chain((1..=deciles).rev()).collect();
    let label = |group: &usize| match group {
        0 => "without".to_owned(),
        decile => decile.to_string(),
    };
    let labels: Vec<String> = order.iter().map(label).collect();
    let width = (GROUP * order.len() as f64).max(LEAST_WIDTH);
    let mut panel = Panel { size: (width, HEIGHT), ..Panel::default() };
    let ends = (-0.6, order.len() as f64 - 0.4);
    let chance = Series::new(Style::Line, "", vec![ends.0, ends.1], vec![CHANCE; 2]);
    let chance = Series { dotted: false, ..chance.looks(SERIES[6], 1) };
    let texts = Some(vec!["guessing".to_owned(); 2]);
    panel.marks.push(Mark::Series(Series { texts, ..chance }));
    let apart = APART.min(REACH / series.len().max(1) as f64);
    for (at, (name, shares)) in series.iter().enumerate() {
        let shift = apart * (at as f64 - (series.len() - 1) as f64 / 2.0);
        let own: Vec<&Interval> = order.iter().filter_map(|group| shares.get(*group)).collect();
        let x = (0..own.len()).map(|place| place as f64 + shift).collect();
        let y = own.iter().map(|share| share.mean).collect();
        let ends = own.iter().map(|share| (share.lower, share.upper)).unzip();
        let texts = labels.iter().map(|label| match label.parse::<usize>() {
            Ok(decile) => format!("{name}, decile {decile}"),
            Err(_) => format!("{name}, without the feature or with wrong marks"),
        });
        let texts = Some(texts.collect());
        let points = Series::new(Style::Points, if has_names { name.as_str() } else { "" }, x, y);
        let points = points.looks(SERIES[at % SERIES.len()], at).whiskers(ends);
        panel.marks.push(Mark::Series(Series { texts, ..points }));
    }
    panel.x.whole = true;
    panel.x.range = Some(ends);
    panel.x.labels = Some(labels);
    panel.x.title = Some("decile of the activation, 1 the strongest".to_owned());
    panel.y.range = Some((0.0, 1.05));
    panel.y.title = Some("share of right answers".to_owned());
    panel
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plot::tests::{json_of, message};

    #[test]
    fn groups_stand_from_the_weakest_to_the_strongest_with_intervals() -> Result<()> {
        let own = Report::of_tests(&[Scoring::Detection, Scoring::Fuzzing], 4);
        let figure = own.plot()?;
        let json = json_of(&figure);
        let data = json["data"].as_array().unwrap();
        assert_eq!(data.len(), 3, "guessing, detection, fuzzing");
        let accuracies = own.accuracies(Scoring::Detection)?;
        let expected: Vec<f64> = [0, 3, 2, 1].iter().map(|group| accuracies[*group].mean).collect();
        assert_eq!(data[1]["y"], json!(expected));
        assert_eq!(data[1]["customdata"][0], json!([accuracies[0].lower, accuracies[0].upper]));
        assert_eq!(data[1]["hovertext"][0], "detection, without the feature or with wrong marks");
        assert_eq!(data[1]["hovertext"][1], "detection, decile 3");
        assert_ne!(data[1]["marker"]["symbol"], data[2]["marker"]["symbol"]);
        assert!(figure.to_svg().contains("fuzzing"));
        Ok(())
    }

    #[test]
    fn a_single_feature_has_points_without_intervals() -> Result<()> {
        let json = json_of(&Report::of_tests(&[Scoring::Detection], 1).plot()?);
        assert_eq!(json["data"][1]["y"].as_array().unwrap().len(), 4);
        assert_eq!(json["data"][1]["error_y"]["array"], json!([null, null, null, null]));
        Ok(())
    }

    #[test]
    fn reports_are_compared_in_a_panel_a_way_of_scoring() -> Result<()> {
        let both = [Scoring::Detection, Scoring::Fuzzing];
        let (one, other) = (Report::of_tests(&both, 3), Report::of_tests(&both, 4));
        let figure = Report::compare(&[("judge", &one), ("model", &other)])?;
        let json = json_of(&figure);
        let data = json["data"].as_array().unwrap();
        assert_eq!(data.len(), 6, "two panels of guessing and two reports");
        let shares = other.accuracies(Scoring::Fuzzing)?;
        assert_eq!(data[5]["y"][0], json!(shares[0].mean));
        assert_eq!(data[5]["hovertext"][3], "model, decile 1");
        assert_ne!(data[1]["marker"]["symbol"], data[2]["marker"]["symbol"]);
        let half = Report::of_tests(&both[..1], 4);
        let json = json_of(&Report::compare(&[("judge", &one), ("model", &half)])?);
        assert_eq!(json["data"].as_array().unwrap().len(), 3, "detection alone is in both");
        let fuzzing = Report::of_tests(&both[1..], 4);
        assert!(message(Report::compare(&[("a", &half), ("b", &fuzzing)])).contains("all reports"));
        assert!(message(Report::compare(&[])).contains("at least one"));
        Ok(())
    }
}
