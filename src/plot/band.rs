//! Areas around lines and between them.

use serde_json::{Value, json};

use super::figure::Figure;
use super::palette::{Look, see_through};
use super::panel::{Envelope, Panel, Series, Style};
use super::plotly_text::numbered;
use super::values::IntoValues;
use super::vector::PathStep;
use crate::{Error, Result};

/// How much of what is behind a band is covered, and behind an area between lines.
const OPACITY: f64 = 0.2;
const AREA: f64 = 0.4;

impl Figure {
    /// Puts a band around the `series`-th line, from `low` to `high` at each of its points: an
    /// interval of confidence. It has the line's colour and lets what is behind it through.
    ///
    /// ```
    /// use eigenlens::plot::line;
    /// line([1.0, 0.5, 0.2])?.band(0, [0.9, 0.4, 0.1], [1.1, 0.6, 0.3])?.show();
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the figure has no such line, or if `low` is above `high` at a point;
    /// [`Error::Shape`] unless there are as many numbers as points. Where one is not finite, the band
    /// has a gap.
    pub fn band(
        mut self,
        series: usize,
        low: impl IntoValues,
        high: impl IntoValues,
    ) -> Result<Self> {
        let interval = Envelope { low: low.into_values()?, high: high.into_values()? };
        let kind = IntervalOption { option: "band", one: "line", all: "lines" };
        let is_line = |own: &Series| own.style == Style::Line;
        self.give(kind, series, &interval, is_line, |line| line.band = Some(interval.clone()))?;
        Ok(self)
    }

    /// Fills what is between the `lower`-th and the `upper`-th line, in the colour of the second: for
    /// parts that add up.
    ///
    /// ```
    /// use eigenlens::plot::line;
    /// let (noise, total) = ([0.1, 0.1, 0.1], [0.5, 0.3, 0.2]);
    /// line([("noise", noise), ("total", total)])?.fill_between(0, 1)?.show();
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if the figure has no such lines; [`Error::Shape`] unless they have as many
    /// points as each other. Where one is not finite, the area has a gap.
    pub fn fill_between(mut self, lower: usize, upper: usize) -> Result<Self> {
        let mut lines = Vec::new();
        self.root.each_panel(&mut |panel| {
            let own = panel.series().filter(|series| series.style == Style::Line);
            lines.extend(own.map(|series| series.y.clone()));
        });
        for line in [lower, upper] {
            if line >= lines.len() {
                let expected = format!("below {}, the lines of the figure", lines.len());
                return Err(Error::invalid("a line of `fill_between`", expected, line));
            }
        }
        let (below, above) = (&lines[lower], &lines[upper]);
        if below.len() != above.len() {
            let expected = format!("{} points, as the other", above.len());
            return Err(Error::shape("a line of `fill_between`", expected, below.len()));
        }
        // Where they cross, the area is on the other side.
        let pair = |(&a, &b): (&f64, &f64)| match a.is_finite() && b.is_finite() {
            true => (a.min(b), a.max(b)),
            false => (f64::NAN, f64::NAN),
        };
        let (low, high) = below.iter().zip(above).map(pair).unzip();
        let interval = Envelope { low, high };
        let mut at = 0;
        self.root.each_panel_mut(&mut |panel| {
            for line in panel.series_mut().filter(|own| own.style == Style::Line) {
                if at == upper {
                    (line.band, line.filled) = (Some(interval.clone()), true);
                }
                at += 1;
            }
        });
        Ok(self)
    }

    /// Hands an interval to the `series`-th of the series that fit.
    pub(super) fn give(
        &mut self,
        kind: IntervalOption,
        series: usize,
        interval: &Envelope,
        fits: impl Fn(&Series) -> bool,
        give: impl Fn(&mut Series),
    ) -> Result<()> {
        let IntervalOption { option, one, all } = kind;
        let (mut count, mut points) = (0, None);
        self.root.each_panel_mut(&mut |panel| {
            for own in panel.series_mut().filter(|own| fits(own)) {
                if count == series {
                    points = Some(own.y.len());
                    give(own);
                }
                count += 1;
            }
        });
        let Some(points) = points else {
            let expected = format!("below {count}, the {all} of the figure");
            return Err(Error::invalid(format!("the {one} of `{option}`"), expected, series));
        };
        for (what, ends) in [("low", &interval.low), ("high", &interval.high)] {
            if ends.len() != points {
                let what = format!("`{what}` of {option}");
                let expected = format!("{points} values, one a point");
                return Err(Error::shape(what, expected, ends.len()));
            }
        }
        let mut ends = interval.low.iter().zip(&interval.high);
        if let Some(at) = ends.position(|(low, high)| low > high) {
            let found = format!("{} above {} at point {at}", interval.low[at], interval.high[at]);
            return Err(Error::invalid(format!("`low` of {option}"), "not above `high`", found));
        }
        Ok(())
    }
}

/// What an option is called, and what it is an option of.
pub(super) struct IntervalOption {
    pub(super) option: &'static str,
    pub(super) one: &'static str,
    pub(super) all: &'static str,
}

/// The colour of a series' band.
fn fill(series: &Series, ink: &str) -> String {
    see_through(ink, if series.filled { AREA } else { OPACITY })
}

