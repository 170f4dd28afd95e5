//! One static site from the README, the executed notebooks and the API documentation.
//!
//! Its pages need no server: no request leaves the folder, which can be opened from a disk. That
//! is why scripts are plain ones (browsers load no modules from `file:`) and why a figure's numbers
//! are in its page and not in a file that a script would fetch.
//!
//! - `catalogue` finds the notebooks and their order, `notebook` reads one;
//! - `markdown`, `maths`, `highlight` and `output` turn what is in it into HTML, `embedded` takes
//!   out of HTML what would run or load something, `links` knows where addresses lead;
//! - `page` and `gallery` put pages together, `api` adds those of rustdoc;
//! - `folder` puts the site into its place when it is complete.

mod api;
mod catalogue;
mod embedded;
mod escape;
mod folder;
mod gallery;
mod highlight;
mod links;
mod markdown;
mod maths;
mod notebook;
mod output;
mod page;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use self::catalogue::{NotebookEntry, Section};
use self::folder::SiteFolder;
use self::links::{Links, SiteFiles, folder_in};
use self::markdown::Headings;
use self::page::{SitePage, SitePart, up};
use crate::install::state::Checkout;

/// Files that every page uses, besides plotly.
const ASSETS: [(&str, &[u8]); 4] = [
    ("assets/site.css", include_bytes!("assets/site.css")),
    ("assets/site.js", include_bytes!("assets/site.js")),
    ("assets/theme.js", include_bytes!("assets/theme.js")),
    ("assets/logo.svg", include_bytes!("../../../assets/logo/logo.svg")),
];

/// The page of the gallery.
const GALLERY: &str = "notebooks.html";

/// The API documentation of a site.
#[derive(Debug)]
pub(crate) enum ApiDocumentation {
    /// The pages in this folder.
    Folder(PathBuf),
    /// Made by `cargo doc`.
    Build,
    /// Left out.
    None,
}

/// What a site is made from.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    /// The project.
    pub(crate) checkout: &'a Checkout,
    /// The folder of the executed notebooks.
    pub(crate) notebooks: &'a Path,
    /// The script that draws figures.
    pub(crate) plotly: &'a Path,
    /// The API documentation.
    pub(crate) api: ApiDocumentation,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct BuiltSite {
    /// Its start page.
    pub(crate) start: PathBuf,
    /// The number of notebooks.
    pub(crate) num_notebooks: usize,
    /// The size of all files, in bytes.
    pub(crate) size: u64,
}

impl Site<'_> {
    /// Makes the site and puts it at `out`, in the place of the one that was there.
    ///
    /// # Errors
    /// If there is no notebook, one has no outputs, `out` has other files, or a file cannot be read
    /// or written; `out` is as it was then.
    pub(crate) fn build(&self, out: &Path) -> Result<BuiltSite> {
        let root = self.checkout.root();
        // What may be wrong is found before minutes are spent on the documentation.
        let mut folder = SiteFolder::begin(out)?;
        let sections = catalogue::read(root, self.notebooks)?;
        let plotly = read(self.plotly)?;
        let api = match &self.api {
            ApiDocumentation::Folder(folder) => Some(folder.clone()),
            ApiDocumentation::Build => Some(api::build(self.checkout)?),
            ApiDocumentation::None => None,
        };
        for (name, content) in ASSETS {
            folder.write(name, content)?;
        }
        folder.write("assets/plotly.min.js", &plotly)?;
        if let Some(api) = &api {
            api::copy(api, &mut folder)?;
        }
        let writer = Writer { root, sections: &sections, has_api: api.is_some() };
        let files = writer.files(self.notebooks);
        writer.start(&files, &mut folder)?;
        writer.gallery(&mut folder)?;
        writer.notebooks(&files, &mut folder)?;
        for picture in files.pictures.borrow().iter() {
            folder.write(&format!("files/{picture}"), &read(&root.join(picture))?)?;
        }
        let size = folder.size();
        let start = folder.finish()?.join("index.html");
        Ok(BuiltSite { start, num_notebooks: writer.entries().count(), size })
    }
}

