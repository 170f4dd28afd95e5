//! How errors fall with the number of features, over a grid of autoencoders, and with rows of data.

use candle_core::{Device, Tensor};

use crate::geometry::Interval;
use crate::plot::{
    ColourAxis, Figure, Mark, Panel, PanelBlock, SERIES, Scale, Series, Style, imshow,
};
use crate::sae_error::{Breakdown, ErrorBand, GridEntry, LinearScore, PowerLaw, SaeGrid};
use crate::{Error, Result};

/// What a line shows of a width.
type BandValue = fn(&ErrorBand) -> Option<f64>;

/// Plotting area of curves over widths.
const CURVES: (f64, f64) = (420.0, 320.0);
/// Points of a curve.
const POINTS: usize = 120;
/// How far a fitted curve is drawn beyond the widest autoencoder.
const BEYOND: f64 = 2.0;
/// The bands of a breakdown from the bottom, in colours that the colour-blind tell apart.
const PARTS: [(&str, &str); 4] = [
    ("nonlinear", SERIES[0]),
    ("encoder", SERIES[1]),
    ("linear", SERIES[2]),
    ("absent features", SERIES[3]),
];
/// Rows of data for each dimension from which on a held-out R² hardly rises.
const ROWS_PER_DIMENSION: usize = 50;
/// A grid whose cells are at least so full is drawn as a matrix.
const LEAST_FULL: f64 = 0.5;
const FEATURES: &str = "features";
const UNEXPLAINED: &str = "share of variance unexplained";

impl PowerLaw {
    /// Draws the values with the law through them, and its constant with its interval, over the number
    /// of features.
    ///
    /// # Errors
    /// None for a law that there is.
    pub fn plot(&self) -> Result<Figure> {
        plot_power_laws(&[("", self)])
    }

    /// Draws the same with an interval around each value, in the order of the fit.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is an interval for each value.
    pub fn plot_with(&self, values: &[Interval]) -> Result<Figure> {
        if values.len() != self.values().len() {
            let expected = format!("{} intervals, one a value", self.values().len());
            return Err(Error::shape("`values`", expected, values.len()));
        }
        laws(&[("", self)], values)
    }
}

/// Draws several laws in one panel: those of two quantities, say, or with and without a constant.
/// Values that several laws share are drawn once.
///
/// # Errors
/// [`Error::Invalid`] for no laws.
pub fn plot_power_laws(named: &[(&str, &PowerLaw)]) -> Result<Figure> {
    laws(named, &[])
}

fn laws(named: &[(&str, &PowerLaw)], intervals: &[Interval]) -> Result<Figure> {
    let ends = |best: fn(f64, f64) -> f64, from: f64| {
        named.iter().flat_map(|(_, law)| law.widths().iter().copied()).fold(from, best)
    };
    let (low, high) = (ends(f64::min, f64::INFINITY), ends(f64::max, 0.0));
    if named.is_empty() {
        return Err(Error::invalid("the power laws", "at least one", "none"));
    }
    let to = BEYOND * high;
    let mut marks = Vec::new();
    for (order, (name, law)) in named.iter().enumerate() {
        let ink = SERIES[order % SERIES.len()];
        let called = |what: &str| match name.is_empty() {
            true => what.to_owned(),
            false => format!("{name}: {what}"),
        };
        let step = (to / low).powf(1.0 / (POINTS - 1) as f64);
        let x: Vec<f64> = (0..POINTS).map(|at| low * step.powi(at as i32)).collect();
        let y = x.iter().map(|width| law.predict(*width)).collect();
        let curve = Series::new(Style::Line, called("law"), x, y).ink(ink);
        marks.push(Mark::Series(Series { dotted: false, ..curve }));
        if let Some(c) = law.c {
            let line = Series::new(Style::Line, called("constant"), vec![low, to], vec![c; 2]);
            let mut line = Series { dotted: false, ..line.looks(ink, 1) };
            if let Some(own) = law.intervals().c.filter(|own| own.upper.is_finite()) {
                line = line.banded((vec![own.lower; 2], vec![own.upper; 2]));
            }
            marks.push(Mark::Series(line));
        }
        let is_same = |(_, other): &(&str, &PowerLaw)| {
            (other.widths(), other.values()) == (law.widths(), law.values())
        };
        if !named[..order].iter().any(is_same) {
            let (x, y) = (law.widths().to_vec(), law.values().to_vec());
            let points = Series::new(Style::Points, called("measured"), x, y).looks(ink, order);
            let points = match intervals.len() == law.values().len() {
                true => points.whiskers(lower_and_upper(intervals)),
                false => points,
            };
            marks.push(Mark::Series(points));
        }
    }
    let panel = widths_panel(marks);
    Ok(Figure::single(panel).title("How the error falls with the number of features"))
}

