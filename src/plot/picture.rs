//! A still picture of a figure as SVG, for where plotly is not at hand.
//!
//! It asks nothing of the network and is small: matrices are palette PNGs inside the SVG, curves
//! are thinned to what a screen can show.

use std::fmt::Write as _;

use super::arrange::{Page, Placed, Rect};
use super::figure::Figure;
use super::panel::{Image, Mark, Panel, Series, Style};
use super::plotly_json::point_size;
use super::scale::{AXIS, GRID, SERIES, Scale, TEXT};
use super::space::{Space, project, reach};
use super::ticks::{self, Orientation, Ticks};
use crate::encode::{base64, escape, png};

/// Of larger matrices only every so many cells are drawn.
const CELLS: usize = 800;
/// Curves are reduced to about this many points.
const POINTS: usize = 1_000;
/// Point clouds are cut off here.
const CLOUD: usize = 2_000;
/// Weight and number of levels of red, green and blue in a palette of 252 colours.
const STEPS: [(u8, u8); 3] = [(42, 6), (6, 7), (1, 6)];

/// The picture as an HTML image that holds its own data.
pub(super) fn html(figure: &Figure) -> String {
    let page = figure.page();
    format!(
        "<img alt=\"{}\" width=\"{:.0}\" height=\"{:.0}\" \
         src=\"data:image/svg+xml;base64,{}\">",
        escape(&figure.to_string()),
        page.width,
        page.height,
        base64(draw(figure, &page).as_bytes()),
    )
}

/// The picture as an SVG document.
pub(super) fn svg(figure: &Figure) -> String {
    draw(figure, &figure.page())
}

fn draw(figure: &Figure, page: &Page) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" \
         viewBox=\"0 0 {w:.0} {h:.0}\" font-family=\"sans-serif\" font-size=\"11\" \
         fill=\"{TEXT}\">",
        w = page.width,
        h = page.height,
    );
    if let Some(title) = &figure.title {
        label(&mut out, 12.0, 26.0, "start", 16, title);
    }
    for (x, y, words) in &page.titles {
        label(&mut out, *x, *y, "middle", 14, words);
    }
    for (i, placed) in page.panels.iter().enumerate() {
        panel(&mut out, figure, placed, i);
    }
    for (axis, rect) in &page.bars {
        let colour = &figure.colours[*axis];
        bar(&mut out, *axis, *rect, colour.scale(), figure.limits(*axis));
        if let Some(title) = &colour.title {
            label(&mut out, rect.x, rect.y - 8.0, "start", 12, title);
        }
    }
    out.push_str("</svg>");
    out
}

/// Writes `words`, its last line at `y`.
fn label(out: &mut String, x: f64, y: f64, anchor: &str, size: u32, words: &str) {
    let lines = words.lines().count();
    for (i, line) in words.lines().enumerate() {
        let y = y - (lines - 1 - i) as f64 * 15.0;
        let _ = write!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{}</text>",
            escape(line)
        );
    }
}

/// Maps data to pixels along one axis.
#[derive(Debug, Clone, Copy)]
struct Ruler {
    low: f64,
    high: f64,
    log: bool,
    start: f64,
    length: f64,
}

impl Ruler {
    fn at(&self, value: f64) -> f64 {
        let place = |v: f64| if self.log { v.max(f64::MIN_POSITIVE).ln() } else { v };
        let (low, high) = (place(self.low), place(self.high));
        self.start + (place(value) - low) / (high - low) * self.length
    }
}

fn panel(out: &mut String, figure: &Figure, placed: &Placed, i: usize) {
    let (panel, r) = (&placed.panel, placed.rect);
    if let Some(title) = &panel.title {
        label(out, r.x + r.w / 2.0, r.y - placed.above - 6.0, "middle", 12, title);
    }
    let (x, y) = (panel.x_extent(), panel.y_extent());
    let h = Ruler { low: x.0, high: x.1, log: panel.x.log, start: r.x, length: r.w };
    let v = Ruler { low: y.0, high: y.1, log: panel.y.log, start: r.y + r.h, length: -r.h };
    let own = |mark: &Mark| matches!(mark, Mark::Image(_) | Mark::Series(_));
    if panel.marks.iter().any(own) {
        axes(out, placed, h, v);
    }
    let _ = write!(
        out,
        "<clipPath id=\"p{i}\"><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
         </clipPath><g clip-path=\"url(#p{i})\">",
        r.x, r.y, r.w, r.h
    );
    let bars = panel.series().filter(|s| s.style == Style::Bars).count().max(1);
    let slot = (h.at(x.0 + panel.bar_pitch()) - h.at(x.0)) * 0.8 / bars as f64;
    let left = bars as f64 / 2.0 * slot;
    let mut order = 0;
    for mark in &panel.marks {
        match mark {
            Mark::Image(values) => {
                image(out, values, r, figure.colours[values.colour].scale(), figure);
            }
            Mark::Series(values) => {
                let bar = (slot, order as f64 * slot - left);
                series(out, figure, values, order, bar, h, v);
                order += 1;
            }
            Mark::Space(values) => space(out, panel, values, r),
            Mark::Plotly(_) => {
                let words = "(this trace is drawn by plotly only)";
                label(out, r.x + r.w / 2.0, r.y + r.h / 2.0, "middle", 12, words);
            }
        }
    }
    out.push_str("</g>");
    if panel.has_legend() {
        legend(out, panel, r);
    }
}

