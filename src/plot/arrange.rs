//! From a tree of panels to places on the page, in pixels.
//!
//! Every panel asks for room around its plotting area: ticks, titles, legend. Within a block all
//! panels of a column share their left and right room, those of a row their top and bottom room, so
//! plotting areas line up and nothing overlaps. Blocks below each other that have as many columns
//! share those too. A figure that would be too wide for a page shrinks.

use super::figure::Figure;
use super::film::FOOT;
use super::gap_notes::{notes, wrap};
use super::panel::{Node, Panel, PanelBlock};
use super::room::{
    BAR, Extent, LINE, TITLE, across, measure, measure_block, panel_title, title_lines, tracks,
    x_room,
};
use super::ticks::{self, Orientation};

/// The widest that a figure becomes by itself: JupyterLab shows so much beside its file browser.
const WIDEST: f64 = 900.0;
const MARGIN: f64 = 12.0;
/// Plotly's mode bar, which appears over the top right corner.
const MODE_BAR: (f64, f64) = (190.0, 30.0);
/// A line of a figure's title.
const HEADING: f64 = 20.0;
/// How much wider characters of a figure's title are than those of ticks.
const HEADING_SIZE: f64 = 16.0 / 13.0;

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
    /// The lines of the figure's title, and where they begin.
    pub(super) heading: Vec<String>,
    pub(super) heading_top: f64,
    /// What is told below the panels, and how far above the lower edge it ends.
    pub(super) notes: Vec<String>,
    pub(super) notes_bottom: f64,
    /// Centre and lower edge of the titles of blocks.
    pub(super) titles: Vec<(f64, f64, String)>,
    /// Colour axis and place of its bar.
    pub(super) bars: Vec<(usize, Rect)>,
    blocks: usize,
}

impl Figure {
    /// Places everything.
    pub(super) fn page(&self) -> Page {
        let mut root = self.sized();
        if self.width.is_none() {
            self.narrow(&mut root);
        }
        let (heading, head) = self.head(width_of(&root));
        let notes = self.notes(width_of(&root));
        let e = measure_block(&root);
        let mut page = Page { width: width_of(&root), heading, ..Page::default() };
        page.height = self.around(&root) + height_of(&root);
        page.heading_top = if head > MODE_BAR.1 + HEADING { MODE_BAR.1 + 6.0 } else { 8.0 };
        (page.notes, page.notes_bottom) = (notes, MARGIN / 2.0);
        page.place(root, MARGIN + e.left, head + e.top);
        page
    }

    /// The panels at the sizes asked for, as a part of a larger figure has them: a wanted width or
    /// height stretches the plotting areas, not the text. Images keep their proportions where only
    /// one of the two is given.
    pub(super) fn sized(&self) -> PanelBlock {
        let mut root = self.root.clone();
        root.each_block_mut(&mut |block| {
            settle(block);
            block.bar = block.bar.filter(|&axis| self.colours[axis].bar);
        });
        share_columns(&mut root);
        if let Some(wanted) = self.width {
            fit(&mut root, f64::from(wanted), Orientation::Across, self.height.is_none());
        }
        if let Some(wanted) = self.height {
            let panels = f64::from(wanted) - self.around(&root);
            fit(&mut root, panels, Orientation::Up, self.width.is_none());
        }
        root
    }

    /// Room above and below the panels.
    fn around(&self, root: &PanelBlock) -> f64 {
        let width = width_of(root);
        self.head(width).1 + foot(&self.notes(width)) + self.film_foot()
    }

    /// Shrinks what is too wide for a page.
    fn narrow(&self, root: &mut PanelBlock) {
        if width_of(root) > WIDEST {
            fit(root, WIDEST, Orientation::Across, true);
        }
    }

    /// The lines of the title in a figure of some width, and the room above the panels.
    fn head(&self, width: f64) -> (Vec<String>, f64) {
        let Some(title) = &self.title else { return (Vec::new(), MODE_BAR.1) };
        let character = ticks::CHARACTER * HEADING_SIZE;
        let fits = |room: f64| wrap(title, (room / character).max(1.0) as usize);
        let beside = fits(width - 2.0 * MARGIN - MODE_BAR.0);
        if beside.len() == 1 {
            return (beside, MODE_BAR.1 + 8.0);
        }
        let below = fits(width - 2.0 * MARGIN);
        let room = MODE_BAR.1 + 12.0 + HEADING * below.len() as f64;
        (below, room)
    }

