//! HTML that a notebook displays, without what would run or ask another machine for something.
//!
//! Pages of the site have a policy that lets the browser do neither. Here it is taken out first, so
//! that there are words where something is missing, and no complaint of the browser.

use super::escape::escape;

/// Elements that go with all that they contain.
const DROPPED_WHOLE: [&str; 5] = ["script", "style", "iframe", "object", "template"];
/// Elements whose tags go.
const DROPPED_TAGS: [&str; 9] =
    ["base", "embed", "form", "frame", "frameset", "link", "meta", "noscript", "portal"];
/// Attributes that make a browser fetch something.
const FETCHED: [&str; 5] = ["src", "srcset", "poster", "background", "data"];

/// A tag, and where it ends.
#[derive(Debug)]
struct HtmlTag<'a> {
    /// In small letters.
    name: String,
    closing: bool,
    attributes: Vec<(&'a str, Option<&'a str>)>,
    end: usize,
}

/// The HTML without scripts, frames and anything from elsewhere. A frame becomes a line that says
/// what was in it; a picture from elsewhere becomes its description.
pub(super) fn harmless(html: &str) -> String {
    let mut out = String::with_capacity(html.len());
    let mut at = 0;
    while let Some(offset) = html[at..].find('<') {
        let start = at + offset;
        out.push_str(&html[at..start]);
        if html[start..].starts_with("<!") || html[start..].starts_with("<?") {
            at = after_comment(html, start);
            continue;
        }
        let Some(tag) = tag_at(html, start) else {
            out.push_str("&lt;");
            at = start + 1;
            continue;
        };
        at = tag.end;
        if DROPPED_WHOLE.contains(&tag.name.as_str()) {
            if !tag.closing {
                if tag.name == "iframe" {
                    out.push_str(&frame(&tag));
                }
                at = after_closing(html, tag.end, &tag.name);
            }
        } else if !DROPPED_TAGS.contains(&tag.name.as_str()) {
            write_tag(&mut out, &tag, &html[start..tag.end]);
        }
    }
    out.push_str(&html[at..]);
    out
}

/// What takes the place of a frame.
fn frame(tag: &HtmlTag<'_>) -> String {
    let title = tag.attribute("title").map_or(String::new(), |title| format!(" ({title})"));
    format!(
        "<p class=\"note\">A page of a running program{} was shown here; it shows again when the \
         notebook runs.</p>",
        escape_quotes(&title)
    )
}

fn write_tag(out: &mut String, tag: &HtmlTag<'_>, source: &str) {
    let elsewhere = |(name, value): &(&str, Option<&str>)| {
        let name = name.to_ascii_lowercase();
        let value = value.unwrap_or_default();
        let drawn =
            ["image", "use", "feimage"].contains(&tag.name.as_str()) && name.ends_with("href");
        (FETCHED.contains(&name.as_str()) || drawn)
            && !value.trim_start().starts_with("data:image/")
            && !is_ours(value)
    };
    if tag.attributes.iter().any(elsewhere) {
        if let Some(text) = tag.attribute("alt") {
            out.push_str(&format!("<em>{}</em>", escape_quotes(text)));
        }
        return;
    }
    if tag.closing || !tag.attributes.iter().any(is_refused) {
        out.push_str(source);
        return;
    }
    out.push('<');
    out.push_str(&tag.name);
    for (name, value) in tag.attributes.iter().filter(|attribute| !is_refused(attribute)) {
        out.push_str(&format!(" {name}"));
        if let Some(value) = value {
            out.push_str(&format!("=\"{}\"", value.replace('"', "&quot;")));
        }
    }
    out.push('>');
}

/// Whether an address is of this site: relative.
fn is_ours(address: &str) -> bool {
    let address = address.trim_start();
    !address.starts_with("//") && !address.contains(':')
}

/// Handlers, styles that load something, and addresses that run something or name this machine.
fn is_refused((name, value): &(&str, Option<&str>)) -> bool {
    let name = name.to_ascii_lowercase();
    let value = value.unwrap_or_default().trim_start().to_ascii_lowercase();
    match name.as_str() {
        "style" => value.contains("url(") || value.contains("@import"),
        "href" | "xlink:href" => {
            let known = ["http://", "https://", "mailto:", "#", "data:image/"];
            let machine = ["http://127.0.0.1", "http://localhost"];
            let known = known.iter().any(|scheme| value.starts_with(scheme)) || is_ours(&value);
            !known || machine.iter().any(|host| value.starts_with(host))
        }
        "srcdoc" | "action" | "formaction" | "ping" => true,
        name => name.starts_with("on"),
    }
}

/// Text of an attribute, which may have references to characters, as text of an element.
fn escape_quotes(text: &str) -> String {
    escape(text).replace("&amp;", "&")
}

impl<'a> HtmlTag<'a> {
    fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?.1
    }
}

