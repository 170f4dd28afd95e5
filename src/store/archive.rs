//! Zip archives, in which NumPy and PyTorch keep arrays: the members' bytes, without a copy where
//! they are not compressed.
//!
//! Read here and not by the crate `zip`, which reserves some 300 bytes for every member that a
//! damaged file claims to have.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::sniff::{Format, mistaken};
use crate::{Error, Result};

/// Deflate cannot make more than this of a byte.
const LARGEST_RATIO: u64 = 1032;
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const MEMBER: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Name and content of every member of the archive with these bytes, checked against its sum.
///
/// Holds at most 1,032 times the file's length: what deflate can make of it.
///
/// # Errors
/// A file that is no archive, is cut short or damaged; a compression other than deflate.
pub(super) fn members(path: &Path, bytes: &Bytes) -> Result<Vec<(String, Bytes)>> {
    let broken = |found: &str| Error::format(path, "a whole zip archive", found);
    let end = find_end(bytes).ok_or_else(|| {
        let found = "no directory at its end: truncated or incomplete, or of another format";
        mistaken(path, bytes, Format::Zip, "a whole zip archive", found)
    })?;
    let cut = || broken("a directory that leaves the file");
    let (count, at) = directory(bytes, end).ok_or_else(cut)?;
    let mut rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).ok_or_else(cut)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let (entry, after) = ZipEntry::read(rest).ok_or_else(cut)?;
        rest = after;
        let damaged = |what: &str| broken(&format!("its member `{}` {what}", entry.name));
        let start = entry.start(bytes).ok_or_else(|| damaged("outside the file"))?;
        let size = usize::try_from(entry.packed).ok();
        let range = size.and_then(|size| Some(start..start.checked_add(size)?));
        let range = range.filter(|range| range.end <= bytes.len());
        let packed = bytes.slice(range.ok_or_else(|| damaged("cut short"))?);
        let content = match entry.method {
            0 if entry.packed == entry.size => packed,
            8 if entry.size <= entry.packed.saturating_mul(LARGEST_RATIO) => {
                let mut content = Vec::new();
                let read = DeflateDecoder::new(&*packed).take(entry.size + 1);
                let read = { read }.read_to_end(&mut content);
                if read.ok().map(|read| read as u64) != Some(entry.size) {
                    return Err(damaged("does not unpack to its size"));
                }
                content.into()
            }
            0 | 8 => return Err(damaged("of sizes that cannot be")),
            _ => return Err(damaged("compressed by a method other than deflate")),
        };
        let mut sum = Crc::new();
        sum.update(&content);
        if sum.sum() != entry.sum {
            return Err(damaged("damaged: its sum is another"));
        }
        found.push((entry.name, content));
    }
    Ok(found)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Where the record at the archive's end lies; a comment of up to 65,535 bytes may follow it.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(22)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    (first..=last).rev().find(|at| {
        bytes[*at..].starts_with(&END)
            && u16_at(bytes, at + 20) == Some((bytes.len() - at - 22) as u64)
    })
}

/// Number of members and place of the directory.
fn directory(bytes: &[u8], end: usize) -> Option<(u64, u64)> {
    let locator = end.checked_sub(20).filter(|at| bytes[*at..].starts_with(&LOCATOR_64));
    let Some(locator) = locator else {
        return Some((u16_at(bytes, end + 10)?, u32_at(bytes, end + 16)?));
    };
    let at = usize::try_from(u64_at(bytes, locator + 8)?).ok()?;
    let record = bytes.get(at..)?;
    record.starts_with(&END_64).then_some((u64_at(record, 32)?, u64_at(record, 48)?))
}

struct ZipEntry {
    name: String,
    method: u64,
    sum: u32,
    packed: u64,
    size: u64,
    offset: u64,
}

