//! The eigenvalues of an interaction matrix and their strongest eigenvectors.

use candle_core::Tensor;

use crate::plot::{
    ColourAxis, Figure, Image, IntoValues, Mark, NEGATIVE, Node, POSITIVE, Panel, PanelBlock,
    Series, Style, check_numbers, images, picture,
};
use crate::{Error, Result};

/// Eigenvalues in a curve.
const RANKS: usize = 20;
/// Side of an eigenvector's image.
const SIDE: f64 = 120.0;

/// Draws the positive eigenvalues of one output's interaction matrix, largest first, with the
/// `each_side` strongest eigenvectors as images beside the curve, and below it the same for the
/// negative ones, most negative first.
///
/// * `eigenvalues`: `[d]`, in any order.
/// * `eigenvectors`: `[d, height, width]`, the `i`-th belongs to the `i`-th eigenvalue. Their sign
///   is arbitrary: red and blue may be swapped within an image.
///
/// Both curves have one scale, at most 20 eigenvalues each; the dots mark those whose eigenvectors
/// are shown. After "Bilinear MLPs enable weight-based mechanistic interpretability"
/// (Pearce et al., 2024) and `plot_eigenspectrum` of its code.
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit, [`Error::NonFinite`] for NaN, [`Error::Invalid`] for
/// `each_side` 0 or eigenvalues that are all 0.
pub fn plot_eigenspectrum(
    eigenvalues: &Tensor,
    eigenvectors: &Tensor,
    each_side: usize,
) -> Result<Figure> {
    let values = eigenvalues.into_values()?;
    check_numbers("the eigenvalues", &values)?;
    let vectors = images("the eigenvectors", eigenvectors, 0)?;
    if eigenvectors.rank() != 3 || vectors.len() != values.len() {
        let expected = format!("[{}, height, width]", values.len());
        return Err(Error::shape("the eigenvectors", expected, eigenvectors.dims()));
    }
    if each_side == 0 {
        return Err(Error::invalid("each_side", "at least 1", each_side));
    }
    let reach = values.iter().fold(0.0, |m: f64, v| m.max(v.abs())) * 1.08;
    let mut rows = Vec::new();
    for sign in [1.0, -1.0] {
        let order = strongest(&values, sign);
        if order.is_empty() {
            continue;
        }
        let mut panel = curve(&values, &order, each_side, sign);
        panel.size = (250.0, SIDE);
        panel.y.range = Some(if sign > 0.0 { (0.0, reach) } else { (-reach, 0.0) });
        panel.y.title = Some("eigenvalue".into());
        let titled =
            |&i: &usize| eigenvector(&vectors[i], format!("λ = {}", signed(values[i])), SIDE);
        rows.push((panel, order.iter().take(each_side).map(titled).collect::<Vec<Panel>>()));
    }
    if rows.is_empty() {
        return Err(Error::invalid("the eigenvalues", "not all zero", "only zeros"));
    }
    if let Some((panel, _)) = rows.last_mut() {
        panel.x.title = Some("rank".into());
    }
    Ok(Figure::of(side_by_side(rows), vec![signed_colours()]))
}

/// Indices of the values of sign `sign`, strongest first.
pub(super) fn strongest(values: &[f64], sign: f64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).filter(|&i| values[i] * sign > 0.0).collect();
    order.sort_by(|&i, &j| (values[j] * sign).total_cmp(&(values[i] * sign)));
    order
}

/// The values at `order` against their rank, the first `marked` with dots.
pub(super) fn curve(values: &[f64], order: &[usize], marked: usize, sign: f64) -> Panel {
    let ink = if sign > 0.0 { POSITIVE } else { NEGATIVE };
    let y: Vec<f64> = order.iter().take(RANKS).map(|&i| values[i]).collect();
    let x: Vec<f64> = (1..=y.len()).map(|rank| rank as f64).collect();
    let last = y.len() as f64;
    let dots = marked.min(y.len());
    let points = Series::new(Style::Points, "", x[..dots].to_vec(), y[..dots].to_vec()).ink(ink);
    // Dots tell whose eigenvectors are shown, so the line has none of its own.
    let line = Series { dotted: false, ..Series::new(Style::Line, "", x, y).ink(ink) };
    let marks = vec![Mark::Series(line), Mark::Series(points)];
    let mut panel = Panel { marks, ..Panel::default() };
    panel.x.whole = true;
    panel.x.range = Some((0.5, last + 0.5));
    panel
}

/// An eigenvector as a picture without ticks.
pub(super) fn eigenvector(image: &Image, title: String, side: f64) -> Panel {
    let mut panel = picture(image.clone(), side);
    panel.title = Some(title);
    (panel.x.hide_ticks, panel.y.hide_ticks) = (true, true);
    panel
}

/// Rows of a curve and images, in columns that line up; the colour bar at the right.
fn side_by_side(rows: Vec<(Panel, Vec<Panel>)>) -> PanelBlock {
    let columns = 1 + rows.iter().map(|(_, images)| images.len()).max().unwrap_or(0);
    let mut items = Vec::new();
    for (curve, images) in rows {
        let missing = columns - 1 - images.len();
        items.push(Node::Panel(Box::new(curve)));
        items.extend(images.into_iter().map(|p| Node::Panel(Box::new(p))));
        items.extend(
            (0..missing).map(|_| Node::Block(PanelBlock { columns: 1, ..PanelBlock::default() })),
        );
    }
    PanelBlock { items, columns, bar: Some(0), ..PanelBlock::default() }
}

/// Colours of eigenvectors: white at 0.
pub(super) fn signed_colours() -> ColourAxis {
    ColourAxis { midpoint: Some(0.0), ..ColourAxis::default() }
}

/// Three digits with a sign.
pub(super) fn signed(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        s if s >= 100.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 || s == 0.0 => 2,
        s if s >= 0.001 => 3,
        _ => return format!("{value:+.1e}").replace('-', "−"),
    };
    format!("{value:+.digits$}").replace('-', "−")
}
