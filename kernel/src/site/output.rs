//! What cells showed, as HTML.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::embedded::harmless;
use super::escape::{escape, last_state, terminal};
use super::maths::formula;
use super::notebook::{CellOutput, Formats};

/// The format of plotly's figures.
pub(super) const PLOTLY: &str = "application/vnd.plotly.v1+json";

/// The outputs of a cell, in order.
pub(super) fn outputs(outputs: &[CellOutput]) -> Result<String> {
    let mut html = String::new();
    for output in outputs {
        match output {
            CellOutput::Stream { name, text } => {
                let class = if name == "stderr" { " class=\"stderr\"" } else { "" };
                let text = terminal(&last_state(&text.joined()));
                write!(html, "<pre{class}>{text}</pre>")?;
            }
            CellOutput::DisplayData { data } | CellOutput::ExecuteResult { data } => {
                html.push_str(&display(data)?);
            }
            CellOutput::Error { ename, evalue, traceback } => {
                let text = match traceback.as_slice() {
                    [] => format!("{ename}: {evalue}"),
                    lines => lines.join("\n"),
                };
                write!(html, "<pre class=\"error\">{}</pre>", terminal(&text))?;
            }
        }
        html.push('\n');
    }
    Ok(html)
}

/// The richest format that a page can show.
fn display(data: &Formats) -> Result<String> {
    if let Some(figure) = data.json(PLOTLY) {
        return plotly(figure, data);
    }
    if let Some(html) = data.text("text/html") {
        return Ok(format!("<div class=\"html\">{}</div>", harmless(&html)));
    }
    if let Some(address) = still(data) {
        let text = data.text("text/plain").unwrap_or_else(|| "a picture".to_owned());
        return Ok(format!("<img src=\"{address}\" alt=\"{}\">", escape(text.trim())));
    }
    if let Some(tex) = data.text("text/latex") {
        return Ok(formula(tex.trim().trim_matches('$'), true));
    }
    if let Some(value) = data.json("application/json") {
        let text = serde_json::to_string_pretty(value).context("JSON of an output")?;
        return Ok(format!("<pre>{}</pre>", escape(&text)));
    }
    let text = ["text/plain", "text/markdown"].iter().find_map(|mime| data.text(mime));
    let text = text.unwrap_or_else(|| {
        format!(
            "an output in formats that a page cannot show: {}",
            data.mimes().collect::<Vec<_>>().join(", ")
        )
    });
    Ok(format!("<pre>{}</pre>", terminal(&text)))
}

/// A figure that `site.js` draws when it comes near the window. Its JSON is compressed, because
/// numbers of figures are most of what a site holds.
fn plotly(figure: &Value, data: &Formats) -> Result<String> {
    let mut compressed = GzEncoder::new(Vec::new(), Compression::best());
    serde_json::to_writer(&mut compressed, figure).context("JSON of a figure")?;
    let compressed = compressed.finish().context("JSON of a figure")?;
    let size = |name: &str, otherwise: f64| {
        figure["layout"][name]
            .as_f64()
            .filter(|size| (1.0..1e5).contains(size))
            .unwrap_or(otherwise)
    };
    let (width, height) = (size("width", 700.0), size("height", 450.0));
    let text = data.text("text/plain").unwrap_or_else(|| "a figure".to_owned());
    Ok(format!(
        "<div class=\"figure scroll\" role=\"img\" aria-label=\"{}\"><div class=\"plot\" \
         style=\"width:{width}px;height:{height}px\"><script type=\"application/gzip\">{}</script>\
         </div></div>",
        escape(text.trim()),
        BASE64.encode(compressed)
    ))
}

/// The address of the picture among the formats.
fn still(data: &Formats) -> Option<String> {
    let picture = picture(data)?;
    Some(format!("data:{};base64,{}", picture.mime, BASE64.encode(picture.bytes)))
}

/// A still picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StillPicture {
    /// `image/svg+xml`, `image/png` or `image/jpeg`.
    pub(super) mime: &'static str,
    /// What a file of it is called behind the dot.
    pub(super) extension: &'static str,
    /// The file.
    pub(super) bytes: Vec<u8>,
}

