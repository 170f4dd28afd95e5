//! Colours of errors and warnings, as ANSI codes.
//!
//! JupyterLab shows both on a tinted ground: a light pink in the light theme, a dark red in the
//! dark one. No text colour has a contrast of 4.5 : 1 on both, as accessibility asks for. So text
//! is in the theme's own colour, with bold for what matters, and colour appears only in badges that
//! bring their own ground.

type Rgb = [u8; 3];

const WHITE: Rgb = [255, 255, 255];
const BLACK: Rgb = [0, 0, 0];
const RED: Rgb = [176, 0, 32];
const AMBER: Rgb = [255, 193, 7];

/// `text` in bold.
pub(crate) fn bold(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\u{1b}[1m{text}\u{1b}[0m") }
}

/// `text` as the mark of an error.
pub(crate) fn error(text: &str) -> String {
    badge(text, WHITE, RED)
}

/// `text` as the mark of a warning.
pub(crate) fn warning(text: &str) -> String {
    badge(text, BLACK, AMBER)
}

fn badge(text: &str, [r, g, b]: Rgb, [ground_r, ground_g, ground_b]: Rgb) -> String {
    format!("\u{1b}[1;38;2;{r};{g};{b};48;2;{ground_r};{ground_g};{ground_b}m{text}\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contrast ratio of WCAG 2: from 1 to 21.
    fn contrast(one: Rgb, other: Rgb) -> f64 {
        let luminance = |colour: Rgb| {
            let linear = colour.map(|part| {
                let part = f64::from(part) / 255.0;
                if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
            });
            0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        };
        let (a, b) = (luminance(one), luminance(other));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn the_measure_agrees_with_known_ratios() {
        assert!((contrast(WHITE, BLACK) - 21.0).abs() < 1e-9);
        // What the source line of an error had before: grey on JupyterLab's pink.
        assert!((contrast([178, 178, 178], [255, 221, 221]) - 1.68).abs() < 0.01);
    }

    #[test]
    fn every_colour_that_is_used_is_readable() {
        assert!(contrast(WHITE, RED) >= 4.5, "{}", contrast(WHITE, RED));
        assert!(contrast(BLACK, AMBER) >= 4.5, "{}", contrast(BLACK, AMBER));
        // Text and error grounds of JupyterLab's themes: black of 87 % on #fdd, white on
        // rgba(244, 67, 54, 0.28) over #111.
        assert!(contrast([33, 29, 29], [255, 221, 221]) >= 4.5);
        assert!(contrast(WHITE, [81, 31, 27]) >= 4.5);
    }

    #[test]
    fn nothing_else_is_coloured() {
        for text in [bold("x"), error("x"), warning("x")] {
            let codes = text.trim_start_matches("\u{1b}[").split('m').next().unwrap();
            assert!(codes == "1" || codes.contains("38;2;") && codes.contains("48;2;"), "{codes}");
        }
    }
}
