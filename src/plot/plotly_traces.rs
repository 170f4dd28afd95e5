//! Images and series as plotly's traces.

use serde_json::{Value, json};

use super::arrange::Placed;
use super::cell_numbers::{CellNumber, numbers};
use super::figure::Figure;
use super::gaps::gap;
use super::marks::{diagonal_places, point_size};
use super::palette::{AXIS, Look};
use super::panel::{Axis, Image, Panel, Series, Style};
use super::plotly_text::{numbered, text, themed};
use super::{encode, error_bars};

/// Larger matrices tell the numbers of row and column on hovering, not their labels: a text per
/// cell would outweigh the data.
const HOVER_TEXTS: usize = 40_000;
pub(super) fn image(image: &Image, name: Option<&str>, x: &Axis, y: &Axis) -> Value {
    // No bare `%{x}`: it would come with the markup of the axis's numbers.
    let place = format!("{} %{{x:d}}, {} %{{y:d}}", title(x, "x"), title(y, "y"));
    if let Some(rgb) = &image.rgb {
        let rows: Vec<&[[u8; 3]]> = rgb.chunks(image.columns.max(1)).collect();
        return json!({
            "type": "image", "z": rows, "name": text(name.unwrap_or("")),
            "hovertemplate":
                format!("{place}<br>red %{{z[0]}}, green %{{z[1]}}, blue %{{z[2]}}"),
        });
    }
    let cells: Vec<Option<f64>> = (0..image.values.len())
        .map(|i| image.cell(i).map(|value| shortest(value, image.values.len())))
        .collect();
    let mut trace = json!({
        "type": "heatmap",
        "z": encode::matrix(&cells, image.columns),
        "coloraxis": numbered("coloraxis", image.colour),
        "name": text(name.unwrap_or("")),
        "hoverongaps": false,
        "hovertemplate": format!("{place}<br>%{{z:.4g}}"),
    });
    if (x.labels.is_some() || y.labels.is_some()) && image.values.len() <= HOVER_TEXTS {
        let word = |axis: &Axis, i: usize| match axis.labels.as_ref().and_then(|l| l.get(i)) {
            Some(label) => text(label),
            None => i.to_string(),
        };
        let rows: Vec<Vec<String>> = (0..image.rows)
            .map(|r| {
                (0..image.columns).map(|c| format!("{} | {}", word(y, r), word(x, c))).collect()
            })
            .collect();
        trace["hovertext"] = json!(rows);
        trace["hovertemplate"] = json!("%{hovertext}<br>%{z:.4g}");
    }
    trace
}

/// An f32 as the number with the fewest digits that reads back as it, where all digits are kept.
fn shortest(value: f64, count: usize) -> f64 {
    if count > encode::EXACT {
        return value;
    }
    (value as f32).to_string().parse().unwrap_or(value)
}

/// The numbers in the cells of the `i`-th panel. Plotly's own would have one of two greys.
pub(super) fn cell_numbers(figure: &Figure, placed: &Placed, i: usize) -> Option<Value> {
    let (size, numbers) = numbers(figure, placed)?;
    let of = |pick: fn(&CellNumber) -> Value| numbers.iter().map(pick).collect::<Vec<Value>>();
    Some(json!({
        "type": "scatter", "mode": "text", "hoverinfo": "skip", "showlegend": false,
        "x": of(|n| json!(n.column)), "y": of(|n| json!(n.row)),
        "text": of(|n| json!(n.words)),
        "textfont": {"size": size, "color": of(|n| json!(n.ink))},
        "xaxis": numbered("x", i), "yaxis": numbered("y", i),
    }))
}

