//! What every page of the site has around it.

use std::fmt::Write as _;

use super::escape::escape;
use super::markdown::PageHeading;

/// What browsers may do on a page: run scripts of the site and show what is in it, nothing else.
/// `file:` is for a site that is opened from a disk.
const POLICY: &str = "default-src 'none'; script-src 'self' file:; style-src 'self' file: \
                      'unsafe-inline'; img-src 'self' file: data: blob:; base-uri 'none'; \
                      form-action 'none'";

/// Which entry of the bar on top a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SitePart {
    /// The README.
    Start,
    /// The gallery, and each notebook.
    Notebooks,
}

/// A page.
#[derive(Debug)]
pub(super) struct SitePage<'a> {
    /// What the window is called.
    pub(super) title: &'a str,
    /// Where it belongs.
    pub(super) part: SitePart,
    /// What leads to the site's root: `../` for each folder.
    pub(super) up: &'a str,
    /// Whether the site has the API documentation.
    pub(super) has_api: bool,
    /// Its headings, for the list at its side; none for no list.
    pub(super) headings: &'a [PageHeading],
    /// Whether it has figures that plotly draws.
    pub(super) has_figures: bool,
    /// Whether it uses the window's width, as rows of pictures do.
    pub(super) is_wide: bool,
    /// What it shows.
    pub(super) body: &'a str,
}

/// What leads from a page to the root.
pub(super) fn up(page: &str) -> String {
    "../".repeat(page.matches('/').count())
}

impl SitePage<'_> {
    /// The HTML document.
    pub(super) fn html(&self) -> String {
        let up = self.up;
        let plotly = if self.has_figures {
            format!("<script defer src=\"{up}assets/plotly.min.js\"></script>\n")
        } else {
            String::new()
        };
        let name = if self.title == "eigenlens" {
            self.title.to_owned()
        } else {
            format!("{} · eigenlens", self.title)
        };
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <title>{}</title>\n<link rel=\"icon\" href=\"{up}assets/logo.svg\">\n\
             <link rel=\"stylesheet\" href=\"{up}assets/site.css\">\n\
             <script src=\"{up}assets/theme.js\"></script>\n{plotly}\
             <script defer src=\"{up}assets/site.js\"></script>\n</head>\n<body>\n\
             <a class=\"skip\" href=\"#main\">To the text</a>\n{}<div class=\"frame{}\">\n{}\
             <main id=\"main\">\n{}\n</main>\n</div>\n</body>\n</html>\n",
            escape(&name),
            self.bar(),
            if self.is_wide { " wide" } else { "" },
            self.contents(),
            self.body
        )
    }

    fn bar(&self) -> String {
        let up = self.up;
        let link = |to: &str, text: &str, part: Option<SitePart>| {
            let current = if part == Some(self.part) { " aria-current=\"true\"" } else { "" };
            format!("<a href=\"{up}{to}\"{current}>{text}</a>\n")
        };
        let api = if self.has_api {
            link("api/eigenlens/index.html", "API", None)
        } else {
            String::new()
        };
        format!(
            "<header>\n<a class=\"brand\" href=\"{up}index.html\"><img src=\"{up}assets/logo.svg\" \
             alt=\"\" width=\"26\" height=\"26\">eigenlens</a>\n<nav aria-label=\"Site\">\n{}{}{api}\
             </nav>\n<button id=\"theme\" type=\"button\" hidden>Dark</button>\n</header>\n",
            link("index.html", "Start", Some(SitePart::Start)),
            link("notebooks.html", "Notebooks", Some(SitePart::Notebooks)),
        )
    }

    /// The list of headings at the side.
    fn contents(&self) -> String {
        let listed: Vec<_> = self.headings.iter().filter(|h| (2..=3).contains(&h.level)).collect();
        if listed.len() < 2 {
            return String::new();
        }
        let mut html = String::from("<nav class=\"contents\" aria-label=\"On this page\">\n<ul>\n");
        for heading in listed {
            // Writing to a string cannot fail.
            let _ = writeln!(
                html,
                "<li class=\"level{}\"><a href=\"#{}\">{}</a></li>",
                heading.level,
                escape(&heading.id),
                escape(&heading.text)
            );
        }
        html + "</ul>\n</nav>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_to_the_others_from_where_it_is() {
        assert_eq!(up("index.html"), "");
        assert_eq!(up("notebooks/a/1.html"), "../../");
        let heading = |text: &str| PageHeading { level: 2, text: text.into(), id: "a".into() };
        let headings = [heading("<One>"), heading("Two")];
        let page = SitePage {
            title: "A < b",
            part: SitePart::Notebooks,
            up: "../../",
            has_api: false,
            headings: &headings,
            has_figures: true,
            is_wide: false,
            body: "<p>body</p>",
        };
        let html = page.html();
        for expected in [
            "<title>A &lt; b · eigenlens</title>",
            "href=\"../../notebooks.html\" aria-current",
            "src=\"../../assets/plotly.min.js\"",
            "<a href=\"#a\">&lt;One&gt;</a>",
            "<p>body</p>",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("api/") && !html.contains("http://") && !html.contains("https://"));
        let html = SitePage { has_api: true, has_figures: false, headings: &[], ..page }.html();
        assert!(html.contains("../../api/eigenlens/index.html") && !html.contains("plotly"));
        assert!(!html.contains("class=\"contents\""));
    }
}
