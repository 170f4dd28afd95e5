//! The bytes of a file, in memory or where they lie.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::{Error, Result};

/// Bytes that are held, or a part of a file that is read when it is asked for. Files are not mapped:
/// one that is cut short meanwhile is an error then, where a map would end the process, and pages
/// that were read do not count as this process's memory.
#[derive(Debug, Clone)]
pub(crate) enum Blob {
    Held(Bytes),
    File { file: Arc<File>, start: u64, length: usize },
}

impl Blob {
    /// The file `path`.
    ///
    /// # Errors
    /// A file that cannot be opened, or something other than a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        let about = file.metadata().map_err(Error::io("read", path))?;
        if !about.is_file() {
            return Err(Error::format(path, "a file", "something other than a file"));
        }
        let length = usize::try_from(about.len()).unwrap_or(usize::MAX);
        Ok(Self::File { file: Arc::new(file), start: 0, length })
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Held(bytes) => bytes.len(),
            Self::File { length, .. } => *length,
        }
    }

    /// A part; what lies outside is left out.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.len());
        let begin = range.start.min(end);
        match self {
            Self::Held(bytes) => Self::Held(bytes.slice(begin..end)),
            Self::File { file, start, .. } => Self::File {
                file: Arc::clone(file),
                start: start + begin as u64,
                length: end - begin,
            },
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// A file that cannot be read, or was cut short since it was opened.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        match self {
            Self::Held(bytes) => Ok(bytes.clone()),
            Self::File { file, start, length } => {
                let mut bytes = vec![0; *length];
                file.read_exact_at(&mut bytes, *start)?;
                Ok(bytes.into())
            }
        }
    }
}

impl<T: Into<Bytes>> From<T> for Blob {
    fn from(bytes: T) -> Self {
        Self::Held(bytes.into())
    }
}

impl Length for Blob {
    fn len(&self) -> u64 {
        self.len() as u64
    }
}

impl ChunkReader for Blob {
    type T = BufReader<BlobReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        Ok(BufReader::new(BlobReader { rest: self.slice(start..self.len()) }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let part = self.slice(start..start.saturating_add(length));
        if part.len() != length {
            let reason = format!("it ends before byte {start} + {length}");
            return Err(ParquetError::EOF(reason));
        }
        Ok(part.read()?)
    }
}

/// Reads a blob from its beginning on.
#[derive(Debug)]
pub(crate) struct BlobReader {
    rest: Blob,
}

impl Read for BlobReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let part = self.rest.slice(0..bytes.len()).read()?;
        bytes[..part.len()].copy_from_slice(&part);
        self.rest = self.rest.slice(part.len()..self.rest.len());
        Ok(part.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_file_are_those_of_its_bytes() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..100).collect();
        std::fs::write(place.path(), &bytes).unwrap();
        let blobs = [Blob::open(place.path()).unwrap(), Blob::from(bytes.clone())];
        for blob in blobs {
            assert_eq!(blob.len(), 100);
            assert_eq!(blob.slice(10..90).slice(5..20).read().unwrap(), bytes[15..30]);
            assert_eq!(blob.slice(95..200).read().unwrap(), bytes[95..]);
            assert_eq!(blob.slice(300..400).len(), 0);
            assert_eq!(blob.get_bytes(90, 10).unwrap(), bytes[90..]);
            assert!(blob.get_bytes(90, 11).unwrap_err().to_string().contains("byte 90 + 11"));
            let mut rest = Vec::new();
            blob.get_read(7).unwrap().read_to_end(&mut rest).unwrap();
            assert_eq!(rest, bytes[7..]);
        }
        let blob = Blob::open(place.path()).unwrap();
        std::fs::write(place.path(), &bytes[..50]).unwrap();
        assert!(blob.read().is_err());
        assert!(Blob::open(std::env::temp_dir().as_path()).is_err());
    }
}
