//! The idx format of MNIST: a big-endian header, then bytes; plain or gzipped.
//!
//! Images: magic number `0x00000803`, count, rows, columns (u32 each), then `count·rows·columns`
//! pixels, row-major. Labels: `0x00000801`, count, then one byte a label. (Third byte: the type,
//! `08` for unsigned bytes; fourth: the number of dimensions.)

use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::{Error, Result};

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Deflate cannot shrink data by more than about this factor.
const DEFLATE_LIMIT: u64 = 1032;

/// What an idx file of images holds.
pub(super) struct IdxImages {
    pub(super) count: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// `count·rows·columns` bytes, row-major, 0 to 255.
    pub(super) pixels: Vec<u8>,
}

/// Reads a file of images.
pub(super) fn images(path: &Path) -> Result<IdxImages> {
    images_from(open(path)?)
}

/// Reads a file of labels.
pub(super) fn labels(path: &Path) -> Result<Vec<u8>> {
    labels_from(open(path)?)
}

/// Reads images from a file's content in memory; errors call it `name`.
pub(super) fn images_in(name: &Path, content: &'static [u8]) -> Result<IdxImages> {
    images_from(embedded(name, content)?)
}

/// Reads labels from a file's content in memory; errors call it `name`.
pub(super) fn labels_in(name: &Path, content: &'static [u8]) -> Result<Vec<u8>> {
    labels_from(embedded(name, content)?)
}

/// A file, unzipped as it is read.
struct IdxFile<'a> {
    path: &'a Path,
    reader: Box<dyn Read>,
    /// How many bytes it can hold at most, header included: known before anything is read.
    at_most: u64,
}

fn open(path: &Path) -> Result<IdxFile<'_>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    unzipped(path, file, length)
}

fn embedded<'a>(path: &'a Path, content: &'static [u8]) -> Result<IdxFile<'a>> {
    unzipped(path, content, content.len() as u64)
}

