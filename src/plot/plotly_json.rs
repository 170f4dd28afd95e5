//! A figure as plotly's JSON.

use serde_json::{Map, Value, json};

use super::arrange::{Page, Placed};
use super::figure::{Figure, merge};
use super::palette::{AXIS, GRID, SERIES, TEXT};
use super::panel::{Axis, Image, Mark, Style};
use super::pixels::raster;
use super::plotly_text::{numbered, theme_ticks, themed};
use super::plotly_traces::{cell_numbers, diagonal, image, series};
use super::svg::data_uri;
use super::ticks::{self, Orientation};
use super::{band, encode, space};

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
    // After all others, whose places the frames of a film count.
    for (i, placed) in page.panels.iter().enumerate() {
        traces.extend(band::traces(&placed.panel, i));
        traces.extend(diagonal(&placed.panel, i));
        traces.extend(cell_numbers(figure, placed, i));
    }
    if let Some(film) = &figure.film {
        let (sliders, menus) = film.controls(&page);
        layout.insert("sliders".to_owned(), sliders);
        layout.insert("updatemenus".to_owned(), menus);
    }
    if let Some(templates) = figure.templates() {
        layout.insert("template".to_owned(), templates);
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
        "config": {
            "displaylogo": false, "responsive": false, "showSendToCloud": false,
            // Selecting does nothing here, and a short mode bar leaves room for titles.
            "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
        },
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
    set("font", json!({"color": TEXT, "size": 13}));
    set("colorway", json!(SERIES));
    set("bargap", json!(0.2));
    let mut notes: Vec<Value> = Vec::new();
    for (x, y, words) in &page.titles {
        notes.push(note(page, *x, *y, words, 15));
    }
    for placed in &page.panels {
        if let Some(words) = &placed.panel.title {
            let (x, y) = (placed.rect.x + placed.rect.w / 2.0, placed.rect.y - placed.above - 4.0);
            notes.push(note(page, x, y, words, 13));
        }
    }
    if !page.notes.is_empty() {
        let y = page.height - page.notes_bottom;
        let mut below = note(page, 12.0, y, &page.notes.join("\n"), 13);
        (below["xanchor"], below["align"]) = (json!("left"), json!("left"));
        notes.push(below);
    }
    let heading = themed(&page.heading.join("\n"));
    if page.heading.len() == 1 {
        set(
            "title",
            json!({
                "text": heading, "font": {"size": 16},
                "x": 12.0 / page.width, "xanchor": "left",
                "y": 1.0 - page.heading_top / page.height, "yanchor": "top",
            }),
        );
    } else if !page.heading.is_empty() {
        // Versions of plotly.js do not agree on where a title of several lines begins.
        let mut above = note(page, 12.0, page.heading_top, "", 16);
        above["text"] = json!(heading);
        (above["xanchor"], above["align"]) = (json!("left"), json!("left"));
        above["yanchor"] = json!("top");
        notes.push(above);
    }
    set("annotations", json!(notes));
    let pictures: Vec<Value> =
        page.panels.iter().enumerate().filter_map(|(i, p)| below(figure, p, i)).collect();
    if !pictures.is_empty() {
        set("images", json!(pictures));
    }
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
                "outlinewidth": 0, "tickfont": {"size": 13},
                "ticks": "outside", "ticklen": 3, "tickcolor": "rgba(0,0,0,0)",
                "title": {
                    "text": themed(colour.title.as_deref().unwrap_or("")), "font": {"size": 13},
                },
            });
            // Plotly would write 0.0009 as 900µ, other than cells and hover texts.
            let ticks = ticks::numbers(&Axis::default(), (low, high), rect.h, 30.0);
            let (places, words): (Vec<f64>, Vec<String>) = ticks.into_iter().unzip();
            axis["colorbar"]["tickmode"] = json!("array");
            axis["colorbar"]["tickvals"] = json!(places);
            axis["colorbar"]["ticktext"] = words.iter().map(|w| json!(themed(w))).collect();
        }
        set(&numbered("coloraxis", i), axis);
    }
    layout
}

/// A picture of a matrix that only newer plotly.js reads, which then lies over it.
fn below(figure: &Figure, placed: &Placed, i: usize) -> Option<Value> {
    let image = placed.panel.image().filter(|image| image.values.len() > encode::PLAIN)?;
    Some(json!({
        "source": data_uri(&raster(image, placed.rect, figure)), "layer": "below",
        "xref": numbered("x", i), "x": -0.5, "sizex": image.columns, "xanchor": "left",
        "yref": numbered("y", i), "y": -0.5, "sizey": image.rows, "yanchor": "top",
        "sizing": "stretch",
    }))
}

