//! Data sets of examples in the original's layout.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::collect::LayerExamples;
use super::header::check_lists;
use super::list::{ExampleList, ExamplePeak, write_window};
use super::rule::{ExampleRule, LayerExampleOptions};
use crate::data::ColumnFile;
use crate::hub::Content;
use crate::progress::interrupted;
use crate::store::Blob;
use crate::{Error, Result};

/// Rows that are read at a time.
const ROWS_AT_A_TIME: usize = 1 << 16;

/// The examples in the parts of a data set with the columns `latent, layer, token_id, act`, and the
/// lists `token_ids, acts` as JSON; others mean nothing here. Rows are in any order.
///
/// # Errors
/// [`Error::Format`] for files that cannot be read, or with the column that is missing or holds
/// something else; [`Error::Interrupted`] when Stop is pressed.
pub(super) fn read(parts: &[Content<Blob>]) -> Result<LayerExamples> {
    let files = parts.iter().map(|part| {
        ColumnFile::open(&part.path, part.bytes.clone(), "a Parquet file of published examples")
    });
    let files: Vec<ColumnFile> = files.collect::<Result<_>>()?;
    let rows: usize = files.iter().map(ColumnFile::rows).sum();
    let path = parts[0].path.as_path();
    if u32::try_from(rows).is_err() {
        let expected = "fewer than 4,294,967,296 rows";
        return Err(Error::format(path, expected, rows.to_string()));
    }
    let sizes = sizes(path, &files, rows)?;
    let mut lists = vec![ExampleList::default(); sizes[0] * sizes[1]];
    let mut number = 0;
    for_each_part(&files, |file, rows| {
        let [layers, latents] =
            [file.integers("layer", rows.clone())?, file.integers("latent", rows.clone())?];
        let read = PublishedRows::read(file, rows)?;
        for (at, (layer, latent)) in layers.into_iter().zip(latents).enumerate() {
            // Both were looked at before.
            let list = layer as usize * sizes[1] + latent as usize;
            read.put(at, number, &mut lists[list])?;
            number += 1;
        }
        Ok(())
    })?;
    let defaults = LayerExampleOptions::default();
    let most = lists.iter().map(ExampleList::len).max().unwrap_or(0);
    let options = LayerExampleOptions {
        examples: most.max(defaults.examples),
        rule: ExampleRule::Original,
        ..defaults
    };
    Ok(LayerExamples::of_lists(sizes, options, lists))
}

/// Numbers of layers and latents: those of the last that have examples.
fn sizes(path: &Path, files: &[ColumnFile], rows: usize) -> Result<[usize; 2]> {
    let mut sizes = [0usize; 2];
    for_each_part(files, |file, rows| {
        for (name, size) in ["layer", "latent"].into_iter().zip(&mut sizes) {
            for value in file.integers(name, rows.clone())? {
                let value = u32::try_from(value).map_err(|_| {
                    let expected = format!("`{name}` of 0 to 4,294,967,295");
                    Error::format(file.path(), expected, value.to_string())
                })?;
                *size = (*size).max(value as usize + 1);
            }
        }
        Ok(())
    })?;
    check_lists(path, sizes, rows)?;
    Ok(sizes)
}

fn for_each_part(
    files: &[ColumnFile],
    mut look: impl FnMut(&ColumnFile, std::ops::Range<usize>) -> Result<()>,
) -> Result<()> {
    for file in files {
        for start in (0..file.rows()).step_by(ROWS_AT_A_TIME) {
            if interrupted() {
                return Err(Error::Interrupted {
                    what: format!("reading {}", file.path().display()),
                });
            }
            look(file, start..file.rows().min(start + ROWS_AT_A_TIME))?;
        }
    }
    Ok(())
}

/// Some rows of a data set.
struct PublishedRows<'a> {
    path: &'a Path,
    first: usize,
    token: Vec<i64>,
    activation: Vec<f64>,
    tokens: Vec<String>,
    activations: Vec<String>,
}

impl<'a> PublishedRows<'a> {
    fn read(file: &'a ColumnFile, rows: std::ops::Range<usize>) -> Result<Self> {
        Ok(Self {
            path: file.path(),
            first: rows.start,
            token: file.integers("token_id", rows.clone())?,
            activation: file.numbers("act", rows.clone())?,
            tokens: file.texts("token_ids", rows.clone())?,
            activations: file.texts("acts", rows)?,
        })
    }

    /// Puts the row in the place `at` into its list, under a number of its own.
    fn put(&self, at: usize, number: u32, list: &mut ExampleList) -> Result<()> {
        let row = self.first + at;
        let tokens: Vec<u32> = self.json("token_ids", &self.tokens[at], row)?;
        let activations: Vec<f32> = self.json("acts", &self.activations[at], row)?;
        let wrong = |expected: &str, found: String| {
            Error::format(self.path, expected, format!("{found} in row {row}"))
        };
        if tokens.len() != activations.len() {
            let found = format!("{} and {}", tokens.len(), activations.len());
            return Err(wrong("as many `acts` as `token_ids`", found));
        }
        let token = u32::try_from(self.token[at])
            .map_err(|_| wrong("`token_id` of 0 to 4,294,967,295", self.token[at].to_string()))?;
        let activation = self.activation[at] as f32;
        let position = match peak(token, activation, &tokens, &activations) {
            Some(position) => position as u32,
            None if tokens.is_empty() => 0,
            None => return Err(wrong("`token_id` among `token_ids`", token.to_string())),
        };
        let mut window = Vec::new();
        write_window(&mut window, (0, token), &tokens, &activations);
        let peak = ExamplePeak { activation, context: number, position };
        list.insert(peak, &window, usize::MAX, false);
        Ok(())
    }

    fn json<T: DeserializeOwned>(&self, name: &str, text: &str, row: usize) -> Result<Vec<T>> {
        serde_json::from_str(text).map_err(|reason| {
            let expected = format!("a JSON list of numbers in `{name}`");
            Error::format(self.path, expected, format!("{reason} in row {row}")).caused_by(reason)
        })
    }
}

/// Where in its window the peak is: four tokens after its beginning, as far as the original's own
/// options go; else as near to the middle as token and activation allow.
fn peak(token: u32, activation: f32, tokens: &[u32], activations: &[f32]) -> Option<usize> {
    let usual = LayerExampleOptions::default().window;
    let is_token = |at: &usize| tokens[*at] == token;
    let is_peak = |at: &usize| is_token(at) && activations[*at] == activation;
    let from_middle = |at: &usize| at.abs_diff(usual);
    let all = 0..tokens.len();
    let exact = all.clone().filter(is_peak).min_by_key(from_middle);
    exact.or_else(|| all.filter(is_token).min_by_key(from_middle))
}
