//! How much of an error, and of its norm, a linear map of the activation predicts.

use crate::plot::{
    Figure, Mark, Panel, PanelBlock, SERIES, Series, StripPoint, StripSeries, Style, bar, strips,
};
use crate::sae_error::{LinearNull, NormTarget, NormTest, NormTestRow, NullDirection};
use crate::{Error, Result};

/// What a figure shows of a test.
type NormValue = fn(&NormTestRow) -> Option<f64>;

/// Plotting area of each of two panels side by side.
const HALF: (f64, f64) = (320.0, 320.0);
/// Size of a panel of layers.
const LAYERS: (f64, f64) = (480.0, 320.0);

impl LinearNull {
    /// Draws two panels. At the left, a point for each principal direction of the activation: R² of the
    /// error along it against the share of the variance along it that is error. If reconstruction and
    /// error are uncorrelated and vary along the same directions, the points are on the dashed line. At
    /// the right, R² of the best map of each rank; broken lines are what the covariances alone imply,
    /// and what one multiple of the activation predicts. All are in sample.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no direction.
    pub fn plot(&self) -> Result<Figure> {
        let (Some(first), Some(last)) = (self.by_rank.first(), self.by_rank.last()) else {
            return Err(Error::invalid("the directions", "at least one", "none"));
        };
        let (x, y) = self.directions.iter().map(|own| (own.fvu, own.r_squared)).unzip();
        let text = |(at, own): (usize, &NullDirection)| {
            format!("direction {}, variance {:.4}", at + 1, own.variance)
        };
        let texts = Some(self.directions.iter().enumerate().map(text).collect());
        let points = Series::new(Style::Points, "", x, y).ink(SERIES[0]);
        let marks = vec![Mark::Series(Series { texts, ..points })];
        let mut directions = Panel { marks, size: HALF, diagonal: true, ..Panel::default() };
        directions.title = Some("along each principal direction".into());
        directions.x.title = Some("share of the variance that is error".into());
        directions.y.title = Some("R² of the error, in sample".into());

        let ends = vec![first.0 as f64, last.0 as f64];
        let level = |name: &str, r_squared: f64, order: usize| {
            let line = Series::new(Style::Line, name, ends.clone(), vec![r_squared; 2]);
            Mark::Series(Series { dotted: false, ..line.looks(SERIES[order], order) })
        };
        let (x, y) = self.by_rank.iter().map(|&(rank, own)| (rank as f64, own)).unzip();
        let marks = vec![
            Mark::Series(Series::new(Style::Line, "best map", x, y).looks(SERIES[0], 0)),
            level("covariances alone", self.r_squared, 1),
            level("one multiple of x", self.scalar, 2),
        ];
        let mut ranks = Panel { marks, size: HALF, ..Panel::default() };
        ranks.title = Some("by the map's rank".into());
        ranks.x.log = true;
        ranks.x.title = Some("rank".into());
        ranks.y.title = Some("R² of the error, in sample".into());
        let figure = Figure::of(PanelBlock::of(vec![directions, ranks], 2), Vec::new());
        Ok(figure.title("What the covariances alone imply"))
    }
}

impl NormTest {
    /// Draws how much of the squared norm of each vector a linear map of the activation predicts
    /// (Fig 7): a point for each autoencoder, with an intercept, without one, and as the published code
    /// computes it. The mouse over a point tells the autoencoder.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no norm varies.
    pub fn plot(&self) -> Result<Figure> {
        let mut targets: Vec<NormTarget> = Vec::new();
        for row in &self.rows {
            if !targets.contains(&row.target) {
                targets.push(row.target);
            }
        }
        let kinds: [(&str, NormValue); 3] = [
            ("with intercept", |row| row.with_intercept),
            ("without", |row| row.without),
            ("as published", |row| row.published),
        ];
        let series = kinds.into_iter().filter_map(|(name, value)| {
            let group = |target: &NormTarget| -> Vec<StripPoint> {
                let own = self.rows.iter().filter(|row| row.target == *target);
                let point = |row: &NormTestRow| {
                    Some(StripPoint { value: value(row)?, text: row.name.clone() })
                };
                own.filter_map(point).collect()
            };
            let groups: Vec<Vec<StripPoint>> = targets.iter().map(group).collect();
            let any = groups.iter().any(|group| !group.is_empty());
            any.then(|| StripSeries { name: name.to_owned(), groups })
        });
        let places = targets.iter().map(ToString::to_string).collect();
        let figure = strips(places, series.collect())?;
        let figure = figure.x_title("squared norm of").y_title("R², held out");
        Ok(figure.title("How much of a norm is linear in the activation (Fig 7)"))
    }