fn lower_and_upper(intervals: &[Interval]) -> (Vec<f64>, Vec<f64>) {
    intervals.iter().map(|own| (own.lower, own.upper)).unzip()
}

impl Breakdown {
    /// Draws what the unexplained variance is made of over the number of features (Fig 1): areas that
    /// add up to the power law. Points are what was measured, with intervals.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no band.
    pub fn plot(&self) -> Result<Figure> {
        let bands: Vec<&ErrorBand> = self.ascending()?;
        let x: Vec<f64> = bands.iter().map(|band| band.width as f64).collect();
        let mut floor = vec![0.0; bands.len()];
        let mut marks = Vec::new();
        for (at, (name, ink)) in PARTS.into_iter().enumerate() {
            let part = |band: &ErrorBand| match at {
                0 => band.nonlinear,
                1 => band.encoder.unwrap_or(0.0),
                2 => band.linear,
                _ => band.absent,
            };
            if at == 1 && bands.iter().all(|band| band.encoder.is_none()) {
                continue;
            }
            let top: Vec<f64> =
                bands.iter().zip(&floor).map(|(band, below)| below + part(band)).collect();
            let texts =
                bands.iter().map(|band| format!("{name}: {:.4} of the variance", part(band)));
            let texts = Some(texts.collect());
            let area = Series::new(Style::Line, name, x.clone(), top.clone()).looks(ink, at);
            let area = area.area((floor, top.clone()));
            marks.push(Mark::Series(Series { texts, dotted: false, ..area }));
            floor = top;
        }
        let total: Vec<Interval> = bands.iter().map(|band| band.total).collect();
        let y = total.iter().map(|own| own.mean).collect();
        let points = Series::new(Style::Points, "measured", x, y).ink(SERIES[6]);
        marks.push(Mark::Series(points.whiskers(lower_and_upper(&total))));
        let top = total.iter().map(|own| own.upper).chain(floor).fold(0.0, f64::max);
        let mut panel = widths_panel(marks);
        panel.y.range = Some((0.0, 1.06 * top));
        Ok(Figure::single(panel).title("What the unexplained variance is made of (Fig 1)"))
    }

    /// Draws the unexplained variance over the number of features with the autoencoder's own codes and
    /// with those of pursuit, each also with a linear map's prediction of the error added (Fig 10a).
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no band.
    pub fn plot_pursuit(&self) -> Result<Figure> {
        let bands = self.ascending()?;
        let x: Vec<f64> = bands.iter().map(|band| band.width as f64).collect();
        let total: Vec<Interval> = bands.iter().map(|band| band.total).collect();
        let lines: [(&str, BandValue); 4] = [
            ("its own codes", |band| Some(band.total.mean)),
            ("its own codes + linear", |band| Some(band.with_prediction)),
            ("pursuit", |band| band.pursuit),
            ("pursuit + linear", |band| band.with_pursuit),
        ];
        let mut marks = Vec::new();
        for (at, (name, value)) in lines.into_iter().enumerate() {
            let own = bands.iter().zip(&x).filter_map(|(band, x)| Some((*x, value(band)?)));
            let (x, y): (Vec<f64>, Vec<f64>) = own.unzip();
            if y.is_empty() {
                continue;
            }
            let mut line = Series::new(Style::Line, name, x, y).looks(SERIES[at], at);
            if at == 0 {
                line = line.whiskers(lower_and_upper(&total));
            }
            marks.push(Mark::Series(line));
        }
        let panel = widths_panel(marks);
        Ok(Figure::single(panel).title("What a better encoder would explain (Fig 10a)"))
    }

