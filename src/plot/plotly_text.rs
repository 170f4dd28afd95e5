//! Text for plotly, in the page's colour.

use serde_json::{Value, json};

use super::palette::TEXT_CSS;

/// Plain text for plotly, which reads text as HTML.
pub(super) fn text(plain: &str) -> String {
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br>")
}

/// Plain text in the colour that the page has for text. Plotly takes no CSS variable as a colour,
/// but hands the style of a `span` on to the browser.
pub(super) fn themed(plain: &str) -> String {
    match plain {
        "" => String::new(),
        _ => format!("{}{}{CLOSE}", open(), text(plain)),
    }
}

/// Puts the numbers along an axis into the page's colour.
pub(super) fn theme_ticks(axis: &mut Value) {
    axis["tickprefix"] = json!(open());
    axis["ticksuffix"] = json!(CLOSE);
}

/// Plotly's name for the `i`-th axis: `x`, `x2`, `x3`, …
pub(super) fn numbered(name: &str, i: usize) -> String {
    if i == 0 { name.to_owned() } else { format!("{name}{}", i + 1) }
}

fn open() -> String {
    format!("<span style=\"color:{TEXT_CSS}\">")
}

const CLOSE: &str = "</span>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let shown = themed("<s>\n&");
        assert!(shown.contains("&lt;s&gt;<br>&amp;") && shown.starts_with("<span style="));
        assert_eq!(themed(""), "");
    }
}
