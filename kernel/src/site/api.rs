//! The API documentation: pages that rustdoc made, without what most of their bytes are.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::folder::SiteFolder;
use super::links::with_slashes;
use crate::install::state::Checkout;

/// The crates whose pages are on the site.
const CRATES: [&str; 3] = ["eigenlens", "eigenlens_app", "eigenlens_common"];

/// Which crates `cargo doc` documents: as `.ci/run` does, so that nothing is compiled twice.
const DOCUMENTED: [&str; 5] = ["doc", "--workspace", "--exclude", "eigenlens-engine", "--no-deps"];

/// Runs `cargo doc` and returns the folder of its pages.
pub(super) fn build(checkout: &Checkout) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    let target = target.map_or_else(|| checkout.root().join("target"), PathBuf::from);
    let target = std::path::absolute(&target)
        .with_context(|| format!("{} is not a usable path", target.display()))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(DOCUMENTED)
        .arg("--target-dir")
        .arg(&target)
        .current_dir(checkout.root())
        .status()
        .context(
            "could not start cargo, which makes the API documentation; `--no-api` leaves it out",
        )?;
    if !status.success() {
        bail!("cargo doc failed; `--no-api` makes the site without the API documentation");
    }
    Ok(target.join("doc"))
}

/// Puts the pages of `folder` into `api/` of the site.
///
/// # Errors
/// If the folder has no pages of `eigenlens`, or one cannot be read.
pub(super) fn copy(folder: &Path, site: &mut SiteFolder) -> Result<()> {
    if !folder.join("eigenlens/index.html").is_file() {
        bail!(
            "`--api` {} has no eigenlens/index.html; expected what cargo doc makes, such as \
             target/doc",
            folder.display()
        );
    }
    for name in ["crates.js", "help.html", "settings.html"] {
        copy_file(folder, Path::new(name), site)?;
    }
    let implementors = ["trait.impl", "type.impl"].iter();
    let implementors = implementors.flat_map(|kind| CRATES.map(|name| Path::new(kind).join(name)));
    let others = ["search.index", "static.files"].map(PathBuf::from);
    for inside in CRATES.map(PathBuf::from).into_iter().chain(others).chain(implementors) {
        if folder.join(&inside).is_dir() {
            copy_folder(folder, &inside, site)?;
        }
    }
    Ok(())
}

fn copy_folder(from: &Path, inside: &Path, site: &mut SiteFolder) -> Result<()> {
    let unreadable = || format!("could not read {}", from.join(inside).display());
    for entry in fs::read_dir(from.join(inside)).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let inside = inside.join(entry.file_name());
        // The system has fonts.
        if inside.extension().is_some_and(|extension| extension == "woff2") {
            continue;
        }
        if entry.path().is_dir() {
            copy_folder(from, &inside, site)?;
        } else {
            copy_file(from, &inside, site)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, inside: &Path, site: &mut SiteFolder) -> Result<()> {
    let path = from.join(inside);
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("could not read {}", path.display()));
        }
    };
    let extension = inside.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let content = match (String::from_utf8(content), extension) {
        (Ok(text), "html") => trimmed(&text).into_bytes(),
        (Ok(text), "css") => without_all(&text, "@font-face", "}").into_bytes(),
        (Ok(text), _) => text.into_bytes(),
        (Err(binary), _) => binary.into_bytes(),
    };
    site.write(&format!("api/{}", with_slashes(inside)), &content)
}

/// A page of rustdoc without what is most of its bytes and little of its use: traits that every type
/// has (blanket implementations and auto traits), methods of traits of other crates, which are
/// documented there, titles that repeat a link's address, links to pages of source code, which are
/// not on the site, and fonts.
fn trimmed(page: &str) -> String {
    let page = without_first(page, &START_OF_LIST, &END_OF_LIST);
    let page = without_first(&page, &START_IN_SIDEBAR, &["</section>"]);
    let page = without_all(&page, START_OF_FONTS, "</script>");
    let page = without_all(&page, "<a class=\"src", "</a>");
    without_titles(&without_foreign_methods(&page))
}

