//! The still picture of a figure, for where plotly is not at hand.
//!
//! It asks nothing of the network and is small: matrices are images with a palette, curves are
//! thinned to what a screen can show.

use super::arrange::{Page, Placed, Rect};
use super::cell_numbers::numbers;
use super::figure::Figure;
use super::marks::{diagonal_places, point_size};
use super::palette::{AXIS, GRID, Look};
use super::panel::{Image, Mark, Panel, Series, Style};
use super::pixels::{BLANK, raster, shades};
use super::space::{Space, SpaceStyle, project, reach};
use super::ticks::{self, Orientation, Ticks};
use super::vector::{Anchor, PathStep, Raster, Shape, Still, Text};
use super::{band, error_bars};

/// Curves are reduced to about this many points.
const POINTS: usize = 1_000;
/// Point clouds are cut off here.
const CLOUD: usize = 2_000;
/// Pixels of text.
const SIZE: f64 = 13.0;

pub(super) fn draw(figure: &Figure) -> Still {
    let page = figure.page();
    let mut out = Still { width: page.width, height: page.height, shapes: Vec::new() };
    for (i, words) in page.heading.iter().enumerate() {
        let y = page.heading_top + 15.0 + 20.0 * i as f64;
        out.label((12.0, y), Anchor::Start, 16.0, words);
    }
    for (x, y, words) in &page.titles {
        out.label((*x, *y - 4.0), Anchor::Middle, 15.0, words);
    }
    for placed in &page.panels {
        panel(&mut out, figure, placed);
    }
    bars(&mut out, figure, &page);
    if !page.notes.is_empty() {
        let y = page.height - page.notes_bottom - 4.0;
        out.label((12.0, y), Anchor::Start, SIZE, &page.notes.join("\n"));
    }
    out
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

fn panel(out: &mut Still, figure: &Figure, placed: &Placed) {
    let (panel, r) = (&placed.panel, placed.rect);
    if let Some(title) = &panel.title {
        let at = (r.x + r.w / 2.0, r.y - placed.above - 8.0);
        out.label(at, Anchor::Middle, SIZE, title);
    }
    let (x, y) = (panel.x_extent(), panel.y_extent());
    let h = Ruler { low: x.0, high: x.1, log: panel.x.log, start: r.x, length: r.w };
    let v = Ruler { low: y.0, high: y.1, log: panel.y.log, start: r.y + r.h, length: -r.h };
    let flat = |mark: &Mark| matches!(mark, Mark::Image(_) | Mark::Series(_));
    if panel.marks.iter().any(flat) {
        axes(out, placed, h, v);
    }
    out.shapes.push(Shape::Clip(r));
    if let Some(places) = diagonal_places(panel) {
        let at: Vec<(f64, f64)> = places.iter().map(|&p| (h.at(p), v.at(p))).collect();
        out.stroke(joined(&at), AXIS, 1.5, &[6.0, 4.0]);
    }
    let bars = panel.series().filter(|s| s.style == Style::Bars).count().max(1);
    let slot = (h.at(x.0 + panel.bar_pitch()) - h.at(x.0)) * 0.8 / bars as f64;
    let left = bars as f64 / 2.0 * slot;
    let looks: Vec<Look> = panel.looks().map(|(_, look)| look).collect();
    let mut order = 0;
    for mark in &panel.marks {
        match mark {
            Mark::Image(values) => image(out, values, r, figure),
            Mark::Series(values) => {
                let bar = (slot, order as f64 * slot - left);
                series(out, figure, panel, (values, looks[order]), bar, h, v);
                let middle = match (values.style, values.bar) {
                    (Style::Bars, None) => bar.1 + slot / 2.0,
                    _ => 0.0,
                };
                let place = |x, y| (h.at(x) + middle, v.at(y));
                let strokes = error_bars::steps(values, panel, place);
                out.stroke(strokes, looks[order].ink, error_bars::WIDTH, &[]);
                order += 1;
            }
            Mark::Space(values) => space(out, panel, values, r),
            Mark::Plotly(_) => {
                let words = "(this trace is drawn by plotly only)";
                let at = (r.x + r.w / 2.0, r.y + r.h / 2.0);
                out.label(at, Anchor::Middle, SIZE, words);
            }
        }
    }
    if let Some((size, numbers)) = numbers(figure, placed) {
        for number in numbers {
            let at = (h.at(number.column as f64), v.at(number.row as f64) + size * 0.36);
            let (words, ink) = (number.words, Some(number.ink));
            let anchor = Anchor::Middle;
            out.text(Text { words, at, anchor, size, upward: false, ink });
        }
    }
    out.shapes.push(Shape::Unclip);
    if panel.has_legend() {
        legend(out, panel, r);
    }
}

fn axes(out: &mut Still, placed: &Placed, h: Ruler, v: Ruler) {
    let (panel, r) = (&placed.panel, placed.rect);
    let (across, upright) =
        ticks::labels(&panel.x, r.w, Orientation::Across).unwrap_or_else(|| {
            (ticks::numbers(&panel.x, (h.low, h.high), r.w, Orientation::Across.pitch()), false)
        });
    let up: Ticks = ticks::labels(&panel.y, r.h, Orientation::Up).map_or_else(
        || ticks::numbers(&panel.y, (v.low, v.high), r.h, Orientation::Up.pitch()),
        |l| l.0,
    );
    if panel.image().is_none() {
        let mut lines = Vec::new();
        for (value, _) in across.iter().filter(|_| panel.x.labels.is_none()) {
            let x = h.at(*value);
            lines.extend([PathStep::Move(x, r.y), PathStep::Line(x, r.y + r.h)]);
        }
        for (value, _) in &up {
            let y = v.at(*value);
            lines.extend([PathStep::Move(r.x, y), PathStep::Line(r.x + r.w, y)]);
        }
        out.stroke(lines, GRID, 1.0, &[]);
        if !panel.y.log && v.low.min(v.high) <= 0.0 && v.low.max(v.high) >= 0.0 {
            let y = v.at(0.0);
            out.stroke(vec![PathStep::Move(r.x, y), PathStep::Line(r.x + r.w, y)], AXIS, 1.0, &[]);
        }
    }
    let edge = if panel.x.on_top { r.y - 6.0 } else { r.y + r.h + 16.0 };
    for (value, words) in across.iter().filter(|_| !panel.x.hide_ticks) {
        let x = h.at(*value);
        if upright {
            let top = panel.x.on_top;
            let (anchor, y) = if top { (Anchor::Start, edge) } else { (Anchor::End, edge - 9.0) };
            let words = words.clone();
            out.text(Text { words, at: (x + 4.5, y), anchor, size: SIZE, upward: true, ink: None });
        } else {
            out.label((x, edge), Anchor::Middle, SIZE, words);
        }
    }
    for (value, words) in up.iter().filter(|_| !panel.y.hide_ticks) {
        out.label((r.x - 6.0, v.at(*value) + 4.5), Anchor::End, SIZE, words);
    }
    if let Some(title) = &panel.x.title {
        let top = r.y - placed.above + 13.0;
        let y = if panel.x.on_top { top } else { r.y + r.h + x_title(placed) };
        out.label((r.x + r.w / 2.0, y), Anchor::Middle, SIZE, title);
    }
    if let Some(title) = &panel.y.title {
        let ticks = if panel.y.hide_ticks { 0.0 } else { ticks::widest(&up).max(20.0) + 10.0 };
        let at = (r.x - ticks - 6.0, r.y + r.h / 2.0);
        let (words, anchor) = (title.clone(), Anchor::Middle);
        out.text(Text { words, at, anchor, size: SIZE, upward: true, ink: None });
    }
}

/// How far below the plotting area the title of the x axis stands.
fn x_title(placed: &Placed) -> f64 {
    match ticks::labels(&placed.panel.x, placed.rect.w, Orientation::Across) {
        _ if placed.panel.x.hide_ticks => 17.0,
        Some((labels, true)) => ticks::widest(&labels) + 24.0,
        _ => 37.0,
    }
}

fn image(out: &mut Still, image: &Image, rect: Rect, figure: &Figure) {
    out.shapes.push(Shape::Image(raster(image, rect, figure)));
}

fn series(
    out: &mut Still,
    figure: &Figure,
    panel: &Panel,
    (series, look): (&Series, Look),
    (slot, shift): (f64, f64),
    h: Ruler,
    v: Ruler,
) {
    let drawn = || series.drawn(&panel.x, &panel.y);
    match series.style {
        Style::Line | Style::Steps => {
            let place = |x, y| (h.at(x), v.at(y));
            if let Some((steps, ink)) = band::steps(series, panel, look.ink, place) {
                out.fill(steps, &ink);
            }
            let mut steps = Vec::new();
            for run in runs(drawn().map(|(i, x, y)| (i, (h.at(x), v.at(y))))) {
                match series.style {
                    Style::Steps => steps.extend(joined(&stairs(&run))),
                    _ => steps.extend(joined(&thin(run))),
                }
            }
            out.stroke(steps, look.ink, 2.0, look.dash);
            let dots = series.dots(&panel.x, &panel.y);
            let places = dots.iter().map(|&i| (h.at(series.x[i]), v.at(series.y[i])));
            symbols(out, look, places.collect(), 3.5);
        }
        Style::Bars => {
            let floor = if v.log { v.low } else { 0.0_f64.clamp(v.low, v.high) };
            let base = v.at(floor);
            let mut steps = Vec::new();
            for (_, x, y) in drawn() {
                let (left, right) = match series.bar {
                    Some(width) => (h.at(x - width / 2.0), h.at(x + width / 2.0) - 0.5),
                    None => (h.at(x) + shift, h.at(x) + shift + slot),
                };
                let y = v.at(y);
                steps.extend([
                    PathStep::Move(left, base),
                    PathStep::Line(left, y),
                    PathStep::Line(right, y),
                ]);
                steps.extend([PathStep::Line(right, base), PathStep::Close]);
            }
            out.fill(steps, &error_bars::inside(series, look.ink));
        }
        Style::Points => {
            let radius = point_size(series.x.len()) / 2.0;
            let points = drawn().take(CLOUD);
            let Some((axis, values)) = &series.shades else {
                let places = points.map(|(_, x, y)| (h.at(x), v.at(y))).collect();
                symbols(out, look, places, radius);
                return;
            };
            let (low, high) = figure.limits(*axis);
            for (i, x, y) in points {
                let share = (values[i] - low) / (high - low);
                let [r, g, b] = figure.colours[*axis].scale().rgb(share);
                let ink = format!("#{r:02x}{g:02x}{b:02x}");
                out.dots(std::iter::once((h.at(x), v.at(y))), 2.0 * radius, &ink);
            }
        }
    }
}

/// The points between gaps.
fn runs(points: impl Iterator<Item = (usize, (f64, f64))>) -> Vec<Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut next = None;
    for (i, place) in points {
        match runs.last_mut().filter(|_| next == Some(i)) {
            Some(run) => run.push(place),
            None => runs.push(vec![place]),
        }
        next = Some(i + 1);
    }
    runs
}

