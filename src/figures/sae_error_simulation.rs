//! Known amounts of noise, and what features point to.

use candle_core::{Device, Tensor};

use crate::plot::{Figure, Mark, Panel, PanelBlock, SERIES, Scale, Series, Style, grid, imshow};
use crate::sae_error::{NoiseCell, NoiseSimulation, ProbeSimilarity};
use crate::{Error, Result};

/// What was measured, and the closed form.
type CellValues = fn(&NoiseCell) -> [f64; 2];

/// Size of a panel with lines.
const LINES: (f64, f64) = (300.0, 260.0);

impl NoiseSimulation {
    /// Draws the shares of variance that are not explained against the share of features that were
    /// taken away, a panel for each pair of noises: in all, and after what a linear map of the
    /// activation predicts was added. Broken lines are the closed form (the lines of Fig 15).
    ///
    /// # Errors
    /// [`Error::Invalid`] if no pair of noises was simulated with two shares or more.
    pub fn plot(&self) -> Result<Figure> {
        let mut pairs: Vec<(f64, f64)> = Vec::new();
        for cell in &self.cells {
            let pair = noises(cell);
            let is_same = |own: &&NoiseCell| noises(own) == pair;
            if !pairs.contains(&pair) && self.cells.iter().filter(is_same).count() > 1 {
                pairs.push(pair);
            }
        }
        if pairs.is_empty() {
            let expected = "simulated with at least two shares of features taken away";
            return Err(Error::invalid("the noises", expected, "one"));
        }
        let last = pairs.len() - 1;
        let panels = pairs.iter().enumerate().map(|(at, &pair)| self.panel(pair, at == last));
        let figure = Figure::of(PanelBlock::of(panels.collect(), 3), Vec::new());
        Ok(figure.title("Features taken away, and noise (Fig 15)"))
    }

    fn panel(&self, pair: (f64, f64), named: bool) -> Panel {
        let mut own: Vec<&NoiseCell> =
            self.cells.iter().filter(|cell| noises(cell) == pair).collect();
        own.sort_by(|a, b| a.ablated.total_cmp(&b.ablated));
        let x: Vec<f64> = own.iter().map(|cell| 100.0 * cell.ablated).collect();
        let kinds: [(&str, CellValues); 2] = [
            ("all of the error", |cell| [cell.total, cell.closed_total]),
            ("nonlinear part", |cell| [cell.nonlinear, cell.closed_nonlinear]),
        ];
        let mut marks = Vec::new();
        for (order, (name, value)) in kinds.into_iter().enumerate() {
            for (form, kind) in ["", ", closed form"].into_iter().enumerate() {
                let y: Vec<f64> = own.iter().map(|cell| value(cell)[form]).collect();
                if y.iter().all(|y| y.is_nan()) {
                    continue;
                }
                let name = if named { format!("{name}{kind}") } else { String::new() };
                let line = Series::new(Style::Line, name, x.clone(), y);
                let line = line.looks(SERIES[order], form);
                marks.push(Mark::Series(Series { dotted: form == 0, ..line }));
            }
        }
        let mut panel = Panel { marks, size: LINES, ..Panel::default() };
        panel.title = Some(format!("σ of activations {}, of reconstructions {}", pair.0, pair.1));
        panel.x.title = Some("% of features taken away".into());
        panel.y.title = Some("share of variance".into());
        panel
    }

    /// Draws the linear and the nonlinear part of the error, as shares of the variance, for each pair
    /// of noises of the grid with all features there (the maps of Fig 15), and below them the same in
    /// closed form. Noises are in units of [`unit`](NoiseSimulation::unit).
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing was simulated with all features.
    pub fn plot_noise(&self) -> Result<Figure> {
        let whole: Vec<&NoiseCell> = self.cells.iter().filter(|cell| cell.ablated == 0.0).collect();
        let activations = frequent(whole.iter().map(|cell| cell.activation_noise));
        let reconstructions = frequent(whole.iter().map(|cell| cell.reconstruction_noise));
        if activations.is_empty() {
            let expected = "at least one without features taken away";
            return Err(Error::invalid("the cells of the simulation", expected, "none"));
        }
        let map = |title: &str, value: fn(&NoiseCell) -> f64| -> Result<Figure> {
            let cell = |(a, r): (f64, f64)| {
                let own = whole.iter().find(|cell| noises(cell) == (a, r));
                own.map_or(f64::NEG_INFINITY, |cell| value(cell))
            };
            let mut cells = Vec::with_capacity(activations.len() * reconstructions.len());
            for r in &reconstructions {
                cells.extend(activations.iter().map(|a| cell((*a, *r))));
            }
            let shape = (reconstructions.len(), activations.len());
            let figure = imshow(&Tensor::from_vec(cells, shape, &Device::Cpu)?)?;
            let figure = figure.x_labels(&activations)?.y_labels(&reconstructions)?;
            let figure = figure.scale(Scale::Blues).cell_numbers()?.title(title);
            Ok(figure.x_title("σ of activations").y_title("σ of reconstructions"))
        };
        let maps = [
            map("linear", |cell| cell.linear)?,
            map("nonlinear", |cell| cell.nonlinear)?,
            map("linear, closed form", |cell| cell.closed_linear)?,
            map("nonlinear, closed form", |cell| cell.closed_nonlinear)?,
        ];
        Ok(grid(maps, 2)?.title("Which noise is found in which part (Fig 15)"))
    }
}

