//! The page, compiled in. A request names a file of this table or none: no path reaches the file
//! system.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fault::Fault;

/// Name, type and content of each file of the page.
macro_rules! assets {
    ($($name:literal: $kind:ident),+ $(,)?) => {
        &[$(($name, $kind, include_bytes!(concat!("../page/", $name)))),+]
    };
}

/// A file of the page: name, type, content.
type Asset = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

const ASSETS: &[Asset] = assets! {
    "api.js": JS,
    "charts.js": JS,
    "colours.js": JS,
    "compare-latents.js": JS,
    "compare-prompts.js": JS,
    "dom.js": JS,
    "examples.js": JS,
    "explanations.js": JS,
    "export.js": JS,
    "format.js": JS,
    "generate.js": JS,
    "index.html": HTML,
    "interventions.js": JS,
    "labels.js": JS,
    "latent-histograms.js": JS,
    "links.js": JS,
    "logits.js": JS,
    "main.js": JS,
    "map.js": JS,
    "prompt-box.js": JS,
    "prompt.js": JS,
    "session.js": JS,
    "slider.js": JS,
    "start.js": JS,
    "state.js": JS,
    "style.css": CSS,
    "tab-examples.js": JS,
    "tab-heatmap.js": JS,
    "tab-histograms.js": JS,
    "tab-logits.js": JS,
    "tabs.js": JS,
    "tokens.js": JS,
    "view-compare.js": JS,
    "view-latent.js": JS,
    "view-latents.js": JS,
    "view-prompt.js": JS,
    "view-search.js": JS,
    "view-steer.js": JS,
    "virtual-list.js": JS,
    "work.js": JS,
};

/// The same files as browsers like them best: packed by gzip, once.
static PACKED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let packed = |(_, _, content): &Asset| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        // Memory takes all that is written; without it the file goes out as it is.
        packer.write_all(content).and_then(|()| packer.finish()).unwrap_or_default()
    };
    ASSETS.iter().map(packed).collect()
});

/// `/`
pub(crate) async fn index(headers: HeaderMap) -> Response {
    asset("index.html", &headers)
}

/// `/assets/NAME`
pub(crate) async fn named(Path(name): Path<String>, headers: HeaderMap) -> Response {
    asset(&name, &headers)
}

fn asset(name: &str, headers: &HeaderMap) -> Response {
    let Some(at) = ASSETS.iter().position(|(own, ..)| *own == name) else {
        return Fault::new(StatusCode::NOT_FOUND, "the file", "one of the page's").into_response();
    };
    let (_, kind, content) = ASSETS[at];
    let kind = (header::CONTENT_TYPE, kind);
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|own| own.to_str().ok());
    let takes_gzip = accepted.is_some_and(|own| own.split(',').any(|own| own.trim() == "gzip"));
    let packed = PACKED[at].as_slice();
    if !takes_gzip || packed.is_empty() {
        return ([kind], content).into_response();
    }
    let headers = [kind, (header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")];
    (headers, packed).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_and_it_is_small() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/page");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let mut served: Vec<&str> = ASSETS.iter().map(|own| own.0).collect();
        served.sort_unstable();
        assert_eq!(served, found);
        // What a browser is sent.
        let bytes: usize = PACKED.iter().map(Vec::len).sum();
        assert!(bytes < 150_000, "{bytes} bytes");
    }

    #[test]
    fn the_page_has_no_code_or_style_of_other_places() {
        for (name, _, content) in ASSETS {
            let text = std::str::from_utf8(content).unwrap();
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "style=\""] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
            let is_outside = |line: &&str| line.contains("https://") || line.contains("http://");
            let outside: Vec<&str> = text.lines().filter(is_outside).collect();
            assert!(outside.iter().all(|line| line.contains("www.w3.org/2000/svg")), "{outside:?}");
        }
    }
}
