//! Colours, dashes and symbols that tell series apart, and colours of text.

/// Colours of series in order, after Okabe and Ito, moved to where each has a contrast of at least
/// 3 : 1 on white and on JupyterLab's dark #111111. The first four can be told apart by readers
/// with any kind of dichromacy; within so narrow a range of lightness no fifth can, so dashes and
/// symbols take part too.
pub(crate) const SERIES: [&str; 8] =
    ["#0072b2", "#c58700", "#009e73", "#c0609c", "#d55e00", "#3b9bd6", "#8a8a8a", "#7d7d00"];

/// Dashes of lines in order, as lengths in pixels of ink and gap in turn; the first is solid.
const DASHES: [&[f64]; 8] = [
    &[],
    &[9.0, 4.0],
    &[2.0, 3.0],
    &[9.0, 3.0, 2.0, 3.0],
    &[16.0, 5.0],
    &[16.0, 3.0, 2.0, 3.0, 2.0, 3.0],
    &[5.0, 3.0],
    &[12.0, 3.0, 5.0, 3.0],
];

/// Symbols of points, by plotly's names.
const SYMBOLS: [Symbol; 8] = [
    Symbol::Circle,
    Symbol::Square,
    Symbol::Diamond,
    Symbol::TriangleUp,
    Symbol::X,
    Symbol::TriangleDown,
    Symbol::Cross,
    Symbol::Star,
];

/// Blue for what adds, red for what subtracts: the ends of [`Scale::RdBu`](super::Scale::RdBu),
/// where they have enough contrast on white and on black.
pub(crate) const POSITIVE: &str = "#2f86bd";
pub(crate) const NEGATIVE: &str = "#d6604d";

/// Text where the page gives no colour of its own: 4.5 : 1 on white. No one colour reaches 4.5 on
/// both white and #111111 (4.35 is the most), so wherever a page has themes [`TEXT_CSS`] is used.
pub(super) const TEXT: &str = "#767676";
/// The page's own colour of text, in JupyterLab, in VS Code, or else [`TEXT`].
pub(super) const TEXT_CSS: &str = "var(--jp-content-font-color1,var(--vscode-foreground,#767676))";
pub(super) const GRID: &str = "rgba(128,128,128,0.22)";
pub(super) const AXIS: &str = "rgba(128,128,128,0.6)";

/// The form of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    Circle,
    Square,
    Diamond,
    TriangleUp,
    X,
    TriangleDown,
    Cross,
    Star,
}

