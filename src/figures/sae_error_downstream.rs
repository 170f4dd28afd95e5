//! What parts of an autoencoder's error cost the model, and which places predict them.

use candle_core::{Device, Tensor};

use crate::geometry::Interval;
use crate::plot::{Figure, Mark, Panel, PanelBlock, SERIES, Scale, Series, Style, bar, imshow};
use crate::sae_error::{Arm, Circuits, Downstream, DownstreamRow, SiteQuantity};
use crate::{Error, Result};

/// Plotting area of a panel of arms: height, and width of an arm.
const HEIGHT: f64 = 280.0;
const ARM: f64 = 36.0;
const LEAST_WIDTH: f64 = 200.0;
/// Half the length of a dash across a bar, where a bar takes 0.8.
const DASH: f64 = 0.42;
/// What is told beside the recovered share: name, colour and dashes.
const SHARES: [(&str, &str, usize); 2] =
    [("of the squared error", SERIES[4], 1), ("norm / error's", SERIES[6], 2)];

impl Downstream {
    /// Draws three panels (Fig 9): the cross-entropy with each arm and its divergence from the model as
    /// it is, both in nats a token, and how much of what the reconstruction costs each addition to it
    /// brings back. Dashes across a bar tell which share of the squared error the addition takes away,
    /// and how long it is. Error bars are bootstraps over contexts. The mean and zero are left to the
    /// table: beside them the others would look alike.
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing was measured.
    pub fn plot(&self) -> Result<Figure> {
        three_panels(&self.rows)
    }
}

fn three_panels(rows: &[DownstreamRow]) -> Result<Figure> {
    let shown = |row: &&DownstreamRow| !matches!(row.arm, Arm::Mean | Arm::Zero);
    let rows: Vec<&DownstreamRow> = rows.iter().filter(shown).collect();
    if rows.is_empty() {
        return Err(Error::invalid("the arms", "at least one that was measured", "none"));
    }
    let moved: Vec<&DownstreamRow> =
        rows.iter().copied().filter(|row| row.arm != Arm::Clean).collect();
    let added: Vec<&DownstreamRow> =
        rows.iter().copied().filter(|row| row.recovered.is_some()).collect();
    let mut panels = vec![points(&rows, "cross-entropy, nats a token", |row| row.cross_entropy)];
    if !moved.is_empty() {
        panels.push(points(&moved, "KL, nats a token", |row| row.kl));
    }
    if !added.is_empty() {
        panels.push(recovered(&added));
    }
    let figure = Figure::of(PanelBlock::of(panels, 3), Vec::new());
    Ok(figure.title("What the parts of the error cost (Fig 9)"))
}

/// Draws what each addition recovers of the cross-entropy that a reconstruction costs, for several
/// autoencoders side by side (Fig 9): their names are along x, and an addition is a colour. Where the
/// reconstruction costs nothing there is no bar.
///
/// # Errors
/// [`Error::Invalid`] for no autoencoders, or if an addition was not measured for all.
pub fn plot_downstream(measured: &[(String, Downstream)]) -> Result<Figure> {
    let rows: Vec<(&str, &[DownstreamRow])> =
        measured.iter().map(|(name, own)| (name.as_str(), own.rows.as_slice())).collect();
    side_by_side(&rows)
}

const UNKNOWN: Interval =
    Interval { mean: f64::NAN, lower: f64::NAN, upper: f64::NAN, confidence: f64::NAN };

fn side_by_side(measured: &[(&str, &[DownstreamRow])]) -> Result<Figure> {
    let Some((_, first)) = measured.first() else {
        return Err(Error::invalid("the autoencoders", "at least one", "none"));
    };
    let arms = first.iter().filter(|row| row.norm_share.is_some()).map(|row| row.arm);
    let (mut series, mut intervals) = (Vec::new(), Vec::new());
    for arm in arms {
        let mut shares = Vec::with_capacity(measured.len());
        for (name, rows) in measured {
            let Some(row) = rows.iter().find(|row| row.arm == arm) else {
                let expected = format!("measured for all, \"{name}\" too");
                return Err(Error::invalid(format!("the arm \"{arm}\""), expected, "left out"));
            };
            // Where the reconstruction costs nothing, there is nothing to recover.
            shares.push(percent(row.recovered.unwrap_or(UNKNOWN)));
        }
        let means: Vec<f64> = shares.iter().map(|share| share.mean).collect();
        series.push((arm.to_string(), means));
        intervals.push(shares);
    }
    let mut figure = bar(series)?.x_labels(measured.iter().map(|(name, _)| name))?;
    for (at, shares) in intervals.iter().enumerate() {
        let (low, high): (Vec<f64>, Vec<f64>) =
            shares.iter().map(|share| (share.lower, share.upper)).unzip();
        figure = figure.error_bars(at, low, high)?;
    }
    let figure = figure.y_title("% of the cross-entropy recovered");
    Ok(figure.title("What the parts of the error bring back (Fig 9)"))
}

