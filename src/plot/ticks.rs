//! Where the ticks of an axis stand, and what they say.

use super::panel::Axis;

/// Mean width of a character of tick text, in pixels.
pub(super) const CHARACTER: f64 = 7.4;
/// Pixels that one label needs across its reading direction.
const LABEL_PITCH: f64 = 16.0;
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
            Self::Across => 56.0,
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
    if axis.log && low > 0.0 {
        let places = logarithmic(low, high, (pixels / pitch).max(1.0) as usize);
        return places.into_iter().map(|value| (value, log_text(value))).collect();
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

/// Places of ticks on a logarithmic axis, about `most` of them at most: decades, or 1, 2 and 5 of
/// each where there are few decades. Empty where not even two fit.
pub(super) fn logarithmic(low: f64, high: f64, most: usize) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let inside = |value: &f64| *value >= low * 0.999_999 && *value <= high * 1.000_001;
    let steps = |multiples: &[f64]| -> Vec<f64> {
        let decade = |e: i32| multiples.iter().map(move |m| m * 10_f64.powi(e));
        (first..=last).flat_map(decade).filter(inside).collect()
    };
    let fine = steps(&[1.0, 2.0, 5.0]);
    if fine.len() <= most.max(2) {
        return fine;
    }
    let decades = steps(&[1.0]);
    decades.iter().copied().step_by(decades.len().div_ceil(most.max(1)).max(1)).collect()
}

/// A tick of a logarithmic axis: `1000`, `0.05`, `10⁻⁵` or `2·10⁻⁵`.
pub(super) fn log_text(value: f64) -> String {
    let exponent = (value.log10() + 1e-9).floor() as i32;
    if (-3..=3).contains(&exponent) {
        return significant(value, 1);
    }
    let digits = exponent.to_string();
    let digits = digits.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit as u32 - '0' as u32).unwrap_or(digit),
    });
    let power: String = "10".chars().chain(digits).collect();
    match (value / 10_f64.powi(exponent)).round() as i64 {
        1 => power,
        multiple => format!("{multiple}·{power}"),
    }
}

/// `value` with at most `digits` significant digits, as cells, colour bars and hover texts show it.
pub(super) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value:.0}").replace('-', "−");
    }
    let digits = digits.max(1);
    // Rounding may reach the next power of ten: 0.9996 is 1.
    let rounded: f64 = format!("{value:.*e}", digits - 1).parse().unwrap_or(value);
    let exponent = rounded.abs().log10().floor() as i32;
    let text = if (-4..6).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        trimmed(&format!("{rounded:.decimals$}"))
    } else {
        let text = format!("{rounded:.*e}", digits - 1);
        match text.split_once('e') {
            Some((mantissa, exponent)) => format!("{}e{exponent}", trimmed(mantissa)),
            None => text,
        }
    };
    text.replace('-', "−")
}

/// Without zeros at the end of the decimals.
fn trimmed(text: &str) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
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
        assert_eq!(texts, ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]);
        // Two decades have ticks at 1, 2 and 5.
        let texts: Vec<String> =
            numbers(&log, (0.9, 85.0), 600.0, 56.0).into_iter().map(|t| t.1).collect();
        assert_eq!(texts, ["1", "2", "5", "10", "20", "50"]);
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

    #[test]
    fn numbers_have_the_digits_that_count() {
        let cases = [
            (0.000_601, "0.000601"),
            (0.000_9, "0.0009"),
            (0.999_6, "1"),
            (-1234.5, "−1234"),
            (12.0, "12"),
            (1.5e-7, "1.5e−7"),
            (2.0e9, "2e9"),
            (0.0, "0"),
        ];
        for (value, text) in cases {
            let digits = if value == -1234.5 { 4 } else { 3 };
            assert_eq!(significant(value, digits), text);
        }
        assert_eq!(log_text(2e-5), "2·10⁻⁵");
        assert_eq!(log_text(0.05), "0.05");
    }
}
