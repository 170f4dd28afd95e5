//! Colour scales, written out as stops.

use std::fmt;

/// A continuous colour scale, in the colours plotly express gives it.
///
/// plotly.js has scales of the same names that look different: its own "RdBu" runs from blue to
/// red. A figure here carries the stops themselves, so low is red, the middle white and high blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Scale {
    /// Diverging, red – white – blue (ColorBrewer): signed weights around a midpoint.
    RdBu,
    /// Diverging, purple – white – green (ColorBrewer); also safe for colour-blind readers.
    PRGn,
    /// Sequential, violet – green – yellow (matplotlib): the default without a midpoint.
    #[default]
    Viridis,
    /// Sequential, white – dark blue (ColorBrewer).
    Blues,
    /// Sequential, white – dark red (ColorBrewer).
    Reds,
    /// Sequential, black – white: photographs and digits.
    Gray,
}

impl Scale {
    /// Evenly spaced colours, low first, as `#rrggbb`.
    ///
    /// ```
    /// use eigenlens::plot::Scale;
    /// let stops = Scale::RdBu.stops();
    /// assert_eq!((stops[0], stops[5], stops[10]), ("#67001f", "#f7f7f7", "#053061"));
    /// ```
    pub fn stops(self) -> &'static [&'static str] {
        match self {
            Self::RdBu => &[
                "#67001f", "#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7", "#d1e5f0",
                "#92c5de", "#4393c3", "#2166ac", "#053061",
            ],
            Self::PRGn => &[
                "#40004b", "#762a83", "#9970ab", "#c2a5cf", "#e7d4e8", "#f7f7f7", "#d9f0d3",
                "#a6dba0", "#5aae61", "#1b7837", "#00441b",
            ],
            Self::Viridis => &[
                "#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779",
                "#6ece58", "#b5de2b", "#fde725",
            ],
            Self::Blues => &[
                "#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5",
                "#08519c", "#08306b",
            ],
            Self::Reds => &[
                "#fff5f0", "#fee0d2", "#fcbba1", "#fc9272", "#fb6a4a", "#ef3b2c", "#cb181d",
                "#a50f15", "#67000d",
            ],
            Self::Gray => &["#000000", "#ffffff"],
        }
    }

    /// The colour at `fraction` of the scale (0 is low, 1 is high), as red, green, blue.
    pub(super) fn rgb(self, fraction: f64) -> [u8; 3] {
        let stops = self.stops();
        let place = fraction.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
        let below = (place.floor() as usize).min(stops.len() - 2);
        let share = place - below as f64;
        let (low, high) = (parse(stops[below]), parse(stops[below + 1]));
        std::array::from_fn(|c| {
            (f64::from(low[c]) * (1.0 - share) + f64::from(high[c]) * share).round() as u8
        })
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Red, green, blue of `#rrggbb`; black for anything else.
pub(super) fn parse(hex: &str) -> [u8; 3] {
    let number = u32::from_str_radix(hex.trim_start_matches('#'), 16).unwrap_or(0);
    [(number >> 16) as u8, (number >> 8) as u8, number as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdbu_is_red_white_blue() {
        assert_eq!(Scale::RdBu.rgb(0.0), [0x67, 0, 0x1f]);
        assert_eq!(Scale::RdBu.rgb(0.5), [0xf7, 0xf7, 0xf7]);
        assert_eq!(Scale::RdBu.rgb(1.0), [0x05, 0x30, 0x61]);
        assert_eq!(Scale::Gray.rgb(0.5), [128, 128, 128]);
    }
}