    fn ascending(&self) -> Result<Vec<&ErrorBand>> {
        let mut bands: Vec<&ErrorBand> = self.bands.iter().collect();
        bands.sort_by_key(|band| band.width);
        match bands.is_empty() {
            true => Err(Error::invalid("the bands", "at least one", "none")),
            false => Ok(bands),
        }
    }
}

fn widths_panel(marks: Vec<Mark>) -> Panel {
    let mut panel = Panel { marks, size: CURVES, ..Panel::default() };
    panel.x.log = true;
    panel.x.title = Some(FEATURES.into());
    panel.y.title = Some(UNEXPLAINED.into());
    panel
}

/// A number of an autoencoder of a grid.
#[derive(Debug, Clone)]
struct GridNumber<'a> {
    width: usize,
    l0: f64,
    name: &'a str,
    value: f64,
}

impl SaeGrid {
    /// Draws one number for each of its autoencoders, in their order, over width and L0: a matrix of
    /// the widths that have every L0 if those are at least half of the grid, and coloured points
    /// otherwise. Nothing is interpolated. `what` is the title of the colours.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one value for each autoencoder; [`Error::Invalid`] if none is
    /// finite.
    pub fn plot(&self, values: &[f64], what: &str) -> Result<Figure> {
        let entries = self.entries();
        if values.len() != entries.len() {
            let expected = format!("{} values, one an autoencoder", entries.len());
            return Err(Error::shape("`values`", expected, values.len()));
        }
        fn number<'a>((entry, value): (&'a GridEntry, &f64)) -> GridNumber<'a> {
            let (width, l0, name) = (entry.width, entry.l0, entry.name.as_str());
            GridNumber { width, l0, name, value: *value }
        }
        let numbers: Vec<GridNumber<'_>> = entries.iter().zip(values).map(number).collect();
        over_widths(&numbers, what)
    }
}

