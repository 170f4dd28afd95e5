//! Directions in three dimensions: the truth, samples of it, and how it is found.

use candle_core::{DType, Tensor};

use crate::check::check_all_finite;
use crate::plot::{Figure, Film, Mark, Panel, PanelBlock, SERIES, Space, SpacePoint};
use crate::sae::Codes;
use crate::{Error, Result};

const BLUE: &str = SERIES[0];
const ORANGE: &str = SERIES[1];
const GREEN: &str = SERIES[2];
const PURPLE: &str = SERIES[3];
/// Side of a view that can be turned.
const VIEW: f64 = 440.0;
/// Side of a view among others.
const SMALL: f64 = 168.0;
/// Small views in a row.
const COLUMNS: usize = 4;

/// Draws vectors `[n, 3]` as arrows from the middle of the unit sphere, to be turned with the mouse.
///
/// # Errors
/// [`Error::Shape`] unless `vectors` is `[n, 3]`, [`Error::NonFinite`] for NaN.
pub fn plot_directions(vectors: &Tensor) -> Result<Figure> {
    let arrows = Space::arrows("", places("the vectors", vectors)?, GREEN, 4.0);
    Ok(Figure::single(turning(vec![Space::sphere(), arrows])))
}

/// Draws samples `[n, 3]` of directions `truth` `[features, 3]`, a panel each: the sample in blue, the
/// directions that are active in it in green and thick, the others in purple and thin.
///
/// The panels are seen from one side and stand still: a page can hold only so many that turn.
///
/// # Errors
/// [`Error::Shape`] unless both are of 3 dimensions and `codes` has a row a sample and a feature a
/// direction, [`Error::NonFinite`] for NaN.
pub fn plot_samples(truth: &Tensor, x: &Tensor, codes: &Codes) -> Result<Figure> {
    let (truth, x) = (places("the directions", truth)?, places("the samples", x)?);
    if (codes.rows(), codes.width()) != (x.len(), truth.len()) {
        let expected = format!("{} rows of {} features", x.len(), truth.len());
        return Err(Error::shape("the codes", expected, (codes.rows(), codes.width())));
    }
    let count = x.len();
    let panel = |(row, sample): (usize, SpacePoint)| {
        let on: Vec<usize> = codes.row(row).map(|(feature, _)| feature as usize).collect();
        let (active, silent): (Vec<usize>, Vec<usize>) =
            (0..truth.len()).partition(|feature| on.contains(feature));
        let pick = |which: Vec<usize>| which.into_iter().map(|i| truth[i]).collect::<Vec<_>>();
        // One legend for all.
        let name = |name: &'static str| if row + 1 == count { name } else { "" };
        still(vec![
            Space::sphere(),
            Space::arrows(name("inactive"), pick(silent), PURPLE, 1.5),
            Space::arrows(name("active"), pick(active), GREEN, 4.0),
            Space::arrows(name("sample"), vec![sample], BLUE, 3.0),
        ])
    };
    let panels: Vec<Panel> = x.into_iter().enumerate().map(panel).collect();
    Ok(Figure::of(PanelBlock::of(panels, COLUMNS.min(count)), Vec::new()))
}

/// Draws how dictionaries approach directions `truth` `[n, 3]` over training, with a slider and
/// buttons: the truth in green, atoms in orange. One dictionary can be turned with the mouse, several
/// stand in panels seen from one side.
///
/// `epochs` count the frames; `dictionaries` are names and atoms, `[frames, size, 3]` each. The figure
/// begins at the last frame. [`Figure::animated_picture`] makes a picture that plays by itself.
///
/// # Errors
/// [`Error::Invalid`] for no dictionary or no frame, [`Error::Shape`] for another number of
/// dimensions or frames, [`Error::NonFinite`] for NaN.
pub fn plot_recovery(
    truth: &Tensor,
    epochs: &[usize],
    dictionaries: Vec<(String, Tensor)>,
) -> Result<Figure> {
    let truth = places("the directions", truth)?;
    if dictionaries.is_empty() || epochs.is_empty() {
        let found = format!("{} of {} frames", dictionaries.len(), epochs.len());
        let expected = "at least one, with at least one frame (see `snapshot` of the options)";
        return Err(Error::invalid("the dictionaries", expected, found));
    }
    let count = dictionaries.len();
    let alone = count == 1;
    let mut frames = vec![Vec::new(); epochs.len()];
    let mut panels = Vec::new();
    for (i, (name, atoms)) in dictionaries.into_iter().enumerate() {
        if atoms.rank() != 3 || atoms.dim(0)? != epochs.len() {
            let expected = format!("[{}, size, 3], a frame an epoch", epochs.len());
            return Err(Error::shape(format!("the atoms of {name}"), expected, atoms.dims()));
        }
        for (frame, places_of) in frames.iter_mut().enumerate() {
            places_of.push(places(&format!("the atoms of {name}"), &atoms.get(frame)?)?);
        }
        let last = frames.last().and_then(|marks| marks.last()).cloned().unwrap_or_default();
        let word = |word: &'static str| if i + 1 == count { word } else { "" };
        let (thick, thin) = if alone { (7.0, 3.5) } else { (4.5, 2.0) };
        let mut learnt = Space::arrows(word("atoms"), last, ORANGE, thin);
        learnt.moves = Some(i);
        let spaces = vec![
            Space::sphere(),
            Space::arrows(word("truth"), truth.clone(), GREEN, thick),
            learnt,
        ];
        let mut panel = if alone { turning(spaces) } else { still(spaces) };
        panel.title = Some(name);
        panels.push(panel);
    }
    let mut figure = Figure::of(PanelBlock::of(panels, COLUMNS.min(count)), Vec::new());
    let labels = epochs.iter().map(ToString::to_string).collect();
    figure.film = Some(Film { unit: "epoch".to_owned(), labels, frames });
    Ok(figure)
}

/// A panel that is turned with the mouse.
fn turning(spaces: Vec<Space>) -> Panel {
    let marks = spaces.into_iter().map(Mark::Space).collect();
    Panel { marks, size: (VIEW, VIEW), ..Panel::default() }
}

/// A panel that is seen from one side.
fn still(spaces: Vec<Space>) -> Panel {
    let marks = spaces.into_iter().map(Mark::Space).collect();
    Panel { marks, size: (SMALL, SMALL), flat: true, ..Panel::default() }
}

fn places(what: &str, vectors: &Tensor) -> Result<Vec<SpacePoint>> {
    if vectors.rank() != 2 || vectors.dim(1)? != 3 || vectors.dim(0)? == 0 {
        return Err(Error::shape(what, "[n, 3], as three dimensions can be drawn", vectors.dims()));
    }
    let rows: Vec<Vec<f64>> = vectors.to_dtype(DType::F64)?.to_vec2()?;
    check_all_finite(what, rows.iter().flatten())?;
    Ok(rows.iter().map(|row| [row[0], row[1], row[2]]).collect())
}