impl Symbol {
    /// Plotly's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Diamond => "diamond",
            Self::TriangleUp => "triangle-up",
            Self::X => "x",
            Self::TriangleDown => "triangle-down",
            Self::Cross => "cross",
            Self::Star => "star",
        }
    }

    /// Corners around the origin for a symbol of radius 1, y downwards; none for a circle.
    pub(super) fn corners(self) -> Vec<(f64, f64)> {
        let turned = |points: &[(f64, f64)]| {
            let half = std::f64::consts::FRAC_1_SQRT_2;
            points.iter().map(|(x, y)| ((x - y) * half, (x + y) * half)).collect()
        };
        let t = 0.35;
        let cross = [
            (-t, -1.0),
            (t, -1.0),
            (t, -t),
            (1.0, -t),
            (1.0, t),
            (t, t),
            (t, 1.0),
            (-t, 1.0),
            (-t, t),
            (-1.0, t),
            (-1.0, -t),
            (-t, -t),
        ];
        match self {
            Self::Circle => Vec::new(),
            Self::Square => vec![(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            Self::Diamond => vec![(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
            Self::TriangleUp => vec![(0.0, -1.15), (1.05, 0.75), (-1.05, 0.75)],
            Self::TriangleDown => vec![(0.0, 1.15), (1.05, -0.75), (-1.05, -0.75)],
            Self::X => turned(&cross),
            Self::Cross => cross.to_vec(),
            Self::Star => (0..10)
                .map(|i| {
                    let radius = if i % 2 == 0 { 1.4 } else { 0.56 };
                    let (sin, cos) = (f64::from(i) * std::f64::consts::PI / 5.0).sin_cos();
                    (radius * sin, -radius * cos)
                })
                .collect(),
        }
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    pub(crate) ink: &'static str,
    pub(super) dash: &'static [f64],
    pub(super) symbol: Symbol,
}

impl Look {
    /// The look of the `i`-th series: no two of the first 64 are alike.
    pub(super) fn of(i: usize) -> Self {
        let form = (i + i / SERIES.len()) % DASHES.len();
        Self { ink: SERIES[i % SERIES.len()], dash: DASHES[form], symbol: SYMBOLS[form] }
    }

    /// The dashes as plotly and SVG read them, with `unit` after every length.
    pub(super) fn dashes(&self, unit: &str) -> String {
        let lengths: Vec<String> = self.dash.iter().map(|px| format!("{px}{unit}")).collect();
        lengths.join(",")
    }
}

/// A colour `#rrggbb` that lets what is behind it through.
pub(super) fn see_through(ink: &str, opacity: f64) -> String {
    let part = |at: usize| {
        ink.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(128)
    };
    format!("rgba({},{},{},{opacity})", part(1), part(3), part(5))
}

/// Relative luminance as WCAG defines it, 0 for black and 1 for white.
pub(super) fn luminance(rgb: [u8; 3]) -> f64 {
    let [r, g, b] = linear(rgb);
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn linear(rgb: [u8; 3]) -> [f64; 3] {
    rgb.map(|c| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    })
}

/// Contrast of two colours as WCAG defines it: from 1 to 21.
pub(super) fn contrast(a: [u8; 3], b: [u8; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// Black or white, whichever reads better on `ground`: at least 4.58 : 1 on any colour.
pub(super) fn ink_on(ground: [u8; 3]) -> &'static str {
    if contrast(ground, [0; 3]) >= contrast(ground, [255; 3]) { "#000000" } else { "#ffffff" }
}

#[cfg(test)]
mod tests {
    use super::super::Scale;
    use super::super::scale::parse;
    use super::*;

    /// Contrast of two colours `#rrggbb`.
    fn contrast_of(a: &str, b: &str) -> f64 {
        contrast(parse(a), parse(b))
    }

    type Matrix = [[f64; 3]; 3];
    const NORMAL: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    /// What dichromats see, on linear RGB: Viénot, Brettel and Mollon (1999).
    const PROTANOPIA: Matrix =
        [[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]];
    const DEUTERANOPIA: Matrix =
        [[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]];
    const XYZ: Matrix = [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ];

    fn times(m: &Matrix, v: [f64; 3]) -> [f64; 3] {
        m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
    }

    /// CIE L*a*b* of a colour seen through `eye`.
    fn lab(hex: &str, eye: &Matrix) -> [f64; 3] {
        let seen = times(eye, linear(parse(hex))).map(|c| c.clamp(0.0, 1.0));
        let xyz = times(&XYZ, seen);
        let f = |v: f64| if v > 0.008856 { v.cbrt() } else { 7.787 * v + 16.0 / 116.0 };
        let [x, y, z] = [f(xyz[0] / 0.95047), f(xyz[1]), f(xyz[2] / 1.08883)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// CIE76 difference of two colours: below 10 they are easily confused.
    fn difference(a: &str, b: &str, eye: &Matrix) -> f64 {
        let (a, b) = (lab(a, eye), lab(b, eye));
        (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn the_difference_of_old_red_and_green_is_as_measured() {
        // The palette before: a deuteranope saw series 3 and 4 in one colour.
        assert!(difference("#54a24b", "#e45756", &DEUTERANOPIA) < 5.0);
        assert!(difference("#54a24b", "#e45756", &NORMAL) > 50.0);
    }

    #[test]
    fn lines_stand_out_on_white_and_on_jupyters_dark_page() {
        for ink in SERIES.iter().chain([&POSITIVE, &NEGATIVE]) {
            for page in ["#ffffff", "#111111"] {
                let ratio = contrast_of(ink, page);
                assert!(ratio >= 3.0, "{ink} on {page}: {ratio:.2}");
            }
        }
    }

    #[test]
    fn colour_blind_readers_tell_the_first_eight_series_apart() {
        for i in 0..SERIES.len() {
            for j in 0..i {
                let (a, b) = (Look::of(i), Look::of(j));
                assert!(a.dash != b.dash && a.symbol != b.symbol, "{i} and {j}");
                for eye in [NORMAL, PROTANOPIA, DEUTERANOPIA] {
                    let apart = difference(a.ink, b.ink, &eye);
                    assert!(i >= 4 || apart > 15.0, "{i} and {j}: {apart:.1}");
                }
                assert!(difference(a.ink, b.ink, &NORMAL) > 15.0, "{i} and {j}");
            }
        }
        assert!(difference(POSITIVE, NEGATIVE, &PROTANOPIA) > 40.0);
        assert!(difference(POSITIVE, NEGATIVE, &DEUTERANOPIA) > 40.0);
    }

    #[test]
    fn no_two_of_sixty_four_series_look_alike() {
        for i in 0..64 {
            assert!((0..i).all(|j| Look::of(i) != Look::of(j)), "{i}");
        }
    }

    #[test]
    fn text_reads_on_white_and_no_single_colour_reads_on_both_pages() {
        assert!(contrast_of(TEXT, "#ffffff") >= 4.5);
        assert!(TEXT_CSS.contains(TEXT));
        let best = (0..=255)
            .map(|grey| [grey; 3])
            .map(|grey| contrast(grey, [255; 3]).min(contrast(grey, [0x11; 3])))
            .fold(0.0, f64::max);
        assert!(best < 4.5, "{best:.2}: then use that grey and no style sheet");
    }

    #[test]
    fn numbers_read_on_every_cell() {
        let scales =
            [Scale::RdBu, Scale::PRGn, Scale::Viridis, Scale::Blues, Scale::Reds, Scale::Gray];
        for scale in scales {
            for i in 0..=100 {
                let cell = scale.rgb(f64::from(i) / 100.0);
                let ratio = contrast(parse(ink_on(cell)), cell);
                assert!(ratio >= 4.5, "{scale} at {i} %: {ratio:.2}");
            }
        }
    }
}
