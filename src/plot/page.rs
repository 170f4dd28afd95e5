//! A figure as one HTML file with everything in it.

use std::path::Path;

use super::figure::Figure;
use super::plotly_json;
use crate::text::escape;
use crate::{Error, Result};

/// Writes `figure` to `path`, whole or not at all.
pub(super) fn save(figure: &Figure, path: &Path) -> Result<()> {
    if path.file_name().is_none() {
        let expected = "the name of a file";
        return Err(Error::invalid("the path of save_html", expected, path.display()));
    }
    eigenlens_common::files::write(path, html(figure)).map_err(Error::io("write", path))
}

fn html(figure: &Figure) -> String {
    let title = escape(figure.title.as_deref().unwrap_or("Figure"));
    // In a script, `</` would end it.
    let json = plotly_json::render(figure).to_string().replace("</", "<\\/");
    let library = plotly_js();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n<style>:root {{ color-scheme: light dark; \
         --jp-content-font-color1: CanvasText }}</style>\n\
         <script>{library}</script>\n</head>\n<body>\n<div id=\"figure\"></div>\n<script>\n\
         const figure = {json};\n\
         Plotly.newPlot(\"figure\", figure);\n\
         </script>\n</body>\n</html>\n"
    )
}

/// plotly.js, which the `plotly` crate carries as the first of its script elements.
fn plotly_js() -> String {
    let mut scripts = plotly::Plot::offline_js_sources();
    let begin = scripts.find('>').map_or(0, |at| at + 1);
    scripts.truncate(scripts.find("</script>").unwrap_or(scripts.len()));
    scripts.split_off(begin)
}