    /// Draws how much of the error's squared norm simpler quantities predict, beside the activation.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no baselines.
    pub fn plot_baselines(&self) -> Result<Figure> {
        let all = self.predictors();
        if all.len() < 2 {
            let expected = "added by `with_baselines`";
            return Err(Error::invalid("the baselines of the norm test", expected, "none"));
        }
        let (names, values): (Vec<&str>, Vec<Option<f64>>) = all.into_iter().unzip();
        let figure = bar(values)?.x_labels(names)?.y_title("R² of ‖error‖², held out");
        Ok(figure.title("What predicts the size of an error"))
    }

    /// The activation and the baselines with their R², the first the mean over autoencoders.
    fn predictors(&self) -> Vec<(&str, Option<f64>)> {
        let own = self.rows.iter().filter(|row| row.target == NormTarget::Error);
        let found: Vec<f64> = own.filter_map(|row| row.with_intercept).collect();
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let activation = ("activation", (!found.is_empty()).then_some(mean));
        let baselines = self.baselines.iter().map(|own| (own.name.as_str(), own.r_squared));
        std::iter::once(activation).chain(baselines).collect()
    }
}

/// Draws how much of the error's squared norm the activation and simpler quantities predict at several
/// layers (Fig 13); the names of the layers are along x.
///
/// # Errors
/// [`Error::Invalid`] for no layers, or if nothing is finite.
pub fn plot_norm_baselines(layers: &[(String, NormTest)]) -> Result<Figure> {
    let mut names: Vec<&str> = Vec::new();
    for (_, test) in layers {
        for (name, _) in test.predictors() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let lines = names.iter().enumerate().filter_map(|(at, name)| {
        let value = |test: &NormTest| {
            let own = test.predictors().into_iter().find(|(other, _)| other == name);
            own.and_then(|(_, r_squared)| r_squared).filter(|value| value.is_finite())
        };
        let found =
            layers.iter().enumerate().filter_map(|(x, (_, test))| Some((x as f64, value(test)?)));
        let (x, y): (Vec<f64>, Vec<f64>) = found.unzip();
        let texts = x.iter().map(|x| layers[*x as usize].0.clone()).collect();
        let line = Series::new(Style::Line, *name, x, y).looks(SERIES[at % SERIES.len()], at);
        (!line.y.is_empty()).then_some(Mark::Series(Series { texts: Some(texts), ..line }))
    });
    let marks: Vec<Mark> = lines.collect();
    if marks.is_empty() {
        return Err(Error::invalid("the layers", "at least one with a finite R²", "none"));
    }
    let mut panel = Panel { marks, size: LAYERS, ..Panel::default() };
    panel.x.whole = true;
    panel.x.range = Some((-0.5, layers.len() as f64 - 0.5));
    panel.x.labels = Some(layers.iter().map(|(name, _)| name.clone()).collect());
    panel.x.title = Some("layer".into());
    panel.y.title = Some("R² of ‖error‖², held out".into());
    Ok(Figure::single(panel).title("What predicts the size of an error, by layer (Fig 13)"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plot::tests::{json_of, message, plain};
    use crate::sae_error::NormBaseline;

    #[test]
    fn a_null_is_points_on_a_diagonal_and_a_curve_of_ranks() -> Result<()> {
        let direction = |variance, fvu, r_squared| NullDirection { variance, fvu, r_squared };
        let null = LinearNull {
            r_squared: 0.25,
            in_sample: 0.375,
            excess: 0.125,
            scalar: 0.125,
            lambda: 0.125,
            share_of_scalar: 1.0 / 3.0,
            directions: vec![direction(4.0, 0.1, 0.2), direction(1.0, 0.5, 0.4)],
            by_rank: vec![(1, 0.25), (2, 0.375)],
        };
        let figure = null.plot()?;
        let json = json_of(&figure);
        let data = json["data"].as_array().unwrap();
        assert_eq!((&data[0]["x"], &data[0]["y"]), (&json!([0.1, 0.5]), &json!([0.2, 0.4])));
        assert_eq!(data[0]["hovertext"][1], "direction 2, variance 1.0000");
        assert_eq!((&data[1]["x"], &data[1]["y"]), (&json!([1.0, 2.0]), &json!([0.25, 0.375])));
        assert_eq!((&data[2]["y"], &data[3]["y"]), (&json!([0.25, 0.25]), &json!([0.125, 0.125])));
        // The dashed line y = x.
        assert_eq!(data[4]["x"], data[4]["y"]);
        assert!(figure.to_svg().contains("covariances alone"));
        let none = LinearNull { directions: Vec::new(), by_rank: Vec::new(), ..null };
        assert!(message(none.plot()).contains("the directions"));
        Ok(())
    }

    fn test(shift: f64) -> NormTest {
        let row = |name: &str, target, with_intercept| NormTestRow {
            name: name.to_owned(),
            target,
            with_intercept,
            without: None,
            published: with_intercept.map(|own: f64| own - 0.25),
        };
        NormTest {
            rows: vec![
                row("a", NormTarget::X, Some(0.75)),
                row("a", NormTarget::Error, Some(0.5 + shift)),
                row("b", NormTarget::X, None),
                row("b", NormTarget::Error, Some(0.75 + shift)),
            ],
            baselines: vec![NormBaseline { name: "L0".to_owned(), r_squared: Some(0.125 + shift) }],
        }
    }

    #[test]
    fn norms_are_points_by_target_and_kind() -> Result<()> {
        let figure = test(0.0).plot()?;
        let json = json_of(&figure);
        let data = json["data"].as_array().unwrap();
        // No box for two values, and no kind without a value.
        assert_eq!(data.len(), 2);
        assert_eq!(data[0]["y"], json!([0.75, 0.5, 0.75]));
        assert_eq!(data[1]["y"], json!([0.5, 0.25, 0.5]));
        assert_eq!(data[0]["hovertext"], json!(["a", "a", "b"]));
        assert_eq!(plain(&data[1]["name"]), "as published");
        assert_eq!(plain(&json["layout"]["xaxis"]["ticktext"][1]), "e");
        assert!(figure.to_svg().contains("Fig 7"));
        let baselines = json_of(&test(0.0).plot_baselines()?);
        assert_eq!(baselines["data"][0]["y"], json!([0.625, 0.125]));
        assert_eq!(baselines["data"][0]["hovertext"], json!(["activation", "L0"]));
        let without = NormTest { baselines: Vec::new(), ..test(0.0) };
        assert!(message(without.plot_baselines()).contains("with_baselines"));
        Ok(())
    }

    #[test]
    fn baselines_are_lines_over_layers() -> Result<()> {
        let layers = [("0".to_owned(), test(0.0)), ("1".to_owned(), test(0.25))];
        let json = json_of(&plot_norm_baselines(&layers)?);
        assert_eq!(json["data"][0]["y"], json!([0.625, 0.875]));
        assert_eq!(json["data"][1]["y"], json!([0.125, 0.375]));
        assert_eq!(json["data"][1]["hovertext"], json!(["0", "1"]));
        assert!(message(plot_norm_baselines(&[])).contains("the layers"));
        Ok(())
    }
}