const START_OF_LIST: [&str; 2] =
    ["<h2 id=\"synthetic-implementations\"", "<h2 id=\"blanket-implementations\""];
const END_OF_LIST: [&str; 2] =
    ["<script type=\"text/json\" id=\"notable-traits-data\"", "</section></div></main>"];
const START_IN_SIDEBAR: [&str; 2] =
    ["<h3><a href=\"#synthetic-implementations\"", "<h3><a href=\"#blanket-implementations\""];

/// The script that fetches fonts ahead.
const START_OF_FONTS: &str = "<script>if(window.location.protocol!==\"file:\")";

/// The text without what is between the first of `starts` and the first of `ends` behind it.
fn without_first(text: &str, starts: &[&str], ends: &[&str]) -> String {
    let start = starts.iter().filter_map(|start| text.find(start)).min();
    let cut = start.and_then(|start| {
        let end = ends.iter().filter_map(|end| text[start..].find(end)).min()?;
        Some((start, start + end))
    });
    cut.map_or_else(|| text.to_owned(), |(start, end)| [&text[..start], &text[end..]].concat())
}

/// The text without each piece from `start` to the end of the next `end`.
fn without_all(text: &str, start: &str, end: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find(start) {
        let Some(length) = rest[found..].find(end) else { break };
        out.push_str(&rest[..found]);
        rest = &rest[found + length + end.len()..];
    }
    out + rest
}

/// The page without titles of links.
fn without_titles(page: &str) -> String {
    const TITLE: &str = " title=\"";
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(found) = rest.find(TITLE) {
        let (before, title) = rest.split_at(found);
        let tag = before.rfind('<').map(|start| &before[start..]);
        let in_link =
            tag.is_some_and(|tag| (tag == "<a" || tag.starts_with("<a ")) && !tag.contains('>'));
        let end = title[TITLE.len()..].find('"').map(|length| TITLE.len() + length + 1);
        out.push_str(before);
        let end = end.unwrap_or(title.len());
        if !in_link {
            out.push_str(&title[..end]);
        }
        rest = &title[end..];
    }
    out + rest
}

/// The page with only the head of each implementation of a trait that other pages document.
fn without_foreign_methods(page: &str) -> String {
    const START: &str = "<details class=\"toggle implementors-toggle\"";
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(found) = rest.find(START) {
        out.push_str(&rest[..found]);
        rest = &rest[found..];
        let Some((head, length)) = summary(rest).zip(details_length(rest)) else { break };
        let is_foreign = head.contains("<h3 class=\"code-header\">impl")
            && first_trait(head).is_some_and(|address| address.starts_with("https://"));
        out.push_str(if is_foreign { head } else { &rest[..length] });
        rest = &rest[length..];
    }
    out + rest
}

/// What is in the first `<summary>`.
fn summary(html: &str) -> Option<&str> {
    let start = html.find("<summary>")? + "<summary>".len();
    let end = start + html[start..].find("</summary>")?;
    Some(&html[start..end])
}

/// The address of the first trait that a heading names.
fn first_trait(heading: &str) -> Option<&str> {
    heading.split_once("<a class=\"trait\" href=\"")?.1.split('"').next()
}

