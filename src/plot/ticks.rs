//! Where the ticks of an axis stand, and what they say.

use super::panel::Axis;

/// Mean width of a character of tick text, in pixels.
pub(super) const CHARACTER: f64 = 6.2;
/// Pixels that one label needs across its reading direction.
const LABEL_PITCH: f64 = 14.0;
/// Longer labels are cut, the hover text is not.
const LONGEST: usize = 22;

/// Which way an axis runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orientation {
    Across,
    Up,
}

impl Orientation {
    /// Pixels from one numeric tick to the next, at least.
    pub(super) fn pitch(self) -> f64 {
        match self {
            Self::Across => 46.0,
            Self::Up => 36.0,
        }
    }
}

/// Ticks: position on the axis and text.
pub(super) type Ticks = Vec<(f64, String)>;

/// About how wide `text` is, in pixels.
pub(super) fn width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// The longest of some texts, in pixels.
pub(super) fn widest(ticks: &Ticks) -> f64 {
    ticks.iter().map(|(_, text)| width(text)).fold(0.0, f64::max)
}

/// The labels of `axis` that fit into `pixels`, and whether they must be written upwards.
/// `None` where the axis has no labels. `count` is the number of positions.
pub(super) fn labels(axis: &Axis, pixels: f64, run: Orientation) -> Option<(Ticks, bool)> {
    let labels = axis.labels.as_ref()?;
    let horizontal = run == Orientation::Across;
    let slot = pixels / labels.len().max(1) as f64;
    let short: Vec<String> = labels.iter().map(|l| shorten(l)).collect();
    let widest = short.iter().map(|l| width(l)).fold(0.0, f64::max);
    let upright = horizontal && widest + 6.0 > slot && widest > 3.0 * CHARACTER;
    let pitch = if horizontal && !upright { widest + 6.0 } else { LABEL_PITCH };
    let step = (pitch / slot).ceil().max(1.0) as usize;
    let ticks = short.into_iter().enumerate().step_by(step).map(|(i, l)| (i as f64, l)).collect();
    Some((ticks, upright))
}

fn shorten(label: &str) -> String {
    if label.chars().count() <= LONGEST {
        return label.to_owned();
    }
    label.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Round numbers between `low` and `high`, about one every `pitch` pixels.
pub(super) fn numbers(axis: &Axis, (low, high): (f64, f64), pixels: f64, pitch: f64) -> Ticks {
    let (low, high) = (low.min(high), low.max(high));
    if axis.log {
        let (first, last) = (low.log10().ceil() as i32, high.log10().floor() as i32);
        if last > first {
            let step = ((f64::from(last - first) * pitch / pixels).ceil() as usize).max(1);
            return (first..=last).step_by(step).map(|e| (10_f64.powi(e), power(e))).collect();
        }
    }
    let least = (high - low) * pitch / pixels.max(1.0);
    let power = 10_f64.powf(least.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= least).unwrap_or(10.0);
    let step = if axis.whole { (round * power).max(1.0) } else { round * power };
    if !(step.is_finite() && step > 0.0) {
        return Vec::new();
    }
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last.min(first + 100))
        .map(|i| i as f64 * step)
        .map(|value| (value, number(value, step)))
        .collect()
}

/// A decade, as `1000` or `10⁻⁵`.
fn power(exponent: i32) -> String {
    if (-2..=3).contains(&exponent) {
        return format!("{}", 10_f64.powi(exponent));
    }
    let exponent = exponent.to_string();
    let digits = exponent.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
    });
    "10".chars().chain(digits).collect()
}

/// `value` with the digits that a step of `step` needs.
pub(super) fn number(value: f64, step: f64) -> String {
    let size = value.abs().max(step);
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.1e}").replace('-', "−");
    }
    let decimals = (-step.log10()).ceil().max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    text.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let axis = Axis::default();
        let texts: Vec<String> =
            numbers(&axis, (-0.13, 0.31), 200.0, 40.0).into_iter().map(|t| t.1).collect();
        assert_eq!(texts, ["−0.1", "0.0", "0.1", "0.2", "0.3"]);
        let log = Axis { log: true, ..Axis::default() };
        let texts: Vec<String> =
            numbers(&log, (2e-6, 2.0), 300.0, 40.0).into_iter().map(|t| t.1).collect();
        assert_eq!(texts, ["10⁻⁵", "10⁻⁴", "10⁻³", "0.01", "0.1", "1"]);
        let whole = Axis { whole: true, ..Axis::default() };
        assert_eq!(numbers(&whole, (0.0, 3.0), 400.0, 40.0).len(), 4);
    }

    #[test]
    fn labels_thin_out_and_turn() {
        let few = Axis { labels: Some(vec!["a".into(), "b".into()]), ..Axis::default() };
        assert_eq!(
            labels(&few, 100.0, Orientation::Across).map(|l| (l.0.len(), l.1)),
            Some((2, false))
        );
        let names = (0..100).map(|i| format!("token {i}")).collect();
        let many = Axis { labels: Some(names), ..Axis::default() };
        assert_eq!(
            labels(&many, 400.0, Orientation::Across).map(|l| (l.0.len(), l.1)),
            Some((25, true))
        );
    }
}