/// The tag that begins at `start`; none if it is a lone `<`.
fn tag_at(html: &str, start: usize) -> Option<HtmlTag<'_>> {
    let bytes = html.as_bytes();
    let closing = bytes.get(start + 1) == Some(&b'/');
    let name_start = start + 1 + usize::from(closing);
    if !bytes.get(name_start)?.is_ascii_alphabetic() {
        return None;
    }
    let is_end = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'>' | b'/');
    let length = bytes[name_start..].iter().position(is_end)?;
    let mut at = name_start + length;
    let name = html[name_start..at].to_ascii_lowercase();
    let mut attributes = Vec::new();
    loop {
        at += bytes[at..].iter().position(|b| !b.is_ascii_whitespace() && *b != b'/')?;
        if bytes[at] == b'>' {
            return Some(HtmlTag { name, closing, attributes, end: at + 1 });
        }
        let is_end = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'=' | b'>' | b'/');
        // A name may begin with `=`.
        let length = 1 + bytes[at + 1..].iter().position(is_end)?;
        // Bytes above ASCII do not end a name, so that slices are at characters.
        let attribute = html.get(at..at + length)?;
        at += length;
        let gap = bytes[at..].iter().position(|b| !b.is_ascii_whitespace())?;
        if bytes[at + gap] != b'=' {
            attributes.push((attribute, None));
            continue;
        }
        at += gap + 1;
        at += bytes[at..].iter().position(|b| !b.is_ascii_whitespace())?;
        let (value, next) = match bytes[at] {
            quote @ (b'"' | b'\'') => {
                let length = bytes[at + 1..].iter().position(|b| *b == quote)?;
                (at + 1..at + 1 + length, at + length + 2)
            }
            b'>' => (at..at, at),
            _ => {
                let is_end = |b: &u8| b.is_ascii_whitespace() || *b == b'>';
                let length = bytes[at..].iter().position(is_end)?;
                (at..at + length, at + length)
            }
        };
        attributes.push((attribute, Some(&html[value])));
        at = next;
    }
}

/// Where a comment, or a declaration, ends.
fn after_comment(html: &str, start: usize) -> usize {
    let (end, from) = if html[start..].starts_with("<!--") { ("-->", 4) } else { (">", 2) };
    html[start + from..].find(end).map_or(html.len(), |found| start + from + found + end.len())
}

/// The end of an element's closing tag, or of the HTML if it is never closed.
fn after_closing(html: &str, from: usize, name: &str) -> usize {
    let mut at = from;
    while let Some(found) = html[at..].find("</") {
        at += found;
        match tag_at(html, at) {
            Some(tag) if tag.name == name => return tag.end,
            _ => at += 2,
        }
    }
    html.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_pictures_and_bars_stay_as_they_are() {
        for html in [
            "<table><tr><td style=\"text-align:right\">1 &lt; 2</td></tr></table>",
            "<img alt=\"14 images\" src=\"data:image/png;base64,iVBORw0=\">",
            "<progress max=\"100\" value='100.0'></progress><br/>",
            "<details open><summary>more</summary>ä</details>",
            "<a href=\"https://a.org/?b=c:d\" title='a > b'>a</a>",
            "<svg viewBox=\"0 0 1 1\"><path d=\"M0 0\"/></svg>",
        ] {
            assert_eq!(harmless(html), html);
        }
    }

    #[test]
    fn what_runs_is_taken_out() {
        assert_eq!(harmless("a<script>alert('</b>')</script>b"), "ab");
        assert_eq!(harmless("a<SCRIPT src=x>never closed"), "a");
        assert_eq!(harmless("<b onclick=\"x()\" title=\"t\">c</b>"), "<b title=\"t\">c</b>");
        assert_eq!(harmless("<a href=' javascript:x()'>c</a>"), "<a>c</a>");
        assert_eq!(harmless("<b/onclick=x>c</b>"), "<b>c</b>");
        assert_eq!(harmless("a<!-- <b> -->b<!doctype html>"), "ab");
        assert_eq!(harmless("<style>@import 'x'</style>a"), "a");
    }

    #[test]
    fn what_asks_another_machine_has_words_in_its_place() {
        let html = harmless("<iframe src=\"http://127.0.0.1:1/#t\" title=\"latents\"></iframe>.");
        assert!(html.contains("(latents)") && html.ends_with("</p>."), "{html}");
        assert!(!html.contains("127.0.0.1"), "{html}");
        assert_eq!(harmless("<img alt=\"a dog\" src=\"https://a.org/b.png\">"), "<em>a dog</em>");
        assert_eq!(harmless("<img src=//a.org/b.png>c"), "c");
        assert_eq!(harmless("<svg><image href='http://a.org'/></svg>"), "<svg></svg>");
        assert_eq!(harmless("<b style=\"background:url(http://a.org)\">c</b>"), "<b>c</b>");
        assert_eq!(harmless("<a href=\"http://127.0.0.1:8/\">c</a>"), "<a>c</a>");
        assert_eq!(harmless("<link rel=stylesheet href=\"a.css\">c"), "c");
    }

    #[test]
    fn html_that_is_cut_off_or_odd_ends() {
        assert_eq!(harmless("1 < 2"), "1 &lt; 2");
        assert_eq!(harmless("<b title=\"open"), "&lt;b title=\"open");
        for odd in ["<", "</", "<b =", "<b ==>", "<b a= >", "<ä>", "<b ä=ö>", "<!--", "<iframe"]
        {
            harmless(odd);
        }
    }
}