fn axes(out: &mut String, placed: &Placed, h: Ruler, v: Ruler) {
    let (panel, r) = (&placed.panel, placed.rect);
    let image = panel.image().is_some();
    let (across, upright) =
        ticks::labels(&panel.x, r.w, Orientation::Across).unwrap_or_else(|| {
            (ticks::numbers(&panel.x, (h.low, h.high), r.w, Orientation::Across.pitch()), false)
        });
    let up: Ticks = ticks::labels(&panel.y, r.h, Orientation::Up).map_or_else(
        || ticks::numbers(&panel.y, (v.low, v.high), r.h, Orientation::Up.pitch()),
        |l| l.0,
    );
    if !image {
        let mut path = String::new();
        for (value, _) in across.iter().filter(|_| panel.x.labels.is_none()) {
            let _ = write!(path, "M{:.1} {:.1}v{:.1}", h.at(*value), r.y, r.h);
        }
        for (value, _) in &up {
            let _ = write!(path, "M{:.1} {:.1}h{:.1}", r.x, v.at(*value), r.w);
        }
        let _ = write!(out, "<path d=\"{path}\" stroke=\"{GRID}\"/>");
        if !panel.y.log && v.low.min(v.high) <= 0.0 && v.low.max(v.high) >= 0.0 {
            let y = v.at(0.0);
            let _ = write!(out, "<path d=\"M{:.1} {y:.1}h{:.1}\" stroke=\"{AXIS}\"/>", r.x, r.w);
        }
    }
    let edge = if panel.x.on_top { r.y - 6.0 } else { r.y + r.h + 15.0 };
    for (value, text) in across.iter().filter(|_| !panel.x.hide_ticks) {
        let x = h.at(*value);
        if upright {
            let (anchor, y) = if panel.x.on_top { ("start", edge) } else { ("end", edge - 8.0) };
            let _ = write!(
                out,
                "<text transform=\"translate({:.1} {y:.1}) rotate(-90)\" \
                 text-anchor=\"{anchor}\">{}</text>",
                x + 4.0,
                escape(text)
            );
        } else {
            label(out, x, edge, "middle", 11, text);
        }
    }
    for (value, text) in up.iter().filter(|_| !panel.y.hide_ticks) {
        label(out, r.x - 6.0, v.at(*value) + 4.0, "end", 11, text);
    }
    if let Some(title) = &panel.x.title {
        let y =
            if panel.x.on_top { r.y - placed.above + 12.0 } else { r.y + r.h + x_title(placed) };
        label(out, r.x + r.w / 2.0, y, "middle", 12, title);
    }
    if let Some(title) = &panel.y.title {
        let ticks = if panel.y.hide_ticks { 0.0 } else { ticks::widest(&up).max(20.0) + 10.0 };
        let _ = write!(
            out,
            "<text transform=\"translate({:.1} {:.1}) rotate(-90)\" text-anchor=\"middle\" \
             font-size=\"12\">{}</text>",
            r.x - ticks - 6.0,
            r.y + r.h / 2.0,
            escape(title)
        );
    }
}

/// How far below the plotting area the title of the x axis stands.
fn x_title(placed: &Placed) -> f64 {
    match ticks::labels(&placed.panel.x, placed.rect.w, Orientation::Across) {
        _ if placed.panel.x.hide_ticks => 16.0,
        Some((labels, true)) => ticks::widest(&labels) + 24.0,
        _ => 34.0,
    }
}

fn image(out: &mut String, image: &Image, r: Rect, scale: Scale, figure: &Figure) {
    let (low, high) = figure.limits(image.colour);
    let palette = match &image.rgb {
        Some(_) => (0..=255)
            .map(|i| STEPS.map(|(size, count)| i / size % count * (255 / (count - 1))))
            .collect(),
        None => (0..256).map(|i| scale.rgb(f64::from(i) / 255.0)).collect::<Vec<[u8; 3]>>(),
    };
    let (rows, columns) = (image.rows.min(CELLS), image.columns.min(CELLS));
    let mut pixels = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let cell = row * image.rows / rows * image.columns + column * image.columns / columns;
            pixels.push(match &image.rgb {
                Some(rgb) => coarse(rgb[cell]),
                None => {
                    let share = (f64::from(image.values[cell]) - low) / (high - low);
                    (share * 255.0).round().clamp(0.0, 255.0) as u8
                }
            });
        }
    }
    let _ = write!(
        out,
        "<image x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
         preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" \
         href=\"data:image/png;base64,{}\"/>",
        r.x,
        r.y,
        r.w,
        r.h,
        base64(&png(columns, &pixels, Some(&palette)))
    );
}

