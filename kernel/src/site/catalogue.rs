//! Which notebooks there are, in reading order: that of `README.md` in their folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use pulldown_cmark::{Event, HeadingLevel, Tag, TagEnd};

use super::links::{folder_in, with_slashes};
use super::markdown;
use super::notebook::Notebook;

/// A group of notebooks under a heading.
#[derive(Debug)]
pub(super) struct Section {
    /// The heading.
    pub(super) title: String,
    /// In reading order.
    pub(super) entries: Vec<NotebookEntry>,
}

/// A notebook and what is said about it.
#[derive(Debug)]
pub(super) struct NotebookEntry {
    /// The file.
    pub(super) path: PathBuf,
    /// Its path in the checkout.
    pub(super) source: String,
    /// Its page, from the site's root.
    pub(super) page: String,
    /// Its title.
    pub(super) title: String,
    /// One line about it, or nothing.
    pub(super) about: String,
    /// What it has.
    pub(super) notebook: Notebook,
}

/// The notebooks below `folder`, in the sections and the order of its `README.md`. Those that the
/// file does not name come last, in a section for each folder.
///
/// # Errors
/// If there is no notebook, one cannot be read, or one has no outputs.
pub(super) fn read(root: &Path, folder: &Path) -> Result<Vec<Section>> {
    let mut files = Vec::new();
    find(folder, &mut files)?;
    files.sort();
    if files.is_empty() {
        bail!("no notebook (.ipynb) in {}", folder.display());
    }
    let readme = folder.join("README.md");
    let listed = if readme.is_file() {
        let text = fs::read_to_string(&readme)
            .with_context(|| format!("could not read {}", readme.display()))?;
        listed(&text)
    } else {
        Vec::new()
    };
    let mut sections: Vec<Section> = Vec::new();
    let mut add =
        |section: String, path: PathBuf, title: Option<&str>, about: &str| -> Result<()> {
            let notebook = Notebook::read(&path)?;
            let inside = path.strip_prefix(folder).unwrap_or(&path);
            let stem = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let title = title.map(str::to_owned).or_else(|| notebook.title()).unwrap_or_else(stem);
            let entry = NotebookEntry {
                source: with_slashes(path.strip_prefix(root).unwrap_or(inside)),
                page: format!("notebooks/{}", with_slashes(&inside.with_extension("html"))),
                title,
                about: about.to_owned(),
                notebook,
                path,
            };
            match sections.iter_mut().find(|known| known.title == section) {
                Some(known) => known.entries.push(entry),
                None => sections.push(Section { title: section, entries: vec![entry] }),
            }
            Ok(())
        };
    for line in &listed {
        let path = folder.join(&line.file);
        if let Some(known) = files.iter().position(|file| *file == path) {
            files.remove(known);
            add(line.section.clone(), path, Some(&line.title), &line.about)?;
        }
    }
    for path in files {
        let section = with_slashes(&folder_in(folder, &path));
        add(if section.is_empty() { "Notebooks".to_owned() } else { section }, path, None, "")?;
    }
    Ok(sections)
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder)
        .with_context(|| format!("no folder of notebooks at {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("could not read {}", folder.display()))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ipynb") {
            files.push(path);
        }
    }
    Ok(())
}

/// A line of a list that begins with a link to a notebook.
#[derive(Debug, Default, PartialEq, Eq)]
struct ListedNotebook {
    section: String,
    file: String,
    title: String,
    about: String,
}

/// The notebooks that a text lists, each under the last heading before it.
fn listed(text: &str) -> Vec<ListedNotebook> {
    let mut found: Vec<ListedNotebook> = Vec::new();
    let mut section = String::new();
    let mut in_heading = false;
    // The list item that is being read, and whether its link is.
    let mut line: Option<ListedNotebook> = None;
    let mut in_link = false;
    for event in markdown::events(text) {
        match event {
            Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }) => {
                section.clear();
                in_heading = true;
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Start(Tag::Link { dest_url, .. })
                if line.is_none() && dest_url.ends_with(".ipynb") =>
            {
                in_link = true;
                let (section, file) = (section.clone(), dest_url.to_string());
                line = Some(ListedNotebook { section, file, ..ListedNotebook::default() });
            }
            Event::Start(Tag::Item) => line = None,
            Event::End(TagEnd::Link) => in_link = false,
            Event::End(TagEnd::Item) => found.extend(line.take()),
            Event::Text(piece) | Event::Code(piece) => match &mut line {
                _ if in_heading => section.push_str(&piece),
                Some(line) if in_link => line.title.push_str(&piece),
                Some(line) => line.about.push_str(&piece),
                None => {}
            },
            Event::SoftBreak | Event::HardBreak => {
                if let Some(line) = &mut line {
                    line.about.push(' ');
                }
            }
            _ => {}
        }
    }
    for line in &mut found {
        line.about = line.about.trim_start_matches([':', ' ']).to_owned();
        // As a sentence.
        if let Some(first) = line.about.chars().next() {
            line.about.replace_range(..first.len_utf8(), &first.to_uppercase().to_string());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXECUTED: &str = r##"{"nbformat": 4, "cells": [
        {"cell_type": "markdown", "source": "# Its title"},
        {"cell_type": "code", "source": "1", "outputs":
            [{"output_type": "stream", "name": "stdout", "text": "1"}]}]}"##;

    #[test]
    fn a_list_gives_sections_titles_and_lines() {
        let text = "# Notebooks\n\nText with [a link](x/a.ipynb).\n\n## One\n\n\
                    1. [A `b`](a/1.ipynb): what *is* asked\n2. [C](a/2.ipynb)\n\n## Two\n\n- no link\n";
        let line = |file: &str, title: &str, about: &str| ListedNotebook {
            section: "One".into(),
            file: file.into(),
            title: title.into(),
            about: about.into(),
        };
        let found = listed(text);
        assert_eq!(found.last(), Some(&line("a/2.ipynb", "C", "")));
        assert!(found.contains(&line("a/1.ipynb", "A b", "What is asked")), "{found:?}");
    }

    #[test]
    fn notebooks_that_no_list_names_come_last() -> Result<()> {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("notebooks");
        let missing = read(root.path(), &folder).expect_err("no folder").to_string();
        assert!(missing.contains("notebooks"), "{missing}");
        fs::create_dir_all(folder.join("a/.ipynb_checkpoints"))?;
        let none = read(root.path(), &folder).expect_err("no notebook").to_string();
        assert!(none.contains("no notebook (.ipynb)"), "{none}");
        for name in ["a/1.ipynb", "a/2.ipynb", "a/.ipynb_checkpoints/1.ipynb"] {
            fs::write(folder.join(name), EXECUTED)?;
        }
        fs::write(folder.join("README.md"), "## One\n\n1. [Second](a/2.ipynb): told\n")?;
        let sections = read(root.path(), &folder)?;
        let [one, a] = &sections[..] else { panic!("{sections:?}") };
        assert_eq!((one.title.as_str(), a.title.as_str()), ("One", "a"));
        let entry = &one.entries[0];
        assert_eq!((entry.title.as_str(), entry.about.as_str()), ("Second", "Told"));
        assert_eq!(entry.source, "notebooks/a/2.ipynb");
        assert_eq!(a.entries[0].title, "Its title");
        assert_eq!(a.entries[0].page, "notebooks/a/1.html");
        assert_eq!(a.entries.len(), 1);
        Ok(())
    }
}