    fn notes(&self, width: f64) -> Vec<String> {
        let characters = ((width - 2.0 * MARGIN) / ticks::CHARACTER).max(1.0) as usize;
        notes(self).iter().flat_map(|note| wrap(note, characters)).collect()
    }

    fn film_foot(&self) -> f64 {
        if self.film.is_some() { FOOT - MARGIN } else { 0.0 }
    }
}

/// Room below the panels.
fn foot(notes: &[String]) -> f64 {
    MARGIN + LINE * notes.len() as f64
}

fn width_of(root: &PanelBlock) -> f64 {
    let e = measure_block(root);
    e.left + e.w + e.right + 2.0 * MARGIN
}

fn height_of(root: &PanelBlock) -> f64 {
    let e = measure_block(root);
    e.top + e.h + e.bottom
}

/// Makes plotting areas as large along `axis` as the whole may be. Images keep their proportions, if
/// `both`.
fn fit(root: &mut PanelBlock, wanted: f64, axis: Orientation, both: bool) {
    let measure = |root: &PanelBlock| match axis {
        Orientation::Across => width_of(root),
        Orientation::Up => height_of(root),
    };
    let scale = |root: &mut PanelBlock, factor: f64| {
        root.each_panel_mut(&mut |panel| {
            let both = both && keeps_proportions(panel);
            if axis == Orientation::Across || both {
                panel.size.0 *= factor;
            }
            if axis == Orientation::Up || both {
                panel.size.1 *= factor;
            }
        });
        share_columns(root);
    };
    // Titles and ticks change with the size of their panels, so that once is not enough.
    for _ in 0..8 {
        let now = measure(root);
        if (now - wanted).abs() < 0.5 {
            return;
        }
        let mut smaller = root.clone();
        scale(&mut smaller, 0.95);
        let slope = ((now - measure(&smaller)) / 0.05).max(1.0);
        scale(root, (1.0 + (wanted - now) / slope).clamp(0.25, 4.0));
    }
}

/// Blocks below each other that have as many columns line up: charts become as wide as the images
/// of their column, and all columns leave the same room at both sides.
fn share_columns(block: &mut PanelBlock) {
    block.least.clear();
    for item in &mut block.items {
        if let Node::Block(inner) = item {
            share_columns(inner);
        }
    }
    if block.columns != 1 {
        return;
    }
    let mut counts: Vec<usize> = block.items.iter().filter_map(columns_of).collect();
    counts.sort_unstable();
    counts.dedup();
    for count in counts.into_iter().filter(|&count| count > 1) {
        let mut alike: Vec<&mut PanelBlock> = block
            .items
            .iter_mut()
            .filter(|item| columns_of(item) == Some(count))
            .filter_map(|item| match item {
                Node::Block(inner) => Some(inner),
                Node::Panel(_) => None,
            })
            .collect();
        if alike.len() < 2 {
            continue;
        }
        let mut least = vec![[0.0_f64; 3]; count];
        for c in 0..count {
            let widest = |images: bool| {
                let column =
                    alike.iter().flat_map(|inner| inner.items.iter().skip(c).step_by(count));
                let of = column.filter(|item| !images || has_image(item));
                of.map(|item| measure(item).w).fold(0.0, f64::max)
            };
            let width = if widest(true) > 0.0 { widest(true) } else { widest(false) };
            for inner in &mut alike {
                for item in inner.items.iter_mut().skip(c).step_by(count) {
                    let now = measure(item).w;
                    if !has_image(item) && now > 0.0 {
                        widen(item, width / now);
                    }
                }
            }
        }
        for inner in &alike {
            for (least, track) in least.iter_mut().zip(across(inner)) {
                *least = [0, 1, 2].map(|i| least[i].max(track[i]));
            }
        }
        alike.iter_mut().for_each(|inner| inner.least.clone_from(&least));
    }
}

fn keeps_proportions(panel: &Panel) -> bool {
    panel.image().is_some() || panel.equal || panel.flat
}

fn columns_of(item: &Node) -> Option<usize> {
    match item {
        Node::Block(block) => Some(block.columns.min(block.items.len())),
        Node::Panel(_) => None,
    }
}

fn has_image(item: &Node) -> bool {
    match item {
        Node::Panel(panel) => panel.image().is_some(),
        Node::Block(block) => block.items.iter().any(has_image),
    }
}

fn widen(item: &mut Node, factor: f64) {
    match item {
        Node::Panel(panel) => panel.size.0 *= factor,
        Node::Block(block) => block.each_panel_mut(&mut |panel| panel.size.0 *= factor),
    }
}

