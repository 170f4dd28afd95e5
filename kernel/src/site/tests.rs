//! The site of the committed notebooks.

use super::*;

/// All files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files(&path, found)? } else { found.push(path) }
    }
    Ok(())
}

fn committed() -> Result<(Checkout, PathBuf)> {
    let checkout = Checkout::find()?;
    let notebooks = checkout.root().join("notebooks");
    Ok((checkout, notebooks))
}

/// The site of the committed notebooks without API pages: its folder, what is told of it, and its files.
fn site_in(scratch: &Path) -> Result<(PathBuf, BuiltSite, Vec<PathBuf>)> {
    let (checkout, notebooks) = committed()?;
    let plotly = scratch.join("plotly.min.js");
    fs::write(&plotly, "plotly")?;
    let api = ApiDocumentation::None;
    let site = Site { checkout: &checkout, notebooks: &notebooks, plotly: &plotly, api };
    let out = scratch.join("site");
    let built = site.build(&out)?;
    let mut found = Vec::new();
    files(&out, &mut found)?;
    Ok((out, built, found))
}

#[test]
fn the_site_has_a_page_and_a_picture_for_every_notebook() -> Result<()> {
    let (checkout, _) = committed()?;
    let scratch = tempfile::tempdir()?;
    let (out, built, found) = site_in(scratch.path())?;
    let size: u64 = found.iter().map(|path| path.metadata().map_or(0, |meta| meta.len())).sum();
    assert_eq!(size, built.size);
    // Plotly takes 5 MB of 25, the API documentation 9.
    assert!(size < 11_000_000, "{size} bytes");

    let gallery = fs::read_to_string(out.join(GALLERY))?;
    assert!(built.num_notebooks >= 29);
    assert_eq!(gallery.matches("<li>").count(), built.num_notebooks);
    assert_eq!(
        gallery.matches("assets/pictures/").count() + 1,
        built.num_notebooks,
        "but of the app"
    );
    assert_eq!(gallery.matches("<p></p>").count(), 0, "the README says something about each");

    let root = checkout.root().to_string_lossy().into_owned();
    let home = std::env::var("HOME").unwrap_or("/root".to_owned());
    for path in found.iter().filter(|path| path.extension().is_some_and(|end| end == "html")) {
        let page = fs::read_to_string(path)?;
        for absent in [root.as_str(), &format!("{home}/"), "127.0.0.1:34107", "<iframe"] {
            assert!(!page.contains(absent), "{absent} in {}", path.display());
        }
    }
    Ok(())
}

/// A link that leads nowhere is none; this finds addresses of pages that were not made.
#[test]
fn links_between_pages_lead_to_files() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (out, _, found) = site_in(scratch.path())?;
    let mut num_links = 0;
    for path in found.iter().filter(|path| path.extension().is_some_and(|end| end == "html")) {
        let page = fs::read_to_string(path)?;
        for link in ["href=\"", "src=\""].iter().flat_map(|start| page.split(start).skip(1)) {
            let address = link.split('"').next().unwrap_or_default();
            if ["http", "#", "data:", "mailto:"].iter().any(|start| address.starts_with(start)) {
                continue;
            }
            let file = address.split('#').next().unwrap_or_default();
            let target = path.parent().unwrap_or(&out).join(file);
            assert!(target.is_file(), "{address} in {}", path.display());
            num_links += 1;
        }
    }
    assert!(num_links > 300, "{num_links}");
    Ok(())
}

#[test]
fn every_committed_figure_has_a_still_picture() -> Result<()> {
    let (checkout, notebooks) = committed()?;
    let sections = catalogue::read(checkout.root(), &notebooks)?;
    let (mut num_figures, mut lacking) = (0, Vec::new());
    for entry in sections.iter().flat_map(|section| &section.entries) {
        let figures = entry.notebook.displays().filter(|data| data.json(output::PLOTLY).is_some());
        for figure in figures {
            num_figures += 1;
            if output::picture(figure).is_none() {
                lacking.push(entry.source.clone());
            }
        }
    }
    assert!(num_figures > 100, "{num_figures}");
    assert_eq!(lacking, Vec::<String>::new(), "figures without image/svg+xml or image/png");
    Ok(())
}

#[test]
fn every_committed_formula_becomes_mathml() -> Result<()> {
    let (checkout, notebooks) = committed()?;
    let sections = catalogue::read(checkout.root(), &notebooks)?;
    let (mut num_formulas, mut unread) = (0, Vec::new());
    for entry in sections.iter().flat_map(|section| &section.entries) {
        let cells = entry.notebook.cells.iter().filter(|cell| cell.cell_type == "markdown");
        for (tex, display) in cells.flat_map(|cell| markdown::formulas(&cell.source())) {
            num_formulas += 1;
            if !maths::formula(&tex, display).starts_with("<math") {
                unread.push(format!("{tex} in {}", entry.source));
            }
        }
    }
    assert!(num_formulas > 150, "{num_formulas}");
    assert_eq!(unread, Vec::<String>::new());
    Ok(())
}

#[test]
fn a_site_that_cannot_be_made_leaves_the_old_one() -> Result<()> {
    let checkout = Checkout::find()?;
    let scratch = tempfile::tempdir()?;
    let (notebooks, out) = (scratch.path().join("notebooks"), scratch.path().join("site"));
    let plotly = scratch.path().join("plotly.min.js");
    fs::write(&plotly, "plotly")?;
    let site = |api| Site { checkout: &checkout, notebooks: &notebooks, plotly: &plotly, api };
    let complaint = |api: ApiDocumentation| match site(api).build(&out) {
        Ok(built) => panic!("{built:?}"),
        Err(error) => format!("{error:#}"),
    };
    assert!(complaint(ApiDocumentation::None).contains("notebooks"));
    fs::create_dir(&notebooks)?;
    assert!(complaint(ApiDocumentation::None).contains("no notebook (.ipynb)"));
    let cell = r#"{"cell_type": "code", "source": "1", "outputs": []}"#;
    fs::write(notebooks.join("a.ipynb"), format!(r#"{{"nbformat": 4, "cells": [{cell}]}}"#))?;
    assert!(complaint(ApiDocumentation::None).contains("has no outputs"));
    let cell = r#"{"cell_type": "code", "source": "1", "outputs":
        [{"output_type": "stream", "name": "stdout", "text": "<one>"}]}"#;
    fs::write(notebooks.join("a.ipynb"), format!(r#"{{"nbformat": 4, "cells": [{cell}]}}"#))?;
    site(ApiDocumentation::None).build(&out)?;
    let page = fs::read_to_string(out.join("notebooks/a.html"))?;
    assert!(page.contains("&lt;one&gt;"), "{page}");
    let missing = ApiDocumentation::Folder(scratch.path().join("doc"));
    assert!(complaint(missing).contains("`--api`"));
    assert_eq!(fs::read_to_string(out.join("notebooks/a.html"))?, page);
    Ok(())
}
