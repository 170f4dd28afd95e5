//! The page that shows a picture of every notebook, and the page of one.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::catalogue::{NotebookEntry, Section};
use super::escape::escape;
use super::highlight;
use super::links::Links;
use super::markdown::{self, Headings};
use super::notebook::Formats;
use super::output::{self, PLOTLY, StillPicture};

/// The body of the gallery. `pictures` has, for each notebook in order, the address of its picture.
pub(super) fn gallery(sections: &[Section], pictures: &[Option<String>]) -> String {
    let mut html = String::from("<h1>Notebooks</h1>\n");
    let mut pictures = pictures.iter();
    for section in sections {
        // Writing to a string cannot fail.
        let _ = writeln!(html, "<h2>{}</h2>\n<ul class=\"cards\">", escape(&section.title));
        for entry in &section.entries {
            let picture = match pictures.next().and_then(Option::as_ref) {
                Some(address) => format!("<img src=\"{address}\" alt=\"\" loading=\"lazy\">"),
                None => "<img class=\"no-picture\" src=\"assets/logo.svg\" alt=\"\">".to_owned(),
            };
            let _ = writeln!(
                html,
                "<li><a href=\"{}\"><span class=\"picture\">{picture}</span><strong>{}</strong></a>\
                 <p>{}</p></li>",
                entry.page,
                escape(&entry.title),
                escape(&entry.about)
            );
        }
        html.push_str("</ul>\n");
    }
    html
}

/// The most bytes of a picture in the gallery, if there is another. Larger ones are images of
/// thousands of pixels, which say little when they are small.
const LARGEST_CARD: usize = 90_000;

/// The picture that stands for a notebook: of its figures that are neither a strip nor a small
/// square, the one with the most marks; else the first.
pub(super) fn picture(entry: &NotebookEntry) -> Option<StillPicture> {
    let pictures =
        || entry.notebook.displays().filter_map(|data| Some((data, output::picture(data)?)));
    let best = pictures().filter(|(data, _)| fills_a_card(data)).max_by_key(|(_, picture)| {
        let bytes = picture.bytes.len();
        if bytes <= LARGEST_CARD { bytes } else { 0 }
    });
    best.or_else(|| pictures().next()).map(|(_, picture)| picture)
}

/// Whether a figure has about the shape of a card.
fn fills_a_card(data: &Formats) -> bool {
    let layout = data.json(PLOTLY).map(|figure| &figure["layout"]);
    let size = |name: &str| layout.and_then(|layout| layout[name].as_f64());
    match (size("width"), size("height")) {
        (Some(width), Some(height)) if height > 0.0 => {
            width >= 400.0 && (0.9..=2.6).contains(&(width / height))
        }
        _ => false,
    }
}

/// The body of a notebook's page.
pub(super) fn notebook(
    entry: &NotebookEntry,
    neighbours: [Option<&NotebookEntry>; 2],
    links: Links<'_>,
    headings: &mut Headings,
) -> Result<String> {
    let mut html = String::new();
    for cell in &entry.notebook.cells {
        let source = cell.source();
        match cell.cell_type.as_str() {
            "markdown" => {
                let text = markdown::render(&source, true, links, headings);
                writeln!(html, "<section class=\"markdown\">\n{text}</section>")?;
            }
            "code" => {
                let shown = output::outputs(&cell.outputs)
                    .with_context(|| format!("an output of {}", entry.path.display()))?;
                let number = cell.execution_count.map_or(String::new(), |n| n.to_string());
                let code = highlight::rust(source.trim_end());
                let output = match shown.as_str() {
                    "" => String::new(),
                    shown => format!("<div class=\"outputs\">\n{shown}</div>\n"),
                };
                writeln!(
                    html,
                    "<section class=\"cell\">\n<pre class=\"code\" data-number=\"{number}\">\
                     <code>{code}</code></pre>\n{output}</section>"
                )?;
            }
            _ => writeln!(html, "<pre>{}</pre>", escape(&source))?,
        }
    }
    let [previous, next] = neighbours;
    html.push_str("<nav class=\"neighbours\" aria-label=\"Notebooks\">\n");
    for (neighbour, class, arrow) in [(previous, "previous", "←"), (next, "next", "→")] {
        if let Some(neighbour) = neighbour {
            let title = escape(&neighbour.title);
            let text = if class == "next" {
                format!("{title} {arrow}")
            } else {
                format!("{arrow} {title}")
            };
            writeln!(
                html,
                "<a class=\"{class}\" href=\"{}{}\">{text}</a>",
                links.up, neighbour.page
            )?;
        }
    }
    html.push_str("</nav>\n");
    Ok(html)
}
