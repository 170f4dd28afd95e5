//! Examples as a table and in files.

use std::path::Path;

use super::LayerExample;
use super::collect::LayerExamples;
use super::file::ExampleFile;
use super::header::ExampleHeader;
use super::published;
use super::rule::ExampleRule;
use super::text::ExampleText;
use super::write::write_examples;
use crate::data::{Cell, Table};
use crate::hub::Repository;
use crate::store::{Blob, replace};
use crate::{Error, Result};

/// What the file is called beside an autoencoder.
const FILE: &str = "examples.parquet";
/// How the names of published data sets end.
const ENDING: &str = "-examples";

impl LayerExamples {
    /// All examples as a table with the columns `layer, latent, rank, context, position, start,
    /// token_id, act`, and `token_ids, acts` with the window as JSON lists. Rows are sorted by the first
    /// three. It is for a few thousand examples; [`LayerExamples::save`] writes any number.
    ///
    /// # Errors
    /// If the examples are in a file that cannot be read.
    pub fn table(&self) -> Result<Table> {
        let rows: Vec<LayerExample> = self.iter().collect::<Result<_>>()?;
        let numbers = |of: &dyn Fn(&LayerExample) -> f64| {
            rows.iter().map(of).map(Cell::from).collect::<Vec<_>>()
        };
        let table = Table::new()
            .column("layer", numbers(&|row| row.layer as f64))?
            .column("latent", numbers(&|row| row.latent as f64))?
            .column("rank", numbers(&|row| row.rank as f64))?
            .column("context", numbers(&|row| row.context as f64))?
            .column("position", numbers(&|row| row.position as f64))?
            .column("start", numbers(&|row| row.start as f64))?
            .column("token_id", numbers(&|row| f64::from(row.token)))?
            .column("act", numbers(&|row| f64::from(row.activation)))?;
        // As `Debug` writes numbers, JSON reads them, and an f32 comes back as it was.
        let tokens = rows.iter().map(|row| format!("{:?}", row.tokens));
        let acts = rows.iter().map(|row| format!("{:?}", row.activations));
        table.column("token_ids", tokens)?.column("acts", acts)
    }

    /// Writes a Parquet file if the path ends in `.parquet`, else [the table](Self::table) as CSV.
    ///
    /// Rows of the Parquet file are sorted by `layer, latent, rank`; beside these it has `context,
    /// position, act`, and of the window the lists `token_ids, acts`. By the original's rule there are
    /// `start` and `token_id` too. It has a page index, so that a look-up reads little, and a checksum
    /// of each page; any engine reads it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        match path.extension().is_some_and(|own| own.eq_ignore_ascii_case("parquet")) {
            true => self.write(path, self.text().cloned(), true),
            false => self.table()?.save(path),
        }
    }

    /// [`LayerExamples::save`] of a Parquet file without the tokens of windows, which is a third of the
    /// size: they are those of the contexts that [`Contexts::from_pretrained`] finds under the name
    /// `text`.
    ///
    /// [`Contexts::from_pretrained`]: crate::data::text::Contexts::from_pretrained
    ///
    /// # Errors
    /// [`Error::Invalid`] for examples by the original's rule, or if their text is not known
    /// ([`LayerExamples::with_text`]); [`Error::Io`] if the file cannot be written.
    pub fn save_without_tokens(&self, path: impl AsRef<Path>, text: &str) -> Result<()> {
        let Some(own) = self.text() else {
            let expected = "known (`with_text`), if tokens are left out";
            return Err(Error::invalid("the text of the examples", expected, "not known"));
        };
        if self.options().rule == ExampleRule::Original {
            let expected = "`Distinct` or `Contexts`, whose windows are within a context";
            return Err(Error::invalid("`rule`", expected, "`Original`"));
        }
        let text = ExampleText { name: Some(text.to_owned()), ..own.clone() };
        self.write(path.as_ref(), Some(text), false)
    }

    fn write(&self, path: &Path, text: Option<ExampleText>, with_tokens: bool) -> Result<()> {
        let header = ExampleHeader::new([self.layers(), self.latents()], self.options(), text);
        replace(path, |part| write_examples(part, &header, with_tokens, self.iter()))
    }

    /// The examples in the file `path` that [`LayerExamples::save`] wrote. They stay there:
    /// [`LayerExamples::get`] reads a page of each column.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("examples.parquet");
    /// LayerExamples::new(2, 8, LayerExampleOptions::default())?.save(&path)?;
    /// let examples = LayerExamples::open(&path)?;
    /// assert_eq!((examples.layers(), examples.latents(), examples.len()), (2, 8, 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Io`] if there is no such file.
    /// - [`Error::Format`] if it is cut short, damaged or of another kind.
    /// - If it has no tokens, as [`ExampleText::read`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Ok(Self::of_file(ExampleFile::open(path, Blob::open(path)?)?))
    }

    /// [`LayerExamples::open`], and everything is read into memory.
    ///
    /// # Errors
    /// As [`LayerExamples::open`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut own = Self::open(path)?;
        own.lists_mut()?;
        Ok(own)
    }

    /// The examples of a multi-layer autoencoder `name`, embedded, in a folder or on the hub:
    /// `examples.parquet` beside it, opened as by [`LayerExamples::open`]; or a data set `name` that the
    /// original published (`…-examples`), read into memory.
    ///
    /// Such a data set does not tell contexts: [`LayerExample::context`] is the number of the row, and
    /// positions count from the window's first token.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let examples = LayerExamples::from_pretrained("eigenlens/classics-mlsae")?;
    /// let best = examples.get(0, 7)?;
    /// assert!(best.len() <= 8 && best[0].activation >= best[1].activation);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`LayerExamples::open`]; a repository or file that there is not; for a data set,
    /// [`Error::Format`] with the column that is missing or holds something else.
    pub fn from_pretrained(name: &str) -> Result<Self> {
        Self::from_repository(&Repository::find_data(name, ENDING)?)
    }

    /// [`LayerExamples::from_pretrained`], from a repository.
    ///
    /// # Errors
    /// As [`LayerExamples::from_pretrained`].
    pub fn from_repository(repository: &Repository) -> Result<Self> {
        let parts = repository.parts_in_place_of(FILE)?;
        if !parts.is_empty() {
            return published::read(&parts);
        }
        let content = repository.open(FILE)?;
        Ok(Self::of_file(ExampleFile::open(&content.path, content.bytes)?))
    }
}
