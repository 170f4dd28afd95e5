//! The activations of a unit at one hook point: a safetensors file whose rows are grouped by pile.
//!
//! Its tensors are `piles`, u64 `[piles + 1]`: where each pile's rows begin; `activations`
//! `[rows, width]`; and `row`, u32 `[rows]`: which token of the unit each row is of.

use std::io::Write;

use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use super::commit::StoredFile;
use super::folder::StoreFolder;
use super::native;
use crate::{Error, Result};

/// Where the numbers of a shard begin is a multiple of this, so that it can be mapped.
const ALIGNMENT: usize = 64;
/// The first read of a shard: its header and, mostly, its piles.
const FIRST_READ: usize = 1 << 16;

/// Where each of a unit's rows goes, in all of its shards.
#[derive(Debug)]
pub(super) struct Layout {
    /// Where each pile begins, and where the last ends.
    pub(super) piles: Vec<u64>,
    /// The place of each token's row; none if it is not kept.
    places: Vec<Option<u32>>,
}

impl Layout {
    /// `pile_of` says the pile of a token, none if it is not kept.
    pub(super) fn new(
        tokens: usize,
        piles: usize,
        pile_of: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let own: Vec<Option<usize>> = (0..tokens).map(pile_of).collect();
        let mut starts = vec![0u64; piles + 1];
        own.iter().flatten().for_each(|pile| starts[pile + 1] += 1);
        (0..piles).for_each(|pile| starts[pile + 1] += starts[pile]);
        let mut next = starts.clone();
        let place = |pile: usize| {
            next[pile] += 1;
            (next[pile] - 1) as u32
        };
        let places = own.into_iter().map({
            let mut place = place;
            move |pile| pile.map(&mut place)
        });
        Self { places: places.collect(), piles: starts }
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> &[Option<u32>] {
        &self.places
    }

    /// Number of rows that are kept.
    pub(super) fn rows(&self) -> usize {
        self.piles.last().map_or(0, |rows| *rows as usize)
    }
}

/// The rows of a shard while it is filled.
#[derive(Debug)]
pub(super) struct ShardRows {
    width: usize,
    dtype: DType,
    row_bytes: usize,
    bytes: Vec<u8>,
}

impl ShardRows {
    /// # Errors
    /// If the rows do not fit into memory.
    pub(super) fn new(layout: &Layout, width: usize, dtype: DType) -> Result<Self> {
        let row_bytes = width * dtype.size_in_bytes();
        let size = layout.rows() * row_bytes;
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(size).is_err() {
            let expected = "small enough for its activations to fit into memory";
            return Err(Error::invalid("`unit`", expected, format!("{size} bytes of them")));
        }
        bytes.resize(size, 0);
        Ok(Self { width, dtype, row_bytes, bytes })
    }

    /// Takes in the rows `[tokens, width]` of the unit's tokens from `first` on.
    pub(super) fn put(&mut self, layout: &Layout, first: usize, rows: &Tensor) -> Result<()> {
        let rows = rows.to_dtype(self.dtype)?;
        native::with_bytes(&rows, |bytes| {
            for (row, place) in bytes.chunks_exact(self.row_bytes).zip(&layout.places[first..]) {
                if let Some(place) = place {
                    let start = *place as usize * self.row_bytes;
                    self.bytes[start..start + self.row_bytes].copy_from_slice(row);
                }
            }
        })
    }

    /// Writes the shard of unit `unit` of the store `run`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write(
        self,
        place: &StoreFolder,
        layout: &Layout,
        unit: usize,
        point: &str,
        run: &str,
    ) -> Result<StoredFile> {
        let rows = layout.rows();
        let mut row_of = vec![0u32; rows];
        for (token, place) in layout.places.iter().enumerate() {
            if let Some(place) = place {
                row_of[*place as usize] = token as u32;
            }
        }
        let piles: &[u8] = bytemuck::cast_slice(&layout.piles);
        let ends = [piles.len(), piles.len() + self.bytes.len()];
        let header = json!({
            "__metadata__": { "run": run, "unit": unit.to_string(), "point": point },
            "piles": {
                "dtype": "U64", "shape": [layout.piles.len()], "data_offsets": [0, ends[0]],
            },
            "activations": {
                "dtype": native::safetensors_name(self.dtype)?,
                "shape": [rows, self.width],
                "data_offsets": ends,
            },
            "row": { "dtype": "U32", "shape": [rows], "data_offsets": [ends[1], ends[1] + 4 * rows] },
        });
        let mut header = header.to_string().into_bytes();
        let start = (8 + header.len() + piles.len()).next_multiple_of(ALIGNMENT);
        header.resize(start - piles.len() - 8, b' ');
        let mut file = place.begin()?;
        let mut write = || -> std::io::Result<()> {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            file.write_all(piles)?;
            file.write_all(&self.bytes)?;
            file.write_all(bytemuck::cast_slice(&row_of))
        };
        write().map_err(Error::io("write", place.root()))?;
        let written = file.finish(&format!("activations/{point}/{unit:06}"), "safetensors")?;
        Ok(StoredFile::new("activations", point, rows as u64, written))
    }
}

