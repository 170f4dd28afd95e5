//! Where links of a Markdown file of the checkout lead on the site.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// The pages of the site by the files that they show, and the pictures that pages ask for.
#[derive(Debug, Default)]
pub(super) struct SiteFiles {
    /// Paths in the checkout, with `/`, to addresses from the site's root.
    pub(super) pages: BTreeMap<String, String>,
    /// Paths in the checkout of pictures that pages show.
    pub(super) pictures: RefCell<BTreeSet<String>>,
}

/// Links of one file, for the page that shows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links<'a> {
    /// The site.
    pub(super) files: &'a SiteFiles,
    /// The file's folder in the checkout.
    pub(super) folder: &'a Path,
    /// What leads from the page to the site's root: `../` for each folder.
    pub(super) up: &'a str,
    /// The root of the checkout.
    pub(super) root: &'a Path,
}

impl Links<'_> {
    /// The address of a link's destination; none if the site does not have it.
    pub(super) fn page(&self, destination: &str) -> Option<String> {
        if destination.starts_with('#') || leads_elsewhere(destination) {
            return Some(destination.to_owned());
        }
        let (path, fragment) = match destination.split_once('#') {
            Some((path, fragment)) => (path, format!("#{fragment}")),
            None => (destination, String::new()),
        };
        let page = self.files.pages.get(&self.in_checkout(path)?)?;
        Some(format!("{}{page}{fragment}", self.up))
    }

    /// The address of a picture, which is put on the site; none if the checkout does not have it.
    pub(super) fn picture(&self, destination: &str) -> Option<String> {
        if destination.starts_with("data:image/") {
            return Some(destination.to_owned());
        }
        if leads_elsewhere(destination) {
            return None;
        }
        let path = self.in_checkout(destination)?;
        if !self.root.join(&path).is_file() {
            return None;
        }
        let address = format!("{}files/{path}", self.up);
        self.files.pictures.borrow_mut().insert(path);
        Some(address)
    }

    /// A path in the checkout, from its root; none for one that leaves it.
    fn in_checkout(&self, path: &str) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        for component in self.folder.join(path).components() {
            match component {
                Component::Normal(part) => parts.push(part.to_str()?.to_owned()),
                Component::ParentDir => drop(parts.pop()?),
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return None,
            }
        }
        Some(parts.join("/"))
    }
}

/// Whether an address names another place of the web, which a click may open.
fn leads_elsewhere(address: &str) -> bool {
    ["http://", "https://", "mailto:"].iter().any(|scheme| address.starts_with(scheme))
}

/// A path with `/` between its parts.
pub(super) fn with_slashes(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join("/")
}

/// A folder of the checkout from its root; empty if it is another.
pub(super) fn folder_in(root: &Path, file: &Path) -> PathBuf {
    file.parent()
        .and_then(|folder| folder.strip_prefix(root).ok())
        .unwrap_or(Path::new(""))
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages_of_the_site() {
        let mut files = SiteFiles::default();
        let page = "notebooks/toy/1.html".to_owned();
        files.pages.insert("notebooks/toy/1.ipynb".to_owned(), page);
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("a.png"), "").expect("it can be written");
        let folder = Path::new("notebooks/bilinear");
        let links = Links { files: &files, folder, up: "../../", root: root.path() };
        let page = |to: &str| links.page(to);
        assert_eq!(page("../toy/1.ipynb").as_deref(), Some("../../notebooks/toy/1.html"));
        assert_eq!(page("../toy/1.ipynb#a").as_deref(), Some("../../notebooks/toy/1.html#a"));
        assert_eq!(page("#here").as_deref(), Some("#here"));
        assert_eq!(page("https://a.org/").as_deref(), Some("https://a.org/"));
        for nowhere in ["../toy/2.ipynb", "../../../etc/passwd", "/etc/passwd", "javascript:1"] {
            assert_eq!(page(nowhere), None, "{nowhere}");
        }
        assert_eq!(links.picture("../../a.png").as_deref(), Some("../../files/a.png"));
        assert!(files.pictures.borrow().contains("a.png"));
        assert_eq!(links.picture("../../b.png"), None);
        assert_eq!(links.picture("https://a.org/b.png"), None);
    }
}
