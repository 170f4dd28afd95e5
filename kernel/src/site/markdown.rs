//! Markdown as HTML: links to pages of the site, formulas, code in colours.

use std::collections::BTreeMap;

use pulldown_cmark::{
    CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html,
};

use super::embedded;
use super::highlight;
use super::links::Links;
use super::maths::formula;

/// A heading of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageHeading {
    /// 1 to 6.
    pub(super) level: usize,
    /// Its text.
    pub(super) text: String,
    /// What an address names it by.
    pub(super) id: String,
}

/// The headings of a page so far, each with its `id`.
#[derive(Debug, Default)]
pub(super) struct Headings {
    /// In order.
    pub(super) list: Vec<PageHeading>,
    used: BTreeMap<String, usize>,
}

impl Headings {
    /// Adds a heading and returns its `id`, as GitHub makes it.
    fn add(&mut self, level: HeadingLevel, text: String) -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let slug: String = text.to_lowercase().chars().filter(kept).collect();
        let slug = slug.replace(' ', "-");
        let times = self.used.entry(slug.clone()).or_default();
        let id = if *times == 0 { slug } else { format!("{slug}-{times}") };
        *times += 1;
        self.list.push(PageHeading { level: level as usize, text, id: id.clone() });
        id
    }
}

/// What a Markdown text may have.
fn options(maths: bool) -> Options {
    let mut options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    options.set(Options::ENABLE_MATH, maths);
    options
}

/// The events of a text, for those who look for something in it.
pub(super) fn events(text: &str) -> Parser<'_> {
    Parser::new_ext(text, options(false))
}

/// The formulas of a text, and whether each stands on lines of its own.
#[cfg(test)]
pub(super) fn formulas(text: &str) -> Vec<(String, bool)> {
    let found = |event| match event {
        Event::InlineMath(tex) => Some((tex.into_string(), false)),
        Event::DisplayMath(tex) => Some((tex.into_string(), true)),
        _ => None,
    };
    Parser::new_ext(text, options(true)).filter_map(found).collect()
}

/// Markdown as HTML. `maths` says whether `$` begins a formula; headings are added to `headings`.
pub(super) fn render(text: &str, maths: bool, links: Links<'_>, headings: &mut Headings) -> String {
    let mut out = Vec::new();
    let mut kept_links = Vec::new();
    let mut kept_pictures = Vec::new();
    let mut events = Parser::new_ext(text, options(maths));
    while let Some(event) = events.next() {
        match event {
            Event::InlineMath(tex) => out.push(Event::InlineHtml(formula(&tex, false).into())),
            Event::DisplayMath(tex) => out.push(Event::InlineHtml(formula(&tex, true).into())),
            Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                let start = out.len();
                let mut text = String::new();
                for event in events.by_ref() {
                    match event {
                        Event::End(TagEnd::Heading(_)) => break,
                        Event::Text(ref piece) | Event::Code(ref piece) => {
                            text.push_str(piece);
                            out.push(event);
                        }
                        Event::InlineMath(tex) => {
                            text.push_str(&tex);
                            out.push(Event::InlineHtml(formula(&tex, false).into()));
                        }
                        // A link in a heading is its text.
                        Event::Start(Tag::Link { .. }) | Event::End(TagEnd::Link) => {}
                        event => out.push(event),
                    }
                }
                let id = Some(CowStr::from(headings.add(level, text)));
                out.insert(start, Event::Start(Tag::Heading { level, id, classes, attrs }));
                out.push(Event::End(TagEnd::Heading(level)));
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let mut code = String::new();
                for event in events.by_ref() {
                    match event {
                        Event::End(TagEnd::CodeBlock) => break,
                        Event::Text(piece) => code.push_str(&piece),
                        _ => {}
                    }
                }
                out.push(Event::Html(code_block(&kind, &code).into()));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let address = links.page(&dest_url);
                kept_links.push(address.is_some());
                if let Some(address) = address {
                    let dest_url = address.into();
                    out.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
            }
            Event::End(TagEnd::Link) => {
                if kept_links.pop() == Some(true) {
                    out.push(Event::End(TagEnd::Link));
                }
            }
            Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                let address = links.picture(&dest_url);
                kept_pictures.push(address.is_some());
                out.push(match address {
                    Some(address) => {
                        let dest_url = address.into();
                        Event::Start(Tag::Image { link_type, dest_url, title, id })
                    }
                    // Its description takes its place.
                    None => Event::InlineHtml("<em>".into()),
                });
            }
            Event::End(TagEnd::Image) => out.push(if kept_pictures.pop() == Some(true) {
                Event::End(TagEnd::Image)
            } else {
                Event::InlineHtml("</em>".into())
            }),
            event => out.push(event),
        }
    }
    let mut page = String::with_capacity(text.len() * 2);
    html::push_html(&mut page, out.into_iter());
    // A table may be wider than a phone.
    let page = page.replace("<table>", "<div class=\"scroll\"><table>");
    embedded::harmless(&page.replace("</table>", "</table></div>"))
}

