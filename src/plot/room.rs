//! How much room panels and blocks take: plotting areas, and ticks, titles and legends around them.

use super::gap_notes::wrap;
use super::panel::{Node, Panel, PanelBlock};
use super::ticks::{self, Orientation};

/// A line of text, and of a block's title.
pub(super) const LINE: f64 = 18.0;
pub(super) const TITLE: f64 = 20.0;
/// How much wider characters of a block's title are than those of ticks.
const TITLE_SIZE: f64 = 15.0 / 13.0;
/// A colour bar with its ticks.
pub(super) const BAR: f64 = 86.0;

/// Room around a plotting area, and its size.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// Columns or rows of a block: where their plotting areas begin, and how large they are.
#[derive(Debug)]
pub(super) struct Tracks {
    pub(super) starts: Vec<f64>,
    pub(super) sizes: Vec<f64>,
    pub(super) before: f64,
    pub(super) after: f64,
    pub(super) inner: f64,
}

pub(super) fn measure(node: &Node) -> Extent {
    match node {
        Node::Block(block) => measure_block(block),
        Node::Panel(panel) => measure_panel(panel),
    }
}

pub(super) fn measure_block(block: &PanelBlock) -> Extent {
    let (columns, rows) = tracks(block);
    Extent {
        left: columns.before,
        right: columns.after + if block.bar.is_some() { BAR } else { 0.0 },
        top: rows.before + title_room(block, columns.inner),
        bottom: rows.after,
        w: columns.inner,
        h: rows.inner,
    }
}

/// Room above a block for its title.
fn title_room(block: &PanelBlock, width: f64) -> f64 {
    let lines = block.title.as_ref().map(|title| title_lines(title, width).len());
    lines.map_or(0.0, |lines| TITLE * lines as f64 + 6.0)
}

pub(super) fn title_lines(title: &str, width: f64) -> Vec<String> {
    let character = ticks::CHARACTER * TITLE_SIZE;
    wrap(title, ((width + 30.0) / character).max(8.0) as usize)
}

/// Room before, size, and room after every column.
pub(super) fn across(block: &PanelBlock) -> Vec<[f64; 3]> {
    let extents: Vec<Extent> = block.items.iter().map(measure).collect();
    let columns = block.columns.max(1);
    let count = columns.min(extents.len().max(1));
    let column = |c: usize| extents.iter().skip(c).step_by(columns);
    (0..count)
        .map(|c| {
            let least = block.least.get(c).copied().unwrap_or_default();
            column(c).fold(least, |m, e| [m[0].max(e.left), m[1].max(e.w), m[2].max(e.right)])
        })
        .collect()
}

pub(super) fn tracks(block: &PanelBlock) -> (Tracks, Tracks) {
    let extents: Vec<Extent> = block.items.iter().map(measure).collect();
    let columns = block.columns.max(1);
    let rows = extents.len().div_ceil(columns).max(1);
    let row = |r: usize| extents.iter().skip(r * columns).take(columns);
    let down = (0..rows).map(|r| {
        row(r).fold([0.0_f64; 3], |m, e| [m[0].max(e.top), m[1].max(e.h), m[2].max(e.bottom)])
    });
    (line_up(across(block).into_iter()), line_up(down))
}

fn line_up(parts: impl Iterator<Item = [f64; 3]>) -> Tracks {
    let parts: Vec<[f64; 3]> = parts.collect();
    let before = parts.first().map_or(0.0, |p| p[0]);
    let after = parts.last().map_or(0.0, |p| p[2]);
    let mut at = -before;
    let mut starts = Vec::with_capacity(parts.len());
    for [room_before, size, room_after] in &parts {
        starts.push(at + room_before);
        at += room_before + size + room_after;
    }
    let sizes = parts.iter().map(|p| p[1]).collect();
    Tracks { starts, sizes, before, after, inner: at - after }
}

fn measure_panel(panel: &Panel) -> Extent {
    let (w, h) = panel.size;
    let x_room = x_room(panel);
    let lines = panel_title(panel);
    let title = lines.len() as f64 * LINE + 6.0;
    // A title may be wider than its image.
    let words = lines.iter().map(|line| ticks::width(line)).fold(0.0, f64::max);
    let overhang = ((words - w) / 2.0).max(0.0);
    let legend = if panel.has_legend() { legend_width(panel) } else { 0.0 };
    Extent {
        left: y_room(panel).max(overhang) + 4.0,
        right: legend.max(overhang) + 8.0,
        top: title + if panel.x.on_top { x_room } else { 0.0 },
        bottom: 6.0 + if panel.x.on_top { 0.0 } else { x_room },
        w,
        h,
    }
}

/// The lines of a panel's title: broken where they would be much wider than the panel.
pub(super) fn panel_title(panel: &Panel) -> Vec<String> {
    let room = ((panel.size.0 + 20.0) / ticks::CHARACTER).max(12.0) as usize;
    panel.title.iter().flat_map(|title| wrap(title, room)).collect()
}

/// Pixels that ticks and title of the x axis need.
pub(super) fn x_room(panel: &Panel) -> f64 {
    if panel.spaces().next().is_some() {
        return 0.0;
    }
    let title = if panel.x.title.is_some() { 22.0 } else { 0.0 };
    let ticks =
        match (panel.x.hide_ticks, ticks::labels(&panel.x, panel.size.0, Orientation::Across)) {
            (true, _) => 0.0,
            (false, Some((labels, true))) => ticks::widest(&labels) + 8.0,
            (false, _) => 20.0,
        };
    ticks + title
}

/// Pixels that ticks and title of the y axis need.
fn y_room(panel: &Panel) -> f64 {
    if panel.spaces().next().is_some() {
        return 0.0;
    }
    let title = if panel.y.title.is_some() { 22.0 } else { 0.0 };
    let ticks = match (panel.y.hide_ticks, ticks::labels(&panel.y, panel.size.1, Orientation::Up)) {
        (true, _) => 0.0,
        (false, Some((labels, _))) => ticks::widest(&labels) + 10.0,
        (false, None) => {
            let numbers = ticks::numbers(
                &panel.y,
                panel.y_extent(),
                panel.size.1.max(100.0),
                Orientation::Up.pitch(),
            );
            ticks::widest(&numbers).max(20.0) + 12.0
        }
    };
    ticks + title
}

/// Pixels that the legend to the right of `panel` needs.
fn legend_width(panel: &Panel) -> f64 {
    let names = panel.names().into_iter().map(|(name, ..)| ticks::width(name) + 66.0);
    let title = panel.legend_heading().map(|title| ticks::width(title) + 20.0);
    names.chain(title).fold(0.0, f64::max)
}