/// Recognises gzip by its first bytes: a file may have been renamed.
fn unzipped(path: &Path, mut file: impl Read + 'static, length: u64) -> Result<IdxFile<'_>> {
    let mut start = Vec::with_capacity(2);
    file.by_ref().take(2).read_to_end(&mut start).map_err(Error::io("read", path))?;
    let zipped = start == GZIP;
    let whole = Cursor::new(start).chain(file);
    Ok(if zipped {
        let at_most = length.saturating_mul(DEFLATE_LIMIT);
        IdxFile { path, reader: Box::new(MultiGzDecoder::new(whole)), at_most }
    } else {
        IdxFile { path, reader: Box::new(whole), at_most: length }
    })
}

fn images_from(mut source: IdxFile<'_>) -> Result<IdxImages> {
    source.magic(IMAGES)?;
    let [count, rows, columns] = [source.number()?, source.number()?, source.number()?];
    if count == 0 || rows == 0 || columns == 0 {
        let found = format!("{count} images of {rows}×{columns} pixels");
        return Err(Error::format(source.path, "images with pixels", found));
    }
    let size = u64::from(count) * u64::from(rows);
    let size = size.saturating_mul(u64::from(columns));
    let pixels = source.body(size, 16, &format!("{count} images of {rows}×{columns} pixels"))?;
    Ok(IdxImages { count: count as usize, rows: rows as usize, columns: columns as usize, pixels })
}

fn labels_from(mut source: IdxFile<'_>) -> Result<Vec<u8>> {
    source.magic(LABELS)?;
    let count = source.number()?;
    if count == 0 {
        return Err(Error::format(source.path, "labels", "none: its header says 0"));
    }
    source.body(u64::from(count), 8, &format!("{count} labels"))
}

impl IdxFile<'_> {
    fn number(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(u32::from_be_bytes(bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(Error::format(
                self.path,
                "an idx file",
                "a file that ends within the header; fetch it again",
            )),
            Err(error) => Err(self.damaged(error)),
        }
    }

    fn magic(&mut self, expected: u32) -> Result<()> {
        let found = self.number()?;
        if found == expected {
            return Ok(());
        }
        let kind = |magic| match magic {
            IMAGES => "images",
            _ => "labels",
        };
        let meaning = match found {
            IMAGES | LABELS => {
                format!(" (an idx file of {}; are the two swapped?)", kind(found))
            }
            _ if found >> 16 == 0 && (0x08..=0x0e).contains(&(found >> 8)) => {
                " (an idx file, but of other numbers or dimensions)".to_owned()
            }
            _ => " (not an idx file)".to_owned(),
        };
        Err(Error::format(
            self.path,
            format!("an idx file of {} (magic number {expected:#010x})", kind(expected)),
            format!("magic number {found:#010x}{meaning}"),
        ))
    }

    /// The `size` bytes after a header of `header` bytes, and nothing after them.
    fn body(&mut self, size: u64, header: u64, claim: &str) -> Result<Vec<u8>> {
        let expected = format!("{claim}, as its header says");
        if size > self.at_most.saturating_sub(header) {
            let found = "a file too short for that: truncated, or the header is wrong".to_owned();
            return Err(Error::format(self.path, expected, found));
        }
        // No capacity up front: a zipped file's header can still claim much more than it holds.
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(size.saturating_add(1)).read_to_end(&mut bytes);
        let truncated = match read {
            Ok(_) => (bytes.len() as u64) < size,
            // A gzip stream that is cut short.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => true,
            Err(error) => return Err(self.damaged(error)),
        };
        let found = bytes.len();
        if truncated {
            let found = format!("{found} of {size} bytes; it is truncated: fetch it again");
            return Err(Error::format(self.path, expected, found));
        }
        if found as u64 > size {
            let found = format!("more than {size} bytes after the header");
            return Err(Error::format(self.path, expected, found));
        }
        Ok(bytes)
    }

    fn damaged(&self, source: std::io::Error) -> Error {
        match source.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                let found = format!("damaged data ({source}); fetch it again");
                Error::format(self.path, "a sound gzip file", found).caused_by(source)
            }
            _ => Error::Io { action: "read", path: self.path.to_owned(), source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io::Write;
    use std::path::PathBuf;

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    fn idx(numbers: &[u32], body: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        bytes.extend_from_slice(body);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn image_error(bytes: &[u8]) -> String {
        let (_folder, path) = file(bytes);
        images(&path).err().unwrap().to_string()
    }

    fn label_error(bytes: &[u8]) -> String {
        let (_folder, path) = file(bytes);
        labels(&path).unwrap_err().to_string()
    }

    #[test]
    fn plain_and_gzipped_files_read_the_same() {
        let pixels: Vec<u8> = (0..12).collect();
        let plain = idx(&[0x803, 2, 2, 3], &pixels);
        for bytes in [plain.clone(), gzip(&plain)] {
            let (_folder, path) = file(&bytes);
            let read = images(&path).unwrap();
            assert_eq!((read.count, read.rows, read.columns), (2, 2, 3));
            assert_eq!(read.pixels, pixels);
        }
        let plain = idx(&[0x801, 3], &[7, 0, 9]);
        for bytes in [plain.clone(), gzip(&plain)] {
            let (_folder, path) = file(&bytes);
            assert_eq!(labels(&path).unwrap(), [7, 0, 9]);
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-images");
        let error = images(&path).err().unwrap().to_string();
        assert!(error.starts_with("could not read ") && error.contains("train-images"), "{error}");
    }

    #[test]
    fn truncated_files_say_so() {
        let whole = idx(&[0x803, 2, 2, 3], &[5; 12]);
        assert!(image_error(&whole[..20]).contains("truncated"));
        assert!(image_error(&whole[..10]).contains("ends within the header"));
        assert!(image_error(&[]).contains("ends within the header"));
        assert!(label_error(&idx(&[0x801, 9], &[1; 8])).contains("truncated"));
        // The content of the gzip file is short; then the gzip file itself is.
        let error = image_error(&gzip(&whole[..20]));
        assert!(error.contains("4 of 12 bytes"), "{error}");
        let noise: Vec<u8> = (0..1200u32).map(|i| (i * i % 251) as u8).collect();
        let zipped = gzip(&idx(&[0x803, 100, 4, 3], &noise));
        let error = image_error(&zipped[..zipped.len() - 30]);
        assert!(error.contains("truncated"), "{error}");
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let error = label_error(&idx(&[0x801, 2], &[1; 3]));
        assert!(error.contains("more than 2 bytes"), "{error}");
    }

    #[test]
    fn a_damaged_gzip_file_is_refused() {
        let mut zipped = gzip(&idx(&[0x803, 2, 2, 3], &[5; 12]));
        let checksum = zipped.len() - 6;
        zipped[checksum] ^= 1;
        let (_folder, path) = file(&zipped);
        let error = images(&path).err().unwrap();
        let source = error.source().unwrap();
        assert!(error.to_string().contains(&format!("damaged data ({source})")), "{error}");
        assert!(source.is::<std::io::Error>());
    }

    #[test]
    fn wrong_magic_numbers_are_explained() {
        let swapped = image_error(&idx(&[0x801, 12], &[5; 12]));
        assert!(swapped.contains("idx file of labels; are the two swapped?"), "{swapped}");
        let swapped = label_error(&idx(&[0x803, 2, 2, 3], &[5; 12]));
        assert!(swapped.contains("idx file of images; are the two swapped?"), "{swapped}");
        let floats = image_error(&idx(&[0x0d03, 2, 2, 3], &[5; 48]));
        assert!(floats.contains("0x00000d03 (an idx file, but of other numbers"), "{floats}");
        let png = image_error(b"\x89PNG\r\n\x1a\n0000000000000000");
        assert!(png.contains("0x89504e47 (not an idx file)"), "{png}");
    }

    #[test]
    fn a_header_that_claims_terabytes_is_refused_before_anything_is_allocated() {
        let huge = idx(&[0x803, u32::MAX, u32::MAX, u32::MAX], &[5; 12]);
        assert!(image_error(&huge).contains("too short"));
        assert!(image_error(&gzip(&huge)).contains("too short"));
        let many = idx(&[0x803, u32::MAX, 28, 28], &[5; 784]);
        assert!(image_error(&many).contains("too short"));
        assert!(label_error(&idx(&[0x801, u32::MAX], &[5; 12])).contains("too short"));
    }

    #[test]
    fn empty_files_are_refused() {
        assert!(image_error(&idx(&[0x803, 0, 28, 28], &[])).contains("0 images"));
        assert!(image_error(&idx(&[0x803, 1, 0, 28], &[])).contains("0×28"));
        assert!(label_error(&idx(&[0x801, 0], &[])).contains("none"));
    }
}