fn percent(share: Interval) -> Interval {
    let [mean, lower, upper] = [share.mean, share.lower, share.upper].map(|own| 100.0 * own);
    Interval { mean, lower, upper, ..share }
}

/// A panel with the names of arms along x.
fn arms(rows: &[&DownstreamRow], title: &str) -> Panel {
    let size = ((ARM * rows.len() as f64).max(LEAST_WIDTH), HEIGHT);
    let mut panel = Panel { size, ..Panel::default() };
    panel.x.whole = true;
    panel.x.range = Some((-0.6, rows.len() as f64 - 0.4));
    panel.x.labels = Some(rows.iter().map(|row| row.arm.to_string()).collect());
    panel.y.title = Some(title.to_owned());
    panel
}

/// A series with an error bar at each arm.
fn with_ends(style: Style, name: &str, values: &[Interval]) -> Series {
    let x = (0..values.len()).map(|at| at as f64).collect();
    let y = values.iter().map(|value| value.mean).collect();
    let ends = values.iter().map(|value| (value.lower, value.upper)).unzip();
    Series::new(style, name, x, y).ink(SERIES[0]).whiskers(ends)
}

fn points(
    rows: &[&DownstreamRow],
    title: &str,
    value: impl Fn(&DownstreamRow) -> Interval,
) -> Panel {
    let mut panel = arms(rows, title);
    let values: Vec<Interval> = rows.iter().map(|row| value(row)).collect();
    let texts = panel.x.labels.clone();
    let own = Series { texts, ..with_ends(Style::Points, "", &values) };
    panel.marks.push(Mark::Series(own));
    panel
}

/// Bars of what is recovered, with shares as dashes.
fn recovered(rows: &[&DownstreamRow]) -> Panel {
    let mut panel = arms(rows, "% of the cost recovered");
    let values: Vec<Interval> = rows.iter().filter_map(|row| row.recovered).map(percent).collect();
    panel.marks.push(Mark::Series(with_ends(Style::Bars, "of the loss", &values)));
    for (order, (name, ink, form)) in SHARES.into_iter().enumerate() {
        let mut name = name;
        for (at, row) in rows.iter().enumerate() {
            let share = [row.r_squared_recovered, row.norm_share][order];
            let Some(share) = share else { continue };
            let x = vec![at as f64 - DASH, at as f64 + DASH];
            let texts = Some(vec![format!("{} {}", row.arm, SHARES[order].0); 2]);
            let dash = Series::new(Style::Line, name, x, vec![100.0 * share; 2]).looks(ink, form);
            panel.marks.push(Mark::Series(Series { texts, dotted: false, ..dash }));
            // Once in the legend.
            name = "";
        }
    }
    panel
}

impl Circuits {
    /// Draws how much of each target is predicted from each source, held out, with the numbers in the
    /// cells (Fig 10b has the reconstructions as sources). What was not fitted is blank.
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing was fitted.
    pub fn plot(&self) -> Result<Figure> {
        // What an image masks, and says so.
        let blank = f64::NEG_INFINITY;
        // As many digits as fit into a cell.
        let shown = |own: &Option<f64>| own.map_or(blank, |own| (own * 1e3).round() / 1e3);
        let cells: Vec<f64> = self.r_squared.iter().flatten().map(shown).collect();
        let shape = (self.sources.len(), self.targets.len());
        let figure = imshow(&Tensor::from_vec(cells, shape, &Device::Cpu)?)?;
        let figure = figure.x_labels(&self.targets)?.y_labels(&self.sources)?;
        let figure = figure.scale(Scale::Blues).color_range(0.0, 1.0)?.cell_numbers()?;
        let figure = figure.x_title("what is predicted").y_title("from").color_title("R²");
        Ok(figure.title("Which places predict the error (Fig 10b)"))
    }

