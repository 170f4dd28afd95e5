//! How much of an error, and of its norm, a linear map of the activation predicts.

use crate::plot::{
    Figure, Mark, Panel, PanelBlock, SERIES, Series, StripPoint, StripSeries, Style, bar, strips,
};
use crate::sae_error::{LinearNull, NormTarget, NormTest, NormTestRow};
use crate::{Error, Result};

/// Plotting area of each of two panels side by side.
const HALF: (f64, f64) = (320.0, 320.0);
/// Size of a panel of layers.
const LAYERS: (f64, f64) = (480.0, 320.0);

impl LinearNull {
    /// Draws two panels. At the left, a point for each principal direction of the activation: the share
    /// of the error's variance along it that the covariances imply to be predictable, against the share
    /// of the activation's variance along it that is error. On the dashed line the two are equal, as
    /// they are if reconstruction and error are uncorrelated. At the right, the R² of the best map of
    /// each rank; broken lines are the R² of all ranks, and that of one number times the activation.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no direction.
    pub fn plot(&self) -> Result<Figure> {
        if self.directions.is_empty() || self.by_rank.is_empty() {
            return Err(Error::invalid("the directions", "at least one", "none"));
        }
        let of = |value: fn(&crate::sae_error::NullDirection) -> f64| -> Vec<f64> {
            self.directions.iter().map(value).collect()
        };
        let (x, y) = (of(|own| own.fvu), of(|own| own.r_squared));
        let text = |(at, own): (usize, &crate::sae_error::NullDirection)| {
            format!("direction {}, variance {:.4}", at + 1, own.variance)
        };
        let texts = Some(self.directions.iter().enumerate().map(text).collect());
        let points = Series::new(Style::Points, "", x, y).ink(SERIES[0]);
        let marks = vec![Mark::Series(Series { texts, ..points })];
        let mut directions = Panel { marks, size: HALF, diagonal: true, ..Panel::default() };
        directions.title = Some("each principal direction".into());
        directions.x.title = Some("share of variance that is error".into());
        directions.y.title = Some("R² of the error, by covariances".into());

        let (x, y): (Vec<f64>, Vec<f64>) =
            self.by_rank.iter().map(|&(rank, r_squared)| (rank as f64, r_squared)).unzip();
        let ends = vec![x[0], x[x.len() - 1]];
        let level = |name: &str, r_squared: f64, order: usize| {
            let line = Series::new(Style::Line, name, ends.clone(), vec![r_squared; 2]);
            Mark::Series(Series { dotted: false, ..line.looks(SERIES[order], order) })
        };
        let curve = Series::new(Style::Line, "map of this rank", x, y).looks(SERIES[0], 0);
        let marks = vec![
            Mark::Series(curve),
            level("any map", self.r_squared, 1),
            level("one number · x", self.scalar, 2),
        ];
        let mut ranks = Panel { marks, size: HALF, ..Panel::default() };
        ranks.title = Some("maps of low rank".into());
        ranks.x.title = Some("rank".into());
        ranks.x.whole = true;
        ranks.y.title = Some("R² of the error, by covariances".into());
        let figure = Figure::of(PanelBlock::of(vec![directions, ranks], 2), Vec::new());
        Ok(figure.title("What covariances alone imply"))
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
        let kinds: [(&str, fn(&NormTestRow) -> Option<f64>); 3] = [
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
        (!line.y.is_empty()).then(|| Mark::Series(Series { texts: Some(texts), ..line }))
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
