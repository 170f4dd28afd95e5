//! Why a classifier says what it says about one sample.

use super::spectrum::{curve, eigenvector, signed, signed_colours, strongest};
use crate::bilinear::Explanation;
use crate::plot::{
    ColourAxis, Figure, IntoValues, Mark, Node, POSITIVE, Panel, PanelBlock, Scale, Series, Style,
    check_numbers, images, picture,
};
use crate::{Error, Result};

/// Classes shown, strongest logit first.
const CLASSES: usize = 3;
/// Eigenvectors shown on each side.
const EACH_SIDE: usize = 2;
const SIDE: f64 = 104.0;
const INPUT: f64 = 150.0;

/// Draws one sample and its logits, and below them, for each of the three classes with the largest
/// logits, what the class's eigenvectors contribute: the contributions `λ (v·x)²` in order of
/// strength (blue adds to the logit, red takes from it), and the two eigenvectors that add most and
/// the two that take most, with eigenvalue and contribution.
///
/// # Errors
/// [`Error::Shape`] if the explanation's shapes do not fit, [`Error::NonFinite`] for NaN.
pub fn plot_explanation(explanation: &Explanation) -> Result<Figure> {
    let Explanation { input, logits, labels, .. } = explanation;
    let classes = logits.len();
    let logits: Vec<f64> = logits.iter().map(|&l| f64::from(l)).collect();
    check_numbers("the logits", &logits)?;
    if labels.len() != classes {
        return Err(Error::shape("the labels", format!("{classes}, one a logit"), labels.len()));
    }
    shapes(explanation)?;
    let mut order: Vec<usize> = (0..classes).collect();
    order.sort_by(|&i, &j| logits[j].total_cmp(&logits[i]));
    order.truncate(CLASSES);

    let mut rows = Vec::new();
    for (place, &class) in order.iter().enumerate() {
        let mut row = class_row(explanation, class, logits[class])?;
        if let (Some(Node::Panel(curve)), true) = (row.first_mut(), place + 1 == order.len()) {
            curve.x.title = Some("rank".into());
        }
        rows.extend(row);
    }
    let columns = 1 + 2 * EACH_SIDE;
    let classes = PanelBlock { items: rows, columns, bar: Some(0), ..PanelBlock::default() };
    let mut sample = picture(images("the input", input, 1)?.remove(0), INPUT);
    sample.title = Some("input".into());
    (sample.x.hide_ticks, sample.y.hide_ticks) = (true, true);
    let head = PanelBlock::of(vec![sample, logit_bars(&logits, labels)], 2);
    let items = vec![Node::Block(head), Node::Block(classes)];
    let gray = ColourAxis { scale: Some(Scale::Gray), bar: false, ..ColourAxis::default() };
    let colours = vec![signed_colours(), gray];
    Ok(Figure::of(PanelBlock { items, columns: 1, ..PanelBlock::default() }, colours))
}

fn shapes(explanation: &Explanation) -> Result<()> {
    let Explanation { input, logits, eigenvalues, eigenvectors, contributions, .. } = explanation;
    let classes = logits.len();
    let [height, width] = *input.dims() else {
        return Err(Error::shape("the input", "[height, width]", input.dims()));
    };
    let [_, rank] = *eigenvalues.dims() else {
        return Err(Error::shape("the eigenvalues", "[classes, rank]", eigenvalues.dims()));
    };
    for (what, tensor, expected) in [
        ("the eigenvalues", eigenvalues, vec![classes, rank]),
        ("the contributions", contributions, vec![classes, rank]),
        ("the eigenvectors", eigenvectors, vec![classes, rank, height, width]),
    ] {
        if tensor.dims() != expected {
            return Err(Error::shape(what, format!("{expected:?}"), tensor.dims()));
        }
    }
    Ok(())
}

/// A curve and images: what adds most, then what takes most.
fn class_row(explanation: &Explanation, class: usize, logit: f64) -> Result<Vec<Node>> {
    let values = explanation.eigenvalues.get(class)?.into_values()?;
    let gains = explanation.contributions.get(class)?.into_values()?;
    check_numbers("the eigenvalues", &values)?;
    check_numbers("the contributions", &gains)?;
    let vectors = explanation.eigenvectors.get(class)?;
    let mut panel = Panel::default();
    let mut pictures = Vec::new();
    for sign in [1.0, -1.0] {
        let order = strongest(&gains, sign);
        if !order.is_empty() {
            let part = curve(&gains, &order, EACH_SIDE, sign);
            let ends = [&panel, &part].map(|p| p.x.range.map_or(1.5, |range| range.1));
            panel.x.range = Some((0.5, ends[0].max(ends[1])));
            panel.marks.extend(part.marks);
        }
        for place in 0..EACH_SIDE {
            pictures.push(match order.get(place) {
                Some(&i) => {
                    let title = format!("λ {}\nlogit {}", signed(values[i]), signed(gains[i]));
                    let image = images("the eigenvectors", &vectors.get(i)?, 0)?.remove(0);
                    Node::Panel(Box::new(eigenvector(&image, title, SIDE)))
                }
                None => Node::Block(PanelBlock { columns: 1, ..PanelBlock::default() }),
            });
        }
    }
    panel.title = Some(format!("{}: logit {}", explanation.labels[class], signed(logit)));
    panel.size = (210.0, SIDE);
    panel.x.whole = true;
    panel.y.title = Some("contribution".into());
    let mut row = vec![Node::Panel(Box::new(panel))];
    row.extend(pictures);
    Ok(row)
}

/// All logits, in the order of the classes.
fn logit_bars(logits: &[f64], labels: &[String]) -> Panel {
    let x: Vec<f64> = (0..logits.len()).map(|i| i as f64).collect();
    let bars = Series::new(Style::Bars, "", x, logits.to_vec()).ink(POSITIVE);
    let mut panel = Panel { marks: vec![Mark::Series(bars)], ..Panel::default() };
    panel.title = Some("logits".into());
    panel.x.labels = Some(labels.to_vec());
    panel.size = (500.0, INPUT);
    panel
}
