//! A still picture as a list of shapes, which [`svg`](super::svg) and [`pdf`](super::pdf) write down.

use super::arrange::Rect;

/// A picture in pixels from its top left corner.
#[derive(Debug, Clone, Default)]
pub(super) struct Still {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) shapes: Vec<Shape>,
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    Path(Path),
    Text(Text),
    Image(Raster),
    /// What follows is seen inside only, until [`Shape::Unclip`].
    Clip(Rect),
    Unclip,
}

/// Straight strokes, closed areas, or both.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    pub(super) steps: Vec<PathStep>,
    /// `#rrggbb` or `rgba(r,g,b,a)`.
    pub(super) fill: Option<String>,
    pub(super) stroke: Option<String>,
    pub(super) width: f64,
    /// Lengths of ink and gap in turn; none for a solid stroke.
    pub(super) dash: Vec<f64>,
    /// Round ends: a stroke from a point to itself is a dot.
    pub(super) round: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PathStep {
    Move(f64, f64),
    Line(f64, f64),
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// One line of text; `at` is on its base line.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) words: String,
    pub(super) at: (f64, f64),
    pub(super) anchor: Anchor,
    pub(super) size: f64,
    /// Whether it reads from bottom to top.
    pub(super) upward: bool,
    /// A colour other than that of all text.
    pub(super) ink: Option<&'static str>,
}

/// Cells of equal size, row-major, as indices into a palette.
#[derive(Debug, Clone)]
pub(super) struct Raster {
    pub(super) rect: Rect,
    pub(super) columns: usize,
    pub(super) pixels: Vec<u8>,
    pub(super) palette: Vec<[u8; 3]>,
    /// The index of cells that are see-through.
    pub(super) blank: Option<u8>,
}

impl Still {
    /// Draws straight strokes of one colour.
    pub(super) fn stroke(&mut self, steps: Vec<PathStep>, ink: &str, width: f64, dash: &[f64]) {
        let (stroke, dash) = (Some(ink.to_owned()), dash.to_vec());
        self.path(Path { steps, stroke, width, dash, ..Path::default() });
    }

    /// Fills closed areas with one colour.
    pub(super) fn fill(&mut self, steps: Vec<PathStep>, ink: &str) {
        self.path(Path { steps, fill: Some(ink.to_owned()), ..Path::default() });
    }

    /// Draws round dots of one colour.
    pub(super) fn dots(
        &mut self,
        places: impl Iterator<Item = (f64, f64)>,
        across: f64,
        ink: &str,
    ) {
        let steps =
            places.flat_map(|(x, y)| [PathStep::Move(x, y), PathStep::Line(x, y)]).collect();
        let stroke = Some(ink.to_owned());
        self.path(Path { steps, stroke, width: across, round: true, ..Path::default() });
    }

    fn path(&mut self, path: Path) {
        if !path.steps.is_empty() {
            self.shapes.push(Shape::Path(path));
        }
    }

    /// Writes lines of text, the last one at `y`.
    pub(super) fn label(&mut self, (x, y): (f64, f64), anchor: Anchor, size: f64, words: &str) {
        let lines: Vec<&str> = words.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let at = (x, y - (lines.len() - 1 - i) as f64 * 1.25 * size);
            self.text(Text {
                words: (*line).to_owned(),
                at,
                anchor,
                size,
                upward: false,
                ink: None,
            });
        }
    }

    pub(super) fn text(&mut self, text: Text) {
        if !text.words.trim().is_empty() {
            self.shapes.push(Shape::Text(text));
        }
    }
}
