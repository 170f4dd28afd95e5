//! Files of a store: one that is read in parts, and one that gets its name when it is whole.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, Length};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::place::{StoreFiles, StoredContent};
use crate::{Error, Result};

/// A file of a store that was opened.
#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    path: PathBuf,
    content: Arc<dyn StoredContent>,
}

impl OpenFile {
    pub(super) fn new(path: PathBuf, content: Box<dyn StoredContent>) -> Self {
        Self { path, content: content.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length(&self) -> Result<u64> {
        self.content.length().map_err(Error::io("read", &self.path))
    }

    /// Fills `bytes` with what is at `offset`.
    ///
    /// # Errors
    /// If the file ends before that or cannot be read.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.content.read_at(bytes, offset).map_err(Error::io("read", &self.path))
    }
}

impl Length for OpenFile {
    fn len(&self) -> u64 {
        self.content.length().unwrap_or(0)
    }
}

impl ChunkReader for OpenFile {
    type T = BufReader<FromOffset>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let left = self.len().saturating_sub(start);
        Ok(BufReader::new(FromOffset { content: Arc::clone(&self.content), offset: start, left }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.content.read_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reads a file from a place in it on.
#[derive(Debug)]
pub(super) struct FromOffset {
    content: Arc<dyn StoredContent>,
    offset: u64,
    left: u64,
}

impl Read for FromOffset {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.content.read_at(&mut bytes[..count], self.offset)?;
        self.offset += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// What is known of a file that was written.
#[derive(Debug, Clone)]
pub(super) struct WrittenFile {
    /// Its name in the store.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct NewFile {
    files: Arc<dyn StoreFiles>,
    /// The path of the place, for errors.
    root: PathBuf,
    writer: BufWriter<Hashed>,
}

impl NewFile {
    pub(super) fn new(files: Arc<dyn StoreFiles>, root: &Path, part: NamedTempFile) -> Self {
        let hashed = Hashed { file: part, hash: Sha256::new(), bytes: 0 };
        let writer = BufWriter::with_capacity(1 << 20, hashed);
        Self { files, root: root.to_owned(), writer }
    }

    /// Ends the file and names it `<start>-<first 8 characters of its sum>.<extension>`, so that two
    /// different files never have one name.
    ///
    /// # Errors
    /// If the disk is full or the place cannot be written.
    pub(super) fn finish(self, start: &str, extension: &str) -> Result<WrittenFile> {
        let Self { files, root, writer } = self;
        let whole = || -> io::Result<WrittenFile> {
            let Hashed { file, hash, bytes } = writer.into_inner().map_err(|e| e.into_error())?;
            let sha256 = in_hexadecimal(&hash.finalize());
            let name = format!("{start}-{}.{extension}", &sha256[..8]);
            files.keep(file, &name)?;
            Ok(WrittenFile { name, bytes, sha256 })
        };
        whole().map_err(Error::io("write", &root.join(start)))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[derive(Debug)]
struct Hashed {
    file: NamedTempFile,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

pub(super) fn in_hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