/// A text centred at `x` above `y`.
fn note(page: &Page, x: f64, y: f64, words: &str, size: u32) -> Value {
    json!({
        "text": themed(words), "showarrow": false, "font": {"size": size},
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
    // By the order of the legends: plotly.js before 2.22 knows the first one only.
    let before = page.panels[..i].iter().filter(|placed| placed.panel.has_legend()).count();
    let legend = numbered("legend", before);
    let mut flat = panel.marks.is_empty();
    let mut order = 0;
    for mark in &panel.marks {
        let mut trace = match mark {
            Mark::Image(values) => image(values, panel.title.as_deref(), &panel.x, &panel.y),
            Mark::Series(values) => {
                order += 1;
                series(panel, values, order - 1, &legend)
            }
            Mark::Space(values) => {
                let mut trace = values.trace(panel.flat);
                let named = panel.has_legend() && !values.name.is_empty();
                trace["name"] = json!(themed(&values.name));
                trace["showlegend"] = json!(named);
                // A legend that nothing is in would hide all others.
                if named {
                    trace["legend"] = json!(legend);
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
            legend,
            json!({
                "x": (rect.x + rect.w + 10.0) / page.width, "xanchor": "left",
                "y": 1.0 - rect.y / page.height, "yanchor": "top",
                "bgcolor": "rgba(0,0,0,0)", "itemwidth": 36, "font": {"size": 13},
                "title": {
                    "text": themed(panel.legend_heading().unwrap_or("")), "font": {"size": 13},
                },
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
    // Traces of the plotly crate have hover texts of plotly's making, with whatever is put before
    // and after the numbers of an axis.
    if !panel.marks.iter().any(|mark| matches!(mark, Mark::Plotly(_))) {
        theme_ticks(&mut x);
        theme_ticks(&mut y);
    }
    let together = panel.equal || panel.diagonal;
    if image.is_some() || together || panel.series().any(|s| s.style == Style::Bars) {
        x["range"] = range(&panel.x, panel.x_extent());
    }
    if image.is_some() || together {
        y["range"] = range(&panel.y, panel.y_extent());
    }
    if image.is_some() {
        (x["showgrid"], y["showgrid"]) = (json!(false), json!(false));
    }
    if panel.equal {
        y["scaleanchor"] = json!(numbered("x", i));
    }
    if panel.series().any(|s| s.bar.is_some()) {
        layout.insert("bargap".to_owned(), json!(0));
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

/// What an axis covers, as plotly takes it.
fn range(axis: &Axis, (low, high): (f64, f64)) -> Value {
    let ends = if axis.log { [low.log10(), high.log10()] } else { [low, high] };
    json!(ends)
}

fn axis(axis: &Axis, extent: (f64, f64), pixels: f64, run: Orientation, zero: bool) -> Value {
    let mut json = json!({
        "showgrid": true, "gridcolor": GRID, "zeroline": zero, "zerolinecolor": AXIS,
        "showline": false, "ticks": "outside", "ticklen": 4, "tickcolor": "rgba(0,0,0,0)",
        "tickfont": {"size": 13}, "showticklabels": !axis.hide_ticks, "automargin": false,
        "exponentformat": "power",
        "title": {
            "text": themed(axis.title.as_deref().unwrap_or("")),
            "standoff": 4, "font": {"size": 13},
        },
    });
    let ticks = ticks::numbers(axis, extent, pixels, run.pitch());
    if let Some((labels, upright)) = ticks::labels(axis, pixels, run) {
        let (places, words): (Vec<f64>, Vec<String>) = labels.into_iter().unzip();
        json["tickmode"] = json!("array");
        json["tickvals"] = json!(places);
        json["ticktext"] = words.iter().map(|w| json!(themed(w))).collect();
        json["tickangle"] = json!(if upright { -90 } else { 0 });
        json["showgrid"] = json!(false);
    } else if let [(first, _), (second, _), ..] = ticks[..] {
        // Steps of our own where plotly would put ticks between whole numbers or decades.
        if axis.whole && (extent.1 - extent.0).abs() < 12.0 {
            json["dtick"] = json!(second - first);
        } else if axis.log && second / first > 9.9 {
            json["dtick"] = json!((second / first).log10().round());
        } else if axis.log {
            // Plotly writes the 2 and the 5 of a decade in small print. One more decade at both
            // ends is for those who zoom out.
            let (low, high) = (extent.0 / 10.0, extent.1 * 10.0);
            let places = ticks::logarithmic(low, high, usize::MAX);
            json["tickmode"] = json!("array");
            json["ticktext"] = places.iter().map(|v| json!(themed(&ticks::log_text(*v)))).collect();
            json["tickvals"] = json!(places);
        }
    }
    if axis.log {
        json["type"] = json!("log");
        json["zeroline"] = json!(false);
    }
    if let Some(ends) = axis.range {
        json["range"] = range(axis, ends);
    }
    json
}