/// A shard of which piles are read.
#[derive(Debug)]
pub(super) struct Shard {
    place: StoreFolder,
    /// Its name in the store.
    name: String,
    row_bytes: usize,
    /// Where its activations begin in the file.
    start: u64,
    piles: Vec<u64>,
}

impl Shard {
    /// # Errors
    /// If the file is not there, is cut short, or is not what the store's records say.
    pub(super) fn open(
        place: &StoreFolder,
        stored: &StoredFile,
        piles: usize,
        width: usize,
        dtype: DType,
    ) -> Result<Self> {
        let file = place.open(&stored.path)?;
        let path = file.path();
        let length = file.length()?;
        if length != stored.bytes {
            let expected = format!("{} bytes, as its unit's record says", stored.bytes);
            return Err(Error::format(path, expected, format!("{length}: truncated or changed")));
        }
        let broken = || Error::format(path, "a shard of activations", "another file");
        let mut head = vec![0u8; FIRST_READ.min(length as usize)];
        file.read_at(&mut head, 0)?;
        let header_length = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
        let header_length = header_length.filter(|own| *own < length).ok_or_else(broken)? as usize;
        let needed = 8 + header_length + 8 * (piles + 1);
        if needed as u64 > length {
            return Err(broken());
        }
        if head.len() < needed {
            head.resize(needed, 0);
            file.read_at(&mut head, 0)?;
        }
        let header: Value =
            serde_json::from_slice(&head[8..8 + header_length]).map_err(|_| broken())?;
        let expected = json!({
            "dtype": native::safetensors_name(dtype)?,
            "shape": [stored.rows, width],
        });
        let found = &header["activations"];
        let same = ["dtype", "shape"].iter().all(|part| found[part] == expected[part]);
        let begin = found["data_offsets"][0].as_u64();
        if !same || begin != Some(8 * (piles as u64 + 1)) {
            return Err(Error::format(
                path,
                format!("`activations` {expected}"),
                found.to_string(),
            ));
        }
        let own = head[8 + header_length..needed].as_chunks().0;
        let own: Vec<u64> = own.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        if own.first() != Some(&0) || own.last() != Some(&stored.rows) || !own.is_sorted() {
            return Err(Error::format(path, "piles that rise from 0 to its rows", "others"));
        }
        let row_bytes = width * dtype.size_in_bytes();
        if needed as u64 + stored.rows * row_bytes as u64 > length {
            return Err(broken());
        }
        let (place, name) = (place.clone(), stored.path.clone());
        Ok(Self { place, name, row_bytes, start: needed as u64, piles: own })
    }

    /// A file of rows alone.
    #[cfg(test)]
    pub(super) fn of_rows(
        folder: &std::path::Path,
        name: &str,
        row_bytes: usize,
        piles: Vec<u64>,
    ) -> Self {
        let place = StoreFolder::new(folder).unwrap();
        Self { place, name: name.to_owned(), row_bytes, start: 0, piles }
    }

    /// Where it is.
    pub(super) fn place(&self) -> &StoreFolder {
        &self.place
    }

    /// Number of rows in a pile.
    pub(super) fn rows_in(&self, pile: usize) -> usize {
        (self.piles[pile + 1] - self.piles[pile]) as usize
    }

    /// Bytes of the rows in a pile.
    pub(super) fn bytes_in(&self, pile: usize) -> usize {
        self.rows_in(pile) * self.row_bytes
    }

    /// Reads the rows of a pile.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn read_pile(&self, pile: usize, bytes: &mut [u8]) -> Result<()> {
        let offset = self.start + self.piles[pile] * self.row_bytes as u64;
        self.place.open(&self.name)?.read_at(bytes, offset)
    }
}
