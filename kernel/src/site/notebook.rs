//! An executed notebook, as nbformat 4 keeps it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// A notebook.
#[derive(Debug, Deserialize)]
pub(super) struct Notebook {
    nbformat: u32,
    /// Its cells, in order.
    pub(super) cells: Vec<NotebookCell>,
}

/// A cell.
#[derive(Debug, Deserialize)]
pub(super) struct NotebookCell {
    /// `code`, `markdown` or `raw`.
    pub(super) cell_type: String,
    source: Text,
    /// What it showed when it ran.
    #[serde(default)]
    pub(super) outputs: Vec<CellOutput>,
    /// Its number in the order of execution.
    #[serde(default)]
    pub(super) execution_count: Option<u64>,
}

/// What a cell showed.
#[derive(Debug, Deserialize)]
#[serde(tag = "output_type", rename_all = "snake_case")]
pub(super) enum CellOutput {
    /// Text on one of the standard streams.
    Stream {
        /// `stdout` or `stderr`.
        name: String,
        /// What was printed.
        text: Text,
    },
    /// Something displayed while the cell ran.
    DisplayData {
        /// One thing in several formats.
        data: Formats,
    },
    /// The cell's value.
    ExecuteResult {
        /// One thing in several formats.
        data: Formats,
    },
    /// The error that ended the cell.
    Error {
        /// Its kind.
        ename: String,
        /// Its message.
        evalue: String,
        /// The message as it was shown, with colours of a terminal.
        #[serde(default)]
        traceback: Vec<String>,
    },
}

/// One thing in several formats, by MIME type.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Formats(BTreeMap<String, Value>);

/// Text that may be split into lines.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    /// In one piece.
    Joined(String),
    /// By line; each has its line feed.
    Lines(Vec<String>),
}

impl Text {
    /// The text in one piece.
    pub(super) fn joined(&self) -> String {
        match self {
            Text::Joined(text) => text.clone(),
            Text::Lines(lines) => lines.concat(),
        }
    }
}

impl NotebookCell {
    /// What was written into it.
    pub(super) fn source(&self) -> String {
        self.source.joined()
    }

    /// Its displays and its value.
    fn displays(&self) -> impl Iterator<Item = &Formats> {
        self.outputs.iter().filter_map(|output| match output {
            CellOutput::DisplayData { data } | CellOutput::ExecuteResult { data } => Some(data),
            CellOutput::Stream { .. } | CellOutput::Error { .. } => None,
        })
    }
}

impl Formats {
    /// The text of a format, if the thing has it.
    pub(super) fn text(&self, mime: &str) -> Option<String> {
        match self.0.get(mime)? {
            Value::String(text) => Some(text.clone()),
            Value::Array(lines) => lines.iter().map(Value::as_str).collect(),
            _ => None,
        }
    }

    /// The value of a format that is JSON.
    pub(super) fn json(&self, mime: &str) -> Option<&Value> {
        self.0.get(mime)
    }

    /// The formats that it has.
    pub(super) fn mimes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Notebook {
    /// Reads a notebook that has been executed.
    ///
    /// # Errors
    /// If the file is no notebook of nbformat 4, or no cell of it has an output.
    pub(super) fn read(path: &Path) -> Result<Notebook> {
        let text = fs::read(path).with_context(|| format!("no notebook {}", path.display()))?;
        let notebook: Notebook = serde_json::from_slice(&text).with_context(|| {
            format!("{} is no notebook of nbformat 4, as JupyterLab saves", path.display())
        })?;
        if notebook.nbformat != 4 {
            bail!(
                "{} has nbformat {}; expected 4, as JupyterLab saves",
                path.display(),
                notebook.nbformat
            );
        }
        if notebook.cells.iter().all(|cell| cell.outputs.is_empty()) {
            bail!(
                "{0} has no outputs, so there is nothing to show; execute it with: cargo run --bin \
                 eigenlens -- run {0}",
                path.display()
            );
        }
        Ok(notebook)
    }

    /// The text of its first heading of the first level.
    pub(super) fn title(&self) -> Option<String> {
        let markdown = self.cells.iter().filter(|cell| cell.cell_type == "markdown");
        markdown
            .flat_map(|cell| cell.source().lines().map(str::to_owned).collect::<Vec<_>>())
            .find_map(|line| line.strip_prefix("# ").map(|title| title.trim().to_owned()))
    }

    /// Everything that its cells displayed, in order.
    pub(super) fn displays(&self) -> impl Iterator<Item = &Formats> {
        self.cells.iter().flat_map(NotebookCell::displays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Notebook> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.ipynb");
        fs::write(&path, text)?;
        Notebook::read(&path)
    }

    #[test]
    fn what_cannot_be_shown_is_refused_in_words() {
        let error = |text: &str| read(text).expect_err("it is not valid").to_string();
        assert!(error("{").contains("nbformat 4"));
        assert!(error(r#"{"nbformat": 3, "cells": []}"#).contains("nbformat 3; expected 4"));
        let cell = r#"{"cell_type": "code", "source": "1", "outputs": []}"#;
        let said = error(&format!(r#"{{"nbformat": 4, "cells": [{cell}]}}"#));
        assert!(said.contains("no outputs") && said.contains("eigenlens -- run"), "{said}");
        let missing = Notebook::read(Path::new("/no/such.ipynb")).expect_err("it is not there");
        assert!(missing.to_string().contains("/no/such.ipynb"));
    }

    #[test]
    fn texts_are_joined_and_formats_told_apart() -> Result<()> {
        let notebook = read(
            r##"{"nbformat": 4, "cells": [
                {"cell_type": "markdown", "source": ["no title\n", "# A title \n"]},
                {"cell_type": "code", "execution_count": 3, "source": "1 + 1", "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": ["a\n", "b"]},
                    {"output_type": "execute_result", "execution_count": 3, "metadata": {},
                     "data": {"text/plain": ["2", "\n3"], "application/x": {"y": 1}}},
                    {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["t"]}]}]}"##,
        )?;
        assert_eq!(notebook.title().as_deref(), Some("A title"));
        let [display] = notebook.displays().collect::<Vec<_>>()[..] else { panic!("one display") };
        assert_eq!(display.text("text/plain").as_deref(), Some("2\n3"));
        assert_eq!(display.json("application/x").map(|value| value["y"] == 1), Some(true));
        assert_eq!(display.text("image/png"), None);
        let CellOutput::Stream { text, .. } = &notebook.cells[1].outputs[0] else {
            panic!("a stream comes first")
        };
        assert_eq!(text.joined(), "a\nb");
        Ok(())
    }
}