/// Place of a colour in the still picture's palette.
fn coarse(rgb: [u8; 3]) -> u8 {
    let level =
        |value: u8, count: u8| (f64::from(value) / 255.0 * f64::from(count - 1)).round() as u8;
    rgb.iter().zip(STEPS).map(|(&value, (size, count))| size * level(value, count)).sum()
}

fn series(
    out: &mut String,
    figure: &Figure,
    series: &Series,
    order: usize,
    (slot, shift): (f64, f64),
    h: Ruler,
    v: Ruler,
) {
    let ink = series.ink.unwrap_or(SERIES[order % SERIES.len()]);
    let points = || series.x.iter().zip(&series.y).map(|(&x, &y)| (h.at(x), v.at(y)));
    match series.style {
        Style::Line => {
            let mut path = String::new();
            for (x, y) in thin(points().collect()) {
                let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
            }
            let _ = write!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{ink}\" stroke-width=\"2\"/>"
            );
        }
        Style::Bars => {
            let floor = if v.log { v.low } else { 0.0_f64.clamp(v.low, v.high) };
            let base = v.at(floor);
            let mut path = String::new();
            for (x, y) in points() {
                let _ = write!(path, "M{:.1} {base:.1}V{y:.1}h{slot:.1}V{base:.1}z", x + shift);
            }
            let _ = write!(out, "<path d=\"{path}\" fill=\"{ink}\"/>");
        }
        Style::Points => {
            let radius = point_size(series.x.len()) / 2.0;
            for (i, (x, y)) in points().enumerate().take(CLOUD) {
                let ink = match &series.shades {
                    Some((axis, values)) => {
                        let (low, high) = figure.limits(*axis);
                        let share = (values[i] - low) / (high - low);
                        let [r, g, b] = figure.colours[*axis].scale().rgb(share);
                        format!("#{r:02x}{g:02x}{b:02x}")
                    }
                    None => ink.to_owned(),
                };
                let _ = write!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{ink}\"/>"
                );
            }
        }
    }
}

/// Keeps the lowest and the highest point of every stretch, so that no spike is lost.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points;
    }
    let stretch = points.len().div_ceil(POINTS / 2);
    points
        .chunks(stretch)
        .flat_map(|part| {
            let by_height = |i: &usize, j: &usize| part[*i].1.total_cmp(&part[*j].1);
            let low = (0..part.len()).min_by(by_height).unwrap_or(0);
            let high = (0..part.len()).max_by(by_height).unwrap_or(0);
            [part[low.min(high)], part[low.max(high)]]
        })
        .collect()
}

fn legend(out: &mut String, panel: &Panel, r: Rect) {
    for (i, (name, ink)) in panel.names().into_iter().enumerate() {
        let y = r.y + 8.0 + i as f64 * 18.0;
        let x = r.x + r.w + 14.0;
        let _ = write!(out, "<path d=\"M{x:.1} {y:.1}h16\" stroke=\"{ink}\" stroke-width=\"4\"/>");
        label(out, x + 22.0, y + 4.0, "start", 12, name);
    }
}

/// Lines and dots in three dimensions as the eye sees them.
fn space(out: &mut String, panel: &Panel, space: &Space, r: Rect) {
    let scale = r.w.min(r.h) / 2.0 / reach(panel.spaces().flat_map(|space| &space.places));
    let at = |place| {
        let (x, y) = project(place);
        (r.x + r.w / 2.0 + scale * x, r.y + r.h / 2.0 - scale * y)
    };
    let (mut path, mut pen) = (String::new(), 'M');
    for (x, y) in space.path(&space.places).into_iter().map(at) {
        if x.is_finite() && y.is_finite() {
            let _ = write!(path, "{pen}{x:.1} {y:.1}");
            pen = 'L';
        } else {
            pen = 'M';
        }
    }
    let (ink, width) = (space.ink, space.width);
    let _ =
        write!(out, "<path d=\"{path}\" fill=\"none\" stroke=\"{ink}\" stroke-width=\"{width}\"/>");
    for (x, y) in space.tips(&space.places).iter().map(|tip| at(*tip)) {
        let radius = space.dot() / 2.0;
        let _ = write!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{ink}\"/>");
    }
}

fn bar(out: &mut String, axis: usize, r: Rect, scale: Scale, (low, high): (f64, f64)) {
    let stops = scale.stops();
    let _ = write!(out, "<linearGradient id=\"c{axis}\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\">");
    for (i, hex) in stops.iter().enumerate() {
        let place = i as f64 / (stops.len() - 1) as f64;
        let _ = write!(out, "<stop offset=\"{place:.3}\" stop-color=\"{hex}\"/>");
    }
    let _ = write!(
        out,
        "</linearGradient><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
         fill=\"url(#c{axis})\"/>",
        r.x, r.y, r.w, r.h
    );
    let ruler = Ruler { low, high, log: false, start: r.y + r.h, length: -r.h };
    for (value, text) in ticks::numbers(&Default::default(), (low, high), r.h, 30.0) {
        label(out, r.x + r.w + 5.0, ruler.at(value) + 4.0, "start", 11, &text);
    }
}
