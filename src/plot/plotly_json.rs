//! A figure as plotly's JSON.

use serde_json::{Map, Value, json};

use super::arrange::{Page, Placed};
use super::encode;
use super::figure::{Figure, merge};
use super::panel::{Axis, Image, Mark, Series, Style};
use super::scale::{AXIS, GRID, SERIES, TEXT};
use super::space;
use super::ticks::{self, Orientation};

/// Larger matrices tell the numbers of row and column on hovering, not their labels: a text a cell
/// would outweigh the data.
const HOVER_TEXTS: usize = 40_000;

/// The whole figure: `data`, `layout`, `config`.
pub(super) fn render(figure: &Figure) -> Value {
    let page = figure.page();
    let (mut traces, mut moving) = (Vec::new(), Vec::new());
    let mut layout = base_layout(figure, &page);
    for (i, placed) in page.panels.iter().enumerate() {
        let first = page.panels.iter().position(|p| p.facets_of == placed.facets_of);
        let matches = first.filter(|&first| placed.facets_of > 0 && first < i);
        let marks = placed.panel.marks.iter().enumerate();
        moving.extend(marks.filter_map(|(k, mark)| match mark {
            Mark::Space(space) if space.moves.is_some() => {
                Some((traces.len() + k, space, placed.panel.flat))
            }
            _ => None,
        }));
        panel(&page, placed, i, matches, &mut traces, &mut layout);
    }
    if let Some(film) = &figure.film {
        let (sliders, menus) = film.controls(&page);
        layout.insert("sliders".to_owned(), sliders);
        layout.insert("updatemenus".to_owned(), menus);
    }
    for trace in &mut traces {
        merge(trace, figure.trace_patch.clone());
    }
    let mut layout = Value::Object(layout);
    merge(&mut layout, figure.layout_patch.clone());
    let mut json = json!({
        "data": traces,
        "layout": layout,
        // plotly.js 4 offers to upload the figure unless told not to.
        "config": {"displaylogo": false, "responsive": false, "showSendToCloud": false},
    });
    if let Some(film) = &figure.film {
        json["frames"] = film.frames(&moving);
    }
    json
}

fn base_layout(figure: &Figure, page: &Page) -> Map<String, Value> {
    let mut layout = Map::new();
    let mut set = |key: &str, value: Value| layout.insert(key.to_owned(), value);
    set("width", json!(page.width.round()));
    set("height", json!(page.height.round()));
    set("margin", json!({"l": 0, "r": 0, "t": 0, "b": 0, "pad": 0}));
    // Nothing of its own behind the figure, so it fits light and dark pages.
    set("paper_bgcolor", json!("rgba(0,0,0,0)"));
    set("plot_bgcolor", json!("rgba(0,0,0,0)"));
    set("modebar", json!({"bgcolor": "rgba(0,0,0,0)", "color": TEXT}));
    set("font", json!({"color": TEXT, "size": 12}));
    set("colorway", json!(SERIES));
    set("bargap", json!(0.2));
    if let Some(title) = &figure.title {
        set(
            "title",
            json!({
                "text": text(title), "font": {"size": 16},
                "x": 12.0 / page.width, "xanchor": "left",
                "y": 1.0 - 12.0 / page.height, "yanchor": "top",
            }),
        );
    }
    let mut notes: Vec<Value> = Vec::new();
    for (x, y, words) in &page.titles {
        notes.push(note(page, *x, *y, words, 14));
    }
    for placed in &page.panels {
        if let Some(words) = &placed.panel.title {
            let (x, y) = (placed.rect.x + placed.rect.w / 2.0, placed.rect.y - placed.above - 4.0);
            notes.push(note(page, x, y, words, 12));
        }
    }
    set("annotations", json!(notes));
    for (i, colour) in figure.colours.iter().enumerate() {
        let (low, high) = figure.limits(i);
        let stops = colour.scale().stops();
        let last = (stops.len() - 1) as f64;
        let stops: Vec<Value> =
            stops.iter().enumerate().map(|(k, hex)| json!([k as f64 / last, hex])).collect();
        let mut axis = json!({
            "colorscale": stops, "cmin": low, "cmax": high, "showscale": false,
        });
        if let Some((_, rect)) = page.bars.iter().find(|(axis, _)| *axis == i) {
            axis["showscale"] = json!(true);
            axis["colorbar"] = json!({
                "x": rect.x / page.width, "xanchor": "left", "xpad": 0,
                "y": 1.0 - (rect.y + rect.h / 2.0) / page.height, "yanchor": "middle", "ypad": 0,
                "len": rect.h, "lenmode": "pixels", "thickness": rect.w, "thicknessmode": "pixels",
                "outlinewidth": 0, "tickfont": {"size": 11}, "nticks": 7,
                "ticks": "outside", "ticklen": 3, "tickcolor": "rgba(0,0,0,0)",
                "title": {"text": text(colour.title.as_deref().unwrap_or(""))},
            });
        }
        set(&numbered("coloraxis", i), axis);
    }
    layout
}