impl Page {
    fn place(&mut self, block: PanelBlock, x: f64, y: f64) {
        let (columns, rows) = tracks(&block);
        let extents: Vec<Extent> = block.items.iter().map(measure).collect();
        self.blocks += 1;
        let number = self.blocks;
        let own = measure_block(&block);
        if let Some(title) = block.title {
            let lines = title_lines(&title, own.w);
            let bottom = y - own.top + TITLE * lines.len() as f64;
            self.titles.push((x + own.w / 2.0, bottom, lines.join("\n")));
        }
        if let Some(axis) = block.bar {
            let h = own.h.min(400.0);
            let x = x + own.w + own.right - BAR + 12.0;
            self.bars.push((axis, Rect { x, y: y + (own.h - h) / 2.0, w: 14.0, h }));
        }
        for (i, (item, e)) in block.items.into_iter().zip(extents).enumerate() {
            let (c, r) = (i % block.columns, i / block.columns);
            let (x, y) = (x + columns.starts[c], y + rows.starts[r] + (rows.sizes[r] - e.h) / 2.0);
            match item {
                Node::Block(inner) => self.place(inner, x, y),
                Node::Panel(mut panel) => {
                    panel.title = panel.title.is_some().then(|| panel_title(&panel).join("\n"));
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
fn settle(block: &mut PanelBlock) {
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::plot::{bar, beside, grid, imshow, line, stack};
    use crate::random::Rng;

    fn image(rows: usize, columns: usize) -> Figure {
        imshow(&Rng::seed(1).normal((rows, columns), &Device::Cpu).unwrap()).unwrap()
    }

    #[test]
    fn wide_figures_shrink_and_their_images_keep_their_proportions() {
        let three = beside((0..3).map(|_| image(28, 28).hide_ticks().title("part"))).unwrap();
        let wide = line([1.0, 2.0]).unwrap().panel_size(2_000, 300);
        for figure in [&three, &wide] {
            let page = figure.page();
            assert!((WIDEST - 1.0..=WIDEST + 1.0).contains(&page.width), "{}", page.width);
        }
        for placed in three.page().panels {
            assert!((placed.rect.w - placed.rect.h).abs() < 0.5, "{:?}", placed.rect);
        }
        assert!((wide.page().panels[0].rect.h - 300.0).abs() < 0.5);
        // Who asks for more has it.
        assert!((three.width(1_300).page().width - 1_300.0).abs() < 1.0);
    }

    #[test]
    fn stacked_columns_share_their_places() {
        let count = 6;
        let patterns = Rng::seed(2).normal((count, 28, 28), &Device::Cpu).unwrap();
        let patterns = imshow(&patterns).unwrap().hide_ticks().facet_col_wrap(count).unwrap();
        let weights =
            (0..count).map(|i| bar([1.0, -200.0 * i as f64]).unwrap().panel_size(130, 110));
        let page = stack([patterns, grid(weights, count).unwrap()]).unwrap().page();
        assert!(page.width <= WIDEST + 1.0);
        let (above, below) = page.panels.split_at(count);
        for (image, bars) in above.iter().zip(below) {
            assert!((image.rect.x - bars.rect.x).abs() < 0.5, "{:?} {:?}", image.rect, bars.rect);
            assert!((image.rect.w - bars.rect.w).abs() < 0.5);
        }
    }

    #[test]
    fn titles_keep_clear_of_the_mode_bar() {
        let long = "Output feature 241 without one input feature, as measured by ablation";
        for figure in
            [image(4, 4), line([1.0, 2.0]).unwrap(), image(40, 40).facet_titles(["a"]).unwrap()]
        {
            for title in [None, Some("short"), Some(long)] {
                let figure =
                    title.iter().fold(figure.clone(), |figure, title| figure.title(*title));
                let page = figure.page();
                let beside = page.heading_top < MODE_BAR.1;
                let widest = page.heading.iter().map(|line| ticks::width(line) * HEADING_SIZE);
                let end = MARGIN + widest.fold(0.0, f64::max);
                assert!(!beside || end <= page.width - MODE_BAR.0, "{title:?} {page:?}");
                assert!(end <= page.width, "{title:?}");
                assert!(page.panels.iter().all(|p| p.rect.y - p.above >= MODE_BAR.1));
            }
        }
    }

    #[test]
    fn notes_have_room_below() {
        let whole = line([1.0, 2.0, 3.0]).unwrap().page();
        let broken = line([1.0, f64::NAN, 3.0]).unwrap().page();
        assert_eq!(broken.notes, ["1 of 3 values is not finite and left out"]);
        assert!((broken.height - whole.height - LINE).abs() < 0.1);
    }
}