/// The `order`-th series of `panel`, told apart in `legend`.
pub(super) fn series(panel: &Panel, series: &Series, order: usize, legend: &str) -> Value {
    let look = panel.looks().nth(order).map_or_else(|| Look::of(0), |(_, look)| look);
    let (x, y) = (&panel.x, &panel.y);
    // A gap is a y that is missing, and an x only where that is the reason.
    let places: Vec<Option<f64>> =
        series.x.iter().map(|&at| gap(at, x.log).is_none().then_some(at)).collect();
    let mut trace = json!({
        "name": themed(&series.name),
        "x": encode::vector(&places),
        "y": encode::vector(&series.unless_gap(&series.y, x, y)),
        "showlegend": panel.has_legend() && !series.name.is_empty(),
    });
    if panel.has_legend() {
        trace["legend"] = json!(legend);
    }
    trace["hovertemplate"] = json!(hover(series, x, y));
    let labels = x.labels.as_ref().filter(|_| series.style != Style::Points);
    if let Some(texts) = series.texts.as_ref().or(labels) {
        trace["hovertext"] = texts.iter().map(|t| json!(text(t))).collect();
    }
    if let Some((bars, ends)) = error_bars::trace(series, look.ink) {
        (trace["error_y"], trace["customdata"]) = (bars, ends);
    }
    match series.style {
        Style::Bars => {
            trace["type"] = json!("bar");
            let inside = error_bars::inside(series, look.ink);
            trace["marker"] = json!({"color": inside, "line": {"width": 0}});
            if let Some(width) = series.bar {
                trace["width"] = json!(width);
                // A line of the page's own colour between bins that touch.
                trace["marker"]["line"] = json!({"width": 0.5, "color": "rgba(255,255,255,0.5)"});
            }
        }
        Style::Line | Style::Steps => {
            trace["type"] = json!("scatter");
            trace["mode"] = json!("lines");
            trace["line"] = json!({"color": look.ink, "width": 2});
            if !look.dash.is_empty() {
                trace["line"]["dash"] = json!(look.dashes("px"));
            }
            if series.style == Style::Steps {
                trace["line"]["shape"] = json!("hv");
            }
            let dots = series.dots(x, y);
            if !dots.is_empty() {
                trace["mode"] = json!("lines+markers");
                trace["marker"] =
                    json!({"color": look.ink, "symbol": look.symbol.name(), "size": 7});
                if series.y.len() > dots.len() {
                    let mut sizes = vec![0; series.y.len()];
                    dots.iter().for_each(|&dot| sizes[dot] = 7);
                    trace["marker"]["size"] = json!(sizes);
                }
            }
        }
        Style::Points => {
            trace["type"] = json!("scatter");
            trace["mode"] = json!("markers");
            trace["marker"] = json!({
                "color": look.ink, "size": point_size(series.x.len()), "symbol": look.symbol.name(),
            });
            if let Some((axis, values)) = &series.shades {
                trace["marker"]["color"] = encode::vector(&series.unless_gap(values, x, y));
                trace["marker"]["coloraxis"] = json!(numbered("coloraxis", *axis));
            }
        }
    }
    trace
}

/// What is told of a point under the mouse.
fn hover(series: &Series, x: &Axis, y: &Axis) -> String {
    let ends = match series.error_bars {
        Some(_) => "<br>from %{customdata[0]:.4~g} to %{customdata[1]:.4~g}",
        None => "",
    };
    let extra = format!("{ends}<extra>{}</extra>", text(&series.name));
    let named = format!("{} %{{x:.6~g}}<br>{} %{{y:.4~g}}", title(x, "x"), title(y, "y"));
    let value = format!("{} %{{y:.4~g}}", title(y, "y"));
    if series.told.is_some() {
        return format!("%{{hovertext}}<br>{named}{extra}");
    }
    match (&series.texts, &x.labels) {
        // The text of a bin is its place.
        (Some(_), _) if series.bar.is_some() || series.style == Style::Steps => {
            format!("%{{hovertext}}<br>{value}{extra}")
        }
        // So is that of a point among names.
        (Some(_), Some(_)) => format!("%{{hovertext}}<br>{value}{extra}"),
        (Some(_), None) => format!("%{{hovertext}}<br>{named}{extra}"),
        (None, Some(_)) if series.style != Style::Points => {
            format!("%{{hovertext}}<br>{value}{extra}")
        }
        _ => format!("{named}{extra}"),
    }
}

fn title(axis: &Axis, name: &str) -> String {
    text(axis.title.as_deref().unwrap_or(name))
}

/// The line y = x.
pub(super) fn diagonal(panel: &Panel, i: usize) -> Option<Value> {
    let places: Vec<f64> = diagonal_places(panel)?;
    Some(json!({
        "type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": false,
        "x": places, "y": places,
        "line": {"color": AXIS, "width": 1.5, "dash": "6px,4px"},
        "xaxis": numbered("x", i), "yaxis": numbered("y", i),
    }))
}

impl Series {
    /// One number per point, without those that are not drawn.
    fn unless_gap(&self, values: &[f64], x: &Axis, y: &Axis) -> Vec<Option<f64>> {
        let drawn = |(i, &value): (usize, &f64)| self.gap(i, x, y).is_none().then_some(value);
        values.iter().enumerate().map(drawn).collect()
    }
}