/// A text centred at `x` above `y`.
fn note(page: &Page, x: f64, y: f64, words: &str, size: u32) -> Value {
    json!({
        "text": text(words), "showarrow": false, "font": {"size": size},
        "xref": "paper", "x": x / page.width, "xanchor": "center",
        "yref": "paper", "y": 1.0 - y / page.height, "yanchor": "bottom",
    })
}

fn panel(
    page: &Page,
    placed: &Placed,
    i: usize,
    matches: Option<usize>,
    traces: &mut Vec<Value>,
    layout: &mut Map<String, Value>,
) {
    let (panel, rect) = (&placed.panel, placed.rect);
    let across = [rect.x / page.width, (rect.x + rect.w) / page.width];
    let up = [1.0 - (rect.y + rect.h) / page.height, 1.0 - rect.y / page.height];
    let mut flat = panel.marks.is_empty();
    let mut order = 0;
    for mark in &panel.marks {
        let mut trace = match mark {
            Mark::Image(values) => image(values, panel.title.as_deref(), &panel.x, &panel.y),
            Mark::Series(values) => {
                order += 1;
                series(values, order - 1, &panel.x, panel.has_legend().then_some(i))
            }
            Mark::Space(values) => {
                let mut trace = values.trace(panel.flat);
                let named = panel.has_legend() && !values.name.is_empty();
                trace["showlegend"] = json!(named);
                // A legend that nothing is in would hide all others.
                if named {
                    trace["legend"] = json!(numbered("legend", i));
                }
                trace
            }
            Mark::Plotly(value) => value.clone(),
        };
        match trace["type"].as_str() {
            Some("scatter3d" | "surface" | "mesh3d") => {
                let scene = numbered("scene", i);
                trace["scene"] = json!(scene);
                let mut own = space::scene();
                let places = panel.spaces().flat_map(|space| space.places.iter().copied());
                space::fit(&mut own, &places.collect::<Vec<_>>());
                own["domain"] = json!({"x": across, "y": up});
                layout.insert(scene, own);
            }
            Some("pie" | "sankey" | "table") => trace["domain"] = json!({"x": across, "y": up}),
            Some("scatterpolar") => {
                let polar = numbered("polar", i);
                trace["subplot"] = json!(polar);
                layout.insert(polar, json!({"domain": {"x": across, "y": up}}));
            }
            _ => {
                flat = true;
                trace["xaxis"] = json!(numbered("x", i));
                trace["yaxis"] = json!(numbered("y", i));
            }
        }
        traces.push(trace);
    }
    if panel.has_legend() {
        layout.insert(
            numbered("legend", i),
            json!({
                "x": (rect.x + rect.w + 10.0) / page.width, "xanchor": "left",
                "y": 1.0 - rect.y / page.height, "yanchor": "top",
                "bgcolor": "rgba(0,0,0,0)",
            }),
        );
    }
    if !flat {
        return;
    }
    let image = panel.image();
    let points = panel.series().all(|s| s.style == Style::Points);
    let mut x =
        axis(&panel.x, panel.x_extent(), rect.w, Orientation::Across, image.is_none() && points);
    x["domain"] = json!(across);
    x["anchor"] = json!(numbered("y", i));
    if panel.x.on_top {
        x["side"] = json!("top");
    }
    let mut y = axis(&panel.y, panel.y_extent(), rect.h, Orientation::Up, image.is_none());
    y["domain"] = json!(up);
    y["anchor"] = json!(numbered("x", i));
    if image.is_some() || panel.series().any(|s| s.style == Style::Bars) {
        let (left, right) = panel.x_extent();
        x["range"] = json!([left, right]);
    }
    if image.is_some() {
        let (bottom, top) = panel.y_extent();
        y["range"] = json!([bottom, top]);
        (x["showgrid"], y["showgrid"]) = (json!(false), json!(false));
    }
    if image.is_some_and(Image::square) {
        x["constrain"] = json!("domain");
        y["constrain"] = json!("domain");
        y["scaleanchor"] = json!(numbered("x", i));
    }
    if panel.spaces().next().is_some() {
        let reach = space::reach(panel.spaces().flat_map(|space| &space.places));
        for axis in [&mut x, &mut y] {
            *axis = json!({
                "visible": false, "range": [-reach, reach], "domain": axis["domain"],
                "anchor": axis["anchor"],
            });
        }
    }
    if let Some(first) = matches {
        x["matches"] = json!(numbered("x", first));
        y["matches"] = json!(numbered("y", first));
    }
    layout.insert(numbered("xaxis", i), x);
    layout.insert(numbered("yaxis", i), y);
}

