//! Formulas as MathML, which browsers draw without a script.

use pulldown_latex::config::{DisplayMode, RenderConfig};
use pulldown_latex::{Parser, Storage, push_mathml};

use super::embedded::harmless;
use super::escape::escape;

/// A formula in TeX as MathML; as its source if it cannot be read.
pub(super) fn formula(tex: &str, display: bool) -> String {
    mathml(tex, display).unwrap_or_else(|| {
        let tag = if display { "pre" } else { "code" };
        format!("<{tag}>{}</{tag}>", escape(tex))
    })
}

fn mathml(tex: &str, display: bool) -> Option<String> {
    let storage = Storage::new();
    let events: Vec<_> = Parser::new(tex, &storage).collect::<Result<_, _>>().ok()?;
    let display_mode = if display { DisplayMode::Block } else { DisplayMode::Inline };
    let config = RenderConfig { display_mode, ..RenderConfig::default() };
    let mut html = String::new();
    let events = events.into_iter().map(Ok::<_, std::fmt::Error>);
    push_mathml(&mut html, events, config).ok()?;
    // Signs such as `<` are as they were typed.
    Some(harmless(&html))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_become_mathml() {
        let html = formula(r"\hat x = \sum_i \tfrac12 x_i^\top", true);
        assert!(html.starts_with("<math display=\"block\"") && html.ends_with("</math>"), "{html}");
        for expected in ["<mover", "<munder", "<mfrac", "∑", "⊤"] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(formula("x < y", false).contains("&lt;"));
    }

    #[test]
    fn what_is_no_formula_stays_as_it_was_typed() {
        assert_eq!(formula(r"\frac{<b>", false), r"<code>\frac{&lt;b&gt;</code>");
        assert_eq!(formula(r"\nosuchcommand", true), r"<pre>\nosuchcommand</pre>");
        for odd in ["", "{", "}", "x^", "^", "a & b", "\\", "_", "\\left(", "\\begin{x}"] {
            let html = formula(odd, false);
            assert!(html.starts_with('<'), "{odd}: {html}");
        }
    }
}