    /// Draws the same for one quantity of each place as bars: a group for each place, and a colour for
    /// each target. Fig 10b has the reconstructions.
    ///
    /// # Errors
    /// [`Error::Invalid`] if nothing was fitted.
    pub fn plot_of(&self, quantity: SiteQuantity) -> Result<Figure> {
        let from = |site: usize, target: usize| self.of(site, quantity).get(target).copied();
        let bars = |target: usize| -> Vec<Option<f64>> {
            (0..self.sites.len()).map(|site| from(site, target).flatten()).collect()
        };
        let series: Vec<(&str, Vec<Option<f64>>)> =
            self.targets.iter().enumerate().map(|(at, name)| (name.as_str(), bars(at))).collect();
        let figure = bar(series)?.x_labels(&self.sites)?;
        let figure =
            figure.x_title(format!("predicted from {quantity} at")).y_title("R², held out");
        Ok(figure.legend_title("of the target").title("Which places predict the error (Fig 10b)"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plot::tests::{json_of, message};

    fn interval(mean: f64) -> Interval {
        Interval { mean, lower: mean - 0.1, upper: mean + 0.2, confidence: 0.95 }
    }

    fn rows() -> Vec<DownstreamRow> {
        let row = |arm, loss: f64, shares: Option<[f64; 3]>| DownstreamRow {
            arm,
            cross_entropy: interval(loss),
            kl: interval(loss - 2.0),
            recovered: shares.map(|own| interval(own[0])),
            r_squared_recovered: shares.map(|own| own[1]),
            norm_share: shares.map(|own| own[2]),
        };
        vec![
            row(Arm::Clean, 2.0, None),
            row(Arm::Sae, 3.0, None),
            row(Arm::Linear, 2.5, Some([0.5, 0.25, 0.625])),
            row(Arm::Zero, 9.0, None),
        ]
    }

    #[test]
    fn arms_are_drawn_with_their_intervals_and_shares() -> Result<()> {
        let figure = three_panels(&rows())?;
        let json = json_of(&figure);
        let data = json["data"].as_array().unwrap();
        // Loss, divergence, recovered, and two dashes.
        assert_eq!(data.len(), 5);
        assert_eq!(data[0]["y"], json!([2.0, 3.0, 2.5]), "not zero, which is far above");
        assert_eq!(data[0]["customdata"][0], json!([1.9, 2.2]));
        assert_eq!(data[0]["hovertext"], json!(["x", "x̂", "x̂ + linear"]));
        assert_eq!(data[1]["y"], json!([1.0, 0.5]));
        assert_eq!((&data[2]["type"], &data[2]["y"]), (&json!("bar"), &json!([50.0])));
        assert_eq!((&data[3]["y"], &data[4]["y"]), (&json!([25.0, 25.0]), &json!([62.5, 62.5])));
        assert!(data[3]["name"].as_str().unwrap().contains("squared error"), "{}", data[3]);
        assert!(figure.to_svg().contains("x̂ + linear"));
        assert!(message(three_panels(&[])).contains("the arms"));
        Ok(())
    }

    #[test]
    fn autoencoders_stand_side_by_side() -> Result<()> {
        let (all, less) = (rows(), rows()[..2].to_vec());
        let (own, less) = (all.as_slice(), less.as_slice());
        let json = json_of(&side_by_side(&[("x2", own), ("x4", own)])?);
        assert_eq!(json["data"][0]["y"], json!([50.0, 50.0]));
        assert_eq!(json["data"][0]["hovertext"], json!(["x2", "x4"]));
        let missing = message(side_by_side(&[("x2", own), ("x4", less)]));
        assert!(missing.contains("x̂ + linear") && missing.contains("x4"), "{missing}");
        assert!(side_by_side(&[]).is_err());
        Ok(())
    }

    #[test]
    fn circuits_are_a_matrix_and_bars() -> Result<()> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let own = Circuits {
            sites: names(&["a", "b"]),
            sources: names(&[
                "a x",
                "a x̂",
                "a linear",
                "a nonlinear",
                "b x",
                "b x̂",
                "b lin",
                "b non",
            ]),
            targets: names(&["error", "linear"]),
            r_squared: (0..8).map(|at| vec![Some(0.125 * f64::from(at)), None]).collect(),
        };
        let mut numbers = own.clone();
        numbers.r_squared[7][1] = Some(0.5);
        let json = json_of(&numbers.plot()?);
        assert_eq!(json["data"][0]["z"][3], json!([0.375, null]));
        assert_eq!(json["data"][0]["z"][7], json!([0.875, 0.5]));
        numbers.r_squared[1][1] = Some(0.25);
        let json = json_of(&numbers.plot_of(SiteQuantity::Reconstruction)?);
        assert_eq!(json["data"][0]["y"], json!([0.125, 0.625]));
        assert_eq!(json["data"][1]["y"], json!([0.25, null]));
        assert_eq!(json["data"][0]["hovertext"], json!(["a", "b"]));
        Ok(())
    }
}