fn axis(axis: &Axis, extent: (f64, f64), pixels: f64, run: Orientation, zero: bool) -> Value {
    let mut json = json!({
        "showgrid": true, "gridcolor": GRID, "zeroline": zero, "zerolinecolor": AXIS,
        "showline": false, "ticks": "outside", "ticklen": 4, "tickcolor": "rgba(0,0,0,0)",
        "tickfont": {"size": 11}, "showticklabels": !axis.hide_ticks, "automargin": false,
        "exponentformat": "power",
        "title": {
            "text": text(axis.title.as_deref().unwrap_or("")),
            "standoff": 4, "font": {"size": 12},
        },
    });
    let ticks = ticks::numbers(axis, extent, pixels, run.pitch());
    if let Some((labels, upright)) = ticks::labels(axis, pixels, run) {
        let (places, words): (Vec<f64>, Vec<String>) = labels.into_iter().unzip();
        json["tickmode"] = json!("array");
        json["tickvals"] = json!(places);
        json["ticktext"] = words.iter().map(|w| json!(text(w))).collect();
        json["tickangle"] = json!(if upright { -90 } else { 0 });
        json["showgrid"] = json!(false);
    } else if let [(first, _), (second, _), ..] = ticks[..] {
        // Steps of our own where plotly would put ticks between whole numbers or decades.
        if axis.whole && (extent.1 - extent.0).abs() < 12.0 {
            json["dtick"] = json!(second - first);
        } else if axis.log && second / first >= 9.9 {
            json["dtick"] = json!((second / first).log10().round());
        }
    }
    if axis.log {
        json["type"] = json!("log");
        json["zeroline"] = json!(false);
    }
    if let Some((low, high)) = axis.range {
        let ends = if axis.log { [low.log10(), high.log10()] } else { [low, high] };
        json["range"] = json!(ends);
    }
    json
}

fn image(image: &Image, name: Option<&str>, x: &Axis, y: &Axis) -> Value {
    if let Some(rgb) = &image.rgb {
        let rows: Vec<&[[u8; 3]]> = rgb.chunks(image.columns.max(1)).collect();
        return json!({
            "type": "image", "z": rows, "name": text(name.unwrap_or("")),
            "hovertemplate": "x %{x}, y %{y}<br>red %{z[0]}, green %{z[1]}, blue %{z[2]}",
        });
    }
    let mut trace = json!({
        "type": "heatmap",
        "z": encode::matrix(&image.values, image.rows, image.columns),
        "coloraxis": numbered("coloraxis", image.colour),
        "name": text(name.unwrap_or("")),
        "hovertemplate": "x %{x}, y %{y}<br>%{z:.4g}",
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

fn series(series: &Series, order: usize, x: &Axis, legend: Option<usize>) -> Value {
    let ink = series.ink.unwrap_or(SERIES[order % SERIES.len()]);
    let mut trace = json!({
        "name": text(&series.name),
        "x": encode::vector(&series.x),
        "y": encode::vector(&series.y),
        "showlegend": legend.is_some() && !series.name.is_empty(),
    });
    if let Some(panel) = legend {
        trace["legend"] = json!(numbered("legend", panel));
    }
    let extra = format!("<extra>{}</extra>", text(&series.name));
    let labels = x.labels.as_ref().filter(|_| series.style != Style::Points);
    match series.texts.as_ref().or(labels) {
        Some(texts) => {
            trace["hovertext"] = texts.iter().map(|t| json!(text(t))).collect();
            trace["hovertemplate"] = json!(format!("%{{hovertext}}<br>%{{y:.4g}}{extra}"));
        }
        None => trace["hovertemplate"] = json!(format!("%{{x:.4~g}}, %{{y:.4~g}}{extra}")),
    }
    match series.style {
        Style::Bars => {
            trace["type"] = json!("bar");
            trace["marker"] = json!({"color": ink, "line": {"width": 0}});
        }
        Style::Line => {
            trace["type"] = json!("scatter");
            trace["mode"] = json!("lines");
            trace["line"] = json!({"color": ink, "width": 2});
        }
        Style::Points => {
            trace["type"] = json!("scatter");
            trace["mode"] = json!("markers");
            trace["marker"] = json!({"color": ink, "size": point_size(series.x.len())});
            if let Some((axis, values)) = &series.shades {
                trace["marker"]["color"] = encode::vector(values);
                trace["marker"]["coloraxis"] = json!(numbered("coloraxis", *axis));
            }
        }
    }
    trace
}

/// Pixels across a point: many points are drawn small.
pub(super) fn point_size(count: usize) -> f64 {
    match count {
        0..=200 => 8.0,
        201..=2000 => 5.0,
        _ => 3.0,
    }
}

/// Plotly's name for the `i`-th axis: `x`, `x2`, `x3`, …
fn numbered(name: &str, i: usize) -> String {
    if i == 0 { name.to_owned() } else { format!("{name}{}", i + 1) }
}

/// Plain text for plotly, which reads text as HTML.
fn text(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br>")
}