fn joined(points: &[(f64, f64)]) -> Vec<PathStep> {
    let step = |(i, &(x, y)): (usize, &(f64, f64))| match i {
        0 => PathStep::Move(x, y),
        _ => PathStep::Line(x, y),
    };
    points.iter().enumerate().map(step).collect()
}

/// Each height is kept up to the next point.
fn stairs(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let first = points.first().copied();
    let rest = points.windows(2).flat_map(|pair| [(pair[1].0, pair[0].1), pair[1]]);
    first.into_iter().chain(rest).collect()
}

fn symbols(out: &mut Still, look: Look, places: Vec<(f64, f64)>, radius: f64) {
    let corners = look.symbol.corners();
    if corners.is_empty() {
        out.dots(places.into_iter(), 2.0 * radius, look.ink);
        return;
    }
    let mut steps = Vec::with_capacity(places.len() * (corners.len() + 1));
    for (x, y) in places {
        let at: Vec<(f64, f64)> =
            corners.iter().map(|(dx, dy)| (x + radius * dx, y + radius * dy)).collect();
        steps.extend(joined(&at));
        steps.push(PathStep::Close);
    }
    out.fill(steps, look.ink);
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

fn legend(out: &mut Still, panel: &Panel, r: Rect) {
    let (x, mut y) = (r.x + r.w + 14.0, r.y + 8.0);
    if let Some(title) = panel.legend_heading() {
        out.label((x, y + 4.5), Anchor::Start, SIZE, title);
        y += 20.0;
    }
    for (name, look, style) in panel.names() {
        match style {
            Style::Points => symbols(out, look, vec![(x + 14.0, y)], 4.0),
            Style::Bars => {
                let steps = [(x, y), (x + 28.0, y)];
                out.stroke(joined(&steps), look.ink, 8.0, &[]);
            }
            Style::Line | Style::Steps => {
                out.stroke(joined(&[(x, y), (x + 28.0, y)]), look.ink, 2.0, look.dash);
            }
        }
        out.label((x + 36.0, y + 4.5), Anchor::Start, SIZE, name);
        y += 20.0;
    }
}

/// Lines and dots in three dimensions as the eye sees them.
fn space(out: &mut Still, panel: &Panel, space: &Space, r: Rect) {
    let scale = r.w.min(r.h) / 2.0 / reach(panel.spaces().flat_map(|space| &space.places));
    let at = |place| {
        let (x, y) = project(place);
        (r.x + r.w / 2.0 + scale * x, r.y + r.h / 2.0 - scale * y)
    };
    let (mut steps, mut down) = (Vec::new(), false);
    for (x, y) in space.path(&space.places).into_iter().map(at) {
        let seen = x.is_finite() && y.is_finite();
        match (seen, down) {
            (true, false) => steps.push(PathStep::Move(x, y)),
            (true, true) => steps.push(PathStep::Line(x, y)),
            (false, _) => {}
        }
        down = seen;
    }
    if space.style != SpaceStyle::Dots {
        out.stroke(steps, space.ink, space.width, &[]);
    }
    out.dots(space.tips(&space.places).iter().map(|tip| at(*tip)), space.dot(), space.ink);
}

/// The colour bars with their numbers.
fn bars(out: &mut Still, figure: &Figure, page: &Page) {
    for (axis, r) in &page.bars {
        let colour = &figure.colours[*axis];
        let (low, high) = figure.limits(*axis);
        let pixels = (0..BLANK).rev().collect();
        let palette = shades(colour.scale());
        let (rect, columns) = (*r, 1);
        out.shapes.push(Shape::Image(Raster { rect, columns, pixels, palette, blank: None }));
        let ruler = Ruler { low, high, log: false, start: r.y + r.h, length: -r.h };
        for (value, words) in ticks::numbers(&Default::default(), (low, high), r.h, 30.0) {
            out.label((r.x + r.w + 5.0, ruler.at(value) + 4.5), Anchor::Start, SIZE, &words);
        }
        if let Some(title) = &colour.title {
            out.label((r.x, r.y - 8.0), Anchor::Start, SIZE, title);
        }
    }
}
