//! A file of examples that stays on disk.

use std::ops::Range;
use std::path::Path;

use super::LayerExample;
use super::header::ExampleHeader;
use super::rule::ExampleRule;
use crate::data::text::Contexts;
use crate::data::{ColumnFile, Lists};
use crate::store::Blob;
use crate::{Error, Result};

/// Rows whose places are read at a time.
const ROWS_AT_A_TIME: usize = 1 << 18;
/// What the column of the windows' tokens is called.
pub(super) const TOKENS: &str = "token_ids";

/// A file whose rows are sorted by layer, latent and rank.
#[derive(Debug)]
pub(super) struct ExampleFile {
    columns: ColumnFile,
    header: ExampleHeader,
    /// The first row of each list, and the number of rows.
    starts: Vec<usize>,
    /// The text with the tokens of the windows, if they are not in the file.
    text: Option<Contexts>,
}

impl ExampleFile {
    /// The file with the bytes `content`; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::Format`] for anything but a whole file of examples; if it has no tokens, as
    /// [`ExampleText::read`](super::ExampleText::read).
    pub(super) fn open(path: &Path, content: Blob) -> Result<Self> {
        let columns = ColumnFile::open(path, content, "a whole Parquet file of examples")?;
        let header = ExampleHeader::read(&columns)?;
        let starts = starts(&columns, &header)?;
        let text = match (columns.has(TOKENS), &header.text) {
            (true, _) => None,
            (false, Some(text)) if header.options().rule != ExampleRule::Original => {
                Some(text.read()?)
            }
            (false, _) => {
                let expected = format!("a column `{TOKENS}`, or a text that has the tokens");
                return Err(Error::format(path, expected, columns.names()));
            }
        };
        Ok(Self { columns, header, starts, text })
    }

    pub(super) fn path(&self) -> &Path {
        self.columns.path()
    }

    pub(super) fn header(&self) -> &ExampleHeader {
        &self.header
    }

    pub(super) fn rows(&self) -> usize {
        self.columns.rows()
    }

    pub(super) fn filled_lists(&self) -> usize {
        self.starts.windows(2).filter(|pair| pair[0] < pair[1]).count()
    }

    /// The examples of a list: `layer · latents + latent`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn list(&self, list: usize) -> Result<Vec<LayerExample>> {
        self.examples(self.starts[list]..self.starts[list + 1])
    }

    /// The examples in some rows.
    ///
    /// # Errors
    /// If the file cannot be read, or if it holds what no example is.
    pub(super) fn examples(&self, rows: Range<usize>) -> Result<Vec<LayerExample>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let read = ExampleRows::read(&self.columns, &self.header, rows.clone())?;
        let mut list = self.starts.partition_point(|start| *start <= rows.start) - 1;
        let mut found: Vec<LayerExample> = Vec::with_capacity(rows.len());
        for row in rows.clone() {
            while row >= self.starts[list + 1] {
                list += 1;
            }
            let (layer, latent) = (list / self.header.latents, list % self.header.latents);
            let rank = row - self.starts[list];
            let example = self.example([layer, latent, rank], &read, row - rows.start)?;
            let before = found.last().filter(|_| rank > 0);
            if before.is_some_and(|before| before.activation < example.activation) {
                return Err(self.wrong("the largest `act` of a latent first", row, "a larger one"));
            }
            found.push(example);
        }
        Ok(found)
    }

    /// The example in the place `at` of the rows that were read.
    fn example(
        &self,
        [layer, latent, rank]: [usize; 3],
        rows: &ExampleRows,
        at: usize,
    ) -> Result<LayerExample> {
        let row = rows.first + at;
        let whole = |name: &str, value: i64, end: u64| match u64::try_from(value) {
            Ok(value) if value < end => Ok(value),
            _ => Err(self.wrong(&format!("`{name}` whole and below {end}"), row, value)),
        };
        let position = whole("position", rows.position[at], 1 << 32)? as usize;
        let context = whole("context", rows.context[at], 1 << 53)?;
        let activations: Vec<f32> =
            rows.activations.get(at).iter().map(|value| *value as f32).collect();
        let start = match &rows.start {
            Some(start) => whole("start", start[at], 1 << 32)? as usize,
            None => position.saturating_sub(self.header.options().window),
        };
        let tokens: Vec<u32> = match (&rows.tokens, &self.text) {
            (Some(tokens), _) => {
                let tokens = tokens.get(at).iter().map(|token| whole(TOKENS, *token, 1 << 32));
                tokens.map(|token| Ok(token? as u32)).collect::<Result<_>>()?
            }
            (None, text) => {
                let own = text.as_ref().and_then(|text| text.get(context as usize).ok());
                let window = own.and_then(|own| own.get(start..start + activations.len()));
                window.ok_or_else(|| self.wrong("a window within the text", row, context))?.to_vec()
            }
        };
        if tokens.len() != activations.len() {
            let found = format!("{} and {}", tokens.len(), activations.len());
            return Err(self.wrong(&format!("as many `acts` as `{TOKENS}`"), row, found));
        }
        let activation = rows.activation[at] as f32;
        let peak = position.wrapping_sub(start);
        let token = match &rows.token {
            Some(token) => whole("token_id", token[at], 1 << 32)? as u32,
            None if activations.get(peak) == Some(&activation) => tokens[peak],
            None => {
                return Err(self.wrong("the `act` of the example in its window", row, "another"));
            }
        };
        Ok(LayerExample {
            layer,
            latent,
            rank,
            context,
            position,
            activation,
            token,
            start,
            tokens,
            activations,
        })
    }

    fn wrong(&self, expected: &str, row: usize, found: impl std::fmt::Display) -> Error {
        Error::format(self.path(), expected, format!("{found} in row {row}"))
    }
}

