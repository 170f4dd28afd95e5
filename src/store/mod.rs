//! Files of tensors: read with every check, written whole or not at all.
//!
//! Whatever the bytes of a file, reading it ends in tensors or in an error that names the file: sizes
//! are held against the file's own length before anything is allocated, and nothing in a file is
//! ever executed.

mod archive;
mod blob;
mod by_name;
mod document;
mod npz;
pub(crate) mod pickle;
mod raw;
mod safetensors;
mod sniff;
mod tensors;
#[cfg(test)]
pub(crate) mod tests;
mod torch;
mod values;

pub(crate) use blob::Blob;
pub(crate) use document::{Document, UnknownFields, is_off};
pub(crate) use npz::read as read_npz;
pub(crate) use sniff::{Format, LOOKED_AT, mistaken, parse_json};
pub(crate) use tensors::{Tensors, named_dtype};
pub(crate) use torch::{Loaded, read as read_torch};
pub(crate) use values::{MustBe, Off, Size, nullable};

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// A zip archive of some files, as NumPy and PyTorch write them.
#[cfg(test)]
pub(crate) fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    archive::tests::archive(members, true)
}

/// Writes tensors to the file `path`, in the floating point type `dtype`.
pub(crate) fn save(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    dtype: DType,
) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::invalid("the type to save in", "a floating point type", dtype.as_str()));
    }
    let tensors = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?)));
    save_exactly(path, &tensors.collect::<Result<_>>()?)
}

/// Writes tensors to the file `path` as they are.
pub(crate) fn save_exactly(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    replace(path, |place| {
        // The crate puts a file of its own there, which nobody else may read.
        let permissions = fs::metadata(place)?.permissions();
        candle_core::safetensors::save(tensors, place).map_err(std::io::Error::other)?;
        fs::set_permissions(place, permissions)
    })
}

/// Puts what `write` writes in the place of `path`, or leaves everything as it was.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let to_disk = |part: &Path| write(part).and_then(|()| fs::File::open(part)?.sync_all());
    eigenlens_common::files::replace(path, to_disk).map_err(Error::io("write", path))
}
