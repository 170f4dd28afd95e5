//! From a tree of panels to places on the page, in pixels.
//!
//! Every panel asks for room around its plotting area: ticks, titles, legend. Within a block all
//! panels of a column share their left and right room, those of a row their top and bottom room, so
//! plotting areas line up and nothing overlaps.

use super::animate::FOOT;
use super::figure::Figure;
use super::panel::{Block, Node, Panel};
use super::ticks::{self, Orientation};

/// Room for a figure's title.
const TITLE: f64 = 40.0;
const MARGIN: f64 = 12.0;
const LINE: f64 = 16.0;
/// A colour bar with its ticks.
const BAR: f64 = 76.0;

/// A rectangle in pixels from the top left corner of the figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// A panel with its place.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) panel: Panel,
    pub(super) rect: Rect,
    /// Room that ticks and axis title take above the plotting area.
    pub(super) above: f64,
    /// Panels of one number zoom in step.
    pub(super) facets_of: usize,
}

/// Everything with its place.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) panels: Vec<Placed>,
    /// Centre and baseline of the titles of blocks.
    pub(super) titles: Vec<(f64, f64, String)>,
    /// Colour axis and place of its bar.
    pub(super) bars: Vec<(usize, Rect)>,
    blocks: usize,
}

/// Room around a plotting area, and its size.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    w: f64,
    h: f64,
}

/// Columns or rows of a block: where their plotting areas begin, and how large they are.
#[derive(Debug)]
struct Tracks {
    starts: Vec<f64>,
    sizes: Vec<f64>,
    before: f64,
    after: f64,
    inner: f64,
}

impl Figure {
    /// Places everything.
    pub(super) fn page(&self) -> Page {
        let root = self.stretched();
        let (width, height) = self.total(&root);
        let mut page = Page { width, height, ..Page::default() };
        let e = measure_block(&root);
        page.place(root, MARGIN + e.left, self.head() + e.top);
        page
    }

    /// The panels at their final sizes: a wanted width or height stretches the plotting areas, not
    /// the text. Images keep their proportions where only one of the two is given.
    pub(super) fn stretched(&self) -> Block {
        let mut root = self.root.clone();
        root.each_block_mut(&mut |block| {
            settle(block);
            block.bar = block.bar.filter(|&axis| self.colours[axis].bar);
        });
        let natural = self.total(&root);
        let mut flat = root.clone();
        flat.each_panel_mut(&mut |panel| panel.size = (0.0, 0.0));
        let fixed = self.total(&flat);
        let factor = |wanted: Option<u32>, fixed: f64, natural: f64| {
            wanted.map(|px| ((f64::from(px) - fixed) / (natural - fixed).max(1.0)).max(0.1))
        };
        let fx = factor(self.width, fixed.0, natural.0);
        let fy = factor(self.height, fixed.1, natural.1);
        let mut images_only = true;
        root.each_panel(&mut |panel| images_only &= panel.image().is_some());
        let (fx, fy) = if images_only { (fx.or(fy), fy.or(fx)) } else { (fx, fy) };
        root.each_panel_mut(&mut |panel| {
            panel.size.0 *= fx.unwrap_or(1.0);
            panel.size.1 *= fy.unwrap_or(1.0);
        });
        root
    }

    fn head(&self) -> f64 {
        if self.title.is_some() { TITLE } else { MARGIN }
    }

    fn total(&self, root: &Block) -> (f64, f64) {
        let e = measure_block(root);
        let foot = if self.film.is_some() { FOOT } else { MARGIN };
        (e.left + e.w + e.right + 2.0 * MARGIN, e.top + e.h + e.bottom + self.head() + foot)
    }
}

impl Page {
    fn place(&mut self, block: Block, x: f64, y: f64) {
        let (columns, rows) = tracks(&block);
        let extents: Vec<Extent> = block.items.iter().map(measure).collect();
        self.blocks += 1;
        let number = self.blocks;
        let own = measure_block(&block);
        if let Some(title) = block.title {
            self.titles.push((x + own.w / 2.0, y - own.top + LINE, title));
        }
        if let Some(axis) = block.bar {
            let h = own.h.min(400.0);
            let x = x + own.w + own.right - BAR + 14.0;
            self.bars.push((axis, Rect { x, y: y + (own.h - h) / 2.0, w: 14.0, h }));
        }
        for (i, (item, e)) in block.items.into_iter().zip(extents).enumerate() {
            let (c, r) = (i % block.columns, i / block.columns);
            let (x, y) = (x + columns.starts[c], y + rows.starts[r] + (rows.sizes[r] - e.h) / 2.0);
            match item {
                Node::Block(inner) => self.place(inner, x, y),
                Node::Panel(panel) => {
                    let above = if panel.x.on_top { x_room(&panel) } else { 0.0 };
                    let facets_of = if block.facets { number } else { 0 };
                    let rect = Rect { x, y, w: e.w, h: e.h };
                    self.panels.push(Placed { panel: *panel, rect, above, facets_of });
                }
            }
        }
    }
}

/// Facets show ticks and axis titles at the outer panels only.
fn settle(block: &mut Block) {
    if !block.facets {
        return;
    }
    let (count, columns) = (block.items.len(), block.columns);
    for (i, item) in block.items.iter_mut().enumerate() {
        let Node::Panel(panel) = item else { continue };
        let outer = if panel.x.on_top { i < columns } else { i + columns >= count };
        if !outer {
            panel.x.hide_ticks = true;
            panel.x.title = None;
        }
        if i % columns != 0 {
            panel.y.hide_ticks = true;
            panel.y.title = None;
        }
    }
}

fn measure(node: &Node) -> Extent {
    match node {
        Node::Block(block) => measure_block(block),
        Node::Panel(panel) => measure_panel(panel),
    }
}

fn measure_block(block: &Block) -> Extent {
    let (columns, rows) = tracks(block);
    Extent {
        left: columns.before,
        right: columns.after + if block.bar.is_some() { BAR } else { 0.0 },
        top: rows.before + if block.title.is_some() { LINE + 8.0 } else { 0.0 },
        bottom: rows.after,
        w: columns.inner,
        h: rows.inner,
    }
}

fn tracks(block: &Block) -> (Tracks, Tracks) {
    let extents: Vec<Extent> = block.items.iter().map(measure).collect();
    let columns = block.columns.max(1);
    let count = columns.min(extents.len().max(1));
    let rows = extents.len().div_ceil(columns).max(1);
    let column = |c: usize| extents.iter().skip(c).step_by(columns);
    let row = |r: usize| extents.iter().skip(r * columns).take(columns);
    let across = (0..count).map(|c| {
        column(c).fold([0.0_f64; 3], |m, e| [m[0].max(e.left), m[1].max(e.w), m[2].max(e.right)])
    });
    let down = (0..rows).map(|r| {
        row(r).fold([0.0_f64; 3], |m, e| [m[0].max(e.top), m[1].max(e.h), m[2].max(e.bottom)])
    });
    (line_up(across), line_up(down))
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
    let title = match &panel.title {
        Some(title) => title.lines().count() as f64 * LINE + 6.0,
        None => 6.0,
    };
    // A title may be wider than its image.
    let words = panel.title.iter().flat_map(|t| t.lines()).map(ticks::width).fold(0.0, f64::max);
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

/// Pixels that ticks and title of the x axis need.
fn x_room(panel: &Panel) -> f64 {
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
pub(super) fn legend_width(panel: &Panel) -> f64 {
    panel.names().iter().map(|(name, _)| ticks::width(name)).fold(0.0, f64::max) * 1.1 + 60.0
}
