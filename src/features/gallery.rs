//! Features on a page.

use std::fmt::{self, Write as _};

use super::Histogram;
use crate::data::text::VisibleToken;
use crate::display::MimeBundle;
use crate::model::HookPoint;
use crate::text::escape;

/// Tokens that are shown before and after the most active one.
const AROUND: (usize, usize) = (14, 14);

/// What the numbers of promoted and suppressed tokens are.
const INFLUENCE: &str = "what a unit of activation adds to the token's logit: W_u (γ ∘ d), with the \
                         final norm's gain γ, without its division by length";

/// A text and a feature's activation at each of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Which context of the sample it is.
    pub context: usize,
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// The tokens as they are shown within the text.
    pub visible: Vec<VisibleToken>,
    /// The feature's activation at each, 0 where it is not among the k largest.
    pub activations: Vec<f32>,
}

impl Example {
    /// The largest activation.
    pub fn most(&self) -> f32 {
        self.activations.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// The tokens around the most active one, with their activations.
    fn excerpt(&self) -> impl Iterator<Item = (&VisibleToken, f32)> {
        let most = self.most();
        let peak = self.activations.iter().position(|value| *value == most).unwrap_or(0);
        let start = peak.saturating_sub(AROUND.0);
        let pairs = self.visible.iter().zip(self.activations.iter().copied());
        pairs.skip(start).take(peak - start + AROUND.1 + 1)
    }
}

/// What there is to see of a feature.
#[derive(Debug, Clone)]
pub struct FeatureView {
    /// The feature.
    pub feature: usize,
    /// Where its autoencoder reads; for another reader of features, where its decoder writes.
    pub point: HookPoint,
    /// Texts that activate it, the most active first.
    pub examples: Vec<Example>,
    /// Tokens whose logits it raises most, and by how much per unit of activation, with the final
    /// norm's gain: see [`Sae::logit_influence`](crate::sae::Sae::logit_influence). The tokens are as
    /// [`Tokenizer::visible`](crate::data::text::Tokenizer::visible) shows them.
    pub promoted: Vec<(String, f32)>,
    /// Tokens whose logits it lowers most.
    pub suppressed: Vec<(String, f32)>,
    /// The share of tokens at which it is active.
    pub density: Option<f32>,
    /// How strongly it is active.
    pub histogram: Option<Histogram>,
    /// What it is about, in words, if somebody has said it.
    pub explanation: Option<String>,
}

/// Features, to be shown as the value of a cell: tokens are coloured by activation, blue above
/// zero and orange below, and the mouse over a token tells its activation, its number and, where it
/// is a part of a character, its bytes. Spaces, line breaks and characters without a shape have
/// signs; see [`Tokenizer::visible_text`](crate::data::text::Tokenizer::visible_text).
#[derive(Debug, Clone)]
pub struct Gallery(Vec<FeatureView>);

impl Gallery {
    pub(super) fn new(views: Vec<FeatureView>) -> Self {
        Self(views)
    }

    /// The features.
    pub fn views(&self) -> &[FeatureView] {
        &self.0
    }

    /// Shows the features as the value of a cell.
    pub fn evcxr_display(&self) {
        self.bundle().show_as_result();
    }

    /// Shows the features now, as an output of the running cell.
    pub fn show(&self) {
        self.bundle().show();
    }

    fn bundle(&self) -> MimeBundle {
        MimeBundle::text(self.to_string()).html(self.html())
    }

    fn html(&self) -> String {
        let views: Vec<String> = self.0.iter().map(FeatureView::html).collect();
        format!("<div style=\"font-size: 13px; line-height: 1.7\">{}</div>", views.join(""))
    }
}

impl FeatureView {
    fn caption(&self) -> String {
        let mut caption = String::new();
        if let Some(density) = self.density {
            let _ = write!(caption, "density {:.3} %", 100.0 * density);
        }
        if let Some(most) = self.examples.first().map(Example::most) {
            let _ =
                write!(caption, "{}largest {most:.2}", if caption.is_empty() { "" } else { ", " });
        }
        caption
    }