/// What the file has of some rows.
struct ExampleRows {
    first: usize,
    context: Vec<i64>,
    position: Vec<i64>,
    activation: Vec<f64>,
    activations: Lists<f64>,
    /// The original's windows alone have these.
    start: Option<Vec<i64>>,
    token: Option<Vec<i64>>,
    tokens: Option<Lists<i64>>,
}

impl ExampleRows {
    fn read(file: &ColumnFile, header: &ExampleHeader, rows: Range<usize>) -> Result<Self> {
        let integers = |name: &str| file.integers(name, rows.clone());
        let is_original = header.options().rule == ExampleRule::Original;
        let of_original = |name: &str| is_original.then(|| integers(name)).transpose();
        let tokens = file.has(TOKENS).then(|| file.integer_lists(TOKENS, rows.clone()));
        Ok(Self {
            first: rows.start,
            context: integers("context")?,
            position: integers("position")?,
            activation: file.numbers("act", rows.clone())?,
            activations: file.number_lists("acts", rows.clone())?,
            start: of_original("start")?,
            token: of_original("token_id")?,
            tokens: tokens.transpose()?,
        })
    }
}

/// The first row of each list, and the number of rows.
fn starts(columns: &ColumnFile, header: &ExampleHeader) -> Result<Vec<usize>> {
    let lists = header.layers * header.latents;
    let mut counts = vec![0usize; lists];
    let wrong = |expected: String, row: usize, found: String| {
        Error::format(columns.path(), expected, format!("{found} in row {row}"))
    };
    let mut last = 0;
    for first in (0..columns.rows()).step_by(ROWS_AT_A_TIME) {
        let rows = first..columns.rows().min(first + ROWS_AT_A_TIME);
        let layers = columns.integers("layer", rows.clone())?;
        let latents = columns.integers("latent", rows)?;
        for (row, (layer, latent)) in (first..).zip(layers.iter().zip(&latents)) {
            let below = |name: &str, value: i64, end: usize| match usize::try_from(value) {
                Ok(value) if value < end => Ok(value),
                _ => Err(wrong(format!("`{name}` whole and below {end}"), row, value.to_string())),
            };
            let list = below("layer", *layer, header.layers)? * header.latents
                + below("latent", *latent, header.latents)?;
            if list < last {
                let expected = "rows sorted by `layer` and `latent`".to_owned();
                return Err(wrong(expected, row, format!("layer {layer}, latent {latent}")));
            }
            (last, counts[list]) = (list, counts[list] + 1);
        }
    }
    let most = header.options().examples;
    if let Some(list) = counts.iter().position(|count| *count > most) {
        let expected = format!("at most {most} examples of a latent at a layer");
        return Err(Error::format(columns.path(), expected, counts[list].to_string()));
    }
    let mut starts = Vec::with_capacity(lists + 1);
    starts.push(0);
    starts.extend(counts.iter().scan(0, |end, count| {
        *end += count;
        Some(*end)
    }));
    Ok(starts)
}
