//! A figure as one HTML file with everything in it.

use std::fs;
use std::path::Path;

use super::figure::Figure;
use super::plotly_json;
use crate::text::escape;
use crate::{Error, Result};

/// Writes `figure` to `path`: to a file beside it first, which then takes its place.
pub(super) fn save(figure: &Figure, path: &Path) -> Result<()> {
    let name = path.file_name().ok_or_else(|| {
        Error::invalid("the path of save_html", "the name of a file", path.display())
    })?;
    let beside =
        path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    let written = fs::write(&beside, html(figure)).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // Whatever was written is of no use; that it may not exist is fine.
        let _ = fs::remove_file(&beside);
        Error::io("write", path)(source)
    })
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