    fn html(&self) -> String {
        let mut html = format!(
            "<div style=\"margin: 10px 0 2px\"><b>feature {}</b> of {} · {}",
            self.feature,
            self.point,
            self.caption()
        );
        if let Some(histogram) = &self.histogram {
            let title = format!(
                "{} activations, from 0 to {:.3} in bins of {:.4}",
                histogram.total(),
                histogram.edge,
                histogram.edges()[0]
            );
            let _ = write!(
                html,
                " <span title=\"{title}\" style=\"color: #3b82f6\">{}</span>",
                histogram.sparkline()
            );
        }
        html.push_str("</div>");
        if let Some(explanation) = &self.explanation {
            let _ = write!(html, "<div><i>{}</i></div>", escape(explanation));
        }
        for (what, tokens) in [("promotes", &self.promoted), ("suppresses", &self.suppressed)] {
            let list: Vec<String> =
                tokens.iter().map(|(token, value)| chip(token, *value)).collect();
            let _ = write!(
                html,
                "<div><span title=\"{INFLUENCE}\">{what}</span> {}</div>",
                list.join(" ")
            );
        }
        if self.examples.is_empty() {
            html.push_str("<div><i>active nowhere in the sample</i></div>");
        }
        let largest = self.examples.iter().map(Example::most).fold(0f32, f32::max);
        for example in &self.examples {
            let _ = write!(
                html,
                "<div><span title=\"context {}\" style=\"opacity: 0.65; font-family: monospace\">\
                 {:6.2}</span>&ensp;<span style=\"white-space: pre-wrap\">",
                example.context,
                example.most()
            );
            for (token, value) in example.excerpt() {
                html.push_str(&coloured(token, value, largest));
            }
            html.push_str("</span></div>");
        }
        html
    }
}

/// A token with its logit influence.
fn chip(token: &str, value: f32) -> String {
    format!(
        "<code title=\"{value:+.4}\" style=\"background-color: rgba(128, 128, 128, 0.18); \
         padding: 0 3px; white-space: pre\">{}</code>",
        escape(token)
    )
}

/// A token with a background between none and, at `largest`, a strong one. Half-transparent
/// colours leave the page's own text readable, dark on light and light on dark.
fn coloured(token: &VisibleToken, value: f32, largest: f32) -> String {
    let (text, label) = (escape(&token.text), escape(&token.label()));
    if value == 0.0 {
        return format!("<span title=\"{label}\">{text}</span>");
    }
    let strength = 0.12 + 0.5 * (value.abs() / largest.max(f32::MIN_POSITIVE)).min(1.0);
    let colour = if value > 0.0 { "59, 130, 246" } else { "234, 88, 12" };
    format!(
        "<span title=\"{value:.3} · {label}\" style=\"background-color: \
         rgba({colour}, {strength:.2})\">{text}</span>"
    )
}

impl fmt::Display for Gallery {
    /// Active tokens in brackets, with the activation behind the most active one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for view in &self.0 {
            writeln!(f, "feature {} of {}: {}", view.feature, view.point, view.caption())?;
            if let Some(explanation) = &view.explanation {
                writeln!(f, "  \"{explanation}\"")?;
            }
            for (what, tokens) in [("promotes", &view.promoted), ("suppresses", &view.suppressed)] {
                let list: Vec<String> =
                    tokens.iter().map(|(token, value)| format!("{token} {value:+.2}")).collect();
                writeln!(f, "  {what} {}", list.join(", "))?;
            }
            for example in &view.examples {
                write!(f, "  {:6.2}  ", example.most())?;
                for (token, value) in example.excerpt() {
                    let token = &token.text;
                    if value == 0.0 {
                        f.write_str(token)?;
                    } else {
                        write!(f, "[{token}]")?;
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(tokens: &[&str], activations: &[f32]) -> Example {
        let visible = tokens.iter().zip(0..).map(|(token, id)| VisibleToken {
            id,
            text: (*token).to_owned(),
            alone: token.replace(' ', "␣"),
            bytes: token.as_bytes().to_vec(),
        });
        Example {
            context: 8,
            visible: visible.collect(),
            tokens: tokens.iter().map(|token| (*token).to_owned()).collect(),
            activations: activations.to_vec(),
        }
    }

    fn view() -> FeatureView {
        FeatureView {
            feature: 5,
            point: HookPoint::MlpIn(2),
            examples: vec![example(&["a", " <b>", "↵", "c"], &[0.0, 2.5, 0.0, -1.0])],
            promoted: vec![("␣king".to_owned(), 0.5)],
            suppressed: vec![("<".to_owned(), -0.25)],
            density: Some(0.0125),
            histogram: Some(Histogram::default()),
            explanation: Some("kings & \"queens\"".to_owned()),
        }
    }

    #[test]
    fn tokens_are_coloured_by_activation_and_escaped() {
        let html = Gallery::new(vec![view()]).html();
        for part in [
            "<b>feature 5</b> of 2.mlp_in",
            "density 1.250 %, largest 2.50",
            "</div><div><i>kings &amp; &quot;queens&quot;</i></div><div>",
            "white-space: pre-wrap\"><span title=\"a · id 0\">a</span><span",
            "title=\"2.500 · ␣&lt;b&gt; · id 1\" style=\"background-color: \
             rgba(59, 130, 246, 0.62)\"> &lt;b&gt;</span>",
            "rgba(234, 88, 12, 0.32)\">c</span>",
            "↵ · id 2 · bytes E2 86 B5\">↵",
            "title=\"-0.2500\"",
            "&lt;</code>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert_eq!(html.matches("<span").count(), html.matches("</span>").count(), "{html}");
        let text = Gallery::new(vec![view()]).to_string();
        assert!(text.contains("a[ <b>]↵[c]") && text.contains("␣king +0.50"), "{text}");
        assert!(text.contains("largest 2.50\n  \"kings & \"queens\"\"\n  promotes"), "{text}");
        let silent = Gallery::new(vec![FeatureView { explanation: None, ..view() }]);
        assert!(!silent.to_string().contains("kings") && !silent.html().contains("<i>"));
    }

    #[test]
    fn an_excerpt_is_around_the_peak() {
        let mut activations = vec![0.0; 100];
        activations[50] = 1.0;
        let tokens: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
        let example = example(&tokens, &activations);
        let shown: Vec<&str> = example.excerpt().map(|(token, _)| token.text.as_str()).collect();
        assert_eq!((shown[0], shown[shown.len() - 1]), ("36", "64"));
    }
}
