//! Intervals at single points: upright strokes with caps.

use serde_json::{Value, json};

use super::band::IntervalOption;
use super::figure::Figure;
use super::palette::see_through;
use super::panel::{Envelope, Panel, Series};
use super::values::IntoValues;
use super::vector::PathStep;
use crate::Result;

/// Pixels of a stroke's width, and of half a cap.
pub(super) const WIDTH: f64 = 1.5;
const CAP: f64 = 4.0;
/// How much of what is behind a bar is covered where it has an error bar in its own colour.
const BAR: f64 = 0.5;

impl Figure {
    /// Puts an error bar at each point of the `series`-th line, bars or points of the figure, from
    /// `low` to `high`: an interval of confidence. Bars let what is behind them through then.
    ///
    /// ```
    /// use eigenlens::plot::bar;
    /// bar([0.42, 0.72])?.error_bars(0, [0.40, 0.69], [0.44, 0.74])?.show();
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the figure has no such series, or if `low` is
    /// above `high` at a point; [`Error::Shape`](crate::Error::Shape) unless there are as many
    /// numbers as points. Where one is not finite, the point has no error bar.
    pub fn error_bars(
        mut self,
        series: usize,
        low: impl IntoValues,
        high: impl IntoValues,
    ) -> Result<Self> {
        let interval = Envelope { low: low.into_values()?, high: high.into_values()? };
        let kind = IntervalOption { option: "error_bars", one: "series", all: "series" };
        let give = |own: &mut Series| own.error_bars = Some(interval.clone());
        self.give(kind, series, &interval, |_| true, give)?;
        Ok(self)
    }
}

/// The colour inside a bar: pale where an error bar is to be seen on it.
pub(super) fn inside(series: &Series, ink: &str) -> String {
    match series.error_bars {
        Some(_) => see_through(ink, BAR),
        None => ink.to_owned(),
    }
}

/// Plotly's error bars of a series, and the ends to be told under the mouse.
pub(super) fn trace(series: &Series, ink: &str) -> Option<(Value, Value)> {
    let Envelope { low, high } = series.error_bars.as_ref()?;
    let lengths = |ends: &[f64], sign: f64| -> Vec<Option<f64>> {
        let length = |(end, y): (&f64, &f64)| Some(sign * (end - y)).filter(|l| l.is_finite());
        ends.iter().zip(&series.y).map(length).collect()
    };
    let bars = json!({
        "type": "data", "symmetric": false, "array": lengths(high, 1.0),
        "arrayminus": lengths(low, -1.0), "color": ink, "thickness": WIDTH, "width": CAP,
    });
    Some((bars, low.iter().zip(high).map(|(low, high)| json!([low, high])).collect()))
}

/// The strokes of a series' error bars in a still picture.
pub(super) fn steps(
    series: &Series,
    panel: &Panel,
    place: impl Fn(f64, f64) -> (f64, f64),
) -> Vec<PathStep> {
    let Some(Envelope { low, high }) = &series.error_bars else { return Vec::new() };
    let floor = panel.y_extent().0;
    let mut steps = Vec::new();
    for (i, x, _) in series.drawn(&panel.x, &panel.y) {
        if !(low[i].is_finite() && high[i].is_finite()) {
            continue;
        }
        // On a logarithmic axis, what reaches to 0 has no lower end.
        let is_open = panel.y.log && low[i] <= 0.0;
        let (middle, top) = place(x, high[i]);
        let (_, bottom) = place(x, if is_open { floor } else { low[i] });
        steps.extend([PathStep::Move(middle, top), PathStep::Line(middle, bottom)]);
        for end in [Some(top), (!is_open).then_some(bottom)].into_iter().flatten() {
            steps.extend([PathStep::Move(middle - CAP, end), PathStep::Line(middle + CAP, end)]);
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::{json_of, message};
    use crate::plot::{bar, line, scatter};

    #[test]
    fn error_bars_reach_from_low_to_high() -> Result<()> {
        let figure = bar([2.0, 4.0])?.error_bars(0, [1.5, f64::NAN], [3.0, 5.0])?;
        let json = json_of(&figure);
        let own = &json["data"][0];
        assert_eq!(own["error_y"]["array"], json!([1.0, 1.0]));
        assert_eq!(own["error_y"]["arrayminus"], json!([0.5, null]));
        assert_eq!(own["customdata"], json!([[1.5, 3.0], [null, 5.0]]));
        assert!(own["hovertemplate"].as_str().unwrap().contains("%{customdata[0]"));
        // Bars are pale, so that the strokes can be seen on them.
        assert_eq!(own["marker"]["color"], "rgba(0,114,178,0.5)");
        let mut top = 0.0;
        figure.root.each_panel(&mut |panel| top = panel.y_extent().1);
        assert!(top > 5.0, "{top}");
        let svg = figure.to_svg();
        assert!(svg.contains("stroke-width=\"1.5\"") && svg.contains("fill-opacity=\"0.5\""));
        assert!(!figure.to_pdf().is_empty());
        Ok(())
    }

    #[test]
    fn a_still_picture_has_a_stroke_and_its_caps() -> Result<()> {
        let figure = scatter([1.0, 2.0], [1.0, 10.0])?.log_y()?;
        let figure = figure.error_bars(0, [0.5, 0.0], [2.0, 20.0])?;
        let mut steps = Vec::new();
        figure.root.each_panel(&mut |panel| {
            let own = panel.series().next().unwrap();
            steps = super::steps(own, panel, |x, y| (x, y));
        });
        // The second has no lower end, and so one cap.
        assert_eq!(steps.len(), 6 + 4);
        assert_eq!(steps[..2], [PathStep::Move(1.0, 2.0), PathStep::Line(1.0, 0.5)]);
        assert_eq!(steps[4..6], [PathStep::Move(-3.0, 0.5), PathStep::Line(5.0, 0.5)]);
        Ok(())
    }

    #[test]
    fn groups_keep_their_error_bars() -> Result<()> {
        let figure = scatter([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])?;
        let figure = figure.error_bars(0, [0.0, 1.0, 2.0], [2.0, 3.0, 4.0])?;
        let json = json_of(&figure.group_by(["a", "b", "a"])?);
        assert_eq!(json["data"][0]["customdata"], json!([[0.0, 2.0], [2.0, 4.0]]));
        Ok(())
    }

    #[test]
    fn error_bars_that_cannot_be_are_named() -> Result<()> {
        let figure = || line([1.0, 2.0]).unwrap();
        assert!(message(figure().error_bars(1, [0.0], [1.0])).contains("below 1, the series"));
        assert!(
            message(figure().error_bars(0, [0.0], [1.0, 1.0])).contains("2 values, one a point")
        );
        let crossed = message(figure().error_bars(0, [0.0, 3.0], [1.0, 1.0]));
        assert!(
            crossed.contains("`low` of error_bars") && crossed.contains("3 above 1 at point 1")
        );
        Ok(())
    }
}