/// The corners of a band's parts between gaps: to the right along the upper end and back along the
/// lower.
fn outlines(series: &Series, panel: &Panel) -> Vec<Vec<(f64, f64)>> {
    let Some(Envelope { low, high }) = &series.band else { return Vec::new() };
    let fits = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
    let (x_log, y_log) = (panel.x.log, panel.y.log);
    let is_drawn =
        |i: &usize| fits(series.x[*i], x_log) && fits(low[*i], y_log) && fits(high[*i], y_log);
    let all: Vec<usize> = (0..series.x.len()).collect();
    let runs = all.chunk_by(|a, b| is_drawn(a) == is_drawn(b)).filter(|run| is_drawn(&run[0]));
    let outline = |run: &[usize]| {
        let above = run.iter().map(|i| (series.x[*i], high[*i]));
        above.chain(run.iter().rev().map(|i| (series.x[*i], low[*i]))).collect()
    };
    runs.map(outline).collect()
}

/// The bands of a panel as traces.
pub(super) fn traces(panel: &Panel, i: usize) -> Vec<Value> {
    let band = |(series, look): (&Series, Look)| {
        let outlines = outlines(series, panel);
        let (mut x, mut y): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for corner in outlines.iter().enumerate().flat_map(|(part, outline)| {
            let gap = (part > 0).then_some(None);
            gap.into_iter().chain(outline.iter().map(Some))
        }) {
            x.push(corner.map_or(Value::Null, |corner| json!(corner.0)));
            y.push(corner.map_or(Value::Null, |corner| json!(corner.1)));
        }
        (!x.is_empty()).then(|| {
            json!({
                "type": "scatter", "mode": "lines", "fill": "toself", "hoverinfo": "skip",
                "showlegend": false, "x": x, "y": y, "line": {"width": 0},
                "fillcolor": fill(series, look.ink),
                "xaxis": numbered("x", i), "yaxis": numbered("y", i),
            })
        })
    };
    panel.looks().filter_map(band).collect()
}

/// The band of a series in a still picture, with its colour.
pub(super) fn steps(
    series: &Series,
    panel: &Panel,
    ink: &str,
    place: impl Fn(f64, f64) -> (f64, f64),
) -> Option<(Vec<PathStep>, String)> {
    let mut steps = Vec::new();
    for outline in outlines(series, panel) {
        for (at, (x, y)) in outline.into_iter().enumerate() {
            let (x, y) = place(x, y);
            steps.push(if at == 0 { PathStep::Move(x, y) } else { PathStep::Line(x, y) });
        }
        steps.push(PathStep::Close);
    }
    (!steps.is_empty()).then(|| (steps, fill(series, ink)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::line;

    #[test]
    fn a_band_goes_round_its_line_and_widens_the_axis() {
        let figure = line(vec![("a", vec![1.0, 2.0, 3.0]), ("b", vec![0.0, 0.0, 0.0])]).unwrap();
        let figure = figure.band(0, [0.5, 1.5, 2.5], [1.5, 2.5, 9.0]).unwrap();
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        let band = &json["data"][2];
        assert_eq!(band["fill"], "toself");
        assert_eq!(band["x"], json!([0.0, 1.0, 2.0, 2.0, 1.0, 0.0]));
        assert_eq!(band["y"], json!([1.5, 2.5, 9.0, 2.5, 1.5, 0.5]));
        assert_eq!(band["fillcolor"], "rgba(0,114,178,0.2)");
        let mut top = 0.0;
        figure.root.each_panel(&mut |panel| top = panel.y_extent().1);
        assert!(top > 9.0, "{top}");
        assert!(figure.to_svg().contains("0.2"), "{}", figure.to_svg());
    }

    #[test]
    fn a_band_has_gaps_where_an_end_is_missing() {
        let figure = line([1.0, 2.0, 3.0, 4.0]).unwrap();
        let figure = figure.band(0, [0.0, f64::NAN, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0]).unwrap();
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        assert_eq!(json["data"][1]["x"], json!([0.0, 0.0, null, 2.0, 3.0, 3.0, 2.0]));
    }

    #[test]
    fn what_is_between_two_lines_is_filled() {
        let lines = [("a", [1.0, 4.0, f64::NAN, 1.0]), ("b", [3.0, 2.0, 3.0, 3.0])];
        let figure = line(lines).unwrap().fill_between(0, 1).unwrap();
        let json: Value = serde_json::from_str(&figure.to_json()).unwrap();
        // The lines cross, and the first has a gap.
        assert_eq!(json["data"][2]["x"], json!([0.0, 1.0, 1.0, 0.0, null, 3.0, 3.0]));
        assert_eq!(json["data"][2]["y"], json!([3.0, 4.0, 2.0, 1.0, null, 3.0, 1.0]));
        assert_eq!(json["data"][2]["fillcolor"], "rgba(197,135,0,0.4)");
        assert!(figure.to_svg().contains("fill-opacity=\"0.4\""), "{}", figure.to_svg());
        let message = |result: Result<Figure>| result.unwrap_err().to_string();
        let figure = || line([("a", vec![1.0, 2.0]), ("b", vec![1.0])]).unwrap();
        assert!(message(figure().fill_between(0, 2)).contains("below 2, the lines"));
        assert!(message(figure().fill_between(0, 1)).contains("1 points, as the other"));
    }

    #[test]
    fn bands_that_cannot_be_are_named() {
        let figure = || line([1.0, 2.0]).unwrap();
        let message = |result: Result<Figure>| result.unwrap_err().to_string();
        assert!(message(figure().band(1, [0.0, 0.0], [1.0, 1.0])).contains("below 1, the lines"));
        assert!(message(figure().band(0, [0.0], [1.0, 1.0])).contains("2 values, one a point"));
        let crossed = message(figure().band(0, [0.0, 3.0], [1.0, 1.0]));
        assert!(crossed.contains("3 above 1 at point 1"), "{crossed}");
    }
}