/// The bytes of the `<details>` that the text begins with, to the end of its closing tag.
fn details_length(html: &str) -> Option<usize> {
    const CLOSING: &str = "</details>";
    let mut depth = 0;
    let mut at = 0;
    loop {
        let close = at + html[at..].find(CLOSING)?;
        let opened = html[at..close].matches("<details").count();
        depth += opened;
        // The first part has the `<details>` that is asked for.
        depth = depth.checked_sub(1)?;
        at = close + CLOSING.len();
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_of_every_type_and_links_to_sources_go() {
        let page = "<nav><section id=\"rustdoc-toc\"><h3>Methods</h3><h3><a \
                    href=\"#synthetic-implementations\">Auto</a></h3><ul></ul></section></nav>\
                    <p>kept<a class=\"src rightside\" href=\"../src/a.rs.html\">Source</a></p>\
                    <h2 id=\"synthetic-implementations\">Auto</h2><div>Send</div>\
                    <h2 id=\"blanket-implementations\">Blanket</h2><div>Any</div>\
                    <script type=\"text/json\" id=\"notable-traits-data\">{}</script>\
                    </section></div></main>";
        let expected = "<nav><section id=\"rustdoc-toc\"><h3>Methods</h3></section></nav>\
                        <p>kept</p><script type=\"text/json\" id=\"notable-traits-data\">{}\
                        </script></section></div></main>";
        assert_eq!(trimmed(page), expected);
        let other = "<h2>Functions</h2></section></div></main>";
        assert_eq!(trimmed(other), other);
    }

    #[test]
    fn titles_of_links_fonts_and_their_loading_go() {
        let page = "<a title=\"x\" href=\"#a\">say title=\"y\"</a><b title=\"z\">";
        assert_eq!(trimmed(page), "<a href=\"#a\">say title=\"y\"</a><b title=\"z\">");
        let script = "<script src=\"a.js\"></script>";
        let page = format!("{START_OF_FONTS}load(`<link>`)</script><p>{script}");
        assert_eq!(trimmed(&page), format!("<p>{script}"));
        let css = "a{b:c}@font-face {font-family:'F';src:url(\"f.woff2\")}d{e:f}";
        assert_eq!(without_all(css, "@font-face", "}"), "a{b:c}d{e:f}");
    }

    #[test]
    fn methods_of_traits_that_are_documented_elsewhere_go() {
        let implementation = |address: &str| {
            format!(
                "<details class=\"toggle implementors-toggle\" open><summary><section><h3 \
                 class=\"code-header\">impl <a class=\"trait\" href=\"{address}\">T</a> for S</h3>\
                 </section></summary><div><details class=\"toggle method-toggle\"><summary>m\
                 </summary><p>text</p></details></div></details>"
            )
        };
        let (ours, foreign) =
            (implementation("../trait.T.html"), implementation("https://doc.rust-lang.org/T"));
        let head = summary(&foreign).expect("a heading").to_owned();
        assert_eq!(trimmed(&format!("<p>{ours}{foreign}{ours}")), format!("<p>{ours}{head}{ours}"));
        let cut_off = &foreign[..foreign.len() - 12];
        assert_eq!(trimmed(cut_off), cut_off);
    }

    #[test]
    fn only_pages_of_the_project_are_copied() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (docs, out) = (folder.path().join("doc"), folder.path().join("site"));
        let mut site = SiteFolder::begin(&out)?;
        let error = copy(&docs, &mut site).expect_err("there is none").to_string();
        assert!(error.contains("`--api`") && error.contains("cargo doc"), "{error}");
        for name in [
            "eigenlens/index.html",
            "other/index.html",
            "src/eigenlens/lib.rs.html",
            "static.files/a.css",
            "static.files/font-1.woff2",
            "trait.impl/core/clone/trait.Clone.js",
            "trait.impl/eigenlens/trait.A.js",
            "crates.js",
        ] {
            let path = docs.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, "x")?;
        }
        copy(&docs, &mut site)?;
        let api = site.finish()?.join("api");
        let has = |name: &str| api.join(name).is_file();
        assert!(has("eigenlens/index.html") && has("static.files/a.css") && has("crates.js"));
        assert!(
            has("trait.impl/eigenlens/trait.A.js") && !has("trait.impl/core/clone/trait.Clone.js")
        );
        assert!(!has("other/index.html") && !has("src/eigenlens/lib.rs.html"));
        assert!(!has("static.files/font-1.woff2"));
        Ok(())
    }
}