fn code_block(kind: &CodeBlockKind<'_>, code: &str) -> String {
    let code = code.trim_end_matches('\n');
    let html = match kind {
        CodeBlockKind::Fenced(language) if language.starts_with("rust") => highlight::rust(code),
        _ => super::escape::escape(code),
    };
    format!("<pre class=\"code\"><code>{html}</code></pre>\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::links::SiteFiles;
    use super::*;

    fn rendered(text: &str) -> (String, Headings) {
        let mut files = SiteFiles::default();
        files.pages.insert("notebooks/b.ipynb".to_owned(), "notebooks/b.html".to_owned());
        let (folder, root) = (Path::new("notebooks"), Path::new("/no/such"));
        let mut headings = Headings::default();
        let links = Links { files: &files, folder, up: "../", root };
        let html = render(text, true, links, &mut headings);
        (html, headings)
    }

    #[test]
    fn headings_have_ids_that_differ() {
        let (html, headings) = rendered("# A `b` $x$!\n\n## Same\n\n## Same\n\n### [To](c.md)");
        let ids: Vec<_> = headings.list.iter().map(|h| (h.level, h.id.as_str())).collect();
        assert_eq!(ids, [(1, "a-b-x"), (2, "same"), (2, "same-1"), (3, "to")]);
        assert_eq!(headings.list[0].text, "A b x!");
        assert!(html.contains("<h1 id=\"a-b-x\">A <code>b</code> <math"), "{html}");
        assert!(html.contains("<h3 id=\"to\">To</h3>"), "{html}");
    }

    #[test]
    fn links_lead_to_pages_or_are_texts() {
        let (html, _) =
            rendered("[b](b.ipynb) [c](c.ipynb) [w](https://w.org) ![no picture](p.png)");
        assert!(html.contains("<a href=\"../notebooks/b.html\">b</a> c <a href"), "{html}");
        assert!(html.contains("<em>no picture</em>") && !html.contains("<img"), "{html}");
    }

    #[test]
    fn formulas_code_and_tables_are_drawn() {
        let (html, _) =
            rendered("$a < b$, $5 and $6\n\n```rust\nlet x = \"<b>\";\n```\n\n    plain <i>\n");
        assert!(html.contains("<math") && html.contains("$5 and $6"), "{html}");
        assert!(html.contains("<span class=\"hl-string\">&quot;&lt;b&gt;&quot;</span>"), "{html}");
        assert!(html.contains("<code>plain &lt;i&gt;</code>"), "{html}");
        let (html, _) = rendered("| a |\n| --- |\n| 1 |\n\n<script>alert(1)</script>");
        assert!(html.contains("<div class=\"scroll\"><table>"), "{html}");
        assert!(!html.contains("script") && !html.contains("alert"), "{html}");
    }
}