/// The still picture that something displayed has.
pub(super) fn picture(data: &Formats) -> Option<StillPicture> {
    if let Some(svg) = data.text("image/svg+xml") {
        let bytes = svg.into_bytes();
        return Some(StillPicture { mime: "image/svg+xml", extension: "svg", bytes });
    }
    [("image/png", "png"), ("image/jpeg", "jpg")].into_iter().find_map(|(mime, extension)| {
        let text: String = data.text(mime)?.split_whitespace().collect();
        Some(StillPicture { mime, extension, bytes: BASE64.decode(text).ok()? })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use serde_json::json;

    use super::*;

    fn shown(output: Value) -> String {
        let output: CellOutput = serde_json::from_value(output).expect("an output");
        outputs(&[output]).expect("it can be shown")
    }

    fn displayed(data: Value) -> String {
        shown(json!({"output_type": "display_data", "metadata": {}, "data": data}))
    }

    #[test]
    fn a_text_stays_a_text() {
        let html = displayed(json!({"text/plain": "<script>alert(1)</script>"}));
        assert_eq!(html, "<pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre>\n");
        let html = shown(
            json!({"output_type": "stream", "name": "stderr", "text": ["1 %\r", "2 %\n<i>"]}),
        );
        assert_eq!(html, "<pre class=\"stderr\">2 %\n&lt;i&gt;</pre>\n");
    }

    #[test]
    fn tables_pictures_json_and_unknown_formats_are_shown() {
        let html = displayed(json!({"text/html": "<b>x</b><script>1</script>", "text/plain": "x"}));
        assert_eq!(html, "<div class=\"html\"><b>x</b></div>\n");
        let html = displayed(json!({"image/png": "aGkK\n", "text/plain": "a \"picture\""}));
        assert_eq!(
            html,
            "<img src=\"data:image/png;base64,aGkK\" alt=\"a &quot;picture&quot;\">\n"
        );
        assert!(displayed(json!({"application/json": {"a": 1}})).contains("&quot;a&quot;: 1"));
        assert!(displayed(json!({"text/latex": "$x^2$"})).contains("<math"));
        assert!(displayed(json!({"application/x-new": 1})).contains("application/x-new"));
    }

    #[test]
    fn an_error_shows_what_the_notebook_showed() {
        let error = |traceback: Value| {
            shown(
                json!({"output_type": "error", "ename": "E", "evalue": "<a>", "traceback": traceback}),
            )
        };
        assert_eq!(error(json!([])), "<pre class=\"error\">E: &lt;a&gt;</pre>\n");
        let html = error(json!(["\x1b[31mline 1\x1b[0m", "line 2"]));
        assert_eq!(
            html,
            "<pre class=\"error\"><span class=\"ansi1\">line 1</span>\nline 2</pre>\n"
        );
    }

    #[test]
    fn a_figure_keeps_every_number() {
        let figure =
            json!({"data": [{"y": [0.1, 2]}], "layout": {"width": 300, "title": "</script>"}});
        let html = displayed(json!({PLOTLY: figure, "text/plain": "Figure"}));
        assert!(
            html.contains("width:300px;height:450px") && html.contains("aria-label=\"Figure\"")
        );
        let (_, packed) = html.split_once("application/gzip\">").expect("a script");
        let (packed, _) = packed.split_once("</script>").expect("its end");
        let mut text = String::new();
        let bytes = BASE64.decode(packed).expect("base64");
        GzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), figure);
    }

    #[test]
    fn pictures_are_found() {
        let formats = |value: Value| serde_json::from_value::<Formats>(value).expect("formats");
        let svg =
            picture(&formats(json!({"image/svg+xml": ["<svg>", "</svg>"], "image/png": "aGk="})));
        assert_eq!(
            svg.map(|found| (found.extension, found.bytes)),
            Some(("svg", b"<svg></svg>".to_vec()))
        );
        let png = picture(&formats(json!({"image/png": "aGk="})));
        assert_eq!(png.map(|found| (found.mime, found.bytes)), Some(("image/png", b"hi".to_vec())));
        assert_eq!(picture(&formats(json!({"image/png": "not base64!"}))), None);
        assert_eq!(picture(&formats(json!({"text/html": "<svg>"}))), None);
    }
}
