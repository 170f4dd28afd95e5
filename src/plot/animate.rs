//! Figures that move: a slider and buttons in plotly, and an animated picture.

use std::fmt;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::arrange::Page;
use super::figure::Figure;
use super::film::{FOOT, Film};
use super::palette::{GRID, TEXT};
use super::panel::Mark;
use super::plotly_text::themed;
use super::raster::Canvas;
use super::space::{Space, SpacePoint, SpaceStyle, project, reach};
use crate::display::MimeBundle;
use crate::png::apng;
use crate::text::base64;
use crate::{Error, Result};

/// How long a frame is seen, in milliseconds; the last one longer.
const FRAME: u16 = 150;
const LAST: u16 = 2_000;

impl Film {
    /// Plotly's frames; `traces` are the traces that move, with their mark's form.
    pub(super) fn frames(&self, traces: &[(usize, &Space, bool)]) -> Value {
        let frames = self.labels.iter().zip(&self.frames).map(|(label, places)| {
            let data: Vec<Value> = traces
                .iter()
                .filter_map(|(_, space, flat)| {
                    Some(space.coordinates(places.get(space.moves?)?, *flat))
                })
                .collect();
            let order: Vec<usize> = traces.iter().map(|(trace, ..)| *trace).collect();
            json!({"name": label, "data": data, "traces": order})
        });
        frames.collect()
    }

    /// Slider and buttons, below the panels.
    pub(super) fn controls(&self, page: &Page) -> (Value, Value) {
        let at_once = |milliseconds: u16| {
            json!({
                "mode": "immediate", "transition": {"duration": 0},
                "frame": {"duration": milliseconds, "redraw": true},
            })
        };
        let step = |label: &String| json!({"label": themed(label), "method": "animate", "args": [[label], at_once(0)]});
        let steps: Vec<Value> = self.labels.iter().map(step).collect();
        let y = (FOOT - 8.0) / page.height;
        let sliders = json!([{
            "active": self.labels.len() - 1, "steps": steps,
            "x": 120.0 / page.width, "xanchor": "left", "y": y, "yanchor": "top",
            "len": page.width - 150.0, "lenmode": "pixels", "pad": {"t": 0, "b": 0},
            "currentvalue": {
                "prefix": format!("{} ", themed(&self.unit)), "font": {"size": 13}, "xanchor": "left",
            },
            "font": {"color": TEXT, "size": 13}, "ticklen": 3, "minorticklen": 0,
            "bgcolor": GRID, "bordercolor": GRID, "tickcolor": TEXT, "activebgcolor": TEXT,
        }]);
        let menus = json!([{
            "type": "buttons", "direction": "right", "showactive": false,
            "x": 12.0 / page.width, "xanchor": "left", "y": y - 18.0 / page.height, "yanchor": "top",
            "pad": {"t": 0, "r": 0, "l": 0, "b": 0},
            "bgcolor": "rgba(128,128,128,0.12)", "bordercolor": GRID,
            "font": {"color": TEXT, "size": 13},
            "buttons": [
                {"label": themed("▶"), "method": "animate", "args": [null, at_once(FRAME)]},
                {"label": themed("❚❚"), "method": "animate", "args": [[null], at_once(0)]},
            ],
        }]);
        (sliders, menus)
    }
}

/// An animated picture (APNG, which every browser plays): see-through, so that it fits light and
/// dark pages.
///
/// As the last expression of a cell it plays there; [`save`](Self::save) writes it to a file.
#[derive(Clone)]
pub struct AnimatedPicture {
    bytes: Vec<u8>,
    frames: usize,
}

impl AnimatedPicture {
    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Writes the file; its name should end in `.png` or `.apng`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, &self.bytes).map_err(Error::io("write", path))
    }

    /// Plays it as the value of the cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(format!("{self:?}"))
            .with("image/png", Value::String(base64(&self.bytes)))
            .show_as_result();
    }
}

impl fmt::Debug for AnimatedPicture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "animated picture of {} frames", self.frames)
    }
}

impl Figure {
    /// The frames of an animated figure as one picture that plays by itself, without titles; a bar
    /// at the bottom shows how far it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a figure without frames.
    pub fn animated_picture(&self) -> Result<AnimatedPicture> {
        let Some(film) = &self.film else {
            let expected = "a figure with frames, as plot_recovery draws";
            return Err(Error::invalid("an animated picture", expected, "a figure without"));
        };
        let page = self.page();
        let height = page.height - FOOT + 16.0;
        let mut back = Canvas::new(page.width.ceil() as usize, height.ceil() as usize);
        self.paint(&page, &mut back, None);
        let count = film.frames.len();
        let frames = film.frames.par_iter().enumerate().map(|(i, places)| {
            let mut canvas = back.clone();
            self.paint(&page, &mut canvas, Some(places));
            let (left, right) = (12.0, page.width - 12.0);
            let now = left + (right - left) * (i + 1) as f64 / count as f64;
            canvas.line((left, height - 8.0), (right, height - 8.0), 4.0, GRID);
            canvas.line((left, height - 8.0), (now, height - 8.0), 4.0, TEXT);
            canvas.into_bytes()
        });
        let pauses = (0..count).into_par_iter().map(|i| if i + 1 == count { LAST } else { FRAME });
        let frames: Vec<(Vec<u8>, u16)> = frames.zip(pauses).collect();
        Ok(AnimatedPicture { bytes: apng(back.width(), &frames), frames: count })
    }

    /// Draws what stands still, or what moves where `places` has it.
    fn paint(&self, page: &Page, canvas: &mut Canvas, places: Option<&Vec<Vec<SpacePoint>>>) {
        for placed in &page.panels {
            let rect = placed.rect;
            let all = placed.panel.spaces().flat_map(|space| &space.places);
            let scale = rect.w.min(rect.h) / 2.0 / reach(all);
            let middle = (rect.x + rect.w / 2.0, rect.y + rect.h / 2.0);
            let at = |place: &SpacePoint| {
                let (x, y) = project(*place);
                (middle.0 + scale * x, middle.1 - scale * y)
            };
            for mark in &placed.panel.marks {
                let Mark::Space(space) = mark else { continue };
                let outline;
                let own = match (places, space.moves) {
                    // Every line costs bytes in every frame.
                    (None, None) if space.style == SpaceStyle::Line => {
                        outline = Space::outline();
                        &outline
                    }
                    (None, None) => &space.places,
                    (Some(places), Some(moves)) => match places.get(moves) {
                        Some(places) => places,
                        None => continue,
                    },
                    _ => continue,
                };
                for pair in space.path(own).windows(2) {
                    let (from, to) = (at(&pair[0]), at(&pair[1]));
                    canvas.line(from, to, space.width, space.ink);
                }
                for tip in space.tips(own) {
                    canvas.line(at(tip), at(tip), space.dot(), space.ink);
                }
            }
        }
    }
}