/// Writes the pages.
#[derive(Debug)]
struct Writer<'a> {
    root: &'a Path,
    sections: &'a [Section],
    has_api: bool,
}

impl Writer<'_> {
    fn entries(&self) -> impl Iterator<Item = &NotebookEntry> {
        self.sections.iter().flat_map(|section| &section.entries)
    }

    fn files(&self, notebooks: &Path) -> SiteFiles {
        let mut files = SiteFiles::default();
        files.pages.insert("README.md".to_owned(), "index.html".to_owned());
        let folder = notebooks.strip_prefix(self.root).unwrap_or(Path::new("notebooks"));
        for gallery in [folder.to_owned(), folder.join("README.md")] {
            files.pages.insert(links::with_slashes(&gallery), GALLERY.to_owned());
        }
        for entry in self.entries() {
            files.pages.insert(entry.source.clone(), entry.page.clone());
        }
        files
    }

    fn start(&self, files: &SiteFiles, folder: &mut SiteFolder) -> Result<()> {
        let readme = self.root.join("README.md");
        let text = fs::read_to_string(&readme)
            .with_context(|| format!("could not read {}", readme.display()))?;
        let mut headings = Headings::default();
        let links = Links { files, folder: Path::new(""), up: "", root: self.root };
        let body = markdown::render(&text, false, links, &mut headings);
        let page = self.page("eigenlens", SitePart::Start, "", &headings, &body);
        folder.write("index.html", page.html().as_bytes())
    }

    fn gallery(&self, folder: &mut SiteFolder) -> Result<()> {
        let mut pictures = Vec::new();
        for entry in self.entries() {
            let picture = gallery::picture(entry);
            let address = picture.map(|picture| {
                let name = entry.page.replace(".html", &format!(".{}", picture.extension));
                let address = name.replacen("notebooks/", "assets/pictures/", 1);
                folder.write(&address, &picture.bytes).map(|()| address)
            });
            pictures.push(address.transpose()?);
        }
        let body = gallery::gallery(self.sections, &pictures);
        let headings = Headings::default();
        let page = self.page("Notebooks", SitePart::Notebooks, "", &headings, &body);
        let page = SitePage { is_wide: true, ..page };
        folder.write(GALLERY, page.html().as_bytes())
    }

    fn notebooks(&self, files: &SiteFiles, folder: &mut SiteFolder) -> Result<()> {
        let entries: Vec<&NotebookEntry> = self.entries().collect();
        for (number, entry) in entries.iter().enumerate() {
            let before = number.checked_sub(1).map(|before| entries[before]);
            let neighbours = [before, entries.get(number + 1).copied()];
            let source = folder_in(self.root, &self.root.join(&entry.source));
            let up = up(&entry.page);
            let links = Links { files, folder: &source, up: &up, root: self.root };
            let mut headings = Headings::default();
            let body = gallery::notebook(entry, neighbours, links, &mut headings)?;
            let page = SitePage {
                has_figures: entry
                    .notebook
                    .displays()
                    .any(|data| data.json(output::PLOTLY).is_some()),
                ..self.page(&entry.title, SitePart::Notebooks, &up, &headings, &body)
            };
            folder.write(&entry.page, page.html().as_bytes())?;
        }
        Ok(())
    }

    fn page<'a>(
        &self,
        title: &'a str,
        part: SitePart,
        up: &'a str,
        headings: &'a Headings,
        body: &'a str,
    ) -> SitePage<'a> {
        let headings = &headings.list;
        SitePage {
            title,
            part,
            up,
            has_api: self.has_api,
            headings,
            has_figures: false,
            is_wide: false,
            body,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("could not read {}", path.display()))
}

#[cfg(test)]
mod tests;
