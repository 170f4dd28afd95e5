//! The place of an autoencoder's files: a repository, a folder in it, and perhaps one file.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use candle_core::Device;

use crate::hub::{Content, Repository};
use crate::provenance::Source;
use crate::store::{Blob, Document, Loaded, Tensors, read_npz, read_torch};
use crate::{Error, Result};

/// Where an autoencoder's files are.
#[derive(Debug, Clone)]
pub(super) struct SaePlace {
    pub(super) repository: Repository,
    /// The folder within it: empty, or ending in a slash.
    pub(super) folder: String,
    /// The file that was asked for, where it was a file and no folder.
    pub(super) file: Option<String>,
    /// Where the first large file was; the next ones of a download are in the cache.
    pub(super) source: Rc<OnceCell<Source>>,
}

impl SaePlace {
    /// A folder or file of this machine.
    pub(super) fn local(path: &Path) -> Self {
        if path.is_file() {
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let repository = Repository::folder(folder.unwrap_or(Path::new(".")));
            return Self { repository, folder: String::new(), file, source: Rc::default() };
        }
        let repository = Repository::folder(path);
        Self { repository, folder: String::new(), file: None, source: Rc::default() }
    }

    /// The folder or file `name` of a repository; a file's name ends in one of a tensor file.
    pub(super) fn within(repository: Repository, name: &str) -> Self {
        let name = name.trim_matches('/');
        let is_file = [".pt", ".pth", ".safetensors", ".npz"].iter().any(|end| name.ends_with(end));
        let (folder, file) = match (is_file, name.rsplit_once('/')) {
            (true, Some((folder, file))) => (folder, Some(file)),
            (true, None) => ("", Some(name)),
            (false, _) => (name, None),
        };
        let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        Self { repository, folder, file: file.map(ToOwned::to_owned), source: Rc::default() }
    }

    /// The place in words: repository, folder and file.
    pub(super) fn path(&self) -> PathBuf {
        let path = Path::new(self.repository.name()).join(&self.folder);
        match &self.file {
            Some(file) => path.join(file),
            None => path,
        }
    }

    /// The names that lead to the place, one after another: those of the repository, the folders
    /// within it, and the file if one was asked for. A folder of the hub's cache,
    /// `models--owner--name`, counts as its last part.
    pub(super) fn names(&self) -> Vec<String> {
        let path = self.path().to_string_lossy().replace('\\', "/");
        let names = path.split('/').filter(|name| !name.is_empty() && *name != ".");
        names.map(|name| name.rsplit("--").next().unwrap_or(name).to_owned()).collect()
    }

    pub(super) fn has(&self, name: &str) -> Result<bool> {
        self.repository.has(&self.name(name))
    }

    /// [`SaePlace::has`], and an error if the hub cannot be asked.
    pub(super) fn has_surely(&self, name: &str) -> Result<bool> {
        self.repository.has_surely(&self.name(name))
    }

    /// Whether the file can be read without asking the network.
    pub(super) fn has_here(&self, name: &str) -> bool {
        self.repository.has_here(&self.name(name))
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    pub(super) fn open(&self, name: &str) -> Result<Content<Blob>> {
        let content = self.repository.open(&self.name(name))?;
        self.source.get_or_init(|| content.source.clone());
        Ok(content)
    }

    /// All of a file whose parts have to be found first.
    fn whole(&self, name: &str) -> Result<(PathBuf, Bytes)> {
        let Content { path, bytes, .. } = self.open(name)?;
        let bytes = bytes.read().map_err(Error::io("read", &path))?;
        Ok((path, bytes))
    }

    /// Where the files were.
    pub(super) fn source(&self) -> Option<Source> {
        self.source.get().cloned()
    }

    /// The object in the JSON file `name`.
    pub(super) fn document(&self, name: &str) -> Result<Document> {
        let content = self.repository.read(&self.name(name))?;
        Document::parse(&content.path, &content.bytes)
    }

    /// The tensors of the safetensors file `name`.
    pub(super) fn tensors(&self, name: &str, device: &Device) -> Result<Tensors> {
        let content = self.open(name)?;
        Tensors::parse(&content.path, &content.bytes, device)
    }

    /// The arrays of the NumPy archive `name`.
    pub(super) fn arrays(&self, name: &str, device: &Device) -> Result<Tensors> {
        let (path, bytes) = self.whole(name)?;
        Ok(Tensors::of(&path, read_npz(&path, &bytes)?, device))
    }

    /// What PyTorch saved in the file `name`.
    pub(super) fn torch(&self, name: &str) -> Result<Loaded> {
        let (path, bytes) = self.whole(name)?;
        read_torch(&path, &bytes)
    }
}

/// The number in a name that is exactly `before`, the number, and `after`.
pub(super) fn number_in(name: &str, before: &str, after: &str) -> Option<usize> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Whether a name is `before` and the size of a dictionary, such as `width_16k`.
pub(super) fn is_size(name: &str, before: &str) -> bool {
    ["", "k", "m"].iter().any(|unit| number_in(name, before, unit).is_some())
}