fn over_widths(numbers: &[GridNumber<'_>], what: &str) -> Result<Figure> {
    let mut l0s: Vec<f64> = numbers.iter().map(|own| own.l0).collect();
    l0s.sort_by(f64::total_cmp);
    l0s.dedup();
    let at = |width: usize, l0: f64| {
        numbers.iter().find(|own| own.width == width && own.l0 == l0).map(|own| own.value)
    };
    let mut widths: Vec<usize> = numbers.iter().map(|own| own.width).collect();
    widths.sort_unstable();
    widths.dedup();
    widths.retain(|width| l0s.iter().all(|l0| at(*width, *l0).is_some()));
    let full = (widths.len() * l0s.len()) as f64 >= LEAST_FULL * numbers.len() as f64;
    if widths.len() < 2 || l0s.len() < 2 || !full {
        return coloured_points(numbers, what);
    }
    let mut cells = Vec::with_capacity(l0s.len() * widths.len());
    for l0 in l0s.iter().rev() {
        cells.extend(widths.iter().filter_map(|width| at(*width, *l0)));
    }
    let shape = (l0s.len(), widths.len());
    let figure = imshow(&Tensor::from_vec(cells, shape, &Device::Cpu)?)?.cell_numbers()?;
    let figure = figure.x_labels(&widths)?.y_labels(l0s.iter().rev().map(|l0| round(*l0)))?;
    let figure = figure.scale(Scale::Blues).color_title(what);
    Ok(figure.x_title(FEATURES).y_title("L0"))
}

/// At most one decimal.
fn round(l0: f64) -> String {
    format!("{l0:.1}").trim_end_matches(".0").to_owned()
}

fn coloured_points(numbers: &[GridNumber<'_>], what: &str) -> Result<Figure> {
    let of = |pick: fn(&GridNumber<'_>) -> f64| numbers.iter().map(pick).collect::<Vec<f64>>();
    let values = of(|own| own.value);
    if !values.iter().any(|value| value.is_finite()) {
        return Err(Error::invalid("`values`", "finite for at least one autoencoder", "none"));
    }
    let points = Series::new(Style::Points, "", of(|own| own.width as f64), of(|own| own.l0));
    let texts = Some(numbers.iter().map(|own| format!("{}: {:.4}", own.name, own.value)).collect());
    let points = Series { texts, shades: Some((0, values)), ..points };
    let mut panel = Panel { marks: vec![Mark::Series(points)], size: CURVES, ..Panel::default() };
    (panel.x.log, panel.y.log) = (true, true);
    panel.x.title = Some(FEATURES.into());
    panel.y.title = Some("L0".into());
    let block = PanelBlock { bar: Some(0), ..PanelBlock::of(vec![panel], 1) };
    let colours = ColourAxis { title: Some(what.to_owned()), ..ColourAxis::default() };
    Ok(Figure::of(block, vec![colours]))
}

/// Draws R² held out and in sample over the number of rows that a map was fitted on; `dimensions` are
/// those of its rows. The upright line is at 50 rows for each dimension, from which on twice as many
/// add less than 0.01 where this was measured.
///
/// # Errors
/// [`Error::Invalid`] for no scores.
pub fn plot_rows_needed(scores: &[(usize, LinearScore)], dimensions: usize) -> Result<Figure> {
    if scores.is_empty() {
        return Err(Error::invalid("the scores", "at least one", "none"));
    }
    let of = |value: fn(&LinearScore) -> f64| -> Vec<f64> {
        scores.iter().map(|(_, score)| value(score)).collect()
    };
    let (held_out, in_sample) = (of(|score| score.r_squared), of(|score| score.in_sample));
    let x: Vec<f64> = scores.iter().map(|(rows, _)| *rows as f64).collect();
    let both = held_out.iter().chain(&in_sample).copied().filter(|value| value.is_finite());
    let (low, high) =
        both.fold((0.0, 0.0), |(low, high), value| (f64::min(low, value), f64::max(high, value)));
    let needed = (ROWS_PER_DIMENSION * dimensions) as f64;
    let rule = Series::new(Style::Line, "50 rows a dimension", vec![needed; 2], vec![low, high]);
    let rule = Series { dotted: false, ..rule.looks(SERIES[6], 2) };
    let marks = vec![
        Mark::Series(Series::new(Style::Line, "held out", x.clone(), held_out).looks(SERIES[0], 0)),
        Mark::Series(Series::new(Style::Line, "in sample", x, in_sample).looks(SERIES[1], 1)),
        Mark::Series(rule),
    ];
    let mut panel = Panel { marks, size: CURVES, ..Panel::default() };
    panel.x.log = true;
    panel.x.title = Some("rows of the fit".into());
    panel.y.title = Some("R²".into());
    Ok(Figure::single(panel).title("How many rows a map needs"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plot::tests::{json_of, message};
    use crate::sae_error::ScalingPoint;

    fn data(figure: &Figure) -> Vec<Value> {
        json_of(figure)["data"].as_array().unwrap().clone()
    }

    fn interval(mean: f64) -> Interval {
        Interval { mean, lower: mean - 0.01, upper: mean + 0.01, confidence: 0.95 }
    }

    const WIDTHS: [f64; 5] = [384.0, 768.0, 1536.0, 3072.0, 6144.0];

    #[test]
    fn a_law_is_drawn_through_its_values() -> Result<()> {
        let values = WIDTHS.map(|width| 3.0 * width.powf(-0.5) + 0.125);
        let law = PowerLaw::fit(&WIDTHS, &values)?;
        let drawn = data(&law.plot_with(&values.map(interval))?);
        // Curve, constant, points, and the constant's interval.
        let y: Vec<f64> = serde_json::from_value(drawn[0]["y"].clone()).unwrap();
        assert!((y[0] - values[0]).abs() < 1e-6 && y.len() == POINTS, "{}", y[0]);
        assert!((drawn[1]["y"][0].as_f64().unwrap() - 0.125).abs() < 1e-6);
        assert_eq!(drawn[2]["x"], json!(WIDTHS));
        let points: Vec<f64> = serde_json::from_value(drawn[2]["y"].clone()).unwrap();
        assert!(points.iter().zip(&values).all(|(drawn, value)| (drawn - value).abs() < 1e-12));
        assert!((drawn[2]["error_y"]["array"][0].as_f64().unwrap() - 0.01).abs() < 1e-12);
        assert!(law.plot_with(&[]).is_err());
        let without = PowerLaw::without_constant(&WIDTHS, &values)?;
        let both = plot_power_laws(&[("with", &law), ("without", &without)])?;
        let named =
            |own: &Value, name: &str| own["name"].as_str().is_some_and(|n| n.contains(name));
        let count = |name: &str| data(&both).iter().filter(|own| named(own, name)).count();
        assert_eq!((count("law"), count("constant"), count("measured")), (2, 1, 1));
        assert!(both.to_svg().contains("constant"));
        assert!(message(plot_power_laws(&[])).contains("at least one"));
        Ok(())
    }

    #[test]
    fn bands_stand_on_each_other_and_reach_the_law() -> Result<()> {
        let points = WIDTHS.map(|width| {
            let fvu = 2.0 * width.powf(-0.5) + 0.1;
            ScalingPoint {
                width: width as usize,
                l0: 16.0,
                fvu: interval(fvu),
                fvu_nonlinear: interval(0.08),
                pursuit: Some(fvu - 0.02),
                pursuit_nonlinear: Some(0.07),
            }
        });
        let breakdown = Breakdown::of(&points)?;
        let figure = breakdown.plot()?;
        let drawn = data(&figure);
        let tops: Vec<f64> = (0..4).map(|at| drawn[at]["y"][0].as_f64().unwrap()).collect();
        let band = &breakdown.bands[0];
        let parts = [band.nonlinear, band.encoder.unwrap(), band.linear, band.absent];
        let mut sum = 0.0;
        for (top, part) in tops.iter().zip(parts) {
            sum += part;
            assert!((top - sum).abs() < 1e-12, "{tops:?}");
        }
        assert!((sum - breakdown.law.predict(WIDTHS[0])).abs() < 1e-9, "{sum}");
        assert_eq!(drawn[4]["y"][0].as_f64().unwrap(), band.total.mean);
        // The second area begins where the first ends.
        assert_eq!(drawn[6]["fill"], "toself");
        assert_eq!(drawn[6]["y"][9].as_f64().unwrap(), tops[0]);
        assert!(figure.to_svg().contains("fill-opacity=\"0.4\""));
        let lines = data(&breakdown.plot_pursuit()?);
        assert_eq!(lines[2]["y"][0].as_f64(), band.pursuit);
        assert_eq!(lines[3]["y"][0].as_f64(), band.with_pursuit);
        Ok(())
    }

    #[test]
    fn a_regular_grid_is_a_matrix_and_another_one_points() -> Result<()> {
        let number = |width, l0, value| GridNumber { width, l0, name: "sae", value };
        let mut numbers = vec![number(64, 8.0, 1.0), number(128, 8.0, 2.0), number(64, 16.0, 3.0)];
        let points = json_of(&over_widths(&numbers, "FVU")?);
        assert_eq!(points["data"][0]["marker"]["color"], json!([1.0, 2.0, 3.0]));
        assert_eq!(points["layout"]["xaxis"]["type"], "log");
        assert_eq!(points["data"][0]["hovertext"][2], "sae: 3.0000");
        numbers.extend([number(128, 16.0, 4.0), number(96, 16.0, 9.0)]);
        let matrix = json_of(&over_widths(&numbers, "FVU")?);
        // The largest L0 at the top; the width without every L0 is left out.
        assert_eq!(matrix["data"][0]["z"], json!([[3.0, 4.0], [1.0, 2.0]]));
        assert_eq!(round(57.86), "57.9");
        assert_eq!(round(16.0), "16");
        let nothing = over_widths(&[number(64, 8.0, f64::NAN)], "FVU");
        assert!(message(nothing).contains("at least one autoencoder"));
        Ok(())
    }

    #[test]
    fn the_rule_for_rows_is_an_upright_line() -> Result<()> {
        let score = |r_squared, in_sample| LinearScore {
            r_squared,
            mean_r_squared: r_squared,
            per_column: vec![Some(r_squared)],
            rss: 1.0 - r_squared,
            tss: 1.0,
            in_sample,
        };
        let scores = [(400, score(-0.5, 0.6)), (4_000, score(0.25, 0.3))];
        let drawn = data(&plot_rows_needed(&scores, 20)?);
        assert_eq!((&drawn[0]["y"], &drawn[1]["y"]), (&json!([-0.5, 0.25]), &json!([0.6, 0.3])));
        assert_eq!((&drawn[2]["x"], &drawn[2]["y"]), (&json!([1e3, 1e3]), &json!([-0.5, 0.6])));
        assert!(plot_rows_needed(&[], 20).is_err());
        Ok(())
    }
}