fn noises(cell: &NoiseCell) -> (f64, f64) {
    (cell.activation_noise, cell.reconstruction_noise)
}

/// The different values, ascending, without those that are much rarer than others: noises of lines,
/// which are no rows of the grid.
fn frequent(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let groups: Vec<&[f64]> = values.chunk_by(|a, b| a == b).collect();
    let most = groups.iter().map(|group| group.len()).max().unwrap_or(0);
    groups.iter().filter(|group| 2 * group.len() > most).map(|group| group[0]).collect()
}

impl ProbeSimilarity {
    /// Draws each feature's product with the probe of the squared norm against its mean activation,
    /// and the running mean over features (Fig 14).
    ///
    /// # Errors
    /// [`Error::Invalid`] if no feature is active.
    pub fn plot(&self) -> Result<Figure> {
        if self.similarity.is_empty() {
            return Err(Error::invalid("the features", "at least one that is active", "none"));
        }
        let (x, y) = (self.similarity.clone(), self.mean_activation.clone());
        let points = Series::new(Style::Points, "a feature", x, y).looks(SERIES[5], 0);
        let texts = self.features.iter().map(|feature| format!("feature {feature}"));
        let points = Series { texts: Some(texts.collect()), ..points };
        let mut marks = vec![Mark::Series(points)];
        if !self.running.is_empty() {
            let (x, y) = self.running.iter().copied().unzip();
            let mean = Series::new(Style::Line, "running mean", x, y).ink(SERIES[4]);
            marks.push(Mark::Series(Series { dotted: false, ..mean }));
        }
        let mut panel = Panel { marks, size: (460.0, 320.0), ..Panel::default() };
        panel.x.title = Some("decoder direction · probe of the squared norm".into());
        panel.y.title = Some("mean activation where active".into());
        Ok(Figure::single(panel).title("Features that the norm's probe reads (Fig 14)"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plot::tests::{json_of, message};

    #[test]
    fn features_are_points_and_their_means_a_line() -> Result<()> {
        let found = ProbeSimilarity {
            similarity: vec![3.0, 1.0],
            mean_activation: vec![2.0, 4.0],
            features: vec![7, 5],
            running: vec![(2.0, 3.0)],
            r_squared: 0.5,
        };
        let figure = found.plot()?;
        let json = json_of(&figure);
        assert_eq!(json["data"][0]["x"], json!([3.0, 1.0]));
        assert_eq!(json["data"][0]["y"], json!([2.0, 4.0]));
        assert_eq!(json["data"][0]["hovertext"], json!(["feature 7", "feature 5"]));
        assert_eq!((&json["data"][1]["x"], &json["data"][1]["y"]), (&json!([2.0]), &json!([3.0])));
        assert!(figure.to_svg().contains("Fig 14"));
        Ok(())
    }

    fn cell(activation_noise: f64, reconstruction_noise: f64, ablated: f64) -> NoiseCell {
        let linear = 0.5 * activation_noise + ablated;
        let nonlinear = 0.25 * reconstruction_noise;
        NoiseCell {
            activation_noise,
            reconstruction_noise,
            ablated,
            total: linear + nonlinear,
            linear,
            nonlinear,
            closed_total: 2.0 * (linear + nonlinear),
            closed_linear: 2.0 * linear,
            closed_nonlinear: 2.0 * nonlinear,
        }
    }

    #[test]
    fn a_simulation_is_lines_and_maps() -> Result<()> {
        let lines = [0.5, 0.0].map(|ablated| cell(1.0, 0.5, ablated));
        let grid = [0.0, 1.0].into_iter().flat_map(|a| [0.0, 1.0].map(|r| cell(a, r, 0.0)));
        let simulation = NoiseSimulation {
            cells: lines.into_iter().chain(grid).collect(),
            correlations: [[0.0; 2]; 2],
            unit: 1.0,
            rows: 10,
        };
        let json = json_of(&simulation.plot()?);
        let data = json["data"].as_array().unwrap();
        assert_eq!(data.len(), 4, "one pair of noises with several shares");
        assert_eq!(data[0]["x"], json!([0.0, 50.0]));
        assert_eq!(data[0]["y"], json!([0.625, 1.125]));
        assert_eq!(data[3]["y"], json!([0.25, 0.25]));
        let maps = simulation.plot_noise()?;
        let json = json_of(&maps);
        // Rows are noises of reconstructions, columns those of activations; 0.5 is of no row.
        assert_eq!(json["data"][0]["z"], json!([[0.0, 0.5], [0.0, 0.5]]));
        assert_eq!(json["data"][1]["z"], json!([[0.0, 0.0], [0.25, 0.25]]));
        assert_eq!(json["data"][3]["z"], json!([[0.0, 0.0], [0.5, 0.5]]));
        assert!(maps.to_svg().contains("nonlinear, closed form"));
        let none = NoiseSimulation { cells: Vec::new(), ..simulation };
        assert!(message(none.plot()).contains("at least two shares"));
        assert!(message(none.plot_noise()).contains("without features taken away"));
        Ok(())
    }
}
