//! The folder that a site is put into: made under another name, then renamed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// A file that only folders made here have.
const MARKER: &str = "made-by-eigenlens-site.txt";

/// A site in the making.
#[derive(Debug)]
pub(super) struct SiteFolder {
    target: PathBuf,
    /// Removed with all that is in it when the site is done, or has failed.
    scratch: tempfile::TempDir,
    /// What has been written, in bytes.
    size: u64,
}

impl SiteFolder {
    /// Prepares a site that will be at `target`.
    ///
    /// # Errors
    /// If `target` is a file, or a folder with something in it that is not a site made here.
    pub(super) fn begin(target: &Path) -> Result<SiteFolder> {
        let target = std::path::absolute(target)
            .with_context(|| format!("{} is not a usable path", target.display()))?;
        check_target(&target)?;
        let parent =
            target.parent().with_context(|| format!("{} is no folder", target.display()))?;
        fs::create_dir_all(parent)
            .with_context(|| format!("the folder {} cannot be made", parent.display()))?;
        let scratch = tempfile::Builder::new()
            .prefix(".eigenlens-site-")
            .tempdir_in(parent)
            .with_context(|| format!("nothing can be written to {}", parent.display()))?;
        let mut site = SiteFolder { target, scratch, size: 0 };
        site.write(MARKER, b"`eigenlens site` made this folder, and replaces it.\n")?;
        Ok(site)
    }

    /// Where the site is until it is done.
    fn root(&self) -> PathBuf {
        self.scratch.path().join("new")
    }

    /// Writes a file of the site.
    pub(super) fn write(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.root().join(name);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, content))
            .with_context(|| format!("could not write {name} of the site"))?;
        self.size += content.len() as u64;
        Ok(())
    }

    /// What has been written, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Puts the site into its place, in the place of the one that was there.
    pub(super) fn finish(self) -> Result<PathBuf> {
        let put = || format!("could not put the site at {}", self.target.display());
        if self.target.exists() {
            check_target(&self.target)?;
            fs::rename(&self.target, self.scratch.path().join("old")).with_context(put)?;
        }
        fs::rename(self.root(), &self.target).with_context(put)?;
        Ok(self.target)
    }
}

fn check_target(target: &Path) -> Result<()> {
    if !target.exists() {
        return Ok(());
    }
    let mut entries = fs::read_dir(target).with_context(|| {
        format!("`--out` {} is a file, or cannot be read; name a folder", target.display())
    })?;
    if entries.next().is_some() && !target.join(MARKER).is_file() {
        bail!(
            "`--out` {} has other files; name a new folder, an empty one, or one that `eigenlens \
             site` made",
            target.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(target: &Path, content: &[u8]) -> Result<PathBuf> {
        let mut site = SiteFolder::begin(target)?;
        site.write("a/b.txt", content)?;
        site.finish()
    }

    #[test]
    fn a_site_is_replaced_and_nothing_else_is() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let target = folder.path().join("deep/site");
        put(&target, b"one")?;
        fs::write(target.join("left.txt"), "")?;
        put(&target, b"two")?;
        assert_eq!(fs::read(target.join("a/b.txt"))?, b"two");
        assert!(!target.join("left.txt").exists());
        assert_eq!(fs::read_dir(folder.path().join("deep"))?.count(), 1, "nothing else is left");

        let others = folder.path().join("others");
        fs::create_dir(&others)?;
        put(&others, b"in an empty folder")?;
        fs::remove_file(others.join(MARKER))?;
        let error = put(&others, b"").expect_err("it has other files").to_string();
        assert!(error.contains("`--out`") && error.contains("has other files"), "{error}");
        let file = others.join("a/b.txt");
        let error = put(&file, b"").expect_err("it is a file").to_string();
        assert!(error.contains("is a file"), "{error}");
        assert_eq!(fs::read(&file)?, b"in an empty folder");
        Ok(())
    }

    #[test]
    fn a_site_that_failed_leaves_nothing() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut site = SiteFolder::begin(&folder.path().join("site"))?;
        site.write("a", b"abc")?;
        assert!(site.size() > 3);
        drop(site);
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        Ok(())
    }
}