impl ZipEntry {
    /// The first entry of a directory, and what follows it.
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        if !bytes.starts_with(&MEMBER) {
            return None;
        }
        let length = |at| Some(u16_at(bytes, at)? as usize);
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let text = bytes.get(46..46 + name)?;
        let extras = bytes.get(46 + name..46 + name + extra)?;
        let mut entry = Self {
            name: String::from_utf8_lossy(text).into_owned(),
            method: u16_at(bytes, 10)?,
            sum: u32_at(bytes, 16)? as u32,
            packed: u32_at(bytes, 20)?,
            size: u32_at(bytes, 24)?,
            offset: u32_at(bytes, 42)?,
        };
        entry.widen(extras)?;
        Some((entry, bytes.get(46 + name + extra + comment..)?))
    }

    /// Takes the fields that do not fit into 32 bits from the entry's extra data.
    fn widen(&mut self, mut extras: &[u8]) -> Option<()> {
        while extras.len() >= 4 {
            let (id, length) = (u16_at(extras, 0)?, u16_at(extras, 2)? as usize);
            let data = extras.get(4..4 + length)?;
            if id == 1 {
                let mut at = 0;
                for field in [&mut self.size, &mut self.packed, &mut self.offset] {
                    if *field == u64::from(u32::MAX) {
                        *field = u64_at(data, at)?;
                        at += 8;
                    }
                }
            }
            extras = &extras[4 + length..];
        }
        Some(())
    }

    /// Where the member's content begins.
    fn start(&self, bytes: &[u8]) -> Option<usize> {
        let at = usize::try_from(self.offset).ok()?;
        let local = bytes.get(at..)?;
        let start = at + 30 + u16_at(local, 26)? as usize + u16_at(local, 28)? as usize;
        (local.starts_with(&LOCAL) && start <= bytes.len()).then_some(start)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;

    use super::*;

    /// A zip archive, as others write it.
    pub(in crate::store) fn archive(members: &[(&str, &[u8])], deflate: bool) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in members {
            let mut sum = Crc::new();
            sum.update(content);
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(content).unwrap();
            let packed = if deflate { encoder.finish().unwrap() } else { content.to_vec() };
            let offset = file.len() as u32;
            let mut fields = Vec::new();
            fields.extend([20, 0, 0, 0, if deflate { 8 } else { 0 }, 0, 0, 0, 0, 0]);
            for size in [sum.sum(), packed.len() as u32, content.len() as u32] {
                fields.extend(size.to_le_bytes());
            }
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend([0, 0]);
            file.extend(LOCAL);
            file.extend(&fields);
            file.extend(name.as_bytes());
            file.extend(packed);
            directory.extend(MEMBER);
            directory.extend([20, 0]);
            directory.extend(&fields);
            directory.extend([0; 10]);
            directory.extend(offset.to_le_bytes());
            directory.extend(name.as_bytes());
        }
        let (start, length) = (file.len() as u32, directory.len() as u32);
        file.extend(directory);
        file.extend(END);
        file.extend([0; 4]);
        for _ in 0..2 {
            file.extend((members.len() as u16).to_le_bytes());
        }
        file.extend(length.to_le_bytes());
        file.extend(start.to_le_bytes());
        file.extend([0; 2]);
        file
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<(String, Bytes)>> {
        members(Path::new("some.npz"), &bytes.into())
    }

    #[test]
    fn members_come_back_packed_or_not() {
        for deflate in [false, true] {
            let long = [7u8; 5000];
            let found = read(archive(&[("a", b"one"), ("b/c", &long)], deflate)).unwrap();
            assert_eq!(found[0], ("a".to_owned(), Bytes::from_static(b"one")));
            assert_eq!((&*found[1].0, &*found[1].1), ("b/c", &long[..]));
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_survived() {
        for deflate in [false, true] {
            let whole = archive(&[("a", b"some content"), ("b", b"other")], deflate);
            for cut in 0..whole.len() {
                let message = read(whole[..cut].to_vec()).unwrap_err().to_string();
                assert!(message.contains("some.npz"), "{message}");
            }
            for bit in 0..8 * whole.len() {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(found) = read(flipped) {
                    assert!(found.iter().all(|(_, content)| content.len() < 20));
                }
            }
        }
        let mut damaged = archive(&[("a", b"some content")], false);
        damaged[33] ^= 1;
        assert!(read(damaged).unwrap_err().to_string().contains("its sum is another"));
    }
}
